//! `trends`: shows the number of events over time as bars.

use annals::analytics::{Bucket, Empty, Trend, TrendRow};
use annals::{Query, Store};

use crate::args::{Length, Trends};
use crate::commands::{filters, nearest, time_zone};
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::draw::{bar, columns, sparkline};
use crate::output::records::Records;
use crate::output::text::{counted, grouped};

const COLUMNS_HEIGHT: u64 = 5;
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
    let query = filters::query(&args.filters, &out.zone)?;
    nearest::hint(store, &args.filters, out)?;
    let empty = if args.fill { Empty::Include } else { Empty::Leave };
    let trend = match args.by {
        Some(length) => of(store, query, bucket(length), out)?,
        None => by_span(store, &query, &SPANS, out)?,
    };
    let rows = trend.rows(empty)?;
    if !out.is_table() {
        return records(&rows).write(out);
    }
    if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
        // Without its gaps a sparkline would be misleading.
        let counts: Vec<u64> = trend
            .rows(Empty::Include)
            .map_or_else(|_| counts(&rows), |rows| counts(&rows));
        out.line(&sparkline(&counts, out.screen.drawing_width()))?;
        let span = format!("{} to {}, {}", first.label, last.label, out.zone_name());
        out.line(&format!("{}, {span}", counted(trend.total(), "event")))?;
        out.line("")?;
    }
    draw(&rows, out)
}

fn bucket(length: Length) -> Bucket {
    match length {
        Length::Hour => Bucket::Hour,
        Length::Day => Bucket::Day,
        Length::Week => Bucket::IsoWeek,
        Length::Month => Bucket::Month,
        Length::Year => Bucket::Year,
    }
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

fn draw(rows: &[TrendRow], out: &mut Out<'_>) -> Outcome {
    let max = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let label_width = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
    let count_width = grouped(max).len();
    let bar_width = out
        .screen
        .drawing_width()
        .saturating_sub(label_width + count_width + 5)
        .clamp(10, 80);
    if rows.is_empty() {
        return out.line("no events");
    }
    for row in rows {
        let (label, count, bar) = (&row.label, grouped(row.count), bar(row.count, max, bar_width));
        out.line(&format!("{label:label_width$}  {count:>count_width$}  {bar}"))?;
    }
    Ok(())
}

/// The whole store as high columns under a heading, for the tour.
pub(crate) fn draw_columns(store: &Store, out: &mut Out<'_>) -> Outcome {
    let trend = by_span(store, &Query::all(), &SPANS_OF_COLUMNS, out)?;
    let name = match trend.bucket() {
        Bucket::Hour => "hour",
        Bucket::Day => "day",
        Bucket::IsoWeek => "week",
        Bucket::Month => "month",
        Bucket::Year => "year",
    };
    let mut heading = format!("\n{name} by {name}");
    heading[1..2].make_ascii_uppercase();
    out.line(&heading)?;
    let rows = trend.rows(Empty::Include)?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return out.line("no events");
    };
    let counts = counts(&rows);
    let per_column = counts
        .len()
        .div_ceil(out.screen.drawing_width().saturating_sub(4).max(1))
        .max(1);
    for line in columns(&counts, per_column, COLUMNS_HEIGHT) {
        out.line(&format!("  {line}"))?;
    }
    let max = counts.iter().max().copied().unwrap_or(0);
    let unit = if per_column == 1 {
        format!("one column a {name}")
    } else {
        format!("one column {per_column} {name}s")
    };
    out.line(&format!(
        "  {} to {}; {unit}, the busiest {name} has {}",
        first.label,
        last.label,
        counted(max, "event")
    ))
}
