//! Benchmarks with published numbers: `benchmarks/definitions/*.toml` says what is run on which data, what is expected and what
//! other systems reached.
//!
//! Each command is the program itself, so a definition is also an example. Data that are not in the repository are looked for in
//! `../shared/data` and in `$MERCER_DATA`; a definition whose data are absent is left out, and said so.

mod record;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use record::{Report, root, short, started_as_benchmark};

/// Run the benchmarks that `benchmarks/definitions` describes.
#[derive(Parser)]
struct Arguments {
    /// Only definitions and runs whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Append the results to `benchmarks/record/`.
    #[arg(long)]
    record: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One file: data and the runs on them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    name: String,
    about: String,
    data: Data,
    run: Vec<Run>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    /// Folder below one of the data roots; `{data}` in commands.
    folder: String,
    source: String,
    licence: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    name: String,
    /// Commands of `mercer`, one after another; `{out}` is a folder of the run. The last one's JSON is measured.
    commands: Vec<String>,
    expect: Vec<Expectation>,
    #[serde(default)]
    rival: Vec<Rival>,
}

/// What a number of the answer must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    /// JSON pointer into the answer.
    at: String,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

/// What another system reached, and where that is said.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rival {
    system: String,
    metric: String,
    value: f64,
    source: String,
}

#[derive(Serialize)]
struct Line<'a> {
    bench: &'static str,
    definition: &'a str,
    run: &'a str,
    seconds: f64,
    measured: Vec<Measured<'a>>,
    met: bool,
    rivals: &'a [Rival],
}

#[derive(Serialize)]
struct Measured<'a> {
    at: &'a str,
    value: Option<f64>,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

impl Measured<'_> {
    fn met(&self) -> bool {
        let value = self.value.unwrap_or(f64::NAN);
        self.at_least.is_none_or(|least| value >= least) && self.at_most.is_none_or(|most| value <= most)
    }
}

fn definitions() -> Result<Vec<Definition>, Box<dyn Error>> {
    let folder = root().join("benchmarks/definitions");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)?.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    let read = |path: &PathBuf| -> Result<Definition, Box<dyn Error>> {
        let text = std::fs::read_to_string(path)?;
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()).into())
    };
    paths.iter().map(read).collect()
}

/// The folder of the data, wherever it lies.
fn find(folder: &str) -> Option<PathBuf> {
    let own = std::env::var_os("MERCER_DATA").map(PathBuf::from);
    let roots = own.into_iter().chain([root().join("data"), root().join("../shared/data")]);
    roots.map(|r| r.join(folder)).find(|p| p.is_dir())
}

/// The JSON that the last command printed.
fn answer(run: &Run, data: &Path, out: &Path) -> Result<Value, Box<dyn Error>> {
    let mut last = Value::Null;
    for command in &run.commands {
        let fill =
            |word: &str| word.replace("{data}", &data.to_string_lossy()).replace("{out}", &out.to_string_lossy());
        let arguments: Vec<String> = command.split_whitespace().map(fill).collect();
        let done = Command::new(env!("CARGO_BIN_EXE_mercer")).args(&arguments).args(["--json", "-q"]).output()?;
        // Exit code 3 is an answer, too: a target that is not met.
        if !matches!(done.status.code(), Some(0 | 3)) {
            return Err(format!("mercer {command}\n{}", String::from_utf8_lossy(&done.stderr)).into());
        }
        last = serde_json::from_slice(&done.stdout)?;
    }
    Ok(last)
}

fn main() -> Result<(), Box<dyn Error>> {
    if !started_as_benchmark() {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let mut report = Report::new("published");
    let mut missed = 0;
    for definition in definitions()? {
        let Some(data) = find(&definition.data.folder) else {
            eprintln!(
                "{}: left out, {} is not at hand ({})",
                definition.name, definition.data.folder, definition.data.source
            );
            continue;
        };
        eprintln!(
            "{}: {} (data: {}, {})",
            definition.name, definition.about, definition.data.source, definition.data.licence
        );
        for run in &definition.run {
            let name = format!("{} {}", definition.name, run.name);
            if arguments.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            let out = tempfile::tempdir()?;
            let start = Instant::now();
            let answer = answer(run, &data, out.path())?;
            let measure = |e: &'_ Expectation| answer.pointer(&e.at).and_then(Value::as_f64);
            let measured: Vec<Measured<'_>> = run
                .expect
                .iter()
                .map(|e| Measured { at: &e.at, value: measure(e), at_least: e.at_least, at_most: e.at_most })
                .collect();
            let met = measured.iter().all(Measured::met);
            missed += usize::from(!met);
            let seconds = short(start.elapsed().as_secs_f64());
            let (definition, rivals) = (definition.name.as_str(), run.rival.as_slice());
            report.line(&Line { bench: "published", definition, run: &run.name, seconds, measured, met, rivals })?;
        }
    }
    if arguments.record {
        report.save()?;
    }
    if missed > 0 {
        return Err(format!("{missed} runs do not give what their definition expects").into());
    }
    Ok(())
}
