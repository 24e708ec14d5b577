//! The head of the log: the row that every append updates, and the checks against it.

use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use super::server::Server;
use crate::Timestamp;
use crate::journal::{JournalError, JournalErrorKind};

/// The row, and the position of the last event in the tables.
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

/// A lease for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) store: Uuid,
    pub(super) epoch: i64,
    /// The unique number of the lease. The epoch is not unique: a server that lost a commit assigns it again.
    pub(super) number: Uuid,
}

/// Whether the server has a batch that may have been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The batch is missing.
    Before,
    /// The batch is present.
    Behind,
}

const READ: &str = "SELECT store, position, epoch, lease, holder, (extract(epoch FROM held_since) * 1000000)::bigint, \
                    coalesce(ceil(extract(epoch FROM lease_expires - clock_timestamp())), 0)::bigint FROM head FOR UPDATE";
/// The row of the last event may be deleted; its gap contains the position then.
const STORED: &str = "SELECT greatest((SELECT coalesce(max(position), 0) FROM events), \
                      (SELECT coalesce(max(last_position), 0) FROM gaps WHERE part = (SELECT max(part) FROM gaps)))";

impl Head {
    /// Reads the row and locks it until the transaction ends. Waits for a transaction that has locked it.
    pub(super) async fn lock(client: &Client) -> Result<Self, Error> {
        let row = client.query_one(READ, &[]).await?;
        // A separate statement: one that waited for the row lock has an older snapshot of the table.
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

    /// The holder of the lease, and since when.
    pub(super) fn holder(&self) -> String {
        let holder = self.holder.as_deref().unwrap_or("an unknown holder");
        match self.held_since {
            Some(since) => format!("{holder} since {since}"),
            None => holder.to_owned(),
        }
    }

    /// # Errors
    ///
    /// Corrupt when the last position of the table differs from that of the head.
    pub(super) fn check(&self, server: &Server) -> Result<(), JournalError> {
        if self.position == self.stored {
            return Ok(());
        }
        Err(JournalError::corrupt(format!(
            "the table events ends at position {}, and the table head contains {}: restore both from the same backup: {}",
            self.stored,
            self.position,
            server.place()
        )))
    }

    /// Whether the holder of `lease`, whose events up to `position` are acknowledged, may write the batch that ends with `last`, or has
    /// written it.
    ///
    /// # Errors
    ///
    /// Failed when it may not, with the reason.
    pub(super) fn standing(
        &self,
        server: &Server,
        lease: &Lease,
        position: u64,
        last: u64,
    ) -> Result<Standing, JournalError> {
        let end = self.position.min(self.stored);
        if self.store != lease.store {
            return Err(failed(server, "the address leads to another store now"));
        }
        if end < position {
            let message = format!(
                "the server has lost committed events, from position {} to {position}: another server took over without them, or a backup was \
                 restored",
                end + 1
            );
            return Err(failed(server, &message));
        }
        if self.lease != Some(lease.number) {
            let taken = match &self.holder {
                // A standby took over before it received the lease.
                _ if self.epoch < lease.epoch => {
                    "the server has lost the lease of this writer: open the store again".to_owned()
                }
                Some(_) => format!("another writer has taken over the store: {}", self.holder()),
                None => "the lease expired, and another program has appended since: open the store again".to_owned(),
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
