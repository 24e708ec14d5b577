//! Every state that a store's folder can be in: opening, reading, verifying and repairing say the same of it.

use std::fs;
use std::path::{Path, PathBuf};

use annals::journal::file::{self, ArchiveWriter, FileJournal, FileReader, FileSettings, Folder, Verification};
use annals::journal::{JournalError, JournalErrorKind};
use annals::{Durability, Error, Expected, GapReason, NewEvent, Position, Result, Store};

use crate::support::{TempFolder, stream};

fn settings() -> FileSettings {
    FileSettings::default().segment_bytes(4096).preallocate_bytes(4096)
}

fn open(folder: &Path) -> Result<Store> {
    Store::open(FileJournal::open_with(folder, settings())?)
}

fn append(store: &Store, count: u32) {
    let store = store.with_durability(Durability::Synced).expect("a handle");
    for number in 0..count {
        let event = NewEvent::new("Noted").data(vec![b'x'; 1000]);
        let id = format!("a-{}", number % 3);
        store
            .append(&stream(&id), Expected::Any, vec![event])
            .expect("appended");
    }
}

/// A store of several segments, closed.
fn fill(folder: &Path) {
    let store = open(folder).expect("a store");
    append(&store, 18);
    store.close().expect("closed");
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort();
    paths
}

fn first_segment(folder: &Path) -> PathBuf {
    folder.join(format!("{:020}.segment", 1))
}

fn last_segment(folder: &Path) -> PathBuf {
    segments(folder).pop().expect("a segment")
}

fn cut(path: &Path, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("a file");
    file.set_len(length).expect("cut");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(to).expect("made");
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// Where the frames begin of a segment that was not compressed: where `FRAM` is.
fn frames(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).expect("a segment");
    let offsets = (64..bytes.len().saturating_sub(4)).step_by(8);
    offsets
        .filter(|at| &bytes[*at..*at + 4] == b"FRAM")
        .map(|at| at as u64)
        .collect()
}

/// What is to be said of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// A store with as many events.
    Store(u64),
    Damage,
    /// There is no store, and none is repaired; opening one to write makes it.
    Nothing,
}

type State = (&'static str, Expect, fn(&Path));

const STATES: &[State] = &[
    ("whole", Expect::Store(18), fill),
    ("empty", Expect::Nothing, |_| {}),
    ("a lock alone", Expect::Nothing, |folder| {
        fs::write(folder.join("lock"), "").expect("written");
    }),
    ("other files", Expect::Nothing, |folder| {
        fs::write(folder.join("hello.txt"), "hello").expect("written");
    }),
    ("'hello' as a segment", Expect::Damage, |folder| {
        fs::write(first_segment(folder), "hello").expect("written");
    }),
    ("zeros and a word as a segment", Expect::Damage, |folder| {
        fs::write(first_segment(folder), b"\0\0\0hello\0\0").expect("written");
    }),
    ("an empty segment", Expect::Store(0), |folder| {
        fs::write(first_segment(folder), "").expect("written");
    }),
    ("a segment of zeros", Expect::Store(0), |folder| {
        fs::write(first_segment(folder), [0; 5000]).expect("written");
    }),
    ("a torn header", Expect::Store(0), |folder| {
        fs::write(first_segment(folder), b"ANNALSEG\x01\0\0").expect("written");
    }),
    ("half a header of zeros", Expect::Store(0), |folder| {
        fs::write(first_segment(folder), b"\0\0\0\0LSEG\x01\0\0\0\0\0\0\0torn ids").expect("written");
    }),
    ("a header and nothing else", Expect::Store(0), |folder| {
        drop(open(folder).expect("a store"));
    }),
    ("the last segment is missing", Expect::Damage, |folder| {
        fill(folder);
        fs::remove_file(last_segment(folder)).expect("removed");
    }),
    ("the last two are missing", Expect::Damage, |folder| {
        fill(folder);
        fs::remove_file(last_segment(folder)).expect("removed");
        fs::remove_file(last_segment(folder)).expect("removed");
    }),
    ("the last is missing after a crash", Expect::Damage, |folder| {
        let store = open(folder).expect("a store");
        append(&store, 18);
        let copied = folder.with_extension("crashed");
        copy(folder, &copied);
        drop(store);
        fs::remove_dir_all(folder).expect("removed");
        fs::rename(copied, folder).expect("renamed");
        fs::remove_file(last_segment(folder)).expect("removed");
    }),
    ("the only segment is missing", Expect::Damage, |folder| {
        append(&open(folder).expect("a store"), 2);
        fs::remove_file(first_segment(folder)).expect("removed");
    }),
    ("the first segment is missing", Expect::Damage, |folder| {
        fill(folder);
        fs::remove_file(first_segment(folder)).expect("removed");
    }),
    ("one in the middle is missing", Expect::Damage, |folder| {
        fill(folder);
        fs::remove_file(&segments(folder)[1]).expect("removed");
    }),
    ("the end is cut between two frames", Expect::Damage, |folder| {
        append(&open(folder).expect("a store"), 3);
        let at = frames(&first_segment(folder));
        cut(&first_segment(folder), at[2]);
    }),
    ("the end is cut within the last event", Expect::Damage, |folder| {
        append(&open(folder).expect("a store"), 3);
        let at = frames(&first_segment(folder));
        cut(&first_segment(folder), at[2] + 100);
    }),
    (
        "a sealed segment is cut, and no other follows",
        Expect::Damage,
        |folder| {
            fill(folder);
            fs::remove_file(last_segment(folder)).expect("removed");
            let last = last_segment(folder);
            let at = frames(&last);
            cut(&last, at[at.len() - 1] + 9);
        },
    ),
    ("torn behind the end", Expect::Store(18), |folder| {
        fill(folder);
        let last = last_segment(folder);
        let end = fs::read(&last)
            .expect("read")
            .iter()
            .rposition(|byte| *byte != 0)
            .expect("bytes")
            + 1;
        let mut bytes = fs::read(&last).expect("read");
        // The content of the mark that ends it is a zero.
        bytes.resize(end.next_multiple_of(8) + 8, 0);
        bytes.extend(b"FRAM and then the power went");
        fs::write(&last, bytes).expect("written");
    }),
    ("the head is torn", Expect::Store(18), |folder| {
        fill(folder);
        cut(&folder.join("head"), 40);
    }),
    ("the head is gone", Expect::Store(18), |folder| {
        fill(folder);
        fs::remove_file(folder.join("head")).expect("removed");
    }),
    ("the head is of another store", Expect::Damage, |folder| {
        fill(folder);
        let other = TempFolder::new();
        append(&open(other.path()).expect("a store"), 1);
        fs::copy(other.path().join("head"), folder.join("head")).expect("copied");
    }),
    ("a head alone", Expect::Damage, |folder| {
        fill(folder);
        for path in segments(folder) {
            fs::remove_file(path).expect("removed");
        }
    }),
    ("a folder as the head", Expect::Damage, |folder| {
        fill(folder);
        fs::remove_file(folder.join("head")).expect("removed");
        fs::create_dir(folder.join("head")).expect("made");
    }),
    ("a folder as the head of nothing", Expect::Damage, |folder| {
        fs::create_dir(folder.join("head")).expect("made");
    }),
    ("an older head", Expect::Store(19), |folder| {
        fill(folder);
        let head = fs::read(folder.join("head")).expect("read");
        append(&open(folder).expect("a store"), 1);
        fs::write(folder.join("head"), head).expect("written");
    }),
    ("a folder as the last segment", Expect::Damage, |folder| {
        fill(folder);
        fs::remove_file(last_segment(folder)).expect("removed");
        fs::create_dir(folder.join(format!("{:020}.segment", 17))).expect("made");
    }),
    ("a folder as the only segment", Expect::Damage, |folder| {
        fs::create_dir(first_segment(folder)).expect("made");
    }),
    ("a segment of another store", Expect::Damage, |folder| {
        fill(folder);
        let other = TempFolder::new();
        fill(other.path());
        fs::copy(&segments(other.path())[1], &segments(folder)[1]).expect("copied");
    }),
    ("a renamed segment", Expect::Damage, |folder| {
        fill(folder);
        fs::rename(last_segment(folder), folder.join(format!("{:020}.segment", 999))).expect("renamed");
    }),
    ("a flipped bit", Expect::Damage, |folder| {
        fill(folder);
        let mut bytes = fs::read(first_segment(folder)).expect("read");
        bytes[500] ^= 1;
        fs::write(first_segment(folder), bytes).expect("written");
    }),
];

fn verify(folder: &Path) -> Verification {
    file::verify(folder, &mut |_, _| {}).expect("it can be read")
}

/// The events of a store, or why it does not open.
fn outcome(opened: Result<Store>) -> std::result::Result<u64, Error> {
    opened.map(|store| store.visible().0)
}

#[test]
fn a_folder_of_this_process_was_said_to_be_open_in_another() {
    let folder = TempFolder::new();
    let store = open(folder.path()).expect("a store");
    let lock = folder.path().join("lock");
    let own = std::process::id().to_string();
    assert_eq!(fs::read_to_string(&lock).expect("readable"), own);
    let refused = open(folder.path()).expect_err("it is open").to_string();
    assert!(refused.contains("is open in this process already"), "{refused}");
    let refused = file::verify(folder.path(), &mut |_, _| {})
        .expect_err("it is open")
        .to_string();
    assert!(refused.contains("is open in this process already"), "{refused}");
    store.close().expect("closed");
    drop(store);
    assert_eq!(fs::read_to_string(&lock).expect("readable"), "");
}

#[test]
fn a_killed_process_was_said_to_have_the_store_open() {
    let folder = TempFolder::new();
    fill(folder.path());
    // Above the largest id of a process on Linux.
    fs::write(folder.path().join("lock"), "999999999").expect("written");
    let reader = FileReader::open(folder.path()).expect("a reader");
    let refused = open(folder.path()).expect_err("it is read").to_string();
    assert!(refused.contains("is open in another process"), "{refused}");
    drop(reader);
    open(folder.path()).expect("it opens");
}

#[test]
fn a_folder_was_created_with_its_parents() {
    let folder = TempFolder::new();
    let refused = open(&folder.path().join("no/such")).expect_err("no parent").to_string();
    assert!(
        refused.contains("does not exist: create it, or check the path"),
        "{refused}"
    );
    assert!(!folder.path().join("no").exists());
    fill(&folder.path().join("one"));
}

#[test]
fn an_archive_and_a_repair_were_created_with_their_parents() {
    let folder = TempFolder::new();
    let store = folder.path().join("store");
    fill(&store);
    let write = |to: &Path| {
        let archived = ArchiveWriter::create(to).and_then(ArchiveWriter::finish).map(drop);
        fs::remove_dir_all(to).ok();
        let repaired = file::repair(&store, to, &mut |_, _| {}).map(drop);
        [archived, repaired]
    };
    for refused in write(&folder.path().join("no/such")) {
        let refused = refused.expect_err("no parent").to_string();
        assert!(refused.contains("no/such cannot be used"), "{refused}");
        assert!(
            refused.contains("does not exist: create it, or check the path"),
            "{refused}"
        );
    }
    assert!(!folder.path().join("no").exists());
    assert_eq!(write(&folder.path().join("one")), [Ok(()), Ok(())]);
}

#[test]
fn open_verify_and_repair_disagreed_on_damaged_folders() {
    for (what, expected, make) in STATES {
        let temp = TempFolder::new();
        let folder = temp.path().join("store");
        fs::create_dir(&folder).expect("made");
        make(&folder);
        let found = verify(&folder);
        let is_there = FileJournal::exists(&folder).expect("it can be read");
        assert_eq!(is_there, *expected != Expect::Nothing, "{what}");

        let (copied, saved) = (temp.path().join("copied"), temp.path().join("saved"));
        copy(&folder, &copied);
        let read = FileReader::open(&folder).map_err(Error::from);
        let read = outcome(read.and_then(|journal| Store::builder().read_only().journal(journal).open()));
        let written = outcome(open(&copied));
        let repaired = file::repair(&folder, &saved, &mut |_, _| {});
        match expected {
            Expect::Store(events) => {
                assert_eq!(found.damage, [], "{what}");
                assert_eq!((&read, &written), (&Ok(*events), &Ok(*events)), "{what}");
                assert_eq!(repaired.expect(what).position, Position(*events), "{what}");
            }
            Expect::Nothing => {
                assert_eq!((found.segments, found.damage.len()), (0, 0), "{what}");
                assert_eq!(
                    repaired.expect_err(what).kind(),
                    JournalErrorKind::Unsupported,
                    "{what}"
                );
                assert_eq!(written, Ok(0), "{what}");
            }
            Expect::Damage => {
                let place = found
                    .damage
                    .first()
                    .unwrap_or_else(|| panic!("{what}: verify finds no damage"));
                let name = place.file.file_name().expect("a name").to_string_lossy();
                for opened in [read, written] {
                    let error = opened.expect_err(what);
                    assert!(matches!(error, Error::Corrupt { .. }), "{what}: {error}");
                    assert!(error.to_string().contains(&*name), "{what}: {error}; verify: {place}");
                }
                let repair = repaired.expect(what);
                assert_eq!(repair.found, found, "{what}");
                assert!(verify(&saved).damage.is_empty(), "{what}");
            }
        }
    }
}

#[test]
fn a_missing_last_segment_was_no_damage() {
    let temp = TempFolder::new();
    let folder = temp.path().join("store");
    fill(&folder);
    let last = last_segment(&folder);
    let first: u64 = last
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .parse()
        .expect("a position");
    fs::remove_file(&last).expect("removed");
    let found = verify(&folder);
    let place = &found.damage[0];
    assert_eq!(
        (&place.file, place.first, place.last),
        (&last, Some(Position(first)), Some(Position(18)))
    );
    assert_eq!(found.positions_lost, 19 - first);
    assert!(
        place.what.contains("the segment is missing") && place.what.contains("repair"),
        "{place}"
    );

    // What is lost keeps its positions in the repaired store.
    let saved = temp.path().join("saved");
    file::repair(&folder, &saved, &mut |_, _| {}).expect("repaired");
    let store = open(&saved).expect("it opens");
    assert_eq!(store.visible(), Position(18));
    let gap = store
        .gaps()
        .into_iter()
        .find(|gap| gap.reason == GapReason::Lost)
        .expect("a gap");
    assert_eq!((gap.first, gap.last), (Position(first), Position(18)));
}

#[test]
fn a_repaired_store_had_its_lost_events_counted_as_readable() {
    let temp = TempFolder::new();
    let [folder, saved, again] = ["store", "saved", "again"].map(|name| temp.path().join(name));
    fill(&folder);
    fs::remove_file(&segments(&folder)[1]).expect("removed");
    let repair = file::repair(&folder, &saved, &mut |_, _| {}).expect("repaired");
    let found = verify(&saved);
    let store = open(&saved).expect("it opens");
    assert!(repair.positions_lost > 0);
    assert_eq!(found.events_lost_before, repair.positions_lost);
    assert_eq!(found.events - found.events_system, store.stats().events);
    assert_eq!(found.events - found.events_system + found.events_lost_before, 18);
    store.close().expect("closed");
    drop(store);

    // Of a store that is repaired twice, and has events of the system besides.
    let store = open(&saved).expect("it opens");
    store.truncate_before("a-0", annals::Version(2)).expect("truncated");
    store.close().expect("closed");
    drop(store);
    file::repair(&saved, &again, &mut |_, _| {}).expect("repaired");
    let found = verify(&again);
    assert_eq!(found.events_lost_before, repair.positions_lost);
    assert_eq!(found.events_system, repair.positions_lost + 1);
}

/// What a link can be where a file should be: none of it is opened, and each is said by all.
#[test]
fn a_link_or_a_pipe_as_a_file_of_the_store_kept_it_from_being_repaired() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("a link to itself", |path| symlink(path, path).expect("linked")),
        ("a link to a folder", |path| {
            symlink(path.parent().expect("a folder"), path).expect("linked");
        }),
        ("a socket", |path| drop(UnixListener::bind(path).expect("bound"))),
    ];
    let nowhere = |path: &Path| symlink("nowhere", path).expect("linked");
    let of_segments = changes.into_iter().chain([("a link to nothing", nowhere as Change)]);
    let head = changes.map(|(what, change)| (what, change, "head".to_owned(), 18));
    let segment = of_segments.map(|(what, change)| (what, change, format!("{:020}.segment", 1), 14));
    for (what, change, name, saved) in head.into_iter().chain(segment) {
        let temp = TempFolder::new();
        let [folder, to]: [PathBuf; 2] = ["store", "saved"].map(|name| temp.path().join(name));
        fill(&folder);
        fs::remove_file(folder.join(&name)).expect("removed");
        change(&folder.join(&name));
        let found = verify(&folder);
        assert_eq!(found.damage.len(), 1, "{name}, {what}: {found:?}");
        let read = FileReader::open(&folder).map_err(Error::from);
        let read = outcome(read.and_then(|journal| Store::builder().read_only().journal(journal).open()));
        for opened in [read, outcome(open(&folder))] {
            let error = opened.expect_err(what);
            assert!(matches!(error, Error::Corrupt { .. }), "{name}, {what}: {error}");
            assert!(error.to_string().contains(&name), "{name}, {what}: {error}");
        }
        let repair = file::repair(&folder, &to, &mut |_, _| {}).expect(what);
        let events = repair.events_saved;
        assert!(events == saved, "{name}, {what}: {events} events were saved");
        assert_eq!(verify(&to).damage, [], "{name}, {what}");
    }
}

/// What is done with a directory, for its path.
type ByPath = fn(&Path) -> std::result::Result<(), JournalError>;

#[test]
fn an_empty_path_was_an_unclear_error_or_the_current_directory() {
    let folder = TempFolder::new();
    fill(folder.path());
    let calls: [(&str, ByPath); 5] = [
        ("open", |path| FileJournal::open(path).map(drop)),
        ("read", |path| FileReader::open(path).map(drop)),
        ("verify", |path| file::verify(path, &mut |_, _| {}).map(drop)),
        ("repair", |path| file::repair(path, "saved", &mut |_, _| {}).map(drop)),
        ("archive", |path| ArchiveWriter::create(path).map(drop)),
    ];
    for (what, call) in calls {
        let error = call(Path::new("")).expect_err(what);
        assert_eq!(error.kind(), JournalErrorKind::Unsupported, "{what}");
        let message = error.to_string();
        assert!(
            message.starts_with("the path of the directory is empty: pass its path"),
            "{what}: {message}"
        );
    }
    let repaired = file::repair(folder.path(), "", &mut |_, _| {}).expect_err("a target");
    assert_eq!(repaired.kind(), JournalErrorKind::Unsupported);
    let invalid = std::io::ErrorKind::InvalidInput;
    assert_eq!(FileJournal::exists("").expect_err("no path").kind(), invalid);
    assert_eq!(Folder::create("").expect_err("no path").kind(), invalid);
    assert_eq!(Folder::existing("").expect_err("no path").kind(), invalid);
    // The current directory has a name, and a path of one component is in it.
    assert!(Folder::existing(".").is_ok());
    assert!(!FileJournal::exists("no-such-folder").expect("it can be looked for"));
}
