//! The journal in PostgreSQL keeps the contract of journals, and a store on it the contract of stores.

use annals::journal::postgres::follow as follow_log;
use annals::journal::{Followed, JournalError};
use annals::testing::conformance::Log;
use annals::testing::event_store::Guarded;
use annals::{Durability, Store};

use crate::follow::follow;
use crate::support::{Schema, prepared};

annals::conformance!(postgres, Schema::new());
annals::conformance!(partitioned, Schema::partitioned());

impl Log for Schema {
    fn connect(&self) -> Result<Followed, JournalError> {
        follow_log(&self.url, self.settings())
    }
}

annals::feed_conformance!(feed, prepared());

fn store(schema: Schema) -> Guarded<Store, Schema> {
    let journal = schema.journal().expect("the schema is free");
    let store = Store::open(journal).expect("the journal is empty");
    let store = store.with_durability(Durability::Synced).expect("PostgreSQL has it");
    Guarded { store, guard: schema }
}

fn follower() -> Guarded<Store, Schema> {
    let guard = prepared();
    let store = follow(&guard);
    Guarded { store, guard }
}

annals::event_store_conformance!(a_store, store(Schema::new()));
annals::event_store_conformance!(a_partitioned_store, store(Schema::partitioned()));
annals::event_store_conformance!(a_follower, follower());
