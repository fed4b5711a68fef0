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

    /// As [`Tiles::pair`], to be written.
    pub(crate) fn pair_mut(&mut self, across: usize, inner: usize) -> [&mut Tile; 2] {
        let (before, after) = self.data.split_at_mut((2 * across + 1) * self.depth);
        [&mut before[2 * across * self.depth + inner], &mut after[inner]]
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

/// Operations a second of `unit` in its registers, in units of 1e9; `None` for plain code.
pub(crate) fn peak(unit: Unit, rounds: usize) -> Option<f64> {
    match unit {
        #[cfg(target_arch = "x86_64")]
        Unit::Amx => Some(amx::peak(rounds / 4)),
        #[cfg(target_arch = "x86_64")]
        Unit::Dot512 => Some(dot512::peak(rounds)),
        _ => None,
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
    // What is done with a block overlaps with the products of the next one.
    let mut squares = [Square::ZERO; 2];
    let [done, next] = &mut squares;
    let (mut done, mut next) = (done, next);
    let mut before = None;
    for column in 0..columns {
        for row in rows.clone() {
            match unit {
                #[cfg(target_arch = "x86_64")]
                Unit::Amx => amx::block(parts, row, column, next),
                #[cfg(target_arch = "x86_64")]
                Unit::Dot512 => dot512::block(parts, row, column, next),
                _ => plain_block(parts, row, column, next),
            }
            if let Some((row, column)) = before.replace((row, column)) {
                emit(row, column, done);
            }
            std::mem::swap(&mut done, &mut next);
        }
    }
    if let Some((row, column)) = before {
        emit(row, column, done);
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

/// How a square becomes two tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// A left side: 16 rows each.
    Left,
    /// A right side, its rows along the inner dimension: 16 columns each.
    Right,
    /// Its transpose as a left side: 16 columns each.
    LeftTransposed,
    /// Its transpose as a right side, its columns along the inner dimension: 16 rows each.
    RightTransposed,
}

/// Rounds `square` into two tiles.
pub(crate) fn round(square: &Square, form: As, tiles: [&mut Tile; 2]) {
    #[cfg(target_arch = "x86_64")]
    if dot512::available() {
        return dot512::round(square, form, tiles);
    }
    round_plain(square, form, tiles);
}

fn round_plain(square: &Square, form: As, tiles: [&mut Tile; 2]) {
    for (half, tile) in tiles.into_iter().enumerate() {
        for (at, bits) in tile.0.iter_mut().enumerate() {
            let (line, pair, odd) = (at / SIDE, at % SIDE / 2, at % 2);
            let (row, column) = match form {
                As::Left => (half * STRIP + line, 2 * pair + odd),
                As::Right => (2 * line + odd, half * STRIP + pair),
                As::LeftTransposed => (2 * pair + odd, half * STRIP + line),
                As::RightTransposed => (half * STRIP + pair, 2 * line + odd),
            };
            *bits = narrow(square.0[row * SIDE + column]);
        }
    }
}

#[inline(always)]
fn add_rows_body<const FMA: bool>(square: &mut Square, bias: &[f32; SIDE], floor: f32) {
    let bias = bias.as_chunks::<STRIP>().0;
    // Halves of a row, each one register: over whole rows the compiler takes the loops in the other order, with scatters.
    for (at, part) in square.0.as_chunks_mut::<STRIP>().0.iter_mut().enumerate() {
        let bias = &bias[at % 2];
        for j in 0..STRIP {
            let value = part[j] + bias[j];
            part[j] = if value < floor { floor } else { value };
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
    use crate::seed::Seed;

    fn square(name: &str) -> Square {
        let (mut stream, mut square) = (Seed(11).stream(name), Square::ZERO);
        square.0.iter_mut().for_each(|v| *v = stream.normal() as f32);
        square
    }

    /// Row-major `data` as a left or right side.
    fn tiles(data: &[f32], rows: usize, columns: usize, form: As) -> Tiles {
        let mut tiles = Tiles::default();
        let across = matches!(form, As::Left | As::RightTransposed);
        if across {
            tiles.reshape(rows, columns)
        } else {
            tiles.reshape(columns, rows)
        }
        for row in 0..rows.div_ceil(SIDE) {
            for column in 0..columns.div_ceil(SIDE) {
                let square = Square::load(data, columns, row * SIDE, column * SIDE);
                let (across, inner) = if across { (row, column) } else { (column, row) };
                round(&square, form, tiles.pair_mut(across, inner));
            }
        }
        tiles
    }

    /// All units that this machine has.
    fn units() -> Vec<Unit> {
        match Unit::best() {
            Unit::Amx => vec![Unit::Plain, Unit::Dot512, Unit::Amx],
            Unit::Dot512 => vec![Unit::Plain, Unit::Dot512],
            Unit::Plain => vec![Unit::Plain],
        }
    }

    #[test]
    fn rounding_is_to_nearest_and_to_even() {
        // Numbers of 8 significant bits are kept; halves between two of them go to the even one.
        for (value, expected) in [(1.0, 1.0), (1.0 + 1.0 / 256.0, 1.0), (1.0 + 3.0 / 256.0, 1.0 + 1.0 / 64.0)] {
            assert_eq!(widen(narrow(value)), expected);
            assert_eq!(widen(narrow(-value)), -expected);
        }
        assert_eq!(widen(narrow(1.0 + 1.01 / 256.0)), 1.0 + 1.0 / 128.0);
        assert!(widen(narrow(f32::NAN)).is_nan());
        assert_eq!(widen(narrow(f32::INFINITY)), f32::INFINITY);
        for value in square("rounding").0 {
            assert!((widen(narrow(value)) - value).abs() <= value.abs() / 256.0, "{value}");
        }
    }

    #[test]
    fn every_form_holds_the_rounded_numbers_in_its_places() {
        let square = square("forms");
        for form in [As::Left, As::Right, As::LeftTransposed, As::RightTransposed] {
            let (mut wide, mut plain) = ([Tile::ZERO; 2], [Tile::ZERO; 2]);
            round(&square, form, wide.each_mut());
            round_plain(&square, form, plain.each_mut());
            assert_eq!(wide, plain, "{form:?}");
        }
    }

    #[test]
    fn products_are_those_of_the_rounded_numbers() {
        let mut stream = Seed(12).stream("half");
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        for (n, inner, m) in [(1, 1, 1), (32, 32, 32), (33, 65, 31), (70, 100, 130), (5, 300, 64)] {
            // Two parts, as the gradient of two blocks of rows has; the second from transposes.
            let parts: Vec<_> = (0..2).map(|_| (draw(n * inner), draw(inner * m))).collect();
            let rounded = |v: f32| f64::from(widen(narrow(v)));
            let expected = |i: usize, j: usize| -> (f64, f64) {
                let terms = parts
                    .iter()
                    .flat_map(|(a, b)| (0..inner).map(move |k| rounded(a[i * inner + k]) * rounded(b[k * m + j])));
                terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
            };
            let turn = |data: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns).map(|at| data[at % rows * columns + at / rows]).collect()
            };
            let (a, b) = &parts[1];
            let first = (tiles(&parts[0].0, n, inner, As::Left), tiles(&parts[0].1, inner, m, As::Right));
            let second = (
                tiles(&turn(a, n, inner), inner, n, As::LeftTransposed),
                tiles(&turn(b, inner, m), m, inner, As::RightTransposed),
            );
            for unit in units() {
                let mut seen = 0;
                let sides = [(&first.0, &first.1), (&second.0, &second.1)];
                multiply(unit, &sides, 0..n.div_ceil(SIDE), |row, column, square| {
                    for (at, got) in square.0.iter().enumerate() {
                        let (i, j) = (row * SIDE + at / SIDE, column * SIDE + at % SIDE);
                        if i >= n || j >= m {
                            assert_eq!(*got, 0.0);
                            continue;
                        }
                        seen += 1;
                        let (sum, size) = expected(i, j);
                        let bound = 1e-6 * (size + 1.0);
                        assert!((f64::from(*got) - sum).abs() < bound, "{unit:?} ({n}, {inner}, {m}) {i} {j}");
                    }
                });
                assert_eq!(seen, n * m);
            }
        }
    }

    #[test]
    fn the_matrix_unit_serves_threads_that_come_and_go() {
        let data = square("threads");
        let (a, b) = (tiles(&data.0, 32, 32, As::Left), tiles(&data.0, 32, 32, As::Right));
        let run = || {
            let mut out = Square::ZERO;
            multiply(Unit::best(), &[(&a, &b)], 0..1, |_, _, square| out = *square);
            out.0
        };
        let expected = run();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..50).all(|_| run() == expected))).collect();
            assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        });
    }

    #[test]
    fn elementwise_steps_are_what_they_say() {
        let (mut square, same) = (square("steps"), square("same"));
        let (before, mut bias) = (square, [0.0; SIDE]);
        bias.copy_from_slice(&same.0[..SIDE]);
        add_rows(&mut square, &bias, 0.0);
        for (at, value) in square.0.iter().enumerate() {
            assert_eq!(*value, (before.0[at] + bias[at % SIDE]).max(0.0));
        }
        let mut tiles = [Tile::ZERO; 2];
        round(&same, As::Left, tiles.each_mut());
        let (mut kept, mut times, mut sums) = (before, before, [1.0; SIDE]);
        keep_positive(&mut kept, [&tiles[0], &tiles[1]]);
        multiply_by(&mut times, &same);
        sum_rows(&before, &mut sums);
        for at in 0..SIDE * SIDE {
            assert_eq!(kept.0[at], if same.0[at] > 0.0 { before.0[at] } else { 0.0 });
            assert_eq!(times.0[at], before.0[at] * same.0[at]);
        }
        for (j, sum) in sums.iter().enumerate() {
            let expected: f32 = (0..SIDE).map(|i| before.0[i * SIDE + j]).sum();
            assert!((sum - 1.0 - expected).abs() < 1e-5);
        }
    }
}
