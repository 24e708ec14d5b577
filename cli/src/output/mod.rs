//! Output: where it goes, in which format, and events and records written in each.

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

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: tables and drawings, as wide as the screen.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
}

impl Format {
    /// What `--format` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }
}

/// Where answers go.
pub(crate) struct Out<'a> {
    pub(crate) stdout: &'a mut dyn Write,
    pub(crate) stderr: &'a mut dyn Write,
    pub(crate) format: Format,
    pub(crate) zone: TimeZone,
    /// When the command began: times ago are relative to it.
    pub(crate) now: Timestamp,
    pub(crate) screen: Screen,
    /// The screen of the standard error.
    pub(crate) messages: Screen,
    /// Whether hints are written where the answer is: a pager hides the standard error.
    pub(crate) has_hints: bool,
}

impl Out<'_> {
    /// Writes one line for people.
    pub(crate) fn line(&mut self, text: &str) -> Outcome {
        Ok(writeln!(self.stdout, "{text}")?)
    }

    /// Writes one line beside the answer.
    pub(crate) fn hint(&mut self, text: &str) -> io::Result<()> {
        if self.has_hints {
            return writeln!(self.stdout, "{text}");
        }
        // What has been answered comes first, where both go to one terminal.
        self.stdout.flush()?;
        writeln!(self.stderr, "{text}")
    }

    /// Writes a warning beside the answer.
    pub(crate) fn warn(&mut self, text: &str) -> io::Result<()> {
        let label = self.messages.paint(Role::Warning, "warning:");
        self.hint(&format!("{label} {text}"))
    }

    /// Writes a heading of a part of the answer, after an empty line.
    pub(crate) fn heading(&mut self, text: &str) -> Outcome {
        self.line("")?;
        self.line(&self.screen.paint(Role::Heading, text))
    }

    /// Writes a line that is read last.
    pub(crate) fn note(&mut self, text: &str) -> Outcome {
        self.line(&self.screen.paint(Role::Secondary, text))
    }

    /// What the time zone is called.
    pub(crate) fn zone_name(&self) -> String {
        self.zone.iana_name().map_or_else(
            || self.zone.to_offset(jiff::Timestamp::UNIX_EPOCH).to_string(),
            str::to_owned,
        )
    }

    /// What the times of the command line are relative to.
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
