//! The journal: the one writer of a database.

use std::sync::Arc;

use annals::Durability;
use annals::journal::{Batch, Compactor, Journal, JournalError, JournalErrorKind as Kind, Recover, Recovered};
use uuid::Uuid;

use crate::address::Address;
use crate::document::{self, Origin};
use crate::head::{self, Fence, Head};
use crate::insert::{self, Documents};
use crate::parts::Parts;
use crate::read;
use crate::schema;
use crate::server::Server;

/// The journal of a store in a MongoDB database, and its only writer.
///
/// [`open`](crate::open) makes a store of it. With a [builder](annals::Builder::journal), the limit of an event must be below 15 MiB: see the
/// [limits](crate#limits).
#[derive(Debug)]
pub struct MongoJournal {
    pub(crate) server: Server,
    pub(crate) fence: Fence,
    /// The last position that was written.
    position: u64,
    /// The batch whose write has failed and is repeated, and how many of its documents are stored.
    pending: Option<(Documents, usize)>,
    pub(crate) parts: Parts,
    /// The part that is being compacted, and the position to go on with.
    pub(crate) compacting: Option<(u64, u64)>,
}

impl MongoJournal {
    /// Opens the database of a URL like that of [`open`](crate::open) for writing, and creates what is missing.
    ///
    /// After a crash of its last writer, this waits until the lease of that writer is over.
    ///
    /// # Errors
    ///
    /// [`Locked`](Kind::Locked) when another writer has it open; [`Retry`](Kind::Retry) when the server cannot be reached;
    /// [`Unsupported`](Kind::Unsupported) for a URL that is invalid, a refused login, and a database of another program.
    pub fn open(url: &str) -> Result<Self, JournalError> {
        let address = Address::parse(url).map_err(|error| JournalError::new(Kind::Unsupported, error.to_string()))?;
        Self::open_at(&address)
    }

    pub(crate) fn open_at(address: &Address) -> Result<Self, JournalError> {
        let server = Server::connect(address)?;
        server.run(
            "create the indexes of",
            |data| async move { schema::create(&data).await },
        )?;
        let (head, fence) = take(&server)?;
        let data = Arc::clone(&server.data);
        let kept = fence.clone();
        server.spawn(async move { head::keep(&data, &kept).await });
        let (epoch, position) = (fence.epoch, head.position);
        server.run("remove leftovers from", move |data| async move {
            insert::remove_leftovers(&data, epoch, position).await
        })?;
        Ok(Self {
            server,
            fence,
            position,
            pending: None,
            parts: Parts::default(),
            compacting: None,
        })
    }

    fn address(&self) -> &Address {
        self.server.address()
    }

    /// The documents of a batch: the same ones when its write is repeated.
    fn documents(&mut self, batch: &Batch) -> Result<(Documents, usize), JournalError> {
        let last = batch.last_position().0;
        let is_same = |(pending, _): &(Documents, usize)| pending.all.last().map(|last| last.position) == Some(last);
        if let Some(pending) = self.pending.take_if(|pending| is_same(pending)) {
            return Ok(pending);
        }
        let origin = Origin {
            epoch: self.fence.epoch,
            batch: Uuid::new_v4(),
        };
        let mut all = Vec::with_capacity(batch.len());
        for event in batch.events() {
            let encoded = document::encode(event, origin).map_err(JournalError::failed)?;
            check_size(&self.server, encoded.largest(), encoded.position)?;
            all.push(encoded);
        }
        let documents = Documents {
            all: Arc::new(all),
            origin,
            head: self.position,
        };
        Ok((documents, 0))
    }

    fn insert(&mut self, documents: &Documents, mut stored: usize) -> Result<(), JournalError> {
        let mut is_settled = stored > 0;
        while stored < documents.all.len() {
            let range = documents.chunk(stored);
            let (end, chunk) = (range.end, documents.clone());
            let inserted = self
                .server
                .run("append to", move |data| async move { chunk.insert(&data, range).await });
            is_settled |= self.keep_pending(inserted, documents, stored)?;
            stored = end;
        }
        if is_settled {
            self.check_stored(documents)?;
        }
        let (fence, from, to) = (self.fence.clone(), self.position, self.position + stored as u64);
        let advanced = self.server.run("append to", move |data| async move {
            head::advance(&data, &fence, from, to).await
        });
        self.keep_pending(advanced, documents, stored)
    }

    /// Begins again with a batch of which a deposed primary has lost documents.
    fn check_stored(&mut self, documents: &Documents) -> Result<(), JournalError> {
        let all = documents.clone();
        let stored = self.server.run(
            "count the events of",
            move |data| async move { all.are_stored(&data).await },
        );
        if self.keep_pending(stored, documents, 0)? {
            return Ok(());
        }
        let message = format!("{} has lost events that were not acknowledged", self.address());
        self.keep_pending(Err(JournalError::new(Kind::Retry, message)), documents, 0)
    }

    fn keep_pending<T>(
        &mut self,
        result: Result<T, JournalError>,
        documents: &Documents,
        stored: usize,
    ) -> Result<T, JournalError> {
        if result.is_err() {
            self.pending = Some((documents.clone(), stored));
        }
        result
    }
}

/// Waits for the lease of a writer that has crashed, which may be longer than a request.
fn take(server: &Server) -> Result<(Head, Fence), JournalError> {
    let mut watch = None;
    loop {
        let (taken, seen) = server.run("take the head of", move |data| async move {
            let mut watch = watch;
            let taken = head::take(&data, &mut watch).await?;
            Ok((taken, watch))
        })?;
        if let Some(taken) = taken {
            return Ok(taken);
        }
        watch = seen;
    }
}

fn check_size(server: &Server, bytes: usize, position: u64) -> Result<(), JournalError> {
    let most = server.data.document_bytes_max;
    if bytes <= most {
        return Ok(());
    }
    Err(JournalError::failed(format!(
        "cannot append to {}: the event at position {position} is a document of {bytes} bytes, and the server takes {most}; nothing of its batch \
         is stored: open the store with limits.payload_bytes_max of at most 15 MiB",
        server.address()
    )))
}

impl Journal for MongoJournal {
    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let parts = read::pass(&self.server, 0, self.position, into)?;
        let bytes = parts.iter().map(|part| part.bytes).sum();
        for part in parts {
            self.parts.add(part);
        }
        self.parts.seal();
        Ok(Recovered::new(bytes, 0))
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        if batch.first_position().0 != self.position + 1 || !batch.is_whole() || batch.skipped() > 0 {
            return Err(JournalError::failed(format!(
                "cannot append to {}: the batch from position {} does not follow position {}",
                self.address(),
                batch.first_position(),
                self.position
            )));
        }
        let (documents, stored) = self.documents(batch)?;
        self.insert(&documents, stored)?;
        let sizes = documents.all.iter().map(|encoded| (encoded.position, encoded.bytes()));
        self.parts.add_batch(batch, sizes);
        self.position = batch.last_position().0;
        Ok(())
    }

    /// A written batch is synced: see [what an acknowledgement means](crate#what-an-acknowledgement-means).
    fn sync(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        Some(self)
    }

    /// Another process may open the database at once. Without this, it waits for the lease.
    fn close(self: Box<Self>) -> Result<(), JournalError> {
        let fence = self.fence.clone();
        let released = self
            .server
            .run("close", move |data| async move { head::release(&data, &fence).await });
        released.map(drop)
    }
}
