//! Inline projections: commands update them, and they can reject events.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::mem;
use std::sync::Arc;

use smallvec::SmallVec;

use super::live::Guard;
use super::{Live, Projection};
use crate::cqrs::typed::Reader;
use crate::{Appended, NewEvent, Position, Store};

/// The decoded events of a command: most commands have one.
pub(in crate::cqrs) type Typed<E> = SmallVec<[E; 1]>;

/// The events that a command is about to append.
pub(in crate::cqrs) struct Batch<'a> {
    events: &'a [NewEvent<'a>],
    decoded: Option<Decoded<'a>>,
}

/// The events of a [`Batch`] as the command decoded them, to prove that they can be read.
struct Decoded<'a> {
    /// [`Typed`] of the command's enum, with an element for each event until a projection takes them.
    typed: &'a mut dyn Any,
    codec: TypeId,
}

impl<'a> Batch<'a> {
    pub(in crate::cqrs) fn new(events: &'a [NewEvent<'a>]) -> Self {
        Self { events, decoded: None }
    }

    /// Lets a projection of the same enum take `typed`, which a codec of type `codec` decoded, instead of decoding the events again.
    pub(in crate::cqrs) fn share(&mut self, typed: &'a mut dyn Any, codec: TypeId) {
        self.decoded = Some(Decoded { typed, codec });
    }

    /// The decoded events, if `reader` would decode them alike, and no other projection has them.
    fn take<E: 'static>(&mut self, reader: &Reader<E>) -> Option<Typed<E>> {
        let Decoded { typed, codec } = self.decoded.as_mut()?;
        let typed = typed.downcast_mut::<Typed<E>>()?;
        let is_alike = |event: &NewEvent<'_>| reader.reads_like(*codec, event);
        let is_own = typed.len() == self.events.len() && self.events.iter().all(is_alike);
        is_own.then(|| mem::take(typed))
    }
}

/// A projection that commands bring up to date.
pub(in crate::cqrs) trait Inline: Send + Sync {
    /// Lets no other command in between until the guard is dropped.
    ///
    /// # Errors
    ///
    /// Why it cannot: this thread looks at the projection.
    fn lock(&self) -> Result<Box<dyn InlineGuard + '_>, String>;

    /// Checks the events, appends them by `append`, and applies them if it returns where they are. The projection is locked meanwhile.
    ///
    /// # Errors
    ///
    /// Why the events are not appended.
    fn append(
        &self,
        store: &Store,
        batch: &mut Batch<'_>,
        append: &mut dyn FnMut() -> Option<Span>,
    ) -> Result<(), String>;

    /// Tells projections apart, and gives them the order in which they are locked.
    fn address(&self) -> usize;
}

pub(in crate::cqrs) trait InlineGuard {
    /// Whether the projection takes these events, after all that are visible.
    fn check(&mut self, batch: &mut Batch<'_>) -> Result<(), String>;

    /// Applies the checked events, which were appended at the positions of `span`. The events are stored, so the next check and the next read report
    /// a failure.
    fn apply(&mut self, store: &Store, span: Span);
}

/// The positions that an append got. Without another append in between, and unless it was a repetition, there is one for each of its events.
#[derive(Clone, Copy, Debug)]
pub(in crate::cqrs) struct Span {
    pub(super) first: Position,
    pub(super) last: Position,
}

impl Span {
    /// The number of positions.
    fn len(self) -> u64 {
        (self.last.0 + 1).saturating_sub(self.first.0)
    }
}

/// The acknowledgement of an append.
pub(in crate::cqrs) trait Acknowledged {
    fn span(&self) -> Span;
}

impl Acknowledged for Appended {
    fn span(&self) -> Span {
        Span {
            first: self.first_position,
            last: self.last_position,
        }
    }
}

impl Acknowledged for Vec<Appended> {
    fn span(&self) -> Span {
        let first = self.first().map_or(Position(1), |appended| appended.first_position);
        let last = self.last().map_or(Position(0), |appended| appended.last_position);
        Span { first, last }
    }
}

impl<P: Projection> Inline for Live<P> {
    fn lock(&self) -> Result<Box<dyn InlineGuard + '_>, String> {
        Ok(Box::new(Checking::lock(self)?))
    }

    fn append(
        &self,
        store: &Store,
        batch: &mut Batch<'_>,
        append: &mut dyn FnMut() -> Option<Span>,
    ) -> Result<(), String> {
        let mut guard = Checking::lock(self)?;
        guard.check(batch)?;
        if let Some(span) = append() {
            guard.apply(store, span);
        }
        Ok(())
    }

    fn address(&self) -> usize {
        self.address_of_shared()
    }
}

/// A projection that no other command gets at.
struct Checking<'a, P: Projection> {
    inner: Guard<'a, P>,
    /// What the events that were checked decode to, in order: they are not decoded again when they are applied.
    typed: Typed<P::Event>,
    /// How many of `typed` each event decodes to; empty when it is one for each.
    parts: Vec<usize>,
    /// The number of events.
    events: usize,
}

impl<'a, P: Projection> Checking<'a, P> {
    fn lock(live: &'a Live<P>) -> Result<Self, String> {
        Ok(Self {
            inner: live.lock().map_err(|error| error.to_string())?,
            typed: Typed::new(),
            parts: Vec::new(),
            events: 0,
        })
    }

    fn decode(&mut self, events: &[NewEvent<'_>]) -> Result<(), String> {
        for event in events {
            let (reader, typed) = (&self.inner.reader, &mut self.typed);
            let before = typed.len();
            let read = reader.read_new(event, &mut |event| typed.push(event));
            read.map_err(|error| error.to_string())?;
            self.parts.push(self.typed.len() - before);
        }
        Ok(())
    }
}

impl<P: Projection> Checking<'_, P> {
    /// Applies the events that were checked, up to the first of which the projection gets nothing. Returns whether that was all of them.
    fn apply_checked(&mut self, store: &Store, span: Span) -> bool {
        let mut typed = mem::take(&mut self.typed).into_iter();
        let mut parts = self.parts.iter();
        (span.first.0..=span.last.0).all(|position| {
            let parts = parts.next().copied().unwrap_or(1);
            parts > 0
                && self
                    .inner
                    .apply_next(store, Position(position), typed.by_ref().take(parts))
        })
    }
}

impl<P: Projection> InlineGuard for Checking<'_, P> {
    fn check(&mut self, batch: &mut Batch<'_>) -> Result<(), String> {
        self.inner.catch_up().map_err(|error| error.to_string())?;
        self.events = batch.events.len();
        match batch.take(&self.inner.reader) {
            Some(typed) => self.typed = typed,
            None => self.decode(batch.events)?,
        }
        let projection = &self.inner.model.projection;
        self.typed.iter().try_for_each(|event| projection.check(event))
    }

    fn apply(&mut self, store: &Store, span: Span) {
        let is_next = span.len() == self.events as u64 && self.inner.is_next(span.first);
        if !is_next || !self.apply_checked(store, span) {
            // The tail delivers them, after those of others that are in between.
            drop(self.inner.catch_up());
        }
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

/// Appends a batch to `store` by `append`, if every projection takes its events, and brings the projections up to date.
pub(in crate::cqrs) fn with_inline<T: Acknowledged, E>(
    store: &Store,
    projections: &[Arc<dyn Inline>],
    batch: Batch<'_>,
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
    match projections {
        [projection] => with_one(store, &**projection, batch, refused, append),
        projections => with_all(store, projections, batch, refused, append),
    }
}

/// Most commands have one projection at most: its guard has no allocation.
fn with_one<T: Acknowledged, E>(
    store: &Store,
    projection: &dyn Inline,
    mut batch: Batch<'_>,
    refused: impl FnOnce(String) -> E,
    append: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let (mut append, mut appended) = (Some(append), None);
    let checked = projection.append(store, &mut batch, &mut || {
        appended = append.take().map(|append| append());
        appended.as_ref()?.as_ref().ok().map(Acknowledged::span)
    });
    appended.unwrap_or_else(|| Err(refused(checked.err().unwrap_or_default())))
}

fn with_all<T: Acknowledged, E>(
    store: &Store,
    projections: &[Arc<dyn Inline>],
    mut batch: Batch<'_>,
    refused: impl FnOnce(String) -> E,
    append: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let guards: Result<Vec<_>, String> = projections.iter().map(|projection| projection.lock()).collect();
    let mut guards = match guards {
        Ok(guards) => guards,
        Err(reason) => return Err(refused(reason)),
    };
    for guard in &mut guards {
        if let Err(reason) = guard.check(&mut batch) {
            return Err(refused(reason));
        }
    }
    let appended = append()?;
    for guard in &mut guards {
        guard.apply(store, appended.span());
    }
    Ok(appended)
}
