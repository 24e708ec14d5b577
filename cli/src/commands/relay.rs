//! `relay`: publishes the events of a store to webhooks and brokers, until a signal.

use std::time::Duration;

use annals::{Position, Store};
use annals_relay::config::{Config, RelayConfig};
use annals_relay::{Relay, RelayError, RelayState, RelayStatus};
use serde_json::Value;

use crate::args::{self, Global};
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::{Location, durable};
use crate::output::Out;
use crate::output::records::Records;
use crate::output::text::{clean, counted};

/// The pause between two looks at the relays.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(global: &Global, asked: &args::relay::Relay, out: &mut Out<'_>) -> Outcome {
    let relays = Config::read(&asked.config).map_err(failure)?.into_relays();
    if asked.check {
        return list(&relays, out);
    }
    let Some(Location::Durable(url)) = &global.store else {
        let text =
            "events are relayed from a durable store, which keeps the checkpoints: name it with --store file:DIR";
        return Err(Failure::Usage(text.to_owned()));
    };
    durable::check_exists(url)?;
    let store = durable::open_to_serve(url, out)?;
    let ended = publish(&store, relays, asked, out);
    store.close()?;
    ended
}

fn failure(error: RelayError) -> Failure {
    match error {
        RelayError::Invalid { message } => Failure::Usage(message),
        RelayError::Start(_) | RelayError::NoThread { .. } | _ => Failure::Runtime(error.to_string()),
    }
}

fn list(relays: &[RelayConfig], out: &mut Out<'_>) -> Outcome {
    let mut records = Records::new(&["relay", "target"]);
    for relay in relays {
        records.push(vec![Value::from(relay.name()), Value::from(relay.target_name())]);
    }
    records.write(out)
}

fn publish(store: &Store, relays: Vec<RelayConfig>, asked: &args::relay::Relay, out: &mut Out<'_>) -> Outcome {
    // The events that exist now; the relays store events of their own.
    let last = store.visible();
    let mut running = Vec::with_capacity(relays.len());
    for relay in relays {
        let target = relay.target_name();
        running.push(Running::of(target, relay.start(store).map_err(failure)?));
    }
    if asked.replay_letters {
        for running in &running {
            running.relay.replay_letters(None);
        }
    }
    let ended = watch(&mut running, asked.once.then_some(last), out);
    let statuses: Vec<_> = running.into_iter().map(Running::end).collect();
    report(&statuses, out)?;
    ended
}

/// A relay, and its state when it was last told.
struct Running {
    target: &'static str,
    relay: Relay,
    told: RelayState,
}

impl Running {
    fn of(target: &'static str, relay: Relay) -> Self {
        Self {
            target,
            relay,
            told: RelayState::Running,
        }
    }

    /// Ends it, and returns its last status and its target.
    fn end(self) -> (&'static str, RelayStatus) {
        let state = self.relay.status().state;
        let mut ended = self.relay.end();
        ended.state = state;
        (self.target, ended)
    }
}

/// Tells when a relay waits or stops, until a signal, or until all events up to a position are published.
fn watch(running: &mut [Running], until: Option<Position>, out: &mut Out<'_>) -> Outcome {
    loop {
        let mut is_done = until.is_some();
        let mut stopped = 0;
        for running in running.iter_mut() {
            let status = running.relay.status();
            tell(running, &status, out)?;
            stopped += usize::from(matches!(status.state, RelayState::Stopped { .. } | RelayState::Ended));
            // Dead letters that are published again do not move the position.
            let is_idle = status.group.ready + status.group.waiting == 0;
            is_done &= is_idle && until.is_some_and(|last| status.group.position >= last);
        }
        if is_done {
            return Ok(());
        }
        if stopped == running.len() || (until.is_some() && stopped > 0) {
            let text = "a relay has stopped; no event is lost: fix the cause, and run the command again";
            return Err(Failure::Runtime(text.to_owned()));
        }
        std::thread::park_timeout(PAUSE);
        interrupt::check(|| "the events that are not published yet are published by the next run".to_owned())?;
    }
}

/// Says that the state of a relay has changed.
fn tell(running: &mut Running, status: &RelayStatus, out: &mut Out<'_>) -> Outcome {
    if running.told == status.state {
        return Ok(());
    }
    running.told = status.state.clone();
    let text = format!("relay '{}' ({}): {}", status.group.name, running.target, status.state);
    Ok(out.hint(&clean(&text))?)
}

fn report(statuses: &[(&'static str, RelayStatus)], out: &mut Out<'_>) -> Outcome {
    let names = [
        "relay",
        "target",
        "position",
        "lag",
        "delivered",
        "deadLetters",
        "state",
    ];
    let mut records = Records::new(&names);
    for (target, status) in statuses {
        records.push(vec![
            Value::from(&*status.group.name),
            Value::from(*target),
            Value::from(status.group.position.0),
            Value::from(status.group.lag_events),
            Value::from(status.counts.delivered),
            Value::from(status.group.letters),
            Value::from(status.state.to_string()),
        ]);
    }
    records.write(out)?;
    let letters: usize = statuses.iter().map(|(_, status)| status.group.letters).sum();
    if letters > 0 {
        let text = format!(
            "{} in the store, which the targets did not take: fix the cause, and run the command with --replay-letters",
            counted(letters as u64, "dead letter")
        );
        out.hint(&text)?;
    }
    Ok(())
}
