//! No acknowledged event is lost in seeded crashes under several threads, and recorded histories are linearizable.
//!
//! ```console
//! ANNALS_SEEDS=10000 cargo test --release --all-features --test it crash_threads     # many
//! ANNALS_SEED=4711 cargo test --all-features --test it crash_threads                 # the choices of one, again
//! ```
//!
//! A seed repeats the choices, not the interleaving of the threads: a failure prints the history.

use annals::testing::crash_threads;
use annals::testing::disk::Lie;
use annals::testing::history::Outcome;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn histories_of_threads_survive_every_crash() {
    let seeds = match number("ANNALS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ANNALS_SEEDS").unwrap_or(200),
    };
    for seed in seeds {
        if let Err(fault) = crash_threads::run(seed, &[]) {
            panic!("{fault}");
        }
    }
}

/// A check that cannot fail proves nothing: a disk that does not sync stands for a journal that forgets to.
#[test]
fn a_journal_that_does_not_sync_is_found_out_by_threads() {
    let mut faults = (0..400).filter_map(|seed| crash_threads::run(seed, &[Lie::Sync]).err());
    assert!(
        faults.any(|fault| fault.contains("an acknowledged event is lost")),
        "nothing is lost"
    );
}

/// A disk whose syncs do not return stands for a store that waits for what never comes.
#[test]
fn a_run_that_hung_was_no_failure() {
    let limit = std::time::Duration::from_secs(1);
    // Some seeds lose the power before, and some sync so late that only the end of the store waits.
    let faults = (0..20).filter_map(|seed| crash_threads::run_within(seed, &[Lie::Return], limit).err());
    let hang = faults.into_iter().find(|fault| fault.contains("has not returned"));
    let hang = hang.expect("some call waits for the ninth sync");
    assert!(hang.contains("the run has not ended after 1s"), "{hang}");
}

/// Conflicts, refusals, doubts and drops all occur, or the histories would show nothing.
#[test]
fn histories_have_every_outcome() {
    let mut counts = [0; 5];
    for seed in 0..20 {
        let history = crash_threads::run(seed, &[]).expect("the history is correct");
        for operation in history.operations {
            match operation.outcome {
                Outcome::Appended(_) => counts[0] += 1,
                Outcome::Dropped(_) => counts[1] += 1,
                Outcome::Conflict(_) => counts[2] += 1,
                Outcome::InDoubt(_) => counts[3] += 1,
                Outcome::Read(seen) if !seen.is_empty() => counts[4] += 1,
                Outcome::Read(_) | Outcome::Refused(_) | Outcome::Done | _ => {}
            }
        }
    }
    assert!(
        counts.iter().all(|count| *count > 0),
        "some outcome never occurs: {counts:?}"
    );
}
