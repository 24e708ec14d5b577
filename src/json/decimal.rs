//! Numbers of JSON, compared by value whatever their size and notation.

/// A number as `0.digits * 10^exponent`, the first and the last digit of which are not 0; zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    is_negative: bool,
    digits: Box<[u8]>,
    exponent: i128,
}

impl Decimal {
    /// Reads a number of JSON; `None` for anything else, and for an exponent of more than 36 digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = [whole.as_bytes(), fraction.as_bytes()].concat();
        let Some(first) = digits.iter().position(|digit| *digit != b'0') else {
            return Some(Self::zero());
        };
        let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(first);
        Some(Self {
            is_negative,
            digits: digits[first..=last].into(),
            exponent: exponent + whole.len() as i128 - first as i128,
        })
    }

    /// Zero has no sign.
    fn zero() -> Self {
        Self {
            is_negative: false,
            digits: Box::default(),
            exponent: 0,
        }
    }
}

fn parse_exponent(text: &str) -> Option<i128> {
    let digits = text.trim_start_matches(['+', '-']).trim_start_matches('0');
    if digits.len() > 36 {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).expect(text)
    }

    #[test]
    fn numbers_are_compared_by_value() {
        for equal in [
            &["1", "1.0", "1.000", "10e-1", "0.1e1", "1E0", "1e+00"][..],
            &["0", "-0", "0.0", "0e999", "-0.000"],
            &["-250", "-2.5e2", "-250.0"],
            &[
                "123456789012345678901234567890",
                "123456789012345678901234567890.0",
                "1.2345678901234567890123456789e29",
            ],
            &["1e400", "10e399", "0.1e401"],
            &["0.1", "0.10", "1e-1"],
        ] {
            for one in equal {
                assert_eq!(number(one), number(equal[0]), "{one}");
            }
        }
        for (one, other) in [
            ("1", "-1"),
            ("1", "10"),
            ("0.1", "0.01"),
            ("73314510714175488", "73314510714175489"),
            ("123456789012345678901234567890", "123456789012345678901234567891"),
            ("1e400", "1e401"),
            ("0.1", "0.1000000000000000055511151231257827"),
        ] {
            assert_ne!(number(one), number(other), "{one} {other}");
        }
        for text in [
            "",
            "-",
            "a",
            "\"1\"",
            "1.2.3",
            "1e",
            "e1",
            "null",
            &format!("1e{}", "9".repeat(40)),
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_point_may_stand_anywhere(number in any::<i64>(), shift in 0_u32..30) {
            let moved = format!("{number}{}e-{shift}", "0".repeat(shift as usize));
            prop_assert_eq!(Decimal::parse(&moved), Decimal::parse(&number.to_string()));
            prop_assert_eq!(Decimal::parse(&format!("{number}e-{shift}")), Decimal::parse(&format!("{number}.000e-{shift}")));
        }
    }
}
