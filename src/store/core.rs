//! Events and streams: shards of aggregates, lanes of events, and the log that orders them.

use std::hash::BuildHasher;

use crossbeam_utils::CachePadded;

use crate::event::system;
use crate::store::collections::fork_shared::ForkShared;
use crate::store::log::directory::{Directory, Entry, PageCache, Place};
use crate::store::log::lane::{Lane, Stretch};
use crate::store::log::positions::Log;
use crate::store::retention::budget::DroppedRun;
use crate::store::streams::shard::Shard;
use crate::store::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, thread_number};
use crate::{Event, EventRef};

/// All events and all streams.
///
/// Locks are taken in this order: shards in ascending order, then lanes. A writer holds one lane.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) log: Log,
    shards: Box<[CachePadded<RwLock<ForkShared<Shard>>>]>,
    lanes: Box<[CachePadded<RwLock<OwnLane>>]>,
    pub(crate) hasher: foldhash::fast::RandomState,
}

/// Events indexed per lock acquisition of their lane; bounds how long writers wait.
const STRETCH_EVENTS: u64 = 64;

/// A lane, with the cached page of the directory for its entries.
#[derive(Debug, Default)]
pub(crate) struct OwnLane {
    pub(crate) lane: ForkShared<Lane>,
    pub(crate) pages: PageCache,
}

pub(crate) type ShardRead<'a> = RwLockReadGuard<'a, ForkShared<Shard>>;
pub(crate) type ShardWrite<'a> = RwLockWriteGuard<'a, ForkShared<Shard>>;

fn padded<T: Default>(count: usize) -> Box<[CachePadded<RwLock<T>>]> {
    (0..count).map(|_| CachePadded::default()).collect()
}

impl Core {
    pub(crate) fn new(log: Log, shards: usize, lanes: usize) -> Self {
        Self {
            log,
            shards: padded(shards),
            lanes: padded(lanes),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Creates an independent copy: shards and lanes are shared until written to. `beside` runs while all locks are held.
    pub(crate) fn fork<R>(&self, beside: impl FnOnce() -> R) -> (Self, R) {
        let mut shards: Vec<_> = self.shards.iter().map(|shard| shard.write()).collect();
        // Before the lanes: the rollups come before them in the lock order.
        let beside = beside();
        let mut lanes: Vec<_> = self.lanes.iter().map(|lane| lane.write()).collect();
        let share_lane = |own: &mut RwLockWriteGuard<'_, OwnLane>| {
            own.lane.write().seal_to_share();
            CachePadded::new(RwLock::new(OwnLane {
                lane: own.lane.share(),
                pages: PageCache::default(),
            }))
        };
        let fork = Self {
            log: self.log.fork(),
            shards: shards
                .iter_mut()
                .map(|shard| CachePadded::new(RwLock::new(shard.share())))
                .collect(),
            lanes: lanes.iter_mut().map(share_lane).collect(),
            hasher: self.hasher.clone(),
        };
        (fork, beside)
    }

    pub(crate) fn hash(&self, aggregate_id: &str) -> u64 {
        // The system streams of an aggregate are in the aggregate's shard.
        self.hasher.hash_one(system::target(aggregate_id))
    }

    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn read(&self, shard: usize) -> ShardRead<'_> {
        self.shards[shard].read()
    }

    pub(crate) fn write(&self, shard: usize) -> ShardWrite<'_> {
        self.shards[shard].write()
    }

    pub(crate) fn read_lane(&self, lane: usize) -> RwLockReadGuard<'_, OwnLane> {
        self.lanes[lane].read()
    }

    pub(crate) fn write_lane(&self, lane: usize) -> RwLockWriteGuard<'_, OwnLane> {
        self.lanes[lane].write()
    }

    /// Seals the open chunk of a lane if `place` is in it and it has at least `least` events.
    pub(crate) fn seal_open(&self, place: Place, least: usize) {
        if self.read_lane(place.lane).lane.has_open(place.slot, least) {
            self.write_lane(place.lane).lane.write().seal_open(place.slot, least);
        }
    }

    /// The lane of this thread: threads are assigned to lanes in turn.
    pub(crate) fn own_lane(&self) -> usize {
        thread_number() % self.lanes.len()
    }

    /// Calls `look` with the event at `position`, unless it was dropped. `look` runs under the lane's lock and must not be user code.
    pub(crate) fn with_event<R>(
        &self,
        position: u64,
        pages: &mut PageCache,
        look: impl FnOnce(EventRef<'_>) -> R,
    ) -> Option<R> {
        let place = self.log.place(position, pages)?;
        self.read_lane(place.lane).lane.event(place.slot).map(look)
    }

    /// Calls `look` with the events above `after`, up to `to`, a stretch at a time with the number of its lane. `look` runs under the lane's
    /// lock, which blocks a writer: it must not be user code, and a stretch is short.
    pub(crate) fn each_stretch(&self, after: u64, to: u64, mut look: impl FnMut(usize, &Stretch<'_>)) {
        let mut pages = PageCache::default();
        let mut next = after + 1;
        while next <= to {
            let Some(place) = self.log.place(next, &mut pages) else {
                next = self.log.positions(next + 1, to).next().unwrap_or(u64::MAX);
                continue;
            };
            let end = to.min(next + STRETCH_EVENTS - 1);
            let own = self.read_lane(place.lane);
            let stretch = own.lane.stretch(place.slot, next, end);
            next = stretch.as_ref().map_or(next + 1, Stretch::end);
            if let Some(stretch) = stretch {
                look(place.lane, &stretch);
            }
        }
    }

    /// The event at `position`, owned.
    pub(crate) fn event(&self, position: u64, pages: &mut PageCache) -> Option<Event> {
        self.with_event(position, pages, |event| event.to_event())
    }

    /// The event at `position`, owned, for a caller that reads this one alone.
    ///
    /// It is often the thread that has just appended it: its lane has the page of the directory, which takes a lock to find otherwise.
    pub(crate) fn single_event(&self, position: u64) -> Option<Event> {
        let number = self.own_lane();
        let own = self.read_lane(number);
        let place = Directory::get_cached(position, &own.pages).map(Entry::place);
        if let Some(place) = place.filter(|place| place.lane == number) {
            return own.lane.event(place.slot).map(EventRef::to_event);
        }
        drop(own);
        self.event(position, &mut PageCache::default())
    }

    /// Drops the events at `positions`; returns their total cost.
    pub(crate) fn drop_events(&self, positions: &[u64]) -> Option<DroppedRun> {
        let mut pages = PageCache::default();
        let mut slots = vec![Vec::new(); self.lanes.len()];
        for place in positions
            .iter()
            .filter_map(|position| self.log.place(*position, &mut pages))
        {
            slots[place.lane].push(place.slot);
        }
        let journaled = self.log.journaled();
        let mut run: Option<DroppedRun> = None;
        for (lane, slots) in slots.into_iter().enumerate().filter(|(_, slots)| !slots.is_empty()) {
            let mut guard = self.write_lane(lane);
            let lane = guard.lane.write();
            for cost in slots.into_iter().filter_map(|slot| lane.drop_slot(slot)) {
                run.get_or_insert_with(|| DroppedRun::starting(&cost)).add(&cost);
            }
            lane.release(journaled);
        }
        run
    }

    /// Releases the chunks that were retained only for the journal.
    pub(crate) fn release_journaled(&self) {
        let journaled = self.log.journaled();
        for lane in 0..self.lanes.len() {
            if self.read_lane(lane).lane.has_emptied() {
                self.write_lane(lane).lane.write().release(journaled);
            }
        }
    }
}
