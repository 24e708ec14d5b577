//! Stores in databases of a server: an emulator, or the server that `ANNALS_TEST_MONGODB_URL` names.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[expect(dead_code, reason = "there are standbys in the library's tests alone")]
#[path = "../../../../tests/postgres/cluster.rs"]
mod cluster;
mod compacted;
mod duplicates;
mod follow;
mod imported;
mod kills;
mod opening;
#[expect(dead_code, reason = "this server is no package of Debian")]
#[path = "../../../annals-bench/tests/servers/process.rs"]
mod process;
#[expect(dead_code, reason = "servers of PostgreSQL are refused and replaced too")]
#[path = "../../../../tests/postgres/proxy.rs"]
mod proxy;
#[path = "../../../annals-bench/tests/servers/python.rs"]
mod python;
mod raw;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use annals::journal::{Journal, JournalError};
use annals::testing::conformance::Storage;
use annals::{Durability, Store, StreamId};
use annals_mongodb::MongoJournal;
use process::Process;

/// The URL of a server to test against, without a database: `mongodb://HOST:PORT`.
const SERVER: &str = "ANNALS_TEST_MONGODB_URL";
/// Emulators: each has one thread.
const EMULATORS: usize = 2;
/// Short, because a test that ends its process waits for it.
const LEASE: &str = "lease=700ms";

fn program() -> PathBuf {
    python::program("nx-27017")
}

fn arguments(port: &str, folder: &str) -> Vec<String> {
    let file = |name: &str| format!("{folder}/{name}");
    let (pid, log) = (file("server.pid"), file("server.log"));
    let arguments = [
        "--host",
        "127.0.0.1",
        "-p",
        port,
        "--data-dir",
        folder,
        "--pid-file",
        &pid,
        "--log-file",
        &log,
    ];
    arguments.map(str::to_owned).to_vec()
}

fn emulator() -> Process {
    Process::start_at(&program(), arguments)
}

/// A server of this process. It ends with it.
fn server(number: usize) -> String {
    static SERVERS: [OnceLock<Process>; EMULATORS] = [const { OnceLock::new() }; EMULATORS];
    if let Ok(url) = std::env::var(SERVER) {
        return url.trim_end_matches('/').to_owned();
    }
    SERVERS[number % EMULATORS].get_or_init(emulator).url("mongodb")
}

/// The URL of a database that no other test has.
fn new_url() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let server = server(number as usize);
    format!("{server}/annals-test-{}-{number}?{LEASE}", std::process::id())
}

fn order(id: &str) -> StreamId {
    StreamId::new("Order", id)
}

fn open(url: &str) -> Store {
    let store = annals_mongodb::open(url).expect("the database opens");
    store.with_durability(Durability::Synced).expect("it can sync")
}

/// A database for the contract.
struct Database(String);

impl Storage for Database {
    fn open(&self) -> Result<Box<dyn Journal>, JournalError> {
        Ok(Box::new(MongoJournal::open(&self.0)?))
    }
}

annals::conformance! {
    @rules Database(new_url());
    an_empty_journal_hands_back_nothing
    every_field_comes_back
    batches_come_back_in_order
    it_goes_on_where_it_ended
    what_was_written_survives_the_process
    what_was_synced_survives_the_machine
    what_was_closed_survives_the_machine
    a_batch_out_of_order_is_refused
    a_sync_that_means_nothing_is_refused
    one_journal_at_a_time_has_it
    an_error_of_the_taker_ends_recovery
    what_is_gone_is_skipped_and_the_rest_comes_back
    changes_of_aggregates_survive_compaction
    a_compacted_journal_accepts_the_next_batch
    a_part_that_does_not_exist_is_refused
}

/// The rules with many events, each of which takes the emulator more than 2 ms.
mod long {
    macro_rules! rules {
        ($($rule:ident)*) => {
            $(
                #[test]
                #[ignore = "it takes minutes with the emulator: .ci/long runs it"]
                fn $rule() {
                    annals::testing::conformance::$rule(&super::Database(super::new_url()));
                }
            )*
        };
    }

    rules! {
        long_batches_come_back_whole
        parts_cover_every_event_after_a_seal
        a_compaction_that_ends_early_loses_nothing
    }
}
