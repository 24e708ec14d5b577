//! One kind of work, done a given number of times: the program whose instructions `benches/instructions.sh` counts.
//!
//! `instructions WORK COUNT` runs WORK COUNT times; the script takes the difference of two counts, so that what precedes the work does not
//! count. Events carry 128 bytes of JSON, a type, a correlation, a user and an organization, as those of `cargo bench --bench store`.

use std::hint::black_box;

use annals::{Append, Condition, Expected, NewEvent, Query, Settings, Store, StreamId};

#[cfg(feature = "cqrs")]
mod toolkit;

const AGGREGATES: usize = 1_000;
const TYPES: usize = 8;
const USERS: usize = 1_000;
const ORGANIZATIONS: usize = 100;
/// Consecutive events with one correlation.
const CONVERSATION_EVENTS: usize = 10;
/// Events in the store before reads are counted.
const READ_EVENTS: usize = 100_000;
const PAYLOAD: &[u8; 128] = br#"{"amount":1250,"currency":"EUR","reference":"2026-01-31/0004711","channel":"mobile","note":"a payment like the others, in time"}"#;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let work = arguments.next().unwrap_or_default();
    let count = arguments.next().and_then(|text| text.parse().ok());
    match (work.as_str(), count) {
        ("single-append", Some(count)) => single_append(count, AGGREGATES),
        ("hot-append", Some(count)) => single_append(count, 1),
        ("batch-of-10", Some(count)) => batches(count),
        ("conditional-append", Some(count)) => conditional_append(count),
        ("load-of-100", Some(count)) => loads(count),
        ("load-of-50-unsealed", Some(count)) => loads_unsealed(count),
        ("conversation", Some(count)) => conversations(count),
        ("type-query", Some(count)) => type_queries(count),
        #[cfg(feature = "cqrs")]
        (work, Some(count)) => toolkit::work(work).into_iter().for_each(|work| work(count)),
        // `cargo test --benches` and `cargo bench` start it without work.
        _ => {}
    }
}

/// Names of events and aggregates, made before the work.
struct Names {
    streams: Vec<StreamId>,
    types: Vec<String>,
    correlations: Vec<String>,
    users: Vec<String>,
    organizations: Vec<String>,
}

impl Names {
    fn new(events: usize, aggregates: usize) -> Self {
        let names = |kind: &str, count: usize| (0..count).map(|number| format!("{kind}-{number:07}")).collect();
        let streams: Vec<String> = names("account", aggregates);
        Self {
            streams: streams.into_iter().map(|id| StreamId::new("Account", id)).collect(),
            types: names("MoneyMoved", TYPES),
            correlations: names("request", events.div_ceil(CONVERSATION_EVENTS)),
            users: names("user", USERS),
            organizations: names("org", ORGANIZATIONS),
        }
    }

    fn stream(&self, number: usize) -> &StreamId {
        &self.streams[number % self.streams.len()]
    }

    fn event(&self, number: usize) -> NewEvent<'_> {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        NewEvent::new(&self.types[mixed % TYPES])
            .correlation(&self.correlations[number / CONVERSATION_EVENTS])
            .user(&self.users[mixed % USERS])
            .organization(&self.organizations[mixed % ORGANIZATIONS])
            .data(PAYLOAD)
    }
}

#[expect(clippy::panic, reason = "a benchmark whose work fails has no number")]
fn sure<T>(result: annals::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// The number of shards is fixed: by default it depends on the machine.
fn store() -> Store {
    let settings = Settings::default().shards(16);
    sure(Store::builder().settings(settings).open())
}

fn single_append(count: usize, aggregates: usize) {
    let (store, names) = (store(), Names::new(count, aggregates));
    for number in 0..count {
        let expected = Expected::exactly((number / aggregates) as u64);
        sure(store.append(names.stream(number), expected, [names.event(number)]));
    }
}

fn batches(count: usize) {
    let (store, names) = (store(), Names::new(count * 10, AGGREGATES));
    for number in 0..count {
        let events = (number * 10..number * 10 + 10).map(|number| names.event(number));
        let expected = Expected::exactly((number / AGGREGATES * 10) as u64);
        sure(store.append(names.stream(number), expected, events.collect::<Vec<_>>()));
    }
}

/// Appends on the condition that no event of a type, which never comes, was appended.
fn conditional_append(count: usize) {
    let (store, names) = (store(), Names::new(count, AGGREGATES));
    for number in 0..count {
        let condition = Condition::none(Query::all().event_type("AccountClosed"));
        let append = Append::new(names.stream(number), Expected::Any, [names.event(number)]);
        sure(store.append_if(&condition, append));
    }
}

fn filled(events: usize, aggregates: usize) -> (Store, Names) {
    let (store, names) = (store(), Names::new(events, aggregates));
    for number in 0..events {
        sure(store.append(names.stream(number), Expected::Any, [names.event(number)]));
    }
    // The index is up to date before anything is counted.
    black_box(sure(store.query(Query::all().event_type("none")).count()));
    (store, names)
}

/// Folds streams of 100 events that are scattered over the log.
fn loads(count: usize) {
    let (store, names) = filled(READ_EVENTS, AGGREGATES);
    for number in 0..count {
        let id = &names.stream(number).aggregate_id;
        black_box(store.read_stream(id).fold(0, |sum, event| sum + event.data().len()));
    }
}

/// Folds streams of 50 events that are scattered over a chunk to which events are still added: too few to seal it.
fn loads_unsealed(count: usize) {
    let (store, names) = filled(2_000, 40);
    for number in 0..count {
        let id = &names.stream(number).aggregate_id;
        black_box(store.read_stream(id).fold(0, |sum, event| sum + event.data().len()));
    }
}

/// Reads ten events by their correlation.
fn conversations(count: usize) {
    let (store, names) = filled(READ_EVENTS, AGGREGATES);
    for number in 0..count {
        let correlation = &names.correlations[number % names.correlations.len()];
        black_box(sure(store.query(Query::all().correlation(correlation)).events()));
    }
}

/// The positions of the events of one type in eight.
fn type_queries(count: usize) {
    let (store, names) = filled(READ_EVENTS, AGGREGATES);
    for number in 0..count {
        let query = Query::all().event_type(&names.types[number % TYPES]);
        black_box(sure(
            store
                .query(query)
                .uncached()
                .fold(0, |sum, event| sum + event.position().0),
        ));
    }
}
