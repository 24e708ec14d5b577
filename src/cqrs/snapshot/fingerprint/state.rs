//! What is known about the places of a type, and the decisions of a pass.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Hint;

/// Names that the derived code of serde lists.
pub(super) type Names = &'static [&'static str];

/// The number of maps that a missing field may be of: the first that were read, as those within are read later.
const LEARNING: usize = 3;

/// The number of fields that are tried by their number.
pub(super) const NUMBERED: u64 = 16;

/// A moment of a pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) changes: u32,
    pub(super) steps: usize,
    pub(super) hints: usize,
}

/// What is done at a place of the type.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The made-up value that is handed out, and the number of those there are.
    pub(super) value: usize,
    pub(super) values: usize,
    /// An option is none, and a list or a map is empty: what would be in it is refused.
    pub(super) is_empty: bool,
    /// Fields that are left out: their values are refused.
    pub(super) left_out: BTreeSet<String>,
    /// Fields of a map that the type has missed.
    pub(super) learned: Vec<&'static str>,
    pub(super) variants: Names,
    pub(super) variant: usize,
    /// A variant that was accepted.
    pub(super) accepted: Option<usize>,
    /// The last tag of an object of any kind.
    pub(super) tag: Option<&'static str>,
    pub(super) is_explored: bool,
}

/// A decision of the current pass that the next one can change.
#[derive(Debug)]
pub(super) enum Step {
    Value(String),
    Map(String),
    Tag(String),
    Any(String),
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) facts: BTreeSet<String>,
    /// Reused for each fact: most are known.
    pub(super) fact: String,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) visits: u32,
    /// The number of changes for the next pass.
    pub(super) changes: u32,
    pub(super) steps: Vec<Step>,
    pub(super) hints: Vec<Hint>,
    pub(super) open: Vec<(&'static str, Names)>,
    /// The variant that was chosen as a tag just now.
    pub(super) tag: Option<&'static str>,
    /// The error is a field that was left out: no other value helps.
    pub(super) is_hopeless: bool,
    /// What this pass tries out to see what the type makes of it. It changes nothing.
    pub(super) probe: Option<(String, Probe)>,
    /// The number of probes of each object, and of each of its tags.
    pub(super) probed: BTreeMap<String, u64>,
}

/// What is handed out for an object to see the fields that may be missing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe {
    /// A list, with the tag as its only element if there is one: the error says how many fields a struct has.
    List(Option<&'static str>),
    /// An object with a field that has a number instead of a name.
    Field(u64),
}

impl Step {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Value(path) | Self::Map(path) | Self::Tag(path) | Self::Any(path) => path,
        }
    }
}

impl Place {
    /// Returns whether the next pass takes another variant.
    pub(super) fn explored(&mut self, is_accepted: bool, is_one_enough: bool) -> bool {
        if is_accepted {
            self.accepted = self.accepted.or(Some(self.variant));
        }
        if self.is_explored || (is_accepted && is_one_enough) {
            return false;
        }
        if self.variant + 1 < self.variants.len() {
            self.variant += 1;
            return true;
        }
        self.is_explored = true;
        let rest = self.accepted.unwrap_or(self.variant);
        let is_other = rest != self.variant && !is_accepted;
        if is_other {
            self.variant = rest;
        }
        is_other
    }
}

impl State {
    pub(super) fn place(&mut self, path: &str) -> &mut Place {
        self.places.entry(path.to_owned()).or_default()
    }

    /// Adds the fields that were missing to the first map that does not have them.
    pub(super) fn learn(&mut self, mark: Mark) -> bool {
        let before = self.changes;
        for hint in self.hints.split_off(mark.hints.min(self.hints.len())) {
            if let Hint::Missing(name) = hint {
                self.learn_field(mark.steps, name);
            }
        }
        self.changes > before
    }

    pub(super) fn learn_field(&mut self, since: usize, name: &'static str) {
        let maps = self.steps[since.min(self.steps.len())..]
            .iter()
            .filter_map(|step| match step {
                Step::Map(path) => Some(path),
                Step::Value(_) | Step::Tag(_) | Step::Any(_) => None,
            });
        for path in maps.take(LEARNING) {
            let place = self.places.entry(path.clone()).or_default();
            if !place.learned.contains(&name) && !place.left_out.contains(name) {
                place.learned.push(name);
                self.changes += 1;
                return;
            }
        }
    }

    /// Hands out another value at the last place that has another.
    pub(super) fn next_value(&mut self, since: usize) -> bool {
        for step in self.steps[since.min(self.steps.len())..].iter().rev() {
            let Step::Value(path) = step else { continue };
            let place = self.places.entry(path.clone()).or_default();
            if place.value < place.values {
                place.value += 1;
                self.changes += 1;
                return true;
            }
        }
        false
    }

    pub(super) fn probe_key(&self, path: &str) -> String {
        let tag = self.places.get(path).and_then(|place| place.tag);
        format!("{path} {tag:?}")
    }

    /// Tries out the next thing at an object of any kind that was accepted as one.
    pub(super) fn probe_next(&mut self) -> bool {
        for step in &self.steps {
            let Step::Any(path) = step else { continue };
            let key = self.probe_key(path);
            let number = self.probed.get(&key).copied().unwrap_or_default();
            let place = self.places.get(path);
            let is_object = place.is_some_and(|place| place.value == 0);
            if is_object && number <= NUMBERED {
                let tag = place.and_then(|place| place.tag);
                let probe = number.checked_sub(1).map_or(Probe::List(tag), Probe::Field);
                self.probe = Some((path.clone(), probe));
                self.probed.insert(key, number + 1);
                return true;
            }
        }
        false
    }

    /// Hands out another variant at the last tag that has another.
    pub(super) fn advance_tag(&mut self, since: usize) -> bool {
        for step in self.steps[since.min(self.steps.len())..].iter().rev() {
            let Step::Tag(path) = step else { continue };
            let place = self.places.entry(path.clone()).or_default();
            if place.variant + 1 < place.variants.len() {
                place.variant += 1;
                self.changes += 1;
                return true;
            }
        }
        false
    }
}
