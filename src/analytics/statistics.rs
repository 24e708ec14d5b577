//! Counts of events: in total, and by hour, day, type, organization and user.

use std::collections::BTreeMap;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::counts::Counts;
use super::date::Date;
use super::local::WallClock;
use super::zone::TimeZone;
use crate::{Error, EventRef, Timestamp};

/// Approximate bytes of an ordered map for one day and its count.
const BYTES_PER_DAY: usize = 32;

/// Counts of events: in total, by hour of the day, by day, by event type, by aggregate type, by organization and by user.
///
/// Serialised with names in camelCase; `byHour` is a list of 24 numbers, the other groups are objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    clock: WallClock,
    total: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    by_hour: [u64; 24],
    by_day: BTreeMap<Date, u64>,
    by_type: Counts,
    by_aggregate_type: Counts,
    by_organization: Counts,
    by_user: Counts,
}

impl Statistics {
    /// Creates empty statistics with the days and hours of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            clock: WallClock::new(zone),
            total: 0,
            first: None,
            last: None,
            by_hour: [0; 24],
            by_day: BTreeMap::new(),
            by_type: Counts::default(),
            by_aggregate_type: Counts::default(),
            by_organization: Counts::default(),
            by_user: Counts::default(),
        }
    }

    /// Counts `event` at its timestamp.
    pub fn add(&mut self, event: EventRef<'_>) {
        let at = event.timestamp();
        let local = self.clock.read(at);
        self.total += 1;
        self.by_hour[local.hour] += 1;
        *self.by_day.entry(local.date).or_insert(0) += 1;
        self.by_type.add(Some(event.event_type()));
        self.by_aggregate_type.add(Some(event.aggregate_type()));
        self.by_organization.add(event.organization_id());
        self.by_user.add(event.user_id());
        self.widen(Some(at), Some(at));
    }

    /// Adds the counts of `other`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the time zones differ; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        self.clock.check_same_zone(&other.clock)?;
        self.total += other.total;
        for (count, more) in self.by_hour.iter_mut().zip(other.by_hour) {
            *count += more;
        }
        for (date, count) in &other.by_day {
            *self.by_day.entry(*date).or_insert(0) += count;
        }
        self.by_type.merge(&other.by_type);
        self.by_aggregate_type.merge(&other.by_aggregate_type);
        self.by_organization.merge(&other.by_organization);
        self.by_user.merge(&other.by_user);
        self.widen(other.first, other.last);
        Ok(())
    }

    fn widen(&mut self, first: Option<Timestamp>, last: Option<Timestamp>) {
        self.first = self.first.into_iter().chain(first).min();
        self.last = self.last.max(last);
    }

    /// The total number of events.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The earliest timestamp; `None` without events.
    pub fn first(&self) -> Option<Timestamp> {
        self.first
    }

    /// The latest timestamp; `None` without events.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// The number of events of each hour of the day, from midnight, over all days.
    pub fn by_hour(&self) -> &[u64; 24] {
        &self.by_hour
    }

    /// The number of events of each day that has any.
    pub fn by_day(&self) -> &BTreeMap<Date, u64> {
        &self.by_day
    }

    /// The number of events of each event type.
    pub fn by_type(&self) -> &Counts {
        &self.by_type
    }

    /// The number of events of each aggregate type.
    pub fn by_aggregate_type(&self) -> &Counts {
        &self.by_aggregate_type
    }

    /// The number of events of each organization.
    pub fn by_organization(&self) -> &Counts {
        &self.by_organization
    }

    /// The number of events of each user.
    pub fn by_user(&self) -> &Counts {
        &self.by_user
    }

    /// The time zone of the days and hours.
    pub fn time_zone(&self) -> &TimeZone {
        self.clock.zone()
    }

    /// Approximate bytes of memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.by_day.len() * BYTES_PER_DAY
            + self.by_type.heap_bytes()
            + self.by_aggregate_type.heap_bytes()
            + self.by_organization.heap_bytes()
            + self.by_user.heap_bytes()
    }
}

impl Serialize for Statistics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Statistics", 12)?;
        map.serialize_field("timeZone", self.time_zone())?;
        map.serialize_field("total", &self.total)?;
        map.serialize_field("first", &self.first)?;
        map.serialize_field("last", &self.last)?;
        map.serialize_field("byHour", &self.by_hour)?;
        map.serialize_field("byDay", &self.by_day)?;
        map.serialize_field("byType", &self.by_type)?;
        map.serialize_field("byAggregateType", &self.by_aggregate_type)?;
        map.serialize_field("byOrganization", &self.by_organization)?;
        map.serialize_field("withoutOrganization", &self.by_organization.without())?;
        map.serialize_field("byUser", &self.by_user)?;
        map.serialize_field("withoutUser", &self.by_user.without())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::{Sample, chunk_of};
    use super::*;

    fn statistics(zone: &str, samples: &[Sample]) -> Statistics {
        let mut statistics = Statistics::new(zone.parse().unwrap());
        let chunk = chunk_of(samples);
        (0..chunk.len()).for_each(|index| statistics.add(EventRef::new(&chunk, index)));
        statistics
    }

    fn sample(at: &str, user: Option<&str>, organization: Option<&str>) -> Sample {
        let at = at.parse::<Timestamp>().unwrap();
        let [user, organization] = [user, organization].map(|name| name.map(str::to_owned));
        Sample {
            micros: at.as_micros(),
            user,
            organization,
            ..Sample::default()
        }
    }

    fn samples() -> Vec<Sample> {
        vec![
            sample("2026-10-25T00:30:00Z", Some("anna"), Some("acme")),
            sample("2026-10-25T01:30:00Z", Some("bob"), None),
            sample("2026-10-24T21:30:00Z", Some("anna"), None),
            sample("2026-03-29T01:00:00Z", None, Some("acme")),
        ]
    }

    #[test]
    fn hours_and_days_are_those_of_the_zone() {
        let statistics = statistics("Europe/Amsterdam", &samples());
        let mut by_hour = [0; 24];
        // The hour from two to three occurs twice in October, and not at all in March.
        (by_hour[2], by_hour[3], by_hour[23]) = (2, 1, 1);
        assert_eq!(statistics.by_hour(), &by_hour);
        let by_day: Vec<_> = statistics
            .by_day()
            .iter()
            .map(|(date, count)| (date.to_string(), *count))
            .collect();
        let expected = [("2026-03-29", 1), ("2026-10-24", 1), ("2026-10-25", 2)];
        assert_eq!(by_day, expected.map(|(date, count)| (date.to_owned(), count)));
        assert_eq!(statistics.first().unwrap().to_string(), "2026-03-29T01:00:00Z");
        assert_eq!(statistics.last().unwrap().to_string(), "2026-10-25T01:30:00Z");
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_has_every_group_in_order() {
        let json = serde_json::to_string(&statistics("-03:00", &samples())).unwrap();
        let hours = "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,0,0,1,2,0";
        let expected = [
            r#"{"timeZone":"-03:00","total":4,"first":"2026-03-29T01:00:00Z","last":"2026-10-25T01:30:00Z","#,
            &format!(r#""byHour":[{hours}],"byDay":{{"2026-03-28":1,"2026-10-24":3}},"#),
            r#""byType":{"Tested":4},"byAggregateType":{"Sample":4},"#,
            r#""byOrganization":{"acme":2},"withoutOrganization":2,"byUser":{"anna":2,"bob":1},"withoutUser":1}"#,
        ];
        assert_eq!(json, expected.concat());
    }

    #[test]
    fn no_events_have_no_first_and_no_last() {
        let statistics = Statistics::new(TimeZone::UTC);
        assert_eq!(
            (statistics.total(), statistics.first(), statistics.last()),
            (0, None, None)
        );
    }

    #[test]
    fn more_users_weigh_more() {
        let one = statistics("UTC", &samples()[..1]);
        assert!(statistics("UTC", &samples()).bytes() > one.bytes());
    }

    #[test]
    fn zones_do_not_mix() {
        let mut one = statistics("UTC", &samples());
        assert!(matches!(
            one.merge(&statistics("Europe/Amsterdam", &samples())),
            Err(Error::Invalid { .. })
        ));
        assert_eq!(one.total(), 4);
    }

    fn any_sample() -> impl Strategy<Value = Sample> {
        let name = || {
            prop::option::of(prop::sample::select(vec![
                String::new(),
                "a".to_owned(),
                "b".to_owned(),
            ]))
        };
        (any::<i64>(), name(), name()).prop_map(|(micros, user, organization)| Sample {
            micros,
            user,
            organization,
            ..Sample::default()
        })
    }

    proptest! {
        #[test]
        fn merging_is_adding_all(
            samples in prop::collection::vec(any_sample(), 0..100),
            cut in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = samples.split_at(cut.index(samples.len() + 1));
            let mut merged = statistics("Europe/Amsterdam", head);
            merged.merge(&statistics("Europe/Amsterdam", tail)).unwrap();
            prop_assert_eq!(&merged, &statistics("Europe/Amsterdam", &samples));
            prop_assert_eq!(merged.by_hour().iter().sum::<u64>(), merged.total());
            prop_assert_eq!(merged.by_day().values().sum::<u64>(), merged.total());
            for types in [merged.by_type(), merged.by_aggregate_type()] {
                prop_assert_eq!((types.iter().map(|(_, count)| count).sum::<u64>(), types.without()), (merged.total(), 0));
            }
            let users = merged.by_user();
            prop_assert_eq!(users.iter().map(|(_, count)| count).sum::<u64>() + users.without(), merged.total());
        }
    }
}
