//! Readers that follow the log while it is written: how soon each sees an event, how far it is behind, and whether it sees all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::Position;
use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use crate::generate::{PRELOAD, WARMUP, identity_of};
use crate::load::recording::Outcome;
use crate::load::worker::HANG;
use crate::load::{Entry, LoadError, Samples, Setup};
use crate::oracle::{Rule, Verdict};
use crate::store::{Follow, Result, StoredEvent};

/// Events that a reader takes at a time.
const PAGE: usize = 1_000;
/// The distance of two looks at a log that cannot wake its readers.
const POLL: Duration = Duration::from_millis(1);
/// How long a reader waits to be woken.
const WAIT: Duration = Duration::from_millis(50);
/// How long it waits for the last events: everything was acknowledged before.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What the readers of a run saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// From the start of an append until a reader had its first event, of all readers.
    pub after: Samples,
    /// The most events that were acknowledged and not seen yet by a reader.
    pub behind_max: u64,
}

/// An event that a reader saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sight {
    number: u64,
    ordinal: u32,
    at: Duration,
}

/// What a reader saw, in its order, and whether positions went up.
#[derive(Debug, Default)]
struct Sights {
    all: Vec<Sight>,
    is_disordered: bool,
    /// What a fold keeps of each stream: a sum that the compiler cannot leave out.
    sums: HashMap<String, u64>,
}

/// Readers on threads of their own.
#[derive(Debug)]
pub(crate) struct Readers {
    is_stopped: Arc<AtomicBool>,
    receive: Receiver<Result<Sights>>,
    count: u32,
}

impl Readers {
    /// Starts the readers that the workload wants.
    pub(crate) fn start(setup: &Setup) -> Result<Self, LoadError> {
        let count = setup.generator.workload().readers.tails;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (send, receive) = unbounded();
        for _ in 0..count {
            let (setup, send, is_stopped) = (setup.clone(), send.clone(), Arc::clone(&is_stopped));
            // A run that has given up does not listen any more.
            let work = move || drop(send.send(follow(&setup, &is_stopped)));
            let thread = std::thread::Builder::new().name("reader".to_owned()).spawn(work);
            thread.map_err(|error| LoadError::Thread(error.to_string()))?;
        }
        Ok(Self {
            is_stopped,
            receive,
            count,
        })
    }

    /// Waits until each reader has seen the last event, and compares what it saw with `entries`, which it sorts.
    pub(crate) fn finish(self, setup: &Setup, entries: &mut [Entry]) -> Result<Option<(Seen, Verdict)>, LoadError> {
        self.is_stopped.store(true, Ordering::Release);
        entries.sort_unstable_by_key(|entry| entry.number);
        let (mut seen, mut verdict) = (Seen::default(), Verdict::default());
        for _ in 0..self.count {
            let sights = self.receive.recv_timeout(HANG).map_err(|error| match error {
                RecvTimeoutError::Timeout => LoadError::Hangs,
                RecvTimeoutError::Disconnected => LoadError::Panicked,
            })?;
            match sights {
                Ok(sights) => sights.judge(setup, entries, &mut seen, &mut verdict),
                Err(error) => verdict.note(Rule::EveryReader, || format!("a reader failed: {error}")),
            }
        }
        Ok((self.count > 0).then_some((seen, verdict)))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Release);
    }
}

/// Follows the log until it is stopped and has no more events.
fn follow(setup: &Setup, is_stopped: &AtomicBool) -> Result<Sights> {
    let mut sights = Sights::default();
    let mut cursor = Position(0);
    let mut tail = setup.store.follow(cursor)?;
    let is_folding = setup.generator.workload().readers.fold;
    loop {
        let is_last = is_stopped.load(Ordering::Acquire);
        let (mut count, after) = (0_usize, cursor);
        let mut look = |event: StoredEvent<'_>| {
            count += 1;
            let position = event.position.unwrap_or(cursor);
            sights.is_disordered |= position <= cursor;
            cursor = position.max(cursor);
            sights.take(&event, setup, is_folding);
        };
        let wait = if is_last { LAST_WAIT } else { WAIT };
        match &mut tail {
            Some(tail) => tail.next(PAGE, wait, &mut look)?,
            None => setup.store.read_log(after, PAGE, &mut look)?,
        }
        if count == 0 && is_last {
            return Ok(sights);
        }
        if count == 0 && tail.is_none() {
            setup.clock.wait_until(setup.clock.now() + POLL);
        }
    }
}

impl Sights {
    fn take(&mut self, event: &StoredEvent<'_>, setup: &Setup, is_folding: bool) {
        if is_folding {
            self.fold(event);
        }
        let identity = identity_of(event.data).filter(|identity| identity.number & PRELOAD == 0);
        if let Some(identity) = identity {
            self.all.push(Sight {
                number: identity.number,
                ordinal: identity.ordinal,
                at: setup.clock.now(),
            });
        }
    }

    /// Does what a projection does: parses the payload, and adds its amount to the sum of its stream.
    fn fold(&mut self, event: &StoredEvent<'_>) {
        let value = serde_json::from_slice::<serde_json::Value>(event.data).unwrap_or_default();
        let amount = value.get("amount").and_then(serde_json::Value::as_u64).unwrap_or(1);
        if let Some(sum) = self.sums.get_mut(event.stream) {
            *sum = sum.wrapping_add(amount);
        } else {
            self.sums.insert(event.stream.to_owned(), amount);
        }
    }

    /// Whether everything in `entries` that was acknowledged was seen, once and in order, and when.
    fn judge(mut self, setup: &Setup, entries: &[Entry], seen: &mut Seen, verdict: &mut Verdict) {
        seen.behind_max = seen.behind_max.max(self.behind(setup, entries));
        if self.is_disordered {
            verdict.note(Rule::EveryReader, || "a reader saw positions that went back".to_owned());
        }
        self.all.sort_unstable();
        for pair in self.all.windows(2) {
            if let [one, other] = pair
                && (one.number, one.ordinal) == (other.number, other.ordinal)
            {
                let number = one.number;
                verdict.note(Rule::EveryReader, || {
                    format!("a reader saw an event of operation {number:x} twice")
                });
            }
        }
        for entry in entries.iter().filter(|entry| is_acknowledged(entry)) {
            let first = self.all.partition_point(|sight| sight.number < entry.number);
            let own = self.all[first..]
                .iter()
                .take_while(|sight| sight.number == entry.number);
            let batch = setup.generator.of_number(entry.number).batch as usize;
            if own.count() < batch {
                verdict.note(Rule::EveryReader, || {
                    format!(
                        "a reader did not see operation {:x}, which was acknowledged",
                        entry.number
                    )
                });
            }
            if let Some(sight) = self.all.get(first).filter(|sight| is_timed(sight, entry)) {
                seen.after.record(sight.at.saturating_sub(entry.started));
            }
        }
    }

    /// The most events that had been acknowledged when an event was seen, and were not seen themselves.
    fn behind(&self, setup: &Setup, entries: &[Entry]) -> u64 {
        let acknowledged = entries.iter().filter(|entry| is_acknowledged(entry));
        let mut ended: Vec<(Duration, u64)> = acknowledged
            .map(|entry| (entry.ended, u64::from(setup.generator.of_number(entry.number).batch)))
            .collect();
        ended.sort_unstable();
        let (mut next, mut written, mut most) = (ended.iter().peekable(), 0_u64, 0_u64);
        for (before, sight) in (0_u64..).zip(&self.all) {
            while let Some((_, events)) = next.next_if(|(end, _)| *end <= sight.at) {
                written += events;
            }
            most = most.max(written.saturating_sub(before));
        }
        most
    }
}

fn is_acknowledged(entry: &Entry) -> bool {
    entry.number & PRELOAD == 0 && matches!(entry.outcome, Outcome::Acknowledged(_))
}

/// Whether `sight` is of the measured time: of `entry`, and not of the warm-up.
fn is_timed(sight: &Sight, entry: &Entry) -> bool {
    sight.number == entry.number && entry.number & WARMUP == 0
}

/// A reader that a store wakes: see [`EventStore::follow`](crate::EventStore::follow).
impl std::fmt::Debug for dyn Follow + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follow")
    }
}
