//! bf16 in AVX-512 registers: rounding, rearranging, and inner products of pairs.

use std::arch::x86_64::{
    __cpuid, __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_load_ps, _mm512_load_si512,
    _mm512_loadu_si512, _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_store_ps, _mm512_store_si512,
};
use std::hint::black_box;

use crate::gemm::half::{As, SIDE, STRIP, Square, Tile, Tiles};
use crate::gemm::peak::timed;
use crate::gemm::transpose512::transposed;

/// Whether the processor has what this file uses.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512f")
}

/// Whether inner products of pairs are as many a cycle as `f32` multiply-adds: on AMD's processors.
pub(super) fn at_full_speed() -> bool {
    #[allow(unused_unsafe)] // newer compilers take this instruction as safe
    #[allow(unsafe_code)]
    // SAFETY: every 64-bit x86 processor has the instruction.
    let leaf = unsafe { __cpuid(0) };
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}

/// As [`crate::gemm::half::round`].
#[allow(unsafe_code)]
pub(super) fn round(square: &Square, form: As, tiles: [&mut Tile; 2]) {
    assert!(available());
    // SAFETY: the features are there.
    unsafe { round_wide(square, form, tiles) };
}

#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round_wide(square: &Square, form: As, tiles: [&mut Tile; 2]) {
    for (half, tile) in tiles.into_iter().enumerate() {
        let lines = match form {
            As::Left => rows(square, half),
            As::Right => row_pairs(square, half),
            As::LeftTransposed => transposed(row_pairs(square, half)),
            As::RightTransposed => transposed(rows(square, half)),
        };
        for (i, line) in lines.into_iter().enumerate() {
            // SAFETY: a tile is aligned to 64 bytes and has 16 rows of 64 bytes.
            unsafe { _mm512_store_si512(tile.0.as_mut_ptr().add(i * SIDE).cast(), line) };
        }
    }
}

/// 16 rows from row `16 half` on.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rows(square: &Square, half: usize) -> [__m512i; STRIP] {
    let mut lines = [_mm512_setzero_si512(); STRIP];
    for (i, line) in lines.iter_mut().enumerate() {
        // SAFETY: a square is aligned to 64 bytes and has 32 rows of 128 bytes.
        unsafe {
            let from = square.0.as_ptr().add((half * STRIP + i) * SIDE);
            *line = bits(_mm512_cvtne2ps_pbh(_mm512_load_ps(from.add(STRIP)), _mm512_load_ps(from)));
        }
    }
    lines
}

/// Lane `2 j` takes number `j` of the even row, lane `2 j + 1` that of the odd one.
static INTERLEAVED: [u16; SIDE] = {
    let (mut lanes, mut j) = ([0; SIDE], 0);
    while j < STRIP {
        (lanes[2 * j], lanes[2 * j + 1]) = (j as u16, (STRIP + j) as u16);
        j += 1;
    }
    lanes
};

/// 16 pairs of rows, 16 columns from column `16 half` on.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn row_pairs(square: &Square, half: usize) -> [__m512i; STRIP] {
    let mut lines = [_mm512_setzero_si512(); STRIP];
    for (pair, line) in lines.iter_mut().enumerate() {
        // SAFETY: a square is aligned to 64 bytes and has 32 rows of 128 bytes.
        unsafe {
            let lanes = _mm512_loadu_si512(INTERLEAVED.as_ptr().cast());
            let even = square.0.as_ptr().add(2 * pair * SIDE + half * STRIP);
            let rounded = _mm512_cvtne2ps_pbh(_mm512_load_ps(even.add(SIDE)), _mm512_load_ps(even));
            *line = _mm512_permutexvar_epi16(lanes, bits(rounded));
        }
    }
    lines
}

/// `out = sum over the parts` of a block.
#[allow(unsafe_code)]
pub(super) fn block(parts: &[(&Tiles, &Tiles)], row: usize, column: usize, out: &mut Square) {
    assert!(available());
    for half in 0..2 {
        for quarter in 0..2 {
            // SAFETY: the features are there; eight rows from `8 quarter` on are within a tile.
            unsafe {
                rows8(parts, 2 * row + half, 8 * quarter, column, &mut out.0[(16 * half + 8 * quarter) * SIDE..])
            };
        }
    }
}

/// Eight rows of a block from row `first` of the left strip on: 16 sums in registers.
///
/// # Safety
/// The features; `first + 8 <= 16`; `out` has 8 rows of 32 and is aligned to 64 bytes.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn rows8(parts: &[(&Tiles, &Tiles)], strip: usize, first: usize, column: usize, out: &mut [f32]) {
    let mut sums: [[__m512; 2]; 8] = [[_mm512_setzero_ps(); 2]; 8];
    for (a, b) in parts {
        let right = b.strip(2 * column).iter().zip(b.strip(2 * column + 1));
        for (left, right) in a.strip(strip).iter().zip(right) {
            for pair in 0..STRIP {
                // SAFETY: tiles are aligned to 64 bytes and have 16 rows of 16 pairs of four bytes.
                unsafe {
                    let load = |tile: &Tile| pairs(_mm512_load_si512(tile.0.as_ptr().add(pair * SIDE).cast()));
                    let right = [load(right.0), load(right.1)];
                    for r in 0..8 {
                        let at = left.0.as_ptr().cast::<i32>().add((first + r) * STRIP + pair);
                        let left = pairs(_mm512_set1_epi32(*at));
                        sums[r][0] = _mm512_dpbf16_ps(sums[r][0], left, right[0]);
                        sums[r][1] = _mm512_dpbf16_ps(sums[r][1], left, right[1]);
                    }
                }
            }
        }
    }
    for r in 0..8 {
        for half in 0..2 {
            // SAFETY: by the contract.
            unsafe { _mm512_store_ps(out.as_mut_ptr().add(r * SIDE + half * STRIP), sums[r][half]) };
        }
    }
}

#[allow(unsafe_code)]
fn bits(numbers: __m512bh) -> __m512i {
    // SAFETY: both are 64 bytes without meaning beyond them.
    unsafe { std::mem::transmute(numbers) }
}

#[allow(unsafe_code)]
fn pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes without meaning beyond them.
    unsafe { std::mem::transmute(bits) }
}

/// Operations a second of inner products of pairs in registers, in units of 1e9.
#[allow(unsafe_code)]
pub(super) fn peak(rounds: usize) -> f64 {
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn products(rounds: usize) -> f64 {
        const SUMS: usize = 24;
        // 1.0 and 0.0, so that the sums stay what they are.
        let (one, zero) = black_box((pairs(_mm512_set1_epi32(0x3f80_3f80)), pairs(_mm512_setzero_si512())));
        let mut sums = [_mm512_setzero_ps(); SUMS];
        for _ in 0..rounds {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpbf16_ps(*sum, one, zero));
        }
        black_box(sums);
        (2 * 2 * STRIP * SUMS * rounds) as f64
    }
    assert!(available());
    // SAFETY: the features are there.
    timed(|| unsafe { products(rounds) })
}
