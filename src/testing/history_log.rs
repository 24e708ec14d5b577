//! The log that a history implies: the event at each position, and the operation that wrote it.

use std::collections::{BTreeMap, HashMap};

use super::history::{Call, History, Operation, Outcome, Seen, What};
use crate::{Appended, Name};

/// The log that a history implies. Acknowledgements, reads and the recovered log must agree on it.
pub(super) struct Log<'a> {
    pub(super) history: &'a History,
    pub(super) facts: BTreeMap<u64, Fact<'a>>,
    /// The operation of each label, and the place of the label in it.
    labels: HashMap<u64, (&'a Operation, usize)>,
    /// The position of each label that is in the log.
    positions: HashMap<u64, u64>,
    /// The visible position by the time of return, ascending.
    floors: Vec<(u64, u64)>,
}

/// An event of the log.
#[derive(Clone, Debug)]
pub(super) struct Fact<'a> {
    /// The operation that wrote it; `None` for a deletion or truncation that is in doubt.
    pub(super) by: Option<&'a Operation>,
    pub(super) aggregate: Name,
    /// `None` when only another part of the append was seen.
    pub(super) version: Option<u64>,
    pub(super) what: What,
    pub(super) tag: Option<u64>,
    /// Whether it is the last event of its part of the append.
    pub(super) is_last: bool,
}

impl<'a> Log<'a> {
    pub(super) fn new(history: &'a History) -> Result<Self, String> {
        let mut log = Self {
            history,
            facts: BTreeMap::new(),
            labels: HashMap::new(),
            positions: HashMap::new(),
            floors: floors(history),
        };
        for operation in &history.operations {
            for (place, (_, _, note)) in operation.notes().enumerate() {
                log.labels.insert(note.label, (operation, place));
            }
        }
        for operation in &history.operations {
            log.add_outcome(operation)?;
        }
        for seen in history.recovered.iter().flat_map(|recovered| &recovered.log) {
            log.add_seen(seen, &"the recovery")?;
        }
        Ok(log)
    }

    /// The position that was visible to some thread before `time`.
    pub(super) fn floor(&self, time: u64) -> u64 {
        let count = self.floors.partition_point(|(returned, _)| *returned < time);
        count.checked_sub(1).map_or(0, |last| self.floors[last].1)
    }

    /// The first and the last position of an append, if they are known.
    pub(super) fn range(&self, append: &Operation) -> Option<(u64, u64)> {
        let first = append.notes().next()?.2;
        let first = *self.positions.get(&first.label)?;
        Some((first, first + append.notes().count() as u64 - 1))
    }

    /// The appends that are in doubt and of which no event was seen.
    pub(super) fn unseen(&self) -> impl Iterator<Item = &'a Operation> {
        let operations = self.history.operations.iter();
        operations.filter(|operation| operation.is_in_doubt() && self.range(operation).is_none())
    }

    fn add_outcome(&mut self, operation: &'a Operation) -> Result<(), String> {
        match &operation.outcome {
            Outcome::Appended(parts) => self.add_append(operation, parts),
            Outcome::Dropped(position) => self.add_drop(operation, position.0),
            Outcome::Read(seen) => seen.iter().try_for_each(|seen| self.add_seen(seen, operation)),
            Outcome::Conflict(_) | Outcome::Refused(_) | Outcome::InDoubt(_) | Outcome::Done => Ok(()),
        }
    }

    fn add_append(&mut self, operation: &'a Operation, acknowledged: &[Appended]) -> Result<(), String> {
        let Some(first) = acknowledged.first().map(|part| part.first_position.0) else {
            return Err(format!("an append has no acknowledgement: {operation}"));
        };
        check_counts(operation, acknowledged)?;
        for (offset, (part, _, note)) in operation.notes().enumerate() {
            let Some(part) = acknowledged.get(part) else { continue };
            let position = first + offset as u64;
            let version = part.first_version.0 + position - part.first_position.0;
            self.insert(position, &fact(operation, offset, Some(version)), note.label, operation)?;
        }
        Ok(())
    }

    fn add_drop(&mut self, operation: &'a Operation, position: u64) -> Result<(), String> {
        let Call::Drop { aggregate, before, .. } = &operation.call else {
            return Err(format!("the outcome is of another call: {operation}"));
        };
        let what = before.map_or(What::Deleted, |before| What::Truncated(before.saturating_sub(1)));
        self.insert_fact(position, &system_fact(Some(operation), aggregate, what), operation)
    }

    /// Adds an event that was seen, and with it the whole append that it is a part of.
    fn add_seen(&mut self, seen: &Seen, by: &dyn std::fmt::Display) -> Result<(), String> {
        let What::Note(label) = seen.what else {
            return self.insert_fact(seen.position, &system_fact(None, &seen.aggregate, seen.what), by);
        };
        let Some((operation, place)) = self.labels.get(&label).copied() else {
            return Err(format!("an event that no thread appended was seen: {seen}, by {by}"));
        };
        if matches!(operation.outcome, Outcome::Conflict(_) | Outcome::Refused(_)) {
            return Err(format!(
                "an event of a refused append was seen: {seen}, by {by}: {operation}"
            ));
        }
        let Some(first) = seen.position.checked_sub(place as u64).filter(|first| *first > 0) else {
            return Err(format!("the append of {seen}, seen by {by}, begins before position 1"));
        };
        let seen_part = operation.notes().nth(place).map(|(part, ..)| part);
        for (offset, (part, _, note)) in operation.notes().enumerate() {
            let version = (seen.version + offset as u64).checked_sub(place as u64);
            let version = version.filter(|_| Some(part) == seen_part);
            self.insert(first + offset as u64, &fact(operation, offset, version), note.label, by)?;
        }
        let known = self.facts.get(&seen.position);
        if known.is_some_and(|fact| fact.aggregate != seen.aggregate) {
            return Err(format!(
                "an event is in another aggregate: {seen}, by {by}: {operation}"
            ));
        }
        Ok(())
    }

    fn insert(&mut self, position: u64, fact: &Fact<'a>, label: u64, by: &dyn std::fmt::Display) -> Result<(), String> {
        let known = *self.positions.entry(label).or_insert(position);
        if known != position {
            return Err(format!("event #{label} is at positions {known} and {position}: {by}"));
        }
        self.insert_fact(position, fact, by)
    }

    fn insert_fact(&mut self, position: u64, fact: &Fact<'a>, by: &dyn std::fmt::Display) -> Result<(), String> {
        let known = self.facts.entry(position).or_insert_with(|| fact.clone());
        known.by = known.by.or(fact.by);
        known.version = known.version.or(fact.version);
        let agrees = fact.version.is_none() || known.version == fact.version;
        // A truncation beyond the last version says the last version.
        let is_same = match (known.what, fact.what) {
            (What::Truncated(_), What::Truncated(_)) => known.aggregate == fact.aggregate,
            (one, other) => one == other && known.aggregate == fact.aggregate,
        };
        if agrees && is_same {
            return Ok(());
        }
        let (before, after) = (known.to_string(), fact.to_string());
        Err(format!(
            "position {position} has two events, {before} and {after}: {by}"
        ))
    }
}

/// The fact of the event at this place of an append.
fn fact(operation: &Operation, place: usize, version: Option<u64>) -> Fact<'_> {
    let mut notes = operation.notes().skip(place);
    let event = notes.next();
    let next_part = notes.next().map(|(part, ..)| part);
    Fact {
        by: Some(operation),
        aggregate: event.map_or_else(Name::default, |(_, aggregate, _)| aggregate.clone()),
        version,
        what: What::Note(event.map_or(0, |(_, _, note)| note.label)),
        tag: event.map(|(_, _, note)| note.tag),
        is_last: next_part != event.map(|(part, ..)| part),
    }
}

fn system_fact<'a>(by: Option<&'a Operation>, aggregate: &Name, what: What) -> Fact<'a> {
    Fact {
        by,
        aggregate: aggregate.clone(),
        version: None,
        what,
        tag: None,
        is_last: true,
    }
}

/// Checks that an acknowledgement has as many versions and positions as the append has events, at consecutive positions.
fn check_counts(operation: &Operation, acknowledged: &[Appended]) -> Result<(), String> {
    let Call::Append { parts, .. } = &operation.call else {
        return Err(format!("the outcome is of another call: {operation}"));
    };
    let mut next = acknowledged.first().map_or(0, |part| part.first_position.0);
    let mut are_right = parts.len() == acknowledged.len();
    for (part, acknowledged) in parts.iter().zip(acknowledged) {
        let count = part.events.len() as u64;
        are_right &= acknowledged.first_position.0 == next && acknowledged.last_position.0 + 1 == next + count;
        are_right &= acknowledged.last_version.0 + 1 == acknowledged.first_version.0 + count;
        next += count;
    }
    if are_right {
        return Ok(());
    }
    Err(format!("the acknowledgement does not fit the events: {operation}"))
}

/// The highest position that was acknowledged or read, by the time of return.
fn floors(history: &History) -> Vec<(u64, u64)> {
    let operations = history.operations.iter();
    let mut floors: Vec<_> = operations
        .map(|operation| (operation.returned, operation.last_position()))
        .collect();
    floors.sort_unstable();
    let mut highest = 0;
    for (_, position) in &mut floors {
        highest = highest.max(*position);
        *position = highest;
    }
    floors
}

impl std::fmt::Display for Fact<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.aggregate, self.what)?;
        if let Some(version) = self.version {
            write!(f, " of version {version}")?;
        }
        if let Some(by) = self.by {
            write!(f, " by ({by})")?;
        }
        Ok(())
    }
}
