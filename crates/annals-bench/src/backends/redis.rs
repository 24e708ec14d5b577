//! `redis://…`: streams of Redis, one for each aggregate and one for the log. A script checks the version and adds to both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Client, Commands as _, Connection, RedisResult, Script, cmd};
use annals::{Expected, Position, Version};

use super::pool::Pool;
use super::remote::redis::{Entry, ask, connection, durability, show, told};
use super::remote::{CONNECT, OrFailed as _, Pass, Reader, described, without_password};
use crate::crash::owner;
use crate::expiring::Ends;
use crate::store::{Backend, Description, EventStore, Follow, Look, NewEvent, Place, Result, StoreError, StoredEvent};

/// The beginning of the URLs of this backend.
pub(super) const SCHEME: &str = "redis://";
/// Keys that are removed at a time.
const REMOVED: usize = 1_000;

/// Streams on a server.
#[derive(Clone, Debug)]
pub struct Redis {
    client: Client,
    url: String,
    prefix: String,
    description: Description,
}

impl Redis {
    /// Connects to the server at `url`, and asks for the settings that durability depends on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the URL has a password, or the server cannot be reached.
    pub fn connect(url: &str) -> Result<Self> {
        without_password(url)?;
        let client = Client::open(url).or_failed()?;
        let mut connection = connection(&client)?;
        connection.set_read_timeout(Some(CONNECT)).or_failed()?;
        let info: String = ask(&mut connection, cmd("INFO").arg("server"))?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let found: HashMap<String, String> = ask(&mut connection, cmd("CONFIG").arg("GET").arg("append*"))?;
        let setting = |name: &str| found.get(name).map_or("", String::as_str);
        let (logged, sync) = (setting("appendonly"), setting("appendfsync"));
        let software = format!("streams of Redis {}", version.unwrap_or("?"));
        let settings = format!("appendonly={logged}, appendfsync={sync}");
        Ok(Self {
            client,
            url: url.to_owned(),
            prefix: format!("annals-bench-{}", owner()),
            description: Description {
                has_queries: false,
                ..described("redis", software, settings, durability(logged == "yes", sync))
            },
        })
    }
}

impl Backend for Redis {
    fn description(&self) -> Description {
        self.description.clone()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let client = self.client.clone();
        Ok(Arc::new(Streams {
            connections: Pool::new(move || connection(&client))?,
            append: Script::new(include_str!("redis.lua")),
            expire: Script::new(include_str!("redis-expire.lua")),
            ends: Ends::new(),
            log: format!("{}:log", self.prefix),
            prefix: self.prefix.clone(),
        }))
    }

    fn wipe(&self) -> Result<()> {
        let mut connection = connection(&self.client)?;
        let found = told(connection.scan_match(format!("{}:*", self.prefix)))?;
        let keys: Vec<String> = told(found.collect::<RedisResult<_>>())?;
        for some in keys.chunks(REMOVED) {
            ask::<u64>(&mut connection, cmd("UNLINK").arg(some))?;
        }
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name(&self.url))
    }

    fn expires(&self) -> bool {
        true
    }

    fn unshared(&self) -> Option<&'static str> {
        None
    }
}

/// The streams.
struct Streams {
    connections: Pool<Connection>,
    append: Script,
    expire: Script,
    /// Ids are positions, and tell no time.
    ends: Ends,
    log: String,
    prefix: String,
}

impl Streams {
    fn range(&self, key: &str, after: u64, limit: usize, look: Look<'_>) -> Result<()> {
        let mut range = cmd("XRANGE");
        range.arg(key).arg(format!("({after}-0")).arg("+");
        range.arg("COUNT").arg(limit);
        let entries: Vec<Entry> = self.connections.with(|connection| ask(connection, &range))?;
        show(&entries, look)
    }

    /// Reads the events after a position. The server wakes the reader.
    fn read_behind(&self, after: Position, limit: usize, wait: Duration, pass: Pass<'_>) -> Result<()> {
        let mut read = cmd("XREAD");
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        read.arg("COUNT").arg(limit).arg("BLOCK").arg(millis);
        read.arg(&["STREAMS", &self.log, &format!("{}-0", after.0)]);
        let found: Vec<(String, Vec<Entry>)> = self.connections.with(|connection| ask(connection, &read))?;
        let mut look = |event: StoredEvent<'_>| pass(event.position.unwrap_or(after), Some(event));
        found.iter().try_for_each(|(_, entries)| show(entries, &mut look))
    }

    fn key(&self, stream: &str) -> String {
        format!("{}:stream:{stream}", self.prefix)
    }
}

impl EventStore for Streams {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let mut call = self.append.key(self.key(stream));
        call.key(&self.log);
        call.arg(match expected {
            Expected::Any => -1,
            Expected::StreamExists => -2,
            Expected::NoStream => 0,
            Expected::Exactly(version) => i64::try_from(version.0).unwrap_or(i64::MAX),
        });
        call.arg(stream);
        for event in events {
            call.arg(event.event_type).arg(event.correlation);
            call.arg(event.micros).arg(event.data);
        }
        let append = |connection: &mut Connection| told(call.invoke(connection));
        let first: i64 = self.connections.with(append)?;
        u64::try_from(first).map(Version).map_err(|_| StoreError::Conflict)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.range(&self.key(stream), after.0, isize::MAX.unsigned_abs(), look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.range(&self.log, after.0, limit, look)
    }

    fn expire(&self, age: Duration) -> Result<()> {
        let mut last = cmd("XREVRANGE");
        last.arg(&self.log).arg("+").arg("-").arg("COUNT").arg(1);
        let last: Vec<Entry> = self.connections.with(|connection| ask(connection, &last))?;
        let mut end = 0;
        show(&last, &mut |event| {
            end = event.position.map_or(0, |position| position.0);
        })?;
        let Some(expired) = self.ends.expired(age, end) else {
            return Ok(());
        };
        let mut call = self.expire.key(&self.log);
        call.arg(format!("{}:stream:", self.prefix)).arg(expired).arg(REMOVED);
        let some = |connection: &mut Connection| told(call.invoke::<usize>(connection));
        // In parts, because the server runs no other command during a script.
        while self.connections.with(some)? == REMOVED {}
        Ok(())
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        let read = |after, limit, wait, pass: Pass<'_>| self.read_behind(after, limit, wait, pass);
        Ok(Some(Box::new(Reader::new(after, read))))
    }
}
