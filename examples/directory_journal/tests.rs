//! The conformance suites, and what a crash, another program or damage leaves in the directory.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use annals::journal::{Followed, Journal, JournalError};
use annals::testing::conformance::{Log, Storage};
use annals::{Durability, Expected, NewEvent, Position, Store, StreamId};

use super::directory::Directory;
use super::follower::follow;
use super::journal::DirectoryJournal;

/// A directory that is removed at the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("annals-directory-{}-{number}", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

impl Storage for Temporary {
    fn open(&self) -> Result<Box<dyn Journal>, JournalError> {
        Ok(Box::new(DirectoryJournal::open(&self.0)?))
    }
}

impl Log for Temporary {
    fn connect(&self) -> Result<Followed, JournalError> {
        follow(&self.0)
    }
}

annals::conformance!(journal, Temporary::new());
annals::feed_conformance!(feed, Temporary::new());

fn written() -> (Temporary, PathBuf) {
    let directory = Temporary::new();
    let store = Store::open(DirectoryJournal::open(&directory.0).expect("a journal")).expect("a store");
    let store = store.with_durability(Durability::Synced).expect("it can sync");
    for number in 0..3 {
        let event = NewEvent::new("OrderPlaced").data(format!("{number}"));
        store
            .append(&StreamId::new("Order", "order-1"), Expected::Any, vec![event])
            .expect("appended");
    }
    store.close().expect("closed");
    let last = Directory(directory.0.clone()).path(3);
    (directory, last)
}

fn open(directory: &Temporary) -> annals::Result<Store> {
    Store::open(DirectoryJournal::open(&directory.0)?)
}

#[test]
fn a_temporary_file_of_a_crash_is_no_batch() {
    let (directory, last) = written();
    fs::write(last.with_extension("new"), "0123").expect("written");
    let store = open(&directory).expect("it opens");
    assert_eq!(store.read_stream("order-1").events().len(), 3);
}

/// What a write or a compaction leaves in the directory when the process ends after any of its steps.
#[test]
fn a_crash_between_two_steps_lost_a_batch() {
    // The batch that is written, and whether it has its name: only the last one can lack it.
    for (batch, is_renamed) in [(1, true), (2, true), (3, true), (3, false)] {
        let (directory, last) = written();
        let path = last.with_file_name(format!("{batch:020}.batch"));
        let whole = fs::read(&path).expect("read");
        if !is_renamed {
            fs::remove_file(&path).expect("removed");
        }
        let count = if is_renamed { 3 } else { 2 };
        for left in [&whole[..0], &whole[..17], &whole[..whole.len() - 1], &whole[..]] {
            fs::write(path.with_extension("new"), left).expect("written");
            let store = open(&directory).expect("it opens");
            assert_eq!(store.read_stream("order-1").events().len(), count);
        }
        check_goes_on(&directory, count);
    }
}

fn check_goes_on(directory: &Temporary, count: usize) {
    let store = open(directory).expect("it opens");
    let order = StreamId::new("Order", "order-1");
    let event = vec![NewEvent::new("OrderPaid")];
    store.append(&order, Expected::Any, event).expect("appended");
    store.close().expect("closed");
    let store = open(directory).expect("it opens");
    assert_eq!(store.read_stream("order-1").events().len(), count + 1);
}

#[test]
fn a_file_of_another_program_was_taken_for_a_batch() {
    let (directory, last) = written();
    for name in [
        "1.batch",
        "+0000000000000000002.batch",
        "7.batch",
        "x.batch",
        ".batch",
        "notes.txt",
    ] {
        fs::write(last.with_file_name(name), "not a batch").expect("written");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt as _;
        let name = std::ffi::OsString::from_vec(b"\xff.batch".to_vec());
        fs::write(last.with_file_name(name), "not a batch").expect("written");
    }
    fs::create_dir(last.with_file_name("9.batch")).expect("created");
    let store = open(&directory).expect("it opens");
    assert_eq!(store.read_stream("order-1").events().len(), 3);
    let follower = Store::builder().follow_log(follow(&directory.0).expect("a log"));
    assert_eq!(follower.expect("it follows").visible(), Position(3));
}

#[test]
fn a_file_that_was_cut_or_changed_is_damage_and_named() {
    let (directory, last) = written();
    let whole = fs::read(&last).expect("read");
    let mut changed = whole.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    for damaged in [&whole[..0], &whole[..10], &whole[..whole.len() - 1], &changed[..]] {
        fs::write(&last, damaged).expect("written");
        let error = open(&directory).expect_err("it is damaged");
        assert!(matches!(error, annals::Error::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("3.batch is damaged"), "{error}");
    }
    fs::write(&last, whole).expect("written");
    assert!(open(&directory).is_ok());
}

#[test]
fn a_file_that_is_missing_is_damage() {
    let (directory, last) = written();
    fs::remove_file(last.with_file_name(format!("{:020}.batch", 2))).expect("removed");
    let followed = Store::builder().follow_log(follow(&directory.0).expect("a log"));
    for error in [open(&directory).err(), followed.err()] {
        let error = error.expect("it is missing");
        assert!(matches!(error, annals::Error::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("2.batch"), "{error}");
    }
}
