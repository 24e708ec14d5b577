//! Whether an append can be published, judged by what is known of the stream.

use annals::journal::RemoteAppend;
use annals::{Appended, Conflict, Durability, Error, Expected, Position, Version};

use crate::heads::{Head, Heads, Known};

/// What is to be done with an append.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Its events are stored.
    Stored(Appended),
    /// It does not fit. What is known may be old.
    Refused(Error),
    /// It fits behind the message `after` of its aggregate, 0 if there is none, and its first event gets the version `first`.
    Fits {
        /// A sequence.
        after: u64,
        /// A version.
        first: u64,
    },
}

/// Judges an append of one or more events.
pub(crate) fn judge(heads: &Heads, append: &RemoteAppend<'_>) -> Verdict {
    let stream = append.stream();
    let Some(head) = heads.get(&stream.aggregate_id) else {
        return judge_by_version(None, append);
    };
    if head.aggregate_type != stream.aggregate_type {
        return Verdict::Refused(of_another_type(head, append));
    }
    let known: Vec<_> = append.ids().iter().map(|id| heads.event(head, *id)).collect();
    if let Some(appended) = whole(&known, append) {
        return Verdict::Stored(appended);
    }
    let first = known
        .iter()
        .zip(append.ids())
        .find_map(|(known, id)| known.map(|known| (known, *id)));
    match first {
        Some((Known { version, position }, id)) if holds(append.expected(), head.version) => {
            Verdict::Refused(Error::from(Conflict::EventKnown {
                stream: stream.clone(),
                id,
                version: Version(version),
                position: Position(position),
            }))
        }
        Some(_) | None => judge_by_version(Some(head), append),
    }
}

fn judge_by_version(head: Option<&Head>, append: &RemoteAppend<'_>) -> Verdict {
    let version = head.map_or(0, |head| head.version);
    if holds(append.expected(), version) {
        let after = head.map_or(0, |head| head.sequence);
        return Verdict::Fits {
            after,
            first: version + 1,
        };
    }
    Verdict::Refused(Error::from(Conflict::Version {
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
