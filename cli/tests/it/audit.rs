//! The audit of a store: the trail, and the proof that the log was not changed.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Folder, Ran, ask, import, line, program, run};

/// A directory with a store of the generated log, and a key.
struct Audited {
    folder: Folder,
    url: PathBuf,
    public: String,
}

impl Audited {
    fn new() -> Self {
        let folder = Folder::new();
        let url = folder.url("orders");
        import(&url, &folder.demo());
        let made = run(program()
            .args(["audit", "key", "--output"])
            .arg(folder.path("audit.key")));
        let public = made.ok().trim().to_owned();
        assert_eq!(public.len(), 64);
        Self { folder, url, public }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name).display().to_string()
    }

    fn audit(&self, arguments: &[&str]) -> Ran {
        let arguments: Vec<&str> = ["audit"].iter().chain(arguments).copied().collect();
        ask(&self.url, &arguments)
    }

    fn head(&self, name: &str) -> String {
        let path = self.path(name);
        let key = self.path("audit.key");
        self.audit(&["head", "--key", &key, "--output", &path]).ok();
        path
    }

    fn verify(&self, head: &str, more: &[&str]) -> Ran {
        let arguments = [
            "verify",
            "--format",
            "json",
            "--head",
            head,
            "--public-key",
            &self.public,
        ];
        self.audit(&[&arguments, more].concat())
    }
}

fn figure(report: &str, name: &str) -> Value {
    let report: Value = serde_json::from_str(report).unwrap();
    report[name].clone()
}

#[test]
fn a_store_that_was_replaced_or_cut_was_the_same() {
    let audited = Audited::new();
    let head = audited.head("head.json");
    let report = audited.verify(&head, &[]).ok();
    assert_eq!(
        (figure(&report, "events"), figure(&report, "last")),
        (3_000.into(), 3_000.into())
    );

    // The public key in a file, and a table for people.
    std::fs::write(audited.path("public"), format!("{}\n", audited.public)).unwrap();
    let public = audited.path("public");
    let table = audited
        .audit(&["verify", "--head", &head, "--public-key", &public])
        .ok();
    assert!(table.contains("events of the chain"), "{table}");

    // Further events do not invalidate the head. A new head continues it.
    let more = audited.folder.file("more.jsonl", line("t-1", "Made", "") + "\n");
    import(&audited.url, &more);
    assert_eq!(figure(&audited.verify(&head, &[]).ok(), "position"), 3_001);
    let key = audited.path("audit.key");
    let later = audited.path("later.json");
    audited
        .audit(&["head", "--key", &key, "--since", &head, "--output", &later])
        .ok();
    assert_eq!(
        figure(&audited.verify(&later, &["--since", &head]).ok(), "events"),
        3_001
    );

    // The same log in another store has other recording times. A shorter log ends early.
    let copy = audited.folder.url("copy");
    import(&copy, &audited.folder.path("demo.jsonl.gz"));
    let arguments = ["audit", "verify", "--head", &head, "--public-key", &audited.public];
    let error = ask(&copy, &arguments).failed(3);
    assert!(
        error.contains("the log was changed") || error.contains("another store"),
        "{error}"
    );
    let short = audited.folder.url("short");
    import(&short, &more);
    let error = ask(&short, &arguments).failed(3);
    assert!(error.contains("another store"), "{error}");
}

#[test]
fn a_changed_head_or_another_key_was_believed() {
    let audited = Audited::new();
    let head = audited.head("head.json");
    let text = std::fs::read_to_string(&head).unwrap();
    let forged = audited
        .folder
        .file("forged.json", text.replace("\"count\":3000", "\"count\":2999"));
    let error = audited.verify(&forged.display().to_string(), &[]).failed(3);
    assert!(error.contains("the signature of the head is invalid"), "{error}");

    let other = run(program()
        .args(["audit", "key", "--output"])
        .arg(audited.path("other.key")))
    .ok();
    let arguments = ["verify", "--head", &head, "--public-key", other.trim()];
    let error = audited.audit(&arguments).failed(3);
    assert!(error.contains("is signed by the key"), "{error}");

    for (bad, code) in [("none", 4), ("more.jsonl", 4)] {
        let error = audited.verify(&audited.path(bad), &[]).failed(code);
        assert!(error.contains(bad), "{error}");
    }
    let no_head = audited.folder.file("no.json", "{}");
    let error = audited.verify(&no_head.display().to_string(), &[]).failed(3);
    assert!(error.contains("invalid audit head"), "{error}");
}

#[test]
fn a_key_could_be_given_as_an_argument_or_be_replaced() {
    let audited = Audited::new();
    let again = run(program()
        .args(["audit", "key", "--output"])
        .arg(audited.path("audit.key")));
    let error = again.failed(2);
    assert!(error.contains("a key is never replaced"), "{error}");
    let secret = std::fs::read_to_string(audited.path("audit.key")).unwrap();
    let error = audited.audit(&["head", "--key", secret.trim()]).failed(2);
    assert!(
        !error.contains(&secret.trim()[..16]) || error.contains("cannot read the audit key"),
        "{error}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(audited.path("audit.key"), open).unwrap();
        let error = audited.audit(&["head", "--key", &audited.path("audit.key")]).failed(2);
        assert!(error.contains("chmod 600"), "{error}");
    }
    // A log file has no chain, and an existing file is not replaced.
    let log = audited.folder.path("demo.jsonl.gz");
    let error = ask(&log, &["audit", "head", "--key", &audited.path("other.key")]).failed(2);
    assert!(
        error.contains("audit key") || error.contains("durable store"),
        "{error}"
    );
}

#[test]
fn an_archive_was_tampering_without_an_anchor_and_with_one() {
    let audited = Audited::new();
    let (head, key) = (audited.head("head.json"), audited.path("audit.key"));
    let archive = audited.path("old");
    audited_archive(&audited.url, &archive);
    let error = audited.verify(&head, &[]).failed(3);
    assert!(
        error.contains("no anchor") && error.contains("moved to the archive 'old'"),
        "{error}"
    );

    let anchor = audited.path("anchor.json");
    let arguments = ["audit", "anchor", "--key", &key, "--head", &head, "--output", &anchor];
    ask(Path::new(&archive), &arguments).ok();
    let report = audited.verify(&head, &["--anchor", &anchor]).ok();
    assert!(figure(&report, "anchored").as_u64().unwrap() > 300, "{report}");
    // With the archive attached, the events are present.
    let report = audited.verify(&head, &["--attach", &archive]).ok();
    assert_eq!(figure(&report, "anchored"), 0);
    // The first head of a store that was not audited before covers the retained events.
    let first = audited.path("first.json");
    let error = audited.audit(&["head", "--key", &key, "--output", &first]).failed(3);
    assert!(error.contains("--accept-gaps"), "{error}");
    audited
        .audit(&["head", "--key", &key, "--accept-gaps", "--output", &first])
        .ok();
    audited.verify(&first, &[]).ok();
    let error = audited.verify(&first, &["--attach", &archive]).failed(3);
    assert!(
        error.contains("were not there") || error.contains("another store"),
        "{error}"
    );
    // A head that continues it.
    let later = audited.path("later.json");
    audited
        .audit(&["head", "--key", &key, "--anchor", &anchor, "--output", &later])
        .ok();
    audited.verify(&later, &["--anchor", &anchor]).ok();
    audited.verify(&later, &[]).failed(3);
}

fn audited_archive(url: &Path, to: &str) {
    run(program()
        .arg("--store")
        .arg(url)
        .args(["archive", "--before", "2026-01-12", "--to", to]))
    .ok();
}

#[test]
fn a_trail_is_lines_of_json_or_csv() {
    let audited = Audited::new();
    let lines = audited.audit(&["trail"]).ok();
    assert_eq!(lines.lines().count(), 3_000);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["kind"], &first["position"]), (&"event".into(), &1.into()));
    let id = first["aggregateId"].as_str().unwrap();
    let of_aggregate = audited.audit(&["trail", "--aggregate", id]).ok();
    let all_of_it = lines
        .lines()
        .filter(|line| line.contains(&format!("\"aggregateId\":\"{id}\"")));
    assert_eq!(of_aggregate.lines().count(), all_of_it.count());
    let correlation = first["correlationId"].as_str().unwrap();
    let narrow = [
        "trail",
        "--correlation",
        correlation,
        "--before",
        "2026-01-12",
        "--format",
        "csv",
    ];
    let csv = audited.audit(&narrow).ok();
    assert!(
        csv.starts_with("position,time,recordedAt,kind,name,outcome,reason,userId,"),
        "{csv}"
    );
    assert!(
        csv.lines().count() > 1 && csv.lines().skip(1).all(|line| line.contains(correlation)),
        "{csv}"
    );

    let file = audited.path("trail.csv");
    let written = audited.audit(&["trail", "--since", "2026-01-12", "--output", &file]);
    assert!(written.stderr.contains("rows written to"), "{}", written.stderr);
    let error = audited.audit(&["trail", "--output", &file]).failed(2);
    assert!(error.contains("--force replaces it"), "{error}");
    for bad in [
        ["trail", "--format", "json"],
        ["trail", "--format", "table"],
        ["trail", "--since", "soon"],
    ] {
        audited.audit(&bad).failed(2);
    }
    assert_eq!(audited.audit(&["trail", "--user", "none"]).ok(), "");
    // A log file has a trail too.
    let of_log = ask(&audited.folder.path("demo.jsonl.gz"), &["audit", "trail"]).ok();
    assert_eq!(of_log.lines().count(), 3_000);
}

#[test]
fn a_prefix_that_is_about_to_be_dropped_is_signed() {
    let audited = Audited::new();
    let (head, key) = (audited.head("head.json"), audited.path("audit.key"));
    let (one, two) = (audited.path("one.json"), audited.path("two.json"));
    let anchor = [
        "anchor",
        "--key",
        &key,
        "--head",
        &head,
        "--reason",
        "retention",
        "--up-to",
    ];
    audited.audit(&[&anchor[..], &["1500", "--output", &one]].concat()).ok();
    audited
        .audit(&[&anchor[..], &["2500", "--anchor", &one, "--output", &two]].concat())
        .ok();
    let text = std::fs::read_to_string(&two).unwrap();
    let anchor: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&anchor["base"]["position"], &anchor["reason"]),
        (&2_048.into(), &"retention".into())
    );
    let report = audited.verify(&head, &["--anchor", &two]).ok();
    assert_eq!(
        (figure(&report, "first"), figure(&report, "anchored")),
        (1.into(), 0.into()),
        "nothing is missing so far"
    );
}

#[test]
fn an_anchor_replaced_the_key_that_signs_it() {
    let audited = Audited::new();
    let (head, key) = (audited.head("head.json"), audited.path("audit.key"));
    let one = audited.path("one.json");
    let anchor = ["anchor", "--key", &key, "--head", &head, "--up-to", "1500"];
    audited.audit(&[&anchor[..], &["--output", &one]].concat()).ok();
    let read = |path: &str| std::fs::read(path).unwrap();
    let before = [&key, &head, &one].map(|path| read(path));
    for target in [&key, &head, &one] {
        for arguments in [
            [&anchor[..], &["--anchor", &one, "--force", "--output", target]].concat(),
            vec![
                "head", "--key", &key, "--since", &head, "--anchor", &one, "--force", "--output", target,
            ],
        ] {
            let error = audited.audit(&arguments).failed(2);
            assert!(error.contains("this command reads it"), "{error}");
        }
    }
    assert_eq!([&key, &head, &one].map(|path| read(path)), before);
    audited
        .audit(&[&anchor[..], &["--force", "--output", &audited.path("two.json")]].concat())
        .ok();
}

#[test]
fn a_signed_head_replaced_a_file_of_the_store() {
    let audited = Audited::new();
    let (head, key) = (audited.head("head.json"), audited.path("audit.key"));
    let folder = audited.url.display().to_string().replace("file:", "");
    let files = |folder: &str| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files(&folder);
    assert!(before.len() > 1, "a segment and a head");
    for (file, _) in &before {
        let file = file.display().to_string();
        for arguments in [
            vec!["head", "--key", &key, "--force", "--output", &file],
            vec![
                "anchor", "--key", &key, "--head", &head, "--up-to", "100", "--force", "--output", &file,
            ],
            vec!["trail", "--format", "csv", "--force", "--output", &file],
        ] {
            let error = audited.audit(&arguments).failed(2);
            assert!(
                error.contains("this command reads it") || error.contains("its name must say"),
                "{error}"
            );
        }
    }
    assert_eq!(files(&folder), before);
    audited.verify(&head, &[]).ok();
}
