//! Events in every format, one after the other.

use std::io::Write;

use annals::Event;
use jiff::tz::TimeZone;

use crate::exit::Outcome;
use crate::output::Format;
use crate::output::table::{Align, Grid, Narrow};
use crate::output::wire::{COLUMNS, Wire};
use crate::when;

const GRID: [(&str, Align); 7] = [
    ("position", Align::Right),
    ("time", Align::Left),
    ("aggregate", Align::Left),
    ("version", Align::Right),
    ("event", Align::Left),
    ("user", Align::Left),
    ("data", Align::Left),
];

/// How the table becomes narrower: what an event is and what it happened to go last.
const NARROW: [Narrow; 10] = [
    Narrow::ToSeconds("time"),
    Narrow::Drop("version"),
    Narrow::CutMiddle("user", 12),
    Narrow::CutMiddle("aggregate", 16),
    Narrow::ToMinutes("time"),
    Narrow::Drop("user"),
    Narrow::Cut("event", 20),
    Narrow::Drop("data"),
    Narrow::CutMiddle("aggregate", 8),
    Narrow::Drop("position"),
];

/// Characters of data that are looked at for a table, at most.
const DATA_SHOWN: usize = 400;

/// Takes events one by one and writes them; tables appear at the end, when their widths are known.
pub(crate) struct EventWriter<'a> {
    form: Form<'a>,
    written: Written,
}

/// How many events were written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) events: u64,
    /// Those of them whose data or metadata the format cannot hold; a table, which is for people, is not counted.
    pub(crate) altered: u64,
}

enum Form<'a> {
    Table {
        grid: Grid,
        zone: TimeZone,
        out: &'a mut dyn Write,
    },
    Json(&'a mut dyn Write),
    JsonLines(&'a mut dyn Write),
    Csv(Box<csv::Writer<&'a mut dyn Write>>),
}

impl<'a> EventWriter<'a> {
    pub(crate) fn new(format: Format, out: &'a mut dyn Write, zone: &TimeZone) -> Outcome<Self> {
        let form = match format {
            Format::Table => Form::Table {
                grid: Grid::new(&GRID, &NARROW),
                zone: zone.clone(),
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
            written: Written::default(),
        })
    }

    pub(crate) fn write(&mut self, event: &Wire<'_>) -> Outcome {
        match &mut self.form {
            Form::Table { grid, zone, .. } => grid.push(&row(event, zone)),
            Form::Json(out) => {
                out.write_all(if self.written.events == 0 { b"[\n" } else { b",\n" })?;
                event.write_json(out)?;
            }
            Form::JsonLines(out) => {
                event.write_json(out)?;
                out.write_all(b"\n")?;
            }
            Form::Csv(out) => event.write_csv(out)?,
        }
        self.written.events += 1;
        self.written.altered += u64::from(!matches!(self.form, Form::Table { .. }) && !event.fits_text());
        Ok(())
    }

    /// Writes what is left; returns how many events there were.
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

fn row(event: &Wire<'_>, zone: &TimeZone) -> [String; 7] {
    let data: String = String::from_utf8_lossy(event.data).chars().take(DATA_SHOWN).collect();
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

/// Writes many events that are at hand.
pub(crate) fn write_all(format: Format, out: &mut dyn Write, zone: &TimeZone, events: &[Event]) -> Outcome<Written> {
    let mut writer = EventWriter::new(format, out, zone)?;
    for event in events {
        writer.write(&event.into())?;
    }
    writer.finish()
}
