//! What the maps need of `f32` and `f64`.

use std::ops::{Add, AddAssign, Mul, Sub};

use crate::attention::collect::{collect32, collect64};
use crate::wide::{exp, exp32, wide};

/// `f32` or `f64`.
pub(super) trait Real:
    Copy + PartialOrd + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + AddAssign + 'static
{
    const ZERO: Self;
    const ONE: Self;
    const EPSILON: f64;
    const MOST: f64;
    const NEG_INFINITY: Self;
    /// Below it `e^x` counts as 0: what [`Real::exp`] reaches.
    const LEAST: Self;

    /// The nearest number.
    fn of(value: f64) -> Self;
    fn f64(self) -> f64;
    fn next_down(self) -> Self;
    /// `e^x` for `x >= LEAST`, compiled for the instruction set of the caller.
    fn exp<const FMA: bool>(self) -> Self;
    fn sqrt(self) -> Self;
    /// Writes the scores that are not at most `bar` (NaN is among them) to the start of `kept`, in order; returns their number.
    ///
    /// `kept` is longer than `scores` by a register; what lies behind the kept ones is overwritten.
    fn collect(scores: &[Self], bar: Self, kept: &mut [Self]) -> usize;
}

macro_rules! real {
    ($type:ident, $least:expr, $exp:ident, $collect:ident) => {
        impl Real for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPSILON: f64 = $type::EPSILON as f64;
            const MOST: f64 = $type::MAX as f64;
            const NEG_INFINITY: Self = $type::NEG_INFINITY;
            const LEAST: Self = $least;

            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn next_down(self) -> Self {
                $type::next_down(self)
            }
            #[inline(always)]
            fn exp<const FMA: bool>(self) -> Self {
                $exp::<FMA>(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $type::sqrt(self)
            }
            #[inline(always)]
            fn collect(scores: &[Self], bar: Self, kept: &mut [Self]) -> usize {
                $collect(scores, bar, kept)
            }
        }
    };
}

real!(f32, -87.0, exp32, collect32);
real!(f64, -708.0, exp, collect64);

/// Partial results side by side: four of the widest registers of `f32`.
pub(super) const LANES: usize = 64;

/// The largest of `values`, NaN left out (minus infinity if there is none), and the largest of each lane: 64 of the values,
/// minus infinity where a lane has none.
#[inline(always)]
pub(super) fn largest<T: Real>(values: &[T]) -> (T, [T; LANES]) {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [T::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    for i in 0..rest.len() {
        lanes[i] = larger(lanes[i], rest[i]);
    }
    let (mut tree, mut width) = (lanes, LANES);
    while width > 1 {
        width /= 2;
        for i in 0..width {
            tree[i] = larger(tree[i], tree[i + width]);
        }
    }
    (tree[0], lanes)
}

/// Whether one of `values` is NaN.
#[inline(always)]
fn any_nan<T: Real>(values: &[T]) -> bool {
    // No early end within a block: the comparison of a whole block is a few registers' work.
    #[allow(clippy::eq_op)]
    let nan = |any: bool, v: &T| any | (v != v);
    values.chunks(1024).any(|block| block.iter().fold(false, nan))
}

#[inline(always)]
fn any_nan32_body<const FMA: bool>(values: &[f32]) -> bool {
    any_nan(values)
}

#[inline(always)]
fn any_nan64_body<const FMA: bool>(values: &[f64]) -> bool {
    any_nan(values)
}

wide! {
    /// Whether one of `values` is NaN.
    fn any_nan32(values: &[f32]) -> bool = any_nan32_body
}
wide! {
    /// Whether one of `values` is NaN.
    fn any_nan64(values: &[f64]) -> bool = any_nan64_body
}

/// The sum of `lanes`, in a tree.
#[inline(always)]
pub(super) fn total<T: Real, const N: usize>(mut lanes: [T; N]) -> T {
    let mut width = N;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            let other = lanes[i + width];
            lanes[i] += other;
        }
    }
    lanes[0]
}

/// Scores whose largest is infinite, or an inverse temperature of 0: the keys that `best` names share the weight; nobody has
/// any where it names none; NaN everywhere where a score is NaN.
#[cold]
pub(super) fn shared<T: Real>(scores: &[T], best: impl Fn(T) -> bool, out: &mut [T]) {
    if scores.iter().any(|s| s.f64().is_nan()) {
        return out.fill(T::of(f64::NAN));
    }
    let count = scores.iter().filter(|s| best(**s)).count();
    let share = T::of(1.0 / count.max(1) as f64);
    out.iter_mut().zip(scores).for_each(|(o, s)| *o = if best(*s) { share } else { T::ZERO });
}
