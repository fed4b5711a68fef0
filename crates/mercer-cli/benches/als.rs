//! Implicit feedback between ids against `implicit` from the Python package index: `make bench-als`.
//!
//! At equal settings (factors, regularisation, alpha, iterations, `f32`, three steps of conjugate gradients) both fit
//! in turn, and the medians of their times are compared; quality is measured by one routine here on both sides'
//! embeddings. Ours is timed whole: grouping of the pairs, sweeps, the objective after each sweep, the look at where
//! the pairs stand, and the balanced model.
//! - `clicks`: users draw items without replacement (Plackett and Luce) with weights `exp(1.5 <p_x, q_y> + b_y)`, where
//!   `p` and `q` have 6 standard normal coordinates and `b` is `N(0, 1)`; a fifth of each user's clicks is held out.
//! - `wordnet`: the noun closure, reconstruction as by Nickel and Kiela (2017), from a Parquet file of pairs (`--pairs
//!   FILE`).
//! - `wordnet-ranked`: our whole method, with ranking sweeps, beside the same rival.

mod record;
mod rival;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use mercer::fit::{Implicit, Ranking, Silent, Solver, Table, implicit};
use mercer::{Features, Pairs, Seed, with_threads};
use mercer_table::{Input, ItemInputs, ReadOptions, read};
use rayon::prelude::*;
use serde::Serialize;

use record::{Report, median, root, short, started_as_benchmark};
use rival::Rival;

/// Fit implicit feedback and print one JSON line for each case.
#[derive(Parser)]
struct Arguments {
    /// Runs of each fit; medians are printed.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Only the cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Threads of both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// The WordNet noun closure (columns `x_id`, `y_id`).
    #[arg(long, default_value = "data/wordnet_nouns/closure_pairs.parquet")]
    pairs: PathBuf,
    /// Queries on which quality is measured.
    #[arg(long, default_value_t = 2000)]
    queries: usize,
    /// Dimensions of the WordNet cases.
    #[arg(long, value_delimiter = ',', default_value = "20,50,200")]
    dims: Vec<usize>,
    /// A Python with `implicit` [default: $MERCER_PYTHON, benchmarks/.venv/bin/python, python3].
    #[arg(long)]
    python: Option<PathBuf>,
    /// Append the results to `benchmarks/record/`.
    #[arg(long)]
    record: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Quality of embeddings on held-out pairs, or on the pairs themselves.
#[derive(Clone, Copy, Default, Serialize)]
struct Quality {
    map: f64,
    mean_rank: f64,
    ndcg_10: f64,
    recall_20: f64,
}

#[derive(Serialize)]
struct Line {
    case: String,
    dim: usize,
    threads: usize,
    seconds: f64,
    rival_seconds: Option<f64>,
    /// How many times as fast.
    ratio: Option<f64>,
    quality: Quality,
    rival_quality: Option<Quality>,
    ranking_sweeps: usize,
}

/// Pairs to fit, and for each query the keys that it shall find.
struct Data {
    items: [usize; 2],
    /// Whether both sides are one set of items: a query is no candidate of itself.
    shared: bool,
    train: Vec<(u32, u32)>,
    /// Held-out keys of each query; `None`: the pairs themselves.
    held: Option<Vec<Vec<u32>>>,
}

impl Data {
    fn clicks(users: usize, items: usize, seed: u64) -> Data {
        const RANK: usize = 6;
        let mut stream = Seed(seed).stream("clicks");
        let mut draw = |n: usize| (0..n).map(|_| stream.normal()).collect::<Vec<f64>>();
        let (p, q, b) = (draw(users * RANK), draw(items * RANK), draw(items));
        let of = |x: usize| {
            let mut stream = Seed(seed).stream(&format!("user {x}"));
            let logit = |y: usize| 1.5 * (0..RANK).map(|k| p[x * RANK + k] * q[y * RANK + k]).sum::<f64>() + b[y];
            // Logits with Gumbel noise, the largest first, are draws without replacement.
            let mut keyed: Vec<(f64, u32)> =
                (0..items).map(|y| (logit(y) - (-(1.0 - stream.uniform()).ln()).ln(), y as u32)).collect();
            let clicks = (10.0 * (3.0 * stream.uniform()).exp()) as usize;
            keyed.select_nth_unstable_by(clicks, |a, b| b.0.total_cmp(&a.0));
            let chosen: Vec<u32> = stream.choose(clicks, clicks).into_iter().map(|i| keyed[i].1).collect();
            let held = clicks / 5;
            (chosen[held..].to_vec(), chosen[..held].to_vec())
        };
        let each: Vec<(Vec<u32>, Vec<u32>)> = (0..users).into_par_iter().map(of).collect();
        let train = each.iter().enumerate().flat_map(|(x, e)| e.0.iter().map(move |&y| (x as u32, y))).collect();
        Data { items: [users, items], shared: false, train, held: Some(each.into_iter().map(|e| e.1).collect()) }
    }

    fn closure(path: &Path) -> Result<Data, Box<dyn Error>> {
        let columns = ["x_id", "y_id"].map(|c| Some(c.to_owned()));
        let [x, y] = columns;
        let options = ReadOptions { x, y, split: Some("none".into()), ..ReadOptions::default() };
        let table = read(&Input::new(path), &ItemInputs::None, &options)?;
        // Both columns name one set of items, whether or not the reader saw it.
        let mut number = BTreeMap::new();
        let mut of = |label: String| {
            let next = number.len() as u32;
            *number.entry(label).or_insert(next)
        };
        let queries: Vec<u32> = (0..table.queries.len()).map(|i| of(table.queries.label(i))).collect();
        let keys: Vec<u32> = (0..table.key_items().len()).map(|i| of(table.key_items().label(i))).collect();
        let chunk = table.pairs.chunk();
        let train = chunk.x.iter().zip(chunk.y).map(|(&x, &y)| (queries[x as usize], keys[y as usize])).collect();
        Ok(Data { items: [number.len(); 2], shared: true, train, held: None })
    }

    fn pairs(&self) -> mercer::Result<Pairs> {
        let (x, y) = self.train.iter().copied().unzip();
        Pairs::new(x, y, vec![1.0; self.train.len()], None)
    }

    /// Over a sample of queries: positives ranked among all keys that are known neither from training nor as positives.
    fn quality(&self, [u, v]: [&[f32]; 2], dim: usize, most: usize) -> Quality {
        let [n, m] = self.items;
        let mut known = vec![Vec::new(); n];
        self.train.iter().for_each(|&(x, y)| known[x as usize].push(y));
        let positives = self.held.as_ref().unwrap_or(&known);
        let order = Seed(20_260_101).stream("queries").choose(n, n);
        let chosen: Vec<usize> = order.into_iter().filter(|&x| !positives[x].is_empty()).take(most).collect();
        let of = |&x: &usize| {
            let own = &u[x * dim..(x + 1) * dim];
            let scores: Vec<f32> = v.chunks_exact(dim).map(|k| k.iter().zip(own).map(|(a, b)| a * b).sum()).collect();
            let mut candidate = vec![true; m];
            positives[x].iter().chain(&known[x]).for_each(|&y| candidate[y as usize] = false);
            if self.shared {
                candidate[x] = false;
            }
            let rank = |y: u32| {
                let own = scores[y as usize];
                let above = |s: f32| {
                    if s > own {
                        1.0
                    } else if s == own {
                        0.5
                    } else {
                        0.0
                    }
                };
                1.0 + scores.iter().zip(&candidate).filter(|(_, c)| **c).map(|(s, _)| above(*s)).sum::<f64>()
            };
            let mut ranks: Vec<f64> = positives[x].iter().map(|&y| rank(y)).collect();
            ranks.sort_by(f64::total_cmp);
            ranks
        };
        let each: Vec<Vec<f64>> = chosen.par_iter().map(of).collect();
        let mean = |f: &dyn Fn(&[f64]) -> f64| each.iter().map(|r| f(r)).sum::<f64>() / each.len() as f64;
        let place = |(i, rank): (usize, &f64)| rank + i as f64;
        let gain = |place: f64| if place <= 10.0 { 1.0 / (place + 1.0).log2() } else { 0.0 };
        Quality {
            map: short(mean(&|r| {
                r.iter().enumerate().map(|(i, k)| (i + 1) as f64 / place((i, k))).sum::<f64>() / r.len() as f64
            })),
            mean_rank: short(each.iter().flatten().sum::<f64>() / each.iter().map(Vec::len).sum::<usize>() as f64),
            ndcg_10: short(mean(&|r| {
                r.iter().enumerate().map(place).map(gain).sum::<f64>()
                    / (1..=r.len()).map(|p| gain(p as f64)).sum::<f64>()
            })),
            recall_20: short(mean(&|r| {
                r.iter().enumerate().map(place).filter(|p| *p <= 20.0).count() as f64 / r.len().min(20) as f64
            })),
        }
    }
}

/// What the rival is told for one run.
#[derive(Serialize)]
struct Task<'a> {
    pairs: &'a Path,
    queries: usize,
    keys: usize,
    factors: usize,
    regularization: f64,
    alpha: f64,
    iterations: usize,
    seed: u64,
    threads: usize,
    out: &'a Path,
}

/// Seconds of a fit, and both sides' embeddings.
type Answer = (f64, [Vec<f32>; 2]);

fn ask(rival: &mut Rival, task: &Task<'_>) -> Result<Answer, Box<dyn Error>> {
    let answer: serde_json::Value = serde_json::from_str(&rival.ask(&serde_json::to_string(task)?)?)?;
    let seconds = answer["seconds"].as_f64().ok_or("the rival gave no time")?;
    let rows = |name: &str| -> Result<Vec<f32>, Box<dyn Error>> {
        let bytes = std::fs::read(task.out.with_extension(name))?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    };
    Ok((seconds, [rows("queries")?, rows("keys")?]))
}

/// One comparison.
struct Case<'a> {
    name: String,
    data: &'a Data,
    dim: usize,
    alpha: f64,
    ridge: f64,
    solver: Solver,
    ranking: Ranking,
}

impl Case<'_> {
    fn run(&self, arguments: &Arguments, rival: Option<&mut Rival>) -> Result<Line, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("pairs");
        let bytes = self.data.train.iter().flat_map(|&(x, y)| [x.to_le_bytes(), y.to_le_bytes()].concat());
        std::fs::write(&file, bytes.collect::<Vec<u8>>())?;
        let [n, m] = self.data.items;
        let (queries, keys) = (Features::one_hot(n), Features::one_hot(m));
        let (train, none) = (self.data.pairs()?, Pairs::default());
        let shared = self.data.shared;
        let table = Table { queries: &queries, keys: (!shared).then_some(&keys), train: &train, valid: &none };
        let (mut own, mut other, mut rival) = (Vec::new(), Vec::new(), rival);
        for seed in 0..arguments.repeat.max(1) as u64 {
            let options = Implicit {
                dim: Some(self.dim),
                ridge: Some(self.ridge),
                alpha: Some(self.alpha),
                solver: self.solver,
                ranking: self.ranking,
                seed: Seed(seed),
                ..Implicit::default()
            };
            let (fit, seconds) = with_threads(Some(arguments.threads), || {
                let start = Instant::now();
                let fit = implicit(table, &options, &Silent);
                (fit, start.elapsed().as_secs_f64())
            })?;
            let fit = fit?;
            let (u, v) = (fit.encoder.embed_queries(&queries.rows())?, fit.encoder.embed_keys(&keys.rows())?);
            own.push((seconds, self.data.quality([&u, &v], self.dim, arguments.queries), fit.ranking_sweeps));
            if let Some(rival) = rival.as_mut() {
                let out = folder.path().join("rival");
                let (seconds, [u, v]) = ask(
                    rival,
                    &Task {
                        pairs: &file,
                        queries: n,
                        keys: m,
                        factors: self.dim,
                        regularization: self.ridge,
                        alpha: self.alpha,
                        iterations: options.sweeps,
                        seed,
                        threads: arguments.threads,
                        out: &out,
                    },
                )?;
                other.push((seconds, self.data.quality([&u, &v], self.dim, arguments.queries)));
            }
        }
        let seconds = median(own.iter().map(|r| r.0).collect(), |s| *s).unwrap_or(f64::NAN);
        let rival_seconds = median(other.iter().map(|r| r.0).collect(), |s| *s);
        let middle = |of: &dyn Fn(&Quality) -> f64, list: &[Quality]| {
            median(list.iter().map(of).collect(), |v| *v).unwrap_or(f64::NAN)
        };
        let quality = |list: &[Quality]| Quality {
            map: middle(&|q| q.map, list),
            mean_rank: middle(&|q| q.mean_rank, list),
            ndcg_10: middle(&|q| q.ndcg_10, list),
            recall_20: middle(&|q| q.recall_20, list),
        };
        let others: Vec<Quality> = other.iter().map(|r| r.1).collect();
        Ok(Line {
            case: self.name.clone(),
            dim: self.dim,
            threads: arguments.threads,
            seconds: short(seconds),
            rival_seconds: rival_seconds.map(short),
            ratio: rival_seconds.map(|r| short(r / seconds)),
            quality: quality(&own.iter().map(|r| r.1).collect::<Vec<_>>()),
            rival_quality: (!others.is_empty()).then(|| quality(&others)),
            ranking_sweeps: own.iter().map(|r| r.2).max().unwrap_or(0),
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if !started_as_benchmark() {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let mut rival = Rival::start("als_implicit.py", &[], arguments.python.as_deref());
    let gradients = Solver::Gradients(3);
    let mut report = Report::new("als");
    let wanted = |name: &str| name.contains(&arguments.only);
    let path = if arguments.pairs.is_absolute() { arguments.pairs.clone() } else { root().join(&arguments.pairs) };
    let clicks = (wanted("clicks") || wanted("clicks-exact")).then(|| Data::clicks(12_000, 5_000, 1));
    let closure = match (wanted("wordnet") || wanted("wordnet-ranked"), path.exists()) {
        (true, true) => Some(Data::closure(&path)?),
        (true, false) => {
            eprintln!("the WordNet cases are left out: {} is not there (--pairs FILE)", path.display());
            None
        }
        _ => None,
    };
    let mut cases = Vec::new();
    for data in clicks.iter() {
        for (name, solver) in [("clicks", gradients), ("clicks-exact", Solver::Exact)] {
            let name = name.to_owned();
            cases.push(Case { name, data, dim: 64, alpha: 10.0, ridge: 10.0, solver, ranking: Ranking::Never });
        }
    }
    for (data, &dim) in closure.iter().flat_map(|data| arguments.dims.iter().map(move |dim| (data, dim))) {
        for (name, ranking) in [("wordnet", Ranking::Never), ("wordnet-ranked", Ranking::Auto)] {
            let name = name.to_owned();
            cases.push(Case { name, data, dim, alpha: 200.0, ridge: 0.1, solver: gradients, ranking });
        }
    }
    for case in cases.iter().filter(|case| wanted(&case.name)) {
        report.line(&case.run(&arguments, rival.as_mut())?)?;
    }
    if arguments.record {
        report.save()?;
    }
    Ok(())
}
