//! `trends`: shows the number of events over time as bars.

use annals::analytics::{Bucket, Empty, Trend, TrendRow};
use annals::{Query, Store};

use crate::args::{Length, Trends};
use crate::commands::{filters, nearest, time_zone};
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::draw::{bar, columns, sparkline};
use crate::output::records::Records;
use crate::output::screen::Role;
use crate::output::table::{Column, Grid};
use crate::output::text::{counted, grouped};

const COLUMNS_HEIGHT: u64 = 4;
const BAR_WIDTH_MIN: usize = 10;
const BAR_WIDTH_MAX: usize = 80;
const MICROS_PER_DAY: u64 = 86_400_000_000;
/// The most days from the first event to the last, with the length of the rows: a table is at most a few screens long.
const SPANS: [(u64, Bucket); 4] = [
    (1, Bucket::Hour),
    (92, Bucket::Day),
    (130 * 7, Bucket::IsoWeek),
    (20 * 366, Bucket::Month),
];
/// Like [`SPANS`], for columns, of which several fit into a line.
const SPANS_OF_COLUMNS: [(u64, Bucket); 3] = [
    (2 * 366, Bucket::Day),
    (10 * 366, Bucket::IsoWeek),
    (50 * 366, Bucket::Month),
];

pub(crate) fn show(store: &Store, args: &Trends, out: &mut Out<'_>) -> Outcome {
    let query = filters::query(&args.filters, out.times())?;
    nearest::hint(store, &args.filters, out)?;
    let empty = if args.fill { Empty::Include } else { Empty::Leave };
    let trend = match bucket(args.by) {
        Some(bucket) => of(store, query, bucket, out)?,
        None => by_span(store, &query, &SPANS, out)?,
    };
    let rows = trend.rows(empty)?;
    if !out.is_table() {
        return records(&rows).write(out);
    }
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return out.line("no events");
    };
    let name = name_of(trend.bucket());
    let span = format!("{} by {name}, {}", span_of(&first.label, &last.label), out.zone_name());
    let total = out.screen.paint(Role::Number, &counted(trend.total(), "event"));
    out.line(&format!("{total}, {span}"))?;
    // Without its gaps a sparkline would be misleading.
    let all = trend.rows(Empty::Include);
    let line = all.map_or_else(|_| counts(&rows), |rows| counts(&rows));
    let line = sparkline(&line, out.screen.drawing_width());
    out.line(&out.screen.paint(Role::Bar, line.trim_end()))?;
    out.line("")?;
    draw(&rows, name, out)
}

fn name_of(bucket: Bucket) -> &'static str {
    match bucket {
        Bucket::Hour => "hour",
        Bucket::Day => "day",
        Bucket::IsoWeek => "week",
        Bucket::Month => "month",
        Bucket::Year => "year",
        _ => "period",
    }
}

/// `None` if the time between the first event and the last decides.
fn bucket(length: Length) -> Option<Bucket> {
    match length {
        Length::Auto => None,
        Length::Hour => Some(Bucket::Hour),
        Length::Day => Some(Bucket::Day),
        Length::Week => Some(Bucket::IsoWeek),
        Length::Month => Some(Bucket::Month),
        Length::Year => Some(Bucket::Year),
    }
}

fn span_of(first: &str, last: &str) -> String {
    if first == last {
        return first.to_owned();
    }
    format!("{first} to {last}")
}

/// A trend whose rows fit the time from the first event to the last: the first of `spans` that is long enough decides their length;
/// otherwise they are years.
fn by_span(store: &Store, query: &Query, spans: &[(u64, Bucket)], out: &Out<'_>) -> Outcome<Trend> {
    // Days without events have no row, so there are never more rows than events.
    let by_day = of(store, query.clone(), Bucket::Day, out)?;
    let days = by_day.rows(Empty::Leave)?;
    let micros = |row: Option<&TrendRow>| row.map_or(0, |row| row.start.as_micros());
    let days = micros(days.last()).abs_diff(micros(days.first())) / MICROS_PER_DAY;
    let bucket = spans
        .iter()
        .find(|(days_max, _)| days <= *days_max)
        .map_or(Bucket::Year, |(_, bucket)| *bucket);
    if bucket == Bucket::Day {
        return Ok(by_day);
    }
    of(store, query.clone(), bucket, out)
}

fn of(store: &Store, query: Query, bucket: Bucket, out: &Out<'_>) -> Outcome<Trend> {
    Ok(store.query(query).trend(bucket, &time_zone(out)?)?)
}

fn counts(rows: &[TrendRow]) -> Vec<u64> {
    rows.iter().map(|row| row.count).collect()
}

fn records(rows: &[TrendRow]) -> Records {
    let mut records = Records::new(&["start", "label", "count"]);
    for row in rows {
        records.push(vec![
            row.start.to_string().into(),
            row.label.as_str().into(),
            row.count.into(),
        ]);
    }
    records
}

/// A line for each row, with a bar.
fn draw(rows: &[TrendRow], name: &'static str, out: &mut Out<'_>) -> Outcome {
    let max = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let label_width = width(&mut rows.iter().map(|row| row.label.len()));
    let others = label_width.max(name.len()) + grouped(max).len().max("events".len()) + 4;
    let bar_width = out.screen.drawing_width().saturating_sub(others);
    let bar_width = bar_width.clamp(BAR_WIDTH_MIN, BAR_WIDTH_MAX);
    let columns = [
        Column::left(name, Role::Plain),
        Column::right("events", Role::Number),
        Column::left("", Role::Bar),
    ];
    let mut grid = Grid::new(&columns, &[], out.screen).whole_last();
    for row in rows {
        grid.push(&[&row.label, &grouped(row.count), &bar(row.count, max, bar_width)]);
    }
    grid.write(out.stdout)
}

/// The whole store as high columns under a heading, for the tour.
pub(crate) fn draw_columns(store: &Store, out: &mut Out<'_>) -> Outcome {
    let trend = by_span(store, &Query::all(), &SPANS_OF_COLUMNS, out)?;
    let name = name_of(trend.bucket());
    let mut heading = format!("{name} by {name}");
    heading[..1].make_ascii_uppercase();
    out.heading(&heading)?;
    let rows = trend.rows(Empty::Include)?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return out.line("no events");
    };
    let counts = counts(&rows);
    let room = out.screen.drawing_width().saturating_sub(2).max(1);
    let per_column = counts.len().div_ceil(room).max(1);
    for line in columns(&counts, per_column, COLUMNS_HEIGHT) {
        let line = out.screen.paint(Role::Bar, line.trim_end());
        out.line(format!("  {line}").trim_end())?;
    }
    let unit = match per_column {
        1 => format!("one column a {name}"),
        many => format!("one column {many} {name}s"),
    };
    let max = grouped(counts.iter().max().copied().unwrap_or(0));
    let span = span_of(&first.label, &last.label);
    out.note(&format!("  {span}; {unit}, at most {max} events a {name}"))
}
