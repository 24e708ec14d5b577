//! Ctrl-C, SIGTERM and SIGHUP: the first stops the work at a boundary, the second ends the program at once, unless a pager is open. With TLS, SIGHUP
//! reads the certificate of the server again instead.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::exit::{Failure, Outcome};

static PRESSED: AtomicBool = AtomicBool::new(false);
/// What the first signal calls, for work that does not look for it.
static CALLED: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);
/// Whether a pager has the terminal, which must not be left alone with it.
static DEFERRED: AtomicBool = AtomicBool::new(false);
/// Temporary files and folders of this process that are not whole yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Wakes the thread that SIGHUP has instead of stopping the program.
#[cfg(all(unix, feature = "serve"))]
static HUNG_UP: Mutex<Option<crossbeam_channel::Sender<()>>> = Mutex::new(None);

/// Takes the signals over. To be called once, at the start.
#[cfg(unix)]
pub(crate) fn listen() -> Outcome {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let failed = |error: io::Error| Failure::Runtime(format!("cannot handle Ctrl-C: {error}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let thread = std::thread::Builder::new().name("annals-signals".to_owned());
    let listen = move || {
        for signal in &mut signals {
            if signal != SIGHUP || !reload() {
                on_signal();
            }
        }
    };
    thread.spawn(listen).map_err(failed)?;
    Ok(())
}

/// Takes Ctrl-C over. To be called once, at the start.
#[cfg(not(unix))]
pub(crate) fn listen() -> Outcome {
    ctrlc::set_handler(on_signal).map_err(|error| Failure::Runtime(format!("cannot handle Ctrl-C: {error}")))
}

/// Wakes the thread of SIGHUP. Returns whether there is one. Signals that come while it is busy are one.
#[cfg(all(unix, feature = "serve"))]
fn reload() -> bool {
    let hung_up = HUNG_UP.lock();
    let Some(wake) = &*hung_up else { return false };
    // A full channel has woken the thread already.
    wake.try_send(()).ok();
    true
}

#[cfg(all(unix, not(feature = "serve")))]
fn reload() -> bool {
    false
}

/// From now on SIGHUP calls `call` and does not stop the program. The call has a thread of its own, so that one that hangs keeps no other signal from
/// being handled. Only Unix has that signal.
#[cfg(feature = "serve")]
pub(crate) fn when_hung_up(call: impl Fn() + Send + 'static) -> io::Result<()> {
    #[cfg(unix)]
    {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let thread = std::thread::Builder::new().name("annals-reload".to_owned());
        thread.spawn(move || woken.iter().for_each(|()| call()))?;
        *HUNG_UP.lock() = Some(wake);
    }
    #[cfg(not(unix))]
    drop(call);
    Ok(())
}

#[expect(
    clippy::exit,
    reason = "a second Ctrl-C ends the program without waiting for a boundary"
)]
fn on_signal() {
    // Before the call: what is registered afterwards finds it.
    let was_pressed = PRESSED.swap(true, Ordering::SeqCst);
    call();
    if was_pressed && !DEFERRED.load(Ordering::Relaxed) {
        // Held to the end: no other file is made after these are removed.
        let unfinished = UNFINISHED.lock();
        unfinished.iter().for_each(|path| remove(path));
        std::process::exit(130);
    }
}

/// Removes a file, or a folder with all that is in it. The process ends now: what cannot be removed is only untidy.
fn remove(path: &Path) {
    if path.is_dir() {
        drop(std::fs::remove_dir_all(path));
    } else {
        drop(std::fs::remove_file(path));
    }
}

/// Calls `call` at the first signal, on another thread; at once if there was one already.
#[cfg(feature = "serve")]
pub(crate) fn when_pressed(call: impl FnOnce() + Send + 'static) {
    *CALLED.lock() = Some(Box::new(call));
    if PRESSED.load(Ordering::SeqCst) {
        self::call();
    }
}

fn call() {
    let called = CALLED.lock().take();
    if let Some(called) = called {
        called();
    }
}

/// From now on a second signal does not end the program: a pager has the terminal, and Ctrl-C is for it.
pub(crate) fn begin_deferring() {
    DEFERRED.store(true, Ordering::Relaxed);
}

/// The pager has ended.
pub(crate) fn end_deferring() {
    DEFERRED.store(false, Ordering::Relaxed);
}

/// Fails once Ctrl-C was pressed; `so_far` says what had been done.
pub(crate) fn check(so_far: impl FnOnce() -> String) -> Outcome {
    if PRESSED.load(Ordering::Relaxed) {
        Err(Failure::Interrupted(so_far()))
    } else {
        Ok(())
    }
}

/// Makes a temporary file that a second Ctrl-C removes, until [`finished`]. No signal comes between its creation and its entry in the list.
pub(crate) fn unfinished(create: impl FnOnce() -> io::Result<(PathBuf, File)>) -> io::Result<(PathBuf, File)> {
    let mut unfinished = UNFINISHED.lock();
    let (path, file) = create()?;
    unfinished.push(path.clone());
    Ok((path, file))
}

/// Lets a second Ctrl-C remove the folder `path` with all that is in it, until [`finished`].
#[cfg(feature = "bench")]
pub(crate) fn unfinished_folder(path: &Path) {
    UNFINISHED.lock().push(path.to_owned());
}

/// Undoes [`unfinished`]: the file `path` is whole, or removed.
pub(crate) fn finished(path: &Path) {
    UNFINISHED.lock().retain(|other| other != path);
}
