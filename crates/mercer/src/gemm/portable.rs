//! Tiles of plain code, compiled for the widest registers at hand that the other files do not serve.

use crate::gemm::{End, LANES, Part, Sink, Start, filled};
use crate::wide::wide;

/// Rows of a tile: four rows of 16 sums fill half of 16 registers of 8 numbers.
const ROWS: usize = 4;

/// All rows of one panel's columns.
pub(super) fn panel(part: &Part<'_>, sink: &mut Sink<'_>) {
    for column in (0..part.width()).step_by(LANES) {
        let mut row = part.row.start;
        while row + ROWS <= part.row.end {
            tile4(part, row, column, sink);
            row += ROWS;
        }
        (row..part.row.end).for_each(|row| tile1(part, row, column, sink));
    }
}

/// `R` rows from `row` on, 16 columns from the panel's `column` on.
#[inline(always)]
fn tile<const R: usize, const FMA: bool>(part: &Part<'_>, row: usize, column: usize, sink: &mut Sink<'_>) {
    let width = LANES.min(part.width() - column);
    let at = |r: usize| part.corner + (row + r - part.row.start) * part.stride + column;
    let mut sums = [[0.0f32; LANES]; R];
    for r in 0..R {
        match part.start {
            Start::Zero => {}
            Start::Bias(bias) => sums[r][..width].copy_from_slice(&bias[part.first + column..][..width]),
            Start::Sum => sums[r][..width].copy_from_slice(&sink.out[at(r)..at(r) + width]),
        }
    }
    let (panel, stride, a) = (part.b.panel(part.first), filled(part.width()), &part.left.a.data);
    let mut k = 0;
    while k < part.b.rows {
        let left = part.left.stretch(row, k);
        for step in 0..left.count {
            let right = &panel[(k + step) * stride + column..][..LANES];
            for r in 0..R {
                let left = a[left.first + r * left.row + step * left.step];
                for j in 0..LANES {
                    sums[r][j] = if FMA { left.mul_add(right[j], sums[r][j]) } else { left * right[j] + sums[r][j] };
                }
            }
        }
        k += left.count;
    }
    for r in 0..R {
        let range = at(r)..at(r) + width;
        let sums = &mut sums[r][..width];
        match part.end {
            End::Keep => {}
            End::Relu => sums.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v }),
            End::Where(same) => sums.iter_mut().zip(&same.data[range.clone()]).for_each(|(v, s)| {
                *v = if *s > 0.0 { *v } else { 0.0 };
            }),
            End::Times(same) => sums.iter_mut().zip(&same.data[range.clone()]).for_each(|(v, s)| *v *= s),
        }
        if let Some(largest) = sink.largest.get_mut(row + r) {
            largest.iter_mut().zip(&*sums).for_each(|(m, v)| *m = if *v > *m { *v } else { *m });
        }
        sink.out[range].copy_from_slice(sums);
    }
}

#[inline(always)]
fn tile4_body<const FMA: bool>(part: &Part<'_>, row: usize, column: usize, sink: &mut Sink<'_>) {
    tile::<ROWS, FMA>(part, row, column, sink);
}
wide!(fn tile4(part: &Part<'_>, row: usize, column: usize, sink: &mut Sink<'_>) = tile4_body);

#[inline(always)]
fn tile1_body<const FMA: bool>(part: &Part<'_>, row: usize, column: usize, sink: &mut Sink<'_>) {
    tile::<1, FMA>(part, row, column, sink);
}
wide!(fn tile1(part: &Part<'_>, row: usize, column: usize, sink: &mut Sink<'_>) = tile1_body);
