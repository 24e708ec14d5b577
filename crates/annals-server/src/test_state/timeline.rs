//! The timeline of a namespace: what happened in it, in order. It keeps the newest entries and counts the others.

use std::collections::VecDeque;

use annals::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::faults::Effect;

/// Entries of a timeline, at most.
const ENTRIES_MAX: usize = 1_000;
/// Bytes of its entries, at most.
const BYTES_MAX: usize = 256 << 10;

/// Something that happened in a namespace.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Happening<'a> {
    /// An append to an aggregate.
    Appended {
        aggregate_id: &'a str,
        aggregate_type: String,
        first_version: u64,
        last_version: u64,
        first_position: u64,
        last_position: u64,
        /// The types of the first events.
        event_types: Vec<String>,
        repeated: bool,
    },
    /// Events were dropped, or limits or a snapshot of an aggregate stored.
    Changed {
        operation: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        aggregate_id: Option<&'a str>,
    },
    /// An append or a change that was refused.
    Refused {
        operation: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        aggregate_id: Option<&'a str>,
        status: u16,
        problem: &'a str,
        detail: &'a str,
    },
    /// A fault that a rule has caused.
    Fault {
        rule: u64,
        fault: Effect,
        operation: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        aggregate_id: Option<&'a str>,
    },
    Reset {
        #[serde(skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
    },
    Snapshot {
        snapshot: u64,
    },
    Restored {
        snapshot: u64,
    },
    ForkedTo {
        namespace: &'a str,
    },
    ForkedFrom {
        namespace: &'a str,
    },
    /// The clock was set or advanced; the time of the entry is its new time.
    Clock,
}

#[derive(Serialize)]
struct Numbered<'a> {
    number: u64,
    at: String,
    #[serde(flatten)]
    happening: &'a Happening<'a>,
}

/// The newest entries, in order.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    entries: VecDeque<Box<RawValue>>,
    bytes: usize,
    /// The number of the last entry.
    last: u64,
}

/// A part of a timeline.
#[derive(Debug, Serialize)]
pub(crate) struct Slice {
    pub(crate) entries: Vec<Box<RawValue>>,
    /// The number of the last of these entries, or the number that they were to follow.
    pub(crate) next: u64,
    /// Entries after that number that the timeline no longer has.
    pub(crate) dropped: u64,
}

impl Timeline {
    pub(super) fn record(&mut self, at: Timestamp, happening: &Happening<'_>) {
        let number = self.last + 1;
        let at = at.to_string();
        // Texts and numbers alone, which can always be written.
        let Ok(entry) = to_raw_value(&Numbered { number, at, happening }) else {
            return;
        };
        self.last = number;
        self.bytes += entry.get().len();
        self.entries.push_back(entry);
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let oldest = self.entries.pop_front();
            self.bytes -= oldest.map_or(0, |oldest| oldest.get().len());
        }
    }

    pub(super) fn slice(&self, after: u64, limit: usize) -> Slice {
        let before_first = self.last - self.entries.len() as u64;
        let known = after.min(self.last);
        let dropped = before_first.saturating_sub(known);
        let skipped = usize::try_from(known.saturating_sub(before_first)).unwrap_or(usize::MAX);
        let entries: Vec<_> = self.entries.iter().skip(skipped).take(limit).cloned().collect();
        let next = known + dropped + entries.len() as u64;
        Slice { entries, next, dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(slice: &Slice) -> Vec<u64> {
        let parsed = slice.entries.iter().map(|entry| {
            let value: serde_json::Value = serde_json::from_str(entry.get()).unwrap();
            value["number"].as_u64().unwrap()
        });
        parsed.collect()
    }

    #[test]
    fn a_timeline_grew_without_bound_or_hid_what_it_dropped() {
        let mut timeline = Timeline::default();
        for _ in 0..ENTRIES_MAX + 7 {
            timeline.record(Timestamp::from_micros(0), &Happening::Clock);
        }
        let first = timeline.slice(0, 2);
        assert_eq!((numbers(&first), first.next, first.dropped), (vec![8, 9], 9, 7));
        let later = timeline.slice(first.next, 2);
        assert_eq!((numbers(&later), later.next, later.dropped), (vec![10, 11], 11, 0));
        assert_eq!(timeline.slice(5, 1).dropped, 2);
        let none = timeline.slice(u64::MAX, 5);
        assert_eq!((none.entries.len(), none.next, none.dropped), (0, 1_007, 0));
    }

    #[test]
    fn long_texts_of_a_timeline_were_not_counted() {
        let mut timeline = Timeline::default();
        let detail = "x".repeat(BYTES_MAX / 4);
        for _ in 0..9 {
            let refused = Happening::Refused {
                operation: "append",
                aggregate_id: None,
                status: 400,
                problem: "invalid-request",
                detail: &detail,
            };
            timeline.record(Timestamp::from_micros(0), &refused);
        }
        let slice = timeline.slice(0, 100);
        assert_eq!((numbers(&slice), slice.dropped), (vec![7, 8, 9], 6));
        assert!(timeline.bytes <= BYTES_MAX);
    }
}
