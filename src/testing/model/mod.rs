//! The reference model: a list of events and loops over it, slow and easy to verify.

mod change;
mod listing;
mod matching;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::change::Change;
pub use self::listing::Listed;
use self::matching::{is_before, matches};
use crate::query::{AsOf, Query};
use crate::{
    Append, Condition, Conflict, Error, EventRef, Expected, Name, NewEvent, NewSnapshot, Order, Position, Result,
    StreamId, StreamLimits, Timestamp, Version,
};

/// An event of the model.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its position.
    pub position: u64,
    /// Its aggregate.
    pub stream: StreamId,
    /// Its version.
    pub version: u64,
    /// Its timestamp.
    pub time: Timestamp,
    /// The time at which it was recorded.
    pub recorded: Timestamp,
    /// The appended event; copies of a model share it.
    pub event: Arc<NewEvent<'static>>,
    /// Whether it was dropped.
    pub dropped: bool,
}

impl Recorded {
    fn is_system(&self) -> bool {
        self.event.event_type.starts_with('$')
    }
}

#[derive(Clone, Debug, Default)]
struct Stream {
    aggregate_type: Name,
    version: u64,
    deleted_to: u64,
    tombstoned: bool,
    limits: StreamLimits,
}

/// A store that is a list.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Every event ever appended.
    pub events: Vec<Recorded>,
    streams: BTreeMap<Name, Stream>,
}

/// Which events of an append are stored already, by their ids.
enum Known {
    None,
    /// All of them, one after another.
    All(Acknowledged),
    /// Some of them, or all in another order.
    Some(Conflict),
}

fn has_id_twice(part: &Append<'_>) -> bool {
    let ids: Vec<_> = part.events.iter().filter_map(|event| event.id).collect();
    (1..ids.len()).any(|place| ids[..place].contains(&ids[place]))
}

/// First and last version, first and last position, and whether it was a repetition.
pub type Acknowledged = (u64, u64, u64, u64, bool);

impl Model {
    /// The position of the last event.
    pub fn position(&self) -> u64 {
        self.events.len() as u64
    }

    fn of_stream<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Recorded> {
        self.events
            .iter()
            .filter(move |event| event.stream.aggregate_id == *id && !event.dropped)
    }

    // Appending.

    /// Appends to one aggregate or several, if `condition` holds.
    ///
    /// # Errors
    ///
    /// The same as the store.
    pub fn append(
        &mut self,
        parts: &[Append<'_>],
        condition: Option<&Condition>,
        now: Timestamp,
    ) -> Result<Vec<Acknowledged>> {
        if parts.iter().any(has_id_twice) {
            return Err(Error::invalid("an id twice"));
        }
        let mut repeated = Vec::new();
        for part in parts {
            repeated.extend(self.check(part)?);
        }
        let brings_events = parts.iter().filter(|part| !part.events.is_empty()).count();
        if repeated.len() == brings_events && brings_events > 0 {
            return Ok(repeated);
        }
        if !repeated.is_empty() {
            return Err(Error::Closed);
        }
        if let Some(condition) = condition {
            self.check_condition(condition)?;
        }
        let acknowledged = parts.iter().map(|part| self.write(part, now)).collect();
        for part in parts {
            self.apply_count(&part.stream.aggregate_id);
        }
        Ok(acknowledged)
    }

    fn check(&self, part: &Append<'_>) -> Result<Option<Acknowledged>> {
        let unknown = Stream {
            aggregate_type: part.stream.aggregate_type.clone(),
            ..Stream::default()
        };
        let stream = self.streams.get(&part.stream.aggregate_id).unwrap_or(&unknown);
        if stream.tombstoned {
            return Err(Error::Deleted {
                aggregate_id: part.stream.aggregate_id.clone(),
            });
        }
        if stream.aggregate_type != part.stream.aggregate_type {
            return Err(Error::invalid("another type"));
        }
        let conflict = || self.conflict(stream, &part.stream, part.expected);
        match self.known(part) {
            Known::All(repeated) => Ok(Some(repeated)),
            Known::None | Known::Some(_) if !holds(stream, part.expected) => Err(conflict()),
            Known::Some(known) => Err(known.into()),
            Known::None => Ok(None),
        }
    }

    fn conflict(&self, stream: &Stream, id: &StreamId, expected: Expected) -> Error {
        let position = self
            .of_stream(&id.aggregate_id)
            .last()
            .map_or(0, |event| event.position);
        Conflict::Version {
            stream: id.clone(),
            expected,
            actual: Version(stream.version),
            position: Position(position),
        }
        .into()
    }

    /// Whether the events of a part are stored already, by their own ids.
    fn known(&self, part: &Append<'_>) -> Known {
        let stored: Vec<_> = self.of_stream(&part.stream.aggregate_id).collect();
        let is_own = |event: &&NewEvent<'_>| event.id.is_some();
        let match_of = |event: &NewEvent<'_>| {
            let same = |there: &&&Recorded| event.id.is_some() && there.event.id == event.id;
            Some((event.id?, *stored.iter().find(same)?))
        };
        let Some((id, first)) = part.events.iter().find_map(match_of) else {
            return Known::None;
        };
        let known = Conflict::EventKnown {
            stream: StreamId::clone(&part.stream),
            id,
            version: Version(first.version),
            position: Position(first.position),
        };
        let same = |run: &[&Recorded]| {
            run.iter()
                .zip(&part.events)
                .all(|(there, event)| there.event.id == event.id)
        };
        let whole = part.events.iter().filter(is_own).count() == part.events.len();
        let continues = |run: &[&Recorded]| match part.expected {
            Expected::Exactly(version) => run[0].version == version.0 + 1,
            Expected::NoStream => run[0].version == stored[0].version,
            Expected::Any | Expected::StreamExists => true,
        };
        let mut runs = stored.windows(part.events.len());
        match runs.find(|run| whole && same(run) && continues(run)) {
            Some([first, .., last]) => Known::All((first.version, last.version, first.position, last.position, true)),
            Some([one]) => Known::All((one.version, one.version, one.position, one.position, true)),
            Some([]) | None => Known::Some(known),
        }
    }

    fn check_condition(&self, condition: &Condition) -> Result<()> {
        let after = condition.after.max(condition.query.after).0;
        let until = condition.query.until.map_or(u64::MAX, |until| until.0);
        let in_range = |event: &&Recorded| event.position > after && event.position <= until;
        let found = self
            .events
            .iter()
            .filter(in_range)
            .find(|event| matches(event, &condition.query));
        match found {
            Some(event) => Err(Conflict::Condition {
                position: Position(event.position),
            }
            .into()),
            None => Ok(()),
        }
    }

    fn write(&mut self, part: &Append<'_>, now: Timestamp) -> Acknowledged {
        let stream = self.streams.entry(part.stream.aggregate_id.clone()).or_default();
        let (version, position) = (stream.version, self.events.len() as u64);
        let count = part.events.len() as u64;
        if count > 0 {
            stream.aggregate_type = part.stream.aggregate_type.clone();
            stream.version += count;
        } else if version == 0 {
            self.streams.remove(&part.stream.aggregate_id);
        }
        for event in &part.events {
            let position = self.events.len() as u64 + 1;
            self.events.push(Recorded {
                position,
                stream: StreamId::clone(&part.stream),
                version: version + position - self.events.len() as u64,
                time: event.timestamp.unwrap_or(now),
                recorded: now,
                event: Arc::new(event.clone().into_owned()),
                dropped: false,
            });
        }
        let start = self.events.len() - part.events.len();
        for (offset, event) in (1..).zip(&mut self.events[start..]) {
            event.version = version + offset;
        }
        (version + 1, version + count, position + 1, position + count, false)
    }

    // Dropping.

    /// Changes an aggregate: truncates it to a version, deletes it, or limits it.
    ///
    /// # Errors
    ///
    /// The same as the store.
    pub fn change(&mut self, id: &Name, expected: Expected, change: &Change, now: Timestamp) -> Result<u64> {
        let Some(stream) = self.streams.get(id) else {
            return Err(Error::invalid("unknown"));
        };
        if stream.tombstoned {
            return Err(Error::Deleted {
                aggregate_id: id.clone(),
            });
        }
        if !holds(stream, expected) {
            let full = StreamId::new(stream.aggregate_type.clone(), id.clone());
            return Err(self.conflict(stream, &full, expected));
        }
        let system = StreamId::new("$aggregate", format!("${id}"));
        let ages = stream.limits.max_age.is_some();
        let event = NewEvent::new(change.event_type()).data(change.data(self.gone_to(id).filter(|_| ages)));
        self.write(&Append::new(system, Expected::Any, vec![event]), now);
        let Some(stream) = self.streams.get_mut(id) else {
            return Err(Error::Closed);
        };
        match change {
            Change::TruncateBefore(version) => self.drop_below(id, *version),
            Change::Delete => {
                stream.deleted_to = stream.version;
                self.drop_whole(id);
            }
            Change::Tombstone => {
                stream.tombstoned = true;
                self.drop_whole(id);
            }
            Change::Limit(limits) => {
                stream.limits = *limits;
                self.apply_count(id);
            }
        }
        Ok(self.position())
    }

    /// Saves a snapshot of an aggregate at a version, unless a later one exists. Returns the position of the latest snapshot.
    ///
    /// # Errors
    ///
    /// The same as the store.
    pub fn save_snapshot(&mut self, id: &Name, snapshot: &NewSnapshot, now: Timestamp) -> Result<u64> {
        let version = snapshot.version.0;
        let Some(stream) = self.streams.get(id) else {
            return Err(Error::invalid("unknown"));
        };
        if stream.tombstoned {
            return Err(Error::Deleted {
                aggregate_id: id.clone(),
            });
        }
        let gone_to = self.gone_to(id).unwrap_or(0);
        if version <= stream.deleted_to || version > stream.version || version < gone_to {
            return Err(Error::invalid("no such version"));
        }
        if let Some((position, _, _)) = self.snapshot(id).filter(|(_, there, _)| *there > version) {
            return Ok(position);
        }
        let keep = u64::from(snapshot.keep);
        let last = self
            .streams
            .get(snapshots(id).as_str())
            .map_or(0, |stream| stream.version);
        self.drop_below(&snapshots(id), (last + 2).saturating_sub(keep));
        let keep = if keep > 1 {
            format!(",\"keep\":{keep}")
        } else {
            String::new()
        };
        let event = NewEvent::new("$snapshotted")
            .metadata(format!("{{\"version\":{version}{keep}}}"))
            .data(snapshot.data.as_slice());
        let stream = StreamId::new("$snapshot", snapshots(id));
        self.write(&Append::new(stream, Expected::Any, vec![event]), now);
        Ok(self.position())
    }

    /// The latest snapshot of an aggregate: position, version and data.
    pub fn snapshot(&self, id: &str) -> Option<(u64, u64, Vec<u8>)> {
        self.snapshot_until(id, u64::MAX)
    }

    /// The latest snapshot of an aggregate whose version is at most `version`.
    pub fn snapshot_until(&self, id: &str, version: u64) -> Option<(u64, u64, Vec<u8>)> {
        let stream = snapshots(id);
        let events = self.of_stream(&stream);
        let read = events.filter_map(|event| {
            let metadata = String::from_utf8_lossy(&event.event.metadata);
            let number = metadata.trim_start_matches("{\"version\":");
            let number = number.split([',', '}']).next()?.parse().ok()?;
            Some((event.position, number, event.event.data.to_vec()))
        });
        read.filter(|(_, there, _)| *there <= version).last()
    }

    /// The version of the last dropped event of an aggregate.
    fn gone_to(&self, id: &str) -> Option<u64> {
        let of_stream = |event: &&Recorded| event.stream.aggregate_id == *id && event.dropped;
        self.events.iter().filter(of_stream).map(|event| event.version).max()
    }

    fn drop_whole(&mut self, id: &str) {
        self.drop_below(id, u64::MAX);
        self.drop_below(&snapshots(id), u64::MAX);
    }

    fn drop_below(&mut self, id: &str, version: u64) {
        let below = |event: &&mut Recorded| event.stream.aggregate_id == *id && event.version < version;
        self.events
            .iter_mut()
            .filter(below)
            .for_each(|event| event.dropped = true);
    }

    fn apply_count(&mut self, id: &Name) {
        let Some(stream) = self.streams.get(id) else { return };
        let version = stream.version;
        if let Some(max) = stream.limits.max_count {
            self.drop_below(id, (version + 1).saturating_sub(max));
        }
    }

    /// Drops the events that are past an age limit at `now`.
    pub fn expire(&mut self, now: Timestamp) {
        let aged: Vec<_> = self
            .streams
            .iter()
            .filter_map(|(id, stream)| Some((id.clone(), stream.limits.max_age?)))
            .collect();
        for (id, age) in aged {
            let young = self
                .of_stream(&id)
                .find(|event| event.time.after(age) > now)
                .map(|event| event.version);
            let end = self.streams.get(&id).map_or(0, |stream| stream.version + 1);
            self.drop_below(&id, young.unwrap_or(end));
        }
    }

    // Reading.

    /// The positions of an aggregate's events.
    pub fn read_stream(
        &self,
        id: &str,
        from: Option<u64>,
        backwards: bool,
        limit: usize,
        as_of: Option<AsOf>,
    ) -> Vec<u64> {
        let in_range = |event: &&Recorded| {
            from.is_none_or(|from| {
                if backwards {
                    event.version <= from
                } else {
                    event.version >= from
                }
            })
        };
        let events = self
            .of_stream(id)
            .filter(in_range)
            .filter(|event| is_before(event, as_of));
        take(events.map(|event| event.position).collect(), backwards, limit)
    }

    /// The positions of all events.
    pub fn read_log(
        &self,
        from: Option<u64>,
        backwards: bool,
        limit: usize,
        as_of: Option<AsOf>,
        system: bool,
    ) -> Vec<u64> {
        let in_range = |event: &&Recorded| {
            from.is_none_or(|from| {
                if backwards {
                    event.position <= from
                } else {
                    event.position >= from
                }
            })
        };
        let events = self
            .events
            .iter()
            .filter(|event| !event.dropped && (system || !event.is_system()));
        let events = events.filter(in_range).filter(|event| is_before(event, as_of));
        take(events.map(|event| event.position).collect(), backwards, limit)
    }

    /// The positions of the events that match a query without its cursor.
    pub fn query(&self, query: &Query) -> Vec<u64> {
        let in_range = |event: &&Recorded| {
            event.position > query.after.0 && query.until.is_none_or(|until| event.position <= until.0)
        };
        let events = self
            .events
            .iter()
            .filter(in_range)
            .filter(|event| is_before(event, query.as_of));
        let mut found: Vec<_> = events.filter(|event| matches(event, query)).collect();
        match query.order {
            Order::Position => {}
            Order::PositionDescending => found.reverse(),
            Order::Time => found.sort_by_key(|event| (event.time, event.position)),
            Order::TimeDescending => {
                found.sort_by_key(|event| (event.time, event.position));
                found.reverse();
            }
        }
        take(
            found.into_iter().map(|event| event.position).collect(),
            false,
            query.limit.unwrap_or(usize::MAX),
        )
    }

    /// Whether an event of the store equals the model's event at its position.
    pub fn has(&self, event: EventRef<'_>) -> bool {
        let Some(known) = self.events.get((event.position().0 - 1) as usize) else {
            return false;
        };
        let kept = event.to_event();
        let mut new = kept.to_new();
        let mut appended = NewEvent::clone(&known.event);
        appended.timestamp = Some(known.time);
        if appended.id.is_none() {
            new.id = None;
        }
        !known.dropped
            && event.version().0 == known.version
            && event.stream_id() == known.stream
            && event.recorded_at() == known.recorded
            && new == appended
    }
}

/// The system stream of the snapshots of an aggregate.
fn snapshots(id: &str) -> String {
    format!("$$snapshot:{id}")
}

fn holds(stream: &Stream, expected: Expected) -> bool {
    let exists = stream.version > stream.deleted_to;
    match expected {
        Expected::Any => true,
        Expected::NoStream => !exists,
        Expected::StreamExists => exists,
        Expected::Exactly(version) => version.0 == stream.version,
    }
}

fn take(mut positions: Vec<u64>, backwards: bool, limit: usize) -> Vec<u64> {
    if backwards {
        positions.reverse();
    }
    positions.truncate(limit);
    positions
}
