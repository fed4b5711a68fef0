//! Statements from counts: tolerance ranks and bounds of rates, for draws from a law and from a finite population.

use crate::stats::beta::{binomial_term, incomplete_beta, student_quantile};
use crate::stats::{bisect, smallest};

/// `P(Binomial(n, p) >= k)`, with its relative accuracy kept in the far tail.
fn binomial_at_least(n: u64, p: f64, k: u64) -> f64 {
    match k {
        0 => 1.0,
        _ if k > n => 0.0,
        _ => incomplete_beta(k as f64, (n - k) as f64 + 1.0, p),
    }
}

/// The smallest `k` such that the `k`-th smallest of `n` draws is, with probability at least `1 - delta`, at least as
/// large as the `q`-quantile: `P(Binomial(n, q) >= k) <= delta` (Wilks 1941). `None` if `n` is too small.
///
/// The draws may come with or without replacement: where `k - 1 >= q (n - 1)`, which is asked for too, the
/// hypergeometric tail is below the binomial one (Uhlmann, *Vergleich der hypergeometrischen mit der
/// Binomial-Verteilung*, 1966).
pub(crate) fn binomial_rank(n: u64, q: f64, delta: f64) -> Option<u64> {
    let holds = |k: u64| (k as f64 - 1.0) >= q * (n as f64 - 1.0) && binomial_at_least(n, q, k) <= delta;
    smallest(1, n, holds)
}

/// The smallest `n` for which [`binomial_rank`] exists: `q^n <= delta`.
pub(crate) fn binomial_pairs_needed(q: f64, delta: f64) -> u64 {
    let n = (delta.ln() / q.ln()).ceil().max(1.0) as u64;
    // The quotient may round across an integer.
    (n.saturating_sub(1).max(1)..=n + 1).find(|&n| binomial_rank(n, q, delta).is_some()).unwrap_or(n)
}

/// The interval of Clopper and Pearson for a rate, seen `count` times among `n`: each side fails with probability at
/// most `delta / 2`. Real numbers are allowed, for effective sizes; `0 <= count <= n`, `n > 0`.
pub(crate) fn rate_interval(count: f64, n: f64, delta: f64) -> (f64, f64) {
    let lower = if count > 0.0 {
        bisect(0.0, 1.0, |p| incomplete_beta(count, n - count + 1.0, p) < 0.5 * delta).0
    } else {
        0.0
    };
    (lower, rate_upper(count, n, 0.5 * delta))
}

/// The upper end alone, failing with probability at most `delta`.
pub(crate) fn rate_upper(count: f64, n: f64, delta: f64) -> f64 {
    // P(Binomial(n, p) <= count) = I_(1 - p)(n - count, count + 1), in terms of the small 1 - p or p alike.
    if count >= n {
        return 1.0;
    }
    1.0 - bisect(0.0, 1.0, |rest| incomplete_beta(n - count, count + 1.0, rest) < delta).0
}

/// The size of a simple random sample that knows a rate as well as an estimate whose variance is that of `effective`
/// independent draws, told with `freedom` degrees of freedom: the squared ratio of Student quantiles shrinks it (Korn
/// and Graubard, *Confidence intervals for proportions with small expected number of positive counts*, 1998).
/// Asymptotic.
pub(crate) fn shrunk_size(effective: f64, draws: f64, freedom: f64, delta: f64) -> f64 {
    let ratio = student_quantile(delta, (draws - 1.0).max(1.0)) / student_quantile(delta, freedom);
    effective * (ratio * ratio).min(1.0)
}

/// `P(H = k)` for the number `H` of marked elements among `n` drawn without replacement from `all`, of which `marked`.
fn hypergeometric_term(all: f64, marked: f64, n: f64, k: f64) -> f64 {
    let (p, q) = (n / all, (all - n) / all);
    binomial_term(k, marked - k, p, q) * binomial_term(n - k, all - marked - n + k, p, q)
        / binomial_term(n, all - n, p, q)
}

/// `P(H >= k)` for the `H` of [`hypergeometric_term`].
fn hypergeometric_at_least(all: u64, marked: u64, n: u64, k: u64) -> f64 {
    let lowest = (n + marked).saturating_sub(all);
    if k <= lowest {
        return 1.0;
    }
    if k > n.min(marked) {
        return 0.0;
    }
    let (all, marked, n) = (all as f64, marked as f64, n as f64);
    let ratio = |k: f64| (marked - k) * (n - k) / ((k + 1.0) * (all - marked - n + k + 1.0));
    // The sum runs away from the mean, where the terms fall.
    let start = k as f64;
    let above = start > n * marked / all;
    let mut at = if above { start } else { start - 1.0 };
    let mut term = hypergeometric_term(all, marked, n, at);
    let mut sum = 0.0;
    while term > 1e-17 * sum {
        sum += term;
        term = if above { term * ratio(at) } else { term / ratio(at - 1.0) };
        at += if above { 1.0 } else { -1.0 };
    }
    if above { sum.min(1.0) } else { (1.0 - sum).max(0.0) }
}

/// How many elements a share `q` of `count` asks for, rounded up (a product that rounding alone lifts is not).
fn share_of(q: f64, count: u64) -> u64 {
    let exact = q * count as f64;
    let near = exact.round();
    let up = if (exact - near).abs() <= 4.0 * f64::EPSILON * near { near } else { exact.ceil() };
    (up as u64).clamp(1, count)
}

/// The smallest `k` such that the `k`-th smallest of `n` elements, drawn without replacement from `all`, is with
/// probability at least `1 - delta` at least as large as a share `q` of the `all - n` elements *not* drawn. `None` if
/// there is none.
///
/// Let `R` be the rank among all elements of the `k`-th drawn one; `R - k` elements not drawn stand below it. With
/// `m = ceil(q (all - n))`, the statement fails only if `R < m + k`, that is, if at least `k` of the `m + k - 1` lowest
/// elements were drawn: probability `P(H(all, m + k - 1, n) >= k)`, exactly. For one element not drawn it is
/// `1 - k / (n + 1)`, the bound of conformal prediction; for `all -> infinity` it is Wilks's.
pub(crate) fn unseen_rank(all: u64, n: u64, q: f64, delta: f64) -> Option<u64> {
    let m = share_of(q, all - n);
    smallest(1, n, |k| hypergeometric_at_least(all, m + k - 1, n, k) <= delta)
}

/// A number of draws from `all` for which [`unseen_rank`] exists: the smallest, up to the rounding of the share to
/// whole elements. `None` if even all but one are too few.
pub(crate) fn unseen_pairs_needed(all: u64, q: f64, delta: f64) -> Option<u64> {
    let holds = |n: u64| hypergeometric_at_least(all, share_of(q, all - n) + n - 1, n, n) <= delta;
    let mut high = 1;
    while high < all && !holds(high) {
        high = (2 * high).min(all);
    }
    let high = high.min(all.saturating_sub(1));
    smallest(high.div_ceil(2), high, holds)
}

/// The interval for the share of marked elements among the `all - n` not drawn, when `count` of the `n` drawn are
/// marked: each side fails with probability at most `delta / 2`.
///
/// A number `marked` of marked elements in all is excluded where so many, or so few, drawn ones are that improbable.
pub(crate) fn unseen_rate_interval(all: u64, n: u64, count: u64, delta: f64) -> (f64, f64) {
    let least = count;
    let most = all - (n - count);
    let at_least = |marked: u64| hypergeometric_at_least(all, marked, n, count);
    let at_most = |marked: u64| 1.0 - hypergeometric_at_least(all, marked, n, count + 1);
    let low = smallest(least, most, |marked| at_least(marked) > 0.5 * delta).unwrap_or(most);
    let beyond = smallest(least, most, |marked| at_most(marked) <= 0.5 * delta);
    let high = beyond.map_or(most, |first| first.saturating_sub(1).max(least));
    let share = |marked: u64| (marked - count) as f64 / (all - n) as f64;
    (share(low), share(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities of 0..=n successes, by adding one trial at a time: sums of positive numbers only.
    fn binomial_law(n: usize, p: f64) -> Vec<f64> {
        let mut law = vec![1.0];
        for _ in 0..n {
            let mut next = vec![0.0; law.len() + 1];
            for (k, value) in law.iter().enumerate() {
                next[k] += value * (1.0 - p);
                next[k + 1] += value * p;
            }
            law = next;
        }
        law
    }

    /// Probabilities of 0..=n marked ones, by drawing one element at a time.
    fn hypergeometric_law(all: usize, marked: usize, n: usize) -> Vec<f64> {
        let mut law = vec![1.0];
        for drawn in 0..n {
            let mut next = vec![0.0; law.len() + 1];
            for (k, value) in law.iter().enumerate().filter(|(_, v)| **v > 0.0) {
                let left = (all - drawn) as f64;
                next[k] += value * ((all - marked) as f64 - (drawn - k) as f64).max(0.0) / left;
                next[k + 1] += value * (marked as f64 - k as f64).max(0.0) / left;
            }
            law = next;
        }
        law
    }

    #[test]
    fn binomial_tails_are_exact_sums_even_far_out() {
        for (n, p) in [(1, 0.3), (30, 0.5), (200, 0.02), (400, 0.95), (400, 1e-4)] {
            let law = binomial_law(n, p);
            for k in 0..=n {
                let exact: f64 = law[k..].iter().rev().sum();
                let got = binomial_at_least(n as u64, p, k as u64);
                // Below 1e-290 the reference loses digits.
                assert!((got - exact).abs() <= 3e-12 * exact + 1e-290, "n {n} p {p} k {k}: {got:e} {exact:e}");
            }
        }
        assert!((binomial_at_least(1000, 0.5, 1000).log2() + 1000.0).abs() < 1e-10);
    }

    #[test]
    fn hypergeometric_tails_are_exact_sums() {
        for (all, marked, n) in [(10, 4, 3), (60, 50, 40), (300, 20, 100), (300, 280, 299), (7, 7, 3)] {
            let law = hypergeometric_law(all, marked, n);
            for k in 0..=n {
                let exact: f64 = law[k..].iter().rev().sum();
                let got = hypergeometric_at_least(all as u64, marked as u64, n as u64, k as u64);
                assert!((got - exact).abs() <= 1e-11 * exact + 1e-15, "{all} {marked} {n} {k}: {got:e} {exact:e}");
            }
        }
    }

    #[test]
    fn a_huge_population_is_a_law() {
        for k in [5, 20, 60] {
            let got = hypergeometric_at_least(1 << 52, 1 << 49, 100, k);
            let exact = binomial_at_least(100, 0.125, k);
            assert!((got / exact - 1.0).abs() < 1e-11, "{k}: {got:e} {exact:e}");
        }
    }

    #[test]
    fn pairs_needed_are_those_of_the_textbooks() {
        for (q, delta, n) in
            [(0.9, 0.05, 29), (0.95, 0.05, 59), (0.99, 0.05, 299), (0.99, 0.01, 459), (0.999, 0.05, 2995)]
        {
            assert_eq!(binomial_pairs_needed(q, delta), n);
            assert_eq!(binomial_rank(n, q, delta), Some(n));
            assert_eq!(binomial_rank(n - 1, q, delta), None);
        }
        // The hypergeometric number tends to the same, and the conformal bound needs 1 - n / (n + 1) <= delta.
        assert_eq!(unseen_pairs_needed(1 << 50, 0.95, 0.05), Some(59));
        assert_eq!(unseen_rank(20, 19, 0.9, 0.05), Some(19));
        assert_eq!(unseen_rank(19, 18, 0.9, 0.05), None);
        assert_eq!(unseen_pairs_needed(19, 0.95, 0.05), None);
    }

    #[test]
    fn the_textbook_interval_of_a_rate() {
        let (low, high) = rate_interval(2.0, 20.0, 0.05); // Clopper and Pearson's table
        assert!((low - 0.012_35).abs() < 1e-5 && (high - 0.316_98).abs() < 1e-5, "{low} {high}");
        assert_eq!(rate_interval(0.0, 10.0, 0.1).0, 0.0);
        assert!((rate_interval(0.0, 10.0, 0.1).1 - (1.0 - 0.05f64.powf(0.1))).abs() < 1e-14);
        assert_eq!(rate_interval(10.0, 10.0, 0.1).1, 1.0);
    }

    /// Every subset of a small population: the statements hold for a share of at least `1 - delta` of them, exactly.
    #[test]
    fn statements_about_unseen_elements_hold_for_enough_samples() {
        let all = 12u32;
        for (n, q, delta) in [(6, 0.5, 0.3), (6, 0.8, 0.4), (9, 0.6, 0.25), (3, 0.3, 0.2), (11, 0.9, 0.1)] {
            let (mut samples, mut failed) = (0, 0);
            let rank = unseen_rank(12, n, q, delta).unwrap();
            for set in (0u32..1 << all).filter(|s| u64::from(s.count_ones()) == n) {
                let bound = (0..all).filter(|i| set >> i & 1 == 1).nth(rank as usize - 1).unwrap();
                let below = (0..=bound).filter(|i| set >> i & 1 == 0).count() as f64;
                samples += 1;
                failed += u32::from(below < q * f64::from(all - n as u32) - 1e-12);
            }
            assert!(
                f64::from(failed) <= delta * f64::from(samples) * (1.0 + 1e-12),
                "n {n} q {q}: {failed} / {samples}"
            );
            for marked in 0..=all {
                let law = hypergeometric_law(12, marked as usize, n as usize);
                let missed: f64 = (0..=n.min(marked.into()))
                    .filter(|&count| 12 - n >= u64::from(marked) - count)
                    .filter(|&count| {
                        let truth = (u64::from(marked) - count) as f64 / (12 - n) as f64;
                        let (low, high) = unseen_rate_interval(12, n, count, delta);
                        !(low - 1e-12..=high + 1e-12).contains(&truth)
                    })
                    .map(|count| law[count as usize])
                    .sum();
                assert!(missed <= delta, "n {n} marked {marked}: {missed}");
            }
        }
    }

    /// Uhlmann's inequality as used: binomial statements hold for samples without replacement, by exact enumeration.
    #[test]
    fn binomial_statements_hold_without_replacement() {
        for (all, n) in [(14, 4), (30, 12), (60, 20), (60, 55), (200, 40)] {
            for delta in [0.5, 0.25, 0.1, 0.05, 0.01] {
                let ranks: Vec<(f64, Option<u64>)> =
                    [0.3, 0.5, 0.8, 0.9, 0.95].map(|q| (q, binomial_rank(n as u64, q, delta))).to_vec();
                let intervals: Vec<(f64, f64)> = (0..=n).map(|s| rate_interval(s as f64, n as f64, delta)).collect();
                for marked in 0..=all {
                    let law = hypergeometric_law(all, marked, n);
                    let p = marked as f64 / all as f64;
                    for (q, rank) in ranks.iter().filter(|(q, _)| p < *q) {
                        let fail = rank.map_or(0.0, |k| law[k as usize..].iter().sum::<f64>());
                        assert!(fail <= delta, "all {all} n {n} q {q} delta {delta} marked {marked}: {fail}");
                    }
                    let missed = |side: &dyn Fn(&(f64, f64)) -> bool| -> f64 {
                        (0..=n).filter(|&s| side(&intervals[s])).map(|s| law[s]).sum()
                    };
                    let (under, over) = (missed(&|i| p > i.1), missed(&|i| p < i.0));
                    assert!(under.max(over) <= 0.5 * delta, "all {all} n {n} delta {delta} marked {marked}");
                }
            }
        }
    }
}
