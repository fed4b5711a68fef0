//! Tiles in AVX-512 registers.

use std::arch::x86_64::{
    __m512, __mmask16, _CMP_GT_OQ, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
};

use crate::gemm::{End, LANES, Part, Start, filled};

/// All rows of one panel's columns.
///
/// # Safety
/// AVX-512F; the lengths of all slices fit the shapes.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn panel(part: &Part<'_>, out: &mut [f32]) {
    // SAFETY: as this function's own contract; `filled(width)` is `16 V`.
    unsafe {
        match filled(part.width()) / LANES {
            1 => rows::<1, 12>(part, out),
            2 => rows::<2, 12>(part, out),
            3 => rows::<3, 8>(part, out),
            _ => rows::<4, 6>(part, out),
        }
    }
}

/// All rows, most of them in tiles of `R`.
///
/// # Safety
/// As [`panel`]; the panel has `16 V` columns.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn rows<const V: usize, const R: usize>(part: &Part<'_>, out: &mut [f32]) {
    let mut row = 0;
    while row < part.n {
        // SAFETY: each arm's rows are below `n`.
        row += unsafe {
            match part.n - row {
                left if left >= R => tile::<V, R>(part, row, out),
                6.. => tile::<V, 6>(part, row, out),
                4.. => tile::<V, 4>(part, row, out),
                2.. => tile::<V, 2>(part, row, out),
                _ => tile::<V, 1>(part, row, out),
            }
        };
    }
}

/// `R` rows from `row` on. `V R <= 24` sums leave registers for `V` vectors of the panel and one number of the left side.
///
/// # Safety
/// As [`rows`]; `row + R <= n`.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn tile<const V: usize, const R: usize>(part: &Part<'_>, row: usize, out: &mut [f32]) -> usize {
    let masks: [__mmask16; V] = std::array::from_fn(|v| match part.width() - LANES * v {
        LANES.. => !0,
        left => (1 << left) - 1,
    });
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: rows from `row` to `row + R`, columns under the masks from `first` on, and `k < inner` are within the shapes.
    unsafe {
        let corner = row * part.columns + part.first;
        let to = out.as_mut_ptr().add(corner);
        match part.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                for v in 0..V {
                    let value = _mm512_maskz_loadu_ps(masks[v], bias.as_ptr().add(part.first + LANES * v));
                    sums.iter_mut().for_each(|sums| sums[v] = value);
                }
            }
            Start::Sum => {
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = _mm512_maskz_loadu_ps(masks[v], to.add(r * part.columns + LANES * v));
                    }
                }
            }
        }
        accumulate::<V, R>(part, row, &mut sums);
        let apply = |value: __m512, mask: __mmask16, at: usize| -> __m512 {
            // (`at` under the mask is within the result's shape, which `same` has, too.)
            {
                match part.end {
                    End::Keep => value,
                    End::Relu => _mm512_max_ps(_mm512_setzero_ps(), value),
                    End::Where(same) => {
                        let same = _mm512_maskz_loadu_ps(mask, same.as_ptr().add(corner + at));
                        let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(same, _mm512_setzero_ps());
                        _mm512_maskz_mov_ps(positive, value)
                    }
                    End::Times(same) => {
                        _mm512_mul_ps(value, _mm512_maskz_loadu_ps(mask, same.as_ptr().add(corner + at)))
                    }
                }
            }
        };
        for r in 0..R {
            for v in 0..V {
                let at = r * part.columns + LANES * v;
                _mm512_mask_storeu_ps(to.add(at), masks[v], apply(sums[r][v], masks[v], at));
            }
        }
    }
    R
}

/// Adds the products along the inner dimension.
///
/// # Safety
/// As [`tile`].
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn accumulate<const V: usize, const R: usize>(part: &Part<'_>, row: usize, sums: &mut [[__m512; V]; R]) {
    let (stride, step) = (part.a.row, part.a.step);
    // SAFETY: `row + r < n` and `k < inner` are within the left side and the panel, by the contract.
    unsafe {
        let mut left = part.a.data.as_ptr().wrapping_add(row * stride);
        let mut right = part.panel.as_ptr();
        for _ in 0..part.inner {
            let mut vectors = [_mm512_setzero_ps(); V];
            for v in 0..V {
                vectors[v] = std::arch::x86_64::_mm512_loadu_ps(right.add(LANES * v));
            }
            for r in 0..R {
                let number = _mm512_set1_ps(*left.add(r * stride));
                for v in 0..V {
                    sums[r][v] = _mm512_fmadd_ps(number, vectors[v], sums[r][v]);
                }
            }
            left = left.wrapping_add(step);
            right = right.add(LANES * V);
        }
    }
}
