//! The events of a group that are not handled yet: one lane for each aggregate, so that its events are handled in order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::cqrs::reasons::Reasons;
use crate::{Event, Name, Timestamp};

/// An event on its way to a consumer.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) record: Arc<Event>,
    /// The next of the typed events that the record is, and their number; 0 before it is known.
    pub(super) part: u32,
    pub(super) parts: u32,
    /// The failed attempts.
    pub(super) attempts: u32,
    /// Whether it is a dead letter that is replayed.
    pub(super) is_letter: bool,
    /// How the reason of a failure of the present attempt is stored.
    pub(super) reasons: Reasons,
}

impl Entry {
    pub(super) fn new(record: Event, is_letter: bool) -> Self {
        Self {
            record: Arc::new(record),
            part: 0,
            parts: 0,
            attempts: 0,
            is_letter,
            reasons: Reasons::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneState {
    /// Its first event can be handed out.
    Ready,
    /// Its first event failed, and is handed out again at this time.
    Delayed(Timestamp),
    /// A consumer has its first event, under this token, until this time.
    Leased { token: u64, until: Timestamp },
}

#[derive(Debug)]
struct Lane {
    /// Never empty.
    queue: VecDeque<Entry>,
    state: LaneState,
}

/// The lanes that have events.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    by_aggregate: HashMap<Name, Lane>,
    /// The lanes that are ready, the longest first.
    ready: VecDeque<Name>,
    /// When each lane that is not ready is due.
    due: BTreeSet<(Timestamp, Name)>,
    next_token: u64,
}

impl Lanes {
    /// No lanes, and tokens that these have not given: a lease of theirs is none here.
    pub(super) fn renewed(&self) -> Self {
        Self {
            next_token: self.next_token,
            ..Self::default()
        }
    }

    /// Adds an event behind the others of its aggregate.
    pub(super) fn push(&mut self, entry: Entry) {
        let name = Name::from(entry.record.aggregate_id());
        if let Some(lane) = self.by_aggregate.get_mut(&name) {
            lane.queue.push_back(entry);
            return;
        }
        let lane = Lane {
            queue: VecDeque::from([entry]),
            state: LaneState::Ready,
        };
        self.by_aggregate.insert(name.clone(), lane);
        self.ready.push_back(name);
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.by_aggregate.contains_key(name)
    }

    pub(super) fn first_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.by_aggregate.get_mut(name)?.queue.front_mut()
    }

    /// Hands out the first event of the lane that is ready longest, until a time. Returns its aggregate and a token.
    pub(super) fn lease(&mut self, until: Timestamp) -> Option<(Name, u64)> {
        let name = self.ready.pop_front()?;
        self.next_token += 1;
        let token = self.next_token;
        self.set_state(&name, LaneState::Leased { token, until });
        Some((name, token))
    }

    /// Whether the lease with this token still holds.
    pub(super) fn is_leased(&self, name: &str, token: u64) -> bool {
        let state = self.by_aggregate.get(name).map(|lane| lane.state);
        matches!(state, Some(LaneState::Leased { token: there, .. }) if there == token)
    }

    /// Makes a lane ready.
    pub(super) fn set_ready(&mut self, name: &Name) {
        self.set_state(name, LaneState::Ready);
        self.ready.push_back(name.clone());
    }

    pub(super) fn delay(&mut self, name: &Name, until: Timestamp) {
        self.set_state(name, LaneState::Delayed(until));
    }

    fn set_state(&mut self, name: &Name, state: LaneState) {
        let Some(lane) = self.by_aggregate.get_mut(name) else {
            return;
        };
        if let Some(due) = due_of(lane.state) {
            self.due.remove(&(due, name.clone()));
        }
        lane.state = state;
        self.due.extend(due_of(state).map(|due| (due, name.clone())));
    }

    /// Removes the first event of a lane, which is not ready, and makes the lane ready if it has more.
    pub(super) fn pop(&mut self, name: &Name) -> Option<Entry> {
        let lane = self.by_aggregate.get_mut(name)?;
        let entry = lane.queue.pop_front();
        if lane.queue.is_empty() {
            self.remove(name);
        } else {
            self.set_ready(name);
        }
        entry
    }

    /// Removes a lane that is not ready, with all its events.
    pub(super) fn remove(&mut self, name: &Name) -> VecDeque<Entry> {
        let Some(lane) = self.by_aggregate.remove(name) else {
            return VecDeque::new();
        };
        if let Some(due) = due_of(lane.state) {
            self.due.remove(&(due, name.clone()));
        }
        lane.queue
    }

    /// The first lane that is due at this time: its event failed before, or its consumer has not answered in time.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<(Name, bool)> {
        let (_, name) = self.due.first().filter(|(due, _)| *due <= now)?;
        let is_leased = matches!(self.by_aggregate.get(name)?.state, LaneState::Leased { .. });
        Some((name.clone(), is_leased))
    }

    /// Whether a lane waits for time to pass.
    pub(super) fn waits(&self) -> bool {
        !self.due.is_empty()
    }

    /// The numbers of lanes that are ready, and of those that are handed out or delayed.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.ready.len(), self.due.len())
    }
}

fn due_of(state: LaneState) -> Option<Timestamp> {
    match state {
        LaneState::Ready => None,
        LaneState::Delayed(until) | LaneState::Leased { until, .. } => Some(until),
    }
}
