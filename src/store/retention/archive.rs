//! Moving old events to an archive: they are saved first, and then dropped from memory and purged from the journal.

use serde::Serialize;

use crate::event::system::Change;
use crate::store::reader::EventReader;
use crate::store::{Engine, Store};
use crate::{Durability, Error, EventRef, Name, Position, Result, Timestamp};

/// Maximum bytes of an archive's name.
const ARCHIVE_NAME_BYTES_MAX: usize = 255;
/// Aggregates per wait for the journal.
const STREAMS_AT_ONCE: usize = 1024;

/// The events to archive, in the order of their positions.
#[derive(Clone, Debug)]
pub struct ArchiveCandidates<'a> {
    store: &'a Store,
    positions: Vec<u64>,
    /// Aggregates, and the version up to which their events are archived.
    streams: Vec<(Name, u64)>,
}

/// The result of [`Store::archive`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Archived {
    /// Events moved from the store to the archive.
    pub events: u64,
    /// Aggregates of these events.
    pub aggregates: u64,
}

impl ArchiveCandidates<'_> {
    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Returns whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Calls `save` with every event, in the order of positions, until it returns an error.
    ///
    /// # Errors
    ///
    /// The error of `save`.
    pub fn try_for_each<E>(&self, mut save: impl FnMut(EventRef<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut reader = EventReader::new(&self.store.engine().core);
        let mut events = reader.each(self.positions.iter().copied());
        while let Some(event) = events.next() {
            // Events dropped since the selection are skipped.
            if let Some(event) = event {
                save(event)?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// Moves the events before a time to an archive: the oldest events of every aggregate, up to its first later event.
    ///
    /// `save` stores them in an archive, and must return only when they are durable. Then every aggregate gets a system event,
    /// `$archived`, with the name of the archive, and its old events are dropped from the store: a [gap](crate::Gap) with the reason
    /// [`Archived`](crate::GapReason::Archived). Its version does not change. [`compact_journal`](Self::compact_journal) purges
    /// them from the journal.
    ///
    /// Crash-safe: every event is in the store or in the archive at any time. After a crash some events may be in both; then
    /// archive again, with another archive.
    ///
    /// ```
    /// use annals::{Expected, NewEvent, Store, StreamId, Timestamp};
    ///
    /// let store = Store::in_memory();
    /// let order = StreamId::new("Order", "order-1");
    /// let placed = NewEvent::new("OrderPlaced").timestamp(Timestamp::from_micros(0));
    /// store.append(&order, Expected::Any, vec![placed, NewEvent::new("OrderPaid")])?;
    ///
    /// let mut archive = Vec::new();
    /// let archived = store.archive(Timestamp::from_micros(1), "before 1970", |outdated| {
    ///     outdated.try_for_each(|event| {
    ///         archive.push(event.to_event());
    ///         Ok::<_, annals::Error>(())
    ///     })
    /// })?;
    /// assert_eq!((archived.events, archive.len()), (1, 1));
    /// assert_eq!(store.read_stream("order-1").events()[0].event_type(), "OrderPaid");
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `save`, after which the store is unchanged. [`Invalid`](Error::Invalid) if the name is empty, longer than 255 bytes, or contains
    /// a quotation mark, a backslash or a control character. Otherwise as [`truncate_before`](Self::truncate_before), but it waits if the journal's
    /// backlog is full, and the aggregates archived before the error remain archived.
    pub fn archive<E: From<Error>>(
        &self,
        before: Timestamp,
        name: &str,
        save: impl FnOnce(&ArchiveCandidates<'_>) -> Result<(), E>,
    ) -> Result<Archived, E> {
        check_name(name)?;
        self.engine().check_changes()?;
        self.engine().check_open()?;
        let outdated = self.outdated(before);
        if outdated.is_empty() {
            return Ok(Archived::default());
        }
        save(&outdated)?;
        for streams in outdated.streams.chunks(STREAMS_AT_ONCE) {
            self.engine().archive_streams(streams, name, before)?;
        }
        let engine = self.engine();
        if engine.core.log.promised() == Durability::Synced {
            self.wait_durable(Position(engine.core.log.published()))?;
        }
        Ok(Archived {
            events: outdated.len() as u64,
            aggregates: outdated.streams.len() as u64,
        })
    }

    fn outdated(&self, before: Timestamp) -> ArchiveCandidates<'_> {
        let engine = self.engine();
        let visible = engine.visible();
        let mut outdated = ArchiveCandidates {
            store: self,
            positions: Vec::new(),
            streams: Vec::new(),
        };
        let mut view = EventReader::new(&engine.core);
        for (id, first_version, positions) in engine.streams_to(visible) {
            let is_old = |position: &u64| view.event(*position).is_some_and(|event| event.timestamp() < before);
            let known = outdated.positions.len();
            outdated.positions.extend(positions.into_iter().take_while(is_old));
            let old = (outdated.positions.len() - known) as u64;
            if old > 0 {
                outdated.streams.push((id, first_version + old - 1));
            }
        }
        outdated.positions.sort_unstable();
        outdated
    }
}

impl Engine {
    /// Every user aggregate with its first retained version, and the positions of its events up to `visible`.
    fn streams_to(&self, visible: u64) -> Vec<(Name, u64, Vec<u64>)> {
        let mut all = Vec::new();
        for shard in 0..self.core.shard_count() {
            let shard = self.core.read(shard);
            let own = shard
                .streams()
                .filter(|stream| !stream.id.starts_with('$') && stream.live_events() > 0);
            all.extend(own.map(|stream| {
                let positions = stream.positions_from(0).take_while(|position| *position <= visible);
                (stream.id.clone(), u64::from(stream.dropped_to) + 1, positions.collect())
            }));
        }
        all
    }

    /// Records for each aggregate that its events up to a version are in the archive, and drops them. An aggregate that was deleted
    /// meanwhile has no events.
    fn archive_streams(&self, streams: &[(Name, u64)], archive: &str, before: Timestamp) -> Result<()> {
        let changes: Vec<_> = streams
            .iter()
            .map(|(id, to_version)| {
                let change = Change::Archive {
                    to_version: *to_version,
                    archive: archive.into(),
                    before: Some(before.as_micros()),
                };
                (&**id, change)
            })
            .collect();
        self.change_all(&changes)
    }
}

fn check_name(name: &str) -> Result<()> {
    let is_plain = |letter: char| !letter.is_control() && letter != '"' && letter != '\\';
    if !name.is_empty() && name.len() <= ARCHIVE_NAME_BYTES_MAX && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid archive name {name:?}: it must have 1 to {ARCHIVE_NAME_BYTES_MAX} bytes, without quotation marks, backslashes and control characters"
    )))
}
