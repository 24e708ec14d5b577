//! Loads in virtual time, whose histograms can be computed by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::{Expected, Position, Version};
use annals_bench::load::{Loaded, Quantile, Setup, Span, simulate};
use annals_bench::workload::Workload;
use annals_bench::{Clock, EventStore, Generator, Look, NewEvent, Result, StoreError, VirtualClock};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A store whose calls take a time of their own each.
struct Slow {
    clock: Arc<VirtualClock>,
    calls: AtomicU64,
    takes: fn(u64) -> Duration,
    fails: bool,
}

impl EventStore for Slow {
    fn append(&self, _: &str, _: Expected, _: &[NewEvent<'_>]) -> Result<Version> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        self.clock.advance((self.takes)(call));
        if self.fails {
            Err(StoreError::Failed("no".to_owned()))
        } else {
            Ok(Version(1))
        }
    }

    fn read_stream(&self, _: &str, _: Version, _: Look<'_>) -> Result<()> {
        Ok(())
    }

    fn read_log(&self, _: Position, _: usize, _: Look<'_>) -> Result<()> {
        Ok(())
    }
}

fn workload(load: &str) -> Workload {
    Workload::parse(&format!("name = \"x\"\n[load]\n{load}\n[mix]\nappend = 1")).unwrap()
}

fn simulated(load: &str, seconds: u64, drain: Duration, takes: fn(u64) -> Duration) -> Loaded {
    simulated_with(load, seconds, drain, takes, false)
}

fn simulated_with(load: &str, seconds: u64, drain: Duration, takes: fn(u64) -> Duration, fails: bool) -> Loaded {
    simulated_on(load, (seconds, drain), (takes, fails), |clock| clock)
}

/// Simulates a load whose workers look at the clock that `seen` makes of the virtual one.
pub(crate) fn simulated_on<C: Clock + 'static>(
    load: &str,
    (seconds, drain): (u64, Duration),
    (takes, fails): (fn(u64) -> Duration, bool),
    seen: impl FnOnce(Arc<VirtualClock>) -> Arc<C>,
) -> Loaded {
    let workload = workload(load);
    let clock = Arc::new(VirtualClock::new(usize::try_from(workload.load.workers).unwrap()));
    let store = Slow {
        clock: Arc::clone(&clock),
        calls: AtomicU64::new(0),
        takes,
        fails,
    };
    let setup = Setup {
        store: Arc::new(store),
        generator: Arc::new(Generator::new(&workload, 42)),
        clock: seen(Arc::clone(&clock)),
    };
    let span = Span {
        numbers: 0..1_000_000,
        time: Duration::from_secs(seconds),
        drain,
    };
    simulate(&setup, &clock, &span)
}

/// Milliseconds of a histogram and how often each was recorded.
pub(crate) fn counts(samples: &annals_bench::load::Samples) -> Vec<(u64, u64)> {
    let recorded = samples.histogram().iter_recorded();
    let rounded = |nanos: u64| (nanos + 500_000) / 1_000_000;
    recorded
        .map(|step| (rounded(step.value_iterated_to()), step.count_at_value()))
        .collect()
}

#[test]
fn a_stall_of_10_ms_was_one_slow_operation_and_not_ten_late_ones() {
    // Due every 1 ms, and done at once but for one call that takes 10 ms: the calls that were due meanwhile are late, by 9, 8 … 1 ms.
    let load = "mode = \"open\"\narrivals = \"constant\"\nrate = 1000\nworkers = 1";
    let stalled = simulated(load, 1, MS, |call| if call == 500 { 10 * MS } else { Duration::ZERO });
    let all = stalled.recording.all();
    assert_eq!(stalled.offered, 999);
    assert_eq!(stalled.recording.ended, 999);
    let late = (1..=10).map(|millis| (millis, 1));
    let expected: Vec<(u64, u64)> = std::iter::once((0, 989)).chain(late).collect();
    assert_eq!(counts(&all.response), expected);
    assert_eq!(counts(&all.service), [(0, 998), (10, 1)]);
    assert_eq!(all.response.max(), 10 * MS);
    // The store was late and not the harness.
    assert_eq!(stalled.recording.lag.max(), Duration::ZERO);
    assert_eq!(stalled.recording.wait.max(), 9 * MS);
}

#[test]
fn a_closed_loop_does_not_see_the_same_stall() {
    let load = "mode = \"saturate\"\nworkers = 1";
    let stalled = simulated(load, 1, MS, |call| if call == 500 { 10 * MS } else { MS });
    let all = stalled.recording.all();
    assert_eq!(counts(&all.response), [(1, 990), (10, 1)]);
    assert_eq!(counts(&all.response), counts(&all.service));
}

#[test]
fn workers_share_one_queue() {
    // Three workers, 2 ms a call, one call due every 1 ms: none waits. With one worker, each waits for the one before.
    let load = "mode = \"open\"\narrivals = \"constant\"\nrate = 1000\nworkers = 3";
    let shared = simulated(load, 1, MS, |_| 2 * MS);
    assert_eq!(counts(&shared.recording.all().response), [(2, 999)]);
    assert_eq!(shared.recording.wait.max(), Duration::ZERO);
}

#[test]
fn overload_looked_calm_since_unanswered_operations_were_dropped() {
    // One call takes 2 ms, and one is due every 1 ms: half of them are done in time, and a quarter more in half the time again.
    let load = "mode = \"open\"\narrivals = \"constant\"\nrate = 1000\nworkers = 1";
    let overloaded = simulated(load, 10, Duration::from_secs(5), |_| 2 * MS);
    assert_eq!(overloaded.offered, 9_999);
    assert_eq!(overloaded.recording.ended + overloaded.censored, overloaded.offered);
    assert!((2_490..2_510).contains(&overloaded.censored), "{}", overloaded.censored);
    assert!((4_990..5_010).contains(&overloaded.recording.accepted));
    assert!((4_990..5_010).contains(&overloaded.recording.taken));
    let response = overloaded.recording.all().response;
    let quantile = |share| response.censored_quantile(share, overloaded.censored, Duration::from_secs(5));
    // Operation n is due at n ms and ends at 2 n ms.
    let early = quantile(0.45).known().unwrap();
    assert!((4_490..4_510).contains(&early.as_millis()), "{early:?}");
    for share in [0.6, 0.9, 0.95] {
        assert_eq!(quantile(share), Quantile::Censored, "{share}");
    }
}

#[test]
fn the_wait_was_measured_from_the_sending_and_not_from_the_due_time() {
    let load = "mode = \"open\"\narrivals = \"poisson\"\nrate = 500\nworkers = 1";
    let loaded = simulated(load, 20, Duration::from_secs(5), |_| MS);
    let (wait, all) = (&loaded.recording.wait, loaded.recording.all());
    // A queue with random arrivals and a use of one half: the mean wait is half a call (Pollaczek and Khinchine).
    let mean = wait.histogram().mean() / 1e6;
    assert!((0.4..0.6).contains(&mean), "{mean} ms");
    let response = all.response.histogram().mean() / 1e6;
    assert!(
        (response - mean - 1.0).abs() < 0.01,
        "response {response} ms, wait {mean} ms"
    );
}

#[test]
fn an_operation_that_was_due_at_the_end_was_an_overload() {
    // Each call takes longer than the time that is measured, and none waits.
    let load = "mode = \"open\"\narrivals = \"constant\"\nrate = 10\nworkers = 20";
    let slow = simulated(load, 1, MS, |_| Duration::from_secs(2));
    assert_eq!((slow.recording.accepted, slow.recording.taken, slow.offered), (0, 9, 9));
}

#[test]
fn failed_operations_were_among_the_fast_ones() {
    let load = "mode = \"open\"\narrivals = \"constant\"\nrate = 1000\nworkers = 1";
    let failed = simulated_with(load, 1, MS, |_| Duration::ZERO, true);
    assert_eq!((failed.recording.failed, failed.recording.accepted), (999, 0));
    assert_eq!(failed.recording.all().response.count(), 0);
    assert_eq!(failed.recording.failure.as_deref(), Some("no"));
}

#[test]
fn the_same_seed_gave_another_load() {
    let load = "mode = \"open\"\nrate = 2000\nworkers = 4";
    let takes = |call| Duration::from_micros(call * 7_919 % 3_000);
    let (one, other) = (simulated(load, 2, MS, takes), simulated(load, 2, MS, takes));
    assert!(one.offered > 3_800);
    assert_eq!(one.offered, other.offered);
    assert_eq!(
        counts(&one.recording.all().response),
        counts(&other.recording.all().response)
    );
    assert_eq!(one.recording.wait.histogram(), other.recording.wait.histogram());
}

#[test]
fn the_largest_number_of_operations_ended_the_time_too() {
    let workload = workload("mode = \"saturate\"\nworkers = 1");
    let clock = Arc::new(VirtualClock::new(1));
    let store = Slow {
        clock: Arc::clone(&clock),
        calls: AtomicU64::new(0),
        takes: |_| MS,
        fails: false,
    };
    let setup = Setup {
        store: Arc::new(store),
        generator: Arc::new(Generator::new(&workload, 42)),
        clock: Arc::<VirtualClock>::clone(&clock),
    };
    let span = Span {
        numbers: 10..110,
        time: Duration::from_secs(60),
        drain: MS,
    };
    let limited = simulate(&setup, &clock, &span);
    assert!(limited.is_limited);
    assert_eq!((limited.number, limited.recording.ended), (110, 100));
    assert_eq!(limited.time, 100 * MS);
    assert_eq!(clock.now(), 100 * MS);
}
