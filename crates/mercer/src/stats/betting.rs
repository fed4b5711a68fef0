//! Confidence intervals for means of bounded values, by betting against every mean that is wrong.
//!
//! For values `v_i` in `[0, 1]` and a stake `0 < c < 1` the capital `prod_i (1 - c + c v_i / m)` is never negative. Its
//! expectation is at most 1 if the mean is at most `m`, so by Markov's inequality it reaches `1 / delta` with
//! probability at most `delta`. The smallest `m` whose capital stays below `1 / delta` is a lower confidence bound of
//! the mean (Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, 2021). Their stakes
//! follow the values seen so far; here the capital is averaged over stakes fixed beforehand, so that the order of the
//! values has no influence and the bound holds in three cases by one line each:
//!
//! - independent values of one law: the expectation of the product is the product of expectations, each at most 1;
//! - independent values of different laws, `m` their average mean: by the inequality of the means the product of
//!   `1 - c + c m_i / m` is at most the power of its average, 1;
//! - values sampled without replacement, `m` the mean of all: such samples are negatively associated (Joag-Dev and
//!   Proschan 1983), so a product of increasing functions expects at most the product of expectations.

/// The largest stake: close to 1, so that small means are found fast, but no single 0 may take the whole capital.
const STAKE: f64 = 0.9;

/// Means below this one are not told from 0.
const SMALLEST: f64 = 1e-30;

/// `ln` of the capital's average over the stakes, at the mean `m`.
fn log_capital(values: &[f64], draws: usize, m: f64) -> f64 {
    // The best stake is about sqrt(2 ln(1 / delta) / n) m / deviation: halving down to 1 / sqrt(n) comes near it.
    let stakes = 1 + (draws as f64).sqrt().log2().ceil() as usize;
    let logs: Vec<f64> = (0..stakes as i32).map(|j| log_product(values, STAKE * 0.5f64.powi(j), m)).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + (logs.iter().map(|l| (l - most).exp()).sum::<f64>() / stakes as f64).ln()
}

/// `sum_i ln(1 - c + c v_i / m)`, with one logarithm per eight factors: `m` is at least [`SMALLEST`], so none
/// overflows.
fn log_product(values: &[f64], stake: f64, m: f64) -> f64 {
    let (rest, slope) = (1.0 - stake, stake / m);
    values.chunks(8).map(|part| part.iter().map(|v| rest + slope * v).product::<f64>().ln()).sum()
}

/// A lower bound of the mean of `values`, valid with probability at least `1 - delta`.
fn lower_mean(values: &[f64], draws: usize, delta: f64) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let goal = -delta.ln();
    let excluded = |m: f64| log_capital(values, draws, m) >= goal;
    // The capital falls with m, and is at most 1 at the mean itself. Steps down from there double until one is
    // excluded.
    let (mut width, mut high) = (mean / values.len() as f64, mean);
    while mean - width > SMALLEST && !excluded(mean - width) {
        high = mean - width;
        width *= 2.0;
    }
    let mut low = mean - width;
    if low <= SMALLEST {
        return 0.0;
    }
    // The excluded end is reported, at most a thousandth of the way to the mean too low.
    while high - low > 1e-3 * (mean - low) {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if excluded(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The interval that contains the mean of values in `[0, 1]` with probability at least `1 - delta`; `None` without
/// values.
///
/// They may be what is left of `draws` draws of which some have no value, for a chance of their own: the mean is then
/// the expected sum of values over the expected number of values, since a draw without one leaves the capital as it is.
/// The stakes depend on `draws` alone, which is fixed beforehand.
///
/// Cost: about `20 n log2(n)` operations.
pub(crate) fn mean_interval(values: &[f64], draws: usize, delta: f64) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let mirrored: Vec<f64> = values.iter().map(|v| 1.0 - v).collect();
    Some((lower_mean(values, draws, 0.5 * delta), 1.0 - lower_mean(&mirrored, draws, 0.5 * delta)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn values_that_never_differ_have_a_known_bound() {
        // All zero: the capital against m is mean_j (1 + c_j m / (1 - m))^n.
        let (low, high) = mean_interval(&[0.0; 200], 200, 0.05).unwrap();
        assert_eq!(low, 0.0);
        let capital: f64 =
            (0..5).map(|j| (1.0 + 0.9 * 0.5f64.powi(j) * high / (1.0 - high)).powi(200)).sum::<f64>() / 5.0;
        assert!((40.0..40.5).contains(&capital), "{capital}");
        assert_eq!(mean_interval(&[], 9, 0.05), None);
        let (low, high) = mean_interval(&[1.0; 200], 200, 0.05).unwrap();
        assert!(low > 0.97 && high == 1.0);
    }

    /// Share of 2000 repetitions in which the interval misses `mean`, and its mean width.
    fn misses(
        name: &str,
        n: usize,
        delta: f64,
        mean: f64,
        draw: impl Fn(&mut crate::seed::Stream) -> f64,
    ) -> (f64, f64) {
        let mut stream = Seed(5).stream(name);
        let (mut missed, mut width) = (0, 0.0);
        for _ in 0..2000 {
            let values: Vec<f64> = (0..n).map(|_| draw(&mut stream)).collect();
            let (low, high) = mean_interval(&values, n, delta).unwrap();
            missed += usize::from(!(low..=high).contains(&mean));
            width += (high - low) / 2000.0;
        }
        (missed as f64 / 2000.0, width)
    }

    #[test]
    fn the_interval_covers_and_is_narrow_for_small_values() {
        for delta in [0.2, 0.05] {
            let (coin, _) = misses("coin", 60, delta, 0.1, |s| f64::from(u8::from(s.uniform() < 0.1)));
            let (tenth, width) = misses("tenth", 100, delta, 0.05, |s| 0.1 * s.uniform());
            let (heavy, _) = misses("heavy", 50, delta, 0.2, |s| s.uniform().powi(4));
            assert!(coin <= delta && tenth <= delta && heavy <= delta, "{coin} {tenth} {heavy}");
            // Hoeffding's interval has half-width sqrt(ln(2 / delta) / 2n) = .136 at delta = .05, whatever the values.
            assert!(width < 0.07, "{width}");
        }
    }

    #[test]
    fn samples_without_replacement_are_covered() {
        let all: Vec<f64> = (0..80).map(|i| (f64::from(i) / 79.0).powi(3)).collect();
        let mean = all.iter().sum::<f64>() / 80.0;
        let mut stream = Seed(6).stream("without replacement");
        let missed = (0..2000).filter(|_| {
            let sample: Vec<f64> = stream.choose(80, 60).into_iter().map(|i| all[i]).collect();
            let (low, high) = mean_interval(&sample, 60, 0.1).unwrap();
            !(low..=high).contains(&mean)
        });
        assert!(missed.count() <= 200);
    }
}
