//! Any bytes as a line of JSON: refused, or appended and written as a line that says the same, alone and in an array. Any bytes as a text
//! of JSON values: read to its end, or refused.
#![no_main]

use annals::{Expected, Store};
use annals_cli::load::jsonl::{parse_line, parse_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let text = parse_text(line);
    let Ok((stream, mut event)) = parse_line(line) else {
        return;
    };
    assert_eq!(text, Ok(vec![(stream.clone(), event.clone())]));
    let array = [b"[", line, b",\n", line, b"]"].concat();
    assert_eq!(parse_text(&array), Ok(vec![(stream.clone(), event.clone()); 2]));
    let store = Store::in_memory();
    if store.append(&stream, Expected::NoStream, vec![event.clone()]).is_err() {
        return;
    }
    let kept = &store.read_stream(&stream.aggregate_id).events()[0];
    event.id = Some(kept.id());
    assert_eq!((kept.stream_id(), kept.to_new()), (stream.clone(), event.clone()));
    let written = annals_cli::json_line(kept).expect("an event that was read can be written");
    assert_eq!(
        parse_line(&written),
        Ok((stream, event)),
        "{}",
        String::from_utf8_lossy(&written)
    );
});
