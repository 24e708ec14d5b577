//! A small store to which anything is done: bytes changed, files cut, removed, renamed, doubled, appended to.
#![no_main]

mod damaged;

use std::sync::{Arc, LazyLock};

use annals::journal::file::{Disk, FileJournal, FileSettings};
use annals::testing::disk::SimulatedDisk;
use annals::{Expected, ManualClock, NewEvent, SeededIds, Store, StreamId, Timestamp, Version};
use damaged::{Files, check, segment_name};
use libfuzzer_sys::fuzz_target;

/// Zeros that are left behind the last segment.
const ROOM_BYTES: usize = 1024;

/// Four segments: appends of two events, some of them dropped again, and their room given back in the first two. Only the id of the store differs from run to run.
static WHOLE: LazyLock<Files> = LazyLock::new(|| {
    let disk = SimulatedDisk::new();
    let settings = FileSettings::default().segment_bytes(4096);
    let store = Store::builder()
        .clock(Arc::new(ManualClock::at(Timestamp::from_micros(0))))
        .ids(Arc::new(SeededIds::new(1)))
        .journal(FileJournal::on(Arc::new(disk.clone()), settings).expect("a journal"))
        .journal_by_hand()
        .open()
        .expect("a store");
    for number in 0..48 {
        let stream = StreamId::new("Order", format!("order-{}", number % 5));
        let events = vec![
            NewEvent::new("Placed").tag("a").data("{}"),
            NewEvent::new("Paid").user("anna"),
        ];
        store.append(&stream, Expected::Any, events).expect("appended");
        if number % 16 == 0 {
            store.truncate_before("order-0", Version(2)).expect("truncated");
        }
        store.wait_durable(store.visible()).expect("durable");
        if number == 30 {
            store.delete("order-1", Expected::Any).expect("deleted");
            store.compact_journal().expect("compacted");
        }
    }
    store.close().expect("closed");
    let names = disk.names().expect("names").into_iter();
    names
        .filter_map(|name| Some((name.clone(), without_most_zeros(disk.bytes(&name)?))))
        .collect()
});

/// The last segment has a megabyte of room, all zeros, most of which says nothing and takes most of the time.
fn without_most_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(end + ROOM_BYTES);
    bytes
}

fn harm(files: &mut Files, step: [u8; 5]) {
    if files.is_empty() {
        return;
    }
    let [what, which, low, high, value] = step;
    let (place, count) = (usize::from(which) % files.len(), files.len());
    let number = usize::from(u16::from_le_bytes([low, high]));
    let (_, bytes) = &mut files[place];
    let offset = number % (bytes.len() + 1);
    match what % 8 {
        0..=2 => bytes
            .iter_mut()
            .skip(offset)
            .take(1)
            .for_each(|byte| *byte ^= value | 1),
        3 => bytes.truncate(offset),
        4 => bytes.extend(std::iter::repeat_n(value, number % 4096)),
        5 => bytes.iter_mut().skip(offset).take(512).for_each(|byte| *byte = 0),
        6 => files[place].0 = segment_name(u64::from(value) + 1),
        _ if value % 2 == 0 => drop(files.remove(place)),
        _ if count < 6 => {
            let bytes = files[place].1.clone();
            files.push((segment_name(number as u64 + 1), bytes));
        }
        _ => {}
    }
}

fuzz_target!(|input: &[u8]| {
    let mut files = WHOLE.clone();
    for step in input.chunks_exact(5).take(12) {
        harm(&mut files, step.try_into().expect("five bytes"));
    }
    check(&files);
});
