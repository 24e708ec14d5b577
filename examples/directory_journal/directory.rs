//! What the contracts require of any storage: batches are read and written so that a crash leaves whole ones, damage is found, and errors are classified.
//!
//! A file gets its content under a temporary name, is synced, and is then renamed; the rename is synced with the directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use annals::journal::{Batch, JournalError, JournalErrorKind as Kind, Part, Recover};

/// A directory with the file `lock`, and a file for each batch, named after the batch's first position.
#[derive(Clone, Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn error(&self, kind: Kind, what: &str, error: io::Error) -> JournalError {
        JournalError::new(kind, format!("cannot {what} {}", self.0.display())).caused_by(error)
    }

    pub(super) fn path(&self, first: u64) -> PathBuf {
        self.0.join(format!("{first:020}.batch"))
    }

    /// The first position of the last batch; 0 if there is none. Other files may be in the directory, also with names such as `7.batch`.
    fn last_file(&self) -> io::Result<u64> {
        let mut last = 0;
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let first = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            last = first.filter(|first| self.path(*first) == path).unwrap_or(0).max(last);
        }
        Ok(last)
    }

    /// Passes on the batches after a position, up to the last one that has a file now, and returns them as parts.
    pub(super) fn pass(&self, after: u64, into: &mut dyn Recover) -> Result<Vec<Part>, JournalError> {
        let retry = |error| self.error(Kind::Retry, "list", error);
        let (mut last, end, mut parts) = (after, self.last_file().map_err(retry)?, Vec::new());
        while last < end {
            let (batch, part) = self.read(last + 1)?;
            last = part.last.0;
            into.batch(batch)?;
            into.progress(part.first.0, end);
            parts.push(part);
        }
        // A rename that this process sees may not be synced: its writer may have crashed before.
        self.sync()?;
        Ok(parts)
    }

    /// Reads a file: the batch as JSON, and its checksum.
    pub(super) fn read(&self, first: u64) -> Result<(Batch, Part), JournalError> {
        let path = self.path(first);
        let bytes = fs::read(&path).map_err(|error| {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let kind = if missing { Kind::Corrupt } else { Kind::Retry };
            JournalError::new(kind, format!("cannot read {}", path.display())).caused_by(error)
        })?;
        let damaged = || JournalError::corrupt(format!("{} is damaged: restore it from a copy", path.display()));
        let (json, sum) = bytes.split_last_chunk().ok_or_else(damaged)?;
        if *sum != checksum(json) {
            return Err(damaged());
        }
        let batch: Batch = serde_json::from_slice(json).map_err(|error| damaged().caused_by(error))?;
        if batch.first_position().0 != first || !batch.is_whole() {
            return Err(damaged());
        }
        let part = Part::of(&batch, bytes.len() as u64);
        Ok((batch, part))
    }

    /// Writes a batch and syncs it, in place of an earlier file with this first position.
    pub(super) fn write(&self, batch: &Batch) -> Result<Part, JournalError> {
        let encoded = serde_json::to_vec(batch);
        let mut bytes = encoded.map_err(|error| JournalError::failed("cannot encode a batch").caused_by(error))?;
        bytes.extend(checksum(&bytes));
        let path = self.path(batch.first_position().0);
        let temporary = path.with_extension("new");
        // A retry writes a new file, because a file whose sync has failed may lack bytes.
        fs::remove_file(&temporary).ok();
        let created = File::create_new(&temporary);
        let filled = created.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
        filled.map_err(|error| self.error(Kind::Retry, "write to", error))?;
        // After an error below, the batch may be stored or not.
        fs::rename(&temporary, &path).map_err(|error| self.error(Kind::Failed, "rename in", error))?;
        self.sync()?;
        Ok(Part::of(batch, bytes.len() as u64))
    }

    /// Syncs the names in the directory.
    fn sync(&self) -> Result<(), JournalError> {
        let synced = File::open(&self.0).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.error(Kind::Failed, "sync", error))
    }
}

/// FNV-1a: finds a file that was cut or changed.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, add).to_le_bytes()
}
