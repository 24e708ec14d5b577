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
