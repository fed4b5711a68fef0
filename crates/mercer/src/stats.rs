//! Exact confidence statements of statistics: binomial tails, quantiles, intervals for means.
//!
//! Everything here is small enough to own: one incomplete beta function (whose leading factor keeps its relative
//! accuracy in the far tail), sums of hypergeometric terms, and a capital that only a wrong mean lets grow.

mod beta;
mod betting;
mod counts;

pub(crate) use beta::student_quantile;
pub(crate) use betting::mean_interval;
pub(crate) use counts::{
    binomial_pairs_needed, binomial_rank, rate_interval, rate_upper, shrunk_size, unseen_pairs_needed, unseen_rank,
    unseen_rate_interval,
};

/// The smallest `k` in `low..=high` for which `holds`, where it never fails above one for which it holds.
pub(crate) fn smallest(low: u64, high: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if low > high || !holds(high) {
        return None;
    }
    let (mut low, mut high) = (low, high);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(high)
}

/// The two ends of the last bracket of a bisection of `[low, high]` to full precision: `low` where `below` holds,
/// `high` where it does not.
fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> (f64, f64) {
    loop {
        let middle = low + 0.5 * (high - low);
        if middle <= low || middle >= high || high - low <= 4.0 * f64::EPSILON * high.abs() {
            return (low, high);
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}
