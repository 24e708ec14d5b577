//! Output: its target, its format, and writers of events and records.

pub(crate) mod draw;
#[cfg(feature = "postgres")]
pub(crate) mod envelope;
pub(crate) mod events;
pub(crate) mod pager;
pub(crate) mod payload;
pub(crate) mod records;
pub(crate) mod screen;
pub(crate) mod sections;
pub(crate) mod sink;
pub(crate) mod table;
pub(crate) mod target;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod wire;

use std::io::{self, Write};

use annals::Timestamp;
use jiff::tz::TimeZone;

use crate::exit::Outcome;
use crate::output::screen::{Role, Screen};
use crate::when::Times;

/// The format of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: tables and drawings, as wide as the screen.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
}

impl Format {
    /// Its name in `--format`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }
}

/// The target of the output.
pub(crate) struct Out<'a> {
    pub(crate) stdout: &'a mut dyn Write,
    pub(crate) stderr: &'a mut dyn Write,
    pub(crate) format: Format,
    pub(crate) zone: TimeZone,
    /// The start of the command, to which relative times refer.
    pub(crate) now: Timestamp,
    pub(crate) screen: Screen,
    /// The screen of standard error.
    pub(crate) messages: Screen,
    /// Whether hints are written to standard output, because a pager hides standard error.
    pub(crate) has_hints: bool,
}

impl Out<'_> {
    /// Writes one line for people.
    pub(crate) fn line(&mut self, text: &str) -> Outcome {
        Ok(writeln!(self.stdout, "{text}")?)
    }

    /// Writes one line to standard error, or to standard output while a pager hides standard error.
    pub(crate) fn hint(&mut self, text: &str) -> io::Result<()> {
        if self.has_hints {
            return writeln!(self.stdout, "{text}");
        }
        // Earlier output comes first if both streams are the same terminal.
        self.stdout.flush()?;
        writeln!(self.stderr, "{text}")
    }

    /// Writes a warning as a [hint](Self::hint).
    pub(crate) fn warn(&mut self, text: &str) -> io::Result<()> {
        let label = self.messages.paint(Role::Warning, "warning:");
        self.hint(&format!("{label} {text}"))
    }

    /// Writes the heading of a section, after an empty line.
    pub(crate) fn heading(&mut self, text: &str) -> Outcome {
        self.line("")?;
        self.line(&self.screen.paint(Role::Heading, text))
    }

    /// Writes a line of secondary text.
    pub(crate) fn note(&mut self, text: &str) -> Outcome {
        self.line(&self.screen.paint(Role::Secondary, text))
    }

    /// The name of the time zone.
    pub(crate) fn zone_name(&self) -> String {
        self.zone.iana_name().map_or_else(
            || self.zone.to_offset(jiff::Timestamp::UNIX_EPOCH).to_string(),
            str::to_owned,
        )
    }

    /// The time to which relative times of the command line refer.
    pub(crate) fn times(&self) -> Times<'_> {
        Times {
            zone: &self.zone,
            now: self.now,
        }
    }

    pub(crate) fn is_table(&self) -> bool {
        self.format == Format::Table
    }
}
