//! A journal with faults.

use super::{Call, Effect, Faults, Operation};
use crate::Durability;
use crate::journal::{Batch, Compactor, Journal, JournalError, Recover, Recovered};

/// A journal whose writes and syncs are subject to faults on [`Operation::Flush`].
#[derive(Debug)]
pub struct FaultyJournal {
    journal: Box<dyn Journal>,
    faults: Faults,
}

impl FaultyJournal {
    pub(super) fn new(journal: Box<dyn Journal>, faults: Faults) -> Self {
        Self { journal, faults }
    }

    fn check(&self) -> Result<(), JournalError> {
        let fault = self.faults.draw(&Call {
            operation: Operation::Flush,
            aggregates: &[],
            event_types: &[],
            processor: None,
            is_conditional: false,
        });
        match fault {
            Some(fault) if fault.effect == Effect::Delay => super::inject::pause(&fault),
            Some(_) => return Err(JournalError::failed("a fault of the test on this flush")),
            None => {}
        }
        Ok(())
    }
}

impl Journal for FaultyJournal {
    fn durability(&self) -> Durability {
        self.journal.durability()
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        self.journal.recover(into)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        self.check()?;
        self.journal.write(batch)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.check()?;
        self.journal.sync()
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        self.journal.compactor()
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        self.journal.close()
    }
}
