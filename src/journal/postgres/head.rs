//! The head of the log: the row that all writing goes through, and what it says of a writer.

use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use super::connect::Server;
use crate::Timestamp;
use crate::journal::{JournalError, JournalErrorKind};

/// The row, and the position of the last event that is really there.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) store: Uuid,
    pub(super) position: u64,
    pub(super) epoch: i64,
    pub(super) lease: Option<Uuid>,
    pub(super) stored: u64,
    holder: Option<String>,
    held_since: Option<Timestamp>,
    /// Seconds until the lease is over.
    pub(super) seconds_left: i64,
}

/// A time to write in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) store: Uuid,
    pub(super) epoch: i64,
    /// The lease's own number. The epoch is not enough: a server that has forgotten a commit gives it out again.
    pub(super) number: Uuid,
}

/// Where the server is, seen from a batch that may have been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing of it is there.
    Before,
    /// All of it is there.
    Behind,
}

const READ: &str = "SELECT store, position, epoch, lease, holder, (extract(epoch FROM held_since) * 1000000)::bigint, \
                    coalesce(ceil(extract(epoch FROM lease_expires - clock_timestamp())), 0)::bigint FROM head FOR UPDATE";
/// The last may be gone, by what is left of it.
const STORED: &str = "SELECT greatest((SELECT coalesce(max(position), 0) FROM events), \
                      (SELECT coalesce(max(last_position), 0) FROM gaps WHERE part = (SELECT max(part) FROM gaps)))";

impl Head {
    /// Reads the row and locks it until the transaction ends. Whoever is committing is waited for.
    pub(super) async fn lock(client: &Client) -> Result<Self, Error> {
        let row = client.query_one(READ, &[]).await?;
        // A statement of its own: one that had to wait for the row sees the table as it was before.
        let stored = client.query_one_scalar(STORED, &[]).await?;
        Self::of(&row, stored)
    }

    fn of(row: &Row, stored: i64) -> Result<Self, Error> {
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        let held_since: Option<i64> = row.try_get(5)?;
        Ok(Self {
            store: row.try_get(0)?,
            position: unsigned(row.try_get(1)?),
            epoch: row.try_get(2)?,
            lease: row.try_get(3)?,
            holder: row.try_get(4)?,
            held_since: held_since.map(Timestamp::from_micros),
            seconds_left: row.try_get(6)?,
            stored: unsigned(stored),
        })
    }

    /// Who writes, and since when.
    pub(super) fn holder(&self) -> String {
        let holder = self.holder.as_deref().unwrap_or("nobody");
        match self.held_since {
            Some(since) => format!("{holder} since {since}"),
            None => holder.to_owned(),
        }
    }

    /// # Errors
    ///
    /// Corrupt when the table ends elsewhere than the head says.
    pub(super) fn check(&self, server: &Server) -> Result<(), JournalError> {
        if self.position == self.stored {
            return Ok(());
        }
        Err(JournalError::corrupt(format!(
            "the table events ends with position {}, and the head says {}: {}",
            self.stored,
            self.position,
            server.place()
        )))
    }

    /// Whether whoever holds `lease`, and has everything up to `position` acknowledged, may write the batch behind it that ends with
    /// `last`, or has done so.
    ///
    /// # Errors
    ///
    /// Failed when it may not: the head says why.
    pub(super) fn standing(
        &self,
        server: &Server,
        lease: &Lease,
        position: u64,
        last: u64,
    ) -> Result<Standing, JournalError> {
        let end = self.position.min(self.stored);
        if self.store != lease.store {
            return Err(failed(server, "there is another store now behind the same address"));
        }
        if end < position {
            let message = format!(
                "the server has lost events that it had committed, from position {} to {position}: it is not the one that took them, or it \
                 was set back",
                end + 1
            );
            return Err(failed(server, &message));
        }
        if self.lease != Some(lease.number) {
            let taken = match &self.holder {
                // As a standby has that took over before it knew of the writer.
                _ if self.epoch < lease.epoch => {
                    "the server has lost the lease of this writer: open the store anew".to_owned()
                }
                Some(_) => format!("another writer has taken the store over: {}", self.holder()),
                None => "the lease was over, and others have appended since".to_owned(),
            };
            return Err(failed(server, &taken));
        }
        match end {
            end if end == position => Ok(Standing::Before),
            end if end == last => Ok(Standing::Behind),
            end => {
                let strange =
                    format!("the server has events up to position {end}, and this writer wrote up to {position}");
                Err(failed(server, &strange))
            }
        }
    }
}

fn failed(server: &Server, what: &str) -> JournalError {
    let message = format!("{what}: {}", server.place());
    JournalError::new(JournalErrorKind::Failed, message)
}
