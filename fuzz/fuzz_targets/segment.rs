//! Any bytes as the only segment, with a header that is right or without.
#![no_main]

mod damaged;
mod seal;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let bare = vec![(damaged::segment_name(1), input.to_vec())];
    damaged::check(&bare);
    let mut headed = seal::segment_header(1);
    headed.extend_from_slice(input);
    damaged::check(&vec![(damaged::segment_name(1), headed)]);
});
