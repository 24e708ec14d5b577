//! Appends: messages that the server takes only behind the last one of their aggregate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::journal::{JournalError, JournalErrorKind, Remote, RemoteAppend};
use annals::{Appended, Clock as _, Durability, Error, Position, Result, SystemClock, Version};
use async_nats::header::{HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};

use crate::connection::Connection;
use crate::judge::{Verdict, judge};
use crate::message;
use crate::shared::Shared;
use crate::subject;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses while the server does not answer.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a message beside its body: the subject, and the header.
const OVERHEAD: usize = 128;

#[derive(Debug)]
pub(crate) struct StreamRemote {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
}

/// How a publish ended.
enum Published {
    /// The server stored the message with this sequence.
    As(u64),
    /// Another message of the aggregate was stored first.
    Late,
    /// The server refused the message.
    Refused(JournalError),
    /// Whether the server stored the message is not known.
    Unknown(JournalError),
}

/// What an append has tried.
#[derive(Debug, Default)]
struct Tries {
    /// Whether it was judged by the end of the stream.
    is_new: bool,
    /// Whether the server has, or may have, a message of it.
    was_sent: bool,
}

impl Tries {
    /// An append that finds its own message is no repetition.
    fn acknowledge(&self, mut appended: Appended) -> Appended {
        appended.repeated &= !self.was_sent;
        appended
    }
}

impl StreamRemote {
    pub(crate) fn new(connection: Arc<Connection>, shared: Arc<Shared>) -> Self {
        Self { connection, shared }
    }

    /// Judges an append by all that the stream has now.
    fn judge_again(&self, append: &RemoteAppend<'_>, deadline: Instant, tries: &mut Tries) -> Result<Verdict> {
        let end = self.connection.end()?;
        self.shared.await_head(end, deadline)?;
        tries.is_new = true;
        Ok(judge(&self.shared.lock().heads, append))
    }

    /// Judges an append again after it was published. If the answer was lost, the stream shows whether the message arrived.
    fn settle(
        &self,
        published: Published,
        append: &RemoteAppend<'_>,
        deadline: Instant,
        tries: &mut Tries,
    ) -> Result<Verdict> {
        match published {
            Published::As(sequence) => {
                tries.was_sent = true;
                // It is stored, whatever keeps it from being read.
                let read = self.shared.await_head(sequence, deadline);
                read.map_err(|cause| Error::Unavailable { cause })?;
                return Ok(judge(&self.shared.lock().heads, append));
            }
            Published::Late => self.check_time(deadline, || {
                JournalError::new(
                    JournalErrorKind::Retry,
                    "another append to the aggregate was stored first, at each attempt",
                )
            })?,
            Published::Refused(cause) => return Err(Error::Unavailable { cause }),
            Published::Unknown(cause) => {
                tries.was_sent = true;
                self.check_time(deadline, || cause)?;
                std::thread::park_timeout(PAUSE);
            }
        }
        self.judge_again(append, deadline, tries)
    }

    /// Publishes an append whose first event gets the version `first`, behind the message `after` of its aggregate.
    fn publish(&self, append: &RemoteAppend<'_>, after: u64, first: u64) -> Result<Published> {
        let body = message::encode(append, first, SystemClock.now())?;
        let subject = subject::of_aggregate(&self.connection.address.stream, &append.stream().aggregate_id);
        self.check_size(append, body.len() + subject.len() + OVERHEAD)?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, after.to_string());
        let context = self.connection.context.clone();
        let published = self.connection.wait(async move {
            let sent = context.publish_with_headers(subject, headers, body.into()).await?;
            sent.await
        });
        Ok(outcome(published))
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] before anything is sent: the server would end the connection, and with it the appends of other threads.
    fn check_size(&self, append: &RemoteAppend<'_>, bytes: usize) -> Result<()> {
        let most = self.connection.client.max_payload();
        let most = self.connection.message_bytes_max.map_or(most, |max| most.min(max));
        if bytes <= most {
            return Ok(());
        }
        let count = append.events().len();
        let message = format!(
            "the append of {count} events to '{}' is a message of {bytes} bytes, and the server takes {most} at most: append fewer events at a \
             time, or raise max_payload of the server, or max_msg_size of the stream",
            append.stream().aggregate_id
        );
        Err(Error::Invalid {
            message: message.into(),
        })
    }

    /// The acknowledgement of an append without events: the end of the aggregate.
    fn nothing(&self, append: &RemoteAppend<'_>) -> Appended {
        let state = self.shared.lock();
        let head = state.heads.get(&append.stream().aggregate_id);
        let (version, position) = (head.map_or(0, |head| head.version), state.heads.position);
        let next = (Version(version + 1), Position(position + 1));
        Appended::new(next, (Version(version), Position(position)), Durability::Synced)
    }

    /// # Errors
    ///
    /// [`Error::Unavailable`] after the deadline, and once the store is closing.
    fn check_time(&self, deadline: Instant, cause: impl FnOnce() -> JournalError) -> Result<()> {
        if Instant::now() >= deadline || self.shared.lock().is_stopped() {
            return Err(Error::Unavailable { cause: cause() });
        }
        Ok(())
    }
}

fn outcome(published: Option<std::result::Result<PublishAck, PublishError>>) -> Published {
    let unknown = || JournalError::new(JournalErrorKind::Retry, "the server has not acknowledged the append");
    match published {
        Some(Ok(acknowledged)) => Published::As(acknowledged.sequence),
        Some(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Published::Late,
        Some(Err(error)) => match refusal(&error) {
            // Of a stream with replicas, while the message of another is under way.
            Some(refusal) if refusal.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Published::Late,
            Some(refusal) if refusal.code() != 503 => {
                let message = "the server refuses the append";
                Published::Refused(JournalError::new(JournalErrorKind::Retry, message).caused_by(error))
            }
            Some(_) | None => Published::Unknown(unknown().caused_by(error)),
        },
        None => Published::Unknown(unknown()),
    }
}

/// The answer of the server.
fn refusal(error: &PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

impl Remote for StreamRemote {
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        let deadline = Instant::now() + TIMEOUT;
        let mut tries = Tries::default();
        let mut verdict = judge(&self.shared.lock().heads, append);
        loop {
            verdict = match verdict {
                Verdict::Stored(appended) => return Ok(tries.acknowledge(appended)),
                Verdict::Refused(error) if tries.is_new => return Err(error),
                Verdict::Refused(_) => self.judge_again(append, deadline, &mut tries)?,
                Verdict::Fits { .. } if append.events().is_empty() => return Ok(self.nothing(append)),
                Verdict::Fits { after, first } => {
                    let published = self.publish(append, after, first)?;
                    self.settle(published, append, deadline, &mut tries)?
                }
            };
        }
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
