//! The events themselves: shards and log together, and the ways to look at them.

use std::hash::BuildHasher;

use crossbeam_utils::CachePadded;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::chunk::Chunk;
use super::directory::{PageCache, Place};
use super::log::Log;
use super::shard::{Guarded, Snapshot};
use crate::{Event, EventRef};

/// All events.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) log: Log,
    shards: Box<[CachePadded<RwLock<Guarded>>]>,
    pub(crate) hasher: foldhash::fast::RandomState,
}

pub(crate) type ShardRead<'a> = RwLockReadGuard<'a, Guarded>;
pub(crate) type ShardWrite<'a> = RwLockWriteGuard<'a, Guarded>;

impl Core {
    pub(crate) fn new(shards: usize) -> Self {
        let shards = (0..shards)
            .map(|_| CachePadded::new(RwLock::new(Guarded::default())))
            .collect();
        Self {
            log: Log::new(),
            shards,
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// An independent copy: shards are shared until written to.
    pub(crate) fn fork(&self) -> Self {
        let guards: Vec<_> = self.shards.iter().map(|shard| shard.write()).collect();
        let shards = guards
            .iter()
            .map(|guard| CachePadded::new(RwLock::new(Guarded::new(guard.share()))))
            .collect();
        Self {
            log: self.log.fork(),
            shards,
            hasher: self.hasher.clone(),
        }
    }

    pub(crate) fn hash(&self, aggregate_id: &str) -> u64 {
        // The system's stream of an aggregate lies in the shard of the aggregate.
        self.hasher
            .hash_one(aggregate_id.strip_prefix('$').unwrap_or(aggregate_id))
    }

    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn read(&self, shard: usize) -> ShardRead<'_> {
        self.shards[shard].read()
    }

    pub(crate) fn write(&self, shard: usize) -> ShardWrite<'_> {
        self.shards[shard].write()
    }

    /// The event at `position`, to keep.
    pub(crate) fn event(&self, position: u64, pages: &mut PageCache) -> Option<Event> {
        let place = self.log.place(position, pages)?;
        self.read(place.shard).event(place.slot).map(EventRef::to_event)
    }

    /// The events at `positions`, to keep, a bite of them at a time under the locks.
    pub(crate) fn events(&self, positions: &[u64]) -> Vec<Event> {
        let mut events = Vec::with_capacity(positions.len());
        if positions.len() < LOCK_ALL_FROM {
            let mut pages = PageCache::default();
            events.extend(
                positions
                    .iter()
                    .filter_map(|position| self.event(*position, &mut pages)),
            );
            return events;
        }
        for bite in positions.chunks(BITE) {
            let mut locked = Locked::new(self);
            events.extend(
                bite.iter()
                    .filter_map(|position| locked.event(*position).map(EventRef::to_event)),
            );
        }
        events
    }
}

/// Fewer events than this are read under their own shard's lock, one by one.
const LOCK_ALL_FROM: usize = 48;

/// Events read under the locks at once: writers wait for no more.
pub(crate) const BITE: usize = 512;

/// Every shard locked for reading: for the store's own short work. No code of a user runs under it.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    guards: Vec<ShardRead<'a>>,
    log: &'a Log,
    pages: PageCache,
}

impl<'a> Locked<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        let guards = core.shards.iter().map(|shard| shard.read()).collect();
        Self {
            guards,
            log: &core.log,
            pages: PageCache::default(),
        }
    }

    #[inline]
    pub(crate) fn event(&mut self, position: u64) -> Option<EventRef<'_>> {
        let Place { shard, slot } = self.log.place(position, &mut self.pages)?;
        self.guards.get(shard)?.event(slot)
    }
}

/// A reader that holds no lock while the caller looks at an event: sealed events are read in place, others are copied.
#[derive(Debug)]
pub(crate) struct View<'a> {
    core: &'a Core,
    snapshots: Vec<Snapshot>,
    /// The first slot of each shard that its snapshot does not know.
    ends: Vec<u64>,
    pages: PageCache,
    /// The copy of an event that is not sealed yet.
    scratch: Chunk,
}

impl<'a> View<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self {
            core,
            snapshots: vec![Snapshot::default(); core.shard_count()],
            ends: vec![0; core.shard_count()],
            pages: PageCache::default(),
            scratch: Chunk::default(),
        }
    }

    /// The event at `position`, unless it was dropped.
    #[inline]
    pub(crate) fn event(&mut self, position: u64) -> Option<EventRef<'_>> {
        let place = self.core.log.place(position, &mut self.pages)?;
        self.event_at(place)
    }

    #[inline]
    pub(crate) fn event_at(&mut self, place: Place) -> Option<EventRef<'_>> {
        if place.slot >= *self.ends.get(place.shard)? {
            return self.event_of_shard(place);
        }
        self.snapshots.get(place.shard)?.sealed_event(place.slot)
    }

    /// The event from its shard: copied if it is open still, from a new snapshot otherwise.
    fn event_of_shard(&mut self, place: Place) -> Option<EventRef<'_>> {
        let shard = self.core.read(place.shard);
        let snapshot = shard.snapshot();
        if place.slot >= snapshot.end() {
            self.scratch.clear();
            return shard
                .copy_open(place.slot, &mut self.scratch)
                .then(|| EventRef::new(&self.scratch, 0));
        }
        self.ends[place.shard] = snapshot.end();
        self.snapshots[place.shard] = snapshot;
        self.snapshots[place.shard].sealed_event(place.slot)
    }
}
