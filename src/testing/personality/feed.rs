//! A log in memory that another store follows, with the anomalies of a database in between.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Anomaly, LAG_MAX, LATE_MAX, Personality};
use crate::journal::{Batch, Feed, JournalError, JournalErrorKind, Recover, Recovered, Remote, RemoteAppend};
use crate::{Appended, Durability, Gap, Position, Result, Store};

/// The poll interval, that of a follower of PostgreSQL.
const POLL: Duration = Duration::from_millis(100);
/// The poll interval while a test pauses replay or holds notifications.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The most events in a batch.
const BATCH_EVENTS: usize = 4_096;

/// The store that is followed, and what interrupts the feed's waits.
#[derive(Debug)]
pub(super) struct Wakeup {
    store: Store,
    is_woken: AtomicBool,
    is_stopped: AtomicBool,
    /// The thread that waits.
    waiting: Mutex<Option<Thread>>,
}

/// Wakes a thread that waits for the store.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Wakeup {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            is_woken: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            waiting: Mutex::new(None),
        }
    }

    fn set(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::SeqCst);
        if let Some(thread) = &*self.waiting.lock() {
            thread.unpark();
        }
    }

    fn is_interrupted(&self) -> bool {
        self.is_woken.load(Ordering::SeqCst) || self.is_stopped.load(Ordering::SeqCst)
    }

    /// Waits until the event at `position` is visible, if there is one, or until the deadline, a call of [`Remote::wake`], or the end.
    fn wait_until(&self, deadline: Instant, position: Option<Position>) {
        let thread = std::thread::current();
        // Before the checks: a call of `set` after them finds the thread.
        *self.waiting.lock() = Some(thread.clone());
        let waker = Waker::from(Arc::new(Unpark(thread)));
        let mut visible = position.map(|position| self.store.when_visible(position));
        while !self.is_interrupted() {
            let context = &mut Context::from_waker(&waker);
            let is_visible = visible
                .as_mut()
                .is_some_and(|visible| Pin::new(visible).poll(context).is_ready());
            let left = deadline.saturating_duration_since(Instant::now());
            if is_visible || left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    fn take_woken(&self) -> bool {
        self.is_woken.swap(false, Ordering::SeqCst)
    }
}

/// Reads the events of the store that is followed.
#[derive(Debug)]
pub(super) struct MemoryFeed {
    wakeup: Arc<Wakeup>,
    personality: Personality,
    /// The last position that was read.
    read: u64,
    /// Whether an append of this follower ended the last wait.
    is_woken: bool,
}

impl MemoryFeed {
    pub(super) fn new(wakeup: &Arc<Wakeup>, personality: &Personality) -> Self {
        Self {
            wakeup: Arc::clone(wakeup),
            personality: personality.clone(),
            read: 0,
            // The first read needs no notification.
            is_woken: true,
        }
    }

    /// When the follower reads a commit of another process; `None` for at once.
    fn delay(&self, next_poll: Instant) -> Option<Instant> {
        if self.personality.is_held() {
            return Some(Instant::now() + LOOK_AGAIN);
        }
        if self.personality.loses_notification() {
            return Some(next_poll);
        }
        let late = self.personality.draw_delay(Anomaly::LateNotifications, LATE_MAX)?;
        Some(next_poll.min(Instant::now() + late))
    }

    /// Waits for the replica, which may have replayed the commit afterwards.
    fn wait_for_replay(&mut self) {
        if self.personality.is_paused() {
            self.wakeup.wait_until(Instant::now() + LOOK_AGAIN, None);
            self.is_woken |= self.wakeup.take_woken();
        } else if let Some(lag) = self.personality.draw_delay(Anomaly::StaleReads, LAG_MAX) {
            self.wakeup.wait_until(Instant::now() + lag, None);
            self.is_woken |= self.wakeup.take_woken();
        }
    }
}

impl Feed for MemoryFeed {
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let store = &self.wakeup.store;
        // Taken before the checks: otherwise a commit after the start of a pause could be read.
        let visible = store.visible();
        let is_told = self.is_woken || !self.personality.is_held();
        let until = if is_told && !self.personality.is_paused() {
            visible
        } else {
            after
        };
        self.read = until.max(after).0;
        let mut next = after.0;
        while next < self.read {
            let batch = read(store, next, self.read);
            next = batch.last_position().0;
            into.batch(batch)?;
        }
        Ok(Recovered::default())
    }

    fn wait(&mut self) {
        let next_poll = Instant::now() + POLL;
        let read = Position(self.read);
        self.wakeup.wait_until(next_poll, Some(Position(self.read + 1)));
        let has_more = || self.wakeup.store.visible() > read;
        // An append of this follower wakes it, without a notification.
        self.is_woken = self.wakeup.take_woken();
        if !self.is_woken
            && has_more()
            && let Some(until) = self.delay(next_poll)
        {
            self.wakeup.wait_until(until, None);
            self.is_woken = self.wakeup.take_woken();
        }
        if has_more() {
            self.wait_for_replay();
        }
    }
}

/// Reads the events after position `after`, up to `until`, as a batch without holes.
fn read(store: &Store, after: u64, until: u64) -> Batch {
    let mut batch = Batch::new();
    let (mut seen, mut count, mut holes) = (after, 0, Vec::new());
    let read = store.read_all().include_system().after(Position(after));
    read.as_of(Position(until)).limit(BATCH_EVENTS).for_each(|event| {
        skip(&mut batch, &mut holes, seen, event.position().0 - 1);
        batch.push_ref(event);
        seen = event.position().0;
        count += 1;
    });
    if count < BATCH_EVENTS {
        skip(&mut batch, &mut holes, seen, until);
    }
    if !holes.is_empty() {
        let gaps = store.gaps();
        let within = holes
            .iter()
            .flat_map(|hole| gaps.iter().filter_map(|gap| clip(gap, *hole)));
        within.for_each(|gap| batch.push_gap(gap));
    }
    batch
}

/// Skips the positions after `seen` up to `last`, whose events were dropped.
fn skip(batch: &mut Batch, holes: &mut Vec<(u64, u64)>, seen: u64, last: u64) {
    if seen < last {
        batch.skip(Position(seen + 1), Position(last));
        holes.push((seen + 1, last));
    }
}

/// The part of a gap within positions.
fn clip(gap: &Gap, (first, last): (u64, u64)) -> Option<Gap> {
    let (first, last) = (gap.first.0.max(first), gap.last.0.min(last));
    let count = gap.count.min(last.saturating_sub(first) + 1);
    (first <= last).then(|| Gap::new(Position(first), Position(last), count, gap.reason.clone()))
}

/// Appends to the store that is followed.
#[derive(Debug)]
pub(super) struct MemoryRemote {
    wakeup: Arc<Wakeup>,
    personality: Personality,
}

impl MemoryRemote {
    pub(super) fn new(wakeup: &Arc<Wakeup>, personality: &Personality) -> Self {
        Self {
            wakeup: Arc::clone(wakeup),
            personality: personality.clone(),
        }
    }
}

impl Remote for MemoryRemote {
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        if self.personality.rolls_back() {
            let message = "the events cannot be appended, and nothing was written: could not serialize access due to concurrent update (40001)";
            return Err(JournalError::new(JournalErrorKind::Retry, message).into());
        }
        let store = &self.wakeup.store;
        let appended = store.append(append.stream(), append.expected(), append.events_with_ids())?;
        Ok(Appended {
            durability: Durability::Synced,
            repeated: appended.repeated && append.has_own_ids(),
            ..appended
        })
    }

    fn timeout(&self) -> Duration {
        self.personality.timeout
    }

    fn wake(&self) {
        self.wakeup.set(&self.wakeup.is_woken);
    }

    fn stop(&self) {
        self.wakeup.set(&self.wakeup.is_stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seed;

    /// How many of 400 commits a follower looks for at its next poll, before it, and at once.
    fn looks(personality: &Personality) -> [usize; 3] {
        let seeded = personality.clone().seeded(Seed::new(7));
        let feed = MemoryFeed::new(&Arc::new(Wakeup::new(&Store::in_memory())), &seeded);
        let next_poll = Instant::now() + Duration::from_secs(3_600);
        let delays: Vec<_> = (0..400).map(|_| feed.delay(next_poll)).collect();
        let count = |is_one: &dyn Fn(&Option<Instant>) -> bool| delays.iter().filter(|delay| is_one(delay)).count();
        let (lost, told) = (count(&|at| *at == Some(next_poll)), count(&Option::is_none));
        [lost, delays.len() - lost - told, told]
    }

    #[test]
    fn one_notification_of_four_is_lost_and_the_others_are_late_or_not() {
        let all = Personality::postgres();
        let [lost, late, told] = looks(&all);
        assert!(
            (50..150).contains(&lost) && late == 400 - lost && told == 0,
            "{lost} {late} {told}"
        );
        let [lost, late, told] = looks(&all.clone().only(Anomaly::LostNotifications));
        assert!(
            (50..150).contains(&lost) && told == 400 - lost && late == 0,
            "{lost} {late} {told}"
        );
        assert_eq!(looks(&all.clone().only(Anomaly::LateNotifications)), [0, 400, 0]);
        assert_eq!(looks(&all.only(Anomaly::Redelivery)), [0, 0, 400]);
    }
}
