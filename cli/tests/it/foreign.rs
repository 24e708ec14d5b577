//! JSON of other programs, and CSV on the standard input.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Folder, ask, gzip, line, program, run};

const MAPS: [&str; 8] = [
    "--map",
    "aggregateId=/case/id",
    "--map",
    "aggregateType=\"Case\"",
    "--map",
    "eventType=/activity",
    "--map",
    "timestamp=/when",
];

const LINES: &str = "\
{\"case\":{\"id\":7,\"kind\":\"loan\"},\"activity\":\"Asked\",\"when\":1769860800,\"who\":3}
{\"case\":{\"id\":8},\"activity\":\"Asked\",\"when\":1769860801500,\"cost\":2.50}
";

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The output of a successful command that reads `input`.
fn with_input(command: &mut Command, input: &[u8]) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn json_of_another_program_is_read_in_every_layout() {
    let folder = Folder::new();
    let array = format!("[{}]", LINES.trim_end().replace('\n', ","));
    for log in [
        folder.file("log.jsonl", LINES),
        folder.file("log.json", array.replace(",\"", ",\n\"")),
        folder.file("log.jsonl.gz", LINES),
    ] {
        let more = ["--map", "userId=/who", "--keep-unknown", "events", "--format", "jsonl"];
        let read = events(&ask(&log, &[&MAPS[..], &more].concat()).ok());
        assert_eq!(read[0]["aggregateId"], "7");
        assert_eq!(read[0]["metadata"], json!({"userId": "3", "case": {"kind": "loan"}}));
        assert_eq!(read[1]["timestamp"], "2026-01-31T12:00:01.5Z");
        assert_eq!(read[1]["metadata"]["cost"].to_string(), "2.5");
        // The options may follow the command.
        let command = [&["stats", "--format", "json"], &MAPS[..]].concat();
        let statistics: Value = serde_json::from_str(&ask(&log, &command).ok()).unwrap();
        assert_eq!(
            (&statistics["total"], &statistics["byType"]["Asked"]),
            (&2.into(), &2.into())
        );
    }
}

#[test]
fn json_of_another_program_is_imported_once() {
    let folder = Folder::new();
    let log = folder.file("log.jsonl", LINES);
    for new in [2, 0] {
        let report = run(program()
            .arg("--store")
            .arg(folder.url("store"))
            .args(["import", "--format", "json"])
            .args(MAPS)
            .arg(&log))
        .ok();
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!((&report["newEvents"], &report["total"]), (&new.into(), &2.into()));
    }
    let piped = with_input(
        program()
            .args(["--store", "-", "tail", "--follow", "--format", "jsonl"])
            .args(MAPS),
        LINES.as_bytes(),
    );
    assert_eq!(events(&piped).len(), 2);
}

#[test]
fn a_bad_line_names_the_field_the_pointer_the_line_and_what_is_there() {
    let folder = Folder::new();
    let log = folder.file("log.jsonl", LINES.to_owned() + "{\"case\":{},\"task\":1}\n");
    let message = ask(&log, &[&MAPS[..], &["stats"]].concat()).failed(3);
    let told = "log.jsonl: line 3: aggregateId: nothing at /case/id; /case has no fields; name its place with --map aggregateId=/POINTER";
    assert!(message.contains(told), "{message}");
    let skipped = ask(
        &log,
        &[&MAPS[..], &["stats", "--skip-bad", "--format", "json"]].concat(),
    );
    assert_eq!(skipped.code, 0, "{}", skipped.stderr);
}

#[test]
fn a_log_of_another_program_is_told_how_to_be_read() {
    let folder = Folder::new();
    let log = folder.file("log.jsonl", LINES);
    let message = ask(&log, &["stats"]).failed(3);
    assert!(
        message.contains("unknown field `case`") && message.contains("is read with --map FIELD=/POINTER"),
        "{message}"
    );
    // A field that occurs only in a later line is an error of that line.
    let log = folder.file(
        "later.jsonl",
        line("a", "T", "") + "\n" + &line("a", "T", ",\"colour\":1"),
    );
    let message = ask(&log, &["stats"]).failed(3);
    assert!(message.contains("line 2: ") && !message.contains("--map"), "{message}");
}

#[test]
fn csv_comes_from_the_standard_input_too() {
    let csv = b"case;task;time\n1;Asked;2026-01-31\n2;Paid;2026-02-01\n";
    let columns = ["--csv-aggregate", "case", "--csv-type", "task", "--csv-time", "time"];
    let list = ["--store", "-", "--input", "csv", "events", "--format", "jsonl"];
    for input in [csv.to_vec(), gzip(csv)] {
        let read = events(&with_input(program().args(list).args(columns), &input));
        assert_eq!((read.len(), &read[1]["eventType"]), (2, &"Paid".into()));
    }
    let folder = Folder::new();
    let import = ["import", "-", "--input", "csv", "--format", "json"];
    let report = with_input(
        program()
            .arg("--store")
            .arg(folder.url("store"))
            .args(import)
            .args(columns),
        csv,
    );
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["newEvents"], 2);
    // An empty name counts as absent.
    let log = folder.file("log.txt", csv);
    let read = ask(
        &log,
        &[&["--input", "csv", "events", "--format", "jsonl"], &columns[..]].concat(),
    );
    assert_eq!(events(&read.ok()).len(), 2);
    let json = folder.file("events.log", line("a", "T", ""));
    let read = ask(&json, &["--input", "json", "events", "--format", "jsonl"]).ok();
    assert_eq!(events(&read).len(), 1);
}

#[test]
fn options_in_vain_are_refused() {
    let folder = Folder::new();
    let json = folder.file("log.jsonl", line("a", "T", ""));
    let csv = folder.file("log.csv", "case,activity,time\na,T,2026-01-31\n");
    for (log, arguments, told) in [
        (
            &json,
            &["--input", "csv", "stats"][..],
            "--input says what the standard input holds",
        ),
        (&json, &["--keep-unknown", "stats"], "none is given"),
        (
            &json,
            &["--map", "eventType=/a", "--map", "eventType=/b", "stats"],
            "--map eventType=… is given twice",
        ),
        (&json, &["--map", "kind=/a", "stats"], "'kind' is no field of an event"),
        (
            &csv,
            &["--map", "eventType=/a", "stats"],
            "--map leads to fields of JSON, and none is read",
        ),
        (
            &json,
            &["verify", "x", "--map", "eventType=/a"],
            "`annals verify` does not take --map",
        ),
    ] {
        let message = if arguments[0] == "verify" {
            run(program().args(arguments)).failed(2)
        } else {
            ask(log, arguments).failed(2)
        };
        assert!(message.contains(told), "{message}");
    }
    let message = run(program().args(["--store", "-", "--input", "csv", "tail", "--follow"])).failed(2);
    assert!(message.contains("CSV cannot be followed"), "{message}");
}
