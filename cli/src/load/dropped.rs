//! The events that a durable store had dropped before an import. Importing a log again does not restore them.
//!
//! The store forgets the ids of events with the events, so an event that it does not have may be new, or dropped. An aggregate that has lost
//! events therefore takes only what is new for certain: an event that is no older than the oldest retained one, and that either stands behind
//! the newest retained one in the log, or happened after that was recorded.

use std::collections::HashMap;
use std::time::Duration;

use annals::{Event, GapReason, Name, Store, StreamId, Timestamp, Version};
use serde::Deserialize;
use uuid::Uuid;

/// The cuts of the requested aggregates, as of the start of the import.
#[derive(Debug)]
pub(crate) struct Dropped {
    /// `None` if all events are retained.
    cuts: HashMap<Name, Option<Cut>>,
    /// Events before this time count as dropped if the store does not know their aggregate.
    log: Option<Timestamp>,
    /// No event of any aggregate was dropped.
    is_whole: bool,
}

/// The place at which the history of an aggregate was cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Events before this time are dropped.
    before: Timestamp,
    /// `None` if only the time decides.
    newest: Option<Newest>,
}

/// The newest retained event of an aggregate, or the change that dropped all of them.
#[derive(Clone, Copy, Debug)]
struct Newest {
    id: Uuid,
    recorded: Timestamp,
    /// Whether the log has reached it.
    is_passed: bool,
}

impl Cut {
    fn at(before: Timestamp) -> Self {
        Self { before, newest: None }
    }

    /// Whether an event that the store does not contain counts as dropped. A time later than `now` is not used to order events.
    fn has(self, happened: Timestamp, now: Timestamp) -> bool {
        let is_newer = |newest: Newest| newest.is_passed || (happened > newest.recorded && happened <= now);
        happened < self.before || !self.newest.is_none_or(is_newer)
    }
}

/// The data of `$archived`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Archived {
    to_version: u64,
    before_micros: Option<i64>,
}

impl Dropped {
    /// Reads the gaps of the log as a whole: those of a budget or an age.
    pub(crate) fn of(store: &Store) -> Self {
        let is_budget = |reason: &GapReason| matches!(reason, GapReason::Budget | GapReason::Age | GapReason::Several);
        let gaps = store.gaps();
        let has_lost = gaps.iter().any(|gap| is_budget(&gap.reason));
        let oldest = || store.read_all().limit(1).events().first().map(Event::timestamp);
        Self {
            cuts: HashMap::new(),
            log: has_lost.then(oldest).flatten(),
            is_whole: gaps.is_empty(),
        }
    }

    /// Whether an event that the store does not contain counts as dropped.
    pub(crate) fn has(&mut self, store: &Store, stream: &StreamId, happened: Option<Timestamp>) -> bool {
        if self.is_whole {
            return false;
        }
        let cut = *self.cut(store, &stream.aggregate_id);
        happened
            .zip(cut)
            .is_some_and(|(happened, cut)| cut.has(happened, now()))
    }

    /// Notes that the log has reached an event that the store retains.
    pub(crate) fn pass(&mut self, store: &Store, event: &Event) {
        if self.is_whole {
            return;
        }
        let cut = self.cut(store, event.aggregate_id()).as_mut();
        if let Some(newest) = cut.and_then(|cut| cut.newest.as_mut()) {
            newest.is_passed |= newest.id == event.id();
        }
    }

    fn cut(&mut self, store: &Store, id: &str) -> &mut Option<Cut> {
        let log = self.log.map(Cut::at);
        self.cuts.entry(id.into()).or_insert_with(|| cut(store, id, log))
    }
}

fn now() -> Timestamp {
    annals::Clock::now(&annals::SystemClock)
}

fn cut(store: &Store, id: &str, log: Option<Cut>) -> Option<Cut> {
    let Some(info) = store.stream_info(id) else { return log };
    if info.tombstoned {
        return Some(Cut::at(Timestamp::MAX));
    }
    if info.dropped_to == Version(0) {
        return None;
    }
    if let Some(before) = archived_before(store, id, info.dropped_to) {
        return Some(Cut::at(before));
    }
    let retained = store.read_stream(id);
    let newest = retained.clone().backwards().limit(1).events().pop();
    let Some(newest) = newest.or_else(|| last_change(store, id)) else {
        return log;
    };
    let oldest = retained.limit(1).events().pop();
    let oldest = oldest.map_or_else(|| newest.recorded_at(), |oldest| oldest.timestamp());
    Some(Cut {
        // A dropped event may have happened at the same time.
        before: oldest.after(Duration::from_micros(1)),
        newest: Some(Newest {
            id: newest.id(),
            recorded: newest.recorded_at(),
            is_passed: false,
        }),
    })
}

/// The time before which all events were archived, if an archive contains the last missing event.
fn archived_before(store: &Store, id: &str, dropped_to: Version) -> Option<Timestamp> {
    let changes = store.read_stream(&changes_of(id)).events();
    let archived = changes.iter().rfind(|change| change.event_type() == "$archived")?;
    let archived: Archived = serde_json::from_slice(archived.data()).ok()?;
    let before = Timestamp::from_micros(archived.before_micros?);
    (archived.to_version == dropped_to.0).then_some(before)
}

fn last_change(store: &Store, id: &str) -> Option<Event> {
    store.read_stream(&changes_of(id)).backwards().limit(1).events().pop()
}

/// The system's stream about an aggregate.
fn changes_of(id: &str) -> String {
    format!("${id}")
}
