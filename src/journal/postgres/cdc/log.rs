//! Reading the log of the server.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::super::connect::Server;
use super::super::errors::{fault, timeout};
use super::super::row::{Reader, Row};
use super::pgoutput::{Decoder, Message};
use super::slot::{advance, publication};
use super::{At, CHANGES, Changes, Lsn, Read, WHAT, within};
use crate::journal::{Batch, JournalError};

/// Whole transactions of the log, which stay there until they are acknowledged.
pub(super) async fn read_log(server: &Server, slot: &str, at: &mut At) -> Result<Read, JournalError> {
    let peek = "SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, $2, 'proto_version', '1', 'binary', 'true', \
                'publication_names', $3)";
    let changes = i32::try_from(CHANGES).unwrap_or(i32::MAX);
    let publication = publication(server);
    let parameters: [&(dyn ToSql + Sync); 3] = [&slot, &changes, &publication];
    let peeked = at.session.client.query(peek, &parameters);
    let rows = match tokio::time::timeout(server.patience(), peeked).await {
        Ok(Err(error)) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => return Ok(Read::NoSlot),
        Ok(rows) => rows.map_err(|error| fault(server, WHAT, &error))?,
        Err(_) => return Err(timeout(server, WHAT, server.patience())),
    };
    let mut taking = Taking::new(server, at.position);
    for row in &rows {
        let message: &[u8] = row.try_get(0).map_err(|error| fault(server, WHAT, &error))?;
        taking.take(message)?;
    }
    at.position = taking.position;
    match taking.end {
        None => Ok(Read::Nothing),
        Some(end) if taking.batch.is_empty() => {
            // Nothing of events, or nothing new: the slot goes on by itself.
            within(server, advance(&at.session, slot, end)).await?;
            Ok(Read::Nothing)
        }
        end => Ok(Read::Changes(Changes {
            batch: taking.batch,
            lsn: end,
            connection: at.connection,
        })),
    }
}

/// Messages being read.
struct Taking<'a> {
    server: &'a Server,
    decoder: Decoder,
    reader: Reader,
    batch: Batch,
    position: u64,
    end: Option<Lsn>,
}

impl<'a> Taking<'a> {
    fn new(server: &'a Server, position: u64) -> Self {
        Self {
            server,
            decoder: Decoder::default(),
            reader: Reader::default(),
            batch: Batch::new(),
            position,
            end: None,
        }
    }

    fn take(&mut self, message: &[u8]) -> Result<(), JournalError> {
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
        // Those before came before: from the table, or before a connection broke.
        if position > self.position {
            let read = self.reader.read(row, position, &mut self.batch);
            read.map_err(|error| self.corrupt(&format!("position {position}: {error}")))?;
            self.position = position;
        }
        Ok(())
    }

    fn corrupt(&self, what: &str) -> JournalError {
        JournalError::corrupt(format!(
            "the changes of the table events, {}: {what}",
            self.server.place()
        ))
    }
}
