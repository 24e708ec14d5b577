//! Records of commands: system events that change nothing, and that reads leave out unless they ask for system events.

use crate::event::system;
use crate::store::Store;
use crate::store::append::prepare;
use crate::store::retention::budget::Cost;
use crate::{Error, NewEvent, Position, Result, StreamId};

impl Store {
    /// Appends the record of a command to `aggregate_id`, which is empty where the command is to no aggregate.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a name or the record is too long, or the store follows another; otherwise as
    /// [`append`](Self::append).
    pub(crate) fn append_command(&self, aggregate_id: &str, event: &NewEvent<'_>) -> Result<Position> {
        let engine = self.engine();
        if engine.following.is_some() {
            return Err(Error::invalid(
                "a store that follows another writes no records of commands: execute audited commands in the process that writes the store",
            ));
        }
        engine.expire_due();
        prepare::check_command(aggregate_id, event, &engine.settings.limits)?;
        let stream = StreamId::new("$command", system::command_stream(aggregate_id));
        let prepared = engine.prepare_system(&stream, event);
        // A budget counts its bytes, but no event.
        let cost = engine.reserve_cost(|| Cost {
            events: 0,
            ..Cost::of(std::slice::from_ref(&prepared))
        })?;
        let written = {
            let mut guard = engine.core.write(engine.core.shard_of(prepared.stream_hash));
            engine.check_open().map(|()| {
                let position = engine.append_system(&mut guard, &prepared);
                engine.count_written(cost);
                position
            })
        };
        engine.release_reservation(cost, written.is_ok());
        let position = written?;
        engine.acknowledge(position, self.acknowledge)?;
        Ok(Position(position))
    }
}
