//! No option is ignored: a command uses it or rejects it.

use crate::support::{Folder, ask, import, line, program, run};

/// The error message for a format that `cdc` does not write.
const OF_CHANGES: &str = if cfg!(feature = "postgres") {
    "changes are written as"
} else {
    "without PostgreSQL"
};

/// The required arguments of a command line.
const COMMANDS: [(&str, &[&str]); 22] = [
    ("", &[]),
    ("events", &[]),
    ("stream", &["a"]),
    ("event", &["EVENT"]),
    ("search", &["T"]),
    ("list", &["users"]),
    ("tail", &[]),
    ("stats", &[]),
    ("trends", &[]),
    ("heatmap", &[]),
    ("trace", &["c"]),
    ("import", &["LOG"]),
    ("export", &["--output", "-"]),
    ("archive", &["--before", "2020-01-01", "--to", "ARCHIVE"]),
    ("backup", &["--to", "NEW"]),
    ("cdc", &["--once"]),
    ("relay", &["--config", "FILE"]),
    ("verify", &["FOLDER"]),
    ("repair", &["FOLDER", "--to", "NEW"]),
    ("demo", &["--events", "3"]),
    ("completions", &["bash"]),
    ("man", &[]),
];

const OPTIONS: [(&str, &[&str]); 8] = [
    ("store", &["--store", "STORE"]),
    ("attach", &["--attach", "OLD"]),
    ("format", &["--format", "json"]),
    ("time-zone", &["--time-zone", "+02:00"]),
    ("skip-bad", &["--skip-bad"]),
    ("color", &["--color", "never"]),
    ("no-pager", &["--no-pager"]),
    ("csv", &["--csv-aggregate", "aggregateId"]),
];

/// The options that a command accepts with a durable store. Options of log files are for logs.
fn taken(command: &str, store: &str) -> &'static [&'static str] {
    match (command, store) {
        ("import", _) | ("export" | "tail", "log") => &["store", "format", "time-zone", "skip-bad", "color", "csv"],
        ("archive" | "backup", "durable") => &["store", "format", "time-zone", "color"],
        ("archive" | "backup" | "cdc" | "relay", _) => &[],
        ("verify" | "repair", _) => &["store", "format", "color"],
        ("completions" | "man", _) => &["color"],
        ("demo", _) => &["format", "color", "no-pager"],
        ("export" | "tail", "durable") => &["store", "attach", "format", "time-zone", "color"],
        (_, "durable") => &["store", "attach", "format", "time-zone", "color", "no-pager"],
        (_, "log") => &["store", "format", "time-zone", "skip-bad", "color", "no-pager", "csv"],
        _ => &[],
    }
}

#[test]
fn an_option_that_a_command_does_not_take_was_ignored() {
    let folder = Folder::new();
    let event = line("a", "T", r#","metadata":{"correlationId":"c"}"#);
    let log = folder.file(
        "log.csv",
        "aggregateId,aggregateType,eventType,timestamp,correlationId\na,Thing,T,2026-01-31,c\n",
    );
    import(
        &folder.url("store"),
        &folder.file("log.jsonl", event.clone() + "\n" + &event),
    );
    let archive = [
        "archive",
        "--before",
        "2026-06-01",
        "--to",
        folder.path("old").to_str().unwrap(),
    ]
    .map(str::to_owned);
    // One event is archived, and is back with --attach.
    run(program().arg("--store").arg(folder.url("store")).args(&archive)).ok();
    import(
        &folder.url("store"),
        &folder.file("more.jsonl", event.replace("01-31", "07-31")),
    );
    for (store, url) in [("durable", folder.url("store")), ("log", log.clone())] {
        for (number, (command, arguments)) in COMMANDS.iter().enumerate() {
            for (option, flags) in OPTIONS {
                let of = |name: &str| match name {
                    "STORE" => url.display().to_string(),
                    // The first two events are archived, which appends an event.
                    "EVENT" => if store == "durable" { "4" } else { "1" }.to_owned(),
                    "LOG" => log.display().to_string(),
                    "OLD" => folder.path("old").display().to_string(),
                    "FOLDER" => folder.path("store").display().to_string(),
                    "NEW" | "ARCHIVE" => folder.path(&format!("{store}-{number}-{option}")).display().to_string(),
                    other => other.to_owned(),
                };
                let mut given: Vec<String> = Some(*command)
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .into_iter()
                    .collect();
                given.extend(arguments.iter().chain(flags).map(|name| of(name)));
                let needs_store =
                    !["verify", "repair", "demo", "completions", "man"].contains(command) && option != "store";
                if needs_store {
                    given.extend(["--store".to_owned(), url.display().to_string()]);
                }
                let ran = run(program().args(&given));
                let is_taken = taken(command, store).contains(&option);
                assert_eq!(ran.code, if is_taken { 0 } else { 2 }, "{given:?}: {}", ran.stderr);
            }
        }
    }
}

#[test]
fn an_option_in_vain_is_refused_with_its_reason() {
    let folder = Folder::new();
    let log = folder.file("log.jsonl", line("a", "T", ""));
    let log = log.to_str().unwrap();
    import(&folder.url("store"), log.as_ref());
    let store = folder.url("store");
    let store = store.to_str().unwrap();
    for (arguments, told) in [
        (
            &["import", "--store", store, "--attach", "x", log][..],
            "does not take --attach: a store with archives attached can only be read",
        ),
        (&["--store", log, "stats", "--csv-user", "who"], "none is read"),
        (&["--store", store, "stats", "--csv-user", "who"], "none is read"),
        (&["--store", store, "--skip-bad", "stats"], "none is read"),
        (&["--store", "memory:", "--skip-bad", "stats"], "none is read"),
        (&["--skip-bad"], "none is read"),
        (&["import", "-", log, "-"], "named twice"),
        (&["--store", "-", "import", "-"], "named twice"),
        (
            &["--store", log, "--attach", "x"],
            "archives are attached to the durable store",
        ),
        (&["--attach", "x"], "archives are attached to the durable store"),
        (&["demo", "--store", log], "does not take --store"),
        (&["demo", "--time-zone", "+01:00"], "--time-zone"),
        (&["demo", "--summary", "--force"], "--force"),
        (&["demo", "--force"], "--force replaces a file"),
        (
            &["--store", log, "export", "--output", "-", "--force"],
            "--force replaces a file",
        ),
        (&["import", "--force", log], "--into"),
        (&["--store", log, "events", "--explain", "--limit", "3"], "--limit"),
        (&["--store", log, "stats", "--format", "debezium"], "annals cdc"),
        (&["cdc", "--status", "--format", "debezium"], "the changes that"),
        (
            &["cdc", "--store", "postgres://127.0.0.1:1/x", "--format", "table"],
            OF_CHANGES,
        ),
        (
            &["cdc", "--store", "postgres://127.0.0.1:1/x", "--format", "csv"],
            OF_CHANGES,
        ),
        (&["cdc", "--status", "--once"], "--once"),
        (&["cdc", "--status", "--drop-slot"], "--drop-slot"),
        (&["cdc", "--drop-slot", "--new-only"], "--new-only"),
        (&["cdc", "--status", "--warn-lag", "1GiB"], "--warn-lag"),
    ] {
        let message = run(program().args(arguments)).failed(2);
        assert!(message.contains(told), "{arguments:?}: {message}");
    }
    // The environment is for the commands that read it.
    run(program().env("ANNALS_STORE", log).args(["demo", "--events", "2"])).ok();
    run(program()
        .env("ANNALS_STORE", log)
        .arg("verify")
        .arg(folder.path("store")))
    .ok();
}

#[cfg(unix)]
#[test]
fn a_store_of_the_environment_that_is_not_utf_8_was_another_folder() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let folder = Folder::new();
    let log = folder.file("log.jsonl", line("a", "T", ""));
    for name in [
        "caf\u{fffd}",
        "file:caf\u{fffd}",
        "\u{fffd}",
        "file:caf\u{fffd}?durability=synced",
    ] {
        let bytes = name.replace("\u{fffd}", "\u{1}").into_bytes();
        let bytes: Vec<u8> = bytes
            .into_iter()
            .map(|byte| if byte == 1 { 0xe9 } else { byte })
            .collect();
        let mut command = program();
        command
            .env("ANNALS_STORE", OsStr::from_bytes(&bytes))
            .arg("import")
            .arg(&log);
        let message = run(command.current_dir(folder.path(""))).failed(2);
        assert!(message.contains("ANNALS_STORE is not valid UTF-8"), "{name}: {message}");
    }
    assert!(!std::path::Path::new(&folder.path("caf\u{fffd}")).exists());
}

#[test]
fn an_empty_exception_is_refused() {
    let folder = Folder::new();
    let log = folder.file("log.jsonl", line("a", "T", ""));
    for exception in [
        "--not-type",
        "--not-aggregate",
        "--not-aggregate-type",
        "--not-correlation",
        "--not-causation",
        "--not-user",
        "--not-organization",
        "--not-tag",
    ] {
        for command in [&["events"][..], &["export", "--output", "-"]] {
            ask(&log, &[command, &[exception, ""]].concat()).failed(2);
        }
    }
}

#[test]
fn an_empty_filter_let_everything_through() {
    let folder = Folder::new();
    let log = folder.file("log.jsonl", line("a", "T", ""));
    let filters = [
        "--type",
        "--aggregate",
        "--aggregate-type",
        "--correlation",
        "--causation",
        "--user",
        "--organization",
        "--tag",
        "--day",
        "--since",
        "--before",
        "--after",
        "--until",
        "--where",
        "--metadata",
        "--text",
        "--as-of",
    ];
    for command in [
        &["events"][..],
        &["search", "T"],
        &["stats"],
        &["trends"],
        &["heatmap"],
        &["tail"],
        &["export", "--output", "-"],
    ] {
        for filter in filters {
            ask(&log, &[command, &[filter, ""]].concat()).failed(2);
        }
    }
    for arguments in [
        &["events", "--type", ","][..],
        &["events", "--type", "T,"],
        &["events", "--type", "T,,U"],
        &["events", "--type", " "],
        &["events", "--type", "T", "--type", ""],
        &["events", "--where", "/a="],
        &["events", "--metadata", "/a= "],
        &["events", "--cursor", ""],
        &["search", ""],
        &["stream", ""],
        &["stream", "a", "--as-of", ""],
        &["event", ""],
        &["trace", ""],
        &["stats", "--csv-user", ""],
        &["--attach", "", "stats"],
        &["export", "--output", ""],
        &["cdc", "--slot", ""],
        &["archive", "--before", "", "--to", "x"],
        &["import", ""],
    ] {
        ask(&log, arguments).failed(2);
    }
    assert_eq!(
        ask(&log, &["events", "--where", r#"/a="""#, "--format", "jsonl"]).ok(),
        ""
    );
    assert_eq!(
        ask(&log, &["events", "--type", "U, T", "--format", "jsonl"])
            .ok()
            .lines()
            .count(),
        1
    );
}

#[test]
fn an_explanation_counted_to_the_default_limit_and_had_one_format() {
    let folder = Folder::new();
    let store = folder.demo();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let arguments = [&["events", "--explain", "--format", "json"], arguments].concat();
        serde_json::from_str(&ask(&store, &arguments).ok()).unwrap()
    };
    assert_eq!(json(&[])["matches"], 3_000);
    let some = json(&["--type", "InvoicePaid"]);
    let count = ask(&store, &["events", "--type", "InvoicePaid", "--format", "jsonl"])
        .ok()
        .lines()
        .count();
    assert!(count > 50);
    assert_eq!(some["matches"], count);
    assert_eq!(some["terms"][0]["count"], count);
    assert_eq!(json(&["--order", "time", "--descending"])["matches"], 3_000);
    let text = ask(&store, &["events", "--explain", "--type", "InvoicePaid"]).ok();
    assert!(text.contains(&format!("matches    {count}\n")), "{text}");
    let csv = ask(&store, &["search", "card", "--explain", "--format", "csv"]).ok();
    assert!(csv.starts_with("section,name,value\nfigures,matches,"), "{csv}");
    let lines = ask(&store, &["events", "--explain", "--format", "jsonl"]).ok();
    assert_eq!(lines.lines().count(), 1);
}

#[test]
fn the_tour_of_a_log_of_many_years_aborted() {
    let folder = Folder::new();
    let at = |time: &str| line("a", "T", "").replace("2026-01-31T12:00:00Z", time);
    for (first, last, title, bucket) in [
        ("0001-01-01T00:00:00Z", "9998-12-31T00:00:00Z", "Year by year", "9998 "),
        (
            "-009999-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            "Year by year",
            "9999 ",
        ),
        (
            "1990-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z",
            "Month by month",
            "2026 ",
        ),
        (
            "2020-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z",
            "Week by week",
            "2026-01 ",
        ),
        (
            "2025-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z",
            "Day by day",
            "2026-W01 ",
        ),
        (
            "2026-01-01T00:00:00Z",
            "2026-02-01T00:00:00Z",
            "Day by day",
            "2026-02-01 ",
        ),
        (
            "2026-01-01T00:00:00Z",
            "2026-01-01T09:00:00Z",
            "Day by day",
            "2026-01-01T09:00 ",
        ),
    ] {
        let log = folder.file("log.jsonl", at(first) + "\n" + &at(last));
        for zone in ["UTC", "Pacific/Kiritimati", "-11:00"] {
            let tour = ask(&log, &["--time-zone", zone]).ok();
            assert!(tour.contains(&format!("\n{title}\n")), "{tour}");
            ask(&log, &["heatmap", "--time-zone", zone]).ok();
            ask(&log, &["trends", "--fill", "--time-zone", zone]).ok();
        }
        let trends = ask(&log, &["trends"]).ok();
        assert!(trends.contains(&format!("\n{bucket}")), "{bucket}: {trends}");
        let years = ask(&log, &["trends", "--by", "year", "--format", "csv"]).ok();
        assert!(years.lines().count() <= 3, "{years}");
    }
}

#[test]
fn a_store_that_is_not_there_was_a_matter_of_its_name() {
    let folder = Folder::new();
    let log = folder.file("log.jsonl", line("a", "T", ""));
    let missing = folder.path("nothere");
    for arguments in [&["stats"][..], &[], &["import", log.to_str().unwrap()]] {
        let message = ask(&missing, arguments).failed(4);
        let expected = format!(
            "cannot open {0}: there is no such file or folder; check the path (`annals import --store file:{0} LOG` creates a store there)",
            missing.display()
        );
        assert!(message.contains(&expected), "{message}");
    }
    assert!(!missing.exists());
    let message = ask(&folder.file("log.txt", ""), &["stats"]).failed(2);
    assert!(message.contains("its name must say what it holds"), "{message}");
    let message = run(program().arg("import").arg(folder.path(""))).failed(2);
    assert!(message.contains("it is a folder, not a log file"), "{message}");
    let message = run(program().arg("import").arg(&missing)).failed(4);
    assert!(message.contains("there is no such file or folder"), "{message}");
}

#[test]
fn the_summary_of_an_import_counted_lines_not_events() {
    let folder = Folder::new();
    let url = folder.url("store");
    let ids = [
        "0197f5d2-7e5b-7000-8000-000000000001",
        "0197f5d2-7e5b-7000-8000-000000000002",
    ];
    let events: Vec<String> = ids
        .iter()
        .map(|id| line("a", "T", &format!(r#","eventId":"{id}""#)) + "\n")
        .collect();
    let twice = folder.file("twice.jsonl", events.concat().repeat(2));
    let said = |log: &std::path::Path| run(program().arg("--store").arg(&url).arg("import").arg(log)).stderr;
    for expected in [
        "2 events are safe on disk: 2 new, 0 there already; 2 repeated lines left out\n",
        "2 events are safe on disk: 0 new, 2 there already; 2 repeated lines left out\n",
    ] {
        assert_eq!(said(&twice), expected);
    }
    let one = folder.file("one.jsonl", events[1].repeat(3) + &line("b", "T", ""));
    assert_eq!(
        said(&one),
        "2 events are safe on disk: 1 new, 1 there already; 2 repeated lines left out\n"
    );
    let report = import(&url, &twice);
    let of = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(
        (of("total"), of("newEvents"), of("knownEvents"), of("repeatedEvents")),
        (3, 0, 2, 2)
    );
}

#[test]
fn help_showed_options_that_the_command_does_not_take() {
    for (command, _) in COMMANDS {
        let help = run(program()
            .args(Some(command).filter(|name| !name.is_empty()))
            .arg("--help"))
        .ok();
        let stores = if command.is_empty() { "log" } else { "durable" };
        for (option, flags) in OPTIONS {
            // A store in PostgreSQL and a summary, which the other tests do not use.
            let is_other = matches!(
                (command, option),
                ("cdc" | "relay", "store" | "format" | "color") | ("demo", "time-zone")
            );
            let is_taken = [stores, "log"]
                .iter()
                .any(|store| taken(command, store).contains(&option))
                || is_other;
            let mut words = help.lines().filter_map(|line| line.split_whitespace().next());
            let is_shown = words.any(|word| word == flags[0]);
            assert!(is_shown == is_taken || command.is_empty(), "{command} {option}\n{help}");
        }
    }
}
