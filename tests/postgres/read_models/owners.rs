//! Two processors of a name, and a checkpoint that is not where it was left.

use std::sync::Arc;

use annals::cqrs::{ProcessorState, Processors, SqlProjected};
use parking_lot::Mutex;

use super::{Bench, Ledger, SOON, is_superseded, stopped, wait_until};

/// A gate that handlers wait at.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<(bool, u64)>, parking_lot::Condvar)>);

impl Gate {
    /// Waits until it is open.
    pub(super) fn pass(&self) {
        let mut state = self.0.0.lock();
        state.1 += 1;
        self.0.1.notify_all();
        while !state.0 {
            self.0.1.wait(&mut state);
        }
    }

    pub(super) fn open(&self) {
        self.0.0.lock().0 = true;
        self.0.1.notify_all();
    }

    /// Waits until a handler is at the gate.
    pub(super) fn wait_for_handler(&self) {
        let mut state = self.0.0.lock();
        while state.1 == 0 {
            let waited = self.0.1.wait_for(&mut state, SOON);
            assert!(!waited.timed_out(), "no handler came");
        }
    }
}

/// The number of sessions that wait for a lock of another.
pub(super) fn waiting(bench: &Bench) -> u64 {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%annals_checkpoints%' \
                   AND strpos(query, quote_ident(current_schema())) > 0";
    bench.schema.value(waiting).parse().expect("a number")
}

fn second(bench: &Bench, processors: &Processors) -> SqlProjected<Ledger> {
    let ledger = processors.project_to_postgres("ledger", bench.url.as_str(), Ledger::new());
    ledger.start().expect("it starts")
}

#[test]
fn a_superseded_owner_applied_events_too() {
    let bench = Bench::new();
    bench.deposit("a", 1);
    let one = bench.start(&Ledger::new());
    one.when_caught_up(SOON).expect("it runs");
    let processors = Processors::new(&bench.store);
    let other = second(&bench, &processors);
    other.when_caught_up(SOON).expect("it runs");
    bench.deposit("a", 2);
    other.when_caught_up(SOON).expect("it goes on");
    assert!(is_superseded(&one), "{}", one.status());
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2], 2));
    // It takes over again when it is told to; the other one stops.
    one.resume();
    bench.deposit("a", 3);
    one.when_caught_up(SOON).expect("it runs again");
    bench.deposit("a", 4);
    assert!(is_superseded(&other), "{}", other.status());
    one.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 4], 4));
}

#[test]
fn a_new_owner_overtook_a_transaction_of_the_old_one() {
    let bench = Bench::new();
    let gate = Gate::default();
    let held = gate.clone();
    let ledger = Ledger::with(move |amount, _, _| {
        if amount == 2 {
            held.pass();
        }
        Ok(())
    });
    for amount in 1..=3 {
        bench.deposit("a", amount);
    }
    let one = bench.start(&ledger);
    gate.wait_for_handler();
    let processors = Processors::new(&bench.store);
    let other = second(&bench, &processors);
    wait_until("the new owner waits for the old one's transaction", || {
        waiting(&bench) > 0
    });
    gate.open();
    other.when_caught_up(SOON).expect("it goes on");
    bench.deposit("a", 4);
    other.when_caught_up(SOON).expect("it goes on");
    assert!(is_superseded(&one), "{}", one.status());
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 4], 4));
}

/// The second of two `CREATE TABLE IF NOT EXISTS` fails where the first is not committed yet.
#[test]
fn owners_that_created_their_tables_at_once_stopped() {
    let bench = Bench::new();
    bench.deposit("a", 1);
    let slow = Ledger {
        more_tables: &["SELECT pg_sleep(0.3)"],
        ..Ledger::new()
    };
    let sets: Vec<_> = (0..3).map(|_| Processors::new(&bench.store)).collect();
    let start = |processors: &Processors| {
        let ledger = processors.project_to_postgres("ledger", bench.url.as_str(), slow.clone());
        ledger.start().expect("it starts")
    };
    let owners: Vec<_> = sets.iter().map(start).collect();
    let has_begun = |state| matches!(state, ProcessorState::CaughtUp | ProcessorState::Stopped(_));
    wait_until("all have begun", || {
        owners.iter().all(|owner| has_begun(owner.status().state))
    });
    for owner in &owners {
        let status = owner.status().to_string();
        assert!(!status.contains("cannot be created"), "{status}");
    }
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1], 1));
}

#[test]
fn ten_owners_in_turns_doubled_or_lost_events() {
    let bench = Bench::new();
    let begun: Vec<_> = (0..10)
        .map(|round| {
            for amount in 0..30 {
                bench.deposit(&format!("account-{}", amount % 3), 30 * round + amount);
            }
            let processors = Processors::new(&bench.store);
            let ledger = second(&bench, &processors);
            (processors, ledger)
        })
        .collect();
    wait_until("all is applied", || bench.checkpoint_or_zero() == 300);
    assert_eq!(bench.amounts(), (0..300).collect::<Vec<_>>());
    drop(begun);
}

#[test]
fn a_checkpoint_that_was_moved_behind_its_back_was_overwritten() {
    let bench = Bench::new();
    for amount in 1..=4 {
        bench.deposit("a", amount);
    }
    let ledger = bench.start(&Ledger::new());
    ledger.when_caught_up(SOON).expect("it runs");
    // Back, as a server does that has lost commits: its rows are gone, too.
    bench
        .schema
        .sql("UPDATE annals_checkpoints SET position = 2, event_id = NULL; DELETE FROM applied WHERE position > 2");
    bench.deposit("a", 5);
    let error = stopped(&ledger);
    assert!(
        error.contains("the checkpoint of 'ledger' went back from 4 to 2"),
        "{error}"
    );
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2], 2));
    ledger.resume();
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!(bench.amounts(), [1, 2, 3, 4, 5]);
    // Ahead: the events before it count as applied.
    bench.deposit("a", 6);
    ledger.when_caught_up(SOON).expect("it goes on");
    bench.processors.end();
    bench
        .schema
        .sql("UPDATE annals_checkpoints SET position = 7, event_id = NULL");
    bench.deposit("a", 7);
    bench.deposit("a", 8);
    let ledger = bench.start(&Ledger::new());
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!(bench.amounts(), [1, 2, 3, 4, 5, 6, 8]);
    // Away.
    bench.schema.sql("DELETE FROM annals_checkpoints");
    bench.deposit("a", 9);
    let error = stopped(&ledger);
    assert!(error.contains("the row of 'ledger' was deleted"), "{error}");
    assert_eq!(bench.amounts(), [1, 2, 3, 4, 5, 6, 8]);
}
