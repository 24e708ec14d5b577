//! Another program: it reads and changes the collections of a store by the client alone.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use mongodb::{Client, Collection};
use tokio::runtime::Runtime;
use uuid::Uuid;

pub(crate) struct Raw {
    runtime: Runtime,
    client: Client,
    database: String,
}

impl Raw {
    /// The database of a store's URL.
    pub(crate) fn of(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (base, _) = url.split_once('?').unwrap();
        let (_, database) = base.rsplit_once('/').unwrap();
        let client = runtime.block_on(Client::with_uri_str(base)).unwrap();
        Self {
            client,
            database: database.to_owned(),
            runtime,
        }
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    pub(crate) fn insert(&self, collection: &str, document: Document) {
        let of = self.collection(collection);
        let inserted = of.insert_one(document);
        self.runtime.block_on(inserted.into_future()).unwrap();
    }

    pub(crate) fn delete(&self, collection: &str, filter: Document) {
        let of = self.collection(collection);
        let deleted = of.delete_many(filter);
        self.runtime.block_on(deleted.into_future()).unwrap();
    }

    pub(crate) fn find(&self, collection: &str, filter: Document) -> Option<Document> {
        let of = self.collection(collection);
        let found = of.find_one(filter);
        self.runtime.block_on(found.into_future()).unwrap()
    }

    pub(crate) fn count(&self, collection: &str) -> u64 {
        let of = self.collection(collection);
        let counted = of.count_documents(doc! {});
        self.runtime.block_on(counted.into_future()).unwrap()
    }

    pub(crate) fn create_index(&self, collection: &str, index: mongodb::IndexModel) {
        let of = self.collection(collection);
        let created = of.create_index(index);
        self.runtime.block_on(created.into_future()).unwrap();
    }
}

/// A document as a writer of this epoch stores it.
pub(crate) fn document(position: i64, id: &str, version: i64, epoch: i64) -> Document {
    let uuid = |number: u128| Binary {
        subtype: BinarySubtype::Uuid,
        bytes: Uuid::from_u128(number).as_bytes().to_vec(),
    };
    doc! {
        "_id": format!("{position:020}"),
        "eventId": uuid(77),
        "aggregateId": id,
        "aggregateType": "Order",
        "eventType": "Stray",
        "eventVersion": 1_i64,
        "sequenceNumber": version,
        "timestampMicros": 0_i64,
        "recordedAtMicros": 0_i64,
        "eventData": Binary { subtype: BinarySubtype::Generic, bytes: b"{}".to_vec() },
        "metadata": {},
        "batch": uuid(78),
        "epoch": epoch,
    }
}
