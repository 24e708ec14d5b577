//! The task that reads the stream, message by message, in its order.

use std::sync::Arc;
use std::time::Duration;

use annals::journal::JournalError;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;

use crate::message;
use crate::shared::Shared;

/// Messages that the server sends ahead: they wait in memory, beside the queue.
const BATCH_MAX: i64 = 64;
const PAUSE: Duration = Duration::from_millis(200);

/// Reads until another reader is begun, or the store is closed.
pub(crate) async fn read(stream: Stream, shared: Arc<Shared>, number: u64) {
    while let Some(wanted) = shared.wanted(number) {
        if let Some(mut messages) = messages(&stream, wanted).await {
            while let Some(Ok(message)) = messages.next().await {
                shared.wait_for_room().await;
                if !take(&shared, number, &message) {
                    break;
                }
            }
        }
        // The server, or the consumer, is gone: another one begins behind the last message.
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

/// Takes a message. Returns whether this reader goes on with the next one.
fn take(shared: &Shared, number: u64, message: &Message) -> bool {
    let (Some(wanted), Ok(info)) = (shared.wanted(number), message.info()) else {
        return false;
    };
    let sequence = info.stream_sequence;
    if sequence < wanted {
        // The client has begun again at the first message: a new consumer begins at the wanted one.
        return false;
    }
    let damaged = |reason: String| JournalError::corrupt(reason);
    if sequence > wanted {
        shared.fail(damaged(format!(
            "message {wanted} is missing before message {sequence}: restore the stream from a copy"
        )));
        return false;
    }
    match message::decode(&message.payload) {
        Ok(events) => shared.add(number, sequence, events, message.payload.len()),
        Err(reason) => shared.fail(damaged(format!(
            "message {sequence} with the subject '{}' is not an append of Annals: {reason}",
            message.subject
        ))),
    }
    true
}
