//! Events as the content of a frame: first the kinds, then the events.

use std::sync::Arc;

use bincode::de::{BorrowDecode, BorrowDecoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};
use hashbrown::HashMap;
use smallvec::SmallVec;
use uuid::Uuid;

use super::codec;
use super::format::FRAME_BYTES_MAX;
use crate::event::names::{self, Names};
use crate::event::system::STREAM_BYTES_MAX;
use crate::event::{EventSchema, SchemaRef};
use crate::journal::Batch;
use crate::journal::batch::Unique;
use crate::settings::{NAME_BYTES_MAX, TAGS_MAX};
use crate::{ContentType, EventRef, Timestamp};

/// The fields that many events of a frame share.
#[derive(Debug, bincode::Encode, bincode::BorrowDecode)]
struct WireKind<'a> {
    aggregate_type: &'a str,
    event_type: &'a str,
    schema_version: u32,
    data_type: WireType<'a>,
    metadata_type: WireType<'a>,
}

#[derive(Debug, bincode::Encode, bincode::BorrowDecode)]
enum WireType<'a> {
    Json,
    Bytes,
    Other(&'a str),
}

impl<'a> From<&'a ContentType> for WireType<'a> {
    fn from(content_type: &'a ContentType) -> Self {
        match content_type {
            ContentType::Json => Self::Json,
            ContentType::Bytes => Self::Bytes,
            ContentType::Other(name) => Self::Other(name),
        }
    }
}

impl From<WireType<'_>> for ContentType {
    fn from(wire: WireType<'_>) -> Self {
        match wire {
            WireType::Json => Self::Json,
            WireType::Bytes => Self::Bytes,
            WireType::Other(name) => name.into(),
        }
    }
}

/// One event. Its position follows from its place in the frame.
#[derive(Debug, bincode::Encode, bincode::BorrowDecode)]
struct WireEvent<'a> {
    kind: u32,
    version: u32,
    id: [u8; 16],
    /// Microseconds from the time of the event before; from 1970 for the first.
    time_step: i64,
    /// Microseconds from its time to its recording.
    delay: i64,
    aggregate_id: &'a str,
    correlation_id: Option<&'a str>,
    causation_id: Option<&'a str>,
    user_id: Option<&'a str>,
    organization_id: Option<&'a str>,
    tags: WireTags<'a>,
    metadata: &'a [u8],
    data: &'a [u8],
}

/// Tags: their number in one byte, then each. The number does not cause an allocation.
#[derive(Debug, Default)]
struct WireTags<'a>(SmallVec<[&'a str; 4]>);

impl Encode for WireTags<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let count = u8::try_from(self.0.len()).map_err(|_| EncodeError::Other("more than 255 tags"))?;
        count.encode(encoder)?;
        self.0.iter().try_for_each(|tag| tag.encode(encoder))
    }
}

impl<'de: 'a, 'a, C> BorrowDecode<'de, C> for WireTags<'a> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let count = u8::borrow_decode(decoder)?;
        if usize::from(count) > TAGS_MAX {
            return Err(DecodeError::Other("too many tags"));
        }
        let mut tags = SmallVec::new();
        for _ in 0..count {
            tags.push(<&'a str>::borrow_decode(decoder)?);
        }
        Ok(Self(tags))
    }
}

/// Why the content of a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadContent {
    #[error("it is not valid bincode: {0}")]
    Codec(DecodeError),
    #[error("{0}")]
    Value(&'static str),
}

impl From<DecodeError> for BadContent {
    fn from(error: DecodeError) -> Self {
        Self::Codec(error)
    }
}

/// Encodes runs of events, one frame's content after another.
#[derive(Debug, Default)]
pub(super) struct FrameEncoder {
    kinds: Vec<Arc<EventSchema>>,
    /// The index of a kind, by its address, which `kinds` keeps alive.
    places: HashMap<usize, u32, foldhash::fast::RandomState>,
    kind_bytes: Vec<u8>,
    event_bytes: Vec<u8>,
    time: i64,
    events: u32,
}

impl FrameEncoder {
    pub(super) fn events(&self) -> u32 {
        self.events
    }

    /// The size of the content so far.
    pub(super) fn bytes(&self) -> usize {
        // The number of kinds takes at most five bytes.
        5 + self.kind_bytes.len() + self.event_bytes.len()
    }

    /// Encodes the number of positions between two events, before each event of a sparse frame.
    pub(super) fn skip(&mut self, positions: u64) -> Result<(), EncodeError> {
        codec::encode(&positions, &mut self.event_bytes)
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: EventRef<'_>) -> Result<(), EncodeError> {
        let kind = self.place_of_kind(event.kind_arc())?;
        let [aggregate_id, correlation_id, causation_id, user_id, organization_id, _] = event.all_names();
        let time = event.raw_time();
        let wire = WireEvent {
            kind,
            version: event.raw_version(),
            id: event.id().into_bytes(),
            time_step: time.wrapping_sub(self.time),
            delay: event.raw_recorded().wrapping_sub(time),
            aggregate_id: aggregate_id.unwrap_or_default(),
            correlation_id,
            causation_id,
            user_id,
            organization_id,
            tags: WireTags(event.tags().collect()),
            metadata: event.metadata(),
            data: event.data(),
        };
        codec::encode(&wire, &mut self.event_bytes)?;
        self.time = time;
        self.events += 1;
        Ok(())
    }

    fn place_of_kind(&mut self, kind: &Arc<EventSchema>) -> Result<u32, EncodeError> {
        let address = Arc::as_ptr(kind).addr();
        if let Some(place) = self.places.get(&address) {
            return Ok(*place);
        }
        let wire = WireKind {
            aggregate_type: &kind.aggregate_type,
            event_type: &kind.event_type,
            schema_version: kind.schema_version,
            data_type: (&kind.data_type).into(),
            metadata_type: (&kind.metadata_type).into(),
        };
        codec::encode(&wire, &mut self.kind_bytes)?;
        let place = self.kinds.len() as u32;
        self.places.insert(address, place);
        self.kinds.push(Arc::clone(kind));
        Ok(place)
    }

    /// Appends the content to `out` and resets the encoder. Returns the number of events.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<u32, EncodeError> {
        codec::encode(&(self.kinds.len() as u32), out)?;
        out.extend_from_slice(&self.kind_bytes);
        out.extend_from_slice(&self.event_bytes);
        let events = self.events;
        self.kinds.clear();
        self.places.clear();
        self.kind_bytes.clear();
        self.event_bytes.clear();
        self.time = 0;
        self.events = 0;
        Ok(events)
    }
}

/// Decodes the content of a frame with `events` events, the first at position `first`, into `batch`.
pub(super) fn decode(mut content: &[u8], events: u32, first: u64, batch: &mut Batch) -> Result<(), BadContent> {
    let mut positions = first..first.saturating_add(u64::from(events));
    let next = |_: &mut &[u8], _: &mut Batch| Ok(positions.next().unwrap_or(u64::MAX));
    decode_events(&mut content, events, next, batch)
}

/// Decodes kinds and events to the end of the content. `next` returns the position of each event, and may decode it.
pub(super) fn decode_events<'a>(
    bytes: &mut &'a [u8],
    events: u32,
    mut next: impl FnMut(&mut &'a [u8], &mut Batch) -> Result<u64, BadContent>,
    batch: &mut Batch,
) -> Result<(), BadContent> {
    let kinds = decode_kinds(bytes, batch)?;
    let mut time = 0;
    let mut tags = String::new();
    for _ in 0..events {
        let position = next(bytes, batch)?;
        let event: WireEvent<'_> = codec::decode(bytes)?;
        let kind = kinds
            .get(event.kind as usize)
            .ok_or(BadContent::Value("an event has an invalid kind"))?;
        time = time_of(time, event.time_step)?;
        check(&event)?;
        tags.clear();
        names::write_tags_to(event.tags.0.iter().copied(), &mut tags);
        let unique = Unique {
            position,
            version: event.version,
            id: Uuid::from_bytes(event.id),
            time,
            recorded: time_of(time, event.delay)?,
            names: Names {
                aggregate_id: event.aggregate_id,
                correlation_id: event.correlation_id,
                causation_id: event.causation_id,
                user_id: event.user_id,
                organization_id: event.organization_id,
                tags: (!tags.is_empty()).then_some(&tags),
            },
            metadata: event.metadata,
            data: event.data,
        };
        batch.push_unique(kind, &unique);
    }
    if bytes.is_empty() {
        Ok(())
    } else {
        Err(BadContent::Value("there are bytes after the last event"))
    }
}

/// # Errors
///
/// [`BadContent::Value`] for a time outside the supported range, which no writer writes.
fn time_of(before: i64, step: i64) -> Result<i64, BadContent> {
    let time = before
        .checked_add(step)
        .and_then(|micros| Timestamp::try_from_micros(micros).ok());
    Ok(time.ok_or(BadContent::Value("a time is out of range"))?.as_micros())
}

fn decode_kinds(bytes: &mut &[u8], batch: &mut Batch) -> Result<Vec<Arc<EventSchema>>, BadContent> {
    let count: u32 = codec::decode(bytes)?;
    let mut kinds = Vec::new();
    for _ in 0..count {
        let wire: WireKind<'_> = codec::decode(bytes)?;
        let [data_type, metadata_type] = [wire.data_type.into(), wire.metadata_type.into()];
        let kind = SchemaRef {
            aggregate_type: wire.aggregate_type,
            event_type: wire.event_type,
            schema_version: wire.schema_version,
            data_type: &data_type,
            metadata_type: &metadata_type,
        };
        let names = [kind.aggregate_type, kind.event_type];
        if names.iter().any(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
            return Err(BadContent::Value("a type is empty or too long"));
        }
        let types = [kind.data_type, kind.metadata_type];
        if types
            .iter()
            .any(|content_type| content_type.as_str().len() > NAME_BYTES_MAX)
        {
            return Err(BadContent::Value("a content type is too long"));
        }
        if names.iter().any(|name| has_zero(name)) || types.iter().any(|content| has_zero(content.as_str())) {
            return Err(BadContent::Value("a type contains U+0000"));
        }
        kinds.push(batch.kind(&kind));
    }
    Ok(kinds)
}

/// Checks the limits that the store in memory relies on.
fn check(event: &WireEvent<'_>) -> Result<(), BadContent> {
    if event.aggregate_id.is_empty() || event.aggregate_id.len() > STREAM_BYTES_MAX {
        return Err(BadContent::Value("an aggregate id is empty or too long"));
    }
    let names = [
        event.correlation_id,
        event.causation_id,
        event.user_id,
        event.organization_id,
    ];
    let is_long = |name: &&str| name.len() > NAME_BYTES_MAX;
    if names.iter().flatten().any(is_long) || event.tags.0.iter().any(is_long) {
        return Err(BadContent::Value("a name is too long"));
    }
    let tags = event.tags.0.iter();
    if has_zero(event.aggregate_id) || names.iter().flatten().chain(tags).any(|name| has_zero(name)) {
        return Err(BadContent::Value("a name contains U+0000"));
    }
    if event.version == 0 {
        return Err(BadContent::Value("an event has no version"));
    }
    if event.metadata.len() + event.data.len() > FRAME_BYTES_MAX as usize {
        return Err(BadContent::Value("an event is too long"));
    }
    Ok(())
}

/// Whether it has what no name of an event may have.
fn has_zero(name: &str) -> bool {
    name.as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wincode::config::Configuration;

    use super::*;
    use crate::{Position, Version};

    /// An event as the codec sees it, without names: what comes after what.
    type Plain = (
        (u32, u32, [u8; 16], i64, i64, String),
        [Option<String>; 4],
        (u8, String, String),
        (Vec<u8>, Vec<u8>),
    );

    fn wire(plain: &Plain) -> WireEvent<'_> {
        let (head, names, tags, payload) = plain;
        let [correlation_id, causation_id, user_id, organization_id] = names.each_ref().map(Option::as_deref);
        WireEvent {
            kind: head.0,
            version: head.1,
            id: head.2,
            time_step: head.3,
            delay: head.4,
            aggregate_id: &head.5,
            correlation_id,
            causation_id,
            user_id,
            organization_id,
            tags: WireTags([tags.1.as_str(), tags.2.as_str()].into_iter().collect()),
            metadata: &payload.0,
            data: &payload.1,
        }
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let name = || prop_oneof!["[a-zø]{0,12}", "x{248,254}"];
        let number = || prop_oneof![any::<i64>(), -70_000..70_000_i64, -200..200_i64];
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        (
            (
                any::<u32>(),
                0..70_000_u32,
                any::<[u8; 16]>(),
                number(),
                number(),
                name(),
            ),
            prop::array::uniform4(prop::option::of(name())),
            (Just(2), name(), name()),
            (bytes(), bytes()),
        )
    }

    proptest! {
        #[test]
        fn another_codec_writes_and_reads_the_same_bytes(plain in plain()) {
            let config = Configuration::default().with_varint_encoding();
            let mut ours = Vec::new();
            codec::encode(&wire(&plain), &mut ours).unwrap();
            let theirs = wincode::config::serialize(&plain, config).unwrap();
            prop_assert_eq!(&ours, &theirs);
            let read: Plain = wincode::config::deserialize(&ours, config).unwrap();
            prop_assert_eq!(&read, &plain);
            let mut rest = theirs.as_slice();
            let read: WireEvent<'_> = codec::decode(&mut rest).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{:?}", wire(&plain)));
            prop_assert!(rest.is_empty());
        }
    }

    /// The content of the example in `docs/file-format.md`.
    const CONTENT: [u8; 60] = *b"\x01\x07Account\x06Opened\x01\0\0\
        \0\x01\x01\x92\xf0\xe0\0\0\x70\0\x80\0\0\0\0\0\0\xaa\xfc\x80\x84\x1e\0\x0a\x03a-1\0\0\0\0\x01\x03new\0\x02{}";

    #[test]
    fn each_frame_that_was_read_kept_kinds_of_its_own() {
        let mut batch = Batch::new();
        decode(&CONTENT, 1, 1, &mut batch).unwrap();
        decode(&CONTENT, 1, 2, &mut batch).unwrap();
        let kinds: Vec<_> = batch.events().map(EventRef::kind_arc).collect();
        assert!(Arc::ptr_eq(kinds[0], kinds[1]));
    }

    #[test]
    fn an_event_is_these_bytes() {
        let mut batch = Batch::new();
        decode(&CONTENT, 1, 1, &mut batch).unwrap();
        let event = batch.events().next().unwrap();
        assert_eq!((event.position(), event.version()), (Position(1), Version(1)));
        assert_eq!((event.aggregate_id(), event.event_type()), ("a-1", "Opened"));
        assert_eq!(event.recorded_at(), Timestamp::from_micros(1_000_005));
        let (mut encoder, mut content) = (FrameEncoder::default(), Vec::new());
        encoder.push(event).unwrap();
        assert_eq!(encoder.finish(&mut content).unwrap(), 1);
        assert_eq!(content, CONTENT);
    }
}
