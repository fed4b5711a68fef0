//! New pairs among known items: the held-out pairs are a random part of all.

use crate::certify::matching::Choices;
use crate::certify::projection::Mean;
use crate::certify::{Method, Quantity, Request, Sample, Statement, half_as_wide, mean, next_share, sorted};
use crate::seed::Seed;
use crate::stats::{
    binomial_pairs_needed, binomial_rank, mean_interval, rate_interval, unseen_pairs_needed, unseen_rank,
    unseen_rate_interval,
};

pub(crate) fn statements(sample: &Sample, request: &Request) -> Vec<Statement> {
    let mut all = vec![tolerance(sample, request), mean_square(sample, request), student(sample, request)];
    all.extend(signs(sample, request));
    all.extend(ranking(sample, request));
    all
}

/// Of whom the bounds speak.
fn population(request: &Request) -> String {
    match request.pairs_in_all {
        Some(all) => format!(
            "the held-out pairs were drawn at random, without replacement, from {all} pairs of the known items on \
             which the model was not trained; the statement is about those not held out"
        ),
        None => "the held-out pairs were drawn at random from all pairs of the known items on which the model was not \
                 trained; the statement is about all of these"
            .into(),
    }
}

fn tolerance(sample: &Sample, request: &Request) -> Statement {
    let sorted = sorted(&sample.errors);
    let (n, delta) = (sorted.len() as u64, 1.0 - request.confidence);
    let (method, rank) = match request.pairs_in_all {
        Some(all) => (Method::Hypergeometric, unseen_rank(all, n, request.share, delta)),
        None => (Method::Binomial, binomial_rank(n, request.share, delta)),
    };
    let needed = |share| match request.pairs_in_all {
        Some(all) => unseen_pairs_needed(all, share, delta),
        None => Some(binomial_pairs_needed(share, delta)),
    };
    Statement {
        quantity: Quantity::Tolerance { share: request.share },
        method,
        exact: true,
        confidence: request.confidence,
        measured: Some(sample.quantile(request.share)),
        lower: None,
        upper: rank.map(|k| sorted[k as usize - 1]),
        effective_pairs: n as f64,
        needed: needed(request.share),
        sharper: next_share(request.share, n, needed),
        assumptions: population(request),
    }
}

/// A mean of all pairs turned into one of those not held out.
fn of_unseen(request: &Request, n: f64, held_out: f64, of_all: (f64, f64)) -> (f64, f64) {
    let Some(all) = request.pairs_in_all else { return of_all };
    let unseen = |m: f64| (all as f64 * m - n * held_out) / (all as f64 - n);
    (unseen(of_all.0).max(0.0), unseen(of_all.1).min(1.0))
}

fn mean_square(sample: &Sample, request: &Request) -> Statement {
    let n = sample.errors.len() as f64;
    let range = sample.range(request);
    let interval = range.and_then(|(range, _)| {
        let squares: Vec<f64> = sample.errors.iter().map(|e| (e / range).powi(2)).collect();
        let of_all = mean_interval(&squares, squares.len(), 1.0 - request.confidence)?;
        let (low, high) = of_unseen(request, n, mean(&squares)?, of_all);
        Some((range * low.sqrt(), range * high.sqrt()))
    });
    let why = range.map_or("an exact interval needs a declared range of the errors, and none was given", |r| r.1);
    Statement {
        quantity: Quantity::RootMeanSquare,
        method: Method::Betting,
        exact: true,
        confidence: request.confidence,
        measured: Some(sample.rms()),
        lower: interval.map(|i| i.0),
        upper: interval.map(|i| i.1),
        effective_pairs: n,
        needed: Some(1),
        sharper: half_as_wide(n).filter(|_| interval.is_some()),
        assumptions: format!("{}; {why}", population(request)),
    }
}

/// Student's interval for the mean of the squares: it needs no range.
fn student(sample: &Sample, request: &Request) -> Statement {
    let n = sample.errors.len() as f64;
    // In units of the root mean square, so that nothing overflows.
    let (unit, squares) = sample.scaled_squares();
    let center = squares.iter().sum::<f64>() / n;
    let variance = squares.iter().map(|s| (s - center).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    // The mean of the pairs not held out scatters by itself.
    let draws = 1.0 / n + request.pairs_in_all.map_or(0.0, |all| 1.0 / (all as f64 - n));
    let found = Mean { mean: center, variance: variance * draws, freedom: n - 1.0 };
    let interval = found.interval(1.0 - request.confidence).map(|(low, high)| (unit * low.sqrt(), unit * high.sqrt()));
    Statement {
        quantity: Quantity::RootMeanSquare,
        method: Method::Student,
        exact: false,
        confidence: request.confidence,
        measured: Some(sample.rms()),
        lower: interval.map(|i| i.0),
        upper: interval.map(|i| i.1),
        effective_pairs: n,
        needed: Some(2),
        sharper: half_as_wide(n),
        assumptions: format!(
            "{}; asymptotic: there are enough pairs for their mean square to be nearly normal",
            population(request)
        ),
    }
}

fn signs(sample: &Sample, request: &Request) -> Option<Statement> {
    let wrong = sample.wrong_signs()?;
    let (n, count, delta) = (wrong.len() as u64, wrong.iter().sum::<f64>(), 1.0 - request.confidence);
    let (method, interval) = match request.pairs_in_all {
        Some(all) => (Method::Hypergeometric, unseen_rate_interval(all, n, count as u64, delta)),
        None => (Method::Binomial, rate_interval(count, n as f64, delta)),
    };
    Some(Statement {
        quantity: Quantity::SignErrorRate,
        method,
        exact: true,
        confidence: request.confidence,
        measured: mean(&wrong),
        lower: Some(interval.0),
        upper: Some(interval.1),
        effective_pairs: n as f64,
        needed: Some(1),
        sharper: half_as_wide(n as f64),
        assumptions: population(request),
    })
}

/// Comparisons of two held-out pairs of one query, no pair in two of them.
///
/// Given the queries they are independent with different means, and betting bounds the average: with `p_x` the
/// probability that a random comparison of query `x` is wrong and `c_x` that its values differ, the rate is
/// `sum_x w_x p_x / sum_x w_x c_x`, `w_x` being half the number of its held-out pairs, rounded down.
fn ranking(sample: &Sample, request: &Request) -> Option<Statement> {
    let choices = Choices::within_queries(&sample.graph, Seed(request.seed));
    let delta = choices.single_delta(1.0 - request.confidence);
    let (lower, upper) = choices.median_interval(|choice| mean_interval(&sample.orders(choice), choice.len(), delta));
    let size = choices.size_of(|choice| sample.orders(choice).len()) as f64;
    let measured = mean(&sample.orders(choices.largest()))?;
    Some(Statement {
        quantity: Quantity::RankingErrorRate,
        method: Method::Betting,
        exact: true,
        confidence: request.confidence,
        measured: Some(measured),
        lower,
        upper,
        effective_pairs: size,
        needed: Some(1),
        sharper: half_as_wide(size),
        assumptions:
            "given their queries the held-out pairs were drawn independently (there are many more pairs of each \
                      query than were held out); queries count as often as they have held-out pairs to compare"
                .into(),
    })
}
