//! A store in files keeps to the folder and the lock that it opened, whatever their names lead to later.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use annals::journal::JournalErrorKind;
use annals::journal::file::{self, FileJournal, FileSettings};
use annals::{Durability, Error, Expected, NewEvent, Position, Result, Settings, Store};

use crate::support::{TempFolder, stream};

/// Small segments: a new one is begun after a few events.
fn open(folder: &Path) -> Result<Store> {
    let settings = FileSettings::default().segment_bytes(64 << 10);
    let journal = FileJournal::open_with(folder, settings)?;
    let durable = Settings::default().durability(Durability::Synced);
    Store::builder().settings(durable).journal(journal).open()
}

fn append(store: &Store) -> Result<Position> {
    let event = NewEvent::new("Noted").data(vec![b'x'; 20_000]);
    Ok(store.append(&stream("a"), Expected::Any, vec![event])?.last_position)
}

/// Appends until it fails. Answers the last position that was acknowledged as synced, and why the next was not.
fn append_until_refused(store: &Store) -> (Position, String) {
    let mut last = store.visible();
    for _ in 0..50 {
        match append(store) {
            Ok(position) => last = position,
            Err(Error::Failed { cause: error }) => return (last, error.to_string()),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("50 events were taken, up to {last}");
}

fn assert_whole(folder: &Path, last: Position) {
    let found = file::verify(folder, &mut |_, _| {}).expect("it can be read");
    assert_eq!(found.damage, []);
    let store = open(folder).expect("it opens");
    assert!(store.visible() >= last, "{} of {last}", store.visible());
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

#[test]
fn a_removed_lock_file_let_a_second_writer_in() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("removed", |lock| fs::remove_file(lock).expect("removed")),
        ("renamed", |lock| {
            fs::rename(lock, lock.with_extension("old")).expect("renamed");
        }),
        ("replaced", |lock| {
            fs::write(lock.with_extension("new"), "").expect("written");
            fs::rename(lock.with_extension("new"), lock).expect("renamed");
        }),
        ("a link to another file", |lock| {
            fs::remove_file(lock).expect("removed");
            fs::write(lock.with_extension("new"), "").expect("written");
            symlink(lock.with_extension("new"), lock).expect("linked");
        }),
    ];
    for (what, change) in changes {
        let folder = TempFolder::new();
        let store = open(folder.path()).expect("a store");
        let last = append(&store).expect("appended");
        change(&folder.path().join("lock"));
        let second = FileJournal::open(folder.path()).map(drop);
        assert_eq!(second.expect_err(what).kind(), JournalErrorKind::Locked, "{what}");
        let (still, error) = append_until_refused(&store);
        assert_eq!(still, last, "{what}: an append after it was acknowledged");
        assert!(
            error.contains("the lock file") && error.contains("lock was removed, renamed or replaced"),
            "{error}"
        );
        drop(store);
        assert_whole(folder.path(), last);
    }
}

#[test]
fn readers_saw_a_store_without_its_lock_file_as_free() {
    let folder = TempFolder::new();
    let store = open(folder.path()).expect("a store");
    append(&store).expect("appended");
    fs::remove_file(folder.path().join("lock")).expect("removed");
    let verified = file::verify(folder.path(), &mut |_, _| {});
    assert_eq!(verified.expect_err("it is open").kind(), JournalErrorKind::Locked);
    let read = file::FileReader::open(folder.path()).map(drop);
    assert_eq!(read.expect_err("it is open").kind(), JournalErrorKind::Locked);
}

/// Renames, links and new folders in the place of a store that is open: `at` is where it was opened, `moved` where it is now.
fn check_moved(what: &str, at: &Path, moved: &Path, change: impl Fn()) {
    let store = open(at).expect("a store");
    let last = append(&store).expect("appended");
    change();
    let (still, error) = append_until_refused(&store);
    assert_eq!(still, last, "{what}: an append after it was acknowledged");
    assert!(
        error.contains("the folder") && error.contains("put it back"),
        "{what}: {error}"
    );
    drop(store);
    assert_whole(moved, last);
}

#[test]
fn a_renamed_folder_split_its_store_in_two() {
    let folder = TempFolder::new();
    let [at, moved]: [PathBuf; 2] = ["at", "moved"].map(|name| folder.path().join(name));
    check_moved("renamed", &at, &moved, || fs::rename(&at, &moved).expect("renamed"));

    let folder = TempFolder::new();
    let [at, moved]: [PathBuf; 2] = ["at", "moved"].map(|name| folder.path().join(name));
    check_moved("renamed, and another made", &at, &moved, || {
        fs::rename(&at, &moved).expect("renamed");
        fs::create_dir(&at).expect("made");
    });
    assert!(is_empty(&at), "a part of the store is where it is not");

    let folder = TempFolder::new();
    let [at, moved]: [PathBuf; 2] = ["above/at", "beside/at"].map(|name| folder.path().join(name));
    fs::create_dir(folder.path().join("above")).expect("made");
    check_moved("the folder above renamed", &at, &moved, || {
        fs::rename(folder.path().join("above"), folder.path().join("beside")).expect("renamed");
        fs::create_dir_all(&at).expect("made");
    });
    assert!(is_empty(&at), "a part of the store is where it is not");
}

#[test]
fn a_switched_link_split_its_store_in_two() {
    let folder = TempFolder::new();
    let [current, first, second]: [PathBuf; 3] = ["current", "first", "second"].map(|name| folder.path().join(name));
    fs::create_dir(&first).expect("made");
    fs::create_dir(&second).expect("made");
    symlink(&first, &current).expect("linked");
    check_moved("a switched link", &current, &first, || {
        fs::remove_file(&current).expect("removed");
        symlink(&second, &current).expect("linked");
    });
    assert!(is_empty(&second), "a part of the store is where it is not");
    // The link leads to another store now, which is not open.
    assert_eq!(open(&current).expect("a store").visible(), Position(0));
}

#[test]
fn a_repair_that_was_refused_removed_what_another_was_writing() {
    let folder = TempFolder::new();
    let [at, to, part]: [PathBuf; 3] = ["at", "to", "to.part"].map(|name| folder.path().join(name));
    drop(open(&at).expect("a store"));
    // Another repair, or archive, is at work.
    fs::create_dir(&part).expect("made");
    fs::write(part.join("work"), "").expect("written");
    let refused = file::repair(&at, &to, &mut |_, _| {}).expect_err("another writes it");
    assert!(refused.to_string().contains("to.part exists already"), "{refused}");
    let refused = file::ArchiveWriter::create(&to).expect_err("another writes it");
    assert!(refused.to_string().contains("to.part exists already"), "{refused}");
    assert!(part.join("work").exists() && !to.exists());
}

#[test]
fn a_store_that_was_moved_closed_without_a_word() {
    for written in [0, 1] {
        for removes_lock in [false, true] {
            let folder = TempFolder::new();
            let (at, moved) = (folder.path().join("at"), folder.path().join("moved"));
            let store = open(&at).expect("opened");
            let last = append(&store).expect("appended");
            for _ in 0..written {
                append(&store).expect("appended");
            }
            let held = if removes_lock {
                fs::remove_file(at.join("lock")).expect("removed");
                &at
            } else {
                fs::rename(&at, &moved).expect("moved");
                &moved
            };
            let closed = store.close().expect_err("it was moved").to_string();
            assert!(closed.contains("removed, renamed or replaced"), "{closed}");
            assert_whole(held, Position(last.0 + written));
        }
    }
}

#[test]
fn a_store_behind_a_link_is_one_store() {
    let folder = TempFolder::new();
    let [current, first]: [PathBuf; 2] = ["current", "first"].map(|name| folder.path().join(name));
    fs::create_dir(&first).expect("made");
    symlink(&first, &current).expect("linked");
    let store = open(&current).expect("a store");
    let second = FileJournal::open(&first).map(drop);
    assert_eq!(second.expect_err("it is open").kind(), JournalErrorKind::Locked);
    for _ in 0..10 {
        append(&store).expect("appended");
    }
    store.close().expect("closed");
    drop(store);
    assert_whole(&first, Position(10));
}

#[test]
fn a_store_whose_folder_was_replaced_compacts_nothing() {
    let folder = TempFolder::new();
    let [at, moved]: [PathBuf; 2] = ["at", "moved"].map(|name| folder.path().join(name));
    let store = open(&at).expect("a store");
    for _ in 0..12 {
        append(&store).expect("appended");
    }
    store.truncate_before("a", annals::Version(11)).expect("truncated");
    fs::rename(&at, &moved).expect("renamed");
    fs::create_dir(&at).expect("made");
    assert!(store.compact_journal().is_err());
    assert!(store.close().is_err());
    drop(store);
    assert!(is_empty(&at));
    assert_whole(&moved, Position(12));
}

#[test]
fn a_renamed_segment_took_events_that_its_store_did_not_have() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("removed", |segment| fs::remove_file(segment).expect("removed")),
        ("renamed", |segment| {
            fs::rename(segment, segment.with_extension("old")).expect("renamed");
        }),
        ("replaced by a copy, with another name of its own", |segment| {
            fs::hard_link(segment, segment.with_extension("old")).expect("linked");
            fs::copy(segment, segment.with_extension("new")).expect("copied");
            fs::rename(segment.with_extension("new"), segment).expect("renamed");
        }),
        ("moved to another folder", |segment| {
            let away = segment.parent().expect("a folder").join("away");
            fs::create_dir(&away).expect("made");
            fs::rename(segment, away.join("segment")).expect("renamed");
        }),
        ("removed, with another name of its own", |segment| {
            fs::hard_link(segment, segment.with_extension("old")).expect("linked");
            fs::remove_file(segment).expect("removed");
        }),
    ];
    for (what, change) in changes {
        let folder = TempFolder::new();
        let store = open(folder.path()).expect("a store");
        let last = append(&store).expect("appended");
        change(&folder.path().join(format!("{:020}.segment", 1)));
        let (still, error) = append_until_refused(&store);
        assert_eq!(still, last, "{what}: an append after it was acknowledged");
        assert!(error.contains("removed, renamed or replaced"), "{what}: {error}");
    }
}

/// A copy by hard links, as tools for backups make it: the files have two names.
fn link_all(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::hard_link(entry.path(), to.join(entry.file_name())).expect("linked");
    }
}

#[test]
fn a_store_that_went_on_damaged_its_copy_by_links() {
    let folder = TempFolder::new();
    let [at, copied]: [PathBuf; 2] = ["at", "copied"].map(|name| folder.path().join(name));
    for _ in 0..2 {
        append(&open(&at).expect("a store")).expect("appended");
    }
    link_all(&at, &copied);
    for _ in 0..10 {
        append(&open(&at).expect("a store")).expect("appended");
    }
    assert_whole(&at, Position(12));
    assert_whole(&copied, Position(2));
}

#[test]
fn a_head_that_is_a_link_was_written_to_where_it_leads() {
    let folder = TempFolder::new();
    let [at, other]: [PathBuf; 2] = ["at", "other"].map(|name| folder.path().join(name));
    append(&open(&at).expect("a store")).expect("appended");
    fs::write(
        &other,
        "a file of its own, which is longer than the 64 bytes that a store's head has",
    )
    .expect("written");
    let before = fs::read(&other).expect("read");
    for target in [other.as_path(), Path::new("nowhere")] {
        fs::remove_file(at.join("head")).expect("removed");
        symlink(target, at.join("head")).expect("linked");
        append(&open(&at).expect("a store")).expect("appended");
        let about = fs::symlink_metadata(at.join("head")).expect("a head");
        assert!(about.is_file(), "the head is a link still");
    }
    assert_eq!(fs::read(&other).expect("read"), before);
    assert!(!at.join("nowhere").exists());
    // What a process left that was killed as it wrote the head is not in the way.
    fs::write(at.join("head.new"), "torn").expect("written");
    append(&open(&at).expect("a store")).expect("appended");
    assert!(!at.join("head.new").exists());
    assert_whole(&at, Position(4));
}
