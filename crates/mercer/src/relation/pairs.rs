//! Observed pairs: `(x, y, value)` with an optional weight.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};

/// A run of observed pairs, as parallel slices.
#[derive(Clone, Copy, Debug)]
pub struct PairChunk<'a> {
    /// Index of the query item of each pair.
    pub x: &'a [u32],
    /// Index of the key item of each pair.
    pub y: &'a [u32],
    /// Observed value of each pair, in the relation's units.
    pub value: &'a [f32],
    /// Weight of each pair, positive; `None`: all weights are 1.
    pub weight: Option<&'a [f32]>,
}

/// Observed pairs in rewindable chunks: the form in which fits and certificates read them.
///
/// [`Pairs`] in memory is one implementation; a file larger than memory can be another.
pub trait PairSource: Sync {
    /// Number of pairs.
    fn len(&self) -> usize;
    /// Calls `visit` on consecutive chunks, from the first pair to the last, each time it is called.
    ///
    /// # Errors
    /// If the pairs cannot be read, or `visit` fails.
    fn for_each_chunk(&self, visit: &mut dyn FnMut(PairChunk<'_>) -> Result<()>) -> Result<()>;
    /// All pairs, where they are in memory already; other sources are read.
    fn in_memory(&self) -> Option<&Pairs> {
        None
    }
    /// Whether there are no pairs.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All pairs of a source, read only if they are not in memory.
pub(crate) fn all_pairs(source: &dyn PairSource) -> Result<Cow<'_, Pairs>> {
    if let Some(pairs) = source.in_memory() {
        return Ok(Cow::Borrowed(pairs));
    }
    let (mut x, mut y, mut value, mut weight) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut weighted = false;
    source.for_each_chunk(&mut |chunk| {
        x.extend_from_slice(chunk.x);
        y.extend_from_slice(chunk.y);
        value.extend_from_slice(chunk.value);
        match chunk.weight {
            Some(own) => weight.extend_from_slice(own),
            None => weight.resize(x.len(), 1.0),
        }
        weighted |= chunk.weight.is_some();
        Ok(())
    })?;
    let all = Pairs::new(x, y, value, weighted.then_some(weight))?;
    Ok(Cow::Owned(all))
}

/// Observed pairs in memory. Repeated pairs are repeated measurements; self pairs are legal.
///
/// ```
/// use mercer::Pairs;
/// let pairs = Pairs::new(vec![0, 1], vec![1, 1], vec![0.5, 1.0], None)?;
/// assert_eq!(pairs.len(), 2);
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    x: Vec<u32>,
    y: Vec<u32>,
    value: Vec<f32>,
    weight: Option<Vec<f32>>,
}

impl Pairs {
    /// Pairs from parallel vectors: item indices, values and, if given, weights.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if the lengths differ, [`ErrorKind::NonFinite`] at a NaN or infinite value (column 2) or
    /// weight (column 3), [`ErrorKind::Parameter`] at a weight that is not positive.
    pub fn new(x: Vec<u32>, y: Vec<u32>, value: Vec<f32>, weight: Option<Vec<f32>>) -> Result<Self> {
        let lengths = [y.len(), value.len(), weight.as_ref().map_or(x.len(), Vec::len)];
        if lengths.iter().any(|&l| l != x.len()) {
            return Err(Error::shape(
                "observed pairs",
                format!("columns of length {}", x.len()),
                format!("{lengths:?}"),
            ));
        }
        for (column, values) in [(2, Some(&value)), (3, weight.as_ref())] {
            if let Some(row) = values.and_then(|v| v.iter().position(|v| !v.is_finite())) {
                return Err(ErrorKind::NonFinite { what: "observed pairs".into(), row, column }.into());
            }
        }
        if let Some(bad) = weight.iter().flatten().find(|w| **w <= 0.0) {
            return Err(Error::parameter("pair weight", "positive", bad));
        }
        Ok(Pairs { x, y, value, weight })
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.x.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.x.is_empty()
    }

    /// Refuses pairs that name an item beyond `queries` or `keys`.
    pub(crate) fn check_items(&self, queries: usize, keys: usize) -> Result<()> {
        let beyond = |side: &[u32], len: usize| side.iter().position(|&i| i as usize >= len);
        for (name, side, len) in [("query", &self.x, queries), ("key", &self.y, keys)] {
            if let Some(p) = beyond(side, len) {
                return Err(Error::shape(format!("pair {p}"), format!("a {name} item below {len}"), side[p]));
            }
        }
        Ok(())
    }

    /// All pairs as one chunk.
    pub fn chunk(&self) -> PairChunk<'_> {
        PairChunk { x: &self.x, y: &self.y, value: &self.value, weight: self.weight.as_deref() }
    }

    /// Each listed pair once, with the weighted mean of its values.
    pub(crate) fn cells(&self) -> BTreeMap<(u32, u32), f64> {
        let mut sums = BTreeMap::<(u32, u32), (f64, f64)>::new();
        for p in 0..self.len() {
            let cell = sums.entry((self.x[p], self.y[p])).or_default();
            let weight = self.weight.as_ref().map_or(1.0, |w| f64::from(w[p]));
            *cell = (cell.0 + weight * f64::from(self.value[p]), cell.1 + weight);
        }
        sums.into_iter().map(|(cell, (sum, weight))| (cell, sum / weight)).collect()
    }

    /// These pairs followed by `other`'s; weights appear if either has them.
    pub fn concat(&self, other: &Pairs) -> Pairs {
        let weight = (self.weight.is_some() || other.weight.is_some()).then(|| {
            let own = |p: &Pairs| p.weight.clone().unwrap_or_else(|| vec![1.0; p.len()]);
            [own(self), own(other)].concat()
        });
        Pairs {
            x: [self.x.as_slice(), &other.x].concat(),
            y: [self.y.as_slice(), &other.y].concat(),
            value: [self.value.as_slice(), &other.value].concat(),
            weight,
        }
    }

    /// A copy of the pairs named by `indices`, in that order.
    ///
    /// # Panics
    /// If an index is not below [`Pairs::len`].
    pub fn select(&self, indices: &[usize]) -> Pairs {
        Pairs {
            x: indices.iter().map(|&i| self.x[i]).collect(),
            y: indices.iter().map(|&i| self.y[i]).collect(),
            value: indices.iter().map(|&i| self.value[i]).collect(),
            weight: self.weight.as_ref().map(|w| indices.iter().map(|&i| w[i]).collect()),
        }
    }
}

impl PairSource for Pairs {
    fn in_memory(&self) -> Option<&Pairs> {
        Some(self)
    }
    fn len(&self) -> usize {
        Pairs::len(self)
    }
    fn for_each_chunk(&self, visit: &mut dyn FnMut(PairChunk<'_>) -> Result<()>) -> Result<()> {
        visit(self.chunk())
    }
}

/// What a pair or an item may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Fitting.
    Train,
    /// Choosing scale, ridge and dimension.
    Valid,
    /// Reporting the error, never looked at before.
    Test,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs that come one at a time, the second with a weight.
    struct Chunks(Pairs);

    impl PairSource for Chunks {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn for_each_chunk(&self, visit: &mut dyn FnMut(PairChunk<'_>) -> Result<()>) -> Result<()> {
            (0..self.len()).try_for_each(|p| {
                let one = self.0.select(&[p]);
                let weight = if p == 1 { one.chunk().weight } else { None };
                visit(PairChunk { weight, ..one.chunk() })
            })
        }
    }

    #[test]
    fn chunks_are_read_in_order_with_their_weights() {
        let pairs = Pairs::new(vec![0, 1, 2], vec![2, 1, 0], vec![0.5, 1.5, 2.5], Some(vec![1.0, 3.0, 1.0])).unwrap();
        assert_eq!(*all_pairs(&Chunks(pairs.clone())).unwrap(), pairs);
    }
}
