//! Configures a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals::metrics::ToolkitMetrics;
use annals::{Error, Store};
use axum::http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tracing::Span;

use crate::limits::Limits;
use crate::logs::OnRequest;
use crate::metrics::{DailyWork, Metrics};
use crate::names::check_name;
use crate::namespaces::Namespaces;
use crate::openapi::Parts;
use crate::program::Program;
use crate::server::Server;
use crate::shared::{DEFAULT, Shared, Stage, is_ephemeral};
use crate::tls::Tls;
use crate::tokens::Token;

/// The least that a request's headers may take.
const HEADER_BYTES_MIN: usize = 8 << 10;

/// Configures a [`Server`].
#[derive(Debug)]
#[must_use = "a builder makes a server by `build`"]
pub struct Builder {
    namespaces: Vec<(String, Store)>,
    limits: Limits,
    hosts: Vec<String>,
    tokens: Vec<Token>,
    toolkit: ToolkitMetrics,
    daily: Option<DailyWork>,
    programs: Vec<(String, Program)>,
    has_test_api: bool,
    tls: Option<Tls>,
    on_request: OnRequest,
}

impl Server {
    /// Configures a server of `store`.
    pub fn builder(store: Store) -> Builder {
        Builder::new(store)
    }
}

impl Builder {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            namespaces: vec![(DEFAULT.to_owned(), store)],
            limits: Limits::default(),
            hosts: Vec::new(),
            tokens: Vec::new(),
            toolkit: ToolkitMetrics::new(),
            daily: None,
            programs: Vec::new(),
            has_test_api: false,
            tls: None,
            on_request: OnRequest::default(),
        }
    }

    /// Adds another store, at `/v1/ns/NAME`. The store of [`Server::builder`] is the namespace `default`, at `/v1` as well.
    pub fn namespace(mut self, name: impl Into<String>, store: Store) -> Self {
        self.namespaces.push((name.into(), store));
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Accepts requests whose `Host` is `name`, without a port. Addresses and `localhost` are always accepted; other names are refused, so that
    /// a web page cannot reach a local server by a name of its own.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into().to_ascii_lowercase());
        self
    }

    /// Permits only requests with one of these tokens, each as far as its role and namespace go. Without tokens everything is permitted.
    pub fn tokens(mut self, tokens: impl IntoIterator<Item = Token>) -> Self {
        self.tokens.extend(tokens);
        self
    }

    /// Accepts connections with TLS alone, by [`Server::serve`] and [`Server::run`]. Answers to names given by [`host`](Self::host) tell browsers
    /// to use no other (HSTS).
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Calls `hook` with the span of each request, before anything happens in it, and with the request's headers: to make the span a part of the trace
    /// that a header names. The span is [`Span::none`] where nothing subscribes to it.
    ///
    /// `hook` runs on a thread of the executor: it must not wait, nor panic. Headers have passwords and tokens, which belong in no trace.
    pub fn on_request(mut self, hook: impl Fn(&Span, &HeaderMap) + Send + Sync + 'static) -> Self {
        self.on_request = OnRequest::new(hook);
        self
    }

    /// Exports the metrics of the program's buses, processors, sagas and groups with those of the server.
    pub fn toolkit(mut self, metrics: &ToolkitMetrics) -> Self {
        self.toolkit = metrics.clone();
        self
    }

    /// Exports the results of the daily work on the store with the metrics of the server.
    pub fn daily(mut self, work: &DailyWork) -> Self {
        self.daily = Some(work.clone());
        self
    }

    /// Lets clients control the parts of the program, in the namespace `default`.
    pub fn program(self, program: Program) -> Self {
        self.program_in(DEFAULT, program)
    }

    /// Lets clients control the parts of the program that belong to the store of another namespace.
    pub fn program_in(mut self, namespace: impl Into<String>, program: Program) -> Self {
        self.programs.push((namespace.into(), program));
        self
    }

    /// Adds the operations for test suites: namespaces are made by their first append, emptied, kept, restored and forked, and their clocks
    /// moved. **Every client can wipe every store**, so all of them must be in memory.
    pub fn test_api(mut self) -> Self {
        self.has_test_api = true;
        self
    }

    /// Makes the server.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the name of a namespace is there twice, is empty, has more than 64 bytes or other characters than letters, digits,
    /// `-`, `_` and `.`, if a limit is 0 or too small, if a token is there twice or of an unknown namespace, if a
    /// namespace is to have two programs, or the namespace of a program is unknown, or if the test API is to be there with a program or a store
    /// that has a journal.
    pub fn build(self) -> Result<Server, Error> {
        check(&self.limits)?;
        let mut namespaces = BTreeMap::new();
        for (name, store) in self.namespaces {
            check_name(&name)?;
            if namespaces.insert(name.clone(), store).is_some() {
                return Err(invalid(format!(
                    "the namespace '{name}' is there twice: give one another name"
                )));
            }
        }
        check_tokens(&self.tokens, &namespaces)?;
        let programs = mounted(self.programs, &namespaces, self.has_test_api)?;
        let is_ephemeral = namespaces.values().all(is_ephemeral);
        if self.has_test_api && !is_ephemeral {
            let message = "the test API empties stores, and one of these has a journal: use stores in memory";
            return Err(invalid(message.to_owned()));
        }
        let test_max = self.has_test_api.then_some(self.limits.test_namespaces);
        let namespaces = Arc::new(Namespaces::new(namespaces, test_max));
        let limits = self.limits;
        let places = [
            ("reads", limits.workers),
            ("writes", limits.writers),
            ("tails", limits.tails),
        ];
        let places = places.map(|(of, count)| (of, Arc::new(Semaphore::new(count)), count));
        let [workers, writers, tails] = places.each_ref().map(|(_, places, _)| Arc::clone(places));
        let parts = Parts {
            has_test_api: self.has_test_api,
            has_program: !programs.is_empty(),
        };
        Ok(Server {
            shared: Arc::new(Shared {
                metrics: Metrics::new(Arc::clone(&namespaces), &self.toolkit, self.daily, places.into(), parts),
                programs,
                workers,
                writers,
                tails,
                limits,
                tokens: self.tokens,
                tls: self.tls,
                on_request: self.on_request,
                namespaces,
                hosts: self.hosts,
                stage: watch::Sender::new(Stage::Running),
                is_ephemeral,
                faults_logged: Mutex::default(),
            }),
        })
    }
}

fn invalid(message: String) -> Error {
    Error::Invalid {
        message: message.into(),
    }
}

/// The programs by their namespaces.
fn mounted(
    given: Vec<(String, Program)>,
    namespaces: &BTreeMap<String, Store>,
    has_test_api: bool,
) -> Result<BTreeMap<String, Program>, Error> {
    let mut programs = BTreeMap::new();
    for (name, program) in given {
        if has_test_api {
            let message = "the test API replaces stores, and the processors of a program would stay with the old ones: leave one of them out";
            return Err(invalid(message.to_owned()));
        }
        if !namespaces.contains_key(&name) {
            return Err(invalid(format!(
                "a program is of the namespace '{name}', which the server does not have"
            )));
        }
        if programs.insert(name.clone(), program).is_some() {
            return Err(invalid(format!(
                "the namespace '{name}' has two programs: make them one"
            )));
        }
    }
    Ok(programs)
}

fn check_tokens(tokens: &[Token], namespaces: &BTreeMap<String, Store>) -> Result<(), Error> {
    let mut named = tokens.iter().filter_map(Token::namespace);
    if let Some(name) = named.find(|name| !namespaces.contains_key(*name)) {
        return Err(invalid(format!(
            "a token is of the namespace '{name}', which the server does not have"
        )));
    }
    let is_known = |(place, token): (usize, &Token)| tokens[..place].iter().any(|other| other.is_same(token));
    if tokens.iter().enumerate().any(is_known) {
        return Err(invalid(
            "a token is there twice: give it one role and one namespace".to_owned(),
        ));
    }
    Ok(())
}

fn check(limits: &Limits) -> Result<(), Error> {
    let counts = [
        ("connections", limits.connections),
        ("page_events", limits.page_events),
        ("page_bytes", limits.page_bytes),
        ("body_bytes", limits.body_bytes),
        ("workers", limits.workers),
        ("writers", limits.writers),
        ("tails", limits.tails),
    ];
    if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
        return Err(invalid(format!("the limit {name} is 0: set it to 1 or more")));
    }
    // The most that the semaphores of the runtime count to.
    if let Some((name, _)) = counts.iter().find(|(_, count)| *count > Semaphore::MAX_PERMITS) {
        return Err(invalid(format!(
            "the limit {name} is more than {}",
            Semaphore::MAX_PERMITS
        )));
    }
    if limits.header_bytes < HEADER_BYTES_MIN {
        return Err(invalid(format!("the limit header_bytes is under {HEADER_BYTES_MIN}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_step_in_a_path_was_a_namespace() {
        for name in ["", "..", ".", "a/b", "ü", "a b", &"x".repeat(65), "default"] {
            let server = Builder::new(Store::in_memory())
                .namespace(name, Store::in_memory())
                .build();
            assert!(server.is_err(), "{name:?}");
        }
        let server = Builder::new(Store::in_memory()).namespace("test-1_a.b", Store::in_memory());
        assert!(server.build().is_ok());
    }

    #[test]
    fn a_limit_of_zero_hung_every_request() {
        let limits = Limits {
            workers: 0,
            ..Limits::default()
        };
        assert!(Builder::new(Store::in_memory()).limits(limits).build().is_err());
    }
}
