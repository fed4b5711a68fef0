//! The partition bound: interpolation on a grid.

use crate::bounds::{Bound, check_error};
use crate::error::{Error, Result};
use crate::spectrum::{Evidence, Norm};

/// `c_d = sqrt(d) / 2`: piecewise linear interpolation on the Freudenthal triangulation of a grid of step `h` errs by
/// at most `c_d h L` for a function with Lipschitz constant `L` in the Euclidean norm, and no smaller constant does.
///
/// (In the maximum norm it is 1/2, 4/7, 5/8, .647 for `d = 1..4`.)
pub fn interpolation_constant(dim: usize) -> f64 {
    interpolation_reach(std::iter::repeat_n(1.0, dim))
}

/// Half the diagonal of a cell with the given steps: the largest mean distance from a point to the nodes that share it.
///
/// With the hats at `x` as probabilities of the nodes `v` around it, the mean of `|x - v|` is at most the root of the
/// mean of `|x - v|^2 = sum_i h_i^2 t_i (1 - t_i) <= |h|^2 / 4`, with equality in the middle of the cell.
pub(crate) fn interpolation_reach(steps: impl Iterator<Item = f64>) -> f64 {
    0.5 * steps.map(|h| h * h).sum::<f64>().sqrt()
}

/// ReLU units of each layer that has the hats of a grid as its last units, for one to four numbers of cells; else
/// empty.
///
/// Which units these are is told where the network is built, in `construct/partition/hats.rs`. Exact below 2^53.
pub(crate) fn hat_layers(cells: &[f64]) -> Vec<f64> {
    let nodes = grid_nodes(cells);
    match *cells {
        [a] => vec![2.0 * a, nodes],
        [a, b] => vec![2.0 * (a + b), nodes],
        [a, b, c] => vec![2.0 * a + 3.0 * (b + c), a + 1.0 + 2.0 * nodes, nodes],
        [a, b, c, d] => {
            let pairs = (a + 1.0) * (b + 1.0);
            vec![2.0 * (a + b) + 3.0 * (c + d), 2.0 * (pairs + a) + 3.0 * (c + d), pairs + 2.0 * nodes, nodes]
        }
        _ => Vec::new(),
    }
}

/// ReLU units of each layer of the tower with the fewest: on a line neighbours share one hidden layer of a unit a cell.
pub(crate) fn fewest_layers(cells: &[f64]) -> Vec<f64> {
    match *cells {
        [n] => vec![n],
        _ => hat_layers(cells),
    }
}

/// Nodes of a grid.
pub(crate) fn grid_nodes(cells: &[f64]) -> f64 {
    cells.iter().map(|n| n + 1.0).product()
}

/// A partition network for a relation with Lipschitz constants `(L_x, L_y)` on two boxes of `dim` coordinates and side
/// `side` (2 for `[-1, 1]^dim`), in the sup norm.
///
/// The grid step is the largest with `c_d h (L_x + L_y) <= eps`, rounded so that the side has whole cells, the same for
/// both towers; each has `(cells + 1)^dim` nodes, which is also the dimension, and the ReLU units of the network that
/// [`crate::construct::partition`] writes down, in one to four coordinates. [`crate::construct::partition_size`] counts
/// that network itself, whose two grids may differ where that is cheaper.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for an error, constant or side that is not positive and finite, or dimension 0.
///
/// ```
/// use mercer::bounds::partition;
/// // L = 1 on [0, 1]^3 a side, eps = .05: 46,656 nodes a tower.
/// let bound = partition((1.0, 1.0), 3, 1.0, 0.05)?;
/// assert_eq!(bound.dimension, Some(46_656.0));
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn partition(lipschitz: (f64, f64), dim: usize, side: f64, eps: f64) -> Result<Bound> {
    check_error(eps)?;
    if dim == 0 {
        return Err(Error::parameter("coordinates of a side", "at least 1", 0));
    }
    let positive = |v: f64| v.is_finite() && v > 0.0;
    if ![lipschitz.0, lipschitz.1].iter().all(|l| l.is_finite() && *l >= 0.0) {
        return Err(Error::parameter("Lipschitz constants", "two numbers not below 0", format!("{lipschitz:?}")));
    }
    if !positive(side) {
        return Err(Error::parameter("side of the box", "a positive number", side));
    }
    let constant = interpolation_constant(dim);
    let slope = constant * (lipschitz.0 + lipschitz.1);
    // Rounding must not add a cell where the quotient is whole.
    let cells = (side * slope / eps * (1.0 - 1e-12)).ceil().max(1.0);
    if dim > 4 {
        let why = "the hats of the network are written down in one to four coordinates";
        let nodes = (cells + 1.0).powf(dim as f64);
        return Ok(Bound::invalid("partition", eps, Norm::Sup, why).with("nodes a tower", nodes, Evidence::Proven));
    }
    let grid = vec![cells; dim];
    let (nodes, units) = (grid_nodes(&grid), fewest_layers(&grid).iter().sum::<f64>());
    let mut bound = Bound::new("partition", eps, Norm::Sup, 2.0 * units, Some(nodes))
        .with("cells a coordinate", cells, Evidence::Proven)
        .with("nodes a tower", nodes, Evidence::Proven)
        .with("units a tower", units, Evidence::Proven)
        .with("interpolation constant, c_d", constant, Evidence::Proven)
        .with("Lipschitz constant in x", lipschitz.0, Evidence::Proven)
        .with("Lipschitz constant in y", lipschitz.1, Evidence::Proven);
    bound.assumptions =
        "everywhere on the two boxes; proven for the Lipschitz constants given, in the Euclidean norm".into();
    Ok(bound)
}
