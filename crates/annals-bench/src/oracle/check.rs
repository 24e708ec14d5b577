//! Reading everything back, and what follows from the acknowledgements alone.

use std::collections::{BTreeSet, HashSet};

use annals::{Expected, Position, Version};

use super::found::Matching;
use super::{Rule, Verdict};
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
    entries.sort_unstable_by_key(|entry| entry.number);
    if !backend.keeps_events {
        return Ok(Verdict::default());
    }
    let mut matching = Matching::new(generator, entries);
    if backend.has_log {
        read_log(store, &mut matching)?;
    } else {
        read_streams(store, generator, entries, &mut matching)?;
    }
    let mut verdict = matching.finish();
    if backend.check == ConsistencyCheck::StreamVersion {
        check_winners(generator, entries, &mut verdict);
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

/// Of the appends to one version, one is acknowledged, and its events follow that version.
fn check_winners(generator: &Generator, entries: &[Entry], verdict: &mut Verdict) {
    let mut won = HashSet::new();
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
        let is_first = won.insert((operation.stream.clone(), version));
        if !is_first || first.0 != version + 1 {
            verdict.note(Rule::OneWinner, || {
                format!(
                    "{} got operation {:x} at version {first}, expected at {version}",
                    operation.stream, entry.number
                )
            });
        }
    }
}
