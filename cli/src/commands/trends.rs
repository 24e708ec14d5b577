//! `trends`: how many events there were over time, as bars.

use annals::analytics::{Bucket, Empty, Trend, TrendRow};
use annals::{Query, Store};

use crate::args::{Length, Trends};
use crate::commands::{filters, time_zone};
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::draw::{bar, columns, sparkline};
use crate::output::records::Records;
use crate::output::table::terminal_width;
use crate::output::text::{counted, grouped};

const COLUMNS_HEIGHT: u64 = 5;

pub(crate) fn show(store: &Store, args: &Trends, out: &mut Out<'_>) -> Outcome {
    let query = filters::query(&args.filters, &out.zone)?;
    let empty = if args.fill { Empty::Include } else { Empty::Leave };
    let trend = of(store, query, bucket(args.by), out)?;
    let rows = trend.rows(empty)?;
    if !out.is_table() {
        return records(&rows).write(out);
    }
    if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
        // A sparkline without its gaps would tell another story.
        let counts: Vec<u64> = trend
            .rows(Empty::Include)
            .map_or_else(|_| counts(&rows), |rows| counts(&rows));
        out.line(&sparkline(&counts, terminal_width()))?;
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
    }
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
    let bar_width = terminal_width()
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

/// The whole store day by day, as high columns: for the tour.
pub(crate) fn draw_days(store: &Store, out: &mut Out<'_>) -> Outcome {
    let trend = of(store, Query::all(), Bucket::Day, out)?;
    let rows = trend.rows(Empty::Include)?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return out.line("no events");
    };
    let counts = counts(&rows);
    let per_column = counts.len().div_ceil(terminal_width().saturating_sub(4).max(1)).max(1);
    for line in columns(&counts, per_column, COLUMNS_HEIGHT) {
        out.line(&format!("  {line}"))?;
    }
    let max = counts.iter().max().copied().unwrap_or(0);
    let unit = if per_column == 1 {
        "one column a day".to_owned()
    } else {
        format!("one column {per_column} days")
    };
    out.line(&format!(
        "  {} to {}; {unit}, the busiest day has {}",
        first.label,
        last.label,
        counted(max, "event")
    ))
}
