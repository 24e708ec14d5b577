//! Recovery: one thread reads, several decode, and the caller receives the events in order.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use uuid::Uuid;

use super::disk::{Disk, DiskFile};
use super::errors::{damaged, unreadable};
use super::format::{HeadRecord, SegmentHeader};
use super::head::{self, End};
use super::rewrite;
use super::scan::{BLOCK_BYTES, Block, Cause, Decoded, Next, Scan, Stop, end_of_bytes};
use super::segments::{self, Begin, Front};
use super::writer::Segment;
use crate::Position;
use crate::journal::{Batch, JournalError, JournalErrorKind, Part, Recover, Recovered};

/// The capacity of the queues between the threads.
const ITEMS_AHEAD: usize = 8;

/// The result of recovery.
#[derive(Debug)]
pub(super) struct Found {
    /// The position of the last event.
    pub(super) position: u64,
    pub(super) recovered: Recovered,
    /// The segments before the last.
    pub(super) sealed: Vec<Part>,
    /// The store, and the segment to append to; `None` if there is no segment yet.
    pub(super) last: Option<(Uuid, Segment)>,
}

/// One segment, ready to be read.
#[derive(Debug)]
struct Source {
    name: String,
    header: SegmentHeader,
    length: u64,
}

/// An item from the reading thread, in order.
enum Item {
    /// A block, being decoded.
    Block { segment: usize, decoded: Receiver<Counted> },
    /// Reading the segment stopped.
    Stop { segment: usize, stop: Stop },
    /// The regular end of the last segment.
    End { offset: u64, position: u64 },
}

/// A decoded block, and the number of its events that may be dropped later, counted by the decoding thread while they are cached.
type Counted = (Decoded, u64);

type Job = (Block, Sender<Counted>);

/// Passes every event to `into`, and cuts off a torn end.
pub(super) fn recover(disk: &Arc<dyn Disk>, into: &mut dyn Recover) -> Result<Found, JournalError> {
    let disk = &**disk;
    let mut whole = read_whole(disk, into)?;
    // A directory that fails to open is not changed.
    if let Some(name) = &whole.sources.unborn {
        remove_unborn(disk, name)?;
    }
    let recovered = whole.recovered(disk)?;
    let Some((last, tail)) = whole.sources.all.last().zip(whole.tail) else {
        return Ok(Found {
            position: 0,
            recovered,
            sealed: Vec::new(),
            last: None,
        });
    };
    let mut segment = cut_tail(disk, last, tail.offset)?;
    segment.events = whole.events.pop().unwrap_or(0);
    let left_over = rewrite::remove_left_over(disk);
    left_over.map_err(|error| unreadable(disk, "", error))?;
    Ok(Found {
        position: tail.position,
        recovered,
        sealed: parts(&whole.sources.all, &whole.events),
        last: Some((last.header.store, segment)),
    })
}

/// Passes every event to `into` without changing the files.
pub(super) fn read_only(disk: &dyn Disk, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
    read_whole(disk, into)?.recovered(disk)
}

/// The result of reading all segments.
struct Whole {
    sources: Sources,
    /// The number of events of each segment that may be dropped later.
    events: Vec<u64>,
    /// `None` when there is no segment.
    tail: Option<Tail>,
}

fn read_whole(disk: &dyn Disk, into: &mut dyn Recover) -> Result<Whole, JournalError> {
    let head = head::of_folder(disk)?;
    let sources = sources(disk)?;
    let mut events = vec![0; sources.all.len()];
    let counting = &mut Counting {
        into,
        events: &mut events,
    };
    let tail = if sources.all.is_empty() {
        None
    } else {
        Some(read_all(disk, &sources.all, counting, head.as_ref())?)
    };
    let end = sources.all.last().zip(tail).map(|(last, tail)| End {
        store: last.header.store,
        segment: last.header.first,
        position: tail.position,
    });
    if let Some(missing) = head.and_then(|head| head::missing(&head, end)) {
        return Err(damaged(disk, &missing.name, 0, &missing.what));
    }
    Ok(Whole { sources, events, tail })
}

impl Whole {
    fn recovered(&self, disk: &dyn Disk) -> Result<Recovered, JournalError> {
        let mut recovered = Recovered {
            bytes: self.sources.bytes(),
            torn_tail_bytes: 0,
        };
        if let Some((last, tail)) = self.sources.all.last().zip(self.tail) {
            let end = disk.open(&last.name).and_then(|file| end_of_bytes(&*file, tail.offset));
            let end = end.map_err(|error| unreadable(disk, &last.name, error))?;
            recovered.torn_tail_bytes = end.saturating_sub(tail.offset);
        }
        Ok(recovered)
    }
}

/// Counts the user events of each segment on their way to `into`.
struct Counting<'a> {
    into: &'a mut dyn Recover,
    events: &'a mut [u64],
}

impl Counting<'_> {
    fn batch(&mut self, segment: usize, batch: Batch, removable: u64) -> Result<(), JournalError> {
        self.events[segment] += removable;
        self.into.batch(batch)
    }
}

/// The segments before the last, each ending before the next.
fn parts(sources: &[Source], events: &[u64]) -> Vec<Part> {
    let ends = sources.iter().skip(1).map(|next| Position(next.header.first - 1));
    let sealed = sources.iter().zip(ends).zip(events);
    let part = |((source, last), events): ((&Source, Position), &u64)| {
        Part::new(Position(source.header.first), last, *events, source.length)
    };
    sealed.map(part).collect()
}

/// The segments of a directory.
struct Sources {
    /// In order, their headers checked.
    all: Vec<Source>,
    /// The file of a segment whose creation was interrupted by a crash.
    unborn: Option<String>,
}

impl Sources {
    fn bytes(&self) -> u64 {
        self.all.iter().map(|source| source.length).sum()
    }
}

fn sources(disk: &dyn Disk) -> Result<Sources, JournalError> {
    let firsts = segments::firsts(disk)?;
    let mut sources: Vec<Source> = Vec::with_capacity(firsts.len());
    let mut unborn = None;
    for (place, first) in firsts.iter().enumerate() {
        let name = segments::name_of(*first);
        let is_last = place + 1 == firsts.len();
        match source(disk, &name, *first)? {
            Some(source) => sources.push(source),
            None if is_last => unborn = Some(name),
            None => return Err(damaged(disk, &name, 0, segments::HEADLESS)),
        }
    }
    check_store(disk, &sources)?;
    Ok(Sources { all: sources, unborn })
}

/// A segment with its header; `None` if a crash came before the header was written.
fn source(disk: &dyn Disk, name: &str, first: u64) -> Result<Option<Source>, JournalError> {
    let Begin { front, length } = segments::begin(disk, name).map_err(|error| unreadable(disk, name, error))?;
    let what = match front {
        Front::Header(header) if header.first == first => {
            let name = name.to_owned();
            return Ok(Some(Source { name, header, length }));
        }
        Front::Header(header) => segments::renamed(&header),
        Front::Unborn => return Ok(None),
        Front::Damaged(reason) => reason.to_string(),
    };
    Err(damaged(disk, name, 0, &what))
}

fn remove_unborn(disk: &dyn Disk, name: &str) -> Result<(), JournalError> {
    let removed = disk.remove(name).and_then(|()| disk.sync_names());
    removed.map_err(|error| unreadable(disk, name, error))
}

fn check_store(disk: &dyn Disk, sources: &[Source]) -> Result<(), JournalError> {
    let Some(first) = sources.first() else { return Ok(()) };
    if first.header.first != 1 {
        let what = format!(
            "the segment before it, with the positions 1 to {}, is missing",
            first.header.first - 1
        );
        return Err(damaged(disk, &first.name, 0, &what));
    }
    match sources.iter().find(|source| source.header.store != first.header.store) {
        Some(other) => Err(damaged(disk, &other.name, 0, segments::OF_ANOTHER_STORE)),
        None => Ok(()),
    }
}

/// The end of the intact part of the last segment.
#[derive(Clone, Copy)]
struct Tail {
    offset: u64,
    position: u64,
}

fn read_all(
    disk: &dyn Disk,
    sources: &[Source],
    into: &mut Counting<'_>,
    head: Option<&HeadRecord>,
) -> Result<Tail, JournalError> {
    if items_at_most(sources) <= ITEMS_AHEAD {
        // The work would be done before threads had started.
        let ((items_in, items), (jobs_in, jobs)) = (unbounded(), unbounded());
        read(disk, sources, &items_in, &jobs_in);
        drop((items_in, jobs_in));
        decode(&jobs);
        return take(disk, sources, into, head, items);
    }
    let (items_in, items) = bounded::<Result<Item, JournalError>>(ITEMS_AHEAD);
    let (jobs_in, jobs) = bounded::<Job>(ITEMS_AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(move || read(disk, sources, &items_in, &jobs_in));
        for _ in 0..decoders() {
            let jobs = jobs.clone();
            scope.spawn(move || decode(&jobs));
        }
        drop(jobs);
        take(disk, sources, into, head, items)
    })
}

/// No more items than this come from the segments: one for each block, for the end of each segment, and for the end or the stop of all.
fn items_at_most(sources: &[Source]) -> usize {
    let blocks = sources.iter().map(|source| source.length / BLOCK_BYTES as u64 + 2);
    usize::try_from(blocks.sum::<u64>() + 1).unwrap_or(usize::MAX)
}

/// The number of decoding threads, leaving one processor to the caller.
fn decoders() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get().saturating_sub(1).clamp(1, 8))
}

fn decode(jobs: &Receiver<Job>) {
    for (block, decoded) in jobs {
        let block = block.decode();
        let removable = block.batch.removable();
        // The receiver is gone when recovery has failed.
        drop(decoded.send((block, removable)));
    }
}

/// The reading thread: reads every segment, block by block.
fn read(disk: &dyn Disk, sources: &[Source], items: &Sender<Result<Item, JournalError>>, jobs: &Sender<Job>) {
    let mut position = 1;
    for segment in 0..sources.len() {
        match read_segment(disk, sources, segment, position, items, jobs) {
            Ok(Some(next)) => position = next,
            Ok(None) => return,
            Err(error) => {
                drop(items.send(Err(error)));
                return;
            }
        }
    }
}

/// Reads one segment. Returns the first position of the next; `None` to stop reading.
fn read_segment(
    disk: &dyn Disk,
    sources: &[Source],
    segment: usize,
    position: u64,
    items: &Sender<Result<Item, JournalError>>,
    jobs: &Sender<Job>,
) -> Result<Option<u64>, JournalError> {
    let source = &sources[segment];
    let unreadable = |error| unreadable(disk, &source.name, error);
    if source.header.first != position {
        let what = format!(
            "it starts with position {}, and position {position} is expected: a segment is missing",
            source.header.first
        );
        return Err(damaged(disk, &source.name, 0, &what));
    }
    let file = disk.open(&source.name).map_err(unreadable)?;
    let mut scan = Scan::new(file, &source.header).map_err(unreadable)?;
    loop {
        let item = match scan.next().map_err(unreadable)? {
            Next::Block(block) => {
                let (decoded_in, decoded) = bounded(1);
                if jobs.send((block, decoded_in)).is_err() {
                    return Ok(None);
                }
                Item::Block { segment, decoded }
            }
            Next::End if segment + 1 < sources.len() => return Ok(Some(scan.position())),
            Next::End => Item::End {
                offset: scan.offset(),
                position: scan.position() - 1,
            },
            Next::Stop(stop) => Item::Stop { segment, stop },
        };
        let goes_on = matches!(item, Item::Block { .. });
        if items.send(Ok(item)).is_err() || !goes_on {
            return Ok(None);
        }
    }
}

/// Receives the events in order, until the end or the first stop.
fn take(
    disk: &dyn Disk,
    sources: &[Source],
    counting: &mut Counting<'_>,
    head: Option<&HeadRecord>,
    items: Receiver<Result<Item, JournalError>>,
) -> Result<Tail, JournalError> {
    let before = |segment: usize| sources[..segment].iter().map(|source| source.length).sum::<u64>();
    let total = before(sources.len());
    for item in items {
        let (segment, stop) = match item? {
            Item::End { offset, position } => {
                counting.into.progress(total, total);
                return Ok(Tail { offset, position });
            }
            Item::Stop { segment, stop } => (segment, stop),
            Item::Block { segment, decoded } => {
                let (decoded, removable) = decoded
                    .recv()
                    .map_err(|_| JournalError::failed("a decoding thread ended unexpectedly"))?;
                let is_whole = |stop: &Stop| stop.cause == Cause::CrashOrDamage;
                if decoded.stop.as_ref().is_none_or(is_whole) {
                    counting.batch(segment, decoded.batch, removable)?;
                }
                counting.into.progress(before(segment) + decoded.end, total);
                let Some(stop) = decoded.stop else { continue };
                (segment, stop)
            }
        };
        return judge(disk, sources, segment, &stop, head);
    }
    Err(JournalError::failed("the reading thread ended unexpectedly"))
}

/// Decides whether a crash caused a stop: then the segment ends there. Otherwise returns an error.
fn judge(
    disk: &dyn Disk,
    sources: &[Source],
    segment: usize,
    stop: &Stop,
    head: Option<&HeadRecord>,
) -> Result<Tail, JournalError> {
    let source = &sources[segment];
    let may_be_torn = segment + 1 == sources.len() && may_be_torn(source.header.first, stop, head);
    let was_synced = || -> io::Result<bool> {
        let scan = Scan::new(disk.open(&source.name)?, &source.header)?;
        Ok(scan.synced()? >= stop.position)
    };
    if is_damage(disk, &source.name, stop, may_be_torn, was_synced)? {
        return Err(damaged(disk, &source.name, stop.offset, &stop.what));
    }
    Ok(Tail {
        offset: stop.offset,
        position: stop.position - 1,
    })
}

/// Whether a crash may have torn the last segment, which starts with position `segment`: not if the head records a later segment, or that the
/// place was synced.
pub(super) fn may_be_torn(segment: u64, stop: &Stop, head: Option<&HeadRecord>) -> bool {
    head.is_none_or(|head| head.segment <= segment && head.synced < stop.position)
}

/// Whether damage caused a stop; otherwise a crash has torn the end of the last segment.
///
/// # Errors
///
/// [`Unsupported`](JournalErrorKind::Unsupported) when the data is intact and this program lacks a feature to read it.
pub(super) fn is_damage(
    disk: &dyn Disk,
    name: &str,
    stop: &Stop,
    may_be_torn: bool,
    was_synced: impl FnOnce() -> io::Result<bool>,
) -> Result<bool, JournalError> {
    match stop.cause {
        Cause::Unsupported => {
            let message = format!("{}: {}", disk.path(name).display(), stop.what);
            Err(JournalError::new(JournalErrorKind::Unsupported, message))
        }
        Cause::Damage => Ok(true),
        Cause::CrashOrDamage if !may_be_torn => Ok(true),
        Cause::CrashOrDamage => was_synced().map_err(|error| unreadable(disk, name, error)),
    }
}

/// Cuts the torn end off the last segment.
fn cut_tail(disk: &dyn Disk, last: &Source, offset: u64) -> Result<Segment, JournalError> {
    let cut = || -> io::Result<Segment> {
        let mut file = disk.open_writable(&last.name)?;
        let torn_bytes = end_of_bytes(&*file, offset)?.saturating_sub(offset);
        let mut length = file.length()?;
        if torn_bytes > 0 {
            file.set_length(offset)?;
            length = offset;
        }
        let scan = Scan::new(disk.open(&last.name)?, &last.header)?;
        rewrite(&mut *file, scan.unsynced_from(offset)?, offset)?;
        file.sync()?;
        disk.sync_names()?;
        Ok(Segment {
            name: last.name.clone(),
            file,
            first: last.header.first,
            events: 0,
            offset,
            length: length.max(offset),
            syncs: 0,
        })
    };
    cut().map_err(|error| unreadable(disk, &last.name, error))
}

/// Rewrites bytes that an earlier process may not have synced, because they count as synced from now on. A sync alone is not enough: after a
/// failed sync, the operating system may report the cached bytes as clean although they are not on the disk.
fn rewrite(file: &mut dyn DiskFile, mut offset: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    while offset < end {
        let part = (end - offset).min(bytes.len() as u64) as usize;
        let read = file.read_at(offset, &mut bytes[..part])?;
        if read == 0 {
            break;
        }
        file.write_at(offset, &bytes[..read])?;
        offset += read as u64;
    }
    Ok(())
}
