//! The place of each position's event: pages of entries that are written once and read without a lock.

use crate::store::sync::{Arc, AtomicU64, Ordering, RwLock};

/// Entries of a page.
const PAGE_ENTRIES: u64 = if cfg!(annals_loom) { 2 } else { 4096 };

/// The place of an event: its lane, and its slot in the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) lane: usize,
    pub(crate) slot: u64,
}

/// Consecutive places of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaceRun {
    pub(crate) first: Place,
    pub(crate) count: u64,
}

impl PlaceRun {
    pub(crate) fn new(lane: usize, slot: u64, count: u64) -> Self {
        Self {
            first: Place { lane, slot },
            count,
        }
    }
}

/// A place in eight bytes, with the length of the batch that begins at its position.
///
/// ```text
/// bit 63     62 … 46          45 … 36   35 … 0
/// written    batch length     lane      slot
///            (0 inside one)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

const WRITTEN: u64 = 1 << 63;
const LENGTH_SHIFT: u32 = 46;
const LENGTH_MAX: u64 = (1 << 17) - 1;
const LANE_SHIFT: u32 = 36;
const LANE_MAX: u64 = (1 << 10) - 1;
const SLOT_MAX: u64 = (1 << LANE_SHIFT) - 1;

const _: () = assert!(crate::settings::BATCH_EVENTS_MAX as u64 <= LENGTH_MAX);
const _: () = assert!(crate::settings::LANES_MAX as u64 <= LANE_MAX + 1);

impl Entry {
    pub(crate) fn new(place: Place, batch_length: u64) -> Self {
        assert!(place.slot <= SLOT_MAX, "a lane holds at most 2^36 events in its life");
        Self(WRITTEN | batch_length << LENGTH_SHIFT | (place.lane as u64) << LANE_SHIFT | place.slot)
    }

    pub(crate) fn place(self) -> Place {
        let lane = (self.0 >> LANE_SHIFT) & LANE_MAX;
        Place {
            lane: usize::try_from(lane).unwrap_or(usize::MAX),
            slot: self.0 & SLOT_MAX,
        }
    }

    /// Events of the batch that begins here; `None` inside a batch.
    pub(crate) fn batch_length(self) -> Option<u64> {
        let length = (self.0 >> LENGTH_SHIFT) & LENGTH_MAX;
        (length > 0).then_some(length)
    }
}

#[derive(Debug)]
pub(crate) struct Page {
    number: u64,
    entries: Box<[AtomicU64]>,
}

impl Page {
    fn new(number: u64) -> Self {
        Self {
            number,
            entries: (0..PAGE_ENTRIES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn entry(&self, position: u64) -> Option<&AtomicU64> {
        self.entries
            .get(usize::try_from((position - 1) % PAGE_ENTRIES).unwrap_or(usize::MAX))
    }

    /// A copy with the entries up to `position`.
    fn copy_to(&self, position: u64) -> Self {
        let copy = Self::new(self.number);
        let written = position.saturating_sub(self.number * PAGE_ENTRIES);
        for (to, from) in copy
            .entries
            .iter()
            .zip(&self.entries)
            .take(usize::try_from(written).unwrap_or(usize::MAX))
        {
            to.store(from.load(Ordering::Acquire), Ordering::Release);
        }
        copy
    }
}

/// The maximum number of consecutive absent pages: their list takes 512 MiB.
const ABSENT_MAX: u64 = 1 << 26;

/// All pages, from the first retained one.
#[derive(Clone, Debug, Default)]
struct Pages {
    first: u64,
    /// `None` if no position of the page will ever have an event.
    pages: Vec<Option<Arc<Page>>>,
}

impl Pages {
    #[inline]
    fn get(&self, number: u64) -> Option<&Arc<Page>> {
        self.pages
            .get(usize::try_from(number.checked_sub(self.first)?).ok()?)?
            .as_ref()
    }

    fn end(&self) -> u64 {
        self.first + self.pages.len() as u64
    }
}

/// Pages cached by a user of the directory, so that most accesses need no lock.
///
/// A writer caches the page it writes to. A reader caches the list of all pages; meanwhile adding a page copies the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageCache {
    page: Option<Arc<Page>>,
    list: Option<Arc<Pages>>,
}

#[derive(Debug)]
pub(crate) struct Directory {
    pages: RwLock<Arc<Pages>>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            pages: RwLock::new(Arc::default()),
        }
    }
}

fn page_number(position: u64) -> u64 {
    (position - 1) / PAGE_ENTRIES
}

impl Directory {
    pub(crate) fn set(&self, position: u64, entry: Entry, cache: &mut PageCache) {
        let number = page_number(position);
        let page = match &mut cache.page {
            Some(page) if page.number == number => page,
            other => other.insert(self.page_or_new(number)),
        };
        if let Some(cell) = page.entry(position) {
            cell.store(entry.0, Ordering::Release);
        }
    }

    /// The entry of `position`, if it is written and retained. For a writer, near the entries it wrote.
    #[inline]
    pub(crate) fn get_near(&self, position: u64, cache: &mut PageCache) -> Option<Entry> {
        let number = page_number(position);
        let page = match &mut cache.page {
            Some(page) if page.number == number => page,
            other => other.insert(self.pages.read().get(number).map(Arc::clone)?),
        };
        read_entry(page, position)
    }

    /// The entry of `position`, if it is written and on the page that a writer has cached.
    #[inline]
    pub(crate) fn get_cached(position: u64, cache: &PageCache) -> Option<Entry> {
        let page = cache.page.as_ref()?;
        (page.number == page_number(position))
            .then(|| read_entry(page, position))
            .flatten()
    }

    /// The entry of `position`, if it is written and retained. For a reader, at any position.
    #[inline]
    pub(crate) fn get(&self, position: u64, cache: &mut PageCache) -> Option<Entry> {
        let number = page_number(position);
        match &cache.list {
            Some(list) if number < list.end() => read_entry(list.get(number)?, position),
            _ => self.look_up(position, cache),
        }
    }

    #[cold]
    fn look_up(&self, position: u64, cache: &mut PageCache) -> Option<Entry> {
        let list = cache.list.insert(Arc::clone(&self.pages.read()));
        read_entry(list.get(page_number(position))?, position)
    }

    fn page_or_new(&self, number: u64) -> Arc<Page> {
        if let Some(page) = self.pages.read().get(number) {
            return Arc::clone(page);
        }
        let mut guard = self.pages.write();
        let pages = make_mut(&mut guard);
        // Writers arrive in any order: the first one also creates the pages before its own.
        while pages.end() <= number {
            let next = pages.end();
            pages.pages.push(Some(Arc::new(Page::new(next))));
        }
        pages
            .get(number)
            .map_or_else(|| Arc::new(Page::new(number)), Arc::clone)
    }

    /// Records that no event will be added before `next`. Returns `false` if that skips more than [`ABSENT_MAX`] pages.
    pub(crate) fn skip_to(&self, next: u64) -> bool {
        let number = page_number(next);
        let mut guard = self.pages.write();
        let pages = make_mut(&mut guard);
        if pages.pages.is_empty() {
            pages.first = pages.first.max(number);
        }
        if number.saturating_sub(pages.end()) > ABSENT_MAX {
            return false;
        }
        while pages.end() < number {
            pages.pages.push(None);
        }
        true
    }

    /// The positions from `first` to `last` that may have an event: those of existing pages.
    pub(crate) fn positions(&self, first: u64, last: u64) -> impl DoubleEndedIterator<Item = u64> + Clone + use<> {
        let pages = Arc::clone(&self.pages.read());
        let numbers = page_number(first).max(pages.first)..page_number(last.max(1)).saturating_add(1).min(pages.end());
        numbers
            .filter(move |number| pages.get(*number).is_some())
            .flat_map(move |number| {
                let begin = number * PAGE_ENTRIES + 1;
                begin.max(first)..(begin + PAGE_ENTRIES).min(last.saturating_add(1))
            })
    }

    /// Releases the pages without positions above `position`, except the last page.
    pub(crate) fn forget_to(&self, position: u64) {
        let forgotten = position / PAGE_ENTRIES;
        if self.pages.read().first >= forgotten {
            return;
        }
        let mut guard = self.pages.write();
        let pages = make_mut(&mut guard);
        let spare = pages.pages.len().saturating_sub(1);
        let count = spare.min(usize::try_from(forgotten - pages.first).unwrap_or(usize::MAX));
        pages.pages.drain(..count);
        pages.first += count as u64;
    }

    /// Creates an independent directory that shares the full pages.
    pub(crate) fn fork(&self, position: u64) -> Self {
        let mut pages = Pages::clone(&self.pages.read());
        while pages.end() > pages.first && (pages.end() - 1) * PAGE_ENTRIES >= position {
            pages.pages.pop();
        }
        if let Some(Some(last)) = pages.pages.last_mut() {
            *last = Arc::new(last.copy_to(position));
        }
        Self {
            pages: RwLock::new(Arc::new(pages)),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let pages = self.pages.read();
        let there = pages.pages.iter().flatten().count();
        there * usize::try_from(PAGE_ENTRIES).unwrap_or(usize::MAX) * 8 + pages.pages.len() * 8
    }
}

#[inline]
fn read_entry(page: &Page, position: u64) -> Option<Entry> {
    let entry = page.entry(position)?.load(Ordering::Acquire);
    (entry != 0).then_some(Entry(entry))
}

/// The list, for writing; copied first if readers share it.
fn make_mut(pages: &mut Arc<Pages>) -> &mut Pages {
    if Arc::get_mut(pages).is_none() {
        *pages = Arc::new(Pages::clone(pages));
    }
    #[expect(
        clippy::expect_used,
        reason = "the list was created a line above under the lock, so no reader shares it"
    )]
    Arc::get_mut(pages).expect("the list is this lock's alone")
}

#[cfg(all(test, not(annals_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_its_bits() {
        let place = Place {
            lane: 1023,
            slot: SLOT_MAX,
        };
        let entry = Entry::new(place, LENGTH_MAX);
        assert_eq!((entry.place(), entry.batch_length()), (place, Some(LENGTH_MAX)));
        assert_eq!(Entry::new(place, 0).batch_length(), None);
    }

    #[test]
    fn positions_that_were_skipped_are_passed_over() {
        let directory = Directory::default();
        let mut cache = PageCache::default();
        let place = Place { lane: 0, slot: 0 };
        directory.set(1, Entry::new(place, 1), &mut cache);
        let next = PAGE_ENTRIES * 1000 + 3;
        assert!(directory.skip_to(next));
        directory.set(next, Entry::new(place, 1), &mut cache);
        let positions = |first, last| directory.positions(first, last).collect::<Vec<_>>();
        assert_eq!(positions(2, next).len() as u64, PAGE_ENTRIES - 1 + 3);
        assert_eq!(
            positions(PAGE_ENTRIES, next)[..2],
            [PAGE_ENTRIES, PAGE_ENTRIES * 1000 + 1]
        );
        assert_eq!(directory.positions(1, next).next_back(), Some(next));
        assert_eq!((positions(5, 4), positions(1, 0)), (Vec::new(), Vec::new()));
        assert!(directory.memory_bytes() < 1 << 20);
        assert!(!directory.skip_to(u64::MAX / 2));
    }

    #[test]
    fn forgotten_pages_answer_nothing() {
        let directory = Directory::default();
        let mut cache = PageCache::default();
        let place = Place { lane: 0, slot: 0 };
        directory.set(PAGE_ENTRIES * 3, Entry::new(place, 1), &mut cache);
        directory.set(1, Entry::new(place, 1), &mut cache);
        directory.forget_to(PAGE_ENTRIES);
        let mut cache = PageCache::default();
        assert_eq!(directory.get(1, &mut cache), None);
        assert_eq!(
            directory.get(PAGE_ENTRIES * 3, &mut cache).map(Entry::place),
            Some(place)
        );
    }
}
