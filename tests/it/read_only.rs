//! Stores in files that are read, and left as they are.

use std::path::Path;
use std::sync::Arc;

use annals::journal::JournalErrorKind;
use annals::journal::file::{FileJournal, FileReader, FileSettings};
use annals::testing::disk::{Fault, SimulatedDisk};
use annals::{Error, Expected, Position, Store};

use crate::support::{TempFolder, events, fill, stream};

fn read(folder: &Path) -> annals::Result<Store> {
    let url = format!("file:{}", folder.display());
    Store::builder().read_only().open_url(&url)
}

fn files(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file"));
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("read")))
        .collect();
    files.sort();
    files
}

#[test]
fn a_store_that_is_read_only_takes_nothing() {
    let folder = TempFolder::new();
    let store = Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
    fill(&store, "a", 3);
    store.close().expect("closed");
    drop(store);
    let store = read(folder.path()).expect("it can be read");
    assert_eq!(store.read_stream("a").events().len(), 3);
    let refused = store.append(&stream("a"), Expected::Any, events(1));
    assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
    assert!(matches!(
        store.truncate_before("a", annals::Version(2)),
        Err(Error::ReadOnly { .. })
    ));
}

#[test]
fn reading_leaves_every_file_as_it_is() {
    let folder = TempFolder::new();
    let settings = FileSettings::default().segment_bytes(4096);
    let journal = FileJournal::open_with(folder.path(), settings).expect("a journal");
    let store = Store::open(journal).expect("a store");
    for _ in 0..30 {
        fill(&store, "a", 10);
        store.wait_durable(store.visible()).expect("durable");
    }
    let copy = TempFolder::new();
    for (name, bytes) in files(folder.path()) {
        std::fs::write(copy.path().join(name), bytes).expect("written");
    }
    // What crashes leave: a torn end, a segment without a header, one that was being rewritten.
    let is_segment = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".segment");
    let mut segments = files(copy.path()).into_iter().map(|(name, _)| name).filter(is_segment);
    let last = segments.next_back().expect("a segment");
    let torn = copy.path().join(last);
    let mut bytes = std::fs::read(&torn).expect("read");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("an event");
    bytes.truncate(end - 20);
    std::fs::write(&torn, bytes).expect("written");
    std::fs::write(copy.path().join("00000000000000000301.segment"), "").expect("written");
    let before = files(copy.path());
    let one = read(copy.path()).expect("it can be read");
    let two = read(copy.path()).expect("it can be read twice");
    assert_eq!((one.visible(), two.visible()), (Position(290), Position(290)));
    assert!(one.recovery().torn_tail_bytes > 0);
    assert_eq!(files(copy.path()), before);
}

#[test]
fn a_disk_that_takes_nothing_can_be_read() {
    let disk = SimulatedDisk::new();
    let store = Store::open(FileJournal::on(Arc::new(disk.clone()), FileSettings::default()).expect("a journal"));
    fill(&store.expect("a store"), "a", 3);
    disk.fail(1, Fault::PowerLoss);
    let reader = FileReader::on(Arc::new(disk)).expect("a journal");
    let store = Store::builder().read_only().journal(reader).open().expect("a store");
    assert_eq!(store.read_stream("a").events().len(), 3);
}

#[test]
fn a_store_is_not_read_while_another_process_writes_it() {
    let folder = TempFolder::new();
    let writer = Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
    let refused = FileReader::open(folder.path()).expect_err("it is in use");
    assert_eq!(refused.kind(), JournalErrorKind::Locked);
    drop(writer);
    let reader = FileReader::open(folder.path()).expect("nobody writes");
    let refused = FileJournal::open(folder.path()).expect_err("it is being read");
    assert_eq!(refused.kind(), JournalErrorKind::Locked);
    drop(reader);
}

#[test]
fn what_can_only_be_read_must_be_somewhere() {
    let empty = Store::builder().read_only().open();
    assert!(matches!(empty, Err(Error::Invalid { .. })), "{empty:?}");
    let gone = read(Path::new("/nowhere/at/all"));
    let Err(Error::Unavailable { cause: error }) = gone else {
        panic!("{gone:?}")
    };
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

/// Opening waited for a writer to the pipe.
#[test]
#[cfg(target_os = "linux")]
fn a_pipe_in_the_place_of_a_file_is_refused() {
    for name in ["lock", "00000000000000000001.segment"] {
        let folder = TempFolder::new();
        let made = std::process::Command::new("mkfifo")
            .arg(folder.path().join(name))
            .status();
        assert!(made.expect("mkfifo is there").success());
        for opened in [
            read(folder.path()),
            Store::open_url(&format!("file:{}", folder.path().display())),
        ] {
            let message = opened.expect_err(name).to_string();
            assert!(message.contains("not a regular file"), "{message}");
        }
    }
}
