//! Freudenthal hats on a grid as ReLU layers, and what `f32` does to them.
//!
//! With `z = (x - node) / h` the hat is `max(0, 1 - range)`, where `range` is the largest difference among the numbers
//! `0, z_1, .., z_d`. Few units give it, most of them shared along lines and diagonals of the grid; `(t)+ = max(0, t)`:
//!
//! - `d = 1`: `range = (z)+ + (-z)+`; `2 n` units, then the hats.
//! - `d = 2`: `range = (-z1)+ + (z1 - z2)+ + (z2)+`, for on the way 0, z1, z2, 0 the largest difference is climbed
//!   once. `4 n` units, then the hats.
//! - `d = 3`: the largest of all is `max(0, z1) + (max(z2, z3) - max(0, z1))+`, and `max(z2, z3) = z2 + (z3 - z2)+` is
//!   linear in shared units; the smallest likewise. `8 n` units, two a node, then the hats.
//! - `d = 4`: the same with the halves `0, z1, z2` and `z3, z4`, one layer more.
//!
//! Every hat is 1 minus terms that are not negative: where it matters, all its terms are at most 1 and so is their
//! rounding, and far from its node it is exactly 0.

use crate::bounds::interpolation_reach;
use crate::construct::{UNIT, roundings};
use crate::error::{Error, Result};
use crate::relation::Cuboid;
use crate::rows::Features;
use crate::tower::{Activation, Layer};

/// Most cells of an axis: the nodes have to be told apart in `f32`.
pub(super) const MOST_CELLS: usize = 1 << 16;

/// Nodes `low, low + step, .., low + cells step`, all of them exact in `f32`, that cover an interval.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    pub(super) step: f64,
    pub(super) cells: usize,
    bounds: [f64; 2],
}

impl Axis {
    fn new(low: f64, high: f64, cells: usize) -> Self {
        // Multiples of the quantum up to 2^24 times its size are exact; the margin is for nodes beyond the bounds.
        let largest = 1.02 * low.abs().max(high.abs());
        let quantum = 2f64.powi(largest.log2().floor() as i32 - 23);
        let start = (low / quantum).floor() * quantum;
        let step = ((high - start) / (cells as f64 * quantum)).ceil() * quantum;
        Axis { low: start, step, cells, bounds: [low, high] }
    }

    pub(super) fn node(&self, k: usize) -> f64 {
        self.low + k as f64 * self.step
    }
}

/// A grid of nodes that covers a box.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) axes: Vec<Axis>,
}

impl Grid {
    /// The grid with `cells` on the longest axis and about the same step on the others.
    pub(super) fn new(domain: &Cuboid, cells: usize) -> Self {
        let widths = domain.widths();
        let longest = widths.iter().copied().fold(0.0, f64::max);
        let count = |width: f64| ((width / longest * cells as f64 - 1e-9).ceil() as usize).max(1);
        let axis = |(i, width)| Axis::new(domain.low[i], domain.high[i], count(width));
        Grid { axes: widths.into_iter().enumerate().map(axis).collect() }
    }

    pub(super) fn cells(&self) -> Vec<f64> {
        self.axes.iter().map(|axis| axis.cells as f64).collect()
    }

    /// The largest mean distance from a point to the nodes that share it.
    pub(super) fn reach(&self) -> f64 {
        interpolation_reach(self.axes.iter().map(|axis| axis.step))
    }

    /// Node `at` along each axis, the last running fastest.
    fn position(&self, mut at: usize) -> Vec<usize> {
        let mut position = vec![0; self.axes.len()];
        for (k, axis) in position.iter_mut().zip(&self.axes).rev() {
            (*k, at) = (at % (axis.cells + 1), at / (axis.cells + 1));
        }
        position
    }

    pub(super) fn len(&self) -> usize {
        self.axes.iter().map(|axis| axis.cells + 1).product()
    }

    /// The points at which the relation is asked: the nodes, those beyond the box moved to its edge.
    pub(super) fn nodes(&self) -> Result<Features> {
        let value = |axis: &Axis, k: usize| axis.node(k).clamp(axis.bounds[0], axis.bounds[1]) as f32;
        let row =
            |at: usize| self.axes.iter().zip(self.position(at)).map(|(axis, k)| value(axis, k)).collect::<Vec<f32>>();
        Features::dense((0..self.len()).flat_map(row).collect(), self.axes.len())
    }
}

/// An affine function of the units of the layer before.
#[derive(Clone, Debug, Default)]
struct Affine {
    constant: f64,
    terms: Vec<(usize, f64)>,
}

impl Affine {
    fn plus(mut self, factor: f64, other: &Affine) -> Self {
        self.constant += factor * other.constant;
        self.terms.extend(other.terms.iter().map(|(unit, weight)| (*unit, factor * weight)));
        self
    }

    fn unit(index: usize, weight: f64) -> Self {
        Affine { constant: 0.0, terms: vec![(index, weight)] }
    }
}

/// What is known of a unit's value `v >= 0`: it is at most `largest` and computed to within `absolute + relative v`.
#[derive(Clone, Copy, Debug)]
struct Known {
    largest: f64,
    absolute: f64,
    relative: f64,
}

/// A layer of ReLU units in the making.
#[derive(Clone, Debug)]
struct Stage {
    inputs: usize,
    units: Vec<Affine>,
    known: Vec<Known>,
}

impl Stage {
    fn new(inputs: usize) -> Self {
        Stage { inputs, units: Vec::new(), known: Vec::new() }
    }

    /// Adds the unit `(value)+` over units of `before` and gives it as a function for the next layer.
    fn relu(&mut self, value: Affine, before: &Stage) -> Affine {
        let (mut size, mut absolute) = (value.constant.abs(), 0.0);
        let mut largest = value.constant;
        for &(unit, weight) in &value.terms {
            let Known { largest: most, absolute: own, relative } = before.known[unit];
            absolute += weight.abs() * (own + relative * most);
            size += weight.abs() * (most + own);
            largest += weight.max(0.0) * most;
        }
        absolute += roundings(value.terms.len() + 2) * size;
        self.push(value, Known { largest: largest.max(0.0), absolute, relative: 0.0 })
    }

    fn push(&mut self, value: Affine, known: Known) -> Affine {
        self.units.push(value);
        self.known.push(known);
        Affine::unit(self.units.len() - 1, 1.0)
    }

    fn layer(&self) -> Result<Layer> {
        let outputs = self.units.len();
        let mut weights = vec![0f32; self.inputs * outputs];
        for (j, unit) in self.units.iter().enumerate() {
            unit.terms.iter().for_each(|&(i, weight)| weights[i * outputs + j] += weight as f32);
        }
        Layer::new(weights, self.units.iter().map(|unit| unit.constant as f32).collect(), Activation::Relu)
    }
}

/// Units of the first layer that are shared along lines of the grid, in cells.
struct Lines {
    /// `(z_i)+` for each node of axis `i`.
    above: Vec<Vec<Affine>>,
    /// `(-z_i)+`.
    below: Vec<Vec<Affine>>,
}

/// `(z_a - z_b)+` for each difference of nodes.
struct Diagonal {
    units: Vec<Affine>,
    shift: usize,
}

impl Diagonal {
    fn at(&self, a: usize, b: usize) -> &Affine {
        &self.units[a + self.shift - b]
    }
}

impl Grid {
    /// `(x_i - t)+` or `(t - x_i)+` at each node `t`: subtracting an exact `f32` rounds once, whatever the machine.
    fn line(&self, first: &mut Stage, axis: usize, sign: f64) -> Vec<Affine> {
        let own = &self.axes[axis];
        let largest = own.cells as f64 * own.step;
        let last = if sign > 0.0 { own.cells } else { 0 };
        let unit = |k: usize| {
            // Beyond its last node a unit is zero on the whole box.
            if k == last {
                return Affine::default();
            }
            let value = Affine { constant: -sign * own.node(k), terms: vec![(axis, sign)] };
            let known = Known { largest, absolute: 0.0, relative: UNIT };
            Affine::default().plus(1.0 / own.step, &first.push(value, known))
        };
        (0..=own.cells).map(unit).collect()
    }

    fn lines(&self, first: &mut Stage, axes: &[usize], signs: [bool; 2]) -> Lines {
        let mut part = |keep: bool, sign: f64| {
            let line = |&axis| if keep { self.line(first, axis, sign) } else { Vec::new() };
            axes.iter().map(line).collect()
        };
        Lines { above: part(signs[0], 1.0), below: part(signs[1], -1.0) }
    }

    fn diagonal(&self, first: &mut Stage, a: usize, b: usize) -> Diagonal {
        let (p, q) = (&self.axes[a], &self.axes[b]);
        let size = |axis: &Axis| axis.bounds[0].abs().max(axis.bounds[1].abs()) / axis.step;
        let unit = |at: usize| {
            let difference = at as f64 - q.cells as f64;
            if at == p.cells + q.cells {
                return Affine::default();
            }
            let constant = q.low / q.step - p.low / p.step - difference;
            let value = Affine { constant, terms: vec![(a, 1.0 / p.step), (b, -1.0 / q.step)] };
            // Two rounded weights and a rounded bias, two products and two sums.
            let absolute = roundings(5) * (size(p) + size(q) + constant.abs());
            let known = Known { largest: (p.cells + q.cells) as f64, absolute, relative: 0.0 };
            first.push(value, known)
        };
        Diagonal { units: (0..=p.cells + q.cells).map(unit).collect(), shift: q.cells }
    }
}

/// The hats of a grid: ReLU layers, and the error of each hat.
pub(super) struct Hats {
    pub(super) layers: Vec<Layer>,
    /// A computed hat differs from the exact one by at most this.
    pub(super) error: f64,
    /// At most so many hats are not exactly 0 at a point.
    pub(super) active: usize,
}

/// The hats of a grid in one to four dimensions.
pub(super) fn hats(grid: &Grid) -> Result<Hats> {
    let mut stages = shared(grid);
    let last = stages.pop().ok_or_else(|| Error::parameter("columns of a box", "from 1 to 4", grid.axes.len()))?;
    // A hat above 0 has terms that sum to at most 1 + error: error <= own + (relative + rounding) (2 + error).
    let before = stages.last();
    let of_unit = |unit: usize| before.map_or(Known { largest: 0.0, absolute: 0.0, relative: 0.0 }, |s| s.known[unit]);
    let of_hat = |hat: &Affine| {
        let own: f64 = hat.terms.iter().map(|&(unit, weight)| weight.abs() * of_unit(unit).absolute).sum();
        let relative = hat.terms.iter().map(|&(unit, _)| of_unit(unit).relative).fold(0.0, f64::max);
        let share = relative + roundings(hat.terms.len() + 2);
        (own + 2.0 * share) / (1.0 - share)
    };
    let error = last.units.iter().map(of_hat).fold(0.0, f64::max);
    // A hat above 0 has every z_i within 1 + error < 3/2 of 0, and an interval of length 3 has at most three whole
    // numbers.
    let active = if error < 0.5 { 3usize.pow(grid.axes.len() as u32) } else { last.units.len() };
    stages.push(last);
    Ok(Hats { layers: stages.iter().map(Stage::layer).collect::<Result<_>>()?, error, active })
}

/// The layers, the last of which has the hats as its units.
fn shared(grid: &Grid) -> Vec<Stage> {
    let mut first = Stage::new(grid.axes.len());
    let one = || Affine { constant: 1.0, terms: Vec::new() };
    let nodes = || (0..grid.len()).map(|at| grid.position(at));
    match grid.axes.len() {
        1 => {
            let Lines { above, below } = grid.lines(&mut first, &[0], [true, true]);
            let hat = |k: Vec<usize>| one().plus(-1.0, &above[0][k[0]]).plus(-1.0, &below[0][k[0]]);
            let last = finish(&first, nodes().map(hat));
            vec![first, last]
        }
        2 => {
            let below = grid.line(&mut first, 0, -1.0);
            let between = grid.diagonal(&mut first, 0, 1);
            let above = grid.line(&mut first, 1, 1.0);
            let hat = |k: Vec<usize>| {
                one().plus(-1.0, &below[k[0]]).plus(-1.0, between.at(k[0], k[1])).plus(-1.0, &above[k[1]])
            };
            let last = finish(&first, nodes().map(hat));
            vec![first, last]
        }
        3 => {
            let Lines { above, below } = grid.lines(&mut first, &[0, 1, 2], [true, true]);
            let between = grid.diagonal(&mut first, 2, 1);
            let mut second = Stage::new(first.units.len());
            let size = |k: usize| Affine::default().plus(1.0, &above[0][k]).plus(1.0, &below[0][k]);
            let sizes: Vec<Affine> = (0..above[0].len()).map(|k| second.relu(size(k), &first)).collect();
            let mut hat = |k: Vec<usize>| {
                let (over, under) =
                    pair(&above[1][k[1]], &below[1][k[1]], &above[2][k[2]], &below[2][k[2]], between.at(k[2], k[1]));
                let over = second.relu(over.plus(-1.0, &above[0][k[0]]), &first);
                let under = second.relu(under.plus(-1.0, &below[0][k[0]]), &first);
                one().plus(-1.0, &sizes[k[0]]).plus(-1.0, &over).plus(-1.0, &under)
            };
            let values: Vec<Affine> = nodes().map(&mut hat).collect();
            let last = finish(&second, values.into_iter());
            vec![first, second, last]
        }
        4 => four(grid, first),
        _ => Vec::new(),
    }
}

/// `max(z_a, z_b)` and `max(-z_a, -z_b)` from the positive parts of both and of `z_b - z_a`.
fn pair(a: &Affine, minus_a: &Affine, b: &Affine, minus_b: &Affine, between: &Affine) -> (Affine, Affine) {
    (between.clone().plus(1.0, a).plus(-1.0, minus_a), between.clone().plus(-1.0, b).plus(1.0, minus_b))
}

fn four(grid: &Grid, mut first: Stage) -> Vec<Stage> {
    let Lines { above, below } = grid.lines(&mut first, &[0, 1, 2, 3], [true, true]);
    let between = grid.diagonal(&mut first, 3, 2);
    let (n0, n1) = (above[0].len(), above[1].len());
    let mut second = Stage::new(first.units.len());
    // What the third layer needs of the first is carried through: it is not negative.
    let mut carry = |line: &Vec<Affine>| -> Vec<Affine> {
        let one =
            |value: &Affine| if value.terms.is_empty() { value.clone() } else { second.relu(value.clone(), &first) };
        line.iter().map(one).collect()
    };
    let [p0, m0, p2, m2, p3, m3] = [&above[0], &below[0], &above[2], &below[2], &above[3], &below[3]].map(&mut carry);
    let between = Diagonal { units: carry(&between.units), ..between };
    let mut beyond = |line: &[Vec<Affine>], k: [usize; 2], sign: f64| {
        let z = Affine::default().plus(sign, &above[1][k[1]]).plus(-sign, &below[1][k[1]]);
        second.relu(z.plus(-1.0, &line[0][k[0]]), &first)
    };
    let pairs: Vec<[usize; 2]> = (0..n0 * n1).map(|at| [at / n1, at % n1]).collect();
    // max(0, z1, z2) and max(0, -z1, -z2).
    let over: Vec<Affine> = pairs.iter().map(|&k| beyond(&above, k, 1.0).plus(1.0, &p0[k[0]])).collect();
    let under: Vec<Affine> = pairs.iter().map(|&k| beyond(&below, k, -1.0).plus(1.0, &m0[k[0]])).collect();
    let mut third = Stage::new(second.units.len());
    let ranges: Vec<Affine> =
        over.iter().zip(&under).map(|(a, b)| third.relu(a.clone().plus(1.0, b), &second)).collect();
    let hat = |k: Vec<usize>| {
        let at = k[0] * n1 + k[1];
        let (high, low) = pair(&p2[k[2]], &m2[k[2]], &p3[k[3]], &m3[k[3]], between.at(k[3], k[2]));
        let high = third.relu(high.plus(-1.0, &over[at]), &second);
        let low = third.relu(low.plus(-1.0, &under[at]), &second);
        Affine { constant: 1.0, terms: Vec::new() }.plus(-1.0, &ranges[at]).plus(-1.0, &high).plus(-1.0, &low)
    };
    let values: Vec<Affine> = (0..grid.len()).map(|at| grid.position(at)).map(hat).collect();
    let last = finish(&third, values.into_iter());
    vec![first, second, third, last]
}

fn finish(before: &Stage, hats: impl Iterator<Item = Affine>) -> Stage {
    let mut last = Stage::new(before.units.len());
    hats.for_each(|hat| {
        last.relu(hat, before);
    });
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::hat_layers;
    use crate::seed::Seed;
    use crate::tower::Tower;

    fn exact(z: &[f64]) -> f64 {
        let (low, high) = z.iter().fold((0f64, 0f64), |(low, high), &v| (low.min(v), high.max(v)));
        (1.0 + low - high).max(0.0)
    }

    #[test]
    fn the_layers_are_the_hats_within_the_stated_error_and_have_the_stated_widths() {
        let mut stream = Seed(3).stream("hats");
        for (dim, cells) in [(1, 1), (1, 9), (1, 700), (2, 1), (2, 7), (3, 1), (3, 4), (4, 1), (4, 2)] {
            let low: Vec<f64> = (0..dim).map(|i| [-1.0, 0.3, 5.0, -0.01][i]).collect();
            let high: Vec<f64> = (0..dim).map(|i| low[i] + [2.0, 1.1, 1.7, 0.9][i]).collect();
            let domain = Cuboid::new(low, high).unwrap();
            let grid = Grid::new(&domain, cells);
            let hats = hats(&grid).unwrap();
            let widths: Vec<f64> = hats.layers.iter().map(|l| l.outputs() as f64).collect();
            assert_eq!(widths, hat_layers(&grid.cells()));
            let tower = Tower::new(hats.layers).unwrap();
            let mut rows: Vec<f32> = domain.high.iter().map(|v| *v as f32).collect();
            for _ in 0..300 {
                (0..dim).for_each(|i| {
                    rows.push((domain.low[i] + stream.uniform() * (domain.high[i] - domain.low[i])) as f32)
                });
            }
            let features = Features::dense(rows.clone(), dim).unwrap();
            let out = tower.forward(&features.rows()).unwrap();
            let mut worst = 0f64;
            for (row, values) in rows.chunks_exact(dim).zip(out.chunks_exact(grid.len())) {
                let mut sum = 0.0;
                for (at, value) in values.iter().enumerate() {
                    let z: Vec<f64> = (0..dim)
                        .zip(grid.position(at))
                        .map(|(i, k)| (f64::from(row[i]) - grid.axes[i].node(k)) / grid.axes[i].step)
                        .collect();
                    worst = worst.max((f64::from(*value) - exact(&z)).abs());
                    sum += exact(&z);
                }
                assert!((sum - 1.0).abs() < 1e-9, "the hats sum to {sum}");
                assert!(values.iter().filter(|v| **v != 0.0).count() <= hats.active);
            }
            println!("d = {dim}, {cells} cells: error {worst:.2e}, bound {:.2e}", hats.error);
            assert!(worst <= hats.error && hats.error < 2e-3, "{dim}, {cells}: {worst:e} against {:e}", hats.error);
        }
    }

    #[test]
    fn nodes_are_exact_and_cover_the_box() {
        for (low, high, cells) in [(0.0, 1.0, 23), (-1e-3, 1e6, 999), (0.1f32.into(), 0.7f32.into(), 65_536)] {
            let axis = Axis::new(low, high, cells);
            assert!((0..=cells).all(|k| f64::from(axis.node(k) as f32) == axis.node(k)));
            assert!(axis.node(0) <= low && axis.node(cells) >= high);
            let overhang = (low - axis.node(0)).max(axis.node(cells) - high);
            assert!(overhang <= 4.0 * cells as f64 * UNIT * high.abs().max(low.abs()));
        }
    }
}
