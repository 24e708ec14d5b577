//! The events of one aggregate: its version, the positions of its events, and what is dropped of them.

use crate::store::collections::posting_list::PostingList;
use crate::{Expected, Name, StreamLimits};

/// The limits of a stream, and when they next apply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) limits: StreamLimits,
    /// When its first event expires, if that is noted: microseconds since 1970.
    pub(crate) due: Option<i64>,
}

/// The events of one aggregate. Aligned, so that an append touches two cache lines that are fetched together.
#[derive(Clone, Debug, Default)]
#[repr(align(128))]
pub(crate) struct Stream {
    /// Half of the hash of its id; the other half chose the shard.
    pub(crate) half: u32,
    pub(crate) id: Name,
    /// The key of its type in the shard's table of types.
    pub(in crate::store) aggregate_type: u32,
    /// The version of the last event.
    pub(crate) version: u32,
    /// Events up to this version are dropped.
    pub(crate) dropped_to: u32,
    pub(crate) tombstoned: bool,
    /// The version at the last deletion; 0 if it was never deleted.
    pub(crate) deleted_to: u32,
    pub(crate) policy: Option<Box<Policy>>,
    /// The positions of its latest events; the last of them has version `version`.
    pub(in crate::store) positions: PostingList,
}

impl Stream {
    /// Adds the next event.
    pub(crate) fn push(&mut self, position: u64) {
        self.version += 1;
        self.positions.push(position);
    }

    /// Adds a recovered event. Versions between it and the last event count as dropped.
    pub(crate) fn recover(&mut self, version: u32, position: u64) {
        if version > self.version + 1 {
            self.dropped_to = version - 1;
            self.positions.drop_to(position);
        }
        self.version = version - 1;
        self.push(position);
    }

    /// Marks all events up to `version` as dropped. Every known event must be dropped already.
    pub(crate) fn pass(&mut self, version: u32) {
        self.version = version;
        self.dropped_to = version;
    }

    /// The positions of the events from version `from` on.
    pub(crate) fn positions_from(&self, from: u64) -> impl Iterator<Item = u64> {
        self.positions.nth_on(self.place_of(from))
    }

    /// The same, at most `count` positions.
    pub(crate) fn some_positions_from(&self, from: u64, count: usize) -> Vec<u64> {
        let mut positions = Vec::with_capacity(count);
        self.positions.copy_nth_on(self.place_of(from), count, &mut positions);
        positions
    }

    /// The index of a version's event in `positions`; of the first retained event if that version is dropped.
    fn place_of(&self, version: u64) -> u64 {
        let from = version.max(u64::from(self.dropped_to) + 1);
        let first_listed = u64::from(self.version) + 1 - self.positions.len();
        from.saturating_sub(first_listed)
    }

    /// The positions of the events above a position.
    pub(crate) fn positions_after(&self, position: u64) -> impl Iterator<Item = u64> {
        let live = usize::from(self.live_events() > 0);
        let first = self.positions_from(0).take(live).next().unwrap_or(u64::MAX);
        self.positions.range(position.max(first.saturating_sub(1)), u64::MAX)
    }

    /// The version of the last event before a position; the last dropped version if there is none.
    pub(crate) fn version_before(&self, position: u64) -> u32 {
        let before = self.positions_from(0).take_while(|there| *there < position).count();
        self.dropped_to + u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// Number of events above `visible`, which readers do not see yet.
    pub(crate) fn unseen_events(&self, visible: u64) -> u64 {
        self.positions_after(visible).count() as u64
    }

    pub(crate) fn last_position(&self) -> Option<u64> {
        self.positions.last().filter(|_| self.live_events() > 0)
    }

    /// The position of the last event up to a position, which may be a dropped one.
    pub(crate) fn last_position_up_to(&self, position: u64) -> Option<u64> {
        self.positions.last_up_to(position)
    }

    /// Drops the events up to a version, the last of which is at `position`.
    pub(crate) fn drop_to(&mut self, version: u32, position: u64) {
        self.dropped_to = self.dropped_to.max(version);
        self.positions.drop_to(position);
    }

    pub(crate) fn live_events(&self) -> u64 {
        u64::from(self.version - self.dropped_to)
    }

    pub(crate) fn limits(&self) -> StreamLimits {
        self.policy.as_ref().map(|policy| policy.limits).unwrap_or_default()
    }

    /// Whether it has had an event since its last deletion.
    pub(crate) fn exists(&self) -> bool {
        self.version > self.deleted_to
    }

    /// Whether the stream's version matches the expected one.
    pub(crate) fn meets(&self, expected: Expected) -> bool {
        match expected {
            Expected::Any => true,
            Expected::NoStream => !self.exists(),
            Expected::StreamExists => self.exists(),
            Expected::Exactly(version) => version.0 == u64::from(self.version),
        }
    }

    /// Whether removing the stream would lose only its version.
    pub(in crate::store) fn is_spent(&self) -> bool {
        self.live_events() == 0 && !self.tombstoned && self.exists() && self.policy.is_none()
    }
}
