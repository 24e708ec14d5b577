//! Builds the chain by reading the log.

use std::fmt;
use std::ops::ControlFlow;

use super::head::Head;
use super::scan::{Progress, feed};
use super::walk::{Known, Walk};
use super::{Anchor, AuditKey, ChainEntry, Checkpoint, PublicKey, VerifyError};
use crate::{Position, Store, Timestamp};

/// The hash chain over a log, up to the position that was read. It makes [heads](Head).
///
/// It reads the log like any other reader, and appends do not wait for it. It keeps no events, and at most 200 KB of memory. A program that makes heads
/// regularly keeps one chain and calls [`read`](Self::read) before each head. After a restart, it [resumes](Self::resume) from the last head.
#[derive(Clone)]
pub struct AuditChain {
    walk: Walk,
}

impl fmt::Debug for AuditChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditChain")
            .field("position", &self.position())
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl Default for AuditChain {
    fn default() -> Self {
        Self::new()
    }
}

impl AuditChain {
    /// A chain without events.
    pub fn new() -> Self {
        Self {
            walk: Walk::after(Checkpoint::default()),
        }
    }

    /// The chain of all visible events of a store.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Crossed`] when the store has dropped events.
    pub fn of(store: &Store) -> Result<Self, VerifyError> {
        let mut chain = Self::new();
        chain.read(store)?;
        Ok(chain)
    }

    /// The chain of the events that a store still has: the first chain of a store that has dropped events.
    ///
    /// Its head covers the remaining events only. A dropped event that reappears, when an archive is attached, is a fault. Later reads fail at a gap.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OutOfOrder`] when the store returns events out of order, which is a bug of the store.
    pub fn of_remaining(store: &Store) -> Result<Self, VerifyError> {
        let mut walk = Walk::after(Checkpoint::default());
        let mut go_on = |_, _| ControlFlow::Continue(());
        feed(store, &mut walk, store.visible(), false, &mut go_on)?;
        Ok(Self { walk })
    }

    /// The chain that a head describes. The next [`read`](Self::read) begins after the last whole block of the head, and checks that the log still has the
    /// link of the head.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OtherKey`] and [`VerifyError::Signature`] when `key` has not signed the head.
    pub fn resume(head: &Head, key: &PublicKey) -> Result<Self, VerifyError> {
        head.check_signature(key)?;
        let mut walk = Walk::after(head.base);
        let first = head.store.map(|id| (head.first, id));
        walk.chain = walk.chain.with_past(first, &head.checkpoints);
        walk.known.push_back(Known {
            at: head.tip,
            is_tip: true,
        });
        Ok(Self { walk })
    }

    /// The chain at the end of the last whole block of a dropped prefix.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OtherKey`] and [`VerifyError::Signature`] when `key` has not signed the anchor.
    pub fn after(prefix: &Anchor, key: &PublicKey) -> Result<Self, VerifyError> {
        prefix.check_signature(key)?;
        let mut walk = Walk::after(prefix.base);
        walk.chain = walk.chain.with_past(first_of(prefix), &[]);
        walk.allow(prefix);
        Ok(Self { walk })
    }

    /// Allows the events of an anchor to be missing. To begin after a dropped prefix, use [`after`](Self::after).
    ///
    /// # Errors
    ///
    /// [`VerifyError::OtherKey`] and [`VerifyError::Signature`] when `key` has not signed the anchor.
    pub fn allow(&mut self, anchor: &Anchor, key: &PublicKey) -> Result<(), VerifyError> {
        anchor.check_signature(key)?;
        self.walk.allow(anchor);
        if self.walk.chain.first().is_none() && anchor.has(anchor.first) {
            self.walk.chain = self.walk.chain.clone().with_past(first_of(anchor), &[]);
        }
        Ok(())
    }

    /// Reads the events that became visible since the last read.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Crossed`] when events other than snapshots were dropped before they were read, so that the chain cannot contain them. After
    /// [`resume`](Self::resume), the fault of a log that differs from the head. The chain is unchanged after an error.
    pub fn read(&mut self, store: &Store) -> Result<(), VerifyError> {
        self.read_until(store, store.visible(), &mut |_, _| ControlFlow::Continue(()))
    }

    /// Reads as [`read`](Self::read) does, up to a position. `progress` is called every 16,384 events, with the position that was read and the last one to
    /// read; if it returns a break, the read stops.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`VerifyError::Stopped`] when `progress` breaks.
    pub fn read_until(
        &mut self,
        store: &Store,
        until: Position,
        progress: &mut Progress<'_>,
    ) -> Result<(), VerifyError> {
        let visible = store.visible();
        let until = until.min(visible);
        let mut walk = self.walk.clone();
        feed(store, &mut walk, until, true, progress)?;
        match walk.reach(until)? {
            Some(expected) if expected > visible => Err(VerifyError::CutAtEnd {
                last: visible,
                expected,
            }),
            Some(_) | None => {
                self.walk = walk;
                Ok(())
            }
        }
    }

    /// Adds an event that was read elsewhere.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OutOfOrder`] when its position is not above the one before.
    pub fn push(&mut self, entry: &ChainEntry<'_>) -> Result<(), VerifyError> {
        self.walk.take(entry)
    }

    /// The position of the last event of the chain.
    pub fn position(&self) -> Position {
        self.walk.chain.last()
    }

    /// The number of events of the chain.
    pub fn count(&self) -> u64 {
        self.walk.chain.count()
    }

    /// Signs the chain as it is now. `made_at` is the time that the head states, usually [`Store::now`].
    pub fn head(&self, key: &AuditKey, made_at: Timestamp) -> Head {
        Head::sign(&self.walk.chain, key, made_at)
    }

    /// An anchor that allows every event of this chain to be dropped: make it before the store drops a prefix of the log.
    pub fn anchor(&self, reason: &str, key: &AuditKey, made_at: Timestamp) -> Anchor {
        Anchor::of_prefix(&self.walk.chain, reason, key, made_at)
    }
}

fn first_of(anchor: &Anchor) -> Option<(Position, uuid::Uuid)> {
    anchor.store.map(|id| (anchor.first, id))
}
