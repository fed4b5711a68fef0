//! Tiles in AVX-512 registers.

mod full;

use std::arch::x86_64::{
    __m512, __mmask16, _CMP_GT_OQ, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_max_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::hint::black_box;

use crate::gemm::peak::timed;
use crate::gemm::{End, LANES, PANEL, Part, Sink, Start, Stretch, filled};

/// All rows of one panel's columns.
///
/// # Safety
/// AVX-512F; the lengths of all slices fit the shapes.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn panel(part: &Part<'_>, sink: &mut Sink<'_>) {
    // SAFETY: as this function's own contract; `filled(width)` is `16 V`.
    unsafe {
        match filled(part.width()) / LANES {
            1 => rows::<1, 12>(part, sink),
            2 => rows::<2, 12>(part, sink),
            3 => rows::<3, 8>(part, sink),
            _ if part.width() == PANEL => whole_rows(part, sink),
            _ => rows::<4, 6>(part, sink),
        }
    }
}

/// All rows of 64 columns.
///
/// # Safety
/// As [`panel`]; the panel has 64 columns.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn whole_rows(part: &Part<'_>, sink: &mut Sink<'_>) {
    let mut row = part.row.start;
    while row < part.row.end {
        // SAFETY: each arm's rows are below the end; the tiles are as wide as the panel.
        row += unsafe {
            match part.row.end - row {
                6.. => tile::<4, 6, true>(part, row, sink),
                4.. => tile::<4, 4, true>(part, row, sink),
                2.. => tile::<4, 2, true>(part, row, sink),
                _ => tile::<4, 1, true>(part, row, sink),
            }
        };
    }
}

/// All rows, most of them in tiles of `R`.
///
/// # Safety
/// As [`panel`]; the panel has up to `16 V` columns.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn rows<const V: usize, const R: usize>(part: &Part<'_>, sink: &mut Sink<'_>) {
    let mut row = part.row.start;
    while row < part.row.end {
        // SAFETY: each arm's rows are below the end.
        row += unsafe {
            match part.row.end - row {
                left if left >= R => tile::<V, R, false>(part, row, sink),
                4.. => tile::<V, 4, false>(part, row, sink),
                _ => tile::<V, 1, false>(part, row, sink),
            }
        };
    }
}

type Sums<const V: usize, const R: usize> = [[__m512; V]; R];

/// `R` rows from `row` on. `V R <= 24` sums leave registers for `V` vectors of the panel and numbers of the left side.
///
/// # Safety
/// As [`rows`]; `row + R` is at most the end of the part's rows; if `WHOLE`, the panel has `16 V` columns.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn tile<const V: usize, const R: usize, const WHOLE: bool>(
    part: &Part<'_>,
    row: usize,
    sink: &mut Sink<'_>,
) -> usize {
    let masks: [__mmask16; V] = std::array::from_fn(|v| match part.width() - LANES * v {
        _ if WHOLE => !0,
        LANES.. => !0,
        left => (1 << left) - 1,
    });
    let corner = part.corner + (row - part.row.start) * part.stride;
    // SAFETY: the rows and, under the masks, the columns of this tile are within the result, the bias and what has the
    // result's shape.
    unsafe {
        let load = |at: *const f32, v: usize| match WHOLE {
            true => _mm512_loadu_ps(at.add(LANES * v)),
            false => _mm512_maskz_loadu_ps(masks[v], at.add(LANES * v)),
        };
        let to = sink.out.as_mut_ptr().add(corner);
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        match part.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                let bias: [__m512; V] = std::array::from_fn(|v| load(bias.as_ptr().add(part.first), v));
                sums = [bias; R];
            }
            Start::Sum => each(&mut sums, |r, v, _| load(to.add(r * part.stride), v)),
        }
        let mut sums = accumulate::<V, R>(part, row, sums);
        match part.end {
            End::Keep => {}
            End::Relu => each(&mut sums, |_, _, sum| _mm512_max_ps(_mm512_setzero_ps(), sum)),
            End::Where(same) => each(&mut sums, |r, v, sum| {
                let same = load(same.data.as_ptr().add(corner + r * part.stride), v);
                _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(same, _mm512_setzero_ps()), sum)
            }),
            End::Times(same) => each(&mut sums, |r, v, sum| {
                _mm512_mul_ps(sum, load(same.data.as_ptr().add(corner + r * part.stride), v))
            }),
        }
        if !sink.largest.is_empty() {
            for (largest, sums) in sink.largest[row..row + R].iter_mut().zip(&sums) {
                let mut most = _mm512_loadu_ps(largest.as_ptr());
                for v in 0..V {
                    // The first operand's NaN gives the second one.
                    most = _mm512_mask_max_ps(most, masks[v], sums[v], most);
                }
                _mm512_storeu_ps(largest.as_mut_ptr(), most);
            }
        }
        for r in 0..R {
            for v in 0..V {
                let at = to.add(r * part.stride + LANES * v);
                if WHOLE { _mm512_storeu_ps(at, sums[r][v]) } else { _mm512_mask_storeu_ps(at, masks[v], sums[r][v]) }
            }
        }
    }
    R
}

/// Replaces each sum by `f(row, vector, sum)`.
#[inline(always)]
fn each<const V: usize, const R: usize>(sums: &mut Sums<V, R>, f: impl Fn(usize, usize, __m512) -> __m512) {
    for r in 0..R {
        for v in 0..V {
            sums[r][v] = f(r, v, sums[r][v]);
        }
    }
}

/// The sums with the products along the inner dimension. They come and go by value: behind a reference the compiler keeps
/// them in memory (measured, half the speed).
///
/// # Safety
/// As [`tile`].
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn accumulate<const V: usize, const R: usize>(part: &Part<'_>, row: usize, mut sums: Sums<V, R>) -> Sums<V, R> {
    // SAFETY: the stretches of the rows from `row` to `row + R` and the panel's rows are within the two sides.
    unsafe {
        let mut right = part.b.data.as_ptr().add(part.b.rows * part.first);
        let mut k = 0;
        while k < part.b.rows {
            let stretch = part.left.stretch(row, k);
            let left = part.left.a.data.as_ptr().add(stretch.first);
            sums = if (V, R) == (4, 6) {
                let six = full::stretch(left, &stretch, right, std::mem::transmute_copy(&sums));
                std::mem::transmute_copy(&six)
            } else {
                products(left, &stretch, right, sums)
            };
            right = right.add(LANES * V * stretch.count);
            k += stretch.count;
        }
    }
    sums
}

/// The sums with the products of one stretch.
///
/// # Safety
/// As [`tile`], for the stretch from `left` on and the rows of the panel from `right` on.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn products<const V: usize, const R: usize>(
    mut left: *const f32,
    stretch: &Stretch,
    mut right: *const f32,
    mut sums: Sums<V, R>,
) -> Sums<V, R> {
    for _ in 0..stretch.count {
        // SAFETY: by the contract; the last steps may lead beyond.
        unsafe {
            let vectors: [__m512; V] = std::array::from_fn(|v| _mm512_loadu_ps(right.add(LANES * v)));
            for r in 0..R {
                let number = _mm512_set1_ps(*left.add(r * stretch.row));
                for v in 0..V {
                    sums[r][v] = _mm512_fmadd_ps(number, vectors[v], sums[r][v]);
                }
            }
        }
        left = left.wrapping_add(stretch.step);
        right = right.wrapping_add(LANES * V);
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
