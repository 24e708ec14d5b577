//! Changing an aggregate: truncation, deletion, limits. Each writes a system event and drops events.

use crate::event::system::Change;
use crate::settings::WhenBehind;
use crate::store::core::ShardWrite;
use crate::store::retention::budget::Cost;
use crate::store::retention::dropping::surplus;
use crate::store::retention::snapshot::snapshots_of;
use crate::store::streams::shard::Shard;
use crate::store::streams::stream::{Policy, Stream};
use crate::store::{Engine, Store};
use crate::{Conflict, Durability, Error, Expected, GapReason, Name, Position, Result, StreamLimits, Version};

/// A change whose system event is in the log.
struct Begun {
    position: u64,
    /// The drop that waits until readers see the event.
    to_drop: Option<ToDrop>,
}

/// Events of an aggregate up to a version, and its snapshots.
struct ToDrop {
    hash: u64,
    id: Name,
    version: u32,
    /// The version up to which snapshots are dropped, if any are.
    snapshots: Option<u32>,
}

/// Marks a stream as changed. Returns the events to drop.
fn mark(shard: &mut Shard, hash: u64, key: u32, change: &Change) -> ToDrop {
    let goes_whole = matches!(change, Change::Delete | Change::Tombstone);
    let snapshots = goes_whole.then(|| snapshots_of(shard, hash, &shard.stream(key).id));
    let snapshots = snapshots.flatten();
    ToDrop {
        hash,
        id: shard.stream(key).id.clone(),
        version: mark_stream(shard.stream_mut(key), change),
        snapshots: snapshots.map(|snapshots| shard.stream(snapshots).version),
    }
}

/// Marks a stream as changed. Returns the version up to which to drop its events.
fn mark_stream(stream: &mut Stream, change: &Change) -> u32 {
    match change {
        Change::Truncate(version)
        | Change::Archive {
            to_version: version, ..
        } => u32::try_from(*version).unwrap_or(u32::MAX).min(stream.version),
        Change::Delete => {
            stream.deleted_to = stream.version;
            stream.version
        }
        Change::Tombstone => {
            stream.tombstoned = true;
            stream.version
        }
        Change::Limit(limits) => {
            let any = limits.max_count.is_some() || limits.max_age.is_some();
            let policy = Policy {
                limits: *limits,
                due: None,
            };
            stream.policy = any.then(|| Box::new(policy));
            surplus(stream).unwrap_or(0)
        }
    }
}

/// The version up to which a stream's events are dropped, if an age limit may have dropped them.
fn gone_by_age(stream: &Stream) -> Option<u32> {
    let ages = stream.limits().max_age.is_some() && stream.dropped_to > 0;
    ages.then_some(stream.dropped_to)
}

impl Store {
    /// Drops the events of an aggregate before `version` from all reads. Its version does not change.
    ///
    /// Returns the position of the system event that records the truncation.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the aggregate is unknown; [`Error::Deleted`] if it has a tombstone; [`Error::Backlog`] if the journal's
    /// backlog is full and the settings are to refuse; [`Error::Closed`]; the journal's error if it has failed.
    pub fn truncate_before(&self, aggregate_id: &str, version: Version) -> Result<Position> {
        let change = Change::Truncate(version.0.saturating_sub(1));
        self.engine()
            .change(aggregate_id, Expected::Any, &change, self.acknowledge)
    }

    /// Deletes an aggregate softly: drops its events. Later appends continue its versions.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the aggregate's version does not match `expected`; otherwise as [`truncate_before`](Self::truncate_before).
    pub fn delete(&self, aggregate_id: &str, expected: Expected) -> Result<Position> {
        self.engine()
            .change(aggregate_id, expected, &Change::Delete, self.acknowledge)
    }

    /// Deletes an aggregate permanently: drops its events, and later appends fail.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete).
    pub fn tombstone(&self, aggregate_id: &str, expected: Expected) -> Result<Position> {
        self.engine()
            .change(aggregate_id, expected, &Change::Tombstone, self.acknowledge)
    }

    /// Sets the limits of an aggregate, for existing and later events.
    ///
    /// Events expire by their timestamp. They are dropped from the first on, up to the first that has not expired.
    ///
    /// # Errors
    ///
    /// As [`truncate_before`](Self::truncate_before).
    pub fn set_limits(&self, aggregate_id: &str, limits: StreamLimits) -> Result<Position> {
        self.engine()
            .change(aggregate_id, Expected::Any, &Change::Limit(limits), self.acknowledge)
    }
}

impl Engine {
    pub(in crate::store) fn change(
        &self,
        id: &str,
        expected: Expected,
        change: &Change,
        acknowledge: Durability,
    ) -> Result<Position> {
        self.check_changes()?;
        if let Some(flushing) = &self.flushing {
            // The event's length depends on the stream, but it is short: it only needs a backlog that is not full.
            flushing.reserve(self, Cost::default())?;
        }
        // A fork has the change and its drop, or neither.
        let _whole = self.retention.changing.read();
        let begun = self.begin_change(id, expected, change)?;
        // A drop cannot be undone, so it waits until the change has the durability of the store.
        self.acknowledge(begun.position, acknowledge)?;
        self.end_change(&begun, change.reason(id));
        Ok(Position(begun.position))
    }

    /// The same for many aggregates, with one wait for the journal. Aggregates with a tombstone are skipped.
    pub(in crate::store) fn change_all(&self, changes: &[(&str, Change)]) -> Result<()> {
        let _whole = self.retention.changing.read();
        let mut begun = Vec::with_capacity(changes.len());
        let mut failed = None;
        for (id, change) in changes {
            match self
                .await_room()
                .and_then(|()| self.begin_change(id, Expected::Any, change))
            {
                Ok(one) => begun.push((one, change.reason(id))),
                Err(Error::Deleted { .. }) => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some((last, _)) = begun.last() {
            self.acknowledge(last.position, Durability::Volatile)?;
        }
        for (one, reason) in begun {
            self.end_change(&one, reason);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Waits for room in the journal's backlog, even if the settings are to refuse: the first of many changes could fill it for the others.
    fn await_room(&self) -> Result<()> {
        let flushing = self.flushing.as_ref();
        flushing.map_or(Ok(()), |flushing| {
            flushing.admit_or(self, Cost::default(), WhenBehind::Wait)
        })
    }

    /// Appends the system event, and drops its events if readers see it at once.
    fn begin_change(&self, id: &str, expected: Expected, change: &Change) -> Result<Begun> {
        self.expire_due();
        if id.starts_with('$') {
            return Err(Error::invalid(format!(
                "aggregate id '{id}' begins with '$': such names are the system's"
            )));
        }
        let hash = self.core.hash(id);
        let mut guard = self.core.write(self.core.shard_of(hash));
        self.check_open()?;
        let key = Self::check_change(&guard, hash, id, expected)?;
        // Limits on names or payloads are not checked: none may prevent a deletion.
        let event = change.event(gone_by_age(guard.stream(key)));
        let position = self.append_change(&mut guard, id, &event);
        // The event may create its stream, and a new stream moves others.
        let key = guard.find(hash, id).unwrap_or(key);
        let to_drop = if self.core.log.visibility() == Durability::Volatile {
            self.carry_out(&mut guard, key, change, id);
            None
        } else {
            Some(mark(guard.write(), hash, key, change))
        };
        drop(guard);
        self.core.log.announce();
        Ok(Begun { position, to_drop })
    }

    /// Drops the events of a change, if that had to wait.
    fn end_change(&self, begun: &Begun, reason: GapReason) {
        if let Some(to_drop) = &begun.to_drop {
            let mut guard = self.core.write(self.core.shard_of(to_drop.hash));
            self.drop_changed(&mut guard, to_drop, reason);
        }
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] if the store follows.
    pub(in crate::store) fn check_changes(&self) -> Result<()> {
        if self.following.is_none() {
            return Ok(());
        }
        Err(Error::invalid(
            "a store that follows cannot change an aggregate: open the store as its writer to truncate, delete, limit, archive or take snapshots",
        ))
    }

    /// Marks a stream as changed, and drops its events. The system event is in the log already.
    pub(crate) fn carry_out(&self, guard: &mut ShardWrite<'_>, key: u32, change: &Change, id: &str) {
        let to_drop = mark(guard.write(), self.core.hash(id), key, change);
        self.drop_changed(guard, &to_drop, change.reason(id));
    }

    fn drop_changed(&self, guard: &mut ShardWrite<'_>, to_drop: &ToDrop, reason: GapReason) {
        let shard = guard.write();
        if let Some(key) = shard.find(to_drop.hash, &to_drop.id) {
            self.drop_stream_to(shard, key, to_drop.version, reason);
            self.note_age(shard, key);
        }
        if let Some(version) = to_drop.snapshots
            && let Some(key) = snapshots_of(shard, to_drop.hash, &to_drop.id)
        {
            self.drop_stream_to(shard, key, version, GapReason::Snapshot);
        }
    }

    pub(in crate::store) fn check_change(shard: &Shard, hash: u64, id: &str, expected: Expected) -> Result<u32> {
        let Some(key) = shard.find(hash, id) else {
            return Err(Error::invalid(format!(
                "aggregate '{id}' is not known: it never had an event"
            )));
        };
        let stream = shard.stream(key);
        if stream.tombstoned {
            return Err(Error::Deleted {
                aggregate_id: stream.id.clone(),
            });
        }
        if stream.meets(expected) {
            return Ok(key);
        }
        let position = Position(stream.last_position().unwrap_or(0));
        let actual = Version(u64::from(stream.version));
        Err(Conflict::Version {
            stream: shard.stream_id(stream),
            expected,
            actual,
            position,
        }
        .into())
    }
}
