//! `serve`: a store over HTTP, until a signal.

use std::io;
use std::net::{SocketAddr, TcpListener};

use annals::Store;
use annals_server::{Builder, NamespaceReport, Report, Server, Stopped, Tls, Token, stop_signal};
use serde_json::json;

use crate::args::Global;
use crate::args::serve::Serve;
use crate::commands::daily::{Daily, Running, StopDaily};
use crate::commands::load;
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::loader::Loader;
use crate::load::{Location, durable};
use crate::log;
use crate::otlp::{self, Spans};
use crate::output::text::{clean, counted};
use crate::output::{Format, Out};

pub(crate) fn run(global: &Global, serve: &Serve, out: &mut Out<'_>) -> Outcome {
    if out.format == Format::Csv {
        return Err(Failure::Usage("the URL is one line: leave --format csv out".to_owned()));
    }
    // Before the store is opened, which may take long: the port may be in use.
    let address = SocketAddr::new(serve.listen, serve.port);
    let listener = TcpListener::bind(address).map_err(|error| {
        Failure::Runtime(format!(
            "cannot listen on {address}: {error}; choose another port with --port, or --port 0"
        ))
    })?;
    let tokens = serve.token_file.as_deref().map(Token::read_file).transpose()?;
    let tls = tls(serve)?;
    // Before the store is opened: its recovery is in the log.
    let spans = serve.otlp.as_deref().map(otlp::start).transpose()?;
    let log = log::start(serve.log, serve.log_format, spans.as_ref())?;
    let secured = (tokens.unwrap_or_default(), tls);
    let ended = until_stopped(global, serve, (listener, secured, spans.is_some()), out);
    let lost = spans.map_or(0, Spans::end);
    if lost > 0 {
        let lost = counted(lost, "span");
        tell(
            out,
            &format!("{lost} not exported: the receiver of --otlp did not take all in time"),
        );
    }
    if !log.end() {
        tell(
            out,
            "the last lines of the log are lost: standard error was not read in time",
        );
    }
    conclude(&ended?, out)
}

/// Opens the store and serves it.
fn until_stopped(
    global: &Global,
    serve: &Serve,
    (listener, (tokens, tls), has_spans): (TcpListener, (Vec<Token>, Option<Tls>), bool),
    out: &mut Out<'_>,
) -> Outcome<Report> {
    let is_key_open = tls.as_ref().is_some_and(Tls::is_key_open);
    if let Some(tls) = tls.clone() {
        // A failure is in the log.
        interrupt::when_hung_up(move || drop(tls.reload()))?;
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let store = open(global, serve, out)?;
    let is_ephemeral = store.with_durability(annals::Durability::Written).is_err();
    let daily = Daily::of(global, &serve.daily, &store)?;
    let builder = Server::builder(store).tokens(tokens);
    let mut builder = configured(builder, serve, tls, daily.as_ref());
    if has_spans {
        builder = Spans::join_traces(builder);
    }
    let server = builder.build()?;
    let daily = daily.map(Daily::start).transpose()?;
    let stopped = stopped(serve, daily.as_ref())?;
    announce(scheme, listener.local_addr()?, is_ephemeral, out)?;
    warn(serve, is_key_open, out);
    let report = server.run(listener, stopped, serve.grace);
    if let Some(daily) = daily {
        daily.end(serve.grace);
    }
    Ok(report?)
}

fn configured(mut builder: Builder, serve: &Serve, tls: Option<Tls>, daily: Option<&Daily>) -> Builder {
    for host in &serve.host {
        builder = builder.host(host);
    }
    if serve.kind.test_api {
        builder = builder.test_api();
    }
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    if let Some(daily) = daily {
        builder = builder.daily(daily.results());
    }
    builder
}

/// Says what others can do to the server.
fn warn(serve: &Serve, is_key_open: bool, out: &mut Out<'_>) {
    if is_key_open {
        tell(
            out,
            "other users of this machine can read the file of --tls-key: take that away with chmod 600",
        );
    }
    if serve.kind.test_api {
        tell(out, "TEST API: EVERY CLIENT CAN WIPE EVERY STORE, AND NOTHING IS KEPT");
    }
    if serve.token_file.is_none() && !serve.listen.is_loopback() {
        tell(
            out,
            "other machines can reach the server, and it asks for no token: give it a --token-file",
        );
    }
}

/// The certificate and its key: the flags are given together.
fn tls(serve: &Serve) -> Outcome<Option<Tls>> {
    match (&serve.tls_cert, &serve.tls_key) {
        (Some(certificate), Some(key)) => Ok(Some(Tls::read_files(certificate, key)?)),
        _ => Ok(None),
    }
}

/// The end of the server: a signal, or the end of standard input.
fn stopped(serve: &Serve, daily: Option<&Running>) -> Outcome<Stopped> {
    let (stop, stopped) = stop_signal();
    let daily = daily.map(Running::stop);
    let stop = move || {
        daily.iter().for_each(StopDaily::stop);
        stop.stop();
    };
    if serve.until_stdin_ends {
        let stop = stop.clone();
        let thread = std::thread::Builder::new().name("annals-stdin".to_owned());
        thread.spawn(move || stop_at_end(io::stdin().lock(), stop))?;
    }
    interrupt::when_pressed(stop);
    Ok(stopped)
}

/// Discards the input up to its end. An input that cannot be read counts as ended.
fn stop_at_end(mut input: impl io::Read, stop: impl FnOnce()) {
    drop(io::copy(&mut input, &mut io::sink()));
    stop();
}

/// The store that is served.
fn open(global: &Global, serve: &Serve, out: &mut Out<'_>) -> Outcome<Store> {
    if serve.kind.follow {
        return follow(global);
    }
    match &global.store {
        None | Some(Location::Memory) => Ok(Store::in_memory()),
        Some(Location::File(path)) if serve.until_stdin_ends && path.as_os_str() == "-" => Err(Failure::Usage(
            "--until-stdin-ends waits for the end of the standard input, and --store - reads a log from it: leave one out"
                .to_owned(),
        )),
        Some(Location::Durable(_)) if serve.kind.ephemeral => Err(Failure::Usage(
            "--ephemeral keeps nothing, and --store or ANNALS_STORE names a durable store: leave one out".to_owned(),
        )),
        Some(Location::Durable(_)) if serve.kind.test_api => Err(Failure::Usage(
            "--test-api lets clients wipe the store, and --store or ANNALS_STORE names a durable one: leave one out"
                .to_owned(),
        )),
        Some(Location::Durable(url)) => durable::open_to_serve(url, out),
        Some(Location::Server(url)) => Err(Failure::Usage(format!(
            "{url} is served already: name a log file, a folder or a database with --store"
        ))),
        Some(location @ Location::File(_)) => {
            let mut loader = Loader::new()?;
            load(&mut loader, location, global, out)?;
            Ok(loader.store)
        }
    }
}

/// A replica of the store, which other programs write.
fn follow(global: &Global) -> Outcome<Store> {
    match &global.store {
        Some(Location::Durable(url)) => durable::follow_to_serve(url),
        None | Some(Location::Memory | Location::File(_) | Location::Server(_)) => Err(Failure::Usage(
            "--follow serves a replica of a store in a database or a stream: name it with --store".to_owned(),
        )),
    }
}

/// Writes the URL of the server to standard output, in one line that a script can read. Text for people goes to standard error.
fn announce(scheme: &str, address: SocketAddr, is_ephemeral: bool, out: &mut Out<'_>) -> Outcome {
    let url = format!("{scheme}://{address}");
    let line = match out.format {
        Format::Table | Format::Csv => url,
        Format::Json | Format::Jsonl => json!({
            "url": url,
            "port": address.port(),
            "pid": std::process::id(),
            "ephemeral": is_ephemeral,
        })
        .to_string(),
    };
    out.line(&line)?;
    out.stdout.flush()?;
    if is_ephemeral {
        tell(
            out,
            "nothing is kept: the events are in memory, and are gone when the server stops; --store file:DIR keeps them",
        );
    }
    Ok(())
}

/// A closed standard error does not stop the server.
fn tell(out: &mut Out<'_>, text: &str) {
    drop(out.hint(&clean(text)));
}

/// Reports which events are durable.
///
/// # Errors
///
/// [`Failure::Runtime`] if the journal did not sync every event.
fn conclude(report: &Report, out: &mut Out<'_>) -> Outcome {
    if report.cut_off > 0 {
        let cut_off = counted(report.cut_off as u64, "connection");
        tell(
            out,
            &format!("{cut_off} cut off: the requests took longer than --grace"),
        );
    }
    for namespace in &report.namespaces {
        tell(out, &durable(namespace)?);
    }
    Ok(())
}

fn durable(namespace: &NamespaceReport) -> Outcome<String> {
    let visible = namespace.visible;
    match (namespace.synced, &namespace.error) {
        (_, Some(error)) => Err(Failure::Runtime(format!(
            "stopped: the journal did not sync every event up to position {visible}: {error}"
        ))),
        (None, None) => Ok(format!(
            "stopped: the events up to position {visible} were in memory, and are gone"
        )),
        (Some(synced), None) => Ok(format!("stopped: every event up to position {synced} is on the disk")),
    }
}
