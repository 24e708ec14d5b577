//! The threads of a relay: they receive events from the group, publish them, and settle them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::cqrs::{Group, GroupError, Received, Retry, StopReason};
use annals::{Name, Position};
use parking_lot::{Condvar, Mutex};

use crate::Message;
use crate::backoff;
use crate::envelope::Envelope;
use crate::lanes::Lanes;
use crate::status::{RelayCounts, RelayState, RelayStatus};
use crate::target::{Capacity, Outcome, Target};

/// The longest wait for an event, before a thread looks for pauses that are over.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// Bytes of the messages of one call, at most; a larger message is sent alone.
const CALL_BYTES_MAX: usize = 4 << 20;
/// The longest reason that is kept, in bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// The aggregate types of the toolkit's own events begin with this.
const OWN_TYPES: &str = "annals.";

/// An event that is not settled yet.
struct Held {
    received: Received<()>,
    message: Arc<Message>,
    /// Attempts that the target did not take.
    attempts: u32,
}

/// What the threads share.
pub(crate) struct Work {
    pub(crate) group: Group<()>,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) envelope: Envelope,
    pub(crate) retry: Retry,
    capacity: Capacity,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lanes: Lanes<Held>,
    counts: RelayCounts,
    last_error: Option<String>,
    /// Until when, and why, the target is left alone.
    pause: Option<(Instant, String)>,
    /// Calls in a row that found the target unavailable.
    pauses: u32,
    /// Why the relay has stopped.
    stopped: Option<String>,
    is_ended: bool,
    /// The times that the relay was resumed: a call from before settles nothing.
    resumed: u64,
}

/// A message that is being published.
struct Out {
    resumed: u64,
    lane: Name,
    message: Arc<Message>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Work {
    pub(crate) fn new(group: Group<()>, target: Arc<dyn Target>, envelope: Envelope, retry: Retry) -> Self {
        Self {
            group,
            capacity: target.capacity(),
            target,
            envelope,
            retry,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Publishes events until the relay ends.
    pub(crate) fn run(&self) {
        while self.wait_while_stopped() {
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn()));
            let Ok(turn) = turn else {
                self.stop(&mut self.state.lock(), "the target panicked".to_owned());
                continue;
            };
            match turn {
                Ok(()) => {}
                Err(GroupError::Ended { .. }) => {
                    self.state.lock().is_ended = true;
                    self.changed.notify_all();
                }
                Err(error) => self.stop(&mut self.state.lock(), error.to_string()),
            }
        }
    }

    /// Returns `false` when the relay has ended.
    fn wait_while_stopped(&self) -> bool {
        let mut state = self.state.lock();
        while state.stopped.is_some() && !state.is_ended {
            self.changed.wait(&mut state);
        }
        !state.is_ended
    }

    /// Publishes a batch, or waits for an event.
    fn turn(&self) -> Result<(), GroupError> {
        let (out, wait) = {
            let mut state = self.state.lock();
            self.receive_all(&mut state)?;
            let now = Instant::now();
            let out = self.take(&mut state, now);
            (out, state.wait(now))
        };
        if out.is_empty() {
            if let Some(received) = self.group.receive(wait)? {
                self.add(&mut self.state.lock(), received);
            }
            return Ok(());
        }
        let outcomes = self.publish(&out);
        self.settle(out, outcomes);
        Ok(())
    }

    /// Takes over the first event of each aggregate: the lanes of a target may be wider.
    fn receive_all(&self, state: &mut State) -> Result<(), GroupError> {
        while let Some(received) = self.group.try_receive()? {
            self.add(state, received);
        }
        Ok(())
    }

    fn add(&self, state: &mut State, received: Received<()>) {
        if received.record.aggregate_type().starts_with(OWN_TYPES) {
            // A lease that is lost is delivered again.
            drop(received.ack());
            return;
        }
        match self.envelope.seal(Arc::clone(&received.record)) {
            Ok(message) => {
                let lane = self.target.lane(&received.record);
                let held = Held {
                    received,
                    message: Arc::new(message),
                    attempts: 0,
                };
                state.lanes.add(lane, held.message.position().0, held);
            }
            Err(error) => park(state, received, &format!("it cannot be written as JSON: {error}")),
        }
    }

    fn take(&self, state: &mut State, now: Instant) -> Vec<Out> {
        if state.pause.as_ref().is_some_and(|(until, _)| *until > now) || state.stopped.is_some() {
            return Vec::new();
        }
        let (mut count, mut bytes) = (0, 0);
        let accepts = |held: &Held| {
            count += 1;
            bytes += held.message.bytes();
            count == 1 || (count <= self.capacity.batch && bytes <= CALL_BYTES_MAX)
        };
        let resumed = state.resumed;
        let taken = state.lanes.take(now, accepts).into_iter().map(|(lane, held)| Out {
            resumed,
            lane,
            message: Arc::clone(&held.message),
        });
        taken.collect()
    }

    /// A panic of a target is an attempt whose outcome is not known.
    fn publish(&self, out: &[Out]) -> Vec<Outcome> {
        let messages: Vec<_> = out.iter().map(|out| Arc::clone(&out.message)).collect();
        let published = catch_unwind(AssertUnwindSafe(|| self.target.publish(&messages)));
        published.unwrap_or_else(|_| vec![Outcome::unknown("the target panicked"); messages.len()])
    }

    fn settle(&self, out: Vec<Out>, outcomes: Vec<Outcome>) {
        let missing = std::iter::repeat_with(|| Outcome::unknown("the target returned no outcome"));
        let mut state = self.state.lock();
        let mut is_unavailable = false;
        for (out, outcome) in out.into_iter().zip(outcomes.into_iter().chain(missing)) {
            if out.resumed != state.resumed {
                continue;
            }
            is_unavailable |= matches!(outcome, Outcome::Unavailable { .. });
            self.settle_one(&mut state, &out, outcome);
        }
        // A call that began before the pause does not end it.
        let is_over = state.pause.as_ref().is_none_or(|(until, _)| *until <= Instant::now());
        if !is_unavailable && is_over {
            state.pauses = 0;
            state.pause = None;
        }
    }

    fn settle_one(&self, state: &mut State, out: &Out, outcome: Outcome) {
        let (lane, position) = (&out.lane, out.message.position());
        match outcome {
            Outcome::Delivered => {
                state.counts.delivered += 1;
                if let Some(held) = state.lanes.finish(lane, position.0) {
                    drop(held.received.ack());
                }
            }
            Outcome::Retry { reason } => {
                state.counts.failed += 1;
                self.failed(state, lane, position, &reason);
            }
            Outcome::Refused { reason } => {
                state.counts.failed += 1;
                state.note(position, &reason);
                if let Some(held) = state.lanes.finish(lane, position.0) {
                    park(state, held.received, &reason);
                }
            }
            Outcome::Unknown { reason } => {
                state.counts.unknown += 1;
                state.note(position, &reason);
                self.pause_lane(state, lane);
            }
            Outcome::Unavailable { reason, after } => {
                state.counts.unavailable += 1;
                state.lanes.put_back(lane);
                self.pause_all(state, reason, after);
            }
            Outcome::Stop { reason } => {
                state.lanes.put_back(lane);
                state.note(position, &reason);
                self.stop(state, reason);
            }
        }
    }

    /// The target did not take a message: it is tried again, or parked.
    fn failed(&self, state: &mut State, lane: &Name, position: Position, reason: &str) {
        state.note(position, reason);
        let attempts = state.lanes.get_mut(lane, position.0).map_or(0, |held| {
            held.attempts += 1;
            held.attempts
        });
        if attempts < self.retry.attempts {
            self.pause_lane(state, lane);
        } else if let Some(held) = state.lanes.finish(lane, position.0) {
            park(state, held.received, &format!("{reason} (after {attempts} attempts)"));
        }
    }

    fn pause_lane(&self, state: &mut State, lane: &Name) {
        let retry = &self.retry;
        state
            .lanes
            .pause(lane, |failures| later(Instant::now(), backoff::pause(retry, failures)));
    }

    /// Leaves the target alone. The first message of a call that says so counts.
    fn pause_all(&self, state: &mut State, reason: String, after: Option<Duration>) {
        let now = Instant::now();
        if state.pause.as_ref().is_some_and(|(until, _)| *until > now) {
            return;
        }
        state.pauses = state.pauses.saturating_add(1);
        // A target that asks for no pause at all is left alone as well.
        let own = backoff::pause(&self.retry, state.pauses);
        let pause = after.map_or(own, |after| after.max(own));
        let reason = shortened(reason);
        state.last_error = Some(reason.clone());
        state.pause = Some((later(now, pause), reason));
    }

    fn stop(&self, state: &mut State, reason: String) {
        state.stopped.get_or_insert(shortened(reason));
        self.changed.notify_all();
    }

    /// Goes on with the messages that wait; behind the checkpoint if the group has stopped.
    pub(crate) fn resume(&self) -> Result<(), StopReason> {
        let mut state = self.state.lock();
        if self.group.status().stopped.is_some() {
            self.group.resume()?;
            state.lanes = Lanes::default();
            state.resumed += 1;
        }
        (state.stopped, state.pause, state.pauses) = (None, None, 0);
        self.changed.notify_all();
        Ok(())
    }

    /// Ends the threads: calls that are under way are settled.
    pub(crate) fn end(&self) {
        self.state.lock().is_ended = true;
        self.changed.notify_all();
        self.group.end();
    }

    pub(crate) fn status(&self) -> RelayStatus {
        let group = self.group.status();
        let state = self.state.lock();
        RelayStatus {
            state: state.told(),
            counts: state.counts,
            paused_lanes: state.lanes.paused(),
            last_error: state.last_error.clone(),
            group,
        }
    }
}

impl State {
    /// How long a thread waits for an event before it looks for pauses that are over.
    fn wait(&self, now: Instant) -> Duration {
        let of_lanes = self.lanes.next_due();
        let of_target = self
            .pause
            .as_ref()
            .map(|(until, _)| *until)
            .filter(|until| *until > now);
        let due = of_target.or(of_lanes);
        due.map_or(WAIT_MAX, |due| due.saturating_duration_since(now).min(WAIT_MAX))
    }

    fn note(&mut self, position: Position, reason: &str) {
        self.last_error = Some(shortened(format!("position {position}: {reason}")));
    }

    fn told(&self) -> RelayState {
        if self.is_ended {
            return RelayState::Ended;
        }
        match (&self.stopped, &self.pause) {
            (Some(reason), _) => RelayState::Stopped { reason: reason.clone() },
            (None, Some((_, reason))) => RelayState::Waiting { reason: reason.clone() },
            (None, None) => RelayState::Running,
        }
    }
}

fn park(state: &mut State, received: Received<()>, reason: &str) {
    state.counts.parked += 1;
    // A lease that is lost is delivered again.
    drop(received.park(reason));
}

fn later(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now + Duration::from_secs(60))
}

fn shortened(mut text: String) -> String {
    let end = (0..=text.len().min(REASON_BYTES_MAX))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}
