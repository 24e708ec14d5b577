//! The hash chain over the log, beside blake3 alone over the same bytes.

use std::hint::black_box;

use annals::cqrs::audit::{AuditChain, AuditKey, ChainEntry, Verify};
use annals::{Expected, NewEvent, Store, StreamId};
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::domain::sure;

const EVENTS: u64 = 500_000;

pub(crate) fn benches(criterion: &mut Criterion) {
    let store = filled();
    let buffers = bytes_of(&store);
    let key = AuditKey::from_bytes([7; 32]);
    let head = sure(AuditChain::of(&store)).head(&key, store.now());
    let public = key.public();
    assert_eq!((head.tip.count, buffers.len() as u64), (EVENTS, EVENTS));
    let bytes: usize = buffers.iter().map(Vec::len).sum();
    let mut group = criterion.benchmark_group("hash chain");
    group.sample_size(10).throughput(Throughput::Elements(EVENTS));
    let id = |name: &'static str| BenchmarkId::new(name, format!("{} B", bytes as u64 / EVENTS));
    group.bench_function(id("make"), |bencher| {
        bencher.iter(|| black_box(sure(AuditChain::of(&store)).count()));
    });
    group.bench_function(id("verify"), |bencher| {
        bencher.iter(|| black_box(sure(Verify::new(&head, &public).run(&store)).count));
    });
    group.bench_function(id("blake3 alone, an event at a time"), |bencher| {
        let hash = |bytes: &Vec<u8>| {
            black_box(blake3::hash(bytes));
        };
        bencher.iter(|| buffers.iter().for_each(hash));
    });
    let whole = buffers.concat();
    group.bench_function(id("blake3 alone, all at once"), |bencher| {
        bencher.iter(|| black_box(blake3::hash(&whole)));
    });
}

/// Orders with the names and the amount of data that the other benchmarks have.
fn filled() -> Store {
    let store = Store::in_memory();
    for chunk in 0..EVENTS / 1_000 {
        let stream = StreamId::new("Order", format!("order-{}", chunk % 100));
        let event = |number: u64| {
            NewEvent::new("OrderPaid")
                .data(format!(r#"{{"amount":{number},"reference":"RF18539007547034"}}"#))
                .user("user-17")
                .correlation(format!("checkout-{number}"))
        };
        let events: Vec<_> = (0..1_000).map(|place| event(chunk * 1_000 + place)).collect();
        sure(store.append(&stream, Expected::Any, events));
    }
    store
}

/// As many bytes for each event as the chain hashes.
fn bytes_of(store: &Store) -> Vec<Vec<u8>> {
    let mut buffers = Vec::new();
    store.read_all().include_system().for_each(|event| {
        let entry = ChainEntry::from(event);
        let texts = [entry.aggregate_type, entry.aggregate_id, entry.event_type];
        let names = [entry.user_id, entry.correlation_id].into_iter().flatten();
        // The numbers, the types of data and metadata, and ten lengths.
        let mut bytes = vec![0; 56 + 2 + 10 * 4];
        texts
            .into_iter()
            .chain(names)
            .for_each(|text| bytes.extend_from_slice(text.as_bytes()));
        bytes.extend_from_slice(entry.data);
        buffers.push(bytes);
    });
    buffers
}
