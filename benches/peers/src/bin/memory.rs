//! Prints what only fresh processes can tell: memory for each event, cold appends, and the longest append.
//!
//! `cargo run --release -p annals-peers --bin memory`. It takes about two minutes and five gigabytes.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use annals_peers::child::{answer, fresh_in_child, pause_in_child};
use annals_peers::peer::{Fresh, Peer, Result};
use annals_peers::peers::{Annals, CqrsEs, EventCore, Eventually, Indexed, Naive, Sourcerer};

/// Processes for each row.
const PROCESSES: usize = 5;

fn main() -> Result<()> {
    if answer()? {
        return Ok(());
    }
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
    for name in names {
        print_fresh(name)?;
    }
    println!(
        "\nThe longest of single appends, in one process; without the time in which another process had the processor\n"
    );
    println!("| store | appends | longest | without waiting | longer than 1 ms |");
    println!("|---|---|---|---|---|");
    for (name, aggregates) in [
        (Annals::NAME, 1_000_000),
        (Annals::NAME, 100_000),
        (Naive::NAME, 100_000),
    ] {
        print_pause(name, aggregates)?;
    }
    Ok(())
}

fn print_fresh(name: &str) -> Result<()> {
    let runs = (0..PROCESSES)
        .map(|_| fresh_in_child(name))
        .collect::<Result<Vec<_>>>()?;
    let column = |value: fn(&Fresh) -> f64, unit: f64| {
        let mut values: Vec<_> = runs.iter().map(|run| value(run) / unit).collect();
        values.sort_by(f64::total_cmp);
        (values[PROCESSES / 2], values[0], values[PROCESSES - 1])
    };
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
    let pause = pause_in_child(name, aggregates)?;
    let (longest, running) = (
        pause.longest.as_secs_f64() * 1e3,
        pause.longest_running.as_secs_f64() * 1e3,
    );
    let appends = aggregates * 10;
    println!(
        "| {name} | {appends} | {longest:.1} ms | {running:.1} ms | {} |",
        pause.over_a_millisecond
    );
    Ok(())
}
