//! Of `relay`: which relays, and how long.

use std::path::PathBuf;

use clap::Args;

/// Which relays run, and how long.
#[derive(Debug, Args)]
pub(crate) struct Relay {
    /// The file with the relays and their targets, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Exit when all existing events are published; fail if a relay stops
    #[arg(long)]
    pub(crate) once: bool,
    /// Publish the dead letters again first
    #[arg(long)]
    pub(crate) replay_letters: bool,
    /// Publish nothing; check the file, and the files and variables that it names
    #[arg(long, conflicts_with_all = ["once", "replay_letters"])]
    pub(crate) check: bool,
}
