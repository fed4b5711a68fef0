//! The partition bound: interpolation on a grid.

use crate::bounds::{Bound, check_error};
use crate::error::{Error, Result};
use crate::spectrum::{Evidence, Norm};

/// `c_d`: piecewise linear interpolation on the Freudenthal triangulation of a grid of step `h` errs by at most `c_d h
/// L` for a function with Lipschitz constant `L` (Euclidean): 1/2, 4/7, 5/8, .647 for `d = 1..4`, and `sqrt(d)`, the
/// diagonal of a cell, beyond.
pub fn interpolation_constant(dim: usize) -> f64 {
    match dim {
        0 | 1 => 0.5,
        2 => 4.0 / 7.0,
        3 => 5.0 / 8.0,
        4 => 0.647,
        _ => (dim as f64).sqrt(),
    }
}

/// A partition network for a relation with Lipschitz constants `(L_x, L_y)` on two boxes of `dim` coordinates and side
/// `side` (2 for `[-1, 1]^dim`), in the sup norm.
///
/// The grid step is the largest with `c_d h (L_x + L_y) <= eps`, rounded so that the side has whole cells; each tower
/// has `(cells + 1)^dim` nodes, which is also the dimension. `units(cells, dim)`: hidden units of one tower.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for an error, constant or side that is not positive and finite, or dimension 0.
///
/// ```
/// use mercer::bounds::partition;
/// // L = 1 on [0, 1]^2 a side, eps = .05: 576 nodes a tower.
/// let bound = partition((1.0, 1.0), 2, 1.0, 0.05, |cells, dim| (cells + 1.0).powi(dim as i32))?;
/// assert_eq!(bound.dimension, Some(576.0));
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn partition(
    lipschitz: (f64, f64),
    dim: usize,
    side: f64,
    eps: f64,
    units: impl Fn(f64, usize) -> f64,
) -> Result<Bound> {
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
    let nodes = (cells + 1.0).powf(dim as f64);
    let mut bound = Bound::new("partition", eps, Norm::Sup, 2.0 * units(cells, dim), Some(nodes))
        .with("cells a coordinate", cells, Evidence::Proven)
        .with("nodes a tower", nodes, Evidence::Proven)
        .with("units a tower", units(cells, dim), Evidence::Proven)
        .with("interpolation constant, c_d", constant, Evidence::Proven)
        .with("Lipschitz constant in x", lipschitz.0, Evidence::Proven)
        .with("Lipschitz constant in y", lipschitz.1, Evidence::Proven);
    bound.assumptions = "everywhere on the two boxes; proven for the Lipschitz constants given".into();
    Ok(bound)
}
