//! Commands and queries for the buses of a program behind a server.

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::HeaderName;

use super::error::ClientError;
use super::http::segment;
use super::{Client, write};

/// What a message says beside its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageOptions {
    /// The conversation of the events that the handler appends.
    pub correlation_id: Option<String>,
    /// Their cause.
    pub causation_id: Option<String>,
    /// Names a command, so that its repetition has no effect. The program must take it.
    pub idempotency_key: Option<String>,
}

impl MessageOptions {
    /// Sets the conversation of the events that the handler appends.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Sets the cause of the events that the handler appends.
    #[must_use]
    pub fn causation_id(mut self, id: impl Into<String>) -> Self {
        self.causation_id = Some(id.into());
        self
    }

    /// Names the command, so that its repetition has no effect.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    fn headers(&self) -> Vec<(HeaderName, &str)> {
        let all = [
            ("x-correlation-id", &self.correlation_id),
            ("x-causation-id", &self.causation_id),
            ("idempotency-key", &self.idempotency_key),
        ];
        let given = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        given
            .map(|(name, value)| (HeaderName::from_static(name), value))
            .collect()
    }
}

impl Client {
    /// Sends a command of this name to its handler, and returns the reply.
    ///
    /// # Errors
    ///
    /// [`Refused`](ClientError::Refused), with `message-refused`, `message-conflict`, `version-conflict`, `forbidden` or `not-found`, as the program
    /// says; a [`ClientError`] otherwise. After [`Unreachable`](ClientError::Unreachable) it is unknown whether the command was carried out.
    pub fn send_command<R: DeserializeOwned>(
        &self,
        name: &str,
        command: &impl Serialize,
        options: &MessageOptions,
    ) -> Result<R, ClientError> {
        self.dispatch(&format!("/commands/{}", segment(name)), command, options)
    }

    /// Sends a query of this name to its handler, and returns the reply.
    ///
    /// # Errors
    ///
    /// As [`send_command`](Self::send_command).
    pub fn send_query<R: DeserializeOwned>(
        &self,
        name: &str,
        query: &impl Serialize,
        options: &MessageOptions,
    ) -> Result<R, ClientError> {
        self.dispatch(&format!("/queries/{}", segment(name)), query, options)
    }

    fn dispatch<R: DeserializeOwned>(
        &self,
        target: &str,
        message: &impl Serialize,
        options: &MessageOptions,
    ) -> Result<R, ClientError> {
        self.http
            .post_message(target, write::json(message)?, &options.headers())
    }
}
