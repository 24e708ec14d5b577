//! Bodies of requests: their media type, their size, and the time that they may take.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::call::Passage;
use crate::problem::{Kind, Problem};
use crate::shared::Shared;

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Lines,
    CloudEvent,
    CloudEvents,
    /// The data of a `CloudEvent` whose attributes are headers.
    CloudData,
}

/// The whole body of a request.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) media: Media,
    pub(crate) bytes: Bytes,
    /// The header `Content-Type`, and the attributes of a `CloudEvent` in headers.
    pub(crate) media_type: String,
    pub(crate) attributes: Vec<(String, String)>,
}

impl FromRequest<Arc<Shared>> for Content {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Problem> {
        // A web page can send any text to any server without asking, but not with these types.
        let media = media_of(request.headers())?;
        let media_type = content_type(request.headers()).to_owned();
        let attributes = if media == Media::CloudData {
            attributes(request.headers())?
        } else {
            Vec::new()
        };
        let limit = shared.limits.body_bytes;
        if announced(request.headers()).is_some_and(|bytes| bytes > limit as u64) {
            return Err(too_large(limit));
        }
        let passage = request.extensions().get::<Passage>().cloned();
        let reading = timeout(shared.limits.body_time, collect(request.into_body(), limit));
        let Ok(read) = reading.await else {
            return Err(Problem::new(Kind::BodyTimeout, "the body was not sent in time"));
        };
        let bytes = read?;
        if let Some(passage) = passage {
            passage.is_body_read.store(true, Ordering::Relaxed);
        }
        Ok(Self {
            media,
            bytes,
            media_type,
            attributes,
        })
    }
}

impl Content {
    /// Reads the body as one JSON value.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if it is NDJSON, or no such value.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.expect_json()?;
        serde_json::from_slice(&self.bytes).map_err(|error| Problem::invalid(format!("the body is invalid: {error}")))
    }

    /// # Errors
    ///
    /// A [`Problem`] if the body is something else than one JSON value.
    pub(crate) fn expect_json(&self) -> Result<(), Problem> {
        if self.media != Media::Json {
            return Err(Problem::new(
                Kind::MediaType,
                "the body of this operation must be application/json",
            ));
        }
        Ok(())
    }
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid("the body ended before its end"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > limit - whole.len() {
            return Err(too_large(limit));
        }
        whole = joined(whole, data);
    }
    Ok(whole)
}

/// A short body is one piece, which is not copied.
fn joined(whole: Bytes, data: Bytes) -> Bytes {
    if whole.is_empty() {
        return data;
    }
    let mut joined = whole.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    joined.extend_from_slice(&data);
    joined.freeze()
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body has more than {limit} bytes: send several smaller requests");
    Problem::new(Kind::TooLarge, detail).with("limitBytes", limit)
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn content_type(headers: &HeaderMap) -> &str {
    let given = headers.get(CONTENT_TYPE).and_then(|given| given.to_str().ok());
    given.unwrap_or_default()
}

/// The attributes of a `CloudEvent` in headers: percent-encoded, though some clients send letters of other scripts as they are.
fn attributes(headers: &HeaderMap) -> Result<Vec<(String, String)>, Problem> {
    let named = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().strip_prefix("ce-")?, value)));
    let decoded = named.map(|(name, value)| {
        let text = percent_encoding::percent_decode(value.as_bytes()).decode_utf8();
        let text = text.map_err(|_| Problem::invalid(format!("the header ce-{name} is not UTF-8")))?;
        Ok((name.to_owned(), text.into_owned()))
    });
    decoded.collect()
}

fn media_of(headers: &HeaderMap) -> Result<Media, Problem> {
    let refuse = |detail: String| Err(Problem::new(Kind::MediaType, detail));
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return refuse(format!(
            "the body is encoded as {encoding:?}: send it without Content-Encoding"
        ));
    }
    // A web page cannot send a custom header without a preflight request either.
    if headers.contains_key("ce-specversion") {
        return Ok(Media::CloudData);
    }
    let given = content_type(headers);
    let (name, _) = given.split_once(';').unwrap_or((given, ""));
    match name.trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(Media::Json),
        "application/x-ndjson" | "application/jsonl" => Ok(Media::Lines),
        "application/cloudevents+json" => Ok(Media::CloudEvent),
        "application/cloudevents-batch+json" => Ok(Media::CloudEvents),
        other => refuse(format!(
            "the media type is '{other}': send application/json or application/x-ndjson"
        )),
    }
}
