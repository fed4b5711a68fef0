//! The Nystrom network of a dot-product kernel.

use crate::construct::{Construction, Evidence, Guarantee, Norm, UNIT, roundings};
use crate::encoder::{DualEncoder, Form};
use crate::error::{Error, Result};
use crate::linalg::{Matrix, eigen};
use crate::relation::{Kernel, KernelForm, Relation, ask_block};
use crate::rows::Features;
use crate::tower::{Activation, Layer, RowScaling, Tower};

/// A kernel as `g(<x, z> weight + bias)` of rows that may be scaled first.
struct Hidden {
    activation: Activation,
    weight: f64,
    bias: f64,
    scaling: RowScaling,
}

/// Relative error of the exponential function in `f32`.
const EXP: f64 = 4e-7;
/// Largest exponent that leaves room for sums in `f32`.
const LARGEST_EXPONENT: f64 = 80.0;
/// Most landmarks: their matrix is decomposed.
const LANDMARKS: usize = 8192;

impl Hidden {
    fn of(kernel: &Kernel) -> Option<Self> {
        let (activation, weight, bias, scaling) = match kernel.form() {
            KernelForm::Polynomial { degree, offset } => (Activation::Power(degree), 1.0, offset, RowScaling::None),
            KernelForm::Exponential { length } => (Activation::Exp, (length * length).recip(), 0.0, RowScaling::None),
            KernelForm::Cosine => (Activation::Identity, 1.0, 0.0, RowScaling::UnitNorm),
            _ => return None,
        };
        Some(Hidden { activation, weight, bias, scaling })
    }

    /// How much the value at an argument can be off, when that argument is the sum of `terms` terms of the given total
    /// size.
    fn error(&self, argument: f64, size: f64, terms: usize) -> f64 {
        let off = roundings(terms + 5) * size;
        match self.activation {
            Activation::Exp => argument.exp() * (off.exp() * (1.0 + EXP) - 1.0),
            Activation::Power(p) => {
                let (most, p) = (argument.abs() + off, p as i32);
                most.powi(p) * (1.0 + roundings(p as usize)) - argument.abs().powi(p)
            }
            _ => off,
        }
    }
}

/// The Nystrom feature map of a dot-product kernel, which is a network with one hidden layer: `phi(x) = S^(-1/2) U^T
/// g(Z x + b)`.
///
/// `Z` are the landmarks, `g` the kernel as a function of the inner product (`Activation::Power` for `polynomial:P,C`
/// with the offset as bias, `Activation::Exp` for `exponential:L`; `cosine` is linear on unit-norm rows), and `K_ZZ = U
/// S U^T`. Only eigenvalues above `n u S_1` are kept (`n` landmarks, `u = 2^-24`): what lies below is of the size of
/// the rounding of the hidden units. At most `most` are kept.
///
/// `<phi(x), phi(y)>` is the kernel of the projections onto the span of the landmarks. The guarantee is for pairs of
/// landmarks: the largest diagonal entry of what was dropped, and the rounding bounded from the weights (a worst case,
/// far above what is seen). Anywhere else `|error(x, y)| <= sqrt(res(x) res(y))` plus rounding with [`residual`].
///
/// Cost: `n^3` operations once; `n (d + k)` weights. Source: Williams and Seeger, NeurIPS 2001.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for another kernel or `most` 0; [`crate::ErrorKind::Data`] unless there are 1 to
/// 8192 landmarks with kernel values that `f32` holds and that are not all zero.
///
/// ```
/// use mercer::construct::{nystrom, residual};
/// use mercer::{Features, Kernel};
/// let kernel = Kernel::polynomial(2, 1.0)?;
/// let landmarks = Features::dense(vec![-1.0, 0.0, 0.5], 1)?;
/// let network = nystrom(&kernel, &landmarks, 3)?;
/// // Three landmarks span the polynomials of degree 2: nothing is lost anywhere.
/// assert!(residual(&kernel, &network.encoder, &Features::dense(vec![3.0], 1)?)?[0] < 1e-3);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn nystrom(kernel: &Kernel, landmarks: &Features, most: usize) -> Result<Construction> {
    let expected = "a dot-product kernel that is one hidden layer: polynomial, exponential or cosine";
    let hidden = Hidden::of(kernel).ok_or_else(|| Error::parameter("kernel", expected, kernel))?;
    if most == 0 {
        return Err(Error::parameter("dimension", "at least 1", most));
    }
    let n = landmarks.len();
    if !(1..=LANDMARKS).contains(&n) {
        return Err(Error::data(format!("{n} landmarks"), format!("bring 1 to {LANDMARKS}")));
    }
    let gram = ask_block(kernel, 0, landmarks, landmarks)?;
    let largest = gram.data().iter().fold(0f64, |most, v| most.max(v.abs()));
    if largest == 0.0 || largest > LARGEST_EXPONENT.exp() {
        let problem = format!("the largest kernel value of the landmarks is {largest:.3e}");
        return Err(Error::data(problem, "scale the rows, or choose other kernel parameters"));
    }
    let failed = || Error::data("the kernel matrix of the landmarks could not be decomposed", "check its values");
    let (values, vectors) = eigen(&gram).ok_or_else(failed)?;
    let tolerance = n as f64 * UNIT * values[0];
    let kept = values.iter().take_while(|value| **value > tolerance).count().min(most);
    let output = Matrix::from_fn(n, kept, |j, l| f64::from((vectors[(j, l)] / values[l].sqrt()) as f32));
    let encoder = DualEncoder::new(tower(&hidden, landmarks, &output)?, None, Form::Identity, 1)?;
    let dropped = |i: usize| (kept..n).map(|l| values[l].abs() * vectors[(i, l)].powi(2)).sum::<f64>();
    let dropped = (0..n).map(dropped).fold(0.0, f64::max) + 8.0 * n as f64 * f64::EPSILON * values[0];
    let features = Matrix::from_fn(n, kept, |i, l| vectors[(i, l)] * values[l].sqrt());
    let rounding = rounding(&hidden, landmarks, &gram, &output, &features);
    let assumptions = format!(
        "for pairs of the {n} landmarks, eigenvalues above {tolerance:.2e}: {dropped:.2e} is dropped, the rest is a worst \
         case of f32 rounding; \
         elsewhere the error is at most sqrt(res(x) res(y)) more, with the residuals of the points"
    );
    let guarantee = Guarantee {
        norm: Norm::Sup,
        error: dropped + rounding,
        confidence: 1.0,
        evidence: Evidence::Proven,
        assumptions,
    };
    Ok(Construction::new(encoder, format!("Nystrom network of {kernel}"), guarantee))
}

fn tower(hidden: &Hidden, landmarks: &Features, output: &Matrix) -> Result<Tower> {
    let (n, dim, rows) = (landmarks.len(), landmarks.dim(), landmarks.rows());
    let mut weights = vec![0f32; dim * n];
    for j in 0..n {
        let factor = hidden.weight * hidden.scaling.factor(rows.squared_norm(j));
        rows.for_each(j, |column, value| weights[column * n + j] = (factor * f64::from(value)) as f32);
    }
    let first = Layer::new(weights, vec![hidden.bias as f32; n], hidden.activation)?;
    let kept = output.columns();
    let weights = (0..n * kept).map(|at| output[(at / kept, at % kept)] as f32).collect();
    let last = Layer::new(weights, vec![0.0; kept], Activation::Identity)?;
    Ok(Tower::new(vec![first, last])?.with_scaling(hidden.scaling))
}

/// The most that `f32` changes a value between two landmarks.
fn rounding(hidden: &Hidden, landmarks: &Features, gram: &Matrix, output: &Matrix, features: &Matrix) -> f64 {
    let (n, rows) = (landmarks.len(), landmarks.rows());
    let norms: Vec<f64> = (0..n).map(|i| rows.squared_norm(i)).collect();
    let scaled = |i: usize| norms[i].sqrt() * hidden.scaling.factor(norms[i]);
    // Each embedding coordinate: errors of the hidden units through the outputs, and the rounding of the sum itself.
    let own = Matrix::from_fn(n, n, |i, j| {
        let factor = hidden.weight * hidden.scaling.factor(norms[i]) * hidden.scaling.factor(norms[j]);
        let argument = factor * rows.dot(i, &rows, j) + hidden.bias;
        let size = hidden.weight * scaled(i) * scaled(j) + hidden.bias;
        let unit = hidden.error(argument, size, landmarks.dim());
        unit + roundings(n + 3) * (gram[(i, j)].abs() + unit)
    });
    let absolute = |m: &Matrix| Matrix::from_fn(m.rows(), m.columns(), |i, j| m[(i, j)].abs());
    let errors = own.times(&absolute(output));
    let features = absolute(features);
    // |phi| e^T + e |phi|^T + e e^T, entry by entry.
    let (cross, square) = (features.times_transpose(&errors), errors.times_transpose(&errors));
    let pair = |i: usize, j: usize| cross[(i, j)] + cross[(j, i)] + square[(i, j)];
    (0..n * n).map(|at| pair(at / n, at % n)).fold(0.0, f64::max)
}

/// What a symmetric model leaves of a kernel at each row: `res(x) = max(0, k(x, x) - |phi(x)|^2)`.
///
/// For a [`nystrom`] network it is the squared distance of `k(x, .)` to the span of the landmarks in the kernel's
/// Hilbert space, so that `|k(x, y) - <phi(x), phi(y)>| <= sqrt(res(x) res(y))` (Cauchy and Schwarz). Where `f32` moves
/// values by at most `e`, the bound is `sqrt((res(x) + e) (res(y) + e)) + e`. Shape `(x.len(),)`, `f64`.
///
/// # Errors
/// As [`DualEncoder::block`] and [`Relation::block`]; [`crate::ErrorKind::Parameter`] if the two towers of the model
/// differ.
pub fn residual(kernel: &dyn Relation, encoder: &DualEncoder, x: &Features) -> Result<Vec<f64>> {
    /// Rows of one block, of which the diagonal is used.
    const ROWS: usize = 16;
    if !encoder.is_shared() || *encoder.form() != Form::Identity {
        return Err(Error::parameter("class of the model", "symmetric", encoder.class()));
    }
    let mut residuals = Vec::with_capacity(x.len());
    for first in (0..x.len()).step_by(ROWS) {
        let rows = x.slice(first..(first + ROWS).min(x.len()));
        let n = rows.len();
        let mut values = vec![0.0; n * n];
        kernel.block(0, &rows, &rows, &mut values)?;
        let model = encoder.block(0, &rows, &rows)?;
        residuals.extend((0..n).map(|i| (values[i * n + i] - model[i * n + i]).max(0.0)));
    }
    Ok(residuals)
}
