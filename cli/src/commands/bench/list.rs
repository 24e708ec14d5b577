//! `bench list`: backends and workloads.

use std::path::Path;

use annals_bench::backends::{NAMES, SERVERS, Server, named};
use annals_bench::workload::{BUILT_IN, Workload};
use serde_json::Value;

use crate::exit::{Failure, Outcome};
use crate::output::records::Records;
use crate::output::{Format, Out};

pub(super) fn show(out: &mut Out<'_>) -> Outcome {
    if out.format != Format::Table {
        return all().write(out);
    }
    backends().write(out)?;
    out.line("")?;
    servers().write(out)?;
    out.line("")?;
    workloads().write(out)?;
    out.hint("a server that is not built in needs a build with --features FEATURE")
        .map_err(Failure::from)
}

fn backends() -> Records {
    let mut records = Records::new(&["backend", "durability", "batch unit", "check", "software"]).prose_last();
    for backend in NAMES.iter().filter_map(|name| named(name, Path::new("")).ok()) {
        let backend = backend.description();
        records.push(vec![
            Value::from(backend.name),
            Value::from(backend.durability.name()),
            Value::from(backend.batch_unit.name()),
            Value::from(backend.check.name()),
            Value::from(backend.software),
        ]);
    }
    records
}

/// Backends that are given by a URL. Their durability is that of the server, which is not queried here.
fn servers() -> Records {
    let mut records = Records::new(&["server", "built in", "feature", "software"]).prose_last();
    for server in SERVERS {
        records.push(vec![
            Value::from(server.url),
            Value::from(if server.is_built_in { "yes" } else { "no" }),
            Value::from(server.feature),
            Value::from(server.software),
        ]);
    }
    records
}

/// Whether this program contains it, and otherwise how to get it.
fn presence(server: &Server) -> String {
    if server.is_built_in {
        "yes".to_owned()
    } else {
        format!("no: build it with --features {}", server.feature)
    }
}

fn workloads() -> Records {
    let mut records = Records::new(&["workload", "rows", "what it is"]).prose_last();
    for (name, workload) in BUILT_IN
        .iter()
        .filter_map(|(name, text)| Some((name, Workload::parse(text).ok()?)))
    {
        let rows = workload.variants.len().max(1) as u64;
        records.push(vec![Value::from(*name), Value::from(rows), Value::from(workload.about)]);
    }
    records
}

/// Both in one list, for programs.
fn all() -> Records {
    let mut records = Records::new(&["kind", "name", "durability", "about"]);
    for backend in NAMES.iter().filter_map(|name| named(name, Path::new("")).ok()) {
        let backend = backend.description();
        records.push(vec![
            Value::from("backend"),
            Value::from(backend.name),
            Value::from(backend.durability.name()),
            Value::from(backend.software),
        ]);
    }
    for server in SERVERS {
        records.push(vec![
            Value::from("server"),
            Value::from(server.url),
            Value::Null,
            Value::from(format!("{}; in this program: {}", server.software, presence(server))),
        ]);
    }
    for (name, workload) in BUILT_IN
        .iter()
        .filter_map(|(name, text)| Some((name, Workload::parse(text).ok()?)))
    {
        records.push(vec![
            Value::from("workload"),
            Value::from(*name),
            Value::Null,
            Value::from(workload.about),
        ]);
    }
    records
}
