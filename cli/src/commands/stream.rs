//! `stream`: lists the events of one aggregate, ascending by version.

use annals::{AsOf, Field, Store, Version};

use crate::args::Stream;
use crate::commands::gone;
use crate::commands::nearest::did_you_mean;
use crate::commands::written::tell_altered;
use crate::exit::{Failure, Outcome};
use crate::output::Out;
use crate::output::events::write_all;
use crate::output::screen::Role;
use crate::output::text::{clean, counted};

pub(crate) fn show(store: &Store, args: &Stream, out: &mut Out<'_>) -> Outcome {
    let Some(info) = store.stream_info(&args.id) else {
        let hint = did_you_mean(store, &Field::Aggregate, &args.id)?;
        let hint = hint.unwrap_or_else(|| "; `annals list aggregates` shows those that there are".to_owned());
        return Err(Failure::NotFound(format!("there is no aggregate '{}'{hint}", args.id)));
    };
    let mut stream = store.read_stream(&args.id);
    if let Some(from) = args.from {
        stream = stream.from(Version(from));
    }
    if args.descending {
        stream = stream.backwards();
    }
    if let Some(limit) = args.limit.filter(|limit| *limit > 0) {
        stream = stream.limit(limit);
    }
    let as_of = args.as_of.as_ref().map(|as_of| as_of.as_of(out.times()));
    stream = match as_of.transpose().map_err(Failure::Usage)? {
        Some(AsOf::Position(position)) => stream.as_of(position),
        Some(AsOf::Time(time)) => stream.as_of(time),
        Some(other) => {
            let message = format!("cannot read an aggregate as of {other:?}: use a position or a time");
            return Err(annals::Error::Invalid {
                message: message.into(),
            }
            .into());
        }
        None => stream,
    };
    let events = stream.events();
    if out.is_table() {
        let title = format!("{}:", clean(&info.stream.to_string()));
        let title = out.screen.paint(Role::Heading, &title);
        let events = counted(info.events, "event");
        out.line(&format!("{title} version {}, {events}", info.version))?;
    }
    let written = write_all(out, &events)?;
    if let Some(missing) = gone::of_stream(store, &info) {
        out.hint(&missing)?;
    }
    tell_altered(written, out)
}
