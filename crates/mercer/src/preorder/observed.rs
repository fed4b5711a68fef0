//! Comparisons as relations: the pairs of keys that each query compares, with the weight on either side.

use serde::Serialize;

use crate::relation::Comparisons;

/// How the comparisons of one pair of keys become its place in the relation.
///
/// A tie is two comparisons of half the weight, one each way; both readings see it as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// `a >= b` where `a` was preferred with at least half of the pair's weight; equal weight, to the precision of `f32`, is a
    /// tie. For repeated, noisy comparisons.
    #[default]
    Majority,
    /// `a >= b` where `a` was preferred at least once; both ways is a tie. For answers that are all meant.
    Every,
}

/// Relative difference of two sums of `f32` weights that counts as none.
const EQUAL: f64 = 1e-6;

/// Two keys `a < b`, by their places among the query's keys, with the weight of comparisons either way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComparedPair {
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) wins: f64,
    pub(crate) losses: f64,
}

impl ComparedPair {
    /// 1 where `a` stands above `b`, -1 where below, 0 for a tie.
    pub(crate) fn order(&self, reading: Reading) -> i8 {
        let above = match reading {
            Reading::Every => f64::from(i8::from(self.wins > 0.0) - i8::from(self.losses > 0.0)),
            Reading::Majority if (self.wins - self.losses).abs() <= EQUAL * (self.wins + self.losses) => 0.0,
            Reading::Majority => self.wins - self.losses,
        };
        match above {
            d if d > 0.0 => 1,
            d if d < 0.0 => -1,
            _ => 0,
        }
    }
}

/// The pairs that one query compares.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) query: u32,
    /// Item index of each key that is compared, increasing; pairs name keys by their place here.
    pub(crate) keys: Vec<u32>,
    /// Number of comparisons.
    pub(crate) comparisons: usize,
    /// Each compared pair once, sorted.
    pub(crate) pairs: Vec<ComparedPair>,
}

/// Compared pairs by query, queries increasing. Cost: sorting the comparisons.
pub(crate) fn by_query(comparisons: &Comparisons) -> Vec<Observed> {
    let mut order: Vec<usize> = (0..comparisons.len()).collect();
    let cell = |&c: &usize| {
        let (a, b) = (comparisons.preferred()[c], comparisons.other()[c]);
        (comparisons.query()[c], a.min(b), a.max(b), c)
    };
    order.sort_unstable_by_key(cell);
    let same = |a: &usize, b: &usize| comparisons.query()[*a] == comparisons.query()[*b];
    order.chunk_by(same).map(|own| observed(comparisons, own)).collect()
}

/// The compared pairs of all queries together; keys keep their item indices.
pub(crate) fn pooled(comparisons: &Comparisons) -> Vec<ComparedPair> {
    let mut order: Vec<usize> = (0..comparisons.len()).collect();
    order.sort_unstable_by_key(|&c| (cell(comparisons, c), c));
    merged(comparisons, &order)
}

fn cell(comparisons: &Comparisons, c: usize) -> (u32, u32) {
    let (a, b) = (comparisons.preferred()[c], comparisons.other()[c]);
    (a.min(b), a.max(b))
}

/// Sums the weights of each run of comparisons of one pair.
fn merged(comparisons: &Comparisons, sorted: &[usize]) -> Vec<ComparedPair> {
    let runs = sorted.chunk_by(|&a, &b| cell(comparisons, a) == cell(comparisons, b));
    runs.map(|run| {
        let (a, b) = cell(comparisons, run[0]);
        let mut pair = ComparedPair { a, b, wins: 0.0, losses: 0.0 };
        for &c in run {
            let weight = comparisons.weight().map_or(1.0, |w| f64::from(w[c]));
            let side = if comparisons.preferred()[c] == a { &mut pair.wins } else { &mut pair.losses };
            *side += weight;
        }
        pair
    })
    .collect()
}

fn observed(comparisons: &Comparisons, own: &[usize]) -> Observed {
    let mut pairs = merged(comparisons, own);
    let mut keys: Vec<u32> = pairs.iter().flat_map(|p| [p.a, p.b]).collect();
    keys.sort_unstable();
    keys.dedup();
    let place = |key: u32| keys.partition_point(|&k| k < key) as u32;
    pairs.iter_mut().for_each(|p| (p.a, p.b) = (place(p.a), place(p.b)));
    Observed { query: comparisons.query()[own[0]], keys, comparisons: own.len(), pairs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_comparisons_are_summed_and_ties_are_seen() {
        let weights = vec![1.0, 1.0, 1.0, 0.5, 0.5, 0.1];
        let comparisons =
            Comparisons::new(vec![7, 7, 7, 3, 3, 3], vec![4, 9, 4, 2, 1, 1], vec![9, 4, 9, 1, 2, 5], Some(weights))
                .unwrap();
        let all = by_query(&comparisons);
        assert_eq!(all.iter().map(|o| o.query).collect::<Vec<_>>(), [3, 7]);
        assert_eq!((&all[0].keys[..], &all[1].keys[..]), (&[1, 2, 5][..], &[4, 9][..]));
        let orders =
            |reading| all.iter().flat_map(|o| o.pairs.iter().map(move |p| p.order(reading))).collect::<Vec<_>>();
        assert_eq!(orders(Reading::Majority), [0, 1, 1]);
        assert_eq!(orders(Reading::Every), [0, 1, 0]);
        assert_eq!(pooled(&comparisons).len(), 3);
    }
}
