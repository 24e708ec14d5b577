//! What is committed, where processing goes on, and what the status says.

use annals::cqrs::{Processors, SqlProjected, StartFrom};
use annals::{Expected, NewEvent, Position, Store, StreamId, Version};

use super::{Bench, Ledger, SOON, deposit, stopped, wait_until};

#[test]
fn a_restart_applied_events_again() {
    let bench = Bench::new();
    let mut amounts = Vec::new();
    for (round, size) in (0..4).zip(1..) {
        let processors = Processors::new(&bench.store);
        bench.deposit("a", 2 * round);
        let ledger = processors.project_to_postgres("ledger", bench.url.as_str(), Ledger::new());
        let ledger = ledger.batch_size(size).start().expect("it starts");
        let last = bench.deposit("b", 2 * round + 1);
        ledger.when_caught_up(SOON).expect("it runs");
        processors.end();
        amounts.extend([2 * round, 2 * round + 1]);
        assert_eq!((bench.amounts(), bench.checkpoint()), (amounts.clone(), last.0));
    }
    let balances = bench.schema.sql("SELECT id, balance FROM balances ORDER BY id");
    let told = |row: &Vec<Option<String>>| row.iter().flatten().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(balances.iter().map(told).collect::<Vec<_>>(), ["a 12", "b 16"]);
}

#[test]
fn more_events_than_a_batch_were_not_all_applied() {
    let bench = Bench::new();
    for amount in 0..1_000 {
        bench.deposit(&format!("account-{}", amount % 7), amount);
    }
    let ledger = bench.start(&Ledger::new());
    ledger.when_caught_up(SOON).expect("it runs");
    assert_eq!(bench.amounts(), (0..1_000).collect::<Vec<_>>());
    assert_eq!((bench.checkpoint(), ledger.status().handled), (1_000, 1_000));
}

#[test]
fn a_projection_began_elsewhere_than_it_was_told() {
    let bench = Bench::new();
    for amount in 1..=9 {
        bench.deposit("a", amount);
    }
    let start = |name: &str, from| -> SqlProjected<Ledger> {
        let ledger = bench
            .processors
            .project_to_postgres(name.to_owned(), bench.url.as_str(), Ledger::new());
        ledger.start_from(from).start().expect("it starts")
    };
    let beyond = start("beyond", StartFrom::After(Position(99)));
    let error = stopped(&beyond);
    assert!(
        error.contains("its checkpoint 99 is beyond the end of the log"),
        "{error}"
    );
    let after = start("after", StartFrom::After(Position(7)));
    after.when_caught_up(SOON).expect("it runs");
    assert_eq!(bench.amounts(), [8, 9]);
    let end = start("end", StartFrom::End);
    end.when_caught_up(SOON).expect("it runs");
    wait_until("it has begun", || {
        bench.schema.value("SELECT count(*) FROM annals_checkpoints") == "3"
    });
    bench.deposit("a", 10);
    end.when_caught_up(SOON).expect("it runs");
    after.when_caught_up(SOON).expect("it runs");
    assert_eq!(bench.amounts(), [8, 9, 10, 10]);
}

#[test]
fn a_log_that_was_replaced_was_projected_on_top_of_the_old_rows() {
    let bench = Bench::new();
    for amount in 1..=3 {
        bench.deposit("a", amount);
    }
    let ledger = bench.start(&Ledger::new());
    ledger.when_caught_up(SOON).expect("it runs");
    bench.processors.end();
    for (count, part) in [
        (2, "its checkpoint 3 is beyond the end of the log"),
        (3, "the event at its checkpoint, position 3, was"),
        (4, "the event at its checkpoint, position 3, was"),
    ] {
        let other = Store::in_memory();
        for _ in 0..count {
            deposit(&other, "a", 100);
        }
        let processors = Processors::new(&other);
        let ledger = processors.project_to_postgres("ledger", bench.url.as_str(), Ledger::new());
        let ledger = ledger.start().expect("it starts");
        let error = stopped(&ledger);
        assert!(error.contains(part), "{error}");
        assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3], 3));
    }
}

#[test]
fn a_replaced_store_could_not_be_projected_again() {
    for count in [2, 3, 4] {
        let bench = Bench::new();
        for amount in 1..=3 {
            bench.deposit("a", amount);
        }
        bench.start(&Ledger::new()).when_caught_up(SOON).expect("it runs");
        bench.processors.end();
        let other = Store::in_memory();
        let amounts: Vec<_> = (0..count).map(|amount| 100 + amount).collect();
        for amount in &amounts {
            deposit(&other, "a", *amount);
        }
        let processors = Processors::new(&other);
        let ledger = processors.project_to_postgres("ledger", bench.url.as_str(), Ledger::new());
        let ledger = ledger.start().expect("it starts");
        stopped(&ledger);
        assert_eq!(ledger.rebuild(), Ok(Position(amounts.len() as u64)));
        ledger.resume();
        deposit(&other, "a", 7);
        ledger.when_caught_up(SOON).expect("it goes on");
        assert_eq!(bench.amounts(), [amounts, vec![7]].concat());
    }
}

#[test]
fn a_quiet_stretch_was_read_again_at_every_start() {
    let bench = Bench::new();
    let ledger = bench.start(&Ledger::new());
    let notes = |count| vec![NewEvent::new("Noted"); count];
    let append = |count| {
        bench
            .store
            .append(&StreamId::new("Note", "n"), Expected::Any, notes(count))
    };
    append(5_000).expect("notes");
    ledger.when_caught_up(SOON).expect("it runs");
    wait_until("it is saved", || bench.checkpoint() >= 1_000);
    bench.schema.sql(
        "CREATE TABLE saved (); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO saved DEFAULT VALUES; RETURN NEW; END $$; \
         ALTER FUNCTION note() SET search_path FROM CURRENT; \
         CREATE TRIGGER note AFTER UPDATE ON annals_checkpoints FOR EACH ROW EXECUTE FUNCTION note()",
    );
    for _ in 0..500 {
        append(1).expect("a note");
        ledger.when_caught_up(SOON).expect("it runs");
    }
    let saved: u64 = bench
        .schema
        .value("SELECT count(*) FROM saved")
        .parse()
        .expect("a number");
    assert!(saved < 250, "a transaction for nearly each of 500 notes: {saved}");
}

#[test]
fn events_that_are_gone_were_passed_over_silently() {
    let bench = Bench::new();
    for amount in 1..=5 {
        bench.deposit("a", amount);
    }
    bench.deposit("b", 6);
    bench.store.truncate_before("a", Version(4)).expect("it exists");
    let ledger = bench.start(&Ledger::new());
    let error = stopped(&ledger);
    assert!(
        error.contains("3 events from position 1 to 3 are gone") && error.contains("every event is needed"),
        "{error}"
    );
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![], 0));
    bench.processors.end();
    let mut lenient = Ledger::new();
    lenient.takes_gaps = true;
    let ledger = bench.start(&lenient);
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![-1, 4, 5, 6], 7));
}
