//! Softmax loss of queries over keys, fused: scores, probabilities and both gradients, a block of scores at a time.
//!
//! `loss = sum_i w_i (ln sum_j e^(s_ij) - s_i,pos(i)) / sum_i w_i`, with `s_ij = scale <q_i, k_j> + offset_j` and `j` over the
//! keys that are not masked for `i`.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::gemm::{End, Panels, Start, multiply, multiply_transposed};
use crate::wide::{exp32, wide};

/// One batch; all matrices row-major.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxBatch<'a> {
    /// Query embeddings `(b, dim)`.
    pub(crate) queries: &'a [f32],
    /// Key embeddings `(m, dim)`.
    pub(crate) keys: &'a [f32],
    /// Numbers in a row.
    pub(crate) dim: usize,
    /// Each query's positive key, `(b,)`.
    pub(crate) positive: &'a [u32],
    /// Added to each key's score, `(m,)`: `-ln Q` of sampled keys.
    pub(crate) offset: Option<&'a [f32]>,
    /// Keys left out of each query's sum: starts `(b + 1,)` and columns. A positive is never left out.
    pub(crate) masked: Option<(&'a [usize], &'a [u32])>,
    /// Weight of each query, `(b,)`, not negative; `None`: 1.
    pub(crate) weight: Option<&'a [f32]>,
    /// Inverse temperature.
    pub(crate) scale: f32,
}

/// The loss of a batch and its slope in the inverse temperature; the slopes in the embeddings are written to slices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SoftmaxLoss {
    /// Weighted mean of `-ln p(positive)`.
    pub(crate) loss: f64,
    /// d loss / d scale.
    pub(crate) d_scale: f64,
}

/// Queries of a block: with 1024 keys their scores stay in the second level of the cache.
const QUERIES: usize = 64;
/// Keys at a time: what bounds the memory of a softmax over many keys.
const KEYS: usize = 4096;
/// Keys whose gradient one task gathers.
const CHUNK: usize = 256;

/// Memory of [`softmax`](Softmax::run), used again from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Softmax {
    /// Keys as the right side of the scores, and of the queries' gradient.
    transposed: Panels,
    packed: Panels,
    /// Queries times the inverse temperature.
    scaled: Vec<f32>,
    scores: Vec<f32>,
    state: Vec<State>,
}

/// What is known of a query's row of scores.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Largest score, sum of `e^(score - largest)`, the positive's score.
    largest: f32,
    sum: f64,
    positive: f32,
    /// The query's share of the loss, over `sum`.
    factor: f32,
}

impl SoftmaxBatch<'_> {
    fn check(&self, d_queries: &[f32], d_keys: &[f32]) -> Result<()> {
        let (b, dim) = (self.positive.len(), self.dim);
        let shape = |what: &str, expected: usize, got: usize| match expected == got {
            true => Ok(()),
            false => Err(Error::shape(format!("softmax: {what}"), expected, got)),
        };
        if dim == 0 || self.keys.is_empty() || !self.keys.len().is_multiple_of(dim) {
            return Err(Error::shape("softmax: keys", format!("rows of {dim} > 0 numbers"), self.keys.len()));
        }
        let m = self.keys.len() / dim;
        shape("queries", b * dim, self.queries.len())?;
        shape("slopes of queries", b * dim, d_queries.len())?;
        shape("slopes of keys", m * dim, d_keys.len())?;
        shape("offsets", m, self.offset.map_or(m, <[f32]>::len))?;
        shape("weights", b, self.weight.map_or(b, <[f32]>::len))?;
        if let Some(&at) = self.positive.iter().find(|&&at| at as usize >= m) {
            return Err(Error::parameter("positive key", format!("below the number of keys, {m}"), at));
        }
        if let Some(&weight) = self.weight.unwrap_or(&[]).iter().find(|w| !(**w >= 0.0 && w.is_finite())) {
            return Err(Error::parameter("weight of a query", "zero or a positive finite number", weight));
        }
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            return Err(Error::parameter("inverse temperature", "a positive finite number", self.scale));
        }
        if let Some((starts, columns)) = self.masked {
            let rising = starts.windows(2).all(|pair| pair[0] <= pair[1]);
            let whole = starts.len() == b + 1 && starts[b] <= columns.len();
            if !(rising && whole && columns.iter().all(|&c| (c as usize) < m)) {
                return Err(Error::shape("softmax: masked keys", format!("CSR rows, {b} of {m} columns"), "others"));
            }
        }
        Ok(())
    }

    /// Calls `leave_out(column - first)` for the masked columns of `query` among `count` from `first` on.
    fn masks(&self, query: usize, first: usize, count: usize, mut leave_out: impl FnMut(usize)) {
        let Some((starts, columns)) = self.masked else { return };
        for &column in &columns[starts[query]..starts[query + 1]] {
            let at = (column as usize).wrapping_sub(first);
            if at < count && column != self.positive[query] {
                leave_out(at);
            }
        }
    }

    /// Where the positive of `query` lies among `count` columns from `first` on.
    fn positive_in(&self, query: usize, first: usize, count: usize) -> Option<usize> {
        Some((self.positive[query] as usize).wrapping_sub(first)).filter(|&at| at < count)
    }
}

impl Softmax {
    /// The loss of `batch`; overwrites `d_queries` `(b, dim)` and `d_keys` `(m, dim)` with its slopes.
    ///
    /// Cost: `6 b m dim` operations and `b` exponentials a key, `8 b m dim` and two where `m` is above 4096. Memory: scores of
    /// at most 4096 keys. A batch without weight has loss 0 and slopes 0.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] or [`crate::ErrorKind::Parameter`] if the parts do not fit together.
    pub(crate) fn run(
        &mut self,
        batch: &SoftmaxBatch<'_>,
        d_queries: &mut [f32],
        d_keys: &mut [f32],
    ) -> Result<SoftmaxLoss> {
        batch.check(d_queries, d_keys)?;
        let (b, m, dim) = (batch.positive.len(), batch.keys.len() / batch.dim, batch.dim);
        let total: f64 = batch.weight.map_or(b as f64, |w| w.iter().map(|&w| f64::from(w)).sum());
        d_queries.fill(0.0);
        if total <= 0.0 {
            d_keys.fill(0.0);
            return Ok(SoftmaxLoss { loss: 0.0, d_scale: 0.0 });
        }
        self.scaled.clear();
        self.scaled.extend(batch.queries.iter().map(|v| v * batch.scale));
        self.scores.resize(b * m.min(KEYS), 0.0);
        let fresh = State { largest: f32::NEG_INFINITY, sum: 0.0, positive: 0.0, factor: 0.0 };
        self.state.clear();
        self.state.resize(b, fresh);
        let once = m <= KEYS;
        if !once {
            // Largest scores and sums over all keys come first.
            for first in (0..m).step_by(KEYS) {
                self.pack(batch, first, false);
                self.each_block(batch, first, true, None);
            }
            self.factors(batch, total);
        }
        for first in (0..m).step_by(KEYS) {
            let count = KEYS.min(m - first);
            self.pack(batch, first, true);
            self.each_block(batch, first, once, Some((d_queries, total)));
            self.gather_keys(count, dim, &mut d_keys[first * dim..(first + count) * dim]);
        }
        let mut d_scale = 0.0;
        for (i, row) in d_queries.chunks_exact_mut(dim).enumerate() {
            let factor = self.state[i].factor * batch.scale;
            let query = &batch.queries[i * dim..(i + 1) * dim];
            for (d, q) in row.iter_mut().zip(query) {
                *d *= factor;
                d_scale += f64::from(*d) * f64::from(*q);
            }
        }
        let weight = |i: usize| batch.weight.map_or(1.0, |w| f64::from(w[i]));
        let rows = self.state.iter().enumerate();
        let loss = rows.map(|(i, s)| weight(i) * (s.sum.ln() + f64::from(s.largest) - f64::from(s.positive)));
        Ok(SoftmaxLoss { loss: loss.sum::<f64>() / total, d_scale: d_scale / f64::from(batch.scale) })
    }

    fn pack(&mut self, batch: &SoftmaxBatch<'_>, first: usize, both: bool) {
        let dim = batch.dim;
        let count = KEYS.min(batch.keys.len() / dim - first);
        let keys = &batch.keys[first * dim..(first + count) * dim];
        self.transposed.pack_transposed(keys, dim, count);
        if both {
            self.packed.pack(keys, count, dim);
        }
    }

    /// Passes the keys from `first` on over all blocks of queries: the scores; with `look`, largest scores and sums; with
    /// `gradient` (and the sum of weights), exponentials and the queries' slopes before their factors.
    fn each_block(&mut self, batch: &SoftmaxBatch<'_>, first: usize, look: bool, gradient: Option<(&mut [f32], f64)>) {
        let (dim, count) = (batch.dim, self.transposed.columns());
        let scores = &mut self.scores[..batch.positive.len() * count];
        let (transposed, packed, scaled) = (&self.transposed, &self.packed, &self.scaled);
        let bias = batch.offset.map_or(Start::Zero, |offset| Start::Bias(&offset[first..first + count]));
        let ask = |block: usize, scores: &mut [f32], state: &mut [State]| {
            let queries = &scaled[block * QUERIES * dim..][..state.len() * dim];
            multiply(queries, transposed, bias, End::Keep, scores);
            for (i, (row, state)) in scores.chunks_exact_mut(count).zip(state.iter_mut()).enumerate() {
                let query = block * QUERIES + i;
                batch.masks(query, first, count, |at| row[at] = f32::NEG_INFINITY);
                if let Some(at) = batch.positive_in(query, first, count) {
                    state.positive = row[at];
                }
                if look {
                    let largest = largest(row);
                    if largest > state.largest {
                        state.sum *= f64::from(state.largest - largest).exp();
                        state.largest = largest;
                    }
                }
            }
        };
        let blocks = scores.par_chunks_mut(QUERIES * count).zip(self.state.par_chunks_mut(QUERIES)).enumerate();
        let Some((d_queries, total)) = gradient else {
            return blocks.for_each(|(block, (scores, state))| {
                ask(block, scores, state);
                for (i, (row, state)) in scores.chunks_exact_mut(count).zip(state).enumerate() {
                    if state.largest == f32::NEG_INFINITY {
                        continue; // all keys so far are masked
                    }
                    let mut sum = exponentials(row, state.largest);
                    batch.masks(block * QUERIES + i, first, count, |at| sum -= f64::from(row[at]));
                    state.sum += sum;
                }
            });
        };
        blocks.zip(d_queries.par_chunks_mut(QUERIES * dim)).for_each(|((block, (scores, state)), d_queries)| {
            ask(block, scores, state);
            for (i, (row, state)) in scores.chunks_exact_mut(count).zip(state).enumerate() {
                let query = block * QUERIES + i;
                let mut sum = exponentials(row, state.largest);
                batch.masks(query, first, count, |at| sum -= f64::from(std::mem::take(&mut row[at])));
                if look {
                    state.sum = sum;
                    state.factor = (batch.weight.map_or(1.0, |w| f64::from(w[query])) / total / sum) as f32;
                }
                if let Some(at) = batch.positive_in(query, first, count) {
                    row[at] -= state.sum as f32;
                }
            }
            multiply(scores, packed, Start::Sum, End::Keep, d_queries);
        });
    }

    fn factors(&mut self, batch: &SoftmaxBatch<'_>, total: f64) {
        for (i, state) in self.state.iter_mut().enumerate() {
            state.factor = (batch.weight.map_or(1.0, |w| f64::from(w[i])) / total / state.sum) as f32;
        }
    }

    /// The slopes of `count` keys from the exponentials: their transpose times the queries with their factors.
    fn gather_keys(&self, count: usize, dim: usize, d_keys: &mut [f32]) {
        let factored: Vec<f32> = self
            .scaled
            .chunks_exact(dim)
            .zip(&self.state)
            .flat_map(|(row, state)| row.iter().map(|v| v * state.factor))
            .collect();
        let scores = &self.scores[..self.state.len() * count];
        d_keys.par_chunks_mut(CHUNK * dim).enumerate().for_each(|(chunk, target)| {
            let chosen = chunk * CHUNK..chunk * CHUNK + target.len() / dim;
            let blocks = scores.chunks(QUERIES * count).zip(factored.chunks(QUERIES * dim));
            for (i, (scores, queries)) in blocks.enumerate() {
                let start = if i == 0 { Start::Zero } else { Start::Sum };
                multiply_transposed(scores, count, chosen.clone(), queries, dim, start, target);
            }
        });
    }
}

#[inline(always)]
fn largest_body<const FMA: bool>(values: &[f32]) -> f32 {
    const LANES: usize = 64;
    let mut most = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    for chunk in chunks {
        for i in 0..LANES {
            most[i] = if chunk[i] > most[i] { chunk[i] } else { most[i] };
        }
    }
    most.iter().fold(tail, |a, &b| if b > a { b } else { a })
}
wide!(fn largest(values: &[f32]) -> f32 = largest_body);

#[inline(always)]
fn exponentials_body<const FMA: bool>(values: &mut [f32], largest: f32) -> f64 {
    const LANES: usize = 32;
    let mut sums = [0.0f32; LANES];
    let mut chunks = values.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for i in 0..LANES {
            chunk[i] = exp32::<FMA>(chunk[i] - largest);
            sums[i] += chunk[i];
        }
    }
    let mut sum: f64 = sums.iter().map(|&v| f64::from(v)).sum();
    for value in chunks.into_remainder() {
        *value = exp32::<FMA>(*value - largest);
        sum += f64::from(*value);
    }
    sum
}
wide!(
    /// Replaces each value by `e^(value - largest)` and returns their sum.
    fn exponentials(values: &mut [f32], largest: f32) -> f64 = exponentials_body
);

#[cfg(test)]
mod tests;
