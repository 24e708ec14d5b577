//! Tables for people: bold headings over a light rule, and columns as wide as necessary. On a narrow screen there are fewer, narrower
//! columns, and a note lists the omitted ones.

use std::io::Write;

use unicode_width::UnicodeWidthStr as _;

use crate::exit::Outcome;
use crate::output::screen::{Role, Screen};
use crate::output::text::{clean, cut, cut_middle};

/// The minimum width of the last column, if the other columns leave it.
const LAST_WIDTH_MIN: usize = 24;
/// The minimum width of the last column on any screen.
const LAST_WIDTH_LEAST: usize = 8;
/// The maximum width of any other column, on a screen with a width.
const WIDTH_MAX: usize = 44;
/// Spaces between columns.
const GAP: usize = 2;

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    align: Align,
    role: Role,
}

impl Column {
    pub(crate) const fn left(name: &'static str, role: Role) -> Self {
        Self {
            name,
            align: Align::Left,
            role,
        }
    }

    pub(crate) const fn right(name: &'static str, role: Role) -> Self {
        Self {
            name,
            align: Align::Right,
            role,
        }
    }
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
    /// Omits a column.
    Drop(&'static str),
    /// Omits a column, and restores the one omitted before, which is narrower.
    Swap(&'static str, &'static str),
}

impl Narrow {
    fn column(self) -> &'static str {
        let (Self::ToSeconds(name)
        | Self::ToMinutes(name)
        | Self::Cut(name, _)
        | Self::CutMiddle(name, _)
        | Self::Drop(name)
        | Self::Swap(name, _)) = self;
        name
    }
}

/// What the last column has, which decides its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Prose, which is cut.
    Prose,
    /// Prose, which is cut; the columns before it have names that are typed, and are whole at any width.
    ProseAfterNames,
    /// Texts that get the width that they need before the other columns.
    Whole,
    /// Names, which get the width that they need, and are cut in their middle.
    Names,
}

/// Rows of texts under a header. Texts are cleaned when they are added.
#[derive(Debug)]
pub(crate) struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    /// Omitted columns, with their cells.
    dropped: Vec<(Column, Vec<String>)>,
    /// The steps that are applied in order until the table fits.
    steps: Vec<Narrow>,
    screen: Screen,
    last: Last,
    /// Whether the middle of a text was cut out.
    is_shortened: bool,
}

impl Grid {
    pub(crate) fn new(columns: &[Column], steps: &[Narrow], screen: Screen) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
            dropped: Vec::new(),
            steps: steps.to_vec(),
            screen,
            last: Last::Prose,
            is_shortened: false,
        }
    }

    /// Gives the last column the width that it needs.
    pub(crate) fn whole_last(mut self) -> Self {
        self.last = Last::Whole;
        self
    }

    /// Keeps the texts of all columns but the last, whatever their width.
    pub(crate) fn whole_names(mut self) -> Self {
        self.last = Last::ProseAfterNames;
        self
    }

    /// Gives the last column, which has names, the width that they need.
    pub(crate) fn names_last(mut self) -> Self {
        self.last = Last::Names;
        self
    }

    pub(crate) fn push<T: AsRef<str>>(&mut self, cells: &[T]) {
        let last = cells.len().saturating_sub(1);
        let shown = cells.iter().enumerate().map(|(index, cell)| {
            let text = clean(cell.as_ref());
            if index == last || self.last == Last::ProseAfterNames || self.screen.width.is_none() {
                text.into_owned()
            } else {
                cut_middle(&text, WIDTH_MAX)
            }
        });
        self.rows.push(shown.collect());
    }

    /// Writes the table for the screen.
    pub(crate) fn write(mut self, out: &mut dyn Write) -> Outcome {
        if let Some(width) = self.screen.width {
            self.fit(width);
        }
        let widths: Vec<usize> = (0..self.columns.len()).map(|index| self.column_width(index)).collect();
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let rule = |(name, width): (&&str, &usize)| {
            if name.is_empty() {
                String::new()
            } else {
                "─".repeat(*width)
            }
        };
        let rules: Vec<String> = names.iter().zip(&widths).map(rule).collect();
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        writeln!(out, "{}", self.line(&names, &widths, Some(Role::Heading)))?;
        writeln!(out, "{}", self.line(&rules, &widths, Some(Role::Secondary)))?;
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            writeln!(out, "{}", self.line(&cells, &widths, None))?;
        }
        self.write_notes(out)
    }

    /// A line of the table, in one role or in those of the columns.
    fn line(&self, cells: &[&str], widths: &[usize], role: Option<Role>) -> String {
        let mut line = String::new();
        let mut space = 0;
        for ((cell, column), width) in cells.iter().zip(&self.columns).zip(widths) {
            let left = width.saturating_sub(cell.width());
            let (before, after) = match column.align {
                Align::Left => (0, left),
                Align::Right => (left, 0),
            };
            if !cell.is_empty() {
                line.extend(std::iter::repeat_n(' ', space + before));
                line.push_str(&self.cell(cell, role.unwrap_or(column.role)));
                space = 0;
            }
            // Spaces are written before the next text, so that no line ends with them.
            space += after + GAP + if cell.is_empty() { before } else { 0 };
        }
        line
    }

    fn cell(&self, text: &str, role: Role) -> String {
        let branches = |character: char| matches!(character, '│' | '├' | '└' | '─' | ' ');
        if role != Role::Tree {
            return self.screen.paint(role, text);
        }
        let name = text.trim_start_matches(branches);
        let branches = &text[..text.len() - name.len()];
        self.screen.paint(Role::Secondary, branches) + &self.screen.paint(role, name)
    }

    /// A note about omitted columns and shortened texts.
    fn write_notes(&self, out: &mut dyn Write) -> Outcome {
        let Some(width) = self.screen.width else {
            return Ok(());
        };
        let mut note = |text: &str| writeln!(out, "{}", self.screen.paint(Role::Secondary, &cut(text, width)));
        if !self.dropped.is_empty() {
            let names: Vec<&str> = self.dropped.iter().map(|(column, _)| column.name).collect();
            note(&format!(
                "not in {width} columns: {} (see --format jsonl)",
                names.join(", ")
            ))?;
        }
        if self.is_shortened {
            note("… stands for a part of a name: commands take whole names (see --format jsonl)")?;
        }
        Ok(())
    }

    /// Applies steps until the table fits into `width`, and gives the last column the rest.
    fn fit(&mut self, width: usize) {
        for step in std::mem::take(&mut self.steps) {
            // Fractions of seconds go before anything of the last column does.
            let needed = if matches!(step, Narrow::ToSeconds(_)) {
                self.width_of_others() + self.last_width()
            } else {
                self.width_needed()
            };
            let excess = needed.saturating_sub(width);
            if excess == 0 {
                break;
            }
            self.step(step, excess);
        }
        let left = width.saturating_sub(self.width_of_others()).max(LAST_WIDTH_LEAST);
        let last = self.columns.len().saturating_sub(1);
        let has_names = self.last == Last::Names;
        let shorten = if has_names { cut_middle } else { cut };
        self.is_shortened |= has_names && self.column_width(last) > left;
        self.change(last, |text| shorten(text, left));
    }

    fn step(&mut self, step: Narrow, excess: usize) {
        let Some(index) = self.columns.iter().position(|column| column.name == step.column()) else {
            return;
        };
        let now = self.column_width(index);
        let room = |least: usize| least.max(now.saturating_sub(excess));
        match step {
            Narrow::ToSeconds(_) => self.change(index, |text| before(text, '.', 1)),
            Narrow::ToMinutes(_) => self.change(index, |text| before(text, ':', 2)),
            Narrow::Cut(_, least) => self.change(index, |text| cut(text, room(least))),
            Narrow::CutMiddle(_, least) => {
                self.is_shortened |= now > room(least);
                self.change(index, |text| cut_middle(text, room(least)));
            }
            Narrow::Drop(_) => self.drop_column(index),
            Narrow::Swap(_, back) => {
                self.drop_column(index);
                self.restore(back, index);
            }
        }
    }

    fn change(&mut self, index: usize, change: impl Fn(&str) -> String) {
        for text in self.rows.iter_mut().filter_map(|row| row.get_mut(index)) {
            *text = change(text);
        }
    }

    fn drop_column(&mut self, index: usize) {
        let column = self.columns.remove(index);
        let cells = self.rows.iter_mut().map(|row| row.remove(index)).collect();
        self.dropped.push((column, cells));
    }

    fn restore(&mut self, name: &str, index: usize) {
        let Some(place) = self.dropped.iter().position(|(column, _)| column.name == name) else {
            return;
        };
        let (column, cells) = self.dropped.remove(place);
        self.columns.insert(index, column);
        self.rows
            .iter_mut()
            .zip(cells)
            .for_each(|(row, cell)| row.insert(index, cell));
    }

    /// The width of the table with a last column of the minimum width.
    fn width_needed(&self) -> usize {
        let most = match self.last {
            Last::Whole | Last::Names => usize::MAX,
            Last::Prose | Last::ProseAfterNames => LAST_WIDTH_MIN,
        };
        self.width_of_others() + self.last_width().min(most)
    }

    fn last_width(&self) -> usize {
        self.column_width(self.columns.len().saturating_sub(1))
    }

    fn width_of_others(&self) -> usize {
        let last = self.columns.len().saturating_sub(1);
        (0..last).map(|index| self.column_width(index) + GAP).sum()
    }

    fn column_width(&self, index: usize) -> usize {
        let header = self.columns.get(index).map_or(0, |column| column.name.width());
        let cells = self.rows.iter().filter_map(|row| row.get(index));
        cells.map(|text| text.width()).fold(header, usize::max)
    }
}

/// `text` up to the `count`th `mark`; the whole text if there are fewer.
fn before(text: &str, mark: char, count: usize) -> String {
    let end = text.match_indices(mark).nth(count - 1);
    end.map_or(text, |(at, _)| &text[..at]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(grid: Grid) -> String {
        let mut out = Vec::new();
        grid.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn screen(width: usize) -> Screen {
        Screen {
            width: Some(width),
            colour: false,
        }
    }

    #[test]
    fn the_last_column_is_cut_and_controls_are_shown() {
        let columns = [Column::right("n", Role::Number), Column::left("text", Role::Plain)];
        for (screen, is_cut) in [(screen(100), true), (Screen::default(), false)] {
            let mut grid = Grid::new(&columns, &[], screen);
            grid.push(&["1", &"x".repeat(1_000)]);
            grid.push(&["22", "\u{1b}[31m"]);
            let text = written(grid);
            assert_eq!(text.contains('…'), is_cut, "{text}");
            assert!(text.contains("\\u{1b}[31m"), "{text}");
            assert_eq!(text.lines().all(|line| line.chars().count() <= 100), is_cut, "{text}");
            assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
        }
    }

    #[test]
    fn steps_are_taken_until_the_table_fits() {
        let columns = [
            Column::right("n", Role::Number),
            Column::left("time", Role::Secondary),
            Column::left("id", Role::Id),
            Column::left("text", Role::Plain),
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
                56,
                ["1", "2026-01-31 12:00:00", "invoice-000017", "日本日本日本"].to_vec(),
            ),
            (49, ["1", "2026-01-31 12:00:00", "invoi…00017", "日本日本日本"].to_vec()),
            (45, ["1", "2026-01-31 12:00", "invo…017", "日本日本日本"].to_vec()),
            (42, ["1", "2026-01-31 12:00", "invo…017"].to_vec()),
        ] {
            let mut grid = Grid::new(&columns, &steps, screen(width));
            grid.push(&["1", "2026-01-31 12:00:00.000+02", "invoice-000017", "日本日本日本"]);
            grid.fit(width);
            assert!(grid.width_needed() <= width);
            assert_eq!(grid.rows[0], expected, "{width}");
        }
    }

    #[test]
    fn a_name_that_is_typed_was_shortened_to_make_room_for_prose() {
        let columns = [Column::left("name", Role::Id), Column::left("what it is", Role::Plain)];
        let name = format!("{}-volatile", "x".repeat(50));
        for (width, prose) in [(40, "a sente…"), (80, "a sentence that is…")] {
            let mut grid = Grid::new(&columns, &[], screen(width)).whole_names();
            grid.push(&[&name, "a sentence that is longer than the rest of the line"]);
            let text = written(grid);
            assert!(text.lines().any(|line| line == format!("{name}  {prose}")), "{text}");
        }
    }

    #[test]
    fn a_note_says_what_is_left_out() {
        let columns = [
            Column::left("id", Role::Id),
            Column::left("user", Role::Id),
            Column::left("data", Role::Plain),
        ];
        let steps = [
            Narrow::Drop("user"),
            Narrow::Swap("data", "user"),
            Narrow::CutMiddle("id", 4),
        ];
        let lines = |width| {
            let mut grid = Grid::new(&columns, &steps, screen(width));
            grid.push(&["order-1", "anna", "some data that is long"]);
            written(grid).lines().skip(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines(50), ["order-1  anna  some data that is long"]);
        assert_eq!(
            lines(36),
            [
                "order-1  some data that is long",
                "not in 36 columns: user (see --form…"
            ]
        );
        assert_eq!(lines(24)[..2], ["order-1  anna", "not in 24 columns: data…"]);
        assert_eq!(lines(20).len(), 2);
    }
}
