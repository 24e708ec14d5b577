//! Relative times in every option that accepts a time.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::support::{Folder, ask, import, line, program, run};

/// A log with an event ten days ago, one a day ago, and one that happens in an hour.
fn log(folder: &Folder) -> PathBuf {
    let at = |event_type: &str, hours: i64| {
        let time = Timestamp::now() + SignedDuration::from_hours(hours);
        line("a", event_type, "").replace("2026-01-31T12:00:00Z", &time.to_string())
    };
    let lines = [at("Old", -240), at("Yesterday", -24), at("Soon", 1)];
    folder.file("log.jsonl", lines.join("\n"))
}

fn types(log: &std::path::Path, arguments: &[&str]) -> Vec<String> {
    let lines = ask(log, &[&["events", "--format", "jsonl"], arguments].concat()).ok();
    let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let name = |line: &str| event(line)["eventType"].as_str().unwrap().to_owned();
    lines.lines().map(name).collect()
}

#[test]
fn filters_take_times_ago() {
    let folder = Folder::new();
    let log = log(&folder);
    for (arguments, expected) in [
        (&["--since", "2d"][..], &["Yesterday", "Soon"][..]),
        (&["--since", "-2d"], &["Yesterday", "Soon"]),
        (&["--since=-90s"], &["Soon"]),
        (&["--before", "1w"], &["Old"]),
        (&["--before", "0s"], &["Old", "Yesterday"]),
        (&["--until", "-15m"], &["Old", "Yesterday"]),
        (&["--until", "1w", "--before", "0s"], &["Old"]),
        (&["--until", "2"], &["Old", "Yesterday"]),
        (&["--since", "200h", "--until", "3h"], &["Yesterday"]),
        (&["--as-of", "2d"], &["Old"]),
        (&["--as-of", "1"], &["Old"]),
    ] {
        assert_eq!(types(&log, arguments), expected, "{arguments:?}");
    }
    let stream = ask(&log, &["stream", "a", "--as-of", "2d", "--format", "jsonl"]).ok();
    assert_eq!(stream.lines().count(), 1);
    let trail = ask(&log, &["audit", "trail", "--since", "2d", "--before", "0s"]).ok();
    assert_eq!(trail.lines().count(), 1, "{trail}");
}

#[test]
fn archives_take_times_ago() {
    let folder = Folder::new();
    let (store, log) = (folder.url("store"), log(&folder));
    import(&store, &log);
    let old = folder.path("old.jsonl");
    run(program()
        .arg("--store")
        .arg(&store)
        .args(["archive", "--before", "1w", "--to"])
        .arg(&old))
    .ok();
    assert_eq!(types(&old, &[]), ["Old"]);
}

#[test]
fn what_is_no_time_names_the_forms() {
    let folder = Folder::new();
    let log = log(&folder);
    for arguments in [
        &["events", "--since", "2y"][..],
        &["events", "--before", "1h30m"],
        &["events", "--until", "soon"],
        &["stats", "--as-of", "-1"],
        &["stream", "a", "--as-of", "d"],
        &["audit", "trail", "--since", "2 days"],
    ] {
        let message = ask(&log, arguments).failed(2);
        assert!(message.contains("a time ago like 90s, 15m, 3h, 2d or 1w"), "{message}");
    }
}
