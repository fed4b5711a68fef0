//! Activations: value and slope, over whole slices at the machine's vector width.

use serde::{Deserialize, Serialize};

use crate::wide::{cos, cos32, exp, exp32, sin, sin32, tanh, tanh32, wide};

/// The elementwise nonlinearity of a [`Layer`](crate::Layer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// `z`
    Identity,
    /// `sin z`
    Sine,
    /// `cos z`
    Cosine,
    /// `max(z, 0)`
    Relu,
    /// `z / 2 (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3)))`, the tanh form of the Gaussian error linear unit.
    Gelu,
    /// `tanh z`
    Tanh,
    /// `e^z` for `|z| <= 87` (what `f32` holds), clamped outside.
    Exp,
    /// `z^p`
    Power(u32),
}

const GELU_SLOPE: f64 = 0.797_884_560_802_865_4; // sqrt(2 / pi)
const GELU_CUBE: f64 = 0.044_715;

impl Activation {
    /// Replaces each `z` by its activation, in `f32`.
    pub(crate) fn apply32(self, z: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Sine => sine32(z),
            Activation::Cosine => cosine32(z),
            Activation::Relu => relu32(z),
            Activation::Gelu => gelu32(z),
            Activation::Tanh => hyperbolic32(z),
            Activation::Exp => exponential32(z),
            Activation::Power(p) => power32(z, p),
        }
    }

    /// Replaces each `z` by its activation, in `f64`.
    pub(crate) fn apply(self, z: &mut [f64]) {
        match self {
            Activation::Identity => {}
            Activation::Sine => sine(z),
            Activation::Cosine => cosine(z),
            Activation::Relu => relu(z),
            Activation::Gelu => gelu(z),
            Activation::Tanh => hyperbolic(z),
            Activation::Exp => exponential(z),
            Activation::Power(p) => power(z, p),
        }
    }

    /// Writes the activation of each `z` to `value` and replaces `z` by the derivative there (0 at the kink of ReLU).
    pub(crate) fn value_and_slope(self, z: &mut [f64], value: &mut [f64]) {
        value.copy_from_slice(z);
        self.apply(value);
        match self {
            Activation::Identity => z.fill(1.0),
            Activation::Sine => cosine(z),
            Activation::Cosine => minus_sine(z),
            Activation::Relu => step(z),
            Activation::Gelu => gelu_slope(z),
            Activation::Tanh => hyperbolic_slope(z),
            Activation::Exp => exponential_slope(z),
            Activation::Power(0) => z.fill(0.0),
            Activation::Power(p) => {
                power(z, p - 1);
                z.iter_mut().for_each(|v| *v *= f64::from(p));
            }
        }
    }

    /// As [`Activation::value_and_slope`], in `f32`.
    pub(crate) fn value_and_slope32(self, z: &mut [f32], value: &mut [f32]) {
        value.copy_from_slice(z);
        self.apply32(value);
        match self {
            Activation::Identity => z.fill(1.0),
            Activation::Sine => cosine32(z),
            Activation::Cosine => minus_sine32(z),
            Activation::Relu => step32(z),
            Activation::Gelu => gelu_slope32(z),
            Activation::Tanh => hyperbolic_slope32(z),
            Activation::Exp => exponential_slope32(z),
            Activation::Power(0) => z.fill(0.0),
            Activation::Power(p) => {
                power32(z, p - 1);
                z.iter_mut().for_each(|v| *v *= p as f32);
            }
        }
    }
}

macro_rules! elementwise {
    ($name:ident, $body:ident, $type:ty, |$z:ident| $value:expr) => {
        #[inline(always)]
        fn $body<const FMA: bool>(values: &mut [$type]) {
            for value in values {
                let $z = *value;
                *value = $value;
            }
        }
        wide!(fn $name(values: &mut [$type]) = $body);
    };
}

elementwise!(sine, sine_body, f64, |z| sin::<FMA>(z));
elementwise!(cosine, cosine_body, f64, |z| cos::<FMA>(z));
elementwise!(minus_sine, minus_sine_body, f64, |z| -sin::<FMA>(z));
elementwise!(relu, relu_body, f64, |z| z.max(0.0));
elementwise!(step, step_body, f64, |z| if z > 0.0 { 1.0 } else { 0.0 });
elementwise!(hyperbolic, hyperbolic_body, f64, |z| tanh::<FMA>(z));
elementwise!(hyperbolic_slope, hyperbolic_slope_body, f64, |z| {
    let t = tanh::<FMA>(z);
    1.0 - t * t
});
elementwise!(gelu, gelu_body, f64, |z| 0.5 * z * (1.0 + tanh::<FMA>(GELU_SLOPE * (z + GELU_CUBE * z * z * z))));
elementwise!(gelu_slope, gelu_slope_body, f64, |z| {
    let t = tanh::<FMA>(GELU_SLOPE * (z + GELU_CUBE * z * z * z));
    0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * z * z)
});
// Both precisions stop where `f32` does, so that they agree.
elementwise!(exponential, exponential_body, f64, |z| exp::<FMA>(z.clamp(-87.0, 87.0)));
elementwise!(exponential_slope, exponential_slope_body, f64, |z| if z.abs() <= 87.0 { exp::<FMA>(z) } else { 0.0 });
elementwise!(exponential32, exponential32_body, f32, |z| exp32::<FMA>(z));

/// `z^p` by squaring, `p` the same for all.
macro_rules! powers {
    ($name:ident, $body:ident, $type:ty) => {
        #[inline(always)]
        fn $body<const FMA: bool>(values: &mut [$type], p: u32) {
            for value in values {
                let (mut square, mut left, mut product) = (*value, p, 1.0);
                while left > 0 {
                    if left & 1 == 1 {
                        product *= square;
                    }
                    left >>= 1;
                    if left > 0 {
                        square *= square;
                    }
                }
                *value = product;
            }
        }
        wide!(fn $name(values: &mut [$type], p: u32) = $body);
    };
}
powers!(power, power_body, f64);
powers!(power32, power32_body, f32);
elementwise!(sine32, sine32_body, f32, |z| sin32::<FMA>(z));
elementwise!(cosine32, cosine32_body, f32, |z| cos32::<FMA>(z));
elementwise!(relu32, relu32_body, f32, |z| z.max(0.0));
elementwise!(hyperbolic32, hyperbolic32_body, f32, |z| tanh32::<FMA>(z));
elementwise!(gelu32, gelu32_body, f32, |z| 0.5
    * z
    * (1.0 + tanh32::<FMA>(GELU_SLOPE as f32 * (z + GELU_CUBE as f32 * z * z * z))));
elementwise!(minus_sine32, minus_sine32_body, f32, |z| -sin32::<FMA>(z));
elementwise!(step32, step32_body, f32, |z| if z > 0.0 { 1.0 } else { 0.0 });
elementwise!(hyperbolic_slope32, hyperbolic_slope32_body, f32, |z| {
    let t = tanh32::<FMA>(z);
    1.0 - t * t
});
elementwise!(gelu_slope32, gelu_slope32_body, f32, |z| {
    let t = tanh32::<FMA>(GELU_SLOPE as f32 * (z + GELU_CUBE as f32 * z * z * z));
    0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * GELU_SLOPE as f32 * (1.0 + 3.0 * GELU_CUBE as f32 * z * z)
});
elementwise!(exponential_slope32, exponential_slope32_body, f32, |z| if z.abs() <= 87.0 {
    exp32::<FMA>(z)
} else {
    0.0
});

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 10] = [
        Activation::Identity,
        Activation::Sine,
        Activation::Cosine,
        Activation::Relu,
        Activation::Gelu,
        Activation::Tanh,
        Activation::Exp,
        Activation::Power(0),
        Activation::Power(1),
        Activation::Power(3),
    ];

    #[test]
    fn slopes_are_the_derivatives() {
        // Central differences err by h^2 / 6 times a third derivative of size one; the grid avoids ReLU's kink.
        let h = 1e-5;
        for activation in ALL {
            for i in -60..60 {
                let z = 0.05 + f64::from(i) * 0.1;
                let (mut ends, mut slope) = ([z - h, z + h], [z]);
                activation.apply(&mut ends);
                activation.value_and_slope(&mut slope, &mut [0.0]);
                let expected = (ends[1] - ends[0]) / (2.0 * h);
                assert!((slope[0] - expected).abs() < 1e-9 * expected.abs().max(1.0), "{activation:?} at {z}");
            }
        }
    }

    #[test]
    fn single_precision_agrees_with_double() {
        for activation in ALL {
            let mut double: Vec<f64> = (-400..400).map(|i| f64::from(i) * 0.0123).collect();
            let mut single: Vec<f32> = double.iter().map(|&z| z as f32).collect();
            activation.apply(&mut double);
            activation.apply32(&mut single);
            for (a, b) in double.iter().zip(&single) {
                assert!((a - f64::from(*b)).abs() < 2e-6 * a.abs().max(1.0), "{activation:?}: {a} against {b}");
            }
        }
    }

    #[test]
    fn slopes_in_single_precision_agree_with_double() {
        for activation in ALL {
            let mut double: Vec<f64> = (-400..400).map(|i| f64::from(i) * 0.0123 + 0.001).collect();
            let mut single: Vec<f32> = double.iter().map(|&z| z as f32).collect();
            let (mut value, mut value32) = (vec![0.0; 800], vec![0.0; 800]);
            activation.value_and_slope(&mut double, &mut value);
            activation.value_and_slope32(&mut single, &mut value32);
            for (a, b) in double.iter().zip(&single).chain(value.iter().zip(&value32)) {
                assert!((a - f64::from(*b)).abs() < 3e-6 * a.abs().max(1.0), "{activation:?}: {a} against {b}");
            }
        }
    }
}
