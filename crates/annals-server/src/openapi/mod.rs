//! The `OpenAPI` 3.1 document: made from one table of operations.

mod group_operations;
mod operation;
mod operations;
mod parameters;
mod program_operations;
mod schemas;
mod shapes;
mod test_operations;
mod test_schemas;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::operation::{Body, Operation, Reply};
use crate::problem::Kind;

const DESCRIPTION: &str = "\
An event store over HTTP. Every path below `/v1` addresses the namespace `default`; the same paths below `/v1/ns/{namespace}` address another.

An event on the wire has the names of the files that the program `annals` writes, so that a file can be appended as it is. The ids of correlation, \
causation, user and organization may stand in `metadata` or beside them, and are answered in `metadata`.

Every refusal is a problem document (RFC 9457). Its `type` is an address of this server that describes it; /problems lists all.";

/// The optional parts of the API that a server has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) has_test_api: bool,
    /// Whether a program is mounted.
    pub(crate) has_program: bool,
}

/// An operation on a store, as metrics name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub(crate) id: &'static str,
    /// Whether it looks for events, or sums them up.
    pub(crate) is_query: bool,
}

/// The operations on stores, by path and method.
#[derive(Debug)]
pub(crate) struct Operations(BTreeMap<(&'static str, &'static str), Named>);

impl Operations {
    pub(crate) fn new(parts: Parts) -> Self {
        let all = operations::all(parts).into_iter();
        let of_stores = all.filter(|operation| operation.path.starts_with("/v1/"));
        Self(
            of_stores
                .map(|operation| {
                    let is_query =
                        ["query", "summaries"].contains(&operation.tag) && !["tail", "socket"].contains(&operation.id);
                    let id = operation.id;
                    ((operation.path, operation.method), Named { id, is_query })
                })
                .collect(),
        )
    }

    /// Whether there is an operation of this id on the events of a store.
    pub(crate) fn has(&self, id: &str) -> bool {
        let mut all = self.0.iter();
        all.any(|((path, _), named)| named.id == id && !path.starts_with("/v1/test"))
    }

    /// The operation of a method, in lower case, at the path of a route.
    pub(crate) fn of(&self, method: &str, route: &str) -> Option<Named> {
        self.0.get(&(route, method)).copied()
    }
}

/// The document.
pub(crate) fn document(parts: Parts) -> Value {
    let mut paths = Map::new();
    for operation in operations::all(parts) {
        add(
            &mut paths,
            operation.path.to_owned(),
            describe(&operation, parts, false),
        );
        if let Some(rest) = operation.path.strip_prefix("/v1/") {
            add(
                &mut paths,
                format!("/v1/ns/{{namespace}}/{rest}"),
                describe(&operation, parts, true),
            );
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Annals",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        // A server without tokens needs none.
        "security": [{}, { "token": [] }],
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas::all(), "parameters": parameters::all(),
        },
    })
}

/// Adds an operation, by its method, to the item of its path.
fn add(paths: &mut Map<String, Value>, path: String, (method, operation): (&str, Value)) {
    let item = paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(item) = item {
        item.insert(method.to_owned(), operation);
    }
}

fn describe(operation: &Operation, parts: Parts, is_in_namespace: bool) -> (&'static str, Value) {
    let mut parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|name| reference("parameters", name))
        .collect();
    let mut id = operation.id.to_owned();
    if is_in_namespace {
        parameters.insert(0, reference("parameters", "namespace"));
        id.push_str("InNamespace");
    }
    let mut described = json!({
        "operationId": id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": responses(operation, parts),
    });
    if let Some(body) = &operation.body {
        described["requestBody"] = json!({ "required": true, "content": request(body) });
    }
    (operation.method, described)
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

fn schema(name: &str) -> Value {
    reference("schemas", name)
}

fn request(body: &Body) -> Value {
    match body {
        Body::Json(name) => json!({ "application/json": { "schema": schema(name) } }),
        // For NDJSON, a schema describes each line.
        Body::Events => json!({
            "application/json": { "schema": schema("NewEvents") },
            "application/x-ndjson": { "schema": schema("NewEvent") },
            "application/cloudevents+json": { "schema": schema("CloudEvent") },
            "application/cloudevents-batch+json": { "schema": { "type": "array", "items": schema("CloudEvent") } },
        }),
    }
}

fn responses(operation: &Operation, parts: Parts) -> Value {
    let mut responses = Map::new();
    for (status, text, reply) in operation.replies {
        let content = match reply {
            Reply::Json(name) => json!({ "application/json": { "schema": schema(name) } }),
            Reply::Page(name) => json!({
                "application/json": { "schema": schema(name) },
                "application/x-ndjson": { "schema": schema("Event") },
                "application/cloudevents-batch+json": { "schema": { "type": "array", "items": schema("CloudEvent") } },
            }),
            Reply::Lines(name, line) => json!({
                "application/json": { "schema": schema(name) },
                "application/x-ndjson": { "schema": schema(line) },
            }),
            Reply::Metrics => json!({
                "application/openmetrics-text; version=1.0.0; charset=utf-8": { "schema": { "type": "string" } },
                "text/plain; version=0.0.4; charset=utf-8": { "schema": { "type": "string" } },
            }),
            Reply::Socket => json!({}),
            Reply::EventStream => json!({ "text/event-stream": { "schema": { "type": "string" } } }),
        };
        responses.insert(status.to_string(), json!({ "description": text, "content": content }));
    }
    for (status, kinds) in problems(operation, parts) {
        let names: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.name())).collect();
        let content = json!({ "application/problem+json": { "schema": schema("Problem") } });
        let response = json!({ "description": names.join(", "), "content": content });
        responses.insert(status.to_string(), response);
    }
    responses.into()
}

/// The types of problems that an operation can answer with, by their status.
fn problems(operation: &Operation, parts: Parts) -> std::collections::BTreeMap<u16, Vec<Kind>> {
    let mut kinds = operation::ALWAYS.to_vec();
    if operation.path.starts_with("/v1/") {
        kinds.extend(operation::IN_NAMESPACE);
    }
    if operation.body.is_some() {
        kinds.extend(operation::WITH_BODY);
    }
    // A rule of the test API makes any operation on a store fail.
    if parts.has_test_api && operation.path.starts_with("/v1/") && operation.tag != "test" {
        kinds.push(Kind::Unavailable);
    }
    kinds.extend(operation.problems);
    kinds.sort_unstable();
    kinds.dedup();
    let mut by_status = std::collections::BTreeMap::<u16, Vec<Kind>>::new();
    for kind in kinds {
        by_status.entry(kind.status().as_u16()).or_default().push(kind);
    }
    by_status
}
