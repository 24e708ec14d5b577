//! Payloads: JSON with an identity, so that the oracle knows each event again.

use std::io::Write as _;

use super::random::Random;
use crate::workload::Payload;

/// The words that compress.
const WORDS: &str = "customer order item delivery address invoice payment standard priority warehouse confirmed pending \
                     reference quantity currency Amsterdam Utrecht Rotterdam requested updated approved total amount ";
/// The letters that do not.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Before the identity.
const HEAD: &[u8] = br#"{"id":""#;
/// Digits of the number, a dash, digits of the ordinal.
const IDENTITY_BYTES: usize = 16 + 1 + 4;
/// Bytes of the letters that payloads have parts of.
const POOL_BYTES: usize = 1 << 16;
/// A standard normal variable is below this in 99 of 100 cases.
const NORMAL_P99: f64 = 2.326_347_874;
/// No payload is longer than this many times its 99th percentile.
const LONGEST: f64 = 4.0;

/// Which event a payload is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// The number of the operation.
    pub(crate) number: u64,
    /// The place in the append, from 0 on.
    pub(crate) ordinal: u32,
}

impl Identity {
    /// The text that a payload has of it.
    pub(crate) fn text(self) -> String {
        format!("{:016x}-{:04x}", self.number, self.ordinal)
    }
}

/// The identity in a payload, if it has one.
pub(crate) fn identity_of(data: &[u8]) -> Option<Identity> {
    let text = data.strip_prefix(HEAD)?.get(..IDENTITY_BYTES)?;
    let (number, ordinal) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some(Identity {
        number: u64::from_str_radix(number, 16).ok()?,
        ordinal: u32::from_str_radix(ordinal, 16).ok()?,
    })
}

/// Writes a JSON object with an identity and `data`, which is JSON or empty.
pub(super) fn wrap(bytes: &mut Vec<u8>, identity: Identity, data: &[u8]) {
    bytes.extend_from_slice(HEAD);
    // Writing to a vector does not fail.
    drop(write!(bytes, "{:016x}-{:04x}", identity.number, identity.ordinal));
    bytes.extend_from_slice(br#"","data":"#);
    bytes.extend_from_slice(if data.is_empty() { b"null" } else { data });
    bytes.push(b'}');
}

/// Writes payloads.
#[derive(Clone, Debug)]
pub(crate) struct Filling {
    letters: Vec<u8>,
    words: Vec<u8>,
    /// The mean of the logarithm of the length.
    mean: f64,
    deviation: f64,
    longest: f64,
    random_share: f64,
}

impl Filling {
    pub(crate) fn new(payload: &Payload, seed: u64) -> Self {
        let mut random = Random::of(seed, u64::MAX);
        let letter = |_| LETTERS[(random.next() >> 58) as usize];
        let (p50, p99) = (f64::from(payload.bytes_p50), f64::from(payload.bytes_p99));
        Self {
            letters: (0..POOL_BYTES).map(letter).collect(),
            words: WORDS.bytes().cycle().take(POOL_BYTES).collect(),
            mean: p50.ln(),
            deviation: (p99 / p50).ln() / NORMAL_P99,
            longest: p99 * LONGEST,
            random_share: payload.random_share,
        }
    }

    /// Writes the payload of `identity` behind `bytes`.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>, identity: Identity, random: &mut Random) {
        let start = bytes.len();
        let length = self.length(random);
        bytes.extend_from_slice(HEAD);
        // Writing to a vector does not fail.
        drop(write!(bytes, "{:016x}-{:04x}", identity.number, identity.ordinal));
        drop(write!(bytes, r#"","amount":{},"token":""#, random.below(1_000_000)));
        // The rest after the two texts has 12 bytes.
        let left = length.saturating_sub(bytes.len() - start + 12);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a length far below 2 to the power of 53, and not negative"
        )]
        let letters = (left as f64 * self.random_share) as usize;
        piece(bytes, &self.letters, letters, random);
        bytes.extend_from_slice(br#"","note":""#);
        piece(bytes, &self.words, left - letters, random);
        bytes.extend_from_slice(br#""}"#);
    }

    #[expect(clippy::cast_sign_loss, reason = "an exponential is not negative")]
    fn length(&self, random: &mut Random) -> usize {
        let length = (self.mean + self.deviation * random.normal()).exp();
        length.min(self.longest) as usize
    }
}

/// Writes `length` bytes of `pool`, from a random place on.
fn piece(bytes: &mut Vec<u8>, pool: &[u8], length: usize, random: &mut Random) {
    let mut place = random.below(pool.len() as u64) as usize;
    let mut left = length;
    while left > 0 {
        let end = pool.len().min(place + left);
        bytes.extend_from_slice(&pool[place..end]);
        left -= end - place;
        place = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_with_their_identity_and_the_lengths_of_the_workload() {
        let payload = Payload {
            bytes_p50: 240,
            bytes_p99: 1_000,
            random_share: 0.35,
        };
        let filling = Filling::new(&payload, 1);
        let mut lengths = Vec::new();
        for number in 0..20_000 {
            let identity = Identity {
                number: number << 40 | number,
                ordinal: 9_999,
            };
            let mut bytes = Vec::new();
            filling.write(&mut bytes, identity, &mut Random::of(1, number));
            assert_eq!(identity_of(&bytes), Some(identity));
            if number < 100 {
                serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
            }
            lengths.push(bytes.len());
        }
        lengths.sort_unstable();
        assert!((235..=245).contains(&lengths[10_000]), "{}", lengths[10_000]);
        assert!((930..=1_070).contains(&lengths[19_800]), "{}", lengths[19_800]);
    }

    #[test]
    fn the_bytes_of_another_program_have_no_identity() {
        for data in ["", "{}", r#"{"id":"7"}"#, r#"{"id":"000000000000000x-0000"}"#] {
            assert_eq!(identity_of(data.as_bytes()), None);
        }
    }
}
