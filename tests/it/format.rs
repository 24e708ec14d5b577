//! The files of a store are what `docs/file-format.md` says: an old store is read as it was written, and so is a new one by another program.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use annals::journal::file::{FileJournal, FileSettings};
use annals::journal::{Batch, Journal as _, JournalError, Mark, Recover};
use annals::{
    ContentType, EventRef, Expected, Gap, GapReason, ManualClock, NewEvent, NewSnapshot, SeededIds, Store, StreamId,
    StreamLimits, Timestamp, Version,
};
use serde_json::{Value, json};

use crate::support::{START, TempFolder};

/// The events of a store in files, and what is left of others, as `read_segments.py` prints them.
struct Listed(Vec<Value>);

impl Recover for Listed {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        self.0.extend(batch.gaps().iter().map(gone));
        self.0.extend(batch.marks().iter().map(mark));
        self.0.extend(batch.events().map(listed));
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

fn reason(reason: &GapReason) -> (String, Option<String>) {
    let value = serde_json::to_value(reason).expect("JSON");
    match value.as_object().and_then(|one| one.iter().next()) {
        Some((name, of)) => (capital(name), of.as_str().map(str::to_owned)),
        None => (capital(value.as_str().expect("a name")), None),
    }
}

fn capital(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..]
}

fn gone(gap: &Gap) -> Value {
    let (reason, of) = reason(&gap.reason);
    let mut gone = json!({"first": gap.first, "last": gap.last, "count": gap.count, "reason": reason});
    if let Some(of) = of {
        gone["of"] = of.into();
    }
    json!({ "gone": gone })
}

fn mark(mark: &Mark) -> Value {
    json!({"mark": {
        "position": mark.position,
        "aggregateType": mark.aggregate_type,
        "aggregateId": mark.aggregate_id,
        "version": mark.version,
        "gap": reason(&mark.reason).0,
    }})
}

fn listed(event: EventRef<'_>) -> Value {
    json!({
        "position": event.position().0,
        "aggregateType": event.aggregate_type(),
        "eventType": event.event_type(),
        "schemaVersion": event.schema_version(),
        "dataType": name(&event.data_type()),
        "metadataType": name(&event.metadata_type()),
        "version": event.version().0,
        "id": event.id().to_string(),
        "timestamp": event.timestamp().as_micros(),
        "recordedAt": event.recorded_at().as_micros(),
        "aggregateId": event.aggregate_id(),
        "correlationId": event.correlation_id(),
        "causationId": event.causation_id(),
        "userId": event.user_id(),
        "organizationId": event.organization_id(),
        "tags": event.tags().collect::<Vec<_>>(),
        "metadata": shown(event.metadata()),
        "data": shown(event.data()),
    })
}

fn name(content_type: &ContentType) -> &str {
    match content_type {
        ContentType::Json => "json",
        ContentType::Bytes => "bytes",
        other @ (ContentType::Other(_) | _) => other.as_str(),
    }
}

fn shown(bytes: &[u8]) -> String {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat()
    };
    if bytes.len() <= 256 {
        return hex(bytes);
    }
    format!("{} and so on, {} bytes", hex(&bytes[..16]), bytes.len())
}

/// What the library finds in a folder.
fn by_library(folder: &Path) -> Vec<Value> {
    let mut journal = FileJournal::open(folder).expect("a journal");
    let mut listed = Listed(Vec::new());
    journal.recover(&mut listed).expect("recovered");
    listed.0
}

/// What the Python program finds; `None` where there is no Python.
fn by_python(folder: &Path) -> Option<Vec<Value>> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/read_segments.py");
    let output = Command::new("python3").arg(program).arg(folder).output().ok()?;
    let (stdout, stderr) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let lines = String::from_utf8(stdout).expect("JSON");
    Some(
        lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect(),
    )
}

#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests should know what was not tested"
)]
fn agree(folder: &Path, expected: &[Value]) {
    let expected = in_order(expected.to_vec());
    assert_eq!(in_order(by_library(folder)), expected);
    match by_python(folder) {
        Some(found) => assert_eq!(in_order(found), expected),
        None => eprintln!("there is no python3: what the files hold was checked by the library alone"),
    }
}

/// Gaps, marks, events: frames that are read together say first what is left in each.
fn in_order(mut found: Vec<Value>) -> Vec<Value> {
    found.sort_by_key(|value| (value.get("gone").is_none(), value.get("mark").is_none()));
    found
}

/// The same without the room of what was dropped.
fn compact(folder: &Path) {
    let store = open(folder);
    store.compact_journal().expect("compacted");
    store.close().expect("closed");
}

/// Fills a folder with everything that the format has, but for sparse frames.
fn write_everything(folder: &Path) {
    let store = open(folder);
    for (stream, events) in everything() {
        store.append(&stream, Expected::Any, events).expect("appended");
        store.wait_durable(store.visible()).expect("durable");
    }
    let limited = StreamLimits::default()
        .max_count(2)
        .max_age(Duration::from_millis(90_500));
    store.truncate_before("order-1", Version(2)).expect("truncated");
    store.set_limits("order-1", limited).expect("limited");
    store.set_limits("order-1", StreamLimits::default()).expect("limited");
    store.delete("order-2", Expected::Any).expect("deleted");
    store.tombstone("large", Expected::Any).expect("tombstoned");
    store.close().expect("closed");
}

fn open(folder: &Path) -> Store {
    let files = FileSettings::default()
        .segment_bytes(4096)
        .preallocate_bytes(0)
        .compress(cfg!(feature = "lz4"));
    Store::builder()
        .clock(Arc::new(ManualClock::at(START)))
        .ids(Arc::new(SeededIds::new(1)))
        .journal(FileJournal::open_with(folder, files).expect("a journal"))
        .open()
        .expect("a store")
}

fn everything() -> Vec<(StreamId, Vec<NewEvent<'static>>)> {
    let order = |number: u8| StreamId::new("Order", format!("order-{number}"));
    let full = NewEvent::new("Placed")
        .schema_version(300)
        .timestamp(Timestamp::from_micros(-1_000_001))
        .correlation("c-1")
        .causation("cause")
        .user("anna")
        .organization("ørg")
        .tag("a")
        .tag("b c")
        .metadata(r#"{"ip":"::1"}"#)
        .data(r#"{"total":250}"#);
    let late = NewEvent::new("Paid").timestamp(Timestamp::MAX).user("anna");
    let early = NewEvent::new("Shipped").timestamp(Timestamp::MIN).organization("o");
    let bytes = NewEvent::new("Scanned")
        .content_type(ContentType::Bytes)
        .data([0, 1, 254, 255]);
    let other = NewEvent::new("Signed")
        .content_type(ContentType::from("text/plain"))
        .data("x".repeat(251));
    let numbered = |number: u32| NewEvent::new("Counted").data(format!("{{\"number\":{number}}}"));
    // More than a frame takes: the batch goes on in a second.
    let large = NewEvent::new("Large").data(vec![b'x'; 1 << 20]);
    vec![
        (order(1), vec![full, late, early]),
        (order(2), vec![bytes, other]),
        (StreamId::new("Large", "large"), vec![large.clone(), large, numbered(0)]),
        (StreamId::new("Counter", "counter"), (1..=40).map(numbered).collect()),
    ]
}

#[test]
fn another_program_reads_what_a_store_writes() {
    let folder = TempFolder::new();
    write_everything(folder.path());
    let events = by_library(folder.path());
    assert_eq!(events.len(), 53);
    agree(folder.path(), &events);
    compact(folder.path());
    let left = by_library(folder.path());
    let is = |kind: &str| left.iter().filter(|value| value.get(kind).is_some()).count();
    assert_eq!((is("gone"), is("mark"), is("eventType")), (3, 3, 47), "{left:#?}");
    agree(folder.path(), &left);
}

/// Fills a folder with snapshots: some that others replaced, one that is the last of its aggregate, one that went with it.
fn write_snapshots(folder: &Path) {
    let store = open(folder);
    for (id, last) in [("counter-1", 3), ("counter-2", 1)] {
        let counter = StreamId::new("Counter", id);
        for version in 1..=last {
            let event = NewEvent::new("Counted");
            store.append(&counter, Expected::Any, vec![event]).expect("appended");
            let snapshot = NewSnapshot::new(Version(version))
                .data([0xff, version as u8])
                .content_type(ContentType::Bytes);
            store.save_snapshot(id, snapshot.schema_version(2)).expect("kept");
        }
    }
    store.delete("counter-2", Expected::Any).expect("deleted");
    // So that the segment is full, and there is something to give back.
    let large = NewEvent::new("Large").data(vec![b'x'; 4096]);
    store
        .append(&StreamId::new("Large", "large"), Expected::Any, vec![large])
        .expect("appended");
    store.compact_journal().expect("compacted");
    store.close().expect("closed");
}

#[test]
fn another_program_reads_snapshots() {
    let folder = TempFolder::new();
    write_snapshots(folder.path());
    let left = by_library(folder.path());
    let text = format!("{left:?}");
    assert!(text.contains("$$snapshot:counter-1"), "{text}");
    let gone = left.iter().filter(|value| value["gone"]["reason"] == "Snapshot");
    assert_eq!(
        gone.map(|value| value["gone"]["count"].as_u64()).collect::<Vec<_>>(),
        [Some(3)]
    );
    agree(folder.path(), &left);
}

#[test]
#[cfg(feature = "lz4")]
fn snapshots_of_format_1_are_what_they_were() {
    let name = "format-1-snapshots";
    if let Some(folder) = std::env::var_os("ANNALS_FIXTURE").map(std::path::PathBuf::from) {
        write_snapshots(&folder.join(name));
        note_events(&folder.join(name));
    }
    let folder = copy_of_fixture(name);
    agree(folder.path(), &noted_events(folder.path()));
    let store = Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
    let snapshot = store.snapshot("counter-1").expect("it was kept");
    assert_eq!((snapshot.version, snapshot.schema_version), (Version(3), 2));
    assert_eq!((snapshot.taken_at, snapshot.data), (START, vec![0xff, 3]));
    assert_eq!(store.snapshot("counter-2"), None);
}

/// Set `ANNALS_FIXTURE` to a folder to have stores written there, as those in `tests/fixtures` were.
#[test]
#[cfg(feature = "lz4")]
fn a_store_of_format_1_is_what_it_was() {
    if let Some(folder) = std::env::var_os("ANNALS_FIXTURE").map(std::path::PathBuf::from) {
        for name in ["format-1", "format-1-compacted"] {
            write_fixture(&folder.join(name), name != "format-1");
        }
    }
    for name in ["format-1", "format-1-compacted"] {
        let folder = copy_of_fixture(name);
        agree(folder.path(), &noted_events(folder.path()));
        let store = Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
        let live = |id: &str| store.read_stream(id).events().len();
        assert_eq!(store.visible().0, 53);
        assert_eq!((live("order-1"), live("order-2"), live("large")), (2, 0, 0));
        assert_eq!(store.stream_info("large").expect("known").version, Version(3));
    }
}

#[cfg(feature = "lz4")]
fn write_fixture(folder: &Path, compacts: bool) {
    write_everything(folder);
    if compacts {
        compact(folder);
    }
    note_events(folder);
}

/// Writes down what a folder has.
#[cfg(feature = "lz4")]
fn note_events(folder: &Path) {
    let found = in_order(by_library(folder));
    let lines: Vec<_> = found.iter().map(|value| format!("{value}\n")).collect();
    std::fs::write(folder.join("events.jsonl"), lines.concat()).expect("written");
}

/// What was written down of a folder.
#[cfg(feature = "lz4")]
fn noted_events(folder: &Path) -> Vec<Value> {
    let lines = std::fs::read_to_string(folder.join("events.jsonl")).expect("the events");
    let values = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    values.collect()
}

fn copy_of_fixture(name: &str) -> TempFolder {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let folder = TempFolder::new();
    let mut segments = 0;
    for entry in std::fs::read_dir(&fixture).expect("a fixture") {
        let path = entry.expect("a file").path();
        segments += usize::from(path.extension().is_some_and(|extension| extension == "segment"));
        std::fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    assert!(segments >= 2, "{segments} segments");
    folder
}

/// A user who is told of damage repairs it, and would lose what another build of the same program reads.
#[test]
#[cfg(not(feature = "lz4"))]
fn compressed_frames_are_not_taken_for_damage() {
    let folder = copy_of_fixture("format-1");
    let opened = FileJournal::open(folder.path()).map(Store::open).expect("a journal");
    let Err(annals::Error::Invalid { message }) = opened else {
        panic!("{opened:?}")
    };
    assert!(message.contains("without the feature `lz4`"), "{message}");
    let refused = annals::journal::file::verify(folder.path(), &mut |_, _| {}).map_err(|error| error.kind());
    assert_eq!(refused, Err(annals::journal::JournalErrorKind::Unsupported));
}

/// The bytes that `docs/file-format.md` shows, with the events that it says are in them.
#[test]
fn the_example_of_the_format_is_true() {
    let text = include_str!("../../docs/file-format.md");
    let (_, example) = text.split_once("```text\n").expect("an example");
    let lines = example.lines().take_while(|line| *line != "```");
    let bytes: Vec<u8> = lines
        .flat_map(|line| line.split("  ").next().unwrap_or_default().split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect();
    let folder = TempFolder::new();
    std::fs::write(folder.path().join("00000000000000000001.segment"), bytes).expect("written");
    let expected = json!({
        "position": 1, "aggregateType": "Account", "eventType": "Opened", "schemaVersion": 1, "dataType": "json",
        "metadataType": "json", "version": 1, "id": "0192f0e0-0000-7000-8000-0000000000aa", "timestamp": 1_000_000,
        "recordedAt": 1_000_005, "aggregateId": "a-1", "correlationId": null, "causationId": null, "userId": null,
        "organizationId": null, "tags": ["new"], "metadata": "", "data": "7b7d",
    });
    agree(folder.path(), &[expected]);
}
