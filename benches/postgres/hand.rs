//! What a program would do that had nothing but the driver.

use std::error::Error;
use std::pin::pin;

use bytes::{BufMut as _, BytesMut};
use futures_util::TryStreamExt as _;
use tokio::runtime::Runtime;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls};

use super::{PAYLOAD, Row, sure};

/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH: i64 = 946_684_800_000_000;
const COLUMNS: &str = "position, event_id, aggregate_id, aggregate_type, event_type, schema_version, version, occurred_at, recorded_at, \
                       correlation_id, user_id, tags, data, data_bytes";

/// A connection, and what it is driven by.
pub(crate) struct Hand {
    runtime: Runtime,
    client: Client,
}

/// JSON as the server takes it: a version, then the text.
#[derive(Debug)]
struct Json<'a>(&'a [u8]);

/// Microseconds since 2000.
#[derive(Debug)]
struct Time(i64);

macro_rules! to_sql {
    ($name:ty, $type:ident, |$value:ident, $out:ident| $put:expr) => {
        impl ToSql for $name {
            fn to_sql(&self, _: &Type, $out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
                let $value = self;
                $put;
                Ok(IsNull::No)
            }

            fn accepts(of: &Type) -> bool {
                *of == Type::$type
            }

            to_sql_checked!();
        }
    };
}

to_sql!(Json<'_>, JSONB, |json, out| {
    out.put_u8(1);
    out.put_slice(json.0);
});
to_sql!(Time, TIMESTAMPTZ, |time, out| out.put_i64(time.0));

fn time(row: &Row) -> Time {
    Time(row.time.as_micros() - EPOCH)
}

impl Hand {
    pub(crate) fn connect(url: &str) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = sure(builder.worker_threads(1).enable_all().build());
        let (client, connection) = sure(runtime.block_on(tokio_postgres::connect(url, NoTls)));
        runtime.spawn(connection);
        Self { runtime, client }
    }

    pub(crate) fn run(&self, sql: &str) {
        sure(self.runtime.block_on(self.client.batch_execute(sql)));
    }

    pub(crate) fn copy(&mut self, rows: &[Row]) {
        let types = [
            Type::INT8,
            Type::UUID,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::INT8,
            Type::INT8,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT_ARRAY,
            Type::JSONB,
            Type::BYTEA,
        ];
        let copied = self.runtime.block_on(async {
            let sink = self
                .client
                .copy_in(&format!("COPY events ({COLUMNS}) FROM STDIN BINARY"))
                .await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
            for row in rows {
                let (position, version) = (row.position.cast_signed(), row.version.cast_signed());
                let (tags, data): (&[&str], _) = (&[], Json(PAYLOAD));
                writer
                    .as_mut()
                    .write(&[
                        &position,
                        &row.id,
                        &row.aggregate,
                        &"Payment",
                        &row.event_type,
                        &1_i64,
                        &version,
                        &time(row),
                        &time(row),
                        &row.correlation,
                        &row.user,
                        &tags,
                        &data,
                        &&PAYLOAD[..],
                    ])
                    .await?;
            }
            writer.finish().await
        });
        assert_eq!(sure(copied), rows.len() as u64);
    }

    pub(crate) fn unnest(&mut self, rows: &[Row]) {
        let statement = format!(
            "INSERT INTO events ({COLUMNS}) SELECT position, id, aggregate, 'Payment', type, 1, version, time, time, correlation, \
             person, '{{}}', data, bytes FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], \
             $7::text[], $8::text[], $9::jsonb[], $10::bytea[]) \
             AS rows (position, id, aggregate, type, version, time, correlation, person, data, bytes)"
        );
        let inserted = self.runtime.block_on(async {
            let statement = self.client.prepare(&statement).await?;
            let column = |of: fn(&Row) -> i64| rows.iter().map(of).collect::<Vec<_>>();
            let text = |of: fn(&Row) -> &str| rows.iter().map(of).collect::<Vec<_>>();
            let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
            let times: Vec<_> = rows.iter().map(time).collect();
            let data: Vec<_> = rows.iter().map(|_| Json(PAYLOAD)).collect();
            let bytes: Vec<&[u8]> = rows.iter().map(|_| &PAYLOAD[..]).collect();
            let parameters: [&(dyn ToSql + Sync); 10] = [
                &column(|row| row.position.cast_signed()),
                &ids,
                &text(|row| &row.aggregate),
                &text(|row| &row.event_type),
                &column(|row| row.version.cast_signed()),
                &times,
                &text(|row| &row.correlation),
                &text(|row| &row.user),
                &data,
                &bytes,
            ];
            self.client.execute(&statement, &parameters).await
        });
        assert_eq!(sure(inserted), rows.len() as u64);
    }

    /// Reads every column of every row in order. Answers how many bytes that were.
    pub(crate) fn copy_out(&mut self) -> u64 {
        let read = self.runtime.block_on(async {
            let stream = self
                .client
                .copy_out("COPY (SELECT * FROM events ORDER BY position) TO STDOUT BINARY")
                .await?;
            stream
                .try_fold(0, async |sum, bytes| Ok(sum + bytes.len() as u64))
                .await
        });
        sure(read)
    }
}
