//! Rollups: values that count every event once and are retained after the events are dropped.
//!
//! They follow the log in the order of positions. An event that is dropped before they have come to it is counted just before it goes.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::query::Query;
use crate::store::core::Core;
use crate::store::index::Indexes;
use crate::store::log::directory::PageCache;
use crate::store::query::matcher::Matcher;
use crate::store::reader::EventReader;
use crate::store::sync::Mutex;
use crate::{Error, EventRef, Name, Result};

/// Positions that the values may be behind the visible ones before an append helps.
const BEHIND_MAX: u64 = 1024;

/// A value that is fed with events.
pub(crate) trait Rolled: Any + Send {
    /// Counts an event.
    fn take(&mut self, event: EventRef<'_>);

    /// A copy of the value.
    fn fork(&self) -> Box<dyn Rolled>;
}

/// A value, and which events it counts.
pub(crate) struct Rollup {
    name: Name,
    matcher: Matcher,
    value: Box<dyn Rolled>,
}

/// Makes a rollup, once the indexes are known.
pub(crate) type MakeRollup = Box<dyn FnOnce(&Indexes) -> Result<Rollup> + Send>;

/// The rollups of a store. Locked after shards and gaps, and before lanes.
pub(crate) struct Rollups {
    fed: Mutex<Fed>,
    /// The position up to which they are fed; `u64::MAX` if there are none.
    complete_to: AtomicU64,
}

#[derive(Default)]
struct Fed {
    complete_to: u64,
    rollups: Vec<Rollup>,
}

impl Default for Rollups {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl fmt::Debug for Rollups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollups").finish_non_exhaustive()
    }
}

impl Rollup {
    /// # Errors
    ///
    /// [`Error::Invalid`] if the query is invalid, or is of a part of the log.
    pub(crate) fn new(name: &Name, query: &Query, value: impl Rolled, indexes: &Indexes) -> Result<Self> {
        if query.limit.is_some() || query.cursor.is_some() || query.as_of.is_some() {
            return Err(Error::invalid(format!(
                "the rollup '{name}' counts every matching event: its query has no limit, no cursor and no `as_of`"
            )));
        }
        Ok(Self {
            name: name.clone(),
            matcher: Matcher::new(query, indexes)?,
            value: Box::new(value),
        })
    }
}

impl Rollups {
    pub(in crate::store) fn new(rollups: Vec<Rollup>) -> Self {
        let complete_to = if rollups.is_empty() { u64::MAX } else { 0 };
        Self {
            complete_to: AtomicU64::new(complete_to),
            fed: Mutex::new(Fed {
                complete_to: 0,
                rollups,
            }),
        }
    }

    fn are_none(&self) -> bool {
        self.complete_to.load(Ordering::Acquire) == u64::MAX
    }

    /// Feeds the values if they are far behind and no other thread does.
    pub(in crate::store) fn assist(&self, core: &Core) {
        let visible = core.log.visible();
        if visible.saturating_sub(self.complete_to.load(Ordering::Acquire)) < BEHIND_MAX {
            return;
        }
        if let Some(mut fed) = self.fed.try_lock() {
            self.feed(&mut fed, core, visible);
        }
    }

    /// Looks at the value of a rollup that was fed with the events up to `visible` at least. Returns the position that it was fed to; `None` if
    /// there is no rollup of this name.
    pub(crate) fn read<T>(
        &self,
        core: &Core,
        name: &str,
        visible: u64,
        look: impl FnOnce(&dyn Rolled) -> T,
    ) -> Option<(T, u64)> {
        let mut fed = self.fed.lock();
        self.feed(&mut fed, core, visible);
        let rollup = fed.rollups.iter().find(|rollup| rollup.name == *name)?;
        Some((look(&*rollup.value), fed.complete_to))
    }

    /// Drops the events at `positions` by `drop`, after they were counted.
    pub(in crate::store) fn count_before<T>(&self, core: &Core, positions: &[u64], drop: impl FnOnce() -> T) -> T {
        if self.are_none() {
            return drop();
        }
        // Locked until the events are dropped: they are not counted again.
        let mut fed = self.fed.lock();
        self.feed(&mut fed, core, core.log.visible());
        let mut pages = PageCache::default();
        let complete_to = fed.complete_to;
        for position in positions.iter().filter(|position| **position > complete_to) {
            core.with_event(*position, &mut pages, |event| take(&mut fed.rollups, event));
        }
        drop()
    }

    fn feed(&self, fed: &mut Fed, core: &Core, to: u64) {
        if to <= fed.complete_to || self.are_none() {
            return;
        }
        let mut reader = EventReader::new(core);
        let positions = reader.positions(fed.complete_to + 1, to);
        let mut events = reader.each(positions);
        while let Some(event) = events.next() {
            if let Some(event) = event {
                take(&mut fed.rollups, event);
            }
        }
        fed.complete_to = to;
        self.complete_to.store(to, Ordering::Release);
    }

    /// The rollups of a copy of the store. The caller blocks all drops.
    pub(in crate::store) fn fork(&self) -> Self {
        if self.are_none() {
            return Self::default();
        }
        let fed = self.fed.lock();
        let copy = |rollup: &Rollup| Rollup {
            name: rollup.name.clone(),
            matcher: rollup.matcher.clone(),
            value: rollup.value.fork(),
        };
        Self {
            complete_to: AtomicU64::new(self.complete_to.load(Ordering::Acquire)),
            fed: Mutex::new(Fed {
                complete_to: fed.complete_to,
                rollups: fed.rollups.iter().map(copy).collect(),
            }),
        }
    }
}

fn take(rollups: &mut [Rollup], event: EventRef<'_>) {
    for rollup in rollups.iter_mut().filter(|rollup| matches(&rollup.matcher, event)) {
        rollup.value.take(event);
    }
}

/// Whether an event matches. If an indexer panics it does not, and the other rollups count it: the caller may be dropping events, which must not stop halfway.
fn matches(matcher: &Matcher, event: EventRef<'_>) -> bool {
    catch_unwind(AssertUnwindSafe(|| matcher.matches(event))).unwrap_or(false)
}
