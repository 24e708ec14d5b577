//! Searches the tables of a database, row by row.

use super::scan::{Findings, Scan, ScanError};
use crate::journal::postgres::{Database, Failure, Link};

/// The names of the tables, quoted, with their schemas: of one schema, or of all that are not the server's.
const TABLES: &str = "\
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm') AND c.relispopulated \
    AND CASE WHEN $1::text IS NULL THEN n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ELSE n.nspname = $1 END \
    ORDER BY 1";

impl Scan {
    pub(super) fn search_database(&self, database: &Database, findings: &mut Findings) -> Result<(), ScanError> {
        let failed = |error: String| ScanError::Database {
            database: database.place().to_owned(),
            error,
        };
        let mut link = database.connect().map_err(|error| failed(error.to_string()))?;
        let tables = begin(&mut link, database.schema()).map_err(|failure| failed(failure.text))?;
        for table in tables {
            let searched = self.search_table(&mut link, &table, findings);
            searched.map_err(|failure| failed(format!("table {table}: {}", explained(&failure))))?;
        }
        Ok(())
    }

    /// The binary format has the bytes of every column as they are; in the text format, bytes are hexadecimal digits.
    fn search_table(&self, link: &mut Link, table: &str, findings: &mut Findings) -> Result<(), Failure> {
        findings.tables += 1;
        let mut number = 0_u64;
        let copy = format!("COPY (SELECT * FROM {table}) TO STDOUT (FORMAT binary)");
        link.copy_out(&copy, &mut |row| {
            number += 1;
            self.search(&format!("table {table}, row {number}"), row, findings);
        })?;
        // The last one ends the format.
        findings.rows += number.saturating_sub(1);
        Ok(())
    }
}

fn begin(link: &mut Link, schema: Option<&str>) -> Result<Vec<String>, Failure> {
    // A policy that hides rows from this role is an error: rows that are not searched are not clean.
    link.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL row_security = off")?;
    let rows = link.query(None, TABLES, &[&schema])?;
    Ok(rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
}

/// Rows that a policy hides from this role would be called clean.
fn explained(failure: &Failure) -> String {
    if failure.text.contains("row-level security") {
        return format!(
            "{}; scan as a role that no policy concerns: one with BYPASSRLS, or a superuser",
            failure.text
        );
    }
    failure.text.clone()
}
