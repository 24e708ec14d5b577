//! A message: an event in its envelope.

use std::sync::Arc;

use annals::{Event, Position};
use uuid::Uuid;

/// An event in its envelope. Every attempt sends the same bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The event.
    pub event: Arc<Event>,
    /// The media type of the body.
    pub content_type: String,
    /// The attributes beside the body, as names and values without line breaks; none where the body has all. A target prefixes the names, as its
    /// protocol has it.
    pub attributes: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// The id of the message: that of the event, in every attempt.
    pub fn id(&self) -> Uuid {
        self.event.id()
    }

    /// The position of the event.
    pub fn position(&self) -> Position {
        self.event.position()
    }

    /// The attributes as headers `ce-NAME` of text protocols, as the HTTP binding of `CloudEvents` writes them: other characters than visible ASCII, quotes and
    /// percent signs are percent-encoded.
    pub fn headers(&self) -> impl Iterator<Item = (String, String)> {
        let attributes = self.attributes.iter();
        attributes.map(|(name, value)| (format!("ce-{name}"), encoded(value)))
    }

    /// The bytes of the body and of the attributes.
    pub fn bytes(&self) -> usize {
        let of_attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.body.len() + self.content_type.len() + of_attributes.sum::<usize>()
    }
}

fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.extend([byte >> 4, byte & 15].map(digit));
        }
    }
    text
}

fn digit(half: u8) -> char {
    let digit = char::from_digit(u32::from(half), 16).unwrap_or_default();
    digit.to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_an_attribute_was_another_header() {
        assert_eq!(encoded("order-1"), "order-1");
        assert_eq!(encoded("a b\r\n\"%ä"), "a%20b%0D%0A%22%25%C3%A4");
    }
}
