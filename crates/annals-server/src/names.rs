//! The names of namespaces and groups.

use annals::Error;

/// Bytes of a namespace's name, at most.
const NAME_BYTES_MAX: usize = 64;

/// # Errors
///
/// [`Error::Invalid`] if a name is empty or too long, has other characters than letters, digits, `-`, `_` and `.`, or is a step in a path.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_step = name.bytes().all(|byte| byte == b'.');
    if is_step || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
        return Err(Error::Invalid {
            message: format!(
                "'{name}' is no name of a namespace: write 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.'"
            )
            .into(),
        });
    }
    Ok(())
}
