//! The workloads of the command line, with their settings.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use annals_bench::workload::{BUILT_IN, Setting, Workload, built_in, with_settings};

use crate::args::bench::What;
use crate::exit::{Failure, Outcome};

/// The workload if none is given.
const DEFAULT: &str = "quick";
/// The most bytes of a workload file.
const BYTES_MAX: u64 = 1 << 20;

/// The workloads of the command line, with its settings.
pub(super) fn workloads(what: &What, rate: Option<f64>) -> Outcome<Vec<Workload>> {
    let settings = settings(what, rate)?;
    let default = [DEFAULT.to_owned()];
    let names = if what.workload.is_empty() {
        &default[..]
    } else {
        &what.workload
    };
    names.iter().map(|name| read(name, &settings)).collect()
}

/// `workload` with the settings of the command line; the events of its log stay.
pub(super) fn changed(workload: Workload, what: &What) -> Outcome<Workload> {
    let text = workload.to_toml().map_err(usage)?;
    let mut changed = with_settings(&text, &settings(what, None)?).map_err(usage)?;
    changed.log = workload.log;
    Ok(changed)
}

/// The settings of options, and those of `--set` after them.
fn settings(what: &What, rate: Option<f64>) -> Outcome<Vec<Setting>> {
    let millis = |time: Duration| time.as_millis().to_string();
    let options = [
        ("phases.measure_ms", what.duration.map(millis)),
        ("phases.warmup_ms", what.warmup.map(millis)),
        ("phases.repeats", what.repeat.map(|repeats| repeats.to_string())),
        ("load.rate", rate.map(|rate| format!("{rate:?}"))),
        ("load.mode", rate.map(|_| "open".to_owned())),
    ];
    let given = options
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value?)));
    let settings = given
        .map(|text| text.parse().map_err(usage))
        .collect::<Outcome<Vec<Setting>>>();
    let mut settings = settings?;
    settings.extend(what.set.iter().cloned());
    Ok(settings)
}

#[expect(clippy::needless_pass_by_value, reason = "errors are mapped by it")]
fn usage(error: impl ToString) -> Failure {
    Failure::Usage(error.to_string())
}

fn read(name: &str, settings: &[Setting]) -> Outcome<Workload> {
    if let Some(text) = built_in(name) {
        return with_settings(text, settings).map_err(|error| Failure::Usage(format!("{name}: {error}")));
    }
    let path = Path::new(name);
    if path.extension().is_none() {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        let text = format!(
            "there is no workload '{name}': name a file *.toml, or one of {}",
            names.join(", ")
        );
        return Err(Failure::Usage(text));
    }
    let file = File::open(path).map_err(|error| Failure::of_input(path, &error))?;
    let mut text = String::new();
    file.take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::of_input(path, &error))?;
    with_settings(&text, settings).map_err(|error| Failure::Data(format!("{name}: {error}")))
}
