//! Ages at the ends of time.

use std::sync::Arc;
use std::time::Duration;

use annals::{Budget, ManualClock, Settings, Store, StreamLimits, Timestamp};

use crate::support::{START, fill, numbers};

/// A point in time that is moved stops at the end of time; an age does not.
#[test]
fn an_event_at_an_end_of_time_was_too_old_at_once() {
    let at = |time, budget| {
        let settings = Settings::default().budget(budget);
        let clock = Arc::new(ManualClock::at(time));
        let builder = Store::builder().settings(settings).clock(clock);
        builder.open().expect("the settings are in range")
    };
    let aged = |age| Budget::default().age(age);
    for time in [Timestamp::MIN, Timestamp::MAX, START] {
        for age in [Duration::from_secs(1), Duration::from_secs(86_400), Duration::MAX] {
            let store = at(time, Budget::default());
            let limits = StreamLimits::default().max_age(age);
            fill(&store, "a", 3);
            store.set_limits("a", limits).expect("limited");
            fill(&store, "a", 2);
            assert_eq!(numbers(&store, "a").len(), 5, "a limit of {age:?} at {time}");

            let store = at(time, aged(age));
            fill(&store, "a", 3);
            assert_eq!(numbers(&store, "a").len(), 3, "a budget of {age:?} at {time}");
        }
    }
}
