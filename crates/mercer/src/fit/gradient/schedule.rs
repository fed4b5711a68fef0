//! The learning rate over the steps.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the learning rate changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// [`Schedule::Plateau`] where training runs until it converges, [`Schedule::Cosine`] where the steps are counted.
    #[default]
    Auto,
    /// The same from first to last.
    Constant,
    /// Rises over the first `warm_up` share of the steps, then falls in a straight line to zero.
    Linear {
        /// Share of the steps, from 0 to 1.
        warm_up: f64,
    },
    /// Rises over the first `warm_up` share of the steps, then falls along half a cosine to zero.
    Cosine {
        /// Share of the steps, from 0 to 1.
        warm_up: f64,
    },
    /// Multiplied by `factor` whenever the held-out loss has not fallen for half the patience; training then goes on from the
    /// best weights.
    Plateau {
        /// Between 0 and 1.
        factor: f64,
    },
}

impl Schedule {
    /// Refuses shares and factors that make no schedule.
    pub(crate) fn check(&self) -> Result<()> {
        match *self {
            Schedule::Linear { warm_up } | Schedule::Cosine { warm_up } if !(0.0..=1.0).contains(&warm_up) => {
                Err(Error::parameter("warm-up", "a share of the steps from 0 to 1", warm_up))
            }
            Schedule::Plateau { factor } if !(factor > 0.0 && factor < 1.0) => {
                Err(Error::parameter("factor of the learning rate", "between 0 and 1", factor))
            }
            _ => Ok(()),
        }
    }

    /// The schedule that `Auto` stands for.
    pub(crate) fn resolve(self, counted: bool) -> Schedule {
        match self {
            Schedule::Auto if counted => Schedule::Cosine { warm_up: 0.05 },
            Schedule::Auto => Schedule::Plateau { factor: 0.3 },
            other => other,
        }
    }

    /// The factor of the learning rate in step `step` of `steps`, counted from 0.
    pub(crate) fn factor(&self, step: usize, steps: usize) -> f64 {
        let (Schedule::Linear { warm_up } | Schedule::Cosine { warm_up }) = *self else { return 1.0 };
        let first = (warm_up * steps as f64).round();
        let at = step as f64;
        if at < first {
            return (at + 1.0) / first;
        }
        let done = (at - first) / (steps as f64 - first).max(1.0);
        match self {
            Schedule::Linear { .. } => (1.0 - done).max(0.0),
            _ => 0.5 + 0.5 * (std::f64::consts::PI * done.min(1.0)).cos(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall_where_they_should() {
        for schedule in [Schedule::Linear { warm_up: 0.1 }, Schedule::Cosine { warm_up: 0.1 }] {
            let rates: Vec<f64> = (0..100).map(|step| schedule.factor(step, 100)).collect();
            assert!(rates[..10].windows(2).all(|r| r[0] < r[1]) && rates[9] == 1.0 && rates[10] == 1.0);
            assert!(rates[10..].windows(2).all(|r| r[0] > r[1]) && rates[99] < 0.02 && rates[99] > 0.0);
        }
        // Half of the way down: a half, for both.
        assert!((Schedule::Linear { warm_up: 0.0 }.factor(50, 100) - 0.5).abs() < 1e-12);
        assert!((Schedule::Cosine { warm_up: 0.0 }.factor(50, 100) - 0.5).abs() < 1e-12);
        assert_eq!(Schedule::Constant.factor(7, 9), 1.0);
        // No step, one step, only warm-up: finite and positive.
        for schedule in [Schedule::Cosine { warm_up: 1.0 }, Schedule::Linear { warm_up: 0.0 }] {
            assert!((0..2).all(|step| (0.0..=1.0).contains(&schedule.factor(step, 1))));
        }
    }
}
