//! The content of system events: written when an aggregate is changed, and parsed at recovery.

use std::time::Duration;

use crate::settings::NAME_BYTES_MAX;
use crate::{EventRef, GapReason, Name, NewEvent, StreamLimits, Version};

/// The type of events that replace lost events.
pub(crate) const LOST: &str = "$lost";
/// The type of events that are snapshots.
pub(crate) const SNAPSHOTTED: &str = "$snapshotted";

/// The type of events that record a command.
pub(crate) const COMMAND: &str = "$command";

/// The prefix of the system stream of the commands to an aggregate, before the aggregate's id.
const COMMANDS: &str = "$$command:";

/// The prefix of the system stream of an aggregate's snapshots, before the aggregate's id. No aggregate id begins with `$`, so no
/// [stream of changes](change_stream) has such a name.
const SNAPSHOTS: &str = "$$snapshot:";

/// Maximum bytes of a stream's id: of an aggregate, or of a system stream about it.
pub(crate) const STREAM_BYTES_MAX: usize = NAME_BYTES_MAX + SNAPSHOTS.len();

/// The system stream of an aggregate's changes.
pub(crate) fn change_stream(aggregate_id: &str) -> Name {
    format!("${aggregate_id}").into()
}

/// The system stream of an aggregate's snapshots.
pub(crate) fn snapshot_stream(aggregate_id: &str) -> Name {
    format!("{SNAPSHOTS}{aggregate_id}").into()
}

/// The system stream of the commands to an aggregate; with an empty id, of the commands to none.
#[cfg(feature = "audit")]
pub(crate) fn command_stream(aggregate_id: &str) -> Name {
    format!("{COMMANDS}{aggregate_id}").into()
}

/// The aggregate of a stream: of its own stream, or of a system stream about it.
pub(crate) fn target(stream: &str) -> &str {
    let Some(rest) = stream.strip_prefix('$') else {
        return stream;
    };
    stream.strip_prefix(SNAPSHOTS).unwrap_or(rest)
}

/// Whether events of a type record a change of an aggregate, or a lost position: replay needs them.
pub(crate) fn is_change(event_type: &str) -> bool {
    event_type.starts_with('$') && event_type != SNAPSHOTTED && event_type != COMMAND
}

/// Whether a stream is a system stream of commands.
pub(crate) fn is_command_stream(stream: &str) -> bool {
    stream.starts_with(COMMANDS)
}

/// Whether a stream is a system stream of snapshots.
pub(crate) fn is_snapshot_stream(stream: &str) -> bool {
    stream.starts_with(SNAPSHOTS)
}

/// A change of an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Its events up to this version are dropped.
    Truncate(u64),
    /// Its events up to a version are dropped after they were moved to an archive.
    Archive {
        to_version: u64,
        archive: Name,
        /// The archived events happened before this time, and the first retained one did not: microseconds since 1970. Earlier versions
        /// did not record it.
        before: Option<i64>,
    },
    Delete,
    Tombstone,
    Limit(StreamLimits),
}

/// The content of a system event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SystemEvent {
    Changed {
        change: Change,
        /// The version up to which events had expired before, if recorded: it depended on the clock and cannot be
        /// recomputed.
        gone_to: Option<u32>,
    },
    /// The original event at its position is lost.
    Lost,
    /// A snapshot, which replaces earlier ones.
    Snapshot {
        /// How many are retained, this one included; at least 1.
        keep: u32,
    },
    /// The record of a command, which changes nothing.
    Command,
}

impl Change {
    /// The system event that records the change.
    pub(crate) fn event(&self, gone_to: Option<u32>) -> NewEvent<'static> {
        let (event_type, mut parts) = match self {
            Self::Truncate(version) => ("$truncated", vec![format!("\"toVersion\":{version}")]),
            Self::Archive {
                to_version,
                archive,
                before,
            } => {
                let mut parts = vec![
                    format!("\"toVersion\":{to_version}"),
                    format!("\"archive\":\"{archive}\""),
                ];
                parts.extend(before.map(|micros| format!("\"beforeMicros\":{micros}")));
                ("$archived", parts)
            }
            Self::Delete => ("$deleted", Vec::new()),
            Self::Tombstone => ("$tombstoned", Vec::new()),
            Self::Limit(limits) => ("$limited", limits_json(limits)),
        };
        parts.extend(gone_to.map(|version| format!("\"goneTo\":{version}")));
        NewEvent::new(event_type).data(format!("{{{}}}", parts.join(",")))
    }

    /// The reason for the gaps of the dropped events.
    pub(crate) fn reason(&self, id: &str) -> GapReason {
        match self {
            Self::Truncate(_) => GapReason::Truncated(id.into()),
            Self::Archive { archive, .. } => GapReason::Archived(archive.clone()),
            Self::Delete | Self::Tombstone => GapReason::Deleted(id.into()),
            Self::Limit(_) => GapReason::Limit(id.into()),
        }
    }
}

fn limits_json(limits: &StreamLimits) -> Vec<String> {
    let count = limits.max_count.map(|count| format!("\"maxCount\":{count}"));
    let seconds = limits.max_age.map(|age| age.as_secs_f64());
    let age = seconds.map(|age| format!("\"maxAgeSeconds\":{age}"));
    [count, age].into_iter().flatten().collect()
}

/// The metadata of a snapshot: the version of the last event that it includes, and how many snapshots are retained if more than one.
pub(crate) fn snapshot_json(version: Version, keep: u32) -> String {
    if keep > 1 {
        format!("{{\"version\":{version},\"keep\":{keep}}}")
    } else {
        format!("{{\"version\":{version}}}")
    }
}

/// Parses the number of retained snapshots written by [`snapshot_json`].
fn snapshot_keep(metadata: &[u8]) -> u32 {
    let keep = str::from_utf8(metadata)
        .ok()
        .and_then(|text| number(text, "keep")?.parse().ok());
    keep.unwrap_or(1).max(1)
}

/// Parses the version written by [`snapshot_json`].
pub(crate) fn snapshot_version(metadata: &[u8]) -> Option<Version> {
    let version = number(str::from_utf8(metadata).ok()?, "version")?;
    version.parse().ok().map(Version)
}

/// Whether an event is in a stream of the wrong kind: once purged, its mark could not be read.
pub(crate) fn is_misplaced(event: EventRef<'_>) -> bool {
    let id = event.aggregate_id();
    if event.is_snapshot() {
        return !is_snapshot_stream(id);
    }
    if event.is_system() && event.event_type() == COMMAND {
        return !is_command_stream(id);
    }
    !event.is_system() && id.starts_with('$')
}

/// Parses a system event; `None` if this version does not know its type.
pub(crate) fn parse(event: EventRef<'_>) -> Option<SystemEvent> {
    if event.is_snapshot() {
        // Its data is the caller's: any bytes.
        let keep = snapshot_keep(event.metadata());
        return Some(SystemEvent::Snapshot { keep });
    }
    parse_change(event.event_type(), str::from_utf8(event.data()).ok()?)
}

fn parse_change(event_type: &str, data: &str) -> Option<SystemEvent> {
    let to_version = || number(data, "toVersion")?.parse().ok();
    let change = match event_type {
        "$truncated" => Change::Truncate(to_version()?),
        "$archived" => Change::Archive {
            to_version: to_version()?,
            archive: text(data, "archive")?.into(),
            before: number(data, "beforeMicros").and_then(|text| text.parse().ok()),
        },
        "$deleted" => Change::Delete,
        "$tombstoned" => Change::Tombstone,
        "$limited" => Change::Limit(limits(data)),
        LOST => return Some(SystemEvent::Lost),
        COMMAND => return Some(SystemEvent::Command),
        _ => return None,
    };
    let gone_to = number(data, "goneTo").and_then(|text| text.parse().ok());
    Some(SystemEvent::Changed { change, gone_to })
}

fn limits(data: &str) -> StreamLimits {
    let age = number(data, "maxAgeSeconds").and_then(|text| text.parse().ok());
    StreamLimits {
        max_count: number(data, "maxCount").and_then(|text| text.parse().ok()),
        max_age: age.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
    }
}

/// The number of `key` in a JSON object written by the store, without spaces.
fn number<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = object.split_once(&format!("\"{key}\":"))?;
    rest.split([',', '}']).next()
}

/// The text of `key`, which has no escapes.
fn text<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = object.split_once(&format!("\"{key}\":\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changes() -> impl Strategy<Value = Change> {
        let archive = ("[a-zø. :,}{]{1,20}", any::<u64>(), prop::option::of(any::<i64>()));
        let limits = (prop::option::of(any::<u64>()), prop::option::of(0..u64::from(u32::MAX)));
        prop_oneof![
            any::<u64>().prop_map(Change::Truncate),
            archive.prop_map(|(archive, to_version, before)| Change::Archive {
                to_version,
                archive: archive.as_str().into(),
                before,
            }),
            Just(Change::Delete),
            Just(Change::Tombstone),
            limits.prop_map(|(max_count, millis)| Change::Limit(StreamLimits {
                max_count,
                max_age: millis.map(Duration::from_millis),
            })),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(change in changes(), gone_to in prop::option::of(any::<u32>())) {
            let event = change.event(gone_to);
            let data = str::from_utf8(&event.data).expect("text");
            prop_assert_eq!(parse_change(&event.event_type, data), Some(SystemEvent::Changed { change, gone_to }));
        }

        #[test]
        fn streams_of_the_system_name_their_aggregate(id in "[a-z0-9: ][a-z0-9:$ ]{0,20}", version in any::<u64>(), keep in any::<u32>()) {
            for stream in [change_stream(&id), snapshot_stream(&id), id.as_str().into()] {
                prop_assert_eq!(target(&stream), id.as_str());
            }
            let metadata = snapshot_json(Version(version), keep);
            prop_assert_eq!(snapshot_version(metadata.as_bytes()), Some(Version(version)));
            prop_assert_eq!(snapshot_keep(metadata.as_bytes()), keep.max(1));
        }
    }
}
