//! The only module that uses bincode. Golden bytes pin its varint format, and `docs/file-format.md` specifies it.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Encode};

use super::format::FRAME_BYTES_MAX;

/// The most bytes that decoding one value may claim. Decoded values borrow their bytes; no length that was read causes an allocation.
const CLAIM_BYTES_MAX: usize = FRAME_BYTES_MAX as usize;

type Config = Configuration<LittleEndian, Varint, Limit<CLAIM_BYTES_MAX>>;

const CONFIG: Config = bincode::config::standard()
    .with_little_endian()
    .with_variable_int_encoding()
    .with_limit::<CLAIM_BYTES_MAX>();

/// Appends `value` to `out`.
pub(super) fn encode(value: &impl Encode, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    bincode::encode_into_std_write(value, out, CONFIG).map(|_| ())
}

/// Decodes a value from the front of `bytes`, and removes its bytes.
pub(super) fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &mut &'a [u8]) -> Result<T, DecodeError> {
    let (value, used) = bincode::borrow_decode_from_slice(bytes, CONFIG)?;
    *bytes = &bytes[used..];
    Ok(value)
}
