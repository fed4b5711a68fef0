//! Exact confidence statements of statistics: binomial tails, quantiles, intervals for means.
