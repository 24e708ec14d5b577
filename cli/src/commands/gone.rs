//! What became of an event or of events of an aggregate that the store does not have.

use annals::{Gap, GapReason, Store, StreamInfo};

use crate::output::text::{clean, counted};

/// What became of the event at `position`, if a gap says so.
pub(crate) fn event(store: &Store, position: u64) -> Option<String> {
    let gaps = store.gaps();
    let mut around = gaps
        .iter()
        .filter(|gap| gap.reason != GapReason::Snapshot && (gap.first.0..=gap.last.0).contains(&position));
    let gap = around.next()?;
    if around.next().is_some() {
        return Some("events around it are gone, for several reasons".to_owned());
    }
    let hint = attach(&gap.reason);
    if gap.count == gap.last.0 - gap.first.0 + 1 {
        return Some(format!("it is gone: {}{hint}", gap.reason));
    }
    Some(format!("it may be gone: {gap}{hint}"))
}

/// What became of the events of an aggregate that are missing, if any are.
pub(crate) fn of_stream(store: &Store, info: &StreamInfo) -> Option<String> {
    let missing = info.version.0.saturating_sub(info.events);
    if missing == 0 {
        return None;
    }
    let gaps = store.gaps();
    let of_it: Vec<_> = gaps
        .iter()
        .filter(|gap| is_of(gap, &info.stream.aggregate_id))
        .collect();
    let of_any = gaps.iter().filter(|gap| is_of_any(gap));
    let gaps = if of_it.is_empty() { of_any.collect() } else { of_it };
    let mut reasons: Vec<_> = gaps
        .iter()
        .map(|gap| format!("{}{}", gap.reason, attach(&gap.reason)))
        .collect();
    reasons.sort();
    reasons.dedup();
    let missing = counted(missing, "earlier event");
    let why = if reasons.is_empty() {
        "the reason is not known".to_owned()
    } else {
        reasons.join(", or ")
    };
    Some(clean(&format!("{missing} not here: {why}")).into_owned())
}

fn is_of(gap: &Gap, id: &str) -> bool {
    matches!(&gap.reason, GapReason::Limit(of) | GapReason::Truncated(of) | GapReason::Deleted(of) if &**of == id)
}

fn is_of_any(gap: &Gap) -> bool {
    !matches!(
        gap.reason,
        GapReason::Limit(_) | GapReason::Truncated(_) | GapReason::Deleted(_) | GapReason::Snapshot
    )
}

fn attach(reason: &GapReason) -> &'static str {
    if matches!(reason, GapReason::Archived(_)) {
        " (--attach reads it too)"
    } else {
        ""
    }
}
