//! A fill in a process of its own, whose heap nothing has touched before.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use annals::Store;
use parking_lot::Mutex;

use crate::naive::{FiveMaps, Naive};
use crate::sure;
use crate::work::{Log, Work, interleaved};

/// Tells a process that it is a child, and what to measure.
const TASK: &str = "ANNALS_BENCH_TASK";

/// How a store is filled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Single,
    TwoThreads,
    Batches,
}

impl Way {
    const ALL: [Self; 3] = [Self::Single, Self::TwoThreads, Self::Batches];

    /// Appends 1,000,000 events to an empty store, and says how long it took.
    pub(crate) fn fill<L: Log>(self, work: &Work) -> Duration {
        let start = Instant::now();
        let log = L::empty();
        match self {
            Self::Single => work.fill(&log, interleaved(100_000, 10, 1)),
            Self::TwoThreads => work.fill_with_two_threads(&log, 100_000, 10),
            Self::Batches => work.fill(&log, interleaved(10_000, 10, 10)),
        }
        start.elapsed()
    }

    /// The same in a process of its own.
    pub(crate) fn fill_in_child(self, store: &str) -> Duration {
        let output = Command::new(sure(std::env::current_exe()))
            .env(TASK, format!("{self:?} {store}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output();
        let answer = sure(String::from_utf8(sure(output).stderr));
        Duration::from_nanos(sure(answer.trim().parse()))
    }
}

/// If this process is a child, does its task, and says so.
#[expect(clippy::print_stderr, reason = "the parent reads it")]
pub(crate) fn answered() -> bool {
    let Ok(task) = std::env::var(TASK) else {
        return false;
    };
    let work = Work::new(100_000, 1_000_000);
    for way in Way::ALL {
        if task == format!("{way:?} annals") {
            eprintln!("{}", way.fill::<Store>(&work).as_nanos());
        } else if task == format!("{way:?} naive") {
            eprintln!("{}", way.fill::<Mutex<Naive>>(&work).as_nanos());
        } else if task == format!("{way:?} naive with five maps") {
            eprintln!("{}", way.fill::<Mutex<FiveMaps>>(&work).as_nanos());
        }
    }
    true
}
