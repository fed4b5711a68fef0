//! Floors of a finite set of items, from all of its pairs.

use crate::encoder::Class;
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{Matrix, eigenvalues};
use crate::relation::{Relation, ask_block};
use crate::rows::Features;
use crate::spectrum::floors::parts::{Parts, mean_square, not_finite, rounding, tail, tail_sums};
use crate::spectrum::floors::{Floors, nested};
use crate::spectrum::{Evidence, diagnosis};

/// The floors themselves for pairs of given items, each pair equally likely, from the block of all pairs.
pub(crate) fn exact_floors(
    relation: &dyn Relation,
    x: &Features,
    y: Option<&Features>,
    dims: &[usize],
) -> Result<Floors> {
    let ask = |l| ask_block(relation, l, x, y.unwrap_or(x));
    let blocks = (0..relation.components()).map(ask).collect::<Result<Vec<_>>>()?;
    exact(&blocks, y.is_some(), dims)
}

/// Floors of a table in which every pair is known: exact, for pairs of *these* items, each equally likely.
///
/// `values`: row-major `(queries, keys)`. `same_items`: row `i` and column `i` are the same item, so that all three
/// classes have a floor; otherwise only [`Class::Asymmetric`] has.
///
/// Cost: one decomposition (values only) of the table, two if `same_items`.
///
/// # Errors
/// [`crate::ErrorKind::Shape`] if sizes do not fit, [`crate::ErrorKind::NonFinite`] at a NaN or infinite value,
/// [`crate::ErrorKind::Parameter`] for no dimension or dimension 0.
///
/// ```
/// use mercer::{Class, spectrum::table_floors};
/// let found = table_floors(&[0.0, 2.0, 2.0, 0.0], 2, 2, true, &[1])?; // eigenvalues 2 and -2
/// let rms = |class| found.get(class, 1).map_or(0.0, |f| f.rms);
/// assert!((rms(Class::Asymmetric) - 1.0).abs() < 1e-12 && (rms(Class::Symmetric) - 1.0).abs() < 1e-12);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn table_floors(values: &[f64], queries: usize, keys: usize, same_items: bool, dims: &[usize]) -> Result<Floors> {
    if dims.is_empty() || dims.contains(&0) {
        return Err(Error::parameter("floor dimensions", "one or more whole numbers from 1", format!("{dims:?}")));
    }
    if queries == 0 || queries.checked_mul(keys) != Some(values.len()) || values.is_empty() {
        return Err(Error::shape("table", format!("{queries} x {keys} values, at least one"), values.len()));
    }
    if same_items && queries != keys {
        return Err(Error::shape("table of one set of items", format!("{queries} columns"), keys));
    }
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        return Err(ErrorKind::NonFinite { what: "table".into(), row: at / keys, column: at % keys }.into());
    }
    exact(&[Matrix::from_columns(values.to_vec(), keys, queries)], !same_items, dims)
}

fn exact(blocks: &[Matrix], two_sets: bool, dims: &[usize]) -> Result<Floors> {
    let mut sums = vec![(Class::Asymmetric, vec![0.0; dims.len()])];
    if !two_sets {
        sums.extend([Class::Signed, Class::Symmetric].map(|class| (class, vec![0.0; dims.len()])));
    }
    for block in blocks {
        let add = |sum: &mut Vec<f64>, tails: Vec<f64>| sum.iter_mut().zip(tails).for_each(|(s, t)| *s += t);
        add(&mut sums[0].1, tail(block, 0.0, dims)?);
        if !two_sets {
            let (signed, symmetric) = exact_class_tails(block, dims)?;
            add(&mut sums[1].1, signed);
            add(&mut sums[2].1, symmetric);
        }
    }
    let components = blocks.len() as f64;
    sums.iter_mut().for_each(|(_, sum)| sum.iter_mut().for_each(|v| *v = (*v / components).sqrt()));
    let rms = (blocks.iter().map(mean_square).sum::<f64>() / components).sqrt();
    let largest = dims.iter().copied().max().unwrap_or(1);
    let (energy, (class, reason)) =
        if two_sets { (None, diagnosis::two_sets()) } else { diagnosis::shares(blocks, largest) };
    Ok(Floors {
        floors: nested(&sums, dims, two_sets, rms),
        exact: true,
        evidence: Evidence::Proven,
        confidence: 1.0,
        size: blocks[0].rows().max(blocks[0].columns()),
        blocks: 1,
        value_rms: rms,
        value_rms_error: 0.0,
        energy,
        class,
        reason,
        assumptions:
            "every pair of these items is equally likely, and new items are not spoken of; values are exact up to \
                      rounding (noise in them counts towards the floor)"
                .into(),
    })
}

/// Squared floors of the signed and the symmetric class on one set of items, from the eigenvalues of the symmetric
/// part.
fn exact_class_tails(block: &Matrix, dims: &[usize]) -> Result<(Vec<f64>, Vec<f64>)> {
    let pairs = block.data().len() as f64;
    let parts = Parts::new(block.clone(), Some(block.clone()));
    let mut values = eigenvalues(parts.symmetric()).ok_or_else(not_finite)?;
    let allowance = rounding(block) * parts.norm();
    values.iter_mut().for_each(|v| *v = v.signum() * (v.abs() - allowance).max(0.0));
    let negative: f64 = values.iter().filter(|v| **v < 0.0).map(|v| v * v).sum();
    let positive = tail_sums(values.iter().map(|v| v.max(0.0)), dims);
    let mut sizes: Vec<f64> = values.iter().map(|v| v.abs()).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    let signed = tail_sums(sizes.into_iter(), dims);
    let whole = |t: f64| t / pairs + parts.antisymmetric;
    Ok((signed.into_iter().map(whole).collect(), positive.into_iter().map(|t| whole(t + negative)).collect()))
}
