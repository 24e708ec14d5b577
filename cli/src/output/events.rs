//! Writes events in every format, one by one.

use std::io::{self, Write};

use annals::Event;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr as _;

use crate::exit::Outcome;
use crate::load::LINE_BYTES_MAX;
use crate::output::payload::Fidelity;
use crate::output::screen::{Role, Screen};
use crate::output::table::{Column, Grid, Narrow};
use crate::output::text::shorten;
use crate::output::wire::{COLUMNS, Wire};
use crate::output::{Format, Out};
use crate::when;

const GRID: [Column; 7] = [
    Column::right("position", Role::Number),
    Column::left("time", Role::Secondary),
    Column::left("aggregate", Role::Id),
    Column::right("version", Role::Number),
    Column::left("event", Role::Type),
    Column::left("user", Role::Id),
    Column::left("data", Role::Plain),
];

/// The steps by which the table becomes narrower: event types and aggregates go last.
const NARROW: [Narrow; 13] = [
    Narrow::ToSeconds("time"),
    Narrow::Drop("version"),
    Narrow::CutMiddle("user", 12),
    Narrow::CutMiddle("aggregate", 16),
    Narrow::Drop("user"),
    Narrow::Cut("event", 20),
    Narrow::Swap("data", "user"),
    Narrow::ToMinutes("time"),
    Narrow::Drop("user"),
    Narrow::CutMiddle("aggregate", 12),
    Narrow::Drop("position"),
    Narrow::CutMiddle("aggregate", 8),
    Narrow::Cut("event", 12),
];

/// Takes events one by one and writes them; tables appear at the end, when their widths are known.
pub(crate) struct EventWriter<'a> {
    form: Form<'a>,
    fidelity: Fidelity,
    written: Written,
}

/// The number of events that were written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) events: u64,
    /// The number of events whose data or metadata a CSV record cannot represent.
    pub(crate) altered: u64,
    /// The number of events whose JSON line is too long to be parsed.
    pub(crate) too_long: u64,
}

enum Form<'a> {
    Table {
        grid: Grid,
        zone: TimeZone,
        /// Maximum characters of data that a table shows.
        data_max: usize,
        out: &'a mut dyn Write,
    },
    Json(&'a mut dyn Write),
    JsonLines(&'a mut dyn Write),
    Csv(Box<csv::Writer<&'a mut dyn Write>>),
}

impl<'a> EventWriter<'a> {
    pub(crate) fn new(
        format: Format,
        fidelity: Fidelity,
        out: &'a mut dyn Write,
        zone: &TimeZone,
        screen: Screen,
    ) -> Outcome<Self> {
        let form = match format {
            Format::Table => Form::Table {
                grid: Grid::new(&GRID, &NARROW, screen),
                zone: zone.clone(),
                data_max: screen.width.unwrap_or(usize::MAX),
                out,
            },
            Format::Json => Form::Json(out),
            Format::Jsonl => Form::JsonLines(out),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(COLUMNS)?;
                Form::Csv(Box::new(writer))
            }
        };
        Ok(Self {
            form,
            fidelity,
            written: Written::default(),
        })
    }

    pub(crate) fn write(&mut self, event: &Wire<'_>) -> Outcome {
        match &mut self.form {
            Form::Table {
                grid, zone, data_max, ..
            } => grid.push(&row(event, zone, *data_max)),
            Form::Json(out) => {
                out.write_all(if self.written.events == 0 { b"[\n" } else { b",\n" })?;
                self.written.too_long += u64::from(write_json(event, self.fidelity, out)?);
            }
            Form::JsonLines(out) => {
                self.written.too_long += u64::from(write_json(event, self.fidelity, out)?);
                out.write_all(b"\n")?;
            }
            Form::Csv(out) => {
                event.write_csv(out)?;
                self.written.altered += u64::from(!event.fits_csv());
            }
        }
        self.written.events += 1;
        Ok(())
    }

    /// Writes the rest; returns the number of events.
    pub(crate) fn finish(self) -> Outcome<Written> {
        match self.form {
            Form::Table { grid, out, .. } if self.written.events > 0 => grid.write(out)?,
            Form::Table { out, .. } => writeln!(out, "no events")?,
            Form::Json(out) if self.written.events == 0 => out.write_all(b"[]\n")?,
            Form::Json(out) => out.write_all(b"\n]\n")?,
            Form::JsonLines(_) => {}
            Form::Csv(mut out) => out.flush()?,
        }
        Ok(self.written)
    }
}

/// Writes an event as JSON; returns whether the line is too long to be parsed.
fn write_json(event: &Wire<'_>, fidelity: Fidelity, out: &mut dyn Write) -> Outcome<bool> {
    let mut counted = Counted { out, bytes: 0 };
    event.write_json(&mut counted, fidelity)?;
    Ok(counted.bytes > LINE_BYTES_MAX)
}

/// Counts the bytes that are written.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn row(event: &Wire<'_>, zone: &TimeZone, data_max: usize) -> [String; 7] {
    // One more than is shown, so that the cell gets an ellipsis.
    let bytes = event.data.get(..data_max.saturating_mul(4)).unwrap_or(event.data);
    let data = String::from_utf8_lossy(bytes)
        .chars()
        .take(data_max.saturating_add(1))
        .collect();
    [
        event.place.map(|place| place.position.to_string()).unwrap_or_default(),
        event.timestamp.map(|time| when::show(time, zone)).unwrap_or_default(),
        event.aggregate_id.to_owned(),
        event.place.map(|place| place.version.to_string()).unwrap_or_default(),
        event.event_type.to_owned(),
        event.user_id.unwrap_or_default().to_owned(),
        data,
    ]
}

/// Writes one event as a line; the first one in CSV follows the header.
pub(crate) fn write_line(event: &Event, is_first: bool, out: &mut Out<'_>) -> Outcome {
    let event = event.into();
    match out.format {
        Format::Table => return out.line(&compact(&event, &out.zone, out.screen)),
        Format::Json | Format::Jsonl => {
            write_json(&event, Fidelity::Readable, out.stdout)?;
            out.stdout.write_all(b"\n")?;
        }
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(&mut *out.stdout);
            if is_first {
                writer.write_record(COLUMNS)?;
            }
            event.write_csv(&mut writer)?;
            writer.flush()?;
        }
    }
    Ok(())
}

/// An event on one line without columns, cut to the width.
fn compact(event: &Wire<'_>, zone: &TimeZone, screen: Screen) -> String {
    let mut room = screen.width.unwrap_or(usize::MAX);
    let [position, time, aggregate, version, event_type, user, data] = row(event, zone, room);
    let parts = [
        (Role::Number, position),
        (Role::Secondary, time),
        (Role::Type, event_type),
        (Role::Id, format!("{aggregate} #{version}")),
        (Role::Id, user),
        (Role::Plain, data),
    ];
    let mut line = String::new();
    for (role, text) in parts.iter().filter(|(_, text)| !text.is_empty()) {
        let gap = if line.is_empty() { "" } else { "  " };
        if room <= gap.len() {
            break;
        }
        let text = shorten(text, room - gap.len());
        room -= gap.len() + text.width();
        line.push_str(gap);
        line.push_str(&screen.paint(*role, &text));
    }
    line
}

/// Writes all of `events`.
pub(crate) fn write_all(out: &mut Out<'_>, events: &[Event]) -> Outcome<Written> {
    let mut writer = EventWriter::new(out.format, Fidelity::Readable, out.stdout, &out.zone, out.screen)?;
    for event in events {
        writer.write(&event.into())?;
    }
    writer.finish()
}
