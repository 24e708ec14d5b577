//! Names, events, appends, ranges and queries, chosen by numbers.

use std::time::Duration;

use uuid::Uuid;

use super::model::Model;
use crate::query::{AsOf, Query};
use crate::{
    Append, Expected, Field, Filter, ListOrder, ListQuery, Name, NewEvent, Order, Position, StreamId, Timestamp,
    Version,
};

/// Choices made by a sequence of numbers from a property test, a fuzzer or a seed. After the end of the sequence every number is 0.
#[derive(Clone, Debug)]
pub struct Choices<I>(I);

impl<I: Iterator<Item = u16>> Choices<I> {
    /// Choices by these numbers.
    pub fn new(numbers: I) -> Self {
        Self(numbers)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        u64::from(self.0.next().unwrap_or(0)) % end.max(1)
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == count - 1
    }
}

/// The start time of a pair's clock.
pub const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

pub(super) fn choose_name<I: Iterator<Item = u16>>(choices: &mut Choices<I>, prefix: &str, count: u64) -> Name {
    Name::from(format!("{prefix}{}", choices.below(count)))
}

pub(super) fn choose_stream<I: Iterator<Item = u16>>(choices: &mut Choices<I>) -> StreamId {
    let id = choices.below(6);
    // Rarely, the type is wrong.
    let kind = if choices.one_in(40) { id + 1 } else { id } % 2;
    StreamId::new(format!("Type{kind}"), format!("aggregate-{id}"))
}

pub(super) fn choose_expected<I: Iterator<Item = u16>>(
    choices: &mut Choices<I>,
    model: &Model,
    stream: &StreamId,
) -> Expected {
    let version = model
        .read_stream(&stream.aggregate_id, None, true, 1, None)
        .first()
        .map_or(0, |position| {
            model
                .events
                .get((position - 1) as usize)
                .map_or(0, |event| event.version)
        });
    match choices.below(8) {
        0..=2 => Expected::Any,
        3..=5 => Expected::exactly(version),
        6 if choices.one_in(2) => Expected::NoStream,
        6 => Expected::StreamExists,
        _ => Expected::exactly(choices.below(8)),
    }
}

pub(super) fn choose_append<I: Iterator<Item = u16>>(choices: &mut Choices<I>, model: &Model) -> Append<'static> {
    let stream = choose_stream(choices);
    let expected = choose_expected(choices, model, &stream);
    let count = match choices.below(12) {
        0..=9 => 1 + choices.below(4),
        10 => 0,
        _ => 300,
    };
    let own_ids = choices.one_in(3);
    let events = (0..count).map(|_| choose_event(choices, own_ids)).collect::<Vec<_>>();
    Append::new(stream, expected, events)
}

pub(super) fn choose_event<I: Iterator<Item = u16>>(choices: &mut Choices<I>, own_id: bool) -> NewEvent<'static> {
    let amount = choices.below(5);
    let mut event = NewEvent::new(choose_name(choices, "Happened", 4))
        .data(format!(
            "{{\"amount\":{amount},\"note\":\"N{}\"}}",
            "x".repeat(choices.below(9) as usize)
        ))
        .timestamp(START.after(Duration::from_secs(choices.below(400_000))));
    if own_id {
        event.id = Some(Uuid::from_u64_pair(7, choices.below(u64::from(u16::MAX))));
    }
    if choices.one_in(2) {
        event.correlation_id = Some(choose_name(choices, "conversation-", 5).into());
        event.causation_id = Some(choose_name(choices, "cause-", 3).into());
    }
    if choices.one_in(2) {
        event.user_id = Some(choose_name(choices, "user-", 3).into());
        event.organization_id = Some(choose_name(choices, "org-", 2).into());
        event = event.metadata("{\"ip\":\"::1\"}");
    }
    if choices.one_in(3) {
        event.tags = vec![
            choose_name(choices, "tag-", 3).into(),
            choose_name(choices, "tag-", 3).into(),
        ];
    }
    if choices.one_in(60) {
        event.data = vec![b' '; 20_000].into();
    }
    event
}

pub(super) fn choose_range<I: Iterator<Item = u16>>(choices: &mut Choices<I>, end: u64) -> (Option<u64>, bool, usize) {
    let from = choices.one_in(2).then(|| choices.below(end));
    let backwards = choices.one_in(2);
    let limit = if choices.one_in(2) {
        choices.below(8) as usize
    } else {
        usize::MAX
    };
    (from, backwards, limit)
}

pub(super) fn choose_as_of<I: Iterator<Item = u16>>(choices: &mut Choices<I>, model: &Model) -> Option<AsOf> {
    match choices.below(4) {
        0 | 1 => None,
        2 => Some(AsOf::Position(Position(choices.below(model.position() + 2)))),
        _ => Some(AsOf::Time(START.after(Duration::from_secs(choices.below(100_000))))),
    }
}

pub(super) fn choose_query<I: Iterator<Item = u16>>(choices: &mut Choices<I>, model: &Model) -> Query {
    let mut query = Query::all();
    for _ in 0..choices.below(4) {
        query = query.filter(choose_filter(choices, 2));
    }
    query.since = choices
        .one_in(4)
        .then(|| START.after(Duration::from_secs(choices.below(400_000))));
    query.before = choices
        .one_in(4)
        .then(|| START.after(Duration::from_secs(choices.below(400_000))));
    if choices.one_in(4) {
        query.after = Position(choices.below(model.position() + 1));
    }
    query.until = choices.one_in(4).then(|| Position(choices.below(model.position() + 2)));
    query.order = match choices.below(4) {
        0 => Order::Position,
        1 => Order::PositionDescending,
        2 => Order::Time,
        _ => Order::TimeDescending,
    };
    query.limit = choices.one_in(3).then(|| choices.below(6) as usize);
    query.as_of = choose_as_of(choices, model);
    query.system = choices.one_in(4);
    query
}

pub(super) fn choose_filter<I: Iterator<Item = u16>>(choices: &mut Choices<I>, depth: u32) -> Filter {
    let (field, prefix, count) = match choices.below(20) {
        0 => (Field::EventType, "Happened", 5),
        1 => (Field::AggregateType, "Type", 3),
        2 => (Field::Aggregate, "aggregate-", 7),
        3 => (Field::Correlation, "conversation-", 6),
        4 => (Field::Causation, "cause-", 4),
        5 => (Field::User, "user-", 4),
        6 => (Field::Organization, "org-", 3),
        7 => (Field::Tag, "tag-", 4),
        8 => (Field::Index("length".into()), "", 4),
        9 => (Field::Day, "2023-11-1", 10),
        10 => return Filter::Text(["n", "AMOUNT", "::1", "nx", "missing"][choices.below(5) as usize].to_owned()),
        11 => return json_filter(choices),
        14 | 15 => return choose_prefix(choices),
        16 | 17 if depth > 0 => return Filter::not(choose_filter(choices, depth - 1)),
        18 | 19 => return choose_between(choices),
        nested if depth > 0 => {
            let filters = (0..choices.below(4))
                .map(|_| choose_filter(choices, depth - 1))
                .collect();
            return if nested == 12 {
                Filter::All(filters)
            } else {
                Filter::Any(filters)
            };
        }
        _ => (Field::EventType, "Happened", 5),
    };
    let values = 1 + choices.below(3);
    Filter::Is(
        field,
        (0..values).map(|_| choose_name(choices, prefix, count)).collect(),
    )
}

fn choose_prefix<I: Iterator<Item = u16>>(choices: &mut Choices<I>) -> Filter {
    let (field, prefix) = choose_field_and_prefix(choices);
    Filter::prefix(field, prefix)
}

/// A list without a limit.
pub(super) fn choose_list<I: Iterator<Item = u16>>(choices: &mut Choices<I>) -> ListQuery {
    let (field, prefix) = choose_field_and_prefix(choices);
    let order = match choices.below(3) {
        0 => ListOrder::Name,
        1 => ListOrder::Events,
        _ => ListOrder::LastActivity,
    };
    ListQuery::of(field).prefix(prefix).order(order)
}

/// A field, and a prefix that few, many or no values of it have.
fn choose_field_and_prefix<I: Iterator<Item = u16>>(choices: &mut Choices<I>) -> (Field, &'static str) {
    let (field, prefixes) = match choices.below(9) {
        0 => (Field::EventType, ["", "Happened", "Happened1", "happened"]),
        1 => (Field::AggregateType, ["", "T", "Type1", "Type2"]),
        2 => (Field::Aggregate, ["", "aggregate-", "aggregate-4", "b"]),
        3 => (Field::Correlation, ["", "c", "conversation-2", "conversation-22"]),
        4 => (Field::Causation, ["", "cause-", "cause-1", "d"]),
        5 => (Field::User, ["", "user-", "user-0", "users"]),
        6 => (Field::Tag, ["", "t", "tag-2", "tag-9"]),
        7 => (Field::Day, ["", "2023-11", "2023-11-15", "2024"]),
        _ => (Field::Index("length".into()), ["", "0", "1", "9"]),
    };
    (field, prefixes[choices.below(4) as usize])
}

/// A range, sometimes empty or without an end.
fn choose_between<I: Iterator<Item = u16>>(choices: &mut Choices<I>) -> Filter {
    let time = |seconds: u64| START.after(Duration::from_secs(seconds * 20_000));
    let (kind, from, to) = (choices.below(3), choices.below(20), choices.below(40));
    match (kind, choices.below(4)) {
        (0, 0) => Filter::versions(Version(from)..),
        (0, _) => Filter::versions(Version(from)..Version(to)),
        (1, 0) => Filter::positions(..=Position(to)),
        (1, _) => Filter::positions(Position(from)..=Position(to)),
        (_, 0) => Filter::times(time(from)..),
        _ => Filter::times(time(from)..time(to)),
    }
}

#[cfg(feature = "json")]
fn json_filter<I: Iterator<Item = u16>>(choices: &mut Choices<I>) -> Filter {
    if choices.one_in(3) {
        return Filter::Metadata("/ip".to_owned(), "::1".into());
    }
    Filter::Data("/amount".to_owned(), choices.below(6).into())
}

#[cfg(not(feature = "json"))]
fn json_filter<I: Iterator<Item = u16>>(_: &mut Choices<I>) -> Filter {
    Filter::Text("amount".to_owned())
}
