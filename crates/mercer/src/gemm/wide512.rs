//! Tiles in AVX-512 registers.

use std::arch::x86_64::{
    __m512, __mmask16, _CMP_GT_OQ, _MM_HINT_T0, _mm_prefetch, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};
use std::hint::black_box;

use crate::gemm::peak::timed;
use crate::gemm::{End, LANES, Part, Start, filled};

/// Rows of the right side that are asked for ahead: the next ones come from the second level of the cache.
const AHEAD: usize = 16;

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
    let mut row = part.row.start;
    while row < part.row.end {
        // SAFETY: each arm's rows are below the end.
        row += unsafe {
            match part.row.end - row {
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
/// As [`rows`]; `row + R` is at most the end of the part's rows.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn tile<const V: usize, const R: usize>(part: &Part<'_>, row: usize, out: &mut [f32]) -> usize {
    let masks: [__mmask16; V] = std::array::from_fn(|v| match part.width() - LANES * v {
        LANES.. => !0,
        left => (1 << left) - 1,
    });
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: the rows and, under the masks, the columns of this tile are within the result, the bias and what has the
    // result's shape.
    unsafe {
        let corner = part.corner + (row - part.row.start) * part.stride;
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
                        sums[r][v] = _mm512_maskz_loadu_ps(masks[v], to.add(r * part.stride + LANES * v));
                    }
                }
            }
        }
        let sums = accumulate::<V, R>(part, row, sums);
        for r in 0..R {
            for v in 0..V {
                let at = r * part.stride + LANES * v;
                let value = match part.end {
                    End::Keep => sums[r][v],
                    End::Relu => _mm512_max_ps(_mm512_setzero_ps(), sums[r][v]),
                    End::Where(same) => {
                        let same = _mm512_maskz_loadu_ps(masks[v], same.data.as_ptr().add(corner + at));
                        _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(same, _mm512_setzero_ps()), sums[r][v])
                    }
                    End::Times(same) => {
                        _mm512_mul_ps(sums[r][v], _mm512_maskz_loadu_ps(masks[v], same.data.as_ptr().add(corner + at)))
                    }
                };
                _mm512_mask_storeu_ps(to.add(at), masks[v], value);
            }
        }
    }
    R
}

/// The sums with the products along the inner dimension. They come and go by value: behind a reference, and also in one function
/// with the loops at both ends, the compiler keeps them in memory (measured, half the speed).
///
/// # Safety
/// As [`tile`].
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn accumulate<const V: usize, const R: usize>(
    part: &Part<'_>,
    row: usize,
    mut sums: [[__m512; V]; R],
) -> [[__m512; V]; R] {
    // SAFETY: the stretches of the rows from `row` to `row + R` and the panel's rows are within the two sides; what is asked
    // for ahead need not be.
    unsafe {
        let mut right = part.b.data.as_ptr().add(part.b.rows * part.first);
        let mut k = 0;
        while k < part.b.rows {
            let stretch = part.left.stretch(row, k);
            let mut left = part.left.a.data.as_ptr().add(stretch.first);
            for _ in 0..stretch.count {
                let mut vectors = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    vectors[v] = _mm512_loadu_ps(right.add(LANES * v));
                    _mm_prefetch::<_MM_HINT_T0>(right.wrapping_add(LANES * (v + AHEAD * V)).cast());
                }
                for r in 0..R {
                    let number = _mm512_set1_ps(*left.add(r * stretch.row));
                    for v in 0..V {
                        sums[r][v] = _mm512_fmadd_ps(number, vectors[v], sums[r][v]);
                    }
                }
                left = left.wrapping_add(stretch.step);
                right = right.add(LANES * V);
            }
            k += stretch.count;
        }
    }
    sums
}

/// Operations a second of multiply-adds in registers, in units of 1e9. AVX-512F must be there.
#[allow(unsafe_code)]
pub(super) fn peak(rounds: usize) -> f64 {
    #[target_feature(enable = "avx512f")]
    fn multiply_adds(rounds: usize) -> f64 {
        const SUMS: usize = 24;
        let (factor, term) = black_box((_mm512_set1_ps(0.999), _mm512_set1_ps(0.5)));
        let mut sums = [_mm512_set1_ps(1.0); SUMS];
        for _ in 0..rounds {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, factor, term));
        }
        black_box(sums);
        (2 * LANES * SUMS * rounds) as f64
    }
    assert!(is_x86_feature_detected!("avx512f"));
    // SAFETY: the feature was just detected.
    timed(|| unsafe { multiply_adds(rounds) })
}
