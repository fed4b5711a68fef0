//! Preferences that no utility represents: `r(a, b) = <phi(a), J phi(b)>` with antisymmetric `J`.
//!
//! `J` is block-diagonal with blocks `[[0, 1], [-1, 0]]`, so `r(a, b) = sum over blocks of x(a) y(b) - y(a) x(b) = -r(b, a)`: the log-odds that `a`
//! is preferred to `b`. A utility `u(a) - u(b)` is the block `x = u`, `y = 1`. Rock, paper, scissors are three points on a circle.

mod blocks;
mod likelihood;
mod recommend;

pub use recommend::{HeldOutOrder, HeldOutUnit, Recommendation, Recommended};

use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::fit::antisymmetric::likelihood::{Terms, fit};
use crate::fit::antisymmetric::recommend::{Parts, recommend};
use crate::fit::{Choice, Outcome};
use crate::preorder::{Estimated, LikelihoodOptions, bradley_terry};
use crate::relation::Comparisons;
use crate::seed::Seed;

/// How [`antisymmetric`] fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AntisymmetricOptions {
    /// Rank, an even number; `None`: by the likelihood of held-out comparisons.
    pub rank: Option<usize>,
    /// Ridge `lambda` of `lambda / 2` times the squared parameters; `None`: likewise.
    pub ridge: Option<f64>,
    /// Share of the compared pairs held out to choose, and again to report; above 0 and below .5.
    pub held_out: f64,
    /// Steps of one optimisation at most.
    pub steps: usize,
    /// Seed of the hold-out and of the decompositions.
    pub seed: Seed,
}

impl Default for AntisymmetricOptions {
    fn default() -> Self {
        AntisymmetricOptions { rank: None, ridge: None, held_out: 0.15, steps: 300, seed: Seed(0) }
    }
}

impl AntisymmetricOptions {
    fn check(&self) -> Result<()> {
        if let Some(rank) = self.rank.filter(|r| *r == 0 || *r > MOST_RANK || !r.is_multiple_of(2)) {
            return Err(Error::parameter("rank", format!("an even number from 2 to {MOST_RANK}"), rank));
        }
        if let Some(ridge) = self.ridge.filter(|r| !(*r > 0.0 && r.is_finite())) {
            return Err(Error::parameter("ridge", "a positive number", ridge));
        }
        if !(self.held_out > 0.0 && self.held_out < 0.5) {
            return Err(Error::parameter("held-out share", "above 0 and below .5", self.held_out));
        }
        if self.steps == 0 {
            return Err(Error::parameter("steps", "at least 1", 0));
        }
        Ok(())
    }
}

/// The largest rank that can be asked for.
const MOST_RANK: usize = 256;
/// The largest rank that is tried where the data choose.
const MOST_TRIED: usize = 16;
/// Ridges that compete where the data choose.
const RIDGES: [f64; 3] = [0.03, 0.3, 3.0];
/// Penalties `alpha` that compete for Bradley and Terry's model: half of a ridge is the same penalty.
const PENALTIES: [f64; 4] = [0.0005, 0.015, 0.15, 1.5];

/// Held-out loss of one candidate.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct AntisymmetricSize {
    /// Rank.
    pub rank: usize,
    /// Whether one block is a utility (with `y = 1`).
    pub utility: bool,
    /// Ridge.
    pub ridge: f64,
    /// Mean negative log-likelihood of the held-out comparisons, in nats.
    pub log_loss: f64,
}

/// An antisymmetric model, and whether it is needed.
#[derive(Clone, Debug)]
pub struct Antisymmetric {
    /// The model: an id table of class asymmetric whose inner product is the log-odds that the query item is preferred to the key
    /// item. Blocks of two coordinates by decreasing size, so [`DualEncoder::truncate`] to an even dimension gives the best smaller one;
    /// `with_link(Link::LOGISTIC)` makes its values probabilities.
    pub encoder: DualEncoder,
    /// Rank: twice the number of blocks.
    pub rank: usize,
    /// Whether one block was bound to be a utility.
    pub utility: bool,
    /// Ridge.
    pub ridge: f64,
    /// Bradley and Terry's model of the same comparisons, with the penalty that the held-out comparisons chose.
    pub bradley_terry: Estimated,
    /// Which of the two to use.
    pub recommendation: Recommendation,
    /// Every candidate's held-out loss.
    pub sizes: Vec<AntisymmetricSize>,
    /// How the last optimisation ended.
    pub outcome: Outcome,
    /// Its steps.
    pub steps: usize,
    /// Every choice, in order.
    pub choices: Vec<Choice>,
}

/// Fits `P(a preferred to b) = 1 / (1 + exp(-<phi(a), J phi(b)>))` to comparisons of `items` ids, whatever their query.
///
/// From the leading blocks of the antisymmetric matrix of observed log-odds, L-BFGS minimises
/// `sum w ln(1 + exp(-r(preferred, other))) + ridge / 2 |parameters|^2`. Rank, ridge and whether one block is a utility are those of the
/// best likelihood on a random part of the compared pairs, all comparisons of a pair together. Bradley and Terry's model is fitted
/// to the same comparisons, and [`Recommendation`] compares both on another part that neither has seen; the models returned are
/// fitted to everything.
///
/// Where fewer than 40 pairs are compared, single comparisons are held out instead of pairs.
///
/// # Errors
/// [`crate::ErrorKind::Data`] with fewer than 8 comparisons, [`crate::ErrorKind::Shape`] if one names an item beyond `items`,
/// [`crate::ErrorKind::Parameter`] for options out of range.
///
/// Cost: about twenty optimisations where the data choose, each `steps` passes over the compared pairs times the rank.
/// Source: Chen and Joachims, *Modeling intransitivity in matchup and comparison data*, 2016 (blade-chest inner product); Jiang and others,
/// *Statistical ranking and combinatorial Hodge theory*, 2011.
///
/// ```
/// use mercer::fit::{AntisymmetricOptions, Recommended, antisymmetric};
/// use mercer::{Class, Comparisons};
/// // Each of 21 items beats the ten after it on a circle.
/// let pairs: Vec<(u32, u32)> = (0..21).flat_map(|i| (1..11).map(move |d| (i, (i + d) % 21))).collect();
/// let (preferred, other) = pairs.iter().copied().unzip();
/// let comparisons = Comparisons::new(vec![0; pairs.len()], preferred, other, None)?;
/// let fit = antisymmetric(&comparisons, 21, &AntisymmetricOptions { rank: Some(2), ..Default::default() })?;
/// assert_eq!((fit.encoder.class(), fit.rank), (Class::Asymmetric, 2));
/// assert_eq!(fit.recommendation.model, Recommended::Antisymmetric);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn antisymmetric(
    comparisons: &Comparisons,
    items: usize,
    options: &AntisymmetricOptions,
) -> Result<Antisymmetric> {
    options.check()?;
    let queries = comparisons.query().iter().max().map_or(0, |&q| q as usize + 1);
    comparisons.check_items(queries, items)?;
    let parts = Parts::draw(comparisons, options.held_out, options.seed)?;
    let [train, choose, report] = parts.tables(comparisons);
    let mut choices = vec![Choice::new("hold-out", parts.unit.name(), parts.told())];

    let sizes = candidates(&train, &choose, items, options)?;
    let best = *sizes.iter().min_by(|a, b| a.log_loss.total_cmp(&b.log_loss)).ok_or_else(no_candidate)?;
    choices.push(described(&best, options));
    let penalty = penalty(&train, &choose, items)?;
    choices.push(Choice::new("penalty of Bradley and Terry's model", penalty, "the same comparisons"));

    let before = parts.before_report(comparisons);
    let own = fit(&before, items, best.terms(), best.ridge, options);
    let rival = bradley_terry(&before, items, &likelihood_options(penalty))?;
    let recommendation = recommend(&report, parts.unit, &own, &rival.utilities);

    let whole = fit(comparisons, items, best.terms(), best.ridge, options);
    let embeddings = blocks::canonical(&whole)?;
    Ok(Antisymmetric {
        encoder: blocks::encoder(&embeddings, items)?,
        rank: best.rank,
        utility: best.utility,
        ridge: best.ridge,
        bradley_terry: bradley_terry(comparisons, items, &likelihood_options(penalty))?,
        recommendation,
        sizes,
        outcome: if whole.converged { Outcome::Converged } else { Outcome::StepLimit },
        steps: whole.steps,
        choices,
    })
}

impl AntisymmetricSize {
    fn terms(&self) -> Terms {
        Terms { utility: self.utility, blocks: self.rank / 2 - usize::from(self.utility) }
    }
}

fn no_candidate() -> Error {
    Error::data("no model was fitted", "give a rank from 2 on")
}

fn likelihood_options(penalty: f64) -> LikelihoodOptions {
    LikelihoodOptions { penalty, tolerance: 1e-9, ..LikelihoodOptions::default() }
}

/// Larger ranks are tried as long as they win: two in a row that do not end the search.
fn candidates(
    train: &Comparisons,
    choose: &Comparisons,
    items: usize,
    options: &AntisymmetricOptions,
) -> Result<Vec<AntisymmetricSize>> {
    let most = MOST_TRIED.min(items - items % 2);
    let ranks = options.rank.map_or_else(|| (2..=most.max(2)).step_by(2).collect(), |rank| vec![rank]);
    let ridges: Vec<f64> = options.ridge.map_or(RIDGES.to_vec(), |ridge| vec![ridge]);
    let (mut all, mut best, mut lost): (Vec<AntisymmetricSize>, _, _) = (Vec::new(), f64::INFINITY, 0);
    for rank in ranks {
        let before = best;
        // A utility alone is Bradley and Terry's model.
        for utility in [false, true].into_iter().filter(|utility| !utility || rank > 2) {
            for &ridge in &ridges {
                let mut size = AntisymmetricSize { rank, utility, ridge, log_loss: f64::INFINITY };
                let fitted = fit(train, items, size.terms(), ridge, options);
                size.log_loss = mean_loss(choose, |a, b| fitted.log_odds(a, b));
                best = best.min(size.log_loss);
                all.push(size);
            }
        }
        lost = if best < before { 0 } else { lost + 1 };
        if lost == 2 {
            break;
        }
    }
    if all.iter().any(|size| !size.log_loss.is_finite()) {
        return Err(Error::data("a fit left the finite numbers", "give a larger ridge, or smaller weights"));
    }
    Ok(all)
}

/// Weighted mean of `ln(1 + e^-s)` over comparisons.
fn mean_loss(comparisons: &Comparisons, log_odds: impl Fn(u32, u32) -> f64) -> f64 {
    let (mut loss, mut all) = (0.0, 0.0);
    for c in 0..comparisons.len() {
        let weight = comparisons.weight().map_or(1.0, |w| f64::from(w[c]));
        loss += weight * likelihood::loss(log_odds(comparisons.preferred()[c], comparisons.other()[c]));
        all += weight;
    }
    loss / all
}

/// The penalty of Bradley and Terry's model with the best held-out likelihood.
fn penalty(train: &Comparisons, choose: &Comparisons, items: usize) -> Result<f64> {
    let mut best = (f64::INFINITY, PENALTIES[0]);
    for penalty in PENALTIES {
        let u = bradley_terry(train, items, &likelihood_options(penalty))?.utilities;
        let loss = mean_loss(choose, |a, b| u[a as usize] - u[b as usize]);
        if loss < best.0 {
            best = (loss, penalty);
        }
    }
    Ok(best.1)
}

fn described(best: &AntisymmetricSize, options: &AntisymmetricOptions) -> Choice {
    let form = if best.utility { ", one block a utility" } else { "" };
    let value = format!("{}{form}, ridge {}", best.rank, best.ridge);
    let reason = match (options.rank, options.ridge) {
        (Some(_), Some(_)) => "as given".into(),
        _ => format!("the best likelihood of held-out comparisons, {:.4} nats each", -best.log_loss),
    };
    Choice::new("rank", value, reason)
}
