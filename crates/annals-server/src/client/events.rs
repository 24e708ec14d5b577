//! Pages of events, and events page by page.

use annals::{Event, Query, Version};

use super::error::{self, ClientError};
use super::http::{add_query, segment};
use super::page::Page;
use super::{Client, read, write};

/// Events of a page: as many as a server permits.
const PAGE_EVENTS: usize = 1_000;

/// Events, read a page at a time. An error ends them.
#[derive(Debug)]
pub struct Events<'a> {
    client: &'a Client,
    source: Source,
    page: std::vec::IntoIter<Event>,
    next: Next,
    /// The number of events that the query still permits.
    left: Option<usize>,
}

#[derive(Debug)]
enum Source {
    Stream { path: String, from: Version },
    Query(Query),
}

#[derive(Debug)]
enum Next {
    First,
    Cursor(String),
    End,
}

pub(super) fn page(
    client: &Client,
    query: &Query,
    limit: Option<usize>,
    cursor: Option<&str>,
) -> Result<Page, ClientError> {
    let limit = limit.unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS);
    let body = write::query(query, limit, cursor)?;
    let bytes = client.http.post_bytes("/query", body)?;
    read::page(&bytes).map_err(|reason| client.http.bad_answer(reason))
}

impl<'a> Events<'a> {
    pub(super) fn of_stream(client: &'a Client, aggregate_id: &str, from: Version) -> Self {
        let path = format!("/streams/{}/events", segment(aggregate_id));
        Self::new(client, Source::Stream { path, from }, None)
    }

    pub(super) fn of_query(client: &'a Client, query: Query) -> Self {
        let limit = query.parts().limit;
        Self::new(client, Source::Query(query), limit)
    }

    fn new(client: &'a Client, source: Source, left: Option<usize>) -> Self {
        Self {
            client,
            source,
            page: Vec::new().into_iter(),
            next: Next::First,
            left,
        }
    }

    /// Reads the next page; `false` at the end.
    fn advance(&mut self) -> Result<bool, ClientError> {
        let cursor = match std::mem::replace(&mut self.next, Next::End) {
            Next::First => None,
            Next::Cursor(cursor) => Some(cursor),
            Next::End => return Ok(false),
        };
        if self.left == Some(0) {
            return Ok(false);
        }
        let Some(page) = self.fetch(cursor.as_deref())? else {
            return Ok(false);
        };
        // A server that named the same page again would be read for ever.
        if page.next.is_some() && (page.next == cursor || page.events.is_empty()) {
            return Err(self.client.http.bad_answer("a page names itself as the next one"));
        }
        self.left = self.left.map(|left| left.saturating_sub(page.events.len()));
        self.next = page.next.map_or(Next::End, Next::Cursor);
        self.page = page.events.into_iter();
        Ok(true)
    }

    fn fetch(&self, cursor: Option<&str>) -> Result<Option<Page>, ClientError> {
        match &self.source {
            Source::Query(query) => page(self.client, query, self.left, cursor).map(Some),
            Source::Stream { path, from } => {
                let mut target = path.clone();
                let place = cursor.map_or_else(|| ("from", from.to_string()), |cursor| ("cursor", cursor.to_owned()));
                add_query(&mut target, [("limit", PAGE_EVENTS.to_string()), place]);
                let bytes = error::found(self.client.http.get_bytes(&target))?;
                let page = bytes.map(|bytes| read::page(&bytes));
                page.transpose().map_err(|reason| self.client.http.bad_answer(reason))
            }
        }
    }
}

impl Iterator for Events<'_> {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.page.next() {
                return Some(Ok(event));
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
