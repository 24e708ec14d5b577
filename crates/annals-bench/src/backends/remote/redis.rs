//! Commands of Redis, and the entries of its streams.

use annals::{Position, Version};
use redis::{Client, Cmd, Connection, FromRedisValue, RedisResult};

use super::{ANSWER, CONNECT, LATE, OrFailed as _};
use crate::store::{DurabilityClass, Look, Result, StoreError, StoredEvent};

pub(in crate::backends) fn connection(client: &Client) -> Result<Connection> {
    let connection = told(client.get_connection_with_timeout(CONNECT))?;
    connection.set_read_timeout(Some(ANSWER)).or_failed()?;
    connection.set_write_timeout(Some(ANSWER)).or_failed()?;
    Ok(connection)
}

/// The failures that an acknowledgement survives. During a sync, `everysec` holds writes in the process for up to two seconds.
pub(in crate::backends) fn durability(is_logged: bool, sync: &str) -> DurabilityClass {
    match sync {
        "always" if is_logged => DurabilityClass::PowerSafe,
        "no" if is_logged => DurabilityClass::ProcessCrashSafe,
        _ => DurabilityClass::Volatile,
    }
}

pub(in crate::backends) fn ask<T: FromRedisValue>(connection: &mut Connection, command: &Cmd) -> Result<T> {
    told(command.query(connection))
}

/// The value, or the failure. The client library reports a server that does not answer as a resource that is temporarily unavailable.
pub(in crate::backends) fn told<T>(result: RedisResult<T>) -> Result<T> {
    result.map_err(|error| {
        let is_late = error.is_timeout();
        StoreError::Failed(if is_late { LATE.to_owned() } else { error.to_string() })
    })
}

/// An id, and fields with their values one after the other, in the order of the script.
pub(in crate::backends) type Entry = (String, Vec<Vec<u8>>);

pub(in crate::backends) fn show(entries: &[Entry], look: Look<'_>) -> Result<()> {
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
