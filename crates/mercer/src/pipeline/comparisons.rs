//! The whole job on preferences and triplets: a joint utility `u(q, y) = <phi(q), psi(y)>` by Bradley and Terry's likelihood.
//!
//! Items with features are fitted twice: in closed form as far as there is one (`fit::utility`), and by gradients from random
//! towers. Held-out comparisons choose. Ids, and trainings whose settings somebody named, have gradients only.

use std::time::Instant;

use crate::encoder::{Class, DualEncoder};
use crate::error::{Error, Result};
use crate::evaluate::{OrderSummary, Scorer};
use crate::fit::gradient::{self, EpochRecord, Examples, Loss, Problem, Shape, Start};
use crate::fit::{Choice, Effort, Options, Outcome, Utility, UtilityProblem, utility};
use crate::pipeline::relations::{Evidence, Figure, HoldOut, Path, RelationFit, Training, dimension, positions};
use crate::relation::{Comparisons, Split};
use crate::rows::{Features, ItemSource};
use crate::seed::Seed;
use crate::tower::Activation;

/// Comparisons between items in memory.
#[derive(Clone, Copy)]
pub struct ComparisonTable<'a> {
    /// Features of the query items; of preferences without queries one row.
    pub queries: &'a Features,
    /// Features of the key items; `None`: both sides are one set of items.
    pub keys: Option<&'a Features>,
    /// The comparisons.
    pub comparisons: &'a Comparisons,
    /// What each comparison may be used for; `None`: a random part is held out.
    pub split: Option<&'a [Split]>,
}

impl ComparisonTable<'_> {
    fn part(&self, split: &[Split], wanted: Split) -> Comparisons {
        self.comparisons.select(&positions(split, wanted))
    }
}

/// Share of the compared pairs held out to stop, and to report.
const HELD_OUT: [f64; 2] = [0.05, 0.1];
/// Dimension of a joint utility that nobody named.
const DIMENSION: (usize, &str) = (32, "the default of joint utilities; --dim gives another");

/// Passes over the comparisons of a training whose length nobody named, and its steps at the least: longer ones gained little
/// on the relations that they were tried on, and the learning rate falls to zero at their end.
const PASSES: usize = 40;
const LEAST_STEPS: usize = 1500;
/// Passes without a lower held-out loss after which such a training ends: noisy answers overfit.
const PATIENCE: usize = 10;
/// Learning rate of such a training.
const RATE: f64 = 3e-3;
/// Share of a time budget that is left to gradients at the least.
const LEAST_SHARE: f64 = 0.1;

/// Learns comparisons: the score of `y` for `q` is a utility, differences of utilities are log-odds of preference.
///
/// # Errors
/// If there are too few comparisons, a name is beyond the items, or an option is out of range.
pub fn fit_comparisons(table: &ComparisonTable<'_>, options: &Options, training: &Training<'_>) -> Result<RelationFit> {
    let keys = table.keys.unwrap_or(table.queries);
    table.comparisons.check_items(table.queries.len(), keys.len())?;
    if let Some(loss) = training.loss.filter(|l| *l != Loss::BradleyTerry) {
        return Err(Error::parameter("loss", "bradley-terry, the loss of comparisons", format!("{loss:?}")));
    }
    let (split, choice) = split(table, options.seed, training)?;
    let [train, valid, test] = [Split::Train, Split::Valid, Split::Test].map(|wanted| table.part(&split, wanted));
    let (shape, dimension) = shape(table, options, training)?;
    let (planned, parts) = (shape.dim, Parts { table, train: &train, valid: &valid });
    let mut fitted = parts.fit(shape, options, training)?;
    let dimension = match fitted.encoder.dim() {
        dim if dim == planned => dimension,
        dim => Choice::new("dimension", dim, "the rank of the closed form, by held-out comparisons"),
    };
    let scorer = Scorer::new(&fitted.encoder, table.queries, table.keys)?;
    let wins = win_shares(&train, keys.len());
    let evidence = (!test.is_empty()).then(|| {
        let model = order(&|q, a, b| scorer.score(q, a) - scorer.score(q, b), &test, true);
        let shares = order(&|_, a, b| wins[a as usize] - wins[b as usize], &test, false);
        let named = [("model", model), ("share of wins, whatever the query", shares)];
        Evidence::Order(named.into_iter().filter_map(|(name, s)| Some((name.to_string(), s?))).collect())
    });
    let mut choices = vec![choice, dimension];
    choices.append(&mut fitted.choices);
    let on = format!("{} comparisons", valid.len());
    Ok(RelationFit {
        encoder: fitted.encoder,
        outcome: fitted.outcome,
        steps: fitted.steps,
        held_out: Some(Figure { name: "share in the right order".into(), value: fitted.ordered, on }),
        choices,
        history: fitted.history,
        masked: 0,
        evidence,
        known: known(table, &train),
    })
}

/// How differences of utilities order comparisons.
fn order(differences: &dyn Fn(u32, u32, u32) -> f64, of: &Comparisons, odds: bool) -> Option<OrderSummary> {
    let all: Vec<f64> = (0..of.len()).map(|c| differences(of.query()[c], of.preferred()[c], of.other()[c])).collect();
    OrderSummary::new(of, &all, odds)
}

/// What both ways of fitting give.
struct Fitted {
    encoder: DualEncoder,
    outcome: Outcome,
    steps: usize,
    /// Share of the held-out comparisons in the right order.
    ordered: f64,
    history: Vec<EpochRecord>,
    choices: Vec<Choice>,
}

/// A table and its parts that are fitted and that choose.
struct Parts<'a> {
    table: &'a ComparisonTable<'a>,
    train: &'a Comparisons,
    valid: &'a Comparisons,
}

impl Parts<'_> {
    /// In closed form and by gradients, whichever is right more surely on held-out comparisons.
    fn fit(&self, shape: Shape, options: &Options, training: &Training<'_>) -> Result<Fitted> {
        if is_gradient_asked(options, training) || training.path == Path::Gradient {
            return self.gradients(shape, options, training, options.effort);
        }
        let clock = Instant::now();
        training.session.monitor.stage("features");
        let problem = UtilityProblem {
            queries: self.table.queries,
            keys: self.table.keys.unwrap_or(self.table.queries),
            train: self.train,
            valid: self.valid,
        };
        let Some(closed) = utility(&problem, options.dimension.fixed(), options.seed)? else {
            return self.gradients(shape, options, training, options.effort);
        };
        let Some(own) = self.held_out(&closed.encoder)? else {
            return self.gradients(shape, options, training, options.effort);
        };
        if training.path == Path::ClosedForm {
            let choice = Choice::new("model", "closed form", "as asked");
            return Ok(closed_form(closed, &own, None, choice));
        }
        let effort = match options.effort {
            Effort::Seconds(all) => Effort::Seconds((all - clock.elapsed().as_secs_f64()).max(LEAST_SHARE * all)),
            effort => effort,
        };
        let mut trained = self.gradients(shape, options, training, effort)?;
        let rival = self.held_out(&trained.encoder)?;
        let [closed_loss, loss] =
            [Some(&own), rival.as_ref()].map(|s| s.and_then(|s| s.log_loss).unwrap_or(f64::INFINITY));
        let reason = format!("held-out loss of the closed form {closed_loss:.4}, of trained towers {loss:.4}");
        if closed_loss <= loss {
            return Ok(closed_form(closed, &own, Some(trained), Choice::new("model", "closed form", reason)));
        }
        trained.choices.push(Choice::new("model", "trained towers", reason));
        Ok(trained)
    }

    fn held_out(&self, encoder: &DualEncoder) -> Result<Option<OrderSummary>> {
        let scorer = Scorer::new(encoder, self.table.queries, self.table.keys)?;
        Ok(order(&|q, a, b| scorer.score(q, a) - scorer.score(q, b), self.valid, true))
    }

    /// By gradients from random towers.
    fn gradients(&self, shape: Shape, options: &Options, training: &Training<'_>, effort: Effort) -> Result<Fitted> {
        let key_source = self.table.keys.map(|k| k as &dyn ItemSource);
        let examples = [self.train, self.valid].map(Examples::Comparisons);
        let [train, valid] = examples;
        let problem = Problem::new(self.table.queries, key_source, train, valid);
        let mut settings = gradient::Options { effort, ..training.gradient(Loss::BradleyTerry, options) };
        let mut shape = shape;
        let items = [Some(self.table.queries), self.table.keys];
        let ids = items.into_iter().flatten().any(|items| items.len() > 1 && items.is_one_hot());
        if !ids && !is_gradient_asked(options, training) {
            shape.activation = Activation::Gelu;
            settings.learning_rate = Some(RATE);
            if effort == Effort::Converge {
                settings.patience = Some(PATIENCE);
                settings.effort = Effort::Steps(self.steps());
            }
        }
        let done = gradient::train(&problem, &Start::Random(shape), &settings, &training.session)?;
        Ok(Fitted {
            encoder: done.encoder,
            outcome: done.outcome,
            steps: done.steps,
            ordered: done.held_out.metric,
            history: done.history,
            choices: done.choices,
        })
    }

    /// Steps of a training whose length nobody named.
    fn steps(&self) -> usize {
        let n = self.train.len();
        let batch = gradient::usual_batch(n);
        (PASSES * n).div_ceil(batch).max(LEAST_STEPS)
    }
}

/// Whether somebody named a setting that only a training by gradients has.
fn is_gradient_asked(options: &Options, training: &Training<'_>) -> bool {
    let session = &training.session;
    training.hidden.is_some()
        || options.units.is_some()
        || training.batch.is_some()
        || training.learning_rate.is_some()
        || training.weight_decay > 0.0
        || training.clip.is_some()
        || training.patience.is_some()
        || session.resume.is_some()
        || session.checkpoint.is_some()
}

/// The closed form, with what a training beside it tells.
fn closed_form(closed: Utility, held_out: &OrderSummary, beside: Option<Fitted>, choice: Choice) -> Fitted {
    let (steps, history) = beside.map_or((0, Vec::new()), |trained| (trained.steps, trained.history));
    let mut choices = closed.choices;
    choices.push(choice);
    let ordered = held_out.ordered.mean;
    Fitted { encoder: closed.encoder, outcome: Outcome::Converged, steps, ordered, history, choices }
}

fn split(table: &ComparisonTable<'_>, seed: Seed, training: &Training<'_>) -> Result<(Vec<Split>, Choice)> {
    let comparisons = table.comparisons;
    let told = |split: &[Split]| {
        let count = |wanted: Split| split.iter().filter(|s| **s == wanted).count();
        let [train, valid, test] = [Split::Train, Split::Valid, Split::Test].map(count);
        format!("{train} fitted, {valid} to stop, {test} to report")
    };
    match (training.hold_out, table.split) {
        (HoldOut::Auto, Some(split)) if split.len() != comparisons.len() => {
            Err(Error::shape("split", format!("one entry for each of {} comparisons", comparisons.len()), split.len()))
        }
        (HoldOut::Auto, Some(split)) if split.contains(&Split::Valid) => {
            Ok((split.to_vec(), Choice::new("hold-out", "split column", told(split))))
        }
        (HoldOut::Auto, Some(split)) => {
            // Early stopping needs some that the column does not name.
            let mut own = split.to_vec();
            let train = positions(split, Split::Train);
            let drawn = random(&comparisons.select(&train), [HELD_OUT[0], 0.0], seed);
            train.iter().zip(drawn).for_each(|(&c, part)| own[c] = part);
            let choice = Choice::new("hold-out", "split column", told(&own));
            Ok((own, choice))
        }
        (HoldOut::Auto, None) => {
            let own = random(comparisons, HELD_OUT, seed);
            let reason = format!("repeated comparisons of two keys stay together: {}", told(&own));
            Ok((own, Choice::new("hold-out", "comparisons", reason)))
        }
        (HoldOut::Rule(rule), _) => {
            Err(Error::parameter("hold-out", "auto, or a split column: rules are for pairs", rule))
        }
        (HoldOut::Nothing, _) => {
            Err(Error::parameter("hold-out", "some comparisons, by which training stops", "nothing"))
        }
    }
}

/// A random share of the compared pairs of keys for validation and test, all comparisons of one query and pair together.
fn random(comparisons: &Comparisons, [valid, test]: [f64; 2], seed: Seed) -> Vec<Split> {
    let cell = |c: usize| {
        let (a, b) = (comparisons.preferred()[c], comparisons.other()[c]);
        (comparisons.query()[c], a.min(b), a.max(b))
    };
    let mut order: Vec<usize> = (0..comparisons.len()).collect();
    order.sort_by_key(|&c| cell(c));
    let groups: Vec<&[usize]> = order.chunk_by(|&a, &b| cell(a) == cell(b)).collect();
    let count = |share: f64| ((share * groups.len() as f64).round() as usize).max(usize::from(share > 0.0));
    let drawn = seed.stream("comparison split").choose(groups.len(), count(valid) + count(test));
    let mut split = vec![Split::Train; comparisons.len()];
    for (i, &group) in drawn.iter().enumerate() {
        let part = if i < count(valid) { Split::Valid } else { Split::Test };
        groups[group].iter().for_each(|&c| split[c] = part);
    }
    split
}

fn shape(table: &ComparisonTable<'_>, options: &Options, training: &Training<'_>) -> Result<(Shape, Choice)> {
    let keys = table.keys.unwrap_or(table.queries);
    let ids = table.queries.is_one_hot() && keys.is_one_hot();
    let one_query = table.queries.len() == 1;
    let default = if one_query { (1, "one query: a utility needs no more") } else { DIMENSION };
    let (dim, choice) = dimension(options, default)?;
    if options.class.is_some_and(|c| c != Class::Asymmetric) {
        return Err(Error::parameter(
            "class",
            "asymmetric: queries and keys of a utility have towers of their own",
            "a symmetric one",
        ));
    }
    let hidden = training.hidden(options, ids || (one_query && keys.is_one_hot()));
    Ok((Shape { class: Class::Asymmetric, dim, hidden, ..Shape::default() }, choice))
}

/// How often each key is preferred among the comparisons that it is in, shrunk to a half: the utility without queries.
fn win_shares(comparisons: &Comparisons, keys: usize) -> Vec<f64> {
    let mut counts = vec![(1.0, 2.0); keys];
    for c in 0..comparisons.len() {
        let (a, b) = (comparisons.preferred()[c] as usize, comparisons.other()[c] as usize);
        counts[a].0 += 1.0;
        counts[a].1 += 1.0;
        counts[b].1 += 1.0;
    }
    counts.into_iter().map(|(wins, all)| wins / all).collect()
}

fn known(table: &ComparisonTable<'_>, train: &Comparisons) -> [Vec<usize>; 2] {
    let key_count = table.keys.unwrap_or(table.queries).len();
    let mut seen = [vec![false; table.queries.len()], vec![false; key_count]];
    train.query().iter().for_each(|&q| seen[0][q as usize] = true);
    train.preferred().iter().chain(train.other()).for_each(|&y| seen[1][y as usize] = true);
    if table.keys.is_none() {
        let [x, y] = &mut seen;
        x.iter_mut().zip(y).for_each(|(a, b)| (*a, *b) = (*a || *b, *a || *b));
    }
    seen.map(|side| (0..side.len()).filter(|&i| side[i]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_hold_out_keeps_repeated_comparisons_together() {
        let pairs: Vec<(u32, u32)> = (0..60).flat_map(|i| [(i % 10, 10 + i % 7), (10 + i % 7, i % 10)]).collect();
        let comparisons = Comparisons::new(
            vec![0; pairs.len()],
            pairs.iter().map(|p| p.0).collect(),
            pairs.iter().map(|p| p.1).collect(),
            None,
        )
        .unwrap();
        let split = random(&comparisons, HELD_OUT, Seed(3));
        assert!(split.contains(&Split::Valid) && split.contains(&Split::Test));
        for (i, a) in pairs.iter().enumerate() {
            for (j, b) in pairs.iter().enumerate() {
                if (a.0.min(a.1), a.0.max(a.1)) == (b.0.min(b.1), b.0.max(b.1)) {
                    assert_eq!(split[i], split[j]);
                }
            }
        }
        assert_eq!(split, random(&comparisons, HELD_OUT, Seed(3)));
    }
}
