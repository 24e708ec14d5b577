//! A consumer of a queue: feeds a handler, and acknowledges what it has handled.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use annals::cqrs::{HandlerError, Retry};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::watch;

use super::received::ReceivedMessage;
use super::steps::{self, Steps};
use crate::RelayError;
use crate::backoff;

const DEADLINE: Duration = Duration::from_secs(10);
const STEPS_MAX: usize = 16;
/// A step is at most a day.
const STEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

type Handler = dyn Fn(&ReceivedMessage) -> Result<(), HandlerError> + Send + Sync;

/// The settings of a consumer. See [`Consumer::builder`].
#[derive(Clone)]
#[must_use = "a consumer runs when it is started"]
pub struct ConsumerBuilder {
    url: String,
    queue: String,
    steps: Vec<Duration>,
    prefetch: u16,
    deadline: Duration,
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("queue", &self.queue)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

impl ConsumerBuilder {
    /// Sets the pauses before a message is handled again, one for each further attempt: at most 16, each of 1 ms to a day. 1 s, 10 s and 60 s by default. Without any, a message
    /// is a dead letter when it fails first.
    ///
    /// Each step is a queue, `QUEUE.retry.MILLISECONDS`. A message that waits there is behind others when it comes back.
    pub fn steps(mut self, steps: impl IntoIterator<Item = Duration>) -> Self {
        self.steps = steps.into_iter().take(STEPS_MAX + 1).collect();
        self
    }

    /// Sets how many messages the broker sends ahead: 1 to 65,535, by default 16. They are handled one at a time.
    pub fn prefetch(mut self, messages: u16) -> Self {
        self.prefetch = messages.max(1);
        self
    }

    /// Sets how long the broker may take to connect, and to confirm. 10 seconds by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts the threads. `handler` is called with one message at a time, on a thread that may block. While the broker is away, the consumer connects again.
    ///
    /// A handled message is acknowledged. After a transient error or a panic, it is published to the queue of the next step, and after a permanent error or the last step to the queue `QUEUE.dead`; only
    /// when the broker has confirmed that, the message itself is acknowledged. A message may be handled again. One that waits in the queue of a step is lost if the queue of the consumer is deleted
    /// or takes no more messages (`max-length`) when it comes back.
    ///
    /// Acknowledgements and such publications share a connection: in an alarm of the broker (memory or disk), it reads neither, and messages that were handled come again.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] for an invalid URL, name or step; [`RelayError::NoThread`].
    pub fn start(
        self,
        handler: impl Fn(&ReceivedMessage) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Result<Consumer, RelayError> {
        let uri: AMQPUri = self
            .url
            .parse()
            .map_err(|_| RelayError::invalid("the URL of RabbitMQ is invalid"))?;
        let is_step = |step: &Duration| (Duration::from_millis(1)..=STEP_MAX).contains(step);
        if self.steps.len() > STEPS_MAX || !self.steps.iter().all(is_step) {
            return Err(RelayError::invalid(format!(
                "a consumer has at most {STEPS_MAX} steps, each of 1 ms to a day"
            )));
        }
        let (stop, stopped) = watch::channel(false);
        let work = Work {
            uri,
            steps: Arc::new(Steps::new(self.queue, self.steps)?),
            prefetch: self.prefetch,
            deadline: self.deadline,
            handler: Arc::new(handler),
            shared: Arc::default(),
        };
        let shared = Arc::clone(&work.shared);
        let no_thread = |reason: String| RelayError::NoThread {
            name: "rabbitmq consumer".into(),
            reason,
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("annals-consumer")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| no_thread(error.to_string()))?;
        let thread = std::thread::Builder::new().name("annals-consumer".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(work.run(stopped));
            runtime.shutdown_background();
        });
        Ok(Consumer {
            stop,
            thread: Some(thread.map_err(|error| no_thread(error.to_string()))?),
            shared,
        })
    }
}

/// What a consumer has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerCounts {
    /// Messages that were handled and acknowledged.
    pub handled: u64,
    /// Attempts that failed, and are tried again.
    pub retried: u64,
    /// Messages that became dead letters.
    pub dead: u64,
}

#[derive(Default)]
struct Shared {
    handled: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// A started consumer. Dropping it ends it, when the message that is being handled is settled.
pub struct Consumer {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of a queue, which [`RabbitMqBuilder::queue`](super::RabbitMqBuilder::queue) or another program has declared.
    pub fn builder(url: impl Into<String>, queue: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder {
            url: url.into(),
            queue: queue.into(),
            steps: [1, 10, 60].map(Duration::from_secs).to_vec(),
            prefetch: 16,
            deadline: DEADLINE,
        }
    }

    /// What it has done.
    pub fn counts(&self) -> ConsumerCounts {
        ConsumerCounts {
            handled: self.shared.handled.load(Ordering::SeqCst),
            retried: self.shared.retried.load(Ordering::SeqCst),
            dead: self.shared.dead.load(Ordering::SeqCst),
        }
    }

    /// The last failure of the connection or of the handler.
    pub fn last_error(&self) -> Option<String> {
        self.shared.last_error.lock().clone()
    }

    /// Ends the consumer.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Work {
    uri: AMQPUri,
    steps: Arc<Steps>,
    prefetch: u16,
    deadline: Duration,
    handler: Arc<Handler>,
    shared: Arc<Shared>,
}

impl Work {
    async fn run(&self, mut stopped: watch::Receiver<bool>) {
        let pauses = Retry::default()
            .first_pause(Duration::from_millis(100))
            .longest_pause(Duration::from_secs(10));
        let mut failures = 0;
        while !*stopped.borrow() {
            let before = self.shared.handled.load(Ordering::SeqCst);
            if let Err(error) = self.consume(&mut stopped).await {
                *self.shared.last_error.lock() = Some(error);
            }
            let has_worked = self.shared.handled.load(Ordering::SeqCst) > before;
            failures = if has_worked { 0 } else { failures + 1 };
            let pause = tokio::time::sleep(backoff::pause(&pauses, failures));
            tokio::select! {
                () = pause => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Handles messages until the consumer ends, or the connection fails.
    async fn consume(&self, stopped: &mut watch::Receiver<bool>) -> Result<(), String> {
        let (_connection, channel) = self.in_time(self.connect()).await?;
        let consuming = channel.basic_consume(
            self.steps.queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut deliveries = self.in_time(consuming).await?;
        loop {
            let delivery = tokio::select! {
                delivery = deliveries.next() => delivery,
                _ = stopped.changed() => return Ok(()),
            };
            match delivery {
                Some(Ok(delivery)) => self.handle(&channel, delivery).await?,
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the broker has ended the consumer".to_owned()),
            }
        }
    }

    async fn connect(&self) -> lapin::Result<(Connection, Channel)> {
        let properties = ConnectionProperties::default().with_connection_name("annals-consumer".into());
        let connection = Connection::connect_uri(self.uri.clone(), properties).await?;
        let channel = connection.create_channel().await?;
        self.steps.declare(&channel).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        Ok((connection, channel))
    }

    async fn in_time<T>(&self, request: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
        match tokio::time::timeout(self.deadline, request).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the broker does not answer in time".to_owned()),
        }
    }

    /// Handles a message, and acknowledges it when it is handled or published again.
    async fn handle(&self, channel: &Channel, delivery: Delivery) -> Result<(), String> {
        let message = Arc::new(ReceivedMessage::of(&delivery));
        let outcome = self.call(Arc::clone(&message)).await;
        let count = match outcome {
            Ok(()) => &self.shared.handled,
            Err(error) => {
                let reason = error.to_string();
                *self.shared.last_error.lock() = Some(reason.clone());
                let next = if error.is_permanent() {
                    None
                } else {
                    self.steps.after(message.attempt)
                };
                let count = if next.is_some() {
                    &self.shared.retried
                } else {
                    &self.shared.dead
                };
                let again = self.steps.publish(channel, &delivery, next, message.attempt, &reason);
                let confirmed = self.in_time(async { Ok(again.await) }).await?;
                // Not acknowledged: the broker delivers it again when the connection ends.
                confirmed?;
                count
            }
        };
        self.in_time(delivery.ack(BasicAckOptions::default())).await?;
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Calls the handler on a thread that may block, so that heartbeats go on.
    async fn call(&self, message: Arc<ReceivedMessage>) -> Result<(), HandlerError> {
        let handler = Arc::clone(&self.handler);
        let called = tokio::task::spawn_blocking(move || catch_unwind(AssertUnwindSafe(|| handler(&message)))).await;
        match called {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(HandlerError::transient(steps::PANICKED)),
        }
    }
}
