//! `redis://…`: streams of Redis, one for each aggregate and one for the log. A script checks the version and adds to both.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Client, Cmd, Commands as _, Connection, FromRedisValue, RedisResult, Script, cmd};
use annals::{Expected, Position, Version};
use parking_lot::Mutex;

use super::pool::Pool;
use super::remote::{OrFailed as _, described, without_password};
use crate::clock::{Clock as _, MonotonicClock};
use crate::crash::owner;
use crate::store::{
    Backend, Description, DurabilityClass, EventStore, Follow, Look, NewEvent, Place, Result, StoreError, StoredEvent,
};

/// How the URLs of this backend begin.
pub(super) const SCHEME: &str = "redis://";
/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);
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

fn connection(client: &Client) -> Result<Connection> {
    client.get_connection_with_timeout(CONNECT).or_failed()
}

/// What an acknowledgement survives. While a sync is under way, `everysec` holds back writes in the process for up to two seconds.
fn durability(is_logged: bool, sync: &str) -> DurabilityClass {
    match sync {
        "always" if is_logged => DurabilityClass::PowerSafe,
        "no" if is_logged => DurabilityClass::ProcessCrashSafe,
        _ => DurabilityClass::Volatile,
    }
}

fn ask<T: FromRedisValue>(connection: &mut Connection, command: &Cmd) -> Result<T> {
    command.query(connection).or_failed()
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
            clock: MonotonicClock::start(),
            ends: Mutex::default(),
            log: format!("{}:log", self.prefix),
            prefix: self.prefix.clone(),
        }))
    }

    fn wipe(&self) -> Result<()> {
        let mut connection = connection(&self.client)?;
        let found = connection.scan_match(format!("{}:*", self.prefix)).or_failed()?;
        let keys: Vec<String> = found.collect::<RedisResult<_>>().or_failed()?;
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
    clock: MonotonicClock,
    /// At these times, the log ended at these positions: ids are positions, and tell no time.
    ends: Mutex<VecDeque<(Duration, u64)>>,
    log: String,
    prefix: String,
}

/// An id, and fields with their values one after the other, in the order of the script.
type Entry = (String, Vec<Vec<u8>>);

fn show(entries: &[Entry], look: Look<'_>) -> Result<()> {
    for (_, values) in entries {
        let text = |index: usize| std::str::from_utf8(values.get(index).map_or(&[], Vec::as_slice)).or_failed();
        look(StoredEvent {
            stream: text(1)?,
            version: Version(text(3)?.parse().or_failed()?),
            position: Some(Position(text(5)?.parse().or_failed()?)),
            data: text(13)?.as_bytes(),
        });
    }
    Ok(())
}

impl Streams {
    /// The last position that was appended longer than `age` ago, of those that were noted; and notes the last of all.
    fn expired(&self, age: Duration, end: u64) -> Option<u64> {
        let mut ends = self.ends.lock();
        let now = self.clock.now();
        ends.push_back((now, end));
        let mut last = None;
        while ends.front().is_some_and(|(noted, _)| *noted + age <= now) {
            last = ends.pop_front().map(|(_, end)| end);
        }
        last
    }

    fn range(&self, key: &str, after: u64, limit: usize, look: Look<'_>) -> Result<()> {
        let mut range = cmd("XRANGE");
        range.arg(key).arg(format!("({after}-0")).arg("+");
        range.arg("COUNT").arg(limit);
        let entries: Vec<Entry> = self.connections.with(|connection| ask(connection, &range))?;
        show(&entries, look)
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
        let append = |connection: &mut Connection| call.invoke(connection).or_failed();
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
        let Some(expired) = self.expired(age, end) else {
            return Ok(());
        };
        let mut call = self.expire.key(&self.log);
        call.arg(format!("{}:stream:", self.prefix)).arg(expired).arg(REMOVED);
        let some = |connection: &mut Connection| call.invoke::<usize>(connection).or_failed();
        // Some at a time: the server answers nobody else meanwhile.
        while self.connections.with(some)? == REMOVED {}
        Ok(())
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        Ok(Some(Box::new(Blocked { streams: self, after })))
    }
}

/// A reader that the server wakes.
struct Blocked<'a> {
    streams: &'a Streams,
    after: Position,
}

impl Follow for Blocked<'_> {
    fn next(&mut self, limit: usize, wait: Duration, look: Look<'_>) -> Result<()> {
        let mut read = cmd("XREAD");
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        read.arg("COUNT").arg(limit).arg("BLOCK").arg(millis);
        read.arg(&["STREAMS", &self.streams.log, &format!("{}-0", self.after.0)]);
        let found: Vec<(String, Vec<Entry>)> = self.streams.connections.with(|connection| ask(connection, &read))?;
        let mut look = |event: StoredEvent<'_>| {
            self.after = event.position.unwrap_or(self.after);
            look(event);
        };
        found.iter().try_for_each(|(_, entries)| show(entries, &mut look))
    }
}
