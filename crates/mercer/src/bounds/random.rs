//! Random Fourier features: `phi(x) = (cos <w_j, x>, sin <w_j, x>)_j / sqrt(M)`, `M` frequencies from the spectral
//! measure.
//!
//! `s(z) = mean_j cos <w_j, z>` at `z = x - y`, with mean `k(z)`. For the built-in kernels, which are positive and
//! decrease with distance, `Var cos <w, z> = (1 + k(2 z)) / 2 - k(z)^2 <= (1 + k - 2 k^2) / 2 <= 9/16`, so
//!
//! - RMS: the expected mean-square error is at most `9 / (16 M)`, for any law of the pairs; Markov adds a factor `1 /
//!   delta`;
//! - at one `z`, by Hoeffding and Bernstein, `P(|s - k| >= t) <= 2 exp(-M max(t^2 / 2, t^2 / (9/8 + 4 t / 3)))`;
//! - sup norm: the differences of a box with edges `w` fill a box with edges `2 w`, and `s - k` is even, so half of a
//!   grid counts. Its Lipschitz constant is at most `mean |w_j| + E |w|`, below `2 sigma + sigma / sqrt(M delta / 2)`
//!   with probability `1 - delta / 2` (Chebyshev); or, where no frequency exceeds `W`, which has probability
//!   `1 - delta / 2` at `P(|w| > W) <= delta / (2 M)`, below `2 W`, while the mean of `s`, given that, is off by
//!   `b = 2 p / (1 - p)`, `p = P(|w| > W)`, and the variance by `5 b / 2` at most. The second needs no second moment.

use crate::bounds::{Bound, check_error, covering_ln};
use crate::error::{Error, Result};
use crate::relation::{Cuboid, Kernel, Law, SpectralMeasure};
use crate::spectrum::{Evidence, Norm};

/// Largest variance of `cos <w, z>` over all `z`.
const VARIANCE: f64 = 9.0 / 16.0;
/// Shares of the error that the grid may cost.
const GRID_SHARES: [f64; 8] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3];

/// Hidden units that suffice for random Fourier features, drawn once, to err by at most `eps` with the given
/// confidence.
///
/// In the sup norm over the cube or over all given items: the smaller of this module's grid argument and, on the cube,
/// the published `66 (sigma diam / eps)^2 exp(-m eps^2 / (8 (d + 2)))` (Sutherland and Schneider, UAI 2015), which
/// needs a second moment. In the RMS norm by Markov's inequality, and the count that suffices for some draw is among
/// the parts.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for an error that is not positive or a confidence outside (0, 1).
///
/// ```
/// use mercer::bounds::{Norm, random_features};
/// use mercer::{Kernel, Law};
/// let bound = random_features(&Kernel::gaussian(1.0)?, &Law::Cube { dim: 2 }, 0.1, Norm::Sup, 0.95)?;
/// assert!(bound.valid && bound.neurons < 8000.0);
/// assert!(!random_features(&Kernel::tanimoto(), &Law::Cube { dim: 2 }, 0.1, Norm::Sup, 0.95)?.valid);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn random_features(kernel: &Kernel, law: &Law<'_>, eps: f64, norm: Norm, confidence: f64) -> Result<Bound> {
    check_error(eps)?;
    check_confidence(confidence)?;
    let (name, delta) = ("random features", 1.0 - confidence);
    let Some(measure) = kernel.spectral_measure(law.dim()) else {
        let why = "it needs a shift-invariant positive kernel with k(x, x) = 1";
        return Ok(Bound::invalid(name, eps, norm, why));
    };
    if norm == Norm::Rms {
        let some = 2.0 * (VARIANCE / (eps * eps)).ceil();
        let units = 2.0 * (VARIANCE / (delta * eps * eps)).ceil();
        let mut bound = Bound::new(name, eps, norm, units, Some(units))
            .with("variance of one frequency", VARIANCE, Evidence::Proven)
            .with("units that suffice for some draw", some, Evidence::Proven);
        bound.assumptions =
            format!("one random draw, with confidence {confidence} (Markov), whatever the law of the pairs");
        return Ok(bound);
    }
    let (net, published) = match law {
        Law::Items(items) => (2.0 * on_items(items.len(), eps, delta).ceil(), f64::INFINITY),
        Law::Cube { dim } => {
            let widths = vec![2.0; *dim];
            (grid(&measure, &widths, eps, delta), published(&measure, &widths, eps, delta))
        }
    };
    let units = net.min(published);
    let mut bound = Bound::new(name, eps, norm, units, Some(units))
        .with("grid argument", net, Evidence::Proven)
        .with("published formula", published, Evidence::Proven)
        .with("second moment of the frequencies", measure.second_moment(), Evidence::Proven);
    let domain = match law {
        Law::Cube { .. } => "the cube [-1, 1]^d",
        Law::Items(_) => "all pairs of the given items",
    };
    bound.assumptions = format!("one random draw, with confidence {confidence}, uniformly over {domain}");
    Ok(bound)
}

/// The error that `units` random Fourier features, drawn once, stay below on all pairs of a box with the given
/// confidence: the inverse of [`random_features`] in the sup norm, at most 2.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for a kernel without spectral measure, fewer than 2 units or a confidence outside
/// (0, 1); as [`Cuboid::new`].
///
/// ```
/// use mercer::bounds::random_features_error;
/// use mercer::{Cuboid, Kernel};
/// let kernel = Kernel::gaussian(1.0)?;
/// let error = |side: f64| random_features_error(&kernel, &Cuboid::cube(2, 0.0, side)?, 1000, 0.95);
/// assert!(error(1.0)? < error(2.0)? && error(2.0)? < 0.32);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn random_features_error(kernel: &Kernel, domain: &Cuboid, units: usize, confidence: f64) -> Result<f64> {
    domain.check()?;
    check_confidence(confidence)?;
    let Some(measure) = kernel.spectral_measure(domain.dim()) else {
        return Err(Error::parameter("kernel", "shift-invariant and positive with k(x, x) = 1", kernel));
    };
    if units < 2 {
        return Err(Error::parameter("units", "at least 2", units));
    }
    let (widths, delta) = (domain.widths(), 1.0 - confidence);
    let needed = |eps: f64| grid(&measure, &widths, eps, delta).min(published(&measure, &widths, eps, delta));
    // No error exceeds 2, and below 1e-8 no feasible number of units is enough.
    let (mut low, mut high) = (1e-8, 2.0);
    for _ in 0..40 {
        let middle = f64::sqrt(low * high);
        if needed(middle) <= units as f64 { high = middle } else { low = middle }
    }
    Ok(high)
}

fn check_confidence(confidence: f64) -> Result<()> {
    if confidence > 0.0 && confidence < 1.0 {
        return Ok(());
    }
    Err(Error::parameter("confidence", "between 0 and 1", confidence))
}

/// `ln` of one over the probability that `|s - k| >= t` at one point, per frequency.
fn exponent(t: f64, variance: f64) -> f64 {
    (t * t / 2.0).max(t * t / (2.0 * variance + 4.0 * t / 3.0))
}

/// Frequencies that suffice at all pairs of `n` items: Bernstein's inequality at each difference.
fn on_items(n: usize, eps: f64, delta: f64) -> f64 {
    let n = n as f64;
    (n * (n - 1.0) / delta).max(2.0).ln() / exponent(eps, VARIANCE)
}

/// Units that suffice on a box of the given edges by the grid argument.
fn grid(measure: &SpectralMeasure, widths: &[f64], eps: f64, delta: f64) -> f64 {
    let options = GRID_SHARES.iter().flat_map(|&share| [(share, true), (share, false)]);
    let frequencies = options.map(|(share, moment)| on_box(measure, widths, eps, delta, share, moment));
    2.0 * frequencies.fold(f64::INFINITY, f64::min).ceil()
}

/// The least fixed point of the number of frequencies, on which the Lipschitz constant depends through a logarithm.
fn on_box(measure: &SpectralMeasure, widths: &[f64], eps: f64, delta: f64, share: f64, second_moment: bool) -> f64 {
    let mut count: f64 = 1.0;
    for _ in 0..100 {
        let (lipschitz, bias) = if second_moment {
            let sigma = measure.second_moment().sqrt();
            (sigma * (2.0 + 1.0 / (count * delta / 2.0).sqrt()), 0.0)
        } else {
            let beyond = delta / (2.0 * count);
            (2.0 * measure.radius(beyond), 2.0 * beyond / (1.0 - beyond))
        };
        let left = (1.0 - share) * eps - bias;
        if left <= 0.0 {
            count *= 2.0;
            continue;
        }
        // Cells of the differences whose half-diagonal is share eps / lipschitz; s - k is even, so half of them.
        let cells_ln = covering_ln(widths.iter().map(|width| 2.0 * width), share * eps / lipschitz);
        let points_ln = cells_ln - 2f64.ln() + (-cells_ln).exp();
        let next = ((4.0 / delta).ln() + points_ln.max(0.0)) / exponent(left, VARIANCE + 2.5 * bias);
        if (next - count).abs() <= 1e-9 * count {
            break;
        }
        count = next.max(1.0);
    }
    count
}

/// Units that suffice on a box of the given edges by the published formula.
fn published(measure: &SpectralMeasure, widths: &[f64], eps: f64, delta: f64) -> f64 {
    let dim = widths.len() as f64;
    let spread = measure.second_moment().sqrt() * widths.iter().map(|w| w * w).sum::<f64>().sqrt();
    if spread.is_infinite() || spread == 0.0 {
        return f64::INFINITY;
    }
    // It holds up to an error of the spread; what suffices there suffices for a larger one.
    let eps = eps.min(spread);
    let units = 8.0 * (dim + 2.0) / (eps * eps) * (66.0 * (spread / eps).powi(2) / delta).ln();
    2.0 * (units / 2.0).ceil()
}
