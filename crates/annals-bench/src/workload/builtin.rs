//! The workloads that come with the program.

/// The built-in workloads: the name, and the file.
pub const BUILT_IN: [(&str, &str); 15] = [
    ("quick", include_str!("../../workloads/quick.toml")),
    ("append-small", include_str!("../../workloads/append-small.toml")),
    ("aggregate-cycle", include_str!("../../workloads/aggregate-cycle.toml")),
    ("hot-stream", include_str!("../../workloads/hot-stream.toml")),
    ("session-burst", include_str!("../../workloads/session-burst.toml")),
    (
        "metrics-firehose",
        include_str!("../../workloads/metrics-firehose.toml"),
    ),
    ("catch-up", include_str!("../../workloads/catch-up.toml")),
    ("fan-out", include_str!("../../workloads/fan-out.toml")),
    ("projection-lag", include_str!("../../workloads/projection-lag.toml")),
    ("recover", include_str!("../../workloads/recover.toml")),
    ("query-mix", include_str!("../../workloads/query-mix.toml")),
    ("snapshot-load", include_str!("../../workloads/snapshot-load.toml")),
    ("degradation", include_str!("../../workloads/degradation.toml")),
    ("mixed-office", include_str!("../../workloads/mixed-office.toml")),
    ("reference", include_str!("../../workloads/reference.toml")),
];

/// The file of the built-in workload `name`.
pub fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(own, _)| *own == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn a_built_in_workload_was_invalid() {
        for (name, text) in BUILT_IN {
            let workload = Workload::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(workload.name, name);
            assert!(!workload.about.is_empty(), "{name}");
            workload.rows().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
