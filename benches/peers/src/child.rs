//! A measurement in a process of its own, for what a used process or a talkative store would spoil.

use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use crate::peer::{Fresh, Measure, Pause, Peer, Result, Scale, fresh, pause};
use crate::peers::{Annals, CqrsEs, EventCore, Eventually, Indexed, Naive, Sourcerer};
use crate::work::Work;

/// Tells a process that it is a child, and what to measure.
const TASK: &str = "ANNALS_PEERS_TASK";

/// Times that a child reads at least: it begins with cold caches, and they should not be what is measured.
const READS_MIN: u64 = 20_000;

/// How long doing `work` so many times takes in a process of its own.
pub fn time<P: Peer>(work: Work, times: u64) -> Result<Duration> {
    let done = if work.reads() { times.max(READS_MIN) } else { times };
    let answer = ask(&format!("time|{}|{}|{done}", P::NAME, work.name()))?;
    let seconds: f64 = number(&answer, 0)?;
    Ok(Duration::from_secs_f64(
        seconds * f64::from(u32::try_from(times)?) / f64::from(u32::try_from(done)?),
    ))
}

/// What a fresh process finds out about the store called `peer`.
pub fn fresh_in_child(peer: &str) -> Result<Fresh> {
    let answer = ask(&format!("fresh|{peer}"))?;
    Ok(Fresh {
        cold_per_second: number(&answer, 0)?,
        warm_per_second: number(&answer, 1)?,
        bytes_per_event: number(&answer, 2)?,
    })
}

/// The longest append of ten to each of `aggregates` aggregates, in a process of its own.
pub fn pause_in_child(peer: &str, aggregates: usize) -> Result<Pause> {
    let answer = ask(&format!("pause|{peer}|{aggregates}"))?;
    Ok(Pause {
        longest: Duration::from_secs_f64(number(&answer, 0)?),
        longest_running: Duration::from_secs_f64(number(&answer, 1)?),
        p9999: Duration::from_secs_f64(number(&answer, 2)?),
        over_a_millisecond: number(&answer, 3)?,
    })
}

fn number<T: FromStr>(answer: &str, index: usize) -> Result<T> {
    let number = answer.split(' ').nth(index).and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("the child said: {answer}").into())
}

/// Starts this program again with `task`. The answer comes over standard error: stores print to standard output.
fn ask(task: &str) -> Result<String> {
    let program = std::env::current_exe()?;
    let output = Command::new(program)
        .env(TASK, task)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the child with the task {task} failed: {text}").into());
    }
    Ok(text.lines().next_back().unwrap_or_default().to_owned())
}

/// If this process is a child, does its task, and says so.
#[expect(clippy::print_stderr, reason = "the parent reads it")]
pub fn answer() -> Result<bool> {
    let Ok(task) = std::env::var(TASK) else {
        return Ok(false);
    };
    let words: Vec<_> = task.split('|').collect();
    let numbers = match words.as_slice() {
        [what, peer, rest @ ..] if *peer == Annals::NAME => run::<Annals>(what, rest),
        [what, peer, rest @ ..] if *peer == Naive::NAME => run::<Naive>(what, rest),
        [what, peer, rest @ ..] if *peer == Indexed::NAME => run::<Indexed>(what, rest),
        [what, peer, rest @ ..] if *peer == Eventually::NAME => run::<Eventually>(what, rest),
        [what, peer, rest @ ..] if *peer == Sourcerer::NAME => run::<Sourcerer>(what, rest),
        [what, peer, rest @ ..] if *peer == EventCore::NAME => run::<EventCore>(what, rest),
        [what, peer, rest @ ..] if *peer == CqrsEs::NAME => run::<CqrsEs>(what, rest),
        _ => Err(format!("no such task: {task}").into()),
    }?;
    let numbers: Vec<_> = numbers.iter().map(f64::to_string).collect();
    eprintln!("{}", numbers.join(" "));
    Ok(true)
}

fn run<P: Peer>(what: &str, rest: &[&str]) -> Result<Vec<f64>> {
    match (what, rest) {
        ("time", [name, times]) => {
            let work = Work::ALL
                .into_iter()
                .find(|work| work.name() == *name)
                .ok_or("no such work")?;
            let time = Measure::<P>::new(Scale::FULL).time(work, times.parse()?)?;
            Ok(vec![time.as_secs_f64()])
        }
        ("fresh", []) => {
            let fresh = fresh::<P>(Scale::FULL)?;
            Ok(vec![
                fresh.cold_per_second,
                fresh.warm_per_second,
                fresh.bytes_per_event,
            ])
        }
        ("pause", [aggregates]) => {
            let pause = pause::<P>(aggregates.parse()?)?;
            let times = [pause.longest, pause.longest_running, pause.p9999];
            let seconds = times.iter().map(Duration::as_secs_f64);
            Ok(seconds.chain([f64::from(pause.over_a_millisecond)]).collect())
        }
        _ => Err(format!("no such task: {what} {rest:?}").into()),
    }
}
