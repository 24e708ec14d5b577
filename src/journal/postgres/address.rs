//! The address of a server, as libpq writes it: `postgres://user:password@host:port/database?option=value`.

use std::fmt;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::tls::{Roots, Tls, Verify};
use crate::journal::{JournalError, JournalErrorKind};

/// Options of an address, beside those of the store.
pub(crate) const OPTIONS: [&str; 17] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// A server, and how much is made sure that it is the one. Neither `Debug` nor `Display` shows the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(super) config: Config,
    pub(super) tls: Tls,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => f.write_str(host)?,
            #[cfg(unix)]
            Some(Host::Unix(folder)) => write!(f, "{}", folder.display())?,
            None => self
                .config
                .get_hostaddrs()
                .first()
                .map_or(Ok(()), |host| write!(f, "{host}"))?,
        }
        let port = self.config.get_ports().first().unwrap_or(&5432);
        let database = self.config.get_dbname().or(self.config.get_user());
        write!(f, ":{port}/{}", database.unwrap_or_default())
    }
}

fn invalid(message: impl Into<Box<str>>) -> JournalError {
    JournalError::new(JournalErrorKind::Unsupported, message)
}

impl Address {
    /// Reads an address. No message has a part of it but an option's name and value: there may be a password in it.
    pub(crate) fn parse(url: &str) -> Result<Self, JournalError> {
        let (base, options) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut others) = (None, None, Vec::new());
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "sslmode" => mode = Some(value),
                "sslrootcert" => roots = Some(value),
                name if OPTIONS.contains(&name) => others.push(option),
                name => return Err(unknown(name)),
            }
        }
        let mut config = read(&format!("{base}?{}", others.join("&")))?;
        if config.get_application_name().is_none() {
            config.application_name("annals");
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        let (mode, tls) = tls(mode, roots)?;
        config.ssl_mode(mode);
        Ok(Self { config, tls })
    }
}

fn unknown(name: &str) -> JournalError {
    invalid(format!(
        "{} is no option of a PostgreSQL server: there are {}",
        shown_option(name),
        OPTIONS.join(", ")
    ))
}

/// The name of an option that is none, unless it may be the rest of a password with a `?` in it.
pub(crate) fn shown_option(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        format!("'{name}'")
    } else {
        "what comes behind the ? or an & (in a password, write %3F and %26)".to_owned()
    }
}

fn read(url: &str) -> Result<Config, JournalError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(invalid(
            "the address of a PostgreSQL server begins with postgres://, such as postgres://user@host/database",
        ));
    }
    url.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
        invalid(format!(
            "the address of the PostgreSQL server cannot be read{cause}; write postgres://user@host:5432/database"
        ))
    })
}

/// What libpq means by a mode; one that verifies trusts the system's authorities where no file of them is named.
fn tls(mode: Option<&str>, roots: Option<&str>) -> Result<(SslMode, Tls), JournalError> {
    let given = roots.is_some();
    let roots = match roots {
        None | Some("system") => Roots::System,
        Some(path) => Roots::File(decoded(path).into()),
    };
    let (mode, verify) = match mode {
        Some("disable") => (SslMode::Disable, Verify::Nothing),
        None | Some("prefer") => (SslMode::Prefer, Verify::Nothing),
        Some("require") if given => (SslMode::Require, Verify::Authority),
        Some("require") => (SslMode::Require, Verify::Nothing),
        Some("verify-ca") => (SslMode::Require, Verify::Authority),
        Some("verify-full") => (SslMode::Require, Verify::AuthorityAndName),
        Some(other) => {
            return Err(invalid(format!(
                "the option sslmode is '{other}', but must be disable, prefer, require, verify-ca or verify-full"
            )));
        }
    };
    Ok((mode, Tls { verify, roots }))
}

/// A path with its `%2F` and the like as what they stand for.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let code = behind.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(code) = code.filter(|_| *byte == b'%') {
            bytes.push(code);
            rest = &behind[2..];
        } else {
            bytes.push(*byte);
            rest = behind;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
