//! `serve --follow`: replicas of a store that other programs write.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use annals::{Expected, NewEvent, Position, StreamId};
use annals_server::Client;

use crate::{cluster, import, make_demo, program, said, statistics};

/// A server that follows the store at a URL. It stops when its standard input is closed.
struct Replica {
    child: Child,
    url: String,
}

impl Replica {
    fn of(store: &str) -> Self {
        let mut serve = program(store);
        serve.args(["serve", "--follow", "--port", "0", "--until-stdin-ends"]);
        let mut child = serve
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        Self { child, url }
    }

    fn client(&self) -> Client {
        Client::new(&self.url).unwrap()
    }

    /// What it says when it stops.
    fn stop(mut self) -> String {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }
}

/// Two replicas of one log: what a client appends to either is in both, and in a program that writes the log itself.
#[test]
fn a_store_in_a_database_was_served_by_its_writer_alone() {
    let url = cluster::url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let store = format!("{url}{sign}schema=program_replica_{}", std::process::id());
    let absent = program(&store)
        .args(["serve", "--follow", "--port", "0"])
        .output()
        .unwrap();
    assert_eq!(absent.status.code(), Some(4), "{}", said(&absent));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("demo.jsonl.gz");
    make_demo(&log, "200");
    import(&store, &log);
    let (first, second) = (Replica::of(&store), Replica::of(&store));
    let note = StreamId::new("Note", "note-1");
    let appended = first
        .client()
        .append(&note, Expected::NoStream, &[NewEvent::new("Noted")])
        .unwrap();
    assert_eq!(appended.last_position, Position(201));
    let conflict = second
        .client()
        .append(&note, Expected::NoStream, &[NewEvent::new("Noted")]);
    assert!(conflict.unwrap_err().to_string().contains("note-1"));
    assert_eq!(statistics(&second.url)["total"], 201);
    let (first, second) = (first.stop(), second.stop());
    for told in [first, second] {
        assert!(
            told.contains("stopped: every event up to position 201 is on the disk"),
            "{told}"
        );
    }
    assert_eq!(statistics(&store)["total"], 201);
}
