//! Polishing of hidden weights by variable projection.
//!
//! The objective is `f(W, b) = min_C |T - H C|^2 / |T|^2 + ridge |C|^2` with `H = [act(X W + b), 1]` and the weighted
//! singular functions `T = U S` as targets: for the given hidden units the outputs are always the best ones, so only the
//! hidden units move. At the minimising `C` the gradient is `dH = -2 (T - H C) C^T / |T|^2` (Golub and Pereyra 1973).

use rayon::prelude::*;

use crate::fit::hidden::{Hidden, Inputs};
use crate::fit::lbfgs::Lbfgs;
use crate::linalg::{Matrix, cholesky};

/// The data of one side: inputs and targets, fitted and held out.
pub(crate) struct Targets<'a> {
    pub(crate) x: &'a Inputs,
    /// `(n, k)`: singular functions at the anchors, times their singular values.
    pub(crate) t: &'a Matrix,
    pub(crate) x_valid: &'a Inputs,
    pub(crate) t_valid: &'a Matrix,
}

/// Steps between two looks at the held-out anchors, and between two looks at the clock.
pub(crate) const CHECK: usize = 5;
/// Ridge of the inner solve, relative to a feature of unit energy.
const RIDGE: f64 = 1e-10;

fn energy(t: &Matrix) -> f64 {
    t.data().iter().map(|v| v * v).sum()
}

impl Targets<'_> {
    /// Held-out residual share `|T - H C|^2 / |T|^2` of the best outputs for `hidden`; infinite if they cannot be solved for.
    pub(crate) fn held_out(&self, hidden: &Hidden) -> f64 {
        let h = hidden.evaluate(self.x);
        let mut gram = h.gram();
        gram.add_to_diagonal(RIDGE * h.rows() as f64);
        let Some(factor) = cholesky(&gram) else { return f64::INFINITY };
        let mut c = h.transpose_times(self.t);
        factor.solve(&mut c);
        self.held_out_with(hidden, &c)
    }

    /// Residual share at the held-out anchors with these outputs.
    fn held_out_with(&self, hidden: &Hidden, c: &Matrix) -> f64 {
        let fitted = hidden.evaluate(self.x_valid).times(c);
        let error: f64 = fitted.data().iter().zip(self.t_valid.data()).map(|(a, b)| (a - b) * (a - b)).sum();
        let share = error / energy(self.t_valid);
        if share.is_finite() { share } else { f64::INFINITY }
    }
}

/// When a search ends by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Held-out residual share below which nothing more is to be gained.
    pub(crate) enough: f64,
    /// Looks without a gain of two percent after which the search ends.
    pub(crate) patience: usize,
}

/// Hidden units on their way down; [`Polish::advance`] moves them, so that two towers can keep in step.
pub(crate) struct Polish<'a> {
    targets: Targets<'a>,
    shape: &'a Hidden,
    work: Workspace,
    search: Lbfgs,
    limits: Limits,
    stale: usize,
    moving: bool,
    /// The hidden units with the lowest held-out residual so far.
    pub(crate) best: Hidden,
    /// Their held-out residual share.
    pub(crate) held_out: f64,
}

impl<'a> Polish<'a> {
    pub(crate) fn new(targets: Targets<'a>, start: &'a Hidden, limits: Limits) -> Self {
        let mut work = Workspace::new(&targets, start.units());
        let point = [start.weights.data(), &start.bias].concat();
        let first = work.objective(&targets, start, &point);
        let held_out = targets.held_out_with(start, &work.c);
        let (search, best) = (Lbfgs::new(point, first), start.clone());
        Polish { targets, shape: start, work, search, limits, stale: 0, moving: true, best, held_out }
    }

    /// Whether further steps would gain nothing.
    pub(crate) fn converged(&self) -> bool {
        !self.moving || self.stale >= self.limits.patience || self.held_out <= self.limits.enough
    }

    /// Runs `steps` steps unless converged, then looks at the held-out anchors.
    pub(crate) fn advance(&mut self, steps: usize) {
        if self.converged() {
            return;
        }
        let (work, targets, shape) = (&mut self.work, &self.targets, self.shape);
        for _ in 0..steps {
            self.moving = self.search.step(|p| work.objective(targets, shape, p));
            if !self.moving {
                return;
            }
        }
        // An accepted step is the last point evaluated, so the outputs at hand belong to it.
        let hidden = unpack(shape, &self.search.point);
        let held_out = targets.held_out_with(&hidden, &work.c);
        self.stale = if held_out < 0.98 * self.held_out { 0 } else { self.stale + 1 };
        if held_out < self.held_out {
            (self.best, self.held_out) = (hidden, held_out);
        }
    }
}

/// Storage that every evaluation of the objective uses again.
struct Workspace {
    h: Matrix,
    slope: Matrix,
    error: Matrix,
    g: Matrix,
    /// The best outputs at the last point evaluated.
    c: Matrix,
    total: f64,
}

impl Workspace {
    fn new(targets: &Targets<'_>, units: usize) -> Self {
        let (n, k) = (targets.x.len(), targets.t.columns());
        Workspace {
            h: Matrix::zeros(n, units + 1),
            slope: Matrix::zeros(n, units),
            error: Matrix::zeros(n, k),
            g: Matrix::zeros(n, units),
            c: Matrix::zeros(units + 1, k),
            total: energy(targets.t),
        }
    }

    /// Objective and its gradient over `[W, b]`.
    fn objective(&mut self, targets: &Targets<'_>, shape: &Hidden, point: &[f64]) -> (f64, Vec<f64>) {
        let hidden = unpack(shape, point);
        let (n, m) = (self.h.rows(), hidden.units());
        hidden.evaluate_with_slope(targets.x, &mut self.h, &mut self.slope);
        let mut gram = self.h.gram();
        // A fixed ridge: one that followed the trace would add its own gradient.
        let ridge = RIDGE * n as f64;
        gram.add_to_diagonal(ridge);
        let Some(factor) = cholesky(&gram) else { return (f64::INFINITY, vec![0.0; point.len()]) };
        self.c = self.h.transpose_times(targets.t);
        factor.solve(&mut self.c);
        self.h.times_into(&self.c, &mut self.error);
        self.error.data_mut().iter_mut().zip(targets.t.data()).for_each(|(e, t)| *e = t - *e);
        let value = (energy(&self.error) + ridge * energy(&self.c)) / self.total;
        let without_constant = self.c.leading_rows(m);
        self.error.times_transpose_into(&without_constant, &mut self.g);
        let factor = -2.0 / self.total;
        let columns = self.g.data_mut().par_chunks_mut(n).zip(self.slope.data().par_chunks(n));
        let bias: Vec<f64> = columns
            .map(|(g, slope)| {
                g.iter_mut().zip(slope).for_each(|(g, s)| *g *= s * factor);
                g.iter().sum()
            })
            .collect();
        let mut gradient = targets.x.transpose_times(&self.g).into_data();
        gradient.extend(bias);
        (value, gradient)
    }
}

fn unpack(shape: &Hidden, point: &[f64]) -> Hidden {
    let (d, m) = (shape.weights.rows(), shape.units());
    Hidden {
        weights: Matrix::from_columns(point[..d * m].to_vec(), d, m),
        bias: point[d * m..].to_vec(),
        activation: shape.activation,
        scaling: shape.scaling,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use crate::tower::{Activation, RowScaling};

    #[test]
    fn the_gradient_is_that_of_the_projected_objective() {
        let mut stream = Seed(3).stream("test");
        let mut normal =
            |rows, columns| Matrix::from_columns((0..rows * columns).map(|_| stream.normal()).collect(), rows, columns);
        let (x, t) = (Inputs::Dense(normal(60, 3)), normal(60, 2));
        for activation in [Activation::Sine, Activation::Gelu, Activation::Tanh, Activation::Cosine] {
            let shape =
                Hidden { weights: normal(3, 5), bias: normal(5, 1).into_data(), activation, scaling: RowScaling::None };
            let targets = Targets { x: &x, t: &t, x_valid: &x, t_valid: &t };
            let mut work = Workspace::new(&targets, 5);
            let point = [shape.weights.data(), &shape.bias].concat();
            let (_, gradient) = work.objective(&targets, &shape, &point);
            for i in 0..point.len() {
                let mut at = |delta: f64| {
                    let mut moved = point.clone();
                    moved[i] += delta;
                    work.objective(&targets, &shape, &moved).0
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((slope - gradient[i]).abs() < 1e-7, "{activation:?} {i}: {slope} against {}", gradient[i]);
            }
        }
    }
}
