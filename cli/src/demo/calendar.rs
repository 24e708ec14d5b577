//! When things happen: weeks with working days, nights and lunch breaks.

use annals::Timestamp;

use crate::demo::random::Random;

/// Monday, 2026-01-05, in UTC.
const START: i64 = 1_767_571_200_000_000;
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const DAYS_MIN: u64 = 42;
/// More events than this on a day make the log longer, not the day busier: what is open at a time stays bounded.
const EVENTS_PER_DAY_MAX: u64 = 25_000;
/// What an hour has, of the busiest hour's hundred; in UTC.
const HOURS: [i64; 24] = [
    6, 5, 4, 4, 5, 8, 15, 34, 62, 88, 100, 92, 70, 78, 95, 90, 80, 62, 40, 28, 22, 17, 12, 8,
];
/// What a day has, of the busiest day's hundred; from Monday.
const WEEKDAYS: [i64; 7] = [92, 100, 98, 95, 80, 22, 15];
/// The mean of the product of both, in hundredths of a percent.
const MEAN: i64 = mean();

const fn mean() -> i64 {
    let (mut hours, mut days, mut index) = (0, 0, 0);
    while index < HOURS.len() {
        hours += HOURS[index];
        index += 1;
    }
    index = 0;
    while index < WEEKDAYS.len() {
        days += WEEKDAYS[index];
        index += 1;
    }
    hours * days / (24 * 7)
}

/// The times at which conversations begin.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    now: i64,
    /// What lies between two beginnings in the busiest hour.
    gap: i64,
}

impl Calendar {
    /// For a log of `events` in conversations of `conversation_events` on average.
    pub(crate) fn new(events: u64, conversation_events: u64) -> Self {
        let days = DAYS_MIN.max(events / EVENTS_PER_DAY_MAX);
        let span = i128::from(days) * i128::from(DAY) * i128::from(MEAN) / 10_000;
        let conversations = (events / conversation_events.max(1)).max(1);
        let gap = i64::try_from(span / i128::from(conversations)).unwrap_or(DAY);
        Self {
            now: START,
            gap: gap.max(1),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now)
    }

    /// Moves on to the next beginning: later by up to twice the gap, the later the quieter it is.
    pub(crate) fn advance(&mut self, random: &mut Random) {
        let mut left = i64::try_from(random.below(self.gap.cast_unsigned() * 2)).unwrap_or(self.gap);
        // An hour at a time, for the next hour may be busier.
        loop {
            let weight = weight(self.now);
            let until_next_hour = HOUR - self.now.rem_euclid(HOUR);
            let used = until_next_hour * weight / 10_000;
            if used > left {
                self.now += left * 10_000 / weight;
                return;
            }
            left -= used;
            self.now += until_next_hour;
        }
    }
}

/// How busy the hour of `time` is, of 10,000.
fn weight(time: i64) -> i64 {
    let since_monday = time - START;
    let hour = usize::try_from(since_monday.rem_euclid(DAY) / HOUR).unwrap_or(0);
    let day = usize::try_from(since_monday.div_euclid(DAY).rem_euclid(7)).unwrap_or(0);
    HOURS
        .get(hour)
        .zip(WEEKDAYS.get(day))
        .map_or(1, |(hour, day)| hour * day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_hours_are_busy_and_nights_are_not() {
        let mut calendar = Calendar::new(100_000, 10);
        let mut random = Random::new(3);
        let (mut working, mut night) = (0, 0);
        for _ in 0..10_000 {
            calendar.advance(&mut random);
            let hour = calendar.now().as_micros().rem_euclid(DAY) / HOUR;
            working += u32::from((9..17).contains(&hour));
            night += u32::from(hour < 6);
        }
        assert!(working > 10 * night, "{working} {night}");
        let days = (calendar.now().as_micros() - START) / DAY;
        assert!((38..47).contains(&days), "{days}");
    }
}
