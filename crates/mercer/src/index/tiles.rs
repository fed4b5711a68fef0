//! Keys in tiles, and their inner products with rows of queries.

use crate::affine::affine_rows;
use crate::lines::Lines;
use crate::wide::wide;

/// Keys of one tile.
pub(crate) const TILE: usize = 64;
/// Rows of queries that meet a tile while it is in the cache.
pub(crate) const QUERIES: usize = 96;

/// Row-major keys `(len, dim)`, transposed in tiles `(dim, TILE)`; the last one is filled up with zeros.
///
/// The bits of an inner product depend on nothing but its two rows, on any machine: one sum, from the first coordinate to the
/// last. So equal rows have equal scores, wherever they stand.
pub(crate) struct Tiles {
    data: Lines,
    dim: usize,
    len: usize,
}

impl Tiles {
    /// No keys yet, with room for `capacity`.
    pub(crate) fn with_capacity(dim: usize, capacity: usize) -> Tiles {
        Tiles { data: Lines::with_capacity(capacity.next_multiple_of(TILE) * dim), dim, len: 0 }
    }

    /// Adds row-major keys behind those that are there, which must fill their tiles.
    pub(crate) fn extend(&mut self, keys: &[f32]) {
        assert!(self.len.is_multiple_of(TILE) && keys.len().is_multiple_of(self.dim));
        for part in keys.chunks(TILE * self.dim) {
            let start = self.data.len();
            self.data.resize(start + TILE * self.dim);
            for (column, key) in part.chunks_exact(self.dim).enumerate() {
                key.iter().enumerate().for_each(|(k, v)| self.data[start + k * TILE + column] = *v);
            }
        }
        self.len += keys.len() / self.dim;
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Each tile with its first key and its number of keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, usize, &[f32])> {
        let tile = |(t, data)| (t * TILE, TILE.min(self.len - t * TILE), data);
        self.data.chunks_exact(TILE * self.dim).enumerate().map(tile)
    }

    /// A tile of the keys named by `keys`, at most `TILE`.
    pub(crate) fn gather(&self, keys: impl Iterator<Item = usize>, tile: &mut [f32]) {
        for (column, key) in keys.enumerate() {
            let from = &self.data[key / TILE * TILE * self.dim..];
            (0..self.dim).for_each(|k| tile[k * TILE + column] = from[k * TILE + key % TILE]);
        }
    }
}

/// Inner products of `rows` `(n, dim)` with a tile `(dim, TILE)`: row-major `(n, TILE)` into `out`.
pub(crate) fn products(rows: &[f32], tile: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        affine_rows(rows, tile, &[0.0; TILE], f32::NEG_INFINITY, out);
        return;
    }
    portable(rows, tile, out);
}

wide! {
    /// As [`products`], for machines without AVX-512: a general product might sum the last columns in another order.
    fn portable(rows: &[f32], tile: &[f32], out: &mut [f32]) = portable_body
}

/// Columns and rows whose sums stay in 16 registers of 8 numbers.
const COLUMNS: usize = 32;
const ROWS: usize = 2;

#[inline(always)]
fn portable_body<const FMA: bool>(rows: &[f32], tile: &[f32], out: &mut [f32]) {
    let dim = tile.len() / TILE;
    for (rows, out) in rows.chunks(ROWS * dim).zip(out.chunks_mut(ROWS * TILE)) {
        for first in (0..TILE).step_by(COLUMNS) {
            match out.len() / TILE {
                ROWS => strip::<FMA, ROWS>(rows, tile, first, out),
                _ => strip::<FMA, 1>(rows, tile, first, out),
            }
        }
    }
}

#[inline(always)]
fn strip<const FMA: bool, const R: usize>(rows: &[f32], tile: &[f32], first: usize, out: &mut [f32]) {
    let dim = tile.len() / TILE;
    let mut sums = [[0.0_f32; COLUMNS]; R];
    for k in 0..dim {
        let right = &tile[k * TILE + first..][..COLUMNS];
        for (r, sums) in sums.iter_mut().enumerate() {
            let left = rows[r * dim + k];
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = if FMA { left.mul_add(*right, *sum) } else { left * right + *sum };
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        out[r * TILE + first..][..COLUMNS].copy_from_slice(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn bits_depend_on_the_two_rows_only() {
        let mut stream = Seed(3).stream("tiles");
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        for dim in [1, 5, 32, 51] {
            let (keys, queries) = (draw(150 * dim), draw(13 * dim));
            let mut tiles = Tiles::with_capacity(dim, 150);
            tiles.extend(&keys);
            let key = |j: usize| &keys[j * dim..(j + 1) * dim];
            for (name, product) in
                [("chosen", products as fn(&[f32], &[f32], &mut [f32])), ("portable", |a, b, c| portable(a, b, c))]
            {
                let mut found = vec![0.0; 13 * 150];
                for (first, width, tile) in tiles.iter() {
                    let mut out = vec![f32::NAN; 13 * TILE];
                    product(&queries, tile, &mut out);
                    for i in 0..13 {
                        found[i * 150 + first..][..width].copy_from_slice(&out[i * TILE..][..width]);
                    }
                }
                // Any keys in any order give the same bits, for one query alone, too.
                let mut tile = vec![0.0; dim * TILE];
                tiles.gather([149, 3, 64, 3].into_iter(), &mut tile);
                let mut out = [0.0; TILE];
                for i in 0..13 {
                    let row = &queries[i * dim..(i + 1) * dim];
                    product(row, &tile, &mut out);
                    for (column, j) in [149, 3, 64, 3].into_iter().enumerate() {
                        assert_eq!(out[column].to_bits(), found[i * 150 + j].to_bits(), "{name}, dimension {dim}");
                        let sum: f64 = row.iter().zip(key(j)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                        assert!((f64::from(out[column]) - sum).abs() < 1e-4);
                    }
                }
            }
        }
    }
}
