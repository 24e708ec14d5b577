//! URLs of databases.

use std::fmt;
use std::time::Duration;

use annals::{Error, Result};

const SCHEME: &str = "mongodb://";
const FORM: &str =
    "mongodb://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]/DATABASE[?lease=10s&archive=true&replicaSet=NAME&tls=true]";
const NAME_BYTES_MAX: usize = 63;
const URL_BYTES_MAX: usize = 4096;
const LEASE: Duration = Duration::from_secs(10);
const LEASES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(3600)];

/// Parameters that are passed to the client unchanged.
const OF_CLIENT: [&str; 14] = [
    "appName",
    "authMechanism",
    "authSource",
    "connectTimeoutMS",
    "directConnection",
    "maxPoolSize",
    "minPoolSize",
    "replicaSet",
    "retryReads",
    "retryWrites",
    "ssl",
    "tls",
    "tlsCAFile",
    "tlsCertificateKeyFile",
];

/// Parameters of the client that must keep the value that the journal needs, and that value.
const FIXED: [(&str, &str); 4] = [
    ("w", "majority"),
    ("journal", "true"),
    ("readConcernLevel", "majority"),
    ("readPreference", "primary"),
];

/// A database on a server or a replica set.
#[derive(Clone)]
pub(crate) struct Address {
    /// The URL for the client, with the password.
    pub(crate) client_url: String,
    /// What must not be shown: the user information of the URL, and the password in it, also decoded.
    secrets: Vec<String>,
    hosts: String,
    pub(crate) database: String,
    /// How long an unresponsive writer keeps the store.
    pub(crate) lease: Duration,
    /// Whether purged events are copied to `events_archive`.
    pub(crate) has_archive: bool,
}

impl Address {
    /// # Errors
    ///
    /// [`Error::Invalid`] that names the invalid part of `url`, and never the password.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix(SCHEME).filter(|_| url.len() <= URL_BYTES_MAX);
        let rest = rest.ok_or_else(|| invalid(format!("the URL is not one of MongoDB: write {FORM}")))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, place) = match place.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, place),
        };
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        check_hosts(hosts)?;
        check_name(database)?;
        let mut address = Self {
            client_url: String::new(),
            secrets: login.map(secrets).unwrap_or_default(),
            hosts: hosts.to_owned(),
            database: database.to_owned(),
            lease: LEASE,
            has_archive: false,
        };
        let parameters = address.set_all(query)?;
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        address.client_url = format!("{SCHEME}{login}{hosts}/{database}?{}", parameters.join("&"));
        Ok(address)
    }

    /// Sets the parameters of the journal, and returns those of the client.
    fn set_all<'a>(&mut self, query: &'a str) -> Result<Vec<&'a str>> {
        let mut of_client = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "lease" => self.lease = lease(value)?,
                "archive" => self.has_archive = is_true(value)?,
                _ if OF_CLIENT.contains(&name) => of_client.push(parameter),
                _ => check_fixed(name, value)?,
            }
        }
        Ok(of_client)
    }

    /// A message of the client without what must not be shown.
    pub(crate) fn without_secrets(&self, message: &str) -> String {
        let hidden = self.secrets.iter().filter(|secret| !secret.is_empty());
        hidden.fold(message.to_owned(), |message, secret| message.replace(secret, "…"))
    }
}

/// Without the user, the password and the parameters.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.hosts, self.database)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) fn invalid(message: impl Into<Box<str>>) -> Error {
    Error::Invalid {
        message: message.into(),
    }
}

/// The longest first, so that no part of one is left.
fn secrets(login: &str) -> Vec<String> {
    let password = login.split_once(':').map_or("", |(_, password)| password);
    let decoded = percent_encoding::percent_decode_str(password).decode_utf8_lossy();
    vec![login.to_owned(), password.to_owned(), decoded.into_owned()]
}

fn check_hosts(hosts: &str) -> Result<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_');
    let is_host = |host: &str| !host.is_empty() && host.bytes().all(is_allowed);
    if hosts.split(',').all(is_host) {
        return Ok(());
    }
    // The host may be a part of a password that is not encoded.
    Err(invalid(format!(
        "a host of the URL is missing or invalid; encode '@', '/' and ':' of a password by '%' and two digits: write {FORM}"
    )))
}

fn check_name(name: &str) -> Result<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(invalid(format!(
        "the URL names no database, or one that is not 1 to {NAME_BYTES_MAX} letters, digits, '-' and '_': write {FORM}"
    )))
}

fn check_fixed(name: &str, value: &str) -> Result<()> {
    match FIXED.iter().find(|(fixed, _)| *fixed == name) {
        Some((_, needed)) if *needed == value => Ok(()),
        Some((_, needed)) => Err(invalid(format!(
            "the parameter {name} of the URL would weaken what an acknowledgement is worth: remove it, or write {name}={needed}"
        ))),
        None => Err(invalid(format!(
            "a parameter of the URL is unknown; there are lease, archive, {}",
            OF_CLIENT.join(", ")
        ))),
    }
}

fn is_true(value: &str) -> Result<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid("the parameter archive must be true or false")),
    }
}

/// `500ms` or `10s`.
fn lease(value: &str) -> Result<Duration> {
    let parsed = match value.strip_suffix("ms") {
        Some(millis) => millis.parse().map(Duration::from_millis),
        None => value.strip_suffix('s').unwrap_or("").parse().map(Duration::from_secs),
    };
    let [shortest, longest] = LEASES;
    let lease = parsed.ok().filter(|lease| (shortest..=longest).contains(lease));
    lease.ok_or_else(|| invalid("the parameter lease must be 200ms to 3600s, for example 10s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_a_url_was_shown() {
        let url = "mongodb://anna:s3c%2Fr3t@db:27017,other/orders?replicaSet=rs0&lease=2s";
        let address = Address::parse(url).unwrap();
        assert_eq!(
            format!("{address} {address:?}"),
            "mongodb://db:27017,other/orders mongodb://db:27017,other/orders"
        );
        let shown = address.without_secrets("cannot use s3c/r3t or anna:s3c%2Fr3t");
        assert_eq!(shown, "cannot use … or …");
        assert_eq!(address.lease, Duration::from_secs(2));
        assert_eq!(
            address.client_url,
            "mongodb://anna:s3c%2Fr3t@db:27017,other/orders?replicaSet=rs0"
        );
        for wrong in [
            "mongodb://anna:s3cr3t@db",
            "mongodb://anna:s3cr3t@/orders",
            "mongodb://anna:s3cr3t/x@db/orders/x",
            "mongodb://anna:s3cr3t@db/orders?s3cr3t=1",
            "mongodb://anna:s3cr3t@db/orders?lease=s3cr3t",
            "mongodb+srv://anna:s3cr3t@db/orders",
        ] {
            let error = Address::parse(wrong).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn a_url_weakened_an_acknowledgement() {
        for wrong in [
            "w=1",
            "w=0",
            "journal=false",
            "readPreference=secondary",
            "readConcernLevel=local",
        ] {
            let error = Address::parse(&format!("mongodb://db/orders?{wrong}")).unwrap_err();
            assert!(error.to_string().contains("weaken"), "{error}");
        }
        assert!(Address::parse("mongodb://db/orders?w=majority&journal=true").is_ok());
    }
}
