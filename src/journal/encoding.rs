//! Batches for serde: what a journal of another crate stores, and what it makes a batch from again.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::{Batch, Mark, Record};
use crate::event::system::STREAM_BYTES_MAX;
use crate::settings::{NAME_BYTES_MAX, TAGS_MAX};
use crate::{EventRef, Gap, Position, Timestamp, Version};

/// The bytes of an event at most, as in the settings.
const PAYLOAD_BYTES_MAX: usize = 1 << 30;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EncodedBatch<'a> {
    first: u64,
    last: u64,
    events: Vec<EncodedEvent<'a>>,
    gaps: Cow<'a, [Gap]>,
    marks: Cow<'a, [Mark]>,
}

/// An event. Times are microseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EncodedEvent<'a> {
    position: u64,
    version: u32,
    id: Uuid,
    timestamp: i64,
    recorded_at: i64,
    aggregate_type: Cow<'a, str>,
    aggregate_id: Cow<'a, str>,
    event_type: Cow<'a, str>,
    schema_version: u32,
    correlation_id: Option<Cow<'a, str>>,
    causation_id: Option<Cow<'a, str>>,
    user_id: Option<Cow<'a, str>>,
    organization_id: Option<Cow<'a, str>>,
    tags: Vec<Cow<'a, str>>,
    metadata_type: Cow<'a, str>,
    metadata: EncodedBytes<'a>,
    data_type: Cow<'a, str>,
    data: EncodedBytes<'a>,
}

/// Bytes; in a format for people a string if they are UTF-8, and numbers otherwise.
struct EncodedBytes<'a>(Cow<'a, [u8]>);

impl Serialize for EncodedBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(&*self.0),
        }
    }
}

impl<'de> Deserialize<'de> for EncodedBytes<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(BytesVisitor)
        } else {
            deserializer.deserialize_byte_buf(BytesVisitor)
        }
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = EncodedBytes<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, a string, or an array of numbers from 0 to 255")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(EncodedBytes(Cow::Owned(bytes.to_vec())))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
        Ok(EncodedBytes(Cow::Owned(bytes)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_bytes(text.as_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        self.visit_byte_buf(bytes)
    }
}

impl<'a> EncodedEvent<'a> {
    fn of(event: EventRef<'a>, [data_type, metadata_type]: [String; 2]) -> Self {
        Self {
            position: event.position().0,
            version: event.raw_version(),
            id: event.id(),
            timestamp: event.timestamp().as_micros(),
            recorded_at: event.recorded_at().as_micros(),
            aggregate_type: event.aggregate_type().into(),
            aggregate_id: event.aggregate_id().into(),
            event_type: event.event_type().into(),
            schema_version: event.schema_version(),
            correlation_id: event.correlation_id().map(Cow::Borrowed),
            causation_id: event.causation_id().map(Cow::Borrowed),
            user_id: event.user_id().map(Cow::Borrowed),
            organization_id: event.organization_id().map(Cow::Borrowed),
            tags: event.tags().map(Cow::Borrowed).collect(),
            metadata_type: metadata_type.into(),
            metadata: EncodedBytes(event.metadata().into()),
            data_type: data_type.into(),
            data: EncodedBytes(event.data().into()),
        }
    }

    /// Checks the limits that the store in memory relies on.
    fn check(&self) -> Result<(), String> {
        let at = |what: &str| Err(format!("the event at position {} {what}", self.position));
        let options = [
            &self.correlation_id,
            &self.causation_id,
            &self.user_id,
            &self.organization_id,
        ];
        let optional = options.into_iter().flatten().chain(&self.tags);
        let types = [&self.aggregate_type, &self.event_type];
        let is_long = |name: &&Cow<'_, str>| name.len() > NAME_BYTES_MAX || name.contains('\0');
        if optional
            .chain(types)
            .chain([&self.metadata_type, &self.data_type])
            .any(|name| is_long(&name))
        {
            return at("has a name that is too long, or contains U+0000");
        }
        if types.iter().any(|name| name.is_empty()) || self.aggregate_id.is_empty() || self.version == 0 {
            return at("lacks its type, its aggregate or its version");
        }
        if self.aggregate_id.len() > STREAM_BYTES_MAX || self.aggregate_id.contains('\0') {
            return at("has an aggregate id that is too long, or contains U+0000");
        }
        if self.tags.len() > TAGS_MAX || self.metadata.0.len().saturating_add(self.data.0.len()) > PAYLOAD_BYTES_MAX {
            return at("has too many tags, or too many bytes");
        }
        Ok(())
    }

    fn push_to(&self, batch: &mut Batch) {
        let tags: Vec<_> = self.tags.iter().map(|tag| &**tag).collect();
        batch.push(&Record {
            position: Position(self.position),
            version: Version(u64::from(self.version)),
            id: self.id,
            timestamp: Timestamp::from_micros(self.timestamp),
            recorded_at: Timestamp::from_micros(self.recorded_at),
            aggregate_id: &self.aggregate_id,
            aggregate_type: &self.aggregate_type,
            event_type: &self.event_type,
            schema_version: self.schema_version,
            correlation_id: self.correlation_id.as_deref(),
            causation_id: self.causation_id.as_deref(),
            user_id: self.user_id.as_deref(),
            organization_id: self.organization_id.as_deref(),
            tags: &tags,
            metadata_type: &self.metadata_type,
            metadata: &self.metadata.0,
            data_type: &self.data_type,
            data: &self.data.0,
        });
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_whole() {
            return Err(S::Error::custom(
                "the batch has positions without an event that were not skipped",
            ));
        }
        let types =
            |event: EventRef<'_>| [event.data_type(), event.metadata_type()].map(|kind| kind.as_str().to_owned());
        EncodedBatch {
            first: self.first_position().0,
            last: self.last_position().0,
            events: self
                .events()
                .map(|event| EncodedEvent::of(event, types(event)))
                .collect(),
            gaps: self.gaps().into(),
            marks: self.marks().into(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let encoded = EncodedBatch::deserialize(deserializer)?;
        decode(&encoded).map_err(D::Error::custom)
    }
}

/// Positions between the first and the last that have no event are skipped.
fn decode(encoded: &EncodedBatch<'_>) -> Result<Batch, String> {
    let mut batch = Batch::new();
    let mut next = encoded.first;
    if next == 0 && (encoded.last > 0 || !encoded.events.is_empty()) {
        return Err("positions begin with 1".to_owned());
    }
    for event in &encoded.events {
        event.check()?;
        if event.position < next || event.position > encoded.last {
            return Err(format!("position {} is out of order", event.position));
        }
        skip(&mut batch, next, event.position - 1);
        event.push_to(&mut batch);
        next = event.position + 1;
    }
    if next > 0 {
        skip(&mut batch, next, encoded.last);
    }
    for gap in encoded.gaps.iter() {
        batch.push_gap(gap.clone());
    }
    for mark in encoded.marks.iter() {
        let is_next = batch.marks().last().is_none_or(|last| last.position < mark.position);
        if !is_next || u32::try_from(mark.version.0).is_err() {
            return Err(format!("the mark at position {} is out of order", mark.position));
        }
        batch.push_mark(mark.clone());
    }
    Ok(batch)
}

fn skip(batch: &mut Batch, first: u64, last: u64) {
    if first <= last {
        batch.skip(Position(first), Position(last));
    }
}
