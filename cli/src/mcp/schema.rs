//! The options of a command as a JSON schema, and values of that schema as options.

use std::any::TypeId;
use std::ffi::OsString;

use clap::builder::ValueRange;
use clap::{Arg, ArgAction, Command};
use serde_json::{Map, Value, json};

/// Values of an option that can be given several times, at most.
const VALUES_MAX: usize = 1000;

/// The options of a command that a question can have: its own, but for those that every command has.
pub(super) fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_asked = |option: &&Arg| !option.is_global_set() && !option.is_hide_set() && option.get_id() != "help";
    command.get_arguments().filter(is_asked)
}

/// The name of an option: that of its flag.
pub(super) fn name(option: &Arg) -> &str {
    option.get_long().unwrap_or_else(|| option.get_id().as_str())
}

/// The schema of the arguments of a command, without the options in `without`.
pub(super) fn of(command: &Command, without: &[&str]) -> Value {
    let asked = || options(command).filter(|option| !without.contains(&name(option)));
    let properties: Map<String, Value> = asked()
        .map(|option| (name(option).to_owned(), of_option(option)))
        .collect();
    let required: Vec<&str> = asked().filter(|option| option.is_required_set()).map(name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn of_option(option: &Arg) -> Value {
    let one = of_value(option);
    let mut schema = if is_repeated(option) {
        json!({ "type": "array", "items": one, "maxItems": VALUES_MAX })
    } else {
        one
    };
    if let Some(help) = option.get_help() {
        schema["description"] = help.to_string().into();
    }
    schema
}

fn of_value(option: &Arg) -> Value {
    if is_flag(option) {
        return json!({ "type": "boolean" });
    }
    let kind = option.get_value_parser().type_id();
    if kind == TypeId::of::<u64>() || kind == TypeId::of::<usize>() {
        return json!({ "type": "integer", "minimum": 0 });
    }
    let values = option.get_possible_values();
    let values: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
    if values.is_empty() {
        return json!({ "type": "string" });
    }
    json!({ "type": "string", "enum": values })
}

fn is_flag(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::SetTrue)
}

fn is_repeated(option: &Arg) -> bool {
    let several = option
        .get_num_args()
        .is_some_and(|count| count.max_values() > ValueRange::SINGLE.max_values());
    matches!(option.get_action(), ArgAction::Append) || several
}

/// The command line that `arguments` stand for, behind the name of the command. No value can be taken for an option.
///
/// # Errors
///
/// What is wrong with an argument.
pub(super) fn command_line(command: &Command, arguments: &Map<String, Value>) -> Result<Vec<OsString>, String> {
    let is_missing = |option: &&Arg| option.is_required_set() && !arguments.contains_key(name(option));
    if let Some(missing) = options(command).find(is_missing) {
        return Err(format!("the argument '{}' is missing", name(missing)));
    }
    let (mut line, mut last) = (Vec::new(), Vec::new());
    for (key, value) in arguments {
        let option = options(command)
            .find(|option| name(option) == key)
            .ok_or_else(|| no_option(command, key))?;
        for text in texts(option, value).map_err(|reason| format!("'{key}' {reason}"))? {
            match (option.is_positional(), is_flag(option)) {
                (true, _) => last.push(OsString::from(text)),
                (false, true) => line.push(format!("--{key}").into()),
                (false, false) => line.push(format!("--{key}={text}").into()),
            }
        }
    }
    line.push("--".into());
    line.append(&mut last);
    Ok(line)
}

fn no_option(command: &Command, key: &str) -> String {
    let names: Vec<&str> = options(command).map(name).collect();
    format!(
        "there is no argument '{}': there are {}",
        key.escape_debug(),
        names.join(", ")
    )
}

/// The values of an option as texts; none for a flag that is off.
fn texts(option: &Arg, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Bool(is_on) if is_flag(option) => Ok(vec![String::new(); usize::from(*is_on)]),
        _ if is_flag(option) => Err("is true or false".to_owned()),
        Value::Array(values) if is_repeated(option) && values.len() <= VALUES_MAX => values.iter().map(text).collect(),
        Value::Array(_) if is_repeated(option) => Err(format!("has more than {VALUES_MAX} values")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Ok(vec![text(value)?])
        }
    }
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.contains('\0') => Err("has a NUL character".to_owned()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err("is a text or a number".to_owned()),
    }
}
