//! Operations chosen by numbers, run on a store and on its model.

use std::sync::Arc;
use std::time::Duration;

pub use super::choose::{Choices, START};
use super::choose::{
    choose_append, choose_as_of, choose_expected, choose_list, choose_query, choose_range, choose_stream,
};
use super::model::{Change, Model};
use crate::query::Query;
use crate::{
    Append, Builder, Clock, Condition, Durability, Error, Expected, Field, Filter, ManualClock, Name, NewEvent,
    NewSnapshot, Order, Position, Result, SeededIds, Settings, Store, StreamId, StreamLimits, Version,
};

/// A store and its model, which must agree after every operation.
#[derive(Debug)]
pub struct Pair {
    store: Store,
    model: Model,
    clock: Arc<ManualClock>,
    last: Vec<Append<'static>>,
    /// The journal has failed: no result is compared any more.
    failed: bool,
}

impl Default for Pair {
    fn default() -> Self {
        Self::new(4)
    }
}

impl Pair {
    /// An empty store with `shards` shards, and its model.
    ///
    /// # Panics
    ///
    /// When `shards` is not a power of two up to 1,024.
    pub fn new(shards: usize) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let settings = Settings {
            shards,
            ..Settings::default()
        };
        #[expect(clippy::expect_used, reason = "the caller gave the number of shards")]
        let store = Self::builder(&clock, settings)
            .open()
            .expect("the settings are in range");
        Self::of(store, Model::default(), clock)
    }

    /// The builder of a pair's store.
    pub fn builder(clock: &Arc<ManualClock>, settings: Settings) -> Builder {
        Store::builder()
            .settings(settings)
            .clock(Arc::<ManualClock>::clone(clock))
            .ids(Arc::new(SeededIds::new(1)))
            .indexer("length", |event, values| {
                values.push(Name::from((event.data().len() % 3).to_string()));
            })
    }

    /// A store from [`builder`](Self::builder) and a model with the same events.
    pub fn of(store: Store, model: Model, clock: Arc<ManualClock>) -> Self {
        Self {
            store,
            model,
            clock,
            last: Vec::new(),
            failed: false,
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Whether the journal of the store has failed.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Runs a changing operation on both, through a handle of the store that waits for `durability`.
    ///
    /// # Panics
    ///
    /// When store and model differ, or the journal of the store promises less than `durability`.
    pub fn change_something<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>, durability: Durability) {
        #[expect(clippy::expect_used, reason = "the caller knows the journal")]
        let handle = self
            .store
            .with_durability(durability)
            .expect("the journal promises as much");
        let own = std::mem::replace(&mut self.store, handle);
        self.model.expire(self.clock.now());
        match choices.below(10) {
            0..=4 => self.append(choices),
            5 => self.append_several(choices),
            6 => self.append_if(choices),
            7 => self.repeat(choices),
            8 if choices.one_in(3) => self.save_snapshot(choices),
            8 => self.change(choices),
            _ => self.pass_time(choices),
        }
        self.store = own;
    }

    /// Runs an operation on both and compares the results.
    ///
    /// # Panics
    ///
    /// When store and model differ.
    pub fn step<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        self.model.expire(self.clock.now());
        match choices.below(17) {
            16 => self.list(choices),
            0..=3 => self.append(choices),
            4 => self.append_several(choices),
            5 => self.append_if(choices),
            6 => self.repeat(choices),
            7 if choices.one_in(3) => self.save_snapshot(choices),
            7 => self.change(choices),
            8 => self.pass_time(choices),
            9 => self.read_stream(choices),
            10 => self.read_log(choices),
            11..=13 => self.query(choices),
            14 => self.page_through(choices),
            _ => self.fork_or_compact(choices),
        }
    }

    /// Compares every event and the queries on the whole store.
    ///
    /// # Panics
    ///
    /// When store and model differ.
    pub fn check_all(&mut self) {
        self.model.expire(self.clock.now());
        assert_eq!(self.store.visible().0, self.model.position(), "the last position");
        let all = self.model.read_log(None, false, usize::MAX, None, true);
        let mut seen = Vec::new();
        self.store.read_all().include_system().for_each(|event| {
            assert!(self.model.has(event), "{event:?} is not what was appended");
            seen.push(event.position().0);
        });
        assert_eq!(seen, all, "the whole log");
        self.check_unfiltered();
        for number in 0..6 {
            self.check_snapshot(&format!("aggregate-{number}"));
        }
        for field in [Field::EventType, Field::Day, Field::User, Field::Tag, Field::Aggregate] {
            for (value, count) in self.store.terms(&field) {
                let query = Query::all().filter(Filter::is(field.clone(), value.clone()));
                assert_eq!(
                    count,
                    self.model.query(&query).len() as u64,
                    "events with {field} {value}"
                );
            }
        }
        let stats = self.store.stats();
        assert_eq!(stats.events + stats.system_events, all.len() as u64, "{stats:?}");
    }

    /// Queries without a filter, which need no list of the index.
    fn check_unfiltered(&self) {
        for query in [Query::all(), Query::all().limit(3)] {
            self.check_answer(&query, &self.model.query(&query));
        }
    }

    /// Runs `times` queries that `choices` choose, and compares the results. Changes nothing.
    pub fn ask<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>, times: usize) {
        for _ in 0..times {
            match choices.below(5) {
                0 => self.read_stream(choices),
                1 => self.read_log(choices),
                2 => self.query(choices),
                3 => self.list(choices),
                _ => self.page_through(choices),
            }
        }
    }

    // Appending.

    fn append<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let part = choose_append(choices, &self.model);
        self.append_parts(vec![part], None);
    }

    fn append_several<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let mut parts: Vec<Append<'static>> = Vec::new();
        for _ in 0..=choices.below(4) {
            let part = choose_append(choices, &self.model);
            if parts
                .iter()
                .all(|other| other.stream.aggregate_id != part.stream.aggregate_id)
            {
                parts.push(part);
            }
        }
        self.append_parts(parts, None);
    }

    fn append_if<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let part = choose_append(choices, &self.model);
        let after = Position(choices.below(self.model.position() + 1));
        let query = choose_query(choices, &self.model);
        self.append_parts(vec![part], Some(&Condition::none_after(query, after)));
    }

    fn repeat<I: Iterator<Item = u16>>(&mut self, _: &mut Choices<I>) {
        if !self.last.is_empty() {
            self.append_parts(self.last.clone(), None);
        }
    }

    fn append_parts(&mut self, parts: Vec<Append<'static>>, condition: Option<&Condition>) {
        let want = self.model.append(&parts, condition, self.clock.now());
        let got = match condition {
            Some(condition) => self.store.append_if(condition, parts.clone()),
            None if parts.len() == 1 => {
                let part = parts[0].clone();
                self.store
                    .append(&part.stream, part.expected, part.events)
                    .map(|appended| vec![appended])
            }
            None => self.store.append_all(parts.clone()),
        };
        self.failed |= matches!(got, Err(Error::Failed { .. }));
        if self.failed {
            return;
        }
        let got = got.map(|parts| {
            let numbers = |ack: &crate::Appended| {
                let (versions, positions) = (
                    (ack.first_version, ack.last_version),
                    (ack.first_position, ack.last_position),
                );
                (versions.0.0, versions.1.0, positions.0.0, positions.1.0, ack.repeated)
            };
            parts.iter().map(numbers).collect::<Vec<_>>()
        });
        // The positions of an empty part are the end of the log, before or after the other parts.
        let comparable = parts.iter().all(|part| !part.events.is_empty());
        if comparable || want.is_err() {
            assert_same(&got, &want, &parts);
        } else {
            assert_eq!(got.is_ok(), want.is_ok(), "{parts:?}: {got:?}, not {want:?}");
        }
        self.last = parts;
    }

    fn change<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let stream = choose_stream(choices);
        let expected = choose_expected(choices, &self.model, &stream);
        let version = choices.below(12);
        let change = match choices.below(8) {
            0..=2 => Change::TruncateBefore(version),
            3 | 4 => Change::Delete,
            5 => Change::Tombstone,
            6 => Change::Limit(StreamLimits {
                max_count: Some(version),
                max_age: None,
            }),
            _ => Change::Limit(StreamLimits {
                max_count: None,
                max_age: Some(Duration::from_secs(version * 1000)),
            }),
        };
        let id = stream.aggregate_id;
        let (got, expected) = match &change {
            Change::TruncateBefore(version) => (self.store.truncate_before(&id, Version(*version)), Expected::Any),
            Change::Delete => (self.store.delete(&id, expected), expected),
            Change::Tombstone => (self.store.tombstone(&id, expected), expected),
            Change::Limit(limits) => (self.store.set_limits(&id, *limits), Expected::Any),
        };
        let want = self.model.change(&id, expected, &change, self.clock.now());
        self.failed |= matches!(got, Err(Error::Failed { .. }));
        if self.failed {
            return;
        }
        assert_same(&got.map(|position| position.0), &want, &change);
    }

    fn save_snapshot<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let id = choose_stream(choices).aggregate_id;
        let last = self.model.read_stream(&id, None, true, 1, None).first().copied();
        let last = last.and_then(|position| self.model.events.get(usize::try_from(position).ok()? - 1));
        let last = last.map_or(0, |event| event.version);
        let version = (last + 1).saturating_sub(choices.below(3));
        // Text, and bytes that are not text.
        let data = vec![choices.below(256) as u8; choices.below(300) as usize];
        let keep = 1 + u32::try_from(choices.below(3)).unwrap_or(0);
        let snapshot = NewSnapshot::new(Version(version)).data(data).keep(keep);
        let want = self.model.save_snapshot(&id, &snapshot, self.clock.now());
        let got = self.store.save_snapshot(&id, snapshot);
        self.failed |= matches!(got, Err(Error::Failed { .. }));
        if !self.failed {
            let what = format!("a snapshot of {id} at version {version}");
            assert_same(&got.map(|position| position.0), &want, &what);
            self.check_snapshot(&id);
        }
    }

    fn check_snapshot(&self, id: &str) {
        let got = self.store.snapshot(id);
        let got = got.map(|there| (there.position.0, there.version.0, there.data));
        let want = self.model.snapshot(id);
        assert_eq!(got, want, "the snapshot of {id}");
        for version in 0..want.map_or(0, |(_, version, _)| version) {
            let got = self.store.snapshot_until(id, Version(version));
            let got = got.map(|there| (there.position.0, there.version.0, there.data));
            let want = self.model.snapshot_until(id, version);
            assert_eq!(got, want, "the snapshot of {id} until version {version}");
        }
    }

    fn pass_time<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        self.clock.advance(Duration::from_secs(choices.below(20_000)));
        self.model.expire(self.clock.now());
    }

    fn fork_or_compact<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        match choices.below(3) {
            0 => self.check_all(),
            1 => {
                let compaction = self.store.compact();
                assert!(compaction.bytes_after <= compaction.bytes_before, "{compaction:?}");
            }
            _ => self.continue_in_a_fork(),
        }
    }

    /// Continues in a fork, while the original is changed; the fork must not see these changes.
    fn continue_in_a_fork(&mut self) {
        let template = self.store.clone();
        self.store = template.fork_with_clock(Arc::<ManualClock>::clone(&self.clock));
        let stray = template.append(
            &StreamId::new("Stray", "stray"),
            Expected::Any,
            vec![NewEvent::new("Strayed")],
        );
        assert!(stray.is_ok(), "{stray:?}");
        self.check_all();
    }

    // Reading.

    fn read_stream<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let id = choose_stream(choices).aggregate_id;
        let (from, backwards, limit) = choose_range(choices, 12);
        let as_of = choose_as_of(choices, &self.model);
        let mut read = self.store.read_stream(&id).limit(limit);
        if let Some(from) = from {
            read = read.from(Version(from));
        }
        if backwards {
            read = read.backwards();
        }
        if let Some(as_of) = as_of {
            read = read.as_of(as_of);
        }
        let want = self.model.read_stream(&id, from, backwards, limit, as_of);
        let kept: Vec<_> = read.events().iter().map(|event| event.position().0).collect();
        assert_eq!(
            kept, want,
            "{id} from {from:?}, backwards {backwards}, limit {limit}, {as_of:?}"
        );
        let in_place = read.fold(Vec::new(), |mut seen, event| {
            assert!(self.model.has(event), "{event:?} is not what was appended");
            seen.push(event.position().0);
            seen
        });
        assert_eq!(in_place, want, "the same in place");
    }

    fn read_log<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let (from, backwards, limit) = choose_range(choices, self.model.position() + 2);
        let as_of = choose_as_of(choices, &self.model);
        let system = choices.one_in(2);
        let mut read = self.store.read_all().limit(limit);
        if let Some(from) = from {
            read = read.from(Position(from));
        }
        if backwards {
            read = read.backwards();
        }
        if let Some(as_of) = as_of {
            read = read.as_of(as_of);
        }
        if system {
            read = read.include_system();
        }
        let want = self.model.read_log(from, backwards, limit, as_of, system);
        let kept: Vec<_> = read.events().iter().map(|event| event.position().0).collect();
        assert_eq!(
            kept, want,
            "the log from {from:?}, backwards {backwards}, limit {limit}, {as_of:?}"
        );
        let in_place = read.fold(Vec::new(), |mut seen, event| {
            seen.push(event.position().0);
            seen
        });
        assert_eq!(in_place, want, "the same in place");
    }

    fn query<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let query = choose_query(choices, &self.model);
        let want = self.model.query(&query);
        self.check_answer(&query, &want);
    }

    fn check_answer(&self, query: &Query, want: &[u64]) {
        let numbers = |positions: Vec<Position>| positions.into_iter().map(|position| position.0).collect::<Vec<_>>();
        let fresh = self.store.query(query.clone()).uncached().positions().map(numbers);
        assert_eq!(fresh.as_deref(), Ok(want), "{query:?}");
        let cached = self.store.query(query.clone()).positions().map(numbers);
        assert_eq!(cached.as_deref(), Ok(want), "{query:?} from the cache");
        let in_place = self.store.query(query.clone()).fold(Vec::new(), |mut seen, event| {
            assert!(self.model.has(event), "{event:?} is not what was appended");
            seen.push(event.position().0);
            seen
        });
        assert_eq!(in_place.as_deref(), Ok(want), "{query:?} in place");
        assert_eq!(
            self.store.query(query.clone()).count(),
            Ok(want.len() as u64),
            "{query:?} counted"
        );
        let mut tail_query = query.clone();
        tail_query.order = Order::Position;
        tail_query.limit = None;
        tail_query.as_of = None;
        self.check_tail(&tail_query);
    }

    fn check_tail(&self, query: &Query) {
        let want = self.model.query(query);
        let tail = self.store.tail(query.clone(), Position(0));
        let mut seen = Vec::new();
        if let Ok(mut tail) = tail {
            while !tail.is_caught_up() {
                if let Some(crate::Delivery::Event(event)) = tail.try_next() {
                    seen.push(event.position().0);
                }
            }
        }
        assert_eq!(seen, want, "{query:?} as a tail");
    }

    /// Reads a list page by page, and compares it with the model's.
    fn list<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let query = choose_list(choices);
        let query = query.limit(1 + choices.below(5) as usize);
        let want = self.model.list(&query.field, &query.prefix, query.order);
        let mut seen = Vec::new();
        let mut next = Some(query.clone());
        while let Some(part) = next.filter(|_| seen.len() <= want.len()) {
            let page = self.store.list(&part);
            let Ok(page) = page else {
                panic_differs(&format!("{part:?}: {page:?}"))
            };
            assert!(page.items.len() == query.limit || page.next.is_none(), "{page:?}");
            seen.extend(page.items.into_iter().map(|item| {
                let last = (item.last_position.0, item.last_at);
                (item.name, item.aggregate_type, item.events, last.0, last.1)
            }));
            next = page.next.map(|cursor| query.clone().cursor(cursor));
        }
        assert_eq!(seen, want, "{query:?}");
    }

    /// Reads a result page by page, and compares it with the whole result.
    fn page_through<I: Iterator<Item = u16>>(&mut self, choices: &mut Choices<I>) {
        let mut query = choose_query(choices, &self.model);
        query.limit = None;
        let want = self.model.query(&query);
        let size = 1 + choices.below(5) as usize;
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let mut next = query.clone().limit(size);
            next.cursor = cursor;
            let page = self.store.query(next.clone()).page();
            let Ok(page) = page else {
                panic_differs(&format!("{next:?}: {page:?}"))
            };
            seen.extend(page.events.iter().map(|event| event.position().0));
            cursor = page.next;
            if cursor.is_none() || seen.len() > want.len() {
                break;
            }
        }
        assert_eq!(seen, want, "{query:?} in pages of {size}");
    }
}

#[expect(clippy::panic, reason = "a difference fails the test that runs this")]
fn panic_differs(message: &str) -> ! {
    panic!("{message}")
}

/// Compares results; for an invalid call only that both reject it.
fn assert_same<T: std::fmt::Debug + PartialEq>(got: &Result<T>, want: &Result<T>, what: &impl std::fmt::Debug) {
    match (got, want) {
        // The model has no version to report when one of several parts was stored before.
        (Err(Error::Invalid { .. }), Err(Error::Invalid { .. })) | (Err(Error::Conflict(_)), Err(Error::Closed)) => {}
        _ => assert_eq!(got, want, "{what:?}"),
    }
}
