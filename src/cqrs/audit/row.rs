//! A row of the audit trail, as JSON and as CSV.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::commands::CommandRecord;
use super::hex;
use crate::event::system::{COMMAND, target};
use crate::{Delivery, Event, Gap, Position, Timestamp};

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Event,
    Command,
    /// The store itself: a change of an aggregate.
    System,
    /// Events that are gone.
    Gap,
}

/// The columns of CSV.
const COLUMNS: &str = "position,time,recordedAt,kind,name,outcome,reason,userId,organizationId,correlationId,causationId,aggregateType,\
    aggregateId,version,eventId,firstPosition,lastPosition,durationMicros,data\n";

/// A row: who did what, when, and with which outcome.
#[derive(Debug, Serialize)]
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
            time: None,
            recorded_at: None,
            kind: Kind::Gap,
            name: Cow::Borrowed("gap"),
            outcome: None,
            reason: Some(gap.to_string()),
            user_id: None,
            organization_id: None,
            correlation_id: None,
            causation_id: None,
            aggregate_type: None,
            aggregate_id: None,
            version: None,
            event_id: None,
            first_position: Some(gap.first),
            last_position: Some(gap.last),
            duration_micros: None,
            data: None,
            data_hex: None,
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
            outcome: None,
            reason: None,
            user_id: event.user_id(),
            organization_id: event.organization_id(),
            correlation_id: event.correlation_id(),
            causation_id: event.causation_id(),
            aggregate_type: Some(Cow::Borrowed(event.aggregate_type())),
            // A change of an aggregate is in a stream of the store's own.
            aggregate_id: Some(Cow::Borrowed(target(event.aggregate_id()))),
            version: Some(event.version().0),
            event_id: Some(event.id()),
            first_position: None,
            last_position: None,
            duration_micros: None,
            data,
            data_hex: is_other.then(|| hex::encode(event.data())),
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

    pub(super) fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let position = |position: Option<Position>| position.map(|position| position.0);
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        let kind = match self.kind {
            Kind::Event => "event",
            Kind::Command => "command",
            Kind::System => "system",
            Kind::Gap => "gap",
        };
        let data = self.data.as_deref().map(RawValue::get).or(self.data_hex.as_deref());
        let id = self.event_id.map(|id| id.to_string());
        write!(
            out,
            "{},{},{},{kind}",
            self.position,
            time(self.time),
            time(self.recorded_at)
        )?;
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
            write_text(text, out)?;
        }
        write_number(self.version, out)?;
        write_text(id.as_deref(), out)?;
        for number in [
            position(self.first_position),
            position(self.last_position),
            self.duration_micros,
        ] {
            write_number(number, out)?;
        }
        write_text(data, out)?;
        out.write_all(b"\n")
    }
}

fn write_number(number: Option<u64>, out: &mut dyn Write) -> io::Result<()> {
    match number {
        Some(number) => write!(out, ",{number}"),
        None => out.write_all(b","),
    }
}

/// What a formula begins with, for one spreadsheet or another. Some take the full-width characters for the others.
const FORMULA: [char; 11] = [
    '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

/// A cell, with quotes where it needs them, and a `'` before what a spreadsheet would take for a formula.
fn write_text(text: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    let text = text.unwrap_or_default();
    let guard = if text.starts_with(FORMULA) { "'" } else { "" };
    if text.contains(['"', ',', '\n', '\r']) {
        write!(out, ",\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        write!(out, ",{guard}{text}")
    }
}

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
