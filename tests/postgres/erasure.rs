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

pub(crate) const NAME: &str = "Annabella Quintessa";
const SOON: Duration = Duration::from_secs(60);

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Named {
    Named { name: String },
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) name: String,
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

/// A URL that names the schema.
pub(crate) fn url(schema: &Schema) -> String {
    crate::follow::url_at(&schema.url, schema)
}

pub(crate) fn codec(vault: &Vault) -> Protected {
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
    let scan = Scan::new()
        .plaintext(NAME)
        .evidence(&evidence)
        .store(&store)
        .path(&rows)
        .path(&keys)
        .database(&url(&schema));
    let findings = scan.run().expect("a scan");
    assert!(findings.is_clean(), "{findings:?}");
    assert!(findings.tables > 3 && findings.rows > 3, "{findings:?}");
    // A planted leftover is found in the tables.
    let event = annals::NewEvent::new("Noted").data(format!("\"{NAME}\""));
    store
        .append(&annals::StreamId::new("Note", "n"), annals::Expected::Any, event)
        .expect("an append");
    dump(&schema, &rows);
    let scan = Scan::new().plaintext(NAME).path(&rows).database(&url(&schema));
    let findings = scan.run().expect("a scan");
    assert_eq!(findings.count, 2, "{findings:?}");
    assert!(findings.leftovers[1].place.contains("events"), "{findings:?}");
    store.close().expect("it is written");
    fs::remove_dir_all(&folder).expect("it is removed");
}

#[test]
fn a_leftover_in_any_table_is_not_found() {
    let schema = Schema::new();
    drop(schema.journal().expect("the tables"));
    schema.sql(
        "CREATE TABLE texts (it text); INSERT INTO texts SELECT 'row ' || n FROM generate_series(1, 5000) n; \
         CREATE TABLE \"of \"\"bytes\" (id int, it bytea); CREATE TABLE many (it jsonb[]) PARTITION BY RANGE (cardinality(it)); \
         CREATE TABLE part PARTITION OF many FOR VALUES FROM (0) TO (9); CREATE MATERIALIZED VIEW seen AS SELECT * FROM texts",
    );
    let search = || {
        Scan::new()
            .plaintext(NAME)
            .database(&url(&schema))
            .run()
            .expect("a scan")
    };
    let clean = search();
    assert!(clean.is_clean() && clean.rows >= 10_000, "{clean:?}");
    let plants = [
        (
            "INSERT INTO texts VALUES (repeat('x', 9000) || 'NAME')",
            "texts, row 5001",
        ),
        ("INSERT INTO \"of \"\"bytes\" VALUES (1, 'NAME')", "bytes\", row 1"),
        (
            "INSERT INTO many VALUES (ARRAY['{\"a\": \"NAME\"}'::jsonb])",
            "part, row 1",
        ),
        ("REFRESH MATERIALIZED VIEW seen", "seen, row 5001"),
    ];
    for (place, (plant, expected)) in plants.into_iter().enumerate() {
        schema.sql(&plant.replace("NAME", NAME));
        let found = search();
        assert_eq!(found.count, place as u64 + 1, "{plant}: {found:?}");
        assert!(
            found
                .leftovers
                .iter()
                .any(|leftover| leftover.place.ends_with(expected)),
            "{plant}: {found:?}"
        );
    }
}

#[test]
fn a_database_that_cannot_be_searched_is_clean() {
    let schema = Schema::new();
    drop(schema.journal().expect("the tables"));
    let scan = |url: &str| Scan::new().plaintext(NAME).database(url).run();
    for url in [
        "postgres://127.0.0.1:1/none?timeout=100ms",
        "mysql://x",
        "postgres://anna:s3cr3t@127.0.0.1:1/none",
    ] {
        let error = scan(url).expect_err(url).to_string();
        assert!(
            error.starts_with("cannot search the tables of") && !error.contains("s3cr3t"),
            "{error}"
        );
    }
    let role = format!("reader_{}", std::process::id());
    schema.sql(&format!("CREATE ROLE {role} LOGIN"));
    let refused = scan(&url(&schema).replace("postgres@", &format!("{role}@")));
    schema.sql(&format!("DROP ROLE {role}"));
    let error = refused.expect_err("no right to read").to_string();
    assert!(error.contains("permission denied"), "{error}");
}

/// A policy hides rows, and a scan of the others calls the table clean.
#[test]
fn a_scan_calls_a_table_clean_whose_rows_a_policy_hides() {
    let schema = Schema::new();
    let role = format!("scanner_{}", std::process::id());
    let name = schema.name.replace('"', "\"\"");
    schema.sql(&format!("CREATE SCHEMA \"{name}\""));
    schema.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA \"{name}\" TO {role}; \
         CREATE TABLE \"a \"\"table\" (name text); INSERT INTO \"a \"\"table\" VALUES ('{NAME}'); \
         GRANT SELECT ON \"a \"\"table\" TO {role}"
    ));
    let scan = || {
        let url = format!("{}&user={role}", url(&schema));
        Scan::new().plaintext(NAME).database(&url).run()
    };
    assert_eq!(scan().expect("it is searched").count, 1);
    let mut refused = Vec::new();
    for policy in ["ENABLE", "FORCE"] {
        schema.sql(&format!("ALTER TABLE \"a \"\"table\" {policy} ROW LEVEL SECURITY"));
        refused.push(scan().map(|findings| findings.is_clean()));
    }
    // A policy for all rows hides rows, too, as far as the server knows.
    schema.sql("CREATE POLICY all_rows ON \"a \"\"table\" USING (true)");
    refused.push(scan().map(|findings| findings.is_clean()));
    schema.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    for refused in refused {
        let text = refused.expect_err("rows are hidden").to_string();
        assert!(
            text.contains("row-level security") && text.contains("BYPASSRLS"),
            "{text}"
        );
    }
}
