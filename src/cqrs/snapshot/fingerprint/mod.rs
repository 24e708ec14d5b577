//! A number for the shape of a type, as serde sees it.
//!
//! The type is deserialized from made-up values, again and again, and what it asks for is written down as facts: "at `.lines[].price`: u64".
//! A pass that fails says what the next pass has to do differently: make up another text, leave out a field, take another variant, add a field
//! that is missing. The passes end when nothing is left to explore, or at a bound.

mod entries;
mod error;
mod memory;
mod shape;
mod state;
#[cfg(test)]
mod tests;
mod variants;

use serde::de::DeserializeOwned;

use memory::Memory;
use shape::Shape;

/// The number of passes, at most.
const PASSES: usize = 10_000;

/// A number from 1 to `i32::MAX` for the shape of `T`: the names and the types of its fields and variants, in their order. It is the same in every
/// process, on every machine, and with every compiler.
///
/// Another number means another shape. The same number means the same shape as far as serde shows it. Some types look at the data before they say
/// what they are, and do not show their fields that may be missing: a struct with flattened fields shows none of these, and an enum with a tag
/// and an untagged enum show their number or their types, but not their names. Of a type that accepts none of the made-up values only what it asks
/// for first is known. A type is explored up to 48 levels deep, and inside of itself up to twice.
pub(in crate::cqrs) fn fingerprint<T: DeserializeOwned>() -> u32 {
    let hash = explore::<T>()
        .facts()
        .fold(FNV_OFFSET, |hash, fact| hash_more(hash, fact.as_bytes()));
    let folded = (hash ^ (hash >> 32)) as u32 & i32::MAX.unsigned_abs();
    folded.max(1)
}

fn explore<T: DeserializeOwned>() -> Memory {
    let memory = Memory::default();
    for _ in 0..PASSES {
        memory.begin_pass();
        let traced = T::deserialize(Shape::root(&memory));
        if !memory.end_pass(traced.is_ok()) {
            break;
        }
    }
    memory
}

/// FNV-1a with 64 bits, which is specified: the hashers of the standard library may change with a release of Rust.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// Hashes bytes and their end.
fn hash_more(hash: u64, bytes: &[u8]) -> u64 {
    let end = [0xff];
    bytes
        .iter()
        .chain(&end)
        .fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}
