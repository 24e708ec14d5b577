//! New folders, of repairs and archives: where the path leads, as private as what was there, and refused before any work is done.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use annals::journal::JournalErrorKind;
use annals::journal::file::{self, ArchiveWriter, FileJournal};
use annals::{Error, Expected, NewEvent, Store, Timestamp};

use crate::support::{TempFolder, stream};

/// A store with three events.
fn fill(folder: &Path) {
    let store = Store::open(FileJournal::open(folder).expect("a folder")).expect("a store");
    for _ in 0..3 {
        let noted = vec![NewEvent::new("Noted")];
        store.append(&stream("a"), Expected::Any, noted).expect("appended");
    }
    store.close().expect("closed");
}

type Make = fn(&Path, &Path) -> std::result::Result<(), JournalErrorKind>;

/// What makes a new folder of a store.
const MAKERS: [(&str, Make); 2] = [
    ("repair", |from, to| {
        let repaired = file::repair(from, to, &mut |_, _| {});
        repaired.map(|_| ()).map_err(|error| error.kind())
    }),
    ("archive", |from, to| {
        let store = Store::open(FileJournal::open(from).expect("a folder")).expect("a store");
        let mut archive = ArchiveWriter::create(to).map_err(|error| error.kind())?;
        let saved = store.archive(Timestamp::MAX, "all", |outdated| {
            outdated.try_for_each(|event| archive.push(event).map_err(Error::from))
        });
        saved.expect("saved");
        archive.finish().map(drop).map_err(|error| error.kind())
    }),
];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a folder").permissions().mode() & 0o7777
}

fn assert_whole(folder: &Path, what: &str) {
    let found = file::verify(folder, &mut |_, _| {}).expect(what);
    assert_eq!((found.damage.len(), found.events), (0, 3), "{what}");
}

#[test]
fn a_private_folder_became_readable_to_all() {
    for (maker, make) in MAKERS {
        for private in [0o700, 0o750, 0o770] {
            let temp = TempFolder::new();
            let [from, to]: [PathBuf; 2] = ["store", "to"].map(|name| temp.path().join(name));
            fill(&from);
            fs::create_dir(&to).expect("made");
            fs::set_permissions(&to, Permissions::from_mode(private)).expect("set");
            make(&from, &to).expect(maker);
            assert_eq!(mode(&to), private, "{maker}");
            assert_whole(&to, maker);
        }
    }
}

#[test]
fn a_new_store_was_lost_where_its_folder_was_a_link() {
    type Lead = (&'static str, fn(&Path) -> PathBuf);
    let paths: [Lead; 4] = [
        ("a link", |temp| {
            symlink(temp.join("to"), temp.join("link")).expect("linked");
            temp.join("link")
        }),
        ("a link to a link", |temp| {
            symlink("second", temp.join("link")).expect("linked");
            symlink("to", temp.join("second")).expect("linked");
            temp.join("link")
        }),
        ("a dot behind it", |temp| temp.join("to/.")),
        ("there and back", |temp| temp.join("to/../to")),
    ];
    for (maker, make) in MAKERS {
        for (what, path) in paths {
            let temp = TempFolder::new();
            let [from, to]: [PathBuf; 2] = ["store", "to"].map(|name| temp.path().join(name));
            fill(&from);
            fs::create_dir(&to).expect("made");
            make(&from, &path(temp.path())).unwrap_or_else(|kind| panic!("{maker}, {what}: {kind:?}"));
            assert_whole(&to, what);
            assert!(!temp.path().join("to.part").exists(), "{maker}, {what}");
        }
    }
}

#[test]
fn a_link_that_leads_nowhere_was_refused_after_the_work() {
    for (maker, make) in MAKERS {
        let temp = TempFolder::new();
        let [from, to]: [PathBuf; 2] = ["store", "to"].map(|name| temp.path().join(name));
        fill(&from);
        for target in ["nowhere", "to"] {
            symlink(target, &to).expect("linked");
            let refused = make(&from, &to);
            assert_eq!(refused, Err(JournalErrorKind::Unsupported), "{maker}");
            assert!(!temp.path().join("to.part").exists(), "{maker}");
            fs::remove_file(&to).expect("removed");
        }
    }
}

#[test]
fn what_another_had_begun_was_removed() {
    let temp = TempFolder::new();
    let [from, to]: [PathBuf; 2] = ["store", "to"].map(|name| temp.path().join(name));
    fill(&from);
    for (maker, make) in MAKERS {
        let first = ArchiveWriter::create(&to).expect("begun");
        let second = make(&from, &to);
        assert_eq!(second, Err(JournalErrorKind::Unsupported), "{maker}");
        assert_eq!(first.finish().expect("finished"), 0);
        fs::remove_dir_all(&to).expect("removed");
        // A link in the place of the part that leads nowhere is another's too.
        symlink("nowhere", temp.path().join("to.part")).expect("linked");
        assert_eq!(make(&from, &to), Err(JournalErrorKind::Unsupported), "{maker}");
        fs::remove_file(temp.path().join("to.part")).expect("removed");
    }
}
