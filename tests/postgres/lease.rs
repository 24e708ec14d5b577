//! One writer at a time: who is refused, who may take over, and that a writer that lost its lease writes nothing more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::journal::postgres::{PostgresJournal, PostgresSettings};
use annals::journal::{Journal as _, JournalError, JournalErrorKind};

use crate::cluster::Cluster;
use crate::proxy::Proxy;
use crate::support::{Schema, batch, last_error, recovered};

fn kind<T>(result: &Result<T, JournalError>) -> Option<JournalErrorKind> {
    result.as_ref().err().map(JournalError::kind)
}

fn at_once(schema: &Schema) -> PostgresSettings {
    schema.settings().lease_wait(Duration::ZERO)
}

#[test]
fn a_second_writer_is_told_who_has_the_store_and_since_when() {
    let schema = Schema::new();
    let url = schema.url_with("application_name=accounting");
    let first = PostgresJournal::open_with(&url, schema.settings()).expect("it opens");
    let second = PostgresJournal::open_with(&schema.url, at_once(&schema));
    assert_eq!(kind(&second), Some(JournalErrorKind::Locked));
    let message = second.expect_err("it is held").to_string();
    let since = schema.value("SELECT to_char(held_since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI') FROM head");
    for part in [
        "held by accounting (process ",
        &std::process::id().to_string(),
        &format!("since {since}"),
        " s unless it is renewed",
    ] {
        assert!(message.contains(part), "{message}: {part}");
    }
    drop(first);
    PostgresJournal::open_with(&schema.url, at_once(&schema)).expect("it was given back");
}

#[test]
fn whoever_waits_for_the_lease_has_it_when_it_is_given_back() {
    let schema = Schema::new();
    let first = schema.journal().expect("it opens");
    let patient = schema.settings().lease_wait(Duration::from_secs(60));
    std::thread::scope(|scope| {
        let second = scope.spawn(|| PostgresJournal::open_with(&schema.url, patient));
        // Somebody without patience is refused meanwhile.
        let third = PostgresJournal::open_with(&schema.url, at_once(&schema));
        assert_eq!(kind(&third), Some(JournalErrorKind::Locked));
        drop(first);
        assert!(second.join().expect("no panic").is_ok());
    });
}

#[test]
fn of_many_that_race_for_the_lease_one_has_it() {
    let schema = Schema::new();
    drop(schema.journal().expect("the tables are made"));
    // From then on a client that is not connected has lost its lease.
    while schema.value("SELECT clock_timestamp() < pg_postmaster_start_time() + interval '3 seconds'") == "t" {}
    for round in 0..10 {
        if round % 2 == 1 {
            // Somebody died with it, a moment ago or long ago.
            let left = if round % 4 == 1 { "1 hour" } else { "-1 hour" };
            schema.sql(&format!(
                "UPDATE head SET lease = gen_random_uuid(), holder = 'nobody', held_since = now(), lease_expires = now() + interval '{left}'"
            ));
        }
        let journals: Vec<_> = std::thread::scope(|scope| {
            let open = || PostgresJournal::open_with(&schema.url, at_once(&schema));
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect()
        });
        let kinds: Vec<_> = journals.iter().map(kind).collect();
        let holders = kinds.iter().filter(|kind| kind.is_none()).count();
        assert_eq!(holders, 1, "round {round}: {kinds:?}");
        assert!(
            kinds.iter().flatten().all(|kind| *kind == JournalErrorKind::Locked),
            "{kinds:?}"
        );
    }
}

#[test]
fn processes_that_make_the_tables_at_once_make_them_once() {
    let schema = Schema::new();
    std::thread::scope(|scope| {
        let open = || schema.journal().map(drop);
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(open)).collect();
        for thread in threads {
            let opened = thread.join().expect("no panic");
            assert!(
                matches!(kind(&opened), None | Some(JournalErrorKind::Locked)),
                "{opened:?}"
            );
        }
    });
    assert_eq!(schema.value("SELECT count(*) = max(number) FROM migrations"), "t");
}

#[test]
fn a_lease_that_was_not_renewed_can_be_taken_over() {
    let schema = Schema::new();
    let (proxy, url) = Proxy::to(&schema.url);
    let settings = schema.settings().lease(Duration::from_secs(1));
    let mut old = PostgresJournal::open_with(&url, settings).expect("it opens");
    assert_eq!(recovered(&mut old), 0);
    old.write(&batch(1, 3)).expect("it is its own");
    // Held as long as it is renewed, however long that is.
    while schema.value("SELECT clock_timestamp() > held_since + interval '2 seconds' FROM head") == "f" {
        let second = PostgresJournal::open_with(&schema.url, at_once(&schema));
        assert_eq!(kind(&second), Some(JournalErrorKind::Locked));
    }
    proxy.block();
    while schema.value("SELECT clock_timestamp() > lease_expires FROM head") == "f" {}
    let mut new = schema.journal().expect("the lease is over");
    assert_eq!(recovered(&mut new), 3);
    drop(new);
    proxy.unblock();
    // The one that took over has ended, too: still the old one may not go on.
    let refused = last_error(&mut old, &batch(4, 1));
    assert_eq!(refused.kind(), JournalErrorKind::Failed, "{refused}");
    assert_eq!(schema.value("SELECT count(*) FROM events"), "3");
}

#[test]
fn a_writer_one_of_whose_connections_was_ended_keeps_the_lease() {
    let schema = Schema::new();
    for (round, order) in (1..).zip(["ASC", "DESC"]) {
        let url = schema.url_with(&format!("application_name=ending_{round}"));
        let mut journal = PostgresJournal::open_with(&url, schema.settings()).expect("it opens");
        let position = recovered(&mut journal);
        schema.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = 'ending_{round}' \
             ORDER BY backend_start {order} LIMIT 1) AS one"
        ));
        let second = PostgresJournal::open_with(&schema.url, at_once(&schema));
        assert_eq!(kind(&second), Some(JournalErrorKind::Locked), "{order}");
        while kind(&journal.write(&batch(position + 1, 1))) == Some(JournalErrorKind::Retry) {}
        drop(journal);
        assert_eq!(schema.value("SELECT position FROM head"), (position + 1).to_string());
    }
}

#[test]
fn the_lease_of_a_process_whose_connection_has_ended_is_free_at_once() {
    let schema = Schema::new();
    let (proxy, url) = Proxy::to(&schema.url_with("application_name=hanging"));
    let mut old = PostgresJournal::open_with(&url, schema.settings()).expect("it opens");
    assert_eq!(recovered(&mut old), 0);
    old.write(&batch(1, 3)).expect("it is its own");
    // The process hangs, and the server notices that its connections are gone.
    proxy.block();
    schema.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hanging'");
    let mut new = schema.journal().expect("the lease is free");
    assert_eq!(recovered(&mut new), 3);
    proxy.unblock();
    for count in [1, 1000] {
        let refused = last_error(&mut old, &batch(4, count));
        assert_eq!(refused.kind(), JournalErrorKind::Failed);
        let message = refused.to_string();
        let holder = format!(
            "another writer has taken over the store: annals (process {}",
            std::process::id()
        );
        assert!(message.contains(&holder) && message.contains(" since "), "{message}");
    }
    assert_eq!(schema.value("SELECT count(*) FROM events"), "3");
    new.write(&batch(4, 1)).expect("it is its own");
    assert_eq!(schema.value("SELECT epoch FROM head"), "2");
}

/// One that waited took the store over when the server was back, before the writer came back, which lost what it had not written yet.
#[test]
fn a_writer_keeps_the_store_when_its_server_restarts() {
    let cluster = Cluster::start(&["fsync = off"], &[]);
    let schema = Schema::on(cluster.url());
    let mut first = schema.journal().expect("it opens");
    assert_eq!(recovered(&mut first), 0);
    first.write(&batch(1, 1)).expect("it is its own");
    for round in 1..=3 {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let rival = scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let second = PostgresJournal::open_with(&schema.url, at_once(&schema));
                    assert!(second.is_err(), "round {round}: it was taken over");
                }
            });
            cluster.control(&["-m", "immediate", "-w", "restart"]);
            let mut written = first.write(&batch(round + 1, 1));
            while kind(&written) == Some(JournalErrorKind::Retry) {
                written = first.write(&batch(round + 1, 1));
            }
            is_over.store(true, Ordering::SeqCst);
            rival.join().expect("it never had the store");
            written.expect("the store is its own");
        });
    }
}
