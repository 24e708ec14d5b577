//! The key file itself, and the raw bytes of files and memory.

use std::fs;

use annals::cqrs::SnapshotPolicy;
use annals::cqrs::erasure::{KeyError, KeyFile, Scan};
use annals::{Expected, NewEvent, Store, StoreUrl, StreamId};

use super::*;
use crate::support::TempFolder;

fn message(result: Result<KeyFile, KeyError>) -> String {
    result.expect_err("it is refused").to_string()
}

#[test]
fn a_key_file_that_is_missing_or_damaged_is_replaced_by_an_empty_one() {
    let folder = TempFolder::new();
    let path = folder.path().join("keys");
    assert!(message(KeyFile::open(&path)).contains("cannot open the key file"));
    assert!(!path.exists());
    drop(KeyFile::open_or_create(&path).expect("a key file"));
    assert!(message(KeyFile::create(&path)).contains("exists"));
    for damaged in [
        "",
        "annals keys 2\n",
        "annals keys 1\nno-secret\n",
        "annals keys 1\nkey/1 ??\n",
    ] {
        fs::write(&path, damaged).expect("a file");
        assert!(
            message(KeyFile::open_or_create(&path)).contains("is damaged"),
            "{damaged}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_used() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempFolder::new();
    let path = folder.path().join("keys");
    drop(KeyFile::create(&path).expect("a key file"));
    let mode = || fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    for open_to_others in [0o640, 0o604, 0o660, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open_to_others)).expect("permissions");
        let error = message(KeyFile::open(&path));
        assert!(
            error.contains(&format!("{open_to_others:o}")) && error.contains("chmod 600"),
            "{error}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("permissions");
    assert!(KeyFile::open(&path).is_ok());
}

#[test]
fn a_torn_entry_hides_later_ones() {
    let (folder, store) = (TempFolder::new(), Store::in_memory());
    let path = folder.path().join("keys");
    register(&customers(
        &store,
        &vault_in(&store, KeyFile::create(&path).expect("a key file")),
    ));
    let whole = fs::read(&path).expect("a file");
    // A crash wrote a part of an entry.
    for torn in ["key/", "key/4 AQ", "subject/x MSA"] {
        fs::write(&path, [whole.as_slice(), torn.as_bytes()].concat()).expect("a file");
        let vault = vault_in(&store, KeyFile::open(&path).expect("it is whole up to there"));
        let customers = customers(&store, &vault);
        customers
            .execute("berta", &CustomerCommand::Move(ADDRESS.to_owned()))
            .expect("a new key");
        vault.erase("berta").expect("an erasure");
        vault.reopen("berta").expect("a new generation");
        drop(vault);
        let vault = vault_in(&store, KeyFile::open(&path).expect("the next entry is whole"));
        assert_eq!(
            super::customers(&store, &vault)
                .load("anna")
                .expect("it decodes")
                .state
                .name,
            NAME
        );
        assert!(vault.evidence("berta").is_ok());
    }
}

/// Registers with snapshots, erases, and scans the journal and the key file.
fn erase_in_files(plant: impl Fn(&Store, &TempFolder)) -> annals::cqrs::erasure::Findings {
    let (folder, journal) = (TempFolder::new(), TempFolder::new());
    let path = folder.path().join("keys");
    let store = StoreUrl::of_folder(journal.path())
        .open(Store::builder())
        .expect("a store");
    let vault = vault_in(&store, KeyFile::create(&path).expect("a key file"));
    let customers = customers(&store, &vault).snapshots(SnapshotPolicy::every(2));
    register(&customers);
    customers.save_snapshot("anna").expect("a snapshot");
    let evidence = vault.evidence("anna").expect("a key");
    vault.erase("anna").expect("an erasure");
    assert_eq!(customers.load("anna").expect("it decodes").state, forgotten());
    plant(&store, &journal);
    store.wait_durable(store.visible()).expect("it is written");
    let scan = PLAINTEXTS.iter().fold(Scan::new(), |scan, text| scan.plaintext(text));
    let scan = scan
        .evidence(&evidence)
        .store(&store)
        .path(journal.path())
        .path(folder.path());
    let findings = scan.run().expect("a scan");
    assert!(
        findings.files >= 3 && findings.file_bytes > 1_000 && findings.events >= 4 && findings.snapshots > 0,
        "{findings:?}"
    );
    store.close().expect("it is written");
    findings
}

#[test]
fn an_erasure_leaves_plaintext_or_keys_in_files() {
    let findings = erase_in_files(|_, _| {});
    assert!(findings.is_clean(), "{findings:?}");
}

/// Where a leftover is found, and what plants it.
type Plant<'a> = (&'static str, Box<dyn Fn(&Store, &TempFolder) + 'a>);

#[test]
fn a_planted_leftover_is_not_found() {
    let stream = StreamId::new("Note", "note");
    let append = |event: NewEvent<'static>| {
        let stream = stream.clone();
        move |store: &Store, _: &TempFolder| {
            store.append(&stream, Expected::Any, event.clone()).expect("an append");
        }
    };
    let write = |bytes: Vec<u8>| {
        move |_: &Store, journal: &TempFolder| fs::write(journal.path().join("dump"), &bytes).expect("a file")
    };
    let utf16: Vec<u8> = NAME.encode_utf16().flat_map(u16::to_le_bytes).collect();
    // Across the border of two chunks of the scan.
    let far = [vec![b'x'; (1 << 20) - 5], NAME.as_bytes().to_vec()].concat();
    let plants: Vec<Plant<'_>> = vec![
        (
            "data",
            Box::new(append(NewEvent::new("Noted").data(format!("\"{NAME}\"")))),
        ),
        (
            "metadata",
            Box::new(append(NewEvent::new("Noted").metadata(format!("\"{EMAIL}\"")))),
        ),
        ("names", Box::new(append(NewEvent::new("Noted").user(EMAIL)))),
        ("names", Box::new(append(NewEvent::new("Noted").tag(PHONE)))),
        ("dump", Box::new(write(utf16))),
        ("dump", Box::new(write(far))),
        // "?" and "??" before it: the other two places in Base64.
        ("dump", Box::new(write(b"QW5uYWJlbGxhIFF1aW50ZXNzYQ".to_vec()))),
        ("dump", Box::new(write(b"P0FubmFiZWxsYSBRdWludGVzc2E".to_vec()))),
        ("dump", Box::new(write(b"Pz9Bbm5hYmVsbGEgUXVpbnRlc3Nh".to_vec()))),
    ];
    for (place, plant) in plants {
        let findings = erase_in_files(plant);
        assert!(
            findings.leftovers.iter().any(|leftover| leftover.place.contains(place)),
            "{place}: {findings:?}"
        );
        assert!(!format!("{findings:?}").contains(NAME));
    }
}

#[test]
fn a_key_that_is_left_is_not_found() {
    let (folder, store) = (TempFolder::new(), Store::in_memory());
    let path = folder.path().join("keys");
    let vault = vault_in(&store, KeyFile::create(&path).expect("a key file"));
    register(&customers(&store, &vault));
    let evidence = vault.evidence("anna").expect("a key");
    // Not erased yet: the key file has it in Base64.
    let before = Scan::new().evidence(&evidence).path(&path).run().expect("a scan");
    assert!(before.count >= 2 && before.leftovers[0].needle == "key", "{before:?}");
    vault.erase("anna").expect("an erasure");
    let after = Scan::new().evidence(&evidence).path(&path).run().expect("a scan");
    assert!(after.is_clean(), "{after:?}");
    assert!(Scan::new().plaintext("ab").run().is_err());
    assert!(
        Scan::new()
            .plaintext(NAME)
            .path(folder.path().join("none"))
            .run()
            .is_err()
    );
}

/// The memory of this process that can be written, as a dump.
#[cfg(target_os = "linux")]
fn dump(to: &std::path::Path) {
    use std::io::{Read, Seek, SeekFrom, Write};
    let maps = fs::read_to_string("/proc/self/maps").expect("the maps");
    let mut memory = fs::File::open("/proc/self/mem").expect("the memory");
    let mut out = fs::File::create(to).expect("a file");
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (begin, end) = line
            .split_once(' ')
            .and_then(|(range, _)| range.split_once('-'))
            .expect("a range");
        let [begin, end] = [begin, end].map(|address| u64::from_str_radix(address, 16).expect("an address"));
        let mut bytes = vec![0; usize::try_from(end - begin).expect("it fits")];
        if memory.seek(SeekFrom::Start(begin)).is_ok() && memory.read_exact(&mut bytes).is_ok() {
            out.write_all(&bytes).expect("it is written");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_memory_of_the_process_keeps_the_key() {
    let (folder, store) = (TempFolder::new(), Store::in_memory());
    let path = |name: &str| folder.path().join(name);
    let vault = vault_in(&store, KeyFile::create(path("keys")).expect("a key file"));
    let customers = customers(&store, &vault);
    register(&customers);
    // Kept by the kernel, not by this process.
    fs::copy(path("keys"), path("copy")).expect("a copy");
    dump(&path("before"));
    vault.erase("anna").expect("an erasure");
    dump(&path("after"));
    // The copy is used with a store that has no mark: it is readable there.
    let evidence = vault_in(&Store::in_memory(), KeyFile::open(path("copy")).expect("the copy"))
        .evidence("anna")
        .expect("a key");
    let scan = |name: &str| Scan::new().evidence(&evidence).path(path(name)).run().expect("a scan");
    assert!(!scan("before").is_clean(), "a living key is in memory");
    assert!(scan("after").is_clean(), "{:?}", scan("after"));
}

/// Events that were archived before the erasure are erased in the archive, too: it has no key.
#[test]
fn an_archive_keeps_personal_data() {
    use annals::journal::Archive;
    use annals::journal::file::{ArchiveWriter, FileJournal};
    let (folder, journal) = (TempFolder::new(), TempFolder::new());
    let path = |name: &str| folder.path().join(name);
    let open = || {
        StoreUrl::of_folder(journal.path())
            .open(Store::builder())
            .expect("a store")
    };
    let store = open();
    let vault = vault_in(&store, KeyFile::create(path("keys")).expect("a key file"));
    register(&customers(&store, &vault));
    let later = annals::Timestamp::from_micros(store.now().as_micros() + 1);
    let archived = store.archive(later, "old", |outdated| {
        let mut archive = ArchiveWriter::create(path("archive"))?;
        outdated.try_for_each(|event| archive.push(event))?;
        archive.finish()?;
        Ok::<_, annals::Error>(())
    });
    assert_eq!(archived.expect("an archive").events, 3);
    let evidence = vault.evidence("anna").expect("a key");
    let receipt = vault.erase("anna").expect("an erasure");
    assert_eq!(receipt.events, 0, "the store does not read the archive");
    drop(vault);
    store.close().expect("it is written");

    let journal_in = |path: &std::path::Path| FileJournal::open(path).expect("a journal");
    let archive = Archive::read(&mut journal_in(&path("archive"))).expect("the archive");
    let attached = Store::builder().journal(journal_in(journal.path())).attach(archive);
    let attached = attached.open().expect("a store with the archive");
    let vault = vault_in(&attached, KeyFile::open(path("keys")).expect("the key file"));
    assert_eq!(
        customers(&attached, &vault).load("anna").expect("it decodes").state,
        forgotten()
    );
    let scan = || {
        let scan = PLAINTEXTS.iter().fold(Scan::new(), |scan, text| scan.plaintext(text));
        scan.evidence(&evidence).path(path("archive")).store(&attached)
    };
    let findings = scan().run().expect("a scan");
    assert!(
        findings.is_clean() && findings.events >= 3 && findings.files > 0,
        "{findings:?}"
    );
    fs::write(path("archive").join("planted"), NAME).expect("a file");
    assert_eq!(scan().run().expect("a scan").count, 1);
}
