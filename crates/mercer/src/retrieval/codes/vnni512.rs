//! Sums of codes in AVX-512 registers: 64 products of bytes an instruction.

use std::arch::x86_64::{
    __m512i, _mm512_cmpgt_epi32_mask, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_storeu_si512,
};

use crate::index::TILE;
use crate::retrieval::codes::{Found, LINES, Line, QueryCodes};

/// Whether the processor has what this file uses.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
}

/// As [`crate::retrieval::codes::above`].
#[allow(unsafe_code)]
pub(super) fn above(lines: &[Line], queries: &QueryCodes, rows: &[u32], bars: &[i32], found: &mut Vec<Found>) {
    assert!(available() && lines.len() == queries.steps * LINES);
    let mut place = 0;
    while place < rows.len() {
        // SAFETY: the features are there, the tile and each query have the queries' number of steps, and each arm's rows exist.
        place += unsafe {
            match rows.len() - place {
                6.. => group::<6>(lines, queries, rows, bars, place, found),
                4.. => group::<4>(lines, queries, rows, bars, place, found),
                2.. => group::<2>(lines, queries, rows, bars, place, found),
                _ => group::<1>(lines, queries, rows, bars, place, found),
            }
        };
    }
}

/// `R` queries from `place` on: `4 R` sums in registers. Returns their number.
///
/// # Safety
/// The features; the tile has the queries' number of steps; `place + R` is at most the number of rows and of bars.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn group<const R: usize>(
    lines: &[Line],
    queries: &QueryCodes,
    rows: &[u32],
    bars: &[i32],
    place: usize,
    found: &mut Vec<Found>,
) -> usize {
    let left: [*const i32; R] = std::array::from_fn(|r| queries.row(rows[place + r]).as_ptr());
    // SAFETY: by the contract.
    let sums = unsafe { products(lines, left) };
    for r in 0..R {
        let bar = _mm512_set1_epi32(bars[place + r]);
        let above: [u16; LINES] = std::array::from_fn(|v| _mm512_cmpgt_epi32_mask(sums[r][v], bar));
        let mut lanes = (0..LINES).fold(0, |lanes, v| lanes | u64::from(above[v]) << (16 * v));
        if lanes == 0 {
            continue;
        }
        let mut own = [0; TILE];
        for v in 0..LINES {
            // SAFETY: 64 numbers are four times 16.
            unsafe { _mm512_storeu_si512(own.as_mut_ptr().add(16 * v).cast(), sums[r][v]) };
        }
        while lanes != 0 {
            let lane = lanes.trailing_zeros();
            found.push(Found { place: (place + r) as u32, lane, sum: own[lane as usize] });
            lanes &= lanes - 1;
        }
    }
    R
}

/// The sums of `R` queries with 64 keys.
///
/// # Safety
/// The features; each query can be read for as many steps as the tile has.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn products<const R: usize>(lines: &[Line], left: [*const i32; R]) -> [[__m512i; LINES]; R] {
    let mut sums = [[_mm512_setzero_si512(); LINES]; R];
    for (step, lines) in lines.chunks_exact(LINES).enumerate() {
        // SAFETY: lines are aligned to 64 bytes; the rest is the contract.
        unsafe {
            let right: [__m512i; LINES] = std::array::from_fn(|v| _mm512_load_si512(lines[v].0.as_ptr().cast()));
            for r in 0..R {
                let four = _mm512_set1_epi32(*left[r].add(step));
                for v in 0..LINES {
                    sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], right[v], four);
                }
            }
        }
    }
    sums
}
