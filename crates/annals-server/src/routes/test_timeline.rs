//! With the test API, what happened in a namespace.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;

use super::gate::Routes;
use super::{NDJSON, json, page, typed};
use crate::call::{Accepted, Call};
use crate::problem::{Kind, Problem};
use crate::test_state::Slice;

/// Entries that the timeline no longer has.
const DROPPED: HeaderName = HeaderName::from_static("annals-dropped-entries");

pub(super) fn routes() -> Routes {
    vec![("/v1/test/timeline", get(timeline))]
}

/// `GET /test/timeline`
async fn timeline(mut call: Call) -> Result<Response, Problem> {
    let after = call.params.parsed("after", "the number of an entry")?.unwrap_or(0);
    let limit = page::limit(call.params.parsed("limit", "a number")?, &call.shared.limits)?;
    call.params.finish()?;
    let accepted = call.accepted()?;
    let missing = || Problem::new(Kind::NoNamespace, "the namespace was removed meanwhile");
    let state = call.shared.namespaces.test_state(&call.namespace).ok_or_else(missing)?;
    let slice = state.timeline(after, limit);
    match accepted {
        Accepted::Json => json(StatusCode::OK, &slice),
        Accepted::Lines => Ok(lines(&slice)),
        Accepted::CloudEvents => Err(Problem::new(
            Kind::NotAcceptable,
            "a timeline is application/json or application/x-ndjson",
        )),
    }
}

fn lines(slice: &Slice) -> Response {
    let mut text = String::new();
    for entry in &slice.entries {
        text.push_str(entry.get());
        text.push('\n');
    }
    let mut response = typed(StatusCode::OK, NDJSON, text);
    response.headers_mut().insert(DROPPED, HeaderValue::from(slice.dropped));
    response
}
