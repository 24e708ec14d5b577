//! Repair: writes the readable events of a damaged store to a new store.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::archive::Nothing;
use super::damage::Verification;
use super::disk::{Disk, Folder};
use super::errors::unusable;
use super::target::{self, Target};
use super::verify::{existing, lock_shared};
use super::walk::{Take, Walk, Walked};
use super::{FileJournal, FileSettings, LOCK_NAME, head};
use crate::event::system::LOST;
use crate::journal::{Batch, Journal, JournalError, JournalErrorKind, Record};
use crate::{Clock, IdSource, Position, RandomIds, SystemClock, Timestamp, Version};

/// The most positions that a repair fills: about 10 GB of events of type `$lost`.
const LOST_MAX: u64 = 1 << 28;
/// Positions that are filled by one batch.
const FILL_EVENTS: u64 = 4096;

/// The result of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Repair {
    /// Events saved, including system events.
    pub events_saved: u64,
    /// Positions whose events are lost; they are gaps in the new store.
    pub positions_lost: u64,
    /// The last position of the new store.
    pub position: Position,
    /// The contents of the damaged directory. The events that its damage lists are not in the new store.
    pub found: Verification,
}

/// Writes a new store with every readable batch of `folder` to the directory `to`, which must be empty or not exist.
///
/// Every event keeps its position and version. A position whose event is lost stays empty: a [gap](crate::Gap) of the reason
/// [`Lost`](crate::GapReason::Lost). If a deletion or truncation is lost, the events that it had dropped are present again. The damaged
/// directory is not changed. `progress` receives the number of bytes read and the total.
///
/// The new store is built in a directory with the suffix `.part`, which is synced and renamed when it is complete. It uses the default
/// [settings](FileSettings), so its frames are not compressed.
///
/// ```
/// use annals::journal::file;
///
/// # let folder = std::env::temp_dir().join(format!("annals-doc-repair-{}", std::process::id()));
/// # let saved = folder.with_extension("saved");
/// # drop(annals::Store::open(file::FileJournal::open(&folder)?)?);
/// let repair = file::repair(&folder, &saved, &mut |_, _| {})?;
/// println!("{} events saved, {} lost", repair.events_saved, repair.positions_lost);
/// # assert!(repair.found.damage.is_empty());
/// # std::fs::remove_dir_all(folder).ok();
/// # std::fs::remove_dir_all(saved).ok();
/// # Ok::<(), annals::Error>(())
/// ```
///
/// # Errors
///
/// As [`verify`](super::verify), and [`Unsupported`](JournalErrorKind::Unsupported) when `to` is an empty path, is not empty or is inside `folder`, the
/// `.part` of an interrupted repair exists, or more than 2^28 positions are lost; [`Retry`](JournalErrorKind::Retry) or
/// [`Failed`](JournalErrorKind::Failed) when the new store cannot be written.
pub fn repair(
    folder: impl AsRef<Path>,
    to: impl AsRef<Path>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Repair, JournalError> {
    let source = existing(folder.as_ref())?;
    let target = Target::new(to.as_ref())?;
    check_apart(folder.as_ref(), to.as_ref())?;
    target.begin()?;
    let part = target.part();
    let repaired = Folder::create(part)
        .map_err(|error| unusable(part, error))
        .and_then(|folder| repair_on(&source, Arc::new(folder), progress));
    let kept = repaired.and_then(|repair| target.keep().map(|()| repair));
    if kept.is_err() {
        target.abandon();
    }
    kept
}

/// Like [`repair`], on implementations of [`Disk`]. An interrupted repair leaves an incomplete store.
///
/// # Errors
///
/// As [`repair`].
pub fn repair_on(
    disk: &dyn Disk,
    to: Arc<dyn Disk>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Repair, JournalError> {
    let _lock = lock_shared(disk)?;
    check_source(disk)?;
    let names = to.names().map_err(|error| unusable(&to.path(""), error))?;
    if names.iter().any(|name| name != LOCK_NAME) {
        return Err(target::not_empty(&to.path("")));
    }
    let mut journal = FileJournal::on(to, FileSettings::default())?;
    journal.recover(&mut Nothing)?;
    let mut saver = Saver {
        journal: Box::new(journal),
        repair: Repair::default(),
        recorded: None,
    };
    let Walked { found, next } = Walk::new(disk, &mut saver, progress)?.run()?;
    saver.fill(next, SystemClock.now())?;
    saver.journal.close()?;
    Ok(Repair { found, ..saver.repair })
}

/// Writes the batches of a walk to a new journal.
struct Saver {
    journal: Box<FileJournal>,
    repair: Repair,
    /// When the last saved event was recorded: replacements of lost events must not be newer than the events that follow.
    recorded: Option<Timestamp>,
}

impl Take for Saver {
    fn batch(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let times = |event: crate::EventRef<'_>| event.recorded_at();
        let first = batch.events().next().map_or_else(|| SystemClock.now(), times);
        self.fill(batch.first_position().0, first)?;
        self.journal.write(batch)?;
        self.repair.events_saved += batch.len() as u64;
        self.repair.position = batch.last_position();
        self.recorded = batch.events().last().map(times).or(self.recorded);
        Ok(())
    }
}

impl Saver {
    /// Replaces the events lost before position `next`, with the time of the last saved event, or `time`.
    fn fill(&mut self, next: u64, time: Timestamp) -> Result<(), JournalError> {
        let time = self.recorded.unwrap_or(time);
        let run = self.repair.position.0 + 1;
        let lost = next - run;
        if lost > LOST_MAX - self.repair.positions_lost {
            return Err(too_many(run, next - 1));
        }
        // A store may be repaired more than once: each run of lost positions has its own stream.
        let stream = format!("$${run}");
        while self.repair.position.0 + 1 < next {
            let mut batch = Batch::new();
            let first = self.repair.position.0 + 1;
            for position in first..next.min(first + FILL_EVENTS) {
                batch.push(&lost_event(&stream, position, position - run + 1, time));
            }
            self.journal.write(&batch)?;
            self.repair.position = batch.last_position();
        }
        self.repair.positions_lost += lost;
        Ok(())
    }
}

fn too_many(first: u64, last: u64) -> JournalError {
    let message = format!(
        "positions {first} to {last} are lost, more than a repair can fill: repair a copy without the later segments, or, if there are none, \
         without the file `head`"
    );
    JournalError::new(JournalErrorKind::Unsupported, message)
}

fn lost_event(stream: &str, position: u64, version: u64, time: Timestamp) -> Record<'_> {
    Record {
        timestamp: time,
        recorded_at: time,
        aggregate_id: stream,
        aggregate_type: "$store",
        event_type: LOST,
        data: b"{}",
        ..Record::new(Position(position), Version(version), RandomIds.next(time))
    }
}

/// Rejects a directory that contains no store.
fn check_source(disk: &dyn Disk) -> Result<(), JournalError> {
    let names = disk.names().map_err(|error| unusable(&disk.path(""), error))?;
    if head::is_store(&names) {
        return Ok(());
    }
    let message = format!("{} contains no store: there is no segment", disk.path("").display());
    Err(JournalError::new(JournalErrorKind::Unsupported, message))
}

fn check_apart(folder: &Path, to: &Path) -> Result<(), JournalError> {
    let damaged = fs::canonicalize(folder).map_err(|error| unusable(folder, error))?;
    let above = to.ancestors().find_map(|above| fs::canonicalize(above).ok());
    if above.is_some_and(|above| above.starts_with(damaged)) {
        let message = format!(
            "{} is inside the damaged directory: choose another directory",
            to.display()
        );
        return Err(JournalError::new(JournalErrorKind::Unsupported, message));
    }
    Ok(())
}
