//! Events that cannot be applied: they are undone alone, retried, parked, or the processor stops at them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals::cqrs::{HandlerError, OnFailure, Retry, Rows, SqlProjected, StopReason};
use annals::{Event, Position};

use super::{Bench, Ledger, SOON, stopped, wait_until};

/// A ledger with a poisonous event: its statement fails after its rows were written.
fn poisoned(poison: i64) -> Ledger {
    Ledger::with(move |amount, _, rows| {
        if amount == poison {
            rows.execute("INSERT INTO balances VALUES (NULL, 0)", &[])?;
        }
        Ok(())
    })
}

fn letters(ledger: &SqlProjected<Ledger>) -> Vec<(u64, u32)> {
    let letters = ledger.letters().expect("they can be read");
    letters
        .iter()
        .map(|letter| (letter.position.0, letter.attempts))
        .collect()
}

#[test]
fn a_poison_event_undid_its_neighbours() {
    for (place, batch_size) in [(1, 64), (3, 64), (5, 64), (3, 1), (3, 2)] {
        let bench = Bench::new();
        for amount in 1..=5 {
            bench.deposit(&format!("account-{amount}"), amount);
        }
        let ledger = bench.project(&poisoned(place)).on_failure(OnFailure::park());
        let ledger = ledger.batch_size(batch_size).start().expect("it starts");
        ledger.when_caught_up(SOON).expect("it goes on");
        let others: Vec<_> = (1..=5).filter(|amount| *amount != place).collect();
        assert_eq!((bench.amounts(), bench.checkpoint()), (others, 5));
        let letters = ledger.letters().expect("they can be read");
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!((letter.position.0, letter.attempts), (place.cast_unsigned(), 1));
        assert_eq!(
            (&*letter.event_type, letter.aggregate_id.to_string()),
            ("Deposited", format!("account-{place}"))
        );
        assert!(letter.reason.contains("23502"), "{letter:?}");
        assert_eq!((ledger.status().handled, ledger.status().parked), (4, 1));
    }
}

#[test]
fn a_poison_event_stopped_the_processor_with_its_neighbours_undone() {
    let bench = Bench::new();
    for amount in 1..=5 {
        bench.deposit("a", amount);
    }
    let heals = Arc::new(AtomicBool::new(false));
    let healed = Arc::clone(&heals);
    let ledger = bench.start(&Ledger::with(move |amount, _, rows| {
        if amount == 4 && !healed.load(Ordering::Relaxed) {
            rows.execute("SELECT 1 / 0", &[])?;
        }
        Ok(())
    }));
    let error = stopped(&ledger);
    assert!(error.contains("22012") && error.contains("position 4"), "{error}");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3], 3));
    heals.store(true, Ordering::Relaxed);
    ledger.resume();
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 4, 5], 5));
}

type Fails = fn(&mut Rows<'_>) -> Result<(), HandlerError>;

/// Failures of other kinds than a statement whose error is returned; and a part of the reason.
const FAILURES: [(&str, Fails); 7] = [
    ("the balance is odd", |_| {
        Err(HandlerError::transient("the balance is odd"))
    }),
    ("the handler returned no error", |rows| {
        drop(rows.execute("SELECT 1 / 0", &[]));
        Ok(())
    }),
    ("22012", |rows| {
        // Every later statement fails with the first error.
        drop(rows.execute("SELECT 1 / 0", &[]));
        rows.query("SELECT 1", &[])?;
        Ok(())
    }),
    ("cannot begin or end a transaction", |rows| {
        rows.execute("/* now */ COMMIT", &[])?;
        Ok(())
    }),
    ("cannot begin or end a transaction", |rows| {
        drop(rows.execute("ROLLBACK TO SAVEPOINT annals_event", &[]));
        Ok(())
    }),
    ("2D000", |rows| {
        rows.execute("DO 'BEGIN COMMIT; END'", &[])?;
        Ok(())
    }),
    ("42601", |rows| {
        rows.execute("SELECT 1; COMMIT", &[])?;
        Ok(())
    }),
];

#[test]
fn rows_of_an_event_that_failed_were_committed() {
    for (part, fails) in FAILURES {
        let bench = Bench::new();
        for amount in 1..=3 {
            bench.deposit(&format!("account-{amount}"), amount);
        }
        let ledger = Ledger::with(move |amount, _, rows| if amount == 2 { fails(rows) } else { Ok(()) });
        let ledger = bench.project(&ledger).on_failure(OnFailure::park());
        let ledger = ledger.start().expect("it starts");
        ledger.when_caught_up(SOON).expect("it goes on");
        assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 3], 3), "{part}");
        let letters = ledger.letters().expect("they can be read");
        assert!(letters[0].reason.contains(part), "{part}: {letters:?}");
    }
}

#[test]
fn a_panic_of_a_handler_lost_its_neighbours() {
    let bench = Bench::new();
    for amount in 1..=4 {
        bench.deposit("a", amount);
    }
    let ledger = bench.start(&Ledger::with(|amount, _, _| {
        assert_ne!(amount, 3, "three");
        Ok(())
    }));
    let error = stopped(&ledger);
    assert!(
        error.contains("the handler panicked") && error.contains("position 3"),
        "{error}"
    );
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2], 2));
    // It does not hold the checkpoint.
    bench.schema.sql("SELECT FROM annals_checkpoints FOR UPDATE NOWAIT");
}

#[test]
fn a_constraint_that_is_deferred_parked_the_whole_batch() {
    let bench = Bench::new();
    for amount in 1..=5 {
        bench.deposit(&format!("account-{amount}"), amount);
    }
    let mut ledger = Ledger::with(|amount, _, rows| {
        let key = if amount == 4 { 2 } else { amount };
        rows.execute("INSERT INTO keys VALUES ($1)", &[&key])?;
        Ok(())
    });
    ledger.more_tables = &["CREATE TABLE IF NOT EXISTS keys (key bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)"];
    let ledger = bench.project(&ledger).on_failure(OnFailure::park());
    let ledger = ledger.start().expect("it starts");
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 5], 5));
    assert_eq!(letters(&ledger), [(4, 1)]);
}

/// An event is neither applied nor parked, and the checkpoint passes it: that must not be.
#[test]
fn the_checkpoint_passed_an_event_whose_letter_was_not_written() {
    let bench = Bench::new();
    let ledger = bench.project(&poisoned(3)).on_failure(OnFailure::park());
    let ledger = ledger.start().expect("it starts");
    bench.deposit("account-1", 1);
    ledger.when_caught_up(SOON).expect("it runs");
    bench
        .schema
        .sql("ALTER TABLE annals_dead_letters ADD CONSTRAINT none CHECK (false)");
    for amount in 2..=4 {
        bench.deposit(&format!("account-{amount}"), amount);
    }
    let error = stopped(&ledger);
    assert!(error.contains("23514"), "{error}");
    let (amounts, checkpoint) = (bench.amounts(), bench.checkpoint());
    assert!(checkpoint < 3 && !amounts.contains(&4), "{checkpoint} {amounts:?}");
    bench.schema.sql("ALTER TABLE annals_dead_letters DROP CONSTRAINT none");
    ledger.resume();
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 4], 4));
    assert_eq!(letters(&ledger), [(3, 1)]);
}

#[test]
fn a_pause_between_attempts_held_a_transaction_open() {
    let bench = Bench::new();
    let attempts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&attempts);
    let ledger = Ledger::with(move |amount, _, _| {
        if amount == 3 && counted.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(HandlerError::transient("not yet"));
        }
        Ok(())
    });
    let long = Retry::default()
        .attempts(2)
        .first_pause(Duration::from_secs(3600))
        .longest_pause(Duration::from_secs(3600));
    let project = || {
        let ledger = bench.project(&ledger).on_failure(OnFailure::stop().retry(long));
        ledger.start().expect("it starts")
    };
    for amount in 1..=4 {
        bench.deposit("a", amount);
    }
    let one = project();
    wait_until("the events before are committed", || bench.checkpoint_or_zero() == 2);
    bench.schema.sql("SELECT FROM annals_checkpoints FOR UPDATE NOWAIT");
    assert_eq!(bench.amounts(), [1, 2]);
    let (event, error) = one.status().last_error.expect("it failed");
    assert_eq!((event.position, error.as_str()), (Position(3), "not yet"));
    // A pause of up to an hour ends when the processor does.
    bench.processors.end();
    let other = project();
    other.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 4], 4));
}

#[test]
fn attempts_were_not_those_of_the_policy() {
    let bench = Bench::new();
    let attempts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&attempts);
    let ledger = Ledger::with(move |amount, _: &Event, _| {
        if amount == 2 {
            counted.fetch_add(1, Ordering::Relaxed);
            return Err(HandlerError::transient("never"));
        }
        if amount == 3 {
            counted.fetch_add(100, Ordering::Relaxed);
            return Err(HandlerError::permanent("never ever"));
        }
        Ok(())
    });
    let quick = Retry::default()
        .attempts(5)
        .first_pause(Duration::from_micros(1))
        .longest_pause(Duration::from_micros(1));
    for amount in 1..=4 {
        bench.deposit(&format!("account-{amount}"), amount);
    }
    let ledger = bench.project(&ledger).on_failure(OnFailure::park().retry(quick));
    let ledger = ledger.start().expect("it starts");
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!(attempts.load(Ordering::Relaxed), 105);
    assert_eq!(letters(&ledger), [(2, 5), (3, 1)]);
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 4], 4));
}

#[test]
fn later_events_overtook_a_parked_one_of_their_aggregate() {
    let bench = Bench::new();
    let heals = Arc::new(AtomicBool::new(false));
    let healed = Arc::clone(&heals);
    let ledger = Ledger::with(move |amount, _, rows| {
        if amount == 3 && !healed.load(Ordering::Relaxed) {
            rows.execute("SELECT 1 / 0", &[])?;
        }
        Ok(())
    });
    let park = |policy| {
        let ledger = bench.project(&ledger).on_failure(policy);
        ledger.start().expect("it starts")
    };
    for (account, amount) in [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("a", 5)] {
        bench.deposit(account, amount);
    }
    let one = park(OnFailure::park());
    one.when_caught_up(SOON).expect("it goes on");
    bench.processors.end();
    // After a restart, too.
    let two = park(OnFailure::park());
    bench.deposit("a", 6);
    bench.deposit("b", 7);
    two.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 4, 7], 7));
    assert_eq!(letters(&two), [(3, 1), (5, 0), (6, 0)]);
    // A replay that fails leaves all three, and moves no checkpoint.
    assert_eq!(two.replay_letters(), Ok(0));
    assert_eq!(letters(&two), [(3, 2), (5, 0), (6, 0)]);
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 4, 7], 7));
    assert_eq!(two.drop_letter(Position(4)), Ok(false));
    assert_eq!(two.drop_letter(Position(5)), Ok(true));
    heals.store(true, Ordering::Relaxed);
    assert_eq!(two.replay_letters(), Ok(2));
    assert_eq!((letters(&two), two.replay_letters()), (vec![], Ok(0)));
    bench.deposit("a", 8);
    two.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![1, 2, 3, 4, 6, 7, 8], 8));
}

#[test]
fn an_event_behind_a_letter_was_parked_by_a_processor_that_stops() {
    let bench = Bench::new();
    bench.deposit("a", 3);
    let ledger = bench.project(&poisoned(3)).on_failure(OnFailure::park());
    ledger
        .start()
        .expect("it starts")
        .when_caught_up(SOON)
        .expect("it goes on");
    bench.processors.end();
    bench.deposit("b", 4);
    bench.deposit("a", 5);
    let ledger = bench.start(&Ledger::new());
    let error = stopped(&ledger);
    assert!(
        error.contains("position 3") && error.contains("replay or drop the letters"),
        "{error}"
    );
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![4], 2));
    assert_eq!(ledger.replay_letters(), Ok(1));
    ledger.resume();
    ledger.when_caught_up(SOON).expect("it goes on");
    assert_eq!((bench.amounts(), bench.checkpoint()), (vec![3, 4, 5], 3));
}

#[test]
fn a_superseded_owner_replayed_letters() {
    let bench = Bench::new();
    bench.deposit("a", 3);
    let one = bench.project(&poisoned(3)).on_failure(OnFailure::park());
    let one = one.start().expect("it starts");
    one.when_caught_up(SOON).expect("it goes on");
    let processors = annals::cqrs::Processors::new(&bench.store);
    let other = processors.project_to_postgres("ledger", bench.url.as_str(), Ledger::new());
    let other = other.start().expect("it starts");
    bench.deposit("b", 4);
    other.when_caught_up(SOON).expect("it goes on");
    for refused in [
        one.replay_letters().map(|_| ()),
        one.drop_letter(Position(1)).map(|_| ()),
    ] {
        assert!(matches!(refused, Err(StopReason::Superseded { .. })), "{refused:?}");
    }
    assert_eq!(other.replay_letters(), Ok(1));
    assert_eq!(bench.amounts(), [3, 4]);
}
