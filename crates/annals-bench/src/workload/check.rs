//! The bounds of a workload's keys.

use super::{Mode, Skew, Workload, WorkloadError};

/// Events of the load, of all streams together.
const PRELOAD_MAX: u64 = 20_000_000;
/// Processes of a load.
const PROCESSES_MAX: u64 = 64;
/// Events that all readers together may see: the time of each is kept.
const SEEN_MAX: u64 = 50_000_000;

pub(super) fn check(workload: &Workload) -> Result<(), WorkloadError> {
    check_names(workload)?;
    check_mix(workload)?;
    check_data(workload)?;
    check_load(workload)?;
    check_readers(workload)?;
    check_recover(workload)?;
    check_processes(workload, 0)?;
    check_phases(workload)
}

/// At least `min` processes, and none where the load is of one alone.
pub(super) fn check_processes(workload: &Workload, min: u64) -> Result<(), WorkloadError> {
    let processes = u64::from(workload.load.processes);
    bounds("load.processes", processes, min, PROCESSES_MAX)?;
    ensure(
        processes == 0 || workload.recover.is_none() && workload.log.is_none(),
        || {
            "load.processes: a process that is killed, and one that imports a log, appends alone; set load.processes = 0".to_owned()
        },
    )
}

fn check_names(workload: &Workload) -> Result<(), WorkloadError> {
    let is_name = |name: &str| {
        let allowed = |c: char| c.is_alphanumeric() || "-_/.,%() ".contains(c);
        (1..=64).contains(&name.len()) && name.chars().all(allowed)
    };
    let names = workload.variants.iter().map(|variant| &variant.name);
    for name in names
        .chain([&workload.name])
        .chain(workload.goals.iter().map(|goal| &goal.name))
    {
        ensure(is_name(name), || {
            format!("'{name}' is no name: 1 to 64 letters, digits, spaces and - _ / . , % ( )")
        })?;
    }
    bounds("the number of variants", workload.variants.len() as u64, 0, 100)?;
    bounds("the number of goals", workload.goals.len() as u64, 0, 100)
}

fn check_mix(workload: &Workload) -> Result<(), WorkloadError> {
    let is_weight = |weight: &f64| weight.is_finite() && *weight >= 0.0;
    let sum: f64 = workload.mix.values().sum();
    ensure(
        workload.mix.values().all(is_weight) && sum > 0.0 && sum.is_finite(),
        || "mix: weights are numbers from 0 up, and one is above 0".to_owned(),
    )
}

fn check_data(workload: &Workload) -> Result<(), WorkloadError> {
    let (data, payload) = (&workload.data, &workload.payload);
    bounds("data.streams", data.streams, 1, 100_000_000)?;
    bounds("data.batch", u64::from(data.batch), 1, 10_000)?;
    bounds("data.days", u64::from(data.days), 1, 10_000)?;
    if data.time_to_live_ms > 0 {
        // A new event is read before it expires.
        bounds("data.time_to_live_ms", data.time_to_live_ms, 100, 3_600_000)?;
        ensure(workload.recover.is_none(), || {
            "data.time_to_live_ms: nothing expires in a process that is killed; set it to 0".to_owned()
        })?;
    }
    let preloaded = data.streams.saturating_mul(data.events_per_stream);
    bounds("data.streams times data.events_per_stream", preloaded, 0, PRELOAD_MAX)?;
    bounds("payload.bytes_p50", u64::from(payload.bytes_p50), 1, 1 << 20)?;
    bounds(
        "payload.bytes_p99",
        u64::from(payload.bytes_p99),
        u64::from(payload.bytes_p50),
        1 << 20,
    )?;
    share("payload.random_share", payload.random_share)?;
    match workload.skew {
        Skew::Uniform => Ok(()),
        Skew::Zipf { theta } => ensure((0.0..=5.0).contains(&theta), || {
            format!("skew.theta is {theta}, but must be from 0 to 5")
        }),
        Skew::Hot { streams, share: part } => {
            bounds("skew.streams", streams, 1, data.streams)?;
            share("skew.share", part)
        }
    }
}

fn check_load(workload: &Workload) -> Result<(), WorkloadError> {
    let load = &workload.load;
    ensure((0.01..=100_000_000.0).contains(&load.rate), || {
        format!("load.rate is {}, but must be from 0.01 to 100,000,000", load.rate)
    })?;
    bounds("load.workers", u64::from(load.workers), 1, 1_024)?;
    bounds("load.burst_period_ms", load.burst_period_ms, 1, 3_600_000)?;
    share("load.burst_share", load.burst_share)?;
    let most = load.burst_factor * load.burst_share;
    ensure(load.burst_factor >= 1.0 && most < 1.0, || {
        "load.burst_factor is at least 1, and times load.burst_share below 1".to_owned()
    })
}

fn check_readers(workload: &Workload) -> Result<(), WorkloadError> {
    let tails = u64::from(workload.readers.tails);
    bounds("readers.tails", tails, 0, 1_024)?;
    let events = workload
        .phases
        .operations_max
        .saturating_mul(u64::from(workload.data.batch));
    let seen = events.saturating_mul(tails);
    bounds(
        "readers.tails times phases.operations_max times data.batch",
        seen,
        0,
        SEEN_MAX,
    )
}

fn check_recover(workload: &Workload) -> Result<(), WorkloadError> {
    let Some(recover) = &workload.recover else {
        return Ok(());
    };
    bounds("recover.kill_after_ms", recover.kill_after_ms, 1, 3_600_000)?;
    ensure(workload.readers.tails == 0, || {
        "recover: there is no reader in a process that is killed; set readers.tails = 0".to_owned()
    })?;
    ensure(workload.load.mode == Mode::Saturate && workload.log.is_none(), || {
        "recover: the process that is killed appends in a closed loop; set load.mode = \"saturate\"".to_owned()
    })
}

fn check_phases(workload: &Workload) -> Result<(), WorkloadError> {
    let (phases, hour) = (&workload.phases, 3_600_000);
    bounds("phases.settle_ms", phases.settle_ms, 0, hour)?;
    bounds("phases.warmup_ms", phases.warmup_ms, 0, hour)?;
    bounds("phases.measure_ms", phases.measure_ms, 1, hour)?;
    bounds("phases.drain_ms", phases.drain_ms, 1, hour)?;
    bounds("phases.operations_max", phases.operations_max, 1, 50_000_000)?;
    bounds("phases.repeats", u64::from(phases.repeats), 1, 100)?;
    bounds("read.limit", workload.read.limit as u64, 1, 100_000)
}

fn share(name: &str, value: f64) -> Result<(), WorkloadError> {
    ensure((0.0..=1.0).contains(&value), || {
        format!("{name} is {value}, but must be from 0 to 1")
    })
}

fn bounds(name: &str, value: u64, min: u64, max: u64) -> Result<(), WorkloadError> {
    ensure((min..=max).contains(&value), || {
        format!("{name} is {value}, but must be from {min} to {max}")
    })
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), WorkloadError> {
    if holds { Ok(()) } else { Err(WorkloadError(reason())) }
}

#[cfg(test)]
mod tests {
    use crate::workload::{Workload, with_settings};

    #[test]
    fn a_workload_without_a_mix_was_refused() {
        assert_eq!(Workload::parse(r#"name = "mine""#).unwrap(), Workload::named("mine"));
    }

    #[test]
    fn a_value_out_of_bounds_was_accepted() {
        for wrong in [
            "mix.append=-1",
            "mix.append=nan",
            "mix.append=0",
            "data.streams=0",
            "data.batch=0",
            "data.events_per_stream=100000000",
            "payload.bytes_p99=1",
            "payload.random_share=1.5",
            "load.rate=0",
            "load.rate=inf",
            "load.workers=5000",
            "load.processes=65",
            "data.time_to_live_ms=99",
            "load.burst_factor=20",
            "phases.measure_ms=0",
            "phases.repeats=1000",
            "name=<script>",
            "read.limit=0",
            "readers.tails=2000",
            "readers.tails=26",
            "recover.kill_after_ms=0",
        ] {
            let text = "name = \"small\"\n[mix]\nappend = 1.0";
            assert!(with_settings(text, &[wrong.parse().unwrap()]).is_err(), "{wrong}");
        }
    }
}
