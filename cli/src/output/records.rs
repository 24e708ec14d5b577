//! Rows of named values in every format, for all output that is not events.

use std::io::Write;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::exit::Outcome;
use crate::output::screen::{Role, Screen};
use crate::output::table::{Column, Grid, Narrow};
use crate::output::text::grouped;
use crate::output::{Format, Out};

/// The minimum width of a text column, whatever the width of the terminal.
const TEXT_WIDTH_MIN: usize = 12;

/// Rows with the same columns.
#[derive(Debug)]
pub(crate) struct Records {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
    /// Whether the columns before the last have names that are typed, and the last one has prose.
    has_prose_last: bool,
}

impl Records {
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
            has_prose_last: false,
        }
    }

    /// Keeps the names in all columns whole on a narrow screen, and cuts the prose in the last one.
    #[cfg(feature = "bench")]
    pub(crate) fn prose_last(mut self) -> Self {
        self.has_prose_last = true;
        self
    }

    pub(crate) fn push(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Outcome {
        match out.format {
            Format::Table => self.write_table(out.stdout, out.screen),
            Format::Json => self.write_json(out.stdout),
            Format::Jsonl => self.write_json_lines(out.stdout),
            Format::Csv => self.write_csv(out.stdout),
        }
    }

    fn objects(&self) -> impl Iterator<Item = Object<'_>> {
        self.rows.iter().map(|row| Object {
            columns: &self.columns,
            row,
        })
    }

    fn write_json(&self, out: &mut dyn Write) -> Outcome {
        let objects: Vec<_> = self.objects().collect();
        serde_json::to_writer_pretty(&mut *out, &objects)?;
        Ok(writeln!(out)?)
    }

    fn write_json_lines(&self, out: &mut dyn Write) -> Outcome {
        for object in self.objects() {
            serde_json::to_writer(&mut *out, &object)?;
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_csv(&self, out: &mut dyn Write) -> Outcome {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(&self.columns)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(plain))?;
        }
        Ok(writer.flush()?)
    }

    fn write_table(&self, out: &mut dyn Write, screen: Screen) -> Outcome {
        let is_number = |value: &Value| value.is_number() || value.is_null();
        let is_numeric = |index: usize| self.rows.iter().filter_map(|row| row.get(index)).all(is_number);
        let column = |(index, name): (usize, &&'static str)| {
            if is_numeric(index) {
                Column::right(name, Role::Number)
            } else {
                Column::left(name, Role::Plain)
            }
        };
        let columns: Vec<Column> = self.columns.iter().enumerate().map(column).collect();
        let cut = |(index, name): (usize, &&'static str)| {
            (!is_numeric(index)).then_some(Narrow::CutMiddle(name, TEXT_WIDTH_MIN))
        };
        let steps: Vec<Narrow> = self.columns.iter().enumerate().filter_map(cut).collect();
        let mut grid = if self.has_prose_last {
            Grid::new(&columns, &[], screen).whole_names()
        } else {
            Grid::new(&columns, &steps, screen).whole_last()
        };
        for row in &self.rows {
            grid.push(&row.iter().map(readable).collect::<Vec<_>>());
        }
        grid.write(out)
    }
}

struct Object<'a> {
    columns: &'a [&'static str],
    row: &'a [Value],
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.row.len()))?;
        for (column, value) in self.columns.iter().zip(self.row) {
            map.serialize_entry(column, value)?;
        }
        map.end()
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn readable(value: &Value) -> String {
    value.as_u64().map_or_else(|| plain(value), grouped)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn written(format: Format) -> String {
        let mut records = Records::new(&["zebra", "apple"]);
        records.push(vec![Value::from("a,b"), Value::from(1_000)]);
        records.push(vec![Value::Null, Value::from(7)]);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        records
            .write(&mut Out {
                stdout: &mut stdout,
                stderr: &mut stderr,
                format,
                zone: TimeZone::UTC,
                now: annals::Timestamp::from_micros(0),
                screen: Screen::default(),
                messages: Screen::default(),
                has_hints: false,
            })
            .unwrap();
        String::from_utf8(stdout).unwrap()
    }

    #[test]
    fn every_format_has_the_columns_in_order() {
        assert_eq!(written(Format::Csv), "zebra,apple\n\"a,b\",1000\n,7\n");
        assert_eq!(
            written(Format::Jsonl),
            "{\"zebra\":\"a,b\",\"apple\":1000}\n{\"zebra\":null,\"apple\":7}\n"
        );
        assert!(written(Format::Json).starts_with("[\n  {\n    \"zebra\": \"a,b\""));
        assert!(written(Format::Table).contains("1,000"));
    }
}
