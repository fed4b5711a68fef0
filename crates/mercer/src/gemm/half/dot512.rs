//! bf16 in AVX-512 registers: rounding, rearranging, and inner products of pairs.

use std::arch::x86_64::{
    __cpuid, __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_load_ps, _mm512_load_si512,
    _mm512_loadu_si512, _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_store_ps, _mm512_store_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use crate::gemm::half::{SIDE, STRIP, Square, Tile, Tiles};

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

/// As [`crate::gemm::half::by_rows`].
#[allow(unsafe_code)]
pub(super) fn by_rows(square: &Square) -> [Tile; 2] {
    assert!(available());
    let mut tiles = [Tile::ZERO; 2];
    // SAFETY: the features are there.
    unsafe { round_rows(square, &mut tiles) };
    tiles
}

#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round_rows(square: &Square, tiles: &mut [Tile; 2]) {
    for row in 0..SIDE {
        // SAFETY: square and tiles are aligned to 64 bytes and have 32 rows of 128 and of 64 bytes.
        unsafe {
            let from = square.0.as_ptr().add(row * SIDE);
            let rounded = _mm512_cvtne2ps_pbh(_mm512_load_ps(from.add(STRIP)), _mm512_load_ps(from));
            let to = tiles[row / STRIP].0.as_mut_ptr().add(row % STRIP * SIDE);
            _mm512_store_si512(to.cast(), bits(rounded));
        }
    }
}

/// As [`crate::gemm::half::by_pairs`].
#[allow(unsafe_code)]
pub(super) fn by_pairs(square: &Square) -> [Tile; 2] {
    assert!(available());
    let mut tiles = [Tile::ZERO; 2];
    // SAFETY: the features are there.
    unsafe { round_pairs(square, &mut tiles) };
    tiles
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

#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round_pairs(square: &Square, tiles: &mut [Tile; 2]) {
    for pair in 0..STRIP {
        for half in 0..2 {
            // SAFETY: square and tiles are aligned to 64 bytes and have 32 rows of 128 and of 64 bytes.
            unsafe {
                let lanes = _mm512_loadu_si512(INTERLEAVED.as_ptr().cast());
                let even = square.0.as_ptr().add(2 * pair * SIDE + half * STRIP);
                let rounded = _mm512_cvtne2ps_pbh(_mm512_load_ps(even.add(SIDE)), _mm512_load_ps(even));
                let to = tiles[half].0.as_mut_ptr().add(pair * SIDE);
                _mm512_store_si512(to.cast(), _mm512_permutexvar_epi16(lanes, bits(rounded)));
            }
        }
    }
}

/// As [`crate::gemm::half::turned`].
#[allow(unsafe_code)]
pub(super) fn turned(tile: &Tile) -> Tile {
    assert!(available());
    let mut out = Tile::ZERO;
    // SAFETY: the features are there.
    unsafe { transpose(tile, &mut out) };
    out
}

/// A transpose of 16 by 16 pairs: pairs, then fours within quarters of the registers, then quarters.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn transpose(tile: &Tile, out: &mut Tile) {
    let mut rows = [_mm512_setzero_si512(); STRIP];
    for i in 0..STRIP {
        // SAFETY: a tile is aligned to 64 bytes and has 16 rows of 64 bytes.
        rows[i] = unsafe { _mm512_load_si512(tile.0.as_ptr().add(i * SIDE).cast()) };
    }
    let mut twos = rows;
    for i in (0..STRIP).step_by(2) {
        twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    // Register `4 g + c` holds, in each quarter q, column `4 q + c` of rows `4 g` to `4 g + 3`.
    let mut fours = twos;
    for g in (0..STRIP).step_by(4) {
        fours[g] = _mm512_unpacklo_epi64(twos[g], twos[g + 2]);
        fours[g + 1] = _mm512_unpackhi_epi64(twos[g], twos[g + 2]);
        fours[g + 2] = _mm512_unpacklo_epi64(twos[g + 1], twos[g + 3]);
        fours[g + 3] = _mm512_unpackhi_epi64(twos[g + 1], twos[g + 3]);
    }
    for c in 0..4 {
        let [a, b, c_, d] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
        let (low_ab, high_ab) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (low_cd, high_cd) = (_mm512_shuffle_i32x4::<0x88>(c_, d), _mm512_shuffle_i32x4::<0xdd>(c_, d));
        let columns = [
            _mm512_shuffle_i32x4::<0x88>(low_ab, low_cd),
            _mm512_shuffle_i32x4::<0x88>(high_ab, high_cd),
            _mm512_shuffle_i32x4::<0xdd>(low_ab, low_cd),
            _mm512_shuffle_i32x4::<0xdd>(high_ab, high_cd),
        ];
        for (q, column) in columns.into_iter().enumerate() {
            // SAFETY: as above; column `4 q + c` is below 16.
            unsafe { _mm512_store_si512(out.0.as_mut_ptr().add((4 * q + c) * SIDE).cast(), column) };
        }
    }
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
