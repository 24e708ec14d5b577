//! Conversion between events and rows of the table `events`, in PostgreSQL's binary form.

use uuid::Uuid;

use super::json::{self, Verdict};
use super::wire::{BadRow, Beyond, Type, put_length, read_tags, text};
use crate::event::names::{self, Names};
use crate::event::system::STREAM_BYTES_MAX;
use crate::event::{SchemaRef, Schemas};
use crate::journal::Batch;
use crate::journal::batch::Unique;
use crate::settings::NAME_BYTES_MAX;
use crate::{ContentType, EventRef, Timestamp};

/// Columns of a row.
pub(super) const COLUMNS: usize = 22;

/// The columns and their types, in the order in which they are written and read.
pub(super) const TABLE: [(&str, Type); COLUMNS] = [
    ("position", Type::Int8),
    ("event_id", Type::Uuid),
    ("aggregate_id", Type::Text),
    ("aggregate_type", Type::Text),
    ("event_type", Type::Text),
    ("schema_version", Type::Int8),
    ("version", Type::Int8),
    ("occurred_at", Type::Time),
    ("recorded_at", Type::Time),
    ("correlation_id", Type::Text),
    ("causation_id", Type::Text),
    ("user_id", Type::Text),
    ("organization_id", Type::Text),
    ("tags", Type::Texts),
    ("metadata", Type::Json),
    ("data", Type::Json),
    ("metadata_bytes", Type::Bytes),
    ("data_bytes", Type::Bytes),
    ("metadata_type", Type::Text),
    ("data_type", Type::Text),
    ("occurred_micros", Type::Int8),
    ("recorded_micros", Type::Int8),
];

/// The names of all columns, separated by commas.
pub(super) fn column_names() -> String {
    TABLE.map(|(name, _)| name).join(", ")
}

/// The number of columns, as written before each row.
pub(super) fn count() -> i16 {
    i16::try_from(COLUMNS).unwrap_or(i16::MAX)
}

/// Microseconds from 1970 to 2000, PostgreSQL's epoch.
const SINCE_2000: i64 = 946_684_800_000_000;
/// The earliest time that PostgreSQL supports, in 4713 BC, relative to its epoch.
const TIME_MIN: i64 = -211_813_488_000_000_000;
/// The value of `-infinity`.
const LONG_AGO: i64 = i64::MIN;
/// The version of the binary form of `jsonb`.
const JSONB: u8 = 1;

/// Receives the fields of a row, in order.
pub(super) trait Fields {
    /// The buffer of the next field: a length of four bytes, then the value.
    fn next(&mut self) -> &mut Vec<u8>;

    /// Writes tags into the next field.
    fn tags(&mut self, tags: names::Tags<'_>);
}

fn put(fields: &mut impl Fields, value: &[u8]) {
    let out = fields.next();
    put_length(out, value.len());
    out.extend_from_slice(value);
}

fn put_option(fields: &mut impl Fields, value: Option<&[u8]>) {
    match value {
        Some(value) => put(fields, value),
        None => fields.next().extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}

fn put_number(fields: &mut impl Fields, number: i64) {
    put(fields, &number.to_be_bytes());
}

fn put_json(fields: &mut impl Fields, text: Option<&[u8]>) {
    let Some(text) = text else {
        return put_option(fields, None);
    };
    let out = fields.next();
    put_length(out, text.len() + 1);
    out.push(JSONB);
    out.extend_from_slice(text);
}

/// Writes an event.
pub(super) fn write(event: EventRef<'_>, fields: &mut impl Fields) {
    let [aggregate_id, correlation, causation, user, organization, _] = event.all_names();
    let (occurred, recorded) = (event.raw_time(), event.raw_recorded());
    put_number(fields, event.raw_position().cast_signed());
    put(fields, event.id().as_bytes());
    put(fields, aggregate_id.unwrap_or_default().as_bytes());
    put(fields, event.aggregate_type().as_bytes());
    put(fields, event.event_type().as_bytes());
    put_number(fields, i64::from(event.schema_version()));
    put_number(fields, i64::from(event.raw_version()));
    put_number(fields, time_in_table(occurred));
    put_number(fields, time_in_table(recorded));
    for name in [correlation, causation, user, organization] {
        put_option(fields, name.map(str::as_bytes));
    }
    fields.tags(event.tags());
    let kind = event.kind_arc();
    let metadata = Content::of(event.metadata(), &kind.metadata_type);
    let data = Content::of(event.data(), &kind.data_type);
    put_json(fields, metadata.json);
    put_json(fields, data.json);
    put_option(fields, metadata.bytes);
    put_option(fields, data.bytes);
    put_option(fields, type_of(&kind.metadata_type));
    put_option(fields, type_of(&kind.data_type));
    for micros in [occurred, recorded] {
        let exact = time_of(micros).is_none().then(|| micros.to_be_bytes());
        put_option(fields, exact.as_ref().map(<[u8; 8]>::as_slice));
    }
}

/// Identifies an event. An id alone is not enough: a repeated append may store it at another position, with a later time of recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) id: Uuid,
    /// The bytes of `recorded_at`.
    pub(super) recorded: Vec<u8>,
}

impl Mark {
    pub(super) fn of(event: EventRef<'_>) -> Self {
        Self {
            id: event.id(),
            recorded: time_in_table(event.raw_recorded()).to_be_bytes().to_vec(),
        }
    }
}

/// A time as stored in its column, relative to PostgreSQL's epoch.
pub(super) fn time_in_table(micros: i64) -> i64 {
    time_of(micros).unwrap_or(LONG_AGO)
}

/// A time relative to PostgreSQL's epoch; `None` when PostgreSQL does not support it.
fn time_of(micros: i64) -> Option<i64> {
    micros.checked_sub(SINCE_2000).filter(|time| *time >= TIME_MIN)
}

fn type_of(content_type: &ContentType) -> Option<&[u8]> {
    (*content_type != ContentType::Json).then(|| content_type.as_str().as_bytes())
}

/// Metadata or data in two columns, both NULL when there are no bytes.
pub(super) struct Content<'a> {
    pub(super) json: Option<&'a [u8]>,
    pub(super) bytes: Option<&'a [u8]>,
}

impl<'a> Content<'a> {
    pub(super) fn of(bytes: &'a [u8], content_type: &ContentType) -> Self {
        let verdict = if *content_type == ContentType::Json {
            json::judge(bytes)
        } else {
            Verdict::Refused
        };
        Self {
            json: (verdict != Verdict::Refused).then_some(bytes),
            bytes: (verdict != Verdict::Same && !bytes.is_empty()).then_some(bytes),
        }
    }
}

/// Reads rows, and keeps what many of them have in common.
#[derive(Debug, Default)]
pub(super) struct Reader {
    kinds: Schemas,
    tags: String,
    metadata: Vec<u8>,
    data: Vec<u8>,
}

/// The fields of a row; `None` for NULL.
pub(super) type Row<'a> = [Option<&'a [u8]>; COLUMNS];

/// A row's fields, as they are read one after another.
struct Values<'a, 'r> {
    row: &'r Row<'a>,
    next: usize,
}

impl<'a> Values<'a, '_> {
    fn option(&mut self) -> Option<&'a [u8]> {
        let field = self.row.get(self.next).copied().flatten();
        self.next += 1;
        field
    }

    fn bytes(&mut self) -> Result<&'a [u8], BadRow> {
        self.option().ok_or(BadRow::Field("a column is NULL that must not be"))
    }

    fn number(&mut self) -> Result<i64, BadRow> {
        let bytes = self.bytes()?.try_into();
        bytes
            .map(i64::from_be_bytes)
            .map_err(|_| BadRow::Field("a number does not have 8 bytes"))
    }

    fn option_number(&mut self) -> Option<i64> {
        self.option()?.try_into().ok().map(i64::from_be_bytes)
    }

    fn name(&mut self, longest: usize) -> Result<&'a str, BadRow> {
        let name = self.bytes().and_then(text)?;
        if name.is_empty() || name.len() > longest {
            return Err(BadRow::Field("a name is empty or too long"));
        }
        Ok(name)
    }

    fn option_name(&mut self) -> Result<Option<&'a str>, BadRow> {
        let name = self.option().map(text).transpose()?;
        if name.is_some_and(|name| name.len() > NAME_BYTES_MAX) {
            return Err(BadRow::Field("a name is too long"));
        }
        Ok(name)
    }

    fn content_type(&mut self) -> Result<ContentType, BadRow> {
        Ok(self.option_name()?.map_or(ContentType::Json, ContentType::from))
    }
}

impl Reader {
    /// Adds the event of a row to `batch`, at `position`.
    pub(super) fn read(&mut self, fields: &Row<'_>, position: u64, batch: &mut Batch) -> Result<(), BadRow> {
        let mut row = Values { row: fields, next: 1 };
        let id = Uuid::from_slice(row.bytes()?).map_err(|_| BadRow::Field("an id does not have 16 bytes"))?;
        let aggregate_id = row.name(STREAM_BYTES_MAX)?;
        let (aggregate_type, event_type) = (row.name(NAME_BYTES_MAX)?, row.name(NAME_BYTES_MAX)?);
        let schema_version =
            u32::try_from(row.number()?).map_err(|_| BadRow::Field("its schema version is invalid"))?;
        let version = u32::try_from(row.number()?).ok().filter(|version| *version > 0);
        let version = version.ok_or(BadRow::Field("its version is invalid"))?;
        let times = [row.number()?, row.number()?];
        let [correlation_id, causation_id] = [row.option_name()?, row.option_name()?];
        let [user_id, organization_id] = [row.option_name()?, row.option_name()?];
        read_tags(row.bytes()?, &mut self.tags)?;
        let jsons = [row.option(), row.option()];
        let metadata = content(row.option(), jsons[0], &mut self.metadata)?;
        let data = content(row.option(), jsons[1], &mut self.data)?;
        let [metadata_type, data_type] = [row.content_type()?, row.content_type()?];
        let time = micros(["occurred_at", "occurred_micros"], row.option_number(), times[0])?;
        let recorded = micros(["recorded_at", "recorded_micros"], row.option_number(), times[1])?;
        let kind = self.kinds.shared(&SchemaRef {
            aggregate_type,
            event_type,
            schema_version,
            data_type: &data_type,
            metadata_type: &metadata_type,
        });
        let names = Names {
            aggregate_id,
            correlation_id,
            causation_id,
            user_id,
            organization_id,
            tags: (!self.tags.is_empty()).then_some(&self.tags),
        };
        batch.push_unique(
            &kind,
            &Unique {
                position,
                version,
                id,
                time,
                recorded,
                names,
                metadata,
                data,
            },
        );
        Ok(())
    }
}

/// Microseconds since 1970: from the exact column if it is set, or else from the timestamp.
///
/// # Errors
///
/// When the time is outside the range of a store, which is smaller than that of SQL.
fn micros([column, micros]: [&'static str; 2], exact: Option<i64>, time: i64) -> Result<i64, BadRow> {
    let since_1970 = match (exact, time) {
        (Some(exact), _) => Ok(i128::from(exact)),
        (None, i64::MAX) => Err(Beyond::Infinity("infinity")),
        (None, i64::MIN) => Err(Beyond::Infinity("-infinity")),
        (None, time) => Ok(i128::from(time) + i128::from(SINCE_2000)),
    };
    let held = since_1970.and_then(|number| {
        let time = i64::try_from(number)
            .ok()
            .and_then(|time| Timestamp::try_from_micros(time).ok());
        time.map(Timestamp::as_micros).ok_or(Beyond::Micros(number))
    });
    held.map_err(|time| BadRow::Time { column, micros, time })
}

/// The bytes of metadata or data.
fn content<'a>(bytes: Option<&'a [u8]>, json: Option<&[u8]>, room: &'a mut Vec<u8>) -> Result<&'a [u8], BadRow> {
    room.clear();
    if let Some(bytes) = bytes {
        return Ok(bytes);
    }
    match json.map(<[u8]>::split_first) {
        None => {}
        Some(Some((&JSONB, text))) => json::compact(text, room),
        Some(_) => return Err(BadRow::Field("a jsonb has an unknown binary form")),
    }
    Ok(room)
}
