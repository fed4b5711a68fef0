//! Relations: functions of two items that can be asked for a block, and tables of observed pairs.

mod comparisons;
mod derivatives;
mod kernel;
mod law;
mod pairs;
mod spectral_measure;
mod split;

pub use comparisons::Comparisons;
pub use derivatives::{BoundedFunction, Cuboid, Domain, Smooth};
pub(crate) use kernel::Form as KernelForm;
pub use kernel::Kernel;
pub use law::Law;
pub(crate) use pairs::all_pairs;
pub use pairs::{PairChunk, PairSource, Pairs, Split};
pub use spectral_measure::SpectralMeasure;
pub(crate) use spectral_measure::ln_gamma;
pub use split::{Leakage, SplitRule};

use crate::error::{Error, ErrorKind, Result};
use crate::linalg::Matrix;
use crate::parallel::row_blocks;
use crate::rows::{Features, Rows};

/// A relation `r : X x Y -> R^L` that can be asked for a block of values.
///
/// Built-in kernels are [`Kernel`]s; [`PointRelation`] makes one of any closure.
pub trait Relation: Sync {
    /// Values of component `component` on all pairs: row-major `(x.len(), y.len())`, `f64`, into `out`.
    ///
    /// # Errors
    /// If the rows are not what the relation is defined on.
    fn block(&self, component: usize, x: &Rows<'_>, y: &Rows<'_>, out: &mut [f64]) -> Result<()>;

    /// Number of components `L`.
    fn components(&self) -> usize {
        1
    }

    /// Name for reports, such as `gaussian:0.5`.
    fn name(&self) -> String {
        "relation".into()
    }
}

/// A relation given by a function of two dense rows.
///
/// ```
/// use mercer::{Features, PointRelation, Relation};
/// let minimum = PointRelation(|x: &[f32], y: &[f32]| f64::from(x[0].min(y[0])));
/// let rows = Features::dense(vec![1.0, 2.0], 1)?;
/// let mut block = [0.0; 4];
/// minimum.block(0, &rows.rows(), &rows.rows(), &mut block)?;
/// assert_eq!(block, [1.0, 1.0, 1.0, 2.0]);
/// # Ok::<(), mercer::Error>(())
/// ```
pub struct PointRelation<F>(pub F);

impl<F: Fn(&[f32], &[f32]) -> f64 + Sync> Relation for PointRelation<F> {
    fn block(&self, _component: usize, x: &Rows<'_>, y: &Rows<'_>, out: &mut [f64]) -> Result<()> {
        let (Rows::Dense { data: a, dim: p }, Rows::Dense { data: b, dim: q }) = (*x, *y) else {
            return Err(Error::shape("relation given by a closure", "dense rows", "sparse rows"));
        };
        check_block(x, y, out)?;
        row_blocks(out, y.len(), 16, |first, rows| {
            for (i, row) in rows.chunks_exact_mut(y.len()).enumerate() {
                let own = &a[(first + i) * p..(first + i + 1) * p];
                row.iter_mut().zip(b.chunks_exact(q)).for_each(|(value, other)| *value = (self.0)(own, other));
            }
        });
        Ok(())
    }
}

/// Refuses an output slice of the wrong length.
pub(crate) fn check_block(x: &Rows<'_>, y: &Rows<'_>, out: &[f64]) -> Result<()> {
    if out.len() == x.len() * y.len() {
        return Ok(());
    }
    Err(Error::shape("relation block", format!("{} x {} values", x.len(), y.len()), out.len()))
}

/// Values of component `l`, all finite: a row a key, a column a query.
pub(crate) fn ask_block(relation: &dyn Relation, l: usize, x: &Features, y: &Features) -> Result<Matrix> {
    let mut data = vec![0.0; x.len() * y.len()];
    relation.block(l, &x.rows(), &y.rows(), &mut data)?;
    if let Some(at) = data.iter().position(|v| !v.is_finite()) {
        let what = format!("values of {}", relation.name());
        return Err(ErrorKind::NonFinite { what, row: at / y.len(), column: at % y.len() }.into());
    }
    Ok(Matrix::from_columns(data, y.len(), x.len()))
}
