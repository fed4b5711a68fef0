//! Transposes in AVX-512 registers.

use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use crate::gemm::LANES;

/// Writes the transpose of 16 by 16 numbers whose rows lie `stride` apart to rows that lie `out_stride` apart.
///
/// # Safety
/// AVX-512F.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(from: &[f32], stride: usize, out: &mut [f32], out_stride: usize) {
    let side = LANES - 1;
    assert!(from.len() >= side * stride + LANES && out.len() >= side * out_stride + LANES);
    // SAFETY: 16 rows of 16 numbers are within both slices, as just checked.
    unsafe {
        let lines = std::array::from_fn(|i| _mm512_loadu_si512(from.as_ptr().add(i * stride).cast()));
        for (i, line) in transposed(lines).into_iter().enumerate() {
            _mm512_storeu_si512(out.as_mut_ptr().add(i * out_stride).cast(), line);
        }
    }
}

/// The transpose of 16 by 16 words of 32 bits: pairs, then fours within quarters of the registers, then quarters.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transposed(lines: [__m512i; LANES]) -> [__m512i; LANES] {
    let mut twos = lines;
    for i in (0..LANES).step_by(2) {
        twos[i] = _mm512_unpacklo_epi32(lines[i], lines[i + 1]);
        twos[i + 1] = _mm512_unpackhi_epi32(lines[i], lines[i + 1]);
    }
    // Register `4 g + c` holds, in each quarter q, column `4 q + c` of rows `4 g` to `4 g + 3`.
    let mut fours = twos;
    for g in (0..LANES).step_by(4) {
        fours[g] = _mm512_unpacklo_epi64(twos[g], twos[g + 2]);
        fours[g + 1] = _mm512_unpackhi_epi64(twos[g], twos[g + 2]);
        fours[g + 2] = _mm512_unpacklo_epi64(twos[g + 1], twos[g + 3]);
        fours[g + 3] = _mm512_unpackhi_epi64(twos[g + 1], twos[g + 3]);
    }
    let mut out = fours;
    for c in 0..4 {
        let [first, second, third, fourth] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
        let (even, odd) = (_mm512_shuffle_i32x4::<0x88>(first, second), _mm512_shuffle_i32x4::<0xdd>(first, second));
        let (even_below, odd_below) =
            (_mm512_shuffle_i32x4::<0x88>(third, fourth), _mm512_shuffle_i32x4::<0xdd>(third, fourth));
        out[c] = _mm512_shuffle_i32x4::<0x88>(even, even_below);
        out[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd, odd_below);
        out[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even, even_below);
        out[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_below);
    }
    out
}
