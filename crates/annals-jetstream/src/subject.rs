//! Subjects of aggregates: one token for each id, and another one for each other id.

/// The subject of an aggregate: the stream, and the id with every byte but letters, digits, `-` and `_` written as `%` and two digits.
pub(crate) fn of_aggregate(stream: &str, id: &str) -> String {
    let mut subject = format!("{stream}.");
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            subject.push(char::from(byte));
        } else {
            subject.push('%');
            subject.extend([byte >> 4, byte & 15].map(digit));
        }
    }
    subject
}

fn digit(half: u8) -> char {
    char::from_digit(u32::from(half), 16).unwrap_or_default()
}

/// The subjects of a stream.
pub(crate) fn all(stream: &str) -> String {
    format!("{stream}.*")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_was_read_as_several_tokens() {
        assert_eq!(of_aggregate("s", "order-1_a"), "s.order-1_a");
        assert_eq!(of_aggregate("s", "a.b c*>%\t"), "s.a%2eb%20c%2a%3e%25%09");
        assert_eq!(of_aggregate("s", "ä"), "s.%c3%a4");
    }

    proptest! {
        #[test]
        fn two_ids_never_share_a_subject(first in "\\PC{0,8}|[%a-f0-9]{0,6}", second in "\\PC{0,8}|[%a-f0-9]{0,6}") {
            let subjects = [&first, &second].map(|id| of_aggregate("s", id));
            prop_assert_eq!(first == second, subjects[0] == subjects[1]);
            prop_assert!(subjects.iter().all(|subject| subject.matches('.').count() == 1));
            prop_assert!(subjects.iter().all(|subject| !subject.contains([' ', '*', '>', '\t'])));
        }
    }
}
