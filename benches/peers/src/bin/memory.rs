//! Prints what only fresh processes can tell: memory for each event, cold appends, and the longest append.
//!
//! `cargo run --profile bench -p annals-peers --bin memory` prints both tables. It takes about six minutes and six gigabytes.
//! `memory fresh` and `memory longest` (after `--bin memory --`) print one of them.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::time::Duration;

use annals_peers::child::{answer, fresh_in_child, pause_in_child};
use annals_peers::peer::{Fresh, Pause, Peer, Result};
use annals_peers::peers::{Annals, CqrsEs, EventCore, Eventually, Indexed, Naive, Sourcerer};

/// Processes for each row.
const PROCESSES: usize = 5;

fn main() -> Result<()> {
    if answer()? {
        return Ok(());
    }
    match std::env::args().nth(1).as_deref() {
        None => print_fresh_table().and_then(|()| print_pause_table()),
        Some("fresh") => print_fresh_table(),
        Some("longest") => print_pause_table(),
        Some(other) => Err(format!("unknown table '{other}': expected fresh or longest").into()),
    }
}

fn print_fresh_table() -> Result<()> {
    println!("1,000,000 single appends to 100,000 aggregates, median of {PROCESSES} processes (least to most)\n");
    println!("| store | cold, events/s | second store, events/s | bytes an event beyond the payload |");
    println!("|---|---|---|---|");
    let names = [
        Annals::NAME,
        Naive::NAME,
        Indexed::NAME,
        Eventually::NAME,
        Sourcerer::NAME,
        EventCore::NAME,
        CqrsEs::NAME,
    ];
    names.into_iter().try_for_each(print_fresh)
}

fn print_pause_table() -> Result<()> {
    println!("\nThe longest of single appends, ten to each aggregate, median of {PROCESSES} processes (least to most)");
    println!("All but the first column of times leave out the time in which another process had the processor\n");
    println!("| store | appends | longest by the clock | longest | p99.99 | longer than 1 ms |");
    println!("|---|---|---|---|---|---|");
    for (name, aggregates) in [
        (Annals::NAME, 1_000_000),
        (Naive::NAME, 1_000_000),
        (Annals::NAME, 100_000),
        (Naive::NAME, 100_000),
    ] {
        print_pause(name, aggregates)?;
    }
    Ok(())
}

/// The median, the least and the most.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[PROCESSES / 2], values[0], values[PROCESSES - 1])
}

fn print_fresh(name: &str) -> Result<()> {
    let runs = (0..PROCESSES)
        .map(|_| fresh_in_child(name))
        .collect::<Result<Vec<_>>>()?;
    let column = |value: fn(&Fresh) -> f64, unit: f64| spread(runs.iter().map(|run| value(run) / unit));
    let (cold, cold_min, cold_max) = column(|run| run.cold_per_second, 1e6);
    let (warm, warm_min, warm_max) = column(|run| run.warm_per_second, 1e6);
    let (bytes, bytes_min, bytes_max) = column(|run| run.bytes_per_event, 1.0);
    println!(
        "| {name} | {cold:.2} M ({cold_min:.2} to {cold_max:.2}) | {warm:.2} M ({warm_min:.2} to {warm_max:.2}) \
         | {bytes:.0} ({bytes_min:.0} to {bytes_max:.0}) |"
    );
    Ok(())
}

fn print_pause(name: &str, aggregates: usize) -> Result<()> {
    let runs = (0..PROCESSES)
        .map(|_| pause_in_child(name, aggregates))
        .collect::<Result<Vec<_>>>()?;
    let column = |value: fn(&Pause) -> Duration| {
        let (median, least, most) = spread(runs.iter().map(|run| value(run).as_secs_f64() * 1e3));
        format!("{median:.3} ms ({least:.3} to {most:.3})")
    };
    let (longest, running) = (column(|run| run.longest), column(|run| run.longest_running));
    let p9999 = column(|run| run.p9999);
    let (over, over_min, over_max) = spread(runs.iter().map(|run| f64::from(run.over_a_millisecond)));
    let appends = aggregates * 10;
    println!("| {name} | {appends} | {longest} | {running} | {p9999} | {over} ({over_min} to {over_max}) |");
    Ok(())
}
