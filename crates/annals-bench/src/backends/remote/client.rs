//! A client of the HTTP API of `annals serve`.

use std::borrow::Cow;
use std::io::{BufRead as _, BufReader};

use annals::{Position, Version};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::{ANSWER, CONNECT, LATE, OrFailed as _};
use crate::store::{LookAtTrace, Result, StoreError, StoredEvent, Trace};

/// The most events of a page.
const PAGE: usize = 1_000;
/// Connections that are kept: as many as there may be workers.
const CONNECTIONS: usize = 1_024;
const LINES: &str = "application/x-ndjson";

/// Called with each event; true if it counts.
pub(in crate::backends) type Count<'a> = &'a mut dyn FnMut(&Found<'_>) -> bool;

/// The address of a server, and the connections to it.
#[derive(Clone, Debug)]
pub(in crate::backends) struct Client {
    agent: Agent,
    url: String,
}

/// An event of a page.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::backends) struct Found<'a> {
    position: u64,
    #[serde(borrow)]
    aggregate_id: Cow<'a, str>,
    version: u64,
    #[serde(borrow)]
    event_data: Option<&'a RawValue>,
    /// Those of other programs may be no object.
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// The ids of an event, which are members of its metadata.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ids<'a> {
    #[serde(borrow)]
    correlation_id: Cow<'a, str>,
    #[serde(borrow)]
    causation_id: Cow<'a, str>,
}

impl Found<'_> {
    pub(in crate::backends) fn event(&self) -> StoredEvent<'_> {
        StoredEvent {
            stream: &self.aggregate_id,
            version: Version(self.version),
            position: Some(Position(self.position)),
            data: self.data(),
        }
    }

    /// Calls `look` with the correlation and cause of the event.
    pub(in crate::backends) fn show_trace(&self, look: LookAtTrace<'_>) {
        let ids = self.metadata.and_then(|text| serde_json::from_str(text.get()).ok());
        let ids: Ids<'_> = ids.unwrap_or_default();
        look(Trace {
            position: Position(self.position),
            data: self.data(),
            correlation: &ids.correlation_id,
            causation: &ids.causation_id,
        });
    }

    fn data(&self) -> &[u8] {
        self.event_data.map_or(&[][..], |data| data.get().as_bytes())
    }
}

impl Client {
    pub(in crate::backends) fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .timeout_global(Some(ANSWER));
        Self {
            agent: config.build().into(),
            url: url.to_owned(),
        }
    }

    /// The state of the server's store.
    pub(in crate::backends) fn state(&self) -> Result<Value> {
        let request = self.agent.get(format!("{}/v1/store", self.url));
        let request = request.config().timeout_global(Some(CONNECT)).build();
        document(told(request.call())?)
    }

    /// Sends lines of events, and returns the answer.
    pub(in crate::backends) fn post(&self, path: &str, lines: &[u8]) -> Result<Value> {
        let request = self.agent.post(format!("{}/v1{path}", self.url));
        let response = told(request.header("Content-Type", LINES).send(lines))?;
        if response.status().is_success() {
            document(response)
        } else {
            Err(refused(response))
        }
    }

    /// Shows events of the page at `path`, which has a query already, and of those after it, until `look` has counted `limit` of them by returning true.
    /// A path that does not exist has no events.
    pub(in crate::backends) fn pages(&self, path: &str, limit: usize, look: Count<'_>) -> Result<()> {
        let mut next = Some(format!("/v1{path}&limit={}", limit.min(PAGE)));
        let mut left = limit;
        while let Some(path) = next.filter(|_| left > 0) {
            let response = self.agent.get(format!("{}{path}", self.url)).header("Accept", LINES);
            let mut response = told(response.call())?;
            if response.status() == 404 {
                return Ok(());
            }
            if !response.status().is_success() {
                return Err(refused(response));
            }
            next = following(&response);
            left -= shown(&mut response, left, look)?;
        }
        Ok(())
    }
}

/// The value, or the failure.
fn told<T>(result: std::result::Result<T, ureq::Error>) -> Result<T> {
    result.map_err(|error| {
        let is_late = matches!(error, ureq::Error::Timeout(_));
        StoreError::Failed(if is_late { LATE.to_owned() } else { error.to_string() })
    })
}

/// The path of the next page: the server says `</v1/events?…>; rel="next"`.
fn following(response: &Response<Body>) -> Option<String> {
    let link = response.headers().get("link")?.to_str().ok()?;
    link.split(['<', '>']).nth(1).map(str::to_owned)
}

/// Shows the events of a page until `limit` of them are counted, and returns how many are. A connection is used again if its answer was read to its end.
fn shown(response: &mut Response<Body>, limit: usize, look: Count<'_>) -> Result<usize> {
    let mut count = 0;
    for line in BufReader::new(response.body_mut().as_reader()).lines() {
        let line = line.or_failed()?;
        if count == limit {
            continue;
        }
        let event: Found<'_> = serde_json::from_str(&line).or_failed()?;
        count += usize::from(look(&event));
    }
    Ok(count)
}

fn document(mut response: Response<Body>) -> Result<Value> {
    let bytes = response.body_mut().read_to_vec().or_failed()?;
    serde_json::from_slice(&bytes).or_failed()
}

/// The reason why a request was rejected: a conflict, or another problem.
fn refused(response: Response<Body>) -> StoreError {
    let status = response.status();
    let problem = document(response).unwrap_or_default();
    let text = |name| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("type").ends_with("/version-conflict") {
        StoreError::Conflict
    } else {
        StoreError::Failed(format!("{status}: {}", text("detail")))
    }
}
