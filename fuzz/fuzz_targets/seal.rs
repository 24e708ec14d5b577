//! Headers with checksums that are right, whatever is in them.

pub const STORE: [u8; 16] = *b"a store of fuzz!";

pub fn segment_header(first: u64) -> Vec<u8> {
    let mut header = b"ANNALSEG\x01\0\0\0\0\0\0\0".to_vec();
    header.extend_from_slice(&STORE);
    header.extend_from_slice(&first.to_le_bytes());
    header.resize(60, 0);
    let checksum = crc32fast::hash(&header);
    header.extend_from_slice(&checksum.to_le_bytes());
    header
}

pub struct Frame<'a> {
    pub flags: u8,
    pub raw_bytes: u32,
    pub events: u32,
    /// Positions of a sparse frame that have no event.
    pub gone: u64,
    pub first: u64,
    pub synced: u64,
    pub content: &'a [u8],
}

impl Frame<'_> {
    pub fn write(&self, out: &mut Vec<u8>) {
        let positions = u64::from(self.events) + self.gone;
        let last = (self.first + positions).saturating_sub(1);
        let first = if positions == 0 { last } else { self.first };
        let mut header = b"FRAM".to_vec();
        header.extend_from_slice(&[self.flags, 0, 0, 0]);
        for number in [self.content.len() as u32, self.raw_bytes, self.events, crc32fast::hash(self.content)] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        for number in [first, last, self.synced] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.resize(52, 0);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&STORE);
        hasher.update(&header);
        header.extend_from_slice(&hasher.finalize().to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(self.content);
        out.resize(out.len().next_multiple_of(8), 0);
    }
}
