//! Derivatives of relations, pointwise and bounded on boxes: what a sup-norm certificate needs to know of a relation.
//!
//! A kernel is `f(q)` of `q = |x - y|^2` or of `q = <x, y>`, both sums over the axes, so that its derivatives come
//! from the chain rule one axis at a time. With `a` derivatives along `x_i`, `b` along `y_i`, and `n = a + b`,
//!
//! ```text
//! |x - y|^2:  sum_k (-1)^b n! / (k! (n - 2k)!) (2 (x_i - y_i))^(n - 2k) f^(n - k)
//! <x, y>:     sum_k C(a, k) b! / (b - k)! x_i^(b - k) y_i^(a - k)       f^(n - k)
//! ```
//!
//! and over several axes the sums multiply like polynomials in the number `k` of derivatives that did not reach `f`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::relation::kernel::{Form, Kernel};
use crate::relation::{Relation, check_block};
use crate::rows::{Features, Rows};

/// A box of one side: `low_i <= x_i <= high_i`.
///
/// ```
/// use mercer::Cuboid;
/// let field = Cuboid::new(vec![0.0, -1.0], vec![2.0, 1.0])?;
/// assert_eq!((field.dim(), field.diameter()), (2, 8f64.sqrt()));
/// assert_eq!(field.grid(3)?.len(), 9);
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cuboid {
    /// Lower corner, one number a column.
    pub low: Vec<f64>,
    /// Upper corner, as many numbers.
    pub high: Vec<f64>,
}

impl Cuboid {
    /// A box from its corners; an axis may have length 0.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if the corners differ in length or are empty, [`ErrorKind::NonFinite`] at a NaN or
    /// infinity (row 0: low, row 1: high), [`ErrorKind::Parameter`] where `low` lies above `high`.
    pub fn new(low: Vec<f64>, high: Vec<f64>) -> Result<Self> {
        let corner = Cuboid { low, high };
        corner.check()?;
        Ok(corner)
    }

    /// `[low, high]^dim`.
    ///
    /// # Errors
    /// As [`Cuboid::new`]; [`ErrorKind::Parameter`] for more than a million axes.
    pub fn cube(dim: usize, low: f64, high: f64) -> Result<Self> {
        if dim > 1 << 20 {
            return Err(Error::parameter("dimension of the box", "at most 1,048,576", dim));
        }
        Cuboid::new(vec![low; dim], vec![high; dim])
    }

    /// Refuses what is no box.
    pub(crate) fn check(&self) -> Result<()> {
        if self.low.len() != self.high.len() || self.low.is_empty() {
            let got = format!("{} and {}", self.low.len(), self.high.len());
            return Err(Error::shape("box", "two corners of equal, positive length", got));
        }
        for (row, corner) in [&self.low, &self.high].into_iter().enumerate() {
            if let Some(column) = corner.iter().position(|v| !v.is_finite()) {
                return Err(ErrorKind::NonFinite { what: "box corners".into(), row, column }.into());
            }
        }
        match self.low.iter().zip(&self.high).position(|(low, high)| low > high) {
            Some(axis) => {
                let got = format!("{} to {} in axis {axis}", self.low[axis], self.high[axis]);
                Err(Error::parameter("box", "low corner not above the high one", got))
            }
            None => Ok(()),
        }
    }

    /// Number of axes.
    pub fn dim(&self) -> usize {
        self.low.len()
    }

    /// Lengths of the edges.
    pub fn widths(&self) -> Vec<f64> {
        self.low.iter().zip(&self.high).map(|(low, high)| high - low).collect()
    }

    /// Largest Euclidean distance of two points.
    pub fn diameter(&self) -> f64 {
        self.widths().iter().map(|width| width * width).sum::<f64>().sqrt()
    }

    /// All points with `count` evenly spaced coordinates an axis, both ends included, the last axis running fastest.
    ///
    /// # Errors
    /// As [`Cuboid::new`]; [`ErrorKind::Parameter`] unless `count` is at least 2 and the points are at most 2^32
    /// numbers.
    pub fn grid(&self, count: usize) -> Result<Features> {
        self.check()?;
        let points = u32::try_from(self.dim()).ok().and_then(|d| count.checked_pow(d));
        let points = points.filter(|p| count >= 2 && p.saturating_mul(self.dim()) <= 1 << 32);
        let expected = "at least 2, with at most 2^32 numbers in all";
        let points = points.ok_or_else(|| Error::parameter("points an axis", expected, count))?;
        let mut data = Vec::with_capacity(points * self.dim());
        for point in 0..points {
            for axis in 0..self.dim() {
                let k = point / count.pow((self.dim() - 1 - axis) as u32) % count;
                let share = k as f64 / (count - 1) as f64;
                data.push((self.low[axis] + share * (self.high[axis] - self.low[axis])) as f32);
            }
        }
        Features::dense(data, self.dim())
    }

    /// Largest `|x_i|`.
    pub(crate) fn reach(&self, axis: usize) -> f64 {
        self.low[axis].abs().max(self.high[axis].abs())
    }

    /// Largest and smallest `|x|_2^2`.
    fn squared_norms(&self) -> [f64; 2] {
        let nearest = |i: usize| self.low[i].max(-self.high[i]).max(0.0);
        let sum = |f: &dyn Fn(usize) -> f64| (0..self.dim()).map(|i| f(i) * f(i)).sum();
        [sum(&|i| self.reach(i)), sum(&nearest)]
    }
}

/// A box of queries and a box of keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    /// The queries.
    pub x: Cuboid,
    /// The keys.
    pub y: Cuboid,
}

impl Domain {
    /// `[low, high]^dim` on both sides.
    ///
    /// # Errors
    /// As [`Cuboid::new`].
    pub fn cube(dim: usize, low: f64, high: f64) -> Result<Self> {
        let side = Cuboid::cube(dim, low, high)?;
        Ok(Domain { x: side.clone(), y: side })
    }
}

/// A relation with known bounds of its derivatives.
///
/// Points are `f64`, so that grids may be finer than the `f32` of stored features. Orders count the derivatives along
/// each axis of `x` and of `y`; points, orders and domain have one entry an axis. Implemented by [`Kernel`];
/// [`BoundedFunction`] makes one of a closure and its Lipschitz constants.
pub trait Smooth: Relation {
    /// Value of component `component`, to within 64 roundings of the largest value on the box that is certified.
    fn value(&self, component: usize, x: &[f64], y: &[f64]) -> f64;

    /// The partial derivative of these orders; `None` where it is not known.
    fn derivative(&self, _component: usize, _x_order: &[u32], _y_order: &[u32], _x: &[f64], _y: &[f64]) -> Option<f64> {
        None
    }

    /// An upper bound of its absolute value on the domain, infinite where none is known; of first order, a Lipschitz
    /// constant along that axis (the relation need not be differentiable).
    fn derivative_bound(&self, component: usize, x_order: &[u32], y_order: &[u32], domain: &Domain) -> f64;

    /// Why this relation has no finite bounds on this domain, or does not fit it.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] or [`ErrorKind::Parameter`] with the reason.
    fn check_domain(&self, _domain: &Domain) -> Result<()> {
        Ok(())
    }
}

/// A function of two points with bounds of its derivatives that its author vouches for.
///
/// ```
/// use mercer::{BoundedFunction, Smooth};
/// // |sin(x y)| on [-1, 1]^2: slopes and second derivatives at most 1.
/// let relation = BoundedFunction::new(|x: &[f64], y: &[f64]| (x[0] * y[0]).sin(), vec![1.0], vec![1.0])?
///     .with_second_derivatives(vec![1.0], vec![1.0])?;
/// assert_eq!(relation.value(0, &[0.5], &[0.0]), 0.0);
/// # Ok::<(), mercer::Error>(())
/// ```
pub struct BoundedFunction<F> {
    function: F,
    lipschitz: [Vec<f64>; 2],
    second: Option<[Vec<f64>; 2]>,
}

impl<F: Fn(&[f64], &[f64]) -> f64 + Sync> BoundedFunction<F> {
    /// From a Lipschitz constant along each axis of `x` and of `y`.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] unless all are finite and not negative.
    pub fn new(function: F, x_lipschitz: Vec<f64>, y_lipschitz: Vec<f64>) -> Result<Self> {
        let lipschitz = [x_lipschitz, y_lipschitz];
        check_constants("Lipschitz constants", &lipschitz)?;
        Ok(BoundedFunction { function, lipschitz, second: None })
    }

    /// Also with bounds of the second derivative along each axis (mixed ones are not needed).
    ///
    /// # Errors
    /// As [`BoundedFunction::new`]; [`ErrorKind::Shape`] if their number is another.
    pub fn with_second_derivatives(mut self, x: Vec<f64>, y: Vec<f64>) -> Result<Self> {
        let (expected, got) = ([self.lipschitz[0].len(), self.lipschitz[1].len()], [x.len(), y.len()]);
        if expected != got {
            return Err(Error::shape("second derivatives", format!("{expected:?} bounds"), format!("{got:?}")));
        }
        let second = [x, y];
        check_constants("bounds of second derivatives", &second)?;
        self.second = Some(second);
        Ok(self)
    }
}

fn check_constants(name: &str, sides: &[Vec<f64>; 2]) -> Result<()> {
    match sides.iter().flatten().find(|v| !(v.is_finite() && **v >= 0.0)) {
        Some(value) => Err(Error::parameter(name, "finite and not negative", value)),
        None if sides.iter().any(Vec::is_empty) => Err(Error::parameter(name, "one or more a side", "none")),
        None => Ok(()),
    }
}

impl<F: Fn(&[f64], &[f64]) -> f64 + Sync> Relation for BoundedFunction<F> {
    fn block(&self, component: usize, x: &Rows<'_>, y: &Rows<'_>, out: &mut [f64]) -> Result<()> {
        check_block(x, y, out)?;
        let points = |rows: &Rows<'_>| -> Vec<Vec<f64>> {
            let point = |i| {
                let mut point = vec![0.0; rows.dim()];
                rows.for_each(i, |column, value| point[column] = value.into());
                point
            };
            (0..rows.len()).map(point).collect()
        };
        let (a, b) = (points(x), points(y));
        let pairs = a.iter().flat_map(|p| b.iter().map(move |q| (p, q)));
        out.iter_mut().zip(pairs).for_each(|(out, (p, q))| *out = self.value(component, p, q));
        Ok(())
    }
}

impl<F: Fn(&[f64], &[f64]) -> f64 + Sync> Smooth for BoundedFunction<F> {
    fn value(&self, _component: usize, x: &[f64], y: &[f64]) -> f64 {
        (self.function)(x, y)
    }

    fn derivative_bound(&self, _component: usize, x_order: &[u32], y_order: &[u32], _domain: &Domain) -> f64 {
        let orders = x_order.iter().zip(&self.lipschitz[0]).chain(y_order.iter().zip(&self.lipschitz[1]));
        let total: u32 = x_order.iter().chain(y_order).sum();
        match (total, &self.second) {
            (1, _) => orders.filter(|(o, _)| **o == 1).map(|(_, l)| *l).sum(),
            (2, Some(second)) => {
                let own = x_order.iter().zip(&second[0]).chain(y_order.iter().zip(&second[1]));
                own.filter(|(o, _)| **o == 2).map(|(_, s)| *s).next().unwrap_or(f64::INFINITY)
            }
            _ => f64::INFINITY,
        }
    }

    fn check_domain(&self, domain: &Domain) -> Result<()> {
        let (expected, got) = ([self.lipschitz[0].len(), self.lipschitz[1].len()], [domain.x.dim(), domain.y.dim()]);
        if expected == got {
            return Ok(());
        }
        Err(Error::shape("domain of a bounded function", format!("{expected:?} axes"), format!("{got:?}")))
    }
}

/// Highest total order of a kernel's derivative, and one.
const ORDERS: usize = 13;
/// What bounds grow by, so that their own rounding cannot make them too small.
const SLACK: f64 = 1.0 + 1e-12;

fn factorial(n: u32) -> f64 {
    (1..=n).map(f64::from).product()
}

/// The terms of the chain rule gathered by the number `k` of derivatives that do not reach `f`: a polynomial in `k`.
struct Terms {
    by_lost: [f64; ORDERS],
    total: usize,
}

impl Terms {
    fn one() -> Self {
        let mut by_lost = [0.0; ORDERS];
        by_lost[0] = 1.0;
        Terms { by_lost, total: 0 }
    }

    /// Multiplies by the sum of one axis with `order` derivatives in all, of which `most` at most may be lost.
    fn times(&mut self, order: u32, most: u32, term: impl Fn(u32) -> f64) {
        if order == 0 {
            return;
        }
        let mut product = [0.0; ORDERS];
        for k in 0..=most {
            let factor = term(k);
            for lost in 0..ORDERS - k as usize {
                product[lost + k as usize] += self.by_lost[lost] * factor;
            }
        }
        self.by_lost = product;
        self.total += order as usize;
    }
}

/// `n! / (k! (n - 2k)!) (2 u)^(n - 2k)`
fn distance_term(n: u32, k: u32, u: f64) -> f64 {
    factorial(n) / (factorial(k) * factorial(n - 2 * k)) * (2.0 * u).powi((n - 2 * k) as i32)
}

/// `C(a, k) b! / (b - k)! x^(b - k) y^(a - k)`
fn product_term(a: u32, b: u32, k: u32, x: f64, y: f64) -> f64 {
    let ways = factorial(a) * factorial(b) / (factorial(k) * factorial(a - k) * factorial(b - k));
    ways * x.powi((b - k) as i32) * y.powi((a - k) as i32)
}

/// `theta_k(s)`: reverse Bessel polynomials, `s^p K_p(s) = sqrt(pi / 2) theta_k(s) exp(-s)` for `p = k + 1/2`.
fn reverse_bessel(k: usize, s: f64) -> f64 {
    let (mut last, mut current) = (1.0, 1.0);
    for j in 1..=k {
        let next = if j == 1 { 1.0 + s } else { (2 * j - 1) as f64 * current + s * s * last };
        (last, current) = (current, next);
    }
    current
}

/// A Matern kernel as `constant * M_p(s)`, `M_p = theta_(p - 1/2)(s) exp(-s)`, `s = scale * d`.
///
/// `M_p' / s = -M_(p - 1)` and `M_(-p) = s^(-2p) M_p`, so that the `n`-th derivative by `q = d^2` is
/// `constant (-scale^2 / 2)^n M_(p - n)(s)`: simple for every `n`, singular at 0 from `n > p` on.
struct Matern {
    constant: f64,
    scale: f64,
    twice_p: i32,
}

impl Matern {
    fn new(form: Form) -> Option<Self> {
        Some(match form {
            Form::Matern12 { length } => Matern { constant: 1.0, scale: length.recip(), twice_p: 1 },
            Form::Matern32 { length } => Matern { constant: 1.0, scale: 3f64.sqrt() / length, twice_p: 3 },
            Form::Matern52 { length } => Matern { constant: 1.0 / 3.0, scale: 5f64.sqrt() / length, twice_p: 5 },
            _ => return None,
        })
    }

    /// `constant (scale^2 / 2)^n M_|p - n|(s)` and `2 min(p - n, 0)`, the power of `s` that belongs to it.
    fn part(&self, n: usize, s: f64) -> (f64, i32) {
        let twice = self.twice_p - 2 * n as i32;
        let smooth = reverse_bessel((twice.unsigned_abs() as usize - 1) / 2, s) * (-s).exp();
        (self.constant * (0.5 * self.scale * self.scale).powi(n as i32) * smooth, twice.min(0))
    }
}

/// `a (a - 1) ... (a - n + 1)`
fn falling(a: f64, n: usize) -> f64 {
    (0..n).map(|k| a - k as f64).product()
}

/// The `n`-th derivative of a kernel's `f` at `q`.
fn profile(form: Form, q: f64, n: usize) -> f64 {
    match form {
        Form::Gaussian { length } => {
            let rate = -0.5 / (length * length);
            rate.powi(n as i32) * (rate * q).exp()
        }
        Form::RationalQuadratic { length, exponent } => {
            let scale = 0.5 / (exponent * length * length);
            // By way of the logarithm, which large exponents do not take the digits from.
            let power = (-(exponent + n as f64) * (q * scale).ln_1p()).exp();
            (0..n).map(|k| -(exponent + k as f64) * scale).product::<f64>() * power
        }
        Form::Polynomial { degree, offset } if n <= degree as usize => {
            falling(degree.into(), n) * (q + offset).powi((degree as usize - n) as i32)
        }
        Form::NegativeDistance => -falling(0.5, n) * q.powf(0.5 - n as f64),
        _ => Matern::new(form).map_or(0.0, |matern| {
            let s = matern.scale * q.sqrt();
            let (part, power) = matern.part(n, s);
            let sign = if n.is_multiple_of(2) { 1.0 } else { -1.0 };
            sign * part * s.powi(power)
        }),
    }
}

/// `sup q^(a/2) |f^(n)(q)|` over `q[0] <= q <= q[1]`, for the functions of a distance.
///
/// `|f^(n)|` falls in `q`: all these kernels are completely monotone in the squared distance (Schoenberg 1938), and
/// so is the derivative of the negative one. Where `f^(n)` is singular at 0, the power may tame it:
/// `M_(-p) s^a = M_p s^(a - 2p)`.
fn tamed_bound(form: Form, n: usize, a: usize, q: [f64; 2]) -> f64 {
    if let Form::NegativeDistance = form {
        let power = 0.5 * (a as f64 + 1.0) - n as f64;
        return falling(0.5, n).abs() * q[usize::from(power >= 0.0)].powf(power);
    }
    let Some(matern) = Matern::new(form) else {
        return q[1].powf(0.5 * a as f64) * profile(form, q[0], n).abs();
    };
    let s = q.map(|q| matern.scale * q.sqrt());
    let (part, singular) = matern.part(n, s[0]);
    let power = a as i32 + singular;
    part * s[usize::from(power >= 0)].powi(power) * matern.scale.powi(-(a as i32))
}

impl Kernel {
    /// Bound of a derivative of a function of the distance.
    ///
    /// Each term `c prod |u_i|^a_i |f^(n - k)|` is bounded in two ways: by the largest `|u_i|` and the largest
    /// `|f^(n - k)|`, and, with `prod |u_i|^a_i <= q^(a / 2)`, by the largest `q^(a / 2) |f^(n - k)(q)|`.
    fn distance_bound(&self, orders: impl Fn(usize) -> u32, domain: &Domain) -> f64 {
        let (x, y) = (&domain.x, &domain.y);
        let (mut terms, mut pure) = (Terms::one(), Terms::one());
        let (mut near, mut far) = (0.0, 0.0);
        for i in 0..x.dim() {
            let reach = (x.high[i] - y.low[i]).max(y.high[i] - x.low[i]).max(0.0) * SLACK;
            let gap = (x.low[i] - y.high[i]).max(y.low[i] - x.high[i]).max(0.0) / SLACK;
            near += gap * gap;
            far += reach * reach;
            let n = orders(i);
            terms.times(n, n / 2, |k| distance_term(n, k, reach));
            pure.times(n, n / 2, |k| distance_term(n, k, 1.0));
        }
        let q = [near / SLACK, far * SLACK];
        let n = terms.total;
        let of_order = |lost: usize| {
            let apart = terms.by_lost[lost] * tamed_bound(self.0, n - lost, 0, q);
            let together = pure.by_lost[lost] * tamed_bound(self.0, n - lost, n - 2 * lost, q);
            // A zero times an infinity is no bound; the other one holds.
            if apart.is_nan() { together } else { apart.min(together) }
        };
        (0..=n / 2).filter(|&lost| pure.by_lost[lost] != 0.0).map(of_order).sum::<f64>() * SLACK
    }

    fn product_bound(&self, x_order: &[u32], y_order: &[u32], domain: &Domain) -> f64 {
        let Form::Polynomial { degree, offset } = self.0 else { return f64::INFINITY };
        let (mut terms, mut largest) = (Terms::one(), 0.0);
        for i in 0..x_order.len() {
            let (a, b, x, y) = (x_order[i], y_order[i], domain.x.reach(i), domain.y.reach(i));
            largest += x * y;
            terms.times(a + b, a.min(b), |k| product_term(a, b, k, x, y));
        }
        let form = Form::Polynomial { degree, offset };
        let of_order = |lost: usize| terms.by_lost[lost] * profile(form, largest, terms.total - lost).abs();
        (0..=terms.total / 2).map(of_order).sum::<f64>() * SLACK
    }

    /// Largest slope along any direction of the first argument, `other` that of the second.
    ///
    /// - Arc-cosine of order 1, with `s = pi - t`: `|grad|^2 = |y|^2 (J^2 + J'^2) / pi^2`, where
    ///   `J^2 + J'^2 = sin^2 s - s sin 2s + s^2` grows to `pi^2`.
    /// - Order 2: the radial part is at most `6 |x| |y|^2`, the tangential one `(4 + 2 pi) / pi |x| |y|^2`.
    /// - Order 0 turns by the angle over `pi`, the cosine at most by the angle.
    /// - Tanimoto: `|grad| <= 4 |y| (3 |x|^2 + |y|^2) / (|x|^2 + |y|^2)^2`.
    fn angular_slope(&self, own: [f64; 2], other: [f64; 2]) -> f64 {
        let slope = match self.0 {
            Form::Cosine => own[1].sqrt().recip(),
            Form::ArcCosine { order: 0 } => (std::f64::consts::PI * own[1].sqrt()).recip(),
            Form::ArcCosine { order: 1 } => other[0].sqrt(),
            Form::ArcCosine { .. } => 7.0 * own[0].sqrt() * other[0],
            Form::Tanimoto => 12.0 / (own[1] + other[1]).sqrt(),
            _ => f64::INFINITY,
        };
        slope * SLACK
    }
}

impl Smooth for Kernel {
    fn value(&self, _component: usize, x: &[f64], y: &[f64]) -> f64 {
        if self.uses_distance() {
            return profile(self.0, x.iter().zip(y).map(|(a, b)| (a - b) * (a - b)).sum(), 0);
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        match (self.0, dot(x, x), dot(y, y)) {
            // An arc cosine near 1 would lose half the digits, which this kernel shows.
            (Form::ArcCosine { order: 0 }, xx, yy) if xx * yy > 0.0 => {
                let units = || x.iter().zip(y).map(|(a, b)| (a / xx.sqrt(), b / yy.sqrt()));
                let apart: f64 = units().map(|(a, b)| (a - b) * (a - b)).sum();
                let together: f64 = units().map(|(a, b)| (a + b) * (a + b)).sum();
                1.0 - 2.0 * apart.sqrt().atan2(together.sqrt()) / std::f64::consts::PI
            }
            (_, xx, yy) => self.of_product(dot(x, y), xx, yy),
        }
    }

    fn derivative(&self, component: usize, x_order: &[u32], y_order: &[u32], x: &[f64], y: &[f64]) -> Option<f64> {
        let total: u32 = x_order.iter().chain(y_order).sum();
        if total == 0 {
            return Some(self.value(component, x, y));
        }
        let by_distance = self.uses_distance();
        if total as usize >= ORDERS || !(by_distance || matches!(self.0, Form::Polynomial { .. })) {
            return None;
        }
        let (mut terms, mut q, mut sign) = (Terms::one(), 0.0, 1.0);
        for i in 0..x.len() {
            let (a, b, u) = (x_order[i], y_order[i], x[i] - y[i]);
            if by_distance {
                q += u * u;
                terms.times(a + b, (a + b) / 2, |k| distance_term(a + b, k, u));
                sign = if b % 2 == 0 { sign } else { -sign };
            } else {
                q += x[i] * y[i];
                terms.times(a + b, a.min(b), |k| product_term(a, b, k, x[i], y[i]));
            }
        }
        // A term whose factor is 0 vanishes also where f is singular: the derivative is continuous wherever it is
        // bounded.
        let lost = (0..=terms.total / 2).filter(|&k| terms.by_lost[k] != 0.0);
        Some(sign * lost.map(|k| terms.by_lost[k] * profile(self.0, q, terms.total - k)).sum::<f64>())
    }

    fn derivative_bound(&self, _component: usize, x_order: &[u32], y_order: &[u32], domain: &Domain) -> f64 {
        let total: u32 = x_order.iter().chain(y_order).sum();
        if total as usize >= ORDERS {
            return f64::INFINITY;
        }
        if self.uses_distance() {
            return self.distance_bound(|i| x_order[i] + y_order[i], domain);
        }
        if let Form::Polynomial { .. } = self.0 {
            return self.product_bound(x_order, y_order, domain);
        }
        let (x, y) = (domain.x.squared_norms(), domain.y.squared_norms());
        match (self.0, total) {
            (Form::ArcCosine { order }, 0) => 3.0 * (x[0] * y[0]).powf(0.5 * f64::from(order)),
            (_, 0) => 1.0,
            (_, 1) if x_order.contains(&1) => self.angular_slope(x, y),
            (_, 1) => self.angular_slope(y, x),
            _ => f64::INFINITY,
        }
    }

    fn check_domain(&self, domain: &Domain) -> Result<()> {
        if domain.x.dim() != domain.y.dim() {
            let expected = format!("{} axes on both sides", domain.x.dim());
            return Err(Error::shape(format!("domain of {self}"), expected, domain.y.dim()));
        }
        let mut order = vec![0; domain.x.dim()];
        let none = order.clone();
        order[0] = 1;
        if self.derivative_bound(0, &order, &none, domain).is_finite()
            && self.derivative_bound(0, &none, &order, domain).is_finite()
        {
            return Ok(());
        }
        let expected = format!("one that keeps away from 0, where {self} has no Lipschitz constant");
        Err(Error::parameter("domain", expected, format!("{domain:?}")))
    }
}
