//! Rebuilds: beside the read model that is read, which is replaced at once or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use annals::cqrs::{HandlerError, OnFailure, Processors, Rows, SqlProjection, StopReason};
use annals::{Event, Expected, NewEvent, Position, StreamId};

use super::owners::{Gate, waiting};
use super::{AccountEvent, Bench, Ledger, SOON, deposit, stopped, wait_until};

#[test]
fn readers_saw_half_a_rebuild() {
    let bench = Bench::new();
    for amount in 1..=300 {
        bench.deposit(&format!("account-{}", amount % 9), amount);
    }
    let (gate, rebuilds) = (Gate::default(), Arc::new(AtomicBool::new(false)));
    let (held, is_rebuilding) = (gate.clone(), Arc::clone(&rebuilds));
    let ledger = bench.start(&Ledger::with(move |amount, _, _| {
        if amount == 150 && is_rebuilding.load(Ordering::Relaxed) {
            held.pass();
        }
        Ok(())
    }));
    ledger.when_caught_up(SOON).expect("it runs");
    // Rows that no event explains: the rebuild removes them.
    bench.schema.sql("INSERT INTO applied VALUES (0, -7)");
    rebuilds.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        let rebuilt = scope.spawn(|| ledger.rebuild());
        gate.wait_for_handler();
        // The one that is read is complete, and goes on.
        bench.deposit("a", 301);
        ledger.when_caught_up(SOON).expect("it goes on");
        assert_eq!(bench.amounts(), [vec![-7], (1..=301).collect()].concat());
        gate.open();
        let mut seen = Vec::new();
        while !rebuilt.is_finished() {
            seen.push(bench.amounts().len());
        }
        seen.push(bench.amounts().len());
        assert!(seen.iter().all(|count| [301, 302].contains(count)), "{seen:?}");
        assert_eq!(rebuilt.join().expect("no panic"), Ok(Position(301)));
    });
    bench.deposit("a", 302);
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), ((1..=302).collect(), 302));
}

#[test]
fn a_handler_in_flight_wrote_into_the_rebuilt_tables() {
    let bench = Bench::new();
    let (gate, times) = (Gate::default(), Arc::new(AtomicU64::new(0)));
    let (held, counted) = (gate.clone(), Arc::clone(&times));
    let ledger = bench.start(&Ledger::with(move |amount, _, _| {
        if amount == 3 && counted.fetch_add(1, Ordering::Relaxed) == 0 {
            held.pass();
        }
        Ok(())
    }));
    for amount in 1..=4 {
        bench.deposit("a", amount);
    }
    gate.wait_for_handler();
    thread::scope(|scope| {
        let rebuilt = scope.spawn(|| ledger.rebuild());
        wait_until("the rebuild waits for the handler", || waiting(&bench) > 0);
        assert_eq!(times.load(Ordering::Relaxed), 2, "it has come to the event, too");
        // The rebuild has this one, too, before it replaces the tables.
        bench.deposit("a", 5);
        gate.open();
        assert_eq!(rebuilt.join().expect("no panic"), Ok(Position(5)));
    });
    bench.deposit("a", 6);
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 4, 5, 6], 6));
}

/// The handler in flight is one of another process, which does not know of the rebuild.
#[test]
fn an_old_owner_wrote_into_the_rebuilt_tables() {
    let bench = Bench::new();
    let gate = Gate::default();
    let held = gate.clone();
    bench.deposit("a", 1);
    let old = bench.start(&Ledger::with(move |amount, _, _| {
        if amount == 2 {
            held.pass();
        }
        Ok(())
    }));
    old.when_caught_up(SOON).expect("it runs");
    let processors = Processors::new(&bench.store);
    let new = processors.project_to_postgres("ledger", bench.url.as_str(), Ledger::new());
    let new = new.start().expect("it starts");
    wait_until("the new owner has begun", || {
        bench.schema.value("SELECT epoch FROM annals_checkpoints") == "2"
    });
    new.pause();
    bench.deposit("a", 2);
    assert_eq!(new.rebuild(), Ok(Position(2)));
    gate.open();
    let reason = stopped(&old);
    assert!(reason.contains("another processor of this name"), "{reason}");
    // A rebuild of the old one is refused, too.
    let refused = old.rebuild();
    assert!(matches!(refused, Err(StopReason::Superseded { .. })), "{refused:?}");
    new.resume();
    bench.deposit("a", 3);
    new.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3], 3));
}

#[test]
fn a_changed_shape_was_not_that_of_the_rebuilt_tables() {
    let bench = Bench::new();
    let role = format!("reader \"{}\"", std::process::id());
    for amount in 1..=3 {
        bench.deposit("a", amount);
    }
    let mut old = Ledger::new();
    old.more_tables = &[
        "CREATE TABLE IF NOT EXISTS notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)",
        "CREATE TABLE IF NOT EXISTS replies (note bigint REFERENCES notes, id bigserial)",
        "CREATE OR REPLACE VIEW sums AS SELECT sum(amount) AS sum FROM applied",
    ];
    bench.start(&old).when_caught_up(SOON).expect("it runs");
    bench.processors.end();
    let quoted = role.replace('"', "\"\"");
    bench.schema.sql(&format!(
        "CREATE ROLE \"{quoted}\"; GRANT SELECT ON applied TO \"{quoted}\" WITH GRANT OPTION; GRANT SELECT ON sums TO PUBLIC"
    ));
    let mut new = Ledger::with(|amount, _, rows| {
        rows.execute("INSERT INTO notes (note, amount) VALUES ('noted', $1)", &[&amount])?;
        Ok(())
    });
    new.more_tables = &[
        "CREATE TABLE IF NOT EXISTS notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, amount bigint)",
        "CREATE TABLE IF NOT EXISTS replies (note bigint REFERENCES notes, id bigserial)",
        "CREATE OR REPLACE VIEW sums AS SELECT sum(amount) AS sum, count(*) AS count FROM applied",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS first AS SELECT min(amount) FROM applied",
        "CREATE INDEX IF NOT EXISTS by_amount ON notes (amount)",
    ];
    bench.deposit("a", 4);
    let ledger = bench.start(&new);
    // The old tables have no such column.
    assert!(stopped(&ledger).contains("42703"));
    assert_eq!(ledger.rebuild(), Ok(Position(4)));
    ledger.resume();
    bench.deposit("a", 5);
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!(bench.amounts(), [1, 2, 3, 4, 5]);
    assert_eq!(bench.schema.value("SELECT sum || ' ' || count FROM sums"), "15 5");
    assert_eq!(bench.schema.value("SELECT count(*) FROM notes WHERE amount > 0"), "5");
    let can = format!(
        "SELECT has_table_privilege('{role}', 'applied', 'SELECT WITH GRANT OPTION')::text || \
         has_table_privilege('{role}', 'sums', 'SELECT') || has_table_privilege('{role}', 'balances', 'SELECT')"
    );
    let can = bench.schema.value(&can);
    bench
        .schema
        .sql(&format!("DROP OWNED BY \"{quoted}\"; DROP ROLE \"{quoted}\""));
    assert_eq!(can, "truetruefalse");
}

#[test]
fn a_rebuild_that_failed_left_half_of_it() {
    let bench = Bench::new();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let ledger = Ledger::with(move |amount, _, rows| {
        if amount == 3 && failing.load(Ordering::Relaxed) {
            rows.execute("SELECT 1 / 0", &[])?;
        }
        Ok(())
    });
    let ledger = bench.start(&ledger);
    for amount in 1..=4 {
        bench.deposit("a", amount);
    }
    ledger.when_caught_up(SOON).expect("it runs");
    fails.store(true, Ordering::Relaxed);
    let error = ledger.rebuild().expect_err("an event fails");
    assert_eq!(error.event().map(|event| event.position), Some(Position(3)), "{error}");
    // What depends on a table keeps it.
    fails.store(false, Ordering::Relaxed);
    bench.schema.sql("CREATE VIEW of_another AS SELECT * FROM applied");
    let error = ledger.rebuild().expect_err("a view depends on it").to_string();
    assert!(error.contains("2BP01") && error.contains("of_another"), "{error}");
    bench.deposit("a", 5);
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 4, 5], 5));
    bench.schema.sql("DROP VIEW of_another");
    assert_eq!(ledger.rebuild(), Ok(Position(5)));
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 4, 5], 5));
}

/// Names its table with a schema.
struct Qualified(String);
impl SqlProjection for Qualified {
    type Event = AccountEvent;

    fn create(&self, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        rows.execute(&format!("CREATE TABLE IF NOT EXISTS {} (amount bigint)", self.0), &[])?;
        Ok(())
    }

    fn apply(&self, event: AccountEvent, _: &Event, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        let AccountEvent::Deposited { amount } = event;
        rows.execute(&format!("INSERT INTO {} VALUES ($1)", self.0), &[&amount])?;
        Ok(())
    }
}

#[test]
fn a_rebuild_wrote_into_tables_with_a_schema() {
    let bench = Bench::new();
    let schema = bench.schema.name.replace('"', "\"\"");
    let table = format!("\"{schema}\".sums");
    bench.deposit("a", 1);
    let sums = bench
        .processors
        .project_to_postgres("sums", bench.url.as_str(), Qualified(table));
    let sums = sums.start().expect("it starts");
    sums.when_caught_up(SOON).expect("it runs");
    let error = sums
        .rebuild()
        .expect_err("it would write into the live table")
        .to_string();
    assert!(error.contains("name tables without a schema"), "{error}");
    assert_eq!(bench.schema.value("SELECT count(*) FROM sums"), "1");
}

#[test]
fn a_function_of_a_rebuild_was_lost() {
    let bench = Bench::new();
    bench.deposit("a", 1);
    let mut ledger = Ledger::new();
    ledger.more_tables = &["CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'"];
    let ledger = bench.start(&ledger);
    ledger.when_caught_up(SOON).expect("it runs");
    let error = ledger.rebuild().expect_err("a function is left").to_string();
    assert!(error.contains("2BP01") && error.contains("one()"), "{error}");
    assert_eq!(
        (bench.amounts(), bench.schema.value("SELECT one()")),
        (vec![1], "1".to_owned())
    );
}

#[test]
fn letters_of_the_old_read_model_outlived_a_rebuild() {
    let bench = Bench::new();
    let heals = Arc::new(AtomicBool::new(false));
    let healed = Arc::clone(&heals);
    let ledger = Ledger::with(move |amount, _, rows| {
        if amount == 4 || amount == 2 && !healed.load(Ordering::Relaxed) {
            rows.execute("SELECT 1 / 0", &[])?;
        }
        Ok(())
    });
    for (account, amount) in [("a", 1), ("a", 2), ("a", 3), ("b", 4)] {
        bench.deposit(account, amount);
    }
    let ledger = bench.project(&ledger).on_failure(OnFailure::park());
    let ledger = ledger.start().expect("it starts");
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!(
        (bench.amounts(), ledger.letters().map(|all| all.len())),
        (vec![1], Ok(3))
    );
    heals.store(true, Ordering::Relaxed);
    assert_eq!(ledger.rebuild(), Ok(Position(4)));
    let letters = ledger.letters().expect("they can be read");
    let positions: Vec<_> = letters.iter().map(|letter| letter.position.0).collect();
    assert_eq!((bench.amounts(), positions), (vec![1, 2, 3], vec![4]));
}

#[test]
fn events_that_came_during_a_rebuild_were_lost() {
    let bench = Bench::new();
    let ledger = bench.start(&Ledger::new());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for amount in 1..=2_000 {
                let deposited = deposit(&bench.store, &format!("account-{}", amount % 5), amount);
                if amount % 50 == 0 {
                    ledger
                        .when_processed(deposited, SOON)
                        .expect("no wait fails because of a rebuild");
                }
                let note = NewEvent::new("Noted");
                bench
                    .store
                    .append(&StreamId::new("Note", "n"), Expected::Any, note)
                    .expect("a note");
            }
            is_over.store(true, Ordering::Relaxed);
        });
        wait_until("it has begun", || bench.checkpoint_or_zero() > 0);
        while !is_over.load(Ordering::Relaxed) {
            ledger.rebuild().expect("it is replaced");
        }
    });
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!(bench.amounts(), (1..=2_000).collect::<Vec<_>>());
}

#[test]
fn a_rebuild_sent_the_mails_again() {
    let bench = Bench::new();
    let mails = Arc::new(AtomicU64::new(0));
    let sent = Arc::clone(&mails);
    let ledger = bench.start(&Ledger::with(move |_, _, rows| {
        sent.fetch_add(u64::from(!rows.is_rebuild()), Ordering::Relaxed);
        Ok(())
    }));
    for amount in 1..=3 {
        bench.deposit("a", amount);
    }
    ledger.when_caught_up(SOON).expect("it runs");
    assert_eq!(ledger.rebuild(), Ok(Position(3)));
    assert_eq!(mails.load(Ordering::Relaxed), 3);
    bench.deposit("a", 4);
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((mails.load(Ordering::Relaxed), bench.amounts()), (4, vec![1, 2, 3, 4]));
}
