//! Snapshots of aggregates: system events, of which each aggregate retains the latest.

use crate::event::system;
use crate::store::append::prepare::{self, PreparedAppend};
use crate::store::log::directory::PageCache;
use crate::store::retention::budget::Cost;
use crate::store::streams::shard::Shard;
use crate::store::streams::stream::Stream;
use crate::store::{Engine, Store};
use crate::{
    Durability, Error, EventRef, Expected, GapReason, NewSnapshot, Position, Result, Snapshot, StreamId, Version,
};

/// The result of saving a snapshot.
enum Saved {
    /// It was written at this position.
    New(u64),
    /// The existing one, at this position, has a later version.
    Outdated(u64),
}

impl Store {
    /// Saves a snapshot of an aggregate. It replaces earlier ones, unless it is to be [kept](NewSnapshot::keep) beside them. Returns the
    /// snapshot's position.
    ///
    /// A snapshot is a system event: it is as durable as an append, is recovered, and reaches followers. Truncation,
    /// limits and archiving retain it. Deleting the aggregate drops it, and a budget that drops the oldest events may drop it. A snapshot with
    /// an earlier version than the existing one changes nothing, and the call returns the position of the existing one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the aggregate is unknown or deleted, has no such version yet, was deleted since that version, or has dropped
    /// events after it, or if the data is [too long](crate::Limits::payload_bytes_max); [`Error::Deleted`] if it has a tombstone;
    /// [`Error::Full`]; [`Error::Closed`]; the errors of the journal.
    pub fn save_snapshot(&self, aggregate_id: &str, snapshot: NewSnapshot) -> Result<Position> {
        self.engine().save_snapshot(aggregate_id, snapshot, self.acknowledge)
    }

    /// Returns the latest snapshot of an aggregate, if it has one. Read the later events [after](crate::StreamRead::after) its version; if
    /// [`missing`](Snapshot::missing) is not 0, that many of them are dropped.
    pub fn snapshot(&self, aggregate_id: &str) -> Option<Snapshot> {
        self.snapshot_until(aggregate_id, Version(u64::MAX))
    }

    /// Returns the latest retained snapshot of an aggregate whose version is at most `version`: where a read of the past begins.
    ///
    /// An aggregate retains one snapshot unless its snapshots were saved with [`keep`](NewSnapshot::keep).
    pub fn snapshot_until(&self, aggregate_id: &str, version: Version) -> Option<Snapshot> {
        let engine = self.engine();
        engine.expire_due();
        let stream = system::snapshot_stream(aggregate_id);
        let hash = engine.core.hash(&stream);
        // Under the lock: the visible snapshot is dropped under it, once the next one is visible.
        let shard = engine.core.read(engine.core.shard_of(hash));
        let visible = engine.core.log.visible();
        let stream = shard.stream(shard.find(hash, &stream)?);
        let there: Vec<_> = stream.positions_from(0).take_while(|there| *there <= visible).collect();
        let mut there = there.into_iter().rev();
        let snapshot = there.find_map(|position| {
            let event = engine.core.event(position, &mut PageCache::default())?;
            Snapshot::of(aggregate_id, &event).filter(|snapshot| snapshot.version <= version)
        })?;
        let dropped_to = shard
            .find(hash, aggregate_id)
            .map_or(0, |key| shard.stream(key).dropped_to);
        Some(Snapshot {
            missing: u64::from(dropped_to).saturating_sub(snapshot.version.0),
            ..snapshot
        })
    }
}

impl Engine {
    fn save_snapshot(&self, id: &str, snapshot: NewSnapshot, acknowledge: Durability) -> Result<Position> {
        self.check_changes()?;
        self.expire_due();
        prepare::check_snapshot(&snapshot, &self.settings.limits)?;
        let stream = StreamId::new("$snapshot", system::snapshot_stream(id));
        let (version, keep) = (snapshot.version, snapshot.keep.max(1));
        let event = snapshot.into_event();
        let prepared = self.prepare_system(&stream, &event);
        let cost = self.reserve_cost(|| cost_of(&prepared))?;
        // A fork has the snapshot and its drop, or neither.
        let _whole = self.retention.changing.read();
        let saved = self.write_snapshot(id, version, &prepared, cost);
        self.release_reservation(cost, matches!(saved, Ok(Saved::New(_))));
        let position = match &saved {
            Ok(Saved::New(position) | Saved::Outdated(position)) => *position,
            Err(_) => return saved.map(|_| Position(0)),
        };
        self.acknowledge(position, acknowledge)?;
        if matches!(saved, Ok(Saved::New(_))) {
            // Readers see it, so they need no earlier one.
            self.drop_snapshots_before(&prepared, position, keep);
        }
        Ok(Position(position))
    }

    fn write_snapshot(
        &self,
        id: &str,
        version: Version,
        prepared: &PreparedAppend<'_>,
        cost: Option<Cost>,
    ) -> Result<Saved> {
        let mut guard = self.core.write(self.core.shard_of(prepared.stream_hash));
        self.check_open()?;
        let key = Self::check_change(&guard, prepared.stream_hash, id, Expected::Any)?;
        check_version(guard.stream(key), version)?;
        if let Some(position) = self.later_snapshot(&guard, prepared, version) {
            return Ok(Saved::Outdated(position));
        }
        let position = self.append_system(&mut guard, prepared);
        self.count_written(cost);
        Ok(Saved::New(position))
    }

    /// Drops the snapshots before the last `keep` up to the one at `position`. Looks their stream up again: a budget may have removed it, and
    /// another stream may have its key.
    fn drop_snapshots_before(&self, prepared: &PreparedAppend<'_>, position: u64, keep: u32) {
        let mut guard = self.core.write(self.core.shard_of(prepared.stream_hash));
        let Some(key) = guard.find(prepared.stream_hash, &prepared.stream.aggregate_id) else {
            return;
        };
        let version = guard.stream(key).version_before(position).saturating_sub(keep - 1);
        self.drop_stream_to(guard.write(), key, version, GapReason::Snapshot);
    }

    /// The position of the existing snapshot, if it has a later version.
    fn later_snapshot(&self, shard: &Shard, prepared: &PreparedAppend<'_>, version: Version) -> Option<u64> {
        let key = shard.find(prepared.stream_hash, &prepared.stream.aggregate_id)?;
        let position = shard.stream(key).last_position()?;
        let version_of = |event: EventRef<'_>| system::snapshot_version(event.metadata());
        let there = self.core.with_event(position, &mut PageCache::default(), version_of);
        there.flatten().filter(|there| *there > version).map(|_| position)
    }
}

/// The cost for the budget: the bytes, but no event.
fn cost_of(prepared: &PreparedAppend<'_>) -> Cost {
    Cost {
        events: 0,
        ..Cost::of(std::slice::from_ref(prepared))
    }
}

/// The stream of an aggregate's snapshots, if it ever had one.
pub(in crate::store) fn snapshots_of(shard: &Shard, hash: u64, id: &str) -> Option<u32> {
    shard.find(hash, &system::snapshot_stream(id))
}

/// # Errors
///
/// [`Error::Invalid`] if a stream has no `version` yet, or a snapshot of it cannot replace the stream's events.
fn check_version(stream: &Stream, version: Version) -> Result<()> {
    let id = &stream.id;
    if !stream.exists() {
        return Err(Error::invalid(format!(
            "aggregate '{id}' was deleted: it has no events to take a snapshot of"
        )));
    }
    if version.0 == 0 || version.0 > u64::from(stream.version) {
        return Err(Error::invalid(format!(
            "cannot save a snapshot of version {version}: aggregate '{id}' has the versions 1 to {}",
            stream.version
        )));
    }
    if version.0 <= u64::from(stream.deleted_to) {
        return Err(Error::invalid(format!(
            "the events of aggregate '{id}' up to version {} were deleted: a snapshot of version {version} would bring them back",
            stream.deleted_to
        )));
    }
    if version.0 < u64::from(stream.dropped_to) {
        return Err(Error::invalid(format!(
            "the events of aggregate '{id}' up to version {} are gone: a snapshot of version {version} would leave some out",
            stream.dropped_to
        )));
    }
    Ok(())
}
