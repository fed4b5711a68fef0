//! `mercer fit`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use mercer::evaluate::{Ranking, Summary};
use mercer::fit::{Choice, CurvePoint, Fit, Law, Options, Outcome, spectral};
use mercer::pipeline::{PairTable, Population, TableFit, fit_table};
use mercer::{Features, Kernel, Model, Record, Relation, with_threads};
use mercer_table::{FeatureKind, Input, ItemInputs, ReadOptions, Role, Schema};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Exit;
use crate::args::FitArgs;
use crate::console::Console;
use crate::describe;
use crate::failure::Failure;
use crate::output;
use crate::settings::{FitSettings, MethodName};

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
    ranking: Option<Ranking>,
    columns: Vec<Value>,
}

pub(crate) fn run(arguments: FitArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let start = Instant::now();
    let settings = arguments.settings.with_file(arguments.config.as_deref())?;
    let options = settings.options()?;
    let output = settings.output.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_OUTPUT));
    let inputs =
        [&settings.pairs, &settings.items, &settings.queries, &settings.keys, &settings.points, &arguments.config];
    output::check(&output, inputs.into_iter().flatten().map(PathBuf::as_path))?;
    let fitted = match (&settings.kernel, &settings.pairs) {
        (Some(kernel), _) => fit_kernel(&settings, &kernel.parse::<Kernel>()?, &options, console)?,
        (None, Some(pairs)) => fit_pairs(&settings, pairs, &options, console)?,
        (None, None) => {
            return Err(Failure::usage(
                "nothing to learn: give a table of pairs (mercer fit pairs.csv) or a kernel (mercer fit --kernel gaussian:0.5 \
                 --domain cube:2)",
            ));
        }
    };
    console.note(format!("choices\n{}", describe::choices(&fitted.fit.choices).trim_end()));
    let model = model(&fitted, &settings, &options);
    model.save(&output)?;
    let report = report(&fitted, &output, start);
    let text = text(&fitted, &report);
    console.result(&report, &text)?;
    Ok(if fitted.fit.target_met == Some(false) { Exit::TargetMissed } else { Exit::Done })
}

fn read_options(settings: &FitSettings) -> Result<ReadOptions, Failure> {
    let kind = |text: &String| -> Result<(String, FeatureKind), Failure> {
        let wrong = || Failure::usage(format!("--feature must be COL:KIND, such as bits:set=2048, got '{text}'"));
        let (column, kind) = text.rsplit_once(':').ok_or_else(wrong)?;
        Ok((column.to_string(), kind.parse()?))
    };
    Ok(ReadOptions {
        x: settings.x.clone(),
        y: settings.y.clone(),
        value: settings.value.clone(),
        weight: settings.weight.clone(),
        split: settings.split.clone(),
        name: settings.name.clone(),
        features: settings.features.clone(),
        kinds: settings.feature.iter().flatten().map(kind).collect::<Result<_, _>>()?,
        absent: settings.absent,
    })
}

fn fit_pairs(
    settings: &FitSettings,
    pairs: &Path,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<Fitted, Failure> {
    let items = match (&settings.items, &settings.queries, &settings.keys) {
        (Some(items), ..) => ItemInputs::Shared(Input::new(items)),
        (None, Some(queries), Some(keys)) => ItemInputs::Two { queries: Input::new(queries), keys: Input::new(keys) },
        (None, None, None) => ItemInputs::None,
        _ => return Err(Failure::usage("--queries and --keys go together; --items is one table for both sides")),
    };
    if settings.absent.is_some_and(|v| !v.is_finite()) {
        return Err(Failure::usage("--absent must be a finite number"));
    }
    let table = mercer_table::read(&Input::new(pairs), &items, &read_options(settings)?)?;
    console.note(describe::roles(&table.roles).trim_end());
    if table.positives_only {
        console.note(match settings.absent {
            Some(value) => {
                format!("no value column: rows are positives of value 1, all other pairs are {value} (--absent)")
            }
            None => "no value column: rows are positives of value 1, nothing is said of other pairs (--absent 0 would)"
                .into(),
        });
        if settings.absent.is_none() {
            return Err(Failure {
                message: format!(
                    "{}: no value column was found, and positives alone are constant; name the column with --value, or declare \
                     all other pairs with --absent 0",
                    pairs.display()
                ),
                exit: Exit::Failed,
            });
        }
    }
    let one_hot = table.queries.features.is_one_hot() && table.keys.as_ref().is_none_or(|k| k.features.is_one_hot());
    check_method(settings, one_hot)?;
    let split = table.effective_split();
    let problem = PairTable {
        queries: &table.queries.features,
        keys: table.keys.as_ref().map(|k| &k.features),
        pairs: &table.pairs,
        split: split.as_deref(),
        absent: settings.absent,
    };
    let progress = console.progress();
    let done: TableFit = with_threads(settings.threads, || fit_table(&problem, options, &progress))??;
    drop(progress);
    let fingerprints = |side: usize| {
        let items = if side == 0 { &table.queries } else { table.key_items() };
        let mut known: Vec<u64> = done.known[side].iter().map(|&i| items.fingerprints[i]).collect();
        known.sort_unstable();
        known
    };
    Ok(Fitted {
        relation: pairs.display().to_string(),
        schema: serde_json::from_str(&table.schema.to_json()).unwrap_or(Value::Null),
        known: [fingerprints(0), fingerprints(1)],
        test: done.test,
        ranking: done.ranking,
        columns: columns(&table.roles),
        fit: done.fit,
    })
}

/// What each column was used for, for `--json`.
fn columns(roles: &[Role]) -> Vec<Value> {
    roles.iter().map(|r| json!({"file": r.file, "column": r.column, "role": r.role, "used": r.used})).collect()
}

/// Refuses a method that the table cannot be fitted with.
fn check_method(settings: &FitSettings, one_hot: bool) -> Result<(), Failure> {
    let complete = settings.absent.is_some();
    let fits = match settings.method {
        None | Some(MethodName::Auto) => true,
        Some(MethodName::Spectral) => complete,
        Some(MethodName::Logistic) => complete && one_hot,
        Some(MethodName::Observed) => !complete && !one_hot,
        Some(MethodName::Als) => !complete && one_hot,
    };
    if fits {
        return Ok(());
    }
    let (method, needs) = match settings.method {
        Some(MethodName::Spectral) => {
            ("spectral", "every pair's value: declare the pairs that are not listed with --absent")
        }
        Some(MethodName::Logistic) => ("logistic", "ids without features and --absent 0"),
        Some(MethodName::Observed) => ("observed", "items with features, and no --absent"),
        _ => ("als", "ids without features, and no --absent"),
    };
    Err(Failure::usage(format!("--method {method} does not fit this table: it needs {needs}")))
}

fn fit_kernel(
    settings: &FitSettings,
    kernel: &Kernel,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<Fitted, Failure> {
    if !matches!(settings.method, None | Some(MethodName::Auto | MethodName::Spectral)) {
        return Err(Failure::usage("--method: a kernel is fitted by spectral"));
    }
    let points: Option<(Features, Vec<u64>)>;
    let (schema, columns) = match (&settings.points, &settings.domain) {
        (Some(path), _) => {
            let table = mercer_table::read_items(&Input::new(path), &read_options(settings)?)?;
            console.note(describe::roles(&table.roles).trim_end());
            let columns = columns(&table.roles);
            points = Some((table.features, table.fingerprints));
            (Schema::of_items(table.schema), columns)
        }
        (None, Some(domain)) => {
            points = None;
            (Schema::of_vectors(cube(domain)?), Vec::new())
        }
        (None, None) => return Err(Failure::usage("--kernel needs a place: --domain cube:D, or --points FILE")),
    };
    let law = match &points {
        Some((features, _)) => Law::Items(features),
        None => Law::Cube { dim: schema.queries.dim() },
    };
    let progress = console.progress();
    let fit = with_threads(settings.threads, || spectral(kernel, law, None, options, &progress))??;
    drop(progress);
    let mut known = points.map(|p| p.1).unwrap_or_default();
    known.sort_unstable();
    Ok(Fitted {
        relation: kernel.name(),
        schema: serde_json::from_str(&schema.to_json()).unwrap_or(Value::Null),
        known: [known.clone(), known],
        test: Vec::new(),
        ranking: None,
        columns,
        fit,
    })
}

/// The number of coordinates of `cube:D`.
fn cube(text: &str) -> Result<usize, Failure> {
    let wrong = || Failure::usage(format!("--domain must be cube:D with D from 1 to 1000, got '{text}'"));
    let dim: usize = text.strip_prefix("cube:").ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if (1..=1000).contains(&dim) { Ok(dim) } else { Err(wrong()) }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Converged => "converged",
        Outcome::StepLimit => "step limit",
        Outcome::Diverged { .. } => "diverged",
    }
}

fn model(fitted: &Fitted, settings: &FitSettings, options: &Options) -> Model {
    let fit = &fitted.fit;
    // Where the model goes and how many threads made it changes nothing in it.
    let recorded = FitSettings { threads: None, output: None, ..settings.clone() };
    let config = serde_json::to_value(recorded).unwrap_or(Value::Null);
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
            certificates: Vec::new(),
            config,
        },
        known: fitted.known.clone(),
    }
}

fn report(fitted: &Fitted, output: &Path, start: Instant) -> Report {
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
    if let Some(ranking) = &fitted.ranking {
        text += &format!("reconstruction: {}", describe::ranking(ranking));
    }
    text
}
