//! What the toolkit costs: its aggregates, projections, subscriptions, sagas and buses, beside the same written by hand on the store.
//!
//! `cargo bench --bench toolkit`. Each work is done once and its result checked before it is measured.

#[cfg(feature = "audit")]
mod audit;
mod commands;
mod domain;
#[cfg(feature = "erasure")]
mod erasure;
mod fixtures;
mod projections;
mod reactions;
mod rehydration;

use criterion::{Criterion, criterion_group, criterion_main};

#[cfg(not(feature = "audit"))]
mod audit {
    /// Measured with `--features audit` alone.
    pub(crate) fn benches(_: &mut criterion::Criterion) {}
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = rehydration::benches, commands::benches, projections::benches, reactions::benches,
        audit::benches, fixtures::benches
}

#[cfg(feature = "erasure")]
criterion_group! {
    name = erasures;
    config = Criterion::default().without_plots();
    targets = erasure::benches
}

#[cfg(feature = "erasure")]
criterion_main!(benches, erasures);
#[cfg(not(feature = "erasure"))]
criterion_main!(benches);
