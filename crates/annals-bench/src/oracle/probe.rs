//! Reads that must see own writes: appends that are read and queried at once, by many workers at the same time.

use annals::Version;
use crossbeam_channel::unbounded;

use super::{Rule, Verdict};
use crate::generate::Events;
use crate::load::worker::{HANG, append_one};
use crate::load::{Entry, LoadError, Setup};
use crate::store::{By, Description, Question, Result, StoredEvent};

/// Appends of one worker.
const APPENDS: u64 = 100;
/// Events that a query returns at most: more than one conversation has.
const QUERY_LIMIT: usize = 100;
/// Maximum number of workers of a probe.
const WORKERS_MAX: u64 = 16;

/// The results and the appends of the workers of a probe.
pub type Probed = (Verdict, Vec<Entry>);

/// Appends, reads and queries with the workers of the workload.
///
/// # Errors
///
/// [`LoadError`] if a thread cannot be started, an append cannot be read back, or a call panics or does not return.
pub fn probe(setup: &Setup, backend: &Description) -> Result<Probed, LoadError> {
    let workers = u64::from(setup.generator.workload().load.workers).min(WORKERS_MAX);
    let (send, receive) = unbounded();
    for worker in 0..workers {
        let (setup, send, has_queries) = (setup.clone(), send.clone(), backend.has_queries);
        let work = move || drop(send.send(of_worker(&setup, worker, has_queries)));
        let thread = std::thread::Builder::new().name("probe".to_owned()).spawn(work);
        thread.map_err(|error| LoadError::Thread(error.to_string()))?;
    }
    drop(send);
    let mut all = Probed::default();
    for _ in 0..workers {
        let found = receive.recv_timeout(HANG).map_err(|error| match error {
            crossbeam_channel::RecvTimeoutError::Timeout => LoadError::Hangs,
            crossbeam_channel::RecvTimeoutError::Disconnected => LoadError::Panicked,
        })?;
        add(&mut all, found.map_err(|error| LoadError::Unread(error.to_string()))?);
    }
    Ok(all)
}

/// The same, one worker after the other on this thread.
///
/// # Errors
///
/// The error of a read that failed.
pub fn simulate_probe(setup: &Setup, backend: &Description) -> Result<Probed> {
    let mut all = Probed::default();
    for worker in 0..u64::from(setup.generator.workload().load.workers).min(WORKERS_MAX) {
        add(&mut all, of_worker(setup, worker, backend.has_queries)?);
    }
    Ok(all)
}

fn add(all: &mut Probed, (verdict, mut entries): Probed) {
    all.0.merge(verdict);
    all.1.append(&mut entries);
}

/// Fails with a read that failed: it says nothing of what the store keeps.
fn of_worker(setup: &Setup, worker: u64, has_queries: bool) -> Result<Probed> {
    let (mut verdict, mut entries) = Probed::default();
    let mut events = Events::default();
    for index in worker * APPENDS..(worker + 1) * APPENDS {
        let operation = setup.generator.probe(index);
        let (entry, error) = append_one(setup, &operation, &mut events);
        entries.push(entry);
        let age = setup.generator.workload().time_to_live().map(super::least_age);
        let has_expired = || age.is_some_and(|age| setup.clock.now() >= entry.started + age);
        if error.is_some() {
            continue;
        }
        let stream = &operation.stream;
        if !is_read(setup, stream, &events)? && !has_expired() {
            verdict.note(Rule::ReadYourWrites, || {
                format!("{stream} did not have what was just acknowledged")
            });
        }
        if has_queries && !is_found(setup, &events)? && !has_expired() {
            verdict.note(Rule::ReadYourWrites, || {
                format!("a query by conversation did not find what {stream} had just acknowledged")
            });
        }
    }
    Ok((verdict, entries))
}

/// Whether `stream` contains exactly `events`.
fn is_read(setup: &Setup, stream: &str, events: &Events) -> Result<bool> {
    let mut sent = events.list().into_iter();
    let mut is_same = true;
    let mut look = |event: StoredEvent<'_>| is_same &= sent.next().is_some_and(|sent| sent.data == event.data);
    setup.store.read_stream(stream, Version(0), &mut look)?;
    Ok(sent.next().is_none() && is_same)
}

/// Whether a query by their conversation finds all of `events`.
fn is_found(setup: &Setup, events: &Events) -> Result<bool> {
    let mut missing = events.list();
    let Some(correlation) = missing.first().map(|event| event.correlation.to_owned()) else {
        return Ok(true);
    };
    let question = Question {
        by: By::Correlation(correlation),
        limit: QUERY_LIMIT,
        is_cached: setup.generator.workload().read.cache,
    };
    let mut look = |event: StoredEvent<'_>| missing.retain(|sent| sent.data != event.data);
    setup.store.query(&question, &mut look)?;
    Ok(missing.is_empty())
}
