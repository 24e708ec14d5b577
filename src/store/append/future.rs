//! Appending without blocking the thread: futures for room in the journal's backlog and for durability.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::store::append::one::Outcome;
use crate::store::append::owned::OwnedAppend;
use crate::store::append::prepare;
use crate::store::durability::flush::RoomWait;
use crate::store::durability::follow_future::RemoteCall;
use crate::store::retention::budget::Cost;
use crate::store::{Engine, Store};
use crate::{Appended, Durability, Error, Expected, NewEvent, Result, StreamId};

impl Store {
    /// [`append`](Self::append) as a future, which never blocks its thread for the journal: it waits for room in the backlog, and until the events
    /// are visible and durable, by wakers. It runs on any executor.
    ///
    /// The first poll checks and writes the events, when there is room. It takes the same short locks as an append in a store without a journal: the
    /// lock of the aggregate's shard and that of a lane, which other threads hold for microseconds. Nothing waits for a disk or a network while
    /// it holds them. The texts and bytes of the events are copied when the future is made.
    ///
    /// A store that [follows](Self::follow) appends on threads of its own, at most 64.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before its first poll, or while it waits for room, has appended nothing. Later the events are in the store, and
    /// dropping the future only ends the wait. A caller that must know gives its events [ids](NewEvent::id) and appends them again: the append is
    /// idempotent. In a store that follows, an append whose future is dropped may be in progress, and is then completed.
    ///
    /// The future does not keep the store open. When the last handle was dropped before the first poll, the append fails with
    /// [`Closed`](Error::Closed).
    ///
    /// ```
    /// # use annals::{Expected, NewEvent, Store, StreamId};
    /// # futures_executor::block_on(async {
    /// let store = Store::in_memory();
    /// let order = StreamId::new("Order", "order-1");
    /// let appended = store.append_async(&order, Expected::NoStream, [NewEvent::new("OrderPlaced")]).await?;
    /// assert_eq!(appended.last_version.0, 1);
    /// # Ok::<(), annals::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The future returns the errors of [`append`](Self::append).
    pub fn append_async<'e>(
        &self,
        stream: &StreamId,
        expected: Expected,
        events: impl AsRef<[NewEvent<'e>]>,
    ) -> AppendFuture {
        let events = events.as_ref().iter().cloned().map(NewEvent::into_owned).collect();
        let append = OwnedAppend {
            stream: stream.clone(),
            expected,
            events,
        };
        AppendFuture {
            #[cfg(feature = "testing")]
            fault: self.stage_fault(&append.stream, expected, &append.events),
            engine: Arc::clone(self.engine_arc()),
            acknowledge: self.acknowledge,
            stage: Stage::New(append, None),
        }
    }

    /// Appends without waiting for the journal, or fails at once. The [`PendingAppend`] waits until the events are visible and durable.
    ///
    /// ```
    /// # use annals::{Expected, NewEvent, Store, StreamId};
    /// let store = Store::in_memory();
    /// let order = StreamId::new("Order", "order-1");
    /// let pending = store.try_append(&order, Expected::NoStream, [NewEvent::new("OrderPlaced")])?;
    /// assert_eq!(pending.appended().last_version.0, 1);
    /// pending.wait()?; // or `pending.await?`
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Backlog`](Error::Backlog) when [`append`](Self::append) would wait for room in the journal's backlog, and
    /// [`Unsupported`](Error::Unsupported) when the store [follows](Self::follow), whose appends always wait; nothing was written. Otherwise as
    /// `append`.
    pub fn try_append<'e>(
        &self,
        stream: &StreamId,
        expected: Expected,
        events: impl AsRef<[NewEvent<'e>]>,
    ) -> Result<PendingAppend> {
        let (engine, events) = (self.engine_arc(), events.as_ref());
        if engine.following.is_some() {
            let message = "append without waiting, because it follows another store: use `append` or `append_async`";
            return Err(Error::Unsupported {
                message: message.into(),
            });
        }
        let append = || {
            let cost = engine.cost_of(stream, expected, events)?;
            if !engine.try_reserve(cost)? {
                let flushing = engine.flushing.as_ref();
                return Err(flushing.map_or(Error::Closed, |flushing| flushing.backlog_error(engine)));
            }
            engine.append_reserved((stream, expected, events), cost, self.acknowledge)
        };
        let span = crate::telemetry::append(1, events.len());
        #[cfg(feature = "testing")]
        let append = || {
            if self.faults.is_none() {
                return append();
            }
            let parts = [crate::Append::new(stream, expected, events)];
            self.append_with_faults(&parts, None, append)
        };
        let result = append();
        span.end(result.as_ref().map(|pending| Some(pending.appended().last_position)));
        result
    }
}

/// The future of an append. [`Store::append_async`] makes it, and describes what dropping it does.
///
/// It can be polled again after it has completed, and then returns the same result.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct AppendFuture {
    engine: Arc<Engine>,
    acknowledge: Durability,
    stage: Stage,
    #[cfg(feature = "testing")]
    fault: Option<crate::testing::faults::StagedFault>,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is written yet. The wait for room in the backlog, if it has begun.
    New(OwnedAppend, Option<RoomWait>),
    /// Another thread appends through a remote.
    Remote(RemoteCall),
    /// The events are in the log.
    Written(PendingAppend),
    Failed(Error),
}

impl Future for AppendFuture {
    type Output = Result<Appended>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Appended>> {
        let this = self.get_mut();
        if let Stage::New(append, wait) = &mut this.stage {
            #[cfg(feature = "testing")]
            if let Some(error) = this
                .fault
                .as_mut()
                .and_then(crate::testing::faults::StagedFault::before)
            {
                this.stage = Stage::Failed(error);
                return this.poll_stage(context);
            }
            let begun = this.engine.poll_begin(append, wait, this.acknowledge, context);
            let Poll::Ready(begun) = begun else {
                return Poll::Pending;
            };
            this.stage = begun.unwrap_or_else(Stage::Failed);
        }
        this.poll_stage(context)
    }
}

impl AppendFuture {
    fn poll_stage(&mut self, context: &mut Context<'_>) -> Poll<Result<Appended>> {
        let polled = match &mut self.stage {
            // The first poll has left this stage.
            Stage::New(..) => Poll::Pending,
            Stage::Remote(call) => call.poll(context),
            Stage::Written(pending) => Pin::new(pending).poll(context),
            Stage::Failed(error) => Poll::Ready(Err(error.clone())),
        };
        #[cfg(feature = "testing")]
        if let (Poll::Ready(Ok(_)), Some(fault)) = (&polled, &self.fault)
            && let Some(error) = fault.after()
        {
            return Poll::Ready(Err(error));
        }
        polled
    }
}

/// Events that were appended, and may not be visible and durable yet: [wait](Self::wait) for that, or `.await` it on any runtime.
///
/// Dropping it ends the wait and changes nothing: the events stay. It retains the store's memory but does not keep the store open.
#[derive(Debug)]
#[must_use = "a pending append is waited for, or awaited"]
pub struct PendingAppend {
    engine: Arc<Engine>,
    appended: Appended,
    /// The durability to wait for.
    wanted: Durability,
    /// The position to wait for; 0 for an append without events.
    last: u64,
    task: u64,
}

impl PendingAppend {
    /// The versions and positions of the events, with the durability that they had when they were written.
    pub fn appended(&self) -> Appended {
        self.appended
    }

    /// Blocks until the events are visible to all readers and have the durability of the store and of its handle.
    ///
    /// # Errors
    ///
    /// [`Failed`](Error::Failed) if the journal failed, [`Closed`](Error::Closed) if it stopped before the events were durable.
    pub fn wait(self) -> Result<Appended> {
        match &self.engine.flushing {
            Some(flushing) if self.wanted > Durability::Volatile => {
                flushing.wait(&self.engine, self.wanted, self.last)?;
            }
            _ => self.engine.core.log.await_published(self.last),
        }
        Ok(self.acknowledged())
    }

    fn look(&self) -> Option<Result<Appended>> {
        let log = &self.engine.core.log;
        if log.reached(self.wanted) >= self.last {
            return Some(Ok(self.acknowledged()));
        }
        let flushing = self
            .engine
            .flushing
            .as_ref()
            .filter(|_| self.wanted > Durability::Volatile)?;
        flushing.check(&self.engine).err().map(Err)
    }

    fn acknowledged(&self) -> Appended {
        self.engine.limit_visible();
        let durability = match self.last {
            0 => self.appended.durability,
            last => self.engine.core.log.durability_of(last),
        };
        Appended {
            durability,
            ..self.appended
        }
    }
}

impl Future for PendingAppend {
    type Output = Result<Appended>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Appended>> {
        if let Some(result) = self.look() {
            return Poll::Ready(result);
        }
        let signal = self.engine.core.log.signal_of(self.wanted);
        signal.register(self.task, context.waker());
        // Events that came before the registration do not wake the waker.
        self.look().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for PendingAppend {
    fn drop(&mut self) {
        self.engine.core.log.signal_of(self.wanted).unregister(self.task);
    }
}

impl Engine {
    /// Writes an append if there is room for it, or hands it to a thread that appends through a remote.
    fn poll_begin(
        self: &Arc<Self>,
        append: &OwnedAppend,
        wait: &mut Option<RoomWait>,
        acknowledge: Durability,
        context: &mut Context<'_>,
    ) -> Poll<Result<Stage>> {
        if self.following.is_some() {
            return Poll::Ready(self.call_remote(append.clone()).map(Stage::Remote));
        }
        let parts = (&append.stream, append.expected, &*append.events);
        let cost = self.cost_of(parts.0, parts.1, parts.2);
        let has_room = cost.and_then(|cost| Ok((cost, self.poll_room(cost, wait, context)?)));
        let cost = match has_room {
            Err(error) => return Poll::Ready(Err(error)),
            Ok((_, false)) => return Poll::Pending,
            Ok((cost, true)) => cost,
        };
        *wait = None;
        Poll::Ready(self.append_reserved(parts, cost, acknowledge).map(Stage::Written))
    }

    /// The cost of an append that is valid; `None` if costs are not counted.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], and [`Error::Closed`]: an append must not wait for room in a store that is closing.
    fn cost_of(&self, stream: &StreamId, expected: Expected, events: &[NewEvent<'_>]) -> Result<Option<Cost>> {
        self.expire_due();
        self.check_open()?;
        let hashes = prepare::check(stream, events, &self.settings.limits)?;
        let prepared = self.prepare(stream, expected, events, hashes)?;
        Ok(self.counts_costs().then(|| Cost::of(std::slice::from_ref(&prepared))))
    }

    /// Reserves room, or registers the task to be woken when there is more, and returns `false`.
    fn poll_room(
        self: &Arc<Self>,
        cost: Option<Cost>,
        wait: &mut Option<RoomWait>,
        context: &mut Context<'_>,
    ) -> Result<bool> {
        if self.try_reserve(cost)? {
            return Ok(true);
        }
        if let Some(full) = self.flushing.as_ref().and_then(|flushing| flushing.full_error(self)) {
            return Err(full);
        }
        wait.get_or_insert_with(|| RoomWait::new(self))
            .register(context.waker());
        // Room that came before the registration does not wake the waker.
        self.try_reserve(cost)
    }

    /// Writes an append whose cost is reserved.
    fn append_reserved(
        self: &Arc<Self>,
        (stream, expected, events): (&StreamId, Expected, &[NewEvent<'_>]),
        cost: Option<Cost>,
        acknowledge: Durability,
    ) -> Result<PendingAppend> {
        let written = prepare::check(stream, events, &self.settings.limits)
            .and_then(|hashes| self.prepare(stream, expected, events, hashes))
            .and_then(|prepared| self.write_append(&prepared, cost));
        let is_new = written
            .as_ref()
            .is_ok_and(|written| matches!(written.outcome, Outcome::New(_)));
        let written = written.inspect(|written| {
            if let Outcome::New(surplus) = written.outcome {
                let last = written.appended.last_position.0;
                self.core.log.announce();
                self.assist(last.min(self.core.log.published()));
                self.note_log_age();
                self.limit_when_visible(last, &stream.aggregate_id, surplus);
            }
        });
        self.release_reservation(cost, is_new);
        written.map(|written| self.pending(written.appended, written.outcome, acknowledge))
    }

    fn pending(self: &Arc<Self>, mut appended: Appended, outcome: Outcome, acknowledge: Durability) -> PendingAppend {
        let log = &self.core.log;
        let last = match outcome {
            Outcome::Nothing => 0,
            Outcome::New(_) | Outcome::Repeated => appended.last_position.0,
        };
        let wanted = match &self.flushing {
            Some(_) => acknowledge.max(log.visibility()),
            None => Durability::Volatile,
        };
        if let Some(flushing) = self.flushing.as_ref().filter(|_| last > 0) {
            flushing.request(self, wanted, last);
            appended.durability = log.durability_of(last);
        }
        PendingAppend {
            task: log.signal_of(wanted).new_task(),
            engine: Arc::clone(self),
            appended,
            wanted,
            last,
        }
    }
}
