//! Failures of the program, their messages and their exit codes.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;

use crate::output::screen::{Role, Screen};
use crate::output::text::clean;

/// The reason why the program ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A failure of the environment.
    #[error("{0}")]
    Runtime(String),
    /// The command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// A file is invalid.
    #[error("{0}")]
    Data(String),
    /// The result is negative, with this exit code.
    #[cfg_attr(not(feature = "bench"), expect(dead_code, reason = "benchmarks alone have verdicts"))]
    #[error("{1}")]
    Verdict(u8, String),
    /// The requested item does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The user pressed Ctrl-C.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// The reader of the output closed it.
    #[error("the output was closed")]
    PipeClosed,
}

/// The result of a step of the program.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// The message for a file that cannot be opened or read, with what to do.
    pub(crate) fn of_input(path: &Path, error: &io::Error) -> Self {
        let name = path.display();
        if error.kind() == ErrorKind::NotFound {
            return Self::NotFound(format!("cannot open {name}: there is no such file; check the path"));
        }
        let text = if error.kind() == ErrorKind::PermissionDenied {
            format!("cannot open {name}: permission denied; change its permissions")
        } else {
            format!("cannot read {name}: {error}")
        };
        if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) {
            return Self::Data(text);
        }
        Self::Runtime(text)
    }

    /// The exit code, as documented in `--help`.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::PipeClosed => 0,
            Self::Runtime(_) => 1,
            Self::Usage(_) => 2,
            Self::Data(_) => 3,
            Self::NotFound(_) => 4,
            Self::Verdict(code, _) => *code,
            Self::Interrupted(_) => 130,
        }
    }

    /// Writes the message to `stderr`, if there is one.
    pub(crate) fn report(&self, stderr: &mut impl io::Write, screen: Screen) -> ExitCode {
        if !matches!(self, Self::PipeClosed) {
            // An error of standard error cannot be reported.
            let label = screen.paint(Role::Error, "error:");
            drop(writeln!(stderr, "{label} {}", clean(&self.to_string())));
        }
        ExitCode::from(self.code())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::PipeClosed
        } else {
            Self::Runtime(error.to_string())
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::from(io::Error::from(error))
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        let text = error.to_string();
        if let csv::ErrorKind::Io(error) = error.into_kind() {
            return Self::from(error);
        }
        Self::Runtime(text)
    }
}

impl From<annals::Error> for Failure {
    fn from(error: annals::Error) -> Self {
        if let annals::Error::Invalid { message } = error {
            return Self::Usage(message.into());
        }
        if matches!(error, annals::Error::Corrupt { .. }) {
            return Self::Data(error.to_string());
        }
        Self::Runtime(of_store(&error))
    }
}

/// The message for a file that cannot be written, with what to do.
pub(crate) fn of_output(path: &Path, error: &io::Error) -> String {
    let name = path.display();
    let is = |kind| error.kind() == kind;
    let reason = if is(ErrorKind::NotFound) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).display();
        format!("the folder {folder} does not exist; create it, or name another file")
    } else if is(ErrorKind::PermissionDenied) {
        "permission denied; name another file".to_owned()
    } else if is(ErrorKind::StorageFull) {
        "no space left on the device; free space, and run the command again".to_owned()
    } else {
        error.to_string()
    };
    format!("cannot write {name}: {reason}")
}

/// The message of a store's error for a command. It omits that later appends fail too, because the command ends.
pub(crate) fn of_store(error: &annals::Error) -> String {
    if let annals::Error::Failed { cause: error } = error {
        return format!("the journal has failed: {error}");
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.code(), 0);
        let mut stderr = Vec::new();
        failure.report(&mut stderr, Screen::default());
        assert!(stderr.is_empty());
    }

    #[test]
    fn a_command_that_reads_spoke_of_appends() {
        use annals::journal::{JournalError, JournalErrorKind};

        for kind in [
            JournalErrorKind::Failed,
            JournalErrorKind::Retry,
            JournalErrorKind::Locked,
            JournalErrorKind::Corrupt,
            JournalErrorKind::Unsupported,
        ] {
            let error = annals::Error::from(JournalError::new(kind, "the server went away"));
            let message = Failure::from(error).to_string();
            assert!(message.ends_with("the server went away"), "{message}");
            assert!(!message.contains("append"), "{message}");
        }
    }

    #[test]
    fn messages_cannot_move_the_cursor() {
        let mut stderr = Vec::new();
        Failure::Data("bad \u{1b}[2J".to_owned()).report(&mut stderr, Screen::default());
        assert_eq!(String::from_utf8_lossy(&stderr), "error: bad \\u{1b}[2J\n");
    }
}
