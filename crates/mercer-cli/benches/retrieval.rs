//! Certified attention over many keys, beside our own exact attention, both against sums in `f64`: `cargo bench --bench retrieval`.
//!
//! Both sides are prepared beforehand and measured in turn, so that a change of the clock or of the machine's load meets both; medians
//! are compared. The inverse temperature is the certified one: weight `1 - eps` on the best key for a share of the queries.

mod record;

use std::error::Error;
use std::time::Instant;

use clap::Parser;
use cpu_time::ProcessTime;
use mercer::attention::Map;
use mercer::fit::gradient::{Precision, workload::peak};
use mercer::retrieval::{Certified, Request, Temperature, guaranteed_weight};
use mercer::{Seed, with_threads};
use rayon::prelude::*;
use serde::Serialize;

use record::{Report, median, short, started_as_benchmark};

/// Measure certified attention and print one JSON line for each workload.
#[derive(Parser)]
struct Arguments {
    /// Number of keys.
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Number of queries.
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    /// Coordinates of a key.
    #[arg(long, default_value_t = 64)]
    dim: usize,
    /// Numbers in a value.
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Workloads whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The weight that the best key shall have is 1 less this.
    #[arg(long, default_value_t = 1e-3)]
    eps: f64,
    /// Share of the queries whose best key shall have it.
    #[arg(long, default_value_t = 0.95)]
    share: f64,
    /// Multiplies the inverse temperature.
    #[arg(long, default_value_t = 1.0)]
    sharper: f64,
    /// Bound of the error, relative to the diameter of the values.
    #[arg(long, default_value_t = 1e-6)]
    tolerance: f64,
    /// Interleaved measurements.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Number of threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Append the results to `benchmarks/record/`.
    #[arg(long)]
    record: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

type Failure = Box<dyn Error + Send + Sync>;

/// Gaussian clusters.
struct Data {
    name: &'static str,
    clusters: usize,
    /// Standard deviation within a cluster; that of the centres is 1.
    within: f64,
    /// Coordinate `i` has the standard deviation `i^-decay`.
    decay: f64,
    /// Standard deviation of the logarithm of a norm.
    norms: f64,
}

const DATA: [Data; 6] = [
    Data { name: "clusters 1000", clusters: 1000, within: 0.3, decay: 0.5, norms: 0.2 },
    Data { name: "clusters 10000", clusters: 10_000, within: 0.5, decay: 0.5, norms: 0.2 },
    Data { name: "clusters wide", clusters: 2000, within: 1.0, decay: 0.3, norms: 0.3 },
    Data { name: "clusters round", clusters: 3000, within: 0.5, decay: 0.0, norms: 0.0 },
    Data { name: "spectrum", clusters: 1, within: 1.0, decay: 0.7, norms: 0.3 },
    Data { name: "isotropic", clusters: 1, within: 1.0, decay: 0.0, norms: 0.0 },
];

impl Data {
    /// Keys, then queries of the same law.
    fn draw(&self, keys: usize, queries: usize, dim: usize) -> (Vec<f32>, Vec<f32>) {
        let mut stream = Seed(1).stream(self.name);
        let spread: Vec<f64> = (0..dim).map(|i| (i as f64 + 1.0).powf(-self.decay)).collect();
        let between = if self.clusters == 1 { 0.0 } else { 1.0 };
        let centres: Vec<f64> =
            (0..self.clusters * dim).map(|at| between * spread[at % dim] * stream.normal()).collect();
        let mut rows = |n: usize| {
            let mut all = Vec::with_capacity(n * dim);
            for _ in 0..n {
                let centre = &centres[stream.below(self.clusters) * dim..][..dim];
                let size = (self.norms * stream.normal()).exp();
                all.extend((0..dim).map(|k| (size * (centre[k] + self.within * spread[k] * stream.normal())) as f32));
            }
            all
        };
        (rows(keys), rows(queries))
    }
}

#[derive(Serialize)]
struct Line {
    system: &'static str,
    bench: &'static str,
    data: &'static str,
    keys: usize,
    queries: usize,
    dim: usize,
    threads: usize,
    beta: f64,
    /// Seconds to prepare keys and values.
    prepared: f64,
    /// Share of queries whose keys were passed over.
    pruned: f64,
    /// Share of the pairs whose codes were looked at.
    touched: f64,
    /// Keys that an output was made from: mean and most.
    kept: f64,
    kept_most: u64,
    /// The largest proven bound of the mass outside.
    outside: f64,
    /// The largest error against `f64`, relative to the diameter of the values.
    error: f64,
    error_exact: f64,
    /// The most by which the best key's weight, of all weights in `f64`, is below what its query's margin guarantees; not positive
    /// where the certificate holds.
    shortfall: f64,
    /// The least weight of a best key among the queries that the temperature serves: `1 - eps` at least, unless it was changed.
    served_weight: f64,
    /// Of the queries that 1.5-entmax serves at its own temperature the share whose best key has the weight 1.
    entmax_exact: f64,
    /// By the clock, and of the processor, which other work does not change.
    ms_certified: f64,
    ms_exact: f64,
    ratio: f64,
    cpu_certified: f64,
    cpu_exact: f64,
    cpu_ratio: f64,
    /// Share of the peak of `f32` multiply-adds that the scores of the exact attention alone come to.
    exact_share: f64,
}

/// Milliseconds by the clock and of the processor, in all threads.
#[derive(Default)]
struct Clocks {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl Clocks {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (wall, cpu) = (Instant::now(), ProcessTime::now());
        let done = work();
        self.cpu.push(1e3 * cpu.elapsed().as_secs_f64());
        self.wall.push(1e3 * wall.elapsed().as_secs_f64());
        done
    }

    fn medians(self) -> [f64; 2] {
        [self.wall, self.cpu].map(|all| median(all, |v| *v).unwrap_or(f64::NAN))
    }
}

/// Outputs by sums over all keys in `f64`, and the largest weight of each query.
fn reference(
    keys: &[f32],
    values: &[f32],
    queries: &[f32],
    dim: usize,
    width: usize,
    beta: f64,
) -> (Vec<f64>, Vec<f64>) {
    let one = |query: &[f32]| {
        let query: Vec<f64> = query.iter().map(|v| f64::from(*v)).collect();
        let dot = |key: &[f32]| {
            let mut sums = [0.0; 8];
            key.chunks(8).zip(query.chunks(8)).for_each(|(key, query)| {
                sums.iter_mut().zip(key).zip(query).for_each(|((sum, k), q)| *sum += f64::from(*k) * q);
            });
            sums.iter().sum::<f64>()
        };
        let scores: Vec<f64> = keys.chunks_exact(dim).map(dot).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut mass, mut out) = (0.0, vec![0.0; width]);
        for (score, value) in scores.iter().zip(values.chunks_exact(width)) {
            let exponent = beta * (score - most);
            if exponent > -60.0 {
                let weight = exponent.exp();
                mass += weight;
                out.iter_mut().zip(value).for_each(|(to, v)| *to += weight * f64::from(*v));
            }
        }
        out.iter_mut().for_each(|v| *v /= mass);
        (out, 1.0 / mass)
    };
    let (outputs, weights): (Vec<Vec<f64>>, Vec<f64>) = queries.par_chunks_exact(dim).map(one).unzip();
    (outputs.concat(), weights)
}

/// The largest distance between rows, relative to `diameter`.
fn worst(a: &[f64], b: &[f64], width: usize, diameter: f64) -> f64 {
    let distance = |(a, b): (&[f64], &[f64])| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    a.chunks_exact(width).zip(b.chunks_exact(width)).map(distance).fold(0.0, f64::max) / diameter
}

fn measure(data: &Data, arguments: &Arguments) -> Result<Line, Failure> {
    let &Arguments { keys: n, queries: q, dim, width, eps, share, tolerance, .. } = arguments;
    let (keys, queries) = data.draw(n, q, dim);
    let mut stream = Seed(2).stream("values");
    // On the unit sphere, so that the diameter is 2 but for the chance that no two are opposite.
    let mut values: Vec<f32> = (0..n * width).map(|_| stream.normal() as f32).collect();
    for value in values.chunks_exact_mut(width) {
        let norm = value.iter().map(|v| v * v).sum::<f32>().sqrt();
        value.iter_mut().for_each(|v| *v /= norm);
    }
    let start = Instant::now();
    let certified = Certified::new(&keys, dim, Some((&values, width)))?;
    let prepared = start.elapsed().as_secs_f64();
    let margins: Vec<f64> = certified.best_two(&queries)?.iter().map(|best| best.margin()).collect();
    let mut sorted = margins.clone();
    sorted.sort_by(f64::total_cmp);
    let margin = sorted[((1.0 - share) * q as f64) as usize].max(1e-9);
    let beta = arguments.sharper * ((n - 1) as f64 * (1.0 - eps) / eps).ln() / margin;
    let (mut own, mut others) = (Clocks::default(), Clocks::default());
    let (mut found, mut exact) = (None, Vec::new());
    for _ in 0..arguments.repeat.max(1) {
        found = Some(own.time(|| certified.outputs(&queries, beta, tolerance))?);
        exact = others.time(|| certified.exact(&queries, beta, tolerance))?.outputs;
    }
    let found = found.ok_or("nothing was measured")?;
    let (expected, weights) = reference(&keys, &values, &queries, dim, width, beta);
    let mut shortfall = f64::NEG_INFINITY;
    for (weight, margin) in weights.iter().zip(&margins).filter(|(_, margin)| **margin > 0.0) {
        shortfall = shortfall.max(guaranteed_weight(Map::Softmax, n, beta, *margin)? - weight);
    }
    let served = weights.iter().zip(&margins).filter(|(_, own)| **own >= margin);
    let request =
        Request { map: Map::entmax(1.5)?, temperature: Temperature::Auto { share }, eps, ..Request::default() };
    let entmax = certified.attend(&queries, &request)?;
    let exact_ones = entmax.queries.iter().filter(|own| own.guaranteed == Some(1.0) && own.selected_weight() == 1.0);
    // The most of several: other work may only lower it.
    let peak = (0..9).map(|_| peak(Precision::F32)).fold(0.0, f64::max);
    let ([own, own_cpu], [others, others_cpu]) = (own.medians(), others.medians());
    let efforts = &found.efforts;
    let sum = |f: &dyn Fn(usize) -> f64| (0..q).map(f).sum::<f64>() / q as f64;
    Ok(Line {
        system: "mercer",
        bench: "retrieval",
        data: data.name,
        keys: n,
        queries: q,
        dim,
        threads: arguments.threads,
        beta: short(beta),
        prepared: short(prepared),
        pruned: short(sum(&|i| f64::from(u8::from(efforts[i].pruned)))),
        touched: short(sum(&|i| efforts[i].touched as f64) / n as f64),
        kept: short(sum(&|i| efforts[i].kept as f64)),
        kept_most: efforts.iter().map(|e| e.kept).max().unwrap_or(0),
        outside: efforts.iter().map(|e| e.outside).fold(0.0, f64::max),
        error: worst(&found.outputs, &expected, width, 2.0),
        error_exact: worst(&exact, &expected, width, 2.0),
        shortfall,
        served_weight: served.map(|(weight, _)| *weight).fold(1.0, f64::min),
        entmax_exact: exact_ones.count() as f64 / entmax.certificate.served.max(1) as f64,
        ms_certified: short(own),
        ms_exact: short(others),
        ratio: short(others / own),
        cpu_certified: short(own_cpu),
        cpu_exact: short(others_cpu),
        cpu_ratio: short(others_cpu / own_cpu),
        exact_share: short(2e-9 * (n * q * dim) as f64 / (1e-3 * others_cpu) / peak),
    })
}

fn main() -> Result<(), Failure> {
    if !started_as_benchmark() {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let mut report = Report::new("retrieval");
    for data in DATA.iter().filter(|data| data.name.contains(&arguments.only)) {
        let line = with_threads(Some(arguments.threads), || measure(data, &arguments))??;
        report.line(&line)?;
    }
    if arguments.record {
        report.save()?;
    }
    Ok(())
}
