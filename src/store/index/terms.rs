//! The inverted index: from a term, which is a field and a value, to the positions of its events.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::RangeInclusive;

use crate::store::collections::arena::Arena;
use crate::store::collections::key_table::KeyTable;
use crate::store::collections::posting_list::PostingList;
use crate::{Name, Timestamp};

/// The number of a field within an index.
pub(crate) type FieldNumber = u8;

/// The field whose values are days. They are also found by their number.
pub(super) const DAY: FieldNumber = 5;

#[derive(Clone, Debug)]
struct Term {
    field: FieldNumber,
    /// Its index among the terms of its field.
    place: u32,
    text: Name,
    positions: PostingList,
}

impl Default for Term {
    /// A removed term: it has no field, so it matches no text.
    fn default() -> Self {
        Self {
            field: FieldNumber::MAX,
            place: 0,
            text: Name::default(),
            positions: PostingList::default(),
        }
    }
}

/// Approximate bytes of a day in the map of days.
const DAY_BYTES: usize = 24;

/// The number of the day of a term, if the term is a day.
fn day_of(field: FieldNumber, text: &str) -> Option<i64> {
    let time: Timestamp = (field == DAY).then(|| format!("{text}T00:00:00Z").parse().ok())??;
    Some(time.day())
}

/// Terms and their positions, complete up to a position.
#[derive(Clone, Debug, Default)]
pub(crate) struct TermIndex {
    hasher: foldhash::fast::RandomState,
    /// Half of the hash of a term, and its key in `terms`.
    tables: KeyTable,
    terms: Arena<Term>,
    /// The keys of each field's terms, so that a query for one field does not scan the others.
    fields: Vec<Vec<u32>>,
    /// The keys of days, by their number since 1970.
    days: BTreeMap<i64, u32>,
    /// The positions of all system events, so that reads can leave them out.
    system: PostingList,
    complete_to: u64,
    /// The term that [`sweep`](Self::sweep) looks at next.
    sweep_next: u32,
}

impl TermIndex {
    /// The position up to which the index is complete.
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

    /// The key of a term, which is added if it is new.
    pub(crate) fn key(&mut self, field: FieldNumber, text: &str) -> u32 {
        let half = self.half(field, text);
        self.find_hashed(half, field, text)
            .unwrap_or_else(|| self.insert(half, field, text))
    }

    fn insert(&mut self, half: u32, field: FieldNumber, text: &str) -> u32 {
        if self.fields.len() <= usize::from(field) {
            self.fields.resize_with(usize::from(field) + 1, Vec::new);
        }
        let of_field = &mut self.fields[usize::from(field)];
        let term = Term {
            field,
            place: of_field.len() as u32,
            text: text.into(),
            positions: PostingList::default(),
        };
        let key = self.terms.insert(term);
        of_field.push(key);
        if let Some(day) = day_of(field, text) {
            self.days.insert(day, key);
        }
        self.tables.insert(half, key);
        key
    }

    /// Whether `key` is the key of this term. It may be any number.
    #[inline]
    pub(crate) fn is(&self, key: u32, field: FieldNumber, text: &str) -> bool {
        self.terms
            .get(key)
            .is_some_and(|term| term.field == field && term.text == *text)
    }

    /// Adds `position` to the term; idempotent for the last position.
    pub(crate) fn add(&mut self, key: u32, position: u64) {
        let positions = &mut self.terms[key].positions;
        if positions.last() != Some(position) {
            positions.push(position);
        }
    }

    /// Adds the `count` positions from `first` on to the term.
    #[inline]
    pub(crate) fn add_run(&mut self, key: u32, first: u64, count: u64) {
        self.terms[key].positions.push_run(first, count);
    }

    pub(crate) fn add_system(&mut self, position: u64) {
        self.system.push(position);
    }

    pub(crate) fn system(&self) -> &PostingList {
        &self.system
    }

    pub(crate) fn positions(&self, field: FieldNumber, text: &str) -> Option<&PostingList> {
        self.find(field, text).map(|key| &self.terms[key].positions)
    }

    /// Every value of a field, with its positions.
    pub(crate) fn values(&self, field: FieldNumber) -> impl Iterator<Item = (&Name, &PostingList)> {
        let keys = self.fields.get(usize::from(field)).into_iter().flatten();
        keys.map(|key| &self.terms[*key])
            .filter(|term| !term.positions.is_empty())
            .map(|term| (&term.text, &term.positions))
    }

    /// Number of a field's values, with those that have no events any more.
    pub(crate) fn count_of(&self, field: FieldNumber) -> usize {
        self.fields.get(usize::from(field)).map_or(0, Vec::len)
    }

    /// The values of a field that begin with `prefix`, with their positions.
    pub(crate) fn with_prefix(&self, field: FieldNumber, prefix: &str) -> impl Iterator<Item = (&Name, &PostingList)> {
        self.values(field).filter(move |(text, _)| text.starts_with(prefix))
    }

    /// The positions of each day in a range, by its number since 1970.
    pub(crate) fn days(&self, days: RangeInclusive<i64>) -> impl Iterator<Item = &PostingList> {
        let days = (days.start() <= days.end()).then(|| self.days.range(days));
        days.into_iter().flatten().map(|(_, key)| &self.terms[*key].positions)
    }

    /// Drops the positions up to `floor` from the next `count` terms, and removes terms without positions.
    ///
    /// Returns whether a term was removed: cached keys may then belong to another term.
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

    /// A copy with the positions for which `keep` returns true, without terms that have none.
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
            let mut kept = PostingList::default();
            for position in term.positions.range(0, u64::MAX).filter(|position| keep(*position)) {
                kept.push(position);
            }
            kept.shrink();
            if !kept.is_empty() {
                let key = compacted.key(term.field, &term.text);
                compacted.terms[key].positions = kept;
            }
        }
        compacted.fields.iter_mut().for_each(Vec::shrink_to_fit);
        compacted.terms.shrink();
        compacted.tables.shrink();
        compacted
    }

    /// Number of terms.
    pub(crate) fn len(&self) -> usize {
        self.terms.len()
    }

    fn forget(&mut self, key: u32) {
        let term = &self.terms[key];
        let half = self.half(term.field, &term.text);
        if !self.tables.remove(half, key) {
            return;
        }
        if let Some(day) = day_of(term.field, &term.text) {
            self.days.remove(&day);
        }
        let (field, place) = (usize::from(term.field), term.place);
        self.fields[field].swap_remove(place as usize);
        if let Some(moved) = self.fields[field].get(place as usize).copied() {
            self.terms[moved].place = place;
        }
        self.terms.remove(key);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let heap: usize = self
            .terms
            .iter()
            .map(|term| term.positions.heap_bytes() + term.text.heap_bytes())
            .sum();
        self.terms.memory_bytes()
            + self.tables.memory_bytes()
            + heap
            + self.fields.iter().map(|keys| keys.capacity() * 4).sum::<usize>()
            + self.days.len() * DAY_BYTES
            + self.system.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORRELATION: FieldNumber = 2;

    fn index(days: i64, correlations: usize) -> TermIndex {
        let mut index = TermIndex::default();
        for day in 0..days {
            let date = Timestamp::from_micros(day * 86_400_000_000).date();
            let key = index.key(DAY, &date);
            index.add(key, day.cast_unsigned() + 1);
        }
        for number in 0..correlations {
            let key = index.key(CORRELATION, &format!("c-{number}"));
            index.add(key, 1);
        }
        index
    }

    /// Keys and positions that are read for one field, and for a range of days.
    fn visited(index: &TermIndex) -> (usize, usize, usize) {
        let keys = index.fields.get(usize::from(DAY)).map_or(0, Vec::len);
        (keys, index.values(DAY).count(), index.days(3..=5).count())
    }

    #[test]
    fn a_range_of_days_went_through_the_terms_of_all_fields() {
        for correlations in [0, 10, 10_000] {
            assert_eq!(visited(&index(30, correlations)), (30, 30, 3));
        }
        assert_eq!(index(30, 5).values(CORRELATION).count(), 5);
        assert_eq!(index(30, 5).values(6).count(), 0);
        let days = index(30, 5);
        let empty = RangeInclusive::new(7, 3);
        for (range, count) in [
            (0..=0, 1),
            (-9..=-1, 0),
            (29..=400, 1),
            (i64::MIN..=i64::MAX, 30),
            (empty, 0),
        ] {
            assert_eq!(days.days(range).count(), count);
        }
    }

    #[test]
    fn what_is_forgotten_is_in_no_list_of_its_field() {
        let mut index = index(30, 100);
        // Days 1 to 20 and every correlation lose all events.
        index.sweep(20, u32::MAX);
        assert_eq!((index.values(DAY).count(), index.days(0..=29).count()), (10, 10));
        assert_eq!((index.values(CORRELATION).count(), index.len()), (0, 10));
        let key = index.key(DAY, "1970-01-01");
        index.add(key, 31);
        assert_eq!(index.days(0..=0).count(), 1);
        let kept = index.compacted(|position| position > 25);
        assert_eq!(
            (
                kept.values(DAY).count(),
                kept.days(0..=0).count(),
                kept.days(1..=29).count()
            ),
            (6, 1, 5)
        );
        for (text, _) in kept.values(DAY) {
            assert!(kept.positions(DAY, text).is_some());
        }
    }

    #[test]
    fn days_of_all_years_are_ranges() {
        let mut index = TermIndex::default();
        for (place, time) in [Timestamp::MIN, Timestamp::from_micros(-1), Timestamp::MAX]
            .into_iter()
            .enumerate()
        {
            let key = index.key(DAY, &time.date());
            index.add(key, place as u64 + 1);
            assert_eq!(index.days(time.day()..=time.day()).count(), 1, "{time}");
        }
        assert_eq!(index.days(i64::MIN..=-2).count(), 1);
    }
}
