//! What the consumers of a group share: what is fetched, handed out, acknowledged and parked.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Instant;

use futures_core::Stream;
use parking_lot::{Condvar, Mutex};

use super::lanes::{Entry, Lanes};
use super::{GroupSettings, GroupStatus};
use crate::cqrs::process::{BEHIND, Checkpoint, Letter, Letters, StopReason, is_bookkeeping, panic_text};
use crate::cqrs::typed::Reader;
use crate::{Delivery, Error, Event, Name, Position, Query, Store, TailStream, Timestamp};

/// Acknowledged events after which the checkpoint is saved while others are not handled yet.
const SAVE_EVERY: u64 = 64;

/// Positions without an event for the group after which the checkpoint is saved all the same.
const QUIET_POSITIONS: u64 = 1_000;

/// Tells the consumers that there may be something to do.
#[derive(Debug, Default)]
pub(super) struct Signal {
    generation: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    pub(super) fn generation(&self) -> u64 {
        *self.generation.lock()
    }

    pub(super) fn notify(&self) {
        *self.generation.lock() += 1;
        self.changed.notify_all();
    }

    /// Waits until there was a notification since `seen`. Returns whether the deadline has passed.
    pub(super) fn wait(&self, seen: u64, deadline: Option<Instant>) -> bool {
        let mut generation = self.generation.lock();
        while *generation == seen {
            let Some(deadline) = deadline else {
                self.changed.wait(&mut generation);
                continue;
            };
            if self.changed.wait_until(&mut generation, deadline).timed_out() {
                return true;
            }
        }
        false
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.notify();
    }
}

/// An event that is handed out.
pub(super) struct Lease<E> {
    pub(super) aggregate_id: Name,
    pub(super) token: u64,
    pub(super) record: Arc<Event>,
    pub(super) event: E,
    pub(super) part: u32,
    pub(super) attempt: u32,
}

pub(super) struct Broker<E> {
    store: Store,
    name: Name,
    query: Query,
    reader: Reader<E>,
    settings: GroupSettings,
    signal: Arc<Signal>,
    tail: Option<TailStream>,
    checkpoint: Checkpoint,
    letters: Letters,
    lanes: Lanes,
    /// The positions that are fetched and neither acknowledged nor parked.
    open: BTreeSet<u64>,
    /// Everything up to here is fetched.
    fetched: Position,
    stopped: Option<StopReason>,
}

impl<E> Broker<E> {
    pub(super) fn open(
        store: &Store,
        name: &Name,
        query: Query,
        reader: Reader<E>,
        settings: GroupSettings,
        signal: Arc<Signal>,
    ) -> Result<Self, StopReason> {
        let checkpoint = Checkpoint::take(store, name, settings.from)?;
        let mut broker = Self {
            letters: Letters::open(store, name)?,
            fetched: checkpoint.position(),
            checkpoint,
            store: store.clone(),
            name: name.clone(),
            query,
            reader,
            settings,
            signal,
            tail: None,
            lanes: Lanes::default(),
            open: BTreeSet::new(),
            stopped: None,
        };
        broker.follow()?;
        Ok(broker)
    }

    fn follow(&mut self) -> Result<(), StopReason> {
        let (checkpoint, last) = (self.checkpoint.position(), self.store.visible());
        if checkpoint > last {
            return Err(StopReason::CheckpointBeyondLog { checkpoint, last });
        }
        let tail = self.store.tail(self.query.clone(), checkpoint);
        self.tail = Some(
            tail.map_err(|error: Error| StopReason::Storage {
                reason: error.to_string(),
            })?
            .into_stream(),
        );
        Ok(())
    }

    /// Goes on after the checkpoint, in a new epoch. What is handed out is handed out again.
    pub(super) fn resume(&mut self) -> Result<(), StopReason> {
        let mut fresh = Self::open(
            &self.store,
            &self.name,
            self.query.clone(),
            self.reader.clone(),
            self.settings,
            Arc::clone(&self.signal),
        )?;
        fresh.lanes = self.lanes.renewed();
        *self = fresh;
        Ok(())
    }

    /// Runs a step, and stops the group when it fails.
    pub(super) fn run<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, StopReason>) -> Result<T, StopReason> {
        if let Some(reason) = &self.stopped {
            return Err(reason.clone());
        }
        let done = step(self);
        if let Err(reason) = &done {
            self.stopped = Some(reason.clone());
        }
        done
    }

    /// The next event that can be handed out; `None` when there is none now.
    pub(super) fn next(&mut self) -> Result<Option<Lease<E>>, StopReason> {
        self.checkpoint.check()?;
        let now = self.store.now();
        self.expire(now)?;
        loop {
            let Some((name, token)) = self.lanes.lease(now.after(self.settings.lease)) else {
                if self.fetch()? {
                    continue;
                }
                return Ok(None);
            };
            if let Some(lease) = self.decode(name, token)? {
                return Ok(Some(lease));
            }
        }
    }

    /// The next typed event of a lane's first record; `None` when it is none, or does not decode.
    fn decode(&mut self, aggregate_id: Name, token: u64) -> Result<Option<Lease<E>>, StopReason> {
        let Some(entry) = self.lanes.first_mut(&aggregate_id) else {
            return Ok(None);
        };
        let mut typed = Vec::with_capacity(1);
        entry.reasons = self.reader.reasons();
        let (reader, record) = (&self.reader, &entry.record);
        let read = catch_unwind(AssertUnwindSafe(|| reader.read(record, &mut |event| typed.push(event))));
        let failed = match read {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(format!("decoding it panicked: {}", panic_text(&*panic))),
        };
        if let Some(reason) = failed {
            let attempts = entry.attempts + 1;
            self.park(&aggregate_id, &reason, attempts)?;
            return Ok(None);
        }
        entry.parts = u32::try_from(typed.len()).unwrap_or(u32::MAX);
        let (record, part, attempt) = (Arc::clone(&entry.record), entry.part, entry.attempts + 1);
        let Some(event) = typed.into_iter().nth(part as usize) else {
            self.finish(&aggregate_id)?;
            return Ok(None);
        };
        Ok(Some(Lease {
            aggregate_id,
            token,
            record,
            event,
            part,
            attempt,
        }))
    }

    /// Makes the lanes ready whose time has come.
    fn expire(&mut self, now: Timestamp) -> Result<(), StopReason> {
        while let Some((name, is_leased)) = self.lanes.next_due(now) {
            if is_leased {
                self.fail(&name, "its consumer did not acknowledge it in time", now)?;
            } else {
                self.lanes.set_ready(&name);
            }
        }
        Ok(())
    }

    /// Fetches events, as many as may be in flight. Returns whether there were any.
    fn fetch(&mut self) -> Result<bool, StopReason> {
        let waker = Waker::from(Arc::clone(&self.signal));
        let mut task = TaskContext::from_waker(&waker);
        let mut any = false;
        while self.open.len() < self.settings.max_in_flight {
            let Some(tail) = &mut self.tail else {
                return Ok(any);
            };
            let polled = Pin::new(&mut *tail).poll_next(&mut task);
            self.fetched = tail.position();
            match polled {
                Poll::Pending => break,
                Poll::Ready(None) => self.tail = None,
                Poll::Ready(Some(Delivery::Event(event))) => {
                    any = true;
                    self.admit(event)?;
                }
                Poll::Ready(Some(Delivery::Gap(gap))) if self.settings.skips_gaps => drop(gap),
                Poll::Ready(Some(Delivery::Gap(gap))) => {
                    let reason = "call `skip_gaps` to go on without these events".to_owned();
                    return Err(StopReason::Gap { gap, reason });
                }
            }
        }
        self.save_if_worth_it(0)?;
        Ok(any)
    }

    fn admit(&mut self, event: Event) -> Result<(), StopReason> {
        if is_bookkeeping(&event) {
            return Ok(());
        }
        // It was parked before a crash, and the checkpoint did not say so.
        if self.letters.get(event.position()).is_some() {
            return Ok(());
        }
        // Events behind letters that are being replayed follow them.
        if self.letters.hold(event.aggregate_id()) && !self.lanes.contains(event.aggregate_id()) {
            return self.letters.park(&event, BEHIND, 0);
        }
        self.open.insert(event.position().0);
        self.lanes.push(Entry::new(event, false));
        Ok(())
    }

    /// Acknowledges an event. Returns whether its lease still held.
    pub(super) fn ack(&mut self, name: &Name, token: u64) -> Result<bool, StopReason> {
        self.checkpoint.check()?;
        if !self.lanes.is_leased(name, token) {
            return Ok(false);
        }
        #[cfg(feature = "testing")]
        if let Some(entry) = self.lanes.first_mut(name)
            && !entry.is_letter
            && self.store.loses_acknowledgement()
        {
            (entry.part, entry.attempts) = (0, 0);
            self.lanes.set_ready(name);
            return Ok(true);
        }
        if let Some(entry) = self.lanes.first_mut(name)
            && entry.part + 1 < entry.parts
        {
            entry.part += 1;
            entry.attempts = 0;
            self.lanes.set_ready(name);
            return Ok(true);
        }
        self.finish(name)?;
        Ok(true)
    }

    /// The first event of a lane is done.
    fn finish(&mut self, name: &Name) -> Result<(), StopReason> {
        let Some(entry) = self.lanes.pop(name) else {
            return Ok(());
        };
        if entry.is_letter {
            return self.letters.replayed(entry.record.position());
        }
        self.open.remove(&entry.record.position().0);
        self.save_if_worth_it(SAVE_EVERY)
    }

    /// An attempt has failed. Returns whether the lease still held.
    pub(super) fn nack(
        &mut self,
        name: &Name,
        token: u64,
        reason: &str,
        is_permanent: bool,
    ) -> Result<bool, StopReason> {
        self.checkpoint.check()?;
        if !self.lanes.is_leased(name, token) {
            return Ok(false);
        }
        if is_permanent {
            let attempts = self.lanes.first_mut(name).map_or(1, |entry| entry.attempts + 1);
            self.park(name, reason, attempts)?;
        } else {
            self.fail(name, reason, self.store.now())?;
        }
        Ok(true)
    }

    fn fail(&mut self, name: &Name, reason: &str, now: Timestamp) -> Result<(), StopReason> {
        let Some(entry) = self.lanes.first_mut(name) else {
            return Ok(());
        };
        entry.attempts += 1;
        let attempts = entry.attempts;
        if attempts >= self.settings.retry.attempts {
            return self.park(name, reason, attempts);
        }
        let until = now.after(self.settings.retry.draw_pause(attempts, &self.store));
        self.lanes.delay(name, until);
        Ok(())
    }

    /// Parks the first event of a lane, and behind it the others, so that their order is kept.
    fn park(&mut self, name: &Name, reason: &str, attempts: u32) -> Result<(), StopReason> {
        let mut told = Some((reason, attempts));
        for entry in self.lanes.remove(name) {
            let (reason, attempts) = match told.take() {
                Some((reason, attempts)) => (entry.reasons.seal(reason.to_owned()), attempts),
                None => (BEHIND.to_owned(), 0),
            };
            self.letters.park(&entry.record, &reason, attempts)?;
            self.open.remove(&entry.record.position().0);
        }
        self.save_if_worth_it(SAVE_EVERY)
    }

    /// Everything up to here is acknowledged or parked.
    pub(super) fn position(&self) -> Position {
        self.open.first().map_or(self.fetched, |first| Position(first - 1))
    }

    fn save_if_worth_it(&mut self, handled: u64) -> Result<(), StopReason> {
        let position = self.position();
        let ahead = position.0.saturating_sub(self.checkpoint.position().0);
        let is_worth_it = match handled {
            0 => ahead >= QUIET_POSITIONS,
            every => ahead >= every || (ahead > 0 && self.open.is_empty()),
        };
        if is_worth_it {
            self.checkpoint.save(position)?;
        }
        Ok(())
    }

    /// Saves the checkpoint as it is.
    pub(super) fn save(&mut self) -> Result<(), StopReason> {
        let position = self.position();
        if position > self.checkpoint.position() {
            self.checkpoint.save(position)?;
        }
        Ok(())
    }

    pub(super) fn letters(&self) -> Vec<Letter> {
        let letters = self.letters.all().into_iter();
        letters.map(|letter| self.reader.open_reason(letter)).collect()
    }

    /// Hands the letters of an aggregate out again, or of all. Returns their number.
    pub(super) fn replay(&mut self, aggregate_id: Option<&str>) -> u64 {
        let is_wanted = |letter: &Letter| aggregate_id.is_none_or(|wanted| letter.aggregate_id == wanted);
        let mut letters = self.letters.all();
        // A lane that is there already is being replayed.
        letters.retain(|letter| is_wanted(letter) && !self.lanes.contains(&letter.aggregate_id));
        let mut count = 0;
        for letter in letters {
            // An event that is gone from the store stays a letter, to be dropped.
            if let Some(event) = self.store.event_at(letter.position) {
                self.lanes.push(Entry::new(event, true));
                count += 1;
            }
        }
        count
    }

    pub(super) fn drop_letter(&mut self, position: Position) -> Result<bool, StopReason> {
        self.checkpoint.check()?;
        let Some(letter) = self.letters.get(position) else {
            return Ok(false);
        };
        if self.lanes.contains(&letter.aggregate_id.clone()) {
            return Ok(false);
        }
        self.letters.dropped(position).map(|()| true)
    }

    pub(super) fn status(&self) -> GroupStatus {
        let (ready, waiting) = self.lanes.counts();
        GroupStatus {
            name: self.name.clone(),
            position: self.position(),
            lag_events: self.store.visible().0.saturating_sub(self.position().0),
            in_flight: self.open.len(),
            ready,
            waiting,
            letters: self.letters.len(),
            lost_letter_records: self.letters.lost(),
            stopped: self.stopped.clone(),
        }
    }

    /// Whether time makes something ready.
    pub(super) fn waits(&self) -> bool {
        self.lanes.waits()
    }

    /// Whether the store is closed, and everything is handed out.
    pub(super) fn is_closed(&self) -> bool {
        self.tail.is_none()
    }
}
