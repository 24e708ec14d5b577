//! For test suites only: namespaces are emptied, kept, restored and forked, and their clocks moved. Each is an entry of their timelines.

use std::sync::Arc;
use std::time::Duration;

use annals::{Clock as _, Timestamp};
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::json as value;

use super::gate::Routes;
use super::json;
use crate::body::Content;
use crate::namespaces::{Fresh, TestClock};
use crate::params::{Params, invalid, parse_time};
use crate::problem::{Kind, Problem};
use crate::shared::{DEFAULT, Shared};
use crate::test_state::{Happening, TestState};
use crate::tokens::{Role, permit};

/// The longest step of a clock: a hundred years.
const STEP_SECONDS_MAX: f64 = 100.0 * 366.0 * 86_400.0;

pub(super) fn routes() -> Routes {
    vec![
        ("/v1/test", delete(remove)),
        ("/v1/test/reset", post(reset)),
        ("/v1/test/snapshots", post(keep)),
        ("/v1/test/snapshots/{snapshot}/restore", post(restore)),
        ("/v1/test/fork/{name}", post(fork)),
        ("/v1/test/clock", get(show_clock).put(set_clock)),
        ("/v1/test/clock/advance", post(advance_clock)),
    ]
}

/// The namespace and the other segment of a path. The namespace need not exist.
pub(super) struct Target {
    namespace: String,
    pub(super) segment: String,
    pub(super) params: Params,
}

impl FromRequestParts<Arc<Shared>> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let (mut namespace, mut segment) = (DEFAULT.to_owned(), String::new());
        if let Ok(params) = RawPathParams::from_request_parts(parts, shared).await {
            for (name, value) in &params {
                let place = if name == "namespace" {
                    &mut namespace
                } else {
                    &mut segment
                };
                value.clone_into(place);
            }
        }
        let params = Params::parse(parts.uri.query())?;
        Ok(Self {
            namespace,
            segment,
            params,
        })
    }
}

impl Target {
    fn missing(&self) -> Problem {
        Problem::new(
            Kind::NoNamespace,
            format!("the server has no namespace '{}'", self.namespace),
        )
    }

    pub(super) fn done(&self, status: StatusCode) -> Result<Response, Problem> {
        json(status, &value!({ "namespace": self.namespace }))
    }

    /// The timeline and the faults of the namespace.
    pub(super) fn state(&self, shared: &Shared) -> Result<Arc<TestState>, Problem> {
        let state = shared.namespaces.test_state(&self.namespace);
        state.ok_or_else(|| self.missing())
    }

    fn clock(&self, shared: &Shared) -> Result<Arc<TestClock>, Problem> {
        let detail = "the namespace has no clock that can be moved: reset it first";
        let clock = shared.namespaces.clock(&self.namespace);
        clock.ok_or_else(|| {
            if shared.namespaces.get(&self.namespace).is_some() {
                Problem::invalid(detail)
            } else {
                self.missing()
            }
        })
    }
}

/// `POST /test/reset`
async fn reset(State(shared): State<Arc<Shared>>, mut target: Target) -> Result<Response, Problem> {
    let seed = target.params.parsed("seed", "a number")?;
    let now = target.params.one("now")?;
    let now = now.map(|text| parse_time(&text).ok_or_else(|| invalid("now", &text, "a time as in RFC 3339")));
    target.params.finish()?;
    shared.namespaces.reset(
        &target.namespace,
        Fresh {
            seed,
            now: now.transpose()?,
        },
    )?;
    shared.namespaces.record(&target.namespace, &Happening::Reset { seed });
    target.done(StatusCode::OK)
}

/// `DELETE /test`
async fn remove(State(shared): State<Arc<Shared>>, target: Target) -> Result<Response, Problem> {
    target.params.finish()?;
    if shared.namespaces.remove(&target.namespace)? {
        // One that the server was started with is emptied instead.
        shared
            .namespaces
            .record(&target.namespace, &Happening::Reset { seed: None });
        return target.done(StatusCode::OK);
    }
    Err(target.missing())
}

/// `POST /test/snapshots`
async fn keep(State(shared): State<Arc<Shared>>, target: Target) -> Result<Response, Problem> {
    target.params.finish()?;
    let number = shared
        .namespaces
        .keep(&target.namespace)?
        .ok_or_else(|| target.missing())?;
    let kept = Happening::Snapshot { snapshot: number };
    shared.namespaces.record(&target.namespace, &kept);
    json(
        StatusCode::CREATED,
        &value!({ "namespace": target.namespace, "snapshot": number }),
    )
}

/// `POST /test/snapshots/{snapshot}/restore`
async fn restore(State(shared): State<Arc<Shared>>, target: Target) -> Result<Response, Problem> {
    target.params.finish()?;
    let text = &target.segment;
    let missing = || Problem::new(Kind::NotFound, format!("the namespace has no snapshot '{text}'"));
    let number = text.parse().map_err(|_| missing())?;
    if shared.namespaces.restore(&target.namespace, number) {
        let restored = Happening::Restored { snapshot: number };
        shared.namespaces.record(&target.namespace, &restored);
        return target.done(StatusCode::OK);
    }
    Err(missing())
}

/// `POST /test/fork/{name}`. The token must permit both namespaces: that of the path was checked already.
async fn fork(State(shared): State<Arc<Shared>>, headers: HeaderMap, target: Target) -> Result<Response, Problem> {
    permit(&shared.tokens, &headers, Role::Admin, Some(&target.segment))?;
    target.params.finish()?;
    if shared.namespaces.fork(&target.namespace, &target.segment)? {
        let (from, to) = (target.namespace.as_str(), target.segment.as_str());
        shared.namespaces.record(from, &Happening::ForkedTo { namespace: to });
        shared.namespaces.record(to, &Happening::ForkedFrom { namespace: from });
        return json(StatusCode::CREATED, &value!({ "namespace": target.segment }));
    }
    Err(target.missing())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireNow {
    now: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireStep {
    seconds: f64,
}

/// `GET /test/clock`
async fn show_clock(State(shared): State<Arc<Shared>>, target: Target) -> Result<Response, Problem> {
    target.params.finish()?;
    if let Some(clock) = shared.namespaces.clock(&target.namespace) {
        return describe(&clock);
    }
    // A store of the server's start shows the time, and has a clock that can be moved after a reset.
    let store = shared
        .namespaces
        .get(&target.namespace)
        .ok_or_else(|| target.missing())?;
    json(
        StatusCode::OK,
        &value!({ "now": store.now().to_string(), "manual": false }),
    )
}

/// `PUT /test/clock`
async fn set_clock(State(shared): State<Arc<Shared>>, target: Target, content: Content) -> Result<Response, Problem> {
    target.params.finish()?;
    let clock = target.clock(&shared)?;
    clock.set(content.json::<WireNow>()?.now);
    shared.namespaces.record(&target.namespace, &Happening::Clock);
    describe(&clock)
}

/// `POST /test/clock/advance`
async fn advance_clock(
    State(shared): State<Arc<Shared>>,
    target: Target,
    content: Content,
) -> Result<Response, Problem> {
    target.params.finish()?;
    let clock = target.clock(&shared)?;
    let seconds = content.json::<WireStep>()?.seconds;
    if !(0.0..=STEP_SECONDS_MAX).contains(&seconds) {
        return Err(Problem::invalid(format!(
            "seconds is {seconds}, but must be 0 to {STEP_SECONDS_MAX}"
        )));
    }
    clock.advance(Duration::from_secs_f64(seconds));
    shared.namespaces.record(&target.namespace, &Happening::Clock);
    describe(&clock)
}

fn describe(clock: &TestClock) -> Result<Response, Problem> {
    let is_manual = clock.manual().is_some();
    json(
        StatusCode::OK,
        &value!({ "now": clock.now().to_string(), "manual": is_manual }),
    )
}
