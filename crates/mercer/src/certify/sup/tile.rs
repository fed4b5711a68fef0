//! The bound on one tile: a box of queries times a box of keys, each with its grid.

use std::collections::BTreeMap;

use crate::certify::sup::side::{DEPTH, ELEMENTARY, EPS, Side};
use crate::relation::{Domain, Smooth};

/// What is known of `|r^ - r|` on a tile.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub(crate) component: usize,
    pub(crate) domain: Domain,
    /// Proven upper bound.
    pub(crate) upper: f64,
    /// Largest error at a node, and the node.
    pub(crate) lower: f64,
    pub(crate) worst: (Vec<f64>, Vec<f64>),
    /// What each axis, those of `x` first, adds to the bound for what lies between the nodes.
    pub(crate) gaps: Vec<f64>,
    /// Node pairs at which the error or a derivative of it was evaluated.
    pub(crate) evaluations: u64,
    /// The longest cell.
    pub(crate) step: f64,
}

/// The recursion on one tile.
struct Recursion<'a> {
    x: &'a Side<'a>,
    y: &'a Side<'a>,
    relation: &'a dyn Smooth,
    component: usize,
    domain: Domain,
    /// What adds less than this needs no better bound.
    negligible: f64,
    known: BTreeMap<(usize, usize), f64>,
    evaluations: u64,
}

/// Bounds the error on the tile of two sides; what adds less than `negligible` needs no better bound.
pub(crate) fn bound(x: &Side<'_>, y: &Side<'_>, relation: &dyn Smooth, component: usize, negligible: f64) -> Tile {
    let domain = Domain { x: x.cuboid.clone(), y: y.cuboid.clone() };
    let (known, evaluations) = (BTreeMap::new(), 0);
    let mut recursion = Recursion { x, y, relation, component, domain, negligible, known, evaluations };
    let (lower, at, largest_value) = recursion.values();
    let mut gaps: Vec<f64> = (0..x.steps.len() + y.steps.len()).map(|axis| recursion.gap(axis)).collect();
    add_to_longest(&mut gaps[..x.steps.len()], &x.steps, x.kink_gap(y));
    add_to_longest(&mut gaps[x.steps.len()..], &y.steps, y.kink_gap(x));
    let rounding = recursion.model_rounding(0, 0) + ELEMENTARY * EPS * (largest_value + recursion.slopes());
    let sum = (lower + rounding + gaps.iter().sum::<f64>()) * (1.0 + 1e-12);
    // Overflow on a huge box may end in NaN, which is no bound.
    let upper = if sum.is_nan() { f64::INFINITY } else { sum };
    let step = x.steps.iter().chain(&y.steps).copied().fold(0.0, f64::max);
    let worst = (x.nodes.column(at.0).to_vec(), y.nodes.column(at.1).to_vec());
    Tile { component, domain: recursion.domain, upper, lower, worst, gaps, evaluations: recursion.evaluations, step }
}

/// Kinks are made smaller by halving the longest axis.
fn add_to_longest(gaps: &mut [f64], steps: &[f64], kink: f64) {
    let longest = (0..steps.len()).fold(0, |best, i| if steps[i] > steps[best] { i } else { best });
    gaps[longest] += kink;
}

impl Recursion<'_> {
    /// Largest error at a node, the node pair, and the largest value of the relation there.
    fn values(&mut self) -> (f64, (usize, usize), f64) {
        let (mut largest, mut at, mut value) = (-1.0, (0, 0), 0.0f64);
        let model = self.x.tables[0].times_transpose(&self.y.tables[0]);
        for j in 0..model.columns() {
            for (i, model) in model.column(j).iter().enumerate() {
                let relation = self.relation.value(self.component, self.x.nodes.column(i), self.y.nodes.column(j));
                value = value.max(relation.abs());
                // A relation that is NaN somewhere gets no finite bound.
                let error = if relation.is_finite() { (model - relation).abs() } else { f64::INFINITY };
                if error > largest {
                    (largest, at) = (error, (i, j));
                }
            }
        }
        self.evaluations += model.data().len() as u64;
        (largest, at, value)
    }

    /// Largest derivative of the error at a node; `None` where the relation does not tell.
    fn nodes(&mut self, a: usize, b: usize) -> Option<f64> {
        let (x_order, y_order) = (self.x.orders(a), self.y.orders(b));
        let model = self.x.tables[a].times_transpose(&self.y.tables[b]);
        self.evaluations += model.data().len() as u64;
        let mut largest = 0.0f64;
        for j in 0..model.columns() {
            for (i, model) in model.column(j).iter().enumerate() {
                let (x, y) = (self.x.nodes.column(i), self.y.nodes.column(j));
                let relation = self.relation.derivative(self.component, &x_order, &y_order, x, y)?;
                let error = (model - relation).abs();
                if !error.is_finite() {
                    return None;
                }
                largest = largest.max(error);
            }
        }
        Some(largest)
    }

    /// `sum_j sup|f_j| sup|g_j|` of a derivative.
    fn model(&self, a: usize, b: usize) -> f64 {
        self.x.bounds[a].iter().zip(&self.y.bounds[b]).map(|(f, g)| f * g).sum()
    }

    fn relation(&self, a: usize, b: usize) -> f64 {
        let bound = self.relation.derivative_bound(self.component, &self.x.orders(a), &self.y.orders(b), &self.domain);
        if bound.is_nan() { f64::INFINITY } else { bound }
    }

    /// What roundings may add to the model's derivative at the nodes.
    fn model_rounding(&self, a: usize, b: usize) -> f64 {
        let (f, g) = (&self.x.bounds[a], &self.y.bounds[b]);
        let (df, dg) = (&self.x.roundings[a], &self.y.roundings[b]);
        let count = (f.len() + 4) as f64 * EPS;
        (0..f.len()).map(|j| (f[j] + df[j]) * dg[j] + df[j] * g[j] + count * f[j] * g[j]).sum()
    }

    fn raised(&self, a: usize, b: usize, axis: usize) -> (usize, usize) {
        match axis.checked_sub(self.x.steps.len()) {
            None => (self.x.raised(a, axis), b),
            Some(axis) => (a, self.y.raised(b, axis)),
        }
    }

    fn step(&self, axis: usize) -> f64 {
        match axis.checked_sub(self.x.steps.len()) {
            None => self.x.steps[axis],
            Some(axis) => self.y.steps[axis],
        }
    }

    fn axes(&self) -> usize {
        self.x.steps.len() + self.y.steps.len()
    }

    /// Bound of the derivative `(a, b)` of the error on the tile, which stands in the bound of the error with factor
    /// `weight`.
    fn supremum(&mut self, a: usize, b: usize, weight: f64) -> f64 {
        if let Some(&known) = self.known.get(&(a, b)) {
            return known;
        }
        let relation = self.relation(a, b);
        let crude = self.model(a, b) + relation;
        let last = self.x.level(a) + self.y.level(b) > DEPTH;
        if last || !crude.is_finite() || weight * crude <= self.negligible {
            return crude;
        }
        let fine = self.nodes(a, b).map_or(f64::INFINITY, |nodes| {
            let rounding = self.model_rounding(a, b) + ELEMENTARY * EPS * relation;
            let between: f64 = (0..self.axes())
                .map(|axis| {
                    let (next, factor) = (self.raised(a, b, axis), self.step(axis).powi(2) / 8.0);
                    factor * self.supremum(next.0, next.1, weight * factor)
                })
                .sum();
            nodes + rounding + between
        });
        // A NaN (infinity times zero) must not pass as a bound.
        let found = if fine < crude { fine } else { crude };
        self.known.insert((a, b), found);
        found
    }

    /// The relation's Lipschitz constant along an axis.
    fn slope(&self, axis: usize) -> f64 {
        let (mut x, mut y) = (vec![0; self.x.steps.len()], vec![0; self.y.steps.len()]);
        match axis.checked_sub(x.len()) {
            None => x[axis] = 1,
            Some(axis) => y[axis] = 1,
        }
        let bound = self.relation.derivative_bound(self.component, &x, &y, &self.domain);
        if bound.is_nan() { f64::INFINITY } else { bound }
    }

    /// How far the relation may stray from its nodes, for the size of its roundings.
    fn slopes(&self) -> f64 {
        (0..self.axes()).map(|axis| 0.5 * self.step(axis) * self.slope(axis)).sum()
    }

    /// Error of interpolating along one axis, kinks of the towers aside.
    fn gap(&mut self, axis: usize) -> f64 {
        let h = self.step(axis);
        let factor = h * h / 8.0;
        if factor == 0.0 {
            return 0.0;
        }
        let (a, b) = self.raised(0, 0, axis);
        let relation = (factor * self.relation(a, b)).min(0.5 * h * self.slope(axis));
        let apart = factor * self.model(a, b) + relation;
        // Kinks leave no second derivative to interpolate.
        if apart <= self.negligible || self.x.has_kinks() || self.y.has_kinks() {
            return apart;
        }
        apart.min(factor * self.supremum(a, b, factor))
    }
}
