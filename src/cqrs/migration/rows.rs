//! Sources of rows: JSON lines, CSV, and a query of PostgreSQL. Any other iterator of JSON objects is a source too.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Map, Value};

/// The longest row, in bytes.
const ROW_BYTES_MAX: usize = 16 << 20;

/// Why a source did not return a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// This row is invalid. It is reported as refused, and the migration continues with the next one.
    #[error("{0}")]
    Row(String),
    /// The source failed. The migration ends.
    #[error("{0}")]
    Source(String),
}

fn unreadable(error: &std::io::Error) -> RowError {
    RowError::Source(error.to_string())
}

/// Reads a JSON object from each line, of at most 16 MiB. Empty lines are skipped, and a longer line is a failure of the source.
pub fn json_lines(source: impl Read) -> impl Iterator<Item = Result<Value, RowError>> {
    let mut source = BufReader::new(source);
    let mut is_over = false;
    std::iter::from_fn(move || {
        while !is_over {
            match line(&mut source) {
                Ok(None) => is_over = true,
                Ok(Some(line)) if line.trim_ascii().is_empty() => {}
                Ok(Some(line)) => return Some(object(&line)),
                Err(error) => {
                    is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    })
}

fn line(source: &mut impl BufRead) -> Result<Option<Vec<u8>>, RowError> {
    let mut line = Vec::new();
    let mut limited = source.take(ROW_BYTES_MAX as u64 + 1);
    limited
        .read_until(b'\n', &mut line)
        .map_err(|error| unreadable(&error))?;
    if line.len() > ROW_BYTES_MAX {
        return Err(RowError::Source(format!(
            "a line is longer than {ROW_BYTES_MAX} bytes, which is the maximum of a row"
        )));
    }
    Ok((!line.is_empty()).then_some(line))
}

fn object(json: &[u8]) -> Result<Value, RowError> {
    let value: Value =
        serde_json::from_slice(json).map_err(|error| RowError::Row(format!("it is not JSON: {error}")))?;
    if value.is_object() {
        return Ok(value);
    }
    Err(RowError::Row("it is not a JSON object".to_owned()))
}

/// Reads CSV with a header (RFC 4180): an object of strings for each record. A record has as many fields as the header, and at most 16 MiB.
pub fn csv(source: impl Read) -> impl Iterator<Item = Result<Value, RowError>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(source);
    let header = reader
        .headers()
        .cloned()
        .map_err(|error| RowError::Source(error.to_string()));
    let (header, failed) = match header {
        Ok(header) => (header, None),
        Err(error) => (csv::StringRecord::new(), Some(Err(error))),
    };
    let is_broken = failed.is_some();
    let records = reader.into_byte_records().take_while(move |_| !is_broken);
    failed
        .into_iter()
        .chain(records.map(move |record| row(&header, record)))
}

fn row(header: &csv::StringRecord, record: csv::Result<csv::ByteRecord>) -> Result<Value, RowError> {
    let record = record.map_err(|error| RowError::Source(error.to_string()))?;
    if record.as_slice().len() > ROW_BYTES_MAX {
        return Err(RowError::Row(format!("it is longer than {ROW_BYTES_MAX} bytes")));
    }
    if record.len() != header.len() {
        let (fields, columns) = (record.len(), header.len());
        return Err(RowError::Row(format!(
            "it has {fields} fields, and the header {columns}"
        )));
    }
    let record = csv::StringRecord::from_byte_record(record)
        .map_err(|error| RowError::Row(format!("it is not UTF-8: {error}")))?;
    let fields = header.iter().zip(&record);
    let fields: Map<_, _> = fields.map(|(name, value)| (name.to_owned(), value.into())).collect();
    Ok(Value::Object(fields))
}

/// Reads the result of a query: an object for each row, with its columns, as PostgreSQL's `row_to_json` writes them.
///
/// The rows are fetched in batches of 256, in one read-only transaction with the isolation level `REPEATABLE READ`, so later changes of the table are not
/// seen. The transaction stays open until the iterator is dropped. `url` has the form of a [store's URL](crate::StoreUrl), and its schema is the
/// `search_path`. `query` is one statement without parameters.
///
/// # Errors
///
/// [`RowError::Source`] when the URL is not a `postgres:` URL, the server cannot be reached, or it rejects the query.
#[cfg(feature = "postgres")]
pub fn postgres(url: &str, query: &str) -> Result<impl Iterator<Item = Result<Value, RowError>> + use<>, RowError> {
    super::postgres::rows(url, query)
}
