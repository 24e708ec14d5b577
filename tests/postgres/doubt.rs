//! Connections that are cut in the middle of a commit: nothing doubled, nothing skipped, nothing believed that is not so.

use std::time::Duration;

use annals::journal::postgres::PostgresJournal;
use annals::journal::{Batch, Journal as _, JournalError, JournalErrorKind, Recover};

use crate::proxy::{Cut, Proxy};
use crate::support::{Schema, batch, last_error, recovered};

/// A journal that reaches its server through a proxy.
struct Doubtful {
    schema: Schema,
    proxy: Proxy,
    journal: PostgresJournal,
}

impl Doubtful {
    fn new() -> Self {
        Self::with_timeout(Duration::from_secs(20))
    }

    fn with_timeout(timeout: Duration) -> Self {
        let schema = Schema::new();
        let (proxy, url) = Proxy::to(&schema.url);
        let settings = schema.settings().timeout(timeout);
        let mut journal = PostgresJournal::open_with(&url, settings).expect("it opens");
        assert_eq!(recovered(&mut journal), 0);
        Self { schema, proxy, journal }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalErrorKind> {
        self.journal.write(batch).map_err(|error| error.kind())
    }

    /// That the journal goes on, and that what it holds are the events 1 to `last`, once each.
    fn check(mut self, last: u64) {
        self.journal.write(&batch(last + 1, 2)).expect("it goes on");
        drop(self.journal);
        let mut journal = self.schema.journal().expect("it opens again");
        assert_eq!(recovered(&mut journal), last + 2);
        assert_eq!(self.schema.value("SELECT position FROM head"), (last + 2).to_string());
    }
}

/// What is sent to the server when a batch of so many events is committed.
const PATHS: [(u64, &[u8]); 2] = [(1, b"position 4 of"), (1000, b"COMMIT")];

#[test]
fn a_commit_whose_answer_is_lost_is_neither_doubled_nor_skipped() {
    for (count, mark) in PATHS {
        for cut in [Cut::Before, Cut::After] {
            let mut doubtful = Doubtful::new();
            assert_eq!(doubtful.write(&batch(1, 3)), Ok(()));
            doubtful.proxy.arm(mark, cut);
            let next = batch(4, count);
            assert_eq!(doubtful.write(&next), Err(JournalErrorKind::Retry), "{count} {cut:?}");
            assert_eq!(doubtful.write(&next), Ok(()), "{count} {cut:?}");
            doubtful.check(3 + count);
        }
    }
}

/// The old connection's statement comes to the server when the batch was written on a new one.
#[test]
fn a_statement_that_comes_late_changes_nothing() {
    let mut doubtful = Doubtful::new();
    assert_eq!(doubtful.write(&batch(1, 3)), Ok(()));
    doubtful.proxy.arm(b"position 4 of", Cut::Late);
    let next = batch(4, 1);
    assert_eq!(doubtful.write(&next), Err(JournalErrorKind::Retry));
    assert_eq!(doubtful.write(&next), Ok(()));
    doubtful.proxy.release();
    doubtful.check(4);
}

/// The old connection's statement comes to the server when the new one has looked, and found nothing of it.
#[test]
fn a_statement_that_comes_between_looking_and_writing_is_found() {
    let mut doubtful = Doubtful::new();
    assert_eq!(doubtful.write(&batch(1, 3)), Ok(()));
    doubtful.proxy.arm(b"position 4 of", Cut::Late);
    let next = batch(4, 1);
    assert_eq!(doubtful.write(&next), Err(JournalErrorKind::Retry));
    doubtful.proxy.arm(b"position 4 of", Cut::Hold);
    std::thread::scope(|scope| {
        let Doubtful { schema, proxy, journal } = &mut doubtful;
        let written = scope.spawn(|| journal.write(&next));
        while !proxy.is_met() {
            std::thread::yield_now();
        }
        proxy.release();
        while schema.value("SELECT position FROM head") != "4" {}
        proxy.let_through();
        assert_eq!(written.join().expect("no panic"), Ok(()));
    });
    doubtful.check(4);
}

/// The old connection's transaction has locked the head, and its COMMIT is still on its way: it is waited for.
#[test]
fn a_commit_that_comes_late_is_waited_for() {
    let mut doubtful = Doubtful::new();
    assert_eq!(doubtful.write(&batch(1, 3)), Ok(()));
    doubtful.proxy.arm(b"COMMIT", Cut::Late);
    let next = batch(4, 1000);
    assert_eq!(doubtful.write(&next), Err(JournalErrorKind::Retry));
    std::thread::scope(|scope| {
        let Doubtful { schema, proxy, journal } = &mut doubtful;
        let written = scope.spawn(|| journal.write(&next));
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT store, position%'";
        while schema.value(waiting) == "0" {
            std::thread::yield_now();
        }
        proxy.release();
        assert_eq!(written.join().expect("no panic"), Ok(()));
    });
    doubtful.check(1003);
}

#[test]
fn a_server_that_does_not_answer_is_an_error_in_time() {
    let mut doubtful = Doubtful::with_timeout(Duration::from_secs(1));
    assert_eq!(doubtful.write(&batch(1, 3)), Ok(()));
    doubtful.proxy.block();
    let refused = doubtful.journal.write(&batch(4, 1)).expect_err("nobody answers");
    assert_eq!(refused.kind(), JournalErrorKind::Retry);
    assert!(
        refused.to_string().contains("did not respond within 1000 ms"),
        "{refused}"
    );
    assert_eq!(doubtful.write(&batch(4, 1)), Err(JournalErrorKind::Retry));
    doubtful.proxy.unblock();
    while doubtful.write(&batch(4, 1)) == Err(JournalErrorKind::Retry) {}
    doubtful.check(4);
}

/// Cuts every connection when the first events have come.
struct Cutter<'a> {
    proxy: &'a Proxy,
    taken: usize,
}

impl Recover for Cutter<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        self.proxy.cut();
        self.taken += batch.len();
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

/// Nothing is taken for the whole that is not: the journal is not recovered, and is when it is opened again.
#[test]
fn a_connection_that_is_cut_while_the_table_is_read_is_an_error() {
    // More than is on its way at any time.
    const EVENTS: u64 = 80_000;
    let mut doubtful = Doubtful::new();
    assert_eq!(doubtful.write(&batch(1, EVENTS)), Ok(()));
    let Doubtful { schema, proxy, journal } = doubtful;
    drop((journal, proxy));
    let (proxy, url) = Proxy::to(&schema.url);
    let mut journal = PostgresJournal::open_with(&url, schema.settings()).expect("it opens");
    let mut cutter = Cutter {
        proxy: &proxy,
        taken: 0,
    };
    let refused = journal.recover(&mut cutter).expect_err("it was cut");
    assert_eq!(refused.kind(), JournalErrorKind::Retry, "{refused}");
    assert!((1..EVENTS as usize).contains(&cutter.taken), "{}", cutter.taken);
    drop(journal);
    let mut journal = schema.journal().expect("it opens again");
    assert_eq!(recovered(&mut journal), EVENTS);
}

#[test]
fn connections_that_are_cut_between_writes_are_made_anew() {
    let mut doubtful = Doubtful::new();
    for round in 0..5 {
        let next = batch(1 + round, 1);
        while doubtful.write(&next) == Err(JournalErrorKind::Retry) {}
        doubtful.proxy.cut();
    }
    while doubtful.write(&batch(6, 1)) == Err(JournalErrorKind::Retry) {}
    doubtful.check(6);
}

/// A server that has gone back to an earlier time: what was acknowledged is missing there.
#[test]
fn a_server_that_lost_commits_is_refused_with_the_first_missing_position() {
    let losses = [
        // As a standby that took over too early has it.
        "DELETE FROM events WHERE position > 4; UPDATE head SET position = 4",
        // As nothing should have it.
        "DELETE FROM events WHERE position > 4",
    ];
    for (loss, is_cut) in losses.into_iter().zip([false, true]) {
        let mut doubtful = Doubtful::new();
        assert_eq!(doubtful.write(&batch(1, 7)), Ok(()));
        doubtful.schema.sql(loss);
        if is_cut {
            doubtful.proxy.cut();
        }
        let refused = last_error(&mut doubtful.journal, &batch(8, 1));
        assert_eq!(refused.kind(), JournalErrorKind::Failed);
        assert!(refused.to_string().contains("from position 5 to 7"), "{refused}");
        assert_eq!(doubtful.schema.value("SELECT max(position) FROM events"), "4");
        // And so it stays.
        assert_eq!(doubtful.journal.sync(), Err(refused));
    }
}

#[test]
fn another_store_behind_the_same_address_is_refused() {
    let mut doubtful = Doubtful::new();
    assert_eq!(doubtful.write(&batch(1, 1)), Ok(()));
    doubtful
        .schema
        .sql("UPDATE head SET store = gen_random_uuid(), lease = gen_random_uuid()");
    let refused = last_error(&mut doubtful.journal, &batch(2, 1));
    assert!(refused.to_string().contains("another store"), "{refused}");
}

/// A hole is found when the table is read, wherever it is.
#[test]
fn a_table_with_a_hole_is_damaged() {
    for (loss, part) in [
        (
            "DELETE FROM events WHERE position = 3",
            "position 3 is missing: position 4 follows 2",
        ),
        ("DELETE FROM events WHERE position = 1", "position 1 is missing"),
        (
            "DELETE FROM events WHERE position > 3",
            "ends at position 3, and the table head contains 5",
        ),
        (
            "UPDATE head SET position = 4",
            "ends at position 5, and the table head contains 4",
        ),
        (
            "UPDATE events SET version = 5000000000 WHERE position = 2",
            "position 2: its version is invalid",
        ),
        (
            "UPDATE events SET tags = '{{a},{b}}' WHERE position = 2",
            "position 2: its tags are not a one-dimensional array",
        ),
        (
            "UPDATE events SET user_id = repeat('x', 1025) WHERE position = 2",
            "position 2: a name is too long",
        ),
    ] {
        let mut doubtful = Doubtful::new();
        assert_eq!(doubtful.write(&batch(1, 5)), Ok(()));
        drop(doubtful.journal);
        doubtful.schema.sql(loss);
        let mut journal = doubtful.schema.journal().expect("it opens");
        let damage = journal.recover(&mut crate::support::Taker::default()).expect_err(loss);
        assert_eq!(damage.kind(), JournalErrorKind::Corrupt, "{damage}");
        assert!(damage.to_string().contains(part), "{damage}");
    }
}
