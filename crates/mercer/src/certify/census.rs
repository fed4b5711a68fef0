//! A population of which every pair was measured.

use crate::certify::{Certificate, Labels, Method, Quantity, Request, Statement};
use crate::error::{Error, Result};
use crate::evaluate::Population;

/// What is known when every pair of `items` items was measured: the quantities themselves, with certainty.
///
/// `predicted` and `value` hold all pairs. Nothing is said of other items.
///
/// # Errors
/// [`crate::ErrorKind::Shape`] for slices of different lengths, [`crate::ErrorKind::Data`] without pairs or with a value that is
/// not finite, [`crate::ErrorKind::Parameter`] for a share outside (0, 1).
///
/// ```
/// use mercer::certify::{Goal, Request, census};
/// let request = Request { share: 0.75, ..Request::default() };
/// let all = census(&[0.1, 0.9, 0.2, 1.5], &[0.0, 1.0, 0.0, 1.0], 2, request)?;
/// assert!(all.meets(Goal::Tolerance, 0.2, false).is_some() && all.meets(Goal::Tolerance, 0.19, false).is_none());
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn census(predicted: &[f64], value: &[f64], items: usize, request: Request) -> Result<Certificate> {
    let n = value.len();
    if predicted.len() != n {
        return Err(Error::shape("predictions of all pairs", n, predicted.len()));
    }
    let mut errors: Vec<f64> = predicted.iter().zip(value).map(|(p, v)| (p - v).abs()).collect();
    if n == 0 || errors.iter().any(|e| !e.is_finite()) {
        return Err(Error::data("there are no pairs, or some error is not finite", "check the values for NaN"));
    }
    if !(request.share > 0.0 && request.share < 1.0) {
        return Err(Error::parameter("share", "above 0 and below 1", request.share));
    }
    let statement = |quantity: Quantity, exactly: f64| Statement {
        quantity,
        method: Method::Census,
        exact: true,
        confidence: 1.0,
        measured: Some(exactly),
        lower: Some(exactly),
        upper: Some(exactly),
        effective_pairs: n as f64,
        needed: Some(n as u64),
        sharper: None,
        assumptions: "every pair of these items was measured; other items are not spoken of".into(),
    };
    let mean_square = errors.iter().map(|e| e * e).sum::<f64>() / n as f64;
    let rank = ((request.share * n as f64).ceil() as usize).clamp(1, n) - 1;
    let tolerance = *errors.select_nth_unstable_by(rank, f64::total_cmp).1;
    let mut statements = vec![
        statement(Quantity::Tolerance { share: request.share }, tolerance),
        statement(Quantity::RootMeanSquare, mean_square.sqrt()),
    ];
    if let Some(labels) = Labels::of(predicted, value) {
        let middle = 0.5 * (1.0 + labels.no);
        let wrong = predicted.iter().zip(value).filter(|(p, v)| (*p - middle) * (*v - middle) <= 0.0).count();
        statements.push(statement(Quantity::SignErrorRate, wrong as f64 / n as f64));
    }
    Ok(Certificate { population: Population::KnownItems, pairs: n, items, self_pairs: 0, request, statements })
}
