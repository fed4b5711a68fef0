//! The scores above a bar, packed together.

macro_rules! collect {
    ($name:ident, $type:ident, $wide:ident) => {
        /// Writes the scores that are not at most `bar` to the start of `kept`, in order; returns their number.
        #[allow(unsafe_code)]
        pub(super) fn $name(scores: &[$type], bar: $type, kept: &mut [$type]) -> usize {
            assert!(kept.len() >= scores.len() + SLACK);
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("popcnt") {
                // SAFETY: the features were just detected, the length was just checked.
                return unsafe { x86::$wide(scores, bar, kept) };
            }
            portable(scores, bar, kept)
        }
    };
}

/// Numbers that may be written behind the last one kept.
pub(super) const SLACK: usize = 16;

collect!(collect32, f32, collect32);
collect!(collect64, f64, collect64);

/// Every score is written, and overwritten by the next where it is not kept: no branch to guess.
fn portable<T: Copy + PartialOrd>(scores: &[T], bar: T, kept: &mut [T]) -> usize {
    let mut count = 0;
    for &score in scores {
        kept[count] = score;
        // NaN is kept: it must not vanish.
        #[allow(clippy::neg_cmp_op_on_partial_ord)]
        let keep = !(score <= bar);
        count += usize::from(keep);
    }
    count
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _CMP_NLE_UQ, _mm512_cmp_pd_mask, _mm512_cmp_ps_mask, _mm512_loadu_pd, _mm512_loadu_ps, _mm512_mask_cmp_pd_mask,
        _mm512_mask_cmp_ps_mask, _mm512_maskz_compress_pd, _mm512_maskz_compress_ps, _mm512_maskz_loadu_pd,
        _mm512_maskz_loadu_ps, _mm512_set1_pd, _mm512_set1_ps, _mm512_storeu_pd, _mm512_storeu_ps,
    };

    // Compressing into a register and storing all of it is many times as fast as compressing into memory on some machines.
    macro_rules! collect {
        ($name:ident, $type:ident, $lanes:expr, $mask:ident, $set:ident, $load:ident, $part:ident, $above:ident,
         $above_part:ident, $compress:ident, $store:ident) => {
            /// # Safety
            /// AVX-512F and POPCNT; `kept` is longer than `scores` by a register.
            #[allow(unsafe_code)]
            #[target_feature(enable = "avx512f,popcnt")]
            pub(super) unsafe fn $name(scores: &[$type], bar: $type, kept: &mut [$type]) -> usize {
                let (bar, to) = ($set(bar), kept.as_mut_ptr());
                let mut count = 0;
                let (chunks, rest) = scores.as_chunks::<$lanes>();
                for chunk in chunks {
                    // SAFETY: a whole chunk is read; `count` is at most what was read before, so a register fits.
                    unsafe {
                        let values = $load(chunk.as_ptr());
                        let above = $above::<_CMP_NLE_UQ>(values, bar);
                        $store(to.add(count), $compress(above, values));
                        count += above.count_ones() as usize;
                    }
                }
                if !rest.is_empty() {
                    let part: $mask = (1 << rest.len()) - 1;
                    // SAFETY: only what lies under the mask is read; the rest as above.
                    unsafe {
                        let values = $part(part, rest.as_ptr());
                        let above = $above_part::<_CMP_NLE_UQ>(part, values, bar);
                        $store(to.add(count), $compress(above, values));
                        count += above.count_ones() as usize;
                    }
                }
                count
            }
        };
    }

    collect!(
        collect32,
        f32,
        16,
        u16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_maskz_loadu_ps,
        _mm512_cmp_ps_mask,
        _mm512_mask_cmp_ps_mask,
        _mm512_maskz_compress_ps,
        _mm512_storeu_ps
    );
    collect!(
        collect64,
        f64,
        8,
        u8,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_maskz_loadu_pd,
        _mm512_cmp_pd_mask,
        _mm512_mask_cmp_pd_mask,
        _mm512_maskz_compress_pd,
        _mm512_storeu_pd
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn both_ways_keep_what_is_not_below_the_bar_in_order() {
        let mut stream = Seed(3).stream("collect");
        for n in [0, 1, 7, 8, 15, 16, 17, 64, 211] {
            let mut scores: Vec<f64> = (0..n).map(|_| f64::from(stream.normal() as f32)).collect();
            for (at, value) in [(5, f64::NAN), (6, f64::NEG_INFINITY), (9, 0.25)] {
                scores.iter_mut().skip(at).take(1).for_each(|s| *s = value);
            }
            for bar in [f64::NEG_INFINITY, 0.25, 9.0] {
                let expected: Vec<f64> = scores
                    .iter()
                    .copied()
                    .filter(|s| s.is_nan() || *s > bar)
                    .map(|s| if s.is_nan() { 99.0 } else { s })
                    .collect();
                let seen = |kept: &[f64]| kept.iter().map(|s| if s.is_nan() { 99.0 } else { *s }).collect::<Vec<f64>>();
                let mut kept = vec![0.0; n + SLACK];
                let count = collect64(&scores, bar, &mut kept);
                assert_eq!(seen(&kept[..count]), expected, "{n} numbers above {bar}");
                let count = portable(&scores, bar, &mut kept);
                assert_eq!(seen(&kept[..count]), expected, "{n} numbers above {bar}, portable");
                let narrow: Vec<f32> = scores.iter().map(|s| *s as f32).collect();
                let mut kept = vec![0.0; n + SLACK];
                let count = collect32(&narrow, bar as f32, &mut kept);
                let wide: Vec<f64> = kept[..count].iter().map(|s| f64::from(*s)).collect();
                assert_eq!(seen(&wide), expected, "{n} f32 above {bar}");
            }
        }
    }
}
