//! Any bytes as operations on a store and its model, which must agree.
#![no_main]

use annals::testing::operation::{Choices, Pair};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((shards, bytes)) = bytes.split_first() else {
        return;
    };
    let mut pair = Pair::new(1 << (shards % 5));
    let mut numbers = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    while numbers.len() > 0 {
        pair.step(&mut Choices::new(numbers.by_ref()));
    }
    pair.check_all();
});
