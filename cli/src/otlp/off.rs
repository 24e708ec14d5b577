//! Without the feature `otlp`: there are no spans.

use annals_server::Builder;

use super::BoxedLayer;
use crate::exit::{Failure, Outcome};

/// No spans.
pub(crate) enum Spans {}

/// Fails: the program cannot send spans.
///
/// # Errors
///
/// [`Failure::Usage`], always.
pub(crate) fn start(_: &str) -> Outcome<Spans> {
    Err(Failure::Usage(
        "this program cannot send spans: it was built without the feature otlp; leave --otlp out, or install it with --features otlp".to_owned(),
    ))
}

impl Spans {
    pub(crate) fn layer(&self) -> BoxedLayer {
        match *self {}
    }

    pub(crate) fn join_traces(server: Builder) -> Builder {
        server
    }

    pub(crate) fn end(self) -> u64 {
        match self {}
    }
}
