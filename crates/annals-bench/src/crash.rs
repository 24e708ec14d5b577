//! Recovery: a child process appends and is killed, and the store is opened again.
//!
//! The process reports each acknowledgement through a pipe before its worker goes on, so the process that judges knows what was
//! acknowledged, and that at most one append of each worker was under way.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use annals::{Expected, Position, Version};
use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use crate::backends;
use crate::clock::{Clock, MonotonicClock};
use crate::generate::{Events, Generator, PRELOAD, identity_of};
use crate::job::{ChildError, FAILED, Job, Output, READY, report_line, wrong};
use crate::load::recording::Outcome;
use crate::load::worker::{HANG, append_one};
use crate::load::{self, Entry, LoadError, Setup, Span};
use crate::store::{EventStore, Follow, Look, LookAtTrace, NewEvent, Question, Result, StoreError, Usage};

/// The id of the process whose data directories a child uses: see [`owner`].
const OWNER_VARIABLE: &str = "ANNALS_BENCH_OWNER";
/// A child appends for this long if it is not killed.
const CHILD_TIME: Duration = Duration::from_secs(7_200);
/// The interval at which a process checks whether the run was stopped.
const TICK: Duration = Duration::from_millis(50);
/// Numbers of each worker after the last acknowledgement that it may have begun.
const SPARE: u64 = 100;
/// The first word of a line, which is its kind.
const ACKNOWLEDGED: &str = "acknowledged";

/// The program that is started and killed. It calls [`child`](crate::child::child()) with its standard input and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its location.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// The state of a store whose process was killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The time to open it again.
    pub opened: Duration,
    /// Events that the process had acknowledged.
    pub acknowledged: u64,
    /// Of these, events that were lost.
    pub lost: u64,
}

/// The number in the names of schemas and streams on servers: that of this process, or of the one that started it to kill it.
pub(crate) fn owner() -> u32 {
    let given = std::env::var(OWNER_VARIABLE).ok();
    given
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(std::process::id)
}

/// Appends as `job` says and reports each acknowledgement, until the process is killed.
pub(crate) fn append(job: Job, input: impl BufRead + Send + 'static, output: &Output) -> Result<(), ChildError> {
    let Job {
        place, workload, seed, ..
    } = job;
    let backend = backends::named(&place.name, &place.data).map_err(|error| wrong(&error))?;
    let clock = Arc::new(MonotonicClock::start());
    let reporter = Reporter {
        store: backend.open().map_err(|error| wrong(&error))?,
        clock: Arc::clone(&clock),
        output: Arc::clone(output),
    };
    let setup = Setup {
        store: Arc::new(reporter),
        generator: Arc::new(Generator::new(&workload, seed)),
        clock,
    };
    let mut events = Events::default();
    for index in 0..setup.generator.preloads() {
        if let (_, Some(error)) = append_one(&setup, &setup.generator.preload(index), &mut events) {
            return Err(wrong(&error));
        }
    }
    let ended = ended(input)?;
    report_line(output, READY);
    let span = Span {
        numbers: 0..workload.operations_max(),
        time: CHILD_TIME,
        drain: Duration::ZERO,
    };
    let goes_on = || ended.recv_timeout(Duration::ZERO) == Err(RecvTimeoutError::Timeout);
    load::run(&setup, &span, &mut |_| goes_on()).map_err(|error| wrong(&error))?;
    // All operations are done: it is killed while it is idle.
    ended.recv().ok();
    Ok(())
}

/// Disconnected when `input` ends.
fn ended(mut input: impl BufRead + Send + 'static) -> Result<Receiver<()>, ChildError> {
    let (send, receive) = unbounded();
    let watch = move || {
        drop(std::io::copy(&mut input, &mut std::io::sink()));
        drop(send);
    };
    let thread = std::thread::Builder::new().name("parent".to_owned()).spawn(watch);
    thread.map_err(|error| wrong(&error))?;
    Ok(receive)
}

/// A store that reports its acknowledgements.
struct Reporter {
    store: Arc<dyn EventStore>,
    clock: Arc<MonotonicClock>,
    output: Output,
}

impl EventStore for Reporter {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let started = self.clock.now();
        let version = self.store.append(stream, expected, events)?;
        let ended = self.clock.now();
        let number = events.first().and_then(|event| identity_of(event.data));
        let number = number.map_or(u64::MAX, |identity| identity.number);
        let expected = match expected {
            Expected::Any | Expected::StreamExists => -1,
            Expected::NoStream => 0,
            Expected::Exactly(version) => i64::try_from(version.0).unwrap_or(i64::MAX),
        };
        let (started, ended) = (started.as_nanos(), ended.as_nanos());
        let line = format!("{ACKNOWLEDGED} {number} {expected} {version} {started} {ended}");
        report_line(&self.output, &line);
        Ok(version)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.store.read_stream(stream, after, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.store.read_log(after, limit, look)
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        self.store.follow(after)
    }

    fn query(&self, question: &Question, look: Look<'_>) -> Result<()> {
        self.store.query(question, look)
    }

    fn keeps_bytes(&self) -> bool {
        self.store.keeps_bytes()
    }

    fn read_traces(&self, after: Position, limit: usize, look: LookAtTrace<'_>) -> Result<()> {
        self.store.read_traces(after, limit, look)
    }

    fn expire(&self, age: Duration) -> Result<()> {
        self.store.expire(age)
    }

    fn drain(&self) -> Result<()> {
        self.store.drain()
    }

    fn usage(&self) -> Usage {
        self.store.usage()
    }
}

/// A process that was started; it is killed when this is dropped.
pub(crate) struct Started {
    child: Child,
    lines: Receiver<String>,
}

impl Started {
    /// Starts `program`, and gives it the job.
    pub(crate) fn start(program: &Program, job: &Job) -> Result<Self, LoadError> {
        let failed = |error: &dyn fmt::Display| LoadError::Child(error.to_string());
        let mut child = Command::new(&program.path)
            .args(&program.arguments)
            .env(OWNER_VARIABLE, owner().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        let output = child.stdout.take().map(BufReader::new);
        let (pipe, lines) = unbounded();
        let mut started = Self { child, lines };
        let read = move || {
            let lines = output.into_iter().flat_map(BufRead::lines).map_while(Result::ok);
            lines.for_each(|line| drop(pipe.send(line)));
        };
        let thread = std::thread::Builder::new().name("child".to_owned()).spawn(read);
        thread.map_err(|error| LoadError::Thread(error.to_string()))?;
        let text = serde_json::to_string(job).map_err(|error| failed(&error))?;
        started.tell(&text)?;
        Ok(started)
    }

    /// Sends it a line. The pipe stays open: its end would end the child.
    pub(crate) fn tell(&mut self, line: &str) -> Result<(), LoadError> {
        let Some(input) = &mut self.child.stdin else {
            return Ok(());
        };
        let told = input.write_all(format!("{line}\n").as_bytes());
        told.map_err(|error| LoadError::Child(error.to_string()))
    }

    /// Its next line, if it comes within `time`.
    pub(crate) fn line(&mut self, time: Duration) -> Result<Option<String>, LoadError> {
        match self.lines.recv_timeout(time) {
            Ok(line) => match line.split_once(' ') {
                Some((FAILED, reason)) => Err(LoadError::Child(reason.to_owned())),
                Some(_) | None => Ok(Some(line)),
            },
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(LoadError::Child("it ended before it was done".to_owned())),
        }
    }

    /// Takes its lines until it is ready, and then for `time`. `goes_on` is asked meanwhile; `None` if it was false.
    pub(crate) fn watch(
        &mut self,
        time: Duration,
        goes_on: &mut dyn FnMut(bool, u64) -> bool,
    ) -> Result<Option<Acks>, LoadError> {
        let clock = MonotonicClock::start();
        let (mut acks, mut ready, mut last) = (Acks::default(), None, Duration::ZERO);
        loop {
            let now = clock.now();
            if ready.is_some_and(|since| now >= since + time) {
                break;
            }
            match self.lines.recv_timeout(TICK) {
                Ok(line) => {
                    last = now;
                    if line == READY {
                        ready = Some(now);
                    }
                    acks.take(&line)?;
                }
                Err(RecvTimeoutError::Timeout) if ready.is_none() && now > last + HANG => return Err(LoadError::Hangs),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(LoadError::Child("it ended before it was killed".to_owned()));
                }
            }
            if !goes_on(ready.is_some(), acks.all.len() as u64) {
                return Ok(None);
            }
        }
        // Its last reports are still in the pipe.
        self.kill();
        self.lines.iter().try_for_each(|line| acks.take(&line))?;
        Ok(Some(acks))
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The acknowledgements of a child process.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    all: Vec<Entry>,
}

impl Acks {
    /// Takes a line; other ones than those of a child are none of it.
    fn take(&mut self, line: &str) -> Result<(), LoadError> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == FAILED {
            return Err(LoadError::Child(rest.to_owned()));
        }
        if word == ACKNOWLEDGED {
            let numbers: Vec<i128> = rest.split(' ').filter_map(|number| number.parse().ok()).collect();
            // The last line may be cut where the process was killed: it was not reported.
            self.all.extend(entry(&numbers));
        }
        Ok(())
    }

    /// All appends that were begun: those that were acknowledged, and those of the load that may have been under way.
    pub(crate) fn entries(self, generator: &Generator) -> Vec<Entry> {
        let acknowledged: HashSet<u64> = self.all.iter().map(|entry| entry.number).collect();
        let of_load = acknowledged.iter().filter(|number| **number & PRELOAD == 0);
        let last = of_load.max().copied().unwrap_or(0);
        // Operations are begun in their order. Reads, and appends that were refused, may lie between the last one and those under way.
        let end = last + SPARE * u64::from(generator.workload().load.workers);
        let unknown = |number: &u64| !acknowledged.contains(number) && generator.operation(*number).kind.appends();
        let under_way = (0..end).filter(unknown).map(|number| Entry {
            number,
            expected: Expected::Any,
            started: Duration::ZERO,
            ended: Duration::MAX,
            outcome: Outcome::Failed,
        });
        let mut entries: Vec<Entry> = under_way.collect();
        entries.extend(self.all);
        entries
    }
}

fn entry(numbers: &[i128]) -> Option<Entry> {
    let [number, expected, version, started, ended] = *numbers else {
        return None;
    };
    let time = |nanos| u64::try_from(nanos).ok().map(Duration::from_nanos);
    Some(Entry {
        number: u64::try_from(number).ok()?,
        expected: match u64::try_from(expected) {
            Ok(version) => Expected::Exactly(Version(version)),
            Err(_) => Expected::Any,
        },
        started: time(started)?,
        ended: time(ended)?,
        outcome: Outcome::Acknowledged(Version(u64::try_from(version).ok()?)),
    })
}

/// The reason why a backend cannot be killed and opened again, if any.
pub(crate) const UNKILLABLE: StoreError = StoreError::Unsupported("be opened by a process that is killed");
