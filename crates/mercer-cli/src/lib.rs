//! The `mercer` command as a function: [`run`] takes arguments and two streams and returns an exit code.
//!
//! `main` and the Python wheel's command call the same [`run`], tests call it without a process.

mod args;
mod attend;
mod certificate;
mod certify;
mod console;
mod describe;
mod evaluate;
mod failure;
mod fit;
mod info;
mod memory;
mod output;
mod plan;
mod predict;
mod preorder;
mod relation;
mod report;
mod search;
mod settings;
mod source;
mod training;
mod verify;
mod watch;

use std::ffi::OsString;
use std::io::Write;

use clap::{CommandFactory, Parser};

use crate::args::{Arguments, Verb};
use crate::console::Console;
use crate::failure::Failure;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// The data or the work failed.
    Failed = 1,
    /// The command was not understood.
    Usage = 2,
    /// The work was done, and a target that was asked for is not met.
    TargetMissed = 3,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

/// Which of the two streams a person reads on a terminal: colours and a progress bar go nowhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminals {
    /// The stream of results.
    pub out: bool,
    /// The stream of plans, progress and errors.
    pub err: bool,
}

/// Runs one command line; results go to `out`, plans, progress and errors to `err`, neither of them a terminal.
pub fn run(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Exit {
    run_on(Terminals::default(), arguments, out, err)
}

/// As [`run`], with streams that may be terminals.
pub fn run_on(
    terminals: Terminals,
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Exit {
    let words: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error, terminals, out, err),
    };
    let mut console = Console::new(&arguments.output, command_line(&words), terminals, out, err);
    let done = match arguments.verb {
        Verb::Fit(own) => fit::run(*own, &mut console),
        Verb::Plan(own) => plan::run(&own, &mut console),
        Verb::Predict(own) => predict::predict(&own, &mut console),
        Verb::Evaluate(own) => evaluate::evaluate(&own, &mut console),
        Verb::Certify(own) => certify::run(&own, &mut console),
        Verb::Preorder(own) => preorder::run(&own, &mut console),
        Verb::Verify(own) => verify::run(&own, &mut console),
        Verb::Embed(own) => search::embed(&own, &mut console),
        Verb::Search(own) => search::search(&own, &mut console),
        Verb::Attend(own) => attend::run(&own, &mut console),
        Verb::Info(own) => info::run(&own, &mut console),
        Verb::Completions(own) => {
            let mut text = Vec::new();
            clap_complete::generate(own.shell, &mut Arguments::command(), "mercer", &mut text);
            generated(&text, &mut console)
        }
        Verb::Man => manual().and_then(|text| generated(&text, &mut console)),
    };
    done.unwrap_or_else(|failure| {
        console.failure(&failure);
        failure.exit
    })
}

/// The command as it can be typed again.
fn command_line(words: &[OsString]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,%@+".contains(c);
    let quoted = |word: &OsString| {
        let word = word.to_string_lossy();
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let rest: Vec<String> = words.iter().skip(1).map(quoted).collect();
    format!("mercer {}", rest.join(" "))
}

/// A generated text, as it is or as one JSON object.
fn generated(text: &[u8], console: &mut Console<'_>) -> Result<Exit, Failure> {
    let text = String::from_utf8_lossy(text);
    console.result(&serde_json::json!({"text": text}), &text)?;
    Ok(Exit::Done)
}

/// The manual: a page for the command, then one for each verb.
fn manual() -> Result<Vec<u8>, Failure> {
    let mut command = Arguments::command();
    command.build();
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    for verb in command.get_subcommands().filter(|v| v.get_name() != "help") {
        clap_mangen::Man::new(verb.clone()).render(&mut text)?;
    }
    Ok(text)
}

/// Help goes to `out`; a command line that is not understood is explained on `err`.
fn explain(
    error: &clap::Error,
    terminals: Terminals,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Exit {
    let color = console::colored(if error.use_stderr() { terminals.err } else { terminals.out });
    let rendered = error.render();
    let text = if color { rendered.ansi().to_string() } else { rendered.to_string() };
    // A reader that has gone away has nothing to be told.
    if error.use_stderr() {
        let _ = err.write_all(text.as_bytes());
        Exit::Usage
    } else {
        let _ = out.write_all(text.as_bytes());
        Exit::Done
    }
}
