//! Ctrl-C and SIGTERM: the first stops the work at a boundary, the second ends the program at once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::exit::{Failure, Outcome};

static PRESSED: AtomicBool = AtomicBool::new(false);
/// Temporary files of this process that are not whole yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes Ctrl-C and SIGTERM over. To be called once, at the start.
pub(crate) fn listen() -> Outcome {
    ctrlc::set_handler(on_signal).map_err(|error| Failure::Runtime(format!("cannot handle Ctrl-C: {error}")))
}

#[expect(
    clippy::exit,
    reason = "a second Ctrl-C ends the program without waiting for a boundary"
)]
fn on_signal() {
    if PRESSED.swap(true, Ordering::Relaxed) {
        for path in UNFINISHED.lock().iter() {
            // The process ends now; a file that cannot be removed is only untidy.
            drop(std::fs::remove_file(path));
        }
        std::process::exit(130);
    }
}

/// Fails once Ctrl-C was pressed; `so_far` says what had been done.
pub(crate) fn check(so_far: impl FnOnce() -> String) -> Outcome {
    if PRESSED.load(Ordering::Relaxed) {
        Err(Failure::Interrupted(so_far()))
    } else {
        Ok(())
    }
}

/// Has a second Ctrl-C remove the file `path`, until [`finished`].
pub(crate) fn unfinished(path: &Path) {
    UNFINISHED.lock().push(path.to_owned());
}

/// Undoes [`unfinished`]: the file `path` is whole, or removed.
pub(crate) fn finished(path: &Path) {
    UNFINISHED.lock().retain(|other| other != path);
}
