//! Archives and the journal they were taken from, read as one.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::{Batch, Journal, JournalError, JournalErrorKind, Mark, Recover, Recovered};
use crate::event::system::{self, Change, SystemEvent};
use crate::{Durability, EventRef, GapReason, Name, Position};

/// Events that were moved out of a store, to be read together with it.
#[derive(Clone, Debug)]
pub struct Archive {
    name: Name,
    batches: Vec<Batch>,
}

impl Archive {
    /// The archive of this name, as [`Store::archive`](crate::Store::archive) was told, with its events in the order of positions.
    pub fn new(name: impl Into<Name>, batches: Vec<Batch>) -> Self {
        Self {
            name: name.into(),
            batches,
        }
    }

    /// Reads the archive that is in a journal: one that [`file::ArchiveWriter`](super::file::ArchiveWriter) has written.
    ///
    /// # Errors
    ///
    /// Those of the journal.
    pub fn read(name: impl Into<Name>, journal: &mut dyn Journal) -> Result<Self, JournalError> {
        let mut taken = Taken(Vec::new());
        journal.recover(&mut taken)?;
        Ok(Self::new(name, taken.0))
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.batches.iter().map(Batch::len).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

struct Taken(Vec<Batch>);

impl Recover for Taken {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        self.0.push(batch);
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

/// A journal with archives in their place again. It can be read, and not written to.
#[derive(Debug)]
pub(crate) struct Attached {
    journal: Box<dyn Journal>,
    archives: Vec<Archive>,
}

impl Attached {
    pub(crate) fn new(journal: Box<dyn Journal>, archives: Vec<Archive>) -> Self {
        Self { journal, archives }
    }
}

impl Journal for Attached {
    fn durability(&self) -> Durability {
        self.journal.durability()
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let mut archived = BTreeMap::new();
        for archive in &self.archives {
            for event in archive.batches.iter().flat_map(Batch::events) {
                archived.insert(event.position().0, event);
            }
        }
        let names = self.archives.iter().map(|archive| archive.name.clone()).collect();
        let mut merging = Merging {
            into,
            archived,
            names,
            last: 0,
        };
        let recovered = self.journal.recover(&mut merging)?;
        merging.check_end()?;
        Ok(recovered)
    }

    fn write(&mut self, _: &Batch) -> Result<(), JournalError> {
        Err(read_only())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        Err(read_only())
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        self.journal.close()
    }
}

fn read_only() -> JournalError {
    JournalError::new(
        JournalErrorKind::Unsupported,
        "archives are attached: the store can only be read",
    )
}

/// Puts archived events back in the place of those that are gone.
struct Merging<'a> {
    into: &'a mut dyn Recover,
    archived: BTreeMap<u64, EventRef<'a>>,
    names: HashSet<Name, foldhash::fast::RandomState>,
    last: u64,
}

impl Recover for Merging<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut merged = Batch::new();
        let mut next = batch.first_position().0;
        for event in batch.events() {
            let position = event.position().0;
            self.fill(&mut merged, next, position);
            self.add(&mut merged, event)?;
            next = position + 1;
        }
        self.last = batch.last_position().0;
        self.fill(&mut merged, next, self.last + 1);
        let is_gone = |mark: &&Mark| !self.archived.contains_key(&mark.position.0);
        for mark in batch.marks().iter().filter(is_gone) {
            merged.push_mark(mark.clone());
        }
        for gap in batch.gaps().iter().filter(|gap| !self.is_attached(&gap.reason)) {
            merged.push_gap(gap.clone());
        }
        self.into.batch(merged)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.into.progress(done, total);
    }
}

impl Merging<'_> {
    /// The positions from `first` to before `end`, whose events are archived or gone.
    fn fill(&self, merged: &mut Batch, first: u64, end: u64) {
        let mut next = first;
        for (position, event) in self.archived.range(first..end) {
            skip(merged, next, *position);
            merged.push_ref(*event);
            next = position + 1;
        }
        skip(merged, next, end);
    }

    /// An event that the journal has. That it was archived is not told again: it is here.
    fn add(&self, merged: &mut Batch, event: EventRef<'_>) -> Result<(), JournalError> {
        let position = event.position().0;
        if let Some(archived) = self
            .archived
            .get(&position)
            .filter(|archived| archived.id() != event.id())
        {
            return Err(JournalError::corrupt(format!(
                "the archive is of another store: position {position} is event {} there, and {} here",
                archived.id(),
                event.id()
            )));
        }
        let told = event.is_system().then(|| system::parse(event)).flatten();
        if let Some(SystemEvent::Changed {
            change: Change::Archive { archive, .. },
            ..
        }) = told
            && self.names.contains(&archive)
        {
            skip(merged, position, position + 1);
        } else {
            merged.push_ref(event);
        }
        Ok(())
    }

    fn is_attached(&self, reason: &GapReason) -> bool {
        matches!(reason, GapReason::Archived(name) if self.names.contains(name))
    }

    fn check_end(&self) -> Result<(), JournalError> {
        match self.archived.keys().next_back() {
            Some(position) if *position > self.last => Err(JournalError::corrupt(format!(
                "the archive is of another store: it has position {position}, and the store ends with {}",
                self.last
            ))),
            _ => Ok(()),
        }
    }
}

fn skip(merged: &mut Batch, first: u64, end: u64) {
    if end > first {
        merged.skip(Position(first), Position(end - 1));
    }
}
