//! `verify` and `repair` on intact and damaged stores.

use std::path::{Path, PathBuf};

use annals::journal::file::FileJournal;
use annals::{Durability, Expected, NewEvent, Store, StreamId};

use crate::support::{Folder, Ran, ask, program, run};

/// A store of twenty batches of two events.
fn store(folder: &Folder) -> PathBuf {
    let path = folder.path("store");
    let store = Store::open(FileJournal::open(&path).unwrap()).unwrap();
    let store = store.with_durability(Durability::Written).unwrap();
    for number in 0..20 {
        let stream = StreamId::new("Order", format!("order-{}", number % 3));
        let events = vec![NewEvent::new("Placed").data("{}"), NewEvent::new("Paid").data("{}")];
        store.append(&stream, Expected::Any, events).unwrap();
    }
    store.close().unwrap();
    path
}

/// Changes a byte of the third batch. Returns the file and the offset of the batch.
fn damage(store: &Path) -> (PathBuf, usize) {
    let path = store.join("00000000000000000001.segment");
    let mut bytes = std::fs::read(&path).unwrap();
    let mut frames = (64..).step_by(8).filter(|at| bytes[*at..].starts_with(b"FRAM"));
    let offset = frames.nth(2).unwrap();
    bytes[offset + 60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    (path, offset)
}

fn verify(store: &Path, format: &str) -> Ran {
    run(program().args(["--format", format, "verify"]).arg(store))
}

fn repair(store: &Path, to: &Path) -> Ran {
    run(program()
        .args(["--format", "json", "repair"])
        .arg(store)
        .arg("--to")
        .arg(to))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_whole_store_is_said_to_be_whole() {
    let folder = Folder::new();
    let store = store(&folder);
    let found = json(&verify(&store, "json").ok());
    assert_eq!(
        (found["events"].as_u64(), found["damagedPlaces"].as_u64()),
        (Some(40), Some(0))
    );
    assert_eq!(found["damage"], serde_json::json!([]));
    assert_eq!(verify(&store, "csv").ok(), "file,offset,first,last,what\n");
    assert!(verify(&store, "table").ok().contains("damaged places"));
}

#[test]
fn damage_is_listed_in_every_format_and_ends_with_3() {
    let folder = Folder::new();
    let store = store(&folder);
    let (file, offset) = damage(&store);
    let what = "the checksum of a frame is wrong";
    let ran = verify(&store, "json");
    let found = json(&ran.stdout);
    let first = &found["damage"][0];
    assert_eq!(first["file"].as_str(), file.to_str());
    assert_eq!(first["offset"].as_u64(), Some(offset as u64));
    assert_eq!((first["first"].as_u64(), first["last"].as_u64()), (Some(5), Some(6)));
    assert_eq!(first["what"], what);
    let said = ran.failed(3);
    assert!(
        said.contains("1 damaged place in") && said.contains("--to NEW"),
        "{said}"
    );
    assert_eq!(json(&verify(&store, "jsonl").stdout), found);
    let csv = verify(&store, "csv").stdout;
    assert_eq!(
        csv,
        format!("file,offset,first,last,what\n{},{offset},5,6,{what}\n", file.display())
    );
    let table = verify(&store, "table");
    assert!(table.stdout.contains("checksum"), "{}", table.stdout);
    table.failed(3);
}

#[test]
fn a_damaged_store_is_saved_and_left_as_it_is() {
    let folder = Folder::new();
    let store = store(&folder);
    let (file, _) = damage(&store);
    let before = std::fs::read(&file).unwrap();
    let to = folder.path("saved");
    let ran = repair(&store, &to);
    assert!(
        ran.stderr.contains("38 events saved to") && ran.stderr.contains("2 positions lost: gaps"),
        "{}",
        ran.stderr
    );
    let saved = json(&ran.ok());
    assert_eq!(
        (saved["eventsSaved"].as_u64(), saved["positionsLost"].as_u64()),
        (Some(38), Some(2))
    );
    assert_eq!(saved["damage"][0]["first"], 5);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    verify(&to, "json").ok();
    let opened = Store::open(FileJournal::open(&to).unwrap()).unwrap();
    assert_eq!((opened.read_all().events().len(), opened.visible().0), (38, 40));
    drop(opened);
    assert!(
        repair(&store, &to)
            .failed(2)
            .contains("is not empty: choose a new directory")
    );
}

#[test]
fn a_store_that_is_open_or_not_there_is_refused() {
    let folder = Folder::new();
    let path = store(&folder);
    let opened = Store::open(FileJournal::open(&path).unwrap()).unwrap();
    assert!(verify(&path, "json").failed(1).contains("close it there first"));
    assert!(
        repair(&path, &folder.path("new"))
            .failed(1)
            .contains("close it there first")
    );
    drop(opened);
    assert!(
        verify(&folder.path("nowhere"), "json")
            .failed(4)
            .contains("there is no folder")
    );
    std::fs::create_dir(folder.path("empty")).unwrap();
    assert!(
        verify(&folder.path("empty"), "json")
            .failed(4)
            .contains("contains no store")
    );
    assert!(!folder.path("new").exists() && !folder.path("new.part").exists());
}

/// A directory on a read-only medium.
#[test]
#[cfg(unix)]
fn a_folder_that_cannot_be_written_to_is_verified() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let store = store(&folder);
    std::fs::remove_file(store.join("lock")).unwrap();
    let set = |mode| std::fs::set_permissions(&store, std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o555);
    let ran = verify(&store, "json");
    set(0o755);
    ran.ok();
    assert!(!store.join("lock").exists());
}

/// The contents of a directory, the results of the commands that read it, and how to create it.
type State = (&'static str, i32, fn(&Path));

const SEGMENT: &str = "00000000000000000001.segment";

#[test]
fn three_commands_said_three_things_of_an_unusable_folder() {
    let states: [State; 5] = [
        ("a word", 3, |folder| {
            std::fs::write(folder.join(SEGMENT), "hello").unwrap();
        }),
        ("nothing", 4, |_| {}),
        ("a lock alone", 4, |folder| {
            std::fs::write(folder.join("lock"), "").unwrap();
        }),
        ("a segment that a crash kept from being made", 0, |folder| {
            std::fs::write(folder.join(SEGMENT), [0; 100]).unwrap();
        }),
        ("a folder", 3, |folder| {
            std::fs::create_dir(folder.join(SEGMENT)).unwrap();
        }),
    ];
    for (what, code, make) in states {
        let folder = Folder::new();
        let (store, to) = (folder.path("store"), folder.path("new"));
        std::fs::create_dir(&store).unwrap();
        make(&store);
        let url = folder.url("store");
        for ran in [verify(&store, "json"), ask(&url, &["stats"]), ask(&url, &["events"])] {
            assert_eq!(ran.code, code, "{what}: {}", ran.stderr);
            let said = ran.stderr + &ran.stdout;
            assert!(code != 3 || said.contains(SEGMENT), "{what}: {said}");
        }
        // A repair needs at least one segment.
        let repaired = repair(&store, &to);
        assert_eq!(
            repaired.code,
            if code == 4 { 4 } else { 0 },
            "{what}: {}",
            repaired.stderr
        );
        assert_eq!(to.exists(), code != 4, "{what}");
        assert_eq!(
            repaired.stderr.contains("nothing was lost"),
            code == 0,
            "{what}: {}",
            repaired.stderr
        );
    }
}

#[test]
fn verify_counted_events_that_were_lost_before_as_readable() {
    let folder = Folder::new();
    let damaged = store(&folder);
    damage(&damaged);
    repair(&damaged, &folder.path("saved")).ok();
    let verified = json(&verify(&folder.path("saved"), "json").ok());
    let stats = json(&ask(&folder.url("saved"), &["--format", "json", "stats"]).ok());
    assert_eq!(verified["eventsLostBefore"], 2);
    assert_eq!((&verified["events"], &stats["total"]), (&json("38"), &json("38")));
}
