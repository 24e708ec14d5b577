//! Damaged stores: every damage is named, none is overlooked by opening, and everything else is saved.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::journal::JournalErrorKind;
use annals::journal::file::{self, FileJournal, FileSettings, Repair, Verification};
use annals::{
    Durability, Error, Event, Expected, GapReason, ManualClock, NewEvent, Position, SeededIds, Store, Timestamp,
};

use crate::support::{TempFolder, stream};

/// Positions of the store that is damaged.
const EVENTS: u64 = 602;

fn open_with(folder: &Path, compress: bool) -> annals::Result<Store> {
    let files = FileSettings::default()
        .segment_bytes(4096)
        .preallocate_bytes(0)
        .compress(compress);
    // Every store filled alike has the same segments.
    let builder = Store::builder()
        .clock(Arc::new(ManualClock::at(Timestamp::from_micros(0))))
        .ids(Arc::new(SeededIds::new(7)));
    builder.journal(FileJournal::open_with(folder, files)?).open()
}

fn noted(text: &str) -> NewEvent<'static> {
    NewEvent::new("Noted").data(text.repeat(20))
}

/// A store of several segments; the last has a batch of two frames.
fn fill(folder: &Path) {
    let store = open_with(folder, true).expect("a store");
    // What waits is written: each append is a batch.
    let store = store.with_durability(Durability::Written).expect("a handle");
    for number in 0..200_u32 {
        let batch = ["a", "b", "c"].map(|text| noted(&format!("{text}{number}")));
        let id = format!("note-{}", number % 7);
        store.append(&stream(&id), Expected::Any, batch).expect("appended");
    }
    let large = || NewEvent::new("Large").data(vec![b'x'; 1 << 20]);
    store
        .append(&stream("large"), Expected::Any, vec![large(), large()])
        .expect("appended");
    store.close().expect("closed");
}

fn verify(folder: &Path) -> Verification {
    file::verify(folder, &mut |_, _| {}).expect("the folder can be read")
}

fn repair(folder: &Path, to: &Path) -> Repair {
    file::repair(folder, to, &mut |_, _| {}).expect("repaired")
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort();
    paths
}

fn first_of(segment: &Path) -> u64 {
    let name = segment.file_stem().expect("a name").to_string_lossy().into_owned();
    name.parse().expect("a position")
}

/// Every file and its bytes; nothing of a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("a file").path());
    paths
        .map(|path| (path.clone(), fs::read(&path).unwrap_or_default()))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for (path, bytes) in contents(from) {
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            fs::create_dir(target).expect("a folder");
        } else {
            fs::write(target, bytes).expect("written");
        }
    }
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[offset] ^= 1;
    fs::write(path, bytes).expect("written");
}

fn cut(path: &Path, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("a file");
    file.set_len(length).expect("cut");
}

/// Where the frames of a segment begin.
fn frames(segment: &Path) -> Vec<usize> {
    let bytes = fs::read(segment).expect("a file");
    (64..bytes.len())
        .step_by(8)
        .filter(|at| bytes[*at..].starts_with(b"FRAM"))
        .collect()
}

/// What is done to a store, and what is to be found then.
struct Case {
    name: &'static str,
    /// Does it, given the segments. Answers the number of the segment and the offset where it is to be found.
    harm: fn(&[PathBuf]) -> (usize, u64),
    /// The positions that are lost, given those that the segments begin with.
    lost: fn(&[u64]) -> Runs,
    says: &'static str,
}

/// Runs of positions.
type Runs = Vec<std::ops::RangeInclusive<u64>>;

fn case(
    name: &'static str,
    harm: fn(&[PathBuf]) -> (usize, u64),
    lost: fn(&[u64]) -> Runs,
    says: &'static str,
) -> Case {
    Case { name, harm, lost, says }
}

fn nothing(_: &[u64]) -> Runs {
    Vec::new()
}

fn second_segment(firsts: &[u64]) -> Runs {
    vec![firsts[1]..=firsts[2] - 1]
}

fn cases_of_frames() -> Vec<Case> {
    vec![
        case(
            "a byte of a frame's header",
            |segments| {
                let at = frames(&segments[1])[2];
                flip(&segments[1], at + 9);
                (1, at as u64)
            },
            |firsts| vec![firsts[1] + 6..=firsts[1] + 8],
            "the checksum of a frame's header is wrong",
        ),
        case(
            "a byte of a frame's content",
            |segments| {
                let at = frames(&segments[0])[0];
                flip(&segments[0], at + 70);
                (0, at as u64)
            },
            |_| vec![1..=3],
            "the checksum of a frame is wrong",
        ),
        case(
            "the second frame of a batch",
            |segments| {
                let last = segments.len() - 1;
                let frames = frames(&segments[last]);
                let [.., first, second, _mark] = frames[..] else {
                    panic!("a batch of two frames")
                };
                flip(&segments[last], second + 3);
                (last, first as u64)
            },
            |_| vec![601..=602],
            "there is no frame",
        ),
        case(
            "the first frame of a batch",
            |segments| {
                let last = segments.len() - 1;
                let frames = frames(&segments[last]);
                let [.., first, _, _mark] = frames[..] else {
                    panic!("a batch of two frames")
                };
                flip(&segments[last], first + 3);
                (last, first as u64)
            },
            |_| vec![601..=602],
            "there is no frame",
        ),
        case(
            "garbage behind a segment",
            |segments| {
                let mut bytes = fs::read(&segments[0]).expect("a file");
                let end = bytes.len() as u64;
                bytes.extend_from_slice(&[7; 100]);
                fs::write(&segments[0], bytes).expect("written");
                (0, end)
            },
            nothing,
            "there is no frame",
        ),
    ]
}

fn cases_of_headers() -> Vec<Case> {
    vec![
        case(
            "the header of a segment",
            |segments| {
                flip(&segments[1], 41);
                (1, 0)
            },
            nothing,
            "the checksum of its header is wrong",
        ),
        case(
            "the header of the first segment",
            |segments| {
                flip(&segments[0], 0);
                (0, 0)
            },
            nothing,
            "it is not a segment",
        ),
        case(
            "a segment of zeros",
            |segments| {
                let length = fs::metadata(&segments[1]).expect("a file").len();
                fs::write(&segments[1], vec![0; length as usize]).expect("written");
                (1, 0)
            },
            second_segment,
            "it has no header",
        ),
        case(
            "a segment of another store",
            |segments| {
                let other = TempFolder::new();
                fill(other.path());
                fs::copy(&self::segments(other.path())[1], &segments[1]).expect("copied");
                (1, 0)
            },
            second_segment,
            "it belongs to another store",
        ),
        case(
            "a newer format",
            |segments| {
                let mut bytes = fs::read(&segments[1]).expect("a file");
                bytes[8] = 2;
                let checksum = crc32(&bytes[..60]);
                bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
                fs::write(&segments[1], bytes).expect("written");
                (1, 0)
            },
            second_segment,
            "format version 2",
        ),
    ]
}

fn cases_of_lengths() -> Vec<Case> {
    vec![
        case(
            "a segment cut in a frame",
            |segments| {
                let at = frames(&segments[1])[3] as u64;
                cut(&segments[1], at + 60);
                (1, at)
            },
            |firsts| vec![firsts[1] + 9..=firsts[2] - 1],
            "a frame is truncated",
        ),
        case(
            "a segment cut between frames",
            |segments| {
                let at = frames(&segments[1])[3] as u64;
                cut(&segments[1], at);
                (2, 0)
            },
            |firsts| vec![firsts[1] + 9..=firsts[2] - 1],
            "a segment is missing",
        ),
    ]
}

fn cases_of_names() -> Vec<Case> {
    vec![
        case(
            "a segment removed",
            |segments| {
                fs::remove_file(&segments[1]).expect("removed");
                (2, 0)
            },
            second_segment,
            "a segment is missing",
        ),
        case(
            "the first segment removed",
            |segments| {
                fs::remove_file(&segments[0]).expect("removed");
                (1, 0)
            },
            |firsts| vec![1..=firsts[1] - 1],
            "missing",
        ),
        case(
            "two segments swapped",
            |segments| {
                let aside = segments[0].with_extension("aside");
                fs::rename(&segments[0], &aside).expect("renamed");
                fs::rename(&segments[1], &segments[0]).expect("renamed");
                fs::rename(&aside, &segments[1]).expect("renamed");
                (0, 0)
            },
            nothing,
            "was renamed",
        ),
        case(
            "a segment renamed",
            |segments| {
                fs::rename(
                    &segments[2],
                    segments[2].with_file_name(format!("{:020}.segment", 9_999)),
                )
                .expect("renamed");
                (0, 0)
            },
            nothing,
            "was renamed",
        ),
        case(
            "a folder named like a segment",
            |segments| {
                fs::remove_file(&segments[1]).expect("removed");
                fs::create_dir(&segments[1]).expect("a folder");
                (1, 0)
            },
            second_segment,
            "directory",
        ),
    ]
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |value: u32, _| {
        if value & 1 == 1 {
            0xedb8_8320 ^ (value >> 1)
        } else {
            value >> 1
        }
    };
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

fn by_position(store: &Store) -> BTreeMap<u64, Event> {
    let events = store.read_all().events();
    events.into_iter().map(|event| (event.position().0, event)).collect()
}

fn check(case: &Case) {
    let (folder, copied, new) = (TempFolder::new(), TempFolder::new(), TempFolder::new());
    fill(folder.path());
    let whole = by_position(&open_with(folder.path(), true).expect("a store"));
    let before = segments(folder.path());
    let firsts: Vec<_> = before.iter().map(|path| first_of(path)).collect();
    assert!(firsts.len() > 3 && whole.len() as u64 == EVENTS);
    let (segment, offset) = (case.harm)(&before);
    let lost: Vec<u64> = (case.lost)(&firsts).into_iter().flatten().collect();
    let harmed = contents(folder.path());

    let found = verify(folder.path());
    let named = found.damage.iter().any(|damage| {
        (case.name == "a segment renamed" || damage.file == before[segment])
            && damage.offset == offset
            && damage.what.contains(case.says)
    });
    assert!(named, "{}: {found:#?}", case.name);
    assert_eq!(found.positions_lost, lost.len() as u64, "{}: {found:#?}", case.name);
    copy(folder.path(), copied.path());
    let refusal = open_with(copied.path(), false).expect_err(case.name).to_string();
    assert!(refusal.contains(case.says), "{}: {refusal}", case.name);
    assert_eq!(verify(copied.path()).damage.len(), found.damage.len(), "{}", case.name);

    let to = new.path().join("repaired");
    let repaired = repair(folder.path(), &to);
    assert_eq!(contents(folder.path()), harmed, "{}", case.name);
    assert_eq!(repaired.found, found, "{}", case.name);
    assert_eq!(repaired.positions_lost, lost.len() as u64, "{}", case.name);
    let store = open_with(&to, false).expect(case.name);
    let expected: BTreeMap<_, _> = whole
        .into_iter()
        .filter(|(position, _)| !lost.contains(position))
        .collect();
    assert!(by_position(&store) == expected, "{}", case.name);
    let gone: u64 = store
        .gaps()
        .iter()
        .filter(|gap| gap.reason == GapReason::Lost)
        .map(|gap| gap.count)
        .sum();
    assert_eq!(gone, lost.len() as u64, "{}", case.name);
    let next = store
        .append(&stream("note-1"), Expected::Any, vec![noted("x")])
        .expect("appended");
    assert_eq!(next.first_position, Position(EVENTS + 1), "{}", case.name);
    drop(store);
    assert!(verify(&to).damage.is_empty(), "{}", case.name);
}

#[test]
#[cfg(feature = "lz4")]
fn every_damage_is_named_and_everything_else_saved() {
    let cases = [
        cases_of_frames(),
        cases_of_headers(),
        cases_of_lengths(),
        cases_of_names(),
    ];
    cases.iter().flatten().for_each(check);
}

#[test]
fn several_damages_are_all_found() {
    let (folder, new) = (TempFolder::new(), TempFolder::new());
    fill(folder.path());
    let segments = segments(folder.path());
    flip(&segments[0], frames(&segments[0])[1] + 60);
    flip(&segments[1], 20);
    flip(&segments[2], frames(&segments[2])[0] + 2);
    fs::write(folder.path().join("notes.txt"), "no segment").expect("written");
    let found = verify(folder.path());
    assert_eq!(found.damage.len(), 3, "{found:#?}");
    assert_eq!(found.positions_lost, 6);
    let to = new.path().join("a");
    let again = new.path().join("b");
    repair(folder.path(), &to);
    let first = self::segments(&to).remove(0);
    flip(&first, frames(&first)[0] + 60);
    assert_eq!(
        repair(&to, &again).positions_lost,
        3,
        "a repaired store is repaired as any other"
    );
    let store = open_with(&again, false).expect("a store");
    assert_eq!(store.gaps().iter().map(|gap| gap.count).sum::<u64>(), 9);
    assert_eq!(store.visible(), Position(EVENTS));
}

#[test]
fn a_torn_end_is_no_damage() {
    let folder = TempFolder::new();
    fill(folder.path());
    // The mark and the head that closing leaves say that everything is safe: without them, the last batch may be torn.
    fs::remove_file(folder.path().join("head")).expect("removed");
    let last = segments(folder.path()).pop().expect("a segment");
    let mark = frames(&last).pop().expect("a mark");
    cut(&last, mark as u64 - 9);
    let found = verify(folder.path());
    assert_eq!((found.damage.len(), found.position), (0, Position(600)), "{found:#?}");
    assert!(found.torn_tail_bytes > 0);
    let new = TempFolder::new();
    let repaired = repair(folder.path(), new.path());
    assert_eq!((repaired.events_saved, repaired.positions_lost), (600, 0));
    let store = open_with(folder.path(), false).expect("a store");
    assert_eq!(store.recovery().torn_tail_bytes, found.torn_tail_bytes);
}

#[test]
fn an_open_store_is_neither_verified_nor_repaired() {
    let (folder, new) = (TempFolder::new(), TempFolder::new());
    let store = open_with(folder.path(), false).expect("a store");
    let refused = file::verify(folder.path(), &mut |_, _| {}).expect_err("it is open");
    assert_eq!(refused.kind(), JournalErrorKind::Locked);
    assert!(
        refused.to_string().contains("open in this process already"),
        "{refused}"
    );
    let refused = file::repair(folder.path(), new.path(), &mut |_, _| {}).expect_err("it is open");
    assert_eq!(refused.kind(), JournalErrorKind::Locked);
    drop(store);
    assert!(verify(folder.path()).damage.is_empty());
}

#[test]
fn nothing_is_written_to_a_folder_that_is_verified() {
    let folder = TempFolder::new();
    fill(folder.path());
    fs::remove_file(folder.path().join("lock")).expect("removed");
    let before = contents(folder.path());
    assert_eq!(verify(folder.path()).events, EVENTS);
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn a_repaired_store_takes_nobodys_place() {
    let (folder, new) = (TempFolder::new(), TempFolder::new());
    fill(folder.path());
    let refused = |to: &Path| {
        let error = file::repair(folder.path(), to, &mut |_, _| {}).expect_err("refused");
        assert_eq!(error.kind(), JournalErrorKind::Unsupported);
        error.to_string()
    };
    assert!(refused(folder.path()).contains("not empty"));
    assert!(refused(&folder.path().join("within")).contains("inside the damaged directory"));
    let to = new.path().join("store");
    fs::create_dir(new.path().join("store.part")).expect("a folder");
    assert!(refused(&to).contains("remove the directory"));
    fs::remove_dir(new.path().join("store.part")).expect("removed");
    assert_eq!(repair(folder.path(), &to).events_saved, EVENTS);
    assert!(refused(&to).contains("not empty"));
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    let folder = TempFolder::new();
    assert_eq!(verify(folder.path()), Verification::default());
    let missing = file::verify(folder.path().join("nowhere"), &mut |_, _| {});
    assert_eq!(missing.map_err(|error| error.kind()), Err(JournalErrorKind::Retry));
    let error = Error::from(file::verify(folder.path().join("nowhere"), &mut |_, _| {}).expect_err("none"));
    assert!(error.to_string().contains("nowhere"), "{error}");
}
