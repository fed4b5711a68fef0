//! Preferences that no utility represents: `r(a, b) = <phi(a), J phi(b)>` with antisymmetric `J`.
//!
//! `J` is block-diagonal with blocks `[[0, 1], [-1, 0]]`, so `r(a, b) = sum over blocks of x(a) y(b) - y(a) x(b) = -r(b, a)`:
//! the log-odds that `a` is preferred to `b`. A utility `u(a) - u(b)` is the block `x = u`, `y = 1`. Rock, paper, scissors are
//! three points on a circle.

mod blocks;
mod likelihood;
mod recommend;

pub use recommend::{HeldOutOrder, HeldOutUnit, Recommendation, Recommended};

use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::fit::antisymmetric::likelihood::{Terms, fit};
use crate::fit::antisymmetric::recommend::{Parts, recommend};
use crate::fit::{Choice, Outcome};
use crate::preorder::{Answers, Estimated, LikelihoodOptions, bradley_terry};
use crate::relation::Comparisons;
use crate::seed::Seed;

/// How [`antisymmetric`] fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AntisymmetricOptions {
    /// Rank, an even number; `None`: by the likelihood of held-out comparisons.
    pub rank: Option<usize>,
    /// Ridge `lambda` of `lambda / 2` times the squared parameters; `None`: likewise.
    pub ridge: Option<f64>,
    /// Share of the compared pairs held out to choose, and again to report; above 0 and at most a third.
    pub held_out: f64,
    /// Steps of one optimisation at most.
    pub steps: usize,
    /// Seed of the hold-out and of the decompositions.
    pub seed: Seed,
}

impl Default for AntisymmetricOptions {
    fn default() -> Self {
        AntisymmetricOptions { rank: None, ridge: None, held_out: 0.2, steps: 300, seed: Seed(0) }
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
        if !(self.held_out > 0.0 && self.held_out <= 1.0 / 3.0) {
            return Err(Error::parameter("held-out share", "above 0 and at most a third", self.held_out));
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
    /// Mean negative log-likelihood of the comparisons held out to choose, in nats.
    pub log_loss: f64,
}

/// An antisymmetric model, and whether it is needed.
#[derive(Clone, Debug)]
pub struct Antisymmetric {
    /// The model: an id table of class asymmetric whose inner product is the log-odds that the query item is preferred to the
    /// key item. Blocks of two coordinates by decreasing size, so [`DualEncoder::truncate`] to an even dimension gives the best
    /// smaller one; `with_link(Link::LOGISTIC)` makes its values probabilities.
    pub encoder: DualEncoder,
    /// Rank: twice the number of blocks.
    pub rank: usize,
    /// Whether one block was bound to be a utility.
    pub utility: bool,
    /// Ridge.
    pub ridge: f64,
    /// Bradley and Terry's model of the same comparisons, with the penalty that the held-out comparisons chose.
    pub bradley_terry: Estimated,
    /// Which of the two to use; `None` with fewer than 8 comparisons, of which nothing can be held out.
    pub recommendation: Option<Recommendation>,
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
/// From the leading blocks of the antisymmetric matrix of observed log-odds, L-BFGS minimises `sum w ln(1 + exp(-r(preferred,
/// other))) + ridge / 2 |parameters|^2`. Rank, ridge and whether one block is a utility are those of the best likelihood on a
/// random part of the compared pairs, all comparisons of a pair together. Bradley and Terry's model is fitted to the same
/// comparisons, and [`Recommendation`] compares both on another part that neither has seen. Below 2000 pairs the parts change
/// places, until every pair was held out once or ten times are over (cross-validation). The models returned are fitted to
/// everything.
///
/// Where fewer than 40 pairs are compared, single comparisons are held out instead of pairs. A comparison counts as one
/// observation whatever its weight: repeated answers should be repeated rows.
///
/// # Errors
/// [`crate::ErrorKind::Data`] without comparisons, [`crate::ErrorKind::Shape`] if one names an item beyond `items`,
/// [`crate::ErrorKind::Parameter`] for options out of range.
///
/// Cost: some twenty optimisations a hold-out where the data choose, each of at most `steps` passes over the compared pairs
/// times the rank. Source: Chen and Joachims, *Modeling intransitivity in matchup and comparison data*, 2016 (blade-chest inner
/// product); Jiang and others, *Statistical ranking and combinatorial Hodge theory*, 2011.
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
/// assert_eq!(fit.recommendation.unwrap().model, Recommended::Antisymmetric);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn antisymmetric(comparisons: &Comparisons, items: usize, options: &AntisymmetricOptions) -> Result<Antisymmetric> {
    options.check()?;
    let queries = comparisons.query().iter().max().map_or(0, |&q| q as usize + 1);
    comparisons.check_items(queries, items)?;
    if comparisons.is_empty() {
        return Err(Error::data("there is no comparison", "give comparisons of at least two items"));
    }
    let mut choices = Vec::new();
    let mut rounds = Vec::new();
    let parts = Parts::draw(comparisons, options.held_out, options.seed);
    if let Some(parts) = &parts {
        choices.push(Choice::new("hold-out", parts.unit.name(), parts.told()));
        for r in 0..parts.rounds() {
            rounds.push(round(&parts.tables(comparisons, r), items, options)?);
        }
    }
    let sizes = common(&rounds);
    let best = best(&sizes).unwrap_or_else(|| untested(options));
    choices.push(described(&best, options));
    let penalty = best_penalty(rounds.iter().map(|r| r.penalties)).unwrap_or(0.5 * best.ridge);
    choices.push(Choice::new("penalty of Bradley and Terry's model", penalty, "the same comparisons"));
    let recommendation = parts.as_ref().map(|parts| recommend(&rounds, parts.unit));

    let whole = fit(comparisons, items, best.terms(), best.ridge, options);
    let embeddings = blocks::canonical(&whole)?;
    Ok(Antisymmetric {
        encoder: blocks::encoder(&embeddings, items)?,
        rank: best.rank,
        utility: best.utility,
        ridge: best.ridge,
        bradley_terry: bradley_terry(
            comparisons,
            items,
            &LikelihoodOptions { penalty, ..LikelihoodOptions::default() },
        )?,
        recommendation,
        sizes,
        outcome: if whole.converged { Outcome::Converged } else { Outcome::StepLimit },
        steps: whole.steps,
        choices,
    })
}

/// One hold-out: both models chosen on its second part and judged on its third.
pub(crate) struct Round {
    sizes: Vec<AntisymmetricSize>,
    /// Loss of each of [`PENALTIES`].
    penalties: [f64; PENALTIES.len()],
    /// Comparisons that neither model has seen.
    report: Comparisons,
    /// Log-odds of each by Bradley and Terry's model, and by the antisymmetric one.
    log_odds: [Vec<f64>; 2],
}

fn round([train, choose, report]: &[Comparisons; 3], items: usize, options: &AntisymmetricOptions) -> Result<Round> {
    let sizes = candidates(train, choose, items, options)?;
    let best = best(&sizes).unwrap_or_else(|| untested(options));
    let mut penalties = [0.0; PENALTIES.len()];
    for (penalty, loss) in PENALTIES.into_iter().zip(&mut penalties) {
        let u = bradley_terry(train, items, &without_errors(penalty))?.utilities;
        *loss = mean_loss(choose, |a, b| u[a as usize] - u[b as usize]);
    }
    // What was held out to choose is fitted now.
    let seen = joined(train, choose)?;
    let larger = fit(&seen, items, best.terms(), best.ridge, options);
    let penalty = best_penalty([penalties].into_iter()).unwrap_or(PENALTIES[0]);
    let u = bradley_terry(&seen, items, &without_errors(penalty))?.utilities;
    let of = |c: usize| (report.preferred()[c], report.other()[c]);
    let smaller = (0..report.len()).map(of).map(|(a, b)| u[a as usize] - u[b as usize]).collect();
    let larger = (0..report.len()).map(of).map(|(a, b)| larger.log_odds(a, b)).collect();
    Ok(Round { sizes, penalties, report: report.clone(), log_odds: [smaller, larger] })
}

/// All comparisons of several tables.
pub(crate) fn joined(first: &Comparisons, second: &Comparisons) -> Result<Comparisons> {
    let tables = [first, second];
    let column = |of: fn(&Comparisons) -> &[u32]| tables.iter().flat_map(|t| of(t)).copied().collect();
    let weight = tables.iter().flat_map(|t| (0..t.len()).map(|c| t.weight().map_or(1.0, |w| w[c]))).collect();
    Comparisons::new(
        column(Comparisons::query),
        column(Comparisons::preferred),
        column(Comparisons::other),
        Some(weight),
    )
}

/// The candidates that every round tried, with their mean loss.
fn common(rounds: &[Round]) -> Vec<AntisymmetricSize> {
    let same =
        |a: &AntisymmetricSize, b: &AntisymmetricSize| (a.rank, a.utility, a.ridge) == (b.rank, b.utility, b.ridge);
    let mean = |size: &AntisymmetricSize| {
        let losses: Option<Vec<f64>> =
            rounds.iter().map(|r| r.sizes.iter().find(|s| same(s, size)).map(|s| s.log_loss)).collect();
        losses.map(|l| AntisymmetricSize { log_loss: l.iter().sum::<f64>() / l.len() as f64, ..*size })
    };
    rounds.first().map_or(Vec::new(), |r| r.sizes.iter().filter_map(mean).collect())
}

fn best(sizes: &[AntisymmetricSize]) -> Option<AntisymmetricSize> {
    sizes.iter().min_by(|a, b| a.log_loss.total_cmp(&b.log_loss)).copied()
}

/// What is fitted where nothing can be held out.
fn untested(options: &AntisymmetricOptions) -> AntisymmetricSize {
    let (rank, ridge) = (options.rank.unwrap_or(2), options.ridge.unwrap_or(RIDGES[1]));
    AntisymmetricSize { rank, utility: false, ridge, log_loss: f64::NAN }
}

/// The penalty of least loss, summed over rounds; `None` without a round.
fn best_penalty(losses: impl Iterator<Item = [f64; PENALTIES.len()]>) -> Option<f64> {
    let sums = losses.reduce(|mut sums, round| {
        sums.iter_mut().zip(round).for_each(|(s, l)| *s += l);
        sums
    })?;
    let least = (0..PENALTIES.len()).min_by(|&a, &b| sums[a].total_cmp(&sums[b]))?;
    Some(PENALTIES[least])
}

impl AntisymmetricSize {
    fn terms(&self) -> Terms {
        Terms { utility: self.utility, blocks: self.rank / 2 - usize::from(self.utility) }
    }
}

/// For estimates that only predict.
fn without_errors(penalty: f64) -> LikelihoodOptions {
    LikelihoodOptions { penalty, tolerance: 1e-9, dense: 0, ..LikelihoodOptions::default() }
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
        loss += weight * Answers::at(log_odds(comparisons.preferred()[c], comparisons.other()[c])).losses[0];
        all += weight;
    }
    loss / all
}

fn described(best: &AntisymmetricSize, options: &AntisymmetricOptions) -> Choice {
    let form = if best.utility { ", one block a utility" } else { "" };
    let value = format!("{}{form}, ridge {}", best.rank, best.ridge);
    let reason = match (options.rank, options.ridge) {
        (Some(_), Some(_)) => "as given".into(),
        _ if best.log_loss.is_nan() => "too few comparisons to hold some out: the smallest rank".into(),
        _ => format!("the best likelihood of held-out comparisons: {:.4} nats lost each", best.log_loss),
    };
    Choice::new("rank", value, reason)
}
