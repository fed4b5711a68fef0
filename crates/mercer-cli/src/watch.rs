//! What accompanies a training: progress for the user, and one JSON line an epoch for programs.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use mercer::fit::Progress;
use mercer::fit::gradient::{EpochRecord, MetricName, Monitor, Session};

use crate::Exit;
use crate::console::Reporter;
use crate::failure::Failure;
use crate::training::TrainingSettings;

/// Steps between two checkpoints.
const EVERY: usize = 200;

/// Shows progress and writes the metrics file.
pub(crate) struct Watch<'a> {
    reporter: Reporter<'a>,
    metrics: Option<Metrics>,
}

/// A file of JSON lines, and what went wrong with it.
struct Metrics {
    path: PathBuf,
    state: Mutex<(File, Option<std::io::Error>)>,
}

impl<'a> Watch<'a> {
    /// Writes epochs to the metrics file, if there is to be one: a resumed training adds to what is there.
    pub(crate) fn new(reporter: Reporter<'a>, settings: &TrainingSettings) -> Result<Self, Failure> {
        let (metrics, resume) = (settings.metrics.as_deref(), settings.resume == Some(true));
        let open = |path: &Path| {
            let mut options = File::options();
            let file = options.create(true).write(true).append(resume).truncate(!resume).open(path);
            let failed = |e| Failure { message: format!("{}: {e}", path.display()), exit: Exit::Failed };
            Ok::<_, Failure>(Metrics { path: path.into(), state: Mutex::new((file.map_err(failed)?, None)) })
        };
        Ok(Watch { reporter, metrics: metrics.map(open).transpose()? })
    }

    /// The files and the listener of a training.
    pub(crate) fn session<'s>(&'s self, settings: &'s TrainingSettings) -> Session<'s> {
        let checkpoint = settings.checkpoint.as_deref();
        Session {
            resume: checkpoint.filter(|path| settings.resume == Some(true) && path.exists()),
            checkpoint: checkpoint.map(|path| (path, settings.checkpoint_every.unwrap_or(EVERY))),
            monitor: self,
        }
    }

    /// Whether every line was written.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Some(Metrics { path, state }) = self.metrics else { return Ok(()) };
        match state.into_inner().map(|(_, error)| error) {
            Ok(None) | Err(_) => Ok(()),
            Ok(Some(e)) => Err(Failure { message: format!("{}: {e}", path.display()), exit: Exit::Failed }),
        }
    }
}

impl Progress for Watch<'_> {
    fn stage(&self, name: &str) {
        self.reporter.stage(name);
    }
    fn step(&self, done: usize, limit: usize, held_out: f64) {
        self.reporter.step(done, limit, held_out);
    }
}

impl Monitor for Watch<'_> {
    fn epoch(&self, record: &EpochRecord) {
        let metric = match record.held_out.name {
            MetricName::Rmse => "RMSE",
            MetricName::LogLoss => "log loss",
            MetricName::MeanReciprocalRank => "MRR",
            MetricName::Ordered => "in order",
        };
        self.reporter.line(&format!(
            "epoch {}, step {}: held-out loss {:.4}, {metric} {:.4}, effective rank {:.1}, {:.0} examples/s",
            record.epoch,
            record.step,
            record.held_out.loss,
            record.held_out.metric,
            record.effective_rank,
            record.examples_per_second
        ));
        // A poisoned lock means that another thread panicked: the file no longer matters.
        if let Some(Ok(mut state)) = self.metrics.as_ref().map(|m| m.state.lock())
            && state.1.is_none()
            && let Ok(json) = serde_json::to_string(record)
        {
            state.1 = writeln!(state.0, "{json}").err();
        }
    }
}
