//! Softmax loss of queries over keys, fused: scores, probabilities and both gradients, a block of scores at a time.
//!
//! `loss = sum_i w_i (ln sum_j e^(s_ij) - s_i,pos(i)) / sum_i w_i`, with `s_ij = scale <q_i, k_j> + offset_j` and `j` over the
//! keys that are not masked for `i`.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::gemm::{End, Out, PANEL, Panels, Start, multiply, multiply_largest, multiply_transposed};
use crate::wide::{add_scaled32, exp32, wide};

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
const QUERIES: usize = 128;
/// Groups of blocks, each with a gradient of the keys of its own, which are added at the end: threads meet once a pass over the
/// keys, and a block's scores are still near the core when its keys are served.
const GROUPS: usize = 4;
/// Keys at a time: what bounds the memory of a softmax over many keys.
const KEYS: usize = 4096;
/// Numbers of the keys' gradient that one task adds.
const CHUNK: usize = 1 << 14;

/// Memory of [`softmax`](Softmax::run), used again from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Softmax {
    /// Keys as the right side of the scores, and of the queries' gradient.
    transposed: Panels,
    packed: Panels,
    blocks: Vec<Block>,
    /// What each group of blocks works in.
    groups: Vec<Work>,
}

/// A block of queries.
#[derive(Clone, Debug, Default)]
struct Block {
    /// Queries times the inverse temperature.
    scaled: Panels,
    state: Vec<State>,
}

#[derive(Clone, Debug, Default)]
struct Work {
    /// Scores, then their exponentials.
    scores: Panels,
    /// Queries times the inverse temperature and their factors.
    factored: Panels,
    /// The group's share of the keys' gradient, row-major.
    d_keys: Vec<f32>,
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

impl State {
    const NONE: State = State { largest: f32::NEG_INFINITY, sum: 0.0, positive: 0.0, factor: 0.0 };
}

impl SoftmaxBatch<'_> {
    fn weight(&self, query: usize) -> f64 {
        self.weight.map_or(1.0, |w| f64::from(w[query]))
    }

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
    /// 512 queries with at most 4096 keys, and four gradients of these keys. A batch without weight has loss 0 and slopes 0.
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
        if total <= 0.0 {
            d_queries.fill(0.0);
            d_keys.fill(0.0);
            return Ok(SoftmaxLoss { loss: 0.0, d_scale: 0.0 });
        }
        self.blocks.resize(b.div_ceil(QUERIES), Block::default());
        for (block, queries) in self.blocks.iter_mut().zip(batch.queries.chunks(QUERIES * dim)) {
            block.scaled.pack_with(queries, dim, |_, v| v * batch.scale);
            block.state.clear();
            block.state.resize(queries.len() / dim, State::NONE);
        }
        // Over more keys than are held at a time, largest scores and sums come first.
        let once = m <= KEYS;
        let each = self.blocks.len().div_ceil(GROUPS);
        self.groups.resize(self.blocks.len().div_ceil(each), Work::default());
        for first in (0..m).step_by(KEYS).filter(|_| !once) {
            self.pack(batch, first);
            let keys = &self.transposed;
            let groups = self.blocks.par_chunks_mut(each).zip(&mut self.groups);
            groups.enumerate().for_each(|(g, (blocks, work))| {
                for (i, block) in blocks.iter_mut().enumerate() {
                    let own = (g * each + i) * QUERIES;
                    block.ask(batch, own, keys, first, &mut work.scores);
                    block.exponentials(batch, own, first, true, &mut work.scores);
                }
            });
        }
        for first in (0..m).step_by(KEYS) {
            let count = self.pack(batch, first);
            let (transposed, packed) = (&self.transposed, &self.packed);
            let d_queries = d_queries.par_chunks_mut(each * QUERIES * dim);
            let groups = self.blocks.par_chunks_mut(each).zip(&mut self.groups).zip(d_queries);
            groups.enumerate().for_each(|(g, ((blocks, work), d_queries))| {
                work.d_keys.resize(count * dim, 0.0);
                for (i, (block, d_queries)) in blocks.iter_mut().zip(d_queries.chunks_mut(QUERIES * dim)).enumerate() {
                    let own = (g * each + i) * QUERIES;
                    block.ask(batch, own, transposed, first, &mut work.scores);
                    block.exponentials(batch, own, first, once, &mut work.scores);
                    block.finish(batch, own, first, total, work);
                    let start = if first == 0 { Start::Zero } else { Start::Sum };
                    multiply(&work.scores, packed, start, End::Keep, Out::Rows(d_queries));
                    let start = if i == 0 { Start::Zero } else { Start::Sum };
                    multiply_transposed(&work.scores, 0..count, &work.factored, start, &mut work.d_keys);
                }
            });
            let d_keys = d_keys[first * dim..(first + count) * dim].par_chunks_mut(CHUNK);
            d_keys.enumerate().for_each(|(chunk, out)| {
                let range = chunk * CHUNK..chunk * CHUNK + out.len();
                out.copy_from_slice(&self.groups[0].d_keys[range.clone()]);
                self.groups[1..].iter().for_each(|work| add_scaled32(out, 1.0, &work.d_keys[range.clone()]));
            });
        }
        let (mut loss, mut d_scale) = (0.0, 0.0);
        let states = self.blocks.iter().flat_map(|b| &b.state).enumerate();
        let rows = d_queries.chunks_exact_mut(dim).zip(batch.queries.chunks_exact(dim));
        for ((d_row, row), (i, state)) in rows.zip(states) {
            d_scale += f64::from(scale_and_dot(d_row, state.factor * batch.scale, row));
            loss += batch.weight(i) * (state.sum.ln() + f64::from(state.largest) - f64::from(state.positive));
        }
        Ok(SoftmaxLoss { loss: loss / total, d_scale: d_scale / f64::from(batch.scale) })
    }

    /// Packs the keys from `first` on; returns their number.
    fn pack(&mut self, batch: &SoftmaxBatch<'_>, first: usize) -> usize {
        let dim = batch.dim;
        let count = KEYS.min(batch.keys.len() / dim - first);
        let keys = &batch.keys[first * dim..(first + count) * dim];
        self.transposed.pack_transposed(keys, count);
        self.packed.pack(keys, dim);
        count
    }
}

impl Block {
    /// Scores of the queries from `own` on with the keys from `first` on; what is masked becomes minus infinity. Notes each
    /// query's largest score so far.
    fn ask(&mut self, batch: &SoftmaxBatch<'_>, own: usize, keys: &Panels, first: usize, scores: &mut Panels) {
        let count = keys.columns();
        let start = batch.offset.map_or(Start::Zero, |offset| Start::Bias(&offset[first..first + count]));
        let mut lanes = [[0.0; LANES]; QUERIES];
        let lanes = &mut lanes[..self.state.len()];
        multiply_largest(&self.scaled, keys, start, scores, lanes);
        for (i, (state, lanes)) in self.state.iter_mut().zip(lanes).enumerate() {
            let mut whole = true;
            batch.masks(own + i, first, count, |at| {
                *scores.at(i, at) = f32::NEG_INFINITY;
                whole = false;
            });
            let largest = if whole { largest(lanes) } else { largest_of_row(scores, i) };
            if largest > state.largest {
                state.sum *= f64::from(state.largest - largest).exp();
                state.largest = largest;
            }
            if let Some(at) = batch.positive_in(own + i, first, count) {
                state.positive = *scores.at(i, at);
            }
        }
    }

    /// Replaces the scores by `e^(score - largest)`, 0 where masked; with `add`, adds them to the sums.
    fn exponentials(&mut self, batch: &SoftmaxBatch<'_>, own: usize, first: usize, add: bool, scores: &mut Panels) {
        let mut lanes = [[0.0; LANES]; QUERIES];
        let mut most = [0.0; QUERIES];
        // Where all keys so far are masked nothing is known to subtract; the masks below make all of them 0.
        most.iter_mut().zip(&self.state).for_each(|(m, state)| *m = state.largest.max(f32::MIN));
        let count = scores.columns();
        for from in (0..count).step_by(PANEL) {
            let (stride, width) = (scores.stride(from), PANEL.min(count - from));
            exponentials(scores.panel_mut(from), stride, width, &most, &mut lanes);
        }
        for (i, (state, lanes)) in self.state.iter_mut().zip(lanes).enumerate() {
            let mut sum: f64 = lanes.into_iter().map(f64::from).sum();
            batch.masks(own + i, first, count, |at| sum -= f64::from(std::mem::take(scores.at(i, at))));
            if add {
                state.sum += sum;
            }
        }
    }

    /// The factors of the queries; then subtracts the positive's share, so that exponentials times factors are slopes.
    fn finish(&mut self, batch: &SoftmaxBatch<'_>, own: usize, first: usize, total: f64, work: &mut Work) {
        let count = work.scores.columns();
        for (i, state) in self.state.iter_mut().enumerate() {
            state.factor = (batch.weight(own + i) / total / state.sum) as f32;
            if let Some(at) = batch.positive_in(own + i, first, count) {
                *work.scores.at(i, at) -= state.sum as f32;
            }
        }
        work.factored.clone_from(&self.scaled);
        work.factored.scale_rows(|i| self.state[i].factor);
    }
}

/// Partial results of a row: one register.
const LANES: usize = 16;

fn largest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

fn largest_of_row(scores: &Panels, i: usize) -> f32 {
    let of_panel = |first: usize| {
        let width = PANEL.min(scores.columns() - first);
        largest(&scores.panel(first)[i * scores.stride(first)..][..width])
    };
    (0..scores.columns()).step_by(PANEL).map(of_panel).fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
fn exponentials_body<const FMA: bool>(
    panel: &mut [f32],
    stride: usize,
    width: usize,
    largest: &[f32],
    sums: &mut [[f32; LANES]],
) {
    for ((row, sums), largest) in panel.chunks_exact_mut(stride).zip(sums).zip(largest) {
        let (parts, rest) = row[..width].as_chunks_mut::<LANES>();
        let mut own = *sums;
        for part in parts {
            for j in 0..LANES {
                part[j] = exp32::<FMA>(part[j] - largest);
                own[j] += part[j];
            }
        }
        for (value, sum) in rest.iter_mut().zip(&mut own) {
            *value = exp32::<FMA>(*value - largest);
            *sum += *value;
        }
        *sums = own;
    }
}
wide!(
    /// Replaces each number by `e^(number - its row's largest)` and adds it to a lane of its row's sums.
    fn exponentials(
        panel: &mut [f32], stride: usize, width: usize, largest: &[f32], sums: &mut [[f32; LANES]]
    ) = exponentials_body
);

#[inline(always)]
fn scale_and_dot_body<const FMA: bool>(a: &mut [f32], factor: f32, b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (parts, rest) = a.as_chunks_mut::<LANES>();
    let (others, other_rest) = b.as_chunks::<LANES>();
    for (a, b) in parts.iter_mut().zip(others) {
        for j in 0..LANES {
            a[j] *= factor;
            sums[j] += a[j] * b[j];
        }
    }
    for ((a, b), sum) in rest.iter_mut().zip(other_rest).zip(&mut sums) {
        *a *= factor;
        *sum += *a * b;
    }
    sums.iter().sum()
}
wide!(
    /// Multiplies `a` by `factor`, then `<a, b>`.
    fn scale_and_dot(a: &mut [f32], factor: f32, b: &[f32]) -> f32 = scale_and_dot_body
);

#[cfg(test)]
mod tests;
