//! A number of bytes, as the command line has it.

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// Reads `65536`, `64KiB`, `64MiB` or `1GiB`.
pub(super) fn parse_size(text: &str) -> Result<Size, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let unit = units
        .iter()
        .find_map(|(name, shift)| Some((text.strip_suffix(name)?, *shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift));
    bytes
        .map(Size)
        .ok_or_else(|| "write a number of bytes, such as 64MiB".to_owned())
}
