//! No acknowledged event is lost in seeded crashes: a thousand in the test, any number by a command.
//!
//! ```console
//! ANNALS_SEEDS=1000000 cargo test --release --all-features --test it crash     # many
//! ANNALS_SEED=4711 cargo test --all-features --test it crash                   # one, again
//! ```

use annals::testing::crash;
use annals::testing::disk::Lie;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let seeds = match number("ANNALS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ANNALS_SEEDS").unwrap_or(1000),
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| crash::run(seed, &[]));
        assert!(run.is_ok(), "seed {seed}: set ANNALS_SEED={seed} to see it again");
    }
}

/// A check that cannot fail proves nothing: a disk that does not sync stands for a journal that forgets to.
#[test]
fn a_journal_that_does_not_sync_or_cut_is_found_out() {
    for lie in [Lie::Sync, Lie::SyncNames, Lie::Cut] {
        let found = (0..400).find(|seed| std::panic::catch_unwind(|| crash::run(*seed, &[lie])).is_err());
        assert!(found.is_some(), "{lie:?} was not found out");
    }
}

#[test]
fn a_seed_repeats_itself() {
    for seed in [3, 77] {
        assert_eq!(crash::run(seed, &[]), crash::run(seed, &[]));
    }
}
