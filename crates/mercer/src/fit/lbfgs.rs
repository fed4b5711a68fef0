//! Limited-memory BFGS with a backtracking line search, for smooth objectives whose evaluation is expensive.

use std::collections::VecDeque;

use crate::wide::{add_scaled, dot};

/// Curvature pairs that are remembered.
const MEMORY: usize = 40;

/// State of a minimisation; each [`Lbfgs::step`] moves the point once.
pub(crate) struct Lbfgs {
    pub(crate) point: Vec<f64>,
    pub(crate) value: f64,
    gradient: Vec<f64>,
    pairs: VecDeque<(Vec<f64>, Vec<f64>, f64)>,
}

impl Lbfgs {
    /// Starts at `point`, where the objective and its gradient are given.
    pub(crate) fn new(point: Vec<f64>, (value, gradient): (f64, Vec<f64>)) -> Self {
        Lbfgs { point, value, gradient, pairs: VecDeque::new() }
    }

    /// One step along the quasi-Newton direction; `false` if no decrease was found (a stationary point, to rounding).
    pub(crate) fn step(&mut self, mut objective: impl FnMut(&[f64]) -> (f64, Vec<f64>)) -> bool {
        let direction = self.direction();
        let slope = dot(&direction, &self.gradient);
        if slope >= 0.0 || !slope.is_finite() {
            // Rounding spoilt the model: forget it and try the gradient once.
            let stale = !self.pairs.is_empty();
            self.pairs.clear();
            return stale && self.step(objective);
        }
        let mut length = if self.pairs.is_empty() { (0.05 / dot(&direction, &direction).sqrt()).min(1.0) } else { 1.0 };
        for _ in 0..12 {
            let point: Vec<f64> = self.point.iter().zip(&direction).map(|(p, d)| p + length * d).collect();
            let (value, gradient) = objective(&point);
            if value.is_finite() && value <= self.value + 1e-4 * length * slope {
                self.remember(&point, &gradient);
                (self.point, self.value, self.gradient) = (point, value, gradient);
                return true;
            }
            // The parabola through the value, the slope and the new value, kept within a factor of ten.
            let bend = value - self.value - length * slope;
            let shrink = if bend.is_finite() && bend > 0.0 { -0.5 * length * slope / bend } else { 0.1 };
            length *= shrink.clamp(0.1, 0.5);
        }
        false
    }

    fn remember(&mut self, point: &[f64], gradient: &[f64]) {
        let s: Vec<f64> = point.iter().zip(&self.point).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = gradient.iter().zip(&self.gradient).map(|(a, b)| a - b).collect();
        let sy = dot(&s, &y);
        if sy > 1e-10 * dot(&s, &s).sqrt() * dot(&y, &y).sqrt() {
            if self.pairs.len() == MEMORY {
                self.pairs.pop_front();
            }
            self.pairs.push_back((s, y, sy));
        }
    }

    /// The two-loop recursion (Nocedal 1980).
    fn direction(&self) -> Vec<f64> {
        let mut q: Vec<f64> = self.gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for (s, y, sy) in self.pairs.iter().rev() {
            let alpha = dot(s, &q) / sy;
            add_scaled(&mut q, -alpha, y);
            alphas.push(alpha);
        }
        if let Some((_, y, sy)) = self.pairs.back() {
            let scale = sy / dot(y, y);
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for ((s, y, sy), alpha) in self.pairs.iter().zip(alphas.into_iter().rev()) {
            let beta = dot(y, &q) / sy;
            add_scaled(&mut q, alpha - beta, s);
        }
        q
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimises_the_rosenbrock_function() {
        let objective = |p: &[f64]| {
            let (a, b) = (1.0 - p[0], p[1] - p[0] * p[0]);
            (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * p[0] * b, 200.0 * b])
        };
        let start = vec![-1.2, 1.0];
        let mut search = Lbfgs::new(start.clone(), objective(&start));
        let steps = (0..200).take_while(|_| search.step(objective)).count();
        assert!(search.value < 1e-16, "{} after {steps} steps", search.value);
        assert!((search.point[0] - 1.0).abs() < 1e-6 && (search.point[1] - 1.0).abs() < 1e-6);
    }
}
