//! Processes that are killed while they append, fifty times, and fifty times while they rewrite a file; and what had been acknowledged.
//!
//! The program is its own victim: run with `writer FOLDER` it appends from four threads and prints every acknowledgement; with
//! `compactor FOLDER` another thread deletes what it has appended, and has the files rewritten. That victim is stopped while a rewritten file
//! is there and has not taken the place of the old one, and killed then.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails where what it expects does not hold, and says how it went"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annals::journal::file::{FileJournal, FileSettings};
use annals::testing::crash::Numbers;
use annals::testing::operation::Choices;
use annals::{Durability, Expected, NewEvent, Position, Store, StreamId};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

const ROUNDS: u64 = 50;
const WRITERS: u64 = 4;
/// The victims, and what their ends show.
const TESTS: [(&str, &str); 2] = [
    ("writer", "what_was_acknowledged_survives_a_kill"),
    (
        "compactor",
        "what_was_acknowledged_survives_a_kill_while_files_are_rewritten",
    ),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [role, folder] if TESTS.iter().any(|(known, _)| known == role) => write(Path::new(folder), role == "compactor"),
        _ if arguments.iter().any(|argument| argument == "--list") => {
            for (_, name) in TESTS {
                println!("{name}: test");
            }
        }
        _ => {
            for (role, name) in TESTS {
                run(role);
                println!("test {name} ... ok ({ROUNDS} kills)");
            }
        }
    }
}

fn open(folder: &Path) -> Store {
    let settings = FileSettings::default().segment_bytes(64 << 10);
    let journal = FileJournal::open_with(folder, settings).expect("the journal opens");
    Store::open(journal).expect("the store opens")
}

fn stream(writer: u64) -> StreamId {
    StreamId::new("Writer", format!("writer-{writer}"))
}

// The victim.

/// Appends until it is killed; every line printed is an append that was acknowledged as synced.
fn write(folder: &Path, compacts: bool) {
    let store = open(folder);
    let synced = store.with_durability(Durability::Synced).expect("files can be synced");
    std::thread::scope(|scope| {
        if compacts {
            scope.spawn(|| compact_for_ever(&store));
        }
        for writer in 0..WRITERS {
            let (store, synced) = (&store, &synced);
            scope.spawn(move || append_for_ever(store, synced, writer));
        }
    });
}

fn append_for_ever(store: &Store, synced: &Store, writer: u64) {
    // It ends by itself if its parent has died.
    for number in 0..100_000 {
        // Every other append is only written behind, so that there is something to lose.
        let handle = if number % 2 == 0 { synced } else { store };
        let count = 1 + number % 3;
        let event = |part: u64| NewEvent::new("Written").data(format!("{part} of {count}{}", " ".repeat(200)));
        let events = (1..=count).map(event).collect::<Vec<_>>();
        let appended = handle.append(&stream(writer), Expected::Any, events).expect("appended");
        if appended.durability == Durability::Synced {
            let line = format!("{} {} {}\n", writer, appended.last_position, appended.last_version);
            let mut stdout = std::io::stdout().lock();
            stdout
                .write_all(line.as_bytes())
                .and_then(|()| stdout.flush())
                .expect("printed");
        }
    }
}

fn compact_for_ever(store: &Store) {
    for number in 0..100_000 {
        let scratch = StreamId::new("Scratch", format!("scratch-{}", number % 10));
        let event = NewEvent::new("Scratched").data(" ".repeat(500));
        store
            .append(&scratch, Expected::Any, vec![event; 40])
            .expect("appended");
        store.delete(&scratch.aggregate_id, Expected::Any).expect("deleted");
        store.compact_journal().expect("compacted");
    }
}

// The test.

fn run(role: &str) {
    let folder = std::env::temp_dir().join(format!("annals-kill-{role}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let mut choices = Choices::new(Numbers::new(9));
    for round in 0..ROUNDS {
        let acknowledged = kill(role, &folder, choices.below(300));
        let rewriting = is_rewriting(&folder);
        assert!(
            rewriting || role != "compactor",
            "round {round}: no file was being rewritten"
        );
        check(&folder, &acknowledged, round);
    }
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

/// Whether there is a file that has not taken the place of the one that it is made of.
fn is_rewriting(folder: &Path) -> bool {
    let mut names = std::fs::read_dir(folder).expect("the folder is there");
    names.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "rewrite")))
}

/// The version that each position has, as the victim was told.
type Acknowledged = BTreeMap<u64, (u64, u64)>;

/// Runs a victim until it has printed so many lines, and kills it then.
fn kill(role: &str, folder: &Path, lines: u64) -> Acknowledged {
    let mut victim = Command::new(std::env::current_exe().expect("a test has a path"))
        .args([role.as_ref(), folder.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the writer starts");
    let output = victim.stdout.take().expect("a pipe");
    let (count, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let acknowledged = std::thread::scope(|scope| {
        // The pipe is emptied all the time: a victim that waits for it rewrites nothing.
        let reader = scope.spawn(|| read(output, &count, &ended));
        while count.load(Ordering::Acquire) <= lines && !ended.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        if role == "compactor" {
            stop_while_rewriting(&victim, folder, &ended);
        }
        victim.kill().expect("the writer can be killed");
        reader.join().expect("the output can be read")
    });
    victim.wait().expect("the writer has ended");
    acknowledged
}

/// Stops the victim at a moment when a file is being rewritten.
fn stop_while_rewriting(victim: &Child, folder: &Path, ended: &AtomicBool) {
    while !ended.load(Ordering::Acquire) {
        if !is_rewriting(folder) {
            std::thread::yield_now();
            continue;
        }
        signal(victim, Signal::STOP);
        wait_until_stopped(victim);
        // The file may have taken its place before all threads had stopped.
        if is_rewriting(folder) {
            return;
        }
        signal(victim, Signal::CONT);
    }
}

/// A signal that was sent has not come yet: threads on other processors go on until it has.
fn wait_until_stopped(victim: &Child) {
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(Pid::from_child(victim)), stopped).expect("the victim is there");
}

fn signal(victim: &Child, signal: Signal) {
    let pid = Pid::from_child(victim);
    rustix::process::kill_process(pid, signal).expect("the victim is there");
}

fn read(output: impl Read, count: &AtomicU64, ended: &AtomicBool) -> Acknowledged {
    let mut output = BufReader::new(output);
    let mut acknowledged = Acknowledged::new();
    let mut line = String::new();
    loop {
        line.clear();
        output.read_line(&mut line).expect("the output can be read");
        // A line without an end was cut by the kill.
        let Some(whole) = line.strip_suffix('\n') else { break };
        let mut numbers = whole.split(' ').map(|number| number.parse().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        let (writer, position, version) = (next(), next(), next());
        acknowledged.insert(position, (writer, version));
        count.fetch_add(1, Ordering::Release);
    }
    ended.store(true, Ordering::Release);
    acknowledged
}

fn check(folder: &Path, acknowledged: &Acknowledged, round: u64) {
    let store = open(folder);
    for (position, (writer, version)) in acknowledged {
        let event = store.event_at(Position(*position));
        let event = event.unwrap_or_else(|| panic!("round {round}: the event at {position} was safe and is gone"));
        assert_eq!(event.stream_id(), stream(*writer), "round {round}, position {position}");
        assert_eq!(event.version().0, *version, "round {round}, position {position}");
    }
    let (mut there, mut gone) = (0, 0);
    store.read_all().include_system().for_each(|_| there += 1);
    store.gaps().iter().for_each(|gap| gone += gap.count);
    assert_eq!(
        there + gone,
        store.visible().0,
        "round {round}: a position is not accounted for"
    );
    (0..WRITERS).for_each(|writer| check_writer(&store, writer, round));
}

/// Versions without gaps, and every append whole.
fn check_writer(store: &Store, writer: u64, round: u64) {
    let (mut version, mut left) = (0, 0);
    store.read_stream(&stream(writer).aggregate_id).for_each(|event| {
        version += 1;
        assert_eq!(event.version().0, version, "round {round}, writer {writer}");
        let text = String::from_utf8_lossy(event.data());
        let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let (part, count) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        assert!(part == 1 || left > 0, "round {round}: an append has lost its front");
        left = count - part;
    });
    assert_eq!(
        left, 0,
        "round {round}: the last append of writer {writer} is not whole"
    );
}
