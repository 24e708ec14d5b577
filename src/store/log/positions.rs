//! The order of all events: positions, the place of each event, and the watermark below which there is no hole.
//!
//! Four numbers only grow: `reserved >= published >= written >= synced`. The journal raises the last two. Readers see events up to
//! the number of the store's durability: `published` without a journal. A writer reserves positions under the locks of its shard and its
//! lane, writes its events, enters their places here, and publishes: it moves `published` over every written entry. It writes the entry
//! of the last event of a batch first and of the first event last, with the length of the batch, so that `published` moves by
//! whole batches.

use crossbeam_utils::{Backoff, CachePadded};

use crate::Durability;
use crate::store::log::directory::{Directory, Entry, PageCache, Place, PlaceRun};
use crate::store::log::signal::Signal;
use crate::store::sync::{AtomicBool, AtomicU64, Ordering, fence, pause};

#[derive(Debug)]
pub(crate) struct Log {
    reserved: CachePadded<AtomicU64>,
    published: CachePadded<AtomicU64>,
    /// The last position that the journal has written.
    written: CachePadded<AtomicU64>,
    /// The last position that the journal has synced.
    synced: AtomicU64,
    /// The durability at which readers see an event.
    visibility: Durability,
    /// The highest durability that the journal promises.
    promised: Durability,
    has_journal: bool,
    /// Whether the journal has stopped writing.
    halted: AtomicBool,
    /// Events up to this position have been dropped.
    floor: AtomicU64,
    closed: AtomicBool,
    directory: Directory,
    signal: Signal,
    /// Notified when `written` or `synced` is raised.
    written_signal: Signal,
    synced_signal: Signal,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self::at(0, 0, Directory::default())
    }

    /// Creates a log with a journal that promises `promised`, whose readers see events of durability `visibility`.
    pub(crate) fn with_journal(promised: Durability, visibility: Durability) -> Self {
        Self {
            visibility,
            promised,
            has_journal: true,
            ..Self::new()
        }
    }

    fn at(position: u64, floor: u64, directory: Directory) -> Self {
        Self {
            reserved: CachePadded::new(AtomicU64::new(position)),
            published: CachePadded::new(AtomicU64::new(position)),
            written: CachePadded::new(AtomicU64::new(0)),
            synced: AtomicU64::new(0),
            visibility: Durability::Volatile,
            promised: Durability::Volatile,
            has_journal: false,
            halted: AtomicBool::new(false),
            floor: AtomicU64::new(floor),
            closed: AtomicBool::new(false),
            directory,
            signal: Signal::default(),
            written_signal: Signal::default(),
            synced_signal: Signal::default(),
        }
    }

    /// Creates an independent log that continues at this one's end. No writer may be active: the caller holds every shard.
    pub(crate) fn fork(&self) -> Self {
        self.publish(&mut PageCache::default());
        let published = self.published();
        assert_eq!(published, self.reserved(), "a fork while a writer is at work");
        Self::at(published, self.floor(), self.directory.fork(published))
    }

    /// Takes the next `count` positions and returns the first.
    pub(crate) fn reserve(&self, count: u64) -> u64 {
        self.reserved.fetch_add(count, Ordering::Relaxed) + 1
    }

    /// Takes the `count` positions after `last` and returns the first, if `last` is the last position taken.
    pub(crate) fn reserve_after(&self, last: u64, count: u64) -> Option<u64> {
        let taken = self
            .reserved
            .compare_exchange(last, last + count, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok().then_some(last + 1)
    }

    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    /// Enters the places of an append's events, which begin at position `first`.
    #[inline]
    pub(crate) fn enter(&self, first: u64, runs: &[PlaceRun], cache: &mut PageCache) {
        let count: u64 = runs.iter().map(|run| run.count).sum();
        let mut position = first + count;
        for run in runs.iter().rev() {
            for offset in (0..run.count).rev() {
                position -= 1;
                let length = if position == first { count } else { 0 };
                let place = Place {
                    slot: run.first.slot + offset,
                    ..run.first
                };
                self.directory.set(position, Entry::new(place, length), cache);
            }
        }
    }

    /// Moves `published` over all written entries. The caller releases its locks and calls [`announce`](Self::announce).
    ///
    /// Each writer writes its entry, passes a fence, and reads the next entries, so at least one of two writers sees the other's entry.
    pub(crate) fn publish(&self, cache: &mut PageCache) {
        fence(Ordering::SeqCst);
        let mut published = self.published.load(Ordering::Acquire);
        while let Some(length) = self
            .directory
            .get_near(published + 1, cache)
            .and_then(Entry::batch_length)
        {
            let next = published + length;
            match self
                .published
                .compare_exchange(published, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => published = next,
                Err(current) => published = current,
            }
        }
    }

    /// Wakes those that wait for `published`. The caller holds no lock: a waker may call the store.
    pub(crate) fn announce(&self) {
        self.signal.notify();
    }

    /// Waits until everything up to `position` is published, which depends on the writers of earlier positions.
    pub(crate) fn await_published(&self, position: u64) {
        let backoff = Backoff::new();
        while self.published() < position {
            // loom rejects a spinning loop, so there it sleeps at once.
            if backoff.is_completed() || cfg!(annals_loom) {
                self.signal.wait_while(None, || self.published() < position);
            } else {
                pause(&backoff);
            }
        }
    }

    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// The last position that has reached this durability.
    pub(crate) fn reached(&self, durability: Durability) -> u64 {
        match durability {
            Durability::Volatile => self.published(),
            Durability::Written => self.written.load(Ordering::Acquire),
            Durability::Synced => self.synced.load(Ordering::Acquire),
        }
    }

    /// The durability of the event at `position`.
    pub(crate) fn durability_of(&self, position: u64) -> Durability {
        let levels = [Durability::Synced, Durability::Written];
        let reached = |level: &Durability| *level <= self.promised && self.reached(*level) >= position;
        levels.into_iter().find(reached).unwrap_or(Durability::Volatile)
    }

    /// The position that readers may read up to.
    #[inline]
    pub(crate) fn visible(&self) -> u64 {
        self.reached(self.visibility)
    }

    pub(crate) fn visibility(&self) -> Durability {
        self.visibility
    }

    pub(crate) fn promised(&self) -> Durability {
        self.promised
    }

    pub(crate) fn has_journal(&self) -> bool {
        self.has_journal
    }

    /// The position up to which no event needs to be retained for the journal.
    pub(crate) fn journaled(&self) -> u64 {
        if self.has_journal {
            self.reached(Durability::Written)
        } else {
            u64::MAX
        }
    }

    /// Records that the journal has written or synced everything up to `position`.
    pub(crate) fn raise(&self, durability: Durability, position: u64) {
        match durability {
            Durability::Volatile => return,
            Durability::Written => self.written.fetch_max(position, Ordering::AcqRel),
            Durability::Synced => self.synced.fetch_max(position, Ordering::AcqRel),
        };
        self.signal_of(durability).notify();
    }

    /// The signal that is notified when more events reach `durability`.
    pub(crate) fn signal_of(&self, durability: Durability) -> &Signal {
        match durability {
            Durability::Volatile => &self.signal,
            Durability::Written => &self.written_signal,
            Durability::Synced => &self.synced_signal,
        }
    }

    /// Waits until everything up to `position` has reached `durability`. Returns `false` if it never will.
    pub(crate) fn await_reached(&self, durability: Durability, position: u64) -> bool {
        if durability == Durability::Volatile {
            self.await_published(position);
            return true;
        }
        let waits = || self.reached(durability) < position && !self.is_halted();
        // The operating system accepts a write faster than a thread sleeps and wakes. A sync takes longer.
        let backoff = Backoff::new();
        while durability == Durability::Written && waits() && !backoff.is_completed() && !cfg!(annals_loom) {
            pause(&backoff);
        }
        self.signal_of(durability).wait_while(None, waits);
        self.reached(durability) >= position
    }

    /// Records that the journal has stopped, and wakes all waiters.
    pub(crate) fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
        self.notify_all();
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
    }

    /// The signal that is notified when more events are visible.
    pub(crate) fn visible_signal(&self) -> &Signal {
        self.signal_of(self.visibility)
    }

    fn notify_all(&self) {
        for signal in [&self.signal, &self.written_signal, &self.synced_signal] {
            signal.notify();
        }
    }

    /// The last position of the append that begins at `position`, if it is entered.
    pub(crate) fn end_of_append(&self, position: u64, cache: &mut PageCache) -> Option<u64> {
        let length = self.directory.get(position, cache)?.batch_length()?;
        Some(position + length - 1)
    }

    /// Moves all watermarks to the end of the recovered events.
    pub(crate) fn recovered_to(&self, position: u64) {
        for mark in [&*self.reserved, &*self.published, &*self.written, &self.synced] {
            mark.store(position, Ordering::Release);
        }
    }

    /// The same for a log with readers: the only writer has entered everything up to `position`.
    pub(crate) fn followed_to(&self, position: u64) {
        self.recovered_to(position);
        self.notify_all();
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Records that events up to `floor` are dropped.
    pub(crate) fn raise_floor(&self, floor: u64) {
        self.floor.fetch_max(floor, Ordering::AcqRel);
        self.directory.forget_to(floor);
    }

    /// Records that no event will be added before `next`. Returns `false` if the skipped positions exceed the directory's limit.
    pub(crate) fn skip_to(&self, next: u64) -> bool {
        self.directory.skip_to(next)
    }

    /// The positions from `first` to `last` that may have an event.
    pub(crate) fn positions(&self, first: u64, last: u64) -> impl DoubleEndedIterator<Item = u64> + Clone + use<> {
        self.directory.positions(first, last)
    }

    pub(crate) fn place(&self, position: u64, cache: &mut PageCache) -> Option<Place> {
        self.directory.get(position, cache).map(Entry::place)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.directory.memory_bytes()
    }
}

/// A log shared by threads, for the tests below and under loom.
#[cfg(test)]
fn shared() -> crate::store::sync::Arc<Log> {
    crate::store::sync::Arc::new(Log::new())
}

#[cfg(all(test, not(annals_loom)))]
mod tests {
    use super::*;

    fn write(log: &Log, count: u64) -> u64 {
        let mut cache = PageCache::default();
        let first = log.reserve(count);
        log.enter(first, &[PlaceRun::new(1, first, count)], &mut cache);
        log.publish(&mut cache);
        log.announce();
        first
    }

    #[test]
    fn a_hole_holds_the_watermark() {
        let log = shared();
        let mut cache = PageCache::default();
        let hole = log.reserve(2);
        write(&log, 3);
        assert_eq!(log.published(), 0);
        log.enter(hole, &[PlaceRun::new(0, 0, 1), PlaceRun::new(0, 7, 1)], &mut cache);
        log.publish(&mut cache);
        assert_eq!(log.published(), 5);
        assert_eq!(log.place(2, &mut cache), Some(Place { lane: 0, slot: 7 }));
        assert_eq!(log.place(4, &mut cache), Some(Place { lane: 1, slot: 4 }));
    }

    #[test]
    fn writers_on_threads_leave_no_hole() {
        let log = shared();
        let work = || {
            for count in 1..500 {
                let first = write(&log, count % 7 + 1);
                log.await_published(first);
                assert!(log.published() >= first + count % 7);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
        assert_eq!(log.published(), log.reserved());
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let log = shared();
        write(&log, 5);
        let fork = log.fork();
        write(&fork, 2);
        assert_eq!((log.published(), fork.published()), (5, 7));
        write(&log, 1);
        assert_eq!(
            log.place(6, &mut PageCache::default()),
            Some(Place { lane: 1, slot: 6 })
        );
    }
}

#[cfg(all(test, annals_loom))]
mod simulation {
    use super::*;
    use crate::store::sync::Arc;

    fn write(log: &Log, count: u64) -> u64 {
        let mut cache = PageCache::default();
        let first = log.reserve(count);
        log.enter(first, &[PlaceRun::new(0, first, count)], &mut cache);
        log.publish(&mut cache);
        log.announce();
        log.await_published(first + count - 1);
        first
    }

    fn check_prefix(log: &Log) {
        let mut cache = PageCache::default();
        for position in 1..=log.published() {
            assert!(log.place(position, &mut cache).is_some(), "a hole at {position}");
        }
    }

    #[test]
    fn two_writers_and_a_reader_see_no_hole() {
        loom::model(|| {
            let log = shared();
            let threads: Vec<_> = [1, 2]
                .into_iter()
                .map(|count| {
                    let log = Arc::clone(&log);
                    loom::thread::spawn(move || {
                        write(&log, count);
                    })
                })
                .collect();
            check_prefix(&log);
            assert!([0, 1, 2, 3].contains(&log.published()));
            for thread in threads {
                thread.join().expect("a writer ends");
            }
            assert_eq!(log.published(), 3);
            check_prefix(&log);
        });
    }

    #[test]
    fn two_appends_on_condition_never_take_the_same_place() {
        loom::model(|| {
            let log = shared();
            let decide = |log: &Log| {
                let last = log.reserved();
                log.await_published(last);
                let first = log.reserve_after(last, 1)?;
                let mut cache = PageCache::default();
                log.enter(first, &[PlaceRun::new(0, first, 1)], &mut cache);
                log.publish(&mut cache);
                log.announce();
                Some((last, first))
            };
            let other = Arc::clone(&log);
            let thread = loom::thread::spawn(move || decide(&other));
            let mine = decide(&log);
            let theirs = thread.join().expect("a writer ends");
            // Each successful append had seen everything before it; if both saw the same, one failed.
            let taken: Vec<_> = [mine, theirs].into_iter().flatten().collect();
            assert!(!taken.is_empty() && taken.iter().all(|(last, first)| first - last == 1));
            assert_eq!(log.published(), taken.len() as u64);
            check_prefix(&log);
        });
    }

    #[test]
    fn a_sleeper_is_woken() {
        loom::model(|| {
            let log = shared();
            let writer = {
                let log = Arc::clone(&log);
                loom::thread::spawn(move || {
                    write(&log, 1);
                })
            };
            log.signal.wait_while(None, || log.published() < 1);
            assert_eq!(log.published(), 1);
            writer.join().expect("the writer ends");
        });
    }
}
