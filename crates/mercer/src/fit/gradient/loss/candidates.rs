//! Softmax of each positive against the candidate keys of its batch.

use std::ops::Range;

use rayon::prelude::*;

use crate::fit::gradient::loss::{Embeddings, Slopes};
use crate::fit::gradient::softmax::SoftmaxBatch;
use crate::gemm::{End, Out, Panels, Start, multiply, multiply_transposed};
use crate::wide::{exp32, wide};

/// Lists of columns, one a row: row `i` has `columns[starts[i]..starts[i + 1]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lists {
    starts: Vec<usize>,
    columns: Vec<u32>,
}

impl Lists {
    pub(crate) fn new() -> Self {
        Lists { starts: vec![0], columns: Vec::new() }
    }

    /// Appends a row.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = u32>) {
        self.columns.extend(row);
        self.starts.push(self.columns.len());
    }

    pub(crate) fn row(&self, i: usize) -> &[u32] {
        &self.columns[self.starts[i]..self.starts[i + 1]]
    }

    /// Where each row starts and the last one ends, and the entries of all rows.
    pub(crate) fn parts(&self) -> (&[usize], &[u32]) {
        (&self.starts, &self.columns)
    }

    /// From such parts; `None` if they make no rows.
    pub(crate) fn from_parts(starts: Vec<usize>, columns: Vec<u32>) -> Option<Self> {
        let whole = starts.first() == Some(&0) && starts.last() == Some(&columns.len());
        (whole && starts.windows(2).all(|w| w[0] <= w[1])).then_some(Lists { starts, columns })
    }
}

/// Which keys each positive of a batch is compared with; columns are rows of the batch's keys.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'a> {
    /// Row of the batch's queries of each positive.
    pub(crate) query: &'a [u32],
    /// Column of each positive.
    pub(crate) positive: &'a [u32],
    /// `ln(count / expected count)` of each column; minus infinity where it was not sampled.
    pub(crate) offset: &'a [f32],
    /// Columns that are a positive's own with certainty: they have no offset.
    pub(crate) certain: &'a Lists,
    /// Columns left out of a positive's sum.
    pub(crate) masked: &'a Lists,
    /// Weight of each positive.
    pub(crate) weights: Option<&'a [f32]>,
}

/// Scores that a task holds at a time.
const TILE: usize = 1 << 18;

impl Candidates<'_> {
    fn len(&self) -> usize {
        self.positive.len()
    }

    /// Positives of one tile of scores.
    fn block(&self) -> usize {
        (TILE / self.offset.len()).clamp(4, 64)
    }

    /// `1/n sum_i w_i (ln Z^_i - s_i)` over the positives, and its slopes.
    ///
    /// Cost: six `n * keys * dim` operations. The positives are cut into a fixed number of groups, whose gradients are
    /// added in order: the bits do not depend on the number of threads.
    pub(crate) fn loss(&self, at: Embeddings<'_>, slopes: &mut Slopes) -> f64 {
        let (n, dim) = (self.len(), at.dim);
        let keys = Keys::pack(at, self.offset.len());
        let groups = if at.keys.len() > 1 << 21 { 2 } else { 8 };
        let size = n.div_ceil(groups).max(1);
        let parts: Vec<(f64, Vec<f32>, Vec<f32>)> = (0..n.div_ceil(size))
            .into_par_iter()
            .map(|g| self.group(at, &keys, g * size..((g + 1) * size).min(n)))
            .collect();
        let mut loss = 0.0;
        for (g, (own, queries, keys)) in parts.iter().enumerate() {
            loss += own;
            for (i, slope) in queries.chunks_exact(dim).enumerate() {
                let row = self.query[g * size + i] as usize * dim;
                add(&mut slopes.queries[row..row + dim], slope);
            }
            add(&mut slopes.keys, keys);
        }
        loss
    }

    /// As [`Candidates::loss`], where every column counts once: over blocks of keys, for many of them.
    ///
    /// A scale that is not positive and finite gives NaN.
    pub(crate) fn full_loss(&self, at: Embeddings<'_>, slopes: &mut Slopes) -> f64 {
        let dim = at.dim;
        let queries: Vec<f32> = self.query.iter().flat_map(|&q| row(at.queries, dim, q)).copied().collect();
        let batch = SoftmaxBatch {
            queries: &queries,
            keys: at.keys,
            dim,
            positive: self.positive,
            offset: None,
            masked: Some(self.masked.parts()),
            weight: self.weights,
            scale: at.scale as f32,
        };
        let mut own = vec![0.0; queries.len()];
        let Ok(found) = slopes.softmax.run(&batch, &mut own, &mut slopes.keys) else { return f64::NAN };
        // That is divided by the sum of the weights, not by the number of positives.
        let share = self.weights.map_or(1.0, |w| w.iter().map(|w| f64::from(*w)).sum::<f64>() / w.len() as f64);
        slopes.keys.iter_mut().for_each(|v| *v *= share as f32);
        for (slope, &query) in own.chunks_exact(dim).zip(self.query) {
            let out = &mut slopes.queries[query as usize * dim..(query as usize + 1) * dim];
            out.iter_mut().zip(slope).for_each(|(o, v)| *o += v * share as f32);
        }
        share * found.loss
    }

    /// Loss of the positives in `range`, its slopes at their queries, and at all keys.
    fn group(&self, at: Embeddings<'_>, keys: &Keys, range: Range<usize>) -> (f64, Vec<f32>, Vec<f32>) {
        let (m, dim, share) = (self.offset.len(), at.dim, 1.0 / self.len() as f64);
        let mut to_queries = vec![0.0; range.len() * dim];
        let mut to_keys = vec![0.0; m * dim];
        let mut coefficients = Panels::default();
        let mut loss = 0.0;
        for (rows, to_queries) in blocks(range, self.block()).zip(to_queries.chunks_mut(self.block() * dim)) {
            let (queries, mut scores) = self.scores(at, keys, rows.clone());
            for (i, row) in rows.clone().zip(scores.chunks_exact_mut(m)) {
                let own = self.prepare(i, at.scale as f32, row);
                let (sum, top) = exponentiate(row);
                let weight = share * self.weights.map_or(1.0, |w| f64::from(w[i]));
                loss += weight * (f64::from(sum).ln() + f64::from(top) - f64::from(own));
                let factor = weight * at.scale;
                scale_row(row, (factor / f64::from(sum)) as f32);
                // The positive's own slope is minus the share of the others, summed where no digits cancel.
                let positive = self.positive[i] as usize;
                row[positive] = 0.0;
                row[positive] = -total(row);
            }
            coefficients.pack(&scores, m);
            multiply(&coefficients, &keys.plain, Start::Zero, End::Keep, Out::Rows(to_queries));
            multiply_transposed(&coefficients, 0..m, &queries, Start::Sum, &mut to_keys);
        }
        (loss, to_queries, to_keys)
    }

    /// Loss and the mean reciprocal rank of the positives among their candidates, without slopes.
    pub(crate) fn measure(&self, at: Embeddings<'_>) -> (f64, f64) {
        let (n, m, keys) = (self.len(), self.offset.len(), Keys::pack(at, self.offset.len()));
        let each: Vec<(f64, f64)> = blocks(0..n, self.block())
            .collect::<Vec<_>>()
            .into_par_iter()
            .flat_map_iter(|rows| {
                let (_, mut scores) = self.scores(at, &keys, rows.clone());
                let measure = |(i, row): (usize, &mut [f32])| {
                    let raw: Vec<f32> = row.iter().map(|s| at.scale as f32 * s).collect();
                    let own = self.prepare(i, at.scale as f32, row);
                    let (mut above, mut equal) = (0.0, 0.0);
                    for (j, score) in raw.iter().enumerate() {
                        if row[j] > f32::NEG_INFINITY && j != self.positive[i] as usize {
                            above += f64::from(u8::from(*score > own));
                            equal += f64::from(u8::from(*score == own));
                        }
                    }
                    let (sum, top) = exponentiate(row);
                    let weight = self.weights.map_or(1.0, |w| f64::from(w[i]));
                    let loss = f64::from(sum).ln() + f64::from(top) - f64::from(own);
                    (weight * loss, 1.0 / (1.0 + above + 0.5 * equal))
                };
                rows.zip(scores.chunks_exact_mut(m)).map(measure).collect::<Vec<_>>()
            })
            .collect();
        let mean = |part: fn(&(f64, f64)) -> f64| each.iter().map(part).sum::<f64>() / n as f64;
        (mean(|e| e.0), mean(|e| e.1))
    }

    /// Queries of the positives in `rows` and their products with all keys.
    fn scores(&self, at: Embeddings<'_>, keys: &Keys, rows: Range<usize>) -> (Panels, Vec<f32>) {
        let dim = at.dim;
        let queries: Vec<f32> =
            self.query[rows.clone()].iter().flat_map(|&q| row(at.queries, dim, q)).copied().collect();
        let mut scores = vec![0.0; rows.len() * self.offset.len()];
        let mut left = Panels::default();
        left.pack(&queries, dim);
        multiply(&left, &keys.transposed, Start::Zero, End::Keep, Out::Rows(&mut scores));
        (left, scores)
    }

    /// Turns the products of positive `i` into the logits of its sum; returns its own score.
    fn prepare(&self, i: usize, scale: f32, row: &mut [f32]) -> f32 {
        let positive = self.positive[i] as usize;
        let own = scale * row[positive];
        let certain: Vec<(usize, f32)> =
            self.certain.row(i).iter().map(|&c| (c as usize, scale * row[c as usize])).collect();
        scale_and_shift(row, scale, self.offset);
        certain.into_iter().for_each(|(c, score)| row[c] = score);
        self.masked.row(i).iter().for_each(|&c| row[c as usize] = f32::NEG_INFINITY);
        row[positive] = own;
        own
    }
}

fn row(rows: &[f32], dim: usize, i: u32) -> &[f32] {
    &rows[i as usize * dim..(i as usize + 1) * dim]
}

fn blocks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |first| first..(first + size).min(range.end))
}

fn add(out: &mut [f32], values: &[f32]) {
    out.iter_mut().zip(values).for_each(|(o, v)| *o += v);
}

/// The keys as right side of the scores, and of the queries' slopes.
struct Keys {
    transposed: Panels,
    plain: Panels,
}

impl Keys {
    fn pack(at: Embeddings<'_>, keys: usize) -> Self {
        let (mut transposed, mut plain) = (Panels::default(), Panels::default());
        transposed.pack_transposed(at.keys, keys);
        plain.pack(at.keys, at.dim);
        Keys { transposed, plain }
    }
}

const LANES: usize = 16;

#[inline(always)]
fn scale_and_shift_body<const FMA: bool>(row: &mut [f32], scale: f32, offset: &[f32]) {
    row.iter_mut().zip(offset).for_each(|(s, o)| *s = *s * scale + o);
}
wide!(fn scale_and_shift(row: &mut [f32], scale: f32, offset: &[f32]) = scale_and_shift_body);

#[inline(always)]
fn scale_row_body<const FMA: bool>(row: &mut [f32], factor: f32) {
    row.iter_mut().for_each(|s| *s *= factor);
}
wide!(fn scale_row(row: &mut [f32], factor: f32) = scale_row_body);

#[inline(always)]
fn total_body<const FMA: bool>(row: &[f32]) -> f32 {
    let (lanes, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for lane in lanes {
        sums.iter_mut().zip(lane).for_each(|(s, v)| *s += v);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}
wide!(fn total(row: &[f32]) -> f32 = total_body);

/// `e^(z - top)` in place, where `top` is the largest; left-out entries become exactly zero. Returns the sum and `top`.
#[inline(always)]
fn exponentiate_body<const FMA: bool>(row: &mut [f32]) -> (f32, f32) {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (lanes, rest) = row.as_chunks::<LANES>();
    for lane in lanes {
        most.iter_mut().zip(lane).for_each(|(m, v)| *m = if *v > *m { *v } else { *m });
    }
    let top = most.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
    row.iter_mut().for_each(|v| *v = if *v == f32::NEG_INFINITY { 0.0 } else { exp32::<FMA>(*v - top) });
    (total_body::<FMA>(row), top)
}
wide!(fn exponentiate(row: &mut [f32]) -> (f32, f32) = exponentiate_body);
