//! Annals and other in-memory event stores on the same work, in one run.
//!
//! `cargo bench -p annals-peers`. The work is in `src/work.rs`, the stores are in `src/peers/`, and what to know of them before
//! comparing is in `src/lib.rs`. Making an event from prepared names and a copy of its 128 bytes counts, for every store alike;
//! making and dropping the store does not. A row says elements a second: events, but for `conversation` whole conversations.
//!
//! * `single`: 1,000,000 events, one an append, ten rounds over 100,000 aggregates, each with its expected version.
//! * `batches`: the same number of events, ten an append, ten rounds over 10,000 aggregates.
//! * `hot`: 20,000 events, one an append, all to one aggregate; 2,000 for `cqrs-es`, whose time grows with the square.
//! * `load`: the 100 events of one aggregate of 1,000, as values to keep.
//! * `by-type`: the 50,000 events of one type of 20, out of 1,000,000, in global order, as values to keep.
//!   `annals` answers without its cache; `in place` shows the events without copying them; `cached` was asked before.
//! * `conversation`: the 10 events of one of 100,000 conversations, as values to keep. `naive` looks at every event; `naive,
//!   indexed` has a hash map for it.

use std::time::Duration;

use annals_peers::child;
use annals_peers::peer::{Measure, Peer, Result, Scale};
use annals_peers::peers::{
    Annals, AnnalsCached, AnnalsInPlace, CqrsEs, EventCore, Eventually, Indexed, Naive, Sourcerer,
};
use annals_peers::work::Work;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};

fn main() -> Result<()> {
    if child::answer()? {
        return Ok(());
    }
    let mut criterion = Criterion::default().configure_from_args();
    for work in Work::ALL {
        let mut group = criterion.benchmark_group(work.name());
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2));
        row::<Annals>(&mut group, work);
        row::<AnnalsInPlace>(&mut group, work);
        row::<AnnalsCached>(&mut group, work);
        row::<Naive>(&mut group, work);
        row::<Indexed>(&mut group, work);
        row::<Eventually>(&mut group, work);
        row::<Sourcerer>(&mut group, work);
        row::<EventCore>(&mut group, work);
        row_in_child::<CqrsEs>(&mut group, work);
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}

fn row<P: Peer>(group: &mut BenchmarkGroup<'_, WallTime>, work: Work) {
    if !P::CAN.contains(&work) {
        return;
    }
    // Before criterion guesses from the time that one turn takes how many there should be.
    let mut measure = Measure::<P>::new(Scale::FULL);
    sure(measure.prepare(work));
    group.throughput(Throughput::Elements(measure.elements(work) as u64));
    group.bench_function(P::NAME, |bencher| {
        bencher.iter_custom(|times| sure(measure.time(work, times)));
    });
}

/// For a store that prints: its process has nothing to print to.
fn row_in_child<P: Peer>(group: &mut BenchmarkGroup<'_, WallTime>, work: Work) {
    if !P::CAN.contains(&work) {
        return;
    }
    let elements = Measure::<P>::new(Scale::FULL).elements(work);
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(P::NAME, |bencher| {
        bencher.iter_custom(|times| sure(child::time::<P>(work, times)));
    });
}

#[expect(clippy::panic, reason = "a benchmark whose work fails has no number")]
fn sure<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
