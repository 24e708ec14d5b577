//! TLS: certificates that can be used and that cannot, slow handshakes, clients without TLS, and live tails.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use annals::Store;
use annals_server::{Builder, Limits, Server, Tls};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::Message;

use crate::support::Running;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(30);

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A certificate for `localhost` that has signed itself, and its key, in files.
struct Files {
    folder: TempDir,
    certificate: PathBuf,
    key: PathBuf,
    own: CertificateDer<'static>,
}

impl Files {
    fn new() -> Self {
        Self::of(|_| {})
    }

    fn of(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let files = Self {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
            folder,
            own: own.der().clone(),
        };
        fs::write(&files.certificate, own.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn builder(&self) -> Builder {
        let tls = Tls::read_files(&self.certificate, &self.key).unwrap();
        Server::builder(Store::in_memory()).tls(tls)
    }

    fn serve(&self) -> Running {
        Running::built(self.builder(), GRACE)
    }

    /// A connection of a client that trusts this certificate alone.
    fn connect(&self, server: &Running) -> std::io::Result<Stream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    /// The answer to a request on a connection of its own.
    fn get(&self, server: &Running, headers: &str) -> String {
        let mut stream = self.connect(server).unwrap();
        let request = format!("GET /v1/store HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // The server says that it ends, so that nothing can be cut off unnoticed.
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Why the files cannot be used, without anything that they have.
    fn refused(&self) -> String {
        let said = Tls::read_files(&self.certificate, &self.key).unwrap_err().to_string();
        let key = fs::read_to_string(&self.key).unwrap_or_default();
        for line in key.lines().filter(|line| !line.starts_with("-----") && line.len() > 8) {
            assert!(!said.contains(line), "{said}");
        }
        said
    }
}

#[test]
fn a_request_is_answered_over_tls() {
    let files = Files::new();
    let server = files.serve();
    let stream = files.connect(&server).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    drop(stream);
    let answer = files.get(&server, "Host: localhost\r\nOrigin: https://localhost");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = files.get(&server, "Host: localhost\r\nOrigin: http://localhost");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn browsers_are_told_to_use_tls_for_names_of_the_server_alone() {
    let files = Files::new();
    let server = Running::built(files.builder().host("events.example"), GRACE);
    let named = files.get(&server, "Host: events.example");
    assert!(named.contains("strict-transport-security: max-age="), "{named}");
    let local = files.get(&server, "Host: localhost");
    assert!(!local.contains("strict-transport-security"), "{local}");
    let plain = Running::built(Server::builder(Store::in_memory()).host("events.example"), GRACE);
    let answer = plain.send("GET", "/v1/store", &[("Host", "events.example")], b"");
    assert_eq!((answer.status, answer.header("strict-transport-security")), (200, None));
}

#[test]
fn a_slow_handshake_held_others_up() {
    let files = Files::new();
    let server = files.serve();
    let silent = TcpStream::connect(server.address).unwrap();
    let mut half = TcpStream::connect(server.address).unwrap();
    half.write_all(&[0x16, 3, 1]).unwrap();
    assert!(files.get(&server, "Host: localhost").starts_with("HTTP/1.1 200"));
    // A stop does not wait for them either.
    assert_eq!(server.stop().cut_off, 0);
    drop((silent, half));
}

#[test]
fn a_handshake_had_its_place_for_ever() {
    let files = Files::new();
    let limits = Limits::default()
        .connections(1)
        .handshake_time(Duration::from_millis(50));
    let server = Running::built(files.builder().limits(limits), GRACE);
    let mut silent = TcpStream::connect(server.address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    assert!(files.get(&server, "Host: localhost").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_client_without_tls_is_told() {
    let files = Files::new();
    let server = files.serve();
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain
        .write_all(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{\"a\":1}\r\n")
        .unwrap();
    plain.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(body.contains("use https://"), "{body}");
    // What only begins as a handshake does.
    let mut wrong = TcpStream::connect(server.address).unwrap();
    wrong.write_all(&[0x16; 64]).unwrap();
    wrong.shutdown(std::net::Shutdown::Write).unwrap();
    drop(wrong.read_to_end(&mut Vec::new()));
    assert!(files.get(&server, "Host: localhost").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_client_of_another_authority_refuses() {
    let (files, others) = (Files::new(), Files::new());
    let server = files.serve();
    let refused = others.connect(&server).unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    assert!(files.get(&server, "Host: localhost").starts_with("HTTP/1.1 200"));
}

#[test]
fn live_tails_come_over_tls() {
    let files = Files::new();
    let server = files.serve();
    let mut events = files.connect(&server).unwrap();
    events
        .write_all(b"GET /v1/tail HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let socket = files.connect(&server).unwrap();
    let (mut socket, _) = tungstenite::client::client("wss://localhost/v1/socket", socket).unwrap();
    let subscribe = json!({ "subscribe": { "query": {} }, "credit": 10 }).to_string();
    socket.send(Message::text(subscribe)).unwrap();

    let mut append = files.connect(&server).unwrap();
    let body = "{\"eventType\":\"OrderPlaced\"}";
    let head = "POST /v1/streams/order-1/events?aggregateType=Order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    write!(append, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();

    let mut said = String::new();
    let mut part = [0; 1 << 10];
    while !said.contains("OrderPlaced") {
        let count = events.read(&mut part).unwrap();
        assert!(count > 0, "{said}");
        said += std::str::from_utf8(&part[..count]).unwrap();
    }
    let pushed = loop {
        if let Message::Text(text) = socket.read().unwrap() {
            let message: Value = serde_json::from_str(&text).unwrap();
            if message.get("event").is_some() {
                break message;
            }
        }
    };
    assert_eq!(pushed["event"]["eventType"], "OrderPlaced");
    assert_eq!(server.stop().cut_off, 0);
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let says = |files: &Files, name: &str, reason: &str| {
        let said = files.refused();
        assert!(said.contains(name) && said.contains(reason), "{said}");
    };
    says(
        &Files::of(|params| params.not_after = date_time_ymd(2020, 2, 3)),
        "cert.pem",
        "expired at 2020-02-03T00:00:00Z",
    );
    says(
        &Files::of(|params| params.not_before = date_time_ymd(4000, 1, 1)),
        "cert.pem",
        "not valid before 4000-01-01",
    );
    let (mut files, others) = (Files::new(), Files::new());
    let own = files.key.clone();
    files.key = others.key;
    says(&files, "key.pem", "is not that of the certificate");
    files.key = files.folder.path().join("absent");
    says(&files, "absent", "cannot read");
    files.key = files.folder.path().to_owned();
    says(&files, "cannot read", "name a file");
    files.key = own;
    let text = fs::read_to_string(&files.key).unwrap();
    fs::write(&files.key, text.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")).unwrap();
    says(&files, "key.pem", "is encrypted");
    for wrong in [
        String::new(),
        "nonsense".to_owned(),
        text.replace('\n', "!\n"),
        text[..text.len() / 2].to_owned(),
    ] {
        fs::write(&files.key, wrong).unwrap();
        says(&files, "key.pem", "has no valid key");
    }
    fs::write(&files.key, vec![b'x'; (1 << 20) + 1]).unwrap();
    says(&files, "key.pem", "more than");
    fs::write(&files.key, &text).unwrap();
    for wrong in [
        "",
        "nonsense",
        &text,
        "-----BEGIN CERTIFICATE-----\nAAAA!\n-----END CERTIFICATE-----\n",
    ] {
        fs::write(&files.certificate, wrong).unwrap();
        says(&files, "cert.pem", "has no valid certificate");
    }
    fs::write(
        &files.certificate,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    says(&files, "cert.pem", "cannot be used");
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_noticed() {
    use std::os::unix::fs::PermissionsExt as _;

    let files = Files::new();
    for (mode, is_open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let tls = Tls::read_files(&files.certificate, &files.key).unwrap();
        assert_eq!(tls.is_key_open(), is_open, "{mode:o}");
        assert_eq!(format!("{tls:?}"), "Tls { .. }");
    }
}

#[cfg(feature = "client")]
#[test]
fn the_client_has_tls() {
    use annals::{Expected, NewEvent, Position, StreamId};
    use annals_server::{Client, ClientError};

    let (files, others) = (Files::new(), Files::new());
    let server = files.serve();
    let url = format!("https://localhost:{}", server.address.port());
    let client = Client::new(&url).unwrap();
    let trusting = client.clone().ca_file(&files.certificate).unwrap().timeout(PATIENCE);
    let order = StreamId::new("Order", "order-1");
    let placed = [NewEvent::new("OrderPlaced")];
    trusting.append(&order, Expected::NoStream, &placed).unwrap();
    let mut tail = trusting.tail(&annals::Query::all(), Position(0)).unwrap();
    assert!(tail.next().unwrap().is_ok());
    drop(tail);
    let wrong = client.clone().ca_file(&others.certificate).unwrap();
    for client in [client.clone(), wrong] {
        let refused = client.append(&order, Expected::Any, &placed).unwrap_err();
        assert!(
            matches!(&refused, ClientError::Unreachable { reason, .. } if reason.contains("certificate")),
            "{refused}"
        );
    }
    let said = client.ca_file(&files.key).unwrap_err().to_string();
    assert!(
        said.contains("key.pem") && said.contains("no valid certificate"),
        "{said}"
    );
}

#[test]
fn a_certificate_was_renewed_only_by_a_restart() {
    let files = Files::new();
    let tls = Tls::read_files(&files.certificate, &files.key).unwrap();
    let server = Running::built(Server::builder(Store::in_memory()).tls(tls.clone()), GRACE);
    let mut old = files.connect(&server).unwrap();
    let renewed = Files::new();
    fs::copy(&renewed.certificate, &files.certificate).unwrap();
    fs::copy(&renewed.key, &files.key).unwrap();
    assert!(renewed.connect(&server).is_err(), "it was not told yet");
    tls.reload().unwrap();
    assert!(renewed.get(&server, "Host: localhost").starts_with("HTTP/1.1 200"));
    assert!(files.connect(&server).is_err(), "the old certificate is gone");
    // A connection from before goes on.
    old.write_all(b"GET /v1/store HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_bad_file_took_the_certificate_away() {
    let files = Files::new();
    let tls = Tls::read_files(&files.certificate, &files.key).unwrap();
    let server = Running::built(Server::builder(Store::in_memory()).tls(tls.clone()), GRACE);
    let other = Files::new();
    // Half of a renewal: the key of another certificate.
    fs::copy(&other.key, &files.key).unwrap();
    let said = tls.reload().unwrap_err().to_string();
    assert!(said.contains("is not that of the certificate"), "{said}");
    fs::remove_file(&files.certificate).unwrap();
    let said = tls.reload().unwrap_err().to_string();
    assert!(said.contains("cannot read") && said.contains("cert.pem"), "{said}");
    assert!(files.get(&server, "Host: localhost").starts_with("HTTP/1.1 200"));
}
