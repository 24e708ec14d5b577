//! A durable store, beside a store in memory and beside the bare disk.
//!
//! `cargo bench --bench journal`. Events carry 128 bytes of JSON, a type, a correlation, a user and an organization. *Tickets*: every
//! append is waited for until it is synced, and a writer has up to 64 on their way. *Memory* is a store without a journal; beside it
//! *volatile* is written behind while the clock runs. *One sync each* writes the same bytes and syncs for every append, as a log without
//! group commit does. *Shared syncs* is group commit as one writes it by hand, with as many threads that wait, and nothing but
//! bytes to keep. *The bare disk* plays the writes and syncs that the store made just before on a plain file. Files are in the target folder.

mod disk;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::journal::file::{FileJournal, FileSettings};
use annals::{Appended, Durability, Expected, Name, NewEvent, Store, StreamId, Ticket};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};

use self::disk::{Calls, Recorder};

/// 128 bytes of JSON.
const PAYLOAD: &[u8; 128] = br#"{"amount":1250,"currency":"EUR","reference":"2026-01-31/0004711","channel":"mobile","note":"a payment like the others, in time"}"#;
const WRITERS: [usize; 4] = [1, 2, 8, 32];
/// More, where each waits for the disk.
const MANY_WRITERS: usize = 128;
/// Appends of a sample: by what they cost.
const APPENDS_SYNCED: usize = 3_200;
const APPENDS_BY_TICKETS: usize = 32_000;
const APPENDS_WRITTEN: usize = 32_000;
const APPENDS_VOLATILE: usize = 320_000;
const RECOVERED: usize = 1_000_000;
/// Appends that a writer has on their way to the disk, where it waits by tickets.
const TICKETS: usize = 64;
/// Bytes of such an append in a frame of its own.
const APPEND_BYTES: usize = 300;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let names = Names::new();
    for writers in WRITERS {
        synced(&mut criterion, &names, writers);
        synced_by_tickets(&mut criterion, &names, writers);
        written(&mut criterion, &names, writers);
        volatile(&mut criterion, &names, writers);
    }
    synced(&mut criterion, &names, MANY_WRITERS);
    recovery(&mut criterion, &names);
    criterion.final_summary();
    drop(std::fs::remove_dir_all(folder()));
}

#[expect(clippy::panic, reason = "a benchmark whose work fails has no number")]
fn sure<T, E: Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// Names made before the clock starts.
struct Names {
    types: Vec<Name>,
    aggregates: Vec<Name>,
    users: Vec<Name>,
    organizations: Vec<Name>,
}

impl Names {
    fn new() -> Self {
        let names = |what: &str, count: usize| (0..count).map(|number| format!("{what}-{number}").into()).collect();
        Self {
            types: names("Happened", 8),
            aggregates: names("payment", 100_000),
            users: names("user", 1000),
            organizations: names("organization", 100),
        }
    }

    fn append(&self, store: &Store, number: usize) -> Appended {
        let stream = StreamId::new("Payment", self.aggregates[number % self.aggregates.len()].clone());
        let event = NewEvent::new(self.types[number % self.types.len()].clone())
            .correlation(format!("conversation-{}", number / 10))
            .user(self.users[number % self.users.len()].clone())
            .organization(self.organizations[number % self.organizations.len()].clone())
            .data(&PAYLOAD[..]);
        sure(store.append(&stream, Expected::Any, vec![event]))
    }

    /// The same with up to [`TICKETS`] appends of a writer on their way to the disk, each waited for by its ticket.
    fn fill_with_tickets(&self, store: &Store, writers: usize, count: usize) -> Duration {
        let began = Instant::now();
        let write = |writer: usize| {
            let mut tickets = VecDeque::with_capacity(TICKETS);
            for number in (writer..count).step_by(writers) {
                if tickets.len() == TICKETS {
                    sure(tickets.pop_front().map_or(Ok(()), Ticket::wait));
                }
                let appended = self.append(store, number);
                tickets.push_back(sure(store.when_durable(appended.last_position, Durability::Synced)));
            }
            sure(tickets.into_iter().try_for_each(Ticket::wait));
        };
        std::thread::scope(|scope| (0..writers).for_each(|writer| drop(scope.spawn(move || write(writer)))));
        began.elapsed()
    }

    /// `count` appends from `writers` threads. Answers how long they took.
    fn fill(&self, store: &Store, writers: usize, count: usize) -> Duration {
        let began = Instant::now();
        let write = |writer: usize| {
            for number in (writer..count).step_by(writers) {
                self.append(store, number);
            }
        };
        std::thread::scope(|scope| (0..writers).for_each(|writer| drop(scope.spawn(move || write(writer)))));
        began.elapsed()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("journal-bench")
}

/// A store in an empty folder, and what its disk is asked for.
fn open_new() -> (Store, Calls) {
    drop(std::fs::remove_dir_all(folder()));
    let (recorder, calls) = Recorder::new(&folder());
    let journal = sure(FileJournal::on(Arc::new(recorder), FileSettings::default()));
    let store = sure(Store::open(journal));
    calls.lock().clear();
    (store, calls)
}

/// A group of fills: each sample is one.
fn group<'a>(criterion: &'a mut Criterion, name: &str, elements: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .throughput(Throughput::Elements(elements as u64))
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_millis(1));
    group
}

/// Fills new stores at a durability, as often as asked. Answers how long it took, and what the disk was asked for last.
fn fill_new(names: &Names, durability: Durability, writers: usize, count: usize, times: u64) -> (Duration, Calls) {
    let mut took = Duration::ZERO;
    let mut last = Calls::default();
    for _ in 0..times {
        let (store, calls) = open_new();
        took += names.fill(&sure(store.with_durability(durability)), writers, count);
        last = calls;
    }
    (took, last)
}

fn synced(criterion: &mut Criterion, names: &Names, writers: usize) {
    let mut group = group(criterion, &format!("synced, {writers} writers"), APPENDS_SYNCED);
    let mut calls = Calls::default();
    group.bench_function("annals", |bencher| {
        bencher.iter_custom(|times| {
            let (took, last) = fill_new(names, Durability::Synced, writers, APPENDS_SYNCED, times);
            calls = last;
            took
        });
    });
    bare_disk(&mut group, &calls);
    let file = folder().with_extension("bare");
    let mut by_hand = |name: &str, fill: fn(&Path, usize, usize, usize) -> Duration| {
        let one = || fill(&file, writers, APPENDS_SYNCED, APPEND_BYTES);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| one()).sum());
        });
    };
    by_hand("shared syncs", disk::shared_syncs);
    by_hand("one sync each", disk::one_sync_each);
    group.finish();
    drop(std::fs::remove_file(file));
}

/// The same where writers do not wait for each append.
fn synced_by_tickets(criterion: &mut Criterion, names: &Names, writers: usize) {
    let mut group = group(criterion, &format!("tickets, {writers} writers"), APPENDS_BY_TICKETS);
    let mut calls = Calls::default();
    group.bench_function("annals", |bencher| {
        let mut one = || {
            let (store, last) = open_new();
            calls = last;
            names.fill_with_tickets(&store, writers, APPENDS_BY_TICKETS)
        };
        bencher.iter_custom(|times| (0..times).map(|_| one()).sum());
    });
    bare_disk(&mut group, &calls);
}

fn bare_disk(group: &mut BenchmarkGroup<'_, WallTime>, calls: &Calls) {
    let file = folder().with_extension("bare");
    group.bench_function("the bare disk", |bencher| {
        let calls = calls.lock();
        bencher.iter_custom(|times| (0..times).map(|_| disk::play(&calls, &file)).sum());
    });
    drop(std::fs::remove_file(file));
}

fn written(criterion: &mut Criterion, names: &Names, writers: usize) {
    let mut group = group(criterion, &format!("written, {writers} writers"), APPENDS_WRITTEN);
    group.bench_function("annals", |bencher| {
        bencher.iter_custom(|times| fill_new(names, Durability::Written, writers, APPENDS_WRITTEN, times).0);
    });
}

fn volatile(criterion: &mut Criterion, names: &Names, writers: usize) {
    let mut group = group(criterion, &format!("volatile, {writers} writers"), APPENDS_VOLATILE);
    group.bench_function("annals", |bencher| {
        bencher.iter_custom(|times| fill_new(names, Durability::Volatile, writers, APPENDS_VOLATILE, times).0);
    });
    group.bench_function("memory", |bencher| {
        let one = || names.fill(&Store::in_memory(), writers, APPENDS_VOLATILE);
        bencher.iter_custom(|times| (0..times).map(|_| one()).sum());
    });
}

/// Opening a store of a million events.
fn recovery(criterion: &mut Criterion, names: &Names) {
    let (store, _) = open_new();
    names.fill(&store, 1, RECOVERED);
    sure(store.close());
    drop(store);
    let files = sure(std::fs::read_dir(folder())).map(|entry| sure(sure(entry).metadata()).len());
    let bytes = files.sum::<u64>() / RECOVERED as u64;
    let mut group = group(criterion, "recovery", RECOVERED);
    group.bench_function(
        BenchmarkId::from_parameter(format!("{bytes} bytes an event on disk")),
        |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    let began = Instant::now();
                    let store = sure(Store::open(sure(FileJournal::open(folder()))));
                    took += began.elapsed();
                    drop(store);
                }
                took
            });
        },
    );
}
