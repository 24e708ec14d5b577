//! Triggers of users on the table `events`.

use annals::journal::{Journal, JournalErrorKind};

use crate::support::{Schema, batch, prepared, recovered};

/// Has a trigger leave out the rows for which `condition` holds.
fn leave_out(schema: &Schema, condition: &str) {
    schema.sql(&format!(
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF {condition} THEN RETURN NULL; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER leave_out BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION leave_out()"
    ));
}

fn forget(schema: &Schema) {
    schema.sql("DROP TRIGGER leave_out ON events; DROP FUNCTION leave_out");
}

/// The events of the table, and the position of the head.
fn standing(schema: &Schema) -> String {
    schema.value("SELECT (SELECT count(*) FROM events) || ' of ' || position FROM head")
}

#[test]
fn an_append_in_sql_lost_the_rows_that_a_trigger_left_out() {
    let one = r#"{"eventType": "Noted"}"#;
    let append =
        |id: &str, events: &str| format!(r#"{{"aggregateId": "{id}", "aggregateType": "Note", "events": [{events}]}}"#);
    let several = [one; 3].join(", ");
    let calls = [
        format!("SELECT append_events('a', 'Note', NULL, '[{one}]')"),
        format!("SELECT append_events('a', 'Note', NULL, '[{several}]')"),
        format!("SELECT append_events('old', 'Note', 1, '[{several}]')"),
        format!("SELECT append_unsynced('a', 'Note', NULL, '[{several}]')"),
        format!(
            "SELECT * FROM append_many('[{}, {}]')",
            append("a", &several),
            append("b", one)
        ),
        // The second one is of the same aggregate.
        format!(
            "SELECT * FROM append_many('[{}, {}]')",
            append("a", one),
            append("a", &several)
        ),
    ];
    for schema in [prepared(), Schema::partitioned()] {
        drop(schema.journal().expect("the tables are made"));
        schema.sql(&format!("SELECT append_events('old', 'Note', NULL, '[{one}]')"));
        for condition in ["true", "NEW.position % 2 = 0", "NEW.version > 2"] {
            leave_out(&schema, condition);
            for call in &calls {
                // The first call has no third event.
                if call.matches(one).count() == 1 && condition == "NEW.version > 2" {
                    continue;
                }
                let refused = schema.try_sql(call).expect_err("a row is left out");
                let refused = refused.as_db_error().expect("the server says it").clone();
                assert_eq!(refused.code().code(), "09000", "{call}: {refused}");
                assert!(
                    refused.message().contains("a trigger on it left the others out"),
                    "{refused}"
                );
                assert_eq!(standing(&schema), "1 of 1", "{call} with {condition}");
            }
            forget(&schema);
        }
        for call in &calls {
            schema.sql(call);
        }
        let standing = standing(&schema);
        let (events, position) = standing.split_once(" of ").expect("two numbers");
        assert_eq!(events, position);
    }
}

#[test]
fn a_batch_lost_the_rows_that_a_trigger_left_out() {
    for (count, condition) in [
        (1, "true"),
        (3, "NEW.position = 7"),
        (3, "true"),
        (100, "NEW.position = 100"),
        (100, "true"),
    ] {
        let schema = prepared();
        let mut journal = schema.journal().expect("it opens");
        assert_eq!(recovered(&mut journal), 0);
        journal.write(&batch(1, 5)).expect("written");
        leave_out(&schema, condition);
        let refused = journal.write(&batch(6, count)).expect_err("a row is left out");
        assert_eq!(refused.kind(), JournalErrorKind::Failed, "{refused}");
        let said = refused.to_string();
        assert!(said.contains("a trigger on it left the others out"), "{said}");
        assert_eq!(standing(&schema), "5 of 5", "{count} with {condition}");
        drop(journal);
        forget(&schema);
        assert_eq!(recovered(&mut schema.journal().expect("it opens")), 5);
    }
}
