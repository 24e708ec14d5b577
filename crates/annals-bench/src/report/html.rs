//! Parts of a page: escaped texts, numbers and tables.

/// `text` without anything that a browser would take for markup.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() => escaped.extend(control.escape_default()),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A number with three digits that count, and groups of thousands.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "n/a".to_owned();
    }
    if value.abs() < 100.0 {
        let digits = if value.abs() < 1.0 { 3 } else { 2 };
        let text = format!("{value:.digits$}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left.is_multiple_of(3) && digit.is_ascii_digit() && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A table; columns after the first are numbers if all their cells are.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let is_number = |column: usize| {
        let looks = |cell: &String| cell.is_empty() || cell == "n/a" || cell.starts_with(|c: char| c.is_ascii_digit());
        column > 0 && rows.iter().all(|row| row.get(column).is_none_or(looks))
    };
    let class = |column| if is_number(column) { " class=\"number\"" } else { "" };
    let classes: Vec<&str> = (0..header.len()).map(class).collect();
    let cell = |tag: &str, column: usize, text: &str| {
        let class = classes.get(column).copied().unwrap_or_default();
        format!("<{tag}{class}>{}</{tag}>", escape(text))
    };
    let mut text = "<div class=\"scroll\"><table><thead><tr>".to_owned();
    text.extend(header.iter().enumerate().map(|(column, name)| cell("th", column, name)));
    text.push_str("</tr></thead><tbody>\n");
    for row in rows {
        text.push_str("<tr>");
        text.extend(row.iter().enumerate().map(|(column, name)| cell("td", column, name)));
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_short() {
        let shown = [0.0, 0.01234, 1.5, 12.345, 123.4, 1234.0, 1_234_567.0, -1234.0, -12.0].map(number);
        assert_eq!(
            shown,
            [
                "0",
                "0.012",
                "1.5",
                "12.35",
                "123",
                "1,234",
                "1,234,567",
                "-1,234",
                "-12"
            ]
        );
    }

    #[test]
    fn a_text_became_markup() {
        assert_eq!(escape("<b a='\"&\">"), "&lt;b a=&#39;&quot;&amp;&quot;&gt;");
        assert_eq!(escape("a\u{1b}b"), "a\\u{1b}b");
        assert!(table(&["<i>"], &[vec!["<u>".to_owned()]]).contains("<td>&lt;u&gt;</td>"));
    }
}
