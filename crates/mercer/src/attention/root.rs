//! The threshold of alpha-entmax: the root of `sum_i (m + z_i)_+^q = 1`, `q = 1 / (alpha - 1)`.
//!
//! `z_i = (alpha - 1) beta (s_i - max s)` are at most 0, the largest is 0; `m` in `(0, 1]` is minus the usual threshold, so that
//! the largest weight is `m^q`. Only keys with `z > -1` can have weight.
//!
//! For `q >= 1` the `q`-norm of `(m + z)_+` is convex and increasing in `m`. Newton's steps on it from the right never pass
//! the root, so that keys they leave out stay out; along them slope times value falls at least fourfold a step (Radzik),
//! whatever the scores. For `q < 1` the support is found by partition, and the root counted from its lowest key.

use crate::attention::collect::{SLACK, collect64};
use crate::attention::real::total;
use crate::wide::{exp, ln, ln_1p};

/// Numbers of a step of [`Sums`]; lists are filled up to a multiple of it.
pub(super) const STEP: usize = 32;
/// Numbers whose sums stay in lanes, a multiple of it.
const BLOCK: usize = 4096;
/// Fills up a list: no weight at any `m`.
pub(super) const NOTHING: f64 = f64::NEG_INFINITY;
/// More steps than any of the iterations takes; a bound for safety.
const MOST_STEPS: usize = 200;

/// One map of the family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Law {
    /// `alpha - 1`.
    pub(super) excess: f64,
    /// `q = 1 / (alpha - 1)`.
    pub(super) power: f64,
    pub(super) kind: Kind,
}

/// How powers are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `q = 1`: sparsemax.
    Linear,
    /// `q = 2`: 1.5-entmax.
    Square,
    /// Any other `q > 1`.
    Steep,
    /// `q < 1`.
    Flat,
}

impl Law {
    pub(super) fn new(alpha: f64) -> Law {
        let excess = alpha - 1.0;
        let kind = match alpha {
            2.0 => Kind::Linear,
            1.5 => Kind::Square,
            _ if alpha < 2.0 => Kind::Steep,
            _ => Kind::Flat,
        };
        Law { excess, power: 1.0 / excess, kind }
    }
}

/// Where the weights of a row vanish, and what they are above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Root {
    /// [`Kind::Flat`]: the lowest key with weight, and how far the threshold lies below it. Else 0 and `m`.
    pub(super) anchor: f64,
    pub(super) offset: f64,
    /// Factor that makes the weights' sum 1.
    pub(super) share: f64,
}

impl Root {
    /// Weight of a key, but for [`Root::share`]. At most a rounding below `z = -1` it is 0 for every root.
    #[inline(always)]
    pub(super) fn power<const FMA: bool>(&self, law: &Law, z: f64) -> f64 {
        let u = (z - self.anchor) + self.offset;
        match law.kind {
            Kind::Linear => at_least_0(u),
            Kind::Square => at_least_0(u) * at_least_0(u),
            Kind::Steep => power::<FMA>(law.power, ln_1p::<FMA>(z * (1.0 / self.offset))),
            Kind::Flat if z < self.anchor => 0.0,
            Kind::Flat => power::<FMA>(law.power, ln::<FMA>(u)),
        }
    }
}

/// `e^(q ln u)`, 0 for `u = 0`.
#[inline(always)]
fn power<const FMA: bool>(q: f64, ln: f64) -> f64 {
    // Taken in any case: a branch would stand in the way of vectors. Here and below.
    let (exponent, value) = (q * ln, exp::<FMA>(q * ln));
    if exponent < -708.0 { 0.0 } else { value }
}

/// The root for `z` (largest 0, filled up to a multiple of [`STEP`]), sought from `start` on, which is 1 or not below the root.
#[inline(always)]
pub(super) fn root<const FMA: bool>(law: &Law, z: &[f64], start: f64) -> Root {
    if law.kind == Kind::Flat { flat::<FMA>(law, z) } else { newton::<FMA>(law, z, start) }
}

/// Newton's steps from the right, until one no longer counts.
#[inline(always)]
fn newton<const FMA: bool>(law: &Law, z: &[f64], start: f64) -> Root {
    let mut m = start;
    let mut share = 1.0;
    for _ in 0..MOST_STEPS {
        let step;
        (step, share) = match law.kind {
            Kind::Linear => linear(z, m),
            Kind::Square => square(z, m),
            _ => steep::<FMA>(law, z, m),
        };
        if step.is_nan() || step <= 2.0 * f64::EPSILON * m {
            break;
        }
        m -= step;
    }
    Root { anchor: 0.0, offset: m, share }
}

/// Sums over all `z` of the three numbers that an expression makes of each; blocks keep rounding small where there are many.
///
/// A macro, since a closure too long to be inlined would be compiled for the narrowest instruction set.
macro_rules! sums {
    ($all:expr, |$z:ident| $terms:expr) => {{
        let mut sums = (0.0, 0.0, 0.0);
        for block in $all.chunks(BLOCK) {
            let (mut first, mut second, mut third) = ([0.0; STEP], [0.0; STEP], [0.0; STEP]);
            for z in block.as_chunks::<STEP>().0 {
                for i in 0..STEP {
                    let $z = z[i];
                    let terms = $terms;
                    first[i] += terms.0;
                    second[i] += terms.1;
                    third[i] += terms.2;
                }
            }
            sums = (sums.0 + total(first), sums.1 + total(second), sums.2 + total(third));
        }
        sums
    }};
}

#[inline(always)]
fn at_least_0(u: f64) -> f64 {
    if u > 0.0 { u } else { 0.0 }
}

#[inline(always)]
fn linear(z: &[f64], m: f64) -> (f64, f64) {
    let (count, sum, _) = sums!(z, |z| (if z + m > 0.0 { 1.0 } else { 0.0 }, at_least_0(z + m), 0.0));
    ((sum - 1.0) / count, 1.0)
}

#[inline(always)]
fn square(z: &[f64], m: f64) -> (f64, f64) {
    let (first, second, _) = sums!(z, |z| (at_least_0(z + m), at_least_0(z + m) * at_least_0(z + m), 0.0));
    ((second - second.sqrt()) / first, 1.0)
}

/// With `y = 1 + z / m`, `A = sum y^q` and `B = sum y^(q - 1)`: the norm is `m A^(1/q)`, the step `A (m - A^(-1/q)) / B`. Weights
/// are `y^q / A`, which depend little on `m` as alpha falls to 1.
#[inline(always)]
fn steep<const FMA: bool>(law: &Law, z: &[f64], m: f64) -> (f64, f64) {
    let inverse = 1.0 / m;
    let (sum, slope, _) = sums!(z, |z| {
        let value = power::<FMA>(law.power, ln_1p::<FMA>(z * inverse));
        let y = 1.0 + z * inverse;
        let slope = value / y;
        (value, if y > 0.0 { slope } else { 0.0 }, 0.0)
    });
    (sum * (m - (-law.excess * sum.ln()).exp()) / slope, 1.0 / sum)
}

/// The support: a key belongs to it if the weights above it, with the threshold at the key itself, sum to less than 1; sorted
/// keys are asked by bisection. Then Newton's steps from the left on the distance of the threshold from the lowest one.
#[inline(always)]
fn flat<const FMA: bool>(law: &Law, z: &[f64]) -> Root {
    let mut doubtful: Vec<f64> = z.iter().copied().filter(|z| *z > -1.0 && *z < 0.0).collect();
    doubtful.sort_unstable_by(f64::total_cmp);
    let (mut low, mut high) = (0, doubtful.len());
    let mut anchor = 0.0;
    while low < high {
        let middle = usize::midpoint(low, high);
        let (above, ..) = distances::<FMA>(law, z, doubtful[middle], 0.0);
        if above < 1.0 { (anchor, high) = (doubtful[middle], middle) } else { low = middle + 1 }
    }
    let (above, _, count) = distances::<FMA>(law, z, anchor, 0.0);
    // (offset + distance)^q <= offset^q + distance^q, so this start is not above the root.
    let mut offset = ((1.0 - above) / count).powf(law.excess).max(1e-300);
    let mut sum = 1.0;
    for _ in 0..MOST_STEPS {
        let slope;
        (sum, slope, _) = distances::<FMA>(law, z, anchor, offset);
        let step = (1.0 - sum) / slope;
        if step.is_nan() || step <= 2.0 * f64::EPSILON * offset {
            break;
        }
        offset += step;
    }
    Root { anchor, offset, share: 1.0 / sum }
}

/// Sum of `(z - anchor + offset)^q` over keys from the anchor on, its derivative in the offset, their number.
#[inline(always)]
fn distances<const FMA: bool>(law: &Law, z: &[f64], anchor: f64, offset: f64) -> (f64, f64, f64) {
    let (sum, slope, count) = sums!(z, |z| {
        let u = (z - anchor) + offset;
        let within = z >= anchor;
        let value = power::<FMA>(law.power, ln::<FMA>(u));
        let slope = value / u;
        let counts = within & (u > 0.0);
        (if counts { value } else { 0.0 }, if counts { slope } else { 0.0 }, if within { 1.0 } else { 0.0 })
    });
    (sum, slope * law.power, count)
}

/// Leaves out the keys that have no weight at `m`; returns how many stay.
pub(super) fn thin(z: &mut Vec<f64>, spare: &mut Vec<f64>, m: f64) -> usize {
    spare.resize(z.len() + SLACK, NOTHING);
    let count = collect64(z, -m, spare);
    std::mem::swap(z, spare);
    z.truncate(count);
    count
}
