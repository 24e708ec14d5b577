//! Discards the output of a library that prints to standard output, which belongs to the result of the program.

use crate::store::Result;

/// While one exists, the standard output of this process is discarded. Only on Unix.
#[derive(Debug)]
pub(super) struct Silence(());

impl Silence {
    pub(super) fn begin() -> Result<Self> {
        #[cfg(unix)]
        unix::begin()?;
        Ok(Self(()))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        #[cfg(unix)]
        unix::end();
    }
}

#[cfg(unix)]
mod unix {
    use std::fmt::Display;
    use std::fs::File;
    use std::io::{Write as _, stdout};
    use std::os::fd::{AsFd as _, OwnedFd};

    use parking_lot::Mutex;
    use rustix::stdio::dup2_stdout;

    use crate::store::{Result, StoreError};

    /// The number of silences, and the original standard output.
    static WANTED: Mutex<(usize, Option<OwnedFd>)> = Mutex::new((0, None));

    fn failed(error: impl Display) -> StoreError {
        StoreError::Failed(format!("cannot discard what the store prints: {error}"))
    }

    pub(super) fn begin() -> Result<()> {
        let mut wanted = WANTED.lock();
        if wanted.0 == 0 {
            let nowhere = File::options().write(true).open("/dev/null").map_err(failed)?;
            stdout().flush().map_err(failed)?;
            wanted.1 = Some(stdout().as_fd().try_clone_to_owned().map_err(failed)?);
            dup2_stdout(nowhere).map_err(failed)?;
        }
        wanted.0 += 1;
        Ok(())
    }

    pub(super) fn end() {
        let mut wanted = WANTED.lock();
        wanted.0 = wanted.0.saturating_sub(1);
        if wanted.0 == 0
            && let Some(before) = wanted.1.take()
        {
            // The contents of the buffer were printed during the silence.
            drop(stdout().flush());
            dup2_stdout(before).unwrap_or_default();
        }
    }
}
