//! `event`: shows one event with all its fields.

use annals::{Event, Position, Store};
use uuid::Uuid;

use crate::commands::gone;
use crate::exit::{Failure, Outcome};
use crate::output::events::write_all;
use crate::output::payload::Fidelity;
use crate::output::screen::{Role, Screen};
use crate::output::text::{clean, indented};
use crate::output::wire::Wire;
use crate::output::{Format, Out};
use crate::when;

const LABEL_WIDTH: usize = 14;

pub(crate) fn show(store: &Store, which: &str, out: &mut Out<'_>) -> Outcome {
    let event = find(store, which)?;
    match out.format {
        Format::Table => describe(&event, out),
        Format::Csv => write_all(out, &[event]).map(drop),
        Format::Json | Format::Jsonl => {
            Wire::from(&event).write_json(&mut out.stdout, Fidelity::Readable)?;
            out.line("")
        }
    }
}

fn find(store: &Store, which: &str) -> Outcome<Event> {
    let found = if let Ok(position) = which.parse() {
        store.event_at(Position(position))
    } else if let Ok(id) = which.parse::<Uuid>() {
        store.event(id)
    } else {
        return Err(Failure::Usage(format!(
            "'{which}' is neither a position nor the id of an event; `annals events` shows positions, and ids with --format jsonl"
        )));
    };
    found.ok_or_else(|| {
        let gone = which.parse().ok().and_then(|position| gone::event(store, position));
        let why = gone.unwrap_or_else(|| format!("the last position is {}", store.visible()));
        Failure::NotFound(clean(&format!("there is no event {which}; {why}")).into_owned())
    })
}

fn describe(event: &Event, out: &mut Out<'_>) -> Outcome {
    let tags = event.tags().collect::<Vec<_>>().join(", ");
    let type_and_version = format!("{} (schema version {})", event.event_type(), event.schema_version());
    let zone = out.zone.clone();
    let aggregate = format!("{} {}", event.aggregate_type(), event.aggregate_id());
    for (label, value, role) in [
        ("event", type_and_version.as_str(), Role::Type),
        ("id", &event.id().to_string(), Role::Id),
        ("position", &event.position().to_string(), Role::Number),
        ("aggregate", &aggregate, Role::Id),
        ("version", &event.version().to_string(), Role::Number),
        ("happened", &when::show(event.timestamp(), &zone), Role::Plain),
        ("recorded", &when::show(event.recorded_at(), &zone), Role::Plain),
        ("correlation", event.correlation_id().unwrap_or("-"), Role::Id),
        ("causation", event.causation_id().unwrap_or("-"), Role::Id),
        ("user", event.user_id().unwrap_or("-"), Role::Id),
        ("organization", event.organization_id().unwrap_or("-"), Role::Id),
        ("tags", if tags.is_empty() { "-" } else { &tags }, Role::Plain),
    ] {
        let role = if value == "-" { Role::Secondary } else { role };
        let value = out.screen.paint(role, &clean(value));
        out.line(&format!("{}{value}", label_of(label, out.screen)))?;
    }
    describe_payload("metadata", event.metadata(), out)?;
    describe_payload("data", event.data(), out)
}

fn label_of(label: &str, screen: Screen) -> String {
    screen.paint(Role::Secondary, &format!("{label:LABEL_WIDTH$}"))
}

/// Writes JSON over several lines. Only white space differs from the stored form.
fn describe_payload(label: &str, payload: &[u8], out: &mut Out<'_>) -> Outcome {
    if payload.is_empty() {
        let none = out.screen.paint(Role::Secondary, "-");
        return out.line(&format!("{}{none}", label_of(label, out.screen)));
    }
    out.note(label)?;
    for line in indented(&String::from_utf8_lossy(payload)).lines() {
        out.line(&format!("  {}", clean(line)))?;
    }
    Ok(())
}
