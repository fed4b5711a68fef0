//! Comparisons: how often a model puts the preferred key above the other.

use serde::Serialize;

use crate::evaluate::Estimate;
use crate::evaluate::estimate::{Part, Sums};
use crate::relation::Comparisons;

/// How well scores order comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OrderSummary {
    /// Number of comparisons.
    pub comparisons: usize,
    /// Queries that they are of.
    pub queries: usize,
    /// Weighted share in the right order, ties count half; the interval is over queries, or over comparisons where all are of
    /// one query.
    pub ordered: Estimate,
    /// Mean of `ln(1 + exp(s_other - s_preferred))`, in nats; `ln 2` without any opinion. `None` where scores are no log-odds.
    pub log_loss: Option<f64>,
}

impl OrderSummary {
    /// From the score of each comparison's preferred key minus that of the other; `None` without comparisons, or if their
    /// number is another.
    ///
    /// `log_odds` says whether the scores are the log-odds of Bradley and Terry's model.
    ///
    /// ```
    /// use mercer::{Comparisons, evaluate::OrderSummary};
    /// let comparisons = Comparisons::new(vec![0, 0, 1], vec![1, 2, 1], vec![2, 0, 0], None)?;
    /// let summary = OrderSummary::new(&comparisons, &[0.5, -0.1, 0.0], false).unwrap();
    /// assert_eq!(summary.ordered.mean, 0.5);
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn new(comparisons: &Comparisons, differences: &[f64], log_odds: bool) -> Option<OrderSummary> {
        if differences.is_empty() || differences.len() != comparisons.len() {
            return None;
        }
        let mut order: Vec<usize> = (0..comparisons.len()).collect();
        order.sort_by_key(|&c| comparisons.query()[c]);
        let mut groups: Vec<&[usize]> =
            order.chunk_by(|&a, &b| comparisons.query()[a] == comparisons.query()[b]).collect();
        let queries = groups.len();
        if queries == 1 {
            groups = order.chunks(1).collect();
        }
        let weight = |c: usize| comparisons.weight().map_or(1.0, |w| f64::from(w[c]));
        let right = |c: usize| match differences[c] {
            d if d > 0.0 => 1.0,
            d if d < 0.0 => 0.0,
            _ => 0.5,
        };
        let parts: Vec<Part> = groups
            .iter()
            .map(|own| Part {
                sum: own.iter().map(|&c| weight(c) * right(c)).sum(),
                count: own.iter().map(|&c| weight(c)).sum(),
            })
            .collect();
        let mut sums = Sums::default();
        parts.iter().for_each(|part| sums.add(*part));
        let mean = sums.mean()?;
        parts.iter().for_each(|part| sums.deviate(*part, mean));
        let total: f64 = (0..comparisons.len()).map(weight).sum();
        let loss = |d: f64| (-d).max(0.0) + (-d.abs()).exp().ln_1p();
        let log_loss = (0..comparisons.len()).map(|c| weight(c) * loss(differences[c])).sum::<f64>() / total;
        Some(OrderSummary {
            comparisons: comparisons.len(),
            queries,
            ordered: sums.estimate([0.0, 1.0])?,
            log_loss: log_odds.then_some(log_loss),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_losses_of_worked_examples() {
        let comparisons =
            Comparisons::new(vec![0, 0, 1], vec![1, 2, 1], vec![2, 0, 0], Some(vec![1.0, 1.0, 2.0])).unwrap();
        let summary = OrderSummary::new(&comparisons, &[2.0, -1.0, 0.0], true).unwrap();
        assert_eq!((summary.comparisons, summary.queries), (3, 2));
        assert!((summary.ordered.mean - 0.5).abs() < 1e-15);
        let expected = ((1.0 + (-2.0_f64).exp()).ln() + (1.0 + 1.0_f64.exp()).ln() + 2.0 * 2.0_f64.ln()) / 4.0;
        assert!((summary.log_loss.unwrap() - expected).abs() < 1e-12);
        assert!(OrderSummary::new(&comparisons, &[1.0], true).is_none());
        // One query: comparisons are the units, so that there is an interval.
        let one = Comparisons::new(vec![0; 3], vec![1, 2, 3], vec![0; 3], None).unwrap();
        assert!(OrderSummary::new(&one, &[1.0, 1.0, -1.0], false).unwrap().ordered.standard_error.is_some());
    }
}
