//! The inner loop of a full tile, six rows of 64 columns.
//!
//! Written out, as no compiler's choice of registers is then between it and the processor's peak: 24 multiply-adds a step take
//! 12 cycles; four vectors, six numbers and the four lines of the panel that are asked for ahead (they come from the second
//! level of the cache) take seven cycles of the two load units at their side.

use std::arch::asm;
use std::arch::x86_64::__m512;

use crate::gemm::Stretch;

/// Four multiply-adds: a number of the left side times a row of the panel.
#[rustfmt::skip]
macro_rules! row {
    ($row:literal, $number:literal, $from:literal) => {
        concat!(
            "vbroadcastss {", $number, "}, dword ptr [", $from, "]\n",
            "vfmadd231ps {s", $row, "0}, {", $number, "}, {v0}\n",
            "vfmadd231ps {s", $row, "1}, {", $number, "}, {v1}\n",
            "vfmadd231ps {s", $row, "2}, {", $number, "}, {v2}\n",
            "vfmadd231ps {s", $row, "3}, {", $number, "}, {v3}\n",
        )
    };
}

/// One step of the inner dimension, with the row of the panel that lies `$at` bytes ahead.
#[rustfmt::skip]
macro_rules! step {
    ($at:literal) => {
        concat!(
            "vmovups {v0}, [{right} + ", $at, "]\n",
            "vmovups {v1}, [{right} + ", $at, " + 64]\n",
            "vmovups {v2}, [{right} + ", $at, " + 128]\n",
            "vmovups {v3}, [{right} + ", $at, " + 192]\n",
            row!(0, "n0", "{left}"),
            "prefetcht0 [{right} + ", $at, " + 4096]\n",
            row!(1, "n1", "{left} + {row}"),
            "prefetcht0 [{right} + ", $at, " + 4160]\n",
            row!(2, "n0", "{left} + 2 * {row}"),
            "prefetcht0 [{right} + ", $at, " + 4224]\n",
            row!(3, "n1", "{fourth}"),
            "prefetcht0 [{right} + ", $at, " + 4288]\n",
            row!(4, "n0", "{left} + 4 * {row}"),
            row!(5, "n1", "{fourth} + 2 * {row}"),
            "add {left}, {step}\n",
            "add {fourth}, {step}",
        )
    };
}

/// The sums with the products of one stretch.
///
/// # Safety
/// AVX-512F; the stretch, not empty, of six rows from `left` on, and as many rows of 64 numbers from `right` on, can be read.
#[allow(unsafe_code)]
#[inline]
#[rustfmt::skip]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn stretch(
    left: *const f32, stretch: &Stretch, right: *const f32, mut sums: [[__m512; 4]; 6],
) -> [[__m512; 4]; 6] {
    // SAFETY: the loop reads what the contract allows; what is asked for ahead need not exist.
    unsafe {
        asm!(
            "cmp {count}, 4",
            "jb 3f",
            "2:",
            step!(0),
            step!(256),
            step!(512),
            step!(768),
            "add {right}, 1024",
            "sub {count}, 4",
            "cmp {count}, 4",
            "jae 2b",
            "3:",
            "test {count}, {count}",
            "jz 5f",
            "4:",
            step!(0),
            "add {right}, 256",
            "dec {count}",
            "jnz 4b",
            "5:",
            left = inout(reg) left => _,
            fourth = inout(reg) left.wrapping_add(3 * stretch.row) => _,
            right = inout(reg) right => _,
            row = in(reg) size_of::<f32>() * stretch.row,
            step = in(reg) size_of::<f32>() * stretch.step,
            count = inout(reg) stretch.count => _,
            v0 = out(zmm_reg) _, v1 = out(zmm_reg) _, v2 = out(zmm_reg) _, v3 = out(zmm_reg) _,
            n0 = out(zmm_reg) _, n1 = out(zmm_reg) _,
            s00 = inout(zmm_reg) sums[0][0], s01 = inout(zmm_reg) sums[0][1],
            s02 = inout(zmm_reg) sums[0][2], s03 = inout(zmm_reg) sums[0][3],
            s10 = inout(zmm_reg) sums[1][0], s11 = inout(zmm_reg) sums[1][1],
            s12 = inout(zmm_reg) sums[1][2], s13 = inout(zmm_reg) sums[1][3],
            s20 = inout(zmm_reg) sums[2][0], s21 = inout(zmm_reg) sums[2][1],
            s22 = inout(zmm_reg) sums[2][2], s23 = inout(zmm_reg) sums[2][3],
            s30 = inout(zmm_reg) sums[3][0], s31 = inout(zmm_reg) sums[3][1],
            s32 = inout(zmm_reg) sums[3][2], s33 = inout(zmm_reg) sums[3][3],
            s40 = inout(zmm_reg) sums[4][0], s41 = inout(zmm_reg) sums[4][1],
            s42 = inout(zmm_reg) sums[4][2], s43 = inout(zmm_reg) sums[4][3],
            s50 = inout(zmm_reg) sums[5][0], s51 = inout(zmm_reg) sums[5][1],
            s52 = inout(zmm_reg) sums[5][2], s53 = inout(zmm_reg) sums[5][3],
            options(nostack, readonly),
        );
    }
    sums
}
