//! TLS: the certificate and the key of a server, checked before it listens, and the handshake of a connection.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::{Error, Timestamp};
use parking_lot::RwLock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Bytes of a file with a certificate or a key, at most.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The protocol of a connection, as the handshake names it.
const HTTP: &[u8] = b"http/1.1";
/// The first byte of a handshake. No method of HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

/// The certificate and the key of a [`Server`](crate::Server). `Debug` does not show them. Clones share them.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    is_key_open: bool,
}

/// The certificate and the key of the next handshake, and the files that they are read from.
struct Current {
    pair: RwLock<Arc<CertifiedKey>>,
    certificate: PathBuf,
    key: PathBuf,
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.pair.read()))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate, with those between it and its authority behind it, and its key. Both files are in PEM, and the key is not encrypted.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] that names the file and says what to do, if one cannot be read or has more than 1 MiB, if the certificate has expired
    /// or is not valid yet, or if the key is encrypted or of another certificate. The error shows nothing of the key.
    pub fn read_files(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let (pair, is_key_open) = read_pair(&provider, certificate, key)?;
        let current = Arc::new(Current {
            pair: RwLock::new(Arc::new(pair)),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        });
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| mismatch(&error, certificate, key))?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&current);
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![HTTP.to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            current,
            is_key_open,
        })
    }

    /// Reads both files again. Later handshakes use what they have now; connections that exist continue, and so may sessions that clients resume.
    /// The result is logged.
    ///
    /// # Errors
    ///
    /// Those of [`read_files`](Self::read_files); then the server keeps its certificate and its key.
    pub fn reload(&self) -> Result<(), Error> {
        let Current { certificate, key, pair } = &*self.current;
        match read_pair(&Arc::new(ring::default_provider()), certificate, key) {
            Ok((read, is_key_open)) => {
                *pair.write() = Arc::new(read);
                tracing::info!(target: "annals_server", "the certificate was read again");
                if is_key_open {
                    tracing::warn!(target: "annals_server", "other users of this machine can read the file of the key: take that away with chmod 600");
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(target: "annals_server", %error, "the certificate was not read again: the server keeps the one that it has");
                Err(error)
            }
        }
    }

    /// Whether other users of the machine can read the file of the key.
    pub fn is_key_open(&self) -> bool {
        self.is_key_open
    }

    /// The handshake of a connection; `None` if the client speaks plain HTTP.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Result<TlsStream<TcpStream>, TcpStream>> {
        let mut first = [0];
        match stream.peek(&mut first).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ if first == [HANDSHAKE] => self.acceptor.accept(stream).await.map(Ok),
            _ => Ok(Err(stream)),
        }
    }
}

/// Reads and checks a certificate and its key. Returns whether others can read the file of the key, too.
fn read_pair(provider: &Arc<CryptoProvider>, certificate: &Path, key: &Path) -> Result<(CertifiedKey, bool), Error> {
    let chain = read_chain(certificate)?;
    check_times(&chain, provider, certificate)?;
    let (secret, is_key_open) = read_key(key)?;
    let pair = CertifiedKey::from_der(chain, secret, provider);
    Ok((pair.map_err(|error| mismatch(&error, certificate, key))?, is_key_open))
}

fn invalid(message: String) -> Error {
    Error::Invalid {
        message: message.into(),
    }
}

fn read(path: &Path, file: File) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    match read.map_err(|error| unreadable(path, &error))? as u64 {
        ..=FILE_BYTES_MAX => Ok(bytes),
        _ => Err(invalid(format!(
            "{} has more than {FILE_BYTES_MAX} bytes: name a file in PEM",
            path.display()
        ))),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    invalid(format!(
        "cannot read {}: {error}; name a file that the server may read",
        path.display()
    ))
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| unreadable(path, &error))
}

/// The certificates of a file. Errors do not show its contents, which may include a key.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path, open(path)?)?;
    let chain: Option<Vec<_>> = CertificateDer::pem_slice_iter(&pem).map(Result::ok).collect();
    chain.filter(|chain| !chain.is_empty()).ok_or_else(|| {
        invalid(format!(
            "{} has no valid certificate: it must have one in PEM, which begins with -----BEGIN CERTIFICATE-----",
            path.display()
        ))
    })
}

/// The key of a file, and whether others can read it.
fn read_key(path: &Path) -> Result<(PrivateKeyDer<'static>, bool), Error> {
    let file = open(path)?;
    let is_open = is_open_to_others(&file);
    let pem = read(path, file)?;
    if is_encrypted(&pem) {
        return Err(invalid(format!(
            "the key {} is encrypted, and the server asks for no passphrase: decrypt it, as `openssl pkey -in FILE` does",
            path.display()
        )));
    }
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        invalid(format!(
            "{} has no valid key: it must have one in PEM, which begins with -----BEGIN PRIVATE KEY-----",
            path.display()
        ))
    })?;
    Ok((key, is_open))
}

/// Whether a key is encrypted, in PKCS #8 or as OpenSSL did it before.
fn is_encrypted(pem: &[u8]) -> bool {
    pem.split(|byte| *byte == b'\n').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED ")
            || line.starts_with(b"Proc-Type:") && line.trim_ascii_end().ends_with(b"ENCRYPTED")
    })
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> bool {
    false
}

/// Fails if the certificate is not valid now. Its signature is for clients to verify, so it is its own authority here.
fn check_times(chain: &[CertificateDer<'_>], provider: &Arc<CryptoProvider>, path: &Path) -> Result<(), Error> {
    let malformed = |error: &dyn fmt::Display| {
        invalid(format!(
            "the certificate {} cannot be used: {error}; name one of X.509, version 3",
            path.display()
        ))
    };
    let [own, others @ ..] = chain else {
        return Ok(());
    };
    let mut roots = RootCertStore::empty();
    roots.add(own.clone().into_owned()).map_err(|error| malformed(&error))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let verifier = verifier.map_err(|error| malformed(&error))?;
    let name = ServerName::try_from("localhost").map_err(|error| malformed(&error))?;
    let checked = verifier.verify_server_cert(own, others, &name, &[], UnixTime::now());
    let why = match checked {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            format!("expired at {}", date(not_after))
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
            format!("is not valid before {}: check the clock", date(not_before))
        }
        // Clients check its name, its authority and its use.
        _ => return Ok(()),
    };
    Err(invalid(format!(
        "the certificate {} {why}; get a new one",
        path.display()
    )))
}

fn date(time: UnixTime) -> String {
    let micros = i64::try_from(time.as_secs())
        .ok()
        .and_then(|secs| secs.checked_mul(1_000_000));
    let time = micros.and_then(|micros| Timestamp::try_from_micros(micros).ok());
    time.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
}

fn mismatch(error: &rustls::Error, certificate: &Path, key: &Path) -> Error {
    let (certificate, key) = (certificate.display(), key.display());
    invalid(if matches!(error, rustls::Error::InconsistentKeys(_)) {
        format!(
            "the key {key} is not that of the certificate {certificate}: name the key that the certificate was made for, and put the \
             certificate of the server first"
        )
    } else {
        format!(
            "the key {key} cannot be used with the certificate {certificate}: {error}; make one with ECDSA P-256, Ed25519 or RSA of 2,048 bits"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_passphrase_is_encrypted() {
        assert!(is_encrypted(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert!(is_encrypted(
            b"-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n"
        ));
        assert!(!is_encrypted(b"-----BEGIN PRIVATE KEY-----\nENCRYPTED\n"));
    }
}
