//! With the test API, the rules by which requests to a namespace fail.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get};
use serde_json::json as value;

use super::gate::Routes;
use super::json;
use super::test_api::Target;
use crate::body::Content;
use crate::problem::{Kind, Problem};
use crate::shared::Shared;
use crate::test_state::{Faults, Rule};

pub(super) fn routes() -> Routes {
    vec![
        ("/v1/test/faults", get(list).post(add).delete(clear)),
        ("/v1/test/faults/{rule}", delete(remove)),
    ]
}

/// `GET /test/faults`
async fn list(State(shared): State<Arc<Shared>>, target: Target) -> Result<Response, Problem> {
    target.params.finish()?;
    let state = target.state(&shared)?;
    let rules = state.with_faults(|faults| serde_json::to_value(faults.list()));
    let rules = rules.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    json(StatusCode::OK, &value!({ "rules": rules }))
}

/// `POST /test/faults`
async fn add(State(shared): State<Arc<Shared>>, target: Target, content: Content) -> Result<Response, Problem> {
    target.params.finish()?;
    let state = target.state(&shared)?;
    let rule: Rule = content.json()?;
    let operations = &shared.metrics.operations;
    let is_known = |name: &String| Rule::is_word(name) || operations.has(name);
    if let Some(unknown) = rule.operations.iter().find(|name| !is_known(name)) {
        return Err(Problem::invalid(format!(
            "'{unknown}' is no operation on a store: write an operationId of /openapi.json, appends, reads or all"
        )));
    }
    let added = state.with_faults(|faults| faults.add(rule)).map_err(Problem::invalid)?;
    json(StatusCode::CREATED, &added)
}

/// `DELETE /test/faults`
async fn clear(State(shared): State<Arc<Shared>>, target: Target) -> Result<Response, Problem> {
    target.params.finish()?;
    target.state(&shared)?.with_faults(Faults::clear);
    target.done(StatusCode::OK)
}

/// `DELETE /test/faults/{rule}`
async fn remove(State(shared): State<Arc<Shared>>, target: Target) -> Result<Response, Problem> {
    target.params.finish()?;
    let (state, text) = (target.state(&shared)?, &target.segment);
    let number = text.parse().ok();
    if number.is_some_and(|number| state.with_faults(|faults| faults.remove(number))) {
        return target.done(StatusCode::OK);
    }
    Err(Problem::new(
        Kind::NotFound,
        format!("the namespace has no rule '{text}'"),
    ))
}
