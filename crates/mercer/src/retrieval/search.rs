//! The keys whose scores may be among the largest: all that are, and few others.

use rayon::prelude::*;

use crate::gemm::{End, Out, Start, multiply};
use crate::index::TILE;
use crate::retrieval::codes::{Found, above};
use crate::retrieval::sketch::{CENTRES, LANES, QuerySketch, Sketch, Tile};
use crate::wide::wide;

/// Queries that pass over the tiles together, a multiple of 16.
pub(super) const BLOCK: usize = 256;
/// Tiles of a query from which its first bound comes.
const SEEDS: usize = 4;
/// How far into a tile's reach its best score is likely to be; a guess, on which only time depends.
const LIKELY: f32 = 0.3;
/// Candidates of a query beyond which they are weeded.
const WEED: usize = 1024;

/// What is searched.
#[derive(Clone, Copy)]
pub(super) enum Aim<'a> {
    /// The keys whose score is at most this below the largest, one number a query.
    Within(&'a [f64]),
    /// The two keys with the largest scores.
    BestTwo,
}

/// What was found for a query.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    /// Keys in increasing order: all that are searched, perhaps others.
    pub(super) keys: Vec<u32>,
    /// Keys whose codes were looked at.
    pub(super) touched: u64,
}

/// Bounds the rounding of everything that is done in `f32` with scores up to 1: the product with a centre, and eight operations on
/// sums below 8.
fn slack(dim: usize) -> f64 {
    f64::from(f32::EPSILON) * (dim as f64 + 2.0 + 8.0 * 8.0)
}

/// The candidates of each row of row-major `queries`.
pub(super) fn search(sketch: &Sketch, queries: &[f32], aim: Aim<'_>) -> Vec<Candidates> {
    let blocks = queries.par_chunks(BLOCK * sketch.dim).enumerate();
    let done = blocks.map(|(at, rows)| {
        let aim = match aim {
            Aim::Within(windows) => Aim::Within(&windows[at * BLOCK..(at * BLOCK + rows.len() / sketch.dim)]),
            Aim::BestTwo => Aim::BestTwo,
        };
        Hunt::new(sketch, rows, aim).run()
    });
    done.collect::<Vec<_>>().concat()
}

/// A key that may be searched.
#[derive(Clone, Copy)]
struct Candidate {
    place: u32,
    /// Its score is not larger.
    upper: f32,
}

/// What is known of one query's largest scores: scaled lower bounds.
#[derive(Clone, Copy)]
struct Known {
    first: f64,
    second: f64,
}

impl Known {
    const NOTHING: Known = Known { first: f64::NEG_INFINITY, second: f64::NEG_INFINITY };

    /// Takes in a lower bound of another key's score.
    fn add(&mut self, lower: f64) {
        if lower > self.first {
            (self.first, self.second) = (lower, self.first);
        } else if lower > self.second {
            self.second = lower;
        }
    }
}

/// The queries' numbers side by side, filled up to whole registers.
pub(super) struct Lanes {
    norms: Vec<f32>,
    weighted: Vec<f32>,
    rests: Vec<f32>,
    inverse: Vec<f32>,
    offsets: Vec<i32>,
    /// Scores that a tile must reach to be looked at, [`slack`] taken off.
    bounds: Vec<f32>,
}

/// A block of queries on its way over the tiles.
struct Hunt<'a> {
    sketch: &'a Sketch,
    queries: QuerySketch,
    /// Scaled windows; `None` for the best two.
    windows: Option<Vec<f64>>,
    slack: f64,
    lanes: Lanes,
    /// Scores below are not searched.
    bounds: Vec<f64>,
    known: Vec<Known>,
    lists: Vec<Vec<Candidate>>,
    limits: Vec<usize>,
    touched: Vec<u64>,
}

/// A tile that promises much to a query.
#[derive(Clone, Copy)]
struct Seed {
    promise: f32,
    tile: u32,
    centre: f32,
}

fn filled<T: Copy>(values: &[T], with: T) -> Vec<T> {
    let mut filled = values.to_vec();
    filled.resize(values.len().next_multiple_of(LANES), with);
    filled
}

/// A number of `f32` that is not larger.
fn down(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) > value { near.next_down() } else { near }
}

impl<'a> Hunt<'a> {
    fn new(sketch: &'a Sketch, rows: &[f32], aim: Aim<'_>) -> Self {
        let queries = sketch.queries(rows);
        let n = queries.units.len();
        let windows = match aim {
            Aim::BestTwo => None,
            Aim::Within(own) => {
                Some(own.iter().zip(&queries.units).map(|(window, unit)| window / sketch.unit / unit).collect())
            }
        };
        let lanes = Lanes {
            norms: filled(&queries.norms, 0.0),
            weighted: filled(&queries.weighted, 0.0),
            rests: filled(&queries.rests, 0.0),
            inverse: filled(&queries.inverse, 1.0),
            offsets: filled(&queries.codes.offsets, 0),
            bounds: filled(&vec![f32::MIN; n], f32::INFINITY),
        };
        Hunt {
            sketch,
            queries,
            windows,
            slack: slack(sketch.dim),
            lanes,
            bounds: vec![f64::NEG_INFINITY; n],
            known: vec![Known::NOTHING; n],
            lists: vec![Vec::new(); n],
            limits: vec![WEED; n],
            touched: vec![0; n],
        }
    }

    fn run(mut self) -> Vec<Candidates> {
        self.start();
        let (mut rows, mut bars, mut found) = (Vec::new(), Vec::new(), Vec::new());
        let mut centres = Vec::new();
        let sketch = self.sketch;
        for (group, tiles) in sketch.tiles.chunks(CENTRES).enumerate() {
            self.centres(group, &mut centres);
            for (i, tile) in tiles.iter().enumerate() {
                let at = group * CENTRES + i;
                let own = self.scores(&centres, i);
                scan(tile, own, &self.lanes, &mut rows, &mut bars);
                if rows.is_empty() {
                    continue;
                }
                above(&self.sketch.codes, at, &self.queries.codes, &rows, &bars, &mut found);
                rows.iter().for_each(|&row| self.touched[row as usize] += tile.width as u64);
                for found in found.drain(..) {
                    let row = rows[found.place as usize] as usize;
                    self.take(at, tile, found, row, own[row]);
                }
                rows.clear();
                bars.clear();
            }
        }
        (0..self.lists.len()).map(|row| self.candidates(row)).collect()
    }

    /// Products of a group of centres with all queries, row-major by centre.
    fn centres(&self, group: usize, out: &mut Vec<f32>) {
        let centres = &self.sketch.centres[group];
        let tiles = CENTRES.min(self.sketch.tiles.len() - group * CENTRES);
        out.resize(tiles * self.lanes.norms.len(), 0.0);
        multiply(centres, &self.queries.scaled, Start::Zero, End::Keep, Out::Rows(out));
    }

    fn scores<'b>(&self, centres: &'b [f32], tile: usize) -> &'b [f32] {
        let n = self.lanes.norms.len();
        &centres[tile * n..][..n]
    }

    /// First bounds, from the tiles that promise most.
    fn start(&mut self) {
        let n = self.lists.len();
        let none = Seed { promise: f32::NEG_INFINITY, tile: u32::MAX, centre: 0.0 };
        let mut seeds = vec![[none; SEEDS]; n];
        let mut centres = Vec::new();
        let mut promises = vec![0.0; self.lanes.norms.len()];
        let mut least = filled(&vec![f32::NEG_INFINITY; n], f32::INFINITY);
        for (group, tiles) in self.sketch.tiles.chunks(CENTRES).enumerate() {
            self.centres(group, &mut centres);
            for (i, tile) in tiles.iter().enumerate() {
                let own = self.scores(&centres, i);
                if !promise(tile, own, &self.lanes, &least, &mut promises) {
                    continue;
                }
                for row in 0..n {
                    if promises[row] <= least[row] {
                        continue;
                    }
                    let place = seeds[row].partition_point(|seed| seed.promise >= promises[row]);
                    seeds[row][place..].rotate_right(1);
                    let tile = (group * CENTRES + i) as u32;
                    seeds[row][place] = Seed { promise: promises[row], tile, centre: own[row] };
                    least[row] = seeds[row][SEEDS - 1].promise;
                }
            }
        }
        let mut found = Vec::new();
        for (row, seeds) in seeds.iter().enumerate() {
            let mut known = Known::NOTHING;
            for seed in seeds.iter().filter(|seed| seed.tile != u32::MAX) {
                let tile = &self.sketch.tiles[seed.tile as usize];
                above(
                    &self.sketch.codes,
                    seed.tile as usize,
                    &self.queries.codes,
                    &[row as u32],
                    &[i32::MIN],
                    &mut found,
                );
                for found in found.drain(..).filter(|found| (found.lane as usize) < tile.width) {
                    let (score, error) = self.score(tile, found.sum, row, seed.centre);
                    known.add(score - error);
                }
            }
            self.raise(row, known);
        }
    }

    /// A key's scaled score, and how wrong it may be.
    fn score(&self, tile: &Tile, sum: i32, row: usize, centre: f32) -> (f64, f64) {
        let queries = &self.queries;
        let worth = f64::from(queries.scales[row]) * f64::from(tile.scale);
        let score = f64::from(centre) + worth * f64::from(sum - queries.codes.offsets[row]);
        let error = f64::from(queries.norms[row]) * f64::from(tile.rest)
            + f64::from(queries.rests[row]) * f64::from(tile.coded);
        (score, error + self.slack)
    }

    /// Takes in what is known of a query's largest scores.
    fn raise(&mut self, row: usize, known: Known) {
        let bound = self.windows.as_ref().map_or(known.second, |windows| known.first - windows[row]);
        if bound > self.bounds[row] {
            self.bounds[row] = bound;
            // Below every score nothing is told apart, but sums of it stay finite.
            self.lanes.bounds[row] = down((bound - self.slack).max(-4.0));
        }
    }

    /// Takes in a key whose sum reached the bar.
    fn take(&mut self, at: usize, tile: &Tile, found: Found, row: usize, centre: f32) {
        if found.lane as usize >= tile.width {
            return;
        }
        let (score, error) = self.score(tile, found.sum, row, centre);
        if score + error < self.bounds[row] {
            return;
        }
        let upper = -down(-score - error);
        self.lists[row].push(Candidate { place: (at * TILE) as u32 + found.lane, upper });
        self.known[row].add(score - error);
        self.raise(row, self.known[row]);
        if self.lists[row].len() > self.limits[row] {
            self.weed(row);
            self.limits[row] = WEED.max(2 * self.lists[row].len());
        }
    }

    /// Drops what later bounds exclude.
    fn weed(&mut self, row: usize) {
        let bound = self.bounds[row];
        self.lists[row].retain(|candidate| f64::from(candidate.upper) >= bound);
    }

    fn candidates(&mut self, row: usize) -> Candidates {
        self.weed(row);
        let mut keys: Vec<u32> = self.lists[row].iter().map(|c| self.sketch.keys[c.place as usize]).collect();
        keys.sort_unstable();
        Candidates { keys, touched: self.touched[row] }
    }
}

/// The most by which a score in `tile` can be above its centre's.
#[inline(always)]
fn reach(tile: &Tile, norm: f32, weighted: f32) -> f32 {
    let (ball, other) = (norm * tile.radius, weighted * tile.weighted);
    if ball < other { ball } else { other }
}

/// Numbers `16 i` to `16 i + 15`.
#[inline(always)]
fn register<T>(all: &[T], i: usize) -> &[T; LANES] {
    &all.as_chunks().0[i]
}

#[allow(unsafe_code)]
#[allow(clippy::manual_clamp)] // `clamp` keeps NaN
#[inline(always)]
fn scan_body<const FMA: bool>(tile: &Tile, centre: &[f32], lanes: &Lanes, rows: &mut Vec<u32>, bars: &mut Vec<i32>) {
    let scale = 1.0 / tile.scale;
    for (i, centre) in centre.as_chunks::<LANES>().0.iter().enumerate() {
        let (norms, weighted) = (register(&lanes.norms, i), register(&lanes.weighted, i));
        let bounds = register(&lanes.bounds, i);
        // The sign says whether the tile falls short; integers of it vectorise where comparisons do not.
        let mut short = [0u32; LANES];
        for j in 0..LANES {
            short[j] = (centre[j] + reach(tile, norms[j], weighted[j]) - bounds[j]).to_bits() >> 31;
        }
        let mut left = (0..LANES).fold(0, |left, j| left | (1 - short[j]) << j);
        if left == 0 {
            continue;
        }
        let (rests, inverse) = (register(&lanes.rests, i), register(&lanes.inverse, i));
        let offsets = register(&lanes.offsets, i);
        let mut own = [0i32; LANES];
        for j in 0..LANES {
            let missing = bounds[j] - centre[j] - norms[j] * tile.rest - rests[j] * tile.coded;
            let sum = missing * inverse[j] * scale;
            // A sum of this size reaches the bound; one is taken off for what lies between integers, the rest for rounding.
            let bar = (sum - 2.0 - 1e-6 * sum.abs()).max(-1e9).min(1e9);
            // SAFETY: it is a number between the two bounds: `max` gives the other one for NaN.
            own[j] = unsafe { bar.to_int_unchecked::<i32>() } + offsets[j];
        }
        let first = (i * LANES) as u32;
        if left == (1 << LANES) - 1 {
            rows.extend(first..first + LANES as u32);
            bars.extend_from_slice(&own);
            continue;
        }
        while left != 0 {
            let j = left.trailing_zeros();
            rows.push(first + j);
            bars.push(own[j as usize]);
            left &= left - 1;
        }
    }
}
wide!(
    /// The queries for which a tile may hold something, and the bars that its codes must pass.
    fn scan(
        tile: &Tile,
        centre: &[f32],
        lanes: &Lanes,
        rows: &mut Vec<u32>,
        bars: &mut Vec<i32>
    ) = scan_body
);

#[inline(always)]
fn promise_body<const FMA: bool>(
    tile: &Tile,
    centre: &[f32],
    lanes: &Lanes,
    least: &[f32],
    promises: &mut [f32],
) -> bool {
    let mut any = 0u32;
    let (least, norms, weighted) =
        (&least[..promises.len()], &lanes.norms[..promises.len()], &lanes.weighted[..promises.len()]);
    for j in 0..promises.len() {
        promises[j] = centre[j] + LIKELY * reach(tile, norms[j], weighted[j]);
        any |= u32::from(promises[j] > least[j]);
    }
    any > 0
}
wide!(
    /// What each query may hope for in a tile, and whether that is more than `least` for any.
    fn promise(tile: &Tile, centre: &[f32], lanes: &Lanes, least: &[f32], promises: &mut [f32]) -> bool = promise_body
);

#[cfg(test)]
mod tests {
    use crate::retrieval::search::*;
    use crate::seed::Seed as Stream;

    /// Keys and queries of one kind, row-major.
    fn rows(kind: usize, dim: usize) -> (Vec<f32>, Vec<f32>) {
        let mut stream = Stream(2).stream(&format!("{kind} {dim}"));
        let centres: Vec<f64> = (0..20 * dim).map(|_| stream.normal()).collect();
        let mut draw = |n: usize| -> Vec<f32> {
            let mut all = Vec::new();
            for _ in 0..n {
                let (cluster, size) = (stream.below(20), (3.0 * stream.normal()).exp());
                for k in 0..dim {
                    let noise = stream.normal();
                    all.push(match kind {
                        0 => noise,
                        1 => centres[cluster * dim + k] + 0.05 * noise,
                        2 => size * (centres[cluster * dim + k] + 0.3 * noise) * (0.5f64).powi(k as i32),
                        3 => 1e6 + noise,
                        4 => f64::from(noise > 1.0) * 1e-40,
                        _ => 1e37 * noise,
                    } as f32);
                }
            }
            all
        };
        (draw(1500), draw(30))
    }

    fn dot(query: &[f32], key: &[f32]) -> f64 {
        query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn scores_lie_within_their_bounds() {
        for kind in 0..6 {
            for dim in [1, 3, 16, 50] {
                let (keys, queries) = rows(kind, dim);
                let sketch = Sketch::new(&keys, dim);
                let hunt = Hunt::new(&sketch, &queries, Aim::BestTwo);
                let (mut centres, mut found, mut seen) = (Vec::new(), Vec::new(), 0);
                for (at, tile) in sketch.tiles.iter().enumerate() {
                    hunt.centres(at / CENTRES, &mut centres);
                    let own = hunt.scores(&centres, at % CENTRES);
                    let all: Vec<u32> = (0..30).collect();
                    above(&sketch.codes, at, &hunt.queries.codes, &all, &[i32::MIN; 30], &mut found);
                    for found in found.drain(..).filter(|found| (found.lane as usize) < tile.width) {
                        let row = found.place as usize;
                        let key = sketch.keys[at * TILE + found.lane as usize] as usize;
                        let unit = sketch.unit * hunt.queries.units[row];
                        let truth = dot(&queries[row * dim..][..dim], &keys[key * dim..][..dim]) / unit;
                        let (score, error) = hunt.score(tile, found.sum, row, own[row]);
                        assert!((score - truth).abs() <= error, "kind {kind}, {dim}: {score} {truth} {error}");
                        let most = own[row] + reach(tile, hunt.queries.norms[row], hunt.queries.weighted[row]);
                        assert!(truth <= f64::from(most) + hunt.slack, "kind {kind}, {dim}: {truth} {most}");
                        seen += 1;
                    }
                }
                assert_eq!(seen, 30 * 1500);
            }
        }
    }

    #[test]
    fn candidates_hold_all_keys_that_are_searched() {
        for kind in 0..6 {
            for dim in [1, 16] {
                let (keys, queries) = rows(kind, dim);
                let sketch = Sketch::new(&keys, dim);
                for part in [0.0, 1e-3, 0.5] {
                    let of = |query: &[f32]| keys.chunks_exact(dim).map(|key| dot(query, key)).collect::<Vec<f64>>();
                    let most = |scores: &[f64]| scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let windows: Vec<f64> =
                        queries.chunks_exact(dim).map(|query| part * most(&of(query)).abs()).collect();
                    let within = search(&sketch, &queries, Aim::Within(&windows));
                    let two = search(&sketch, &queries, Aim::BestTwo);
                    for (row, query) in queries.chunks_exact(dim).enumerate() {
                        let scores = of(query);
                        let bar = most(&scores) - windows[row];
                        let mut sorted = scores.clone();
                        sorted.sort_by(|a, b| b.total_cmp(a));
                        for (key, score) in scores.iter().enumerate() {
                            let has = |found: &Candidates| found.keys.binary_search(&(key as u32)).is_ok();
                            assert!(*score < bar || has(&within[row]), "kind {kind}, {dim}, {part}: key {key}");
                            assert!(*score < sorted[1] || has(&two[row]), "kind {kind}, {dim}: key {key}");
                        }
                    }
                }
            }
        }
    }
}
