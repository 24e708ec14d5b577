//! Appends against the journal's thread, under loom: waiting for room, for a write, for a sync, and for a journal that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Flushing;
use super::flusher::Flusher;
use crate::journal::{Batch, Compactor, Journal, JournalError, JournalErrorKind, Recover, Recovered};
use crate::store::core::Core;
use crate::store::log::positions::Log;
use crate::store::simulation::{model, settings, spawn};
use crate::store::{Engine, Store};
use crate::{Durability, Error, Expected, NewEvent, StreamId};

/// The last positions that the journal has written and synced. Not atomics of loom: only the journal's thread changes them while the model
/// runs.
#[derive(Debug, Default)]
struct Seen {
    written: AtomicU64,
    synced: AtomicU64,
}

/// The call that fails permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Nothing,
    Write,
    Sync,
}

#[derive(Debug)]
struct Recorder {
    seen: Arc<Seen>,
    promised: Durability,
    fails: Fails,
}

impl Journal for Recorder {
    fn durability(&self) -> Durability {
        self.promised
    }

    fn recover(&mut self, _: &mut dyn Recover) -> Result<Recovered, JournalError> {
        Ok(Recovered::default())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        if self.fails == Fails::Write {
            return Err(JournalError::failed("writing fails"));
        }
        let before = self.seen.written.swap(batch.last_position().0, Ordering::Relaxed);
        let first = batch.last_position().0 + 1 - batch.len() as u64;
        assert_eq!(first, before + 1, "a batch that does not follow the one before");
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        if self.fails == Fails::Sync {
            return Err(JournalError::failed("syncing fails"));
        }
        let written = self.seen.written.load(Ordering::Relaxed);
        self.seen.synced.store(written, Ordering::Relaxed);
        Ok(())
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        None
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        Ok(())
    }
}

/// A store whose journal works on a thread of the model.
struct Simulated {
    store: Store,
    seen: Arc<Seen>,
    journal: loom::thread::JoinHandle<()>,
}

impl Simulated {
    /// Opens a store with room for `events` events of [`append`].
    fn new(promised: Durability, fails: Fails, events: u64) -> Self {
        let mut settings = settings();
        // No time passes under loom: the journal's thread works only when it is woken.
        settings.flush.write_within = Duration::from_secs(1 << 20);
        settings.flush.sync_within = Duration::from_secs(1 << 20);
        settings.flush.backlog_bytes = events * EVENT_BYTES;
        let seen = Arc::new(Seen::default());
        let journal = Recorder {
            seen: Arc::clone(&seen),
            promised,
            fails,
        };
        let flushing = Flushing::new(settings.flush.clone(), &journal);
        let builder = Store::builder().settings(settings);
        let mut engine = builder.engine(Log::new(), Some(flushing));
        engine.core = Core::new(Log::with_journal(promised, Durability::Volatile), 1, 1);
        let store = Store::of(engine);
        let engine = Arc::clone(store.engine_arc());
        let journal = spawn(move || work(&engine, journal));
        Self { store, seen, journal }
    }

    /// Closes the store and waits until the journal's thread has ended. Returns what the journal has written and synced.
    fn close(self) -> (u64, u64) {
        let closed = self.store.close();
        self.journal.join().expect("the journal's thread ends");
        let flushing = self.store.engine().flushing.as_ref().expect("it has a journal");
        assert_eq!(closed.is_err(), flushing.fault().is_some());
        if closed.is_ok() {
            assert_eq!(flushing.backlog_bytes(), 0, "room that was not given back");
        }
        let Seen { written, synced } = &*self.seen;
        (written.load(Ordering::Relaxed), synced.load(Ordering::Relaxed))
    }
}

fn work(engine: &Engine, journal: Recorder) {
    let flushing = engine.flushing.as_ref().expect("the engine has a journal");
    Flusher::new(Box::new(journal)).run(engine, flushing);
}

/// Bytes of an event of [`append`] in the backlog.
const EVENT_BYTES: u64 = 102;

/// Appends one event.
fn append(store: &Store, durability: Durability) -> Result<(), Error> {
    let stream = StreamId::new("Account", "a");
    let store = store.with_durability(durability).expect("the journal promises it");
    store.append(&stream, Expected::Any, NewEvent::new("E")).map(drop)
}

fn spawn_append(store: &Store, durability: Durability) -> loom::thread::JoinHandle<Result<(), Error>> {
    let store = store.clone();
    spawn(move || append(&store, durability))
}

fn is_failure(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Failed { cause: error }) if error.kind() == JournalErrorKind::Failed)
}

#[test]
fn appends_that_wait_for_room_are_woken_when_it_is_given_back() {
    model(|| {
        let simulated = Simulated::new(Durability::Written, Fails::Nothing, 1);
        let other = spawn_append(&simulated.store, Durability::Volatile);
        append(&simulated.store, Durability::Volatile).expect("there is room in the end");
        other.join().expect("a writer ends").expect("there is room in the end");
        assert_eq!(simulated.close(), (2, 0));
    });
}

#[test]
fn appends_that_wait_for_a_write_or_a_sync_are_woken_by_it() {
    model(|| {
        let simulated = Simulated::new(Durability::Synced, Fails::Nothing, 10);
        let other = spawn_append(&simulated.store, Durability::Written);
        append(&simulated.store, Durability::Synced).expect("nothing fails");
        assert!(simulated.store.reached(Durability::Synced).0 > 0);
        other.join().expect("a writer ends").expect("nothing fails");
        assert_eq!(simulated.close(), (2, 2));
    });
}

#[test]
fn appends_that_wait_for_a_write_are_woken_when_it_fails() {
    model(|| {
        let simulated = Simulated::new(Durability::Written, Fails::Write, 10);
        let other = spawn_append(&simulated.store, Durability::Written);
        assert!(is_failure(&append(&simulated.store, Durability::Written)));
        assert!(is_failure(&other.join().expect("a writer ends")));
        assert_eq!(simulated.close(), (0, 0));
    });
}

#[test]
fn appends_that_wait_for_a_sync_are_woken_when_it_fails() {
    model(|| {
        let simulated = Simulated::new(Durability::Synced, Fails::Sync, 10);
        let other = spawn_append(&simulated.store, Durability::Synced);
        assert!(is_failure(&append(&simulated.store, Durability::Synced)));
        assert!(is_failure(&other.join().expect("a writer ends")));
        assert_eq!(simulated.close().1, 0);
    });
}

#[test]
fn appends_that_wait_for_room_are_woken_when_the_journal_fails() {
    model(|| {
        let simulated = Simulated::new(Durability::Written, Fails::Write, 1);
        let other = spawn_append(&simulated.store, Durability::Volatile);
        let mine = append(&simulated.store, Durability::Volatile);
        let theirs = other.join().expect("a writer ends");
        // One append took the only room; the other requested room, or came after the journal had failed.
        assert!(is_failure(&mine) != is_failure(&theirs), "{mine:?}, {theirs:?}");
        simulated.close();
    });
}
