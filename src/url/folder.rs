//! The URL of a store in a directory: path and options.

use std::path::PathBuf;

use super::invalid;
use super::options::{OPTIONS, StoreOptions, bytes, each, refusal};
use crate::Result;
use crate::journal::file::FileSettings;
use crate::percent::decode;

/// A directory, and the options of its store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FolderUrl {
    pub(super) folder: PathBuf,
    pub(super) journal: FileSettings,
    pub(super) options: StoreOptions,
}

impl FolderUrl {
    /// The directory with default options.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self {
            folder,
            ..Self::default()
        }
    }

    /// Parses the part of a URL after `file:`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the allowed values.
    pub(super) fn parse(rest: &str) -> Result<Self> {
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Self::of(parse_path(path)?);
        for option in each(options) {
            let (name, value) = option?;
            url.set(name, value)?;
        }
        url.journal.check()?;
        Ok(url)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        if self.options.set(name, value)? {
            return Ok(());
        }
        match name {
            "segment_bytes" => self.journal.segment_bytes = bytes(name, value)?,
            "preallocate_bytes" => self.journal.preallocate_bytes = bytes(name, value)?,
            "compress" => {
                self.journal.compress = match value {
                    "lz4" => true,
                    "none" => false,
                    _ => return Err(refusal(name, value, "lz4 or none")),
                };
            }
            _ => {
                return invalid(format!(
                    "'{name}' is no option of file: there are {}, segment_bytes, preallocate_bytes and compress",
                    OPTIONS.join(", ")
                ));
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::tests::refused;
    use super::*;
    use crate::{Durability, Settings, StoreUrl, WhenBehind};

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
            ("file:a%00", "a zero byte"),
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
        url.options.adjust(&mut settings);
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
        StoreOptions::default().adjust(&mut settings);
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
            ("durability=synced&durability=synced", "durability is given twice"),
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
