//! `backup` of idle stores, of stores that are being written, and of stores that cannot be copied.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use annals::journal::file::{FileJournal, FileSettings};
use annals::{Durability, Event, Expected, NewEvent, Store, StreamId};
use serde_json::Value;

use crate::support::{Folder, Ran, ask, import, program, run};

fn back_up(store: &Path, to: &Path, arguments: &[&str]) -> Ran {
    run(program()
        .arg("--store")
        .arg(store)
        .args(["backup", "--format", "json", "--to"])
        .arg(to)
        .args(arguments))
}

fn report(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).unwrap()
}

fn events(folder: &Path) -> Vec<Event> {
    let store = Store::builder()
        .read_only()
        .open_url(&format!("file:{}", folder.display()))
        .unwrap();
    store.read_all().events()
}

/// A store that is open, with small segments, in the folder `store`.
fn open(folder: &Folder) -> Store {
    let settings = FileSettings::default().segment_bytes(4096).preallocate_bytes(64 << 10);
    let journal = FileJournal::open_with(folder.path("store"), settings).unwrap();
    let store = Store::open(journal).unwrap();
    store.with_durability(Durability::Written).unwrap()
}

/// Appends, each as a separate batch.
fn append(store: &Store, appends: u64) {
    for number in 0..appends {
        let stream = StreamId::new("Order", format!("order-{}", number % 7));
        let events = ["Placed", "Paid"].map(|name| NewEvent::new(name).data("{\"amount\":250}"));
        store.append(&stream, Expected::Any, events).unwrap();
    }
}

/// The backup opens, is intact, and is a prefix of the store.
fn check_prefix(backup: &Path, store: &[Event]) -> usize {
    run(program().arg("verify").arg(backup)).ok();
    let kept = events(backup);
    assert!(store.starts_with(&kept), "{} events", kept.len());
    kept.len()
}

fn part(to: &Path) -> PathBuf {
    let name = format!("{}.part", to.file_name().unwrap().display());
    to.with_file_name(name)
}

#[test]
fn a_store_at_rest_is_copied_whole() {
    let folder = Folder::new();
    import(&folder.url("store"), &folder.demo());
    let to = folder.path("copy");
    let found = report(back_up(&folder.url("store"), &to, &[]));
    assert_eq!((&found["events"], &found["position"]), (&3000.into(), &3000.into()));
    assert_eq!(events(&to), events(&folder.path("store")));
    // The backup accepts appends.
    let log = folder.file("more.jsonl", crate::support::line("a", "T", ""));
    let report = import(&folder.url("copy"), &log);
    assert_eq!(report["total"], 3001);
    assert!(!part(&to).exists());
    // The directory may be given without `file:`, and with a trailing slash.
    let to = folder.path("other/");
    report_ok(&ask(&folder.path("store"), &["backup", "--to", to.to_str().unwrap()]));
    assert_eq!(events(&to).len(), 3000);
}

fn report_ok(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("3,000 events safe in"), "{}", ran.stderr);
}

#[test]
fn a_store_that_is_open_in_another_process_is_copied() {
    let folder = Folder::new();
    let store = open(&folder);
    let url = folder.url("store");
    // Others cannot read it.
    for (round, appends) in [1, 3, 200].into_iter().enumerate() {
        append(&store, appends);
        let to = folder.path(&format!("copy-{round}"));
        let found = report(back_up(&url, &to, &[]));
        let all = store.read_all().events();
        assert_eq!(found["position"], all.len());
        assert_eq!(check_prefix(&to, &all), all.len());
    }
    ask(&url, &["stats"]).failed(1);
    // Compacted segments with gaps are copied unchanged.
    store
        .truncate_before(&StreamId::new("Order", "order-1").aggregate_id, annals::Version(40))
        .unwrap();
    store.compact_journal().unwrap();
    append(&store, 3);
    let to = folder.path("compacted");
    back_up(&url, &to, &[]).ok();
    assert_eq!(
        check_prefix(&to, &store.read_all().events()),
        store.read_all().events().len()
    );
}

#[test]
fn a_store_that_is_written_meanwhile_is_copied_up_to_some_place() {
    let folder = Folder::new();
    let store = open(&folder);
    append(&store, 1);
    let is_done = AtomicBool::new(false);
    let copies: Vec<PathBuf> = (0..5).map(|number| folder.path(&format!("copy-{number}"))).collect();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // Bounded, however slow the backups are.
            for _ in 0..500 {
                if !is_done.load(Ordering::Relaxed) {
                    append(&store, 10);
                }
            }
        });
        for to in &copies {
            back_up(&folder.url("store"), to, &[]).ok();
        }
        is_done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    let all = store.read_all().events();
    let lengths: Vec<usize> = copies.iter().map(|copy| check_prefix(copy, &all)).collect();
    assert!(lengths.is_sorted() && lengths[0] >= 2, "{lengths:?}");
}

#[test]
fn until_cuts_behind_the_last_whole_batch() {
    let folder = Folder::new();
    let store = open(&folder);
    append(&store, 100);
    let all = store.read_all().events();
    let url = folder.url("store");
    for (until, position) in [
        ("200", 200),
        ("999", 200),
        ("100", 100),
        ("101", 100),
        ("2", 2),
        ("3", 2),
    ] {
        let to = folder.path(until);
        let ran = back_up(&url, &to, &["--until", until]);
        let told = match until {
            "999" => "the store ends at position 200",
            "101" | "3" => "is left out whole",
            _ => "safe in",
        };
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        assert_eq!(report(ran)["position"], position, "{until}");
        assert_eq!(check_prefix(&to, &all), position);
    }
    // By the time at which events were recorded.
    let middle = all[99].recorded_at().to_string();
    let to = folder.path("time");
    let found = report(back_up(&url, &to, &["--until", &middle]));
    let expected = all
        .iter()
        .filter(|event| event.recorded_at() <= all[99].recorded_at())
        .count();
    assert_eq!(found["position"], expected);
    check_prefix(&to, &all);
    let found = report(back_up(&url, &folder.path("now"), &["--until", "0s"]));
    assert_eq!(found["position"], 200);
    for until in ["1", "0", "1w"] {
        let message = back_up(&url, &folder.path("none"), &["--until", until]).failed(4);
        assert!(message.contains("no whole batch of appends"), "{message}");
        assert!(!folder.path("none").exists() && !part(&folder.path("none")).exists());
    }
    back_up(&url, &folder.path("none"), &["--until", "soon"]).failed(2);
}

#[test]
fn a_target_that_exists_is_refused() {
    let folder = Folder::new();
    let log = folder.demo();
    import(&folder.url("store"), &log);
    let url = folder.url("store");
    fs::create_dir(folder.path("empty")).unwrap();
    folder.file("file", "");
    for name in ["empty", "file", "store"] {
        let message = back_up(&url, &folder.path(name), &[]).failed(2);
        assert!(message.contains("is there already"), "{message}");
    }
    let message = back_up(&url, &folder.path("store/inner"), &[]).failed(2);
    assert!(message.contains("is within the store"), "{message}");
    fs::create_dir(folder.path("copy.part")).unwrap();
    let message = back_up(&url, &folder.path("copy"), &[]).failed(2);
    assert!(message.contains("copy.part exists already"), "{message}");
    back_up(&folder.url("absent"), &folder.path("copy"), &[]).failed(4);
    for store in [log, "memory:".into()] {
        let message = back_up(&store, &folder.path("copy"), &[]).failed(2);
        assert!(message.contains("only a store in files is backed up"), "{message}");
    }
}

/// One rule for every command that writes to a new folder or file.
#[test]
fn a_mistyped_target_was_created_with_its_parents() {
    let folder = Folder::new();
    import(&folder.url("store"), &folder.demo());
    let (store, url) = (folder.path("store"), folder.url("store"));
    let targets = ["absent/copy", "absent/copy.jsonl"].map(|name| folder.path(name));
    let mut refused = vec![back_up(&url, &targets[0], &[]).failed(1)];
    for to in &targets {
        let archive = ["archive", "--before", "2100-01-01", "--to"];
        refused.push(run(program().arg("--store").arg(&url).args(archive).arg(to)).failed(1));
    }
    refused.push(run(program().arg("repair").arg(&store).arg("--to").arg(&targets[0])).failed(1));
    refused.push(run(program().args(["man", "--to"]).arg(folder.path("absent/man1"))).failed(1));
    #[cfg(feature = "bench")]
    for (out, data) in [("absent/result", "data"), ("result", "absent/data")] {
        let mut bench = program();
        bench
            .args(["bench", "run", "--backends", "null", "--out"])
            .arg(folder.path(out));
        refused.push(run(bench.arg("--data").arg(folder.path(data))).failed(1));
    }
    for message in refused {
        assert!(message.contains("absent does not exist"), "{message}");
    }
    assert!(!folder.path("absent").exists() && !folder.path("result").exists());
    back_up(&url, &folder.path("copy"), &[]).ok();
}

#[test]
fn a_damaged_store_is_not_backed_up_as_if_it_were_whole() {
    let change = |name: &str, at: usize| {
        let folder = Folder::new();
        let store = open(&folder);
        append(&store, 100);
        store.close().unwrap();
        let mut segments: Vec<PathBuf> = fs::read_dir(folder.path("store"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
            .collect();
        segments.sort();
        assert!(segments.len() > 3);
        let path = match name {
            "first" => segments.remove(0),
            "last" => segments.pop().unwrap(),
            _ => segments.remove(1),
        };
        if at == 0 {
            fs::remove_file(path).unwrap();
        } else {
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        }
        let message = back_up(&folder.url("store"), &folder.path("copy"), &[]).failed(3);
        assert!(
            message.contains("no backup was made") && message.contains("annals repair"),
            "{message}"
        );
        assert!(!folder.path("copy").exists() && !part(&folder.path("copy")).exists());
    };
    for (name, at) in [
        ("first", 130),
        ("second", 20),
        ("second", 70),
        ("second", 0),
        ("last", 130),
        ("last", 0),
        ("first", 0),
    ] {
        change(name, at);
    }
}

#[cfg(unix)]
mod killed {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// Each backup is killed when its folder has appeared.
    #[test]
    fn a_backup_that_is_killed_leaves_nothing_under_its_name() {
        let folder = Folder::new();
        import(&folder.url("store"), &folder.demo());
        let to = folder.path("copy");
        for _ in 0..5 {
            let mut child = program()
                .arg("--store")
                .arg(folder.url("store"))
                .args(["backup", "--to"])
                .arg(&to)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while !part(&to).exists() && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            if to.exists() {
                // The backup was faster than the kill.
                assert_eq!(check_prefix(&to, &events(&folder.path("store"))), 3000);
                fs::remove_dir_all(&to).unwrap();
            } else if part(&to).exists() {
                back_up(&folder.url("store"), &to, &[]).failed(2);
                fs::remove_dir_all(part(&to)).unwrap();
            }
        }
        back_up(&folder.url("store"), &to, &[]).ok();
    }

    #[test]
    fn a_store_into_which_the_program_imports_is_copied() {
        let folder = Folder::new();
        let log = run(program().args(["demo", "--seed", "5", "--events", "20000"])).ok();
        let lines: Vec<&str> = log.split_inclusive('\n').collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_annals"))
            .arg("--store")
            .arg(format!("{}?segment_bytes=1MiB", folder.url("store").display()))
            .args(["import", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut copies = Vec::new();
        for (number, chunk) in lines.chunks(4000).enumerate() {
            stdin.write_all(chunk.concat().as_bytes()).unwrap();
            let to = folder.path(&format!("copy-{number}"));
            let ran = back_up(&folder.url("store"), &to, &[]);
            // An empty store has no segment to copy.
            if ran.code == 0 {
                copies.push(to);
            } else {
                assert_eq!((number, ran.code), (0, 4), "{}", ran.stderr);
            }
        }
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let all = events(&folder.path("store"));
        assert_eq!(all.len(), 20_000);
        let lengths: Vec<usize> = copies.iter().map(|copy| check_prefix(copy, &all)).collect();
        assert!(lengths.is_sorted() && lengths.len() >= 4, "{lengths:?}");
    }
}
