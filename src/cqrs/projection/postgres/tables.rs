//! The tables of checkpoints and dead letters, and the statements on them.

use crate::journal::postgres::{Failure, Link};

/// The advisory lock under which tables are created: the letters of `models`.
const LOCK: i64 = 0x6d_6f_64_65_6c_73;

/// Statements on the tables of one schema.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// The schema, quoted.
    pub(super) schema: String,
    /// Locks a checkpoint, waits for transactions that hold it, and returns position and epoch.
    pub(super) lock: String,
    /// Begins a new epoch, and returns position, epoch, and the id of the event at the position.
    pub(super) take: String,
    /// Advances a checkpoint, if it is as expected.
    pub(super) advance: String,
    /// The aggregates, among some, that have letters.
    pub(super) held: String,
    pub(super) park: String,
    /// The letters after a position, of one aggregate or of all.
    pub(super) letters: String,
    pub(super) drop_letter: String,
}

impl Tables {
    fn new(schema: String) -> Self {
        let checkpoints = format!("{schema}.annals_checkpoints");
        let letters = format!("{schema}.annals_dead_letters");
        Self {
            lock: format!("SELECT position, epoch FROM {checkpoints} WHERE name = $1 FOR UPDATE"),
            take: format!(
                "INSERT INTO {checkpoints} AS it (name, position, epoch, event_id, updated_at) VALUES ($1, $2, 1, $3, pg_catalog.now()) \
                 ON CONFLICT (name) DO UPDATE SET epoch = it.epoch + 1, updated_at = pg_catalog.now() \
                 RETURNING position, epoch, event_id"
            ),
            advance: format!(
                "UPDATE {checkpoints} SET position = $4, event_id = $5, updated_at = pg_catalog.now() \
                 WHERE name = $1 AND position = $2 AND epoch = $3"
            ),
            held: format!("SELECT DISTINCT aggregate_id FROM {letters} WHERE name = $1 AND aggregate_id = ANY ($2)"),
            park: format!(
                "INSERT INTO {letters} (name, position, event_id, event_type, aggregate_id, reason, attempts, parked_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, pg_catalog.now()) \
                 ON CONFLICT (name, position) DO UPDATE SET reason = EXCLUDED.reason, attempts = EXCLUDED.attempts"
            ),
            letters: format!(
                "SELECT position, event_id, event_type, aggregate_id, reason, attempts, \
                 (EXTRACT(EPOCH FROM parked_at) * 1000000)::bigint FROM {letters} WHERE name = $1 AND position > $2 \
                 AND ($4::text IS NULL OR aggregate_id = $4) ORDER BY position LIMIT $3"
            ),
            drop_letter: format!("DELETE FROM {letters} WHERE name = $1 AND position = $2"),
            schema,
        }
    }

    /// The tables in the schema that the connection creates tables in.
    ///
    /// # Errors
    ///
    /// [`Failure`], also when the `search_path` names no schema that exists.
    pub(super) fn of(link: &mut Link) -> Result<Self, Failure> {
        let rows = link.query(None, "SELECT pg_catalog.quote_ident(pg_catalog.current_schema())", &[])?;
        let schema: Option<String> = rows.first().and_then(|row| row.try_get(0).ok()).flatten();
        let none = "the search_path of the role names no schema that exists: add the option schema to the URL";
        schema.map(Self::new).ok_or_else(|| unusable(none))
    }

    /// Whether the table of letters exists.
    pub(super) fn has_letters(&self, link: &mut Link) -> Result<bool, Failure> {
        exists(link, &format!("{}.annals_dead_letters", self.schema))
    }

    /// Creates the missing tables in the open transaction, one process at a time.
    pub(super) fn create(&self, link: &mut Link) -> Result<(), Failure> {
        let schema = &self.schema;
        lock_creation(link)?;
        if !exists(link, &format!("{schema}.annals_checkpoints"))? {
            link.batch(&format!(
                "CREATE TABLE {schema}.annals_checkpoints (name text PRIMARY KEY, position bigint NOT NULL, epoch bigint NOT NULL, \
                 event_id uuid, updated_at timestamptz NOT NULL)"
            ))?;
        }
        if !self.has_letters(link)? {
            link.batch(&format!(
                "CREATE TABLE {schema}.annals_dead_letters (name text, position bigint, event_id uuid NOT NULL, event_type text NOT NULL, \
                 aggregate_id text NOT NULL, reason text NOT NULL, attempts integer NOT NULL, parked_at timestamptz NOT NULL, \
                 PRIMARY KEY (name, position)); \
                 CREATE INDEX annals_dead_letters_by_aggregate ON {schema}.annals_dead_letters (name, aggregate_id)"
            ))?;
        }
        Ok(())
    }
}

/// Locks the creation of tables until the open transaction ends: `CREATE TABLE IF NOT EXISTS` fails while another transaction that creates the
/// table is not committed.
pub(super) fn lock_creation(link: &mut Link) -> Result<(), Failure> {
    link.batch(&format!("SELECT pg_catalog.pg_advisory_xact_lock({LOCK})"))
}

/// Creates the schema that the URL names, if it is missing, one process at a time.
pub(super) fn create_schema(link: &mut Link, schema: &str) -> Result<(), Failure> {
    let known = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1";
    if link.query(None, known, &[&schema])?.is_empty() {
        link.batch("BEGIN")?;
        lock_creation(link)?;
        link.batch(&format!("CREATE SCHEMA IF NOT EXISTS {}; COMMIT", quoted(schema)))?;
    }
    Ok(())
}

fn exists(link: &mut Link, table: &str) -> Result<bool, Failure> {
    let rows = link.query(None, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&table])?;
    Ok(rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false)))
}

/// Quotes a name for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as PostgreSQL can store it: without zero bytes.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn unusable(text: &str) -> Failure {
    Failure {
        code: None,
        text: text.to_owned(),
        is_of_database: false,
    }
}
