//! `mcp`: answers questions about a store to a program that speaks the Model Context Protocol, over the standard input and output.
//!
//! The protocol is JSON-RPC 2.0, one message a line: <https://modelcontextprotocol.io/specification/2025-06-18>. The tools are the reading commands of
//! the program, with their names, options and JSON; no tool writes.

mod answer;
mod lines;
mod message;
mod schema;
mod source;
mod tools;

use serde_json::{Value, json};

use self::lines::{Line, Lines};
use self::message::{Problem, Request};
use self::source::Source;
use crate::args::Global;
use crate::exit::Outcome;
use crate::output::Out;

/// The versions of the protocol that the server speaks, the newest first.
const VERSIONS: [&str; 3] = ["2025-06-18", "2025-03-26", "2024-11-05"];

/// Serves until the standard input ends.
pub(crate) fn serve(global: &Global, out: &mut Out<'_>) -> Outcome {
    let mut source = Source::open(global, out)?;
    let lines = Lines::of_stdin();
    while let Some(line) = lines.next()? {
        if let Some(response) = respond(&line, &mut source, out) {
            out.line(&response.to_string())?;
            out.stdout.flush()?;
        }
    }
    Ok(())
}

/// The response to a line; `None` for a notification.
fn respond(line: &Line, source: &mut Source<'_>, out: &mut Out<'_>) -> Option<Value> {
    let request = match Request::read(line) {
        Ok(request) => request?,
        Err((id, problem)) => return Some(problem.response(&id)),
    };
    let answer = answer(&request, source, out);
    Some(match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": request.id, "result": result }),
        Err(problem) => problem.response(&request.id),
    })
}

fn answer(request: &Request, source: &mut Source<'_>, out: &mut Out<'_>) -> Result<Value, Problem> {
    match request.method.as_str() {
        "initialize" => Ok(initialized(&request.params, source)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": tools::listed() })),
        "tools/call" => tools::call(&request.params, source, out),
        other => Err(Problem::no_method(other)),
    }
}

/// What the server is, in the version of the protocol that the client asks for, or else in the newest.
fn initialized(params: &Value, source: &Source<'_>) -> Value {
    let asked = params["protocolVersion"].as_str();
    let version = VERSIONS.into_iter().find(|version| Some(*version) == asked);
    json!({
        "protocolVersion": version.unwrap_or(VERSIONS[0]),
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "annals", "title": "Annals event store", "version": env!("CARGO_PKG_VERSION") },
        "instructions": format!(
            "Reads the event store {}. Begin with `stats` for an overview and `list` for the names there are; then ask for \
             events, a stream, a trace. Nothing can be written.",
            source.name()
        ),
    })
}
