//! The sagas of a mounted program: which instances are active or stuck, and what a person does about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals::cqrs::{SagaError, SagaPhase, SagaStatus};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json as value};

use super::gate::Routes;
use super::processors::program;
use super::{json, page};
use crate::body::Content;
use crate::call::Call;
use crate::problem::{Kind, Problem};
use crate::program::Instances;
use crate::work;

/// Bytes of the reason of an abandonment, at most.
const REASON_BYTES_MAX: usize = 4_096;

pub(super) fn reads() -> Routes {
    vec![
        ("/v1/sagas", get(list)),
        ("/v1/sagas/{saga}/instances", get(instances)),
        ("/v1/sagas/{saga}/instances/{key}", get(one)),
    ]
}

pub(super) fn controls() -> Routes {
    vec![
        ("/v1/sagas/{saga}/instances/{key}/retry", post(retry)),
        ("/v1/sagas/{saga}/instances/{key}/abandon", post(abandon)),
    ]
}

/// The instances of the saga that the path names.
fn sagas_of(call: &Call) -> Result<Arc<dyn Instances>, Problem> {
    let name = call.segment("saga");
    let missing = || {
        let detail = format!("the program has no saga '{name}'");
        Problem::new(Kind::NotFound, detail)
    };
    program(call)?.saga_of(name).ok_or_else(missing)
}

/// `GET /sagas`
async fn list(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let all = program(&call)?.sagas().clone();
    let counted = work::run(&call.shared, move || -> Vec<Value> {
        all.iter().map(|(name, instances)| count(name, &**instances)).collect()
    });
    json(StatusCode::OK, &value!({ "sagas": counted.await? }))
}

fn count(name: &str, instances: &dyn Instances) -> Value {
    let active = instances.active();
    let stuck = active.iter().filter(|one| one.stuck.is_some()).count();
    value!({ "name": name, "active": active.len(), "stuck": stuck })
}

/// `GET /sagas/{saga}/instances`
async fn instances(mut call: Call) -> Result<Response, Problem> {
    let limit = page::limit(call.params.parsed("limit", "a number")?, &call.shared.limits)?;
    let after = call.params.one("cursor")?;
    let is_stuck = call.params.flag("stuck")?;
    call.params.finish()?;
    let sagas = sagas_of(&call)?;
    let found = work::run(&call.shared, move || {
        let mut active = sagas.active();
        active.retain(|one| !is_stuck || one.stuck.is_some());
        describe_page(&active, after.as_deref(), limit)
    });
    json(StatusCode::OK, &found.await?)
}

/// The page of at most `limit` instances after a key.
fn describe_page(all: &[SagaStatus], after: Option<&str>, limit: usize) -> Value {
    let is_later = |one: &&SagaStatus| after.is_none_or(|after| one.key.as_str() > after);
    let mut later = all.iter().filter(is_later).peekable();
    let page: Vec<&SagaStatus> = later.by_ref().take(limit).collect();
    let next = later.peek().and(page.last()).map(|one| one.key.clone());
    let described: Vec<Value> = page.into_iter().map(describe).collect();
    value!({ "instances": described, "next": next, "total": all.len() })
}

fn describe(status: &SagaStatus) -> Value {
    let (phase, reason) = match &status.phase {
        SagaPhase::Running => ("running", None),
        SagaPhase::Compensating { reason } => ("compensating", Some(reason)),
        SagaPhase::Completed => ("completed", None),
        SagaPhase::Failed { reason } => ("failed", Some(reason)),
        SagaPhase::Abandoned { reason } => ("abandoned", Some(reason)),
        _ => ("other", None),
    };
    let timers: BTreeMap<&str, String> = status
        .timers
        .iter()
        .map(|(name, due)| (name.as_str(), due.to_string()))
        .collect();
    value!({
        "key": status.key,
        "run": status.run,
        "phase": phase,
        "reason": reason,
        "stuck": status.stuck,
        "stepsLeft": status.steps_left,
        "timers": timers,
        "state": status.state,
        "startedAt": status.started_at.to_string(),
        "changedAt": status.changed_at.to_string(),
    })
}

/// `GET /sagas/{saga}/instances/{key}`
async fn one(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let (sagas, key) = (sagas_of(&call)?, call.segment("key").to_owned());
    let found = work::run(&call.shared, move || instance(&*sagas, &key));
    json(StatusCode::OK, &found.await??)
}

fn instance(sagas: &dyn Instances, key: &str) -> Result<Value, Problem> {
    let missing = || Problem::new(Kind::NotFound, format!("the saga has no instance '{key}'"));
    Ok(describe(&sagas.get(key)?.ok_or_else(missing)?))
}

/// `POST /sagas/{saga}/instances/{key}/retry`
async fn retry(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    change(&call, |sagas, key| sagas.retry(key)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireReason {
    reason: String,
}

/// `POST /sagas/{saga}/instances/{key}/abandon`
async fn abandon(call: Call, content: Content) -> Result<Response, Problem> {
    call.params.finish()?;
    let WireReason { reason } = content.json()?;
    if reason.len() > REASON_BYTES_MAX {
        return Err(Problem::invalid(format!(
            "reason has more than {REASON_BYTES_MAX} bytes"
        )));
    }
    change(&call, move |sagas, key| sagas.abandon(key, &reason)).await
}

/// Changes an instance, and answers with what it is then.
async fn change(
    call: &Call,
    work: impl FnOnce(&dyn Instances, &str) -> Result<bool, SagaError> + Send + 'static,
) -> Result<Response, Problem> {
    let (sagas, key) = (sagas_of(call)?, call.segment("key").to_owned());
    let changed = work::write(&call.shared, move || {
        instance(&*sagas, &key)?;
        let is_changed = work(&*sagas, &key)?;
        Ok::<_, Problem>(value!({ "changed": is_changed, "instance": instance(&*sagas, &key)? }))
    });
    json(StatusCode::OK, &changed.await??)
}
