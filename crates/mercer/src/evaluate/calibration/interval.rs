//! The interval for a binned calibration error without the part of chance.
//!
//! Let `d_b = sum of w (p - y)` over bin `b`, with weights of sum 1, and `e_b` its expectation; wanted is `E = sum_b |e_b|`, seen is
//! `sum_b |d_b|`. For signs `z_b` fixed beforehand `g(z) = sum_b z_b d_b` is a sum of independent terms with expectation
//! `sum_b z_b e_b <= E`, with equality for the true signs.
//!
//! - Above: `sum |d_b| >= g(true signs)`, which is short of `E` by more than `t` with probability at most `delta`.
//! - Below: `E >= g(z) - t_z` for all signs at once, if the `delta_z` of the `t_z` add up to at most `delta`. A pattern with `c`
//!   changes of sign gets `delta / ((c + 1) (c + 2))`, shared with the other `2 C(B - 1, c)` patterns with as many changes:
//!   errors of scale and offset change sign once or never, and are found almost as if their signs were known.
//!
//! `t` solves `t^2 = 2 L (V + t m / 3)`, `L = ln(1 / delta)`, `m` the largest weight, `V` the variance of the sum (Bernstein). As
//! `V = sum w^2 v (1 - v) <= expectation of sum w^2 (p - y)^2` for true probabilities `v`, an upper confidence bound of the
//! latter serves for `V`.

use crate::stats::mean_interval;

/// Share of the failures allowed that the bound of the variance takes.
const VARIANCE: f64 = 0.1;

/// The pairs, with weights of sum 1.
pub(super) struct Terms<'a> {
    pub(super) predicted: &'a [f64],
    pub(super) label: &'a [f64],
    pub(super) weight: &'a [f64],
}

impl Terms<'_> {
    /// The largest weight, and an upper bound of `sum w^2 v (1 - v)` that fails with probability at most `delta`.
    fn variance(&self, delta: f64) -> (f64, f64) {
        let n = self.label.len();
        let largest = self.weight.iter().fold(0.0, |a: f64, &b| a.max(b));
        let squares: Vec<f64> =
            (0..n).map(|i| (self.weight[i] / largest * (self.predicted[i] - self.label[i])).powi(2)).collect();
        // Each side of the interval takes half of what it is given.
        let upper = mean_interval(&squares, n, 2.0 * delta).map_or(1.0, |(_, high)| high);
        // A label's variance is at most 1/4, whatever is predicted: better where few weights dominate.
        let most: f64 = self.weight.iter().map(|w| 0.25 * w * w).sum();
        (largest, (n as f64 * upper * largest * largest).min(most))
    }
}

/// The deviation that a sum exceeds with probability at most `exp(-log)`.
fn deviation(log: f64, (largest, variance): (f64, f64)) -> f64 {
    let linear = log * largest / 3.0;
    linear + (linear * linear + 2.0 * log * variance).sqrt()
}

/// The largest sum of signed differences for each number of changes of sign between neighbours.
fn best_by_changes(differences: &[f64]) -> Vec<f64> {
    let bins = differences.len();
    // [positive, negative] last sign, by the number of changes so far.
    let mut best = vec![[f64::NEG_INFINITY; 2]; bins];
    best[0] = [differences[0], -differences[0]];
    for d in &differences[1..] {
        for c in (0..bins).rev() {
            let changed = if c > 0 { best[c - 1] } else { [f64::NEG_INFINITY; 2] };
            best[c] = [best[c][0].max(changed[1]) + d, best[c][1].max(changed[0]) - d];
        }
    }
    best.iter().map(|b| b[0].max(b[1])).collect()
}

/// The interval for the error without chance: it misses with probability at most `delta`.
pub(super) fn binned_error(differences: &[f64], terms: &Terms<'_>, delta: f64) -> (f64, f64) {
    let spread = terms.variance(VARIANCE * delta);
    let side = 0.5 * (1.0 - VARIANCE) * delta;
    let seen: f64 = differences.iter().map(|d| d.abs()).sum();
    let high = seen + deviation(-side.ln(), spread);
    let mut low: f64 = 0.0;
    // ln(2 C(B - 1, c)), from one c to the next.
    let mut patterns = 2f64.ln();
    for (c, best) in best_by_changes(differences).into_iter().enumerate() {
        let changes = c as f64;
        let log = patterns + ((changes + 1.0) * (changes + 2.0)).ln() - side.ln();
        low = low.max(best - deviation(log, spread));
        patterns += ((differences.len() - 1 - c) as f64 / (changes + 1.0)).ln();
    }
    (low, high.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_pattern_of_each_number_of_changes_is_found() {
        let mut stream = crate::seed::Seed(4).stream("patterns");
        for bins in 1..9usize {
            let d: Vec<f64> = (0..bins).map(|_| stream.normal()).collect();
            let mut expected = vec![f64::NEG_INFINITY; bins];
            for pattern in 0..1u32 << bins {
                let changes = ((pattern ^ (pattern >> 1)) & ((1 << (bins - 1)) - 1)).count_ones() as usize;
                let sum = (0..bins).map(|b| if pattern >> b & 1 == 1 { d[b] } else { -d[b] }).sum::<f64>();
                expected[changes] = expected[changes].max(sum);
            }
            for (got, expected) in best_by_changes(&d).iter().zip(&expected) {
                assert!((got - expected).abs() < 1e-12, "{got} {expected}");
            }
        }
    }

    #[test]
    fn deviations_solve_bernsteins_equation() {
        let (m, v, log) = (0.01, 0.002, 3.7);
        let t = deviation(log, (m, v));
        assert!((t * t - 2.0 * log * (v + t * m / 3.0)).abs() < 1e-15);
    }
}
