//! Snapshots of the output on a terminal, as text files in `tests/looks`.
//!
//! `ANNALS_LOOKS=write cargo nextest run -p annals-cli looks` writes the files; `git diff` then shows the differences.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::{Folder, line, program, run, without_styles};

const WIDTHS: [&str; 2] = ["80", "120"];
/// The beginnings of lines whose values differ from run to run, and the values that replace them.
const VARYING: [(&str, &str); 8] = [
    ("memory ", "{memory}"),
    ("time taken ", "{seconds}"),
    ("rate ", "{rate}"),
    ("elapsed ", "{seconds}"),
    ("recorded ", "{now}"),
    ("room given back ", "{bytes}"),
    ("bytes  ", "{bytes}"),
    ("no damage: all ", "{bytes} were read and are what was written"),
];

/// The commands of the program, and those of `audit`.
const COMMANDS: &[&str] = &[
    "",
    "events",
    "stream",
    "event",
    "search",
    "tail",
    "list",
    "stats",
    "trends",
    "heatmap",
    "trace",
    "import",
    "export",
    "serve",
    "cdc",
    "relay",
    "archive",
    "backup",
    "mcp",
    "audit",
    "audit trail",
    "audit key",
    "audit head",
    "audit verify",
    "audit anchor",
    "bench",
    "bench list",
    "bench run",
    "bench compare",
    "bench report",
    "bench rerun",
    "bench sweep",
    "bench find-max",
    "bench record",
    "verify",
    "repair",
    "demo",
    "completions",
    "man",
];

/// Control sequences of styles, and their names in the snapshots.
const STYLES: [(&str, &str); 10] = [
    ("\u{1b}[0m", "{/}"),
    ("\u{1b}[1m", "{bold}"),
    ("\u{1b}[2m", "{dim}"),
    ("\u{1b}[31m", "{red}"),
    ("\u{1b}[32m", "{green}"),
    ("\u{1b}[33m", "{yellow}"),
    ("\u{1b}[35m", "{magenta}"),
    ("\u{1b}[36m", "{cyan}"),
    ("\u{1b}[38;5;", "{fg "),
    ("\u{1b}[48;5;", "{bg "),
];

/// A byte within the first frame of a segment.
const DAMAGED_BYTE: usize = 150;

/// Compares the output for `arguments` at every width with the file `name`.
fn look(folder: &Folder, name: &str, arguments: &[&str]) {
    look_after(folder, name, arguments, |_| ());
}

/// As [`look`], for a command that changes its input: `before` prepares it each time.
fn look_after(folder: &Folder, name: &str, arguments: &[&str], before: impl Fn(&Folder)) {
    let mut text = format!("$ annals {}\n", arguments.join(" "));
    let mut plain = Vec::new();
    for width in WIDTHS {
        before(folder);
        plain.push(shown(folder, width, "never", arguments));
        write!(text, "\n=== {width} columns\n{}", plain[plain.len() - 1]).unwrap();
    }
    for (width, plain) in WIDTHS.iter().zip(plain) {
        before(folder);
        let coloured = shown(folder, width, "always", arguments);
        let named = named_styles(&coloured);
        assert_eq!(without_styles(&coloured), plain, "{arguments:?}");
        write!(text, "\n=== {width} columns, in colour\n{named}").unwrap();
    }
    compare(name, &text);
}

/// The text with the names of styles in place of their control sequences.
fn named_styles(text: &str) -> String {
    let named = STYLES
        .iter()
        .fold(text.to_owned(), |text, (code, name)| text.replace(code, name));
    let mut shown = String::new();
    for part in named.split_inclusive(['m', '}']) {
        let is_of_256 = part
            .rfind('{')
            .is_some_and(|at| part[at..].starts_with("{fg ") || part[at..].starts_with("{bg "));
        match part.strip_suffix('m').filter(|_| is_of_256) {
            Some(colour) => shown.extend([colour, "}"]),
            None => shown.push_str(part),
        }
    }
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    shown
}

/// The output, the errors and the exit code of a run.
fn shown(folder: &Folder, width: &str, colours: &str, arguments: &[&str]) -> String {
    let ran = run(program()
        .current_dir(folder.path(""))
        .env("COLUMNS", width)
        .args(arguments)
        .args(["--color", colours]));
    let mut text = ran.stdout;
    if !ran.stderr.is_empty() {
        write!(text, "--- standard error\n{}", ran.stderr).unwrap();
    }
    if ran.code != 0 {
        writeln!(text, "--- exit code {}", ran.code).unwrap();
    }
    let lines = text.lines().filter(|line| !is_optional(line));
    lines.map(|line| steady(line) + "\n").collect()
}

/// Whether a line is that of a backend which a feature adds to the program.
fn is_optional(line: &str) -> bool {
    let bare = without_styles(line);
    ["cqrs-es ", "eventually "].iter().any(|name| bare.starts_with(name))
}

/// The line with a token for the value that differs from run to run.
fn steady(line: &str) -> String {
    let bare = without_styles(line);
    if bare.contains(" loaded in ") {
        let (count, _) = line.split_once(" loaded in ").unwrap();
        return format!("{count} loaded in {{seconds}}: {{rate}} a second");
    }
    // The backend `memory`, and not a figure.
    if bare.contains("  stream version  ") {
        return line.to_owned();
    }
    if bare.contains("://HOST") || bare.contains("://USER") {
        return line.replace("  yes ", "  {?} ").replace("  no  ", "  {?} ");
    }
    if let Some((data, _)) = line.split_once(" of data and metadata, ") {
        return format!("{data} of data and metadata, {{memory}}");
    }
    let Some((label, token)) = VARYING.iter().find(|(label, _)| bare.starts_with(label)) else {
        return line.to_owned();
    };
    // The value follows the label and its spaces, with or without a style.
    let at = line.find(label.trim_end()).unwrap() + label.trim_end().len();
    let value = bare[label.trim_end().len()..].trim_start();
    let rest = line[at..].replace(value, token);
    assert!(rest.contains(token), "{line:?}");
    format!("{}{rest}", &line[..at])
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/looks")
        .join(format!("{name}.txt"));
    if std::env::var_os("ANNALS_LOOKS").is_some_and(|wish| wish == "write") {
        fs::write(path, text).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let hint = "ANNALS_LOOKS=write writes what is shown now";
    assert!(kept == text, "{} differs ({hint}):\n{text}", path.display());
}

/// A directory with the logs of the snapshots.
fn logs() -> Folder {
    let folder = Folder::new();
    demo(&folder);
    let user = |user: &str| format!(r#","metadata":{{"userId":"{user}"}}"#);
    folder.file("empty.jsonl", "");
    folder.file("one.jsonl", line("order-1", "OrderPlaced", &user("anna")));
    folder.file("wide.jsonl", wide().join("\n"));
    folder.file("visits.jsonl", visits().join("\n"));
    folder
}

fn demo(folder: &Folder) {
    let arguments = ["demo", "--events", "400", "--seed", "7", "--output", "demo.jsonl"];
    run(program().current_dir(folder.path("")).args(arguments)).ok();
}

/// Names that are long, wide, composed or hostile, and long data.
fn wide() -> Vec<String> {
    let long = "x".repeat(30);
    let rest = |data: &str, user: &str| {
        format!(r#","eventData":{data},"metadata":{{"userId":"{user}","correlationId":"visit"}}"#)
    };
    vec![
        line(
            "日本語の注文番号-000001",
            "注文を受け付けました",
            &rest(r#"{"顧客":"山田太郎"}"#, "山田"),
        ),
        line("🦀-1", "Cafe\u{301}Opened", &rest(r#"{"e\u0301":1}"#, "zoe\u{308}")),
        line(
            &format!("order-{long}-first"),
            &format!("Order{long}Placed"),
            &rest("{}", &long),
        ),
        line(
            &format!("order-{long}-second"),
            "Sent",
            &rest(&format!("{{\"text\":\"{}\"}}", "long ".repeat(200_000)), "bob"),
        ),
        line("a\\u001b[31m", "T\\r\\nU", &rest("\"\\u202e\u{9b}2J\"", "u")),
    ]
}

/// Conversations whose events do not name their causes.
fn visits() -> Vec<String> {
    let at = |aggregate: &str, event_type: &str, time: &str| {
        let rest = r#","metadata":{"correlationId":"visit-1","userId":"anna"}"#;
        line(aggregate, event_type, rest).replace("12:00:00Z", time)
    };
    vec![
        at("cart-1", "CartOpened", "12:00:00Z"),
        at("cart-1", "ItemAdded", "12:01:10.500Z"),
        at("order-1", "OrderPlaced", "12:09:00Z"),
        at("cart-1", "CartClosed", "12:09:01Z"),
        at("payment-1", "PaymentRequested", "12:09:02Z"),
        at("payment-1", "PaymentReceived", "13:30:00Z"),
        at("order-1", "OrderSent", "15:45:00Z"),
    ]
}

/// A durable store with the events of the demo.
fn store(folder: &Folder) {
    drop(fs::remove_dir_all(folder.path("store")));
    let arguments = ["--store", "file:store", "import", "demo.jsonl"];
    run(program().current_dir(folder.path("")).args(arguments)).ok();
}

/// A durable store with a changed byte in the first of its two imports, so that the grouping of events into batches
/// does not matter.
fn damaged_store(folder: &Folder) {
    drop(fs::remove_dir_all(folder.path("store")));
    for log in ["one.jsonl", "visits.jsonl"] {
        let arguments = ["--store", "file:store", "import", log];
        run(program().current_dir(folder.path("")).args(arguments)).ok();
    }
    let entries = fs::read_dir(folder.path("store")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let segment = paths
        .filter(|path| path.extension().is_some_and(|name| name == "segment"))
        .min()
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[DAMAGED_BYTE] ^= 1;
    fs::write(&segment, bytes).unwrap();
}

#[test]
fn tour() {
    let folder = logs();
    let lines = run(program().env("COLUMNS", "80")).ok().lines().count();
    assert!(lines <= 46, "the tour has {lines} lines: more than two screens");
    look(&folder, "tour", &["--store", "demo.jsonl"]);
    look(&folder, "tour-empty", &["--store", "empty.jsonl"]);
}

#[test]
fn events() {
    let folder = logs();
    look(&folder, "events", &["--store", "demo.jsonl", "events", "--limit", "6"]);
    look(
        &folder,
        "events-zone",
        &[
            "--store",
            "demo.jsonl",
            "events",
            "--limit",
            "3",
            "--time-zone",
            "Asia/Kolkata",
        ],
    );
    look(&folder, "events-wide", &["--store", "wide.jsonl", "events"]);
    look(&folder, "events-none", &["--store", "empty.jsonl", "events"]);
    look(
        &folder,
        "events-explain",
        &["--store", "demo.jsonl", "events", "--type", "InvoicePaid", "--explain"],
    );
    look(
        &folder,
        "search",
        &["--store", "demo.jsonl", "search", "card", "--limit", "3"],
    );
    look(
        &folder,
        "stream",
        &["--store", "demo.jsonl", "stream", "invoice-000003"],
    );
    look(&folder, "event", &["--store", "demo.jsonl", "event", "7"]);
    look(&folder, "tail", &["--store", "demo.jsonl", "tail", "-n", "5"]);
    look(&folder, "tail-wide", &["--store", "wide.jsonl", "tail"]);
}

#[test]
fn lists() {
    let folder = logs();
    for what in ["aggregates", "correlations", "organizations", "tags", "types", "users"] {
        look(
            &folder,
            &format!("list-{what}"),
            &["--store", "demo.jsonl", "list", what, "--limit", "5"],
        );
    }
    look(&folder, "list-wide", &["--store", "wide.jsonl", "list", "aggregates"]);
}

#[test]
fn statistics() {
    let folder = logs();
    look(&folder, "stats", &["--store", "demo.jsonl", "stats"]);
    look(
        &folder,
        "stats-filtered",
        &["--store", "demo.jsonl", "stats", "--type", "InvoicePaid"],
    );
    look(&folder, "stats-one", &["--store", "one.jsonl", "stats"]);
    look(&folder, "stats-empty", &["--store", "empty.jsonl", "stats"]);
    look(&folder, "stats-wide", &["--store", "wide.jsonl", "stats"]);
}

#[test]
fn drawings() {
    let folder = logs();
    look(&folder, "trends", &["--store", "demo.jsonl", "trends"]);
    look(&folder, "trends-one", &["--store", "one.jsonl", "trends"]);
    look(&folder, "heatmap", &["--store", "demo.jsonl", "heatmap"]);
    look(&folder, "heatmap-one", &["--store", "one.jsonl", "heatmap"]);
    look(&folder, "heatmap-empty", &["--store", "empty.jsonl", "heatmap"]);
    look(&folder, "trace", &["--store", "demo.jsonl", "trace", "billing-000004"]);
    look(
        &folder,
        "trace-without-causes",
        &["--store", "visits.jsonl", "trace", "visit-1"],
    );
    look(&folder, "trace-wide", &["--store", "wide.jsonl", "trace", "visit"]);
}

#[test]
fn stores() {
    let folder = logs();
    let archive = [
        "--store",
        "file:store",
        "archive",
        "--before",
        "2026-01-09",
        "--to",
        "old.jsonl",
    ];
    let import = ["--store", "file:store", "import", "one.jsonl"];
    look_after(&folder, "import", &import, store);
    look_after(&folder, "archive", &archive, |folder| {
        drop(fs::remove_file(folder.path("old.jsonl")));
        store(folder);
    });
    let backup = ["--store", "file:store", "backup", "--to", "copy"];
    look_after(&folder, "backup", &backup, |folder| {
        drop(fs::remove_dir_all(folder.path("copy")));
        store(folder);
    });
    look_after(&folder, "verify", &["verify", "store"], store);
    look_after(&folder, "verify-damaged", &["verify", "store"], damaged_store);
    look_after(&folder, "repair", &["repair", "store", "--to", "saved"], |folder| {
        drop(fs::remove_dir_all(folder.path("saved")));
        damaged_store(folder);
    });
}

#[test]
fn refusals() {
    let folder = logs();
    let bad = [line("a", "T", ""), "{\"aggregateId\":1}".to_owned()];
    folder.file("bad.jsonl", bad.join("\n"));
    for (name, arguments) in [
        ("error-no-command", &["evnts"][..]),
        ("error-no-store", &["stats"]),
        ("error-no-file", &["--store", "absent.jsonl", "stats"]),
        ("error-bad-line", &["--store", "bad.jsonl", "stats"]),
        ("error-skipped", &["--store", "bad.jsonl", "--skip-bad", "events"]),
        ("error-no-event", &["--store", "demo.jsonl", "event", "9999"]),
        ("error-no-trace", &["--store", "demo.jsonl", "trace", "bililng-000004"]),
        (
            "error-no-type",
            &["--store", "demo.jsonl", "events", "--type", "InvoicePaied"],
        ),
        ("error-value", &["--store", "demo.jsonl", "events", "--order", "size"]),
        ("error-option", &["--store", "demo.jsonl", "demo"]),
    ] {
        look(&folder, name, arguments);
    }
}

#[test]
fn help() {
    let folder = Folder::new();
    for command in COMMANDS {
        let words = command.split_whitespace().chain(["--help"]).collect::<Vec<_>>();
        let name = command.replace(' ', "-");
        look(&folder, format!("help-{name}").trim_end_matches('-'), &words);
    }
}

#[test]
fn written_files() {
    let folder = logs();
    look(
        &folder,
        "export",
        &["--store", "demo.jsonl", "export", "--output", "out.csv", "--force"],
    );
    look(
        &folder,
        "demo",
        &["demo", "--events", "400", "--seed", "7", "--summary"],
    );
}

#[test]
fn events_that_were_archived() {
    let folder = logs();
    store(&folder);
    let before = [
        "--store",
        "file:store",
        "archive",
        "--before",
        "2026-01-12",
        "--to",
        "old",
    ];
    run(program().current_dir(folder.path("")).args(before)).ok();
    look(&folder, "error-archived", &["--store", "file:store", "event", "7"]);
    look(
        &folder,
        "stream-archived",
        &["--store", "file:store", "stream", "user-001-0"],
    );
}

#[cfg(feature = "bench")]
#[test]
fn bench_list() {
    let folder = Folder::new();
    look(&folder, "bench-list", &["bench", "list"]);
    // A name that is typed is whole at any width.
    for width in ["40", "80", "120"] {
        let shown = shown(&folder, width, "never", &["bench", "list"]);
        for name in [
            "file-volatile",
            "aggregate-cycle",
            "process-crash-safe",
            "table+postgres://USER@HOST/DATABASE",
        ] {
            assert!(shown.contains(name), "{name} at {width}: {shown}");
        }
    }
}

#[cfg(feature = "bench")]
#[test]
fn bench_compare() {
    let folder = Folder::new();
    bench_result(&folder, "before", 1.0);
    bench_result(&folder, "after", 1.25);
    look(&folder, "bench-compare", &["bench", "compare", "before", "after"]);
}

/// A result of `annals bench run` whose times are `slower` by a factor.
#[cfg(feature = "bench")]
fn bench_result(folder: &Folder, name: &str, slower: f64) {
    let row = |backend: &str, durability: &str, rate: f64, slower: f64| {
        let figure = |name: &str, value: f64| serde_json::json!([name, { "value": value, "low": value * 0.99, "high": value * 1.01 }]);
        let mut row = serde_json::json!({
            "workload": "quick/open", "mode": "open", "rate": 1000.0, "batch": 1, "workers": 8, "repeats": 5, "failure": null,
            "isOverloaded": false, "isUnsteady": false, "maxMs": 9.0, "operations": 10_000, "conflicts": 0, "failed": 0, "firstFailure": null,
            "censored": 0, "lagP99Ms": null, "kinds": [], "phases": [], "usage": { "memory_bytes": null, "disk_bytes": null },
            "stored": 10_000, "isChecked": true, "delivered": [10_000, 10_000], "violations": [], "goals": [], "timeline": [],
        });
        row["backend"] = serde_json::json!({
            "name": backend, "software": "annals", "settings": "", "durability": durability, "batch_unit": "append",
            "check": "stream-version", "keeps_events": true, "has_log": true, "has_queries": true,
        });
        row["figures"] = serde_json::json!([
            figure("eventsPerSecond", rate / slower),
            figure("serviceP50", 0.08 * slower),
            figure("responseP50", 0.11),
            figure("responseP99", 0.9 / slower),
        ]);
        row
    };
    let summary = serde_json::json!({ "format": 1, "rows": [
        row("memory", "volatile", 1_000.0, 1.0),
        row("file-volatile", "volatile", 998.0, slower),
        row("file-synced", "power-safe", 997.0, slower),
    ] });
    let commit = if slower > 1.0 { "9d3e7a115b20" } else { "1f0c2ab94d6e" };
    let manifest = serde_json::json!({
        "format": 1, "tool": "0.1.0", "build": { "commit": commit, "program": "" }, "startedMicros": 0, "command": ["annals", "bench", "run"], "seed": 42,
        "backends": ["memory", "file-volatile", "file-synced"], "workloads": [{ "name": "quick" }],
        "machine": { "system": "linux", "processor": "a processor", "processors": 2, "memoryBytes": 1_u64 << 34,
            "fileSystem": "ext4", "governor": "", "limits": "" },
        "selfTest": { "syncMicros": null, "warnings": [] },
    });
    fs::create_dir(folder.path(name)).unwrap();
    for (file, value) in [("manifest", manifest), ("summary", summary)] {
        folder.file(&format!("{name}/{file}.json"), value.to_string());
    }
}
