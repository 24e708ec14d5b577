//! Where a password comes from: the address, then the environment, then the file that libpq reads.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::journal::{JournalError, JournalErrorKind};

/// Gives `config` a password, if it has none and there is one.
pub(super) fn find(config: &mut Config) -> Result<(), JournalError> {
    if config.get_password().is_some() {
        return Ok(());
    }
    if let Some(password) = env::var("PGPASSWORD").ok().filter(|password| !password.is_empty()) {
        config.password(password);
        return Ok(());
    }
    let Some(path) = file() else { return Ok(()) };
    let Ok(lines) = fs::read_to_string(&path) else {
        return Ok(());
    };
    if let Some(password) = in_lines(&lines, &wanted(config)) {
        check_private(&path)?;
        config.password(password);
    }
    Ok(())
}

fn file() -> Option<PathBuf> {
    if let Some(path) = env::var_os("PGPASSFILE") {
        return Some(path.into());
    }
    Some(Path::new(&env::var_os("HOME")?).join(".pgpass"))
}

/// # Errors
///
/// When others than its owner may read the file.
#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), JournalError> {
    use std::os::unix::fs::PermissionsExt as _;

    const OF_OTHERS: u32 = 0o077;
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & OF_OTHERS == 0 {
        return Ok(());
    }
    Err(JournalError::new(
        JournalErrorKind::Unsupported,
        format!(
            "the password file {} can be read by others: chmod 0600 it, or set PGPASSWORD",
            path.display()
        ),
    ))
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<(), JournalError> {
    Ok(())
}

/// Host, port, database and user, as a line of the file names them.
fn wanted(config: &Config) -> [String; 4] {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        // For the folder of a socket a line says localhost.
        _ => "localhost".to_owned(),
    };
    let port = config.get_ports().first().unwrap_or(&5432);
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    [host, port.to_string(), database.to_owned(), user.to_owned()]
}

/// The password of the first line that fits: `host:port:database:user:password`, `*` for any, a backslash before `:` and itself.
fn in_lines(lines: &str, wanted: &[String; 4]) -> Option<String> {
    let fits = |fields: &[String]| {
        let named = fields.iter().zip(wanted);
        named.filter(|(field, wanted)| *field == "*" || field == wanted).count() == 4
    };
    lines
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(fields)
        .find(|fields| fields.len() == 5 && fits(&fields[..4]))
        .and_then(|mut fields| fields.pop())
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        // A password may have colons: it is the rest of the line.
        if char == ':' && fields.len() < 5 {
            fields.push(String::new());
        } else if let Some(field) = fields.last_mut() {
            let is_escape = char == '\\';
            field.extend(if is_escape { chars.next() } else { Some(char) });
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let lines = "# db:5432:orders:anna:comment\n\
                     other:5432:orders:anna:wrong\n\
                     db:5432:orders:anna:a\\:b\\\\c:d\n\
                     *:*:*:*:any\n";
        let wanted = |host: &str, user: &str| [host, "5432", "orders", user].map(str::to_owned);
        let found = |host, user| in_lines(lines, &wanted(host, user));
        assert_eq!(found("db", "anna").as_deref(), Some("a:b\\c:d"));
        assert_eq!(found("other", "anna").as_deref(), Some("wrong"));
        assert_eq!(found("db", "berta").as_deref(), Some("any"));
        assert_eq!(in_lines("db:5432:orders:anna\n", &wanted("db", "anna")), None);
    }
}
