//! `bench record`, and the logs that `bench run --import` appends.

use std::path::Path;
use std::sync::Arc;

use annals::{EventRef, Store};
use annals_bench::record::{Recorded, Recorder};
use annals_bench::workload::{Log, Logged, Workload};

use crate::exit::{Failure, Outcome};
use crate::load::loader::Loader;
#[cfg(feature = "serve")]
use crate::load::remote;
use crate::load::{Location, Options, durable};
use crate::output::Out;

const NAMED: &str = "name a log, the folder of a store, or the URL of one";
/// Maximum bytes of payloads that are compressed together to estimate the compression ratio.
const SAMPLE_BYTES: usize = 1 << 20;
/// Maximum bytes of an imported log's payloads, which are in memory.
const IMPORT_BYTES_MAX: usize = 8 << 30;

/// Writes the workload of a log.
pub(super) fn run(log: &Path, name: &str, out: &mut Out<'_>) -> Outcome {
    let store = open(log, out)?;
    let mut recorder = Recorder::default();
    let mut sample = Vec::new();
    store.read_all().for_each(|event| {
        let data = event.data();
        recorder.add(Recorded {
            stream: event.aggregate_id(),
            micros: event.timestamp().as_micros(),
            bytes: data.len(),
            correlation: event.correlation_id(),
            user: event.user_id(),
        });
        if sample.len() + data.len() <= SAMPLE_BYTES {
            sample.extend_from_slice(data);
        }
    });
    let compressed = zstd::bulk::compress(&sample, 0)?;
    recorder.add_compressed(sample.len() as u64, compressed.len() as u64);
    let text = recorder.finish(name).and_then(|workload| workload.to_toml());
    let text = text.map_err(|error| Failure::Data(format!("{}: {error}", log.display())))?;
    Ok(out.stdout.write_all(text.as_bytes())?)
}

/// The events of a log as a workload.
pub(super) fn import(log: &Path, out: &mut Out<'_>) -> Outcome<Workload> {
    let store = open(log, out)?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    store.read_all().for_each(|event| {
        bytes += event.data().len();
        if bytes <= IMPORT_BYTES_MAX {
            events.push(logged(event));
        }
    });
    let refused = |reason: &str| Failure::Data(format!("cannot import {}: {reason}", log.display()));
    if bytes > IMPORT_BYTES_MAX {
        return Err(refused("its payloads have more than 8 GiB"));
    }
    let log = Log {
        path: log.to_string_lossy().into_owned(),
        events: Arc::new(events),
    };
    Workload::import(log).map_err(|error| refused(&error.to_string()))
}

fn logged(event: EventRef<'_>) -> Logged {
    Logged {
        stream: event.aggregate_id().to_owned(),
        event_type: event.event_type().to_owned(),
        correlation: event.correlation_id().unwrap_or_default().to_owned(),
        micros: event.timestamp().as_micros(),
        data: event.data().to_vec(),
    }
}

/// Reads again the logs that workloads of a result import.
pub(super) fn reopen(workloads: &mut [Workload], out: &mut Out<'_>) -> Outcome {
    for workload in workloads {
        if let Some(log) = workload.log.take() {
            workload.log = import(Path::new(&log.path), out)?.log;
        }
    }
    Ok(())
}

fn open(log: &Path, out: &mut Out<'_>) -> Outcome<Store> {
    let location = log.to_string_lossy().parse::<Location>().map_err(Failure::Usage)?;
    match location {
        Location::Durable(url) => durable::open_to_read(&url, &[], out),
        Location::File(path) => {
            let mut loader = Loader::new()?;
            loader.load(&path, &Options::default())?;
            Ok(loader.store)
        }
        #[cfg(feature = "serve")]
        Location::Server(url) => remote::copy(&url),
        #[cfg(not(feature = "serve"))]
        Location::Server(_) => Err(Failure::Usage(NAMED.to_owned())),
        Location::Memory => Err(Failure::Usage(NAMED.to_owned())),
    }
}
