//! Traces: whether the correlation and the cause of each event come back as they were written, and lead to the beginning of its conversation.

use std::collections::HashSet;

use annals::Position;

use crate::generate::{Generator, Identity, PRELOAD, PROBE, correlation, identity_of};
use crate::load::Entry;
use crate::load::recording::Outcome;
use crate::store::{Description, EventStore, Result, StoreError, Trace};
use crate::workload::Metric;

/// Events that are read at a time.
const PAGE: usize = 10_000;

/// The numbers of events that can be traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// Events of the load whose causes were all acknowledged.
    pub events: u64,
    /// Of these, events whose correlation and cause, and those of all their causes, are as written.
    pub traced: u64,
}

/// Traces the events of `entries`, sorted by number, if a goal requires it. `None` also if the backend returns no traces.
pub(crate) fn trace(
    generator: &Generator,
    store: &dyn EventStore,
    backend: &Description,
    entries: &[Entry],
) -> Result<Option<Traced>> {
    let mut goals = generator.workload().goals.iter();
    let is_wanted = goals.any(|goal| goal.metric == Metric::TracedPercent);
    if !is_wanted || !backend.has_log || !backend.keeps_events {
        return Ok(None);
    }
    match right(generator, store) {
        Ok(right) => Ok(Some(count(generator, entries, &right))),
        Err(StoreError::Unsupported(_)) => Ok(None),
        Err(error @ (StoreError::Conflict | StoreError::Failed(_))) => Err(error),
    }
}

/// The events of the store, with those that were written.
fn right(generator: &Generator, store: &dyn EventStore) -> Result<HashSet<Identity>> {
    let (mut right, mut after) = (HashSet::new(), Position(0));
    loop {
        let before = after;
        store.read_traces(before, PAGE, &mut |trace| {
            after = trace.position.max(after);
            right.extend(identity_of(trace.data).filter(|identity| is_right(generator, *identity, &trace)));
        })?;
        if after <= before {
            return Ok(right);
        }
    }
}

fn is_right(generator: &Generator, identity: Identity, trace: &Trace<'_>) -> bool {
    let cause = generator.cause(identity.number, identity.ordinal).map(Identity::text);
    trace.correlation == correlation(identity.number) && trace.causation == cause.unwrap_or_default()
}

fn count(generator: &Generator, entries: &[Entry], right: &HashSet<Identity>) -> Traced {
    let is_acknowledged = |identity: &Identity| {
        let found = entries.binary_search_by_key(&identity.number, |entry| entry.number);
        let entry = found.ok().and_then(|index| entries.get(index));
        entry.is_some_and(|entry| matches!(entry.outcome, Outcome::Acknowledged(_)))
    };
    let mut traced = Traced::default();
    for entry in entries.iter().filter(|entry| entry.number & (PRELOAD | PROBE) == 0) {
        for ordinal in 0..generator.of_number(entry.number).batch {
            let chain = chain(
                generator,
                Identity {
                    number: entry.number,
                    ordinal,
                },
            );
            // A cause that is not stored is no failure of the store.
            if chain.iter().all(is_acknowledged) {
                traced.events += 1;
                traced.traced += u64::from(chain.iter().all(|identity| right.contains(identity)));
            }
        }
    }
    traced
}

/// An event and its causes, to the beginning of its conversation.
fn chain(generator: &Generator, identity: Identity) -> Vec<Identity> {
    let cause = |identity: &Identity| generator.cause(identity.number, identity.ordinal);
    std::iter::successors(Some(identity), cause).collect()
}
