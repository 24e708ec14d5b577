//! Reads the records of a CSV file one by one.

use std::io::BufRead;

use annals::{NewEvent, StreamId};
use csv::ByteRecord;

use crate::load::csv::columns::Columns;
use crate::load::csv::dialect::Dialect;
use crate::load::csv::mapping::{Mapping, text_of};
use crate::load::encoding;
use crate::load::{BadLine, Entry};

/// Parses a CSV text that is in memory.
///
/// # Errors
///
/// A [`BadLine`] for the first invalid line.
pub fn parse_text(text: &[u8], columns: &Columns) -> Result<Vec<(StreamId, NewEvent<'static>)>, BadLine> {
    let mut file = open(encoding::without_marks(text), columns).map_err(|(_, reason)| BadLine(reason))?;
    let (mut record, mut events) = (ByteRecord::new(), Vec::new());
    while let Some((line, entry)) = file
        .next(&mut record)
        .map_err(|(line, reason)| in_line(line, &reason))?
    {
        let entry = entry.map_err(|reason| in_line(line, &reason.0))?;
        events.push((entry.stream, entry.event));
    }
    Ok(events)
}

fn in_line(line: u64, reason: &str) -> BadLine {
    BadLine(format!("line {line}: {reason}"))
}

/// A CSV file whose header has been read.
pub(crate) struct Records<R> {
    file: Dialect<R>,
    mapping: Mapping,
}

/// The reason why reading cannot continue, with its line.
type Broken = (u64, String);
/// The number of a line, and its event.
type Numbered = (u64, Result<Entry, BadLine>);

/// Reads the header.
pub(crate) fn open<R: BufRead>(bytes: R, columns: &Columns) -> Result<Records<R>, Broken> {
    let mut file = Dialect::open(bytes, columns).map_err(|error| (1, error.to_string()))?;
    let first = file.lines_before + 1;
    let header = file.reader.byte_headers().cloned();
    if let Some(line) = file.reader.get_ref().unclosed() {
        return Err((line, never_closed(line)));
    }
    let end = file.reader.position().byte();
    let begun = file.reader.get_mut().record(end);
    if let Some(line) = begun.and_then(|record| record.stray) {
        return Err((line, stray(line)));
    }
    let header = header.map_err(|error| (first, error.to_string()))?;
    let line = begun.map_or(first, |record| record.line);
    if header.is_empty() {
        return Err((line, "the file holds nothing: it has no header".to_owned()));
    }
    let header = text_of(header).map_err(|reason| (line, reason.0))?;
    let mapping = Mapping::new(&header, columns).map_err(|reason| (line, reason.0))?;
    Ok(Records { file, mapping })
}

impl<R: BufRead> Records<R> {
    /// Reads the next record into `record`; returns its line and its event. `None` at the end.
    pub(crate) fn next(&mut self, record: &mut ByteRecord) -> Result<Option<Numbered>, Broken> {
        let before = self.file.lines_before;
        let reader = &mut self.file.reader;
        reader.get_mut().begin_record();
        let line = reader.position().line() + before;
        let read = reader.read_byte_record(record);
        let end = reader.position().byte();
        let begun = reader.get_mut().record(end);
        // The earlier of both: an open quote may be the consequence of a quote that is not doubled.
        let strays = begun
            .and_then(|record| record.stray)
            .map(|opened| (opened, stray(opened)));
        let unclosed = reader.get_ref().unclosed().map(|opened| (opened, never_closed(opened)));
        let entry = match (read, strays.or(unclosed)) {
            (Ok(false), _) => return Ok(None),
            (Err(error), _) if error.is_io_error() => return Err((line, error.to_string())),
            (_, Some((opened, reason))) => return Ok(Some((opened, Err(BadLine(reason))))),
            (Ok(true), None) => self.mapping.entry(record),
            (Err(error), None) => Err(BadLine(error.to_string())),
        };
        Ok(Some((begun.map_or(line, |record| record.line), entry)))
    }
}

fn never_closed(opened: u64) -> String {
    format!("the quote that opens in line {opened} is never closed, so the rest of the file is one cell: close it")
}

fn stray(opened: u64) -> String {
    format!(
        "text follows the quoted cell that opens in line {opened}: its quote is not closed, or one in it is not written twice"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const XES: &str = "case:concept:name,concept:name,org:group,org:resource,time:timestamp,lifecycle:transition\n";

    fn read(text: &str) -> Result<Vec<(StreamId, NewEvent<'static>)>, BadLine> {
        parse_text(text.as_bytes(), &Columns::default())
    }

    #[test]
    fn process_logs_need_no_flags() {
        let events = read(&format!(
            "{XES}c1,Receive,Group 1,Anna,2011-10-11 13:45:40.276000+02:00,complete\n"
        ))
        .unwrap();
        let (stream, event) = &events[0];
        assert_eq!(*stream, StreamId::new("Case", "c1"));
        assert_eq!(event.event_type, "Receive");
        assert_eq!(event.user_id, Some("Anna".into()));
        assert_eq!(event.organization_id, Some("Group 1".into()));
        assert_eq!(event.timestamp.unwrap().to_string(), "2011-10-11T11:45:40.276Z");
        assert_eq!(&*event.data, br#"{"lifecycle:transition":"complete"}"#);
    }

    #[test]
    fn columns_can_be_chosen() {
        let columns = Columns {
            aggregate: Some("order".to_owned()),
            event_type: Some("what".to_owned()),
            time: Some("when".to_owned()),
            aggregate_type_default: Some("Order".to_owned()),
            ..Columns::default()
        };
        let text = b"what,when,order,note\nPlaced,2026-01-31,o-1,\"a \"\"b\"\"\nc\"\n";
        let events = parse_text(text, &columns).unwrap();
        assert_eq!(events[0].0, StreamId::new("Order", "o-1"));
        assert_eq!(&*events[0].1.data, br#"{"note":"a \"b\"\nc"}"#);
    }

    #[test]
    fn the_programs_own_columns_are_read_back() {
        let text = "position,eventId,aggregateId,aggregateType,version,eventType,eventVersion,timestamp,recordedAt,\
            correlationId,causationId,userId,organizationId,tags,metadata,eventData\n\
            1,0197f5d2-7e5b-7000-8000-000000000001,a,A,1,T,2,2026-01-31T12:00:00Z,2026-01-31T12:00:00Z,\
            c,,,,\"[\"\"x y\"\"]\",\"{\"\"ip\"\":1}\",\"{ \"\"a\"\": 1 }\"\n";
        let (_, event) = read(text).unwrap().remove(0);
        assert_eq!(event.schema_version, 2);
        assert_eq!(event.tags, ["x y"]);
        assert_eq!(&*event.metadata, br#"{"ip":1}"#);
        assert_eq!(&*event.data, br#"{ "a": 1 }"#);
        assert_eq!(event.causation_id, None);
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let row = |cells: &str| format!("{XES}{cells}\n");
        let cases = [
            (row("c1,Receive,g,u,yesterday,x"), "the time: 'yesterday'"),
            (row(",Receive,g,u,2026-01-31,x"), "the aggregate is empty"),
            (row("c1,,g,u,2026-01-31,x"), "the event type is empty"),
            (row("c1,Receive"), "2 columns, but the header has 6"),
            ("a,b\n".to_owned(), "--csv-aggregate"),
            ("a,a\n".to_owned(), "two columns are called 'a'"),
            (
                "aggregateId,eventType,time,eventData,x\n".to_owned(),
                "the column 'x' has no place",
            ),
            (
                "aggregateId,eventType,time,eventData\na,T,2026-01-31,{\n".to_owned(),
                "eventData: EOF",
            ),
        ];
        for (text, expected) in cases {
            let message = read(&text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_text_that_ended_within_a_quote_was_read() {
        let header = "aggregateId,eventType,timestamp,note\n";
        for (rows, expected) in [
            (
                "a,T,2026-01-31,\"open\nb,T,2026-01-31,x\n",
                "line 2: the quote that opens in line 2 is never closed",
            ),
            (
                "a,T,2026-01-31,x\r\nb,T,2026-01-31,\"",
                "line 3: the quote that opens in line 3 is never closed",
            ),
            (
                "a,T,2026-01-31,\"x\ny\"z\n",
                "line 2: text follows the quoted cell that opens in line 2",
            ),
        ] {
            let message = read(&format!("{header}{rows}")).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        let message = read("\"aggregateId,eventType").unwrap_err().to_string();
        assert!(message.starts_with("the quote that opens in line 1"), "{message}");
        assert_eq!(
            read(&format!("\u{feff}\u{feff}{header}a,T,2026-01-31,\"\"\n"))
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn a_column_that_was_asked_for_must_be_there() {
        let columns = Columns {
            user: Some("who".to_owned()),
            ..Columns::default()
        };
        let message = parse_text(XES.as_bytes(), &columns).unwrap_err().to_string();
        assert_eq!(message, "there is no column 'who'");
    }
}
