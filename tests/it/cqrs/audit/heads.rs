//! Heads and keys: what is signed, what is refused, and going on from a head.

use annals::cqrs::audit::{AuditChain, AuditKey, Head, PublicKey, Verify, VerifyError};
use annals::journal::file::FileJournal;
use annals::{Error, Position, Store};

use super::{head, key, rich, verify};
use crate::support::{START, TempFolder};

#[test]
fn a_head_that_was_changed_was_believed() {
    let store = Store::in_memory();
    rich(&store, 3_000);
    let text = head(&store).to_json();
    assert_eq!(Head::from_json(&text).expect("a head").to_json(), text);
    let mut refused = 0;
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
        let Ok(changed) = String::from_utf8(changed) else {
            continue;
        };
        match Head::from_json(&changed) {
            Ok(head) => {
                let fault = verify(&store, &head).expect_err("the head is another one");
                let is_refused = matches!(
                    fault,
                    VerifyError::Signature { what: "head" } | VerifyError::OtherKey { .. }
                );
                // Digits of a signature or a time may mean the same in two forms.
                assert!(is_refused, "{at}: {fault}");
            }
            Err(Error::Invalid { message: reason }) => {
                assert!(reason.contains("audit head"), "{reason}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_head_of_another_key_was_believed() {
    let store = Store::in_memory();
    rich(&store, 10);
    let other = AuditKey::from_bytes([8; 32]);
    let forged = AuditChain::of(&store).expect("whole").head(&other, START);
    let fault = verify(&store, &forged).expect_err("the key is not trusted");
    assert!(matches!(fault, VerifyError::OtherKey { .. }), "{fault}");
    // And one that only says that it is of the trusted key.
    let text = forged
        .to_json()
        .replace(&other.public().to_string(), &key().public().to_string());
    let fault = verify(&store, &Head::from_json(&text).expect("a head")).expect_err("it is not signed by it");
    assert_eq!(fault, VerifyError::Signature { what: "head" });
}

#[test]
fn verification_goes_on_from_a_head() {
    let store = Store::in_memory();
    let mut heads = Vec::new();
    for count in [700, 324, 1, 1_023, 1, 3_000, 5] {
        rich(&store, count);
        heads.push(head(&store));
    }
    let public = key().public();
    for (place, early) in heads.iter().enumerate() {
        // Resuming gives the head that reading everything gives.
        let mut chain = AuditChain::resume(early, &public).expect("signed");
        chain.read(&store).expect("it meets the head");
        assert_eq!(chain.head(&key(), START), heads[6], "{place}");
        for late in &heads[place..] {
            let verified = Verify::new(late, &public).since(early).run(&store).expect("whole");
            assert_eq!(verified.first.0, early.base.position.0 + 1);
            assert_eq!((verified.last, verified.count), (late.tip.position, late.tip.count));
        }
    }
    let backwards = Verify::new(&heads[0], &public).since(&heads[1]).run(&store);
    assert_eq!(backwards, Err(VerifyError::OtherChain { what: "earlier head" }));
}

#[test]
fn a_resumed_chain_that_is_read_in_parts_was_a_fault() {
    let store = Store::in_memory();
    rich(&store, 1_500);
    let (early, public) = (head(&store), key().public());
    rich(&store, 700);
    let mut go_on = |_, _| std::ops::ControlFlow::Continue(());
    let mut chain = AuditChain::resume(&early, &public).expect("signed");
    for until in [1_000, 1_025, 1_200, 1_499, 1_500, 1_501, 2_048, 2_100, 2_200, 9_000] {
        chain.read_until(&store, Position(until), &mut go_on).expect("whole");
        let position = chain.position().0;
        assert_eq!(position, until.clamp(1_024, 2_200));
    }
    assert_eq!(chain.head(&key(), START), head(&store));
    let mut chain = AuditChain::resume(&early, &public).expect("signed");
    let fork = Store::in_memory();
    rich(&fork, 1_200);
    let fault = chain
        .read_until(&fork, Position(1_100), &mut go_on)
        .expect_err("it ends early");
    let expected = VerifyError::CutAtEnd {
        last: Position(1_200),
        expected: Position(1_500),
    };
    assert_eq!(fault, expected);
}

#[test]
fn going_on_from_a_head_of_another_log_was_not_seen() {
    let (store, other) = (Store::in_memory(), Store::in_memory());
    rich(&store, 1_500);
    rich(&other, 1_500);
    let head = head(&store);
    let mut chain = AuditChain::resume(&head, &key().public()).expect("signed");
    let fault = chain.read(&other).expect_err("the events after the block are others");
    assert!(matches!(fault, VerifyError::Changed { .. }), "{fault}");
    // One that is shorter.
    let fork = Store::in_memory();
    rich(&fork, 1_200);
    let mut chain = AuditChain::resume(&head, &key().public()).expect("signed");
    assert!(chain.read(&fork).is_err());
}

#[test]
fn a_head_grew_with_the_log() {
    let mut chain = AuditChain::new();
    let store = Store::in_memory();
    rich(&store, 1);
    let event = store.event_at(Position(1)).expect("there");
    let mut entry = annals::cqrs::audit::ChainEntry::from(&event);
    // One event in each block, and then blocks without events.
    for block in (0..3_000).chain(5_000..5_010).chain([1 << 40]) {
        entry.position = Position(block * 1_024 + 7);
        chain.push(&entry).expect("ascending");
    }
    let head = chain.head(&key(), START);
    assert_eq!(head.tip.count, 3_011);
    assert!(
        (512..=1_024).contains(&head.checkpoints.len()),
        "{}",
        head.checkpoints.len()
    );
    let text = head.to_json();
    assert!(text.len() < 150_000, "{}", text.len());
    assert_eq!(Head::from_json(&text).expect("a head"), head);
    let again = chain.push(&entry);
    assert!(matches!(again, Err(VerifyError::OutOfOrder { .. })));
}

#[test]
fn a_reopened_journal_failed_every_honest_entry() {
    let folder = TempFolder::new();
    let store = Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
    rich(&store, 2_100);
    let (early, verified) = (head(&store), AuditChain::of(&store).expect("whole").count());
    store.close().expect("closed");
    drop(store);
    let store = Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
    assert_eq!(verify(&store, &early).expect("it is the same log").count, verified);
    assert_eq!(head(&store), early);
    rich(&store, 10);
    verify(&store, &early).expect("a prefix of the log");
}

#[test]
fn a_key_was_shown() {
    let secret = [0xa7; 32];
    let key = AuditKey::from_bytes(secret);
    let shown = format!("{key:?} {:#?} {} {:?}", key, key.public(), key.public());
    assert!(!shown.contains("a7a7") && !shown.contains("167, 167"), "{shown}");
    let public: PublicKey = key.public().to_string().parse().expect("a public key");
    assert_eq!(public, key.public());
    for bad in ["", "00", &"z".repeat(64), &"ff".repeat(31)] {
        assert!(matches!(bad.parse::<PublicKey>(), Err(Error::Invalid { .. })), "{bad}");
    }
    let (one, other) = (
        AuditKey::generate().expect("random"),
        AuditKey::generate().expect("random"),
    );
    assert_ne!(one.public(), other.public());
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_was_taken() {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempFolder::new();
    let path = folder.path().join("audit.key");
    let key = AuditKey::generate().expect("random");
    key.write_new(&path).expect("written");
    let again = key.write_new(&path).expect_err("it is there");
    assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(AuditKey::from_file(&path).expect("a key").public(), key.public());
    for mode in [0o640, 0o604, 0o660, 0o644, 0o601] {
        set_permissions(&path, Permissions::from_mode(mode)).expect("changed");
        let error = AuditKey::from_file(&path).expect_err("others can read it").to_string();
        assert!(
            error.contains("allow access to other users") && error.contains("chmod 600"),
            "{error}"
        );
    }
    let secret = std::fs::read_to_string(&path).expect("the key");
    set_permissions(&path, Permissions::from_mode(0o600)).expect("changed");
    for content in [&secret[..60], "", "no key", &format!("{secret}{secret}")] {
        write(&path, content).expect("written");
        let error = AuditKey::from_file(&path).expect_err("it is no key").to_string();
        assert!(error.contains("64 hexadecimal digits"), "{error}");
        assert!(content.len() < 10 || !error.contains(&content[..10]), "{error}");
    }
    let error = AuditKey::from_file(folder.path().join("none"))
        .expect_err("no file")
        .to_string();
    assert!(error.contains("none"), "{error}");
}
