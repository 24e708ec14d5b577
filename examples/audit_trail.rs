//! An audit trail of accepted and rejected commands, a signed head of the log, and a change of one amount behind the store that verification finds.
//!
//! ```console
//! cargo run --example audit_trail --features audit
//! ```

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::io::stdout;

use annals::cqrs::audit::{AuditChain, AuditKey, ChainEntry, CommandLog, Head, Trail, Verify};
use annals::cqrs::{Aggregate, Aggregates, Context};
use annals::{Event, Store};
use serde::{Deserialize, Serialize};

/// A bank account.
#[derive(Default)]
struct Account {
    balance: u64,
}

#[derive(Serialize, Deserialize)]
enum AccountEvent {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
}

#[derive(Serialize)]
enum AccountCommand {
    Deposit { amount: u64 },
    Withdraw { amount: u64 },
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = AccountEvent;
    type Command = AccountCommand;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, String> {
        match *command {
            AccountCommand::Deposit { amount } => Ok(vec![AccountEvent::Deposited { amount }]),
            AccountCommand::Withdraw { amount } if amount > self.balance => {
                Err(format!("the balance is {}", self.balance))
            }
            AccountCommand::Withdraw { amount } => Ok(vec![AccountEvent::Withdrawn { amount }]),
        }
    }

    fn evolve(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Deposited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount } => self.balance -= amount,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::in_memory();
    let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
    let by = |user: &str| accounts.with_context(Context::new().user(user).correlation("visit-1"));

    by("anna").execute("account-1", &AccountCommand::Deposit { amount: 250 })?;
    by("anna").execute("account-1", &AccountCommand::Withdraw { amount: 40 })?;
    let rejected = by("ben").execute("account-1", &AccountCommand::Withdraw { amount: 9_000 });
    assert!(rejected.is_err());

    println!("who did what to account-1:");
    let rows = Trail::new().aggregate("account-1").write_csv(&store, &mut stdout())?;
    assert_eq!(rows, 5);
    println!("what ben did:");
    assert_eq!(Trail::new().user("ben").write_jsonl(&store, &mut stdout())?, 1);

    // The auditor keeps the head and the key, outside of the store.
    let key = AuditKey::generate()?;
    let kept = AuditChain::of(&store)?.head(&key, store.now()).to_json();

    by("anna").execute("account-1", &AccountCommand::Deposit { amount: 5 })?;

    // A year later, with the public key: every event up to the head is unchanged.
    let (head, public) = (Head::from_json(&kept)?, key.public());
    let verified = Verify::new(&head, &public).run(&store)?;
    println!("verified: {} events up to position {}", verified.count, verified.last);
    assert_eq!((verified.count, verified.visible.0), (5, 7));

    // An attacker changes an amount in the files, and corrects every checksum.
    let events: Vec<Event> = store.read_all().include_system().events();
    let entries = events.iter().map(|event| {
        let mut entry = ChainEntry::from(event);
        if entry.position.0 == 1 {
            entry.data = br#"{"amount":950}"#;
        }
        entry
    });
    let fault = Verify::new(&head, &public)
        .run_entries(entries)
        .err()
        .ok_or("nothing found")?;
    println!("with 950 instead of 250: {fault}");
    assert!(fault.to_string().contains("the log was changed"));
    Ok(())
}
