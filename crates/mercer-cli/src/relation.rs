//! `mercer fit` on labels, clicks and comparisons.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use mercer::evaluate::{Calibration, OrderSummary};
use mercer::fit::gradient::EpochRecord;
use mercer::fit::{Choice, Options};
use mercer::pipeline::{
    ComparisonTable as Compared, Evidence, Figure, RelationFit, RelationTable, Training, fit_antisymmetric, fit_clicks,
    fit_comparisons, fit_labels,
};
use mercer::{Model, Record, with_threads};
use mercer_table::{ComparisonTable, ItemTable, RelationKind};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Exit;
use crate::console::Console;
use crate::describe;
use crate::evaluate::full_ranking;
use crate::failure::Failure;
use crate::fit::outcome;
use crate::report::{self, RelationPage};
use crate::settings::{FitSettings, MethodName};
use crate::source::{ComparisonSource, TableSource};
use crate::watch::Watch;

/// What was read: pairs of labels or clicks, or comparisons.
pub(crate) enum Observed<'a> {
    Pairs(&'a TableSource),
    Comparisons(&'a ComparisonSource),
}

/// What `fit --json` prints of labels, clicks and comparisons.
#[derive(Serialize)]
struct Report<'a> {
    model: String,
    relation: String,
    kind: RelationKind,
    class: String,
    dim: usize,
    parameters: usize,
    outcome: &'static str,
    steps: usize,
    held_out: &'a Option<Figure>,
    masked_negatives: u64,
    evidence: &'a Option<Evidence>,
    choices: Vec<Value>,
    columns: Vec<Value>,
    history: &'a [EpochRecord],
    seconds: f64,
}

impl Observed<'_> {
    fn kind(&self) -> RelationKind {
        match self {
            Observed::Pairs(source) => source.table.kind,
            Observed::Comparisons(source) => source.table.kind,
        }
    }

    fn path(&self) -> &Path {
        match self {
            Observed::Pairs(source) => &source.path,
            Observed::Comparisons(source) => &source.path,
        }
    }

    fn columns(&self) -> Vec<Value> {
        match self {
            Observed::Pairs(source) => source.columns(),
            Observed::Comparisons(source) => source.columns(),
        }
    }

    fn schema(&self, settings: &FitSettings) -> String {
        match self {
            Observed::Pairs(source) => source.table.schema.to_json(),
            Observed::Comparisons(source) if is_antisymmetric(settings) => source.table.schema_of_keys().to_json(),
            Observed::Comparisons(source) => source.table.schema.to_json(),
        }
    }

    /// Sorted fingerprints of the items that were fitted.
    fn known(&self, known: &[Vec<usize>; 2], settings: &FitSettings) -> [Vec<u64>; 2] {
        let items: [&ItemTable; 2] = match self {
            Observed::Comparisons(source) if is_antisymmetric(settings) => [source.table.key_items(); 2],
            Observed::Pairs(source) => [&source.table.queries, source.table.key_items()],
            Observed::Comparisons(source) => [&source.table.queries, source.table.key_items()],
        };
        [0, 1].map(|side| {
            let mut own: Vec<u64> = known[side].iter().map(|&i| items[side].fingerprints[i]).collect();
            own.sort_unstable();
            own
        })
    }

    fn fit(
        &self,
        settings: &FitSettings,
        options: &Options,
        training: &Training<'_>,
        progress: &Watch<'_>,
    ) -> mercer::Result<RelationFit> {
        match self {
            Observed::Pairs(source) => {
                let table = &source.table;
                let negatives: Option<Vec<Vec<u32>>> =
                    table.negatives.as_ref().map(|own| (0..own.len()).map(|p| own.of(p).to_vec()).collect());
                let problem = RelationTable {
                    queries: &table.queries.features,
                    keys: table.keys.as_ref().map(|k| &k.features),
                    pairs: &table.pairs,
                    split: source.split(),
                    times: table.times.as_deref(),
                    negatives: negatives.as_deref(),
                };
                match table.kind {
                    RelationKind::Label => fit_labels(&problem, options, training, progress),
                    _ => fit_clicks(&problem, options, training, progress),
                }
            }
            Observed::Comparisons(source) => {
                let table: &ComparisonTable = &source.table;
                let problem = Compared {
                    queries: &table.queries.features,
                    keys: table.keys.as_ref().map(|k| &k.features),
                    comparisons: &table.comparisons,
                    split: source.split(),
                };
                match is_antisymmetric(settings) {
                    true => fit_antisymmetric(&problem, options),
                    false => fit_comparisons(&problem, options, training),
                }
            }
        }
    }
}

/// Whether a model of pairs of keys is asked for, and none of queries with keys.
fn is_antisymmetric(settings: &FitSettings) -> bool {
    settings.method == Some(MethodName::Antisymmetric)
}

/// Refuses what an antisymmetric model cannot take.
fn check_antisymmetric(observed: &Observed<'_>, settings: &FitSettings) -> Result<(), Failure> {
    if !is_antisymmetric(settings) {
        return Ok(());
    }
    if let Observed::Pairs(_) = observed {
        return Err(Failure::usage(
            "--method antisymmetric does not fit this table: it needs comparisons, such as winners and losers",
        ));
    }
    match settings.training.trains() {
        true => Err(Failure::usage("--method antisymmetric is fitted as a whole: settings of training do nothing")),
        false => Ok(()),
    }
}

/// Fits, saves, and tells.
pub(crate) fn run(
    observed: &Observed<'_>,
    settings: &FitSettings,
    options: &Options,
    output: &Path,
    start: Instant,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    check_antisymmetric(observed, settings)?;
    let own = &settings.training;
    let watch = Watch::new(console.progress(), own)?;
    let training = Training { session: watch.session(own), ..own.training(settings.method)? };
    let done = with_threads(settings.source.threads, || observed.fit(settings, options, &training, &watch))??;
    watch.finish()?;
    console.note(format!("choices\n{}", describe::choices(&done.choices).trim_end()));
    model(observed, &done, settings, options).save(output)?;
    let relation = observed.path().display().to_string();
    if let Some(path) = &settings.report {
        let page = RelationPage { relation: &relation, kind: observed.kind(), fit: &done };
        report::save(&report::relation_page(&page, console.command()), path, console)?;
    }
    let choice = |c: &Choice| json!({"what": c.what, "value": c.value, "reason": c.reason});
    let report = Report {
        model: output.display().to_string(),
        relation,
        kind: observed.kind(),
        class: done.encoder.class().to_string(),
        dim: done.encoder.dim(),
        parameters: done.encoder.parameters(),
        outcome: outcome(done.outcome),
        steps: done.steps,
        held_out: &done.held_out,
        masked_negatives: done.masked,
        evidence: &done.evidence,
        choices: done.choices.iter().map(choice).collect(),
        columns: observed.columns(),
        history: &done.history,
        seconds: start.elapsed().as_secs_f64(),
    };
    let text = text(&report);
    console.result(&report, &text)?;
    Ok(Exit::Done)
}

fn model(observed: &Observed<'_>, done: &RelationFit, settings: &FitSettings, options: &Options) -> Model {
    let config = serde_json::to_value(settings.recorded()).unwrap_or(Value::Null);
    let held_out_pairs = done
        .held_out
        .as_ref()
        .map_or(String::new(), |f| format!("{} {} on {}", f.name, describe::number(f.value), f.on));
    Model {
        encoder: done.encoder.clone(),
        record: Record {
            relation: observed.path().display().to_string(),
            seed: options.seed.0,
            steps: done.steps,
            outcome: outcome(done.outcome).into(),
            held_out_rmse: None,
            held_out_relative: None,
            held_out_pairs,
            schema: serde_json::from_str(&observed.schema(settings)).unwrap_or(Value::Null),
            certificates: Vec::new(),
            config,
        },
        known: observed.known(&done.known, settings),
    }
}

fn text(report: &Report<'_>) -> String {
    let mut text = format!(
        "{}: {}, {}, dimension {}, {} parameters, {} after {}, {:.1} s\n",
        report.model,
        report.kind,
        report.class,
        report.dim,
        report.parameters,
        report.outcome,
        describe::counted(report.steps, "step"),
        report.seconds
    );
    if let Some(figure) = report.held_out {
        let _ = writeln!(text, "held-out {} {} ({})", figure.name, describe::number(figure.value), figure.on);
    }
    if report.masked_negatives > 0 {
        let _ = writeln!(text, "{} candidate negatives were known positives and left out", report.masked_negatives);
    }
    match report.evidence {
        None => text += "nothing was held out to report on\n",
        Some(Evidence::Ranking(found)) => text += &full_ranking(found),
        Some(Evidence::Labels(found)) => {
            text += "test labels, seen by no part of the fit\n";
            found.iter().for_each(|(population, own)| text += &calibration(describe::population(*population), own));
        }
        Some(Evidence::Order(rows)) => {
            text += "test comparisons, seen by no part of the fit\n";
            rows.iter().for_each(|(system, own)| text += &order(system, own));
        }
    }
    text
}

/// The calibration of some labels, in lines.
pub(crate) fn calibration(name: &str, own: &Calibration) -> String {
    let auc = own.auc.map(|auc| format!(", AUC {auc:.4}")).unwrap_or_default();
    format!(
        "{name}: {} labels, {} ones\n  expected calibration error {:.4}; without chance between {:.4} and {:.4} at {} confidence\n  \
         calibrated predictions would show {:.4} on average, at most {:.4}: {}\n  \
         log loss {:.4} (base rate {:.4}), Brier score {:.4} (base rate {:.4}){auc}\n",
        own.pairs,
        own.positives,
        own.ece,
        own.low,
        own.high,
        describe::percent(own.confidence),
        own.ece_if_calibrated,
        own.ece_if_calibrated_quantile,
        if own.rejected { "these are not calibrated" } else { "nothing speaks against these" },
        own.log_loss,
        own.base_log_loss,
        own.brier,
        own.base_brier,
    )
}

/// How comparisons are ordered, in a line.
pub(crate) fn order(system: &str, own: &OrderSummary) -> String {
    let interval = match (own.ordered.low, own.ordered.high) {
        (Some(low), Some(high)) => format!(" ({low:.4} to {high:.4})"),
        _ => String::new(),
    };
    let loss = own.log_loss.map(|loss| format!(", log loss {loss:.4} (no opinion 0.6931)")).unwrap_or_default();
    format!(
        "{system}: {:.4}{interval} of {} in the right order{loss}\n",
        own.ordered.mean,
        describe::counted(own.comparisons, "comparison")
    )
}
