//! Keys that come back: by a write, a copy of the key file, another process, an old backup, a crash.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::cqrs::NameKind;
use annals::cqrs::erasure::{KeyChange, KeyError, KeyFile, KeyStore, MemoryKeys, Secret};
use annals::{Position, Store, StoreUrl};

use super::*;
use crate::support::TempFolder;

/// Runs a test on both key stores.
fn on_both(test: impl Fn(&Store, &annals::cqrs::erasure::Vault)) {
    let store = Store::in_memory();
    test(&store, &vault(&store));
    let (folder, store) = (TempFolder::new(), Store::in_memory());
    test(
        &store,
        &vault_in(&store, KeyFile::create(folder.path().join("keys")).expect("a key file")),
    );
}

fn state(customers: &Customers) -> Customer {
    customers.load("anna").expect("it decodes").state
}

#[test]
fn a_write_after_an_erasure_brings_the_key_back() {
    on_both(|store, vault| {
        let customers = customers(store, vault);
        register(&customers);
        vault.erase("anna").expect("an erasure");
        let last = store.visible();
        for _ in 0..2 {
            let refused = customers.execute("anna", &CustomerCommand::Move(ADDRESS.to_owned()));
            let error = refused.expect_err("it is erased").to_string();
            assert!(
                error.contains("the subject was erased (generation 1): call `Vault::reopen`"),
                "{error}"
            );
        }
        assert_eq!((state(&customers), store.visible()), (forgotten(), last));
        // A new generation reads its own values alone.
        assert_eq!(vault.reopen("anna"), Ok(()));
        assert_eq!(vault.reopen("anna"), Err(KeyError::NotErased));
        customers
            .execute("anna", &CustomerCommand::Move("2 New Street".to_owned()))
            .expect("it is open");
        let renewed = Customer {
            address: Some(Address {
                street: "2 New Street".to_owned(),
            }),
            ..forgotten()
        };
        assert_eq!(state(&customers), renewed);
        let receipt = vault.erase("anna").expect("an erasure");
        assert_eq!((receipt.generation, receipt.events), (2, 1));
        assert_eq!(state(&customers), forgotten());
    });
}

#[test]
fn an_erasure_of_a_subject_without_data_is_forgotten() {
    on_both(|store, vault| {
        let receipt = vault.erase("anna").expect("an erasure");
        assert_eq!(
            (receipt.events, vault.is_erased("anna"), vault.is_erased("berta")),
            (0, Ok(true), Ok(false))
        );
        let refused = customers(store, vault).execute("anna", &CustomerCommand::Register);
        assert!(refused.is_err());
        // Again: nothing is appended.
        let (last, again) = (store.visible(), vault.erase("anna").expect("it is erased"));
        assert_eq!((again.key, again.mark, store.visible()), (None, None, last));
    });
}

#[test]
fn a_copied_key_file_brings_the_key_back() {
    let (folder, store) = (TempFolder::new(), Store::in_memory());
    let (path, copy) = (folder.path().join("keys"), folder.path().join("copy"));
    let vault = vault_in(&store, KeyFile::create(&path).expect("a key file"));
    let customers_of = |vault| customers(&store, vault);
    register(&customers_of(&vault));
    fs::copy(&path, &copy).expect("a copy");
    let evidence = vault.evidence("anna").expect("a key");
    vault.erase("anna").expect("an erasure");
    let is_clean = |path: &Path| {
        let scan = annals::cqrs::erasure::Scan::new().evidence(&evidence).path(path);
        scan.run().expect("a scan").is_clean()
    };
    assert!(is_clean(&path) && !is_clean(&copy));
    // Over the file of a vault that is open; and as another one's.
    fs::copy(&copy, &path).expect("a copy");
    assert_eq!(state(&customers_of(&vault)), forgotten());
    fs::copy(&copy, &path).expect("a copy");
    let other = vault_in(&store, KeyFile::open(&path).expect("a key file"));
    assert!(is_clean(&path), "the key is destroyed again when the vault opens");
    assert_eq!(state(&customers_of(&other)), forgotten());
    assert!(
        customers_of(&other)
            .execute("anna", &CustomerCommand::Register)
            .is_err()
    );
    let third = vault_in(&store, KeyFile::open(&copy).expect("a key file"));
    assert_eq!(state(&customers_of(&third)), forgotten());
    assert!(is_clean(&copy), "and in the copy itself, when it is used");
    assert_eq!(third.is_erased("anna"), Ok(true));
}

#[test]
fn the_cached_key_of_another_process_reads_on() {
    let (folder, store) = (TempFolder::new(), Store::in_memory());
    let path = folder.path().join("keys");
    let ours = vault_in(&store, KeyFile::create(&path).expect("a key file"));
    register(&customers(&store, &ours));
    // It has a handle of its own to the key file, and a store whose log has no mark.
    let copy = store.fork();
    let theirs = vault_in(&copy, KeyFile::open(&path).expect("a key file"));
    let their_customers = customers(&copy, &theirs);
    assert_eq!(state(&their_customers).name, NAME);
    ours.erase("anna").expect("an erasure");
    assert_eq!(state(&their_customers), forgotten());
    assert!(their_customers.execute("anna", &CustomerCommand::Register).is_err());
    // The other way round: a log with the mark, and a key store that does not know of it.
    ours.reopen("anna").expect("a new generation");
    let separate = KeyFile::create(folder.path().join("separate")).expect("a key file");
    let store = Store::in_memory();
    let (first, second) = (vault_in(&store, separate), vault(&store));
    register(&customers(&store, &first));
    first.erase("anna").expect("an erasure");
    assert_eq!(state(&customers(&store, &second)), forgotten());
}

#[test]
fn an_old_key_file_beside_a_newer_journal_brings_the_key_back() {
    let (folder, journal) = (TempFolder::new(), TempFolder::new());
    let (path, backup) = (folder.path().join("keys"), folder.path().join("backup"));
    let open = || {
        StoreUrl::of_folder(journal.path())
            .open(Store::builder())
            .expect("a store")
    };
    let store = open();
    let vault = vault_in(&store, KeyFile::create(&path).expect("a key file"));
    register(&customers(&store, &vault));
    fs::copy(&path, &backup).expect("a copy");
    vault.erase("anna").expect("an erasure");
    drop(vault);
    store.close().expect("it is written");
    // Years later the key file is restored.
    fs::copy(&backup, &path).expect("a copy");
    let store = open();
    let vault = vault_in(&store, KeyFile::open(&path).expect("a key file"));
    let customers = customers(&store, &vault);
    assert_eq!(state(&customers), forgotten());
    assert!(customers.execute("anna", &CustomerCommand::Register).is_err());
    vault.reopen("anna").expect("a new generation");
    customers
        .execute("anna", &CustomerCommand::Register)
        .expect("it is open");
    assert_eq!(state(&customers).name, NAME);
    store.close().expect("it is written");
}

/// Fails to write while it is told so.
#[derive(Debug)]
struct Failing(MemoryKeys, Arc<AtomicBool>);

impl KeyStore for Failing {
    fn revision(&self) -> Result<u64, KeyError> {
        self.0.revision()
    }

    fn read(&self, name: &str) -> Result<Option<Secret>, KeyError> {
        self.0.read(name)
    }

    fn update(&self, name: &str, change: &mut KeyChange<'_>) -> Result<Secret, KeyError> {
        if self.1.load(Ordering::Relaxed) {
            return Err(KeyError::Storage {
                reason: "the disk is full".to_owned(),
            });
        }
        self.0.update(name, change)
    }
}

#[test]
fn a_crash_between_the_mark_and_the_key_leaves_the_values_readable() {
    let (store, fails) = (Store::in_memory(), Arc::new(AtomicBool::new(false)));
    let vault = vault_in(&store, Failing(MemoryKeys::new(), Arc::clone(&fails)));
    let customers = customers(&store, &vault);
    register(&customers);
    // A load with snapshots needs the key of derived data: it is created here.
    vault.erase("berta").expect("an erasure");
    fails.store(true, Ordering::Relaxed);
    assert_eq!(
        vault.erase("anna").expect_err("it fails"),
        KeyError::Storage {
            reason: "the disk is full".to_owned()
        }
    );
    let marked = store.visible();
    // No vault reads on; the failure is an error, not plaintext.
    assert!(
        customers
            .load("anna")
            .map_or(true, |loaded| loaded.state == forgotten())
    );
    fails.store(false, Ordering::Relaxed);
    assert_eq!(state(&customers), forgotten());
    vault.erase("anna").expect("it is completed");
    assert_eq!((state(&customers), vault.is_erased("anna")), (forgotten(), Ok(true)));
    assert!(store.visible().0 <= marked.0 + 1);
}

#[test]
fn a_pseudonym_leads_to_the_name_after_an_erasure() {
    on_both(|store, vault| {
        let user = vault.pseudonym("anna", NameKind::User, "anna").expect("a pseudonym");
        assert_eq!((user.len(), user.contains("anna")), (37, false));
        let tag = vault.pseudonym("anna", NameKind::Tag, "anna").expect("a pseudonym");
        let other = vault.pseudonym("berta", NameKind::User, "anna").expect("a pseudonym");
        assert!(user != tag && user != other);
        let context = annals::cqrs::Context::new().user(user.as_str());
        let customers = customers(store, vault).with_context(context);
        customers
            .execute("customer-1", &CustomerCommand::Order(1))
            .expect("a command");
        let query = || annals::Query::all().user(vault.pseudonym("anna", NameKind::User, "anna").expect("the same"));
        assert_eq!(store.query(query()).count().expect("a count"), 1);
        vault.erase("anna").expect("an erasure");
        assert!(matches!(
            vault.pseudonym("anna", NameKind::User, "anna"),
            Err(KeyError::Erased { .. })
        ));
        vault.reopen("anna").expect("a new generation");
        assert_eq!(store.query(query()).count().expect("a count"), 0);
    });
}

#[test]
fn writers_at_once_encrypt_with_different_keys() {
    let (folder, store) = (TempFolder::new(), Store::in_memory());
    let path = folder.path().join("keys");
    drop(KeyFile::create(&path).expect("a key file"));
    let vaults: Vec<_> = (0..4)
        .map(|_| vault_in(&store, KeyFile::open(&path).expect("a key file")))
        .collect();
    std::thread::scope(|scope| {
        for (number, vault) in vaults.iter().enumerate() {
            let customers = customers(&store, vault);
            scope.spawn(move || {
                for round in 0..5 {
                    let registered = customers.execute(&format!("{number}-{round}"), &CustomerCommand::Register);
                    registered.expect("a command");
                }
            });
        }
    });
    // Every vault reads what the others wrote, and one erasure reaches all.
    for vault in &vaults {
        assert_eq!(
            customers(&store, vault).load("3-4").expect("it decodes").state.name,
            NAME
        );
    }
    assert_eq!(vaults[0].erase("anna").expect("an erasure").events, 20);
    for vault in &vaults {
        assert_eq!(
            customers(&store, vault).load("0-0").expect("it decodes").state.name,
            "[erased]"
        );
    }
}

#[test]
fn an_erasure_meets_commands_that_run() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = customers(&store, &vault);
    register(&customers);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let moved = || customers.execute("anna", &CustomerCommand::Move(ADDRESS.to_owned()));
            while moved().is_ok() {}
        });
        vault.erase("anna").expect("an erasure");
        running.join().expect("it ends with the refusal");
    });
    assert_eq!(state(&customers), forgotten());
    assert!(store.visible() >= Position(4));
}
