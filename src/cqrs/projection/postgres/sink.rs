//! The processor of a read model: batches as transactions, in the database or in a schema beside it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::SqlProjection;
use super::batch::{Batch, Counts, Owner};
use super::model::{Model, NotApplied, aggregates, before, chunk_len};
use super::place::{Opened, Place, open};
use super::swap::check_tables;
use super::trouble::Trouble;
use crate::cqrs::process::{BEHIND, Control, Handled, ProcessorState, Sink, attempt, panic_text};
use crate::cqrs::{AfterFailure, Retry, StopReason};
use crate::{Delivery, Event, Gap, Position, Query};

/// Positions without an event for the read model after which the checkpoint is saved all the same: the next start skips them.
const QUIET_POSITIONS: u64 = 1_000;

/// The time after which it is saved after fewer of them.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// The pauses between two attempts to reach the database. There is no last attempt.
const BACK_OFF: Retry = Retry {
    attempts: u32::MAX,
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_secs(5),
};

/// Feeds a read model.
pub(super) struct SqlSink<P: SqlProjection> {
    model: Arc<Model<P>>,
    control: Arc<Control>,
    place: Place,
    opened: Option<Opened>,
    owner: Owner,
    saved_at: Instant,
}

impl<P: SqlProjection> SqlSink<P> {
    pub(super) fn new(model: &Arc<Model<P>>, control: &Arc<Control>, place: Place) -> Self {
        Self {
            owner: Owner {
                name: model.name.clone(),
                epoch: 0,
                saved: Position(0),
                is_rebuild: place != Place::Live,
            },
            model: Arc::clone(model),
            control: Arc::clone(control),
            place,
            opened: None,
            saved_at: Instant::now(),
        }
    }

    /// Repeats `work` while the database is away, with pauses. The status says what the processor waits for.
    fn persist<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, Trouble>) -> Result<T, StopReason> {
        let mut failures = 0;
        let done = loop {
            match work(self) {
                Ok(done) => break Ok(done),
                Err(Trouble::Away(text)) => {
                    failures += 1;
                    self.opened = None;
                    self.control.note_wait(Some(text));
                    if let Err(ended) = self
                        .control
                        .wait_for(BACK_OFF.draw_pause(failures, self.control.store()))
                    {
                        break Err(ended);
                    }
                }
                Err(trouble) => break Err(trouble.into_reason()),
            }
        };
        self.control.note_wait(None);
        done
    }

    /// Begins a new epoch, reads the position, and creates the tables.
    fn take_over(&mut self) -> Result<Position, Trouble> {
        // Statements that were prepared before the tables changed are not used again.
        self.opened = None;
        let mut opened = open(&self.model.database, &self.place, true)?;
        opened.prepare()?;
        self.owner = opened.take(&self.model, &self.place)?;
        // After the new epoch has begun, so that a rebuild can replace tables of another shape.
        opened.create(&self.model.projection, self.owner.is_rebuild)?;
        if let Place::Beside(schema) = &self.place {
            check_tables(&mut opened.link, schema)?;
        }
        self.opened = Some(opened);
        Ok(self.owner.saved)
    }

    /// Handles deliveries, and commits that everything up to `end` is handled. When a deferred constraint fails at the commit, it is checked after
    /// each event.
    fn commit_chunk(&mut self, chunk: &[Delivery], end: Position) -> Result<(), Trouble> {
        match self.try_chunk(chunk, end, false) {
            Err(Trouble::Deferred(_)) => self.try_chunk(chunk, end, true),
            done => done,
        }
    }

    fn try_chunk(&mut self, chunk: &[Delivery], end: Position, at_once: bool) -> Result<(), Trouble> {
        self.adopt_epoch();
        match self.transact(chunk, end, at_once) {
            Err(Trouble::Stop(StopReason::Superseded { .. })) if self.is_rebuilt() => {
                Err(Trouble::Away("the read model was rebuilt".to_owned()))
            }
            done => done,
        }
    }

    /// Whether a rebuild in this process has begun another epoch.
    fn is_rebuilt(&self) -> bool {
        self.place == Place::Live && self.model.epoch.load(Ordering::Acquire) != self.owner.epoch
    }

    /// Goes on with the rebuilt tables, after their checkpoint.
    fn adopt_epoch(&mut self) {
        if self.is_rebuilt() {
            self.owner.epoch = self.model.epoch.load(Ordering::Acquire);
            // Statements that were prepared for the old tables are not used again.
            self.opened = None;
        }
    }

    fn transact(&mut self, chunk: &[Delivery], end: Position, at_once: bool) -> Result<(), Trouble> {
        let taken = self.opened.take().filter(|opened| !opened.link.is_closed());
        let mut opened = match taken {
            Some(opened) => opened,
            None => open(&self.model.database, &self.place, false)?,
        };
        let Opened { link, tables } = &mut opened;
        let mut batch = Batch::begin(link, tables, &mut self.owner, aggregates(chunk))?;
        let chunk = Chunk {
            model: &self.model,
            control: &self.control,
            at_once,
        }
        .handle(&mut batch, chunk, end);
        drop(batch);
        chunk?;
        self.saved_at = Instant::now();
        self.opened = Some(opened);
        Ok(())
    }

    /// Saves the checkpoint after a stretch without events of the read model.
    fn pass(&mut self, position: Position) -> Result<(), StopReason> {
        let passed = position.0.saturating_sub(self.owner.saved.0);
        let is_due = passed >= QUIET_POSITIONS || passed > 0 && self.saved_at.elapsed() >= QUIET_TIME;
        if !is_due {
            return Ok(());
        }
        self.persist(|sink| sink.commit_chunk(&[], position))
    }
}

impl<P: SqlProjection> Sink for SqlSink<P> {
    fn query(&self) -> Query {
        self.model.query.clone()
    }

    fn begin(&mut self) -> Result<Position, StopReason> {
        let begun = catch_unwind(AssertUnwindSafe(|| self.persist(Self::take_over)));
        begun.unwrap_or_else(|panic| {
            let text = format!(
                "creating the tables of the read model panicked: {}",
                panic_text(&*panic)
            );
            Err(StopReason::Database { reason: text })
        })
    }

    fn handle(&mut self, batch: &[Delivery], position: Position) -> Result<(), StopReason> {
        if batch.is_empty() {
            return self.pass(position);
        }
        let mut rest = batch;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(chunk_len(rest, self.model.batch_size));
            let end = later.first().map_or(position, before);
            self.persist(|sink| sink.commit_chunk(chunk, end))?;
            if !later.is_empty() {
                self.control.set_position(end, ProcessorState::Running);
            }
            rest = later;
        }
        Ok(())
    }
}

/// How the deliveries of a transaction are handled.
struct Chunk<'a, P: SqlProjection> {
    model: &'a Model<P>,
    control: &'a Control,
    /// Whether deferred constraints are checked after each event.
    at_once: bool,
}

impl<P: SqlProjection> Chunk<'_, P> {
    fn handle(&self, batch: &mut Batch<'_>, chunk: &[Delivery], end: Position) -> Result<(), Trouble> {
        let committed = batch.saved();
        for delivery in chunk {
            // Committed by a transaction whose response was lost.
            if before(delivery) < committed {
                continue;
            }
            if let Err(trouble) = self.deliver(batch, delivery) {
                if matches!(trouble, Trouble::Stop(_)) {
                    // The events before are not handled again.
                    batch.undo()?;
                    self.commit_early(batch, before(delivery))?;
                }
                return Err(trouble);
            }
        }
        batch.reopen()?;
        self.commit(batch, end)
    }

    fn commit(&self, batch: &mut Batch<'_>, to: Position) -> Result<(), Trouble> {
        let Counts { handled, parked } = batch.commit(to, self.model.id_at(to))?;
        self.control.count(handled, parked);
        Ok(())
    }

    /// Commits before the end of the chunk.
    fn commit_early(&self, batch: &mut Batch<'_>, to: Position) -> Result<(), Trouble> {
        self.commit(batch, to)?;
        self.control.set_position(batch.saved(), ProcessorState::Running);
        Ok(())
    }

    fn deliver(&self, batch: &mut Batch<'_>, delivery: &Delivery) -> Result<(), Trouble> {
        batch.reopen()?;
        match delivery {
            Delivery::Event(event) => self.deliver_event(batch, event),
            Delivery::Gap(gap) => self.deliver_gap(batch, gap),
        }
    }

    fn deliver_gap(&self, batch: &mut Batch<'_>, gap: &Gap) -> Result<(), Trouble> {
        match self.model.gap(batch, gap) {
            Ok(()) => {
                batch.keep();
                Ok(())
            }
            Err(NotApplied::Interrupted(error)) => Err(Trouble::interrupted(&error)),
            Err(NotApplied::Failed(error)) => Err(Trouble::Stop(StopReason::Gap {
                gap: gap.clone(),
                reason: error.to_string(),
            })),
        }
    }

    fn deliver_event(&self, batch: &mut Batch<'_>, event: &Event) -> Result<(), Trouble> {
        let policy = &self.model.on_failure;
        if batch.holds(event.aggregate_id()) {
            return match policy.then {
                AfterFailure::Park => batch.park(event, BEHIND, 0),
                AfterFailure::Stop => {
                    let reason = format!("{BEHIND}: replay or drop the letters of the aggregate");
                    Err(Trouble::Stop(StopReason::failed(event, reason)))
                }
            };
        }
        let mut trouble = None;
        let reasons = self.model.reader.reasons();
        let handled = attempt(policy, self.control, event, |number| {
            #[cfg(feature = "testing")]
            self.control
                .staged_fault(crate::testing::faults::Operation::Projection, event)?;
            // An error of the handler leads to the next attempt; trouble ends the attempts.
            self.attempt(batch, event, number).unwrap_or_else(|error| {
                trouble = Some(error);
                Ok(())
            })
        });
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        match handled.map_err(Trouble::Stop)? {
            Handled::Done => {
                batch.keep_handled();
                Ok(())
            }
            Handled::Failed { reason, attempts } => batch.park(event, &reasons.seal(reason), attempts),
        }
    }

    /// An attempt at an event. Before a pause, what was handled before it is committed: no transaction is open meanwhile.
    fn attempt(
        &self,
        batch: &mut Batch<'_>,
        event: &Event,
        number: u32,
    ) -> Result<Result<(), crate::cqrs::HandlerError>, Trouble> {
        batch.reopen()?;
        let error = match self.model.apply(batch, event, self.at_once) {
            Ok(()) => return Ok(Ok(())),
            Err(NotApplied::Interrupted(error)) => return Err(Trouble::interrupted(&error)),
            Err(NotApplied::Failed(error)) => error,
        };
        let is_last = error.is_permanent() || number >= self.model.on_failure.retry.attempts;
        batch.undo()?;
        if !is_last {
            self.commit_early(batch, Position(event.position().0 - 1))?;
        }
        Ok(Err(error))
    }
}
