//! Messages after events were written.

use crate::exit::Outcome;
use crate::load::LINE_BYTES_MAX;
use crate::output::Out;
use crate::output::events::Written;
use crate::output::target::Target;
use crate::output::text::{clean, counted};

/// Reports the number of written events.
pub(crate) fn tell(written: Written, target: &Target, out: &mut Out<'_>) -> Outcome {
    out.hint(&clean(&format!(
        "{} written to {}",
        counted(written.events, "event"),
        target.path.display()
    )))?;
    tell_altered(written, out)
}

/// Reports events that cannot be read back from the written file.
pub(crate) fn tell_altered(written: Written, out: &mut Out<'_>) -> Outcome {
    if written.altered > 0 {
        out.warn(&format!(
            "{} not whole in what was written: CSV cannot hold data or metadata that are not UTF-8, or metadata that are not a JSON \
             object; *.jsonl holds them, and the store still has them",
            counted(written.altered, "event")
        ))?;
    }
    if written.too_long > 0 {
        out.warn(&format!(
            "{} with more than {} MiB of JSON, which an import refuses; the store still has them",
            counted(written.too_long, "event"),
            LINE_BYTES_MAX >> 20
        ))?;
    }
    Ok(())
}
