//! The source of the password: the address, then the environment, then the password file of libpq.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::journal::{JournalError, JournalErrorKind};

/// The most bytes of a password file that are read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Sets the password of `config` if the address has none: from `PGPASSWORD`, or else from the password file.
///
/// # Errors
///
/// [`Unsupported`](JournalErrorKind::Unsupported) when the password file is readable by other users.
pub(super) fn find(config: &mut Config) -> Result<(), JournalError> {
    if config.get_password().is_some() {
        return Ok(());
    }
    if let Some(password) = variable("PGPASSWORD") {
        config.password(password.as_encoded_bytes());
        return Ok(());
    }
    let Some(path) = file() else { return Ok(()) };
    if let Some(password) = in_file(&path, &wanted(config))? {
        config.password(password);
    }
    Ok(())
}

/// The value of an environment variable, unless it is empty.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn file() -> Option<PathBuf> {
    if let Some(path) = variable("PGPASSFILE") {
        return Some(path.into());
    }
    Some(Path::new(&env::var_os("HOME")?).join(".pgpass"))
}

/// The password in the file at `path`. As in libpq, a file that is missing, unreadable or not a regular file holds none.
fn in_file(path: &Path, wanted: &[String; 4]) -> Result<Option<Vec<u8>>, JournalError> {
    // Opening a pipe would block.
    if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let mut lines = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut lines));
    let password = read.ok().and_then(|_| in_lines(&lines, wanted));
    if password.is_some() {
        check_private(path)?;
    }
    Ok(password)
}

/// # Errors
///
/// [`Unsupported`](JournalErrorKind::Unsupported) when other users can read the file.
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
            "the password file {} is readable by other users: restrict it with chmod 0600, or set PGPASSWORD",
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
    let host = match (config.get_hosts().first(), config.get_hostaddrs().first()) {
        (Some(Host::Tcp(host)), _) => host.clone(),
        (None, Some(number)) => number.to_string(),
        // A line names the directory of a socket localhost.
        _ => "localhost".to_owned(),
    };
    let port = config.get_ports().first().unwrap_or(&5432);
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    [host, port.to_string(), database.to_owned(), user.to_owned()]
}

/// The password of the first matching line: `host:port:database:user:password`. `*` matches any value; a backslash escapes `:` and itself.
fn in_lines(lines: &[u8], wanted: &[String; 4]) -> Option<Vec<u8>> {
    let fits = |fields: &[Vec<u8>]| {
        let mut named = fields.iter().zip(wanted);
        named.all(|(field, wanted)| field == b"*" || field == wanted.as_bytes())
    };
    lines
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.starts_with(b"#"))
        .map(fields)
        .find(|fields| fields.len() == 5 && fits(&fields[..4]))
        .and_then(|mut fields| fields.pop())
}

fn fields(line: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = vec![Vec::new()];
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        // A password may contain colons: it is the rest of the line.
        if byte == b':' && fields.len() < 5 {
            fields.push(Vec::new());
        } else if let Some(field) = fields.last_mut() {
            field.extend(if byte == b'\\' { bytes.next() } else { Some(byte) });
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
        let found = |host, user| in_lines(lines.as_bytes(), &wanted(host, user));
        assert_eq!(found("db", "anna").as_deref(), Some(&b"a:b\\c:d"[..]));
        assert_eq!(found("other", "anna").as_deref(), Some(&b"wrong"[..]));
        assert_eq!(found("db", "berta").as_deref(), Some(&b"any"[..]));
        assert_eq!(in_lines(b"db:5432:orders:anna\n", &wanted("db", "anna")), None);
    }

    fn wanted_by(url: &str) -> [String; 4] {
        let hosts = super::super::Address::parse(url).expect(url).hosts();
        wanted(&hosts[0].1)
    }

    #[test]
    fn a_server_by_its_number_was_sent_the_password_of_localhost() {
        for (url, host) in [
            ("postgres://anna@/orders?hostaddr=10.0.0.1", "10.0.0.1"),
            ("postgres://anna@/orders?hostaddr=::1", "::1"),
            ("postgres://anna@db/orders?hostaddr=10.0.0.1", "db"),
            ("postgres://anna@localhost/orders", "localhost"),
            ("postgres://anna@/orders", "localhost"),
        ] {
            assert_eq!(
                wanted_by(url),
                [host, "5432", "orders", "anna"].map(str::to_owned),
                "{url}"
            );
        }
    }

    /// A directory that is removed with its files.
    #[cfg(unix)]
    struct Folder(PathBuf);

    #[cfg(unix)]
    impl Folder {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("annals-password-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("it can be created");
            Self(path)
        }
    }

    #[cfg(unix)]
    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_password_file_with_a_byte_that_is_not_utf_8_was_ignored() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = Folder::new("bytes");
        let path = folder.0.join("pgpass");
        let wanted = ["db", "5432", "orders", "anna"].map(str::to_owned);
        for (lines, password) in [
            (&b"# caf\xe9\ndb:*:*:anna:secret\n"[..], Some(&b"secret"[..])),
            (b"caf\xe9:*:*:anna:other\r\ndb:*:*:anna:secret\r\n", Some(b"secret")),
            (b"*:*:*:*:caf\xe9", Some(b"caf\xe9")),
            (b"\xff\xfe", None),
        ] {
            fs::write(&path, lines).expect("it can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
            assert_eq!(in_file(&path, &wanted), Ok(password.map(<[u8]>::to_vec)), "{lines:?}");
        }
        fs::write(&path, "*:*:*:*:secret").expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
        let refused = in_file(&path, &wanted).expect_err("other users can read it");
        assert!(refused.to_string().contains("chmod 0600"), "{refused}");
    }

    /// It waited for a writer of the pipe without end.
    #[cfg(unix)]
    #[test]
    fn a_pipe_in_the_place_of_the_password_file_blocked_the_connection() {
        let folder = Folder::new("pipe");
        let wanted = ["db", "5432", "orders", "anna"].map(str::to_owned);
        let pipe = folder.0.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()));
        for path in [
            pipe.as_path(),
            &folder.0,
            &folder.0.join("none"),
            Path::new("/dev/null"),
        ] {
            assert_eq!(in_file(path, &wanted), Ok(None), "{}", path.display());
        }
    }
}
