//! Executes commands: load, decide, append at the loaded version, and retry after a conflict.

use std::any::TypeId;
use std::borrow::Cow;

use serde::Serialize;
use uuid::Uuid;

use super::part::{CommandId, Part, Settle};
use super::projection::{Batch, with_inline};
use super::retry::with_retry;
use super::until::Until;
use super::{Aggregate, Aggregates, Codec, CommandError, LoadError, NewEventId, TypedEvents};
use crate::{Appended, Durability, StreamId, Ticket, Version};

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Executed {
    /// The acknowledgement of its events; `None` if it decided on no events.
    pub appended: Option<Appended>,
    /// The version of the aggregate after the command.
    pub version: Version,
    /// The number of attempts, the first one included.
    pub attempts: u32,
}

/// A command whose events are readable, and not yet known to be durable.
#[derive(Debug)]
#[must_use = "the ticket says when the events are durable"]
#[non_exhaustive]
pub struct Pending {
    /// The result of the command.
    pub executed: Executed,
    /// Completes when the events have the requested durability: [wait](Ticket::wait) for it, or `.await` it on any runtime. `None` when the command
    /// decided on no events.
    pub ticket: Option<Ticket>,
}

impl<A: Aggregate, C: Codec> Aggregates<A, C> {
    /// Loads the aggregate, decides the command on its state, and appends the events at the loaded version.
    ///
    /// If another append intervenes, it loads and decides again, as [`Retry`](super::Retry) says: 10 attempts by default. A rejection is not
    /// retried. A command that decides on no events appends nothing. When this returns, the events are readable, and have the durability of the
    /// store's handle.
    ///
    /// A soft deletion does not change an aggregate's version. A command that was decided before the deletion may therefore be appended after it.
    ///
    /// # Errors
    ///
    /// See [`CommandError`]. Nothing was appended, unless the store [failed](crate::Error::Failed), or was [closed](crate::Error::Closed) or
    /// [unavailable](crate::Error::Unavailable) while the append waited.
    ///
    /// # Panics
    ///
    /// When the aggregate's functions panic. Nothing was appended, and the store is unaffected.
    pub fn execute(&self, id: &str, command: &A::Command) -> Result<Executed, CommandError<A::Rejection>> {
        self.execute_as(None, id, command)
    }

    /// Executes a command at most once: if its events are already stored, it returns their acknowledgement without deciding again.
    ///
    /// The ids of the events are derived from the command's id and the aggregate's id. So a repetition is recognized after a restart and on
    /// another machine, as long as the aggregate retains these events. On another aggregate the same id is another command. A command that was
    /// rejected, or decided on no events, is decided again.
    ///
    /// The first event's metadata is a digest of the command as JSON, which detects another command with the same id. The check reads all events of
    /// the aggregate, with or without snapshots.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute); [`CommandError::Reused`] when another command had this id.
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute).
    pub fn execute_once(
        &self,
        command_id: Uuid,
        id: &str,
        command: &A::Command,
    ) -> Result<Executed, CommandError<A::Rejection>>
    where
        A::Command: Serialize,
    {
        let command_id = CommandId::new(command_id, command)?.blinded(self.events.derived_data().as_deref());
        self.execute_as(Some(&command_id), id, command)
    }

    /// Executes a command without waiting until its events are durable; the returned ticket completes when they have `durability`.
    ///
    /// The command is decided on this thread, and its events are readable when this returns. Conflicts are retried as by
    /// [`execute`](Self::execute), with the same pauses.
    ///
    /// ```
    /// # use annals::{Durability, Store};
    /// # use annals::cqrs::{Aggregate, Aggregates};
    /// # #[derive(serde::Serialize, serde::Deserialize)] enum Event { Opened }
    /// # struct Door;
    /// # impl Aggregate for Door {
    /// #     const TYPE: &'static str = "Door";
    /// #     type Event = Event;
    /// #     type Command = ();
    /// #     type Rejection = String;
    /// #     fn initial() -> Self { Self }
    /// #     fn decide(&self, _: &()) -> Result<Vec<Event>, String> { Ok(vec![Event::Opened]) }
    /// #     fn evolve(&mut self, _: Event) {}
    /// # }
    /// let doors = Aggregates::<Door>::new(&Store::in_memory());
    /// let pending = doors.execute_async("door-1", &(), Durability::Volatile)?;
    /// assert_eq!(pending.executed.version.0, 1);
    /// if let Some(ticket) = pending.ticket {
    ///     ticket.wait()?; // or `ticket.await?`
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute); [`Error::Invalid`](crate::Error::Invalid) when the journal cannot provide this durability; nothing was appended.
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute).
    pub fn execute_async(
        &self,
        id: &str,
        command: &A::Command,
        durability: Durability,
    ) -> Result<Pending, CommandError<A::Rejection>> {
        self.store.with_durability(durability).map_err(CommandError::Store)?;
        let store = self
            .store
            .with_durability(Durability::Volatile)
            .map_err(CommandError::Store)?;
        let executed = Self { store, ..self.clone() }.execute(id, command)?;
        let ticket = |appended: Appended| self.store.when_durable(appended.last_position, durability);
        let ticket = executed.appended.map(ticket).transpose();
        Ok(Pending {
            executed,
            ticket: ticket.map_err(CommandError::Store)?,
        })
    }

    fn execute_as(
        &self,
        command_id: Option<&CommandId>,
        id: &str,
        command: &A::Command,
    ) -> Result<Executed, CommandError<A::Rejection>> {
        let mut part = self.part(id)?;
        with_retry(&self.store, self.retry, |attempts| {
            let mut settle = self.decide(command_id, command, &mut part)?;
            let mut executed = Executed {
                appended: None,
                version: part.version,
                attempts,
            };
            if !part.is_empty() {
                let refused = |reason| CommandError::Inline { reason };
                let append = || part.append_to(&self.store);
                let batch = self.batch(&part, &mut settle);
                let appended = with_inline(&self.store, &self.inline, batch, refused, append)?;
                executed.version = executed.version.max(appended.last_version);
                executed.appended = Some(appended);
                self.settle(&part.stream.aggregate_id, settle);
            }
            Ok(executed)
        })
    }

    /// The part of a command that concerns an aggregate.
    #[inline]
    pub(super) fn part(&self, id: &str) -> Result<Part, LoadError> {
        Ok(match self.stored_id(id)? {
            Cow::Borrowed(id) => Part::anywhere(StreamId::new(A::TYPE, id)),
            Cow::Owned(stored) => Part::named(StreamId::new(A::TYPE, stored), Some(id.into())),
        })
    }

    /// Decides a command on the current state of the part's aggregate, and writes its events to the part, without appending them.
    pub(super) fn decide(
        &self,
        command_id: Option<&CommandId>,
        command: &A::Command,
        part: &mut Part,
    ) -> Result<Settle<A>, CommandError<A::Rejection>> {
        let (loaded, since) = self.load_with(&part.stream.aggregate_id, Until::Now)?;
        if let Some(command_id) = command_id
            && part.begin_known(&self.store, command_id, loaded.version)?
        {
            return Ok(Settle::nothing(loaded));
        }
        let decided = loaded.state.decide(command).map_err(CommandError::Rejected)?;
        part.begin(loaded.version, decided.len());
        let mut settle = Settle::of(loaded, since);
        let context = self.events.stored_context(&self.context);
        let context = context.map_err(|error| part.unwritable((None, error)))?;
        for event in decided {
            let place = part.len();
            let id = command_id.map(|command_id| command_id.event(&part.stream.aggregate_id, place));
            let metadata = command_id.filter(|_| place == 0).map(CommandId::metadata);
            let id = TypedEvents::<A::Event, C>::new_id(&self.store, id);
            let identity = NewEventId {
                id: id.unwrap_or_default(),
                aggregate_id: part.name(),
            };
            let encoded = self.events.encode(&event, identity);
            let (encoded, read) = encoded.map_err(|error| part.unwritable(error))?;
            if self.snapshots.is_some() || self.share.is_some() {
                settle.add(read, encoded.data.len());
            }
            part.add(self.events.new_event(encoded), &context, id, metadata);
        }
        Ok(settle)
    }

    /// The events of a command, with what they were decoded to, unless a snapshot needs that.
    fn batch<'a>(&self, part: &'a Part, settle: &'a mut Settle<A>) -> Batch<'a> {
        let mut batch = Batch::new(part.events());
        if let (Some(share), None) = (self.share, &self.snapshots) {
            batch.share(share(&mut settle.events), TypeId::of::<C>());
        }
        batch
    }

    /// Saves a snapshot of the state after a command, if one is due.
    pub(super) fn settle(&self, id: &str, settle: Settle<A>) {
        if let Some(snapshots) = &self.snapshots
            && !settle.events.is_empty()
        {
            let (loaded, since) = settle.evolved(self.store.now());
            let derived = self.events.derived_data();
            snapshots.save_if_due(&self.store, id, &loaded, &since, derived.as_deref());
        }
    }
}
