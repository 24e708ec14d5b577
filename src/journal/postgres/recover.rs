//! Recovery: reads the table in ascending order of positions in one stream, merged with the gaps and marks of events that are gone.

use std::collections::VecDeque;

use futures_util::future::{try_join, try_join3};
use futures_util::{StreamExt as _, pin_mut};
use tokio_postgres::{CopyOutStream, Error};
use uuid::Uuid;

use super::connect::{Session, in_time};
use super::errors::timeout;
use super::left::{self, Gaps};
use super::parts::{PART_POSITIONS, last_of};
use super::row::{self, COLUMNS, Reader};
use super::server::Server;
use super::wire::BadRow;
use super::wire::take_field;
use crate::journal::{Batch, JournalError, Mark, Recover};

/// The size at which a batch is passed on, in events or marks, and in bytes.
const BATCH_EVENTS: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;
/// The positions read at once where events are gone. Their gaps and marks are read before.
const WINDOW_POSITIONS: u64 = 64 * PART_POSITIONS;

/// The signature of a `COPY` stream; flags and an empty extension follow it.
const MARK: &[u8] = b"PGCOPY\n\xff\r\n\0";
const HEADER_BYTES: usize = MARK.len() + 8;

const WHAT: &str = "the events cannot be read";

/// Which events are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Span {
    /// All rows; a row after the position of the head is an error.
    Whole { last: u64 },
    /// The rows after a position, up to another.
    Next { after: u64, last: u64 },
}

impl Span {
    /// The position before the first event, and that of the last.
    fn ends(self) -> (u64, u64) {
        match self {
            Self::Whole { last } => (0, last),
            Self::Next { after, last } => (after, last),
        }
    }

    /// The SQL condition for its events after `after`, up to `end`; without an upper bound for the last part of a whole table.
    fn condition(self, after: u64, end: u64) -> String {
        match self {
            Self::Whole { last } if end == last => format!("position > {after}"),
            Self::Whole { .. } | Self::Next { .. } => format!("position > {after} AND position <= {end}"),
        }
    }
}

/// Passes the events of `span` of the store `store` to `into`. Returns the number of bytes read.
///
/// # Errors
///
/// Failed when the schema contains another store, as after it was renamed or replaced. Corrupt when rows are missing or invalid.
pub(super) async fn recover(
    server: &Server,
    session: &Session,
    (store, span): (Uuid, Span),
    into: &mut dyn Recover,
) -> Result<u64, JournalError> {
    // A large table takes long; its primary key provides the order without a sort.
    let begin =
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL enable_sort = off";
    let (after, last) = span.ends();
    let client = &session.client;
    // Pipelined: all are sent before the first response.
    let start = try_join3(
        client.batch_execute(begin),
        left::is_any_gone(client, after, last),
        client.query_one_scalar("SELECT store FROM head", &[]),
    );
    let ((), has_gaps, found) = in_time(server, WHAT, start).await?;
    check_store(server, store, found)?;
    let mut reading = Reading::new(server, (after, last), into);
    let mut read = after;
    loop {
        let end = if has_gaps { window_end(read).min(last) } else { last };
        if has_gaps {
            let left = try_join(left::gaps(client, read, end), left::marks(client, read, end));
            let (gaps, marks) = in_time(server, WHAT, left).await?;
            reading.gaps.expect(gaps);
            reading.expect_marks(marks)?;
        }
        let query = copy_statement(&span.condition(read, end));
        let stream = in_time(server, WHAT, client.copy_out(&query)).await?;
        reading.run(stream, end).await?;
        read = end;
        if read == last {
            break;
        }
    }
    let bytes = reading.finish()?;
    in_time(server, WHAT, session.client.batch_execute("COMMIT")).await?;
    Ok(bytes)
}

/// # Errors
///
/// Failed when the schema contains another store than before.
pub(super) fn check_store(server: &Server, known: Uuid, found: Uuid) -> Result<(), JournalError> {
    if known == found {
        return Ok(());
    }
    Err(JournalError::failed(format!(
        "the address leads to another store now: {}",
        server.place()
    )))
}

/// The last position of the window that starts after `after`.
fn window_end(after: u64) -> u64 {
    last_of(after + WINDOW_POSITIONS)
}

/// A `jsonb` value is not read when its bytes are stored separately.
fn copy_statement(condition: &str) -> String {
    let columns = row::TABLE.map(|(name, _)| match name {
        "metadata" => "CASE WHEN metadata_bytes IS NULL THEN metadata END",
        "data" => "CASE WHEN data_bytes IS NULL THEN data END",
        name => name,
    });
    format!(
        "COPY (SELECT {} FROM events WHERE {condition} ORDER BY position) TO STDOUT (FORMAT binary)",
        columns.join(", "),
    )
}

/// A table being read.
struct Reading<'a> {
    server: &'a Server,
    /// The last position by the head.
    last: u64,
    /// The gaps and marks of this window.
    gaps: Gaps,
    marks: VecDeque<Mark>,
    into: &'a mut dyn Recover,
    reader: Reader,
    batch: Batch,
    position: u64,
    /// Received bytes of an incomplete row.
    rest: Vec<u8>,
    bytes: u64,
    has_begun: bool,
}

impl<'a> Reading<'a> {
    fn new(server: &'a Server, (position, last): (u64, u64), into: &'a mut dyn Recover) -> Self {
        Self {
            server,
            last,
            gaps: Gaps::new(position, last),
            marks: VecDeque::new(),
            into,
            reader: Reader::default(),
            batch: Batch::new(),
            position,
            rest: Vec::new(),
            bytes: 0,
            has_begun: false,
        }
    }

    fn expect_marks(&mut self, marks: Option<VecDeque<Mark>>) -> Result<(), JournalError> {
        self.marks = marks.ok_or_else(|| self.corrupt("a row of the table marks is invalid"))?;
        Ok(())
    }

    /// Reads the rows of a stream, up to position `end`.
    async fn run(&mut self, stream: CopyOutStream, end: u64) -> Result<(), JournalError> {
        pin_mut!(stream);
        self.has_begun = false;
        let patience = self.server.patience();
        loop {
            let next = tokio::time::timeout(patience, stream.next()).await;
            let next = next.map_err(|_| timeout(self.server, WHAT, patience))?;
            let Some(chunk) = next else { break };
            self.take(&chunk.map_err(|error| self.failed(&error))?)?;
        }
        // The trailer of the stream is not a row.
        self.rest.clear();
        if !self.gaps.is_empty() {
            self.skip_to(end + 1)?;
        }
        match self.marks.front() {
            Some(mark) => Err(self.corrupt(&format!(
                "the table marks has a row for position {}, whose event is not gone",
                mark.position
            ))),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<u64, JournalError> {
        self.end_part()?;
        self.hand_on()?;
        if self.position != self.last {
            return Err(self.corrupt(&format!(
                "the last event is at position {}, and the table head contains {}",
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

    /// Reads the rows that `chunk` completes. The server sends one row per chunk, but the protocol does not require that.
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

    /// Reads complete rows from the front of `bytes`. Returns their size.
    fn rows(&mut self, bytes: &[u8]) -> Result<usize, JournalError> {
        let mut rest = bytes;
        if !self.has_begun {
            if rest.len() < HEADER_BYTES {
                return Ok(0);
            }
            if !rest.starts_with(MARK) {
                return Err(self.corrupt("the server did not send it in the binary format of COPY"));
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
        let position = position.filter(|position| *position > self.position);
        let position = position.ok_or_else(|| {
            self.corrupt(&format!(
                "the row after position {} has no higher position",
                self.position
            ))
        })?;
        self.skip_to(position)?;
        let read = self.reader.read(fields, position, &mut self.batch);
        read.map_err(|error| self.corrupt(&format!("position {position}: {error}")))?;
        self.move_to(position)
    }

    /// Skips the positions before `next`, whose gaps must record them as gone.
    fn skip_to(&mut self, next: u64) -> Result<(), JournalError> {
        while self.position + 1 < next {
            let first = self.position + 1;
            let end = last_of(first).min(next - 1);
            if !self.gaps.skip(first, end, &mut self.batch) {
                return Err(self.corrupt(&format!(
                    "position {first} is missing: position {next} follows {}",
                    self.position
                )));
            }
            let marks = self.marks.iter().take_while(|mark| mark.position.0 <= end).count();
            for mark in self.marks.drain(..marks) {
                self.batch.push_mark(mark);
            }
            self.move_to(end)?;
        }
        Ok(())
    }

    fn move_to(&mut self, position: u64) -> Result<(), JournalError> {
        self.position = position;
        if position == last_of(position) {
            self.end_part()?;
        }
        let is_long = self.batch.len().max(self.batch.marks().len()) >= BATCH_EVENTS;
        if is_long || self.batch.bytes() >= BATCH_BYTES {
            self.hand_on()?;
        }
        Ok(())
    }

    fn end_part(&mut self) -> Result<(), JournalError> {
        match self.gaps.end_part(self.position) {
            0 => Ok(()),
            count => Err(self.corrupt(&format!(
                "{count} events up to position {} are present, and the table gaps records them as gone",
                self.position
            ))),
        }
    }

    fn hand_on(&mut self) -> Result<(), JournalError> {
        if !self.batch.is_empty() {
            self.into.batch(std::mem::take(&mut self.batch))?;
        }
        self.into.progress(self.position.min(self.last), self.last);
        Ok(())
    }
}

/// The fields of the first row, and the bytes after it; `None` when the row is incomplete, or at the end of the stream.
fn whole_row(bytes: &[u8]) -> Result<Option<(row::Row<'_>, &[u8])>, BadRow> {
    let Some((count, mut rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    match i16::from_be_bytes(*count) {
        -1 => return Ok(None),
        count if count == row::count() => {}
        _ => return Err(BadRow::Field("a row has an unexpected number of columns")),
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
