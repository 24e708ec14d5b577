//! Requests and answers of `KurrentDB`.

use std::fmt::Display;
use std::time::Duration;

use annals::{Expected, Version};
use kurrentdb::{
    Client, ClientSettings, Error, EventData, Position, ReadStream, RecordedEvent, StreamPosition, StreamState,
};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{OrFailed as _, runtime};
use crate::store::{NewEvent, Result, StoreError};

/// The time limit of the first response.
const CONNECT: Duration = Duration::from_secs(5);
/// The time limit of a response, and of each of its events.
pub(in crate::backends) const ANSWER: Duration = Duration::from_secs(60);

/// Connects to the server at `url`, and waits for its first answer.
pub(in crate::backends) fn connected(url: &str) -> Result<(Runtime, Client)> {
    let missing = |error: &dyn Display| {
        let words = error.to_string();
        let words: Vec<&str> = words.split_whitespace().collect();
        StoreError::Failed(format!("no KurrentDB at {url}: {}", words.join(" ")))
    };
    let settings: ClientSettings = url.parse().map_err(|error| missing(&error))?;
    let runtime = runtime(2)?;
    let client = Client::with_runtime_handle(runtime.handle().clone(), settings);
    let client = client.map_err(|error| missing(&error))?;
    let asked = runtime.block_on(async { timeout(CONNECT, client.server_info()).await });
    let silent = |_| missing(&format_args!("no answer within {CONNECT:?}"));
    asked.map_err(silent)?.map_err(|error| missing(&error))?;
    Ok((runtime, client))
}

/// Revisions begin at 0, and versions at 1.
pub(in crate::backends) fn state(expected: Expected) -> StreamState {
    match expected {
        Expected::Any => StreamState::Any,
        Expected::StreamExists => StreamState::StreamExists,
        Expected::NoStream | Expected::Exactly(Version(0)) => StreamState::NoStream,
        Expected::Exactly(version) => StreamState::StreamRevision(version.0 - 1),
    }
}

/// The version of the first of `count` events, of which the last one has `revision`.
pub(in crate::backends) fn first(revision: u64, count: usize) -> Version {
    Version(revision.saturating_add(2).saturating_sub(count as u64))
}

pub(in crate::backends) fn refused(error: &Error) -> StoreError {
    if matches!(error, Error::WrongExpectedVersion { .. }) {
        return StoreError::Conflict;
    }
    StoreError::Failed(error.to_string())
}

pub(in crate::backends) fn sent(event: &NewEvent<'_>) -> Result<EventData> {
    let data: &RawValue = serde_json::from_slice(event.data).or_failed()?;
    let metadata = json!({ "$correlationId": event.correlation, "time": event.micros });
    let sent = EventData::json(event.event_type, &data).or_failed()?;
    sent.metadata_as_json(&metadata).or_failed()
}

/// Where a read of all streams begins, with the event at that position.
pub(in crate::backends) fn beginning(after: u64) -> StreamPosition<Position> {
    match after {
        0 => StreamPosition::Start,
        commit => StreamPosition::Position(Position {
            commit,
            prepare: commit,
        }),
    }
}

/// Passes each event to `look` until that returns false. A stream that does not exist has no events.
pub(in crate::backends) async fn shown(
    found: Result<ReadStream, Error>,
    mut look: impl FnMut(&RecordedEvent) -> bool,
) -> Result<()> {
    let mut found = match found {
        Err(Error::ResourceNotFound) => return Ok(()),
        found => found.map_err(|error| refused(&error))?,
    };
    loop {
        match timeout(ANSWER, found.next()).await.or_failed()? {
            Err(Error::ResourceNotFound) | Ok(None) => return Ok(()),
            Err(error) => return Err(refused(&error)),
            Ok(Some(next)) => {
                if next.event.as_ref().is_some_and(|event| !look(event)) {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kurrentdb::CurrentRevision;

    use super::*;

    #[test]
    fn a_version_was_another_revision() {
        assert_eq!(state(Expected::Any), StreamState::Any);
        assert_eq!(state(Expected::StreamExists), StreamState::StreamExists);
        assert_eq!(state(Expected::NoStream), StreamState::NoStream);
        assert_eq!(state(Expected::Exactly(Version(0))), StreamState::NoStream);
        assert_eq!(state(Expected::Exactly(Version(1))), StreamState::StreamRevision(0));
        // The first event of a stream, three after it, and numbers that no server sends.
        let firsts = [first(0, 1), first(3, 3), first(0, 9), first(u64::MAX, 1)];
        assert_eq!(firsts, [1, 2, 0, u64::MAX - 1].map(Version));
        assert_eq!(beginning(0), StreamPosition::Start);
        let position = Position { commit: 7, prepare: 7 };
        assert_eq!(beginning(7), StreamPosition::Position(position));
    }

    #[test]
    fn another_refusal_was_a_conflict() {
        let conflict = Error::WrongExpectedVersion {
            expected: StreamState::NoStream,
            current: CurrentRevision::Current(3),
        };
        assert_eq!(refused(&conflict), StoreError::Conflict);
        for error in [
            Error::DeadlineExceeded,
            Error::ResourceAlreadyExists,
            Error::ResourceDeleted,
        ] {
            assert!(matches!(refused(&error), StoreError::Failed(_)));
        }
    }

    #[test]
    fn data_that_is_not_json_was_sent() {
        let mut event = NewEvent {
            event_type: "Paid",
            correlation: "c",
            causation: "",
            micros: 1,
            data: br#"{ "amount": 1 }"#,
        };
        assert!(sent(&event).is_ok());
        event.data = b"{";
        assert!(matches!(sent(&event), Err(StoreError::Failed(_))));
    }

    fn failure(url: &str) -> String {
        let error = connected(url).err().unwrap().to_string();
        let is_clear = error.starts_with(&format!("no KurrentDB at {url}: ")) && error.lines().count() == 1;
        assert!(is_clear, "{error}");
        error
    }

    #[test]
    fn a_server_that_is_not_there_or_silent_was_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let silent = failure(&format!("kurrentdb://{address}?tls=false"));
        assert!(silent.contains("no answer within 5s"), "{silent}");
        drop(listener);
        let gone = failure(&format!("esdb://{address}?tls=false"));
        assert!(gone.to_lowercase().contains("connect"), "{gone}");
        assert!(failure("kurrentdb://?tls=false").contains("host"));
    }
}
