//! The key store in PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use annals::Store;
use annals::cqrs::Aggregates;
use annals::cqrs::erasure::{KeyError, KeyStore, PostgresKeys, Protected, Secret, Vault};

use crate::cluster::Cluster;
use crate::erasure::{NAME, Person, codec, url};
use crate::support::Schema;

fn keys(schema: &Schema) -> PostgresKeys {
    PostgresKeys::open_or_create(&url(schema)).expect("a key store")
}

fn people(store: &Store, vault: &Vault) -> Aggregates<Person, Protected> {
    Aggregates::with_codec(store, codec(vault))
}

fn name_of(store: &Store, vault: &Vault) -> String {
    people(store, vault).load("p").expect("it decodes").state.name
}

/// A vault with a person in a store in memory.
fn vault_with_person(store: &Store, schema: &Schema) -> Vault {
    let vault = Vault::open(store, keys(schema)).expect("a vault");
    people(store, &vault).execute("p", &NAME.to_owned()).expect("a command");
    vault
}

#[test]
fn a_key_in_postgres_is_readable_after_an_erasure() {
    let (schema, store) = (Schema::new(), Store::in_memory());
    let vault = vault_with_person(&store, &schema);
    // Of another process.
    let other = Vault::open(&store, keys(&schema)).expect("a vault");
    assert_eq!(
        (name_of(&store, &vault), name_of(&store, &other)),
        (NAME.into(), NAME.into())
    );
    other.rotate("p").expect("a rotation");
    people(&store, &vault)
        .execute("p", &NAME.to_owned())
        .expect("a command");
    assert_eq!(name_of(&store, &other), NAME);
    other.erase("p").expect("an erasure");
    assert_eq!(name_of(&store, &vault), "[erased]");
    assert!(people(&store, &vault).execute("p", &NAME.to_owned()).is_err());
    let again = Vault::open(&store, PostgresKeys::open(&url(&schema)).expect("a key store")).expect("a vault");
    assert_eq!(
        (name_of(&store, &again), again.is_erased("p")),
        ("[erased]".into(), Ok(true))
    );
    again.reopen("p").expect("a new generation");
    people(&store, &vault)
        .execute("p", &NAME.to_owned())
        .expect("a command");
    assert_eq!(name_of(&store, &other), NAME);
}

/// Erasures are seen by the marks in the log; a rotation and a new subject are seen by the revision alone.
#[test]
fn a_vault_of_another_store_reads_on_with_a_destroyed_key() {
    let (schema, store) = (Schema::new(), Store::in_memory());
    let vault = vault_with_person(&store, &schema);
    let copy = store.fork();
    let other = Vault::open(&copy, keys(&schema)).expect("a vault");
    assert_eq!(name_of(&copy, &other), NAME);
    vault.erase("p").expect("an erasure");
    assert_eq!(name_of(&copy, &other), "[erased]");
}

/// The server is its own: `VACUUM FULL` keeps an old row while an older transaction runs in the same database, such as that of another test.
#[test]
fn the_file_of_the_table_keeps_a_destroyed_key() {
    let cluster = Cluster::start(&["fsync = off"], &[]);
    let (schema, store) = (Schema::on(cluster.url()), Store::in_memory());
    let vault = vault_with_person(&store, &schema);
    let alive = schema.sql("SELECT encode(secret, 'hex') FROM annals_keys WHERE name ~ '^key/'");
    assert_eq!(alive.len(), 1);
    let key = alive[0][0].clone().expect("a key");
    let is_in_file = || {
        schema.sql("CHECKPOINT");
        let position = format!(
            "SELECT position('\\x{key}'::bytea IN pg_read_binary_file(pg_relation_filepath('annals_keys'))) > 0"
        );
        schema.value(&position)
    };
    assert_eq!(is_in_file(), "t");
    vault.erase("p").expect("an erasure");
    assert_eq!(is_in_file(), "f");
}

#[test]
fn a_key_store_that_is_missing_is_replaced_by_an_empty_one() {
    let schema = Schema::new();
    let refused = |url: &str| match PostgresKeys::open(url) {
        Err(KeyError::Storage { reason: text }) => text,
        other => panic!("{other:?}"),
    };
    let text = refused(&url(&schema));
    assert!(
        text.contains("create its tables with `PostgresKeys::open_or_create`"),
        "{text}"
    );
    assert_eq!(
        schema.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'annals_keys'"),
        "0"
    );
    drop(keys(&schema));
    // A table of another program.
    schema.sql("DROP TABLE annals_keys; CREATE TABLE annals_keys (name text PRIMARY KEY, secret text)");
    let keys = PostgresKeys::open(&url(&schema)).expect("its revision is there");
    schema.sql("INSERT INTO annals_keys VALUES ('salt', 'x')");
    let error = keys.read("salt").expect_err("no bytes").to_string();
    assert!(error.contains("not those of a key store"), "{error}");
    schema.sql("DELETE FROM annals_key_revision");
    let text = refused(&url(&schema));
    assert!(text.contains("its revision is missing"), "{text}");
    for bad in ["postgres://anna:s3cr3t@127.0.0.1:1/keys?timeout=100ms", "file:keys"] {
        let text = refused(bad);
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn changes_at_once_lose_one_another() {
    let schema = Schema::new();
    let change = |keys: &PostgresKeys| {
        let add = &mut |old: Option<&[u8]>| {
            let mut new = old.unwrap_or_default().to_vec();
            new.push(b'x');
            Ok(Secret::new(new))
        };
        keys.update("entry", add).expect("a change");
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let keys = keys(&schema);
                (0..20).for_each(|_| change(&keys));
            });
        }
    });
    let keys = keys(&schema);
    assert_eq!(keys.read("entry").expect("it reads").map(|bytes| bytes.len()), Some(80));
    assert_eq!(keys.revision(), Ok(80));
}

#[test]
fn a_change_that_fails_or_changes_nothing_is_stored() {
    let schema = Schema::new();
    let keys = keys(&schema);
    let same = &mut |old: Option<&[u8]>| Ok(Secret::new(old.unwrap_or(b"first").to_vec()));
    keys.update("entry", same).expect("a change");
    assert_eq!(keys.revision(), Ok(1));
    keys.update("entry", same).expect("no change");
    let refused = keys.update("entry", &mut |_| Err(KeyError::NotErased));
    assert_eq!(refused, Err(KeyError::NotErased));
    assert_eq!(keys.revision(), Ok(1));
    assert_eq!(
        keys.read("entry").expect("it reads").as_deref().map(Vec::as_slice),
        Some(&b"first"[..])
    );
    assert_eq!(keys.read("other"), Ok(None));
}

#[test]
fn a_lost_connection_makes_keys_unreadable() {
    let (schema, store) = (Schema::new(), Store::in_memory());
    drop(keys(&schema));
    let keys = PostgresKeys::open(&format!("{}&application_name=cut", url(&schema))).expect("a key store");
    let vault = Vault::open(&store, keys).expect("a vault");
    people(&store, &vault)
        .execute("p", &NAME.to_owned())
        .expect("a command");
    let cut = || {
        schema.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND application_name = 'cut'",
        );
    };
    cut();
    assert_eq!(name_of(&store, &vault), NAME);
    cut();
    people(&store, &vault)
        .execute("p", &NAME.to_owned())
        .expect("a command");
    cut();
    vault.erase("p").expect("an erasure");
    cut();
    assert_eq!(name_of(&store, &vault), "[erased]");
}

/// `fresh_for` saves round trips, and the mark in the log ends its time early.
#[test]
fn a_fresh_revision_hides_an_erasure_of_the_same_store() {
    let (schema, store) = (Schema::new(), Store::in_memory());
    let vault = vault_with_person(&store, &schema);
    let lazy = keys(&schema).fresh_for(Duration::from_secs(3_600));
    let lazy = Vault::open(&store, lazy).expect("a vault");
    assert_eq!(name_of(&store, &lazy), NAME);
    vault.erase("p").expect("an erasure");
    assert_eq!(name_of(&store, &lazy), "[erased]");
}

#[test]
fn keys_are_shown() {
    let schema = Schema::new();
    let keys = Arc::new(keys(&schema));
    keys.update("entry", &mut |_| Ok(Secret::new(b"visible".to_vec())))
        .expect("a change");
    assert!(!format!("{keys:?}").contains("visible"));
}

/// A transaction that has read the table, such as that of a dump. It has no snapshot, which would keep old rows of other tests.
fn begin_dump(schema: &Schema) -> (tokio::runtime::Runtime, tokio_postgres::Client) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let table = format!("\"{}\".annals_keys", schema.name.replace('"', "\"\""));
    let client = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&schema.url, tokio_postgres::NoTls)
            .await
            .expect("a connection");
        tokio::spawn(connection);
        let read = format!("BEGIN; LOCK TABLE {table} IN ACCESS SHARE MODE");
        client.batch_execute(&read).await.expect("a lock");
        client
    });
    (runtime, client)
}

/// `VACUUM FULL` waits for a reader, and every later reader waits behind it. It has a server of its own, because while it waits, it keeps old rows of
/// other tests.
#[test]
fn an_erasure_behind_a_dump_of_the_keys_stops_every_reader_of_keys() {
    let cluster = Cluster::start(&["fsync = off"], &[]);
    let (schema, store) = (Schema::on(cluster.url()), Store::in_memory());
    let vault = vault_with_person(&store, &schema);
    people(&store, &vault)
        .execute("q", &NAME.to_owned())
        .expect("a command");
    let key = schema.value("SELECT encode(secret, 'hex') FROM annals_keys WHERE name ~ '^key/' LIMIT 1");
    let dump = begin_dump(&schema);
    let (copy, impatient) = (store.fork(), format!("{}&timeout=5s", url(&schema)));
    let other = Vault::open(&copy, PostgresKeys::open(&impatient).expect("a key store")).expect("a vault");
    std::thread::scope(|scope| {
        let erased = scope.spawn(|| (vault.erase("p"), vault.erase("q")));
        while !erased.is_finished() {
            people(&copy, &other).load("q").expect("it decodes");
        }
        let (p, q) = erased.join().expect("it ends");
        p.and(q).expect("erasures");
    });
    assert!(!dump.1.is_closed(), "the dump still runs");
    assert_eq!(
        people(&copy, &other).load("q").expect("it decodes").state.name,
        "[erased]"
    );
    let (runtime, client) = dump;
    runtime.block_on(client.batch_execute("ROLLBACK")).expect("it ends");
    // The next change removes what the dump had kept.
    vault.reopen("p").expect("a new generation");
    schema.sql("CHECKPOINT");
    let position =
        format!("SELECT position('\\x{key}'::bytea IN pg_read_binary_file(pg_relation_filepath('annals_keys'))) > 0");
    assert_eq!(schema.value(&position), "f");
}

/// A new salt gives every subject a new entry: an erasure would destroy another key than the one that decrypts.
#[test]
fn a_lost_salt_makes_an_erasure_destroy_another_key() {
    let (schema, store) = (Schema::new(), Store::in_memory());
    drop(vault_with_person(&store, &schema));
    schema.sql("DELETE FROM annals_keys WHERE name = 'salt'");
    let error = Vault::open(&store, keys(&schema)).expect_err("no salt").to_string();
    assert!(
        error.contains("the salt of the key store is missing: restore it"),
        "{error}"
    );
    schema.sql("INSERT INTO annals_keys VALUES ('salt', 'short')");
    let error = Vault::open(&store, keys(&schema)).expect_err("no salt").to_string();
    assert!(error.contains("is damaged"), "{error}");
}

/// It destroys them: their bytes are not needed for that.
#[test]
fn keys_that_are_damaged_or_lost_cannot_be_erased() {
    for damage in [
        "UPDATE annals_keys SET secret = 'x' WHERE name ~ '^key/'",
        "UPDATE annals_keys SET secret = substr(secret, 1, 64) WHERE name ~ '^key/'",
        "DELETE FROM annals_keys WHERE name ~ '^key/'",
    ] {
        let (schema, store) = (Schema::new(), Store::in_memory());
        let vault = vault_with_person(&store, &schema);
        // The key of derived data, too.
        people(&store, &vault)
            .execute("q", &NAME.to_owned())
            .expect("a command");
        vault.erase("q").expect("an erasure");
        let sql = format!("{damage} AND secret <> '\\x00'; UPDATE annals_key_revision SET revision = revision + 1");
        schema.sql(&sql);
        let loaded = people(&store, &vault).load("p").map(drop);
        let error = loaded.expect_err("no key").to_string();
        assert!(error.contains("key store") && !error.contains(NAME), "{error}");
        let receipt = vault.erase("p").expect("an erasure");
        assert_eq!((receipt.events, receipt.key.is_some()), (1, true), "{damage}");
        assert_eq!(name_of(&store, &vault), "[erased]");
        assert_eq!(vault.is_erased("p"), Ok(true));
        vault.reopen("p").expect("a new generation");
        people(&store, &vault)
            .execute("p", &NAME.to_owned())
            .expect("a command");
        vault.erase("p").expect("an erasure");
    }
}
