//! Every command on a small log.

use serde_json::Value;

use crate::support::{Folder, ask, line, program, run};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = Folder::new();
    let demo = |name: &str, seed: &str| {
        let path = folder.path(name);
        run(program()
            .args(["demo", "--events", "500", "--seed", seed, "--output"])
            .arg(&path))
        .ok();
        std::fs::read(path).unwrap()
    };
    assert_eq!(demo("a.jsonl.gz", "1"), demo("b.jsonl.gz", "1"));
    assert_ne!(demo("a.jsonl", "1"), demo("b.jsonl", "2"));
    let stdout = run(program().args(["demo", "--events", "500", "--seed", "1"])).ok();
    assert_eq!(stdout.as_bytes(), demo("c.jsonl", "1"));
}

#[test]
fn without_a_command_a_tour_is_given() {
    let folder = Folder::new();
    let tour = run(program().arg("--store").arg(folder.demo())).ok();
    for part in [
        "events",
        "Day by day",
        "Hour by hour",
        "One conversation",
        "└─",
        "Ask more:",
        "annals --store",
    ] {
        assert!(tour.contains(part), "{part}\n{tour}");
    }
    let summary = run(program().args(["demo", "--events", "2000", "--summary"])).ok();
    assert!(summary.contains("Day by day"), "{summary}");
}

#[test]
fn an_empty_store_has_a_tour_too() {
    let folder = Folder::new();
    let tour = ask(&folder.file("empty.jsonl", ""), &[]).ok();
    assert!(tour.contains("0 events loaded"), "{tour}");
    for command in ["events", "stats", "trends", "heatmap"] {
        for format in ["table", "json", "jsonl", "csv"] {
            run(program().args(["--store", "memory:", command, "--format", format])).ok();
        }
    }
}

#[test]
fn filters_let_through_what_fits() {
    let folder = Folder::new();
    let store = folder.demo();
    let events =
        |arguments: &[&str]| json_lines(&ask(&store, &[&["events", "--format", "jsonl"], arguments].concat()).ok());
    let all = events(&[]);
    assert_eq!(all.len(), 3_000);
    let paid = events(&["--type", "InvoicePaid,PaymentFailed", "--organization", "org-001"]);
    assert!(!paid.is_empty() && paid.len() < 100);
    assert!(
        paid.iter()
            .all(|event| event["metadata"]["organizationId"] == "org-001")
    );
    let day = events(&["--day", "2026-01-07"]);
    let range = events(&["--since", "2026-01-07", "--before", "2026-01-08T00:00:00Z"]);
    assert!(!day.is_empty());
    assert_eq!(day, range);
    let card = events(&["--where", "/method=card", "--where", "/attempt=1"]);
    assert!(!card.is_empty());
    assert!(
        card.iter()
            .all(|event| event["eventData"]["method"] == "card" && event["eventData"]["attempt"] == 1)
    );
    assert_eq!(events(&["--after", "10", "--until", "12"]).len(), 2);
    assert_eq!(events(&["--as-of", "20"]).len(), 20);
    let console = events(&["--metadata", "/source=console", "--limit", "3", "--descending"]);
    assert_eq!(console.len(), 3);
    assert!(console[0]["position"].as_u64() > console[1]["position"].as_u64());
    assert_eq!(
        events(&["--text", "GPU.A"]).len(),
        json_lines(&ask(&store, &["search", "gpu.a", "--format", "jsonl"]).ok()).len()
    );
}

#[test]
fn a_star_stands_for_the_rest_of_a_name_and_an_exception_for_all_others() {
    let folder = Folder::new();
    let metadata =
        |user: &str| format!(r#","metadata":{{"userId":"{user}","correlationId":"c-{user}"}},"tags":["{user}"]"#);
    let lines = [
        line("order-1", "OrderPlaced", &metadata("anna")),
        line("order-2", "OrderPaid", &metadata("ann*")),
        line("order-1", "Order", &metadata("bob")),
        line("pay-1", "PaymentReceived", ""),
    ];
    let store = folder.file("log.jsonl", lines.join("\n"));
    let cases: [(&[&str], &[u64]); 16] = [
        (&["--type", "Order*"], &[1, 2, 3]),
        (&["--type", "OrderP*,PaymentReceived"], &[1, 2, 4]),
        (&["--type", "OrderPa*", "--type", "Order"], &[2, 3]),
        (&["--type", "order*"], &[]),
        (&["--not-type", "Order"], &[1, 2, 4]),
        (&["--type", "Order*", "--not-type", "OrderP*"], &[3]),
        (&["--not-type", "Order,PaymentReceived"], &[1, 2]),
        (&["--aggregate", "order-*"], &[1, 2, 3]),
        (&["--not-aggregate", "order-*", "--not-aggregate", "x"], &[4]),
        (&["--aggregate-type", "Th*"], &[1, 2, 3, 4]),
        (&["--not-aggregate-type", "Thing"], &[]),
        (&["--user", "ann*"], &[1, 2]),
        (&["--user", "ann**"], &[2]),
        (&["--not-user", "*"], &[4]),
        (&["--correlation", "c-*", "--not-correlation", "c-a*"], &[3]),
        (
            &[
                "--not-organization",
                "*",
                "--tag",
                "*",
                "--not-tag",
                "bob",
                "--not-causation",
                "*",
            ],
            &[1, 2],
        ),
    ];
    for (filters, positions) in cases {
        let events = ask(&store, &[&["events", "--format", "jsonl"], filters].concat()).ok();
        let found: Vec<u64> = json_lines(&events)
            .iter()
            .filter_map(|event| event["position"].as_u64())
            .collect();
        assert_eq!(found, positions, "{filters:?}");
        let stats = json(&ask(&store, &[&["stats", "--format", "json"], filters].concat()).ok());
        assert_eq!(stats["total"], positions.len(), "{filters:?}");
    }
    let explained = ask(&store, &["events", "--explain", "--not-user", "bob"]).ok();
    assert!(explained.contains("user is not bob: 1 events"), "{explained}");
    assert!(explained.contains("scan       every event"), "{explained}");
    let explained = ask(&store, &["events", "--explain", "--type", "Order*", "--format", "json"]).ok();
    let explained = json(&explained);
    assert_eq!(explained["terms"][0]["name"], "event type begins with Order");
    assert_eq!(explained["scanned"], false);
}

#[test]
fn a_star_before_the_end_of_a_value_is_refused() {
    let folder = Folder::new();
    let store = folder.file("log.jsonl", line("a", "T", ""));
    for (filter, told) in [
        (["--type", "*x"], "'*x' has a * before its end"),
        (["--type", "A*B"], "such as 'A*'; write ** for a * of the name itself"),
        (["--type", "A,*B"], "'*B' has a *"),
        (["--not-user", "a*b*"], "'a*b*' has a *"),
        (["--aggregate", "a***b"], "'a***b' has a *"),
    ] {
        let refused = ask(&store, &[&["stats"][..], &filter].concat()).failed(2);
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn pages_follow_each_other() {
    let folder = Folder::new();
    let store = folder.demo();
    let first = ask(&store, &["events", "--limit", "5", "--order", "time", "--descending"]);
    let cursor = first
        .stderr
        .split("--cursor ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap()
        .to_owned();
    let page = |arguments: &[&str]| {
        let arguments = [
            &["events", "--order", "time", "--descending", "--format", "jsonl"],
            arguments,
        ]
        .concat();
        json_lines(&ask(&store, &arguments).ok())
    };
    let both = page(&["--limit", "8"]);
    assert_eq!(page(&["--limit", "3", "--cursor", &cursor]), both[5..]);
    assert_eq!(first.ok().lines().count(), 5 + 2);
}

#[test]
fn a_table_is_short_unless_all_is_asked_for() {
    let folder = Folder::new();
    let store = folder.demo();
    assert_eq!(ask(&store, &["events"]).ok().lines().count(), 50 + 2);
    assert_eq!(ask(&store, &["events", "--limit", "0"]).ok().lines().count(), 3_000 + 2);
}

#[test]
fn an_explanation_names_the_terms() {
    let folder = Folder::new();
    let text = ask(&folder.demo(), &["events", "--type", "PaymentFailed", "--explain"]).ok();
    assert!(text.contains("PaymentFailed"), "{text}");
}

#[test]
fn a_stream_has_its_versions_in_order() {
    let folder = Folder::new();
    let store = folder.demo();
    let versions = |arguments: &[&str]| -> Vec<u64> {
        let arguments = [&["stream", "invoice-000003", "--format", "jsonl"], arguments].concat();
        json_lines(&ask(&store, &arguments).ok())
            .iter()
            .map(|event| event["version"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(versions(&[]), [1, 2, 3]);
    assert_eq!(versions(&["--from", "2"]), [2, 3]);
    for flag in ["--descending", "--backwards", "--reverse"] {
        assert_eq!(versions(&[flag, "--limit", "2"]), [3, 2], "{flag}");
        let newest = ask(&store, &["events", flag, "--limit", "1", "--format", "jsonl"]).ok();
        assert_eq!(json_lines(&newest)[0]["position"], 3_000, "{flag}");
    }
    assert!(
        ask(&store, &["stream", "invoice-000003"])
            .ok()
            .starts_with("Invoice invoice-000003: version 3, 3 events")
    );
    assert!(ask(&store, &["stream", "nobody"]).failed(4).contains("'nobody'"));
}

#[test]
fn an_event_is_found_by_id_and_by_position() {
    let folder = Folder::new();
    let store = folder.demo();
    let by_position = json(&ask(&store, &["event", "17", "--format", "json"]).ok());
    let id = by_position["eventId"].as_str().unwrap();
    assert_eq!(json(&ask(&store, &["event", id, "--format", "json"]).ok()), by_position);
    assert!(ask(&store, &["event", "17"]).ok().contains(id));
    ask(&store, &["event", "999999"]).failed(4);
    ask(&store, &["event", "00000000-0000-7000-8000-000000000000"]).failed(4);
    ask(&store, &["event", "first"]).failed(2);
}

#[test]
fn ids_of_a_log_without_ids_stay_the_same() {
    let folder = Folder::new();
    let store = folder.file("log.jsonl", [line("a", "T", ""), line("b", "T", "")].join("\n"));
    let events = || ask(&store, &["events", "--format", "jsonl"]).ok();
    assert_eq!(events(), events());
}

#[test]
fn statistics_add_up() {
    let folder = Folder::new();
    let store = folder.demo();
    let whole = json(&ask(&store, &["stats", "--format", "json"]).ok());
    assert_eq!(whole["total"], 3_000);
    let sum = |group: &Value| -> u64 {
        match group.as_array() {
            Some(counts) => counts.iter().filter_map(Value::as_u64).sum(),
            None => group.as_object().unwrap().values().filter_map(Value::as_u64).sum(),
        }
    };
    assert_eq!(sum(&whole["byType"]), 3_000);
    let some = json(&ask(&store, &["stats", "--type", "UsageRecorded", "--format", "json"]).ok());
    for list in ["byHour", "byDay", "byOrganization", "byType"] {
        assert_eq!(Some(sum(&some[list])), some["total"].as_u64(), "{list}");
    }
    let csv = ask(&store, &["stats", "--format", "csv"]).ok();
    assert!(csv.contains("figures,total,3000"), "{csv}");
    let types = csv.lines().filter_map(|line| line.strip_prefix("byType,"));
    let counts: Vec<u64> = types
        .map(|line| line.split_once(',').unwrap().1.parse().unwrap())
        .collect();
    assert!(
        counts.is_sorted_by(|first, second| first >= second) && counts.len() == 23,
        "{csv}"
    );
}

#[test]
fn trends_and_heatmaps_count_every_event() {
    let folder = Folder::new();
    let store = folder.demo();
    for by in ["hour", "day", "week", "month"] {
        for zone in ["UTC", "Asia/Kolkata", "-03:30"] {
            let text = ask(
                &store,
                &["trends", "--by", by, "--time-zone", zone, "--format", "jsonl"],
            )
            .ok();
            assert_eq!(
                json_lines(&text)
                    .iter()
                    .map(|row| row["count"].as_u64().unwrap())
                    .sum::<u64>(),
                3_000
            );
        }
    }
    let rows = |fill: &[&str]| {
        ask(&store, &[&["trends", "--by", "hour", "--format", "csv"], fill].concat())
            .ok()
            .lines()
            .count()
    };
    assert!(rows(&["--fill"]) > rows(&[]));
    let cells = json_lines(&ask(&store, &["heatmap", "--format", "jsonl"]).ok());
    assert_eq!(cells.len(), 7 * 24);
    assert_eq!(
        cells.iter().map(|row| row["count"].as_u64().unwrap()).sum::<u64>(),
        3_000
    );
    assert!(ask(&store, &["heatmap"]).ok().contains("Wednesday"));
    assert!(ask(&store, &["trends"]).ok().contains("2026-01-05"));
}

#[test]
fn a_trace_is_a_tree() {
    let folder = Folder::new();
    let id = |number: u8| format!("0197f5d2-7e5b-7000-8000-00000000000{number}");
    let event = |number: u8, cause: Option<u8>| {
        let cause = cause
            .map(|cause| format!(r#","causationId":"{}""#, id(cause)))
            .unwrap_or_default();
        let rest = format!(
            r#","eventId":"{}","metadata":{{"correlationId":"c"{cause}}}"#,
            id(number)
        );
        line("a", &format!("T{number}"), &rest)
    };
    let lines = [event(1, None), event(2, Some(1)), event(3, Some(2)), event(4, Some(1))];
    let store = folder.file("log.jsonl", lines.join("\n"));
    let text = ask(&store, &["trace", "c"]).ok();
    let table = "
                   time  event     aggregate
───────────────────────  ────────  ─────────
2026-01-31 12:00:00.000  T1        a #1
                   +0 s  ├─ T2     a #2
                   +0 s  │  └─ T3  a #3
                   +0 s  └─ T4     a #4
";
    assert!(text.ends_with(&table[1..]), "{text}");
    assert!(text.starts_with("c: 4 events of 1 aggregate in 0 s"), "{text}");
    let depths: Vec<u64> = json_lines(&ask(&store, &["trace", "c", "--format", "jsonl"]).ok())
        .iter()
        .map(|row| row["depth"].as_u64().unwrap())
        .collect();
    assert_eq!(depths, [0, 1, 2, 1]);
    ask(&store, &["trace", "d"]).failed(4);
}

#[test]
fn what_is_exported_is_imported_unchanged() {
    let folder = Folder::new();
    let store = folder.demo();
    let original = ask(&store, &["events", "--format", "jsonl"]).ok();
    for name in ["copy.jsonl", "copy.jsonl.gz", "copy.csv", "copy.csv.gz"] {
        let copy = folder.path(name);
        ask(&store, &["export", "--output", copy.to_str().unwrap()]).ok();
        assert_eq!(ask(&copy, &["events", "--format", "jsonl"]).ok(), original, "{name}");
    }
    let some = ask(&store, &["export", "--type", "InvoicePaid", "--output", "-"]).ok();
    assert!(
        json_lines(&some)
            .iter()
            .all(|event| event["eventType"] == "InvoicePaid")
    );
    ask(
        &store,
        &["export", "--output", folder.path("copy.txt").to_str().unwrap()],
    )
    .failed(2);
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_was_replaced_by_what_was_written() {
    use std::fs;
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    let store = folder.demo();
    let original = ask(&store, &["events", "--format", "jsonl"]).ok();
    fs::create_dir(folder.path("there")).unwrap();
    symlink("there/log.jsonl.gz", folder.path("relative.jsonl.gz")).unwrap();
    symlink(folder.path("relative.jsonl.gz"), folder.path("twice.jsonl.gz")).unwrap();
    // The first run creates the file, the second replaces it.
    for (link, force) in [("relative.jsonl.gz", &[][..]), ("twice.jsonl.gz", &["--force"])] {
        let link = folder.path(link);
        ask(
            &store,
            &[&["export", "--output", link.to_str().unwrap()], force].concat(),
        )
        .ok();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(
            !fs::symlink_metadata(folder.path("there/log.jsonl.gz"))
                .unwrap()
                .is_symlink()
        );
        assert_eq!(ask(&link, &["events", "--format", "jsonl"]).ok(), original);
    }
    assert_eq!(fs::read_dir(folder.path("there")).unwrap().count(), 1);
    symlink("round.jsonl", folder.path("round.jsonl")).unwrap();
    let round = folder.path("round.jsonl");
    let message = ask(&store, &["export", "--output", round.to_str().unwrap()]).failed(1);
    assert!(
        message.contains("round.jsonl: its symbolic links lead nowhere"),
        "{message}"
    );
}

#[test]
fn an_export_had_no_limit() {
    let folder = Folder::new();
    let store = folder.demo();
    for (limit, lines) in [("1", 1), ("17", 17), ("0", 3_000), ("99999", 3_000)] {
        let text = ask(&store, &["export", "--output", "-", "--limit", limit]).ok();
        assert_eq!(text.lines().count(), lines, "{limit}");
    }
    let few = ask(
        &store,
        &["export", "--output", "-", "--limit", "2", "--type", "InvoicePaid"],
    )
    .ok();
    assert_eq!(few.matches("\"InvoicePaid\"").count(), 2, "{few}");
    let file = folder.path("few.csv");
    ask(&store, &["export", "--output", file.to_str().unwrap(), "--limit", "5"]).ok();
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 6);
}

#[test]
fn imports_of_several_files_are_one_log() {
    let folder = Folder::new();
    let (a, b) = (
        folder.file("a.jsonl", line("a", "T", "")),
        folder.file("b.jsonl.gz", line("b", "T", "") + "\n"),
    );
    let into = folder.path("both.jsonl");
    let report = run(program()
        .args(["import", "--format", "json", "--into"])
        .arg(&into)
        .arg(&a)
        .arg(&b))
    .ok();
    assert_eq!(json(&report)["total"], 2);
    assert_eq!(json_lines(&std::fs::read_to_string(&into).unwrap()).len(), 2);
}

#[test]
fn the_store_can_be_in_the_environment_or_on_the_standard_input() {
    let folder = Folder::new();
    let store = folder.demo();
    let stats = run(program()
        .env("ANNALS_STORE", &store)
        .args(["stats", "--format", "json"]))
    .ok();
    assert_eq!(json(&stats)["total"], 3_000);
    let file = std::fs::File::open(&store).unwrap();
    let stats = run(program()
        .stdin(file)
        .args(["--store", "-", "stats", "--format", "json"]))
    .ok();
    assert_eq!(json(&stats)["total"], 3_000);
}

#[test]
fn the_command_line_is_checked() {
    assert!(run(program().arg("stats")).failed(2).contains("--store"));
    run(program().arg("no-such-command")).failed(2);
    run(program().args(["--store", "mysql://here", "stats"])).failed(2);
    run(program().args(["--store", "memory:", "--time-zone", "Middle/Earth", "stats"])).failed(2);
    run(program().args(["--store", "memory:", "events", "--cursor", "x"])).failed(2);
    run(program().args(["--store", "memory:", "events", "--since", "soon"])).failed(2);
    run(program().args(["--store", "memory:", "events", "--where", "a=1"])).failed(2);
    run(program().args(["--store", "log.txt", "events"])).failed(4);
    assert!(run(program().arg("--help")).ok().contains("Exit codes"));
    assert!(
        run(program().args(["--store", "no-such-file.jsonl", "stats"]))
            .failed(4)
            .contains("no-such-file.jsonl")
    );
}
