//! Waits until a position is visible, or until groups or a processor have handled their events: no test needs to sleep.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::Position;
use annals::cqrs::{ProcessorState, ProcessorStatus};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json as value};
use tokio::time::sleep;

use super::gate::Routes;
use super::groups::{describe_status, place};
use super::json;
use super::processors::{describe, processor, program};
use crate::call::Call;
use crate::problem::{Kind, Problem};
use crate::shared::{Shared, Stage};
use crate::work;

/// The interval between two checks.
const TICK: Duration = Duration::from_millis(10);

/// For programs that have processors.
pub(super) fn routes() -> Routes {
    vec![("/v1/processors/{processor}/wait", get(processor_wait))]
}

/// For test suites.
pub(super) fn test_routes() -> Routes {
    vec![("/v1/test/wait", get(wait))]
}

/// A time that is given to what is waited for.
struct Deadline {
    begun: Instant,
    wait: Duration,
}

impl Deadline {
    /// The deadline that a request asks for, which the server bounds.
    fn of(call: &mut Call) -> Result<Self, Problem> {
        let seconds: Option<u64> = call.params.parsed("timeoutSeconds", "a number of seconds")?;
        let most = call.shared.limits.wait;
        Ok(Self {
            begun: Instant::now(),
            wait: seconds.map_or(most, Duration::from_secs).min(most),
        })
    }

    /// Waits for a moment. Returns `false` when the time is over, or the server stops.
    async fn goes_on(&self, shared: &Shared) -> bool {
        let left = self.wait.saturating_sub(self.begun.elapsed());
        if left.is_zero() || *shared.stage.borrow() > Stage::Running {
            return false;
        }
        sleep(TICK.min(left)).await;
        true
    }
}

/// `GET /test/wait`
async fn wait(mut call: Call) -> Result<Response, Problem> {
    let position = call.params.parsed("position", "a position")?.map(Position);
    let groups = call.params.many("group");
    let deadline = Deadline::of(&mut call)?;
    call.params.finish()?;
    if position.is_none() && groups.is_empty() {
        return Err(Problem::invalid("name a position or a group to wait for"));
    }
    let _place = place(&call, deadline.wait)?;
    let groups: Arc<[String]> = groups.into();
    loop {
        let progress = observe(&call, position, &groups).await?;
        if progress.late.is_none() {
            return json(StatusCode::OK, &progress.report());
        }
        if progress.has_stopped || !deadline.goes_on(&call.shared).await {
            return Err(progress.refusal());
        }
    }
}

/// What is visible and handled.
struct Progress {
    visible: Position,
    /// What has not come, if anything.
    late: Option<String>,
    /// Whether a group has stopped, so that waiting is useless.
    has_stopped: bool,
    groups: Vec<Value>,
}

impl Progress {
    fn report(&self) -> Value {
        value!({ "visible": self.visible.0, "groups": self.groups })
    }

    fn refusal(self) -> Problem {
        Problem::new(Kind::NotReached, self.late.unwrap_or_default())
            .with("visible", self.visible.0)
            .with("groups", self.groups)
    }

    fn add(&mut self, name: &str, is_reached: bool, mut status: Value) {
        if !is_reached {
            let stopped = status["stopReason"].as_str();
            let reason = stopped.map_or_else(String::new, |reason| format!(", and has stopped: {reason}"));
            self.has_stopped |= stopped.is_some();
            let (at, held) = (&status["position"], &status["inFlight"]);
            let detail = format!("the group '{name}' is at position {at} with {held} events in flight{reason}");
            self.late.get_or_insert(detail);
        }
        status["name"] = name.into();
        status["reached"] = is_reached.into();
        self.groups.push(status);
    }
}

async fn observe(call: &Call, position: Option<Position>, names: &Arc<[String]>) -> Result<Progress, Problem> {
    let visible = call.store.visible();
    let waits = position.filter(|position| visible < *position);
    let mut progress = Progress {
        visible,
        late: waits
            .map(|position| format!("position {position} is not visible: the last visible position is {visible}")),
        has_stopped: false,
        groups: Vec::new(),
    };
    if names.is_empty() {
        return Ok(progress);
    }
    let missing = || Problem::new(Kind::NoNamespace, "the namespace was removed meanwhile");
    let groups = call.shared.namespaces.groups(&call.namespace).ok_or_else(missing)?;
    let names = Arc::clone(names);
    let observing = work::write(&call.shared, move || {
        for name in names.iter() {
            let (is_handled, served) = groups.has_handled(name, position)?;
            let is_reached = is_handled && waits.is_none();
            progress.add(name, is_reached, describe_status(&served.status()));
        }
        Ok(progress)
    });
    observing.await?
}

/// `GET /processors/{processor}/wait`
async fn processor_wait(mut call: Call) -> Result<Response, Problem> {
    let position = call.params.parsed("position", "a position")?.map(Position);
    let deadline = Deadline::of(&mut call)?;
    call.params.finish()?;
    let processor = processor(&call)?;
    let _place = place(&call, deadline.wait)?;
    loop {
        let status = processor.status();
        let has_ended = matches!(status.state, ProcessorState::Stopped(_) | ProcessorState::Ended);
        let is_reached = position.map_or(status.lag_events == 0, |position| status.position >= position);
        if is_reached {
            return json(StatusCode::OK, &described(&call, status).await?);
        }
        if has_ended || !deadline.goes_on(&call.shared).await {
            let detail = late(&call, &status);
            let described = described(&call, status).await?;
            return Err(Problem::new(Kind::NotReached, detail).with("processor", described));
        }
    }
}

fn late(call: &Call, status: &ProcessorStatus) -> String {
    let (at, lag) = (status.position, status.lag_events);
    let error = status
        .last_error
        .as_ref()
        .map(|(_, reason)| format!(", its last error is: {reason}"));
    let name = call.segment("processor");
    format!(
        "the processor '{name}' is at position {at}, {lag} events behind{}",
        error.unwrap_or_default()
    )
}

async fn described(call: &Call, status: ProcessorStatus) -> Result<Value, Problem> {
    let program = program(call)?.clone();
    work::run(&call.shared, move || describe(&program, &status)).await
}
