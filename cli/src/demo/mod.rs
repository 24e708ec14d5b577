//! A made-up log of a cloud that sends bills: any size, the same for the same seed, never whole in memory.

mod calendar;
mod plot;
pub(crate) mod random;
mod story;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use annals::{Name, Timestamp};

use crate::demo::calendar::Calendar;
use crate::demo::random::Random;
use crate::demo::story::{Moment, Story};
use crate::load::Entry;

/// Events of a conversation, on average; measured.
const CONVERSATION_EVENTS: u64 = 8;

/// The events of the log, in the order of time.
///
/// Conversations that are still open wait in a queue; everything else is forgotten as soon as it was handed out.
#[derive(Debug)]
pub struct Demo {
    left: u64,
    random: Random,
    calendar: Calendar,
    world: World,
    waiting: BinaryHeap<Reverse<Waiting>>,
    stories: u64,
    told: u64,
}

/// What exists, as far as names need it.
#[derive(Debug)]
struct World {
    organizations: u64,
    users_per_organization: u64,
    serials: [(&'static str, u64); 8],
}

impl World {
    /// The next name of a kind: `invoice-000017`.
    fn serial(&mut self, kind: &'static str) -> Name {
        let Some(slot) = self
            .serials
            .iter_mut()
            .find(|(name, _)| *name == kind || name.is_empty())
        else {
            return kind.into();
        };
        *slot = (kind, slot.1 + 1);
        format!("{kind}-{:06}", slot.1).into()
    }
}

/// An event whose time has not come, ordered by its time and then by when it was made up.
#[derive(Debug)]
struct Waiting {
    due: (Timestamp, u64),
    entry: Entry,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

impl Demo {
    /// A log of `events` events, always the same for the same `seed`.
    pub fn new(events: u64, seed: u64) -> Self {
        let world = World {
            organizations: (events / 2_500).clamp(4, 80),
            users_per_organization: (events / 5_000).clamp(3, 25),
            serials: [("", 0); 8],
        };
        Self {
            left: events,
            random: Random::new(seed),
            calendar: Calendar::new(events, CONVERSATION_EVENTS),
            world,
            waiting: BinaryHeap::new(),
            stories: 0,
            told: 0,
        }
    }

    /// Makes up the conversation that begins now, and moves on to the next.
    fn begin(&mut self) {
        let at = Moment {
            time: self.calendar.now(),
            cause: None,
        };
        for entry in self.story(at).entries {
            let due = (entry.event.timestamp.unwrap_or_default(), self.told);
            self.told += 1;
            self.waiting.push(Reverse(Waiting { due, entry }));
        }
        self.stories += 1;
        self.calendar.advance(&mut self.random);
    }

    /// The organizations come first, each in turn; then whatever happens.
    fn story(&mut self, at: Moment) -> Story {
        let (world, random) = (&mut self.world, &mut self.random);
        if self.stories < world.organizations {
            return plot::onboarding(world, random, at, self.stories + 1);
        }
        let organization = random.skewed(world.organizations) + 1;
        match random.below(100) {
            0..55 => plot::run(world, random, at, organization),
            55..72 => plot::billing(world, random, at, organization),
            72..98 => plot::session(world, random, at, organization),
            98 => plot::prices(random, at),
            _ => plot::contract(world, random, at, organization),
        }
    }
}

impl Iterator for Demo {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.left = self.left.checked_sub(1)?;
        // Every conversation has an event when it begins, so one that is due comes before the calendar's next.
        while self
            .waiting
            .peek()
            .is_none_or(|Reverse(next)| next.due.0 >= self.calendar.now())
        {
            self.begin();
        }
        self.waiting.pop().map(|Reverse(waiting)| waiting.entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_log() {
        let log = |seed| Demo::new(2_000, seed).collect::<Vec<_>>();
        assert_eq!(log(42), log(42));
        assert_ne!(log(42), log(43));
    }

    #[test]
    fn time_does_not_go_back_and_causes_come_first() {
        let mut ids = BTreeSet::new();
        let mut last = Timestamp::MIN;
        for Entry { event, .. } in Demo::new(5_000, 7) {
            assert!(event.timestamp.unwrap() >= last);
            last = event.timestamp.unwrap();
            ids.insert(event.id.unwrap().to_string());
            assert!(event.causation_id.is_none_or(|cause| ids.contains(&*cause)));
        }
        assert_eq!(ids.len(), 5_000);
    }

    #[test]
    fn an_aggregate_has_one_type_and_data_are_json() {
        let mut types = BTreeMap::new();
        for Entry { stream, event, .. } in Demo::new(5_000, 7) {
            let kind = types
                .entry(stream.aggregate_id)
                .or_insert_with(|| stream.aggregate_type.clone());
            assert_eq!(*kind, stream.aggregate_type);
            assert!(serde_json::from_slice::<serde_json::Value>(&event.data).is_ok());
            assert!(serde_json::from_slice::<serde_json::Value>(&event.metadata).is_ok());
        }
    }

    #[test]
    fn the_log_spans_weeks_whatever_its_size() {
        for events in [2_000, 20_000, 200_000] {
            let last = Demo::new(events, 1).last().unwrap().event.timestamp.unwrap();
            let days = (last.as_micros() - Calendar::new(1, 1).now().as_micros()) / 86_400_000_000;
            assert!((35..50).contains(&days), "{events} events over {days} days");
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut demo = Demo::new(3_000_000, 1);
        let mut most = 0;
        for _ in 0..200_000 {
            demo.next();
            most = most.max(demo.waiting.len());
        }
        assert!(most < 30_000, "{most}");
    }

    #[test]
    fn the_smallest_logs_are_whole_too() {
        assert_eq!(Demo::new(0, 1).count(), 0);
        assert_eq!(Demo::new(1, 1).count(), 1);
    }
}
