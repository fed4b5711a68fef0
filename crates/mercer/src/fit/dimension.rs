//! The embedding dimension: the held-out error of a model cut to each dimension, and the choice from it.

use crate::encoder::DualEncoder;
use crate::error::Result;
use crate::evaluate::Measure;
use crate::fit::{Choice, CurvePoint, Dimension, Target};
use crate::linalg::Matrix;
use crate::rows::Features;
use crate::wide::add_scaled;

/// The dimension and its held-out error.
pub(crate) struct Chosen {
    pub(crate) dim: usize,
    pub(crate) rmse: f64,
    pub(crate) relative: f64,
    /// Whether the target was met, where there is one.
    pub(crate) met: Option<bool>,
    pub(crate) choice: Choice,
}

/// A statistic of the errors of `model`, cut to 1, 2, ... coordinates, on all pairs of `x` and `y`.
///
/// `values`: a matrix a component, a row a key and a column a query. `shared`: `x` and `y` are the same items, of which
/// a pair with itself does not count.
pub(crate) fn by_dimension<'a>(
    model: &DualEncoder,
    [x, y]: [&Features; 2],
    values: impl IntoIterator<Item = &'a Matrix>,
    shared: bool,
    statistic: impl Fn(&mut dyn Iterator<Item = f64>) -> f64,
) -> Result<Vec<f64>> {
    let (q, k) = (model.embed_queries(&x.rows())?, model.embed_keys(&y.rows())?);
    let (dim, width) = (model.dim(), model.components() * model.dim());
    let mut errors: Vec<Matrix> = values.into_iter().cloned().collect();
    let of_dimension = |c: usize| {
        for (l, error) in errors.iter_mut().enumerate() {
            let coordinate = l * dim + c;
            let keys: Vec<f64> = (0..y.len()).map(|j| k[j * width + coordinate].into()).collect();
            for i in 0..x.len() {
                add_scaled(error.column_mut(i), -f64::from(q[i * width + coordinate]), &keys);
            }
        }
        let counts = |at: &usize| !(shared && at / y.len() == at % y.len());
        let mut counted = errors.iter().flat_map(|e| (0..e.data().len()).filter(counts).map(|at| e.data()[at]));
        statistic(&mut counted)
    };
    Ok((0..dim).map(of_dimension).collect())
}

/// The root mean square, or 0 of none.
pub(crate) fn root_mean_square(errors: &mut dyn Iterator<Item = f64>) -> f64 {
    let (sum, count) = errors.fold((0.0, 0usize), |(sum, count), e| (sum + e * e, count + 1));
    (sum / count.max(1) as f64).sqrt()
}

/// Chooses from the curve of a model at the largest dimension; `measures` gives another measure of the same errors.
pub(crate) fn choose(
    curve: &[CurvePoint],
    wish: Dimension,
    scale: f64,
    measures: impl FnOnce(Measure) -> Result<Vec<f64>>,
) -> Result<Chosen> {
    let largest = curve[curve.len() - 1];
    let rmse = || Ok(curve.iter().map(|p| p.rmse).collect());
    let (point, met, reason) = match wish {
        Dimension::Fixed(_) => (largest, None, "as asked".into()),
        Dimension::Target(target) => {
            let (limit, name, errors) = match target {
                Target::Absolute(error) => (error, "held-out error".into(), rmse()),
                Target::Relative(share) => (share * scale, "held-out error".into(), rmse()),
                Target::Quantile { share, error } => (
                    error,
                    format!("held-out error of {} % of the pairs", 100.0 * share),
                    measures(Measure::Quantile(share)),
                ),
                Target::Sup(error) => (error, "largest held-out error".into(), measures(Measure::Largest)),
            };
            match curve.iter().zip(errors?).find(|(_, error)| *error <= limit) {
                Some((p, _)) => (*p, Some(true), format!("the smallest with {name} at most {limit:.3e}")),
                None => (largest, Some(false), format!("no dimension up to it reaches {name} {limit:.3e}")),
            }
        }
        Dimension::Knee => {
            let p = knee(curve);
            (p, None, format!("knee of the held-out error; {:.2e} at {}", largest.rmse, largest.dim))
        }
    };
    let choice = Choice::new("dimension", point.dim, reason);
    Ok(Chosen { dim: point.dim, rmse: point.rmse, relative: point.rmse / scale, met, choice })
}

/// The point farthest below the chord of log error against dimension, up to the lowest error.
///
/// Exponential decay is straight down to where rounding or noise flattens it: the knee is where it flattens. Power laws
/// are convex: the knee is where further coordinates start to buy little.
fn knee(curve: &[CurvePoint]) -> CurvePoint {
    let log = |p: &CurvePoint| p.rmse.max(1e-300).ln();
    let (first, last) = (curve[0], curve[curve.len() - 1]);
    if curve.len() < 3 {
        return last;
    }
    let slope = (log(&last) - log(&first)) / (last.dim - first.dim) as f64;
    let below = |p: &CurvePoint| log(&first) + slope * (p.dim - first.dim) as f64 - log(p);
    *curve.iter().max_by(|a, b| below(a).total_cmp(&below(b)).then(b.dim.cmp(&a.dim))).unwrap_or(&last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(f: impl Fn(usize) -> f64) -> Vec<CurvePoint> {
        (1..=64).map(|dim| CurvePoint { dim, rmse: f(dim) }).collect()
    }

    #[test]
    fn the_knee_is_where_the_curve_flattens() {
        // Rank 10 with noise 1e-4; exponential decay that meets a plateau near 1e-6 at 28.
        assert_eq!(knee(&curve(|d| if d < 10 { 1.0 / d as f64 } else { 1e-4 })).dim, 10);
        let flat = knee(&curve(|d| (-0.5 * d as f64).exp().max(1e-6))).dim;
        assert!((27..=29).contains(&flat), "{flat}");
    }

    /// The largest error is three times the root mean square, at every dimension.
    fn other(measure: Measure) -> Result<Vec<f64>> {
        assert_eq!(measure, Measure::Largest);
        Ok((1..=64).map(|d| 3.0 / f64::from(d)).collect())
    }

    #[test]
    fn a_target_takes_the_smallest_dimension_or_says_that_there_is_none() {
        let curve = curve(|d| 1.0 / d as f64);
        let chosen = choose(&curve, Dimension::Target(Target::Absolute(0.05)), 2.0, other).unwrap();
        assert_eq!((chosen.dim, chosen.met), (20, Some(true)));
        let chosen = choose(&curve, Dimension::Target(Target::Relative(0.05)), 2.0, other).unwrap();
        assert_eq!((chosen.dim, chosen.met), (10, Some(true)));
        let chosen = choose(&curve, Dimension::Target(Target::Sup(0.1)), 2.0, other).unwrap();
        assert_eq!((chosen.dim, chosen.met), (30, Some(true)));
        let chosen = choose(&curve, Dimension::Target(Target::Absolute(0.001)), 2.0, other).unwrap();
        assert_eq!((chosen.dim, chosen.met), (64, Some(false)));
    }
}
