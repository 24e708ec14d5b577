//! Groups of consumers behind a server: consumers of any process compete for events, and acknowledge each.

use std::time::Duration;

use annals::{Event, Filter, Position, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::error::{self, ClientError};
use super::http::{add_query, segment};
use super::processors::Letters;
use super::{Client, read, write};
use crate::setters::setters;

/// The settings of a group.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupSettings {
    /// The events that the group delivers; all by default.
    pub filter: Option<Filter>,
    /// How long a consumer may hold an event before the attempt counts as failed, in whole seconds; 30 s by default.
    pub lease: Duration,
    /// Attempts before an event is parked; 5 by default.
    pub attempts: u32,
    /// The first pause between two attempts, in whole seconds; 1 s by default.
    pub first_pause: Duration,
    /// The longest pause, in whole seconds; 60 s by default.
    pub longest_pause: Duration,
    /// Events that are fetched and not acknowledged, at most; 1,024 by default.
    pub max_in_flight: usize,
    /// Where a new group begins; at the beginning by default.
    pub start: GroupStart,
    /// Whether the group goes on where events were dropped before a consumer had them. By default it stops there.
    pub skip_gaps: bool,
}

setters! {
    GroupSettings {
        filter: Filter,
        lease: Duration,
        attempts: u32,
        first_pause: Duration,
        longest_pause: Duration,
        max_in_flight: usize,
        start: GroupStart,
        skip_gaps: bool,
    }
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum GroupStart {
    /// With the first event.
    #[default]
    Beginning,
    /// With the events that come.
    End,
    /// After a position.
    After(Position),
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            filter: None,
            lease: Duration::from_secs(30),
            attempts: 5,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            max_in_flight: 1_024,
            start: GroupStart::default(),
            skip_gaps: false,
        }
    }
}

/// A group of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RemoteGroup {
    /// Its name.
    pub name: String,
    /// Its status; `None` while no client has used it since the server started.
    pub status: Option<RemoteGroupStatus>,
}

/// The place of a group, and what its consumers hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemoteGroupStatus {
    /// The position up to which every event is acknowledged or parked.
    pub position: Position,
    /// The number of visible positions after it, with those of events that the group does not deliver.
    pub lag_events: u64,
    /// Events that are fetched and neither acknowledged nor parked.
    pub in_flight: u64,
    /// Aggregates whose next event can be delivered.
    pub ready: u64,
    /// Aggregates whose next event is held by a consumer, or waits for its next attempt.
    pub waiting: u64,
    /// The number of dead letters.
    pub dead_letters: u64,
    /// Records of letters that the store has dropped.
    pub lost_records: u64,
    /// The reason for which the group has stopped, if it has.
    pub stop_reason: Option<String>,
}

/// An event with its lease.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TakenEvent {
    /// The lease, which settles the event.
    pub lease: Uuid,
    /// When the lease ends, by the clock of the store.
    pub lease_ends_at: Timestamp,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// The same for every delivery of the event to this group. A consumer that stores it with its effect recognizes a repetition.
    pub key: Uuid,
    /// The event.
    pub event: Event,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<Box<RawValue>>,
    lease_seconds: u64,
    attempts: u32,
    first_pause_seconds: u64,
    longest_pause_seconds: u64,
    max_in_flight: usize,
    start: GroupStart,
    skip_gaps: bool,
}

#[derive(Deserialize)]
struct WireGroups {
    groups: Vec<RemoteGroup>,
}

#[derive(Deserialize)]
struct WireTake<'a> {
    #[serde(borrow)]
    events: Vec<WireTaken<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTaken<'a> {
    lease: Uuid,
    lease_ends_at: Timestamp,
    attempt: u32,
    key: Uuid,
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(Deserialize)]
struct Settled {
    lost: Vec<Uuid>,
}

#[derive(Deserialize)]
struct Replayed {
    replayed: u64,
}

#[derive(Deserialize)]
struct Deleted {}

#[derive(Serialize)]
struct WireSettle<'a> {
    leases: &'a [Uuid],
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

fn path(name: &str) -> String {
    format!("/groups/{}", segment(name))
}

fn taken(bytes: &[u8]) -> Result<Vec<TakenEvent>, String> {
    let wire: WireTake<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let events = wire.events.into_iter().map(|one| {
        Ok(TakenEvent {
            lease: one.lease,
            lease_ends_at: one.lease_ends_at,
            attempt: one.attempt,
            key: one.key,
            event: read::event(one.event.get())?,
        })
    });
    events.collect()
}

impl Client {
    /// The groups of the namespace, ascending by name.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn groups(&self) -> Result<Vec<RemoteGroup>, ClientError> {
        let all: WireGroups = self.http.get("/groups")?;
        Ok(all.groups)
    }

    /// A group; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn group(&self, name: &str) -> Result<Option<RemoteGroup>, ClientError> {
        error::found(self.http.get(&path(name)))
    }

    /// Defines a group. The same settings again change nothing; others end its leases, whose events are delivered again.
    ///
    /// # Errors
    ///
    /// [`Store`](ClientError::Store), with [`Invalid`](annals::Error::Invalid), if the name or a setting is invalid; a [`ClientError`] otherwise.
    pub fn define_group(&self, name: &str, settings: &GroupSettings) -> Result<RemoteGroup, ClientError> {
        let body = write::json(&WireSettings {
            filter: settings.filter.as_ref().map(write::filter).transpose()?,
            lease_seconds: settings.lease.as_secs(),
            attempts: settings.attempts,
            first_pause_seconds: settings.first_pause.as_secs(),
            longest_pause_seconds: settings.longest_pause.as_secs(),
            max_in_flight: settings.max_in_flight,
            start: settings.start,
            skip_gaps: settings.skip_gaps,
        })?;
        self.http.put(&path(name), body)
    }

    /// Takes up to `limit` events, at most 1,000, and waits for the first, for whole seconds up to 30. There may be none.
    ///
    /// # Errors
    ///
    /// [`Refused`](ClientError::Refused), with `not-found` or `group-stopped`; a [`ClientError`] otherwise.
    pub fn take(&self, group: &str, limit: usize, wait: Duration) -> Result<Vec<TakenEvent>, ClientError> {
        let mut target = format!("{}/take", path(group));
        add_query(
            &mut target,
            [("limit", limit.to_string()), ("wait", wait.as_secs().to_string())],
        );
        let bytes = self.http.post_nothing(&target)?;
        taken(&bytes).map_err(|reason| self.http.bad_answer(reason))
    }

    /// Acknowledges events: at most 1,000. Returns the leases that had ended, whose events another consumer may have.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn ack(&self, group: &str, leases: &[Uuid]) -> Result<Vec<Uuid>, ClientError> {
        self.settle(group, "ack", leases, None, None)
    }

    /// Gives events back, which are delivered again after a pause, and parked after the last attempt. Returns the leases that had ended.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn nack(&self, group: &str, leases: &[Uuid], reason: &str) -> Result<Vec<Uuid>, ClientError> {
        self.settle(group, "nack", leases, Some("retry"), Some(reason))
    }

    /// Makes events dead letters at once. Returns the leases that had ended.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn park(&self, group: &str, leases: &[Uuid], reason: &str) -> Result<Vec<Uuid>, ClientError> {
        self.settle(group, "nack", leases, Some("park"), Some(reason))
    }

    fn settle(
        &self,
        group: &str,
        verb: &str,
        leases: &[Uuid],
        action: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Vec<Uuid>, ClientError> {
        let body = write::json(&WireSettle { leases, action, reason })?;
        let settled: Settled = self.http.post(&format!("{}/{verb}", path(group)), body, &[])?;
        Ok(settled.lost)
    }

    /// Resumes a group that has stopped. What consumers hold is delivered again.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused), with `group-stopped`, if it remains stopped.
    pub fn resume_group(&self, name: &str) -> Result<RemoteGroup, ClientError> {
        self.http.post_empty(&format!("{}/resume", path(name)))
    }

    /// Deletes a group. A later group of the same name does not continue it. Returns `false` if there is none.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn delete_group(&self, name: &str) -> Result<bool, ClientError> {
        let deleted: Option<Deleted> = error::found(self.http.delete(&path(name)))?;
        Ok(deleted.is_some())
    }

    /// At most `limit` dead letters of a group after a position; up to 1,000.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if there is no such group.
    pub fn group_dead_letters(&self, name: &str, after: Position, limit: usize) -> Result<Letters, ClientError> {
        self.letters_at(&path(name), after, limit)
    }

    /// Delivers the dead letters of an aggregate again; without one, those of aggregates until there are 1,000. Returns their number.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn replay_group_dead_letters(&self, name: &str, aggregate_id: Option<&str>) -> Result<u64, ClientError> {
        let mut target = format!("{}/dead-letters/replay", path(name));
        add_query(&mut target, aggregate_id.map(|id| ("aggregate", id.to_owned())));
        let replayed: Replayed = self.http.post_empty(&target)?;
        Ok(replayed.replayed)
    }

    /// Drops a dead letter of a group: its event is not delivered again. Returns `false` if there is none at this position.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn discard_group_dead_letter(&self, name: &str, position: Position) -> Result<bool, ClientError> {
        self.discard_at(&path(name), position)
    }
}
