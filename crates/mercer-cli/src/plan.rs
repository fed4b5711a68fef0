//! `mercer plan`.

use std::fmt::Write;
use std::path::Path;

use mercer::bounds::Part;
use mercer::fit::{Options, Target};
use mercer::plan::{Need, Plan, Wish, plan_relation, plan_table};
use mercer::spectrum::{Noise, Spectrum};
use mercer::with_threads;

use crate::Exit;
use crate::args::PlanArgs;
use crate::console::Console;
use crate::describe::{counted, evidence, number, percent};
use crate::failure::Failure;
use crate::output;
use crate::report;
use crate::settings::{ClassName, target};
use crate::source::Source;

pub(crate) fn run(arguments: &PlanArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    arguments.source.check()?;
    if !(arguments.confidence > 0.0 && arguments.confidence < 1.0) {
        return Err(Failure::usage(format!("--confidence must be between 0 and 1, got {}", arguments.confidence)));
    }
    let options = Options {
        class: arguments.class.and_then(ClassName::class),
        seed: arguments.source.seed(),
        ..Options::default()
    };
    let targets: Vec<Target> = arguments.error.iter().map(|text| target(text)).collect::<Result<_, _>>()?;
    if arguments.source.kernel.is_none()
        && let Some(at) = targets.iter().position(|t| matches!(t, Target::Sup(_)))
    {
        return Err(Failure::usage(format!(
            "--error {}: a largest error is for kernels; ask for a share of the pairs (q95:.05)",
            arguments.error[at]
        )));
    }
    let wish = Wish { targets, confidence: arguments.confidence, options };
    if let Some(report) = &arguments.report {
        output::check_page(report, arguments.source.inputs())?;
    }
    let source = arguments.source.read("plan", console)?;
    let progress = console.progress();
    let threads = arguments.source.threads;
    let plan = match &source {
        Source::Kernel(s) => {
            with_threads(threads, || plan_relation(&s.kernel, Some(&s.kernel), s.law(), None, &wish, &progress))??
        }
        Source::Table(s) if s.sized() => {
            with_threads(threads, || plan_table(&s.problem(), &s.path.display().to_string(), &wish, &progress))??
        }
        Source::Table(s) => return Err(no_values(&s.path, "clicks; --absent 0 gives all other pairs a value")),
        Source::Comparisons(s) => return Err(no_values(&s.path, "comparisons")),
    };
    drop(progress);
    let searched = match &source {
        Source::Kernel(_) => true,
        Source::Table(s) => !s.one_hot() && s.problem().absent.is_none(),
        Source::Comparisons(_) => false,
    };
    if let Some(path) = &arguments.report {
        report::save(&report::plan_page(&plan, console.command()), path, console)?;
    }
    console.result(&plan, &text(&plan, searched))?;
    Ok(if plan.recommended.target_met == Some(false) { Exit::TargetMissed } else { Exit::Done })
}

/// Errors, floors and sizes are those of values.
fn no_values(path: &Path, rows: &str) -> Failure {
    let message = format!("{}: sizes are planned for an error of values, and rows are {rows}", path.display());
    Failure { message, exit: Exit::Failed }
}

/// The plan in words; `searched`: whether narrower towers were tried for each target.
fn text(plan: &Plan, searched: bool) -> String {
    let r = &plan.recommended;
    let units = r.units.map_or_else(String::new, |units| format!(", {}", counted(units, "hidden unit")));
    let mut text = format!("{}: {}, dimension {}{units}\n", plan.relation, r.class, r.dim);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:10} {value}");
    };
    line("class", &r.class_reason);
    line("dimension", &r.dim_reason);
    line("width", &r.units_reason);
    line(
        "error",
        &format!("RMS {} ({} of the values'), measured on {}", number(r.rmse), percent(r.relative), r.measured_on),
    );
    if let Some(e) = &plan.energy {
        let parts =
            [("symmetric", e.symmetric), ("antisymmetric", e.antisymmetric), ("negative eigenvalues", e.negative)];
        line("energy", &parts.map(|(name, share)| format!("{name} {}", percent(share))).join(", "));
    }
    if let Some(spectrum) = &plan.spectrum {
        line("spectrum", &spectrum_words(spectrum, plan.independent.as_ref()));
    }
    if let Some(noise) = &plan.noise {
        line("noise", &noise_words(noise, r.rmse));
    }
    text += &rows(plan);
    for need in &plan.needs {
        text += &needs(need, searched);
    }
    if plan.needs.len() > 1 {
        text += &summary(&plan.needs);
    }
    text += "what stands behind these numbers\n";
    for words in &plan.assumptions {
        let _ = writeln!(text, "  - {words}");
    }
    let mut said: Vec<String> = Vec::new();
    for count in plan.needs.iter().flat_map(|need| &need.counts) {
        let words = format!("{}: {}", count.name, count.words);
        if !said.contains(&words) {
            let _ = writeln!(text, "  - {words}");
            said.push(words);
        }
    }
    if plan.needs.is_empty() {
        text += "with --error E the table of neuron counts for that error is added\n";
    }
    text
}

/// The leading values and how sure they are.
fn spectrum_words(spectrum: &Spectrum, independent: Option<&Spectrum>) -> String {
    const SHOWN: usize = 6;
    let kind = if spectrum.symmetric { "eigenvalues" } else { "singular values" };
    let values: Vec<String> = spectrum.values.iter().take(SHOWN).map(|v| number(*v)).collect();
    let radius = independent.and_then(|s| Some((s.items.0, s.radius?))).map_or_else(String::new, |(n, r)| {
        let radius = number(r.each.min(r.together));
        format!(
            "; those of {n} independent items are within {radius} of the truth (proven, confidence {})",
            r.confidence
        )
    });
    format!("{kind} {} (estimated){radius}", values.join(", "))
}

/// The noise level and what part of the error it explains.
fn noise_words(noise: &Noise, rmse: f64) -> String {
    if noise.level == Some(0.0) {
        return format!("none seen: {}", noise.reason);
    }
    let Some(level) = noise.level else { return format!("level unknown: {}", noise.reason) };
    let interval = noise.interval.map_or_else(String::new, |(low, high)| {
        format!(" ({} to {}, confidence {})", number(low), number(high), noise.confidence)
    });
    let explained = noise
        .explains(rmse)
        .map_or_else(String::new, |share| format!("; it explains {} of the mean square error", percent(share)));
    format!("level {}{interval}{explained}; {}", number(level), noise.reason)
}

fn rows(plan: &Plan) -> String {
    let class = plan.recommended.class;
    let mut text = format!(
        "{:>5} {:>18} {:>18} {:>11} {:>16}\n",
        "dim",
        if plan.floors.is_some() { format!("{class} floor") } else { "floor".into() },
        "attainable RMSE",
        "bytes/item",
        "multiplications"
    );
    for row in &plan.rows {
        let floor = row.floor.map_or_else(|| "-".into(), number);
        let mark = if row.dim == plan.recommended.dim { " *" } else { "" };
        let _ = writeln!(
            text,
            "{:>5} {floor:>18} {:>18} {:>11} {:>16}{mark}",
            row.dim,
            number(row.attainable),
            row.bytes_per_item,
            row.multiplications
        );
    }
    text
}

/// The neurons that a target error needs: by theorems, by construction, by training.
fn needs(need: &Need, searched: bool) -> String {
    let mut text = format!("for {}\n", need.target);
    if let Some(dim) = need.least_dim.filter(|&dim| dim > 1) {
        let _ = writeln!(text, "  no inner product of dimension below {dim} can do it (proven)");
    }
    if let Some(dim) = need.theory_dim {
        let _ = writeln!(text, "  the truncated spectrum does it from dimension {dim} on (estimated)");
    }
    if !need.counts.is_empty() || need.trained.is_some() {
        let _ = writeln!(text, "  {:34} {:>12} {:>10} {:>11}  evidence", "", "neurons", "dimension", "error");
    }
    let dash = || "-".to_string();
    for c in &need.counts {
        let _ = writeln!(
            text,
            "  {:34} {:>12} {:>10} {:>11}  {}",
            c.name,
            neurons(c.neurons),
            c.dim.map_or_else(dash, |d| d.to_string()),
            c.error.map_or_else(dash, number),
            if c.neurons.is_some() { evidence(c.evidence) } else { "does not apply" }
        );
        if !c.parts.is_empty() {
            let part = |p: &Part| format!("{} {} ({})", p.name, number(p.value), evidence(p.evidence));
            let _ = writeln!(text, "      {}", c.parts.iter().map(part).collect::<Vec<_>>().join(", "));
        }
    }
    match &need.trained {
        Some(t) => {
            let words = format!("measured: the narrowest found in {}", counted(t.fits, "fit"));
            let _ =
                writeln!(text, "  {:34} {:>12} {:>10} {:>11}  {words}", "trained", t.neurons, t.dim, number(t.error));
        }
        None if searched => text += "  no trained towers up to the widest tried meet it\n",
        None => text += "  no width is searched for ids, nor where all pairs are declared\n",
    }
    text
}

/// All targets side by side: dimensions, then neurons.
fn summary(needs: &[Need]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for count in needs.iter().flat_map(|need| &need.counts) {
        let name = count.name.trim_end_matches(", built");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let width = needs.iter().map(|need| need.target.len()).max().unwrap_or(0);
    let mut text = format!("neurons of each way\n  {:width$} {:>7} {:>7}", "", "least D", "tail D");
    names.iter().for_each(|name| text += &format!(" {name:>22}"));
    text += &format!(" {:>10} {:>4}\n", "trained", "at D");
    let dash = |number: Option<usize>| number.map_or_else(|| "-".into(), |n| n.to_string());
    for need in needs {
        text += &format!("  {:width$} {:>7} {:>7}", need.target, dash(need.least_dim), dash(need.theory_dim));
        for name in &names {
            let count = need.counts.iter().find(|c| c.name.trim_end_matches(", built") == *name);
            text += &format!(" {:>22}", neurons(count.and_then(|c| c.neurons)));
        }
        let trained = need.trained.as_ref();
        text += &format!(" {:>10} {:>4}\n", dash(trained.map(|t| t.neurons)), dash(trained.map(|t| t.dim)));
    }
    text
}

/// A number of neurons: whole where it can be read.
fn neurons(count: Option<f64>) -> String {
    match count {
        None => "-".into(),
        Some(n) if n < 1e7 => format!("{n:.0}"),
        Some(n) => format!("{n:.2e}"),
    }
}
