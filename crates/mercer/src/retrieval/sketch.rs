//! Keys in a few bytes, with what it takes to bound every score from both sides.
//!
//! A tile of 64 close keys has a centre `c`, and each of them is `k = c + s z + e` with a code `z` of bytes. For a query
//! `q = t w + f`, coded alike, `|<q, k> - <q, c> - s t <w, z>| <= |q| max |e| + |f| max |s z|`, and of the whole tile
//! `<q, k> <= <q, c> + |q| max |k - c|` is known without looking at any key, also in another metric: `|W q| max |W^-1 (k - c)|`.
//! All norms are computed in `f64` from the numbers as they are stored and rounded up.
//!
//! Keys are first divided by a power of two so that none is longer than 1; so are queries. Scores are then at most 1.

use rayon::prelude::*;

use crate::gemm::{PANEL, Panels};
use crate::index::TILE;
use crate::linalg::{Matrix, eigen};
use crate::retrieval::codes::{KeyCodes, LARGEST, QueryCodes, TileCodes};
use crate::retrieval::partition;

/// Centres that are multiplied at once.
pub(super) const CENTRES: usize = PANEL;
/// Queries are filled up to a multiple of this: whole registers.
pub(super) const LANES: usize = 16;
/// Tiles whose keys the metric is made from.
const SAMPLED: usize = 512;

/// `1.5 * 2^52`.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// What is known of a tile as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tile {
    /// Number of keys.
    pub(super) width: usize,
    /// What one in a code is worth.
    pub(super) scale: f32,
    /// The largest norm of what the codes leave.
    pub(super) rest: f32,
    /// The largest norm of what the codes say.
    pub(super) coded: f32,
    /// The largest distance from the centre, as it is and in the metric.
    pub(super) radius: f32,
    pub(super) weighted: f32,
}

/// Keys as tiles of codes.
pub(super) struct Sketch {
    pub(super) dim: usize,
    /// What scores of scaled queries are to be multiplied by.
    pub(super) unit: f64,
    pub(super) tiles: Vec<Tile>,
    /// The keys in their places: 64 to a tile.
    pub(super) keys: Vec<u32>,
    pub(super) codes: KeyCodes,
    /// `(64, dim)` each.
    pub(super) centres: Vec<Panels>,
    metric: Matrix,
}

/// Queries as they are compared with a [`Sketch`].
pub(super) struct QuerySketch {
    /// What scores are to be multiplied by, beside the keys' unit.
    pub(super) units: Vec<f64>,
    /// `(dim, queries)`, filled up with zeros.
    pub(super) scaled: Panels,
    pub(super) codes: QueryCodes,
    /// What one in a code is worth, and its inverse.
    pub(super) scales: Vec<f32>,
    pub(super) inverse: Vec<f32>,
    /// Norms of the query, of what the codes leave, and in the metric.
    pub(super) norms: Vec<f32>,
    pub(super) rests: Vec<f32>,
    pub(super) weighted: Vec<f32>,
}

/// A power of two that is at least `norm`; 1 for zero.
pub(super) fn unit(norm: f64) -> f64 {
    if norm > 0.0 { norm.log2().ceil().clamp(-1000.0, 1000.0).exp2() } else { 1.0 }
}

/// Rounded up, with room for the rounding of the sums in `f64` behind it.
fn up(bound: f64) -> f32 {
    (bound * (1.0 + 1e-6) + 1e-30) as f32
}

fn norm(row: impl Iterator<Item = f64>) -> f64 {
    row.map(|v| v * v).sum::<f64>().sqrt()
}

/// `row / unit`, exactly, as `unit` is a power of two.
fn scaled(row: &[f32], unit: f64) -> impl Iterator<Item = f64> {
    let inverse = 1.0 / unit;
    row.iter().map(move |v| f64::from(*v) * inverse)
}

/// Codes of `row` and what one in them is worth.
fn coded(row: &[f64], largest: f64, codes: &mut Vec<i32>) -> f32 {
    let scale = if largest > 1e-30 { (largest / LARGEST * (1.0 + 1e-6)) as f32 } else { 1.0 };
    codes.clear();
    let inverse = 1.0 / f64::from(scale);
    // Adding and subtracting this rounds to an integer, without a call where the processor has no instruction for it.
    codes.extend(row.iter().map(|v| ((v * inverse + ROUND) - ROUND).clamp(-LARGEST, LARGEST) as i32));
    scale
}

impl Sketch {
    /// Of row-major `keys`, finite, at least one.
    pub(super) fn new(keys: &[f32], dim: usize) -> Self {
        let row = |key: u32| &keys[key as usize * dim..][..dim];
        let norms = keys.par_chunks_exact(dim).map(|row| norm(scaled(row, 1.0)));
        let unit = unit(norms.reduce(|| 0.0, f64::max));
        let small: Vec<f32> = keys.par_iter().map(|v| (f64::from(*v) / unit) as f32).collect();
        let order = partition::tiles(&small, dim);
        drop(small);
        let centres: Vec<Vec<f32>> = order
            .par_iter()
            .map(|own| {
                let mut sums = vec![0.0; dim];
                for &key in own {
                    sums.iter_mut().zip(scaled(row(key), unit)).for_each(|(sum, v)| *sum += v);
                }
                sums.iter().map(|sum| (sum / own.len() as f64) as f32).collect()
            })
            .collect();
        // Residuals, key after key.
        let residuals = |tile: usize| -> Vec<f64> {
            let of = |key: &u32| scaled(row(*key), unit).zip(&centres[tile]).map(|(v, c)| v - f64::from(*c));
            order[tile].iter().flat_map(of).collect()
        };
        let (metric, inverse) = metric(&order, dim, &residuals, &centres);
        let mut codes = KeyCodes::zeros(dim, order.len());
        let tiles = codes
            .tiles_mut()
            .into_par_iter()
            .enumerate()
            .map(|(at, to)| Tile::new(&residuals(at), dim, &inverse, to))
            .collect();
        let mut places = vec![0; order.len() * TILE];
        for (own, to) in order.iter().zip(places.chunks_exact_mut(TILE)) {
            to[..own.len()].copy_from_slice(own);
        }
        let centres = centres.chunks(CENTRES).map(|some| {
            let mut panels = Panels::default();
            panels.pack(&some.concat(), dim);
            panels
        });
        let centres = centres.collect();
        Sketch { dim, unit, tiles, keys: places, codes, centres, metric }
    }

    /// The same of row-major `queries`.
    pub(super) fn queries(&self, queries: &[f32]) -> QuerySketch {
        let (dim, n) = (self.dim, queries.len() / self.dim);
        let mut sketch = QuerySketch {
            units: Vec::new(),
            scaled: Panels::default(),
            codes: QueryCodes::new(dim),
            scales: Vec::new(),
            inverse: Vec::new(),
            norms: Vec::new(),
            rests: Vec::new(),
            weighted: Vec::new(),
        };
        let mut all = Vec::with_capacity(queries.len());
        let mut codes = Vec::new();
        for query in queries.chunks_exact(dim) {
            let unit = unit(norm(scaled(query, 1.0)));
            let row: Vec<f64> = scaled(query, unit).collect();
            let largest = row.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let scale = coded(&row, largest, &mut codes);
            let left = row.iter().zip(&codes).map(|(v, code)| v - f64::from(scale) * f64::from(*code));
            sketch.units.push(unit);
            sketch.scales.push(scale);
            sketch.inverse.push(1.0 / scale);
            sketch.norms.push(up(norm(row.iter().copied())));
            sketch.rests.push(up(norm(left)));
            sketch.codes.push(&codes);
            all.extend(row);
        }
        let columns = Matrix::from_columns(all, dim, n);
        let weighted = self.metric.times(&columns);
        sketch.weighted.extend((0..n).map(|q| up(norm(weighted.column(q).iter().copied()))));
        let mut small: Vec<f32> = columns.data().iter().map(|v| *v as f32).collect();
        let filled = n.next_multiple_of(LANES);
        small.resize(filled * dim, 0.0);
        sketch.scaled.pack_transposed(&small, filled);
        sketch
    }
}

impl Tile {
    fn new(residuals: &[f64], dim: usize, inverse: &Matrix, mut to: TileCodes<'_>) -> Self {
        let width = residuals.len() / dim;
        let largest = residuals.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let weighted = inverse.times(&Matrix::from_columns(residuals.to_vec(), dim, width));
        let (mut rest, mut size, mut radius, mut far) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        let mut codes = Vec::new();
        let mut scale = 1.0;
        for (lane, row) in residuals.chunks_exact(dim).enumerate() {
            scale = coded(row, largest, &mut codes);
            codes.iter().enumerate().for_each(|(k, code)| to.set(lane, k, *code));
            let value = |code: i32| f64::from(scale) * f64::from(code);
            rest = rest.max(norm(row.iter().zip(&codes).map(|(v, code)| v - value(*code))));
            size = size.max(norm(codes.iter().map(|code| value(*code))));
            radius = radius.max(norm(row.iter().copied()));
            far = far.max(norm(weighted.column(lane).iter().copied()));
        }
        Tile { width, scale, rest: up(rest), coded: up(size), radius: up(radius), weighted: up(far) }
    }
}

/// The metric `W` for queries and its inverse for residuals: with `v` a principal direction of residuals, `l` their variance and `m`
/// the second moment of keys along it, `W = sum sqrt(w) v v^T` with `w = sqrt(l / m)`; best for queries that are spread as keys are.
///
/// Any weights are right; the directions are orthonormal up to the rounding of `f64`, which [`up`] covers.
fn metric(
    order: &[Vec<u32>],
    dim: usize,
    residuals: &(dyn Fn(usize) -> Vec<f64> + Sync),
    centres: &[Vec<f32>],
) -> (Matrix, Matrix) {
    let chosen: Vec<usize> = (0..order.len()).step_by(order.len().div_ceil(SAMPLED)).collect();
    let rows: Vec<f64> = chosen.iter().flat_map(|&tile| residuals(tile)).collect();
    let middles: Vec<f64> = chosen.iter().flat_map(|&tile| &centres[tile]).map(|v| f64::from(*v)).collect();
    let moments = |rows: Vec<f64>| {
        let n = rows.len() / dim;
        let columns = Matrix::from_columns(rows, dim, n);
        columns.times_transpose(&columns).scaled(1.0 / n as f64)
    };
    let (within, between) = (moments(rows), moments(middles));
    let plain = || Matrix::from_fn(dim, dim, |i, j| f64::from(u8::from(i == j)));
    let Some((values, vectors)) = eigen(&within).filter(|(values, _)| values[0] > 1e-30) else {
        return (plain(), plain());
    };
    let turned = between.times(&vectors);
    let weights: Vec<f64> = (0..dim)
        .map(|i| {
            let own = values[i].max(1e-6 * values[0]);
            let along: f64 = (0..dim).map(|k| vectors[(k, i)] * turned[(k, i)]).sum();
            (own / (own + along.max(0.0))).powf(0.25)
        })
        .collect();
    (
        Matrix::from_fn(dim, dim, |i, j| weights[i] * vectors[(j, i)]),
        Matrix::from_fn(dim, dim, |i, j| vectors[(j, i)] / weights[i]),
    )
}
