//! The personality of PostgreSQL: the same anomalies as on a real server, each alone.

use std::collections::BTreeSet;
use std::time::Duration;

use annals::cqrs::{Group, Processors};
use annals::testing::Seed;
use annals::testing::event_store::Guarded;
use annals::testing::personality::{Anomaly, Personality};
use annals::{Append, Error, Expected, Position, Query, Store, StreamLimits};
use uuid::Uuid;

use crate::anomalies::{self, Noted, Programs, Seen, mailer, note, noted, take};

const SOON: Duration = Duration::from_secs(60);

fn follow(personality: &Personality) -> Guarded<Store, Store> {
    let guard = Store::in_memory();
    let store = guard.followed_like(personality).expect("it can be followed");
    Guarded { store, guard }
}

fn commit(store: &Store, id: &str) -> Position {
    let appended = store.append(&note(id), Expected::Any, vec![noted(1)]);
    appended.expect("any").last_position
}

/// Runs a test body with a follower and the store that it follows.
fn with_programs(personality: &Personality, body: impl FnOnce(&Programs<'_>, &Store)) {
    let Guarded { store, guard } = follow(personality);
    let programs = Programs {
        follower: &store,
        commit_elsewhere: &|id| commit(&guard, id),
    };
    body(&programs, &guard);
}

fn only(anomaly: Anomaly) -> Personality {
    Personality::postgres()
        .only(anomaly)
        .timeout(Duration::from_millis(300))
}

#[test]
fn late_notifications() {
    let personality = only(Anomaly::LateNotifications);
    with_programs(&personality, |programs, _| {
        programs.a_decision_on_what_was_read_late_conflicts();
    });
}

#[test]
fn lost_notifications() {
    let personality = only(Anomaly::LostNotifications);
    with_programs(&personality, |programs, _| {
        programs.nothing_is_lost_with_a_notification();
    });
}

/// What a test holds back comes with the follower's next append, or when it is let go.
#[test]
fn held_notifications() {
    let personality = Personality::postgres().without(Anomaly::SerializationRetries);
    with_programs(&personality, |programs, store| {
        let follower = programs.follower;
        let first = commit(store, "note-1");
        follower.wait_visible(first);
        personality.hold_notifications();
        for number in 0..20 {
            let position = commit(store, "note-1");
            assert_eq!(follower.visible(), Position(position.0 - 1));
            let own = follower.append(&note("note-2"), Expected::exactly(number), vec![noted(number)]);
            assert_eq!(follower.visible(), own.expect("it reads on").last_position);
        }
        programs.a_decision_on_what_was_read_late_conflicts();
        let last = commit(store, "note-1");
        personality.deliver_notifications();
        follower.wait_visible(last);
    });
}

#[test]
fn stale_reads() {
    let personality = only(Anomaly::StaleReads);
    with_programs(&personality, |programs, _| {
        programs.a_replica_answers_with_the_past(|| personality.pause_replay(), || personality.resume_replay());
    });
}

#[test]
fn serialization_retries() {
    let personality = only(Anomaly::SerializationRetries);
    personality.roll_back(2);
    with_programs(&personality, |programs, store| {
        programs.a_rolled_back_append_succeeds_later(|| store.visible().0);
    });
}

#[test]
fn redelivery() {
    let personality = only(Anomaly::Redelivery);
    let store = Store::in_memory().behaves_like(&personality);
    anomalies::events_are_delivered_again_with_the_same_key(&store, |seen| {
        personality.redeliver(1);
        let processors = Processors::new(&store);
        let mailer = mailer(&processors, seen, |_| ());
        mailer.when_caught_up(SOON).expect("it runs");
    });
}

#[test]
fn redelivery_to_a_group() {
    let personality = only(Anomaly::Redelivery);
    let store = Store::in_memory().behaves_like(&personality);
    anomalies::events_are_delivered_again_with_the_same_key(&store, |seen| {
        personality.redeliver(1);
        let group = Group::<Noted>::builder(&store, "mailers").open().expect("it opens");
        while take(&group, seen) {}
    });
}

#[test]
fn an_anomaly_that_is_switched_off_does_not_happen() {
    let without = |anomaly| Personality::postgres().without(anomaly);
    let personality = without(Anomaly::SerializationRetries).without(Anomaly::StaleReads);
    personality.roll_back(u64::MAX);
    personality.pause_replay();
    personality.hold_notifications();
    let programs = follow(&personality.clone().without(Anomaly::LateNotifications));
    let elsewhere = commit(&programs.guard, "note-2");
    programs.store.wait_visible(elsewhere);
    for number in 0..50 {
        let appended = programs
            .store
            .append(&note("note-1"), Expected::exactly(number), vec![noted(number)]);
        appended.expect("it is neither rolled back nor unread");
    }
    let store = Store::in_memory();
    let other = store.behaves_like(&without(Anomaly::Redelivery));
    for handle in [&store, &other] {
        let seen = Seen::default();
        let processors = Processors::new(handle);
        let name = commit(handle, "note-1");
        let mailer = mailer(&processors, &seen, |_| ());
        mailer.when_caught_up(SOON).expect("it runs");
        assert!(seen.lock().iter().filter(|(position, ..)| *position == name).count() == 1);
        processors.end();
    }
    for anomaly in Anomaly::ALL {
        assert!(!without(anomaly).has(anomaly) && without(anomaly).with(anomaly).has(anomaly));
        let others = Anomaly::ALL.iter().filter(|other| only(anomaly).has(**other));
        assert_eq!(others.count(), 1, "{anomaly}");
    }
}

/// The number of failed appends, and the positions that a handler saw.
fn run(of_run: Seed) -> (Vec<usize>, Vec<Position>) {
    let personality = Personality::postgres().seeded(of_run);
    let store = of_run.store().behaves_like(&personality);
    let follower = store.followed_like(&personality).expect("it can be followed");
    let mut failed = Vec::new();
    for number in 0..60 {
        if follower.append(&note("note-1"), Expected::Any, vec![noted(1)]).is_err() {
            failed.push(number);
        }
    }
    let seen = Seen::default();
    let processors = Processors::by_hand(&store, of_run);
    let mailer = mailer(&processors, &seen, |_| ());
    processors.when_caught_up(SOON).expect("it runs");
    drop(mailer);
    let seen = seen.lock().iter().map(|(position, ..)| *position).collect();
    (failed, seen)
}

#[test]
fn the_same_seed_draws_the_same_anomalies() {
    let (failed, seen) = run(Seed::new(7));
    assert!(!failed.is_empty() && failed.len() < 40, "{failed:?}");
    assert!(seen.len() > 60 - failed.len(), "{seen:?}");
    assert!(
        failed.windows(4).all(|four| four[3] - four[0] > 3),
        "at most three in a row: {failed:?}"
    );
    assert_eq!(run(Seed::new(7)), (failed.clone(), seen));
    assert_ne!(run(Seed::new(8)).0, failed);
}

/// Appends until it is known that the event is stored, as a program must: again with the same id, and on the newest version after a conflict.
fn append_once(follower: &Store, id: Uuid, personality: &Personality) -> u64 {
    for tries in 0.. {
        let events = follower.read_stream("shared").events();
        if events.iter().any(|event| event.id() == id) {
            return tries;
        }
        let expected = Expected::exactly(events.len() as u64);
        match follower.append(&note("shared"), expected, vec![noted(1).id(id)]) {
            Ok(_) => return tries + 1,
            Err(Error::Unavailable { .. }) => personality.resume_replay(),
            Err(Error::Conflict(conflict)) => {
                personality.resume_replay();
                follower.wait_visible(conflict.wait_for());
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    0
}

/// Appends 20 events, a few of them while the replica is behind. Returns the number of attempts.
fn write(follower: &Store, writer: u64, personality: &Personality) -> u64 {
    let ids = (0..20).map(|number| (number, Uuid::from_u64_pair(writer, number)));
    let tries = ids.map(|(number, id)| {
        if number % 7 == 3 {
            personality.pause_replay();
        }
        append_once(follower, id, personality)
    });
    let tries = tries.sum();
    personality.resume_replay();
    tries
}

#[test]
fn programs_that_repeat_their_appends_store_each_event_once() {
    let personality = &Personality::postgres().timeout(Duration::from_millis(30));
    let store = Store::in_memory();
    let follow = || store.followed_like(personality).expect("it can be followed");
    let followers = [follow(), follow(), follow()];
    let tries: u64 = std::thread::scope(|scope| {
        let start = |(writer, follower)| scope.spawn(move || write(follower, writer, personality));
        let writers: Vec<_> = (1..).zip(&followers).map(start).collect();
        writers.into_iter().map(|writer| writer.join().expect("no panic")).sum()
    });
    assert!(tries > 60, "some appends are repeated");
    let events = store.read_stream("shared").events();
    let ids: BTreeSet<_> = events.iter().map(annals::Event::id).collect();
    assert_eq!((events.len(), ids.len()), (60, 60));
    for follower in &followers {
        follower.wait_visible(store.visible());
        assert_eq!(follower.read_stream("shared").events(), events);
    }
}

#[test]
fn a_follower_has_what_the_store_has_changed_and_dropped() {
    let personality = Personality::postgres().without(Anomaly::SerializationRetries);
    let store = Store::in_memory();
    commit(&store, "deleted");
    let early = store.followed_like(&personality).expect("it can be followed");
    for _ in 0..5 {
        commit(&store, "limited");
    }
    store.delete("deleted", Expected::Any).expect("it is there");
    let limits = StreamLimits::default().max_count(2);
    store.set_limits("limited", limits).expect("it is there");
    let last = commit(&store, "limited");
    let late = store.followed_like(&personality).expect("it can be followed");
    for follower in [&early, &late] {
        follower.wait_visible(last);
        assert_eq!(follower.visible(), store.visible());
        for id in ["deleted", "limited"] {
            assert_eq!(follower.read_stream(id).events(), store.read_stream(id).events());
        }
        let conflict = follower.append(&note("limited"), Expected::exactly(1), vec![noted(1)]);
        assert!(matches!(conflict, Err(Error::Conflict(_))), "{conflict:?}");
        let streams = [note("a"), note("b")];
        let two = streams
            .each_ref()
            .map(|stream| Append::new(stream, Expected::Any, vec![noted(1)]));
        let refused = follower.append_all(two);
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    assert_eq!(late.query(Query::all()).count(), Ok(2));
    drop(store);
    early.close().expect("nothing waits");
    assert_eq!(late.fault(), None);
}

annals::event_store_conformance!(
    a_follower,
    follow(&Personality::postgres().without(Anomaly::SerializationRetries))
);
annals::event_store_conformance!(a_writer, Store::in_memory().behaves_like(&Personality::postgres()));
