//! Converts the flags of a command to a query.

use std::time::Duration;

use annals::{Field, Position, Query, Timestamp};

use crate::args::pattern::Pattern;
use crate::args::{Filters, Terms};
use crate::exit::{Failure, Outcome};
use crate::when::{Moment, Times};

/// The query for events that match all filters.
pub(crate) fn query(filters: &Filters, times: Times<'_>) -> Outcome<Query> {
    let mut query = Query::all();
    for (field, patterns) in given(filters.terms()) {
        query = query.filter(Pattern::any(&field, &patterns));
    }
    for (field, patterns) in given(filters.except.terms()) {
        query = query.except(Pattern::any(&field, &patterns));
    }
    if !filters.day.is_empty() {
        query = query.days(filters.day.iter().map(String::as_str));
    }
    for (pointer, value) in &filters.data {
        query = query.data(pointer.as_str(), value.clone());
    }
    for (pointer, value) in &filters.metadata {
        query = query.metadata(pointer.as_str(), value.clone());
    }
    if let Some(text) = &filters.text {
        query = query.text(text.as_str());
    }
    ranges(query, filters, times)
}

fn ranges(mut query: Query, filters: &Filters, times: Times<'_>) -> Outcome<Query> {
    if let Some(since) = &filters.since {
        query = query.since(time("since", since, times)?);
    }
    if let Some(before) = end(filters, times)? {
        query = query.before(before);
    }
    if let Some(after) = filters.after {
        query = query.after(Position(after));
    }
    if let Some(Moment::Position(until)) = filters.until {
        query = query.until(until);
    }
    if let Some(as_of) = &filters.as_of {
        query = query.as_of(as_of.as_of(times).map_err(|reason| invalid("as-of", &reason))?);
    }
    Ok(query)
}

/// The exclusive upper bound of time: that of `--before`, or the microsecond after `--until`.
fn end(filters: &Filters, times: Times<'_>) -> Outcome<Option<Timestamp>> {
    let before = filters.before.as_ref();
    let before = before.map(|text| time("before", text, times)).transpose()?;
    let Some(Moment::Time(until)) = &filters.until else {
        return Ok(before);
    };
    let behind = time("until", until, times)?.after(Duration::from_micros(1));
    Ok(Some(before.map_or(behind, |before| before.min(behind))))
}

/// Parses `text`, the value of `--flag`, as a time.
pub(crate) fn time(flag: &str, text: &str, times: Times<'_>) -> Outcome<Timestamp> {
    times.parse(text).map_err(|reason| invalid(flag, &reason))
}

fn invalid(flag: &str, reason: &str) -> Failure {
    Failure::Usage(format!("invalid value of --{flag}: {reason}"))
}

fn given(terms: Terms) -> impl Iterator<Item = (Field, Vec<Pattern>)> {
    terms.into_iter().filter(|(_, patterns)| !patterns.is_empty())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::when;

    fn times(zone: &TimeZone) -> Times<'_> {
        let now = "2026-02-01T00:00:00Z".parse().unwrap();
        Times { zone, now }
    }

    #[test]
    fn no_filter_is_every_event() {
        assert_eq!(query(&Filters::default(), times(&TimeZone::UTC)).unwrap(), Query::all());
    }

    #[test]
    fn times_ago_are_before_the_clock() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let filters = Filters {
            since: Some("2d".to_owned()),
            until: Some(Moment::parse("-15m").unwrap()),
            as_of: Some(Moment::parse("1h").unwrap()),
            ..Filters::default()
        };
        let expected = Query::all()
            .since(at("2026-01-30T00:00:00Z"))
            .before(at("2026-01-31T23:45:00.000001Z"))
            .as_of(at("2026-01-31T23:00:00Z"));
        assert_eq!(query(&filters, times(&TimeZone::UTC)).unwrap(), expected);
        // The earlier bound applies.
        for (before, end) in [("1d", "2026-01-31T00:00:00Z"), ("1s", "2026-01-31T23:45:00.000001Z")] {
            let filters = Filters {
                before: Some(before.to_owned()),
                until: filters.until.clone(),
                ..Filters::default()
            };
            assert_eq!(
                query(&filters, times(&TimeZone::UTC)).unwrap(),
                Query::all().before(at(end))
            );
        }
    }

    #[test]
    fn dates_are_meant_in_the_zone() {
        let zone = when::parse_zone("+02:00").unwrap();
        let filters = Filters {
            since: Some("2026-01-31".to_owned()),
            ..Filters::default()
        };
        let expected = Query::all().since("2026-01-30T22:00:00Z".parse().unwrap());
        assert_eq!(query(&filters, times(&zone)).unwrap(), expected);
        let filters = Filters {
            before: Some("soon".to_owned()),
            ..Filters::default()
        };
        assert!(matches!(query(&filters, times(&zone)), Err(Failure::Usage(_))));
    }
}
