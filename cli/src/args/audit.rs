//! The command line of `annals audit`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

/// What is done about the audit of a store.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Write who did what and when: events, commands with their outcome, and changes of aggregates, ascending by position
    ///
    /// All filters must hold. A gap in the log is a line of its own. In CSV, a text that a spreadsheet would take for a formula gets a `'` before it.
    Trail(Trail),
    /// Make a key that signs heads; its public key is written to the standard output
    Key {
        /// The new file, which its owner alone can read
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Hash every event of a durable store, and sign the result: keep it out of reach of those who can change the store
    Head(Head),
    /// Check that every event is what it was when a head was signed, that none is missing and none was added
    ///
    /// Exits with 3 and says between which positions the log was changed. Events after the head are not covered by it.
    Verify(Verify),
    /// Sign that events may be missing: of an archive, or up to a position that is about to be dropped
    Anchor(Anchor),
}

/// Which events and commands, and where to.
#[derive(Debug, Args)]
pub(crate) struct Trail {
    /// Of, to and about this aggregate
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) aggregate: Option<String>,
    /// What this user did
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: Option<String>,
    /// What belongs to this conversation
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) correlation: Option<String>,
    /// What happened then or later: a time, a date, or how long ago by the clock of this machine: 90s, 15m, 3h, 2d, 1w (a day is 24 hours)
    #[arg(long, value_name = "TIME", value_parser = NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// What happened before: as --since
    #[arg(long, value_name = "TIME", value_parser = NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
    pub(crate) before: Option<String>,
    #[command(flatten)]
    pub(crate) to: To,
}

/// The file that is written.
#[derive(Debug, Args)]
pub(crate) struct To {
    /// The file; `-` for the standard output
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// What is signed.
#[derive(Debug, Args)]
pub(crate) struct Head {
    /// The file of the key that signs (see `annals audit key`)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// An earlier head of this key: reads only what is after it
    #[arg(long, value_name = "HEAD")]
    pub(crate) since: Option<PathBuf>,
    /// An anchor of events that are missing; may be repeated
    #[arg(long, value_name = "ANCHOR")]
    pub(crate) anchor: Vec<PathBuf>,
    /// Sign what is left of a store that has dropped events before: the first head of such a store
    #[arg(long, conflicts_with_all = ["since", "anchor"])]
    pub(crate) accept_gaps: bool,
    #[command(flatten)]
    pub(crate) to: To,
}

/// What is verified.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The signed head
    #[arg(long, value_name = "HEAD")]
    pub(crate) head: PathBuf,
    /// The public key of the signer, or a file with it
    #[arg(long, value_name = "HEX|FILE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) public_key: String,
    /// An earlier head that was verified before: reads only what is after it
    #[arg(long, value_name = "HEAD")]
    pub(crate) since: Option<PathBuf>,
    /// An anchor of events that are missing; may be repeated
    #[arg(long, value_name = "ANCHOR")]
    pub(crate) anchor: Vec<PathBuf>,
}

/// What may be missing.
#[derive(Debug, Args)]
pub(crate) struct Anchor {
    /// The file of the key that signs
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// A head of the store
    #[arg(long, value_name = "HEAD")]
    pub(crate) head: PathBuf,
    /// All events up to this position; otherwise all events of --store, which is an archive
    #[arg(long, value_name = "POSITION")]
    pub(crate) up_to: Option<u64>,
    /// An earlier anchor of the store, with --up-to; may be repeated
    #[arg(long = "anchor", value_name = "ANCHOR", requires = "up_to")]
    pub(crate) earlier: Vec<PathBuf>,
    /// Why they are missing
    #[arg(long, default_value = "archived", value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) to: To,
}
