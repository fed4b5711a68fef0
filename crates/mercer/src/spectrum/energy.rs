//! What a relation is made of: symmetric, antisymmetric and negative energy, and the class that follows.

use serde::Serialize;

use crate::encoder::Class;
use crate::linalg::{Matrix, eigenvalues};

/// Shares of a relation's mean square on a sample; `symmetric + antisymmetric = 1`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Energy {
    /// Share of the symmetric part `(r(x, y) + r(y, x)) / 2`.
    pub symmetric: f64,
    /// Share of the antisymmetric part `(r(x, y) - r(y, x)) / 2`.
    pub antisymmetric: f64,
    /// Share of the symmetric part's negative eigenvalues.
    pub negative: f64,
    /// Share of the symmetric part beyond the leading `dim` eigenvalues by size: what the dimension cannot hold anyway.
    pub tail: f64,
}

/// Below this share a part is rounding, not structure.
const ROUNDING: f64 = 1e-12;

impl Energy {
    /// Energy of a square block `r(x_i, x_j)` over one set of items; `tail` is taken beyond `dim`.
    ///
    /// `None` where the block is zero.
    pub(crate) fn of_block(block: &Matrix, dim: usize) -> Option<Energy> {
        let n = block.rows();
        let part = |sign: f64| Matrix::from_fn(n, n, |i, j| 0.5 * (block[(i, j)] + sign * block[(j, i)]));
        let square = |m: &Matrix| m.data().iter().map(|v| v * v).sum::<f64>();
        let (symmetric, antisymmetric) = (part(1.0), square(&part(-1.0)));
        let total = square(&symmetric) + antisymmetric;
        if total == 0.0 {
            return None;
        }
        let mut values = eigenvalues(&symmetric)?;
        let negative: f64 = values.iter().filter(|v| **v < 0.0).map(|v| v * v).sum();
        values.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
        let tail: f64 = values.iter().skip(dim).map(|v| v * v).sum();
        Some(Energy {
            symmetric: 1.0 - antisymmetric / total,
            antisymmetric: antisymmetric / total,
            negative: negative / total + 0.0,
            tail: tail / total,
        })
    }

    /// The narrowest class that loses nothing against the tail, and why.
    pub fn class(&self) -> (Class, String) {
        let negligible = (0.01 * self.tail).max(ROUNDING);
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        if self.antisymmetric > negligible {
            (Class::Asymmetric, format!("{} of the energy is antisymmetric", percent(self.antisymmetric)))
        } else if self.negative > negligible {
            (Class::Signed, format!("symmetric, and {} of the energy has negative eigenvalues", percent(self.negative)))
        } else {
            (Class::Symmetric, "symmetric, without negative eigenvalues".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_known_blocks() {
        // [[0, 1], [-1, 0]] is antisymmetric; [[0, 1], [1, 0]] has eigenvalues 1 and -1.
        let turn = Matrix::from_columns(vec![0.0, -1.0, 1.0, 0.0], 2, 2);
        let energy = Energy::of_block(&turn, 2).unwrap();
        assert_eq!((energy.antisymmetric, energy.class().0), (1.0, Class::Asymmetric));
        let swap = Matrix::from_columns(vec![0.0, 1.0, 1.0, 0.0], 2, 2);
        let energy = Energy::of_block(&swap, 2).unwrap();
        assert!((energy.negative - 0.5).abs() < 1e-12 && energy.class().0 == Class::Signed);
        let gram = Matrix::from_columns(vec![2.0, 1.0, 1.0, 2.0], 2, 2);
        assert_eq!(Energy::of_block(&gram, 2).unwrap().class().0, Class::Symmetric);
    }
}
