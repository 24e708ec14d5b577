//! Following the database: the head is polled, and appends are refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::journal::{Feed, JournalError, JournalErrorKind as Kind, Recover, Recovered, Remote, RemoteAppend};
use annals::{Appended, Error, Position, Result};
use parking_lot::{Condvar, Mutex};

use crate::address::Address;
use crate::head::{self, Head};
use crate::read;
use crate::server::Server;

const POLL: Duration = Duration::from_millis(100);
/// How long the head may be behind what was read: a primary that was deposed shows an earlier one for a while.
const BEHIND: Duration = Duration::from_secs(10);
/// How long a store that closes waits for a read.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Ends waits.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// Whether the next wait ends at once, and whether all do.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Signal {
    fn wait(&self) {
        let mut state = self.state.lock();
        let is_idle = |state: &mut (bool, bool)| !state.0 && !state.1;
        self.changed.wait_while_for(&mut state, is_idle, POLL);
        state.0 = false;
    }

    fn set(&self, stops: bool) {
        let mut state = self.state.lock();
        *state = (true, state.1 || stops);
        self.changed.notify_all();
    }
}

/// Reads what the writer appends.
#[derive(Debug)]
pub(crate) struct MongoFeed {
    server: Server,
    signal: Arc<Signal>,
    /// The id of the store that was read.
    store: Option<String>,
    /// Since when the head has been behind what was read.
    behind: Option<Instant>,
    /// Since when events up to the head have been missing.
    missing: Option<Instant>,
}

impl MongoFeed {
    pub(crate) fn open(address: &Address, signal: Arc<Signal>) -> Result<Self, JournalError> {
        Ok(Self {
            server: Server::connect(address)?,
            signal,
            store: None,
            behind: None,
            missing: None,
        })
    }

    fn head(&self) -> Result<Option<Head>, JournalError> {
        self.server
            .run("read the head of", |data| async move { head::read(&data).await })
    }

    /// # Errors
    ///
    /// [`Corrupt`](Kind::Corrupt) when the store is another one, or has lost events.
    fn check(&mut self, head: &Head, after: u64) -> Result<(), JournalError> {
        let address = self.server.address();
        let store = self.store.get_or_insert_with(|| head.store.clone());
        if *store != head.store {
            let message = format!("{address} is another store than the one that was read: open it again");
            return Err(JournalError::corrupt(message));
        }
        if head.position >= after {
            self.behind = None;
            return Ok(());
        }
        let message = format!(
            "{address} ends with position {}, and position {after} was read: the server has lost events",
            head.position
        );
        let since = *self.behind.get_or_insert_with(Instant::now);
        let kind = if since.elapsed() < BEHIND {
            Kind::Retry
        } else {
            Kind::Corrupt
        };
        Err(JournalError::new(kind, message))
    }

    /// A new primary may show a later head than the events that it shows: damage is one that lasts.
    fn missing(&mut self, error: JournalError) -> JournalError {
        let since = *self.missing.get_or_insert_with(Instant::now);
        if error.kind() == Kind::Corrupt && since.elapsed() < BEHIND {
            return JournalError::new(Kind::Retry, error.to_string());
        }
        error
    }
}

impl Feed for MongoFeed {
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let Some(head) = self.head()? else {
            let message = format!(
                "there is no store at {}: open it for writing first",
                self.server.address()
            );
            return Err(JournalError::new(Kind::Unsupported, message));
        };
        self.check(&head, after.0)?;
        let parts = read::pass(&self.server, after.0, head.position, into);
        let parts = parts.map_err(|error| self.missing(error))?;
        self.missing = None;
        Ok(Recovered::new(parts.iter().map(|part| part.bytes).sum(), 0))
    }

    fn wait(&mut self) {
        self.signal.wait();
    }
}

/// Refuses appends: one process writes.
#[derive(Debug)]
pub(crate) struct NoRemote {
    address: Address,
    signal: Arc<Signal>,
}

impl NoRemote {
    pub(crate) fn new(address: Address, signal: Arc<Signal>) -> Self {
        Self { address, signal }
    }
}

impl Remote for NoRemote {
    fn append(&self, _: &RemoteAppend<'_>) -> Result<Appended> {
        let message = format!(
            "cannot append to a store that follows {}, because MongoDB has one writer: append in the process that opened the store for writing",
            self.address
        );
        Err(Error::Invalid {
            message: message.into(),
        })
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn wake(&self) {
        self.signal.set(false);
    }

    fn stop(&self) {
        self.signal.set(true);
    }
}
