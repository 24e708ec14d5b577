//! Ctrl-C and SIGTERM: the first stops the work at a boundary, the second ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::{Failure, Outcome};

static PRESSED: AtomicBool = AtomicBool::new(false);

/// Takes Ctrl-C and SIGTERM over. To be called once, at the start.
pub(crate) fn listen() -> Outcome {
    ctrlc::set_handler(on_signal).map_err(|error| Failure::Runtime(format!("cannot handle Ctrl-C: {error}")))
}

#[expect(
    clippy::exit,
    reason = "whoever presses Ctrl-C twice does not want to wait for a boundary"
)]
fn on_signal() {
    if PRESSED.swap(true, Ordering::Relaxed) {
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
