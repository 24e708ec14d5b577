//! A client of the gRPC service of `UmaDB`: the calls and the fields that a benchmark needs.
//!
//! The crate `umadb-client` runs `protoc` when it is built, which a machine may not have.

mod messages;

use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::runtime::Runtime;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::{ProstCodec, Streaming};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

pub(in crate::backends) use self::messages::{Append, Condition, Event, Query, Read, Sequenced};
use self::messages::{Head, Nothing, Page, Subscribe};
use super::OrFailed as _;
use crate::store::{Result, StoreError};

/// The time limit for connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// The time limit of a response, and of each of its parts.
const ANSWER: Duration = Duration::from_secs(60);
/// The most bytes of a message.
const MESSAGE_MAX: usize = 64 << 20;

/// A connection, over which all calls go.
#[derive(Clone, Debug)]
pub(in crate::backends) struct Dcb {
    runtime: Arc<Runtime>,
    grpc: Grpc<Channel>,
}

/// A failed condition has a separate code.
fn refused(status: &Status) -> StoreError {
    if status.code() == Code::FailedPrecondition {
        return StoreError::Conflict;
    }
    StoreError::Failed(format!("{}: {}", status.code(), status.message()))
}

/// The texts of an error and its causes, in one line.
fn told(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Dcb {
    /// Connects to `HOST:PORT`.
    pub(in crate::backends) fn connect(runtime: Runtime, address: &str) -> Result<Self> {
        let missing =
            |error: tonic::transport::Error| StoreError::Failed(format!("no UmaDB at {address}: {}", told(&error)));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(missing)?;
        let endpoint = endpoint.connect_timeout(CONNECT).timeout(ANSWER).tcp_nodelay(true);
        let channel = runtime.block_on(endpoint.connect()).map_err(missing)?;
        let grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_MAX);
        Ok(Self {
            runtime: Arc::new(runtime),
            grpc,
        })
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| StoreError::Failed(told(&error)))?;
        let path = PathAndQuery::from_static(path);
        let answered = grpc.unary(Request::new(request), path, ProstCodec::default()).await;
        answered
            .map(tonic::Response::into_inner)
            .map_err(|status| refused(&status))
    }

    async fn stream<Q: Message + 'static>(&self, path: &'static str, request: Q) -> Result<Streaming<Page>> {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| StoreError::Failed(told(&error)))?;
        let path = PathAndQuery::from_static(path);
        let answered = grpc
            .server_streaming(Request::new(request), path, ProstCodec::default())
            .await;
        answered
            .map(tonic::Response::into_inner)
            .map_err(|status| refused(&status))
    }

    pub(in crate::backends) fn head(&self) -> Result<u64> {
        let head: Head = self.runtime.block_on(self.call("/umadb.v1.DCB/Head", Nothing {}))?;
        Ok(head.position.unwrap_or(0))
    }

    pub(in crate::backends) fn append(&self, append: Append) -> Result<()> {
        let appended: Result<Head> = self.runtime.block_on(self.call("/umadb.v1.DCB/Append", append));
        appended.map(drop)
    }

    /// Passes each event to `take` until that returns false.
    pub(in crate::backends) fn read(&self, read: Read, take: &mut dyn FnMut(Sequenced) -> Result<bool>) -> Result<()> {
        self.runtime.block_on(self.read_pages(read, take))
    }

    async fn read_pages(&self, read: Read, take: &mut dyn FnMut(Sequenced) -> Result<bool>) -> Result<()> {
        let mut found = self.stream("/umadb.v1.DCB/Read", read).await?;
        while let Some(page) = page(&mut found, ANSWER).await.or_failed()?? {
            for event in page.events {
                if !take(event)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The position and the version of the last event with a tag.
    pub(in crate::backends) fn last(&self, tag: &str) -> Result<(u64, u64)> {
        let mut last = (0, 0);
        let read = Read {
            query: Some(Query::of_tag(tag)),
            backwards: Some(true),
            limit: Some(1),
            ..Read::default()
        };
        self.read(read, &mut |found| {
            last = (found.position, found.version()?);
            Ok(true)
        })?;
        Ok(last)
    }

    /// The events after a position, and those to come.
    pub(in crate::backends) fn subscribe(&self, after: u64) -> Result<Subscription> {
        let subscribe = Subscribe { after: Some(after) };
        let found = self.stream("/umadb.v1.DCB/Subscribe", subscribe);
        Ok(Subscription {
            found: self.runtime.block_on(found)?,
            runtime: Arc::clone(&self.runtime),
            left: VecDeque::new(),
        })
    }
}

/// The next page, if it arrives in time; `None` after the last one.
async fn page(found: &mut Streaming<Page>, wait: Duration) -> Result<Result<Option<Page>>, Elapsed> {
    let page = timeout(wait, found.message()).await?;
    Ok(page.map_err(|status| refused(&status)))
}

/// Events that the server sends when they are appended.
pub(in crate::backends) struct Subscription {
    runtime: Arc<Runtime>,
    found: Streaming<Page>,
    left: VecDeque<Sequenced>,
}

impl Subscription {
    /// At most `limit` events; none if no event arrives within `wait`.
    pub(in crate::backends) fn next(&mut self, limit: usize, wait: Duration) -> Result<Vec<Sequenced>> {
        if self.left.is_empty()
            && let Ok(page) = self.runtime.block_on(page(&mut self.found, wait))
        {
            let ended = || StoreError::Failed("the server ended a subscription".to_owned());
            self.left.extend(page?.ok_or_else(ended)?.events);
        }
        Ok(self.left.drain(..limit.min(self.left.len())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_refusal_was_a_conflict() {
        let conflict = Status::new(Code::FailedPrecondition, "integrity error");
        assert_eq!(refused(&conflict), StoreError::Conflict);
        let full = Status::new(Code::Internal, "no space left");
        let StoreError::Failed(text) = refused(&full) else {
            panic!("{full:?}");
        };
        assert!(text.ends_with("no space left"), "{text}");
    }

    #[test]
    fn a_server_that_is_not_there_was_told_without_a_reason() {
        let runtime = super::super::runtime(1).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Dcb::connect(runtime, &address).unwrap_err().to_string();
        assert!(error.starts_with(&format!("no UmaDB at {address}: ")), "{error}");
        let is_told = error.to_lowercase().contains("refused") && error.lines().count() == 1;
        assert!(is_told, "{error}");
    }
}
