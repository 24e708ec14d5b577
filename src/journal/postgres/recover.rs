//! Reading everything back: the table in the order of positions, in one stream.

use futures_util::{StreamExt as _, pin_mut};
use tokio_postgres::{CopyOutStream, Error};

use super::connect::{Server, Session, in_time};
use super::errors::timeout;
use super::row::{self, BadRow, COLUMNS, Reader};
use super::wire::take_field;
use crate::journal::{Batch, JournalError, Recover};

/// A batch of so many events, or so many bytes, is handed on.
const BATCH_EVENTS: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;

/// What a stream of rows begins with: a mark, flags, and an extension of no bytes.
const MARK: &[u8] = b"PGCOPY\n\xff\r\n\0";
const HEADER_BYTES: usize = MARK.len() + 8;

const WHAT: &str = "the events cannot be read";

/// Which events are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// All that are there: what the head does not know of must not be.
    Whole { last: u64 },
    /// Those after a position, as far as others had come.
    Next { after: u64, last: u64 },
}

impl Part {
    /// The position before the first, and that of the last.
    fn ends(self) -> (u64, u64) {
        match self {
            Self::Whole { last } => (0, last),
            Self::Next { after, last } => (after, last),
        }
    }

    fn condition(self) -> String {
        match self {
            Self::Whole { .. } => "true".to_owned(),
            Self::Next { after, last } => format!("position > {after} AND position <= {last}"),
        }
    }
}

/// Hands the events of `part` to `into`. Answers how many bytes were read.
pub(super) async fn recover(
    server: &Server,
    session: &Session,
    part: Part,
    into: &mut dyn Recover,
) -> Result<u64, JournalError> {
    // A long table takes long, and its index is in order already.
    let begin =
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL enable_sort = off";
    let query = copy_statement(part);
    let start = async {
        session.client.batch_execute(begin).await?;
        session.client.copy_out(&query).await
    };
    let stream = in_time(server, WHAT, start).await?;
    let bytes = Reading::new(server, part, into).run(stream).await?;
    in_time(server, WHAT, session.client.batch_execute("COMMIT")).await?;
    Ok(bytes)
}

/// A `jsonb` that is not needed for its bytes stays where it is.
fn copy_statement(part: Part) -> String {
    let columns = row::TABLE.map(|(name, _)| match name {
        "metadata" => "CASE WHEN metadata_bytes IS NULL THEN metadata END",
        "data" => "CASE WHEN data_bytes IS NULL THEN data END",
        name => name,
    });
    format!(
        "COPY (SELECT {} FROM events WHERE {} ORDER BY position) TO STDOUT (FORMAT binary)",
        columns.join(", "),
        part.condition()
    )
}

/// A stream being read.
struct Reading<'a> {
    server: &'a Server,
    /// The position that the head says is the last.
    last: u64,
    into: &'a mut dyn Recover,
    reader: Reader,
    batch: Batch,
    position: u64,
    /// What has come and is not a whole row yet.
    rest: Vec<u8>,
    bytes: u64,
    has_begun: bool,
}

impl<'a> Reading<'a> {
    fn new(server: &'a Server, part: Part, into: &'a mut dyn Recover) -> Self {
        let (position, last) = part.ends();
        Self {
            server,
            last,
            into,
            reader: Reader::default(),
            batch: Batch::new(),
            position,
            rest: Vec::new(),
            bytes: 0,
            has_begun: false,
        }
    }

    async fn run(mut self, stream: CopyOutStream) -> Result<u64, JournalError> {
        pin_mut!(stream);
        let patience = self.server.patience();
        loop {
            let next = tokio::time::timeout(patience, stream.next()).await;
            let next = next.map_err(|_| timeout(self.server, WHAT, patience))?;
            let Some(chunk) = next else { break };
            self.take(&chunk.map_err(|error| self.failed(&error))?)?;
        }
        self.hand_on()?;
        if self.position != self.last {
            return Err(self.corrupt(&format!(
                "the last event is at position {}, and the head says {}",
                self.position, self.last
            )));
        }
        Ok(self.bytes)
    }

    fn failed(&self, error: &Error) -> JournalError {
        super::errors::fault(self.server, WHAT, error)
    }

    fn corrupt(&self, what: &str) -> JournalError {
        JournalError::corrupt(format!("the table events, {}: {what}", self.server.place()))
    }

    /// Reads the rows that are whole with `chunk`: the server sends one a chunk, and need not.
    fn take(&mut self, chunk: &[u8]) -> Result<(), JournalError> {
        self.bytes += chunk.len() as u64;
        if self.rest.is_empty() {
            let read = self.rows(chunk)?;
            self.rest.extend_from_slice(chunk.get(read..).unwrap_or_default());
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(chunk);
        let read = self.rows(&whole)?;
        whole.drain(..read);
        self.rest = whole;
        Ok(())
    }

    /// Reads rows off the front. Answers how many bytes they had.
    fn rows(&mut self, bytes: &[u8]) -> Result<usize, JournalError> {
        let mut rest = bytes;
        if !self.has_begun {
            if rest.len() < HEADER_BYTES {
                return Ok(0);
            }
            if !rest.starts_with(MARK) {
                return Err(self.corrupt("it is not sent in the form that was asked for"));
            }
            rest = &rest[HEADER_BYTES..];
            self.has_begun = true;
        }
        while let Some((fields, behind)) = whole_row(rest).map_err(|error| self.corrupt(&error.to_string()))? {
            self.row(&fields)?;
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }

    fn row(&mut self, fields: &row::Row<'_>) -> Result<(), JournalError> {
        let position = fields[0]
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_be_bytes);
        let expected = self.position + 1;
        if position != Some(expected) {
            let found = position.unwrap_or_default();
            return Err(self.corrupt(&format!(
                "position {expected} is missing: behind {} comes {found}",
                self.position
            )));
        }
        let read = self.reader.read(fields, expected, &mut self.batch);
        read.map_err(|error| self.corrupt(&format!("position {expected}: {error}")))?;
        self.position = expected;
        if self.batch.len() >= BATCH_EVENTS || self.batch.bytes() >= BATCH_BYTES {
            self.hand_on()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), JournalError> {
        if !self.batch.is_empty() {
            self.into.batch(std::mem::take(&mut self.batch))?;
        }
        self.into.progress(self.position.min(self.last), self.last);
        Ok(())
    }
}

/// The fields of the first row, and what comes behind it; `None` when it is not whole, or the end.
fn whole_row(bytes: &[u8]) -> Result<Option<(row::Row<'_>, &[u8])>, BadRow> {
    let Some((count, mut rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    match i16::from_be_bytes(*count) {
        -1 => return Ok(None),
        count if count == row::count() => {}
        _ => return Err(BadRow("a row has not as many columns as were asked for")),
    }
    let mut fields = [None; COLUMNS];
    for field in &mut fields {
        let Ok(value) = take_field(&mut rest) else {
            return Ok(None);
        };
        *field = value;
    }
    Ok(Some((fields, rest)))
}
