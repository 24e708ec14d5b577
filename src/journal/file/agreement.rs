//! Opening and verifying judge by one rule where reading may stop: any frames whose checksums are right, in any order, cut anywhere.

use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::format::{BatchPart, FrameHeader, SegmentHeader};
use super::{FileJournal, FileSettings, segments, verify_on};
use crate::journal::Journal as _;
use crate::testing::disk::SimulatedDisk;

const STORE: Uuid = Uuid::from_u128(7);

/// A frame without events, whatever else it says.
#[derive(Clone, Copy, Debug)]
struct Frame {
    part: BatchPart,
    events: u32,
    /// Added to the position that should come.
    ahead: u64,
    synced: u64,
}

fn segment(frames: &[Frame], cut: usize) -> Vec<u8> {
    let header = SegmentHeader {
        store: STORE,
        first: 1,
        created: 0,
    };
    let mut bytes = header.encode().to_vec();
    let mut position = 1;
    for frame in frames {
        // An empty list of kinds.
        let content = [0];
        let first = position + frame.ahead;
        let last = first + u64::from(frame.events) - 1;
        let header = FrameHeader {
            part: frame.part,
            compressed: false,
            sparse: false,
            stored_bytes: 1,
            raw_bytes: 1,
            events: frame.events,
            checksum: crc32fast::hash(&content),
            first: if frame.events == 0 { last } else { first },
            last,
            synced: frame.synced,
        };
        bytes.extend(header.encode(STORE));
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        position = last + 1;
    }
    bytes.truncate(bytes.len() - cut.min(bytes.len() - 64));
    bytes
}

/// Panics unless opening and verifying agree on a folder with this segment.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let disk = SimulatedDisk::new();
    disk.put(&segments::name_of(1), bytes);
    let found = verify_on(&disk, &mut |_, _| {}).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let opened = FileJournal::on(Arc::new(disk), FileSettings::default())
        .and_then(|mut journal| journal.recover(&mut super::archive::Nothing));
    match opened {
        Ok(recovered) => {
            prop_assert!(found.damage.is_empty(), "it opens: {found:?}");
            prop_assert_eq!(recovered.torn_tail_bytes, found.torn_tail_bytes);
        }
        Err(error) => prop_assert!(!found.damage.is_empty(), "verify finds nothing: {error}"),
    }
    Ok(())
}

fn frame(part: BatchPart, events: u32, synced: u64) -> Frame {
    Frame {
        part,
        events,
        ahead: 0,
        synced,
    }
}

/// Found by fuzzing: a mark promised position 1, and the batch that should have had it was cut off.
#[test]
fn a_store_opened_where_verify_found_damage() {
    use BatchPart::{First, Whole};
    for frames in [
        &[frame(Whole, 0, 1), frame(First, 247, 0)][..],
        &[frame(Whole, 0, 1), frame(Whole, 0, 0)],
        &[frame(Whole, 0, 9), frame(First, 0, 0)],
        &[frame(First, 0, 3), frame(First, 0, 0)],
    ] {
        for cut in [0, 8, 40] {
            check(&segment(frames, cut)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn opening_and_verifying_agree(
        frames in prop::collection::vec(
            (0_usize..4, prop::sample::select(vec![0_u32, 0, 0, 1, 3]), 0_u64..2, 0_u64..4),
            0..6,
        ),
        cut in prop::option::of(0_usize..200),
    ) {
        let parts = [BatchPart::Whole, BatchPart::First, BatchPart::Middle, BatchPart::Last];
        let frames: Vec<_> = frames
            .into_iter()
            .map(|(part, events, ahead, synced)| Frame { part: parts[part], events, ahead, synced })
            .collect();
        check(&segment(&frames, cut.unwrap_or(0)))?;
    }
}
