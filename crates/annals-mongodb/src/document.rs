//! Events as documents, and back.

use annals::journal::{Batch, Record};
use annals::{EventRef, Position, Timestamp, Version};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use uuid::Uuid;

const JSON: &str = "application/json";
/// The years 1 and 9999, in milliseconds: drivers of some languages cannot read other dates.
const DATES: [i64; 2] = [-62_135_596_800_000, 253_402_300_799_999];
/// The collection with the data of snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// The type of events that are snapshots.
const SNAPSHOTTED: &str = "$snapshotted";
/// Limits that the store in memory relies on: bytes of a name, of the id of a system stream, and tags.
const NAME_BYTES_MAX: usize = 1024;
const STREAM_BYTES_MAX: usize = NAME_BYTES_MAX + 11;
const TAGS_MAX: usize = 32;
const KEY_BYTES: usize = 20;

/// Who writes a document: the epoch of the writer, and the id of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) epoch: i64,
    pub(crate) batch: Uuid,
}

/// A document of `events`, and the one of `snapshots` that has its data.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) position: u64,
    pub(crate) event: RawDocumentBuf,
    pub(crate) snapshot: Option<RawDocumentBuf>,
}

impl Encoded {
    pub(crate) fn bytes(&self) -> usize {
        let of_snapshot = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.as_bytes().len());
        self.event.as_bytes().len() + of_snapshot
    }

    /// The larger of its documents.
    pub(crate) fn largest(&self) -> usize {
        let of_snapshot = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.as_bytes().len());
        self.event.as_bytes().len().max(of_snapshot)
    }
}

/// The documents of an event.
///
/// # Errors
///
/// The reason why they are no documents.
pub(crate) fn encode(event: EventRef<'_>, origin: Origin) -> Result<Encoded, String> {
    let raw = |document: &Document| RawDocumentBuf::try_from(document).map_err(|error| error.to_string());
    let mut document = names(event);
    let mut snapshot = None;
    if event.event_type() == SNAPSHOTTED {
        document.insert("dataIn", SNAPSHOTS);
        let mut data = doc! {
            "_id": key(event.position().0),
            "aggregateId": event.aggregate_id(),
            "version": number(event.version().0),
            "timestamp": date(event.timestamp()),
            "state": bytes(event.data()),
        };
        add_origin(&mut data, origin);
        snapshot = Some(raw(&data)?);
    } else {
        document.insert("eventData", bytes(event.data()));
    }
    document.insert("metadata", metadata(event));
    add_origin(&mut document, origin);
    Ok(Encoded {
        position: event.position().0,
        event: raw(&document)?,
        snapshot,
    })
}

fn names(event: EventRef<'_>) -> Document {
    let mut document = doc! {
        "_id": key(event.position().0),
        "eventId": id(event.id()),
        "aggregateId": event.aggregate_id(),
        "aggregateType": event.aggregate_type(),
        "eventType": event.event_type(),
        "eventVersion": i64::from(event.schema_version()),
        "sequenceNumber": number(event.version().0),
        "timestamp": date(event.timestamp()),
        "timestampMicros": event.timestamp().as_micros(),
        "recordedAtMicros": event.recorded_at().as_micros(),
    };
    let (data, metadata) = (event.data_type(), event.metadata_type());
    for (name, kind) in [("dataType", data.as_str()), ("metadataType", metadata.as_str())] {
        if kind != JSON {
            document.insert(name, kind);
        }
    }
    document
}

fn metadata(event: EventRef<'_>) -> Document {
    let mut document = Document::new();
    let names = [
        ("correlationId", event.correlation_id()),
        ("causationId", event.causation_id()),
        ("userId", event.user_id()),
        ("organizationId", event.organization_id()),
    ];
    for (name, value) in names {
        if let Some(value) = value {
            document.insert(name, value);
        }
    }
    let tags: Vec<_> = event.tags().map(|tag| Bson::String(tag.to_owned())).collect();
    if !tags.is_empty() {
        document.insert("tags", tags);
    }
    if !event.metadata().is_empty() {
        document.insert("data", bytes(event.metadata()));
    }
    document
}

fn add_origin(document: &mut Document, origin: Origin) {
    document.insert("batch", id(origin.batch));
    document.insert("epoch", origin.epoch);
}

/// Positions and versions are below 2^63.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// For queries of other programs. The exact time is beside it.
fn date(time: Timestamp) -> DateTime {
    let [least, most] = DATES;
    DateTime::from_millis(time.as_micros().div_euclid(1000).clamp(least, most))
}

fn bytes(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

pub(crate) fn id(id: Uuid) -> Binary {
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: id.as_bytes().to_vec(),
    }
}

/// Adds the event of a document to a batch whose last position is lower.
///
/// # Errors
///
/// The field that is missing or invalid.
pub(crate) fn push(batch: &mut Batch, document: &RawDocument, snapshot: Option<&RawDocument>) -> Result<(), String> {
    let position = position(document).ok_or("_id is no position")?;
    let version = unsigned(document, "sequenceNumber")?;
    if version == 0 || u32::try_from(version).is_err() {
        return Err("sequenceNumber is no version".to_owned());
    }
    let metadata = document.get_document("metadata").map_err(|_| missing("metadata"))?;
    let tags = tags(metadata)?;
    let data = match snapshot {
        Some(snapshot) => binary(snapshot, "state")?,
        None => binary(document, "eventData")?,
    };
    let mut record = Record::new(Position(position), Version(version), uuid(document, "eventId")?);
    record.timestamp = Timestamp::from_micros(signed(document, "timestampMicros")?);
    record.recorded_at = Timestamp::from_micros(signed(document, "recordedAtMicros")?);
    record.aggregate_id = text(document, "aggregateId")?;
    record.aggregate_type = text(document, "aggregateType")?;
    record.event_type = text(document, "eventType")?;
    let schema = unsigned(document, "eventVersion")?;
    record.schema_version = u32::try_from(schema).map_err(|_| missing("eventVersion"))?;
    record.correlation_id = optional(metadata, "correlationId")?;
    record.causation_id = optional(metadata, "causationId")?;
    record.user_id = optional(metadata, "userId")?;
    record.organization_id = optional(metadata, "organizationId")?;
    record.tags = &tags;
    record.data_type = optional(document, "dataType")?.unwrap_or(JSON);
    record.metadata_type = optional(document, "metadataType")?.unwrap_or(JSON);
    record.metadata = match metadata.get("data") {
        Ok(None) => &[],
        _ => binary(metadata, "data")?,
    };
    record.data = data;
    check(&record)?;
    batch.push(&record);
    Ok(())
}

fn check(record: &Record<'_>) -> Result<(), String> {
    let optional = [
        record.correlation_id,
        record.causation_id,
        record.user_id,
        record.organization_id,
    ];
    let names = [
        record.aggregate_type,
        record.event_type,
        record.data_type,
        record.metadata_type,
    ];
    let is_invalid = |name: &&str| name.len() > NAME_BYTES_MAX || name.contains('\0');
    let mut all = optional
        .into_iter()
        .flatten()
        .chain(record.tags.iter().copied())
        .chain(names);
    let id = record.aggregate_id;
    if all.any(|name| is_invalid(&name)) || id.len() > STREAM_BYTES_MAX || id.contains('\0') {
        return Err("a name is too long, or contains U+0000".to_owned());
    }
    if record.tags.len() > TAGS_MAX {
        return Err(format!("it has more than {TAGS_MAX} tags"));
    }
    Ok(())
}

/// Whether the data of an event are in `snapshots`.
pub(crate) fn is_snapshot(document: &RawDocument) -> bool {
    document
        .get_str("dataIn")
        .is_ok_and(|collection| collection == SNAPSHOTS)
}

/// The `_id` of a position: 20 digits, whose order as text is that of the numbers on every server.
pub(crate) fn key(position: u64) -> String {
    format!("{position:020}")
}

pub(crate) fn position(document: &RawDocument) -> Option<u64> {
    let id = document.get_str("_id").ok().filter(|id| id.len() == KEY_BYTES)?;
    id.parse().ok().filter(|position| *position > 0)
}

/// The origin; `None` for a document of another program.
pub(crate) fn origin(document: &RawDocument) -> Option<Origin> {
    Some(Origin {
        epoch: integer(document, "epoch")?,
        batch: uuid(document, "batch").ok()?,
    })
}

/// An integer. Servers and tools may store a small one with 32 bits, or as a floating-point number.
#[expect(clippy::cast_precision_loss, reason = "only a number that is exact is taken")]
#[expect(clippy::float_cmp, reason = "as above")]
pub(crate) fn integer(document: &RawDocument, name: &str) -> Option<i64> {
    let value = document.get(name).ok()??;
    let of_float = |float: f64| ((float as i64) as f64 == float).then_some(float as i64);
    value
        .as_i64()
        .or_else(|| value.as_i32().map(i64::from))
        .or_else(|| value.as_f64().and_then(of_float))
}

fn signed(document: &RawDocument, name: &str) -> Result<i64, String> {
    integer(document, name).ok_or_else(|| missing(name))
}

fn unsigned(document: &RawDocument, name: &str) -> Result<u64, String> {
    u64::try_from(signed(document, name)?).map_err(|_| missing(name))
}

fn text<'a>(document: &'a RawDocument, name: &str) -> Result<&'a str, String> {
    let text = document.get_str(name).ok().filter(|text| !text.is_empty());
    text.ok_or_else(|| missing(name))
}

fn optional<'a>(document: &'a RawDocument, name: &str) -> Result<Option<&'a str>, String> {
    match document.get(name) {
        Ok(None) => Ok(None),
        Ok(Some(RawBsonRef::String(text))) => Ok(Some(text)),
        _ => Err(missing(name)),
    }
}

fn binary<'a>(document: &'a RawDocument, name: &str) -> Result<&'a [u8], String> {
    let binary = document.get_binary(name).map_err(|_| missing(name))?;
    Ok(binary.bytes)
}

fn uuid(document: &RawDocument, name: &str) -> Result<Uuid, String> {
    Uuid::from_slice(binary(document, name)?).map_err(|_| missing(name))
}

fn tags(metadata: &RawDocument) -> Result<Vec<&str>, String> {
    let Ok(Some(tags)) = metadata.get("tags") else {
        return Ok(Vec::new());
    };
    let tags = tags.as_array().ok_or_else(|| missing("metadata.tags"))?;
    let tags = tags.into_iter().map(|tag| tag.ok().and_then(|tag| tag.as_str()));
    tags.collect::<Option<_>>().ok_or_else(|| missing("metadata.tags"))
}

fn missing(name: &str) -> String {
    format!("the field {name} is missing or invalid")
}
