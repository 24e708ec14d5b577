//! The first word of a statement.

/// The words that begin or end a transaction, or a part of it.
const WORDS: [&str; 9] = [
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "PREPARE",
];

/// Whether a statement begins or ends a transaction, or sets or releases a savepoint. Inside of a function or a `DO` block, the server itself
/// refuses that.
pub(super) fn ends_transaction(sql: &str) -> bool {
    let rest = without_comments(sql);
    let end = rest
        .find(|letter: char| !letter.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(&rest[..end]))
}

/// The statement from its first word on. The server skips spaces, empty statements and comments before it.
fn without_comments(mut sql: &str) -> &str {
    loop {
        sql = sql.trim_start_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\u{b}' || letter == ';');
        if let Some(comment) = sql.strip_prefix("--") {
            sql = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        } else if sql.starts_with("/*") {
            sql = behind_comment(sql);
        } else {
            return sql;
        }
    }
}

/// What follows a comment that `sql` begins with. Comments nest.
fn behind_comment(sql: &str) -> &str {
    let (mut depth, mut place) = (0_usize, 0);
    loop {
        let rest = &sql[place..];
        if rest.starts_with("/*") {
            (depth, place) = (depth + 1, place + 2);
        } else if rest.starts_with("*/") {
            (depth, place) = (depth - 1, place + 2);
        } else {
            place += rest.chars().next().map_or(0, char::len_utf8);
        }
        if depth == 0 || place >= sql.len() {
            return &sql[place..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_a_handler_is_found_behind_comments() {
        for sql in [
            "COMMIT",
            "commit",
            "  \n\tRollback to x",
            "-- done\nEND",
            "-- done\rEND;",
            "/* a /* b */ c */ ABORT",
            ";; /**/ begin",
            "SAVEPOINT annals_event",
            "RELEASE annals_event",
            "PREPARE TRANSACTION 'x'",
            "START TRANSACTION",
        ] {
            assert!(ends_transaction(sql), "{sql}");
        }
        for sql in [
            "",
            "/*",
            "/* /*",
            "-- COMMIT",
            "/* COMMIT */ SELECT 1",
            "INSERT INTO t VALUES ('COMMIT')",
            "COMMITS",
            "ö",
            "/* ö */ UPDATE t SET a = 1",
            "-- ö\nUPDATE t SET a = 1",
        ] {
            assert!(!ends_transaction(sql), "{sql}");
        }
    }
}
