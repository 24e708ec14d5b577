//! Messages: the events of one aggregate in one append.

use annals::journal::{Batch, JournalError, Record, RemoteAppend};
use annals::{EventRef, NewEvent, Position, Timestamp, Version};
use bincode::config::{self, Configuration};
use bincode::error::DecodeError;
use uuid::Uuid;

/// The first byte of a body, its layout: an append, or a part of one, with the number of the part and how many there are.
const WHOLE: u8 = 1;
const PART: u8 = 2;
/// Bytes that the body of a message may claim to need.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 30;
/// Parts of an append: the server takes no more messages in a batch.
pub(crate) const PARTS_MAX: usize = 1000;

/// The body of a message.
#[derive(Debug)]
pub(crate) struct Body {
    /// The number of the part, from 1, and how many the append has.
    pub(crate) part: (u16, u16),
    pub(crate) events: Batch,
}

/// The body of the append, or the part of one, whose first event gets the version `first`: the events as a [`Batch`] serializes itself. Their positions in
/// it count from 1, because the stream numbers messages only once it has them.
pub(crate) fn encode(
    append: &RemoteAppend<'_>,
    part: (u16, u16),
    first: u64,
    now: Timestamp,
) -> Result<Vec<u8>, JournalError> {
    let mut batch = Batch::new();
    for (place, (event, id)) in (0..).zip(append.events().iter().zip(append.ids())) {
        push(&mut batch, append, event, (place + 1, first + place, *id), now);
    }
    let mut body = match part {
        (1, 1) => vec![WHOLE],
        (number, count) => [&[PART][..], &number.to_be_bytes(), &count.to_be_bytes()].concat(),
    };
    bincode::serde::encode_into_std_write(&batch, &mut body, config::standard())
        .map_err(|error| JournalError::failed("cannot encode the events of an append").caused_by(error))?;
    Ok(body)
}

fn push(
    batch: &mut Batch,
    append: &RemoteAppend<'_>,
    event: &NewEvent<'_>,
    (position, version, id): (u64, u64, Uuid),
    now: Timestamp,
) {
    let tags: Vec<&str> = event.tags.iter().map(|tag| &**tag).collect();
    let mut record = Record::new(Position(position), Version(version), id);
    record.timestamp = event.timestamp.unwrap_or(now);
    record.recorded_at = now;
    record.aggregate_id = &append.stream().aggregate_id;
    record.aggregate_type = &append.stream().aggregate_type;
    record.event_type = &event.event_type;
    record.schema_version = event.schema_version;
    record.correlation_id = event.correlation_id.as_deref();
    record.causation_id = event.causation_id.as_deref();
    record.user_id = event.user_id.as_deref();
    record.organization_id = event.organization_id.as_deref();
    record.tags = &tags;
    record.metadata_type = event.metadata_type.as_str();
    record.metadata = &event.metadata;
    record.data_type = event.data_type.as_str();
    record.data = &event.data;
    batch.push(&record);
}

/// Reads a body: one or more events, of one aggregate, with consecutive versions.
///
/// # Errors
///
/// The reason, when it is no body of an append.
pub(crate) fn decode(body: &[u8]) -> Result<Body, String> {
    let (part, encoded) = match body {
        [WHOLE, encoded @ ..] => ((1, 1), encoded),
        [PART, a, b, c, d, encoded @ ..] => ((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])), encoded),
        _ => return Err("it is not of this program, or of a later version".to_owned()),
    };
    let (events, read) = bincode::serde::decode_from_slice::<Batch, Bounded>(encoded, bounded())
        .map_err(|error: DecodeError| error.to_string())?;
    if read != encoded.len() {
        return Err("it is longer than its events".to_owned());
    }
    check(&events)?;
    Ok(Body { part, events })
}

type Bounded = Configuration<config::LittleEndian, config::Varint, config::Limit<BODY_BYTES_MAX>>;

fn bounded() -> Bounded {
    config::standard().with_limit::<BODY_BYTES_MAX>()
}

fn check(batch: &Batch) -> Result<(), String> {
    let Some(first) = batch.events().next() else {
        return Err("it has no event".to_owned());
    };
    let is_next = |(place, event): (u64, EventRef<'_>)| {
        event.aggregate_id() == first.aggregate_id()
            && event.aggregate_type() == first.aggregate_type()
            && event.version().0 == first.version().0 + place
    };
    if (0..).zip(batch.events()).all(is_next) {
        return Ok(());
    }
    Err("its events are not consecutive ones of one aggregate".to_owned())
}

/// Adds the events of a message to `batch`, from the position `first` on.
pub(crate) fn place(batch: &mut Batch, events: &Batch, first: u64) {
    for (place, event) in (first..).zip(events.events()) {
        let (data_type, metadata_type) = (event.data_type(), event.metadata_type());
        let tags: Vec<&str> = event.tags().collect();
        let mut record = Record::new(Position(place), event.version(), event.id());
        record.timestamp = event.timestamp();
        record.recorded_at = event.recorded_at();
        record.aggregate_id = event.aggregate_id();
        record.aggregate_type = event.aggregate_type();
        record.event_type = event.event_type();
        record.schema_version = event.schema_version();
        record.correlation_id = event.correlation_id();
        record.causation_id = event.causation_id();
        record.user_id = event.user_id();
        record.organization_id = event.organization_id();
        record.tags = &tags;
        record.metadata_type = metadata_type.as_str();
        record.metadata = event.metadata();
        record.data_type = data_type.as_str();
        record.data = event.data();
        batch.push(&record);
    }
}

#[cfg(test)]
mod tests {
    use annals::{Expected, StreamId};

    use super::*;

    fn body(count: u128, first: u64) -> Vec<u8> {
        let stream = StreamId::new("Order", "order-1");
        let events = vec![NewEvent::new("OrderPlaced").data("1").tag("a"); count as usize];
        let ids: Vec<_> = (1..=count).map(Uuid::from_u128).collect();
        let append = RemoteAppend::new(&stream, Expected::Any, &events, &ids, true);
        encode(&append, (1, 1), first, Timestamp::from_micros(5)).unwrap()
    }

    #[test]
    fn events_get_the_positions_of_the_stream() {
        let events = decode(&body(3, 7)).unwrap().events;
        let mut batch = Batch::new();
        place(&mut batch, &events, 100);
        let read: Vec<_> = batch
            .events()
            .map(|event| (event.position().0, event.version().0))
            .collect();
        assert_eq!(read, [(100, 7), (101, 8), (102, 9)]);
        let first = batch.events().next().unwrap().to_event();
        assert_eq!(
            (first.id(), first.recorded_at()),
            (Uuid::from_u128(1), Timestamp::from_micros(5))
        );
        assert_eq!(first.data(), b"1");
    }

    #[test]
    fn a_part_is_numbered() {
        let (whole, part) = (body(2, 1), [&[PART, 0, 2, 1, 0][..], &body(2, 1)[1..]].concat());
        assert_eq!(decode(&whole).unwrap().part, (1, 1));
        assert_eq!(decode(&part).unwrap().part, (2, 256));
        assert!(decode(&part[..4]).is_err());
    }

    #[test]
    fn a_body_of_another_program_was_taken() {
        let whole = body(2, 1);
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err(), "{cut} bytes");
        }
        assert!(decode(&[&whole[..], &[0]].concat()).is_err());
        assert!(decode(b"{\"event\": 1}").is_err());
        assert!(decode(&[&[3], &whole[1..]].concat()).is_err(), "a later layout");
        let mut none = vec![WHOLE];
        bincode::serde::encode_into_std_write(Batch::new(), &mut none, config::standard()).unwrap();
        assert!(decode(&none).is_err(), "no event");
    }
}
