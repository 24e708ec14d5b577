//! TLS, and the verification of the server's certificate.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::journal::{JournalError, JournalErrorKind};

/// The verification of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    /// None: encrypts against eavesdropping, but does not prevent a man in the middle.
    Nothing,
    /// A trusted authority has signed its certificate.
    Authority,
    /// A trusted authority has signed its certificate for the name of the host.
    AuthorityAndName,
}

/// The trusted authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// The operating system's.
    System,
    /// Those of a PEM file.
    File(PathBuf),
}

/// The settings of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) verify: Verify,
    pub(super) roots: Roots,
}

fn unusable(message: String) -> JournalError {
    JournalError::new(JournalErrorKind::Unsupported, message)
}

impl Tls {
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, JournalError> {
        let provider = Arc::new(ring::default_provider());
        let failed = |error: Error| unusable(format!("TLS cannot be set up: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let config = match self.verify {
            Verify::AuthorityAndName => builder.with_root_certificates(self.roots.load()?).with_no_client_auth(),
            verify @ (Verify::Nothing | Verify::Authority) => {
                let inner = (verify == Verify::Authority)
                    .then(|| self.authority(&provider))
                    .transpose()?;
                let lenient = Arc::new(Lenient { provider, inner });
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(lenient)
                    .with_no_client_auth()
            }
        };
        Ok(MakeRustlsConnect::new(config))
    }

    fn authority(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, JournalError> {
        let roots = Arc::new(self.roots.load()?);
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|error| unusable(format!("TLS cannot be set up: {error}")))
    }
}

impl Roots {
    fn load(&self) -> Result<RootCertStore, JournalError> {
        let mut store = RootCertStore::empty();
        match self {
            Self::System => {
                // An invalid certificate is skipped, which trusts fewer authorities.
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Self::File(path) => {
                let bad = |why: &dyn std::fmt::Display| {
                    unusable(format!(
                        "the file {} of sslrootcert cannot be used: {why}",
                        path.display()
                    ))
                };
                for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))? {
                    let certificate = certificate.map_err(|error| bad(&error))?;
                    store.add(certificate).map_err(|error| bad(&error))?;
                }
            }
        }
        if store.is_empty() {
            return Err(unusable(
                "there is no certificate authority to verify the server with: name a PEM file with sslrootcert"
                    .to_owned(),
            ));
        }
        Ok(store)
    }
}

/// Accepts a certificate for any name, and without an authority any certificate.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    inner: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(certificate, others, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
