//! Scores of listed pairs and the way back from their slopes to the embeddings.

use rayon::prelude::*;

use crate::fit::gradient::loss::{Embeddings, Slopes};
use crate::parallel::row_blocks;
use crate::wide::{add_scaled32, wide};

/// Pairs of positions in a batch: row `x[p]` of its queries with row `y[p]` of its keys.
#[derive(Clone, Copy)]
pub(crate) struct Edges<'a> {
    pub(crate) x: &'a [u32],
    pub(crate) y: &'a [u32],
}

/// Edges that one task scores, rows that one task collects.
const BLOCK: usize = 256;

impl Edges<'_> {
    /// `<q_x, k_y>` of each edge.
    pub(crate) fn products(&self, at: Embeddings<'_>, out: &mut Vec<f32>) {
        out.clear();
        out.resize(self.x.len(), 0.0);
        out.par_chunks_mut(BLOCK).enumerate().for_each(|(block, out)| {
            let range = block * BLOCK..block * BLOCK + out.len();
            products_block(at.queries, at.keys, at.dim, &self.x[range.clone()], &self.y[range], out);
        });
    }

    /// Writes the gradient of a sum of the edges' products, weighted by `coefficients`, with respect to both embeddings.
    pub(crate) fn pull_back(&self, at: Embeddings<'_>, coefficients: &[f32], slopes: &mut Slopes) {
        collect(self.x, self.y, coefficients, at.keys, at.dim, &mut slopes.queries);
        collect(self.y, self.x, coefficients, at.queries, at.dim, &mut slopes.keys);
    }
}

/// `out[i] = sum over the edges at i of coefficient * others[far end]`; each row is summed by one thread in the edges' order.
fn collect(near: &[u32], far: &[u32], coefficients: &[f32], others: &[f32], dim: usize, out: &mut [f32]) {
    let (starts, order) = group(near, out.len() / dim);
    row_blocks(out, dim, BLOCK, |first, rows| {
        for (i, row) in rows.chunks_exact_mut(dim).enumerate() {
            row.fill(0.0);
            for &p in &order[starts[first + i]..starts[first + i + 1]] {
                let other = far[p as usize] as usize * dim;
                add_scaled32(row, coefficients[p as usize], &others[other..other + dim]);
            }
        }
    });
}

/// Positions of each value in `0..n`, in order: `order[starts[i]..starts[i + 1]]` are those of value `i`.
pub(crate) fn group(values: &[u32], n: usize) -> (Vec<usize>, Vec<u32>) {
    let mut starts = vec![0; n + 1];
    values.iter().for_each(|&v| starts[v as usize + 1] += 1);
    for i in 0..n {
        starts[i + 1] += starts[i];
    }
    let (mut next, mut order) = (starts.clone(), vec![0; values.len()]);
    for (p, &v) in values.iter().enumerate() {
        order[next[v as usize]] = p as u32;
        next[v as usize] += 1;
    }
    (starts, order)
}

/// Partial sums of an inner product in `f32`.
const LANES: usize = 16;

#[inline(always)]
fn products_block_body<const FMA: bool>(q: &[f32], k: &[f32], dim: usize, x: &[u32], y: &[u32], out: &mut [f32]) {
    for (p, out) in out.iter_mut().enumerate() {
        let (x, y) = (x[p] as usize * dim, y[p] as usize * dim);
        let ((a, rest_a), (b, rest_b)) = (q[x..x + dim].as_chunks::<LANES>(), k[y..y + dim].as_chunks::<LANES>());
        let mut sums = [0.0_f32; LANES];
        for (a, b) in a.iter().zip(b) {
            for i in 0..LANES {
                sums[i] = if FMA { a[i].mul_add(b[i], sums[i]) } else { a[i] * b[i] + sums[i] };
            }
        }
        let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
        *out = sums.iter().sum::<f32>() + rest;
    }
}
wide!(
    /// The inner product of each pair of rows, whatever the others are: its bits depend on the two rows alone.
    fn products_block(q: &[f32], k: &[f32], dim: usize, x: &[u32], y: &[u32], out: &mut [f32]) = products_block_body
);
