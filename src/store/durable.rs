//! What survives: asking for it, waiting for it, and closing a store so that everything does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::{Engine, Store};
use crate::journal::{Journal, JournalError, RecoveryReport};
use crate::{Durability, Error, Position, Result};

/// Refuses what nobody can wait for.
///
/// # Errors
///
/// [`Error::Invalid`] when a store whose journal, or lack of one, promises `promised` is asked for more.
pub(crate) fn check(wanted: Durability, promised: Durability) -> Result<()> {
    if wanted <= promised {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "'{wanted}' was asked for, and the store can promise no more than '{promised}': open it with a journal that can"
    )))
}

impl Store {
    /// A store that is durable by `journal`, filled with what it holds; otherwise with default settings.
    ///
    /// Events are readable at once and written behind; [`with_durability`](Self::with_durability) and
    /// [`Settings::durability`](crate::Settings) ask for more.
    ///
    /// # Errors
    ///
    /// As [`Builder::open`](crate::Builder::open).
    pub fn open(journal: impl Journal + 'static) -> Result<Self> {
        Self::builder().journal(journal).open()
    }

    /// A handle of the same store whose appends are acknowledged when they are this safe, or as safe as the store demands if that
    /// is more.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the store has no journal, or one that promises less.
    pub fn with_durability(&self, durability: Durability) -> Result<Self> {
        check(durability, self.engine().promised())?;
        Ok(Self {
            handle: Arc::clone(&self.handle),
            acknowledge: durability,
        })
    }

    /// The position up to which every event is as safe as `durability`, now; 0 if the store cannot promise that much, as without a
    /// journal, which promises no more than [`Volatile`](Durability::Volatile).
    pub fn reached(&self, durability: Durability) -> Position {
        let log = &self.engine().core.log;
        if durability > log.promised() {
            return Position(0);
        }
        Position(log.reached(durability))
    }

    /// A ticket for the moment when every event up to `position` is as safe as `durability`: to [wait](Ticket::wait) for, or to
    /// `.await` on any runtime. The journal begins to work on it now.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the store cannot promise that much, or has no such position yet.
    pub fn when_durable(&self, position: Position, durability: Durability) -> Result<Ticket> {
        let engine = self.engine_arc();
        check(durability, engine.promised())?;
        let published = engine.core.log.published();
        if position.0 > published {
            return Err(Error::invalid(format!(
                "position {position} is not taken yet: the last is {published}"
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

    /// What was found when the store was opened; all zero without a journal.
    pub fn recovery(&self) -> RecoveryReport {
        self.engine().recovery
    }

    /// What the journal failed with, if it has: the store takes no more appends, and can still be read, as far as it was visible then.
    ///
    /// Of a store that [follows](Self::follow): why it does not read on now, if it does not. That passes, where the error may.
    pub fn fault(&self) -> Option<JournalError> {
        let engine = self.engine();
        match &engine.following {
            Some(following) => following.fault(),
            None => engine.flushing.as_ref()?.fault(),
        }
    }

    /// Waits until reads see the event at `position`, or the store is closed, or its journal has failed.
    pub fn wait_visible(&self, position: Position) {
        let log = &self.engine().core.log;
        log.visible_signal().wait_while(None, || {
            log.visible() < position.0 && !log.is_closed() && !log.is_halted()
        });
    }

    /// Closes the store for every handle: appends are refused, what was appended is made as safe as the journal can, reads go on,
    /// tails end. Dropping the last handle does the same. A waker that the journal's thread calls may do either; that does not wait
    /// for the end.
    ///
    /// # Errors
    ///
    /// [`Failed`](Error::Failed) when the journal has, now or before: [`reached`](Self::reached) says what is safe.
    pub fn close(&self) -> Result<()> {
        self.engine().close()
    }
}

impl Engine {
    /// The most that an append can wait for.
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
            // Whoever holds a shard finishes; whoever comes after sees that the store closes.
            for shard in 0..self.core.shard_count() {
                drop(self.core.write(shard));
            }
            if !flushing.stop(self) {
                return Ok(());
            }
            result = flushing.fault().map_or(Ok(()), |fault| Err(Error::Failed(fault)));
        }
        self.core.log.close();
        result
    }
}

/// Waits for events to become durable: blocking, or as a future.
///
/// It keeps the store's memory, not the store: when the last handle is dropped, the journal writes what there is, and the
/// ticket is served.
#[derive(Debug)]
#[must_use = "a ticket is waited for, or awaited"]
pub struct Ticket {
    engine: Arc<Engine>,
    position: u64,
    durability: Durability,
    task: u64,
}

impl Ticket {
    /// Waits.
    ///
    /// # Errors
    ///
    /// [`Failed`](Error::Failed) when the journal has; [`Closed`](Error::Closed) when it ended before it came so far.
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
        // What came before the waker was registered did not wake it.
        self.look().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.engine.core.log.signal_of(self.durability).unregister(self.task);
    }
}
