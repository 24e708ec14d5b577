//! TLS: the authorities that are trusted, and the certificate of the client.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use annals::journal::{JournalError, JournalErrorKind};
use async_nats::rustls::crypto::ring;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, RootCertStore};

use crate::address::Tls;

/// Bytes of a file, at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The settings of a connection. The provider is passed explicitly, because the default of a program that has two providers is a panic.
///
/// # Errors
///
/// [`Unsupported`](JournalErrorKind::Unsupported) when a file cannot be read or used.
pub(crate) fn config(tls: &Tls) -> Result<ClientConfig, JournalError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&"TLS cannot be set up", &error))?;
    let roots = match &tls.authority {
        Some(path) => authorities(path)?,
        None => authorities_of_system(),
    };
    let builder = builder.with_root_certificates(roots);
    let Some((certificate, key)) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let of_key = |error: &dyn Display| unusable(&format!("cannot use the key in {}", key.display()), error);
    let private = read(key).map_err(|error| of_key(&error))?;
    let private = PrivateKeyDer::from_pem_slice(&private).map_err(|error| of_key(&error))?;
    let chain = certificates(certificate)?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|error| of_key(&error))
}

fn authorities(path: &Path) -> Result<RootCertStore, JournalError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| unusable(&format!("cannot use the certificates in {}", path.display()), &error))?;
    }
    Ok(roots)
}

/// A system that has none refuses every server with TLS.
fn authorities_of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// The certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, JournalError> {
    let failed = |error: &dyn Display| unusable(&format!("cannot use the certificates in {}", path.display()), error);
    let bytes = read(path).map_err(|error| failed(&error))?;
    let read = CertificateDer::pem_slice_iter(&bytes);
    let certificates: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    if certificates.is_empty() {
        return Err(failed(&"there is none"));
    }
    Ok(certificates)
}

/// Reads a file, which may be the wrong one.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("it has more than {FILE_BYTES_MAX} bytes: name the right file");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(bytes)
}

fn unusable(what: &dyn Display, error: &dyn Display) -> JournalError {
    JournalError::new(JournalErrorKind::Unsupported, format!("{what}: {error}"))
}
