//! Keys and values prepared for many queries; the largest scores of each, in `f64`.

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::gemm::{Largest, PANEL, Panels, Start, multiply_largest};
use crate::retrieval::codes;
use crate::retrieval::fused::Fused;
use crate::retrieval::search::{Aim, Candidates, search};
use crate::retrieval::sketch::{Sketch, unit};
use crate::seed::Seed;
use crate::wide::wide;

/// Keys that say how many of all matter to a query.
const SAMPLE: usize = 2048;
/// Queries whose share of keys is estimated together.
const QUERIES: usize = 96;
/// Share of the keys up to which pruning pays: a score in `f64` takes a hundred times as long as one of a product.
const SHARE: f64 = 0.01;
/// Keys of a query that are always worth a search.
const FEW: f64 = 1024.0;
/// Coordinates up to which sums of codes stay within 32 bits.
const LONGEST: usize = 1 << 15;

/// Keys and values, prepared for attention of many queries.
///
/// The keys are put into tiles of 64 close ones, which hold a centre, radii and, for each key, one byte a coordinate. From these
/// every score is bounded from both sides, rounding included; whole tiles that cannot reach a query's largest scores are passed
/// over, and the few keys that may are scored in `f64`. What is found does not depend on the tiles, nor on the threads.
///
/// Memory beside what the caller holds: `5 n dim + 4 n width` bytes for `n` keys. Time to prepare: some ten products of the keys
/// with a hundred vectors.
///
/// ```
/// use mercer::retrieval::Certified;
/// let keys = [1.0, 0.0, 0.0, 1.0, 0.7, 0.7];
/// let index = Certified::new(&keys, 2, Some((&[10.0, 20.0, 30.0], 1)))?;
/// let best = index.best_two(&[1.0, 0.1])?[0];
/// assert_eq!((best.key, best.second), (0, Some(2)));
/// assert!((best.margin() - 0.23).abs() < 1e-6);
/// let found = index.outputs(&[1.0, 0.1], 200.0, 1e-6)?;
/// assert!((found.outputs[0] - 10.0).abs() < 20.0 * 1e-6);
/// # Ok::<(), mercer::Error>(())
/// ```
pub struct Certified<'a> {
    pub(super) keys: &'a [f32],
    pub(super) dim: usize,
    values: &'a [f32],
    pub(super) width: usize,
    sketch: Sketch,
    fused: Fused,
    /// Some keys, scaled: `(dim, up to 2048)`.
    sample: Panels,
    /// The largest norm of a key.
    longest: f64,
}

/// The two best keys of a query, in `f64`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BestTwo {
    /// The best key; of equal ones the first.
    pub key: u32,
    /// Its score.
    pub score: f64,
    /// The second best, if there are two keys.
    pub second: Option<u32>,
    /// Its score; `-inf` if there is none.
    pub second_score: f64,
}

impl BestTwo {
    /// The best score less the second best: infinite for a single key.
    pub fn margin(&self) -> f64 {
        self.score - self.second_score
    }
}

/// How the output of one query came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Effort {
    /// Whether keys were passed over and the others scored in `f64`; else all of them were scored in `f32`.
    pub pruned: bool,
    /// Keys that the output was made from.
    pub kept: u64,
    /// Keys whose codes were looked at.
    pub touched: u64,
    /// The most that the weights of all keys that were left out come to.
    pub outside: f64,
    /// The most that rounding changes the output, relative to the diameter of the values (a worst case: in `f32` far above what
    /// is seen).
    pub rounding: f64,
}

/// Outputs of attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outputs {
    /// Row-major `(queries, width of a value)`.
    pub outputs: Vec<f64>,
    /// One for each query.
    pub efforts: Vec<Effort>,
}

/// Keys of a query whose scores are near the largest, in increasing order.
#[derive(Clone, Debug, Default)]
pub(super) struct Near {
    pub(super) keys: Vec<u32>,
    pub(super) scores: Vec<f64>,
    pub(super) most: f64,
    pub(super) touched: u64,
}

/// `ln(n / tolerance)`: keys whose `beta score` is further below the largest weigh less than `tolerance` together.
pub(super) fn softmax_window(keys: usize, tolerance: f64) -> f64 {
    (keys as f64 / tolerance).ln()
}

/// The most that the weights of `others` keys come to, whose `beta score` is `window` below the largest or more, beside keys whose
/// weights are `mass` times that of the largest: `B / (Z + B)`.
pub(super) fn outside(others: usize, window: f64, mass: f64) -> f64 {
    let most = others as f64 * (-window).exp();
    // What is left out is more by a rounding of the window.
    (most / (mass + most)) * (1.0 + 1e-12 + window.min(1e3) * f64::EPSILON)
}

impl<'a> Certified<'a> {
    /// Prepares row-major `keys` `(n, dim)` and, to make outputs from, `values` `(n, width)`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] for data that are not whole rows or not of one number of keys,
    /// [`crate::ErrorKind::NonFinite`], [`crate::ErrorKind::Parameter`] without keys, from 2^32 keys on and beyond 32,768
    /// coordinates.
    pub fn new(keys: &'a [f32], dim: usize, values: Option<(&'a [f32], usize)>) -> Result<Self> {
        let n = rows(keys, dim, "keys")?;
        if n == 0 || u32::try_from(n).is_err() {
            return Err(Error::parameter("number of keys", "from 1 to 2^32 - 1", n));
        }
        if dim > LONGEST {
            return Err(Error::parameter("coordinates of a key", format!("at most {LONGEST}"), dim));
        }
        let (values, width) = values.unwrap_or((&[], 0));
        if width > 0 || !values.is_empty() {
            let own = rows(values, width, "values")?;
            if own != n {
                return Err(Error::shape("values", format!("one row for each of {n} keys"), own));
            }
        }
        let sketch = Sketch::new(keys, dim);
        let fused = Fused::new(keys, dim, values, width, 1.0 / sketch.unit);
        let chosen = Seed(0).stream("sample of keys").choose(n, SAMPLE);
        let small = |at: &usize| keys[at * dim..(at + 1) * dim].iter().map(|v| (f64::from(*v) / sketch.unit) as f32);
        let small: Vec<f32> = chosen.iter().flat_map(small).collect();
        let mut sample = Panels::default();
        sample.pack_transposed(&small, chosen.len());
        let longest = keys.par_chunks_exact(dim).map(norm).reduce(|| 0.0, f64::max);
        Ok(Certified { keys, dim, values, width, sketch, fused, sample, longest })
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len() / self.dim
    }

    /// Whether there are no keys: never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The most by which a score of `query` in `f64` may be wrong: `(dim + 2) 2^-53 |q| max |k|`.
    pub fn rounding(&self, query: &[f32]) -> f64 {
        self.rounding_at(norm(query), f64::EPSILON)
    }

    /// Sums of `dim` products whose relative rounding is half of `epsilon`.
    fn rounding_at(&self, norm: f64, epsilon: f64) -> f64 {
        (self.dim as f64 + 2.0) * 0.5 * epsilon * norm * self.longest * (1.0 + 1e-6)
    }

    /// The two best keys of each row of row-major `queries` `(n, dim)`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] and [`crate::ErrorKind::NonFinite`].
    pub fn best_two(&self, queries: &[f32]) -> Result<Vec<BestTwo>> {
        rows(queries, self.dim, "queries")?;
        let found = search(&self.sketch, queries, Aim::BestTwo);
        let one = |(query, found): (&[f32], Candidates)| {
            let none = BestTwo { key: 0, score: f64::NEG_INFINITY, second: None, second_score: f64::NEG_INFINITY };
            found.keys.iter().fold(none, |best, &key| {
                let score = dot(query, self.key(key));
                if score > best.score {
                    let second = (best.score > f64::NEG_INFINITY).then_some(best.key);
                    BestTwo { key, score, second, second_score: best.score }
                } else if score > best.second_score {
                    BestTwo { second: Some(key), second_score: score, ..best }
                } else {
                    best
                }
            })
        };
        Ok(queries.par_chunks_exact(self.dim).zip(found).map(one).collect())
    }

    /// Softmax attention: the means of the values with weights `e^(beta score)`, for row-major `queries` `(n, dim)`.
    ///
    /// Each output differs from the exact one by at most `(outside + rounding)` times the diameter of the values, both of which
    /// its [`Effort`] tells. Where a sample of the keys says that few of them matter, `outside` is at most `tolerance` and scores are
    /// in `f64`. Where many matter (a small `beta`) all keys are scored in `f32`, as [`Certified::exact`] does.
    ///
    /// # Errors
    /// As [`Certified::best_two`]; [`crate::ErrorKind::Data`] without values, [`crate::ErrorKind::Parameter`] for a `beta` that is
    /// negative or not finite and for a `tolerance` that is not between 0 and 1.
    pub fn outputs(&self, queries: &[f32], beta: f64, tolerance: f64) -> Result<Outputs> {
        let n = self.check(queries, beta, tolerance)?;
        let window = softmax_window(self.len(), tolerance);
        let few = self.few(queries, &vec![window / beta; n]);
        let (chosen, others): (Vec<usize>, Vec<usize>) = (0..n).partition(|&q| few[q]);
        let take = |own: &[usize]| -> Vec<f32> { own.iter().flat_map(|&q| self.row(queries, q)).copied().collect() };
        let rows = take(&chosen);
        let near = self.near(&rows, &vec![window / beta; chosen.len()]);
        let mean = |(query, near): (&[f32], Near)| {
            let mut weights: Vec<f64> = near.scores.iter().map(|score| (beta * (score - near.most)).exp()).collect();
            let mass: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= mass);
            let kept = near.keys.len();
            let effort = Effort {
                pruned: true,
                kept: kept as u64,
                touched: near.touched,
                outside: outside(self.len() - kept, window, mass),
                rounding: self.softmax_rounding(query, beta, kept),
            };
            (self.mean(&near.keys, &weights), effort)
        };
        let done: Vec<(Vec<f64>, Effort)> = rows.par_chunks_exact(self.dim).zip(near).map(mean).collect();
        let mut outputs = vec![0.0; n * self.width];
        let mut efforts = vec![Effort::default(); n];
        let place = |q: usize| q * self.width..(q + 1) * self.width;
        for ((out, effort), &q) in done.iter().zip(&chosen) {
            outputs[place(q)].copy_from_slice(out);
            efforts[q] = *effort;
        }
        let rest = self.exact(&take(&others), beta, tolerance)?;
        for (at, &q) in others.iter().enumerate() {
            outputs[place(q)].copy_from_slice(&rest.outputs[place(at)]);
            efforts[q] = rest.efforts[at];
        }
        Ok(Outputs { outputs, efforts })
    }

    /// As [`Certified::outputs`], with every key scored in `f32`, block by block, with a running maximum: what pruning is to beat.
    ///
    /// # Errors
    /// As [`Certified::outputs`].
    pub fn exact(&self, queries: &[f32], beta: f64, tolerance: f64) -> Result<Outputs> {
        self.check(queries, beta, tolerance)?;
        let window = softmax_window(self.len(), tolerance);
        let (small, units) = self.small(queries);
        let betas: Vec<f32> = units.iter().map(|unit| (beta * unit * self.sketch.unit).min(1e38) as f32).collect();
        let outputs = self.fused.attend(&small, &betas, window as f32);
        let effort = |query: &[f32]| Effort {
            pruned: false,
            kept: self.len() as u64,
            touched: self.len() as u64,
            outside: outside(self.len(), window, 1.0),
            rounding: Fused::rounding(beta * self.rounding_at(norm(query), f32::EPSILON.into()), window),
        };
        Ok(Outputs { outputs, efforts: queries.par_chunks_exact(self.dim).map(effort).collect() })
    }

    /// What rounding in `f64` does to an output of softmax, relative to the diameter of the values.
    pub(super) fn softmax_rounding(&self, query: &[f32], beta: f64, kept: usize) -> f64 {
        (2.0 * beta * self.rounding(query)).exp_m1() + (2.0 * kept as f64 + 50.0) * f64::EPSILON
    }

    fn check(&self, queries: &[f32], beta: f64, tolerance: f64) -> Result<usize> {
        check_beta(beta)?;
        check_tolerance(tolerance)?;
        if self.width == 0 {
            return Err(Error::data("there are no values to make outputs from", "give values with the keys"));
        }
        rows(queries, self.dim, "queries")
    }

    /// The mean of the values with `weights`.
    pub(super) fn mean(&self, keys: &[u32], weights: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.width];
        for (&key, weight) in keys.iter().zip(weights) {
            let value = &self.values[key as usize * self.width..][..self.width];
            out.iter_mut().zip(value).for_each(|(to, v)| *to += weight * f64::from(*v));
        }
        out
    }

    /// All keys whose scores are at most a window below the largest, of each query, by search.
    pub(super) fn near(&self, queries: &[f32], windows: &[f64]) -> Vec<Near> {
        let found = search(&self.sketch, queries, Aim::Within(windows));
        let each = queries.par_chunks_exact(self.dim).zip(found).zip(windows.par_iter());
        each.map(|((query, found), window)| self.score(query, found.keys.into_iter(), found.touched, *window)).collect()
    }

    /// The same by all scores of one query.
    pub(super) fn near_of_all(&self, query: &[f32], window: f64) -> Near {
        self.score(query, 0..self.len() as u32, self.len() as u64, window)
    }

    /// The keys within the window, of candidates that hold them all. Which they are does not depend on how they were found.
    fn score(&self, query: &[f32], candidates: impl Iterator<Item = u32>, touched: u64, window: f64) -> Near {
        let mut all: Vec<(u32, f64)> = candidates.map(|key| (key, dot(query, self.key(key)))).collect();
        let most = all.iter().fold(f64::NEG_INFINITY, |most, (_, score)| most.max(*score));
        all.retain(|(_, score)| *score >= most - window);
        let (keys, scores) = all.into_iter().unzip();
        Near { keys, scores, most, touched }
    }

    fn key(&self, key: u32) -> &[f32] {
        self.row(self.keys, key as usize)
    }

    pub(super) fn row<'b>(&self, rows: &'b [f32], at: usize) -> &'b [f32] {
        &rows[at * self.dim..][..self.dim]
    }

    /// Queries with norms up to 1, and what they were divided by.
    fn small(&self, queries: &[f32]) -> (Vec<f32>, Vec<f64>) {
        let units: Vec<f64> = queries.chunks_exact(self.dim).map(|row| unit(norm(row))).collect();
        let mut small = Vec::with_capacity(queries.len());
        for (row, unit) in queries.chunks_exact(self.dim).zip(&units) {
            let inverse = 1.0 / unit;
            small.extend(row.iter().map(|v| (f64::from(*v) * inverse) as f32));
        }
        (small, units)
    }

    /// Whether few keys are within each query's window, by a sample, so that a search pays.
    pub(super) fn few(&self, queries: &[f32], windows: &[f64]) -> Vec<bool> {
        let (small, units) = self.small(queries);
        // Without fast sums of codes a search must pass over whole tiles; that it does is not known beforehand.
        let share = if codes::fast() { SHARE } else { SHARE / 4.0 };
        let most = FEW.max(share * self.len() as f64);
        let blocks =
            small.par_chunks(QUERIES * self.dim).zip(units.par_chunks(QUERIES)).zip(windows.par_chunks(QUERIES));
        let few = blocks.map(|((rows, units), windows)| {
            let scaled: Vec<f64> = units.iter().zip(windows).map(|(unit, w)| w / unit / self.sketch.unit).collect();
            self.counts(rows, &scaled).into_iter().map(|count| count <= most).collect::<Vec<bool>>()
        });
        few.collect::<Vec<_>>().concat()
    }

    /// About how many keys are within each window, all scaled.
    fn counts(&self, rows: &[f32], windows: &[f64]) -> Vec<f64> {
        let (mut a, mut scores) = (Panels::default(), Panels::default());
        a.pack(rows, self.dim);
        let mut largest: Vec<Largest> = vec![[0.0; 16]; windows.len()];
        multiply_largest(&a, &self.sample, Start::Zero, &mut scores, &mut largest);
        let m = self.sample.columns();
        let each = windows.iter().enumerate().map(|(row, window)| {
            let most = largest[row].iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            let bar = most - *window as f32;
            let parts = (0..m).step_by(PANEL).map(|first| {
                let part = &scores.panel(first)[row * scores.stride(first)..][..PANEL.min(m - first)];
                part.iter().map(|score| u32::from(*score >= bar)).sum::<u32>()
            });
            f64::from(parts.sum::<u32>()) / m as f64 * self.len() as f64
        });
        each.collect()
    }
}

pub(super) fn check_beta(beta: f64) -> Result<()> {
    if beta.is_finite() && beta >= 0.0 {
        return Ok(());
    }
    Err(Error::parameter("inverse temperature", "0 or a positive finite number", beta))
}

pub(super) fn check_tolerance(tolerance: f64) -> Result<()> {
    if tolerance > 0.0 && tolerance < 1.0 {
        return Ok(());
    }
    Err(Error::parameter("tolerance", "above 0 and below 1: a share of the weights", tolerance))
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt()
}

/// Number of rows of checked numbers.
pub(super) fn rows(data: &[f32], dim: usize, what: &str) -> Result<usize> {
    if dim == 0 || !data.len().is_multiple_of(dim) {
        return Err(Error::shape(what, format!("rows of {dim} > 0 numbers"), data.len()));
    }
    match data.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(ErrorKind::NonFinite { what: what.into(), row: at / dim, column: at % dim }.into()),
        None => Ok(data.len() / dim),
    }
}

#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    // Products of two numbers of 24 bits are exact, so that fused or not the bits are the same.
    for (a, b) in a.iter().zip(b) {
        for j in 0..16 {
            let (a, b) = (f64::from(a[j]), f64::from(b[j]));
            sums[j] = if FMA { a.mul_add(b, sums[j]) } else { a * b + sums[j] };
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    sums.iter().sum::<f64>() + rest
}
wide!(
    /// Inner product of two slices of one length, in `f64`.
    fn dot(a: &[f32], b: &[f32]) -> f64 = dot_body
);
