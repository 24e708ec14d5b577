//! Feeding the instances of a saga: events, timers, and the commands that they send.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use uuid::Uuid;

use super::counts::SagaCounts;
use super::instance::{Attempts, Instance, SagaPhase, SagaStatus, stream_of};
use super::orders::{Orders, Verb};
use super::record::{Input, Recorded, SagaEvent};
use super::restore::{restored, restored_all};
use super::streak::{STEPS_AT_ONCE, Streak};
use super::{Action, Due, Route, Saga, SendError, Sending};
use crate::cqrs::process::{Checkpoint, Control, FailedEvent, Order, Sink, StartFrom, StopReason, panic_text};
use crate::cqrs::typed::Reader;
use crate::cqrs::{Context, HandlerError, NewEventId, Retry, TypedEvents};
use crate::{Delivery, Error, Event, Expected, Position, Query, Store, Timestamp, Version};

/// Positions without an event for the saga after which the checkpoint is saved all the same.
const QUIET_POSITIONS: u64 = 1_000;

/// The longest key, in bytes: it is part of a stream's id.
const KEY_BYTES_MAX: usize = 200;

pub(super) type Dispatcher<C> = dyn Fn(&C, &Sending) -> Result<(), SendError> + Send + Sync;

/// What handles see of the instances.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The instances that have not ended.
    pub(super) active: BTreeMap<String, SagaStatus>,
    pub(super) ignored: u64,
    /// Without `active` and `stuck`, which are counted when they are asked for.
    pub(super) counts: SagaCounts,
}

pub(super) struct SagaSink<S: Saga> {
    pub(super) store: Store,
    pub(super) control: Arc<Control>,
    pub(super) reader: Reader<S::Event>,
    pub(super) query: Query,
    pub(super) dispatcher: Arc<Dispatcher<S::Command>>,
    pub(super) retry: Retry,
    pub(super) from: StartFrom,
    pub(super) skips_gaps: bool,
    pub(super) view: Arc<Mutex<View>>,
    pub(super) orders: Arc<Orders>,
    pub(super) checkpoint: Option<Checkpoint>,
    /// The instances that have not ended.
    pub(super) active: BTreeMap<String, Instance>,
    /// When each timer, and each further attempt, is due.
    pub(super) due: BTreeSet<(Timestamp, String)>,
}

impl<S: Saga> SagaSink<S> {
    // Events.

    fn event(&mut self, record: &Event) -> Result<bool, StopReason> {
        self.fire_due(record.recorded_at())?;
        let mut typed = Vec::with_capacity(1);
        let read = self.reader.read(record, &mut |event| typed.push(event));
        read.map_err(|error| StopReason::failed(record, error.to_string()))?;
        let mut any = false;
        for (part, event) in (0..).zip(typed) {
            any |= self.typed_event(record, part, event)?;
        }
        Ok(any)
    }

    fn typed_event(&mut self, record: &Event, part: u32, event: S::Event) -> Result<bool, StopReason> {
        let routed = caught(record, || S::route(&event, record))?;
        let (key, starts) = match routed {
            Route::Start(key) => (key, true),
            Route::Resume(key) => (key, false),
            Route::Ignore => return Ok(false),
        };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            let reason = format!(
                "the key of the saga's instance has {} bytes: return a key of 1 to {KEY_BYTES_MAX} bytes",
                key.len()
            );
            return Err(StopReason::failed(record, reason));
        }
        let mut instance = self.take(&key)?;
        if instance.has_seen(record.position().0, part) {
            self.put(instance);
            return Ok(false);
        }
        if instance.is_ended() && !starts {
            self.view.lock().ignored += 1;
            return Ok(false);
        }
        let input = Input::Event {
            position: record.position().0,
            part,
            id: record.id(),
        };
        let reacted = begin_run(&instance, starts).and_then(|(state, run)| {
            let reaction = caught(record, || {
                Reaction::of(run, input, state, |state: &mut S| state.react(event))
            })?;
            self.append_reaction(&mut instance, reaction, &Context::caused_by(record))
        });
        let advanced = reacted.and_then(|()| self.advance(&mut instance));
        self.put(instance);
        advanced.map(|()| true)
    }

    // Timers.

    /// Fires the timers, and makes the attempts, that are due at this time, the earliest first.
    fn fire_due(&mut self, now: Timestamp) -> Result<(), StopReason> {
        let mut streak = Streak::default();
        loop {
            // A clock may be set back at any time: what is due is judged alike here and where commands are sent.
            let now = now.min(self.store.now());
            let Some((due, key)) = self.due.first().filter(|(due, _)| *due <= now).cloned() else {
                return Ok(());
            };
            if self.control.order() != Order::Run {
                return Err(StopReason::Ended);
            }
            self.due.remove(&(due, key.clone()));
            let mut instance = self.take(&key)?;
            let fired = self.fire(&mut instance, now, &mut streak);
            let advanced = fired.and_then(|()| self.advance(&mut instance));
            self.put(instance);
            advanced?;
        }
    }

    fn fire(&mut self, instance: &mut Instance, now: Timestamp, streak: &mut Streak) -> Result<(), StopReason> {
        let due = instance.next_timer().filter(|(_, timer)| timer.due <= now);
        let Some((name, timer)) = due.map(|(name, timer)| (name.clone(), timer)) else {
            return Ok(());
        };
        streak.add(instance, &name, timer)?;
        let input = Input::Timer {
            name: name.clone(),
            token: timer.token,
        };
        let (run, state) = (instance.run, state_of(instance)?);
        let react = || Reaction::of(run, input, state, |state: &mut S| state.timeout(&name));
        let reaction = caught_in(instance, react)?;
        let context = instance.context.clone();
        self.append_reaction(instance, reaction, &context)
    }

    // Commands.

    /// Sends the commands of an instance until one fails, or none is left.
    fn advance(&mut self, instance: &mut Instance) -> Result<(), StopReason> {
        for _ in 0..STEPS_AT_ONCE {
            let now = self.store.now();
            let is_waiting = instance.attempts.is_some_and(|attempts| attempts.next > now);
            if instance.is_ended() || instance.stuck.is_some() || is_waiting {
                return Ok(());
            }
            if let Some(end) = instance.end() {
                return self.append_plain(instance, end);
            }
            if instance.next_step().is_none() || !self.send_next(instance)? {
                return Ok(());
            }
        }
        let step = instance.next_step().map_or(0, |step| step.number);
        self.stick(
            instance,
            step,
            format!("it sent {STEPS_AT_ONCE} commands without waiting for an event or a timer"),
            0,
        )
    }

    /// Sends the next command. Returns whether it had an outcome that is recorded.
    fn send_next(&mut self, instance: &mut Instance) -> Result<bool, StopReason> {
        let Some(step) = instance.next_step().cloned() else {
            return Ok(false);
        };
        let is_compensation = matches!(instance.phase, SagaPhase::Compensating { .. });
        let command = if is_compensation {
            step.compensation.clone()
        } else {
            Some(step.command.clone())
        };
        let sending = Sending {
            command_id: instance.command_id(step.number, is_compensation),
            context: step.context.clone(),
            key: instance.key.clone(),
            attempt: instance.attempts.map_or(1, |attempts| attempts.count + 1),
        };
        let number = step.number;
        let outcome = self.dispatch(command.unwrap_or(Value::Null), &sending);
        self.count(is_compensation, &outcome);
        match outcome {
            Ok(()) if is_compensation => self.append_plain(instance, SagaEvent::Compensated { step: number })?,
            Ok(()) => self.append_plain(instance, SagaEvent::Sent { step: number })?,
            Err(SendError::Rejected { rejection: reason }) if is_compensation => {
                let reason = format!("its compensation was rejected: {reason}");
                self.stick(instance, number, reason, sending.attempt)?;
            }
            Err(SendError::Rejected { rejection: reason }) => self.reject(instance, number, &step.command, &reason)?,
            Err(SendError::Failed(error)) => return self.fail(instance, number, &error, sending.attempt),
        }
        Ok(true)
    }

    fn count(&self, is_compensation: bool, outcome: &Result<(), SendError>) {
        let mut view = self.view.lock();
        let counts = &mut view.counts;
        let sent = if is_compensation {
            &mut counts.compensations
        } else {
            &mut counts.steps
        };
        sent.add(outcome);
    }

    /// Calls the dispatcher. A panic is a failure that no further attempt can help.
    fn dispatch(&self, command: Value, sending: &Sending) -> Result<(), SendError> {
        let command: S::Command = serde_json::from_value(command).map_err(|error| {
            let what = format!("the stored command does not decode: {error}");
            SendError::Failed(HandlerError::permanent(what))
        })?;
        catch_unwind(AssertUnwindSafe(|| (self.dispatcher)(&command, sending))).unwrap_or_else(|panic| {
            let what = format!("the handler of the command panicked: {}", panic_text(&*panic));
            Err(SendError::Failed(HandlerError::permanent(what)))
        })
    }

    fn reject(&mut self, instance: &mut Instance, step: u64, command: &Value, reason: &str) -> Result<(), StopReason> {
        let command: S::Command = serde_json::from_value(command.clone()).map_err(|error| StopReason::Storage {
            reason: format!("a stored command does not decode: {error}"),
        })?;
        let (run, state) = (instance.run, state_of(instance)?);
        let react = || {
            Reaction::of(run, Input::Rejection { step }, state, |state: &mut S| {
                state.rejected(&command, reason)
            })
        };
        let reaction = caught_in(instance, react)?;
        let rejected = SagaEvent::Rejected {
            step,
            reason: reason.to_owned(),
        };
        let reacted = self.reacted(instance, reaction)?;
        let context = instance.context.clone();
        self.append(instance, vec![rejected, reacted], &context, None)
    }

    /// A failure that may pass: attempted again later, at most as often as the policy says.
    fn fail(
        &mut self,
        instance: &mut Instance,
        step: u64,
        error: &HandlerError,
        attempt: u32,
    ) -> Result<bool, StopReason> {
        if error.is_permanent() || attempt >= self.retry.attempts {
            self.stick(instance, step, error.to_string(), attempt)?;
            return Ok(true);
        }
        let next = self.store.now().after(self.retry.draw_pause(attempt, &self.store));
        instance.attempts = Some(Attempts { count: attempt, next });
        Ok(false)
    }

    fn stick(&mut self, instance: &mut Instance, step: u64, reason: String, attempts: u32) -> Result<(), StopReason> {
        self.append_plain(instance, SagaEvent::Stuck { step, reason, attempts })
    }

    // Orders by hand.

    fn carry_out_orders(&mut self) -> Result<(), StopReason> {
        while let Some(order) = self.orders.take() {
            let mut instance = self.take(&order.key)?;
            let event = match &order.verb {
                _ if instance.is_ended() => None,
                Verb::Retry => instance.stuck.is_some().then_some(SagaEvent::Retried {}),
                Verb::Abandon(reason) => Some(SagaEvent::Abandoned { reason: reason.clone() }),
            };
            let found = event.is_some();
            let done = match event {
                Some(event) => self
                    .append_plain(&mut instance, event)
                    .and_then(|()| self.advance(&mut instance)),
                None => Ok(()),
            };
            self.put(instance);
            order.answer(found);
            done?;
        }
        Ok(())
    }

    // Instances.

    /// The instance with a key: one that has not ended, or what its stream says.
    fn take(&mut self, key: &str) -> Result<Instance, StopReason> {
        if let Some(instance) = self.active.remove(key) {
            for due in dues(&instance) {
                self.due.remove(&(due, key.to_owned()));
            }
            return Ok(instance);
        }
        restored(&self.store, stream_of(S::TYPE, key), key)
    }

    fn put(&mut self, instance: Instance) {
        let mut view = self.view.lock();
        if instance.is_ended() {
            view.active.remove(&instance.key);
            return;
        }
        view.active.insert(instance.key.clone(), instance.status());
        drop(view);
        for due in dues(&instance) {
            self.due.insert((due, instance.key.clone()));
        }
        self.active.insert(instance.key.clone(), instance);
    }

    /// Reads the instances that have not ended, and goes on with their commands.
    fn recover(&mut self) -> Result<(), StopReason> {
        self.active.clear();
        self.due.clear();
        self.view.lock().active.clear();
        for mut instance in restored_all(&self.store, S::TYPE)? {
            let advanced = self.advance(&mut instance);
            self.put(instance);
            advanced?;
        }
        Ok(())
    }

    // Storing.

    fn append_plain(&self, instance: &mut Instance, event: SagaEvent) -> Result<(), StopReason> {
        let context = instance.context.clone();
        self.append(instance, vec![event], &context, None)
    }

    fn append_reaction(
        &self,
        instance: &mut Instance,
        reaction: Reaction<S>,
        context: &Context,
    ) -> Result<(), StopReason> {
        let id = reaction_id(instance, &reaction.input);
        let is_same_run = reaction.run == instance.run;
        let is_event = matches!(reaction.input, Input::Event { .. });
        let reacted = self.reacted(instance, reaction)?;
        // Nothing to remember: read again, the event would leave the instance as it is once more, or come before a later one.
        let SagaEvent::Reacted { state, actions, .. } = &reacted else {
            return Ok(());
        };
        if is_same_run && is_event && actions.is_empty() && *state == instance.state {
            return Ok(());
        }
        self.append(instance, vec![reacted], context, Some(id))
    }

    /// The event of a reaction, with numbers for its commands and timers.
    fn reacted(&self, instance: &Instance, reaction: Reaction<S>) -> Result<SagaEvent, StopReason> {
        let now = self.store.now();
        let unwritable = |error: serde_json::Error| {
            let id = &instance.stream.aggregate_id;
            StopReason::Storage {
                reason: format!("a state or command of '{id}' cannot be written: {error}"),
            }
        };
        let numbered = (instance.next_number..).zip(reaction.actions);
        let actions: Result<_, _> = numbered.map(|(number, action)| record(action, number, now)).collect();
        Ok(SagaEvent::Reacted {
            key: instance.key.clone(),
            run: reaction.run,
            input: reaction.input,
            state: serde_json::to_value(reaction.state).map_err(unwritable)?,
            actions: actions.map_err(unwritable)?,
        })
    }

    /// Appends events to the instance's stream at its version: another writer of the stream is another processor of this saga.
    fn append(
        &self,
        instance: &mut Instance,
        events: Vec<SagaEvent>,
        context: &Context,
        id: Option<Uuid>,
    ) -> Result<(), StopReason> {
        let typed = TypedEvents::<SagaEvent>::new();
        let mut new = Vec::with_capacity(events.len());
        for event in &events {
            let (encoded, _) = typed
                .encode(
                    event,
                    NewEventId {
                        id: Uuid::nil(),
                        aggregate_id: &instance.stream.aggregate_id,
                    },
                )
                .map_err(|(_, error)| StopReason::Storage {
                    reason: error.to_string(),
                })?;
            let mut event = typed.new_event(encoded);
            context.apply(&mut event);
            event.id = id;
            new.push(event);
        }
        let expected = match instance.version {
            Version(0) => Expected::NoStream,
            version => Expected::Exactly(version),
        };
        let appended = self
            .store
            .append(&instance.stream, expected, &new)
            .map_err(|error| self.explain(error))?;
        for (place, event) in (0..).zip(events) {
            let position = Position(appended.first_position.0 + place);
            let record = self.store.event_at(position).ok_or_else(|| StopReason::Storage {
                reason: format!("the event at position {position} is gone: limits must not drop the streams of sagas"),
            })?;
            self.view.lock().counts.recorded(&event);
            instance.apply(event, &record);
        }
        Ok(())
    }

    fn explain(&self, error: Error) -> StopReason {
        let own = self.checkpoint.as_ref().map_or(Ok(()), Checkpoint::check);
        match (error, own) {
            (Error::Conflict(_), Err(superseded)) => superseded,
            (error, _) => StopReason::Storage {
                reason: error.to_string(),
            },
        }
    }

    fn save(&mut self, position: Position) -> Result<(), StopReason> {
        match &mut self.checkpoint {
            Some(checkpoint) => checkpoint.save(position),
            None => Ok(()),
        }
    }
}

/// When the instance wants to be called.
fn dues(instance: &Instance) -> impl Iterator<Item = Timestamp> {
    let timer = instance.next_timer().map(|(_, timer)| timer.due);
    let attempt = instance.attempts.map(|attempts| attempts.next);
    timer.into_iter().chain(attempt)
}

/// The id of a reaction, which follows from what it reacts to.
fn reaction_id(instance: &Instance, input: &Input) -> Uuid {
    let what = match input {
        Input::Event { part, id, .. } => format!("event {id} {part}"),
        Input::Timer { token, .. } => format!("timer {token}"),
        Input::Rejection { step } => format!("rejection {step}"),
    };
    Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("{} {what}", instance.stream.aggregate_id).as_bytes(),
    )
}

/// What a saga returned to an input.
struct Reaction<S: Saga> {
    run: u64,
    input: Input,
    state: S,
    actions: Vec<Action<S::Command>>,
}

impl<S: Saga> Reaction<S> {
    fn of(run: u64, input: Input, mut state: S, react: impl FnOnce(&mut S) -> Vec<Action<S::Command>>) -> Self {
        let actions = react(&mut state);
        Self {
            run,
            input,
            state,
            actions,
        }
    }
}

/// The state that an event meets, and the run that it is part of.
fn begin_run<S: Saga>(instance: &Instance, starts: bool) -> Result<(S, u64), StopReason> {
    if instance.is_ended() && starts {
        return Ok((S::default(), instance.run + 1));
    }
    Ok((state_of(instance)?, instance.run))
}

fn state_of<S: Saga>(instance: &Instance) -> Result<S, StopReason> {
    serde_json::from_value(instance.state.clone()).map_err(|error| {
        let id = &instance.stream.aggregate_id;
        StopReason::Storage {
            reason: format!("the state in '{id}' does not decode: {error}; give new fields a default"),
        }
    })
}

/// A panic of the saga where there is no event stops the processor too.
fn caught_in<T>(instance: &Instance, call: impl FnOnce() -> T) -> Result<T, StopReason> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let (id, reason) = (&instance.stream.aggregate_id, panic_text(&*panic));
        StopReason::Panicked {
            reason: format!("{reason} (in the instance '{id}')"),
        }
    })
}

fn record<C: serde::Serialize>(action: Action<C>, number: u64, now: Timestamp) -> serde_json::Result<Recorded> {
    Ok(match action {
        Action::Send { command, compensation } => Recorded::Send {
            step: number,
            command: serde_json::to_value(command)?,
            compensation: compensation.map(serde_json::to_value).transpose()?,
        },
        Action::SetTimer { name, due } => Recorded::SetTimer {
            name,
            token: number,
            due_micros: match due {
                Due::At(time) => time.as_micros(),
                Due::After(duration) => now.after(duration).as_micros(),
            },
        },
        Action::CancelTimer { name } => Recorded::CancelTimer { name },
        Action::Complete => Recorded::Complete,
        Action::Fail { reason } => Recorded::Fail { reason },
    })
}

/// A panic of the saga at an event stops the processor.
fn caught<T>(record: &Event, call: impl FnOnce() -> T) -> Result<T, StopReason> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| StopReason::Failed {
        event: FailedEvent::of(record),
        reason: format!("the saga panicked: {}", panic_text(&*panic)),
    })
}

impl<S: Saga> Sink for SagaSink<S> {
    fn query(&self) -> Query {
        self.query.clone()
    }

    fn begin(&mut self) -> Result<Position, StopReason> {
        let checkpoint = Checkpoint::take(&self.store, self.control.name(), self.from)?;
        let position = checkpoint.position();
        self.checkpoint = Some(checkpoint);
        self.recover()?;
        Ok(position)
    }

    fn handle(&mut self, batch: &[Delivery], position: Position) -> Result<(), StopReason> {
        if !batch.is_empty() {
            self.checkpoint.as_ref().map_or(Ok(()), Checkpoint::check)?;
        }
        let mut any = false;
        for delivery in batch {
            match delivery {
                Delivery::Event(event) => {
                    if self.event(event)? {
                        self.control.count(1, 0);
                        any = true;
                    }
                }
                Delivery::Gap(_) if self.skips_gaps => {}
                Delivery::Gap(gap) => {
                    return Err(StopReason::Gap {
                        gap: gap.clone(),
                        reason: "call `skip_gaps` to go on without these events".to_owned(),
                    });
                }
            }
        }
        let saved = self.checkpoint.as_ref().map_or(position, Checkpoint::position);
        // The instances know what they have seen: the checkpoint spares reading, and nothing depends on it.
        if any || position.0.saturating_sub(saved.0) >= QUIET_POSITIONS {
            self.save(position)?;
        }
        Ok(())
    }

    fn tick(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StopReason> {
        self.carry_out_orders()?;
        if self.due.first().is_some_and(|(due, _)| *due <= now) {
            self.checkpoint.as_ref().map_or(Ok(()), Checkpoint::check)?;
        }
        self.fire_due(now)?;
        Ok(self.due.first().map(|(due, _)| *due))
    }
}
