//! What a core reaches when nothing leaves its registers: the measure beside a benchmark's results.

use std::hint::black_box;
use std::time::Instant;

use crate::gemm::half::{self, Unit};
use crate::wide::wide;

/// Operations a second, in units of 1e9, of `f32` multiply-adds on the calling thread.
pub(crate) fn single() -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return crate::gemm::wide512::peak(ROUNDS);
    }
    timed(|| multiply_adds(black_box(0.999), black_box(0.5)) as f64)
}

/// The same of bf16 products with `f32` sums, by the fastest unit at hand; without one, of `f32`.
pub(crate) fn half() -> f64 {
    half::peak(Unit::best(), ROUNDS).unwrap_or_else(single)
}

/// Rounds of independent multiply-adds: some milliseconds.
const ROUNDS: usize = 400_000;

/// `work`, which returns its operations, by the clock.
pub(crate) fn timed(work: impl FnOnce() -> f64) -> f64 {
    let start = Instant::now();
    let operations = black_box(work());
    operations / start.elapsed().as_secs_f64() / 1e9
}

#[inline(always)]
fn multiply_adds_body<const FMA: bool>(factor: f32, term: f32) -> usize {
    // Independent sums: more than the latency of a multiply-add times the number of units, fewer than the registers.
    let mut sums = [[1.0f32; 8]; 12];
    for _ in 0..ROUNDS {
        for lane in sums.as_flattened_mut() {
            *lane = if FMA { lane.mul_add(factor, term) } else { *lane * factor + term };
        }
    }
    black_box(sums);
    2 * 8 * 12 * ROUNDS
}
wide!(fn multiply_adds(factor: f32, term: f32) -> usize = multiply_adds_body);

#[cfg(test)]
mod tests {
    #[test]
    fn peaks_are_numbers() {
        assert!(crate::gemm::peak::single() > 0.0 && crate::gemm::peak::half() > 0.0);
    }
}
