//! A row of the audit trail, as JSON and as CSV.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::commands::CommandRecord;
use super::hex;
use crate::event::system::{COMMAND, target};
use crate::{Delivery, Event, Gap, Position, Timestamp};

/// What a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    #[default]
    Event,
    Command,
    /// The store itself: a change of an aggregate.
    System,
    /// Events that are gone.
    Gap,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Command => "command",
            Self::System => "system",
            Self::Gap => "gap",
        }
    }
}

/// The columns of CSV.
const COLUMNS: &str = "position,time,recordedAt,kind,name,outcome,reason,userId,organizationId,correlationId,causationId,aggregateType,\
    aggregateId,version,eventId,firstPosition,lastPosition,durationMicros,data\n";

/// A row: who did what, when, and with which outcome.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row<'a> {
    position: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<Timestamp>,
    kind: Kind,
    /// The type of the event, or the name of the command.
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregate_type: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregate_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    /// The events that a command led to, or the events that are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_micros: Option<u64>,
    /// The data of the event, or the payload of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    /// Data that are not JSON, as hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_hex: Option<String>,
}

/// Calls `write` with the row of a delivery.
pub(super) fn with(delivery: &Delivery, write: &mut dyn FnMut(&Row<'_>) -> io::Result<()>) -> io::Result<()> {
    let event = match delivery {
        Delivery::Gap(gap) => return write(&Row::of_gap(gap)),
        Delivery::Event(event) => event,
    };
    let record = || serde_json::from_slice::<CommandRecord>(event.data()).ok();
    if event.event_type() == COMMAND
        && let Some(record) = record()
    {
        return write(&Row::of_command(event, record));
    }
    write(&Row::of_event(event))
}

pub(super) fn write_header(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(COLUMNS.as_bytes())
}

impl<'a> Row<'a> {
    fn of_gap(gap: &Gap) -> Self {
        Self {
            position: gap.first,
            kind: Kind::Gap,
            name: Cow::Borrowed("gap"),
            reason: Some(gap.to_string()),
            first_position: Some(gap.first),
            last_position: Some(gap.last),
            ..Self::default()
        }
    }

    fn of_event(event: &'a Event) -> Self {
        let data = json_on_one_line(event.data());
        let is_other = data.is_none() && !event.data().is_empty();
        Self {
            position: event.position(),
            time: Some(event.timestamp()),
            recorded_at: Some(event.recorded_at()),
            kind: if event.event_type().starts_with('$') {
                Kind::System
            } else {
                Kind::Event
            },
            name: Cow::Borrowed(event.event_type()),
            user_id: event.user_id(),
            organization_id: event.organization_id(),
            correlation_id: event.correlation_id(),
            causation_id: event.causation_id(),
            aggregate_type: Some(Cow::Borrowed(event.aggregate_type())),
            // A change of an aggregate is in a stream of the store's own.
            aggregate_id: Some(Cow::Borrowed(target(event.aggregate_id()))),
            version: Some(event.version().0),
            event_id: Some(event.id()),
            data,
            data_hex: is_other.then(|| hex::encode(event.data())),
            ..Self::default()
        }
    }

    fn of_command(event: &'a Event, record: CommandRecord) -> Self {
        Self {
            kind: Kind::Command,
            name: Cow::Owned(record.command),
            outcome: Some(record.outcome.as_str()),
            reason: record.reason,
            aggregate_type: record.aggregate_type.map(Cow::Owned),
            aggregate_id: record.aggregate_id.map(Cow::Owned),
            version: None,
            first_position: record.first_position,
            last_position: record.last_position,
            duration_micros: Some(record.duration_micros),
            // A command may hold JSON that was written over several lines.
            data: record
                .payload
                .and_then(|payload| json_on_one_line(payload.get().as_bytes())),
            data_hex: None,
            ..Self::of_event(event)
        }
    }

    /// One JSON object and the end of the line.
    pub(super) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// The cells of [`COLUMNS`], and the end of the line.
    pub(super) fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_cells(&mut Cells { out, separator: "" })?;
        out.write_all(b"\n")
    }

    fn write_cells(&self, cells: &mut Cells<'_>) -> io::Result<()> {
        cells.plain(Some(self.position))?;
        cells.plain(self.time)?;
        cells.plain(self.recorded_at)?;
        cells.plain(Some(self.kind.as_str()))?;
        for text in [
            Some(&*self.name),
            self.outcome,
            self.reason.as_deref(),
            self.user_id,
            self.organization_id,
            self.correlation_id,
            self.causation_id,
            self.aggregate_type.as_deref(),
            self.aggregate_id.as_deref(),
        ] {
            cells.text(text)?;
        }
        cells.plain(self.version)?;
        cells.plain(self.event_id)?;
        cells.plain(self.first_position)?;
        cells.plain(self.last_position)?;
        cells.plain(self.duration_micros)?;
        cells.text(self.data.as_deref().map(RawValue::get).or(self.data_hex.as_deref()))
    }
}

/// The cells of a line of CSV.
struct Cells<'a> {
    out: &'a mut dyn Write,
    /// What comes before the next cell.
    separator: &'static str,
}

impl Cells<'_> {
    /// A cell that needs no quotes: a number, a time, a word.
    fn plain(&mut self, value: Option<impl fmt::Display>) -> io::Result<()> {
        self.separate()?;
        value.map_or(Ok(()), |value| write!(self.out, "{value}"))
    }

    /// A cell, with quotes where it needs them, and a `'` before what a spreadsheet would take for a formula.
    fn text(&mut self, text: Option<&str>) -> io::Result<()> {
        self.separate()?;
        let text = text.unwrap_or_default();
        let guard = if text.starts_with(FORMULA) { "'" } else { "" };
        if text.contains(['"', ',', '\n', '\r']) {
            write!(self.out, "\"{guard}{}\"", text.replace('"', "\"\""))
        } else {
            write!(self.out, "{guard}{text}")
        }
    }

    fn separate(&mut self) -> io::Result<()> {
        self.out.write_all(self.separator.as_bytes())?;
        self.separator = ",";
        Ok(())
    }
}

/// What a formula begins with, for one spreadsheet or another. Some take the full-width characters for the others.
const FORMULA: [char; 11] = [
    '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

/// JSON without line breaks, which are whitespace wherever JSON has them.
fn json_on_one_line(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = str::from_utf8(bytes).ok()?;
    let text = if text.contains(['\n', '\r']) {
        Cow::Owned(text.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(text)
    };
    serde_json::from_str::<&RawValue>(&text).ok().map(ToOwned::to_owned)
}
