//! Rows of a query become the first events of aggregates.

use annals::Store;
use annals::cqrs::migration::rows::{RowError, postgres};
use annals::cqrs::migration::{Migrated, Migration};
use serde_json::{Value, json};

use crate::follow::url_at;
use crate::support::{Schema, prepared};

fn quoted(schema: &Schema) -> String {
    format!("\"{}\"", schema.name.replace('"', "\"\""))
}

fn source(schema: &Schema) -> String {
    url_at(&schema.url, schema)
}

#[test]
fn rows_of_a_query_are_migrated() {
    let schema = prepared();
    schema.sql(&format!(
        "CREATE TABLE {}.customers (id int, name text, since timestamptz, tags text[])",
        quoted(&schema)
    ));
    schema.sql(&format!(
        "INSERT INTO {}.customers SELECT n, 'name ' || n, '2019-05-01T09:00:00Z', ARRAY['a', NULL] FROM generate_series(1, 700) n",
        quoted(&schema)
    ));
    let query = "SELECT id, name, since, tags FROM customers ORDER BY id -- all of them";
    let rows = postgres(&source(&schema), query).expect("it is a query");
    let store = Store::in_memory();
    let migration = Migration::new(&store, "customers", |row: &Value| {
        let id = row["id"].as_i64().ok_or("it has no id")?;
        Ok(Migrated::new("Customer", format!("customer-{id}")).data(row))
    });
    let report = migration.run(rows).expect("it ends");
    assert_eq!((report.read, report.migrated, report.refused_count), (700, 700, 0));
    let event = store.read_stream("customer-700").events().remove(0);
    let data: Value = event.json().expect("JSON");
    assert_eq!(
        (&data["name"], &data["tags"]),
        (&json!("name 700"), &json!(["a", null]))
    );
    let again = migration
        .run(postgres(&source(&schema), &format!("{query};")).expect("a query"))
        .expect("it ends");
    assert_eq!(again.already_migrated, 700);
}

#[test]
fn a_query_that_writes_or_fails_is_refused() {
    let schema = prepared();
    schema.sql(&format!("CREATE TABLE {}.t (id int)", quoted(&schema)));
    let refused = |query: &str| match postgres(&source(&schema), query) {
        Err(RowError::Source { message: reason }) => reason,
        Err(other) => panic!("{other}"),
        Ok(rows) => rows.filter_map(Result::err).map(|error| error.to_string()).collect(),
    };
    assert!(
        refused("SELECT nothing FROM t").contains("nothing"),
        "{}",
        refused("SELECT nothing FROM t")
    );
    assert!(!refused("DELETE FROM t RETURNING id").is_empty());
    assert!(refused("SELECT pg_notify('a', 'b'), 1 / (random() * 0)::int").contains("division by zero"));
    assert!(!refused("SELECT 1; DROP TABLE t").is_empty());
    assert_eq!(
        schema.value(&format!("SELECT count(*) FROM {}.t", quoted(&schema))),
        "0",
        "the table is there"
    );
    assert!(matches!(postgres("memory:", "SELECT 1"), Err(RowError::Source { .. })));
    assert!(matches!(
        postgres("postgres://localhost:1/none", "SELECT 1"),
        Err(RowError::Source { .. })
    ));
}

#[test]
fn a_column_of_the_name_of_the_row_failed_the_query() {
    let schema = prepared();
    let read = |query: &str| -> Vec<Result<Value, RowError>> {
        let rows = postgres(&source(&schema), query);
        rows.unwrap_or_else(|error| panic!("{query}: {error}")).collect()
    };
    for name in ["annals_row", "annals_json", "json", "row", "annals_rows"] {
        let rows = read(&format!("SELECT 1 AS {name}"));
        assert_eq!(rows, [Ok(json!({name: 1}))]);
    }
    let rows = read(
        "SELECT true AS b, NULL::int AS n, '\\xff00'::bytea AS bytes, 'NaN'::numeric AS nan, '{1,NULL}'::int[] AS many",
    );
    assert_eq!(
        rows,
        [Ok(
            json!({"b": true, "n": null, "bytes": "\\xff00", "nan": "NaN", "many": [1, null]})
        )]
    );
}

#[test]
fn a_row_that_cannot_be_kept_whole_lost_a_part() {
    let schema = prepared();
    let reasons = |query: &str| -> Vec<String> {
        let rows = postgres(&source(&schema), query).expect("a query");
        rows.filter_map(Result::err).map(|error| error.to_string()).collect()
    };
    for (query, told) in [
        ("SELECT 1 AS id, 2 AS id", "field 'id' is there twice"),
        (
            "SELECT 12345678901234567890.12::numeric(30, 2) AS cents",
            "12345678901234567890.12 has more digits",
        ),
        ("SELECT '{\"a\": 1, \"a\": 2}'::json AS j", "field 'a' is there twice"),
        ("SELECT repeat('x', 17000000) AS note", "longer than 16777216 bytes"),
    ] {
        let reasons = reasons(query);
        assert!(reasons.len() == 1 && reasons[0].contains(told), "{query}: {reasons:?}");
    }
    for query in [
        "SELECT 12345678901234567890.12::numeric(30, 2)::text AS cents",
        "SELECT 1.50::numeric AS a, 0.1::float8 AS b, 9223372036854775807 AS c, 1e-7::float8 AS d",
        "SELECT 1 AS id, 2 AS \"ID\"",
    ] {
        assert_eq!(reasons(query), [""; 0], "{query}");
    }
    // The rows after it are read.
    let query =
        "SELECT n AS id, repeat('x', CASE n WHEN 2 THEN 17000000 ELSE 1 END) AS note FROM generate_series(1, 3) n";
    let rows: Vec<_> = postgres(&source(&schema), query).expect("a query").collect();
    assert!(rows.len() == 3 && rows[2].is_ok() && rows[1].is_err());
}
