//! `serve`: from the line with its URL to its last message.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::Store;
use serde_json::Value;

use crate::support::{Folder, line, program, run};

/// A server that has written its URL.
pub(crate) struct Served {
    child: Child,
    /// The first line of its standard output.
    said: String,
    pub(crate) address: String,
}

/// The standard error and the exit code of a server.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Served {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(program().args(arguments).args(["--port", "0"]))
    }

    /// The server that the command has started.
    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut said)
            .unwrap();
        let url = serde_json::from_str::<Value>(&said)
            .map_or_else(|_| said.clone(), |json| json["url"].as_str().unwrap().to_owned());
        let (_, address) = url.trim().split_once("://").unwrap();
        let address = address.to_owned();
        Self { child, said, address }
    }

    /// The status and the body of a response.
    pub(crate) fn send(&self, method: &str, target: &str, body: &str) -> Option<(u16, String)> {
        self.send_with("", method, target, body)
    }

    /// As [`send`](Self::send), with more headers, each with its line end.
    pub(crate) fn send_with(&self, headers: &str, method: &str, target: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    pub(crate) fn append(&self) -> Option<u64> {
        let target = "/v1/streams/order-1/events?aggregateType=Order";
        let (status, body) = self.send("POST", target, "{\"eventType\":\"OrderPlaced\"}")?;
        assert_eq!(status, 201, "{body}");
        serde_json::from_str::<Value>(&body).ok()?["lastPosition"].as_u64()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub(crate) fn end(self, signal: &str) -> Ended {
        self.signal(signal);
        self.wait()
    }

    /// Waits until it ends.
    fn wait(mut self) -> Ended {
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ended {
            code: self.child.wait().unwrap().code(),
            stderr,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_script_reads_the_url_and_nothing_else() {
    let served = Served::start(&["serve"]);
    assert!(served.said.starts_with("http://127.0.0.1:"), "{}", served.said);
    assert_eq!(served.append(), Some(1));
    let (status, body) = served.send("GET", "/v1/store", "").unwrap();
    assert_eq!((status, body.contains("\"ephemeral\":true")), (200, true), "{body}");
    let ended = served.end("-TERM");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("nothing is kept") && ended.stderr.contains("up to position 1 were in memory"),
        "{}",
        ended.stderr
    );

    let served = Served::start(&["serve", "--format", "json", "--ephemeral", "--listen", "::1"]);
    let said: Value = serde_json::from_str(&served.said).unwrap();
    assert_eq!(said["ephemeral"], true);
    assert_eq!(said["pid"], served.child.id());
    assert_eq!(said["url"], format!("http://[::1]:{}", said["port"]));
    assert_eq!(served.end("-INT").code, Some(0));
}

#[test]
fn a_log_has_a_line_of_json_for_each_request() {
    let served = Served::start(&["serve", "--log", "info", "--log-format", "json"]);
    served.append();
    assert_eq!(served.send("GET", "/v1/events?user=anna", "").unwrap().0, 200);
    let stderr = served.end("-TERM").stderr;
    assert!(!stderr.contains("anna"), "{stderr}");
    let lines = stderr.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "answered").collect();
    assert_eq!(
        (answered.len(), &answered[0]["status"]),
        (2, &Value::from(201)),
        "{stderr}"
    );
    assert_eq!(answered[1]["route"], "/v1/events", "{stderr}");
    assert_eq!(lines.last().unwrap()["message"], "closed", "{stderr}");
    let waits = ["--store", "-", "serve", "--until-stdin-ends"];
    assert!(run(program().args(waits)).failed(2).contains("leave one out"));
    // By default, a server that works logs nothing.
    let served = Served::start(&["serve"]);
    served.append();
    let stderr = served.end("-TERM").stderr;
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
}

#[test]
fn the_log_did_not_tell_that_the_journal_failed() {
    let folder = Folder::new();
    let url = format!("{}?durability=synced", folder.url("store").display());
    let served = Served::start(&["serve", "--store", &url]);
    served.append();
    assert_eq!(served.end("-TERM").code, Some(0));
    let served = Served::start(&["serve", "--store", &url, "--log", "info", "--log-format", "json"]);
    std::fs::remove_dir_all(folder.path("store")).unwrap();
    let (status, body) = served
        .send("POST", "/v1/streams/order-1/events", "{\"eventType\":\"secret\"}")
        .unwrap();
    assert_eq!(status, 500, "{body}");
    let ended = served.end("-TERM");
    let lines = ended.stderr.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["message"], &lines[0]["events"]),
        (&"recovered".into(), &1.into())
    );
    let failed: Vec<&Value> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    let of_journal = failed
        .iter()
        .find(|line| line["message"].as_str().unwrap().starts_with("the journal failed"));
    let reason = of_journal.unwrap()["error"].as_str().unwrap();
    assert!(reason.contains(folder.path("store").to_str().unwrap()), "{reason}");
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
}

#[test]
fn what_was_appended_was_gone_after_a_restart() {
    let folder = Folder::new();
    let url = folder.url("store");
    let url = url.to_str().unwrap();
    let served = Served::start(&["serve", "--store", url]);
    for position in 1..=3 {
        assert_eq!(served.append(), Some(position));
    }
    let ended = served.end("-TERM");
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stderr, "stopped: every event up to position 3 is on the disk\n");
    let served = Served::start(&["serve", "--store", url]);
    assert_eq!(served.append(), Some(4));
    served.end("-TERM");
    assert_eq!(Store::open_url(url).unwrap().visible().0, 4);
}

#[test]
fn an_acknowledged_append_was_lost_by_kill_9() {
    let folder = Folder::new();
    let url = format!("{}?durability=synced", folder.url("store").display());
    let served = Served::start(&["serve", "--store", &url]);
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(position) = served.append() {
                    acknowledged.fetch_max(position, Ordering::SeqCst);
                }
            });
        }
        while acknowledged.load(Ordering::SeqCst) < 100 {
            std::thread::yield_now();
        }
        served.signal("-KILL");
    });
    served.end("-KILL");
    let kept = Store::open_url(&url).unwrap().visible().0;
    let acknowledged = acknowledged.into_inner();
    assert!(acknowledged >= 100 && kept >= acknowledged, "{kept} of {acknowledged}");
}

#[test]
fn a_log_file_is_served_from_memory_and_not_written() {
    let folder = Folder::new();
    let text = line("a", "X", "") + "\n";
    let log = folder.file("log.jsonl", &text);
    let served = Served::start(&["serve", "--store", log.to_str().unwrap()]);
    assert_eq!(served.append(), Some(2));
    served.end("-TERM");
    assert_eq!(std::fs::read_to_string(log).unwrap(), text);
}

#[test]
fn a_server_with_tokens_answered_without_one() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let file = folder.file("tokens", "write 0123456789abcdef\n");
    let path = file.to_str().unwrap();
    let start = |mode| {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    };
    start(0o644);
    let refused = run(program().args(["serve", "--port", "0", "--token-file", path])).failed(2);
    assert!(
        refused.contains("chmod 600") && !refused.contains("0123456789"),
        "{refused}"
    );
    start(0o600);
    let served = Served::start(&["serve", "--listen", "0.0.0.0", "--token-file", path]);
    let (status, _) = served.send("GET", "/v1/events", "").unwrap();
    assert_eq!(status, 401);
    let ended = served.end("-TERM");
    assert!(!ended.stderr.contains("other machines"), "{}", ended.stderr);
}

#[test]
fn a_durable_store_could_be_wiped_by_the_test_api() {
    let folder = Folder::new();
    let url = folder.url("store");
    let refused = run(program()
        .arg("--store")
        .arg(&url)
        .args(["serve", "--port", "0", "--test-api"]))
    .failed(2);
    assert!(refused.contains("--test-api lets clients wipe"), "{refused}");
    assert!(!folder.path("store").exists());
    let served = Served::start(&["serve", "--test-api"]);
    let (status, _) = served.send("POST", "/v1/ns/t/test/reset?seed=7", "").unwrap();
    assert_eq!(status, 200);
    let ended = served.end("-TERM");
    assert!(
        ended.stderr.contains("TEST API: EVERY CLIENT CAN WIPE EVERY STORE"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_end_of_the_input_stops_the_server() {
    let mut command = program();
    command
        .args(["serve", "--until-stdin-ends", "--port", "0"])
        .stdin(Stdio::piped());
    let mut served = Served::spawn(&mut command);
    let mut input = served.child.stdin.take().unwrap();
    input.write_all(b"what is sent is discarded\n").unwrap();
    assert_eq!(served.append(), Some(1));
    drop(input);
    let ended = served.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("up to position 1 were in memory"),
        "{}",
        ended.stderr
    );
    // If the input is at its end at the start, the server writes its URL and stops.
    let ended = Served::start(&["serve", "--until-stdin-ends"]).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let waits = ["--store", "-", "serve", "--until-stdin-ends"];
    assert!(run(program().args(waits)).failed(2).contains("leave one out"));
    // By default, the input does not matter.
    let served = Served::start(&["serve"]);
    assert_eq!(served.append(), Some(1));
    assert_eq!(served.end("-TERM").code, Some(0));
}

#[test]
fn a_request_was_cut_off_by_the_end_of_the_input() {
    let mut command = program();
    command
        .args(["serve", "--until-stdin-ends", "--port", "0"])
        .stdin(Stdio::piped());
    let mut served = Served::spawn(&mut command);
    let mut stream = TcpStream::connect(&served.address).unwrap();
    let head = "POST /v1/streams/order-1/events?aggregateType=Order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 27\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // The server has begun to read the body.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    drop(served.child.stdin.take());
    // It has stopped accepting.
    while TcpStream::connect(&served.address).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(b"{\"eventType\":\"OrderPlaced\"}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let ended = served.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_killed_parent_left_its_server_behind() {
    let folder = Folder::new();
    // Only the shell has the write end of the pipe. The server inherits its output.
    let script = "mkfifo pipe && { \"$0\" serve --until-stdin-ends --port 0 <pipe & } && exec 3>pipe && wait";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_annals")]);
    command.current_dir(folder.path("")).env_remove("ANNALS_STORE");
    let mut parent = Served::spawn(&mut command);
    assert_eq!(parent.append(), Some(1));
    parent.child.kill().unwrap();
    parent.child.wait().unwrap();
    // The output ends with the server.
    let mut stderr = String::new();
    parent.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains("up to position 1 were in memory"), "{stderr}");
    assert!(TcpStream::connect(&parent.address).is_err());
}

#[test]
fn a_closed_output_stopped_the_server() {
    let mut served = Served::start(&["serve"]);
    drop(served.child.stdout.take());
    drop(served.child.stderr.take());
    for position in 1..=3 {
        assert_eq!(served.append(), Some(position));
    }
    served.signal("-TERM");
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_request_without_end_kept_the_server() {
    let served = Served::start(&["serve", "--grace", "50ms"]);
    let mut stream = TcpStream::connect(&served.address).unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // The server has begun to read the body.
    stream.read_exact(&mut [0; 12]).unwrap();
    let ended = served.end("-TERM");
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("1 connection cut off"), "{}", ended.stderr);
}

#[test]
fn a_server_that_cannot_serve_says_why() {
    let folder = Folder::new();
    let served = Served::start(&["serve"]);
    let port = served.address.rsplit(':').next().unwrap();
    let refused = run(program().args(["serve", "--port", port])).failed(1);
    assert!(
        refused.contains("cannot listen on 127.0.0.1") && refused.contains("--port 0"),
        "{refused}"
    );
    served.end("-TERM");
    let durable = |arguments: &[&str]| run(program().arg("--store").arg(folder.url("store")).args(arguments));
    assert!(
        durable(&["serve", "--ephemeral", "--port", "0"])
            .failed(2)
            .contains("--ephemeral keeps nothing")
    );
    assert!(!Path::new(&folder.path("store")).exists());
    assert!(durable(&["serve", "--grace", "1d"]).failed(2).contains("such as 10s"));
    assert!(
        run(program().args(["serve", "--format", "csv"]))
            .failed(2)
            .contains("--format csv")
    );
}

/// Files with a self-signed certificate and its key.
fn certificate(folder: &Folder) -> [String; 4] {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name, text: &str| folder.file(name, text).to_str().unwrap().to_owned();
    let certificate = path("cert.pem", &made.cert.pem());
    let key = path("key.pem", &made.signing_key.serialize_pem());
    ["--tls-cert".to_owned(), certificate, "--tls-key".to_owned(), key]
}

#[test]
fn a_server_with_a_certificate_has_tls_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let flags = certificate(&folder);
    let [_, _, _, key] = &flags;
    for (mode, is_warned) in [(0o600, false), (0o644, true)] {
        std::fs::set_permissions(key, PermissionsExt::from_mode(mode)).unwrap();
        let arguments = ["serve", &flags[0], &flags[1], &flags[2], &flags[3]];
        let served = Served::start(&arguments);
        assert!(served.said.starts_with("https://127.0.0.1:"), "{}", served.said);
        let (status, body) = served.send("GET", "/v1/store", "").unwrap();
        assert_eq!((status, body.contains("use https://")), (400, true), "{body}");
        let ended = served.end("-TERM");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("chmod 600"), is_warned, "{}", ended.stderr);
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_before_the_store_is_opened() {
    let folder = Folder::new();
    let flags = certificate(&folder);
    let serve = |flags: &[String]| {
        let mut command = program();
        command.arg("--store").arg(folder.url("store"));
        run(command.args(["serve", "--port", "0"]).args(flags)).failed(2)
    };
    let said = serve(&flags[..2]);
    assert!(said.contains("--tls-key"), "{said}");
    let [cert, first, key, second] = &flags;
    let said = serve(&[cert.clone(), second.clone(), key.clone(), first.clone()]);
    assert!(said.contains("key.pem has no valid certificate"), "{said}");
    let said = serve(&[cert.clone(), first.clone(), key.clone(), first.clone()]);
    assert!(said.contains("cert.pem has no valid key"), "{said}");
    assert!(!folder.path("store").exists());
}

#[test]
fn a_store_behind_tls_is_read_by_those_who_trust_it() {
    let folder = Folder::new();
    let flags = certificate(&folder);
    let served = Served::start(&["serve", &flags[0], &flags[1], &flags[2], &flags[3]]);
    let url = format!("https://localhost:{}", served.address.rsplit(':').next().unwrap());
    let ask = |authorities: &str| {
        let mut command = program();
        command.args(["--store", &url, "events", "--limit", "0", "--format", "json"]);
        run(command.env("ANNALS_CA_FILE", authorities))
    };
    ask(&flags[1]).ok();
    let untrusted = ask("").failed(1);
    assert!(untrusted.contains("certificate"), "{untrusted}");
    let wrong = ask(&flags[3]).failed(2);
    assert!(
        wrong.contains("key.pem") && wrong.contains("no valid certificate"),
        "{wrong}"
    );
    served.end("-TERM");
}

#[test]
fn sighup_stopped_a_server_with_a_certificate() {
    let folder = Folder::new();
    let flags = certificate(&folder);
    let served = Served::start(&["serve", &flags[0], &flags[1], &flags[2], &flags[3]]);
    // The same files, with another certificate.
    let flags = certificate(&folder);
    let (_, port) = served.address.rsplit_once(':').unwrap();
    let client = annals_server::Client::new(&format!("https://localhost:{port}")).unwrap();
    let client = client.ca_file(Path::new(&flags[1])).unwrap();
    assert!(client.state().is_err(), "it has the old certificate");
    served.signal("-HUP");
    // The signal is handled by a thread.
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = client.state() {
        assert!(Instant::now() < deadline, "{error}");
    }
    std::fs::write(&flags[3], "no key").unwrap();
    served.signal("-HUP");
    client.state().unwrap();
    let ended = served.end("-TERM");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("keeps the one that it has"), "{}", ended.stderr);
    assert!(ended.stderr.contains("has no valid key"), "{}", ended.stderr);
    // Without files to read again, it ends a server as before.
    assert_eq!(Served::start(&["serve"]).end("-HUP").code, Some(0));
}
