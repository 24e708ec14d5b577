//! The command line, as clap reads it.

mod accepted;
pub(crate) mod audit;
#[cfg(feature = "bench")]
pub(crate) mod bench;
mod csv;
mod filters;
mod folder;
pub(crate) mod foreign;
pub(crate) mod list;
mod man;
pub(crate) mod pattern;
mod place;
pub(crate) mod relay;
pub(crate) mod serve;
mod size;
pub(crate) mod tail;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, Styles};
use clap::error::ErrorKind;
use clap::{Args, ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use self::csv::Csv;
pub(crate) use self::filters::{Filters, Terms};
use self::foreign::Foreign;
pub(crate) use self::man::Man;
use self::place::{in_namespace, store_of_environment};
use self::size::{Size, parse_size};
use crate::load::Location;
use crate::output::Format;
use crate::output::screen::{Colours, Role};
use crate::when::{self, Moment};

const AFTER_HELP: &str = "\
Without a command, annals shows a tour of the log that --store names, or of a generated one.

Exit codes:
  0    success; also when the reader of the output closes it early
  1    failure: a file cannot be read or written, the disk is full, a database
       cannot be reached, another program has the store open
  2    invalid command line
  3    invalid data in a log file, with file, line and reason; a damaged store
  4    not found: a log, a store, an event, an aggregate or a correlation
  5    `annals bench compare`: a figure is worse
  6    `annals bench`: the oracle found a broken rule, or a goal was missed
  7    `annals bench compare`: figures are missing, implausible or unlike
  130  interrupted by Ctrl-C or SIGTERM; a second signal ends the program at
       once, unless a pager is open

Environment:
  ANNALS_STORE    the store, if --store is not given
  ANNALS_TOKEN    the token for a server that --store names; or the file that
                  ANNALS_TOKEN_FILE names has it
  ANNALS_CA_FILE  the authorities, in PEM, that sign the certificate of a server
                  at https:// [default: those of the system]
  ANNALS_PAGER    the pager for answers that are longer than the terminal, with
                  its options; empty for none [default: PAGER, or less -FRX]
  COLUMNS         the width of tables and drawings, if the output is no
                  terminal; without it, nothing is cut
  NO_COLOR        no colors, unless --color always is given
  CLICOLOR_FORCE  colors also if the output is no terminal

Examples:
  annals demo --events 50000 --output demo.jsonl.gz
  annals --store demo.jsonl.gz stats
  annals --store demo.jsonl.gz events --type PaymentFailed --since 2026-01-12
  annals --store demo.jsonl.gz list users --sort last
  annals --store demo.jsonl.gz trends --by week --type InvoicePaid
  annals --store demo.jsonl.gz trace billing-000017
  annals --store file:demo import demo.jsonl.gz";

const LONG_ABOUT: &str = "\
Loads event logs into memory, and queries, traces, counts and draws them.

A log is a file of JSON lines (*.jsonl, *.ndjson), a JSON array (*.json) or CSV (*.csv), plain, gzip or zstd. Each command reads it again, \
and none changes it. Files are written by `demo`, `export`, `import --into`, `audit`, `man --to` and `bench`, and by `archive`, `backup`, \
`repair` and `serve --archive-to`, whose targets must be new. A file that exists is replaced only with --force.

A durable store is a folder, or is in a PostgreSQL database. `annals import --store file:DIR LOG` creates one or appends to it, and so \
does `--store postgres://USER@HOST/DATABASE`; every command reads it with the same --store, or `--store DIR`. Any number of programs \
can read a folder at a time, but not while a program writes it. \
Options follow a `?`, with `&` between them: durability=volatile|written|synced, backlog_bytes=64MiB, when_behind=wait|refuse, \
write_within=20ms, sync_within=1s, retry_for=30s; for a folder segment_bytes=64MiB, compress=lz4|none, preallocate_bytes=1MiB; for \
PostgreSQL schema=annals, partition=month, lease=30s, lease_wait=5s, timeout=30s, and those of libpq, such as sslmode=verify-full. In a path or a \
password, %20 is a space, %3F a question mark and %25 a percent sign. A password is better in PGPASSWORD or ~/.pgpass.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "annals", version, about = "Load, query and draw event logs", long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Whether the answer may go through a pager.
    #[arg(skip)]
    pub(crate) is_paged: bool,
}

impl Cli {
    /// Reads the command line of this process.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let mut program = accepted::hide_others(Self::command())
            .styles(STYLES)
            .color(colours_of(&arguments));
        let matches = program.try_get_matches_from_mut(arguments)?;
        let refused = |text: String| program.clone().error(ErrorKind::ArgumentConflict, text);
        accepted::check(&matches).map_err(refused)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut program))?;
        let is_demo = matches!(&cli.command, Some(Command::Demo(demo)) if !demo.summary);
        cli.is_paged = accepted::is_paged(&matches) && !cli.global.no_pager && !is_demo;
        if cli.global.store.is_none() && accepted::takes_store(&matches) {
            let refused = |text| program.error(ErrorKind::InvalidValue, text);
            cli.global.store = store_of_environment().map_err(refused)?;
        }
        if let Some(name) = &cli.global.namespace {
            let refused = |text| program.error(ErrorKind::InvalidValue, text);
            cli.global.store = Some(in_namespace(cli.global.store.as_ref(), name).map_err(refused)?);
        }
        Ok(cli)
    }

    /// The program as its manual pages describe it.
    pub(crate) fn described() -> clap::Command {
        accepted::hide_others(Self::command())
    }

    /// The program as shells complete it.
    pub(crate) fn completed() -> clap::Command {
        accepted::with_own_options(Self::command())
    }

    /// The format that `--format` asks for.
    pub(crate) fn format(&self) -> Result<Option<Format>, String> {
        let written = self.global.format;
        written
            .map(|written| written.of_answer(self.command.as_ref()))
            .transpose()
    }
}

/// The styles of help texts and of refusals.
const STYLES: Styles = Styles::plain()
    .header(Role::Heading.style())
    .usage(Role::Heading.style())
    .literal(Role::Command.style())
    .placeholder(Role::Secondary.style())
    .error(Role::Error.style())
    .valid(Role::Type.style())
    .invalid(Role::Warning.style());

/// What `--color` says, before the command line is read: refusals have colours too.
fn colours_of(arguments: &[OsString]) -> ColorChoice {
    let texts = arguments.iter().map(|argument| argument.to_str().unwrap_or_default());
    let texts: Vec<&str> = texts.take_while(|text| *text != "--").collect();
    let after = texts
        .windows(2)
        .rev()
        .find(|pair| pair[0] == "--color")
        .map(|pair| pair[1]);
    let within = texts.iter().rev().find_map(|text| text.strip_prefix("--color="));
    match after.or(within) {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// The options that every command line may have; [`accepted`] says which command takes which.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The log to load, or the store to open: a log file, `-` for the standard input (JSON, or --input csv), `memory:` for none; a folder or
    /// `file:DIR?durability=synced`, `postgres://USER@HOST/DATABASE`, `mongodb://HOST/DATABASE` or `nats://HOST/STREAM`, for a durable store; `http://HOST:PORT` or `https://HOST:PORT` for one behind `annals serve`, which is read into memory [default: `ANNALS_STORE` of the environment]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<Location>,
    /// The namespace of the server that --store names [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// An archive of the store (see `annals archive`), a folder or a file: merges its events into the store, which is read-only then; may be
    /// repeated
    #[arg(long, global = true, value_name = "ARCHIVE")]
    pub(crate) attach: Vec<PathBuf>,
    /// The output format [default: table]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Written>,
    /// The time zone of the output, and of dates in filters: an IANA name such as Europe/Amsterdam, or an offset such as
    /// +02:00 [default: UTC]
    #[arg(long, global = true, value_name = "ZONE", value_parser = check_zone, allow_hyphen_values = true)]
    pub(crate) time_zone: Option<String>,
    /// Skip invalid lines of a log file: count them, and show the first ten
    #[arg(long, global = true)]
    pub(crate) skip_bad: bool,
    /// When the output has colors: auto is on a terminal only, unless `NO_COLOR` or `CLICOLOR_FORCE` is set
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Colours,
    /// Write long answers to the terminal as they are, without a pager
    #[arg(long, global = true)]
    pub(crate) no_pager: bool,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
    #[command(flatten)]
    pub(crate) csv: Csv,
}

/// What `--format` can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Written {
    /// For people: tables and drawings, as wide as the terminal
    #[default]
    Table,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values with a header
    Csv,
    /// Of `cdc`: `CloudEvents` 1.0, one a line
    #[value(hide = true)]
    Cloudevents,
    /// Of `cdc`: as Debezium writes changes, one a line
    #[value(hide = true)]
    Debezium,
}

impl Written {
    /// The format of an answer.
    pub(crate) fn of_answer(self, command: Option<&Command>) -> Result<Format, String> {
        match (self, command) {
            (Self::Table, _) => Ok(Format::Table),
            (Self::Json, _) => Ok(Format::Json),
            (Self::Jsonl, _) => Ok(Format::Jsonl),
            (Self::Csv, _) => Ok(Format::Csv),
            (Self::Cloudevents | Self::Debezium, Some(Command::Cdc(cdc)))
                if !cdc.guard.status && !cdc.guard.drop_slot =>
            {
                Ok(Format::Jsonl)
            }
            (Self::Cloudevents | Self::Debezium, _) => {
                Err("--format cloudevents and debezium are for the changes that `annals cdc` writes".to_owned())
            }
        }
    }
}

fn check_zone(name: &str) -> Result<String, String> {
    when::parse_zone(name).map(|_| name.to_owned())
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List events
    Events(Events),
    /// Show the events of one aggregate
    Stream(Stream),
    /// Show one event in full
    Event {
        /// Its id, or its position
        #[arg(value_name = "ID|POSITION", value_parser = NonEmptyStringValueParser::new())]
        event: String,
    },
    /// List events whose data or metadata contain a text, case-insensitive
    Search {
        /// What to look for
        #[arg(value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
        needle: String,
        #[command(flatten)]
        events: Events,
    },
    /// Show the last events, and with --follow those that are appended from then on
    ///
    /// Each event is a line, and is written at once. --follow goes on with a store in PostgreSQL that other programs write, with a file of JSON
    /// lines that grows (from its beginning again when it is truncated), and with a pipe. A store in a folder cannot be followed: while one
    /// program writes it, no other reads it.
    Tail(tail::Tail),
    /// List aggregates, users, types and others, with the number of their events and their last event
    List(list::List),
    /// Show statistics of the whole store, or of the events that match filters
    ///
    /// The JSON is the same for both. It has the names of the library's `Statistics`: `timeZone`, `total`, `first`, `last`, `byHour` (24
    /// numbers), `byDay`, `byType`, `byAggregateType`, `byOrganization`, `byUser` (objects from names to counts), `withoutOrganization`,
    /// `withoutUser`; and `aggregates`, `aggregateTypeCount`, `eventTypeCount`, `correlations`, `correlationsAcrossAggregateTypes`,
    /// `withoutCorrelation`, `users`, `organizations`, `tags`, `days`, `firstDay`, `lastDay`, `payloadBytes`, and `memoryBytes` of the
    /// store. Hours and days are in --time-zone. `annals import` reports the same, and what it imported.
    Stats(Filters),
    /// Draw the number of events over time
    Trends(Trends),
    /// Draw the number of events by weekday and hour
    Heatmap(Filters),
    /// Show a conversation as a tree: what was caused by what
    Trace {
        /// The correlation id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        correlation: String,
    },
    /// Load and check log files, after the log or store of --store, and report statistics; a durable store keeps the events
    ///
    /// Into a durable store (`--store file:DIR` or `postgres://…`), events are appended, and the command ends when all are safe. An event that is
    /// there already is left out: known by its eventId, or, where it has none, by all that it says and by how many events that say the
    /// same are before it in its file. So an import that was interrupted goes on when the same command is run again. An event that happened
    /// before the store's history of its aggregate begins was dropped from it, and is left out as well.
    ///
    /// To a server (`--store http://…`), events are sent in batches, which are stored as a whole or not at all.
    Import(Import),
    /// Write events to a file
    ///
    /// JSON restores every event when it is imported: bytes that would change are hexadecimal digits, in `eventDataHex` and `metadataHex` instead
    /// of `eventData` and `metadata`; a content type other than application/json is in `eventDataType` or `metadataType`. CSV holds UTF-8
    /// alone, without content types, and the command warns of events with other bytes. CSV has every text as it is, to be imported again: a
    /// spreadsheet takes one that begins with =, +, - or @ for a formula. `annals audit trail --format csv` writes a ' before it.
    Export {
        /// The file: *.jsonl, *.json or *.csv, also with .gz or .zst; `-` for the standard output
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
        /// At most this many, 0 for all [default: all]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        filters: Filters,
    },
    /// Serve a store over HTTP: JSON and live tails, for programs in any language
    ///
    /// Without --store the store is in memory and empty, and its events are gone when the command ends. A log file is loaded into memory;
    /// appended events are not written to it. A folder or a database is opened for writing, and created if it does not exist.
    ///
    /// The standard output is one line: the URL, or with --format json an object with `url`, `port`, `pid` and `ephemeral`. It is written once
    /// the server accepts connections. /openapi.json describes the API.
    ///
    /// Ctrl-C or SIGTERM stops it: requests finish, events are synced, and the command says what is durable and exits with 0. A second signal
    /// ends the program at once.
    Serve(serve::Serve),
    /// Move old events out of a durable store, to an archive that can be read like a store or a log, or attached again with --attach
    ///
    /// Of every aggregate the events move that happened before the time, from the first on. Its version stays what it is, and later events
    /// go on from there. The archive is whole and safe on disk before the store lets go of anything; then the store's files get shorter.
    Archive(Archive),
    /// Copy a store in files to a new folder, also while another program writes it
    ///
    /// The backup is a store with the events up to a position, and whole batches of appends. It appears under its name when it is synced and
    /// verified; until then it is in a folder with `.part` behind the name. --until cuts it behind the last batch that ends at or before a position, or
    /// that was recorded up to a time. A batch is one append, or several that were written together: the report says where the backup ends.
    Backup(Backup),
    /// Write the changes of a store in PostgreSQL as they are committed: one line of JSON each, at least once, in order
    ///
    /// Reads the inserts of the table by logical decoding, which needs a server with `wal_level = logical` and a role with REPLICATION. Written
    /// changes are acknowledged, and the next run resumes after them. --format is json, cloudevents (`CloudEvents` 1.0) or debezium (as Debezium
    /// writes changes), with one object a line. While no reader is active, the server retains its log for the slot. As JSON,
    /// data and metadata that are not UTF-8 are hexadecimal digits, in `eventDataHex` and `metadataHex`.
    Cdc(Cdc),
    /// Publish the events of a durable store to webhooks, Redis, NATS and RabbitMQ, as a file says: at least once, in order per aggregate
    ///
    /// Each relay keeps its checkpoint and its dead letters in the store, which is opened for writing, and resumes there in the next run. While a target
    /// is unavailable, its relay tries again; a message that the target does not take becomes a dead letter. The command runs until Ctrl-C or
    /// SIGTERM, or with --once until all existing events are published, and reports the position of each relay.
    /// docs/relays.md describes the file, what each target guarantees, and what a consumer must do.
    Relay(relay::Relay),
    /// Answer questions about a store to a program that speaks the Model Context Protocol, over the standard input and output
    ///
    /// The tools are `stats`, `list`, `events`, `search`, `stream`, `event`, `trace`, `trends`, `heatmap` and `explain`: the commands of these names, with
    /// their options and their JSON; at most 256 KiB an answer. None writes. A store in files is read into memory, and read again when its
    /// files have changed; it is not locked meanwhile, so other programs can write to it. The server ends with its standard input.
    Mcp,
    /// Show who did what, and make and check evidence that the log was not changed
    ///
    /// `key` makes a key, `head` signs what the log is now, and `verify` checks later, with the public key, that it still is. The program takes keys from
    /// files that their owner alone can read, never from the command line.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Measure backends under the same load, and check what each has stored
    #[cfg(feature = "bench")]
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Check every byte of a store in files, and list what is damaged; nothing is written to it
    Verify {
        /// The folder of the store, which must not be open anywhere [default: that of --store]
        #[arg(value_name = "DIR", value_parser = folder::parser())]
        folder: Option<PathBuf>,
    },
    /// Save the readable events of a damaged store to a new store; the damaged one is not changed
    Repair {
        /// The folder of the store, which must not be open anywhere [default: that of --store]
        #[arg(value_name = "DIR", value_parser = folder::parser())]
        folder: Option<PathBuf>,
        /// The folder of the new store, which must be empty or not exist
        #[arg(long, value_name = "NEW", value_parser = folder::parser())]
        to: PathBuf,
    },
    /// Generate the log of a cloud provider's billing
    Demo(Demo),
    /// Write the completions of a shell to the standard output
    ///
    /// For bash: `annals completions bash > ~/.local/share/bash-completion/completions/annals`. For zsh: to a file `_annals` in a folder of
    /// `$fpath`. For fish: to `~/.config/fish/completions/annals.fish`. PowerShell and Elvish: to a file that their profile reads.
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual page to the standard output, or a page for each command to a folder
    ///
    /// `annals man | man -l -` shows the page. `annals man --to ~/.local/share/man/man1` installs all of them, so that `man annals-events` finds one.
    Man(Man),
}

/// Which changes, and what of their slot.
#[derive(Debug, Args)]
pub(crate) struct Cdc {
    /// The replication slot, one for each reader in the whole server: lower-case letters, digits and `_`
    #[arg(long, default_value = "annals", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: String,
    /// Start a new slot with the next new event, not with the first event
    #[arg(long, conflicts_with_all = ["status", "drop_slot"])]
    pub(crate) new_only: bool,
    /// Exit when all existing events are written
    #[arg(long, conflicts_with_all = ["status", "drop_slot"])]
    pub(crate) once: bool,
    /// Warn when the server retains more log than this for the slot
    #[arg(long, default_value = "1GiB", value_name = "BYTES", value_parser = parse_size, conflicts_with_all = ["status", "drop_slot"])]
    pub(crate) warn_lag: Size,
    #[command(flatten)]
    pub(crate) guard: Guard,
}

/// What is done about a slot instead of reading it.
#[derive(Debug, Args)]
pub(crate) struct Guard {
    /// Write no changes; show the position and lag of the slot
    #[arg(long, conflicts_with = "drop_slot")]
    pub(crate) status: bool,
    /// Write no changes; drop the slot, so that the server retains no log for it. No event is lost
    #[arg(long)]
    pub(crate) drop_slot: bool,
}

/// What is imported, and how.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write everything that was loaded to this file too: *.jsonl, *.json or *.csv, also with .gz or .zst
    #[arg(long, value_name = "FILE")]
    pub(crate) into: Option<PathBuf>,
    /// Replace the file of --into if it exists
    #[arg(long, requires = "into")]
    pub(crate) force: bool,
    /// Also import events that the durable store has dropped: archived, truncated, deleted, or past a limit or a budget
    #[arg(long)]
    pub(crate) include_dropped: bool,
}

/// What `archive` moves.
#[derive(Debug, Args)]
pub(crate) struct Archive {
    /// What happened before: a time, a date, or how long ago by the clock of this machine: 90s, 15m, 3h, 2d, 1w (a day is 24 hours)
    #[arg(long, value_name = "TIME", value_parser = NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
    pub(crate) before: String,
    /// The target: a folder that is empty or does not exist, or a new file *.jsonl, also with .gz or .zst
    #[arg(long, value_name = "DIR|FILE", value_parser = folder::parser())]
    pub(crate) to: PathBuf,
}

/// What `backup` copies.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The new folder, which must not exist
    #[arg(long, value_name = "DIR", value_parser = folder::parser())]
    pub(crate) to: PathBuf,
    /// Where the backup ends, at the latest: a position, or a time, a date or how long ago, such as 2d [default: the end of the store]
    #[arg(long, value_name = "POSITION|TIME", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub(crate) until: Option<Moment>,
}

/// What `demo` makes up.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many events
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) events: u64,
    /// The same seed and number give the same log, to the byte
    #[arg(long, default_value_t = 42, value_name = "S")]
    pub(crate) seed: u64,
    /// Where to: *.jsonl, *.json or *.csv, also with .gz or .zst; `-` for the standard output
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace the file if it exists
    #[arg(long, conflicts_with = "summary")]
    pub(crate) force: bool,
    /// Write nothing, but load the log into memory and give a tour of it
    #[arg(long, conflicts_with = "output")]
    pub(crate) summary: bool,
}

/// Which events, and how many of them.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// In which order
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    pub(crate) order: By,
    /// The last first
    #[arg(long, aliases = ["reverse", "backwards"])]
    pub(crate) descending: bool,
    /// At most this many, 0 for all [default: 50 in a table, all in other formats]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Go on where the page before ended
    #[arg(long, value_name = "CURSOR", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) cursor: Option<String>,
    /// Do not list events, but report how all that match are found, and how many they are
    #[arg(long, conflicts_with_all = ["limit", "cursor"])]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) filters: Filters,
}

/// What events are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Their place in the log
    #[default]
    Position,
    /// When they happened
    Time,
}

/// Which events of an aggregate.
#[derive(Debug, Args)]
pub(crate) struct Stream {
    /// The aggregate's id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,
    /// From this version on; with --descending, down from it
    #[arg(long, value_name = "VERSION")]
    pub(crate) from: Option<u64>,
    /// The last first
    #[arg(long, aliases = ["backwards", "reverse"])]
    pub(crate) descending: bool,
    /// At most this many, 0 for all [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// As the log was: up to a position, or what was recorded up to a time
    #[arg(long, value_name = "POSITION|TIME", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub(crate) as_of: Option<Moment>,
}

/// Which trend.
#[derive(Debug, Args)]
pub(crate) struct Trends {
    /// How long a row is
    #[arg(long, value_enum, default_value_t, value_name = "LENGTH")]
    pub(crate) by: Length,
    /// Show rows in which nothing happened too
    #[arg(long)]
    pub(crate) fill: bool,
    #[command(flatten)]
    pub(crate) filters: Filters,
}

/// How long a row of a trend is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Length {
    /// By the time between the first event and the last: an hour up to a day, a day up to 92, a week up to 130, a month up to 20 years, else a year
    #[default]
    Auto,
    /// An hour
    Hour,
    /// A day
    Day,
    /// A week, from Monday
    Week,
    /// A month
    Month,
    /// A year
    Year,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
