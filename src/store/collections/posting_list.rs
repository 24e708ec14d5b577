//! A list of ascending numbers, stored as differences: the positions of a term's events, and of a stream's.

use smallvec::SmallVec;

/// Numbers in a full block.
const BLOCK_NUMBERS: usize = 256;

/// A compressed list of ascending numbers: the first number takes no heap memory, each further one a byte or two.
///
/// The latest numbers are in `tail`, as variable-length differences (seven bits a byte, the lowest first). Full blocks are moved to
/// `blocks`, so that a search skips them by their first numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct PostingList {
    /// The first number of the tail.
    tail_first: u64,
    last: u64,
    /// Numbers in the tail: 0 only if the list is empty.
    tail_count: u16,
    tail: SmallVec<[u8; 16]>,
    #[expect(
        clippy::box_collection,
        reason = "most lists have no block, and a list should be small"
    )]
    blocks: Option<Box<Vec<Block>>>,
}

#[derive(Clone, Debug)]
struct Block {
    first: u64,
    bytes: Box<[u8]>,
}

/// A block or the tail, for decoding.
#[derive(Clone, Copy)]
struct Run<'a> {
    first: u64,
    bytes: &'a [u8],
}

impl Run<'_> {
    /// Appends the numbers from the `skip`-th on to `numbers`, until there are `end`.
    fn copy_nth_on(self, mut skip: usize, end: usize, numbers: &mut Vec<u64>) {
        let (mut number, mut bytes) = (self.first, self.bytes.iter().copied());
        while numbers.len() < end {
            if skip == 0 {
                numbers.push(number);
            } else {
                skip -= 1;
            }
            match read_difference(&mut bytes) {
                Some(difference) => number = number.wrapping_add(difference),
                None => return,
            }
        }
    }

    /// Appends the numbers above `after`, up to `until`, to `numbers`.
    fn copy_range(self, after: u64, until: u64, numbers: &mut Vec<u64>) {
        let (mut number, mut bytes) = (self.first, self.bytes.iter().copied());
        numbers.reserve(BLOCK_NUMBERS.min(self.bytes.len() + 1));
        while number <= until {
            if number > after {
                numbers.push(number);
            }
            match read_difference(&mut bytes) {
                Some(difference) => number = number.wrapping_add(difference),
                None => return,
            }
        }
    }

    fn numbers(self) -> Numbers<impl Iterator<Item = u8>> {
        Numbers {
            next: Some(self.first),
            bytes: self.bytes.iter().copied(),
        }
    }
}

struct Numbers<I> {
    next: Option<u64>,
    bytes: I,
}

impl<I: Iterator<Item = u8>> Iterator for Numbers<I> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let number = self.next?;
        self.next = read_difference(&mut self.bytes).map(|difference| number.wrapping_add(difference));
        Some(number)
    }
}

#[inline]
fn read_difference(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let first = bytes.next()?;
    let mut difference = u64::from(first & 0x7f);
    let mut more = first & 0x80 != 0;
    let mut shift = 7;
    while more {
        let byte = bytes.next()?;
        difference |= u64::from(byte & 0x7f) << shift;
        more = byte & 0x80 != 0;
        shift += 7;
    }
    Some(difference)
}

impl PostingList {
    /// Appends a number greater than the last.
    #[inline]
    pub(crate) fn push(&mut self, number: u64) {
        debug_assert!(self.is_empty() || number > self.last, "{number} follows {}", self.last);
        let goes_on = !usize::from(self.tail_count).is_multiple_of(BLOCK_NUMBERS);
        if goes_on {
            self.write_difference(number - self.last);
        } else {
            self.begin_tail(number);
        }
        self.last = number;
        self.tail_count += 1;
    }

    /// Appends `count` consecutive numbers from `first` on, which is greater than the last.
    #[inline]
    pub(crate) fn push_run(&mut self, first: u64, count: u64) {
        self.push(first);
        if count > 1 {
            self.go_on_to(first + count);
        }
    }

    /// Appends the numbers after the last, up to the one before `end`.
    fn go_on_to(&mut self, end: u64) {
        while self.last + 1 < end {
            let room = BLOCK_NUMBERS as u64 - u64::from(self.tail_count);
            let more = room.min(end - 1 - self.last);
            if more == 0 {
                self.push(self.last + 1);
                continue;
            }
            // At most one block.
            self.tail.resize(self.tail.len() + more as usize, 1);
            self.tail_count += more as u16;
            self.last += more;
        }
    }

    #[inline]
    fn write_difference(&mut self, difference: u64) {
        if difference < 0x80 {
            self.tail.push(difference as u8);
        } else {
            self.write_long_difference(difference);
        }
    }

    fn write_long_difference(&mut self, mut difference: u64) {
        while difference >= 0x80 {
            self.tail.push((difference & 0x7f) as u8 | 0x80);
            difference >>= 7;
        }
        self.tail.push(difference as u8);
    }

    /// Starts a new tail with `number`, and moves a full one to the blocks.
    #[cold]
    fn begin_tail(&mut self, number: u64) {
        if self.tail_count > 0 {
            self.set_tail_aside();
        }
        self.tail_first = number;
    }

    fn set_tail_aside(&mut self) {
        let block = Block {
            first: self.tail_first,
            bytes: self.tail.as_slice().into(),
        };
        self.blocks.get_or_insert_default().push(block);
        self.tail.clear();
        self.tail_count = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tail_count == 0
    }

    pub(crate) fn len(&self) -> u64 {
        (self.blocks().len() * BLOCK_NUMBERS) as u64 + u64::from(self.tail_count)
    }

    /// The greatest number, if there is one.
    pub(crate) fn last(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.last)
    }

    fn blocks(&self) -> &[Block] {
        self.blocks.as_deref().map_or(&[], Vec::as_slice)
    }

    fn run(&self, place: usize) -> Option<Run<'_>> {
        match self.blocks().get(place) {
            Some(block) => Some(Run {
                first: block.first,
                bytes: &block.bytes,
            }),
            None if place == self.blocks().len() && self.tail_count > 0 => Some(Run {
                first: self.tail_first,
                bytes: &self.tail,
            }),
            None => None,
        }
    }

    fn runs_from(&self, place: usize) -> impl Iterator<Item = Run<'_>> {
        (place..=self.blocks().len()).map_while(|place| self.run(place))
    }

    /// The run that has the first number above `after`, or the run before it.
    fn place_after(&self, after: u64) -> usize {
        if self.tail_count > 0 && self.tail_first <= after {
            return self.blocks().len();
        }
        self.blocks()
            .partition_point(|block| block.first <= after)
            .saturating_sub(1)
    }

    /// The numbers above `after`, up to `until`.
    pub(crate) fn range(&self, after: u64, until: u64) -> impl Iterator<Item = u64> {
        self.runs_from(self.place_after(after))
            .take_while(move |run| run.first <= until)
            .flat_map(Run::numbers)
            .skip_while(move |number| *number <= after)
            .take_while(move |number| *number <= until)
    }

    /// Appends the numbers above `after`, up to `until`, to `numbers`.
    pub(crate) fn copy_range(&self, after: u64, until: u64, numbers: &mut Vec<u64>) {
        for run in self
            .runs_from(self.place_after(after))
            .take_while(|run| run.first <= until)
        {
            run.copy_range(after, until, numbers);
        }
    }

    /// Appends up to `count` numbers from the `skip`-th on, counting from 0, to `numbers`.
    pub(crate) fn copy_nth_on(&self, skip: u64, count: usize, numbers: &mut Vec<u64>) {
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let (mut skip, place) = (skip % BLOCK_NUMBERS, skip / BLOCK_NUMBERS);
        let end = numbers.len().saturating_add(count);
        for run in self.runs_from(place) {
            run.copy_nth_on(skip, end, numbers);
            skip = 0;
            if numbers.len() == end {
                break;
            }
        }
    }

    /// The numbers from the `skip`-th on, counting from 0.
    pub(crate) fn nth_on(&self, skip: u64) -> impl Iterator<Item = u64> {
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.runs_from(skip / BLOCK_NUMBERS)
            .flat_map(Run::numbers)
            .skip(skip % BLOCK_NUMBERS)
    }

    /// An upper bound of the count of numbers above `after`, up to `until`: counted by whole blocks.
    pub(crate) fn count_at_most(&self, after: u64, until: u64) -> u64 {
        if self.is_empty() || self.last <= after {
            return 0;
        }
        let first = self.place_after(after);
        let end = self.runs_from(first).take_while(|run| run.first <= until).count();
        self.len().min((end * BLOCK_NUMBERS) as u64)
    }

    /// Number of the numbers up to `until`.
    pub(crate) fn count_up_to(&self, until: u64) -> u64 {
        if self.is_empty() || self.last <= until {
            return self.len();
        }
        let place = self.place_after(until);
        let up_to = |run: Run<'_>| run.numbers().take_while(|number| *number <= until).count();
        (place * BLOCK_NUMBERS + self.run(place).map_or(0, up_to)) as u64
    }

    /// The greatest number up to `until`.
    pub(crate) fn last_up_to(&self, until: u64) -> Option<u64> {
        if let Some(last) = self.last().filter(|last| *last <= until) {
            return Some(last);
        }
        let run = self.run(self.place_after(until))?;
        run.numbers().take_while(|number| *number <= until).last()
    }

    /// Keeps the `candidates`, which are ascending, that are in the list.
    pub(crate) fn retain_common(&self, candidates: &mut Vec<u64>) {
        let Some((&lowest, &highest)) = candidates.first().zip(candidates.last()) else {
            return;
        };
        let dense = self.count_at_most(lowest.saturating_sub(1), highest) <= candidates.len() as u64 * 16;
        if dense {
            self.retain_by_merging(candidates, lowest, highest);
        } else {
            self.retain_by_seeking(candidates);
        }
    }

    fn retain_by_merging(&self, candidates: &mut Vec<u64>, lowest: u64, highest: u64) {
        let mut numbers = self.range(lowest.saturating_sub(1), highest).peekable();
        candidates.retain(|candidate| {
            while numbers.next_if(|number| number < candidate).is_some() {}
            numbers.peek() == Some(candidate)
        });
    }

    fn retain_by_seeking(&self, candidates: &mut Vec<u64>) {
        candidates.retain(|candidate| self.contains(*candidate));
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        number <= self.last
            && self
                .run(self.place_after(number))
                .is_some_and(|run| run.numbers().take_while(|candidate| *candidate <= number).last() == Some(number))
    }

    /// Drops whole blocks of numbers up to `floor`. This changes the indexes of the remaining numbers.
    pub(crate) fn drop_to(&mut self, floor: u64) {
        if !self.is_empty() && self.last <= floor {
            *self = Self::default();
            return;
        }
        let Some(blocks) = self.blocks.as_mut() else {
            return;
        };
        let keep = blocks.partition_point(|block| block.first <= floor).saturating_sub(1);
        blocks.drain(..keep);
    }

    /// Releases unused capacity.
    pub(crate) fn shrink(&mut self) {
        self.tail.shrink_to_fit();
        if let Some(blocks) = self.blocks.as_mut() {
            blocks.shrink_to_fit();
        }
    }

    /// Bytes allocated outside the list itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        let tail = if self.tail.spilled() { self.tail.capacity() } else { 0 };
        let blocks = self.blocks.as_deref().map_or(0, |blocks| {
            size_of::<Vec<Block>>() + blocks.capacity() * size_of::<Block>()
        });
        tail + blocks + self.blocks().iter().map(|block| block.bytes.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(differences: &[u64]) -> (PostingList, Vec<u64>) {
        let mut list = PostingList::default();
        let mut numbers = Vec::new();
        let mut number = 0;
        for difference in differences {
            number += difference;
            list.push(number);
            numbers.push(number);
        }
        (list, numbers)
    }

    fn differences() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(prop_oneof![1..3u64, 1..300u64, 1..1u64 << 40], 0..1200)
    }

    proptest! {
        #[test]
        fn a_run_is_its_numbers_one_by_one(runs in prop::collection::vec((1..400u64, 1..700u64), 0..9)) {
            let (mut list, mut one_by_one) = (PostingList::default(), PostingList::default());
            let mut next = 0;
            for (gap, count) in runs {
                list.push_run(next + gap, count);
                (next + gap..next + gap + count).for_each(|number| one_by_one.push(number));
                next += gap + count;
            }
            prop_assert_eq!(format!("{list:?}"), format!("{one_by_one:?}"));
        }

        #[test]
        fn a_range_is_what_a_vector_says(differences in differences(), a in 0..1usize << 20, b in 0..1usize << 20, shift in 0..3u64) {
            let (list, numbers) = list(&differences);
            let pick = |at: usize| numbers.get(at % (numbers.len() + 1)).copied().unwrap_or(u64::MAX);
            let (after, until) = (pick(a).saturating_sub(shift), pick(b).saturating_sub(1));
            let want: Vec<_> = numbers.iter().copied().filter(|n| *n > after && *n <= until).collect();
            prop_assert_eq!(list.range(after, until).collect::<Vec<_>>(), want.clone());
            let mut copied = vec![7];
            list.copy_range(after, until, &mut copied);
            prop_assert_eq!(&copied[1..], &want);
            prop_assert!(list.count_at_most(after, until) >= want.len() as u64);
            for until in [0, after, until, u64::MAX] {
                let want: Vec<_> = numbers.iter().copied().filter(|number| *number <= until).collect();
                prop_assert_eq!((list.count_up_to(until), list.last_up_to(until)), (want.len() as u64, want.last().copied()));
            }
        }

        #[test]
        fn the_nth_is_what_a_vector_says(differences in differences(), skip in 0..1300usize) {
            let (list, numbers) = list(&differences);
            let want: Vec<_> = numbers.iter().copied().skip(skip).collect();
            prop_assert_eq!(list.nth_on(skip as u64).collect::<Vec<_>>(), &want[..]);
            for count in [0, 1, 300, usize::MAX] {
                let mut copied = vec![7];
                list.copy_nth_on(skip as u64, count, &mut copied);
                prop_assert_eq!(&copied[1..], &want[..want.len().min(count)]);
            }
            prop_assert_eq!(list.len(), numbers.len() as u64);
            prop_assert_eq!(list.last(), numbers.last().copied());
        }

        #[test]
        fn common_numbers_are_what_a_vector_says(differences in differences(), step in 1..40usize, shift in 0..2u64) {
            let (list, numbers) = list(&differences);
            let mut candidates: Vec<_> = numbers.iter().step_by(step).map(|n| n + shift).collect();
            let want: Vec<_> = candidates.iter().copied().filter(|n| numbers.binary_search(n).is_ok()).collect();
            list.retain_common(&mut candidates);
            prop_assert_eq!(candidates, want);
        }

        #[test]
        fn dropping_keeps_what_is_above(differences in differences(), at in 0..1200usize) {
            let (mut list, numbers) = list(&differences);
            let floor = numbers.get(at).copied().unwrap_or(0);
            list.drop_to(floor);
            let want: Vec<_> = numbers.into_iter().filter(|n| *n > floor).collect();
            prop_assert_eq!(list.range(floor, u64::MAX).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn a_list_is_small() {
        assert!(size_of::<PostingList>() <= 64);
    }
}
