//! Long work on a folder: shown how far it has come, and left when it is interrupted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use annals::journal::{JournalError, JournalErrorKind};
use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::progress::Progress;

/// How often the bar is updated, and an interrupt is noticed.
const POLL: Duration = Duration::from_millis(100);

/// How much of the work is done, in bytes.
#[derive(Default)]
struct State {
    done: AtomicU64,
    total: AtomicU64,
}

/// Does `work` on `folder`, with a bar that `done` labels. After an interrupt it returns at once, and `left` says what there is then.
pub(crate) fn watch<T: Send + 'static>(
    folder: &Path,
    done: &str,
    left: &str,
    work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> Result<T, JournalError> + Send + 'static,
) -> Outcome<T> {
    let (answer_in, answer) = bounded(1);
    let state = Arc::new(State::default());
    let told = Arc::clone(&state);
    // On a thread of its own: a read of a slow disk does not hear of Ctrl-C.
    thread::spawn(move || {
        let mut progress = |done, total| {
            told.done.store(done, Ordering::Relaxed);
            told.total.store(total, Ordering::Relaxed);
        };
        // After an interrupt the receiver is gone.
        drop(answer_in.send(work(&mut progress)));
    });
    let mut progress = Progress::new(folder);
    loop {
        match answer.recv_timeout(POLL) {
            Ok(answer) => return answer.map_err(|error| failure(&error)),
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::Runtime("the work ended early".to_owned())),
            Err(RecvTimeoutError::Timeout) => {}
        }
        interrupt::check(|| left.to_owned())?;
        let total = state.total.load(Ordering::Relaxed);
        if total > 0 {
            progress.show(state.done.load(Ordering::Relaxed), total, || done.to_owned());
        }
    }
}

fn failure(error: &JournalError) -> Failure {
    if error.kind() == JournalErrorKind::Unsupported {
        return Failure::Usage(error.to_string());
    }
    Failure::Runtime(error.to_string())
}
