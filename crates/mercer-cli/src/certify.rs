//! `mercer certify`.

use std::fs::canonicalize;
use std::path::Path;

use mercer::certify::{Certificate, Goal, Request, certify_complete, certify_pairs, certify_relation};
use mercer::fit::Target;
use mercer::pipeline::{Population, largest_error};
use mercer::{DualEncoder, Kernel, Law, Model, Relation, with_threads};
use mercer_table::{Input, PairTable, ReadOptions};
use serde::Serialize;
use serde_json::Value;

use crate::Exit;
use crate::args::{CertifyArgs, SplitName};
use crate::certificate::{Certified, Stored, full, sup_norm};
use crate::console::Console;
use crate::describe;
use crate::failure::Failure;
use crate::output;
use crate::predict::{check_values, chosen_pairs, populations, read, schema};
use crate::report;
use crate::settings::target;
use crate::source::cube;

/// What `certify --json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    certificates: Vec<Stored>,
    target_met: Option<bool>,
    saved: bool,
}

/// Seconds of counted work for a proven largest error.
const SUP_SECONDS: f64 = 40.0;

/// Most fresh pairs that are drawn: beyond this exact bounds move by less than a thousandth.
const MOST_DRAWN: usize = 10_000_000;

pub(crate) fn run(arguments: &CertifyArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let goal = arguments.error.as_deref().map(target).transpose()?;
    check(arguments, goal)?;
    if let Some(report) = &arguments.report {
        let items = &arguments.items;
        let tables = [&arguments.pairs, &items.items, &items.queries, &items.keys];
        let tables = tables.into_iter().flatten().map(|p| p.as_path());
        output::check_page(report, tables.chain([arguments.model.as_path()]))?;
    }
    let mut model = Model::load(&arguments.model)?;
    let request = Request {
        share: share(arguments, goal)?,
        confidence: arguments.confidence,
        range: arguments.range,
        pairs_in_all: arguments.pairs_in_all,
        seed: arguments.seed,
    };
    let dims: Vec<usize> = match (arguments.dim, arguments.every_dim) {
        (Some(dim), _) => vec![dim],
        (None, true) => (1..=model.encoder.dim()).collect(),
        (None, false) => vec![model.encoder.dim()],
    };
    let (found, scale) = match &arguments.pairs {
        Some(pairs) => by_pairs(arguments, &model, pairs, &dims, request, console)?,
        None => by_asking(arguments, &model, &dims, goal, request, console)?,
    };
    let met = goal.map(|goal| {
        certified(&found, model.encoder.dim().min(dims[dims.len() - 1]), goal, scale, arguments.asymptotic)
    });
    if !arguments.no_save {
        store(&mut model, &found);
        model.save(&arguments.model)?;
    }
    if let Some(path) = &arguments.report {
        let of = |s: &Stored| match &s.what {
            Certified::HeldOut(certificate) => Some((s.dim, certificate.clone())),
            Certified::SupNorm(_) => None,
        };
        let held_out: Vec<(usize, Certificate)> = found.iter().filter_map(of).collect();
        let sup = found.iter().rev().find_map(|s| match &s.what {
            Certified::SupNorm(sup) => Some(sup),
            Certified::HeldOut(_) => None,
        });
        let name = arguments.model.display().to_string();
        report::save(&report::certificate_page(&name, &held_out, sup, console.command()), path, console)?;
    }
    let text = text(&found, met, &arguments.model, !arguments.no_save);
    let report = Report {
        model: arguments.model.display().to_string(),
        certificates: found,
        target_met: met,
        saved: !arguments.no_save,
    };
    console.result(&report, &text)?;
    Ok(if met == Some(false) { Exit::TargetMissed } else { Exit::Done })
}

/// Refuses what no model can be certified with, before anything is read.
fn check(arguments: &CertifyArgs, goal: Option<Target>) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure::usage(message));
    if !(0.5..1.0).contains(&arguments.confidence) {
        return refuse(format!("--confidence must be at least .5 and below 1, got {}", arguments.confidence));
    }
    if let Some(range) = arguments.range.filter(|r| !(*r > 0.0 && r.is_finite())) {
        return refuse(format!("--range must be a positive number, got {range}"));
    }
    if !(1..=MOST_DRAWN).contains(&arguments.draw) {
        return refuse(format!("--draw must be from 1 to {MOST_DRAWN}, got {}", arguments.draw));
    }
    match (goal, &arguments.pairs) {
        (Some(Target::Sup(_)), Some(pairs)) => refuse(format!(
            "--error sup: pairs cannot bound a largest error, which one pair not listed may have; leave {} out if the model is one \
             of a kernel, else ask for a share of pairs (q95:.05)",
            pairs.display()
        )),
        (_, None) => {
            let items = &arguments.items;
            let flags = [
                ("--items", items.items.is_some() || items.queries.is_some()),
                ("--value", arguments.value.is_some()),
                ("--split", arguments.split.is_some()),
                ("--only", arguments.only.is_some()),
                ("--pairs-in-all", arguments.pairs_in_all.is_some()),
            ];
            match flags.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => {
                    refuse(format!("{flag} speaks of a table of pairs: mercer certify MODEL PAIRS {flag} .."))
                }
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// The share of the tolerance statements: as asked, or that of a quantile target.
fn share(arguments: &CertifyArgs, goal: Option<Target>) -> Result<f64, Failure> {
    match (arguments.share, goal) {
        // A percentage over 100 is rounded.
        (Some(share), Some(Target::Quantile { share: other, .. })) if (share - other).abs() > 1e-12 => {
            Err(Failure::usage(format!("--share {share} and --error name different shares; leave --share out")))
        }
        (Some(share), _) | (None, Some(Target::Quantile { share, .. })) => Ok(share),
        (None, _) => Ok(Request::default().share),
    }
}

/// Certificates from a table of pairs, and the root mean square of their values.
fn by_pairs(
    arguments: &CertifyArgs,
    model: &Model,
    path: &Path,
    dims: &[usize],
    request: Request,
    console: &mut Console<'_>,
) -> Result<(Vec<Stored>, f64), Failure> {
    let options =
        ReadOptions { value: arguments.value.clone(), split: arguments.split.clone(), ..ReadOptions::default() };
    let table = read(model, &arguments.model, path, &arguments.items, &options)?;
    console.detail(describe::roles(&table.roles).trim_end());
    check_values(&table, path)?;
    let split = table.effective_split().is_some();
    let only = arguments.only.or(split.then_some(SplitName::Test));
    let keys = table.keys.as_ref().map(|k| &k.features);
    let queries = &table.queries.features;
    let absent = model.record.config.get("absent").and_then(Value::as_f64);
    let fitted = is_fitted_table(model, path);
    let source = path.display().to_string();
    let scale = |values: &[f32]| {
        (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len().max(1) as f64).sqrt()
    };
    // The table that an id model was fitted to, every pair of it known: all of them can be measured.
    if let (true, Some(absent)) = (fitted && !split && only.is_none() && queries.is_one_hot(), absent) {
        let all = |encoder: &DualEncoder| {
            Ok(vec![certify_complete(encoder, queries, keys, &table.pairs, absent as f32, request)?])
        };
        let found = at_dimensions(arguments, model, dims, &source, all)?;
        let cells = (queries.len() * keys.unwrap_or(queries).len()) as f64;
        let listed = table.len() as f64;
        let square = scale(table.pairs.chunk().value).powi(2) * listed + absent * absent * (cells - listed);
        return Ok((found, (square / cells).sqrt()));
    }
    let chosen = chosen_pairs(&table, only, path)?;
    if fitted && !(matches!(only, Some(SplitName::Test)) && is_fitted_split(model, arguments.split.as_deref())) {
        let message = format!(
            "{source}: the model was fitted to this table, and the errors of pairs that a fit has seen certify nothing; give pairs that it \
             never saw, or the test pairs of the split that it was fitted with (mercer fit certified those that it held out itself: \
             mercer info {})",
            arguments.model.display()
        );
        return Err(Failure { message, exit: Exit::Failed });
    }
    if !split {
        console.note(format!("{source}: taken as pairs that the fit never saw; if it saw them, nothing is certified"));
    }
    if chosen.is_empty() {
        return Err(Failure {
            message: format!("{source}: no pair is left to certify with; check --only"),
            exit: Exit::Failed,
        });
    }
    let pairs = table.pairs.select(&chosen);
    let population = population_of(model, &table, &chosen);
    let of = |encoder: &DualEncoder| certify_pairs(encoder, queries, keys, &pairs, |p| population[p], request);
    let found = at_dimensions(arguments, model, dims, &source, of)?;
    if found.is_empty() {
        return Err(Failure {
            message: format!("{source}: every pair joins a new item with itself, which certifies nothing of two items"),
            exit: Exit::Failed,
        });
    }
    Ok((found, scale(pairs.chunk().value)))
}

fn population_of(model: &Model, table: &PairTable, chosen: &[usize]) -> Vec<Population> {
    populations(model, table, chosen).into_iter().map(|(_, population)| population).collect()
}

/// Whether `path` is the table that the model was fitted to.
fn is_fitted_table(model: &Model, path: &Path) -> bool {
    let fitted = Path::new(&model.record.relation);
    if path == Path::new("-") {
        // Standard input may hold anything.
        return false;
    }
    fitted == path || matches!((canonicalize(fitted), canonicalize(path)), (Ok(a), Ok(b)) if a == b)
}

/// Whether the split that a table is read with now is the one that the fit honoured.
fn is_fitted_split(model: &Model, now: Option<&str>) -> bool {
    let then = model.record.config.get("split").and_then(Value::as_str);
    match (then, now) {
        (Some("none"), _) => false,
        // Without a wish a table is read as at the fit.
        (_, None) => true,
        (then, Some(now)) => then.unwrap_or("split") == now,
    }
}

/// The certificates of the model cut to each dimension.
fn at_dimensions(
    arguments: &CertifyArgs,
    model: &Model,
    dims: &[usize],
    source: &str,
    certify: impl Fn(&DualEncoder) -> mercer::Result<Vec<Certificate>> + Send + Sync,
) -> Result<Vec<Stored>, Failure> {
    let all = || -> mercer::Result<Vec<Stored>> {
        let mut found = Vec::new();
        for &dim in dims {
            let own = certify(&model.encoder.truncate(dim)?)?;
            found.extend(own.iter().map(|c| Stored::held_out(dim, source, c)));
        }
        Ok(found)
    };
    Ok(with_threads(arguments.threads, all)??)
}

/// Certificates of a model of a kernel, from fresh pairs, and the root mean square of their values.
fn by_asking(
    arguments: &CertifyArgs,
    model: &Model,
    dims: &[usize],
    goal: Option<Target>,
    request: Request,
    console: &mut Console<'_>,
) -> Result<(Vec<Stored>, f64), Failure> {
    let setting = |key: &str| model.record.config.get(key).and_then(Value::as_str);
    let Some(kernel) = setting("kernel") else {
        return Err(Failure::usage(format!(
            "{}: was learned from a table; give a table of pairs that the fit never saw (mercer certify MODEL PAIRS)",
            arguments.model.display()
        )));
    };
    // What the file says and no fit wrote is damage, not a wrong command.
    let damaged = |problem: String| Failure {
        message: format!("{}: {problem}; the file is damaged: fit again", arguments.model.display()),
        exit: Exit::Failed,
    };
    let kernel: Kernel = kernel.parse().map_err(|e: mercer::Error| damaged(e.to_string()))?;
    let points;
    let law = match (setting("points"), setting("domain")) {
        (Some(path), _) => {
            let side = schema(model, &arguments.model)?.queries;
            points =
                mercer_table::read_items_with(&side, &Input::new(Path::new(path)), &ReadOptions::default())?.features;
            Law::Items(&points)
        }
        (None, Some(domain)) => Law::Cube { dim: cube(domain).map_err(|e| damaged(e.message))? },
        (None, None) => {
            return Err(Failure::usage(format!(
                "{}: does not say where its kernel was learned",
                arguments.model.display()
            )));
        }
    };
    if matches!(goal, Some(Target::Sup(_))) && !matches!(law, Law::Cube { dim: 1..=2 }) {
        return Err(Failure::usage(
            "--error sup: a largest error is proven on cube:1 and cube:2; ask for a share of pairs (q95:.05)",
        ));
    }
    let name = kernel.name();
    let mut scale = 0.0;
    let mut found = Vec::new();
    let mut refused = None;
    let mut all = || -> mercer::Result<()> {
        for &dim in dims {
            let encoder = model.encoder.truncate(dim)?;
            let mut bound = None;
            if let Law::Cube { dim: axes @ 1..=2 } = law {
                let target = if let Some(Target::Sup(error)) = goal { Some(error) } else { None };
                match largest_error(&encoder, &kernel, axes, target, SUP_SECONDS) {
                    Ok(sup) => {
                        found.push(Stored::sup_norm(dim, &name, &sup));
                        bound = Some(sup.with_rounding());
                    }
                    // Fresh pairs certify a model whose largest error nobody can prove.
                    Err(error) if target.is_none() => refused = Some(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
            let (certificate, fresh) = certify_relation(&encoder, &kernel, law, None, arguments.draw, bound, request)?;
            scale = (fresh.value.iter().map(|v| v * v).sum::<f64>() / fresh.value.len() as f64).sqrt();
            found.push(Stored::held_out(dim, &name, &certificate));
        }
        Ok(())
    };
    with_threads(arguments.threads, &mut all)??;
    if let Some(reason) = refused {
        console.note(format!("no proven largest error: {reason}"));
    }
    Ok((found, scale))
}

/// Whether every certificate of dimension `dim` that speaks of the goal's norm meets it, and there is one.
fn certified(found: &[Stored], dim: usize, goal: Target, scale: f64, asymptotic: bool) -> bool {
    let meets = |stored: &Stored| match (&stored.what, goal) {
        (Certified::SupNorm(sup), Target::Sup(error)) => Some(sup.with_rounding() <= error),
        (Certified::SupNorm(_), _) | (_, Target::Sup(_)) => None,
        (Certified::HeldOut(c), Target::Absolute(error)) => {
            Some(c.meets(Goal::RootMeanSquare, error, asymptotic).is_some())
        }
        (Certified::HeldOut(c), Target::Relative(share)) => {
            Some(c.meets(Goal::RootMeanSquare, share * scale, asymptotic).is_some())
        }
        (Certified::HeldOut(c), Target::Quantile { error, .. }) => {
            Some(c.meets(Goal::Tolerance, error, asymptotic).is_some())
        }
    };
    let answers: Vec<bool> = found.iter().filter(|s| s.dim == dim).filter_map(meets).collect();
    !answers.is_empty() && answers.into_iter().all(|met| met)
}

/// Puts the certificates into the model's record, in place of older ones of the same.
fn store(model: &mut Model, found: &[Stored]) {
    let kept = |value: &Value| {
        let old = serde_json::from_value::<Stored>(value.clone());
        // What this program does not understand is not its own to delete.
        old.map_or(true, |old| !found.iter().any(|new| new.replaces(&old)))
    };
    model.record.certificates.retain(kept);
    model.record.certificates.extend(found.iter().map(Stored::to_json));
}

fn text(found: &[Stored], met: Option<bool>, path: &Path, saved: bool) -> String {
    let several = found.iter().any(|s| s.dim != found[0].dim);
    let mut text = String::new();
    let mut dim = None;
    for stored in found {
        if several && dim != Some(stored.dim) {
            text += &format!("dimension {}\n", stored.dim);
            dim = Some(stored.dim);
        }
        text += &match &stored.what {
            Certified::HeldOut(certificate) => full(certificate),
            Certified::SupNorm(sup) => sup_norm(sup),
        };
    }
    match met {
        Some(true) => text += "the error asked for is certified\n",
        Some(false) => text += "the error asked for is not certified\n",
        None => {}
    }
    if saved {
        text += &format!("stored in {}\n", path.display());
    }
    text
}
