//! Queries: pages, counts and explanations.

use annals::{CacheState, Cursor, Event, Explanation, Order, Position, Query, Store};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json as value};

use super::page::{self, Form, Page, STEP};
use super::{await_visible, json};
use crate::body::Content;
use crate::call::Call;
use crate::limits::Limits;
use crate::problem::Problem;
use crate::wire::query::{Asked, WireQuery, from_params};
use crate::work;

/// `GET /events`
pub(super) async fn events(mut call: Call) -> Result<Response, Problem> {
    let asked = from_params(&mut call.params)?;
    call.params.finish()?;
    answer(&call, asked, true).await
}

/// `POST /query`
pub(super) async fn query(call: Call, content: Content) -> Result<Response, Problem> {
    call.params.finish()?;
    let asked = content.json::<WireQuery>()?.into_asked()?;
    answer(&call, asked, false).await
}

async fn answer(call: &Call, asked: Asked, has_link: bool) -> Result<Response, Problem> {
    let form = Form::of(call)?;
    let limit = page::limit(asked.limit, &call.shared.limits)?;
    await_visible(call, asked.min_position, asked.wait).await?;
    let (store, limits) = (call.store.clone(), call.shared.limits.clone());
    let page = work::run(&call.shared, move || {
        read(&store, &asked, Page::new(form, Position(0)), limit, &limits)
    })
    .await??;
    page.into_response(call, has_link)
}

/// Reads a page, step by step: so that great events are not all in memory before the page is known to be full.
fn read(store: &Store, asked: &Asked, mut page: Page, limit: usize, limits: &Limits) -> Result<Page, Problem> {
    let mut cursor = asked.cursor;
    let mut query = asked.ordered();
    loop {
        let step = STEP.min(limit - page.lines.len());
        let part = store.query(continued(&query, cursor).limit(step)).page()?;
        if page.lines.is_empty() {
            page.as_of = part.as_of;
            if asked.as_of.is_none() {
                query = query.as_of(part.as_of);
            }
        }
        for gap in part.gaps {
            if !page.gaps.contains(&gap) {
                page.gaps.push(gap);
            }
        }
        let added = page.fill(&part.events, limits.page_bytes);
        if added < part.events.len() {
            let last = added.checked_sub(1).and_then(|last| part.events.get(last));
            page.next = last
                .map_or(cursor, |last| cursor_after(last, asked.order))
                .map(|cursor| cursor.to_string());
            return Ok(page);
        }
        cursor = part.next;
        page.next = cursor.map(|cursor| cursor.to_string());
        if cursor.is_none() || page.lines.len() >= limit {
            return Ok(page);
        }
    }
}

fn continued(query: &Query, cursor: Option<Cursor>) -> Query {
    match cursor {
        Some(cursor) => query.clone().cursor(cursor),
        None => query.clone(),
    }
}

/// The cursor of a page that ends with `event`, from its text.
fn cursor_after(event: &Event, order: Order) -> Option<Cursor> {
    let text = match order {
        Order::Position | Order::PositionDescending => format!("p{}", event.position()),
        Order::Time | Order::TimeDescending => format!("t{}.{}", event.timestamp().as_micros(), event.position()),
    };
    text.parse().ok()
}

/// `GET /count`
pub(super) async fn count(mut call: Call) -> Result<Response, Problem> {
    let asked = from_params(&mut call.params)?.without_page()?;
    call.params.finish()?;
    await_visible(&call, asked.min_position, asked.wait).await?;
    let store = call.store.clone();
    let count = work::run(&call.shared, move || store.query(asked.ordered()).count()).await??;
    json(StatusCode::OK, &value!({ "count": count }))
}

/// `GET /explain`
pub(super) async fn explain(mut call: Call) -> Result<Response, Problem> {
    let asked = from_params(&mut call.params)?.without_page()?;
    call.params.finish()?;
    await_visible(&call, asked.min_position, asked.wait).await?;
    let store = call.store.clone();
    let explanation = work::run(&call.shared, move || store.query(asked.ordered()).explain()).await??;
    json(StatusCode::OK, &describe(&explanation))
}

fn describe(explanation: &Explanation) -> Value {
    let terms = explanation.terms.iter();
    let terms: Vec<Value> = terms
        .map(|term| value!({ "term": term.to_string(), "excluded": term.is_excluded, "events": term.events }))
        .collect();
    value!({
        "terms": terms,
        "scanned": explanation.scanned,
        "triedOnEvents": explanation.tried_on_events,
        "candidates": explanation.candidates,
        "examined": explanation.examined,
        "matches": explanation.matches,
        "windows": explanation.windows,
        "shards": explanation.shards,
        "cache": cache(explanation.cache),
        "elapsedSeconds": explanation.elapsed.as_secs_f64(),
    })
}

fn cache(state: CacheState) -> &'static str {
    match state {
        CacheState::Hit => "hit",
        CacheState::Extended => "extended",
        CacheState::Miss => "miss",
        CacheState::Bypassed | _ => "unused",
    }
}
