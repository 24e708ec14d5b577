//! Whether an event matches a query.

use super::Recorded;
use crate::query::{AsOf, Query};
use crate::{Field, Filter, Name};

pub(super) fn is_before(event: &Recorded, as_of: Option<AsOf>) -> bool {
    match as_of {
        None => true,
        Some(AsOf::Position(position)) => event.position <= position.0,
        Some(AsOf::Time(time)) => event.recorded <= time,
    }
}

pub(super) fn matches(event: &Recorded, query: &Query) -> bool {
    !event.dropped
        && (query.system || !event.is_system())
        && query.since.is_none_or(|since| event.time >= since)
        && query.before.is_none_or(|before| event.time < before)
        && is_before(event, query.as_of.filter(|as_of| matches!(as_of, AsOf::Time(_))))
        && query.filters.iter().all(|filter| passes(event, filter))
}

fn passes(event: &Recorded, filter: &Filter) -> bool {
    match filter {
        Filter::Is(field, values) => field_values(event, field).iter().any(|value| values.contains(value)),
        Filter::All(filters) => filters.iter().all(|filter| passes(event, filter)),
        Filter::Any(filters) => filters.iter().any(|filter| passes(event, filter)),
        #[cfg(feature = "json")]
        Filter::Metadata(pointer, value) => {
            json_at(&event.event.metadata, pointer) == serde_json::from_str(value.as_str()).ok()
        }
        #[cfg(feature = "json")]
        Filter::Data(pointer, value) => {
            json_at(&event.event.data, pointer) == serde_json::from_str(value.as_str()).ok()
        }
        Filter::Text(text) => {
            let contains = |bytes: &[u8]| {
                String::from_utf8_lossy(bytes)
                    .to_lowercase()
                    .contains(&text.to_lowercase())
            };
            contains(&event.event.data) || contains(&event.event.metadata)
        }
        Filter::Not(filter) => !passes(event, filter),
        Filter::Prefix(field, prefix) => field_values(event, field)
            .iter()
            .any(|value| value.starts_with(prefix.as_str())),
        Filter::Versions(versions) => (versions.from.0..=versions.to.0).contains(&event.version),
        Filter::Positions(positions) => (positions.from.0..=positions.to.0).contains(&event.position),
        Filter::Times(times) => times.from <= event.time && event.time <= times.to,
    }
}

pub(super) fn field_values(event: &Recorded, field: &Field) -> Vec<Name> {
    let new = &event.event;
    match field {
        Field::EventType => vec![(&new.event_type).into()],
        Field::AggregateType => vec![event.stream.aggregate_type.clone()],
        Field::Aggregate => vec![event.stream.aggregate_id.clone()],
        Field::Correlation => new.correlation_id.iter().map(Name::from).collect(),
        Field::Causation => new.causation_id.iter().map(Name::from).collect(),
        Field::User => new.user_id.iter().map(Name::from).collect(),
        Field::Organization => new.organization_id.iter().map(Name::from).collect(),
        Field::Day => vec![event.time.date().into()],
        Field::Tag => new.tags.iter().map(Name::from).collect(),
        Field::Index(_) => vec![Name::from((new.data.len() % 3).to_string())],
    }
}

#[cfg(feature = "json")]
fn json_at(bytes: &[u8], pointer: &str) -> Option<serde_json::Value> {
    serde_json::from_slice::<serde_json::Value>(bytes)
        .ok()?
        .pointer(pointer)
        .cloned()
}
