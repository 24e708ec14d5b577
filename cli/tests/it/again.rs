//! Logs that are imported again: no event is duplicated, and no dropped event is restored.

use std::path::Path;

use annals::{Expected, Settings, Store, StoreUrl, StreamLimits, Version};
use serde_json::Value;

use crate::support::{Folder, ask, import, line, program, run};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn stats(store: &Path) -> Value {
    json(&ask(store, &["--format", "json", "stats"]).ok())
}

/// Changes a durable store through the library.
fn with_store(url: &Path, change: impl FnOnce(&Store)) {
    let url: StoreUrl = url.to_str().unwrap().parse().unwrap();
    let store = url.open(Store::builder().settings(Settings::default())).unwrap();
    change(&store);
    store.close().unwrap();
}

/// Ten events of aggregate `a` and ten of `b`, an hour apart, without ids.
fn log(folder: &Folder) -> std::path::PathBuf {
    let event = |number: usize| {
        let aggregate = if number.is_multiple_of(2) { "a" } else { "b" };
        line(aggregate, "Noted", &format!(r#","eventData":{number}"#))
            .replace("2026-01-31T12:00:00Z", &format!("2026-01-{:02}T12:00:00Z", number + 1))
    };
    let lines: Vec<_> = (0..20).map(event).collect();
    folder.file("log.jsonl", lines.join("\n"))
}

#[test]
fn repeated_event_ids_were_counted_arbitrarily() {
    let folder = Folder::new();
    let once = folder.demo();
    let packed = std::fs::read(&once).unwrap();
    // Consecutive gzip members are one file.
    let twice = folder.path("twice.jsonl.gz");
    std::fs::write(&twice, [packed.clone(), packed].concat()).unwrap();
    let figures = |log: &Path| {
        let mut stats = stats(log);
        stats
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !key.starts_with("seconds"));
        (stats["total"].clone(), stats["aggregates"].clone())
    };
    assert_eq!(figures(&twice), figures(&once));
    let hint = ask(&twice, &["stats"]).stderr;
    assert!(hint.contains("3,000 repeated lines left out"), "{hint}");
    assert_eq!(ask(&once, &["stats"]).stderr, "");
    // A durable store reports the same counts in any order.
    let url = folder.url("store");
    assert_eq!(import(&url, &twice)["total"], 3000);
    assert_eq!(import(&url, &once)["total"], 3000);
    // Each event comes three times, the last time in reverse order.
    let line = |number: usize| {
        let id = format!("018f0000-0000-7000-8000-{number:012}");
        line("long", "Noted", &format!(r#","eventId":"{id}","eventData":{number}"#))
    };
    let long: Vec<_> = (0..500).chain(0..500).chain((0..500).rev()).map(line).collect();
    assert_eq!(stats(&folder.file("long.jsonl", long.join("\n")))["total"], 500);
}

#[test]
fn importing_again_brought_archived_events_back() {
    let folder = Folder::new();
    let (url, log) = (folder.url("store"), log(&folder));
    assert_eq!(import(&url, &log)["newEvents"], 20);
    let archive = folder.path("old");
    let to = archive.to_str().unwrap();
    ask(&url, &["archive", "--before", "2026-01-11", "--to", to]).ok();
    assert_eq!(stats(&url)["total"], 10);

    let again = import(&url, &log);
    assert_eq!(
        (&again["newEvents"], &again["knownEvents"], &again["droppedEvents"]),
        (&json("0"), &json("10"), &json("10"))
    );
    let attached = ask(&url, &["--attach", to, "--format", "json", "stats"]).ok();
    assert_eq!(json(&attached)["total"], 20);

    // A log that has grown, also by an aggregate that is older than the time of the archive.
    let more = [
        std::fs::read_to_string(&log).unwrap(),
        line("a", "Noted", r#","eventData":21"#),
        line("c", "Noted", r#","eventData":22"#).replace("2026-01-31", "2026-01-01"),
    ];
    let grown = folder.file("grown.jsonl", more.join("\n"));
    let report = import(&url, &grown);
    assert_eq!(
        (&report["newEvents"], &report["droppedEvents"]),
        (&json("2"), &json("10"))
    );

    // `--include-dropped` restores all events.
    let all = run(program()
        .arg("--store")
        .arg(&url)
        .args(["import", "--include-dropped", "--format", "json"])
        .arg(&log));
    assert!(json(&all.ok())["newEvents"] == 10);
}

/// A way to drop events of a store.
type Drop = (&'static str, u64, fn(&Store));

#[test]
fn importing_again_brought_dropped_events_back() {
    let drops: [Drop; 6] = [
        ("truncated", 4, |store| {
            store.truncate_before("a", Version(5)).unwrap();
        }),
        ("truncated whole", 10, |store| {
            store.truncate_before("a", Version(11)).unwrap();
        }),
        ("deleted", 10, |store| {
            store.delete("a", Expected::Any).unwrap();
        }),
        ("tombstoned", 10, |store| {
            store.tombstone("a", Expected::Any).unwrap();
        }),
        ("limited by count", 9, |store| {
            let limits = StreamLimits::default().max_count(1);
            store.set_limits("a", limits).unwrap();
        }),
        ("limited by age", 10, |store| {
            let limits = StreamLimits::default().max_age(std::time::Duration::from_secs(1));
            store.set_limits("a", limits).unwrap();
        }),
    ];
    for (what, dropped, change) in drops {
        for compacts in [false, true] {
            let folder = Folder::new();
            let (url, log) = (folder.url("store"), log(&folder));
            import(&url, &log);
            with_store(&url, |store| {
                change(store);
                if compacts {
                    store.compact_journal().unwrap();
                }
            });
            let before = stats(&url)["total"].clone();
            assert_eq!(before, 20 - dropped, "{what}");
            let again = import(&url, &log);
            assert_eq!(
                (&again["newEvents"], &again["droppedEvents"]),
                (&json("0"), &dropped.into()),
                "{what}, compacted: {compacts}"
            );
            assert_eq!(stats(&url)["total"], before, "{what}");
        }
    }
}

#[test]
fn an_export_could_not_be_imported() {
    let folder = Folder::new();
    let url = folder.url("store");
    let id = |number: u128| uuid::Uuid::from_u128(number);
    let noted = |number: u128| annals::NewEvent::new("Noted").data("{}").id(id(number));
    with_store(&url, |store| {
        let stream = |name: &str| annals::StreamId::new("Thing", name);
        store
            .append(&stream("a"), Expected::Any, vec![noted(1), noted(2)])
            .unwrap();
        // A second event with the same id is rejected now.
        assert!(
            store
                .append(&stream("a"), Expected::Any, vec![noted(2), noted(3)])
                .is_err()
        );
        // Uniqueness across aggregates is not enforced.
        store
            .append(&stream("b"), Expected::Any, vec![noted(2), noted(1)])
            .unwrap();
        store
            .append(
                &stream("c"),
                Expected::Any,
                vec![noted(1).timestamp(annals::Timestamp::MAX)],
            )
            .unwrap();
    });
    for name in ["out.jsonl", "out.json", "out.csv", "out.jsonl.zst"] {
        let out = folder.path(name);
        ask(&url, &["export", "--output", out.to_str().unwrap()]).ok();
        let copy = folder.url(&format!("copy-of-{}", name.replace('.', "-")));
        assert_eq!(import(&copy, &out)["newEvents"], 5, "{name}");
        let again = import(&copy, &out);
        assert_eq!(
            (&again["newEvents"], &again["knownEvents"]),
            (&json("0"), &json("5")),
            "{name}"
        );
    }
}

#[test]
fn an_export_with_odd_metadata_could_not_be_imported() {
    let folder = Folder::new();
    let url = folder.url("store");
    let metadata = [
        "{}",
        " {} ",
        "[1]",
        "7",
        "\"text\"",
        "null",
        " {\"a\": 1 } ",
        "{\"a\":{}}",
        "",
    ];
    with_store(&url, |store| {
        let stream = annals::StreamId::new("Thing", "a");
        for (number, metadata) in metadata.iter().enumerate() {
            let event = annals::NewEvent::new("Noted").metadata(*metadata).data("{}");
            let with_user = event.clone().user(format!("u-{number}"));
            store.append(&stream, Expected::Any, vec![event, with_user]).unwrap();
        }
    });
    let out = folder.path("out.jsonl");
    ask(&url, &["export", "--output", out.to_str().unwrap()]).ok();
    let copy = folder.url("copy");
    assert_eq!(import(&copy, &out)["newEvents"], 2 * metadata.len());
    // Objects keep their members beside the ids.
    let users = ask(&copy, &["--format", "json", "events", "--metadata", "/a=1"]).ok();
    assert_eq!(json(&users).as_array().unwrap().len(), 2);
    for number in 0..metadata.len() {
        let user = format!("u-{number}");
        let found = ask(&copy, &["--format", "json", "events", "--user", &user]).ok();
        assert_eq!(json(&found).as_array().unwrap().len(), 1, "{user}");
    }
}

/// Events of aggregate `a` on these days of January, in this order.
fn days(days: &[u32]) -> Vec<String> {
    let event = |day: &u32| {
        line("a", "Noted", &format!(r#","eventData":{day}"#))
            .replace("2026-01-31T12:00:00Z", &format!("2026-01-{day:02}T12:00:00Z"))
    };
    days.iter().map(event).collect()
}

/// Truncates aggregate `a`.
fn truncate(url: &Path, version: u64) {
    with_store(url, |store| {
        store.truncate_before("a", Version(version)).unwrap();
    });
}

#[test]
fn importing_again_revived_dropped_events_of_a_log_that_is_not_in_the_order_of_time() {
    let orders: [&[u32]; 5] = [
        &[9, 8, 7, 6, 5, 4, 3, 2, 1],
        &[5, 9, 1, 8, 2, 7, 3, 6, 4],
        &[9, 1, 2, 3, 4, 5, 6, 7, 8],
        &[1, 1, 1, 1, 1, 1, 1, 1, 1],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9],
    ];
    for order in orders {
        for version in [2, 5, 9, 10] {
            let folder = Folder::new();
            let url = folder.url("store");
            let log = folder.file("log.jsonl", days(order).join("\n"));
            import(&url, &log);
            truncate(&url, version);
            let before = stats(&url)["total"].clone();
            for _ in 0..2 {
                let again = import(&url, &log);
                let counts = (&again["newEvents"], &again["droppedEvents"]);
                assert_eq!(
                    counts,
                    (&json("0"), &(version - 1).into()),
                    "{order:?} before {version}"
                );
                assert_eq!(stats(&url)["total"], before);
            }
        }
    }
}

#[test]
fn what_follows_the_newest_event_of_a_log_is_new_whatever_was_dropped_before() {
    let folder = Folder::new();
    let url = folder.url("store");
    import(&url, &folder.file("one.jsonl", days(&[3, 9, 5, 4]).join("\n")));
    truncate(&url, 4);
    // The log has grown: one event is no later than one that was dropped.
    let grown = folder.file("two.jsonl", days(&[3, 9, 5, 4, 8, 10]).join("\n"));
    let again = import(&url, &grown);
    assert_eq!(
        (&again["newEvents"], &again["droppedEvents"], &again["knownEvents"]),
        (&json("2"), &json("3"), &json("1"))
    );
    // Another file, without the known events: none of its events is certainly new. It can be imported nevertheless.
    let other = folder.file("three.jsonl", days(&[7, 11]).join("\n"));
    let refused = import(&url, &other);
    assert_eq!(
        (&refused["newEvents"], &refused["droppedEvents"]),
        (&json("0"), &json("2"))
    );
    let all = run(program()
        .args(["--format", "json", "import", "--include-dropped", "--store"])
        .arg(&url)
        .arg(&other));
    assert_eq!(json(&all.ok())["newEvents"], 2);
    // An aggregate without dropped events accepts all events.
    let others: Vec<_> = days(&[1, 2])
        .iter()
        .map(|line| line.replace("\"a\"", "\"c\""))
        .collect();
    assert_eq!(
        import(&url, &folder.file("four.jsonl", others.join("\n")))["newEvents"],
        2
    );
}

#[test]
fn an_event_later_than_all_that_was_recorded_is_new() {
    let folder = Folder::new();
    let url = folder.url("store");
    import(&url, &folder.file("one.jsonl", days(&[3, 9, 5, 4]).join("\n")));
    truncate(&url, 4);
    let now = annals::Clock::now(&annals::SystemClock).to_string();
    let live = line("a", "Noted", "").replace("2026-01-31T12:00:00Z", &now);
    // An event that is dated later than today may have been dropped long ago.
    let future = line("a", "Noted", "").replace("2026-01-31", "2999-01-31");
    let imported = import(&url, &folder.file("two.jsonl", [live, future].join("\n")));
    assert_eq!(
        (&imported["newEvents"], &imported["droppedEvents"]),
        (&json("1"), &json("1"))
    );
}
