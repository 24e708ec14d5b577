//! `import --store http://…`: logs are sent to a server.

#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use annals::{Budget, Settings, Store, WhenFull};
use annals_server::{Limits, Server, Stop, stop_signal};
use serde_json::Value;

use crate::serve::Served;
use crate::support::{Folder, Ran, line, program, run};

/// A log, half of whose lines have no id of their own.
fn log(events: usize) -> Vec<String> {
    let text = run(program().args(["demo", "--seed", "3", "--events", &events.to_string()])).ok();
    let plain = |(number, line): (usize, &str)| {
        let mut event: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
        if number % 2 == 0 {
            event.remove("eventId");
        }
        serde_json::to_string(&event).unwrap() + "\n"
    };
    text.lines().enumerate().map(plain).collect()
}

fn to(served: &Served) -> Command {
    let mut command = program();
    command.args(["--store", &format!("http://{}", served.address)]);
    command
}

fn import(served: &Served, file: &Path, more: &[&str]) -> Ran {
    run(to(served).args(["import", "--format", "json"]).args(more).arg(file))
}

/// The numbers of new and of known events.
fn figures(ran: Ran) -> (u64, u64) {
    let report: Value = serde_json::from_str(&ran.ok()).unwrap();
    let of = |name: &str| report[name].as_u64().unwrap();
    (of("newEvents"), of("knownEvents"))
}

fn count(served: &Served) -> u64 {
    let (status, body) = served.send("GET", "/v1/count", "").unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["count"].as_u64().unwrap()
}

/// Every event of a store, without its place in the log, in the order of its aggregates.
fn contents(exported: &str) -> Vec<Value> {
    let mut all: Vec<Value> = exported
        .lines()
        .map(|line| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            for place in ["position", "recordedAt"] {
                event.as_object_mut().unwrap().remove(place);
            }
            event
        })
        .collect();
    all.sort_by_key(|event| (event["aggregateId"].to_string(), event["version"].as_u64()));
    all
}

#[test]
fn a_log_that_was_sent_twice_was_stored_twice() {
    let folder = Folder::new();
    let lines = log(2_500);
    let whole = folder.file("log.jsonl", lines.concat());
    let part = folder.file("part.jsonl", lines[..1_300].concat());
    let served = Served::start(&["serve"]);
    assert_eq!(figures(import(&served, &part, &[])), (1_300, 0));
    // The second batch is stored in part.
    assert_eq!(figures(import(&served, &whole, &[])), (1_200, 1_300));
    assert_eq!(figures(import(&served, &whole, &[])), (0, 2_500));
    let said = run(to(&served).arg("import").arg(&whole)).stderr;
    assert!(
        said.contains("in the memory of the server, and gone when it stops"),
        "{said}"
    );
    let own = folder.url("own");
    run(program().arg("--store").arg(&own).arg("import").arg(&whole)).ok();
    let export = ["export", "--output", "-"];
    let local = run(program().arg("--store").arg(&own).args(export)).ok();
    let remote = run(to(&served).args(export)).ok();
    assert_eq!(contents(&remote), contents(&local));
}

#[test]
fn an_import_was_not_durable_when_it_ended() {
    let folder = Folder::new();
    let log = folder.file("log.jsonl", log(1_500).concat());
    let url = folder.url("store");
    let served = Served::start(&["serve", "--store", url.to_str().unwrap()]);
    let ran = run(to(&served).arg("import").arg(&log));
    assert!(
        ran.stderr.contains("1,500 events are safe on the server"),
        "{}",
        ran.stderr
    );
    served.end("-KILL");
    assert_eq!(
        annals::Store::open_url(url.to_str().unwrap()).unwrap().visible().0,
        1_500
    );
}

#[test]
fn an_interrupted_import_could_not_go_on() {
    let folder = Folder::new();
    let lines = log(3_000);
    let whole = folder.file("log.jsonl", lines.concat());
    let served = Served::start(&["serve"]);
    let mut command = to(&served);
    let mut child = command
        .args(["import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The rest of the input never comes.
    let mut input = child.stdin.take().unwrap();
    input.write_all(lines[..2_600].concat().as_bytes()).unwrap();
    while count(&served) < 2_000 {
        std::thread::yield_now();
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(
        said.contains("2,000 events of - stored; run the same command again to go on"),
        "{said}"
    );
    drop(input);
    assert_eq!(figures(import(&served, &whole, &[])), (1_000, 2_000));
}

#[test]
fn another_event_with_a_known_id_was_taken_for_the_same() {
    let folder = Folder::new();
    let served = Served::start(&["serve"]);
    let id = ",\"eventId\":\"00000000-0000-0000-0000-000000000007\"";
    let first = folder.file("first.jsonl", &(line("a", "X", id) + "\n"));
    assert_eq!(figures(import(&served, &first, &[])), (1, 0));
    let text = [line("b", "Y", ""), line("a", "Z", id), line("a", "Y", "")].join("\n");
    let other = folder.file("other.jsonl", &text);
    let refused = import(&served, &other, &[]).failed(3);
    assert!(
        refused.contains("line 2") && refused.contains("says something else"),
        "{refused}"
    );
    let left_out = import(&served, &other, &["--skip-bad"]);
    assert!(left_out.stderr.contains("1 bad line left out"), "{}", left_out.stderr);
    left_out.ok();
    assert_eq!(count(&served), 3);
}

#[test]
fn one_event_that_is_refused_took_its_batch_with_it() {
    let folder = Folder::new();
    let served = Served::start(&["serve"]);
    let data = format!(",\"eventData\":\"{}\"", "x".repeat(2 << 20));
    let text = [line("a", "X", ""), line("a", "Large", &data), line("b", "Y", "")].join("\n");
    let file = folder.file("log.jsonl", &text);
    let refused = import(&served, &file, &[]).failed(3);
    assert!(
        refused.contains("line 2") && refused.contains("1 event of"),
        "{refused}"
    );
    import(&served, &file, &["--skip-bad"]).ok();
    assert_eq!(count(&served), 2);
}

#[test]
fn a_lost_answer_or_a_server_without_room_lost_or_doubled_events() {
    let folder = Folder::new();
    let file = folder.file("log.jsonl", log(20).concat());
    let served = Served::start(&["serve", "--test-api"]);
    let add = |fault: &str| {
        let (status, body) = served.send("POST", "/v1/test/faults", fault).unwrap();
        assert_eq!(status, 201, "{body}");
    };
    add("{\"fault\":\"overload\",\"times\":1}");
    add("{\"fault\":\"lostAnswer\",\"times\":1}");
    let ran = import(&served, &file, &[]);
    assert!(
        ran.stderr.contains("waiting until the server has room"),
        "{}",
        ran.stderr
    );
    assert_eq!(figures(ran), (20, 0));
    assert_eq!(count(&served), 20);
}

#[test]
fn events_that_the_server_had_dropped_came_back() {
    let folder = Folder::new();
    let served = Served::start(&["serve"]);
    served.append();
    let (status, body) = served.send("DELETE", "/v1/streams/order-1", "").unwrap();
    assert_eq!(status, 200, "{body}");
    let file = folder.file("log.jsonl", line("a", "X", ""));
    let refused = import(&served, &file, &[]).failed(2);
    assert!(refused.contains("--include-dropped"), "{refused}");
    assert_eq!(figures(import(&served, &file, &["--include-dropped"])), (1, 0));
    let into = folder.path("copy.jsonl");
    let refused = import(&served, &file, &["--into", into.to_str().unwrap()]).failed(2);
    assert!(refused.contains("export"), "{refused}");
}

#[test]
fn a_namespace_of_a_server_was_not_written() {
    let folder = Folder::new();
    let served = Served::start(&["serve", "--test-api"]);
    let file = folder.file("log.jsonl", line("a", "X", ""));
    // A namespace of tests is made by its first append.
    served.send("POST", "/v1/ns/tenant/test/reset", "").unwrap();
    assert_eq!(figures(import(&served, &file, &["--namespace", "tenant"])), (1, 0));
    assert_eq!(count(&served), 0);
    let (_, body) = served.send("GET", "/v1/ns/tenant/count", "").unwrap();
    assert_eq!(body, "{\"count\":1}");
}

/// A server in this process, with limits that the program has no flags for.
struct Limited {
    address: String,
    store: Store,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Limited {
    fn start(settings: Settings, body_bytes: usize) -> Self {
        let store = Store::builder().settings(settings).open().unwrap();
        let limits = Limits::default().body_bytes(body_bytes);
        let server = Server::builder(store.clone()).limits(limits).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = stop_signal();
        let run = move || drop(server.run(listener, stopped, Duration::from_secs(10)).unwrap());
        Self {
            address,
            store,
            stop,
            thread: Some(std::thread::spawn(run)),
        }
    }

    fn import(&self, file: &Path, more: &[&str]) -> Ran {
        let url = format!("http://{}", self.address);
        run(program().args(["--store", &url, "import"]).args(more).arg(file))
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_full_store_was_tried_again_or_taken_for_a_bad_line() {
    let folder = Folder::new();
    let whole = folder.file("log.jsonl", log(2_500).concat());
    let budget = Budget::default().events(1_500).when_full(WhenFull::Refuse);
    let server = Limited::start(Settings::default().budget(budget), 16 << 20);
    // The first request has 1,000 events; the second has no room, and none of its events is stored.
    for _ in 0..2 {
        let ran = server.import(&whole, &["--skip-bad"]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(!ran.stderr.contains("waiting until"), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("run the same command again to go on"),
            "{}",
            ran.stderr
        );
        assert_eq!(server.store.visible().0, 1_000);
    }
    // 507 is not split as 413 is: each import has sent one request too many.
    let url = format!("http://{}/metrics", server.address);
    let text = http_get(&url);
    assert!(text.contains("http_problems_total{type=\"store-full\"} 2\n"), "{text}");
}

fn http_get(url: &str) -> String {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_request_larger_than_a_body_lost_its_events() {
    let folder = Folder::new();
    let whole = folder.file("log.jsonl", log(1_200).concat());
    // The program sends 1,000 events at once, of which about 100 fit.
    let server = Limited::start(Settings::default(), 64 << 10);
    server.import(&whole, &[]).ok();
    assert_eq!(server.store.visible().0, 1_200);
    assert!(http_get(&format!("http://{}/metrics", server.address)).contains("{type=\"body-too-large\"}"));
}

#[test]
fn an_event_larger_than_a_body_stopped_the_others() {
    let folder = Folder::new();
    let mut lines = log(20);
    let text = "x".repeat(100 << 10);
    let large =
        format!("{{\"aggregateId\":\"a\",\"aggregateType\":\"A\",\"eventType\":\"Large\",\"eventData\":\"{text}\"}}\n");
    lines.insert(10, large);
    let whole = folder.file("log.jsonl", lines.concat());
    let server = Limited::start(Settings::default(), 64 << 10);
    let ran = server.import(&whole, &[]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("log.jsonl: line 11"), "{}", ran.stderr);
    assert_eq!(server.store.visible().0, 10, "those before it");
    server.import(&whole, &["--skip-bad"]).ok();
    assert_eq!(server.store.visible().0, 20);
}
