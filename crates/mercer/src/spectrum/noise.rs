//! The noise in observed values: from repeated pairs, or from the plateau of a table's singular values.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{Matrix, singular_values};
use crate::relation::{PairSource, all_pairs, ln_gamma};
use crate::spectrum::Evidence;

/// What a noise level was found from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseSource {
    /// Pairs that were measured more than once.
    Repeats,
    /// The bulk of a table's singular values.
    Plateau,
}

/// A noise level, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// What it was found from.
    pub source: NoiseSource,
    /// Standard deviation of a value (of weight 1) around the relation; `None`: not known, see `reason`.
    pub level: Option<f64>,
    /// Interval for the level with `confidence`, for normal noise; from repeats only.
    pub interval: Option<(f64, f64)>,
    /// Confidence of `interval`.
    pub confidence: f64,
    /// Degrees of freedom: measurements beyond the first of each pair, or singular values in the bulk.
    pub degrees: usize,
    /// Singular values that stand out of the bulk; from the plateau only.
    pub rank: Option<usize>,
    /// `level^2` as a share of the mean square of the values.
    pub share: Option<f64>,
    /// How it is known.
    pub evidence: Evidence,
    /// How it was found, or why not.
    pub reason: String,
}

impl Noise {
    /// The share, at most 1, of a mean-square error on observed values that noise explains: `level^2 / rms_error^2`.
    ///
    /// No model has an error below the level on fresh noisy values; `None` where the level is not known or the error is
    /// not positive.
    pub fn explains(&self, rms_error: f64) -> Option<f64> {
        let level = self.level.filter(|_| rms_error > 0.0)?;
        Some((level / rms_error).powi(2).min(1.0))
    }
}

/// The noise level from pairs that occur more than once (same query, same key): the pooled variance within them,
/// `s^2 = sum_g sum_j w (v - mean_g)^2 / sum_g (n_g - 1)`, weights being inverse variances.
///
/// The interval `s sqrt(f / q)`, with the chi-squared quantiles `q` of `f` degrees of freedom, is exact for independent
/// normal noise. Cost: one sort of the pairs.
///
/// # Errors
/// [`ErrorKind::Parameter`] for a confidence outside (0, 1); what the source reports.
///
/// ```
/// use mercer::{Pairs, spectrum::repeat_noise};
/// let pairs = Pairs::new(vec![0, 0, 1], vec![1, 1, 1], vec![0.9, 1.1, 3.0], None)?;
/// let noise = repeat_noise(&pairs, 0.95)?;
/// assert!((noise.level.unwrap_or(0.0) - 0.02f64.sqrt()).abs() < 1e-6);
/// assert_eq!(noise.degrees, 1);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn repeat_noise(pairs: &dyn PairSource, confidence: f64) -> Result<Noise> {
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::parameter("confidence", "between 0 and 1", confidence));
    }
    let pairs = all_pairs(pairs)?;
    let all = pairs.chunk();
    let weight = |p: usize| all.weight.map_or(1.0, |w| f64::from(w[p]));
    let value = |p: usize| f64::from(all.value[p]);
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|&p| (all.x[p], all.y[p]));
    let (mut squares, mut degrees) = (0.0, 0);
    for group in order.chunk_by(|&a, &b| (all.x[a], all.y[a]) == (all.x[b], all.y[b])) {
        let total: f64 = group.iter().map(|&p| weight(p)).sum();
        let mean = group.iter().map(|&p| weight(p) * value(p)).sum::<f64>() / total;
        squares += group.iter().map(|&p| weight(p) * (value(p) - mean).powi(2)).sum::<f64>();
        degrees += group.len() - 1;
    }
    let mut noise = Noise {
        source: NoiseSource::Repeats,
        level: None,
        interval: None,
        confidence,
        degrees,
        rank: None,
        share: None,
        evidence: Evidence::Estimated,
        reason: "no pair occurs twice: the noise level is not known from repeats".into(),
    };
    if degrees == 0 {
        return Ok(noise);
    }
    let f = degrees as f64;
    let bound = |p: f64| (squares / chi_square_quantile(f, p)).sqrt();
    let mean_square = (0..pairs.len()).map(|p| value(p).powi(2)).sum::<f64>() / pairs.len() as f64;
    noise.level = Some((squares / f).sqrt());
    noise.interval = Some((bound(0.5 * (1.0 + confidence)), bound(0.5 * (1.0 - confidence))));
    noise.share = (mean_square > 0.0).then(|| (squares / f / mean_square).min(1.0));
    noise.reason = format!("pooled over {degrees} repeats; the interval holds for independent normal noise");
    Ok(noise)
}

/// Largest distance between the distribution of the bulk and the Marchenko-Pastur law that still counts as a plateau.
const DISTANCE: f64 = 0.04;
/// Fewer singular values than this show no distribution.
const FEWEST: usize = 40;

/// The noise level of a table in which every pair is known, from the plateau of its singular values.
///
/// Independent noise of level `s` in an `n x m` table has singular values that fill `s (sqrt(m) -+ sqrt(n))` by the law
/// of Marchenko and Pastur (1967); a relation of low rank adds values above. The level is the median of the bulk over
/// that of the law (Gavish and Donoho, IEEE Trans. Inf. Theory 60, 2014), the bulk being what lies below the edge at
/// that level. Accepted only where the whole bulk follows the law (largest distance of the distributions below 0.04):
/// values of a smooth kernel, which decay without a plateau, are not called noise. A relation that itself looks like
/// independent numbers cannot be told from noise. A symmetric table's singular values follow the same law.
///
/// `values`: row-major `(queries, keys)`. Cost: one decomposition, values only.
///
/// # Errors
/// [`ErrorKind::Shape`] if sizes do not fit, [`ErrorKind::NonFinite`] at a NaN or infinite value.
pub fn plateau_noise(values: &[f64], queries: usize, keys: usize) -> Result<Noise> {
    if queries == 0 || queries.checked_mul(keys) != Some(values.len()) || values.is_empty() {
        return Err(Error::shape("table", format!("{queries} x {keys} values, at least one"), values.len()));
    }
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        return Err(ErrorKind::NonFinite { what: "table".into(), row: at / keys, column: at % keys }.into());
    }
    let block = Matrix::from_columns(values.to_vec(), keys, queries);
    let singular = singular_values(&block).ok_or_else(|| {
        Error::data("the decomposition of the table did not converge", "check its values for overflow")
    })?;
    let mean_square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
    let (small, large) = (queries.min(keys), queries.max(keys));
    let mut noise = Noise {
        source: NoiseSource::Plateau,
        level: None,
        interval: None,
        confidence: 0.0,
        degrees: 0,
        rank: None,
        share: None,
        evidence: Evidence::Estimated,
        reason: format!(
            "a table with {small} items on its smaller side is too small for a plateau ({FEWEST} are needed)"
        ),
    };
    if small < FEWEST {
        return Ok(noise);
    }
    let Bulk { rank, level, distance } = bulk(&singular, small, large);
    // Rounding of f64 values has a plateau of its own.
    if level <= large as f64 * f64::EPSILON * mean_square.sqrt() {
        noise.reason = "beyond its leading singular values the table holds rounding only".into();
    } else if small - rank < FEWEST || distance > DISTANCE {
        noise.reason = format!(
            "the singular values decay without a plateau (distance {distance:.3} from the law of noise, {DISTANCE} allowed): \
             what is small in them may be structure"
        );
    } else {
        noise.level = Some(level);
        noise.degrees = small - rank;
        noise.rank = Some(rank);
        noise.share = Some((level * level / mean_square).min(1.0));
        noise.reason = format!(
            "the {} smallest of {small} singular values follow the law of independent noise (distance {distance:.3})",
            small - rank
        );
    }
    Ok(noise)
}

/// The values below the edge, the level at which that is the edge, and how far they are from the law.
struct Bulk {
    rank: usize,
    level: f64,
    distance: f64,
}

fn bulk(singular: &[f64], small: usize, large: usize) -> Bulk {
    let mut rank = 0;
    loop {
        // Removing the structure leaves noise in the complement of its spaces.
        let (n, m) = ((small - rank) as f64, (large - rank) as f64);
        let law = MarchenkoPastur::new(n / m);
        let own = &singular[rank..];
        let level = own[own.len() / 2] / (law.quantile(0.5) * m.sqrt());
        // The largest value of pure noise exceeds the edge by a relative n^(-2/3) at most times.
        let edge = level * (n.sqrt() + m.sqrt()) * (1.0 + n.powf(-2.0 / 3.0));
        let beyond = singular.iter().take_while(|s| **s > edge).count();
        if beyond <= rank || beyond + 2 >= small {
            let at = |k: usize| 1.0 - (k as f64 + 0.5) / own.len() as f64;
            let far = |(k, s): (usize, &f64)| (law.distribution(s / (level * m.sqrt())) - at(k)).abs();
            let distance = if level > 0.0 { own.iter().enumerate().map(far).fold(0.0, f64::max) } else { 1.0 };
            return Bulk { rank, level, distance };
        }
        rank = beyond;
    }
}

/// The limit law of the singular values of noise of level 1 over `sqrt(m)`, at the aspect ratio `n / m <= 1`.
struct MarchenkoPastur {
    /// Values and the probability below each, increasing.
    points: Vec<(f64, f64)>,
}

impl MarchenkoPastur {
    fn new(ratio: f64) -> Self {
        const STEPS: usize = 2000;
        let (middle, half) = (1.0 + ratio, 2.0 * ratio.sqrt());
        // With l = middle - half cos t the density sqrt((l+ - l)(l - l-)) / (2 pi ratio l) dl has no singular ends.
        let mut total = 0.0;
        let mut points = vec![((middle - half).max(0.0).sqrt(), 0.0)];
        for step in 0..STEPS {
            let t = |offset: f64| std::f64::consts::PI * (step as f64 + offset) / STEPS as f64;
            let value = middle - half * t(0.5).cos();
            total += (half * t(0.5).sin()).powi(2) / value;
            points.push(((middle - half * t(1.0).cos()).sqrt(), total));
        }
        points.iter_mut().for_each(|(_, p)| *p /= total);
        MarchenkoPastur { points }
    }

    fn quantile(&self, p: f64) -> f64 {
        let at = self.points.partition_point(|(_, own)| *own < p).clamp(1, self.points.len() - 1);
        let ((a, below), (b, above)) = (self.points[at - 1], self.points[at]);
        a + (b - a) * (p - below) / (above - below)
    }

    fn distribution(&self, value: f64) -> f64 {
        let at = self.points.partition_point(|(own, _)| *own < value);
        if at == 0 {
            return 0.0;
        }
        if at == self.points.len() {
            return 1.0;
        }
        let ((a, below), (b, above)) = (self.points[at - 1], self.points[at]);
        below + (above - below) * (value - a) / (b - a)
    }
}

/// The `p`-quantile of the chi-squared law with `f` degrees of freedom, by bisection.
fn chi_square_quantile(f: f64, p: f64) -> f64 {
    let mut high = f.max(1.0);
    while gamma_distribution(0.5 * f, 0.5 * high) < p {
        high *= 2.0;
    }
    let mut low = 0.0;
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if gamma_distribution(0.5 * f, 0.5 * middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The regularised incomplete gamma function `P(a, x)`: its series below `a + 1`, Lentz's continued fraction above.
fn gamma_distribution(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    // Both need about sqrt(a) terms near x = a.
    let terms = 200 + (20.0 * a.sqrt()) as usize;
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for k in 1..terms {
            term *= x / (a + k as f64);
            sum += term;
            if term < 1e-17 * sum {
                break;
            }
        }
        return (front * sum).min(1.0);
    }
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut h = d;
    for k in 1..terms {
        let step = -(k as f64) * (k as f64 - a);
        b += 2.0;
        d = 1.0 / nonzero(step * d + b, tiny);
        c = nonzero(b + step / c, tiny);
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    1.0 - front * h
}

fn nonzero(v: f64, tiny: f64) -> f64 {
    if v.abs() < tiny { tiny } else { v }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chi_square_quantiles_of_tables() {
        for (f, p, expected) in [
            (1.0, 0.95, 3.841_458_821),
            (10.0, 0.025, 3.246_972_780),
            (10.0, 0.975, 20.483_177_35),
            (100.0, 0.05, 77.929_465_17),
        ] {
            assert!(
                (chi_square_quantile(f, p) / expected - 1.0).abs() < 1e-9,
                "{f} {p}: {}",
                chi_square_quantile(f, p)
            );
        }
        // Two degrees of freedom: 1 - exp(-x / 2). Many: normal.
        assert!((chi_square_quantile(2.0, 0.9) + 2.0 * 0.1f64.ln()).abs() < 1e-10);
        let many = chi_square_quantile(1e6, 0.975);
        assert!(((many - 1e6) / 2e6f64.sqrt() - 1.96).abs() < 0.01, "{many}");
    }

    #[test]
    fn the_law_of_square_noise_is_a_quarter_circle() {
        let law = MarchenkoPastur::new(1.0);
        for value in [0.3f64, 1.0, 1.7] {
            let expected =
                (value * (4.0 - value * value).sqrt() / 2.0 + 2.0 * (value / 2.0f64).asin()) / std::f64::consts::PI;
            assert!((law.distribution(value) - expected).abs() < 1e-4, "{value}");
            assert!((law.quantile(expected) - value).abs() < 1e-3);
        }
        // Second moment 1 at any ratio: noise of level 1 has mean square 1.
        let law = MarchenkoPastur::new(0.3);
        let mean = (0..10_000).map(|i| law.quantile((f64::from(i) + 0.5) / 1e4).powi(2)).sum::<f64>() / 1e4;
        assert!((mean - 1.0).abs() < 1e-3, "{mean}");
    }
}
