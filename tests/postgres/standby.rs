//! Fail-over to a real standby: one that has everything, and one that has not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use annals::journal::postgres::cdc::{CaptureSettings, ChangeCapture, Changes};
use annals::journal::{Journal as _, JournalErrorKind};
use annals::{Durability, Error, Expected, FlushSettings, Position, Query, Store, Version};

use crate::cluster::Cluster;
use crate::faults::{WRITERS, Work, check, open};
use crate::follow::{append_in_sql, assert_same, events, follow, note, noted, url_at};
use crate::proxy::Proxy;
use crate::support::{Schema, batch, recovered, sql};

/// A server, and a standby that gets what it commits.
pub(crate) struct Pair {
    pub(crate) primary: Cluster,
    pub(crate) standby: Cluster,
}

/// The one value that `text` answers at `url`.
fn value(url: &str, text: &str) -> String {
    let rows = sql(url, text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    rows[0][0].clone().unwrap_or_default()
}

pub(crate) fn await_true(url: &str, text: &str) {
    while value(url, text) != "t" {
        std::thread::yield_now();
    }
}

impl Pair {
    pub(crate) fn start() -> Self {
        // What a process has written outlives it without a sync.
        let primary = Cluster::start(&["fsync = off"], &[]);
        let standby = primary.standby();
        Self { primary, standby }
    }

    /// A schema at whichever of the two can be written.
    pub(crate) fn schema(&self) -> Schema {
        Schema::on(self.primary.url_and(&[&self.standby]) + "?target_session_attrs=read-write")
    }

    /// Lets no commit be acknowledged that the standby does not have.
    fn commit_on_both(&self) {
        let wait = "ALTER SYSTEM SET synchronous_standby_names = '*'";
        sql(&self.primary.url(), wait).expect("it is a superuser");
        sql(&self.primary.url(), "SELECT pg_reload_conf()").expect("it is a superuser");
        await_true(
            &self.primary.url(),
            "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'",
        );
    }

    /// Waits until the standby has what was committed.
    pub(crate) fn catch_up(&self) {
        let place = value(&self.primary.url(), "SELECT pg_current_wal_lsn()");
        await_true(
            &self.standby.url(),
            &format!("SELECT pg_last_wal_replay_lsn() >= '{place}'"),
        );
    }

    /// The standby has everything up to now, and gets nothing more.
    fn cut_off(&self) {
        self.catch_up();
        let url = self.standby.url();
        sql(&url, "ALTER SYSTEM SET primary_conninfo = ''").expect("it is a superuser");
        sql(&url, "SELECT pg_reload_conf()").expect("it is a superuser");
        await_true(&url, "SELECT count(*) = 0 FROM pg_stat_wal_receiver");
    }

    /// The primary is gone, and the standby takes over.
    pub(crate) fn fail_over(&self) {
        self.primary.crash();
        self.standby.promote();
    }
}

/// Appends so many events, each acknowledged when it is synced. Answers where the last is.
fn append(store: &Store, count: u64) -> Position {
    let synced = store.with_durability(Durability::Synced).expect("PostgreSQL can");
    for number in 0..count {
        synced
            .append(&note("note-1"), Expected::Any, vec![noted(number)])
            .expect("the server is there");
    }
    store.visible()
}

/// The same by SQL.
pub(crate) fn append_several(schema: &Schema, count: u64) -> Position {
    let positions = (0..count).map(|_| append_in_sql(schema, "note-1"));
    Position(positions.max().expect("some are appended"))
}

fn patient() -> FlushSettings {
    FlushSettings::default().retry_for(Duration::from_secs(120))
}

/// Four writers and a follower, while the standby takes over.
fn fail_over_under_writers(pair: &Pair, schema: &Schema, url: &str, moved: impl FnOnce()) {
    let store = open(schema, url, patient());
    let follower = Store::follow(&url_at(url, schema)).expect("it can be followed");
    pair.commit_on_both();
    let work = Work::default();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, work) = (&store, &work);
            scope.spawn(move || work.write(store, writer));
        }
        work.await_more(50);
        pair.fail_over();
        moved();
        work.await_more(50);
        work.is_over.store(true, Ordering::SeqCst);
    });
    store.close().expect("the server is there");
    check(&store, &work);
    check(&open(schema, url, patient()), &work);
    follower.wait_visible(store.visible());
    assert_same(&follower, &store);
    let whole = "SELECT count(*) = max(position) AND max(position) = (SELECT position FROM head) FROM events";
    assert_eq!(schema.value(whole), "t");
}

#[test]
fn writers_go_on_with_the_standby_that_the_address_names() {
    let pair = Pair::start();
    let schema = pair.schema();
    // That it is the one that can be written needs not be said: no other would do.
    let url = pair.standby.url_and(&[&pair.primary]);
    fail_over_under_writers(&pair, &schema, &url, || {});
}

#[test]
fn writers_go_on_with_the_standby_that_the_address_leads_to_then() {
    let pair = Pair::start();
    let schema = pair.schema();
    let (proxy, url) = Proxy::to(&pair.primary.url());
    fail_over_under_writers(&pair, &schema, &url, || proxy.lead_to(&pair.standby.url()));
}

/// What was acknowledged by one server alone is lost with it: that is not passed over.
#[test]
fn a_standby_without_the_last_commits_is_refused_with_the_first_missing_position() {
    let pair = Pair::start();
    let schema = pair.schema();
    let store = open(&schema, &schema.url, patient());
    let follower = follow(&schema);
    append(&store, 5);
    pair.cut_off();
    let last = append(&store, 3);
    follower.wait_visible(last);
    let before = events(&store);
    pair.fail_over();

    let synced = store.with_durability(Durability::Synced).expect("PostgreSQL can");
    let refused = synced.append(&note("note-1"), Expected::Any, vec![noted(9)]);
    let refused = refused.expect_err("the server has lost events");
    assert!(matches!(refused, Error::Failed { .. }), "{refused:?}");
    assert!(refused.to_string().contains("from position 6 to 8"), "{refused}");
    assert!(matches!(
        store.append(&note("note-1"), Expected::Any, vec![noted(9)]),
        Err(Error::Failed { .. })
    ));
    assert_eq!(events(&store)[..8], before);

    let mut tail = follower.tail(Query::all(), last).expect("a query");
    // It ends when the follower has seen it.
    assert_eq!(tail.next(), None);
    let fault = follower.fault().expect("there is a reason");
    assert_eq!(fault.kind(), JournalErrorKind::Failed);
    assert!(
        fault
            .to_string()
            .contains("set back to position 5, and this follower has read up to 8"),
        "{fault}"
    );
    assert_eq!(events(&follower), before);

    drop((store, follower));
    let again = open(&schema, &schema.url, patient());
    assert_eq!(events(&again), before[..5]);
    assert_eq!(again.stream_info("note-1").map(|info| info.version), Some(Version(5)));
    assert_eq!(append(&again, 1), Position(6));
    let follower = follow(&schema);
    assert_same(&follower, &again);
}

/// The standby has every event, and not that a writer came: the reason is not that somebody has appended.
#[test]
fn a_lease_that_a_standby_does_not_have_was_said_to_be_over() {
    let pair = Pair::start();
    let schema = pair.schema();
    drop(schema.journal().expect("the tables are made"));
    assert_eq!(append_several(&schema, 2), Position(2));
    pair.cut_off();
    let store = open(&schema, &schema.url, patient());
    pair.fail_over();
    let synced = store.with_durability(Durability::Synced).expect("PostgreSQL can");
    let refused = synced.append(&note("note-1"), Expected::Any, vec![noted(3)]);
    let refused = refused.expect_err("the lease is lost");
    assert!(matches!(refused, Error::Failed { .. }), "{refused:?}");
    let said = "the server has lost the lease of this writer: open the store again";
    assert!(refused.to_string().contains(said), "{refused}");
    drop((synced, store));
    assert_eq!(append(&open(&schema, &schema.url, patient()), 1), Position(3));
}

/// The follower comes to the new server when others have appended there, as many as were lost, and more.
#[test]
fn events_that_took_the_places_of_lost_ones_were_skipped_by_a_follower() {
    for more in [3, 4] {
        let pair = Pair::start();
        let schema = pair.schema();
        let (proxy, url) = Proxy::to(&pair.primary.url());
        drop(schema.journal().expect("the tables are made"));
        let follower = Store::follow(&url_at(&url, &schema)).expect("it can be followed");
        append_several(&schema, 5);
        pair.cut_off();
        follower.wait_visible(append_several(&schema, 3));
        let before = events(&follower);
        pair.fail_over();
        assert_eq!(append_several(&schema, more), Position(5 + more));
        proxy.lead_to(&pair.standby.url());
        let mut tail = follower.tail(Query::all(), Position(8)).expect("a query");
        assert_eq!(tail.next(), None);
        let fault = follower.fault().expect("there is a reason");
        assert_eq!(fault.kind(), JournalErrorKind::Failed);
        assert!(
            fault
                .to_string()
                .contains("the event at position 8 differs from the one that was read"),
            "{fault}"
        );
        assert_eq!(events(&follower), before);
    }
}

fn capture(schema: &Schema) -> ChangeCapture {
    ChangeCapture::open_with(&schema.url, schema.settings(), CaptureSettings::default())
        .expect("changes can be captured")
}

/// The positions of what comes until nothing does, acknowledged; while a server is away it is asked again.
fn drain(capture: &mut ChangeCapture) -> Vec<u64> {
    let mut positions = Vec::new();
    loop {
        match capture.take() {
            Ok(Some(changes)) => {
                positions.extend(changes.batch.events().map(|event| event.position().0));
                capture.acknowledge(&changes).expect("acknowledged");
            }
            Ok(None) => return positions,
            Err(error) => assert_eq!(error.kind(), JournalErrorKind::Retry, "{error}"),
        }
    }
}

fn positions(changes: &Changes) -> Vec<u64> {
    changes.batch.events().map(|event| event.position().0).collect()
}

/// A standby has the checkpoint, and not the slot.
#[test]
fn change_capture_misses_nothing_when_a_standby_takes_over() {
    let pair = Pair::start();
    let schema = pair.schema();
    let mut journal = schema.journal().expect("a journal");
    assert_eq!(recovered(&mut journal), 0);
    let mut capture = capture(&schema);
    journal.write(&batch(1, 10)).expect("written");
    assert_eq!(drain(&mut capture), (1..=10).collect::<Vec<_>>());
    journal.write(&batch(11, 5)).expect("written");
    // Taken, and not acknowledged.
    let taken = capture.take().expect("changes").expect("there are some");
    assert_eq!(positions(&taken), (11..=15).collect::<Vec<_>>());
    pair.catch_up();
    pair.fail_over();
    assert_eq!(
        value(&pair.standby.url(), "SELECT count(*) FROM pg_replication_slots"),
        "0"
    );
    while journal
        .write(&batch(16, 5))
        .is_err_and(|error| error.kind() == JournalErrorKind::Retry)
    {}
    assert_eq!(drain(&mut capture), (11..=20).collect::<Vec<_>>());
    journal.write(&batch(21, 5)).expect("written");
    // An acknowledgement that comes late takes nothing back, and nothing with it.
    capture.acknowledge(&taken).expect("they are there");
    assert_eq!(drain(&mut capture), (21..=25).collect::<Vec<_>>());
    let status = capture.status().expect("a status");
    assert_eq!(status.position, Position(25));
    assert!(status.lag_bytes.is_some(), "{status:?}");
}

#[test]
fn events_were_skipped_when_lost_ones_were_acknowledged_after_a_fail_over() {
    let pair = Pair::start();
    let schema = pair.schema();
    drop(schema.journal().expect("the tables are made"));
    let mut capture = capture(&schema);
    append_several(&schema, 5);
    assert_eq!(drain(&mut capture), [1, 2, 3, 4, 5]);
    pair.cut_off();
    append_several(&schema, 3);
    let lost = capture.take().expect("changes").expect("there are some");
    assert_eq!(positions(&lost), [6, 7, 8]);
    pair.fail_over();
    append_several(&schema, 4);
    let refused = loop {
        let refused = capture.acknowledge(&lost).expect_err("they are lost");
        if refused.kind() != JournalErrorKind::Retry {
            break refused;
        }
    };
    assert_eq!(refused.kind(), JournalErrorKind::Failed);
    assert!(refused.to_string().contains("starting at position 6"), "{refused}");
    assert_eq!(drain(&mut capture), [6, 7, 8, 9]);
}
