//! Reading everything that can be read, behind damage too, and noting what cannot.

use std::io;

use hashbrown::HashMap;
use smallvec::SmallVec;
use uuid::Uuid;

use super::disk::Disk;
use super::errors::unreadable;
use super::format::{FrameHeader, SEGMENT_HEADER_BYTES};
use super::recover::is_damage;
use super::scan::{Block, Cause, Next, Scan, Stop, end_of_bytes};
use super::sources::{self, Source};
use super::verify::{Damage, Verification};
use crate::journal::{Batch, JournalError, system};
use crate::{EventRef, Position};

/// Places of damage that are listed; others are counted.
const LISTED_MAX: usize = 10_000;

/// Who takes the batches that can be read.
pub(super) trait Take {
    /// Takes the next batch. Positions before it that were not handed out are lost.
    fn batch(&mut self, batch: &Batch) -> Result<(), JournalError>;
}

/// Reads a folder from its front to its end.
pub(super) struct Walk<'a> {
    disk: &'a dyn Disk,
    taker: &'a mut dyn Take,
    progress: &'a mut dyn FnMut(u64, u64),
    /// The position that should come next.
    position: u64,
    /// The last damage, if nobody knows yet which positions were lost, and the position that should have come then.
    open: Option<(Option<usize>, u64)>,
    versions: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    /// Bytes of the segments before this one.
    done: u64,
    found: Verification,
}

/// Whether the walk goes on in a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Away,
}

impl<'a> Walk<'a> {
    pub(super) fn new(disk: &'a dyn Disk, taker: &'a mut dyn Take, progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        Self {
            disk,
            taker,
            progress,
            position: 1,
            open: None,
            versions: HashMap::default(),
            done: 0,
            found: Verification::default(),
        }
    }

    /// Reads everything. Answers what was found, and the position after the last that is known to have been there.
    pub(super) fn run(mut self) -> Result<(Verification, u64), JournalError> {
        let (sources, store) = sources::sources(self.disk)?;
        self.found.segments = sources.len() as u64;
        self.found.bytes = sources.iter().map(|source| source.length).sum();
        for (place, source) in sources.iter().enumerate() {
            let later = &sources[place + 1..];
            let until = later.iter().find(|source| source.is_readable);
            let reach = Reach {
                until: until.map_or(u64::MAX, |next| next.header.first),
                is_last: later.is_empty(),
            };
            self.segment(source, store, reach)?;
            self.done += source.length;
            (self.progress)(self.done, self.found.bytes);
        }
        Ok((self.found, self.position))
    }

    fn segment(&mut self, source: &Source, store: Uuid, reach: Reach) -> Result<(), JournalError> {
        if let Some(fault) = &source.fault {
            self.note(source, 0, fault.clone());
        }
        if !source.is_readable {
            return Ok(());
        }
        let read = |source: &Source| -> io::Result<Scan> {
            let header = super::SegmentHeader { store, ..source.header };
            Scan::new(self.disk.open(&source.name)?, &header)
        };
        match read(source) {
            Ok(scan) => self.frames(source, scan, reach),
            Err(error) => self.broken(source, 0, error),
        }
    }

    fn frames(&mut self, source: &Source, mut scan: Scan, reach: Reach) -> Result<(), JournalError> {
        let begins = source.fault.is_none() && source.header.first >= self.position;
        if begins {
            self.arrive(source, 0, source.header.first, "a segment is missing before it");
        } else {
            if source.fault.is_none() {
                self.note(
                    source,
                    0,
                    format!("it begins with position {}, which came before", source.header.first),
                );
            }
            // One before where the frames begin, so that the first of them counts.
            let front = SEGMENT_HEADER_BYTES as u64 - 8;
            if !self.resume(source, &mut scan, front, reach)? {
                return Ok(());
            }
        }
        loop {
            let offset = scan.offset();
            let go = match scan.next() {
                Err(error) => return self.broken(source, offset, error),
                Ok(Next::End) => return Ok(()),
                Ok(Next::Block(block)) => {
                    let go = self.block(source, &scan, &block, reach)?;
                    (self.progress)(self.done + scan.offset(), self.found.bytes);
                    go
                }
                Ok(Next::Stop(stop)) => self.stop(source, &mut scan, stop, reach)?,
            };
            if go == Go::Away {
                return Ok(());
            }
        }
    }

    /// Notes damage, unless it is where a crash has torn the end, and looks for what can be read behind it.
    fn stop(&mut self, source: &Source, scan: &mut Scan, stop: Stop, reach: Reach) -> Result<Go, JournalError> {
        let offset = stop.offset;
        if self.is_torn(source, scan, &stop, reach)? {
            return Ok(Go::Away);
        }
        self.note(source, offset, stop.what);
        let goes_on = self.resume(source, scan, offset, reach)?;
        Ok(if goes_on { Go::On } else { Go::Away })
    }

    fn resume(&mut self, source: &Source, scan: &mut Scan, offset: u64, reach: Reach) -> Result<bool, JournalError> {
        match scan.resume(offset, self.position, reach.until) {
            Ok(true) => {
                self.arrive(source, scan.offset(), scan.position(), "positions are missing");
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => self.broken(source, offset, error).map(|()| false),
        }
    }

    /// The batches of a block.
    fn block(&mut self, source: &Source, scan: &Scan, block: &Block, reach: Reach) -> Result<Go, JournalError> {
        for group in block.groups() {
            let mut batch = Batch::new();
            let decoded = block.decode_group(&group, &mut batch);
            if let Err(stop) = decoded.and_then(|()| self.check(&batch, &group, block)) {
                if self.is_torn(source, scan, &stop, reach)? {
                    return Ok(Go::Away);
                }
                self.note(source, stop.offset, stop.what);
                self.lose_to(group.last().map_or(0, |(header, _)| header.last));
                continue;
            }
            self.position += batch.len() as u64;
            if !batch.is_empty() {
                self.found.events += batch.len() as u64;
                self.found.position = batch.last_position();
                self.taker.batch(&batch)?;
            }
        }
        Ok(Go::On)
    }

    /// What filling a store with the batch would be refused for.
    fn check(&mut self, batch: &Batch, group: &[(FrameHeader, usize)], block: &Block) -> Result<(), Stop> {
        let mut before: SmallVec<[(Box<str>, u32); 8]> = SmallVec::new();
        for event in batch.events() {
            let Some(what) = self.check_event(event, &mut before) else {
                continue;
            };
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

    fn check_event(&mut self, event: EventRef<'_>, before: &mut SmallVec<[(Box<str>, u32); 8]>) -> Option<String> {
        if event.is_system() && system::parse(event).is_none() {
            return Some(system::unknown(event));
        }
        let id = event.aggregate_id();
        let known = self.versions.get(id).copied().unwrap_or(0);
        if event.raw_version() <= known {
            return Some(system::passed(event, known));
        }
        before.push((id.into(), known));
        self.versions.insert(id.into(), event.raw_version());
        None
    }

    /// Whether a crash has left what reading stopped at: then it is no damage, and nothing comes behind it.
    fn is_torn(&mut self, source: &Source, scan: &Scan, stop: &Stop, reach: Reach) -> Result<bool, JournalError> {
        if is_damage(self.disk, &source.name, stop, reach.is_last, || scan.was_synced(stop))? {
            return Ok(false);
        }
        let unreadable = |error| unreadable(self.disk, &source.name, error);
        let file = self.disk.open(&source.name).map_err(unreadable)?;
        let end = end_of_bytes(&*file, stop.offset).map_err(unreadable)?;
        self.found.torn_tail_bytes = end - stop.offset;
        Ok(true)
    }

    /// Notes a file that cannot be read on.
    fn broken(&mut self, source: &Source, offset: u64, error: io::Error) -> Result<(), JournalError> {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Err(unreadable(self.disk, &source.name, error));
        }
        self.note(source, offset, format!("it cannot be read: {error}"));
        Ok(())
    }

    /// Notes damage whose extent nobody knows yet.
    fn note(&mut self, source: &Source, offset: u64, what: String) {
        let place = (self.found.damage.len() < LISTED_MAX).then_some(self.found.damage.len());
        let is_first = self.open.is_none();
        if place.is_some() {
            self.found.damage.push(Damage {
                file: self.disk.path(&source.name),
                offset,
                first: is_first.then_some(Position(self.position)),
                last: None,
                what,
            });
        } else {
            self.found.damage_not_listed += 1;
        }
        if is_first {
            self.open = Some((place, self.position));
        }
    }

    /// Goes on with the event at `position`: those between are lost, and the damage before has done it.
    fn arrive(&mut self, source: &Source, offset: u64, position: u64, what: &str) {
        if position > self.position && self.open.is_none() {
            let should = self.position;
            self.note(
                source,
                offset,
                format!("it goes on with position {position}, and should with {should}: {what}"),
            );
        }
        self.lose_to(position - 1);
    }

    /// The positions up to `last` that have not come were lost.
    fn lose_to(&mut self, last: u64) {
        self.position = self.position.max(last + 1);
        let Some((place, from)) = self.open.take() else { return };
        self.found.positions_lost += self.position - from;
        if let Some(damage) = place.and_then(|place| self.found.damage.get_mut(place)) {
            let is_lost = self.position > from;
            damage.first = damage.first.filter(|_| is_lost);
            damage.last = is_lost.then(|| Position(self.position - 1));
        }
    }
}

/// How far a segment may go.
#[derive(Clone, Copy)]
struct Reach {
    /// The position that the next segment begins with.
    until: u64,
    is_last: bool,
}
