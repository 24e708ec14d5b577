//! The terms of an event, for each kind of index.

use std::fmt;
use std::sync::Arc;

use crate::Name;
use crate::event::names::Part;
use crate::store::core::Core;
use crate::store::index::Indexer;
use crate::store::index::terms::{FieldNumber, TermIndex};
use crate::store::reader::EventReader;

pub(super) const EVENT_TYPE: FieldNumber = 0;
pub(super) const AGGREGATE_TYPE: FieldNumber = 1;
pub(super) const CORRELATION: FieldNumber = 2;
pub(super) const USER: FieldNumber = 3;
pub(super) const ORGANIZATION: FieldNumber = 4;
pub(super) const TAG: FieldNumber = 6;

/// The source of an index's terms.
#[derive(Clone)]
pub(crate) enum IndexSource {
    /// The fields that every store indexes.
    Main,
    /// The causation id.
    Causation,
    /// The values found by the user's function, with its registered name.
    Custom(Name, Arc<Indexer>),
}

impl fmt::Debug for IndexSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "Main",
            Self::Causation => "Causation",
            Self::Custom(name, _) => name,
        })
    }
}

impl IndexSource {
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

pub(super) fn extend_causation(index: &mut TermIndex, core: &Core, to: u64) {
    core.each_stretch(index.complete_to(), to, |_, stretch| {
        for (place, position) in stretch.places() {
            if let Some(cause) = stretch.chunk.name(place, Part::Causation) {
                let key = index.key(0, cause);
                index.add(key, position);
            }
        }
    });
    index.set_complete_to(to);
}

pub(super) fn extend_custom(index: &mut TermIndex, events: &mut EventReader<'_>, to: u64, indexer: &Indexer) {
    let mut found = Vec::new();
    let positions = events.positions(index.complete_to() + 1, to);
    let mut events = events.each(positions.clone());
    for position in positions {
        if let Some(event) = events.next().flatten() {
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
