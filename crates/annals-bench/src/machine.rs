//! The machine on which figures were measured.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock as _, MonotonicClock};

/// Syncs of the probe.
const SYNCS: usize = 16;
/// Bytes that are written before each.
const SYNC_BYTES: usize = 4096;
/// A disk that is faster has a cache that survives a loss of power, or does not write at all.
const SYNC_PLAUSIBLE: Duration = Duration::from_micros(30);
/// Readings of the clock in its self-test.
const CLOCK_READINGS: usize = 100_000;
/// The clock must tell times apart that differ by this much.
const CLOCK_STEP_MAX: Duration = Duration::from_micros(10);
/// The maximum bytes that are read of a system file.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// The properties of the machine on which figures depend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The operating system and its version.
    pub system: String,
    /// The model of the processor.
    pub processor: String,
    /// Processors that the process may use.
    pub processors: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The type of the file system of the data, and its device.
    pub file_system: String,
    /// The frequency governor of the processors, if known.
    pub governor: String,
    /// The limits of the container, if any.
    pub limits: String,
}

impl Machine {
    /// This machine, with data below `folder`.
    pub fn this(folder: &Path) -> Self {
        let cpu = text("/proc/cpuinfo");
        let memory = text("/proc/meminfo");
        let kilobytes = value(&memory, "MemTotal").trim_end_matches("kB").trim().parse::<u64>();
        Self {
            system: format!("{} {}", std::env::consts::OS, text("/proc/sys/kernel/osrelease").trim()),
            processor: value(&cpu, "model name").to_owned(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kilobytes.unwrap_or(0).saturating_mul(1024),
            file_system: file_system(folder),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .trim()
                .to_owned(),
            limits: limits(),
        }
    }

    /// Whether figures of `other` can be compared with those of this one.
    pub fn is_like(&self, other: &Self) -> bool {
        let same = |this: &Self| {
            let Self {
                processor,
                processors,
                memory_bytes,
                file_system,
                governor,
                limits,
                system: _,
            } = this.clone();
            // The kernel reserves some memory, more or less of it after each start.
            (processor, processors, memory_bytes >> 30, file_system, governor, limits)
        };
        same(self) == same(other)
    }
}

/// The start of a small file; empty if it cannot be read.
fn text(path: &str) -> String {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_string(&mut text));
    read.map_or_else(|_| String::new(), |_| text)
}

/// The text after `key` and a colon in the first line that starts with it.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let lines = text.lines().filter_map(|line| line.strip_prefix(key));
    let mut values = lines.filter_map(|rest| rest.trim_start().strip_prefix(':'));
    values.next().unwrap_or_default().trim()
}

/// The type and the device of the file system that `folder` is on.
fn file_system(folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_default();
    let mounts = text("/proc/self/mounts");
    let mount = |line: &str| {
        let mut words = line.split(' ');
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        folder
            .starts_with(place)
            .then(|| (place.len(), format!("{kind} on {device}")))
    };
    let deepest = mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length);
    deepest.map(|(_, name)| name).unwrap_or_default()
}

/// The limits of the control group.
fn limits() -> String {
    let named = [
        ("cpu", "/sys/fs/cgroup/cpu.max"),
        ("memory", "/sys/fs/cgroup/memory.max"),
    ];
    let limited = named.iter().filter_map(|(name, path)| {
        let text = text(path);
        let text = text.trim();
        (!text.is_empty() && !text.starts_with("max")).then(|| format!("{name} {text}"))
    });
    limited.collect::<Vec<_>>().join(", ")
}

/// The results of the self-tests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfTest {
    /// The median time of a sync on the file system of the data, in microseconds.
    pub sync_micros: Option<u64>,
    /// The reasons to doubt the figures.
    pub warnings: Vec<String>,
}

impl SelfTest {
    /// Probes the clock, and the time of a sync in `folder`.
    pub fn run(folder: &Path) -> Self {
        let mut warnings = Vec::new();
        warnings.extend(check_clock(&mut clock_readings().into_iter()));
        let sync = probe_sync(folder);
        match &sync {
            Ok(time) if *time < SYNC_PLAUSIBLE => warnings.push(format!(
                "a sync takes {} µs: the disk has a protected cache, or it confirms what it has not written",
                time.as_micros()
            )),
            Ok(_) => {}
            Err(error) => warnings.push(format!("cannot probe a sync in {}: {error}", folder.display())),
        }
        if cfg!(debug_assertions) {
            warnings.push("the program is a debug build, which is several times slower".to_owned());
        }
        let time = sync
            .ok()
            .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        Self {
            sync_micros: time,
            warnings,
        }
    }
}

fn clock_readings() -> Vec<Duration> {
    let clock = MonotonicClock::start();
    (0..CLOCK_READINGS).map(|_| clock.now()).collect()
}

/// The fault of a clock with these readings, if any.
fn check_clock(readings: &mut dyn Iterator<Item = Duration>) -> Option<String> {
    let mut last = readings.next()?;
    let mut smallest = Duration::MAX;
    for reading in readings {
        if reading < last {
            return Some("the clock goes back: no figure can be trusted".to_owned());
        }
        if reading > last {
            smallest = smallest.min(reading.saturating_sub(last));
        }
        last = reading;
    }
    (smallest > CLOCK_STEP_MAX).then(|| "the clock moves in steps of more than 10 µs, or not at all".to_owned())
}

/// The median time of a sync after a small write.
fn probe_sync(folder: &Path) -> io::Result<Duration> {
    let path = folder.join(format!("sync-probe-{}", std::process::id()));
    let probed = probe_file(&path);
    let removed = fs::remove_file(&path);
    let mut times = probed?;
    removed?;
    times.sort_unstable();
    Ok(times.get(SYNCS / 2).copied().unwrap_or_default())
}

fn probe_file(path: &Path) -> io::Result<Vec<Duration>> {
    let clock = MonotonicClock::start();
    let mut file = fs::File::create_new(path)?;
    let sync = |_| {
        file.write_all(&[b'x'; SYNC_BYTES])?;
        let started = clock.now();
        file.sync_data()?;
        Ok(clock.now().saturating_sub(started))
    };
    (0..SYNCS).map(sync).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_or_stands_still_was_trusted() {
        let micros = |list: &[u64]| list.iter().copied().map(Duration::from_micros).collect::<Vec<_>>();
        let found = |list: &[u64]| check_clock(&mut micros(list).into_iter());
        assert_eq!(found(&[1, 2, 2, 3, 9]), None);
        assert!(found(&[5, 4]).unwrap().contains("goes back"));
        assert!(found(&[0, 0, 0]).is_some());
        assert!(found(&[0, 1_000, 2_000]).is_some());
        assert_eq!(check_clock(&mut clock_readings().into_iter()), None);
    }

    #[test]
    fn the_probe_leaves_nothing_and_reports_what_it_cannot_do() {
        let folder = tempfile::tempdir().unwrap();
        let test = SelfTest::run(folder.path());
        assert!(test.sync_micros.is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let test = SelfTest::run(&folder.path().join("missing"));
        assert!(test.sync_micros.is_none());
        assert!(test.warnings.iter().any(|warning| warning.starts_with("cannot probe")));
    }

    #[test]
    fn another_processor_is_another_machine() {
        let this = Machine::this(Path::new("."));
        assert!(this.processors > 0);
        assert!(this.is_like(&this));
        let other = Machine {
            processors: this.processors + 1,
            ..this.clone()
        };
        assert!(!this.is_like(&other));
    }
}
