//! Invalid files.

#[cfg(target_os = "linux")]
use crate::support::on_terminal;
use crate::support::{Folder, ask, gzip, line, program, run};

#[test]
fn a_bad_line_stops_the_load_and_is_named() {
    let folder = Folder::new();
    let store = folder.file("log.jsonl", format!("{}\n\n{{\"a\":1}}\n", line("a", "T", "")));
    let message = ask(&store, &["stats"]).failed(3);
    assert!(
        message.contains("log.jsonl: line 3: column 4: unknown field `a`"),
        "{message}"
    );
}

#[test]
fn an_id_beside_the_metadata_was_an_unknown_field_and_no_more() {
    let folder = Folder::new();
    for field in ["correlationId", "causationId", "userId", "organizationId", "user_id"] {
        let store = folder.file("log.jsonl", line("a", "T", &format!(r#","{field}":"x""#)));
        let message = ask(&store, &["stats"]).failed(3);
        let expected = format!(
            "unknown field `{field}`: the ids of correlation, causation, user and organization go inside `metadata`"
        );
        assert!(message.contains(&expected), "{message}");
    }
    let store = folder.file("log.jsonl", line("a", "T", r#","colour":"red""#));
    let message = ask(&store, &["stats"]).failed(3);
    assert!(message.contains("unknown field `colour`, expected one of"), "{message}");
    assert!(!message.contains("go inside"), "{message}");
}

#[test]
fn another_event_with_an_id_that_was_there_counted_as_a_repetition() {
    let folder = Folder::new();
    let id = "0197f5d2-7e5b-7000-8000-000000000001";
    let told = |aggregate, event_type, rest: &str| line(aggregate, event_type, &format!(r#","eventId":"{id}"{rest}"#));
    let first = told(
        "a",
        "T",
        r#","eventData":{"x":1},"metadata":{"userId":"u"},"tags":["t"]"#,
    );
    for other in [
        told(
            "a",
            "U",
            r#","eventData":{"x":1},"metadata":{"userId":"u"},"tags":["t"]"#,
        ),
        told(
            "a",
            "T",
            r#","eventData":{"x":2},"metadata":{"userId":"u"},"tags":["t"]"#,
        ),
        told(
            "a",
            "T",
            r#","eventData":{"x":1},"metadata":{"userId":"v"},"tags":["t"]"#,
        ),
        told(
            "a",
            "T",
            r#","eventData":{"x":1},"metadata":{"userId":"u","ip":"::1"},"tags":["t"]"#,
        ),
        told("a", "T", r#","eventData":{"x":1},"metadata":{"userId":"u"}"#),
        first.replace("12:00:00", "12:00:01"),
    ] {
        let store = folder.file("log.jsonl", [first.as_str(), &other].join("\n"));
        let message = ask(&store, &["stats"]).failed(3);
        let expected = format!("line 2: eventId {id} is already that of another event of 'a'");
        assert!(message.contains(&expected), "{other}\n{message}");
        let ran = ask(&store, &["--skip-bad", "stats", "--format", "csv"]);
        assert!(ran.stderr.contains("1 bad line left out"), "{}", ran.stderr);
        assert!(ran.ok().contains("figures,total,1\n"));
    }
    // A repetition of the event and an event of another aggregate are accepted.
    let again = first.clone() + "\n" + &told("b", "U", "");
    let store = folder.file("log.jsonl", [first.as_str(), &again].join("\n"));
    let report = run(program().args(["import", "--format", "json"]).arg(&store)).ok();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["total"], &report["repeatedEvents"]), (&2.into(), &1.into()));
}

#[test]
fn bad_lines_are_skipped_on_request() {
    let folder = Folder::new();
    let store = folder.file(
        "log.jsonl",
        format!("{}\n{}{}\n", line("a", "T", ""), "x\n".repeat(12), line("b", "T", "")),
    );
    let ran = ask(&store, &["--skip-bad", "stats", "--format", "csv"]);
    assert_eq!(ran.stderr.matches(": line ").count(), 10, "{}", ran.stderr);
    assert!(ran.stderr.contains("12 bad lines left out"));
    assert!(ran.ok().contains("figures,total,2\n"));
}

#[test]
fn what_the_store_refuses_is_a_bad_line_too() {
    let folder = Folder::new();
    let other_type = line("a", "T", "").replace("Thing", "Other");
    let store = folder.file(
        "log.jsonl",
        [line("a", "T", ""), other_type, line("b", "T", "")].join("\n"),
    );
    let message = ask(&store, &["stats"]).failed(3);
    assert!(message.contains("line 2: "), "{message}");
    assert!(
        ask(&store, &["--skip-bad", "stats", "--format", "csv"])
            .ok()
            .contains("figures,total,2\n")
    );
    let long = folder.file("long.jsonl", line(&"x".repeat(2_000), "T", ""));
    ask(&long, &["stats"]).failed(3);
}

#[test]
fn a_broken_gzip_file_is_an_error_whatever_is_skipped() {
    const EMPTY: &str = "it is called .gz but holds nothing";
    const SHORT: &str = "it was cut short, so make it or copy it again";
    let folder = Folder::new();
    let json = (line("a", "T", "") + "\n").repeat(2_000);
    let csv = "aggregateId,eventType,time\n".to_owned() + &"a,T,2026-01-31\n".repeat(2_000);
    for (name, text) in [("log.jsonl.gz", json), ("log.csv.gz", csv)] {
        let packed = gzip(text.as_bytes());
        let mut damaged = packed.clone();
        damaged.truncate(packed.len() - 8);
        damaged.extend([0; 8]);
        let cases = [
            (&packed[..0], EMPTY),
            (&packed[..1], EMPTY),
            (&packed[..2], SHORT),
            (&packed[..8], SHORT),
            (&packed[..12], SHORT),
            (&packed[..packed.len() / 2], SHORT),
            (&packed[..packed.len() - 3], SHORT),
            (&damaged, "its gzip data are damaged"),
            (
                text.as_bytes(),
                "it is called .gz but is not gzip: take .gz off its name",
            ),
        ];
        for (content, expected) in cases {
            let path = folder.path(name);
            std::fs::write(&path, content).unwrap();
            let message = ask(&path, &["--skip-bad", "stats"]).failed(3);
            assert!(message.contains(name), "{message}");
            assert!(message.contains(expected), "{} bytes: {message}", content.len());
        }
    }
}

#[test]
fn marks_returns_and_empty_lines_do_no_harm() {
    let folder = Folder::new();
    let text = format!("\u{feff}{}\r\n\r\n   \r\n{}", line("a", "T", ""), line("b", "T", ""));
    for name in ["log.jsonl", "log.ndjson.gz"] {
        assert!(
            ask(&folder.file(name, &text), &["stats", "--format", "csv"])
                .ok()
                .contains("figures,total,2\n")
        );
    }
}

#[test]
fn a_line_that_is_too_long_does_not_fill_the_memory() {
    let folder = Folder::new();
    let long = line("a", "T", &format!(r#","eventData":"{}""#, "x".repeat(17 << 20)));
    let store = folder.file("log.jsonl.gz", format!("{long}\n{}\n", line("b", "T", "")));
    assert!(ask(&store, &["stats"]).failed(3).contains("line 1: longer than 16 MiB"));
    assert!(
        ask(&store, &["--skip-bad", "stats", "--format", "csv"])
            .ok()
            .contains("figures,total,1\n")
    );
    let quote = format!("aggregateId,eventType,time\na,T,\"{}", "x\n".repeat(10 << 20));
    assert!(
        ask(&folder.file("log.csv.gz", quote), &["--skip-bad", "stats"])
            .failed(3)
            .contains("is a quote missing?")
    );
}

#[test]
fn payloads_cannot_speak_to_the_terminal() {
    let folder = Folder::new();
    let rest =
        r#","eventData":{"x":"\u001b[2J"},"metadata":{"userId":"\u001b]0;evil\u0007","correlationId":"\u009b31m"}"#;
    let lines = [
        line("a\\u001b[31m", "T\\r\\nU", rest),
        line("b", "V", ",\"eventData\":\"\u{9b}2J\u{202e}\""),
    ];
    let store = folder.file("log.jsonl", lines.join("\n"));
    let commands: [&[&str]; 7] = [
        &[],
        &["events"],
        &["event", "1"],
        &["event", "2"],
        &["stats"],
        &["stats", "--type", "V"],
        &["trace", "\u{9b}31m"],
    ];
    for arguments in commands {
        let ran = ask(&store, arguments);
        let hostile = |character: char| character.is_control() && character != '\n' || character == '\u{202e}';
        assert!(!ran.stdout.contains(hostile), "{arguments:?}: {:?}", ran.stdout);
        ran.ok();
    }
    let message = ask(&store, &["stream", "\u{1b}[2J"]).failed(4);
    assert!(!message.contains('\u{1b}'));
}

#[cfg(target_os = "linux")]
#[test]
fn csv_spoke_to_the_terminal() {
    let folder = Folder::new();
    let rest = ",\"eventData\":\"\u{9b}2J\u{7f}\",\"metadata\":{\"userId\":\"\\u001b]0;evil\\u0007\"}";
    let store = folder.file("log.jsonl", line("a\\u001b[31m", "T\\r\\nU", rest));
    let hostile = |character: char| character.is_control() && !matches!(character, '\r' | '\n');
    let commands: [&[&str]; 6] = [
        &["events", "--format", "csv"],
        &["events", "--format", "jsonl"],
        &["export", "--format", "csv", "--output", "-"],
        &["stream", "a\u{1b}[31m", "--format", "csv"],
        &["stats", "--format", "csv"],
        &["stats", "--type", "T\r\nU", "--format", "csv"],
    ];
    for arguments in commands {
        let mut command = program();
        command.arg("--store").arg(&store).args(arguments);
        let shown = on_terminal(&mut command);
        assert!(shown.contains('\\'), "{arguments:?}: {shown:?}");
        assert!(!shown.contains(hostile), "{arguments:?}: {shown:?}");
    }
    // To a pipe, the output is exact.
    let exact = ask(&store, &["events", "--format", "csv"]).ok();
    for text in ["a\u{1b}[31m", "\"T\r\nU\"", "\u{1b}]0;evil\u{7}", "\u{9b}2J\u{7f}"] {
        assert!(exact.contains(text), "{text:?} in {exact:?}");
    }
}

#[test]
fn csv_lines_are_checked_one_by_one() {
    let folder = Folder::new();
    let text = "case_id,activity,timestamp,cost\nc1,Open,2026-01-31 12:00,7\nc1,Close\nc2,Open,never,7\nc2,Open,2026-02-01,8\n";
    let store = folder.file("log.csv", text);
    assert!(
        ask(&store, &["stats"])
            .failed(3)
            .contains("line 3: 2 columns, but the header has 4")
    );
    let ran = ask(&store, &["--skip-bad", "events", "--format", "jsonl"]);
    assert!(ran.stderr.contains("2 bad lines left out"), "{}", ran.stderr);
    assert!(ran.ok().contains(r#""eventData":{"cost":"8"}"#));
    let named = [
        "--csv-user",
        "cost",
        "--csv-aggregate-type",
        "Order",
        "--skip-bad",
        "events",
        "--user",
        "8",
        "--format",
        "jsonl",
    ];
    assert!(ask(&store, &named).ok().contains(r#""aggregateType":"Order""#));
    assert!(
        ask(&store, &["--csv-user", "who", "stats"])
            .failed(3)
            .contains("there is no column 'who'")
    );
}
