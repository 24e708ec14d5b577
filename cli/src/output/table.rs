//! Tables for people: columns as wide as they need, the last one as wide as the terminal leaves; and fewer, narrower columns where a
//! terminal is too narrow for all.

use std::io::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::exit::Outcome;
use crate::output::text::clean;

/// The width of an output that is no terminal.
const WIDTH_DEFAULT: usize = 140;
/// What the last column gets, unless even the other columns have no room.
const LAST_WIDTH_MIN: usize = 24;
/// What the last column gets however narrow the terminal is.
const LAST_WIDTH_LEAST: usize = 8;
/// What any other column gets at most.
const WIDTH_MAX: usize = 44;
/// What a line takes beside its cells: this much for each, and one.
const FRAME_WIDTH: usize = 3;

/// How a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A step by which a table becomes narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Narrow {
    /// Writes the times of a column without fractions of a second, and without their offset.
    ToSeconds(&'static str),
    /// Writes the times of a column without seconds.
    ToMinutes(&'static str),
    /// Cuts the ends of the texts of a column, down to this width.
    Cut(&'static str, usize),
    /// Cuts the middle out of the texts of a column, down to this width: ids differ at their ends.
    CutMiddle(&'static str, usize),
    /// Leaves a column out.
    Drop(&'static str),
}

/// Rows of texts under a header; the texts are cleaned on the way in.
#[derive(Debug)]
pub(crate) struct Grid {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
    /// What is done, one after the other, until the table fits.
    steps: Vec<Narrow>,
    /// Whether the last column has names: it gets the width that they need, and they are cut in their middle.
    has_names_last: bool,
}

impl Grid {
    pub(crate) fn new(columns: &[(&'static str, Align)], steps: &[Narrow]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
            steps: steps.to_vec(),
            has_names_last: false,
        }
    }

    /// Gives the last column, which has names, the width that they need.
    pub(crate) fn names_last(mut self) -> Self {
        self.has_names_last = true;
        self
    }

    pub(crate) fn push<T: AsRef<str>>(&mut self, cells: &[T]) {
        let last = cells.len().saturating_sub(1);
        let shown = cells.iter().enumerate().map(|(index, cell)| {
            let text = clean(cell.as_ref());
            if index == last {
                text.into_owned()
            } else {
                cut(&text, WIDTH_MAX)
            }
        });
        self.rows.push(shown.collect());
    }

    /// Writes the table, for the terminal if there is one.
    pub(crate) fn write(mut self, out: &mut dyn Write) -> Outcome {
        if let Some(width) = terminal() {
            self.narrow(width);
        }
        self.cut_last(terminal_width());
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.columns.iter().map(|(name, align)| cell(name, *align)));
        for row in &self.rows {
            table.add_row(
                row.iter()
                    .zip(&self.columns)
                    .map(|(text, (_, align))| cell(text, *align)),
            );
        }
        Ok(writeln!(out, "{table}")?)
    }

    /// Takes steps until the table fits into `width`.
    fn narrow(&mut self, width: usize) {
        for step in std::mem::take(&mut self.steps) {
            let excess = self.width_needed().saturating_sub(width);
            if excess == 0 {
                return;
            }
            self.step(step, excess);
        }
    }

    fn step(&mut self, step: Narrow, excess: usize) {
        let (Narrow::ToSeconds(name)
        | Narrow::ToMinutes(name)
        | Narrow::Cut(name, _)
        | Narrow::CutMiddle(name, _)
        | Narrow::Drop(name)) = step;
        let Some(index) = self.columns.iter().position(|(column, _)| *column == name) else {
            return;
        };
        let now = self.column_width(index);
        let change = |text: &str| match step {
            Narrow::ToSeconds(_) => before(text, '.', 1),
            Narrow::ToMinutes(_) => before(text, ':', 2),
            Narrow::Cut(_, least) => cut(text, least.max(now.saturating_sub(excess))),
            Narrow::CutMiddle(_, least) => cut_middle(text, least.max(now.saturating_sub(excess))),
            Narrow::Drop(_) => String::new(),
        };
        if matches!(step, Narrow::Drop(_)) {
            self.columns.remove(index);
            self.rows.iter_mut().for_each(|row| drop(row.remove(index)));
            return;
        }
        for text in self.rows.iter_mut().filter_map(|row| row.get_mut(index)) {
            *text = change(text);
        }
    }

    /// The width of the table with a last column that is as narrow as it is read well.
    fn width_needed(&self) -> usize {
        let last = self.column_width(self.columns.len().saturating_sub(1));
        let last = if self.has_names_last {
            last
        } else {
            last.min(LAST_WIDTH_MIN)
        };
        self.width_of_others() + last + FRAME_WIDTH + 1
    }

    fn width_of_others(&self) -> usize {
        let last = self.columns.len().saturating_sub(1);
        (0..last).map(|index| self.column_width(index) + FRAME_WIDTH).sum()
    }

    fn column_width(&self, index: usize) -> usize {
        let header = self.columns.get(index).map_or(0, |(name, _)| name.width());
        self.rows
            .iter()
            .filter_map(|row| row.get(index))
            .map(|text| text.width())
            .fold(header, usize::max)
    }

    fn cut_last(&mut self, width: usize) {
        let last = self.columns.len().saturating_sub(1);
        let floor = if terminal().is_some() {
            LAST_WIDTH_LEAST
        } else {
            LAST_WIDTH_MIN
        };
        let left = width
            .saturating_sub(self.width_of_others() + FRAME_WIDTH + 1)
            .max(floor);
        for text in self.rows.iter_mut().filter_map(|row| row.get_mut(last)) {
            *text = if self.has_names_last {
                cut_middle(text, left)
            } else {
                cut(text, left)
            };
        }
    }
}

/// `text` up to the `count`th `mark`; all of it if there are fewer.
fn before(text: &str, mark: char, count: usize) -> String {
    let end = text.match_indices(mark).nth(count - 1);
    end.map_or(text, |(at, _)| &text[..at]).to_owned()
}

/// `text` cut to `width`, with an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    fitting(text.chars(), width.saturating_sub(1)) + "…"
}

/// `text` cut to `width`, with an ellipsis for its middle.
fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let start = fitting(text.chars(), room.div_ceil(2));
    let end: String = fitting(text.chars().rev(), room / 2).chars().rev().collect();
    format!("{start}…{end}")
}

/// The first of `characters` that fit into `width`.
fn fitting(characters: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    let fits = |character: &char| {
        used += character.width().unwrap_or(0);
        used <= width
    };
    characters.take_while(fits).collect()
}

fn cell(text: &str, align: Align) -> Cell {
    Cell::new(text).set_alignment(match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    })
}

/// The width of the terminal that the standard output is, or what `COLUMNS` says.
fn terminal() -> Option<usize> {
    let terminal = Table::new().width().map(usize::from).filter(|width| *width > 0);
    let variable = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|width| *width > 0);
    terminal.or_else(variable)
}

/// `text` cut to the width of the terminal, if there is one.
pub(crate) fn cut_to_terminal(text: &str) -> String {
    terminal().map_or_else(|| text.to_owned(), |width| cut(text, width))
}

/// The width of the terminal, or of one that is imagined.
pub(crate) fn terminal_width() -> usize {
    terminal().unwrap_or(WIDTH_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_is_cut_and_controls_are_shown() {
        let mut grid = Grid::new(&[("n", Align::Right), ("text", Align::Left)], &[]);
        grid.push(&["1", &"x".repeat(1_000)]);
        grid.push(&["22", "\u{1b}[31m"]);
        let mut out = Vec::new();
        grid.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains('…') && text.contains("\\u{1b}[31m"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= terminal_width()),
            "{text}"
        );
    }

    #[test]
    fn steps_are_taken_until_the_table_fits() {
        let columns = [
            ("n", Align::Right),
            ("time", Align::Left),
            ("id", Align::Left),
            ("text", Align::Left),
        ];
        let steps = [
            Narrow::ToSeconds("time"),
            Narrow::CutMiddle("id", 8),
            Narrow::ToMinutes("time"),
            Narrow::Drop("text"),
        ];
        for (width, expected) in [
            (
                100,
                ["1", "2026-01-31 12:00:00.000+02", "invoice-000017", "日本日本日本"].to_vec(),
            ),
            (
                65,
                ["1", "2026-01-31 12:00:00", "invoice-000017", "日本日本日本"].to_vec(),
            ),
            (56, ["1", "2026-01-31 12:00:00", "invoi…00017", "日本日本日本"].to_vec()),
            (52, ["1", "2026-01-31 12:00", "invo…017", "日本日本日本"].to_vec()),
            (49, ["1", "2026-01-31 12:00", "invo…017"].to_vec()),
        ] {
            let mut grid = Grid::new(&columns, &steps);
            grid.push(&["1", "2026-01-31 12:00:00.000+02", "invoice-000017", "日本日本日本"]);
            grid.narrow(width);
            grid.cut_last(width);
            assert!(grid.width_needed() <= width);
            assert_eq!(grid.rows[0], expected, "{width}");
        }
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(cut("日本日本", 8), "日本日本");
        assert_eq!(cut("日本日本", 7), "日本日…");
        assert_eq!(cut("日本日本", 6), "日本…");
        assert_eq!(cut_middle("日本日本", 7), "日…本");
        assert_eq!(cut_middle("abcdefgh", 5), "ab…gh");
    }
}
