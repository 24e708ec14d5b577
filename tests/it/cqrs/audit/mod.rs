//! The audit trail and the hash chain.

mod anchors;
mod commands;
mod cuts;
mod heads;
mod names;
mod on_disk;
mod tampering;
mod trail;

use annals::cqrs::audit::{AuditChain, AuditKey, ChainEntry, Head, Verified, Verify, VerifyError};
use annals::{ContentType, Event, Expected, NewEvent, Position, Store, Timestamp, Version};
use uuid::Uuid;

use crate::support::{START, stream};

pub(crate) fn key() -> AuditKey {
    AuditKey::from_bytes([7; 32])
}

pub(crate) fn head(store: &Store) -> Head {
    let chain = AuditChain::of(store).expect("a whole log");
    chain.head(&key(), START)
}

pub(crate) fn verify(store: &Store, head: &Head) -> Result<Verified, VerifyError> {
    Verify::new(head, &key().public()).run(store)
}

/// Events with every kind of field: names, tags, bytes, nested keys in an order that is not that of the alphabet, equal times, and times with
/// microseconds.
pub(crate) fn rich(store: &Store, count: u64) {
    for number in 1..=count {
        let time = Timestamp::from_micros(START.as_micros() + i64::try_from(number / 3).expect("small") * 1_000_001);
        let event = NewEvent::new("Noted")
            .timestamp(time)
            .data(format!(r#"{{"z":{number},"a":{{"y":1,"b":[1, 2.50]}},"m":"ü"}}"#))
            .metadata(r#"{"ip":"10.0.0.1"}"#)
            .user("anna")
            .correlation(format!("c-{}", number % 7))
            .causation("cause")
            .tag("x")
            .tag("y z");
        let event = match number % 3 {
            0 => NewEvent::new("Bytes")
                .timestamp(time)
                .data([0xff, 0, 7])
                .content_type(ContentType::Bytes),
            1 => event.organization("acme").schema_version(2),
            _ => event,
        };
        let to = stream(&format!("account-{}", number % 5));
        store.append(&to, Expected::Any, vec![event]).expect("appended");
    }
}

pub(crate) fn log(store: &Store) -> Vec<Event> {
    store.read_all().include_system().events()
}

pub(crate) fn entries(events: &[Event]) -> Vec<Owned> {
    events.iter().map(Owned::of).collect()
}

pub(crate) fn verify_entries(entries: &[Owned], head: &Head) -> Result<Verified, VerifyError> {
    Verify::new(head, &key().public()).run_entries(entries.iter().map(Owned::entry))
}

/// A stored event that a test may change, as one who writes to the files behind the store does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owned {
    pub(crate) position: u64,
    pub(crate) version: u64,
    pub(crate) id: [u8; 16],
    pub(crate) times: [i64; 2],
    pub(crate) schema: u32,
    /// Aggregate type and id, event type, types of data and metadata.
    pub(crate) texts: [String; 5],
    pub(crate) names: [Option<String>; 4],
    pub(crate) tags: Vec<String>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Owned {
    pub(crate) fn of(event: &Event) -> Self {
        let owned = |name: Option<&str>| name.map(str::to_owned);
        Self {
            position: event.position().0,
            version: event.version().0,
            id: *event.id().as_bytes(),
            times: [event.timestamp().as_micros(), event.recorded_at().as_micros()],
            schema: event.schema_version(),
            texts: [
                event.aggregate_type().to_owned(),
                event.aggregate_id().to_owned(),
                event.event_type().to_owned(),
                event.data_type().as_str().to_owned(),
                event.metadata_type().as_str().to_owned(),
            ],
            names: [
                owned(event.user_id()),
                owned(event.organization_id()),
                owned(event.correlation_id()),
                owned(event.causation_id()),
            ],
            tags: event.tags().map(str::to_owned).collect(),
            metadata: event.metadata().to_vec(),
            data: event.data().to_vec(),
        }
    }

    pub(crate) fn entry(&self) -> ChainEntry<'_> {
        let [aggregate_type, aggregate_id, event_type, data_type, metadata_type] = &self.texts;
        let [user, organization, correlation, causation] = &self.names;
        ChainEntry {
            position: Position(self.position),
            version: Version(self.version),
            id: Uuid::from_bytes(self.id),
            timestamp: Timestamp::from_micros(self.times[0]),
            recorded_at: Timestamp::from_micros(self.times[1]),
            aggregate_type,
            aggregate_id,
            event_type,
            schema_version: self.schema,
            user_id: user.as_deref(),
            organization_id: organization.as_deref(),
            correlation_id: correlation.as_deref(),
            causation_id: causation.as_deref(),
            tags: self.tags.iter().map(String::as_str).collect(),
            metadata_type: metadata_type.as_str().into(),
            metadata: &self.metadata,
            data_type: data_type.as_str().into(),
            data: &self.data,
        }
    }
}
