//! The anomalies of PostgreSQL, each as one test body: it runs against a real server, and then on the personality.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{Delivered, Group, Processors, Subscription};
use annals::{Conflict, Error, Expected, NewEvent, Position, Query, Store, StreamId, Version};
use parking_lot::Mutex;
use serde::Deserialize;
use uuid::Uuid;

/// Rounds in which something happens at least once that happens in most of them.
const ROUNDS: u64 = 200;

pub(crate) fn note(id: &str) -> StreamId {
    StreamId::new("Note", id)
}

pub(crate) fn noted(number: u64) -> NewEvent<'static> {
    NewEvent::new("Noted").data(number.to_string())
}

/// Two programs on one log.
pub(crate) struct Programs<'a> {
    /// The store of the program under test.
    pub(crate) follower: &'a Store,
    /// Another program commits an event of an aggregate. Returns the position.
    pub(crate) commit_elsewhere: &'a dyn Fn(&str) -> Position,
}

impl Programs<'_> {
    fn version(&self, id: &str) -> u64 {
        self.follower.stream_info(id).map_or(0, |info| info.version.0)
    }

    /// The next commit that the follower does not read at once, and the version that it reads until then.
    fn unread_commit(&self, id: &str) -> (Position, u64) {
        for _ in 0..ROUNDS {
            let position = (self.commit_elsewhere)(id);
            let version = self.version(id);
            if self.follower.visible() < position {
                return (position, version);
            }
        }
        panic!("the follower has read each of {ROUNDS} commits when they were acknowledged");
    }

    /// A decision on the old state conflicts, and succeeds on the new one.
    pub(crate) fn a_decision_on_what_was_read_late_conflicts(&self) {
        let (position, read) = self.unread_commit("note-1");
        let append = |version| {
            self.follower
                .append(&note("note-1"), Expected::exactly(version), vec![noted(version)])
        };
        let conflict = append(read);
        let Err(Error::Conflict(conflict)) = conflict else {
            panic!("{conflict:?}");
        };
        let Conflict::Version { actual, .. } = *conflict else {
            panic!("{conflict:?}");
        };
        assert!(actual > Version(read), "{actual} {read}");
        self.follower.wait_visible(position);
        let appended = append(actual.0).expect("it is the newest version");
        assert_eq!(appended.last_version, Version(actual.0 + 1));
    }

    /// A commit that nothing tells of is read late, and none is missed.
    pub(crate) fn nothing_is_lost_with_a_notification(&self) {
        let (mut last, _) = self.unread_commit("note-1");
        for number in 0..20 {
            last = (self.commit_elsewhere)(&format!("note-{}", number % 3));
        }
        let mut tail = self.follower.tail(Query::all(), Position(0)).expect("a query");
        let mut next = 1;
        for event in tail.events().take(usize::try_from(last.0).expect("few")) {
            assert_eq!(event.position(), Position(next));
            next += 1;
        }
        assert_eq!(next, last.0 + 1);
    }

    /// A replica that lags is read, and an append that it does not have is stored.
    pub(crate) fn a_replica_answers_with_the_past(&self, pause: impl FnOnce(), resume: impl FnOnce()) {
        let first = (self.commit_elsewhere)("note-1");
        self.follower.wait_visible(first);
        pause();
        (self.commit_elsewhere)("note-1");
        let append = || {
            let event = noted(1).id(Uuid::from_u128(7));
            self.follower.append(&note("note-2"), Expected::NoStream, vec![event])
        };
        let stored = append().expect_err("the replica does not have it");
        assert!(matches!(stored, Error::Unavailable { .. }), "{stored:?}");
        for part in [
            "stored at the positions",
            "do not append them again",
            "wait for position",
        ] {
            assert!(stored.to_string().contains(part), "{stored}");
        }
        assert_eq!((self.follower.fault(), self.follower.visible()), (None, first));
        assert_eq!((self.version("note-1"), self.version("note-2")), (1, 0));
        assert_eq!(self.follower.query(Query::all()).count(), Ok(1));
        resume();
        self.follower.wait_visible(Position(first.0 + 2));
        assert!(append().expect("it is known").repeated);
        assert_eq!((self.version("note-1"), self.version("note-2")), (2, 1));
    }

    /// An append that the server has rolled back stores nothing, and succeeds later.
    pub(crate) fn a_rolled_back_append_succeeds_later(&self, stored: impl Fn() -> u64) {
        let append = || {
            self.follower
                .append(&note("note-1"), Expected::NoStream, vec![noted(1)])
        };
        let refused = append().expect_err("it is rolled back");
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("nothing was written"), "{refused}");
        assert!(refused.to_string().contains("40001"), "{refused}");
        assert_eq!((stored(), self.follower.fault()), (0, None));
        let appended = (0..10).find_map(|_| append().ok()).expect("it passes");
        assert_eq!((appended.last_version, appended.repeated), (Version(1), false));
        assert_eq!(stored(), 1);
    }
}

/// The typed event of [`noted`].
#[derive(Deserialize)]
pub(crate) enum Noted {
    Noted(u64),
}

/// The deliveries that a handler saw: position, idempotency key, attempt.
pub(crate) type Seen = Arc<Mutex<Vec<(Position, Uuid, u32)>>>;

/// A subscription that notes its deliveries, and then calls `then` with the number of the event.
pub(crate) fn mailer(
    processors: &Processors,
    seen: &Seen,
    then: impl Fn(u64) + Send + Sync + 'static,
) -> Subscription<Noted> {
    let seen = Arc::clone(seen);
    let mailer = processors.subscribe("mailer", move |delivered: Delivered<'_, Noted>| {
        seen.lock()
            .push((delivered.record.position(), delivered.key, delivered.attempt));
        let Noted::Noted(number) = delivered.event;
        then(number);
        Ok(())
    });
    mailer.start().expect("it starts")
}

/// Takes an event from a group, notes it, and acknowledges it.
pub(crate) fn take(group: &Group<Noted>, seen: &Seen) -> bool {
    let received = group.receive(Duration::from_millis(100)).expect("it runs");
    let is_there = received.is_some();
    if let Some(received) = received {
        seen.lock()
            .push((received.record.position(), received.key, received.attempt));
        received.ack().expect("its lease holds");
    }
    is_there
}

/// Appends three events. `run` lets a [`mailer`] or a group handle them, with a crash before its checkpoint is stored.
pub(crate) fn events_are_delivered_again_with_the_same_key(store: &Store, run: impl FnOnce(&Seen)) {
    for number in 1..=3 {
        store
            .append(&note("note-1"), Expected::Any, vec![noted(number)])
            .expect("any");
    }
    let seen = Seen::default();
    run(&seen);
    let seen = seen.lock();
    let mut keys = BTreeMap::new();
    for (position, key, attempt) in &*seen {
        assert_eq!(*attempt, 1, "no attempt has failed");
        let known = keys.entry(*position).or_insert(*key);
        assert_eq!(known, key, "the key of an event is always the same");
    }
    assert!(seen.len() > 3, "{seen:?}");
    assert_eq!(keys.keys().copied().collect::<Vec<_>>(), [1, 2, 3].map(Position));
    let distinct: std::collections::BTreeSet<_> = keys.values().collect();
    assert_eq!(
        distinct.len(),
        3,
        "a handler that stores the keys handles each event once"
    );
}
