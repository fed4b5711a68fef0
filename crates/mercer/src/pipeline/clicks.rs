//! The whole job on clicks: positives only, every other pair unknown.

use crate::encoder::{Class, DualEncoder};
use crate::error::{Error, Result};
use crate::evaluate::{Frequency, Judged, Placements, RankingMetrics, Scores, popularity};
use crate::fit::gradient::{self, Examples, Loss, Problem, Sampling, Shape, Start};
use crate::fit::{
    Choice, Complete, Dimension, Effort, Implicit, Method, Options, Progress, Silent, Table, complete, implicit,
};
use crate::pipeline::relations::{
    Decomposition, Evidence, Figure, FullRanking, HoldOut, Path, RelationFit, RelationTable, Training, dimension,
    positions,
};
use crate::pipeline::{PairTable, Population, known_items};
use crate::relation::{Leakage, Pairs, Split, SplitRule};
use crate::rows::{Features, ItemSource};
use crate::seed::Seed;

/// Shares of the pairs that choose and that report where nobody says.
const HELD_OUT: SplitRule = SplitRule::Random { valid: 0.05, test: 0.1 };
/// Dimension of towers on features that nobody named.
const DIMENSION: (usize, &str) = (64, "the default of towers on features; --dim gives another");

/// Clicks by what they are used for.
struct Parts {
    train: Pairs,
    valid: Pairs,
    test: Pairs,
    /// The user's own negatives of the training pairs.
    negatives: Option<Vec<Vec<u32>>>,
    choice: Choice,
}

/// Learns clicks: pairs that are positives, whose values are their strengths.
///
/// Ids are fitted by [`implicit`] alternating least squares, items with features by the sampled softmax. The report is a full
/// ranking: every test pair against all keys that are not known to be related, beside random order, popularity and a truncated
/// singular value decomposition of the training pairs.
///
/// # Errors
/// If there are too few positives, an option is out of range, or a ranking needs more memory than allowed.
pub fn fit_clicks(
    table: &RelationTable<'_>,
    options: &Options,
    training: &Training<'_>,
    progress: &dyn Progress,
) -> Result<RelationFit> {
    table.check()?;
    let parts = Parts::new(table, options.seed, training)?;
    let by_gradient = match (training.path, table.is_ids()) {
        (Path::ClosedForm, false) => {
            let expected = "gradient: alternating least squares is for ids without features";
            return Err(Error::parameter("method", expected, "closed form"));
        }
        (path, ids) => path == Path::Gradient || !ids || training.loss.is_some(),
    };
    let mut fit = if by_gradient {
        gradient_fit(table, &parts, options, training)?
    } else {
        closed_fit(table, &parts, options, training, progress)?
    };
    fit.choices.insert(0, parts.choice.clone());
    fit.evidence = evidence(table, &parts, &fit, training, progress)?;
    Ok(fit)
}

impl Parts {
    fn new(table: &RelationTable<'_>, seed: Seed, training: &Training<'_>) -> Result<Parts> {
        let drawn = |rule: SplitRule| rule.split(table.pairs, table.times, table.keys.is_none(), seed);
        let (split, value) = match (training.hold_out, table.split) {
            (HoldOut::Nothing, _) => (vec![Split::Train; table.pairs.len()], "nothing".to_string()),
            (HoldOut::Rule(rule), _) => (drawn(rule)?, rule.to_string()),
            (HoldOut::Auto, Some(split)) => (split.to_vec(), "split column".to_string()),
            (HoldOut::Auto, None) => (drawn(HELD_OUT)?, HELD_OUT.to_string()),
        };
        let [train, valid, test] = [Split::Train, Split::Valid, Split::Test].map(|wanted| table.part(&split, wanted));
        if train.is_empty() {
            return Err(Error::data(
                "no pair is in the training split",
                "check the split column: train, valid or test",
            ));
        }
        let reason = match training.hold_out {
            HoldOut::Nothing => {
                format!("all {} pairs are fitted, and the report is on them: reconstruction", train.len())
            }
            _ => format!("{} fitted, {} to choose, {} to report", train.len(), valid.len(), test.len()),
        };
        let negatives =
            table.negatives.map(|own| positions(&split, Split::Train).into_iter().map(|p| own[p].clone()).collect());
        Ok(Parts { train, valid, test, negatives, choice: Choice::new("hold-out", value, reason) })
    }
}

/// Alternating least squares on ids.
fn closed_fit(
    table: &RelationTable<'_>,
    parts: &Parts,
    options: &Options,
    training: &Training<'_>,
    progress: &dyn Progress,
) -> Result<RelationFit> {
    let keys = table.keys.map(|k| k as &dyn ItemSource);
    let problem = Table { queries: table.queries, keys, train: &parts.train, valid: &parts.valid };
    let dim = match options.dimension {
        Dimension::Knee => None,
        _ => Some(dimension(options, DIMENSION)?.0),
    };
    let sweeps = match options.effort {
        Effort::Steps(steps) => steps.max(1),
        _ => training.implicit.sweeps,
    };
    let settings = Implicit { dim, sweeps, seed: options.seed, ..training.implicit.clone() };
    let done = implicit(problem, &settings, progress)?;
    let figure = Figure { name: "MAP".into(), value: done.standing.map, on: done.held_out_pairs };
    Ok(RelationFit {
        encoder: done.encoder,
        outcome: done.outcome,
        steps: sweeps,
        held_out: Some(figure).filter(|_| !parts.valid.is_empty()),
        choices: done.choices,
        history: Vec::new(),
        masked: 0,
        evidence: None,
        known: known(table, &[&parts.train]),
    })
}

/// Softmax by gradients.
fn gradient_fit(
    table: &RelationTable<'_>,
    parts: &Parts,
    options: &Options,
    training: &Training<'_>,
) -> Result<RelationFit> {
    if parts.valid.is_empty() {
        let remedy = "hold some out: training by gradients stops when held-out pairs no longer gain";
        return Err(Error::data("no pair is held out to stop training", remedy));
    }
    let (dim, choice) = dimension(options, DIMENSION)?;
    let class = options.class.unwrap_or(Class::Asymmetric);
    let hidden = training.hidden(options, table.is_ids());
    let loss = training.loss.unwrap_or(Loss::SampledSoftmax(Sampling::default()));
    let keys = table.keys.map(|k| k as &dyn ItemSource);
    let problem = Problem {
        negatives: parts.negatives.as_deref(),
        known: Some(&parts.valid),
        ..Problem::new(table.queries, keys, Examples::Pairs(&parts.train), Examples::Pairs(&parts.valid))
    };
    let start = Start::Random(Shape { class, dim, hidden, ..Shape::default() });
    let done = gradient::train(&problem, &start, &training.gradient(loss, options), &training.session)?;
    let mut choices = vec![choice];
    choices.extend(done.choices);
    Ok(RelationFit {
        encoder: done.encoder,
        outcome: done.outcome,
        steps: done.steps,
        held_out: Some(Figure {
            name: "mean reciprocal rank".into(),
            value: done.held_out.metric,
            on: format!("{} held-out pairs", parts.valid.len()),
        }),
        choices,
        history: done.history,
        masked: done.masked,
        evidence: None,
        known: known(table, &[&parts.train]),
    })
}

fn known(table: &RelationTable<'_>, parts: &[&Pairs]) -> [Vec<usize>; 2] {
    let whole = PairTable { queries: table.queries, keys: table.keys, pairs: table.pairs, split: None, absent: None };
    known_items(&whole, parts)
}

/// A full ranking of the test pairs, or of all pairs where none is held out.
fn evidence(
    table: &RelationTable<'_>,
    parts: &Parts,
    fit: &RelationFit,
    training: &Training<'_>,
    progress: &dyn Progress,
) -> Result<Option<Evidence>> {
    let reconstruction = training.hold_out == HoldOut::Nothing;
    let seen = parts.train.concat(&parts.valid);
    let (ranked, known) = if reconstruction { (&parts.train, None) } else { (&parts.test, Some(&seen)) };
    let judged = Judged::new(table.queries.len(), table.keys.map(Features::len), ranked, known)?;
    if judged.pairs() == 0 {
        return Ok(None);
    }
    progress.stage("ranking");
    let place = |scores: Scores<'_>| Placements::new(scores, &judged, training.max_memory);
    let metrics = |scores: Scores<'_>| some(place(scores)?.metrics(&training.at)?);
    let scores = Scores::Model { model: &fit.encoder, queries: table.queries, keys: table.keys };
    let own = place(scores)?;
    let counts = popularity(&parts.train, table.key_count());
    let decomposed = decomposition(table, &parts.train, fit.encoder.dim())?;
    let (ids, key_ids) = one_hot(table);
    let svd = Scores::Model { model: &decomposed, queries: &ids, keys: key_ids.as_ref() };
    let from = match reconstruction {
        true => "the ranked pairs themselves".to_string(),
        false => format!("{} training pairs", parts.train.len()),
    };
    Ok(Some(Evidence::Ranking(Box::new(FullRanking {
        keys: table.key_count(),
        left_out: judged.left_out(),
        baselines_from: from,
        leakage: (!reconstruction).then(|| Leakage::between(&parts.train, ranked, table.keys.is_none())),
        blocks: Placements::blocks(scores, &judged, training.max_memory)?,
        model: some(own.metrics(&training.at)?)?,
        truncated_svd: Some(Decomposition { dim: decomposed.dim(), metrics: metrics(svd)? }),
        popularity: metrics(Scores::Keys(&counts))?,
        random: metrics(Scores::Equal)?,
        groups: groups(&own, fit, training, &counts)?,
    }))))
}

/// Metrics of a ranking that is known to have pairs.
fn some(metrics: Option<RankingMetrics>) -> Result<RankingMetrics> {
    metrics.ok_or_else(|| Error::data("there is no pair to rank", "hold some out"))
}

/// The model's metrics by what its training knew, where pairs differ in that, and by the keys' frequency.
fn groups(
    own: &Placements<'_>,
    fit: &RelationFit,
    training: &Training<'_>,
    counts: &[f32],
) -> Result<Vec<(String, RankingMetrics)>> {
    let is_known = |side: usize, i: u32| fit.known[side].binary_search(&(i as usize)).is_ok();
    let of = |x: u32, y: u32| Population::of(is_known(0, x), is_known(1, y));
    let mut all = Vec::new();
    for (wanted, name) in [
        (Population::KnownItems, "known items"),
        (Population::OneNewItem, "one new item"),
        (Population::TwoNewItems, "two new items"),
    ] {
        let found = own.metrics_of(&training.at, |x, y| of(x, y) == wanted)?;
        all.extend(found.map(|metrics| (name.to_string(), metrics)));
    }
    if all.len() == 1 {
        all.clear();
    }
    if training.hold_out == HoldOut::Nothing {
        return Ok(all);
    }
    let thirds = Frequency::of(counts);
    for (wanted, name) in
        [(Frequency::Head, "frequent keys"), (Frequency::Middle, "middle keys"), (Frequency::Tail, "rare keys")]
    {
        let found = own.metrics_of(&training.at, |_, y| thirds[y as usize] == wanted)?;
        all.extend(found.map(|metrics| (name.to_string(), metrics)));
    }
    Ok(all)
}

fn one_hot(table: &RelationTable<'_>) -> (Features, Option<Features>) {
    (Features::one_hot(table.queries.len()), table.keys.map(|k| Features::one_hot(k.len())))
}

/// The truncated singular value decomposition of the training pairs, all others counting as 0.
fn decomposition(table: &RelationTable<'_>, train: &Pairs, dim: usize) -> Result<DualEncoder> {
    let (queries, keys) = one_hot(table);
    let all = [(0..queries.len()).collect::<Vec<_>>(), (0..table.key_count()).collect()];
    let problem = Complete {
        queries: &queries,
        keys: keys.as_ref().map(|k| k as &dyn ItemSource),
        pairs: train,
        absent: 0.0,
        fitted: [&all[0], &all[1]],
    };
    let dim = dim.min(queries.len()).min(table.key_count());
    let options = Options {
        class: Some(Class::Asymmetric),
        dimension: Dimension::Fixed(dim),
        method: Method::ClosedForm,
        effort: Effort::Converge,
        ..Options::default()
    };
    Ok(complete(problem, &options, &Silent)?.encoder)
}
