//! Tables for people: columns as wide as they need, the last one as wide as the terminal leaves.

use std::io::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::exit::Outcome;
use crate::output::text::{clean, shorten};

/// The width of a terminal that nobody looks at.
const WIDTH_DEFAULT: usize = 140;
/// What the last column gets however narrow the terminal is.
const LAST_WIDTH_MIN: usize = 24;
/// What any other column gets at most.
const WIDTH_MAX: usize = 44;

/// How a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of texts under a header; the texts are cleaned on the way in.
#[derive(Debug)]
pub(crate) struct Grid {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn push<T: AsRef<str>>(&mut self, cells: &[T]) {
        let last = cells.len().saturating_sub(1);
        let shown = cells.iter().enumerate().map(|(index, cell)| {
            let text = cell.as_ref();
            if index == last {
                clean(text).into_owned()
            } else {
                shorten(text, WIDTH_MAX)
            }
        });
        self.rows.push(shown.collect());
    }

    /// Writes the table.
    pub(crate) fn write(mut self, out: &mut dyn Write) -> Outcome {
        self.shorten_last();
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

    fn shorten_last(&mut self) {
        let last = self.columns.len().saturating_sub(1);
        let width = |index: usize| {
            let header = self.columns.get(index).map_or(0, |(name, _)| name.chars().count());
            self.rows
                .iter()
                .filter_map(|row| row.get(index))
                .map(|text| text.chars().count())
                .fold(header, usize::max)
        };
        let others: usize = (0..last).map(|index| width(index) + 3).sum();
        let left = terminal_width().saturating_sub(others + 4).max(LAST_WIDTH_MIN);
        for text in self.rows.iter_mut().filter_map(|row| row.get_mut(last)) {
            *text = shorten(text, left);
        }
    }
}

fn cell(text: &str, align: Align) -> Cell {
    Cell::new(text).set_alignment(match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    })
}

/// The width of the terminal, or of one that is imagined.
pub(crate) fn terminal_width() -> usize {
    Table::new().width().map_or(WIDTH_DEFAULT, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_is_cut_and_controls_are_shown() {
        let mut grid = Grid::new(&[("n", Align::Right), ("text", Align::Left)]);
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
}
