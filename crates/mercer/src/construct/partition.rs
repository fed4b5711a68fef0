//! The partition network: piecewise linear interpolation on two grids, exactly as ReLU towers.

mod hats;

use serde::{Deserialize, Serialize};

use crate::bounds::{fewest_layers, grid_nodes, hat_layers};
use crate::construct::partition::hats::{Grid, Hats, MOST_CELLS, hats};
use crate::construct::{Construction, Evidence, Guarantee, Norm, roundings};
use crate::encoder::{DualEncoder, Form};
use crate::error::{Error, Result};
use crate::linalg::{Matrix, svd};
use crate::relation::{Cuboid, Relation, ask_block};
use crate::tower::{Activation, Layer, Tower};

/// How fast a relation can change in each argument, in the Euclidean norm.
#[derive(Clone, Copy)]
pub enum Modulus<'a> {
    /// `|r(x, y) - r(x', y')| <= query |x - x'| + key |y - y'|`.
    Lipschitz {
        /// Constant of the query side, at least 0.
        query: f64,
        /// Constant of the key side, at least 0.
        key: f64,
    },
    /// `|r(x, y) - r(x', y')| <= query(|x - x'|) + key(|y - y'|)` with concave functions that do not decrease.
    ///
    /// Every modulus of continuity on a box has such a majorant, at most twice as large.
    Concave {
        /// Modulus of the query side.
        query: &'a (dyn Fn(f64) -> f64 + Sync),
        /// Modulus of the key side.
        key: &'a (dyn Fn(f64) -> f64 + Sync),
    },
}

impl Modulus<'_> {
    fn check(&self) -> Result<()> {
        let Modulus::Lipschitz { query, key } = self else { return Ok(()) };
        for (name, value) in [("Lipschitz constant of the queries", query), ("Lipschitz constant of the keys", key)] {
            if !(value.is_finite() && *value >= 0.0) {
                return Err(Error::parameter(name, "a finite number not below 0", value));
            }
        }
        Ok(())
    }

    /// The change over a distance; infinite where a closure gives NaN or a negative number.
    fn change(&self, side: Side, distance: f64) -> f64 {
        let value = match (self, side) {
            (Modulus::Lipschitz { query, .. }, Side::Query) => query * distance,
            (Modulus::Lipschitz { key, .. }, Side::Key) => key * distance,
            (Modulus::Concave { query, .. }, Side::Query) => query(distance),
            (Modulus::Concave { key, .. }, Side::Key) => key(distance),
        };
        if value >= 0.0 { value } else { f64::INFINITY }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Query,
    Key,
}

/// What a partition network shall reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartitionOptions {
    /// The guarantee is at most this, rounding and truncation included.
    pub error: f64,
    /// Most bytes of all weights.
    pub memory: u64,
    /// `None`: the embeddings are the hats of the query grid. `Some(e)`: the core of values is cut to the smallest rank
    /// whose largest discarded entry is at most `e`, a part of `error`, and the embedding dimension is that rank.
    ///
    /// The decomposition takes time with the cube of the number of nodes: seconds at 2,000 a side.
    pub rank_error: Option<f64>,
}

impl Default for PartitionOptions {
    fn default() -> Self {
        PartitionOptions { error: 0.1, memory: 1 << 29, rank_error: None }
    }
}

/// The size of a partition network, known before it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionSize {
    /// Nodes of the query grid.
    pub query_nodes: u128,
    /// Nodes of the key grid.
    pub key_nodes: u128,
    /// ReLU units of both towers.
    pub neurons: u128,
    /// Weights and biases of both towers; with truncation at most so many.
    pub parameters: u128,
    /// Bytes of the parameters in `f32`.
    pub bytes: u128,
}

/// How the hats of a side with one column are made. With more columns there is one way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// One hidden layer whose units neighbours share: `h hat_j = u_(j-1) - 2 u_j + u_(j+1)` with `u_k = (x - t_k)+`.
    /// Fewest neurons; its rounding grows with the square of their number.
    Shared,
    /// Hats as units of a second layer: its rounding does not grow.
    Local,
}

/// ReLU widths of one tower.
fn relu_widths(cells: &[f64], shape: Shape) -> Vec<f64> {
    match shape {
        Shape::Shared => fewest_layers(cells),
        Shape::Local => hat_layers(cells),
    }
}

/// Weights and biases of layers of the given widths.
fn parameters(inputs: usize, widths: &[f64]) -> f64 {
    let chain = || std::iter::once(inputs as f64).chain(widths.iter().copied());
    chain().zip(widths).map(|(a, b)| (a + 1.0) * b).sum()
}

fn size(query: &[f64], key: &[f64], shape: Shape, truncated: bool) -> PartitionSize {
    let (query_nodes, key_nodes) = (grid_nodes(query), grid_nodes(key));
    let outputs = if truncated { query_nodes.min(key_nodes) } else { query_nodes };
    let (mut q, mut k) = (relu_widths(query, shape), relu_widths(key, shape));
    let neurons: f64 = q.iter().chain(&k).sum();
    // Without truncation local hats are the query embedding themselves.
    if truncated || (query.len() == 1 && shape == Shape::Shared) {
        q.push(outputs);
    }
    k.push(outputs);
    let parameters = parameters(query.len(), &q) + parameters(key.len(), &k);
    let [query_nodes, key_nodes, neurons, parameters] =
        [query_nodes, key_nodes, neurons, parameters].map(|n| n as u128);
    PartitionSize { query_nodes, key_nodes, neurons, parameters, bytes: parameters.saturating_mul(4) }
}

/// A number with its thousands apart.
fn grouped(value: u128) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn amount(bytes: u128) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$} {}", units[unit])
}

impl PartitionSize {
    fn fits(&self, memory: u64) -> Result<()> {
        if self.bytes <= memory.into() {
            return Ok(());
        }
        let nodes = match (grouped(self.query_nodes), grouped(self.key_nodes)) {
            (query, key) if query == key => format!("{query} nodes a tower"),
            (query, key) => format!("{query} query and {key} key nodes"),
        };
        let problem = format!(
            "the partition network needs {} ({nodes}, {} neurons), limit {}",
            amount(self.bytes),
            grouped(self.neurons),
            amount(memory.into())
        );
        Err(Error::data(problem, "raise the error or the limit"))
    }
}

/// Two boxes, as rows of `f32` see them, and what is asked of the network between them.
struct Task<'a> {
    queries: Cuboid,
    keys: Cuboid,
    modulus: Modulus<'a>,
    options: PartitionOptions,
}

/// A box with its bounds rounded to `f32`: no row of `f32` in it leaves it so.
fn rounded(domain: &Cuboid, name: &str) -> Result<Cuboid> {
    domain.check()?;
    if domain.dim() > 4 {
        return Err(Error::parameter(format!("columns of the {name} box"), "from 1 to 4", domain.dim()));
    }
    let round = |bounds: &[f64]| bounds.iter().map(|v| f64::from(*v as f32)).collect::<Vec<f64>>();
    let domain = Cuboid { low: round(&domain.low), high: round(&domain.high) };
    for (low, high) in domain.low.iter().zip(&domain.high) {
        if !(low < high && low.abs() <= 1e30 && high.abs() <= 1e30) {
            let expected = "pairs of numbers of size at most 1e30, the low below the high in f32";
            return Err(Error::parameter(format!("bounds of the {name} box"), expected, format!("{low} and {high}")));
        }
    }
    Ok(domain)
}

impl<'a> Task<'a> {
    fn new(queries: &Cuboid, keys: &Cuboid, modulus: Modulus<'a>, options: PartitionOptions) -> Result<Self> {
        let PartitionOptions { error, rank_error, .. } = options;
        if !(error > 0.0 && error.is_finite()) {
            return Err(Error::parameter("error of the partition network", "a positive finite number", error));
        }
        if let Some(rank) = rank_error.filter(|rank| !(*rank > 0.0 && *rank < error)) {
            return Err(Error::parameter("rank error", format!("positive and below the whole error {error}"), rank));
        }
        modulus.check()?;
        Ok(Task { queries: rounded(queries, "query")?, keys: rounded(keys, "key")?, modulus, options })
    }

    /// What interpolation on one grid loses, at most: Jensen's inequality on the mean distance to the nodes. Nodes that
    /// were moved to the edge of the box came closer to every point of it.
    fn loss(&self, side: Side, grid: &Grid) -> f64 {
        self.modulus.change(side, grid.reach())
    }

    /// The fewest cells with which a side loses at most `budget`.
    fn fewest(&self, side: Side, budget: f64) -> Option<usize> {
        let domain = if side == Side::Query { &self.queries } else { &self.keys };
        let enough = |cells: usize| self.loss(side, &Grid::new(domain, cells)) <= budget;
        // Far from the origin the nodes of very fine grids move to numbers that f32 holds: coarse grids first.
        let mut high = 1;
        while !enough(high) {
            high *= 2;
            if high > MOST_CELLS {
                return None;
            }
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if enough(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// The smallest network whose interpolation loses at most `budget`.
    fn smallest(&self, budget: f64, shape: Shape) -> Result<(Grid, Grid, PartitionSize)> {
        let mut best: Option<(Grid, Grid, PartitionSize)> = None;
        let first = self.fewest(Side::Query, budget).unwrap_or(MOST_CELLS + 1);
        for cells in first..=MOST_CELLS {
            let query = Grid::new(&self.queries, cells);
            let own = parameters(query.axes.len(), &relu_widths(&query.cells(), shape));
            if best.as_ref().is_some_and(|(.., size)| own as u128 >= size.parameters) {
                break;
            }
            let Some(others) = self.fewest(Side::Key, budget - self.loss(Side::Query, &query)) else { continue };
            let key = Grid::new(&self.keys, others);
            let size = size(&query.cells(), &key.cells(), shape, self.options.rank_error.is_some());
            if best.as_ref().is_none_or(|(.., least)| size.parameters < least.parameters) {
                best = Some((query, key, size));
            }
        }
        best.ok_or_else(|| {
            let problem = format!("an error of {} needs more than {MOST_CELLS} cells an axis", self.options.error);
            Error::data(problem, "raise the error, or check the modulus of continuity")
        })
    }
}

/// The size of the network that [`partition`] would build, without asking the relation: for plans.
///
/// It can grow a little when built, where the rounding of `f32` takes part of the error.
///
/// # Errors
/// As [`partition`], the memory limit aside.
///
/// ```
/// use mercer::Cuboid;
/// use mercer::construct::{Modulus, PartitionOptions, partition_size};
/// let field = Cuboid::cube(2, 0.0, 1.0)?;
/// let options = PartitionOptions { error: 0.05, ..PartitionOptions::default() };
/// let size = partition_size(&field, &field, Modulus::Lipschitz { query: 1.0, key: 1.0 }, &options)?;
/// // Two grids of 900 nodes reach the error, too, with more parameters.
/// assert_eq!((size.query_nodes, size.key_nodes), (784, 961));
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn partition_size(
    queries: &Cuboid,
    keys: &Cuboid,
    modulus: Modulus<'_>,
    options: &PartitionOptions,
) -> Result<PartitionSize> {
    let task = Task::new(queries, keys, modulus, *options)?;
    Ok(task.smallest(options.error - options.rank_error.unwrap_or(0.0), Shape::Shared)?.2)
}

/// A ReLU network whose error on a box is at most `options.error`, for any relation with a known modulus of continuity.
///
/// `phi_j(x) = hat_j(x)` on a grid of nodes `x_j`, and `psi_j(y)` is the interpolant of `r(x_j, .)` on the grid of the
/// keys, with the Freudenthal hat `max(0, 1 + min(0, min_i z_i) - max(0, max_i z_i))`, `z = (x - node) / h`. Since the
/// hats are not negative and sum to 1,
///
/// `|r - r^| <= w_x(|h_x| / 2) + w_y(|h_y| / 2)`
///
/// with the concave moduli `w` (`w(t) = L t` for a Lipschitz constant `L`) and the diagonals `|h|` of the cells: a
/// point's mean distance to the nodes around it is at most half a diagonal, `sqrt(d) h / 2` in a cube, reached in its
/// middle ([`interpolation_constant`](crate::bounds::interpolation_constant)). The guarantee adds the rounding of
/// `f32`, bounded from the weights, and with truncation the largest discarded entry of the core. The grids are the
/// cheapest that meet the error.
///
/// Shapes: one to four columns a side; the towers are `Relu` layers, on the key side (with truncation or one shared
/// hidden layer on both) followed by a linear one. Outside the boxes nothing is promised.
///
/// Cost: one value of the relation for each pair of nodes; the weights are mostly those of the core, `query_nodes x
/// key_nodes`, which grows as `error^-(d_x + d_y)`. Source: the constructive half of the universality of two-tower
/// models (arXiv 2402.08856), with our constants.
///
/// # Errors
/// [`crate::ErrorKind::Data`] with the size if it does not fit the memory, or if `f32` cannot hold the error;
/// [`crate::ErrorKind::Parameter`] for options out of range or a relation with several components.
///
/// ```
/// use mercer::construct::{Modulus, PartitionOptions, partition};
/// use mercer::{Cuboid, Features, PointRelation};
/// let later = PointRelation(|x: &[f32], y: &[f32]| f64::from(x[0] - y[0]).max(0.0));
/// let unit = Cuboid::cube(1, 0.0, 1.0)?;
/// let network = partition(&later, &unit, &unit, Modulus::Lipschitz { query: 1.0, key: 1.0 }, &PartitionOptions::default())?;
/// let value = network.encoder.block(0, &Features::dense(vec![0.9], 1)?.rows(), &Features::dense(vec![0.2], 1)?.rows())?[0];
/// assert!(network.guarantee <= 0.1 && (value - 0.7).abs() <= network.guarantee);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn partition(
    relation: &dyn Relation,
    queries: &Cuboid,
    keys: &Cuboid,
    modulus: Modulus<'_>,
    options: &PartitionOptions,
) -> Result<Construction> {
    /// Grids tried while rounding takes a part of the error that is known only when the network is built.
    const TRIES: usize = 6;
    let task = Task::new(queries, keys, modulus, *options)?;
    if relation.components() != 1 {
        return Err(Error::parameter("relation of a partition network", "one component", relation.components()));
    }
    let mut least = f64::INFINITY;
    let one_column = queries.dim() == 1 || keys.dim() == 1;
    let shapes = if one_column {
        [(Shape::Shared, TRIES / 3), (Shape::Local, TRIES)].as_slice()
    } else {
        &[(Shape::Local, TRIES)]
    };
    for &(shape, tries) in shapes {
        let mut reserve = 0.0;
        for _ in 0..tries {
            let budget = options.error - options.rank_error.unwrap_or(0.0) - reserve;
            let Ok((query, key, size)) = task.smallest(budget, shape) else { break };
            match size.fits(options.memory) {
                Err(refusal) if reserve == 0.0 => return Err(refusal),
                Err(_) => break,
                Ok(()) => {}
            }
            let (encoder, error) = build(relation, &task, &query, &key, shape)?;
            if error <= options.error {
                return Ok(named(relation, &task, [&query, &key], encoder, error));
            }
            least = least.min(error);
            reserve += 1.1 * (error - options.error);
        }
    }
    task.smallest(options.error - options.rank_error.unwrap_or(0.0), Shape::Local)?;
    let problem = format!(
        "with the rounding of f32 an error of {} does not fit the memory limit: the least reached is {least:.3e}",
        options.error
    );
    Err(Error::data(problem, "raise the error or the limit, or move the box closer to the origin"))
}

fn named(
    relation: &dyn Relation,
    task: &Task<'_>,
    grids: [&Grid; 2],
    encoder: DualEncoder,
    error: f64,
) -> Construction {
    let side = |domain: &Cuboid, grid: &Grid| {
        let cells: Vec<String> = grid.cells().iter().map(f64::to_string).collect();
        format!("the box {:?} to {:?} in {} cells", domain.low, domain.high, cells.join(" x "))
    };
    let modulus = match task.modulus {
        Modulus::Lipschitz { query, key } => format!("Lipschitz constants {query} and {key} in the Euclidean norm"),
        Modulus::Concave { .. } => "the given concave moduli of continuity".into(),
    };
    let assumptions = format!(
        "for every pair with x in {} and y in {}, if the relation has {modulus}; f32 rounding included, inner products in f64",
        side(&task.queries, grids[0]),
        side(&task.keys, grids[1])
    );
    let guarantee = Guarantee { norm: Norm::Sup, error, confidence: 1.0, evidence: Evidence::Proven, assumptions };
    Construction::new(encoder, format!("partition network of {}", relation.name()), guarantee)
}

/// One tower and what `f32` does to it: for every output its largest size and its error, and the sum of errors over
/// outputs.
struct Built {
    tower: Tower,
    largest: Vec<f64>,
    errors: Vec<f64>,
    total: f64,
}

/// The towers and a bound on the whole error.
fn build(
    relation: &dyn Relation,
    task: &Task<'_>,
    query: &Grid,
    key: &Grid,
    shape: Shape,
) -> Result<(DualEncoder, f64)> {
    // A row a key node, a column a query node.
    let core = ask_block(relation, 0, &query.nodes()?, &key.nodes()?)?;
    let loss = task.loss(Side::Query, query) + task.loss(Side::Key, key);
    let (q, k, rounding) = match task.options.rank_error {
        None => {
            let (q, k) = (tower(query, None, shape)?, tower(key, Some(&core), shape)?);
            let size = core.data().iter().fold(0f64, |most, v| most.max(v.abs()));
            let most = k.errors.iter().copied().fold(0.0, f64::max);
            let sum = core.columns() as f64 * f64::EPSILON * size;
            let rounding = q.total * (size + most) + most + sum;
            (q, k, rounding)
        }
        Some(rank_error) => {
            let (left, right, discarded) = truncated(&core, rank_error)?;
            let (q, k) = (tower(query, Some(&left), shape)?, tower(key, Some(&right), shape)?);
            let error = |i: usize| {
                let products = q.largest[i] * k.errors[i] + q.errors[i] * (k.largest[i] + k.errors[i]);
                products + q.largest[i] * k.largest[i] * q.largest.len() as f64 * f64::EPSILON
            };
            let rounding = discarded + (0..q.largest.len()).map(error).sum::<f64>();
            (q, k, rounding)
        }
    };
    Ok((DualEncoder::new(q.tower, Some(k.tower), Form::Identity, 1)?, loss + rounding))
}

/// Factors in `f32` of the smallest rank whose largest discarded entry is at most `limit`: of the query nodes, of the
/// key nodes.
fn truncated(core: &Matrix, limit: f64) -> Result<(Matrix, Matrix, f64)> {
    let failed = || Error::data("the core of the partition network could not be decomposed", "truncate nothing");
    let (u, s, v) = svd(core).ok_or_else(failed)?;
    let single = |m: &Matrix, j: usize| -> Vec<f64> {
        m.column(j).iter().map(|value| f64::from((value * s[j].sqrt()) as f32)).collect()
    };
    let mut rest = core.clone();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for j in 0..s.len() {
        let (key, query) = (single(&u, j), single(&v, j));
        for (column, factor) in query.iter().enumerate() {
            rest.column_mut(column).iter_mut().zip(&key).for_each(|(value, own)| *value -= factor * own);
        }
        left.extend(query);
        right.extend(key);
        let discarded = rest.data().iter().fold(0f64, |most, v| most.max(v.abs()));
        if discarded <= limit {
            let factors = [(left, core.columns()), (right, core.rows())];
            let [left, right] = factors.map(|(data, rows)| Matrix::from_columns(data, rows, j + 1));
            return Ok((left, right, discarded));
        }
    }
    Err(Error::data(format!("f32 factors cannot hold a rank error of {limit}"), "raise it"))
}

/// The tower of one grid with the outputs `sum_j hat_j values(j, .)`; `None`: the hats themselves.
fn tower(grid: &Grid, values: Option<&Matrix>, shape: Shape) -> Result<Built> {
    let nodes = grid.len();
    if shape == Shape::Shared && grid.axes.len() == 1 {
        let hats = Matrix::from_fn(nodes, nodes, |i, j| if i == j { 1.0 } else { 0.0 });
        return shared_tower(grid, values.unwrap_or(&hats));
    }
    let Hats { mut layers, error, active } = hats(grid)?;
    let total = active as f64 * error;
    let Some(values) = values else {
        let (largest, errors) = (vec![1.0; nodes], vec![error; nodes]);
        return Ok(Built { tower: Tower::new(layers)?, largest, errors, total });
    };
    let width = values.columns();
    let weights = (0..nodes * width).map(|at| values[(at / width, at % width)] as f32).collect();
    layers.push(Layer::new(weights, vec![0.0; width], Activation::Identity)?);
    // Rounded weights, and a sum over the hats that are not exactly 0.
    let share = total + roundings(active + 2) * (1.0 + total);
    let most = |j: usize| values.column(j).iter().fold(0f64, |most, v| most.max(v.abs()));
    let largest: Vec<f64> = (0..width).map(most).collect();
    let errors: Vec<f64> = largest.iter().map(|most| most * share).collect();
    let total = errors.iter().sum();
    Ok(Built { tower: Tower::new(layers)?, largest, errors, total })
}

/// One hidden layer: `sum_j hat_j values_j = values_0 + sum_k (x - t_k)+ (change of slope at t_k)`.
fn shared_tower(grid: &Grid, values: &Matrix) -> Result<Built> {
    let (axis, n, width) = (&grid.axes[0], grid.axes[0].cells, values.columns());
    let hidden = Layer::new(vec![1.0; n], (0..n).map(|k| -axis.node(k) as f32).collect(), Activation::Relu)?;
    let slope = |k: usize, j: usize| (values[(k + 1, j)] - values[(k, j)]) / axis.step;
    let change = |k: usize, j: usize| slope(k, j) - if k == 0 { 0.0 } else { slope(k - 1, j) };
    let weights: Vec<f32> = (0..n * width).map(|at| change(at / width, at % width) as f32).collect();
    let bias: Vec<f32> = (0..width).map(|j| values[(0, j)] as f32).collect();
    let error = |j: usize| {
        let (mut terms, mut size) = (0, values[(0, j)].abs());
        for k in (0..n).filter(|k| change(*k, j) != 0.0) {
            terms += 1;
            size += change(k, j).abs() * (n - k) as f64 * axis.step;
        }
        // Besides the sum each term has a rounded weight and a rounded unit; the slopes were subtracted in f64.
        (roundings(terms + 3) + 8.0 * n as f64 * f64::EPSILON) * size
    };
    let errors: Vec<f64> = (0..width).map(error).collect();
    let largest = (0..width).map(|j| values.column(j).iter().fold(0f64, |most, v| most.max(v.abs()))).collect();
    let total = errors.iter().sum();
    let output = Layer::new(weights, bias, Activation::Identity)?;
    Ok(Built { tower: Tower::new(vec![hidden, output])?, largest, errors, total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    /// The bound takes one number of cells for both sides; the network takes the cheapest grids, never more than the
    /// bound.
    #[test]
    fn the_bound_counts_the_network_on_its_grid() {
        let (mut the_same, mut cases) = (0, 0);
        for dim in 1..=4 {
            for step in 0..12 {
                let error = 0.45 * (dim as f64).sqrt() / 1.13f64.powi(step);
                let side = 1.0 + 0.07 * f64::from(step);
                let domain = Cuboid::cube(dim, 0.25, 0.25 + side).unwrap();
                for (query, key) in [(1.0, 1.0), (0.3, 1.2)] {
                    let bound = bounds::partition((query, key), dim, side, error).unwrap();
                    let cells = vec![bound.part("cells a coordinate").unwrap(); dim];
                    let own = size(&cells, &cells, Shape::Shared, false);
                    assert_eq!((own.query_nodes as f64, own.neurons as f64), (bound.dimension.unwrap(), bound.neurons));
                    // What f32 adds to the steps is far below the margin.
                    let options = PartitionOptions { error: error * 1.0001, ..PartitionOptions::default() };
                    let found = partition_size(&domain, &domain, Modulus::Lipschitz { query, key }, &options).unwrap();
                    assert!(found.parameters <= own.parameters, "{dim} {error}: {found:?} above {own:?}");
                    the_same += usize::from(found == own);
                    cases += 1;
                }
            }
        }
        println!("{the_same} of {cases} networks have the grids of the bound");
        assert!(the_same >= 10, "{the_same} of {cases}");
    }
}
