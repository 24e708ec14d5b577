//! Duplicate appends, detected event by event by the ids that the caller sets.
//!
//! An id is known while its event is retained, and only to its own aggregate. The index of ids, which follows the log, is asked if it covers
//! the stream; otherwise a short stream is scanned. The index comes before the shards in the lock order, so a check that needs it
//! is repeated with the index held.

use std::sync::atomic::Ordering;

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use smallvec::SmallVec;

use crate::store::Engine;
use crate::store::append::prepare::PreparedAppend;
use crate::store::index::IdIndex;
use crate::store::log::directory::PageCache;
use crate::store::streams::stream::Stream;
use crate::{Appended, Conflict, Durability, Expected, Position, Version};

/// Retained events of a stream that are scanned for ids.
const SCAN_EVENTS_MAX: u64 = 64;

/// A stored event of the aggregate that has the id of an event in the append.
#[derive(Clone, Copy, Debug)]
struct Match {
    /// The index of the event in the append.
    place: usize,
    version: u64,
    position: u64,
}

type Matches = SmallVec<[Match; 1]>;

/// Which events of a part of an append are stored.
pub(crate) enum Known {
    /// None of them.
    None,
    /// All of them, consecutively: the first acknowledgement.
    All(Appended),
    /// Some of them, or all in another order.
    Some(Conflict),
    /// Only the index of ids can tell.
    Unclear,
}

impl Engine {
    /// The index of ids, locked for reading and complete up to the published position.
    pub(crate) fn ids_held(&self) -> RwLockReadGuard<'_, IdIndex> {
        self.ids_to(self.core.log.published())
    }

    /// The same, complete up to `position` at least.
    pub(crate) fn ids_to(&self, position: u64) -> RwLockReadGuard<'_, IdIndex> {
        let ids = self.indexes.ids.read();
        if ids.complete_to() >= position {
            return ids;
        }
        drop(ids);
        let mut ids = self.indexes.ids.write();
        ids.extend(&self.core, position);
        self.indexes.ids_reached.fetch_max(ids.complete_to(), Ordering::Relaxed);
        // Downgraded without a release: a compaction in between would start with an empty index.
        RwLockWriteGuard::downgrade(ids)
    }

    pub(crate) fn known(&self, stream: &Stream, prepared: &PreparedAppend<'_>, ids: Option<&IdIndex>) -> Known {
        if prepared.own_ids.0.is_empty() || stream.live_events() == 0 {
            return Known::None;
        }
        let at_hand = ids.is_none().then(|| self.ids_at_hand(stream)).flatten();
        let matches = match ids.or(at_hand.as_deref()) {
            Some(ids) => self.look_up_and_scan(stream, prepared, ids),
            None if stream.live_events() <= SCAN_EVENTS_MAX => self.scan(stream, prepared, 0),
            None => return Known::Unclear,
        };
        let first = matches.iter().min_by_key(|found| (found.place, found.version));
        let run = whole_run(&matches, prepared).filter(|run| continues(stream, prepared.expected, run.first_version.0));
        match (first, run) {
            (None, _) => Known::None,
            (Some(_), Some(appended)) => Known::All(appended),
            (Some(first), None) => Known::Some(event_known(prepared, *first)),
        }
    }

    /// The index of ids, if it covers the last event of the stream and is not being extended. It comes before the shards in the lock order, so this
    /// call must not wait for it.
    fn ids_at_hand(&self, stream: &Stream) -> Option<RwLockReadGuard<'_, IdIndex>> {
        let last = stream.last_position()?;
        // Unless events are looked up by id, writers do not touch the lock of the index.
        if self.indexes.ids_reached.load(Ordering::Relaxed) < last {
            return None;
        }
        let ids = self.indexes.ids.try_read()?;
        (ids.complete_to() >= last).then_some(ids)
    }

    fn look_up_and_scan(&self, stream: &Stream, prepared: &PreparedAppend<'_>, ids: &IdIndex) -> Matches {
        let mut matches = self.look_up(stream, prepared, ids);
        matches.extend(self.scan(stream, prepared, ids.complete_to()));
        matches
    }

    /// Compares the ids of the stream's events above a position.
    fn scan(&self, stream: &Stream, prepared: &PreparedAppend<'_>, after: u64) -> Matches {
        let mut pages = PageCache::default();
        let positions = stream.positions_after(after);
        let matches = positions.filter_map(|position| {
            let known = |event: crate::EventRef<'_>| Some((prepared.own_ids.place_of(event.id())?, event.version().0));
            let (place, version) = self.core.with_event(position, &mut pages, known)??;
            Some(Match {
                place,
                version,
                position,
            })
        });
        matches.collect()
    }

    fn look_up(&self, stream: &Stream, prepared: &PreparedAppend<'_>, ids: &IdIndex) -> Matches {
        let mut pages = PageCache::default();
        let mut matches = Matches::new();
        for (id, place) in &prepared.own_ids.0 {
            for position in ids.candidates(*id) {
                let is_known = |event: crate::EventRef<'_>| event.id() == *id && *event.aggregate_id() == *stream.id;
                let version = |event: crate::EventRef<'_>| is_known(event).then(|| event.version().0);
                if let Some(version) = self.core.with_event(position, &mut pages, version).flatten() {
                    matches.push(Match {
                        place: *place,
                        version,
                        position,
                    });
                }
            }
        }
        matches
    }
}

/// Whether events that start at version `first` are where an append with this expectation would have put them.
fn continues(stream: &Stream, expected: Expected, first: u64) -> bool {
    match expected {
        Expected::Exactly(version) => first == version.0.saturating_add(1),
        Expected::NoStream => first == u64::from(stream.dropped_to) + 1,
        Expected::Any | Expected::StreamExists => true,
    }
}

/// The first acknowledgement, if every event of the part is stored, consecutively and in the same order.
fn whole_run(matches: &Matches, prepared: &PreparedAppend<'_>) -> Option<Appended> {
    if prepared.own_ids.0.len() != prepared.events.len() {
        return None;
    }
    let mut runs = vec![0_usize; prepared.events.len()];
    let mut sorted = matches.clone();
    sorted.sort_unstable_by_key(|found| found.version);
    let mut previous: Option<Match> = None;
    for found in sorted {
        let follows = previous.is_some_and(|last| last.place + 1 == found.place && last.version + 1 == found.version);
        // Length of the run of the append's events that ends in this one.
        runs[found.place] = if follows { runs[found.place - 1] + 1 } else { 1 };
        if found.place + 1 == prepared.events.len() && runs[found.place] == prepared.events.len() {
            return Some(acknowledged(matches, found));
        }
        previous = Some(found);
    }
    None
}

/// The acknowledgement of the run that ends with `last`.
fn acknowledged(matches: &Matches, last: Match) -> Appended {
    let first_version = last.version - last.place as u64;
    let first = matches.iter().find(|found| found.version == first_version);
    Appended {
        first_version: Version(first_version),
        last_version: Version(last.version),
        first_position: Position(first.map_or(last.position, |first| first.position)),
        last_position: Position(last.position),
        durability: Durability::Volatile,
        repeated: true,
    }
}

fn event_known(prepared: &PreparedAppend<'_>, found: Match) -> Conflict {
    Conflict::EventKnown {
        stream: prepared.stream.clone(),
        id: prepared.meta.ids[found.place],
        version: Version(found.version),
        position: Position(found.position),
    }
}

/// The conflict of a part that was stored before, if another part of the append was not.
pub(crate) fn part_known(prepared: &PreparedAppend<'_>, appended: &Appended) -> Conflict {
    event_known(
        prepared,
        Match {
            place: 0,
            version: appended.first_version.0,
            position: appended.first_position.0,
        },
    )
}
