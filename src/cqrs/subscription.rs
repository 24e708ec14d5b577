//! Subscriptions: threads that call a handler with every event of a query, at least once.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::process::{
    BEHIND, Checkpoint, Control, Handled, Letter, Letters, Processor, Processors, Sink, StartError, StartFrom,
    StopReason, attempt, is_bookkeeping, panic_text,
};
use super::typed::Reader;
use super::{AfterFailure, Codec, Context, HandlerError, OnFailure, TypedEvents};
use crate::{Delivery, Event, Gap, Name, Position, Query, Store};

/// Positions without an event for the handler after which the checkpoint is saved all the same: the next start skips them.
const QUIET_POSITIONS: u64 = 1_000;

/// An event that a subscription passes to its handler.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivered<'a, E> {
    /// The typed event.
    pub event: E,
    /// The stored event: position, time and names.
    pub record: &'a Event,
    /// The number of the attempt, counted from 1; a replay of a dead letter continues the count.
    pub attempt: u32,
    /// The idempotency key: the same for every delivery of this event to this subscription, and unique to it. A handler that stores the key with its
    /// effect recognizes a repeated delivery. It is a UUID derived from the event's id, the subscription's name, and the part where an upcaster
    /// splits the event.
    pub key: Uuid,
    /// The context for commands that react to this event: its user, organization and correlation, with the event's id as the causation.
    pub context: Context,
}

/// The idempotency key of an event for a subscription or group.
pub(super) fn idempotency_key(event_id: Uuid, name: &str, part: u32) -> Uuid {
    let of = [&part.to_be_bytes()[..], name.as_bytes()].concat();
    Uuid::new_v5(&event_id, &of)
}

impl<'a, E> Delivered<'a, E> {
    pub(super) fn of(event: E, record: &'a Event, name: &str, part: u32, attempt: u32) -> Self {
        Self {
            event,
            record,
            attempt,
            key: idempotency_key(record.id(), name, part),
            context: Context::caused_by(record),
        }
    }
}

type Handler<E> = dyn Fn(Delivered<'_, E>) -> Result<(), HandlerError> + Send + Sync;

impl Processors {
    /// Subscribes `handler` to every event of the types of `E`, in the order of the log, at least once, on its own thread.
    ///
    /// The store keeps the checkpoint under `name`, which has 1 to 200 bytes. It is saved after every batch of at most 256 events, without waiting
    /// for the journal. After a crash, the events after the last checkpoint that reached the journal are delivered again; [`Delivered::key`]
    /// identifies them. A handler runs for one event at a time, and may be called again for an event that it has failed at.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use annals::cqrs::{Delivered, Processors};
    /// use annals::{Expected, NewEvent, Store, StreamId};
    ///
    /// #[derive(serde::Deserialize)]
    /// enum OrderEvent {
    ///     Paid { total: u64 },
    /// }
    ///
    /// let store = Store::in_memory();
    /// let processors = Processors::new(&store);
    /// let receipts = processors.subscribe("receipts", |paid: Delivered<'_, OrderEvent>| {
    ///     let OrderEvent::Paid { total } = paid.event;
    ///     // send_mail(paid.key, total)?;
    ///     assert_eq!(total, 250);
    ///     Ok(())
    /// });
    /// let receipts = receipts.start()?;
    /// store.append(&StreamId::new("Order", "order-1"), Expected::Any, NewEvent::new("Paid").data(r#"{"total":250}"#))?;
    /// receipts.when_caught_up(Duration::from_secs(5))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe<E: DeserializeOwned + 'static>(
        &self,
        name: impl Into<Name>,
        handler: impl Fn(Delivered<'_, E>) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> SubscriptionBuilder<E> {
        let events = TypedEvents::<E>::new();
        SubscriptionBuilder {
            processors: self.clone(),
            name: name.into(),
            handler: Arc::new(handler),
            reader: events.reader(),
            query: events.all(),
            on_failure: OnFailure::default(),
            from: StartFrom::default(),
            skips_gaps: false,
        }
    }
}

/// The settings of a subscription. See [`Processors::subscribe`].
#[must_use = "a subscription runs when it is started"]
pub struct SubscriptionBuilder<E> {
    processors: Processors,
    name: Name,
    handler: Arc<Handler<E>>,
    reader: Reader<E>,
    query: Query,
    on_failure: OnFailure,
    from: StartFrom,
    skips_gaps: bool,
}

impl<E> fmt::Debug for SubscriptionBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionBuilder")
            .field("name", &self.name)
            .field("query", &self.query)
            .field("on_failure", &self.on_failure)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl<E: DeserializeOwned + 'static> SubscriptionBuilder<E> {
    /// Sets the codec, the upcasters and the policy for unknown types, and resets the query to these types: call it before `query`.
    ///
    /// By default, events are JSON of the newest schema.
    pub fn events<C: Codec>(mut self, events: &TypedEvents<E, C>) -> Self {
        self.reader = events.reader();
        self.query = events.all();
        self
    }

    /// Sets the query of the events. By default, all events of the types of `E`. Events in which processors store their starts and dead letters are
    /// excluded.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets the policy for an event that the handler fails at; see [`OnFailure`] for the default.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets where a subscription without a checkpoint begins. By default, at the first event.
    pub fn start_from(mut self, from: StartFrom) -> Self {
        self.from = from;
        self
    }

    /// Continues where events were dropped before the handler saw them: by a limit, a budget, deletion, truncation or archiving. By default, the
    /// subscription stops there, with the gap as the reason.
    pub fn skip_gaps(mut self) -> Self {
        self.skips_gaps = true;
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the name is taken or invalid, or the query is invalid.
    pub fn start(self) -> Result<Subscription<E>, StartError> {
        let store = self.processors.store().clone();
        let query = self.reader.stored_query(self.query)?;
        drop(store.tail(query.clone(), Position(0))?);
        let shared = Arc::new(Shared {
            store,
            name: self.name.clone(),
            handler: self.handler,
            reader: self.reader,
            letters: Mutex::new(None),
            replayed: Mutex::default(),
        });
        let (on_failure, from, skips_gaps) = (self.on_failure, self.from, self.skips_gaps);
        let processor = self.processors.start(&self.name, |control| SubscriptionSink {
            shared: Arc::clone(&shared),
            control: Arc::clone(control),
            query,
            on_failure,
            from,
            skips_gaps,
            checkpoint: None,
        })?;
        Ok(Subscription { shared, processor })
    }
}

struct Shared<E> {
    store: Store,
    name: Name,
    handler: Arc<Handler<E>>,
    reader: Reader<E>,
    /// `None` before the thread has read them.
    letters: Mutex<Option<Letters>>,
    /// The aggregates whose letters are being replayed.
    replayed: Mutex<BTreeSet<Name>>,
}

impl<E> Shared<E> {
    /// Calls the handler with the typed events of a record.
    fn call(&self, record: &Event, attempt: u32) -> Result<(), HandlerError> {
        let mut typed = Vec::with_capacity(1);
        let read = self.reader.read(record, &mut |event| typed.push(event));
        read.map_err(|error| HandlerError::permanent(error.to_string()))?;
        for (part, event) in (0..).zip(typed) {
            (self.handler)(Delivered::of(event, record, &self.name, part, attempt))?;
        }
        Ok(())
    }

    /// Calls the handler outside of the processor. A panic is a failure.
    fn call_caught(&self, record: &Event, attempt: u32) -> Result<(), HandlerError> {
        catch_unwind(AssertUnwindSafe(|| self.call(record, attempt))).unwrap_or_else(|panic| {
            let what = format!("the handler panicked: {}", panic_text(&*panic));
            Err(HandlerError::permanent(what))
        })
    }

    /// Begins to replay the letters of an aggregate, unless another call does so.
    fn begin_replay(&self, aggregate_id: &Name) -> Option<Replaying<'_>> {
        let is_first = self.replayed.lock().insert(aggregate_id.clone());
        is_first.then(|| Replaying {
            replayed: &self.replayed,
            aggregate_id: aggregate_id.clone(),
        })
    }

    /// As [`with_letters`](Self::with_letters), with what other handles and owners of the name have stored.
    fn with_newest_letters<T>(
        &self,
        work: impl FnOnce(&mut Letters) -> Result<T, StopReason>,
    ) -> Result<T, StopReason> {
        self.with_letters(|letters| {
            letters.refresh()?;
            work(letters)
        })
    }

    fn with_letters<T>(&self, work: impl FnOnce(&mut Letters) -> Result<T, StopReason>) -> Result<T, StopReason> {
        let mut letters = self.letters.lock();
        if letters.is_none() {
            *letters = Some(Letters::open(&self.store, &self.name)?);
        }
        match &mut *letters {
            Some(letters) => work(letters),
            None => Err(StopReason::Storage {
                reason: "the dead letters are not read".to_owned(),
            }),
        }
    }
}

/// Lets no other call replay the letters of an aggregate until it is dropped.
struct Replaying<'a> {
    replayed: &'a Mutex<BTreeSet<Name>>,
    aggregate_id: Name,
}

impl Drop for Replaying<'_> {
    fn drop(&mut self) {
        self.replayed.lock().remove(&self.aggregate_id);
    }
}

/// A handle of a started subscription. Cheap to clone.
///
/// It dereferences to its [`Processor`], which has the status, `pause`, `resume`, and the waits.
pub struct Subscription<E> {
    shared: Arc<Shared<E>>,
    processor: Processor,
}

impl<E> Clone for Subscription<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            processor: self.processor.clone(),
        }
    }
}

impl<E> fmt::Debug for Subscription<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("status", &self.processor.status())
            .finish_non_exhaustive()
    }
}

impl<E> Deref for Subscription<E> {
    type Target = Processor;

    fn deref(&self) -> &Processor {
        &self.processor
    }
}

impl<E> Subscription<E> {
    /// Lists the dead letters, ascending by position.
    ///
    /// # Errors
    ///
    /// [`StopReason::Storage`] when they cannot be read.
    pub fn letters(&self) -> Result<Vec<Letter>, StopReason> {
        let letters = self.shared.with_newest_letters(|letters| Ok(letters.all()))?;
        Ok(letters
            .into_iter()
            .map(|letter| self.shared.reader.open_reason(letter))
            .collect())
    }

    /// The number of records of dead letters that a limit or a truncation of the store has dropped, 0 if none: letters among them cannot be listed
    /// or replayed any more. Set no limit on the stream `annals.letters/NAME`.
    ///
    /// # Errors
    ///
    /// [`StopReason::Storage`] when the letters cannot be read.
    pub fn lost_letter_records(&self) -> Result<u64, StopReason> {
        self.shared.with_letters(|letters| Ok(letters.lost()))
    }

    /// Calls the handler with the dead letters on this thread, ascending by position. Returns the number of events handled.
    ///
    /// A letter that is handled is removed. If one fails or panics, the later letters of its aggregate remain, as do letters that
    /// another call is replaying. With [`AfterFailure::Park`], new events of an
    /// aggregate with letters are parked behind them. The checkpoint does not change.
    ///
    /// # Errors
    ///
    /// [`StopReason::Storage`] when letters cannot be read or written.
    pub fn replay_letters(&self) -> Result<u64, StopReason> {
        self.replay_where(|_| true)
    }

    /// Calls the handler with the dead letters of one aggregate. Otherwise as [`replay_letters`](Self::replay_letters).
    ///
    /// # Errors
    ///
    /// As [`replay_letters`](Self::replay_letters).
    pub fn replay_letters_of(&self, aggregate_id: &str) -> Result<u64, StopReason> {
        self.replay_where(|letter| letter.aggregate_id == *aggregate_id)
    }

    fn replay_where(&self, is_wanted: impl Fn(&Letter) -> bool) -> Result<u64, StopReason> {
        let mut handled = 0;
        let mut failed: Vec<Name> = Vec::new();
        let mut after = Position(0);
        // Letters that are parked meanwhile follow in their turn.
        while let Some(letter) = self.next_letter(after)? {
            after = letter.position;
            if !is_wanted(&letter) || failed.contains(&letter.aggregate_id) {
                continue;
            }
            match self.shared.begin_replay(&letter.aggregate_id) {
                Some(_replaying) if self.letter(after)?.is_none() => {}
                Some(_replaying) if self.replay(&letter)? => handled += 1,
                _ => failed.push(letter.aggregate_id),
            }
        }
        Ok(handled)
    }

    fn next_letter(&self, after: Position) -> Result<Option<Letter>, StopReason> {
        self.shared
            .with_newest_letters(|letters| Ok(letters.next_after(after).cloned()))
    }

    fn letter(&self, position: Position) -> Result<Option<Letter>, StopReason> {
        self.shared
            .with_newest_letters(|letters| Ok(letters.get(position).cloned()))
    }

    fn replay(&self, letter: &Letter) -> Result<bool, StopReason> {
        let event = self.shared.store.event_at(letter.position);
        let reasons = self.shared.reader.reasons();
        let called = match &event {
            Some(event) => self.shared.call_caught(event, letter.attempts + 1),
            None => Err(HandlerError::permanent(
                "the event itself is gone from the store: drop the letter",
            )),
        };
        let handled = called.is_ok();
        self.shared.with_newest_letters(|letters| {
            // It may have been dropped meanwhile.
            if letters.get(letter.position).is_none() {
                return Ok(());
            }
            match (called, event) {
                (Ok(()), _) => letters.replayed(letter.position),
                (Err(error), Some(event)) => {
                    letters.park(&event, &reasons.seal(error.to_string()), letter.attempts + 1)
                }
                (Err(_), None) => Ok(()),
            }
        })?;
        Ok(handled)
    }

    /// Drops a dead letter: it is not replayed. Returns whether there was one at `position`.
    ///
    /// # Errors
    ///
    /// [`StopReason::Storage`] when letters cannot be read or written.
    pub fn drop_letter(&self, position: Position) -> Result<bool, StopReason> {
        self.shared.with_newest_letters(|letters| {
            if letters.get(position).is_none() {
                return Ok(false);
            }
            letters.dropped(position).map(|()| true)
        })
    }
}

struct SubscriptionSink<E> {
    shared: Arc<Shared<E>>,
    control: Arc<Control>,
    query: Query,
    on_failure: OnFailure,
    from: StartFrom,
    skips_gaps: bool,
    checkpoint: Option<Checkpoint>,
}

impl<E> SubscriptionSink<E> {
    fn deliver(&self, delivery: &Delivery) -> Result<bool, StopReason> {
        match delivery {
            Delivery::Event(event) if is_bookkeeping(event) => Ok(false),
            Delivery::Event(event) => self.handle_event(event),
            Delivery::Gap(gap) => self.handle_gap(gap).map(|()| false),
        }
    }

    fn handle_gap(&self, gap: &Gap) -> Result<(), StopReason> {
        if self.skips_gaps {
            return Ok(());
        }
        Err(StopReason::Gap {
            gap: gap.clone(),
            reason: "call `skip_gaps` to go on without these events".to_owned(),
        })
    }

    fn handle_event(&self, event: &Event) -> Result<bool, StopReason> {
        let parks = self.on_failure.then == AfterFailure::Park;
        let (is_parked, is_held) = self.shared.with_letters(|letters| {
            Ok((
                letters.get(event.position()).is_some(),
                letters.hold(event.aggregate_id()),
            ))
        })?;
        if is_parked {
            return Ok(false);
        }
        if is_held && parks {
            return self.park(event, BEHIND, 0);
        }
        let reasons = self.shared.reader.reasons();
        match attempt(&self.on_failure, &self.control, event, |number| {
            #[cfg(feature = "testing")]
            self.control
                .staged_fault(crate::testing::faults::Operation::Handler, event)?;
            self.shared.call(event, number)
        })? {
            Handled::Done => self.control.count(1, 0),
            Handled::Failed { reason, attempts } => return self.park(event, &reasons.seal(reason), attempts),
        }
        Ok(true)
    }

    fn park(&self, event: &Event, reason: &str, attempts: u32) -> Result<bool, StopReason> {
        self.shared
            .with_letters(|letters| letters.park(event, reason, attempts))?;
        self.control.count(0, 1);
        Ok(true)
    }

    fn save(&mut self, position: Position) -> Result<(), StopReason> {
        match &mut self.checkpoint {
            Some(checkpoint) => checkpoint.save(position),
            None => Ok(()),
        }
    }
}

impl<E> Sink for SubscriptionSink<E>
where
    E: 'static,
{
    fn query(&self) -> Query {
        self.query.clone()
    }

    fn begin(&mut self) -> Result<Position, StopReason> {
        let checkpoint = Checkpoint::take(&self.shared.store, &self.shared.name, self.from)?;
        let position = checkpoint.position();
        self.checkpoint = Some(checkpoint);
        self.shared.with_newest_letters(|_| Ok(()))?;
        Ok(position)
    }

    fn handle(&mut self, batch: &[Delivery], position: Position) -> Result<(), StopReason> {
        if !batch.is_empty() {
            // Before the handler is called: saving the checkpoint would notice too late.
            self.checkpoint.as_ref().map_or(Ok(()), Checkpoint::check)?;
            self.shared.with_newest_letters(|_| Ok(()))?;
        }
        #[cfg(feature = "testing")]
        for delivery in self.shared.store.handled_before_crash(batch) {
            self.deliver(delivery)?;
        }
        let mut any = false;
        for delivery in batch {
            match self.deliver(delivery) {
                Ok(handled) => any |= handled,
                Err(reason) => {
                    // The events before are not handled again.
                    let before = match delivery {
                        Delivery::Event(event) => event.position().0 - 1,
                        Delivery::Gap(gap) => gap.first.0 - 1,
                    };
                    if any {
                        self.save(Position(before))?;
                    }
                    return Err(reason);
                }
            }
        }
        let saved = self.checkpoint.as_ref().map_or(position, Checkpoint::position);
        if any || position.0 - saved.0 >= QUIET_POSITIONS {
            self.save(position)?;
        }
        Ok(())
    }
}
