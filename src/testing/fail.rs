//! How an assertion fails.

#[track_caller]
#[expect(clippy::panic, reason = "a test that fails panics")]
pub(super) fn fail(message: &str) -> ! {
    panic!("{message}")
}
