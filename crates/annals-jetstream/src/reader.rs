//! The task that reads the stream, message by message, in its order.

use std::sync::Arc;
use std::time::Duration;

use annals::journal::JournalError;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;

use crate::heads::Append;
use crate::message::{self, BODY_BYTES_MAX, Body};
use crate::shared::Shared;

/// Messages that the server sends ahead: they wait in memory, beside the queue.
const BATCH_MAX: i64 = 64;
const PAUSE: Duration = Duration::from_millis(200);

/// Reads until another reader replaces this one, or the store is closed.
pub(crate) async fn read(stream: Stream, shared: Arc<Shared>, number: u64) {
    let mut reader = Reader {
        shared,
        number,
        begun: Append::default(),
        count: 0,
    };
    while let Some(wanted) = reader.shared.wanted(number) {
        // A new consumer begins with the first message of an append.
        reader.begun = Append::default();
        if let Some(mut messages) = messages(&stream, wanted).await {
            while let Some(Ok(message)) = messages.next().await {
                reader.shared.wait_for_room().await;
                if !reader.take(&message) {
                    break;
                }
            }
        }
        // The server, or the consumer, is gone: another one begins behind the last append.
        tokio::time::sleep(PAUSE).await;
    }
}

async fn messages(stream: &Stream, from: u64) -> Option<Ordered> {
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        max_batch: BATCH_MAX,
        ..OrderedConfig::default()
    };
    stream.create_consumer(config).await.ok()?.messages().await.ok()
}

struct Reader {
    shared: Arc<Shared>,
    number: u64,
    /// The messages of an append of which others follow, and how many it has.
    begun: Append,
    count: u16,
}

impl Reader {
    /// Takes a message. Returns whether this reader goes on with the next one.
    fn take(&mut self, message: &Message) -> bool {
        let (Some(wanted), Ok(info)) = (self.shared.wanted(self.number), message.info()) else {
            return false;
        };
        let (wanted, sequence) = (wanted + self.begun.parts.len() as u64, info.stream_sequence);
        if sequence < wanted {
            // The client has begun again at the first message: a new consumer begins at the wanted one.
            return false;
        }
        if sequence > wanted {
            let message =
                format!("message {wanted} is missing before message {sequence}: restore the stream from a copy");
            self.shared.fail(JournalError::corrupt(message));
            return false;
        }
        if let Err(reason) = self.add(sequence, &message.payload) {
            self.shared.fail(JournalError::corrupt(format!(
                "message {sequence} with the subject '{}' is not an append of Annals: {reason}",
                message.subject
            )));
        }
        true
    }

    /// Adds the next message to its append, and the append to the others once it is whole.
    ///
    /// # Errors
    ///
    /// The reason, when it is not a next part.
    fn add(&mut self, sequence: u64, payload: &[u8]) -> Result<(), String> {
        let Body { part, events } = message::decode(payload)?;
        self.check_part(part)?;
        self.begun.sequence = sequence;
        self.begun.parts.push(events);
        self.begun.bytes += payload.len();
        if self.begun.bytes > BODY_BYTES_MAX {
            return Err(format!("the append has more than {BODY_BYTES_MAX} bytes"));
        }
        if part.0 == part.1 {
            self.shared.add(self.number, std::mem::take(&mut self.begun));
        }
        Ok(())
    }

    fn check_part(&mut self, (number, count): (u16, u16)) -> Result<(), String> {
        let before = self.begun.parts.len();
        let is_next = usize::from(number) == before + 1 && number <= count && (before == 0 || count == self.count);
        if !is_next {
            let known = self.count;
            return Err(format!(
                "it is part {number} of {count} of an append, after {before} parts of one that has {known}"
            ));
        }
        self.count = count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use annals::journal::RemoteAppend;
    use annals::{Expected, NewEvent, StreamId, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn body(id: &str, part: (u16, u16)) -> Vec<u8> {
        let stream = StreamId::new("Order", id);
        let (events, ids) = ([NewEvent::new("Placed")], [Uuid::from_u128(1)]);
        let append = RemoteAppend::new(&stream, Expected::Any, &events, &ids, true);
        message::encode(&append, part, 1, Timestamp::from_micros(5)).unwrap()
    }

    fn reader() -> Reader {
        let shared = Arc::new(Shared::default());
        let number = shared.begin(0, 0);
        Reader {
            shared,
            number,
            begun: Append::default(),
            count: 0,
        }
    }

    #[test]
    fn a_part_of_an_append_was_shown() {
        let mut reader = reader();
        for (sequence, (id, part)) in (1..).zip([("a", (1, 1)), ("b", (1, 3)), ("c", (2, 3)), ("d", (3, 3))]) {
            reader.add(sequence, &body(id, part)).unwrap();
            let whole = if sequence == 4 { 4 } else { 1 };
            assert_eq!(reader.shared.lock().heads.position, whole, "after message {sequence}");
            assert_eq!(reader.shared.wanted(reader.number), Some(whole + 1));
        }
    }

    #[test]
    fn parts_of_different_appends_were_one() {
        for after_first in [(1, 1), (1, 2), (2, 3), (3, 3), (0, 2), (3, 2)] {
            let mut reader = reader();
            reader.add(1, &body("a", (1, 2))).unwrap();
            assert!(reader.add(2, &body("b", after_first)).is_err(), "{after_first:?}");
        }
        assert!(reader().add(1, &body("a", (2, 2))).is_err());
        assert!(reader().add(1, &body("a", (1, 0))).is_err());
    }
}
