//! Whether an append can be published, judged by what is known of the stream.

use annals::journal::RemoteAppend;
use annals::{Appended, Conflict, Durability, Error, Expected, Position, Version};

use crate::heads::{Head, Heads, Known};

/// What is to be done with an append.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Its events are stored, or it has none and fits.
    Stored(Vec<Appended>),
    /// It does not fit. What is known may be old.
    Refused(Error),
    /// It fits at these places, one for each aggregate.
    Fits(Vec<Place>),
}

/// The place of the events of one aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The sequence of the last message of the aggregate, 0 if there is none.
    pub(crate) after: u64,
    /// The version of the first event.
    pub(crate) first: u64,
}

/// What is known of one aggregate's part of an append.
#[derive(Debug)]
enum Part {
    Stored(Appended),
    Fits(Place),
}

/// Judges an append to one or more aggregates, which is to be stored only if there is no event after the position `unchanged_since`.
pub(crate) fn judge(heads: &Heads, appends: &[RemoteAppend<'_>], unchanged_since: Option<Position>) -> Verdict {
    let parts = appends.iter().map(|append| judge_part(heads, append));
    let parts = match parts.collect::<Result<Vec<_>, Error>>() {
        Ok(parts) => parts,
        Err(error) => return Verdict::Refused(error),
    };
    let is_new =
        |(part, append): (&Part, &RemoteAppend<'_>)| matches!(part, Part::Fits(_)) && !append.events().is_empty();
    let has_new = parts.iter().zip(appends).any(is_new);
    match parts.iter().zip(appends).find_map(stored) {
        Some(known) if has_new => Verdict::Refused(known.into()),
        None if unchanged_since.is_some_and(|position| heads.position > position.0) => {
            let position = Position(heads.position);
            Verdict::Refused(Conflict::Condition { position }.into())
        }
        None if has_new => Verdict::Fits(parts.iter().map(Part::place).collect()),
        Some(_) | None => Verdict::Stored(acknowledgements(heads, &parts)),
    }
}

/// The acknowledgements of an append that was sent, if all of its events are stored. Its parts without events fitted when the server took the others: what
/// came to their aggregates since is no conflict.
pub(crate) fn settled(heads: &Heads, appends: &[RemoteAppend<'_>]) -> Option<Vec<Appended>> {
    let has_events = appends.iter().any(|append| !append.events().is_empty());
    let parts = appends.iter().map(|append| settled_part(heads, append));
    let parts = parts.collect::<Option<Vec<_>>>().filter(|_| has_events)?;
    Some(acknowledgements(heads, &parts))
}

fn settled_part(heads: &Heads, append: &RemoteAppend<'_>) -> Option<Part> {
    let head = heads.get(&append.stream().aggregate_id);
    if append.events().is_empty() {
        let version = match append.expected() {
            Expected::Exactly(version) => version.0,
            Expected::NoStream => 0,
            Expected::Any | Expected::StreamExists => head.map_or(0, |head| head.version),
        };
        let (after, first) = (0, version + 1);
        return Some(Part::Fits(Place { after, first }));
    }
    let head = head?;
    let known: Vec<_> = append.ids().iter().map(|id| heads.event(head, *id)).collect();
    whole(&known, append).map(Part::Stored)
}

/// The conflict of a part that is stored, if another one is not: what is stored is another append.
fn stored((part, append): (&Part, &RemoteAppend<'_>)) -> Option<Conflict> {
    let Part::Stored(appended) = part else { return None };
    Some(Conflict::EventKnown {
        stream: append.stream().clone(),
        id: *append.ids().first()?,
        version: appended.first_version,
        position: appended.first_position,
    })
}

/// A part without events ends where its aggregate ends.
fn acknowledgements(heads: &Heads, parts: &[Part]) -> Vec<Appended> {
    let acknowledge = |part: &Part| match part {
        Part::Stored(appended) => *appended,
        Part::Fits(place) => {
            let next = (Version(place.first), Position(heads.position + 1));
            let last = (Version(place.first - 1), Position(heads.position));
            Appended::new(next, last, Durability::Synced)
        }
    };
    parts.iter().map(acknowledge).collect()
}

impl Part {
    /// The place of a part that is not stored.
    fn place(&self) -> Place {
        match self {
            Self::Fits(place) => *place,
            Self::Stored(_) => Place { after: 0, first: 1 },
        }
    }
}

fn judge_part(heads: &Heads, append: &RemoteAppend<'_>) -> Result<Part, Error> {
    let stream = append.stream();
    let Some(head) = heads.get(&stream.aggregate_id) else {
        return judge_by_version(None, append);
    };
    if head.aggregate_type != stream.aggregate_type {
        return Err(of_another_type(head, append));
    }
    let known: Vec<_> = append.ids().iter().map(|id| heads.event(head, *id)).collect();
    if let Some(appended) = whole(&known, append) {
        return Ok(Part::Stored(appended));
    }
    let first = known
        .iter()
        .zip(append.ids())
        .find_map(|(known, id)| known.map(|known| (known, *id)));
    match first {
        Some((Known { version, position }, id)) if holds(append.expected(), head.version) => {
            Err(Error::from(Conflict::EventKnown {
                stream: stream.clone(),
                id,
                version: Version(version),
                position: Position(position),
            }))
        }
        Some(_) | None => judge_by_version(Some(head), append),
    }
}

fn judge_by_version(head: Option<&Head>, append: &RemoteAppend<'_>) -> Result<Part, Error> {
    let version = head.map_or(0, |head| head.version);
    if holds(append.expected(), version) {
        let after = head.map_or(0, |head| head.sequence);
        return Ok(Part::Fits(Place {
            after,
            first: version + 1,
        }));
    }
    Err(Error::from(Conflict::Version {
        stream: append.stream().clone(),
        expected: append.expected(),
        actual: Version(version),
        position: Position(head.map_or(0, |head| head.position)),
    }))
}

/// Whether an aggregate at `version` is as expected.
fn holds(expected: Expected, version: u64) -> bool {
    match expected {
        Expected::Any => true,
        Expected::NoStream => version == 0,
        Expected::StreamExists => version > 0,
        Expected::Exactly(expected) => expected.0 == version,
    }
}

/// The first acknowledgement, if all events are stored, consecutively, where this append would have put them.
fn whole(known: &[Option<Known>], append: &RemoteAppend<'_>) -> Option<Appended> {
    let first = (*known.first()?)?;
    let is_next = |(version, known): (u64, &Option<Known>)| known.is_some_and(|known| known.version == version);
    let last = (*known.last()?)?;
    let is_place = match append.expected() {
        Expected::Any | Expected::StreamExists => true,
        Expected::NoStream => first.version == 1,
        Expected::Exactly(version) => first.version == version.0.saturating_add(1),
    };
    if !is_place || !(first.version..).zip(known).all(is_next) {
        return None;
    }
    let place = |known: Known| (Version(known.version), Position(known.position));
    let mut appended = Appended::new(place(first), place(last), Durability::Synced);
    appended.repeated = append.has_own_ids();
    Some(appended)
}

fn of_another_type(head: &Head, append: &RemoteAppend<'_>) -> Error {
    let stream = append.stream();
    Error::Invalid {
        message: format!(
            "aggregate '{}' is of type '{}', not '{}': an id belongs to one type",
            stream.aggregate_id, head.aggregate_type, stream.aggregate_type
        )
        .into(),
    }
}

#[cfg(test)]
mod tests {
    use annals::{NewEvent, StreamId, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::heads::Append;
    use crate::message::{decode, encode};

    /// Heads of a stream with a message for each of these: the aggregate, the version of its one event, and the event's id.
    fn heads(messages: &[(&str, u64, u128)]) -> Heads {
        let mut heads = Heads::default();
        for (sequence, (id, version, event)) in (1..).zip(messages) {
            let (stream, events) = (StreamId::new("Order", *id), [NewEvent::new("Placed")]);
            let ids = [Uuid::from_u128(*event)];
            let append = RemoteAppend::new(&stream, Expected::Any, &events, &ids, true);
            let body = encode(&append, (1, 1), *version, Timestamp::from_micros(5)).unwrap();
            let parts = vec![decode(&body).unwrap().events];
            let bytes = body.len();
            heads.add_all(&Append { sequence, parts, bytes }).unwrap();
        }
        heads
    }

    #[test]
    fn a_stored_batch_was_a_conflict_of_its_part_without_events() {
        let (checked, written) = (StreamId::new("Order", "a"), StreamId::new("Order", "b"));
        let (events, ids) = ([NewEvent::new("Placed")], [Uuid::from_u128(2)]);
        let appends = [
            RemoteAppend::new(&checked, Expected::Exactly(Version(1)), &[], &[], true),
            RemoteAppend::new(&written, Expected::NoStream, &events, &ids, true),
        ];
        // Another process appends to the checked aggregate behind the batch.
        let after = heads(&[("a", 1, 1), ("b", 1, 2), ("a", 2, 3)]);
        let acknowledged = settled(&after, &appends).unwrap();
        let versions = acknowledged.iter().map(|appended| appended.last_version.0);
        assert_eq!(versions.collect::<Vec<_>>(), [1, 1]);
        assert_eq!(acknowledged[1].first_position, Position(2));
        assert!(
            matches!(judge(&after, &appends, None), Verdict::Refused(_)),
            "one that was not sent"
        );
        // Of a batch that did not arrive nothing is stored.
        let without = heads(&[("a", 1, 1), ("a", 2, 3)]);
        assert!(settled(&without, &appends).is_none());
        assert!(settled(&without, &appends[..1]).is_none(), "without events");
    }
}
