//! `list`, in every format and at every width.

use serde_json::{Value, json};

use crate::support::{Folder, ask, line};

/// Five events of three aggregates, two users and three types.
fn log(folder: &Folder) -> std::path::PathBuf {
    let metadata =
        |user: &str| format!(r#","metadata":{{"userId":"{user}","correlationId":"visit of {user}"}},"tags":["web"]"#);
    let at = |line: String, minute: u32| line.replace("12:00:00Z", &format!("12:{minute:02}:00Z"));
    let lines = [
        at(line("order-1", "OrderPlaced", &metadata("anna")), 1),
        at(line("order-2", "OrderPlaced", &metadata("bob")), 2),
        at(line("order-1", "OrderPaid", &metadata("anna")), 3),
        at(line("order-1", "Sent", ""), 4),
        at(line("cart-9", "OrderPaid", &metadata("bob")), 5),
    ];
    folder.file("log.jsonl", lines.join("\n"))
}

#[test]
fn every_format_has_the_values() {
    let folder = Folder::new();
    let store = log(&folder);
    let table = "\
events  last position  last event               type   name
──────  ─────────────  ───────────────────────  ─────  ───────
     1              5  2026-01-31 12:05:00.000  Thing  cart-9
     3              4  2026-01-31 12:04:00.000  Thing  order-1
     1              2  2026-01-31 12:02:00.000  Thing  order-2
";
    assert_eq!(ask(&store, &["list", "aggregates"]).ok(), table);
    let csv = "\
name,events,lastPosition,lastAt
OrderPaid,2,5,2026-01-31T12:05:00Z
Sent,1,4,2026-01-31T12:04:00Z
OrderPlaced,2,2,2026-01-31T12:02:00Z
";
    assert_eq!(
        ask(&store, &["list", "types", "--sort", "last", "--format", "csv"]).ok(),
        csv
    );
    let lines = "\
{\"name\":\"visit of anna\",\"events\":2,\"lastPosition\":3,\"lastAt\":\"2026-01-31T12:03:00Z\"}
{\"name\":\"visit of bob\",\"events\":2,\"lastPosition\":5,\"lastAt\":\"2026-01-31T12:05:00Z\"}
";
    assert_eq!(ask(&store, &["list", "correlations", "--format", "jsonl"]).ok(), lines);
    let users: Value = serde_json::from_str(&ask(&store, &["list", "users", "--format", "json"]).ok()).unwrap();
    assert_eq!(
        users[1],
        json!({"name": "bob", "events": 2, "lastPosition": 5, "lastAt": "2026-01-31T12:05:00Z"})
    );
    for (what, count) in [("tags", 1), ("organizations", 0), ("aggregate-types", 1)] {
        let list: Value = serde_json::from_str(&ask(&store, &["list", what, "--format", "json"]).ok()).unwrap();
        assert_eq!(list.as_array().unwrap().len(), count, "{what}");
    }
    let zoned = ask(&store, &["list", "tags", "--time-zone", "+02:00"]).ok();
    assert!(zoned.contains("2026-01-31 14:05:00.000"), "{zoned}");
}

#[test]
fn pages_are_the_whole_list() {
    let folder = Folder::new();
    let store = folder.demo();
    for (what, sort) in [
        ("aggregates", "name"),
        ("correlations", "events"),
        ("users", "last"),
        ("types", "events"),
    ] {
        let list = |arguments: &[&str]| {
            ask(
                &store,
                &[&["list", what, "--sort", sort, "--format", "jsonl"], arguments].concat(),
            )
        };
        let whole = list(&[]).ok();
        let (mut pages, mut cursor) = (String::new(), None);
        for _ in 0..400 {
            let with_cursor = cursor.as_deref().map_or(vec![], |cursor| vec!["--cursor", cursor]);
            let page = list(&[&["--limit", "13"], &with_cursor[..]].concat());
            cursor = page
                .stderr
                .split("--cursor ")
                .nth(1)
                .map(|rest| rest.split(',').next().unwrap().to_owned());
            pages += &page.ok();
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(pages, whole, "{what} by {sort}");
    }
    let prefixed = ask(&store, &["list", "types", "--prefix", "Invoice", "--format", "csv"]).ok();
    assert!(prefixed.lines().skip(1).all(|line| line.starts_with("Invoice")) && prefixed.lines().count() > 2);
    let table = ask(&store, &["list", "correlations"]);
    assert!(table.stderr.contains("or --limit 0 for all"), "{}", table.stderr);
    assert_eq!(table.ok().lines().count(), 52);
}

#[test]
fn what_cannot_be_listed_is_refused() {
    let folder = Folder::new();
    let store = log(&folder);
    for (arguments, told) in [
        (&["list"][..], "<WHAT>"),
        (
            &["list", "events"],
            "aggregates, aggregate-types, correlations, organizations, tags, types, users",
        ),
        (&["list", "users", "--cursor", "p7"], "'p7' is not a cursor of a list"),
        (
            &["list", "users", "--sort", "last", "--cursor", "n5.0.anna"],
            "belongs to a list in another order",
        ),
        (&["list", "users", "--prefix", ""], "--prefix"),
        (
            &["list", "users", "--sort", "size"],
            "possible values: name, events, last",
        ),
    ] {
        let refused = ask(&store, arguments).failed(2);
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn a_name_that_is_almost_one_of_the_store_is_told() {
    let folder = Folder::new();
    let store = log(&folder);
    let missing = |arguments: &[&str]| ask(&store, arguments).failed(4);
    assert!(missing(&["stream", "odrer-1"]).contains("there is no aggregate 'odrer-1'; did you mean 'order-1'?"));
    assert!(missing(&["trace", "visit of ana"]).contains("did you mean 'visit of anna'?"));
    for (command, id) in [("stream", "order-7"), ("stream", "basket"), ("trace", "nothing")] {
        assert!(!missing(&[command, id]).contains("did you mean"), "{command} {id}");
    }
    let told = "no event has the type 'orderplacd'; did you mean 'OrderPlaced'?";
    for command in [
        &["events"][..],
        &["search", "x"],
        &["stats"],
        &["trends"],
        &["heatmap"],
        &["export", "--output", "-"],
    ] {
        let ran = ask(&store, &[command, &["--type", "orderplacd"]].concat());
        assert!(ran.stderr.contains(told), "{command:?}: {}", ran.stderr);
        ran.ok();
        for quiet in ["Sent", "Refunded", "orderplacd*"] {
            let ran = ask(&store, &[command, &["--type", quiet]].concat());
            assert!(
                !ran.stderr.contains("did you mean"),
                "{command:?} {quiet}: {}",
                ran.stderr
            );
        }
    }
    let both = ask(
        &store,
        &["events", "--type", "Sentt,OrderPaid", "--aggregate-type", "thing"],
    );
    assert!(
        both.stderr.contains("the type 'Sentt'; did you mean 'Sent'?"),
        "{}",
        both.stderr
    );
    assert!(
        both.stderr
            .contains("the aggregate type 'thing'; did you mean 'Thing'?"),
        "{}",
        both.stderr
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_list_fits_the_terminal() {
    use crate::support::{alone, on_terminal_of, without_styles};

    let folder = Folder::new();
    let id = format!("aggregate-{}-end", "x".repeat(40));
    let store = folder.file("log.jsonl", line(&id, "Happened", ""));
    let shown = |columns| {
        let mut command = alone();
        command.arg("--store").arg(&store).args(["list", "aggregates"]);
        without_styles(&on_terminal_of(columns, &mut command)).replace('\r', "")
    };
    let at_80 = "\
events  last event           type   name
──────  ───────────────────  ─────  ────────────────────────────────────────────
     1  2026-01-31 12:00:00  Thing  aggregate-xxxxxxxxxxxx…xxxxxxxxxxxxxxxxx-end
not in 80 columns: last position (see --format jsonl)
… stands for a part of a name: commands take whole names (see --format jsonl)
";
    assert_eq!(shown(80), at_80);
    let header = |table: &str| table.lines().next().unwrap().to_owned();
    for columns in [60, 80, 120] {
        let table = shown(columns);
        assert!(
            table.lines().all(|line| line.chars().count() <= columns.into()),
            "{table}"
        );
        assert!(table.contains("-end") && table.contains("aggregate-"), "{table}");
        assert_eq!(header(&table).contains("last position"), columns == 120, "{table}");
    }
}

#[test]
fn a_hint_told_of_a_part_of_a_type_that_was_found_whole() {
    let folder = Folder::new();
    let lines = ["Sent, Paid", " Sent", "Sents", "Paid*"].map(|name| line("order-1", name, ""));
    let store = folder.file("log.jsonl", lines.join("\n"));
    for (given, found) in [
        ("Sent, Paid", "order-1"),
        (" Sent", "order-1"),
        ("Paid**", "order-1"),
        ("Sent, P*", "order-1"),
    ] {
        let ran = ask(&store, &["events", "--format", "csv", "--type", given]);
        assert!(!ran.stderr.contains("did you mean"), "{given}: {}", ran.stderr);
        assert!(ran.ok().contains(found), "{given}");
    }
    let ran = ask(&store, &["events", "--type", "Sent,Pald*,Sentss"]);
    assert!(
        ran.stderr.contains("the type 'Sentss'; did you mean 'Sents'?"),
        "{}",
        ran.stderr
    );
}
