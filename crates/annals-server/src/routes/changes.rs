//! Changes of an aggregate: truncation, deletion, limits. Each is a system event, at the position that is returned.

use std::time::Duration;

use annals::{Position, StreamLimits, Version};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json as value;

use super::append::expectations;
use super::{json, streams};
use crate::body::Content;
use crate::call::Call;
use crate::problem::Problem;
use crate::work;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireLimits {
    max_count: Option<u64>,
    max_age_seconds: Option<u64>,
}

/// `DELETE /streams/{aggregateId}`
pub(super) async fn delete(mut call: Call) -> Result<Response, Problem> {
    let (from_header, from_parameter) = expectations(&mut call)?;
    let expected = from_header.or(from_parameter).unwrap_or_default();
    let is_for_ever = call.params.flag("tombstone")?;
    call.params.finish()?;
    let (store, id) = (call.store.clone(), call.segment("aggregateId").to_owned());
    streams::known(&store, &id)?;
    let done = work::write(&call.shared, move || {
        if is_for_ever {
            store.tombstone(&id, expected)
        } else {
            store.delete(&id, expected)
        }
    });
    let position = done.await?.map_err(|error| match from_header {
        Some(_) => Problem::from(error).of_precondition(),
        None => error.into(),
    })?;
    acknowledge(position)
}

/// `DELETE /streams/{aggregateId}/events-before/{version}`
pub(super) async fn truncate(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let text = call.segment("version");
    let version = text.parse().map(Version);
    let version = version.map_err(|_| Problem::invalid(format!("'{text}' is no version: write a number")))?;
    let (store, id) = (call.store.clone(), call.segment("aggregateId").to_owned());
    streams::known(&store, &id)?;
    let position = work::write(&call.shared, move || store.truncate_before(&id, version)).await??;
    acknowledge(position)
}

/// `PUT /streams/{aggregateId}/limits`
pub(super) async fn set_limits(call: Call, content: Content) -> Result<Response, Problem> {
    call.params.finish()?;
    let wire: WireLimits = content.json()?;
    let mut limits = StreamLimits::default();
    limits.max_count = wire.max_count;
    limits.max_age = wire.max_age_seconds.map(Duration::from_secs);
    let (store, id) = (call.store.clone(), call.segment("aggregateId").to_owned());
    streams::known(&store, &id)?;
    let position = work::write(&call.shared, move || store.set_limits(&id, limits)).await??;
    acknowledge(position)
}

fn acknowledge(position: Position) -> Result<Response, Problem> {
    json(StatusCode::OK, &value!({ "position": position.0 }))
}
