//! Derivatives of activations, pointwise and bounded on the whole line.

use std::sync::OnceLock;

use crate::tower::Activation;

/// Orders of derivatives, 0 included, that are known of every activation.
pub(crate) const ORDERS: usize = 14;

/// Whether derivatives of every order are known and bounded on the whole line.
pub(crate) fn is_known(activation: Activation) -> bool {
    !matches!(activation, Activation::Exp | Activation::Power(_))
}

/// Whether the second derivative vanishes but for kinks.
pub(crate) fn is_piecewise_linear(activation: Activation) -> bool {
    matches!(activation, Activation::Relu | Activation::Identity)
}

/// The derivatives of order 0, 2, 4, ... at `z`, as many as `out` holds (at most 7).
pub(crate) fn even_derivatives(activation: Activation, z: f64, out: &mut [f64]) {
    let wave = |value: f64, out: &mut [f64]| {
        out.iter_mut().enumerate().for_each(|(k, out)| *out = if k % 2 == 0 { value } else { -value });
    };
    match activation {
        Activation::Sine => wave(z.sin(), out),
        Activation::Cosine => wave(z.cos(), out),
        Activation::Relu | Activation::Identity => {
            out.fill(0.0);
            out[0] = if activation == Activation::Relu { z.max(0.0) } else { z };
        }
        // Unknown ones are refused before (`is_known`).
        Activation::Gelu | Activation::Tanh | Activation::Exp | Activation::Power(_) => {
            let all = taylor_derivatives(activation, z);
            out.iter_mut().zip(all.iter().step_by(2)).for_each(|(out, value)| *out = *value);
        }
    }
}

/// All derivatives at `z` of tanh or the tanh form of GELU, by power series.
///
/// With `t = tanh(g)`, `v = 1 - t^2`: `t' = v g'`, which gives each Taylor coefficient of `t` from those before it.
fn taylor_derivatives(activation: Activation, z: f64) -> [f64; ORDERS] {
    const SLOPE: f64 = 0.797_884_560_802_865_4; // sqrt(2 / pi)
    const CUBE: f64 = 0.044_715;
    let (g, inner) = match activation {
        Activation::Gelu => {
            let inner = [SLOPE * (1.0 + 3.0 * CUBE * z * z), 6.0 * SLOPE * CUBE * z, 3.0 * SLOPE * CUBE];
            (SLOPE * (z + CUBE * z * z * z), inner)
        }
        _ => (z, [1.0, 0.0, 0.0]),
    };
    let (mut t, mut v) = ([0.0; ORDERS], [0.0; ORDERS]);
    (t[0], v[0]) = (g.tanh(), g.cosh().recip().powi(2));
    for k in 1..ORDERS {
        let sum: f64 = (0..k.min(3)).map(|i| inner[i] * v[k - 1 - i]).sum();
        t[k] = sum / k as f64;
        v[k] = -(0..=k).map(|i| t[i] * t[k - i]).sum::<f64>();
    }
    let coefficient = |k: usize| match activation {
        Activation::Gelu => {
            let before = if k == 0 { 0.0 } else { t[k - 1] + f64::from(u8::from(k == 1)) };
            0.5 * (z * (t[k] + f64::from(u8::from(k == 0))) + before)
        }
        _ => t[k],
    };
    let mut factorial = 1.0;
    std::array::from_fn(|k| {
        factorial *= k.max(1) as f64;
        coefficient(k) * factorial
    })
}

/// `sup |activation^(n)|` over the line, `n` from 1 to 13.
pub(crate) fn supremum(activation: Activation, n: usize) -> f64 {
    match activation {
        Activation::Sine | Activation::Cosine => 1.0,
        Activation::Relu | Activation::Identity => f64::from(u8::from(n == 1)),
        Activation::Tanh => {
            static TANH: OnceLock<[f64; ORDERS]> = OnceLock::new();
            TANH.get_or_init(|| suprema(Activation::Tanh))[n]
        }
        Activation::Exp | Activation::Power(_) => f64::INFINITY,
        Activation::Gelu => {
            static GELU: OnceLock<[f64; ORDERS]> = OnceLock::new();
            GELU.get_or_init(|| suprema(Activation::Gelu))[n]
        }
    }
}

/// Suprema over the line, 1 % above the largest value at multiples of 0.002.
///
/// At an extremum the slope vanishes, so that between nodes a step `h` apart the value grows by at most `h^2 / 8`
/// times the second next derivative: less than 1e-4 of it, as those grow by less than 200 from one order to the
/// second next. Beyond `|z| = 12` all derivatives but the first fall like `exp(-2 |z|)` or faster, and there they are
/// below 1e-3 of their suprema.
fn suprema(activation: Activation) -> [f64; ORDERS] {
    let mut largest = [0.0f64; ORDERS];
    for i in -6000..=6000 {
        let here = taylor_derivatives(activation, f64::from(i) * 0.002);
        largest.iter_mut().zip(here).for_each(|(largest, here)| *largest = largest.max(here.abs()));
    }
    largest.map(|value| 1.01 * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_those_of_the_one_before() {
        let h = 1e-4;
        for activation in [Activation::Gelu, Activation::Tanh] {
            let (mut value, mut slope) = ([0.0], [0.0]);
            for i in -50..=50 {
                let z = f64::from(i) * 0.1 + 0.03;
                let (below, here, above) = (
                    taylor_derivatives(activation, z - h),
                    taylor_derivatives(activation, z),
                    taylor_derivatives(activation, z + h),
                );
                (value[0], slope[0]) = (0.0, z);
                activation.value_and_slope(&mut slope, &mut value);
                assert!((value[0] - here[0]).abs() < 1e-14 && (slope[0] - here[1]).abs() < 1e-13, "{activation:?} {z}");
                for n in 0..ORDERS - 3 {
                    let difference = (above[n] - below[n]) / (2.0 * h);
                    let allowed = 1e-5 * supremum(activation, n + 1).max(supremum(activation, n + 3));
                    assert!((difference - here[n + 1]).abs() < allowed, "{activation:?} order {n} at {z}");
                }
            }
        }
    }

    #[test]
    fn suprema_are_those_known_and_grow_as_the_allowance_needs() {
        // tanh: 1, 4 / (3 sqrt 3), 2; between nodes nothing larger.
        for (n, known) in [(1, 1.0), (2, 4.0 / 27f64.sqrt()), (3, 2.0)] {
            assert!((supremum(Activation::Tanh, n) / known - 1.01).abs() < 1e-4);
        }
        for activation in [Activation::Gelu, Activation::Tanh] {
            for n in 1..ORDERS - 2 {
                assert!(supremum(activation, n + 2) < 200.0 * supremum(activation, n), "{activation:?} {n}");
            }
            for i in 0..20_000 {
                let z = -13.0 + f64::from(i) * 0.0013;
                let here = taylor_derivatives(activation, z);
                (1..ORDERS)
                    .for_each(|n| assert!(here[n].abs() <= supremum(activation, n), "{activation:?} {n} at {z}"));
            }
        }
    }
}
