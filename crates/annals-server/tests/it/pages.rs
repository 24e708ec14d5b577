//! The web pages: what is served, and that nothing of them comes from elsewhere. A browser opens them in `.ci/browser`.

use std::collections::BTreeSet;

use annals::Store;
use annals_server::Server;
use serde_json::json;

use crate::client::Answer;
use crate::processors::Mailer;
use crate::support::Running;

/// Bytes of everything that the first page loads, at most.
const PAGE_BYTES_MAX: usize = 200_000;

#[track_caller]
fn text(answer: Answer) -> String {
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).unwrap()
}

/// The files that a page or a script names.
fn named(text: &str, base: &str) -> Vec<String> {
    let in_page = text.split("/ui/assets/").skip(1).map(str::to_owned);
    let in_script = text.split("from \"").skip(1).map(|rest| resolved(base, rest));
    let names = in_page.chain(in_script);
    names.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// The path of a module that is imported in the folder `base`.
fn resolved(base: &str, import: &str) -> String {
    match import.strip_prefix("../") {
        Some(above) => above.to_owned(),
        None => format!("{base}{}", import.trim_start_matches("./")),
    }
}

/// Every file that the pages load, with its text.
fn files(server: &Running) -> Vec<(String, String)> {
    let page = text(server.get("/ui/"));
    let (mut found, mut known) = (Vec::new(), BTreeSet::new());
    let mut next = named(&page, "");
    while let Some(name) = next.pop() {
        if known.insert(name.clone()) {
            let file = text(server.get(&format!("/ui/assets/{name}")));
            let base = if name.starts_with("views/") { "views/" } else { "" };
            next.extend(named(&file, base));
            found.push((name, file));
        }
    }
    found
}

#[test]
fn a_page_is_whole_and_small() {
    let server = Running::new();
    let files = files(&server);
    assert_eq!(
        files.len(),
        25,
        "{:?}",
        files.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    let bytes: usize = files.iter().map(|(_, file)| file.len()).sum();
    assert!(bytes < PAGE_BYTES_MAX, "{bytes}");
}

#[test]
fn a_page_loads_nothing_from_elsewhere_and_runs_nothing_within_it() {
    let server = Running::new();
    let page = text(server.get("/ui/"));
    for inline in ["<style", "style=", "onclick", "javascript:", "<script>"] {
        assert!(!page.contains(inline), "{inline}");
    }
    for (name, file) in files(&server) {
        // Comments, and the name of a namespace, which is not loaded.
        let lines = file.lines().filter(|line| !line.trim_start().starts_with(['/', '*']));
        for line in lines.filter(|line| line.contains("://")) {
            assert!(line.contains("http://www.w3.org/2000/svg"), "{name}: {line}");
        }
        for unsafe_call in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ] {
            assert!(!file.contains(unsafe_call), "{name}: {unsafe_call}");
        }
    }
}

#[test]
fn every_page_has_a_policy_that_permits_no_other_source() {
    let server = Running::new();
    for target in [
        "/ui/",
        "/ui/events?text=x",
        "/ui/streams/a%2Fb",
        "/ui/processors/a%2Fb",
        "/ui/groups",
        "/ui/dead-letters",
        "/ui/sagas/a%2Fb",
        "/ui/test?ns=t",
        "/ui/assets/app.js",
    ] {
        let answer = server.get(target);
        assert_eq!(answer.status, 200, "{target}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(
            !policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
    }
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let server = Running::new();
    let tag = server.get("/ui/assets/app.js").header("etag").unwrap().to_owned();
    let again = server.send("GET", "/ui/assets/app.js", &[("If-None-Match", &tag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_ne!(server.get("/ui/assets/dom.js").header("etag"), Some(tag.as_str()));
}

#[test]
fn a_file_that_is_not_there_is_a_problem() {
    let server = Running::new();
    for target in [
        "/ui/assets/absent.js",
        "/ui/assets/../Cargo.toml",
        "/ui/assets/%2e%2e/Cargo.toml",
        "/ui/assets/%ff",
    ] {
        let answer = server.get(target);
        assert_eq!(answer.status, 404, "{target}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{target}"
        );
    }
}

#[test]
fn pages_need_no_token_and_hold_no_data() {
    let store = Store::in_memory();
    let token =
        annals_server::Token::new(annals_server::Role::Read, "the-secret-of-a-test-of-pages-0123456789").unwrap();
    let server = Running::built(
        Server::builder(store).tokens([token]),
        std::time::Duration::from_secs(30),
    );
    assert_eq!(server.get("/ui/").status, 200);
    assert_eq!(server.get("/v1/events").status, 401);
}

#[test]
fn a_browser_is_led_to_the_pages_and_other_clients_are_answered() {
    let server = Running::new();
    let browser = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    for (target, headers) in [("/ui", &[][..]), ("/", &[browser])] {
        // Not by `send`, which knows the answers of the API alone.
        let mut connection = server.connect();
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines = lines.collect::<Vec<_>>().concat();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", server.address);
        connection.write(request).unwrap();
        let answer = connection.read(false);
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("/ui/")),
            "{target}"
        );
    }
    assert_eq!(server.get("/").ok(200)["name"], "annals");
}

/// What a form of another page sends, by the headers that browsers add.
const FORMS: [&[(&str, &str)]; 3] = [
    &[
        ("Origin", "http://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
    ],
    &[("Origin", "null")],
    &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")],
];

#[test]
fn a_form_of_another_site_pressed_a_button_of_a_page() {
    let mailer = Mailer::with_letters(&["order-1"]);
    let server = mailer.server();
    let letters = server.get("/v1/processors/mailer/dead-letters").ok(200);
    let position = &letters["deadLetters"][0]["position"];
    for form in FORMS {
        for target in [
            "/v1/processors/mailer/pause".to_owned(),
            "/v1/processors/mailer/dead-letters/retry".to_owned(),
            format!("/v1/processors/mailer/dead-letters/{position}/discard"),
            "/v1/groups/g/resume".to_owned(),
        ] {
            server.send("POST", &target, form, b"").refused(403, "cross-origin");
        }
    }
    let told = server.get("/v1/processors/mailer").ok(200);
    assert_eq!((&told["state"], &told["deadLetters"]), (&json!("caughtUp"), &json!(1)));
    // A page of the server itself may.
    let own = format!("http://{}", server.address);
    let headers = [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")];
    let target = format!("/v1/processors/mailer/dead-letters/{position}/discard");
    server.send("POST", &target, &headers, b"").ok(200);
}

#[test]
fn a_form_of_another_site_emptied_the_store_of_a_test() {
    let server = Running::for_tests();
    server.add("a", "X");
    for form in FORMS {
        for target in [
            "/v1/test/reset",
            "/v1/test/fork/b",
            "/v1/test/snapshots",
            "/v1/test/faults",
        ] {
            server.send("POST", target, form, b"").refused(403, "cross-origin");
        }
    }
    assert_eq!(server.get("/v1/count").ok(200)["count"], 1);
    assert_eq!(
        server.get("/v1/test/timeline").ok(200)["entries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // A link of another site leads to a page, and to what is only read.
    let link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")];
    assert_eq!(server.send("GET", "/ui/", &link, b"").status, 200);
}
