//! The database goes away: before the start, in the middle of a batch, and at the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::cqrs::{HandlerError, OnFailure, Projection, WaitError};
use annals::{Event, Position, Store};

use super::owners::{Gate, waiting};
use super::{AccountEvent, Bench, Ledger, SOON, wait_until};
use crate::cluster::Cluster;
use crate::proxy::{Cut, Proxy};
use crate::support::sql;

/// Another read model of the same store, which must not notice anything.
#[derive(Default)]
struct Total(i64);

impl Projection for Total {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, _: &Event) -> Result<(), HandlerError> {
        let AccountEvent::Deposited { amount } = event;
        self.0 += amount;
        Ok(())
    }
}

/// A server that is not there.
const NOWHERE: &str = "postgres://127.0.0.1:9/";

#[test]
fn a_commit_whose_response_was_lost_was_applied_again_or_not_at_all() {
    for (mark, cut) in [
        (&b"COMMIT"[..], Cut::Before),
        (b"COMMIT", Cut::After),
        (b"annals_checkpoints SET position", Cut::Before),
        (b"annals_checkpoints SET position", Cut::After),
        (b"INSERT INTO applied", Cut::After),
    ] {
        let bench = Bench::new();
        let (proxy, way) = Proxy::to(&bench.schema.url);
        let url = bench.url_on(&way);
        let ledger = bench.processors.project_to_postgres("ledger", url, Ledger::new());
        // The batch is handled twice: that is no failure of its events.
        let ledger = ledger.on_failure(OnFailure::park()).start().expect("it starts");
        ledger.when_caught_up(SOON).expect("it runs");
        // The tables are committed last.
        wait_until("it has begun", || bench.schema.try_sql("SELECT FROM applied").is_ok());
        proxy.arm(mark, cut);
        for amount in 1..=5 {
            bench.deposit("a", amount);
        }
        ledger.when_caught_up(SOON).expect("it goes on");
        assert!(proxy.is_met(), "{mark:?} {cut:?}");
        assert_eq!(
            (bench.amounts(), bench.checkpoint()),
            (vec![1, 2, 3, 4, 5], 5),
            "{cut:?}"
        );
        assert_eq!(ledger.letters(), Ok(Vec::new()));
    }
}

/// The commit is on its way when the connection is lost, and comes to the server when the new connection has asked for the checkpoint.
#[test]
fn a_commit_that_came_late_was_applied_again() {
    let bench = Bench::new();
    let (proxy, way) = Proxy::to(&bench.schema.url);
    let url = bench.url_on(&way);
    let ledger = bench.processors.project_to_postgres("ledger", url, Ledger::new());
    let ledger = ledger.on_failure(OnFailure::park()).start().expect("it starts");
    bench.deposit("a", 1);
    ledger.when_caught_up(SOON).expect("it runs");
    proxy.arm(b"COMMIT", Cut::Late);
    bench.deposit("a", 2);
    wait_until("the new connection waits for the old one", || waiting(&bench) > 0);
    bench.deposit("a", 3);
    proxy.release();
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3], 3));
    assert_eq!(ledger.letters(), Ok(Vec::new()));
}

#[test]
fn a_backend_that_ended_in_the_middle_of_a_batch_parked_an_event() {
    for place in [1, 3, 5] {
        let bench = Bench::new();
        let ended = Arc::new(AtomicBool::new(false));
        let ledger = Ledger::with(move |amount, _, rows| {
            if amount == place && !ended.swap(true, Ordering::Relaxed) {
                rows.execute("SELECT pg_terminate_backend(pg_backend_pid())", &[])?;
            }
            Ok(())
        });
        for amount in 1..=5 {
            bench.deposit("a", amount);
        }
        let ledger = bench.project(&ledger).on_failure(OnFailure::park());
        let ledger = ledger.start().expect("it starts");
        ledger.when_caught_up(SOON).expect("it goes on");
        assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 4, 5], 5));
        assert_eq!((ledger.letters(), ledger.status().handled), (Ok(Vec::new()), 5));
    }
}

#[test]
fn a_backend_that_ended_between_two_statements_lost_the_events_before() {
    let bench = Bench::new();
    let gate = Gate::default();
    let held = gate.clone();
    let ledger = Ledger::with(move |amount, _, rows| {
        if amount == 2 {
            held.pass();
            rows.query("SELECT 1", &[])?;
        }
        Ok(())
    });
    for amount in 1..=3 {
        bench.deposit("a", amount);
    }
    let ledger = bench.start(&ledger);
    gate.wait_for_handler();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' AND \
               strpos(query, 'balances') > 0 AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'applied'::regclass)";
    assert_eq!(bench.schema.sql(end).len(), 1);
    gate.open();
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3], 3));
}

#[test]
fn a_deadlock_was_a_failure_of_the_event() {
    let benches = [Bench::new(), Bench::new()];
    let schema = benches[0].schema.name.replace('"', "\"\"");
    let busy = format!("\"{schema}\".busy");
    let first = "CREATE SCHEMA IF NOT EXISTS";
    let fill = "(id int PRIMARY KEY, times int); INSERT INTO";
    benches[0].schema.sql(&format!(
        "{first} \"{schema}\"; CREATE TABLE {busy} {fill} {busy} VALUES (1, 0), (2, 0)"
    ));
    let gates = [Gate::default(), Gate::default()];
    let start = |place: usize| {
        let (gate, first, busy) = (gates[place].clone(), place + 1, busy.clone());
        let bench = &benches[place];
        let ledger = Ledger::with(move |_, _, rows| {
            let add = |id| format!("UPDATE {busy} SET times = times + 1 WHERE id = {id}");
            rows.execute(&add(first), &[])?;
            gate.pass();
            rows.execute(&add(3 - first), &[])?;
            Ok(())
        });
        bench.deposit("a", 1);
        let ledger = bench.project(&ledger).on_failure(OnFailure::park());
        ledger.start().expect("it starts")
    };
    let ledgers = [start(0), start(1)];
    gates.iter().for_each(Gate::wait_for_handler);
    gates.iter().for_each(Gate::open);
    for ledger in ledgers {
        ledger.when_caught_up(SOON).expect("it goes on");
        assert_eq!(ledger.letters(), Ok(Vec::new()));
    }
    assert_eq!(benches[0].schema.value(&format!("SELECT sum(times) FROM {busy}")), "4");
}

#[test]
fn a_database_that_is_away_timed_out_without_a_reason() {
    let bench = Bench::new();
    let (proxy, way) = Proxy::to(&bench.schema.url);
    let url = format!("{}&timeout=5s", bench.url_on(&way));
    let ledger = bench.processors.project_to_postgres("ledger", url, Ledger::new());
    let ledger = ledger.on_failure(OnFailure::park()).start().expect("it starts");
    let total = bench
        .processors
        .project("total", Total::default())
        .start()
        .expect("it starts");
    bench.deposit("a", 1);
    bench.processors.when_caught_up(SOON).expect("both run");
    // New connections are refused, and those that are open are cut.
    proxy.lead_to(NOWHERE);
    proxy.cut();
    let mut last = Position(0);
    for amount in 2..=50 {
        last = bench.deposit("a", amount);
    }
    total.when_processed(last, SOON).expect("another processor goes on");
    wait_until("it tells that the database is away", || {
        ledger.status().waits_for.is_some()
    });
    let error = ledger.when_caught_up(Duration::ZERO).expect_err("it is away");
    assert!(matches!(error, WaitError::TimedOut { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("it waits and retries: "), "{error}");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1], 1));
    proxy.lead_to(&bench.schema.url);
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), ((1..=50).collect(), 50));
    assert_eq!(
        (ledger.letters().map(|all| all.len()), ledger.status().waits_for),
        (Ok(0), None)
    );
}

#[test]
fn a_network_that_is_silent_was_waited_for_without_end() {
    let bench = Bench::new();
    let (proxy, way) = Proxy::to(&bench.schema.url);
    let url = format!("{}&timeout=1s", bench.url_on(&way));
    let ledger = bench.processors.project_to_postgres("ledger", url, Ledger::new());
    let ledger = ledger.on_failure(OnFailure::park()).start().expect("it starts");
    bench.deposit("a", 1);
    ledger.when_caught_up(SOON).expect("it runs");
    proxy.block();
    bench.deposit("a", 2);
    wait_until("it tells that there is no response", || {
        ledger.status().waits_for.is_some()
    });
    // A pause does not wait for the database.
    ledger.pause();
    proxy.unblock();
    ledger.resume();
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2], 2));
}

#[test]
fn a_database_that_was_away_at_the_start_stopped_the_projection() {
    let bench = Bench::new();
    let (proxy, way) = Proxy::to(&bench.schema.url);
    proxy.lead_to(NOWHERE);
    bench.deposit("a", 1);
    let ledger = bench
        .processors
        .project_to_postgres("ledger", bench.url_on(&way), Ledger::new());
    let ledger = ledger.start().expect("it starts");
    wait_until("it tells that the database is away", || {
        ledger.status().waits_for.is_some()
    });
    for refused in [ledger.letters().map(|_| ()), ledger.rebuild().map(|_| ())] {
        let error = refused.expect_err("it is away").to_string();
        assert!(error.contains("cannot be reached"), "{error}");
    }
    proxy.lead_to(&bench.schema.url);
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!(bench.amounts(), [1]);
}

#[test]
fn a_server_that_crashed_doubled_or_lost_events() {
    let cluster = Cluster::start(&[], &[]);
    let store = Store::in_memory();
    let processors = annals::cqrs::Processors::new(&store);
    let ledger = processors
        .project_to_postgres("ledger", cluster.url(), Ledger::new())
        .batch_size(7);
    let ledger = ledger.start().expect("it starts");
    for round in 0..4 {
        for amount in 0..200 {
            super::deposit(&store, "a", 200 * round + amount);
        }
        if round % 2 == 0 {
            cluster.crash();
            cluster.begin();
        }
    }
    ledger.when_caught_up(SOON).expect("it goes on");
    let applied = sql(
        &cluster.url(),
        "SELECT count(*), count(DISTINCT position), sum(amount) FROM applied",
    );
    let applied = applied.expect("it runs");
    let told: Vec<_> = applied[0].iter().flatten().map(String::as_str).collect();
    assert_eq!(told, ["800", "800", "319600"]);
}
