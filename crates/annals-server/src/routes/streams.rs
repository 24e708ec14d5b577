//! One aggregate, its events, and single events.

use annals::{AsOf, Event, Position, Store, StreamInfo, Version};
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::Response;
use serde_json::{Value, json as value};
use uuid::Uuid;

use super::page::{self, Form, Page, STEP};
use super::{JSON, await_visible, json, typed};
use crate::call::Call;
use crate::limits::Limits;
use crate::params::{Params, invalid};
use crate::problem::{Kind, Problem};
use crate::wire::event::to_line;
use crate::wire::expected;
use crate::wire::query::{as_of, wait};
use crate::work;

/// Which events of a stream.
#[derive(Clone, Copy, Debug)]
struct Reading {
    from: Option<Version>,
    is_descending: bool,
    limit: usize,
    as_of: Option<AsOf>,
}

/// `GET /streams/{aggregateId}`
pub(super) async fn info(mut call: Call) -> Result<Response, Problem> {
    let (position, time) = wait(&mut call.params)?;
    call.params.finish()?;
    await_visible(&call, position, time).await?;
    let info = known(&call.store, call.segment("aggregateId"))?;
    let mut response = json(StatusCode::OK, &describe(&info))?;
    response.headers_mut().insert(ETAG, expected::tag(info.version.0));
    Ok(response)
}

/// The state of an aggregate that exists.
pub(super) fn known(store: &Store, aggregate_id: &str) -> Result<StreamInfo, Problem> {
    let missing = || Problem::new(Kind::NotFound, format!("there is no aggregate '{aggregate_id}'"));
    store.stream_info(aggregate_id).ok_or_else(missing)
}

fn describe(info: &StreamInfo) -> Value {
    value!({
        "aggregateId": info.stream.aggregate_id.as_str(),
        "aggregateType": info.stream.aggregate_type.as_str(),
        "version": info.version.0,
        "events": info.events,
        "droppedTo": info.dropped_to.0,
        "deletedTo": info.deleted_to.0,
        "tombstoned": info.tombstoned,
        "limits": { "maxCount": info.limits.max_count, "maxAgeSeconds": info.limits.max_age.map(|age| age.as_secs_f64()) },
    })
}

/// `GET /streams/{aggregateId}/events`
pub(super) async fn events(mut call: Call) -> Result<Response, Problem> {
    let form = Form::of(&call)?;
    let (position, time) = wait(&mut call.params)?;
    let reading = Reading::of(&mut call.params, &call.shared.limits)?;
    call.params.finish()?;
    await_visible(&call, position, time).await?;
    // Before the events: a client that appends at this version must have seen every event up to it.
    let info = known(&call.store, call.segment("aggregateId"))?;
    let version = info.version.0;
    let (store, bytes) = (call.store.clone(), call.shared.limits.page_bytes);
    let page = work::run(&call.shared, move || reading.read(&store, &info, form, bytes)).await?;
    let mut response = page.into_response(&call, true)?;
    if reading.as_of.is_none() {
        response.headers_mut().insert(ETAG, expected::tag(version));
    }
    Ok(response)
}

impl Reading {
    fn of(params: &mut Params, limits: &Limits) -> Result<Self, Problem> {
        let from = params.parsed("from", "a version")?;
        let cursor = params.parsed("cursor", "the cursor of the page before")?;
        if from.is_some() && cursor.is_some() {
            return Err(Problem::invalid("from and cursor are both there: leave one out"));
        }
        let is_descending = match params.one("order")?.as_deref() {
            None | Some("version") => false,
            Some("-version") => true,
            Some(other) => return Err(invalid("order", other, "version or -version")),
        };
        Ok(Self {
            from: from.or(cursor).map(Version),
            is_descending,
            limit: page::limit(params.parsed("limit", "a number of events")?, limits)?,
            as_of: as_of(params)?,
        })
    }

    fn read(&self, store: &Store, info: &StreamInfo, form: Form, bytes: usize) -> Page {
        let mut page = Page::new(form, store.visible());
        page.members.extend([
            ("aggregateId".to_owned(), info.stream.aggregate_id.as_str().into()),
            ("aggregateType".to_owned(), info.stream.aggregate_type.as_str().into()),
            ("version".to_owned(), info.version.0.into()),
        ]);
        let mut from = self.from;
        loop {
            let step = STEP.min(self.limit - page.lines.len());
            // One more event shows whether there is another page, and its start.
            let events = self.step(store, &info.stream.aggregate_id, from, step + 1);
            let added = page.fill(&events[..events.len().min(step)], bytes);
            let next = events.get(added).map(Event::version);
            page.next = next.map(|version| version.to_string());
            if next.is_none() || added < step || page.lines.len() >= self.limit {
                return page;
            }
            from = next;
        }
    }

    fn step(&self, store: &Store, aggregate_id: &str, from: Option<Version>, limit: usize) -> Vec<Event> {
        let mut read = store.read_stream(aggregate_id).limit(limit);
        if self.is_descending {
            read = read.backwards();
        }
        if let Some(from) = from {
            read = read.from(from);
        }
        match self.as_of {
            Some(as_of) => read.as_of(as_of).events(),
            None => read.events(),
        }
    }
}

/// `GET /events/{event}`
pub(super) async fn event(mut call: Call) -> Result<Response, Problem> {
    let (position, time) = wait(&mut call.params)?;
    call.params.finish()?;
    await_visible(&call, position, time).await?;
    let (store, text) = (call.store.clone(), call.segment("event").to_owned());
    let missing = Problem::new(
        Kind::NotFound,
        format!("there is no event '{text}': it has another id, or was dropped"),
    );
    let event = work::run(&call.shared, move || find(&store, &text))
        .await??
        .ok_or(missing)?;
    Ok(typed(StatusCode::OK, JSON, to_line(&event)))
}

fn find(store: &Store, text: &str) -> Result<Option<Event>, Problem> {
    if let Ok(position) = text.parse::<u64>() {
        return Ok(store.event_at(Position(position)));
    }
    let id = Uuid::try_parse(text);
    let id = id.map_err(|_| Problem::invalid(format!("'{text}' is neither a position nor the id of an event")))?;
    Ok(store.event(id))
}
