//! The harness, proved: its times on a virtual clock, and its oracle against backends that cheat.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cheats;
mod clocks;
mod compared;
mod expired;
mod followed;
mod reported;
mod runs;
mod simulated;
mod stopped;
mod traced;
