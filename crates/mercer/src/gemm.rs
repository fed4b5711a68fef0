//! Products of row-major `f32` matrices for training: a tower's layers forward and backward, and the scores of a batch.
//!
//! The right side is packed once into [`Panels`] of 64 columns, whose rows lie one behind the other: a panel streams through
//! the first level of the cache, and both a matrix and its transpose are read along their rows. The left side is read where
//! it lies, by rows or by columns. A tile of the result stays in registers while the inner dimension runs; bias, ReLU and
//! slopes are applied where it is stored, so that none of them takes a pass over memory.
//!
//! Everything here runs on the calling thread. Each number is one sum in the order of the inner dimension, so its bits depend
//! neither on the other rows nor on who computes them.

mod portable;
#[cfg(target_arch = "x86_64")]
mod wide512;

use std::cell::RefCell;
use std::ops::Range;

/// Columns of a panel.
const PANEL: usize = 64;
/// Panels are filled up with zeros to a multiple of this, the numbers in the widest register.
const LANES: usize = 16;

/// The right side of products, `(inner, columns)`, packed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panels {
    inner: usize,
    columns: usize,
    /// Panel by panel: `inner` rows of 64 numbers, fewer in the last one.
    data: Vec<f32>,
}

/// The columns of one panel, filled up.
fn filled(columns: usize) -> usize {
    columns.min(PANEL).next_multiple_of(LANES)
}

impl Panels {
    /// Packs row-major `b` of shape `(inner, columns)`; the memory of earlier contents is used again.
    pub(crate) fn pack(&mut self, b: &[f32], inner: usize, columns: usize) {
        assert_eq!(b.len(), inner * columns);
        self.reserve(inner, columns);
        for (p, panel) in self.data.chunks_mut((inner * PANEL).max(1)).enumerate() {
            let (first, width) = (p * PANEL, PANEL.min(columns - p * PANEL));
            for (k, row) in panel.chunks_exact_mut(filled(width)).enumerate() {
                let from = k * columns + first;
                row[..width].copy_from_slice(&b[from..from + width]);
                row[width..].fill(0.0);
            }
        }
    }

    /// Packs the transpose of row-major `b` of shape `(columns, inner)`.
    pub(crate) fn pack_transposed(&mut self, b: &[f32], inner: usize, columns: usize) {
        assert_eq!(b.len(), inner * columns);
        self.reserve(inner, columns);
        for (p, panel) in self.data.chunks_mut((inner * PANEL).max(1)).enumerate() {
            let (first, width) = (p * PANEL, PANEL.min(columns - p * PANEL));
            let stride = filled(width);
            for j in 0..stride {
                for k in 0..inner {
                    panel[k * stride + j] = if j < width { b[(first + j) * inner + k] } else { 0.0 };
                }
            }
        }
    }

    fn reserve(&mut self, inner: usize, columns: usize) {
        (self.inner, self.columns) = (inner, columns);
        let whole = columns / PANEL * PANEL;
        self.data.resize(inner * (whole + (columns - whole).next_multiple_of(LANES)), 0.0);
    }

    pub(crate) fn inner(&self) -> usize {
        self.inner
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }
}

/// What the sums of a product start from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    /// Zero.
    Zero,
    /// One number a column.
    Bias(&'a [f32]),
    /// What the result holds already.
    Sum,
}

/// What is done to each sum before it is stored; the slices have the result's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// Nothing.
    Keep,
    /// `max(sum, 0)`; NaN stays NaN.
    Relu,
    /// Kept where this is positive, else 0: the slope of ReLU by its value.
    Where(&'a [f32]),
    /// Multiplied by this.
    Times(&'a [f32]),
}

/// The left side: number `(i, k)` of the product lies at `i * row + k * step`.
#[derive(Clone, Copy)]
struct Left<'a> {
    data: &'a [f32],
    row: usize,
    step: usize,
}

/// `out = end(start + a b)` for row-major `a` `(n, inner)` and `out` `(n, columns)`.
pub(crate) fn multiply(a: &[f32], b: &Panels, start: Start<'_>, end: End<'_>, out: &mut [f32]) {
    product(Left { data: a, row: b.inner, step: 1 }, b, start, end, out);
}

thread_local! {
    /// The packed right side of [`multiply_transposed`].
    static PACKED: RefCell<Panels> = RefCell::default();
}

/// `out = start + a^T b` for row-major `a` `(inner, width)`, of which only the columns `chosen` count, and `b` `(inner, columns)`;
/// `out` is `(chosen.len(), columns)`. `b` is packed here: `inner` should be about 128, so that a panel stays near the core.
pub(crate) fn multiply_transposed(
    a: &[f32],
    width: usize,
    chosen: Range<usize>,
    b: &[f32],
    columns: usize,
    start: Start<'_>,
    out: &mut [f32],
) {
    let inner = b.len() / columns;
    assert!(chosen.end <= width && a.len() == inner * width && out.len() == chosen.len() * columns);
    PACKED.with_borrow_mut(|panels| {
        panels.pack(b, inner, columns);
        product(
            Left { data: a.get(chosen.start..).unwrap_or(&[]), row: 1, step: width },
            panels,
            start,
            End::Keep,
            out,
        );
    });
}

#[allow(unsafe_code)]
fn product(a: Left<'_>, b: &Panels, start: Start<'_>, end: End<'_>, out: &mut [f32]) {
    let (inner, columns) = (b.inner, b.columns);
    if out.is_empty() {
        return;
    }
    assert!(out.len().is_multiple_of(columns));
    let n = out.len() / columns;
    assert!(inner == 0 || a.data.len() > (n - 1) * a.row + (inner - 1) * a.step, "the left side is too short");
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), columns);
    }
    if let End::Where(same) | End::Times(same) = end {
        assert_eq!(same.len(), out.len());
    }
    for first in (0..columns).step_by(PANEL) {
        let panel = &b.data[inner * first..][..inner * filled(columns - first)];
        let part = Part { a, panel, inner, columns, first, n, start, end };
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was just detected; all lengths were checked above.
            unsafe { wide512::panel(&part, out) };
            continue;
        }
        portable::panel(&part, out);
    }
}

/// One panel of a product; the lengths fit.
struct Part<'a> {
    a: Left<'a>,
    panel: &'a [f32],
    inner: usize,
    /// Columns of the result.
    columns: usize,
    /// First column of the panel.
    first: usize,
    /// Rows of the result.
    n: usize,
    start: Start<'a>,
    end: End<'a>,
}

impl Part<'_> {
    /// Columns of this panel.
    fn width(&self) -> usize {
        PANEL.min(self.columns - self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    /// Sizes around every edge of the tiles: rows of 1, 2, 4, 6 and 12, columns of 16 and 64.
    const SIZES: [(usize, usize, usize); 12] = [
        (1, 1, 1),
        (2, 3, 15),
        (3, 0, 4),
        (5, 3, 16),
        (6, 7, 17),
        (7, 31, 31),
        (11, 4, 33),
        (13, 33, 47),
        (25, 9, 64),
        (30, 65, 65),
        (37, 5, 131),
        (64, 32, 200),
    ];

    fn draws(name: &str) -> impl FnMut(usize) -> Vec<f32> {
        let mut stream = Seed(9).stream(name);
        move |n| (0..n).map(|_| stream.normal() as f32).collect()
    }

    /// `(start + sum, sum of absolute values)` in `f64`.
    fn sums(a: impl Fn(usize, usize) -> f32, b: &[f32], n: usize, inner: usize, m: usize) -> Vec<(f64, f64)> {
        let one = |at: usize| {
            let terms = (0..inner).map(|k| f64::from(a(at / m, k)) * f64::from(b[k * m + at % m]));
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        };
        (0..n * m).map(one).collect()
    }

    fn transposed(a: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..columns * rows).map(|at| a[at % rows * columns + at / rows]).collect()
    }

    fn close(got: f32, expected: f64, size: f64, what: &str) {
        let bound = 4.0 * f64::from(f32::EPSILON) * (size + 1.0);
        assert!((f64::from(got) - expected).abs() <= bound, "{what}: {got}, expected {expected}");
    }

    #[test]
    fn products_agree_with_sums_in_f64_for_every_remainder() {
        let mut draw = draws("gemm");
        for (n, inner, m) in SIZES {
            let (a, b, bias, same) = (draw(n * inner), draw(inner * m), draw(m), draw(n * m));
            let expected = sums(|i, k| a[i * inner + k], &b, n, inner, m);
            let mut panels = Panels::default();
            for packed_from_transpose in [false, true] {
                if packed_from_transpose {
                    panels.pack_transposed(&transposed(&b, inner, m), inner, m);
                } else {
                    panels.pack(&b, inner, m);
                }
                assert_eq!((panels.inner(), panels.columns()), (inner, m));
                for start in [Start::Zero, Start::Bias(&bias), Start::Sum] {
                    for end in [End::Keep, End::Relu, End::Where(&same), End::Times(&same)] {
                        let before = draw(n * m);
                        let mut out = before.clone();
                        multiply(&a, &panels, start, end, &mut out);
                        for (at, got) in out.into_iter().enumerate() {
                            let first = match start {
                                Start::Zero => 0.0,
                                Start::Bias(bias) => bias[at % m].into(),
                                Start::Sum => before[at].into(),
                            };
                            let (sum, size) = (first + expected[at].0, f64::abs(first) + expected[at].1);
                            let (sum, size) = match end {
                                End::Keep => (sum, size),
                                End::Relu => (sum.max(0.0), size),
                                End::Where(same) => (if same[at] > 0.0 { sum } else { 0.0 }, size),
                                End::Times(same) => (sum * f64::from(same[at]), size * f64::from(same[at].abs())),
                            };
                            close(got, sum, size, &format!("({n}, {inner}, {m}), {start:?}, {end:?}, {at}"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn transposed_products_agree_with_sums_in_f64_for_every_remainder() {
        let mut draw = draws("gemm transposed");
        for (width, inner, m) in SIZES {
            let (a, b) = (draw(inner * width), draw(inner * m));
            for chosen in [0..width, width / 3..width - width / 4] {
                let expected = sums(|i, k| a[k * width + chosen.start + i], &b, chosen.len(), inner, m);
                for start in [Start::Zero, Start::Sum] {
                    let before = draw(chosen.len() * m);
                    let mut out = before.clone();
                    multiply_transposed(&a, width, chosen.clone(), &b, m, start, &mut out);
                    for (at, got) in out.into_iter().enumerate() {
                        let first = if matches!(start, Start::Sum) { f64::from(before[at]) } else { 0.0 };
                        let (sum, size) = (first + expected[at].0, first.abs() + expected[at].1);
                        close(got, sum, size, &format!("({width}, {inner}, {m}), {chosen:?}, {start:?}, {at}"));
                    }
                }
            }
        }
    }

    #[test]
    fn the_bits_of_a_row_do_not_depend_on_the_other_rows() {
        let mut draw = draws("gemm rows");
        let (a, b, bias) = (draw(29 * 40), draw(40 * 77), draw(77));
        let mut panels = Panels::default();
        panels.pack(&b, 40, 77);
        let (mut whole, mut one) = (vec![0.0; 29 * 77], vec![0.0; 77]);
        multiply(&a, &panels, Start::Bias(&bias), End::Keep, &mut whole);
        for i in 0..29 {
            multiply(&a[i * 40..(i + 1) * 40], &panels, Start::Bias(&bias), End::Keep, &mut one);
            assert_eq!(one, whole[i * 77..(i + 1) * 77]);
        }
    }

    #[test]
    fn the_portable_tiles_agree_with_the_wide_ones() {
        let mut draw = draws("gemm portable");
        for (n, inner, m) in SIZES {
            let (a, b, bias, same) = (draw(n * inner), draw(inner * m), draw(m), draw(n * m));
            let mut panels = Panels::default();
            panels.pack(&b, inner, m);
            for (start, end) in [(Start::Bias(&bias), End::Where(&same)), (Start::Sum, End::Relu)] {
                let before = draw(n * m);
                let (mut wide, mut plain) = (before.clone(), before);
                multiply(&a, &panels, start, end, &mut wide);
                for first in (0..m).step_by(PANEL) {
                    let panel = &panels.data[inner * first..];
                    let a = Left { data: &a, row: inner, step: 1 };
                    let part = Part { a, panel, inner, columns: m, first, n, start, end };
                    portable::panel(&part, &mut plain);
                }
                for (at, (a, b)) in wide.iter().zip(&plain).enumerate() {
                    close(*a, (*b).into(), inner as f64, &format!("({n}, {inner}, {m}) at {at}"));
                }
            }
        }
    }
}
