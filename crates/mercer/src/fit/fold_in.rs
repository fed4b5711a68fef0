//! New items from their pairs, the other side frozen.

use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::fit::als::{List, Ridge};
use crate::fit::grouped::Grouped;
use crate::fit::implicit::{Common, Factors, Room, Terms, way};
use crate::relation::Pairs;

/// What the rows of new items minimise over their pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FoldIn {
    /// `sum w (value - <u, v_y>)^2 + ridge |u|^2` over the observed pairs.
    Explicit {
        /// Ridge, in units of weight times squared value.
        ridge: f64,
        /// Whether the ridge is times the summed weight of the item's pairs.
        weighted: bool,
    },
    /// `sum c (1 - <u, v_y>)^2 + unobserved (sum over all other rows of <u, v_y>^2) + ridge |u|^2` over the positive
    /// pairs, with confidence `c = alpha * value * weight`; as [`crate::fit::implicit`].
    Implicit {
        /// Ridge.
        ridge: f64,
        /// Confidence of a positive pair of strength 1.
        alpha: f64,
        /// Confidence of all other cells.
        unobserved: f64,
    },
}

impl FoldIn {
    fn check(&self) -> Result<()> {
        let list = match *self {
            FoldIn::Explicit { ridge, .. } => vec![("ridge", ridge)],
            FoldIn::Implicit { ridge, alpha, unobserved } => {
                vec![("ridge", ridge), ("alpha", alpha), ("unobserved", unobserved)]
            }
        };
        match list.into_iter().find(|(_, v)| !(1e-9..=1e9).contains(v)) {
            Some((name, value)) => Err(Error::parameter(name, "between 1e-9 and 1e9", value)),
            None => Ok(()),
        }
    }
}

/// Rows, row-major `(items, dim)`, of `items` new items from their pairs with the rows of the frozen other side.
///
/// `frozen` is row-major `(rows, dim)`: a model's key embeddings for new queries, its query embeddings for new keys. In
/// `pairs`, `x` names the new item and `y` the frozen row. Items without pairs have row zero. Exact, in `f64` for
/// explicit values and in `f32` for implicit feedback.
///
/// Cost: `rows * dim^2` once for implicit feedback, and for each item the cheaper of `count^2 * dim` and
/// `count * dim^2 + dim^3`.
///
/// ```
/// use mercer::fit::{FoldIn, fold_in};
/// use mercer::Pairs;
/// // Two keys, orthogonal; the new query has value 2 with the first.
/// let pairs = Pairs::new(vec![0], vec![0], vec![2.0], None)?;
/// let rows = fold_in(&[1.0, 0.0, 0.0, 1.0], 2, &pairs, 1, FoldIn::Explicit { ridge: 1.0, weighted: false })?;
/// assert_eq!(rows, [1.0, 0.0]);
/// # Ok::<(), mercer::Error>(())
/// ```
///
/// # Errors
/// If the frozen rows are empty, ragged or not finite, a pair names an item or row that is not there, or a setting is
/// out of range.
pub fn fold_in(frozen: &[f32], dim: usize, pairs: &Pairs, items: usize, how: FoldIn) -> Result<Vec<f32>> {
    how.check()?;
    if dim == 0 || frozen.is_empty() || !frozen.len().is_multiple_of(dim) {
        return Err(Error::shape("frozen rows", format!("a positive multiple of {dim} numbers"), frozen.len()));
    }
    if let Some(at) = frozen.iter().position(|v| !v.is_finite()) {
        return Err(ErrorKind::NonFinite { what: "frozen rows".into(), row: at / dim, column: at % dim }.into());
    }
    pairs.check_items(items, frozen.len() / dim)?;
    match how {
        FoldIn::Explicit { ridge, weighted } => {
            let ridge = if weighted { Ridge::Weighted(ridge) } else { Ridge::Constant(ridge) };
            explicit(frozen, dim, &Grouped::new(pairs, items, false), ridge)
        }
        FoldIn::Implicit { ridge, alpha, unobserved } => {
            let terms = Terms { alpha: alpha as f32, unobserved: unobserved as f32, ridge, steps: 0 };
            implicit(frozen, dim, pairs, items, terms)
        }
    }
}

fn explicit(frozen: &[f32], dim: usize, pairs: &Grouped, ridge: Ridge) -> Result<Vec<f32>> {
    let of = |list: &mut List, i: usize| {
        list.clear();
        for p in pairs.starts[i]..pairs.starts[i + 1] {
            let row = &frozen[pairs.y[p] as usize * dim..][..dim];
            list.push(row.iter().map(|&v| v.into()), pairs.weight[p], pairs.value[p]);
        }
        list.solve(dim, ridge)
    };
    let items = 0..pairs.starts.len() - 1;
    let solved: Vec<Option<Vec<f64>>> = items.into_par_iter().map_init(List::default, of).collect();
    let failed = || Error::data("a row's equations are singular", "use a larger ridge");
    let rows: Vec<Vec<f64>> = solved.into_iter().map(|row| row.ok_or_else(failed)).collect::<Result<_>>()?;
    Ok(rows.concat().into_iter().map(|v| v as f32).collect())
}

fn implicit(frozen: &[f32], dim: usize, pairs: &Pairs, items: usize, terms: Terms) -> Result<Vec<f32>> {
    let chunk = pairs.chunk();
    let strength = |p: usize| f64::from(chunk.value[p]) * chunk.weight.map_or(1.0, |w| f64::from(w[p]));
    let mut lists = vec![std::collections::BTreeMap::<u32, f64>::new(); items];
    for p in (0..pairs.len()).filter(|&p| chunk.value[p] > 0.0) {
        *lists[chunk.x[p] as usize].entry(chunk.y[p]).or_default() += strength(p);
    }
    let other = Factors::padded(frozen, dim);
    let size = vec![1.0; other.len()];
    let common = Common::new(&other, &size, terms)?;
    let of = |room: &mut Room, list: &std::collections::BTreeMap<u32, f64>| {
        let (keys, strength): (Vec<u32>, Vec<f32>) = list.iter().map(|(&y, &s)| (y, s as f32)).unzip();
        let mut row = vec![0.0; other.width];
        common.solve(&mut row, &keys, &strength, way(keys.len(), other.width, 0), room);
        row.truncate(dim);
        row
    };
    let rows: Vec<Vec<f32>> = lists.par_iter().map_init(Room::default, of).collect();
    Ok(rows.concat())
}
