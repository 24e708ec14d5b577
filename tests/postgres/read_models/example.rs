//! The example, on the test server.

use super::Bench;

#[expect(dead_code, reason = "its `main` is for the command line")]
#[path = "../../../examples/projection_to_postgres.rs"]
mod program;

#[test]
fn the_example_did_not_go_on_where_it_stopped() {
    let bench = Bench::new();
    // Without quotes and spaces, as a reader writes it.
    let schema = format!("annals_example_{}", std::process::id());
    let lines = |count: u64| {
        let lines = program::run(&bench.schema.url, &schema).expect("it runs");
        let (anna, berta) = (count * 60, count * 40);
        let parked: Vec<_> = lines.iter().filter(|line| line.starts_with("parked: ")).collect();
        assert_eq!(parked.len() as u64, count, "{lines:?}");
        assert!(
            parked[0].contains("order-4") && parked[0].contains("carl has ordered nothing"),
            "{lines:?}"
        );
        assert_eq!(lines[1], format!("anna       {count:>6} {anna:>6}"));
        assert_eq!(lines[2], format!("berta      {count:>6} {berta:>6}"));
    };
    (1..=3).for_each(lines);
    bench.schema.sql(&format!("DROP SCHEMA {schema} CASCADE"));
}
