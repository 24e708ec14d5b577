//! Sources with flaws: nothing in them is lost without a word.

use std::io::Read;

use annals::Store;
use annals::cqrs::migration::rows::{RowError, csv, json_lines};
use serde_json::{Value, json};

use super::migration;

type Rows = Vec<Result<Value, RowError>>;

fn lines(text: impl AsRef<[u8]>) -> Rows {
    json_lines(text.as_ref()).collect()
}

fn records(text: impl AsRef<[u8]>) -> Rows {
    csv(text.as_ref()).collect()
}

fn reason(row: &Result<Value, RowError>) -> &str {
    match row {
        Err(RowError::Row { message: reason } | RowError::Source { message: reason }) => reason,
        other => panic!("an error was expected: {other:?}"),
    }
}

#[test]
fn a_byte_order_mark_cost_the_first_row() {
    for text in [
        "\u{feff}{\"id\": 1}\n{\"id\": 2}",
        "\u{feff}\r\n{\"id\": 1}\r\n{\"id\": 2}\r\n",
        "\u{feff}{\"id\":1}\r\n\n{\"id\":2}",
    ] {
        assert_eq!(lines(text), [Ok(json!({"id": 1})), Ok(json!({"id": 2}))], "{text:?}");
    }
    let later = lines("{\"id\": 1}\n\u{feff}{\"id\": 2}");
    assert!(
        matches!(later[1], Err(RowError::Row { .. })),
        "a mark within the source is no JSON"
    );
    for header in ["\u{feff}id", "\u{feff}\"id\"", "id"] {
        assert_eq!(
            records(format!("{header}\n1\n")),
            [Ok(json!({"id": "1"}))],
            "{header:?}"
        );
    }
}

#[test]
fn one_row_that_is_too_long_ended_the_migration() {
    let long = format!("{{\"id\": 1, \"note\": \"{}\"}}", "x".repeat(17 << 20));
    for (text, migrated) in [
        (format!("{{\"id\": 7}}\n{long}\n{{\"id\": 8}}\n"), 2),
        (format!("{long}\n{{\"id\": 8}}"), 1),
        (format!("{{\"id\": 7}}\n{long}"), 1),
    ] {
        let store = Store::in_memory();
        let report = migration(&store).run(json_lines(text.as_bytes())).expect("it ends");
        assert_eq!((report.migrated, report.refused_count), (migrated, 1));
        assert_eq!(
            report.refused[0].reason,
            "a line is longer than 16777216 bytes, which is the maximum of a row"
        );
    }
    let rows = records(format!("id,note\n1,{}\n2,b\n", "x".repeat(17 << 20)));
    assert!(
        matches!(&rows[..], [Err(RowError::Row { .. }), Ok(_)]),
        "{}",
        rows.len()
    );
}

#[test]
fn a_record_without_an_end_took_all_the_memory() {
    let endless = |text: &'static [u8]| text.chain(std::io::repeat(b'x').take(u64::MAX));
    for text in [&b"id,note\n1,\"a"[..], b"id,note\n1,a", b"", b"\"id"] {
        let rows: Rows = csv(endless(text)).collect();
        let [Err(RowError::Source { message: reason })] = &rows[..] else {
            panic!("{} rows", rows.len());
        };
        assert!(reason.contains("longer than 33554432 bytes"), "{reason}");
    }
}

#[test]
fn a_quote_that_was_not_closed_swallowed_rows() {
    for (text, good) in [
        ("id,name\n1,\"Anna\n2,Bert\n3,Carl\n", 0),
        ("id,name\n1,Anna\n2,\"Bert\n3,Carl", 1),
        ("id,name\n1,Anna\r\n2,\"B\"\"\r\n3,Carl\r\n", 1),
        ("id,name\n1,Anna\n2,\"", 1),
        ("id,\"name\n1,Anna\n", 0),
    ] {
        let rows = records(text);
        assert_eq!(rows.len(), good + 1, "{text:?}: {rows:?}");
        assert!(matches!(rows[good], Err(RowError::Source { .. })), "{text:?}: {rows:?}");
        assert!(reason(&rows[good]).contains("is not closed"), "{rows:?}");
    }
    assert!(reason(&records("id,name\n1,Anna\n2,\"Bert\n")[1]).contains("begins in line 3"));
}

#[test]
fn a_quote_in_the_wrong_place_joined_two_rows() {
    let rows = records("id,name\n1,\"Anna\n2,\"Bert\"\n3,Carl\n");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(reason(&rows[0]).contains("text follows a closing quote"), "{rows:?}");
    assert_eq!(rows[1], Ok(json!({"id": "3", "name": "Carl"})));
    let rows = records("id,name\n1,\"An\"na\n2,\"B\"b\"\n3,\"C\"\"\"\n");
    assert!(
        rows[..2].iter().all(|row| reason(row).contains("closing quote")),
        "{rows:?}"
    );
    assert_eq!(rows[2..], [Ok(json!({"id": "3", "name": "C\""}))]);
    // A quote within a field that does not begin with one is text.
    assert_eq!(
        records("id,size\n1,5\" disk\n"),
        [Ok(json!({"id": "1", "size": "5\" disk"}))]
    );
    let header = records("\"id\"x,name\n1,Anna\n");
    assert!(matches!(&header[..], [Err(RowError::Source { .. })]), "{header:?}");
}

#[test]
fn two_columns_of_one_name_lost_the_first() {
    for text in ["id,name,id\n1,Anna,2\n", "id,id\n", ",\n1,2\n"] {
        let rows = records(text);
        assert!(
            matches!(&rows[..], [Err(RowError::Source { message: reason })] if reason.contains("twice")),
            "{rows:?}"
        );
    }
    assert_eq!(records("id,ID\n1,2\n"), [Ok(json!({"id": "1", "ID": "2"}))]);
    for text in [
        r#"{"id": 1, "id": 2}"#,
        r#"{"id": 1, "a": [{"b": 1, "b": 1}]}"#,
        r#"{"a": 1, "\u0061": 2}"#,
    ] {
        assert!(reason(&lines(text)[0]).contains("is there twice"), "{text}");
    }
    assert_eq!(lines(r#"{"id": {"id": 1}}"#), [Ok(json!({"id": {"id": 1}}))]);
}

#[test]
fn a_number_with_many_digits_was_rounded() {
    for number in [
        "18446744073709551617",
        "12345678901234567.89",
        "1e-400",
        "-9223372036854775809",
    ] {
        let rows = lines(format!(r#"{{"id": 1, "a": [{{"cents": {number}}}]}}"#));
        assert!(
            reason(&rows[0]).contains(&format!("the number {number} has more digits")),
            "{rows:?}"
        );
    }
    for number in ["18446744073709551615", "1.50", "0.1", "1e300", "-0.0"] {
        let value: Value = serde_json::from_str(number).expect("a number");
        assert_eq!(lines(format!(r#"{{"a": {number}}}"#)), [Ok(json!({"a": value}))]);
    }
    let text = r#"{"id": "18446744073709551617 \" 12345678901234567.89"}"#;
    assert!(lines(text)[0].is_ok());
}

#[test]
fn a_source_that_fails_within_quotes_tells_its_own_error() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    for text in ["id\n\"1", "id\n1\n", "\"id", ""] {
        let rows: Rows = csv(text.as_bytes().chain(Failing)).collect();
        let last = rows.last().expect("an error");
        assert!(reason(last).contains("the disk is gone"), "{text:?}: {rows:?}");
        assert!(matches!(last, Err(RowError::Source { .. })), "{rows:?}");
    }
}

#[test]
fn many_large_rows_were_held_at_once() {
    let store = Store::in_memory();
    let note = "x".repeat(1 << 19);
    let lines: Vec<_> = (0..80)
        .map(|id| format!("{{\"id\": {id}, \"note\": \"{note}\"}}"))
        .collect();
    let text = lines.join("\n");
    let batches = std::cell::RefCell::new(Vec::new());
    let migration = migration(&store).on_progress(|report| batches.borrow_mut().push(report.migrated));
    migration.run(json_lines(text.as_bytes())).expect("it ends");
    assert_eq!(*batches.borrow(), [32, 64, 80]);
}
