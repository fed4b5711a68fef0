//! Columns of two values as labels: which of them is 1.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Data, shorten};
use crate::error::Result;

/// The pairs of words that are labels whatever the table: false, then true.
const KNOWN: [[&str; 2]; 4] = [["0", "1"], ["false", "true"], ["no", "yes"], ["-1", "1"]];

/// The two values of a column of labels, as they are written there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Labels {
    /// What becomes 0.
    pub(crate) zero: String,
    /// What becomes 1.
    pub(crate) one: String,
}

/// The distinct values of a column, as written: none, one or two of them, else more, with the row of the third.
enum Distinct {
    Few(Vec<String>),
    More(usize),
}

fn distinct(column: &Column) -> Distinct {
    let firsts = match &column.data {
        Data::Integers(v) => first_rows(v.iter(), |a, b| a == b),
        Data::Floats(v) => first_rows(v.iter(), |a, b| a == b),
        Data::Booleans(v) => first_rows(v.iter(), |a, b| a == b),
        Data::Text(v) => first_rows(v.iter(), |a, b| a.trim().eq_ignore_ascii_case(b.trim())),
        data => first_rows(0..data.len(), |a, b| data.show(*a) == data.show(*b)),
    };
    match firsts.as_slice() {
        [_, _, third, ..] => Distinct::More(*third),
        few => Distinct::Few(few.iter().map(|&row| written(column, row)).collect()),
    }
}

/// The rows in which a cell occurs first, up to the third.
fn first_rows<T>(cells: impl Iterator<Item = T>, same: impl Fn(&T, &T) -> bool) -> Vec<usize> {
    let mut found: Vec<(usize, T)> = Vec::new();
    for (row, cell) in cells.enumerate() {
        if !found.iter().any(|(_, known)| same(known, &cell)) {
            found.push((row, cell));
            if found.len() == 3 {
                break;
            }
        }
    }
    found.into_iter().map(|(row, _)| row).collect()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// The cell as a label is remembered: words in small letters, numbers without a needless `.0` or sign.
fn written(column: &Column, row: usize) -> String {
    match &column.data {
        Data::Floats(v) => (v[row] + 0.0).to_string(),
        data => data.show(row).trim().to_lowercase(),
    }
}

/// What the distinct values of a column are.
pub(crate) enum Reading {
    /// Labels by what is written, whatever the column's name.
    Plain(Labels),
    /// -1 and 1: labels if the column's name or the caller says so.
    Signs(Labels),
    /// At most one.
    One,
    /// Two that are no labels by themselves.
    Two,
    /// More than two.
    More,
}

/// What the distinct values of `column` are. Cost: one pass, up to the third of them.
pub(crate) fn reading(column: &Column) -> Reading {
    let Distinct::Few(found) = distinct(column) else { return Reading::More };
    if found.len() < 2 {
        return Reading::One;
    }
    let known = KNOWN.iter().find(|pair| pair.iter().all(|word| found.iter().any(|f| f == word)));
    match known {
        Some([zero, one]) if *zero == "-1" => Reading::Signs(Labels::new(zero, one)),
        Some([zero, one]) => Reading::Plain(Labels::new(zero, one)),
        None => Reading::Two,
    }
}

impl Labels {
    fn new(zero: &str, one: &str) -> Self {
        Labels { zero: zero.into(), one: one.into() }
    }

    /// The labels of a column that the caller calls one: known words, or of two other numbers the larger is 1.
    pub(crate) fn forced(column: &Column) -> Result<Labels> {
        const WORDS: &str = "write 0 and 1, false and true, no and yes, or -1 and 1";
        match reading(column) {
            Reading::Plain(labels) | Reading::Signs(labels) => return Ok(labels),
            Reading::One | Reading::Two | Reading::More => {}
        }
        let found = match distinct(column) {
            Distinct::Few(found) => found,
            Distinct::More(row) => {
                let problem =
                    format!("holds {:?}, a third value where labels have two", shorten(&written(column, row)));
                let remedy = format!("{WORDS}; --relation value learns the numbers as they are");
                return Err(column.cell_error(row, problem, remedy));
            }
        };
        match found.as_slice() {
            [a, b] => match (number(a), number(b)) {
                (Some(x), Some(y)) if x < y => Ok(Labels::new(a, b)),
                (Some(x), Some(y)) if x > y => Ok(Labels::new(b, a)),
                _ => Err(column.error(format!("holds {a:?} and {b:?}, which do not say which of them is true"), WORDS)),
            },
            _ => {
                let what = found.first().map_or_else(String::new, |only| format!("only {only:?}"));
                let problem = format!("holds {what} where labels need both values");
                let remedy = "add rows of the other label; if every row is a positive, say --relation clicks";
                Err(column.error(problem, remedy))
            }
        }
    }

    /// The labels in words: `true is 1, false is 0`.
    pub(crate) fn words(&self) -> String {
        format!("{} is 1, {} is 0", self.one, self.zero)
    }

    /// The cells of `column` as 0 and 1. Where the labels are known words, all known words are read.
    pub(crate) fn read(&self, column: &Column) -> Result<Vec<f32>> {
        column.complete()?;
        let own = [self.zero.as_str(), self.one.as_str()];
        let standard = KNOWN.contains(&own);
        let of = |cell: &str| -> Option<f32> {
            let same = |word: &&str| **word == *cell || number(word).is_some_and(|w| number(cell) == Some(w));
            let known = KNOWN.iter().filter(|_| standard).flat_map(|pair| pair.iter().zip([0.0, 1.0]));
            own.iter().zip([0.0, 1.0]).chain(known).find(|(word, _)| same(word)).map(|(_, value)| value)
        };
        let cell = |row: usize| match &column.data {
            Data::Integers(v) if (0..=1).contains(&v[row]) && standard => Ok(v[row] as f32),
            _ => of(&written(column, row)).ok_or_else(|| {
                let problem =
                    format!("holds {:?} where {} or {} was expected", shorten(&written(column, row)), own[0], own[1]);
                column.cell_error(row, problem, "correct the label or remove the row")
            }),
        };
        (0..column.data.len()).map(cell).collect()
    }
}
