//! Bytes of a journal's files that are changed with every checksum made right again, and logs that are written while a chain is made.

use std::path::{Path, PathBuf};
use std::thread;

use annals::cqrs::audit::{AuditChain, VerifyError};
use annals::journal::file::FileJournal;
use annals::{Expected, NewEvent, Position, Store};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::{head, key, rich, verify};
use crate::support::{START, TempFolder, stream};

const SEGMENT_HEADER: usize = 64;
const FRAME_HEADER: usize = 56;

fn open(folder: &Path) -> annals::Result<Store> {
    Store::builder().read_only().journal(FileJournal::open(folder)?).open()
}

fn segment(folder: &Path) -> PathBuf {
    folder.join("00000000000000000001.segment")
}

fn number(bytes: &[u8], at: usize) -> usize {
    let four = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(four) as usize
}

/// The offset of each frame with events, and the bytes of its content.
fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut frames) = (SEGMENT_HEADER, Vec::new());
    while bytes.get(at..at + 4) == Some(b"FRAM") {
        let length = number(bytes, at + 8);
        if number(bytes, at + 16) > 0 {
            frames.push((at, length));
        }
        at = (at + FRAME_HEADER + length).next_multiple_of(8);
    }
    frames
}

/// Makes the checksums of a frame right, as docs/file-format.md describes them.
fn seal(bytes: &mut [u8], at: usize, length: usize) {
    let content = at + FRAME_HEADER;
    let sum = crc32(&[&bytes[content..content + length]]);
    bytes[at + 20..at + 24].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32(&[&bytes[16..32], &bytes[at..at + 52]]);
    bytes[at + 52..at + 56].copy_from_slice(&sum.to_le_bytes());
}

fn crc32(parts: &[&[u8]]) -> u32 {
    let mut sum = u32::MAX;
    for byte in parts.concat() {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

/// The frame that has a byte of all contents, and the offset of the byte in the file.
fn locate(frames: &[(usize, usize)], mut place: usize) -> (usize, usize, usize) {
    for (at, length) in frames {
        if place < *length {
            return (*at, *length, at + FRAME_HEADER + place);
        }
        place -= length;
    }
    panic!("byte {place} is beyond the contents");
}

#[test]
fn a_byte_that_was_changed_on_the_disk_with_its_checksums_was_not_seen() {
    let folder = TempFolder::new();
    let store = Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
    rich(&store, 60);
    let head = head(&store);
    store.close().expect("closed");
    drop(store);
    let whole = std::fs::read(segment(folder.path())).expect("a segment");
    let frames = frames(&whole);
    let contents: usize = frames.iter().map(|(_, length)| length).sum();
    assert!(
        !frames.is_empty() && contents > 5_000,
        "{contents} bytes in {} frames",
        frames.len()
    );

    // Sealed again without a change, it is the same file.
    let mut same = whole.clone();
    for (at, length) in &frames {
        seal(&mut same, *at, *length);
    }
    assert!(same == whole);
    verify(&open(folder.path()).expect("a store"), &head).expect("nothing is changed");

    let (mut found, mut refused) = (0, 0);
    let (inputs, mut runner) = ((0..contents, 1..=u8::MAX), TestRunner::default());
    for _ in 0..1_000 {
        let (place, by) = inputs.new_tree(&mut runner).expect("a value").current();
        let (at, length, offset) = locate(&frames, place);
        let mut bytes = whole.clone();
        bytes[offset] ^= by;
        seal(&mut bytes, at, length);
        std::fs::write(segment(folder.path()), &bytes).expect("written");
        if let Ok(store) = open(folder.path()) {
            assert!(verify(&store, &head).is_err(), "byte {offset} changed by {by}");
            found += 1;
        } else {
            refused += 1;
        }
    }
    assert!(found > 500, "{found} found, {refused} refused by recovery");
}

#[test]
fn a_chain_that_is_made_while_others_append_had_other_links() {
    let store = Store::in_memory();
    let writers: Vec<_> = (0..3)
        .map(|number| {
            let store = store.clone();
            thread::spawn(move || {
                for _ in 0..2_000 {
                    let event = NewEvent::new("Noted").data("{\"a\":1}").user("anna");
                    let to = stream(&format!("a-{number}"));
                    store.append(&to, Expected::Any, vec![event]).expect("appended");
                }
            })
        })
        .collect();
    let (mut chain, mut heads) = (AuditChain::new(), Vec::new());
    while chain.count() < 6_000 {
        chain.read(&store).expect("nothing is dropped");
        if heads.len() < 50 {
            heads.push(chain.head(&key(), START));
        }
        store.wait_visible(Position((chain.position().0 + 1).min(6_000)));
    }
    for writer in writers {
        writer.join().expect("it ends");
    }
    assert_eq!(chain.head(&key(), START), head(&store));
    for head in &heads {
        verify(&store, head).expect("each head is a prefix");
    }
}

#[test]
fn events_that_a_budget_dropped_while_a_chain_was_made_were_left_out() {
    let store = crate::support::keeping(3_000);
    let writer = {
        let store = store.clone();
        thread::spawn(move || {
            for _ in 0..200 {
                crate::support::fill(&store, "a", 100);
            }
        })
    };
    // A chain that comes too late says so; one that does not has every event.
    let (mut chain, mut crossed) = (AuditChain::new(), 0);
    while chain.position().0 < 20_000 {
        match chain.read(&store) {
            Ok(()) => assert_eq!(chain.count(), chain.position().0),
            Err(VerifyError::Crossed { after, gap }) => {
                assert!(gap.last > after, "{gap}");
                crossed += 1;
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    writer.join().expect("it ends");
    assert!(crossed == 1 || chain.count() == 20_000);
}
