//! Reads every readable batch, also after damage, and records the damage.

use std::io;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::damage::{Damage, Verification};
use super::disk::Disk;
use super::errors::unreadable;
use super::format::{ALIGNMENT, FrameHeader, HeadRecord, SEGMENT_HEADER_BYTES};
use super::head::{self, End};
use super::recover::{is_damage, may_be_torn};
use super::scan::{Block, Cause, Next, Scan, Stop, end_of_bytes};
use super::sources::{self, Source, Sources};
use crate::event::system;
use crate::journal::{Batch, JournalError, Mark, replay};
use crate::{EventRef, Position};

/// The most places of damage that are listed; further ones are counted.
const LISTED_MAX: usize = 10_000;

/// Receives the readable batches.
pub(super) trait Take {
    /// Takes the next batch. Positions between two batches are lost.
    fn batch(&mut self, batch: &Batch) -> Result<(), JournalError>;
}

/// The result of a walk.
pub(super) struct Walked {
    pub(super) found: Verification,
    /// The position after the last one that is readable or known to have existed.
    pub(super) next: u64,
}

/// Reads a directory from the first segment to the last.
pub(super) struct Walk<'a> {
    disk: &'a dyn Disk,
    head: Option<HeadRecord>,
    /// The damage of the file `head`.
    head_fault: Option<String>,
    taker: &'a mut dyn Take,
    progress: &'a mut dyn FnMut(u64, u64),
    /// The position that is expected next.
    position: u64,
    open: Option<Open>,
    /// The current version of each aggregate.
    versions: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    /// The size of the segments before this one.
    done: u64,
    found: Verification,
}

/// The first damage since the last readable event. The positions that it lost are not known yet.
struct Open {
    /// Its index in the list; `None` if it is only counted.
    listed: Option<usize>,
    /// The expected position.
    from: u64,
}

/// The versions of aggregates before a batch.
type Before = SmallVec<[(Box<str>, u32); 8]>;

/// Whether the walk continues in a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Away,
}

impl<'a> Walk<'a> {
    /// # Errors
    ///
    /// [`Retry`](crate::journal::JournalErrorKind::Retry) when the file `head` is not readable for this user.
    pub(super) fn new(
        disk: &'a dyn Disk,
        taker: &'a mut dyn Take,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Result<Self, JournalError> {
        let (head, head_fault) = match head::read(disk) {
            Ok(head) => (head, None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(unreadable(disk, head::NAME, error));
            }
            Err(error) => (None, Some(head::unread(&error))),
        };
        Ok(Self {
            disk,
            head,
            head_fault,
            taker,
            progress,
            position: 1,
            open: None,
            versions: HashMap::default(),
            done: 0,
            found: Verification::default(),
        })
    }

    /// Reads all segments.
    pub(super) fn run(mut self) -> Result<Walked, JournalError> {
        let Sources { all, unborn } = sources::sources(self.disk)?;
        self.found.segments = all.len() as u64 + u64::from(unborn);
        self.found.bytes = all.iter().map(|source| source.length).sum();
        if let Some(fault) = self.head_fault.take() {
            self.note_file(head::NAME, 0, fault);
            // A damaged head loses no event.
            self.lose_to(0);
        }
        for source in &all {
            self.segment(source)?;
            self.done += source.length;
            (self.progress)(self.done, self.found.bytes);
        }
        self.check_end(all.last());
        Ok(Walked {
            found: self.found,
            next: self.position,
        })
    }

    /// Records data that the head lists after the last segment.
    fn check_end(&mut self, last: Option<&Source>) {
        let Some(head) = self.head else { return };
        let end = last.map(|last| End {
            store: last.header.store,
            segment: last.header.first,
            position: self.position - 1,
        });
        if let Some(missing) = head::missing(&head, end) {
            self.note_file(&missing.name, 0, missing.what);
            if end.is_none_or(|end| end.store == head.store) {
                self.lose_to(head.synced.max(head.segment - 1));
            }
        }
    }

    fn segment(&mut self, source: &Source) -> Result<(), JournalError> {
        if let Some(fault) = &source.fault {
            self.note(source, 0, fault.clone());
        }
        if !source.is_readable {
            return Ok(());
        }
        let opened = self.disk.open(&source.name);
        let mut scan = match opened.and_then(|file| Scan::new(file, &source.header)) {
            Ok(scan) => scan,
            Err(error) => return self.broken(source, 0, error).map(|_| ()),
        };
        let mut go = self.begin(source, &mut scan)?;
        while go == Go::On {
            go = self.step(source, &mut scan)?;
        }
        Ok(())
    }

    /// Moves to the first frame of a segment, or, when the segment is not the expected one, to its first usable frame.
    fn begin(&mut self, source: &Source, scan: &mut Scan) -> Result<Go, JournalError> {
        let first = source.header.first;
        if source.fault.is_none() && first >= self.position {
            self.arrive(source, 0, first, "a segment is missing before it");
            return Ok(Go::On);
        }
        if source.fault.is_none() {
            let what = format!("it starts with position {first}, which an earlier segment contains");
            self.note(source, 0, what);
        }
        // The search starts after this offset, and the first frame must be included.
        self.resume(source, scan, SEGMENT_HEADER_BYTES as u64 - ALIGNMENT)
    }

    /// Reads the next block of a segment.
    fn step(&mut self, source: &Source, scan: &mut Scan) -> Result<Go, JournalError> {
        let offset = scan.offset();
        match scan.next() {
            Err(error) => self.broken(source, offset, error),
            Ok(Next::End) => Ok(Go::Away),
            Ok(Next::Stop(stop)) => self.stop(source, scan, stop),
            Ok(Next::Block(block)) => {
                let go = self.block(source, scan, &block)?;
                (self.progress)(self.done + scan.offset(), self.found.bytes);
                Ok(go)
            }
        }
    }

    /// Records damage, unless it is a torn end, and resumes after it.
    fn stop(&mut self, source: &Source, scan: &mut Scan, stop: Stop) -> Result<Go, JournalError> {
        if self.is_torn(source, scan, &stop)? {
            return Ok(Go::Away);
        }
        self.note(source, stop.offset, stop.what);
        self.resume(source, scan, stop.offset)
    }

    /// Resumes at the first usable batch after `offset`, if there is one.
    fn resume(&mut self, source: &Source, scan: &mut Scan, offset: u64) -> Result<Go, JournalError> {
        match scan.resume(offset, self.position, source.until) {
            Ok(true) => {
                self.arrive(source, scan.offset(), scan.position(), "positions are missing");
                Ok(Go::On)
            }
            Ok(false) => Ok(Go::Away),
            Err(error) => self.broken(source, offset, error),
        }
    }

    /// Reads the batches of a block.
    fn block(&mut self, source: &Source, scan: &Scan, block: &Block) -> Result<Go, JournalError> {
        for group in block.groups() {
            let mut batch = Batch::new();
            let decoded = block.decode_group(&group, &mut batch);
            if let Err(stop) = decoded.and_then(|()| self.check(&batch, &group, block)) {
                if self.is_torn(source, scan, &stop)? {
                    return Ok(Go::Away);
                }
                self.note(source, stop.offset, stop.what);
                self.lose_to(group.last().map_or(0, |(header, _)| header.last));
                continue;
            }
            if !batch.is_empty() {
                self.position = batch.last_position().0 + 1;
                self.found.events += batch.len() as u64;
                self.count_system(&batch);
                self.found.events_gone += batch.skipped();
                self.found.position = batch.last_position();
                self.taker.batch(&batch)?;
            }
        }
        Ok(Go::On)
    }

    /// Counts the system events.
    fn count_system(&mut self, batch: &Batch) {
        for event in batch.events().filter(|event| event.is_system()) {
            self.found.events_system += 1;
            self.found.events_lost_before += u64::from(event.event_type() == system::LOST);
        }
    }

    /// Checks the batch by the rules of recovery.
    fn check(&mut self, batch: &Batch, group: &[(FrameHeader, usize)], block: &Block) -> Result<(), Stop> {
        let mut before = Before::new();
        if let Some(what) = self.check_events(batch, &mut before) {
            for (id, version) in before.into_iter().rev() {
                self.versions.insert(id, version);
            }
            let (header, offset) = group[0];
            return Err(Stop {
                offset: block.offset + offset as u64,
                position: header.first,
                what,
                cause: Cause::Damage,
            });
        }
        Ok(())
    }

    fn check_events(&mut self, batch: &Batch, before: &mut Before) -> Option<String> {
        let mut marks = batch.marks().iter().peekable();
        for event in batch.events() {
            while let Some(mark) = marks.next_if(|mark| mark.position < event.position()) {
                if let Some(what) = self.check_mark(mark, before) {
                    return Some(what);
                }
            }
            if let Some(what) = self.check_event(event, before) {
                return Some(what);
            }
        }
        marks.find_map(|mark| self.check_mark(mark, before))
    }

    fn check_mark(&mut self, mark: &Mark, before: &mut Before) -> Option<String> {
        let id = &mark.aggregate_id;
        let version = replay::check_mark(mark, self.version(id));
        version.map(|version| self.pass(id, version, before)).err()
    }

    fn check_event(&mut self, event: EventRef<'_>, before: &mut Before) -> Option<String> {
        let id = event.aggregate_id();
        let told = replay::check(event, self.version(id));
        told.map(|_| self.pass(id, event.raw_version(), before)).err()
    }

    /// The version of an aggregate until now.
    fn version(&self, id: &str) -> u32 {
        self.versions.get(id).copied().unwrap_or(0)
    }

    /// Advances an aggregate to a version.
    fn pass(&mut self, id: &str, version: u32, before: &mut Before) {
        let known = self.versions.insert(id.into(), version);
        before.push((id.into(), known.unwrap_or(0)));
    }

    /// Whether a crash caused a stop: then it is not damage, and the segment ends there.
    fn is_torn(&mut self, source: &Source, scan: &Scan, stop: &Stop) -> Result<bool, JournalError> {
        let may_be_torn = source.is_last && may_be_torn(source.header.first, stop, self.head.as_ref());
        if is_damage(self.disk, &source.name, stop, may_be_torn, || {
            Ok(scan.synced()? >= stop.position)
        })? {
            return Ok(false);
        }
        let unreadable = |error| unreadable(self.disk, &source.name, error);
        let file = self.disk.open(&source.name).map_err(unreadable)?;
        let end = end_of_bytes(&*file, stop.offset).map_err(unreadable)?;
        self.found.torn_tail_bytes = end - stop.offset;
        Ok(true)
    }

    /// Records a file that fails while it is read.
    fn broken(&mut self, source: &Source, offset: u64, error: io::Error) -> Result<Go, JournalError> {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Err(unreadable(self.disk, &source.name, error));
        }
        self.note(source, offset, format!("it cannot be read: {error}"));
        Ok(Go::Away)
    }

    /// Records damage whose extent is not known yet.
    fn note(&mut self, source: &Source, offset: u64, what: String) {
        self.note_file(&source.name, offset, what);
    }

    fn note_file(&mut self, name: &str, offset: u64, what: String) {
        let is_first = self.open.is_none();
        let listed = (self.found.damage.len() < LISTED_MAX).then_some(self.found.damage.len());
        if listed.is_some() {
            self.found.damage.push(Damage {
                file: self.disk.path(name),
                offset,
                first: is_first.then_some(Position(self.position)),
                last: None,
                what,
            });
        } else {
            self.found.damage_not_listed += 1;
        }
        let from = self.position;
        self.open.get_or_insert(Open { listed, from });
    }

    /// Continues at `position`: the positions before it are lost by the damage recorded last.
    fn arrive(&mut self, source: &Source, offset: u64, position: u64, what: &str) {
        if position > self.position && self.open.is_none() {
            let should = self.position;
            let what = format!("it continues with position {position}, and position {should} is expected: {what}");
            self.note(source, offset, what);
        }
        self.lose_to(position - 1);
    }

    /// Records the expected positions up to `last` as lost.
    fn lose_to(&mut self, last: u64) {
        self.position = self.position.max(last + 1);
        let Some(Open { listed, from }) = self.open.take() else {
            return;
        };
        self.found.positions_lost += self.position - from;
        if let Some(damage) = listed.and_then(|place| self.found.damage.get_mut(place)) {
            let is_lost = self.position > from;
            damage.first = damage.first.filter(|_| is_lost);
            damage.last = is_lost.then(|| Position(self.position - 1));
        }
    }
}
