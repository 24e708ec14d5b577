//! Names, texts and URLs that break what is careless.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::cqrs::{HandlerError, OnFailure, ProcessorState, StopReason};
use annals::{Expected, NewEvent, Position, StreamId};

use super::{Bench, Ledger, SOON, stopped, wait_until};

/// The schema of every test has quotes and spaces in its name, too.
#[test]
fn a_name_was_read_as_sql() {
    let bench = Bench::new();
    let names = [
        "'; DROP TABLE annals_checkpoints; --",
        "\"ledger\"",
        "ledger\\'",
        "$1",
        "%s %I",
        "Büro – 帳簿 🧾",
        &"n".repeat(200),
    ];
    bench.deposit("a", 1);
    for name in names {
        let ledger = bench
            .processors
            .project_to_postgres(name.to_owned(), bench.url.as_str(), Ledger::new());
        let ledger = ledger.start().expect("it starts");
        ledger.when_caught_up(SOON).expect("it runs");
        assert_eq!(ledger.rebuild(), Ok(Position(1)), "{name}");
    }
    // They share the tables, and each has a checkpoint of its own. The last rebuild has what one of them writes.
    let kept = bench.schema.sql("SELECT name FROM annals_checkpoints");
    let mut kept: Vec<_> = kept.into_iter().filter_map(|row| row[0].clone()).collect();
    kept.sort();
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(kept, expected);
    assert_eq!(bench.amounts(), [1]);
}

#[test]
fn a_zero_byte_kept_an_event_from_being_parked() {
    let bench = Bench::new();
    let heals = Arc::new(AtomicBool::new(false));
    let healed = Arc::clone(&heals);
    let ledger = Ledger::with(move |amount, record, rows| {
        if amount != 1 || healed.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Text with a zero byte, which PostgreSQL cannot store.
        if record.aggregate_id() == "a" {
            rows.execute("SELECT $1::text", &[&"a\0b"])?;
        }
        Err(HandlerError::permanent("not\0here"))
    });
    let ids = ["a", "quote ' \" \\", "a$$b", "帳簿"];
    for id in ids {
        bench.deposit(id, 1);
    }
    bench.deposit("a", 2);
    let ledger = bench.project(&ledger).on_failure(OnFailure::park());
    let ledger = ledger.start().expect("it starts");
    ledger.when_caught_up(SOON).expect("it goes on");
    let letters = ledger.letters().expect("they can be read");
    let parked: Vec<_> = letters.iter().map(|letter| letter.aggregate_id.to_string()).collect();
    assert_eq!(parked, [ids[0], ids[1], ids[2], ids[3], ids[0]]);
    assert!(letters[1].reason.contains("not\u{fffd}here"), "{letters:?}");
    heals.store(true, Ordering::Relaxed);
    assert_eq!(ledger.replay_letters(), Ok(5));
    assert_eq!(bench.amounts(), [1, 1, 1, 1, 2]);
}

#[test]
fn a_reason_without_end_was_stored() {
    let bench = Bench::new();
    bench.deposit("a", 1);
    let ledger = Ledger::with(|_, _, _| Err(HandlerError::permanent("ä".repeat(1 << 20))));
    let ledger = bench.project(&ledger).on_failure(OnFailure::park());
    let ledger = ledger.start().expect("it starts");
    ledger.when_caught_up(SOON).expect("it goes on");
    let letters = ledger.letters().expect("they can be read");
    assert!(letters[0].reason.len() <= 4_096 && letters[0].reason.starts_with("ää"));
}

#[test]
fn data_that_does_not_decode_was_retried_or_skipped() {
    let bench = Bench::new();
    let broken = NewEvent::new("Deposited").data(r#"{"amount":"much"}"#);
    bench
        .store
        .append(&StreamId::new("Account", "a"), Expected::Any, broken)
        .expect("the store takes it");
    bench.deposit("b", 2);
    let ledger = bench
        .project(&Ledger::new())
        .on_failure(OnFailure::default().then(annals::cqrs::AfterFailure::Park));
    let ledger = ledger.start().expect("it starts");
    ledger.when_caught_up(SOON).expect("it goes on");
    let letters = ledger.letters().expect("they can be read");
    assert!(
        letters[0].attempts == 1 && letters[0].reason.contains("amount"),
        "{letters:?}"
    );
    assert_eq!(bench.amounts(), [2]);
}

#[test]
fn a_password_was_shown() {
    let bench = Bench::new();
    let secret = "s3cr3t";
    for url in [
        "postgres://anna:s3cr3t@127.0.0.1:9/bank?schema=x",
        "postgres://127.0.0.1:9/bank?user=anna&password=s3cr3t",
        "postgres://anna:s3cr3t@127.0.0.1:port/bank",
        "postgres://anna:s3cr3t@127.0.0.1/bank?fast=1",
        "mysql://anna:s3cr3t@127.0.0.1/bank",
    ] {
        let ledger = bench.processors.project_to_postgres("secret", url, Ledger::new());
        assert!(!format!("{ledger:?}").contains(secret), "{ledger:?}");
        let ledger = match ledger.start() {
            Ok(ledger) => ledger,
            Err(error) => {
                assert!(!format!("{error:?} {error}").contains(secret), "{error:?}");
                continue;
            }
        };
        wait_until("it tells that the database is away", || {
            ledger.status().waits_for.is_some()
        });
        let told = format!("{ledger:?} {} {:?}", ledger.status(), bench.processors);
        assert!(!told.contains(secret) && told.contains("127.0.0.1"), "{told}");
        ledger.end();
    }
}

#[test]
fn a_projection_without_a_database_waited_for_it() {
    let bench = Bench::new();
    let (server, _) = bench.schema.url.rsplit_once('/').expect("a path");
    let none = format!("{server}/there_is_none?schema=x");
    let ledger = bench.processors.project_to_postgres("ledger", none, Ledger::new());
    let ledger = ledger.start().expect("it starts");
    let error = stopped(&ledger);
    assert!(error.contains("3D000") && error.contains("there_is_none"), "{error}");
}

#[test]
fn tables_that_cannot_be_created_were_tried_without_end() {
    let bench = Bench::new();
    bench.deposit("a", 1);
    let mut ledger = Ledger::new();
    ledger.more_tables = &["CREATE TABLE IF NOT EXISTS"];
    let ledger = bench.start(&ledger);
    let error = stopped(&ledger);
    assert!(
        error.contains("cannot be created") && error.contains("42601"),
        "{error}"
    );
    assert!(bench.schema.try_sql("SELECT FROM applied").is_err(), "created in part");
}

#[test]
fn a_handler_waited_for_its_own_transaction() {
    type Slot = Arc<parking_lot::Mutex<Option<annals::cqrs::SqlProjected<Ledger>>>>;
    let bench = Bench::new();
    let slot = Slot::default();
    let own = Arc::clone(&slot);
    let ledger = bench.start(&Ledger::with(move |_, _, _| {
        let Some(ledger) = own.lock().clone() else {
            return Err(HandlerError::permanent("no handle"));
        };
        for refused in [
            ledger.rebuild().map(|_| ()),
            ledger.replay_letters().map(|_| ()),
            ledger.letters().map(|_| ()),
            ledger.drop_letter(Position(1)).map(|_| ()),
        ] {
            let Err(StopReason::Database { reason }) = refused else {
                return Err(HandlerError::permanent("it is not refused"));
            };
            assert!(reason.contains("outside of its handlers"), "{reason}");
        }
        Ok(())
    }));
    *slot.lock() = Some(ledger.clone());
    bench.deposit("a", 1);
    ledger.when_caught_up(SOON).expect("it is refused");
    assert_eq!(ledger.status().state, ProcessorState::CaughtUp);
    *slot.lock() = None;
}
