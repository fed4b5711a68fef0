//! Preorders: utilities that exist are found, and cycles are seen for what they are.

use crate::error::Result;
use crate::fit::{Antisymmetric, AntisymmetricOptions, Progress, Recommended, antisymmetric};
use crate::preorder::{AxiomOptions, Reading, axioms, utilities};
use crate::relation::Comparisons;
use crate::rows::Features;
use crate::seed::{Seed, Stream};
use crate::verify::Verification;

/// Random preorders that get a utility.
const PREORDERS: usize = 50;
/// Items of the cyclic tournament, each of which beats the next half.
const ITEMS: u32 = 61;
/// Comparisons of each pair of Bradley and Terry's negative control.
const REPEATS: usize = 3;

pub(crate) fn verify(found: &mut Verification, seed: Seed, progress: &dyn Progress) -> Result<()> {
    progress.stage("preorders");
    debreu(found, seed)?;
    cycles(found, seed)
}

/// Both ways with half the weight where the classes are one, else the higher one first.
fn compare_all(classes: &[u32]) -> Result<Comparisons> {
    let (mut preferred, mut other, mut weight) = (Vec::new(), Vec::new(), Vec::new());
    let mut push = |a: usize, b: usize, w: f32| {
        preferred.push(a as u32);
        other.push(b as u32);
        weight.push(w);
    };
    for a in 0..classes.len() {
        for b in 0..a {
            match classes[a].cmp(&classes[b]) {
                std::cmp::Ordering::Greater => push(a, b, 1.0),
                std::cmp::Ordering::Less => push(b, a, 1.0),
                std::cmp::Ordering::Equal => {
                    push(a, b, 0.5);
                    push(b, a, 0.5);
                }
            }
        }
    }
    Comparisons::new(vec![0; preferred.len()], preferred, other, Some(weight))
}

fn debreu(found: &mut Verification, seed: Seed) -> Result<()> {
    let mut stream = seed.stream("preorders");
    let (mut pairs, mut wrong, mut ties, mut refused) = (0, 0, 0, 0);
    for _ in 0..PREORDERS {
        let (keys, most) = (2 + stream.below(40), 1 + stream.below(20));
        let classes: Vec<u32> = (0..keys).map(|_| stream.below(most) as u32).collect();
        let comparisons = compare_all(&classes)?;
        let Some(Ok(utility)) = utilities(&comparisons, Reading::Majority).pop() else {
            refused += 1;
            continue;
        };
        for (a, &x) in utility.keys.iter().enumerate() {
            for (b, &y) in utility.keys[..a].iter().enumerate() {
                let order = classes[x as usize].cmp(&classes[y as usize]);
                pairs += 1;
                ties += usize::from(order.is_eq());
                wrong += usize::from(utility.levels[a].cmp(&utility.levels[b]) != order);
            }
        }
    }
    found.claim(
        "Debreu",
        format!("{PREORDERS} random finite preorders with ties have a utility that orders every pair as they do"),
        "no pair otherwise, no preorder without a utility".into(),
        format!("{wrong} of {pairs} pairs otherwise ({ties} of them ties), {refused} without"),
        wrong == 0 && refused == 0 && ties > 0,
    );
    Ok(())
}

fn tournament(beats: impl Fn(u32, u32) -> bool, repeats: usize) -> Result<Comparisons> {
    let (mut preferred, mut other) = (Vec::new(), Vec::new());
    for a in 0..ITEMS {
        for b in 0..a {
            for _ in 0..repeats {
                let (x, y) = if beats(a, b) { (a, b) } else { (b, a) };
                preferred.push(x);
                other.push(y);
            }
        }
    }
    Comparisons::new(vec![0; preferred.len()], preferred, other, None)
}

/// Share of the comparisons that utilities and the antisymmetric model order rightly; ties count half.
fn signs(comparisons: &Comparisons, fit: &Antisymmetric) -> Result<[f64; 2]> {
    let items = Features::one_hot(ITEMS as usize);
    let n = ITEMS as usize;
    let block = fit.encoder.block(0, &items.rows(), &items.rows())?;
    let utilities = &fit.bradley_terry.utilities;
    let share = |difference: f64| match difference {
        d if d > 0.0 => 1.0,
        d if d < 0.0 => 0.0,
        _ => 0.5,
    };
    let mut right = [0.0; 2];
    for (&a, &b) in comparisons.preferred().iter().zip(comparisons.other()) {
        let (a, b) = (a as usize, b as usize);
        right[0] += share(utilities[a] - utilities[b]);
        right[1] += share(block[a * n + b]);
    }
    Ok(right.map(|sum| sum / comparisons.len() as f64))
}

fn cycles(found: &mut Verification, seed: Seed) -> Result<()> {
    let half = (ITEMS - 1) / 2;
    let circle = tournament(|a, b| (1..=half).contains(&((b + ITEMS - a) % ITEMS)), 1)?;
    let n = u64::from(ITEMS);
    // Kendall and Babington Smith: every item beats (n - 1) / 2 others.
    let predicted = n * (n - 1) * (n - 2) / 6 - n * u64::from(half) * u64::from(half - 1) / 2;
    let report = axioms(&circle, &AxiomOptions { seed, ..AxiomOptions::default() })?;
    found.claim(
        "Debreu",
        format!("a circle of {ITEMS} items, each of which beats the next {half}, is no preorder"),
        format!("{predicted} cyclic triples, every preference contradicts a chain of others"),
        format!(
            "{} cyclic triples, {} of {} preferences; a shortest cycle is {}",
            report.pooled.triples.intransitive,
            report.pooled.cyclic,
            report.pooled.strict,
            report.cycles.first().map_or("none".to_string(), |cycle| cycle.to_string())
        ),
        report.pooled.triples.intransitive == predicted && report.pooled.cyclic == report.pooled.strict,
    );
    let options = AntisymmetricOptions { rank: Some(2), seed, ..AntisymmetricOptions::default() };
    let fit = antisymmetric(&circle, ITEMS as usize, &options)?;
    let [utility, inner] = signs(&circle, &fit)?;
    found.claim(
        "asymmetric universality",
        "no utility orders the circle, an antisymmetric inner product of rank 2 does, and is recommended".into(),
        "sign accuracy about .5 of the utility, above .99 of the inner product".into(),
        format!("{utility:.3} and {inner:.3}; recommended: {}", said(&fit)),
        (utility - 0.5).abs() < 0.1 && inner > 0.99 && recommends(&fit, Recommended::Antisymmetric),
    );
    let mut stream = seed.stream("utilities");
    let truth: Vec<f64> = (0..ITEMS).map(|_| stream.normal()).collect();
    let noisy = noisy_tournament(&truth, &mut stream)?;
    let fit = antisymmetric(&noisy, ITEMS as usize, &AntisymmetricOptions { seed, ..AntisymmetricOptions::default() })?;
    found.claim(
        "Debreu",
        "noisy comparisons by a utility ask for a utility, not for the larger model".into(),
        "recommended: a utility".into(),
        format!("recommended: {}", said(&fit)),
        recommends(&fit, Recommended::Utility),
    );
    Ok(())
}

fn recommends(fit: &Antisymmetric, model: Recommended) -> bool {
    fit.recommendation.as_ref().is_some_and(|said| said.model == model)
}

fn said(fit: &Antisymmetric) -> String {
    fit.recommendation.as_ref().map_or("nothing".into(), |said| {
        let model = if said.model == Recommended::Utility { "a utility" } else { "the antisymmetric model" };
        format!("{model}, as {}", said.reason)
    })
}

/// Every pair compared a few times with Bradley and Terry's noise.
fn noisy_tournament(truth: &[f64], stream: &mut Stream) -> Result<Comparisons> {
    let (mut preferred, mut other) = (Vec::new(), Vec::new());
    for a in 0..truth.len() {
        for b in 0..a {
            for _ in 0..REPEATS {
                let above = stream.uniform() < 1.0 / (1.0 + (truth[b] - truth[a]).exp());
                let (x, y) = if above { (a, b) } else { (b, a) };
                preferred.push(x as u32);
                other.push(y as u32);
            }
        }
    }
    Comparisons::new(vec![0; preferred.len()], preferred, other, None)
}
