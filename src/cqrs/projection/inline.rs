//! Projections inline: commands bring them up to date, and they can refuse events.

use std::cell::Cell;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::live::Inner;
use super::{Live, Projection};
use crate::NewEvent;

/// A projection that commands bring up to date.
pub(in crate::cqrs) trait Inline: Send + Sync {
    /// Lets no other command in between until the guard is dropped.
    fn lock(&self) -> Box<dyn InlineGuard + '_>;

    /// Tells projections apart, and gives them the order in which they are locked.
    fn address(&self) -> usize;
}

pub(in crate::cqrs) trait InlineGuard {
    /// Whether the projection takes these events, after all that are visible.
    fn check(&mut self, events: &[NewEvent<'_>]) -> Result<(), String>;

    /// Applies what is visible. A failure is told by the next check and the next reader: the events are stored.
    fn catch_up(&mut self);
}

impl<P: Projection> Inline for Live<P> {
    fn lock(&self) -> Box<dyn InlineGuard + '_> {
        Box::new(self.lock_inner())
    }

    fn address(&self) -> usize {
        self.address_of_shared()
    }
}

impl<P: Projection> InlineGuard for MutexGuard<'_, Inner<P>> {
    fn check(&mut self, events: &[NewEvent<'_>]) -> Result<(), String> {
        (**self).catch_up().map_err(|error| error.to_string())?;
        for event in events {
            let typed = self.reader.read_new(event).map_err(|error| error.to_string())?;
            typed.iter().try_for_each(|event| self.model.projection.check(event))?;
        }
        Ok(())
    }

    fn catch_up(&mut self) {
        drop((**self).catch_up());
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

/// Appends `events` by `append`, if every projection takes them, and brings the projections up to date.
pub(in crate::cqrs) fn with_inline<T, E>(
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
    let mut guards: Vec<_> = projections.iter().map(|projection| projection.lock()).collect();
    for guard in &mut guards {
        if let Err(reason) = guard.check(events) {
            return Err(refused(reason));
        }
    }
    let appended = append()?;
    for guard in &mut guards {
        guard.catch_up();
    }
    Ok(appended)
}
