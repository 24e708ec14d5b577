//! The audit trail as JSON lines and CSV.

use std::io::{self, Write};

use annals::cqrs::audit::{CommandLog, Trail, TrailError};
use annals::cqrs::{Aggregates, Context};
use annals::{Expected, NewEvent, NewSnapshot, Store, StreamId, Timestamp, Version};
use serde_json::Value;

use crate::cqrs::{Account, AccountCommand};
use crate::support::{fill, keeping, stream};

fn rows(store: &Store, trail: &Trail) -> Vec<Value> {
    let mut out = Vec::new();
    let count = trail.write_jsonl(store, &mut out).expect("written");
    let text = String::from_utf8(out).expect("text");
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len() as u64, count);
    rows
}

fn csv(store: &Store, trail: &Trail) -> String {
    let mut out = Vec::new();
    trail.write_csv(store, &mut out).expect("written");
    String::from_utf8(out).expect("text")
}

fn names(rows: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |row: &Value| format!("{} {}", text(&row["kind"]), text(&row["name"]));
    rows.iter().map(name).collect()
}

fn domain() -> Store {
    let store = Store::in_memory();
    let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
    let by = |user: &str, correlation: &str| accounts.with_context(Context::new().user(user).correlation(correlation));
    by("anna", "c-1")
        .execute("a", &AccountCommand::Deposit(5))
        .expect("accepted");
    by("ben", "c-1")
        .execute("b", &AccountCommand::Deposit(7))
        .expect("accepted");
    by("ben", "c-2")
        .execute("a", &AccountCommand::Withdraw(900))
        .expect_err("too much");
    store.save_snapshot("a", NewSnapshot::new(Version(1))).expect("saved");
    store.delete("b", Expected::Any).expect("deleted");
    store
}

#[test]
fn a_trail_has_events_commands_and_changes_in_the_order_of_the_log() {
    let store = domain();
    let all = rows(&store, &Trail::new());
    let expected = [
        "event Deposited",
        "command Deposit",
        "gap gap",
        "command Deposit",
        "command Withdraw",
        "system $deleted",
    ];
    assert_eq!(names(&all), expected);
    let positions: Vec<_> = all
        .iter()
        .map(|row| row["position"].as_u64().expect("a number"))
        .collect();
    assert_eq!(positions, [1, 2, 3, 4, 5, 7]);
    let rejected = &all[4];
    assert_eq!(
        (&rejected["outcome"], &rejected["userId"]),
        (&"rejected".into(), &"ben".into())
    );
    assert_eq!(
        (&rejected["aggregateId"], &rejected["data"]["Withdraw"]),
        (&"a".into(), &900.into())
    );
    assert_eq!((&all[5]["aggregateId"], &all[5]["version"]), (&"b".into(), &1.into()));
    assert!(rejected["durationMicros"].is_u64() && rejected["time"].is_string());
    assert_eq!(
        (&all[1]["firstPosition"], &all[1]["lastPosition"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn filters_can_be_combined() {
    let store = domain();
    let of = |trail: Trail| {
        names(&rows(&store, &trail))
            .into_iter()
            .filter(|name| name != "gap gap")
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(Trail::new().aggregate("a")),
        ["event Deposited", "command Deposit", "command Withdraw"]
    );
    assert_eq!(of(Trail::new().aggregate("b")), ["command Deposit", "system $deleted"]);
    assert_eq!(of(Trail::new().user("anna")), ["event Deposited", "command Deposit"]);
    assert_eq!(of(Trail::new().user("ben")), ["command Deposit", "command Withdraw"]);
    assert_eq!(of(Trail::new().correlation("c-2")), ["command Withdraw"]);
    assert_eq!(of(Trail::new().user("ben").correlation("c-1")), ["command Deposit"]);
    assert_eq!(of(Trail::new().user("ben").aggregate("a")), ["command Withdraw"]);
    assert_eq!(of(Trail::new().user("nobody")), Vec::<String>::new());
    // By the time at which it happened, the end excluded.
    let store = Store::in_memory();
    for second in 0..5 {
        let time = Timestamp::from_micros(second * 1_000_000);
        let event = NewEvent::new(format!("T{second}")).timestamp(time);
        store
            .append(&stream("a"), Expected::Any, vec![event])
            .expect("appended");
    }
    let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
    let of = |trail: Trail| names(&rows(&store, &trail));
    assert_eq!(of(Trail::new().since(at(1)).before(at(3))), ["event T1", "event T2"]);
    assert_eq!(of(Trail::new().since(at(4)).aggregate("a")), ["event T4"]);
    assert_eq!(of(Trail::new().since(at(5))), Vec::<String>::new());
}

#[test]
fn an_empty_trail_waited_for_events() {
    let store = Store::in_memory();
    assert_eq!(rows(&store, &Trail::new()).len(), 0);
    let text = csv(&store, &Trail::new());
    assert!(text.starts_with("position,time,recordedAt,kind,name,outcome,reason,userId,") && text.lines().count() == 1);
    fill(&store, "a", 3_000);
    assert_eq!(rows(&store, &Trail::new()).len(), 3_000);
    assert_eq!(rows(&store, &Trail::new().aggregate("b")).len(), 0);
}

#[test]
fn a_trail_hid_that_events_are_gone() {
    let store = keeping(10);
    fill(&store, "a", 10);
    fill(&store, "a", 10);
    let rows = rows(&store, &Trail::new().aggregate("a"));
    assert_eq!((rows.len(), &rows[0]["kind"]), (11, &"gap".into()));
    assert_eq!(
        (&rows[0]["firstPosition"], &rows[0]["lastPosition"]),
        (&1.into(), &10.into())
    );
    let reason = rows[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("the budget was full"), "{reason}");
}

#[test]
fn a_formula_ran_in_the_spreadsheet_of_the_auditor() {
    let store = Store::in_memory();
    for (name, data) in [
        ("=1+1", "{}"),
        ("+1", "[1,\n2]"),
        ("-1", "\"a,b\""),
        ("@x", "not json"),
        ("\tx", ""),
        ("\rx", "\"=1\""),
        ("a\"b\nc", "{\"a\":\"=1\"}"),
        ("plain", "-5"),
        ("\nx", ""),
        ("\u{ff1d}1+1", ""),
        ("\u{ff0b}1", ""),
        ("\u{ff0d}1", ""),
        ("\u{ff20}x", ""),
    ] {
        let event = NewEvent::new("T").user(name).data(data);
        store
            .append(&StreamId::new("A", "a"), Expected::Any, vec![event])
            .expect("appended");
    }
    let text = csv(&store, &Trail::new());
    for cell in [
        ",'=1+1,",
        ",'+1,",
        ",'-1,",
        ",'@x,",
        ",'\tx,",
        ",\"'\rx\",",
        ",\"a\"\"b\nc\",",
        ",plain,",
        ",'-5\n",
        ",\"'\nx\",",
        ",'\u{ff1d}1+1,",
        ",'\u{ff0b}1,",
        ",'\u{ff0d}1,",
        ",'\u{ff20}x,",
    ] {
        assert!(text.contains(cell), "{cell:?} in {text}");
    }
    assert!(
        text.contains(",\"[1, 2]\"\n") && text.contains(",6e6f74206a736f6e\n"),
        "{text}"
    );
    let users: Vec<_> = rows(&store, &Trail::new())
        .iter()
        .map(|row| row["userId"].clone())
        .collect();
    assert_eq!((&users[0], &users[6]), (&"=1+1".into(), &"a\"b\nc".into()));
    let rows = rows(&store, &Trail::new());
    assert_eq!(
        (&rows[1]["data"], &rows[3]["dataHex"]),
        (&serde_json::json!([1, 2]), &"6e6f74206a736f6e".into())
    );
    assert!(rows[4].get("data").is_none() && rows[4].get("dataHex").is_none());
}

/// Takes some bytes, and then no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_is_full_was_a_whole_trail() {
    let store = Store::in_memory();
    fill(&store, "a", 5_000);
    for room in [0, 100, 5_000] {
        let error = Trail::new()
            .write_jsonl(&store, &mut Full(room))
            .expect_err("it is full");
        assert!(matches!(error, TrailError::Io { .. }), "{error}");
        let error = Trail::new().write_csv(&store, &mut Full(room)).expect_err("it is full");
        assert!(error.to_string().contains("cannot write the audit trail"), "{error}");
    }
}
