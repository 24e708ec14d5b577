//! `demo`: writes a generated log.

use std::io::Write;

use jiff::tz::TimeZone;

use crate::args;
use crate::commands::{export, target, tour, written};
use crate::demo::Demo;
use crate::exit::Outcome;
use crate::interrupt;
use crate::output::events::{EventWriter, Written};
use crate::output::payload::Fidelity;
use crate::output::screen::Screen;
use crate::output::sink::Sink;
use crate::output::text::counted;
use crate::output::wire::Wire;
use crate::output::{Format, Out};

pub(crate) fn run(args: &args::Demo, asked: Option<Format>, out: &mut Out<'_>) -> Outcome {
    if args.summary {
        return tour::of_demo(args.events, args.seed, out);
    }
    let events = Demo::new(args.events, args.seed);
    let target = target(&args.output, args.force, Vec::new());
    if target.is_stdout()? {
        return write(events, export::of_stdout(asked)?, out.stdout).map(drop);
    }
    let format = target.format(asked)?;
    let mut sink = Sink::create(&target)?;
    let written = write(events, format, &mut sink)?;
    sink.keep()?;
    written::tell(written, &target, out)
}

fn write(events: Demo, format: Format, out: &mut dyn Write) -> Outcome<Written> {
    let mut writer = EventWriter::new(format, Fidelity::Exact, out, &TimeZone::UTC, Screen::default())?;
    for (written, entry) in (0..).zip(events) {
        interrupt::check(|| format!("{} had been written", counted(written, "event")))?;
        writer.write(&Wire::from((&entry.stream, &entry.event)))?;
    }
    writer.finish()
}
