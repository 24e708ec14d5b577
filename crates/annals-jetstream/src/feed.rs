//! The feed of a store: what the reading task has read, in batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::Position;
use annals::journal::{Batch, Feed, JournalError, JournalErrorKind, Recover, Recovered};
use tokio::task::AbortHandle;

use crate::connection::Connection;
use crate::message;
use crate::shared::Shared;

/// Events of a batch, unless one append has more.
const BATCH_EVENTS: usize = 1000;
/// How long one message may take to arrive.
const NEXT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_secs(1);
/// How long the server may tell an earlier end than the one that was read: a server that is no leader any more does so for a while.
const BEHIND: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct StreamFeed {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    reader: Option<AbortHandle>,
    /// The message and the position that the store has.
    done: (u64, u64),
    /// When the server last reported the end of the stream.
    asked: Option<Instant>,
    /// Since when the server has told an end that was passed before.
    behind: Option<Instant>,
}

impl StreamFeed {
    pub(crate) fn new(connection: Arc<Connection>, shared: Arc<Shared>) -> Self {
        let mut feed = Self {
            connection,
            shared,
            reader: None,
            done: (0, 0),
            asked: None,
            behind: None,
        };
        feed.restart();
        feed
    }

    /// Reads again from the last message that the store has.
    fn restart(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
        self.asked = None;
        let (sequence, position) = self.done;
        self.reader = self.connection.start_reader(&self.shared, sequence, position);
    }

    /// The message to read to. The server is asked for its end at most once a poll: what an append of this process waits for was read before.
    fn end(&mut self) -> Result<u64, JournalError> {
        if self.asked.is_some_and(|asked| asked.elapsed() < POLL) {
            return Ok(self.shared.read_to());
        }
        let end = self.connection.end()?;
        self.check_end(end)?;
        self.asked = Some(Instant::now());
        Ok(end)
    }

    /// # Errors
    ///
    /// [`Retry`](JournalErrorKind::Retry) when the stream ends before what was read, and [`Corrupt`](JournalErrorKind::Corrupt) when it still does after a
    /// while: messages were lost.
    fn check_end(&mut self, end: u64) -> Result<(), JournalError> {
        let read = self.done.0;
        if end >= read {
            self.behind = None;
            return Ok(());
        }
        let message =
            format!("the stream ends with message {end}, and message {read} was read: the server has lost messages");
        let since = *self.behind.get_or_insert_with(Instant::now);
        if since.elapsed() < BEHIND {
            return Err(JournalError::new(JournalErrorKind::Retry, message));
        }
        Err(JournalError::corrupt(message))
    }

    fn pass(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let end = self.end()?;
        let (mut batch, mut bytes, mut done) = (Batch::new(), 0, self.done);
        while let Some((mut first, read)) = self.shared.take(end, Instant::now() + NEXT)? {
            for events in &read.parts {
                message::place(&mut batch, events, first);
                first += events.len() as u64;
            }
            bytes += read.bytes as u64;
            done = (read.sequence, first - 1);
            if batch.len() >= BATCH_EVENTS {
                into.batch(std::mem::take(&mut batch))?;
                into.progress(read.sequence, end.max(read.sequence));
            }
            if done.0 >= end {
                break;
            }
        }
        if !batch.is_empty() {
            into.batch(batch)?;
        }
        self.done = done;
        Ok(Recovered::new(bytes, 0))
    }
}

impl Feed for StreamFeed {
    fn next(&mut self, _: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let passed = self.pass(into);
        if passed.is_err() {
            self.restart();
        }
        passed
    }

    fn wait(&mut self) {
        self.shared.wait(POLL);
    }
}

impl Drop for StreamFeed {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }
}
