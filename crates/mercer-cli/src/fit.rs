//! `mercer fit`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use mercer::certify::sup::SupNorm;
use mercer::certify::{Certificate, Values};
use mercer::evaluate::{Ranking, Summary};
use mercer::fit::{Choice, CurvePoint, Fit, Options, Outcome};
use mercer::pipeline::{self, Population, TableFit, Training};
use mercer::{Model, Record, Relation, with_threads};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Exit;
use crate::args::FitArgs;
use crate::certificate::{self, Stored};
use crate::console::Console;
use crate::describe;
use crate::failure::Failure;
use crate::output;
use crate::relation::{self, Observed};
use crate::report::{self, FitPage};
use crate::settings::{FitSettings, MethodName};
use crate::source::{KernelSource, Source, TableSource};
use crate::watch::Watch;

const DEFAULT_OUTPUT: &str = "model.safetensors";

/// What `fit --json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    relation: String,
    class: String,
    dim: usize,
    parameters: usize,
    outcome: &'static str,
    steps: usize,
    held_out_rmse: f64,
    held_out_relative_rmse: f64,
    held_out_pairs: String,
    target_met: Option<bool>,
    test: Vec<Value>,
    certificates: Vec<Certificate>,
    sup_norm: Option<SupNorm>,
    ranking: Option<Ranking>,
    curve: Vec<Value>,
    choices: Vec<Value>,
    columns: Vec<Value>,
    seconds: f64,
}

/// A fit with all that its report and its file need.
struct Fitted {
    fit: Fit,
    relation: String,
    schema: Value,
    known: [Vec<u64>; 2],
    test: Vec<(Population, Summary)>,
    certificates: Vec<Certificate>,
    sup: Option<SupNorm>,
    /// Why there is no sup-norm certificate, where one could be expected.
    sup_refused: Option<String>,
    residuals: Values,
    ranking: Option<Ranking>,
    columns: Vec<Value>,
}

impl Fitted {
    /// What its page shows.
    fn page(&self) -> FitPage<'_> {
        FitPage {
            test: &self.test,
            ranking: self.ranking.as_ref(),
            residuals: (!self.residuals.value.is_empty()).then_some(&self.residuals),
            certificates: &self.certificates,
            sup: self.sup.as_ref(),
            sup_refused: self.sup_refused.as_deref(),
            ..FitPage::new(&self.relation, &self.fit)
        }
    }
}

pub(crate) fn run(arguments: FitArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let start = Instant::now();
    let settings = arguments.settings.with_file(arguments.config.as_deref())?;
    let options = settings.options()?;
    let output = settings.output.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_OUTPUT));
    output::check(&output, settings.source.inputs().chain(arguments.config.as_deref()))?;
    if let Some(path) = &settings.report {
        output::check_page(path, settings.source.inputs().chain(arguments.config.as_deref()))?;
    }
    let relation = |observed: &Observed<'_>, console: &mut Console<'_>| {
        relation::run(observed, &settings, &options, &output, start, console)
    };
    let fitted = match settings.source.read("fit", console)? {
        Source::Kernel(source) => fit_kernel(&settings, &source, &options, console)?,
        Source::Table(source) if source.has_values() => fit_table(&settings, &source, &options, console)?,
        Source::Table(source) => return relation(&Observed::Pairs(&source), console),
        Source::Comparisons(source) => return relation(&Observed::Comparisons(&source), console),
    };
    console.note(format!("choices\n{}", describe::choices(&fitted.fit.choices).trim_end()));
    let model = model(&fitted, &settings, &options);
    model.save(&output)?;
    if let Some(path) = &settings.report {
        report::save(&report::fit_page(&fitted.page(), console.command()), path, console)?;
    }
    let report = result(&fitted, &output, start);
    let text = text(&fitted, &report);
    console.result(&report, &text)?;
    Ok(if fitted.fit.target_met == Some(false) { Exit::TargetMissed } else { Exit::Done })
}

fn fit_table(
    settings: &FitSettings,
    source: &TableSource,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<Fitted, Failure> {
    check_method(settings, source.one_hot())?;
    let watch = Watch::new(console.progress(), &settings.training)?;
    let training =
        Training { session: watch.session(&settings.training), ..settings.training.training(settings.method)? };
    let by_gradient = settings.method == Some(MethodName::Gradient) || settings.training.trains();
    let fit = || match by_gradient {
        true => pipeline::fit_values(&source.problem(), options, &training, &watch).map(|done| done.0),
        false => pipeline::fit_table(&source.problem(), options, &watch),
    };
    let done: TableFit = with_threads(settings.source.threads, fit)??;
    watch.finish()?;
    let fingerprints = |side: usize| {
        let items = if side == 0 { &source.table.queries } else { source.table.key_items() };
        let mut known: Vec<u64> = done.known[side].iter().map(|&i| items.fingerprints[i]).collect();
        known.sort_unstable();
        known
    };
    Ok(Fitted {
        relation: source.path.display().to_string(),
        schema: serde_json::from_str(&source.table.schema.to_json()).unwrap_or(Value::Null),
        known: [fingerprints(0), fingerprints(1)],
        test: done.test,
        certificates: done.certificates,
        sup: None,
        sup_refused: None,
        residuals: done.residuals,
        ranking: done.ranking,
        columns: source.columns(),
        fit: done.fit,
    })
}

/// Refuses a method that the table cannot be fitted with.
fn check_method(settings: &FitSettings, one_hot: bool) -> Result<(), Failure> {
    let complete = settings.source.absent.is_some();
    let fits = match settings.method {
        None | Some(MethodName::Auto | MethodName::ClosedForm) => true,
        Some(MethodName::Gradient) => !complete,
        Some(MethodName::Spectral) => complete,
        Some(MethodName::Logistic) => complete && one_hot,
        Some(MethodName::Observed) => !complete && !one_hot,
        Some(MethodName::Als) => !complete && one_hot,
        Some(MethodName::Antisymmetric) => false,
    };
    if fits {
        return Ok(());
    }
    let (method, needs) = match settings.method {
        Some(MethodName::Spectral) => {
            ("spectral", "every pair's value: declare the pairs that are not listed with --absent")
        }
        Some(MethodName::Logistic) => ("logistic", "ids without features and --absent 0"),
        Some(MethodName::Gradient) => ("gradient", "listed pairs, without --absent"),
        Some(MethodName::Observed) => ("observed", "items with features, and no --absent"),
        Some(MethodName::Antisymmetric) => ("antisymmetric", "comparisons, such as winners and losers"),
        _ => ("als", "ids without features, and no --absent"),
    };
    Err(Failure::usage(format!("--method {method} does not fit this table: it needs {needs}")))
}

fn fit_kernel(
    settings: &FitSettings,
    source: &KernelSource,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<Fitted, Failure> {
    if !matches!(settings.method, None | Some(MethodName::Auto | MethodName::Spectral)) || settings.training.trains() {
        return Err(Failure::usage(
            "a kernel is fitted by --method spectral, in closed form; settings of training do nothing",
        ));
    }
    let progress = console.progress();
    let fit = || pipeline::fit_kernel(&source.kernel, source.law(), options, &progress);
    let done = with_threads(settings.source.threads, fit)??;
    drop(progress);
    let known = source.known();
    Ok(Fitted {
        relation: source.kernel.name(),
        schema: serde_json::from_str(&source.schema.to_json()).unwrap_or(Value::Null),
        known: [known.clone(), known],
        test: Vec::new(),
        certificates: vec![done.certificate],
        sup: done.sup,
        sup_refused: done.sup_refused,
        residuals: done.residuals,
        ranking: None,
        columns: source.columns.clone(),
        fit: done.fit,
    })
}

pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Converged => "converged",
        Outcome::StepLimit => "step limit",
        Outcome::Diverged { .. } => "diverged",
        Outcome::Collapsed { .. } => "collapsed",
    }
}

fn model(fitted: &Fitted, settings: &FitSettings, options: &Options) -> Model {
    let fit = &fitted.fit;
    let config = serde_json::to_value(settings.recorded()).unwrap_or(Value::Null);
    Model {
        encoder: fit.encoder.clone(),
        record: Record {
            relation: fitted.relation.clone(),
            seed: options.seed.0,
            steps: fit.steps,
            outcome: outcome(fit.outcome).into(),
            held_out_rmse: Some(fit.held_out_rmse),
            held_out_relative: Some(fit.held_out_relative),
            held_out_pairs: fit.held_out_pairs.clone(),
            schema: fitted.schema.clone(),
            certificates: stored(fitted),
            config,
        },
        known: fitted.known.clone(),
    }
}

/// The certificates as the model file keeps them.
fn stored(fitted: &Fitted) -> Vec<Value> {
    let dim = fitted.fit.encoder.dim();
    let held_out = fitted.certificates.iter().map(|c| Stored::held_out(dim, &fitted.relation, c));
    held_out.chain(fitted.sup.iter().map(|s| Stored::sup_norm(dim, &fitted.relation, s))).map(|s| s.to_json()).collect()
}

fn result(fitted: &Fitted, output: &Path, start: Instant) -> Report {
    let fit = &fitted.fit;
    let summary = |(population, s): &(Population, Summary)| {
        let mut value = serde_json::to_value(s).unwrap_or(Value::Null);
        value["population"] = serde_json::to_value(population).unwrap_or(Value::Null);
        value
    };
    let choice = |c: &Choice| json!({"what": c.what, "value": c.value, "reason": c.reason});
    let point = |p: &CurvePoint| json!({"dim": p.dim, "rmse": p.rmse});
    Report {
        model: output.display().to_string(),
        relation: fitted.relation.clone(),
        class: fit.encoder.class().to_string(),
        dim: fit.encoder.dim(),
        parameters: fit.encoder.parameters(),
        outcome: outcome(fit.outcome),
        steps: fit.steps,
        held_out_rmse: fit.held_out_rmse,
        held_out_relative_rmse: fit.held_out_relative,
        held_out_pairs: fit.held_out_pairs.clone(),
        target_met: fit.target_met,
        test: fitted.test.iter().map(summary).collect(),
        certificates: fitted.certificates.clone(),
        sup_norm: fitted.sup.clone(),
        ranking: fitted.ranking,
        curve: fit.curve.iter().map(point).collect(),
        choices: fit.choices.iter().map(choice).collect(),
        columns: fitted.columns.clone(),
        seconds: start.elapsed().as_secs_f64(),
    }
}

fn text(fitted: &Fitted, report: &Report) -> String {
    let mut text = format!(
        "{}: {}, dimension {}, {} parameters, {} after {}, {:.1} s\n",
        report.model,
        report.class,
        report.dim,
        report.parameters,
        report.outcome,
        describe::counted(report.steps, "step"),
        report.seconds
    );
    text += &format!(
        "held-out RMSE {} ({} of the values' root mean square; {})\n",
        describe::number(report.held_out_rmse),
        describe::percent(report.held_out_relative_rmse),
        report.held_out_pairs
    );
    if report.target_met == Some(false) {
        text += "the target error is not met: try more --units or --time-budget, or more data\n";
    }
    if !fitted.test.is_empty() {
        text += "test pairs, seen by no part of the fit\n";
        text += &describe::summaries(&fitted.test);
    }
    for certificate in &fitted.certificates {
        text += &certificate::brief(certificate);
    }
    if let Some(sup) = &fitted.sup {
        text += &certificate::sup_norm(sup);
    }
    if let Some(reason) = &fitted.sup_refused {
        text += &format!("no proven largest error: {reason}\n");
    }
    if let Some(ranking) = &fitted.ranking {
        text += &format!("reconstruction: {}", describe::ranking(ranking));
    }
    text
}
