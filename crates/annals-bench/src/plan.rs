//! Many rows, several times each, in an order that favours none.

use std::time::Duration;

use crate::crash::Program;
use crate::generate::random::{Random, shuffle};
use crate::processes::run_shared;
use crate::run::{Phase, Run, RunError, run, run_and_kill};
use crate::store::{Backend, Description};
use crate::workload::{Kind, Workload};

/// What is to be measured.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The backends.
    pub backends: Vec<Box<dyn Backend>>,
    /// The workloads, without variants.
    pub workloads: Vec<Workload>,
    /// Decides the operations and the order of runs.
    pub seed: u64,
    /// The program that is started and killed where a workload wants that.
    pub program: Option<Program>,
}

/// A workload on a backend, and what became of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The backend.
    pub backend: Description,
    /// The workload.
    pub workload: Workload,
    /// Its repeats.
    pub runs: Vec<Run>,
    /// Why it was not measured, or not as often as it should.
    pub failure: Option<String>,
}

/// Where a plan is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The name of the backend.
    pub backend: &'a str,
    /// The name of the workload.
    pub workload: &'a str,
    /// Runs that are done.
    pub done: usize,
    /// All runs.
    pub runs: usize,
    /// The phase of this one.
    pub phase: Phase,
    /// Its operations in this phase.
    pub operations: u64,
}

impl Plan {
    /// Every workload on every backend, without a program to start.
    pub fn new(backends: Vec<Box<dyn Backend>>, workloads: Vec<Workload>, seed: u64) -> Self {
        Self {
            backends,
            workloads,
            seed,
            program: None,
        }
    }

    /// The rows of the plan, in the order in which they are reported.
    fn rows(&self) -> Vec<(usize, Row)> {
        let mut rows = Vec::new();
        for workload in &self.workloads {
            for (index, backend) in self.backends.iter().enumerate() {
                let backend = backend.description();
                let failure = unsupported(&backend, workload);
                let failure = failure.or_else(|| self.unstartable(index, workload));
                rows.push((
                    index,
                    Row {
                        backend,
                        workload: workload.clone(),
                        runs: Vec::new(),
                        failure,
                    },
                ));
            }
        }
        rows
    }

    /// Why processes for `workload` cannot be started, if it needs some.
    fn unstartable(&self, backend: usize, workload: &Workload) -> Option<String> {
        if workload.load.processes > 0 {
            let why = self
                .backends
                .get(backend)
                .and_then(|backend| unshared(backend.as_ref()));
            return why.or_else(|| {
                self.program
                    .is_none()
                    .then(|| "there is no program to start".to_owned())
            });
        }
        let is_missing = workload.recover.is_some() && self.program.is_none();
        is_missing.then(|| "there is no program to kill".to_owned())
    }

    /// How long the plan takes at most, without load and verification.
    pub fn time(&self) -> Duration {
        let of = |workload: &Workload| {
            let phases = &workload.phases;
            let once = phases.settle_ms + phases.warmup_ms + phases.measure_ms;
            once.saturating_mul(u64::from(phases.repeats))
        };
        let millis: u64 = self.workloads.iter().map(of).sum();
        Duration::from_millis(millis.saturating_mul(self.backends.len() as u64))
    }

    /// Measures everything. `watch` hears of the progress; false stops it.
    ///
    /// A row whose backend fails has the reason, and the others go on.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`] if `watch` stopped it.
    pub fn execute(&self, watch: &mut (dyn FnMut(Progress<'_>) -> bool + Send)) -> Result<Vec<Row>, RunError> {
        let mut rows = self.rows();
        let order = order(&rows, self.seed);
        for (done, place) in order.iter().enumerate() {
            let Some((index, row)) = rows.get_mut(*place) else {
                continue;
            };
            let (Some(backend), None) = (self.backends.get(*index), &row.failure) else {
                continue;
            };
            let (name, workload) = (&row.backend.name, &row.workload);
            let mut watch_run = |phase, operations| {
                watch(Progress {
                    backend: name,
                    workload: &workload.name,
                    done,
                    runs: order.len(),
                    phase,
                    operations,
                })
            };
            // Each repeat has operations of its own; they are the same on every backend.
            let seed = self.seed.wrapping_add(row.runs.len() as u64);
            let backend = backend.as_ref();
            let ran = match &self.program {
                Some(program) if workload.recover.is_some() => {
                    run_and_kill(backend, workload, seed, program, &mut watch_run)
                }
                Some(program) if workload.load.processes > 0 => {
                    run_shared(backend, workload, seed, program, &mut watch_run)
                }
                Some(_) | None => run(backend, workload, seed, &mut watch_run),
            };
            match ran {
                Ok(run) => row.runs.push(run),
                Err(RunError::Stopped) => return Err(RunError::Stopped),
                Err(error @ (RunError::Load(_) | RunError::Store { .. })) => row.failure = Some(error.to_string()),
            }
        }
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }
}

/// The places of rows, each as often as it is repeated: every row once, shuffled, then every row again.
fn order(rows: &[(usize, Row)], seed: u64) -> Vec<usize> {
    let repeats = rows
        .iter()
        .map(|(_, row)| row.workload.phases.repeats)
        .max()
        .unwrap_or(0);
    let mut random = Random::of(seed, 0);
    let mut order = Vec::new();
    for repeat in 0..repeats {
        let is_due = |place: &usize| {
            rows.get(*place)
                .is_some_and(|(_, row)| row.failure.is_none() && row.workload.phases.repeats > repeat)
        };
        let mut round: Vec<usize> = (0..rows.len()).filter(is_due).collect();
        shuffle(&mut round, &mut random);
        order.append(&mut round);
    }
    order
}

/// Why several processes cannot append to `backend`, and what can be done; none if they can.
pub fn unshared(backend: &dyn Backend) -> Option<String> {
    let why = backend.unshared()?;
    Some(format!(
        "several processes cannot append to it, since {why}; measure it by threads, or a server by its URL"
    ))
}

/// The reason why a backend cannot run a workload, if any.
fn unsupported(backend: &Description, workload: &Workload) -> Option<String> {
    let has = |is: &dyn Fn(Kind) -> bool| workload.mix.iter().any(|(kind, weight)| *weight > 0.0 && is(*kind));
    if has(&Kind::queries) && !backend.has_queries {
        return Some("this backend has no queries".to_owned());
    }
    if workload.log.as_ref().is_some_and(|log| log.events.is_empty()) {
        return Some("the log that it imports was not read".to_owned());
    }
    if workload.recover.is_some() && !backend.keeps_events {
        return Some("this backend keeps nothing that could be lost".to_owned());
    }
    if workload.readers.tails > 0 && !backend.has_log {
        return Some("this backend has no log that readers can follow".to_owned());
    }
    if has(&|kind| kind == Kind::CatchUp) && !backend.has_log {
        return Some("this backend has no log".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::{Naive, Null};

    fn plan() -> Plan {
        let workload = |text: &str| {
            let text = format!(
                "name = \"x\"\n[phases]\nwarmup_ms = 0\nmeasure_ms = 5\noperations_max = 200\nrepeats = 3\n[mix]\n{text} = 1"
            );
            Workload::parse(&text).unwrap()
        };
        let backends: Vec<Box<dyn Backend>> = vec![Box::new(Null), Box::new(Naive)];
        Plan::new(backends, vec![workload("append"), workload("by_type")], 11)
    }

    #[test]
    fn every_row_is_repeated_in_rounds_of_another_order() {
        let plan = plan();
        let rows = plan.rows();
        let order = order(&rows, 11);
        assert_eq!(order.len(), 9);
        for round in order.chunks(3) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
        }
        assert!(order.chunks(3).any(|round| round != [0, 1, 2]));
        assert_eq!(order, super::order(&rows, 11));
    }

    #[test]
    fn a_row_that_a_backend_cannot_do_says_so() {
        let rows = plan().execute(&mut |_| true).unwrap();
        let runs: Vec<usize> = rows.iter().map(|row| row.runs.len()).collect();
        assert_eq!(runs, [3, 3, 3, 0]);
        assert_eq!(rows[3].failure.as_deref(), Some("this backend has no queries"));
        assert_eq!(plan().execute(&mut |_| false).err(), Some(RunError::Stopped));
    }
}
