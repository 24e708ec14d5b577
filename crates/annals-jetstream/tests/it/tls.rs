//! Servers that encrypt their connections, with the certificate of the library's tests.

use std::path::{Path, PathBuf};

use annals::{Error, Expected, NewEvent, Store, StoreUrl};

use crate::process::Process;
use crate::{order, program};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/tls")
        .join(name)
}

/// A server with these lines in the settings of TLS, and a user.
fn start(lines: &str) -> Process {
    let arguments = |port: &str, folder: &str| {
        let (certificate, key) = (fixture("server.pem"), fixture("server.key"));
        let settings = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{folder}/files\" }}\n\
             authorization {{ user: anna, password: secret }}\n\
             tls {{ cert_file: \"{}\", key_file: \"{}\"\n{lines} }}\n",
            certificate.display(),
            key.display()
        );
        let path = format!("{folder}/settings");
        std::fs::write(&path, settings).unwrap();
        vec!["-c".to_owned(), path]
    };
    Process::start_at(&program(), arguments)
}

/// The URL of a server by the name in its certificate.
fn url(server: &Process, parameters: &str) -> String {
    format!("nats://anna:secret@localhost:{}/orders{parameters}", server.port.number)
}

fn with_authority() -> String {
    format!("?ca={}", fixture("authority.pem").display())
}

/// Checks that a store appends and reads there.
fn check(url: &str) {
    let store = annals_jetstream::open(url).expect("it opens");
    let appended = store.append(&order("a"), Expected::Any, vec![NewEvent::new("Placed")]);
    assert!(appended.is_ok(), "{appended:?}");
}

/// The text of the error, which has no password.
fn refused(url: &str) -> String {
    let error = annals_jetstream::open(url).expect_err("it must not open");
    assert!(matches!(error, Error::Unreadable { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(!text.contains("secret"), "{text}");
    text
}

#[test]
fn a_certificate_of_an_unknown_authority_was_trusted() {
    let server = start("");
    check(&url(&server, &with_authority()));
    for parameters in ["", "?tls=required"] {
        let text = refused(&url(&server, parameters));
        assert!(text.contains("on TLS"), "{text}");
    }
    // The certificate names the host alone, not its address.
    let by_address = url(&server, &with_authority()).replace("localhost", "127.0.0.1");
    assert!(refused(&by_address).contains("on TLS"));
    let missing = refused(&url(&server, "?ca=/missing/authority.pem"));
    assert!(missing.contains("certificates in /missing/authority.pem"), "{missing}");
    let key = fixture("server.key");
    let no_certificate = refused(&url(&server, &format!("?ca={}", key.display())));
    assert!(no_certificate.contains("there is none"), "{no_certificate}");
    let pair = format!(
        "{}&cert={}&key=/missing/key.pem",
        with_authority(),
        fixture("server.pem").display()
    );
    assert!(refused(&url(&server, &pair)).contains("the key in /missing/key.pem"));
    let wrong = url(&server, &with_authority()).replace("anna:secret", "anna:secret-2");
    assert!(refused(&wrong).contains("refuses the user and the password"));
}

#[test]
fn a_server_without_tls_got_the_password() {
    let server = Process::start_at(&program(), crate::arguments);
    let text = refused(&url(&server, "?tls=required"));
    assert!(text.contains("on TLS"), "{text}");
    check(&url(&server, ""));
}

/// A server that demands a certificate of its clients.
#[test]
fn a_client_showed_no_certificate() {
    let server = start(&format!(
        "verify: true\nca_file: \"{}\"",
        fixture("authority.pem").display()
    ));
    let (certificate, key) = (fixture("server.pem"), fixture("server.key"));
    let identity = format!("&cert={}&key={}", certificate.display(), key.display());
    check(&url(&server, &format!("{}{identity}", with_authority())));
    let error = annals_jetstream::open(&url(&server, &with_authority())).expect_err("it has no certificate");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
}

#[test]
fn a_url_with_a_password_was_shown() {
    annals_jetstream::register().unwrap();
    let server = start("");
    let parsed: StoreUrl = url(&server, &with_authority()).parse().unwrap();
    assert!(!format!("{parsed} {parsed:?}").contains("secret"));
    let store: Store = Store::open_url(&url(&server, &with_authority())).unwrap();
    assert!(!format!("{store:?}").contains("secret"));
}
