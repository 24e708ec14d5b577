//! Any bytes as a file of any kind, packed or not: read to its end, or refused; and as text in UTF-16, read as in UTF-8.
#![no_main]

use std::path::Path;

use annals_cli::load::csv::{Columns, parse_text};
use annals_cli::load::parse_file;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] = [
    "a.jsonl",
    "a.json",
    "a.csv",
    "-",
    "a.jsonl.gz",
    "a.csv.gz",
    "a.json.zst",
    "a.csv.zst",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, content)) = bytes.split_first() else {
        return;
    };
    let name = Path::new(NAMES[usize::from(*first) % NAMES.len()]);
    let columns = Columns::default();
    let read = parse_file(name, content.to_vec(), &columns);
    let Ok(lines) = &read else {
        return;
    };
    let mut numbers = lines.iter().map(|(line, _)| *line);
    assert!(
        numbers
            .clone()
            .zip(numbers.by_ref().skip(1))
            .all(|(one, next)| one <= next)
    );
    let Ok(text) = str::from_utf8(content) else {
        return;
    };
    if text.contains(['\0', '\u{fffe}']) || name.extension().is_some_and(|name| name == "gz" || name == "zst") {
        return;
    }
    let marked = text.encode_utf16().fold(vec![0xff, 0xfe], |mut bytes, unit| {
        bytes.extend(unit.to_le_bytes());
        bytes
    });
    let is_packed = content.starts_with(&[0x1f, 0x8b]) || content.get(1..4) == Some(&[0x2a, 0x4d, 0x18]);
    if !is_packed {
        assert_eq!(parse_file(name, marked, &columns), read);
    }
    let is_csv = name.extension().is_some_and(|name| name == "csv");
    if let (true, Ok(events)) = (is_csv && !is_packed, parse_text(content, &columns)) {
        let read: Vec<_> = lines
            .iter()
            .map(|(_, event)| event.clone().expect("it is read as a text"))
            .collect();
        assert_eq!(read, events);
    }
});
