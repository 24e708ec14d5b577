//! A client of a server, which blocks the thread that calls it.

mod copy;
mod error;
mod events;
mod groups;
mod http;
mod messages;
mod page;
mod processors;
mod read;
mod room;
mod sagas;
mod snapshots;
mod tail;
mod tls;
mod write;

use std::path::Path;
use std::time::Duration;

use annals::{Append, Appended, Condition, Durability, Event, Expected, NewEvent, Position, Query, StreamId, Version};
use serde::Deserialize;
use uuid::Uuid;

pub use self::error::{ClientError, Refusal};
pub use self::events::Events;
pub use self::groups::{GroupSettings, GroupStart, RemoteGroup, RemoteGroupStatus, TakenEvent};
use self::http::{Http, segment};
pub use self::messages::MessageOptions;
pub use self::page::Page;
pub use self::processors::{Letters, RemoteFailure, RemoteLetter, RemoteProcessor, RemoteState, Retried};
use self::room::Room;
pub use self::sagas::{Instances, RemoteInstance, RemoteSaga};
pub use self::snapshots::SavedSnapshot;
pub use self::tail::Tail;

/// A store behind a server.
///
/// ```no_run
/// use annals::{Expected, NewEvent, Query, StreamId};
/// use annals_server::Client;
///
/// let client = Client::new("http://127.0.0.1:4280")?;
/// let order = StreamId::new("Order", "order-1");
/// client.append(&order, Expected::NoStream, &[NewEvent::new("OrderPlaced").data(r#"{"total":250}"#)])?;
/// for event in client.query(Query::all().data("/total", 250)) {
///     println!("{}", event?.aggregate_id());
/// }
/// # Ok::<(), annals_server::ClientError>(())
/// ```
///
/// * It repeats no request, unless it [waits for room](Self::wait_for_room). An append can be repeated after [`Unreachable`](ClientError::Unreachable) if its events have ids.
/// * It has TLS for `https://`, with the authorities of the operating system or of a file. It follows no redirection, and uses no proxy.
/// * Every answer is bounded in size and time.
/// * Data are stored and returned byte by byte, except that JSON is returned without spaces around it, and line ends in it as spaces. Metadata are stored byte by
///   byte. Those that are a JSON object are returned without spaces between their members, and the texts `correlationId`, `causationId`,
///   `userId` and `organizationId` in them as the fields of the event.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    durability: Option<Durability>,
}

/// The state of a store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StoreState {
    /// Whether the store has no journal.
    pub ephemeral: bool,
    /// The last visible position.
    pub visible: Position,
    /// The position up to which events are written; `None` without a journal.
    pub written: Option<Position>,
    /// The position up to which events are synced; `None` without a journal.
    pub synced: Option<Position>,
    /// The reason why the store rejects appends, if it does.
    pub fault: Option<String>,
    /// The size of the store.
    pub stats: StoreCounts,
}

/// The size of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StoreCounts {
    /// Visible events, without those of the store itself.
    pub events: u64,
    /// Events of the store itself.
    pub system_events: u64,
    /// Aggregates, including deleted ones.
    pub aggregates: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Events that would be lost if the machine stopped now.
    pub events_at_risk: u64,
}

/// The acknowledgement of an append.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAppended {
    first_version: Version,
    last_version: Version,
    first_position: Position,
    last_position: Position,
    durability: Durability,
    repeated: bool,
}

impl From<WireAppended> for Appended {
    fn from(wire: WireAppended) -> Self {
        let (first, last) = (
            (wire.first_version, wire.first_position),
            (wire.last_version, wire.last_position),
        );
        let mut appended = Self::new(first, last, wire.durability);
        appended.repeated = wire.repeated;
        appended
    }
}

#[derive(Debug, Deserialize)]
struct AllAppended {
    appended: Vec<WireAppended>,
}

#[derive(Debug, Deserialize)]
struct Count {
    count: u64,
}

impl Client {
    /// A client of the default namespace of the server at this URL, such as `http://127.0.0.1:4280`. It connects with the first request.
    ///
    /// # Errors
    ///
    /// [`Store`](ClientError::Store), with [`Invalid`](annals::Error::Invalid), if the URL is none of a server.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self {
            http: Http::new(url)?,
            durability: None,
        })
    }

    /// The same in another namespace.
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        self.http.set_namespace(name);
        self
    }

    /// The same with a token, which no message and no `Debug` output has.
    ///
    /// # Errors
    ///
    /// [`Store`](ClientError::Store), with [`Invalid`](annals::Error::Invalid), if it has other characters than visible ASCII.
    pub fn token(mut self, token: &str) -> Result<Self, ClientError> {
        self.http.set_token(token)?;
        Ok(self)
    }

    /// The same that trusts the authorities of a file in PEM instead of those of the operating system, if the URL is `https`.
    ///
    /// # Errors
    ///
    /// [`Store`](ClientError::Store), with [`Invalid`](annals::Error::Invalid), if the file cannot be read, has more than 16 MiB, or has no
    /// certificate or an invalid one.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Result<Self, ClientError> {
        self.http.set_authorities(path.as_ref())?;
        Ok(self)
    }

    /// The same with another bound on the time of a request and its answer: 60 s by default. A tail ends after this time without a heartbeat, which
    /// the server sends every 15 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.http.set_timeout(timeout);
        self
    }

    /// The same, with appends that are sent again when the server has no room for them: after 429 or 503 with `Retry-After`.
    ///
    /// `wait` waits, and returns whether to send the append again. It gets the time that the server asks for, at most a minute, and the time since the
    /// append was sent first. Give the events ids: they are stored once then, even if a store that was unavailable had stored them.
    #[must_use]
    pub fn wait_for_room(mut self, wait: impl Fn(Duration, Duration) -> bool + Send + Sync + 'static) -> Self {
        self.http.set_room(Room::new(wait));
        self
    }

    /// The same, with appends that wait for this durability. A store acknowledges at least the durability of its own setting.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Appends events to an aggregate: all or none. Returns when they are visible and durable.
    ///
    /// # Errors
    ///
    /// [`Store`](ClientError::Store) as [`Store::append`](annals::Store::append), with both versions in a conflict; [`ClientError`] otherwise.
    /// After [`Unreachable`](ClientError::Unreachable) it is unknown whether the events were stored.
    pub fn append(
        &self,
        stream: &StreamId,
        expected: Expected,
        events: &[NewEvent<'_>],
    ) -> Result<Appended, ClientError> {
        let mut target = format!("/streams/{}/events", segment(&stream.aggregate_id));
        let parameters = [
            ("aggregateType", stream.aggregate_type.to_string()),
            ("expectedVersion", write::expected(expected)),
        ];
        http::add_query(&mut target, parameters.into_iter().chain(self.durability_parameter()));
        let body = write::events(events)?;
        let answer: WireAppended = self.http.post(&target, body, &[stream])?;
        Ok(answer.into())
    }

    /// Appends to several aggregates: all or none. Returns an acknowledgement for each, in the same order.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append).
    pub fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>, ClientError> {
        self.append_several(appends, None)
    }

    /// Appends to several aggregates if a condition holds: all or none.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append), and a conflict, [`Condition`](annals::Conflict::Condition), if the condition does not hold.
    pub fn append_if(&self, condition: &Condition, appends: &[Append<'_>]) -> Result<Vec<Appended>, ClientError> {
        self.append_several(appends, Some(condition))
    }

    fn append_several(
        &self,
        appends: &[Append<'_>],
        condition: Option<&Condition>,
    ) -> Result<Vec<Appended>, ClientError> {
        let mut target = "/appends".to_owned();
        http::add_query(&mut target, self.durability_parameter());
        let streams: Vec<&StreamId> = appends.iter().map(|append| &*append.stream).collect();
        let answer: AllAppended = self.http.post(&target, write::appends(appends, condition)?, &streams)?;
        Ok(answer.appended.into_iter().map(Into::into).collect())
    }

    fn durability_parameter(&self) -> Option<(&'static str, String)> {
        self.durability.map(|durability| ("durability", durability.to_string()))
    }

    /// The events of an aggregate from a version on, a page at a time. An aggregate that has never existed has none.
    pub fn read_stream(&self, aggregate_id: &str, from: Version) -> Events<'_> {
        Events::of_stream(self, aggregate_id, from)
    }

    /// All events after a position, a page at a time: those that were visible when the first page was read, and maybe later ones.
    pub fn read_all(&self, after: Position) -> Events<'_> {
        self.query(Query::all().after(after))
    }

    /// The events that match a query, a page at a time, up to its limit. New events do not shift pages.
    pub fn query(&self, query: Query) -> Events<'_> {
        Events::of_query(self, query)
    }

    /// One page of the events that match a query: up to its limit, at most 1,000, or fewer where events are large.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn page(&self, query: &Query) -> Result<Page, ClientError> {
        events::page(self, query, query.parts().limit, None)
    }

    /// The number of events that match a query.
    ///
    /// # Errors
    ///
    /// [`Store`](ClientError::Store), with [`Unsupported`](annals::Error::Unsupported), for filters within `All` and `Any`, which the server counts
    /// not; a [`ClientError`] otherwise.
    pub fn count(&self, query: &Query) -> Result<u64, ClientError> {
        let mut target = "/count".to_owned();
        http::add_query(&mut target, write::parameters(query)?);
        let answer: Count = self.http.get(&target)?;
        Ok(answer.count)
    }

    /// The event at a position; `None` if it was dropped or has never existed.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn event_at(&self, position: Position) -> Result<Option<Event>, ClientError> {
        self.event_of(&position.to_string())
    }

    /// The event with an id; `None` if it was dropped or has never existed.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn event(&self, id: Uuid) -> Result<Option<Event>, ClientError> {
        self.event_of(&id.to_string())
    }

    fn event_of(&self, name: &str) -> Result<Option<Event>, ClientError> {
        let bytes = error::found(self.http.get_bytes(&format!("/events/{name}")))?;
        let event = bytes.map(|bytes| read::event_of_bytes(&bytes).map_err(|reason| self.http.bad_answer(reason)));
        event.transpose()
    }

    /// The state of the store.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn state(&self) -> Result<StoreState, ClientError> {
        self.http.get("/store")
    }

    /// Follows the log after a position: the events that match a query, then those that come.
    ///
    /// # Errors
    ///
    /// [`Store`](ClientError::Store), with [`Unsupported`](annals::Error::Unsupported), for filters within `All` and `Any`; a [`ClientError`]
    /// otherwise.
    pub fn tail(&self, query: &Query, after: Position) -> Result<Tail, ClientError> {
        Tail::open(self, query, after)
    }
}
