//! The daily work of `serve`: archives old events, and verifies the files of the store while it is open.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use annals::journal::file::{BackupError, Folder, verify_open};
use annals::{ArchiveCandidates, Durability, Position, Store};
use annals_server::DailyWork;

use crate::args::Global;
use crate::args::serve::DailyWork as Requested;
use crate::commands::archive;
use crate::exit::{Failure, Outcome, of_output};
use crate::load::Location;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The requested work.
#[derive(Debug)]
pub(crate) struct Daily {
    store: Store,
    /// The directory of the store, if it is to be verified.
    verifies: Option<PathBuf>,
    /// The age from which events are archived, and the directory of the archives.
    archives: Option<(Duration, PathBuf)>,
    results: DailyWork,
}

impl Daily {
    /// The work that the command line requests for `store`, if any.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if the store does not fit the work.
    pub(crate) fn of(global: &Global, requested: &Requested, store: &Store) -> Outcome<Option<Self>> {
        let archives = requested.archive_after.zip(requested.archive_to.clone());
        let url = match &global.store {
            Some(Location::Durable(url)) => Some(url),
            _ => None,
        };
        if archives.is_some() && url.is_none() {
            let text = "--archive-after moves events of a durable store: name one with --store file:DIR";
            return Err(Failure::Usage(text.to_owned()));
        }
        let folder = url.and_then(|url| url.folder());
        if requested.verify_daily && folder.is_none() {
            let text = "--verify-daily reads the files of a store: name one with --store file:DIR";
            return Err(Failure::Usage(text.to_owned()));
        }
        let daily = Self {
            store: store.clone(),
            verifies: folder.filter(|_| requested.verify_daily).map(PathBuf::from),
            archives,
            results: DailyWork::new(),
        };
        if daily.archives.is_some() {
            daily.results.expect_archives();
        }
        if daily.verifies.is_some() {
            daily.results.expect_verifications();
        }
        Ok((daily.verifies.is_some() || daily.archives.is_some()).then_some(daily))
    }

    pub(crate) fn results(&self) -> &DailyWork {
        &self.results
    }

    /// Starts a thread that does the work now, and then once a day.
    pub(crate) fn start(self) -> Outcome<Running> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let ((wake, woken), (alive, ended)) = (channel(), channel::<()>());
        let stop = StopDaily {
            is_stopped: Arc::clone(&is_stopped),
            wake,
        };
        let thread = std::thread::Builder::new().name("annals-daily".to_owned());
        thread.spawn(move || {
            self.run(&woken, &|| is_stopped.load(Ordering::SeqCst));
            drop(alive);
        })?;
        Ok(Running { stop, ended })
    }

    fn run(&self, woken: &Receiver<()>, is_stopped: &dyn Fn() -> bool) {
        while !is_stopped() {
            self.once(is_stopped);
            if woken.recv_timeout(DAY) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn once(&self, is_stopped: &dyn Fn() -> bool) {
        // Events of a damaged store are not moved.
        if self.verify(is_stopped) {
            self.archive(is_stopped);
        }
    }

    /// Verifies the files, if requested. Returns whether they are intact as far as is known.
    fn verify(&self, is_stopped: &dyn Fn() -> bool) -> bool {
        let Some(folder) = &self.verifies else {
            return true;
        };
        // Before: what is synced meanwhile may not be read.
        let synced = self.store.reached(Durability::Synced);
        match verified(folder, is_stopped) {
            Ok(last) if last >= synced => {
                self.results.verified(self.store.now(), last);
                return true;
            }
            Ok(last) => self.results.verification_failed(&format!(
                "{} is intact up to position {last}, and position {synced} was synced: restore it from a backup, or repair it",
                folder.display()
            )),
            Err(BackupError::Stopped) => {}
            Err(error) => self.results.verification_failed(&chain(&error)),
        }
        false
    }

    fn archive(&self, is_stopped: &dyn Fn() -> bool) {
        let Some((age, to)) = &self.archives else { return };
        let now = self.store.now();
        let name = name_of(&now.to_string());
        let save = |outdated: &ArchiveCandidates<'_>| {
            // An archive creates its own folder, and not this one above it.
            Folder::create(to).map_err(|error| Failure::Runtime(of_output(to, &error)))?;
            archive::save_folder(outdated, &to.join(&name), &mut || stop_if(is_stopped()))
        };
        let archived = self.store.archive(now.before(*age), &name, save);
        let compacted = archived.and_then(|archived| {
            // Also without new events: an earlier compaction may have failed.
            self.store.compact_journal()?;
            Ok(archived.events)
        });
        match compacted {
            Ok(events) => self.results.archived(now, events),
            Err(_) if is_stopped() => {}
            Err(failure) => self.results.archive_failed(&failure.to_string()),
        }
    }
}

fn stop_if(is_stopped: bool) -> Outcome {
    if is_stopped {
        return Err(Failure::Interrupted("the server stops".to_owned()));
    }
    Ok(())
}

fn verified(folder: &PathBuf, is_stopped: &dyn Fn() -> bool) -> Result<Position, BackupError> {
    let disk = Folder::existing(folder).map_err(|source| BackupError::Read {
        path: folder.clone(),
        source,
    })?;
    let mut progress = |_, _| {
        if is_stopped() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    match verify_open(&disk, &mut progress) {
        Ok(checked) => Ok(checked.last),
        Err(BackupError::Empty { .. }) => Ok(Position(0)),
        Err(error) => Err(error),
    }
}

/// The name of an archive: the time to the second, with characters that every file system accepts.
fn name_of(time: &str) -> String {
    let seconds = time.split(['.', 'Z']).next().unwrap_or(time);
    format!("{}Z", seconds.replace(':', "-"))
}

/// The error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Stops the daily work.
#[derive(Clone, Debug)]
pub(crate) struct StopDaily {
    is_stopped: Arc<AtomicBool>,
    wake: Sender<()>,
}

impl StopDaily {
    /// Interrupts the work, and ends the thread.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.wake.send(()).ok();
    }
}

/// The thread of the daily work.
#[derive(Debug)]
pub(crate) struct Running {
    stop: StopDaily,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Running {
    pub(crate) fn stop(&self) -> StopDaily {
        self.stop.clone()
    }

    /// Stops the work, and waits for the end of the thread for at most `grace`: a hanging disk must not hold the program.
    pub(crate) fn end(self, grace: Duration) {
        self.stop.stop();
        self.ended.recv_timeout(grace).ok();
    }
}

#[cfg(test)]
mod tests {
    use annals::{Expected, NewEvent, StreamId};

    use super::*;

    /// The work on an open store in `folder` that has synced ten appends.
    fn daily(folder: &std::path::Path) -> Daily {
        let url = format!("file:{}?durability=synced", folder.display());
        let store = Store::open_url(&url).unwrap();
        for number in 0..10 {
            let stream = StreamId::new("Order", format!("order-{number}"));
            store
                .append(&stream, Expected::Any, NewEvent::new("OrderPlaced"))
                .unwrap();
        }
        Daily {
            store,
            verifies: Some(folder.to_owned()),
            archives: None,
            results: DailyWork::new(),
        }
    }

    #[test]
    fn a_damaged_open_segment_was_called_intact() {
        let folder = tempfile::tempdir().unwrap();
        let daily = daily(folder.path());
        assert!(daily.verify(&|| false));
        let segment = folder.path().join("00000000000000000001.segment");
        let mut bytes = std::fs::read(&segment).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end / 2] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        assert!(!daily.verify(&|| false));
    }

    #[test]
    fn a_store_whose_files_were_removed_was_called_intact() {
        let folder = tempfile::tempdir().unwrap();
        let daily = daily(folder.path());
        for file in std::fs::read_dir(folder.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        assert!(!daily.verify(&|| false));
    }

    #[test]
    fn an_archive_is_named_by_its_second() {
        for time in ["2026-11-30T13:14:05.123456Z", "2026-11-30T13:14:05Z"] {
            assert_eq!(name_of(time), "2026-11-30T13-14-05Z");
        }
    }
}
