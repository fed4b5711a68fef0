//! Observed pairs grouped by query, in the order in which products gather and scatter.

use crate::linalg::Matrix;
use crate::parallel::row_blocks;
use crate::relation::Pairs;
use crate::wide::add_scaled;

/// Pairs grouped by query, for products that gather and scatter.
pub(crate) struct Grouped {
    /// Where the pairs of each query start, and where the last ones end.
    pub(crate) starts: Vec<usize>,
    /// Key of each pair.
    pub(crate) y: Vec<u32>,
    /// Value of each pair.
    pub(crate) value: Vec<f64>,
    /// Weight of each pair.
    pub(crate) weight: Vec<f64>,
}

impl Grouped {
    /// With `mirrored`, each pair of different items counts in both orders.
    pub(crate) fn new(pairs: &Pairs, queries: usize, mirrored: bool) -> Grouped {
        let chunk = pairs.chunk();
        let mut all: Vec<(u32, u32, f64, f64)> = Vec::with_capacity(pairs.len() * (1 + usize::from(mirrored)));
        for p in 0..pairs.len() {
            let (x, y, value) = (chunk.x[p], chunk.y[p], f64::from(chunk.value[p]));
            let weight = chunk.weight.map_or(1.0, |w| f64::from(w[p]));
            all.push((x, y, value, weight));
            if mirrored && x != y {
                all.push((y, x, value, weight));
            }
        }
        Grouped::from_list(all, queries)
    }

    /// From `(query, key, value, weight)` in any order.
    pub(crate) fn from_list(mut all: Vec<(u32, u32, f64, f64)>, queries: usize) -> Grouped {
        all.sort_by_key(|&(x, y, ..)| (x, y));
        let mut starts = vec![0; queries + 1];
        all.iter().for_each(|p| starts[p.0 as usize + 1] += 1);
        (0..queries).for_each(|i| starts[i + 1] += starts[i]);
        Grouped {
            starts,
            y: all.iter().map(|p| p.1).collect(),
            value: all.iter().map(|p| p.2).collect(),
            weight: all.iter().map(|p| p.3).collect(),
        }
    }

    /// Column `x` of the result is `sum over its pairs of weight * coefficient(pair) * g[:, y]`.
    pub(crate) fn scatter(&self, g: &Matrix, coefficient: impl Fn(usize, usize) -> f64 + Sync) -> Matrix {
        let r = g.rows();
        let mut out = Matrix::zeros(r, self.starts.len() - 1);
        row_blocks(out.data_mut(), r, 16, |first, columns| {
            for (i, column) in columns.chunks_exact_mut(r).enumerate() {
                for p in self.starts[first + i]..self.starts[first + i + 1] {
                    let c = self.weight[p] * coefficient(first + i, p);
                    add_scaled(column, c, g.column(self.y[p] as usize));
                }
            }
        });
        out
    }
}
