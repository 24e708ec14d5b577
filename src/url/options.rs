//! The options that the URL of any durable store can have, and the syntax of their values.

use std::time::Duration;

use super::invalid;
use crate::{Durability, Error, Result, Settings, WhenBehind};

/// The longest duration that an option accepts.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The names of the options.
pub(super) const OPTIONS: [&str; 7] = [
    "durability",
    "write_within",
    "enforce_write_within",
    "sync_within",
    "retry_for",
    "backlog_bytes",
    "when_behind",
];

/// The options of a store that do not depend on its journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StoreOptions {
    pub(super) durability: Option<Durability>,
    write_within: Option<Duration>,
    enforce_write_within: Option<bool>,
    sync_within: Option<Duration>,
    retry_for: Option<Duration>,
    backlog_bytes: Option<u64>,
    pub(super) when_behind: Option<WhenBehind>,
}

impl StoreOptions {
    /// Sets the option `name`; returns whether it is one of these.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the allowed values.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<bool> {
        let choice = |allowed: &str| refusal(name, value, allowed);
        match name {
            "durability" => {
                self.durability = Some(value.parse().map_err(|_| choice("volatile, written or synced"))?);
            }
            "write_within" => self.write_within = Some(time(name, value)?),
            "enforce_write_within" => {
                self.enforce_write_within = Some(value.parse().map_err(|_| choice("true or false"))?);
            }
            "sync_within" => self.sync_within = Some(time(name, value)?),
            "retry_for" => self.retry_for = Some(time(name, value)?),
            "backlog_bytes" => self.backlog_bytes = Some(bytes(name, value)?),
            "when_behind" => {
                self.when_behind = Some(match value {
                    "wait" => WhenBehind::Wait,
                    "refuse" => WhenBehind::Refuse,
                    _ => return Err(choice("wait or refuse")),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Overrides `settings` with the options of the URL.
    pub(super) fn adjust(&self, settings: &mut Settings) {
        let flush = &mut settings.flush;
        replace(&mut settings.durability, self.durability);
        replace(&mut flush.write_within, self.write_within);
        replace(&mut flush.enforce_write_within, self.enforce_write_within);
        replace(&mut flush.sync_within, self.sync_within);
        replace(&mut flush.retry_for, self.retry_for);
        replace(&mut flush.backlog_bytes, self.backlog_bytes);
        replace(&mut flush.when_behind, self.when_behind);
    }
}

fn replace<T>(setting: &mut T, option: Option<T>) {
    if let Some(value) = option {
        *setting = value;
    }
}

/// The name and value of every option of a URL; an error for a duplicate option.
pub(super) fn each(options: &str) -> impl Iterator<Item = Result<(&str, &str)>> {
    let mut seen = Vec::new();
    options.split('&').filter(|_| !options.is_empty()).map(move |option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if seen.contains(&name) {
            return invalid(format!("the option {name} is given twice"));
        }
        seen.push(name);
        Ok((name, value))
    })
}

/// Parses an option that is a number of bytes.
pub(super) fn bytes(name: &str, value: &str) -> Result<u64> {
    parse_bytes(value).ok_or_else(|| refusal(name, value, "bytes, such as 65536, 64KiB or 64MiB"))
}

/// Parses an option that is a duration.
pub(super) fn time(name: &str, value: &str) -> Result<Duration> {
    parse_duration(value).ok_or_else(|| refusal(name, value, "a time, such as 20ms or 1s, up to 24 hours"))
}

/// Parses a size such as `64MiB`.
fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Parses a duration such as `20ms`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => return None,
    };
    (duration <= DURATION_MAX).then_some(duration)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

pub(super) fn refusal(name: &str, value: &str, allowed: &str) -> Error {
    Error::invalid(format!("the option {name} is '{value}', but must be {allowed}"))
}
