//! Keys in tiles of 64 that lie close together: two levels of k-means, then halves along the principal direction.
//!
//! Any partition gives right answers; a good one lets whole tiles be passed over.

use rayon::prelude::*;

use crate::index::{QUERIES, TILE, Tiles, products};
use crate::seed::{Seed, Stream};

/// Keys of a leaf of the second level, about.
const LEAF: usize = 256;
/// Rows of the sample that the centres are made from, for each of them.
const SAMPLE: usize = 64;
/// Rounds of k-means.
const ROUNDS: usize = 6;
/// Keys up to which one level is enough.
const SMALL: usize = 16 * LEAF;
/// Keys that a principal direction is made from.
const DIRECTION: usize = 1024;
/// Rounds of the power iteration.
const POWER: usize = 6;

/// The keys of each tile, at most 64; every key in one of them.
pub(super) fn tiles(keys: &[f32], dim: usize) -> Vec<Vec<u32>> {
    let n = keys.len() / dim;
    let all: Vec<u32> = (0..n as u32).collect();
    if n <= 2 * LEAF {
        return all.chunks(TILE).map(<[u32]>::to_vec).collect();
    }
    let leaves = n.div_ceil(LEAF);
    let cells = if n <= SMALL { 1 } else { (leaves as f64).sqrt().ceil() as usize };
    // Many equal keys are one cell: what its clusters cost stays bounded.
    let most = 2 * cells + SMALL / LEAF;
    let cells = clusters(keys, dim, all, cells, &mut Seed(0).stream("cells"));
    let cut = |(number, cell): (usize, Vec<u32>)| {
        let rows: Vec<f32> = cell.iter().flat_map(|&key| row(keys, dim, key)).copied().collect();
        let own: Vec<u32> = (0..cell.len() as u32).collect();
        let mut stream = Seed(number as u64).stream("leaves");
        let mut tiles = Vec::new();
        let mut rest = Vec::new();
        for leaf in clusters(&rows, dim, own, cell.len().div_ceil(LEAF).min(most), &mut stream) {
            halve(&rows, dim, leaf, &mut tiles);
            // Few keys in a tile cost as much as 64: those that are left over share tiles within their cell.
            rest.extend(tiles.pop_if(|tile| tile.len() < TILE / 2).into_iter().flatten());
        }
        tiles.extend(rest.chunks(TILE).map(<[u32]>::to_vec));
        tiles.iter_mut().flatten().for_each(|key| *key = cell[*key as usize]);
        tiles
    };
    let tiles: Vec<Vec<Vec<u32>>> = cells.into_par_iter().enumerate().map(cut).collect();
    tiles.into_iter().flatten().collect()
}

fn row(keys: &[f32], dim: usize, key: u32) -> &[f32] {
    &keys[key as usize * dim..][..dim]
}

/// The members in `count` clusters by k-means on a sample; empty clusters are left out.
fn clusters(keys: &[f32], dim: usize, members: Vec<u32>, count: usize, stream: &mut Stream) -> Vec<Vec<u32>> {
    if count <= 1 {
        return vec![members];
    }
    let chosen = stream.choose(members.len(), SAMPLE * count);
    let sample: Vec<f32> = chosen.iter().flat_map(|&at| row(keys, dim, members[at])).copied().collect();
    let mut centres = sample[..count.min(chosen.len()) * dim].to_vec();
    for _ in 0..ROUNDS {
        move_centres(&sample, dim, &mut centres);
    }
    let nearest = Nearest::new(&centres, dim);
    let parts: Vec<Vec<u32>> = members
        .par_chunks(64 * QUERIES)
        .map(|members| {
            let rows: Vec<f32> = members.iter().flat_map(|&key| row(keys, dim, key)).copied().collect();
            nearest.find(&rows)
        })
        .collect();
    let mut clusters = vec![Vec::new(); centres.len() / dim];
    for (member, cluster) in members.iter().zip(parts.into_iter().flatten()) {
        clusters[cluster as usize].push(*member);
    }
    clusters.retain(|cluster| !cluster.is_empty());
    clusters
}

/// One round of k-means; a centre without rows stays.
fn move_centres(sample: &[f32], dim: usize, centres: &mut [f32]) {
    let nearest = Nearest::new(centres, dim);
    let mut sums = vec![0.0f64; centres.len()];
    let mut counts = vec![0.0; centres.len() / dim];
    for (row, cluster) in sample.chunks_exact(dim).zip(nearest.find(sample)) {
        let cluster = cluster as usize;
        counts[cluster] += 1.0;
        sums[cluster * dim..][..dim].iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
    }
    for ((centre, sums), count) in centres.chunks_exact_mut(dim).zip(sums.chunks_exact(dim)).zip(counts) {
        if count > 0.0 {
            centre.iter_mut().zip(sums).for_each(|(to, sum)| *to = (sum / count) as f32);
        }
    }
}

/// Centres in tiles, with half their squared norms.
struct Nearest {
    tiles: Tiles,
    dim: usize,
    halves: Vec<f32>,
}

impl Nearest {
    fn new(centres: &[f32], dim: usize) -> Self {
        let mut tiles = Tiles::with_capacity(dim, centres.len() / dim);
        tiles.extend(centres);
        let halves = centres.chunks_exact(dim).map(|c| 0.5 * c.iter().map(|v| v * v).sum::<f32>()).collect();
        Nearest { tiles, dim, halves }
    }

    /// The nearest centre of each row, of equally near ones the first.
    fn find(&self, rows: &[f32]) -> Vec<u32> {
        let mut found = Vec::with_capacity(rows.len() / self.dim);
        let mut scores = vec![0.0; QUERIES * TILE];
        for rows in rows.chunks(QUERIES * self.dim) {
            let mut best = vec![(f32::NEG_INFINITY, 0); rows.len() / self.dim];
            for (first, width, tile) in self.tiles.iter() {
                let scores = &mut scores[..best.len() * TILE];
                products(rows, tile, scores);
                let halves = &self.halves[first..first + width];
                for (best, scores) in best.iter_mut().zip(scores.chunks_exact(TILE)) {
                    for (j, (score, half)) in scores.iter().zip(halves).enumerate() {
                        if score - half > best.0 {
                            *best = (score - half, (first + j) as u32);
                        }
                    }
                }
            }
            found.extend(best.iter().map(|best| best.1));
        }
        found
    }
}

/// Halves the members along their principal direction, at a multiple of 64, until a tile holds each part.
fn halve(keys: &[f32], dim: usize, mut members: Vec<u32>, tiles: &mut Vec<Vec<u32>>) {
    if members.len() <= TILE {
        tiles.push(members);
        return;
    }
    let some: Vec<u32> = members.iter().step_by(members.len().div_ceil(DIRECTION)).copied().collect();
    let direction = principal(keys, dim, &some);
    let place = |key: u32| row(keys, dim, key).iter().zip(&direction).map(|(a, b)| a * b).sum::<f32>();
    let mut placed: Vec<(f32, u32)> = members.iter().map(|&key| (place(key), key)).collect();
    placed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    members.clear();
    members.extend(placed.iter().map(|p| p.1));
    let half = (members.len() / 2).next_multiple_of(TILE).min((members.len() - 1) / TILE * TILE);
    let right = members.split_off(half);
    halve(keys, dim, members, tiles);
    halve(keys, dim, right, tiles);
}

/// About the direction of largest variance.
fn principal(keys: &[f32], dim: usize, members: &[u32]) -> Vec<f32> {
    let mut mean = vec![0.0f32; dim];
    for &key in members {
        mean.iter_mut().zip(row(keys, dim, key)).for_each(|(m, v)| *m += v / members.len() as f32);
    }
    // The start is the member farthest from the mean: never at right angles to everything.
    let away = |key: u32| row(keys, dim, key).iter().zip(&mean).map(|(v, m)| (v - m) * (v - m)).sum::<f32>();
    let far = members.iter().copied().max_by(|a, b| away(*a).total_cmp(&away(*b))).unwrap_or(0);
    let mut direction: Vec<f32> = row(keys, dim, far).iter().zip(&mean).map(|(v, m)| v - m).collect();
    for _ in 0..POWER {
        let mut next = vec![0.0f32; dim];
        for &key in members {
            let own = row(keys, dim, key);
            let along: f32 = own.iter().zip(&mean).zip(&direction).map(|((v, m), d)| (v - m) * d).sum();
            next.iter_mut().zip(own).zip(&mean).for_each(|((to, v), m)| *to += along * (v - m));
        }
        let norm = next.iter().map(|v| v * v).sum::<f32>().sqrt();
        if norm.is_nan() || norm <= f32::MIN_POSITIVE {
            break;
        }
        direction = next.iter().map(|v| v / norm).collect();
    }
    direction
}

#[cfg(test)]
mod tests {
    use crate::index::TILE;
    use crate::retrieval::partition::tiles;
    use crate::seed::Seed;

    #[test]
    fn every_key_is_in_one_tile_whatever_the_keys_are() {
        let mut stream = Seed(6).stream("partition");
        for (n, spread) in [(1, 1.0), (63, 1.0), (513, 0.0), (6000, 1.0), (6000, 0.0)] {
            let keys: Vec<f32> = (0..n * 5).map(|_| (0.3 + spread * stream.normal()) as f32).collect();
            let tiles = tiles(&keys, 5);
            assert!(tiles.iter().all(|tile| (1..=TILE).contains(&tile.len())));
            let mut all: Vec<u32> = tiles.concat();
            all.sort_unstable();
            assert_eq!(all, (0..n as u32).collect::<Vec<u32>>());
        }
    }

    #[test]
    fn tiles_keep_to_clusters() {
        // 40 clusters far apart, of 150 keys each in turn: only what is left over may share a tile.
        let mut stream = Seed(7).stream("partition");
        let centres: Vec<f32> = (0..40 * 8).map(|_| 10.0 * stream.normal() as f32).collect();
        let keys: Vec<f32> =
            (0..6000 * 8).map(|at| centres[at / 8 % 40 * 8 + at % 8] + 0.1 * stream.normal() as f32).collect();
        let tiles = tiles(&keys, 8);
        let pure = tiles.iter().filter(|tile| tile.iter().all(|key| key % 40 == tile[0] % 40)).count();
        assert!(10 * pure >= 6 * tiles.len(), "{pure} of {}", tiles.len());
    }
}
