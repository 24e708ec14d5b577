//! The inverted index: from a term, which is a field and a value, to the positions of the events that have it.

use std::hash::BuildHasher;

use super::super::ascending::Ascending;
use super::super::slab::Slab;
use super::super::tables::Tables;
use crate::Name;

/// Numbers a field within an index.
pub(crate) type FieldNumber = u8;

#[derive(Clone, Debug)]
struct Term {
    field: FieldNumber,
    text: Name,
    positions: Ascending,
}

impl Default for Term {
    /// The place of a term that was forgotten: of no field, so that no text is taken for it.
    fn default() -> Self {
        Self {
            field: FieldNumber::MAX,
            text: Name::default(),
            positions: Ascending::default(),
        }
    }
}

/// Keys that are kept as guesses.
const RECENT: usize = 1024;

/// Terms and their positions, complete up to a position.
#[derive(Clone, Debug, Default)]
pub(crate) struct TermIndex {
    hasher: foldhash::fast::RandomState,
    /// Half of the hash of a term, and its place in `terms`.
    tables: Tables,
    terms: Slab<Term>,
    /// The keys met last, by some bits of the hash. Each is a guess, compared with the text before it is used.
    recent: Vec<u32>,
    /// Every event of the system, so that reads can leave them out.
    system: Ascending,
    complete_to: u64,
    /// The term that [`sweep`](Self::sweep) looks at next.
    sweep_next: u32,
}

impl TermIndex {
    /// The position up to which every event is in the index.
    pub(crate) fn complete_to(&self) -> u64 {
        self.complete_to
    }

    pub(crate) fn set_complete_to(&mut self, position: u64) {
        self.complete_to = position;
    }

    fn half(&self, field: FieldNumber, text: &str) -> u32 {
        (self.hasher.hash_one(text) as u32).rotate_left(u32::from(field))
    }

    pub(crate) fn find(&self, field: FieldNumber, text: &str) -> Option<u32> {
        self.find_hashed(self.half(field, text), field, text)
    }

    fn find_hashed(&self, half: u32, field: FieldNumber, text: &str) -> Option<u32> {
        self.tables.find(half, |key| self.is(key, field, text))
    }

    /// The key of a term, made if it is new.
    pub(crate) fn key(&mut self, field: FieldNumber, text: &str) -> u32 {
        if self.recent.is_empty() {
            self.recent.resize(RECENT, u32::MAX);
        }
        let half = self.half(field, text);
        let recent = half as usize % RECENT;
        if self.is(self.recent[recent], field, text) {
            return self.recent[recent];
        }
        let key = self
            .find_hashed(half, field, text)
            .unwrap_or_else(|| self.insert(half, field, text));
        self.recent[recent] = key;
        key
    }

    fn insert(&mut self, half: u32, field: FieldNumber, text: &str) -> u32 {
        let term = Term {
            field,
            text: text.into(),
            positions: Ascending::default(),
        };
        let key = self.terms.insert(term);
        self.tables.insert(half, key);
        key
    }

    /// Whether `key` stands for this term. It may be any number.
    #[inline]
    pub(crate) fn is(&self, key: u32, field: FieldNumber, text: &str) -> bool {
        self.terms
            .get(key)
            .is_some_and(|term| term.field == field && term.text == *text)
    }

    /// Says that the event at `position` has the term; saying it twice is the same.
    pub(crate) fn add(&mut self, key: u32, position: u64) {
        let positions = &mut self.terms[key].positions;
        if positions.last() != Some(position) {
            positions.push(position);
        }
    }

    pub(crate) fn add_system(&mut self, position: u64) {
        self.system.push(position);
    }

    pub(crate) fn system(&self) -> &Ascending {
        &self.system
    }

    pub(crate) fn positions(&self, field: FieldNumber, text: &str) -> Option<&Ascending> {
        self.find(field, text).map(|key| &self.terms[key].positions)
    }

    /// Every value of a field, with its positions.
    pub(crate) fn values(&self, field: FieldNumber) -> impl Iterator<Item = (&Name, &Ascending)> {
        let of_field = move |term: &&Term| term.field == field && !term.positions.is_empty();
        self.terms
            .iter()
            .filter(of_field)
            .map(|term| (&term.text, &term.positions))
    }

    /// Looks at `count` terms more, and gives back what they hold of positions up to `floor`; forgets those with nothing left.
    ///
    /// Answers whether any term was forgotten: keys kept elsewhere may then stand for another term.
    pub(crate) fn sweep(&mut self, floor: u64, count: u32) -> bool {
        let room = u32::try_from(self.terms.room()).unwrap_or(u32::MAX);
        let mut forgot = false;
        for _ in 0..count.min(room) {
            self.sweep_next = if self.sweep_next + 1 < room {
                self.sweep_next + 1
            } else {
                0
            };
            forgot |= self.sweep_term(self.sweep_next, floor);
        }
        self.system.drop_to(floor);
        forgot
    }

    fn sweep_term(&mut self, key: u32, floor: u64) -> bool {
        let term = &mut self.terms[key];
        if term.positions.is_empty() {
            return false;
        }
        term.positions.drop_to(floor);
        let lost_all = term.positions.is_empty();
        if lost_all {
            self.forget(key);
        }
        lost_all
    }

    /// The same index with the positions for which `keep` holds, and without the terms that have none.
    pub(crate) fn compacted(&self, mut keep: impl FnMut(u64) -> bool) -> Self {
        let mut compacted = Self {
            hasher: self.hasher.clone(),
            complete_to: self.complete_to,
            ..Self::default()
        };
        for position in self.system.range(0, u64::MAX).filter(|position| keep(*position)) {
            compacted.system.push(position);
        }
        for term in self.terms.iter() {
            let mut kept = Ascending::default();
            for position in term.positions.range(0, u64::MAX).filter(|position| keep(*position)) {
                kept.push(position);
            }
            kept.shrink();
            if !kept.is_empty() {
                let key = compacted.key(term.field, &term.text);
                compacted.terms[key].positions = kept;
            }
        }
        compacted.terms.shrink();
        compacted.tables.shrink();
        compacted
    }

    /// Terms there are.
    pub(crate) fn len(&self) -> usize {
        self.terms.len()
    }

    fn forget(&mut self, key: u32) {
        let term = &self.terms[key];
        let half = self.half(term.field, &term.text);
        if self.tables.remove(half, key) {
            self.terms.remove(key);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let heap: usize = self
            .terms
            .iter()
            .map(|term| term.positions.heap_bytes() + term.text.heap_bytes())
            .sum();
        self.terms.memory_bytes()
            + self.recent.capacity() * 4
            + self.tables.memory_bytes()
            + heap
            + self.system.heap_bytes()
    }
}
