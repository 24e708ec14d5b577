//! What an append costs in a store that is twenty times as large. It takes about five minutes and twelve gigabytes.

use std::time::{Duration, Instant};

use annals::Store;
use parking_lot::Mutex;

use crate::fills::STORES;
use crate::naive::{FiveMaps, Naive};
use crate::work::{Ids, Log, Work, interleaved};
use crate::{child, sure};

/// Asks for this measurement instead of the others.
const ASKED: &str = "ANNALS_BENCH_GROWTH";
/// The first word of a task.
const TASK: &str = "growth";
/// Processes for each figure, which is their median.
const PROCESSES: usize = 3;
/// Events of each aggregate.
const ROUNDS: usize = 10;
const SMALL_AGGREGATES: usize = 100_000;
const LARGE_AGGREGATES: usize = 2_000_000;

pub(crate) fn is_asked() -> bool {
    std::env::var_os(ASKED).is_some()
}

/// Prints nanoseconds an append: of the whole fill, and of its last tenth, in which all aggregates exist.
#[expect(clippy::print_stdout, reason = "a table is what it is for")]
pub(crate) fn print() {
    println!("Nanoseconds an append, cold, median of {PROCESSES} processes: all of a fill; its last tenth");
    println!("| store | 1 M events, 100,000 aggregates | 20 M events, 2,000,000 aggregates | more |");
    println!("|---|---|---|---|");
    for store in STORES {
        let (small, large) = (growth(store, SMALL_AGGREGATES), growth(store, LARGE_AGGREGATES));
        println!(
            "| {store} | {}; {} | {}; {} | {}; {} |",
            small[0],
            small[1],
            large[0],
            large[1],
            large[0] - small[0],
            large[1] - small[1]
        );
    }
}

/// Nanoseconds an append of all events, and of the last tenth.
fn growth(store: &str, aggregates: usize) -> [i64; 2] {
    let task = format!("{TASK} {aggregates} {store}");
    let runs: Vec<_> = (0..PROCESSES).map(|_| child::measure(&task)).collect();
    [(0, aggregates * ROUNDS), (1, aggregates)].map(|(index, appends)| {
        let mut times: Vec<_> = runs.iter().map(|run| run[index].as_nanos()).collect();
        times.sort_unstable();
        sure(i64::try_from(times[PROCESSES / 2] / appends as u128))
    })
}

/// Runs `task` if it is a fill of this measurement.
pub(crate) fn run(task: &str) -> Vec<Duration> {
    let words: Vec<_> = task.splitn(3, ' ').collect();
    let [TASK, aggregates, store] = words[..] else {
        return Vec::new();
    };
    let Ok(aggregates) = aggregates.parse() else {
        return Vec::new();
    };
    match store {
        "annals" => fill::<Store>(aggregates),
        "naive" => fill::<Mutex<Naive>>(aggregates),
        _ => fill::<Mutex<FiveMaps>>(aggregates),
    }
}

/// How long all appends took, and how long the last of each aggregate.
fn fill<L: Log>(aggregates: usize) -> Vec<Duration> {
    let work = Work::new(Ids::Short, aggregates, aggregates * ROUNDS);
    let log = L::empty();
    let mut batches = interleaved(aggregates, ROUNDS, 1);
    let start = Instant::now();
    work.fill(&log, batches.by_ref().take(aggregates * (ROUNDS - 1)));
    let last_began = Instant::now();
    work.fill(&log, batches);
    vec![start.elapsed(), last_began.elapsed()]
}
