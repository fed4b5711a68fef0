//! The one error type of the library.
//!
//! An [`Error`] says what was wrong, where, what was expected and what to do. Runs that end badly but with well-formed
//! input (no convergence, a missed target) are not errors: they are [outcomes](crate::fit::Outcome).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation was refused; see [`ErrorKind`] for the cases.
///
/// ```
/// use mercer::{Features, ErrorKind};
/// let error = Features::dense(vec![1.0, f32::NAN], 2).unwrap_err();
/// assert!(matches!(error.kind(), ErrorKind::NonFinite { row: 0, column: 1, .. }));
/// ```
#[derive(Debug)]
pub struct Error(Box<ErrorKind>);

/// The cases of [`Error`]. New cases may be added.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Two objects do not fit together.
    Shape {
        /// The operation or object concerned.
        what: String,
        /// What would have fitted.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A value is NaN or infinite.
    NonFinite {
        /// The table or matrix concerned.
        what: String,
        /// Row, counted from 0.
        row: usize,
        /// Column, counted from 0.
        column: usize,
    },
    /// A parameter lies outside its range.
    Parameter {
        /// The parameter's name.
        name: String,
        /// Its range, in words, with the unit.
        expected: String,
        /// The value given.
        got: String,
    },
    /// There is too little data, or none that carries information.
    Data {
        /// What is missing.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A file could not be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file was read but is not what it should be.
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
}

impl Error {
    /// The case, for programs that react to it.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// A [`ErrorKind::Shape`].
    pub fn shape(what: impl Into<String>, expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        ErrorKind::Shape { what: what.into(), expected: expected.to_string(), got: got.to_string() }.into()
    }

    /// A [`ErrorKind::Parameter`].
    pub fn parameter(name: impl Into<String>, expected: impl Into<String>, got: impl fmt::Display) -> Self {
        ErrorKind::Parameter { name: name.into(), expected: expected.into(), got: got.to_string() }.into()
    }

    /// A [`ErrorKind::Data`].
    pub fn data(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        ErrorKind::Data { problem: problem.into(), remedy: remedy.into() }.into()
    }

    /// A [`ErrorKind::Io`].
    pub fn io(path: &Path, source: io::Error) -> Self {
        ErrorKind::Io { path: path.to_path_buf(), source }.into()
    }

    /// A [`ErrorKind::Format`].
    pub fn format(path: &Path, problem: impl Into<String>) -> Self {
        ErrorKind::Format { path: path.to_path_buf(), problem: problem.into() }.into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Error(Box::new(kind))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            ErrorKind::Shape { what, expected, got } => write!(f, "{what}: expected {expected}, got {got}"),
            ErrorKind::NonFinite { what, row, column } => write!(
                f,
                "{what}: the value in row {row}, column {column} (counted from 0) is NaN or infinite; remove or fill \
                 in what is missing, or choose other parameters"
            ),
            ErrorKind::Parameter { name, expected, got } => write!(f, "{name} must be {expected}, got {got}"),
            ErrorKind::Data { problem, remedy } => write!(f, "{problem}; {remedy}"),
            ErrorKind::Io { path, source } => write!(f, "{}: {source}", path.display()),
            ErrorKind::Format { path, problem } => write!(f, "{}: {problem}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
