//! Whole runs, on threads.

use annals::Durability;
use annals_bench::Backend;
#[cfg(feature = "cqrs-es")]
use annals_bench::ConsistencyCheck;
use annals_bench::backends::{Annals, Naive, Null};
#[cfg(feature = "cqrs-es")]
use annals_bench::oracle::Rule;
use annals_bench::run::{Phase, Run, RunError, run};
use annals_bench::workload::{Kind, Mode, Workload};

fn workload(mix: &str) -> Workload {
    let text = format!(
        "name = \"x\"\n[data]\nstreams = 20\nevents_per_stream = 120\n[load]\nworkers = 3\nrate = 2000\n[phases]\n\
         warmup_ms = 50\nmeasure_ms = 100\noperations_max = 3000\n[read]\nlimit = 50\n[mix]\n{mix}"
    );
    Workload::parse(&text).unwrap()
}

fn done(backend: &dyn Backend, workload: &Workload) -> Run {
    run(backend, workload, 3, &mut |_, _| true).unwrap()
}

#[test]
fn every_operation_runs_on_every_backend_that_can_do_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = |durability| Annals::in_files(folder.path(), durability);
    let backends: [Box<dyn Backend>; 6] = [
        Box::new(Annals::in_memory()),
        Box::new(files(Durability::Volatile)),
        Box::new(files(Durability::Written)),
        Box::new(files(Durability::Synced)),
        Box::new(Naive),
        Box::new(Null),
    ];
    for backend in backends {
        let description = backend.description();
        let kinds = Kind::ALL
            .into_iter()
            .filter(|kind| description.has_queries || !kind.queries());
        let mix: Vec<String> = kinds.map(|kind| format!("{} = 1", kind.name())).collect();
        let run = done(backend.as_ref(), &workload(&mix.join("\n")));
        assert_eq!(
            run.loaded.recording.failed, 0,
            "{description:?}: {:?}",
            run.loaded.recording.failure
        );
        assert!(run.loaded.recording.ended > 0);
        assert!(run.verdict.is_clean(), "{description:?}: {:?}", run.verdict);
        assert_eq!(run.verdict.is_checked, description.keeps_events);
        let phases: Vec<Phase> = run.phases.iter().map(|(phase, _)| *phase).collect();
        assert_eq!(phases, Phase::ALL);
        assert!(run.stored >= 2_400 || !description.keeps_events, "{}", run.stored);
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "files were left behind"
    );
}

#[test]
fn the_length_of_the_warm_up_changed_what_was_measured() {
    let offered = |warmup_ms| {
        let mut workload = workload("append = 1");
        workload.load.mode = Mode::Open;
        workload.phases.warmup_ms = warmup_ms;
        let run = done(&Naive, &workload);
        assert!(!run.loaded.is_limited);
        // Random arrivals: another schedule has another number of them.
        (run.loaded.offered, run.loaded.number + run.loaded.censored)
    };
    let without = offered(0);
    assert_eq!(without.0, without.1);
    assert!(without.0 > 100, "{without:?}");
    assert_eq!([offered(20), offered(130)], [without; 2]);
}

#[test]
fn a_backend_without_queries_fails_them_and_says_so() {
    let run = done(&Naive, &workload("by_type = 1"));
    let recording = &run.loaded.recording;
    assert_eq!((recording.failed, recording.accepted), (recording.ended, 0));
    assert_eq!(
        recording.failure.as_deref(),
        Some("this backend cannot find events by a field")
    );
    assert!(recording.ended > 0);
}

#[test]
fn a_run_that_is_stopped_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Annals::in_files(folder.path(), Durability::Written);
    for last in Phase::ALL {
        let stopped = run(&backend, &workload("append = 1"), 3, &mut |phase, _| phase != last);
        assert_eq!(stopped.err(), Some(RunError::Stopped), "{last:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{last:?}");
    }
}

#[cfg(feature = "eventually")]
#[test]
fn a_store_without_a_log_is_verified_by_its_streams() {
    let backend = annals_bench::backends::Eventually;
    let mut workload = workload("create = 1\nappend = 1\ncycle = 1\nload = 1\nload_tail = 1");
    // With more, its check of the version is not atomic with the append.
    workload.load.workers = 1;
    let run = done(&backend, &workload);
    assert!(run.verdict.is_checked && run.verdict.is_clean(), "{:?}", run.verdict);
    assert_eq!(run.loaded.recording.failed, 0, "{:?}", run.loaded.recording.failure);
    assert!(run.verdict.acknowledged > 2_400);
}

#[cfg(feature = "cqrs-es")]
#[test]
fn a_store_that_checks_no_version_says_so_and_its_row_is_wrong() {
    let backend = annals_bench::backends::CqrsEs;
    assert_eq!(backend.description().check, ConsistencyCheck::None);
    let mut workload = workload("create = 1\nappend = 1\ncycle = 1\nload = 1\nload_tail = 1");
    workload.load.workers = 1;
    let alone = done(&backend, &workload);
    assert!(
        alone.verdict.is_checked && alone.verdict.is_clean(),
        "{:?}",
        alone.verdict
    );
    assert_eq!(alone.loaded.recording.failed, 0, "{:?}", alone.loaded.recording.failure);
    assert!(alone.verdict.acknowledged > 2_400);
    // Several workers append to one stream: each writes what it has read and its own event, without those that came between.
    workload.load.workers = 8;
    workload.data.streams = 1;
    workload.phases.operations_max = 20_000;
    let together = done(&backend, &workload);
    assert!(together.verdict.count(Rule::NothingLost) > 0, "{:?}", together.verdict);
}

#[test]
fn a_run_could_not_be_stopped_while_it_settled() {
    let mut settling = workload("append = 1");
    settling.phases.settle_ms = 3_600_000;
    let mut looks = 0;
    let stopped = run(&Naive, &settling, 3, &mut |phase, _| {
        looks += u32::from(phase == Phase::Settle);
        looks < 2
    });
    assert_eq!(stopped.err(), Some(RunError::Stopped));
}
