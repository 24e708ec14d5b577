//! The states of the aggregates that a mounted program folds from their events.

use annals::Version;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use serde_json::value::RawValue;

use super::gate::Routes;
use super::processors::program;
use super::{await_visible, json, streams};
use crate::call::Call;
use crate::problem::{Kind, Problem};
use crate::wire::query::wait;
use crate::work;

pub(super) fn reads() -> Routes {
    vec![("/v1/streams/{aggregateId}/state", get(state))]
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireState<'a> {
    aggregate_id: &'a str,
    aggregate_type: &'a str,
    version: u64,
    state: &'a RawValue,
}

/// `GET /streams/{aggregateId}/state`
async fn state(mut call: Call) -> Result<Response, Problem> {
    let (position, time) = wait(&mut call.params)?;
    let version = call.params.parsed("version", "a version")?.map(Version);
    call.params.finish()?;
    await_visible(&call, position, time).await?;
    let stream = streams::known(&call.store, call.segment("aggregateId"))?.stream;
    let missing = || {
        let detail = format!("the program folds no aggregates of type '{}'", stream.aggregate_type);
        Problem::new(Kind::NotFound, detail)
    };
    let states = program(&call)?.states_of(&stream.aggregate_type).ok_or_else(missing)?;
    let (id, bytes_max) = (stream.aggregate_id.clone(), call.shared.limits.page_bytes);
    let found = work::run(&call.shared, move || states.at(&id, version, bytes_max)).await??;
    let wire = WireState {
        aggregate_id: &stream.aggregate_id,
        aggregate_type: &stream.aggregate_type,
        version: found.version.0,
        state: &found.json,
    };
    json(StatusCode::OK, &wire)
}
