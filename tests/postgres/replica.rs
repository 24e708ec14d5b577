//! Stores that follow a replica, and addresses of several servers: what is read comes from one, what is appended goes to another.

use std::net::TcpListener;
use std::time::Duration;

use annals::journal::postgres::PostgresJournal;
use annals::journal::postgres::cdc::{CaptureSettings, ChangeCapture};
use annals::{Error, Expected, Position, Store};

use crate::follow::{append_in_sql, assert_same, events, follow, note, noted, race, url_at};
use crate::standby::{Pair, append_several, await_true};
use crate::support::{Schema, prepared, sql};

/// Waits until there are so many connections of stores to the standby, and none to the primary.
fn await_connections(pair: &Pair, count: u64) {
    let at = |url: &str, count: u64| {
        let ask = format!("SELECT count(*) = {count} FROM pg_stat_activity WHERE application_name = 'annals'");
        await_true(url, &ask);
    };
    at(&pair.standby.url(), count);
    at(&pair.primary.url(), 0);
}

fn follow_at(url: &str, schema: &Schema) -> Store {
    Store::follow(&url_at(url, schema)).expect("it can be followed")
}

#[test]
fn a_follower_of_a_replica_appends_to_the_primary_and_reads_that() {
    let pair = Pair::start();
    let schema = pair.schema();
    // The tables are made on one, and waited for on the other.
    let replicas = pair.standby.url_and(&[&pair.primary]);
    let follower = follow_at(&replicas, &schema);
    await_connections(&pair, 1);
    let copies = pair.primary.url_and(&[&pair.standby]) + "?target_session_attrs=read-only";
    let other = follow_at(&copies, &schema);
    await_connections(&pair, 2);
    std::thread::scope(|scope| {
        for (store, name) in [(&follower, "own-1"), (&other, "own-2")] {
            scope.spawn(move || race(store, name));
        }
        scope.spawn(|| append_several(&schema, 40));
    });
    let last = Position(schema.value("SELECT position FROM head").parse().expect("a number"));
    follower.wait_visible(last);
    other.wait_visible(last);
    assert_same(&follower, &other);
    assert_same(&follower, &follow(&schema));
    assert_eq!((follower.fault(), other.fault()), (None, None));
}

#[test]
fn a_follower_of_a_replica_goes_on_when_that_takes_over() {
    let pair = Pair::start();
    let schema = pair.schema();
    let follower = follow_at(&pair.standby.url_and(&[&pair.primary]), &schema);
    let append = |number| follower.append(&note("note-1"), Expected::exactly(number), vec![noted(number)]);
    for number in 0..5 {
        append(number).expect("nobody else writes");
    }
    pair.fail_over();
    for number in 5..10 {
        append(number).expect("it has taken over");
    }
    assert_eq!(events(&follower).len(), 10);
    assert_same(&follower, &follow(&schema));
}

#[test]
fn a_follower_whose_replica_is_away_reads_from_the_primary() {
    let pair = Pair::start();
    let schema = pair.schema();
    let follower = follow_at(&pair.standby.url_and(&[&pair.primary]), &schema);
    await_connections(&pair, 1);
    pair.standby.crash();
    follower.wait_visible(append_several(&schema, 3));
    // It goes back when the primary has ended its connection, and what it has read is not there yet, or is.
    pair.standby.begin();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'annals'";
    sql(&pair.primary.url(), end).expect("it is a superuser");
    await_connections(&pair, 1);
    follower.wait_visible(append_several(&schema, 3));
    assert_same(&follower, &follow(&schema));
}

#[test]
fn what_is_appended_by_the_address_of_a_replica_alone_is_told_where_to_go() {
    let pair = Pair::start();
    let schema = pair.schema();
    drop(schema.journal().expect("the tables are made"));
    append_in_sql(&schema, "note-1");
    pair.catch_up();
    let url = pair.standby.url();
    let follower = follow_at(&url, &schema);
    assert_eq!(follower.visible(), Position(1));
    let position = append_in_sql(&schema, "note-1");
    follower.wait_visible(Position(position));
    let appended = follower.append(&note("note-1"), Expected::Any, vec![noted(1)]);
    let opened = PostgresJournal::open_with(&url, schema.settings()).map(drop);
    let captured = ChangeCapture::open_with(&url, schema.settings(), CaptureSettings::default()).map(drop);
    for refused in [
        appended.map(drop),
        opened.map_err(Error::from),
        captured.map_err(Error::from),
    ] {
        let refused = refused.expect_err("it cannot be written");
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
        assert!(
            refused
                .to_string()
                .contains("name it as well, as in postgres://USER@REPLICA,PRIMARY/DATABASE"),
            "{refused}"
        );
    }
    assert_eq!(follower.fault(), None);
}

#[test]
fn an_append_waits_for_a_replica_that_is_behind_and_not_for_ever() {
    let pair = Pair::start();
    let schema = pair.schema();
    let url = format!("{}?timeout=500ms", pair.standby.url_and(&[&pair.primary]));
    let follower = follow_at(&url, &schema);
    let append = |number| follower.append(&note("note-1"), Expected::exactly(number), vec![noted(number)]);
    append(0).expect("nobody else writes");
    sql(&pair.standby.url(), "SELECT pg_wal_replay_pause()").expect("it is a superuser");
    let error = append(1).expect_err("it cannot be read");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    for part in [
        "stored at the positions 2 to 2",
        "do not append them again",
        "wait for position 2",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
    // A replica that is behind is no fault, and what is read is what it has.
    assert_eq!((follower.fault(), follower.visible()), (None, Position(1)));
    sql(&pair.standby.url(), "SELECT pg_wal_replay_resume()").expect("it is a superuser");
    follower.wait_visible(Position(2));
    append(2).expect("nobody else writes");
    assert_eq!(events(&follower).len(), 3);
}

#[test]
fn a_host_that_is_silent_hid_the_one_behind_it() {
    let schema = prepared();
    // It takes connections, and says nothing on them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = silent.local_addr().expect("it listens").port();
    let both = schema
        .url
        .replacen("127.0.0.1:", &format!("127.0.0.1:{port},127.0.0.1:"), 1);
    let mut settings = schema.settings();
    settings.timeout = Duration::from_secs(2);
    let journal = PostgresJournal::open_with(&both, settings.clone()).map(drop);
    journal.expect("the second answers");
    let any = format!("{both}?load_balance_hosts=random");
    for _ in 0..2 {
        let journal = PostgresJournal::open_with(&any, settings.clone()).map(drop);
        journal.expect("wherever it begins");
    }
    settings.timeout = Duration::from_millis(200);
    let alone = format!("postgres://127.0.0.1:{port},127.0.0.1:1/orders");
    let refused = PostgresJournal::open_with(&alone, settings)
        .map(drop)
        .expect_err("nobody answers");
    for part in [
        &format!("127.0.0.1:{port},127.0.0.1:1/orders"),
        &format!("127.0.0.1:{port}: no response within 100 ms"),
        "127.0.0.1:1: error connecting to server",
    ] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
}
