//! Readers that follow the log, and processes that are killed.

use std::sync::Arc;
use std::time::Duration;

use annals::{Durability, Expected, Position, Version};
use annals_bench::backends::{Annals, Naive, Null};
use annals_bench::child::child;
use annals_bench::crash::Program;
use annals_bench::oracle::Rule;
use annals_bench::plan::Plan;
use annals_bench::results::{Figure, Summary};
use annals_bench::run::{Run, run, run_and_kill};
use annals_bench::workload::{Workload, built_in};
use annals_bench::{
    Backend, Clock as _, Description, EventStore, Follow, Look, MonotonicClock, NewEvent, Place, Result, StoreError,
    StoredEvent,
};

fn short(name: &str, settings: &[&str]) -> Workload {
    let mut settings: Vec<_> = settings.iter().map(|text| text.parse().unwrap()).collect();
    settings.push("phases.warmup_ms=50".parse().unwrap());
    settings.push("phases.measure_ms=250".parse().unwrap());
    let workload = annals_bench::workload::with_settings(built_in(name).unwrap(), &settings).unwrap();
    workload.rows().unwrap().swap_remove(0)
}

fn done(backend: &dyn Backend, workload: &Workload) -> Run {
    run(backend, workload, 7, &mut |_, _| true).unwrap()
}

#[test]
fn every_reader_sees_everything_and_it_is_measured_how_soon() {
    let folder = tempfile::tempdir().unwrap();
    let files = Annals::in_files(folder.path(), Durability::Written);
    let backends: [&dyn Backend; 3] = [&Annals::in_memory(), &files, &Naive];
    for backend in backends {
        let workload = short("fan-out", &["readers.tails=4", "load.rate=2000"]);
        let run = done(backend, &workload);
        let seen = run.seen.as_ref().unwrap();
        assert!(run.verdict.is_clean(), "{:?}", run.verdict);
        let appends = run.loaded.recording.ended;
        assert!(appends > 100, "{appends}");
        assert_eq!(seen.after.count(), 4 * appends);
    }
}

#[test]
fn a_projection_parses_and_folds_and_is_behind_by_events() {
    let workload = short("projection-lag", &["load.mode=saturate"]);
    let run = done(&Annals::in_memory(), &workload);
    let seen = run.seen.as_ref().unwrap();
    assert!(run.verdict.is_clean(), "{:?}", run.verdict);
    assert_eq!(seen.after.count(), run.loaded.recording.ended);
    // Four writers without a pause: when an event is seen, it has been acknowledged or is about to be.
    assert!(seen.behind_max >= 1, "{}", seen.behind_max);
}

#[test]
fn the_harness_alone_waited_for_readers_that_see_nothing() {
    let run = done(&Null, &short("fan-out", &[]));
    assert!(run.seen.is_none() && run.verdict.is_clean());
}

/// What goes wrong with the events of a log that a reader gets.
#[derive(Clone, Copy, Debug)]
enum Cheat {
    /// Leaves some out.
    Skips,
    /// Shows some twice.
    Repeats,
    /// Gives some positions below those before them, as transactions that commit late do.
    GoesBack,
    /// Shows one at a time, and nothing in between: that is slow, but no event is lost.
    Hesitates,
}

struct Cheater(Cheat);

struct CheaterStore {
    honest: Arc<dyn EventStore>,
    cheat: Cheat,
}

impl Backend for Cheater {
    fn description(&self) -> Description {
        Naive.description()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let honest = Naive.open()?;
        Ok(Arc::new(CheaterStore { honest, cheat: self.0 }))
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }
}

impl EventStore for CheaterStore {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        self.honest.append(stream, expected, events)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.honest.read_stream(stream, after, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.honest.read_log(after, limit, look)
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        let (store, cheat) = (self.honest.as_ref(), self.cheat);
        Ok(Some(Box::new(CheaterTail {
            store,
            cheat,
            after,
            calls: 0,
        })))
    }
}

struct CheaterTail<'a> {
    store: &'a dyn EventStore,
    cheat: Cheat,
    after: Position,
    calls: u32,
}

impl Follow for CheaterTail<'_> {
    fn next(&mut self, limit: usize, _: Duration, look: Look<'_>) -> Result<()> {
        let (before, cheat) = (self.after, self.cheat);
        self.calls += 1;
        let limit = match cheat {
            Cheat::Hesitates if !self.calls.is_multiple_of(4) => {
                MonotonicClock::start().wait_until(Duration::from_millis(1));
                return Ok(());
            }
            Cheat::Hesitates => 1,
            Cheat::Skips | Cheat::Repeats | Cheat::GoesBack => limit,
        };
        self.store.read_log(before, limit, &mut |event| {
            let position = event.position.unwrap();
            self.after = position;
            let is_meant = position.0 % 20 == 0;
            match cheat {
                Cheat::Skips if is_meant => {}
                Cheat::GoesBack if is_meant => look(StoredEvent {
                    position: Some(Position(position.0 - 2)),
                    ..event
                }),
                Cheat::Repeats if is_meant => {
                    look(event);
                    look(StoredEvent {
                        position: Some(position),
                        ..event
                    });
                }
                Cheat::Skips | Cheat::Repeats | Cheat::GoesBack | Cheat::Hesitates => look(event),
            }
        })
    }
}

#[test]
fn a_reader_that_missed_an_event_was_not_noticed() {
    for cheat in [Cheat::Skips, Cheat::Repeats, Cheat::GoesBack] {
        let run = done(
            &Cheater(cheat),
            &short("fan-out", &["readers.tails=2", "load.rate=2000"]),
        );
        assert!(run.verdict.count(Rule::EveryReader) > 0, "{cheat:?}: {:?}", run.verdict);
        // Nothing else is wrong: the events are stored.
        assert_eq!(run.verdict.violations.len(), 1, "{cheat:?}: {:?}", run.verdict);
    }
}

#[test]
fn an_event_that_came_late_was_called_lost() {
    let workload = short("fan-out", &["readers.tails=2", "load.rate=1000"]);
    let run = done(&Cheater(Cheat::Hesitates), &workload);
    assert!(run.verdict.is_clean(), "{:?}", run.verdict);
    let appends = run.loaded.recording.ended;
    assert_eq!(run.seen.unwrap().after.count(), 2 * appends);
}

/// This file of tests, as the program whose process is killed.
fn program() -> Program {
    let arguments = ["--ignored", "--exact", "--nocapture", "followed::child_that_is_killed"];
    Program {
        path: std::env::current_exe().unwrap(),
        arguments: arguments.map(Into::into).to_vec(),
    }
}

#[test]
#[ignore = "other tests start it and kill it"]
fn child_that_is_killed() {
    let input = std::io::BufReader::new(std::io::stdin());
    // Without a job there is nothing to do.
    drop(child(input, std::io::stdout()));
}

fn killed(backend: &dyn Backend) -> Run {
    let workload = short("recover", &["recover.kill_after_ms=150", "data.streams=50"]);
    run_and_kill(backend, &workload, 7, &program(), &mut |_, _| true).unwrap()
}

#[test]
fn a_store_that_waits_for_its_journal_loses_nothing_when_its_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    for durability in [Durability::Written, Durability::Synced] {
        let run = killed(&Annals::in_files(folder.path(), durability));
        let recovery = run.recovery.unwrap();
        assert!(
            run.verdict.is_checked && run.verdict.is_clean(),
            "{durability}: {:?}",
            run.verdict
        );
        assert!(recovery.acknowledged > 50 * 20, "{durability}: {recovery:?}");
        assert_eq!(recovery.lost, 0, "{durability}");
        assert!(run.loaded.recording.events > 0 && !recovery.opened.is_zero());
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "files were left behind"
    );
}

#[test]
fn a_store_in_memory_loses_everything_and_may() {
    let run = killed(&Naive);
    let recovery = run.recovery.unwrap();
    assert!(run.verdict.is_checked && run.verdict.is_clean(), "{:?}", run.verdict);
    assert!(recovery.lost > 50 * 20, "{recovery:?}");
}

/// A store in memory that calls itself safe.
struct Boaster;

impl Backend for Boaster {
    fn description(&self) -> Description {
        Description {
            durability: annals_bench::DurabilityClass::ProcessCrashSafe,
            ..Naive.description()
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        Naive.open()
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        Naive.place()
    }
}

#[test]
fn a_backend_that_lost_what_it_called_safe_was_verified() {
    let run = killed(&Boaster);
    assert!(run.verdict.count(Rule::NothingLost) > 0, "{:?}", run.verdict);
    assert!(run.recovery.unwrap().lost > 0);
}

#[test]
fn a_process_that_failed_or_was_not_there_was_waited_for() {
    let workload = short("recover", &[]);
    let missing = Program {
        path: "/nowhere/annals".into(),
        arguments: Vec::new(),
    };
    for (program, place) in [(missing, "naive"), (program(), "memcached")] {
        let backend = Elsewhere(place);
        let error = run_and_kill(&backend, &workload, 7, &program, &mut |_, _| true)
            .unwrap_err()
            .to_string();
        assert!(error.contains("the process that was to be killed"), "{error}");
    }
}

/// A backend that another process looks for at this place.
struct Elsewhere(&'static str);

impl Backend for Elsewhere {
    fn description(&self) -> Description {
        Naive.description()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        Err(StoreError::Failed("it was opened".to_owned()))
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name(self.0))
    }
}

#[test]
fn the_figures_of_readers_and_of_recovery_are_in_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let files = Annals::in_files(folder.path(), Durability::Written);
    let workloads = vec![
        short("fan-out", &["readers.tails=4", "load.rate=2000", "phases.repeats=1"]),
        short("recover", &["recover.kill_after_ms=100", "phases.repeats=1"]),
    ];
    let mut plan = Plan::new(vec![Box::new(files), Box::new(Null)], workloads, 3);
    plan.program = Some(program());
    let summary = Summary::of(&plan.execute(&mut |_| true).unwrap());
    let figure = |row: usize, figure| summary.rows[row].figure(figure);
    assert!(figure(0, Figure::SeenP50).unwrap().value > 0.0);
    assert!(figure(0, Figure::BehindMax).is_some() && figure(0, Figure::ReopenTime).is_none());
    assert!(figure(1, Figure::SeenP50).is_none());
    assert!(figure(2, Figure::ReopenTime).unwrap().value > 0.0);
    assert!(figure(2, Figure::LostEvents).unwrap().value.abs() < f64::EPSILON);
    assert!(summary.rows[3].failure.as_deref().unwrap().contains("keeps nothing"));
    plan.program = None;
    let rows = plan.execute(&mut |_| true).unwrap();
    assert_eq!(rows[2].failure.as_deref(), Some("there is no program to kill"));
}
