//! Training steps of two towers, beside PyTorch's where it is at hand: `make bench-train`.
//!
//! Both sides make their data beforehand; a step is forward, loss, backward and Adam. Rounds go through all workloads, ours and
//! the rival's in turn, so that a change of the clock or of the machine's load meets both; medians are compared. Peaks are
//! what register loops reach, measured in the same rounds.

mod record;
mod rival;

use std::error::Error;
use std::time::{Duration, Instant};

use clap::Parser;
use cpu_time::ThreadTime;
use mercer::fit::gradient::Precision;
use mercer::fit::gradient::workload::{Loss, Workload, peak};
use mercer::with_threads;
use serde::Serialize;

use record::{Report, median, short, started_as_benchmark};
use rival::Rival;

/// Measure training steps and print one JSON line for each workload.
#[derive(Parser)]
struct Arguments {
    /// Rounds of interleaved measurements.
    #[arg(long, default_value_t = 15)]
    repeat: usize,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Only the workloads whose name contains this.
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

/// A workload as both sides know it; its place in [`CASES`] is the rival's number.
struct Case {
    name: &'static str,
    batch: usize,
    widths: &'static [usize],
    loss: Loss,
    precision: Precision,
}

const fn case(name: &'static str, loss: Loss, precision: Precision) -> Case {
    Case { name, batch: 1024, widths: &[32, 128, 128, 64], loss, precision }
}

const fn wide(precision: Precision) -> Case {
    Case { name: "W2", batch: 4096, widths: &[128, 512, 512, 128], loss: Loss::Squared, precision }
}

const CASES: [Case; 6] = [
    case("W1", Loss::Squared, Precision::F32),
    case("W1", Loss::Squared, Precision::Bf16),
    wide(Precision::F32),
    wide(Precision::Bf16),
    case("W3", Loss::InBatchSoftmax, Precision::F32),
    case("W3", Loss::InBatchSoftmax, Precision::Bf16),
];

impl Case {
    /// Operations of a step's products, in units of 1e9; the inputs need no gradient.
    fn operations(&self) -> f64 {
        let products: Vec<usize> = self.widths.windows(2).map(|pair| pair[0] * pair[1]).collect();
        let towers = 2 * self.batch * (3 * products.iter().sum::<usize>() - products[0]);
        let scores = match self.loss {
            Loss::Squared => 0,
            Loss::InBatchSoftmax => 3 * self.batch * self.batch * self.widths[self.widths.len() - 1],
        };
        2.0 * (towers + scores) as f64 / 1e9
    }
}

#[derive(Serialize)]
struct Line {
    system: &'static str,
    bench: &'static str,
    workload: &'static str,
    threads: usize,
    precision: Precision,
    /// What the times are: of the clock, or of the processor.
    clock: &'static str,
    ms_per_step: f64,
    /// PyTorch in the same precision: autocast for bf16.
    rival: Option<String>,
    rival_ms: Option<f64>,
    ratio: Option<f64>,
    gflops: f64,
    /// What one core reaches in registers, in `f32` and with the unit that multiplies bf16.
    peak_gflops: f64,
    /// Share of the peak of all threads.
    share: f64,
    /// Against one thread in the same run; `null` for one.
    speedup: Option<f64>,
}

/// Medians over the rounds: our milliseconds and the rival's for each chosen case, and the peaks.
struct Measured {
    own: Vec<f64>,
    rival: Vec<Option<f64>>,
    peaks: [f64; 2],
}

fn middle(all: Vec<f64>) -> Option<f64> {
    median(all, |v| *v)
}

/// How long either side works before the step that counts: as in a training, its data are then in the caches and all cores awake
/// (after a pause a core of a virtual machine takes about a step of W1 to come back).
const WARM: Duration = Duration::from_millis(15);
/// How long the rival's threads are given to fall asleep.
const SETTLE: Duration = Duration::from_millis(30);

/// Repeats a step until the side is warm, and once more.
fn warmed(mut step: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    let start = Instant::now();
    while start.elapsed() < WARM {
        step()?;
    }
    step()
}

fn measure(rounds: usize, cpu: bool, chosen: &[usize], rival: &mut Option<Rival>) -> Result<Measured, Failure> {
    let made = chosen.iter().map(|&i| {
        let case = &CASES[i];
        Workload::new(case.batch, case.widths, case.loss, case.precision)
    });
    let mut workloads = made.collect::<mercer::Result<Vec<_>>>()?;
    let (mut own, mut others) = (vec![Vec::new(); chosen.len()], vec![Vec::new(); chosen.len()]);
    let mut peaks = [Vec::new(), Vec::new()];
    // The first two rounds warm up.
    for round in 0..rounds + 2 {
        for (at, &case) in chosen.iter().enumerate() {
            // Threads of the rival wait for more work for a while before they leave their cores.
            if rival.is_some() {
                std::thread::sleep(SETTLE);
            }
            let mut seconds = 0.0;
            warmed(|| {
                let (wall, own) = (Instant::now(), ThreadTime::now());
                workloads[at].step()?;
                seconds = if cpu { own.elapsed() } else { wall.elapsed() }.as_secs_f64();
                Ok(())
            })?;
            let mut theirs = None;
            if let Some(rival) = rival {
                warmed(|| {
                    theirs = Some(rival.ask_two(&case.to_string())?);
                    Ok(())
                })?;
            }
            if round >= 2 {
                own[at].push(1e3 * seconds);
                others[at].extend(theirs.map(|both| both[usize::from(cpu)]));
            }
        }
        for (all, precision) in peaks.iter_mut().zip([Precision::F32, Precision::Bf16]) {
            all.push(peak(precision));
        }
    }
    Ok(Measured {
        own: own.into_iter().map(|all| middle(all).unwrap_or(f64::NAN)).collect(),
        rival: others.into_iter().map(middle).collect(),
        peaks: peaks.map(|all| middle(all).unwrap_or(f64::NAN)),
    })
}

fn main() -> Result<(), Failure> {
    if !started_as_benchmark() {
        return Ok(());
    }
    let arguments = Arguments::parse();
    if arguments.cpu && arguments.threads != [1] {
        return Err("--cpu counts the time of one thread: give --threads 1".into());
    }
    let chosen: Vec<usize> = (0..CASES.len()).filter(|&i| CASES[i].name.contains(&arguments.only)).collect();
    let mut report = Report::new("train");
    let mut single: Option<Vec<f64>> = None;
    for &threads in &arguments.threads {
        let mut rival = match arguments.alone {
            true => None,
            false => Rival::start("train_torch.py", &["--threads", &threads.to_string()], None),
        };
        let measured =
            with_threads(Some(threads), || measure(arguments.repeat.max(1), arguments.cpu, &chosen, &mut rival))??;
        for (at, &case) in chosen.iter().enumerate() {
            let case = &CASES[case];
            let (own, theirs) = (measured.own[at], measured.rival[at]);
            let peak = measured.peaks[usize::from(case.precision == Precision::Bf16)];
            let gflops = case.operations() / (1e-3 * own);
            report.line(&Line {
                system: "mercer",
                bench: "train",
                workload: case.name,
                threads,
                precision: case.precision,
                clock: if arguments.cpu { "processor" } else { "wall" },
                ms_per_step: short(own),
                rival: rival.as_ref().map(|rival| format!("torch {}", rival.name())),
                rival_ms: theirs.map(short),
                ratio: theirs.map(|theirs| short(theirs / own)),
                gflops: short(gflops),
                peak_gflops: short(peak),
                share: short(gflops / (peak * threads as f64)),
                speedup: single.as_ref().filter(|_| threads > 1).map(|single| short(single[at] / own)),
            })?;
        }
        if threads == 1 {
            single = Some(measured.own);
        }
    }
    if arguments.record {
        report.save()?;
    }
    Ok(())
}
