//! Prefixes, exceptions and lists, of a store of 1,000,000 events of 100,000 aggregates, 100,000 correlations and about 1,000 users.

use annals::{Field, Filter, ListOrder, ListQuery, Query, Store};
use criterion::Criterion;

use crate::work::Work;
use crate::{short, sure};

pub(crate) fn filters(criterion: &mut Criterion, work: &Work, store: &Store) {
    let count = |filter: Filter| sure(store.query(Query::all().filter(filter)).uncached().count());
    let user = Filter::prefix(Field::User, work.user(7).as_str());
    let correlation = Filter::prefix(Field::Correlation, work.correlation(7).as_str());
    let aggregate = Filter::prefix(Field::Aggregate, work.stream(7).aggregate_id.as_str());
    let not_type = Filter::not(Filter::is(Field::EventType, work.event_type(7)));
    let not_user = Filter::All(vec![
        Filter::is(Field::EventType, work.event_type(7)),
        Filter::not(Filter::is(Field::User, work.user(7))),
    ]);
    let mut group = short(criterion, "filters, counted", 1);
    for (name, filter) in [
        ("prefix of users", user),
        ("prefix of correlations", correlation),
        ("prefix of aggregates", aggregate),
        ("all but a type", not_type),
        ("a type, but not of a user", not_user),
    ] {
        group.bench_function(format!("{name}, {} events", count(filter.clone())), |bencher| {
            bencher.iter(|| count(filter.clone()));
        });
    }
    group.finish();
    lists(criterion, store);
}

fn lists(criterion: &mut Criterion, store: &Store) {
    let mut group = short(criterion, "a page of 100", 1);
    for (name, field) in [
        ("users", Field::User),
        ("correlations", Field::Correlation),
        ("aggregates", Field::Aggregate),
    ] {
        for (by, order) in [
            ("name", ListOrder::Name),
            ("events", ListOrder::Events),
            ("last activity", ListOrder::LastActivity),
        ] {
            let query = ListQuery::of(field.clone()).order(order);
            group.bench_function(format!("{name} by {by}"), |bencher| {
                bencher.iter(|| sure(store.list(&query)));
            });
        }
    }
    group.finish();
}
