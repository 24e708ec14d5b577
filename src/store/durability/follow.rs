//! Following the log of another writer: a thread reads its new events, which readers then see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::journal::{Batch, Feed, Followed, JournalError, JournalErrorKind, Recover, Remote, RemoteAppend};
use crate::store::append::own_ids::OwnIds;
use crate::store::append::prepare;
use crate::store::builder::Builder;
use crate::store::durability::follow_future::CallThreads;
use crate::store::durability::recover::Recovery;
use crate::store::durability::ticket;
use crate::store::log::positions::Log;
use crate::store::log::signal::Signal;
use crate::store::reader::EventReader;
use crate::store::{Engine, Store};
use crate::worker::Worker;
use crate::{Appended, Durability, Error, Expected, NewEvent, Position, Result, StreamId};

/// The first wait before a retry; each wait is twice the previous one, up to a second.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// State shared by the following thread and appends.
#[derive(Debug)]
pub(crate) struct Following {
    pub(in crate::store) remote: Box<dyn Remote>,
    /// Why it cannot read new events now.
    fault: Mutex<Option<JournalError>>,
    stopping: AtomicBool,
    /// Notified when the thread is to stop, and when it has ended.
    stop: Signal,
    has_ended: AtomicBool,
    worker: Worker,
    call_threads: CallThreads,
}

impl Builder {
    /// Opens a store in memory that follows a log: it reads the existing events, and then those that other processes append. [`Store::follow`] does
    /// so for a URL.
    ///
    /// An [append](Store::append) goes through the [`Remote`], and returns when this store has read the events. Appends to several aggregates or
    /// under a condition fail with [`Invalid`](Error::Invalid) unless the remote can make them. Changes of an aggregate need the locks of a store, and
    /// always do.
    ///
    /// While the log cannot be read, reads return the events so far, and [`fault`](Store::fault) returns the error.
    ///
    /// ```
    /// # #[cfg(feature = "testing")]
    /// # {
    /// use annals::testing::personality::Personality;
    /// use annals::{Expected, NewEvent, Store, StreamId};
    ///
    /// let store = Store::in_memory();
    /// let follower = Store::builder().follow_log(store.log_like(&Personality::postgres()))?;
    /// store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced")])?;
    /// follower.wait_visible(annals::Position(1));
    /// assert_eq!(follower.read_stream("order-1").events().len(), 1);
    /// # }
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the builder has a journal or archives, or is read-only, and when a setting is out of range;
    /// [`Unavailable`](Error::Unavailable) when the log cannot be read now; [`Corrupt`](Error::Corrupt) when it is damaged;
    /// [`Unreadable`](Error::Unreadable) when it cannot be read permanently.
    pub fn follow_log(mut self, followed: Followed) -> Result<Store> {
        let (mut feed, remote) = followed.into_parts();
        self.check()?;
        self.check_follows()?;
        ticket::check(self.settings.durability, Durability::Synced)?;
        let mut progress = std::mem::replace(&mut self.progress, Box::new(|_, _| {}));
        // The feed returns only synced events, so readers never wait for a sync.
        let log = Log::with_journal(Durability::Synced, Durability::Volatile);
        let mut engine = self.whole_engine(log, None)?;
        let filled = engine.fill(&mut *progress, |into| feed.next(Position(0), into));
        filled.map_err(Error::of_reader)?;
        engine.following = Some(Following::new(remote));
        let store = Store::of(engine);
        if let Some(following) = &store.engine().following {
            following.start(store.engine_arc(), feed)?;
        }
        Ok(store)
    }

    /// Opens a read-only store with the current events of a log, and drops the feed.
    ///
    /// # Errors
    ///
    /// As [`follow_log`](Self::follow_log).
    pub fn read_log(mut self, mut feed: impl Feed) -> Result<Store> {
        self.read_only = false;
        self.check()?;
        self.check_follows()?;
        let mut progress = std::mem::replace(&mut self.progress, Box::new(|_, _| {}));
        let mut engine = self.whole_engine(Log::new(), None)?;
        engine.opened.read_only = Some("it was opened with `read_only`; open it without `read_only` to append");
        let filled = engine.fill(&mut *progress, |into| feed.next(Position(0), into));
        filled.map_err(Error::of_reader)?;
        let store = Store::of(engine);
        store.close()?;
        Ok(store)
    }

    fn check_follows(&self) -> Result<()> {
        let with = match (&self.journal, self.archives.is_empty(), self.read_only) {
            (Some(_), ..) => {
                "a journal cannot be set for a store that follows, because it reads another log: open the store without it"
            }
            (None, false, _) => "archives cannot be attached to a store that follows: open the store without following",
            (None, true, true) => {
                "a store that follows is not read-only: read the log with `read_log`, or open the store without `read_only`"
            }
            (None, true, false) => return Ok(()),
        };
        Err(Error::invalid(with))
    }

    /// Whether the store is opened read-only and without archives.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_read_alone(&self) -> bool {
        self.read_only && self.archives.is_empty()
    }
}

#[cfg(feature = "testing")]
impl Store {
    /// A builder of a store that follows this one: the same limits and the same clock.
    pub(crate) fn builder_of_follower(&self) -> Builder {
        let engine = self.engine();
        let settings = crate::Settings {
            limits: engine.settings.limits.clone(),
            ..crate::Settings::default()
        };
        Self::builder().settings(settings).clock(Arc::clone(&engine.clock))
    }
}

impl Following {
    fn new(remote: Box<dyn Remote>) -> Self {
        Self {
            remote,
            fault: Mutex::new(None),
            stopping: AtomicBool::new(false),
            stop: Signal::default(),
            has_ended: AtomicBool::new(false),
            worker: Worker::default(),
            call_threads: CallThreads::default(),
        }
    }

    /// Starts the following thread.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the system cannot start a thread.
    fn start(&self, engine: &Arc<Engine>, mut feed: Box<dyn Feed>) -> Result<()> {
        let engine = Arc::clone(engine);
        let follow = move || {
            if let Some(following) = &engine.following {
                following.run(&engine, &mut *feed);
            }
        };
        self.worker.start("annals-follow".to_owned(), follow).map_err(|error| {
            JournalError::new(JournalErrorKind::Retry, "cannot start the thread that follows the log").caused_by(error)
        })?;
        Ok(())
    }

    /// Reads new events until the store is closed, or the log can no longer be followed.
    fn run(&self, engine: &Engine, feed: &mut dyn Feed) {
        let _end = End(engine);
        let mut pause = RETRY_FIRST;
        while !self.is_stopping() {
            let read = engine.read_on(self, feed);
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

    /// The threads that append for futures.
    pub(in crate::store) fn call_threads(&self) -> &CallThreads {
        &self.call_threads
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Stops the thread, and waits for it unless the caller is the thread itself; at most for the timeout of the remote, because a feed may not
    /// end its call. The thread then ends after that call, and adds nothing.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stop.notify();
        self.remote.stop();
        self.call_threads.stop();
        let deadline = Instant::now().checked_add(self.remote.timeout());
        let has_ended = || self.has_ended.load(Ordering::SeqCst);
        self.worker.join_or_leave(|| {
            self.stop.wait_while(deadline, || !has_ended());
            has_ended()
        });
    }

    /// Why it cannot read new events now.
    pub(crate) fn fault(&self) -> Option<JournalError> {
        self.fault.lock().clone()
    }

    /// # Errors
    ///
    /// The error after which the log can no longer be followed.
    pub(crate) fn check(&self) -> Result<()> {
        let is_final = |error: &JournalError| error.kind() != JournalErrorKind::Retry;
        match self.fault().filter(is_final) {
            Some(error) if error.kind() == JournalErrorKind::Corrupt => Err(Error::Corrupt { cause: error }),
            Some(error) => Err(Error::Failed { cause: error }),
            None => Ok(()),
        }
    }
}

/// Closes the log when the following thread ends, also by a panic, so that tails end.
struct End<'a>(&'a Engine);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(following) = &self.0.following
        {
            *following.fault.lock() = Some(JournalError::failed("the thread that follows panicked"));
        }
        self.0.core.log.close();
        if let Some(following) = &self.0.following {
            following.has_ended.store(true, Ordering::SeqCst);
            following.stop.notify();
        }
    }
}

impl Engine {
    /// Adds the new events of the feed: all events of the round, or none if it is damaged.
    fn read_on(&self, following: &Following, feed: &mut dyn Feed) -> Result<(), JournalError> {
        let mut round = Round {
            batches: Vec::new(),
            following,
        };
        feed.next(Position(self.core.log.published()), &mut round)?;
        if round.batches.is_empty() || following.is_stopping() {
            return Ok(());
        }
        // A fork has all events of a round or none.
        let whole = self.retention.changing.read();
        let mut progress = |_, _| {};
        let mut recovery = Recovery::new(self, &mut progress);
        // After an error nothing of the round becomes visible, and following ends.
        round.batches.into_iter().try_for_each(|batch| recovery.take(batch))?;
        let last = recovery.position();
        self.core.log.followed_to(last);
        drop(whole);
        self.assist(last);
        self.note_log_age();
        self.make_room();
        Ok(())
    }
}

impl Engine {
    /// Appends through the writer of the log, and returns when the events are visible here.
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
        let ids = self.ids_of(events);
        let has_own_ids = events.iter().all(|event| event.id.is_some());
        let append = RemoteAppend::new(stream, expected, events, &ids, has_own_ids);
        let appended = following.remote.append(&append);
        // After a conflict the caller reads again, and needs the newest events.
        following.remote.wake();
        let appended = appended?;
        if let Some(id) = ids.last() {
            check_acknowledged(&appended, ids.len())?;
            self.await_followed(following, &appended)?;
            self.check_followed(&appended, *id)?;
        }
        Ok(appended)
    }

    /// The ids of events: their own, or new ones.
    pub(in crate::store) fn ids_of(&self, events: &[NewEvent<'_>]) -> Vec<Uuid> {
        let now = self.clock.now();
        let id = |event: &NewEvent<'_>| event.id.unwrap_or_else(|| self.ids.next(now));
        events.iter().map(id).collect()
    }

    /// # Errors
    ///
    /// [`Error::Corrupt`] if the last event that the remote acknowledged is another one.
    pub(in crate::store) fn check_followed(&self, appended: &Appended, id: Uuid) -> Result<()> {
        let position = appended.last_position;
        let mut reader = EventReader::new(&self.core);
        match reader.event(position.0).map(|event| event.id()) {
            Some(found) if found != id => Err(Error::Corrupt {
                cause: JournalError::corrupt(format!(
                    "the remote acknowledged the event {id} at position {position}, where the feed has the event {found}: they are not of one log"
                )),
            }),
            // The event may have been dropped since.
            Some(_) | None => Ok(()),
        }
    }

    pub(in crate::store) fn await_followed(&self, following: &Following, appended: &Appended) -> Result<()> {
        let (log, last) = (&self.core.log, appended.last_position.0);
        let deadline = Instant::now().checked_add(following.remote.timeout());
        log.visible_signal()
            .wait_while(deadline, || log.visible() < last && !log.is_closed());
        if log.visible() >= last {
            return Ok(());
        }
        let message = format!(
            "the events are stored at the positions {} to {last}, but are not visible here yet: do not append them again, and wait for \
             position {last}",
            appended.first_position
        );
        let error = JournalError::new(JournalErrorKind::Retry, message);
        Err(Error::Unavailable {
            cause: match following.fault() {
                Some(fault) => error.caused_by(fault),
                None => error,
            },
        })
    }
}

/// # Errors
///
/// [`Error::Corrupt`] if a remote acknowledges fewer positions or versions than events. Events of earlier appends may lie between those of an append that
/// is repeated.
pub(in crate::store) fn check_acknowledged(appended: &Appended, count: usize) -> Result<()> {
    let has_all = |first: u64, last: u64| first > 0 && last >= first && last - first >= count as u64 - 1;
    let (positions, versions) = (
        (appended.first_position, appended.last_position),
        (appended.first_version, appended.last_version),
    );
    if has_all(positions.0.0, positions.1.0) && has_all(versions.0.0, versions.1.0) {
        return Ok(());
    }
    Err(Error::Corrupt {
        cause: JournalError::corrupt(format!(
            "the remote acknowledged the positions {} to {} and the versions {} to {} for an append of {count} events: whether they were appended is \
         not known",
            positions.0, positions.1, versions.0, versions.1
        )),
    })
}

/// Events that were read but are not visible yet: a batch may end within an append, a whole round does not.
struct Round<'a> {
    batches: Vec<Batch>,
    following: &'a Following,
}

impl Recover for Round<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        if self.following.is_stopping() {
            return Err(JournalError::new(
                JournalErrorKind::Retry,
                "the store that follows is closing",
            ));
        }
        self.batches.push(batch);
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}
