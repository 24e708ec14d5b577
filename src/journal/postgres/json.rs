//! Predicts which JSON PostgreSQL accepts, and which a `jsonb` preserves byte for byte.

/// How a `jsonb` treats a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// PostgreSQL may reject it: it is not JSON, or exceeds a limit.
    Refused,
    /// PostgreSQL accepts it, and its compact form may differ.
    Taken,
    /// PostgreSQL accepts it, and its compact form is identical.
    Same,
}

/// The most nested arrays and objects; PostgreSQL's stack allows several thousand.
const DEPTH_MAX: usize = 128;
/// The most bytes of a number; PostgreSQL accepts 131,072 digits.
const NUMBER_BYTES_MAX: usize = 128;
/// The most digits of an exponent: more would expand to thousands of digits.
const EXPONENT_DIGITS_MAX: usize = 2;
/// The most bytes of a text; PostgreSQL's limit is 256 MiB in its binary form.
const BYTES_MAX: usize = 32 << 20;

/// Judges `bytes`. Errs towards [`Verdict::Refused`] and [`Verdict::Taken`], which are always safe.
pub(super) fn judge(bytes: &[u8]) -> Verdict {
    let Ok(text) = str::from_utf8(bytes) else {
        return Verdict::Refused;
    };
    if bytes.len() > BYTES_MAX {
        return Verdict::Refused;
    }
    let mut scan = Scan {
        rest: text.as_bytes(),
        same: true,
    };
    let taken = scan.value(0).is_some() && {
        scan.spaces();
        scan.rest.is_empty()
    };
    match (taken, scan.same) {
        (false, _) => Verdict::Refused,
        (true, false) => Verdict::Taken,
        (true, true) => Verdict::Same,
    }
}

/// Appends the text of a `jsonb` to `out`, without the spaces that PostgreSQL adds after commas and colons.
pub(super) fn compact(text: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    let kept = text.iter().filter(|byte| {
        let keep = in_string || **byte != b' ';
        if escaped {
            escaped = false;
        } else if in_string && **byte == b'\\' {
            escaped = true;
        } else if **byte == b'"' {
            in_string = !in_string;
        }
        keep
    });
    out.extend(kept);
}

/// Scans JSON from the front. Every function returns `None` where PostgreSQL might reject the text.
struct Scan<'a> {
    rest: &'a [u8],
    /// Whether `jsonb` preserves everything so far.
    same: bool,
}

impl<'a> Scan<'a> {
    fn value(&mut self, depth: usize) -> Option<()> {
        self.spaces();
        match self.rest.first()? {
            b'{' if depth < DEPTH_MAX => self.object(depth),
            b'[' if depth < DEPTH_MAX => self.array(depth),
            b'"' => self.string().map(drop),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    /// A `jsonb` stores each key of an object once, shorter keys first.
    fn object(&mut self, depth: usize) -> Option<()> {
        self.next();
        let mut before: Option<&[u8]> = None;
        if self.skip(b'}') {
            return Some(());
        }
        loop {
            self.spaces();
            let key = self.string()?;
            self.same &= before.is_none_or(|before| (before.len(), before) < (key.len(), key)) && !key.contains(&b'\\');
            before = Some(key);
            self.skip(b':').then_some(())?;
            self.value(depth + 1)?;
            if self.skip(b'}') {
                return Some(());
            }
            self.skip(b',').then_some(())?;
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.next();
        if self.skip(b']') {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            if self.skip(b']') {
                return Some(());
            }
            self.skip(b',').then_some(())?;
        }
    }

    /// A string; returns the text between the quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let (b'"', text) = self.rest.split_first()? else {
            return None;
        };
        self.rest = text;
        loop {
            let plain = self
                .rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | ..0x20))?;
            let (stop, rest) = self.rest.get(plain..)?.split_first()?;
            self.rest = rest;
            match stop {
                b'"' => return text.get(..text.len() - rest.len() - 1),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => {}
            b'/' => self.same = false,
            b'u' => {
                self.same = false;
                self.code()?;
            }
            _ => return None,
        }
        Some(())
    }

    /// The four digits after `\u`: any except those of U+0000 and of surrogates.
    fn code(&mut self) -> Option<()> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        let digits = str::from_utf8(digits).ok()?;
        // The standard library accepts a sign too.
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        char::from_u32(code).filter(|code| *code != '\0').map(drop)
    }

    fn number(&mut self) -> Option<()> {
        let whole = self.rest;
        if self.rest.first() == Some(&b'-') {
            self.next();
            // PostgreSQL stores -0 as 0.
            self.same &= self.rest.first() != Some(&b'0');
        }
        let leading_zero = self.rest.first() == Some(&b'0');
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            return None;
        }
        if self.rest.first() == Some(&b'.') {
            self.next();
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.rest.first() {
            self.next();
            self.exponent()?;
        }
        (whole.len() - self.rest.len() <= NUMBER_BYTES_MAX).then_some(())
    }

    fn exponent(&mut self) -> Option<()> {
        self.same = false;
        if let Some(b'+' | b'-') = self.rest.first() {
            self.next();
        }
        (self.digits()? <= EXPONENT_DIGITS_MAX).then_some(())
    }

    /// Digits, at least one.
    fn digits(&mut self) -> Option<usize> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = self.rest.get(count..)?;
        (count > 0).then_some(count)
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    fn spaces(&mut self) {
        let rest = self.rest.trim_ascii_start();
        // A form feed is white space for the standard library, but not for JSON.
        let skipped = self.rest.len() - rest.len();
        if skipped > 0 && !self.rest[..skipped].contains(&0x0c) {
            self.rest = rest;
            self.same = false;
        }
    }

    /// Skips `byte` and the spaces before it, if it follows.
    fn skip(&mut self, byte: u8) -> bool {
        self.spaces();
        let is_there = self.rest.first() == Some(&byte);
        if is_there {
            self.next();
        }
        is_there
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_as_it_was_is_the_same() {
        for text in [
            "null",
            "true",
            "[]",
            "{}",
            "\"\"",
            "[1,2.50,-3,0,0.5,[{}]]",
            r#"{"a":1,"b":"x y, z: {","aa":[null]}"#,
            r#""\"\\\b\f\n\r\t é 🙂""#,
        ] {
            assert_eq!(judge(text.as_bytes()), Verdict::Same, "{text}");
        }
    }

    #[test]
    fn what_another_form_comes_back_of_is_taken() {
        for text in [
            " null",
            "[1, 2]",
            "{\"a\" :1}",
            "1e5",
            "1E-07",
            "-0",
            "-0.5",
            r#"{"b":1,"a":2}"#,
            r#"{"aa":1,"b":2}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"\n":1}"#,
            r#""\/""#,
            r#""\u00e9""#,
        ] {
            assert_eq!(judge(text.as_bytes()), Verdict::Taken, "{text}");
        }
    }

    #[test]
    fn what_postgres_may_refuse_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        let long = "1".repeat(200);
        for text in [
            "",
            " ",
            "nul",
            "[1,]",
            "[1",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e999",
            "--1",
            "\"",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"\\u+041\"",
            "\u{c}1",
            "1 2",
            "{}x",
            &deep,
            &long,
        ] {
            assert_eq!(judge(text.as_bytes()), Verdict::Refused, "{text}");
        }
        assert_eq!(judge(b"\"\xff\""), Verdict::Refused);
    }

    #[test]
    fn spaces_outside_of_strings_are_left_out() {
        let mut out = Vec::new();
        compact(br#"{"a": [1, 2], "b c": "x, \" y: \\", "d": {}}"#, &mut out);
        assert_eq!(out, br#"{"a":[1,2],"b c":"x, \" y: \\","d":{}}"#);
    }
}
