//! Reading events without holding a lock while the caller looks at one.

use smallvec::SmallVec;

use crate::event::chunk::{CHUNK_EVENTS, Chunk};
use crate::store::core::Core;
use crate::store::log::directory::{PageCache, Place};
use crate::store::log::lane::Snapshot;
use crate::{Event, EventRef};

/// Events that are copied out of an open chunk under one lock of its lane: at first, and at most. Each run is twice as long as the one before
/// it, so that a reader that needs few events copies few.
const RUN_EVENTS: usize = 8;
const RUN_EVENTS_MAX: usize = 64;

/// A reader that has copied this many events of a lane seals its open chunk, so that the rest, and the next reader, are read in place.
const COPIES: usize = 100;
/// A chunk with fewer events is not sealed: a lane would have many chunks, each with names of its own, and use up its slots.
const SEALED_EVENTS: usize = CHUNK_EVENTS / 4;

/// Reads sealed events in place, others as a copy.
#[derive(Debug)]
pub(crate) struct EventReader<'a> {
    core: &'a Core,
    lanes: SmallVec<[LaneView; 4]>,
    pages: PageCache,
    /// Copies of events that are not sealed yet.
    copies: Chunk,
    /// The number of events to copy next.
    run: usize,
}

#[derive(Clone, Debug, Default)]
struct LaneView {
    snapshot: Snapshot,
    /// The first slot after the snapshot.
    end: u64,
    /// Events that were copied since the snapshot.
    copied: usize,
}

impl LaneView {
    fn new(snapshot: Snapshot) -> Self {
        Self {
            end: snapshot.end(),
            snapshot,
            copied: 0,
        }
    }
}

impl<'a> EventReader<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self {
            core,
            lanes: smallvec::smallvec![LaneView::default(); core.lane_count()],
            pages: PageCache::default(),
            copies: Chunk::default(),
            run: RUN_EVENTS,
        }
    }

    /// The positions from `first` to `last` that may have an event.
    pub(crate) fn positions(&self, first: u64, last: u64) -> impl DoubleEndedIterator<Item = u64> + Clone + use<> {
        self.core.log.positions(first, last)
    }

    /// The event at `position`, unless it was dropped.
    #[inline]
    pub(crate) fn event(&mut self, position: u64) -> Option<EventRef<'_>> {
        let place = self.core.log.place(position, &mut self.pages)?;
        if place.slot < self.lanes.get(place.lane)?.end {
            return self.sealed_event(place);
        }
        match self.copy_run(place, std::iter::empty()) {
            Some(_) => self.copies.event(0),
            None => self.sealed_event(place),
        }
    }

    /// The events at `positions`. Cheaper than one at a time where they are not sealed: several are copied under one lock.
    pub(crate) fn each<I: Iterator<Item = u64> + Clone>(&mut self, positions: I) -> Events<'_, 'a, I> {
        Events {
            reader: self,
            positions,
            copied: 0,
            covered: 0,
        }
    }

    /// The positions, of `positions`, whose events are wanted.
    pub(crate) fn matching<I: Iterator<Item = u64> + Clone>(
        &mut self,
        positions: I,
        mut is_wanted: impl FnMut(EventRef<'_>) -> bool,
    ) -> impl Iterator<Item = u64> {
        let mut events = self.each(positions);
        std::iter::from_fn(move || {
            loop {
                let event = events.next()?;
                if let Some(event) = event.filter(|event| is_wanted(*event)) {
                    return Some(event.raw_position());
                }
            }
        })
    }

    #[inline]
    fn sealed_event(&self, place: Place) -> Option<EventRef<'_>> {
        self.lanes[place.lane].snapshot.sealed_event(place.slot)
    }

    /// Copies the event at `first`, which the snapshot of its lane does not have, and those at the `following` positions that are beside it.
    /// Returns how many of the positions that covers: a dropped event has no copy. `None` with a new snapshot if `first` is sealed by now.
    #[cold]
    fn copy_run(&mut self, first: Place, following: impl Iterator<Item = u64>) -> Option<usize> {
        let view = &mut self.lanes[first.lane];
        if view.copied >= COPIES {
            view.copied = 0;
            self.core.seal_open(first, SEALED_EVENTS);
        }
        let own = self.core.read_lane(first.lane);
        if !own.lane.is_open(first.slot) {
            *view = LaneView::new(own.lane.snapshot());
            return None;
        }
        let places = following.map_while(|position| self.core.log.place(position, &mut self.pages));
        let beside = places.take_while(|place| place.lane == first.lane);
        let slots = std::iter::once(first).chain(beside).map(|place| place.slot);
        self.copies.clear();
        let copied = own.lane.copy_open(slots.take(self.run), &mut self.copies);
        view.copied += copied;
        self.run = RUN_EVENTS_MAX.min(2 * self.run);
        Some(copied)
    }
}

impl Core {
    /// The events at `positions`, owned.
    pub(crate) fn events(&self, positions: &[u64]) -> Vec<Event> {
        let mut reader = EventReader::new(self);
        let mut events = Vec::with_capacity(positions.len());
        let mut found = reader.each(positions.iter().copied());
        while let Some(event) = found.next() {
            events.extend(event.map(EventRef::to_event));
        }
        events
    }
}

/// The events at a sequence of positions, lent one at a time.
#[derive(Debug)]
pub(crate) struct Events<'r, 'a, I> {
    reader: &'r mut EventReader<'a>,
    positions: I,
    /// Copies that were lent.
    copied: usize,
    /// Positions that come next and that the copies cover.
    covered: usize,
}

impl<I: Iterator<Item = u64> + Clone> Events<'_, '_, I> {
    /// The event at the next position, or `Some(None)` if it was dropped; `None` after the last position.
    #[expect(clippy::option_option, reason = "the end of the positions is not a dropped event")]
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Option<EventRef<'_>>> {
        let position = self.positions.next()?;
        Some(self.find(position))
    }

    #[inline]
    fn find(&mut self, position: u64) -> Option<EventRef<'_>> {
        let Some(place) = self.reader.core.log.place(position, &mut self.reader.pages) else {
            self.covered = self.covered.saturating_sub(1);
            return None;
        };
        if place.slot < self.reader.lanes.get(place.lane)?.end {
            return self.reader.sealed_event(place);
        }
        self.find_unsealed(position, place)
    }

    #[inline(never)]
    fn find_unsealed(&mut self, position: u64, place: Place) -> Option<EventRef<'_>> {
        if self.covered == 0 {
            let Some(covered) = self.reader.copy_run(place, self.positions.clone()) else {
                return self.reader.sealed_event(place);
            };
            (self.copied, self.covered) = (0, covered);
        }
        self.covered -= 1;
        let mut copies = self.copied..self.reader.copies.len();
        let copy = copies.find(|copy| self.reader.copies.position(*copy) == position)?;
        self.copied = copy + 1;
        self.reader.copies.event(copy)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Expected, NewEvent, Store, StreamId, Version};

    fn append(store: &Store, id: &str, bytes: usize) {
        let event = NewEvent::new("Noted").user(id).data("n".repeat(bytes));
        let stream = StreamId::new("Note", id);
        store.append(&stream, Expected::Any, event).expect("anything goes");
    }

    /// Appends from two threads, in turns of these lengths.
    fn filled(turns: &[usize], bytes: usize) -> Store {
        let store = Store::in_memory();
        std::thread::scope(|scope| {
            let (turn, done) = std::sync::mpsc::sync_channel::<usize>(0);
            let (done_here, is_done) = std::sync::mpsc::sync_channel::<()>(0);
            let other = &store;
            scope.spawn(move || {
                while let Ok(events) = done.recv() {
                    (0..events).for_each(|number| append(other, &format!("other-{}", number % 3), bytes));
                    done_here.send(()).expect("the test waits");
                }
            });
            for events in turns {
                (0..*events).for_each(|number| append(&store, &format!("own-{}", number % 3), bytes));
                turn.send(*events).expect("the thread waits");
                is_done.recv().expect("the thread answers");
            }
        });
        store
    }

    fn found(store: &Store, positions: &[u64]) -> Vec<Option<u64>> {
        let mut reader = EventReader::new(&store.engine().core);
        let mut events = reader.each(positions.iter().copied());
        let mut found = Vec::new();
        while let Some(event) = events.next() {
            found.push(event.map(|event| event.raw_position()));
        }
        found
    }

    fn one_by_one(store: &Store, positions: &[u64]) -> Vec<Option<u64>> {
        let mut reader = EventReader::new(&store.engine().core);
        let position = |position: &u64| reader.event(*position).map(|event| event.raw_position());
        positions.iter().map(position).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn events_in_runs_are_what_they_are_one_by_one(
            turns in proptest::collection::vec(1_usize..400, 1..5),
            truncated in 0_u64..60,
            step in 1_usize..5,
            first in 1_u64..40,
            bytes in prop_oneof![Just(10_usize), Just(3_000), Just(20_000)],
        ) {
            let store = filled(&turns, bytes);
            store.truncate_before("own-0", Version(truncated)).expect("it exists");
            let last = store.engine().visible() + 3;
            let mut positions: Vec<u64> = (first..=last).step_by(step).collect();
            for _ in 0..2 {
                let expected = one_by_one(&store, &positions);
                prop_assert_eq!(&found(&store, &positions), &expected);
                // Some chunks are sealed now.
                prop_assert_eq!(&found(&store, &positions), &expected);
                positions.reverse();
            }
        }
    }

    #[test]
    fn a_long_stream_was_copied_again_by_every_read() {
        let store = filled(&[SEALED_EVENTS + COPIES], 10);
        let positions: Vec<u64> = (1..=store.engine().visible()).collect();
        found(&store, &positions);
        let mut reader = EventReader::new(&store.engine().core);
        let mut events = reader.each(positions.iter().copied());
        while events.next().is_some() {}
        assert_eq!(reader.lanes.iter().map(|view| view.copied).sum::<usize>(), 0);
    }

    #[test]
    fn a_read_of_few_events_left_a_chunk_of_few_events() {
        // Both threads may have the same lane: threads are numbered in the whole process.
        let store = filled(&[(SEALED_EVENTS - 1) / 2], 10);
        let positions: Vec<u64> = (1..=store.engine().visible()).collect();
        for _ in 0..3 {
            found(&store, &positions);
        }
        let open = |lane| store.engine().core.read_lane(lane).lane.snapshot().end() == 0;
        assert!((0..store.engine().core.lane_count()).all(open));
    }
}
