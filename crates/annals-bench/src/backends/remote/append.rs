//! Appends to a store that writes only after a version that the client names.

use annals::{Expected, Version};

use crate::backends::naive::holds;
use crate::store::{Result, StoreError};

/// Maximum number of attempts of an append without a version, if each one loses a race.
const TRIES_MAX: usize = 1_000;

/// Appends after the last version of a stream, which `last` reads with what else names the place. `write` writes after it, unless another append was first.
pub(in crate::backends) fn append_after_read<P>(
    expected: Expected,
    last: impl Fn() -> Result<(P, u64)>,
    mut write: impl FnMut(P, u64) -> Result<Version>,
) -> Result<Version> {
    let is_any = matches!(expected, Expected::Any | Expected::StreamExists);
    for _ in 0..TRIES_MAX {
        let (place, version) = last()?;
        if !holds(expected, version) {
            return Err(StoreError::Conflict);
        }
        match write(place, version) {
            Err(StoreError::Conflict) if is_any => {}
            done => return done,
        }
    }
    Err(StoreError::Conflict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_without_a_version_gave_up_after_a_lost_race() {
        let mut tries = 0;
        let mut write = |expected| {
            tries = 0;
            append_after_read(
                expected,
                || Ok(((), 3)),
                |(), version| {
                    tries += 1;
                    if tries < 3 {
                        return Err(StoreError::Conflict);
                    }
                    Ok(Version(version + 1))
                },
            )
        };
        assert_eq!(write(Expected::Any), Ok(Version(4)));
        assert_eq!(write(Expected::StreamExists), Ok(Version(4)));
        // One that names a version has lost with it.
        assert_eq!(write(Expected::Exactly(Version(3))), Err(StoreError::Conflict));
        assert_eq!(write(Expected::NoStream), Err(StoreError::Conflict));
    }

    #[test]
    fn an_append_was_tried_for_ever() {
        let lost = append_after_read(Expected::Any, || Ok(((), 0)), |(), _| Err(StoreError::Conflict));
        assert_eq!(lost, Err(StoreError::Conflict));
    }
}
