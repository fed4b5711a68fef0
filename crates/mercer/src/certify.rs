//! Certificates: what is known about a model's error on pairs that nobody has seen yet.
//!
//! [`certify`] takes held-out pairs, which training never saw, and states for one [`Population`] of new pairs
//!
//! - a **tolerance**: the error that a share `q` of new pairs does not exceed;
//! - the **root mean square** error of new pairs;
//! - for labels, the share of new pairs whose **sign** is predicted wrongly;
//! - the share of new comparisons of two keys for one query that are **ranked** wrongly.
//!
//! # Which pairs count as independent?
//!
//! *New pairs among known items* ([`Population::KnownItems`]): items, model and hence all errors are fixed, and the
//! held-out pairs are a random part of all. Binomial bounds on all held-out pairs are exact, also for draws without
//! replacement; with the number of pairs in all ([`Request::pairs_in_all`]) hypergeometric ones speak of exactly those
//! not yet seen.
//!
//! *New items* ([`Population::TwoNewItems`], [`Population::OneNewItem`]): pairs that share an item err together. Two
//! methods:
//!
//! - [`Method::Matching`], exact: bounds on pairs of which no two share an item, chosen at random without a look at any
//!   error. The median over 101 such choices removes the luck of one: each bound fails with probability at most
//!   `delta / 2`, so the share of failing ones expects at most `delta / 2`, and by Markov's inequality it exceeds one
//!   half, without which the median cannot fail, with probability at most `delta`.
//! - [`Method::Projection`], asymptotic: all pairs, with the variance of a U-statistic from deleting one item at a
//!   time. The size of an equally informative random sample goes into Clopper and Pearson's bound (Korn and Graubard
//!   1998), the mean square gets Student's interval on its logarithm. Measured coverage over 500 seeds, 200 objects,
//!   300 to 5000 pairs, four laws of errors: nominal .95 gives .95 to 1.00 for the tolerance of a share .9 and .93 to
//!   .99 for the root mean square; nominal .99 gives .99 to 1.00 and .97 to 1.00. Rates gave .98 and more at nominal
//!   .95, .99 and more at .99.
//!
//! A pair of an item with itself is left out for new items (its error has another law); in both populations rows are
//! counted as they are listed. With one new item no known item may occur twice in a matching either: the known partners
//! then count as drawn at random among the known items.

mod census;
mod known_items;
mod matching;
mod new_items;
mod projection;
mod sources;
pub mod sup;

pub use census::census;
pub use sources::{Values, certify_complete, certify_pairs, certify_relation};

use serde::{Deserialize, Serialize};

use crate::certify::matching::Graph;
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::{Measure, Population};
use crate::spectrum::Evidence;

/// Shares that a user asks for in turn.
const SHARES: [f64; 4] = [0.9, 0.95, 0.99, 0.999];

/// Numbers of elements that `f64` still tells apart.
const MOST_PAIRS: u64 = 1 << 53;

/// Held-out pairs: `n` entries in each slice.
#[derive(Clone, Copy, Debug)]
pub struct HeldOut<'a> {
    /// The first item of each pair, the query.
    pub x: &'a [u32],
    /// The second item, the key.
    pub y: &'a [u32],
    /// The model's value.
    pub predicted: &'a [f64],
    /// The value observed.
    pub value: &'a [f64],
    /// Whether both sides index one set of items.
    pub shared: bool,
}

/// What is to be stated.
///
/// ```
/// let request = mercer::certify::Request { share: 0.99, ..Default::default() };
/// assert_eq!(request.confidence, 0.95);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The share `q` of new pairs in the tolerance statement, between 0 and 1 (.95).
    pub share: f64,
    /// The confidence `1 - delta` of each statement, from .5 to below 1 (.95).
    pub confidence: f64,
    /// A bound of all absolute errors, of new pairs too, known beforehand: exact intervals for the mean square need
    /// one. `None`: taken from labels if the predictions lie between them; else these intervals are absent.
    pub range: Option<f64>,
    /// How many pairs of the known items the held-out ones were drawn from, themselves included, training pairs not.
    pub pairs_in_all: Option<u64>,
    /// Seed of the random matchings.
    pub seed: u64,
}

impl Default for Request {
    fn default() -> Request {
        Request { share: 0.95, confidence: 0.95, range: None, pairs_in_all: None, seed: 0 }
    }
}

/// What a [`Statement`] bounds, of new pairs of the certificate's population.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The absolute error that this share of pairs does not exceed.
    Tolerance {
        /// The share `q`.
        share: f64,
    },
    /// The root mean square error.
    RootMeanSquare,
    /// The share of pairs whose label is predicted wrongly.
    SignErrorRate,
    /// The share of comparisons (two keys of one query, with different values) that are not ordered rightly.
    RankingErrorRate,
}

/// How a [`Statement`] was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every pair there is was measured.
    Census,
    /// Binomial probabilities of all held-out pairs.
    Binomial,
    /// Hypergeometric probabilities: the held-out pairs are a known part of a finite number.
    Hypergeometric,
    /// A capital that only a wrong mean lets grow.
    Betting,
    /// Student's interval of independent values.
    Student,
    /// Binomial probabilities or betting on object-disjoint pairs, the median over many choices of them.
    Matching,
    /// The projection of a U-statistic, by deleting one item at a time.
    Projection,
}

/// How many pairs a sharper statement would need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sharper {
    /// The statement, in words.
    pub statement: String,
    /// Pairs, or disjoint pairs or comparisons, whichever the method counts.
    pub pairs: u64,
    /// How the number is known.
    pub evidence: Evidence,
}

/// One bound with all that is needed to read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// What is bounded.
    pub quantity: Quantity,
    /// How.
    pub method: Method,
    /// Proven under `assumptions`; otherwise right only in the limit of many items.
    pub exact: bool,
    /// Probability, over the draw of the held-out pairs, that the bounds hold (both together).
    pub confidence: f64,
    /// The value measured on the held-out pairs; `None` if none concerns it.
    pub measured: Option<f64>,
    /// The lower bound, if this statement has one.
    pub lower: Option<f64>,
    /// The upper bound; `None` if there are too few pairs, an assumption lacks, or no spread was seen to estimate from.
    pub upper: Option<f64>,
    /// Independent pairs, or comparisons, that the bounds rest on: the held-out ones, the disjoint ones (median over
    /// the choices), or as many as have the same variance (estimated).
    pub effective_pairs: f64,
    /// How many such pairs this statement needs at least (proven); `None` if no number suffices.
    pub needed: Option<u64>,
    /// What more pairs would give.
    pub sharper: Option<Sharper>,
    /// What is assumed, in words.
    pub assumptions: String,
}

/// All statements about one population.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The pairs that are spoken of.
    pub population: Population,
    /// Held-out pairs that were used.
    pub pairs: usize,
    /// Different items among them, both sides together.
    pub items: usize,
    /// Pairs of an item with itself, left out because the population has none.
    pub self_pairs: usize,
    /// What was asked for.
    pub request: Request,
    /// What is known; exact statements first.
    pub statements: Vec<Statement>,
}

/// What [`Certificate::meets`] compares with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The upper bound of the root mean square error.
    RootMeanSquare,
    /// The tolerance of the requested share.
    Tolerance,
}

impl Certificate {
    /// The statement by which the goal's upper bound is at most `error`: an exact one if there is, else, if
    /// `asymptotic` is allowed, an asymptotic one; `None` if the goal is not met.
    ///
    /// ```
    /// use mercer::certify::{Goal, HeldOut, Request, certify};
    /// use mercer::evaluate::Population;
    ///
    /// let x: Vec<u32> = (0..100).collect();
    /// let value: Vec<f64> = x.iter().map(|&i| f64::from(i)).collect();
    /// let predicted: Vec<f64> = value.iter().map(|v| v + 0.01 * v.sin()).collect();
    /// let held_out = HeldOut { x: &x, y: &x, predicted: &predicted, value: &value, shared: false };
    /// let certificate = certify(held_out, Population::TwoNewItems, Request::default())?;
    /// assert!(certificate.meets(Goal::Tolerance, 0.01, false).is_some_and(|by| by.exact));
    /// assert!(certificate.meets(Goal::Tolerance, 0.001, true).is_none());
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn meets(&self, goal: Goal, error: f64, asymptotic: bool) -> Option<&Statement> {
        let concerns = |quantity: Quantity| match goal {
            Goal::RootMeanSquare => quantity == Quantity::RootMeanSquare,
            Goal::Tolerance => matches!(quantity, Quantity::Tolerance { .. }),
        };
        let met = |s: &&Statement| concerns(s.quantity) && s.upper.is_some_and(|upper| upper <= error);
        let found = |exact: bool| self.statements.iter().filter(|s| s.exact == exact).find(met);
        found(true).or_else(|| found(false).filter(|_| asymptotic))
    }
}

/// Certifies a model on held-out pairs for one population of new pairs.
///
/// Every statement holds by itself with the requested confidence; of `s` statements together the confidence is
/// `1 - s (1 - confidence)`. Certifying several dimensions of one model and choosing among them needs the same care.
///
/// Cost: 101 passes over the pairs for new items (100 thousand pairs: about a second on two cores).
///
/// # Errors
/// [`ErrorKind::Shape`] for slices of different lengths, [`ErrorKind::NonFinite`], [`ErrorKind::Parameter`] for a
/// request out of range, [`ErrorKind::Data`] without pairs.
pub fn certify(held_out: HeldOut<'_>, population: Population, request: Request) -> Result<Certificate> {
    held_out.check()?;
    let known = population == Population::KnownItems;
    let kept: Vec<usize> = (0..held_out.x.len()).filter(|&p| known || !held_out.joins_itself(p)).collect();
    if kept.is_empty() {
        return Err(Error::data("every held-out pair joins an item with itself", "hold out pairs of two items"));
    }
    let sample = Sample::new(&held_out, &kept);
    request.check(&sample)?;
    let mut statements = if known {
        known_items::statements(&sample, &request)
    } else {
        new_items::statements(&sample, &request, population)
    };
    statements.sort_by_key(|statement| !statement.exact);
    Ok(Certificate {
        population,
        pairs: kept.len(),
        items: sample.graph.all_items(),
        self_pairs: held_out.x.len() - kept.len(),
        request,
        statements,
    })
}

impl HeldOut<'_> {
    fn check(&self) -> Result<()> {
        let n = self.x.len();
        for (name, len) in [("y", self.y.len()), ("predicted", self.predicted.len()), ("value", self.value.len())] {
            if len != n {
                let expected = format!("{n} entries, as many as in x");
                return Err(Error::shape(format!("held-out {name}"), expected, len));
            }
        }
        if n == 0 {
            return Err(Error::data("no pairs were held out", "hold out pairs that training does not see"));
        }
        for (column, values) in [self.predicted, self.value].into_iter().enumerate() {
            if let Some(row) = values.iter().position(|v| !v.is_finite()) {
                let what = "held-out predictions (column 0) and values (column 1)".to_string();
                return Err(ErrorKind::NonFinite { what, row, column }.into());
            }
        }
        Ok(())
    }

    fn joins_itself(&self, p: usize) -> bool {
        self.shared && self.x[p] == self.y[p]
    }
}

impl Request {
    fn check(&self, sample: &Sample) -> Result<()> {
        if !(self.share > 0.0 && self.share <= 1.0 - 1e-9) {
            return Err(Error::parameter("share", "above 0 and below 1 (at most 1 - 1e-9)", self.share));
        }
        if !(self.confidence >= 0.5 && self.confidence <= 1.0 - 1e-9) {
            return Err(Error::parameter("confidence", "at least .5 and below 1 (at most 1 - 1e-9)", self.confidence));
        }
        let largest = sample.errors.iter().copied().fold(0.0, f64::max);
        if !largest.is_finite() {
            return Err(Error::data("an error of a held-out pair overflows", "scale the values down"));
        }
        if let Some(range) = self.range
            && !(range.is_finite() && range > 0.0 && range >= largest)
        {
            let expected = format!("positive, finite and at least the largest error of the held-out pairs, {largest}");
            return Err(Error::parameter("range", expected, range));
        }
        let pairs = sample.errors.len();
        match self.pairs_in_all {
            Some(all) if all <= pairs as u64 || all > MOST_PAIRS => {
                let expected = format!("more than the {pairs} held-out pairs, and at most 2^53");
                Err(Error::parameter("pairs_in_all", expected, all))
            }
            _ => Ok(()),
        }
    }
}

/// The held-out pairs that count, as the statements need them.
struct Sample {
    graph: Graph,
    errors: Vec<f64>,
    predicted: Vec<f64>,
    value: Vec<f64>,
    labels: Option<Labels>,
}

/// Two values that stand for no and yes.
#[derive(Clone, Copy)]
struct Labels {
    no: f64,
    /// All predictions lie between them.
    enclosed: bool,
}

impl Labels {
    /// `None` unless both labels occur, as 0 and 1 or as -1 and 1, and nothing else.
    fn of(predicted: &[f64], value: &[f64]) -> Option<Labels> {
        let no = [0.0, -1.0].into_iter().find(|no| value.contains(no) && value.iter().all(|v| v == no || *v == 1.0))?;
        let enclosed = predicted.iter().all(|p| (no..=1.0).contains(p));
        value.contains(&1.0).then_some(Labels { no, enclosed })
    }
}

impl Sample {
    fn new(held_out: &HeldOut<'_>, kept: &[usize]) -> Sample {
        let items = |list: &[u32]| -> Vec<u32> { kept.iter().map(|&p| list[p]).collect() };
        let numbers = |list: &[f64]| -> Vec<f64> { kept.iter().map(|&p| list[p]).collect() };
        let (predicted, value) = (numbers(held_out.predicted), numbers(held_out.value));
        Sample {
            graph: Graph::new(&items(held_out.x), &items(held_out.y), held_out.shared),
            errors: predicted.iter().zip(&value).map(|(p, v)| (p - v).abs()).collect(),
            labels: Labels::of(&predicted, &value),
            predicted,
            value,
        }
    }

    /// The smallest error that this share of the pairs does not exceed.
    fn quantile(&self, share: f64) -> f64 {
        Measure::Quantile(share).of(self.errors.iter().copied())
    }

    fn rms(&self) -> f64 {
        let scale = self.errors.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let sum: f64 = self.errors.iter().map(|e| (e / scale) * (e / scale)).sum();
        scale * (sum / self.errors.len() as f64).sqrt()
    }

    /// The root mean square error (1 if all errors are 0), and the squared errors over its square.
    fn scaled_squares(&self) -> (f64, Vec<f64>) {
        let rms = self.rms();
        let unit = if rms > 0.0 { rms } else { 1.0 };
        (unit, self.errors.iter().map(|e| (e / unit).powi(2)).collect())
    }

    /// The bound of all errors and why it holds; `None` if there is none.
    fn range(&self, request: &Request) -> Option<(f64, &'static str)> {
        let declared = request.range.map(|range| (range, "no error exceeds the declared range"));
        let natural = self.labels.filter(|l| l.enclosed).map(|l| {
            (
                1.0 - l.no,
                "predictions of new pairs lie between the labels, as all held-out ones do (a logistic link ensures it)",
            )
        });
        declared.or(natural)
    }

    /// 1 where the label is predicted wrongly; a prediction halfway between the labels is wrong.
    fn wrong_signs(&self) -> Option<Vec<f64>> {
        let middle = 0.5 * (1.0 + self.labels?.no);
        let wrong = |(p, v): (&f64, &f64)| f64::from(u8::from((p - middle) * (v - middle) <= 0.0));
        Some(self.predicted.iter().zip(&self.value).map(wrong).collect())
    }

    fn comparable(&self, a: u32, b: u32) -> bool {
        self.value[a as usize] != self.value[b as usize]
    }

    /// 1 where two pairs with different values are not ordered rightly; equal predictions are wrong.
    fn wrong_order(&self, a: u32, b: u32) -> f64 {
        let (a, b) = (a as usize, b as usize);
        f64::from(u8::from(
            (self.predicted[a] > self.predicted[b]) != (self.value[a] > self.value[b])
                || self.predicted[a] == self.predicted[b],
        ))
    }

    /// `wrong_order` of the comparable ones of a choice.
    fn orders(&self, comparisons: &[(u32, u32)]) -> Vec<f64> {
        let comparable = comparisons.iter().filter(|(a, b)| self.comparable(*a, *b));
        comparable.map(|(a, b)| self.wrong_order(*a, *b)).collect()
    }
}

/// The next share that `pairs` independent pairs do not reach, with the number that do.
fn next_share(share: f64, pairs: u64, needed: impl Fn(f64) -> Option<u64>) -> Option<Sharper> {
    SHARES.into_iter().filter(|s| *s > share).find_map(|next| {
        let needed = needed(next).filter(|needed| *needed > pairs)?;
        Some(Sharper { statement: format!("tolerance of a share {next}"), pairs: needed, evidence: Evidence::Proven })
    })
}

/// Widths fall with the square root of the number of pairs.
fn half_as_wide(effective: f64) -> Option<Sharper> {
    (effective > 0.0).then(|| Sharper {
        statement: "an interval half as wide".into(),
        pairs: (4.0 * effective).ceil() as u64,
        evidence: Evidence::Estimated,
    })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
