//! Warns on standard error while the journal cannot write: the disk is full, or the server is away.

use std::io::Write as _;
use std::thread::JoinHandle;
use std::time::Duration;

use annals::Store;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::output::text::clean;

/// The interval at which the state of the journal is read.
const POLL: Duration = Duration::from_millis(200);

/// A thread that watches the journal until this is dropped.
pub(crate) struct Watch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread. Without one, the store still says at the end why it has failed.
    pub(crate) fn start(store: Store) -> Self {
        let (end, ended) = bounded(0);
        let look = move || {
            let mut is_told = false;
            while ended.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
                let retrying = store.retrying();
                if let Some(retrying) = retrying.as_ref().filter(|_| !is_told) {
                    tell(&retrying.error.to_string(), retrying.left);
                }
                is_told = retrying.is_some();
            }
        };
        let thread = std::thread::Builder::new()
            .name("annals-retrying".to_owned())
            .spawn(look);
        Self {
            end: Some(end),
            thread: thread.ok(),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn tell(error: &str, left: Duration) {
    let seconds = left.as_secs() + 1;
    let text = format!("waiting for at most {seconds} s until the journal can write: {error}");
    // A closed standard error is no reason to stop.
    drop(writeln!(std::io::stderr(), "warning: {}", clean(&text)));
}
