//! Measuring: a plan, its progress, and the files of its result.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use annals::journal::file::Folder as StoreFolder;
use annals_bench::backends::{self, NAMES, is_named};
use annals_bench::crash::Program;
use annals_bench::plan::{Plan, Progress, Row};
use annals_bench::report;
use annals_bench::results::{Build, FORMAT, Folder, Manifest, ResultsError, Summary, work_of};
use annals_bench::run::{Phase, RunError};
use annals_bench::workload::Workload;
use annals_bench::{Machine, SelfTest};
use jiff::fmt::strtime;

use super::progress::Live;
use crate::exit::{Failure, Outcome, of_output};
use crate::interrupt;
use crate::output::Out;

/// The most backends of a plan.
const BACKENDS_MAX: usize = 100;

/// How often Ctrl-C is looked for.
const TICK: Duration = Duration::from_millis(50);
/// How long a run has to end after Ctrl-C. A call to a backend that hangs has no end.
const GRACE: Duration = Duration::from_secs(5);

/// The rows and settings of a measurement.
pub(super) struct Asked {
    pub(super) workloads: Vec<Workload>,
    pub(super) backends: Vec<String>,
    pub(super) seed: u64,
    pub(super) out: Option<PathBuf>,
    pub(super) data: Option<PathBuf>,
}

/// An unfinished result: its folder, and the folder of the backends' files.
pub(super) struct Session {
    folder: Folder,
    data: Data,
    manifest: Manifest,
}

impl Session {
    /// Creates the folders, and probes the machine.
    pub(super) fn begin(asked: &Asked, rows: &[Workload], out: &Out<'_>) -> Outcome<Self> {
        check_names(&asked.backends)?;
        check_rows(rows)?;
        let folder = Folder::create(&asked.out.clone().unwrap_or_else(|| default_folder(out))).map_err(not_created)?;
        interrupt::unfinished_folder(&folder.claim_file());
        let data = Data::create(asked.data.as_deref().unwrap_or(folder.path())).inspect_err(|_| discard(&folder))?;
        let manifest = Manifest {
            format: FORMAT,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            build: Build::this(),
            started_micros: out.now.as_micros(),
            command: command(),
            seed: asked.seed,
            backends: asked.backends.clone(),
            workloads: asked.workloads.clone(),
            work: work_of(rows),
            machine: Machine::this(&data.0),
            self_test: SelfTest::run(&data.0),
        };
        Ok(Self { folder, data, manifest })
    }

    /// Measures `rows` on the backends `names`.
    pub(super) fn execute(&self, names: &[String], rows: Vec<Workload>) -> Outcome<Vec<Row>> {
        let mut measured = self.data.execute(names, rows, self.manifest.seed)?;
        // One row for each backend, in their order, for each workload.
        for (row, name) in measured.iter_mut().zip(names.iter().cycle()) {
            let kind = &mut row.backend.name;
            *kind = label(kind, name, &self.manifest.backends);
        }
        Ok(measured)
    }

    /// Removes the folders of an empty result.
    pub(super) fn discard(self) {
        drop(self.data);
        discard(&self.folder);
    }

    /// Writes the files.
    pub(super) fn finish(self, rows: &[Row]) -> Outcome<(Folder, Manifest, Summary)> {
        let summary = Summary::of(rows);
        let text = report::html(&self.manifest, &summary);
        let written = self.folder.write(&self.manifest, &summary, rows);
        let written = written.and_then(|()| self.folder.file("report.html", |file| file.write_all(text.as_bytes())));
        release(&self.folder);
        written?;
        Ok((self.folder, self.manifest, summary))
    }
}

/// The command line, without the path of the program: results are shared.
fn command() -> Vec<String> {
    let arguments = std::env::args_os().skip(1);
    let arguments = arguments.map(|text| text.to_string_lossy().into_owned());
    std::iter::once("annals".to_owned()).chain(arguments).collect()
}

/// The name of the backend `name`, which is a `kind`, in a result: with the address of its server, if another one of `all` is of its kind.
fn label(kind: &str, name: &str, all: &[String]) -> String {
    let scheme = |name: &str| {
        let (scheme, _) = name.split_once("://")?;
        Some(scheme.replace("postgresql", "postgres").replace("esdb", "kurrentdb"))
    };
    let own = scheme(name);
    if own.is_none() || all.iter().filter(|other| scheme(other) == own).count() < 2 {
        return kind.to_owned();
    }
    let place = name.split_once("://").map_or(name, |(_, place)| place);
    // A user, and a password, are no part of a place.
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    format!("{kind} {place}")
}

/// What is missing is above the folder of the result, and not a result.
fn not_created(error: ResultsError) -> Failure {
    match error {
        ResultsError::File { path, error, .. } if error.kind() == ErrorKind::NotFound => {
            Failure::Runtime(of_output(&path, &error))
        }
        other @ (ResultsError::File { .. } | ResultsError::Invalid { .. }) => other.into(),
    }
}

/// Removes the folder of an empty result.
fn discard(folder: &Folder) {
    release(folder);
    // A folder that is not empty or cannot be removed does no harm.
    drop(fs::remove_dir(folder.path()));
}

/// The folder is no longer written to.
fn release(folder: &Folder) {
    folder.release();
    interrupt::finished(&folder.claim_file());
}

/// Measures, and writes the files.
pub(super) fn measure(asked: &Asked, out: &Out<'_>) -> Outcome<(Folder, Manifest, Summary)> {
    let rows = asked
        .workloads
        .iter()
        .map(Workload::rows)
        .collect::<Result<Vec<_>, _>>();
    let rows = rows.map_err(|error| Failure::Usage(error.to_string()))?;
    let rows: Vec<Workload> = rows.into_iter().flatten().collect();
    let session = Session::begin(asked, &rows, out)?;
    match session.execute(&asked.backends, rows) {
        Ok(rows) => session.finish(&rows),
        Err(failure) => {
            session.discard();
            Err(failure)
        }
    }
}

fn unknown(name: &str) -> Failure {
    Failure::Usage(format!(
        "there is no backend '{name}': name some of {}",
        NAMES.join(", ")
    ))
}

pub(super) fn check_names(names: &[String]) -> Outcome {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !is_named(name) {
            return Err(unknown(name));
        }
        if !seen.insert(name) {
            return Err(Failure::Usage(format!("the backend '{name}' is named twice")));
        }
    }
    if names.is_empty() || names.len() > BACKENDS_MAX {
        return Err(Failure::Usage("name at least one backend".to_owned()));
    }
    Ok(())
}

/// Rejects two rows with one name: a report or a comparison could not distinguish them.
fn check_rows(rows: &[Workload]) -> Outcome {
    let mut seen = std::collections::BTreeSet::new();
    match rows.iter().find(|row| !seen.insert(&row.name)) {
        Some(row) => Err(Failure::Usage(format!(
            "two workloads are called '{}': name each workload, rate and number once",
            row.name
        ))),
        None => Ok(()),
    }
}

/// A folder in the current directory, named after the time.
fn default_folder(out: &Out<'_>) -> PathBuf {
    let now = jiff::Timestamp::from_microsecond(out.now.as_micros()).unwrap_or_default();
    let now = now.to_zoned(jiff::tz::TimeZone::UTC);
    let name = strtime::format("annals-bench-%Y%m%d-%H%M%S", &now);
    PathBuf::from(name.unwrap_or_else(|_| "annals-bench".to_owned()))
}

/// The folder in which backends keep their files; it is removed when it is dropped.
pub(super) struct Data(PathBuf);

impl Data {
    /// Measures `rows` on the backends `names`.
    pub(super) fn execute(&self, names: &[String], rows: Vec<Workload>, seed: u64) -> Outcome<Vec<Row>> {
        let (names, data) = (names.to_vec(), self.0.clone());
        let (tell, told) = mpsc::channel();
        let work = move || {
            let done = carry_out(&names, &data, rows, seed, &tell);
            // A command that was interrupted does not listen any more.
            drop(tell.send(Told::Done(done)));
        };
        let thread = std::thread::Builder::new().name("plan".to_owned()).spawn(work);
        thread.map_err(|error| Failure::Runtime(format!("cannot start a thread: {error}")))?;
        wait(&told)
    }

    pub(super) fn create(parent: &Path) -> Outcome<Self> {
        let path = parent.join(format!("data-{}", std::process::id()));
        for folder in [parent, &path] {
            StoreFolder::create(folder).map_err(|error| Failure::Runtime(of_output(folder, &error)))?;
        }
        interrupt::unfinished_folder(&path);
        Ok(Self(path))
    }
}

/// What a plan tells the thread that waits for it.
enum Told {
    /// Where it is: a backend and a phase.
    At(String, Phase),
    /// It has ended.
    Done(Outcome<Vec<Row>>),
}

/// Measures on a thread of its own: a call to a backend that hangs does not keep the command from ending.
fn carry_out(names: &[String], data: &Path, rows: Vec<Workload>, seed: u64, tell: &Sender<Told>) -> Outcome<Vec<Row>> {
    let backend = |name: &String| backends::named(name, data).map_err(|error| Failure::Runtime(error.to_string()));
    let backends = names.iter().map(backend).collect::<Outcome<_>>()?;
    let mut plan = Plan::new(backends, rows, seed);
    plan.program = program();
    let mut live = Live::new(plan.time());
    let mut last = None;
    let rows = plan.execute(&mut |progress: Progress<'_>| {
        live.show(&progress);
        if last != Some((progress.done, progress.phase)) {
            last = Some((progress.done, progress.phase));
            drop(tell.send(Told::At(progress.backend.to_owned(), progress.phase)));
        }
        interrupt::check(String::new).is_ok()
    });
    rows.map_err(|error| match error {
        RunError::Stopped => Failure::Interrupted("nothing was written".to_owned()),
        RunError::Load(_) | RunError::Store { .. } => Failure::Runtime(error.to_string()),
    })
}

/// Waits for a plan, and for a short time only once the user wants no more.
fn wait(told: &Receiver<Told>) -> Outcome<Vec<Row>> {
    let (mut at, mut until) = ("no backend has been opened".to_owned(), None);
    loop {
        match told.recv_timeout(TICK) {
            Ok(Told::At(backend, phase)) => at = format!("{backend}, phase {}", phase.name()),
            Ok(Told::Done(done)) => return done,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Runtime("a call to the backend panicked".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if until.is_none() && interrupt::check(String::new).is_err() {
            until = Some(Instant::now() + GRACE);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let text = format!(
                "nothing was written; a call to the backend did not return within {} s ({at}), and what this run put on a server may still be there",
                GRACE.as_secs()
            );
            return Err(Failure::Interrupted(text));
        }
    }
}

/// This program, as the process to kill.
fn program() -> Option<Program> {
    Some(Program {
        path: std::env::current_exe().ok()?,
        arguments: vec!["bench".into(), "child".into()],
    })
}

impl Drop for Data {
    fn drop(&mut self) {
        // Files that cannot be removed do no harm.
        drop(fs::remove_dir_all(&self.0));
        interrupt::finished(&self.0);
    }
}
