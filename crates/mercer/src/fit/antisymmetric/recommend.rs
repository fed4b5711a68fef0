//! A utility or an antisymmetric model: which of the two comparisons that neither has seen ask for.

use serde::Serialize;

use crate::evaluate::{Estimate, OrderSummary};
use crate::fit::antisymmetric::{Round, joined};
use crate::preorder::Answers;
use crate::relation::Comparisons;
use crate::seed::Seed;
use crate::stats::student_quantile;

/// Compared pairs below which single comparisons are held out instead of pairs.
const FEW_PAIRS: usize = 40;
/// The fewest comparisons that can be cut into parts.
const FEWEST: usize = 8;
/// Units below which the parts are held out in turn, and parts that are at most.
const FEW_UNITS: usize = 2000;
const MOST_ROUNDS: usize = 10;

/// What was held out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldOutUnit {
    /// All comparisons of a pair of items: the models had to infer its order.
    Pairs,
    /// Single comparisons, because few pairs are compared: the models may have seen others of the same pair.
    Comparisons,
}

impl HeldOutUnit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            HeldOutUnit::Pairs => "compared pairs",
            HeldOutUnit::Comparisons => "comparisons",
        }
    }
}

/// Which model to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recommended {
    /// A utility, by Bradley and Terry's model.
    Utility,
    /// An antisymmetric inner product.
    Antisymmetric,
}

/// How one model does on held-out comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeldOutOrder {
    /// Weighted share whose order the model has right, ties count half; the interval is over the units held out.
    pub ordered: Estimate,
    /// Mean negative log-likelihood, in nats; `ln 2` without any opinion.
    pub log_loss: f64,
}

/// A recommendation with both figures.
///
/// The antisymmetric model is the larger one (it holds every utility): it is recommended only if its mean gain in
/// log-likelihood on comparisons that neither model has seen is positive beyond chance, by a paired t-test over the units held
/// out at level .025. The test is asymptotic, and where parts were held out in turn it takes their models as independent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// The model to use.
    pub model: Recommended,
    /// Why, in words.
    pub reason: String,
    /// What was held out together.
    pub unit: HeldOutUnit,
    /// Units held out to report.
    pub units: usize,
    /// Comparisons held out to report.
    pub comparisons: usize,
    /// Bradley and Terry's model.
    pub bradley_terry: HeldOutOrder,
    /// The antisymmetric model.
    pub antisymmetric: HeldOutOrder,
    /// Gain of the antisymmetric model in log-likelihood, in nats a comparison, with a 95 % interval over units.
    pub gain: Estimate,
}

/// Units in parts of about one size, of which one is held out to choose and another one to report.
pub(crate) struct Parts {
    /// Part of each comparison.
    of: Vec<usize>,
    parts: usize,
    units: usize,
    pub(crate) unit: HeldOutUnit,
}

impl Parts {
    /// Random parts of a share `held_out` of the units each; `None` if there is too little to hold out.
    pub(crate) fn draw(comparisons: &Comparisons, held_out: f64, seed: Seed) -> Option<Parts> {
        if comparisons.len() < FEWEST {
            return None;
        }
        let mut order: Vec<usize> = (0..comparisons.len()).collect();
        order.sort_by_key(|&c| pair(comparisons, c));
        let pairs: Vec<&[usize]> = order.chunk_by(|&a, &b| pair(comparisons, a) == pair(comparisons, b)).collect();
        let unit = if pairs.len() < FEW_PAIRS { HeldOutUnit::Comparisons } else { HeldOutUnit::Pairs };
        let groups: Vec<&[usize]> = if unit == HeldOutUnit::Pairs { pairs } else { order.chunks(1).collect() };
        let units = groups.len();
        let parts = ((1.0 / held_out).round() as usize).clamp(3, units);
        let mut of = vec![0; comparisons.len()];
        for (i, u) in seed.stream("antisymmetric hold-out").choose(units, units).into_iter().enumerate() {
            groups[u].iter().for_each(|&c| of[c] = i % parts);
        }
        Some(Parts { of, parts, units, unit })
    }

    /// Number of hold-outs that are made.
    pub(crate) fn rounds(&self) -> usize {
        if self.units < FEW_UNITS { self.parts.min(MOST_ROUNDS) } else { 1 }
    }

    /// Comparisons to fit, to choose by, and to report, of hold-out `round`.
    pub(crate) fn tables(&self, comparisons: &Comparisons, round: usize) -> [Comparisons; 3] {
        let role = |part: usize| match (part + self.parts - round) % self.parts {
            0 => 2,
            1 => 1,
            _ => 0,
        };
        [0, 1, 2].map(|wanted| {
            let own: Vec<usize> = (0..self.of.len()).filter(|&c| role(self.of[c]) == wanted).collect();
            comparisons.select(&own)
        })
    }

    pub(crate) fn told(&self) -> String {
        let (units, parts, rounds) = (self.units, self.parts, self.rounds());
        let in_turn = if rounds > 1 { format!(", {rounds} times in turn") } else { String::new() };
        format!("{units} in {parts} parts, one held out to choose and one to report{in_turn}")
    }
}

fn pair(comparisons: &Comparisons, c: usize) -> (u32, u32) {
    let (a, b) = (comparisons.preferred()[c], comparisons.other()[c]);
    (a.min(b), a.max(b))
}

/// Compares both models on what they have not seen, all rounds together.
pub(crate) fn recommend(rounds: &[Round], unit: HeldOutUnit) -> Recommendation {
    let mut report = Comparisons::default();
    let mut log_odds = [Vec::new(), Vec::new()];
    for round in rounds {
        // Checked comparisons join without an error.
        report = joined(&report, &round.report).unwrap_or(report);
        log_odds.iter_mut().zip(&round.log_odds).for_each(|(all, own)| all.extend(own));
    }
    let by_unit = units(&report, unit);
    let figures = log_odds.each_ref().map(|scores| {
        OrderSummary::new(&by_unit, scores, true)
            .map(|s| HeldOutOrder { ordered: s.ordered, log_loss: s.log_loss.unwrap_or(f64::NAN) })
            .unwrap_or(HeldOutOrder { ordered: nothing(), log_loss: f64::NAN })
    });
    let (gain, count) = gain(&by_unit, &log_odds);
    let beyond_chance = gain.low.is_some_and(|low| low > 0.0);
    let model = if beyond_chance { Recommended::Antisymmetric } else { Recommended::Utility };
    Recommendation {
        model,
        reason: reason(&gain, count, unit),
        unit,
        units: count,
        comparisons: report.len(),
        bradley_terry: figures[0],
        antisymmetric: figures[1],
        gain,
    }
}

fn nothing() -> Estimate {
    Estimate { mean: f64::NAN, standard_error: None, low: None, high: None }
}

fn reason(gain: &Estimate, units: usize, unit: HeldOutUnit) -> String {
    let of = format!("{units} held-out {}", unit.name());
    let interval = match (gain.low, gain.high) {
        (Some(low), Some(high)) => format!("{:.4} nats a comparison (95 % interval {low:.4} to {high:.4})", gain.mean),
        _ => format!("{:.4} nats a comparison, without an interval", gain.mean),
    };
    match (gain.low, gain.high) {
        (Some(low), _) if low > 0.0 => {
            format!("on {of} the antisymmetric model gains {interval}: no utility orders these items")
        }
        (_, Some(high)) if high < 0.0 => format!("on {of} the antisymmetric model loses: it gains {interval}"),
        _ => format!(
            "on {of} the antisymmetric model gains {interval}, which chance explains: the smaller model is enough"
        ),
    }
}

/// The comparisons with the unit held out in place of the query, which makes units the independent ones of [`OrderSummary`].
fn units(report: &Comparisons, unit: HeldOutUnit) -> Comparisons {
    let mut order: Vec<usize> = (0..report.len()).collect();
    let mut of = vec![0; report.len()];
    if unit == HeldOutUnit::Pairs {
        order.sort_by_key(|&c| pair(report, c));
        for (unit, own) in order.chunk_by(|&a, &b| pair(report, a) == pair(report, b)).enumerate() {
            own.iter().for_each(|&c| of[c] = unit as u32);
        }
    } else {
        of = (0..report.len() as u32).collect();
    }
    let weight = report.weight().map(<[f32]>::to_vec);
    // The same columns as those of checked comparisons.
    Comparisons::new(of, report.preferred().to_vec(), report.other().to_vec(), weight).unwrap_or_default()
}

/// Mean gain in log-likelihood a comparison, as a ratio of sums over units, and the number of units.
fn gain(by_unit: &Comparisons, [smaller, larger]: &[Vec<f64>; 2]) -> (Estimate, usize) {
    let units = by_unit.query().iter().max().map_or(0, |&u| u as usize + 1);
    let mut sums = vec![(0.0, 0.0); units];
    for c in 0..by_unit.len() {
        let weight = by_unit.weight().map_or(1.0, |w| f64::from(w[c]));
        let sum = &mut sums[by_unit.query()[c] as usize];
        sum.0 += weight * (Answers::at(smaller[c]).losses[0] - Answers::at(larger[c]).losses[0]);
        sum.1 += weight;
    }
    let (total, all) = sums.iter().fold((0.0, 0.0), |t, s| (t.0 + s.0, t.1 + s.1));
    let mean = total / all;
    if units < 2 {
        return (Estimate { mean, ..nothing() }, units);
    }
    let squares: f64 = sums.iter().map(|(sum, count)| (sum - mean * count).powi(2)).sum();
    let error = (units as f64 / (units as f64 - 1.0) * squares).sqrt() / all;
    let half = student_quantile(0.025, units as f64 - 1.0) * error;
    (Estimate { mean, standard_error: Some(error), low: Some(mean - half), high: Some(mean + half) }, units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_stay_together_and_few_pairs_are_split_by_comparison() {
        let rows: Vec<(u32, u32)> =
            (0..200).map(|i| (i % 50, 50 + i % 7)).flat_map(|(a, b)| [(a, b), (b, a)]).collect();
        let table = |rows: &[(u32, u32)]| {
            let (a, b) = rows.iter().copied().unzip();
            Comparisons::new(vec![0; rows.len()], a, b, None).unwrap()
        };
        let all = table(&rows);
        let parts = Parts::draw(&all, 0.2, Seed(1)).unwrap();
        assert_eq!(parts.unit, HeldOutUnit::Pairs);
        for c in 0..all.len() {
            for d in 0..all.len() {
                assert!(pair(&all, c) != pair(&all, d) || parts.of[c] == parts.of[d]);
            }
        }
        // Every comparison is reported once, and no pair is split between parts.
        assert_eq!((parts.rounds(), parts.parts), (5, 5));
        let reported: usize = (0..5).map(|r| parts.tables(&all, r)[2].len()).sum();
        assert_eq!(reported, all.len());
        for round in 0..5 {
            let tables = parts.tables(&all, round);
            assert_eq!(tables.iter().map(Comparisons::len).sum::<usize>(), all.len());
            assert_eq!(joined(&tables[0], &tables[1]).unwrap().len() + tables[2].len(), all.len());
        }
        let few = Parts::draw(&table(&rows[..30]), 0.2, Seed(1)).unwrap();
        assert_eq!((few.unit, few.units), (HeldOutUnit::Comparisons, 30));
        assert!(Parts::draw(&table(&rows[..7]), 0.2, Seed(1)).is_none());
    }
}
