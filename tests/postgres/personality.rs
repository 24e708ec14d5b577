//! The anomalies of the personality of PostgreSQL, on a real server: the same test bodies.

use std::sync::mpsc;
use std::time::Duration;

use annals::cqrs::{Group, Processors};
use annals::journal::postgres::PostgresJournal;
use annals::{Durability, Expected, FlushSettings, Position, Settings, Store};

use crate::anomalies::{self, Noted, Programs, mailer, note, noted, take};
use crate::follow::{append_in_sql, follow, url_at};
use crate::standby::Pair;
use crate::support::{Schema, prepared, sql};

const SOON: Duration = Duration::from_secs(60);

fn in_sql(schema: &Schema, id: &str) -> Position {
    Position(append_in_sql(schema, id))
}

/// Another follower commits, and notifies.
#[test]
fn late_notifications() {
    let schema = prepared();
    let (follower, other) = (follow(&schema), follow(&schema));
    let programs = Programs {
        follower: &follower,
        commit_elsewhere: &|id| {
            let appended = other.append(&note(id), Expected::Any, vec![noted(1)]);
            appended.expect("any").last_position
        },
    };
    programs.a_decision_on_what_was_read_late_conflicts();
}

/// An append in SQL notifies no follower.
#[test]
fn lost_notifications() {
    let schema = prepared();
    let follower = follow(&schema);
    let programs = Programs {
        follower: &follower,
        commit_elsewhere: &|id| in_sql(&schema, id),
    };
    programs.nothing_is_lost_with_a_notification();
}

#[test]
fn stale_reads() {
    let pair = Pair::start();
    let schema = pair.schema();
    let url = format!("{}?timeout=500ms", pair.standby.url_and(&[&pair.primary]));
    let follower = Store::follow(&url_at(&url, &schema)).expect("it can be followed");
    let programs = Programs {
        follower: &follower,
        commit_elsewhere: &|id| in_sql(&schema, id),
    };
    let order = |text| drop(sql(&pair.standby.url(), text).expect("it is a superuser"));
    programs.a_replica_answers_with_the_past(
        || order("SELECT pg_wal_replay_pause()"),
        || order("SELECT pg_wal_replay_resume()"),
    );
}

/// The server rolls back more often than the follower sends an append. A sequence counts what is rolled back too.
#[test]
fn serialization_retries() {
    let schema = prepared();
    schema.sql(
        "CREATE SEQUENCE tries; CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('tries') < 15 THEN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let follower = follow(&schema);
    let programs = Programs {
        follower: &follower,
        commit_elsewhere: &|id| in_sql(&schema, id),
    };
    let stored = || schema.value("SELECT count(*) FROM events").parse().expect("a number");
    programs.a_rolled_back_append_succeeds_later(stored);
}

/// A server raises the error of [`serialization_retries`] by itself, for an append in SQL behind another one.
#[test]
fn an_append_in_a_transaction_of_repeatable_reads_is_rolled_back_behind_another() {
    let schema = &prepared();
    let append = r#"SELECT append_events('note-1', 'Note', NULL, '[{"eventType": "Noted"}]')"#;
    std::thread::scope(|scope| {
        let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_advisory_xact_lock(7), position FROM head; SELECT pg_sleep(0.5)";
        let all = format!("{snapshot}; {append}; COMMIT");
        let behind = scope.spawn(move || schema.try_sql(&all));
        let holds = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND granted";
        while schema.value(holds) != "t" {
            std::thread::yield_now();
        }
        schema.sql(append);
        let refused = behind.join().expect("no panic").expect_err("it is behind");
        let said = refused.as_db_error().expect("the server answers");
        assert_eq!(said.code().code(), "40001", "{said:?}");
    });
    assert_eq!(append_in_sql(schema, "note-1"), 2, "the same append succeeds");
}

fn open(schema: &Schema) -> Option<Store> {
    let settings = schema.settings().lease_wait(Duration::ZERO);
    let journal = PostgresJournal::open_with(&schema.url, settings).ok()?;
    let flush = FlushSettings::default().retry_for(Duration::from_millis(100));
    let settings = Settings::default().flush(flush);
    let store = Store::builder()
        .settings(settings)
        .journal(journal)
        .open()
        .expect("it can be read");
    Some(store.with_durability(Durability::Synced).expect("PostgreSQL can"))
}

/// The lease of the process that writes expires, and another process opens the store.
fn take_over(schema: &Schema) -> Store {
    let expire = "UPDATE head SET lease = gen_random_uuid(), lease_expires = clock_timestamp() - interval '1 hour'";
    loop {
        schema.sql(expire);
        if let Some(store) = open(schema) {
            return store;
        }
    }
}

/// The process hangs after the last effect, before its checkpoint is stored. Its lease expires, and another process goes on.
#[test]
fn redelivery() {
    let schema = Schema::new();
    let store = open(&schema).expect("the schema is free");
    anomalies::events_are_delivered_again_with_the_same_key(&store, |seen| {
        let (go_on, hangs) = mpsc::channel::<()>();
        let (hangs, (at_last, is_last)) = (parking_lot::Mutex::new(hangs), mpsc::channel());
        let hung = Processors::new(&store);
        let first = mailer(&hung, seen, move |number| {
            if number == 3 {
                at_last.send(()).expect("the test waits");
                hangs.lock().recv().expect_err("the test lets it go on");
            }
        });
        is_last.recv().expect("it comes to the last event");
        let again = take_over(&schema);
        let processors = Processors::new(&again);
        mailer(&processors, seen, |_| ()).when_caught_up(SOON).expect("it runs");
        drop(go_on);
        hung.end();
        drop(first);
    });
}

/// Two events are acknowledged in a process that hangs before its checkpoint is stored.
#[test]
fn redelivery_to_a_group() {
    let schema = Schema::new();
    let store = open(&schema).expect("the schema is free");
    anomalies::events_are_delivered_again_with_the_same_key(&store, |seen| {
        let open = |store| Group::<Noted>::builder(store, "mailers").open().expect("it opens");
        let hung = open(&store);
        assert!(take(&hung, seen) && take(&hung, seen));
        let again = take_over(&schema);
        let group = open(&again);
        while take(&group, seen) {}
        hung.end();
    });
}
