//! Snapshots: the state of an aggregate at a version, kept by a client that folds its events.

use annals::{ContentType, NewSnapshot, Snapshot, Version};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json as value;
use serde_json::value::RawValue;

use super::{JSON, await_visible, handle, json, streams, typed};
use crate::body::Content;
use crate::call::Call;
use crate::problem::{Kind, Problem};
use crate::wire::event::WireSnapshot;
use crate::wire::new_event::payload;
use crate::wire::query::wait;
use crate::work;

/// The body of `PUT /streams/{aggregateId}/snapshot`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireNewSnapshot<'a> {
    version: u64,
    schema_version: Option<u32>,
    keep: Option<u32>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_hex: Option<String>,
    data_type: Option<String>,
}

/// `GET /streams/{aggregateId}/snapshot`
pub(super) async fn latest(mut call: Call) -> Result<Response, Problem> {
    let (position, time) = wait(&mut call.params)?;
    let version = call.params.parsed("version", "a version")?.unwrap_or(u64::MAX);
    call.params.finish()?;
    await_visible(&call, position, time).await?;
    let (store, id) = (call.store.clone(), call.segment("aggregateId").to_owned());
    let missing = Problem::new(
        Kind::NotFound,
        format!("the aggregate '{id}' has no snapshot up to this version"),
    );
    let line = work::run(&call.shared, move || {
        let snapshot: Option<Snapshot> = store.snapshot_until(&id, Version(version));
        snapshot.map(|snapshot| serde_json::to_vec(&WireSnapshot::from(&snapshot)).unwrap_or_default())
    });
    Ok(typed(StatusCode::OK, JSON, line.await?.ok_or(missing)?))
}

/// `PUT /streams/{aggregateId}/snapshot`
pub(super) async fn save(mut call: Call, content: Content) -> Result<Response, Problem> {
    let store = handle(&mut call)?;
    call.params.finish()?;
    content.expect_json()?;
    let id = call.segment("aggregateId").to_owned();
    streams::known(&store, &id)?;
    let saved = work::write(&call.shared, move || {
        let snapshot = parse(&content.bytes)?;
        Ok::<_, Problem>(store.save_snapshot(&id, snapshot)?)
    });
    json(StatusCode::OK, &value!({ "position": saved.await??.0 }))
}

fn parse(body: &[u8]) -> Result<NewSnapshot, Problem> {
    let text = str::from_utf8(body).map_err(|_| Problem::invalid("the body is not UTF-8"))?;
    let wire: WireNewSnapshot<'_> =
        serde_json::from_str(text).map_err(|error| Problem::invalid(format!("the body is invalid: {error}")))?;
    let data = payload("data", wire.data, wire.data_hex).map_err(Problem::invalid)?;
    let snapshot = NewSnapshot::new(Version(wire.version))
        .schema_version(wire.schema_version.unwrap_or(1))
        .keep(wire.keep.unwrap_or(1))
        .data(data);
    Ok(match wire.data_type.as_deref() {
        Some(name) => snapshot.content_type(ContentType::from(name)),
        None => snapshot,
    })
}
