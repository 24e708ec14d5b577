//! A store that follows a log whose remote appends to several aggregates, and under a condition.

use std::time::Duration;

use annals::journal::{Followed, Remote, RemoteAppend};
use annals::testing::event_store::Guarded;
use annals::testing::personality::{Anomaly, Personality};
use annals::{Append, Appended, Condition, Durability, Error, Expected, Position, Query, Result, Store};

use crate::anomalies::{note, noted};

/// A remote that appends to a store in memory, which has the locks for it.
#[derive(Debug)]
struct Several {
    inner: Box<dyn Remote>,
    store: Store,
}

fn part<'a>(append: &RemoteAppend<'a>) -> Append<'a> {
    Append::new(append.stream(), append.expected(), append.events_with_ids())
}

impl Remote for Several {
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        self.inner.append(append)
    }

    fn append_all(&self, appends: &[RemoteAppend<'_>], unchanged_since: Option<Position>) -> Result<Vec<Appended>> {
        let parts: Vec<_> = appends.iter().map(part).collect();
        let mut appended = match unchanged_since {
            None => self.store.append_all(parts)?,
            Some(position) => self
                .store
                .append_if(&Condition::none_after(Query::all(), position), parts)?,
        };
        for (appended, append) in appended.iter_mut().zip(appends) {
            appended.durability = Durability::Synced;
            appended.repeated &= append.has_own_ids();
        }
        Ok(appended)
    }

    fn appends_to_several(&self) -> bool {
        true
    }

    fn timeout(&self) -> Duration {
        self.inner.timeout()
    }

    fn wake(&self) {
        self.inner.wake();
    }

    fn stop(&self) {
        self.inner.stop();
    }
}

/// A store that follows another one, whose events it often reads late.
fn follow() -> Guarded<Store, Store> {
    let guard = Store::in_memory();
    let personality = Personality::postgres().without(Anomaly::SerializationRetries);
    let (feed, inner) = guard.log_like(&personality).into_parts();
    let remote = Several {
        inner,
        store: guard.clone(),
    };
    let store = Store::builder().follow_log(Followed::new(feed, remote));
    Guarded {
        store: store.expect("it can be followed"),
        guard,
    }
}

annals::event_store_conformance!(a_follower_of_several, follow());

#[test]
fn a_condition_was_evaluated_by_what_was_read_late() {
    let Guarded { store, guard } = follow();
    for round in 1..=50 {
        let start = guard.append(&note("other"), Expected::Any, vec![noted(1)]).unwrap();
        let stream = note(&format!("note-{round}"));
        let part = Append::new(&stream, Expected::NoStream, vec![noted(1)]);
        let unmet = Condition::none_after(Query::all().aggregate("other"), Position(start.last_position.0 - 1));
        let refused = store.append_if(&unmet, part.clone());
        assert!(matches!(refused, Err(Error::Conflict(_))), "{round}: {refused:?}");
        let met = Condition::none_after(Query::all().aggregate("other"), start.last_position);
        let appended = store.append_if(&met, part).expect("nothing was appended since");
        assert_eq!(appended[0].last_position, Position(2 * round));
        assert_eq!(store.read_stream(&stream.aggregate_id).events().len(), 1);
    }
}
