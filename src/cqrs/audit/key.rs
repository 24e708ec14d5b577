//! The key that signs heads and anchors, and the public key that checks them.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::hex;
use crate::Error;

/// Maximum bytes of a key file that are read.
const FILE_MAX: u64 = 4_096;

/// The private key that signs [heads](super::Head) and [anchors](super::Anchor): ed25519.
///
/// Keep it where the store's administrators cannot read it, and never in the store. The key is overwritten in memory when it is dropped, and neither
/// `Debug` nor an error shows it.
///
/// ```
/// use annals::cqrs::audit::AuditKey;
///
/// let key = AuditKey::from_bytes([7; 32]);
/// assert!(!format!("{key:?}").contains("0707"));
/// assert_eq!(key.public().to_string().len(), 64);
/// ```
pub struct AuditKey(SigningKey);

/// The public key of an [`AuditKey`]: 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl AuditKey {
    /// The key with these secret bytes.
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        let secret = Zeroizing::new(secret);
        Self(SigningKey::from_bytes(&secret))
    }

    /// A new random key.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the operating system provides no randomness.
    pub fn generate() -> Result<Self, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret)
            .map_err(|error| Error::invalid(format!("the system provides no random bytes for a key: {error}")))?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// Reads a key from a file that [`write_new`](Self::write_new) wrote: 64 hexadecimal digits on one line.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the file cannot be read or does not contain a key, and on Unix when its permissions allow access to the group or others.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let refused =
            |reason: &str| Error::invalid(format!("cannot read the audit key in {}: {reason}", path.display()));
        let file = File::open(path).map_err(|error| refused(&error.to_string()))?;
        check_owner_only(&file).map_err(|reason| refused(&reason))?;
        let mut text = Zeroizing::new(String::with_capacity(FILE_MAX as usize));
        file.take(FILE_MAX)
            .read_to_string(&mut text)
            .map_err(|error| refused(&error.to_string()))?;
        let secret = hex::decode(text.trim()).map(Zeroizing::new);
        let secret = secret.ok_or_else(|| refused("the file must contain 64 hexadecimal digits on one line"))?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// Writes the key to a new file that only its owner can read (mode 600 on Unix), and syncs it.
    ///
    /// # Errors
    ///
    /// The error of the file system; [`AlreadyExists`](io::ErrorKind::AlreadyExists) when the file exists, which is never replaced.
    pub fn write_new(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(self.0.as_bytes()))));
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey(public {})", self.public())
    }
}

#[cfg(unix)]
fn check_owner_only(file: &File) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = file.metadata().map_err(|error| error.to_string())?.permissions().mode() & 0o777;
    // The last six bits are those of the group and of others.
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    Err(format!(
        "its permissions allow access to other users (mode {mode:o}): run `chmod 600`, and make a new key if the file was shared"
    ))
}

#[cfg(not(unix))]
fn check_owner_only(_: &File) -> Result<(), String> {
    Ok(())
}

impl PublicKey {
    /// Whether `signature` is that of this key for `bytes`. Strict: keys and signatures of a small group are refused.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(bytes, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let key = hex::decode(text.trim()).filter(|bytes| VerifyingKey::from_bytes(bytes).is_ok());
        key.map(Self).ok_or_else(|| {
            Error::invalid(
                "invalid public key: expected 64 hexadecimal digits that are a point of the curve of ed25519",
            )
        })
    }
}
