//! Figures and ranked lists in every format.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::exit::Outcome;
use crate::output::draw::bar;
use crate::output::screen::Role;
use crate::output::text::{grouped, pad, shorten};
use crate::output::{Format, Out};

const NAME_WIDTH_MAX: usize = 40;
const BAR_WIDTH: usize = 30;
const BAR_WIDTH_MIN: usize = 5;

/// Figures first, then lists of names with their counts.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    figures: Vec<Figure>,
    lists: Vec<List>,
}

#[derive(Debug)]
struct Figure {
    key: &'static str,
    label: &'static str,
    value: Value,
    shown: String,
}

/// The contents of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    /// The meaning of the names.
    pub(crate) role: Role,
    pub(crate) shape: Shape,
}

/// The form of a list in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A list of objects with a name and a count.
    Entries,
    /// An object from names to counts.
    Object,
    /// The counts alone.
    Counts,
}

#[derive(Debug)]
struct List {
    group: Group,
    entries: Vec<(String, u64)>,
    /// The number of entries that a table shows.
    shown: usize,
}

impl Sections {
    /// Adds a count.
    pub(crate) fn count(&mut self, key: &'static str, label: &'static str, count: u64) {
        self.figure(key, label, count.into(), grouped(count));
    }

    /// Adds a figure whose form in tables differs from its form in JSON.
    pub(crate) fn figure(&mut self, key: &'static str, label: &'static str, value: Value, shown: String) {
        self.figures.push(Figure {
            key,
            label,
            value,
            shown,
        });
    }

    /// Adds a figure that tables do not show, because another one contains it.
    pub(crate) fn hidden(&mut self, key: &'static str, value: Value) {
        self.figure(key, "", value, String::new());
    }

    /// Adds a list. A table shows its first `shown` entries.
    pub(crate) fn list(&mut self, group: Group, entries: Vec<(String, u64)>, shown: usize) {
        self.lists.push(List { group, entries, shown });
    }

    /// Restricts tables to the list `key`.
    pub(crate) fn show_only(&mut self, key: &str) {
        for list in self.lists.iter_mut().filter(|list| list.group.key != key) {
            list.shown = 0;
        }
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Outcome {
        match out.format {
            Format::Table => {
                self.write_figures(out)?;
                self.lists
                    .iter()
                    .filter(|list| !list.entries.is_empty() && list.shown > 0)
                    .try_for_each(|list| list.write_table(out))
            }
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out.stdout, self)?;
                out.line("")
            }
            Format::Jsonl => {
                serde_json::to_writer(&mut *out.stdout, self)?;
                out.line("")
            }
            Format::Csv => self.write_csv(out),
        }
    }

    /// Writes the figures alone, for people.
    pub(crate) fn write_figures(&self, out: &mut Out<'_>) -> Outcome {
        let width = self
            .figures
            .iter()
            .map(|figure| figure.label.width())
            .max()
            .unwrap_or(0);
        let is_count = |shown: &str| {
            shown
                .chars()
                .all(|character| character.is_ascii_digit() || character == ',')
        };
        let counts = self.figures.iter().filter(|figure| is_count(&figure.shown));
        let count_width = counts.map(|figure| figure.shown.len()).max().unwrap_or(0);
        for figure in self.figures.iter().filter(|figure| !figure.label.is_empty()) {
            let label = out.screen.paint(Role::Secondary, &pad(figure.label, width));
            let is_number = figure.value.is_number();
            let role = if is_number { Role::Number } else { Role::Plain };
            let left = out.screen.width.map_or(usize::MAX, |all| all.saturating_sub(width + 2));
            let space = if is_count(&figure.shown) {
                count_width - figure.shown.len()
            } else {
                0
            };
            let shown = out.screen.paint(role, &shorten(&figure.shown, left));
            out.line(&format!("{label}  {:space$}{shown}", ""))?;
        }
        Ok(())
    }

    fn write_csv(&self, out: &mut Out<'_>) -> Outcome {
        let mut writer = csv::Writer::from_writer(&mut *out.stdout);
        writer.write_record(["section", "name", "value"])?;
        for figure in &self.figures {
            let value = figure
                .value
                .as_str()
                .map_or_else(|| figure.value.to_string(), str::to_owned);
            writer.write_record(["figures", figure.key, &value])?;
        }
        for list in &self.lists {
            for (name, count) in &list.entries {
                writer.write_record([list.group.key, name, &count.to_string()])?;
            }
        }
        Ok(writer.flush()?)
    }
}

impl Serialize for Sections {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for figure in &self.figures {
            map.serialize_entry(figure.key, &figure.value)?;
        }
        for list in &self.lists {
            map.serialize_entry(list.group.key, &list.json())?;
        }
        map.end()
    }
}

impl List {
    fn json(&self) -> Value {
        let entries = || self.entries.iter();
        match self.group.shape {
            Shape::Entries => entries()
                .map(|(name, count)| serde_json::json!({ "name": name, "count": count }))
                .collect(),
            Shape::Object => entries()
                .map(|(name, count)| (name.clone(), Value::from(*count)))
                .collect(),
            Shape::Counts => entries().map(|(_, count)| *count).collect(),
        }
    }

    fn write_table(&self, out: &mut Out<'_>) -> Outcome {
        out.heading(self.group.title)?;
        let screen = out.screen;
        let shown = || self.entries.iter().take(self.shown);
        let max = shown().map(|(_, count)| *count).max().unwrap_or(0);
        let name_max = screen.width.map_or(usize::MAX, |_| NAME_WIDTH_MAX);
        let names = shown().map(|(name, _)| shorten(name, name_max).width());
        let (name_width, count_width) = (names.max().unwrap_or(0), grouped(max).len());
        let left = screen.drawing_width().saturating_sub(name_width + count_width + 6);
        for (name, count) in shown() {
            let name = screen.paint(self.group.role, &pad(&shorten(name, name_max), name_width));
            let number = screen.paint(Role::Number, &format!("{:>count_width$}", grouped(*count)));
            let bar = bar(*count, max, left.clamp(BAR_WIDTH_MIN, BAR_WIDTH));
            out.line(format!("  {name}  {number}  {}", screen.paint(Role::Bar, &bar)).trim_end())?;
        }
        let more = self.entries.len().saturating_sub(self.shown);
        if more > 0 {
            let text = format!("  and {} more (all of them with --format json)", grouped(more as u64));
            out.note(&text)?;
        }
        Ok(())
    }
}
