//! What a durable store had dropped before an import: importing a log again does not bring it back.
//!
//! The store forgets the ids of events with the events, so what was dropped is known by its time: an aggregate's history was cut somewhere,
//! and an event before the cut is taken for one that was dropped.

use std::collections::HashMap;
use std::time::Duration;

use annals::{Event, GapReason, Name, Store, StreamId, Timestamp, Version};
use serde::Deserialize;

/// The cuts of the aggregates that were asked for, as they were before the first event was imported.
#[derive(Debug)]
pub(crate) struct Dropped {
    /// Events before this time are dropped; `None` where all are retained.
    cuts: HashMap<Name, Option<Timestamp>>,
    /// The same for aggregates that the store has forgotten.
    log: Option<Timestamp>,
}

/// The data of `$archived`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Archived {
    to_version: u64,
    before_micros: Option<i64>,
}

impl Dropped {
    /// Looks at what the log as a whole has lost: to a budget or to age.
    pub(crate) fn of(store: &Store) -> Self {
        let is_budget = |reason: &GapReason| matches!(reason, GapReason::Budget | GapReason::Age | GapReason::Several);
        let has_lost = store.gaps().iter().any(|gap| is_budget(&gap.reason));
        let oldest = || store.read_all().limit(1).events().first().map(Event::timestamp);
        Self {
            cuts: HashMap::new(),
            log: has_lost.then(oldest).flatten(),
        }
    }

    /// Whether an event that the store does not have happened before its aggregate was cut.
    pub(crate) fn has(&mut self, store: &Store, stream: &StreamId, happened: Option<Timestamp>) -> bool {
        let id = &stream.aggregate_id;
        let known = self.cuts.get(id).copied();
        let cut = known.unwrap_or_else(|| {
            let cut = cut(store, id, self.log);
            self.cuts.insert(id.clone(), cut);
            cut
        });
        happened.zip(cut).is_some_and(|(happened, cut)| happened < cut)
    }
}

fn cut(store: &Store, id: &str, log: Option<Timestamp>) -> Option<Timestamp> {
    let Some(info) = store.stream_info(id) else { return log };
    if info.tombstoned {
        return Some(Timestamp::MAX);
    }
    if info.dropped_to == Version(0) {
        return None;
    }
    if let Some(before) = archived_before(store, id, info.dropped_to) {
        return Some(before);
    }
    let oldest = store.read_stream(id).limit(1).events().first().map(Event::timestamp);
    // An event may have been dropped that happened at the same time.
    let cut = oldest.or_else(|| last_change(store, id).map(|change| change.recorded_at()));
    cut.map(|cut| cut.after(Duration::from_micros(1))).or(log)
}

/// The time before which all was archived, if an archive has the last event that is gone.
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
