//! The goals of publishing, delivery and tracing: reached, missed, or not measured.

use std::sync::Arc;

use annals::{Durability, Expected, Position, Version};
use annals_bench::backends::{Annals, Naive};
use annals_bench::plan::Plan;
use annals_bench::results::{GoalResult, Summary};
use annals_bench::run::run;
use annals_bench::workload::Workload;
use annals_bench::{
    Backend, Description, EventStore, Follow, Look, LookAtTrace, NewEvent, Result, Status, StoredEvent, Trace, status,
};

const GOALS: &str = "[[goals]]\nname = \"publish\"\nmetric = \"publish_p95_ms\"\nat_most = 60000\n\
                     [[goals]]\nname = \"delivered\"\nmetric = \"delivered_percent\"\nat_least = 99.9\n\
                     [[goals]]\nname = \"traced\"\nmetric = \"traced_percent\"\nat_least = 100\n";

fn workload(tails: u32, mix: &str) -> Workload {
    let text = format!(
        "name = \"x\"\n[data]\nstreams = 50\nbatch = 2\n[load]\nworkers = 3\n[readers]\ntails = {tails}\n\
         [phases]\nwarmup_ms = 20\nmeasure_ms = 2000\noperations_max = 6000\nrepeats = 1\n[mix]\n{mix}\n{GOALS}"
    );
    Workload::parse(&text).unwrap()
}

/// The goals of each row, and what became of the row.
fn goals(backends: Vec<Box<dyn Backend>>, workload: &Workload) -> Vec<(Vec<GoalResult>, Status)> {
    let plan = Plan::new(backends, vec![workload.clone()], 3);
    let summary = Summary::of(&plan.execute(&mut |_| true).unwrap());
    let rows = summary.rows.into_iter();
    rows.map(|row| (row.goals.clone(), status(&row))).collect()
}

fn results(goals: &[GoalResult]) -> Vec<&str> {
    goals.iter().map(GoalResult::name_of_result).collect()
}

#[test]
fn what_a_backend_cannot_measure_passed() {
    let folder = tempfile::tempdir().unwrap();
    let backends: Vec<Box<dyn Backend>> = vec![
        Box::new(Annals::in_memory()),
        Box::new(Annals::in_files(folder.path(), Durability::Written)),
        Box::new(Naive),
    ];
    let rows = goals(backends, &workload(2, "append = 3\ncycle = 1\nload = 1"));
    for (goals, status) in &rows[..2] {
        assert_eq!((results(goals), *status), (vec!["pass"; 3], Status::Good), "{goals:?}");
        assert_eq!((goals[1].value, goals[2].value), (Some(100.0), Some(100.0)));
    }
    assert_eq!(results(&rows[2].0), ["pass", "pass", "not measured"]);
    // Without readers, nothing is delivered.
    let rows = goals(vec![Box::new(Annals::in_memory())], &workload(0, "append = 1"));
    assert_eq!(results(&rows[0].0), ["not measured", "not measured", "pass"]);
    // A row that failed has reached nothing.
    let rows = goals(vec![Box::new(Naive)], &workload(1, "by_type = 1"));
    assert_eq!(
        (results(&rows[0].0), rows[0].1),
        (vec!["not measured"; 3], Status::Failed)
    );
}

#[test]
fn publishing_was_measured_from_the_start_of_an_append() {
    let run = run(&Annals::in_memory(), &workload(2, "append = 1"), 3, &mut |_, _| true).unwrap();
    let seen = run.seen.unwrap();
    assert_eq!(seen.published.count(), seen.after.count());
    let median = |samples: &annals_bench::load::Samples| samples.quantile(0.5).known().unwrap();
    assert!(median(&seen.published) <= median(&seen.after));
    // Two readers, and two events of an append.
    assert!(seen.acknowledged >= 4 * run.loaded.recording.ended);
    assert_eq!(seen.delivered, seen.acknowledged);
}

/// What goes wrong with the names of every tenth event.
#[derive(Clone, Copy, Debug)]
enum Cheat {
    /// Its cause is forgotten.
    NoCause,
    /// Its correlation is another one.
    OtherCorrelation,
    /// It is not there at all.
    Hides,
    /// A reader does not get it.
    NotDelivered,
}

struct Forgetful(Cheat);

struct ForgetfulStore {
    honest: Arc<dyn EventStore>,
    cheat: Cheat,
}

impl Backend for Forgetful {
    fn description(&self) -> Description {
        Annals::in_memory().description()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let honest = Annals::in_memory().open()?;
        Ok(Arc::new(ForgetfulStore { honest, cheat: self.0 }))
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }
}

impl EventStore for ForgetfulStore {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        self.honest.append(stream, expected, events)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.honest.read_stream(stream, after, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.honest.read_log(after, limit, look)
    }

    fn query(&self, question: &annals_bench::Question, look: Look<'_>) -> Result<()> {
        self.honest.query(question, look)
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        let tail = self.honest.follow(after)?;
        Ok(tail.map(|tail| Box::new(Losing(tail, self.cheat)) as Box<dyn Follow + '_>))
    }

    fn read_traces(&self, after: Position, limit: usize, look: LookAtTrace<'_>) -> Result<()> {
        self.honest.read_traces(after, limit, &mut |trace| {
            let is_meant = trace.position.0 % 10 == 0;
            match self.cheat {
                Cheat::NoCause if is_meant => look(Trace { causation: "", ..trace }),
                Cheat::OtherCorrelation if is_meant => look(Trace {
                    correlation: "conversation-x",
                    ..trace
                }),
                Cheat::Hides if is_meant => {}
                Cheat::NoCause | Cheat::OtherCorrelation | Cheat::Hides | Cheat::NotDelivered => look(trace),
            }
        })
    }
}

struct Losing<'a>(Box<dyn Follow + 'a>, Cheat);

impl Follow for Losing<'_> {
    fn next(&mut self, limit: usize, wait: std::time::Duration, look: Look<'_>) -> Result<()> {
        let is_cheating = matches!(self.1, Cheat::NotDelivered);
        self.0.next(limit, wait, &mut |event: StoredEvent<'_>| {
            if !is_cheating || !event.position.unwrap().0.is_multiple_of(10) {
                look(event);
            }
        })
    }
}

#[test]
fn events_that_cannot_be_traced_or_were_not_delivered_passed() {
    for cheat in [
        Cheat::NoCause,
        Cheat::OtherCorrelation,
        Cheat::Hides,
        Cheat::NotDelivered,
    ] {
        let rows = goals(vec![Box::new(Forgetful(cheat))], &workload(1, "append = 1"));
        let of = |index: usize| (rows[0].0[index].value.unwrap(), rows[0].0[index].is_reached);
        let (missed, kept) = match cheat {
            Cheat::NotDelivered => (of(1), of(2)),
            Cheat::NoCause | Cheat::OtherCorrelation | Cheat::Hides => (of(2), of(1)),
        };
        assert_eq!(kept, (100.0, Some(true)), "{cheat:?}");
        assert_eq!(missed.1, Some(false), "{cheat:?}");
        assert!((50.0..99.0).contains(&missed.0), "{cheat:?}: {missed:?}");
    }
}
