-- The latest snapshot of each aggregate. It is the last system event of a stream of its own, so it is written, fenced and read like any event.
CREATE VIEW snapshots AS
SELECT substr(aggregate_id, length('$$snapshot:') + 1) AS aggregate_id, (metadata ->> 'version')::bigint AS version, schema_version,
       occurred_at AS taken_at, data, data_bytes, data_type, position
FROM events
WHERE event_type = '$snapshotted'
  AND NOT EXISTS (
      SELECT FROM events AS later
      WHERE later.aggregate_id = events.aggregate_id AND later.version > events.version)
  AND NOT EXISTS (
      SELECT FROM deletions
      WHERE deletions.aggregate_id = substr(events.aggregate_id, length('$$snapshot:') + 1)
        AND deletions.kind IN ('deleted', 'tombstoned') AND deletions.position > events.position);
