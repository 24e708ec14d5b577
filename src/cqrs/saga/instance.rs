//! One instance of a saga, folded from its events.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::record::{Input, Recorded, SagaEvent};
use crate::cqrs::Context;
use crate::{Event, Name, StreamId, Timestamp, Version};

/// The phase of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SagaPhase {
    /// It has commands to send, or waits for events or timers.
    Running,
    /// It failed for this reason, and compensates its steps.
    Compensating {
        /// The reason of the failure.
        reason: String,
    },
    /// It has completed.
    Completed,
    /// It failed for this reason, and its steps are compensated.
    Failed {
        /// The reason of the failure.
        reason: String,
    },
    /// It was [abandoned](super::Sagas::abandon); nothing was compensated.
    Abandoned {
        /// The reason that the caller gave.
        reason: String,
    },
}

/// The status of an instance.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SagaStatus {
    /// Its key.
    pub key: String,
    /// The number of its run, from 1: an instance that has ended may start again.
    pub run: u64,
    /// Its phase.
    pub phase: SagaPhase,
    /// The reason for which it is stuck, which is the last failure of a command; `None` if it is not stuck.
    pub stuck: Option<String>,
    /// The number of commands or compensations that it has yet to send.
    pub steps_left: usize,
    /// The timers that are set, with the times at which they are due.
    pub timers: BTreeMap<String, Timestamp>,
    /// Its state, as JSON.
    pub state: Value,
    /// When this run started.
    pub started_at: Timestamp,
    /// When its last event was recorded.
    pub changed_at: Timestamp,
}

/// A command that the instance sends or has sent.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) number: u64,
    pub(super) command: Value,
    pub(super) compensation: Option<Value>,
    pub(super) is_sent: bool,
    pub(super) context: Context,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) token: u64,
    pub(super) due: Timestamp,
}

/// The attempts at a step that has failed since the program started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts {
    pub(super) count: u32,
    pub(super) next: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) stream: StreamId,
    pub(super) key: String,
    pub(super) version: Version,
    pub(super) run: u64,
    pub(super) state: Value,
    pub(super) phase: SagaPhase,
    pub(super) stuck: Option<String>,
    /// Whether it ends when no step is left.
    completes: bool,
    pub(super) steps: Vec<Step>,
    pub(super) timers: BTreeMap<String, Timer>,
    /// The number that the next step or timer gets.
    pub(super) next_number: u64,
    /// Position and part of the last event that it reacted to.
    pub(super) last_input: (u64, u32),
    pub(super) attempts: Option<Attempts>,
    /// What follows from the last reaction.
    pub(super) context: Context,
    started_at: Timestamp,
    changed_at: Timestamp,
}

impl Instance {
    /// An instance before its first event.
    pub(super) fn new(stream: StreamId, key: &str) -> Self {
        Self {
            stream,
            key: key.to_owned(),
            version: Version(0),
            run: 0,
            state: Value::Null,
            // Before its first run it is as one that has ended.
            phase: SagaPhase::Completed,
            stuck: None,
            completes: false,
            steps: Vec::new(),
            timers: BTreeMap::new(),
            next_number: 0,
            last_input: (0, 0),
            attempts: None,
            context: Context::new(),
            started_at: Timestamp::MIN,
            changed_at: Timestamp::MIN,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        !matches!(self.phase, SagaPhase::Running | SagaPhase::Compensating { .. })
    }

    pub(super) fn has_seen(&self, position: u64, part: u32) -> bool {
        (position, part) <= self.last_input
    }

    /// The id of a command: the same whenever it is sent again.
    pub(super) fn command_id(&self, step: u64, is_compensation: bool) -> Uuid {
        let what = if is_compensation { "compensation" } else { "command" };
        let name = format!("{} {step} {what}", self.stream.aggregate_id);
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    }

    /// The next command to send, forwards or, when the saga has failed, the compensations backwards.
    pub(super) fn next_step(&self) -> Option<&Step> {
        match self.phase {
            SagaPhase::Running => self.steps.iter().find(|step| !step.is_sent),
            SagaPhase::Compensating { .. } => self.steps.last(),
            SagaPhase::Completed | SagaPhase::Failed { .. } | SagaPhase::Abandoned { .. } => None,
        }
    }

    /// The event that ends the instance, when nothing is left to do.
    pub(super) fn end(&self) -> Option<SagaEvent> {
        if self.next_step().is_some() {
            return None;
        }
        match &self.phase {
            SagaPhase::Running => self.completes.then_some(SagaEvent::Completed {}),
            SagaPhase::Compensating { reason } => Some(SagaEvent::Failed { reason: reason.clone() }),
            SagaPhase::Completed | SagaPhase::Failed { .. } | SagaPhase::Abandoned { .. } => None,
        }
    }

    /// The timer that is due first.
    pub(super) fn next_timer(&self) -> Option<(&String, Timer)> {
        let timers = self.timers.iter().map(|(name, timer)| (name, *timer));
        timers.min_by_key(|(_, timer)| (timer.due, timer.token))
    }

    pub(super) fn apply(&mut self, event: SagaEvent, record: &Event) {
        self.version = record.version();
        self.changed_at = record.recorded_at();
        let (before, was_stuck) = (self.next_command(), self.stuck.is_some());
        match event {
            SagaEvent::Reacted {
                run,
                input,
                state,
                actions,
                ..
            } => self.apply_reaction(run, &input, state, actions, record),
            SagaEvent::Sent { step } => self.apply_sent(step),
            SagaEvent::Rejected { step, .. } | SagaEvent::Compensated { step } => {
                self.steps.retain(|there| there.number != step);
            }
            SagaEvent::Stuck { reason, .. } => self.stuck = Some(reason),
            SagaEvent::Retried {} => self.stuck = None,
            SagaEvent::Abandoned { reason } => self.apply_end(SagaPhase::Abandoned { reason }),
            SagaEvent::Completed {} => self.apply_end(SagaPhase::Completed),
            SagaEvent::Failed { reason } => self.apply_end(SagaPhase::Failed { reason }),
        }
        // An event or a timer does not give the same command more attempts.
        if self.next_command() != before || self.stuck.is_some() || was_stuck {
            self.attempts = None;
        }
    }

    /// The number of the next command to send, and whether it is a compensation.
    fn next_command(&self) -> Option<(u64, bool)> {
        let is_compensation = matches!(self.phase, SagaPhase::Compensating { .. });
        self.next_step().map(|step| (step.number, is_compensation))
    }

    fn apply_sent(&mut self, step: u64) {
        // What cannot be undone need not be remembered.
        self.steps
            .retain(|there| there.number != step || there.compensation.is_some());
        for there in &mut self.steps {
            there.is_sent |= there.number == step;
        }
    }

    fn apply_end(&mut self, phase: SagaPhase) {
        self.phase = phase;
        self.stuck = None;
        self.completes = false;
        self.steps.clear();
        self.timers.clear();
    }

    fn apply_reaction(&mut self, run: u64, input: &Input, state: Value, actions: Vec<Recorded>, record: &Event) {
        if run != self.run {
            self.run = run;
            self.phase = SagaPhase::Running;
            self.started_at = record.recorded_at();
        }
        match input {
            Input::Event { position, part, .. } => self.last_input = (*position, *part),
            Input::Timer { name, .. } => drop(self.timers.remove(name)),
            Input::Rejection { .. } => {}
        }
        self.state = state;
        self.context = Context::caused_by(record);
        // Commands are sent in order, so one at most was attempted and is not known to have succeeded; none, after a rejection.
        let is_rejection = matches!(input, Input::Rejection { .. });
        let attempted = self
            .steps
            .iter()
            .find(|step| !step.is_sent && !is_rejection)
            .map(|step| step.number);
        for action in actions {
            self.apply_action(action, attempted);
        }
    }

    fn apply_action(&mut self, action: Recorded, attempted: Option<u64>) {
        match action {
            Recorded::Send {
                step,
                command,
                compensation,
            } => {
                self.next_number = self.next_number.max(step + 1);
                self.steps.push(Step {
                    number: step,
                    command,
                    compensation,
                    is_sent: false,
                    context: self.context.clone(),
                });
            }
            Recorded::SetTimer {
                name,
                token,
                due_micros,
            } => {
                self.next_number = self.next_number.max(token + 1);
                let due = Timestamp::from_micros(due_micros);
                self.timers.insert(name, Timer { token, due });
            }
            Recorded::CancelTimer { name } => drop(self.timers.remove(&name)),
            Recorded::Complete => {
                self.completes = true;
                self.timers.clear();
            }
            Recorded::Fail { reason } => {
                self.phase = SagaPhase::Compensating { reason };
                self.completes = false;
                self.timers.clear();
                self.stuck = None;
                // A step that was attempted may have taken effect: it is undone, too.
                let took_effect = |step: &Step| step.is_sent || Some(step.number) == attempted;
                self.steps
                    .retain(|step| step.compensation.is_some() && took_effect(step));
            }
        }
    }

    pub(super) fn status(&self) -> SagaStatus {
        let is_compensating = matches!(self.phase, SagaPhase::Compensating { .. });
        let left = self.steps.iter().filter(|step| is_compensating || !step.is_sent);
        SagaStatus {
            key: self.key.clone(),
            run: self.run,
            phase: self.phase.clone(),
            stuck: self.stuck.clone(),
            steps_left: left.count(),
            timers: self
                .timers
                .iter()
                .map(|(name, timer)| (name.clone(), timer.due))
                .collect(),
            state: self.state.clone(),
            started_at: self.started_at,
            changed_at: self.changed_at,
        }
    }
}

/// The stream of the instance with a key.
pub(super) fn stream_of(saga_type: &str, key: &str) -> StreamId {
    StreamId::new(saga_type, Name::from(format!("{saga_type}/{key}")))
}
