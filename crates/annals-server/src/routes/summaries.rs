//! Lists of values, statistics, trends, heatmaps and conversations.

use std::collections::BTreeMap;

use annals::analytics::{Bucket, CausationTree, Counts, Empty, Statistics, TimeZone};
use annals::{Event, ListCursor, ListItem, ListOrder, ListPage, ListQuery, Order, Query, Store};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json as value};

use super::{JSON, await_visible, json, page, typed};
use crate::call::Call;
use crate::params::{Params, invalid};
use crate::problem::{Kind, Problem};
use crate::wire::event::to_line;
use crate::wire::filter::field;
use crate::wire::query::{from_params, wait};
use crate::work;

/// Names of a group of statistics, if the request names no number; and at most.
const TOP: usize = 100;
const TOP_MAX: usize = 10_000;
/// Rows of a trend, at most.
const ROWS_MAX: usize = 10_000;

/// `GET /lists/{field}`
pub(super) async fn list(mut call: Call) -> Result<Response, Problem> {
    let (position, time) = wait(&mut call.params)?;
    let query = list_query(&mut call)?;
    call.params.finish()?;
    await_visible(&call, position, time).await?;
    let store = call.store.clone();
    let page = work::run(&call.shared, move || store.list(&query)).await??;
    let mut response = json(StatusCode::OK, &describe_list(&page))?;
    if let Some(cursor) = &page.next {
        let link = format!("<{}>; rel=\"next\"", call.link(&cursor.to_string()));
        if let Ok(link) = link.try_into() {
            response.headers_mut().insert(axum::http::header::LINK, link);
        }
    }
    Ok(response)
}

fn list_query(call: &mut Call) -> Result<ListQuery, Problem> {
    let name = call.segment("field");
    let missing = || Problem::new(Kind::NotFound, format!("'{name}' is no field that has a list"));
    let mut query = ListQuery::of(field(name).ok_or_else(missing)?);
    if let Some(prefix) = call.params.one("prefix")? {
        query = query.prefix(prefix);
    }
    if let Some(order) = call.params.one("order")? {
        query = query.order(match order.as_str() {
            "name" => ListOrder::Name,
            "events" => ListOrder::Events,
            "last" => ListOrder::LastActivity,
            other => return Err(invalid("order", other, "name, events or last")),
        });
    }
    if let Some(limit) = call.params.parsed("limit", "a number")? {
        query = query.limit(page::limit(Some(limit), &call.shared.limits)?);
    }
    if let Some(cursor) = call.params.one("cursor")? {
        query = query.cursor(cursor.parse::<ListCursor>()?);
    }
    Ok(query)
}

fn describe_list(page: &ListPage) -> Value {
    let items: Vec<Value> = page.items.iter().map(describe_item).collect();
    value!({
        "items": items,
        "next": page.next.as_ref().map(ToString::to_string),
        "asOf": page.as_of.0,
    })
}

fn describe_item(item: &ListItem) -> Value {
    let mut described = value!({
        "name": item.name.as_str(),
        "events": item.events,
        "lastPosition": item.last_position.0,
        "lastAt": item.last_at.to_string(),
    });
    if let (Some(name), Value::Object(members)) = (&item.aggregate_type, &mut described) {
        members.insert("aggregateType".to_owned(), name.as_str().into());
    }
    described
}

/// The query of a summary, once it may run.
async fn summarised(call: &mut Call) -> Result<Query, Problem> {
    let asked = from_params(&mut call.params)?.without_page()?;
    call.params.finish()?;
    await_visible(call, asked.min_position, asked.wait).await?;
    Ok(asked.ordered())
}

fn zone(params: &mut Params) -> Result<TimeZone, Problem> {
    let zone = params.parsed(
        "timeZone",
        "an IANA name such as Europe/Amsterdam, or an offset such as +02:00",
    )?;
    Ok(zone.unwrap_or(TimeZone::UTC))
}

/// `GET /statistics`
pub(super) async fn statistics(mut call: Call) -> Result<Response, Problem> {
    let zone = zone(&mut call.params)?;
    let top = call.params.parsed("top", "a number")?.unwrap_or(TOP);
    if top > TOP_MAX {
        return Err(Problem::invalid(format!("top is {top}, but must be at most {TOP_MAX}")));
    }
    let query = summarised(&mut call).await?;
    let store = call.store.clone();
    let statistics = work::run(&call.shared, move || {
        let statistics = store.query(query).statistics(&zone)?;
        Ok::<_, annals::Error>(describe_statistics(&statistics, top))
    });
    json(StatusCode::OK, &statistics.await??)
}

/// The names of the library's `Statistics`, with the `top` greatest counts of each group, and how many names each group has.
fn describe_statistics(statistics: &Statistics, top: usize) -> Value {
    let days = statistics.by_day().iter().rev().take(top);
    let days: Map<String, Value> = days.map(|(day, count)| (day.to_string(), (*count).into())).collect();
    value!({
        "timeZone": statistics.time_zone().to_string(),
        "total": statistics.total(),
        "first": statistics.first().map(|time| time.to_string()),
        "last": statistics.last().map(|time| time.to_string()),
        "byHour": statistics.by_hour(),
        "byDay": days,
        "byType": ranked(statistics.by_type(), top),
        "byAggregateType": ranked(statistics.by_aggregate_type(), top),
        "byOrganization": ranked(statistics.by_organization(), top),
        "withoutOrganization": statistics.by_organization().without(),
        "byUser": ranked(statistics.by_user(), top),
        "withoutUser": statistics.by_user().without(),
        "distinct": {
            "days": statistics.by_day().len(),
            "types": statistics.by_type().len(),
            "aggregateTypes": statistics.by_aggregate_type().len(),
            "organizations": statistics.by_organization().len(),
            "users": statistics.by_user().len(),
        },
    })
}

fn ranked(counts: &Counts, top: usize) -> BTreeMap<&str, u64> {
    counts.ranked().into_iter().take(top).collect()
}

/// `GET /trend`
pub(super) async fn trend(mut call: Call) -> Result<Response, Problem> {
    let zone = zone(&mut call.params)?;
    let bucket = match call.params.one("by")?.as_deref() {
        Some("hour") => Bucket::Hour,
        None | Some("day") => Bucket::Day,
        Some("week") => Bucket::IsoWeek,
        Some("month") => Bucket::Month,
        Some("year") => Bucket::Year,
        Some(other) => return Err(invalid("by", other, "hour, day, week, month or year")),
    };
    let empty = if call.params.flag("fill")? {
        Empty::Include
    } else {
        Empty::Leave
    };
    let query = summarised(&mut call).await?;
    let store = call.store.clone();
    let rows = work::run(&call.shared, move || {
        store.query(query).trend(bucket, &zone)?.rows(empty)
    })
    .await??;
    if rows.len() > ROWS_MAX {
        let detail = format!(
            "the trend has {} rows, at most {ROWS_MAX} are answered: choose longer rows",
            rows.len()
        );
        return Err(Problem::invalid(detail));
    }
    json(StatusCode::OK, &value!({ "rows": rows }))
}

/// `GET /heatmap`
pub(super) async fn heatmap(mut call: Call) -> Result<Response, Problem> {
    let zone = zone(&mut call.params)?;
    let query = summarised(&mut call).await?;
    let store = call.store.clone();
    let heatmap = work::run(&call.shared, move || store.query(query).heatmap(&zone)).await??;
    json(StatusCode::OK, &heatmap)
}

/// `GET /traces/{correlationId}`
pub(super) async fn trace(mut call: Call) -> Result<Response, Problem> {
    let (position, time) = wait(&mut call.params)?;
    let limit = page::limit(call.params.parsed("limit", "a number of events")?, &call.shared.limits)?;
    call.params.finish()?;
    await_visible(&call, position, time).await?;
    let (store, correlation) = (call.store.clone(), call.segment("correlationId").to_owned());
    let bytes = call.shared.limits.page_bytes;
    let missing = Problem::new(Kind::NotFound, format!("there is no conversation '{correlation}'"));
    let document = work::run(&call.shared, move || read_trace(&store, &correlation, limit, bytes)).await??;
    Ok(typed(StatusCode::OK, JSON, document.ok_or(missing)?))
}

/// The first events of a conversation, each before those that it caused; `None` if there is none.
fn read_trace(store: &Store, correlation: &str, limit: usize, bytes: usize) -> Result<Option<Vec<u8>>, Problem> {
    let query = Query::all().correlation(correlation).order(Order::Position);
    let total = store.query(query.clone()).count()?;
    let mut events: Vec<Event> = Vec::new();
    let mut taken = 0;
    let positions = store.query(query.limit(limit)).positions()?;
    for event in positions.into_iter().filter_map(|position| store.event_at(position)) {
        taken += event.data().len() + event.metadata().len();
        if taken > bytes && !events.is_empty() {
            break;
        }
        events.push(event);
    }
    if events.is_empty() {
        return Ok(None);
    }
    let is_truncated = (events.len() as u64) < total;
    let nodes = CausationTree::new(&events);
    let nodes: Vec<Value> = nodes
        .walk()
        .map(|node| value!({ "eventId": node.event().id(), "depth": node.depth() }))
        .collect();
    let lines: Vec<Box<RawValue>> = events.iter().filter_map(|event| raw(to_line(event))).collect();
    let document = Trace {
        correlation_id: correlation,
        total,
        truncated: is_truncated,
        tree: nodes,
        events: lines,
    };
    Ok(Some(serde_json::to_vec(&document).unwrap_or_default()))
}

fn raw(line: Vec<u8>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(line).ok()?).ok()
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    correlation_id: &'a str,
    total: u64,
    /// Whether the conversation has more events than are here.
    truncated: bool,
    /// The events in the order in which a tree is drawn.
    tree: Vec<Value>,
    events: Vec<Box<RawValue>>,
}
