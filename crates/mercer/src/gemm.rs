//! Products of `f32` matrices for training: a tower's layers forward and backward, and the scores of a batch.
//!
//! Matrices lie in [`Panels`]: 64 columns at a time, their rows one behind the other. A panel of the right side streams through
//! the first level of the cache, and a matrix is read along its rows or along its columns at the same speed: row-major
//! storage would put the rows of a wide matrix on the same few places of the cache. What a product writes the next one reads
//! without a copy. A tile of the result stays in registers while the inner dimension runs; bias, ReLU and slopes are applied
//! where it is stored, so that none of them takes a pass over memory.
//!
//! Everything here runs on the calling thread. Each number is one sum in the order of the inner dimension, so its bits depend
//! neither on the other rows nor on who computes them.

pub(crate) mod half;
pub(crate) mod peak;
mod portable;
#[cfg(target_arch = "x86_64")]
mod transpose512;
#[cfg(target_arch = "x86_64")]
mod wide512;

use std::ops::Range;

use crate::lines::{LINE as LANES, Lines};

/// Columns of a panel.
pub(crate) const PANEL: usize = 64;
/// A matrix in panels of 64 columns: number `(i, j)` lies in panel `j / 64`, which has `rows` rows of 64 numbers, the last
/// panel of as many as it needs, filled up to a multiple of 16.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panels {
    rows: usize,
    columns: usize,
    data: Lines,
}

/// Numbers in a row of the first of the panels for `columns` columns.
fn filled(columns: usize) -> usize {
    columns.min(PANEL).next_multiple_of(LANES)
}

impl Panels {
    /// Gives the matrix a shape; its numbers are those of before or zero, the memory is used again.
    pub(crate) fn reshape(&mut self, rows: usize, columns: usize) {
        (self.rows, self.columns) = (rows, columns);
        let whole = columns / PANEL * PANEL;
        self.data.resize(rows * (whole + (columns - whole).next_multiple_of(LANES)));
    }

    /// Takes the numbers of row-major `b` of shape `(rows, columns)`, each changed by `f`.
    pub(crate) fn pack_with(&mut self, b: &[f32], columns: usize, f: impl Fn(usize, f32) -> f32) {
        self.reshape(b.len() / columns, columns);
        assert_eq!(b.len(), self.rows * columns);
        for first in (0..columns).step_by(PANEL) {
            let width = PANEL.min(columns - first);
            for (i, row) in self.panel_mut(first).chunks_exact_mut(filled(width)).enumerate() {
                for (to, from) in row.iter_mut().zip(&b[i * columns + first..][..width]) {
                    *to = f(i, *from);
                }
                row[width..].fill(0.0);
            }
        }
    }

    /// Takes the numbers of row-major `b` with `columns` columns.
    pub(crate) fn pack(&mut self, b: &[f32], columns: usize) {
        self.reshape(b.len() / columns, columns);
        assert_eq!(b.len(), self.rows * columns);
        if self.stride(0) == columns {
            return self.data.copy_from_slice(b);
        }
        for first in (0..columns).step_by(PANEL) {
            let width = PANEL.min(columns - first);
            let rows = self.panel_mut(first).chunks_exact_mut(filled(width));
            for (row, from) in rows.zip(b[first..].chunks(columns)) {
                row[..width].copy_from_slice(&from[..width]);
                row[width..].fill(0.0);
            }
        }
    }

    /// Takes the transpose of row-major `b` of shape `(columns, rows)`.
    pub(crate) fn pack_transposed(&mut self, b: &[f32], columns: usize) {
        let rows = b.len() / columns;
        assert_eq!(b.len(), rows * columns);
        self.reshape(rows, columns);
        for first in (0..columns).step_by(PANEL) {
            let width = PANEL.min(columns - first);
            let stride = filled(width);
            let panel = self.panel_mut(first);
            // Blocks of 16 by 16 numbers: whole lines of the cache on both sides.
            for i in (0..rows).step_by(LANES) {
                for j in (0..stride).step_by(LANES) {
                    if i + LANES <= rows && j + LANES <= width {
                        transpose(&b[(first + j) * rows + i..], rows, &mut panel[i * stride + j..], stride);
                        continue;
                    }
                    for i in i..rows.min(i + LANES) {
                        for j in j..j + LANES {
                            panel[i * stride + j] = if j < width { b[(first + j) * rows + i] } else { 0.0 };
                        }
                    }
                }
            }
        }
    }

    /// Number of rows.
    #[cfg(test)]
    fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The panel whose first column is `first`, a multiple of 64: row after row, with as many numbers in each as
    /// [`Panels::stride`] says.
    pub(crate) fn panel(&self, first: usize) -> &[f32] {
        &self.data[self.rows * first..][..self.rows * self.stride(first)]
    }

    /// As [`Panels::panel`].
    pub(crate) fn panel_mut(&mut self, first: usize) -> &mut [f32] {
        let length = self.rows * self.stride(first);
        &mut self.data[self.rows * first..][..length]
    }

    /// Writes all numbers, each changed by `f`, to row-major `out`.
    pub(crate) fn unpack_with(&self, out: &mut [f32], f: impl Fn(f32) -> f32) {
        assert_eq!(out.len(), self.rows * self.columns);
        for first in (0..self.columns).step_by(PANEL) {
            let width = PANEL.min(self.columns - first);
            let rows = self.panel(first).chunks_exact(filled(width));
            for (from, to) in rows.zip(out[first..].chunks_mut(self.columns)) {
                to[..width].iter_mut().zip(from).for_each(|(to, from)| *to = f(*from));
            }
        }
    }

    /// Numbers in a row of the panel from column `first` on, those that fill up included.
    pub(crate) fn stride(&self, first: usize) -> usize {
        filled(self.columns - first)
    }

    /// The number in row `i` and column `j`.
    pub(crate) fn at(&mut self, i: usize, j: usize) -> &mut f32 {
        let first = j / PANEL * PANEL;
        &mut self.data[self.rows * first + i * filled(self.columns - first) + j % PANEL]
    }

    /// Multiplies row `i` by `factor(i)`.
    pub(crate) fn scale_rows(&mut self, factor: impl Fn(usize) -> f32) {
        for first in (0..self.columns).step_by(PANEL) {
            let stride = self.stride(first);
            for (i, row) in self.panel_mut(first).chunks_exact_mut(stride).enumerate() {
                let factor = factor(i);
                row.iter_mut().for_each(|v| *v *= factor);
            }
        }
    }

    /// All numbers, in the order in which they lie: for elementwise functions.
    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// As [`Panels::data_mut`].
    pub(crate) fn data(&self) -> &[f32] {
        &self.data
    }
}

/// Writes the transpose of 16 by 16 numbers whose rows lie `stride` apart to rows that lie `out_stride` apart.
fn transpose(from: &[f32], stride: usize, out: &mut [f32], out_stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        #[allow(unsafe_code)]
        // SAFETY: the feature was just detected.
        return unsafe { transpose512::transpose(from, stride, out, out_stride) };
    }
    for i in 0..LANES {
        (0..LANES).for_each(|j| out[i * out_stride + j] = from[j * stride + i]);
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

/// What is done to each sum before it is stored; the matrices have the result's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// Nothing.
    Keep,
    /// `max(sum, 0)`; NaN stays NaN.
    Relu,
    /// Kept where this is positive, else 0: the slope of ReLU by its value.
    Where(&'a Panels),
    /// Multiplied by this.
    Times(&'a Panels),
}

/// Where a product goes.
#[derive(Debug)]
pub(crate) enum Out<'a> {
    /// Row-major numbers.
    Rows(&'a mut [f32]),
    /// Panels, which get the product's shape.
    Panels(&'a mut Panels),
}

/// The left side of a product: `a`, or the transpose of `a`.
#[derive(Clone, Copy)]
struct Left<'a> {
    a: &'a Panels,
    transposed: bool,
}

/// Numbers `(i, k)` of the left side, `k < count`: at `first + i * row + k * step`.
struct Stretch {
    first: usize,
    row: usize,
    step: usize,
    count: usize,
}

impl Left<'_> {
    /// The stretch of the inner dimension from `k` on for the rows from `i` on; a product with a transpose is cut into rows
    /// of one panel.
    #[inline(always)]
    fn stretch(&self, i: usize, k: usize) -> Stretch {
        let (rows, columns) = (self.a.rows, self.a.columns);
        if self.transposed {
            let first = i / PANEL * PANEL;
            let step = filled(columns - first);
            Stretch { first: rows * first + k * step + i % PANEL, row: 1, step, count: rows - k }
        } else {
            let row = filled(columns - k);
            Stretch { first: rows * k + i * row, row, step: 1, count: PANEL.min(columns - k) }
        }
    }
}

/// The largest number of each row, up to 16 of them to choose from.
pub(crate) type Largest = [f32; LANES];

/// Where a tile puts its sums, and the largest of each row if anybody asks.
struct Sink<'a> {
    out: &'a mut [f32],
    /// Raised to the row's sums, column by column modulo 16; empty if nobody asks.
    largest: &'a mut [Largest],
}

/// `out = end(start + a b)` for `a` `(n, inner)`, `b` `(inner, columns)` and `out` `(n, columns)`.
pub(crate) fn multiply(a: &Panels, b: &Panels, start: Start<'_>, end: End<'_>, out: Out<'_>) {
    multiply_into(a, b, start, end, out, &mut []);
}

/// `out = start + a b`, and the largest numbers of each row while they are at hand; NaN does not count.
pub(crate) fn multiply_largest(a: &Panels, b: &Panels, start: Start<'_>, out: &mut Panels, largest: &mut [Largest]) {
    assert_eq!(largest.len(), a.rows);
    largest.fill([f32::NEG_INFINITY; LANES]);
    multiply_into(a, b, start, End::Keep, Out::Panels(out), largest);
}

fn multiply_into(a: &Panels, b: &Panels, start: Start<'_>, end: End<'_>, out: Out<'_>, largest: &mut [Largest]) {
    assert_eq!(a.columns, b.rows);
    let (rows, columns) = (a.rows, b.columns);
    if let End::Where(same) | End::Times(same) = end {
        assert!((same.rows, same.columns) == (rows, columns) && matches!(out, Out::Panels(_)));
    }
    let (out, in_panels) = match out {
        Out::Panels(panels) => {
            panels.reshape(rows, columns);
            (&mut panels.data[..], true)
        }
        Out::Rows(out) => {
            assert_eq!(out.len(), rows * columns);
            (out, false)
        }
    };
    let mut sink = Sink { out, largest };
    for first in (0..columns).step_by(PANEL) {
        let (corner, stride) = if in_panels { (rows * first, filled(columns - first)) } else { (first, columns) };
        let left = Left { a, transposed: false };
        Part { left, row: 0..rows, b, first, corner, stride, start, end }.run(&mut sink);
    }
}

/// `out = start + a^T b` for `a` `(inner, width)`, of which only the columns `chosen` count, and `b` `(inner, columns)`; `out` is
/// row-major `(chosen.len(), columns)`. `chosen` starts at a multiple of 64.
///
/// `inner` should be about 128, so that a panel of `b` stays in the first level of the cache.
pub(crate) fn multiply_transposed(a: &Panels, chosen: Range<usize>, b: &Panels, start: Start<'_>, out: &mut [f32]) {
    assert!(a.rows == b.rows && chosen.end <= a.columns && chosen.start.is_multiple_of(PANEL));
    assert_eq!(out.len(), chosen.len() * b.columns);
    let mut sink = Sink { out, largest: &mut [] };
    for first in (0..b.columns).step_by(PANEL) {
        for row in chosen.clone().step_by(PANEL) {
            let corner = (row - chosen.start) * b.columns + first;
            let rows = row..chosen.end.min(row + PANEL);
            let left = Left { a, transposed: true };
            Part { left, row: rows, b, first, corner, stride: b.columns, start, end: End::Keep }.run(&mut sink);
        }
    }
}

/// One panel of columns of a product; the lengths fit.
struct Part<'a> {
    left: Left<'a>,
    /// Rows of the left side; of its transpose, of one panel.
    row: Range<usize>,
    b: &'a Panels,
    /// First column of the panel of `b`.
    first: usize,
    /// Where the result of the first row and column goes, and how far the rows lie apart there.
    corner: usize,
    stride: usize,
    start: Start<'a>,
    end: End<'a>,
}

impl Part<'_> {
    /// Columns of this panel.
    fn width(&self) -> usize {
        PANEL.min(self.b.columns - self.first)
    }

    #[allow(unsafe_code)]
    fn run(&self, sink: &mut Sink<'_>) {
        if let Start::Bias(bias) = self.start {
            assert_eq!(bias.len(), self.b.columns);
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was just detected; all shapes were checked by the callers and above.
            return unsafe { wide512::panel(self, sink) };
        }
        portable::panel(self, sink);
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
        (3, 2, 4),
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

    fn packed(b: &[f32], columns: usize) -> Panels {
        let mut panels = Panels::default();
        panels.pack(b, columns);
        panels
    }

    fn unpacked(panels: &Panels) -> Vec<f32> {
        let mut out = vec![0.0; panels.rows() * panels.columns()];
        panels.unpack_with(&mut out, |v| v);
        out
    }

    #[test]
    fn packing_keeps_every_number() {
        let mut draw = draws("panels");
        for (n, _, m) in SIZES {
            let b = draw(n * m);
            assert_eq!(unpacked(&packed(&b, m)), b);
            let mut turned = Panels::default();
            turned.pack_transposed(&transposed(&b, n, m), m);
            assert_eq!(unpacked(&turned), b);
        }
    }

    #[test]
    fn products_agree_with_sums_in_f64_for_every_remainder() {
        let mut draw = draws("gemm");
        for (n, inner, m) in SIZES {
            let (a, b, bias, same) = (draw(n * inner), draw(inner * m), draw(m), draw(n * m));
            let expected = sums(|i, k| a[i * inner + k], &b, n, inner, m);
            let (left, right, factors) = (packed(&a, inner), packed(&b, m), packed(&same, m));
            for start in [Start::Zero, Start::Bias(&bias), Start::Sum] {
                for end in [End::Keep, End::Relu, End::Where(&factors), End::Times(&factors)] {
                    let before = draw(n * m);
                    let (mut rows, mut panels) = (before.clone(), packed(&before, m));
                    multiply(&left, &right, start, end, Out::Panels(&mut panels));
                    let got = unpacked(&panels);
                    if matches!(end, End::Keep | End::Relu) {
                        multiply(&left, &right, start, end, Out::Rows(&mut rows));
                        assert_eq!(rows, got);
                    }
                    for (at, got) in got.into_iter().enumerate() {
                        let first = match start {
                            Start::Zero => 0.0,
                            Start::Bias(bias) => f64::from(bias[at % m]),
                            Start::Sum => before[at].into(),
                        };
                        let (sum, size) = (first + expected[at].0, first.abs() + expected[at].1);
                        let factor = f64::from(same[at]);
                        let sum = match end {
                            End::Keep => sum,
                            End::Relu => sum.max(0.0),
                            End::Where(_) => sum * f64::from(factor > 0.0),
                            End::Times(_) => sum * factor,
                        };
                        close(got, sum, size * factor.abs().max(1.0), &format!("({n}, {inner}, {m}) at {at}"));
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_of_each_row_comes_with_the_product() {
        let mut draw = draws("gemm largest");
        for (n, inner, m) in SIZES {
            // All sums are negative: what fills up the panels must not count.
            let (a, b, bias) = (packed(&draw(n * inner), inner), packed(&draw(inner * m), m), vec![-1e4; m]);
            let (mut out, mut plain) = (Panels::default(), Panels::default());
            let mut largest = vec![[0.0; LANES]; n];
            multiply_largest(&a, &b, Start::Bias(&bias), &mut out, &mut largest);
            let rows = unpacked(&out);
            let expected: Vec<f32> =
                rows.chunks_exact(m).map(|row| row.iter().copied().fold(f32::MIN, f32::max)).collect();
            let most = |lanes: &Largest| lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest.iter().map(most).collect::<Vec<_>>(), expected, "({n}, {inner}, {m})");
            plain.reshape(n, m);
            let mut again = vec![[f32::NEG_INFINITY; LANES]; n];
            for first in (0..m).step_by(PANEL) {
                let left = Left { a: &a, transposed: false };
                let (corner, stride, start) = (n * first, filled(m - first), Start::Bias(&bias));
                let part = Part { left, row: 0..n, b: &b, first, corner, stride, start, end: End::Keep };
                portable::panel(&part, &mut Sink { out: &mut plain.data, largest: &mut again });
            }
            for (lanes, most_of_row) in again.iter().zip(&expected) {
                close(most(lanes), f64::from(*most_of_row), 1e4, "portable");
            }
        }
    }

    #[test]
    fn transposed_products_agree_with_sums_in_f64_for_every_remainder() {
        let mut draw = draws("gemm transposed");
        for (width, inner, m) in SIZES {
            let (a, b) = (draw(inner * width), draw(inner * m));
            for chosen in [0..width, 0..width / 2, width / PANEL * PANEL..width] {
                let expected = sums(|i, k| a[k * width + chosen.start + i], &b, chosen.len(), inner, m);
                for start in [Start::Zero, Start::Sum] {
                    let before = draw(chosen.len() * m);
                    let mut out = before.clone();
                    multiply_transposed(&packed(&a, width), chosen.clone(), &packed(&b, m), start, &mut out);
                    for (at, got) in out.into_iter().enumerate() {
                        let first = if matches!(start, Start::Sum) { f64::from(before[at]) } else { 0.0 };
                        let (sum, size) = (first + expected[at].0, first.abs() + expected[at].1);
                        close(got, sum, size, &format!("({width}, {inner}, {m}), {chosen:?} at {at}"));
                    }
                }
            }
        }
    }

    #[test]
    fn the_bits_of_a_row_do_not_depend_on_the_other_rows() {
        let mut draw = draws("gemm rows");
        let (a, b, bias) = (draw(29 * 40), packed(&draw(40 * 77), 77), draw(77));
        let (mut whole, mut one) = (vec![0.0; 29 * 77], vec![0.0; 77]);
        multiply(&packed(&a, 40), &b, Start::Bias(&bias), End::Keep, Out::Rows(&mut whole));
        for i in 0..29 {
            let row = packed(&a[i * 40..(i + 1) * 40], 40);
            multiply(&row, &b, Start::Bias(&bias), End::Keep, Out::Rows(&mut one));
            assert_eq!(one, whole[i * 77..(i + 1) * 77]);
        }
    }

    #[test]
    fn the_portable_tiles_agree_with_the_wide_ones() {
        let mut draw = draws("gemm portable");
        for (n, inner, m) in SIZES {
            let (a, b, bias) = (packed(&draw(n * inner), inner), packed(&draw(inner * m), m), draw(m));
            let same = packed(&draw(n * m), m);
            for (start, end) in [(Start::Bias(&bias), End::Where(&same)), (Start::Sum, End::Times(&same))] {
                let before = packed(&draw(n * m), m);
                let (mut wide, mut plain) = (before.clone(), before);
                multiply(&a, &b, start, end, Out::Panels(&mut wide));
                for first in (0..m).step_by(PANEL) {
                    let left = Left { a: &a, transposed: false };
                    let (corner, stride) = (n * first, filled(m - first));
                    let part = Part { left, row: 0..n, b: &b, first, corner, stride, start, end };
                    portable::panel(&part, &mut Sink { out: &mut plain.data, largest: &mut [] });
                }
                for (at, (a, b)) in unpacked(&wide).into_iter().zip(unpacked(&plain)).enumerate() {
                    close(a, b.into(), inner as f64, &format!("({n}, {inner}, {m}) at {at}"));
                }
            }
        }
    }
}
