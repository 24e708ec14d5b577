//! The reasons of failures: they may quote the data of events, so they are stored no more readably than these.

use std::sync::Arc;

use uuid::Uuid;

use super::codec::DerivedData;
use super::process::shortened;

/// The longest reason that is encrypted, in bytes: with its nonce and as text it is still below the limit of a stored reason.
const SEALED_BYTES_MAX: usize = 2_800;

const WITHHELD: &str = "the reason is withheld: it may quote personal data that was erased";

/// What a sealed reason begins with, as it is stored.
const SEALED: &str = "sealed:";

/// Stores the reasons of what is handled from a moment on.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasons(Option<(Arc<dyn DerivedData>, Option<Uuid>)>);

impl Reasons {
    /// Before an event is decoded: its data must not be stored after the epoch that it was decoded in.
    pub(super) fn begin(derived: Option<Arc<dyn DerivedData>>) -> Self {
        Self(derived.map(|derived| {
            let epoch = derived.epoch().ok();
            (derived, epoch)
        }))
    }

    /// The reason as it is stored.
    pub(super) fn seal(&self, reason: String) -> String {
        let Some((derived, epoch)) = &self.0 else {
            return reason;
        };
        let seal = || {
            let reason = shortened(&reason, SEALED_BYTES_MAX);
            let sealed = derived.seal((*epoch)?, reason.as_bytes()).ok()?;
            Some(format!("{SEALED}{sealed}"))
        };
        seal().unwrap_or_else(|| WITHHELD.to_owned())
    }

    /// A stored reason as it was.
    pub(super) fn open(derived: Option<Arc<dyn DerivedData>>, stored: String) -> String {
        let Some(derived) = derived else {
            return stored;
        };
        let Some(sealed) = stored.strip_prefix(SEALED) else {
            return stored;
        };
        let opened = derived.open(sealed).and_then(|reason| String::from_utf8(reason).ok());
        opened.unwrap_or_else(|| WITHHELD.to_owned())
    }
}
