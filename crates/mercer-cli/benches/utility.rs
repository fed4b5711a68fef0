//! Joint utilities from comparisons against a two-tower network in PyTorch: `make bench-utility`.
//!
//! Queries and keys are uniform on `[-1, 1]^d`; 100 thousand comparisons, each with a query and two keys of its own, say
//! which key stands higher. The fit is the whole job of `mercer fit comparisons.parquet` (hold-outs included). Then 500
//! fresh queries choose among 1000 fresh keys: `top_1` is the share of queries whose choice is the true best key, `top_3` that
//! whose choice is among the true best three, `ordered` the share of fresh pairs of keys in the right order. `M`, `A`
//! are Gaussian matrices over `sqrt(d)`, drawn for each seed.
//!
//! - `squared-distance`: `-|q - M y|^2`, in four and eight dimensions, consistent and with Bradley and Terry's noise: the
//!   better key is preferred with probability `sigmoid(3 (u_a - u_b))`.
//! - `absolute`: `-|q - M y|_1`, on which the trained towers' activation, rate and passes were chosen.
//! - `cosine-kink`: `cos(q, M y) - |q_1 - (M y)_1|`: no setting was chosen on it.
//!
//! Ranks and the order of the contest were settled while squared distances of seeds 0 to 11 were in view; judge by other seeds.
//!
//! The rival (`benchmarks/utility_torch.py`) gets as many CPU seconds as our fit took, or `--rival-seconds`.

mod record;
mod rival;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use cpu_time::ProcessTime;
use mercer::fit::Options;
use mercer::pipeline::{ComparisonTable, Training, fit_comparisons};
use mercer::{Comparisons, DualEncoder, Features, Seed, Stream, with_threads};
use serde::Serialize;

use record::{Report, short, started_as_benchmark};
use rival::Rival;

/// Learn joint utilities and print one JSON line for each case and seed.
#[derive(Parser)]
struct Arguments {
    /// Seeds of each case: data, relation and fit.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Only the cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Threads of both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Comparisons of each case.
    #[arg(long, default_value_t = 100_000)]
    comparisons: usize,
    /// Run the rival beside it.
    #[arg(long)]
    rival: bool,
    /// CPU seconds of the rival [default: those of our fit].
    #[arg(long)]
    rival_seconds: Option<f64>,
    /// A Python with PyTorch [default: $MERCER_PYTHON, benchmarks/.venv/bin/python, python3].
    #[arg(long)]
    python: Option<PathBuf>,
    /// Print what each fit chose.
    #[arg(long)]
    choices: bool,
    /// Append the results to `benchmarks/record/`.
    #[arg(long)]
    record: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is learned.
#[derive(Clone, Copy)]
enum Utility {
    SquaredDistance,
    Absolute,
    CosineKink,
}

impl Utility {
    /// `u(q, y)` with `my = M y`.
    fn value(self, q: &[f64], my: &[f64]) -> f64 {
        let sum = |f: &dyn Fn(f64, f64) -> f64| q.iter().zip(my).map(|(a, b)| f(*a, *b)).sum::<f64>();
        match self {
            Utility::SquaredDistance => -sum(&|a, b| (a - b) * (a - b)),
            Utility::Absolute => -sum(&|a, b| (a - b).abs()),
            Utility::CosineKink => {
                let cosine = sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
                cosine - (q[0] - my[0]).abs()
            }
        }
    }
}

/// A relation to learn from comparisons.
struct Case {
    name: &'static str,
    utility: Utility,
    dim: usize,
    /// Log-odds of a preference for each unit of utility; `None`: every answer is right.
    noise: Option<f64>,
}

const CASES: [Case; 6] = [
    Case { name: "squared-distance-4", utility: Utility::SquaredDistance, dim: 4, noise: None },
    Case { name: "squared-distance-8", utility: Utility::SquaredDistance, dim: 8, noise: None },
    Case { name: "squared-distance-4-noisy", utility: Utility::SquaredDistance, dim: 4, noise: Some(3.0) },
    Case { name: "absolute-4", utility: Utility::Absolute, dim: 4, noise: None },
    Case { name: "cosine-kink-4", utility: Utility::CosineKink, dim: 4, noise: None },
    Case { name: "absolute-4-noisy", utility: Utility::Absolute, dim: 4, noise: Some(3.0) },
];

/// Fresh queries, and fresh keys among which they choose.
const FRESH: [usize; 2] = [500, 1000];

/// Items with the relation's own view of them.
struct Items {
    rows: Vec<f32>,
    dim: usize,
}

impl Items {
    fn draw(n: usize, dim: usize, stream: &mut Stream) -> Items {
        Items { rows: (0..n * dim).map(|_| (2.0 * stream.uniform() - 1.0) as f32).collect(), dim }
    }

    fn row(&self, i: usize) -> Vec<f64> {
        self.rows[i * self.dim..(i + 1) * self.dim].iter().map(|&v| f64::from(v)).collect()
    }

    fn features(&self) -> mercer::Result<Features> {
        Features::dense(self.rows.clone(), self.dim)
    }
}

/// One drawn instance of a case.
struct World {
    queries: Items,
    /// Keys `2 c` (preferred) and `2 c + 1` of comparison `c`.
    keys: Items,
    fresh: [Items; 2],
    /// True utilities of the fresh items, a row a query.
    truth: Vec<f64>,
}

impl World {
    fn new(case: &Case, comparisons: usize, seed: u64) -> World {
        let (d, mut stream) = (case.dim, Seed(seed).stream(case.name));
        let m: Vec<f64> = (0..d * d).map(|_| stream.normal() / (d as f64).sqrt()).collect();
        let image = |y: &[f64]| -> Vec<f64> {
            m.chunks_exact(d).map(|row| row.iter().zip(y).map(|(a, b)| a * b).sum()).collect()
        };
        let queries = Items::draw(comparisons, d, &mut stream);
        let mut keys = Items::draw(2 * comparisons, d, &mut stream);
        for c in 0..comparisons {
            let q = queries.row(c);
            let [a, b] = [2 * c, 2 * c + 1].map(|i| case.utility.value(&q, &image(&keys.row(i))));
            let swap = match case.noise {
                Some(odds) => stream.uniform() >= 1.0 / (1.0 + (-odds * (a - b)).exp()),
                None => a < b,
            };
            if swap {
                let (first, second) = keys.rows[2 * c * d..2 * (c + 1) * d].split_at_mut(d);
                first.swap_with_slice(second);
            }
        }
        let fresh = FRESH.map(|n| Items::draw(n, d, &mut stream));
        let images: Vec<Vec<f64>> = (0..FRESH[1]).map(|y| image(&fresh[1].row(y))).collect();
        let utilities = |x: usize| {
            let q = fresh[0].row(x);
            images.iter().map(|my| case.utility.value(&q, my)).collect::<Vec<f64>>()
        };
        let truth = (0..FRESH[0]).flat_map(utilities).collect();
        World { queries, keys, fresh, truth }
    }

    /// How scores of the fresh items, a row a query, choose and order.
    fn judge(&self, scores: &[f32]) -> Quality {
        let n = FRESH[1];
        let (mut first, mut third, mut right, mut pairs) = (0.0, 0.0, 0.0, 0.0);
        for (own, truth) in scores.chunks_exact(n).zip(self.truth.chunks_exact(n)) {
            let best = (0..n).fold(0, |best, y| if own[y] > own[best] { y } else { best });
            let above = truth.iter().filter(|t| **t > truth[best]).count();
            first += f64::from(u8::from(above == 0));
            third += f64::from(u8::from(above < 3));
            for y in 0..n / 2 {
                let (a, b) = (2 * y, 2 * y + 1);
                right += f64::from(u8::from((own[a] > own[b]) == (truth[a] > truth[b])));
                pairs += 1.0;
            }
        }
        let queries = FRESH[0] as f64;
        Quality { top_1: short(first / queries), top_3: short(third / queries), ordered: short(right / pairs) }
    }
}

/// What a model's scores of fresh items are worth.
#[derive(Clone, Copy, Serialize)]
struct Quality {
    top_1: f64,
    top_3: f64,
    ordered: f64,
}

#[derive(Serialize)]
struct Line {
    case: &'static str,
    seed: u64,
    comparisons: usize,
    threads: usize,
    wall_seconds: f64,
    cpu_seconds: f64,
    quality: Quality,
    dim: usize,
    parameters: usize,
    rival_wall_seconds: Option<f64>,
    rival_cpu_seconds: Option<f64>,
    rival_quality: Option<Quality>,
}

fn parameters(model: &DualEncoder) -> usize {
    let own = |t: &mercer::Tower| t.layers().iter().map(|l| l.weights().len() + l.bias().len()).sum::<usize>();
    own(model.query()) + own(model.key())
}

/// What the rival is told for one run.
#[derive(Serialize)]
struct Task<'a> {
    folder: &'a Path,
    dim: usize,
    comparisons: usize,
    cpu_seconds: f64,
    seed: u64,
    threads: usize,
}

/// Wall and CPU seconds, and the scores of the fresh items.
fn ask(rival: &mut Rival, world: &World, task: &Task<'_>) -> Result<(f64, f64, Vec<f32>), Box<dyn Error>> {
    let write = |name: &str, rows: &[f32]| {
        std::fs::write(task.folder.join(name), rows.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    };
    write("queries", &world.queries.rows)?;
    write("keys", &world.keys.rows)?;
    write("fresh_queries", &world.fresh[0].rows)?;
    write("fresh_keys", &world.fresh[1].rows)?;
    let answer: serde_json::Value = serde_json::from_str(&rival.ask(&serde_json::to_string(task)?)?)?;
    let number = |name: &str| answer[name].as_f64().ok_or(format!("the rival gave no {name}"));
    let bytes = std::fs::read(task.folder.join("scores"))?;
    let scores = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok((number("wall_seconds")?, number("cpu_seconds")?, scores))
}

fn run(case: &Case, seed: u64, arguments: &Arguments, rival: Option<&mut Rival>) -> Result<Line, Box<dyn Error>> {
    let world = World::new(case, arguments.comparisons, seed);
    let (queries, keys) = (world.queries.features()?, world.keys.features()?);
    let n = arguments.comparisons as u32;
    let numbers = |factor: u32, first: u32| (0..n).map(|c| factor * c + first).collect::<Vec<u32>>();
    let comparisons = Comparisons::new(numbers(1, 0), numbers(2, 0), numbers(2, 1), None)?;
    let table = ComparisonTable { queries: &queries, keys: Some(&keys), comparisons: &comparisons, split: None };
    let options = Options { seed: Seed(seed), ..Options::default() };
    let (fit, wall, cpu) = with_threads(Some(arguments.threads), || {
        let (cpu, wall) = (ProcessTime::now(), Instant::now());
        let fit = fit_comparisons(&table, &options, &Training::default());
        (fit, wall.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64())
    })?;
    let fit = fit?;
    if arguments.choices {
        fit.choices.iter().for_each(|c| eprintln!("  {}: {} ({})", c.what, c.value, c.reason));
    }
    let [x, y] = [world.fresh[0].features()?, world.fresh[1].features()?];
    let scores: Vec<f32> = fit.encoder.block(0, &x.rows(), &y.rows())?.iter().map(|&s| s as f32).collect();
    let mut line = Line {
        case: case.name,
        seed,
        comparisons: arguments.comparisons,
        threads: arguments.threads,
        wall_seconds: short(wall),
        cpu_seconds: short(cpu),
        quality: world.judge(&scores),
        dim: fit.encoder.dim(),
        parameters: parameters(&fit.encoder),
        rival_wall_seconds: None,
        rival_cpu_seconds: None,
        rival_quality: None,
    };
    if let Some(rival) = rival {
        let folder = tempfile::tempdir()?;
        let task = Task {
            folder: folder.path(),
            dim: case.dim,
            comparisons: arguments.comparisons,
            cpu_seconds: arguments.rival_seconds.unwrap_or(cpu),
            seed,
            threads: arguments.threads,
        };
        let (wall, cpu, scores) = ask(rival, &world, &task)?;
        line.rival_wall_seconds = Some(short(wall));
        line.rival_cpu_seconds = Some(short(cpu));
        line.rival_quality = Some(world.judge(&scores));
    }
    Ok(line)
}

fn main() -> Result<(), Box<dyn Error>> {
    if !started_as_benchmark() {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let mut rival = match arguments.rival {
        true => Rival::start("utility_torch.py", &[], arguments.python.as_deref()),
        false => None,
    };
    let mut report = Report::new("utility");
    for case in CASES.iter().filter(|case| case.name.contains(&arguments.only)) {
        for seed in arguments.first..arguments.first + arguments.seeds.max(1) {
            report.line(&run(case, seed, &arguments, rival.as_mut())?)?;
        }
    }
    if arguments.record {
        report.save()?;
    }
    Ok(())
}
