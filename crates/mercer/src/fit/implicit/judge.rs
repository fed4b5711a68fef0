//! How high held-out positives stand: the figure by which the choices are made.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fit::implicit::kernels::LANE;
use crate::fit::implicit::lists::{Lists, NONE};
use crate::fit::implicit::scores::Scores;
use crate::fit::implicit::solve::Factors;
use crate::relation::Pairs;
use crate::seed::Seed;
use crate::wide::wide;

/// Queries that are looked at, at the most.
const QUERIES: usize = 1000;

/// Where positive keys stand among all keys that are not known to be positive for their query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Standing {
    /// Queries looked at.
    pub queries: usize,
    /// Their positive pairs.
    pub positives: usize,
    /// Mean over queries of the average precision.
    pub map: f64,
    /// Mean over queries of the discounted cumulative gain of the first ten, relative to the best possible.
    pub ndcg_10: f64,
    /// Mean rank of a positive among the negatives; 1 is best, equal scores share the mean of their ranks.
    pub mean_rank: f64,
}

/// One query with its positives that are judged, and everything that is no negative for it.
struct Query {
    class: u32,
    positives: Vec<u32>,
    excluded: Vec<u32>,
}

/// The queries that are looked at.
pub(crate) struct Judge {
    queries: Vec<Query>,
    keys: usize,
}

fn positive_keys(pairs: &Pairs) -> BTreeMap<u32, Vec<u32>> {
    let chunk = pairs.chunk();
    let mut of = BTreeMap::<u32, Vec<u32>>::new();
    for p in (0..pairs.len()).filter(|&p| chunk.value[p] > 0.0) {
        of.entry(chunk.x[p]).or_default().push(chunk.y[p]);
    }
    for own in of.values_mut() {
        own.sort_unstable();
        own.dedup();
    }
    of
}

impl Judge {
    /// Judges the pairs of `valid` that are not in `train`; with no such pair, how `train` itself is reconstructed.
    /// Queries that were never fitted are left out: nothing is known of them. `shared`: both sides are one set of
    /// items, and a query is no candidate of itself.
    pub(crate) fn new(queries: &Lists, keys: usize, train: &Pairs, valid: &Pairs, shared: bool, seed: Seed) -> Judge {
        let (known, held) = (positive_keys(train), positive_keys(valid));
        let none = Vec::new();
        let mut all: Vec<Query> = Vec::new();
        let mut push = |x: u32, own: &[u32], known: &[u32]| {
            let new = |y: &&u32| known.binary_search(y).is_err() && !(shared && **y == x);
            let positives: Vec<u32> = own.iter().filter(new).copied().collect();
            let mut excluded = [own, known].concat();
            excluded.extend(shared.then_some(x));
            excluded.sort_unstable();
            excluded.dedup();
            let class = queries.class[x as usize];
            if !positives.is_empty() && class != NONE {
                all.push(Query { class, positives, excluded });
            }
        };
        held.iter().for_each(|(&x, own)| push(x, own, known.get(&x).unwrap_or(&none)));
        if held.is_empty() {
            known.iter().for_each(|(&x, own)| push(x, own, &none));
        }
        if all.len() > QUERIES {
            let mut chosen = seed.stream("queries looked at").choose(all.len(), QUERIES);
            chosen.sort_unstable();
            let mut at = 0;
            all.retain(|_| {
                at += 1;
                chosen.binary_search(&(at - 1)).is_ok()
            });
        }
        Judge { queries: all, keys }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// Where the positives stand by the scores `<u_x, v_y>`; items without pairs score 0.
    pub(crate) fn judge(&self, keys: &Lists, u: &Factors, v: &Factors) -> Standing {
        let rows: Vec<f32> = self.queries.iter().flat_map(|q| u.row(q.class as usize).iter().copied()).collect();
        let related: f32 = keys.size.iter().sum();
        let unrelated = self.keys as f64 - f64::from(related);
        let ranks = |i: usize, scores: &mut [f32]| {
            let query = &self.queries[i];
            let score = |y: u32| match keys.class[y as usize] {
                NONE => 0.0,
                class => scores[class as usize],
            };
            let above = |own: f32, other: f32| match () {
                () if other > own => 1.0,
                () if other == own => 0.5,
                () => 0.0,
            };
            let rank = |own: f32| {
                let mut all = [0.0f32; 2];
                count(scores, &keys.size, own, &mut all);
                let known: f64 = query.excluded.iter().map(|&y| above(own, score(y))).sum();
                1.0 + f64::from(all[0]) + 0.5 * f64::from(all[1]) + unrelated * above(own, 0.0) - known
            };
            let mut ranks: Vec<f64> = query.positives.iter().map(|&y| rank(score(y))).collect();
            ranks.sort_by(f64::total_cmp);
            ranks
        };
        let each = Scores::new(v).each(&rows, u.width, ranks);
        let positives: usize = each.iter().map(Vec::len).sum();
        let mean = |f: fn(&[f64]) -> f64| each.iter().map(|r| f(r)).sum::<f64>() / each.len().max(1) as f64;
        Standing {
            queries: each.len(),
            positives,
            map: mean(average_precision),
            ndcg_10: mean(ndcg_10),
            mean_rank: each.iter().flatten().sum::<f64>() / positives.max(1) as f64,
        }
    }
}

/// From the increasing ranks of the positives among the negatives: the `i`-th stands at place `rank + i` of the whole
/// list.
fn average_precision(ranks: &[f64]) -> f64 {
    let precision = |(i, rank): (usize, &f64)| (i + 1) as f64 / (rank + i as f64);
    ranks.iter().enumerate().map(precision).sum::<f64>() / ranks.len() as f64
}

fn ndcg_10(ranks: &[f64]) -> f64 {
    let gain = |place: f64| if place <= 10.0 { 1.0 / (place + 1.0).log2() } else { 0.0 };
    let best: f64 = (1..=ranks.len()).map(|place| gain(place as f64)).sum();
    ranks.iter().enumerate().map(|(i, rank)| gain(rank + i as f64)).sum::<f64>() / best
}

#[inline(always)]
fn count_body<const FMA: bool>(scores: &[f32], size: &[f32], own: f32, out: &mut [f32; 2]) {
    let (mut above, mut equal) = ([0.0f32; LANE], [0.0f32; LANE]);
    let whole = scores.len() / LANE * LANE;
    for i in whole..scores.len() {
        above[0] += if scores[i] > own { size[i] } else { 0.0 };
        equal[0] += if scores[i] == own { size[i] } else { 0.0 };
    }
    let mut at = 0;
    while at < whole {
        let (s, n) = (&scores[at..at + LANE], &size[at..at + LANE]);
        for l in 0..LANE {
            above[l] += if s[l] > own { n[l] } else { 0.0 };
            equal[l] += if s[l] == own { n[l] } else { 0.0 };
        }
        at += LANE;
    }
    *out = [above.iter().sum(), equal.iter().sum()];
}
wide!(
    /// Items whose class scores above `own`, and equally; whole numbers, exact up to 2^24 items.
    fn count(scores: &[f32], size: &[f32], own: f32, out: &mut [f32; 2]) = count_body
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::implicit::lists::both_sides;

    #[test]
    fn precision_and_gain_of_worked_examples() {
        // Places 1 and 3 of the whole list: ranks 1 and 2 among the negatives.
        assert!((average_precision(&[1.0, 2.0]) - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        let best = 1.0 + 1.0 / 3f64.log2();
        assert!((ndcg_10(&[1.0, 2.0]) - (1.0 + 0.5) / best).abs() < 1e-12);
        assert_eq!(ndcg_10(&[11.0]), 0.0);
    }

    #[test]
    fn ranks_agree_with_sorting_every_item() {
        // Queries 0 and 1 are one class; keys 3 and 4 never occur and score 0; item 2 is asked about itself.
        let train = Pairs::new(vec![0, 1, 2, 2], vec![0, 0, 1, 2], vec![1.0; 4], None).unwrap();
        let valid = Pairs::new(vec![0, 2], vec![1, 3], vec![1.0; 2], None).unwrap();
        let sides = both_sides(&train, [5, 5]);
        let judge = Judge::new(&sides[0], 5, &train, &valid, true, Seed(0));
        let factors = |rows: &[f32]| Factors {
            rows: rows.iter().flat_map(|r| [vec![*r], vec![0.0; 15]].concat()).collect(),
            width: 16,
        };
        // Classes of queries: {0, 1}, {2}; of keys: {0}, {1, 2}.
        let standing = judge.judge(&sides[1], &factors(&[1.0, -1.0]), &factors(&[3.0, 2.0]));
        // Query 0: candidates 2 (score 2, ties with positive 1), 3 and 4 (0): rank 1.5. Query 2: positive 3 scores 0,
        // candidates 0 (-3) and 4 (0, a tie): rank 1.5.
        assert_eq!((standing.queries, standing.positives, standing.mean_rank), (2, 2, 1.5));
    }
}
