//! The messages that wait to be published: one lane for each name that the target gives, so that the messages of a lane are published in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use annals::Name;

#[derive(Debug)]
struct Lane<T> {
    /// By position. Never empty.
    waiting: BTreeMap<u64, T>,
    /// Whether its first message can be published: none is being published, and it does not pause.
    is_ready: bool,
    /// Attempts in a row that failed.
    failures: u32,
}

/// The lanes that have messages.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    by_name: HashMap<Name, Lane<T>>,
    /// The first positions of the lanes that are ready.
    ready: BTreeMap<u64, Name>,
    paused: BTreeSet<(Instant, Name)>,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            ready: BTreeMap::new(),
            paused: BTreeSet::new(),
        }
    }
}

impl<T> Lanes<T> {
    /// Adds a message.
    pub(crate) fn add(&mut self, name: Name, position: u64, message: T) {
        let lane = self.by_name.entry(name.clone()).or_insert_with(|| Lane {
            waiting: BTreeMap::new(),
            is_ready: true,
            failures: 0,
        });
        let first = lane.waiting.first_key_value().map(|(first, _)| *first);
        lane.waiting.insert(position, message);
        if lane.is_ready && first.is_none_or(|first| position < first) {
            if let Some(first) = first {
                self.ready.remove(&first);
            }
            self.ready.insert(position, name);
        }
    }

    /// Makes the lanes ready whose pause is over, and takes out the first messages, with their lanes, of those that are ready, ascending by position, as long as `accepts` does.
    pub(crate) fn take(&mut self, now: Instant, mut accepts: impl FnMut(&T) -> bool) -> Vec<(Name, &T)> {
        self.end_pauses(now);
        let mut taken = Vec::new();
        while let Some((position, name)) = self.ready.first_key_value() {
            let Some(lane) = self.by_name.get_mut(name) else { break };
            if !lane.waiting.get(position).is_some_and(&mut accepts) {
                break;
            }
            lane.is_ready = false;
            taken.extend(self.ready.pop_first());
        }
        let by_name = &self.by_name;
        let found = taken.into_iter().filter_map(|(position, name)| {
            let message = by_name.get(&name)?.waiting.get(&position)?;
            Some((name, message))
        });
        found.collect()
    }

    fn end_pauses(&mut self, now: Instant) {
        while let Some((until, name)) = self.paused.first().filter(|(until, _)| *until <= now).cloned() {
            self.paused.remove(&(until, name.clone()));
            if let Some(lane) = self.by_name.get_mut(&name) {
                lane.is_ready = true;
                self.ready
                    .extend(lane.waiting.first_key_value().map(|(first, _)| (*first, name)));
            }
        }
    }

    /// Ends with a message that was taken out, and returns it. The lane goes on.
    pub(crate) fn finish(&mut self, name: &Name, position: u64) -> Option<T> {
        let lane = self.by_name.get_mut(name)?;
        let message = lane.waiting.remove(&position)?;
        lane.failures = 0;
        lane.is_ready = true;
        match lane.waiting.first_key_value() {
            Some((first, _)) => drop(self.ready.insert(*first, name.clone())),
            None => drop(self.by_name.remove(name)),
        }
        Some(message)
    }

    /// Puts a message back that was taken out: it is the next one of its lane, at the time that `until` makes of the number of failures in a row.
    pub(crate) fn pause(&mut self, name: &Name, until: impl FnOnce(u32) -> Instant) {
        let Some(lane) = self.by_name.get_mut(name) else { return };
        lane.failures = lane.failures.saturating_add(1);
        let until = until(lane.failures);
        self.paused.insert((until, name.clone()));
    }

    /// Puts a message back that was taken out, without a pause of its lane.
    pub(crate) fn put_back(&mut self, name: &Name) {
        let Some(lane) = self.by_name.get_mut(name) else { return };
        lane.is_ready = true;
        self.ready
            .extend(lane.waiting.first_key_value().map(|(first, _)| (*first, name.clone())));
    }

    /// A message that was taken out.
    pub(crate) fn get_mut(&mut self, name: &Name, position: u64) -> Option<&mut T> {
        self.by_name.get_mut(name)?.waiting.get_mut(&position)
    }

    /// When the first pause is over.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.paused.first().map(|(until, _)| *until)
    }

    /// The lanes whose first message waits for its next attempt.
    pub(crate) fn paused(&self) -> usize {
        self.paused.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lanes(messages: &[(&str, u64)]) -> Lanes<u64> {
        let mut lanes = Lanes::default();
        for (name, position) in messages {
            lanes.add(Name::from(*name), *position, *position);
        }
        lanes
    }

    fn take(lanes: &mut Lanes<u64>, now: Instant) -> Vec<u64> {
        lanes
            .take(now, |_| true)
            .into_iter()
            .map(|(_, position)| *position)
            .collect()
    }

    #[test]
    fn a_later_message_of_a_lane_was_published_while_an_earlier_one_failed() {
        let (now, a, b) = (Instant::now(), Name::from("a"), Name::from("b"));
        let mut lanes = lanes(&[("a", 1), ("a", 2), ("b", 3), ("b", 4)]);
        assert_eq!(take(&mut lanes, now), [1, 3]);
        assert_eq!(take(&mut lanes, now), [0; 0]);
        let later = now + Duration::from_secs(1);
        lanes.pause(&a, |failures| {
            assert_eq!(failures, 1);
            later
        });
        assert_eq!(lanes.finish(&b, 3), Some(3));
        assert_eq!((take(&mut lanes, now), lanes.paused()), (vec![4], 1));
        assert_eq!(lanes.finish(&b, 4), Some(4));
        assert_eq!((lanes.next_due(), take(&mut lanes, later)), (Some(later), vec![1]));
        lanes.pause(&a, |failures| {
            assert_eq!(failures, 2);
            later
        });
        assert_eq!(take(&mut lanes, later), [1]);
        assert_eq!(lanes.finish(&a, 1), Some(1));
        assert_eq!(take(&mut lanes, later), [2]);
        assert_eq!(lanes.finish(&a, 2), Some(2));
        assert!(lanes.by_name.is_empty() && lanes.ready.is_empty() && lanes.paused.is_empty());
    }

    #[test]
    fn an_earlier_message_that_comes_later_is_the_first_of_its_lane() {
        let now = Instant::now();
        let mut lanes = lanes(&[("a", 5), ("a", 7)]);
        lanes.add(Name::from("a"), 2, 2);
        assert_eq!(take(&mut lanes, now), [2]);
        lanes.add(Name::from("a"), 1, 1);
        lanes.put_back(&Name::from("a"));
        assert_eq!(take(&mut lanes, now), [1]);
    }

    #[test]
    fn no_more_are_taken_than_accepted() {
        let mut lanes = lanes(&[("a", 1), ("b", 2), ("c", 3)]);
        let mut left = 2;
        let taken = lanes.take(Instant::now(), |_| {
            left -= 1;
            left >= 0
        });
        assert_eq!(taken.len(), 2);
        assert_eq!(take(&mut lanes, Instant::now()), [3]);
    }
}
