//! Whether two lists of values agree in their order: rank correlations, over all pairs and for each query.

use rayon::prelude::*;
use serde::Serialize;

use crate::evaluate::Estimate;
use crate::evaluate::estimate::{Part, Sums};
use crate::relation::Pairs;

/// Ranks from 1, equal values at their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| (values[a] + 0.0).total_cmp(&(values[b] + 0.0)));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + 0.5 * (tied.len() as f64 + 1.0);
        tied.iter().for_each(|&i| ranks[i] = rank);
        first += tied.len();
    }
    ranks
}

fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(x - ma, y - mb)).sum::<f64>();
    let (ab, aa, bb) = (sum(&|x, y| x * y), sum(&|x, _| x * x), sum(&|_, y| y * y));
    (aa > 0.0 && bb > 0.0).then(|| (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0))
}

/// Whether two lists can be compared: of one length, no NaN.
fn comparable(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && !a.iter().chain(b).any(|v| v.is_nan())
}

/// Spearman's rank correlation, ties at their mean rank. Cost: two sorts.
///
/// `None` where one side is constant, the lengths differ or a value is NaN.
///
/// ```
/// assert_eq!(mercer::evaluate::spearman(&[1.0, 2.0, 3.0], &[9.0, 5.0, 1.0]), Some(-1.0));
/// ```
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    comparable(a, b).then(|| correlation(&ranks(a), &ranks(b))).flatten()
}

/// Kendall's rank correlation with its correction for ties:
/// `tau_b = (concordant - discordant) / sqrt((n0 - ties in a)(n0 - ties in b))` with `n0 = n (n - 1) / 2` and ties counted in pairs.
///
/// `None` where one side is constant, the lengths differ or a value is NaN. Cost: `O(n log n)`, by counting the exchanges of a
/// merge sort (W. R. Knight, A computer method for calculating Kendall's tau with ungrouped data, JASA 61, 1966).
///
/// ```
/// let tau = mercer::evaluate::kendall(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).unwrap();
/// assert!((tau - 2.0 / 3.0).abs() < 1e-12);
/// ```
pub fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    if !comparable(a, b) || a.is_empty() {
        return None;
    }
    // Zeros of both signs are equal; adding zero makes them so in every order.
    let mut sorted: Vec<(f64, f64)> = a.iter().zip(b).map(|(a, b)| (a + 0.0, b + 0.0)).collect();
    sorted.sort_by(|p, q| p.0.total_cmp(&q.0).then(p.1.total_cmp(&q.1)));
    let two = |n: usize| (n as u128) * (n as u128).saturating_sub(1) / 2;
    let tied_a: u128 = sorted.chunk_by(|p, q| p.0 == q.0).map(|t| two(t.len())).sum();
    let tied_both: u128 = sorted.chunk_by(|p, q| p == q).map(|t| two(t.len())).sum();
    let mut other: Vec<f64> = sorted.iter().map(|p| p.1).collect();
    let mut buffer = other.clone();
    let discordant = exchanges(&mut other, &mut buffer);
    let tied_b: u128 = other.chunk_by(|p, q| p == q).map(|t| two(t.len())).sum();
    let all = two(a.len());
    // All pairs are concordant, discordant, or tied in one list or both.
    let concordant = (all + tied_both) as f64 - (tied_a + tied_b + discordant) as f64;
    let (free_a, free_b) = ((all - tied_a) as f64, (all - tied_b) as f64);
    (free_a > 0.0 && free_b > 0.0)
        .then(|| ((concordant - discordant as f64) / (free_a.sqrt() * free_b.sqrt())).clamp(-1.0, 1.0))
}

/// Sorts `values` by merging and counts the pairs that stood in decreasing order; `buffer` has the same length.
fn exchanges(values: &mut [f64], buffer: &mut [f64]) -> u128 {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(n / 2);
    let mut count = exchanges(left, &mut buffer[..n / 2]) + exchanges(right, &mut buffer[n / 2..]);
    let (mut i, mut j) = (0, 0);
    for out in buffer.iter_mut() {
        if j == right.len() || (i < left.len() && left[i] <= right[j]) {
            *out = left[i];
            i += 1;
        } else {
            *out = right[j];
            j += 1;
            count += (left.len() - i) as u128;
        }
    }
    values.copy_from_slice(buffer);
    count
}

/// Rank correlations within each query, averaged over queries: whether a query's keys are in the right order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QueryAgreement {
    /// Queries whose values and predictions both differ somewhere; only they have an order.
    pub queries: usize,
    /// Mean of Spearman's correlation.
    pub spearman: Estimate,
    /// Mean of Kendall's correlation (tau-b).
    pub kendall: Estimate,
}

impl QueryAgreement {
    /// Of `predicted` against the values of `pairs`; `None` if no query has an order, or the lengths differ.
    ///
    /// ```
    /// use mercer::{Pairs, evaluate::QueryAgreement};
    /// let pairs = Pairs::new(vec![0, 0, 1, 1], vec![0, 1, 0, 1], vec![1.0, 2.0, 8.0, 9.0], None)?;
    /// let found = QueryAgreement::new(&[0.5, 0.6, 0.2, 0.1], &pairs).unwrap();
    /// assert_eq!((found.queries, found.kendall.mean), (2, 0.0));
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn new(predicted: &[f64], pairs: &Pairs) -> Option<QueryAgreement> {
        let chunk = pairs.chunk();
        if predicted.len() != pairs.len() {
            return None;
        }
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by_key(|&p| chunk.x[p]);
        let own: Vec<&[usize]> = order.chunk_by(|&a, &b| chunk.x[a] == chunk.x[b]).collect();
        let one = |own: &&[usize]| {
            let a: Vec<f64> = own.iter().map(|&p| predicted[p]).collect();
            let b: Vec<f64> = own.iter().map(|&p| chunk.value[p].into()).collect();
            Some([spearman(&a, &b)?, kendall(&a, &b)?])
        };
        let each: Vec<[f64; 2]> = own.par_iter().filter_map(one).collect();
        let estimate = |which: usize| {
            let part = |values: &[f64; 2]| Part { sum: values[which], count: 1.0 };
            let mut sums = Sums::default();
            each.iter().for_each(|values| sums.add(part(values)));
            let mean = sums.mean()?;
            each.iter().for_each(|values| sums.deviate(part(values), mean));
            sums.estimate([-1.0, 1.0])
        };
        Some(QueryAgreement { queries: each.len(), spearman: estimate(0)?, kendall: estimate(1)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(ranks(&[0.0, -0.0]), [1.5, 1.5]);
        assert_eq!(correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
    }

    #[test]
    fn kendall_agrees_with_all_pairs() {
        let mut stream = Seed(2).stream("kendall");
        for (n, levels) in [(2, 3), (17, 4), (60, 1000), (200, 7), (31, 2)] {
            let mut draw = || (0..n).map(|_| stream.below(levels) as f64 - 1.0).collect::<Vec<f64>>();
            let (a, b) = (draw(), draw());
            let mut sums = [0.0; 3];
            for i in 0..n {
                for j in 0..i {
                    let sign = |v: &[f64]| f64::from(i8::from(v[i] > v[j]) - i8::from(v[i] < v[j]));
                    sums[0] += sign(&a) * sign(&b);
                    sums[1] += sign(&a).abs();
                    sums[2] += sign(&b).abs();
                }
            }
            match kendall(&a, &b) {
                Some(own) => assert!((own - sums[0] / (sums[1] * sums[2]).sqrt()).abs() < 1e-12),
                None => assert!(sums[1] * sums[2] == 0.0),
            }
        }
        assert_eq!(kendall(&[1.0, f64::NAN], &[1.0, 2.0]), None);
        assert_eq!(kendall(&[], &[]), None);
    }
}
