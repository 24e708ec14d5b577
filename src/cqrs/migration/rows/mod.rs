//! Sources of rows: JSON lines, CSV, and a query of PostgreSQL. Any other iterator of JSON objects is a source too.

mod csv;
pub(super) mod json;
#[cfg(feature = "postgres")]
mod postgres;
mod quotes;

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

/// The longest row, in bytes.
pub(super) const ROW_BYTES_MAX: usize = 16 << 20;
/// The bytes of a longer line that are skipped, to read on after it.
const SKIPPED_MAX: usize = 240 << 20;

/// Why a source did not return a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// This row is invalid. It is reported as refused, and the migration continues with the next one.
    #[error("{message}")]
    Row {
        /// What is wrong, and where.
        message: String,
    },
    /// The source failed. The migration ends.
    #[error("{message}")]
    Source {
        /// What is wrong, and where.
        message: String,
    },
}

fn unreadable(error: &std::io::Error) -> RowError {
    RowError::Source {
        message: error.to_string(),
    }
}

/// Reads a JSON object from each line. Empty lines are skipped, and so is a byte order mark at the begin. A line has at most 16 MiB: a longer one is
/// refused, and one of more than 256 MiB ends the reading.
///
/// An object with a field twice is refused, and so is one with a number that would lose digits: numbers are 64-bit integers and floats.
pub fn json_lines(source: impl Read) -> impl Iterator<Item = Result<Value, RowError>> {
    let mut source = BufReader::new(source);
    let (mut is_over, mut is_first) = (false, true);
    std::iter::from_fn(move || {
        while !is_over {
            let read = line(&mut source);
            let may_have_mark = std::mem::take(&mut is_first);
            match read {
                Ok(None) => is_over = true,
                Ok(Some(line)) => {
                    let mark = "\u{feff}".as_bytes();
                    let text = line.strip_prefix(mark).filter(|_| may_have_mark).unwrap_or(&line);
                    if !text.trim_ascii().is_empty() {
                        return Some(json::object(text));
                    }
                }
                Err(error) => {
                    is_over = matches!(error, RowError::Source { .. });
                    return Some(Err(error));
                }
            }
        }
        None
    })
}

fn line(source: &mut impl BufRead) -> Result<Option<Vec<u8>>, RowError> {
    let mut line = Vec::new();
    let mut limited = source.by_ref().take(ROW_BYTES_MAX as u64 + 1);
    limited
        .read_until(b'\n', &mut line)
        .map_err(|error| unreadable(&error))?;
    if line.len() > ROW_BYTES_MAX && line.last() != Some(&b'\n') {
        drop(line);
        return Err(skip_line(source));
    }
    Ok((!line.is_empty()).then_some(line))
}

/// Skips the rest of a line that is too long.
fn skip_line(source: &mut impl BufRead) -> RowError {
    let reason = format!("a line is longer than {ROW_BYTES_MAX} bytes, which is the maximum of a row");
    let mut left = SKIPPED_MAX;
    loop {
        let bytes = match source.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) => return unreadable(&error),
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        source.consume(taken);
        if end.is_some() || taken == 0 {
            return RowError::Row { message: reason };
        }
        left = left.saturating_sub(taken);
        if left == 0 {
            return RowError::Source { message: reason };
        }
    }
}

/// Reads CSV with a header (RFC 4180): an object of strings for each record. A byte order mark at the begin is skipped.
///
/// A record has as many fields as the header, and at most 16 MiB: another one is refused, and one of more than 32 MiB ends the reading. A header that
/// names a column twice ends the reading, and so does a quote that is not closed at the end of the source: it has swallowed rows. A record in which
/// text follows a closing quote is refused.
pub fn csv(source: impl Read) -> impl Iterator<Item = Result<Value, RowError>> {
    csv::rows(source)
}

/// Reads the result of a query: an object for each row, with its columns, as PostgreSQL's `row_to_json` writes them.
///
/// The rows are fetched in batches of 256, in one read-only transaction with the isolation level `REPEATABLE READ`, so later changes of the table are not
/// seen. The transaction stays open until the iterator is dropped. `url` has the form of a [store's URL](crate::StoreUrl), and its schema is the
/// `search_path`. `query` is one statement without parameters.
///
/// A row with a column name twice is refused, and so are a row of more than 16 MiB, and one with a number that would lose digits: numbers are 64-bit
/// integers and floats, so cast a longer `numeric` to `text` in the query.
///
/// # Errors
///
/// [`RowError::Source`] when the URL is not a `postgres:` URL, the server cannot be reached, or it rejects the query.
#[cfg(feature = "postgres")]
pub fn postgres(url: &str, query: &str) -> Result<impl Iterator<Item = Result<Value, RowError>> + use<>, RowError> {
    postgres::rows(url, query)
}
