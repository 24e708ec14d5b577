//! URLs of streams.

use std::fmt;
use std::path::PathBuf;

use annals::{Error, Result};
use percent_encoding::percent_decode_str;
use url::Url;

const PORT: u16 = 4222;
const NAME_BYTES_MAX: usize = 100;
const REPLICAS_MAX: usize = 5;

/// A stream on a server.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// User and password.
    pub(crate) login: Option<(String, String)>,
    pub(crate) stream: String,
    /// The replicas of a stream that is created.
    pub(crate) replicas: usize,
    pub(crate) tls: Tls,
}

/// How the connection is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Whether a connection without TLS is refused.
    pub(crate) is_required: bool,
    /// The file with the authorities that sign the certificate of the server, instead of those of the system.
    pub(crate) authority: Option<PathBuf>,
    /// The files with the certificate and the key of the client.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl Address {
    /// # Errors
    ///
    /// [`Error::Invalid`] that names the part of `url` that is wrong, and never the password.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let parsed = Url::parse(url).map_err(|error| invalid(format!("{error}; write {FORM}")))?;
        if parsed.scheme() != "nats" {
            return Err(invalid(format!(
                "'{}:' is no URL of NATS: write {FORM}",
                parsed.scheme()
            )));
        }
        let host = parsed.host_str().filter(|host| !host.is_empty());
        let parameters = Parameters::parse(&parsed)?;
        let host = host.ok_or_else(|| invalid(format!("a URL of NATS names a host: write {FORM}")))?;
        Ok(Self {
            host: host.to_owned(),
            port: parsed.port().unwrap_or(PORT),
            login: login(&parsed)?,
            stream: stream(parsed.path())?,
            replicas: parameters.replicas,
            tls: parameters.tls()?,
        })
    }

    /// What the client connects to.
    pub(crate) fn server(&self) -> String {
        format!("nats://{}:{}", self.host, self.port)
    }
}

/// Without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server(), self.stream)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const FORM: &str = "nats://HOST[:PORT]/STREAM[?replicas=N&tls=required&ca=FILE&cert=FILE&key=FILE]";

fn invalid(message: String) -> Error {
    Error::Invalid {
        message: message.into(),
    }
}

fn login(url: &Url) -> Result<Option<(String, String)>> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(Into::into);
    let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
    match (user, password) {
        (Ok(user), Ok(password)) => Ok(Some((user, password))),
        _ => Err(invalid(
            "the user or the password of the URL is not UTF-8 once decoded".to_owned(),
        )),
    }
}

/// The name of a stream is a token of its subjects, and a name of files of the server.
fn stream(path: &str) -> Result<String> {
    let name = path.strip_prefix('/').unwrap_or(path);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_allowed) {
        return Ok(name.to_owned());
    }
    // The path may be the end of a password.
    Err(invalid(format!(
        "the name of the stream must have 1 to {NAME_BYTES_MAX} letters, digits, '-' and '_': write {FORM}"
    )))
}

/// The parameters of a URL.
#[derive(Debug)]
struct Parameters {
    replicas: usize,
    is_tls_required: bool,
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Parameters {
    fn parse(url: &Url) -> Result<Self> {
        let mut parameters = Self {
            replicas: 1,
            is_tls_required: false,
            authority: None,
            certificate: None,
            key: None,
        };
        for (name, value) in url.query_pairs() {
            parameters.set(&name, &value)?;
        }
        Ok(parameters)
    }

    /// The values are left out of errors: a password may be among them.
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let file = match name {
            "replicas" => {
                let number = value.parse().ok().filter(|number| (1..=REPLICAS_MAX).contains(number));
                let reason = || invalid(format!("replicas must be from 1 to {REPLICAS_MAX}: write {FORM}"));
                self.replicas = number.ok_or_else(reason)?;
                return Ok(());
            }
            "tls" if value == "required" => {
                self.is_tls_required = true;
                return Ok(());
            }
            "tls" => return Err(invalid(format!("tls can only be 'required': write {FORM}"))),
            "ca" => &mut self.authority,
            "cert" => &mut self.certificate,
            "key" => &mut self.key,
            _ => {
                return Err(invalid(format!(
                    "a stream has the parameters replicas, tls, ca, cert and key: write {FORM}"
                )));
            }
        };
        if value.is_empty() {
            return Err(invalid(format!("{name} must name a file: write {FORM}")));
        }
        *file = Some(value.into());
        Ok(())
    }

    fn tls(self) -> Result<Tls> {
        let identity = match (self.certificate, self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => return Err(invalid(format!("cert and key go together: write {FORM}"))),
        };
        Ok(Tls {
            is_required: self.is_tls_required || self.authority.is_some() || identity.is_some(),
            authority: self.authority,
            identity,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read() {
        let address = Address::parse("nats://anna:s%3Acret+1@example.org:4333/orders-1?replicas=3").unwrap();
        assert_eq!(address.server(), "nats://example.org:4333");
        assert_eq!(address.login, Some(("anna".to_owned(), "s:cret+1".to_owned())));
        assert_eq!((address.stream.as_str(), address.replicas), ("orders-1", 3));
        let least = Address::parse("nats://localhost/o").unwrap();
        assert_eq!((least.port, least.login.clone(), least.replicas), (4222, None, 1));
        assert_eq!(
            format!("{least:?} {least}"),
            "nats://localhost:4222/o nats://localhost:4222/o"
        );
    }

    #[test]
    fn a_certificate_did_not_require_tls() {
        let tls = |query: &str| Address::parse(&format!("nats://localhost/o{query}")).unwrap().tls;
        assert_eq!(tls(""), Tls::default());
        assert!(tls("?tls=required").is_required);
        let authority = tls("?ca=/etc/ca%20.pem&replicas=3");
        assert_eq!(
            (authority.is_required, authority.authority),
            (true, Some("/etc/ca .pem".into()))
        );
        let identity = tls("?cert=c.pem&key=k.pem");
        let files = ("c.pem".into(), "k.pem".into());
        assert_eq!((identity.is_required, identity.identity), (true, Some(files)));
    }

    #[test]
    fn a_password_was_shown() {
        let address = Address::parse("nats://anna:secret@localhost/orders").unwrap();
        assert!(!format!("{address:?} {address}").contains("secret"));
        for url in [
            "nats://anna:secret@localhost/a.b",
            "nats://anna:12/secret@localhost/a",
            "nats://anna:12?secret@localhost/a",
            "nats://localhost/a?tls=secret",
            "nats://localhost/a?password=secret",
            "http://anna:secret@localhost/a",
            "nats://:secret@/",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_url_of_another_form_was_taken() {
        for url in [
            "",
            "orders",
            "nats://localhost",
            "nats://localhost/",
            "nats://localhost/a.b",
            "nats://localhost/a/b",
            "nats://localhost/>",
            "nats://localhost/a?replicas=0",
            "nats://localhost/a?replicas=6",
            "nats://localhost/a?replica=3",
            "nats://localhost/a?tls=no",
            "nats://localhost/a?ca=",
            "nats://localhost/a?cert=c.pem",
            "nats://localhost/a?key=k.pem",
            "nats:///a",
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{url}: {error:?}");
        }
        assert!(Address::parse(&format!("nats://localhost/{}", "a".repeat(101))).is_err());
    }
}
