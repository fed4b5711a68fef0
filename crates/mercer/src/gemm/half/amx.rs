//! The matrix unit (AMX): eight registers of 16 rows of 64 bytes.
//!
//! Linux gives a process the unit when it asks; a refusal leaves the other ways.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use crate::gemm::half::{Square, Tile, Tiles};
use crate::gemm::peak::timed;

/// Whether the processor has the unit and the system lets this process use it.
pub(super) fn available() -> bool {
    static ASKED: OnceLock<bool> = OnceLock::new();
    *ASKED.get_or_init(|| has_unit() && permitted())
}

/// Bits 22 (bf16) and 24 (tiles) of the processor's seventh leaf.
fn has_unit() -> bool {
    #[allow(unused_unsafe)] // newer compilers take this instruction as safe
    #[allow(unsafe_code)]
    // SAFETY: every 64-bit x86 processor has the instruction; leaf 0 tells whether leaf 7 exists.
    let (most, edx) = unsafe { (__cpuid_count(0, 0).eax, __cpuid_count(7, 0).edx) };
    most >= 7 && edx & (1 << 22) != 0 && edx & (1 << 24) != 0
}

/// Asks the system for the state of the tiles (number 18), which is large and not given to everybody.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    let answer: i64;
    // SAFETY: the call takes two numbers, touches no memory of ours, and changes only what this process may use; the kernel
    // overwrites rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") 18i64,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// The shapes of the eight tiles, as the unit reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        (row_bytes[tile], rows[tile]) = (64, 16);
        tile += 1;
    }
    Shapes { palette: 1, start: 0, reserved: [0; 14], row_bytes, rows }
};

/// The unit, in use by this thread until dropped: what a thread leaves open costs every switch to and from it.
pub(super) struct Open(());

impl Open {
    #[allow(unsafe_code)]
    pub(super) fn new() -> Self {
        assert!(available());
        // SAFETY: the unit may be used; the shapes are valid: palette 1, full tiles.
        unsafe { asm!("ldtilecfg [{shapes}]", shapes = in(reg) &raw const SHAPES, options(nostack, readonly)) };
        Open(())
    }
}

impl Drop for Open {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the unit may be used, as this value exists.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// `out = sum over the parts` of a block; the unit is [`Open`].
#[allow(unsafe_code)]
pub(super) fn block(parts: &[(&Tiles, &Tiles)], row: usize, column: usize, out: &mut Square) {
    // SAFETY: the caller has the unit open; the registers are used by nothing else.
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
    }
    for (a, b) in parts {
        let (above, below) = (a.strip(2 * row), a.strip(2 * row + 1));
        let (left, right) = (b.strip(2 * column), b.strip(2 * column + 1));
        if above.is_empty() {
            continue;
        }
        assert!([below, left, right].iter().all(|s| s.len() == above.len()));
        // SAFETY: each strip has this many tiles of 1024 bytes, which the loop reads in order; it writes tiles only.
        unsafe {
            asm!(
                "2:",
                "tileloadd tmm4, [{a0} + {stride}]",
                "tileloadd tmm6, [{b0} + {stride}]",
                "tileloadd tmm5, [{a1} + {stride}]",
                "tileloadd tmm7, [{b1} + {stride}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 1024",
                "add {a1}, 1024",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {count}",
                "jnz 2b",
                a0 = inout(reg) above.as_ptr() => _,
                a1 = inout(reg) below.as_ptr() => _,
                b0 = inout(reg) left.as_ptr() => _,
                b1 = inout(reg) right.as_ptr() => _,
                count = inout(reg) above.len() => _,
                stride = in(reg) 64usize,
                options(nostack, readonly),
            );
        }
    }
    const { assert!(size_of::<Tile>() == 1024 && size_of::<Square>() == 4096) };
    // SAFETY: rows lie 128 bytes apart; the four quarters of 16 rows of 64 bytes fill the square.
    unsafe {
        let to = out.0.as_mut_ptr();
        asm!(
            "tilestored [{to} + {stride}], tmm0",
            "tilestored [{to} + {stride} + 64], tmm1",
            "tilestored [{to} + {stride} + 2048], tmm2",
            "tilestored [{to} + {stride} + 2112], tmm3",
            to = in(reg) to,
            stride = in(reg) 128usize,
            options(nostack),
        );
    }
}

/// Operations a second of products of tiles that are not loaded, in units of 1e9.
#[allow(unsafe_code)]
pub(super) fn peak(rounds: usize) -> f64 {
    let _open = Open::new();
    timed(|| {
        // SAFETY: the unit is open; the loop touches its registers only.
        unsafe {
            asm!(
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "dec {count}",
                "jnz 2b",
                count = inout(reg) rounds.max(1) => _,
                options(nostack, nomem),
            );
        }
        (rounds.max(1) * 4 * 2 * 16 * 16 * 32) as f64
    })
}
