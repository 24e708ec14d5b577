//! The events sent to a live tail, for the metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::{Clock as _, Delivery, Position, SystemClock, Timestamp};

use crate::call::Call;
use crate::shared::Shared;

/// The batch that a live tail is sent next.
pub(super) struct Sent {
    shared: Arc<Shared>,
    namespace: String,
    /// Events after this position came while the tail was open.
    opened_at: Position,
    events: u64,
    missed: u64,
    /// When the first event of the batch was appended, if it came while the tail was open.
    first: Option<Timestamp>,
    /// When the batch was read that the connection has not taken yet.
    read_at: Option<Instant>,
}

impl Sent {
    pub(super) fn new(call: &Call) -> Self {
        Self {
            shared: Arc::clone(&call.shared),
            namespace: call.namespace.clone(),
            opened_at: call.store.visible(),
            events: 0,
            missed: 0,
            first: None,
            read_at: None,
        }
    }

    /// Adds to the batch.
    pub(super) fn add(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Event(event) => {
                let is_live = event.position() > self.opened_at;
                self.events += 1;
                if self.first.is_none() && is_live {
                    self.first = Some(event.recorded_at());
                }
            }
            Delivery::Gap(gap) => self.missed += gap.count,
        }
    }

    /// Counts the batch, which is sent now.
    pub(super) fn count(&mut self) {
        // The clock of a test is not the machine's.
        let is_real = !self.shared.namespaces.has_test_api();
        let latency = self.first.take().filter(|_| is_real).map(age);
        let (events, missed) = (std::mem::take(&mut self.events), std::mem::take(&mut self.missed));
        self.shared.metrics.sent(&self.namespace, events, missed, latency);
        self.read_at = Some(Instant::now());
    }

    /// The connection asks for the next batch: it has taken the one before.
    pub(super) fn taken(&mut self) {
        if let Some(read_at) = self.read_at.take() {
            self.shared.metrics.taken(read_at.elapsed());
        }
    }
}

/// The time since an event was recorded. Zero if the clock has gone back.
fn age(recorded_at: Timestamp) -> Duration {
    let micros = SystemClock.now().as_micros().saturating_sub(recorded_at.as_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
