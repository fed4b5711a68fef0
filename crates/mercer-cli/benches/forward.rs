//! A tower's forward pass against the peak of one core, and exact search: part of `make bench`.
//!
//! The peak is what the widest fused multiply-adds reach that never leave the registers. Peak and passes are measured in
//! turn, so that a change of the clock meets all of them, and the medians are compared.

mod record;

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use mercer::index::Exact;
use mercer::{Activation, Features, Layer, Seed, Tower, with_threads};
use serde::Serialize;

use record::{Report, median, short, started_as_benchmark};

/// Measure the forward pass of a tower and exact search on one thread.
#[derive(Parser)]
struct Arguments {
    /// Rounds of interleaved measurements.
    #[arg(long, default_value_t = 201)]
    repeat: usize,
    /// Append the results to `benchmarks/record/`.
    #[arg(long)]
    record: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Serialize)]
struct Forward {
    system: &'static str,
    bench: &'static str,
    shape: String,
    activation: String,
    threads: usize,
    gflops: f64,
    peak_gflops: f64,
    share: f64,
    rows_per_second: f64,
}

#[derive(Serialize)]
struct Search {
    system: &'static str,
    bench: &'static str,
    keys: usize,
    dim: usize,
    k: usize,
    queries: usize,
    threads: usize,
    queries_per_second: f64,
    gflops: f64,
    peak_gflops: f64,
    share: f64,
}

/// Independent sums: more than the latency of a multiply-add times the number of units, fewer than the registers.
const SUMS: usize = 12;

/// Multiply-adds in registers only: `rounds` times [`SUMS`] vectors. Returns the operations done.
mod peak {
    use std::hint::black_box;

    use super::SUMS;

    #[cfg(target_arch = "x86_64")]
    mod x86 {
        use std::arch::x86_64::{__m256, __m512, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};

        use super::{SUMS, black_box};

        #[target_feature(enable = "avx512f")]
        pub(super) fn wide512(rounds: usize) -> f64 {
            let (factor, term) = black_box((_mm512_set1_ps(0.999), _mm512_set1_ps(0.5)));
            let mut sums: [__m512; SUMS] = [_mm512_set1_ps(1.0); SUMS];
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = _mm512_fmadd_ps(*sum, factor, term);
                }
            }
            black_box(sums);
            (2 * 16 * SUMS * rounds) as f64
        }

        #[target_feature(enable = "avx2,fma")]
        pub(super) fn wide256(rounds: usize) -> f64 {
            let (factor, term) = black_box((_mm256_set1_ps(0.999), _mm256_set1_ps(0.5)));
            let mut sums: [__m256; SUMS] = [_mm256_set1_ps(1.0); SUMS];
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = _mm256_fmadd_ps(*sum, factor, term);
                }
            }
            black_box(sums);
            (2 * 8 * SUMS * rounds) as f64
        }
    }

    #[allow(unsafe_code)]
    pub(super) fn multiply_adds(rounds: usize) -> f64 {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the feature that `wide512` enables was just detected.
                return unsafe { x86::wide512(rounds) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the features that `wide256` enables were just detected.
                return unsafe { x86::wide256(rounds) };
            }
        }
        // Four lanes, as NEON and SSE have; fused where the target always can.
        let fused = cfg!(target_arch = "aarch64");
        let (factor, term) = black_box((0.999f32, 0.5f32));
        let mut sums = [[1f32; 4]; SUMS];
        for _ in 0..rounds {
            for lane in sums.as_flattened_mut() {
                *lane = if fused { lane.mul_add(factor, term) } else { *lane * factor + term };
            }
        }
        black_box(sums);
        (2 * 4 * SUMS * rounds) as f64
    }
}

/// Operations a second of `work`, which returns those it did, in units of 1e9.
fn rate(work: impl FnOnce() -> f64) -> f64 {
    let start = Instant::now();
    let operations = work();
    operations / start.elapsed().as_secs_f64() / 1e9
}

/// Rounds of multiply-adds in one measurement, about as long as a measurement of a tower.
const PEAK_ROUNDS: usize = 600_000;
const ROWS: usize = 1024;
const WIDTHS: [usize; 4] = [32, 128, 128, 64];
/// Passes in one measurement: long enough for the clock, short enough that few are
/// interrupted.
const PASSES: usize = 4;

fn tower(activation: Activation) -> mercer::Result<Tower> {
    let mut stream = Seed(1).stream("weights");
    let mut layers = Vec::new();
    for (i, pair) in WIDTHS.windows(2).enumerate() {
        let scale = (2.0 / pair[0] as f64).sqrt();
        let weights = (0..pair[0] * pair[1]).map(|_| (scale * stream.normal()) as f32).collect();
        let bias = (0..pair[1]).map(|_| (0.1 * stream.normal()) as f32).collect();
        let last = i + 2 == WIDTHS.len();
        layers.push(Layer::new(weights, bias, if last { Activation::Identity } else { activation })?);
    }
    Tower::new(layers)
}

fn normals(n: usize, name: &str) -> Vec<f32> {
    let mut stream = Seed(1).stream(name);
    (0..n).map(|_| stream.normal() as f32).collect()
}

fn middle(all: Vec<f64>) -> f64 {
    median(all, |v| *v).unwrap_or(f64::NAN)
}

fn measure(repeat: usize, report: &mut Report) -> Result<(), Box<dyn Error + Send + Sync>> {
    let activations = [Activation::Relu, Activation::Sine, Activation::Gelu, Activation::Identity];
    let towers = activations.into_iter().map(tower).collect::<mercer::Result<Vec<_>>>()?;
    let rows = Features::dense(normals(ROWS * WIDTHS[0], "rows"), WIDTHS[0])?;
    let mut out = vec![0.0; ROWS * WIDTHS[3]];
    let weights: usize = WIDTHS.windows(2).map(|w| w[0] * w[1]).sum();
    let operations = (2 * ROWS * weights) as f64;
    let (mut peak, mut rates) = (Vec::new(), vec![Vec::new(); towers.len()]);
    for round in 0..=repeat {
        let own_peak = rate(|| peak::multiply_adds(PEAK_ROUNDS));
        let own: Vec<f64> = towers
            .iter()
            .map(|tower| {
                rate(|| {
                    let done =
                        (0..PASSES).filter(|_| tower.forward_into(&rows.rows(), black_box(&mut out)).is_ok()).count();
                    done as f64 * operations
                })
            })
            .collect();
        // The first round warms up.
        if round > 0 {
            peak.push(own_peak);
            rates.iter_mut().zip(own).for_each(|(all, one)| all.push(one));
        }
    }
    let peak = middle(peak);
    let shape = format!("{ROWS} x {}", WIDTHS.map(|w| w.to_string()).join(" -> "));
    for (activation, rates) in activations.iter().zip(rates) {
        let gflops = middle(rates);
        report.line(&Forward {
            system: "mercer",
            bench: "forward",
            shape: shape.clone(),
            activation: format!("{activation:?}").to_lowercase(),
            threads: 1,
            gflops: short(gflops),
            peak_gflops: short(peak),
            share: short(gflops / peak),
            rows_per_second: short(gflops * 1e9 / operations * ROWS as f64),
        })?;
    }
    let (keys, dim, k, queries) = (100_000, 64, 10, 1000);
    let index = Exact::new(&normals(keys * dim, "keys"), dim)?;
    let asked = normals(queries * dim, "queries");
    let operations = (2 * keys * dim) as f64;
    let rates =
        (0..repeat.min(9)).map(|_| rate(|| index.search(&asked, k, None).map_or(0.0, |hits| hits.len() as f64)));
    let found = 1e9 * middle(rates.collect());
    let gflops = found * operations / 1e9;
    report.line(&Search {
        system: "mercer",
        bench: "exact search",
        keys,
        dim,
        k,
        queries,
        threads: 1,
        queries_per_second: short(found),
        gflops: short(gflops),
        peak_gflops: short(peak),
        share: short(gflops / peak),
    })?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    if !started_as_benchmark() {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let mut report = Report::new("forward");
    with_threads(Some(1), || measure(arguments.repeat.max(1), &mut report))??;
    if arguments.record {
        report.save()?;
    }
    Ok(())
}
