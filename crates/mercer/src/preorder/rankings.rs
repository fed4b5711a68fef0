//! Rankings: ordered lists of keys, possibly with ties and possibly of some keys only.

use crate::error::{Error, ErrorKind, Result};
use crate::relation::Comparisons;

/// Rankings of keys from the top down, each a list of groups of tied keys, with an optional weight.
///
/// A ranking speaks of the keys that it lists. "The best three of these ten" is three groups of one key and a last one of the
/// other seven.
///
/// ```
/// use mercer::preorder::Rankings;
/// let rankings = Rankings::new(&[vec![vec![2], vec![0, 1]], vec![vec![1], vec![2]]], Some(vec![3.0, 1.0]))?;
/// assert_eq!((rankings.len(), rankings.keys()), (2, 3));
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rankings {
    items: Vec<u32>,
    /// Where each group ends in `items`.
    groups: Vec<usize>,
    /// Where each ranking's groups end in `groups`.
    ends: Vec<usize>,
    weight: Vec<f64>,
}

impl Rankings {
    /// Rankings from lists of groups; empty groups are left out. `weight`: one a ranking, such as the number of voters; `None`:
    /// all 1.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if there is not one weight a ranking, [`ErrorKind::NonFinite`] at a NaN or infinite weight,
    /// [`ErrorKind::Parameter`] at a weight that is not positive or a key that stands twice in one ranking.
    pub fn new(rankings: &[Vec<Vec<u32>>], weight: Option<Vec<f64>>) -> Result<Rankings> {
        let weight = weight.unwrap_or_else(|| vec![1.0; rankings.len()]);
        if weight.len() != rankings.len() {
            return Err(Error::shape("rankings", format!("{} weights", rankings.len()), weight.len()));
        }
        if let Some(row) = weight.iter().position(|w| !w.is_finite()) {
            return Err(ErrorKind::NonFinite { what: "weights of rankings".into(), row, column: 0 }.into());
        }
        if let Some(bad) = weight.iter().find(|w| **w <= 0.0) {
            return Err(Error::parameter("weight of a ranking", "positive", bad));
        }
        let mut own = Rankings { weight, ..Rankings::default() };
        for (row, groups) in rankings.iter().enumerate() {
            let mut keys: Vec<u32> = groups.iter().flatten().copied().collect();
            keys.sort_unstable();
            if let Some(twice) = keys.windows(2).find(|w| w[0] == w[1]) {
                let got = format!("key {} twice in ranking {row}", twice[0]);
                return Err(Error::parameter("ranking", "a list of different keys", got));
            }
            for group in groups.iter().filter(|g| !g.is_empty()) {
                own.items.extend(group);
                own.groups.push(own.items.len());
            }
            own.ends.push(own.groups.len());
        }
        Ok(own)
    }

    /// Rankings without ties, best key first.
    ///
    /// # Errors
    /// As [`Rankings::new`].
    ///
    /// ```
    /// use mercer::preorder::Rankings;
    /// let rankings = Rankings::strict(&[vec![2, 0, 1]], None)?;
    /// let groups: Vec<&[u32]> = rankings.ranking(0).collect();
    /// assert_eq!(groups, [[2], [0], [1]]);
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn strict(rankings: &[Vec<u32>], weight: Option<Vec<f64>>) -> Result<Rankings> {
        let groups: Vec<Vec<Vec<u32>>> =
            rankings.iter().map(|list| list.iter().map(|&key| vec![key]).collect()).collect();
        Rankings::new(&groups, weight)
    }

    /// Number of rankings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One more than the largest key.
    pub fn keys(&self) -> usize {
        self.items.iter().max().map_or(0, |&k| k as usize + 1)
    }

    /// Weight of each ranking.
    pub fn weight(&self) -> &[f64] {
        &self.weight
    }

    /// The groups of ranking `at`, from the top down.
    ///
    /// # Panics
    /// If there is no such ranking.
    pub fn ranking(&self, at: usize) -> impl DoubleEndedIterator<Item = &[u32]> + ExactSizeIterator {
        let first = if at == 0 { 0 } else { self.ends[at - 1] };
        (first..self.ends[at]).map(|g| &self.items[if g == 0 { 0 } else { self.groups[g - 1] }..self.groups[g]])
    }

    /// Every pair of keys of a ranking as a comparison for query `query`, with the ranking's weight; a tie as two comparisons
    /// of half of it.
    ///
    /// Cost and length: the sum of squared lengths.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] at a weight that half of it does not fit into `f32`.
    ///
    /// ```
    /// use mercer::preorder::Rankings;
    /// let comparisons = Rankings::new(&[vec![vec![2], vec![0, 1]]], None)?.comparisons(0)?;
    /// assert_eq!((comparisons.preferred(), comparisons.other()), (&[2, 2, 0, 1][..], &[0, 1, 1, 0][..]));
    /// assert_eq!(comparisons.weight().unwrap(), [1.0, 1.0, 0.5, 0.5]);
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn comparisons(&self, query: u32) -> Result<Comparisons> {
        let (mut preferred, mut other, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..self.len() {
            let groups: Vec<&[u32]> = self.ranking(at).collect();
            let mut push = |a: u32, b: u32, weight: f64| {
                preferred.push(a);
                other.push(b);
                weights.push(weight as f32);
            };
            for (g, group) in groups.iter().enumerate() {
                for (i, &a) in group.iter().enumerate() {
                    groups[g + 1..].iter().copied().flatten().for_each(|&b| push(a, b, self.weight[at]));
                    for &b in &group[i + 1..] {
                        push(a, b, 0.5 * self.weight[at]);
                        push(b, a, 0.5 * self.weight[at]);
                    }
                }
            }
        }
        Comparisons::new(vec![query; preferred.len()], preferred, other, Some(weights))
    }
}
