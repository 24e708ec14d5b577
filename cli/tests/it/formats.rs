//! Files as the standard tools of their formats write them, and rejected files with their probable format.

use crate::support::{Folder, Ran, ask, gzip, line, program, run};

const PADDING: [u8; 512] = [0; 512];

/// The lines of two small events.
fn two() -> String {
    [line("a", "T", ""), line("b", "T", "")].join("\n") + "\n"
}

fn stats(folder: &Folder, name: &str, bytes: &[u8]) -> Ran {
    let path = folder.path(name);
    std::fs::write(&path, bytes).unwrap();
    ask(&path, &["stats", "--format", "csv"])
}

fn has(folder: &Folder, name: &str, bytes: impl AsRef<[u8]>, events: u64) {
    let bytes = bytes.as_ref();
    let figures = stats(folder, name, bytes).ok();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    assert!(
        figures.contains(&format!("figures,total,{events}\n")),
        "{name} {shown}: {figures}"
    );
}

fn refused(folder: &Folder, name: &str, bytes: impl AsRef<[u8]>, parts: &[&str]) {
    let message = stats(folder, name, bytes.as_ref()).failed(3);
    for part in parts {
        assert!(message.contains(part), "{name}: {part}\n{message}");
    }
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 0).unwrap()
}

/// A zstd frame without data.
fn skippable(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&[0x50 + kind, 0x2a, 0x4d, 0x18], &length[..], content].concat()
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

#[test]
fn zstd_that_begins_with_a_skippable_frame_was_no_zstd() {
    let folder = Folder::new();
    let text = two();
    let packed = zstd(text.as_bytes());
    for kind in [0, 7, 15] {
        has(
            &folder,
            "a.jsonl.zst",
            [skippable(kind, b"size"), packed.clone()].concat(),
            2,
        );
    }
    let frame = || skippable(0, &[]);
    has(
        &folder,
        "a.jsonl.zst",
        [frame(), packed.clone(), frame(), packed.clone(), frame()].concat(),
        4,
    );
    has(&folder, "a.jsonl.zst", [frame(), frame(), packed.clone()].concat(), 2);
    // Recognised by content, not by name.
    has(&folder, "a.jsonl", [frame(), packed.clone()].concat(), 2);
    refused(
        &folder,
        "a.jsonl.zst",
        [&packed[..], b"other"].concat(),
        &["its zstd data are damaged"],
    );
    refused(
        &folder,
        "a.jsonl.zst",
        &packed[..packed.len() - 2],
        &["it was cut short"],
    );
    refused(
        &folder,
        "a.jsonl.zst",
        gzip(text.as_bytes()),
        &["is called .zst but is gzip: call it .gz"],
    );
    refused(
        &folder,
        "a.jsonl.gz",
        &packed,
        &["is called .gz but is zstd: call it .zst"],
    );
}

#[test]
fn zeros_behind_gzip_were_damage() {
    let folder = Folder::new();
    let packed = gzip(two().as_bytes());
    has(&folder, "a.jsonl.gz", [&packed[..], &PADDING].concat(), 2);
    has(&folder, "a.jsonl.gz", [&packed[..], &[0]].concat(), 2);
    has(&folder, "a.jsonl.gz", [&packed[..], &packed].concat(), 4);
    has(
        &folder,
        "a.jsonl.gz",
        [&packed[..], &PADDING, &packed, &PADDING].concat(),
        4,
    );
    has(
        &folder,
        "a.jsonl.gz",
        [&gzip(b"")[..], &packed, &vec![0; 300_000]].concat(),
        2,
    );
    let trailing: &[&str] = &["its gzip data are whole, but other bytes follow them (the first is 0x78)"];
    refused(&folder, "a.jsonl.gz", [&packed[..], b"x"].concat(), trailing);
    refused(&folder, "a.jsonl.gz", [&packed[..], &PADDING, b"x"].concat(), trailing);
    refused(
        &folder,
        "a.jsonl.gz",
        [&packed[..], &packed[..9]].concat(),
        &["it was cut short"],
    );
}

#[test]
fn a_quote_that_was_never_closed_swallowed_the_rest() {
    let folder = Folder::new();
    let header = "aggregateId,eventType,timestamp,note\n";
    let csv = |rows: &str| format!("{header}{rows}");
    for (rows, line) in [
        ("a,T,2026-01-31,\"open\nb,T,2026-01-31,x\nc,T,2026-01-31,y\n", 2),
        ("a,T,2026-01-31,\"\"\nb,T,2026-01-31,\"x", 3),
        ("a,T,2026-01-31,\"two\nlines\"\n\"b,T,2026-01-31,x\n", 4),
        ("a,T,2026-01-31,\"said \"\"so\"\"\nb,T,2026-01-31,x\n", 2),
        ("a,T,2026-01-31,x\r\nb,T,2026-01-31,\"\r\n", 3),
    ] {
        let message = format!("line {line}: the quote that opens in line {line} is never closed");
        refused(&folder, "h.csv", csv(rows), &[&message]);
        refused(&folder, "h.csv.gz", gzip(csv(rows).as_bytes()), &[&message]);
    }
    let path = folder.file("h.csv", csv("a,T,2026-01-31,x\nb,T,2026-01-31,\"x\nc,T,2026-01-31,x\n"));
    let ran = ask(&path, &["stats", "--skip-bad", "--format", "csv"]);
    assert!(
        ran.stderr.contains("so the rest of the file is one cell"),
        "{}",
        ran.stderr
    );
    assert!(ran.ok().contains("figures,total,1\n"));
    refused(
        &folder,
        "h.csv",
        "\"aggregateId,eventType\na,b\n",
        &["line 1: the quote that opens in line 1"],
    );
    has(
        &folder,
        "h.csv",
        csv("a,T,2026-01-31,5\" wide\nb,T,2026-01-31,\"x\""),
        2,
    );
}

#[test]
fn empty_lines_before_a_bad_one_were_not_counted() {
    let folder = Folder::new();
    let header = "aggregateId,eventType,timestamp,note\n";
    let long = "a,T,2026-01-31,x\n\n".repeat(20_000);
    for (text, line) in [
        (format!("{header}\n\na,T,never,x\n"), 4),
        (format!("\n\r\n{header}\r\n\r\na,T,never,x"), 6),
        (format!("{header}a,T,2026-01-31,\"two\nlines\"\n\na,T,never,x\n"), 5),
        (format!("{header}a,T,2026-01-31,\"\n\n\"\n\r\r\na,T,never,x\n"), 7),
        (format!("sep=,\n\n{header}\na,T,never,x\n"), 5),
        (format!("{header}{long}a,T,never,x\n"), 40_002),
    ] {
        refused(&folder, "e.csv", &text, &[&format!("line {line}: the time: 'never'")]);
        refused(
            &folder,
            "e.csv.gz",
            gzip(text.as_bytes()),
            &[&format!("line {line}: the time: 'never'")],
        );
    }
    refused(&folder, "e.csv", "\n\ncase,what\n", &["line 3: no column is known"]);
}

#[test]
fn a_quote_that_a_later_one_closed_swallowed_the_lines_between() {
    let folder = Folder::new();
    let csv = |rows: &str| format!("aggregateId,eventType,timestamp,note\n{rows}");
    let before = "z,T,2026-01-31,\"a \"\"b\"\"\"\n".repeat(5_000);
    for (rows, line) in [
        ("a,T,2026-01-31,\"open\nb,T,2026-01-31,\"x\"\nc,T,2026-01-31,y\n", 2),
        (
            "z,T,2026-01-31,x\na,T,2026-01-31,\"open\r\nb,T,2026-01-31,x\r\nc,T,2026-01-31,\"y\"\r\n",
            3,
        ),
        ("a,T,2026-01-31,\"a\"b\"\n", 2),
        // Both faults in one record count as one bad line.
        ("a,T,2026-01-31,\"a\nb\"c,\"open\nd,T,2026-01-31,x\n", 2),
        ("a,T,2026-01-31,\"a\" \"b\"\n", 2),
        (&format!("{before}a,T,2026-01-31,\"a\"b\n{before}"), 5_002),
    ] {
        let message = format!("line {line}: text follows the quoted cell that opens in line {line}");
        refused(&folder, "h.csv", csv(rows), &[&message]);
    }
    let path = folder.file(
        "h.csv",
        csv(&format!(
            "{before}a,T,2026-01-31,\"a\"b\n{before}\"a\"b,T,2026-01-31,x\n"
        )),
    );
    let ran = ask(&path, &["stats", "--skip-bad", "--format", "csv"]);
    assert!(ran.stderr.contains("2 bad lines left out"), "{}", ran.stderr);
    assert!(ran.ok().contains("figures,total,10000\n"));
    refused(
        &folder,
        "h.csv",
        "\"aggregateId\"s,eventType\n",
        &["line 1: text follows the quoted cell"],
    );
    let path = folder.file("h.csv", csv("a,T,2026-01-31,\"a\nb\"c,\"open\nd,T,2026-01-31,x\n"));
    let ran = ask(&path, &["stats", "--skip-bad", "--format", "csv"]);
    assert!(ran.stderr.contains("1 bad line left out"), "{}", ran.stderr);
    // Space after a quote is allowed, and so are quotes within an unquoted cell.
    has(
        &folder,
        "h.csv",
        csv("a,T,2026-01-31,\"x\" \nb,T,2026-01-31,5\" x 3\"\n"),
        2,
    );
}

#[test]
fn csv_of_spreadsheets_was_refused() {
    let folder = Folder::new();
    for text in [
        "aggregateId,eventType,timestamp,,\na,T,2026-01-31,,\nb,T,2026-01-31,,\n",
        "aggregateId,eventType,timestamp\na,T,2026-01-31,,\nb,T,2026-01-31\n",
        "aggregateId;eventType;timestamp;note\na;T;2026-01-31;\"x;y\"\nb;T;2026-01-31;1,5\n",
        "aggregateId\teventType\ttimestamp\na\tT\t2026-01-31\nb\tT\t2026-01-31\n",
        "sep=;\r\naggregateId;eventType;timestamp\r\na;T;2026-01-31\r\nb;T;2026-01-31\r\n",
        "sep=,\naggregateId,eventType,timestamp\na,T,2026-01-31\nb,T,2026-01-31\n",
        "\"sep=|\"\raggregateId|eventType|timestamp\ra|T|2026-01-31\rb|T|2026-01-31",
        " aggregateId , eventType, timestamp ,\" note\"\na,T,2026-01-31,x\nb,T,2026-01-31,y\n",
        "\u{feff}\u{feff}aggregateId,eventType,timestamp\na,T,2026-01-31\nb,T,2026-01-31\n",
        "\u{feff}\"aggregateId\",eventType,timestamp\ra,T,2026-01-31\rb,T,2026-01-31\r",
        "case,activity,timestamp\na,T,2026-01-31\nb,T,2026-01-31\n",
        ",case,activity,timestamp\n0,a,T,2026-01-31\n1,b,T,2026-01-31\n",
    ] {
        has(&folder, "s.csv", text, 2);
        has(&folder, "s.csv", utf16(text, u16::to_le_bytes), 2);
    }
    let message = ["line 3: column 5 holds 'x', but has no name in the header"];
    refused(
        &folder,
        "s.csv",
        "aggregateId,eventType,timestamp,,\na,T,2026-01-31,,\nb,T,2026-01-31,,x\n",
        &message,
    );
    let message = ["line 3: 4 columns, but the header has 3"];
    refused(
        &folder,
        "s.csv",
        "aggregateId,eventType,timestamp\na,T,2026-01-31,,\nb,T,2026-01-31,x\n",
        &message,
    );
    // Line numbers are those of an editor, for all line ends and with lines before the header.
    refused(
        &folder,
        "s.csv",
        "sep=;\r\naggregateId;eventType;timestamp\r\na;T;never\r\n",
        &["line 3: the time: 'never'"],
    );
    refused(
        &folder,
        "s.csv",
        "aggregateId,eventType,timestamp\ra,T,2026-01-31\rb,T,never",
        &["line 3: the time: 'never'"],
    );
    refused(&folder, "s.csv", "", &["line 1: the file holds nothing"]);
}

#[test]
fn a_header_without_known_columns_did_not_say_which_there_are() {
    let folder = Folder::new();
    let parts = [
        "no column is known as the event's type",
        "the columns are 'case', 'what', 'timestamp'",
        "'concept:name'",
        "--csv-type",
    ];
    refused(&folder, "h.csv", "case,what,timestamp\n", &parts);
    refused(&folder, "h.csv", "case;what;timestamp\n", &parts);
    refused(&folder, "h.csv", "sep=|\ncase|what|timestamp\n", &parts);
    let path = folder.file("h.csv", "case;what;timestamp\na;T;2026-01-31\n");
    assert!(
        ask(&path, &["events", "--csv-type", "what", "--format", "jsonl"])
            .ok()
            .contains("\"eventType\":\"T\"")
    );
    let wide = (0..100)
        .map(|number| format!("c{number}"))
        .collect::<Vec<_>>()
        .join(",");
    refused(&folder, "h.csv", wide, &["'c29' and 70 more"]);
}

#[test]
fn a_json_array_was_taken_as_the_fields_of_an_event() {
    let folder = Folder::new();
    let fields = r#"[null,"a","A","T",null,null,null,"2026-01-31T12:00:00Z",null,null,null,null]"#;
    refused(&folder, "a.jsonl", fields, &["line 1: element 1"]);
    refused(
        &folder,
        "a.jsonl",
        format!("{}{fields}\n", two()),
        &["line 3: column 1: invalid type: an array, expected an event: a JSON object"],
    );
    refused(
        &folder,
        "a.json",
        format!("[{fields}]"),
        &["element 1: column 1: invalid type: an array"],
    );
    refused(
        &folder,
        "a.jsonl",
        format!("{}  {fields}\n", two()),
        &["line 3: column 3: invalid type: an array"],
    );
}

#[test]
fn what_format_json_prints_could_not_be_read_back() {
    let folder = Folder::new();
    let store = folder.demo();
    let lines = ask(&store, &["events", "--format", "jsonl"]).ok();
    let array = ask(&store, &["events", "--limit", "0", "--format", "json"]).ok();
    for name in ["a.json", "a.jsonl", "a.ndjson", "a.json.gz"] {
        assert_eq!(
            ask(&folder.file(name, &array), &["events", "--format", "jsonl"]).ok(),
            lines,
            "{name}"
        );
    }
    let copy = folder.path("copy.json.zst");
    ask(&store, &["export", "--output", copy.to_str().unwrap()]).ok();
    assert_eq!(ask(&copy, &["events", "--format", "jsonl"]).ok(), lines);
    let from_stdin = |bytes: &str| {
        let file = folder.file("stdin", bytes);
        run(program()
            .stdin(std::fs::File::open(file).unwrap())
            .args(["--store", "-", "events", "--format", "jsonl"]))
        .ok()
    };
    assert_eq!(from_stdin(&array), lines);
    let one = ask(&store, &["event", "1", "--format", "json"]).ok();
    has(&folder, "one.json", one, 1);
}

#[test]
fn json_is_read_however_it_is_laid_out() {
    let folder = Folder::new();
    let (a, b) = (line("a", "T", ""), line("b", "T", ""));
    let spread = |line: &str| line.replace(',', ",\n  ");
    for text in [
        format!("[{a},{b}]"),
        format!("[\n{},\r\n{}\n]\n", spread(&a), spread(&b)),
        format!("{}\n{}", spread(&a), spread(&b)),
        format!("[{a}]\n[{b}]"),
        format!("\u{feff}\u{feff}[{a}\n,{b}]"),
    ] {
        has(&folder, "a.json", &text, 2);
        has(&folder, "a.json", utf16(&text, u16::to_be_bytes), 2);
    }
    for text in [
        format!("\u{1e}{a}\n\u{1e}{b}\n"),
        format!("\u{1e}{}\n\u{1e}{}\n", spread(&a), spread(&b)),
        format!("{a}\r{b}\r"),
        format!("{a}\n\u{feff}{b}\n"),
        format!("\n\n  [{a},{b}]"),
        format!("{}[{a},{b}]", " \r\n".repeat(5_000)),
    ] {
        has(&folder, "a.jsonl", &text, 2);
        has(
            &folder,
            "a.jsonl",
            utf16(&format!("\u{feff}{text}"), u16::to_le_bytes),
            2,
        );
    }
    has(&folder, "a.json", "[]", 0);
    has(&folder, "a.json", "", 0);
}

#[test]
fn arrays_are_refused_by_line_and_element() {
    let folder = Folder::new();
    let (a, b) = (line("a", "T", ""), line("b", "T", ""));
    refused(
        &folder,
        "a.json",
        format!("[\n{a},\n{{\"a\":1}}\n]"),
        &["line 3: element 2: column 4: unknown field `a`"],
    );
    refused(
        &folder,
        "a.json",
        format!("[{a},\n{b}\n"),
        &["line 3: the array that begins in line 1 is not closed"],
    );
    refused(
        &folder,
        "a.json",
        format!("[{a}\n{b}]"),
        &["line 2: ',' or ']' is expected"],
    );
    refused(
        &folder,
        "a.json",
        format!("[{a},\n]"),
        &["line 2: an element is expected"],
    );
    refused(
        &folder,
        "a.jsonl",
        "[1,2]",
        &["line 1: element 1", "an event: a JSON object"],
    );
    // A record that was cut off is one bad line.
    let path = folder.file("a.jsonl", format!("\u{1e}{}\u{1e}{b}\n", &a[..30]));
    let ran = ask(&path, &["stats", "--skip-bad", "--format", "csv"]);
    assert!(
        ran.stderr.contains("element 1: ") && ran.stderr.contains("1 bad line left out"),
        "{}",
        ran.stderr
    );
    assert!(ran.ok().contains("figures,total,1\n"));
    let path = folder.file("a.json", format!("[{a},{{\"a\":1}},17,{b}]"));
    let ran = ask(&path, &["stats", "--skip-bad", "--format", "csv"]);
    assert!(ran.stderr.contains("2 bad lines left out"), "{}", ran.stderr);
    assert!(ran.ok().contains("figures,total,2\n"));
    // The events before the fault of an array are in the store.
    let path = folder.file("a.json", format!("[{a},{b},"));
    let message = run(program()
        .arg("--store")
        .arg(folder.url("store"))
        .arg("import")
        .arg(&path))
    .failed(3);
    assert!(
        message.contains("2 events of ") && message.contains("are safe on disk"),
        "{message}"
    );
}

#[test]
fn a_file_of_another_kind_was_not_named() {
    let folder = Folder::new();
    for (bytes, kind) in [
        (&b"PAR1\x15\x04\x15\x10"[..], "a Parquet file"),
        (b"SQLite format 3\0\x10\0\x01", "an SQLite database"),
        (
            b"PK\x03\x04\x14\0\x06\0\x08\0",
            "a zip archive, as *.xlsx and *.ods are",
        ),
        (b"<?xml version=\"1.0\"?>\n<log/>", "XML, as an XES log is"),
        (b"{\0\0\0\"\0\0\0", "text in UTF-32"),
        (b"\x01\x02\0\0\x03\x04\x05", "a binary file"),
    ] {
        for name in ["a.jsonl", "a.csv", "a.json"] {
            refused(&folder, name, bytes, &["it seems to be", kind]);
            refused(&folder, &format!("{name}.gz"), gzip(bytes), &["it seems to be", kind]);
        }
    }
    refused(
        &folder,
        "a.jsonl.gz",
        gzip(&gzip(two().as_bytes())),
        &["gzip data, packed twice"],
    );
    refused(
        &folder,
        "a.jsonl",
        "aggregateId,eventType,timestamp\na,T,2026-01-31\n",
        &["line 1: ", "call the file *.csv"],
    );
    let spread = line("a", "T", "").replace('{', "{\n").replace(',', ",\n");
    refused(&folder, "a.jsonl", spread, &["line 1: ", "called *.json"]);
    let latin = line("a", "T", r#","eventData":"?""#).into_bytes();
    let latin: Vec<u8> = latin
        .into_iter()
        .map(|byte| if byte == b'?' { 0xe4 } else { byte })
        .collect();
    refused(
        &folder,
        "a.jsonl",
        latin,
        &["line 1: column ", "the byte 0xe4 is not UTF-8"],
    );
    let spreadsheet: &[(&[u8], &str)] = &[
        (
            b"aggregateId;eventType;timestamp;k\xf6ln\na;T;2026-01-31;x\n",
            "line 1: column 4: the byte 0xf6 is not UTF-8",
        ),
        (
            b"aggregateId;eventType;timestamp\na;T\xe9;2026-01-31\n",
            "line 2: column 2: the byte 0xe9 is not UTF-8",
        ),
        (
            b"aggregateId,eventType,timestamp\na,T,2026-01-31\nb,\x80,2026-01-31\n",
            "line 3: column 2: the byte 0x80",
        ),
    ];
    for (bytes, message) in spreadsheet {
        refused(&folder, "a.csv", bytes, &[message, "iconv"]);
    }
    let mut cut = utf16(&two(), u16::to_le_bytes);
    cut.pop();
    refused(
        &folder,
        "a.jsonl",
        cut,
        &["line ", "its UTF-16 text ends within a character"],
    );
}

#[cfg(unix)]
#[test]
fn a_pipe_lost_its_writer_before_it_was_read() {
    let folder = Folder::new();
    for (number, name) in ["p.jsonl", "p.csv", "pipe"].into_iter().enumerate() {
        let pipe = folder.path(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        let csv = "aggregateId,eventType,timestamp\na,T,2026-01-31\nb,T,2026-01-31\n".to_owned();
        let text = if name.ends_with("csv") { csv } else { two() };
        let path = pipe.clone();
        let writer = std::thread::spawn(move || std::fs::write(path, text));
        let store = folder.url(&format!("store-{number}"));
        let ran = run(program().arg("--store").arg(&store).arg("import").arg(&pipe));
        assert!(ran.stderr.contains("2 events are safe on disk"), "{}", ran.stderr);
        writer.join().unwrap().unwrap();
    }
}

#[test]
fn an_export_of_json_over_several_lines_was_another_event() {
    let folder = Folder::new();
    let csv = "aggregateId,eventType,timestamp,eventData,metadata\na,T,2026-01-31,\"{\n\"\"a\"\": 1}\",\"{\"\"x\"\":\r\n1}\"\n";
    let json = line("b", "T", ",\"eventData\":{\n\"a\":\r1},\"metadata\":{\"x\":[1,\n2]}");
    for (number, (name, text)) in [("a.csv", csv), ("a.json", &json)].into_iter().enumerate() {
        let store = folder.url(&format!("store-{number}"));
        let import = |log: &std::path::Path| run(program().arg("--store").arg(&store).arg("import").arg(log)).stderr;
        assert!(import(&folder.file(name, text)).contains("1 new"));
        for name in ["jsonl", "json", "csv"] {
            let copy = folder.path(&format!("copy-{number}.{name}"));
            ask(&store, &["export", "--output", copy.to_str().unwrap()]).ok();
            assert_eq!(
                import(&copy),
                "1 event is safe on disk: 0 new, 1 there already\n",
                "{name}"
            );
            let other = folder.url(&format!("other-{number}-{name}"));
            run(program().arg("--store").arg(&other).arg("import").arg(&copy)).ok();
        }
    }
    // Events from JSON are archived as lines.
    let archive = folder.path("old.jsonl");
    ask(
        &folder.url("store-1"),
        &["archive", "--before", "2030-01-01", "--to", archive.to_str().unwrap()],
    )
    .ok();
}
