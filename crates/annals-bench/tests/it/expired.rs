//! Events that expire while the load goes on: those may be missing, and no others.

use std::sync::Arc;
use std::time::Duration;

use annals::{Durability, Expected, Position, Version};
use annals_bench::backends::{Annals, Naive};
use annals_bench::load::{Setup, Span, simulate};
use annals_bench::oracle::{Expiry, Rule, Verdict, verify_expiring};
use annals_bench::plan::Plan;
use annals_bench::results::Summary;
use annals_bench::run::run;
use annals_bench::workload::{Workload, built_in, with_settings};
use annals_bench::{Backend, Clock as _, EventStore, Generator, Look, NewEvent, Result, StoredEvent, VirtualClock};

fn burst(more: &[&str]) -> Workload {
    let short = [
        "data.time_to_live_ms=150",
        "data.streams=500",
        "load.rate=2000",
        "phases.warmup_ms=50",
        "phases.measure_ms=500",
        "phases.repeats=1",
    ];
    let settings = short.iter().chain(more).map(|text| text.parse().unwrap());
    with_settings(built_in("session-burst").unwrap(), &settings.collect::<Vec<_>>()).unwrap()
}

#[test]
fn what_has_expired_was_called_lost() {
    let folder = tempfile::tempdir().unwrap();
    let files = Annals::in_files(folder.path(), Durability::Written);
    let backends: [&dyn Backend; 2] = [&Annals::in_memory(), &files];
    for backend in backends {
        for more in [&[][..], &["readers.tails=2"], &["mix.cycle=1", "data.batch=3"]] {
            let run = run(backend, &burst(more), 7, &mut |_, _| true).unwrap();
            assert!(run.verdict.is_checked && run.verdict.is_clean(), "{:?}", run.verdict);
            assert!(run.expired.unwrap() > 100, "{more:?}: {:?}", run.expired);
            assert!(run.verdict.found == run.verdict.acknowledged && run.verdict.found > 0);
        }
    }
}

#[test]
fn a_backend_that_keeps_what_should_expire_did_not_say_so() {
    let workloads = vec![burst(&[]), burst(&["data.time_to_live_ms=0"])];
    let plan = Plan::new(vec![Box::new(Naive), Box::new(Annals::in_memory())], workloads, 3);
    let summary = Summary::of(&plan.execute(&mut |_| true).unwrap());
    let of = |row: usize| (summary.rows[row].time_to_live_ms, summary.rows[row].expired.is_some());
    assert_eq!(
        [of(0), of(1), of(2), of(3)],
        [(150, false), (150, true), (0, false), (0, false)]
    );
    assert!(summary.rows.iter().all(|row| !row.is_red() && row.is_checked));
}

/// A store that hides events from its log.
struct Hiding {
    store: Arc<dyn EventStore>,
    clock: Arc<VirtualClock>,
    is_hidden: fn(u64) -> bool,
}

impl EventStore for Hiding {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        self.clock.advance(Duration::from_micros(10));
        self.store.append(stream, expected, events)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.store.read_stream(stream, after, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.store.read_log(after, limit, &mut |event: StoredEvent<'_>| {
            let number = std::str::from_utf8(&event.data[7..23]).unwrap();
            if !(self.is_hidden)(u64::from_str_radix(number, 16).unwrap()) {
                look(event);
            }
        })
    }
}

/// What the oracle finds after 1,000 appends of which the first half has expired.
fn found(is_hidden: fn(u64) -> bool) -> Verdict {
    let workload =
        Workload::parse("name = \"x\"\n[data]\nstreams = 9\n[load]\nworkers = 1\n[mix]\nappend = 1").unwrap();
    let clock = Arc::new(VirtualClock::new(1));
    let setup = Setup {
        store: Arc::new(Hiding {
            store: Naive.open().unwrap(),
            clock: Arc::clone(&clock),
            is_hidden,
        }),
        generator: Arc::new(Generator::new(&workload, 7)),
        clock: Arc::<VirtualClock>::clone(&clock),
    };
    let span = Span {
        numbers: 0..1_000,
        time: Duration::from_secs(10),
        drain: Duration::ZERO,
    };
    let mut entries = simulate(&setup, &clock, &span).entries;
    assert_eq!(clock.now(), Duration::from_millis(10));
    let expiry = Expiry {
        age: Duration::from_millis(5),
        clock: clock.as_ref(),
    };
    let (store, description) = (setup.store.as_ref(), Naive.description());
    verify_expiring(store, &description, &setup.generator, &mut entries, Some(expiry)).unwrap()
}

#[test]
fn an_event_that_had_not_expired_was_allowed_to_be_missing() {
    let expired = found(|number| number <= 500);
    assert!(expired.is_clean(), "{expired:?}");
    assert_eq!((expired.expired, expired.acknowledged, expired.found), (501, 499, 499));
    let some = found(|number| number % 7 == 0 && number <= 500);
    assert!(some.is_clean(), "{some:?}");
    let young = found(|number| number <= 501);
    assert_eq!(young.count(Rule::NothingLost), 1, "{young:?}");
    // A gap of versions is one too, if an event in it had not expired.
    assert!(found(|number| number == 800).count(Rule::NoGaps) == 1);
    assert_eq!(found(|_| false).expired, 0);
}
