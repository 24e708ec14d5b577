//! Any bytes as a CSV file: refused, or appended and written as lines of JSON that say the same.
#![no_main]

use annals::{Expected, Store};
use annals_cli::load::csv::{Columns, parse_text};
use annals_cli::load::jsonl::parse_line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(read) = parse_text(text, &Columns::default()) else {
        return;
    };
    let store = Store::in_memory();
    for (stream, mut event) in read {
        let Ok(appended) = store.append(&stream, Expected::Any, vec![event.clone()]) else {
            continue;
        };
        // What has the id of an event that was there is not stored.
        if appended.repeated {
            continue;
        }
        let kept = store.event_at(appended.first_position).expect("it was appended");
        event.id = Some(kept.id());
        event.timestamp = Some(kept.timestamp());
        assert_eq!((kept.stream_id(), kept.to_new()), (stream.clone(), event.clone()));
        let written = annals_cli::json_line(&kept).expect("an event that was read can be written");
        assert_eq!(
            parse_line(&written),
            Ok((stream, event)),
            "{}",
            String::from_utf8_lossy(&written)
        );
    }
});
