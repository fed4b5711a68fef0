//! What the user sees: results on one stream; plans, progress and errors on the other.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mercer::fit::Progress;
use serde::Serialize;

use crate::Terminals;
use crate::args::OutputOptions;
use crate::failure::Failure;

/// Whether a stream may be coloured: it is a terminal, and NO_COLOR is not set.
pub(crate) fn colored(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// The two streams and how much goes to them.
pub(crate) struct Console<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    command: String,
    json: bool,
    quiet: bool,
    verbose: bool,
    /// Whether `err` is a terminal.
    terminal: bool,
}

impl<'a> Console<'a> {
    pub(crate) fn new(
        options: &OutputOptions,
        command: String,
        terminals: Terminals,
        out: &'a mut (dyn Write + Send),
        err: &'a mut (dyn Write + Send),
    ) -> Self {
        Console {
            out,
            err,
            command,
            json: options.json,
            quiet: options.quiet,
            verbose: options.verbose > 0,
            terminal: terminals.err,
        }
    }

    /// The command that is run, as it can be typed again.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Whether results are one JSON object.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// A line about the work; nothing under `--quiet`. A reader that has gone away does not stop the work.
    pub(crate) fn note(&mut self, line: impl AsRef<str>) {
        if !self.quiet {
            let _ = writeln!(self.err, "{}", line.as_ref());
        }
    }

    /// A line that only `--verbose` shows.
    pub(crate) fn detail(&mut self, line: impl AsRef<str>) {
        if self.verbose {
            self.note(line);
        }
    }

    /// The result: `value` as one JSON object with `--json`, else the lines of `text`.
    pub(crate) fn result<T: Serialize>(&mut self, value: &T, text: &str) -> Result<(), Failure> {
        let line = if self.json {
            let json = serde_json::to_string(value);
            json.map_err(|e| Failure::from(std::io::Error::other(e)))? + "\n"
        } else {
            text.to_string()
        };
        self.raw(line.as_bytes())
    }

    /// Bytes to the result stream; a closed pipe is no failure.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// The message of a failed command; shown even under `--quiet`.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let label = if colored(self.terminal) { "\u{1b}[1;31merror\u{1b}[0m" } else { "error" };
        let _ = writeln!(self.err, "{label}: {failure}");
    }

    /// A reporter of progress: a bar on a terminal, plain lines elsewhere, nothing under `--quiet`.
    pub(crate) fn progress(&mut self) -> Reporter<'_> {
        let bar = (!self.quiet && self.terminal).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            set_template(&bar, SPINNER);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let lines = match self.quiet || bar.is_some() {
            true => None,
            false => Some(Mutex::new((&mut *self.err as &mut (dyn Write + Send), Instant::now()))),
        };
        Reporter { bar, lines, start: Instant::now() }
    }
}

const SPINNER: &str = "{spinner} {msg} [{elapsed_precise}]";
const BAR: &str = "{spinner} {msg} [{elapsed_precise}] {bar:24} {pos}/{len}";

fn set_template(bar: &ProgressBar, template: &str) {
    // Both templates are well-formed; a bar that keeps its old style would do as well.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// Shows how a fit goes on.
pub(crate) struct Reporter<'a> {
    bar: Option<ProgressBar>,
    /// The stream and when it was last written to.
    lines: Option<Mutex<(&'a mut (dyn Write + Send), Instant)>>,
    start: Instant,
}

impl Reporter<'_> {
    /// A line about the work, unless one was shown a moment ago.
    pub(crate) fn line(&self, text: &str) {
        self.show(text, false);
    }

    fn show(&self, text: &str, always: bool) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_string());
        }
        // A poisoned lock means that another thread panicked: progress no longer matters.
        if let Some(Ok(mut guard)) = self.lines.as_ref().map(Mutex::lock)
            && (always || guard.1.elapsed() > Duration::from_secs(2))
        {
            let _ = writeln!(guard.0, "[{:6.1} s] {text}", self.start.elapsed().as_secs_f64());
            guard.1 = Instant::now();
        }
    }
}

impl Drop for Reporter<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Reporter<'_> {
    fn stage(&self, name: &str) {
        if let Some(bar) = &self.bar {
            set_template(bar, SPINNER);
        }
        self.show(name, true);
    }

    fn step(&self, done: usize, limit: usize, held_out: f64) {
        if let Some(bar) = &self.bar {
            set_template(bar, BAR);
            bar.set_length(limit as u64);
            bar.set_position(done as u64);
        }
        self.show(&format!("step {done} of at most {limit}, residual {held_out:.3e}"), false);
    }
}
