//! Stores behind a server, which are copied into memory or followed.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use annals::{Settings, Store};
use annals_server::{Client, ClientError, Tail};
use crossbeam_channel::{Receiver, bounded};

use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::LINE_BYTES_MAX;
use crate::load::progress::Progress;

/// The environment variables with the token, and with the file that has it.
const TOKEN: &str = "ANNALS_TOKEN";
const TOKEN_FILE: &str = "ANNALS_TOKEN_FILE";
/// The environment variable with the file of the authorities that sign certificates of servers.
const CA_FILE: &str = "ANNALS_CA_FILE";
/// Bytes of the file with the token, at most.
const TOKEN_BYTES_MAX: u64 = 4 << 10;
/// The path before the name of a namespace in a URL.
const NAMESPACES: &str = "/v1/ns/";
/// The number of deliveries that are read ahead of the command.
const AHEAD: usize = 64;

/// A delivery of a tail, or the error that ended it.
pub(crate) type Delivered = Result<annals::Delivery, ClientError>;

/// A client of the store at `url`, without a token.
///
/// # Errors
///
/// The URL is invalid.
pub(crate) fn client(url: &str) -> Result<Client, String> {
    let (server, namespace) = match url.split_once(NAMESPACES) {
        Some((server, name)) => (server, Some(name.trim_end_matches('/'))),
        None => (url, None),
    };
    let client = Client::new(server).map_err(|error| error.to_string())?;
    match namespace {
        None => Ok(client),
        Some(name) if name.is_empty() || name.contains(['/', '%', '?', '#']) => {
            Err("a namespace has no '/', '%', '?' and '#', as in http://HOST:PORT/v1/ns/NAME".to_owned())
        }
        Some(name) => Ok(client.namespace(name)),
    }
}

/// The same, with the token and the certificate authorities from the environment.
pub(crate) fn open(url: &str) -> Outcome<Client> {
    let mut client = client(url).map_err(Failure::Usage)?;
    if let Some(path) = std::env::var_os(CA_FILE).filter(|path| !path.is_empty()) {
        client = client.ca_file(path)?;
    }
    match token()? {
        Some(token) => Ok(client.token(&token)?),
        None => Ok(client),
    }
}

/// The token. It is never on the command line, which other users of the machine can read.
fn token() -> Outcome<Option<String>> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match (named(TOKEN), named(TOKEN_FILE)) {
        (Some(_), Some(_)) => Err(Failure::Usage(format!(
            "{TOKEN} and {TOKEN_FILE} are both set: unset one"
        ))),
        (Some(token), None) => match token.into_string() {
            Ok(token) => Ok(Some(token)),
            Err(_) => Err(Failure::Usage(format!("{TOKEN} is not valid UTF-8"))),
        },
        (None, Some(path)) => of_file(Path::new(&path)).map(Some),
        (None, None) => Ok(None),
    }
}

fn of_file(path: &Path) -> Outcome<String> {
    let mut text = String::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text));
    let bytes = read.map_err(|error| Failure::of_input(path, &error))? as u64;
    if bytes > TOKEN_BYTES_MAX {
        let path = path.display();
        return Err(Failure::Usage(format!(
            "the token file {path} has more than {TOKEN_BYTES_MAX} bytes: it must have one token"
        )));
    }
    Ok(text.trim().to_owned())
}

/// Copies the store into memory. Its positions and versions are those of the server.
pub(crate) fn copy(url: &str) -> Outcome<Store> {
    let mut settings = Settings::default();
    settings.limits.payload_bytes_max = LINE_BYTES_MAX;
    let mut bar = Progress::of_events(url);
    open(url)?.copy(Store::builder().settings(settings), |done, total| {
        bar.show(done.0, total.0, || "reading".to_owned());
        interrupt::check(|| format!("{url} was read up to position {done}, and nothing else done"))
    })
}

/// Reads a tail on its own thread, so that the command can check for Ctrl-C. The thread ends with the tail.
pub(crate) fn read_ahead(tail: Tail) -> Outcome<Receiver<Delivered>> {
    let (sender, receiver) = bounded(AHEAD);
    let read = move || {
        for delivered in tail {
            if sender.send(delivered).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("tail".to_owned()).spawn(read)?;
    Ok(receiver)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let said = error.to_string();
        match error {
            ClientError::Store(error) => error.into(),
            ClientError::Refused(refusal) if [401, 403].contains(&refusal.status) => Self::Runtime(format!(
                "{said}; {TOKEN}, or the file that {TOKEN_FILE} names, has the token"
            )),
            ClientError::Refused(_) | ClientError::Unreachable { .. } | ClientError::Answer { .. } | _ => {
                Self::Runtime(said)
            }
        }
    }
}
