//! Random-feature networks of shift-invariant kernels.

use std::f64::consts::FRAC_PI_2;

use crate::bounds::random_features_error;
use crate::construct::{Construction, Evidence, Guarantee, Norm, roundings};
use crate::encoder::{DualEncoder, Form};
use crate::error::{Error, Result};
use crate::relation::{Cuboid, Kernel, SpectralMeasure};
use crate::seed::Seed;
use crate::tower::{Activation, Layer, Tower};

/// Phases beyond this say nothing in `f32`; a frequency that reaches them is drawn again.
const LARGEST_PHASE: f64 = 1e5;

/// Error of a computed sine at a computed phase up to [`LARGEST_PHASE`].
const SINE: f64 = 3e-6;

/// A one-hidden-layer network of `features` sine units for a shift-invariant kernel.
///
/// `phi(x) = sqrt(2 / m) (cos Wx, sin Wx)` with `m / 2` frequencies from the kernel's spectral measure (Gaussian:
/// normal; Matern: Student's t with `2 nu` degrees of freedom; rational quadratic: a gamma mixture of normals), cosines
/// as sines shifted by a quarter turn.
///
/// The guarantee holds with probability `confidence` over the frequencies. Where the spectral measure has a second
/// moment it bounds the largest error on the box: [`random_features_error`](crate::bounds::random_features_error).
/// Frequencies too high for `f32` are drawn again, which happens with probability at most `m p / 2`, `p` that of one,
/// and takes so much from the confidence that is left for the draw. For `matern12`, which has no second moment, it
/// bounds the root mean square error under any law of pairs:
/// `(1 + 5 p + 2 sqrt(ln(1 / (1 - confidence)))) / sqrt(m) + 2 p`, for the variance of a cosine is at most `1/2 + 5 p`,
/// changing one of the frequencies moves the error's norm by at most `4 / m` (McDiarmid), and drawing again moves the
/// mean by at most `2 p`. Rounding is added.
///
/// Cost: `m (d + 1)` weights. The error falls as `1 / sqrt(m)`.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for another kernel, unless `features` is even, from 2 to 2^24, with at most 2^30
/// weights in all, and `confidence` lies between 0 and 1.
///
/// ```
/// use mercer::construct::{measure, random_features};
/// use mercer::{Cuboid, Kernel, Seed};
/// let (kernel, unit) = (Kernel::gaussian(1.0)?, Cuboid::cube(1, 0.0, 1.0)?);
/// let network = random_features(&kernel, &unit, 2000, 0.99, Seed(1))?;
/// let grid = unit.grid(50)?;
/// assert!(measure(&network, &kernel, &grid, &grid)?.tightness < 1.0);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn random_features(
    kernel: &Kernel,
    domain: &Cuboid,
    features: usize,
    confidence: f64,
    seed: Seed,
) -> Result<Construction> {
    domain.check()?;
    let dim = domain.dim();
    if features < 2 || !features.is_multiple_of(2) || features > 1 << 24 || features * dim > 1 << 30 {
        let expected = "an even number from 2 to 16,777,216, with at most 2^30 weights in all";
        return Err(Error::parameter("random features", expected, features));
    }
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::parameter("confidence", "between 0 and 1", confidence));
    }
    let expected = "a shift-invariant kernel with a known spectral measure: gaussian, matern12, matern32, matern52 or rational-quadratic";
    let measure = kernel.spectral_measure(dim).ok_or_else(|| Error::parameter("kernel", expected, kernel))?;
    let radius = (0..dim).map(|axis| domain.reach(axis).powi(2)).sum::<f64>().sqrt();
    let limit = LARGEST_PHASE / radius;
    let again = measure.tail(limit);
    if again > 0.5 {
        let problem = format!("the box reaches {radius:.3e} from the origin, too many lengths of {kernel} for f32");
        return Err(Error::data(problem, "move the box to the origin or take a larger length"));
    }
    let frequencies = draw(&measure, features / 2, limit, seed);
    let tower = tower(&frequencies, dim)?;
    // A phase errs by the rounding of its weights and products; sine has slope 1. The squares of all features sum to 1.
    let mean = frequencies.chunks_exact(dim).map(|w| phase(w, domain)).sum::<f64>() / (features / 2) as f64;
    let of_unit = SINE + roundings(dim + 3) * (mean + FRAC_PI_2);
    let rounding = 2.0 * (2.0 * of_unit + roundings(4));
    let encoder = DualEncoder::new(tower, None, Form::Identity, 1)?;
    let guarantee = if measure.second_moment().is_finite() {
        largest(kernel, domain, features, confidence, again)?
    } else {
        mean_square(features, confidence, again)
    };
    let guarantee = Guarantee { error: guarantee.error + rounding, ..guarantee };
    Ok(Construction::new(encoder, format!("random-feature network of {kernel}"), guarantee))
}

/// `count` frequencies of length at most `limit`, one behind the other.
fn draw(measure: &SpectralMeasure, count: usize, limit: f64, seed: Seed) -> Vec<f64> {
    let mut stream = seed.stream("random features");
    let mut frequencies = Vec::with_capacity(measure.dim() * count);
    while frequencies.len() < measure.dim() * count {
        let own = measure.draw(&mut stream);
        if own.iter().map(|w| w * w).sum::<f64>().sqrt() <= limit {
            frequencies.extend(own);
        }
    }
    frequencies
}

fn tower(frequencies: &[f64], dim: usize) -> Result<Tower> {
    let half = frequencies.len() / dim;
    let weights = (0..dim * 2 * half).map(|at| frequencies[at % (2 * half) % half * dim + at / (2 * half)] as f32);
    let bias = (0..2 * half).map(|j| if j < half { FRAC_PI_2 as f32 } else { 0.0 });
    let layer = Layer::new(weights.collect(), bias.collect(), Activation::Sine)?;
    Tower::new(vec![layer])?.with_scale((half as f64).sqrt().recip() as f32)
}

/// Sum of the sizes of a phase's terms, at most.
fn phase(w: &[f64], domain: &Cuboid) -> f64 {
    w.iter().enumerate().map(|(axis, w)| w.abs() * domain.reach(axis)).sum()
}

fn over_the_draw(features: usize) -> String {
    let count = features / 2;
    format!(
        "with the stated confidence over the draw of {count} frequencies; f32 rounding included, inner products in f64"
    )
}

/// The bound on the largest error; `again`: the probability that a frequency is drawn again.
fn largest(kernel: &Kernel, domain: &Cuboid, features: usize, confidence: f64, again: f64) -> Result<Guarantee> {
    let needed = confidence + (features / 2) as f64 * again;
    let error = if needed < 1.0 { random_features_error(kernel, domain, features, needed)? } else { 2.0 };
    let known = if error < 2.0 { "a net argument" } else { "values in [-1, 1], too few features for more" };
    let assumptions = format!("for every pair in the box by {known}, {}", over_the_draw(features));
    Ok(Guarantee { norm: Norm::Sup, error, confidence, evidence: Evidence::Proven, assumptions })
}

/// The bound on the root mean square error of `matern12`.
fn mean_square(features: usize, confidence: f64, again: f64) -> Guarantee {
    let draws = 1.0 + 5.0 * again + 2.0 * (1.0 - confidence).recip().ln().sqrt();
    let error = (draws / (features as f64).sqrt() + 2.0 * again).min(2.0);
    let assumptions = format!("for any law of pairs in the box, {}", over_the_draw(features));
    Guarantee { norm: Norm::Rms, error, confidence, evidence: Evidence::Proven, assumptions }
}
