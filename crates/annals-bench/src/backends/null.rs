//! `null`: accepts every event and stores none. It measures the harness.

use std::sync::Arc;

use annals::{Expected, Position, Version};

use crate::store::{
    Backend, BatchUnit, ConsistencyCheck, Description, DurabilityClass, EventStore, Look, NewEvent, Question, Result,
};

/// The backend `null`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl Backend for Null {
    fn description(&self) -> Description {
        Description {
            name: "null".to_owned(),
            software: "the harness alone".to_owned(),
            settings: String::new(),
            durability: DurabilityClass::Volatile,
            batch_unit: BatchUnit::Append,
            check: ConsistencyCheck::None,
            keeps_events: false,
            has_log: true,
            has_queries: true,
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        Ok(Arc::new(Self))
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }
}

impl EventStore for Null {
    fn append(&self, _: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        // The bytes that every store must read.
        std::hint::black_box((expected, events));
        Ok(Version(1))
    }

    fn read_stream(&self, _: &str, _: Version, _: Look<'_>) -> Result<()> {
        Ok(())
    }

    fn read_log(&self, _: Position, _: usize, _: Look<'_>) -> Result<()> {
        Ok(())
    }

    fn query(&self, _: &Question, _: Look<'_>) -> Result<()> {
        Ok(())
    }
}
