//! Says which tests a run without all features leaves out: cargo passes over them without a word.

#![expect(clippy::print_stdout, reason = "saying it is what it is for")]

fn main() {
    if cfg!(not(all(feature = "testing", feature = "file", feature = "postgres"))) {
        println!(
            "left out for want of features: the tests `it`, `kill` and `postgres`; `cargo test --all-features` runs them"
        );
    }
}
