//! Where `man` writes.

use std::path::PathBuf;

use clap::Args;

/// Where manual pages are written.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write a page for each command to this folder, created if it does not exist, but not its parents
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Replace pages that exist
    #[arg(long, requires = "to")]
    pub(crate) force: bool,
}
