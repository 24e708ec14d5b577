//! Inline projections: commands update them, and they can reject events.

use std::cell::Cell;
use std::sync::Arc;

use super::live::Guard;
use super::{Live, Projection};
use crate::{NewEvent, Store};

/// A projection that commands bring up to date.
pub(in crate::cqrs) trait Inline: Send + Sync {
    /// Lets no other command in between until the guard is dropped.
    ///
    /// # Errors
    ///
    /// Why it cannot: this thread looks at the projection.
    fn lock(&self) -> Result<Box<dyn InlineGuard + '_>, String>;

    /// Tells projections apart, and gives them the order in which they are locked.
    fn address(&self) -> usize;
}

pub(in crate::cqrs) trait InlineGuard {
    /// Whether the projection takes these events, after all that are visible.
    fn check(&mut self, events: &[NewEvent<'_>]) -> Result<(), String>;

    /// Applies the events that were checked, which are appended, and all that are visible. A failure is told by the next check and the next
    /// reader: the events are stored.
    fn catch_up(&mut self, store: &Store, events: &[NewEvent<'_>]);
}

impl<P: Projection> Inline for Live<P> {
    fn lock(&self) -> Result<Box<dyn InlineGuard + '_>, String> {
        let inner = Self::lock(self).map_err(|error| error.to_string())?;
        Ok(Box::new(Checking {
            inner,
            typed: Vec::new(),
        }))
    }

    fn address(&self) -> usize {
        self.address_of_shared()
    }
}

/// A projection that no other command gets at.
struct Checking<'a, P: Projection> {
    inner: Guard<'a, P>,
    /// What each of the events that were checked decodes to: they are not decoded again when they are applied.
    typed: Vec<Vec<P::Event>>,
}

impl<P: Projection> InlineGuard for Checking<'_, P> {
    fn check(&mut self, events: &[NewEvent<'_>]) -> Result<(), String> {
        self.inner.catch_up().map_err(|error| error.to_string())?;
        self.typed.reserve_exact(events.len());
        for event in events {
            let typed = self.inner.reader.read_new(event).map_err(|error| error.to_string())?;
            let model = &self.inner.model;
            typed.iter().try_for_each(|event| model.projection.check(event))?;
            self.typed.push(typed);
        }
        Ok(())
    }

    fn catch_up(&mut self, store: &Store, events: &[NewEvent<'_>]) {
        for (event, typed) in events.iter().zip(self.typed.drain(..)) {
            if !self.inner.apply_next(store, event, typed) {
                break;
            }
        }
        drop(self.inner.catch_up());
    }
}

thread_local! {
    /// Whether this thread is in an append with inline projections.
    static APPENDING: Cell<bool> = const { Cell::new(false) };
}

/// Resets the mark when the append ends, also by a panic.
struct Appending;

impl Drop for Appending {
    fn drop(&mut self) {
        APPENDING.set(false);
    }
}

/// Adds projections to others: each once, in the order in which all commands lock them.
pub(in crate::cqrs) fn add_inline(all: &mut Vec<Arc<dyn Inline>>, more: impl IntoIterator<Item = Arc<dyn Inline>>) {
    all.extend(more);
    all.sort_by_key(|projection| projection.address());
    all.dedup_by_key(|projection| projection.address());
}

/// Appends `events` to `store` by `append`, if every projection takes them, and brings the projections up to date.
pub(in crate::cqrs) fn with_inline<T, E>(
    store: &Store,
    projections: &[Arc<dyn Inline>],
    events: &[NewEvent<'_>],
    refused: impl FnOnce(String) -> E,
    append: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    if projections.is_empty() {
        return append();
    }
    if APPENDING.replace(true) {
        let what = "a handler of an inline projection executes an inline command: it would wait for itself";
        return Err(refused(what.to_owned()));
    }
    let _appending = Appending;
    let guards: Result<Vec<_>, String> = projections.iter().map(|projection| projection.lock()).collect();
    let mut guards = match guards {
        Ok(guards) => guards,
        Err(reason) => return Err(refused(reason)),
    };
    for guard in &mut guards {
        if let Err(reason) = guard.check(events) {
            return Err(refused(reason));
        }
    }
    let appended = append()?;
    for guard in &mut guards {
        guard.catch_up(store, events);
    }
    Ok(appended)
}
