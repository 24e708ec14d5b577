//! Writes a batch in one transaction: a single statement for few events, `COPY` for many.

use bytes::Bytes;
use futures_util::future::{join3, try_join, try_join5};
use futures_util::{SinkExt as _, pin_mut};
use tokio_postgres::types::ToSql;
use tokio_postgres::{CopyInSink, Error, Statement};

use super::connect::Session;
use super::head::Lease;
use super::lease;
use super::partition::Partitions;
use super::row::{self, COLUMNS, Fields, TABLE};
use super::server::Server;
use super::wire::{Binary, Type, put_length, put_tags};
use crate::event::names::Tags;
use crate::journal::Batch;

/// The number of events from which `COPY` is faster than a statement with arrays, although it takes two round trips. Measured on
/// loopback, two processors, a synced disk: a batch of 4 events takes 0.31 ms by the statement and 0.40 by `COPY`, of 16 0.44 and 0.49,
/// of 64 0.99 and 0.89, of 4,096 43 and 33.
const COPY_FROM_EVENTS: usize = 64;
/// The most bytes in the arrays of a statement. PostgreSQL's limit is 1 GiB per array.
const ARRAYS_BYTES_MAX: usize = 16 << 20;
/// Bytes passed to a connection at once.
const COPY_BYTES: usize = 256 << 10;

/// The update of the head that every batch starts with. It succeeds only for the holder of the lease, at the position before the batch.
const ADVANCE: &str = "UPDATE head SET position = $3, lease_expires = clock_timestamp() + make_interval(secs => $4) \
                       WHERE lease = $1 AND position = $2";
/// Fails unless a copy has inserted all of its rows.
const CHECK_TAKEN: &str =
    "SELECT check_taken((SELECT count(*) FROM events WHERE position > $1 AND position <= $2), $2 - $1)";
const NOTE_DELETIONS: &str = "INSERT INTO deletions (position, aggregate_id, kind, to_version) \
                              SELECT position, substr(aggregate_id, 2), substr(event_type, 2), (data ->> 'toVersion')::bigint \
                              FROM events WHERE position BETWEEN $1 AND $2 \
                              AND event_type IN ('$truncated', '$deleted', '$tombstoned', '$archived')";

/// A connection with prepared statements for writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) session: Session,
    advance: Statement,
    append: Statement,
    copy: Statement,
    check_taken: Statement,
    note_deletions: Statement,
    /// The known partitions; `None` for a table without partitions.
    partitions: Option<Partitions>,
    arrays: Arrays,
    lease_seconds: f64,
}

impl Writer {
    pub(super) async fn new(server: &Server, lease: &Lease, session: Session) -> Result<Self, Error> {
        let client = &session.client;
        let (append, copy) = (append_statement(), copy_statement());
        let prepared = try_join5(
            client.prepare(ADVANCE),
            client.prepare(&append),
            client.prepare(&copy),
            try_join(client.prepare(CHECK_TAKEN), client.prepare(NOTE_DELETIONS)),
            try_join(lease::hold(&session, lease), Partitions::of(client)),
        );
        let (advance, append, copy, (check_taken, note_deletions), ((), partitions)) = Box::pin(prepared).await?;
        Ok(Self {
            session,
            advance,
            append,
            copy,
            check_taken,
            note_deletions,
            partitions,
            arrays: Arrays::default(),
            lease_seconds: server.settings.lease.as_secs_f64(),
        })
    }

    /// Writes `batch` and commits. Returns `false`, without a change, when the head has moved or another writer holds the lease.
    pub(super) async fn write(&mut self, lease: &Lease, batch: &Batch) -> Result<bool, Error> {
        if let Some(partitions) = &mut self.partitions {
            partitions.make_for(&self.session.client, batch).await?;
        }
        let has_changes = batch.events().any(|event| event.is_change());
        if has_changes || batch.len() >= COPY_FROM_EVENTS || batch.bytes() >= ARRAYS_BYTES_MAX {
            self.copy(lease, batch, has_changes).await
        } else {
            self.append(lease, batch).await
        }
    }

    /// Within a transaction, locks the head if it is at `position` and this writer holds the lease. Returns whether it does.
    pub(super) async fn stay(&self, lease: &Lease, position: u64) -> Result<bool, Error> {
        let position = position.cast_signed();
        let parameters: [&(dyn ToSql + Sync); 4] = [&lease.number, &position, &position, &self.lease_seconds];
        Ok(self.session.client.execute(&self.advance, &parameters).await? > 0)
    }

    /// One statement, and so one transaction and one round trip.
    async fn append(&mut self, lease: &Lease, batch: &Batch) -> Result<bool, Error> {
        self.arrays.begin();
        for event in batch.events() {
            row::write(event, &mut self.arrays);
        }
        self.arrays.end(batch.len());
        let (before, last) = ends(batch);
        let arrays = self.arrays.columns.each_ref().map(|column| Binary(column));
        let head: [&(dyn ToSql + Sync); 4] = [&lease.number, &before, &last, &self.lease_seconds];
        let columns = arrays.iter().map(|array| array as &(dyn ToSql + Sync));
        let parameters: Vec<_> = head.into_iter().chain(columns).collect();
        let written: i64 = self.session.client.query_one_scalar(&self.append, &parameters).await?;
        Ok(written > 0)
    }

    async fn copy(&self, lease: &Lease, batch: &Batch, has_changes: bool) -> Result<bool, Error> {
        let client = &self.session.client;
        let (before, last) = ends(batch);
        let parameters: [&(dyn ToSql + Sync); 4] = [&lease.number, &before, &last, &self.lease_seconds];
        // Pipelined: all three are sent before the first response.
        let begin_first = client.batch_execute("BEGIN");
        let (begun, advanced, copy) = join3(
            begin_first,
            client.execute(&self.advance, &parameters),
            client.copy_in(&self.copy),
        )
        .await;
        begun?;
        let is_ours = advanced? > 0;
        let sink: CopyInSink<Bytes> = copy?;
        if !is_ours {
            drop(sink);
            client.batch_execute("ROLLBACK").await?;
            return Ok(false);
        }
        pin_mut!(sink);
        send(batch, &mut sink).await?;
        let range: [&(dyn ToSql + Sync); 2] = [&before, &last];
        if has_changes {
            sink.finish().await?;
            client.execute(&self.check_taken, &range).await?;
            client.execute(&self.note_deletions, &[&(before + 1), &last]).await?;
            client.batch_execute("COMMIT").await?;
        } else {
            // COMMIT rolls back a transaction in which something failed; the first error tells what.
            let check = client.execute(&self.check_taken, &range);
            let (copied, checked, committed) = join3(sink.finish(), check, client.batch_execute("COMMIT")).await;
            copied?;
            checked?;
            committed?;
        }
        Ok(true)
    }
}

/// The position before a batch, and its last position.
fn ends(batch: &Batch) -> (i64, i64) {
    let first = batch.first_position().0.cast_signed();
    (first - 1, batch.last_position().0.cast_signed())
}

fn copy_statement() -> String {
    format!("COPY events ({}) FROM STDIN (FORMAT binary)", row::column_names())
}

fn append_statement() -> String {
    let arrays = (5..)
        .zip(TABLE)
        .map(|(number, (_, column))| format!("${number}::{}[]", element(column).name()));
    let arrays: Vec<_> = arrays.collect();
    // `unnest` flattens nested arrays, so tags are sent as the text form of an array.
    let columns = TABLE.map(|(name, column)| {
        let cast = if column == Type::Texts { "::text[]" } else { "" };
        format!("{name}{cast}")
    });
    format!(
        "WITH advanced AS ({ADVANCE} RETURNING 1), \
         taken AS (INSERT INTO events ({names}) SELECT {columns} FROM advanced, unnest({arrays}) AS new ({names}) RETURNING 1) \
         SELECT check_taken((SELECT count(*) FROM taken), ($3 - $2) * (SELECT count(*) FROM advanced))",
        names = row::column_names(),
        columns = columns.join(", "),
        arrays = arrays.join(", "),
    )
}

/// The type of a column's values in an array.
fn element(column: Type) -> Type {
    if column == Type::Texts { Type::Text } else { column }
}

async fn send(batch: &Batch, sink: &mut std::pin::Pin<&mut CopyInSink<Bytes>>) -> Result<(), Error> {
    let mut rows = Rows::default();
    rows.0.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for event in batch.events() {
        rows.0.extend_from_slice(&row::count().to_be_bytes());
        row::write(event, &mut rows);
        if rows.0.len() >= COPY_BYTES {
            sink.send(std::mem::take(&mut rows.0).into()).await?;
        }
    }
    rows.0.extend_from_slice(&(-1_i16).to_be_bytes());
    sink.send(rows.0.into()).await
}

/// Consecutive rows in the binary format of `COPY`.
#[derive(Debug, Default)]
struct Rows(Vec<u8>);

impl Fields for Rows {
    fn next(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn tags(&mut self, tags: Tags<'_>) {
        put_tags(tags, &mut self.0);
    }
}

/// One array per column, with the fields of all events.
#[derive(Debug, Default)]
struct Arrays {
    columns: [Vec<u8>; COLUMNS],
    next: usize,
    text: String,
}

/// Dimensions, whether there may be NULLs, the type, the length and the first index.
const ARRAY_HEADER_BYTES: usize = 20;

impl Arrays {
    fn begin(&mut self) {
        for column in &mut self.columns {
            column.clear();
            column.resize(ARRAY_HEADER_BYTES, 0);
        }
    }

    fn end(&mut self, events: usize) {
        for (column, (_, kind)) in self.columns.iter_mut().zip(TABLE) {
            let mut header = Vec::with_capacity(ARRAY_HEADER_BYTES);
            put_length(&mut header, 1);
            put_length(&mut header, 1);
            header.extend_from_slice(&element(kind).number().to_be_bytes());
            put_length(&mut header, events);
            put_length(&mut header, 1);
            column.splice(..ARRAY_HEADER_BYTES, header);
        }
    }
}

impl Fields for Arrays {
    fn next(&mut self) -> &mut Vec<u8> {
        let place = self.next % COLUMNS;
        self.next += 1;
        &mut self.columns[place]
    }

    fn tags(&mut self, tags: Tags<'_>) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        write_tags(tags, &mut text);
        let out = self.next();
        put_length(out, text.len());
        out.extend_from_slice(text.as_bytes());
        self.text = text;
    }
}

/// Writes tags as the text form of an array: `{"a","b"}`, with quotes and backslashes escaped.
fn write_tags(tags: Tags<'_>, text: &mut String) {
    text.push('{');
    for (place, tag) in tags.enumerate() {
        text.push_str(if place == 0 { "\"" } else { ",\"" });
        for char in tag.chars() {
            if matches!(char, '"' | '\\') {
                text.push('\\');
            }
            text.push(char);
        }
        text.push('"');
    }
    text.push('}');
}
