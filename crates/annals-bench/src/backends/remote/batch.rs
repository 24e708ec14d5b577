//! Messages of NATS `JetStream` that are written as one.

use std::sync::Arc;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, HeaderMap, header};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::{Message, OrFailed as _};
use crate::store::{NewEvent, Result, StoreError};

/// Maximum number of messages in a batch.
const BATCH_MAX: usize = 1_000;

/// Publishes messages.
pub(in crate::backends) struct Publisher {
    runtime: Arc<Runtime>,
    client: Client,
    context: Context,
    /// The number of the last batch, if the server has them. It is locked until all messages of a batch are sent: the server limits how many are open.
    batches: Option<Mutex<u64>>,
}

/// What a message is sent with: its place in the batch `id`, if it is of one, and first of all the sequence that the subject is expected at.
fn headers(id: Option<&str>, number: usize, is_last: bool, after: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if number == 1 {
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, after.to_string());
    }
    if let Some(id) = id {
        headers.insert(header::NATS_BATCH_ID, id);
        headers.insert(header::NATS_BATCH_SEQUENCE, number.to_string());
        if is_last {
            headers.insert(header::NATS_BATCH_COMMIT, "1");
        }
    }
    headers
}

impl Publisher {
    pub(in crate::backends) fn new(
        runtime: &Arc<Runtime>,
        client: &Client,
        context: &Context,
        has_batches: bool,
    ) -> Self {
        Self {
            runtime: Arc::clone(runtime),
            client: client.clone(),
            context: context.clone(),
            batches: has_batches.then(|| Mutex::new(0)),
        }
    }

    /// The messages of an append: one for each event if they can be a batch, or else one.
    pub(in crate::backends) fn messages<'a>(
        &self,
        stream: &'a str,
        events: &[NewEvent<'a>],
    ) -> Result<Vec<Message<'a>>> {
        let is_batch = self.batches.is_some() && events.len() <= BATCH_MAX;
        let size = if is_batch { 1 } else { events.len().max(1) };
        events.chunks(size).map(|events| Message::new(stream, events)).collect()
    }

    /// Publishes messages as one after the message of a sequence, unless the subject has a later one.
    pub(in crate::backends) fn publish(&self, subject: &str, after: u64, messages: &[Message<'_>]) -> Result<()> {
        let mut batch = self.batches.as_ref().filter(|_| messages.len() > 1).map(Mutex::lock);
        let id = batch.as_mut().map(|number| {
            **number += 1;
            format!("{}-{number}", std::process::id())
        });
        let mut acknowledged = None;
        for (number, message) in (1..).zip(messages) {
            let payload = serde_json::to_vec(message).or_failed()?.into();
            let is_last = number == messages.len();
            let headers = headers(id.as_deref(), number, is_last, after);
            if is_last {
                let publish = PublishMessage::build().payload(payload).headers(headers);
                let sent = self.context.send_publish(subject.to_owned(), publish);
                acknowledged = Some(self.runtime.block_on(sent).or_failed()?);
            } else {
                let sent = self.client.publish_with_headers(subject.to_owned(), headers, payload);
                self.runtime.block_on(sent).or_failed()?;
            }
        }
        drop(batch);
        let Some(acknowledged) = acknowledged else {
            return Ok(());
        };
        match self.runtime.block_on(acknowledged.into_future()) {
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(StoreError::Conflict),
            done => done.map(drop).or_failed(),
        }
    }
}
