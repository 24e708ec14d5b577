//! Lanes: when the events of each aggregate of a conversation happened, on one axis of time.

use annals::{Event, Timestamp};

use crate::exit::Outcome;
use crate::output::Out;
use crate::output::screen::Role;
use crate::output::text::{clean, cut_middle, grouped, pad};
use crate::when;

/// The maximum width of an aggregate's name.
const NAME_MAX: usize = 28;
/// The minimum width of a lane.
const LANE_MIN: usize = 12;
/// The width of the two times of the axis.
const AXIS_MIN: usize = 44;

/// Draws a lane for each of `groups`, the events of an aggregate; nothing if all events have one time.
pub(crate) fn draw(groups: &[Vec<&Event>], out: &mut Out<'_>) -> Outcome {
    let times = || groups.iter().flatten().map(|event| event.timestamp());
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Ok(());
    };
    if first == last {
        return Ok(());
    }
    let names: Vec<String> = groups.iter().map(|group| name(group)).collect();
    let name_width = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let count = |group: &Vec<&Event>| grouped(group.len() as u64);
    let count_width = groups.iter().map(|group| count(group).len()).max().unwrap_or(0);
    let margin = name_width + count_width + 4;
    let lane_width = out.screen.drawing_width().saturating_sub(margin).max(LANE_MIN);
    out.note(&format!("{:margin$}{}", "", axis(first, last, lane_width, out)))?;
    let screen = out.screen;
    for (group, name) in groups.iter().zip(names) {
        let name = screen.paint(Role::Id, &pad(&name, name_width));
        let count = screen.paint(Role::Number, &format!("{:>count_width$}", count(group)));
        let times = group.iter().map(|event| event.timestamp());
        let lane = screen.paint(Role::Bar, &lane(times, (first, last), lane_width));
        out.line(&format!("{name}  {count}  {lane}"))?;
    }
    out.line("")
}

fn name(group: &[&Event]) -> String {
    let name = group.first().map(|event| clean(event.aggregate_id()));
    cut_middle(&name.unwrap_or_default(), NAME_MAX)
}

fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// The first time at the left end, the last time at the right end.
fn axis(first: Timestamp, last: Timestamp, width: usize, out: &Out<'_>) -> String {
    let time = |time| {
        let text = when::show(time, &out.zone);
        text.split('.').next().unwrap_or_default().to_owned()
    };
    let (first, last) = (time(first), time(last));
    if width < AXIS_MIN {
        return format!("{first} to {last}");
    }
    format!("{first}{last:>rest$}", rest = width - first.len())
}

/// A point where events happened, and a line from the first to the last.
fn lane(times: impl Iterator<Item = Timestamp>, (first, last): (Timestamp, Timestamp), width: usize) -> String {
    let span = u128::from(last.as_micros().abs_diff(first.as_micros()).max(1));
    let cells: Vec<usize> = times
        .map(|time| {
            let since = u128::from(time.as_micros().abs_diff(first.as_micros()));
            let cell = since * (width.saturating_sub(1) as u128) / span;
            usize::try_from(cell).unwrap_or(width)
        })
        .collect();
    let (begin, end) = (cells.iter().min().copied(), cells.iter().max().copied());
    let (Some(begin), Some(end)) = (begin, end) else {
        return String::new();
    };
    let mut drawn = vec![' '; begin];
    drawn.extend(std::iter::repeat_n('─', end - begin + 1));
    for cell in cells {
        if let Some(place) = drawn.get_mut(cell) {
            *place = '●';
        }
    }
    drawn.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_goes_from_the_first_event_to_the_last() {
        let time = Timestamp::from_micros;
        let drawn = |times: &[i64], span: (i64, i64)| {
            let times = times.iter().map(|micros| time(*micros));
            lane(times, (time(span.0), time(span.1)), 11)
        };
        assert_eq!(drawn(&[0, 10], (0, 10)), "●─────────●");
        assert_eq!(drawn(&[3, 5, 5], (0, 10)), "   ●─●");
        assert_eq!(drawn(&[7], (7, 7)), "●");
        assert_eq!(drawn(&[i64::MAX], (i64::MIN, i64::MAX)), "          ●");
        assert_eq!(drawn(&[], (0, 10)), "");
    }
}
