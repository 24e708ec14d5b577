//! Backups of stores in files, also of damaged ones and on disks that fail.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use annals::journal::file::{
    Backup, BackupEnd, BackupError, Disk as _, FileJournal, FileReader, FileSettings, Folder, back_up, verify_on,
    verify_open,
};
use annals::testing::disk::{Fault, SimulatedDisk};
use annals::{Clock, Durability, Event, Expected, ManualClock, Position, Store};

use crate::support::{START, TempFolder, events, stream};

/// Appends of three events each; each is a batch.
const APPENDS: u64 = 40;
const SECOND: Duration = Duration::from_secs(1);

/// A store of several segments, whose appends are a second apart, the first at `START`.
fn filled() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    fill(&disk).close().expect("closed");
    disk
}

/// The same, still open.
fn fill(disk: &SimulatedDisk) -> Store {
    let clock = Arc::new(ManualClock::at(START));
    let settings = FileSettings::default()
        .segment_bytes(4096)
        .preallocate_bytes(0)
        .compress(false);
    let journal = FileJournal::on(Arc::new(disk.clone()), settings).expect("a journal");
    let builder = Store::builder()
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .journal(journal);
    let store = builder.open().expect("a store");
    let store = store.with_durability(Durability::Synced).expect("a handle");
    for number in 0..APPENDS {
        let id = format!("a-{}", number % 3);
        store.append(&stream(&id), Expected::Any, events(3)).expect("appended");
        clock.advance(SECOND);
    }
    store
}

fn copy(from: &SimulatedDisk, end: BackupEnd) -> (Result<Backup, BackupError>, SimulatedDisk) {
    let to = SimulatedDisk::new();
    let backup = back_up(from, Arc::new(to.clone()), end, &mut |_, _| ControlFlow::Continue(()));
    (backup, to)
}

/// The events of a store, which must have no damage.
fn read(disk: &SimulatedDisk) -> Vec<Event> {
    let found = verify_on(disk, &mut |_, _| {}).expect("it can be read");
    assert_eq!(found.damage, []);
    let journal = FileReader::on(Arc::new(disk.clone())).expect("a reader");
    let store = Store::builder().journal(journal).read_only().open().expect("it opens");
    store.read_all().events()
}

#[test]
fn a_backup_ends_behind_the_last_append_up_to_a_position() {
    let store = filled();
    let all = read(&store);
    for position in 0..=3 * APPENDS + 1 {
        let (backup, to) = copy(&store, BackupEnd::Position(Position(position)));
        let last = (position / 3 * 3).min(3 * APPENDS);
        if last == 0 {
            assert!(matches!(backup, Err(BackupError::NothingBefore { .. })), "{backup:?}");
            continue;
        }
        assert_eq!(backup.expect("a backup").last, Position(last), "to {position}");
        assert_eq!(read(&to), all[..last as usize], "to {position}");
    }
}

#[test]
fn a_backup_ends_before_what_was_recorded_later() {
    let store = filled();
    for seconds in 0..APPENDS {
        let time = START.after(SECOND * u32::try_from(seconds).expect("a small number"));
        let (backup, to) = copy(&store, BackupEnd::Time(time));
        assert_eq!(backup.expect("a backup").last, Position(3 * (seconds + 1)));
        assert!(read(&to).iter().all(|event| event.recorded_at() <= time));
    }
    let (backup, _) = copy(&store, BackupEnd::Time(START.before(SECOND)));
    assert!(matches!(backup, Err(BackupError::NothingBefore { .. })), "{backup:?}");
}

fn last_segment(disk: &SimulatedDisk) -> String {
    let names = disk.names().expect("names").into_iter();
    names
        .filter(|name| name.ends_with(".segment"))
        .max()
        .expect("a segment")
}

/// A disk with the same files.
fn duplicate(disk: &SimulatedDisk) -> SimulatedDisk {
    let duplicate = SimulatedDisk::new();
    for name in disk.names().expect("names") {
        duplicate.put(&name, &disk.bytes(&name).expect("a file"));
    }
    duplicate
}

#[test]
fn a_flipped_bit_is_in_no_backup() {
    let whole = filled();
    let all = read(&whole);
    for name in whole.names().expect("names").iter().filter(|name| *name != "lock") {
        let length = whole.bytes(name).expect("a file").len();
        for offset in (0..length).step_by(37) {
            let store = duplicate(&whole);
            assert!(store.flip(name, offset));
            let (backup, to) = copy(&store, BackupEnd::Store);
            match backup {
                // The byte is padding, or is in the head, which a backup writes itself.
                Ok(_) => assert_eq!(read(&to), all, "{name} at byte {offset}"),
                Err(BackupError::Damaged { .. }) => {}
                Err(other) => panic!("{name} at byte {offset}: {other}"),
            }
        }
    }
}

#[test]
fn a_backup_of_an_open_store_ended_before_damage_that_verify_finds() {
    let open = SimulatedDisk::new();
    let store = fill(&open);
    let last = last_segment(&open);
    let mut damaged = 0;
    for offset in 0..open.bytes(&last).expect("a file").len() {
        let disk = duplicate(&open);
        assert!(disk.flip(&last, offset));
        let found = verify_on(&disk, &mut |_, _| {}).expect("it can be read");
        let (backup, _) = copy(&disk, BackupEnd::Store);
        if !found.damage.is_empty() {
            damaged += 1;
            let is_found = matches!(backup, Err(BackupError::Damaged { .. }));
            assert!(is_found, "byte {offset}: {backup:?}");
            assert!(matches!(check_open(&disk), Err(BackupError::Damaged { .. })));
        }
    }
    assert!(damaged > 100, "{damaged} bytes");
    store.close().expect("closed");
}

#[test]
fn damage_behind_its_end_stops_no_backup() {
    let open = SimulatedDisk::new();
    let store = fill(&open);
    let last = last_segment(&open);
    let first: u64 = last.split('.').next().expect("a name").parse().expect("a position");
    let length = open.bytes(&last).expect("a file").len();
    assert!(open.flip(&last, length * 3 / 4));
    assert!(matches!(
        copy(&open, BackupEnd::Store).0,
        Err(BackupError::Damaged { .. })
    ));
    let end = Position(first + 2);
    let (backup, to) = copy(&open, BackupEnd::Position(end));
    assert_eq!(backup.expect("a backup").last, end);
    assert_eq!(read(&to).len() as u64, end.0);
    store.close().expect("closed");
}

#[test]
fn a_failure_of_the_target_is_named() {
    let store = filled();
    for call in 1.. {
        let to = SimulatedDisk::new();
        to.fail(call, Fault::Full);
        match back_up(&store, Arc::new(to), BackupEnd::Store, &mut |_, _| {
            ControlFlow::Continue(())
        }) {
            Err(BackupError::Write { path, .. }) => assert!(path.starts_with("simulated"), "{}", path.display()),
            other => {
                assert_eq!(other.expect("a backup").last, Position(3 * APPENDS));
                assert!(call > 10, "the disk has failed at no call");
                return;
            }
        }
    }
}

#[test]
fn a_backup_stops_when_it_is_told_to() {
    let store = filled();
    let mut calls = 0;
    let mut stop_at_third = |done, total| {
        assert!(done <= total);
        calls += 1;
        if calls == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let backup = back_up(
        &store,
        Arc::new(SimulatedDisk::new()),
        BackupEnd::Store,
        &mut stop_at_third,
    );
    assert!(matches!(backup, Err(BackupError::Stopped)), "{backup:?}");
    assert_eq!(calls, 3);
}

#[test]
fn a_store_without_a_segment_is_not_backed_up() {
    let (backup, _) = copy(&SimulatedDisk::new(), BackupEnd::Store);
    assert!(matches!(backup, Err(BackupError::Empty { .. })), "{backup:?}");
}

#[test]
fn a_target_with_a_store_was_mixed_with_the_copy() {
    let store = filled();
    for name in store.names().expect("names").iter().filter(|name| *name != "lock") {
        let to = SimulatedDisk::new();
        // A segment behind all of the store's, or its head.
        let other = if name == "head" {
            "head"
        } else {
            "00000000000000009999.segment"
        };
        to.put(other, &store.bytes(name).expect("a file"));
        let backup = back_up(&store, Arc::new(to.clone()), BackupEnd::Store, &mut |_, _| {
            ControlFlow::Continue(())
        });
        let is_refused =
            matches!(&backup, Err(BackupError::Write { source, .. }) if source.kind() == ErrorKind::AlreadyExists);
        assert!(is_refused, "{backup:?}");
        assert_eq!(to.names().expect("names"), [other]);
    }
}

#[test]
fn a_segment_that_was_renamed_was_copied() {
    let whole = filled();
    let names = whole.names().expect("names");
    for renamed in names.iter().filter(|name| name.ends_with(".segment")) {
        let store = SimulatedDisk::new();
        for name in &names {
            let first = renamed.trim_end_matches(".segment").parse::<u64>().expect("a position");
            let new = format!("{:020}.segment", first + 1);
            store.put(
                if name == renamed { &new } else { name },
                &whole.bytes(name).expect("a file"),
            );
        }
        let (backup, _) = copy(&store, BackupEnd::Store);
        assert!(
            matches!(backup, Err(BackupError::Damaged { .. })),
            "{renamed}: {backup:?}"
        );
    }
}

fn check_open(disk: &dyn annals::journal::file::Disk) -> Result<Position, BackupError> {
    Ok(verify_open(disk, &mut |_, _| ControlFlow::Continue(()))?.last)
}

#[test]
fn a_store_is_verified_while_it_is_written() {
    let folder = TempFolder::new();
    let store = Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
    let disk = Folder::existing(folder.path()).expect("it exists");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..2_000 {
                let stream = stream(&format!("a-{}", number % 7));
                store.append(&stream, Expected::Any, events(2)).expect("appended");
            }
        });
        while !writer.is_finished() {
            let before = store.reached(Durability::Written);
            match check_open(&disk) {
                Ok(checked) => assert!(before <= checked, "{before} {checked}"),
                Err(error) => assert!(matches!(error, BackupError::Empty { .. }), "{error}"),
            }
        }
    });
    store.wait_durable(store.visible()).expect("durable");
    assert_eq!(check_open(&disk).expect("no damage"), store.visible());
}

#[test]
fn a_changed_byte_of_a_sealed_segment_is_found_while_the_store_is_open() {
    let names = filled().names().expect("names");
    let sealed: Vec<_> = names.iter().filter(|name| name.ends_with(".segment")).collect();
    let (_, sealed) = sealed.split_last().expect("there are segments");
    assert!(!sealed.is_empty(), "{names:?}");
    for name in sealed {
        let length = filled().bytes(name).expect("a file").len();
        // In the header of the segment, within a frame, and in the content of the last one, which at most 7 bytes of padding follow.
        for offset in [8, length / 2, length - 9] {
            let disk = filled();
            assert!(check_open(&disk).is_ok());
            assert!(disk.flip(name, offset));
            let error = check_open(&disk).expect_err("it is damaged");
            assert!(
                matches!(&error, BackupError::Damaged { what, .. } if what.contains(*name)),
                "{error}"
            );
        }
    }
}
