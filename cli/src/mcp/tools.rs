//! The tools: the reading commands of the program.

use std::ffi::OsString;

use annals::Store;
use clap::{CommandFactory as _, FromArgMatches as _};
use serde_json::{Map, Value, json};

use super::message::Problem;
use super::source::Source;
use super::{answer, schema};
use crate::args::{Cli, Command, Events};
use crate::commands;
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::events::write_all;

/// A tool.
struct Tool {
    name: &'static str,
    /// The command that answers.
    command: &'static str,
    /// What it does, where the command's help does not say it for a tool.
    about: Option<&'static str>,
    /// Options of the command that the tool does not have.
    without: &'static [&'static str],
    /// Options that are on.
    with: &'static [&'static str],
}

const fn tool(name: &'static str) -> Tool {
    Tool {
        name,
        command: name,
        about: None,
        without: &["explain"],
        with: &[],
    }
}

const TOOLS: [Tool; 10] = [
    tool("stats"),
    tool("list"),
    tool("events"),
    tool("search"),
    tool("stream"),
    tool("event"),
    tool("trace"),
    tool("trends"),
    tool("heatmap"),
    Tool {
        about: Some("Explain how the events that match filters are found, and how many they are"),
        command: "events",
        without: &["explain", "limit", "cursor", "order", "descending"],
        with: &["explain"],
        ..tool("explain")
    },
];

/// Events or values of an answer, without and with a limit.
const LIMIT: u64 = 50;
const LIMIT_MAX: u64 = 1000;

/// The tools as `tools/list` describes them.
pub(super) fn listed() -> Value {
    let program = Cli::command();
    let described = TOOLS.iter().filter_map(|tool| {
        let command = program.find_subcommand(tool.command)?;
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        Some(json!({
            "name": tool.name,
            "description": tool.about.unwrap_or(&about),
            "inputSchema": schema::of(command, tool.without),
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        }))
    });
    described.collect()
}

/// Calls a tool. What is wrong with its arguments is a result too, which a model can read.
///
/// # Errors
///
/// There is no such tool.
pub(super) fn call(params: &Value, source: &mut Source<'_>, out: &mut Out<'_>) -> Result<Value, Problem> {
    let name = params["name"].as_str().unwrap_or_default();
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == name) else {
        let names = TOOLS.map(|tool| tool.name).join(", ");
        return Err(Problem::invalid_params(format!(
            "there is no tool '{}': there are {names}",
            name.escape_debug()
        )));
    };
    let arguments = match &params["arguments"] {
        Value::Null => Map::new(),
        Value::Object(arguments) => arguments.clone(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(Problem::invalid_params("the arguments are an object"));
        }
    };
    let command = match tool.command(arguments) {
        Ok(command) => command,
        Err(refusal) => return Ok(refusal),
    };
    Ok(answer::of(out, |out| {
        let store = source.store(out)?;
        show(&store, &command, out)
    }))
}

impl Tool {
    /// The command with these arguments.
    ///
    /// # Errors
    ///
    /// The result of a call that is refused.
    fn command(&self, mut arguments: Map<String, Value>) -> Result<Command, Value> {
        let mut program = Cli::command().no_binary_name(true);
        let known = program.find_subcommand(self.command).ok_or_else(Value::default)?;
        if let Some(left_out) = self.without.iter().find(|name| arguments.contains_key(**name)) {
            return Err(answer::failed(&format!("`{}` has no argument '{left_out}'", self.name)));
        }
        arguments.extend(self.with.iter().map(|name| ((*name).to_owned(), true.into())));
        if schema::options(known).any(|option| schema::name(option) == "limit") && self.with.is_empty() {
            let limit = arguments.entry("limit").or_insert(LIMIT.into());
            if !limit.as_u64().is_some_and(|limit| (1..=LIMIT_MAX).contains(&limit)) {
                return Err(answer::failed(&format!("'limit' is from 1 to {LIMIT_MAX}")));
            }
        }
        let line = schema::command_line(known, &arguments).map_err(|reason| answer::failed(&reason))?;
        let line = std::iter::once(OsString::from(self.command)).chain(line);
        let matches = program.try_get_matches_from_mut(line);
        let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
        cli.map_err(|error| answer::refused(&error))?
            .command
            .ok_or_else(Value::default)
    }
}

/// Answers a command; a page of events has the cursor of the next one beside it.
fn show(store: &Store, command: &Command, out: &mut Out<'_>) -> Outcome {
    if let Command::Events(events) = command
        && !events.explain
    {
        return page(store, None, events, out);
    }
    if let Command::Search { needle, events } = command {
        return page(store, Some(needle), events, out);
    }
    commands::answer(store, command, out)
}

fn page(store: &Store, needle: Option<&str>, events: &Events, out: &mut Out<'_>) -> Outcome {
    let mut query = commands::events::query(events, out)?;
    if let Some(needle) = needle {
        query = query.text(needle);
    }
    if let Some(limit) = events.limit {
        query = query.limit(limit);
    }
    let page = store.query(query).page()?;
    write_all(out, &page.events)?;
    if let Some(next) = page.next {
        out.hint(&format!("there are more: go on with the argument cursor = \"{next}\""))?;
    }
    Ok(())
}
