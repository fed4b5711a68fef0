//! Softmax and the hard map.

use crate::attention::real::{LANES, Real, largest, shared, total};
use crate::wide::wide;

/// Exponentials whose sum stays in lanes of the row's own type; beyond, sums are in `f64`.
const BLOCK: usize = 1024;

wide! {
    /// Softmax of `beta` times each row, in `f32`.
    fn softmax32(scores: &[f32], keys: usize, beta: f64, out: &mut [f32]) = softmax32_body
}
wide! {
    /// Softmax of `beta` times each row, in `f64`.
    fn softmax64(scores: &[f64], keys: usize, beta: f64, out: &mut [f64]) = softmax64_body
}

#[inline(always)]
fn softmax32_body<const FMA: bool>(scores: &[f32], keys: usize, beta: f64, out: &mut [f32]) {
    rows::<f32, FMA>(scores, keys, beta, out);
}

#[inline(always)]
fn softmax64_body<const FMA: bool>(scores: &[f64], keys: usize, beta: f64, out: &mut [f64]) {
    rows::<f64, FMA>(scores, keys, beta, out);
}

#[inline(always)]
fn rows<T: Real, const FMA: bool>(scores: &[T], keys: usize, beta: f64, out: &mut [T]) {
    let scale = T::of(beta.min(T::MOST));
    for (row, out) in scores.chunks_exact(keys).zip(out.chunks_exact_mut(keys)) {
        let (top, _) = largest(row);
        if !top.f64().is_finite() {
            shared(row, |s| s == top && top > T::ZERO, out);
        } else if scale == T::ZERO {
            shared(row, |s| s > T::NEG_INFINITY, out);
        } else {
            let mut sum = 0.0;
            for (part, out) in row.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                sum += exponentials::<T, FMA>(part, top, scale, out);
            }
            let share = T::of(1.0 / sum);
            out.iter_mut().for_each(|o| *o = *o * share);
        }
    }
}

/// `out = e^(scale (scores - top))`; returns the sum.
#[inline(always)]
fn exponentials<T: Real, const FMA: bool>(scores: &[T], top: T, scale: T, out: &mut [T]) -> f64 {
    let weight = |score: T| {
        let z = (score - top) * scale;
        if z < T::LEAST { T::ZERO } else { z.exp::<FMA>() }
    };
    let (chunks, rest) = scores.as_chunks::<LANES>();
    let (out_chunks, out_rest) = out.as_chunks_mut::<LANES>();
    let mut sums = [T::ZERO; LANES];
    for (chunk, out) in chunks.iter().zip(out_chunks) {
        for i in 0..LANES {
            out[i] = weight(chunk[i]);
            sums[i] += out[i];
        }
    }
    let mut sum = total(sums).f64();
    for (score, out) in rest.iter().zip(out_rest) {
        *out = weight(*score);
        sum += out.f64();
    }
    sum
}

/// The best keys of each row share the weight.
pub(super) fn hard<T: Real>(scores: &[T], keys: usize, out: &mut [T]) {
    for (row, out) in scores.chunks_exact(keys).zip(out.chunks_exact_mut(keys)) {
        let (top, _) = largest(row);
        shared(row, |s| s == top && s > T::NEG_INFINITY, out);
    }
}
