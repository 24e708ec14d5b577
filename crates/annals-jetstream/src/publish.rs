//! Publishing: an append to one aggregate is a message, one to several is an atomic batch of messages.

use annals::journal::{JournalError, JournalErrorKind, RemoteAppend};
use annals::{Clock as _, Error, Result, SystemClock};
use async_nats::Client;
use async_nats::header::{
    HeaderMap, NATS_BATCH_COMMIT, NATS_BATCH_ID, NATS_BATCH_SEQUENCE, NATS_EXPECTED_LAST_SEQUENCE,
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, Context, ErrorCode};

use crate::connection::Connection;
use crate::judge::Place;
use crate::message::{self, BODY_BYTES_MAX, PARTS_MAX};
use crate::subject;

/// Bytes of a message beside its body: the subject, and the header.
const OVERHEAD: usize = 256;

/// How a publish ended.
#[derive(Debug)]
pub(crate) enum Published {
    /// The server stored the messages, the last one with this sequence.
    As(u64),
    /// Another message of an aggregate, or of the stream, was stored first.
    Late,
    /// The server refused the messages.
    Refused(JournalError),
    /// Whether the server stored the messages is not known.
    Unknown(JournalError),
}

/// A message to publish.
struct Message {
    subject: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Publishes appends that have these places, as one. With `end`, the server stores them only behind this message of the stream.
///
/// # Errors
///
/// [`Error::Invalid`] for appends that are too large, and [`Error::Unsupported`] when the stream has no batches. Nothing was sent.
pub(crate) fn publish(
    connection: &Connection,
    appends: &[RemoteAppend<'_>],
    places: &[Place],
    end: Option<u64>,
) -> Result<Published> {
    let parts = appends.iter().zip(places);
    let parts: Vec<_> = parts.filter(|(append, _)| !append.events().is_empty()).collect();
    let count = check_count(connection, parts.len())?;
    // Unique, as the subject of an inbox is.
    let id = connection.client.new_inbox();
    let mut messages = Vec::with_capacity(parts.len());
    for (number, (append, place)) in (1..).zip(parts) {
        let mut message = message(connection, append, *place, (number, count))?;
        if let Some(end) = end.filter(|_| number == 1) {
            message.headers.insert(NATS_EXPECTED_LAST_SEQUENCE, end.to_string());
        }
        if count > 1 {
            number_message(&mut message.headers, &id, (number, count));
        }
        messages.push(message);
    }
    check_whole(messages.iter().map(|message| message.body.len()).sum())?;
    let (client, context) = (connection.client.clone(), connection.context.clone());
    Ok(outcome(connection.wait(send(client, context, messages))))
}

/// # Errors
///
/// [`Error::Unsupported`] when the stream has no batches, and [`Error::Invalid`] for more aggregates than a batch may have.
fn check_count(connection: &Connection, count: usize) -> Result<u16> {
    if let Some(reason) = connection.no_batches.as_ref().filter(|_| count > 1) {
        let message = format!("append to several aggregates at once: {reason}").into();
        return Err(Error::Unsupported { message });
    }
    let number = u16::try_from(count).ok().filter(|_| count <= PARTS_MAX);
    number.ok_or_else(|| {
        let message = format!("an append to {count} aggregates: the server takes {PARTS_MAX} at most");
        Error::Invalid {
            message: message.into(),
        }
    })
}

fn message(connection: &Connection, append: &RemoteAppend<'_>, place: Place, part: (u16, u16)) -> Result<Message> {
    let body = message::encode(append, part, place.first, SystemClock.now())?;
    let subject = subject::of_aggregate(&connection.address.stream, &append.stream().aggregate_id);
    check_size(connection, append, body.len() + subject.len() + OVERHEAD)?;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, place.after.to_string());
    Ok(Message { subject, headers, body })
}

fn number_message(headers: &mut HeaderMap, id: &str, (number, count): (u16, u16)) {
    headers.insert(NATS_BATCH_ID, id);
    headers.insert(NATS_BATCH_SEQUENCE, number.to_string());
    if number == count {
        headers.insert(NATS_BATCH_COMMIT, "1");
    }
}

/// # Errors
///
/// [`Error::Invalid`] before anything is sent: the server would end the connection, and with it the appends of other threads.
fn check_size(connection: &Connection, append: &RemoteAppend<'_>, bytes: usize) -> Result<()> {
    let most = connection.client.max_payload();
    let most = connection.message_bytes_max.map_or(most, |max| most.min(max));
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

/// # Errors
///
/// [`Error::Invalid`] for an append that no process reads: it would end every store of the stream.
fn check_whole(bytes: usize) -> Result<()> {
    if bytes <= BODY_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the append has {bytes} bytes, and stores read {BODY_BYTES_MAX} at most: append fewer events at a time"
    );
    Err(Error::Invalid {
        message: message.into(),
    })
}

/// Sends messages, and waits for the acknowledgement of the last one. The server answers it for all of them.
async fn send(client: Client, context: Context, mut messages: Vec<Message>) -> Result<PublishAck, PublishError> {
    let Some(last) = messages.pop() else {
        return Err(PublishError::new(PublishErrorKind::Other));
    };
    for message in messages {
        let sent = client.publish_with_headers(message.subject, message.headers, message.body.into());
        sent.await
            .map_err(|error| PublishError::with_source(PublishErrorKind::Other, error))?;
    }
    let sent = context.publish_with_headers(last.subject, last.headers, last.body.into());
    sent.await?.await
}

fn outcome(published: Option<Result<PublishAck, PublishError>>) -> Published {
    let unknown = || JournalError::new(JournalErrorKind::Retry, "the server has not acknowledged the append");
    match published {
        Some(Ok(acknowledged)) => Published::As(acknowledged.sequence),
        Some(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Published::Late,
        Some(Err(error)) => match refusal(&error) {
            // Of a stream with replicas, while the message of another is under way.
            Some(refusal) if refusal.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Published::Late,
            Some(refusal) if is_permanent(refusal) => {
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

/// Whether a retry does not help. A server gives up a batch whose messages arrive too slowly, or when too many are open.
fn is_permanent(refusal: &jetstream::Error) -> bool {
    let given_up = [
        ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH,
        ErrorCode::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT,
    ];
    refusal.code() != 503 && !given_up.contains(&refusal.error_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_that_no_process_could_read_was_published() {
        assert!(check_whole(BODY_BYTES_MAX).is_ok());
        let refused = check_whole(BODY_BYTES_MAX + 1).unwrap_err();
        assert!(matches!(refused, Error::Invalid { .. }), "{refused:?}");
    }
}
