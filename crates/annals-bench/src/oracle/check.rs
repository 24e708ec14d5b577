//! Reads everything back, compares it with the acknowledgements, and checks these by themselves.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use annals::{Expected, Position, Version};

use super::found::Matching;
use super::{Rule, Verdict};
use crate::clock::Clock;
use crate::generate::Generator;
use crate::load::Entry;
use crate::load::recording::Outcome;
use crate::store::{ConsistencyCheck, Description, EventStore, Result, StoredEvent};

/// Events that are read at a time.
const PAGE: usize = 10_000;

/// Reads all that `store` has, and compares it with `entries`, which it may sort.
///
/// # Errors
///
/// The error of a read that failed.
pub fn verify(
    store: &dyn EventStore,
    backend: &Description,
    generator: &Generator,
    entries: &mut [Entry],
) -> Result<Verdict> {
    verify_expiring(store, backend, generator, entries, None)
}

/// Until when events are there.
#[derive(Clone, Copy)]
pub struct Expiry<'a> {
    /// The time after its append.
    pub age: Duration,
    /// By this clock, which is that of the entries.
    pub clock: &'a dyn Clock,
}

/// The age from which an event may be missing: nine tenths of its time to live. Stores expire events by the wall clock, which the system may set during a
/// run; the run itself is measured by a monotonic clock.
pub(crate) fn least_age(time_to_live: Duration) -> Duration {
    time_to_live / 10 * 9
}

impl Expiry<'_> {
    /// Events that were appended before this time have expired, and may be stored or not.
    pub(crate) fn cutoff(self) -> Option<Duration> {
        self.clock.now().checked_sub(self.age)
    }
}

impl fmt::Debug for Expiry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expiry").field("age", &self.age).finish_non_exhaustive()
    }
}

/// The same for a store whose events expire: only expired events may be missing.
///
/// # Errors
///
/// The error of a read that failed.
pub fn verify_expiring(
    store: &dyn EventStore,
    backend: &Description,
    generator: &Generator,
    entries: &mut [Entry],
    expiry: Option<Expiry<'_>>,
) -> Result<Verdict> {
    entries.sort_unstable_by_key(|entry| entry.number);
    if !backend.keeps_events {
        return Ok(Verdict::default());
    }
    let mut matching = Matching::new(generator, entries, store.keeps_bytes());
    if backend.has_log {
        read_log(store, &mut matching)?;
    } else {
        read_streams(store, generator, entries, &mut matching)?;
    }
    // Everything was read before now.
    let mut verdict = matching.finish(expiry.and_then(Expiry::cutoff));
    if backend.check == ConsistencyCheck::StreamVersion {
        check_winners(generator, entries, expiry.map(|expiry| expiry.age), &mut verdict);
    }
    Ok(verdict)
}

fn read_log(store: &dyn EventStore, matching: &mut Matching<'_>) -> Result<()> {
    let mut after = Position(0);
    loop {
        let before = after;
        let mut count = 0;
        let mut look = |event: StoredEvent<'_>| {
            count += 1;
            after = event.position.map_or(after, |position| position.max(after));
            matching.take(&event);
        };
        store.read_log(before, PAGE, &mut look)?;
        // A backend that returns the same page again would never end.
        if count == 0 || after <= before {
            return Ok(());
        }
    }
}

fn read_streams(
    store: &dyn EventStore,
    generator: &Generator,
    entries: &[Entry],
    matching: &mut Matching<'_>,
) -> Result<()> {
    let streams: BTreeSet<String> = entries
        .iter()
        .map(|entry| generator.of_number(entry.number).stream)
        .collect();
    for stream in streams {
        store.read_stream(&stream, Version(0), &mut |event| matching.take(&event))?;
    }
    Ok(())
}

/// Of the appends to one version, one is acknowledged, and its events follow that version. A stream whose events have expired may begin again, if two winners
/// are so far apart.
fn check_winners(generator: &Generator, entries: &[Entry], age: Option<Duration>, verdict: &mut Verdict) {
    let mut won: HashMap<(String, u64), Vec<Entry>> = HashMap::new();
    for entry in entries {
        let Outcome::Acknowledged(first) = entry.outcome else {
            continue;
        };
        let version = match entry.expected {
            Expected::Exactly(version) => version.0,
            Expected::NoStream => 0,
            Expected::Any | Expected::StreamExists => continue,
        };
        let operation = generator.of_number(entry.number);
        let winners = won.entry((operation.stream.clone(), version)).or_default();
        let is_apart = |other: &Entry| age.is_some_and(|age| time_between(entry, other) >= age);
        let is_alone = winners.iter().all(is_apart);
        winners.push(*entry);
        if !is_alone || first.0 != version + 1 {
            verdict.note(Rule::OneWinner, || {
                format!(
                    "{} got operation {:x} at version {first}, expected at {version}",
                    operation.stream, entry.number
                )
            });
        }
    }
}

/// From the beginning of the one that began first to the end of the one that ended last.
fn time_between(one: &Entry, other: &Entry) -> Duration {
    one.ended
        .max(other.ended)
        .saturating_sub(one.started.min(other.started))
}
