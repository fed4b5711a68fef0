//! Means over queries with their uncertainty.

use serde::Serialize;

use crate::stats::student_quantile;

/// A mean with a 95 % interval over queries.
///
/// Queries are the independent units: pairs of one query share it, so that pairs are never counted as independent. A mean over
/// pairs is the ratio `sum s_q / sum n_q` of sums over the `Q` queries with `n_q > 0`, with standard error
/// `sqrt(Q / (Q - 1) sum (s_q - mean n_q)^2) / sum n_q`; the interval is the mean plus or minus Student's quantile with `Q - 1`
/// degrees of freedom times that, cut to the metric's range. It is asymptotic (right for many queries) and speaks of queries
/// drawn like these; keys count as fixed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Its standard error; `None` for a single query.
    pub standard_error: Option<f64>,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
}

/// Sums over queries of which an [`Estimate`] is made in two passes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    total: f64,
    count: f64,
    queries: usize,
    squares: f64,
}

/// One query's part in a mean: a sum and how many it is of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    pub(crate) sum: f64,
    pub(crate) count: f64,
}

impl Sums {
    /// First pass.
    pub(crate) fn add(&mut self, part: Part) {
        if part.count > 0.0 {
            self.total += part.sum;
            self.count += part.count;
            self.queries += 1;
        }
    }

    /// Second pass, about the `mean` of the first.
    pub(crate) fn deviate(&mut self, part: Part, mean: f64) {
        if part.count > 0.0 {
            self.squares += (part.sum - mean * part.count).powi(2);
        }
    }

    /// These sums and those of later queries.
    pub(crate) fn plus(self, other: Sums) -> Sums {
        Sums {
            total: self.total + other.total,
            count: self.count + other.count,
            queries: self.queries + other.queries,
            squares: self.squares + other.squares,
        }
    }

    pub(crate) fn queries(&self) -> usize {
        self.queries
    }

    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        (self.queries > 0).then(|| self.total / self.count)
    }

    /// After both passes; the interval is cut to `range`. `None` without a query.
    pub(crate) fn estimate(&self, range: [f64; 2]) -> Option<Estimate> {
        let mean = self.mean()?;
        if self.queries < 2 {
            return Some(Estimate { mean, standard_error: None, low: None, high: None });
        }
        let queries = self.queries as f64;
        let error = (queries / (queries - 1.0) * self.squares).sqrt() / self.count;
        let half = student_quantile(0.025, queries - 1.0) * error;
        let end = |value: f64| Some(value.clamp(range[0], range[1]));
        Some(Estimate { mean, standard_error: Some(error), low: end(mean - half), high: end(mean + half) })
    }
}
