//! The state that all requests share: namespaces, limits, and the stage of the server.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use annals::{Durability, Store};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::limits::Limits;
use crate::logs::OnRequest;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::openapi::Parts;
use crate::program::Program;
use crate::tls::Tls;
use crate::tokens::Token;

/// The namespace of paths that name none.
pub(crate) const DEFAULT: &str = "default";

/// The stage of the server. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Running,
    /// No new connections; requests finish, tails end.
    Draining,
    /// Connections are dropped as they are.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) namespaces: Arc<Namespaces>,
    /// Names in `Host` that are accepted beside addresses and `localhost`, in lower case.
    pub(crate) hosts: Vec<String>,
    pub(crate) workers: Arc<Semaphore>,
    pub(crate) writers: Arc<Semaphore>,
    pub(crate) tails: Arc<Semaphore>,
    pub(crate) stage: watch::Sender<Stage>,
    /// Whether no store has a journal.
    pub(crate) is_ephemeral: bool,
    /// The namespaces whose failed journals were logged.
    pub(crate) faults_logged: Mutex<HashSet<String>>,
    /// The tokens; if there are none, everything is permitted.
    pub(crate) tokens: Vec<Token>,
    pub(crate) metrics: Metrics,
    /// The programs that are mounted, by their namespaces.
    pub(crate) programs: BTreeMap<String, Program>,
    /// The certificate, if connections have TLS.
    pub(crate) tls: Option<Tls>,
    pub(crate) on_request: OnRequest,
}

impl Shared {
    /// The optional parts of the API that the server has.
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            has_test_api: self.namespaces.has_test_api(),
            has_program: !self.programs.is_empty(),
        }
    }

    /// Completes when the server is as far as `stage`.
    pub(crate) fn reached(&self, stage: Stage) -> impl Future<Output = ()> + Send + 'static {
        let mut stages = self.stage.subscribe();
        async move {
            // The sender lives as long as the server; without it, the server has ended.
            drop(stages.wait_for(|now| *now >= stage).await);
        }
    }
}

/// Whether the store does not survive the process.
pub(crate) fn is_ephemeral(store: &Store) -> bool {
    store.with_durability(Durability::Written).is_err()
}
