//! The start of a run in the log of a server whose events cannot be removed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::without_password;
use crate::store::{Place, Result};

/// A server, and its last position before the run.
#[derive(Debug)]
pub(in crate::backends) struct Since {
    pub(in crate::backends) url: String,
    position: AtomicU64,
}

impl Since {
    /// What `url` says: a number after `#` is the position, so that another process finds it.
    pub(in crate::backends) fn of(url: &str) -> Result<Self> {
        without_password(url)?;
        let (url, position) = url.split_once('#').unwrap_or((url, ""));
        Ok(Self {
            url: url.to_owned(),
            position: AtomicU64::new(position.parse().unwrap_or(0)),
        })
    }

    pub(in crate::backends) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    pub(in crate::backends) fn set(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// The URL with which another process finds it.
    pub(in crate::backends) fn place(&self) -> Place {
        Place::of_name(&format!("{}#{}", self.url, self.position()))
    }
}
