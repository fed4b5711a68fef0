//! Bradley and Terry's likelihood of comparisons as a function of a core, or of its two factors.
//!
//! With features `f(q)` and `h = g(preferred) - g(other)` the log-odds of a comparison are `s = f(q)^T C h`. The convex core has
//! the ridge `l / 2 |C|^2`; factors `C = A B^T` have `l / 2 (|A|^2 + |B|^2)`, whose minimum over all factors of one core is `l`
//! times its nuclear norm (Srebro, Rennie and Jaakkola 2004).

use rayon::prelude::*;

use crate::linalg::Matrix;
use crate::wide::{add_scaled, dot};

/// Queries, or comparisons, of one task.
const BLOCK: usize = 256;

/// Comparisons grouped by query, in features.
pub(crate) struct Compared<'a> {
    /// `(rq, queries)`: a column a query that is compared for.
    pub(crate) f: &'a Matrix,
    /// Where the comparisons of each of these queries start, and where the last ones end.
    pub(crate) starts: &'a [usize],
    /// `(rk, comparisons)`: features of the preferred key less those of the other.
    pub(crate) h: &'a Matrix,
    /// Weight of each comparison; the mean is 1.
    pub(crate) weight: &'a [f64],
}

/// `ln(1 + e^-s)` and `sigmoid(-s)`.
fn loss_and_miss(s: f64) -> (f64, f64) {
    let small = (-s.abs()).exp();
    let miss = if s >= 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) };
    ((-s).max(0.0) + small.ln_1p(), miss)
}

impl Compared<'_> {
    /// Comparisons of query `q`.
    fn of(&self, q: usize) -> std::ops::Range<usize> {
        self.starts[q]..self.starts[q + 1]
    }

    /// Penalised loss of the core `c`, `(rq, rk)` by columns, and its gradient.
    pub(crate) fn core(&self, c: &[f64], ridge: f64) -> (f64, Vec<f64>) {
        let (rq, rk) = (self.f.rows(), self.h.rows());
        let core = Matrix::from_columns(c.to_vec(), rq, rk);
        // Each column is read once and overwritten by what its query pulls.
        let mut pulls = core.transpose_times(self.f);
        let blocks = pulls.data_mut().par_chunks_mut(rk * BLOCK).enumerate();
        let sums: Vec<f64> = blocks
            .map(|(block, columns)| {
                let (mut sum, mut pull) = (0.0, vec![0.0; rk]);
                for (i, column) in columns.chunks_exact_mut(rk).enumerate() {
                    pull.fill(0.0);
                    for at in self.of(block * BLOCK + i) {
                        let own = self.h.column(at);
                        let (loss, miss) = loss_and_miss(dot(column, own));
                        sum += self.weight[at] * loss;
                        add_scaled(&mut pull, -self.weight[at] * miss, own);
                    }
                    column.copy_from_slice(&pull);
                }
                sum
            })
            .collect();
        let mut gradient = self.f.times_transpose(&pulls).into_data();
        add_scaled(&mut gradient, ridge, c);
        (sums.iter().sum::<f64>() + 0.5 * ridge * dot(c, c), gradient)
    }

    /// Penalised loss of the factors `[A, B]`, `(rq, d)` and `(rk, d)` by columns, and its gradient.
    pub(crate) fn factors(&self, point: &[f64], dim: usize, ridge: f64) -> (f64, Vec<f64>) {
        let (a, b) = self.unpack(point, dim);
        let (p, mut q) = (a.transpose_times(self.f), b.transpose_times(self.h));
        let mut pulls = Matrix::zeros(dim, self.f.columns());
        let n = self.starts.len() - 1;
        let mut slopes = vec![0.0; self.h.columns()];
        let mut sum = 0.0;
        for x in 0..n {
            for at in self.of(x) {
                let (loss, miss) = loss_and_miss(dot(p.column(x), q.column(at)));
                sum += self.weight[at] * loss;
                slopes[at] = -self.weight[at] * miss;
                add_scaled(pulls.column_mut(x), slopes[at], q.column(at));
            }
        }
        for x in 0..n {
            for at in self.of(x) {
                let slope = slopes[at];
                q.column_mut(at).iter_mut().zip(p.column(x)).for_each(|(q, p)| *q = slope * p);
            }
        }
        let mut gradient = self.f.times_transpose(&pulls).into_data();
        gradient.extend(self.h.times_transpose(&q).into_data());
        add_scaled(&mut gradient, ridge, point);
        (sum + 0.5 * ridge * dot(point, point), gradient)
    }

    /// The factors of a point.
    pub(crate) fn unpack(&self, point: &[f64], dim: usize) -> (Matrix, Matrix) {
        let (rq, rk) = (self.f.rows(), self.h.rows());
        let (a, b) = point.split_at(rq * dim);
        (Matrix::from_columns(a.to_vec(), rq, dim), Matrix::from_columns(b.to_vec(), rk, dim))
    }

    /// Mean loss of the factors cut to each number of leading columns, the empty model first.
    pub(crate) fn mean_losses(&self, a: &Matrix, b: &Matrix) -> Vec<f64> {
        let (p, q) = (a.transpose_times(self.f), b.transpose_times(self.h));
        let mut sums = vec![0.0; a.columns() + 1];
        for x in 0..self.starts.len() - 1 {
            for at in self.of(x) {
                let mut s = 0.0;
                sums[0] += self.weight[at] * loss_and_miss(0.0).0;
                for (k, (p, q)) in p.column(x).iter().zip(q.column(at)).enumerate() {
                    s += p * q;
                    sums[k + 1] += self.weight[at] * loss_and_miss(s).0;
                }
            }
        }
        let total: f64 = self.weight.iter().sum();
        sums.iter().map(|sum| sum / total).collect()
    }

    /// Weighted loss of each comparison under a core, `(rq, rk)` by columns.
    pub(crate) fn losses(&self, c: &[f64]) -> Vec<f64> {
        let core = Matrix::from_columns(c.to_vec(), self.f.rows(), self.h.rows());
        let p = core.transpose_times(self.f);
        let of = |x: usize| self.of(x).map(move |at| (x, at));
        let all = (0..self.starts.len() - 1).flat_map(of);
        all.map(|(x, at)| self.weight[at] * loss_and_miss(dot(p.column(x), self.h.column(at))).0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    /// Losses and slopes against a loop over comparisons and differences of the loss.
    #[test]
    fn gradients_are_those_of_the_likelihood() {
        let mut stream = Seed(5).stream("test");
        let mut normal =
            |rows, columns| Matrix::from_columns((0..rows * columns).map(|_| stream.normal()).collect(), rows, columns);
        let (f, h, core) = (normal(3, 4), normal(2, 7), normal(3, 2));
        let weight = [1.0, 2.0, 0.5, 1.0, 1.5, 0.5, 0.5];
        let starts = [0, 2, 2, 6, 7];
        let compared = Compared { f: &f, starts: &starts, h: &h, weight: &weight };
        let queries = [0, 0, 2, 2, 2, 2, 3];
        let naive = |c: &Matrix| -> f64 {
            let s = |at: usize| -> f64 {
                let pairs = (0..3).flat_map(|i| (0..2).map(move |j| (i, j)));
                pairs.map(|(i, j)| f[(i, queries[at])] * c[(i, j)] * h[(j, at)]).sum()
            };
            (0..7).map(|at| weight[at] * (1.0 + (-s(at)).exp()).ln()).sum()
        };
        let squares = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>();
        let (value, gradient) = compared.core(core.data(), 0.3);
        assert!((value - naive(&core) - 0.15 * squares(core.data())).abs() < 1e-12);
        let (a, b) = (normal(3, 2), normal(2, 2));
        let point = [a.data(), b.data()].concat();
        let (value_of_factors, slopes) = compared.factors(&point, 2, 0.3);
        assert!((value_of_factors - naive(&a.times_transpose(&b)) - 0.15 * squares(&point)).abs() < 1e-12);
        let check = |point: &[f64], gradient: &[f64], value: &dyn Fn(&[f64]) -> f64| {
            for i in 0..point.len() {
                let at = |delta: f64| {
                    let mut moved = point.to_vec();
                    moved[i] += delta;
                    value(&moved)
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((slope - gradient[i]).abs() < 1e-7, "{i}: {slope} against {}", gradient[i]);
            }
        };
        check(core.data(), &gradient, &|p| compared.core(p, 0.3).0);
        check(&point, &slopes, &|p| compared.factors(p, 2, 0.3).0);
        let own = compared.losses(core.data());
        assert!(own.len() == 7 && (own.iter().sum::<f64>() - naive(&core)).abs() < 1e-12);
        let losses = compared.mean_losses(&a, &b);
        assert!((losses[0] - 2f64.ln()).abs() < 1e-12);
        assert!((losses[2] - naive(&a.times_transpose(&b)) / 7.0).abs() < 1e-12);
        assert!((losses[1] - naive(&a.leading_columns(1).times_transpose(&b.leading_columns(1))) / 7.0).abs() < 1e-12);
    }
}
