//! Inner products of 8-bit codes: 64 keys at a time, only those told that reach a bar.
//!
//! A key's code is a byte that stands for a signed number plus 128, a query's is a signed byte: the instruction of AVX-512
//! (VNNI) wants it so, and multiplies four times as many numbers a cycle as `f32` has. Sums are integers, so every machine has the
//! same.

#[cfg(target_arch = "x86_64")]
mod vnni512;

use crate::index::TILE;
use crate::wide::wide;

/// What stands for zero in a key's code.
pub(super) const ZERO: u8 = 128;
/// The largest size of a number in a code.
pub(super) const LARGEST: f64 = 127.0;
/// Numbers that are multiplied at once.
const STEP: usize = 4;
/// Bytes of a line of the cache.
const LINE: usize = 64;
/// Lines of a step: 64 keys with four codes each.
const LINES: usize = TILE * STEP / LINE;

/// 16 keys with four codes each.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u8; LINE]);

/// Number of steps for rows of `dim` numbers.
fn steps(dim: usize) -> usize {
    dim.div_ceil(STEP)
}

/// Codes of keys in tiles of 64: step after step, in each all keys with their four codes.
pub(super) struct KeyCodes {
    steps: usize,
    lines: Vec<Line>,
}

impl KeyCodes {
    /// `tiles` tiles of zeros for keys of `dim` numbers.
    pub(super) fn zeros(dim: usize, tiles: usize) -> Self {
        let steps = steps(dim);
        KeyCodes { steps, lines: vec![Line([ZERO; LINE]); tiles * steps * LINES] }
    }

    /// The tiles, each to be filled by [`TileCodes::set`].
    pub(super) fn tiles_mut(&mut self) -> Vec<TileCodes<'_>> {
        self.lines.chunks_exact_mut(self.steps * LINES).map(TileCodes).collect()
    }

    fn tile(&self, tile: usize) -> &[Line] {
        &self.lines[tile * self.steps * LINES..][..self.steps * LINES]
    }
}

/// One tile to be written.
pub(super) struct TileCodes<'a>(&'a mut [Line]);

impl TileCodes<'_> {
    /// Number `k` of the key in `lane` is `code`, from -127 to 127.
    pub(super) fn set(&mut self, lane: usize, k: usize, code: i32) {
        let at = (k / STEP * TILE + lane) * STEP + k % STEP;
        self.0[at / LINE].0[at % LINE] = (code + i32::from(ZERO)) as u8;
    }
}

/// Codes of queries, row-major, four in a number.
pub(super) struct QueryCodes {
    steps: usize,
    data: Vec<i32>,
    /// What the 128 in the keys' codes add to each query's sums.
    pub(super) offsets: Vec<i32>,
}

impl QueryCodes {
    /// Room for queries of `dim` numbers.
    pub(super) fn new(dim: usize) -> Self {
        QueryCodes { steps: steps(dim), data: Vec::new(), offsets: Vec::new() }
    }

    /// Adds a query by its codes, from -127 to 127.
    pub(super) fn push(&mut self, codes: &[i32]) {
        self.offsets.push(i32::from(ZERO) * codes.iter().sum::<i32>());
        let start = self.data.len();
        self.data.extend(codes.chunks(STEP).map(|four| {
            let mut bytes = [0; STEP];
            bytes.iter_mut().zip(four).for_each(|(to, code)| *to = *code as i8 as u8);
            i32::from_le_bytes(bytes)
        }));
        assert_eq!(self.data.len(), start + self.steps);
    }

    fn row(&self, row: u32) -> &[i32] {
        &self.data[row as usize * self.steps..][..self.steps]
    }
}

/// A key whose sum reaches its query's bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Place of the query in the list that was asked.
    pub(super) place: u32,
    /// The key within its tile.
    pub(super) lane: u32,
    /// `sum (key code + 128) query code`.
    pub(super) sum: i32,
}

/// Appends to `found` the keys of a tile whose sums are above the bar of a query: for each of the queries named by `rows`, in this
/// order, keys in theirs.
pub(super) fn above(
    keys: &KeyCodes,
    tile: usize,
    queries: &QueryCodes,
    rows: &[u32],
    bars: &[i32],
    found: &mut Vec<Found>,
) {
    assert!(rows.len() == bars.len() && keys.steps == queries.steps);
    let lines = keys.tile(tile);
    #[cfg(target_arch = "x86_64")]
    if vnni512::available() {
        return vnni512::above(lines, queries, rows, bars, found);
    }
    portable(lines, queries, rows, bars, found);
}

/// Whether sums of codes are several times as fast as sums of `f32` here.
pub(super) fn fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return vnni512::available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn portable(lines: &[Line], queries: &QueryCodes, rows: &[u32], bars: &[i32], found: &mut Vec<Found>) {
    let mut sums = [0; TILE];
    for (place, (row, bar)) in rows.iter().zip(bars).enumerate() {
        portable_sums(lines, queries.row(*row), &mut sums);
        tell(place, &sums, *bar, found);
    }
}

/// The sums above the bar.
fn tell(place: usize, sums: &[i32; TILE], bar: i32, found: &mut Vec<Found>) {
    for (lane, sum) in sums.iter().enumerate() {
        if *sum > bar {
            found.push(Found { place: place as u32, lane: lane as u32, sum: *sum });
        }
    }
}

#[inline(always)]
fn portable_sums_body<const FMA: bool>(lines: &[Line], query: &[i32], sums: &mut [i32; TILE]) {
    *sums = [0; TILE];
    for (lines, query) in lines.chunks_exact(LINES).zip(query) {
        let query = query.to_le_bytes().map(|byte| i16::from(byte as i8));
        for (line, sums) in lines.iter().zip(sums.as_chunks_mut::<{ LINE / STEP }>().0) {
            for (codes, sum) in line.0.as_chunks::<STEP>().0.iter().zip(sums) {
                for k in 0..STEP {
                    *sum += i32::from(i16::from(codes[k]) * query[k]);
                }
            }
        }
    }
}
wide!(fn portable_sums(lines: &[Line], query: &[i32], sums: &mut [i32; TILE]) = portable_sums_body);

#[cfg(test)]
mod tests {
    use crate::index::TILE;
    use crate::retrieval::codes::*;
    use crate::seed::Seed;

    #[test]
    fn sums_are_those_of_the_codes_and_only_those_above_the_bar_are_told() {
        let mut stream = Seed(4).stream("codes");
        for dim in [1, 3, 4, 17, 64, 131] {
            let mut code = |n: usize| (0..n).map(|_| stream.below(255) as i32 - 127).collect::<Vec<i32>>();
            let (key_codes, query_codes) = (code(TILE * dim), code(15 * dim));
            let mut keys = KeyCodes::zeros(dim, 2);
            let mut tiles = keys.tiles_mut();
            (0..TILE * dim).for_each(|at| tiles[1].set(at / dim, at % dim, key_codes[at]));
            let mut queries = QueryCodes::new(dim);
            query_codes.chunks(dim).for_each(|row| queries.push(row));
            // 15 rows in another order: groups of six and every remainder.
            let rows: Vec<u32> = (0..15).map(|i| (i * 7) % 15).collect();
            let exact = |row: u32, lane: usize| -> i32 {
                (0..dim).map(|k| key_codes[lane * dim + k] * query_codes[row as usize * dim + k]).sum()
            };
            for count in [15, 14, 8, 1] {
                let rows = &rows[..count];
                let bars: Vec<i32> = rows.iter().map(|&r| exact(r, 5) + queries.offsets[r as usize]).collect();
                let mut expected = Vec::new();
                for (place, &row) in rows.iter().enumerate() {
                    let own = (0..TILE).filter(|&lane| exact(row, lane) > exact(row, 5));
                    expected.extend(own.map(|lane| {
                        let sum = exact(row, lane) + queries.offsets[row as usize];
                        Found { place: place as u32, lane: lane as u32, sum }
                    }));
                }
                let (mut chosen, mut plain) = (Vec::new(), Vec::new());
                above(&keys, 1, &queries, rows, &bars, &mut chosen);
                portable(keys.tile(1), &queries, rows, &bars, &mut plain);
                assert_eq!(chosen, expected, "dimension {dim}, {count} rows");
                assert_eq!(plain, expected, "plain code, dimension {dim}, {count} rows");
            }
        }
    }
}
