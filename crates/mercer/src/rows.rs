//! Checked feature rows: dense `f32` or compressed sparse rows (CSR), one type for both.
//!
//! [`Features`] owns the numbers, [`Rows`] is a view of consecutive rows. Both are finite and well-formed by
//! construction, so nothing after them checks again.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// An owned, checked feature matrix of shape `(len, dim)`, dtype `f32`.
///
/// ```
/// use mercer::Features;
/// let dense = Features::dense(vec![0.0, 1.0, 2.0, 3.0], 2)?;
/// assert_eq!((dense.len(), dense.dim()), (2, 2));
/// let bits = Features::sets(&[vec![0, 5], vec![3]], 8)?;
/// assert_eq!((bits.len(), bits.dim()), (2, 8));
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    storage: Storage,
    dim: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Storage {
    Dense(Vec<f32>),
    Sparse { starts: Vec<usize>, columns: Vec<u32>, values: Vec<f32> },
}

impl Features {
    /// Dense rows from row-major data of length `len * dim`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if `data` is not a whole number of rows, [`ErrorKind::NonFinite`] at the first NaN or infinity.
    pub fn dense(data: Vec<f32>, dim: usize) -> Result<Self> {
        if dim == 0 || !data.len().is_multiple_of(dim) {
            return Err(Error::shape(
                "dense feature rows",
                format!("rows of {dim} > 0 numbers"),
                format!("{} numbers", data.len()),
            ));
        }
        if let Some(at) = data.iter().position(|v| !v.is_finite()) {
            return Err(ErrorKind::NonFinite { what: "feature rows".into(), row: at / dim, column: at % dim }.into());
        }
        Ok(Features { storage: Storage::Dense(data), dim })
    }

    /// Sparse rows in CSR form: row `i` holds `columns[starts[i]..starts[i + 1]]`, strictly increasing, below `dim`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if the three arrays do not form `dim`-column CSR rows, [`ErrorKind::NonFinite`] at the first
    /// NaN or infinity.
    pub fn sparse(starts: Vec<usize>, columns: Vec<u32>, values: Vec<f32>, dim: usize) -> Result<Self> {
        let shape = |got: String| Error::shape("sparse feature rows", "well-formed CSR arrays", got);
        if starts.first() != Some(&0) || starts.last() != Some(&columns.len()) || columns.len() != values.len() {
            return Err(shape(format!("{} starts, {} columns, {} values", starts.len(), columns.len(), values.len())));
        }
        for (row, pair) in starts.windows(2).enumerate() {
            if pair[0] > pair[1] || pair[1] > columns.len() {
                return Err(shape(format!("row {row} from {} to {}", pair[0], pair[1])));
            }
            let own = &columns[pair[0]..pair[1]];
            if own.windows(2).any(|c| c[0] >= c[1]) || own.last().is_some_and(|&c| c as usize >= dim) {
                return Err(shape(format!("row {row}: columns must increase and stay below {dim}")));
            }
            if let Some(at) = values[pair[0]..pair[1]].iter().position(|v| !v.is_finite()) {
                let column = own[at] as usize;
                return Err(ErrorKind::NonFinite { what: "feature rows".into(), row, column }.into());
            }
        }
        Ok(Features { storage: Storage::Sparse { starts, columns, values }, dim })
    }

    /// Sparse rows of ones: row `i` is the indicator of the set `sets[i]`, a strictly increasing list below `dim`.
    ///
    /// # Errors
    /// As [`Features::sparse`].
    pub fn sets(sets: &[Vec<u32>], dim: usize) -> Result<Self> {
        let mut starts = vec![0];
        starts.extend(sets.iter().scan(0, |end, set| {
            *end += set.len();
            Some(*end)
        }));
        let columns: Vec<u32> = sets.concat();
        let values = vec![1.0; columns.len()];
        Features::sparse(starts, columns, values, dim)
    }

    /// The `len` one-hot rows of dimension `len`: the features of an id table.
    pub fn one_hot(len: usize) -> Self {
        let storage =
            Storage::Sparse { starts: (0..=len).collect(), columns: (0..len as u32).collect(), values: vec![1.0; len] };
        Features { storage, dim: len }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.storage {
            Storage::Dense(data) => data.len() / self.dim,
            Storage::Sparse { starts, .. } => starts.len() - 1,
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of columns.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Whether the rows are stored sparsely.
    pub fn is_sparse(&self) -> bool {
        matches!(self.storage, Storage::Sparse { .. })
    }

    /// A view of all rows.
    pub fn rows(&self) -> Rows<'_> {
        self.slice(0..self.len())
    }

    /// A view of the rows in `range`.
    ///
    /// # Panics
    /// If `range` reaches beyond [`Features::len`].
    pub fn slice(&self, range: Range<usize>) -> Rows<'_> {
        match &self.storage {
            Storage::Dense(data) => {
                Rows::Dense { data: &data[range.start * self.dim..range.end * self.dim], dim: self.dim }
            }
            Storage::Sparse { starts, columns, values } => {
                Rows::Sparse { starts: &starts[range.start..=range.end], columns, values, dim: self.dim }
            }
        }
    }

    /// A copy with row `i` multiplied by `factors[i]`.
    pub(crate) fn scaled_rows(&self, factors: &[f64]) -> Features {
        let mut out = self.clone();
        match &mut out.storage {
            Storage::Dense(data) => {
                data.chunks_exact_mut(self.dim)
                    .zip(factors)
                    .for_each(|(row, f)| row.iter_mut().for_each(|v| *v = (f64::from(*v) * f) as f32));
            }
            Storage::Sparse { starts, values, .. } => {
                for (i, factor) in factors.iter().enumerate() {
                    values[starts[i]..starts[i + 1]].iter_mut().for_each(|v| *v = (f64::from(*v) * factor) as f32);
                }
            }
        }
        out
    }

    /// Whether row `i` is the `i`-th unit vector: the features of an id table.
    pub fn is_one_hot(&self) -> bool {
        match &self.storage {
            Storage::Dense(_) => false,
            Storage::Sparse { starts, columns, values } => {
                self.len() == self.dim
                    && starts.iter().enumerate().all(|(i, s)| i == *s)
                    && columns.iter().enumerate().all(|(i, c)| i == *c as usize)
                    && values.iter().all(|v| *v == 1.0)
            }
        }
    }

    /// A copy of the rows named by `indices`, in that order, repeats allowed.
    ///
    /// # Panics
    /// If an index is not below [`Features::len`].
    pub fn select(&self, indices: &[usize]) -> Features {
        let storage = match &self.storage {
            Storage::Dense(data) => {
                Storage::Dense(indices.iter().flat_map(|&i| &data[i * self.dim..(i + 1) * self.dim]).copied().collect())
            }
            Storage::Sparse { starts, columns, values } => {
                let mut out = (vec![0], Vec::new(), Vec::new());
                for &i in indices {
                    out.1.extend_from_slice(&columns[starts[i]..starts[i + 1]]);
                    out.2.extend_from_slice(&values[starts[i]..starts[i + 1]]);
                    out.0.push(out.1.len());
                }
                Storage::Sparse { starts: out.0, columns: out.1, values: out.2 }
            }
        };
        Features { storage, dim: self.dim }
    }
}

/// A view of consecutive feature rows, shape `(len, dim)`, dtype `f32`.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// Row-major numbers.
    Dense {
        /// `len * dim` numbers.
        data: &'a [f32],
        /// Number of columns.
        dim: usize,
    },
    /// Compressed sparse rows; `starts` has `len + 1` entries that index `columns` and `values`.
    Sparse {
        /// Where each row starts and the last one ends.
        starts: &'a [usize],
        /// Column of each stored value.
        columns: &'a [u32],
        /// The stored values.
        values: &'a [f32],
        /// Number of columns.
        dim: usize,
    },
}

impl<'a> Rows<'a> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Rows::Dense { data, dim } => data.len() / dim,
            Rows::Sparse { starts, .. } => starts.len() - 1,
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of columns.
    pub fn dim(&self) -> usize {
        match *self {
            Rows::Dense { dim, .. } | Rows::Sparse { dim, .. } => dim,
        }
    }

    /// The rows in `range` of this view.
    ///
    /// # Panics
    /// If `range` reaches beyond [`Rows::len`].
    pub fn slice(&self, range: Range<usize>) -> Rows<'a> {
        match *self {
            Rows::Dense { data, dim } => Rows::Dense { data: &data[range.start * dim..range.end * dim], dim },
            Rows::Sparse { starts, columns, values, dim } => {
                Rows::Sparse { starts: &starts[range.start..=range.end], columns, values, dim }
            }
        }
    }

    /// Calls `visit(column, value)` for each stored number of row `row`, columns increasing.
    #[inline]
    pub fn for_each(&self, row: usize, mut visit: impl FnMut(usize, f32)) {
        match *self {
            Rows::Dense { data, dim } => {
                data[row * dim..(row + 1) * dim].iter().enumerate().for_each(|(column, &value)| visit(column, value));
            }
            Rows::Sparse { starts, columns, values, .. } => {
                for at in starts[row]..starts[row + 1] {
                    visit(columns[at] as usize, values[at]);
                }
            }
        }
    }

    /// Inner product of row `i` with row `j` of `other`, in `f64`. Cost: the stored numbers of both rows.
    ///
    /// # Panics
    /// If the rows have different numbers of columns.
    pub fn dot(&self, i: usize, other: &Rows<'_>, j: usize) -> f64 {
        assert_eq!(self.dim(), other.dim(), "an inner product needs rows of one dimension");
        match (*self, *other) {
            (Rows::Dense { data, dim }, _) => {
                let row = &data[i * dim..(i + 1) * dim];
                let mut sum = 0.0;
                other.for_each(j, |column, value| sum += f64::from(row[column]) * f64::from(value));
                sum
            }
            (Rows::Sparse { .. }, Rows::Dense { .. }) => other.dot(j, self, i),
            (
                Rows::Sparse { starts: a, columns: ca, values: va, .. },
                Rows::Sparse { starts: b, columns: cb, values: vb, .. },
            ) => {
                let (mut p, mut q, mut sum) = (a[i], b[j], 0.0);
                while p < a[i + 1] && q < b[j + 1] {
                    match ca[p].cmp(&cb[q]) {
                        std::cmp::Ordering::Less => p += 1,
                        std::cmp::Ordering::Greater => q += 1,
                        std::cmp::Ordering::Equal => {
                            sum += f64::from(va[p]) * f64::from(vb[q]);
                            (p, q) = (p + 1, q + 1);
                        }
                    }
                }
                sum
            }
        }
    }

    /// Squared Euclidean norm of row `row`, in `f64`.
    pub fn squared_norm(&self, row: usize) -> f64 {
        let mut sum = 0.0;
        self.for_each(row, |_, value| sum += f64::from(value) * f64::from(value));
        sum
    }

    /// An owned copy of the viewed rows.
    pub fn to_features(&self) -> Features {
        let storage = match *self {
            Rows::Dense { data, .. } => Storage::Dense(data.to_vec()),
            Rows::Sparse { starts, columns, values, .. } => {
                let (first, last) = (starts[0], starts[starts.len() - 1]);
                Storage::Sparse {
                    starts: starts.iter().map(|s| s - first).collect(),
                    columns: columns[first..last].to_vec(),
                    values: values[first..last].to_vec(),
                }
            }
        };
        Features { storage, dim: self.dim() }
    }
}

/// Item features by index: the form in which fits, certificates and samplers ask for them.
///
/// [`Features`] in memory is one implementation; a file larger than memory can be another.
pub trait ItemSource: Sync {
    /// Number of items.
    fn len(&self) -> usize;
    /// Number of feature columns.
    fn dim(&self) -> usize;
    /// The features of the items named by `indices`, in that order.
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn select(&self, indices: &[usize]) -> Result<Features>;
    /// All items, where they are in memory already; other sources are read.
    fn in_memory(&self) -> Option<&Features> {
        None
    }
    /// Whether there are no items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All items of a source, read only if they are not in memory.
pub(crate) fn all_items(source: &dyn ItemSource) -> Result<Cow<'_, Features>> {
    match source.in_memory() {
        Some(features) => Ok(Cow::Borrowed(features)),
        None => Ok(Cow::Owned(source.select(&(0..source.len()).collect::<Vec<_>>())?)),
    }
}

impl ItemSource for Features {
    fn in_memory(&self) -> Option<&Features> {
        Some(self)
    }
    fn len(&self) -> usize {
        Features::len(self)
    }
    fn dim(&self) -> usize {
        Features::dim(self)
    }
    fn select(&self, indices: &[usize]) -> Result<Features> {
        Ok(Features::select(self, indices))
    }
}
