//! The passes of [`net`](crate::fit::gradient::net) over bf16 numbers: products read rounded numbers and sum in `f32`.
//!
//! Each number is rounded once, where it comes about, and stored in the two forms in which products read it.

use std::ops::Range;

use crate::fit::gradient::net::{Net, gather, row_factors};
use crate::gemm::half::{self, As, SIDE, Square, Tiles, Unit};
use crate::gemm::{PANEL, Panels};
use crate::rows::Rows;
use crate::tower::Activation;

/// What a block of rows leaves on the tape.
#[derive(Clone, Default)]
pub(super) struct Block {
    rows: usize,
    pub(super) factors: Vec<f64>,
    /// The rows as the net takes them unless they are sparse, and their transpose: both as left sides.
    input: [Tiles; 2],
    /// Outputs of each layer but the last, in the same two forms.
    values: Vec<[Tiles; 2]>,
    /// Slopes of those activations that need them, square by square.
    slopes: Vec<Vec<Square>>,
    /// d loss / d (x W + b) of each layer, as a left side, and as a right side with the rows along the inner dimension.
    deltas: Vec<[Tiles; 2]>,
    /// The first layer's in `f32`, for sparse rows.
    pub(super) first: Panels,
    pub(super) sums: Vec<Vec<f32>>,
}

/// The weights of a layer as the right side of its product, or of the way back.
pub(super) fn pack(tiles: &mut Tiles, weights: &[f32], outputs: usize, back: bool) {
    let inputs = weights.len() / outputs;
    if back {
        tiles.reshape(inputs, outputs)
    } else {
        tiles.reshape(outputs, inputs)
    }
    for row in 0..inputs.div_ceil(SIDE) {
        for column in 0..outputs.div_ceil(SIDE) {
            let square = Square::load(weights, outputs, row * SIDE, column * SIDE);
            if back {
                half::round(&square, As::RightTransposed, tiles.pair_mut(row, column));
            } else {
                half::round(&square, As::Right, tiles.pair_mut(column, row));
            }
        }
    }
}

/// Rounds a square into the two forms of a left side: as it is, and transposed.
fn keep(forms: &mut [Tiles; 2], row: usize, column: usize, square: &Square) {
    half::round(square, As::Left, forms[0].pair_mut(row, column));
    half::round(square, As::LeftTransposed, forms[1].pair_mut(column, row));
}

/// The part of `numbers` from place `SIDE at` on, filled up with zeros.
fn part(numbers: &[f32], at: usize) -> [f32; SIDE] {
    let mut part = [0.0; SIDE];
    let own = &numbers[at * SIDE..numbers.len().min((at + 1) * SIDE)];
    part[..own.len()].copy_from_slice(own);
    part
}

impl Block {
    pub(super) fn new(net: &Net) -> Self {
        let layers = net.parts.len();
        let sums = net.parts.iter().map(|part| vec![0.0; part.outputs.next_multiple_of(SIDE)]).collect();
        let forms = vec![<[Tiles; 2]>::default(); layers];
        Block { values: forms.clone(), deltas: forms, slopes: vec![Vec::new(); layers], sums, ..Block::default() }
    }

    /// Layer `i` of the block's `rows`.
    pub(super) fn forward(
        &mut self,
        net: &Net,
        unit: Unit,
        i: usize,
        weights: &[Tiles],
        rows: &Rows<'_>,
        outputs: &mut [f32],
    ) {
        if i == 0 {
            self.take(net, rows);
        }
        let part = &net.parts[i];
        let (keeps, last) = (net.keeps_slopes(i), i + 1 == net.parts.len());
        let (before, own) = self.values.split_at_mut(i);
        let (forms, slopes, across) = (&mut own[0], &mut self.slopes[i], part.outputs.div_ceil(SIDE));
        forms[0].reshape(rows.len(), part.outputs);
        forms[1].reshape(part.outputs, rows.len());
        let count = rows.len().div_ceil(SIDE);
        slopes.resize(if keeps { count * across } else { 0 }, Square::ZERO);
        let floor = if part.activation == Activation::Relu && !keeps { 0.0 } else { f32::NEG_INFINITY };
        let mut finish = |row: usize, column: usize, square: &mut Square, bias: &[f32; SIDE]| {
            half::add_rows(square, bias, floor);
            if keeps {
                let slope = &mut slopes[row * across + column];
                *slope = *square;
                part.activation.value_and_slope32(&mut slope.0, &mut square.0);
            }
            if last {
                store(square, outputs, part.outputs, row, column, |to, v| *to = net.scale * v);
            } else {
                keep(forms, row, column, square);
            }
        };
        let bias = &net.parameters[part.bias()];
        if let (0, Rows::Sparse { .. }) = (i, rows) {
            gather(rows, &self.factors, &net.parameters[part.weights()], bias, &mut self.first);
            for row in 0..count {
                for column in 0..across {
                    finish(row, column, &mut cut(&self.first, row, column), &[0.0; SIDE]);
                }
            }
        } else {
            let input = if i == 0 { &self.input[0] } else { &before[i - 1][0] };
            half::multiply(unit, &[(input, &weights[i])], 0..count, |row, column, square| {
                finish(row, column, square, &self::part(bias, column));
            });
        }
    }

    /// Notes each row's factor and takes dense rows with it.
    fn take(&mut self, net: &Net, rows: &Rows<'_>) {
        self.rows = rows.len();
        self.factors = row_factors(net, rows);
        let Rows::Dense { data, dim } = *rows else { return };
        self.input[0].reshape(rows.len(), dim);
        self.input[1].reshape(dim, rows.len());
        for row in 0..rows.len().div_ceil(SIDE) {
            for column in 0..dim.div_ceil(SIDE) {
                let mut square = Square::load(data, dim, row * SIDE, column * SIDE);
                for (numbers, factor) in square.0.chunks_exact_mut(SIDE).zip(self.factors.iter().skip(row * SIDE)) {
                    numbers.iter_mut().for_each(|v| *v = (f64::from(*v) * factor) as f32);
                }
                keep(&mut self.input, row, column, &square);
            }
        }
    }

    /// `deltas` of the last layer from the slopes of the outputs.
    pub(super) fn enter(&mut self, net: &Net, d_outputs: &[f32], sparse: bool) {
        let last = net.parts.len() - 1;
        let (width, across) = (net.outputs(), net.outputs().div_ceil(SIDE));
        self.open(net, last, sparse);
        for row in 0..self.rows.div_ceil(SIDE) {
            for column in 0..across {
                let mut square = Square::load(d_outputs, width, row * SIDE, column * SIDE);
                if net.scale != 1.0 {
                    square.0.iter_mut().for_each(|v| *v *= net.scale);
                }
                if net.keeps_slopes(last) {
                    half::multiply_by(&mut square, &self.slopes[last][row * across + column]);
                }
                let first = if sparse && last == 0 { Some(&mut self.first) } else { None };
                leave(&mut self.deltas[last], &mut self.sums[last], first, last, row, column, &square);
            }
        }
    }

    /// `deltas` of the layer before layer `i` from those of layer `i`.
    pub(super) fn backward(&mut self, net: &Net, unit: Unit, i: usize, transposed: &Tiles, sparse: bool) {
        self.open(net, i - 1, sparse);
        let (before, own) = self.deltas.split_at_mut(i);
        let (target, sums) = (&mut before[i - 1], &mut self.sums[i - 1]);
        let (values, slopes, activation) = (&self.values[i - 1], &self.slopes[i - 1], net.parts[i - 1].activation);
        let across = net.parts[i - 1].outputs.div_ceil(SIDE);
        let first = &mut self.first;
        half::multiply(unit, &[(&own[0][0], transposed)], 0..self.rows.div_ceil(SIDE), |row, column, square| {
            match activation {
                Activation::Identity => {}
                Activation::Relu => half::keep_positive(square, values[0].pair(row, column)),
                _ => half::multiply_by(square, &slopes[row * across + column]),
            }
            let first = if sparse && i == 1 { Some(&mut *first) } else { None };
            leave(target, sums, first, i - 1, row, column, square);
        });
    }

    fn open(&mut self, net: &Net, i: usize, sparse: bool) {
        let width = net.parts[i].outputs;
        self.deltas[i][0].reshape(self.rows, width);
        self.deltas[i][1].reshape(width, self.rows);
        self.sums[i].fill(0.0);
        if sparse && i == 0 {
            self.first.reshape(self.rows, width);
        }
    }

    /// The two sides of layer `i`'s weight gradient.
    fn sides(&self, i: usize) -> (&Tiles, &Tiles) {
        (if i == 0 { &self.input[1] } else { &self.values[i - 1][1] }, &self.deltas[i][1])
    }
}

/// Blocks whose products are summed before they go to the gradient.
const GROUP: usize = 4;

/// `target = sum over the blocks of (inputs of layer i, columns chosen)^T deltas`, row-major with `width` columns.
pub(super) fn weight_gradient(
    unit: Unit,
    i: usize,
    chosen: Range<usize>,
    blocks: &[Block],
    width: usize,
    target: &mut [f32],
) {
    target.fill(0.0);
    let first = chosen.start / SIDE;
    for group in blocks.chunks(GROUP) {
        let parts: Vec<_> = group.iter().map(|block| block.sides(i)).collect();
        half::multiply(unit, &parts, first..chosen.end.div_ceil(SIDE), |row, column, square| {
            store(square, target, width, row - first, column, |to, v| *to += v);
        });
    }
}

/// Rounds deltas into their forms and adds them to their sums.
fn leave(
    forms: &mut [Tiles; 2],
    sums: &mut [f32],
    first: Option<&mut Panels>,
    i: usize,
    row: usize,
    column: usize,
    square: &Square,
) {
    if let Some((sums, _)) = sums[column * SIDE..].split_first_chunk_mut() {
        half::sum_rows(square, sums);
    }
    if let Some(first) = first {
        paste(first, row, column, square);
    }
    // Nothing reads the first layer's as a left side.
    if i > 0 {
        half::round(square, As::Left, forms[0].pair_mut(row, column));
    }
    half::round(square, As::Right, forms[1].pair_mut(column, row));
}

/// Passes the numbers of a square that lie within row-major `data` with `width` columns to their places.
fn store(square: &Square, data: &mut [f32], width: usize, row: usize, column: usize, put: impl Fn(&mut f32, f32)) {
    let columns = column * SIDE..width.min((column + 1) * SIDE);
    for (to, from) in data.chunks_exact_mut(width).skip(row * SIDE).zip(square.0.chunks_exact(SIDE)) {
        to[columns.clone()].iter_mut().zip(from).for_each(|(to, from)| put(to, *from));
    }
}

/// A square of a matrix in panels, zero outside.
fn cut(panels: &Panels, row: usize, column: usize) -> Square {
    let mut square = Square::ZERO;
    let (first, within) = (column * SIDE / PANEL * PANEL, column * SIDE % PANEL);
    let own = SIDE.min(panels.columns() - column * SIDE);
    let rows = panels.panel(first).chunks_exact(panels.stride(first)).skip(row * SIDE);
    for (to, from) in square.0.chunks_exact_mut(SIDE).zip(rows) {
        to[..own].copy_from_slice(&from[within..within + own]);
    }
    square
}

/// As [`cut`], the other way.
fn paste(panels: &mut Panels, row: usize, column: usize, square: &Square) {
    let (first, within) = (column * SIDE / PANEL * PANEL, column * SIDE % PANEL);
    let (own, stride) = (SIDE.min(panels.columns() - column * SIDE), panels.stride(first));
    let rows = panels.panel_mut(first).chunks_exact_mut(stride).skip(row * SIDE);
    for (to, from) in rows.zip(square.0.chunks_exact(SIDE)) {
        to[within..within + own].copy_from_slice(&from[..own]);
    }
}
