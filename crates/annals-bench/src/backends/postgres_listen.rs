//! A connection to PostgreSQL that waits for notifications.

use std::future::poll_fn;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::runtime::Runtime;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use super::postgres::told;
use super::remote::{ANSWER, answered};
use crate::store::Result;

/// A connection that listens to a channel.
pub(super) struct Listener {
    /// Holds a message if there was a notification since the last one was received.
    notified: Receiver<()>,
    /// The connection ends with it.
    _client: Client,
}

impl Listener {
    /// Listens to `channel`, whose name consists of letters.
    pub(super) fn of(runtime: &Runtime, config: &Config, channel: &str) -> Result<Self> {
        let (send, notified) = bounded(1);
        let work = async {
            let (client, mut connection) = config.connect(NoTls).await?;
            tokio::spawn(async move {
                while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                    note(&message, &send);
                }
            });
            client.batch_execute(&format!("LISTEN {channel}")).await?;
            Ok(client)
        };
        let client = answered(runtime, ANSWER, work)?.map_err(|error: tokio_postgres::Error| told(&error))?;
        Ok(Self {
            notified,
            _client: client,
        })
    }

    /// Returns when there was a notification since the last call, at once if there was one, or after `time`.
    pub(super) fn wait(&self, time: Duration) {
        if self.notified.recv_timeout(time) == Err(RecvTimeoutError::Disconnected) {
            // Nothing comes over a connection that has broken.
            std::thread::park_timeout(time);
        }
    }
}

/// Notes a notification. One that was not taken yet is enough.
fn note(message: &AsyncMessage, send: &Sender<()>) {
    if matches!(message, AsyncMessage::Notification(_)) {
        send.try_send(()).ok();
    }
}
