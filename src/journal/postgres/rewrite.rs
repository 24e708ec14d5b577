//! Deletes the rows of events that are gone, those of a part in one transaction that also records their gaps and marks.

use hashbrown::HashMap;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};

use super::head::Lease;
use super::left::kind_of;
use super::parts::last_of;
use super::write::Writer;
use crate::event::system;
use crate::journal::{Mark, Part, PurgeSet};
use crate::{Gap, GapReason, Name, Position, Version};

/// The most bytes of rows deleted in one transaction, which bounds its duration.
const BYTES_MAX: i64 = 16 << 20;

/// `pg_column_size` does not read the values themselves.
const READ: &str = "SELECT position, version, event_type, aggregate_type, aggregate_id, \
                    coalesce(pg_column_size(metadata)::int8, 0) + coalesce(pg_column_size(metadata_bytes)::int8, 0) \
                    + coalesce(pg_column_size(data)::int8, 0) + coalesce(pg_column_size(data_bytes)::int8, 0) \
                    FROM events WHERE position BETWEEN $1 AND $2 ORDER BY position";
/// `position + 0` prevents an index look-up per position: the index is used once per partition, for the range.
const DELETE: &str = "DELETE FROM events WHERE position BETWEEN $1 AND $2 AND position + 0 = ANY($3)";
const NOTE_GAPS: &str = "INSERT INTO gaps (part, kind, name, first_position, last_position, events) \
                         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::int8[], $5::int8[], $6::int8[]) \
                         ON CONFLICT (part, kind, name) DO UPDATE SET events = gaps.events + excluded.events, \
                         first_position = least(gaps.first_position, excluded.first_position), \
                         last_position = greatest(gaps.last_position, excluded.last_position)";
const NOTE_MARKS: &str = "INSERT INTO marks (position, version, kind, name, aggregate_type, aggregate_id) \
                          SELECT * FROM unnest($1::int8[], $2::int8[], $3::text[], $4::text[], $5::text[], $6::text[])";
/// Deletes marks that the next mark of the aggregate makes redundant: no event of the aggregate, and no system event about it, lies between.
const DROP_MARKS: &str = "DELETE FROM marks USING \
                          (SELECT *, lead(version) OVER later AS next_version, lead(position) OVER later AS next_position \
                           FROM marks WHERE aggregate_id = ANY($1) WINDOW later AS (PARTITION BY aggregate_id ORDER BY position)) AS known \
                          WHERE marks.position = known.position AND known.next_position IS NOT NULL AND NOT EXISTS \
                          (SELECT FROM events WHERE events.aggregate_id = known.aggregate_id \
                           AND events.version > known.version AND events.version < known.next_version) AND NOT EXISTS \
                          (SELECT FROM events WHERE events.aggregate_id = '$' || known.aggregate_id \
                           AND events.position > known.position AND events.position < known.next_position)";

/// The rows that a part retains.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    /// Retained rows.
    pub(super) rows: u64,
    /// Retained rows that are not changes of aggregates.
    pub(super) events: u64,
    /// Whether rows of events that are gone remain for the next call.
    pub(super) has_more: bool,
}

/// Deletes the rows of `part` that are gone, or the first of them, and commits. Returns `None`, without a change, when the head is not at
/// `position`, another writer holds the lease, or another session deleted rows.
pub(super) async fn rewrite(
    writer: &Writer,
    lease: &Lease,
    position: u64,
    (part, purge): (&Part, &PurgeSet),
) -> Result<Option<Kept>, Error> {
    let client = &writer.session.client;
    // The range includes later events of the same part, which are retained.
    let (first, end) = (part.first.0.cast_signed(), last_of(part.first.0).cast_signed());
    let rows = client.query(READ, &[&first, &end]).await?;
    let mut leaving = Leaving::default();
    for row in &rows {
        leaving.take(row, purge)?;
    }
    let kept = leaving.kept;
    if leaving.positions.is_empty() {
        return Ok(Some(kept));
    }
    client.batch_execute("BEGIN").await?;
    let is_ours = writer.stay(lease, position).await?;
    // Gaps are recorded only after the number of deleted rows is known: a delayed transaction that deletes nothing must record nothing.
    let positions = &leaving.positions;
    let is_done = is_ours && client.execute(DELETE, &[&first, &end, positions]).await? == positions.len() as u64;
    if !is_done {
        client.batch_execute("ROLLBACK").await?;
        return Ok(None);
    }
    leaving.note(client, first).await?;
    client.batch_execute("COMMIT").await?;
    Ok(Some(kept))
}

/// The rows of a part, split into deleted and retained.
#[derive(Debug, Default)]
struct Leaving {
    positions: Vec<i64>,
    bytes: i64,
    gaps: HashMap<GapReason, Gap, foldhash::fast::RandomState>,
    /// The mark of the last deleted event of each aggregate, until a retained event needs it.
    latest: HashMap<Name, Mark, foldhash::fast::RandomState>,
    /// Marks that a later event needs: an event of the aggregate, or a system event about it.
    needed: Vec<Mark>,
    kept: Kept,
}

impl Leaving {
    fn take(&mut self, row: &Row, purge: &PurgeSet) -> Result<(), Error> {
        let position = row.try_get::<_, i64>(0)?;
        let (event_type, id): (&str, &str) = (row.try_get(2)?, row.try_get(4)?);
        let is_change = system::is_change(event_type);
        let reason = purge.reason_of(position.cast_unsigned(), id).filter(|_| !is_change);
        let is_left = reason.is_some() && self.bytes >= BYTES_MAX;
        self.kept.has_more |= is_left;
        let Some(reason) = reason.filter(|_| !is_left) else {
            self.kept.rows += 1;
            self.kept.events += u64::from(!is_change);
            // Recovery needs the version of its stream, and of the aggregate that it is about.
            for stream in [id, system::target(id)] {
                self.needed.extend(self.latest.remove(stream));
            }
            return Ok(());
        };
        self.positions.push(position);
        self.bytes += row.try_get::<_, i64>(5)?;
        let mark = Mark {
            position: Position(position.cast_unsigned()),
            aggregate_type: Name::from(row.try_get::<_, &str>(3)?),
            aggregate_id: Name::from(id),
            version: Version(row.try_get::<_, i64>(1)?.cast_unsigned()),
            reason: reason.clone(),
        };
        self.latest.insert(mark.aggregate_id.clone(), mark);
        let gap = Gap::at(position.cast_unsigned(), reason);
        self.gaps
            .entry(gap.reason.clone())
            .and_modify(|same| same.merge(&gap))
            .or_insert(gap);
        Ok(())
    }

    /// Records the gaps and marks, in the part that starts with position `part`.
    async fn note(mut self, client: &Client, part: i64) -> Result<(), Error> {
        let gaps = self.gaps.values().map(|gap| (kind_of(&gap.reason), gap));
        let (reasons, gaps): (Vec<_>, Vec<_>) = gaps.unzip();
        let (kinds, names): (Vec<_>, Vec<_>) = reasons.into_iter().unzip();
        let numbers = [
            |gap: &&Gap| gap.first.0,
            |gap: &&Gap| gap.last.0,
            |gap: &&Gap| gap.count,
        ];
        let [firsts, lasts, counts] = numbers.map(|number| signed(gaps.iter().map(number)));
        let parameters: [&(dyn ToSql + Sync); 6] = [&part, &kinds, &names, &firsts, &lasts, &counts];
        client.execute(NOTE_GAPS, &parameters).await?;
        self.needed.extend(self.latest.drain().map(|(_, mark)| mark));
        note_marks(client, &self.needed).await
    }
}

async fn note_marks(client: &Client, marks: &[Mark]) -> Result<(), Error> {
    let positions = signed(marks.iter().map(|mark| mark.position.0));
    let versions = signed(marks.iter().map(|mark| mark.version.0));
    let (kinds, names): (Vec<_>, Vec<_>) = marks.iter().map(|mark| kind_of(&mark.reason)).unzip();
    let types: Vec<&str> = marks.iter().map(|mark| &*mark.aggregate_type).collect();
    let ids: Vec<&str> = marks.iter().map(|mark| &*mark.aggregate_id).collect();
    let parameters: [&(dyn ToSql + Sync); 6] = [&positions, &versions, &kinds, &names, &types, &ids];
    client.execute(NOTE_MARKS, &parameters).await?;
    client.execute(DROP_MARKS, &[&ids]).await.map(drop)
}

fn signed(numbers: impl Iterator<Item = u64>) -> Vec<i64> {
    numbers.map(u64::cast_signed).collect()
}
