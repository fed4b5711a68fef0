//! What a ranking is measured against: the related keys of each query, and those that it leaves out.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::relation::Pairs;

/// The keys known to be related to each query: those to be ranked, and others that are no candidates.
///
/// ```
/// use mercer::{Pairs, evaluate::Judged};
/// let ones = |x: Vec<u32>, y: Vec<u32>| Pairs::new(x.clone(), y, vec![1.0; x.len()], None);
/// let (test, train) = (ones(vec![0, 1], vec![3, 2])?, ones(vec![0, 0], vec![1, 2])?);
/// let judged = Judged::new(2, Some(4), &test, Some(&train))?;
/// assert_eq!((judged.pairs(), judged.queries()), (2, 2));
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Items of the query side, ranked or not.
    pub(crate) query_items: usize,
    /// Number of keys.
    pub(crate) keys: usize,
    /// Whether both sides are one set of items: then a query is no candidate for itself.
    pub(crate) one_set: bool,
    /// The queries with a related key, increasing.
    pub(crate) query: Vec<u32>,
    /// Where the related keys of each of them start, and where the last ones end.
    starts: Vec<usize>,
    /// Related keys, increasing for each query.
    pub(crate) key: Vec<u32>,
    /// Their values, all positive.
    pub(crate) gain: Vec<f32>,
    known_starts: Vec<usize>,
    /// Other keys known to be related, increasing for each query.
    known: Vec<u32>,
}

/// Each listed pair once, in order, with the weighted mean of its values; only positive ones, and in one set no item with itself.
fn positives(pairs: &Pairs, one_set: bool) -> Vec<(u32, u32, f32)> {
    let chunk = pairs.chunk();
    let mut order: Vec<u32> = (0..pairs.len() as u32).collect();
    let cell = |p: u32| (chunk.x[p as usize], chunk.y[p as usize]);
    order.sort_by_key(|&p| cell(p));
    let mean = |own: &[u32]| {
        let weight = |p: u32| chunk.weight.map_or(1.0, |w| f64::from(w[p as usize]));
        let sum: f64 = own.iter().map(|&p| weight(p) * f64::from(chunk.value[p as usize])).sum();
        (sum / own.iter().map(|&p| weight(p)).sum::<f64>()) as f32
    };
    let each = order.chunk_by(|&a, &b| cell(a) == cell(b)).map(|own| (cell(own[0]).0, cell(own[0]).1, mean(own)));
    each.filter(|&(x, y, value)| value > 0.0 && !(one_set && x == y)).collect()
}

impl Judged {
    /// From the pairs to be ranked and others that are known (for example those of the training).
    ///
    /// Pairs with a positive value count, of repeated ones the weighted mean; a pair of both lists is to be ranked. `keys: None`
    /// says that both sides are one set of `queries` items: then no item is a candidate for itself.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] if a pair names an item beyond `queries` or `keys`, [`crate::ErrorKind::Parameter`] beyond
    /// 2^32 - 1 pairs.
    pub fn new(queries: usize, keys: Option<usize>, ranked: &Pairs, known: Option<&Pairs>) -> Result<Judged> {
        let (one_set, keys) = (keys.is_none(), keys.unwrap_or(queries));
        for pairs in [Some(ranked), known].into_iter().flatten() {
            pairs.check_items(queries, keys)?;
            if u32::try_from(pairs.len()).is_err() {
                return Err(Error::parameter("number of pairs", "below 2^32", pairs.len()));
            }
        }
        let own = positives(ranked, one_set);
        let mut query: Vec<u32> = own.iter().map(|p| p.0).collect();
        query.dedup();
        let mut judged = Judged {
            query_items: queries,
            keys,
            one_set,
            starts: own
                .chunk_by(|a, b| a.0 == b.0)
                .scan(0, |end, run| Some(std::mem::replace(end, *end + run.len())))
                .collect(),
            key: own.iter().map(|p| p.1).collect(),
            gain: own.iter().map(|p| p.2).collect(),
            query,
            known_starts: vec![0],
            known: Vec::new(),
        };
        judged.starts.push(own.len());
        drop(own);
        judged.add_known(known.map(|pairs| positives(pairs, one_set)).unwrap_or_default());
        Ok(judged)
    }

    /// Keeps of `pairs`, which are in order, those of ranked queries that are not ranked themselves.
    fn add_known(&mut self, pairs: Vec<(u32, u32, f32)>) {
        let mut at = 0;
        for q in 0..self.query.len() {
            let x = self.query[q];
            at += pairs[at..].partition_point(|p| p.0 < x);
            let count = pairs[at..].partition_point(|p| p.0 == x);
            let own = &self.key[self.starts[q]..self.starts[q + 1]];
            let fresh = pairs[at..at + count].iter().map(|p| p.1).filter(|y| own.binary_search(y).is_err());
            self.known.extend(fresh);
            self.known_starts.push(self.known.len());
        }
    }

    /// Numbers of query items and of keys.
    pub fn sides(&self) -> (usize, usize) {
        (self.query_items, self.keys)
    }

    /// Queries with at least one pair to be ranked.
    pub fn queries(&self) -> usize {
        self.query.len()
    }

    /// Pairs to be ranked.
    pub fn pairs(&self) -> usize {
        self.key.len()
    }

    /// Known pairs of the ranked queries that are left out of their candidates.
    pub fn left_out(&self) -> usize {
        self.known.len()
    }

    /// The pairs of ranked query `q`.
    pub(crate) fn range(&self, q: usize) -> Range<usize> {
        self.starts[q]..self.starts[q + 1]
    }

    /// Other known keys of ranked query `q`.
    pub(crate) fn known(&self, q: usize) -> &[u32] {
        &self.known[self.known_starts[q]..self.known_starts[q + 1]]
    }

    /// All related keys of ranked query `q`: those to be ranked, then the others.
    pub(crate) fn listed(&self, q: usize) -> impl Iterator<Item = u32> {
        self.key[self.range(q)].iter().chain(self.known(q)).copied()
    }

    /// Keys of ranked query `q` of which nothing is known: the rivals of its related keys.
    pub(crate) fn negatives(&self, q: usize) -> usize {
        self.keys - usize::from(self.one_set) - self.range(q).len() - self.known(q).len()
    }
}

/// How many of `pairs` with a positive value name each key: the scores of the popularity baseline.
///
/// ```
/// use mercer::{Pairs, evaluate::popularity};
/// let pairs = Pairs::new(vec![0, 1, 2], vec![1, 1, 0], vec![1.0; 3], None)?;
/// assert_eq!(popularity(&pairs, 3), [1.0, 2.0, 0.0]);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn popularity(pairs: &Pairs, keys: usize) -> Vec<f32> {
    let chunk = pairs.chunk();
    let mut counts = vec![0_u32; keys];
    for (&y, _) in chunk.y.iter().zip(chunk.value).filter(|(_, value)| **value > 0.0) {
        if let Some(count) = counts.get_mut(y as usize) {
            *count += 1;
        }
    }
    counts.into_iter().map(|count| count as f32).collect()
}

/// How often a key occurs in training, in thirds of the training's pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Frequency {
    /// The most frequent keys, which make up a third of the pairs.
    Head,
    /// Between head and tail.
    Middle,
    /// The rarest keys, which make up a third of the pairs, and those that never occur.
    Tail,
}

impl Frequency {
    /// The third of each key by its count; keys of one count share the third in which the middle of their pairs lies.
    ///
    /// ```
    /// use mercer::evaluate::Frequency::{self, Head, Middle, Tail};
    /// assert_eq!(Frequency::of(&[4.0, 2.0, 2.0, 1.0, 3.0, 0.0]), [Head, Tail, Tail, Tail, Middle, Tail]);
    /// ```
    pub fn of(counts: &[f32]) -> Vec<Frequency> {
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by(|&a, &b| counts[b].total_cmp(&counts[a]));
        let total: f64 = counts.iter().map(|&c| f64::from(c)).sum();
        let mut thirds = vec![Frequency::Tail; counts.len()];
        let mut before = 0.0;
        for level in order.chunk_by(|&a, &b| counts[a] == counts[b]) {
            let mass = level.len() as f64 * f64::from(counts[level[0]]);
            let third = match 3.0 * (before + 0.5 * mass) / total {
                middle if middle < 1.0 => Frequency::Head,
                middle if middle < 2.0 => Frequency::Middle,
                _ => Frequency::Tail,
            };
            level.iter().for_each(|&key| thirds[key] = third);
            before += mass;
        }
        thirds
    }
}
