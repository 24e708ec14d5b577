//! Events that were changed, removed, inserted or swapped behind the store.

use annals::cqrs::audit::{Verify, VerifyError};
use annals::{Position, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Owned, entries, head, key, log, rich, verify, verify_entries};

/// More than four blocks.
const COUNT: u64 = 4_500;

fn range(fault: &VerifyError) -> Option<(u64, u64)> {
    if let VerifyError::Changed { first, last }
    | VerifyError::Missing { first, last, .. }
    | VerifyError::Inserted { first, last, .. } = fault
    {
        return Some((first.0, last.0));
    }
    None
}

/// Changes one byte of an event; which one follows from the numbers. Text stays UTF-8.
fn change_byte(event: &mut Owned, field: usize, place: usize, by: u8) {
    let by = by.max(1);
    let bytes = |bytes: &mut Vec<u8>| {
        let place = place % bytes.len().max(1);
        match bytes.get_mut(place) {
            Some(byte) => *byte ^= by,
            None => bytes.push(by),
        }
    };
    let letter = |text: &mut String| {
        let letters: Vec<char> = text.chars().collect();
        let place = place % letters.len().max(1);
        let other = |old: char| if old == 'q' { 'w' } else { 'q' };
        let changed = letters.iter().enumerate();
        *text = changed
            .map(|(at, old)| if at == place { other(*old) } else { *old })
            .collect();
    };
    match field % 9 {
        0 => event.version ^= u64::from(by) << (8 * (place % 4)),
        1 => event.id[place % 16] ^= by,
        2 => event.times[place % 2] ^= i64::from(by) << (8 * (place % 5)),
        3 => event.schema ^= u32::from(by) << (8 * (place % 4)),
        4 => letter(&mut event.texts[place % 5]),
        5 => match &mut event.names[place % 4] {
            Some(name) => letter(name),
            absent => *absent = Some("q".to_owned()),
        },
        6 => match event.tags.first_mut() {
            Some(tag) => letter(tag),
            None => event.tags.push("q".to_owned()),
        },
        7 => bytes(&mut event.metadata),
        _ => bytes(&mut event.data),
    }
}

#[test]
fn each_of_1000_single_byte_changes_is_found_and_located() {
    let store = Store::in_memory();
    rich(&store, COUNT);
    let (head, whole) = (head(&store), entries(&log(&store)));
    assert_eq!(verify_entries(&whole, &head).map(|found| found.count), Ok(COUNT));

    let public = key().public();
    let inputs = (0..whole.len(), any::<usize>(), any::<usize>(), any::<u8>());
    let mut runner = TestRunner::new(Config::with_cases(1_000));
    runner
        .run(&inputs, |(at, field, place, by)| {
            let mut changed = whole[at].clone();
            change_byte(&mut changed, field, place, by);
            prop_assert_ne!(&changed, &whole[at]);
            let entries = whole.iter().enumerate();
            let entries = entries.map(|(place, event)| if place == at { &changed } else { event }.entry());
            let fault = Verify::new(&head, &public).run_entries(entries);
            let fault = fault.expect_err("one byte differs");
            match range(&fault) {
                Some((first, last)) => {
                    prop_assert!((first..=last).contains(&whole[at].position), "{fault} at {at}");
                    prop_assert!(last - first < 1_024, "{fault}");
                }
                None => prop_assert!(at == 0 && matches!(fault, VerifyError::OtherStore { .. }), "{fault}"),
            }
            Ok(())
        })
        .expect("each change is found");
}

#[test]
fn a_removed_an_inserted_and_a_swapped_event_are_found() {
    let store = Store::in_memory();
    rich(&store, COUNT);
    let (head, whole) = (head(&store), entries(&log(&store)));
    for at in [1, 2, 1_022, 1_023, 1_024, 1_025, 2_000, 4_095, 4_497, 4_498] {
        let block = (
            at as u64 / 1_024 * 1_024 + 1,
            ((at as u64 / 1_024 + 1) * 1_024).min(COUNT),
        );

        let mut removed = whole.clone();
        removed.remove(at);
        let fault = verify_entries(&removed, &head).expect_err("an event is missing");
        assert!(matches!(fault, VerifyError::Missing { count: 1, .. }), "{fault}");
        assert_eq!(range(&fault), Some(block));

        // Removed, and the later ones moved up: as many as before, until the end.
        for (place, event) in removed.iter_mut().enumerate() {
            event.position = place as u64 + 1;
        }
        let fault = verify_entries(&removed, &head).expect_err("an event is missing");
        let is_last_block = block.1 == COUNT;
        assert!(is_last_block || range(&fault) == Some(block), "{fault}");

        // Inserted, and the later ones moved down.
        let mut inserted = whole.clone();
        inserted.insert(at, whole[at - 1].clone());
        for (place, event) in inserted.iter_mut().enumerate() {
            event.position = place as u64 + 1;
        }
        let fault = verify_entries(&inserted, &head).expect_err("an event more");
        assert_eq!(range(&fault), Some(block), "{fault}");

        // Two events in each other's places, with and without their positions.
        let mut swapped = whole.clone();
        swapped.swap(at, at - 1);
        let fault = verify_entries(&swapped, &head).expect_err("two events are swapped");
        let after = Position(at as u64 + 1);
        let position = Position(at as u64);
        let is_first = at == 1 && matches!(fault, VerifyError::CutAtStart { .. });
        // At the end of a block, the block is compared before its last event comes.
        let is_boundary = at == 1_024 && matches!(fault, VerifyError::Missing { count: 1, .. });
        let is_other = is_first || is_boundary;
        assert!(
            is_other || fault == VerifyError::OutOfOrder { position, after },
            "{fault}"
        );
        let (one, other) = (swapped[at].position, swapped[at - 1].position);
        (swapped[at].position, swapped[at - 1].position) = (other, one);
        let fault = verify_entries(&swapped, &head).expect_err("two events are swapped");
        let is_first = at == 1 && matches!(fault, VerifyError::OtherStore { .. });
        assert!(is_first || matches!(fault, VerifyError::Changed { .. }), "{fault}");

        // Delivered twice.
        let mut twice = whole.clone();
        twice.insert(at, whole[at].clone());
        let fault = verify_entries(&twice, &head).expect_err("an event twice");
        assert!(matches!(fault, VerifyError::OutOfOrder { .. }), "{fault}");
    }
}

#[test]
fn an_event_inserted_at_the_position_of_a_dropped_snapshot_was_not_seen() {
    let store = Store::in_memory();
    rich(&store, 10);
    for version in [1, 2] {
        let snapshot = annals::NewSnapshot::new(annals::Version(version));
        store.save_snapshot("account-1", snapshot).expect("saved");
    }
    rich(&store, 10);
    let (head, whole) = (head(&store), entries(&log(&store)));
    assert_eq!(head.tip.count, 20);
    verify(&store, &head).expect("the later snapshot replaces the earlier one");
    let mut inserted = whole.clone();
    let forged = Owned {
        position: 11,
        ..whole[3].clone()
    };
    inserted.insert(10, forged);
    let fault = verify_entries(&inserted, &head).expect_err("an event more");
    assert!(matches!(fault, VerifyError::Inserted { count: 1, .. }), "{fault}");
    // Another snapshot later changes nothing.
    let snapshot = annals::NewSnapshot::new(annals::Version(3));
    store.save_snapshot("account-1", snapshot).expect("saved");
    verify(&store, &head).expect("snapshots are not in the chain");
}

#[test]
fn fields_that_meet_had_the_same_bytes() {
    let store = Store::in_memory();
    rich(&store, 4);
    let (head, whole) = (head(&store), entries(&log(&store)));
    let shift: [fn(&mut Owned); 6] = [
        |event| event.tags = vec!["xy z".to_owned()],
        |event| event.tags = vec!["y z".to_owned(), "x".to_owned()],
        |event| event.names.swap(0, 3),
        |event| {
            let data = std::mem::take(&mut event.data);
            event.metadata.extend(data);
        },
        |event| {
            let id = event.texts[1].split_off(3);
            event.texts[0].push_str(&id);
        },
        |event| event.names[1] = Some(String::new()),
    ];
    for (number, shift) in shift.into_iter().enumerate() {
        let mut shifted = whole.clone();
        shift(&mut shifted[1]);
        assert_ne!(shifted, whole, "{number}");
        let fault = verify_entries(&shifted, &head).expect_err("the bytes stand elsewhere");
        assert!(matches!(fault, VerifyError::Changed { .. }), "{number}: {fault}");
    }
}
