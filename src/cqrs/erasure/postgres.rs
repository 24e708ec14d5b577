//! A key store in a table of PostgreSQL, which several machines share.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use zeroize::Zeroizing;

use super::keys::{KeyChange, KeyError, KeyStore, Secret};
use crate::journal::postgres::{Database, Failure, Link};

/// The advisory lock under which tables are created: the letters of `keys`.
const LOCK: i64 = 0x6b_65_79_73;

/// The schema, unless the URL names one.
const SCHEMA: &str = "annals_keys";

const REVISION: &str = "SELECT revision FROM annals_key_revision";
const READ: &str = "SELECT secret FROM annals_keys WHERE name = $1";
/// Serializes changes: each waits here for the one before to commit.
const BEGIN_CHANGE: &str = "UPDATE annals_key_revision SET revision = revision + 1 RETURNING revision";
const WRITE: &str =
    "INSERT INTO annals_keys (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET secret = EXCLUDED.secret";

/// How long the table's file waits to be rewritten.
const CLEAN_PATIENCE: &str = "SET lock_timeout = '500ms'";

const CREATE: &str = "\
    CREATE TABLE IF NOT EXISTS annals_keys (name text PRIMARY KEY, secret bytea NOT NULL); \
    CREATE TABLE IF NOT EXISTS annals_key_revision (revision bigint NOT NULL); \
    INSERT INTO annals_key_revision SELECT 0 WHERE NOT EXISTS (SELECT FROM annals_key_revision)";

/// Keys in two tables of PostgreSQL, `annals_keys` and `annals_key_revision`, for programs on several machines.
///
/// Put them in another database than the store, or at least in another schema, so that a dump of the journal contains no key. The URL is that of a
/// store; without the option `schema`, the schema is `annals_keys`.
///
/// Every encryption and decryption asks the server whether a key has changed, which is one round trip. [`fresh_for`](Self::fresh_for) makes that
/// rarer. A change commits with `synchronous_commit` on.
///
/// A change that destroys a key also runs `VACUUM FULL` on the table, so that its file does not keep the old row. The role must own the table for
/// that. PostgreSQL keeps the old row in its write-ahead log until the segment is reused, in archives of the log, on standbys and in backups, and in
/// the table while an older transaction runs. A transaction that has locked the table postpones `VACUUM FULL` to the next change. A server that logs
/// statements with their parameters logs keys: leave `log_statement` at `none` or `ddl`, and `log_min_duration_statement` off, for this role.
///
/// ```no_run
/// use annals::Store;
/// use annals::cqrs::erasure::{PostgresKeys, Vault};
///
/// let store = Store::open_url("postgres://orders@db/orders")?;
/// let vault = Vault::open(&store, PostgresKeys::open("postgres://orders_keys@keys/keys")?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PostgresKeys {
    database: Database,
    fresh_for: Duration,
    session: Mutex<Session>,
}

#[derive(Default)]
struct Session {
    link: Option<Link>,
    /// When the revision was read last.
    revision: Option<(Instant, u64)>,
    /// Whether the table's file may keep a destroyed key: the next change cleans it again.
    is_unclean: bool,
}

impl fmt::Debug for PostgresKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresKeys")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl PostgresKeys {
    /// Opens the key store at a URL, whose tables exist.
    ///
    /// # Errors
    ///
    /// [`KeyError::Storage`] when the URL is invalid, the server cannot be reached, or the tables are missing.
    pub fn open(url: &str) -> Result<Self, KeyError> {
        let keys = Self::at(url)?;
        keys.revision()?;
        Ok(keys)
    }

    /// Opens the key store at a URL, and creates the schema and the tables if they are missing. Prefer [`open`](Self::open) in production: tables that
    /// are missing there are lost.
    ///
    /// # Errors
    ///
    /// [`KeyError::Storage`] as [`open`](Self::open), and when they cannot be created.
    pub fn open_or_create(url: &str) -> Result<Self, KeyError> {
        let keys = Self::at(url)?;
        let mut session = keys.session.lock();
        let created = keys.link(&mut session).and_then(|link| create(link, keys.schema()));
        drop(session);
        created.map_err(|error| keys.failed("create the tables of", &error))?;
        keys.revision()?;
        Ok(keys)
    }

    fn at(url: &str) -> Result<Self, KeyError> {
        let database = crate::url::database_of(url, SCHEMA).map_err(|error| KeyError::Storage {
            reason: error.to_string(),
        })?;
        Ok(Self {
            database,
            fresh_for: Duration::ZERO,
            session: Mutex::default(),
        })
    }

    /// Sets for how long a vault may use the keys that it has read, before it asks the server for changes. Zero by default: it asks each time.
    ///
    /// For this time after an erasure in another process, this one may go on reading the subject's values, unless its store has received the mark of the
    /// erasure: a store that follows the same journal receives it with the other events.
    #[must_use]
    pub fn fresh_for(mut self, time: Duration) -> Self {
        self.fresh_for = time;
        self
    }

    fn schema(&self) -> &str {
        self.database.schema().unwrap_or(SCHEMA)
    }

    fn failed(&self, what: &str, error: &str) -> KeyError {
        KeyError::Storage {
            reason: format!("cannot {what} the key store at {}: {error}", self.database.place()),
        }
    }

    fn link<'a>(&self, session: &'a mut Session) -> Result<&'a mut Link, String> {
        if session.link.as_ref().is_none_or(Link::is_closed) {
            session.link = Some(self.database.connect().map_err(|error| error.to_string())?);
        }
        session.link.as_mut().ok_or_else(|| "there is no connection".to_owned())
    }

    /// Runs a read, and once more on another connection if this one turns out to be lost.
    fn reading<T>(&self, session: &mut Session, read: impl Fn(&mut Link) -> Result<T, Failure>) -> Result<T, KeyError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let link = self.link(session).map_err(|error| self.failed("read", &error))?;
            match read(link) {
                Ok(value) => return Ok(value),
                Err(failure) => {
                    session.link = None;
                    if attempts > 1 || !failure.is_of_database {
                        return Err(self.failed("read", &explained(&failure)));
                    }
                }
            }
        }
    }

    /// Changes an entry in one transaction. Returns the new bytes, and whether the old ones must disappear from the table's file.
    fn change(&self, link: &mut Link, name: &str, change: &mut KeyChange<'_>) -> Result<Changed, KeyError> {
        let failed = |failure: Failure| self.failed("write", &explained(&failure));
        link.query(
            Some("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
            BEGIN_CHANGE,
            &[],
        )
        .map_err(failed)?;
        let old = read(link, name).map_err(failed)?;
        let new = change(old.as_deref().map(Vec::as_slice))?;
        if old.as_ref() == Some(&new) {
            link.batch("ROLLBACK").map_err(failed)?;
            return Ok(Changed {
                new,
                is_destroyed: false,
            });
        }
        link.execute(None, WRITE, &[&name, &new.as_slice()]).map_err(failed)?;
        link.batch("COMMIT").map_err(|failure| {
            let error = explained(&failure);
            self.failed(
                "confirm the change of an entry of",
                &format!("{error}; it may have been made, try again"),
            )
        })?;
        let is_destroyed = old.is_some_and(|old| !new.starts_with(&old));
        Ok(Changed { new, is_destroyed })
    }
}

struct Changed {
    new: Secret,
    is_destroyed: bool,
}

impl KeyStore for PostgresKeys {
    fn revision(&self) -> Result<u64, KeyError> {
        let mut session = self.session.lock();
        if let Some((at, revision)) = session.revision
            && at.elapsed() < self.fresh_for
        {
            return Ok(revision);
        }
        let now = Instant::now();
        let revision = self.reading(&mut session, revision)?;
        session.revision = Some((now, revision));
        Ok(revision)
    }

    fn read(&self, name: &str) -> Result<Option<Secret>, KeyError> {
        self.reading(&mut self.session.lock(), |link| read(link, name))
    }

    fn update(&self, name: &str, change: &mut KeyChange<'_>) -> Result<Secret, KeyError> {
        let mut session = self.session.lock();
        session.revision = None;
        // Finds out that a connection is lost while nothing is at stake.
        self.reading(&mut session, revision)?;
        let is_unclean = session.is_unclean;
        let link = self.link(&mut session).map_err(|error| self.failed("write", &error))?;
        let changed = self.change(link, name, change);
        match &changed {
            Ok(changed) if changed.is_destroyed || is_unclean => session.is_unclean = clean(link).is_err(),
            Ok(_) => {}
            // An open transaction ends with its connection.
            Err(_) => session.link = None,
        }
        changed.map(|changed| changed.new)
    }
}

/// Rewrites the table without its old rows. The rows are right without it: a role that does not own the table may not do it, and the server then
/// only warns.
///
/// A transaction that has read the table makes it wait, and all readers of keys wait behind it: so it waits for a short time.
fn clean(link: &mut Link) -> Result<(), Failure> {
    link.batch(CLEAN_PATIENCE)?;
    let cleaned = link.batch("VACUUM FULL annals_keys");
    link.batch("SET lock_timeout = 0")?;
    cleaned
}

fn revision(link: &mut Link) -> Result<u64, Failure> {
    let revision: Option<i64> = first(&link.query(None, REVISION, &[])?)?;
    let revision = revision.ok_or_else(|| unusable("its revision is missing: restore the tables from a backup"))?;
    Ok(revision.cast_unsigned())
}

fn read(link: &mut Link, name: &str) -> Result<Option<Secret>, Failure> {
    let secret: Option<Vec<u8>> = first(&link.query(None, READ, &[&name])?)?;
    Ok(secret.map(Zeroizing::new))
}

/// The column of the first row. Another type than expected is a failure: it must not be taken for a missing key.
fn first<'a, T: FromSql<'a>>(rows: &'a [Row]) -> Result<Option<T>, Failure> {
    let column = rows.first().map(|row| row.try_get(0)).transpose();
    column.map_err(|error| unusable(&format!("its tables are not those of a key store: {error}")))
}

fn unusable(text: &str) -> Failure {
    Failure {
        code: None,
        text: text.to_owned(),
        is_of_database: false,
    }
}

fn create(link: &mut Link, schema: &str) -> Result<(), String> {
    let text = |failure: Failure| failure.text;
    link.batch(&format!("BEGIN; SELECT pg_catalog.pg_advisory_xact_lock({LOCK})"))
        .map_err(text)?;
    let there = link.query(
        None,
        "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1",
        &[&schema],
    );
    if there.map_err(text)?.is_empty() {
        let quoted = schema.replace('"', "\"\"");
        link.batch(&format!("CREATE SCHEMA \"{quoted}\"")).map_err(text)?;
    }
    link.batch(CREATE).and_then(|()| link.batch("COMMIT")).map_err(text)
}

/// Tables that are missing are the likeliest mistake.
fn explained(failure: &Failure) -> String {
    if failure.code.as_deref() == Some("42P01") {
        return format!(
            "{}; create its tables with `PostgresKeys::open_or_create`, or restore them from a backup",
            failure.text
        );
    }
    failure.text.clone()
}
