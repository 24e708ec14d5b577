//! TLS of the client, and the certificate authorities that it trusts.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use annals::Error;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::error::ClientError;

/// Bytes of a file of authorities, at most.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Trusts these authorities alone.
fn trusting<'a>(authorities: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> TlsConfig {
    let certificates = authorities
        .into_iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned());
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::from(certificates))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build()
}

/// Trusts the authorities of the operating system. If there are none, no server is trusted.
pub(super) fn of_system() -> TlsConfig {
    trusting(&rustls_native_certs::load_native_certs().certs)
}

/// Trusts the authorities of a file in PEM.
pub(super) fn of_file(path: &Path) -> Result<TlsConfig, ClientError> {
    let failed = |why: &str| {
        let message = format!("cannot use {} as authorities of servers: {why}", path.display());
        ClientError::from(Error::Invalid {
            message: message.into(),
        })
    };
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut pem));
    if read.map_err(|error| failed(&error.to_string()))? as u64 > FILE_BYTES_MAX {
        return Err(failed("it has more than 16 MiB; name a file in PEM"));
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
    let certificates = certificates.ok_or_else(|| {
        failed("it has no valid certificate; name one in PEM, which begins with -----BEGIN CERTIFICATE-----")
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| failed(&error.to_string()))?;
    }
    Ok(trusting(&certificates))
}
