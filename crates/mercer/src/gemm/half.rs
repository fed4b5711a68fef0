//! Products of bf16 numbers with `f32` sums.
//!
//! A number is rounded to 8 significant bits, to nearest and ties to even; the exponent keeps its range. Matrices lie in tiles of
//! one KiB. On the left a tile is 16 rows by 32 of the inner dimension; on the right it is 16 columns by 32, the two numbers
//! of each pair along the inner dimension side by side. Seen as pairs the right form of a matrix is, tile by tile, the
//! transpose of the left form of its transpose.
//!
//! The matrix unit (AMX) multiplies two tiles in 16 cycles, 16 times as fast as `f32` sums in AVX-512 registers; without it
//! `avx512_bf16` serves, without that plain code. All dimensions are filled up with zeros to multiples of 32.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod dot512;

use crate::wide::wide;

/// Rows and columns of a block of the result, and the inner dimension of a tile.
pub(crate) const SIDE: usize = 32;
/// Rows or columns of a tile.
const STRIP: usize = SIDE / 2;

/// A block of the result, row-major `(32, 32)`.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Square(pub(crate) [f32; SIDE * SIDE]);

impl Square {
    pub(crate) const ZERO: Square = Square([0.0; SIDE * SIDE]);

    /// The part of row-major `data` with `width` columns from row `row` and column `column` on, zero outside.
    pub(crate) fn load(data: &[f32], width: usize, row: usize, column: usize) -> Self {
        let mut square = Square::ZERO;
        let own = SIDE.min(width - column);
        for (to, from) in square.0.chunks_exact_mut(SIDE).zip(data.chunks_exact(width).skip(row)) {
            to[..own].copy_from_slice(&from[column..column + own]);
        }
        square
    }
}

/// Bits of 512 bf16 numbers: 16 rows of 32.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub(crate) struct Tile(pub(crate) [u16; STRIP * SIDE]);

impl Tile {
    const ZERO: Tile = Tile([0; STRIP * SIDE]);
}

/// A matrix in tiles: strips of 16 rows (on the left) or columns (on the right), each `depth` tiles along the inner dimension.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tiles {
    depth: usize,
    data: Vec<Tile>,
}

impl Tiles {
    /// Gives the matrix a shape of `across` rows or columns and the inner dimension `inner`, both filled up; its numbers are
    /// those of before or zero.
    pub(crate) fn reshape(&mut self, across: usize, inner: usize) {
        self.depth = inner.div_ceil(SIDE);
        self.data.resize(across.div_ceil(SIDE) * 2 * self.depth, Tile::ZERO);
    }

    /// Blocks of 32 rows or columns.
    pub(crate) fn blocks(&self) -> usize {
        self.data.len() / (2 * self.depth).max(1)
    }

    /// The two tiles of block `across` at `inner`, in units of 32.
    pub(crate) fn pair(&self, across: usize, inner: usize) -> [&Tile; 2] {
        [0, 1].map(|half| &self.data[(2 * across + half) * self.depth + inner])
    }

    /// Replaces those two tiles.
    pub(crate) fn set(&mut self, across: usize, inner: usize, tiles: [Tile; 2]) {
        for (half, tile) in tiles.into_iter().enumerate() {
            self.data[(2 * across + half) * self.depth + inner] = tile;
        }
    }

    /// All tiles of a strip.
    fn strip(&self, strip: usize) -> &[Tile] {
        &self.data[strip * self.depth..(strip + 1) * self.depth]
    }
}

/// What multiplies here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// The matrix unit.
    Amx,
    /// Inner products of pairs in AVX-512 registers.
    Dot512,
    /// Plain code.
    Plain,
}

impl Unit {
    /// The fastest that the processor and the system give.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if dot512::available() {
                return if amx::available() { Unit::Amx } else { Unit::Dot512 };
            }
        }
        Unit::Plain
    }
}

/// Whether bf16 products are faster than `f32` ones here: with the matrix unit, or where `avx512_bf16` runs at full speed. Intel's
/// does not: on a Sapphire Rapids core it reached 116 GFLOP/s, half of the 232 of `f32`.
pub(crate) fn pays() -> bool {
    match Unit::best() {
        Unit::Amx => true,
        #[cfg(target_arch = "x86_64")]
        Unit::Dot512 => dot512::at_full_speed(),
        _ => false,
    }
}

/// Calls `emit(row, column, sums)` for every block of 32 by 32 of `sum of a b over the parts`, rows and columns in blocks.
///
/// Blocks of rows pass by while a block of columns stays near the core.
pub(crate) fn multiply(
    unit: Unit,
    parts: &[(&Tiles, &Tiles)],
    rows: std::ops::Range<usize>,
    mut emit: impl FnMut(usize, usize, &mut Square),
) {
    let columns = parts.first().map_or(0, |(_, b)| b.blocks());
    for (a, b) in parts {
        assert!(a.depth == b.depth && b.blocks() == columns && rows.end <= a.blocks());
    }
    #[cfg(target_arch = "x86_64")]
    let _open = (unit == Unit::Amx).then(amx::Open::new);
    let mut square = Square::ZERO;
    for column in 0..columns {
        for row in rows.clone() {
            match unit {
                #[cfg(target_arch = "x86_64")]
                Unit::Amx => amx::block(parts, row, column, &mut square),
                #[cfg(target_arch = "x86_64")]
                Unit::Dot512 => dot512::block(parts, row, column, &mut square),
                _ => plain_block(parts, row, column, &mut square),
            }
            emit(row, column, &mut square);
        }
    }
}

fn plain_block(parts: &[(&Tiles, &Tiles)], row: usize, column: usize, out: &mut Square) {
    *out = Square::ZERO;
    for (a, b) in parts {
        for k in 0..a.depth {
            let (left, right) = (a.pair(row, k), b.pair(column, k));
            for (i, sums) in out.0.chunks_exact_mut(SIDE).enumerate() {
                let left = &left[i / STRIP].0[i % STRIP * SIDE..][..SIDE];
                for (j, sum) in sums.iter_mut().enumerate() {
                    let right = &right[j / STRIP].0;
                    for p in 0..STRIP {
                        let at = p * SIDE + j % STRIP * 2;
                        *sum += widen(left[2 * p]) * widen(right[at]) + widen(left[2 * p + 1]) * widen(right[at + 1]);
                    }
                }
            }
        }
    }
}

/// The number that 16 bits stand for.
pub(crate) fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16 number, of two the even one; NaN stays NaN.
#[inline(always)]
pub(crate) fn narrow(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    (if value.is_nan() { (bits >> 16) | 0x40 } else { rounded }) as u16
}

/// The square as a left side: two tiles of 16 rows.
pub(crate) fn by_rows(square: &Square) -> [Tile; 2] {
    #[cfg(target_arch = "x86_64")]
    if dot512::available() {
        return dot512::by_rows(square);
    }
    let mut tiles = [Tile::ZERO; 2];
    for (tile, rows) in tiles.iter_mut().zip(square.0.chunks_exact(STRIP * SIDE)) {
        tile.0.iter_mut().zip(rows).for_each(|(to, from)| *to = narrow(*from));
    }
    tiles
}

/// The square as a right side, its rows along the inner dimension: two tiles of 16 columns.
pub(crate) fn by_pairs(square: &Square) -> [Tile; 2] {
    #[cfg(target_arch = "x86_64")]
    if dot512::available() {
        return dot512::by_pairs(square);
    }
    let mut tiles = [Tile::ZERO; 2];
    for (row, numbers) in square.0.chunks_exact(SIDE).enumerate() {
        for (j, number) in numbers.iter().enumerate() {
            tiles[j / STRIP].0[row / 2 * SIDE + j % STRIP * 2 + row % 2] = narrow(*number);
        }
    }
    tiles
}

/// The tile with rows and pairs exchanged: from the right form of a matrix to the left form of its transpose, and back.
pub(crate) fn turned(tile: &Tile) -> Tile {
    #[cfg(target_arch = "x86_64")]
    if dot512::available() {
        return dot512::turned(tile);
    }
    let mut out = Tile::ZERO;
    for i in 0..STRIP {
        for j in 0..STRIP {
            for half in 0..2 {
                out.0[j * SIDE + 2 * i + half] = tile.0[i * SIDE + 2 * j + half];
            }
        }
    }
    out
}

#[inline(always)]
fn add_rows_body<const FMA: bool>(square: &mut Square, bias: &[f32; SIDE], floor: f32) {
    for row in square.0.as_chunks_mut::<SIDE>().0 {
        for j in 0..SIDE {
            let value = row[j] + bias[j];
            row[j] = if value < floor { floor } else { value };
        }
    }
}
wide!(
    /// `max(square + bias, floor)`; NaN stays NaN.
    fn add_rows(square: &mut Square, bias: &[f32; SIDE], floor: f32) = add_rows_body
);

#[inline(always)]
fn keep_positive_body<const FMA: bool>(square: &mut Square, tiles: [&Tile; 2]) {
    for (rows, tile) in square.0.chunks_exact_mut(STRIP * SIDE).zip(tiles) {
        for (value, bits) in rows.iter_mut().zip(&tile.0) {
            *value = if (*bits as i16) > 0 { *value } else { 0.0 };
        }
    }
}
wide!(
    /// Zero where the tiles, the same block on the left, are not positive.
    fn keep_positive(square: &mut Square, tiles: [&Tile; 2]) = keep_positive_body
);

#[inline(always)]
fn multiply_by_body<const FMA: bool>(square: &mut Square, factors: &Square) {
    square.0.iter_mut().zip(&factors.0).for_each(|(value, factor)| *value *= factor);
}
wide!(
    /// The product, number by number.
    fn multiply_by(square: &mut Square, factors: &Square) = multiply_by_body
);

#[inline(always)]
fn sum_rows_body<const FMA: bool>(square: &Square, sums: &mut [f32; SIDE]) {
    for row in square.0.as_chunks::<SIDE>().0 {
        for j in 0..SIDE {
            sums[j] += row[j];
        }
    }
}
wide!(
    /// Adds the sums of the columns.
    fn sum_rows(square: &Square, sums: &mut [f32; SIDE]) = sum_rows_body
);

#[cfg(test)]
mod tests {
    use crate::gemm::half::*;
}
