//! Random-feature networks of shift-invariant kernels.

use std::f64::consts::FRAC_PI_2;

use crate::construct::{Construction, Domain, Evidence, Guarantee, Norm, roundings};
use crate::encoder::{DualEncoder, Form};
use crate::error::{Error, Result};
use crate::relation::{Kernel, KernelForm};
use crate::seed::{Seed, Stream};
use crate::tower::{Activation, Layer, Tower};

/// Law of the frequencies whose characteristic function is a kernel: a standard normal vector divided by the length,
/// times a random scale.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SpectralMeasure {
    length: f64,
    scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    /// 1: the Gaussian kernel.
    One,
    /// `sqrt(n / chi^2_n)`, Student's t: the Matern kernel with `nu = n / 2`.
    Student(u32),
    /// `sqrt(g)`, `g` from the gamma law with this shape and mean 1: the rational quadratic kernel.
    Gamma(f64),
}

impl SpectralMeasure {
    fn of(kernel: &Kernel) -> Option<Self> {
        let (length, scale) = match kernel.form() {
            KernelForm::Gaussian { length } => (length, Scale::One),
            KernelForm::Matern12 { length } => (length, Scale::Student(1)),
            KernelForm::Matern32 { length } => (length, Scale::Student(3)),
            KernelForm::Matern52 { length } => (length, Scale::Student(5)),
            KernelForm::RationalQuadratic { length, exponent } => (length, Scale::Gamma(exponent)),
            _ => return None,
        };
        Some(SpectralMeasure { length, scale })
    }

    /// `E |w|^2` in `dim` dimensions; infinite for Matern-1/2.
    fn second_moment(&self, dim: usize) -> f64 {
        let square = dim as f64 / (self.length * self.length);
        match self.scale {
            Scale::One | Scale::Gamma(_) => square,
            Scale::Student(n) if n > 2 => square * f64::from(n) / f64::from(n - 2),
            Scale::Student(_) => f64::INFINITY,
        }
    }

    /// A bound on the probability that `|w|` is above `limit`.
    fn tail(&self, dim: usize, limit: f64) -> f64 {
        match self.second_moment(dim) {
            // |g| / |z| > t for normal g, z: P(|z| < |g| / t) <= sqrt(2 / pi) E|g| / t.
            moment if moment.is_infinite() => (std::f64::consts::FRAC_2_PI * dim as f64).sqrt() / (limit * self.length),
            moment => moment / (limit * limit),
        }
    }

    fn draw(&self, dim: usize, stream: &mut Stream) -> Vec<f64> {
        let scale = match self.scale {
            Scale::One => 1.0,
            Scale::Student(n) => {
                let square: f64 = (0..n).map(|_| stream.normal().powi(2)).sum();
                (f64::from(n) / square).sqrt()
            }
            Scale::Gamma(shape) => (gamma(shape, stream) / shape).sqrt(),
        };
        (0..dim).map(|_| scale * stream.normal() / self.length).collect()
    }
}

/// Gamma variate of unit rate (Marsaglia and Tsang, 2000; below shape 1 by one more power of a uniform variate).
fn gamma(shape: f64, stream: &mut Stream) -> f64 {
    if shape < 1.0 {
        let power = (1.0 - stream.uniform()).powf(1.0 / shape);
        return gamma(shape + 1.0, stream) * power;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let z = stream.normal();
        let v = (1.0 + c * z).powi(3);
        if v > 0.0 && (1.0 - stream.uniform()).ln() < 0.5 * z * z + d * (1.0 - v + v.ln()) {
            return d * v;
        }
    }
}

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
/// moment `sigma^2 = E |w|^2` it bounds the largest error on the box: with `D` its diameter, the `e` with `66 (sigma D
/// / e)^2 exp(-m e^2 / (8 (d + 2))) = 1 - confidence`, if that is at most `sigma D`; else the trivial 2 (Sutherland and
/// Schneider 2015, proposition 1). For `matern12`, which has none, it bounds the root mean square error under any law
/// of pairs: `(1 + 2 sqrt(ln(1 / (1 - confidence)))) / sqrt(m)`, for the mean square over the frequencies is at most `1
/// / m`, and changing one of them moves the error's norm by at most `4 / m` (McDiarmid). Rounding is added.
///
/// Cost: `m (d + 1)` weights. The error falls as `1 / sqrt(m)`.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for another kernel, unless `features` is even, from 2 to 2^24, with at most 2^30
/// weights in all, and `confidence` lies between 0 and 1.
///
/// ```
/// use mercer::construct::{Domain, measure, random_features};
/// use mercer::{Kernel, Seed};
/// let (kernel, unit) = (Kernel::gaussian(1.0)?, Domain::cube(1, 0.0, 1.0)?);
/// let network = random_features(&kernel, &unit, 2000, 0.99, Seed(1))?;
/// let grid = unit.grid(50)?;
/// assert!(measure(&network, &kernel, &grid, &grid)?.tightness < 1.0);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn random_features(
    kernel: &Kernel,
    domain: &Domain,
    features: usize,
    confidence: f64,
    seed: Seed,
) -> Result<Construction> {
    let dim = domain.dim();
    if features < 2 || !features.is_multiple_of(2) || features > 1 << 24 || features * dim > 1 << 30 {
        let expected = "an even number from 2 to 16,777,216, with at most 2^30 weights in all";
        return Err(Error::parameter("random features", expected, features));
    }
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::parameter("confidence", "between 0 and 1", confidence));
    }
    let expected = "shift-invariant with a known spectral measure: gaussian, matern12, matern32, matern52 or \
                    rational-quadratic";
    let measure = SpectralMeasure::of(kernel).ok_or_else(|| Error::parameter("kernel", expected, kernel))?;
    let radius: f64 =
        domain.low().iter().zip(domain.high()).map(|(l, h)| l.abs().max(h.abs()).powi(2)).sum::<f64>().sqrt();
    let limit = LARGEST_PHASE / radius;
    let again = measure.tail(dim, limit);
    if again > 0.5 {
        let problem = format!("the box reaches {radius:.3e} from the origin, too many lengths of {kernel} for f32");
        return Err(Error::data(problem, "move the box to the origin or take a larger length"));
    }
    let frequencies = draw(&measure, dim, features / 2, limit, seed);
    let tower = tower(&frequencies, dim)?;
    // A phase errs by the rounding of its weights and products; sine has slope 1. The squares of all features sum to 1.
    let mean = frequencies.chunks_exact(dim).map(|w| phase(w, domain)).sum::<f64>() / (features / 2) as f64;
    let of_unit = SINE + roundings(dim + 3) * (mean + FRAC_PI_2);
    // Drawing again changes the kernel of the frequencies by at most twice the share.
    let rounding = 2.0 * (2.0 * of_unit + roundings(4)) + 2.0 * again;
    let encoder = DualEncoder::new(tower, None, Form::Identity, 1)?;
    let guarantee = bound(&measure, domain, features, confidence, rounding);
    Ok(Construction::new(encoder, format!("random-feature network of {kernel}"), guarantee))
}

fn draw(measure: &SpectralMeasure, dim: usize, count: usize, limit: f64, seed: Seed) -> Vec<f64> {
    let mut stream = seed.stream("random features");
    let mut frequencies = Vec::with_capacity(dim * count);
    while frequencies.len() < dim * count {
        let own = measure.draw(dim, &mut stream);
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
fn phase(w: &[f64], domain: &Domain) -> f64 {
    w.iter().zip(domain.low().iter().zip(domain.high())).map(|(w, (l, h))| w.abs() * l.abs().max(h.abs())).sum()
}

fn bound(measure: &SpectralMeasure, domain: &Domain, features: usize, confidence: f64, rounding: f64) -> Guarantee {
    let (m, d, delta) = (features as f64, domain.dim() as f64, 1.0 - confidence);
    let moment = measure.second_moment(domain.dim());
    let frequencies =
        format!("over the draw of {} frequencies; f32 rounding included, inner products in f64", features / 2);
    if moment.is_infinite() {
        let error = (1.0 + 2.0 * delta.recip().ln().sqrt()) / m.sqrt() + rounding;
        let assumptions = format!("for any law of pairs in the box, with the stated confidence {frequencies}");
        return Guarantee { norm: Norm::Rms, error, confidence, evidence: Evidence::Proven, assumptions };
    }
    let spread = moment.sqrt() * domain.diameter();
    // ln of the probability, which falls with the error.
    let excess = |e: f64| (66.0f64).ln() + 2.0 * (spread / e).ln() - m * e * e / (8.0 * (d + 2.0)) - delta.ln();
    let (mut low, mut high) = (1e-12, 2.0);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if excess(middle) > 0.0 { low = middle } else { high = middle }
    }
    let trivial = excess(high) > 0.0 || high > spread;
    let error = if trivial { 2.0 } else { high } + rounding;
    let known =
        if trivial { "values in [-1, 1], too few features for the bound" } else { "a net and Hoeffding's inequality" };
    let assumptions = format!("for every pair in the box by {known}, with the stated confidence {frequencies}");
    Guarantee { norm: Norm::Sup, error, confidence, evidence: Evidence::Proven, assumptions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relation::Relation;
    use crate::rows::Features;

    #[test]
    fn frequencies_have_the_kernel_as_their_characteristic_function() {
        let n = 200_000;
        for text in [
            "gaussian:0.7",
            "matern12:0.5",
            "matern32:1.2",
            "matern52:0.9",
            "rational-quadratic:0.8,0.6",
            "rational-quadratic:1,3",
        ] {
            let kernel: Kernel = text.parse().unwrap();
            let measure = SpectralMeasure::of(&kernel).unwrap();
            let frequencies = draw(&measure, 2, n, 1e5, Seed(5));
            for shift in [[0.1, 0.0], [0.3, -0.4], [1.0, 1.0]] {
                let mean = frequencies.chunks_exact(2).map(|w| (w[0] * shift[0] + w[1] * shift[1]).cos()).sum::<f64>()
                    / n as f64;
                let mut value = [0.0];
                let (x, y) = (vec![0f32; 2], shift.iter().map(|&v| v as f32).collect());
                let (x, y) = (Features::dense(x, 2).unwrap(), Features::dense(y, 2).unwrap());
                kernel.block(0, &x.rows(), &y.rows(), &mut value).unwrap();
                // The standard deviation of the mean is at most 1 / sqrt(2 n).
                assert!(
                    (mean - value[0]).abs() < 4.5 / (2.0 * n as f64).sqrt(),
                    "{text} at {shift:?}: {mean}, {}",
                    value[0]
                );
            }
        }
    }
}
