//! The sealed chunks of a lane, shared by readers and forks a page at a time.

use std::sync::Arc;

use super::sealed::Sealed;

/// Chunks of a page: the unit that is copied when a list with readers is extended or changed.
const PAGE_CHUNKS: usize = 64;

type Page = Vec<Sealed>;

/// A list of sealed chunks. A copy shares all pages; a change copies one page, and a pointer for each of the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct SealedList {
    pages: Arc<Vec<Arc<Page>>>,
    /// Chunks at the front of the first page that were removed from the list.
    skipped: usize,
    len: usize,
}

impl SealedList {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&Sealed> {
        let place = place + self.skipped;
        self.pages.get(place / PAGE_CHUNKS)?.get(place % PAGE_CHUNKS)
    }

    /// A chunk, for writing.
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Sealed> {
        let place = place + self.skipped;
        let page = Arc::make_mut(&mut self.pages).get_mut(place / PAGE_CHUNKS)?;
        Arc::make_mut(page).get_mut(place % PAGE_CHUNKS)
    }

    pub(super) fn push(&mut self, sealed: Sealed) {
        let pages = Arc::make_mut(&mut self.pages);
        match pages.last_mut().filter(|page| page.len() < PAGE_CHUNKS) {
            Some(page) => Arc::make_mut(page).push(sealed),
            None => pages.push(Arc::new(vec![sealed])),
        }
        self.len += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Sealed> {
        self.pages.iter().flat_map(|page| page.iter()).skip(self.skipped)
    }

    /// Removes the first `count` chunks.
    pub(super) fn drop_front(&mut self, count: usize) {
        let count = count.min(self.len);
        self.skipped += count;
        self.len -= count;
        let gone = self.skipped / PAGE_CHUNKS;
        if gone > 0 {
            Arc::make_mut(&mut self.pages).drain(..gone);
            self.skipped -= gone * PAGE_CHUNKS;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::dropped::Dropped;
    use super::*;

    /// A chunk identified by the event that it has dropped.
    fn numbered(number: usize) -> Sealed {
        let mut dropped = Dropped::none();
        dropped.insert(number);
        Sealed {
            chunk: None,
            dropped: Some(Arc::new(dropped)),
            purged: 0,
        }
    }

    fn number(sealed: &Sealed) -> Option<usize> {
        (0..2_048).find(|index| sealed.dropped.as_ref().is_some_and(|dropped| dropped.contains(*index)))
    }

    proptest! {
        #[test]
        fn a_list_is_what_a_vector_is(steps in proptest::collection::vec((0_usize..4, 0_usize..100), 0..60)) {
            let (mut list, mut vector) = (SealedList::default(), std::collections::VecDeque::new());
            let mut copies = Vec::new();
            for (step, count) in steps {
                match step {
                    0 => (0..count).for_each(|number| {
                        list.push(numbered(number));
                        vector.push_back(number);
                    }),
                    1 => {
                        list.drop_front(count / 4);
                        vector.drain(..(count / 4).min(vector.len()));
                    }
                    2 => {
                        if let (Some(sealed), Some(known)) = (list.get_mut(count), vector.get_mut(count)) {
                            *sealed = numbered(100 + count);
                            *known = 100 + count;
                        }
                    }
                    _ => copies.push((list.clone(), vector.clone())),
                }
            }
            copies.push((list, vector));
            for (list, vector) in copies {
                prop_assert_eq!(list.len(), vector.len());
                let numbers: Vec<_> = list.iter().filter_map(number).collect();
                prop_assert!(numbers.iter().eq(&vector));
                prop_assert_eq!(list.get(vector.len()).map(number), None);
            }
        }
    }

    #[test]
    fn a_snapshot_copied_the_list_of_all_chunks() {
        let mut list = SealedList::default();
        (0..1_000).for_each(|number| list.push(numbered(number)));
        let snapshot = list.clone();
        list.push(numbered(7));
        let shared = list
            .pages
            .iter()
            .zip(snapshot.pages.iter())
            .filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(
            shared.count(),
            1_000 / PAGE_CHUNKS,
            "all pages but the one that was added to"
        );
    }
}
