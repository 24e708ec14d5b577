//! Loads on clocks that have faults: a timer with coarse steps, and a machine that was suspended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_bench::load::{Loaded, Quantile};
use annals_bench::{Clock, VirtualClock};

use crate::simulated::{MS, counts, simulated_on};

const ONE_WORKER: &str = "mode = \"open\"\narrivals = \"constant\"\nworkers = 1\nrate = ";

/// A clock whose timer fires at whole steps only.
struct Coarse(Arc<VirtualClock>, Duration);

impl Clock for Coarse {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn wait_until(&self, due: Duration) {
        let steps = due.as_nanos().div_ceil(self.1.as_nanos());
        if due > self.now() {
            self.0.wait_until(self.1 * u32::try_from(steps).unwrap());
        }
    }
}

/// A clock that goes on while the machine sleeps, which it does for a time in the first wait that ends at half a second or later.
struct Suspended {
    clock: Arc<VirtualClock>,
    sleeps: Duration,
    has_slept: AtomicBool,
}

impl Clock for Suspended {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn wait_until(&self, due: Duration) {
        self.clock.wait_until(due);
        if due >= 500 * MS && !self.has_slept.swap(true, Ordering::Relaxed) {
            self.clock.advance(self.sleeps);
        }
    }
}

/// A load of a second on a store that takes no time.
fn loaded<C: Clock + 'static>(rate: u32, seen: impl FnOnce(Arc<VirtualClock>) -> Arc<C>) -> Loaded {
    simulated_on(
        &format!("{ONE_WORKER}{rate}"),
        (1, 10 * MS),
        (|_| Duration::ZERO, false),
        seen,
    )
}

fn suspended_for(sleeps: Duration) -> Loaded {
    loaded(1_000, |clock| {
        Arc::new(Suspended {
            clock,
            sleeps,
            has_slept: AtomicBool::new(false),
        })
    })
}

#[test]
fn a_coarse_timer_sent_bursts_and_its_lateness_was_hidden() {
    // Due every 5 µs, and sent every 1 ms: 200 at a time, of which the first alone had waited for the timer.
    let coarse = loaded(200_000, |clock| Arc::new(Coarse(clock, MS)));
    // The schedule is absolute: the timer delays operations, and loses none.
    assert_eq!((coarse.offered, coarse.recording.ended), (199_999, 199_999));
    let (lag, response) = (&coarse.recording.lag, coarse.recording.all().response);
    assert_eq!(response.max(), Duration::from_micros(995));
    let mean = response.histogram().mean() / 1e3;
    assert!((497.0..498.0).contains(&mean), "{mean} µs");
    // All of it is the lateness of the harness, and none that of the store.
    assert_eq!(lag.histogram(), response.histogram());
    assert!(
        lag.quantile(0.5).known() > Some(Duration::from_micros(490)),
        "{:?}",
        lag.quantile(0.5)
    );
}

#[test]
fn a_fine_timer_was_late() {
    let fine = loaded(200_000, |clock| clock);
    assert_eq!(fine.recording.ended, 199_999);
    assert_eq!(
        (fine.recording.lag.max(), fine.recording.wait.max()),
        (Duration::ZERO, Duration::ZERO)
    );
}

#[test]
fn a_slow_store_behind_a_coarse_timer_was_called_a_late_harness() {
    // Two calls of 600 µs in each millisecond: the timer is late for the first one only, and then every worker is busy with the store.
    let takes = |_| Duration::from_micros(600);
    let slow = simulated_on(
        &format!("{ONE_WORKER}2000"),
        (1, 10_000 * MS),
        (takes, false),
        |clock| Arc::new(Coarse(clock, MS)),
    );
    assert_eq!(slow.recording.ended, 1_999);
    // Without the harness, the worker would have begun half a millisecond earlier, and no more than that.
    assert_eq!(slow.recording.lag.max(), MS / 2);
    assert!(slow.recording.wait.max() > 150 * MS, "{:?}", slow.recording.wait.max());
}

#[test]
fn a_suspended_machine_was_a_stall_of_the_store() {
    let suspended = suspended_for(100 * MS);
    assert_eq!((suspended.offered, suspended.recording.ended), (999, 999));
    let late = (1..=100).map(|millis| (millis, 1));
    let expected: Vec<(u64, u64)> = std::iter::once((0, 899)).chain(late).collect();
    let all = suspended.recording.all();
    assert_eq!(counts(&all.response), expected);
    assert_eq!(counts(&suspended.recording.lag), expected);
    assert_eq!(counts(&all.service), [(0, 999)]);
}

#[test]
fn operations_that_were_due_while_the_machine_slept_were_dropped() {
    let hour = Duration::from_hours(1);
    let slept = suspended_for(hour);
    // The one that waited is late by an hour, and the others never start: they are counted.
    assert_eq!((slept.offered, slept.recording.ended, slept.censored), (999, 500, 499));
    assert_eq!((slept.recording.taken, slept.recording.lag.max()), (499, hour));
    let response = slept.recording.all().response;
    assert_eq!(response.max(), hour);
    assert_eq!(
        response.censored_quantile(0.6, slept.censored, 10 * MS),
        Quantile::Censored
    );
}
