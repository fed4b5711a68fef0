//! What a caller says about tables: inputs, columns, kinds of features; and what is said back: roles.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::TableError;
use crate::relation::RelationKind;

/// Where a table comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file: Parquet, PrefLib or JSON lines if it begins so or is named so, else CSV with commas, tabs or semicolons.
    Path(PathBuf),
    /// Standard input, told apart in the same way. Only one table of a run can come from it.
    Stdin,
}

impl Input {
    /// `-` is standard input, anything else a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        if path.as_os_str() == "-" { Input::Stdin } else { Input::Path(path) }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Path(path) => path.display().fmt(f),
            Input::Stdin => f.write_str("standard input"),
        }
    }
}

/// Where the items behind the ids of a pair table are described.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ItemInputs {
    /// Nowhere but in the pair table itself.
    #[default]
    None,
    /// One table for both sides (`--items`).
    Shared(Input),
    /// One table a side (`--queries`, `--keys`).
    Two {
        /// The table of queries.
        queries: Input,
        /// The table of keys.
        keys: Input,
    },
}

/// How a column becomes features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// Lists of distinct numbers below a bound, as the indicator of the set. Without a bound it is the next power of two
    /// above the largest element. Lists of strings are hashed to the bound, 4096 by default.
    Set(Option<usize>),
    /// Lists of one length, as they are.
    Vector,
    /// Text, as hashed words and character n-grams, of norm one; in so many columns, 4096 by default.
    Text(Option<usize>),
    /// One column for each distinct value; of lists of text, one for each distinct element.
    Category,
    /// A number, shifted and scaled to mean 0 and variance 1.
    Number,
    /// One column for each item: an id table.
    Id,
}

impl FromStr for FeatureKind {
    type Err = TableError;

    fn from_str(text: &str) -> Result<Self, TableError> {
        const KINDS: &str = "write set, set=2048, vector, text, text=16384, category, number or id";
        match text.trim() {
            "set" => Ok(FeatureKind::Set(None)),
            "vector" => Ok(FeatureKind::Vector),
            "text" => Ok(FeatureKind::Text(None)),
            "category" => Ok(FeatureKind::Category),
            "number" => Ok(FeatureKind::Number),
            "id" => Ok(FeatureKind::Id),
            other => match other.split_once('=') {
                Some(("set", bound)) => {
                    columns(other, bound, u32::MAX as usize, "set=2048").map(|n| FeatureKind::Set(Some(n)))
                }
                Some(("text", bound)) => {
                    columns(other, bound, MOST_HASHED, "text=16384").map(|n| FeatureKind::Text(Some(n)))
                }
                _ => Err(TableError::usage("--feature", format!("`{other}` is no kind of feature"), KINDS)),
            },
        }
    }
}

/// Most columns of hashed text: rows are summed in a buffer of this length.
pub(crate) const MOST_HASHED: usize = 1 << 24;

/// The number behind `=` in `text`.
fn columns(text: &str, number: &str, most: usize, example: &str) -> Result<usize, TableError> {
    match number.trim().parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => {
            let problem = format!("the bound of `{text}` is not a whole number from 1 to {most}");
            let (alone, _) = example.split_once('=').unwrap_or((example, ""));
            Err(TableError::usage("--feature", problem, format!("write for instance {example}, or {alone} alone")))
        }
    }
}

impl fmt::Display for FeatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeatureKind::Set(None) => f.write_str("set"),
            FeatureKind::Set(Some(bound)) => write!(f, "set={bound}"),
            FeatureKind::Vector => f.write_str("vector"),
            FeatureKind::Text(None) => f.write_str("text"),
            FeatureKind::Text(Some(columns)) => write!(f, "text={columns}"),
            FeatureKind::Category => f.write_str("category"),
            FeatureKind::Number => f.write_str("number"),
            FeatureKind::Id => f.write_str("id"),
        }
    }
}

/// What the caller knows better than inference does. The default infers everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// The query side's column of the pair table.
    pub x: Option<String>,
    /// The key side's column of the pair table.
    pub y: Option<String>,
    /// The value column.
    pub value: Option<String>,
    /// The column of positive weights.
    pub weight: Option<String>,
    /// The column that says train, valid or test, in the pair table or an item table; `none` honours no column.
    pub split: Option<String>,
    /// The column of names for people.
    pub name: Option<String>,
    /// The feature columns, in this order.
    pub features: Option<Vec<String>>,
    /// Kinds forced on columns. Naming a kind adds its column to the features.
    pub kinds: Vec<(String, FeatureKind)>,
    /// What rows say; inferred if `None`.
    pub relation: Option<RelationKind>,
    /// The column of times.
    pub time: Option<String>,
    /// The column of each pair's own negatives: ids of keys, or lists of them.
    pub negatives: Option<String>,
    /// The column of the query, or anchor, of comparisons.
    pub query: Option<String>,
    /// The column of the preferred key, or positive, of comparisons.
    pub better: Option<String>,
    /// The column of the key that is not preferred, or negative, of comparisons.
    pub worse: Option<String>,
    /// The column that says how a comparison ended for the key named first: win, tie or loss.
    pub outcome: Option<String>,
    /// The column of lists of keys, best first, which become comparisons.
    pub ranking: Option<String>,
    /// The value of all pairs that the table does not list; carried for the caller, not used here.
    pub absent: Option<f32>,
}

impl ReadOptions {
    pub(crate) fn kind_of(&self, column: &str) -> Option<FeatureKind> {
        self.kinds.iter().rev().find(|(name, _)| name == column).map(|(_, kind)| *kind)
    }
}

/// What a column is used for, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The file, as given.
    pub file: String,
    /// The column.
    pub column: String,
    /// Its role in words: `query id`, `value`, `feature: set of 2048`, `ignored: ...`.
    pub role: String,
    /// Whether the column is used at all.
    pub used: bool,
}

impl Role {
    pub(crate) fn used(file: &str, column: &str, role: impl Into<String>) -> Self {
        Role { file: file.into(), column: column.into(), role: role.into(), used: true }
    }

    pub(crate) fn ignored(file: &str, column: &str, why: impl fmt::Display) -> Self {
        Role { file: file.into(), column: column.into(), role: format!("ignored: {why}"), used: false }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.column, self.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_print_as_they_are_written() {
        for text in ["set", "set=2048", "vector", "text", "text=16384", "category", "number", "id"] {
            assert_eq!(text.parse::<FeatureKind>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_kind_says_which_kinds_there_are() {
        let message = "bits".parse::<FeatureKind>().unwrap_err().to_string();
        assert!(message.contains("`bits`") && message.contains("set=2048"), "{message}");
        for text in ["set=0", "set=-1", "set=x", "set=99999999999", "text=0", "text=16777217", "text="] {
            let message = text.parse::<FeatureKind>().unwrap_err().to_string();
            assert!(message.contains("whole number from 1"), "{message}");
        }
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!(Input::new("-"), Input::Stdin);
        assert_eq!(Input::new("a.csv").to_string(), "a.csv");
    }
}
