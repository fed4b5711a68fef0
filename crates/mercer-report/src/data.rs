//! The numbers of a plot as CSV, and as a link that needs no network.

use std::borrow::Cow;
use std::fmt;

use crate::text::{count, escape};

/// Rows of CSV that a page embeds for each plot; of more, every second, third, ... is kept and the page says so.
pub const CSV_ROWS: usize = 20_000;

/// A table as comma-separated values (RFC 4180, lines end with `\n`). [`Display`](fmt::Display) gives the file's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Csv {
    header: String,
    rows: Vec<String>,
}

impl Csv {
    pub(crate) fn new(header: &str) -> Self {
        Self { header: header.into(), rows: Vec::new() }
    }

    pub(crate) fn extend(&mut self, rows: impl Iterator<Item = String>) {
        self.rows.extend(rows);
    }

    /// Number of rows, the header aside.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// At most `limit` rows, evenly chosen: each `k`-th. Gives `k` too.
    fn at_most(&self, limit: usize) -> (Self, usize) {
        let every = self.rows.len().div_ceil(limit).max(1);
        (Self { header: self.header.clone(), rows: self.rows.iter().step_by(every).cloned().collect() }, every)
    }

    /// A closed box with a download link and the first rows, for a plot called `title`.
    pub(crate) fn details(&self, title: &str) -> String {
        const SHOWN: usize = 8;
        if self.rows.is_empty() {
            return String::new();
        }
        let (kept, every) = self.at_most(CSV_ROWS);
        let rows = count(self.rows() as u64);
        let size = match every {
            1 => format!("{rows} row{}", if self.rows() == 1 { "" } else { "s" }),
            k => format!("one in {k} of {rows} rows"),
        };
        let mut head = kept.clone();
        head.rows.truncate(SHOWN);
        let more = if kept.rows() > SHOWN { "…" } else { "" };
        format!(
            "<details><summary>Data</summary>\
             <p><a download=\"{}.csv\" href=\"data:text/csv;charset=utf-8,{}\">Download CSV</a> \
             <span class=\"soft\">{size}</span></p>\n<pre>{}{more}</pre></details>\n",
            slug(title),
            percent(&kept.to_string()),
            escape(&head.to_string()),
        )
    }
}

impl fmt::Display for Csv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.header)?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

/// A text as one CSV field.
pub(crate) fn field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

/// `text` as the data of a URI that stands in an attribute.
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + text.len() / 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,+:;=/()".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// `title` as the stem of a file name.
fn slug(title: &str) -> String {
    let words: Vec<String> =
        title.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect();
    let stem: String = words.join("-").chars().take(60).collect();
    if stem.is_empty() { "data".into() } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_decodes_to_the_text() {
        let text = "a,\"b \"\"c\"\"\"\nφ & <1>,1e-7#%\n";
        let encoded = percent(text);
        assert!(!encoded.contains([' ', '"', '<', '&', '#', '\n']) && encoded.is_ascii());
        let mut bytes = Vec::new();
        let mut rest = encoded.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            if first == b'%' {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
                rest = &tail[2..];
            } else {
                bytes.push(first);
                rest = tail;
            }
        }
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    #[test]
    fn long_data_are_thinned_evenly_and_say_so() {
        let mut csv = Csv::new("i");
        csv.extend((0..50_000).map(|i| i.to_string()));
        let (kept, every) = csv.at_most(CSV_ROWS);
        assert_eq!((kept.rows(), every), (16_667, 3));
        assert!(csv.details("t").contains("one in 3 of 50\u{202f}000 rows"));
        assert_eq!(csv.to_string().lines().count(), 50_001);
    }

    #[test]
    fn slugs() {
        assert_eq!(slug("Error against D (RMS)"), "error-against-d-rms");
        assert_eq!(slug("<&>"), "data");
    }
}
