//! Charts as inline SVG, each with its data as a table.

use std::fmt::Write as _;

use super::html::{escape, number};

const WIDTH: f64 = 900.0;
const LABELS: f64 = 260.0;
const VALUES: f64 = 110.0;
const BAR: f64 = 26.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 70.0;
/// Colours of the style, and the most lines of a chart: more cannot be told apart.
const COLOURS: usize = 8;

/// A bar, with its interval.
pub(super) struct Bar {
    /// Bars of one group have one colour.
    pub(super) group: String,
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A line of points.
pub(super) struct Line {
    pub(super) label: String,
    /// Joined points; parts are not joined with each other.
    pub(super) parts: Vec<Vec<(f64, f64)>>,
}

/// A bar whose parts follow each other.
pub(super) struct Stack {
    pub(super) label: String,
    pub(super) parts: Vec<f64>,
}

/// Horizontal bars that start at zero; empty without bars.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.high.max(bar.value)).fold(0.0, f64::max);
    if longest <= 0.0 {
        return String::new();
    }
    let (room, mut svg) = (WIDTH - LABELS - VALUES, String::new());
    let mut top = 4.0;
    let mut groups: Vec<&str> = bars.iter().map(|bar| bar.group.as_str()).collect();
    groups.dedup();
    for bar in bars {
        let group = groups.iter().position(|group| *group == bar.group);
        let (colour, middle) = (group.unwrap_or(0) % COLOURS, top + BAR * 0.5);
        let (length, low, high) = (
            bar.value / longest * room,
            bar.low / longest * room,
            bar.high / longest * room,
        );
        let text = middle + 4.0;
        let label = escape(&bar.label);
        let value = number(bar.value);
        let (label_end, from, to) = (LABELS - 8.0, LABELS + low, LABELS + high);
        let value_at = LABELS + high.max(length) + 6.0;
        push(
            &mut svg,
            format_args!(
                "<text x=\"{label_end:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{label}</text>\
                 <rect class=\"f{colour}\" x=\"{LABELS:.1}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\"/>\
                 <line class=\"whisker\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
                 <text x=\"{value_at:.1}\" y=\"{text:.1}\">{value}</text>",
                top + 3.0,
                BAR - 6.0,
            ),
        );
        top += BAR;
    }
    let row = |bar: &Bar| [bar.label.clone(), number(bar.value), number(bar.low), number(bar.high)].to_vec();
    let rows: Vec<Vec<String>> = bars.iter().map(row).collect();
    let table = super::html::table(&["", unit, "95 % from", "to"], &rows);
    figure(&format!("{title}, {unit}"), (top + 4.0, &svg), "", &table)
}

/// Horizontal bars of parts, which have these names; empty if no bar has a length.
pub(super) fn stacks(title: &str, unit: &str, names: &[&str], stacks: &[Stack]) -> String {
    let length = |stack: &Stack| stack.parts.iter().sum::<f64>();
    let longest = stacks.iter().map(length).fold(0.0, f64::max);
    if longest <= 0.0 {
        return String::new();
    }
    let (room, mut svg, mut top) = (WIDTH - LABELS - VALUES, String::new(), 4.0);
    for stack in stacks {
        let (mut left, middle) = (LABELS, top + BAR * 0.5 + 4.0);
        for (colour, part) in stack.parts.iter().enumerate() {
            let (colour, width) = (colour % COLOURS, part / longest * room);
            let (below, height) = (top + 3.0, BAR - 6.0);
            push(
                &mut svg,
                format_args!(
                    "<rect class=\"f{colour}\" x=\"{left:.1}\" y=\"{below:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
                ),
            );
            left += width;
        }
        let (label, all, label_end, end) = (escape(&stack.label), number(length(stack)), LABELS - 8.0, left + 6.0);
        push(
            &mut svg,
            format_args!(
                "<text x=\"{label_end:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{label}</text><text x=\"{end:.1}\" y=\"{middle:.1}\">{all}</text>"
            ),
        );
        top += BAR;
    }
    let legend: String = names
        .iter()
        .enumerate()
        .map(|(colour, name)| key(colour % COLOURS, name))
        .collect();
    let row = |stack: &Stack| {
        let parts = stack
            .parts
            .iter()
            .chain([&length(stack)])
            .map(|part| number(*part))
            .collect::<Vec<_>>();
        std::iter::once(stack.label.clone()).chain(parts).collect()
    };
    let rows: Vec<Vec<String>> = stacks.iter().map(row).collect();
    let header: Vec<&str> = std::iter::once("")
        .chain(names.iter().copied())
        .chain(["all"])
        .collect();
    let table = super::html::table(&header, &rows);
    figure(&format!("{title}, {unit}"), (top + 4.0, &svg), &legend, &table)
}

/// Lines over a common axis; empty without points. The first [`COLOURS`] are drawn, and the data table has all.
pub(super) fn lines(title: &str, units: (&str, &str), lines: &[Line]) -> String {
    let has_points = |line: &&Line| line.parts.iter().any(|part| !part.is_empty());
    let lines: Vec<&Line> = lines.iter().filter(has_points).collect();
    let drawn = lines.get(..COLOURS).unwrap_or(&lines);
    let points = || drawn.iter().flat_map(|line| line.parts.iter().flatten());
    let right = points().map(|point| point.0).fold(0.0, f64::max);
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    if right <= 0.0 || highest <= 0.0 {
        return String::new();
    }
    let (bottom, end) = (HEIGHT - 30.0, WIDTH - 10.0);
    let at = |(x, y): (f64, f64)| (LEFT + x / right * (end - LEFT), bottom - y / highest * (bottom - 12.0));
    let mut svg = String::new();
    for part in [0.0, 0.5, 1.0] {
        let ((x, y), value) = (at((right * part, highest * part)), number(highest * part));
        let (second, label, below) = (number(right * part), LEFT - 6.0, bottom + 18.0);
        let anchor = if part > 0.9 { "end" } else { "middle" };
        push(
            &mut svg,
            format_args!(
                "<line class=\"axis\" x1=\"{LEFT:.1}\" x2=\"{end:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"soft\" x=\"{label:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\
                 <text class=\"soft\" x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"{anchor}\">{second}</text>",
                y + 4.0,
            ),
        );
    }
    let parts = drawn
        .iter()
        .enumerate()
        .flat_map(|(colour, line)| line.parts.iter().map(move |part| (colour, part)));
    for (colour, part) in parts {
        let places = part
            .iter()
            .map(|point| at(*point))
            .map(|(x, y)| format!("{x:.1},{y:.1}"));
        let places = places.collect::<Vec<_>>().join(" ");
        push(
            &mut svg,
            format_args!("<polyline class=\"line s{colour}\" points=\"{places}\"/>"),
        );
    }
    let title = format!("{title}: {} over {}", units.1, units.0);
    figure(
        &title,
        (HEIGHT, &svg),
        &legend(drawn, lines.len()),
        &points_of(&lines, units),
    )
}

/// The colours of the `drawn` lines of `all`.
fn legend(drawn: &[&Line], all: usize) -> String {
    let keys = drawn.iter().enumerate();
    let mut legend: String = keys.map(|(colour, line)| key(colour, &line.label)).collect();
    if drawn.len() < all {
        let drawn = drawn.len();
        push(
            &mut legend,
            format_args!("<br>The first {drawn} of {all} lines are drawn; the data table has all."),
        );
    }
    legend
}

/// The table of the points of lines.
fn points_of(lines: &[&Line], units: (&str, &str)) -> String {
    let points = |line: &&Line| {
        let row = |(x, y): &(f64, f64)| vec![line.label.clone(), number(*x), number(*y)];
        line.parts.iter().flatten().map(row).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = lines.iter().flat_map(points).collect();
    super::html::table(&["", units.0, units.1], &rows)
}

/// A square of a colour, and what has it.
fn key(colour: usize, label: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 10 10\" style=\"width:.7em;display:inline-block\" aria-hidden=\"true\"><rect class=\"f{colour}\" width=\"10\" height=\"10\"/></svg> {} &#160; ",
        escape(label)
    )
}

fn figure(title: &str, (height, svg): (f64, &str), legend: &str, table: &str) -> String {
    let title = escape(title);
    let legend = if legend.is_empty() {
        String::new()
    } else {
        format!("<p>{legend}</p>")
    };
    format!(
        "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\">{svg}</svg>{legend}\
         <details><summary>data</summary>{table}</details></figure>\n"
    )
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a text does not fail.
    text.write_fmt(more).unwrap_or_default();
}
