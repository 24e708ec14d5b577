//! The URL of a store in a folder: its path, and its options.

use std::path::PathBuf;
use std::time::Duration;

use super::invalid;
use crate::journal::file::FileSettings;
use crate::{Durability, Error, Result, Settings, WhenBehind};

/// The longest time that an option can ask for.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder, and what the URL says of its store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FolderUrl {
    pub(super) folder: PathBuf,
    pub(super) journal: FileSettings,
    pub(super) durability: Option<Durability>,
    write_within: Option<Duration>,
    sync_within: Option<Duration>,
    retry_for: Option<Duration>,
    backlog_bytes: Option<u64>,
    pub(super) when_behind: Option<WhenBehind>,
}

impl FolderUrl {
    /// The folder, without options.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self {
            folder,
            ..Self::default()
        }
    }

    /// Reads what follows `file:`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with what is allowed.
    pub(super) fn parse(rest: &str) -> Result<Self> {
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Self::of(parse_path(path)?);
        let mut seen = Vec::new();
        for option in options.split('&').filter(|_| !options.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if seen.contains(&name) {
                return invalid(format!("the option {name} is there twice"));
            }
            seen.push(name);
            url.set(name, value)?;
        }
        url.journal.check()?;
        Ok(url)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let choice = |allowed: &str| refusal(name, value, allowed);
        let bytes = || parse_bytes(value).ok_or_else(|| refusal(name, value, "bytes, such as 65536, 64KiB or 64MiB"));
        let time =
            || parse_duration(value).ok_or_else(|| refusal(name, value, "a time, such as 20ms or 1s, up to 24 hours"));
        match name {
            "durability" => {
                self.durability = Some(value.parse().map_err(|_| choice("volatile, written or synced"))?);
            }
            "write_within" => self.write_within = Some(time()?),
            "sync_within" => self.sync_within = Some(time()?),
            "retry_for" => self.retry_for = Some(time()?),
            "backlog_bytes" => self.backlog_bytes = Some(bytes()?),
            "when_behind" => {
                self.when_behind = Some(match value {
                    "wait" => WhenBehind::Wait,
                    "refuse" => WhenBehind::Refuse,
                    _ => return Err(choice("wait or refuse")),
                });
            }
            "segment_bytes" => self.journal.segment_bytes = bytes()?,
            "preallocate_bytes" => self.journal.preallocate_bytes = bytes()?,
            "compress" => {
                self.journal.compress = match value {
                    "lz4" => true,
                    "none" => false,
                    _ => return Err(choice("lz4 or none")),
                };
            }
            _ => {
                return invalid(format!(
                    "'{name}' is no option of file: there are durability, write_within, sync_within, retry_for, backlog_bytes, \
                     when_behind, segment_bytes, preallocate_bytes and compress"
                ));
            }
        }
        Ok(())
    }

    /// Puts what the URL says in place of what `settings` say.
    pub(super) fn adjust(&self, settings: &mut Settings) {
        let flush = &mut settings.flush;
        replace(&mut settings.durability, self.durability);
        replace(&mut flush.write_within, self.write_within);
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

fn parse_path(text: &str) -> Result<PathBuf> {
    let path = match text.strip_prefix("//") {
        None => text,
        Some(path) if path.starts_with('/') => path,
        Some(_) => {
            return invalid(format!(
                "'file:{text}' names a server: write file:DIR, or file:///DIR for a folder from the root on"
            ));
        }
    };
    let path = decode(path)?;
    if path.is_empty() {
        return invalid("'file:' names no folder: write file:DIR");
    }
    Ok(path.into())
}

/// `text` with its percent-encoded bytes as they are.
fn decode(text: &str) -> Result<String> {
    let refuse = || {
        Error::invalid(format!(
            "'{text}' has a % without two digits behind it: write %25 for a % itself"
        ))
    };
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (high, low) = digit(bytes.next()).zip(digit(bytes.next())).ok_or_else(refuse)?;
        decoded.push((high << 4 | low) as u8);
    }
    match String::from_utf8(decoded) {
        Ok(decoded) if !decoded.contains('\0') => Ok(decoded),
        _ => invalid(format!(
            "'{text}' is no path: what its % stand for is not UTF-8, or is a zero"
        )),
    }
}

/// `64MiB` as bytes.
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

/// `20ms` as a time.
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

fn refusal(name: &str, value: &str, allowed: &str) -> Error {
    Error::invalid(format!("the option {name} is '{value}', but must be {allowed}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::refused;
    use super::*;
    use crate::StoreUrl;

    #[test]
    fn paths_are_decoded() {
        for (url, path) in [
            ("file:orders", "orders"),
            ("file:./a/../b", "./a/../b"),
            ("file:/var/orders", "/var/orders"),
            ("file:///var/orders", "/var/orders"),
            ("file:orders?", "orders"),
            ("file:my%20orders%3F", "my orders?"),
            ("file:100%25", "100%"),
            ("file:%c3%BC", "ü"),
            ("file:ü", "ü"),
            ("file:a:b#c+d", "a:b#c+d"),
        ] {
            let folder = url.parse::<StoreUrl>().expect(url);
            assert_eq!(folder, StoreUrl::of_folder(path), "{url}");
            assert_eq!(folder.folder(), Some(Path::new(path)));
        }
    }

    #[test]
    fn paths_that_are_none_are_refused() {
        for (url, part) in [
            ("file:", "names no folder"),
            ("file:?durability=synced", "names no folder"),
            ("file://", "names a server"),
            ("file://host/orders", "file:///DIR"),
            ("file:100%", "write %25"),
            ("file:a%2", "write %25"),
            ("file:a%zz", "write %25"),
            ("file:a%+1", "write %25"),
            ("file:%ff", "not UTF-8"),
            ("file:a%00", "is a zero"),
        ] {
            assert!(refused(url).contains(part), "{url}: {}", refused(url));
        }
    }

    #[test]
    fn every_option_is_a_setting() {
        let url = "d?durability=written&write_within=5ms&sync_within=2s&retry_for=0s&backlog_bytes=65536&\
                   when_behind=refuse&segment_bytes=64KiB&preallocate_bytes=2MiB&compress=none";
        let url = FolderUrl::parse(url).expect("a url");
        let mut settings = Settings::default();
        url.adjust(&mut settings);
        let mut expected = Settings {
            durability: Durability::Written,
            ..Settings::default()
        };
        expected.flush.write_within = Duration::from_millis(5);
        expected.flush.sync_within = Duration::from_secs(2);
        expected.flush.retry_for = Duration::ZERO;
        expected.flush.backlog_bytes = 65_536;
        expected.flush.when_behind = WhenBehind::Refuse;
        assert_eq!(settings, expected);
        let journal = FileSettings {
            segment_bytes: 64 << 10,
            preallocate_bytes: 2 << 20,
            compress: false,
        };
        assert_eq!(url.journal, journal);
    }

    #[test]
    fn settings_without_an_option_stay() {
        let mut settings = Settings {
            durability: Durability::Written,
            ..Settings::default()
        };
        settings.flush.backlog_bytes = 17;
        let before = settings.clone();
        FolderUrl::default().adjust(&mut settings);
        assert_eq!(settings, before);
    }

    #[test]
    fn options_that_are_none_are_refused() {
        for (options, part) in [
            ("fast=1", "'fast' is no option of file: there are durability, "),
            ("Durability=synced", "'Durability' is no option"),
            ("&", "'' is no option"),
            ("compress", "compress is '', but must be lz4 or none"),
            ("compress=zip", "compress is 'zip', but must be lz4 or none"),
            (
                "durability=",
                "durability is '', but must be volatile, written or synced",
            ),
            ("durability=synced&durability=synced", "durability is there twice"),
            ("when_behind=drop", "but must be wait or refuse"),
            (
                "write_within=20",
                "write_within is '20', but must be a time, such as 20ms",
            ),
            ("sync_within=ms", "sync_within is 'ms'"),
            ("retry_for=25h", "retry_for is '25h'"),
            ("retry_for=86401s", "up to 24 hours"),
            (
                "backlog_bytes=64MB",
                "backlog_bytes is '64MB', but must be bytes, such as 65536, 64KiB",
            ),
            ("backlog_bytes=-1", "backlog_bytes is '-1'"),
            ("backlog_bytes=16777216TiB", "backlog_bytes is '16777216TiB'"),
            ("segment_bytes=1KiB", "segment_bytes must be from 4 KiB"),
            ("preallocate_bytes=2GiB", "preallocate_bytes must be at most 1 GiB"),
        ] {
            let url = format!("file:d?{options}");
            assert!(refused(&url).contains(part), "{url}: {}", refused(&url));
        }
    }

    #[cfg(not(feature = "lz4"))]
    #[test]
    fn the_feature_for_compression_is_named() {
        assert!(refused("file:d?compress=lz4").contains("feature `lz4`"));
    }
}
