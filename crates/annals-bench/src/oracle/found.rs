//! The events that a backend returns, matched with the appends that sent them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use annals::Position;
use serde_json::Value;

use super::{Rule, Verdict};
use crate::generate::{Events, Generator, Identity, Operation, identity_of};
use crate::load::Entry;
use crate::load::recording::Outcome;
use crate::store::StoredEvent;

/// Matches events one by one, in the order in which the backend returns them.
#[derive(Debug)]
pub(super) struct Matching<'a> {
    generator: &'a Generator,
    /// By number.
    entries: &'a [Entry],
    /// Whether a payload comes back byte for byte, and not only as the same JSON.
    keeps_bytes: bool,
    /// For each entry where its events begin in `seen`; one more at the end.
    offsets: Vec<usize>,
    /// The number of times that each event was seen.
    seen: Vec<u8>,
    /// The last version of each stream.
    streams: HashMap<String, u64>,
    /// Versions of a stream that are not there: from the first, and up to but without the second.
    gaps: Vec<(String, u64, u64)>,
    last_position: Option<Position>,
    /// The entries in the order of the log.
    order: Vec<u32>,
    /// The append of the last event, made again.
    operation: Option<(Operation, Events)>,
    pub(super) verdict: Verdict,
}

impl<'a> Matching<'a> {
    /// Matches with `entries`, which are sorted by number.
    pub(super) fn new(generator: &'a Generator, entries: &'a [Entry], keeps_bytes: bool) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        for entry in entries {
            end += generator.of_number(entry.number).batch as usize;
            offsets.push(end);
        }
        Self {
            generator,
            entries,
            keeps_bytes,
            offsets,
            seen: vec![0; end],
            streams: HashMap::new(),
            gaps: Vec::new(),
            last_position: None,
            order: Vec::new(),
            operation: None,
            verdict: Verdict {
                is_checked: true,
                ..Verdict::default()
            },
        }
    }

    /// Takes the next event.
    pub(super) fn take(&mut self, event: &StoredEvent<'_>) {
        self.check_version(event);
        self.check_position(event);
        let Some(identity) = identity_of(event.data) else {
            let (stream, version) = (event.stream, event.version);
            self.verdict.note(Rule::NothingInvented, || {
                format!("{stream} has at version {version} an event without an identity")
            });
            return;
        };
        match self
            .entries
            .binary_search_by_key(&identity.number, |entry| entry.number)
        {
            Ok(index) => self.check_event(event, identity, index),
            Err(_) => self.verdict.note(Rule::NothingInvented, || {
                format!(
                    "{} has an event of operation {:x}, which was not sent",
                    event.stream, identity.number
                )
            }),
        }
    }

    fn check_version(&mut self, event: &StoredEvent<'_>) {
        if !self.streams.contains_key(event.stream) {
            self.streams.insert(event.stream.to_owned(), 0);
        }
        let Some(last) = self.streams.get_mut(event.stream) else {
            return;
        };
        let expected = *last + 1;
        *last = event.version.0;
        if event.version.0 > expected {
            self.gaps.push((event.stream.to_owned(), expected, event.version.0));
        } else if event.version.0 < expected {
            self.note_version(event.stream, event.version.0, expected);
        }
    }

    fn note_version(&mut self, stream: &str, version: u64, expected: u64) {
        self.verdict.note(Rule::NoGaps, || {
            format!("{stream} has version {version} where {expected} is next")
        });
    }

    fn check_position(&mut self, event: &StoredEvent<'_>) {
        let Some(position) = event.position else {
            return;
        };
        if self.last_position.is_some_and(|last| last >= position) {
            let last = self.last_position.unwrap_or(Position(0));
            self.verdict.note(Rule::InOrder, || {
                format!("position {position} comes after position {last}")
            });
        }
        self.last_position = Some(position);
    }

    fn check_event(&mut self, event: &StoredEvent<'_>, identity: Identity, index: usize) {
        let entry = self.entries[index];
        if entry.outcome == Outcome::Refused {
            self.verdict.note(Rule::NothingInvented, || {
                format!(
                    "{} has an event of operation {:x}, which was refused",
                    event.stream, identity.number
                )
            });
        }
        let place = self.offsets[index] + identity.ordinal as usize;
        if place >= self.offsets[index + 1] {
            self.verdict.note(Rule::NothingTorn, || {
                format!("{} has a payload that was not sent", event.stream)
            });
            return;
        }
        self.seen[place] = self.seen[place].saturating_add(1);
        if self.seen[place] > 1 {
            self.verdict.note(Rule::NothingDoubled, || {
                format!(
                    "{} has event {} of operation {:x} again",
                    event.stream, identity.ordinal, identity.number
                )
            });
            return;
        }
        if identity.ordinal == 0 && event.position.is_some() {
            self.order.push(index as u32);
        }
        self.check_place(event, identity, &entry);
        self.check_bytes(event, identity);
    }

    /// Whether the event is where the acknowledgement said.
    fn check_place(&mut self, event: &StoredEvent<'_>, identity: Identity, entry: &Entry) {
        let Outcome::Acknowledged(first) = entry.outcome else {
            return;
        };
        let version = first.0 + u64::from(identity.ordinal);
        if event.version.0 != version {
            self.verdict.note(Rule::InOrder, || {
                format!(
                    "{} has at version {} the event of version {version}",
                    event.stream, event.version
                )
            });
        }
    }

    fn check_bytes(&mut self, event: &StoredEvent<'_>, identity: Identity) {
        let is_last = |(operation, _): &(Operation, Events)| operation.number == identity.number;
        if !self.operation.as_ref().is_some_and(is_last) {
            let operation = self.generator.of_number(identity.number);
            let mut events = self.operation.take().map(|(_, events)| events).unwrap_or_default();
            events.fill(self.generator, &operation);
            self.operation = Some((operation, events));
        }
        let Some((operation, events)) = &self.operation else {
            return;
        };
        let sent = events.get(identity.ordinal as usize);
        let is_sent = |sent: &[u8]| sent == event.data || !self.keeps_bytes && is_same_json(sent, event.data);
        let is_whole = sent.is_some_and(|sent| is_sent(sent.data)) && operation.stream == event.stream;
        if !is_whole {
            self.verdict.note(Rule::NothingTorn, || {
                format!(
                    "{} has at version {} other bytes than were sent",
                    event.stream, event.version
                )
            });
        }
    }

    /// Finds missing events after all events were read. Events that were appended before `cutoff` may be missing.
    pub(super) fn finish(mut self, cutoff: Option<Duration>) -> Verdict {
        self.check_gaps(cutoff);
        for (index, entry) in self.entries.iter().enumerate() {
            let seen = &self.seen[self.offsets[index]..self.offsets[index + 1]];
            let there = seen.iter().filter(|count| **count > 0).count();
            let is_acknowledged = matches!(entry.outcome, Outcome::Acknowledged(_));
            if is_acknowledged {
                self.verdict.acknowledged += seen.len() as u64;
                self.verdict.found += there as u64;
            }
            let number = entry.number;
            if has_expired(entry, cutoff) {
                let missing = (seen.len() - there) as u64;
                self.verdict.expired += if is_acknowledged { missing } else { 0 };
                self.verdict.acknowledged -= if is_acknowledged { missing } else { 0 };
            } else if is_acknowledged && there == 0 && !seen.is_empty() {
                self.verdict.note(Rule::NothingLost, || {
                    format!("operation {number:x} was acknowledged and is not there")
                });
            } else if there > 0 && there < seen.len() {
                let of = seen.len();
                self.verdict.note(Rule::NothingTorn, || {
                    format!("operation {number:x} has {there} of its {of} events")
                });
            }
        }
        self.check_order();
        self.verdict
    }

    /// Versions are missing where events have expired, and nowhere else.
    fn check_gaps(&mut self, cutoff: Option<Duration>) {
        let gaps = std::mem::take(&mut self.gaps);
        let expired = if gaps.is_empty() {
            HashMap::new()
        } else {
            self.expired(cutoff)
        };
        for (stream, first, end) in gaps {
            let versions = expired.get(&stream);
            let is_expired = |version: u64| versions.is_some_and(|versions| versions.contains(&version));
            if !(first..end).all(is_expired) {
                self.note_version(&stream, end, first);
            }
        }
    }

    /// The versions of each stream that were acknowledged and have expired.
    fn expired(&self, cutoff: Option<Duration>) -> HashMap<String, HashSet<u64>> {
        let mut all: HashMap<String, HashSet<u64>> = HashMap::new();
        for entry in self.entries.iter().filter(|entry| has_expired(entry, cutoff)) {
            if let Outcome::Acknowledged(first) = entry.outcome {
                let operation = self.generator.of_number(entry.number);
                let versions = first.0..first.0 + u64::from(operation.batch);
                all.entry(operation.stream).or_default().extend(versions);
            }
        }
        all
    }

    /// An append that was acknowledged before another one began comes before it in the log.
    fn check_order(&mut self) {
        let mut earliest_end = Duration::MAX;
        let mut broken = Vec::new();
        for index in self.order.iter().rev() {
            let entry = &self.entries[*index as usize];
            if earliest_end < entry.started {
                broken.push(entry.number);
            }
            if matches!(entry.outcome, Outcome::Acknowledged(_)) {
                earliest_end = earliest_end.min(entry.ended);
            }
        }
        for number in broken {
            self.verdict.note(Rule::InOrder, || {
                format!("operation {number:x} is in the log before one that had been acknowledged when it began")
            });
        }
    }
}

/// Whether the events of an append may have expired: it was stored after it began.
fn has_expired(entry: &Entry, cutoff: Option<Duration>) -> bool {
    cutoff.is_some_and(|cutoff| entry.started <= cutoff)
}

/// Whether both texts are the same JSON, whatever the order of its keys, its spaces and the way in which a number is written.
fn is_same_json(one: &[u8], other: &[u8]) -> bool {
    match (serde_json::from_slice(one), serde_json::from_slice(other)) {
        (Ok(one), Ok(other)) => is_same(&one, &other),
        (Ok(_) | Err(_), _) => false,
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let is_whole = (one.is_u64() || one.is_i64()) && (other.is_u64() || other.is_i64());
            one == other || !is_whole && one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(key, one): (&String, &Value)| other.get(key).is_some_and(|other| is_same(one, other));
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_another_order_was_torn_and_other_json_was_not() {
        let same = |one: &str, other: &str| is_same_json(one.as_bytes(), other.as_bytes());
        let sent = r#"{"b":[1.0,1e3,-0.0,null,"\u00e9"],"a":{"y":true,"x":18446744073709551615}}"#;
        assert!(same(
            sent,
            r#"{"a": {"x": 18446744073709551615, "y": true}, "b": [1.0, 1000, 0, null, "é"]}"#
        ));
        for other in [
            sent.replace("true", "false"),
            sent.replace("615", "614"),
            sent.replace("1e3", "1e4"),
            sent.replace(",null", ""),
            sent.replace("\"y\":true,", ""),
            sent.replace('}', ""),
        ] {
            assert!(!same(sent, &other), "{other}");
        }
    }
}
