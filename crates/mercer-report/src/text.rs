//! Words and numbers as HTML shows them.

use std::borrow::Cow;

/// `text` for the inside of an element or of a quoted attribute. Characters that no XML may hold become U+FFFD.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    let forbidden = |c: char| (c.is_control() && !"\n\t".contains(c)) || "\u{fffe}\u{ffff}".contains(c);
    if !text.contains(|c| "&<>\"'".contains(c) || forbidden(c)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if forbidden(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// `text` escaped, with what stands between backticks as code.
pub(crate) fn inline(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let mut html = String::new();
    for (i, part) in parts.iter().enumerate() {
        let code = i % 2 == 1;
        if code && i + 1 == parts.len() {
            html.push('`'); // the last backtick has no partner
            html.push_str(&escape(part));
        } else if code {
            html.push_str(&format!("<code>{}</code>", escape(part)));
        } else {
            html.push_str(&escape(part));
        }
    }
    html
}

/// Four significant digits, plain where that is readable.
///
/// ```
/// assert_eq!(mercer_report::number(0.25), "0.2500");
/// assert_eq!(mercer_report::number(9.9996), "10.00");
/// assert_eq!(mercer_report::number(-1.23456e-7), "-1.235e-7");
/// ```
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !value.is_finite() {
        return if value.is_nan() { "not a number".into() } else { format!("{value}").replace("inf", "infinite") };
    }
    // The exponent after rounding, so that 9.9996 counts as 10.
    let scientific = format!("{value:.3e}");
    let exponent: i32 = scientific.split('e').nth(1).and_then(|e| e.parse().ok()).unwrap_or(0);
    if (-3..5).contains(&exponent) { format!("{value:.*}", (3 - exponent).max(0) as usize) } else { scientific }
}

/// A count with thin spaces between thousands, from five digits on.
///
/// ```
/// assert_eq!(mercer_report::count(9999), "9999");
/// assert_eq!(mercer_report::count(12345), "12\u{202f}345");
/// ```
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// `text` cut to at most `longest` characters.
pub(crate) fn shorten(text: &str, longest: usize) -> Cow<'_, str> {
    if text.chars().count() <= longest {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(longest.saturating_sub(1)).collect();
    Cow::Owned(format!("{}…", kept.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_markup_and_keeps_the_rest() {
        assert_eq!(escape("a < b & \"c\" > 'd'"), "a &lt; b &amp; &quot;c&quot; &gt; &#39;d&#39;");
        assert_eq!(escape("Ähnlichkeit ≤ φ"), "Ähnlichkeit ≤ φ");
        assert_eq!(escape("nul\0 bell\u{7} line\n"), "nul\u{fffd} bell\u{fffd} line\n");
    }

    #[test]
    fn code_between_backticks() {
        assert_eq!(inline("run `a<b` now"), "run <code>a&lt;b</code> now");
        assert_eq!(inline("one ` alone"), "one ` alone");
        assert_eq!(inline("`x` and ` alone"), "<code>x</code> and ` alone");
        assert_eq!(inline(""), "");
    }

    #[test]
    fn numbers_have_four_digits() {
        let cases = [
            (0.0, "0"),
            (1.0, "1.000"),
            (-0.5, "-0.5000"),
            (1234.56, "1235"),
            (99999.0, "1.000e5"),
            (123456.0, "1.235e5"),
            (0.00099999, "0.001000"),
            (0.000012, "1.200e-5"),
            (f64::MAX, "1.798e308"),
            (f64::NAN, "not a number"),
            (f64::NEG_INFINITY, "-infinite"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn counts_are_grouped_and_exact() {
        assert_eq!(count(0), "0");
        assert_eq!(count(9999), "9999");
        assert_eq!(count(12345), "12\u{202f}345");
        assert_eq!(count(u64::MAX), "18\u{202f}446\u{202f}744\u{202f}073\u{202f}709\u{202f}551\u{202f}615");
    }

    #[test]
    fn shortens_by_characters() {
        assert_eq!(shorten("φφφφ", 4), "φφφφ");
        assert_eq!(shorten("certified floor", 11), "certified…");
    }
}
