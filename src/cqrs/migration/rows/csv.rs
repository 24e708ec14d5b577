//! CSV with a header.

use std::cell::RefCell;
use std::io::Read;
use std::rc::Rc;

use csv::{ByteRecord, StringRecord};
use serde_json::{Map, Value};

use super::quotes::{Seen, Watched};
use super::{ROW_BYTES_MAX, RowError};

/// A record may have this number of bytes before reading fails.
const RECORD_BYTES_MAX: u64 = 2 * ROW_BYTES_MAX as u64;

struct Records<R> {
    reader: csv::Reader<Watched<R>>,
    seen: Rc<RefCell<Seen>>,
    header: Option<StringRecord>,
    /// The record that was read before it is known whether another one follows.
    held: Option<Result<ByteRecord, RowError>>,
    is_over: bool,
}

fn failed(error: &csv::Error) -> RowError {
    RowError::Source {
        message: error.to_string(),
    }
}

pub(super) fn rows(source: impl Read) -> impl Iterator<Item = Result<Value, RowError>> {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let watched = Watched {
        source,
        seen: Rc::clone(&seen),
    };
    Records {
        reader: csv::ReaderBuilder::new()
            .flexible(true)
            .has_headers(false)
            .from_reader(watched),
        seen,
        header: None,
        held: None,
        is_over: false,
    }
}

impl<R: Read> Records<R> {
    /// The next record; an error of the source is the last item.
    fn record(&mut self) -> Option<Result<ByteRecord, RowError>> {
        if self.is_over {
            return None;
        }
        let start = self.reader.position().byte();
        self.seen.borrow_mut().end = start.saturating_add(RECORD_BYTES_MAX);
        let mut record = ByteRecord::new();
        let read = self.reader.read_byte_record(&mut record);
        let mut seen = self.seen.borrow_mut();
        match read {
            Ok(true) if seen.is_misplaced_before(self.reader.position().byte()) => {
                let reason = "text follows a closing quote: a quote within quotes is written twice";
                Some(Err(RowError::Row {
                    message: reason.to_owned(),
                }))
            }
            Ok(true) => Some(Ok(record)),
            Ok(false) => {
                self.is_over = true;
                None
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(failed(&error)))
            }
        }
    }

    /// The next record, once it is known that its quotes are closed.
    fn closed_record(&mut self) -> Option<Result<ByteRecord, RowError>> {
        let this = match self.held.take() {
            Some(held) => held,
            None => self.record()?,
        };
        self.held = self.record();
        let is_read = !matches!(this, Err(RowError::Source { .. }));
        if is_read && self.held.is_none() && self.seen.borrow().is_unclosed() {
            let line = this.ok().and_then(|record| Some(record.position()?.line()));
            let line = line.map_or_else(String::new, |line| format!(" that begins in line {line}"));
            let reason = format!("a quote of the last record{line} is not closed: it may have swallowed rows");
            return Some(Err(RowError::Source { message: reason }));
        }
        Some(this)
    }

    fn read_header(&mut self) -> Option<Result<StringRecord, RowError>> {
        let header = self.closed_record()?;
        Some(header.map_err(into_source).and_then(|header| {
            let header = StringRecord::from_byte_record(header).map_err(|error| RowError::Source {
                message: format!("the header is not UTF-8: {error}"),
            })?;
            check_names(&header)?;
            Ok(header)
        }))
    }
}

fn into_source(error: RowError) -> RowError {
    match error {
        RowError::Row { message: reason } => RowError::Source {
            message: format!("the header cannot be read: {reason}"),
        },
        RowError::Source { message: reason } => RowError::Source { message: reason },
    }
}

fn check_names(header: &StringRecord) -> Result<(), RowError> {
    let mut names: Vec<&str> = header.iter().collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(RowError::Source {
            message: format!(
                "the header has the column '{}' twice: name its columns differently",
                pair[0]
            ),
        }),
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<Value, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.header.is_none() {
            match self.read_header()? {
                Ok(header) => self.header = Some(header),
                Err(error) => {
                    (self.is_over, self.held) = (true, None);
                    return Some(Err(error));
                }
            }
        }
        let record = self.closed_record()?;
        let header = self.header.as_ref()?;
        Some(record.and_then(|record| row(header, record)))
    }
}

fn row(header: &StringRecord, record: ByteRecord) -> Result<Value, RowError> {
    if record.as_slice().len() > ROW_BYTES_MAX {
        return Err(RowError::Row {
            message: format!("it is longer than {ROW_BYTES_MAX} bytes"),
        });
    }
    if record.len() != header.len() {
        let (fields, columns) = (record.len(), header.len());
        return Err(RowError::Row {
            message: format!("it has {fields} fields, and the header {columns}"),
        });
    }
    let record = StringRecord::from_byte_record(record).map_err(|error| RowError::Row {
        message: format!("it is not UTF-8: {error}"),
    })?;
    let fields = header.iter().zip(&record);
    let fields: Map<_, _> = fields.map(|(name, value)| (name.to_owned(), value.into())).collect();
    Ok(Value::Object(fields))
}
