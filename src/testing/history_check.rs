//! A checker of histories: whether a store could have answered so, with its operations in one order that fits real time.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Call, History, Operation, Outcome, Recovered, Seen, Watched, What};
use super::history_log::{Fact, Log};
use crate::{Appended, Conflict, Durability, Expected, Name};

/// Checks a history. A store begins it empty.
///
/// * Positions and versions are unique and have no holes, and an append that was acknowledged before another was invoked has
///   the lower position.
/// * A conflict names a version that the aggregate had between the invocation and the return, or an event that matches.
/// * A read returns every event up to its last position, whole appends, and at least what was visible before it was invoked; only
///   events that were dropped are missing.
/// * An acknowledged deletion or truncation holds.
/// * A recovered log has everything that was acknowledged as durable as the crash requires, is a prefix, and ends with a whole append.
///
/// The effect of an operation that is in doubt counts where it was seen.
///
/// # Errors
///
/// A message that names the first operation that contradicts the others.
pub fn check(history: &History) -> Result<(), String> {
    let log = Log::new(history)?;
    check_positions(&log)?;
    check_drops(&log)?;
    let aggregates: BTreeSet<_> = log.facts.values().map(|fact| &fact.aggregate).collect();
    aggregates
        .into_iter()
        .try_for_each(|aggregate| check_versions(&log, aggregate))?;
    for operation in &history.operations {
        check_operation(&log, operation)?;
    }
    history
        .recovered
        .as_ref()
        .map_or(Ok(()), |recovered| check_recovery(&log, recovered))
}

fn check_operation(log: &Log<'_>, operation: &Operation) -> Result<(), String> {
    match &operation.outcome {
        Outcome::Appended(parts) => check_append(log, operation, parts)?,
        Outcome::Dropped(position) => check_order(log, operation, position.0)?,
        Outcome::Conflict(conflict) => check_conflict(log, operation, conflict)?,
        Outcome::Read(seen) => check_read(log, operation, seen)?,
        Outcome::Refused(_) | Outcome::InDoubt(_) | Outcome::Done => {}
    }
    check_condition(log, operation)
}

/// Checks that every position belongs to an event, as far as no append in doubt can have it.
fn check_positions(log: &Log<'_>) -> Result<(), String> {
    let last = log.facts.keys().next_back().copied().unwrap_or(0);
    let drops = log
        .history
        .operations
        .iter()
        .filter(|operation| is_drop_in_doubt(operation));
    let in_doubt = log.unseen().map(|append| append.notes().count()).sum::<usize>() + drops.count();
    let holes = last - log.facts.len() as u64;
    if holes <= in_doubt as u64 {
        return Ok(());
    }
    let hole = (1..=last)
        .find(|position| !log.facts.contains_key(position))
        .unwrap_or(0);
    let next = log.facts.range(hole..).next().map(|(_, fact)| fact.to_string());
    Err(format!("position {hole} is a hole before {}", next.unwrap_or_default()))
}

/// Checks that a deletion or truncation that was seen without an acknowledgement was in doubt.
fn check_drops(log: &Log<'_>) -> Result<(), String> {
    for (position, fact) in log.facts.iter().filter(|(_, fact)| fact.by.is_none()) {
        let mut in_doubt = log
            .history
            .operations
            .iter()
            .filter(|operation| is_drop_in_doubt(operation));
        let is_known =
            in_doubt.any(|drop| matches!(&drop.call, Call::Drop { aggregate, .. } if *aggregate == fact.aggregate));
        if !is_known {
            return Err(format!("no thread dropped what position {position} says: {fact}"));
        }
    }
    Ok(())
}

fn is_drop_in_doubt(operation: &Operation) -> bool {
    operation.is_in_doubt() && matches!(operation.call, Call::Drop { .. })
}

/// Checks that the versions of an aggregate are 1, 2, 3 and so on in the order of positions.
fn check_versions(log: &Log<'_>, aggregate: &Name) -> Result<(), String> {
    let mut unknown = doubtful_events(log, aggregate);
    let mut last = 0;
    for fact in log.facts.values().filter(|fact| is_event_of(fact, aggregate)) {
        let Some(version) = fact.version else {
            unknown += 1;
            continue;
        };
        if version <= last {
            return Err(format!(
                "version {version} of {aggregate} comes after version {last}: {fact}"
            ));
        }
        let missing = version - last - 1;
        if missing > unknown {
            return Err(format!("versions of {aggregate} have a hole after {last}: {fact}"));
        }
        unknown -= missing;
        last = version;
    }
    Ok(())
}

fn is_event_of(fact: &Fact<'_>, aggregate: &Name) -> bool {
    fact.aggregate == *aggregate && matches!(fact.what, What::Note(_))
}

/// How many events of an aggregate may be in the log without having been seen.
fn doubtful_events(log: &Log<'_>, aggregate: &Name) -> u64 {
    let notes = log.unseen().flat_map(Operation::notes);
    notes.filter(|(_, of, _)| *of == aggregate).count() as u64
}

/// Checks that a write comes after everything that was visible before it was invoked.
fn check_order(log: &Log<'_>, operation: &Operation, first: u64) -> Result<(), String> {
    let floor = log.floor(operation.invoked);
    if first > floor {
        return Ok(());
    }
    Err(format!(
        "position {first} is not after {floor}, which was visible before: {operation}"
    ))
}

fn check_append(log: &Log<'_>, operation: &Operation, acknowledged: &[Appended]) -> Result<(), String> {
    let Call::Append { parts, durability, .. } = &operation.call else {
        return Ok(());
    };
    for (part, acknowledged) in parts.iter().zip(acknowledged) {
        check_order(log, operation, acknowledged.first_position.0)?;
        if acknowledged.durability < (*durability).max(log.history.visibility) {
            return Err(format!(
                "the acknowledgement promises less than was asked for: {operation}"
            ));
        }
        if !was_expected(log, &part.aggregate, part.expected, acknowledged) {
            return Err(format!("a conflict was not found: {operation}"));
        }
    }
    Ok(())
}

fn was_expected(log: &Log<'_>, aggregate: &Name, expected: Expected, acknowledged: &Appended) -> bool {
    match expected {
        Expected::Any => true,
        Expected::Exactly(version) => acknowledged.first_version.0 == version.0 + 1,
        Expected::StreamExists => acknowledged.first_version.0 > 1,
        Expected::NoStream => acknowledged.first_version.0 == 1 || was_deleted(log, aggregate, acknowledged),
    }
}

/// Whether the aggregate may have been deleted before the append.
fn was_deleted(log: &Log<'_>, aggregate: &Name, acknowledged: &Appended) -> bool {
    let first = acknowledged.first_position.0;
    log.history.operations.iter().any(|operation| {
        let position = operation.last_position();
        let may_be = position > 0 && position < first || operation.is_in_doubt();
        may_be && matches!(&operation.call, Call::Drop { aggregate: of, before: None, .. } if of == aggregate)
    })
}

/// Checks that nothing matched the condition of an append that is in the log.
fn check_condition(log: &Log<'_>, operation: &Operation) -> Result<(), String> {
    let (Some(watched), Some((first, _))) = (condition(operation), log.range(operation)) else {
        return Ok(());
    };
    let mut between = log
        .facts
        .range(..first)
        .skip_while(|(position, _)| **position <= watched.after);
    let found = between.find(|(position, fact)| {
        fact.tag == Some(watched.tag) && !may_be_gone(log, **position, fact, operation.returned)
    });
    let Some((position, fact)) = found else { return Ok(()) };
    Err(format!("the condition did not hold at {position}, {fact}: {operation}"))
}

fn condition(operation: &Operation) -> Option<Watched> {
    match &operation.call {
        Call::Append { condition, .. } => *condition,
        Call::Drop { .. } | Call::ReadStream(_) | Call::ReadAll | Call::Compact => None,
    }
}

fn check_conflict(log: &Log<'_>, operation: &Operation, conflict: &Conflict) -> Result<(), String> {
    let is_justified = match conflict {
        Conflict::Version {
            stream,
            expected,
            actual,
            ..
        } => is_unmet(*expected, actual.0) && existed(log, operation, &stream.aggregate_id, actual.0),
        Conflict::Condition { position } => {
            condition(operation).is_some_and(|watched| matched(log, operation, watched, position.0))
        }
        Conflict::EventKnown { .. } => false,
    };
    if is_justified {
        return Ok(());
    }
    Err(format!("an unjustified conflict: {operation}"))
}

fn is_unmet(expected: Expected, actual: u64) -> bool {
    match expected {
        Expected::Any => false,
        Expected::Exactly(version) => version.0 != actual,
        Expected::NoStream => actual > 0,
        // A deleted aggregate does not exist.
        Expected::StreamExists => true,
    }
}

/// Whether the aggregate can have had the version while the operation ran.
fn existed(log: &Log<'_>, operation: &Operation, aggregate: &Name, version: u64) -> bool {
    let events = || log.facts.values().filter(|fact| is_event_of(fact, aggregate));
    let of_version = |version| events().find(|fact| fact.version == Some(version));
    let is_end = |fact: &Fact<'_>| fact.is_last && fact.by.is_some_and(|append| append.invoked < operation.returned);
    // Of an append in doubt, only the part of another aggregate may have been seen.
    let may_be_it = |fact: &Fact<'_>| fact.version.is_none() && is_end(fact);
    let may_begin = match of_version(version) {
        _ if version == 0 => true,
        Some(last) => is_end(last),
        None => is_doubtful(log, operation, |_, of, _| of == aggregate) || events().any(may_be_it),
    };
    let ends = of_version(version + 1).and_then(|next| next.by);
    may_begin && ends.is_none_or(|append| append.returned > operation.invoked)
}

/// Whether an unseen append that was invoked before `operation` returned may have written such an event.
fn is_doubtful(log: &Log<'_>, operation: &Operation, is_it: impl Fn(usize, &Name, u64) -> bool) -> bool {
    let mut before = log.unseen().filter(|append| append.invoked < operation.returned);
    before.any(|append| append.notes().any(|(part, of, note)| is_it(part, of, note.tag)))
}

/// Whether the event at `position` matches what the operation watches.
fn matched(log: &Log<'_>, operation: &Operation, watched: Watched, position: u64) -> bool {
    let Some(fact) = log.facts.get(&position) else {
        return position > watched.after && is_doubtful(log, operation, |_, _, tag| tag == watched.tag);
    };
    let was_there = fact.by.is_some_and(|append| append.invoked < operation.returned);
    let is_gone = must_be_gone(log, position, fact, operation.invoked);
    position > watched.after && fact.tag == Some(watched.tag) && was_there && !is_gone
}

/// Checks that a read is a prefix of the log, or of the aggregate, with whole appends, and not older than what was visible before.
fn check_read(log: &Log<'_>, operation: &Operation, seen: &[Seen]) -> Result<(), String> {
    let aggregate = match &operation.call {
        Call::ReadStream(aggregate) => Some(aggregate),
        Call::ReadAll | Call::Append { .. } | Call::Drop { .. } | Call::Compact => None,
    };
    let positions: BTreeSet<_> = seen.iter().map(|seen| seen.position).collect();
    if !seen.is_sorted_by_key(|seen| seen.position) || positions.len() < seen.len() {
        return Err(format!("a read is not in the order of positions: {operation}"));
    }
    for seen in seen {
        check_seen(log, operation, seen)?;
    }
    let last = positions.last().copied().unwrap_or(0);
    let required = log.floor(operation.invoked).max(end_of_append(log, last));
    for (position, fact) in log.facts.range(..=required) {
        let is_asked = aggregate.is_none_or(|aggregate| is_event_of(fact, aggregate));
        if is_asked && !positions.contains(position) && !may_be_gone(log, *position, fact, operation.returned) {
            let what = name_missing(log, *position, fact, &positions);
            return Err(format!("{what}: position {position}, {fact}, is missing: {operation}"));
        }
    }
    Ok(())
}

fn check_seen(log: &Log<'_>, operation: &Operation, seen: &Seen) -> Result<(), String> {
    let Some(fact) = log.facts.get(&seen.position) else {
        return Ok(());
    };
    if fact.by.is_some_and(|by| by.invoked > operation.returned) {
        return Err(format!("an event was read before it was appended: {fact}: {operation}"));
    }
    if must_be_gone(log, seen.position, fact, operation.invoked) {
        return Err(format!("a dropped event was read: {seen}: {operation}"));
    }
    Ok(())
}

/// The last position of the append that an event is a part of.
fn end_of_append(log: &Log<'_>, position: u64) -> u64 {
    let append = log.facts.get(&position).and_then(|fact| fact.by);
    let range = append.and_then(|append| log.range(append));
    range.map_or(position, |(_, last)| last)
}

/// The kind of fault that a missing event is.
fn name_missing(log: &Log<'_>, position: u64, fact: &Fact<'_>, present: &BTreeSet<u64>) -> &'static str {
    let range = fact.by.and_then(|append| log.range(append));
    if range.is_some_and(|(first, last)| present.range(first..=last).next().is_some()) {
        "half of an append"
    } else if present.last().is_some_and(|last| position < *last) {
        "a hole"
    } else {
        "a stale read"
    }
}

/// Whether a deletion or truncation that was invoked before `time` may have dropped the event.
fn may_be_gone(log: &Log<'_>, position: u64, fact: &Fact<'_>, time: u64) -> bool {
    let mut operations = log.history.operations.iter();
    operations.any(|drop| {
        let may_be = drop.is_in_doubt() || drop.last_position() > position;
        may_be && drop.invoked < time && covers(drop, fact)
    })
}

/// Whether a deletion or truncation that returned before `time` has dropped the event.
fn must_be_gone(log: &Log<'_>, position: u64, fact: &Fact<'_>, time: u64) -> bool {
    let mut operations = log.history.operations.iter();
    operations.any(|drop| {
        let is_later = drop.last_position() > position && drop.returned < time;
        is_later && fact.version.is_some() && covers(drop, fact)
    })
}

/// Whether the operation drops the event, if it comes after it.
fn covers(drop: &Operation, fact: &Fact<'_>) -> bool {
    let Call::Drop { aggregate, before, .. } = &drop.call else {
        return false;
    };
    let is_old = |before: u64| fact.version.is_none_or(|version| version < before);
    is_event_of(fact, aggregate) && before.is_none_or(is_old)
}

fn check_recovery(log: &Log<'_>, recovered: &Recovered) -> Result<(), String> {
    for operation in &log.history.operations {
        let last = operation.last_position();
        if last > recovered.end && promises(operation, log.history.visibility) >= Some(recovered.survives) {
            let end = recovered.end;
            return Err(format!(
                "an acknowledged event is lost: the recovered log ends at {end}: {operation}"
            ));
        }
    }
    let there: BTreeMap<_, _> = recovered.log.iter().map(|seen| (seen.position, seen)).collect();
    if let Some((last, seen)) = there.last_key_value().filter(|(last, _)| **last > recovered.end) {
        return Err(format!(
            "position {last} is beyond the end of the recovered log, {}: {seen}",
            recovered.end
        ));
    }
    for (position, fact) in log.facts.range(..=recovered.end) {
        check_recovered(log, recovered, *position, fact, there.get(position).copied())?;
    }
    check_recovered_versions(log, recovered)
}

/// The durability that an operation promises for its positions.
fn promises(operation: &Operation, visibility: Durability) -> Option<Durability> {
    match (&operation.outcome, &operation.call) {
        (Outcome::Appended(parts), _) => parts.iter().map(|part| part.durability).min(),
        (Outcome::Dropped(_), Call::Drop { durability, .. }) => Some(visibility.max(*durability)),
        (Outcome::Read(_), _) => Some(visibility),
        _ => None,
    }
}

fn check_recovered(
    log: &Log<'_>,
    recovered: &Recovered,
    position: u64,
    fact: &Fact<'_>,
    there: Option<&Seen>,
) -> Result<(), String> {
    let drop = recovered
        .log
        .iter()
        .find(|drop| drop.position > position && is_drop_of(drop, fact));
    let end = recovered.end;
    if end_of_append(log, position) > end {
        return Err(format!(
            "half of an append: the recovered log ends at {end}, within {fact}"
        ));
    }
    match (there, drop) {
        (Some(seen), Some(drop)) => Err(format!(
            "a dropped event was recovered: {seen}, in spite of {drop}: {fact}"
        )),
        (None, None) => Err(format!(
            "an event is lost: position {position}, {fact}, is not in the recovered log"
        )),
        (Some(_), None) | (None, Some(_)) => Ok(()),
    }
}

/// Whether an event of the system drops the event, if it comes after it.
fn is_drop_of(drop: &Seen, fact: &Fact<'_>) -> bool {
    let is_old = |to: u64| fact.version.is_none_or(|version| version <= to);
    let covers = match drop.what {
        What::Note(_) => false,
        What::Deleted => true,
        What::Truncated(to) => is_old(to),
    };
    covers && is_event_of(fact, &drop.aggregate)
}

fn check_recovered_versions(log: &Log<'_>, recovered: &Recovered) -> Result<(), String> {
    for (aggregate, version) in &recovered.versions {
        let mut facts = log.facts.range(..=recovered.end).map(|(_, fact)| fact);
        let last = facts.rfind(|fact| is_event_of(fact, aggregate));
        let Some(last) = last else { continue };
        let may_be_more = doubtful_events(log, aggregate) > 0;
        let known = last.version.unwrap_or(*version);
        if known > *version || known < *version && !may_be_more {
            return Err(format!(
                "{aggregate} is recovered with version {version}, not {known}: {last}"
            ));
        }
    }
    Ok(())
}
