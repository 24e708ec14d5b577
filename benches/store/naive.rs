//! The store one writes by hand in an afternoon: a vector and two hash maps, behind one lock.

use std::borrow::Cow;
use std::collections::HashMap;

use annals::{Clock as _, Name, NewEvent, StreamId, SystemClock, Timestamp};

/// An event with names and bytes of its own: short names without an allocation, as a careful author would keep them.
#[derive(Clone)]
pub(crate) struct OwnedEvent {
    pub(crate) event_type: Name,
    correlation_id: Option<Name>,
    user_id: Option<Name>,
    organization_id: Option<Name>,
    pub(crate) data: Vec<u8>,
}

impl From<&NewEvent<'_>> for OwnedEvent {
    fn from(event: &NewEvent<'_>) -> Self {
        let name = |name: &Option<Cow<'_, str>>| name.as_ref().map(Name::from);
        Self {
            event_type: Name::from(&event.event_type),
            correlation_id: name(&event.correlation_id),
            user_id: name(&event.user_id),
            organization_id: name(&event.organization_id),
            data: event.data.to_vec(),
        }
    }
}

/// An event as it is kept. Its id would be its index: a random one costs as much as the rest of the append.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) event: OwnedEvent,
    pub(crate) version: u64,
    #[expect(dead_code, reason = "a store keeps it; nothing here asks for it")]
    recorded_at: Timestamp,
}

/// A store written by hand, used behind one lock.
pub(crate) trait ByHand: Default + Send {
    /// Returns whether the stream was at `version`.
    fn append(&mut self, stream: &StreamId, version: u64, events: Vec<OwnedEvent>) -> bool;
}

#[derive(Clone, Default)]
pub(crate) struct Naive {
    pub(crate) events: Vec<Kept>,
    by_stream: HashMap<Name, Vec<usize>>,
    by_type: HashMap<Name, Vec<usize>>,
}

/// The same with what it takes to answer what Annals does: maps by correlation, user and organization as well.
#[derive(Default)]
pub(crate) struct FiveMaps {
    naive: Naive,
    by_correlation: HashMap<Name, Vec<usize>>,
    by_user: HashMap<Name, Vec<usize>>,
    by_organization: HashMap<Name, Vec<usize>>,
}

/// [`Naive`] with a tag for each event, and a map by tag.
#[derive(Default)]
pub(crate) struct Tagged {
    naive: Naive,
    tags: Vec<Name>,
    by_tag: HashMap<Name, Vec<usize>>,
}

impl Tagged {
    /// Appends unless an event with this tag follows the first `known`; returns whether it did.
    pub(crate) fn append_if(
        &mut self,
        stream: &StreamId,
        version: u64,
        event: OwnedEvent,
        tag: &Name,
        known: usize,
    ) -> bool {
        let last = self.by_tag.get(tag).and_then(|indexes| indexes.last());
        if last.is_some_and(|index| *index >= known) || !self.naive.append(stream, version, vec![event]) {
            return false;
        }
        add(&mut self.by_tag, tag, self.tags.len());
        self.tags.push(tag.clone());
        true
    }
}

impl FiveMaps {
    pub(crate) fn of_user(&self, user: &Name) -> impl Iterator<Item = &Kept> {
        self.naive.at(self.by_user.get(user))
    }

    pub(crate) fn of_correlation(&self, correlation: &Name) -> impl Iterator<Item = &Kept> {
        self.naive.at(self.by_correlation.get(correlation))
    }
}

impl ByHand for FiveMaps {
    fn append(&mut self, stream: &StreamId, version: u64, events: Vec<OwnedEvent>) -> bool {
        let first = self.naive.events.len();
        if !self.naive.append(stream, version, events) {
            return false;
        }
        for (kept, index) in self.naive.events[first..].iter().zip(first..) {
            let event = &kept.event;
            for (map, name) in [
                (&mut self.by_correlation, &event.correlation_id),
                (&mut self.by_user, &event.user_id),
                (&mut self.by_organization, &event.organization_id),
            ] {
                if let Some(name) = name {
                    add(map, name, index);
                }
            }
        }
        true
    }
}

impl ByHand for Naive {
    fn append(&mut self, stream: &StreamId, version: u64, events: Vec<OwnedEvent>) -> bool {
        let actual = self.by_stream.get(&stream.aggregate_id).map_or(0, Vec::len);
        if actual as u64 != version {
            return false;
        }
        let recorded_at = SystemClock.now();
        for (event, version) in events.into_iter().zip(version + 1..) {
            let index = self.events.len();
            add(&mut self.by_stream, &stream.aggregate_id, index);
            add(&mut self.by_type, &event.event_type, index);
            self.events.push(Kept {
                event,
                version,
                recorded_at,
            });
        }
        true
    }
}

impl Naive {
    /// Whether an event of this type came after so many.
    pub(crate) fn has_type_after(&self, event_type: &Name, after: usize) -> bool {
        let last = self.by_type.get(event_type).and_then(|indexes| indexes.last());
        last.is_some_and(|index| *index >= after)
    }

    /// Whether the aggregate got an event after so many.
    pub(crate) fn has_aggregate_after(&self, aggregate: &Name, after: usize) -> bool {
        let last = self.by_stream.get(aggregate).and_then(|indexes| indexes.last());
        last.is_some_and(|index| *index >= after)
    }

    pub(crate) fn stream(&self, aggregate: &Name) -> impl Iterator<Item = &Kept> {
        self.at(self.by_stream.get(aggregate))
    }

    pub(crate) fn of_type(&self, event_type: &Name) -> impl Iterator<Item = &Kept> {
        self.at(self.by_type.get(event_type))
    }

    fn at<'a>(&'a self, indexes: Option<&'a Vec<usize>>) -> impl Iterator<Item = &'a Kept> {
        indexes.into_iter().flatten().map(|index| &self.events[*index])
    }
}

fn add(map: &mut HashMap<Name, Vec<usize>>, key: &Name, index: usize) {
    match map.get_mut(key) {
        Some(list) => list.push(index),
        None => {
            map.insert(key.clone(), vec![index]);
        }
    }
}
