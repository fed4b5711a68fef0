//! JSON lines on standard output and, with `--record`, in `benchmarks/record/`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether the program was started by `cargo bench`; a test runner that looks for tests in it shall find none and no work.
pub(crate) fn started_as_benchmark() -> bool {
    let started = std::env::args().any(|a| a == "--bench");
    if !started {
        eprintln!("nothing is measured: start this by `cargo bench`");
    }
    started
}

/// Where and on what a run was made: the first line of a run in a record.
#[derive(Serialize)]
struct Machine {
    bench: &'static str,
    date: String,
    machine: String,
    cores: usize,
    /// Mean number of runnable processes over the last minute, before the run.
    load: Option<f64>,
    rustc: String,
    commit: String,
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program).args(arguments).current_dir(root()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

fn machine() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let field = |name: &str| {
        let line = info.lines().find(|l| l.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    };
    // Virtual machines often hide the product's name; family and model still tell it.
    Some(format!("{} (family {}, model {})", field("model name")?, field("cpu family")?, field("model")?))
}

fn commit() -> Option<String> {
    let commit = output("git", &["rev-parse", "--short", "HEAD"])?;
    let clean = output("git", &["status", "--porcelain"])?.is_empty();
    Some(if clean { commit } else { format!("{commit} with changes") })
}

/// Today in UTC as `YYYY-MM-DD`, from the days since 1970 by counting years and months of the Gregorian calendar.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (mut days, mut year) = (seconds / 86_400, 1970);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

/// The lines of a run.
pub(crate) struct Report {
    machine: String,
    lines: Vec<String>,
}

impl Report {
    /// Notes the machine for the benchmark called `bench`.
    pub(crate) fn new(bench: &'static str) -> Self {
        let load = fs::read_to_string("/proc/loadavg").ok();
        let machine = Machine {
            bench,
            date: today(),
            machine: machine().unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            load: load.and_then(|l| l.split(' ').next()?.parse().ok()),
            rustc: output("rustc", &["--version"]).unwrap_or_default(),
            commit: commit().unwrap_or_default(),
        };
        Report { machine: serde_json::to_string(&machine).unwrap_or_default(), lines: Vec::new() }
    }

    /// Prints one result.
    pub(crate) fn line(&mut self, line: &impl Serialize) -> serde_json::Result<()> {
        self.json(serde_json::to_string(line)?);
        Ok(())
    }

    /// Prints one result that is JSON already.
    pub(crate) fn json(&mut self, line: String) {
        println!("{line}");
        self.lines.push(line);
    }

    /// Appends the run to the record of today: the machine, then the results.
    pub(crate) fn save(&self) -> std::io::Result<()> {
        let folder = root().join("benchmarks/record");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.jsonl", today()));
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        writeln!(file, "{}\n{}", self.machine, self.lines.join("\n"))?;
        eprintln!("recorded in benchmarks/record/{}.jsonl", today());
        Ok(())
    }
}

/// `value` with four significant digits.
pub(crate) fn short(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// The middle one, or the upper middle one, by `key`.
#[allow(dead_code)] // not every benchmark repeats
pub(crate) fn median<T>(mut all: Vec<T>, key: impl Fn(&T) -> f64) -> Option<T> {
    all.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let middle = all.len() / 2;
    all.into_iter().nth(middle)
}
