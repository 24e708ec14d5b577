//! Appends in SQL beside their bounds, in the same run: a plain `INSERT` into a table with the same indexes, an `UPDATE` of one row, and `COPY`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use crate::cluster::Cluster;
use crate::{PAYLOAD, ROWS, Row, sure, tables, timed};

const MEASURED: Duration = Duration::from_secs(4);
/// A session prepares its plans, and maps each page of the server's memory, when it first needs them.
const WARM_UP: Duration = Duration::from_secs(3);
pub(crate) const CLIENTS: [usize; 3] = [1, 8, 32];
const TOGETHER: usize = 100;

/// The rates of each, with their ratios. Each statement is a transaction.
#[expect(clippy::print_stdout, reason = "it is what the benchmark answers")]
pub(crate) fn appends(cluster: &Cluster) {
    let data = String::from_utf8_lossy(PAYLOAD);
    let append = format!(
        "SELECT append_events('note-' || $1::bigint % 100000, 'Note', NULL, '[{{\"eventType\": \"Noted\", \"eventData\": {data}}}]')"
    );
    let insert = format!(
        "INSERT INTO events (position, event_id, aggregate_id, aggregate_type, event_type, schema_version, version, occurred_at, recorded_at, \
         tags, data) VALUES ($1::bigint, gen_random_uuid(), 'note-' || $1 % 100000, 'Note', 'Noted', 1, $1 / 100000 + 1, now(), now(), '{{}}', '{data}')"
    );
    let update = "UPDATE head SET position = greatest($1::bigint, position)";
    let unsynced = append.replace("SELECT append_events", "SELECT last_position FROM append_unsynced");
    for clients in CLIENTS {
        let [append, insert, update] =
            [&*append, &*insert, update].map(|statement| rate(cluster, clients, &[statement]));
        let pair = rate(cluster, clients, &[&unsynced, "SELECT wait_synced($1)"]);
        println!(
            "append_events, {clients} clients: {append:.0}/s; INSERT with the same indexes {insert:.0}/s ({:.0} %); \
             UPDATE of one row {update:.0}/s ({:.0} %)",
            100.0 * append / insert,
            100.0 * append / update
        );
        println!(
            "append_unsynced, then wait_synced, {clients} clients: {pair:.0}/s ({:.0} % of INSERT)",
            100.0 * pair / insert
        );
    }
    let (many, copy) = (append_many(cluster), copy(cluster));
    println!(
        "append_many of {TOGETHER}: {many:.0} events/s; COPY in transactions of {TOGETHER} {copy:.0}/s ({:.0} %)",
        100.0 * many / copy
    );
}

/// How often a second the statements are made, each in a transaction of its own. The parameter of the first is another number each time, and that of the
/// next what the one before returned.
pub(crate) fn rate(cluster: &Cluster, clients: usize, statements: &[&str]) -> f64 {
    drop(tables(cluster, "appended"));
    let statements: Vec<_> = statements.iter().map(ToString::to_string).collect();
    let next = Arc::new(AtomicI64::new(1));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = sure(builder.worker_threads(1).enable_all().build());
    let start = |_| runtime.spawn(client(cluster.url(), statements.clone(), Arc::clone(&next)));
    let running: Vec<_> = (0..clients).map(start).collect();
    let count: u32 = running.into_iter().map(|client| sure(runtime.block_on(client))).sum();
    f64::from(count) / MEASURED.as_secs_f64()
}

async fn client(url: String, statements: Vec<String>, next: Arc<AtomicI64>) -> u32 {
    let (client, connection) = sure(tokio_postgres::connect(&url, NoTls).await);
    tokio::spawn(connection);
    sure(client.batch_execute("SET search_path TO appended").await);
    let mut prepared = Vec::new();
    for statement in &statements {
        prepared.push(sure(client.prepare(statement).await));
    }
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < WARM_UP + MEASURED {
        let mut parameter = next.fetch_add(1, Ordering::Relaxed);
        for statement in &prepared {
            let rows = sure(client.query(statement, &[&parameter]).await);
            parameter = rows.first().and_then(|row| row.try_get(0).ok()).unwrap_or(parameter);
        }
        count += u32::from(began.elapsed() > WARM_UP);
    }
    count
}

fn a_second(took: Duration) -> f64 {
    f64::from(u32::try_from(ROWS).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

/// The events a second of calls for several appends, with one event each.
fn append_many(cluster: &Cluster) -> f64 {
    let hand = tables(cluster, "appended");
    let data = String::from_utf8_lossy(PAYLOAD);
    let member = |row: &Row| {
        let Row {
            aggregate,
            event_type,
            correlation,
            user,
            ..
        } = row;
        format!(
            "{{\"aggregateId\": \"{aggregate}\", \"aggregateType\": \"Payment\", \"events\": [{{\"eventType\": \"{event_type}\", \
             \"correlationId\": \"{correlation}\", \"userId\": \"{user}\", \"eventData\": {data}}}]}}"
        )
    };
    let rows: Vec<Row> = (1..=ROWS).map(Row::new).collect();
    let call = |rows: &[Row]| {
        let members: Vec<_> = rows.iter().map(member).collect();
        format!("SELECT count(*) FROM append_many('[{}]')", members.join(","))
    };
    let calls: Vec<_> = rows.chunks(TOGETHER).map(call).collect();
    a_second(timed(|| calls.iter().for_each(|call| hand.run(call))))
}

fn copy(cluster: &Cluster) -> f64 {
    let rows: Vec<Row> = (1..=ROWS).map(Row::new).collect();
    let mut hand = tables(cluster, "by_copy");
    a_second(timed(|| rows.chunks(TOGETHER).for_each(|rows| hand.copy(rows))))
}
