//! Any bytes as a line of JSON: refused, or appended and written as a line that says the same.
#![no_main]

use annals::{Expected, Store};
use annals_cli::load::jsonl::parse_line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let Ok((stream, mut event)) = parse_line(line) else {
        return;
    };
    let store = Store::in_memory();
    if store.append(&stream, Expected::NoStream, vec![event.clone()]).is_err() {
        return;
    }
    let kept = &store.stream(&stream.aggregate_id).events()[0];
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
