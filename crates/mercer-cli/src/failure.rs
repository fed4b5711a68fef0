//! Why a command ended early, and with which exit code.

use std::fmt;

use mercer::ErrorKind;
use mercer_table::TableErrorKind;

use crate::Exit;

/// One clear message and the exit code that goes with it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) exit: Exit,
}

impl Failure {
    /// The command line or its configuration asks for something impossible.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure { message: message.into(), exit: Exit::Usage }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<mercer::Error> for Failure {
    fn from(error: mercer::Error) -> Self {
        let exit = if matches!(error.kind(), ErrorKind::Parameter { .. }) { Exit::Usage } else { Exit::Failed };
        Failure { message: error.to_string(), exit }
    }
}

impl From<mercer_table::TableError> for Failure {
    fn from(error: mercer_table::TableError) -> Self {
        let exit = if matches!(error.kind(), TableErrorKind::Usage { .. }) { Exit::Usage } else { Exit::Failed };
        Failure { message: error.to_string(), exit }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure { message: error.to_string(), exit: Exit::Failed }
    }
}
