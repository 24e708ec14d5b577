//! Seeded crashes: a store on a failing disk, its crash and its recovery, checked against the model.

use std::sync::Arc;
use std::time::Duration;

use super::disk::{Fault, Lie, SimulatedDisk};
use super::model::Model;
use super::operation::{Choices, Pair, START};
use crate::journal::file::{FileJournal, FileSettings};
use crate::{Durability, Error, FlushSettings, ManualClock, Result, Settings, Store};

/// Lives of a store, each ended by a crash, in one run.
const LIVES: u64 = 5;
/// The most operations of a life.
const OPERATIONS: u64 = 40;
/// Queries after each recovery.
const QUESTIONS: usize = 8;

/// Runs a store through several lives and crashes, all decided by `seed`, and checks after each recovery that
///
/// * every append that was acknowledged as synced is there, or as written if only the process ended;
/// * what is there is a prefix of what was appended, and ends with a whole append;
/// * all other queries of store and model return the same.
///
/// With `lies` the disk breaks promises, and some seed must detect it. Returns the number of events at the end.
///
/// # Panics
///
/// When a check fails. The message begins with the seed.
pub fn run(seed: u64, lies: &[Lie]) -> u64 {
    let mut run = Run::new(seed, lies);
    for _ in 0..LIVES {
        run.live();
    }
    run.model.position()
}

/// An infinite sequence of numbers from a seed: `SplitMix64` (Steele, Lea and Flood, 2014), 16 of its 64 bits at a time.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Iterator for Numbers {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some((number ^ (number >> 31)) as u16)
    }
}

struct Run {
    seed: u64,
    choices: Choices<Numbers>,
    disk: SimulatedDisk,
    clock: Arc<ManualClock>,
    /// The model at the end of the last life.
    model: Model,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The machine stops.
    Machine,
    /// The process stops.
    Process,
    /// The store is closed.
    Closed,
}

/// The promises of a life, and the model after every operation.
struct Promises {
    written: u64,
    synced: u64,
    history: Vec<Model>,
}

/// Closes the store: afterwards everything is synced, or the disk has failed.
fn close(store: &Store, promises: &mut Promises) -> End {
    if store.close().is_err() {
        return End::Machine;
    }
    promises.written = store.reached(Durability::Volatile).0;
    promises.synced = promises.written;
    End::Closed
}

/// Makes the disk fail at one of its next `calls` calls, in three of four runs: for one call, or for several where it is full.
pub(super) fn plan_fault(disk: &SimulatedDisk, choices: &mut Choices<Numbers>, calls: u64) {
    let call = 1 + choices.below(calls);
    match choices.below(8) {
        0..=3 => disk.fail(call, Fault::PowerLoss),
        4 => disk.fail(call, Fault::Device),
        5 => {
            let full = 1 + choices.below(2) * choices.below(30);
            (call..call + full).for_each(|call| disk.fail(call, Fault::Full));
        }
        _ => {}
    }
}

impl Run {
    fn new(seed: u64, lies: &[Lie]) -> Self {
        let disk = SimulatedDisk::new();
        for lie in lies {
            disk.lie(*lie);
        }
        Self {
            seed,
            choices: Choices::new(Numbers::new(seed)),
            disk,
            clock: Arc::new(ManualClock::at(START)),
            model: Model::default(),
        }
    }

    /// Opens the store, runs operations and ends the life; then recovers the store and checks it.
    fn live(&mut self) {
        plan_fault(&self.disk, &mut self.choices, 60);
        let mut promises = Promises {
            written: self.model.position(),
            synced: self.model.position(),
            history: vec![self.model.clone()],
        };
        let end = match self.open() {
            Ok(store) => self.work(&store, &mut promises),
            // The crash happened before the store was created.
            Err(Error::Failed { .. } | Error::Unavailable { .. }) => End::Machine,
            Err(error) => self.fail(&format!("the store does not open: {error}")),
        };
        match end {
            End::Machine => self.disk.crash(&mut self.choices),
            End::Process | End::Closed => self.disk.kill(),
        }
        while self.choices.below(3) == 0 {
            self.recover_with_faults(&mut promises);
        }
        self.check(end, &promises);
    }

    /// Opens the store on a disk that fails during recovery or soon after. Every event that one recovery returns is synced from then on.
    fn recover_with_faults(&mut self, promises: &mut Promises) {
        let faults = [Fault::PowerLoss, Fault::Device, Fault::Full];
        let fault = faults[self.choices.below(3) as usize];
        self.disk.fail(1 + self.choices.below(8), fault);
        match self.open_with(Settings::default()) {
            Ok(store) => {
                promises.synced = promises.synced.max(store.visible().0);
                promises.written = promises.written.max(store.visible().0);
                drop(store);
            }
            Err(Error::Failed { .. } | Error::Unavailable { .. }) => {}
            Err(error) => self.fail(&format!("the store does not open again: {error}")),
        }
        if fault == Fault::PowerLoss || self.choices.below(2) == 0 {
            promises.written = promises.synced;
            self.disk.crash(&mut self.choices);
        } else {
            self.disk.kill();
        }
    }

    fn open(&mut self) -> Result<Store> {
        let visible = [Durability::Volatile, Durability::Written, Durability::Synced];
        let settings = Settings {
            shards: 4,
            durability: visible[self.choices.below(3) as usize],
            flush: FlushSettings {
                bytes: 1 << (8 + self.choices.below(8)),
                events: 1 + self.choices.below(200) as usize,
                retry_for: Duration::from_millis(20 * self.choices.below(2)),
                ..FlushSettings::default()
            },
            ..Settings::default()
        };
        self.open_with(settings)
    }

    fn open_with(&mut self, settings: Settings) -> Result<Store> {
        let files = FileSettings {
            segment_bytes: 4096 << self.choices.below(6),
            preallocate_bytes: 1024 * self.choices.below(3),
            compress: cfg!(feature = "lz4") && self.choices.below(4) == 0,
        };
        let journal = FileJournal::on(Arc::new(self.disk.clone()), files)?;
        let builder = Pair::builder(&self.clock, settings);
        builder.journal(journal).journal_by_hand().open()
    }

    fn work(&mut self, store: &Store, promises: &mut Promises) -> End {
        let mut pair = Pair::of(store.clone(), self.model.clone(), Arc::clone(&self.clock));
        for _ in 0..self.choices.below(OPERATIONS) {
            let durability = [Durability::Volatile, Durability::Written, Durability::Synced];
            let durability = durability[[0, 0, 1, 2][self.choices.below(4) as usize]];
            pair.change_something(&mut self.choices, durability);
            promises.history.push(pair.model().clone());
            if self.choices.below(6) == 0 {
                // The result is not needed: `reached` returns the progress.
                drop(store.wait_durable(store.reached(Durability::Volatile)));
            }
            if self.choices.below(10) == 0 {
                // Whether it succeeds or not, no query returns anything else.
                drop(store.compact_journal());
            }
            promises.written = store.reached(Durability::Written).0;
            promises.synced = store.reached(Durability::Synced).0;
            if pair.has_failed() || store.fault().is_some() {
                return [End::Machine, End::Process][self.choices.below(2) as usize];
            }
        }
        pair.check_all();
        match self.choices.below(3) {
            0 => End::Machine,
            1 => End::Process,
            _ => close(store, promises),
        }
    }

    /// Opens the store on a good disk and compares it with the model.
    fn check(&mut self, end: End, promises: &Promises) {
        let store = match self.open_with(Settings {
            shards: 4,
            ..Settings::default()
        }) {
            Ok(store) => store,
            Err(error) => self.fail(&format!("after {end:?} the store does not open: {error}")),
        };
        let position = store.visible().0;
        let least = if end == End::Machine {
            promises.synced
        } else {
            promises.written
        };
        if position < least {
            self.fail(&format!(
                "after {end:?} the log ends at {position}, and {least} was promised"
            ));
        }
        let Some(model) = promises.history.iter().rev().find(|model| model.position() == position) else {
            self.fail(&format!(
                "after {end:?} the log ends at {position}, in the middle of an append"
            ))
        };
        let mut pair = Pair::of(store.clone(), model.clone(), Arc::clone(&self.clock));
        pair.check_all();
        pair.ask(&mut self.choices, QUESTIONS);
        self.model = model.clone();
        // The next life begins after a clean close, or after another crash.
        if self.choices.below(2) == 0 {
            self.disk.kill();
        }
        drop((pair, store));
        self.disk.kill();
    }

    #[expect(clippy::panic, reason = "the test that runs this fails")]
    fn fail(&self, what: &str) -> ! {
        panic!("seed {}: {what}", self.seed)
    }
}
