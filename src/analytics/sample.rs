//! Sample events for the tests of this directory.

use std::sync::Arc;

use uuid::Uuid;

use crate::event::EventSchema;
use crate::event::chunk::{CHUNK_EVENTS, Chunk, Header, Payload};
use crate::event::names::Names;
use crate::{Event, EventRef};

/// The properties of an event that a test chooses.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) id: u128,
    pub(super) micros: i64,
    pub(super) causation: Option<String>,
    pub(super) user: Option<String>,
    pub(super) organization: Option<String>,
}

/// One event for each sample, at positions 1, 2, 3 and so on.
pub(super) fn chunk_of(samples: &[Sample]) -> Chunk {
    chunk_from(1, samples)
}

fn chunk_from(first: u64, samples: &[Sample]) -> Chunk {
    let mut chunk = Chunk::default();
    let kind = chunk.add_kind(Arc::new(EventSchema {
        event_type: "Tested".into(),
        aggregate_type: "Sample".into(),
        ..EventSchema::default()
    }));
    for (sample, position) in samples.iter().zip(first..) {
        let id = Uuid::from_u128(sample.id);
        let header = Header {
            position,
            version: 1,
            id,
            time: sample.micros,
            recorded: sample.micros,
            kind,
        };
        let names = Names {
            aggregate_id: "sample",
            causation_id: sample.causation.as_deref(),
            user_id: sample.user.as_deref(),
            organization_id: sample.organization.as_deref(),
            ..Names::default()
        };
        chunk.push(
            &header,
            &names,
            Payload::Small {
                metadata: &[],
                data: &[],
            },
        );
    }
    chunk
}

/// The same as owned events.
pub(super) fn events_of(samples: &[Sample]) -> Vec<Event> {
    let mut events = Vec::with_capacity(samples.len());
    for part in samples.chunks(CHUNK_EVENTS) {
        let chunk = chunk_from(events.len() as u64 + 1, part);
        events.extend((0..chunk.len()).map(|index| EventRef::new(&chunk, index).to_event()));
    }
    events
}
