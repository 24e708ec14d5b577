//! Events that are dropped on purpose, with an anchor; and without one, or with one of other events.

use annals::cqrs::audit::{Anchor, AuditChain, AuditKey, ChainEntry, Verify, VerifyError};
use annals::journal::Archive;
use annals::journal::file::{ArchiveWriter, FileJournal};
use annals::{Error, Expected, Position, Query, Store, Timestamp, Version};

use super::{entries, head, key, log, rich, verify, verify_entries};
use crate::support::{START, TempFolder, fill, keeping};

fn prefix(store: &Store, to: u64) -> Anchor {
    let mut chain = AuditChain::new();
    let mut go_on = |_, _| std::ops::ControlFlow::Continue(());
    chain.read_until(store, Position(to), &mut go_on).expect("whole");
    chain.anchor("the budget", &key(), START)
}

#[test]
fn an_anchored_prefix_was_tampering() {
    let store = Store::in_memory();
    rich(&store, 3_500);
    let (head, whole, public) = (head(&store), entries(&log(&store)), key().public());
    for to in [1, 5, 1_023, 1_024, 1_025, 2_048, 3_000, 3_499, 3_500] {
        let anchor = Anchor::from_json(&prefix(&store, to).to_json()).expect("an anchor");
        assert_eq!((anchor.count(), anchor.last()), (to, Position(to)));
        let left = &whole[usize::try_from(to).expect("small")..];
        let check = |left: &[super::Owned]| {
            let verify = Verify::new(&head, &public).allow(&anchor);
            verify.run_entries(left.iter().map(super::Owned::entry))
        };
        let verified = check(left).expect("the rest is whole");
        assert_eq!((verified.last, verified.count), (Position(3_500), 3_500));
        assert_eq!(verified.first, Position(anchor.base.position.0 + 1));
        // One more than the anchor has is missing.
        if left.len() > 1 {
            let fault = check(&left[1..]).expect_err("one more is gone");
            assert!(matches!(fault, VerifyError::Missing { count: 1, .. }), "{to}: {fault}");
            let mut changed = left.to_vec();
            changed[0].data.push(b' ');
            assert!(check(&changed).is_err(), "{to}");
        }
        // Without the anchor it is tampering, and with all events it is whole.
        assert!(verify_entries(left, &head).is_err(), "{to}");
        check(&whole).expect("nothing is missing");
    }
}

#[test]
fn a_store_with_a_budget_was_tampered_with() {
    let store = keeping(2_000);
    fill(&store, "a", 1_900);
    let anchor = prefix(&store, 1_500);
    let early = head(&store);
    fill(&store, "a", 1_500);
    // 1 to 1,400 are gone: fewer than the anchor allows.
    let public = key().public();
    Verify::new(&early, &public)
        .allow(&anchor)
        .run(&store)
        .expect("the rest is whole");
    let mut chain = AuditChain::after(&anchor, &public).expect("signed");
    chain.read(&store).expect("nothing else is gone");
    let late = chain.head(&key(), START);
    assert_eq!((late.tip.count, late.store), (3_400, early.store));
    Verify::new(&late, &public)
        .allow(&anchor)
        .run(&store)
        .expect("the rest is whole");
    Verify::new(&late, &public)
        .since(&early)
        .allow(&anchor)
        .run(&store)
        .expect("the rest is whole");
    // More than the anchor has is gone.
    fill(&store, "a", 600);
    let fault = Verify::new(&early, &public)
        .allow(&anchor)
        .run(&store)
        .expect_err("2,000 are gone");
    assert!(
        matches!(fault, VerifyError::CutAtEnd { .. } | VerifyError::Missing { .. }),
        "{fault}"
    );
    let mut chain = AuditChain::after(&anchor, &public).expect("signed");
    assert!(matches!(chain.read(&store), Err(VerifyError::Crossed { .. })));
}

#[test]
fn an_aggregate_that_is_truncated_or_deleted_with_an_anchor_was_tampering() {
    let public = key().public();
    for (name, drop) in [
        (
            "truncate",
            (|store: &Store| store.truncate_before("account-1", Version(100)).map(drop)) as fn(&Store) -> _,
        ),
        ("delete", |store| store.delete("account-1", Expected::Any).map(drop)),
    ] {
        let store = Store::in_memory();
        rich(&store, 2_000);
        let head = head(&store);
        let going = store
            .query(Query::all().aggregate("account-1"))
            .events()
            .expect("events");
        let going = going.iter().filter(|event| name == "delete" || event.version().0 < 100);
        let anchor = Anchor::of_events(&head, going.map(ChainEntry::from), name, &key(), START).expect("ascending");
        let other = store
            .query(Query::all().aggregate("account-2"))
            .events()
            .expect("events");
        let other =
            Anchor::of_events(&head, other.iter().map(ChainEntry::from), name, &key(), START).expect("ascending");
        drop(&store).expect("dropped");

        let fault = verify(&store, &head).expect_err("no anchor");
        assert!(
            matches!(fault, VerifyError::CutAtStart { .. } | VerifyError::Missing { .. }),
            "{fault}"
        );
        let verified = Verify::new(&head, &public)
            .allow(&anchor)
            .run(&store)
            .expect("the rest is whole");
        assert_eq!((verified.anchored, verified.count), (anchor.count(), 2_000));
        let fault = Verify::new(&head, &public)
            .allow(&other)
            .run(&store)
            .expect_err("the anchor has others");
        assert!(
            matches!(fault, VerifyError::CutAtStart { .. } | VerifyError::Missing { .. }),
            "{fault}"
        );
        // The chain goes on with the anchor, and has the system event.
        let mut chain = AuditChain::new();
        chain.allow(&anchor, &public).expect("signed");
        chain.read(&store).expect("nothing else is gone");
        let later = chain.head(&key(), START);
        assert_eq!(later.tip.count, 2_001);
        Verify::new(&later, &public)
            .allow(&anchor)
            .since(&head)
            .run(&store)
            .expect("whole");
        Verify::new(&later, &public).allow(&anchor).run(&store).expect("whole");
    }
}

#[test]
fn an_archive_was_tampering() {
    let folders = [TempFolder::new(), TempFolder::new()];
    let archive = folders[1].path().join("old");
    let store = Store::open(FileJournal::open(folders[0].path()).expect("a journal")).expect("a store");
    rich(&store, 3_000);
    let before = head(&store);
    let day = Timestamp::from_micros(START.as_micros() + 400 * 1_000_001);
    store
        .archive(day, "old", |outdated| {
            let mut writer = ArchiveWriter::create(&archive)?;
            outdated.try_for_each(|event| writer.push(event))?;
            writer.finish()?;
            Ok::<_, Error>(())
        })
        .expect("archived");
    assert!(verify(&store, &before).is_err());
    store.close().expect("closed");
    drop(store);

    // The archive has its events in their places: an anchor is made of it, and with it the store is whole.
    let public = key().public();
    let of_archive = Store::builder()
        .read_only()
        .journal(FileJournal::open(&archive).expect("an archive"))
        .open()
        .expect("a store");
    let archived = log(&of_archive);
    assert!(archived.len() > 100, "{}", archived.len());
    let anchor = Anchor::of_events(&before, archived.iter().map(ChainEntry::from), "old", &key(), START);
    let anchor = anchor.expect("ascending");
    let store = Store::open(FileJournal::open(folders[0].path()).expect("a journal")).expect("a store");
    let verified = Verify::new(&before, &public).allow(&anchor).run(&store).expect("whole");
    assert_eq!(verified.anchored, archived.len() as u64);
    store.close().expect("closed");
    drop(store);
    // Attached, they are there.
    let attached = Store::builder()
        .read_only()
        .journal(FileJournal::open(folders[0].path()).expect("a journal"))
        .attach(Archive::read(&mut FileJournal::open(&archive).expect("an archive")).expect("an archive"))
        .open()
        .expect("a store");
    verify(&attached, &before).expect("nothing is missing");
}

#[test]
fn an_anchor_that_was_changed_or_is_of_another_store_was_believed() {
    let (store, other) = (Store::in_memory(), Store::in_memory());
    rich(&store, 1_500);
    rich(&other, 1_500);
    let (head, public) = (head(&store), key().public());
    let with = |anchor: &Anchor| Verify::new(&head, &public).allow(anchor).run(&store);
    assert_eq!(
        with(&prefix(&other, 1_100)),
        Err(VerifyError::OtherChain { what: "anchor" })
    );
    let text = prefix(&store, 1_100).to_json();
    let longer = text.replace("\"count\":1024", "\"count\":1025");
    assert_ne!(longer, text);
    assert_eq!(
        with(&Anchor::from_json(&longer).expect("an anchor")),
        Err(VerifyError::Signature { what: "anchor" })
    );
    let forged = AuditChain::of(&store)
        .expect("whole")
        .anchor("none", &AuditKey::from_bytes([9; 32]), START);
    assert!(matches!(with(&forged), Err(VerifyError::OtherKey { .. })));
    for bad in ["", "{}", "[]", "{\"format\":\"annals.audit.head/1\"}"] {
        assert!(matches!(Anchor::from_json(bad), Err(Error::Invalid { .. })), "{bad}");
    }
}

#[test]
fn a_store_that_had_dropped_events_before_could_not_be_audited() {
    let drops: [fn(&Store) -> annals::Result<Position>; 3] = [
        |store| store.truncate_before("account-1", Version(100)),
        |store| store.delete("account-0", Expected::Any),
        |store| Ok(store.visible()),
    ];
    for drop_some in drops {
        let store = Store::in_memory();
        rich(&store, 2_000);
        drop_some(&store).expect("dropped");
        let left = log(&store).len() as u64;
        let mut chain = AuditChain::of_remaining(&store).expect("ascending");
        let first = chain.head(&key(), START);
        assert_eq!(first.tip.count, left);
        assert_eq!(verify(&store, &first).expect("it is as it was").count, left);
        rich(&store, 500);
        chain.read(&store).expect("nothing else is gone");
        let later = chain.head(&key(), START);
        assert_eq!(later.tip.count, left + 500);
        verify(&store, &later).expect("it is as it was");
        // What is dropped from now on is a fault.
        rich(&store, 10);
        store.delete("account-2", Expected::Any).expect("deleted");
        assert!(verify(&store, &later).is_err());
        assert!(matches!(chain.read(&store), Err(VerifyError::Crossed { .. })));
    }
}

#[test]
fn a_second_prefix_could_not_be_dropped() {
    let (store, public) = (keeping(3_000), key().public());
    fill(&store, "a", 2_900);
    let first = prefix(&store, 1_500);
    fill(&store, "a", 1_500);
    // 1 to 1,400 are gone. The next anchor begins where the first one ends.
    let mut chain = AuditChain::after(&first, &public).expect("signed");
    let mut go_on = |_, _| std::ops::ControlFlow::Continue(());
    chain
        .read_until(&store, Position(3_100), &mut go_on)
        .expect("nothing else is gone");
    let second = chain.anchor("the budget", &key(), START);
    chain.read(&store).expect("nothing else is gone");
    let head = chain.head(&key(), START);
    fill(&store, "a", 1_500);
    let check = |anchors: &[&Anchor]| {
        let verify = Verify::new(&head, &public);
        let verify = anchors.iter().fold(verify, |verify, anchor| verify.allow(anchor));
        verify.run(&store)
    };
    for anchors in [&[&second][..], &[&first, &second], &[&second, &first]] {
        let verified = check(anchors).expect("the rest is whole");
        assert_eq!((verified.count, verified.first), (4_400, Position(3 * 1_024 + 1)));
    }
    assert!(check(&[&first]).is_err());
    // Everything that a head has may be dropped: then nothing is left to verify.
    let later = prefix_after(&second, &store, 5_800);
    fill(&store, "a", 2_950);
    let verified = Verify::new(&head, &public)
        .allow(&later)
        .run(&store)
        .expect("nothing is left");
    assert_eq!((verified.first, verified.last), (Position(0), Position(4_400)));
}

fn prefix_after(anchor: &Anchor, store: &Store, to: u64) -> Anchor {
    let mut chain = AuditChain::after(anchor, &key().public()).expect("signed");
    let mut go_on = |_, _| std::ops::ControlFlow::Continue(());
    chain
        .read_until(store, Position(to), &mut go_on)
        .expect("nothing else is gone");
    chain.anchor("the budget", &key(), START)
}

#[test]
fn events_of_an_anchored_prefix_that_are_still_there_were_not_verified() {
    let store = Store::in_memory();
    rich(&store, 3_500);
    let (head, whole, public) = (head(&store), entries(&log(&store)), key().public());
    let anchor = prefix(&store, 3_000);
    let check = |events: &[super::Owned]| {
        let verify = Verify::new(&head, &public).allow(&anchor);
        verify.run_entries(events.iter().map(super::Owned::entry))
    };
    assert_eq!(check(&whole).expect("whole").first, Position(1));
    let run = Verify::new(&head, &public).allow(&anchor).run(&store).expect("whole");
    assert_eq!((run.first, run.anchored), (Position(1), 0));
    // Missing: some of the first block, all of it, some of the second block.
    for (missing, first) in [
        (0..100, 1_025),
        (50..51, 1_025),
        (0..1_024, 1_025),
        (1_500..1_600, 2_049),
        (0..1_500, 2_049),
    ] {
        let mut left = whole.clone();
        left.drain(missing.clone());
        assert_eq!(
            check(&left).expect("the rest is whole").first,
            Position(first),
            "{missing:?}"
        );
        for position in [first, first + 700, 3_000, 3_500] {
            let mut changed = left.clone();
            let event = changed
                .iter_mut()
                .find(|event| event.position == position)
                .expect("it is there");
            event.data.push(b' ');
            let fault = check(&changed).expect_err("it was changed");
            assert!(
                matches!(fault, VerifyError::Changed { .. }),
                "{missing:?}, {position}: {fault}"
            );
        }
    }
    for position in [1, 700, 1_024, 1_025, 2_500] {
        let mut changed = whole.clone();
        changed[position - 1].data.push(b' ');
        assert!(
            matches!(check(&changed), Err(VerifyError::Changed { .. })),
            "{position}"
        );
    }
    // One is removed, and another one put in its place.
    let mut replaced = whole.clone();
    replaced[9].id = [9; 16];
    assert!(matches!(check(&replaced), Err(VerifyError::Changed { .. })));
}

fn anchor_of(store: &Store, id: &str, versions: std::ops::RangeInclusive<u64>) -> Anchor {
    let events = store.read_stream(id).events();
    let events: Vec<_> = events
        .iter()
        .filter(|event| versions.contains(&event.version().0))
        .collect();
    let entries = events.into_iter().map(ChainEntry::from);
    Anchor::of_events(&head(store), entries, "truncated", &key(), START).expect("ascending")
}

#[test]
fn an_anchor_of_other_events_explained_a_gap() {
    let anchors: [fn(&Store) -> Vec<Anchor>; 4] = [
        // The half of them, twice; and in parts that overlap.
        |store| vec![anchor_of(store, "account-1", 1..=20); 2],
        |store| {
            vec![
                anchor_of(store, "account-1", 1..=20),
                anchor_of(store, "account-1", 10..=21),
            ]
        },
        // As many, but of another aggregate, whose events are there.
        |store| vec![anchor_of(store, "account-2", 1..=39)],
        |store| {
            vec![
                anchor_of(store, "account-1", 1..=38),
                anchor_of(store, "account-3", 1..=38),
            ]
        },
    ];
    for (place, anchors) in anchors.into_iter().enumerate() {
        let store = Store::in_memory();
        rich(&store, 2_000);
        let mut chain = AuditChain::new();
        for anchor in anchors(&store) {
            chain.allow(&anchor, &key().public()).expect("signed");
        }
        store.truncate_before("account-1", Version(40)).expect("truncated");
        assert!(
            matches!(chain.read(&store), Err(VerifyError::Crossed { .. })),
            "{place}"
        );
    }
    let store = Store::in_memory();
    rich(&store, 2_000);
    let (before, anchor) = (head(&store), anchor_of(&store, "account-1", 1..=39));
    let mut chain = AuditChain::new();
    chain.allow(&anchor, &key().public()).expect("signed");
    store.truncate_before("account-1", Version(40)).expect("truncated");
    chain.read(&store).expect("the anchor has all of them");
    assert_eq!(chain.head(&key(), START).checkpoints[0], before.checkpoints[0]);
}

#[test]
fn the_count_of_a_forged_anchor_overflowed() {
    let store = Store::in_memory();
    rich(&store, 2_000);
    let text = prefix(&store, 1_100).to_json();
    let forged = text.replace("\"count\":1024", &format!("\"count\":{}", u64::MAX));
    let anchor = Anchor::from_json(&forged).expect("an anchor");
    assert_eq!(anchor.count(), u64::MAX);
    assert_eq!(
        anchor.check_signature(&key().public()),
        Err(VerifyError::Signature { what: "anchor" })
    );
}
