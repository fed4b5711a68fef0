//! Attention over all keys, block by block, with a running maximum: what pruning is measured against, and what serves where it
//! does not pay.

use rayon::prelude::*;

use crate::gemm::{End, Largest, Out, PANEL, Panels, Start, multiply, multiply_largest};
use crate::wide::{add_scaled32, exp32, wide};

/// Keys whose scores with a block of queries stay near the core.
const KEYS: usize = 256;
/// Queries of a block.
const QUERIES: usize = 96;
/// Blocks of keys whose terms are summed in `f32` before they go into the `f64` totals.
const FLUSH: usize = 4;
/// Rows of a block beyond which a product of matrices takes up the values, not row after row.
const MANY: usize = QUERIES / 4;

/// Keys and values in panels.
pub(super) struct Fused {
    dim: usize,
    width: usize,
    /// `(dim, 256)` each.
    keys: Vec<Panels>,
    /// `(256, width)` each.
    values: Vec<Panels>,
}

/// One block of queries on its way over the keys.
struct Block {
    a: Panels,
    scores: Panels,
    largest: Vec<Largest>,
    /// Running maximum of each query.
    most: Vec<f32>,
    /// Sums of weights and of weighted values since the last flush, and in all; relative to the maximum.
    mass: Vec<f32>,
    sums: Vec<f32>,
    masses: Vec<f64>,
    totals: Vec<f64>,
    /// Rows to which the present keys matter.
    active: Vec<usize>,
}

impl Fused {
    /// Packs row-major `keys` and `values` with `width` numbers each, the keys multiplied by `factor`, a power of two.
    pub(super) fn new(keys: &[f32], dim: usize, values: &[f32], width: usize, factor: f64) -> Self {
        let pack = |rows: &[f32]| {
            let scaled: Vec<f32> = rows.iter().map(|v| (f64::from(*v) * factor) as f32).collect();
            let mut panels = Panels::default();
            panels.pack_transposed(&scaled, rows.len() / dim);
            panels
        };
        let keys = keys.par_chunks(KEYS * dim).map(pack).collect();
        let pack = |rows: &[f32]| {
            let mut panels = Panels::default();
            panels.pack(rows, width);
            panels
        };
        let values = if width == 0 { Vec::new() } else { values.par_chunks(KEYS * width).map(pack).collect() };
        Fused { dim, width, keys, values }
    }

    /// Softmax-weighted means of the values, row-major in `f64`, for row-major `queries` with one inverse temperature each; scores in
    /// `f32`.
    ///
    /// Weights below `e^-window` of the largest are left out.
    pub(super) fn attend(&self, queries: &[f32], betas: &[f32], window: f32) -> Vec<f64> {
        if betas.is_empty() {
            return Vec::new();
        }
        let blocks = queries.par_chunks(QUERIES * self.dim).zip(betas.par_chunks(QUERIES));
        let done: Vec<Vec<f64>> = blocks.map(|(rows, betas)| self.block(rows, betas, window)).collect();
        done.concat()
    }

    /// The most that rounding changes an output, relative to the diameter of the values, if each `beta score` is wrong by at most
    /// `score`: that of the exponents, of the exponentials and of the sums between two flushes.
    pub(super) fn rounding(score: f64, window: f64) -> f64 {
        let half = 0.5 * f64::from(f32::EPSILON);
        (2.0 * score).exp_m1() + 2.0 * (3.0 * window + 8.0 + (FLUSH * KEYS) as f64) * half
    }

    fn block(&self, rows: &[f32], betas: &[f32], window: f32) -> Vec<f64> {
        let n = betas.len();
        let mut block = Block::new(rows, self.dim, n, self.width);
        for (at, keys) in self.keys.iter().enumerate() {
            multiply_largest(&block.a, keys, Start::Zero, &mut block.scores, &mut block.largest);
            block.weigh(betas, window);
            if let Some(values) = self.values.get(at) {
                block.gather(values, self.width);
            }
            if at % FLUSH + 1 == FLUSH {
                block.flush();
            }
        }
        block.flush();
        let Block { masses, mut totals, .. } = block;
        for (row, mass) in totals.chunks_mut(self.width.max(1)).zip(&masses) {
            row.iter_mut().for_each(|v| *v /= mass);
        }
        totals
    }
}

impl Block {
    fn new(rows: &[f32], dim: usize, n: usize, width: usize) -> Self {
        let mut a = Panels::default();
        a.pack(rows, dim);
        Block {
            a,
            scores: Panels::default(),
            largest: vec![[f32::NEG_INFINITY; 16]; n],
            most: vec![f32::NEG_INFINITY; n],
            mass: vec![0.0; n],
            sums: vec![0.0; n * width],
            masses: vec![0.0; n],
            totals: vec![0.0; n * width],
            active: Vec::with_capacity(n),
        }
    }

    /// Turns scores into weights, in place, where they matter.
    fn weigh(&mut self, betas: &[f32], window: f32) {
        self.active.clear();
        let (n, columns) = (betas.len(), self.scores.columns());
        let width = self.sums.len() / n;
        for (row, &beta) in betas.iter().enumerate() {
            let largest = self.largest[row].iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            if beta * (largest - self.most[row]) < -window {
                continue;
            }
            self.active.push(row);
            if largest > self.most[row] {
                // The first time everything is zero; `e^-infinity` must not become `0 * infinity` at beta 0.
                let factor = if self.most[row].is_finite() { (beta * (self.most[row] - largest)).exp() } else { 0.0 };
                self.most[row] = largest;
                self.mass[row] *= factor;
                self.masses[row] *= f64::from(factor);
                self.sums[row * width..][..width].iter_mut().for_each(|v| *v *= factor);
                self.totals[row * width..][..width].iter_mut().for_each(|v| *v *= f64::from(factor));
            }
            for first in (0..columns).step_by(PANEL) {
                let stride = self.scores.stride(first);
                let own = PANEL.min(columns - first);
                let part = &mut self.scores.panel_mut(first)[row * stride..][..own];
                self.mass[row] += weights(part, beta, self.most[row]);
            }
        }
    }

    /// Adds the weighted values.
    fn gather(&mut self, values: &Panels, width: usize) {
        let columns = self.scores.columns();
        if self.active.len() > MANY {
            let mut active = self.active.iter().peekable();
            for row in 0..self.most.len() {
                if active.next_if(|next| **next == row).is_none() {
                    for first in (0..columns).step_by(PANEL) {
                        let stride = self.scores.stride(first);
                        self.scores.panel_mut(first)[row * stride..][..stride].fill(0.0);
                    }
                }
            }
            return multiply(&self.scores, values, Start::Sum, End::Keep, Out::Rows(&mut self.sums));
        }
        for &row in &self.active {
            for key in 0..columns {
                let weight = *self.scores.at(row, key);
                // Weights without consequence: e^-87 is where the exponential ends.
                if weight < 1e-30 {
                    continue;
                }
                for first in (0..width).step_by(PANEL) {
                    let (stride, own) = (values.stride(first), PANEL.min(width - first));
                    let value = &values.panel(first)[key * stride..][..own];
                    add_scaled32(&mut self.sums[row * width + first..][..own], weight, value);
                }
            }
        }
    }

    /// Moves the sums into the totals.
    fn flush(&mut self) {
        let add = |totals: &mut [f64], sums: &mut [f32]| {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total += f64::from(std::mem::take(sum));
            }
        };
        add(&mut self.masses, &mut self.mass);
        add(&mut self.totals, &mut self.sums);
    }
}

#[inline(always)]
fn weights_body<const FMA: bool>(scores: &mut [f32], beta: f32, most: f32) -> f32 {
    let (lanes, rest) = scores.as_chunks_mut::<16>();
    let mut sums = [0.0f32; 16];
    for lane in lanes {
        for j in 0..16 {
            lane[j] = exp32::<FMA>(beta * (lane[j] - most));
            sums[j] += lane[j];
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for score in rest {
        *score = exp32::<FMA>(beta * (*score - most));
        sum += *score;
    }
    sum
}
wide!(
    /// `e^(beta (score - most))` in place, and the sum.
    fn weights(scores: &mut [f32], beta: f32, most: f32) -> f32 = weights_body
);
