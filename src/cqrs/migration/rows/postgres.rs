//! The rows of a query of PostgreSQL, through a cursor.

use serde_json::Value;

use super::{ROW_BYTES_MAX, RowError, json};
use crate::journal::postgres::Link;

/// The number of rows of one round trip.
const FETCHED: usize = 256;

/// An open cursor, and the rows that were fetched.
struct Cursor {
    link: Link,
    fetched: std::vec::IntoIter<tokio_postgres::Row>,
    is_over: bool,
}

fn failed(error: &dyn std::fmt::Display) -> RowError {
    RowError::Source {
        message: error.to_string(),
    }
}

pub(super) fn rows(url: &str, query: &str) -> Result<impl Iterator<Item = Result<Value, RowError>> + use<>, RowError> {
    let database = crate::url::database_at(url).map_err(|error| failed(&error))?;
    let mut link = database.connect().map_err(|error| failed(&error))?;
    let query = query.trim().trim_end_matches(';');
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    // The query stands on its own lines, since it may end with a comment. `.*` is there since a column may have the name of the row.
    let rows = format!("SELECT row_to_json(annals_row.*)::text AS json FROM (\n{query}\n) annals_row");
    let cursor = format!(
        "DECLARE annals_rows NO SCROLL CURSOR FOR \
         SELECT CASE WHEN octet_length(json) <= {ROW_BYTES_MAX} THEN json END FROM ({rows} OFFSET 0) annals_json"
    );
    link.batch(begin).map_err(|error| failed(&error.text))?;
    link.execute(None, &cursor, &[]).map_err(|error| failed(&error.text))?;
    Ok(Cursor {
        link,
        fetched: Vec::new().into_iter(),
        is_over: false,
    })
}

impl Iterator for Cursor {
    type Item = Result<Value, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.fetched.len() == 0 && !self.is_over {
            match self.link.query(None, &format!("FETCH {FETCHED} FROM annals_rows"), &[]) {
                Ok(rows) => {
                    self.is_over = rows.len() < FETCHED;
                    self.fetched = rows.into_iter();
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(failed(&error.text)));
                }
            }
        }
        self.fetched.next().map(|row| {
            let text: Option<&str> = row.try_get(0).map_err(|error| failed(&error))?;
            let too_long = || RowError::Row {
                message: format!("it is longer than {ROW_BYTES_MAX} bytes"),
            };
            json::object(text.ok_or_else(too_long)?.as_bytes())
        })
    }
}
