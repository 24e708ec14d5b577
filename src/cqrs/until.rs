//! The end of a load: now, a version or a time.

use crate::event::system::change_stream;
use crate::{AsOf, Position, Store, StreamRead, Version};

/// How far the events of an aggregate are folded.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Now,
    Version(Version),
    AsOf(AsOf),
}

impl Until {
    pub(super) fn read<'a>(self, store: &'a Store, id: &str, after: Version) -> StreamRead<'a> {
        let read = store.read_stream(id).after(after);
        match self {
            Self::Now => read,
            // Events may be gone before the first: those that are later than this version are left out by the fold.
            Self::Version(version) => {
                let events = version.0.saturating_sub(after.0);
                read.limit(usize::try_from(events).unwrap_or(usize::MAX))
            }
            Self::AsOf(as_of) => read.as_of(as_of),
        }
    }

    pub(super) fn includes(self, version: Version) -> bool {
        match self {
            Self::Version(last) => version <= last,
            Self::Now | Self::AsOf(_) => true,
        }
    }

    /// The last version that may be in a snapshot to begin at.
    pub(super) fn last_of_snapshot(self, store: &Store, id: &str) -> Version {
        match self {
            Self::Now => Version(u64::MAX),
            Self::Version(version) => version,
            Self::AsOf(as_of) => {
                let last = store.read_stream(id).as_of(as_of).backwards().limit(1);
                last.fold(Version(0), |_, event| event.version())
            }
        }
    }

    /// Whether the last deletion of the aggregate, of the events up to version `deleted_to`, came later.
    pub(super) fn is_before_deletion(self, store: &Store, id: &str, deleted_to: Version) -> bool {
        match self {
            Self::Now => false,
            Self::Version(version) => version <= deleted_to,
            Self::AsOf(as_of) => {
                let changes = change_stream(id);
                let changes = store.read_stream(&changes);
                last_deletion(&changes) != last_deletion(&changes.clone().as_of(as_of))
            }
        }
    }
}

fn last_deletion(changes: &StreamRead<'_>) -> Option<Position> {
    changes.fold(None, |last, change| match change.event_type() {
        "$deleted" => Some(change.position()),
        _ => last,
    })
}
