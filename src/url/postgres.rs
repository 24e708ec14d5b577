//! The URL of a store in PostgreSQL: the address of the server, and the options of the store and its journal beside those of the address.

use super::options::{OPTIONS, StoreOptions, each, refusal, time};
#[cfg(feature = "cqrs")]
use crate::journal::postgres::Database;
use crate::journal::postgres::{ADDRESS_OPTIONS, Address, Partition, PostgresSettings, shown_option};
use crate::percent::decode;
use crate::{Error, Limits, Result};

/// The most bytes of an event's metadata and data.
const PAYLOAD_BYTES_MAX: usize = 512 << 20;

/// A database, and the options of its store. `Debug` shows no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PostgresUrl {
    pub(super) address: Address,
    pub(super) journal: PostgresSettings,
    pub(super) options: StoreOptions,
    /// Whether the URL names the schema.
    has_schema: bool,
}

/// The database of a URL for read models: without the option `schema`, sessions keep the `search_path` of the role. The options of a store have
/// no effect.
///
/// # Errors
///
/// [`Error::Invalid`] as [`PostgresUrl::parse`], and when TLS or the password file cannot be used.
#[cfg(feature = "cqrs")]
pub(crate) fn database_at(url: &str) -> Result<Database> {
    let url = PostgresUrl::parse(url)?;
    let schema = url.has_schema.then(|| url.journal.schema.clone());
    Ok(Database::new(&url.address, url.journal, schema)?)
}

/// As [`database_at`], with a schema for URLs that name none.
#[cfg(feature = "erasure")]
pub(crate) fn database_of(url: &str, schema: &str) -> Result<Database> {
    let url = PostgresUrl::parse(url)?;
    let schema = if url.has_schema {
        url.journal.schema.clone()
    } else {
        schema.to_owned()
    };
    Ok(Database::new(&url.address, url.journal, Some(schema))?)
}

impl PostgresUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the allowed values, without the part of the URL that can contain a password.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (base, options) = url.split_once('?').unwrap_or((url, ""));
        let (mut journal, mut store, mut others) = (PostgresSettings::default(), StoreOptions::default(), Vec::new());
        let mut has_schema = false;
        for option in each(options) {
            let (name, value) = option?;
            match name {
                "schema" => (journal.schema, has_schema) = (decode(value)?, true),
                "lease" => journal.lease = time(name, value)?,
                "lease_wait" => journal.lease_wait = time(name, value)?,
                "timeout" => journal.timeout = time(name, value)?,
                "partition" if value == "month" => journal.partition = Partition::ByMonth,
                "partition" => return Err(refusal(name, value, "month")),
                _ if store.set(name, value)? => {}
                _ if ADDRESS_OPTIONS.contains(&name) => others.push(format!("{name}={value}")),
                _ => return unknown(name),
            }
        }
        journal.check()?;
        Ok(Self {
            address: Address::parse(&format!("{base}?{}", others.join("&")))?,
            journal,
            options: store,
            has_schema,
        })
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] when an event can exceed a row of a table, which holds 1 GiB including the other columns.
    pub(super) fn check_limits(limits: &Limits) -> Result<()> {
        if limits.payload_bytes_max <= PAYLOAD_BYTES_MAX {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "limits.payload_bytes_max is {}, but must be at most {PAYLOAD_BYTES_MAX} in PostgreSQL",
            limits.payload_bytes_max
        )))
    }
}

fn unknown<T>(name: &str) -> Result<T> {
    Err(Error::invalid(format!(
        "{} is no option of postgres: there are {}, schema, lease, lease_wait, timeout, partition, {}",
        shown_option(name),
        OPTIONS.join(", "),
        ADDRESS_OPTIONS.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::refused;
    use super::*;
    use crate::{Durability, Settings, StoreUrl};

    #[test]
    fn options_of_the_store_and_of_the_server_are_told_apart() {
        let url = "postgres://anna@db:5433/orders?schema=my%20events&lease=10s&lease_wait=0s&timeout=5s&partition=month&\
                   durability=synced&retry_for=300s&application_name=shop&sslmode=disable";
        let url = PostgresUrl::parse(url).expect("a url");
        let expected = PostgresSettings {
            schema: "my events".to_owned(),
            lease: Duration::from_secs(10),
            lease_wait: Duration::ZERO,
            timeout: Duration::from_secs(5),
            partition: Partition::ByMonth,
        };
        assert_eq!(url.journal, expected);
        let mut settings = Settings::default();
        url.options.adjust(&mut settings);
        assert_eq!(settings.durability, Durability::Synced);
        assert_eq!(settings.flush.retry_for, Duration::from_secs(300));
        assert_eq!(url.address.to_string(), "postgres://anna@db:5433/orders");
    }

    #[test]
    fn passwords_are_never_shown() {
        let secret = "s3cr3t";
        for url in [
            "postgres://anna:s3cr3t@db/orders",
            "postgresql://db/orders?user=anna&password=s3cr3t",
            "postgres:///orders?host=/run/postgresql&password=s3cr3t",
        ] {
            let url: StoreUrl = url.parse().expect(url);
            assert!(!format!("{url:?} {url}").contains(secret), "{url:?}");
        }
        for url in [
            "postgres://anna:s3cr3t@db:port/orders",
            "postgres://anna:s3cr3t@db/orders?fast=1",
            "postgres://anna:s3cr3t@db/orders?sslmode=maybe",
            "postgres://anna:s3cr3t@db/orders?port=s",
            "postgres:anna:s3cr3t@db/orders",
            "postgres://anna:%zzs3cr3t@db/orders?schema=",
            "postgres://anna:s3cr3t@[db/orders",
            "postgres://anna:what?s3cr3t@db/orders",
            "postgres://anna:what?schema=s3cr3t@db/orders&x",
        ] {
            assert!(!refused(url).contains(secret), "{}", refused(url));
        }
    }

    #[test]
    fn events_that_are_longer_than_a_row_are_refused_before_there_is_one() {
        let mut settings = Settings::default();
        settings.limits.payload_bytes_max = 1 << 30;
        let url: StoreUrl = "postgres://nowhere/orders".parse().expect("a url");
        let refused = url.open(crate::Store::builder().settings(settings)).map(drop);
        assert!(
            matches!(&refused, Err(Error::Invalid { message }) if message.contains("536870912")),
            "{refused:?}"
        );
    }

    #[test]
    fn what_is_no_url_of_postgres_is_refused() {
        for (options, part) in [
            ("fast=1", "'fast' is no option of postgres: there are durability, "),
            ("lease=10", "lease is '10', but must be a time"),
            ("lease=1ms", "lease must be from 100 ms to an hour"),
            ("timeout=2h", "timeout is '2h'"),
            ("partition=year", "partition is 'year', but must be month"),
            ("schema=", "schema must have 1 to 63 bytes"),
            ("schema=pg_mine", "not begin with pg_"),
            ("schema=a&schema=b", "schema is given twice"),
            ("sslmode=maybe", "sslmode is 'maybe', but must be disable, prefer"),
            ("durability=forever", "durability is 'forever'"),
            ("segment_bytes=64MiB", "'segment_bytes' is no option of postgres"),
        ] {
            let url = format!("postgres://db/orders?{options}");
            assert!(refused(&url).contains(part), "{url}: {}", refused(&url));
        }
    }
}
