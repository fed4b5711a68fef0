//! Where each related key stands among all keys of its query: by counting, block by block, never all scores at once.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::evaluate::count::Counts;
use crate::evaluate::memory::Blocks;
use crate::evaluate::scores::{Source, largest};
use crate::evaluate::{Judged, Scores};
use crate::index::{QUERIES, TILE, Tiles, products};

/// Where a related key stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Negatives with a larger score.
    pub(crate) above: u32,
    /// Negatives with the same score.
    pub(crate) tied: u32,
    /// Candidates with a larger score, all other related keys among them.
    pub(crate) raw_above: u32,
    /// Candidates with the same score, itself aside.
    pub(crate) raw_tied: u32,
}

/// Where each related key stands among all keys: what every ranking metric is made of.
///
/// A *negative* of a query is a key of which nothing is known; related keys stand among these (filtered). Queries of one set of
/// items are no candidates for themselves.
///
/// ```
/// use mercer::{Pairs, evaluate::{Judged, Placements, Scores}};
/// let pairs = Pairs::new(vec![0, 0], vec![1, 3], vec![1.0; 2], None)?;
/// let judged = Judged::new(1, Some(4), &pairs, None)?;
/// let scores = Scores::Embeddings { queries: &[1.0], keys: &[3.0, 5.0, 2.0, 2.5], dim: 1 };
/// let metrics = Placements::new(scores, &judged, None)?.metrics(&[1])?.unwrap();
/// // Key 1 is first, key 3 has one negative above it: ranks 1 and 2 among the negatives.
/// assert_eq!((metrics.mean_rank.mean, metrics.mrr.mean), (1.5, 0.75));
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Placements<'a> {
    pub(crate) judged: &'a Judged,
    /// One place a pair, in the order of the judged pairs.
    pub(crate) places: Vec<Place>,
}

impl<'a> Placements<'a> {
    /// Scores all keys for all ranked queries and counts.
    ///
    /// Inner products are computed in `f32` in tiles of a matrix product; a related key and its rivals come from one kernel,
    /// so that equal embeddings tie exactly. `max_memory` bounds the bytes that this needs beside what the caller holds
    /// ([`Placements::blocks`] says how many); the result does not depend on it, nor on the number of threads.
    ///
    /// Cost: `2 * ranked queries * keys * dim` operations, and comparisons with the scores of related keys.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] if the scores are of other items, [`crate::ErrorKind::Parameter`] if the smallest blocks
    /// need more than `max_memory`, [`crate::ErrorKind::NonFinite`] and [`crate::ErrorKind::Data`] at embeddings that are not
    /// finite or have products beyond `f32`; else as [`crate::Tower::forward`].
    pub fn new(scores: Scores<'_>, judged: &'a Judged, max_memory: Option<u64>) -> Result<Placements<'a>> {
        scores.check(judged)?;
        let blocks = Placements::blocks(scores, judged, max_memory)?;
        let places = match (scores.source(), scores, blocks) {
            (Some(source), _, Some(blocks)) => by_products(&source, judged, blocks)?,
            (_, Scores::Keys(values), _) => by_key(judged, values),
            _ => by_key(judged, &vec![0.0; judged.keys]),
        };
        Ok(Placements { judged, places })
    }

    /// The blocks that [`Placements::new`] will use with the current number of threads; `None` where no products are needed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] if the smallest blocks need more than `max_memory` bytes.
    pub fn blocks(scores: Scores<'_>, judged: &Judged, max_memory: Option<u64>) -> Result<Option<Blocks>> {
        let threads = rayon::current_num_threads();
        scores.source().map(|source| Blocks::fit(judged, source.cost(), threads, max_memory)).transpose()
    }
}

/// The places of one query's related keys. `total` counts all keys above and equal to a score; `listed` are the scores of its
/// related keys, `own` of them ranked, and `itself` that of the query as a key.
fn settle(
    listed: &[f32],
    own: usize,
    itself: Option<f32>,
    total: impl Fn(f32) -> (u32, u32),
) -> impl Iterator<Item = Place> {
    let mut sorted = listed.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let itself = move |holds: &dyn Fn(f32) -> bool| u32::from(itself.is_some_and(holds));
    listed[..own].iter().copied().map(move |score| {
        let (above, equal) = total(score);
        let (raw_above, equal) = (above - itself(&|v| v > score), equal - itself(&|v| v == score));
        let below = sorted.partition_point(|v| *v < score);
        let through = sorted.partition_point(|v| *v <= score);
        Place {
            above: raw_above - (sorted.len() - through) as u32,
            tied: equal - (through - below) as u32,
            raw_above,
            raw_tied: equal - 1,
        }
    })
}

/// One score a key for all queries: one sorted list serves all.
fn by_key(judged: &Judged, values: &[f32]) -> Vec<Place> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let total = |score: f32| {
        let (below, through) = (sorted.partition_point(|v| *v < score), sorted.partition_point(|v| *v <= score));
        ((sorted.len() - through) as u32, (through - below) as u32)
    };
    let one = |q: usize| {
        let listed: Vec<f32> = judged.listed(q).map(|y| values[y as usize]).collect();
        let itself = judged.one_set.then(|| values[judged.query[q] as usize]);
        settle(&listed, judged.range(q).len(), itself, total).collect::<Vec<_>>()
    };
    let each: Vec<Vec<Place>> = (0..judged.queries()).into_par_iter().map(one).collect();
    each.into_iter().flatten().collect()
}

fn by_products(source: &Source<'_>, judged: &Judged, blocks: Blocks) -> Result<Vec<Place>> {
    let all: Vec<Range<usize>> =
        (0..judged.keys).step_by(blocks.keys).map(|k| k..(k + blocks.keys).min(judged.keys)).collect();
    // Where all keys are held at once, they are embedded once.
    let held = if let [whole] = all.as_slice() { Some(source.keys(whole.clone())?) } else { None };
    let mut places = Vec::with_capacity(judged.pairs());
    for first in (0..judged.queries()).step_by(blocks.queries) {
        let queries = first..(first + blocks.queries).min(judged.queries());
        let rows = source.queries(&judged.query[queries.clone()])?;
        let size = f64::from(largest(&rows));
        let mut chunks: Vec<Chunk<'_>> = queries
            .step_by(QUERIES)
            .zip(rows.chunks(QUERIES * source.dim))
            .map(|(first, rows)| Chunk::new(judged, first, rows, source.dim))
            .collect();
        // The scores of the related keys come first: they are what all scores are compared with.
        for counting in [false, true] {
            for range in &all {
                let made;
                let (tiles, key_size) = match &held {
                    Some(held) => held,
                    None => {
                        made = source.keys(range.clone())?;
                        &made
                    }
                };
                if size * f64::from(*key_size) * source.dim as f64 > f64::from(f32::MAX) {
                    let problem = "inner products of the embeddings exceed the largest 32-bit number";
                    return Err(Error::data(problem, "scale the embeddings or fit again"));
                }
                chunks.par_iter_mut().for_each(|chunk| match counting {
                    false => chunk.score_listed(range, tiles),
                    true => chunk.count(tiles),
                });
            }
            if !counting {
                chunks.par_iter_mut().for_each(Chunk::start_counting);
            }
        }
        let settled: Vec<Vec<Place>> = chunks.into_par_iter().map(Chunk::finish).collect();
        settled.into_iter().for_each(|own| places.extend(own));
    }
    Ok(places)
}

/// Some queries on their way past all tiles.
struct Chunk<'a> {
    judged: &'a Judged,
    /// The first of the ranked queries.
    first: usize,
    rows: &'a [f32],
    dim: usize,
    /// Where the listed keys of each query start, and where the last ones end.
    starts: Vec<usize>,
    /// Scores of the listed keys: the ranked ones, those that are left out, and the query itself in one set of items.
    listed: Vec<f32>,
    counts: Option<Counts>,
}

impl<'a> Chunk<'a> {
    fn new(judged: &'a Judged, first: usize, rows: &'a [f32], dim: usize) -> Self {
        let mut starts = vec![0];
        for q in first..first + rows.len() / dim {
            let count = judged.range(q).len() + judged.known(q).len() + usize::from(judged.one_set);
            starts.push(starts[starts.len() - 1] + count);
        }
        let listed = vec![0.0; starts[starts.len() - 1]];
        Chunk { judged, first, rows, dim, starts, listed, counts: None }
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Scores of listed keys that lie in `range`, by the same kernel as all scores.
    fn score_listed(&mut self, range: &Range<usize>, tiles: &Tiles) {
        let (mut tile, mut out) = (vec![0.0; TILE * self.dim], [0.0; TILE]);
        for i in 0..self.len() {
            let q = self.first + i;
            let itself = self.judged.one_set.then(|| self.judged.query[q]);
            let keys = self.judged.listed(q).chain(itself).map(|y| y as usize).enumerate();
            let here: Vec<(usize, usize)> = keys.filter(|(_, y)| range.contains(y)).collect();
            for part in here.chunks(TILE) {
                tiles.gather(part.iter().map(|(_, y)| y - range.start), &mut tile);
                products(&self.rows[i * self.dim..(i + 1) * self.dim], &tile, &mut out);
                part.iter().zip(out).for_each(|((at, _), score)| self.listed[self.starts[i] + at] = score);
            }
        }
    }

    fn start_counting(&mut self) {
        let own = |i: usize| &self.listed[self.starts[i]..][..self.judged.range(self.first + i).len()];
        self.counts = Some(Counts::new((0..self.len()).map(own)));
    }

    fn count(&mut self, tiles: &Tiles) {
        let Some(counts) = &mut self.counts else { return };
        let mut scores = vec![0.0; self.rows.len() / self.dim * TILE];
        for (_, width, tile) in tiles.iter() {
            products(self.rows, tile, &mut scores);
            counts.add(&scores, width);
        }
    }

    fn finish(self) -> Vec<Place> {
        let Some(counted) = self.counts.map(Counts::finish) else { return Vec::new() };
        let one = |i: usize| {
            let listed = &self.listed[self.starts[i]..self.starts[i + 1]];
            let (listed, itself) = match self.judged.one_set {
                true => (&listed[..listed.len() - 1], listed.last().copied()),
                false => (listed, None),
            };
            let own = self.judged.range(self.first + i).len();
            settle(listed, own, itself, |score| counted.of(i, score)).collect::<Vec<_>>()
        };
        (0..self.starts.len() - 1).flat_map(one).collect()
    }
}
