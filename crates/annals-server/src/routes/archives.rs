//! The archives that events of the store were moved to.

use std::collections::BTreeMap;

use annals::{Gap, GapReason};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json as value};

use super::json;
use crate::call::Call;
use crate::problem::Problem;
use crate::work;

/// `GET /archives`
///
/// A store has at most 4,096 gaps, so the answer is bounded too.
pub(super) async fn archives(call: Call) -> Result<Response, Problem> {
    call.params.finish()?;
    let store = call.store.clone();
    let described = work::run(&call.shared, move || describe(&store.gaps()));
    json(StatusCode::OK, &described.await?)
}

fn describe(gaps: &[Gap]) -> Value {
    let mut archives: BTreeMap<&str, Gap> = BTreeMap::new();
    let mut unnamed = 0;
    for gap in gaps {
        match &gap.reason {
            GapReason::Archived(name) => add(&mut archives, name, gap),
            GapReason::Several => unnamed += gap.count,
            GapReason::Budget
            | GapReason::Age
            | GapReason::Limit(_)
            | GapReason::Truncated(_)
            | GapReason::Deleted(_)
            | GapReason::Lost
            | GapReason::Elsewhere
            | GapReason::Snapshot
            | _ => {}
        }
    }
    let mut archives: Vec<_> = archives.into_iter().collect();
    archives.sort_by_key(|(_, gap)| gap.first);
    let archives: Vec<Value> = archives.into_iter().map(describe_one).collect();
    value!({ "archives": archives, "unnamedEvents": unnamed })
}

/// Adds the events of a gap to those of its archive.
fn add<'a>(archives: &mut BTreeMap<&'a str, Gap>, name: &'a str, gap: &Gap) {
    let known = archives.entry(name).or_insert_with(|| {
        let mut empty = gap.clone();
        empty.count = 0;
        empty
    });
    known.first = known.first.min(gap.first);
    known.last = known.last.max(gap.last);
    known.count += gap.count;
}

fn describe_one((name, gap): (&str, Gap)) -> Value {
    value!({ "name": name, "events": gap.count, "firstPosition": gap.first.0, "lastPosition": gap.last.0 })
}

#[cfg(test)]
mod tests {
    use annals::Position;

    use super::*;

    fn gap(first: u64, last: u64, count: u64, reason: GapReason) -> Gap {
        Gap::new(Position(first), Position(last), count, reason)
    }

    #[test]
    fn gaps_of_one_archive_are_one_entry() {
        let named = |name: &str| GapReason::Archived(name.into());
        let gaps = [
            gap(40, 50, 3, named("b")),
            gap(1, 9, 2, named("a")),
            gap(60, 70, 4, named("b")),
            gap(2, 3, 2, GapReason::Several),
            gap(5, 6, 1, GapReason::Budget),
        ];
        let expected = value!({ "archives": [
            { "name": "a", "events": 2, "firstPosition": 1, "lastPosition": 9 },
            { "name": "b", "events": 7, "firstPosition": 40, "lastPosition": 70 },
        ], "unnamedEvents": 2 });
        assert_eq!(describe(&gaps), expected);
    }
}
