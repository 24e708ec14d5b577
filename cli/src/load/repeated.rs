//! Events that a server had already when they were sent: what it stores, and whether that is the same.

use std::borrow::Cow;
use std::collections::HashMap;

use annals::{Append, Appended, Event, Name, NewEvent, Query, Version};
use annals_server::{Client, ClientError};

use crate::load::BadLine;

/// Positions that are read for each event, at most; otherwise the events are read aggregate by aggregate.
const POSITIONS_AN_EVENT: u64 = 4;

/// Events that a server stores, by aggregate and version.
#[derive(Debug, Default)]
pub(crate) struct Stored(HashMap<(Name, Version), Event>);

impl Stored {
    /// Reads the events of the parts that were repeated.
    pub(crate) fn read(client: &Client, appends: &[Append<'_>], appended: &[Appended]) -> Result<Self, ClientError> {
        let parts = || {
            let parts = appends.iter().zip(appended);
            parts.filter(|(_, appended)| appended.repeated)
        };
        let events: usize = parts().map(|(append, _)| append.events.len()).sum();
        let first = parts().map(|(_, appended)| appended.first_position).min();
        let last = parts().map(|(_, appended)| appended.last_position).max();
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(Self::default());
        };
        let mut stored = Self::default();
        if last.0 - first.0 < POSITIONS_AN_EVENT * events as u64 {
            let after = annals::Position(first.0.saturating_sub(1));
            stored.add(client.query(Query::all().after(after).until(last)))?;
            return Ok(stored);
        }
        for (append, appended) in parts() {
            let id = &append.stream.aggregate_id;
            let read = client.read_stream(id, appended.first_version);
            stored.add(read.take(append.events.len()))?;
        }
        Ok(stored)
    }

    fn add(&mut self, events: impl Iterator<Item = Result<Event, ClientError>>) -> Result<(), ClientError> {
        for event in events {
            let event = event?;
            self.0.insert((event.stream_id().aggregate_id, event.version()), event);
        }
        Ok(())
    }

    /// The event of an aggregate at a version; `None` if it was dropped meanwhile.
    pub(crate) fn at(&self, aggregate_id: &Name, version: Version) -> Option<&Event> {
        self.0.get(&(aggregate_id.clone(), version))
    }
}

/// Whether the stored event has the same contents as the one that was sent.
///
/// # Errors
///
/// The reason, if it has others.
pub(crate) fn check_same(stored: &Event, sent: &NewEvent<'_>) -> Result<(), BadLine> {
    if plain(stored.to_new()) == plain(sent.clone()) {
        return Ok(());
    }
    Err(BadLine(format!(
        "eventId {} is already that of another event of '{}', which says something else",
        stored.id(),
        stored.aggregate_id()
    )))
}

/// The event without spaces between the tokens of its JSON, which a server does not return as they were.
fn plain(mut event: NewEvent<'_>) -> NewEvent<'_> {
    for bytes in [&mut event.metadata, &mut event.data] {
        if serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok() {
            *bytes = Cow::Owned(without_space(bytes));
        }
    }
    event
}

fn without_space(json: &[u8]) -> Vec<u8> {
    let (mut is_text, mut is_escaped) = (false, false);
    let mut kept = json.to_vec();
    kept.retain(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_text ^= is_end;
        is_escaped = is_text && *byte == b'\\' && !is_escaped;
        is_text || !byte.is_ascii_whitespace()
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_in_texts_were_lost() {
        let of = |json: &str| String::from_utf8(without_space(json.as_bytes())).unwrap_or_default();
        assert_eq!(
            of("{ \"a b\" : [1, 2],\n\"c\\\" d\": \" \\\\\" , \"e\": 1 }"),
            "{\"a b\":[1,2],\"c\\\" d\":\" \\\\\",\"e\":1}"
        );
    }
}
