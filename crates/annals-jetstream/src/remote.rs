//! Appends: messages that the server takes only behind the last one of their aggregate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::journal::{JournalError, JournalErrorKind, Remote, RemoteAppend};
use annals::{Appended, Error, Position, Result};

use crate::connection::Connection;
use crate::judge::{Verdict, judge, settled};
use crate::publish::{Published, publish};
use crate::shared::Shared;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses while the server does not answer.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct StreamRemote {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
}

/// An append to one or more aggregates, and what it has tried.
#[derive(Debug)]
struct Attempt<'a> {
    remote: &'a StreamRemote,
    appends: &'a [RemoteAppend<'a>],
    unchanged_since: Option<Position>,
    deadline: Instant,
    /// Whether it was judged by the end of the stream.
    is_new: bool,
    /// Whether the server has, or may have, messages of it.
    was_sent: bool,
}

impl StreamRemote {
    pub(crate) fn new(connection: Arc<Connection>, shared: Arc<Shared>) -> Self {
        Self { connection, shared }
    }
}

impl Attempt<'_> {
    fn run(mut self) -> Result<Vec<Appended>> {
        // What is known here may be old: a refusal is judged again at the end of the stream, and the server finds a conflict that is missed here when
        // events are published.
        let (mut verdict, mut end) = self.judge();
        let has_events = |append: &RemoteAppend<'_>| !append.events().is_empty();
        let is_sent = self.appends.iter().any(has_events);
        loop {
            (verdict, end) = match verdict {
                Verdict::Stored(appended) if is_sent || self.is_new => return Ok(self.acknowledge(appended)),
                Verdict::Refused(error) if self.is_new => return Err(error),
                Verdict::Stored(_) | Verdict::Refused(_) => self.judge_again()?,
                Verdict::Fits(places) => {
                    // An aggregate that gets no event has no message whose place the server could check.
                    let is_fenced = self.unchanged_since.is_some() || !self.appends.iter().all(has_events);
                    let end = Some(end).filter(|_| is_fenced);
                    let published = publish(&self.remote.connection, self.appends, &places, end)?;
                    self.settle(published)?
                }
            };
        }
    }

    /// Judges the append by what is known of the stream. Returns the sequence of the last message with it.
    fn judge(&self) -> (Verdict, u64) {
        let state = self.remote.shared.lock();
        let heads = &state.heads;
        let settled = if self.was_sent {
            settled(heads, self.appends)
        } else {
            None
        };
        let verdict = settled.map_or_else(|| judge(heads, self.appends, self.unchanged_since), Verdict::Stored);
        (verdict, heads.sequence)
    }

    /// Judges the append by all that the stream has now.
    fn judge_again(&mut self) -> Result<(Verdict, u64)> {
        let end = self.remote.connection.end()?;
        self.remote.shared.await_head(end, self.deadline)?;
        self.is_new = true;
        Ok(self.judge())
    }

    /// Judges the append again after it was published. If the answer was lost, the stream shows whether the messages arrived.
    fn settle(&mut self, published: Published) -> Result<(Verdict, u64)> {
        match published {
            Published::As(sequence) => {
                self.was_sent = true;
                // The server has stored the append; a failed read does not change that.
                let read = self.remote.shared.await_head(sequence, self.deadline);
                read.map_err(|cause| Error::Unavailable { cause })?;
                return Ok(self.judge());
            }
            Published::Late => self.check_time(|| {
                JournalError::new(
                    JournalErrorKind::Retry,
                    "another append to the aggregate was stored first, at each attempt",
                )
            })?,
            Published::Refused(cause) => return Err(Error::Unavailable { cause }),
            Published::Unknown(cause) => {
                self.was_sent = true;
                self.check_time(|| cause)?;
                std::thread::park_timeout(PAUSE);
            }
        }
        self.judge_again()
    }

    /// An append that finds its own messages is no repetition.
    fn acknowledge(&self, mut appended: Vec<Appended>) -> Vec<Appended> {
        for appended in &mut appended {
            appended.repeated &= !self.was_sent;
        }
        appended
    }

    /// # Errors
    ///
    /// [`Error::Unavailable`] after the deadline, and once the store is closing.
    fn check_time(&self, cause: impl FnOnce() -> JournalError) -> Result<()> {
        if Instant::now() >= self.deadline || self.remote.shared.lock().is_stopped() {
            return Err(Error::Unavailable { cause: cause() });
        }
        Ok(())
    }
}

impl Remote for StreamRemote {
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        let mut appended = self.append_all(std::slice::from_ref(append), None)?;
        appended.pop().ok_or_else(|| Error::Unavailable {
            cause: JournalError::failed("an append has no acknowledgement"),
        })
    }

    fn append_all(&self, appends: &[RemoteAppend<'_>], unchanged_since: Option<Position>) -> Result<Vec<Appended>> {
        let attempt = Attempt {
            remote: self,
            appends,
            unchanged_since,
            deadline: Instant::now() + TIMEOUT,
            is_new: false,
            was_sent: false,
        };
        attempt.run()
    }

    fn appends_to_several(&self) -> bool {
        self.connection.no_batches.is_none()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn wake(&self) {
        self.shared.wake();
    }

    fn stop(&self) {
        self.shared.stop();
    }
}
