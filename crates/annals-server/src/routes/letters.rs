//! Dead letters on the wire, of processors and of groups.

use annals::Position;
use annals::cqrs::Letter;
use serde_json::{Value, json as value};

use crate::call::Call;
use crate::params::invalid;
use crate::problem::{Kind, Problem};

/// The position that the path names.
///
/// # Errors
///
/// [`Kind::Invalid`] if it is none.
pub(super) fn position(call: &Call) -> Result<Position, Problem> {
    let text = call.segment("position");
    let number = text.parse().map_err(|_| invalid("position", text, "a position"))?;
    Ok(Position(number))
}

/// The page of at most `limit` letters after a position.
pub(super) fn describe_letters(all: &[Letter], lost: u64, after: Position, limit: usize) -> Value {
    let mut later = all.iter().filter(|letter| letter.position > after).peekable();
    let page: Vec<&Letter> = later.by_ref().take(limit).collect();
    let next = later.peek().and(page.last()).map(|letter| letter.position.to_string());
    let described: Vec<Value> = page.into_iter().map(describe_letter).collect();
    value!({ "deadLetters": described, "next": next, "total": all.len(), "lostRecords": lost })
}

pub(super) fn describe_letter(letter: &Letter) -> Value {
    value!({
        "position": letter.position.0,
        "eventId": letter.event_id.to_string(),
        "eventType": letter.event_type.as_str(),
        "aggregateId": letter.aggregate_id.as_str(),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "parkedAt": letter.parked_at.to_string(),
    })
}

pub(super) fn no_letter(position: Position) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("there is no dead letter at position {position}"),
    )
}
