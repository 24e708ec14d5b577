//! The parts of the journal that can be compacted, in memory: each is in one bucket of positions.

use annals::journal::{Batch, Part};

use crate::purged::{bucket, bucket_end};

#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    all: Vec<Part>,
    /// Whether the last part gets the next events of its bucket.
    is_open: bool,
}

impl Parts {
    /// Adds the next part, to the open one if both are in one bucket.
    pub(crate) fn add(&mut self, part: Part) {
        let is_open = self.is_open;
        match self.all.last_mut() {
            Some(last) if is_open && bucket(last.first.0) == bucket(part.first.0) => {
                last.last = part.last;
                last.events += part.events;
                last.bytes += part.bytes;
            }
            _ => self.all.push(part),
        }
        self.is_open = part.last.0 < bucket_end(part.last.0);
    }

    /// Adds a batch, whose documents have these positions and bytes.
    pub(crate) fn add_batch(&mut self, batch: &Batch, sizes: impl Iterator<Item = (u64, usize)>) {
        let (mut piece, mut bytes) = (Batch::new(), 0);
        for (event, (position, size)) in batch.events().zip(sizes) {
            piece.push_ref(event);
            bytes += size as u64;
            if position == bucket_end(position) {
                self.add(Part::of(&piece, bytes));
                (piece, bytes) = (Batch::new(), 0);
            }
        }
        if !piece.is_empty() {
            self.add(Part::of(&piece, bytes));
        }
    }

    pub(crate) fn seal(&mut self) {
        self.is_open = false;
    }

    pub(crate) fn sealed(&self) -> Vec<Part> {
        let count = self.all.len() - usize::from(self.is_open);
        self.all[..count].to_vec()
    }

    /// The sealed part with these ends.
    pub(crate) fn find(&mut self, part: &Part) -> Option<&mut Part> {
        let count = self.all.len() - usize::from(self.is_open);
        let mut sealed = self.all[..count].iter_mut();
        sealed.find(|known| known.first == part.first && known.last == part.last)
    }
}
