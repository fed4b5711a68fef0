//! Built-in kernels, with checked parameters and a short text form for the command line.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::linalg::Matrix;
use crate::parallel::row_blocks;
use crate::relation::{Relation, check_block};
use crate::rows::Rows;
use crate::wide::{exp, wide};

/// A built-in relation of two feature rows; `d = |x - y|_2`, lengths are in the units of the features.
///
/// Every kernel but [`Kernel::negative_distance`] is symmetric positive semi-definite; that one is symmetric and indefinite.
/// The text form is `name` or `name:parameter[,parameter]`:
///
/// | text | formula | parameters |
/// |---|---|---|
/// | `gaussian:L` | `exp(-d^2 / (2 L^2))` | length `L > 0` |
/// | `matern12:L` | `exp(-d / L)` | length `L > 0` |
/// | `matern32:L` | `(1 + s) exp(-s)`, `s = sqrt(3) d / L` | length `L > 0` |
/// | `matern52:L` | `(1 + s + s^2 / 3) exp(-s)`, `s = sqrt(5) d / L` | length `L > 0` |
/// | `rational-quadratic:L,A` | `(1 + d^2 / (2 A L^2))^-A` | length `L > 0`, exponent `A > 0` |
/// | `polynomial:P,C` | `(<x, y> + C)^P` | degree `P = 1..16`, offset `C >= 0` |
/// | `exponential:L` | `exp(<x, y> / L^2)`, the kernel behind softmax attention | length `L > 0` |
/// | `arc-cosine:N` | Cho and Saul (2009), order `N` | `N = 0, 1, 2` |
/// | `cosine` | `<x, y> / (abs(x) abs(y))`, 0 if a row is zero | |
/// | `tanimoto` | `<x, y> / (abs(x)^2 + abs(y)^2 - <x, y>)`, 1 if both rows are zero | |
/// | `negative-distance` | `-d` | |
///
/// ```
/// use mercer::Kernel;
/// let kernel: Kernel = "matern32:0.5".parse()?;
/// assert_eq!(kernel, Kernel::matern32(0.5)?);
/// assert!("gaussian:-1".parse::<Kernel>().is_err());
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernel(pub(crate) Form);

/// Which kernel, with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    Gaussian { length: f64 },
    Matern12 { length: f64 },
    Matern32 { length: f64 },
    Matern52 { length: f64 },
    RationalQuadratic { length: f64, exponent: f64 },
    Polynomial { degree: u32, offset: f64 },
    Exponential { length: f64 },
    ArcCosine { order: u32 },
    Cosine,
    Tanimoto,
    NegativeDistance,
}

/// Beyond these bounds squares and reciprocals leave the range of f64.
fn positive(name: &str, value: f64) -> Result<f64> {
    if (1e-100..=1e100).contains(&value) {
        return Ok(value);
    }
    Err(Error::parameter(name, "a positive number (from 1e-100 to 1e100)", format!("{value:?}")))
}

const LENGTH: &str = "kernel length (in the units of the features)";

impl Kernel {
    /// `exp(-d^2 / (2 length^2))`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] unless `length` is positive.
    pub fn gaussian(length: f64) -> Result<Self> {
        Ok(Kernel(Form::Gaussian { length: positive(LENGTH, length)? }))
    }

    /// `exp(-d / length)`.
    ///
    /// # Errors
    /// As [`Kernel::gaussian`].
    pub fn matern12(length: f64) -> Result<Self> {
        Ok(Kernel(Form::Matern12 { length: positive(LENGTH, length)? }))
    }

    /// `(1 + s) exp(-s)` with `s = sqrt(3) d / length`.
    ///
    /// # Errors
    /// As [`Kernel::gaussian`].
    pub fn matern32(length: f64) -> Result<Self> {
        Ok(Kernel(Form::Matern32 { length: positive(LENGTH, length)? }))
    }

    /// `(1 + s + s^2 / 3) exp(-s)` with `s = sqrt(5) d / length`.
    ///
    /// # Errors
    /// As [`Kernel::gaussian`].
    pub fn matern52(length: f64) -> Result<Self> {
        Ok(Kernel(Form::Matern52 { length: positive(LENGTH, length)? }))
    }

    /// `(1 + d^2 / (2 exponent length^2))^-exponent`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] unless both are positive.
    pub fn rational_quadratic(length: f64, exponent: f64) -> Result<Self> {
        let exponent = positive("rational quadratic exponent", exponent)?;
        Ok(Kernel(Form::RationalQuadratic { length: positive(LENGTH, length)?, exponent }))
    }

    /// `(<x, y> + offset)^degree`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] unless `degree` is 1 to 16 and `offset` is not negative.
    pub fn polynomial(degree: u32, offset: f64) -> Result<Self> {
        if !(1..=16).contains(&degree) {
            return Err(Error::parameter("polynomial degree", "a whole number from 1 to 16", degree));
        }
        if !(offset.is_finite() && offset >= 0.0) {
            return Err(Error::parameter("polynomial offset", "a number not below 0", offset));
        }
        Ok(Kernel(Form::Polynomial { degree, offset }))
    }

    /// `exp(<x, y> / length^2)`: the Gaussian kernel times `exp((|x|^2 + |y|^2) / (2 length^2))`.
    ///
    /// It is the unnormalised weight of softmax attention at the temperature `length^2`, unbounded in the norms. Exponents
    /// beyond 708 are cut there.
    ///
    /// # Errors
    /// As [`Kernel::gaussian`].
    pub fn exponential(length: f64) -> Result<Self> {
        Ok(Kernel(Form::Exponential { length: positive(LENGTH, length)? }))
    }

    /// The arc-cosine kernel of order 0, 1 or 2 (the infinite ReLU layer is order 1).
    ///
    /// `abs(x)^n abs(y)^n J_n(t) / pi` with the angle `t` and `J_0 = pi - t`, `J_1 = sin t + (pi - t) cos t`,
    /// `J_2 = 3 sin t cos t + (pi - t)(1 + 2 cos^2 t)`. Source: Cho and Saul, NeurIPS 2009.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] for another order.
    pub fn arc_cosine(order: u32) -> Result<Self> {
        if order > 2 {
            return Err(Error::parameter("arc-cosine order", "0, 1 or 2", order));
        }
        Ok(Kernel(Form::ArcCosine { order }))
    }

    /// `<x, y> / (|x| |y|)`, 0 where a row is zero.
    pub fn cosine() -> Self {
        Kernel(Form::Cosine)
    }

    /// `<x, y> / (|x|^2 + |y|^2 - <x, y>)`, 1 where both rows are zero: on 0/1 rows the Jaccard index of two sets.
    pub fn tanimoto() -> Self {
        Kernel(Form::Tanimoto)
    }

    /// `-|x - y|`: symmetric, indefinite (conditionally positive definite).
    pub fn negative_distance() -> Self {
        Kernel(Form::NegativeDistance)
    }

    /// Which kernel this is.
    pub(crate) fn form(&self) -> Form {
        self.0
    }

    pub(crate) fn uses_distance(&self) -> bool {
        !matches!(
            self.0,
            Form::Polynomial { .. } | Form::Exponential { .. } | Form::ArcCosine { .. } | Form::Cosine | Form::Tanimoto
        )
    }

    /// Kernel values from squared distances, in place.
    fn of_squared_distance(&self, values: &mut [f64]) {
        match self.0 {
            Form::Gaussian { length } => gaussian(values, -0.5 / (length * length)),
            Form::Matern12 { length } => matern12(values, length.recip()),
            Form::Matern32 { length } => matern32(values, 3f64.sqrt() / length),
            Form::Matern52 { length } => matern52(values, 5f64.sqrt() / length),
            Form::RationalQuadratic { length, exponent } => {
                let scale = 0.5 / (exponent * length * length);
                values.iter_mut().for_each(|v| *v = (1.0 + *v * scale).powf(-exponent));
            }
            _ => negative_root(values),
        }
    }

    /// Kernel value from an inner product and the two squared norms.
    pub(crate) fn of_product(&self, product: f64, xx: f64, yy: f64) -> f64 {
        match self.0 {
            Form::Polynomial { degree, offset } => (product + offset).powi(degree as i32),
            Form::Exponential { length } => (product / (length * length)).clamp(-708.0, 708.0).exp(),
            Form::Tanimoto if xx + yy == 0.0 => 1.0,
            Form::Tanimoto => product / (xx + yy - product),
            Form::ArcCosine { order } => arc_cosine(order, product, (xx * yy).sqrt()),
            _ if xx * yy == 0.0 => 0.0,
            _ => product / (xx * yy).sqrt(),
        }
    }
}

fn arc_cosine(order: u32, product: f64, norms: f64) -> f64 {
    use std::f64::consts::PI;
    let cos = if norms > 0.0 { (product / norms).clamp(-1.0, 1.0) } else { 0.0 };
    let (rest, sin) = (PI - cos.acos(), (1.0 - cos * cos).sqrt());
    match order {
        0 => rest / PI,
        1 => norms * (sin + rest * cos) / PI,
        _ => norms * norms * (3.0 * sin * cos + rest * (1.0 + 2.0 * cos * cos)) / PI,
    }
}

#[inline(always)]
fn gaussian_body<const FMA: bool>(values: &mut [f64], factor: f64) {
    values.iter_mut().for_each(|v| *v = exp::<FMA>(*v * factor));
}
#[inline(always)]
fn matern12_body<const FMA: bool>(values: &mut [f64], factor: f64) {
    values.iter_mut().for_each(|v| *v = exp::<FMA>(-v.sqrt() * factor));
}
#[inline(always)]
fn matern32_body<const FMA: bool>(values: &mut [f64], factor: f64) {
    values.iter_mut().for_each(|v| {
        let s = v.sqrt() * factor;
        *v = (1.0 + s) * exp::<FMA>(-s);
    });
}
#[inline(always)]
fn matern52_body<const FMA: bool>(values: &mut [f64], factor: f64) {
    values.iter_mut().for_each(|v| {
        let s = v.sqrt() * factor;
        *v = (1.0 + s + s * s * (1.0 / 3.0)) * exp::<FMA>(-s);
    });
}
#[inline(always)]
fn negative_root_body<const FMA: bool>(values: &mut [f64]) {
    values.iter_mut().for_each(|v| *v = -v.sqrt());
}
#[inline(always)]
fn add_square_body<const FMA: bool>(values: &mut [f64], own: f64, others: &[f64]) {
    values.iter_mut().zip(others).for_each(|(v, y)| *v += (own - y) * (own - y));
}
wide!(fn gaussian(values: &mut [f64], factor: f64) = gaussian_body);
wide!(fn matern12(values: &mut [f64], factor: f64) = matern12_body);
wide!(fn matern32(values: &mut [f64], factor: f64) = matern32_body);
wide!(fn matern52(values: &mut [f64], factor: f64) = matern52_body);
wide!(fn negative_root(values: &mut [f64]) = negative_root_body);
wide!(fn add_square(values: &mut [f64], own: f64, others: &[f64]) = add_square_body);

/// Up to this many columns distances are summed column by column, beyond it they come from a matrix product.
const DIRECT: usize = 16;

impl Relation for Kernel {
    fn block(&self, _component: usize, x: &Rows<'_>, y: &Rows<'_>, out: &mut [f64]) -> Result<()> {
        check_block(x, y, out)?;
        if x.dim() != y.dim() {
            return Err(Error::shape(format!("kernel {self}"), format!("{} columns on both sides", x.dim()), y.dim()));
        }
        if y.is_empty() {
            return Ok(());
        }
        match (*x, *y) {
            (Rows::Dense { data: a, dim }, Rows::Dense { data: b, .. }) if dim <= DIRECT && self.uses_distance() => {
                self.direct_block(a, b, dim, out);
            }
            _ => self.product_block(x, y, out),
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.to_string()
    }
}

impl Kernel {
    fn direct_block(&self, a: &[f32], b: &[f32], dim: usize, out: &mut [f64]) {
        let width = b.len() / dim;
        let columns: Vec<Vec<f64>> =
            (0..dim).map(|c| b.iter().skip(c).step_by(dim).map(|&v| v.into()).collect()).collect();
        row_blocks(out, width, 32, |first, rows| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                row.fill(0.0);
                for (c, column) in columns.iter().enumerate() {
                    add_square(row, a[(first + i) * dim + c].into(), column);
                }
                self.of_squared_distance(row);
            }
        });
    }

    fn product_block(&self, x: &Rows<'_>, y: &Rows<'_>, out: &mut [f64]) {
        let width = y.len();
        let norms = |rows: &Rows<'_>| (0..rows.len()).map(|i| rows.squared_norm(i)).collect::<Vec<f64>>();
        let (xx, yy) = (norms(x), norms(y));
        products(x, y, out);
        row_blocks(out, width, 32, |first, rows| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let own = xx[first + i];
                if self.uses_distance() {
                    row.iter_mut().zip(&yy).for_each(|(v, other)| *v = (own + other - 2.0 * *v).max(0.0));
                    self.of_squared_distance(row);
                } else {
                    row.iter_mut().zip(&yy).for_each(|(v, &other)| *v = self.of_product(*v, own, other));
                }
            }
        });
    }
}

/// All inner products, row-major.
fn products(x: &Rows<'_>, y: &Rows<'_>, out: &mut [f64]) {
    let width = y.len();
    if let (Rows::Dense { data: a, dim }, Rows::Dense { data: b, .. }) = (*x, *y) {
        let double = |data: &[f32]| data.iter().map(|&v| v.into()).collect::<Vec<f64>>();
        // Row-major (n, dim) is column-major (dim, n); the row-major result (n, m) is column-major (m, n).
        let a = Matrix::from_columns(double(a), dim, x.len());
        let b = Matrix::from_columns(double(b), dim, width);
        out.copy_from_slice(b.transpose_times(&a).data());
        return;
    }
    row_blocks(out, width, 16, |first, rows| {
        let mut dense = vec![0f32; x.dim()];
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            x.for_each(first + i, |column, value| dense[column] = value);
            for (j, out) in row.iter_mut().enumerate() {
                let mut sum = 0.0;
                y.for_each(j, |column, value| sum += f64::from(dense[column]) * f64::from(value));
                *out = sum;
            }
            x.for_each(first + i, |column, _| dense[column] = 0.0);
        }
    });
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Form::Gaussian { length } => write!(f, "gaussian:{length}"),
            Form::Matern12 { length } => write!(f, "matern12:{length}"),
            Form::Matern32 { length } => write!(f, "matern32:{length}"),
            Form::Matern52 { length } => write!(f, "matern52:{length}"),
            Form::RationalQuadratic { length, exponent } => write!(f, "rational-quadratic:{length},{exponent}"),
            Form::Polynomial { degree, offset } => write!(f, "polynomial:{degree},{offset}"),
            Form::Exponential { length } => write!(f, "exponential:{length}"),
            Form::ArcCosine { order } => write!(f, "arc-cosine:{order}"),
            Form::Cosine => f.write_str("cosine"),
            Form::Tanimoto => f.write_str("tanimoto"),
            Form::NegativeDistance => f.write_str("negative-distance"),
        }
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const FORMS: &str = "one of gaussian:L, matern12:L, matern32:L, matern52:L, rational-quadratic:L,A, polynomial:P,C, \
                             exponential:L, arc-cosine:N, cosine, tanimoto, negative-distance";
        let unknown = || Error::parameter("kernel", FORMS, format!("'{text}'"));
        let (name, tail) = text.split_once(':').unwrap_or((text, ""));
        let numbers: Vec<f64> = if tail.is_empty() {
            Vec::new()
        } else {
            let number = |t: &str| {
                t.trim()
                    .parse()
                    .map_err(|_| Error::parameter("kernel parameter", "a number", format!("'{t}' in '{text}'")))
            };
            tail.split(',').map(number).collect::<Result<_>>()?
        };
        let whole = |v: f64| if v.fract() == 0.0 && (0.0..=1e9).contains(&v) { Ok(v as u32) } else { Err(unknown()) };
        match (name, numbers.as_slice()) {
            ("gaussian" | "rbf", &[length]) => Kernel::gaussian(length),
            ("matern12", &[length]) => Kernel::matern12(length),
            ("matern32", &[length]) => Kernel::matern32(length),
            ("matern52", &[length]) => Kernel::matern52(length),
            ("rational-quadratic", &[length, exponent]) => Kernel::rational_quadratic(length, exponent),
            ("polynomial", &[degree]) => Kernel::polynomial(whole(degree)?, 0.0),
            ("polynomial", &[degree, offset]) => Kernel::polynomial(whole(degree)?, offset),
            ("exponential", &[length]) => Kernel::exponential(length),
            ("arc-cosine", &[order]) => Kernel::arc_cosine(whole(order)?),
            ("cosine", []) => Ok(Kernel::cosine()),
            ("tanimoto", []) => Ok(Kernel::tanimoto()),
            ("negative-distance", []) => Ok(Kernel::negative_distance()),
            _ => Err(unknown()),
        }
    }
}
