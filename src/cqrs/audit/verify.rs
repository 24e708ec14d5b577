//! Verification: whether a log is what it was when a head was signed.

use std::fmt;
use std::ops::ControlFlow;

use super::scan::feed;
use super::walk::{Known, Walk};
use super::{Anchor, ChainEntry, Checkpoint, Head, PublicKey, Verified, VerifyError};
use crate::{Position, Store};

/// Verifies a log against a [head](Head): each event up to the head is what it was, none is missing, none was added.
///
/// It reads each event once, ascending by position. Its memory is bounded: it holds the anchors and the hashes of one block. Concurrent appends do not
/// affect it.
pub struct Verify<'a> {
    head: &'a Head,
    key: &'a PublicKey,
    since: Option<&'a Head>,
    anchors: Vec<&'a Anchor>,
    progress: Box<dyn FnMut(Position, Position) -> ControlFlow<()> + 'a>,
}

impl fmt::Debug for Verify<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verify")
            .field("head", &self.head.tip)
            .field("since", &self.since.map(|head| head.tip))
            .field("anchors", &self.anchors.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Verify<'a> {
    /// Verifies against `head`, which `key` must have signed.
    pub fn new(head: &'a Head, key: &'a PublicKey) -> Self {
        Self {
            head,
            key,
            since: None,
            anchors: Vec::new(),
            progress: Box::new(|_, _| ControlFlow::Continue(())),
        }
    }

    /// Begins at an earlier head that was verified before: reads only the events after its last whole block.
    #[must_use]
    pub fn since(mut self, head: &'a Head) -> Self {
        self.since = Some(head);
        self
    }

    /// Accepts that the events of an anchor are missing.
    #[must_use]
    pub fn allow(mut self, anchor: &'a Anchor) -> Self {
        self.anchors.push(anchor);
        self
    }

    /// Calls `progress` every 16,384 events with the position that was read and that of the head; a break stops the verification.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(Position, Position) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Verifies the visible events of a store.
    ///
    /// # Errors
    ///
    /// The first [`VerifyError`].
    pub fn run(mut self, store: &Store) -> Result<Verified, VerifyError> {
        let mut walk = self.start()?;
        let visible = store.visible();
        if walk.seen == 0 {
            self.check_first(first_of(store))?;
        }
        feed(store, &mut walk, self.head.tip.position, false, &mut self.progress)?;
        self.finish(walk, visible)
    }

    /// Verifies events from another source, such as an export, ascending by position.
    ///
    /// # Errors
    ///
    /// The first [`VerifyError`].
    pub fn run_entries<'e>(
        mut self,
        entries: impl IntoIterator<Item = ChainEntry<'e>>,
    ) -> Result<Verified, VerifyError> {
        let mut walk = self.start()?;
        let (end, start) = (self.head.tip.position, walk.seen);
        let (mut is_first, mut last) = (true, Position(start));
        for entry in entries {
            if start == 0 && is_first && entry.is_chained() {
                self.check_first(Some((entry.position, entry.id)))?;
                is_first = false;
            }
            last = last.max(entry.position);
            if entry.position.0 <= start && walk.seen == start || entry.position > end {
                continue;
            }
            walk.take(&entry)?;
        }
        if start == 0 && is_first {
            self.check_first(None)?;
        }
        self.finish(walk, last)
    }

    /// Checks the signatures, and begins at the last position that is known to be whole.
    fn start(&mut self) -> Result<Walk, VerifyError> {
        self.head.check_signature(self.key)?;
        let mut base = Checkpoint::default();
        if let Some(since) = self.since {
            since.check_signature(self.key)?;
            if since.store.is_some() && since.store != self.head.store || since.tip.position > self.head.tip.position {
                return Err(VerifyError::OtherChain { what: "earlier head" });
            }
            base = since.base;
        }
        for anchor in &self.anchors {
            anchor.check_signature(self.key)?;
            if anchor.store != self.head.store {
                return Err(VerifyError::OtherChain { what: "anchor" });
            }
        }
        Ok(self.walk_from(base))
    }

    fn walk_from(&self, base: Checkpoint) -> Walk {
        let mut walk = Walk::after(base);
        walk.known = self.known_after(base.position).into();
        for anchor in &self.anchors {
            walk.allow(anchor);
            walk.resumes_to = walk.resumes_to.max(anchor.base.position.0);
        }
        walk
    }

    /// The links that are compared, ascending.
    fn known_after(&self, start: Position) -> Vec<Known> {
        let prefixes = self.anchors.iter().map(|anchor| anchor.base);
        let blocks = self.head.checkpoints.iter().chain([&self.head.base]).copied();
        let mut known: Vec<Known> = blocks.chain(prefixes).map(|at| Known { at, is_tip: false }).collect();
        let heads = || self.since.into_iter().chain([self.head]);
        known.extend(heads().map(|head| Known {
            at: head.tip,
            is_tip: true,
        }));
        known.retain(|known| known.at.position > start && known.at.position <= self.head.tip.position);
        // The last block of a head is open, unless the head has nothing after a closed one.
        let is_closed = |tip: &Known| heads().any(|head| head.tip == tip.at && head.base.position == head.tip.position);
        known.sort_by_key(|known| {
            let place = if known.is_tip {
                2 * u8::from(is_closed(known))
            } else {
                1
            };
            (known.at.position, place)
        });
        known.dedup_by(|one, next| one.at == next.at && one.is_tip == next.is_tip);
        known
    }

    fn check_first(&self, first: Option<(Position, uuid::Uuid)>) -> Result<(), VerifyError> {
        let (Some(expected), Some((position, actual))) = (self.head.store, first) else {
            return Ok(());
        };
        if position > self.head.first && !self.anchors.iter().any(|anchor| anchor.has(self.head.first)) {
            return Err(VerifyError::CutAtStart {
                first: position,
                expected: self.head.first,
            });
        }
        if position == self.head.first && actual != expected {
            return Err(VerifyError::OtherStore { expected, actual });
        }
        Ok(())
    }

    fn finish(self, mut walk: Walk, visible: Position) -> Result<Verified, VerifyError> {
        walk.finish(self.head.tip.position)?;
        let begun = walk.begun();
        // An anchor of a later prefix may leave nothing.
        let has_any = begun <= self.head.tip.position;
        Ok(Verified {
            first: if has_any { begun } else { Position(0) },
            last: self.head.tip.position,
            count: self.head.tip.count,
            anchored: walk.anchored,
            link: self.head.tip.link,
            visible,
        })
    }
}

/// The first event of the chain that the store still has.
fn first_of(store: &Store) -> Option<(Position, uuid::Uuid)> {
    let mut after = Position(0);
    loop {
        let read = store.read_all().include_system().after(after).limit(256);
        let found = read.fold((None, 0), |(found, read): (Option<_>, usize), event| {
            after = event.position();
            let entry = ChainEntry::from(event);
            let this = || entry.is_chained().then_some((entry.position, entry.id));
            (found.or_else(this), read + 1)
        });
        match found {
            (Some(first), _) => return Some(first),
            (None, 256) => {}
            (None, _) => return None,
        }
    }
}
