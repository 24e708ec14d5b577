//! `http://HOST:PORT`: a server with the HTTP API of `annals serve`.
//!
//! The streams of a run have names of their own, and its log begins where that of the server ended: the server may hold other events, and those of the run
//! stay there.

use std::borrow::Cow;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::{Expected, Position, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::annals::failed;
use crate::store::{
    Backend, BatchUnit, By, ConsistencyCheck, Description, DurabilityClass, EventStore, Look, NewEvent, Place,
    Question, Result, StoreError, StoredEvent, Usage,
};

/// How the URLs of this backend begin.
pub(super) const SCHEME: &str = "http://";
/// The most events of a page.
const PAGE: usize = 1_000;
/// No request takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that are kept: as many as there may be workers.
const CONNECTIONS: usize = 1_024;
const LINES: &str = "application/x-ndjson";

/// A server.
#[derive(Debug)]
pub struct Http {
    server: Server,
    /// The last position of the server before this run.
    base: AtomicU64,
    description: Description,
}

impl Http {
    /// Asks the server at `url` what it is. A number after `#` is the position before the run.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if it cannot be reached, or has another API.
    pub fn connect(url: &str) -> Result<Self> {
        let (url, base) = url.split_once('#').unwrap_or((url, ""));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .timeout_global(Some(TIMEOUT));
        let server = Server {
            agent: config.build().into(),
            url: url.trim_end_matches('/').to_owned(),
        };
        let is_ephemeral = server.state()?.get("ephemeral").and_then(Value::as_bool);
        let is_ephemeral = is_ephemeral.ok_or_else(|| StoreError::Failed(format!("{url} is no server of Annals")))?;
        let (settings, durability) = if is_ephemeral {
            ("in memory", DurabilityClass::Volatile)
        } else {
            ("durability=synced", DurabilityClass::PowerSafe)
        };
        Ok(Self {
            server,
            base: AtomicU64::new(base.parse().unwrap_or(0)),
            description: Description {
                name: "http".to_owned(),
                software: "annals serve, over HTTP".to_owned(),
                settings: settings.to_owned(),
                durability,
                batch_unit: BatchUnit::Append,
                check: ConsistencyCheck::StreamVersion,
                keeps_events: true,
                has_log: true,
                has_queries: true,
            },
        })
    }
}

impl Backend for Http {
    fn description(&self) -> Description {
        self.description.clone()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let base = self.base.load(Ordering::Relaxed);
        let waits = self.description.durability != DurabilityClass::Volatile;
        Ok(Arc::new(Remote {
            server: self.server.clone(),
            base,
            prefix: format!("bench-{base}-"),
            durability: if waits { "&durability=synced" } else { "" },
        }))
    }

    fn wipe(&self) -> Result<()> {
        let visible = self.server.state()?.get("visible").and_then(Value::as_u64);
        let visible = visible.ok_or_else(|| StoreError::Failed("the server does not tell its position".to_owned()))?;
        self.base.store(visible, Ordering::Relaxed);
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        let name = format!("{}#{}", self.server.url, self.base.load(Ordering::Relaxed));
        Some(Place::of_name(&name))
    }
}

/// Where a server is, and the connections to it.
#[derive(Clone, Debug)]
struct Server {
    agent: Agent,
    url: String,
}

impl Server {
    fn get(&self, path: &str) -> Result<Response<Body>> {
        let request = self.agent.get(format!("{}/v1{path}", self.url)).header("Accept", LINES);
        request.call().map_err(|error| failed(&error))
    }

    fn state(&self) -> Result<Value> {
        let request = self.agent.get(format!("{}/v1/store", self.url));
        let mut response = request.call().map_err(|error| failed(&error))?;
        let bytes = response.body_mut().read_to_vec().map_err(|error| failed(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| failed(&error))
    }
}

/// Why a request was refused: a conflict, or another problem.
fn refused(mut response: Response<Body>) -> StoreError {
    let status = response.status();
    let bytes = response.body_mut().read_to_vec().unwrap_or_default();
    let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |name| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("type").ends_with("/version-conflict") {
        StoreError::Conflict
    } else {
        StoreError::Failed(format!("{status}: {}", text("detail")))
    }
}

/// An event to append, as the API has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    event_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    correlation_id: &'a str,
    timestamp: String,
    event_data: &'a RawValue,
}

/// An event of a page.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    position: u64,
    #[serde(borrow)]
    aggregate_id: Cow<'a, str>,
    version: u64,
    #[serde(borrow)]
    event_data: Option<&'a RawValue>,
}

/// The part of a server that a run has.
struct Remote {
    server: Server,
    base: u64,
    prefix: String,
    durability: &'static str,
}

/// A time as the API has it.
fn time(micros: i64) -> Result<String> {
    let time = Timestamp::from_microsecond(micros).map_err(|error| failed(&error))?;
    Ok(time.to_string())
}

/// A name as a part of a URL.
fn escaped(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape = |byte| {
        if is_plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    name.bytes().map(escape).collect()
}

impl Remote {
    /// Shows the events of a page that are of this run. Returns the position of the last event, and whether another page follows.
    fn show(&self, mut response: Response<Body>, look: Look<'_>) -> Result<(u64, bool)> {
        if response.status() == 404 {
            return Ok((0, false));
        }
        if !response.status().is_success() {
            return Err(refused(response));
        }
        let has_more = response.headers().get("link").is_some();
        let mut last = 0;
        for line in BufReader::new(response.body_mut().as_reader()).lines() {
            let line = line.map_err(|error| failed(&error))?;
            let event: Found<'_> = serde_json::from_str(&line).map_err(|error| failed(&error))?;
            last = event.position;
            if let Some(stream) = event.aggregate_id.strip_prefix(&self.prefix) {
                look(StoredEvent {
                    stream,
                    version: Version(event.version),
                    position: Some(Position(event.position)),
                    data: event.event_data.map_or(&[][..], |data| data.get().as_bytes()),
                });
            }
        }
        Ok((last, has_more))
    }
}

impl EventStore for Remote {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let mut body = Vec::new();
        for event in events {
            let sent = Sent {
                event_type: event.event_type,
                correlation_id: event.correlation,
                timestamp: time(event.micros)?,
                event_data: serde_json::from_slice(event.data).map_err(|error| failed(&error))?,
            };
            serde_json::to_writer(&mut body, &sent).map_err(|error| failed(&error))?;
            body.push(b'\n');
        }
        let expected = match expected {
            Expected::Any => "any".to_owned(),
            Expected::NoStream | Expected::Exactly(Version(0)) => "none".to_owned(),
            Expected::StreamExists => "exists".to_owned(),
            Expected::Exactly(version) => version.0.to_string(),
        };
        let name = escaped(&format!("{}{stream}", self.prefix));
        let (url, durability) = (&self.server.url, self.durability);
        let url = format!("{url}/v1/streams/{name}/events?aggregateType=Bench&expectedVersion={expected}{durability}");
        let request = self.server.agent.post(url).header("Content-Type", LINES);
        let mut response = request.send(&body[..]).map_err(|error| failed(&error))?;
        if response.status() != 201 {
            return Err(refused(response));
        }
        let bytes = response.body_mut().read_to_vec().map_err(|error| failed(&error))?;
        let appended: Value = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
        let first = appended.get("firstVersion").and_then(Value::as_u64);
        first
            .map(Version)
            .ok_or_else(|| StoreError::Failed("the answer has no version".to_owned()))
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let name = escaped(&format!("{}{stream}", self.prefix));
        let mut from = after.0 + 1;
        loop {
            let path = format!("/streams/{name}/events?from={from}&limit={PAGE}");
            let mut next = from;
            let show = &mut |event: StoredEvent<'_>| {
                next = event.version.0 + 1;
                look(event);
            };
            let (_, has_more) = self.show(self.server.get(&path)?, show)?;
            if !has_more || next == from {
                return Ok(());
            }
            from = next;
        }
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let (mut after, mut left) = (after.0.max(self.base), limit);
        while left > 0 {
            let path = format!("/events?after={after}&limit={}", left.min(PAGE));
            let show = &mut |event: StoredEvent<'_>| {
                left = left.saturating_sub(1);
                look(event);
            };
            let (last, has_more) = self.show(self.server.get(&path)?, show)?;
            if !has_more || last <= after {
                return Ok(());
            }
            after = last;
        }
        Ok(())
    }

    fn query(&self, question: &Question, look: Look<'_>) -> Result<()> {
        let filter = match &question.by {
            By::Type(name) => format!("eventType={}", escaped(name)),
            By::Correlation(id) => format!("correlation={}", escaped(id)),
            By::Time(from, to) => format!("since={}&before={}", time(*from)?, time(*to)?),
        };
        let (base, limit) = (self.base, question.limit.min(PAGE));
        let path = format!("/events?{filter}&after={base}&order=-position&limit={limit}");
        self.show(self.server.get(&path)?, look).map(drop)
    }

    fn usage(&self) -> Usage {
        let state = self.server.state().unwrap_or_default();
        Usage {
            memory_bytes: state.pointer("/stats/memoryBytes").and_then(Value::as_u64),
            disk_bytes: None,
        }
    }
}
