//! Adam and AdamW: one pass over the parameters.
//!
//! With gradient `g` at step `t`: `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, and the parameter moves by
//! `-rate (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + decay w)` (Kingma and Ba 2015; the decoupled decay is that of
//! Loshchilov and Hutter 2019).

use crate::error::{Error, Result};
use crate::fit::gradient::net::{Gradient, Net};
use crate::wide::wide;

/// Constants of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Share of the first moment kept a step.
    pub(crate) beta1: f32,
    /// Share of the second moment kept a step.
    pub(crate) beta2: f32,
    /// Added to the root of the second moment.
    pub(crate) epsilon: f32,
    /// Decoupled weight decay, a share of the parameter per unit of rate; 0 is Adam.
    pub(crate) decay: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.0 }
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::parameter(name, "at least 0 and below 1", value));
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(Error::parameter("epsilon", "a positive finite number", self.epsilon));
        }
        if !(self.decay >= 0.0 && self.decay.is_finite()) {
            return Err(Error::parameter("weight decay", "zero or a positive finite number", self.decay));
        }
        Ok(())
    }
}

/// The moments of every parameter.
///
/// Rows of the first layer that a sparse batch does not touch are left alone: no movement and no decay of the weights. When
/// such a row is touched again after `k` steps, its moments are first multiplied by `b1^(k - 1)` and `b2^(k - 1)`, as if the
/// gradients between had been zero; the corrections `1 - b^t` count all steps. So a row touched at every step moves as by
/// dense Adam.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Adam {
    settings: Settings,
    first: Vec<f32>,
    second: Vec<f32>,
    /// Steps done.
    step: u64,
    /// The step at which each row of the table, of `width` numbers, was last touched; empty for dense rows only.
    last: Vec<u64>,
    width: usize,
}

/// What one step multiplies with, the same for all parameters.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    beta1: f32,
    beta2: f32,
    /// Factors of moments and weights before anything is added.
    keep1: f32,
    keep2: f32,
    keep: f32,
    /// Factor of the gradient, of the movement and of the root.
    factor: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
}

impl Adam {
    /// All moments zero, for `net`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] for settings out of range.
    pub(crate) fn new(net: &Net, settings: Settings) -> Result<Self> {
        let mut adam = Adam::of_length(net.parameters().len(), settings)?;
        (adam.last, adam.width) = (vec![0; net.inputs()], net.table_width());
        Ok(adam)
    }

    /// All moments zero, for `length` parameters that all move at every step.
    ///
    /// # Errors
    /// As [`Adam::new`].
    pub(crate) fn of_length(length: usize, settings: Settings) -> Result<Self> {
        settings.check()?;
        let zero = vec![0.0; length];
        Ok(Adam { settings, first: zero.clone(), second: zero, step: 0, last: Vec::new(), width: 0 })
    }

    /// Moves the parameters of `net` along `factor` times `gradient` (a factor below 1 clips it).
    pub(crate) fn step(&mut self, net: &mut Net, gradient: &Gradient, rate: f32, factor: f32) {
        let step = self.next(rate, factor);
        let (now, parameters) = (self.step, net.parameters_mut());
        for range in gradient.stretches() {
            let mut own = step;
            if gradient.touched().is_some() && range.end <= self.last.len() * self.width {
                let row = range.start / self.width;
                // Decays of the steps that left the row alone; the present one decays it in any case.
                let missed = (now - 1 - self.last[row]).min(i32::MAX as u64) as i32;
                own.keep1 *= self.settings.beta1.powi(missed);
                own.keep2 *= self.settings.beta2.powi(missed);
                self.last[row] = now;
            }
            let (first, second) = (&mut self.first[range.clone()], &mut self.second[range.clone()]);
            update(own, &mut parameters[range.clone()], first, second, &gradient.values()[range]);
        }
        if gradient.touched().is_none() {
            self.last.fill(now);
        }
    }

    /// Moves parameters that all have a gradient: for what does not belong to a tower.
    pub(crate) fn step_all(&mut self, parameters: &mut [f32], gradient: &[f32], rate: f32, factor: f32) {
        let step = self.next(rate, factor);
        update(step, parameters, &mut self.first, &mut self.second, gradient);
    }

    fn next(&mut self, rate: f32, factor: f32) -> Step {
        self.step += 1;
        let Settings { beta1, beta2, epsilon, decay } = self.settings;
        let steps = self.step.min(i32::MAX as u64) as i32;
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(steps);
        Step {
            beta1,
            beta2,
            keep1: beta1,
            keep2: beta2,
            keep: 1.0 - rate * decay,
            factor,
            rate: (f64::from(rate) / correction(beta1)) as f32,
            root: correction(beta2).sqrt().recip() as f32,
            epsilon,
        }
    }

    /// Steps done.
    pub(crate) fn steps(&self) -> u64 {
        self.step
    }

    /// First and second moments, in the parameters' layout, and the step at which each first-layer row was last touched.
    pub(crate) fn state(&self) -> (&[f32], &[f32], &[u64]) {
        (&self.first, &self.second, &self.last)
    }

    /// Goes on from a [state](Adam::state) after `steps` steps.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] if the state is of other parameters.
    pub(crate) fn restore(&mut self, steps: u64, first: Vec<f32>, second: Vec<f32>, last: Vec<u64>) -> Result<()> {
        if (first.len(), second.len(), last.len()) != (self.first.len(), self.second.len(), self.last.len()) {
            let expected = format!("two moments of {} parameters, {} rows", self.first.len(), self.last.len());
            let got = format!("{}, {} and {}", first.len(), second.len(), last.len());
            return Err(Error::shape("state of Adam", expected, got));
        }
        if last.iter().any(|&at| at > steps) {
            return Err(Error::shape("state of Adam", format!("rows touched up to step {steps}"), "a later one"));
        }
        (self.step, self.first, self.second, self.last) = (steps, first, second, last);
        Ok(())
    }
}

#[inline(always)]
fn update_body<const FMA: bool>(
    step: Step,
    parameters: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
) {
    let all = parameters.iter_mut().zip(first.iter_mut()).zip(second.iter_mut().zip(gradient));
    for ((w, m), (v, g)) in all {
        let g = step.factor * g;
        *m = step.keep1 * *m + (1.0 - step.beta1) * g;
        *v = step.keep2 * *v + (1.0 - step.beta2) * (g * g);
        *w = step.keep * *w - step.rate * *m / (v.sqrt() * step.root + step.epsilon);
    }
}
wide!(
    fn update(step: Step, parameters: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) = update_body
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::gradient::net::{Tape, backward, forward};
    use crate::rows::Features;
    use crate::seed::Seed;
    use crate::tower::{Activation, Layer, Tower};

    /// Adam by its definition, in `f64`.
    struct Naive {
        m: f64,
        v: f64,
        t: i32,
    }

    impl Naive {
        fn step(&mut self, w: f64, g: f64, rate: f64, s: Settings) -> f64 {
            self.t += 1;
            let (b1, b2) = (f64::from(s.beta1), f64::from(s.beta2));
            self.m = b1 * self.m + (1.0 - b1) * g;
            self.v = b2 * self.v + (1.0 - b2) * g * g;
            let (m, v) = (self.m / (1.0 - b1.powi(self.t)), self.v / (1.0 - b2.powi(self.t)));
            w - rate * (m / (v.sqrt() + f64::from(s.epsilon)) + f64::from(s.decay) * w)
        }
    }

    #[test]
    fn fifty_steps_agree_with_the_definition_in_f64() {
        for decay in [0.0, 0.3] {
            let settings = Settings { decay, ..Settings::default() };
            let mut stream = Seed(3).stream("adam");
            let mut parameters: Vec<f32> = (0..75).map(|_| stream.normal() as f32).collect();
            let mut naive: Vec<(f64, Naive)> =
                parameters.iter().map(|&w| (w.into(), Naive { m: 0.0, v: 0.0, t: 0 })).collect();
            let mut adam = Adam::of_length(75, settings).unwrap();
            for step in 0..50 {
                let rate = 0.05 / (1.0 + step as f32);
                let gradient: Vec<f32> = (0..75).map(|i| (stream.normal() * f64::from(i % 7)) as f32).collect();
                adam.step_all(&mut parameters, &gradient, rate, 0.5);
                for ((w, state), g) in naive.iter_mut().zip(&gradient) {
                    *w = state.step(*w, 0.5 * f64::from(*g), rate.into(), settings);
                }
            }
            for (a, (b, _)) in parameters.iter().zip(&naive) {
                assert!((f64::from(*a) - b).abs() < 2e-6 * b.abs().max(1.0), "{a}, {b}, decay {decay}");
            }
            assert_eq!(adam.steps(), 50);
        }
    }

    #[test]
    fn untouched_rows_wait_and_their_moments_decay() {
        // A table of 6 rows; the batch of each step holds the rows named. d loss / d output is drawn anew.
        let (rows, width) = (6, 3);
        let layer = Layer::new(vec![0.5; rows * width], vec![0.0; width], Activation::Identity).unwrap();
        let mut net = Net::of(&Tower::new(vec![layer]).unwrap());
        let settings = Settings { decay: 0.1, ..Settings::default() };
        let mut adam = Adam::new(&net, settings).unwrap();
        let (mut tape, mut gradient) = (Tape::new(&net, 4), Gradient::new(&net));
        let mut expected: Vec<(f64, f64, f64)> = vec![(0.5, 0.0, 0.0); rows * width];
        let mut stream = Seed(4).stream("lazy");
        let mut steps = 0;
        for batch in [vec![0u32, 2], vec![2, 5, 2], vec![0], vec![1, 2], vec![0, 0, 0, 3], vec![5, 2]] {
            let features = Features::sets(&batch.iter().map(|&r| vec![r]).collect::<Vec<_>>(), rows).unwrap();
            forward(&net, &features.rows(), &mut tape).unwrap();
            let slopes: Vec<f32> = (0..batch.len() * width).map(|_| stream.normal() as f32).collect();
            backward(&net, &features.rows(), &mut tape, &slopes, &mut gradient).unwrap();
            adam.step(&mut net, &gradient, 0.01, 1.0);
            steps += 1;
            for (at, (w, m, v)) in expected.iter_mut().enumerate() {
                let of_row = batch.iter().enumerate().filter(|(_, r)| **r as usize == at / width);
                let g: f64 = of_row.clone().map(|(i, _)| f64::from(slopes[i * width + at % width])).sum();
                let (b1, b2) = (f64::from(settings.beta1), f64::from(settings.beta2));
                (*m, *v) = (b1 * *m + (1.0 - b1) * g, b2 * *v + (1.0 - b2) * g * g);
                if of_row.count() > 0 {
                    let (m, v) = (*m / (1.0 - b1.powi(steps)), *v / (1.0 - b2.powi(steps)));
                    *w -= 0.01 * (m / (v.sqrt() + 1e-8) + 0.1 * *w);
                }
            }
            for (a, (b, ..)) in net.parameters()[..rows * width].iter().zip(&expected) {
                assert!((f64::from(*a) - b).abs() < 1e-6, "{a}, {b} after step {steps}");
            }
        }
        assert_eq!(net.parameters()[4 * width..5 * width], [0.5; 3], "row 4 was never touched");
    }

    #[test]
    fn settings_out_of_range_and_foreign_states_are_refused() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            Adam::of_length(2, settings)
        };
        assert!(with(|s| s.beta1 = 1.0).is_err());
        assert!(with(|s| s.beta2 = f32::NAN).is_err());
        assert!(with(|s| s.epsilon = 0.0).is_err());
        assert!(with(|s| s.decay = f32::INFINITY).is_err());
        let mut adam = with(|_| ()).unwrap();
        assert!(adam.restore(3, vec![0.0; 2], vec![0.0; 3], Vec::new()).is_err());
        assert!(adam.restore(3, vec![0.0; 2], vec![0.0; 2], Vec::new()).is_ok());
    }

    #[test]
    fn a_restored_state_goes_on_bit_for_bit() {
        let mut adam = Adam::of_length(3, Settings::default()).unwrap();
        let mut parameters = [1.0, -2.0, 0.5];
        adam.step_all(&mut parameters, &[0.1, -0.4, 2.0], 0.1, 1.0);
        let (m, v, last) = adam.state();
        let mut other = Adam::of_length(3, Settings::default()).unwrap();
        other.restore(adam.steps(), m.to_vec(), v.to_vec(), last.to_vec()).unwrap();
        let mut copy = parameters;
        adam.step_all(&mut parameters, &[0.3, 0.2, 0.1], 0.1, 1.0);
        other.step_all(&mut copy, &[0.3, 0.2, 0.1], 0.1, 1.0);
        assert_eq!(parameters, copy);
        assert_eq!(adam, other);
    }
}
