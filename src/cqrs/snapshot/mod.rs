//! Snapshots of aggregates: saved by policy, recognized by the shape of the state, and never trusted blindly.

mod fingerprint;
mod policy;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use self::fingerprint::fingerprint;
pub(super) use self::policy::Since;
pub use self::policy::SnapshotPolicy;
use super::codec::DerivedData;
use super::{Aggregate, Loaded};
use crate::{Durability, Error, NewSnapshot, Position, Snapshot, Store, Version};

/// What snapshots did for the aggregates of a handle and of its clones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotCounts {
    /// Snapshots saved.
    pub saved: u64,
    /// Snapshots that the store refused after a command, for example because its budget is full. The command itself had succeeded.
    pub refused: u64,
    /// Loads that began at a snapshot.
    pub used: u64,
    /// Snapshots ignored because the state has another shape now, or another [version](SnapshotPolicy::state_version). The load read all events instead.
    pub outdated: u64,
    /// Snapshots ignored because they do not decode. The load read all events instead.
    pub unreadable: u64,
}

#[derive(Debug, Default)]
struct Counters {
    saved: AtomicU64,
    refused: AtomicU64,
    used: AtomicU64,
    outdated: AtomicU64,
    unreadable: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How the states of an aggregate type are saved and read.
pub(super) struct Snapshots<A> {
    policy: SnapshotPolicy,
    schema_version: u32,
    write: fn(&A) -> serde_json::Result<Vec<u8>>,
    read: fn(&[u8]) -> serde_json::Result<A>,
    counters: Counters,
}

impl<A> fmt::Debug for Snapshots<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots")
            .field("policy", &self.policy)
            .field("schema_version", &self.schema_version)
            .finish_non_exhaustive()
    }
}

/// The schema version of the snapshots of `A`: it depends on the shape of the state, the aggregate type, and the version that the policy gives.
fn schema_version<A: Aggregate + DeserializeOwned>(policy: SnapshotPolicy) -> u32 {
    let shape = format!("{} {} {}", fingerprint::<A>(), policy.state_version, A::TYPE);
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, shape.as_bytes()).as_u128();
    // From 2, since snapshots without a fingerprint have version 1, to the end of PostgreSQL's `integer`.
    2 + (hash % (i32::MAX as u128 - 2)) as u32
}

impl<A: Aggregate + Serialize + DeserializeOwned> Snapshots<A> {
    pub(super) fn new(policy: SnapshotPolicy) -> Self {
        Self {
            policy,
            schema_version: schema_version::<A>(policy),
            write: |state| serde_json::to_vec(state),
            read: |data| serde_json::from_slice(data),
            counters: Counters::default(),
        }
    }
}

impl<A: Aggregate> Snapshots<A> {
    /// The state in the latest usable snapshot whose version is at most `until`.
    pub(super) fn load(
        &self,
        store: &Store,
        id: &str,
        until: Version,
        derived: Option<&dyn DerivedData>,
    ) -> Option<Loaded<A>> {
        let snapshot = store.snapshot_until(id, until)?;
        // Events that the state lacks are gone: the load has to say so.
        if snapshot.missing > 0 {
            return None;
        }
        let loaded = self.read(&snapshot, derived)?;
        count(&self.counters.used);
        Some(loaded)
    }

    fn read(&self, snapshot: &Snapshot, derived: Option<&dyn DerivedData>) -> Option<Loaded<A>> {
        if snapshot.schema_version != self.schema_version {
            count(&self.counters.outdated);
            return None;
        }
        let opened = match derived {
            Some(derived) => str::from_utf8(&snapshot.data)
                .ok()
                .and_then(|sealed| derived.open(sealed))
                .map(Cow::Owned),
            None => Some(Cow::Borrowed(&*snapshot.data)),
        };
        let Some(state) = opened.and_then(|data| (self.read)(&data).ok()) else {
            count(&self.counters.unreadable);
            return None;
        };
        Some(Loaded {
            state,
            version: snapshot.version,
            folded: 0,
        })
    }

    /// Saves the state if the policy says so. A refusal is counted: the command that led to the state has succeeded.
    pub(super) fn save_if_due(
        &self,
        store: &Store,
        id: &str,
        loaded: &Loaded<A>,
        since: &Since,
        derived: Option<&dyn DerivedData>,
    ) {
        if self.policy.is_due(since, store.now()) {
            drop(self.save(store, id, loaded, since.epoch, derived));
        }
    }

    /// Saves the state, which was loaded in `epoch`. The call does not wait until it is durable.
    pub(super) fn save(
        &self,
        store: &Store,
        id: &str,
        loaded: &Loaded<A>,
        epoch: Option<Uuid>,
        derived: Option<&dyn DerivedData>,
    ) -> Result<Position, Error> {
        let write = || {
            let data = (self.write)(&loaded.state).map_err(|error| unwritable::<A>(id, &error))?;
            // A state that can be written and never read would make every load read all events.
            (self.read)(&data).map_err(|error| unwritable::<A>(id, &error))?;
            let data = match derived {
                Some(derived) => seal::<A>(derived, epoch, id, &data)?,
                None => data,
            };
            let snapshot = NewSnapshot::new(loaded.version)
                .schema_version(self.schema_version)
                .keep(self.policy.keep)
                .data(data);
            store.with_durability(Durability::Volatile)?.save_snapshot(id, snapshot)
        };
        let saved = write();
        count(if saved.is_ok() {
            &self.counters.saved
        } else {
            &self.counters.refused
        });
        saved
    }

    pub(super) fn counts(&self) -> SnapshotCounts {
        let Counters {
            saved,
            refused,
            used,
            outdated,
            unreadable,
        } = &self.counters;
        let [saved, refused, used, outdated, unreadable] =
            [saved, refused, used, outdated, unreadable].map(|counter| counter.load(Ordering::Relaxed));
        SnapshotCounts {
            saved,
            refused,
            used,
            outdated,
            unreadable,
        }
    }
}

/// The state as it is stored where the codec hides data.
fn seal<A: Aggregate>(derived: &dyn DerivedData, epoch: Option<Uuid>, id: &str, data: &[u8]) -> Result<Vec<u8>, Error> {
    let sealed = epoch
        .ok_or_else(|| "the keys could not be read when it was loaded".to_owned())
        .and_then(|epoch| derived.seal(epoch, data));
    sealed.map(String::into_bytes).map_err(|error| {
        Error::invalid(format!(
            "the state of aggregate '{id}' of type '{}' cannot be encrypted for a snapshot: {error}",
            A::TYPE
        ))
    })
}

fn unwritable<A: Aggregate>(id: &str, error: &serde_json::Error) -> Error {
    Error::invalid(format!(
        "the state of aggregate '{id}' of type '{}' cannot be saved as a snapshot: {error}",
        A::TYPE
    ))
}
