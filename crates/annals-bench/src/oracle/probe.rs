//! Reads that must see own writes: appends that are read at once, by many workers at the same time.

use annals::Version;
use crossbeam_channel::unbounded;

use super::{Rule, Verdict};
use crate::generate::Events;
use crate::load::worker::{HANG, append_one};
use crate::load::{Entry, LoadError, Setup};
use crate::store::StoredEvent;

/// Appends of one worker.
const APPENDS: u64 = 100;
/// Workers at most: more threads of a probe find nothing else.
const WORKERS_MAX: u64 = 16;

/// What the workers of a probe found, and what they appended.
pub type Probed = (Verdict, Vec<Entry>);

/// Appends and reads with the workers of the workload.
///
/// # Errors
///
/// [`LoadError`] if a thread cannot be started, or a call panics or does not return.
pub fn probe(setup: &Setup) -> Result<Probed, LoadError> {
    let workers = u64::from(setup.generator.workload().load.workers).min(WORKERS_MAX);
    let (send, receive) = unbounded();
    for worker in 0..workers {
        let (setup, send) = (setup.clone(), send.clone());
        let work = move || drop(send.send(of_worker(&setup, worker)));
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
        add(&mut all, found);
    }
    Ok(all)
}

/// The same, one worker after the other on this thread.
pub fn simulate_probe(setup: &Setup) -> Probed {
    let mut all = Probed::default();
    for worker in 0..u64::from(setup.generator.workload().load.workers).min(WORKERS_MAX) {
        add(&mut all, of_worker(setup, worker));
    }
    all
}

fn add(all: &mut Probed, (verdict, mut entries): Probed) {
    all.0.merge(verdict);
    all.1.append(&mut entries);
}

fn of_worker(setup: &Setup, worker: u64) -> Probed {
    let (mut verdict, mut entries) = Probed::default();
    let mut events = Events::default();
    for index in worker * APPENDS..(worker + 1) * APPENDS {
        let operation = setup.generator.probe(index);
        let (entry, error) = append_one(setup, &operation, &mut events);
        entries.push(entry);
        if error.is_some() {
            continue;
        }
        let mut sent = events.list().into_iter();
        let mut is_same = true;
        let mut look = |event: StoredEvent<'_>| is_same &= sent.next().is_some_and(|sent| sent.data == event.data);
        let read = setup.store.read_stream(&operation.stream, Version(0), &mut look);
        if read.is_err() || sent.next().is_some() || !is_same {
            verdict.note(Rule::ReadYourWrites, || {
                format!("{} did not have what was just acknowledged", operation.stream)
            });
        }
    }
    (verdict, entries)
}
