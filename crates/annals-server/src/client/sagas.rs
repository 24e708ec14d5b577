//! The instances of sagas of a program behind a server.

use std::collections::BTreeMap;

use annals::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{self, ClientError};
use super::http::{add_query, segment};
use super::{Client, write};

/// A saga of a program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RemoteSaga {
    /// Its type.
    pub name: String,
    /// Instances that have not ended.
    pub active: u64,
    /// Those of them that wait for a person.
    pub stuck: u64,
}

/// An instance of a saga.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemoteInstance {
    /// Its key.
    pub key: String,
    /// The number of its run, from 1.
    pub run: u64,
    /// Its phase: `running`, `compensating`, `completed`, `failed` or `abandoned`.
    pub phase: String,
    /// The reason of its phase, if it has failed or was abandoned.
    pub reason: Option<String>,
    /// The reason for which it is stuck, if it is.
    pub stuck: Option<String>,
    /// Commands that it has yet to send.
    pub steps_left: u64,
    /// The timers that are set, with the times at which they are due.
    pub timers: BTreeMap<String, Timestamp>,
    /// Its state.
    pub state: serde_json::Value,
    /// When this run started.
    pub started_at: Timestamp,
    /// When its last event was recorded.
    pub changed_at: Timestamp,
}

/// A page of instances.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Instances {
    /// The instances, ascending by key.
    pub instances: Vec<RemoteInstance>,
    /// The key after which the next page begins; `None` for the last page.
    pub next: Option<String>,
    /// The number of all instances that are active, or stuck if the page is of these.
    pub total: u64,
}

#[derive(Deserialize)]
struct WireSagas {
    sagas: Vec<RemoteSaga>,
}

#[derive(Deserialize)]
struct WireChanged {
    changed: bool,
    instance: RemoteInstance,
}

#[derive(Serialize)]
struct WireReason<'a> {
    reason: &'a str,
}

fn path(saga: &str) -> String {
    format!("/sagas/{}/instances", segment(saga))
}

impl Client {
    /// The sagas of the program of this namespace, ascending by type.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if the server has no program here.
    pub fn sagas(&self) -> Result<Vec<RemoteSaga>, ClientError> {
        let all: WireSagas = self.http.get("/sagas")?;
        Ok(all.sagas)
    }

    /// At most `limit` instances of a saga that have not ended, or with `only_stuck` those that wait for a person, after a key; up to 1,000.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if there is no such saga.
    pub fn saga_instances(
        &self,
        saga: &str,
        only_stuck: bool,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Instances, ClientError> {
        let mut target = path(saga);
        let after = after.map(|after| ("cursor", after.to_owned()));
        let others = [("stuck", only_stuck.to_string()), ("limit", limit.to_string())];
        add_query(&mut target, others.into_iter().chain(after));
        self.http.get(&target)
    }

    /// The last run of an instance, also one that has ended; `None` if it never started.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn saga_instance(&self, saga: &str, key: &str) -> Result<Option<RemoteInstance>, ClientError> {
        error::found(self.http.get(&format!("{}/{}", path(saga), segment(key))))
    }

    /// Makes a stuck instance send its command again. Returns it, and whether it was stuck.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if there is no such instance, or its processor does not run.
    pub fn retry_saga(&self, saga: &str, key: &str) -> Result<(bool, RemoteInstance), ClientError> {
        let target = format!("{}/{}/retry", path(saga), segment(key));
        let wire: WireChanged = self.http.post_empty(&target)?;
        Ok((wire.changed, wire.instance))
    }

    /// Ends an instance without sending or compensating anything more. Returns it, and whether it was active.
    ///
    /// # Errors
    ///
    /// As [`retry_saga`](Self::retry_saga).
    pub fn abandon_saga(&self, saga: &str, key: &str, reason: &str) -> Result<(bool, RemoteInstance), ClientError> {
        let target = format!("{}/{}/abandon", path(saga), segment(key));
        let wire: WireChanged = self.http.post(&target, write::json(&WireReason { reason })?, &[])?;
        Ok((wire.changed, wire.instance))
    }
}
