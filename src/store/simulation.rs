//! Every interleaving of a store's own threads, under loom: appends and a fork, through the public calls.

use crate::store::Store;
use crate::store::core::Core;
use crate::store::log::positions::Log;
use crate::{Append, Expected, NewEvent, Query, Settings, StreamId, Version};

/// loom's own stack, 32 KiB, is too small for an append.
const STACK_BYTES: usize = 1 << 17;

/// Starts a thread of the model with enough stack for an append.
pub(super) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> loom::thread::JoinHandle<T> {
    let builder = loom::thread::Builder::new().stack_size(STACK_BYTES / size_of::<usize>());
    builder.spawn(work).expect("loom starts a thread")
}

/// Runs `body` in every interleaving, on a thread with enough stack for an append.
pub(super) fn model(body: impl Fn() + Clone + Send + Sync + 'static) {
    loom::model(move || {
        let body = body.clone();
        spawn(body).join().expect("the model ends");
    });
}

pub(super) fn settings() -> Settings {
    let mut settings = Settings::default();
    // A query cache would add locks that loom does not simulate.
    settings.cache.bytes = 0;
    settings.shards = 1;
    settings
}

/// A store with two shards and two lanes, whatever the number of processors.
fn store() -> Store {
    let mut engine = Store::builder().settings(settings()).engine(Log::new(), None);
    engine.core = Core::new(Log::new(), 2, 2);
    Store::of(engine)
}

/// Two aggregates in different shards. Hashes differ from store to store.
fn aggregates(store: &Store) -> [StreamId; 2] {
    let core = &store.engine().core;
    [0, 1].map(|shard| {
        let mut ids = (0..).map(|number: u32| number.to_string());
        let id = ids.find(|id| core.shard_of(core.hash(id)) == shard);
        StreamId::new("Account", id.expect("half of all ids are in each shard"))
    })
}

/// Appends an event to each aggregate, at consecutive positions.
fn transfer(store: &Store, accounts: &[StreamId; 2]) {
    let moved = |account: &StreamId, what| Append::new(account.clone(), Expected::Any, vec![NewEvent::new(what)]);
    let appends = [moved(&accounts[0], "Withdrawn"), moved(&accounts[1], "Deposited")];
    store.append_all(appends).expect("an append without a condition");
}

/// Appends two events to one aggregate.
fn pay(store: &Store, account: &StreamId) {
    pay_as(store, account, "original");
}

fn pay_as(store: &Store, account: &StreamId, user: &str) {
    let events = ["Withdrawn", "Deposited"].map(|what| NewEvent::new(what).user(user));
    store
        .append(account, Expected::Any, events)
        .expect("an append without a condition");
}

/// Counts the appends of a store through the index.
fn count(store: &Store) -> u64 {
    let query = Query::all().event_type("Deposited");
    store.query(query).count().expect("a valid query")
}

/// Checks that a store has whole appends without a hole, and that log, streams and index agree. Returns the number of its events.
fn check(store: &Store, accounts: &[StreamId; 2]) -> u64 {
    let log = &store.engine().core.log;
    assert_eq!(
        log.published(),
        log.reserved(),
        "a store at rest has positions that it has not published"
    );
    let visible = store.visible().0;
    let events = store.read_all().events();
    let positions: Vec<_> = events.iter().map(|event| event.position().0).collect();
    assert_eq!(
        positions,
        (1..=visible).collect::<Vec<_>>(),
        "a hole, or an event that is not published"
    );
    for pair in events.chunks(2) {
        let types: Vec<_> = pair.iter().map(|event| event.event_type().to_owned()).collect();
        assert_eq!(types, ["Withdrawn", "Deposited"], "half an append");
    }
    for account in accounts {
        let known = events
            .iter()
            .filter(|event| *event.aggregate_id() == *account.aggregate_id)
            .count();
        let version = store
            .stream_info(&account.aggregate_id)
            .map_or(Version(0), |info| info.version);
        assert_eq!(version.0, known as u64, "the stream has other events than the log");
        assert_eq!(store.read_stream(&account.aggregate_id).events().len(), known);
    }
    assert_eq!(count(store), visible / 2, "the index has other events than the log");
    visible
}

/// Checks a fork that was taken while `written` events were appended to `store`, and that both continue independently.
fn check_both(store: &Store, fork: &Store, accounts: &[StreamId; 2], written: u64) {
    let forked = check(fork, accounts);
    assert_eq!(check(store, accounts), written);
    pay_as(fork, &accounts[0], "fork");
    let of_fork = |store: &Store| store.query(Query::all().user("fork")).count().expect("a valid query");
    assert_eq!(
        (of_fork(fork), of_fork(store)),
        (2, 0),
        "an index knows events of the other store"
    );
    assert_eq!((check(fork, accounts), check(store, accounts)), (forked + 2, written));
    transfer(store, accounts);
    assert_eq!(
        (check(fork, accounts), check(store, accounts)),
        (forked + 2, written + 2)
    );
}

#[test]
fn a_fork_has_whole_appends_of_a_writer_to_several_shards() {
    model(|| {
        let store = store();
        let accounts = aggregates(&store);
        let writer = {
            let (store, accounts) = (store.clone(), accounts.clone());
            spawn(move || {
                transfer(&store, &accounts);
                // Extends the index.
                assert_eq!(count(&store), 1);
            })
        };
        let fork = store.fork();
        writer.join().expect("the writer ends");
        check_both(&store, &fork, &accounts, 2);
    });
}

#[test]
fn a_fork_has_a_prefix_of_what_two_writers_append() {
    model(|| {
        let store = store();
        let accounts = aggregates(&store);
        let writers = accounts.clone().map(|account| {
            let store = store.clone();
            spawn(move || pay(&store, &account))
        });
        let fork = store.fork();
        for writer in writers {
            writer.join().expect("a writer ends");
        }
        check_both(&store, &fork, &accounts, 4);
    });
}
