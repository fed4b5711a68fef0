//! `a b + bias` for row-major `f32` matrices with a narrow right side: the layers of a tower and the scores of a search.
//!
//! A tile of the result stays in registers while the inner dimension runs: it starts from the bias and is stored once, so
//! neither the bias nor ReLU takes a pass over memory. The right side is read where it lies; its panel of 64 columns stays in
//! the first two levels of the cache.

use crate::linalg::multiply_rows;

/// `out = max(a b + bias, floor)` for row-major `a` `(n, inner)`, `b` `(inner, m)`, `bias` `(m,)`, on the calling thread.
///
/// NaN stays NaN. The bits of a row do not depend on the other rows. Without AVX-512 it is a general product between two passes.
#[allow(unsafe_code)]
pub(crate) fn affine_rows(a: &[f32], b: &[f32], bias: &[f32], floor: f32, out: &mut [f32]) {
    let m = bias.len();
    let (inner, n) = (b.len() / m, out.len() / m);
    assert!(b.len() == inner * m && a.len() == n * inner && out.len() == n * m);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        let mut first = 0;
        while first < m {
            let part = x86::Part { a, b, bias, floor, inner, m, n, first };
            // SAFETY: the feature was just detected; the lengths were checked above, and each arm's columns are below `m`.
            first += unsafe {
                match m - first {
                    64.. => part.columns::<4, 6>(out),
                    32.. => part.columns::<2, 12>(out),
                    _ => part.columns::<1, 12>(out),
                }
            };
        }
        return;
    }
    for row in out.chunks_exact_mut(m) {
        row.copy_from_slice(bias);
    }
    multiply_rows(a, b, inner, out);
    if floor > f32::NEG_INFINITY {
        out.iter_mut().for_each(|v| *v = if *v < floor { floor } else { *v });
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, __mmask16, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
        _mm512_max_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    /// Columns of a product from `first` on; the lengths fit the shapes.
    pub(super) struct Part<'a> {
        pub(super) a: &'a [f32],
        pub(super) b: &'a [f32],
        pub(super) bias: &'a [f32],
        pub(super) floor: f32,
        pub(super) inner: usize,
        pub(super) m: usize,
        pub(super) n: usize,
        pub(super) first: usize,
    }

    #[allow(unsafe_code)]
    impl Part<'_> {
        /// `16 V` columns (with `V = 1`, those that are left), mostly in tiles of `R` rows. Returns the number of columns.
        ///
        /// # Safety
        /// AVX-512F; the lengths of the slices fit the shapes; with `V > 1`, `first + 16 V <= m`.
        #[target_feature(enable = "avx512f")]
        pub(super) unsafe fn columns<const V: usize, const R: usize>(&self, out: &mut [f32]) -> usize {
            let width = (16 * V).min(self.m - self.first);
            // Masked loads and stores cost a tenth of the speed: only the last columns pay for them.
            let mask: Option<__mmask16> = (width < 16).then(|| (1 << width) - 1);
            let mut row = 0;
            while row < self.n {
                // SAFETY: each arm's rows are below `n`; the rest is this function's own contract.
                row += unsafe {
                    match (self.n - row, mask) {
                        (left, None) if left >= R => self.tile::<V, R, false>(row, !0, out),
                        (4.., None) => self.tile::<V, 4, false>(row, !0, out),
                        (_, None) => self.tile::<V, 1, false>(row, !0, out),
                        (left, Some(mask)) if left >= R => self.tile::<V, R, true>(row, mask, out),
                        (_, Some(mask)) => self.tile::<V, 1, true>(row, mask, out),
                    }
                };
            }
            width
        }

        /// `R` rows from `row` on. `V R <= 24` sums leave registers for `V` vectors of `b` and one number of `a`.
        ///
        /// # Safety
        /// As [`Part::columns`]; `row + R <= n`; unless `MASKED`, `first + 16 V <= m`; else `V = 1` and `mask` has bits for
        /// columns below `m` only.
        #[target_feature(enable = "avx512f")]
        unsafe fn tile<const V: usize, const R: usize, const MASKED: bool>(
            &self,
            row: usize,
            mask: __mmask16,
            out: &mut [f32],
        ) -> usize {
            let load = |at: *const f32| -> __m512 {
                // SAFETY: by the contract the 16 numbers, or those under the mask, lie within one of the slices.
                unsafe { if MASKED { _mm512_maskz_loadu_ps(mask, at) } else { _mm512_loadu_ps(at) } }
            };
            let (m, inner) = (self.m, self.inner);
            let mut sums = [[_mm512_setzero_ps(); V]; R];
            // SAFETY: rows from `row` to `row + R`, columns from `first` on, and `k < inner` are within the shapes.
            unsafe {
                let (a, b) = (self.a.as_ptr().add(row * inner), self.b.as_ptr().add(self.first));
                for v in 0..V {
                    let start = load(self.bias.as_ptr().add(self.first + 16 * v));
                    sums.iter_mut().for_each(|sums| sums[v] = start);
                }
                for k in 0..inner {
                    let mut right = [_mm512_setzero_ps(); V];
                    for v in 0..V {
                        right[v] = load(b.add(k * m + 16 * v));
                    }
                    for r in 0..R {
                        let left = _mm512_set1_ps(*a.add(r * inner + k));
                        for v in 0..V {
                            sums[r][v] = _mm512_fmadd_ps(left, right[v], sums[r][v]);
                        }
                    }
                }
                let (floor, out) = (_mm512_set1_ps(self.floor), out.as_mut_ptr().add(row * m + self.first));
                for r in 0..R {
                    for v in 0..V {
                        let (at, value) = (out.add(r * m + 16 * v), _mm512_max_ps(floor, sums[r][v]));
                        if MASKED { _mm512_mask_storeu_ps(at, mask, value) } else { _mm512_storeu_ps(at, value) }
                    }
                }
            }
            R
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn agrees_with_sums_in_f64_for_every_remainder() {
        let mut stream = Seed(9).stream("affine");
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        for (n, inner, m) in
            [(1, 1, 1), (5, 3, 15), (6, 7, 16), (13, 4, 17), (17, 9, 47), (11, 5, 64), (25, 8, 131), (0, 2, 3)]
        {
            let (a, b, bias) = (draw(n * inner), draw(inner * m), draw(m));
            for floor in [f32::NEG_INFINITY, 0.0] {
                let mut out = vec![f32::NAN; n * m];
                affine_rows(&a, &b, &bias, floor, &mut out);
                for (at, value) in out.iter().enumerate() {
                    let (i, j) = (at / m, at % m);
                    let sum: f64 = (0..inner).map(|k| f64::from(a[i * inner + k]) * f64::from(b[k * m + j])).sum();
                    let expected = (sum + f64::from(bias[j])).max(floor.into());
                    assert!(
                        (f64::from(*value) - expected).abs() < 1e-5,
                        "({n}, {inner}, {m}) at {i}, {j}: {value}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_bits_of_a_row_do_not_depend_on_the_other_rows() {
        let mut stream = Seed(10).stream("affine");
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let (a, b, bias) = (draw(23 * 40), draw(40 * 77), draw(77));
        let (mut whole, mut one) = (vec![0.0; 23 * 77], vec![0.0; 77]);
        affine_rows(&a, &b, &bias, f32::NEG_INFINITY, &mut whole);
        for i in 0..23 {
            affine_rows(&a[i * 40..(i + 1) * 40], &b, &bias, f32::NEG_INFINITY, &mut one);
            assert_eq!(one, whole[i * 77..(i + 1) * 77]);
        }
    }
}
