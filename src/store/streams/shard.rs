//! A shard: the streams behind one lock, with the positions of their events.

use crate::store::streams::stream::Stream;
use crate::store::streams::table::StreamTable;
use crate::store::streams::type_table::TypeTable;
use crate::{Error, Name, Result, StreamId};

#[cold]
fn of_another_type(known: &Name, id: &StreamId) -> Error {
    Error::invalid(format!(
        "aggregate '{}' is of type '{known}', not '{}': an id belongs to one type",
        id.aggregate_id, id.aggregate_type
    ))
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Shard {
    streams: StreamTable,
    types: TypeTable,
}

/// The half of an id's hash that the table keeps; the other half chose the shard.
fn half(hash: u64) -> u32 {
    hash as u32
}

impl Shard {
    #[inline]
    pub(crate) fn find(&self, hash: u64, id: &str) -> Option<u32> {
        self.streams.find(half(hash), id)
    }

    /// A stream by its key, which is valid until a stream is [created](Self::create).
    #[inline]
    pub(crate) fn stream(&self, key: u32) -> &Stream {
        &self.streams[key]
    }

    pub(crate) fn stream_mut(&mut self, key: u32) -> &mut Stream {
        &mut self.streams[key]
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|stream| stream.version > 0)
    }

    pub(crate) fn stream_id(&self, stream: &Stream) -> StreamId {
        StreamId::new(self.types.name(stream.aggregate_type).clone(), stream.id.clone())
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] if the stream has another type.
    #[inline]
    pub(crate) fn check_type(&self, stream: &Stream, id: &StreamId) -> Result<()> {
        let known = self.types.name(stream.aggregate_type);
        if *known == id.aggregate_type {
            return Ok(());
        }
        Err(of_another_type(known, id))
    }

    /// Creates a stream and returns its key. The keys of other streams become invalid.
    pub(crate) fn create(&mut self, hash: u64, id: &StreamId) -> u32 {
        let aggregate_type = self.types.add_stream(&id.aggregate_type);
        self.streams.insert(Stream {
            half: half(hash),
            id: id.aggregate_id.clone(),
            aggregate_type,
            ..Stream::default()
        })
    }

    fn remove(&mut self, key: u32, id: &str) {
        let stream = &self.streams[key];
        self.types.remove_stream(stream.aggregate_type);
        self.streams.remove(stream.half, id);
    }

    /// Drops the first event of a stream; with `forget`, removes the stream if nothing but its version is left.
    pub(crate) fn drop_first(&mut self, hash: u64, id: &str, (version, position): (u32, u64), forget: bool) {
        let Some(key) = self.find(hash, id) else { return };
        let stream = &mut self.streams[key];
        stream.drop_to(version, position);
        if forget && stream.is_spent() {
            self.remove(key, id);
        }
    }

    /// Removes a stream that never had an event.
    pub(crate) fn forget_unwritten(&mut self, hash: u64, id: &str) {
        let key = self.find(hash, id);
        if let Some(key) = key.filter(|key| self.streams[*key].version == 0) {
            self.remove(key, id);
        }
    }

    /// Releases unused capacity.
    pub(crate) fn compact(&mut self) {
        for stream in self.streams.iter_mut() {
            stream.positions.shrink();
        }
        self.streams.shrink();
        self.types.shrink();
    }

    /// The usage of the shard, for events up to `visible`.
    pub(crate) fn usage(&self, visible: u64) -> ShardUsage {
        let mut usage = ShardUsage {
            memory_bytes: self.memory_bytes() as u64,
            ..ShardUsage::default()
        };
        for stream in self.streams() {
            let unseen = stream.unseen_events(visible);
            usage.unseen_events += unseen;
            if stream.id.starts_with('$') {
                usage.system_events += stream.live_events() - unseen;
            } else {
                usage.streams += u64::from(u64::from(stream.version) > unseen);
            }
        }
        usage
    }

    fn memory_bytes(&self) -> usize {
        let heap: usize = self
            .streams
            .iter()
            .map(|stream| stream.positions.heap_bytes() + stream.id.heap_bytes())
            .sum();
        self.streams.memory_bytes() + self.types.memory_bytes() + heap
    }
}

/// The usage of a shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShardUsage {
    pub(crate) streams: u64,
    pub(crate) system_events: u64,
    /// Events that readers do not see yet, including system events.
    pub(crate) unseen_events: u64,
    pub(crate) memory_bytes: u64,
}

/// A stream has two cache lines, which are fetched together.
const _: () = assert!(size_of::<Stream>() == 128);
