//! What `tail` shows.

use clap::Args;

use super::Filters;

/// Which events, and whether it goes on.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Show at most this many of the events that there are, 0 for none; of a pipe that is followed, every event is new
    #[arg(long, short = 'n', default_value_t = 10, value_name = "N")]
    pub(crate) lines: usize,
    /// Go on with events as they are appended, until Ctrl-C (exit code 130) or the end of a pipe (0)
    #[arg(long, short, conflicts_with_all = ["before", "until", "as_of"])]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) filters: Filters,
}
