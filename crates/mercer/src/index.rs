//! Search by largest inner product.

mod tiles;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use crate::error::{Error, Result};
pub(crate) use tiles::{QUERIES, TILE, Tiles, products};

/// A key found for a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Index of the key.
    pub key: u32,
    /// Inner product with the query.
    pub score: f32,
}

impl Hit {
    /// Best first: larger score, then smaller index.
    fn order(&self, other: &Hit) -> Ordering {
        other.score.total_cmp(&self.score).then(self.key.cmp(&other.key))
    }
}

/// A hit ordered so that the worst is the greatest, the top of a heap.
struct Worst(Hit);
impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Worst {}
impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.order(&other.0)
    }
}

/// Exact search: every key is scored, in tiles of a matrix product.
///
/// ```
/// use mercer::index::Exact;
/// let index = Exact::new(&[1.0, 0.0, 0.0, 1.0, 0.7, 0.7], 2)?;
/// let hits = index.search(&[1.0, 0.1], 2, None)?;
/// assert_eq!(hits[0].iter().map(|h| h.key).collect::<Vec<_>>(), [0, 2]);
/// # Ok::<(), mercer::Error>(())
/// ```
pub struct Exact {
    tiles: Tiles,
    dim: usize,
}

impl Exact {
    /// An index of row-major keys `(len, dim)`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] if `keys` is not whole rows, [`crate::ErrorKind::Parameter`] beyond 2^32 keys.
    pub fn new(keys: &[f32], dim: usize) -> Result<Exact> {
        if dim == 0 || !keys.len().is_multiple_of(dim) {
            return Err(Error::shape("index keys", format!("rows of {dim} > 0 numbers"), keys.len()));
        }
        let len = keys.len() / dim;
        if u32::try_from(len).is_err() {
            return Err(Error::parameter("number of keys", "below 2^32", len));
        }
        let mut tiles = Tiles::with_capacity(dim, len);
        tiles.extend(keys);
        Ok(Exact { tiles, dim })
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.tiles.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `k` keys with the largest inner product for each row of the row-major `queries` `(n, dim)`, best first.
    ///
    /// Ties go to the smaller key. `skip[i]`, where given, is a key that query `i` shall not find. Fewer than `k` hits come
    /// only where there are fewer keys. The same hits for any number of threads.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] if `queries` is not whole rows or `skip` has another length.
    pub fn search(&self, queries: &[f32], k: usize, skip: Option<&[Option<u32>]>) -> Result<Vec<Vec<Hit>>> {
        let n = queries.len() / self.dim;
        if !queries.len().is_multiple_of(self.dim) || skip.is_some_and(|s| s.len() != n) {
            let got = format!("{} numbers, {:?} exclusions", queries.len(), skip.map(<[_]>::len));
            return Err(Error::shape(
                "search queries",
                format!("rows of {} numbers, one exclusion each", self.dim),
                got,
            ));
        }
        let blocks: Vec<Vec<Vec<Hit>>> = queries
            .par_chunks(QUERIES * self.dim)
            .enumerate()
            .map(|(block, rows)| self.search_block(rows, block * QUERIES, k, skip))
            .collect();
        Ok(blocks.into_iter().flatten().collect())
    }

    fn search_block(&self, rows: &[f32], first: usize, k: usize, skip: Option<&[Option<u32>]>) -> Vec<Vec<Hit>> {
        let n = rows.len() / self.dim;
        let mut heaps: Vec<BinaryHeap<Worst>> =
            (0..n).map(|_| BinaryHeap::with_capacity(k.min(self.len()) + 1)).collect();
        let mut scores = vec![0.0; n * TILE];
        for (first_key, width, tile) in self.tiles.iter() {
            products(rows, tile, &mut scores);
            for (i, heap) in heaps.iter_mut().enumerate() {
                let skipped = skip.and_then(|s| s[first + i]);
                let mut bar =
                    if heap.len() < k { f32::NEG_INFINITY } else { heap.peek().map_or(f32::INFINITY, |w| w.0.score) };
                let own = &scores[i * TILE..][..width];
                // Most tiles hold nothing better: one look at the largest score, which vectorises, tells.
                if heap.len() >= k && largest(own) <= bar {
                    continue;
                }
                for (j, &score) in own.iter().enumerate() {
                    // Keys come in increasing order, so an equal score loses against one that is there already.
                    if score <= bar && heap.len() >= k {
                        continue;
                    }
                    let key = (first_key + j) as u32;
                    if Some(key) == skipped {
                        continue;
                    }
                    heap.push(Worst(Hit { key, score }));
                    if heap.len() > k {
                        heap.pop();
                    }
                    if heap.len() == k {
                        bar = heap.peek().map_or(f32::INFINITY, |w| w.0.score);
                    }
                }
            }
        }
        heaps.into_iter().map(|heap| heap.into_sorted_vec().into_iter().map(|w| w.0).collect()).collect()
    }
}

/// The largest score, in 16 lanes.
fn largest(scores: &[f32]) -> f32 {
    let (lanes, rest) = scores.as_chunks::<16>();
    let mut most = [f32::NEG_INFINITY; 16];
    for lane in lanes {
        most.iter_mut().zip(lane).for_each(|(m, v)| *m = if *v > *m { *v } else { *m });
    }
    most.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn agrees_with_sorting_all_scores_and_prefixes_agree() {
        let mut stream = Seed(5).stream("index");
        let mut draw = |n: usize| (0..n * 7).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let (keys, queries) = (draw(2500), draw(70));
        let index = Exact::new(&keys, 7).unwrap();
        let skip: Vec<Option<u32>> = (0..70).map(|i| (i % 2 == 0).then_some(i * 3)).collect();
        let hits = index.search(&queries, 11, Some(&skip)).unwrap();
        let shorter = index.search(&queries, 10, Some(&skip)).unwrap();
        for (i, own) in hits.iter().enumerate() {
            let score = |j: usize| (0..7).map(|c| queries[i * 7 + c] * keys[j * 7 + c]).sum::<f32>();
            let mut all: Vec<usize> = (0..2500).filter(|&j| Some(j as u32) != skip[i]).collect();
            all.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
            for (hit, &expected) in own.iter().zip(&all) {
                assert!((hit.score - score(expected)).abs() < 1e-5, "query {i}");
            }
            assert_eq!(own[..10], shorter[i][..]);
            assert!(own.iter().all(|h| Some(h.key) != skip[i]));
        }
    }

    #[test]
    fn fewer_keys_than_asked_and_no_hits_asked() {
        let index = Exact::new(&[1.0, 2.0], 1).unwrap();
        assert_eq!(index.search(&[1.0], 5, None).unwrap()[0].len(), 2);
        assert!(index.search(&[1.0], 0, None).unwrap()[0].is_empty());
    }
}
