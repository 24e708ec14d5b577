//! Converts the flags of a command to a query.

use annals::{Field, Position, Query, Timestamp};
use jiff::tz::TimeZone;

use crate::args::pattern::Pattern;
use crate::args::{Filters, Terms};
use crate::exit::{Failure, Outcome};
use crate::when;

/// The query for events that match all filters. Dates are in `zone`.
pub(crate) fn query(filters: &Filters, zone: &TimeZone) -> Outcome<Query> {
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
    ranges(query, filters, zone)
}

fn ranges(mut query: Query, filters: &Filters, zone: &TimeZone) -> Outcome<Query> {
    if let Some(since) = &filters.since {
        query = query.since(time("since", since, zone)?);
    }
    if let Some(before) = &filters.before {
        query = query.before(time("before", before, zone)?);
    }
    if let Some(after) = filters.after {
        query = query.after(Position(after));
    }
    if let Some(until) = filters.until {
        query = query.until(Position(until));
    }
    if let Some(as_of) = filters.as_of {
        query = query.as_of(as_of);
    }
    Ok(query)
}

/// The time that `--flag` names.
pub(crate) fn time(flag: &str, text: &str, zone: &TimeZone) -> Outcome<Timestamp> {
    when::parse_in(text, zone).map_err(|reason| Failure::Usage(format!("invalid value of --{flag}: {reason}")))
}

fn given(terms: Terms) -> impl Iterator<Item = (Field, Vec<Pattern>)> {
    terms.into_iter().filter(|(_, patterns)| !patterns.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_is_every_event() {
        assert_eq!(query(&Filters::default(), &TimeZone::UTC).unwrap(), Query::all());
    }

    #[test]
    fn dates_are_meant_in_the_zone() {
        let zone = when::parse_zone("+02:00").unwrap();
        let filters = Filters {
            since: Some("2026-01-31".to_owned()),
            ..Filters::default()
        };
        let expected = Query::all().since("2026-01-30T22:00:00Z".parse().unwrap());
        assert_eq!(query(&filters, &zone).unwrap(), expected);
        let filters = Filters {
            before: Some("soon".to_owned()),
            ..Filters::default()
        };
        assert!(matches!(query(&filters, &zone), Err(Failure::Usage(_))));
    }
}
