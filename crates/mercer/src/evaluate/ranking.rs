//! Ranking metrics: how high the related keys of each query stand among all keys.

use rayon::prelude::*;
use serde::Serialize;

use crate::encoder::DualEncoder;
use crate::error::Result;
use crate::evaluate::Scorer;
use crate::relation::Pairs;
use crate::rows::Features;

/// Filtered ranking of the positive keys of each query against all keys that are not positive for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// Queries with at least one positive key.
    pub queries: usize,
    /// Positive pairs.
    pub positives: usize,
    /// Mean rank of a positive among the negatives (1 is best; equal scores share the mean of their ranks).
    pub mean_rank: f64,
    /// Mean over queries of the average precision.
    pub map: f64,
}

impl Ranking {
    /// Ranks the pairs with positive value. Where both sides are one set of items (`keys: None`), the query itself is no candidate.
    ///
    /// Cost: `2 * queries * keys * dim` operations. `None` if no pair is positive.
    ///
    /// # Errors
    /// As [`crate::Tower::forward`].
    pub fn new(
        model: &DualEncoder,
        queries: &Features,
        keys: Option<&Features>,
        pairs: &Pairs,
    ) -> Result<Option<Ranking>> {
        let scorer = Scorer::new(model, queries, keys)?;
        let mut positives = vec![Vec::new(); queries.len()];
        let chunk = pairs.chunk();
        for p in (0..pairs.len()).filter(|&p| chunk.value[p] > 0.0) {
            if keys.is_some() || chunk.x[p] != chunk.y[p] {
                positives[chunk.x[p] as usize].push(chunk.y[p]);
            }
        }
        let count = keys.unwrap_or(queries).len();
        let each: Vec<(f64, f64, usize)> = positives
            .par_iter_mut()
            .enumerate()
            .filter(|(_, own)| !own.is_empty())
            .map(|(x, own)| {
                own.sort_unstable();
                own.dedup();
                let scores: Vec<f64> = (0..count).map(|y| scorer.score(x as u32, y as u32)).collect();
                let own_self = keys.is_none().then_some(x);
                let (rank_sum, precision) = rank_positives(&scores, own, own_self);
                (rank_sum, precision, own.len())
            })
            .collect();
        let total: usize = each.iter().map(|e| e.2).sum();
        if total == 0 {
            return Ok(None);
        }
        Ok(Some(Ranking {
            queries: each.len(),
            positives: total,
            mean_rank: each.iter().map(|e| e.0).sum::<f64>() / total as f64,
            map: each.iter().map(|e| e.1).sum::<f64>() / each.len() as f64,
        }))
    }
}

/// Sum of the filtered ranks and the average precision of one query; `positives` are increasing, `skip` is no candidate.
fn rank_positives(scores: &[f64], positives: &[u32], skip: Option<usize>) -> (f64, f64) {
    let mut negatives: Vec<f64> = (0..scores.len())
        .filter(|y| positives.binary_search(&(*y as u32)).is_err() && Some(*y) != skip)
        .map(|y| scores[y])
        .collect();
    negatives.sort_by(|a, b| b.total_cmp(a));
    let rank = |score: f64| {
        let above = negatives.partition_point(|n| *n > score);
        let equal = negatives[above..].partition_point(|n| *n >= score);
        1.0 + above as f64 + 0.5 * equal as f64
    };
    let mut ranks: Vec<f64> = positives.iter().map(|&y| rank(scores[y as usize])).collect();
    ranks.sort_by(f64::total_cmp);
    let precision: f64 = ranks.iter().enumerate().map(|(i, r)| (i as f64 + 1.0) / (r + i as f64)).sum();
    (ranks.iter().sum(), precision / ranks.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_precision_of_a_worked_example() {
        // Descending: 9 (+), 8 (-), 7 (+), 6 (-), 5 (self). Ranks among negatives: 1 and 2; precision (1 + 2/3) / 2.
        let (sum, precision) = rank_positives(&[9.0, 8.0, 7.0, 6.0, 5.0], &[0, 2], Some(4));
        assert_eq!(sum, 3.0);
        assert!((precision - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        // A tie with one negative shares ranks 1 and 2.
        assert_eq!(rank_positives(&[1.0, 1.0], &[0], None).0, 1.5);
    }
}
