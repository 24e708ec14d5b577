//! Measuring a field of the data, against a model that reads every event.

use std::collections::{BTreeMap, BTreeSet};

use annals::analytics::{Bucket, Measure, MeasuredRow, TimeZone, Values};
use annals::{
    Error, Event, EventRef, Expected, Field, Name, NewEvent, Order, Position, Query, Settings, Store, StreamLimits,
    Timestamp, Version,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::{START, keeping, open, stream};

const HOUR: i64 = 3_600_000_000;

/// Appends an event for each text.
fn measured(texts: &[&str]) -> Store {
    let store = Store::in_memory();
    for text in texts {
        add(&store, NewEvent::new("Noted").data(text.as_bytes().to_vec()));
    }
    store
}

fn add(store: &Store, event: NewEvent<'_>) {
    store
        .append(&stream("a"), Expected::Any, [event])
        .expect("anything goes");
}

fn rows(store: &Store, measure: &Measure) -> Vec<MeasuredRow> {
    store.query(Query::all()).measure(measure).expect("it is measured")
}

/// The only row.
fn values(texts: &[&str], pointer: &str) -> Values {
    let rows = rows(&measured(texts), &Measure::of(pointer));
    assert_eq!(rows.len(), 1, "{texts:?}");
    rows[0].values.clone()
}

#[test]
fn a_sum_beyond_the_range_of_numbers_was_no_number_for_ever() {
    for (texts, sum, mean) in [
        (&["1e308", "1e308"][..], f64::INFINITY, 1e308),
        (&["-1e308", "-1e308"], f64::NEG_INFINITY, -1e308),
        (&["1e308", "1e308", "-1e308", "-1e308"], 0.0, 0.0),
        (&["1.5e308", "1e308", "-1.5e308", "2.5"], 1e308, 0.25e308),
        (&["1e308", "3", "-1e308"], 3.0, 1.0),
        (&["1e300", "1e-300", "-1e300"], 1e-300, 1e-300 / 3.0),
        (&["1e16", "1", "-1e16"], 1.0, 1.0 / 3.0),
        (&["5e-324", "5e-324"], 1e-323, 5e-324),
    ] {
        let found = values(texts, "");
        assert_eq!(found.sum().to_bits(), f64::to_bits(sum), "{texts:?}: {}", found.sum());
        let found_mean = found.mean().expect("there are numbers");
        assert!(
            (found_mean - mean).abs() <= mean.abs() * 1e-15,
            "{texts:?}: {found_mean}"
        );
    }
}

#[test]
fn merged_sums_beyond_the_range_of_numbers_were_no_number() {
    let mut up = values(&["1e308", "1e308", "1e308"], "");
    let down = values(&["-1e308", "-1e308", "-1e308", "2"], "");
    up.merge(&down);
    assert_eq!((up.sum(), up.count(), up.events()), (2.0, 7, 7));
    assert_eq!((up.min(), up.max(), up.distinct()), (Some(-1e308), Some(1e308), 3));
}

#[test]
fn a_percentile_of_the_largest_and_smallest_numbers_was_off() {
    for (texts, expected) in [
        (["1e308", "1e308", "1.7e308"], 1e308),
        (["-1.7e308", "-1e308", "-1e308"], -1e308),
        (["1e-309", "1e-309", "1e-300"], 1e-309),
        (["0", "4e-310", "1"], 4e-310),
        (["1", "2", "4"], 2.0),
    ] {
        let found = values(&texts, "").percentile(50.0).expect("there are numbers");
        assert!(
            (found - expected).abs() <= f64::abs(expected) * 0.0101,
            "{texts:?}: {found}"
        );
    }
}

#[test]
fn a_tag_given_twice_counted_an_event_twice() {
    let store = Store::in_memory();
    add(&store, NewEvent::new("Noted").data("1").tag("a").tag("b").tag("a"));
    add(&store, NewEvent::new("Noted").data("2").tag("b").tag("b"));
    add(&store, NewEvent::new("Noted").data("4"));
    let found = rows(&store, &Measure::of("").by(Field::Tag));
    let found: Vec<_> = found
        .iter()
        .map(|row| (row.group.as_deref(), row.values.events(), row.values.sum()))
        .collect();
    assert_eq!(found, [(None, 1, 4.0), (Some("a"), 1, 1.0), (Some("b"), 2, 3.0)]);
}

#[test]
fn every_kind_of_value_is_counted_as_the_documentation_says() {
    // The data, whether the field is missing, and its number.
    for (data, is_missing, number) in [
        (r#"{"a":[{"b":12}]}"#, false, Some(12.0)),
        (r#"{"a":[{"b":-0}]}"#, false, Some(0.0)),
        (
            r#"{"a":[{"b":123456789012345678901234567890}]}"#,
            false,
            Some(1.234_567_890_123_456_8e29),
        ),
        (r#"{"a":[{"b":1e999}]}"#, false, None),
        (r#"{"a":[{"b":-1e999}]}"#, false, None),
        (r#"{"a":[{"b":1e-999}]}"#, false, Some(0.0)),
        (r#"{"a":[{"b":"12"}]}"#, false, None),
        (r#"{"a":[{"b":null}]}"#, false, None),
        (r#"{"a":[{"b":true}]}"#, false, None),
        (r#"{"a":[{"b":[1]}]}"#, false, None),
        (r#"{"a":[{"b":1,"b":2}]}"#, false, Some(2.0)),
        (r#"{"a":[]}"#, true, None),
        (r#"{"a":{"0":{"b":3}}}"#, false, Some(3.0)),
        (r#"{"a":[{"b":NaN}]}"#, true, None),
        (r#"{"a":[{"b":inf}]}"#, true, None),
        (r#"{"a":[{"b":1}]"#, true, None),
        ("", true, None),
        ("plain text", true, None),
    ] {
        let found = values(&[data], "/a/0/b");
        assert_eq!(found.missing(), u64::from(is_missing), "{data}");
        assert_eq!(found.distinct(), u64::from(!is_missing), "{data}");
        let expected = (u64::from(number.is_some()), number, number.unwrap_or(0.0));
        assert_eq!((found.count(), found.min(), found.sum()), expected, "{data}");
        assert_eq!(
            (found.max(), found.mean(), found.percentile(99.0)),
            (number, number, number),
            "{data}"
        );
    }
    let zeros = values(&["0", "-0", "0.0", "0e5"], "");
    assert_eq!((zeros.distinct(), zeros.count()), (1, 4));
}

#[test]
fn percentiles_outside_of_0_to_100_are_the_ends() {
    let found = values(&["1", "2", "3"], "");
    for (percent, end) in [
        (-5.0, 0.0),
        (-0.0, 0.0),
        (f64::NEG_INFINITY, 0.0),
        (1e9, 100.0),
        (f64::INFINITY, 100.0),
        (f64::NAN, 0.0),
    ] {
        assert_eq!(found.percentile(percent), found.percentile(end), "{percent}");
    }
    let none = values(&["null"], "");
    assert_eq!(
        (none.percentile(50.0), none.mean(), none.min(), none.sum()),
        (None, None, None, 0.0)
    );
}

#[test]
fn more_than_ten_thousand_rows_are_refused() {
    let store = Store::in_memory();
    let event = |number: u32| {
        NewEvent::new("Noted")
            .data(number.to_string())
            .user(format!("u-{number}"))
    };
    let events: Vec<_> = (0..10_000).map(event).collect();
    for chunk in events.chunks(1_000) {
        store.append(&stream("a"), Expected::Any, chunk).expect("appended");
    }
    let measure = Measure::of("").by(Field::User);
    assert_eq!(rows(&store, &measure).len(), 10_000);
    add(&store, event(1));
    assert_eq!(rows(&store, &measure)[1].values.count(), 2, "a known row has room");
    add(&store, event(10_000));
    for _ in 0..2 {
        let refused = store.query(Query::all()).measure(&measure);
        let is_right =
            matches!(&refused, Err(Error::Invalid { message: reason }) if reason.contains("more than 10000 rows"));
        assert!(is_right, "{refused:?}");
    }
    assert_eq!(rows(&store, &Measure::of("")).len(), 1);
    let narrow = store
        .query(Query::all().user("u-1"))
        .measure(&measure)
        .expect("few rows");
    assert_eq!(narrow.len(), 1);
}

#[test]
fn invalid_pointers_and_unknown_fields_are_refused() {
    let store = measured(&["1"]);
    for measure in [
        Measure::of("amount"),
        Measure::of("~"),
        Measure::of("/a").by(Field::Index("no".into())),
    ] {
        let refused = store.query(Query::all()).measure(&measure);
        assert!(
            matches!(refused, Err(Error::Invalid { .. })),
            "{measure:?}: {refused:?}"
        );
    }
}

#[test]
fn times_at_the_ends_of_the_calendar_are_measured() {
    let zones = ["Europe/Amsterdam", "Pacific/Kiritimati", "-12:00"];
    for at in [Timestamp::MIN, Timestamp::MAX, Timestamp::from_micros(-1)] {
        let store = Store::in_memory();
        add(&store, NewEvent::new("Noted").data("1").timestamp(at));
        for zone in zones {
            let zone: TimeZone = zone.parse().expect("a zone");
            for bucket in [Bucket::Hour, Bucket::Day, Bucket::IsoWeek, Bucket::Month, Bucket::Year] {
                let found = rows(&store, &Measure::of("").every(bucket, &zone));
                assert_eq!(found.len(), 1);
                assert!(found[0].start <= Some(at), "{at} {zone} {bucket}: {:?}", found[0].start);
                assert!(found[0].label.as_ref().is_some_and(|label| !label.is_empty()));
            }
        }
    }
}

/// The parity of the length of the data, and the first byte; twice.
fn letters(event: EventRef<'_>, values: &mut Vec<Name>) {
    for _ in 0..2 {
        values.push(
            if event.data().len().is_multiple_of(2) {
                "even"
            } else {
                "odd"
            }
            .into(),
        );
        values.push(
            event
                .data()
                .first()
                .map_or_else(|| "none".into(), |byte| format!("x{byte}").into()),
        );
    }
}

fn indexed() -> Store {
    let builder = Store::builder().indexer("letters", letters);
    builder.open().expect("a store")
}

/// The values that the model groups an event by.
fn groups(event: &Event, by: Option<&Field>) -> Vec<Option<String>> {
    let text = |text: Option<&str>| vec![text.map(str::to_owned)];
    match by {
        Some(Field::User) => text(event.user_id()),
        Some(Field::EventType) => text(Some(event.event_type())),
        Some(Field::Aggregate) => text(Some(event.aggregate_id())),
        Some(Field::Day) => text(Some(&event.timestamp().to_string()[..10])),
        Some(Field::Tag) if event.tags().next().is_some() => {
            let tags: BTreeSet<_> = event.tags().map(str::to_owned).collect();
            tags.into_iter().map(Some).collect()
        }
        Some(Field::Index(_)) => {
            let first = event
                .data()
                .first()
                .map_or_else(|| "none".to_owned(), |byte| format!("x{byte}"));
            let parity = if event.data().len().is_multiple_of(2) {
                "even"
            } else {
                "odd"
            };
            [parity.to_owned(), first].map(Some).into()
        }
        _ => vec![None],
    }
}

/// What the model knows of a row.
#[derive(Debug, Default, PartialEq)]
struct Row {
    events: u64,
    missing: u64,
    numbers: Vec<f64>,
    distinct: BTreeSet<String>,
}

/// The rows of the model: by group, and by the start of the hour if `hourly`.
fn expected(events: &[Event], by: Option<&Field>, hourly: bool) -> BTreeMap<(Option<String>, i64), Row> {
    let mut rows: BTreeMap<_, Row> = BTreeMap::new();
    for event in events {
        let micros = event.timestamp().as_micros();
        let time = if hourly { micros - micros.rem_euclid(HOUR) } else { 0 };
        let data: Option<Value> = serde_json::from_slice(event.data()).ok();
        let value = data.as_ref().and_then(|data| data.pointer("/n"));
        for group in groups(event, by) {
            let row = rows.entry((group, time)).or_default();
            row.events += 1;
            row.missing += u64::from(value.is_none());
            row.numbers.extend(value.and_then(Value::as_f64));
            row.distinct.extend(value.map(|value| match value.as_f64() {
                Some(number) => format!("{:?}", number + 0.0),
                None => value.to_string(),
            }));
        }
    }
    rows
}

fn check(found: &[MeasuredRow], expected: BTreeMap<(Option<String>, i64), Row>) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (found, ((group, time), mut row)) in found.iter().zip(expected) {
        let values = &found.values;
        prop_assert_eq!(&found.group, &group);
        prop_assert_eq!(found.start.map_or(0, Timestamp::as_micros), time);
        let counts = (values.events(), values.missing(), values.count(), values.distinct());
        let count = row.numbers.len();
        prop_assert_eq!(
            counts,
            (row.events, row.missing, count as u64, row.distinct.len() as u64)
        );
        row.numbers.sort_by(f64::total_cmp);
        let sum: f64 = row.numbers.iter().sum();
        prop_assert!((values.sum() - sum).abs() <= 1e-6, "{} instead of {sum}", values.sum());
        prop_assert_eq!(
            (values.min(), values.max()),
            (row.numbers.first().copied(), row.numbers.last().copied())
        );
        if let Some(median) = row.numbers.get(count.saturating_sub(1) / 2) {
            let found = values.percentile(50.0).expect("there are numbers");
            prop_assert!(
                (found - median).abs() <= median.abs() * 0.0101,
                "{found} instead of {median}"
            );
        }
    }
    Ok(())
}

/// A change of the store.
#[derive(Clone, Debug)]
enum Step {
    Add(u8, u8, u8, u8),
    Truncate(u8, u64),
    Delete(u8),
    Limit(u8, u64),
}

const TEXTS: [&str; 10] = [
    r#"{"n":1}"#,
    r#"{"n":2.5}"#,
    r#"{"n":-1000}"#,
    r#"{"n":"1"}"#,
    r#"{"n":null}"#,
    r#"{"m":7}"#,
    r#"{"n":0}"#,
    r#"{"n":-0.0}"#,
    "no JSON",
    "",
];

impl Step {
    fn apply(&self, store: &Store) {
        let id = |number: u8| format!("a-{}", number % 3);
        match *self {
            Self::Add(data, user, tags, hour) => {
                let mut event = NewEvent::new(["Noted", "Paid"][usize::from(user % 2)])
                    .data(TEXTS[usize::from(data) % TEXTS.len()])
                    .timestamp(Timestamp::from_micros(START.as_micros() + i64::from(hour) * HOUR / 2));
                if user % 4 > 0 {
                    event = event.user(["anna", "bob", "carl"][usize::from(user % 4) - 1]);
                }
                for tag in 0..tags % 4 {
                    event = event.tag(["x", "y", "x"][usize::from(tag)]);
                }
                drop(store.append(&stream(&id(user)), Expected::Any, [event]));
            }
            Self::Truncate(of, version) => drop(store.truncate_before(&id(of), Version(version))),
            Self::Delete(of) => drop(store.delete(&id(of), Expected::Any)),
            Self::Limit(of, count) => {
                let limits = StreamLimits::default().max_count(count);
                drop(store.set_limits(&id(of), limits));
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (any::<u8>(), any::<u8>(), any::<u8>(), 0_u8..60)
        .prop_map(|(data, user, tags, hour)| Step::Add(data, user, tags, hour));
    let step = prop_oneof![
        20 => add,
        1 => (any::<u8>(), 1_u64..10).prop_map(|(of, version)| Step::Truncate(of, version)),
        1 => any::<u8>().prop_map(Step::Delete),
        1 => (any::<u8>(), 1_u64..5).prop_map(|(of, count)| Step::Limit(of, count)),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_measurement_was_stale_or_differed_from_all_events(rounds in prop::collection::vec(steps(), 1..4), keeps in any::<bool>()) {
        let store = indexed();
        let bounded = keeping(25);
        let fields = [
            None,
            Some(Field::User),
            Some(Field::EventType),
            Some(Field::Aggregate),
            Some(Field::Day),
            Some(Field::Tag),
            Some(Field::Index("letters".into())),
        ];
        for steps in rounds {
            let store = if keeps { &bounded } else { &store };
            for step in &steps {
                step.apply(store);
            }
            for by in fields.iter().filter(|by| !keeps || !matches!(by, Some(Field::Index(_)))) {
                for hourly in [false, true] {
                    let mut measure = Measure::of("/n");
                    if let Some(field) = by {
                        measure = measure.by(field.clone());
                    }
                    if hourly {
                        measure = measure.every(Bucket::Hour, &TimeZone::UTC);
                    }
                    check_queries(store, &measure, by.as_ref(), hourly)?;
                }
            }
        }
    }
}

/// A query, also with a limit, and as of a position.
fn check_queries(store: &Store, measure: &Measure, by: Option<&Field>, hourly: bool) -> Result<(), TestCaseError> {
    let half = Position(store.visible().0 / 2);
    for query in [
        Query::all(),
        Query::all().user("anna"),
        Query::all().limit(7),
        Query::all().order(Order::PositionDescending).limit(7),
        Query::all().as_of(half),
        Query::all().after(half),
    ] {
        let events = store.query(query.clone()).events().expect("the query is valid");
        let expected = expected(&events, by, hourly);
        let found = store.query(query.clone()).measure(measure).expect("it is measured");
        let fresh = store.query(query).uncached().measure(measure).expect("it is measured");
        prop_assert_eq!(&found, &fresh);
        check(&found, expected)?;
    }
    Ok(())
}

#[test]
fn settings_without_a_cache_measure_the_same() {
    let mut settings = Settings::default();
    settings.cache.bytes = 0;
    let store = open(settings);
    for text in ["1", "2", "3"] {
        add(&store, NewEvent::new("Noted").data(text));
    }
    assert_eq!(rows(&store, &Measure::of(""))[0].values.max(), Some(3.0));
}
