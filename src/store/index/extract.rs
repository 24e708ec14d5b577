//! Which terms an event has, for each kind of index.

use std::fmt;
use std::sync::Arc;

use super::super::core::{Outlines, View};
use super::Indexer;
use super::terms::{FieldNumber, TermIndex};
use crate::event::names::Tags;
use crate::{EventRef, Name, Timestamp};

pub(super) const EVENT_TYPE: FieldNumber = 0;
pub(super) const AGGREGATE_TYPE: FieldNumber = 1;
pub(super) const CORRELATION: FieldNumber = 2;
pub(super) const USER: FieldNumber = 3;
pub(super) const ORGANIZATION: FieldNumber = 4;
pub(super) const DAY: FieldNumber = 5;
pub(super) const TAG: FieldNumber = 6;

/// What an index is made of.
#[derive(Clone)]
pub(crate) enum Extract {
    /// The fields that every store is asked for.
    Main,
    /// What caused the event.
    Causation,
    /// What the user's function finds, under the name it was registered with.
    Custom(Name, Arc<Indexer>),
}

impl fmt::Debug for Extract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "Main",
            Self::Causation => "Causation",
            Self::Custom(name, _) => name,
        })
    }
}

impl Extract {
    pub(crate) fn is_named(&self, wanted: &str) -> bool {
        matches!(self, Self::Custom(name, _) if *name == *wanted)
    }

    pub(crate) fn indexer(&self, wanted: &str) -> Option<&Arc<Indexer>> {
        match self {
            Self::Custom(name, indexer) if *name == *wanted => Some(indexer),
            Self::Main | Self::Causation | Self::Custom(..) => None,
        }
    }
}

const KINDS: usize = 64;

/// The terms met last, which are often the next ones too. A key is a guess: it is compared with the text before it is used.
#[derive(Clone, Debug)]
pub(crate) struct Memo {
    /// Event type and aggregate type, by the address of what events have in common.
    kinds: [(u32, u32); KINDS],
    correlation: u32,
    day_number: i64,
    day_text: String,
    day: u32,
}

impl Default for Memo {
    fn default() -> Self {
        Self {
            kinds: [(0, 0); KINDS],
            correlation: 0,
            day_number: i64::MIN,
            day_text: String::new(),
            day: 0,
        }
    }
}

/// Adds the event to `field`'s term `text`, whose key may be `guess`; answers the key.
#[inline]
fn add(index: &mut TermIndex, field: FieldNumber, text: &str, guess: u32, position: u64) -> u32 {
    let key = if index.is(guess, field, text) {
        guess
    } else {
        index.key(field, text)
    };
    index.add(key, position);
    key
}

impl Memo {
    pub(super) fn extend_main(&mut self, index: &mut TermIndex, events: &mut Outlines<'_>, to: u64) {
        for position in events.positions(index.complete_to() + 1, to) {
            if let Some(event) = events.event(position) {
                self.add_event(index, event, position);
            }
        }
        index.set_complete_to(to);
    }

    fn add_event(&mut self, index: &mut TermIndex, event: EventRef<'_>, position: u64) {
        let kind = &mut self.kinds[(event.kind_address() >> 5) % KINDS];
        kind.0 = add(index, EVENT_TYPE, event.event_type(), kind.0, position);
        kind.1 = add(index, AGGREGATE_TYPE, event.aggregate_type(), kind.1, position);
        let [_, correlation, _, user, organization, tags] = event.all_names();
        if let Some(id) = correlation {
            self.correlation = add(index, CORRELATION, id, self.correlation, position);
        }
        if let Some(id) = user {
            let key = index.key(USER, id);
            index.add(key, position);
        }
        if let Some(id) = organization {
            let key = index.key(ORGANIZATION, id);
            index.add(key, position);
        }
        self.add_day(index, event.timestamp(), position);
        for tag in tags.into_iter().flat_map(Tags::new) {
            let key = index.key(TAG, tag);
            index.add(key, position);
        }
        if event.is_system() {
            index.add_system(position);
        }
    }

    fn add_day(&mut self, index: &mut TermIndex, time: Timestamp, position: u64) {
        if time.day() != self.day_number {
            self.day_number = time.day();
            self.day_text = time.date();
        }
        self.day = add(index, DAY, &self.day_text, self.day, position);
    }
}

pub(super) fn extend_causation(index: &mut TermIndex, events: &mut Outlines<'_>, to: u64) {
    for position in events.positions(index.complete_to() + 1, to) {
        let cause = events.event(position).and_then(EventRef::causation_id);
        if let Some(cause) = cause {
            let key = index.key(0, cause);
            index.add(key, position);
        }
    }
    index.set_complete_to(to);
}

pub(super) fn extend_custom(index: &mut TermIndex, events: &mut View<'_>, to: u64, indexer: &Indexer) {
    let mut found = Vec::new();
    for position in events.positions(index.complete_to() + 1, to) {
        if let Some(event) = events.event(position) {
            indexer(event, &mut found);
        }
        for text in found.drain(..) {
            let key = index.key(0, &text);
            index.add(key, position);
        }
        index.set_complete_to(position);
    }
    index.set_complete_to(to);
}
