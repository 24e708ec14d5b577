//! Patterns of names: `*` for any characters, `?` for one.

/// Whether a name matches, in time of at most the product of the lengths.
pub(super) fn is_match(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut in_name) = (0, 0);
    // Where to go on after the last star: in the pattern, and in the name one further than before.
    let mut star = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, in_name));
                at += 1;
            }
            Some(one) if *one == '?' || *one == name[in_name] => (at, in_name) = (at + 1, in_name + 1),
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (at, in_name) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|one| *one == '*')
}

#[cfg(test)]
mod tests {
    use super::is_match;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, matches) in [
            ("order-*", "order-7", true),
            ("order-*", "order-", true),
            ("order-*", "orders", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "é", true),
            ("?", "", false),
            ("*-?-*", "a-b-c", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("order-7", "order-7", true),
            ("order-7", "order-77", false),
        ] {
            assert_eq!(is_match(pattern, name), matches, "{pattern} {name}");
        }
        let (stars, long) = ("*a".repeat(127), "a".repeat(254));
        assert!(is_match(&stars, &long) && !is_match(&format!("{stars}b"), &long));
    }
}
