//! Durability: requesting it, waiting for it, and closing a store.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use crate::journal::{Journal, JournalError, RecoveryReport};
use crate::store::{Engine, Store};
use crate::{Durability, Error, Position, Result};

/// Rejects a durability that the store cannot provide.
///
/// # Errors
///
/// [`Error::Invalid`] when `wanted` exceeds `promised`.
pub(crate) fn check(wanted: Durability, promised: Durability) -> Result<()> {
    if wanted <= promised {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "durability '{wanted}' exceeds '{promised}', the highest that the store provides: open it with another journal"
    )))
}

impl Store {
    /// Opens a store with `journal`, recovers its events, and uses default settings.
    ///
    /// Events are visible at once and written in the background; [`with_durability`](Self::with_durability) and
    /// [`Settings::durability`](crate::Settings) raise the durability.
    ///
    /// # Errors
    ///
    /// As [`Builder::open`](crate::Builder::open).
    pub fn open(journal: impl Journal + 'static) -> Result<Self> {
        Self::builder().journal(journal).open()
    }

    /// Returns a handle of the same store whose appends are acknowledged at this durability, or at the store's if that
    /// is higher.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) if the store has no journal, or its journal promises less.
    pub fn with_durability(&self, durability: Durability) -> Result<Self> {
        check(durability, self.engine().promised())?;
        Ok(Self {
            acknowledge: durability,
            ..self.clone()
        })
    }

    /// Returns the position up to which every event has reached `durability`; 0 if the store does not promise that durability. Without a
    /// journal it promises only [`Volatile`](Durability::Volatile).
    pub fn reached(&self, durability: Durability) -> Position {
        let log = &self.engine().core.log;
        if durability > log.promised() {
            return Position(0);
        }
        Position(log.reached(durability))
    }

    /// Returns a ticket that completes when every event up to `position` has reached `durability`. [Wait](Ticket::wait) for it, or
    /// `.await` it on any runtime. The journal starts to work on it immediately.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) if the store does not promise that durability, or has no such position yet.
    pub fn when_durable(&self, position: Position, durability: Durability) -> Result<Ticket> {
        let engine = self.engine_arc();
        check(durability, engine.promised())?;
        let published = engine.core.log.published();
        if position.0 > published {
            return Err(Error::invalid(format!(
                "position {position} has no event yet: the last position is {published}"
            )));
        }
        if let Some(flushing) = &engine.flushing {
            flushing.demand(engine, durability, position.0);
        }
        Ok(Ticket {
            task: engine.core.log.signal_of(durability).new_task(),
            engine: Arc::clone(engine),
            position: position.0,
            durability,
        })
    }

    /// Waits until every event up to `position` is [synced](Durability::Synced).
    ///
    /// # Errors
    ///
    /// As [`when_durable`](Self::when_durable) and [`Ticket::wait`].
    pub fn wait_durable(&self, position: Position) -> Result<()> {
        self.when_durable(position, Durability::Synced)?.wait()
    }

    /// Returns the report of the recovery when the store was opened; all zero without a journal.
    pub fn recovery(&self) -> RecoveryReport {
        self.engine().opened.recovery
    }

    /// Returns the error of a failed journal: the store rejects appends, and reads see the events that were visible then.
    ///
    /// For a store that [follows](Self::follow): why it cannot read new events now. A transient error disappears later.
    pub fn fault(&self) -> Option<JournalError> {
        let engine = self.engine();
        match &engine.following {
            Some(following) => following.fault(),
            None => engine.flushing.as_ref()?.fault(),
        }
    }

    /// Closes the store for every handle: appends fail, the journal writes and syncs all events, reads continue,
    /// tails end. Dropping the last handle does the same. A waker that the journal's thread calls may do either, without waiting
    /// for the journal.
    ///
    /// # Errors
    ///
    /// [`Failed`](Error::Failed) if the journal has failed: [`reached`](Self::reached) returns the durable position.
    pub fn close(&self) -> Result<()> {
        self.engine().close()
    }
}

impl Engine {
    /// The highest durability that an append can wait for.
    fn promised(&self) -> Durability {
        self.core.log.promised()
    }

    pub(crate) fn close(&self) -> Result<()> {
        self.closing.store(true, Ordering::SeqCst);
        let mut result = Ok(());
        if let Some(following) = &self.following {
            following.stop();
        }
        if let Some(flushing) = &self.flushing {
            // Appends that hold a shard finish; later ones see that the store is closing.
            for shard in 0..self.core.shard_count() {
                drop(self.core.write(shard));
            }
            if !flushing.stop(self) {
                return Ok(());
            }
            result = flushing
                .fault()
                .map_or(Ok(()), |fault| Err(Error::Failed { cause: fault }));
        }
        self.core.log.close();
        result
    }
}

/// Waits for events to become durable: blocking, or as a future.
///
/// It retains the store's memory but does not keep the store open: when the last handle is dropped, the journal writes the remaining
/// events, and the ticket completes.
#[derive(Debug)]
#[must_use = "a ticket is waited for, or awaited"]
pub struct Ticket {
    engine: Arc<Engine>,
    position: u64,
    durability: Durability,
    task: u64,
}

impl Ticket {
    /// Blocks until the ticket completes.
    ///
    /// # Errors
    ///
    /// [`Failed`](Error::Failed) if the journal failed; [`Closed`](Error::Closed) if it stopped before that position.
    pub fn wait(self) -> Result<()> {
        match &self.engine.flushing {
            Some(flushing) => flushing.wait(&self.engine, self.durability, self.position),
            None => Ok(()),
        }
    }

    fn look(&self) -> Option<Result<()>> {
        let log = &self.engine.core.log;
        if log.reached(self.durability) >= self.position {
            return Some(Ok(()));
        }
        let ended = self.engine.flushing.as_ref()?.check(&self.engine);
        ended.is_err().then_some(ended)
    }
}

impl Future for Ticket {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(result) = self.look() {
            return Poll::Ready(result);
        }
        let signal = self.engine.core.log.signal_of(self.durability);
        signal.register(self.task, context.waker());
        // Events that came before the registration do not wake the waker.
        self.look().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.engine.core.log.signal_of(self.durability).unregister(self.task);
    }
}
