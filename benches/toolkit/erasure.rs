//! Encryption of one field: the codec beside the cipher alone, and beside the codec without it.

use annals::Store;
use annals::cqrs::erasure::{KeyFile, MemoryKeys, Personal, Protected, Subject, Vault};
use annals::cqrs::{Codec, Json, NewEventId};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use criterion::{Criterion, Throughput};
use uuid::Uuid;

use crate::domain::{AccountEvent, Movement, sure};

const NEW: NewEventId<'static> = NewEventId {
    id: Uuid::from_u128(7),
    aggregate_id: "account-1",
};

pub(crate) fn benches(criterion: &mut Criterion) {
    let store = Store::in_memory();
    let personal = Personal::new().event("Deposited", Subject::aggregate(), ["/reference"]);
    let folder = std::env::temp_dir().join(format!("annals-bench-keys-{}", std::process::id()));
    let memory = Protected::new(&sure(Vault::open(&store, MemoryKeys::new())), personal.clone());
    let file = Protected::new(&sure(Vault::open(&store, sure(KeyFile::create(&folder)))), personal);
    let event = AccountEvent::Deposited(Movement::of(5));
    let mut group = criterion.benchmark_group("an event with one personal field of 18 bytes");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode, plain", |bencher| bencher.iter(|| sure(Json.encode(&event))));
    for (name, codec) in [("encode, keys in memory", &memory), ("encode, keys in a file", &file)] {
        group.bench_function(name, |bencher| bencher.iter(|| sure(codec.encode_new(&event, NEW))));
    }
    for (name, codec) in [("decode, keys in memory", &memory), ("decode, keys in a file", &file)] {
        let encoded = sure(codec.encode_new(&event, NEW));
        let decode = || sure(codec.decode_of::<AccountEvent>("Deposited", &encoded.data, NEW.id));
        assert_eq!(decode(), event);
        group.bench_function(name, |bencher| bencher.iter(decode));
    }
    let plain = sure(Json.encode(&event)).data;
    let decode = || sure(Json.decode::<AccountEvent>("Deposited", &plain));
    group.bench_function("decode, plain", |bencher| bencher.iter(decode));
    let decode = || sure(memory.decode_of::<AccountEvent>("Deposited", &plain, NEW.id));
    group.bench_function("decode, plain data with the codec", |bencher| bencher.iter(decode));
    cipher(&mut group);
    group.finish();
    sure(std::fs::remove_file(&folder));
}

/// The cipher alone, with associated data of the same length.
fn cipher(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    let (key, nonce) = ([7; 32], XNonce::from([9; 24]));
    let (text, associated) = ("\"2026-01-31/0004711\"", [0; 85]);
    let payload = |msg| Payload { msg, aad: &associated };
    let seal = || sure(XChaCha20Poly1305::new(&key.into()).encrypt(&nonce, payload(text.as_bytes())));
    let sealed = seal();
    let open = || sure(XChaCha20Poly1305::new(&key.into()).decrypt(&nonce, payload(&sealed)));
    assert_eq!(open(), text.as_bytes());
    group.bench_function("the cipher alone, encrypt", |bencher| bencher.iter(seal));
    group.bench_function("the cipher alone, decrypt", |bencher| bencher.iter(open));
}
