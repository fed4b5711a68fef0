//! Attention over many keys, of which most are never touched.

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::gemm::{Largest, PANEL, Panels, Start, multiply_largest};
use crate::retrieval::fused::Fused;
use crate::retrieval::search::{Aim, search};
use crate::retrieval::sketch::{Sketch, unit};
use crate::seed::Seed;
use crate::wide::wide;

/// Keys that say how many of all matter to a query.
const SAMPLE: usize = 2048;
/// Queries whose share of keys is estimated together.
const QUERIES: usize = 96;
/// Shares of keys up to which pruning pays.
const SHARE: f64 = 0.01;
/// Keys of a query that are always worth a search.
const FEW: f64 = 1024.0;

/// Keys and values, prepared for many queries.
pub struct Certified<'a> {
    keys: &'a [f32],
    dim: usize,
    values: &'a [f32],
    width: usize,
    sketch: Sketch,
    fused: Fused,
    sample: Panels,
    longest: f64,
}

/// How the output of one query came about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Effort {
    /// Whether keys were passed over; else all of them were scored in `f32`.
    pub pruned: bool,
    /// Keys that the output was made from.
    pub kept: u64,
    /// Keys whose codes were looked at.
    pub touched: u64,
    /// The most that the weights of all other keys come to.
    pub outside: f64,
    /// The most that rounding changes the output, relative to the diameter of the values.
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

impl<'a> Certified<'a> {
    /// Prepares row-major `keys` `(n, dim)` and `values` `(n, width)`.
    pub fn new(keys: &'a [f32], dim: usize, values: &'a [f32], width: usize) -> Result<Self> {
        let n = rows(keys, dim, "keys")?;
        if n == 0 || u32::try_from(n).is_err() {
            return Err(Error::parameter("number of keys", "from 1 to 2^32 - 1", n));
        }
        let sketch = Sketch::new(keys, dim);
        let fused = Fused::new(keys, dim, values, width, 1.0 / sketch.unit);
        let chosen = Seed(0).stream("sample of keys").choose(n, SAMPLE);
        let small = |at: &usize| keys[at * dim..(at + 1) * dim].iter().map(|v| (f64::from(*v) / sketch.unit) as f32);
        let small: Vec<f32> = chosen.iter().flat_map(small).collect();
        let mut sample = Panels::default();
        sample.pack_transposed(&small, chosen.len());
        let longest = keys.par_chunks_exact(dim).map(|row| norm(row)).reduce(|| 0.0, f64::max);
        Ok(Certified { keys, dim, values, width, sketch, fused, sample, longest })
    }

    /// Softmax.
    pub fn outputs(&self, queries: &[f32], beta: f64, tolerance: f64) -> Result<Outputs> {
        let n = rows(queries, self.dim, "queries")?;
        let window = ((self.keys.len() / self.dim) as f64 / tolerance).ln();
        let windows = vec![window / beta; n];
        let few = self.few(queries, &windows);
        let chosen: Vec<usize> = (0..n).filter(|&q| few[q]).collect();
        let others: Vec<usize> = (0..n).filter(|&q| !few[q]).collect();
        let take = |own: &[usize]| -> Vec<f32> {
            own.iter().flat_map(|&q| &queries[q * self.dim..(q + 1) * self.dim]).copied().collect()
        };
        let nothing = Effort { pruned: true, kept: 0, touched: 0, outside: 0.0, rounding: 0.0 };
        let mut outputs = vec![0.0; n * self.width];
        let mut efforts = vec![nothing; n];
        let rows = take(&chosen);
        let found = search(&self.sketch, &rows, Aim::Within(&windows[..chosen.len()]));
        let done: Vec<(Vec<f64>, Effort)> = rows
            .par_chunks_exact(self.dim)
            .zip(found)
            .map(|(query, found)| {
                let scores: Vec<f64> = found.keys.iter().map(|&key| dot(query, self.key(key))).collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let (mut mass, mut kept) = (0.0, 0);
                let mut out = vec![0.0; self.width];
                for (&key, score) in found.keys.iter().zip(&scores) {
                    if *score < most - window / beta {
                        continue;
                    }
                    let weight = (beta * (score - most)).exp();
                    mass += weight;
                    kept += 1;
                    let value = &self.values[key as usize * self.width..][..self.width];
                    out.iter_mut().zip(value).for_each(|(to, v)| *to += weight * f64::from(*v));
                }
                out.iter_mut().for_each(|v| *v /= mass);
                let others = (self.keys.len() / self.dim) as f64 - kept as f64;
                let outside = others * (-window).exp();
                let outside = outside / (mass + outside);
                (out, Effort { pruned: true, kept, touched: found.touched, outside, rounding: 0.0 })
            })
            .collect();
        for ((out, effort), &q) in done.into_iter().zip(&chosen) {
            outputs[q * self.width..(q + 1) * self.width].copy_from_slice(&out);
            efforts[q] = effort;
        }
        let rest = self.exact(&take(&others), beta, tolerance);
        for (at, &q) in others.iter().enumerate() {
            outputs[q * self.width..(q + 1) * self.width].copy_from_slice(&rest[at * self.width..(at + 1) * self.width]);
            efforts[q].pruned = false;
        }
        Ok(Outputs { outputs, efforts })
    }

    /// The best score less the second best.
    pub fn margins(&self, queries: &[f32]) -> Result<Vec<f64>> {
        rows(queries, self.dim, "queries")?;
        let found = search(&self.sketch, queries, Aim::BestTwo);
        let one = |(query, found): (&[f32], crate::retrieval::search::Candidates)| {
            let mut scores: Vec<f64> = found.keys.iter().map(|&key| dot(query, self.key(key))).collect();
            scores.sort_by(|a, b| b.total_cmp(a));
            scores[0] - scores[1]
        };
        Ok(queries.par_chunks_exact(self.dim).zip(found).map(one).collect())
    }

    /// All keys, in `f32`.
    pub fn exact(&self, queries: &[f32], beta: f64, tolerance: f64) -> Vec<f64> {
        let window = ((self.keys.len() / self.dim) as f64 / tolerance).ln() as f32;
        let (small, units) = self.small(queries);
        let betas: Vec<f32> = units.iter().map(|unit| (beta * unit * self.sketch.unit).min(1e38) as f32).collect();
        self.fused.attend(&small, &betas, window)
    }

    fn key(&self, key: u32) -> &[f32] {
        &self.keys[key as usize * self.dim..][..self.dim]
    }

    /// Queries with norms up to 1, and what they were divided by.
    fn small(&self, queries: &[f32]) -> (Vec<f32>, Vec<f64>) {
        let units: Vec<f64> = queries.chunks_exact(self.dim).map(|row| unit(norm(row))).collect();
        let rows = queries.chunks_exact(self.dim).zip(&units);
        let small = rows.flat_map(|(row, unit)| row.iter().map(move |v| (f64::from(*v) / unit) as f32)).collect();
        (small, units)
    }

    /// Whether few keys matter to each query, by a sample.
    fn few(&self, queries: &[f32], windows: &[f64]) -> Vec<bool> {
        let (small, units) = self.small(queries);
        let n = (self.keys.len() / self.dim) as f64;
        let blocks = small.par_chunks(QUERIES * self.dim).zip(units.par_chunks(QUERIES)).zip(windows.par_chunks(QUERIES));
        let few = blocks.map(|((rows, units), windows)| {
            let mut a = Panels::default();
            a.pack(rows, self.dim);
            let mut scores = Panels::default();
            let mut largest: Vec<Largest> = vec![[0.0; 16]; units.len()];
            multiply_largest(&a, &self.sample, Start::Zero, &mut scores, &mut largest);
            let m = self.sample.columns();
            let one = |row: usize| {
                let most = largest[row].iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
                let bar = most - (windows[row] / units[row] / self.sketch.unit) as f32;
                let mut count = 0u32;
                for first in (0..m).step_by(PANEL) {
                    let part = &scores.panel(first)[row * scores.stride(first)..][..PANEL.min(m - first)];
                    count += part.iter().map(|score| u32::from(*score >= bar)).sum::<u32>();
                }
                f64::from(count) / m as f64 * n <= FEW.max(SHARE * n)
            };
            (0..units.len()).map(one).collect::<Vec<bool>>()
        });
        few.collect::<Vec<_>>().concat()
    }
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt()
}

/// Number of rows of checked numbers.
fn rows(data: &[f32], dim: usize, what: &str) -> Result<usize> {
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
