//! Sagas that are stuck, panic, meet another owner, or are given what they cannot take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use annals::cqrs::{Due, HandlerError, ProcessorState, Processors, SagaError, SagaPhase, SendError, StopReason};

use super::*;

#[test]
fn a_stuck_saga_is_listed_retried_and_abandoned() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let broken = Arc::new(AtomicBool::new(true));
    let attempts = Arc::new(AtomicU32::new(0));
    let (bank, is_broken, counted) = (store.clone(), Arc::clone(&broken), Arc::clone(&attempts));
    let sagas = processors.saga::<Transfer>(move |command, sending| {
        if is_broken.load(Ordering::Relaxed) {
            counted.fetch_add(1, Ordering::Relaxed);
            return Err(SendError::Failed(HandlerError::transient(format!(
                "attempt {}",
                sending.attempt
            ))));
        }
        carry_out(&bank, command, sending)
    });
    let sagas = sagas.retry(quick(3)).start().expect("it starts");
    request(&store, "t1", 10);
    request(&store, "t2", 20);
    wait_for(|| sagas.stuck().len() == 2);
    assert_eq!(attempts.load(Ordering::Relaxed), 6);
    let stuck = sagas.stuck();
    assert_eq!(
        (stuck[0].key.as_str(), stuck[0].stuck.as_deref()),
        ("t1", Some("attempt 3"))
    );
    assert_eq!(sagas.retry("unknown"), Ok(false));
    broken.store(false, Ordering::Relaxed);
    assert_eq!(sagas.retry("t1"), Ok(true));
    assert_eq!(sagas.retry("t1"), Ok(false));
    assert_eq!(sagas.abandon("t2", "by hand"), Ok(true));
    assert_eq!(sagas.stuck(), []);
    assert_eq!(balances(&store), (90, 100));
    let abandoned = sagas.get("t2").expect("readable").expect("it has ended");
    assert_eq!(
        abandoned.phase,
        SagaPhase::Abandoned {
            reason: "by hand".to_owned()
        }
    );
    sagas.pause();
    assert!(matches!(sagas.retry("t1"), Err(SagaError::NotRunning { .. })));
}

#[test]
fn a_saga_that_panics_stops_with_the_event() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let sagas = start(&store, &processors);
    request(&store, "t1", 10);
    let at = request(&store, "t2", 666);
    request(&store, "t3", 10);
    let error = sagas.when_caught_up(SOON).expect_err("it panicked").to_string();
    assert!(error.contains("the saga panicked: a number of the beast"), "{error}");
    let ProcessorState::Stopped(StopReason::Failed { event, .. }) = sagas.status().state else {
        panic!("it stopped");
    };
    assert_eq!(event.position, at);
    assert_eq!(balances(&store), (90, 100), "what came before is done");
}

#[test]
fn a_handler_of_a_command_that_panics_leaves_others_alone() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let bank = store.clone();
    let sagas = processors.saga::<Transfer>(move |command, sending| {
        assert!(sending.key != "t1", "t1 is cursed");
        carry_out(&bank, command, sending)
    });
    let sagas = sagas.start().expect("it starts");
    request(&store, "t1", 10);
    request(&store, "t2", 20);
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(balances(&store), (80, 100));
    let stuck = sagas.stuck();
    assert_eq!(stuck.len(), 1);
    assert!(
        stuck[0]
            .stuck
            .as_deref()
            .is_some_and(|reason| reason.contains("panicked: t1 is cursed")),
        "{stuck:?}"
    );
}

#[test]
fn a_second_processor_of_a_saga_takes_over() {
    let (store, _) = bank();
    let (first, second) = (Processors::new(&store), Processors::new(&store));
    let old = start(&store, &first);
    request(&store, "t1", 10);
    first.when_idle(SOON).expect("it runs");
    let new = start(&store, &second);
    second.when_idle(SOON).expect("it runs");
    let last = request(&store, "t2", 20);
    new.when_processed(last, SOON).expect("it runs");
    assert!(old.when_processed(last, SOON).is_err());
    second.when_idle(SOON).expect("it runs");
    assert_eq!(balances(&store), (70, 100));
    assert_eq!(new.active().len(), 2);
}

#[test]
fn a_key_beyond_the_limit_stops_the_saga() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let sagas = start(&store, &processors);
    request(&store, &"x".repeat(240), 10);
    let error = sagas.when_caught_up(SOON).expect_err("it stops").to_string();
    assert!(
        error.contains("the key of the saga's instance has 240 bytes"),
        "{error}"
    );
}

#[test]
fn a_local_deadline_moved_with_the_clock_change() {
    let due = |time, zone| Due::local(time, zone).expect("a local time");
    let at = |time: &str| Due::At(time.parse().expect("a time"));
    for (time, zone, utc) in [
        ("2026-03-28T02:30", "Europe/Berlin", "2026-03-28T01:30:00Z"),
        // Skipped: the clock goes from 02:00 to 03:00.
        ("2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:30:00Z"),
        ("2026-03-29T03:30", "Europe/Berlin", "2026-03-29T01:30:00Z"),
        // Twice: the first of the two.
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00Z"),
        ("2026-10-25T03:30", "Europe/Berlin", "2026-10-25T02:30:00Z"),
        ("2026-10-25T09:00", "Asia/Kolkata", "2026-10-25T03:30:00Z"),
        ("2026-10-25T09:00:00.000001", "UTC", "2026-10-25T09:00:00.000001Z"),
    ] {
        assert_eq!(due(time, zone), at(utc), "{time} in {zone}");
    }
    for (time, zone) in [
        ("2026-03-29T02:30", "Mars/Olympus"),
        ("noon", "UTC"),
        ("2026-02-30T00:00", "UTC"),
        ("", ""),
    ] {
        let error = Due::local(time, zone).expect_err("no local time").to_string();
        assert!(error.contains("is no local time"), "{error}");
    }
}
