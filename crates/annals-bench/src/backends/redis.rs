//! `redis://…`: streams of Redis, one for each aggregate and one for the log. A script checks the version and adds to both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Client, Connection, FromRedisValue, RedisError, Script, cmd};
use annals::{Expected, Position, Version};

use super::annals::failed;
use super::pool::Pool;
use crate::crash::owner;
use crate::store::{
    Backend, BatchUnit, ConsistencyCheck, Description, DurabilityClass, EventStore, Follow, Look, NewEvent, Place,
    Result, StoreError, StoredEvent,
};

/// How the URLs of this backend begin.
pub(super) const SCHEME: &str = "redis://";
/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Keys that are removed at a time.
const REMOVED: usize = 1_000;
/// Entries have their version in an aggregate, and their position in the log, as the first number of their id.
const APPEND: &str = "
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local version = last[1] and tonumber(string.match(last[1][1], '^%d+')) or 0
local expected = tonumber(ARGV[1])
if (expected >= 0 and version ~= expected) or (expected == -2 and version == 0) then return -1 end
local first, position = version + 1, redis.call('XLEN', KEYS[2])
for i = 3, #ARGV, 4 do
  version, position = version + 1, position + 1
  for key, id in pairs({[KEYS[1]] = version, [KEYS[2]] = position}) do
    redis.call('XADD', key, id .. '-0', 'stream', ARGV[2], 'version', version, 'position', position,
      'type', ARGV[i], 'correlation', ARGV[i + 1], 'micros', ARGV[i + 2], 'data', ARGV[i + 3])
  end
end
return first";

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
        let client = Client::open(url).map_err(|error| failed(&error))?;
        if url.contains('@') {
            let text = "cannot measure Redis: a result would hold the password; use a server without one";
            return Err(StoreError::Failed(text.to_owned()));
        }
        let mut connection = client
            .get_connection_with_timeout(CONNECT)
            .map_err(|error| failed(&error))?;
        let info: String = ask(&mut connection, cmd("INFO").arg("server"))?;
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"))
            .unwrap_or("?")
            .to_owned();
        let mut setting = |name: &str| -> Result<String> {
            let found: HashMap<String, String> = ask(&mut connection, cmd("CONFIG").arg("GET").arg(name))?;
            Ok(found.get(name).cloned().unwrap_or_default())
        };
        let (is_logged, sync) = (setting("appendonly")? == "yes", setting("appendfsync")?);
        Ok(Self {
            client,
            url: url.to_owned(),
            prefix: format!("annals-bench-{}", owner()),
            description: Description {
                name: "redis".to_owned(),
                software: format!("streams of Redis {version}"),
                settings: format!(
                    "appendonly={}, appendfsync={sync}",
                    if is_logged { "yes" } else { "no" }
                ),
                durability: durability(is_logged, &sync),
                batch_unit: BatchUnit::Append,
                check: ConsistencyCheck::StreamVersion,
                keeps_events: true,
                has_log: true,
                has_queries: false,
            },
        })
    }
}

/// What an acknowledgement survives. While a sync is under way, `everysec` holds back writes for up to two seconds, so an end of the server's process can
/// lose them.
fn durability(is_logged: bool, sync: &str) -> DurabilityClass {
    match sync {
        "always" if is_logged => DurabilityClass::PowerSafe,
        "no" if is_logged => DurabilityClass::ProcessCrashSafe,
        _ => DurabilityClass::Volatile,
    }
}

fn ask<T: FromRedisValue>(connection: &mut Connection, command: &::redis::Cmd) -> Result<T> {
    command.query(connection).map_err(|error: RedisError| failed(&error))
}

impl Backend for Redis {
    fn description(&self) -> Description {
        self.description.clone()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let client = self.client.clone();
        let connect = move || {
            client
                .get_connection_with_timeout(CONNECT)
                .map_err(|error| failed(&error))
        };
        Ok(Arc::new(Streams {
            connections: Pool::new(connect)?,
            append: Script::new(APPEND),
            prefix: self.prefix.clone(),
        }))
    }

    fn wipe(&self) -> Result<()> {
        let mut connection = self
            .client
            .get_connection_with_timeout(CONNECT)
            .map_err(|error| failed(&error))?;
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(format!("{}:*", self.prefix))
                .arg("COUNT")
                .arg(REMOVED);
            let (next, keys): (u64, Vec<String>) = ask(&mut connection, &scan)?;
            if !keys.is_empty() {
                ask::<u64>(&mut connection, cmd("UNLINK").arg(keys))?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name(&self.url))
    }
}

/// The streams.
struct Streams {
    connections: Pool<Connection>,
    append: Script,
    prefix: String,
}

/// An id, and fields with their values one after the other, in the order of the script.
type Entry = (String, Vec<Vec<u8>>);

fn show(entry: &Entry, look: Look<'_>) -> Option<()> {
    let text = |index: usize| std::str::from_utf8(entry.1.get(index)?).ok();
    look(StoredEvent {
        stream: text(1)?,
        version: Version(text(3)?.parse().ok()?),
        position: Some(Position(text(5)?.parse().ok()?)),
        data: entry.1.get(13)?,
    });
    Some(())
}

fn show_all(entries: &[Entry], look: Look<'_>) -> Result<()> {
    let is_whole = entries.iter().all(|entry| show(entry, look).is_some());
    is_whole
        .then_some(())
        .ok_or_else(|| StoreError::Failed("an entry has other fields".to_owned()))
}

impl Streams {
    fn key(&self, stream: &str) -> String {
        format!("{}:stream:{stream}", self.prefix)
    }

    fn log(&self) -> String {
        format!("{}:log", self.prefix)
    }
}

impl EventStore for Streams {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let mut call = self.append.key(self.key(stream));
        call.key(self.log());
        call.arg(match expected {
            Expected::Any => -1,
            Expected::StreamExists => -2,
            Expected::NoStream => 0,
            Expected::Exactly(version) => i64::try_from(version.0).unwrap_or(i64::MAX),
        });
        call.arg(stream);
        for event in events {
            call.arg(event.event_type)
                .arg(event.correlation)
                .arg(event.micros)
                .arg(event.data);
        }
        let first: i64 = self
            .connections
            .with(|connection| call.invoke(connection).map_err(|error: RedisError| failed(&error)))?;
        u64::try_from(first).map(Version).map_err(|_| StoreError::Conflict)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let mut range = cmd("XRANGE");
        range.arg(self.key(stream)).arg(format!("({}-0", after.0)).arg("+");
        let entries: Vec<Entry> = self.connections.with(|connection| ask(connection, &range))?;
        show_all(&entries, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let mut range = cmd("XRANGE");
        range
            .arg(self.log())
            .arg(format!("({}-0", after.0))
            .arg("+")
            .arg("COUNT")
            .arg(limit);
        let entries: Vec<Entry> = self.connections.with(|connection| ask(connection, &range))?;
        show_all(&entries, look)
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
        read.arg("STREAMS")
            .arg(self.streams.log())
            .arg(format!("{}-0", self.after.0));
        let found: Option<Vec<(String, Vec<Entry>)>> =
            self.streams.connections.with(|connection| ask(connection, &read))?;
        let entries = found
            .into_iter()
            .flatten()
            .flat_map(|(_, entries)| entries)
            .collect::<Vec<_>>();
        show_all(&entries, &mut |event| {
            self.after = event.position.unwrap_or(self.after);
            look(event);
        })
    }
}
