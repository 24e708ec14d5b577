//! Readers that follow the log while it is written: the delay of each event, the lag, and completeness.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use annals::Position;
use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use crate::clock::{Clock as _, MonotonicClock};
use crate::generate::{PRELOAD, WARMUP, identity_of};
use crate::load::recording::Outcome;
use crate::load::worker::HANG;
use crate::load::{CATCH_UP_MAX, Entry, LoadError, Samples, Setup};
use crate::oracle::{Rule, Verdict};
use crate::phase::{Phase, RunError, Watch, report};
use crate::store::{Follow, Result, StoredEvent};

/// Maximum number of events that a reader takes at once.
const PAGE: usize = 1_000;
/// The distance of two looks at a log that cannot wake its readers.
const POLL: Duration = Duration::from_millis(1);
/// The maximum time that a reader waits to be woken.
const WAIT: Duration = Duration::from_millis(50);
/// The time that a reader waits after the load for an acknowledged event. A later event counts as lost.
const LATE_MAX: Duration = Duration::from_secs(5);

/// The results of the readers of a run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Seen {
    /// From the start of an append until a reader had its first event, of all readers.
    pub after: Samples,
    /// The time from the acknowledgement of an append until a reader had its first event, for all readers; zero if the reader was faster.
    pub published: Samples,
    /// Events that were acknowledged, once for each reader.
    pub acknowledged: u64,
    /// Of these, events that the reader received.
    pub delivered: u64,
    /// The most events that were acknowledged and not seen yet by a reader.
    pub behind_max: u64,
    /// The most events of other programs that a reader skipped.
    pub foreign: u64,
}

/// An event that a reader saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sight {
    number: u64,
    ordinal: u32,
    at: Duration,
}

/// The events that a reader saw, in order, and whether positions ascended.
#[derive(Debug, Default)]
struct Sights {
    all: Vec<Sight>,
    /// Events of this run, with those from before the load.
    own: u64,
    /// Events of other programs.
    foreign: u64,
    is_disordered: bool,
    /// Whether it was still catching up when its time was over.
    is_cut_short: bool,
    /// What a fold keeps of each stream: a sum that the compiler cannot leave out.
    sums: HashMap<String, u64>,
}

/// The end of a run, as the readers see it.
#[derive(Debug, Default)]
struct End {
    /// The appends that were acknowledged, with their number of events, once the load has ended.
    acknowledged: OnceLock<Vec<(u64, u32)>>,
    is_given_up: AtomicBool,
}

/// Readers on threads of their own.
#[derive(Debug)]
pub(crate) struct Readers {
    end: Arc<End>,
    receive: Receiver<Result<Sights>>,
    count: u32,
}

impl Readers {
    /// Starts the readers that the workload wants.
    pub(crate) fn start(setup: &Setup) -> Result<Self, LoadError> {
        let count = setup.generator.workload().readers.tails;
        let end = Arc::new(End::default());
        let (send, receive) = unbounded();
        for _ in 0..count {
            let (setup, send, end) = (setup.clone(), send.clone(), Arc::clone(&end));
            // A run that has given up does not listen any more.
            let work = move || drop(send.send(follow(&setup, &end)));
            let thread = std::thread::Builder::new().name("reader".to_owned()).spawn(work);
            thread.map_err(|error| LoadError::Thread(error.to_string()))?;
        }
        Ok(Self { end, receive, count })
    }

    /// Waits until each reader has seen all acknowledged events of `entries`, or its time is over, and compares the events that it saw with
    /// `entries`, which it sorts.
    pub(crate) fn finish(
        self,
        setup: &Setup,
        entries: &mut [Entry],
        watch: Watch<'_>,
    ) -> Result<Option<(Seen, Verdict)>, RunError> {
        entries.sort_unstable_by_key(|entry| entry.number);
        let acknowledged = entries.iter().filter(|entry| is_acknowledged(entry));
        let batch = |entry: &Entry| (entry.number, setup.generator.of_number(entry.number).batch);
        self.end.acknowledged.set(acknowledged.map(batch).collect()).ok();
        let (mut seen, mut verdict) = (Seen::default(), Verdict::default());
        for _ in 0..self.count {
            match self.next(watch)? {
                Ok(sights) if sights.is_cut_short => return Err(LoadError::Behind.into()),
                Ok(sights) => sights.judge(setup, entries, &mut seen, &mut verdict),
                // It has not seen a wrong log: what it would have seen is not known.
                Err(error) => return Err(LoadError::Reader(error.to_string()).into()),
            }
        }
        Ok((self.count > 0).then_some((seen, verdict)))
    }

    /// What the next reader that has ended saw.
    fn next(&self, watch: Watch<'_>) -> Result<Result<Sights>, RunError> {
        let clock = MonotonicClock::start();
        loop {
            match self.receive.recv_timeout(WAIT) {
                Ok(sights) => return Ok(sights),
                Err(RecvTimeoutError::Timeout) if clock.now() > HANG => return Err(LoadError::Hangs.into()),
                Err(RecvTimeoutError::Timeout) => report(watch, Phase::Measure, 0)?,
                Err(RecvTimeoutError::Disconnected) => return Err(LoadError::Panicked.into()),
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.end.is_given_up.store(true, Ordering::Release);
    }
}

/// Follows the log until it has seen all acknowledged events, or its time is over.
fn follow(setup: &Setup, end: &End) -> Result<Sights> {
    let mut sights = Sights::default();
    let mut cursor = Position(0);
    let mut tail = setup.store.follow(cursor)?;
    let mut last: Option<LastEvents> = None;
    let is_folding = setup.generator.workload().readers.fold;
    while !end.is_given_up.load(Ordering::Acquire) {
        if last.is_none() {
            let acknowledged = end.acknowledged.get();
            last = acknowledged.map(|acknowledged| LastEvents::new(acknowledged, &sights, setup.clock.now()));
        }
        let (mut count, after, before) = (0_usize, cursor, sights.all.len());
        let mut look = |event: StoredEvent<'_>| {
            count += 1;
            let position = event.position.unwrap_or(cursor);
            sights.is_disordered |= position <= cursor;
            cursor = position.max(cursor);
            sights.take(&event, setup, is_folding);
        };
        match &mut tail {
            Some(tail) => tail.next(PAGE, WAIT, &mut look)?,
            None => setup.store.read_log(after, PAGE, &mut look)?,
        }
        if let Some(last) = &mut last
            && last.is_over(&mut sights, before, setup.clock.now())
        {
            break;
        }
        if count == 0 && tail.is_none() {
            setup.clock.wait_until(setup.clock.now() + POLL);
        }
    }
    sights.foreign += tail.map_or(0, |tail| tail.skipped());
    Ok(sights)
}

/// The events that a reader waits for after the load.
#[derive(Debug)]
struct LastEvents {
    missing: HashSet<(u64, u32)>,
    began: Duration,
    /// The time at which an event of this run was last seen, and the number of events seen then.
    progress: (Duration, u64),
}

impl LastEvents {
    fn new(acknowledged: &[(u64, u32)], sights: &Sights, now: Duration) -> Self {
        let events = acknowledged
            .iter()
            .flat_map(|(number, batch)| (0..*batch).map(|ordinal| (*number, ordinal)));
        let mut missing: HashSet<(u64, u32)> = events.collect();
        for sight in &sights.all {
            missing.remove(&(sight.number, sight.ordinal));
        }
        Self {
            missing,
            began: now,
            progress: (now, sights.own),
        }
    }

    /// Whether the reader ends, after a look that added the sights from `before` on. The last look shows nothing of this run: an event that is shown twice
    /// is not missed.
    fn is_over(&mut self, sights: &mut Sights, before: usize, now: Duration) -> bool {
        for sight in sights.all.iter().skip(before) {
            self.missing.remove(&(sight.number, sight.ordinal));
        }
        let is_idle = sights.own == self.progress.1;
        if !is_idle {
            self.progress = (now, sights.own);
        }
        let is_late = now.saturating_sub(self.progress.0) >= LATE_MAX;
        let is_cut_short = now.saturating_sub(self.began) >= CATCH_UP_MAX;
        sights.is_cut_short = is_cut_short && !is_idle;
        is_idle && self.missing.is_empty() || is_late || is_cut_short
    }
}

impl Sights {
    fn take(&mut self, event: &StoredEvent<'_>, setup: &Setup, is_folding: bool) {
        if is_folding {
            self.fold(event);
        }
        let Some(identity) = identity_of(event.data) else {
            self.foreign += 1;
            return;
        };
        self.own += 1;
        if identity.number & PRELOAD == 0 {
            self.all.push(Sight {
                number: identity.number,
                ordinal: identity.ordinal,
                at: setup.clock.now(),
            });
        }
    }

    /// Does the work of a projection: parses the payload, and adds its amount to the sum of its stream.
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
        seen.foreign = seen.foreign.max(self.foreign);
        if self.is_disordered {
            verdict.note(Rule::EveryReader, || "a reader saw positions that went back".to_owned());
        }
        self.all.sort_unstable();
        let age = setup.generator.workload().time_to_live();
        // An event may expire before a reader reaches it.
        let cutoff = age.and_then(|age| setup.clock.now().checked_sub(age));
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
            let batch = setup.generator.of_number(entry.number).batch;
            let got = own.map(|sight| sight.ordinal).collect::<HashSet<_>>().len() as u64;
            let is_due = cutoff.is_none_or(|cutoff| entry.started > cutoff);
            seen.acknowledged += if is_due { u64::from(batch) } else { got };
            seen.delivered += got;
            if got < u64::from(batch) && is_due {
                verdict.note(Rule::EveryReader, || {
                    format!(
                        "a reader did not see operation {:x}, which was acknowledged",
                        entry.number
                    )
                });
            }
            if let Some(sight) = self.all.get(first).filter(|sight| is_timed(sight, entry)) {
                seen.after.record(sight.at.saturating_sub(entry.started));
                seen.published.record(sight.at.saturating_sub(entry.ended));
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
