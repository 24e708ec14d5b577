//! Gaps and marks of events whose rows were deleted, by parts of the table.

use std::collections::VecDeque;

use tokio_postgres::{Client, Error, Row};

use super::parts::first_of;
use crate::event::system::STREAM_BYTES_MAX;
use crate::journal::{Batch, Mark};
use crate::settings::NAME_BYTES_MAX;
use crate::{Gap, GapReason, Name, Position, Version};

const GAPS: &str = "SELECT kind, name, part, first_position, last_position, events FROM gaps \
                    WHERE part BETWEEN $1 AND $2 ORDER BY part, first_position";
const IS_ANY_GONE: &str = "SELECT EXISTS (SELECT FROM gaps WHERE part BETWEEN $1 AND $2)";
const MARKS: &str = "SELECT kind, name, position, aggregate_type, aggregate_id, version FROM marks \
                     WHERE position > $1 AND position <= $2 ORDER BY position";

/// A reason as stored in the tables: its kind and its name.
pub(super) fn kind_of(reason: &GapReason) -> (&'static str, &str) {
    match reason {
        GapReason::Budget => ("budget", ""),
        GapReason::Age => ("age", ""),
        GapReason::Limit(id) => ("limit", id),
        GapReason::Truncated(id) => ("truncated", id),
        GapReason::Deleted(id) => ("deleted", id),
        GapReason::Archived(archive) => ("archived", archive),
        GapReason::Lost => ("lost", ""),
        GapReason::Elsewhere => ("elsewhere", ""),
        GapReason::Snapshot => ("snapshot", ""),
        GapReason::Several => ("several", ""),
    }
}

/// The reason in the first two columns of a row. An unknown kind is read as `Several`.
fn reason_of(row: &Row) -> Result<GapReason, Error> {
    let (kind, name): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match kind {
        "budget" => GapReason::Budget,
        "age" => GapReason::Age,
        "limit" => GapReason::Limit(name.into()),
        "truncated" => GapReason::Truncated(name.into()),
        "deleted" => GapReason::Deleted(name.into()),
        "archived" => GapReason::Archived(name.into()),
        "lost" => GapReason::Lost,
        "elsewhere" => GapReason::Elsewhere,
        "snapshot" => GapReason::Snapshot,
        _ => GapReason::Several,
    })
}

fn number(row: &Row, column: usize) -> Result<u64, Error> {
    row.try_get::<_, i64>(column).map(i64::cast_unsigned)
}

/// The marks of positions after `after`, up to `last`; `None` if one is invalid.
pub(super) async fn marks(client: &Client, after: u64, last: u64) -> Result<Option<VecDeque<Mark>>, Error> {
    let rows = client
        .query(MARKS, &[&after.cast_signed(), &last.cast_signed()])
        .await?;
    rows.iter().map(mark).collect()
}

fn mark(row: &Row) -> Result<Option<Mark>, Error> {
    let (aggregate_type, aggregate_id): (&str, &str) = (row.try_get(3)?, row.try_get(4)?);
    let version = number(row, 5)?;
    let is_name = |name: &str, bytes_max: usize| !name.is_empty() && name.len() <= bytes_max;
    let are_names = is_name(aggregate_type, NAME_BYTES_MAX) && is_name(aggregate_id, STREAM_BYTES_MAX);
    let is_right = are_names && u32::try_from(version).is_ok_and(|v| v > 0);
    if !is_right {
        return Ok(None);
    }
    Ok(Some(Mark {
        position: Position(number(row, 2)?),
        aggregate_type: Name::from(aggregate_type),
        aggregate_id: Name::from(aggregate_id),
        version: Version(version),
        reason: reason_of(row)?,
    }))
}

/// Gaps by part, which its first position identifies.
type ByParts = VecDeque<(u64, Vec<Gap>)>;

/// Whether any position after `after`, up to `last`, may be gone.
pub(super) async fn is_any_gone(client: &Client, after: u64, last: u64) -> Result<bool, Error> {
    let (first, end) = (first_of(after + 1), first_of(last.max(1)));
    client
        .query_one_scalar(IS_ANY_GONE, &[&first.cast_signed(), &end.cast_signed()])
        .await
}

/// The gaps of the parts that have positions after `after`, up to `last`.
pub(super) async fn gaps(client: &Client, after: u64, last: u64) -> Result<ByParts, Error> {
    let (first, end) = (first_of(after + 1), first_of(last.max(1)));
    let rows = client.query(GAPS, &[&first.cast_signed(), &end.cast_signed()]).await?;
    let mut parts = ByParts::new();
    for row in &rows {
        let part = number(row, 2)?;
        if parts.back().is_none_or(|(last, _)| *last != part) {
            parts.push_back((part, Vec::new()));
        }
        if let Some((_, gaps)) = parts.back_mut() {
            gaps.push(gap(row)?);
        }
    }
    Ok(parts)
}

/// The gaps of the next parts, and the number of positions skipped in the current part.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    parts: ByParts,
    /// The position before the first one that is read, and the last one.
    after: u64,
    last: u64,
    skipped: u64,
}

impl Gaps {
    /// No gaps, for reading after position `after`, up to `last`.
    pub(super) fn new(after: u64, last: u64) -> Self {
        Self {
            after,
            last,
            ..Self::default()
        }
    }

    /// Whether there are no gaps for further parts.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds the gaps of the next parts.
    pub(super) fn expect(&mut self, parts: ByParts) {
        self.parts.extend(parts);
    }

    /// Skips the positions from `first` to `end`, of one part, in `batch`. Returns `false` when the gaps do not record that many.
    pub(super) fn skip(&mut self, first: u64, end: u64, batch: &mut Batch) -> bool {
        let Some((part, gaps)) = self.parts.front().filter(|(part, _)| *part == first_of(first)) else {
            return false;
        };
        let count = end - first + 1;
        if self.skipped + count > total(gaps) {
            return false;
        }
        if !self.is_whole(*part, gaps) {
            batch.push_gap(clipped(gaps, first, end));
        } else if self.skipped == 0 {
            for gap in gaps {
                batch.push_gap(gap.clone());
            }
        }
        batch.skip(Position(first), Position(end));
        self.skipped += count;
        true
    }

    /// Whether a part is read as a whole.
    fn is_whole(&self, part: u64, gaps: &[Gap]) -> bool {
        part > self.after && gaps.iter().all(|gap| gap.last.0 <= self.last)
    }

    /// Ends the part of `position`. Returns the number of positions that are recorded as gone and were not skipped.
    pub(super) fn end_part(&mut self, position: u64) -> u64 {
        let is_next = self.parts.front().is_some_and(|(part, _)| *part <= position);
        let Some((part, gaps)) = is_next.then(|| self.parts.pop_front()).flatten() else {
            return 0;
        };
        let skipped = std::mem::take(&mut self.skipped);
        if self.is_whole(part, &gaps) {
            total(&gaps) - skipped
        } else {
            0
        }
    }
}

fn gap(row: &Row) -> Result<Gap, Error> {
    Ok(Gap {
        first: Position(number(row, 3)?),
        last: Position(number(row, 4)?),
        count: number(row, 5)?,
        reason: reason_of(row)?,
    })
}

fn total(gaps: &[Gap]) -> u64 {
    gaps.iter().map(|gap| gap.count).sum()
}

/// The gap for some positions of a part. Where several gaps cover them, the reason is `Several`.
fn clipped(gaps: &[Gap], first: u64, last: u64) -> Gap {
    let mut over = gaps.iter().filter(|gap| gap.first.0 <= last && gap.last.0 >= first);
    let reason = match (over.next(), over.next()) {
        (Some(gap), None) => gap.reason.clone(),
        _ => GapReason::Several,
    };
    Gap {
        first: Position(first),
        last: Position(last),
        count: last - first + 1,
        reason,
    }
}
