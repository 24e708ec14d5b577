//! Reading, deciding and appending on a condition, while others do the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::journal::{Batch, Compactor, Journal, JournalError, Recover, Recovered};
use annals::testing::storage::MemoryStorage;
use annals::{
    Append, Condition, Conflict, Durability, Error, Expected, NewEvent, Position, Query, Result, Settings, Store,
    StreamId,
};
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use super::WRITERS;
use crate::support::{noted, stream};

/// Holds the journal's syncs back until it is opened.
#[derive(Debug, Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        self.1.wait_while(&mut self.0.lock(), |open| !*open);
    }
}

#[derive(Debug)]
struct Gated<J>(J, Arc<Gate>);

impl<J: Journal> Journal for Gated<J> {
    fn durability(&self) -> Durability {
        self.0.durability()
    }

    fn recover(&mut self, into: &mut dyn Recover) -> std::result::Result<Recovered, JournalError> {
        self.0.recover(into)
    }

    fn write(&mut self, batch: &Batch) -> std::result::Result<(), JournalError> {
        self.0.write(batch)
    }

    fn sync(&mut self) -> std::result::Result<(), JournalError> {
        self.1.pass();
        self.0.sync()
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        self.0.compactor()
    }

    fn close(self: Box<Self>) -> std::result::Result<(), JournalError> {
        Box::new(self.0).close()
    }
}

fn gated(durability: Durability) -> (Store, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let journal = MemoryStorage::new(Durability::Synced).journal().expect("a journal");
    let settings = Settings::default().durability(durability);
    let builder = Store::builder().settings(settings);
    let store = builder
        .journal(Gated(journal, Arc::clone(&gate)))
        .open()
        .expect("a store");
    (store, gate)
}

fn claims() -> Query {
    Query::all().event_type("Claimed")
}

fn claim(by: &str) -> Vec<Append<'_>> {
    let claimed = NewEvent::new("Claimed").user(by);
    vec![Append::new(StreamId::new("Name", "ada"), Expected::Any, vec![claimed])]
}

/// Appends in a thread of its own, and waits until that is written; readers see it when the gate is open.
fn append_unseen<'scope>(scope: &'scope std::thread::Scope<'scope, '_>, store: &'scope Store) {
    scope.spawn(|| store.append_all(claim("first")).expect("appended"));
    while store.stats().events_at_risk == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_conditional_append_spun_while_the_other_was_synced() {
    let (store, gate) = gated(Durability::Synced);
    let decisions = AtomicU64::new(0);
    std::thread::scope(|scope| {
        append_unseen(scope, &store);
        let second = scope.spawn(|| {
            store.transact(claims(), |claims| {
                decisions.fetch_add(1, Ordering::SeqCst);
                match claims.first() {
                    Some(claim) => Err(Error::Deleted {
                        aggregate_id: claim.user_id().unwrap_or_default().into(),
                    }),
                    None => Ok(claim("second")),
                }
            })
        });
        while decisions.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        // Time enough for thousands of conflicts.
        let mut tail = store.tail(Query::all(), Position(0)).expect("a tail");
        assert!(tail.next_timeout(Duration::from_millis(50)).is_none());
        assert_eq!(decisions.load(Ordering::SeqCst), 1);
        gate.open();
        let refused = second.join().expect("no panic");
        assert_eq!(
            refused,
            Err(Error::Deleted {
                aggregate_id: "first".into()
            })
        );
    });
    assert_eq!((decisions.load(Ordering::SeqCst), store.visible()), (2, Position(1)));
}

type Call = fn(&Store, Uuid) -> Result<()>;

#[test]
fn every_conflict_names_what_to_wait_for() {
    let id = Uuid::from_u128(5);
    let calls: [(&str, Call); 4] = [
        ("version", |store, _| {
            store.append(&stream("a"), Expected::NoStream, vec![noted(1)]).map(drop)
        }),
        ("a part's version", |store, _| {
            let part = Append::new(stream("a"), Expected::exactly(7), vec![noted(1)]);
            store.append_all(vec![part]).map(drop)
        }),
        ("condition", |store, _| {
            let part = Append::new(stream("b"), Expected::Any, vec![noted(1)]);
            store
                .append_if(&Condition::none(Query::all().event_type("Noted")), vec![part])
                .map(drop)
        }),
        ("event known", |store, id| {
            store
                .append(&stream("a"), Expected::Any, vec![noted(1).id(id), noted(2)])
                .map(drop)
        }),
    ];
    for (what, call) in calls {
        let (store, gate) = gated(Durability::Synced);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                store
                    .append(&stream("a"), Expected::Any, vec![noted(1).id(id)])
                    .expect("appended")
            });
            while store.stats().events_at_risk == 0 {
                std::thread::yield_now();
            }
            let error = call(&store, id).expect_err(what);
            let position = error.conflict().expect(what).wait_for();
            assert_eq!((position, store.visible()), (Position(1), Position(0)), "{what}");
            gate.open();
            store.wait_visible(position);
            assert_eq!(store.read_stream("a").events()[0].id(), id, "{what}");
        });
    }
}

#[test]
fn a_transaction_ends_after_its_attempts() {
    let store = Store::in_memory();
    for attempts in [0, 1, 2, 5] {
        let mut decisions = 0;
        let refused: Result<_> = store.transaction(claims()).attempts(attempts).run(|_| {
            decisions += 1;
            // Another is always faster.
            store.append_all(claim("another"))?;
            Ok(claim("me"))
        });
        let error = refused.expect_err("it never holds");
        assert!(matches!(error.conflict(), Some(Conflict::Condition { .. })), "{error}");
        assert_eq!(decisions, attempts.max(1));
    }
    assert_eq!(store.query(claims()).count(), Ok(9));
}

#[test]
fn what_deciding_again_cannot_resolve_is_not_repeated() {
    let store = Store::in_memory();
    let known = noted(1).id(Uuid::from_u128(1));
    store
        .append(&stream("a"), Expected::Any, vec![known.clone()])
        .expect("appended");
    let mut decisions = 0;
    let mixed: Result<_> = store.transact(claims(), |_| {
        decisions += 1;
        Ok(vec![Append::new(
            stream("a"),
            Expected::Any,
            vec![known.clone(), noted(2)],
        )])
    });
    assert!(matches!(
        mixed.expect_err("mixed").conflict(),
        Some(Conflict::EventKnown { .. })
    ));
    let refused: Result<_> = store.transact(claims(), |_| {
        decisions += 1;
        Err(Error::Closed)
    });
    assert_eq!((refused, decisions), (Err(Error::Closed), 2));
    // A repetition is recognised before the condition, and nothing decided is nothing checked.
    let again: Result<_> = store.transact(Query::all(), |_| {
        store.append(&stream("b"), Expected::Any, vec![noted(1)])?;
        Ok(vec![Append::new(stream("a"), Expected::Any, vec![known.clone()])])
    });
    assert!(again.expect("it is known")[0].repeated);
    assert_eq!(
        store.transact(Query::all(), |_| Ok::<_, Error>(Vec::new())),
        Ok(Vec::new())
    );
    store.close().expect("closed");
    let closed: Result<_> = store.transact(claims(), |_| Ok(claim("late")));
    assert_eq!(closed, Err(Error::Closed));
}

/// Claims a name for a writer if it is free. Returns whether it was.
fn claim_name(store: &Store, writer: u64, name: u32) -> bool {
    let name = format!("name-{name}");
    let transaction = store.transaction(claims().correlation(&*name)).attempts(u32::MAX);
    let claimed = transaction.run(|claims| {
        if !claims.is_empty() {
            return Err(Refused(None));
        }
        let event = NewEvent::new("Claimed").correlation(name.clone());
        Ok(vec![Append::new(
            stream(&format!("writer-{writer}")),
            Expected::Any,
            vec![event],
        )])
    });
    if let Err(Refused(Some(error))) = &claimed {
        panic!("{error}");
    }
    claimed.is_ok()
}

#[test]
fn of_many_transactions_one_wins_each_name() {
    for durability in [Durability::Volatile, Durability::Written, Durability::Synced] {
        let journal = MemoryStorage::new(Durability::Synced).journal().expect("a journal");
        let settings = Settings::default().durability(durability);
        let builder = Store::builder().settings(settings);
        let store = builder.journal(journal).open().expect("a store");
        let won = AtomicU64::new(0);
        let claim_all = |writer| {
            let names = (0..25).filter(|name| claim_name(&store, writer, *name));
            won.fetch_add(names.count() as u64, Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let claim_all = &claim_all;
                scope.spawn(move || claim_all(writer));
            }
        });
        assert_eq!(won.load(Ordering::Relaxed), 25, "{durability}");
        assert_eq!(store.query(claims()).count(), Ok(25), "{durability}");
    }
}

/// Why a name is not claimed: the store's error, or that it is taken.
struct Refused(Option<Error>);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(Some(error))
    }
}
