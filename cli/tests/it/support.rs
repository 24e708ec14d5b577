//! Runs the program, and generates logs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

const VARIABLES: [&str; 9] = [
    "ANNALS_STORE",
    "ANNALS_TOKEN",
    "ANNALS_TOKEN_FILE",
    "ANNALS_CA_FILE",
    "ANNALS_PAGER",
    "PAGER",
    "COLUMNS",
    "NO_COLOR",
    "CLICOLOR_FORCE",
];

/// The result of a run of the program.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Its standard output, if it succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// The standard error, if it ended with `code`.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self.stderr
    }
}

pub(crate) fn program() -> Command {
    plain(Command::new(env!("CARGO_BIN_EXE_annals")))
}

/// Removes environment variables that could change the output.
fn plain(mut command: Command) -> Command {
    for name in VARIABLES {
        command.env_remove(name);
    }
    // A pager would wait for a key.
    command.env("ANNALS_PAGER", "").stdin(Stdio::null());
    command
}

/// The program, detached from the terminal of the tests.
#[cfg(target_os = "linux")]
pub(crate) fn alone() -> Command {
    let mut command = Command::new("setsid");
    command.arg(env!("CARGO_BIN_EXE_annals"));
    plain(command)
}

/// Appends the log to the durable store at `url`, and returns the figures of the report.
pub(crate) fn import(url: &Path, log: &Path) -> serde_json::Value {
    let report = run(program()
        .arg("--store")
        .arg(url)
        .args(["import", "--format", "json"])
        .arg(log))
    .ok();
    serde_json::from_str(&report).unwrap()
}

/// Runs the program on the log `store`.
pub(crate) fn ask(store: &Path, arguments: &[&str]) -> Ran {
    run(program().arg("--store").arg(store).args(arguments))
}

pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The standard output of a successful run on a terminal.
#[cfg(target_os = "linux")]
pub(crate) fn on_terminal(command: &mut Command) -> String {
    on_terminal_of(0, command)
}

/// As [`on_terminal`], of a terminal with `columns` columns. It must be the program's only terminal: see [`alone`].
#[cfg(target_os = "linux")]
pub(crate) fn on_terminal_of(columns: u16, command: &mut Command) -> String {
    use std::fs::{File, OpenOptions};
    use std::io::Read as _;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let name = ptsname(&near, Vec::new()).unwrap().into_string().unwrap();
    let far = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let size = rustix::termios::Winsize {
        ws_col: columns,
        ws_row: 24,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&far, size).unwrap();
    let mut child = command.stdout(far).spawn().unwrap();
    // The command has the other copy of the far end. Without this one, the near end can be read to its end.
    command.stdout(Stdio::null());
    let mut shown = Vec::new();
    // When no process has the far end open, reading fails, which is the end.
    drop(File::from(near).read_to_end(&mut shown));
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap()
}

/// The text without the control sequences of styles.
pub(crate) fn without_styles(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.map(|part| part.split_once('m').unwrap().1).collect::<String>()
}

/// A directory that is removed at the end of the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with `content`, compressed if its name says so.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let content = content.as_ref();
        let is_packed = path.extension().is_some_and(|extension| extension == "gz");
        let bytes = if is_packed { gzip(content) } else { content.to_vec() };
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The URL of a store in a folder within this one.
    pub(crate) fn url(&self, name: &str) -> PathBuf {
        format!("file:{}", self.path(name).display()).into()
    }

    /// A generated log of 3,000 events.
    pub(crate) fn demo(&self) -> PathBuf {
        let path = self.path("demo.jsonl.gz");
        run(program()
            .args(["demo", "--events", "3000", "--seed", "7", "--output"])
            .arg(&path))
        .ok();
        path
    }
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// One line of a log, with `rest` after the required fields.
pub(crate) fn line(aggregate: &str, event_type: &str, rest: &str) -> String {
    format!(
        r#"{{"aggregateId":"{aggregate}","aggregateType":"Thing","eventType":"{event_type}","timestamp":"2026-01-31T12:00:00Z"{rest}}}"#
    )
}
