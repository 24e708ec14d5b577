//! Archives merged with the journal that they were taken from.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::{Batch, Compactor, Journal, JournalError, JournalErrorKind, Mark, Recover, Recovered};
use crate::event::system::{self, Change, SystemEvent};
use crate::{Durability, EventRef, Gap, GapReason, Position};

/// Events that were moved out of a store and can be read together with it.
#[derive(Clone, Debug, Default)]
pub struct Archive(Vec<Batch>);

impl Archive {
    /// Creates an archive from batches in ascending order of positions.
    pub fn new(batches: Vec<Batch>) -> Self {
        Self(batches)
    }

    /// Reads an archive from a journal that [`file::ArchiveWriter`](super::file::ArchiveWriter) wrote.
    ///
    /// # Errors
    ///
    /// Those of the journal.
    pub fn read(journal: &mut dyn Journal) -> Result<Self, JournalError> {
        let mut taken = Taken(Vec::new());
        journal.recover(&mut taken)?;
        Ok(Self(taken.0))
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.0.iter().map(Batch::len).sum()
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn events(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.0.iter().flat_map(Batch::events)
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

/// A journal with the events of archives merged in. It is read-only.
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
        let events = || self.archives.iter().flat_map(Archive::events);
        let mut merging = Merging {
            into,
            archived: events().map(|event| (event.position().0, event)).collect(),
            versions: events()
                .map(|event| (event.aggregate_id(), event.version().0))
                .collect(),
            last: 0,
        };
        check_agree(events())?;
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

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        None
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        self.journal.close()
    }
}

/// Several archives may contain the same event, but not different events at one position.
fn check_agree<'a>(events: impl Iterator<Item = EventRef<'a>>) -> Result<(), JournalError> {
    let mut ids = BTreeMap::new();
    for event in events {
        let other = *ids.entry(event.position().0).or_insert(event.id());
        if other != event.id() {
            return Err(refused(format!(
                "the archives belong to different stores: position {} is event {other} in one, and {} in another",
                event.position(),
                event.id()
            )));
        }
    }
    Ok(())
}

/// The archives and the journal do not belong together. Nothing is damaged.
fn refused(message: String) -> JournalError {
    JournalError::new(JournalErrorKind::Unsupported, message)
}

fn read_only() -> JournalError {
    JournalError::new(
        JournalErrorKind::Unsupported,
        "the store is read-only while archives are attached",
    )
}

/// Puts archived events back in the place of those that are gone.
struct Merging<'a> {
    into: &'a mut dyn Recover,
    archived: BTreeMap<u64, EventRef<'a>>,
    /// Aggregates with the versions that are archived.
    versions: HashSet<(&'a str, u64), foldhash::fast::RandomState>,
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
        for gap in batch.gaps().iter().filter_map(|gap| self.rest_of(gap)) {
            merged.push_gap(gap);
        }
        self.into.batch(merged)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.into.progress(done, total);
    }
}

impl Merging<'_> {
    /// Adds the positions from `first` to `end`, exclusive, whose events are archived or gone.
    fn fill(&self, merged: &mut Batch, first: u64, end: u64) {
        let mut next = first;
        for (position, event) in self.archived.range(first..end) {
            skip(merged, next, *position);
            merged.push_ref(*event);
            next = position + 1;
        }
        skip(merged, next, end);
    }

    /// Adds an event of the journal. A change that archived the merged events is skipped: they are present again.
    fn add(&self, merged: &mut Batch, event: EventRef<'_>) -> Result<(), JournalError> {
        let position = event.position().0;
        if let Some(archived) = self
            .archived
            .get(&position)
            .filter(|archived| archived.id() != event.id())
        {
            return Err(refused(format!(
                "the archive belongs to another store: position {position} is event {} in the archive, and {} in the store",
                archived.id(),
                event.id()
            )));
        }
        if self.is_undone(event) {
            skip(merged, position, position + 1);
        } else {
            merged.push_ref(event);
        }
        Ok(())
    }

    /// Whether an event records the archiving of events that are merged in.
    fn is_undone(&self, event: EventRef<'_>) -> bool {
        let told = event.is_system().then(|| system::parse(event)).flatten();
        let Some(SystemEvent::Changed {
            change: Change::Archive { to_version, .. },
            ..
        }) = told
        else {
            return false;
        };
        let id = event.aggregate_id();
        self.versions.contains(&(system::target(id), to_version))
    }

    /// The gap without the archived events that are merged in; `None` when none is left.
    fn rest_of(&self, gap: &Gap) -> Option<Gap> {
        if !matches!(gap.reason, GapReason::Archived(_)) {
            return Some(gap.clone());
        }
        let back = self.archived.range(gap.first.0..=gap.last.0).count() as u64;
        let count = gap.count.checked_sub(back).filter(|count| *count > 0)?;
        Some(Gap { count, ..gap.clone() })
    }

    fn check_end(&self) -> Result<(), JournalError> {
        match self.archived.keys().next_back() {
            Some(position) if *position > self.last => Err(refused(format!(
                "the archive belongs to another store: it contains position {position}, and the store ends at position {}",
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
