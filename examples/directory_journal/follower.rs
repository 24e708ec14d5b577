//! What lets other processes read a directory and append to it: the traits `Feed` and `Remote`.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use annals::journal::{
    Feed, Followed, JournalError, JournalErrorKind as Kind, Recover, Recovered, Remote, RemoteAppend,
};
use annals::{Appended, Durability, Position, Settings, Store};
use parking_lot::Mutex;

use super::directory::Directory;
use super::journal::{DirectoryJournal, recovered};

/// Reads the files of a directory that other processes write, when it is woken and every 20 ms.
#[derive(Debug)]
struct DirectoryFeed(Directory, Receiver<()>);

impl Feed for DirectoryFeed {
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        // Every batch ends an append, so no file begins before `after` and ends behind it.
        Ok(recovered(&self.0.pass(after.0, into)?))
    }

    /// Ends at once when the remote has dropped the sender.
    fn wait(&mut self) {
        self.1.recv_timeout(Duration::from_millis(20)).ok();
    }
}

/// Appends to a directory: as a writer that holds the lock for one append. The cost is a recovery for each append.
#[derive(Debug)]
struct DirectoryRemote(Directory, Mutex<Option<SyncSender<()>>>);

impl DirectoryRemote {
    /// Opens the journal when no other writer has it.
    fn open(&self) -> Result<DirectoryJournal, JournalError> {
        let deadline = Instant::now() + self.timeout();
        loop {
            let opened = DirectoryJournal::open(&self.0.0);
            let is_locked = opened.as_ref().is_err_and(|error| error.kind() == Kind::Locked);
            if !is_locked || Instant::now() > deadline || self.1.lock().is_none() {
                return opened;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Remote for DirectoryRemote {
    fn append(&self, append: &RemoteAppend<'_>) -> annals::Result<Appended> {
        let settings = Settings::default().durability(Durability::Synced);
        let store = Store::builder().settings(settings).journal(self.open()?).open()?;
        // The ids make a repeated append one append.
        let appended = store.append(append.stream(), append.expected(), append.events_with_ids());
        // After a failure the events may be stored: the same append finds out.
        let mut appended = match appended {
            Err(annals::Error::Failed { cause }) => return Err(annals::Error::Unavailable { cause }),
            appended => appended?,
        };
        store.close()?;
        appended.repeated &= append.has_own_ids();
        Ok(appended)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// The channel holds one message, so a wake before a wait ends that wait.
    fn wake(&self) {
        self.1.lock().as_ref().map(|sender| sender.try_send(()));
    }

    fn stop(&self) {
        *self.1.lock() = None;
    }
}

pub(super) fn follow(path: &Path) -> Result<Followed, JournalError> {
    let (directory, (sender, receiver)) = (Directory(path.to_owned()), sync_channel(1));
    fs::create_dir_all(path).map_err(|error| directory.error(Kind::Retry, "create", error))?;
    let remote = DirectoryRemote(directory.clone(), Mutex::new(Some(sender)));
    Ok(Followed::new(DirectoryFeed(directory, receiver), remote))
}
