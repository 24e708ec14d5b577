//! Says which tests a run without all features leaves out: cargo passes over them without a word.

#![expect(clippy::print_stdout, reason = "saying it is what it is for")]

fn main() {
    // The program has the journals' features switched on for the library as well; this one it has not.
    if cfg!(not(feature = "testing")) {
        println!(
            "left out for want of the feature `testing`: `it`, `kill`, and `postgres`, which needs a server; \
             `cargo test --all-features` runs them"
        );
    }
}
