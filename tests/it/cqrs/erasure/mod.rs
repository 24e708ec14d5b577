//! Erasure: personal fields are encrypted with a key of their subject, and unreadable when the key is destroyed.

mod decisions;
mod fields;
mod files;
mod keys;
mod leftovers;
mod names;
mod reactions;

use annals::Store;
use annals::cqrs::erasure::{KeyStore, MemoryKeys, Personal, Protected, Redacted, Subject, Vault};
use annals::cqrs::{Aggregate, Aggregates};
use serde::{Deserialize, Serialize};

pub(crate) const NAME: &str = "Annabella Quintessa";
pub(crate) const EMAIL: &str = "annabella.q@example.org";
pub(crate) const PHONE: &str = "+49-170-5550199";
pub(crate) const ADDRESS: &str = "17 Walpurgis Lane";

/// What must not be found after an erasure.
pub(crate) const PLAINTEXTS: [&str; 4] = [NAME, EMAIL, PHONE, ADDRESS];

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Customer {
    pub(crate) name: String,
    pub(crate) email: Option<String>,
    pub(crate) phones: Vec<Phone>,
    pub(crate) address: Option<Address>,
    pub(crate) orders: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Phone {
    pub(crate) kind: String,
    pub(crate) number: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) street: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum CustomerEvent {
    Registered {
        customer: String,
        name: String,
        email: Option<String>,
        phones: Vec<Phone>,
    },
    Moved {
        address: Address,
    },
    Ordered {
        amount: u64,
    },
}

#[derive(Clone, Debug, Serialize)]
pub(crate) enum CustomerCommand {
    Register,
    Move(String),
    Order(u64),
}

impl Aggregate for Customer {
    const TYPE: &'static str = "Customer";
    type Event = CustomerEvent;
    type Command = CustomerCommand;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &CustomerCommand) -> Result<Vec<CustomerEvent>, String> {
        Ok(vec![match command {
            CustomerCommand::Register => registered("anna"),
            CustomerCommand::Move(street) => CustomerEvent::Moved {
                address: Address { street: street.clone() },
            },
            CustomerCommand::Order(amount) => CustomerEvent::Ordered { amount: *amount },
        }])
    }

    fn evolve(&mut self, event: CustomerEvent) {
        match event {
            CustomerEvent::Registered {
                name, email, phones, ..
            } => (self.name, self.email, self.phones) = (name, email, phones),
            CustomerEvent::Moved { address } => self.address = Some(address),
            CustomerEvent::Ordered { .. } => self.orders += 1,
        }
    }
}

pub(crate) fn registered(customer: &str) -> CustomerEvent {
    CustomerEvent::Registered {
        customer: customer.to_owned(),
        name: NAME.to_owned(),
        email: Some(EMAIL.to_owned()),
        phones: vec![Phone {
            kind: "mobile".to_owned(),
            number: PHONE.to_owned(),
        }],
    }
}

pub(crate) fn personal() -> Personal {
    Personal::new()
        .event(
            "Registered",
            Subject::field("/customer"),
            ["/name", "/email", "/phones/*/number"],
        )
        .event("Moved", Subject::aggregate(), ["/address"])
        .redacted("Registered", "/email", Redacted::Null)
        .redacted(
            "Moved",
            "/address",
            Redacted::Value(serde_json::json!({ "street": "-" })),
        )
}

pub(crate) type Customers = Aggregates<Customer, Protected>;

pub(crate) fn customers(store: &Store, vault: &Vault) -> Customers {
    Aggregates::with_codec(store, Protected::new(vault, personal()))
}

pub(crate) fn vault(store: &Store) -> Vault {
    vault_in(store, MemoryKeys::new())
}

pub(crate) fn vault_in(store: &Store, keys: impl KeyStore) -> Vault {
    Vault::open(store, keys).expect("a vault")
}

/// Registers `anna`, who moves and orders.
pub(crate) fn register(customers: &Customers) {
    for command in [
        CustomerCommand::Register,
        CustomerCommand::Move(ADDRESS.to_owned()),
        CustomerCommand::Order(3),
    ] {
        customers.execute("anna", &command).expect("a command");
    }
}

/// The customer that `register` leads to, after an erasure.
pub(crate) fn forgotten() -> Customer {
    Customer {
        name: "[erased]".to_owned(),
        email: None,
        phones: vec![Phone {
            kind: "mobile".to_owned(),
            number: "[erased]".to_owned(),
        }],
        address: Some(Address { street: "-".to_owned() }),
        orders: 1,
    }
}
