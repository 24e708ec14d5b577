//! Golden histories stay the same from run to run, and show what differs.

use std::fs;
use std::process::Command;

use annals::testing::Golden;
use annals::{Expected, NewEvent, Store, StreamId, Timestamp};
use uuid::Uuid;

use crate::support::TempFolder;

/// A history whose ids and times are others in each run: aggregates are named by UUIDs, which payloads repeat.
fn history(cents: u64) -> Store {
    let store = Store::in_memory();
    let id = Uuid::from_u128(store.now().as_micros().unsigned_abs().into());
    let order = StreamId::new("Order", format!("order-{id}"));
    let placed = format!(r#"{{"z": "{id}", "a": [1.50, "{}"], "cents": {cents}}}"#, store.now());
    let event = NewEvent::new("OrderPlaced")
        .data(placed)
        .correlation(id.to_string())
        .user("anna")
        .tag("vip");
    store
        .append(&order, Expected::NoStream, vec![event])
        .expect("it is new");
    let cause = store.read_all().events()[0].id().to_string();
    let events = vec![
        NewEvent::new("OrderPaid")
            .causation(cause)
            .schema_version(2)
            .metadata("not JSON"),
        NewEvent::new("OrderShipped").data(vec![0xff, 0x00]),
    ];
    store.append(&order, Expected::Any, events).expect("it is there");
    store
}

const GOLDEN: &str = r#"{"id":"id-1","stream":"Order order-id-2","version":1,"type":"OrderPlaced","correlation":"id-2","user":"anna","tags":["vip"],"data":{"a":[1.5,"<time>"],"cents":5,"z":"id-2"}}
{"id":"id-3","stream":"Order order-id-2","version":2,"type":"OrderPaid","schema":2,"causation":"id-1","metadata":"not JSON"}
{"id":"id-4","stream":"Order order-id-2","version":3,"type":"OrderShipped","data":"ff00"}
"#;

#[test]
fn ids_and_times_are_aliased() {
    let (first, second) = (Golden::of(&history(5)).to_string(), Golden::of(&history(5)).to_string());
    assert_eq!(first, second);
    assert_eq!(first, GOLDEN);
}

#[test]
fn times_are_seconds_since_the_first_event() {
    let store = Store::in_memory();
    for micros in [5_000_000, 5_000_000 + 90_000_000, 5_000_001] {
        let event = NewEvent::new("Seen").timestamp(Timestamp::from_micros(micros));
        store
            .append(&StreamId::new("Page", "page-1"), Expected::Any, vec![event])
            .expect("appended");
    }
    let text = Golden::of(&store).times().to_string();
    let seconds: Vec<_> = text
        .lines()
        .map(|line| line.contains(r#""second":90}"#) || line.contains(r#""second":0}"#))
        .collect();
    assert_eq!(seconds, [true, true, false], "{text}");
    assert!(text.contains(r#""second":"0.000001""#), "{text}");
}

#[test]
fn only_the_lines_that_differ_are_shown() {
    let folder = TempFolder::new();
    let path = folder.path().join("new/order.jsonl");
    let golden = Golden::of(&history(5));
    let missing = golden.compare(&path).expect_err("it is not there");
    assert!(
        missing.contains("order.jsonl") && missing.contains("run the test with UPDATE=1"),
        "{missing}"
    );
    golden.write(&path).expect("the folder is made");
    golden.compare(&path).expect("it is the same");
    fs::write(&path, golden.to_string().replace('\n', "\r\n")).expect("written");
    golden.compare(&path).expect("line ends of another system");
    let differs = Golden::of(&history(6)).compare(&path).expect_err("one event differs");
    let lines: Vec<_> = differs.lines().filter(|line| line.starts_with("    1")).collect();
    assert_eq!(lines.len(), 2, "{differs}");
    assert!(
        lines[0].contains("1 - {") && lines[1].contains("1 + {") && lines[1].contains("\"cents\":6"),
        "{differs}"
    );
    let store = history(5);
    store
        .append(
            &StreamId::new("Order", "other"),
            Expected::Any,
            vec![NewEvent::new("OrderPlaced")],
        )
        .expect("appended");
    let longer = Golden::of(&store).compare(&path).expect_err("one event more");
    assert!(
        longer.lines().skip(1).all(|line| line.starts_with("    4 + ")),
        "{longer}"
    );
    let shorter = Golden::of_events([]).compare(&path).expect_err("no event");
    assert_eq!(
        shorter.lines().skip(1).filter(|line| line.contains(" - ")).count(),
        3,
        "{shorter}"
    );
    assert_eq!(
        fs::read_dir(folder.path().join("new")).expect("it is there").count(),
        1,
        "nothing is left beside it"
    );
}

/// The next test runs it in processes of their own, with a file and an environment that it chooses.
#[test]
fn compares_with_the_file_of_the_environment() {
    let folder = TempFolder::new();
    let path = std::env::var_os("ANNALS_TEST_GOLDEN").map_or_else(
        || {
            let path = folder.path().join("order.jsonl");
            Golden::of(&history(5)).write(&path).expect("written");
            path
        },
        Into::into,
    );
    Golden::of(&history(5)).assert(&path);
}

#[test]
fn update_rewrites_the_file() {
    let folder = TempFolder::new();
    let path = folder.path().join("order.jsonl");
    let run = |update: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "golden::compares_with_the_file_of_the_environment"]);
        command.env_remove("UPDATE").env("ANNALS_TEST_GOLDEN", &path);
        if let Some(update) = update {
            command.env("UPDATE", update);
        }
        command.output().expect("it runs").status.success()
    };
    assert!(!run(None), "the file is not there");
    assert!(!run(Some("0")) && !path.exists());
    assert!(run(Some("1")) && path.exists());
    assert!(run(None), "it is the same");
    fs::write(&path, "{}\n").expect("written");
    assert!(!run(None), "it differs");
    assert!(run(Some("1")) && run(None));
}

#[test]
fn half_a_second_earlier_was_half_a_second_later() {
    let at = |micros| {
        let store = Store::in_memory();
        let begin = Timestamp::from_micros(1_767_225_600_000_000);
        let second = Timestamp::from_micros(begin.as_micros() + micros);
        let events = [begin, second].map(|time| NewEvent::new("Ticked").timestamp(time));
        store
            .append(&StreamId::new("Clock", "clock-1"), Expected::Any, &events)
            .expect("appended");
        let text = Golden::of(&store).times().to_string();
        let second = text.lines().nth(1).and_then(|line| line.split("\"second\":").nth(1));
        second.expect("it has the time").trim_end_matches('}').to_owned()
    };
    for (micros, text) in [
        (500_000, "\"0.500000\""),
        (-500_000, "\"-0.500000\""),
        (-1, "\"-0.000001\""),
        (-1_500_000, "\"-1.500000\""),
        (-2_000_000, "-2"),
        (0, "0"),
    ] {
        assert_eq!(at(micros), text);
    }
}

#[test]
fn two_golden_files_of_one_stem_shared_a_temporary_file() {
    let folder = TempFolder::new();
    let names = ["order.jsonl", "order.v1.jsonl", "order.v2", "order"];
    let write = |name: &str, cents| {
        let path = folder.path().join(name);
        for _ in 0..200 {
            Golden::of(&history(cents)).write(&path).expect("it is written");
        }
    };
    std::thread::scope(|scope| {
        for (cents, name) in names.iter().enumerate() {
            scope.spawn(move || write(name, cents as u64));
        }
    });
    for (cents, name) in names.iter().enumerate() {
        let golden = Golden::of(&history(cents as u64));
        golden
            .compare(&folder.path().join(name))
            .expect("it has its own history");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), names.len());
}
