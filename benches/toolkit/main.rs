//! What the toolkit costs: its aggregates, projections, subscriptions, sagas and buses, beside the same written by hand on the store.
//!
//! `cargo bench --bench toolkit`. Each work is done once and its result checked before it is measured.

mod commands;
mod domain;
mod projections;
mod reactions;
mod rehydration;

use criterion::{Criterion, criterion_group, criterion_main};

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = rehydration::benches, commands::benches, projections::benches, reactions::benches
}
criterion_main!(benches);
