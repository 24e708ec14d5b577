//! Moving old events out of a store: into an archive first, and out of memory and of the journal only then.

use serde::Serialize;

use super::core::EventReader;
use super::{Engine, Store};
use crate::event::system::Change;
use crate::{Durability, Error, EventRef, Name, Position, Result, Timestamp};

/// Bytes of an archive's name, at most.
const ARCHIVE_NAME_BYTES_MAX: usize = 255;
/// Aggregates that wait for the journal together.
const STREAMS_AT_ONCE: usize = 1024;

/// Events that are to be moved out of a store, in the order of their positions.
#[derive(Clone, Debug)]
pub struct ArchiveCandidates<'a> {
    store: &'a Store,
    positions: Vec<u64>,
    /// Aggregates, and the version up to which their events are outdated.
    streams: Vec<(Name, u64)>,
}

/// What [`Store::archive`] has moved out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Archived {
    /// Events that are in the archive now, and no longer in the store.
    pub events: u64,
    /// Aggregates that they are of.
    pub aggregates: u64,
}

impl ArchiveCandidates<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Hands every event to `save`, in the order of positions, until one is refused.
    ///
    /// # Errors
    ///
    /// That of `save`.
    pub fn try_for_each<E>(&self, mut save: impl FnMut(EventRef<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut view = EventReader::new(&self.store.engine().core);
        for position in &self.positions {
            // What was dropped since is not outdated any more, but gone.
            if let Some(event) = view.event(*position) {
                save(event)?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// Moves the events out that happened before a time: of every aggregate from the first on, as far as they are that old.
    ///
    /// `save` puts them into an archive, and must return only when that is safe. Then every aggregate gets an event of the system,
    /// `$archived`, with the name of the archive, and its old events are gone from the store: a [gap](crate::Gap) of the reason
    /// [`Archived`](crate::GapReason::Archived). Its version stays what it is. [`compact_journal`](Self::compact_journal) makes the room
    /// free that they take in the journal.
    ///
    /// Whenever the machine stops, every event is in the store or in the archive; where it stops in between, some are in both, and
    /// the same can be done again with another archive.
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
    /// That of `save`, after which nothing has changed. [`Invalid`](Error::Invalid) when the name is empty, longer than 255 bytes, or has
    /// a quotation mark, a backslash or a control character in it; otherwise as [`truncate_before`](Self::truncate_before), but that it waits where too
    /// much waits for the journal: what was moved out until then is.
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
    /// Every aggregate of users with its first version that is there, and the positions of its events up to `visible`.
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

    /// Says of each that its events up to a version are in the archive, and drops those. An aggregate that somebody has deleted
    /// meanwhile has none.
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
        "an archive's name has 1 to {ARCHIVE_NAME_BYTES_MAX} bytes, without quotation marks, backslashes and control characters: {name:?} cannot be one"
    )))
}
