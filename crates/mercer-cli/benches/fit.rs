//! The nine reference relations, fitted within the budgets that the project promises: `make bench-fit`.
//!
//! One thread fits for a budget of CPU seconds; more threads then repeat the same counted work and must give the same
//! model, bit for bit. Only the fit is timed, asking the relation included. The model is saved, reopened and scored in
//! `f32` on a test block of fresh items; the floor is the best that any inner product of the dimension reaches there.

mod record;
mod relations;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use clap::Parser;
use cpu_time::ProcessTime;
use faer::MatRef;
use mercer::fit::{Dimension, Effort, Fit, Options, Progress, spectral};
use mercer::{Class, Model, Record, with_threads};
use serde::Serialize;

use record::{Report, median, root, short, started_as_benchmark};
use relations::{Items, NAMES, Promise, Reference};

/// Fit the nine reference relations and print one JSON line each.
#[derive(Parser)]
struct Arguments {
    /// Runs of each fit; the one with the median time is printed.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Only the relations whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Embedding dimension.
    #[arg(long, default_value_t = 64)]
    dim: usize,
    /// Run the rival of `benchmarks/fit_adam.py` beside it.
    #[arg(long)]
    rival: bool,
    /// CPU seconds of the rival for each relation [default: those of the relation].
    #[arg(long)]
    rival_budget: Option<f64>,
    /// Append the results to `benchmarks/record/`.
    #[arg(long)]
    record: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Serialize)]
struct Line {
    system: &'static str,
    relation: &'static str,
    class: String,
    threads: usize,
    cpu_seconds: f64,
    wall_seconds: f64,
    relative_rmse: f64,
    sup: f64,
    floor: f64,
    parameters: usize,
    ratio_to_floor: f64,
    /// CPU seconds that the project promises to need at the most, and the relative error that it promises to reach.
    budget: f64,
    limit: f64,
    /// Whether both promises hold.
    met: bool,
    steps: usize,
    expected_class: bool,
    /// Against one thread; `null` for one.
    bits_identical: Option<bool>,
    speedup: Option<f64>,
}

/// One fit, timed and scored.
#[derive(Clone)]
struct Run {
    class: Class,
    cpu: f64,
    wall: f64,
    steps: usize,
    parameters: usize,
    /// The saved file.
    bytes: Vec<u8>,
    /// Steps a tower after which a run without a clock gives the same model.
    counted: usize,
    relative_rmse: f64,
    sup: f64,
}

/// Notes the last step of each tower at which the held-out error was looked at: later ones leave no trace in the model.
#[derive(Default)]
struct LastLook(Mutex<usize>);

impl Progress for LastLook {
    fn step(&self, done: usize, _limit: usize, _held_out: f64) {
        if let Ok(mut last) = self.0.lock() {
            *last = done.max(*last);
        }
    }
}

/// The test block's values and what they allow.
struct Test<'a> {
    reference: &'a Reference,
    items: &'a Items,
    values: Vec<f64>,
    scale: f64,
    floor: f64,
    folder: &'a Path,
}

impl<'a> Test<'a> {
    fn new(reference: &'a Reference, items: &'a Items, dim: usize, folder: &'a Path) -> Result<Self, Box<dyn Error>> {
        reference.check(items)?;
        let (n, m) = (items.x.len(), items.y.len());
        let mut values = vec![0.0; n * m];
        reference.relation.block(0, &items.x.rows(), &items.y.rows(), &mut values)?;
        let spectrum = MatRef::from_row_major_slice(&values, n, m).singular_values();
        let spectrum = spectrum.map_err(|e| format!("{}: no singular values: {e:?}", reference.name))?;
        let energy = |s: &[f64]| s.iter().map(|v| v * v).sum::<f64>();
        let floor = (energy(&spectrum[dim.min(spectrum.len())..]) / energy(&spectrum)).sqrt();
        let scale = (energy(&values) / values.len() as f64).sqrt();
        Ok(Test { reference, items, values, scale, floor, folder })
    }

    /// Fits with `threads` threads, saves, reopens and scores.
    fn run(&self, threads: usize, dim: usize, effort: Effort) -> Result<Run, Box<dyn Error>> {
        let options = Options { dimension: Dimension::Fixed(dim), effort, ..Options::default() };
        let look = LastLook::default();
        let (fit, cpu, wall) = with_threads(Some(threads), || {
            let (cpu, wall) = (ProcessTime::now(), Instant::now());
            let fit = spectral(self.reference.relation.as_ref(), self.items.law(), None, &options, &look);
            (fit, cpu.elapsed().as_secs_f64(), wall.elapsed().as_secs_f64())
        })?;
        let Fit { encoder, steps, .. } = fit?;
        let record = Record { relation: self.reference.relation.name(), ..Record::default() };
        let path = self.folder.join("model.safetensors");
        Model { encoder, record, known: [Vec::new(), Vec::new()] }.save(&path)?;
        let encoder = Model::load(&path)?.encoder;
        let fitted = encoder.block(0, &self.items.x.rows(), &self.items.y.rows())?;
        let errors = || fitted.iter().zip(&self.values).map(|(a, b)| (a - b) / self.scale);
        Ok(Run {
            class: encoder.class(),
            cpu,
            wall,
            steps,
            parameters: encoder.parameters(),
            bytes: std::fs::read(&path)?,
            counted: look.0.into_inner()?,
            relative_rmse: (errors().map(|e| e * e).sum::<f64>() / fitted.len() as f64).sqrt(),
            sup: errors().map(f64::abs).fold(0.0, f64::max),
        })
    }

    fn line(&self, run: &Run, threads: usize, promise: &Promise) -> Line {
        Line {
            system: "mercer",
            relation: self.reference.name,
            class: run.class.to_string(),
            threads,
            cpu_seconds: short(run.cpu),
            wall_seconds: short(run.wall),
            relative_rmse: short(run.relative_rmse),
            sup: short(run.sup),
            floor: short(self.floor),
            parameters: run.parameters,
            ratio_to_floor: short(run.relative_rmse / self.floor),
            budget: promise.budget,
            limit: promise.error,
            met: run.cpu <= promise.budget && run.relative_rmse <= promise.error,
            steps: run.steps,
            expected_class: run.class == self.reference.class,
            bits_identical: None,
            speedup: None,
        }
    }

    /// The fit within its budget on one thread, then the same work on each further number of threads.
    fn lines(&self, promise: &Promise, arguments: &Arguments) -> Result<Vec<Line>, Box<dyn Error>> {
        let (mut single, mut several) = (Vec::new(), vec![Vec::new(); arguments.threads.len()]);
        for _ in 0..arguments.repeat.max(1) {
            let first = self.run(1, arguments.dim, Effort::Seconds(promise.budget))?;
            let effort = Effort::Steps(first.counted);
            // The clock may have stopped the first run between two looks, or one tower before the other: what it did then
            // is repeated by count, so that both sides of the comparison do the same.
            let mut base = first.clone();
            for (&threads, runs) in arguments.threads.iter().zip(&mut several).filter(|(threads, _)| **threads > 1) {
                let repeated = self.run(threads, arguments.dim, effort)?;
                if (repeated.steps, &repeated.bytes) != (base.steps, &base.bytes) {
                    base = self.run(1, arguments.dim, effort)?;
                }
                runs.push((base.wall / repeated.wall, base.bytes == repeated.bytes, repeated));
            }
            single.push(first);
        }
        let mut lines = Vec::new();
        if arguments.threads.contains(&1) {
            lines.extend(median(single, |run| run.cpu).map(|run| self.line(&run, 1, promise)));
        }
        for (&threads, runs) in arguments.threads.iter().zip(several) {
            let identical = runs.iter().all(|run| run.1);
            if let Some((speedup, _, run)) = median(runs, |run| run.0) {
                let own = self.line(&run, threads, promise);
                lines.push(Line { bits_identical: Some(identical), speedup: Some(short(speedup)), ..own });
            }
        }
        Ok(lines)
    }
}

/// A Python that can run the rival, or none.
fn python() -> Option<PathBuf> {
    let usable = |python: &PathBuf| {
        let found = Command::new(python).args(["-c", "import numpy, sklearn, torch"]).output();
        found.is_ok_and(|o| o.status.success())
    };
    [root().join("benchmarks/.venv/bin/python"), "python3".into()].into_iter().find(usable)
}

/// The rival's lines, in its own words.
fn rival(python: &Path, name: &str, dim: usize, budget: f64, threads: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let done = Command::new(python)
        .arg(root().join("benchmarks/fit_adam.py"))
        .args(["--relations", name, "--dim", &dim.to_string(), "--budget", &budget.to_string()])
        .args(["--threads", &threads.to_string()])
        .output()?;
    if !done.status.success() {
        return Err(format!("the rival failed on {name}: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    if !started_as_benchmark() {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let python = if arguments.rival { python() } else { None };
    if arguments.rival && python.is_none() {
        eprintln!("the rival is left out: no Python with numpy, scikit-learn and torch; see benchmarks/README.md");
    }
    let names: Vec<&str> = NAMES.into_iter().filter(|name| name.contains(&arguments.only)).collect();
    if names.is_empty() {
        return Err(format!("no relation's name contains `{}`; there are {}", arguments.only, NAMES.join(", ")).into());
    }
    let folder = tempfile::tempdir()?;
    let mut report = Report::new("fit");
    for name in names {
        let reference = Reference::new(name)?;
        let items = reference.items(&root())?;
        let test = Test::new(&reference, &items, arguments.dim, folder.path())?;
        for promise in &reference.promises {
            for line in test.lines(promise, &arguments)? {
                report.line(&line)?;
            }
            for (python, &threads) in python.iter().flat_map(|p| arguments.threads.iter().map(move |t| (p, t))) {
                let budget = arguments.rival_budget.unwrap_or(promise.budget);
                for line in rival(python, name, arguments.dim, budget, threads)? {
                    report.json(line);
                }
            }
        }
    }
    if arguments.record {
        report.save()?;
    }
    Ok(())
}
