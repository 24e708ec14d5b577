//! `heatmap`: shows the number of events by weekday and hour as shades.

use annals::analytics::Heatmap;
use annals::{Query, Store};

use crate::args::Filters;
use crate::commands::{filters, nearest, time_zone};
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::draw::shade;
use crate::output::records::Records;
use crate::output::table::terminal_width;
use crate::output::text::{counted, grouped};

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const HOURS: &str = "000102030405060708091011121314151617181920212223";
const HOURS_NARROW: &str = "0     6     12    18";
/// The width of two characters for each hour.
const WIDE: usize = 72;

pub(crate) fn show(store: &Store, filters: &Filters, out: &mut Out<'_>) -> Outcome {
    let heatmap = of(store, filters::query(filters, &out.zone)?, out)?;
    nearest::hint(store, filters, out)?;
    if out.is_table() {
        draw(&heatmap, out)
    } else {
        records(&heatmap).write(out)
    }
}

pub(crate) fn of(store: &Store, query: Query, out: &Out<'_>) -> Outcome<Heatmap> {
    Ok(store.query(query).heatmap(&time_zone(out)?)?)
}

fn records(heatmap: &Heatmap) -> Records {
    let mut records = Records::new(&["weekday", "hour", "count"]);
    for (weekday, hours) in WEEKDAYS.iter().zip(heatmap.counts()) {
        for (hour, count) in (0_u64..).zip(hours) {
            records.push(vec![(*weekday).into(), hour.into(), (*count).into()]);
        }
    }
    records
}

/// A row for each weekday, two characters for each hour, or one on a narrow terminal.
pub(crate) fn draw(heatmap: &Heatmap, out: &mut Out<'_>) -> Outcome {
    let (hours, per_hour) = if terminal_width() < WIDE {
        (HOURS_NARROW, 1)
    } else {
        (HOURS, 2)
    };
    out.line(&format!("             {hours}"))?;
    for (weekday, hours) in WEEKDAYS.iter().zip(heatmap.counts()) {
        let cells: String = hours
            .iter()
            .map(|count| shade(*count, heatmap.max()))
            .flat_map(|shade| std::iter::repeat_n(shade, per_hour))
            .collect();
        out.line(&format!("  {weekday:9}  {cells}  {:>9}", grouped(hours.iter().sum())))?;
    }
    let (total, max) = (counted(heatmap.total(), "event"), grouped(heatmap.max()));
    out.line(&format!("  {total}, hours in {}", out.zone_name()))?;
    out.line(&format!("  ░ few, █ up to {max} in one cell, blank none"))
}
