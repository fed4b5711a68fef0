//! The error type of tables: file, column, row, what was expected, and the remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// `std::result::Result` with this crate's [`TableError`].
pub type Result<T, E = TableError> = std::result::Result<T, E>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a table was refused; see [`TableErrorKind`] for the cases.
#[derive(Debug)]
pub struct TableError(Box<TableErrorKind>);

/// The cases of [`TableError`]. New cases may be added.
#[derive(Debug)]
#[non_exhaustive]
pub enum TableErrorKind {
    /// A file could not be read or written.
    Io {
        /// The file, or `standard input`.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file was read but is not the table it should be.
    Format {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// The reader's own reason, if it gave one.
        source: Option<Cause>,
    },
    /// A table lacks a column.
    MissingColumn {
        /// The file.
        file: String,
        /// The column looked for, or what it was looked for as.
        column: String,
        /// The columns there are.
        available: Vec<String>,
        /// What to do about it.
        remedy: String,
    },
    /// A column as a whole cannot serve as asked.
    Column {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A single cell cannot serve as asked.
    Cell {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// Data row, counted from 1 without the header.
        row: usize,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// An option does not fit, whatever the tables hold.
    Usage {
        /// The option, as written on a command line.
        option: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A stored schema is damaged or from a later version.
    Schema {
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// The parser's own reason, if it gave one.
        source: Option<Cause>,
    },
    /// The numbers were refused by the library.
    Core(mercer::Error),
}

impl TableError {
    /// The case, for programs that react to it.
    pub fn kind(&self) -> &TableErrorKind {
        &self.0
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        TableErrorKind::Io { path: path.to_path_buf(), source }.into()
    }

    pub(crate) fn format(file: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (file, problem, remedy) = (file.to_string(), problem.into(), remedy.into());
        TableErrorKind::Format { file, problem, remedy, source: None }.into()
    }

    pub(crate) fn usage(option: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        TableErrorKind::Usage { option: option.into(), problem: problem.into(), remedy: remedy.into() }.into()
    }

    pub(crate) fn schema(problem: impl Into<String>, source: Option<Cause>) -> Self {
        let remedy = "open the model with the version of mercer that wrote it, or fit it again".to_string();
        TableErrorKind::Schema { problem: problem.into(), remedy, source }.into()
    }

    pub(crate) fn column(file: &str, column: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (file, column) = (file.to_string(), column.to_string());
        TableErrorKind::Column { file, column, problem: problem.into(), remedy: remedy.into() }.into()
    }

    /// `row` is counted from 0 here and from 1 in the message.
    pub(crate) fn cell(
        file: &str,
        column: &str,
        row: usize,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (file, column) = (file.to_string(), column.to_string());
        TableErrorKind::Cell { file, column, row: row + 1, problem: problem.into(), remedy: remedy.into() }.into()
    }

    pub(crate) fn missing(file: &str, column: &str, available: &[String], remedy: impl Into<String>) -> Self {
        let (file, column, available) = (file.to_string(), column.to_string(), available.to_vec());
        TableErrorKind::MissingColumn { file, column, available, remedy: remedy.into() }.into()
    }
}

impl From<TableErrorKind> for TableError {
    fn from(kind: TableErrorKind) -> Self {
        TableError(Box::new(kind))
    }
}

impl From<mercer::Error> for TableError {
    fn from(error: mercer::Error) -> Self {
        TableErrorKind::Core(error).into()
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            TableErrorKind::Io { path, source } => write!(f, "{}: {source}", path.display()),
            TableErrorKind::Format { file, problem, remedy, .. } => write!(f, "{file}: {problem}; {remedy}"),
            TableErrorKind::MissingColumn { file, column, available, remedy } => {
                write!(f, "{file}: there is no column {column}; ")?;
                if let Some(name) = nearest(column, available) {
                    write!(f, "did you mean `{name}`? ")?;
                }
                write!(f, "{remedy} (columns: {})", listed(available))
            }
            TableErrorKind::Column { file, column, problem, remedy } => {
                write!(f, "{file}: column `{column}` {problem}; {remedy}")
            }
            TableErrorKind::Cell { file, column, row, problem, remedy } => {
                write!(f, "{file}: column `{column}`, row {row} {problem}; {remedy} (data rows are counted from 1)")
            }
            TableErrorKind::Usage { option, problem, remedy } => write!(f, "{option}: {problem}; {remedy}"),
            TableErrorKind::Schema { problem, remedy, .. } => write!(f, "the stored schema {problem}; {remedy}"),
            TableErrorKind::Core(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TableError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            TableErrorKind::Io { source, .. } => Some(source),
            TableErrorKind::Format { source, .. } | TableErrorKind::Schema { source, .. } => {
                source.as_ref().map(|s| s.as_ref() as _)
            }
            TableErrorKind::Core(error) => Some(error),
            _ => None,
        }
    }
}

/// The names between backticks; at most 24, then a count.
pub(crate) fn listed(names: &[String]) -> String {
    const MOST: usize = 24;
    let mut shown: Vec<String> = names.iter().take(MOST).map(|n| format!("`{n}`")).collect();
    if names.len() > MOST {
        shown.push(format!("and {} more", names.len() - MOST));
    }
    if shown.is_empty() { "none".into() } else { shown.join(", ") }
}

/// The name that differs least from `wanted`, if it differs by no more than a third of its letters.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    // The column stands between backticks, if the words around it say more.
    let wanted = wanted.split('`').nth(1).unwrap_or(wanted);
    let wanted: Vec<char> = wanted.to_lowercase().chars().take(64).collect();
    let (distance, name) = names
        .iter()
        .map(|name| (edits(&wanted, &name.to_lowercase().chars().take(64).collect::<Vec<_>>()), name))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= wanted.len().div_ceil(3)).then_some(name)
}

/// Levenshtein distance.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_column_is_suggested_and_a_strange_one_is_not() {
        let names: Vec<String> = ["smiles", "ecfp4_bits"].map(String::from).to_vec();
        let message = TableError::missing("a.csv", "smile", &names, "check --features").to_string();
        assert_eq!(
            message,
            "a.csv: there is no column smile; did you mean `smiles`? check --features (columns: `smiles`, `ecfp4_bits`)"
        );
        assert_eq!(nearest("weight", &names), None);
    }

    #[test]
    fn edits_are_counted() {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        for (a, b, expected) in [("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("same", "same", 0)] {
            assert_eq!(edits(&chars(a), &chars(b)), expected, "{a} {b}");
        }
    }
}
