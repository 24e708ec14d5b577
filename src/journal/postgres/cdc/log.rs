//! Reads changes from the log of the server.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::super::connect::quoted;
use super::super::errors::{fault, timeout};
use super::super::row::{Reader, Row};
use super::super::server::Server;
use super::super::wire::BadRow;
use super::pgoutput::{Decoder, Message};
use super::publication;
use super::slot::advance;
use super::{At, CHANGES, Changes, Lsn, WHAT, repair, within};
use crate::journal::{Batch, JournalError};

/// The result of reading the log.
pub(super) enum Look {
    Changes(Changes),
    /// The log has no further changes now.
    AtItsEnd,
    /// The log has more changes, and those read contain no events.
    Passed,
    /// The next event of the log is at this position, and events before it are missing.
    Missing {
        next: u64,
    },
    /// The slot does not exist any more.
    NoSlot,
}

/// Reads whole transactions of the log, which are retained until they are acknowledged. `own` are the OIDs of the store's tables.
pub(super) async fn read_log(server: &Server, slot: &str, at: &mut At, own: Vec<u32>) -> Result<Look, JournalError> {
    let peek = "SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, $2, 'proto_version', '1', 'binary', 'true', \
                'publication_names', $3)";
    let changes = i32::try_from(CHANGES).unwrap_or(i32::MAX);
    let publication = quoted(&publication::name(server));
    let parameters: [&(dyn ToSql + Sync); 3] = [&slot, &changes, &publication];
    let peeked = at.session.client.query(peek, &parameters);
    let rows = match tokio::time::timeout(server.patience(), peeked).await {
        Ok(Err(error)) => {
            let is_undefined = error.code() == Some(&SqlState::UNDEFINED_OBJECT);
            let may_be_lost = error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
            if (is_undefined || may_be_lost) && repair::repair(server, &at.session, slot, is_undefined).await? {
                return Ok(Look::NoSlot);
            }
            return Err(fault(server, WHAT, &error));
        }
        Ok(Ok(rows)) => rows,
        Err(_) => return Err(timeout(server, WHAT, server.patience())),
    };
    let mut taking = Taking::new(server, at.position, own);
    for row in &rows {
        let message: &[u8] = row.try_get(0).map_err(|error| fault(server, WHAT, &error))?;
        taking.take(message)?;
    }
    let is_whole = rows.len() < usize::try_from(CHANGES).unwrap_or(usize::MAX);
    taking.finish(slot, at, is_whole).await
}

/// The state of decoding messages.
struct Taking<'a> {
    server: &'a Server,
    decoder: Decoder,
    reader: Reader,
    batch: Batch,
    position: u64,
    end: Option<Lsn>,
    /// The first position after a gap. Later changes are ignored.
    jump: Option<u64>,
}

impl<'a> Taking<'a> {
    fn new(server: &'a Server, position: u64, own: Vec<u32>) -> Self {
        Self {
            server,
            decoder: Decoder::of(own),
            reader: Reader::default(),
            batch: Batch::new(),
            position,
            end: None,
            jump: None,
        }
    }

    fn take(&mut self, message: &[u8]) -> Result<(), JournalError> {
        if self.jump.is_some() {
            return Ok(());
        }
        let message = self.decoder.decode(message);
        match message.map_err(|error| self.corrupt(&error.to_string()))? {
            Message::Insert(row) => self.insert(&row)?,
            Message::Commit { end } => self.end = Some(Lsn(end)),
            Message::Other => {}
        }
        Ok(())
    }

    fn insert(&mut self, row: &Row<'_>) -> Result<(), JournalError> {
        let position = row[0].and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let position = position.ok_or_else(|| self.corrupt("a row has no position"))?;
        // Earlier positions were delivered before, from the table or over another connection.
        if position <= self.position {
            return Ok(());
        }
        if position > self.position + 1 {
            self.jump = Some(position);
            return Ok(());
        }
        match self.reader.read(row, position, &mut self.batch) {
            Ok(()) => self.position = position,
            // The row may have been corrected in the table since.
            Err(BadRow::Time { .. }) => self.jump = Some(position + 1),
            Err(error) => return Err(self.corrupt(&format!("position {position}: {error}"))),
        }
        Ok(())
    }

    async fn finish(self, slot: &str, at: &mut At, is_whole: bool) -> Result<Look, JournalError> {
        at.position = self.position;
        if !self.batch.is_empty() {
            return Ok(Look::Changes(Changes {
                batch: self.batch,
                lsn: self.end,
                connection: at.connection,
            }));
        }
        if let Some(next) = self.jump {
            return Ok(Look::Missing { next });
        }
        if let Some(end) = self.end {
            // No new events: the slot advances without an acknowledgement.
            within(self.server, advance(&at.session, slot, end)).await?;
        }
        Ok(if is_whole { Look::AtItsEnd } else { Look::Passed })
    }

    fn corrupt(&self, what: &str) -> JournalError {
        JournalError::corrupt(format!(
            "the changes of the table events, {}: {what}",
            self.server.place()
        ))
    }
}
