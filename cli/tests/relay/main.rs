//! `annals relay`: the events of a store in files, published to a receiver of HTTP requests.

#![cfg(unix)]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails where what it expects does not hold"
)]

#[path = "../../../crates/annals-relay/tests/it/receiver.rs"]
mod receiver;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use receiver::Receiver;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a store of some events, and with files.
struct Folder(TempDir);

impl Folder {
    /// A store with two events of an order and one of another.
    fn with_store() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let event = |id: &str, number: u32| {
            format!(
                "{{\"aggregateId\":\"{id}\",\"aggregateType\":\"Order\",\"eventType\":\"Noted\",\"timestamp\":\"2026-01-01T00:00:0{number}Z\",\"eventData\":{number}}}\n"
            )
        };
        let log = folder.file("log.jsonl", &(event("a", 1) + &event("a", 2) + &event("b", 3)));
        let imported = folder.program().arg("import").arg(log).output().unwrap();
        assert!(imported.status.success(), "{}", said(&imported));
        folder
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
        let store = format!("file:{}", self.0.path().join("store").display());
        command.env_remove("ANNALS_STORE").args(["--store", &store]);
        command
            .env("HOOK_SECRET", "a secret of more than 24 bytes")
            .stdin(Stdio::null());
        command
    }

    /// The relay of a file that publishes to a URL.
    fn relay(&self, url: &str) -> Command {
        let settings = format!(
            "[[relay]]\nname = \"hook\"\nattempts = 2\nfirst_pause_ms = 1\nlongest_pause_ms = 2\n\n\
             [relay.webhook]\nurl = \"{url}\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n"
        );
        let mut command = self.program();
        command
            .args(["relay", "--format", "json", "--config"])
            .arg(self.file("relays.toml", &settings));
        command
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The report of a run that succeeds.
fn report(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The data of the events that have arrived.
fn arrived(receiver: &Receiver) -> Vec<Value> {
    let bodies = receiver.requests().into_iter().map(|request| request.body);
    let events = bodies.map(|body| serde_json::from_slice::<Value>(&body).unwrap());
    events.map(|event| event["eventData"].clone()).collect()
}

#[test]
fn a_second_run_published_the_events_again() {
    let (folder, receiver) = (Folder::with_store(), Receiver::start(|_, _| "200 OK".to_owned()));
    let first = report(folder.relay(&receiver.url).arg("--once"));
    assert_eq!(
        (&first[0]["delivered"], &first[0]["target"]),
        (&3.into(), &"webhook".into())
    );
    let requests = receiver.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.path == "/hook" && request.header("webhook-signature").starts_with("v1,"))
    );
    let second = report(folder.relay(&receiver.url).arg("--once"));
    assert_eq!((&second[0]["delivered"], receiver.requests().len()), (&0.into(), 3));
}

#[test]
fn dead_letters_went_unnoticed_or_were_not_published_again() {
    let folder = Folder::with_store();
    // Of the first run, the second event of `a` is refused.
    let receiver = Receiver::start(|request, number| {
        let is_refused = number <= 3 && request.body.ends_with(b"\"eventData\":2}");
        if is_refused {
            "422 Unprocessable Entity"
        } else {
            "200 OK"
        }
        .to_owned()
    });
    let output = folder.relay(&receiver.url).arg("--once").output().unwrap();
    assert!(
        output.status.success() && said(&output).contains("1 dead letter in the store"),
        "{}",
        said(&output)
    );
    let report = report(folder.relay(&receiver.url).args(["--once", "--replay-letters"]));
    assert_eq!(report[0]["deadLetters"], 0);
    assert_eq!(arrived(&receiver).last(), Some(&2.into()));
}

#[test]
fn a_relay_that_stopped_ended_with_success() {
    let (folder, receiver) = (Folder::with_store(), Receiver::start(|_, _| "410 Gone".to_owned()));
    let output = folder.relay(&receiver.url).arg("--once").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.contains("relay 'hook' (webhook): stopped") && said.contains("no event is lost"),
        "{said}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report[0]["position"], &report[0]["delivered"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_signal_ended_a_relay_without_its_report() {
    let (folder, receiver) = (Folder::with_store(), Receiver::start(|_, _| "200 OK".to_owned()));
    let child = folder
        .relay(&receiver.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while receiver.requests().len() < 3 {
        std::thread::yield_now();
    }
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report[0]["relay"], "hook");
}

#[test]
fn a_file_that_is_wrong_was_taken_or_shown() {
    let folder = Folder::with_store();
    let webhook = "[relay.webhook]\nurl = \"https://host/hook\"\n";
    let named = |rest: &str| format!("[[relay]]\nname = \"a\"\n{rest}");
    for (settings, told) in [
        (String::new(), "write 1 to 64 sections"),
        (named(""), "it has one target"),
        (named(&format!("{webhook}secret = \"hidden\"\n")), "24 to 256 bytes"),
        (
            named(&format!("{webhook}secrets = \"hidden\"\n")),
            "line 5: unknown field `secrets`",
        ),
        (
            named(&format!("{webhook}secret = {{ env = \"NO_SUCH_VARIABLE\" }}\n")),
            "NO_SUCH_VARIABLE is not set",
        ),
        (named(&format!("envelope = \"cloudevents\"\n{webhook}")), "add source"),
        (
            named(&format!("{webhook}[relay.redis]\nurl = \"redis://:hidden@h\"\n")),
            "it has one target",
        ),
        (
            named("[relay.redis]\nurl = \"http://:hidden@h\"\n"),
            "relay 'a': the URL of a Redis server",
        ),
        (
            named(&format!("{webhook}{}", named(webhook))),
            "two relays have the name 'a'",
        ),
    ] {
        let path = folder.file("wrong.toml", &settings);
        let output = folder
            .program()
            .args(["relay", "--check", "--config"])
            .arg(path)
            .output()
            .unwrap();
        let said = said(&output);
        assert!(
            output.status.code() == Some(2) && said.contains(told) && !said.contains("hidden"),
            "{settings}: {said}"
        );
    }
    let all = "[[relay]]\nname = \"w\"\nenvelope = \"cloudevents-structured\"\nsource = \"/orders\"\naggregate_types = [\"Order\"]\n\
               [relay.webhook]\nurl = \"https://host/hook\"\nheaders = { authorization = \"Bearer x\" }\n\
               [[relay]]\nname = \"r\"\n[relay.redis]\nurl = \"redis://127.0.0.1:1\"\nstream_per_type = true\n\
               [[relay]]\nname = \"n\"\nstart = \"end\"\n[relay.nats]\nurl = \"nats://127.0.0.1:1\"\nstream = \"orders\"\n\
               [[relay]]\nname = \"q\"\n[relay.rabbitmq]\nurl = \"amqp://127.0.0.1:1/%2f\"\nexchanges = { Order = \"orders.events\" }\n\
               [[relay.rabbitmq.queue]]\nname = \"all\"\nbindings = [{ exchange = \"orders.events\", key = \"#\" }]\n";
    let path = folder.file("all.toml", all);
    let checked = report(
        folder
            .program()
            .args(["relay", "--check", "--format", "json", "--config"])
            .arg(path),
    );
    let targets: Vec<_> = checked
        .as_array()
        .unwrap()
        .iter()
        .map(|relay| relay["target"].as_str().unwrap())
        .collect();
    assert_eq!(targets, ["webhook", "redis", "nats", "rabbitmq"]);
}
