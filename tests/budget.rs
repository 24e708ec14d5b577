//! A store with a budget stays within 5 % of its size at the time when the budget is first full. The process stops growing too.
//!
//! ```console
//! cargo test --release --test budget                             # a budget of 200,000 events, and 2,000,000 appends
//! ANNALS_BUDGET=10000000 cargo test --release --test budget      # 10,000,000 events, and 100,000,000 appends
//! ```
//!
//! Two threads append the events of a site: visits that end after a few events, carts that end after 64, and accounts that never end. Names
//! change all the time: users, correlations, tags and types live for a part of the budget.
//!
//! The resident memory includes what the allocator retains. glibc takes tables of 64 KiB from its heap, and returns little of that to the
//! system, once the first such table was freed; `MALLOC_MMAP_THRESHOLD_=65536` prevents this. So the process is judged in the second half of
//! the rounds only: fragmentation comes to an end, a leak does not.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where what it expects does not hold, and prints what it measures"
)]

use std::time::Instant;

use annals::{Budget, Expected, NewEvent, Query, Settings, Store, StreamId, WhenFull};

/// The budget in events, where `ANNALS_BUDGET` does not give another.
const EVENTS: u64 = 200_000;
/// Appends, in budgets.
const ROUNDS: u64 = 10;
const THREADS: u64 = 2;
/// From this budget on, the bytes must stay within [`SPREAD_MAX`]: the tables of a small store double.
const JUDGED_MIN: u64 = 1_000_000;
/// By how much the largest measurement may exceed the smallest, in thousandths of it.
const SPREAD_MAX: u64 = 50;
/// The same for a budget below [`JUDGED_MIN`].
const SMALL_SPREAD_MAX: u64 = 250;

/// Bytes at the end of a round.
#[derive(Clone, Copy)]
struct Bytes {
    store: u64,
    /// Of the process; `None` where the system has no `/proc`.
    resident: Option<u64>,
}

fn main() {
    let budget = std::env::var("ANNALS_BUDGET").map_or(EVENTS, |text| text.parse().expect("ANNALS_BUDGET is a number"));
    let store = open(budget);
    println!("a budget of {budget} events; {} appends", budget * ROUNDS);
    println!(
        "| appends | events | aggregates | payload, MB | records | streams | index | store | resident | seconds |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let measured: Vec<_> = (1..=ROUNDS).map(|round| run(&store, budget, round)).collect();
    let max = if budget < JUDGED_MIN {
        SMALL_SPREAD_MAX
    } else {
        SPREAD_MAX
    };
    check("the store", measured.iter().map(|bytes| Some(bytes.store)), max);
    // The memory of a small store is lost in that of the process.
    if budget >= JUDGED_MIN {
        let settled = measured.iter().skip(measured.len() / 2);
        check("the process", settled.map(|bytes| bytes.resident), max);
    }
}

fn open(events: u64) -> Store {
    let budget = Budget::default().events(events).when_full(WhenFull::DropOldest);
    let settings = Settings::default().budget(budget);
    Store::builder()
        .settings(settings)
        .open()
        .expect("the settings are valid")
}

/// Appends as many events as the budget allows, prints a row, and returns the measured bytes.
fn run(store: &Store, budget: u64, round: u64) -> Bytes {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let numbers = (round - 1) * budget + thread..round * budget;
            scope.spawn(move || {
                let each = numbers.step_by(THREADS as usize);
                each.for_each(|number| append(store, budget, thread, number));
            });
        }
    });
    let took = began.elapsed().as_secs_f64();
    let stats = store.stats();
    assert!(stats.events <= budget, "{} events of {budget} allowed", stats.events);
    let kinds = |kind: &str| {
        store
            .query(Query::all().aggregate_type(kind))
            .count()
            .expect("a valid query")
    };
    let found = kinds("Visit") + kinds("Cart") + kinds("Account");
    assert_eq!(found, stats.events, "the index has other events than the store");
    let bytes = Bytes {
        store: stats.memory_bytes,
        resident: resident(),
    };
    let parts = [
        stats.payload_bytes,
        stats.record_bytes,
        stats.stream_bytes,
        stats.index_bytes,
        bytes.store,
    ];
    let columns: String = parts.map(|bytes| format!(" {} |", mega(bytes))).concat();
    let resident = bytes.resident.map_or_else(|| "-".to_owned(), mega);
    let (appends, events, aggregates) = (round * budget, stats.events, stats.aggregates);
    println!("| {appends} | {events} | {aggregates} |{columns} {resident} | {took:.1} |");
    bytes
}

fn mega(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}

/// Appends event `number`. Of eight events, five are of visits, two of carts, and one of an account.
fn append(store: &Store, budget: u64, thread: u64, number: u64) {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let own = number / THREADS;
    let stream = match own % 8 {
        0..5 => StreamId::new("Visit", format!("visit-{thread}-{}", own / 16)),
        // 64 carts of each thread are open at once, for 64 events each.
        5 | 6 => StreamId::new("Cart", format!("cart-{thread}-{}-{}", own / (64 * 64 * 4), mixed % 64)),
        _ => StreamId::new("Account", format!("account-{thread}-{}", mixed % 10_000)),
    };
    // A new release every half of a budget brings types and tags of its own.
    let release = number / (budget / 2).max(1);
    let event = NewEvent::new(format!("Step{}InRelease{release}", mixed % 12))
        .user(format!("user-{}", number / 50 + mixed % 1_000))
        .correlation(format!("request-{thread}-{}", own / 10))
        .tag(format!("day-{}", number / (budget / 20).max(1)))
        .data(&[b'x'; 200][..(mixed % 200) as usize]);
    store
        .append(&stream, Expected::Any, event)
        .expect("a full store makes room");
}

/// The resident memory of the process.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes * 1024)
}

/// Checks that the largest measurement exceeds the smallest by at most `max` thousandths of it.
fn check(what: &str, measured: impl Iterator<Item = Option<u64>> + Clone, max: u64) {
    let (Some(least), Some(most)) = (measured.clone().flatten().min(), measured.flatten().max()) else {
        return;
    };
    let spread = (most - least) * 1000 / least;
    println!(
        "{what}: from {} to {} MB, +{}.{} %",
        mega(least),
        mega(most),
        spread / 10,
        spread % 10
    );
    assert!(
        spread <= max,
        "the memory of {what} grows from {least} to {most} bytes while the budget is full: at most {max} thousandths more are allowed"
    );
}
