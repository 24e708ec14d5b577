//! Appends to one aggregate.

use std::time::Instant;

use annals::{AppendFuture, Appended, Error, Expected, NewEvent, PendingAppend, Store, StreamId};
use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::future::Either;
use tokio::time::timeout;

use super::idempotency::Key;
use super::incoming::read;
use super::{handle, json, test_layer};
use crate::body::Content;
use crate::call::Call;
use crate::problem::{Kind, Problem};
use crate::shared::Shared;
use crate::wire::expected;
use crate::wire::new_event::Incoming;
use crate::work;

/// Bytes of a body that is read and appended on the thread of its connection. More is read by a worker.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// An append that a request asks for.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) store: Store,
    pub(super) aggregate_id: String,
    pub(super) aggregate_type: Option<String>,
    pub(super) expected: Expected,
    pub(super) key: Option<Key>,
}

/// An append that the store has taken, or that waits for the store that it follows.
#[derive(Debug)]
pub(super) struct Begun {
    append: Either<PendingAppend, AppendFuture>,
    events: Vec<NewEvent<'static>>,
}

/// `POST /streams/{aggregateId}/events`
pub(super) async fn append(mut call: Call, content: Content) -> Result<Response, Problem> {
    let (from_header, from_parameter) = expectations(&mut call)?;
    let plan = Plan {
        store: handle(&mut call)?,
        aggregate_id: call.segment("aggregateId").to_owned(),
        aggregate_type: call.params.one("aggregateType")?,
        expected: from_header.or(from_parameter).unwrap_or_default(),
        key: Key::of(&call)?,
    };
    call.params.finish()?;
    let began = Instant::now();
    let appended = run(&call.shared, plan, content).await;
    let appended = appended.map_err(|problem| match from_header {
        Some(_) => problem.of_precondition(),
        None => problem,
    })?;
    count(&call, began, [&appended]);
    test_layer::appended(&call, call.segment("aggregateId"), &appended);
    acknowledge(&call, &appended)
}

/// Counts the events of an append that succeeded.
pub(super) fn count<'a>(call: &Call, began: Instant, appended: impl IntoIterator<Item = &'a Appended>) {
    let new = appended.into_iter().filter(|appended| !appended.repeated);
    let events = new
        .map(|appended| appended.last_version.0 + 1 - appended.first_version.0)
        .sum();
    call.shared.metrics.appended(&call.namespace, events, began.elapsed());
}

/// The expected version by `If-Match` or `If-None-Match`, and by the parameter.
///
/// # Errors
///
/// A [`Problem`] if one is invalid, or both are there.
pub(super) fn expectations(call: &mut Call) -> Result<(Option<Expected>, Option<Expected>), Problem> {
    let from_header = expected::of_headers(&call.headers).map_err(Problem::invalid)?;
    let text = call.params.one("expectedVersion")?;
    let parsed = text.map(|text| {
        expected::parse(&text).ok_or_else(|| crate::params::invalid("expectedVersion", &text, expected::FORM))
    });
    let from_parameter = parsed.transpose()?;
    if from_header.is_some() && from_parameter.is_some() {
        return Err(Problem::invalid(
            "expectedVersion and If-Match are both there: leave one out",
        ));
    }
    Ok((from_header, from_parameter))
}

/// Appends the events of a body, and waits until they are visible and durable.
pub(super) async fn run(shared: &Shared, plan: Plan, content: Content) -> Result<Appended, Problem> {
    if content.bytes.len() <= INLINE_BYTES_MAX {
        let begun = plan.begin(read(&content)?)?;
        return plan.finish(shared, begun).await;
    }
    let (plan, begun) = work::run(shared, move || {
        let begun = read(&content).and_then(|events| plan.begin(events));
        (plan, begun)
    })
    .await?;
    plan.finish(shared, begun?).await
}

impl Plan {
    /// Gives the events to the store, which never waits here.
    fn begin(&self, incoming: Vec<Incoming>) -> Result<Begun, Problem> {
        let (stream, mut events) = self.stream_of(incoming)?;
        if let Some(key) = &self.key {
            key.apply(&self.aggregate_id, &mut events);
        }
        let begun = self.store.try_append(&stream, self.expected, &events);
        let append = match begun {
            Ok(pending) => Either::Left(pending),
            // A store that follows another calls it on separate threads.
            Err(Error::Unsupported { .. }) => Either::Right(self.store.append_async(&stream, self.expected, &events)),
            Err(error) => return Err(self.refusal(error)),
        };
        Ok(Begun { append, events })
    }

    /// The stream of the events, which may name it too.
    fn stream_of(&self, incoming: Vec<Incoming>) -> Result<(StreamId, Vec<NewEvent<'static>>), Problem> {
        let mut given = self.aggregate_type.clone();
        let mut events = Vec::with_capacity(incoming.len());
        for one in incoming {
            if one.aggregate_id.is_some_and(|id| id != self.aggregate_id) {
                return Err(Problem::invalid("an event names another aggregateId than the path"));
            }
            if let Some(name) = one.aggregate_type {
                let known = given.get_or_insert_with(|| name.clone());
                if *known != name {
                    return Err(Problem::invalid(format!(
                        "the events name two types of the aggregate, '{known}' and '{name}'"
                    )));
                }
            }
            events.push(one.event);
        }
        Ok((self.stream(given)?, events))
    }

    /// The type is needed once: the first event fixes it.
    fn stream(&self, given: Option<String>) -> Result<StreamId, Problem> {
        if let Some(name) = given {
            return Ok(StreamId::new(name, &*self.aggregate_id));
        }
        let info = self.store.stream_info(&self.aggregate_id);
        info.map(|info| info.stream).ok_or_else(|| {
            Problem::invalid("the aggregate is new: name its type in the parameter aggregateType, or in the events")
        })
    }

    async fn finish(&self, shared: &Shared, begun: Begun) -> Result<Appended, Problem> {
        let taken = match &begun.append {
            Either::Left(pending) => Some(pending.appended()),
            Either::Right(_) => None,
        };
        let appended = match timeout(shared.limits.wait, begun.append).await {
            Ok(appended) => appended.map_err(|error| self.refusal(error))?,
            Err(_) => return Err(late(taken)),
        };
        if let Some(key) = &self.key {
            key.check(&self.store, &self.aggregate_id, &begun.events, &appended)?;
        }
        Ok(appended)
    }

    fn refusal(&self, error: Error) -> Problem {
        if self.key.is_some() {
            Key::refusal(error)
        } else {
            error.into()
        }
    }
}

/// An append that is not acknowledged in time.
fn late(taken: Option<Appended>) -> Problem {
    match taken.map(serde_json::to_value) {
        Some(Ok(appended)) => {
            let detail = "the events are stored, but not durable yet: do not append them again";
            Problem::new(Kind::NotDurable, detail).with("appended", appended)
        }
        _ => Problem::new(Kind::Busy, "the store that this one follows did not answer in time"),
    }
}

/// The answer to an append: 201 with its place, or 200 for a repetition.
fn acknowledge(call: &Call, appended: &Appended) -> Result<Response, Problem> {
    let status = if appended.repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let mut response = json(status, appended)?;
    let headers = response.headers_mut();
    headers.insert(ETAG, expected::tag(appended.last_version.0));
    let location = format!("{}/events/{}", call.base, appended.first_position);
    if let Ok(location) = HeaderValue::try_from(location) {
        headers.insert(LOCATION, location);
    }
    Ok(response)
}
