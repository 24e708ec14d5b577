//! Seeded crashes of a store with its journal's thread and several threads that use it at once.
//!
//! A seed decides the settings, the operations of each thread, the fault of the disk, and what a crash leaves. The scheduler decides how the
//! threads interleave, so a run is not reproducible to the bit: the seed repeats the choices, and a failure prints the recorded history.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::crash::{Numbers, plan_fault};
use super::disk::{Fault, Lie, SimulatedDisk};
use super::history::{Call, History, Note, Operation, Outcome, Part, Recorder, Recovered, Seen, Watched};
use super::history_check::check;
use super::operation::Choices;
use crate::journal::file::{FileJournal, FileSettings};
use crate::{
    Append, Appended, Condition, Durability, Error, EventRef, Expected, FlushSettings, Name, NewEvent, Position, Query,
    Result, Settings, Store, StreamId, Version, WhenBehind,
};

/// Operations of a thread: at least this many, and fewer than twice as many.
const OPERATIONS: u64 = 30;
/// Aggregates that the threads share.
const AGGREGATES: u64 = 4;
/// Tags that the conditions of appends ask for.
const TAGS: u64 = 12;
/// The same in a run whose threads compete for them.
const CONTENDED_TAGS: u64 = 2;
/// The longest that a run may take. Most take less than a tenth of a second.
const TIME_LIMIT: Duration = Duration::from_secs(120);

const LEVELS: [Durability; 3] = [Durability::Volatile, Durability::Written, Durability::Synced];

/// Runs two to four threads on one store until the disk fails or they are done, crashes it, recovers it, and checks the history.
/// With `lies` the disk breaks promises, and some seed must find that out.
///
/// # Errors
///
/// The fault that the checker found, with the seed and the history; that the run has not ended after two minutes.
pub fn run(seed: u64, lies: &[Lie]) -> Result<History, String> {
    run_within(seed, lies, TIME_LIMIT)
}

/// Like [`run`], with another limit of time. The threads of a run that has not ended by then are left behind.
///
/// # Errors
///
/// As [`run`]; the calls that have not returned are named.
pub fn run_within(seed: u64, lies: &[Lie], limit: Duration) -> Result<History, String> {
    let recorder = Arc::new(Recorder::default());
    let mut run = Run::new(seed, lies, Arc::clone(&recorder));
    let (result, results) = mpsc::channel();
    let thread = std::thread::spawn(move || drop(result.send(run.checked())));
    match results.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(format!(
            "seed {seed}: the run has not ended after {limit:?}\n{recorder}"
        )),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Err(format!("seed {seed}: the run has no result")),
        },
    }
}

struct Run {
    seed: u64,
    choices: Choices<Numbers>,
    disk: SimulatedDisk,
    recorder: Arc<Recorder>,
    /// Whether the threads compete: half of their operations are appends on condition, for few tags.
    is_contended: bool,
}

impl Run {
    fn new(seed: u64, lies: &[Lie], recorder: Arc<Recorder>) -> Self {
        let disk = SimulatedDisk::new();
        for lie in lies {
            disk.lie(*lie);
        }
        let mut choices = Choices::new(Numbers::new(seed));
        Self {
            seed,
            is_contended: choices.one_in(3),
            choices,
            disk,
            recorder,
        }
    }

    fn checked(&mut self) -> Result<History, String> {
        let mut history = History::default();
        let lived = self.live(&mut history).and_then(|()| check(&history));
        match lived {
            Ok(()) => Ok(history),
            Err(fault) => Err(format!("seed {}: {fault}\n{history}", self.seed)),
        }
    }

    fn live(&mut self, history: &mut History) -> Result<(), String> {
        plan_fault(&self.disk, &mut self.choices, 100);
        let settings = self.settings();
        history.visibility = settings.durability;
        let survives = match self.open(settings) {
            Ok(store) => {
                history.operations = self.work(&store);
                self.end(store)
            }
            Err(Error::Failed { .. } | Error::Unavailable { .. }) => self.crash(),
            Err(error) => return Err(format!("the store does not open: {error}")),
        };
        history.recovered = Some(self.recover(survives)?);
        Ok(())
    }

    fn settings(&mut self) -> Settings {
        let choices = &mut self.choices;
        let when_behind = [WhenBehind::Wait, WhenBehind::Refuse][choices.below(2) as usize];
        Settings {
            shards: 4,
            durability: LEVELS[choices.below(3) as usize],
            flush: FlushSettings {
                bytes: 1 << (8 + choices.below(8)),
                events: 1 + choices.below(200) as usize,
                write_within: Duration::from_millis(choices.below(4)),
                enforce_write_within: choices.one_in(3),
                sync_within: Duration::from_millis(1 + choices.below(20)),
                backlog_bytes: 1 << (12 + choices.below(12)),
                when_behind,
                retry_for: Duration::from_millis(20 * choices.below(2)),
            },
            ..Settings::default()
        }
    }

    fn open(&mut self, settings: Settings) -> Result<Store> {
        let files = FileSettings {
            segment_bytes: 4096 << self.choices.below(6),
            preallocate_bytes: 1024 * self.choices.below(3),
            compress: cfg!(feature = "lz4") && self.choices.one_in(4),
        };
        let journal = FileJournal::on(Arc::new(self.disk.clone()), files)?;
        let builder = Store::builder().settings(settings).journal(journal);
        builder.indexer("tag", index_slowly).open()
    }

    /// Runs the threads to their ends.
    fn work(&mut self, store: &Store) -> Vec<Operation> {
        let threads = 2 + self.choices.below(3) as usize;
        let is_contended = self.is_contended;
        let barrier = Barrier::new(threads);
        let failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..threads {
                let seed = self.seed.wrapping_mul(8).wrapping_add(1 + number as u64);
                let (recorder, barrier, failed) = (&*self.recorder, &barrier, &failed);
                scope.spawn(move || {
                    let mut worker = Worker::new(number, seed, store, recorder, is_contended);
                    barrier.wait();
                    worker.run(failed);
                });
            }
        });
        self.recorder.operations()
    }

    /// Ends the life of the store. Returns the durability that survives.
    fn end(&mut self, store: Store) -> Durability {
        match self.choices.below(4) {
            0 | 1 => self.crash(),
            2 => {
                self.disk.kill();
                Durability::Written
            }
            _ if store.close().is_ok() => {
                drop(store);
                self.disk.kill();
                Durability::Volatile
            }
            _ => self.crash(),
        }
    }

    fn crash(&mut self) -> Durability {
        self.disk.crash(&mut self.choices);
        while self.choices.one_in(4) {
            self.disk.fail(1 + self.choices.below(8), Fault::PowerLoss);
            drop(self.open(Settings::default()));
            self.disk.crash(&mut self.choices);
        }
        Durability::Synced
    }

    /// Opens the store on a good disk, reads it, and appends to it.
    fn recover(&mut self, survives: Durability) -> Result<Recovered, String> {
        let store = self
            .open(Settings::default())
            .map_err(|error| format!("the store does not open again: {error}"))?;
        let end = store.visible().0;
        let versions = (0..AGGREGATES).map(|number| {
            let info = store.stream_info(&aggregate(number));
            (aggregate(number), info.map_or(0, |info| info.version.0))
        });
        let recovered = Recovered {
            survives,
            end,
            versions: versions.collect(),
            log: read_all(&store),
        };
        let expected = Expected::Exactly(Version(recovered.versions[0].1));
        let next = store.append(&stream(&aggregate(0)), expected, vec![NewEvent::new("Noted")]);
        match next {
            Ok(appended) if appended.first_position == Position(end + 1) => Ok(recovered),
            other => Err(format!("after the recovery to {end} an append returns {other:?}")),
        }
    }
}

/// One thread's operations.
struct Worker<'a> {
    number: usize,
    choices: Choices<Numbers>,
    handles: [Store; 3],
    recorder: &'a Recorder,
    is_contended: bool,
    /// The next label.
    label: u64,
    /// What the thread knows of versions, and of the end of the log.
    versions: HashMap<Name, u64>,
    position: u64,
}

impl<'a> Worker<'a> {
    fn new(number: usize, seed: u64, store: &Store, recorder: &'a Recorder, is_contended: bool) -> Self {
        let with = |durability| store.with_durability(durability).unwrap_or_else(|_| store.clone());
        Self {
            number,
            choices: Choices::new(Numbers::new(seed)),
            handles: LEVELS.map(with),
            recorder,
            is_contended,
            label: 1_000_000 * (1 + number as u64),
            versions: HashMap::new(),
            position: 0,
        }
    }

    /// Works until the store fails for one of the threads, and reads what is there then.
    fn run(&mut self, failed: &AtomicBool) {
        for _ in 0..OPERATIONS + self.choices.below(OPERATIONS) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            if self.choices.one_in(4) {
                std::thread::yield_now();
            }
            let call = self.choose();
            if let Outcome::InDoubt(_) = self.call(&call) {
                failed.store(true, Ordering::Relaxed);
            }
        }
        self.call(&Call::ReadAll);
    }

    fn choose(&mut self) -> Call {
        if self.is_contended && self.choices.one_in(2) {
            return self.choose_contended();
        }
        match self.choices.below(20) {
            0..=7 => self.choose_append(1, false),
            8..=10 => self.choose_append(3, false),
            11..=13 => self.choose_append(2, true),
            14 | 15 => Call::ReadStream(self.choose_aggregate()),
            16 | 17 => Call::ReadAll,
            18 if self.choices.one_in(6) => Call::Compact,
            _ => self.choose_drop(),
        }
    }

    fn choose_aggregate(&mut self) -> Name {
        aggregate(self.choices.below(AGGREGATES))
    }

    fn choose_durability(&mut self) -> Durability {
        LEVELS[[0, 0, 1, 2][self.choices.below(4) as usize]]
    }

    /// An append to at most `most` aggregates.
    fn choose_append(&mut self, most: u64, is_conditional: bool) -> Call {
        let first = self.choices.below(AGGREGATES);
        let parts = (0..=self.choices.below(most)).map(|part| self.choose_part(aggregate((first + part) % AGGREGATES)));
        let parts = parts.collect::<Vec<_>>();
        let tag = self.choices.below(TAGS);
        let after = if self.choices.one_in(4) { 0 } else { self.position };
        Call::Append {
            parts,
            condition: is_conditional.then_some(Watched { tag, after }),
            durability: self.choose_durability(),
        }
    }

    /// An append of one event, if no thread has appended another with the same tag since this was chosen.
    fn choose_contended(&mut self) -> Call {
        let part = Part {
            aggregate: self.choose_aggregate(),
            expected: Expected::Any,
            events: vec![self.choose_note()],
        };
        let watched = Watched {
            tag: part.events[0].tag,
            after: self.handles[0].visible().0,
        };
        Call::Append {
            parts: vec![part],
            condition: Some(watched),
            durability: Durability::Volatile,
        }
    }

    fn choose_part(&mut self, aggregate: Name) -> Part {
        let events = (0..=self.choices.below(4)).map(|_| self.choose_note()).collect();
        let known = self.versions.get(&aggregate).copied().unwrap_or(0);
        let expected = match self.choices.below(8) {
            0..=3 => Expected::Any,
            4..=6 => Expected::Exactly(Version(known)),
            _ => Expected::NoStream,
        };
        Part {
            aggregate,
            expected,
            events,
        }
    }

    fn choose_note(&mut self) -> Note {
        self.label += 1;
        let tags = if self.is_contended { CONTENDED_TAGS } else { TAGS };
        Note {
            label: self.label,
            tag: self.choices.below(tags),
        }
    }

    fn choose_drop(&mut self) -> Call {
        let aggregate = self.choose_aggregate();
        let known = self.versions.get(&aggregate).copied().unwrap_or(0);
        let is_deletion = self.choices.one_in(3);
        Call::Drop {
            before: (!is_deletion).then(|| self.choices.below(known + 2)),
            expected: [Expected::Any, Expected::Exactly(Version(known))][self.choices.below(2) as usize],
            aggregate,
            durability: self.choose_durability(),
        }
    }

    /// Makes the call, records it, and learns from its outcome.
    fn call(&mut self, call: &Call) -> Outcome {
        let outcome = self.recorder.record(self.number, call.clone(), |call| self.make(call));
        match (call, &outcome) {
            (Call::Append { parts, .. }, Outcome::Appended(appended)) => self.learn_append(parts, appended),
            (_, Outcome::Read(seen)) => self.learn_read(seen),
            _ => {}
        }
        outcome
    }

    fn learn_append(&mut self, parts: &[Part], appended: &[Appended]) {
        for (part, appended) in parts.iter().zip(appended) {
            self.versions.insert(part.aggregate.clone(), appended.last_version.0);
        }
    }

    fn learn_read(&mut self, seen: &[Seen]) {
        for seen in seen {
            self.position = self.position.max(seen.position);
            if let super::history::What::Note(_) = seen.what {
                self.versions.insert(seen.aggregate.clone(), seen.version);
            }
        }
    }

    /// The condition of an append. Threads that compete ask the slow index.
    fn condition(&self, watched: Watched) -> Condition {
        let tag = format!("tag-{}", watched.tag);
        let query = if self.is_contended {
            Query::all().index("tag", tag)
        } else {
            Query::all().tag(tag)
        };
        Condition::none_after(query, Position(watched.after))
    }

    fn handle(&self, durability: Durability) -> &Store {
        &self.handles[durability as usize]
    }

    fn make(&self, call: &Call) -> Outcome {
        match call {
            Call::Append {
                parts,
                condition,
                durability,
            } => {
                let condition = condition.map(|watched| self.condition(watched));
                append(self.handle(*durability), parts, condition).map_or_else(failed, Outcome::Appended)
            }
            Call::Drop {
                aggregate,
                expected,
                before,
                durability,
            } => {
                let store = self.handle(*durability);
                let dropped = match before {
                    Some(before) => store.truncate_before(aggregate, Version(*before)),
                    None => store.delete(aggregate, *expected),
                };
                dropped.map_or_else(failed, Outcome::Dropped)
            }
            Call::ReadStream(aggregate) => {
                let mut seen = Vec::new();
                let read = self.handles[0].read_stream(aggregate);
                read.for_each(|event| seen.push(Seen::of(event)));
                Outcome::Read(seen)
            }
            Call::ReadAll => Outcome::Read(read_all(&self.handles[0])),
            Call::Compact => self.handles[0].compact_journal().map_or_else(failed, |_| Outcome::Done),
        }
    }
}

/// Finds the tags of an event. It lets other threads go first, so that they append while a condition is checked.
fn index_slowly(event: EventRef<'_>, tags: &mut Vec<Name>) {
    std::thread::yield_now();
    tags.extend(event.tags().map(Name::from));
}

fn append(store: &Store, parts: &[Part], condition: Option<Condition>) -> Result<Vec<Appended>> {
    let appends: Vec<_> = parts.iter().map(to_append).collect();
    match (condition, appends.as_slice()) {
        (Some(condition), appends) => store.append_if(&condition, appends),
        (None, [one]) => store
            .append(&one.stream, one.expected, &one.events)
            .map(|one| vec![one]),
        (None, appends) => store.append_all(appends),
    }
}

fn to_append(part: &Part) -> Append<'static> {
    let events = part.events.iter().map(|note| {
        NewEvent::new("Noted")
            .tag(format!("tag-{}", note.tag))
            .data(note.label.to_string())
    });
    Append::new(stream(&part.aggregate), part.expected, events.collect::<Vec<_>>())
}

fn failed(error: Error) -> Outcome {
    match error {
        Error::Conflict(conflict) => Outcome::Conflict(*conflict),
        Error::Invalid { .. }
        | Error::Unsupported { .. }
        | Error::Deleted { .. }
        | Error::Full { .. }
        | Error::Backlog { .. } => Outcome::Refused(error.to_string()),
        Error::Closed
        | Error::ReadOnly { .. }
        | Error::Unavailable { .. }
        | Error::Unreadable { .. }
        | Error::Corrupt { .. }
        | Error::Failed { .. } => Outcome::InDoubt(error.to_string()),
    }
}

fn read_all(store: &Store) -> Vec<Seen> {
    let mut seen = Vec::new();
    store
        .read_all()
        .include_system()
        .for_each(|event| seen.push(Seen::of(event)));
    seen
}

fn aggregate(number: u64) -> Name {
    format!("counter-{number}").into()
}

fn stream(aggregate: &Name) -> StreamId {
    StreamId::new("Counter", aggregate.clone())
}
