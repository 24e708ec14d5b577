//! Stores in a directory: every command, imports, and invalid stores.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use annals::Store;
use serde_json::Value;

use crate::support::{Folder, ask, import, line, program, run};

fn events(store: &Path) -> Vec<Value> {
    let text = ask(store, &["events", "--format", "jsonl"]).ok();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(store: &Path) -> Vec<String> {
    events(store).iter().map(|event| event["eventId"].to_string()).collect()
}

/// The file that contains the events of a small store.
fn segment(store: &Path) -> PathBuf {
    store.join("00000000000000000001.segment")
}

/// The recording times of a log are its own. A durable store has the times of the import.
/// The memory depends on the order of appends.
fn without_what_differs(text: &str) -> Value {
    fn forget(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, _| name != "recordedAt" && name != "memoryBytes");
                members.values_mut().for_each(forget);
            }
            Value::Array(values) => values.iter_mut().for_each(forget),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    // An export to standard output has one document per line.
    let documents = serde_json::Deserializer::from_str(text).into_iter();
    let mut value = Value::Array(documents.map(Result::unwrap).collect());
    forget(&mut value);
    value
}

#[test]
fn every_command_answers_as_on_the_log() {
    let folder = Folder::new();
    let (log, url) = (folder.demo(), folder.url("a store"));
    assert_eq!(import(&url, &log)["newEvents"], 3_000);
    let correlation = events(&log)[500]["metadata"]["correlationId"]
        .as_str()
        .unwrap()
        .to_owned();
    let id = events(&log)[700]["eventId"].as_str().unwrap().to_owned();
    let commands: [&[&str]; 16] = [
        &["events"],
        &[
            "events",
            "--type",
            "InvoicePaid,PaymentFailed",
            "--descending",
            "--limit",
            "7",
        ],
        &["events", "--order", "time", "--where", "/method=card"],
        &["stream", "invoice-000003"],
        &["stream", "invoice-000003", "--backwards", "--from", "2"],
        &["event", "17"],
        &["event", &id],
        &["search", "gpu.a"],
        &["stats"],
        &["stats", "--type", "UsageRecorded"],
        &["trends", "--by", "hour"],
        &["trends", "--by", "week", "--type", "InvoicePaid", "--fill"],
        &["heatmap", "--time-zone", "Europe/Amsterdam"],
        &["trace", &correlation],
        &["export", "--output", "-"],
        &[],
    ];
    for arguments in commands {
        let answer = |store: &Path| ask(store, &[arguments, &["--format", "json"]].concat()).ok();
        let (of_log, of_store) = (without_what_differs(&answer(&log)), without_what_differs(&answer(&url)));
        assert_eq!(of_store, of_log, "{arguments:?}");
        assert_eq!(
            without_what_differs(&answer(&folder.path("a store"))),
            of_log,
            "{arguments:?}"
        );
    }
    assert!(ask(&url, &[]).ok().contains("3,000 events loaded"));
}

#[test]
fn an_import_says_what_was_new_and_that_all_is_safe() {
    let folder = Folder::new();
    let url = folder.url("store");
    let log = |name: &str, lines: &[&str]| {
        folder.file(
            name,
            lines.iter().map(|id| line(id, "T", "") + "\n").collect::<String>(),
        )
    };
    let (first, second) = (log("a.jsonl", &["a", "b"]), log("b.jsonl.gz", &["b", "c"]));
    let ran = run(program()
        .arg("--store")
        .arg(&url)
        .arg("import")
        .arg(&first)
        .arg(&second));
    assert!(
        ran.stderr
            .contains("3 events are safe on disk: 3 new, 0 there already; 1 repeated line left out"),
        "{}",
        ran.stderr
    );
    assert!(ran.ok().contains("events there already"));
    let ran = run(program().arg("--store").arg(&url).arg("import").arg(&first));
    assert!(
        ran.stderr.contains("2 events are safe on disk: 0 new, 2 there already"),
        "{}",
        ran.stderr
    );
}

#[test]
fn events_that_say_the_same_are_events_of_their_own() {
    let folder = Folder::new();
    let url = folder.url("store");
    let same = line("a", "T", "") + "\n";
    import(&url, &folder.file("two.jsonl", same.repeat(2)));
    let two = ids(&url);
    assert!(two.len() == 2 && two[0] != two[1]);
    let longer = import(&url, &folder.file("three.jsonl", same.repeat(3)));
    assert_eq!((&longer["newEvents"], &longer["knownEvents"]), (&1.into(), &2.into()));
    assert_eq!(ids(&url)[..2], two);
    let as_csv = "aggregateId,aggregateType,eventType,timestamp\na,Thing,T,2026-01-31T12:00:00Z\n";
    assert_eq!(import(&url, &folder.file("one.csv", as_csv))["newEvents"], 0);
}

#[test]
fn an_id_that_is_taken_is_a_bad_line() {
    let folder = Folder::new();
    let url = folder.url("store");
    let id = r#","eventId":"0197f5d2-7e5b-7000-8000-000000000001""#;
    import(&url, &folder.file("first.jsonl", line("a", "T", id)));
    for other in [line("a", "U", id), line("b", "T", id)] {
        let log = folder.file("other.jsonl", [line("c", "T", ""), other].join("\n"));
        let message = run(program().arg("--store").arg(&url).arg("import").arg(&log)).failed(3);
        assert!(
            message.contains("line 2: eventId 0197f5d2-7e5b-7000-8000-000000000001"),
            "{message}"
        );
        assert!(message.contains("1 event of "), "{message}");
        assert!(message.contains("is safe on disk"), "{message}");
    }
    assert_eq!(events(&url).len(), 2);
}

/// Consecutive events are appended together, and the store refuses all of them for one.
#[test]
fn a_refused_event_took_its_neighbours_with_it() {
    let folder = Folder::new();
    let url = folder.url("store");
    let lines = [
        line("a", "T", ""),
        line("b", "$T", ""),
        line("c", "T", ""),
        line("a", "T", r#","eventData":1"#),
        line("a", "T", r#","eventData":2"#),
        line("c", "T", "").replace("Thing", "Other"),
        line("d", "T", ""),
    ];
    let log = folder.file("log.jsonl", lines.join("\n"));
    let import = |more: &[&str]| {
        run(program()
            .arg("--store")
            .arg(&url)
            .args(["--format", "json", "import"])
            .arg(&log)
            .args(more))
    };
    let message = import(&[]).failed(3);
    assert!(message.contains("line 2: event type '$T' begins with '$'"), "{message}");
    let ran = import(&["--skip-bad"]);
    assert!(
        ran.stderr.contains("line 2: ") && ran.stderr.contains("line 6: "),
        "{}",
        ran.stderr
    );
    let report: Value = serde_json::from_str(&ran.ok()).unwrap();
    let counts = ["newEvents", "knownEvents", "badLines"].map(|name| report[name].as_u64());
    assert_eq!(counts, [Some(4), Some(1), Some(2)]);
    let stored: Vec<_> = events(&url)
        .iter()
        .map(|event| format!("{} {}", event["aggregateId"], event["version"]))
        .collect();
    assert_eq!(stored, ["\"a\" 1", "\"c\" 1", "\"a\" 2", "\"a\" 3", "\"d\" 1"]);
}

#[test]
fn events_are_recorded_when_they_are_imported() {
    let folder = Folder::new();
    let url = folder.url("store");
    let before = jiff::Timestamp::now();
    import(
        &url,
        &folder.file("log.jsonl", line("a", "T", r#","recordedAt":"2020-01-01T00:00:00Z""#)),
    );
    let recorded: jiff::Timestamp = events(&url)[0]["recordedAt"].as_str().unwrap().parse().unwrap();
    assert!(recorded.as_microsecond() >= before.as_microsecond());
}

#[test]
fn options_are_those_of_the_library() {
    let folder = Folder::new();
    let mut url = folder.url("store").into_os_string();
    url.push("?segment_bytes=64KiB&compress=lz4&durability=synced&when_behind=refuse&backlog_bytes=4KiB");
    assert_eq!(import(Path::new(&url), &folder.demo())["newEvents"], 3_000);
    assert!(std::fs::read_dir(folder.path("store")).unwrap().count() > 3);
    assert_eq!(events(&folder.url("store")).len(), 3_000);
    let message = run(program().args(["--store", "file:x?fast=1", "stats"])).failed(2);
    assert!(message.contains("'fast' is no option of file"), "{message}");
}

#[test]
fn who_reads_makes_no_store() {
    let folder = Folder::new();
    for command in ["events", "stats", "heatmap"] {
        let message = ask(&folder.url("store"), &[command]).failed(4);
        assert!(
            message.contains("`annals import LOG` with the same --store creates one"),
            "{message}"
        );
    }
    assert!(!folder.path("store").exists());
    std::fs::create_dir(folder.path("empty")).unwrap();
    ask(&folder.path("empty"), &[]).failed(4);
    assert_eq!(std::fs::read_dir(folder.path("empty")).unwrap().count(), 0);
    let mistyped = run(program()
        .arg("--store")
        .arg(folder.url("no/such/store"))
        .arg("import")
        .arg(folder.demo()));
    let message = mistyped.failed(1);
    assert!(
        message.contains("does not exist: create it, or check the path"),
        "{message}"
    );
    assert!(!folder.path("no").exists());
    for log in ["no-such-file.jsonl", "no-such-kind.txt"] {
        let ran = run(program().arg("--store").arg(folder.url("store")).args(["import", log]));
        assert_ne!(ran.code, 0);
        assert!(!folder.path("store").exists());
    }
}

#[test]
fn a_store_that_another_has_is_named() {
    let folder = Folder::new();
    let url = folder.url("store");
    let other = Store::open_url(url.to_str().unwrap()).unwrap();
    let message = ask(&url, &["stats"]).failed(1);
    let named = format!("is open in process {}: close it there first", std::process::id());
    assert!(message.contains(&named), "{message}");
    drop(other);
    ask(&url, &["stats"]).ok();
}

#[test]
fn damage_is_told_with_what_to_do() {
    let folder = Folder::new();
    let url = folder.url("store");
    import(&url, &folder.demo());
    let path = segment(&folder.path("store"));
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(5_000)).unwrap();
    file.write_all(&[0xff; 64]).unwrap();
    let before = std::fs::read(&path).unwrap();
    let message = ask(&url, &["stats"]).failed(3);
    assert!(
        message.contains("annals verify ") && message.contains("is damaged"),
        "{message}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_torn_end_is_left_out_and_told() {
    let folder = Folder::new();
    let url = folder.url("store");
    let log = folder.demo();
    import(&url, &log);
    let whole = events(&url);
    let path = segment(&folder.path("store"));
    // As if the process had crashed before it closed the store.
    std::fs::remove_file(folder.path("store").join("head")).unwrap();
    // There may be zeros after the last event.
    let end = std::fs::read(&path)
        .unwrap()
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(end as u64 * 2 / 3).unwrap();
    let torn = std::fs::read(&path).unwrap();
    let hint = "at the end, written while the machine or the process died, left out";
    for _ in 0..2 {
        let ran = ask(&url, &["stats"]);
        assert!(ran.stderr.contains(hint), "{}", ran.stderr);
        ran.ok();
        assert_eq!(std::fs::read(&path).unwrap(), torn, "reading changes nothing");
    }
    let again = import(&url, &log);
    assert_eq!(ask(&url, &["stats"]).stderr, "");
    assert_ne!(again["newEvents"], 0);
    assert_eq!(again["total"], 3_000);
    let ids = |events: &[Value]| events.iter().map(|event| event["eventId"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&events(&url)), ids(&whole));
}
