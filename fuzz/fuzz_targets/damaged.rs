//! What must hold of any files whatever: nothing panics, and verifying, opening and repairing agree.

use std::sync::Arc;

use annals::journal::JournalErrorKind;
use annals::journal::file::{self, Disk, FileJournal, FileSettings};
use annals::testing::disk::SimulatedDisk;
use annals::{Error, GapReason, Result, Settings, Store};

/// Files by their names.
pub type Files = Vec<(String, Vec<u8>)>;

pub fn segment_name(first: u64) -> String {
    format!("{first:020}.segment")
}

fn disk_of(files: &Files) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    for (name, bytes) in files {
        disk.put(name, bytes);
    }
    disk
}

fn open(disk: &SimulatedDisk) -> Result<Store> {
    let journal = FileJournal::on(Arc::new(disk.clone()), FileSettings::default())?;
    let settings = Settings::default().shards(1);
    Store::builder()
        .settings(settings)
        .journal(journal)
        .journal_by_hand()
        .open()
}

pub fn check(files: &Files) {
    let disk = disk_of(files);
    let found = file::verify_on(&disk, &mut |_, _| {}).expect("a simulated disk can be read");
    match open(&disk_of(files)) {
        Ok(store) => {
            assert!(found.damage.is_empty(), "{found:?}");
            assert_eq!(store.visible(), found.position);
            assert_eq!(store.recovery().torn_tail_bytes, found.torn_tail_bytes);
        }
        // More positions are gone than this program can skip: no damage, and not to be opened.
        Err(Error::Invalid { message }) => assert!(message.contains("do not fit into memory"), "{message}"),
        Err(error) => assert!(!found.damage.is_empty(), "{error}"),
    }
    let to = SimulatedDisk::new();
    match file::repair_on(&disk, Arc::new(to.clone()), &mut |_, _| {}) {
        Ok(repair) => {
            assert_eq!(repair.found, found);
            assert_eq!(repair.events_saved, found.events);
            to.kill();
            let store = open(&to).expect("a repaired store opens");
            assert_eq!(store.visible(), repair.position);
            let gaps = store.gaps().into_iter().filter(|gap| gap.reason == GapReason::Lost);
            assert!(gaps.map(|gap| gap.count).sum::<u64>() >= repair.positions_lost);
        }
        Err(error) => assert_eq!(error.kind(), JournalErrorKind::Unsupported, "{error}"),
    }
    let names = disk.names().expect("a simulated disk can be read");
    assert_eq!(
        names.len(),
        files
            .iter()
            .map(|(name, _)| name)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    );
    for (name, _) in files {
        let last = files.iter().rev().find(|(other, _)| other == name);
        assert_eq!(
            disk.bytes(name).as_ref(),
            last.map(|(_, bytes)| bytes),
            "a damaged store was written to"
        );
    }
}
