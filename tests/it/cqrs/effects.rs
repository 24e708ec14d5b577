//! Effects of projections outside of themselves: not for the past.

use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{HandlerError, Live, Processors, Projection};
use annals::{Event, Expected, NewEvent, Store, StreamId};
use parking_lot::Mutex;

use super::AccountEvent;
use super::projections::deposit;

const SOON: Duration = Duration::from_secs(30);

/// Announces the positions of the events that it gets while it is live.
#[derive(Default)]
struct Announcing {
    is_live: bool,
    announced: Arc<Mutex<Vec<u64>>>,
    lives: u64,
}

impl Projection for Announcing {
    type Event = AccountEvent;

    fn apply(&mut self, _: AccountEvent, record: &Event) -> Result<(), HandlerError> {
        if self.is_live {
            self.announced.lock().push(record.position().0);
        }
        Ok(())
    }

    fn went_live(&mut self) {
        self.is_live = true;
        self.lives += 1;
    }
}

#[test]
fn the_past_has_effects_once_more() {
    for past in [0, 3] {
        let store = Store::in_memory();
        for _ in 0..past {
            deposit(&store, "a", 1);
        }
        // No event of the projection ends the past.
        if past > 0 {
            let other = StreamId::new("Other", "o");
            store
                .append(&other, Expected::Any, NewEvent::new("Other"))
                .expect("appended");
        }
        let first = store.visible().0 + 1;
        let processors = Processors::new(&store);
        let announced = Arc::new(Mutex::new(Vec::new()));
        let fresh = || Announcing {
            announced: Arc::clone(&announced),
            ..Announcing::default()
        };
        let running = processors.project("announcing", fresh()).start().expect("it starts");
        running.when_caught_up(SOON).expect("it runs");
        running.when_processed(deposit(&store, "a", 1), SOON).expect("it runs");
        assert_eq!(*announced.lock(), [first]);
        running.rebuild(fresh()).expect("it is rebuilt");
        running.when_processed(deposit(&store, "a", 1), SOON).expect("it runs");
        assert_eq!(*announced.lock(), [first, first + 1]);
        assert_eq!(running.read(|announcing| announcing.lives), 1);
        processors.end();

        // On demand: what is there when it begins, or is reset, is the past.
        announced.lock().clear();
        let live = Live::new(&store, fresh());
        let third = deposit(&store, "a", 1).0;
        live.catch_up().expect("it is applied");
        assert_eq!(*announced.lock(), [third]);
        live.reset(&store, fresh()).expect("it is reset");
        live.catch_up().expect("it is applied");
        deposit(&store, "a", 1);
        live.catch_up().expect("it is applied");
        assert_eq!(*announced.lock(), [third, third + 1]);
        assert_eq!(live.read(|announcing| announcing.lives), Ok(1));
    }
}
