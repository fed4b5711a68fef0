//! One side of the model in `f64`: a tower with one hidden layer, its even derivatives on a grid, and bounds between
//! the nodes.

use std::ops::Range;

use crate::certify::sup::slopes::{even_derivatives, is_known, is_piecewise_linear, supremum};
use crate::error::{Error, Result};
use crate::linalg::Matrix;
use crate::relation::Cuboid;
use crate::tower::{Activation, RowScaling, Tower};

/// Levels of the recursion on pairs: even derivatives of the error up to order `2 DEPTH` are evaluated, those two
/// orders higher are bounded.
pub(crate) const DEPTH: u32 = 2;
/// Levels of the recursion on one side: derivatives of this order divided by 2 are bounded by sums over units.
const LEVELS: u32 = 6;
/// Cells along an axis of a tile, by the number of axes of its side.
const CELLS: [usize; 4] = [64, 8, 4, 3];
/// Largest number of axes of a side.
pub(crate) const AXES: usize = CELLS.len();
/// Half a unit in the last place.
pub(crate) const EPS: f64 = 0.5 * f64::EPSILON;
/// Roundings allowed to an elementary function and what surrounds it.
pub(crate) const ELEMENTARY: f64 = 64.0;

/// All multi-indices over `axes` axes with a sum of at most `most`, by increasing sum.
fn multi_indices(axes: usize, most: u32) -> Vec<Vec<u32>> {
    let mut all = vec![vec![]];
    for _ in 0..axes {
        let extend = |index: &Vec<u32>| {
            let left = most - index.iter().sum::<u32>();
            (0..=left).map(|k| [index.as_slice(), &[k]].concat()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(extend).collect();
    }
    all.sort_by_key(|index| (index.iter().sum::<u32>(), std::cmp::Reverse(index.clone())));
    all
}

/// The derivatives of one multi-index `a`: order `2 a_i` along axis `i`.
struct Derivative {
    /// `a`.
    halves: Vec<u32>,
    /// Sum of `a`.
    level: u32,
    /// Where the multi-indices with one more along each axis stand; none at the last level.
    next: Vec<usize>,
    /// `c_uj prod w_iu^(2 a_i)`, `(units, dim)`.
    outputs: Matrix,
    /// `sum_u |outputs_uj|`, `(dim,)`.
    sums: Vec<f64>,
}

/// `f_j(x) = sum_u c_uj act(<w_u, x> + b_u) + c_j`, in `f64` with the weights of an `f32` tower.
pub(crate) struct Shallow {
    /// `(axes, units)`.
    weights: Matrix,
    bias: Vec<f64>,
    activation: Activation,
    constant: Vec<f64>,
    derivatives: Vec<Derivative>,
}

impl Shallow {
    /// The outputs of `range`, each times its sign, of a tower with at most one hidden layer.
    pub(crate) fn new(tower: &Tower, range: Range<usize>, signs: Option<&[f32]>) -> Result<Self> {
        let refuse = |got: String| {
            Err(Error::parameter(
                "model of a sup-norm certificate",
                "towers with one hidden layer on unscaled rows",
                got,
            ))
        };
        if tower.scaling() != RowScaling::None {
            return refuse("rows scaled to unit norm".into());
        }
        // Scale and sign of an output.
        let factor = |j: usize| f64::from(tower.scale()) * signs.map_or(1.0, |s| f64::from(s[j]));
        let (first, last) = (&tower.layers()[0], &tower.layers()[tower.layers().len() - 1]);
        let units = first.outputs();
        let (outputs, constant) = match tower.layers().len() {
            1 => {
                let one = |u: usize, j: usize| if u == range.start + j { factor(u) } else { 0.0 };
                (Matrix::from_fn(units, range.len(), one), vec![0.0; range.len()])
            }
            2 if last.activation() == Activation::Identity => {
                let weight = |u: usize, j: usize| {
                    factor(range.start + j) * f64::from(last.weights()[u * last.outputs() + range.start + j])
                };
                let constant = range.clone().map(|j| factor(j) * f64::from(last.bias()[j])).collect();
                (Matrix::from_fn(units, range.len(), weight), constant)
            }
            2 => return refuse(format!("a last layer with {:?}", last.activation())),
            more => return refuse(format!("{more} layers")),
        };
        if !is_known(first.activation()) {
            return refuse(format!("{:?} units, whose derivatives have no bound", first.activation()));
        }
        let axes = first.inputs();
        let weights = Matrix::from_fn(axes, units, |i, u| f64::from(first.weights()[i * units + u]));
        let bias = first.bias().iter().map(|&b| b.into()).collect();
        let derivatives = derivatives(&weights, &outputs);
        Ok(Shallow { weights, bias, activation: first.activation(), constant, derivatives })
    }

    pub(crate) fn axes(&self) -> usize {
        self.weights.rows()
    }

    fn units(&self) -> usize {
        self.bias.len()
    }

    /// Whether kinks run through the cells: those of one axis lie on nodes.
    fn has_kinks(&self) -> bool {
        self.activation == Activation::Relu && self.axes() > 1
    }

    /// Output weights `c`, `(units, dim)`.
    fn outputs(&self) -> &Matrix {
        &self.derivatives[0].outputs
    }

    /// Number of multi-indices of at most this level.
    fn count(&self, level: u32) -> usize {
        self.derivatives.iter().take_while(|d| d.level <= level).count()
    }

    /// The even derivatives of the activation at all points, by level: `(points, units)` each.
    fn activations(&self, points: &Matrix, levels: usize) -> Vec<Matrix> {
        let z = points.transpose_times(&self.weights);
        let mut all = vec![Matrix::zeros(z.rows(), z.columns()); levels];
        let mut here = vec![0.0; levels];
        for u in 0..z.columns() {
            for (i, z) in z.column(u).iter().enumerate() {
                even_derivatives(self.activation, z + self.bias[u], &mut here);
                all.iter_mut().zip(&here).for_each(|(target, value)| target[(i, u)] = *value);
            }
        }
        all
    }

    /// Values at points that are columns: `(points, dim)`.
    pub(crate) fn forward(&self, points: &Matrix) -> Matrix {
        let mut out = self.activations(points, 1)[0].times(self.outputs());
        self.add_constant(&mut out);
        out
    }

    fn add_constant(&self, values: &mut Matrix) {
        for (j, constant) in self.constant.iter().enumerate() {
            values.column_mut(j).iter_mut().for_each(|v| *v += constant);
        }
    }

    /// Nodes along each axis: even steps, and in one dimension the kinks.
    fn axis_nodes(&self, cuboid: &Cuboid) -> Vec<Vec<f64>> {
        let cells = CELLS[self.axes() - 1];
        let even = |axis: usize| {
            let (low, high) = (cuboid.low[axis], cuboid.high[axis]);
            let mut nodes: Vec<f64> = (0..cells).map(|k| low + (high - low) * (k as f64 / cells as f64)).collect();
            nodes.push(high);
            if self.activation == Activation::Relu && self.axes() == 1 {
                let knots = self.weights.data().iter().zip(&self.bias).map(|(w, b)| -b / w);
                nodes.extend(knots.filter(|&knot| knot > low && knot < high));
                nodes.sort_by(f64::total_cmp);
            }
            nodes.dedup();
            nodes
        };
        (0..self.axes()).map(even).collect()
    }

    /// What roundings may add to the derivative `d` on the box: `(dim,)`.
    ///
    /// A sum of `n` products is off by at most `n eps` times the sum of their sizes; an argument by `(axes + 2) eps`
    /// times the sum of sizes, and its activation by the slope times that.
    fn roundings(&self, d: &Derivative, cuboid: &Cuboid) -> Vec<f64> {
        let n = 2 * d.level as usize;
        let mut sums = vec![0.0; self.constant.len()];
        for u in 0..self.units() {
            let size = self.bias[u].abs()
                + (0..self.axes()).map(|i| self.weights[(i, u)].abs() * cuboid.reach(i)).sum::<f64>();
            let value = if n == 0 { size.max(1.0) } else { supremum(self.activation, n) };
            let argument = supremum(self.activation, n + 1) * (self.axes() + 2) as f64 * size;
            // Power series of tanh and GELU take more roundings than one function.
            let elementary = if n == 0 { ELEMENTARY } else { ELEMENTARY * ELEMENTARY };
            let off = EPS * ((self.units() as f64 + elementary) * value + argument);
            sums.iter_mut().enumerate().for_each(|(j, sum)| *sum += off * d.outputs[(u, j)].abs());
        }
        if n == 0 {
            sums.iter_mut().zip(&self.constant).for_each(|(sum, c)| *sum += 4.0 * EPS * c.abs());
        }
        sums
    }

    /// For each cell the units whose kink runs through it, with the largest gap between `max(z, 0)` and its
    /// interpolant.
    ///
    /// Multilinear interpolation is an average over the corners, `z` is affine, `max(z, 0)` convex: where
    /// `-a <= z <= b` on the cell, the interpolant lies at most as far above as the chord, `a b / (a + b)`.
    fn kinks(&self, nodes: &[Vec<f64>]) -> Vec<Vec<(usize, f64)>> {
        if !self.has_kinks() {
            return Vec::new();
        }
        let cells = |axis: usize| nodes[axis].windows(2).map(|w| (0.5 * (w[0] + w[1]), 0.5 * (w[1] - w[0]))).collect();
        let sides: Vec<Vec<(f64, f64)>> = (0..self.axes()).map(cells).collect();
        let of_cell = |cell: Vec<(f64, f64)>| {
            let gap = |u: usize| {
                let (mut middle, mut spread) = (self.bias[u], 0.0);
                for (i, (centre, half)) in cell.iter().enumerate() {
                    middle += self.weights[(i, u)] * centre;
                    spread += self.weights[(i, u)].abs() * half;
                }
                let (below, above) = (spread - middle, spread + middle);
                (below > 0.0 && above > 0.0).then(|| (u, below * above / (below + above)))
            };
            (0..self.units()).filter_map(gap).collect()
        };
        product(&sides).into_iter().map(of_cell).collect()
    }
}

/// All combinations of one entry of each list, the last list fastest.
fn product<T: Copy>(lists: &[Vec<T>]) -> Vec<Vec<T>> {
    lists.iter().fold(vec![vec![]], |all, list| {
        all.iter().flat_map(|head| list.iter().map(move |&entry| [head.as_slice(), &[entry]].concat())).collect()
    })
}

fn derivatives(weights: &Matrix, outputs: &Matrix) -> Vec<Derivative> {
    let indices = multi_indices(weights.rows(), LEVELS);
    let of = |halves: &Vec<u32>| {
        let power =
            |u: usize| -> f64 { halves.iter().enumerate().map(|(i, &k)| weights[(i, u)].powi(2 * k as i32)).product() };
        let scaled = Matrix::from_fn(outputs.rows(), outputs.columns(), |u, j| power(u) * outputs[(u, j)]);
        let sums = (0..outputs.columns()).map(|j| scaled.column(j).iter().map(|v| v.abs()).sum()).collect();
        let level = halves.iter().sum();
        let raised = |axis: usize| {
            let mut more = halves.clone();
            more[axis] += 1;
            indices.iter().position(|other| *other == more)
        };
        let next = (0..halves.len()).filter_map(raised).collect();
        Derivative { halves: halves.clone(), level, next, outputs: scaled, sums }
    };
    indices.iter().map(of).collect()
}

/// A tower on the grid of one box, with what holds between the nodes.
pub(crate) struct Side<'a> {
    pub(crate) tower: &'a Shallow,
    pub(crate) cuboid: Cuboid,
    /// Nodes as columns, `(axes, nodes)`.
    pub(crate) nodes: Matrix,
    /// Longest cell along each axis.
    pub(crate) steps: Vec<f64>,
    /// Derivatives at the nodes, `(nodes, dim)`, by multi-index up to level [`DEPTH`].
    pub(crate) tables: Vec<Matrix>,
    /// Bounds of derivatives on the box, `(dim,)`, by multi-index up to level `DEPTH + 1`.
    pub(crate) bounds: Vec<Vec<f64>>,
    /// What roundings may add to the entries of `tables`, `(dim,)`.
    pub(crate) roundings: Vec<Vec<f64>>,
    /// Bounds of `|f_j - its interpolant|`, `(dim,)`.
    gaps: Vec<f64>,
    kinks: Vec<Vec<(usize, f64)>>,
}

impl<'a> Side<'a> {
    pub(crate) fn new(tower: &'a Shallow, cuboid: Cuboid) -> Self {
        let axis_nodes = tower.axis_nodes(&cuboid);
        let steps: Vec<f64> = axis_nodes.iter().map(|nodes| longest_step(nodes)).collect();
        let points = product(&axis_nodes);
        let nodes = Matrix::from_columns(points.concat(), tower.axes(), points.len());
        let levels = if is_piecewise_linear(tower.activation) { 1 } else { LEVELS as usize };
        let activations = tower.activations(&nodes, levels);
        let table = |d: &Derivative| {
            let mut values = match activations.get(d.level as usize) {
                Some(values) => values.times(&d.outputs),
                None => Matrix::zeros(nodes.columns(), tower.constant.len()),
            };
            if d.level == 0 {
                tower.add_constant(&mut values);
            }
            values
        };
        let mut tables: Vec<Matrix> = tower.derivatives[..tower.count(LEVELS - 1)].iter().map(table).collect();
        let kinks = tower.kinks(&axis_nodes);
        let roundings: Vec<Vec<f64>> =
            tower.derivatives[..tables.len()].iter().map(|d| tower.roundings(d, &cuboid)).collect();
        let (mut bounds, gaps) = bounds(tower, &tables, &roundings, &steps, &kinks);
        tables.truncate(tower.count(DEPTH));
        bounds.truncate(tower.count(DEPTH + 1));
        Side { tower, cuboid, nodes, steps, tables, bounds, roundings, gaps, kinks }
    }

    /// The multi-index with one more along `axis`.
    pub(crate) fn raised(&self, index: usize, axis: usize) -> usize {
        self.tower.derivatives[index].next[axis]
    }

    /// How many numbers the tables hold.
    pub(crate) fn numbers(&self) -> usize {
        self.tables.iter().map(|table| table.data().len()).sum()
    }

    pub(crate) fn level(&self, index: usize) -> u32 {
        self.tower.derivatives[index].level
    }

    /// The orders along each axis of a multi-index.
    pub(crate) fn orders(&self, index: usize) -> Vec<u32> {
        self.tower.derivatives[index].halves.iter().map(|k| 2 * k).collect()
    }

    pub(crate) fn has_kinks(&self) -> bool {
        self.kinks.iter().any(|cell| !cell.is_empty())
    }

    /// What the kinks of this side add to the error of interpolating `<f(x), g(y)>`, `other` being `g` on its box.
    pub(crate) fn kink_gap(&self, other: &Side<'_>) -> f64 {
        if !self.has_kinks() {
            return 0.0;
        }
        let outputs = self.tower.outputs();
        let at_nodes = outputs.times_transpose(&other.tables[0]);
        let largest = |u: usize| {
            let seen = (0..at_nodes.columns()).map(|i| at_nodes[(u, i)].abs()).fold(0.0, f64::max);
            let unseen = other.gaps.iter().zip(&other.roundings[0]).enumerate();
            seen + unseen.map(|(j, (gap, off))| outputs[(u, j)].abs() * (gap + off)).sum::<f64>()
        };
        let sizes: Vec<f64> = (0..self.tower.units()).map(largest).collect();
        let of_cell = |cell: &Vec<(usize, f64)>| cell.iter().map(|(u, gap)| gap * sizes[*u]).sum::<f64>();
        self.kinks.iter().map(of_cell).fold(0.0, f64::max)
    }
}

/// The longest of the steps, a little more so that roundings of the nodes do not matter.
fn longest_step(nodes: &[f64]) -> f64 {
    nodes.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max) * (1.0 + 1e-12)
}

/// Bounds of all derivatives from those two orders higher, last level first, and of the interpolation error.
fn bounds(
    tower: &Shallow,
    tables: &[Matrix],
    roundings: &[Vec<f64>],
    steps: &[f64],
    kinks: &[Vec<(usize, f64)>],
) -> (Vec<Vec<f64>>, Vec<f64>) {
    let dim = tower.constant.len();
    let mut bounds = vec![Vec::new(); tower.derivatives.len()];
    let mut gaps = vec![0.0; dim];
    for at in (0..bounds.len()).rev() {
        let d = &tower.derivatives[at];
        let bound = |j: usize| {
            let by_units = match d.level {
                0 => f64::INFINITY,
                level => d.sums[j] * supremum(tower.activation, 2 * level as usize),
            };
            let Some(table) = tables.get(at) else { return (by_units, 0.0) };
            let seen = table.column(j).iter().map(|v| v.abs()).fold(0.0, f64::max) + roundings[at][j];
            let gap: f64 = steps.iter().zip(&d.next).map(|(h, &next)| h * h / 8.0 * bounds[next][j]).sum();
            (by_units.min(seen + gap), gap)
        };
        let both: Vec<(f64, f64)> = (0..dim).map(bound).collect();
        bounds[at] = both.iter().map(|b| b.0).collect();
        gaps = both.iter().map(|b| b.1).collect();
    }
    for j in 0..dim {
        let of_cell = |cell: &Vec<(usize, f64)>| cell.iter().map(|(u, gap)| gap * tower.outputs()[(*u, j)].abs()).sum();
        let kink = kinks.iter().map(of_cell).fold(0.0, f64::max);
        gaps[j] += kink;
        bounds[0][j] += kink;
    }
    (bounds, gaps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use crate::tower::Layer;

    fn shallow(weights: Vec<f32>, bias: Vec<f32>, activation: Activation, outputs: Vec<f32>) -> Shallow {
        let dim = outputs.len() / bias.len();
        let hidden = Layer::new(weights, bias, activation).unwrap();
        let last = Layer::new(outputs, vec![0.25; dim], Activation::Identity).unwrap();
        Shallow::new(&Tower::new(vec![hidden, last]).unwrap(), 0..dim, None).unwrap()
    }

    #[test]
    fn what_the_nodes_miss_is_bounded() {
        // sin(32 pi x) vanishes at all 65 nodes of [-1, 1] and is 1 between them.
        let tower = shallow(vec![32.0 * std::f32::consts::PI], vec![0.0], Activation::Sine, vec![1.0]);
        let side = Side::new(&tower, Cuboid::new(vec![-1.0], vec![1.0]).unwrap());
        let above = |level: usize| side.bounds[level][0] / (32.0 * std::f64::consts::PI).powi(2 * level as i32);
        assert!((1.25..1.5).contains(&above(0)), "{}", above(0));
        assert!((1.0..1.01).contains(&above(1)) && (1.0..1.01).contains(&above(2)), "{} {}", above(1), above(2));
    }

    #[test]
    fn bounds_of_derivatives_hold_and_are_close_on_fine_grids() {
        let mut stream = Seed(4).stream("sides");
        for activation in [Activation::Sine, Activation::Cosine, Activation::Gelu, Activation::Tanh] {
            for axes in [1, 2] {
                let mut normals = |n: usize| (0..n).map(|_| 2.0 * stream.normal() as f32).collect::<Vec<f32>>();
                let tower = shallow(normals(axes * 9), normals(9), activation, normals(18));
                let side = Side::new(&tower, Cuboid::new(vec![-0.7; axes], vec![0.4; axes]).unwrap());
                let points: Vec<f64> = (0..2000 * axes).map(|_| -0.7 + 1.1 * stream.uniform()).collect();
                let levels = DEPTH as usize + 2;
                let all = tower.activations(&Matrix::from_columns(points, axes, 2000), levels);
                for (at, d) in tower.derivatives[..side.bounds.len()].iter().enumerate() {
                    let values = all[d.level as usize].times(&d.outputs);
                    for j in 0..2 {
                        let constant = if at == 0 { 0.25 } else { 0.0 };
                        let largest = values.column(j).iter().map(|v| (v + constant).abs()).fold(0.0, f64::max);
                        let bound = side.bounds[at][j];
                        assert!(largest <= bound, "{activation:?} {:?}: {largest} above {bound}", d.halves);
                        assert!(
                            axes == 2 || bound < 1.5 * largest,
                            "{activation:?} {:?}: {bound} far above {largest}",
                            d.halves
                        );
                    }
                }
            }
        }
    }
}
