//! Scores of blocks of rows against every class of the other side.

use rayon::prelude::*;

use crate::affine::affine_rows;
use crate::fit::implicit::solve::Factors;

/// Rows that are scored together.
const BLOCK: usize = 32;

/// One side's rows, turned for products: column-major, `(width, classes)`.
pub(crate) struct Scores {
    turned: Vec<f32>,
    bias: Vec<f32>,
}

impl Scores {
    pub(crate) fn new(factors: &Factors) -> Scores {
        let (width, classes) = (factors.width, factors.len());
        let mut turned = vec![0.0; factors.rows.len()];
        for (y, row) in factors.rows.chunks_exact(width).enumerate() {
            row.iter().enumerate().for_each(|(k, value)| turned[k * classes + y] = *value);
        }
        Scores { turned, bias: vec![0.0; classes] }
    }

    /// `of(i, scores)` for each row of the row-major `rows`, in order; blocks of rows hold `32 * classes` scores a
    /// thread.
    pub(crate) fn each<T: Send>(
        &self,
        rows: &[f32],
        width: usize,
        of: impl Fn(usize, &mut [f32]) -> T + Sync,
    ) -> Vec<T> {
        let classes = self.bias.len();
        let block = |scores: &mut Vec<f32>, (block, rows): (usize, &[f32])| {
            let n = rows.len() / width;
            scores.resize(n * classes, 0.0);
            affine_rows(rows, &self.turned, &self.bias, f32::NEG_INFINITY, scores);
            let each = scores.chunks_exact_mut(classes).enumerate();
            each.map(|(i, scores)| of(block * BLOCK + i, scores)).collect::<Vec<T>>()
        };
        let blocks: Vec<Vec<T>> = rows.par_chunks(BLOCK * width).enumerate().map_init(Vec::new, block).collect();
        blocks.into_iter().flatten().collect()
    }
}
