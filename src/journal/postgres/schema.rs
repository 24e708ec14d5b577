//! Creates and migrates the tables, one process at a time.

use super::connect::{Session, in_time, quoted, unsupported};
use super::errors::refused;
use super::server::Server;
use crate::journal::JournalError;

/// The migrations, in order; each runs once. A released migration is never changed.
const MIGRATIONS: [(&str, &str); 11] = [
    ("events", include_str!("migrations/0001-events.sql")),
    ("append-events", include_str!("migrations/0002-append-events.sql")),
    ("checkpoints", include_str!("migrations/0003-checkpoints.sql")),
    ("snapshots", include_str!("migrations/0004-snapshots.sql")),
    ("partitions", include_str!("migrations/0005-partitions.sql")),
    ("gone", include_str!("migrations/0006-gone.sql")),
    ("own-schema", include_str!("migrations/0007-own-schema.sql")),
    ("fast-appends", include_str!("migrations/0008-fast-appends.sql")),
    ("append-many", include_str!("migrations/0009-append-many.sql")),
    ("shared-flushes", include_str!("migrations/0010-shared-flushes.sql")),
    ("rows-counted", include_str!("migrations/0011-rows-counted.sql")),
];

/// The advisory lock for migrations: the letters of `annals`.
const LOCK: i64 = 0x61_6e_6e_61_6c_73;

/// Applies the missing migrations. The lease is taken later, because it is stored in one of the tables: a program that fails to get it has
/// migrated the tables nevertheless.
///
/// # Errors
///
/// Unsupported when the schema belongs to a newer version or another program, or cannot be created.
pub(super) async fn prepare(server: &Server, session: &Session) -> Result<(), JournalError> {
    let what = "the tables of the store cannot be read";
    in_time(server, what, check_encoding(session))
        .await
        .and_then(|is_utf8| {
            let unfit = "the encoding of the database is not UTF-8, which names and JSON require: create a database with ENCODING 'UTF8'";
            is_utf8.then_some(()).ok_or_else(|| unsupported(server, unfit))
        })?;
    let known = MIGRATIONS.len();
    let applied = in_time(server, what, applied(server, session)).await?;
    if applied < known {
        let made = tokio::time::timeout(server.patience(), migrate(server, session)).await;
        let what = "the tables of the store cannot be created";
        return match made {
            Ok(made) => made.map_err(|error| refused(server, what, &error)),
            Err(_) => Err(super::errors::timeout(server, what, server.patience())),
        };
    }
    if applied > known {
        let newer = format!(
            "the tables have version {applied}, and this version of annals supports {known}: use a newer version of annals"
        );
        return Err(unsupported(server, &newer));
    }
    Ok(())
}

/// Makes the functions of the store act on their own schema. Their search paths name the schema, and are outdated after it was renamed or
/// restored from a dump. Functions of a store that was renamed away from the name of this schema are corrected too, before they append to this
/// store instead. Functions that this role does not own are unchanged: they find a renamed schema by its OID.
pub(super) async fn settle(server: &Server, session: &Session) -> Result<(), JournalError> {
    if in_time(server, "the tables of the store cannot be read", is_settled(session)).await? {
        return Ok(());
    }
    let what = "the functions of the store cannot be set to its schema";
    let settle = settle_statement();
    let settled = tokio::time::timeout(server.patience(), session.client.batch_execute(&settle));
    match settled.await {
        Ok(settled) => settled.map_err(|error| refused(server, what, &error)),
        Err(_) => Err(super::errors::timeout(server, what, server.patience())),
    }
}

/// The functions with an outdated search path, among those that this role owns: functions of this schema, and functions of other schemas that
/// name this one. Covers the paths of migration 7 and of earlier ones.
const UNSETTLED: &str = "FROM pg_catalog.pg_proc AS functions JOIN pg_catalog.pg_namespace AS schemas ON schemas.oid = pronamespace, head, \
    unnest(proconfig) AS settings (setting) \
    WHERE starts_with(setting, 'search_path=') AND pg_has_role(proowner, 'USAGE') AND CASE nspname WHEN current_schema() \
    THEN setting <> format('search_path=%I, pg_temp, %I', nspname, format('home %s %s', pronamespace, store)) \
    ELSE setting = format('search_path=%I, pg_temp', current_schema()) \
        AND to_regclass(format('%I.head', nspname)) IS NOT NULL AND to_regclass(format('%I.events', nspname)) IS NOT NULL END";

/// Sets the search path of each of them to its own schema and store.
fn settle_statement() -> String {
    format!(
        "DO $$ DECLARE function record; own_store uuid; BEGIN PERFORM pg_advisory_xact_lock({LOCK}); \
         FOR function IN SELECT functions.oid::regprocedure AS name, nspname, pronamespace {UNSETTLED} LOOP \
         EXECUTE format('SELECT store FROM %I.head', function.nspname) INTO own_store; \
         EXECUTE format('ALTER FUNCTION %s SET search_path TO %I, pg_temp, %I', function.name, function.nspname, \
         format('home %s %s', function.pronamespace, own_store)); END LOOP; END $$"
    )
}

async fn is_settled(session: &Session) -> Result<bool, tokio_postgres::Error> {
    let ask = format!("SELECT NOT EXISTS (SELECT {UNSETTLED})");
    session.client.query_one_scalar(&ask, &[]).await
}

async fn check_encoding(session: &Session) -> Result<bool, tokio_postgres::Error> {
    let encoding: String = session
        .client
        .query_one_scalar("SELECT current_setting('server_encoding')", &[])
        .await?;
    Ok(encoding == "UTF8")
}

/// The number of applied migrations.
pub(super) async fn applied(server: &Server, session: &Session) -> Result<usize, tokio_postgres::Error> {
    let client = &session.client;
    let is_there =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'migrations')";
    if !client.query_one_scalar(is_there, &[&server.settings.schema]).await? {
        return Ok(0);
    }
    let last: i32 = client
        .query_one_scalar("SELECT coalesce(max(number), 0) FROM migrations", &[])
        .await?;
    Ok(usize::try_from(last).unwrap_or_default())
}

async fn migrate(server: &Server, session: &Session) -> Result<(), tokio_postgres::Error> {
    let client = &session.client;
    client.batch_execute("BEGIN").await?;
    client.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    make_schema(server, session).await?;
    // Another process may have applied them first.
    let applied = applied(server, session).await?;
    for (number, (name, sql)) in (1_i32..).zip(MIGRATIONS).skip(applied) {
        client.batch_execute(sql).await?;
        let note = "INSERT INTO migrations (number, name) VALUES ($1, $2)";
        client.execute(note, &[&number, &name]).await?;
    }
    client.batch_execute("COMMIT").await
}

/// Creates the schema and the table of migrations. A role that may not create schemas can use an existing one.
async fn make_schema(server: &Server, session: &Session) -> Result<(), tokio_postgres::Error> {
    let schema = &server.settings.schema;
    let is_there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
    if !session.client.query_one_scalar(is_there, &[schema]).await? {
        let make = format!("CREATE SCHEMA {}", quoted(schema));
        session.client.batch_execute(&make).await?;
    }
    session
        .client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS migrations \
             (number int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await
}

/// Whether `applied` migrations are all that this program knows.
pub(super) fn is_current(applied: usize) -> bool {
    applied == MIGRATIONS.len()
}

/// Whether `applied` migrations suffice for reading.
pub(super) fn is_readable(applied: usize) -> bool {
    let last = MIGRATIONS.iter().position(|(name, _)| *name == "gone");
    last.is_some_and(|last| applied > last)
}

/// Whether `applied` migrations are more than this program knows.
pub(super) fn is_newer(applied: usize) -> bool {
    applied > MIGRATIONS.len()
}
