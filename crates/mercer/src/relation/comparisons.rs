//! Observed comparisons: for a query one key is preferred to another.

use crate::error::{Error, ErrorKind, Result};

/// Observed comparisons `(query, preferred, other)` with an optional weight: `preferred` stands above `other` for `query`.
///
/// A preference without a query is a comparison for the only query there is, number 0.
///
/// ```
/// use mercer::Comparisons;
/// let comparisons = Comparisons::new(vec![0, 0], vec![2, 1], vec![1, 0], None)?;
/// assert_eq!(comparisons.len(), 2);
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparisons {
    query: Vec<u32>,
    preferred: Vec<u32>,
    other: Vec<u32>,
    weight: Option<Vec<f32>>,
}

impl Comparisons {
    /// Comparisons from parallel vectors: item indices and, if given, weights.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if the lengths differ, [`ErrorKind::NonFinite`] at a NaN or infinite weight (column 3),
    /// [`ErrorKind::Parameter`] at a weight that is not positive, or at a key compared with itself.
    pub fn new(query: Vec<u32>, preferred: Vec<u32>, other: Vec<u32>, weight: Option<Vec<f32>>) -> Result<Self> {
        let lengths = [preferred.len(), other.len(), weight.as_ref().map_or(query.len(), Vec::len)];
        if lengths.iter().any(|&l| l != query.len()) {
            let expected = format!("columns of length {}", query.len());
            return Err(Error::shape("comparisons", expected, format!("{lengths:?}")));
        }
        if let Some(row) = weight.iter().flatten().position(|w| !w.is_finite()) {
            return Err(ErrorKind::NonFinite { what: "comparisons".into(), row, column: 3 }.into());
        }
        if let Some(bad) = weight.iter().flatten().find(|w| **w <= 0.0) {
            return Err(Error::parameter("comparison weight", "positive", bad));
        }
        if let Some(row) = (0..query.len()).find(|&i| preferred[i] == other[i]) {
            return Err(Error::parameter("comparison", "two different keys", format!("row {row} compares one key")));
        }
        Ok(Comparisons { query, preferred, other, weight })
    }

    /// Number of comparisons.
    pub fn len(&self) -> usize {
        self.query.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.query.is_empty()
    }

    /// Query of each comparison.
    pub fn query(&self) -> &[u32] {
        &self.query
    }

    /// Key that is preferred in each comparison.
    pub fn preferred(&self) -> &[u32] {
        &self.preferred
    }

    /// Key that the preferred one is compared with.
    pub fn other(&self) -> &[u32] {
        &self.other
    }

    /// Weight of each comparison, positive; `None`: all weights are 1.
    pub fn weight(&self) -> Option<&[f32]> {
        self.weight.as_deref()
    }

    /// A copy of the comparisons named by `indices`, in that order.
    ///
    /// # Panics
    /// If an index is not below [`Comparisons::len`].
    pub fn select(&self, indices: &[usize]) -> Comparisons {
        let part = |side: &[u32]| indices.iter().map(|&i| side[i]).collect();
        Comparisons {
            query: part(&self.query),
            preferred: part(&self.preferred),
            other: part(&self.other),
            weight: self.weight.as_ref().map(|w| indices.iter().map(|&i| w[i]).collect()),
        }
    }

    /// Refuses comparisons that name an item beyond `queries` or `keys`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] at the first such comparison.
    pub fn check_items(&self, queries: usize, keys: usize) -> Result<()> {
        let sides = [("query", &self.query, queries), ("key", &self.preferred, keys), ("key", &self.other, keys)];
        for (name, side, len) in sides {
            if let Some(row) = side.iter().position(|&i| i as usize >= len) {
                let expected = format!("a {name} item below {len}");
                return Err(Error::shape(format!("comparison {row}"), expected, side[row]));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_comparisons_are_refused() {
        let new = |q: &[u32], a: &[u32], b: &[u32], w: Option<Vec<f32>>| {
            Comparisons::new(q.to_vec(), a.to_vec(), b.to_vec(), w).map_err(|e| e.to_string())
        };
        assert!(new(&[0], &[1, 2], &[3], None).unwrap_err().contains("length 1"));
        assert!(new(&[0], &[1], &[1], None).unwrap_err().contains("two different keys"));
        assert!(new(&[0], &[1], &[2], Some(vec![0.0])).unwrap_err().contains("positive"));
        assert!(new(&[0], &[1], &[2], Some(vec![f32::NAN])).is_err());
        let good = new(&[0, 1], &[1, 2], &[2, 0], None).unwrap();
        assert!(good.check_items(2, 3).is_ok());
        assert!(good.check_items(2, 2).unwrap_err().to_string().contains("comparison 1"));
        assert_eq!(good.select(&[1]).preferred(), [2]);
    }
}
