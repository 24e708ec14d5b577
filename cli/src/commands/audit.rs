//! `audit`: the audit trail, and the hash chain that makes a change of the log evident.

use std::fs;
use std::io::{self, Read as _, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use annals::cqrs::audit::{self, AuditChain, AuditKey, ChainEntry, PublicKey, TrailError, Verified, VerifyError};
use annals::{Clock as _, Position, Store, SystemClock};

use crate::args::Global;
use crate::args::audit::{Anchor, Audit, Head, To, Trail, Verify};
use crate::commands::{export, filters, inputs, open, target};
use crate::exit::{Failure, Outcome, of_output};
use crate::interrupt;
use crate::load::progress::Progress;
use crate::load::{Location, durable};
use crate::output::sections::Sections;
use crate::output::sink::Sink;
use crate::output::text::{clean, counted};
use crate::output::{Format, Out};

/// Maximum bytes of a head or an anchor.
const FILE_MAX: u64 = 256 << 20;

pub(crate) fn run(global: &Global, audit: &Audit, asked: Option<Format>, out: &mut Out<'_>) -> Outcome {
    match audit {
        Audit::Trail(trail) => write_trail(global, trail, asked, out),
        Audit::Key { output } => make_key(output, out),
        Audit::Head(head) => sign_head(global, head, out),
        Audit::Verify(verify) => check(global, verify, out),
        Audit::Anchor(anchor) => sign_anchor(global, anchor, out),
    }
}

fn write_trail(global: &Global, asked_for: &Trail, asked: Option<Format>, out: &mut Out<'_>) -> Outcome {
    let trail = trail_of(asked_for, out)?;
    let target = target(&asked_for.to.output, asked_for.to.force, inputs(global, &[]));
    let is_stdout = target.is_stdout()?;
    let format = if is_stdout {
        export::of_stdout(asked)?
    } else {
        target.format(asked)?
    };
    if format == Format::Json {
        let text = "a trail has one JSON object a line: write --format jsonl or csv, or name a file *.jsonl or *.csv";
        return Err(Failure::Usage(text.to_owned()));
    }
    if is_stdout {
        let store = open(global, out)?;
        write_rows(&store, &trail, format, out.stdout)?;
        return Ok(());
    }
    target.check()?;
    let store = open(global, out)?;
    let mut sink = Sink::create(&target)?;
    let rows = write_rows(&store, &trail, format, &mut sink)?;
    sink.keep()?;
    Ok(out.hint(&clean(&format!(
        "{} written to {}",
        counted(rows, "row"),
        target.path.display()
    )))?)
}

fn trail_of(asked: &Trail, out: &Out<'_>) -> Outcome<audit::Trail> {
    let mut trail = audit::Trail::new();
    if let Some(id) = &asked.aggregate {
        trail = trail.aggregate(id.as_str());
    }
    if let Some(user) = &asked.user {
        trail = trail.user(user.as_str());
    }
    if let Some(correlation) = &asked.correlation {
        trail = trail.correlation(correlation.as_str());
    }
    if let Some(since) = &asked.since {
        trail = trail.since(filters::time("since", since, out.times())?);
    }
    if let Some(before) = &asked.before {
        trail = trail.before(filters::time("before", before, out.times())?);
    }
    Ok(trail)
}

fn write_rows(store: &Store, trail: &audit::Trail, format: Format, out: &mut dyn Write) -> Outcome<u64> {
    let mut out = Watched(out);
    let written = if format == Format::Csv {
        trail.write_csv(store, &mut out)
    } else {
        trail.write_jsonl(store, &mut out)
    };
    written.map_err(|error| match error {
        TrailError::Store(error) => error.into(),
        TrailError::Io { error } if error.kind() == io::ErrorKind::Interrupted => {
            Failure::Interrupted("the trail was written in part".to_owned())
        }
        TrailError::Io { error } => error.into(),
        other => Failure::Runtime(other.to_string()),
    })
}

/// A writer that fails once Ctrl-C was pressed.
struct Watched<'a>(&'a mut dyn Write);

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// `write_all` retries after an interrupt, so Ctrl-C is reported here.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if interrupt::check(String::new).is_err() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.0.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn make_key(output: &Path, out: &mut Out<'_>) -> Outcome {
    let key = AuditKey::generate()?;
    key.write_new(output).map_err(|error| {
        let name = output.display();
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::Usage(format!(
                "{name} is there already: a key is never replaced; name another file"
            ));
        }
        Failure::Runtime(of_output(output, &error))
    })?;
    out.line(&key.public().to_string())
}

/// Reads a key. A key given in place of a file name is not repeated in the error: it must not spread beyond the list of processes.
fn key_of(path: &Path) -> Outcome<AuditKey> {
    if path.to_string_lossy().parse::<annals::cqrs::audit::Link>().is_ok() && !path.exists() {
        let text =
            "--key names a file: others can see a key on the command line, so make a new one with `annals audit key`";
        return Err(Failure::Usage(text.to_owned()));
    }
    Ok(AuditKey::from_file(path)?)
}

fn sign_head(global: &Global, asked: &Head, out: &mut Out<'_>) -> Outcome {
    let key = key_of(&asked.key)?;
    let target = target(&asked.to.output, asked.to.force, inputs(global, &read_files(asked)));
    if !target.is_stdout()? {
        target.check()?;
    }
    let chain = begin_chain(asked.since.as_deref(), &asked.anchor, &key.public())?;
    let store = open_durable(global, out)?;
    let chain = if asked.accept_gaps {
        AuditChain::of_remaining(&store).map_err(|found| failure(&found))?
    } else {
        read(chain, &store, store.visible())?
    };
    let head = chain.head(&key, SystemClock.now());
    write_text(&asked.to, &head.to_json(), out)?;
    Ok(out.hint(&format!(
        "{} up to position {} signed",
        counted(head.tip.count, "event"),
        head.tip.position
    ))?)
}

/// The chain at the earlier head, or at the end of a dropped prefix, or at the beginning.
fn begin_chain(since: Option<&Path>, anchors: &[PathBuf], key: &PublicKey) -> Outcome<AuditChain> {
    let mut chain = match since {
        Some(path) => AuditChain::resume(&read_head(path)?, key).map_err(|found| failure(&found))?,
        None => AuditChain::new(),
    };
    let anchors = read_anchors(anchors)?;
    let longest = anchors.iter().max_by_key(|anchor| anchor.base.position);
    if let Some(prefix) = longest
        && prefix.base.position > chain.position()
    {
        chain = AuditChain::after(prefix, key).map_err(|found| failure(&found))?;
    }
    for anchor in &anchors {
        chain.allow(anchor, key).map_err(|found| failure(&found))?;
    }
    Ok(chain)
}

fn read_files(asked: &Head) -> Vec<PathBuf> {
    let read = [&asked.key].into_iter().chain(&asked.since).chain(&asked.anchor);
    read.cloned().collect()
}

fn check(global: &Global, asked: &Verify, out: &mut Out<'_>) -> Outcome {
    let head = read_head(&asked.head)?;
    let key = public_key(&asked.public_key)?;
    let since = asked.since.as_deref().map(read_head).transpose()?;
    let anchors = read_anchors(&asked.anchor)?;
    let store = open_durable(global, out)?;
    let mut progress = Progress::of_events("the log");
    let mut verify = audit::Verify::new(&head, &key).on_progress(|done, total| show(&mut progress, done, total));
    if let Some(since) = &since {
        verify = verify.since(since);
    }
    for anchor in &anchors {
        verify = verify.allow(anchor);
    }
    let verified = verify.run(&store).map_err(|found| failure_in(&store, &found))?;
    describe(&verified).write(out)
}

fn describe(verified: &Verified) -> Sections {
    let mut sections = Sections::default();
    sections.count("first", "first position verified", verified.first.0);
    sections.count("last", "last position verified", verified.last.0);
    sections.count("events", "events of the chain", verified.count);
    sections.count("anchored", "of these missing, with an anchor", verified.anchored);
    let link = verified.link.to_string();
    sections.figure("link", "link", link.clone().into(), link);
    sections.count("position", "last position of the store", verified.visible.0);
    sections
}

fn sign_anchor(global: &Global, asked: &Anchor, out: &mut Out<'_>) -> Outcome {
    let key = key_of(&asked.key)?;
    let read_files = [&asked.key, &asked.head].into_iter().chain(&asked.earlier);
    let read_files: Vec<PathBuf> = read_files.cloned().collect();
    let target = target(&asked.to.output, asked.to.force, inputs(global, &read_files));
    if !target.is_stdout()? {
        target.check()?;
    }
    let head = read_head(&asked.head)?;
    head.check_signature(&key.public()).map_err(|found| failure(&found))?;
    let store = open_durable(global, out)?;
    let now = SystemClock.now();
    let anchor = if let Some(position) = asked.up_to {
        let chain = begin_chain(None, &asked.earlier, &key.public())?;
        let chain = read(chain, &store, Position(position))?;
        chain.anchor(&asked.reason, &key, now)
    } else {
        let events = store.read_all().include_system().events();
        let entries = events.iter().map(ChainEntry::from);
        audit::Anchor::of_events(&head, entries, &asked.reason, &key, now).map_err(|found| failure(&found))?
    };
    if anchor.store != head.store {
        return Err(failure(&VerifyError::OtherChain { what: "head" }));
    }
    write_text(&asked.to, &anchor.to_json(), out)?;
    Ok(out.hint(&format!(
        "{} up to position {} may be missing",
        counted(anchor.count(), "event"),
        anchor.last()
    ))?)
}

fn read(mut chain: AuditChain, store: &Store, until: Position) -> Outcome<AuditChain> {
    let mut progress = Progress::of_events("the log");
    let read = chain.read_until(store, until, &mut |done, total| show(&mut progress, done, total));
    read.map_err(|found| failure_in(store, &found))?;
    Ok(chain)
}

fn show(progress: &mut Progress, done: Position, total: Position) -> ControlFlow<()> {
    progress.show(done.0, total.0, || "hashed".to_owned());
    match interrupt::check(String::new) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// The store of `--store`. A log file has no positions and times of its own, so it has no chain.
fn open_durable(global: &Global, out: &mut Out<'_>) -> Outcome<Store> {
    let Some(Location::Durable(url)) = &global.store else {
        let text = "the hash chain is of a durable store: name it with --store file:DIR";
        return Err(Failure::Usage(text.to_owned()));
    };
    durable::open_to_read(url, &global.attach, out)
}

fn failure(found: &VerifyError) -> Failure {
    if let VerifyError::Stopped { after } = found {
        return Failure::Interrupted(format!("the log was read up to position {after}"));
    }
    Failure::Data(found.to_string())
}

/// The same, with the store's own gaps.
fn failure_in(store: &Store, found: &VerifyError) -> Failure {
    let range = if let VerifyError::Missing { first, last, .. }
    | VerifyError::CutAtStart {
        first: last,
        expected: first,
    } = found
    {
        Some((*first, *last))
    } else {
        None
    };
    let is_within = |gap: &annals::Gap, (first, last): (Position, Position)| {
        gap.reason != annals::GapReason::Snapshot && gap.first <= last && first <= gap.last
    };
    let gap = range.and_then(|range| store.gaps().into_iter().find(|gap| is_within(gap, range)));
    if matches!(found, VerifyError::Crossed { .. }) {
        return Failure::Data(format!("{found} (--accept-gaps)"));
    }
    match gap {
        Some(gap) => Failure::Data(format!(
            "{found}; the store says: {gap}. `annals audit anchor` makes an anchor of an archive, or before events are dropped"
        )),
        None => failure(found),
    }
}

fn read_text(path: &Path) -> Outcome<String> {
    let named = |error: io::Error| Failure::of_input(path, &error);
    let mut text = String::new();
    let file = fs::File::open(path).map_err(named)?;
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(named)?;
    Ok(text)
}

fn read_head(path: &Path) -> Outcome<audit::Head> {
    let head = audit::Head::from_json(&read_text(path)?);
    head.map_err(|error| Failure::Data(format!("{}: {error}", path.display())))
}

fn read_anchors(paths: &[PathBuf]) -> Outcome<Vec<audit::Anchor>> {
    let read = |path: &PathBuf| {
        let anchor = audit::Anchor::from_json(&read_text(path)?);
        anchor.map_err(|error| Failure::Data(format!("{}: {error}", path.display())))
    };
    paths.iter().map(read).collect()
}

/// A public key, or a file that has one.
fn public_key(text: &str) -> Outcome<PublicKey> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let read = read_text(Path::new(text))?;
    let key = read.parse::<PublicKey>();
    key.map_err(|error| Failure::Usage(format!("--public-key {text}: {error}")))
}

fn write_text(to: &To, text: &str, out: &mut Out<'_>) -> Outcome {
    let target = target(&to.output, to.force, Vec::new());
    if target.is_stdout()? {
        return out.line(text);
    }
    let mut sink = Sink::create(&target)?;
    writeln!(sink, "{text}")?;
    sink.keep()
}
