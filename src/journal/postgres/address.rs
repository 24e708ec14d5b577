//! The address of a server, in the syntax of libpq: `postgres://user:password@host:port/database?option=value`.

use std::fmt;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::tls::{Roots, Tls, Verify};
use crate::journal::{JournalError, JournalErrorKind};
use crate::percent::decode;

/// The options of an address, without those of the store.
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

/// A server and the verification of its identity. Neither `Debug` nor `Display` shows the password.
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
        let hosts: Vec<_> = self.hosts().into_iter().map(|(name, _)| name).collect();
        let database = self.config.get_dbname().or(self.config.get_user());
        write!(f, "{}/{}", hosts.join(","), database.unwrap_or_default())
    }
}

fn invalid(message: impl Into<Box<str>>) -> JournalError {
    JournalError::new(JournalErrorKind::Unsupported, message)
}

impl Address {
    /// Parses an address. Messages show the name and value of an option at most: another part of the URL may hold a password.
    pub(crate) fn parse(url: &str) -> Result<Self, JournalError> {
        let (base, options) = url.split_once('?').unwrap_or((url, ""));
        let options = Options::parse(options)?;
        let mut config = read(&format!("{base}?{}", options.others.join("&")))?;
        if config.get_application_name().is_none() {
            config.application_name("annals");
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        check_names(&config)?;
        check_count(&config)?;
        let (mode, tls) = tls(options.mode, options.roots)?;
        config.ssl_mode(mode);
        Ok(Self { config, tls })
    }

    /// The servers of the address, each with its name and configuration.
    pub(super) fn hosts(&self) -> Vec<(String, Config)> {
        let config = &self.config;
        (0..count(config)).map(|place| one_of(config, place)).collect()
    }
}

/// The options of an address: those of TLS, and those that `tokio_postgres` parses.
#[derive(Default)]
struct Options<'a> {
    mode: Option<&'a str>,
    roots: Option<&'a str>,
    others: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(text: &'a str) -> Result<Self, JournalError> {
        let (mut options, mut seen) = (Self::default(), Vec::new());
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if !OPTIONS.contains(&name) {
                return Err(unknown(name));
            }
            if seen.contains(&name) {
                return Err(invalid(format!("the option {name} is given twice")));
            }
            seen.push(name);
            match name {
                "sslmode" => options.mode = Some(value),
                "sslrootcert" => options.roots = Some(value),
                _ => options.others.push(option),
            }
        }
        Ok(options)
    }
}

fn count(config: &Config) -> usize {
    config.get_hosts().len().max(config.get_hostaddrs().len())
}

/// # Errors
///
/// Unsupported when a host name contains an @: it may be a part of a password, and messages show hosts.
fn check_names(config: &Config) -> Result<(), JournalError> {
    let has_at = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
    if config.get_hosts().iter().any(has_at) {
        return Err(invalid(
            "the host name of the PostgreSQL server contains an @: in a user or a password, write %40",
        ));
    }
    Ok(())
}

/// # Errors
///
/// Unsupported when ports or numeric addresses cannot be assigned to hosts.
fn check_count(config: &Config) -> Result<(), JournalError> {
    let (names, numbers) = (config.get_hosts().len(), config.get_hostaddrs().len());
    let ports = config.get_ports().len();
    if names > 0 && numbers > 0 && names != numbers {
        return Err(invalid(format!(
            "the address has {names} hosts and {numbers} of hostaddr: give one hostaddr per host"
        )));
    }
    if ports > 1 && ports != count(config) {
        return Err(invalid(format!(
            "the address has {} hosts and {ports} ports: give one port, or one per host",
            count(config)
        )));
    }
    Ok(())
}

/// The host at `place`: its name, and the configuration for it alone.
fn one_of(config: &Config, place: usize) -> (String, Config) {
    let mut one = without_hosts(config);
    let (host, number) = (config.get_hosts().get(place), config.get_hostaddrs().get(place));
    let name = match host {
        Some(Host::Tcp(name)) => {
            one.host(name);
            name.clone()
        }
        #[cfg(unix)]
        Some(Host::Unix(folder)) => {
            one.host_path(folder);
            folder.display().to_string()
        }
        None => number.map_or(String::new(), ToString::to_string),
    };
    if let Some(number) = number {
        one.hostaddr(*number);
    }
    let port = config.get_ports().get(place).or(config.get_ports().first());
    let port = port.copied().unwrap_or(5432);
    one.port(port);
    (format!("{name}:{port}"), one)
}

/// A copy of `config` without hosts.
fn without_hosts(config: &Config) -> Config {
    let mut other = Config::new();
    other
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    config.get_user().map(|user| other.user(user));
    config.get_password().map(|password| other.password(password));
    config.get_dbname().map(|name| other.dbname(name));
    config.get_options().map(|options| other.options(options));
    config.get_application_name().map(|name| other.application_name(name));
    config.get_connect_timeout().map(|time| other.connect_timeout(*time));
    config.get_tcp_user_timeout().map(|time| other.tcp_user_timeout(*time));
    other
}

fn unknown(name: &str) -> JournalError {
    invalid(format!(
        "{} is not an option of a PostgreSQL server; the options are {}",
        shown_option(name),
        OPTIONS.join(", ")
    ))
}

/// The name of an unknown option for messages, unless it may be a part of a password that contains a `?`.
pub(crate) fn shown_option(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        format!("'{name}'")
    } else {
        "the text after the ? or an & (in a password, write %3F and %26)".to_owned()
    }
}

fn read(url: &str) -> Result<Config, JournalError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(invalid(
            "the address of a PostgreSQL server must begin with postgres://, such as postgres://user@host/database",
        ));
    }
    url.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
        invalid(format!(
            "the address of the PostgreSQL server is invalid{cause}; write postgres://user@host:5432/database"
        ))
    })
}

/// The TLS mode as libpq defines it. A mode that verifies the server uses the system's certificate authorities unless `sslrootcert` names a file.
fn tls(mode: Option<&str>, roots: Option<&str>) -> Result<(SslMode, Tls), JournalError> {
    let given = roots.is_some();
    let (mode, verify) = match mode {
        // As for libpq: the system's authorities have signed certificates for any host.
        None if roots == Some("system") => (SslMode::Require, Verify::AuthorityAndName),
        Some("disable") if !given => (SslMode::Disable, Verify::Nothing),
        None | Some("prefer") if !given => (SslMode::Prefer, Verify::Nothing),
        None | Some("disable" | "prefer") => return Err(not_verified(mode)),
        // The same holds for these: libpq refuses them too.
        Some(weak @ ("require" | "verify-ca")) if roots == Some("system") => return Err(any_host(weak)),
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
    let roots = match roots {
        None | Some("system") => Roots::System,
        Some("") => {
            return Err(invalid(
                "the option sslrootcert names no file: write the path of a PEM file, or system",
            ));
        }
        Some(path) => {
            let path = decode(path).map_err(|error| invalid(format!("the option sslrootcert: {error}")))?;
            Roots::File(path.into())
        }
    };
    Ok((mode, Tls { verify, roots }))
}

fn not_verified(mode: Option<&str>) -> JournalError {
    invalid(format!(
        "the option sslrootcert has no effect with sslmode={}, which does not verify the server: write sslmode=verify-full, or leave \
         sslrootcert out",
        mode.unwrap_or("prefer")
    ))
}

fn any_host(mode: &str) -> JournalError {
    invalid(format!(
        "the option sslrootcert=system with sslmode={mode} would accept the certificate of any host: write sslmode=verify-full"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Address {
        Address::parse(url).expect(url)
    }

    #[test]
    fn an_address_of_several_servers_is_one_of_each() {
        for (url, shown, hosts) in [
            ("postgres://anna@db/orders", "anna@db:5432/orders", vec!["db:5432"]),
            (
                "postgres://a:5433,b/orders",
                "a:5433,b:5432/orders",
                vec!["a:5433", "b:5432"],
            ),
            (
                "postgres://orders@[::1],10.0.0.2:5/",
                "orders@::1:5432,10.0.0.2:5/orders",
                vec!["::1:5432", "10.0.0.2:5"],
            ),
            (
                "postgres:///orders?hostaddr=10.0.0.1,10.0.0.2&port=5433",
                "10.0.0.1:5433,10.0.0.2:5433/orders",
                vec!["10.0.0.1:5433", "10.0.0.2:5433"],
            ),
            (
                "postgres:///orders?host=%2Frun%2Fpostgresql",
                "/run/postgresql:5432/orders",
                vec!["/run/postgresql:5432"],
            ),
        ] {
            let address = parse(url);
            assert_eq!(address.to_string(), format!("postgres://{shown}"));
            let names: Vec<_> = address.hosts().into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, hosts, "{url}");
        }
    }

    #[test]
    fn each_server_has_all_that_the_address_says() {
        let options = "application_name=shop&channel_binding=require&connect_timeout=3&keepalives=0&keepalives_idle=7&\
                       load_balance_hosts=random&options=-c%20a=b&sslmode=require&target_session_attrs=read-only&tcp_user_timeout=4";
        let both = parse(&format!(
            "postgres://anna:secret@a:1,b:2/orders?hostaddr=10.0.0.1,10.0.0.2&{options}"
        ));
        let each = [("a:1", "10.0.0.1"), ("b:2", "10.0.0.2")];
        for ((host, number), (name, config)) in each.into_iter().zip(both.hosts()) {
            let one = format!("postgres://anna:secret@{host}/orders?hostaddr={number}&{options}");
            assert_eq!((name.as_str(), config), (host, parse(&one).config));
        }
    }

    #[test]
    fn the_rest_of_a_password_was_shown_as_a_host() {
        for url in [
            "postgres://anna:sec@ret@host/orders",
            "postgres://anna:sec@ret@a,b/orders",
            "postgres://anna:sec@a,ret@b/orders",
            "postgres://anna:sec@ret%40host/orders",
        ] {
            let refused = Address::parse(url).expect_err("an @ in a host").to_string();
            assert!(refused.contains("write %40") && !refused.contains("ret"), "{refused}");
        }
    }

    #[test]
    fn hosts_and_ports_that_do_not_go_together_are_refused() {
        for (url, part) in [
            ("postgres://a,b/orders?hostaddr=10.0.0.1", "2 hosts and 1 of hostaddr"),
            (
                "postgres:///orders?hostaddr=10.0.0.1,10.0.0.2,10.0.0.3&port=1,2",
                "3 hosts and 2 ports",
            ),
        ] {
            let refused = Address::parse(url).expect_err(url).to_string();
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn a_file_of_authorities_was_ignored_where_nothing_is_verified() {
        for (options, part) in [
            ("sslrootcert=ca.pem", "sslmode=verify-full"),
            ("sslrootcert=ca.pem&sslmode=prefer", "sslmode=verify-full"),
            ("sslmode=disable&sslrootcert=ca.pem", "sslmode=verify-full"),
            ("sslrootcert=system&sslmode=prefer", "sslmode=verify-full"),
            ("sslrootcert=system&sslmode=require", "any host"),
            ("sslmode=verify-ca&sslrootcert=system", "any host"),
            ("sslrootcert=&sslmode=verify-full", "names no file"),
            ("sslrootcert=%zz.pem&sslmode=verify-full", "write %25"),
            ("sslrootcert=%+1.pem&sslmode=verify-full", "write %25"),
            ("sslrootcert=%ff.pem&sslmode=verify-full", "not UTF-8"),
        ] {
            let refused = Address::parse(&format!("postgres://db/orders?{options}")).map(drop);
            let message = refused.expect_err(options).to_string();
            assert!(
                message.contains("sslrootcert") && message.contains(part),
                "{options}: {message}"
            );
        }
        let tls = |options: &str| parse(&format!("postgres://db/orders?{options}")).tls;
        assert_eq!(tls("sslrootcert=system").verify, Verify::AuthorityAndName);
        assert_eq!(tls("sslrootcert=system").roots, Roots::System);
        let file = Roots::File("my ca.pem".into());
        assert_eq!(tls("sslmode=verify-ca&sslrootcert=my%20ca.pem").roots, file);
    }

    #[test]
    fn the_last_of_two_values_of_an_option_was_taken() {
        for options in [
            "sslmode=verify-full&sslmode=disable",
            "host=a&port=1&host=b",
            "user=anna&user=berta",
            "sslmode=disable&sslmode=disable",
        ] {
            let refused = Address::parse(&format!("postgres://db/orders?{options}")).map(drop);
            let message = refused.expect_err(options).to_string();
            assert!(message.contains("twice"), "{options}: {message}");
        }
    }
}
