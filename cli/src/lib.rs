//! The program `annals` as a library: so that its readers can be tested and fuzzed.

mod args;
pub mod demo;
mod exit;
mod interrupt;
pub mod load;
mod output;
mod when;
