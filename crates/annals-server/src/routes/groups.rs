//! Groups of consumers, which compete for the events of a filter and acknowledge each.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::Position;
use annals::cqrs::GroupStatus;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post, put};
use futures_util::future::select;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json as value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use uuid::Uuid;

use super::gate::Routes;
use super::letters::{describe_letters, no_letter, position};
use super::{json, page};
use crate::body::Content;
use crate::call::Call;
use crate::groups::{Definition, Entry, Groups, Served, Settlement, Taken};
use crate::params::invalid;
use crate::problem::{Kind, Problem};
use crate::shared::Stage;
use crate::wire::event::WireEvent;
use crate::work;

/// Events of a take: the maximum, and the default.
const TAKE_MAX: usize = 1_000;
const TAKE: usize = 10;
/// Leases of a settlement, at most.
const LEASES_MAX: usize = 1_000;
/// Bytes of the reason of a failure.
const REASON_BYTES_MAX: usize = 4_096;
/// The interval between two checks of a group that waits for leases or pauses to end.
const TICK: Duration = Duration::from_millis(200);

pub(super) fn reads() -> Routes {
    vec![
        ("/v1/groups", get(list)),
        ("/v1/groups/{group}", get(one)),
        ("/v1/groups/{group}/dead-letters", get(letters)),
    ]
}

pub(super) fn consumption() -> Routes {
    vec![
        ("/v1/groups/{group}", put(define)),
        ("/v1/groups/{group}/take", post(take)),
        ("/v1/groups/{group}/ack", post(ack)),
        ("/v1/groups/{group}/nack", post(nack)),
    ]
}

pub(super) fn controls() -> Routes {
    vec![
        ("/v1/groups/{group}", axum::routing::delete(remove)),
        ("/v1/groups/{group}/resume", post(resume)),
        ("/v1/groups/{group}/dead-letters/replay", post(replay)),
        ("/v1/groups/{group}/dead-letters/{position}/discard", post(discard)),
    ]
}

/// Runs `work` on the groups of the namespace, on a thread that may wait for the journal.
async fn on_groups<T: Send + 'static>(
    call: &Call,
    work: impl FnOnce(&Groups, &str) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let missing = || Problem::new(Kind::NoNamespace, "the namespace was removed meanwhile");
    let groups = call.shared.namespaces.groups(&call.namespace).ok_or_else(missing)?;
    let name = call.segment("group").to_owned();
    work::write(&call.shared, move || work(&groups, &name)).await?
}

/// `GET /groups`
async fn list(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let all = on_groups(&call, |groups, _| {
        let all = groups.list()?;
        Ok(all
            .iter()
            .map(|(name, entry)| describe(name, entry))
            .collect::<Vec<_>>())
    });
    json(StatusCode::OK, &WireGroups { groups: all.await? })
}

/// `GET /groups/{group}`
async fn one(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let described = on_groups(&call, |groups, name| Ok(describe(name, &groups.get(name)?)));
    json(StatusCode::OK, &described.await?)
}

// As structs, since a `Value` would not keep the digits of numbers.

#[derive(Debug, Serialize)]
struct WireGroups {
    groups: Vec<Described>,
}

#[derive(Debug, Serialize)]
struct WireEvents {
    events: Vec<Box<RawValue>>,
}

/// A group on the wire.
#[derive(Debug, Serialize)]
struct Described {
    name: String,
    definition: Definition,
    /// `None` while no client has used the group since the server started.
    status: Option<Value>,
}

fn describe(name: &str, entry: &Entry) -> Described {
    Described {
        name: name.to_owned(),
        definition: entry.definition.clone(),
        status: entry.served.as_ref().map(|served| describe_status(&served.status())),
    }
}

pub(super) fn describe_status(status: &GroupStatus) -> Value {
    value!({
        "position": status.position.0,
        "lagEvents": status.lag_events,
        "inFlight": status.in_flight,
        "ready": status.ready,
        "waiting": status.waiting,
        "deadLetters": status.letters,
        "lostRecords": status.lost_letter_records,
        "stopReason": status.stopped.as_ref().map(ToString::to_string),
    })
}

/// `PUT /groups/{group}`
async fn define(call: Call, content: Content) -> Result<Response, Problem> {
    call.params.finish()?;
    content.expect_json()?;
    let definition = Definition::parse(&content.bytes)?;
    let (is_new, described) = on_groups(&call, move |groups, name| {
        let is_new = groups.define(name, definition)?;
        Ok((is_new, describe(name, &groups.get(name)?)))
    })
    .await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &described)
}

/// `DELETE /groups/{group}`
async fn remove(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    on_groups(&call, |groups, name| groups.delete(name)).await?;
    json(StatusCode::OK, &value!({ "name": call.segment("group") }))
}

/// `POST /groups/{group}/resume`
async fn resume(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let described = on_groups(&call, |groups, name| {
        groups.open(name)?.resume()?;
        Ok(describe(name, &groups.get(name)?))
    });
    json(StatusCode::OK, &described.await?)
}

/// A taken event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireTaken<'a> {
    lease: Uuid,
    lease_ends_at: String,
    attempt: u32,
    key: Uuid,
    event: WireEvent<'a>,
}

impl<'a> From<&'a Taken> for WireTaken<'a> {
    fn from(taken: &'a Taken) -> Self {
        Self {
            lease: taken.lease,
            lease_ends_at: taken.until.to_string(),
            attempt: taken.attempt,
            key: taken.key,
            event: WireEvent::from(&*taken.record),
        }
    }
}

/// `POST /groups/{group}/take`
async fn take(mut call: Call) -> Result<Response, Problem> {
    let limit = call.params.parsed("limit", "a number")?.unwrap_or(TAKE);
    let wait = call
        .params
        .parsed("wait", "a number of seconds")?
        .map_or(Duration::ZERO, Duration::from_secs);
    call.params.finish()?;
    if limit == 0 || limit > TAKE_MAX {
        return Err(invalid("limit", &limit.to_string(), &format!("1 to {TAKE_MAX}")));
    }
    let wait = wait.min(call.shared.limits.wait);
    let _place = place(&call, wait)?;
    let served = on_groups(&call, |groups, name| groups.open(name)).await?;
    let events = wait_and_take(&call, &served, limit, wait).await?;
    json(StatusCode::OK, &WireEvents { events })
}

/// The place of a waiting request, which counts as a live tail.
pub(super) fn place(call: &Call, wait: Duration) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    if wait.is_zero() {
        return Ok(None);
    }
    let place = Arc::clone(&call.shared.tails).try_acquire_owned();
    let place = place.map_err(|_| Problem::new(Kind::Busy, "every place for requests that wait is in use"))?;
    Ok(Some(place))
}

async fn wait_and_take(
    call: &Call,
    served: &Arc<Served>,
    limit: usize,
    wait: Duration,
) -> Result<Vec<Box<RawValue>>, Problem> {
    let begun = Instant::now();
    loop {
        // Both begin before the look at the group, so that nothing falls between the look and the wait.
        let mut changed = pin!(served.changed.notified());
        changed.as_mut().enable();
        let grown = call.store.when_visible(Position(call.store.visible().0 + 1));
        let (events, is_waiting) = take_now(call, served, limit).await?;
        let left = wait.saturating_sub(begun.elapsed());
        let is_over = left.is_zero() || *call.shared.stage.borrow() > Stage::Running;
        if !events.is_empty() || is_over {
            return Ok(events);
        }
        let until = if is_waiting { left.min(TICK) } else { left };
        let stopping = pin!(call.shared.reached(Stage::Draining));
        drop(timeout(until, select(select(changed, pin!(grown)), stopping)).await);
    }
}

/// The ready events, and whether more become ready with time.
async fn take_now(call: &Call, served: &Arc<Served>, limit: usize) -> Result<(Vec<Box<RawValue>>, bool), Problem> {
    let (served, bytes) = (Arc::clone(served), call.shared.limits.page_bytes);
    work::write(&call.shared, move || {
        let taken = served.take(limit, bytes)?;
        let written: Result<Vec<_>, _> = taken
            .iter()
            .map(|taken| to_raw_value(&WireTaken::from(taken)))
            .collect();
        let written = written.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
        let status = served.status();
        Ok((written, status.waiting > 0 || status.lag_events > 0))
    })
    .await?
}

/// Leases of handled events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAck {
    leases: Vec<Uuid>,
}

/// Leases of events that were not handled.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireNack {
    leases: Vec<Uuid>,
    #[serde(default)]
    action: Action,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Action {
    #[default]
    Retry,
    Park,
    Skip,
}

/// `POST /groups/{group}/ack`
async fn ack(call: Call, content: Content) -> Result<Response, Problem> {
    call.params.finish()?;
    let WireAck { leases } = content.json()?;
    settle(&call, leases, Settlement::Ack).await
}

/// `POST /groups/{group}/nack`
async fn nack(call: Call, content: Content) -> Result<Response, Problem> {
    call.params.finish()?;
    let WireNack {
        leases,
        action,
        mut reason,
    } = content.json()?;
    if reason.len() > REASON_BYTES_MAX {
        return Err(Problem::invalid(format!(
            "reason has more than {REASON_BYTES_MAX} bytes"
        )));
    }
    if reason.is_empty() {
        "its consumer gave no reason".clone_into(&mut reason);
    }
    let settlement = match action {
        Action::Retry => Settlement::Retry(reason),
        Action::Park => Settlement::Park(reason),
        Action::Skip => Settlement::Ack,
    };
    settle(&call, leases, settlement).await
}

async fn settle(call: &Call, leases: Vec<Uuid>, settlement: Settlement) -> Result<Response, Problem> {
    if leases.is_empty() || leases.len() > LEASES_MAX {
        return Err(Problem::invalid(format!(
            "leases has {} members, but must have 1 to {LEASES_MAX}",
            leases.len()
        )));
    }
    let count = leases.len();
    let lost = on_groups(call, move |groups, name| {
        Ok(groups.open(name)?.settle(&leases, &settlement))
    })
    .await?;
    json(StatusCode::OK, &value!({ "settled": count - lost.len(), "lost": lost }))
}

/// `GET /groups/{group}/dead-letters`
async fn letters(mut call: Call) -> Result<Response, Problem> {
    let limit = page::limit(call.params.parsed("limit", "a number")?, &call.shared.limits)?;
    let after = call.params.parsed("cursor", "`next` of the page before")?.unwrap_or(0);
    call.params.finish()?;
    let (all, lost) = on_groups(&call, |groups, name| {
        let served = groups.open(name)?;
        Ok((served.letters(), served.status().lost_letter_records))
    })
    .await?;
    json(StatusCode::OK, &describe_letters(&all, lost, Position(after), limit))
}

/// `POST /groups/{group}/dead-letters/replay`
async fn replay(mut call: Call) -> Result<Response, Problem> {
    let aggregate = call.params.one("aggregate")?;
    call.params.finish()?;
    let count = on_groups(&call, move |groups, name| {
        Ok(groups.open(name)?.replay(aggregate.as_deref()))
    });
    json(StatusCode::OK, &value!({ "replayed": count.await? }))
}

/// `POST /groups/{group}/dead-letters/{position}/discard`
async fn discard(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let position = position(&call)?;
    if on_groups(&call, move |groups, name| groups.open(name)?.discard(position)).await? {
        return json(StatusCode::OK, &value!({ "position": position.0 }));
    }
    Err(no_letter(position))
}
