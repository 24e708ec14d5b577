//! Golden histories: the events of a test as a file of JSON lines that people review, and that later runs are compared with.

mod alias;
mod compare;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::alias::Aliases;
use self::compare::differing_lines;
use super::appended::program_events;
use crate::{Event, Store, Timestamp};

/// The environment variable that rewrites golden files.
const VARIABLE: &str = "UPDATE";
/// The largest golden file that is read, in bytes: a larger one cannot be reviewed.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A history that is compared with a file.
///
/// The file has one JSON object per line for each event. What differs from run to run is replaced: the first UUID is `id-1` wherever it occurs, also in
/// names and in the payload, the second is `id-2`, and so on. A time in the payload becomes `<time>`, and the time of an event is left out, unless
/// [`times`](Self::times) includes it. With `UPDATE=1` in the environment, [`assert`](Self::assert) writes the file instead of comparing it.
///
/// ```
/// use annals::testing::Golden;
/// # use annals::{Expected, NewEvent, Store, StreamId};
///
/// let store = Store::in_memory();
/// store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced").data(r#"{"cents": 5}"#)])?;
/// assert_eq!(
///     Golden::of(&store).to_string(),
///     "{\"id\":\"id-1\",\"stream\":\"Order order-1\",\"version\":1,\"type\":\"OrderPlaced\",\"data\":{\"cents\":5}}\n",
/// );
/// // In a test: Golden::of(&store).assert("tests/golden/order.jsonl");
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a golden history does nothing until it is asserted"]
pub struct Golden {
    events: Vec<Event>,
    with_times: bool,
}

impl Golden {
    /// The history of a store: its events, without those in which processors and sagas keep their own state, and without system events.
    pub fn of(store: &Store) -> Self {
        Self::of_events(program_events(&store.read_all()))
    }

    /// The history of these events.
    pub fn of_events(events: impl IntoIterator<Item = Event>) -> Self {
        Self {
            events: events.into_iter().collect(),
            with_times: false,
        }
    }

    /// Includes the times of events, as seconds since the first event. Use it with a [manual clock](crate::ManualClock), so that they repeat.
    pub fn times(mut self) -> Self {
        self.with_times = true;
        self
    }

    /// Asserts that the history equals the file, or writes the file with `UPDATE=1`. A relative path begins at the folder of the package.
    ///
    /// # Panics
    ///
    /// When the history differs, with the lines that differ; when the file does not exist, cannot be read or has more than 64 MiB; with `UPDATE=1`, when it
    /// cannot be written.
    #[track_caller]
    pub fn assert(&self, path: impl AsRef<Path>) {
        let path = of_package(path.as_ref());
        let is_update = std::env::var_os(VARIABLE).is_some_and(|value| value == "1");
        let outcome = if is_update {
            self.write(&path)
        } else {
            self.compare(&path)
        };
        if let Err(difference) = outcome {
            super::fail::fail(&difference);
        }
    }

    /// Compares the history with a file.
    ///
    /// # Errors
    ///
    /// The lines that differ, or why the file cannot be read.
    pub fn compare(&self, path: &Path) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| {
            format!(
                "cannot compare with {}: {error}; to write it, run the test with {VARIABLE}=1",
                path.display()
            )
        };
        let size = fs::metadata(path).map_err(|error| told(&error))?.len();
        if size > FILE_BYTES_MAX {
            return Err(told(&format!(
                "it has {size} bytes, and at most {FILE_BYTES_MAX} are compared"
            )));
        }
        let expected = fs::read_to_string(path).map_err(|error| told(&error))?;
        // A checkout may have changed the line ends.
        let expected = expected.replace("\r\n", "\n");
        match differing_lines(&expected, &self.to_string()) {
            None => Ok(()),
            Some(lines) => Err(format!(
                "the history differs from {} (- the file, + this run). If this run is correct, rewrite the file: run the test with {VARIABLE}=1\n{lines}",
                path.display()
            )),
        }
    }

    /// Writes the history to a file, whole or not at all.
    ///
    /// # Errors
    ///
    /// Why the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            // Next to it, with its whole name: tests of one process write files whose names begin alike.
            let mut part = path.as_os_str().to_owned();
            part.push(format!(".{}.part", std::process::id()));
            fs::write(&part, self.to_string())?;
            fs::rename(&part, path).inspect_err(|_| drop(fs::remove_file(&part)))
        };
        write().map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }
}

/// `cargo test` runs in the folder of the package; `cargo run` keeps the current folder.
fn of_package(path: &Path) -> PathBuf {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(folder) if path.is_relative() => Path::new(&folder).join(path),
        _ => path.to_owned(),
    }
}

impl std::fmt::Display for Golden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut aliases = Aliases::default();
        let begin = self.events.first().map(Event::timestamp);
        for event in &self.events {
            let begin = begin.filter(|_| self.with_times);
            let fields = fields(event, begin, &mut aliases);
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            writeln!(f, "{{{}}}", fields.join(","))?;
        }
        Ok(())
    }
}

/// The fields of an event, in the order of the file, without those that are empty.
fn fields(event: &Event, begin: Option<Timestamp>, aliases: &mut Aliases) -> Vec<(&'static str, Value)> {
    // Aliased before the ids in other fields, so that the numbers follow the order of the events.
    let id = aliases.id(event.id());
    let stream = format!("{} {}", event.aggregate_type(), aliases.text(event.aggregate_id()));
    let mut fields = vec![
        ("id", id.into()),
        ("stream", stream.into()),
        ("version", event.version().0.into()),
        ("type", event.event_type().into()),
    ];
    if event.schema_version() != 1 {
        fields.push(("schema", event.schema_version().into()));
    }
    if let Some(begin) = begin {
        fields.push(("second", seconds_between(begin, event.timestamp())));
    }
    for (name, value) in [
        ("correlation", event.correlation_id()),
        ("causation", event.causation_id()),
        ("user", event.user_id()),
        ("organization", event.organization_id()),
    ] {
        fields.extend(value.map(|value| (name, aliases.text(value).into())));
    }
    let tags: Vec<Value> = event.tags().map(|tag| aliases.text(tag).into()).collect();
    if !tags.is_empty() {
        fields.push(("tags", tags.into()));
    }
    for (name, bytes) in [("metadata", event.metadata()), ("data", event.data())] {
        if !bytes.is_empty() {
            fields.push((name, aliases.payload(bytes)));
        }
    }
    fields
}

fn seconds_between(begin: Timestamp, end: Timestamp) -> Value {
    let micros = end.as_micros().saturating_sub(begin.as_micros());
    if micros % 1_000_000 == 0 {
        return (micros / 1_000_000).into();
    }
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000).into()
}
