//! Eigenvalues, singular values and eigenfunctions of a relation from a sample of items (Nystrom).

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::linalg::{Matrix, eigen, svd};
use crate::relation::{Law, Relation, ask_block};
use crate::rows::Features;
use crate::seed::Seed;

/// In which norm an error is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Root of the mean square over independent queries and keys.
    Rms,
    /// The largest over all pairs.
    Sup,
}

impl std::fmt::Display for Norm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Norm::Rms => "rms",
            Norm::Sup => "sup",
        })
    }
}

/// How the items of a [`Spectrum`] are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchors {
    /// Independent draws: the confidence radius holds.
    Independent,
    /// More evenly spread than independent draws: closer to the truth, without a radius.
    Spread,
}

/// Within what distance of the sampled eigenvalues those of the integral operator lie.
///
/// For a PSD kernel, `n` independent items, `kappa^2 = sup k(x, x)` and confidence `1 - delta` for each of the two
/// statements. Source: Rosasco, Belkin and De Vito, JMLR 11 (2010); the second is McDiarmid's inequality for the
/// Hilbert-Schmidt norm, one exchanged item moving the operator by at most `sqrt(2) kappa^2 / n`. Both are about ten
/// times wider than what is seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Radius {
    /// `1 - delta`.
    pub confidence: f64,
    /// Of every eigenvalue: `2 sqrt(2) kappa^2 sqrt(ln(2 / delta) / n)`.
    pub each: f64,
    /// Of the l2 norm of all deviations together, hence of each too: `kappa^2 (1 + sqrt(ln(1 / delta))) / sqrt(n)`.
    pub together: f64,
}

/// Sampled eigenvalues (symmetric relations) or singular values, of one component.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spectrum {
    /// Signed eigenvalues by decreasing size, or singular values, of the integral operator: estimated.
    pub values: Vec<f64>,
    /// Whether `values` are eigenvalues.
    pub symmetric: bool,
    /// Whether the relation is symmetric without negative eigenvalues beyond rounding.
    pub positive: bool,
    /// How the items were chosen.
    pub anchors: Anchors,
    /// Number of queries and of keys.
    pub items: (usize, usize),
    /// Mean of the squared values over the sample.
    pub mean_square: f64,
    /// Mean of `r(x, x)` over the sample, the sum of all eigenvalues; `None` for two sets of items.
    pub trace: Option<f64>,
    /// `kappa^2`, the largest `k(x, x)` seen; `None` unless `positive`. A lower estimate of the supremum.
    pub kappa_squared: Option<f64>,
    /// `None` unless `positive` and the anchors are independent.
    pub radius: Option<Radius>,
    /// `tau[D] = sup_x k(x, x) - sum_{i <= D} lambda_i e_i(x)^2` for `D = 0, 1, ...`: the sup-norm error of the
    /// truncation at `D`, over the anchors and as many fresh items (and the corners of a cube), to which the
    /// eigenfunctions are extended. Estimated, rather above the supremum: what truncation costs a network built from this
    /// sample. `None` unless `positive`.
    pub tau: Option<Vec<f64>>,
    /// What stands behind the numbers, in words.
    pub assumptions: String,
    #[serde(skip)]
    functions: Functions,
}

/// Eigenfunctions or singular functions at the anchors, a column each, of mean square 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Functions {
    pub(crate) queries: Features,
    pub(crate) left: Matrix,
}

/// Confidence of [`Radius`].
const CONFIDENCE: f64 = 0.95;
/// Corners of cubes up to this dimension are looked at for suprema.
const CORNERS: usize = 8;

/// The spectrum of component `component` on `n` items of `queries` and, where `keys` is another law, `n` of `keys`.
///
/// For given items at most all of them are used when spread. Cost: one `n x n` decomposition with vectors (about 0.15 s
/// at 500) and, for positive kernels, an `n x n` block on fresh items.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] if the component does not exist or `n` is below 2 or beyond 8192;
/// [`crate::ErrorKind::Data`] for a relation that is zero; what the relation or the items report.
///
/// ```
/// use mercer::spectrum::{Anchors, sampled};
/// use mercer::{Kernel, Law, Seed};
/// let spectrum = sampled(&Kernel::gaussian(1.0)?, 0, Law::Cube { dim: 1 }, None, Anchors::Spread, 200, Seed(0))?;
/// assert!(spectrum.positive && spectrum.rms_tail(6) < 1e-3);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn sampled(
    relation: &dyn Relation,
    component: usize,
    queries: Law<'_>,
    keys: Option<Law<'_>>,
    anchors: Anchors,
    n: usize,
    seed: Seed,
) -> Result<Spectrum> {
    if component >= relation.components() {
        return Err(Error::parameter("component", format!("below {}", relation.components()), component));
    }
    if !(2..=8192).contains(&n) {
        return Err(Error::parameter("items of a spectrum", "from 2 to 8192", n));
    }
    let mut stream = seed.stream("spectrum");
    let mut choose = |law: &Law<'_>| match anchors {
        Anchors::Independent => law.draw(n, &mut stream),
        Anchors::Spread => law.quadrature(n, &mut stream),
    };
    let x = choose(&queries)?;
    let y = keys.as_ref().map(&mut choose).transpose()?;
    let block = ask_block(relation, component, &x, y.as_ref().unwrap_or(&x))?;
    if block.data().is_empty() || block.data().iter().all(|v| *v == 0.0) {
        return Err(Error::data(format!("every sampled value of {} is zero", relation.name()), "give other items"));
    }
    let parts = decompose(&block, y.is_some())?;
    let mut spectrum = Spectrum {
        positive: parts.symmetric && parts.values.iter().all(|v| *v > 0.0),
        symmetric: parts.symmetric,
        values: parts.values,
        anchors,
        items: (block.columns(), block.rows()),
        mean_square: mean(block.data().iter().map(|v| v * v)),
        trace: y.is_none().then(|| mean((0..block.rows()).map(|i| block[(i, i)]))),
        kappa_squared: None,
        radius: None,
        tau: None,
        assumptions: String::new(),
        functions: Functions { queries: x, left: parts.left },
    };
    if spectrum.positive {
        let diagonal: Vec<f64> = (0..block.rows()).map(|i| block[(i, i)]).collect();
        let fresh = fresh_items(&queries, n, seed)?;
        spectrum.add_suprema(relation, component, &block, &diagonal, &fresh)?;
    }
    spectrum.assumptions = spectrum.words();
    Ok(spectrum)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

struct Decomposition {
    symmetric: bool,
    values: Vec<f64>,
    left: Matrix,
}

/// Values beyond rounding by decreasing size, and left functions of mean square 1.
fn decompose(block: &Matrix, two_sets: bool) -> Result<Decomposition> {
    let (rows, columns) = (block.rows(), block.columns());
    let failed =
        || Error::data("the decomposition of a block did not converge", "check the relation's values for overflow");
    let norm = block.data().iter().map(|v| v * v).sum::<f64>().sqrt();
    let noise = rows.max(columns) as f64 * f64::EPSILON * norm;
    let uneven = |j: usize| (0..j).any(|i| (block[(i, j)] - block[(j, i)]).abs() > noise);
    let symmetric = !two_sets && !(0..columns).any(uneven);
    let scale = 1.0 / ((rows * columns) as f64).sqrt();
    let (values, vectors) = if symmetric {
        eigen(block).ok_or_else(failed)?
    } else {
        // A column of the block is a query: right vectors belong to queries.
        let (_, values, right) = svd(block).ok_or_else(failed)?;
        (values, right)
    };
    let mut order: Vec<usize> = (0..values.len()).filter(|&i| values[i].abs() > noise).collect();
    order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()));
    let left = vectors.select_columns(&order).scaled((columns as f64).sqrt());
    Ok(Decomposition { symmetric, values: order.into_iter().map(|i| values[i] * scale).collect(), left })
}

/// Items for suprema: as many fresh draws as anchors and, in a cube, its corners.
fn fresh_items(law: &Law<'_>, n: usize, seed: Seed) -> Result<Features> {
    let drawn = law.draw(n, &mut seed.stream("spectrum fresh items"))?;
    let Law::Cube { dim } = *law else { return Ok(drawn) };
    if dim > CORNERS {
        return Ok(drawn);
    }
    let corners = (0..1usize << dim).flat_map(|c| (0..dim).map(move |j| if c >> j & 1 == 1 { 1.0f32 } else { -1.0 }));
    let mut data: Vec<f32> = corners.collect();
    let rows = drawn.rows();
    (0..rows.len()).for_each(|i| rows.for_each(i, |_, value| data.push(value)));
    Features::dense(data, dim)
}

impl Spectrum {
    /// `sqrt(sum_{i > dim} lambda_i^2)`: the RMS error of the best `dim` coordinates, by the sampled values.
    pub fn rms_tail(&self, dim: usize) -> f64 {
        self.values.iter().skip(dim).rev().map(|v| v * v).sum::<f64>().sqrt()
    }

    /// The error of the truncation at `dim` in the norm asked for; `None` for the sup norm of a relation without `tau`.
    pub fn tail(&self, dim: usize, norm: Norm) -> Option<f64> {
        match (norm, &self.tau) {
            (Norm::Rms, _) => Some(self.rms_tail(dim)),
            (Norm::Sup, Some(tau)) => tau.get(dim).or(tau.last()).copied(),
            (Norm::Sup, None) => None,
        }
    }

    /// The smallest dimension whose truncation errs by at most `eps`; `None` if no sampled dimension reaches it, or in
    /// the sup norm of a relation that is not positive.
    pub fn dimension_for(&self, eps: f64, norm: Norm) -> Option<usize> {
        (0..=self.values.len()).find(|&dim| self.tail(dim, norm).is_some_and(|t| t <= eps))
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }

    /// `kappa^2`, the radius and `tau`, from the diagonal and `extra` items.
    fn add_suprema(
        &mut self,
        relation: &dyn Relation,
        component: usize,
        block: &Matrix,
        diagonal: &[f64],
        extra: &Features,
    ) -> Result<()> {
        let own = (0..extra.len()).map(|i| {
            let item = extra.select(&[i]);
            Ok(ask_block(relation, component, &item, &item)?[(0, 0)])
        });
        let fresh_diagonal = own.collect::<Result<Vec<f64>>>()?;
        let kappa_squared = diagonal.iter().chain(&fresh_diagonal).copied().fold(0.0, f64::max);
        let across = ask_block(relation, component, extra, &self.functions.queries)?;
        let seen = self.residuals(block, diagonal);
        let fresh = self.residuals(&across, &fresh_diagonal);
        self.tau = Some(seen.iter().zip(&fresh).map(|(a, b)| a.max(*b)).collect());
        self.kappa_squared = Some(kappa_squared);
        if self.anchors == Anchors::Independent {
            let (n, delta) = (self.items.0 as f64, 1.0 - CONFIDENCE);
            self.radius = Some(Radius {
                confidence: CONFIDENCE,
                each: kappa_squared * (8.0 * (2.0 / delta).ln() / n).sqrt(),
                together: kappa_squared * (1.0 + (1.0 / delta).ln().sqrt()) / n.sqrt(),
            });
        }
        Ok(())
    }

    /// The largest `k(x, x) - sum_{i <= D} lambda_i e_i(x)^2` for each `D`, at the columns of `block` (rows: anchors),
    /// with `lambda_i e_i(x) = mean_j k(x, x_j) e_i(x_j)`.
    fn residuals(&self, block: &Matrix, diagonal: &[f64]) -> Vec<f64> {
        let images = block.transpose_times(&self.functions.left);
        let scale = 1.0 / block.rows() as f64;
        let mut rest = diagonal.to_vec();
        let largest = |rest: &[f64]| rest.iter().copied().fold(0.0, f64::max);
        let mut found = vec![largest(&rest)];
        for (i, lambda) in self.values.iter().enumerate() {
            rest.iter_mut().zip(images.column(i)).for_each(|(r, v)| *r -= (v * scale) * (v * scale) / lambda);
            found.push(largest(&rest));
        }
        found
    }

    fn words(&self) -> String {
        let how = match self.anchors {
            Anchors::Independent => "independent draws",
            Anchors::Spread => "evenly spread items (no confidence radius)",
        };
        let mut text = format!("values are estimated from {} x {} {how}", self.items.0, self.items.1);
        if self.radius.is_some() {
            text += "; the radius is proven for the kappa^2 shown, which is the largest k(x, x) seen";
        } else if !self.positive {
            text += "; the relation is not positive, so no radius and no sup-norm tail are known";
        }
        if self.tau.is_some() {
            text += "; tau is estimated over finitely many items";
        }
        text
    }
}
