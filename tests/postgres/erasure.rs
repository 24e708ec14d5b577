//! Erasure on a store in PostgreSQL: its tables have no plaintext, and a restored key file brings nothing back.

use std::fs;
use std::time::Duration;

use annals::cqrs::erasure::{KeyFile, Personal, Protected, Scan, Subject, Vault};
use annals::cqrs::{
    Aggregate, Aggregates, Delivered, HandlerError, OnFailure, Processors, SnapshotPolicy, TypedEvents,
};
use annals::{Durability, Store};
use serde::{Deserialize, Serialize};

use crate::support::Schema;

const NAME: &str = "Annabella Quintessa";
const SOON: Duration = Duration::from_secs(60);

#[derive(Clone, Serialize, Deserialize)]
enum Named {
    Named { name: String },
}

#[derive(Default, Serialize, Deserialize)]
struct Person {
    name: String,
}

impl Aggregate for Person {
    const TYPE: &'static str = "Person";
    type Event = Named;
    type Command = String;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, name: &String) -> Result<Vec<Named>, String> {
        Ok(vec![Named::Named { name: name.clone() }])
    }

    fn evolve(&mut self, Named::Named { name }: Named) {
        self.name = name;
    }
}

fn open(schema: &Schema) -> Store {
    let store = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    store.with_durability(Durability::Synced).expect("PostgreSQL can")
}

fn codec(vault: &Vault) -> Protected {
    Protected::new(vault, Personal::new().event("Named", Subject::aggregate(), ["/name"]))
}

fn people(store: &Store, vault: &Vault) -> Aggregates<Person, Protected> {
    Aggregates::with_codec(store, codec(vault)).snapshots(SnapshotPolicy::every(1))
}

/// Parks every event, with its name in the reason.
fn park(store: &Store, vault: &Vault) {
    let processors = Processors::new(store);
    let handler = |delivered: Delivered<'_, Named>| {
        let Named::Named { name } = delivered.event;
        Err(HandlerError::permanent(format!("no mail for {name}")))
    };
    let events = TypedEvents::with_codec(codec(vault));
    let mailer = processors
        .subscribe("mailer", handler)
        .events(&events)
        .on_failure(OnFailure::park());
    let mailer = mailer.start().expect("it starts");
    mailer.when_caught_up(SOON).expect("it runs");
    assert!(mailer.letters().expect("letters")[0].reason.contains("no mail for"));
    processors.end();
}

/// Every row of every table as a text, in a file.
fn dump(schema: &Schema, to: &std::path::Path) -> usize {
    let tables = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()";
    let mut text = String::new();
    for table in schema.sql(tables).into_iter().flatten().flatten() {
        let rows = format!("SET bytea_output = 'escape'; SELECT t::text FROM {table} t");
        for row in schema.sql(&rows).into_iter().flatten().flatten() {
            text.push_str(&row);
            text.push('\n');
        }
    }
    fs::write(to, &text).expect("a file");
    text.len()
}

#[test]
fn tables_keep_personal_data_after_an_erasure() {
    let schema = Schema::new();
    let folder = std::env::temp_dir().join(format!("annals-erasure-test-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let (keys, copy, rows) = (folder.join("keys"), folder.join("copy"), folder.join("rows"));
    let evidence = {
        let store = open(&schema);
        let vault = Vault::open(&store, KeyFile::create(&keys).expect("a key file")).expect("a vault");
        people(&store, &vault)
            .execute("p", &NAME.to_owned())
            .expect("a command");
        park(&store, &vault);
        fs::copy(&keys, &copy).expect("a copy");
        let evidence = vault.evidence("p").expect("a key");
        let receipt = vault.erase("p").expect("an erasure");
        assert_eq!(receipt.events, 1);
        assert_eq!(
            people(&store, &vault).load("p").expect("it decodes").state.name,
            "[erased]"
        );
        store.close().expect("it is written");
        evidence
    };
    fs::copy(&copy, &keys).expect("an old key file");
    let store = open(&schema);
    let vault = Vault::open(&store, KeyFile::open(&keys).expect("a key file")).expect("a vault");
    assert_eq!(
        people(&store, &vault).load("p").expect("it decodes").state.name,
        "[erased]"
    );
    assert!(people(&store, &vault).execute("p", &NAME.to_owned()).is_err());
    assert!(dump(&schema, &rows) > 1_000);
    let scan = || {
        Scan::new()
            .plaintext(NAME)
            .evidence(&evidence)
            .store(&store)
            .path(&rows)
            .path(&keys)
    };
    let findings = scan().run().expect("a scan");
    assert!(findings.is_clean(), "{findings:?}");
    // A planted leftover is found in the tables.
    let event = annals::NewEvent::new("Noted").data(format!("\"{NAME}\""));
    store
        .append(&annals::StreamId::new("Note", "n"), annals::Expected::Any, event)
        .expect("an append");
    dump(&schema, &rows);
    let findings = Scan::new().plaintext(NAME).path(&rows).run().expect("a scan");
    assert_eq!(findings.count, 1, "{findings:?}");
    store.close().expect("it is written");
    fs::remove_dir_all(&folder).expect("it is removed");
}
