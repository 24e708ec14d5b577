//! Appends to several aggregates, and appends on a condition: all or none.

use std::collections::HashMap;
use std::time::Instant;

use annals::{Append, Appended, Condition, Expected, NewEvent, Position, Store, StreamId};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::append::count;
use super::idempotency::Key;
use super::incoming::read;
use super::{handle, json, test_layer};
use crate::body::Content;
use crate::call::Call;
use crate::problem::Problem;
use crate::wire::expected;
use crate::wire::new_event::{Incoming, parse_list};
use crate::wire::query::WireQuery;
use crate::work;

/// The body of `POST /appends`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireAppends<'a> {
    #[serde(borrow)]
    appends: Vec<WireAppend<'a>>,
    condition: Option<WireCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireAppend<'a> {
    aggregate_id: String,
    aggregate_type: Option<String>,
    #[serde(default, deserialize_with = "expected::deserialize")]
    expected_version: Expected,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// No event after `after` matches `query`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireCondition {
    query: WireQuery,
    #[serde(default)]
    after: u64,
}

/// The answer: the place of each part, in the order of the request.
#[derive(Debug, Serialize)]
struct Acknowledgement {
    appended: Vec<Part>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    aggregate_id: String,
    #[serde(flatten)]
    appended: Appended,
}

/// An append that a request asks for.
struct Plan {
    store: Store,
    parts: Vec<Append<'static>>,
    condition: Option<Condition>,
    key: Option<Key>,
}

/// `POST /appends`
pub(super) async fn append(mut call: Call, content: Content) -> Result<Response, Problem> {
    let (store, key, began) = (handle(&mut call)?, Key::of(&call)?, Instant::now());
    call.params.finish()?;
    content.expect_json()?;
    let done = work::write(&call.shared, move || {
        let (parts, condition) = parse(&store, &content)?;
        Plan {
            store,
            parts,
            condition,
            key,
        }
        .run()
    });
    acknowledge(&call, began, &done.await??)
}

/// `POST /events`
pub(super) async fn append_events(mut call: Call, content: Content) -> Result<Response, Problem> {
    let (store, key, began) = (handle(&mut call)?, Key::of(&call)?, Instant::now());
    call.params.finish()?;
    let done = work::write(&call.shared, move || {
        let parts = group(&store, read(&content)?)?;
        Plan {
            store,
            parts,
            condition: None,
            key,
        }
        .run()
    });
    acknowledge(&call, began, &done.await??)
}

fn parse(store: &Store, content: &Content) -> Result<(Vec<Append<'static>>, Option<Condition>), Problem> {
    let wire: WireAppends<'_> = serde_json::from_slice(&content.bytes)
        .map_err(|error| Problem::invalid(format!("the body is invalid: {error}")))?;
    let mut parts = Vec::new();
    for part in wire.appends {
        parts.push(part.into_append(store)?);
    }
    let condition = wire.condition.map(WireCondition::into_condition);
    Ok((parts, condition.transpose()?))
}

impl WireCondition {
    fn into_condition(self) -> Result<Condition, Problem> {
        let asked = self.query.into_asked()?.without_page()?;
        if asked.as_of.is_some() || asked.min_position.is_some() {
            return Err(Problem::invalid(
                "a condition holds for every event after its position: it has no asOf and no minPosition",
            ));
        }
        Ok(Condition::none_after(asked.query, Position(self.after)))
    }
}

impl WireAppend<'_> {
    fn into_append(self, store: &Store) -> Result<Append<'static>, Problem> {
        let incoming = parse_list(&self.events)?;
        let stream = stream_of(store, &self.aggregate_id, self.aggregate_type)?;
        let mut events = Vec::with_capacity(incoming.len());
        for one in incoming {
            let is_other = one.aggregate_id.is_some_and(|id| id != self.aggregate_id)
                || one
                    .aggregate_type
                    .is_some_and(|name| name != stream.aggregate_type.as_str());
            if is_other {
                return Err(Problem::invalid(format!(
                    "an event of '{}' names another aggregate",
                    self.aggregate_id
                )));
            }
            events.push(one.event);
        }
        Ok(Append::new(stream, self.expected_version, events))
    }
}

fn stream_of(store: &Store, aggregate_id: &str, given: Option<String>) -> Result<StreamId, Problem> {
    if let Some(name) = given {
        return Ok(StreamId::new(name, aggregate_id));
    }
    let info = store.stream_info(aggregate_id);
    info.map(|info| info.stream)
        .ok_or_else(|| Problem::invalid(format!("the aggregate '{aggregate_id}' is new: name its aggregateType")))
}

/// The events by their aggregates, in the order in which these first appear. The events of an aggregate keep their order.
fn group(store: &Store, incoming: Vec<Incoming>) -> Result<Vec<Append<'static>>, Problem> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<(String, Option<String>, Vec<NewEvent<'static>>)> = Vec::new();
    for one in incoming {
        let id = one
            .aggregate_id
            .ok_or_else(|| Problem::invalid("an event has no aggregateId"))?;
        let place = *places.entry(id.clone()).or_insert_with(|| {
            groups.push((id, None, Vec::new()));
            groups.len() - 1
        });
        let (id, known, events) = &mut groups[place];
        if let Some(name) = one.aggregate_type {
            let known = known.get_or_insert_with(|| name.clone());
            if *known != name {
                return Err(Problem::invalid(format!(
                    "the events of '{id}' name two types of it, '{known}' and '{name}'"
                )));
            }
        }
        events.push(one.event);
    }
    let parts = groups.into_iter().map(|(id, given, events)| {
        let stream = stream_of(store, &id, given)?;
        Ok(Append::new(stream, Expected::Any, events))
    });
    parts.collect()
}

impl Plan {
    /// Appends, and waits until the events are visible and durable. For a worker: it may wait for room in the backlog of the journal.
    fn run(mut self) -> Result<Acknowledgement, Problem> {
        if self.parts.iter().all(|part| part.events.is_empty()) {
            return Err(Problem::invalid("the request has no events"));
        }
        if let Some(key) = &self.key {
            for part in &mut self.parts {
                let id = part.stream.aggregate_id.to_string();
                key.apply(&id, &mut part.events);
            }
        }
        let appended = match &self.condition {
            Some(condition) => self.store.append_if(condition, &self.parts),
            None => self.store.append_all(&self.parts),
        };
        let appended = appended.map_err(|error| match &self.key {
            Some(_) => Key::refusal(error),
            None => error.into(),
        })?;
        let parts = self.parts.iter().zip(appended);
        let parts = parts.map(|(part, appended)| {
            let id = part.stream.aggregate_id.as_str();
            if let Some(key) = &self.key {
                key.check(&self.store, id, &part.events, &appended)?;
            }
            Ok(Part {
                aggregate_id: id.to_owned(),
                appended,
            })
        });
        Ok(Acknowledgement {
            appended: parts.collect::<Result<_, Problem>>()?,
        })
    }
}

fn acknowledge(call: &Call, began: Instant, done: &Acknowledgement) -> Result<Response, Problem> {
    count(call, began, done.appended.iter().map(|part| &part.appended));
    for part in &done.appended {
        test_layer::appended(call, &part.aggregate_id, &part.appended);
    }
    let is_repeated = done.appended.iter().all(|part| part.appended.repeated);
    let status = if is_repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    json(status, done)
}
