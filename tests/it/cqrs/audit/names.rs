//! The names of recorded commands, and payloads that are JSON of their own.

use std::marker::PhantomData;

use annals::Store;
use annals::cqrs::audit::{CommandLog, Trail};
use annals::cqrs::{Aggregate, Aggregates};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Takes every command.
struct Notes<C>(PhantomData<C>);

#[derive(Serialize, Deserialize)]
enum NoteEvent {
    Noted,
}

impl<C: Serialize + Send + Sync + 'static> Aggregate for Notes<C> {
    const TYPE: &'static str = "Notes";
    type Event = NoteEvent;
    type Command = C;
    type Rejection = String;

    fn initial() -> Self {
        Self(PhantomData)
    }

    fn decide(&self, _: &C) -> Result<Vec<NoteEvent>, String> {
        Ok(vec![NoteEvent::Noted])
    }

    fn evolve(&mut self, _: NoteEvent) {}
}

/// The rows of commands in a trail, after one command; and the text of the log.
fn recorded<C: Serialize + Send + Sync + 'static>(command: &C, has_payloads: bool) -> (Vec<Value>, String) {
    let store = Store::in_memory();
    let log = CommandLog::new(&store);
    let log = if has_payloads { log } else { log.without_payloads() };
    let notes = log.aggregates(&Aggregates::<Notes<C>>::new(&store));
    notes.execute("a", command).expect("accepted");
    let mut lines = Vec::new();
    Trail::new().write_jsonl(&store, &mut lines).expect("written");
    let lines = String::from_utf8(lines).expect("UTF-8");
    let rows = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let commands = rows.filter(|row: &Value| row["kind"] == "command").collect();
    (commands, lines)
}

#[derive(Serialize)]
struct Password(String);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Login {
    secret: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Either {
    Text(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Wide {
    SetSecret { value: String },
    Reset,
    Two(u8, u8),
    Hidden(Box<Self>),
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Tagged {
    Set { value: String },
}

#[test]
fn the_text_of_a_command_was_recorded_as_its_name_without_payloads() {
    let secret = || "Secret-4711".to_owned();
    let map = std::collections::BTreeMap::from([(secret(), 1)]);
    for ((rows, lines), name) in [
        (recorded(&secret(), false), "String"),
        (recorded(&Password(secret()), false), "Password"),
        (recorded(&Some(secret()), false), "Option"),
        (recorded(&map, false), "BTreeMap"),
        (recorded(&Login { secret: secret() }, false), "Login"),
        (recorded(&Either::Text(secret()), false), "Either"),
        (recorded(&Tagged::Set { value: secret() }, false), "Tagged"),
        (recorded(&Wide::SetSecret { value: secret() }, false), "setSecret"),
        (recorded(&Wide::Reset, false), "reset"),
        (recorded(&Wide::Two(1, 2), false), "two"),
        (
            recorded(&Wide::Hidden(Box::new(Wide::SetSecret { value: secret() })), false),
            "hidden",
        ),
        (recorded(&Some(Wide::Reset), false), "reset"),
        (recorded(&Box::new(Wide::Reset), false), "reset"),
        (recorded(&vec![secret()], false), "Vec"),
        (recorded(&(), false), "()"),
    ] {
        assert_eq!(rows[0]["name"], name);
        assert!(!lines.contains("Secret-4711"), "{name}: {lines}");
    }
    let (rows, _) = recorded(&Password(secret()), true);
    assert_eq!(
        (&rows[0]["name"], &rows[0]["data"]),
        (&"Password".into(), &"Secret-4711".into())
    );
}

#[derive(Serialize)]
struct Import {
    document: Box<RawValue>,
}

#[test]
fn a_command_with_json_on_several_lines_broke_the_lines_of_a_trail() {
    for text in ["{\n  \"a\": 1,\r\n  \"b\": \"x\\ny\"\n}", "[\r1\n]", "\"plain\""] {
        let document = RawValue::from_string(text.to_owned()).expect("JSON");
        let (rows, lines) = recorded(&Import { document }, true);
        assert_eq!((rows.len(), lines.lines().count()), (1, 2), "{lines}");
        let expected: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(rows[0]["data"]["document"], expected);
    }
}
