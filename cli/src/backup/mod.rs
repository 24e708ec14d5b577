//! Backups of stores in files, also of one that another process writes: a prefix of whole batches.
//!
//! Sealed segments never change, but for being replaced as a whole by a rewritten one; of the last segment the whole batches at its beginning
//! are copied. Segments are copied in ascending order: a rewritten segment lacks events only because of later events, which are copied later.

mod frames;
mod part;

use std::io;
use std::path::{Path, PathBuf};

use annals::journal::file::{self, Disk, DiskFile, FileReader, Folder, Verification};
use annals::journal::{Batch, Journal as _, JournalError, Recover};
use annals::{Error, Timestamp};

use self::frames::{Head, Segment, walk};
use self::part::Part;
use crate::exit::{Failure, Outcome, of_output};
use crate::interrupt;
use crate::load::progress::Progress;
use crate::watch::watch;

/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Where a backup ends, if not with the store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Position(u64),
    /// What the store had recorded up to this time.
    Time(Timestamp),
}

/// What a backup holds.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) found: Verification,
    /// The last position of the store that was copied, when it was copied; where the backup ends is in `found`.
    pub(crate) reached: u64,
}

/// Copies the store in `from` to the new folder `to`, which appears when it is whole, synced and verified.
pub(crate) fn back_up(from: &Path, to: &Path, until: Option<Until>) -> Outcome<Backup> {
    let source = Folder::existing(from).map_err(|error| Failure::of_input(from, &error))?;
    let part = Part::create(from, to)?;
    let copied = Copy::new(&source, &part, from)?.run(until)?;
    let path = part.path().to_owned();
    let found = watch(&path.clone(), "verified", "no backup was made", move |progress| {
        file::verify(path, progress)
    })?;
    if !found.damage.is_empty() || found.position.0 != copied.last {
        return Err(Failure::Data(format!(
            "the copy of {0} is damaged, and no backup was made; `annals verify {0}` looks at the store when no process writes it",
            from.display()
        )));
    }
    part.keep()?;
    Ok(Backup {
        found,
        reached: copied.reached,
    })
}

/// A copy in the making.
struct Copy<'a> {
    source: &'a Folder,
    from: &'a Path,
    part: &'a Part,
    to: Folder,
    progress: Progress,
    done: u64,
    total: u64,
    buffer: Vec<u8>,
}

/// A copied segment.
struct Copied {
    segment: Segment,
    name: String,
    file: Box<dyn DiskFile>,
    last: u64,
}

struct Finished {
    last: u64,
    reached: u64,
}

impl<'a> Copy<'a> {
    fn new(source: &'a Folder, part: &'a Part, from: &'a Path) -> Outcome<Self> {
        let path = part.path();
        Ok(Self {
            source,
            from,
            part,
            to: Folder::existing(path).map_err(|error| written(path, &error))?,
            progress: Progress::new(from),
            done: 0,
            total: 0,
            buffer: vec![0; CHUNK_BYTES],
        })
    }

    fn run(mut self, until: Option<Until>) -> Outcome<Finished> {
        // Before the segments: what it says was in them.
        let head = self.head()?;
        let names = self.segments()?;
        for name in &names {
            self.total += self.source.open(name).and_then(|file| file.length()).unwrap_or(0);
        }
        let mut copied = self.copy_all(&names, until)?;
        let reached = copied.last().map_or(0, |segment| segment.last);
        if let Some(head) = head {
            let is_early = matches!(until, Some(Until::Position(position)) if reached >= position);
            self.check_head(&head, &names, if is_early { u64::MAX } else { reached })?;
        }
        let last = match until {
            None => reached,
            Some(Until::Position(position)) => self.cut(&mut copied, position)?,
            Some(Until::Time(time)) => {
                self.sync(&mut copied)?;
                let position = recorded_until(self.part.path(), time)?;
                self.cut(&mut copied, position)?
            }
        };
        self.sync(&mut copied)?;
        self.write_head(&copied, last)?;
        Ok(Finished { last, reached })
    }

    /// Refuses a store that lacks what its head says was synced. `reached` is the last position.
    fn check_head(&self, head: &Head, names: &[String], reached: u64) -> Outcome {
        let newest = format!("{:020}.segment", head.newest);
        if !names.contains(&newest) {
            return Err(self.damaged(&format!("{newest} is missing")));
        }
        if head.synced > reached {
            let synced = head.synced;
            return Err(self.damaged(&format!(
                "it ends at position {reached}, and position {synced} was synced"
            )));
        }
        Ok(())
    }

    /// The names of the segments, in the order of their positions.
    fn segments(&self) -> Outcome<Vec<String>> {
        let names = self.source.names();
        let mut names = names.map_err(|error| Failure::of_input(self.from, &error))?;
        names.retain(|name| is_segment(name));
        names.sort_unstable();
        Ok(names)
    }

    fn head(&self) -> Outcome<Option<Head>> {
        let read = || -> io::Result<Option<Head>> {
            let file = match self.source.open("head") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened?,
            };
            let mut bytes = [0; Head::BYTES];
            let is_whole = file.read_at(0, &mut bytes)? == bytes.len();
            Ok(is_whole.then(|| Head::decode(&bytes)).flatten())
        };
        read().map_err(|error| Failure::of_input(&self.from.join("head"), &error))
    }

    /// Copies the segments up to the one that holds the end.
    fn copy_all(&mut self, names: &[String], until: Option<Until>) -> Outcome<Vec<Copied>> {
        let mut copied: Vec<Copied> = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let is_last = number + 1 == names.len();
            let Some(segment) = self.copy(name, is_last)? else {
                break;
            };
            let expected = copied.last().map_or(1, |before| before.last + 1);
            let is_same_store = copied
                .first()
                .is_none_or(|first| first.segment.store == segment.segment.store);
            if segment.segment.first != expected || !is_same_store {
                return Err(self.damaged(&format!("{name} does not continue the segment before it")));
            }
            let reaches = matches!(until, Some(Until::Position(position)) if segment.last >= position);
            copied.push(segment);
            if reaches {
                break;
            }
        }
        Ok(copied)
    }

    /// Copies the whole batches of a segment; `None` for a last one that is only just being made.
    fn copy(&mut self, name: &str, is_last: bool) -> Outcome<Option<Copied>> {
        let path = self.from.join(name);
        let read = |error: io::Error| Failure::of_input(&path, &error);
        let file = self.source.open(name).map_err(read)?;
        let length = file.length().map_err(read)?;
        let Some(segment) = Segment::read(&*file).map_err(read)? else {
            return if is_last {
                Ok(None)
            } else {
                Err(self.damaged(&format!("{name} has no valid header")))
            };
        };
        let mut target = self
            .to
            .create(name)
            .map_err(|error| written(&self.part.path().join(name), &error))?;
        self.copy_range(&*file, &mut *target, (0, frames::SEGMENT_HEADER_BYTES as u64), &path)?;
        let end = walk(&*file, &segment, length, |frame| {
            // Its header first: the checksum is of its content.
            self.copy_range(&*file, &mut *target, (frame.offset, frame.content()), &path)?;
            let found = self.copy_range(&*file, &mut *target, (frame.content(), frame.end()), &path)?;
            Ok::<_, Failure>(found == frame.checksum)
        })?;
        if !is_last && end.offset < length {
            return Err(self.damaged(&format!("{name} is damaged at byte {}", end.offset)));
        }
        let cut = target.set_length(end.offset);
        cut.map_err(|error| written(&self.part.path().join(name), &error))?;
        Ok(Some(Copied {
            segment,
            name: name.to_owned(),
            file: target,
            last: end.last,
        }))
    }

    /// Copies a range of bytes, as far as it is there; returns their checksum.
    fn copy_range(
        &mut self,
        from: &dyn DiskFile,
        to: &mut dyn DiskFile,
        (start, end): (u64, u64),
        path: &Path,
    ) -> Outcome<u32> {
        let mut sum = flate2::Crc::new();
        let mut offset = start;
        while offset < end {
            interrupt::check(|| "no backup was made".to_owned())?;
            let room = usize::try_from(end - offset).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let read = from.read_at(offset, &mut self.buffer[..room]);
            let read = read.map_err(|error| Failure::of_input(path, &error))?;
            if read == 0 {
                break;
            }
            let bytes = &self.buffer[..read];
            sum.update(bytes);
            to.write_at(offset, bytes)
                .map_err(|error| written(self.part.path(), &error))?;
            offset += read as u64;
            self.done += read as u64;
            self.progress
                .show(self.done, self.total.max(self.done), || "copied".to_owned());
        }
        Ok(sum.sum())
    }

    /// Removes every batch that does not end at or before `position`; returns the last position that is left.
    fn cut(&self, copied: &mut Vec<Copied>, position: u64) -> Outcome<u64> {
        let fail = |error: io::Error| written(self.part.path(), &error);
        while copied.len() > 1 && copied.last().is_some_and(|last| last.segment.first > position) {
            if let Some(Copied { name, file, .. }) = copied.pop() {
                drop(file);
                self.to.remove(&name).map_err(fail)?;
            }
        }
        let Some(last) = copied.last_mut() else { return Ok(0) };
        let length = last.file.length().map_err(fail)?;
        let end = walk(&*last.file, &last.segment, length, |frame| {
            Ok::<_, io::Error>(frame.last <= position)
        })
        .map_err(fail)?;
        last.file.set_length(end.offset).map_err(fail)?;
        last.last = end.last;
        if end.last == 0 {
            return Err(Failure::NotFound(format!(
                "{} has no whole batch of appends that ends at or before --until, and no backup was made; choose a later end",
                self.from.display()
            )));
        }
        Ok(end.last)
    }

    fn sync(&self, copied: &mut [Copied]) -> Outcome {
        for segment in copied {
            let synced = segment.file.sync();
            synced.map_err(|error| written(&self.part.path().join(&segment.name), &error))?;
        }
        self.to.sync_names().map_err(|error| written(self.part.path(), &error))
    }

    fn write_head(&self, copied: &[Copied], last: u64) -> Outcome {
        let Some(newest) = copied.last() else {
            return Err(Failure::NotFound(format!(
                "{} has no segment yet, and no backup was made",
                self.from.display()
            )));
        };
        let head = Head {
            store: newest.segment.store,
            newest: newest.segment.first,
            synced: last,
        };
        let write = || -> io::Result<()> {
            let mut file = self.to.create("head")?;
            file.write_at(0, &head.encode())?;
            file.sync()?;
            self.to.sync_names()
        };
        write().map_err(|error| written(self.part.path(), &error))
    }

    fn damaged(&self, what: &str) -> Failure {
        Failure::Data(format!(
            "{0} is damaged: {what}; no backup was made: `annals verify {0}` lists the damage, and `annals repair {0} --to NEW` saves the rest",
            self.from.display()
        ))
    }
}

fn written(path: &Path, error: &io::Error) -> Failure {
    Failure::Runtime(of_output(path, error))
}

/// Whether a file of this name is a segment: 20 digits.
fn is_segment(name: &str) -> bool {
    let digits = name.strip_suffix(".segment");
    digits.is_some_and(|digits| digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The last position before the first event that was recorded after `time`.
fn recorded_until(folder: &Path, time: Timestamp) -> Outcome<u64> {
    struct Recorded {
        time: Timestamp,
        last: u64,
        is_past: bool,
    }
    impl Recover for Recorded {
        fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
            if self.is_past {
                return Ok(());
            }
            // A batch of a recovery may be several of the file.
            let first_past = batch.events().find(|event| event.recorded_at() > self.time);
            self.is_past = first_past.is_some();
            self.last = first_past.map_or(batch.last_position().0, |event| event.position().0 - 1);
            Ok(())
        }

        fn progress(&mut self, _: u64, _: u64) {}
    }
    let mut recorded = Recorded {
        time,
        last: 0,
        is_past: false,
    };
    let mut journal = FileReader::open(folder).map_err(Error::from)?;
    journal.recover(&mut recorded).map_err(Error::from)?;
    Ok(recorded.last)
}

/// The folder in which `to` is built.
fn part_of(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    to.with_file_name(name)
}
