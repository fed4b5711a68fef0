//! Tables, lists of facts, verdicts.

use serde::{Deserialize, Serialize};

use crate::text::{count, escape, inline, number};

/// How a number is known. It stands beside the number, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A theorem, or a bound with a stated confidence.
    Proven,
    /// Computed from a sample, without a guarantee.
    Estimated,
    /// Seen in an experiment.
    Measured,
}

impl Basis {
    fn html(self) -> &'static str {
        match self {
            Self::Proven => "<span class=\"basis proven\">proven</span>",
            Self::Estimated => "<span class=\"basis estimated\">estimated</span>",
            Self::Measured => "<span class=\"basis measured\">measured</span>",
        }
    }
}

/// A named value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// What is stated.
    pub name: String,
    /// Its value, in words or digits.
    pub value: String,
    /// How it is known, where that matters.
    #[serde(default)]
    pub basis: Option<Basis>,
}

impl Fact {
    /// A fact without a basis.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), basis: None }
    }

    /// Says how the value is known.
    pub fn basis(self, basis: Basis) -> Self {
        Self { basis: Some(basis), ..self }
    }
}

pub(crate) fn facts(facts: &[Fact]) -> String {
    let rows: String = facts.iter().map(fact).collect();
    format!("<dl class=\"facts\">\n{rows}</dl>\n")
}

fn fact(fact: &Fact) -> String {
    let basis = fact.basis.map_or(String::new(), |b| format!(" {}", b.html()));
    format!("<div><dt>{}</dt><dd>{}{basis}</dd></div>\n", inline(&fact.name), inline(&fact.value))
}

/// A claim, what theory predicts, what was seen, and whether they agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is claimed.
    pub claim: String,
    /// What the claim predicts.
    pub predicted: String,
    /// What was measured.
    pub measured: String,
    /// Whether the measurement agrees.
    pub holds: bool,
}

pub(crate) fn verdicts(verdicts: &[Verdict]) -> String {
    let held = verdicts.iter().filter(|v| v.holds).count();
    let all = verdicts.len();
    let summary = match (all, all - held) {
        (0, _) => "No claims were checked.".into(),
        (1, 0) => "The claim holds.".into(),
        (_, 0) => format!("All {all} claims hold."),
        (_, failed) => format!("{held} of {all} claims hold, {failed} fail{}.", if failed == 1 { "s" } else { "" }),
    };
    if verdicts.is_empty() {
        return format!("<p>{summary}</p>\n");
    }
    let rows: String = verdicts.iter().map(verdict).collect();
    // The roles are spelled out because the style sheet lays the rows out as cards where the page is narrow.
    let head: String = ["Verdict", "Claim", "Predicted", "Measured"]
        .map(|h| format!("<th scope=\"col\" role=\"columnheader\">{h}</th>"))
        .concat();
    format!(
        "<p class=\"summary\">{summary}</p>\n<div class=\"fit\">\
         <table class=\"verdicts\" role=\"table\"><thead role=\"rowgroup\">\
         <tr role=\"row\">{head}</tr></thead>\n<tbody role=\"rowgroup\">\n{rows}</tbody></table></div>\n"
    )
}

fn verdict(verdict: &Verdict) -> String {
    let chip = if verdict.holds {
        "<span class=\"chip holds\">✓ holds</span>"
    } else {
        "<span class=\"chip fails\">✗ fails</span>"
    };
    format!(
        "<tr role=\"row\"><td role=\"cell\">{chip}</td><th scope=\"row\" role=\"rowheader\">{}</th>\
         <td role=\"cell\" data-name=\"predicted\">{}</td><td role=\"cell\" data-name=\"measured\">{}</td></tr>\n",
        inline(&verdict.claim),
        inline(&verdict.predicted),
        inline(&verdict.measured),
    )
}

/// What a column holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The unit of its numbers.
    #[serde(default)]
    pub unit: Option<String>,
    /// Numbers stand at the right, words at the left.
    #[serde(default)]
    pub numeric: bool,
    /// How its numbers are known.
    #[serde(default)]
    pub basis: Option<Basis>,
}

impl Column {
    /// A column of words.
    pub fn text(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// A column of numbers.
    pub fn number(name: impl Into<String>) -> Self {
        Self { numeric: true, ..Self::text(name) }
    }

    /// Names the unit.
    pub fn unit(self, unit: impl Into<String>) -> Self {
        Self { unit: Some(unit.into()), ..self }
    }

    /// Says how the numbers are known.
    pub fn basis(self, basis: Basis) -> Self {
        Self { basis: Some(basis), ..self }
    }

    fn html(&self) -> String {
        let unit = self.unit.as_ref().map_or(String::new(), |u| format!("<span class=\"unit\">{}</span>", escape(u)));
        let basis = self.basis.map_or("", Basis::html);
        format!("<th scope=\"col\"{}>{}{unit}{basis}</th>", class(self.numeric), inline(&self.name))
    }
}

fn class(numeric: bool) -> &'static str {
    if numeric { " class=\"num\"" } else { "" }
}

/// The content of a cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Nothing: shown as a dash.
    #[default]
    Empty,
    /// Words.
    Text(String),
    /// Shown with four significant digits.
    Number(f64),
    /// Shown exactly, in groups of three digits.
    Count(u64),
    /// How the numbers of the row are known.
    Basis(Basis),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        Self::Count(value)
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Self::Count(value as u64)
    }
}

impl From<Basis> for Cell {
    fn from(basis: Basis) -> Self {
        Self::Basis(basis)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}

impl Cell {
    /// Sentences keep a width to be read in: a narrow page scrolls instead of setting one word a line.
    fn room(&self) -> &'static str {
        match self {
            Self::Text(text) if text.chars().count() > 100 => " class=\"sentences\"",
            Self::Text(text) if text.chars().count() > 40 => " class=\"sentence\"",
            Self::Text(text) if text.chars().count() > 16 => " class=\"words\"",
            _ => "",
        }
    }

    fn html(&self) -> String {
        match self {
            Self::Empty => "<span class=\"soft\">–</span>".into(),
            Self::Text(text) => inline(text),
            Self::Number(value) => number(*value),
            Self::Count(value) => count(*value),
            Self::Basis(basis) => basis.html().into(),
        }
    }
}

/// A table; the first column names the row. On a narrow page it scrolls inside its own frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What the table shows.
    pub caption: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, one cell for each column; missing ones are shown as empty, further ones not at all.
    pub rows: Vec<Vec<Cell>>,
    /// Remarks below the table.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Table {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, columns: Vec<Column>) -> Self {
        Self { caption: caption.into(), columns, ..Self::default() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(mut self, cells: [Cell; N]) -> Self {
        self.rows.push(cells.into());
        self
    }

    /// Adds a remark.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn html(&self) -> String {
        let head: String = self.columns.iter().map(Column::html).collect();
        let rows: String = self.rows.iter().map(|cells| self.row_html(cells)).collect();
        let empty = "<tr><td class=\"soft\">no rows</td></tr>\n";
        let notes: String = self.notes.iter().map(|n| format!("<p class=\"note\">{}</p>\n", inline(n))).collect();
        format!(
            "<div class=\"table\"><p class=\"caption\">{}</p>\n\
             <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\
             <table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n{notes}</div>\n",
            inline(&self.caption),
            escape(if self.caption.is_empty() { "table" } else { &self.caption }),
            if rows.is_empty() { empty } else { &rows },
        )
    }

    fn row_html(&self, cells: &[Cell]) -> String {
        let mut html = String::from("<tr>");
        for (i, column) in self.columns.iter().enumerate() {
            let (tag, scope) = if i == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
            let cell = cells.get(i).unwrap_or(&Cell::Empty);
            let class = if column.numeric { class(true) } else { cell.room() };
            html.push_str(&format!("<{tag}{scope}{class}>{}</{tag}>", cell.html()));
        }
        html + "</tr>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_long_as_the_head() {
        let table = Table::new("c", vec![Column::text("a"), Column::number("b").unit("%")])
            .row([Cell::from("x & y")])
            .row(["y".into(), 0.5.into(), 3usize.into()])
            .row(["z".into(), Basis::Proven.into()]);
        let html = table.html();
        assert!(
            html.contains("<th scope=\"row\">x &amp; y</th><td class=\"num\"><span class=\"soft\">–</span></td></tr>")
        );
        assert!(html.contains("<td class=\"num\">0.5000</td></tr>"), "{html}");
        assert!(html.contains("<td class=\"num\"><span class=\"basis proven\">proven</span></td>"), "{html}");
        let long =
            Table::new("c", vec![Column::text("a")]).row(["a sentence that needs its room on a narrow page".into()]);
        assert!(long.html().contains("<th scope=\"row\" class=\"sentence\">"));
        assert!(Table::default().html().contains("no rows"));
    }

    #[test]
    fn the_summary_counts() {
        let verdict = |holds| Verdict { claim: "c".into(), predicted: "p".into(), measured: "m".into(), holds };
        assert!(verdicts(&[]).contains("No claims"));
        assert!(verdicts(&[verdict(true)]).contains("The claim holds."));
        assert!(verdicts(&[verdict(true), verdict(true)]).contains("All 2 claims hold."));
        assert!(verdicts(&[verdict(true), verdict(false)]).contains("1 of 2 claims hold, 1 fails."));
        assert!(verdicts(&[verdict(false)]).contains("0 of 1 claims hold, 1 fails."));
    }
}
