//! Which feature maps serve a joint utility: a contest on a part of the comparisons, each side on its own.

use crate::fit::Choice;
use crate::fit::features::FeatureMap;
use crate::fit::utility::grouped::Grouped;
use crate::fit::utility::likelihood::Compared;
use crate::fit::utility::recipes::recipes;
use crate::fit::utility::{Descent, UtilityProblem, descend_core};
use crate::linalg::Matrix;
use crate::relation::Comparisons;
use crate::rows::Features;
use crate::seed::Seed;

/// Comparisons that feature maps compete on.
const COMPARISONS: usize = 10_000;
/// Features of each side at the most, in the contest.
const FEATURES: usize = 64;
/// Features of each side at the most, in what the winners are.
const RANK: usize = 300;
/// The ridges.
const RIDGES: [f64; 5] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6];
/// Entries of the core times queries times steps at each ridge, and the steps that this may come to: small cores, which cost
/// little, may take more.
const WORK: usize = 600_000_000;
const STEPS: [usize; 2] = [10, 50];
/// A descent of the contest ends where it gains less than this share of the loss.
const GAIN: f64 = 1e-4;

/// One pair of maps and how it did.
struct Entry {
    maps: [usize; 2],
    /// Entries of the core.
    size: usize,
    /// Held-out loss of each comparison.
    losses: Vec<f64>,
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1) as f64;
    values.sum::<f64>() / n
}

impl Entry {
    fn mean(&self) -> f64 {
        mean(self.losses.iter().copied())
    }

    /// Whether the mean loss is within one standard error of the other's, comparison by comparison.
    fn is_level_with(&self, other: &Entry) -> bool {
        is_level(&self.losses, &other.losses)
    }
}

/// Whether the mean of `losses` is within one standard error of that of `others`, comparison by comparison.
pub(crate) fn is_level(losses: &[f64], others: &[f64]) -> bool {
    let differences = || losses.iter().zip(others).map(|(a, b)| a - b);
    let centre = mean(differences());
    let variance = mean(differences().map(|d| (d - centre) * (d - centre)));
    centre <= (variance / losses.len().max(1) as f64).sqrt()
}

/// The smallest core that is level with the best one.
fn winner(entries: &[Entry]) -> Option<&Entry> {
    let best = entries.iter().min_by(|a, b| a.mean().total_cmp(&b.mean()))?;
    entries.iter().filter(|e| e.is_level_with(best)).min_by_key(|e| e.size)
}

/// A part of the comparisons, and each recipe's values there: one matrix a recipe.
struct Part<'a> {
    group: Grouped<'a>,
    f: Vec<Matrix>,
    h: Vec<Matrix>,
}

impl Part<'_> {
    fn compared(&self, [x, y]: [usize; 2]) -> Compared<'_> {
        Compared { f: &self.f[x], starts: &self.group.starts, h: &self.h[y], weight: &self.group.weight }
    }
}

/// The maps of both sides that do best together; `None` where no map fits a side.
///
/// First both sides take the same recipe, then one of them is linear, then the queries change theirs, then the keys.
pub(crate) fn contest(problem: &UtilityProblem<'_>, seed: Seed, choices: &mut Vec<Choice>) -> Option<[FeatureMap; 2]> {
    let query_maps = recipes(&used(problem.queries, problem.train.query()), RANK, seed, "query units");
    let names = [problem.train.preferred(), problem.train.other()].concat();
    let key_maps = recipes(&used(problem.keys, &names), RANK, seed, "key units");
    if query_maps.is_empty() || key_maps.is_empty() {
        return None;
    }
    let part = |of: &Comparisons, name: &str| {
        let chosen = of.select(&seed.stream(name).choose(of.len(), COMPARISONS.min(of.len())));
        let group = Grouped::new(&chosen, problem.queries, problem.keys);
        let f = query_maps.iter().map(|(_, map)| group.query_features(&map.leading(FEATURES))).collect();
        let h = key_maps.iter().map(|(_, map)| group.differences(&map.leading(FEATURES))).collect();
        Part { group, f, h }
    };
    let (train, valid) = (part(problem.train, "contest"), part(problem.valid, "contest held out"));
    let mut entries: Vec<Entry> = Vec::new();
    let mut attempt = |maps: [usize; 2]| -> Option<[usize; 2]> {
        if !entries.iter().any(|e| e.maps == maps) {
            let own = train.compared(maps);
            let size = own.f.rows() * own.h.rows();
            let steps = (WORK / (size * own.f.columns()).max(1)).clamp(STEPS[0], STEPS[1]);
            let found = descend_core(&own, &valid.compared(maps), &RIDGES, Descent { steps, gain: GAIN });
            entries.push(Entry { maps, size, losses: found.losses });
        }
        winner(&entries).map(|e| e.maps)
    };
    let [most_x, most_y] = [query_maps.len(), key_maps.len()];
    let mut at = [0, 0];
    for i in 0..most_x.max(most_y) {
        at = attempt([i.min(most_x - 1), i.min(most_y - 1)])?;
    }
    // What is linear in one side costs little and may be all there is: a noisy contest of equal recipes does not show it.
    for i in 1..most_x {
        at = attempt([i, 0])?;
    }
    for j in 1..most_y {
        at = attempt([0, j])?;
    }
    let key = at[1];
    for i in 0..most_x {
        at = attempt([i, key])?;
    }
    let query = at[0];
    for j in 0..most_y {
        at = attempt([query, j])?;
    }
    let [x, y] = at;
    let won = winner(&entries)?;
    let name = format!("queries: {}; keys: {}", query_maps[x].0, key_maps[y].0);
    let best = entries.iter().map(Entry::mean).fold(f64::INFINITY, f64::min);
    let reason = format!(
        "the smallest of {} pairs of feature maps within a standard error of the lowest held-out loss ({:.4}; lowest {best:.4})",
        entries.len(),
        won.mean(),
    );
    choices.push(Choice::new("units", name, reason));
    Some([query_maps[x].1.clone(), key_maps[y].1.clone()])
}

/// The items that are named, each once.
fn used(items: &Features, names: &[u32]) -> Features {
    let mut seen = vec![false; items.len()];
    names.iter().for_each(|&i| seen[i as usize] = true);
    items.select(&(0..items.len()).filter(|&i| seen[i]).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_core_wins_only_where_it_is_level() {
        let entry = |size: usize, losses: &[f64]| Entry { maps: [size, 0], size, losses: losses.to_vec() };
        // Worse on average by 0.005, with differences of +-0.1: no evidence.
        let noisy: Vec<f64> = (0..100).map(|i| 0.505 + if i % 2 == 0 { 0.1 } else { -0.1 }).collect();
        // Worse by 0.05 on every comparison: clear.
        let entries = [entry(9, &[0.5; 100]), entry(4, &noisy), entry(1, &[0.55; 100])];
        assert_eq!(winner(&entries).unwrap().size, 4);
        assert_eq!(winner(&entries[..1]).unwrap().size, 9);
        assert!(winner(&[]).is_none());
    }
}
