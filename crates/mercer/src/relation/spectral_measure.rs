//! Spectral measures of shift-invariant kernels (Bochner) and Lipschitz constants.

use crate::relation::Kernel;
use crate::relation::kernel::Form;
use crate::seed::Stream;

/// The law of `w` with `k(x, y) = E cos(<w, x - y>)`, for a shift-invariant kernel with `k(x, x) = 1`.
///
/// `w = s z` with `z` standard normal in `dim` dimensions and a random scale `s`, independent of it:
///
/// | kernel | `s` |
/// |---|---|
/// | Gaussian | `1 / L` |
/// | Matern `nu` | `sqrt(2 nu / chi^2) / L`, `chi^2` with `2 nu` degrees of freedom (so `w` is multivariate t) |
/// | rational quadratic | `sqrt(t)`, `t` gamma distributed with shape `A` and mean `1 / L^2` |
///
/// ```
/// use mercer::{Kernel, Seed};
/// let measure = Kernel::gaussian(0.5)?.spectral_measure(2).expect("shift-invariant");
/// assert_eq!(measure.second_moment(), 8.0); // dim / L^2
/// assert_eq!(measure.draw(&mut Seed(0).stream("frequencies")).len(), 2);
/// assert!(Kernel::tanimoto().spectral_measure(2).is_none());
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpectralMeasure {
    dim: usize,
    length: f64,
    scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    One,
    /// `sqrt(q / chi^2_q)`.
    StudentT {
        degrees: u32,
    },
    /// `sqrt(Gamma(shape) / shape)`.
    Gamma {
        shape: f64,
    },
}

impl Kernel {
    /// The spectral measure on `dim` coordinates; `None` for kernels that are not shift-invariant, positive and 1 on
    /// the diagonal, and for dimension 0.
    pub fn spectral_measure(&self, dim: usize) -> Option<SpectralMeasure> {
        let (length, scale) = match self.0 {
            Form::Gaussian { length } => (length, Scale::One),
            Form::Matern12 { length } => (length, Scale::StudentT { degrees: 1 }),
            Form::Matern32 { length } => (length, Scale::StudentT { degrees: 3 }),
            Form::Matern52 { length } => (length, Scale::StudentT { degrees: 5 }),
            Form::RationalQuadratic { length, exponent } => (length, Scale::Gamma { shape: exponent }),
            _ => return None,
        };
        (dim > 0).then_some(SpectralMeasure { dim, length, scale })
    }

    /// The smallest `L` with `|k(x, y) - k(x', y)| <= L |x - x'|` everywhere, and the same in `y`; `None` for kernels
    /// whose constant depends on the domain.
    ///
    /// The largest slope of `k` as a function of the distance: Gaussian `exp(-1/2) / L`, Matern-1/2 `1 / L`,
    /// Matern-3/2 `sqrt(3) / (e L)`, Matern-5/2 at `s = (1 + sqrt(5)) / 2`, rational quadratic at `d^2 = 2 A L^2 / (2 A
    /// + 1)`, negative distance 1.
    pub fn lipschitz(&self) -> Option<f64> {
        match self.0 {
            Form::Gaussian { length } => Some((-0.5f64).exp() / length),
            Form::Matern12 { length } => Some(1.0 / length),
            Form::Matern32 { length } => Some(3f64.sqrt() * (-1f64).exp() / length),
            Form::Matern52 { length } => {
                let s = 0.5 * (1.0 + 5f64.sqrt());
                Some(5f64.sqrt() * (s + s * s) * (-s).exp() / (3.0 * length))
            }
            Form::RationalQuadratic { length, exponent } => {
                let ratio = 1.0 / (2.0 * exponent + 1.0);
                Some((2.0 * exponent * ratio).sqrt() * (-(exponent + 1.0) * ratio.ln_1p()).exp() / length)
            }
            Form::NegativeDistance => Some(1.0),
            _ => None,
        }
    }
}

impl SpectralMeasure {
    /// Number of coordinates.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// One frequency, `dim` coordinates.
    pub fn draw(&self, stream: &mut Stream) -> Vec<f64> {
        let scale = match self.scale {
            Scale::One => 1.0,
            Scale::StudentT { degrees } => {
                let square: f64 = (0..degrees).map(|_| stream.normal().powi(2)).sum();
                (f64::from(degrees) / square).sqrt()
            }
            Scale::Gamma { shape } => (gamma(shape, stream) / shape).sqrt(),
        };
        (0..self.dim).map(|_| stream.normal() * scale / self.length).collect()
    }

    /// `sigma_p^2 = E |w|^2`: infinite for Matern-1/2.
    pub fn second_moment(&self) -> f64 {
        let factor = match self.scale {
            Scale::StudentT { degrees } if degrees <= 2 => f64::INFINITY,
            Scale::StudentT { degrees } => f64::from(degrees) / (f64::from(degrees) - 2.0),
            _ => 1.0,
        };
        self.dim as f64 * factor / (self.length * self.length)
    }

    /// `E |w|^a` for `a > 0`; infinite where it does not exist.
    ///
    /// `E |z|^a = 2^(a/2) G((d + a) / 2) / G(d / 2)` with the gamma function `G`, times `E s^a` (likewise a ratio of
    /// `G`).
    pub fn moment(&self, a: f64) -> f64 {
        let (d, half) = (self.dim as f64, 0.5 * a);
        let normal = half * 2f64.ln() + ln_gamma(0.5 * d + half) - ln_gamma(0.5 * d);
        let scale = match self.scale {
            Scale::One => 0.0,
            Scale::StudentT { degrees } if a >= f64::from(degrees) => return f64::INFINITY,
            Scale::StudentT { degrees } => {
                let q = f64::from(degrees);
                half * (0.5 * q).ln() + ln_gamma(0.5 * q - half) - ln_gamma(0.5 * q)
            }
            Scale::Gamma { shape } => ln_gamma(shape + half) - ln_gamma(shape) - half * shape.ln(),
        };
        (normal + scale - a * self.length.ln()).exp()
    }

    /// A radius beyond which `|w|` lies with probability at most `p`: the inverse of [`SpectralMeasure::tail`].
    pub fn radius(&self, p: f64) -> f64 {
        let radius = |(ln_c, a): (f64, f64)| ((ln_c - p.ln()) / a).exp();
        self.tails().map(radius).filter(|r| !r.is_nan()).fold(f64::INFINITY, f64::min)
    }

    /// A bound on the probability that `|w|` is above `radius`: the least of `E |w|^a / radius^a` over a list of `a`
    /// (Markov), and for Matern kernels `C / radius^q`, `q = 2 nu`.
    ///
    /// The latter because `|z|^2 q / (L^2 chi^2) > radius^2` takes `chi^2 < u` with `u = q |z|^2 / (L radius)^2`, of
    /// probability at most `(u / 2)^(q/2) / G(q/2 + 1)`: `C = (q / L^2)^(q/2) G((d + q) / 2) / (G(d/2) G(q/2 + 1))`,
    /// exact in the limit of large radii.
    pub fn tail(&self, radius: f64) -> f64 {
        let share = |(ln_c, a): (f64, f64)| (ln_c - a * radius.ln()).exp();
        self.tails().map(share).filter(|p| !p.is_nan()).fold(1.0, f64::min)
    }

    /// `(ln C, a)` with `P(|w| > t) <= C / t^a`.
    fn tails(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        const POWERS: [f64; 12] = [0.5, 0.75, 0.9, 0.95, 1.5, 2.0, 2.8, 4.0, 4.8, 8.0, 16.0, 32.0];
        let of_student = |degrees: u32| {
            let (d, q) = (self.dim as f64, f64::from(degrees));
            let gammas = ln_gamma(0.5 * (d + q)) - ln_gamma(0.5 * d) - ln_gamma(0.5 * q + 1.0);
            (0.5 * q * q.ln() - q * self.length.ln() + gammas, q)
        };
        let student = match self.scale {
            Scale::StudentT { degrees } => Some(of_student(degrees)),
            _ => None,
        };
        POWERS.iter().map(|&a| (self.moment(a).ln(), a)).chain(student)
    }
}

/// Gamma distributed with the given shape and scale 1. Source: Marsaglia and Tsang, ACM TOMS 26 (2000).
fn gamma(shape: f64, stream: &mut Stream) -> f64 {
    if shape < 1.0 {
        let power = (1.0 - stream.uniform()).powf(1.0 / shape);
        return gamma(shape + 1.0, stream) * power;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - stream.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// `ln G(x)` for `x > 0`, by Lanczos' series (g = 7, nine terms), relative error about 1e-15.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection keeps the series in its range.
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let sum = COEFFICIENTS.iter().enumerate().fold(0.999_999_999_999_809_9, |s, (i, c)| s + c / (x + (i + 1) as f64));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relation::Relation;
    use crate::rows::Features;
    use crate::seed::Seed;

    fn kernels() -> Vec<Kernel> {
        ["gaussian:0.7", "matern12:0.7", "matern32:0.7", "matern52:0.7", "rational-quadratic:0.7,0.4"]
            .map(|text| text.parse().unwrap())
            .to_vec()
    }

    /// The kernel at a difference in the plane.
    fn value(kernel: &Kernel, shift: [f32; 2]) -> f64 {
        let (x, y) = (Features::dense(vec![0.0, 0.0], 2).unwrap(), Features::dense(shift.to_vec(), 2).unwrap());
        let mut out = [0.0];
        kernel.block(0, &x.rows(), &y.rows(), &mut out).unwrap();
        out[0]
    }

    #[test]
    fn the_kernel_is_the_characteristic_function_of_its_frequencies() {
        let n = 200_000;
        let others = ["rational-quadratic:1,3", "matern32:1.2"].map(|text| text.parse().unwrap());
        for kernel in kernels().into_iter().chain(others) {
            let measure = kernel.spectral_measure(2).unwrap();
            let mut stream = Seed(1).stream("frequencies");
            let draws: Vec<Vec<f64>> = (0..n).map(|_| measure.draw(&mut stream)).collect();
            for shift in [[0.1, 0.0], [0.3, -0.4], [1.0, 1.0], [-2.0, 0.5]] {
                let phase = |w: &Vec<f64>| w[0] * f64::from(shift[0]) + w[1] * f64::from(shift[1]);
                let mean = draws.iter().map(|w| phase(w).cos()).sum::<f64>() / n as f64;
                let difference = (mean - value(&kernel, shift)).abs();
                // The standard deviation of the mean is at most 3 / (4 sqrt(n)), as the variance is at most 9/16.
                assert!(difference < 4.5 * 0.75 / (n as f64).sqrt(), "{kernel} at {shift:?}: {difference}");
            }
        }
    }

    #[test]
    fn moments_and_radii() {
        assert!((ln_gamma(5.0) - 24f64.ln()).abs() < 1e-13);
        assert!((ln_gamma(0.25) - 3.625_609_908_221_908f64.ln()).abs() < 1e-13);
        for kernel in kernels() {
            let measure = kernel.spectral_measure(2).unwrap();
            let second = measure.second_moment();
            assert!(
                second.is_infinite() && measure.moment(2.0).is_infinite()
                    || (measure.moment(2.0) / second - 1.0).abs() < 1e-12
            );
            let mut stream = Seed(2).stream("frequencies");
            let norms: Vec<f64> =
                (0..40_000).map(|_| measure.draw(&mut stream).iter().map(|w| w * w).sum::<f64>().sqrt()).collect();
            let mean = norms.iter().map(|w| w.sqrt()).sum::<f64>() / norms.len() as f64;
            assert!((mean / measure.moment(0.5) - 1.0).abs() < 0.02, "{kernel}: {mean}");
            for p in [0.3, 0.01] {
                let radius = measure.radius(p);
                let beyond = norms.iter().filter(|w| **w > radius).count() as f64;
                let deviation = (p * (1.0 - p) * norms.len() as f64).sqrt();
                assert!(beyond <= p * norms.len() as f64 + 4.0 * deviation, "{kernel}: {beyond} beyond {radius}");
                assert!(
                    (measure.tail(radius) / p - 1.0).abs() < 1e-9,
                    "{kernel}: {} at {radius}",
                    measure.tail(radius)
                );
            }
        }
        // Matern-1/2 on a line has Cauchy frequencies, of which 1 - 2 atan(t L) / pi lie beyond t.
        let cauchy = Kernel::matern12(0.5).unwrap().spectral_measure(1).unwrap();
        for t in [20.0, 2000.0] {
            let exact = 1.0 - std::f64::consts::FRAC_2_PI * f64::atan(0.5 * t);
            assert!(cauchy.tail(t) >= exact && cauchy.tail(t) < 1.01 * exact, "{} {exact}", cauchy.tail(t));
        }
        assert_eq!(cauchy.tail(0.01), 1.0);
        for kernel in kernels() {
            assert_eq!(kernel.spectral_measure(3).unwrap().tail(f64::INFINITY), 0.0, "{kernel}");
        }
    }

    #[test]
    fn slopes_reach_the_lipschitz_constant_and_not_more() {
        for kernel in kernels().into_iter().chain([Kernel::negative_distance()]) {
            let at = |i: i32| value(&kernel, [1e-3 * i as f32, 0.0]);
            let slope = |i: i32| (at(i + 1) - at(i)).abs() / 1e-3;
            let largest = (0..3000).map(slope).fold(0.0, f64::max);
            let constant = kernel.lipschitz().unwrap();
            assert!(largest <= constant * 1.001 && largest > 0.99 * constant, "{kernel}: {largest} of {constant}");
        }
    }
}
