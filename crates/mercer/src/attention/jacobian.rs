//! Jacobians of the maps times a direction.
//!
//! All are `J v = s (v - <s, v> / sum s)` with `s = p^(2 - alpha)` on the support: `p` itself for softmax, its root for
//! 1.5-entmax, 1 for sparsemax.

use crate::attention::real::{LANES, Real, total};
use crate::wide::{exp, ln, wide};

/// Products whose sum stays in lanes of the row's own type; beyond, sums are in `f64`.
const BLOCK: usize = 1024;

/// `s` as a function of the weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Slope {
    /// Softmax.
    Weight,
    /// 1.5-entmax.
    Root,
    /// Sparsemax.
    Support,
    /// `p^e` on the support.
    Power(f64),
}

wide! {
    /// Jacobian at each row of weights times its direction, in `f32`.
    fn jvp32(slope: Slope, weights: &[f32], keys: usize, direction: &[f32], out: &mut [f32]) = jvp32_body
}
wide! {
    /// Jacobian at each row of weights times its direction, in `f64`.
    fn jvp64(slope: Slope, weights: &[f64], keys: usize, direction: &[f64], out: &mut [f64]) = jvp64_body
}

#[inline(always)]
fn jvp32_body<const FMA: bool>(slope: Slope, weights: &[f32], keys: usize, direction: &[f32], out: &mut [f32]) {
    kinds::<f32, FMA>(slope, weights, keys, direction, out);
}

#[inline(always)]
fn jvp64_body<const FMA: bool>(slope: Slope, weights: &[f64], keys: usize, direction: &[f64], out: &mut [f64]) {
    kinds::<f64, FMA>(slope, weights, keys, direction, out);
}

#[inline(always)]
fn kinds<T: Real, const FMA: bool>(slope: Slope, weights: &[T], keys: usize, direction: &[T], out: &mut [T]) {
    match slope {
        Slope::Weight => rows(|p: T| p, false, weights, keys, direction, out),
        Slope::Root => rows(|p: T| p.sqrt(), false, weights, keys, direction, out),
        Slope::Support => rows(|p: T| if p > T::ZERO { T::ONE } else { p }, false, weights, keys, direction, out),
        Slope::Power(e) => {
            rows(
                |p: T| if p > T::ZERO { T::of(exp::<FMA>(e * ln::<FMA>(p.f64()))) } else { p },
                e < 0.0,
                weights,
                keys,
                direction,
                out,
            );
        }
    }
}

#[inline(always)]
fn rows<T: Real>(slope: impl Fn(T) -> T, steep: bool, weights: &[T], keys: usize, direction: &[T], out: &mut [T]) {
    let rows = weights.chunks_exact(keys).zip(direction.chunks_exact(keys)).zip(out.chunks_exact_mut(keys));
    for ((weights, direction), out) in rows {
        // Where one `s` dwarfs the others, its part of the direction goes first, or differences would drown in it.
        let shift = if steep { at_the_smallest(weights, direction) } else { T::ZERO };
        let (mut sum, mut product) = (0.0, 0.0);
        let parts = weights.chunks(BLOCK).zip(direction.chunks(BLOCK)).zip(out.chunks_mut(BLOCK));
        for ((weights, direction), out) in parts {
            let (s, v) = slopes(&slope, shift, weights, direction, out);
            (sum, product) = (sum + s, product + v);
        }
        let mean = T::of(if sum == 0.0 { 0.0 } else { product / sum });
        for (o, v) in out.iter_mut().zip(direction) {
            let change = *o * ((*v - shift) - mean);
            // What has no weight does not move, in whatever direction.
            *o = if *o == T::ZERO { T::ZERO } else { change };
        }
    }
}

/// The direction at the smallest positive weight, 0 where there is none.
fn at_the_smallest<T: Real>(weights: &[T], direction: &[T]) -> T {
    let mut found: Option<(T, T)> = None;
    for (p, v) in weights.iter().zip(direction) {
        if *p > T::ZERO && found.is_none_or(|(least, _)| *p < least) {
            found = Some((*p, *v));
        }
    }
    found.map_or(T::ZERO, |(_, v)| v)
}

/// `out = s`; returns the sums of `s` and `s (v - shift)`.
#[inline(always)]
fn slopes<T: Real>(slope: &impl Fn(T) -> T, shift: T, weights: &[T], direction: &[T], out: &mut [T]) -> (f64, f64) {
    let product = |s: T, v: T| if s == T::ZERO { T::ZERO } else { s * (v - shift) };
    let (chunks, rest) = weights.as_chunks::<LANES>();
    let (direction_chunks, direction_rest) = direction.as_chunks::<LANES>();
    let (out_chunks, out_rest) = out.as_chunks_mut::<LANES>();
    let (mut sums, mut products) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for ((p, v), out) in chunks.iter().zip(direction_chunks).zip(out_chunks) {
        for i in 0..LANES {
            out[i] = slope(p[i]);
            sums[i] += out[i];
            products[i] += product(out[i], v[i]);
        }
    }
    let (mut sum, mut of_products) = (total(sums).f64(), total(products).f64());
    for ((p, v), out) in rest.iter().zip(direction_rest).zip(out_rest) {
        *out = slope(*p);
        sum += out.f64();
        of_products += product(*out, *v).f64();
    }
    (sum, of_products)
}
