//! `heatmap`: shows the number of events by weekday and hour as shades.

use annals::analytics::Heatmap;
use annals::{Query, Store};

use crate::args::Filters;
use crate::commands::{filters, nearest, time_zone};
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::draw::{RAMP, RANKS, least, rank, shade};
use crate::output::records::Records;
use crate::output::screen::{Role, Screen};
use crate::output::text::{counted, grouped, pad};

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
/// The width of a line beside its cells: the name of the day, the sum and spaces.
const MARGIN: usize = 24;
/// Maximum characters of a cell.
const CELL_MAX: usize = 3;
const HOURS: usize = 24;
/// The distance in hours between two labels over the columns.
const HOURS_NAMED: usize = 3;

pub(crate) fn show(store: &Store, filters: &Filters, out: &mut Out<'_>) -> Outcome {
    let heatmap = of(store, filters::query(filters, out.times())?, out)?;
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

/// A row for each weekday, and up to three characters for each hour.
pub(crate) fn draw(heatmap: &Heatmap, out: &mut Out<'_>) -> Outcome {
    let (screen, max) = (out.screen, heatmap.max());
    let cell = (screen.drawing_width().saturating_sub(MARGIN) / HOURS).clamp(1, CELL_MAX);
    let hours = (0..HOURS)
        .step_by(HOURS_NAMED)
        .map(|hour| pad(&format!("{hour:02}"), HOURS_NAMED * cell));
    let hours: String = hours.collect();
    out.note(&format!("             {}", hours.trim_end()))?;
    for (weekday, hours) in WEEKDAYS.iter().zip(heatmap.counts()) {
        let cells: String = hours
            .iter()
            .map(|count| shaded(rank(*count, max), cell, screen))
            .collect();
        let sum = format!("{:>9}", grouped(hours.iter().sum()));
        out.line(&format!("  {weekday:9}  {cells}  {}", screen.paint(Role::Number, &sum)))?;
    }
    let total = counted(heatmap.total(), "event");
    out.note(&format!("  {total} by weekday and hour, {}", out.zone_name()))?;
    if max == 0 {
        return Ok(());
    }
    let label = screen.paint(Role::Secondary, "  events in an hour:");
    out.line(&format!("{label} {}", legend(max, screen)))
}

/// A cell of `width` characters: its shade, in its colour where there are colours.
fn shaded(rank: usize, width: usize, screen: Screen) -> String {
    let text = String::from(shade(rank)).repeat(width);
    RAMP.get(rank.wrapping_sub(1))
        .map_or_else(|| text.clone(), |colour| screen.block(*colour, &text))
}

/// The meaning of the shades.
fn legend(max: u64, screen: Screen) -> String {
    let ranges = (1..=RANKS).step_by(2).filter_map(|rank| {
        let (first, last) = (least(rank, max), least(rank + 2, max).saturating_sub(1).min(max));
        let shades: String = [rank, rank + 1].map(|rank| shaded(rank, 1, screen)).concat();
        let from = if first == 1 && last > 1 { "1 to " } else { "" };
        let to = if first == 1 || first == last { "" } else { "to " };
        (first <= last).then(|| format!("{shades} {from}{to}{}", grouped(last)))
    });
    ranges.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legend_has_every_count_once() {
        for max in (1..200).chain([4_411, u64::MAX / 8]) {
            for rank in 1..=RANKS {
                let first = least(rank, max);
                assert!(super::rank(first, max) >= rank || first > max, "{rank} of {max}");
                assert!(super::rank(first - 1, max) < rank, "{rank} of {max}");
            }
            assert!(super::rank(max, max) <= RANKS);
        }
        let plain = Screen::default();
        assert_eq!(legend(1, plain), "░░ 1");
        assert_eq!(legend(2, plain), "░░ 1 ▓▓ 2");
        assert_eq!(legend(40, plain), "░░ 1 to 10 ▒▒ to 20 ▓▓ to 30 ██ to 40");
    }
}
