//! TLS: what each `sslmode` demands of a server, and takes.

use std::path::PathBuf;

use annals::journal::JournalErrorKind;
use annals::journal::postgres::PostgresJournal;

use crate::cluster::Cluster;
use crate::support::Schema;

/// Whether a journal opens, and if it does whether its connections are encrypted; otherwise why it does not.
fn open(schema: &Schema, url: &str) -> Result<bool, String> {
    let journal = PostgresJournal::open_with(url, schema.settings());
    let journal = journal.map_err(|error| {
        assert_eq!(error.kind(), JournalErrorKind::Unsupported, "{error}");
        error.to_string()
    })?;
    let encrypted =
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'annals'";
    let encrypted = schema.value(encrypted) == "t";
    drop(journal);
    Ok(encrypted)
}

#[test]
fn a_server_is_verified_as_much_as_was_asked_for() {
    let cluster = Cluster::start(&["fsync = off", "ssl = on"], &[]);
    let schema = Schema::on(cluster.url());
    let authority = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls/authority.pem");
    let with = |options: &str| format!("{}?{options}", schema.url);
    let trusted = |options: &str| format!("{}&sslrootcert={}", with(options), authority.display());
    assert_eq!(open(&schema, &with("sslmode=disable")), Ok(false));
    assert_eq!(open(&schema, &schema.url), Ok(true));
    assert_eq!(open(&schema, &with("sslmode=prefer")), Ok(true));
    assert_eq!(open(&schema, &with("sslmode=require")), Ok(true));
    // The certificate is for localhost.
    assert_eq!(open(&schema, &trusted("sslmode=verify-ca")), Ok(true));
    assert_eq!(open(&schema, &trusted("sslmode=require")), Ok(true));
    let by_name = trusted("sslmode=verify-full").replace("127.0.0.1", "localhost");
    assert_eq!(open(&schema, &by_name), Ok(true));
    for url in [
        trusted("sslmode=verify-full"),
        by_name.replace("authority.pem", "server.pem"),
        with("sslmode=verify-ca&sslrootcert=/nowhere.pem"),
    ] {
        assert!(open(&schema, &url).is_err(), "{url}");
    }
    let refused = open(&schema, &trusted("sslmode=verify-full")).expect_err("it is another name");
    assert!(refused.contains("certificate not valid for name"), "{refused}");
}

#[test]
fn a_server_without_tls_is_refused_where_it_is_required() {
    let cluster = Cluster::start(&["fsync = off"], &[]);
    let schema = Schema::on(cluster.url());
    assert_eq!(open(&schema, &schema.url), Ok(false));
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = open(&schema, &format!("{}?sslmode={mode}", schema.url));
        assert!(
            refused
                .as_ref()
                .is_err_and(|said| said.contains("TLS") || said.contains("authority")),
            "{refused:?}"
        );
    }
}
