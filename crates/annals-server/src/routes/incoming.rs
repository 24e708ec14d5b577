//! The events of a body.

use crate::body::{Content, Media};
use crate::problem::Problem;
use crate::wire::cloud;
use crate::wire::new_event::{Incoming, parse_json, parse_lines};

/// # Errors
///
/// A [`Problem`] if the body is not of its media type, or has no events.
pub(super) fn read(content: &Content) -> Result<Vec<Incoming>, Problem> {
    let events = match content.media {
        Media::Json => parse_json(&content.bytes)?,
        Media::Lines => parse_lines(&content.bytes)?,
        Media::CloudEvent => cloud::parse_one(&content.bytes)?,
        Media::CloudEvents => cloud::parse_batch(&content.bytes)?,
        Media::CloudData => cloud::parse_binary(&content.attributes, &content.media_type, &content.bytes)?,
    };
    if events.is_empty() {
        return Err(Problem::invalid("the body has no events"));
    }
    Ok(events)
}
