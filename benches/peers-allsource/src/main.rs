//! `allsource-core` 0.27.0 and Annals on the work of `benches/peers`, in one process.
//!
//! `cargo run --release --manifest-path benches/peers-allsource/Cargo.toml`. What is measured is in `benches/peers/src/work.rs`;
//! what to know of `allsource-core` before comparing is at [`AllSource`].

mod store;

use annals_peers::peer::{Measure, Peer, Result, Scale};
use annals_peers::peers::{Annals, Naive};
use annals_peers::work::{Batch, Content, TYPES, Work, interleaved};
use futures_executor::block_on;

use crate::store::AllSource;

/// Measurements for each figure, which is their median.
const MEASUREMENTS: usize = 5;

fn main() -> Result<()> {
    check()?;
    println!("Nanoseconds for each event, median of {MEASUREMENTS}\n");
    println!("| work | {} | {} | {} |", Annals::NAME, Naive::NAME, AllSource::NAME);
    println!("|---|---|---|---|");
    for work in AllSource::CAN.iter().copied() {
        let (annals, naive, other) = (
            nanoseconds::<Annals>(work)?,
            nanoseconds::<Naive>(work)?,
            nanoseconds::<AllSource>(work)?,
        );
        println!("| {} | {annals:.0} | {naive:.0} | {other:.0} |", work.name());
    }
    Ok(())
}

/// Fails if the store does not do the work that is measured.
fn check() -> Result<()> {
    let content = Content::new(10, 1_000);
    let mut store = AllSource::empty();
    for batch in interleaved(10, 10, 10) {
        block_on(store.append(&content, &batch))?;
    }
    let loaded = block_on(store.load(content.aggregate(3)))?;
    let expected = (0..1_000).filter(|number| content.facts(*number).event_type == TYPES[5]);
    let (found, expected) = (store.by_type(TYPES[5])?, expected.count());
    let next = Batch {
        aggregate: 3,
        version: 100,
        first: 0,
        count: 1,
    };
    let accepts_stale = block_on(store.append(&content, &Batch { version: 50, ..next })).is_ok();
    block_on(store.append(&content, &next))?;
    if loaded != 100 || found != expected || accepts_stale {
        return Err(format!(
            "loaded {loaded} of 100, found {found} of {expected}, accepts a stale version: {accepts_stale}"
        )
        .into());
    }
    Ok(())
}

/// Repetitions in one measurement: more of the reads, which are short.
fn repetitions(work: Work) -> u32 {
    match work {
        Work::Load => 2_000,
        Work::ByType => 5,
        Work::Single | Work::Batches | Work::Hot | Work::Conversation => 1,
    }
}

fn nanoseconds<P: Peer>(work: Work) -> Result<f64> {
    let mut measure = Measure::<P>::new(Scale::FULL);
    measure.prepare(work)?;
    let mut times = Vec::with_capacity(MEASUREMENTS);
    for _ in 0..MEASUREMENTS {
        times.push(measure.time(work, repetitions(work).into())?);
    }
    times.sort_unstable();
    let events = f64::from(repetitions(work)) * f64::from(u32::try_from(measure.elements(work))?);
    Ok(times[MEASUREMENTS / 2].as_secs_f64() * 1e9 / events)
}
