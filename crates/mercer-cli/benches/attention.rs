//! Attention maps over rows of scores, beside the package `entmax` on PyTorch where it is at hand: `make bench-attention`.
//!
//! Both sides make their scores beforehand, from one distribution. Rounds go through all workloads, ours and the rival's in
//! turn, so that a change of the clock or of the machine's load meets both; medians are compared.

mod record;
mod rival;

use std::error::Error;
use std::time::Instant;

use clap::Parser;
use cpu_time::ThreadTime;
use mercer::attention::{AttentionMap, Map};
use mercer::{Seed, with_threads};
use serde::Serialize;

use record::{Report, median, short, started_as_benchmark};
use rival::Rival;

/// Measure attention maps and print one JSON line for each workload.
#[derive(Parser)]
struct Arguments {
    /// Rounds of interleaved measurements.
    #[arg(long, default_value_t = 15)]
    repeat: usize,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    threads: Vec<usize>,
    /// Only the maps whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Measure the processor's time instead of the clock's: on a machine that other work shares, for one thread.
    #[arg(long)]
    cpu: bool,
    /// Without PyTorch.
    #[arg(long)]
    alone: bool,
    /// Append the results to `benchmarks/record/`.
    #[arg(long)]
    record: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

type Failure = Box<dyn Error + Send + Sync>;

/// Maps by their names; softmax comes first, as the measure of the others.
const MAPS: [&str; 4] = ["softmax", "sparsemax", "entmax:1.5", "entmax:1.25"];
/// Scores as the rival knows them, rows, keys.
const SCORES: [(&str, usize, usize); 5] = [
    ("gauss:1", 256, 1024),
    ("gauss:3", 256, 1024),
    ("gauss:0.1", 256, 1024),
    ("clustered", 256, 1024),
    ("gauss:1", 1, 1_000_000),
];
/// Calls of ours for one of the rival's: each side works for long enough to be timed.
const CALLS: usize = 8;

/// Scores as `attention_torch.py` makes them, from other random numbers.
fn scores(kind: &str, rows: usize, keys: usize) -> Result<Vec<f32>, Failure> {
    let mut stream = Seed(0).stream(kind);
    if let Some(deviation) = kind.strip_prefix("gauss:") {
        let deviation: f64 = deviation.parse()?;
        return Ok((0..rows * keys).map(|_| (deviation * stream.normal()) as f32).collect());
    }
    let mut all = Vec::with_capacity(rows * keys);
    for _ in 0..rows {
        let centres: Vec<f64> = (0..32).map(|_| 3.0 * stream.normal()).collect();
        all.extend((0..keys).map(|_| (centres[stream.below(32)] + 0.2 * stream.normal()) as f32));
    }
    Ok(all)
}

#[derive(Serialize)]
struct Line {
    system: &'static str,
    bench: &'static str,
    map: &'static str,
    scores: &'static str,
    rows: usize,
    keys: usize,
    threads: usize,
    /// What the times are: of the clock, or of the processor.
    clock: &'static str,
    us_per_row: f64,
    rival: Option<String>,
    rival_us: Option<f64>,
    /// The rival's time over ours.
    ratio: Option<f64>,
    /// Our time over that of our softmax on the same scores.
    softmax_ratio: f64,
}

/// `entmax` on PyTorch.
fn start(threads: usize) -> Option<Rival> {
    Rival::start("attention_torch.py", &["--threads", &threads.to_string()], None)
}

fn middle(all: Vec<f64>) -> Option<f64> {
    median(all, |v| *v)
}

/// Median seconds of a call for each map on one kind of scores, ours and the rival's.
fn measure(
    rounds: usize,
    cpu: bool,
    maps: &[&'static str],
    case: (&str, usize, usize),
    rival: &mut Option<Rival>,
) -> Result<Vec<(f64, Option<f64>)>, Failure> {
    let (kind, rows, keys) = case;
    let scores = scores(kind, rows, keys)?;
    let mut out = vec![0.0; scores.len()];
    let mut times = vec![(Vec::new(), Vec::new()); maps.len()];
    // The first round warms up.
    for round in 0..=rounds {
        for (&name, (own, theirs)) in maps.iter().zip(&mut times) {
            let map: Map = name.parse()?;
            let (wall, processor) = (Instant::now(), ThreadTime::now());
            for _ in 0..CALLS {
                map.try_weights(&scores, keys, 1.0, &mut out)?;
            }
            let elapsed = if cpu { processor.elapsed() } else { wall.elapsed() };
            let other =
                rival.as_mut().map(|rival| rival.ask_two(&format!("{name} {kind} {rows} {keys}"))).transpose()?;
            if round > 0 {
                own.push(elapsed.as_secs_f64() / CALLS as f64);
                theirs.extend(other.map(|both| both[usize::from(cpu)]));
            }
        }
    }
    Ok(times.into_iter().map(|(own, theirs)| (middle(own).unwrap_or(f64::NAN), middle(theirs))).collect())
}

fn main() -> Result<(), Failure> {
    if !started_as_benchmark() {
        return Ok(());
    }
    let arguments = Arguments::parse();
    if arguments.cpu && arguments.threads != [1] {
        return Err("--cpu counts the time of one thread: give --threads 1".into());
    }
    let maps: Vec<&str> = MAPS.into_iter().filter(|m| *m == MAPS[0] || m.contains(&arguments.only)).collect();
    let mut report = Report::new("attention");
    for &threads in &arguments.threads {
        let mut rival = if arguments.alone { None } else { start(threads) };
        for case in SCORES {
            let (rounds, cpu) = (arguments.repeat.max(1), arguments.cpu);
            let times = with_threads(Some(threads), || measure(rounds, cpu, &maps, case, &mut rival))??;
            for (&map, (own, theirs)) in maps.iter().zip(&times) {
                let us = |seconds: f64| short(1e6 * seconds / case.1 as f64);
                report.line(&Line {
                    system: "mercer",
                    bench: "attention",
                    map,
                    scores: case.0,
                    rows: case.1,
                    keys: case.2,
                    threads,
                    clock: if cpu { "processor" } else { "wall" },
                    us_per_row: us(*own),
                    rival: rival.as_ref().map(|rival| rival.name().to_owned()),
                    rival_us: theirs.map(us),
                    ratio: theirs.map(|theirs| short(theirs / own)),
                    softmax_ratio: short(own / times[0].0),
                })?;
            }
        }
    }
    if arguments.record {
        report.save()?;
    }
    Ok(())
}
