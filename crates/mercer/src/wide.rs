//! Elementwise functions at the machine's vector width (AVX-512, AVX2 with FMA, or whatever the target has).
//!
//! Each function is ordinary scalar code over a slice, compiled once per instruction set and chosen at run time; the
//! compiler vectorises the loops. Accuracy: a few units in the last place of the result's range.

use std::f64::consts::LOG2_E;

/// Declares `fn name(args)` that runs `body::<FMA>(args)` compiled for the widest instruction set at hand.
macro_rules! wide {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        #[allow(unsafe_code)]
        pub(crate) fn $name($($arg: $ty),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
                fn wide512($($arg: $ty),*) $(-> $result)? {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn wide256($($arg: $ty),*) $(-> $result)? {
                    $body::<true>($($arg),*)
                }
                let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                if fma
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                {
                    // SAFETY: every feature that `wide512` enables was just detected.
                    return unsafe { wide512($($arg),*) };
                }
                if fma {
                    // SAFETY: every feature that `wide256` enables was just detected.
                    return unsafe { wide256($($arg),*) };
                }
            }
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(crate) use wide;

/// `a * b + c`, fused where the machine does that in one instruction.
#[inline(always)]
fn fma<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn fma32<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

// Adding and subtracting 1.5 * 2^52 rounds to an integer in every instruction set; its low bit is the parity.
const ROUND: f64 = 6_755_399_441_055_744.0;
const ROUND32: f32 = 12_582_912.0;

// pi in three parts; the first two have trailing zeros, so that k * PI_1 and k * PI_2 are exact for |k| < 2^20.
const PI_1: f64 = 3.141_592_653_468_251_2;
const PI_2: f64 = 1.215_420_101_260_793_2e-10;
const PI_3: f64 = 4.044_532_497_591_901e-21;

/// `sin(r + shift * pi)` building block: reduces `x - shift * pi` to `[-pi/2, pi/2]`, then Taylor to order 19
/// (remainder below 3e-16). `shift` is 0 for sine; cosine is `sin(x + pi/2)`, reduced with half-integer multiples.
#[inline(always)]
fn sine_at<const FMA: bool>(x: f64, half: f64) -> f64 {
    let rounded = fma::<FMA>(x, std::f64::consts::FRAC_1_PI, half) + ROUND;
    let parity = rounded.to_bits() << 63;
    let k = (rounded - ROUND) - half;
    let r = fma::<FMA>(k, -PI_3, fma::<FMA>(k, -PI_2, fma::<FMA>(k, -PI_1, x)));
    let r2 = r * r;
    let mut p = -1.0 / 121_645_100_408_832_000.0;
    for c in [
        1.0 / 355_687_428_096_000.0,
        -1.0 / 1_307_674_368_000.0,
        1.0 / 6_227_020_800.0,
        -1.0 / 39_916_800.0,
        1.0 / 362_880.0,
        -1.0 / 5_040.0,
        1.0 / 120.0,
        -1.0 / 6.0,
    ] {
        p = fma::<FMA>(p, r2, c);
    }
    f64::from_bits(fma::<FMA>(p * r2, r, r).to_bits() ^ parity)
}

#[inline(always)]
pub(crate) fn sin<const FMA: bool>(x: f64) -> f64 {
    sine_at::<FMA>(x, 0.0)
}

#[inline(always)]
pub(crate) fn cos<const FMA: bool>(x: f64) -> f64 {
    sine_at::<FMA>(x, 0.5)
}

// ln 2 in two parts; the first has trailing zeros, so that k * LN_2_HIGH is exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
const LN2_HIGH_32: f32 = 0.693_115_25;
const LN2_LOW_32: f32 = 3.194_618_6e-5;

/// `e^x` for `|x| <= 708`, clamped outside.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f64) -> f64 {
    let x = x.clamp(-708.0, 708.0);
    let rounded = fma::<FMA>(x, LOG2_E, ROUND);
    let k = rounded - ROUND;
    let r = fma::<FMA>(k, -LN_2_LOW, fma::<FMA>(k, -LN_2_HIGH, x));
    let mut p = 1.0 / 6_227_020_800.0;
    for c in [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = fma::<FMA>(p, r, c);
    }
    let power = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
    p * power
}

// sqrt(1/2), from which on a mantissa counts as one of the next power of two, and the exponent's field of 1.
const HALF_ROOT: u64 = 0x3fe6_a09e_0000_0000;
const EXPONENT_OF_1: u64 = 0x3ff0_0000_0000_0000;
const MANTISSA: u64 = (1 << 52) - 1;
const TWO_52: f64 = 4_503_599_627_370_496.0;

/// `ln u` for a positive normal `u`, minus infinity where it is not positive; `x` is `u - 1` before rounding.
///
/// `ln(1 + f) = 2 (s + s^3 / 3 + ...)` with `s = f / (2 + f)`, the polynomial of fdlibm's `log`. Away from 1 the rounding of `u`
/// is small beside the logarithm.
#[inline(always)]
fn ln_from<const FMA: bool>(u: f64, x: f64) -> f64 {
    let shifted = u.to_bits().wrapping_add(EXPONENT_OF_1 - HALF_ROOT);
    // An integer below 2^52, or'ed into the bits of 2^52, is added to it.
    let k = f64::from_bits((shifted >> 52) | TWO_52.to_bits()) - (TWO_52 + 1023.0);
    let mantissa = f64::from_bits((shifted & MANTISSA) + HALF_ROOT);
    let f = if k == 0.0 { x } else { mantissa - 1.0 };
    let (s, half) = (f / (2.0 + f), 0.5 * f * f);
    let z = s * s;
    let mut p = 1.479_819_860_511_658_6e-1;
    for c in [
        1.531_383_769_920_937_3e-1,
        1.818_357_216_161_805e-1,
        2.222_219_843_214_978_4e-1,
        2.857_142_874_366_239e-1,
        3.999_999_999_940_942e-1,
        6.666_666_666_666_735e-1,
    ] {
        p = fma::<FMA>(p, z, c);
    }
    let low = fma::<FMA>(k, LN_2_LOW, s * fma::<FMA>(p, z, half));
    let value = fma::<FMA>(k, LN_2_HIGH, f - (half - low));
    if u > 0.0 { value } else { f64::NEG_INFINITY }
}

/// `ln x` for positive normal `x`; minus infinity for 0 and below. Relative error a few units in the last place.
#[inline(always)]
pub(crate) fn ln<const FMA: bool>(x: f64) -> f64 {
    ln_from::<FMA>(x, x - 1.0)
}

/// `ln(1 + x)` for `x > -1`, precise near 0; minus infinity for smaller `x`.
#[inline(always)]
pub(crate) fn ln_1p<const FMA: bool>(x: f64) -> f64 {
    ln_from::<FMA>(1.0 + x, x)
}

/// `tanh(x)`, absolute error a few 1e-16.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f64) -> f64 {
    let e = exp::<FMA>(2.0 * x.clamp(-20.0, 20.0));
    (e - 1.0) / (e + 1.0)
}

/// `e^x` in `f32` for `|x| <= 87`, clamped outside; relative error below 3e-7.
#[inline(always)]
pub(crate) fn exp32<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 87.0);
    let rounded = fma32::<FMA>(x, std::f32::consts::LOG2_E, ROUND32);
    let k = rounded - ROUND32;
    let r = fma32::<FMA>(k, -LN2_LOW_32, fma32::<FMA>(k, -LN2_HIGH_32, x));
    let mut p = 1.0 / 5_040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma32::<FMA>(p, r, c);
    }
    p * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
}

const PI32_1: f32 = 3.140_625;
const PI32_2: f32 = 9.675_026e-4;
const PI32_3: f32 = 1.509_957_9e-7;

#[inline(always)]
fn sine32_at<const FMA: bool>(x: f32, half: f32) -> f32 {
    let rounded = fma32::<FMA>(x, std::f32::consts::FRAC_1_PI, half) + ROUND32;
    let parity = rounded.to_bits() << 31;
    let k = (rounded - ROUND32) - half;
    let r = fma32::<FMA>(k, -PI32_3, fma32::<FMA>(k, -PI32_2, fma32::<FMA>(k, -PI32_1, x)));
    let r2 = r * r;
    let mut p = 1.0 / 6_227_020_800.0;
    for c in [-1.0 / 39_916_800.0, 1.0 / 362_880.0, -1.0 / 5_040.0, 1.0 / 120.0, -1.0 / 6.0] {
        p = fma32::<FMA>(p, r2, c);
    }
    f32::from_bits(fma32::<FMA>(p * r2, r, r).to_bits() ^ parity)
}

#[inline(always)]
pub(crate) fn sin32<const FMA: bool>(x: f32) -> f32 {
    sine32_at::<FMA>(x, 0.0)
}

#[inline(always)]
pub(crate) fn cos32<const FMA: bool>(x: f32) -> f32 {
    sine32_at::<FMA>(x, 0.5)
}

/// `tanh(x)` in `f32`, absolute error below 3e-7; through `e^(2x)` with a degree-6 polynomial for the fraction.
#[inline(always)]
pub(crate) fn tanh32<const FMA: bool>(x: f32) -> f32 {
    let y = 2.0 * x.clamp(-10.0, 10.0);
    let rounded = fma32::<FMA>(y, std::f32::consts::LOG2_E, ROUND32);
    let k = rounded - ROUND32;
    let r = fma32::<FMA>(k, -LN2_LOW_32, fma32::<FMA>(k, -LN2_HIGH_32, y));
    let mut p = 1.0 / 5_040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma32::<FMA>(p, r, c);
    }
    let e = p * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    (e - 1.0) / (e + 1.0)
}

/// Partial sums of an inner product: enough to fill the widest registers and to hide the latency of an addition.
const LANES: usize = 32;

#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f64 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a.zip(b) {
        for i in 0..LANES {
            sums[i] = fma::<FMA>(x[i], y[i], sums[i]);
        }
    }
    sums.iter().sum::<f64>() + tail
}
wide!(
    /// Inner product of two slices of one length.
    fn dot(a: &[f64], b: &[f64]) -> f64 = dot_body
);

#[inline(always)]
fn add_scaled_body<const FMA: bool>(out: &mut [f64], factor: f64, values: &[f64]) {
    for (o, v) in out.iter_mut().zip(values) {
        *o = fma::<FMA>(factor, *v, *o);
    }
}
wide!(
    /// `out += factor * values`.
    fn add_scaled(out: &mut [f64], factor: f64, values: &[f64]) = add_scaled_body
);

#[inline(always)]
fn add_scaled32_body<const FMA: bool>(out: &mut [f32], factor: f32, values: &[f32]) {
    for (o, v) in out.iter_mut().zip(values) {
        *o = fma32::<FMA>(factor, *v, *o);
    }
}
wide!(
    /// `out += factor * values`, in `f32`.
    fn add_scaled32(out: &mut [f32], factor: f32, values: &[f32]) = add_scaled32_body
);

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(range: f64, own: impl Fn(f64) -> f64, reference: impl Fn(f64) -> f64) -> f64 {
        (-20_000..=20_000)
            .map(|i| f64::from(i) * range / 20_000.0)
            .map(|x| (own(x) - reference(x)).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn f64_functions_agree_with_the_standard_library() {
        for (name, error) in [
            ("sin", worst(1000.0, sin::<false>, f64::sin)),
            ("sin fused", worst(1000.0, sin::<true>, f64::sin)),
            ("cos", worst(1000.0, cos::<false>, f64::cos)),
            ("cos fused", worst(1000.0, cos::<true>, f64::cos)),
            ("tanh", worst(30.0, tanh::<true>, f64::tanh)),
            ("exp", worst(700.0, |x| exp::<true>(x) / x.exp(), |_| 1.0)),
            ("ln", worst(700.0, |x| ln::<true>(x.exp()) / x.exp().ln(), |_| 1.0)),
            ("ln unfused", worst(0.999, |x| ln::<false>(1.0 + x), |x| (1.0 + x).ln())),
            ("ln of 1 + x", worst(1.0, |x| ln_1p::<true>(x * x * x * 0.9) / (x * x * x * 0.9).ln_1p(), |_| 1.0)),
        ] {
            assert!(error < 2e-15, "{name}: {error:e}");
        }
    }

    #[test]
    fn f32_functions_agree_with_the_standard_library() {
        for (name, error) in [
            ("sin", worst(100.0, |x| sin32::<true>(x as f32).into(), |x| f64::from(x as f32).sin())),
            ("sin unfused", worst(100.0, |x| sin32::<false>(x as f32).into(), |x| f64::from(x as f32).sin())),
            ("cos", worst(100.0, |x| cos32::<true>(x as f32).into(), |x| f64::from(x as f32).cos())),
            ("tanh", worst(12.0, |x| tanh32::<true>(x as f32).into(), |x| f64::from(x as f32).tanh())),
            ("exp", worst(87.0, |x| f64::from(exp32::<true>(x as f32)) / f64::from(x as f32).exp(), |_| 1.0)),
            ("exp unfused", worst(87.0, |x| f64::from(exp32::<false>(x as f32)) / f64::from(x as f32).exp(), |_| 1.0)),
        ] {
            assert!(error < 4e-7, "{name}: {error:e}");
        }
    }
}
