//! What the passes have found out, and what the next one does differently.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use super::error::{Hint, Refused, take_hints};
use super::state::{Mark, NUMBERED, Names, Probe, State, Step};

/// The number of values that all passes ask for, at most.
const VISITS: u32 = 500_000;

/// How often a type may occur inside of itself: more is a recursive type. A generic type may well be in another of its kind.
const SHORT_AFTER: usize = 2;
const REFUSED_AFTER: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Memory(RefCell<State>);

impl Memory {
    pub(super) fn begin_pass(&self) {
        drop(take_hints());
        let mut state = self.0.borrow_mut();
        state.changes = 0;
        state.steps.clear();
        state.hints.clear();
        state.open.clear();
        state.tag = None;
        state.is_hopeless = false;
    }

    /// Returns whether another pass finds out more.
    pub(super) fn end_pass(&self, is_accepted: bool) -> bool {
        let is_changed = if is_accepted {
            self.has_changed(Mark::default())
        } else {
            self.blame(Mark::default())
        };
        self.collect_hints();
        let mut state = self.0.borrow_mut();
        let was_probe = state.probe.take().is_some();
        let has_more = was_probe || is_changed || state.probe_next() || state.advance_tag(0);
        has_more && state.visits < VISITS
    }

    /// The facts in an order that does not depend on that of the passes.
    pub(super) fn facts(&self) -> impl Iterator<Item = String> {
        let state = self.0.borrow();
        let mut facts: Vec<_> = state.facts.iter().cloned().collect();
        let places = state.places.iter().filter(|(_, place)| place.value > 0);
        facts.extend(places.map(|(path, place)| format!("{path} accepts {}", place.value)));
        facts.into_iter()
    }

    /// Takes note of a value that is asked for.
    pub(super) fn visit(&self, path: &str, what: fmt::Arguments<'_>) -> Result<(), Refused> {
        let state = &mut *self.0.borrow_mut();
        state.fact.clear();
        write!(state.fact, "{path}: {what}").map_err(|_| Refused)?;
        if !state.facts.contains(&state.fact) {
            state.facts.insert(state.fact.clone());
        }
        state.visits += 1;
        if state.visits > VISITS { Err(Refused) } else { Ok(()) }
    }

    /// Which of a number of made-up values is handed out.
    pub(super) fn value(&self, path: &str, values: usize) -> usize {
        let mut state = self.0.borrow_mut();
        state.steps.push(Step::Value(path.to_owned()));
        let place = state.place(path);
        place.values = values;
        place.value % values
    }

    pub(super) fn mark(&self) -> Mark {
        self.collect_hints();
        let state = self.0.borrow();
        Mark {
            changes: state.changes,
            steps: state.steps.len(),
            hints: state.hints.len(),
        }
    }

    pub(super) fn has_changed(&self, mark: Mark) -> bool {
        let state = self.0.borrow();
        state.probe.is_some() || state.changes > mark.changes
    }

    /// After an error: changes something that was decided since the mark. Returns false when there is nothing to change.
    pub(super) fn blame(&self, mark: Mark) -> bool {
        self.collect_hints();
        let mut state = self.0.borrow_mut();
        let is_hopeless = std::mem::take(&mut state.is_hopeless);
        if state.probe.is_some() || state.changes > mark.changes {
            return true;
        }
        let is_changed = !is_hopeless && (state.learn(mark) || state.next_value(mark.steps));
        is_changed || state.advance_tag(mark.steps)
    }

    fn collect_hints(&self) {
        let mut state = self.0.borrow_mut();
        for hint in take_hints() {
            // An error is of a value that was read before.
            let path = state.steps.last().map_or("", Step::path);
            let fact = format!("{path} {hint:?}");
            state.facts.insert(fact);
            state.hints.push(hint);
        }
    }

    pub(super) fn is_empty(&self, path: &str) -> bool {
        self.0.borrow_mut().place(path).is_empty
    }

    pub(super) fn set_empty(&self, path: &str) {
        let mut state = self.0.borrow_mut();
        state.place(path).is_empty = true;
        state.changes += 1;
        state.facts.insert(format!("{path}: opaque"));
    }

    pub(super) fn is_left_out(&self, path: &str, field: &str) -> bool {
        self.0.borrow_mut().place(path).left_out.contains(field)
    }

    pub(super) fn leave_out(&self, path: &str, field: &str) {
        let mut state = self.0.borrow_mut();
        state.place(path).left_out.insert(field.to_owned());
        state.changes += 1;
        state.facts.insert(format!("{path}.{field}: opaque"));
    }

    /// After an error of a struct whose fields were all accepted: it misses those that were left out.
    pub(super) fn forgive_left_out(&self, path: &str, names: Names, mark: Mark) {
        self.collect_hints();
        let mut state = self.0.borrow_mut();
        let is_changed = state.changes > mark.changes;
        state.is_hopeless |= !is_changed && !state.place(path).left_out.is_empty();
        let since = mark.hints.min(state.hints.len());
        let new = state.hints.split_off(since);
        let is_own = |hint: &Hint| matches!(hint, Hint::Missing(name) if names.contains(name));
        state.hints.extend(new.into_iter().filter(|hint| !is_own(hint)));
    }

    /// Begins a value of any kind. Returns what to try out there.
    pub(super) fn begin_any(&self, path: &str) -> Option<Probe> {
        let mut state = self.0.borrow_mut();
        state.steps.push(Step::Any(path.to_owned()));
        match &state.probe {
            Some((probed, probe)) if probed == path => Some(*probe),
            _ => None,
        }
    }

    /// The object has no field with the number of this probe.
    pub(super) fn end_probes(&self) {
        let mut state = self.0.borrow_mut();
        if let Some((path, _)) = state.probe.clone() {
            let key = state.probe_key(&path);
            state.probed.insert(key, NUMBERED + 1);
        }
    }

    pub(super) fn begin_map(&self, path: &str) {
        self.0.borrow_mut().steps.push(Step::Map(path.to_owned()));
    }

    /// The map has a tag: fields that are missing are those of its variant.
    pub(super) fn tag_map(&self, object: &str, tag: &'static str, paths: (&str, &str)) {
        let mut state = self.0.borrow_mut();
        state.place(object).tag = Some(tag);
        let (path, tagged) = paths;
        let is_map = |step: &&mut Step| matches!(step, Step::Map(map) if map == path);
        if let Some(step) = state.steps.iter_mut().rev().find(is_map) {
            *step = Step::Map(tagged.to_owned());
        }
    }

    pub(super) fn learned(&self, path: &str, index: usize) -> Option<&'static str> {
        self.0.borrow_mut().place(path).learned.get(index).copied()
    }

    /// The variant that is to be explored.
    pub(super) fn variant(&self, path: &str, variants: Names) -> Option<&'static str> {
        let mut state = self.0.borrow_mut();
        let place = state.place(path);
        place.variants = variants;
        variants.get(place.variant).copied()
    }

    /// The variant is explored: the next pass takes another if there is one.
    pub(super) fn explored(&self, path: &str, is_accepted: bool, is_one_enough: bool) {
        let mut state = self.0.borrow_mut();
        let has_next = state.place(path).explored(is_accepted, is_one_enough);
        state.changes += u32::from(has_next);
    }

    /// The variant that is to be handed out as a tag.
    pub(super) fn tag(&self, path: &str, variants: Names) -> Option<&'static str> {
        let tag = self.variant(path, variants);
        let mut state = self.0.borrow_mut();
        state.steps.push(Step::Tag(path.to_owned()));
        state.tag = tag;
        tag
    }

    /// The variants that a tag was one of in an earlier pass.
    pub(super) fn known_variants(&self, path: &str) -> Names {
        self.0.borrow_mut().place(path).variants
    }

    /// After an error of a tag: whether it says which variants there are.
    pub(super) fn learn_variants(&self, path: &str, mark: Mark) {
        self.collect_hints();
        let mut state = self.0.borrow_mut();
        let variants = state.hints[mark.hints.min(state.hints.len())..]
            .iter()
            .find_map(|hint| match hint {
                Hint::Variants(names) => Some(*names),
                Hint::Missing(_) | Hint::Expects(_) => None,
            });
        if let Some(variants) = variants {
            state.place(path).variants = variants;
            state.changes += 1;
        }
    }

    pub(super) fn take_tag(&self) -> Option<&'static str> {
        self.0.borrow_mut().tag.take()
    }

    /// Enters a type. Returns whether to go no deeper than needed.
    pub(super) fn enter(&self, name: &'static str, names: Names) -> Result<bool, Refused> {
        let mut state = self.0.borrow_mut();
        let times = state.open.iter().filter(|open| **open == (name, names)).count();
        if times >= REFUSED_AFTER {
            return Err(Refused);
        }
        state.open.push((name, names));
        Ok(times >= SHORT_AFTER)
    }

    pub(super) fn leave(&self) {
        self.0.borrow_mut().open.pop();
    }
}
