//! Any bytes as the contents of frames whose checksums are right: so decoding is reached.
#![no_main]

mod damaged;
mod seal;

use libfuzzer_sys::fuzz_target;

/// Each frame: its flags, its number of events, twice the bytes of its content, what is odd about it; then the content.
fn segment(mut input: &[u8]) -> Vec<u8> {
    let mut out = seal::segment_header(1);
    let mut position = 1;
    while let [flags, events, low, high, odd, rest @ ..] = input {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, rest) = rest.split_at(length);
        let compressed = flags & 1 == 1;
        // Of a sparse frame some positions have no event.
        let gone = if flags & 8 == 0 { 0 } else { u64::from(odd & 0x3f) };
        let frame = Frame {
            flags: *flags,
            raw_bytes: if compressed {
                u32::from(*odd) * 64
            } else {
                length as u32
            },
            events: u32::from(*events),
            gone,
            first: position + u64::from(odd & 0x80 != 0 && !compressed),
            synced: if odd & 0x40 == 0 { 0 } else { position },
            content,
        };
        frame.write(&mut out);
        position = frame.first + u64::from(frame.events) + gone;
        input = rest;
    }
    out
}

fuzz_target!(|input: &[u8]| {
    damaged::check(&vec![(damaged::segment_name(1), segment(input))]);
});

/// A frame whose checksums are right.
struct Frame<'a> {
    flags: u8,
    raw_bytes: u32,
    events: u32,
    /// Positions of a sparse frame that have no event.
    gone: u64,
    first: u64,
    synced: u64,
    content: &'a [u8],
}

impl Frame<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let positions = u64::from(self.events) + self.gone;
        let last = (self.first + positions).saturating_sub(1);
        let first = if positions == 0 { last } else { self.first };
        let mut header = b"FRAM".to_vec();
        header.extend_from_slice(&[self.flags, 0, 0, 0]);
        for number in [
            self.content.len() as u32,
            self.raw_bytes,
            self.events,
            crc32fast::hash(self.content),
        ] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        for number in [first, last, self.synced] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.resize(52, 0);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&seal::STORE);
        hasher.update(&header);
        header.extend_from_slice(&hasher.finalize().to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(self.content);
        out.resize(out.len().next_multiple_of(8), 0);
    }
}
