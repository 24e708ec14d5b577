//! The processors of a mounted program, and their dead letters.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::Position;
use annals::cqrs::{FailedEvent, Letter, Processor, ProcessorState, ProcessorStatus, StopReason};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json as value};
use tokio::time::sleep;

use super::gate::Routes;
use super::letters::{describe_letter, describe_letters, no_letter, position};
use super::{json, page};
use crate::call::Call;
use crate::problem::{Kind, Problem};
use crate::program::{DeadLetters, Program};
use crate::work;

/// The default time for which a request to pause waits.
const PAUSE_WAIT: Duration = Duration::from_secs(5);
/// The interval between two checks of a processor that is to pause.
const PAUSE_TICK: Duration = Duration::from_millis(10);
/// The time after which a retry of all letters starts no further aggregate.
const RETRY_TIME: Duration = Duration::from_secs(20);

pub(super) fn reads() -> Routes {
    vec![
        ("/v1/processors", get(list)),
        ("/v1/processors/{processor}", get(one)),
        ("/v1/processors/{processor}/dead-letters", get(letters)),
    ]
}

pub(super) fn controls() -> Routes {
    vec![
        ("/v1/processors/{processor}/pause", post(pause)),
        ("/v1/processors/{processor}/resume", post(resume)),
        ("/v1/processors/{processor}/dead-letters/retry", post(retry_all)),
        ("/v1/processors/{processor}/dead-letters/{position}/retry", post(retry)),
        (
            "/v1/processors/{processor}/dead-letters/{position}/discard",
            post(discard),
        ),
    ]
}

/// The program of the namespace.
///
/// # Errors
///
/// [`Kind::NotFound`] if there is none.
pub(super) fn program(call: &Call) -> Result<&Program, Problem> {
    let missing = || {
        let detail = format!("no program is mounted in the namespace '{}'", call.namespace);
        Problem::new(Kind::NotFound, detail)
    };
    call.shared.programs.get(&call.namespace).ok_or_else(missing)
}

pub(super) fn processor(call: &Call) -> Result<Processor, Problem> {
    let name = call.segment("processor");
    let missing = || Problem::new(Kind::NotFound, format!("the program has no processor '{name}'"));
    program(call)?.processor(name).ok_or_else(missing)
}

/// The dead letters of the processor that the path names.
fn letters_of(call: &Call) -> Result<Arc<dyn DeadLetters>, Problem> {
    processor(call)?;
    let name = call.segment("processor");
    let missing = || {
        let detail = format!(
            "the processor '{name}' has no dead letters: only subscriptions and read models in PostgreSQL that the program added have"
        );
        Problem::new(Kind::NotFound, detail)
    };
    program(call)?.letters(name).ok_or_else(missing)
}

/// `GET /processors`
async fn list(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let program = program(&call)?.clone();
    let described = work::run(&call.shared, move || -> Vec<Value> {
        let statuses = program.statuses().into_iter();
        statuses.map(|status| describe(&program, &status)).collect()
    });
    json(StatusCode::OK, &value!({ "processors": described.await? }))
}

/// `GET /processors/{processor}`
async fn one(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let processor = processor(&call)?;
    answer(&call, StatusCode::OK, processor).await
}

/// The response with the state of the processor.
async fn answer(call: &Call, status: StatusCode, processor: Processor) -> Result<Response, Problem> {
    let program = program(call)?.clone();
    let described = work::run(&call.shared, move || describe(&program, &processor.status()));
    json(status, &described.await?)
}

pub(super) fn describe(program: &Program, status: &ProcessorStatus) -> Value {
    let (state, stop_reason) = match &status.state {
        ProcessorState::Running => ("running", None),
        ProcessorState::CaughtUp => ("caughtUp", None),
        ProcessorState::Paused => ("paused", None),
        ProcessorState::Stopped(reason) => ("stopped", Some(reason.to_string())),
        ProcessorState::Ended => ("ended", None),
        _ => ("other", None),
    };
    let letters = program.letters(&status.name);
    let letters = letters.and_then(|letters| Some(letters.all().ok()?.len()));
    value!({
        "name": status.name.as_str(),
        "state": state,
        "stopReason": stop_reason,
        "position": status.position.0,
        "lagEvents": status.lag_events,
        "lagSeconds": status.lag.as_secs_f64(),
        "handled": status.handled,
        "parked": status.parked,
        "lastError": status.last_error.as_ref().map(describe_failure),
        "waitsFor": status.waits_for,
        "deadLetters": letters,
    })
}

fn describe_failure((event, reason): &(FailedEvent, String)) -> Value {
    value!({
        "position": event.position.0,
        "eventId": event.id.to_string(),
        "eventType": event.event_type.as_str(),
        "aggregateId": event.aggregate_id.as_str(),
        "reason": reason,
    })
}

/// `POST /processors/{processor}/pause`. The handler that runs may take any time, and must not hold a thread of the server meanwhile.
async fn pause(mut call: Call) -> Result<Response, Problem> {
    let wait = call.params.parsed("timeoutSeconds", "a number of seconds")?;
    call.params.finish()?;
    let wait = wait
        .map_or(PAUSE_WAIT, Duration::from_secs)
        .min(call.shared.limits.wait);
    let processor = processor(&call)?;
    processor.request_pause();
    let begun = Instant::now();
    let runs = |state: &ProcessorState| matches!(state, ProcessorState::Running | ProcessorState::CaughtUp);
    while runs(&processor.status().state) {
        if begun.elapsed() >= wait {
            return answer(&call, StatusCode::ACCEPTED, processor).await;
        }
        sleep(PAUSE_TICK).await;
    }
    answer(&call, StatusCode::OK, processor).await
}

/// `POST /processors/{processor}/resume`
async fn resume(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let processor = processor(&call)?;
    if processor.status().state == ProcessorState::Ended {
        let detail = format!(
            "the processor '{}' has ended: only its program can start it",
            call.segment("processor")
        );
        return Err(Problem::new(Kind::ProcessorEnded, detail));
    }
    processor.resume();
    answer(&call, StatusCode::OK, processor).await
}

/// `GET /processors/{processor}/dead-letters`
async fn letters(mut call: Call) -> Result<Response, Problem> {
    let limit = page::limit(call.params.parsed("limit", "a number")?, &call.shared.limits)?;
    let after = call.params.parsed("cursor", "`next` of the page before")?.unwrap_or(0);
    call.params.finish()?;
    let letters = letters_of(&call)?;
    let read = work::run(&call.shared, move || {
        Ok::<_, StopReason>((letters.all()?, letters.lost()?))
    });
    let (all, lost) = read.await??;
    json(StatusCode::OK, &describe_letters(&all, lost, Position(after), limit))
}

/// `POST /processors/{processor}/dead-letters/{position}/retry`. The letters of an aggregate are retried together, in order.
async fn retry(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let (letters, position) = (letters_of(&call)?, position(&call)?);
    let retried = work::write(&call.shared, move || {
        let all = letters.all()?;
        let Some(letter) = all.into_iter().find(|letter| letter.position == position) else {
            return Ok(None);
        };
        let handled = letters.retry(&letter.aggregate_id)?;
        let mut left = letters.all()?;
        left.retain(|other| other.aggregate_id == letter.aggregate_id);
        Ok::<_, StopReason>(Some(describe_retry(handled, &left)))
    });
    let described = retried.await??.ok_or_else(|| no_letter(position))?;
    json(StatusCode::OK, &described)
}

/// `POST /processors/{processor}/dead-letters/retry`
async fn retry_all(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let letters = letters_of(&call)?;
    let retried = work::write(&call.shared, move || {
        let (handled, left) = (retry_in_time(&*letters)?, letters.all()?);
        Ok::<_, StopReason>(describe_retry(handled, &left))
    });
    json(StatusCode::OK, &retried.await??)
}

/// Retries the letters of one aggregate after the other, until there are no more or the time is over.
fn retry_in_time(letters: &dyn DeadLetters) -> Result<u64, StopReason> {
    let begun = Instant::now();
    let (mut handled, mut retried) = (0, HashSet::new());
    for letter in letters.all()? {
        if begun.elapsed() >= RETRY_TIME {
            break;
        }
        if retried.insert(letter.aggregate_id.clone()) {
            handled += letters.retry(&letter.aggregate_id)?;
        }
    }
    Ok(handled)
}

fn describe_retry(handled: u64, left: &[Letter]) -> Value {
    value!({ "handled": handled, "left": left.len(), "next": left.first().map(describe_letter) })
}

/// `POST /processors/{processor}/dead-letters/{position}/discard`
async fn discard(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let (letters, position) = (letters_of(&call)?, position(&call)?);
    let dropped = work::write(&call.shared, move || letters.discard(position));
    if dropped.await?? {
        return json(StatusCode::OK, &value!({ "position": position.0 }));
    }
    Err(no_letter(position))
}
