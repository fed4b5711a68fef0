//! What we are measured against: a Python script in a process of its own, asked line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A script of `benchmarks/` that has said that it is ready.
pub(crate) struct Rival {
    process: Child,
    name: String,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Rival {
    /// The script in the first Python that has what it imports: `python`, `MERCER_PYTHON`, `benchmarks/.venv`, `python3`; or none.
    ///
    /// Its first line is `ready`, followed by its name.
    pub(crate) fn start(script: &str, arguments: &[&str], python: Option<&Path>) -> Option<Rival> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchmarks");
        let told = std::env::var_os("MERCER_PYTHON").map(PathBuf::from);
        let own = [folder.join(".venv/bin/python"), "python3".into()];
        for python in python.map(Path::to_path_buf).into_iter().chain(told).chain(own) {
            let mut command = Command::new(python);
            command.arg(folder.join(script)).args(arguments);
            let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
            let Ok(mut process) = process else { continue };
            let (Some(questions), Some(answers)) = (process.stdin.take(), process.stdout.take()) else { continue };
            let mut rival = Rival { process, name: String::new(), questions, answers: BufReader::new(answers) };
            if let Some(name) = rival.line().as_deref().and_then(|line| line.strip_prefix("ready ")) {
                rival.name = name.to_owned();
                return Some(rival);
            }
        }
        eprintln!("the rival is left out: no Python has what {script} imports; see benchmarks/README.md");
        None
    }

    /// What it calls itself, with its version.
    #[allow(dead_code)] // not every benchmark prints it
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The answer to one line.
    pub(crate) fn ask(&mut self, question: &str) -> Result<String, String> {
        writeln!(self.questions, "{question}").map_err(|e| format!("the rival does not listen: {e}"))?;
        self.line().ok_or_else(|| "the rival ended early".into())
    }

    /// As [`Rival::ask`], for an answer of two numbers.
    #[allow(dead_code)]
    pub(crate) fn ask_two(&mut self, question: &str) -> Result<[f64; 2], String> {
        let line = self.ask(question)?;
        let numbers: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().map_err(|_| format!("the rival gave no two numbers but '{line}'"))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim().to_owned())
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing to do about either failure.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
