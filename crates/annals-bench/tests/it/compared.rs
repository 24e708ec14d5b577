//! Comparisons: a gate that cannot fail is none.

use std::time::Duration;

use annals::{Expected, Position, Version};
use annals_bench::backends::Naive;
use annals_bench::compare::{Change, Comparison, compare};
use annals_bench::plan::{Plan, Row};
use annals_bench::results::{Build, FORMAT, Figure, Manifest, RowSummary, Summary, read, work_of};
use annals_bench::statistics::Estimate;
use annals_bench::workload::{Mode, Workload};
use annals_bench::{
    Backend, Clock as _, Description, DurabilityClass, EventStore, Look, Machine, MonotonicClock, NewEvent, Result,
    SelfTest,
};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use std::sync::Arc;

/// A backend whose appends take longer.
struct Slowed(Duration);

struct SlowedStore(Arc<dyn EventStore>, Duration);

impl Backend for Slowed {
    fn description(&self) -> Description {
        Naive.description()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        Ok(Arc::new(SlowedStore(Naive.open()?, self.0)))
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }
}

impl EventStore for SlowedStore {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        MonotonicClock::start().wait_until(self.1);
        self.0.append(stream, expected, events)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.0.read_stream(stream, after, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.0.read_log(after, limit, look)
    }
}

pub(crate) fn measured(delay: Duration) -> (Manifest, Summary, Vec<Row>) {
    let text =
        "name = \"x\"\n[load]\nworkers = 1\n[phases]\nwarmup_ms = 0\nmeasure_ms = 60\nrepeats = 3\n[mix]\nappend = 1";
    let workloads = vec![Workload::parse(text).unwrap()];
    let plan = Plan::new(vec![Box::new(Slowed(delay))], workloads.clone(), 1);
    let rows = plan.execute(&mut |_| true).unwrap();
    let manifest = Manifest {
        format: FORMAT,
        tool: "test".to_owned(),
        build: Build::default(),
        started_micros: 0,
        command: Vec::new(),
        seed: 1,
        backends: vec!["naive".to_owned()],
        work: work_of(&workloads),
        workloads,
        machine: Machine::default(),
        self_test: SelfTest::default(),
    };
    (manifest, Summary::of(&rows), rows)
}

/// Compares a result with a copy that `change` changed.
fn changed(change: impl Fn(&mut Manifest, &mut Summary)) -> Comparison {
    let (manifest, summary, _) = measured(Duration::from_micros(100));
    let (mut other, mut after) = (manifest.clone(), summary.clone());
    change(&mut other, &mut after);
    compare((&manifest, &summary), (&other, &after))
}

fn scale(row: &mut RowSummary, factor: f64) {
    for (figure, estimate) in &mut row.figures {
        let factor = if figure.is_rate() { factor } else { 1.0 / factor };
        estimate.value *= factor;
        estimate.low *= factor;
        estimate.high *= factor;
    }
}

#[test]
fn a_planted_slowdown_passed() {
    let (fast, slow) = (measured(Duration::from_micros(100)), measured(Duration::from_millis(2)));
    let comparison = compare((&fast.0, &fast.1), (&slow.0, &slow.1));
    assert!(comparison.has(Change::Worse), "{comparison:?}");
    assert!(!comparison.has(Change::Better), "{comparison:?}");
    assert!(comparison.unlike.is_empty() && comparison.refused.is_empty());
}

#[test]
fn the_same_result_was_another() {
    let comparison = changed(|_, _| {});
    assert!(comparison.figures.len() >= 2);
    assert!(
        comparison.figures.iter().all(|figure| figure.change == Change::Same),
        "{comparison:?}"
    );
}

#[test]
fn a_row_that_is_gone_or_renamed_passed() {
    let gone = changed(|_, summary| summary.rows.clear());
    assert!(gone.has(Change::Missing), "{gone:?}");
    let renamed = changed(|_, summary| summary.rows[0].workload = "y".to_owned());
    let missing = renamed.figures.iter().filter(|figure| figure.change == Change::Missing);
    assert_eq!(missing.count(), 2);
}

#[test]
fn one_of_two_rows_of_one_name_was_not_compared() {
    let comparison = changed(|_, summary| {
        let mut slower = summary.rows[0].clone();
        scale(&mut slower, 0.1);
        summary.rows.push(slower);
    });
    assert!(comparison.has(Change::Missing), "{comparison:?}");
}

#[test]
fn figures_that_no_run_gives_were_compared() {
    let (manifest, summary, rows) = measured(Duration::from_micros(50));
    let refused = |change: &dyn Fn(&mut RowSummary)| {
        let (mut summary, parent) = (summary.clone(), tempfile::tempdir().unwrap());
        change(&mut summary.rows[0]);
        let folder = annals_bench::results::Folder::existing(parent.path());
        folder.write(&manifest, &summary, &rows).unwrap();
        let read = read(folder.path()).err().map(|error| error.to_string());
        read.is_some_and(|error| error.contains("summary.json") && error.contains("of x on naive"))
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|row| row.figures[0].1.low = row.figures[0].1.high + 1.0));
    assert!(refused(&|row| row.figures[0].1.value = -1.0));
    assert!(refused(&|row| row.figures.push(row.figures[0])));
}

#[test]
fn a_row_without_samples_or_with_a_failure_passed() {
    assert!(changed(|_, summary| summary.rows[0].figures.clear()).has(Change::Missing));
    assert!(changed(|_, summary| summary.rows[0].failure = Some("no".to_owned())).has(Change::Missing));
    assert!(changed(|_, summary| summary.rows[0].repeats = 1).has(Change::Missing));
}

#[test]
fn a_result_that_is_thirty_times_faster_was_praised() {
    let comparison = changed(|_, summary| scale(&mut summary.rows[0], 30.0));
    assert!(
        comparison.has(Change::Implausible) && !comparison.has(Change::Better),
        "{comparison:?}"
    );
    let slower = changed(|_, summary| scale(&mut summary.rows[0], 1.0 / 30.0));
    assert!(
        slower.has(Change::Worse) && !slower.has(Change::Implausible),
        "{slower:?}"
    );
}

#[test]
fn a_change_below_the_threshold_was_one() {
    let all_same = |factor| {
        let comparison = changed(|_, summary| scale(&mut summary.rows[0], factor));
        comparison.figures.iter().all(|figure| figure.change == Change::Same)
    };
    assert!(all_same(1.02) && all_same(0.98));
}

#[test]
fn unlike_results_were_compared() {
    let other_machine = changed(|manifest, _| manifest.machine.processors = 64);
    assert_eq!(other_machine.unlike.len(), 1, "{other_machine:?}");
    let durable = changed(|_, summary| summary.rows[0].backend.durability = DurabilityClass::PowerSafe);
    assert!(
        durable.unlike[0].contains("durability differs, volatile and power-safe"),
        "{durable:?}"
    );
    let batch = changed(|_, summary| summary.rows[0].batch = 100);
    assert!(batch.unlike[0].contains("events of an append"), "{batch:?}");
    let workload = changed(|manifest, _| manifest.workloads[0].payload.bytes_p50 = 10);
    assert_eq!(
        workload.unlike,
        ["x: the workloads differ in payload.bytes_p50 (240 and 10)"]
    );
    let longer = changed(|manifest, _| manifest.workloads[0].phases.measure_ms = 9);
    assert!(longer.unlike.is_empty(), "{longer:?}");
}

#[test]
fn workloads_differed_in_an_unknown_way() {
    let many = changed(|manifest, _| {
        let row = &mut manifest.workloads[0];
        (row.data.batch, row.data.days, row.data.streams, row.read.cache) = (2, 3, 4, false);
        manifest.work = work_of(&manifest.workloads);
    });
    let text = "x: the workloads differ in data.batch (1 and 2), data.days (30 and 3), data.streams (1000 and 4), and 1 more; their hashes are ";
    assert!(many.unlike[0].starts_with(text), "{many:?}");
    // The events of a log are in no manifest, and their hash is.
    let log = changed(|manifest, _| {
        manifest.work.insert("x".to_owned(), "0123456789abcdef".to_owned());
    });
    let text = "x: the workloads differ in the events of their logs; their hashes are ";
    assert!(
        log.unlike[0].starts_with(text) && log.unlike[0].ends_with(" and 0123456789ab"),
        "{log:?}"
    );
    // A result without hashes is compared by its keys.
    let old = changed(|manifest, _| manifest.work.clear());
    assert!(old.unlike.is_empty(), "{old:?}");
}

#[test]
fn results_of_two_builds_looked_like_those_of_one() {
    let same = changed(|_, _| {});
    assert_eq!(same.builds, None);
    let build = |commit: &str| Build {
        commit: commit.to_owned(),
        program: String::new(),
    };
    let (mut before, summary, _) = measured(Duration::from_micros(100));
    let mut after = before.clone();
    (before.build, after.build) = (build("aaa"), build("bbb"));
    let other = compare((&before, &summary), (&after, &summary));
    assert_eq!(
        other.builds.as_deref(),
        Some("the builds differ: annals test, commit aaa; and annals test, commit bbb")
    );
    assert!(other.unlike.is_empty(), "two builds are what is compared: {other:?}");
}

#[test]
fn a_wrong_baseline_was_compared() {
    let red = |summary: &mut Summary| {
        summary.rows[0].violations.push(annals_bench::oracle::Violation {
            rule: annals_bench::oracle::Rule::NothingLost,
            count: 1,
            examples: Vec::new(),
        });
    };
    assert_eq!(changed(|_, summary| red(summary)).refused.len(), 1);
}

#[test]
fn a_result_is_read_as_it_was_written() {
    let (manifest, summary, rows) = measured(Duration::from_micros(50));
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("result");
    let folder = annals_bench::results::Folder::create(&path).unwrap();
    folder.write(&manifest, &summary, &rows).unwrap();
    let (read_manifest, read_summary) = read(&path).unwrap();
    assert_eq!(read_manifest, manifest);
    assert_eq!(read_summary.rows.len(), summary.rows.len());
    let comparison = compare((&manifest, &summary), (&read_manifest, &read_summary));
    assert!(comparison.figures.iter().all(|figure| figure.change == Change::Same));
    let csv = std::fs::read_to_string(path.join("summary.csv")).unwrap();
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(columns.len() == 2 && columns[0] == columns[1], "{csv}");
    // Other programs read the histograms: every operation that was measured is in them.
    assert_eq!(tags(&path.join("01-x-naive.hlog")), ["service-append"; 3]);
    assert!(
        annals_bench::results::Folder::create(&path).is_err(),
        "a folder with files was taken"
    );
}

/// The tags of the intervals of a histogram log.
fn tags(log: &std::path::Path) -> Vec<String> {
    let log = std::fs::read(log).unwrap();
    let tag = |entry| match entry {
        LogEntry::Interval(interval) => Some(interval.tag()?.as_str().to_owned()),
        LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
    };
    let entries = IntervalLogIterator::new(&log).map(|entry| entry.unwrap());
    entries.filter_map(tag).collect()
}

#[test]
fn wait_and_lateness_were_in_no_histogram_log() {
    let (manifest, _, mut rows) = measured(Duration::ZERO);
    // Times are recorded alike in both loops.
    rows[0].workload.load.mode = Mode::Open;
    let parent = tempfile::tempdir().unwrap();
    let folder = annals_bench::results::Folder::existing(parent.path());
    folder.write(&manifest, &Summary::of(&rows), &rows).unwrap();
    let of_repeat = ["service-append", "response-append", "wait", "lag"];
    assert_eq!(tags(&parent.path().join("01-x-naive.hlog")), [of_repeat; 3].concat());
}

#[test]
fn a_worse_tail_of_a_closed_loop_passed() {
    let (manifest, summary, _) = measured(Duration::from_micros(100));
    let with_tail = |value: f64| {
        let mut summary = summary.clone();
        let (low, high) = (value * 0.99, value * 1.01);
        summary.rows[0]
            .figures
            .push((Figure::ServiceP99, Estimate { value, low, high }));
        summary
    };
    let comparison = compare((&manifest, &with_tail(1.0)), (&manifest, &with_tail(3.0)));
    let worse: Vec<_> = comparison
        .figures
        .iter()
        .filter(|figure| figure.change == Change::Worse)
        .collect();
    assert_eq!(worse.len(), 1, "{comparison:?}");
    assert_eq!(worse[0].figure, Some(Figure::ServiceP99));
}
