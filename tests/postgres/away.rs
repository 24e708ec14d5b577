//! Stores that follow, without notifications, after lost connections, while the server is away, and when the table was replaced.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::journal::JournalErrorKind;
use annals::{Error, Expected, Position, Query, Store, Version};
use tokio_postgres::{AsyncMessage, NoTls};

use crate::cluster::Cluster;
use crate::follow::{append_in_sql, assert_same, events, follow, note, noted, url_at};
use crate::proxy::{Cut, Proxy};
use crate::support::{Schema, prepared};

/// A store that follows with connections of this name.
fn follow_as(schema: &Schema, url: &str, name: &str) -> Store {
    let url = format!("{}&application_name={name}", url_at(url, schema));
    Store::follow(&url).expect("it can be followed")
}

fn end_connections(schema: &Schema, name: &str) {
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'");
    schema.sql(&end);
}

#[test]
fn without_notifications_a_follower_catches_up() {
    let schema = prepared();
    schema.sql("DROP FUNCTION notify_followers()");
    let (one, other) = (follow(&schema), follow(&schema));
    for round in 0..10 {
        let appended = one.append(&note("note-1"), Expected::exactly(round), vec![noted(round)]);
        other.wait_visible(appended.expect("nobody else writes").last_position);
        assert_eq!(other.read_stream("note-1").events().len() as u64, round + 1);
    }
}

#[test]
fn what_a_follower_appends_is_announced_when_it_is_committed() {
    let schema = prepared();
    let channel = schema.value("SELECT 'annals-' || store FROM head");
    let follower = follow(&schema);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (client, mut connection) = tokio_postgres::connect(&schema.url, NoTls).await.expect("it is there");
        let hears = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message {
                    return notification.channel().to_owned();
                }
            }
            panic!("the connection has ended");
        });
        client
            .batch_execute(&format!("LISTEN \"{channel}\""))
            .await
            .expect("it is a name");
        follower
            .append(&note("note-1"), Expected::Any, vec![noted(1)])
            .expect("any");
        assert_eq!(hears.await.expect("no panic"), channel);
    });
}

#[test]
fn a_follower_whose_connections_are_ended_goes_on() {
    let schema = prepared();
    let name = format!("ended-{}", std::process::id());
    let follower = follow_as(&schema, &schema.url, &name);
    let begun = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=30 {
                while begun.load(Ordering::SeqCst) < round {
                    std::thread::yield_now();
                }
                end_connections(&schema, &name);
            }
        });
        for round in 0..30 {
            begun.store(round + 1, Ordering::SeqCst);
            // Ended twice while it was appended, it may be there or not: the version says which.
            let mut appended = follower.append(&note("own"), Expected::exactly(round), vec![noted(round)]);
            while let Err(Error::Unavailable { .. }) = appended {
                appended = follower.append(&note("own"), Expected::exactly(round), vec![noted(round)]);
            }
            match appended {
                Ok(appended) => assert_eq!(appended.first_version, Version(round + 1)),
                Err(Error::Conflict(conflict)) => {
                    assert!(conflict.to_string().contains(&format!("at version {}", round + 1)));
                }
                Err(error) => panic!("{error}"),
            }
            let position = append_in_sql(&schema, "other");
            follower.wait_visible(Position(position));
            assert_eq!(follower.read_stream("other").events().len() as u64, round + 1);
        }
    });
    assert_eq!(
        schema.value("SELECT count(*) = max(position) AND count(*) = 60 FROM events"),
        "t"
    );
    assert_same(&follower, &follow(&schema));
}

#[test]
fn while_the_server_is_away_a_follower_is_read_and_then_goes_on() {
    let cluster = Cluster::start(&[], &[]);
    let schema = Schema::on(cluster.url());
    let follower = follow(&schema);
    let first = follower
        .append(&note("note-1"), Expected::NoStream, vec![noted(1)])
        .expect("it is new");
    for (round, how) in (1..).zip(["fast", "immediate"]) {
        cluster.control(&["-m", how, "-w", "stop"]);
        let refused = follower.append(&note("note-1"), Expected::Any, vec![noted(2)]);
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
        while follower.fault().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(
            follower.fault().map(|fault| fault.kind()),
            Some(JournalErrorKind::Retry)
        );
        assert_eq!(follower.read_stream("note-1").events().len() as u64, round);
        cluster.control(&["-w", "-t", "60", "start"]);
        let position = append_in_sql(&schema, "note-1");
        follower.wait_visible(Position(position));
        assert_eq!(position, first.last_position.0 + round);
        while follower.fault().is_some() {
            std::thread::yield_now();
        }
    }
    follower
        .append(&note("note-1"), Expected::exactly(3), vec![noted(4)])
        .expect("nobody else writes");
    cluster.control(&["-m", "fast", "-w", "stop"]);
    follower.close().expect("nobody has to be there");
    cluster.control(&["-w", "-t", "60", "start"]);
}

#[test]
fn an_append_whose_answer_is_lost_is_made_once() {
    for cut in [Cut::Before, Cut::After, Cut::Late] {
        for expected in [Expected::Any, Expected::NoStream, Expected::exactly(0)] {
            let schema = prepared();
            let (proxy, url) = Proxy::to(&schema.url);
            let follower = follow_as(&schema, &url, "doubtful");
            append_in_sql(&schema, "other");
            proxy.arm(b"cut here", cut);
            let event = annals::NewEvent::new("Noted").data("\"cut here\"");
            let appended = follower
                .append(&note("note-1"), expected, vec![event])
                .expect("it is made again");
            assert_eq!(
                (appended.last_position, appended.last_version, appended.repeated),
                (Position(2), Version(1), false)
            );
            proxy.release();
            let next = follower
                .append(&note("note-1"), Expected::exactly(1), vec![noted(2)])
                .expect("it was made once");
            assert_eq!(next.last_position, Position(3), "{cut:?} {expected}");
            drop(follower);
            // When no client is connected any more, no late append is under way.
            while schema.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'doubtful'") != "0" {}
            assert_eq!(schema.value("SELECT count(*) FROM events"), "3", "{cut:?} {expected}");
        }
    }
}

/// What a follower of four events comes to when `change` is made to its table.
fn ends_with(change: &str) -> (Store, Error) {
    let schema = prepared();
    let follower = follow(&schema);
    let many = (0..4).map(noted).collect::<Vec<_>>();
    follower
        .append(&note("note-1"), Expected::NoStream, many)
        .expect("it is new");
    let mut tail = follower.tail(Query::all(), Position(4)).expect("a query");
    schema.sql(change);
    // It ends when the follower has seen it.
    assert_eq!(tail.next(), None);
    let refused = follower.append(&note("note-1"), Expected::Any, vec![noted(4)]);
    assert_eq!(events(&follower).len(), 4);
    assert_eq!(follower.fork().read_stream("note-1").events().len(), 4);
    (follower, refused.expect_err("nothing is appended to another table"))
}

#[test]
fn another_table_is_not_followed() {
    for (change, part) in [
        (
            "UPDATE head SET store = gen_random_uuid()",
            "the address leads to another store now",
        ),
        (
            "DELETE FROM events WHERE position > 2; UPDATE head SET position = 2",
            "set back to position 2, and this follower has read up to 4",
        ),
        ("DROP TABLE events CASCADE; DROP TABLE head CASCADE", "42P01"),
    ] {
        let (follower, error) = ends_with(change);
        assert!(matches!(error, Error::Failed { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(
            follower.fault().map(|fault| fault.kind()),
            Some(JournalErrorKind::Failed)
        );
    }
    let (follower, error) = ends_with("UPDATE head SET position = 6");
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("the last event is at position 4, and the table head contains 6"),
        "{error}"
    );
    assert_eq!(
        follower.fault().map(|fault| fault.kind()),
        Some(JournalErrorKind::Corrupt)
    );
}

#[test]
fn an_append_that_cannot_be_read_says_that_it_is_stored() {
    let schema = prepared();
    let follower = follow(&schema);
    schema.sql(
        "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE head SET store = gen_random_uuid(); RETURN NULL; END'; \
         CREATE TRIGGER change AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION change()",
    );
    let appended = follower.append(&note("note-1"), Expected::NoStream, vec![noted(1), noted(2)]);
    let error = appended.expect_err("it cannot be read");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    for part in [
        "stored at the positions 1 to 2",
        "do not append them again",
        "another store",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(schema.value("SELECT count(*) FROM events"), "2");
}
