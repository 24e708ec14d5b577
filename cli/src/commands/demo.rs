//! `demo`: a made-up log, written as it is made up.

use std::io::Write;
use std::path::Path;

use jiff::tz::TimeZone;

use crate::args;
use crate::commands::tour;
use crate::demo::Demo;
use crate::exit::Outcome;
use crate::interrupt;
use crate::output::events::EventWriter;
use crate::output::sink::{self, Sink};
use crate::output::text::{clean, counted};
use crate::output::wire::Wire;
use crate::output::{Format, Out};

pub(crate) fn run(args: &args::Demo, out: &mut Out<'_>) -> Outcome {
    if args.summary {
        return tour::of_demo(args.events, args.seed, out);
    }
    let events = Demo::new(args.events, args.seed);
    if args.output == Path::new("-") {
        // A log is for programs; a table is what you get when you ask nothing else.
        let format = if out.is_table() { Format::Jsonl } else { out.format };
        return write(events, format, out.stdout);
    }
    let mut sink = Sink::create(&args.output)?;
    write(events, sink::format_of(&args.output)?, &mut sink)?;
    sink.keep()?;
    Ok(out.hint(&clean(&format!(
        "{} written to {}",
        counted(args.events, "event"),
        args.output.display()
    )))?)
}

fn write(events: Demo, format: Format, out: &mut dyn Write) -> Outcome {
    let mut writer = EventWriter::new(format, out, &TimeZone::UTC)?;
    for (written, entry) in (0..).zip(events) {
        interrupt::check(|| format!("{} had been written", counted(written, "event")))?;
        writer.write(&Wire::from((&entry.stream, &entry.event)))?;
    }
    writer.finish()?;
    Ok(())
}
