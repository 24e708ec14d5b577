//! Following a log that others write: a thread reads on, and readers see what it has read.
#![cfg_attr(
    not(feature = "postgres"),
    expect(dead_code, reason = "a database alone can be followed")
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::builder::Builder;
use super::log::Log;
use super::prepare;
use super::recover::Recovery;
use super::repetition::OwnIds;
use super::signal::Signal;
use super::{Engine, Store, durable};
use crate::journal::{Batch, Feed, Followed, JournalError, JournalErrorKind, Recover, Remote, RemoteAppend};
use crate::{Append, Appended, Condition, Durability, Error, Expected, NewEvent, Position, Result, StreamId};

/// The first wait before what failed is tried again; every wait is twice the one before, up to a second.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// What the thread that reads on shares with appends.
#[derive(Debug)]
pub(crate) struct Following {
    remote: Box<dyn Remote>,
    /// Why it does not read on now.
    fault: Mutex<Option<JournalError>>,
    stopping: AtomicBool,
    /// Raised when it shall stop.
    stop: Signal,
    worker: Mutex<Option<JoinHandle<()>>>,
    thread: OnceLock<ThreadId>,
}

impl Builder {
    /// Makes a store that follows a log, and fills it with what there is.
    ///
    /// # Errors
    ///
    /// Those of the feed, and those of settings.
    pub(crate) fn open_following(mut self, followed: Followed) -> Result<Store> {
        let Followed { mut feed, remote } = followed;
        self.check()?;
        if !self.archives.is_empty() {
            return Err(Error::invalid(
                "archives are attached to a store that is opened, not to one that follows",
            ));
        }
        durable::check(self.settings.durability, Durability::Synced)?;
        let mut progress = std::mem::replace(&mut self.progress, Box::new(|_, _| {}));
        // What is read is synced where it comes from, so readers never wait for that.
        let log = Log::with_journal(Durability::Synced, Durability::Volatile);
        let mut engine = self.engine(log, None);
        let filled = engine.fill(&mut *progress, |into| feed.next(Position(0), into));
        filled.map_err(Error::of_reader)?;
        engine.following = Some(Following::new(remote));
        let store = Store::of(engine);
        if let Some(following) = &store.engine().following {
            following.start(store.engine_arc(), feed)?;
        }
        Ok(store)
    }
}

impl Builder {
    /// Whether the store is to be read, and nothing with it.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_read_alone(&self) -> bool {
        self.read_only && self.archives.is_empty()
    }

    /// Makes a store that is what a log is now.
    ///
    /// # Errors
    ///
    /// Those of the feed, and those of settings.
    #[cfg(feature = "postgres")]
    pub(crate) fn read_now(mut self, followed: Followed) -> Result<Store> {
        let Followed { mut feed, .. } = followed;
        self.check()?;
        let mut progress = std::mem::replace(&mut self.progress, Box::new(|_, _| {}));
        let mut engine = self.engine(Log::new(), None);
        engine.read_only = Some("it was opened by `read_only`, without which it can be appended to");
        let filled = engine.fill(&mut *progress, |into| feed.next(Position(0), into));
        filled.map_err(Error::of_reader)?;
        let store = Store::of(engine);
        store.close()?;
        Ok(store)
    }
}

impl Following {
    fn new(remote: Box<dyn Remote>) -> Self {
        Self {
            remote,
            fault: Mutex::new(None),
            stopping: AtomicBool::new(false),
            stop: Signal::default(),
            worker: Mutex::new(None),
            thread: OnceLock::new(),
        }
    }

    /// Begins to read on.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the system has no thread left.
    fn start(&self, engine: &Arc<Engine>, mut feed: Box<dyn Feed>) -> Result<()> {
        let engine = Arc::clone(engine);
        let thread = std::thread::Builder::new()
            .name("annals-follow".to_owned())
            .spawn(move || {
                if let Some(following) = &engine.following {
                    following.thread.get_or_init(|| std::thread::current().id());
                    following.run(&engine, &mut *feed);
                }
            })
            .map_err(|error| {
                JournalError::new(JournalErrorKind::Retry, "no thread to follow with could be started").caused_by(error)
            })?;
        *self.worker.lock() = Some(thread);
        Ok(())
    }

    /// Reads on until the store is closed, or the log is not to be followed any more.
    fn run(&self, engine: &Engine, feed: &mut dyn Feed) {
        let _end = End(engine);
        let mut pause = RETRY_FIRST;
        while !self.is_stopping() {
            let read = engine.read_on(feed);
            if self.is_stopping() {
                return;
            }
            let is_final = matches!(&read, Err(error) if error.kind() != JournalErrorKind::Retry);
            let failed = read.is_err();
            *self.fault.lock() = read.err();
            if is_final {
                return;
            }
            if failed {
                let deadline = Instant::now() + pause;
                self.stop.wait_while(Some(deadline), || !self.is_stopping());
                pause = (pause * 2).min(RETRY_LONGEST);
            } else {
                pause = RETRY_FIRST;
                feed.wait();
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Ends the work, and waits for that, unless it is the thread itself that asks.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stop.notify();
        self.remote.stop();
        if self.thread.get() == Some(&std::thread::current().id()) {
            return;
        }
        if let Some(thread) = self.worker.lock().take() {
            // One that panicked has closed the log.
            drop(thread.join());
        }
    }

    /// Why it does not read on now.
    pub(crate) fn fault(&self) -> Option<JournalError> {
        self.fault.lock().clone()
    }

    /// # Errors
    ///
    /// What the log cannot be followed for any more.
    pub(crate) fn check(&self) -> Result<()> {
        let is_final = |error: &JournalError| error.kind() != JournalErrorKind::Retry;
        match self.fault().filter(is_final) {
            Some(error) if error.kind() == JournalErrorKind::Corrupt => Err(Error::Corrupt(error)),
            Some(error) => Err(Error::Failed(error)),
            None => Ok(()),
        }
    }
}

/// Closes the log when nobody reads on any more, in whatever way that came: tails end.
struct End<'a>(&'a Engine);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(following) = &self.0.following
        {
            *following.fault.lock() = Some(JournalError::failed("the thread that follows panicked"));
        }
        self.0.core.log.close();
    }
}

impl Engine {
    /// Takes over what has come.
    fn read_on(&self, feed: &mut dyn Feed) -> Result<(), JournalError> {
        let mut round = Round::default();
        feed.next(Position(self.core.log.published()), &mut round)?;
        if round.0.is_empty() {
            return Ok(());
        }
        // A fork has all of a round or nothing.
        let whole = self.changing.read();
        let mut progress = |_, _| {};
        let mut recovery = Recovery::new(self, &mut progress);
        let taken = round.0.into_iter().try_for_each(|batch| recovery.take(batch));
        let last = recovery.position();
        self.core.log.followed_to(last);
        drop(whole);
        self.indexes.main.assist(&self.core, last);
        self.note_log_age();
        self.make_room();
        taken
    }
}

impl Engine {
    /// Appends where the log is written, and returns when it can be read here.
    pub(crate) fn append_elsewhere(
        &self,
        following: &Following,
        stream: &StreamId,
        expected: Expected,
        events: &[NewEvent<'_>],
    ) -> Result<Appended> {
        self.check_open()?;
        prepare::check(stream, events, &self.settings.limits)?;
        OwnIds::of(events)?;
        let now = self.clock.now();
        let id = |event: &NewEvent<'_>| event.id.unwrap_or_else(|| self.ids.next(now));
        let ids: Vec<_> = events.iter().map(id).collect();
        let appended = following.remote.append(&RemoteAppend {
            stream,
            expected,
            events,
            ids: &ids,
            has_own_ids: events.iter().all(|event| event.id.is_some()),
        });
        // After a conflict the caller reads again, and is to find what there is.
        following.remote.wake();
        let appended = appended?;
        if !events.is_empty() {
            self.await_followed(following, &appended)?;
        }
        Ok(appended)
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] for more than one aggregate, or a condition: those take the locks of a store.
    pub(crate) fn append_all_elsewhere(
        &self,
        following: &Following,
        appends: &[Append<'_>],
        condition: Option<&Condition>,
    ) -> Result<Vec<Appended>> {
        match (appends, condition) {
            ([], None) => Ok(Vec::new()),
            ([part], None) => self
                .append_elsewhere(following, &part.stream, part.expected, &part.events)
                .map(|appended| vec![appended]),
            _ => Err(Error::invalid(
                "a store that follows appends to one aggregate at a time, and under no condition: what others append meanwhile it cannot \
                 hold up; open the store as its writer",
            )),
        }
    }

    fn await_followed(&self, following: &Following, appended: &Appended) -> Result<()> {
        let (log, last) = (&self.core.log, appended.last_position.0);
        let deadline = Instant::now().checked_add(following.remote.patience());
        log.visible_signal()
            .wait_while(deadline, || log.visible() < last && !log.is_closed());
        if log.visible() >= last {
            return Ok(());
        }
        let message = format!(
            "the events are stored, at the positions {} to {last}, and cannot be read here yet: do not append them again, and wait for \
             position {last}",
            appended.first_position
        );
        let error = JournalError::new(JournalErrorKind::Retry, message);
        Err(Error::Unavailable(match following.fault() {
            Some(fault) => error.caused_by(fault),
            None => error,
        }))
    }
}

/// What was read until readers may see it: a batch may end within an append, the whole does not.
#[derive(Default)]
struct Round(Vec<Batch>);

impl Recover for Round {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        self.0.push(batch);
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}
