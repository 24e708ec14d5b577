//! Moves old events of a store to an archive, and reads them from the archive.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Folder, Ran, ask, import, line, program, run};

/// A time within the generated log.
const BEFORE: &str = "2026-01-12";

fn on(url: &Path) -> Command {
    let mut command = program();
    command.arg("--store").arg(url);
    command
}

fn archive(url: &Path, to: &Path) -> Ran {
    run(on(url)
        .args(["archive", "--format", "json", "--before", BEFORE, "--to"])
        .arg(to))
}

fn events(command: &mut Command) -> Vec<Value> {
    let text = run(command.args(["events", "--format", "jsonl"])).ok();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_old(event: &Value) -> bool {
    event["timestamp"].as_str().unwrap() < BEFORE
}

/// The fields that differ between a store and an archive that is loaded as a log: positions and versions.
fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["eventId"].to_string()).collect()
}

#[test]
fn what_was_archived_is_read_alone_and_together() {
    for name in ["old", "old.jsonl.zst", "old.jsonl"] {
        let folder = Folder::new();
        let (url, to) = (folder.url("orders"), folder.path(name));
        import(&url, &folder.demo());
        let before = events(&mut on(&url));
        let report: Value = serde_json::from_str(&archive(&url, &to).ok()).unwrap();
        let left = events(&mut on(&url));
        let archived = report["eventsArchived"].as_u64().unwrap() as usize;
        assert!(archived > 300 && left.len() > 300, "{archived} of {}", before.len());
        assert_eq!(archived + left.len(), before.len());
        assert!(report["bytesFreed"].as_u64().unwrap() > 20_000, "{report}");

        let alone = events(&mut on(&to));
        assert_eq!(alone.len(), archived);
        assert!(alone.iter().all(is_old));
        let mut both = [ids(&alone), ids(&left)].concat();
        let mut all = ids(&before);
        both.sort_unstable();
        all.sort_unstable();
        assert_eq!(both, all);
        assert_eq!(events(on(&url).arg("--attach").arg(&to)), before);
        // No event was moved a second time, and no file is overwritten.
        let again = archive(&url, &folder.path("again.jsonl")).ok();
        assert!(again.contains("\"eventsArchived\": 0"), "{again}");
        assert!(!folder.path("again.jsonl").exists());
        assert!(archive(&url, &to).failed(2).contains("is there already"));
        assert_eq!(events(&mut on(&to)).len(), archived);
    }
}

#[test]
fn an_archived_event_was_said_not_to_exist() {
    let folder = Folder::new();
    let (url, to) = (folder.url("orders"), folder.path("old"));
    import(&url, &folder.demo());
    let before = events(&mut on(&url));
    archive(&url, &to).ok();
    let old = before.iter().find(|event| is_old(event)).unwrap();
    let position = old["position"].to_string();
    let refused = run(on(&url).args(["event", &position])).failed(4);
    assert!(refused.contains("archive") && refused.contains("--attach"), "{refused}");
    let id = old["aggregateId"].as_str().unwrap();
    let shown = run(on(&url).args(["stream", id]));
    assert!(
        shown.stderr.contains("not here: moved to the archive"),
        "{}",
        shown.stderr
    );
    shown.ok();
    let beyond = run(on(&url).args(["event", "999999"])).failed(4);
    assert!(beyond.contains("the last position is"), "{beyond}");
}

#[test]
fn the_url_of_a_folder_named_another_folder() {
    let folder = Folder::new();
    let (url, copy) = (folder.url("orders"), folder.url("copy"));
    import(&url, &folder.demo());
    run(on(&url).args(["backup", "--to"]).arg(&copy)).ok();
    archive(&url, &folder.url("old")).ok();
    for name in ["copy", "old"] {
        assert!(folder.path(name).is_dir(), "{name}");
    }
    run(program().arg("verify").arg(&copy)).ok();
    run(on(&copy).arg("verify")).ok();
    run(on(&copy).args(["repair", "--to"]).arg(folder.url("saved"))).ok();
    assert!(folder.path("saved").is_dir());
    assert!(run(program().arg("verify")).failed(2).contains("name the folder"));
}

#[test]
fn archives_of_several_times_are_attached_together() {
    let folder = Folder::new();
    let url = folder.url("orders");
    import(&url, &folder.demo());
    let before = events(&mut on(&url));
    let (first, second) = (folder.path("first.jsonl.gz"), folder.path("second"));
    for (time, to) in [("2026-01-08", &first), (BEFORE, &second)] {
        run(on(&url).args(["archive", "--before", time, "--to"]).arg(to)).ok();
    }
    let whole = events(on(&url).arg("--attach").arg(&first).arg("--attach").arg(&second));
    assert_eq!(whole, before);
    let later = events(on(&url).arg("--attach").arg(&second));
    assert_eq!(later.len(), before.len() - events(&mut on(&first)).len());
}

#[test]
fn what_cannot_be_done_is_told_before_anything_is() {
    let folder = Folder::new();
    let (url, log) = (folder.url("orders"), folder.demo());
    import(&url, &log);
    let before = events(&mut on(&url));
    let to = folder.path("old");
    let told = |command: &mut Command, code| run(command).failed(code);
    let archive = |url: &Path, before: &str, to: &Path| {
        let mut command = on(url);
        command.args(["archive", "--before", before, "--to"]).arg(to);
        command
    };
    assert!(told(&mut archive(&log, BEFORE, &to), 2).contains("from a durable store"));
    assert!(told(&mut archive(&url, "the old days", &to), 2).contains("the old days"));
    assert!(told(&mut archive(&url, BEFORE, &folder.path("old.csv")), 2).contains("cannot hold everything"));
    assert!(told(&mut archive(&url, BEFORE, Path::new("-")), 2).contains("name a folder"));
    assert!(told(&mut archive(&folder.url("none"), BEFORE, &to), 4).contains("there is no store"));
    let full = folder.file("old.jsonl", "mine");
    assert!(told(&mut archive(&url, BEFORE, &full), 2).contains("is there already"));
    assert!(told(archive(&url, BEFORE, &to).arg("--attach").arg(&log), 2).contains("without --attach"));
    assert!(told(on(&log).args(["stats", "--attach"]).arg(&to), 2).contains("to the durable store"));
    assert!(told(on(&url).args(["stats", "--attach"]).arg(&to), 4).contains("there is no archive"));
    let half = folder.file("half.jsonl", line("a", "Noted", ""));
    assert!(told(on(&url).args(["stats", "--attach"]).arg(half), 3).contains("line 1: an archive has eventId"));
    let other = folder.url("other");
    import(&other, &folder.file("one.jsonl", line("a", "Noted", "")));
    let refused = told(on(&url).args(["stats", "--attach"]).arg(folder.path("other")), 2);
    assert!(
        refused.contains("the archive belongs to another store: position 1"),
        "{refused}"
    );
    assert_eq!(events(&mut on(&url)), before);
    assert!(!to.exists());
}

/// A store with one old event.
fn store_of(folder: &Folder, data: &[u8]) -> PathBuf {
    let url = folder.url("orders");
    let mut settings = annals::Settings::default();
    settings.limits.payload_bytes_max = 16 << 20;
    let store: annals::StoreUrl = url.to_str().unwrap().parse().unwrap();
    let store = store.open(annals::Store::builder().settings(settings)).unwrap();
    let stream = annals::StreamId::new("Thing", "a");
    let event = annals::NewEvent::new("Noted")
        .data(data)
        .timestamp(annals::Timestamp::from_micros(0));
    store.append(&stream, annals::Expected::Any, vec![event]).unwrap();
    store.close().unwrap();
    url
}

/// A line has at most 16 MiB, and a binary byte takes two digits of it. A directory can contain every event.
#[test]
fn what_a_line_cannot_hold_is_not_archived_to_lines() {
    let folder = Folder::new();
    let url = store_of(&folder, &vec![0xff; 9 << 20]);
    let refused = archive(&url, &folder.path("old.jsonl")).failed(3);
    assert!(
        refused.contains("position 1") && refused.contains("archive to a folder"),
        "{refused}"
    );
    assert!(!folder.path("old.jsonl").exists());
    assert_eq!(events(&mut on(&url)).len(), 1);
    archive(&url, &folder.path("old")).ok();
    assert_eq!(events(&mut on(&url)).len(), 0);
    assert_eq!(events(&mut on(&folder.path("old"))).len(), 1);
}

#[test]
fn data_that_are_no_json_on_one_line_were_not_archived_to_lines() {
    for data in [&b"{\n\"a\": 1}"[..], b"no JSON", b"\xff\0", b" 1 "] {
        let folder = Folder::new();
        let url = store_of(&folder, data);
        let before = events(&mut on(&url));
        archive(&url, &folder.path("old.jsonl")).ok();
        assert_eq!(events(&mut on(&url)).len(), 0);
        let attached = events(on(&url).arg("--attach").arg(folder.path("old.jsonl")));
        assert_eq!(attached, before);
        run(on(&folder.url("copy")).arg("import").arg(folder.path("old.jsonl"))).ok();
        let copy = annals::Store::open_url(folder.url("copy").to_str().unwrap()).unwrap();
        assert_eq!(copy.event_at(annals::Position(1)).unwrap().data(), data);
    }
}

#[test]
fn a_packed_log_is_read_and_written_with_zstandard() {
    let folder = Folder::new();
    let log = folder.demo();
    let packed = folder.path("log.jsonl.zst");
    run(on(&log).args(["export", "--output"]).arg(&packed)).ok();
    assert_eq!(events(&mut on(&packed)), events(&mut on(&log)));
    let bytes = std::fs::read(&packed).unwrap();
    let cut = folder.file("cut.jsonl.zst", &bytes[..bytes.len() / 2]);
    assert!(ask(&cut, &["stats"]).failed(3).contains("ends before its zstd data do"));
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 0x55;
    let damaged = folder.file("damaged.jsonl.zst", damaged);
    assert_eq!(ask(&damaged, &["stats"]).code, 3);
    let plain = folder.file("plain.jsonl.zst", line("a", "Noted", ""));
    assert!(ask(&plain, &["stats"]).failed(3).contains("is not zstd"));
}
