//! `annals mcp`: a client talks to it over standard input and output.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::support::{self, Folder, program};

/// A client and its server.
struct Client {
    server: Child,
    requests: Option<ChildStdin>,
    responses: BufReader<ChildStdout>,
    last_id: u64,
}

impl Client {
    fn of(store: &Path) -> Self {
        let mut command = program();
        command.arg("--store").arg(store).arg("mcp");
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self {
            requests: server.stdin.take(),
            responses: BufReader::new(server.stdout.take().unwrap()),
            server,
            last_id: 0,
        }
    }

    fn send(&mut self, line: &[u8]) {
        let requests = self.requests.as_mut().unwrap();
        requests.write_all(line).unwrap();
        requests.write_all(b"\n").unwrap();
        requests.flush().unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.responses.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params });
        self.send(request.to_string().as_bytes());
        let mut response = self.receive();
        assert_eq!(response["id"], self.last_id);
        assert_eq!(response["jsonrpc"], "2.0");
        response["result"].take()
    }

    /// The texts of a tool's result, and whether it is an error.
    fn call(&mut self, tool: &str, arguments: &Value) -> (Vec<String>, bool) {
        let result = self.request("tools/call", &json!({ "name": tool, "arguments": arguments }));
        let content = result["content"].as_array().unwrap();
        let texts = content.iter().map(|part| part["text"].as_str().unwrap().to_owned());
        (texts.collect(), result["isError"].as_bool().unwrap())
    }

    fn answer(&mut self, tool: &str, arguments: &Value) -> Value {
        let (texts, is_error) = self.call(tool, arguments);
        assert!(!is_error, "{texts:?}");
        serde_json::from_str(&texts[0]).unwrap()
    }

    fn refusal(&mut self, tool: &str, arguments: &Value) -> String {
        let (texts, is_error) = self.call(tool, arguments);
        assert!(is_error, "{texts:?}");
        texts.concat()
    }

    /// Ends the input, and so the server.
    fn end(mut self) {
        drop(self.requests.take());
        assert_eq!(self.server.wait().unwrap().code(), Some(0));
    }
}

/// 60 orders of two events each; each order is a conversation.
fn log(folder: &Folder) -> std::path::PathBuf {
    let lines = (0..60).flat_map(|order| {
        ["OrderPlaced", "OrderPaid"].map(|kind| {
            let event = json!({
                "eventType": kind, "aggregateType": "Order", "aggregateId": format!("order-{order}"),
                "timestamp": "2026-01-31T12:00:00Z", "metadata": { "correlationId": format!("c-{order}") }, "eventData": { "amount": order },
            });
            format!("{event}\n")
        })
    });
    folder.file("orders.jsonl", lines.collect::<String>().as_bytes())
}

#[test]
fn a_client_asks_about_a_log() {
    let folder = Folder::new();
    let mut client = Client::of(&log(&folder));
    let server = client.request(
        "initialize",
        &json!({ "protocolVersion": "2025-03-26", "capabilities": {} }),
    );
    assert_eq!(server["protocolVersion"], "2025-03-26");
    assert_eq!(server["serverInfo"]["name"], "annals");
    assert!(server["instructions"].as_str().unwrap().contains("orders.jsonl"));
    client.send(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(client.request("ping", &json!({})), json!({}));
    assert_eq!(client.answer("stats", &json!({}))["total"], 120);
    let paid = client.answer("events", &json!({ "type": ["OrderPaid"], "aggregate": "order-7" }));
    assert_eq!(paid[0]["aggregateId"], "order-7");
    assert_eq!(paid.as_array().unwrap().len(), 1);
    assert_eq!(
        client.answer("event", &json!({ "event": 16 }))["eventType"],
        "OrderPaid"
    );
    assert_eq!(
        client
            .answer("stream", &json!({ "id": "order-7" }))
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        client
            .answer("trace", &json!({ "correlation": "c-3" }))
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        client
            .answer("search", &json!({ "needle": "59" }))
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        client.answer("explain", &json!({ "type": ["OrderPaid"] }))["matches"],
        60
    );
    assert_eq!(
        client
            .answer("list", &json!({ "what": "types" }))
            .as_array()
            .unwrap()
            .len(),
        2
    );
    client.end();
}

#[test]
fn a_version_of_the_protocol_that_is_unknown_gets_the_newest() {
    let folder = Folder::new();
    let mut client = Client::of(&log(&folder));
    let server = client.request("initialize", &json!({ "protocolVersion": "1999-01-01" }));
    assert_eq!(server["protocolVersion"], "2025-06-18");
    client.end();
}

#[test]
fn every_tool_reads_and_has_the_options_of_its_command() {
    let folder = Folder::new();
    let mut client = Client::of(&log(&folder));
    let tools = client.request("tools/list", &json!({}))["tools"].take();
    let names: Vec<&str> = tools
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    let expected = [
        "stats", "list", "events", "search", "stream", "event", "trace", "trends", "heatmap", "explain",
    ];
    assert_eq!(names, expected);
    for tool in tools.as_array().unwrap() {
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
        assert!(!tool["description"].as_str().unwrap().is_empty(), "{tool}");
        let schema = &tool["inputSchema"];
        assert_eq!(
            (&schema["type"], &schema["additionalProperties"]),
            (&json!("object"), &json!(false))
        );
        for (name, option) in schema["properties"].as_object().unwrap() {
            assert!(option["description"].is_string(), "{name} of {tool}");
            assert!(
                !["store", "format", "help", "explain"].contains(&name.as_str()),
                "{name} of {tool}"
            );
        }
    }
    let events = tools
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["name"] == "events")
        .unwrap();
    let properties = &events["inputSchema"]["properties"];
    assert_eq!(properties["type"]["type"], "array");
    assert_eq!(properties["limit"]["type"], "integer");
    assert_eq!(properties["descending"]["type"], "boolean");
    assert_eq!(properties["order"]["enum"], json!(["position", "time"]));
    client.end();
}

#[test]
fn pages_go_on_where_the_page_before_ended() {
    let folder = Folder::new();
    let mut client = Client::of(&log(&folder));
    let (mut positions, mut arguments) = (Vec::new(), json!({ "limit": 50 }));
    loop {
        let (texts, is_error) = client.call("events", &arguments);
        assert!(!is_error, "{texts:?}");
        let page: Value = serde_json::from_str(&texts[0]).unwrap();
        positions.extend(
            page.as_array()
                .unwrap()
                .iter()
                .map(|event| event["position"].as_u64().unwrap()),
        );
        let Some(more) = texts.get(1) else { break };
        arguments["cursor"] = more.split('"').nth(1).unwrap().into();
    }
    assert_eq!(positions, (1..=120).collect::<Vec<_>>());
    // The default limit applies.
    assert_eq!(client.answer("events", &json!({})).as_array().unwrap().len(), 50);
    client.end();
}

#[test]
fn what_is_wrong_with_a_question_is_answered() {
    let folder = Folder::new();
    let mut client = Client::of(&log(&folder));
    for (tool, arguments, told) in [
        ("events", json!({ "limit": 0 }), "from 1 to 1000"),
        ("events", json!({ "limit": 1001 }), "from 1 to 1000"),
        ("events", json!({ "explain": true }), "no argument 'explain'"),
        ("events", json!({ "since": "soon" }), "invalid value of --since"),
        ("events", json!({ "cursor": "nonsense" }), "cursor"),
        ("events", json!({ "descending": 1 }), "true or false"),
        ("events", json!({ "type": [null] }), "a text or a number"),
        ("events", json!({ "type": vec!["x"; 1001] }), "more than 1000 values"),
        (
            "events",
            json!({ "store": "other.jsonl" }),
            "there is no argument 'store'",
        ),
        ("stream", json!({}), "the argument 'id' is missing"),
        (
            "stream",
            json!({ "id": "--store=other.jsonl" }),
            "there is no aggregate '--store=other.jsonl'",
        ),
        (
            "stream",
            json!({ "id": "order-77" }),
            "there is no aggregate 'order-77'",
        ),
        ("list", json!({ "what": "secrets" }), "secrets"),
        ("event", json!({ "event": 121 }), "the last position is 120"),
    ] {
        let message = client.refusal(tool, &arguments);
        assert!(message.contains(told), "{tool} {arguments}: {message}");
        assert!(!message.contains("Usage:"), "{message}");
    }
    client.end();
}

#[test]
fn what_is_no_request_is_answered_as_the_protocol_says() {
    let folder = Folder::new();
    let mut client = Client::of(&log(&folder));
    let deep = "[".repeat(100_000);
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(2 << 20));
    for (line, id, code) in [
        ("nonsense", Value::Null, -32700),
        (deep.as_str(), Value::Null, -32700),
        (&long, Value::Null, -32600),
        ("[]", Value::Null, -32600),
        ("1", Value::Null, -32600),
        (r#"{"id":null,"method":"ping"}"#, Value::Null, -32600),
        (r#"{"id":1}"#, json!(1), -32600),
        (r#"{"id":"a","method":"resources/list"}"#, json!("a"), -32601),
        (r#"{"id":2,"method":"tools/call"}"#, json!(2), -32602),
        (
            r#"{"id":3,"method":"tools/call","params":{"name":"append"}}"#,
            json!(3),
            -32602,
        ),
        (
            r#"{"id":4,"method":"tools/call","params":{"name":"stats","arguments":[]}}"#,
            json!(4),
            -32602,
        ),
    ] {
        client.send(line.as_bytes());
        let response = client.receive();
        let shown = &line[..line.len().min(80)];
        assert_eq!(
            (&response["id"], &response["error"]["code"]),
            (&id, &json!(code)),
            "{shown}"
        );
    }
    // An empty line, binary bytes and a response do not end the server.
    client.send(b"");
    client.send(br#"{"jsonrpc":"2.0","id":9,"result":{}}"#);
    client.send(b"\xff\xfe");
    assert_eq!(client.receive()["error"]["code"], -32700);
    assert_eq!(client.request("ping", &json!({})), json!({}));
    client.end();
}

#[test]
fn an_answer_that_is_too_long_is_refused() {
    let folder = Folder::new();
    let text = "x".repeat(10_000);
    let data = format!(r#","eventData":"{text}""#);
    let lines = (0..60).map(|number| support::line(&format!("a-{number}"), "Noted", &data) + "\n");
    let path = folder.file("long.jsonl", lines.collect::<String>().as_bytes());
    let mut client = Client::of(&path);
    let message = client.refusal("events", &json!({}));
    assert!(
        message.contains("262144 bytes") && message.contains("lower the limit"),
        "{message}"
    );
    assert_eq!(
        client
            .answer("events", &json!({ "limit": 20 }))
            .as_array()
            .unwrap()
            .len(),
        20
    );
    client.end();
}

#[test]
fn a_store_that_another_program_writes_is_neither_held_nor_stale() {
    let folder = Folder::new();
    let url = folder.url("store");
    support::import(&url, &log(&folder));
    let mut client = Client::of(&url);
    assert_eq!(client.answer("stats", &json!({}))["total"], 120);
    let more = folder.file("more.jsonl", support::line("order-60", "OrderPlaced", ""));
    assert_eq!(support::import(&url, &more)["newEvents"], 1);
    assert_eq!(client.answer("stats", &json!({}))["total"], 121);
    let path = folder.path("store");
    let held = annals::Store::open(annals::journal::file::FileJournal::open(&path).unwrap()).unwrap();
    held.append(
        &annals::StreamId::new("Order", "order-61"),
        annals::Expected::Any,
        [annals::NewEvent::new("Held")],
    )
    .unwrap();
    let (texts, is_error) = client.call("stats", &json!({}));
    let named = format!("open in process {}", std::process::id());
    assert!(!is_error && texts[1].contains(&named), "{texts:?}");
    assert_eq!(serde_json::from_str::<Value>(&texts[0]).unwrap()["total"], 121);
    held.close().unwrap();
    drop(held);
    assert_eq!(client.answer("stats", &json!({}))["total"], 122);
    client.end();
}

#[test]
fn a_store_that_cannot_be_served_is_refused() {
    let folder = Folder::new();
    for (store, code) in [("-", 2), ("memory:", 2)] {
        support::ask(Path::new(store), &["mcp"]).failed(code);
    }
    support::ask(&folder.path("absent.jsonl"), &["mcp"]).failed(4);
    support::run(program().arg("mcp")).failed(2);
}

/// Requests of a client that never waits for a response.
#[cfg(unix)]
const REQUESTS: u32 = 5_000_000;

#[cfg(unix)]
#[test]
fn a_signal_was_not_seen_while_requests_came() {
    let folder = Folder::new();
    let mut client = Client::of(&log(&folder));
    let mut requests = client.requests.take().unwrap();
    let flood = std::thread::spawn(move || {
        let ping = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n".repeat(100);
        (0..REQUESTS / 100).all(|_| requests.write_all(&ping).is_ok())
    });
    client.receive();
    let id = client.server.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    std::io::copy(&mut client.responses, &mut std::io::sink()).unwrap();
    assert_eq!(client.server.wait().unwrap().code(), Some(130));
    assert!(!flood.join().unwrap(), "every request was answered");
}
