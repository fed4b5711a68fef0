//! The incomplete beta function and what follows from it.
//!
//! The leading factor is a binomial term in Loader's form (*Fast and accurate computation of binomial probabilities*,
//! 2000): deviances instead of differences of log-gamma values, whose rounding grows with the number of trials.

use std::f64::consts::TAU;

use crate::stats::bisect;

/// `ln Gamma(x + 1) - (x + 1/2) ln x + x - ln(2 pi) / 2`: what Stirling's formula leaves out, for `x > 0`.
fn stirling_rest(x: f64) -> f64 {
    // rest(x) - rest(x + 1) = (x + 1/2) ln(1 + 1/x) - 1, up to where six terms of the series are exact to rounding.
    let (mut at, mut rest) = (x, 0.0);
    while at < 16.0 {
        rest += (at + 0.5) * (1.0 / at).ln_1p() - 1.0;
        at += 1.0;
    }
    const SERIES: [f64; 6] = [-691.0 / 360_360.0, 1.0 / 1188.0, -1.0 / 1680.0, 1.0 / 1260.0, -1.0 / 360.0, 1.0 / 12.0];
    rest + SERIES.iter().fold(0.0, |sum, term| sum / (at * at) + term) / at
}

/// `x ln(x / m) - x + m`, also where `x` is close to `m`.
fn deviance(x: f64, m: f64) -> f64 {
    if x == 0.0 {
        return m;
    }
    let v = (x - m) / (x + m);
    if v.abs() >= 0.1 {
        return x * (x / m).ln() + m - x;
    }
    // x ln(x / m) = 2 x atanh(v), whose first term joins m - x without cancellation.
    let (mut term, mut sum) = (2.0 * x * v, (x - m) * v);
    for j in 1..40 {
        term *= v * v;
        let next = sum + term / f64::from(2 * j + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// `Gamma(a + b + 1) / (Gamma(a + 1) Gamma(b + 1)) p^a q^b` with `q = 1 - p`: the probability of `a` successes among
/// `a + b` trials, for real `a, b >= 0`.
pub(crate) fn binomial_term(a: f64, b: f64, p: f64, q: f64) -> f64 {
    let n = a + b;
    if a == 0.0 || b == 0.0 {
        let (power, base, other) = if a == 0.0 { (b, q, p) } else { (a, p, q) };
        return if other < 0.5 { (power * (-other).ln_1p()).exp() } else { base.powf(power) };
    }
    let exponent = stirling_rest(n) - stirling_rest(a) - stirling_rest(b) - deviance(a, n * p) - deviance(b, n * q);
    (n / (TAU * a * b)).sqrt() * exponent.exp()
}

/// The regularised incomplete beta function `I_x(a, b)` for `a, b > 0`, `x` in `[0, 1]`; relative accuracy about
/// `1e-13` (`1e-11` for `a + b` near `1e6`), also where it is tiny. Cost: about `sqrt(max(a, b))` steps.
pub(crate) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    incomplete_beta_of(a, b, x, 1.0 - x)
}

/// [`incomplete_beta`] with `y = 1 - x` given, which `1.0 - x` would round.
fn incomplete_beta_of(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 || y <= 0.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta_of(b, a, y, x);
    }
    // x^a y^b / (a B(a, b)) is a binomial term times b / (a + b).
    (binomial_term(a, b, x, y) * b / (a + b) * continued_fraction(a, b, x)).min(1.0)
}

/// `I_x(a, b)` over its leading factor `x^a (1 - x)^b / (a B(a, b))`, by Lentz's method (Abramowitz and Stegun 26.5.8).
fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    let away = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let (mut c, mut value) = (1.0, d);
    for step in 1..1_000_000u32 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        value *= c * d;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        value *= c * d;
        if (c * d - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    value
}

/// The `t > 0` with `P(T > t) = tail` for Student's `T` with `freedom` degrees of freedom; `0 < tail < 1/2`.
pub(crate) fn student_quantile(tail: f64, freedom: f64) -> f64 {
    // P(T > t) = I_w(freedom / 2, 1/2) / 2 with w = freedom / (freedom + t^2); w close to 1 is told by 1 - w.
    let upper = |t: f64| {
        let square = t * t;
        0.5 * incomplete_beta_of(0.5 * freedom, 0.5, freedom / (freedom + square), square / (freedom + square))
    };
    let mut high = 1.0;
    while upper(high) > tail && high < 1e150 {
        high *= 2.0;
    }
    bisect(0.0, high, |t| upper(t) > tail).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a / b - 1.0).abs() <= tolerance, "{a:e} is not {b:e}: {:e}", a / b - 1.0);
    }

    #[test]
    fn the_rest_of_stirlings_formula_is_that_of_factorials() {
        let mut log_factorial = 0.0;
        for n in 1..=40u32 {
            let x = f64::from(n);
            log_factorial += x.ln();
            let stirling = (x + 0.5) * x.ln() - x + 0.5 * TAU.ln();
            assert!((stirling_rest(x) - (log_factorial - stirling)).abs() < 3e-14, "{n}");
        }
        // Gamma(3/2) = sqrt(pi) / 2
        let exact = (std::f64::consts::PI.sqrt() / 2.0).ln() - 0.5f64.ln() + 0.5 - 0.5 * TAU.ln();
        assert!((stirling_rest(0.5) - exact).abs() < 1e-14);
    }

    #[test]
    fn the_incomplete_beta_function_has_its_closed_forms() {
        for x in [1e-6, 0.1, 0.3, 0.5, 0.77, 0.99] {
            close(incomplete_beta(1.0, 7.5, x), -(7.5 * (-x).ln_1p()).exp_m1(), 1e-13);
            close(incomplete_beta(3.25, 1.0, x), x.powf(3.25), 1e-13);
            let arcsine = x.sqrt().asin() / std::f64::consts::FRAC_PI_2;
            close(incomplete_beta(0.5, 0.5, x), arcsine, 1e-13);
            close(incomplete_beta(40.0, 60.0, x) + incomplete_beta(60.0, 40.0, 1.0 - x), 1.0, 1e-13);
        }
        // One success more among a million trials: I_p(k, n - k + 1) - I_p(k + 1, n - k) is the term of k successes.
        let (n, k, p) = (1e6, 1200.0, 1e-3);
        let difference = incomplete_beta(k, n - k + 1.0, p) - incomplete_beta(k + 1.0, n - k, p);
        close(difference, binomial_term(k, n - k, p, 1.0 - p), 1e-9);
    }

    #[test]
    fn student_quantiles_have_their_closed_forms() {
        for tail in [0.4, 0.05, 0.025, 0.005, 1e-6] {
            close(student_quantile(tail, 1.0), 1.0 / (std::f64::consts::PI * tail).tan(), 1e-11);
            let two = (1.0 - 2.0 * tail) / (2.0 * tail * (1.0 - tail)).sqrt();
            close(student_quantile(tail, 2.0), two, 1e-11);
        }
        // Many degrees of freedom: the normal law (Abramowitz and Stegun, table 26.5).
        close(student_quantile(0.025, 1e9), 1.959_963_984_5, 1e-8);
        close(student_quantile(0.05, 10.0), 1.812_461_123, 1e-9);
    }
}
