//! The whole job on labels: towers in closed form and by gradients, the better one calibrated, and how calibrated it is.

use crate::encoder::{Class, DualEncoder, Link};
use crate::error::{Error, Result};
use crate::evaluate::{Calibration, CalibrationOptions, Population};
use crate::fit::gradient::{self, Examples, Loss, Problem, Shape, Start, Trained};
use crate::fit::{
    BaseRate, Calibrated, Choice, Dimension, Fit, Options, Outcome, Progress, Table, calibrate, factorise,
    log_odds_form, observed,
};
use crate::pipeline::relations::{
    Evidence, Figure, HoldOut, Path, RelationFit, RelationTable, Training, dimension, no_target,
};
use crate::pipeline::{Cut, PairTable, known_items, select};
use crate::relation::{Pairs, Split};
use crate::rows::ItemSource;
use crate::seed::Seed;

/// Held-out labels from which on those that choose and those that calibrate are different ones.
const ENOUGH_TO_PART: usize = 400;

/// Held-out labels that fix a link to about a hundredth; pairs of one new item are taken to them where those of two are fewer.
const ENOUGH_TO_CALIBRATE: usize = 4000;

/// One way of fitting, calibrated.
struct Candidate {
    name: &'static str,
    calibrated: Calibrated,
    outcome: Outcome,
    steps: usize,
    choices: Vec<Choice>,
    trained: Option<Trained>,
}

/// Learns labels 0 and 1 so that the model's values are probabilities.
///
/// Two ways compete by their log loss on held-out labels: least squares on the labels in closed form, and the logistic loss by
/// gradients from there. Scale and offset of the logistic link come from labels that fitted no tower, so the values are
/// calibrated; the test labels then measure by how much they are not.
///
/// # Errors
/// If a label is not 0 or 1, one kind is missing in a part, or an option is out of range.
pub fn fit_labels(
    table: &RelationTable<'_>,
    options: &Options,
    training: &Training<'_>,
    progress: &dyn Progress,
) -> Result<RelationFit> {
    table.check()?;
    check_labels(table.pairs)?;
    let cut = cut(table, options, training)?;
    let parts = Parts::new(table, &cut, options.seed)?;
    let mut candidates = Vec::new();
    if training.path != Path::Gradient || matches!(training.loss, None | Some(Loss::Logistic)) {
        candidates.push(closed(&parts, options, progress)?);
    }
    if training.path != Path::ClosedForm {
        let start = candidates.first().and_then(|c| log_odds_form(&c.calibrated.encoder));
        candidates.push(trained(&parts, options, training, start)?);
    }
    let told: Vec<String> = candidates.iter().map(|c| format!("{} {:.4}", c.name, c.calibrated.log_loss)).collect();
    if training.path == Path::Gradient {
        candidates.retain(|c| c.trained.is_some());
    }
    let best = candidates.into_iter().min_by(|a, b| a.calibrated.log_loss.total_cmp(&b.calibrated.log_loss));
    let best = best.ok_or_else(|| Error::data("no model was fitted", "check the labels"))?;
    let reason = match training.path {
        Path::Auto => format!("lowest log loss on held-out labels: {}", told.join(", ")),
        _ => format!("as asked for; log loss on held-out labels: {}", told.join(", ")),
    };
    let mut choices = vec![cut.choice.clone(), Choice::new("method", best.name, reason)];
    choices.extend(best.choices);
    choices.extend(best.calibrated.choices);
    let known = known_items(&parts.whole, &[&cut.train]);
    progress.stage("calibration");
    let evidence = evidence(&best.calibrated.encoder, table, &cut.test, &known, options.seed)?;
    let on = format!("{} held-out labels", parts.calibrating.len());
    Ok(RelationFit {
        encoder: best.calibrated.encoder,
        outcome: best.outcome,
        steps: best.steps,
        held_out: Some(Figure { name: "log loss".into(), value: best.calibrated.log_loss, on }),
        choices,
        history: best.trained.map(|t| t.history).unwrap_or_default(),
        masked: 0,
        evidence,
        known,
    })
}

fn check_labels(pairs: &Pairs) -> Result<()> {
    let values = pairs.chunk().value;
    if let Some(row) = values.iter().position(|v| *v != 0.0 && *v != 1.0) {
        return Err(Error::parameter(format!("label of pair {row}"), "0 or 1", values[row]));
    }
    if values.iter().all(|v| *v == values[0]) {
        let problem = format!("all {} labels are {}", values.len(), values.first().copied().unwrap_or(0.0));
        return Err(Error::data(problem, "give pairs of both kinds, or declare rows as clicks: positives only"));
    }
    Ok(())
}

fn cut(table: &RelationTable<'_>, options: &Options, training: &Training<'_>) -> Result<Cut> {
    let whole = pair_table(table);
    match (training.hold_out, table.split) {
        (HoldOut::Nothing, _) => Err(Error::parameter(
            "hold-out",
            "some labels: probabilities are calibrated on labels that fitted nothing",
            "nothing",
        )),
        (HoldOut::Rule(rule), _) => {
            let split = rule.split(table.pairs, table.times, table.keys.is_none(), options.seed)?;
            let mut cut = Cut::from_split(&whole, &split, options.seed)?;
            cut.choice.value = rule.to_string();
            Ok(cut)
        }
        (HoldOut::Auto, Some(split)) => Cut::from_split(&whole, split, options.seed),
        (HoldOut::Auto, None) => Ok(Cut::draw(&whole, table.is_ids(), ENOUGH_TO_CALIBRATE, options.seed)),
    }
}

fn pair_table<'a>(table: &RelationTable<'a>) -> PairTable<'a> {
    PairTable { queries: table.queries, keys: table.keys, pairs: table.pairs, split: None, absent: None }
}

/// Labels by what they are used for.
struct Parts<'a> {
    whole: PairTable<'a>,
    train: &'a Pairs,
    choosing: Pairs,
    calibrating: Pairs,
    ids: bool,
}

impl<'a> Parts<'a> {
    fn new(table: &RelationTable<'a>, cut: &'a Cut, seed: Seed) -> Result<Parts<'a>> {
        let (choosing, calibrating) = if cut.valid.len() < ENOUGH_TO_PART {
            (cut.valid.clone(), cut.valid.clone())
        } else {
            let order = seed.stream("calibration split").choose(cut.valid.len(), cut.valid.len());
            let mut parts = vec![Split::Valid; cut.valid.len()];
            order.iter().take(order.len() / 2).for_each(|&p| parts[p] = Split::Test);
            let part = |wanted: Split| select(&cut.valid, &parts, |s| s == wanted);
            (part(Split::Valid), part(Split::Test))
        };
        Ok(Parts { whole: pair_table(table), train: &cut.train, choosing, calibrating, ids: table.is_ids() })
    }

    fn calibrate(&self, model: &DualEncoder) -> Result<Calibrated> {
        calibrate(model, self.whole.queries, self.whole.keys, &self.calibrating, BaseRate::HeldOut)
    }
}

/// Least squares on the labels.
fn closed(parts: &Parts<'_>, options: &Options, progress: &dyn Progress) -> Result<Candidate> {
    let keys = parts.whole.keys.map(|k| k as &dyn ItemSource);
    let table = Table { queries: parts.whole.queries, keys, train: parts.train, valid: &parts.choosing };
    // One coordinate is left for the log-odds at zero, should the gradient go on from here.
    let options = match options.dimension {
        Dimension::Fixed(dim) if dim > 1 => Options { dimension: Dimension::Fixed(dim - 1), ..options.clone() },
        Dimension::Target(_) => return Err(no_target()),
        _ => options.clone(),
    };
    let fit: Fit = if parts.ids { factorise(table, &options, progress)? } else { observed(table, &options, progress)? };
    let calibrated = parts.calibrate(&fit.encoder)?;
    Ok(Candidate {
        name: "closed form",
        calibrated,
        outcome: fit.outcome,
        steps: fit.steps,
        choices: fit.choices,
        trained: None,
    })
}

/// The logistic loss by gradients, from `start` where there is one.
fn trained(
    parts: &Parts<'_>,
    options: &Options,
    training: &Training<'_>,
    start: Option<DualEncoder>,
) -> Result<Candidate> {
    let keys = parts.whole.keys.map(|k| k as &dyn ItemSource);
    let (train, valid) = (Examples::Pairs(parts.train), Examples::Pairs(&parts.choosing));
    let problem = Problem::new(parts.whole.queries, keys, train, valid);
    let loss = training.loss.unwrap_or(Loss::Logistic);
    let (start, reason) = match start {
        Some(model) if training.hidden.is_none() => (Start::Model(model), "from the closed form"),
        _ => {
            let (dim, _) = dimension(options, (32, "a usual one"))?;
            let class = options.class.unwrap_or(Class::Asymmetric);
            let hidden = training.hidden(options, parts.ids);
            (Start::Random(Shape { class, dim, hidden, ..Shape::default() }), "from random towers")
        }
    };
    let done = gradient::train(&problem, &start, &training.gradient(loss, options), &training.session)?;
    let calibrated = parts.calibrate(&done.encoder.clone().with_link(Link::Identity))?;
    let mut choices = vec![Choice::new("start", reason, format!("{} parameters", done.encoder.parameters()))];
    choices.extend(done.choices.iter().cloned());
    Ok(Candidate {
        name: "gradient",
        calibrated,
        outcome: done.outcome,
        steps: done.steps,
        choices,
        trained: Some(done),
    })
}

/// Calibration on the test labels, by population; populations of one kind of label or of few are left out.
fn evidence(
    model: &DualEncoder,
    table: &RelationTable<'_>,
    test: &Pairs,
    known: &[Vec<usize>; 2],
    seed: Seed,
) -> Result<Option<Evidence>> {
    let chunk = test.chunk();
    let is_known = |side: usize, i: u32| known[side].binary_search(&(i as usize)).is_ok();
    let mut found = Vec::new();
    for wanted in [Population::KnownItems, Population::OneNewItem, Population::TwoNewItems] {
        let own: Vec<usize> = (0..test.len())
            .filter(|&p| Population::of(is_known(0, chunk.x[p]), is_known(1, chunk.y[p])) == wanted)
            .collect();
        if own.len() < 2 {
            continue;
        }
        let options = CalibrationOptions { seed, ..CalibrationOptions::default() };
        found.push((wanted, Calibration::of(model, table.queries, table.keys, &test.select(&own), &options)?));
    }
    Ok((!found.is_empty()).then_some(Evidence::Labels(found)))
}
