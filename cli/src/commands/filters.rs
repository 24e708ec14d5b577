//! Converts the flags of a command to a query.

use annals::{Field, Filter, Position, Query, Timestamp};
use jiff::tz::TimeZone;

use crate::args::Filters;
use crate::exit::{Failure, Outcome};
use crate::when;

/// The query for events that match all filters. Dates are in `zone`.
pub(crate) fn query(filters: &Filters, zone: &TimeZone) -> Outcome<Query> {
    let mut query = Query::all();
    for (field, values) in terms(filters) {
        if !values.is_empty() {
            query = query.filter(Filter::one_of(field, values));
        }
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
        query = query.since(time(since, zone)?);
    }
    if let Some(before) = &filters.before {
        query = query.before(time(before, zone)?);
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

pub(crate) fn time(text: &str, zone: &TimeZone) -> Outcome<Timestamp> {
    when::parse_in(text, zone).map_err(Failure::Usage)
}

fn terms(filters: &Filters) -> [(Field, Vec<&str>); 9] {
    [
        (Field::EventType, types(&filters.event_type)),
        (Field::AggregateType, texts(&filters.aggregate_type)),
        (Field::Aggregate, texts(&filters.aggregate)),
        (Field::Correlation, texts(&filters.correlation)),
        (Field::Causation, texts(&filters.causation)),
        (Field::User, texts(&filters.user)),
        (Field::Organization, texts(&filters.organization)),
        (Field::Tag, texts(&filters.tag)),
        (Field::Day, texts(&filters.day)),
    ]
}

fn texts(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

/// Types separated by commas, and the whole text as well, since the name of a type can contain a comma.
fn types(values: &[String]) -> Vec<&str> {
    let mut types: Vec<&str> = values
        .iter()
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    types.extend(values.iter().map(String::as_str));
    types.retain(|name| !name.is_empty());
    types.sort_unstable();
    types.dedup();
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_is_every_event() {
        assert_eq!(query(&Filters::default(), &TimeZone::UTC).unwrap(), Query::all());
    }

    #[test]
    fn types_are_split_at_commas_and_kept_whole() {
        assert_eq!(types(&["A, B".to_owned(), "C".to_owned()]), ["A", "A, B", "B", "C"]);
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
