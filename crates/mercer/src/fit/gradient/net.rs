//! A tower in training: forward and backward passes over a tape that is allocated once.
//!
//! The batch is cut into blocks of 128 rows, whatever the number of threads. A block goes through all layers, forward and
//! back, while it is near the core; then each layer's weights gather their gradient over the blocks in order. So no sum
//! depends on who computes it.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::gemm::{End, Panels, Start, multiply, multiply_transposed};
use crate::rows::Rows;
use crate::tower::{Activation, Layer, RowScaling, Tower};
use crate::wide::{add_scaled32, wide};

/// Rows of a block: an inner dimension whose panels stay in the first level of the cache.
const BLOCK: usize = 128;

/// Weight rows whose gradient one task gathers.
const CHUNK: usize = 256;

/// One layer's place in the flat parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    inputs: usize,
    outputs: usize,
    activation: Activation,
    /// Where the weights start; the bias follows them.
    first: usize,
}

impl Part {
    fn weights(&self) -> Range<usize> {
        self.first..self.first + self.inputs * self.outputs
    }

    fn bias(&self) -> Range<usize> {
        let end = self.weights().end;
        end..end + self.outputs
    }

    /// Whether the slope needs the values before the activation: ReLU's and the identity's are known without.
    fn keeps_slopes(&self) -> bool {
        !matches!(self.activation, Activation::Identity | Activation::Relu)
    }
}

/// A tower in training: the layers of a [`Tower`], all its parameters in one `f32` vector.
///
/// Layer by layer: weights row-major `(inputs, outputs)`, then the bias. Row scaling and output scale are kept as they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Net {
    parts: Vec<Part>,
    parameters: Vec<f32>,
    scaling: RowScaling,
    scale: f32,
}

impl Net {
    /// The parameters of `tower`.
    pub(crate) fn of(tower: &Tower) -> Self {
        let (mut parts, mut parameters) = (Vec::new(), Vec::with_capacity(tower.parameters()));
        for layer in tower.layers() {
            let (inputs, outputs, activation) = (layer.inputs(), layer.outputs(), layer.activation());
            parts.push(Part { inputs, outputs, activation, first: parameters.len() });
            parameters.extend_from_slice(layer.weights());
            parameters.extend_from_slice(layer.bias());
        }
        Net { parts, parameters, scaling: tower.scaling(), scale: tower.scale() }
    }

    /// The tower with the present parameters.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NonFinite`] if a parameter is NaN or infinite.
    pub(crate) fn tower(&self) -> Result<Tower> {
        let layer = |part: &Part| {
            let (weights, bias) = (&self.parameters[part.weights()], &self.parameters[part.bias()]);
            Layer::new(weights.to_vec(), bias.to_vec(), part.activation)
        };
        let layers = self.parts.iter().map(layer).collect::<Result<Vec<_>>>()?;
        Tower::new(layers)?.with_scaling(self.scaling).with_scale(self.scale)
    }

    pub(crate) fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    pub(crate) fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.parameters
    }

    pub(crate) fn inputs(&self) -> usize {
        self.parts[0].inputs
    }

    pub(crate) fn outputs(&self) -> usize {
        self.parts[self.parts.len() - 1].outputs
    }

    /// Numbers in a row of the first layer's weights: what one feature column owns.
    pub(crate) fn table_width(&self) -> usize {
        self.parts[0].outputs
    }
}

/// d loss / d parameters, in the layout of [`Net::parameters`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gradient {
    values: Vec<f32>,
    /// Rows of the first layer's weights, of `width` numbers.
    table: usize,
    width: usize,
    /// The table's rows that may differ from zero, increasing; `None`: all.
    touched: Option<Vec<u32>>,
}

impl Gradient {
    /// Zero.
    pub(crate) fn new(net: &Net) -> Self {
        let values = vec![0.0; net.parameters.len()];
        Gradient { values, table: net.inputs(), width: net.table_width(), touched: Some(Vec::new()) }
    }

    /// All numbers; what is not [touched](Gradient::touched) is zero.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Rows of the first layer's weights that the batch had features for, increasing; `None` after dense rows: all of them.
    pub(crate) fn touched(&self) -> Option<&[u32]> {
        self.touched.as_deref()
    }

    /// The stretches of numbers that may differ from zero, in order.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = Range<usize>> {
        let rest = match self.touched {
            Some(_) => self.table * self.width..self.values.len(),
            None => 0..self.values.len(),
        };
        self.touched.iter().flatten().map(|&row| self.row(row)).chain(std::iter::once(rest))
    }

    fn row(&self, row: u32) -> Range<usize> {
        row as usize * self.width..(row as usize + 1) * self.width
    }

    /// `self += other`, for a tower that serves both sides.
    pub(crate) fn add(&mut self, other: &Gradient) {
        for stretch in other.stretches() {
            add_scaled32(&mut self.values[stretch.clone()], 1.0, &other.values[stretch]);
        }
        self.touched = match (self.touched.take(), &other.touched) {
            (Some(mut own), Some(others)) => {
                own.extend_from_slice(others);
                own.sort_unstable();
                own.dedup();
                Some(own)
            }
            _ => None,
        };
    }

    /// Sum of the squares, in `f64` over fixed blocks.
    pub(crate) fn squared_norm(&self) -> f64 {
        self.stretches().flat_map(|s| self.values[s].chunks(4096)).map(|part| f64::from(sum_of_squares(part))).sum()
    }

    /// Makes the numbers outside `touched` zero, at the cost of those touched before and now.
    fn touch(&mut self, touched: Option<Vec<u32>>) {
        match (&self.touched, &touched) {
            (_, None) => {}
            (None, Some(_)) => self.values[..self.table * self.width].fill(0.0),
            (Some(before), Some(_)) => {
                for &row in before {
                    self.values[row as usize * self.width..(row as usize + 1) * self.width].fill(0.0);
                }
            }
        }
        self.touched = touched;
    }
}

/// Everything that passes over one batch need, allocated once for the largest.
pub(crate) struct Tape {
    /// Rows of the last forward pass.
    rows: usize,
    /// Each layer's weights, and their transposes (none for the first, whose inputs need no gradient).
    weights: Vec<Panels>,
    transposed: Vec<Panels>,
    blocks: Vec<Block>,
    outputs: Vec<f32>,
}

/// What a block of rows leaves on the tape.
struct Block {
    /// Factor of each row, and the scaled dense rows; empty without row scaling.
    factors: Vec<f64>,
    scaled: Vec<f32>,
    /// Outputs of each layer but the last, whose are the tape's.
    values: Vec<Vec<f32>>,
    /// Slopes of those activations that need them; else empty.
    slopes: Vec<Vec<f32>>,
    /// d loss / d (x W + b) of each layer, and its sums over the rows.
    deltas: Vec<Vec<f32>>,
    sums: Vec<Vec<f32>>,
}

impl Tape {
    /// A tape for batches of up to `batch` rows.
    pub(crate) fn new(net: &Net, batch: usize) -> Self {
        let block = |first: usize| {
            let rows = BLOCK.min(batch - first);
            let buffers = |chosen: &dyn Fn(usize, &Part) -> bool| -> Vec<Vec<f32>> {
                let length = |(i, part): (usize, &Part)| if chosen(i, part) { rows * part.outputs } else { 0 };
                net.parts.iter().enumerate().map(|at| vec![0.0; length(at)]).collect()
            };
            Block {
                factors: Vec::new(),
                scaled: Vec::new(),
                values: buffers(&|i, _| i + 1 < net.parts.len()),
                slopes: buffers(&|_, part| part.keeps_slopes()),
                deltas: buffers(&|_, _| true),
                sums: net.parts.iter().map(|part| vec![0.0; part.outputs]).collect(),
            }
        };
        Tape {
            rows: 0,
            weights: vec![Panels::default(); net.parts.len()],
            transposed: vec![Panels::default(); net.parts.len()],
            blocks: (0..batch).step_by(BLOCK).map(block).collect(),
            outputs: vec![0.0; batch * net.outputs()],
        }
    }

    /// Rows of the last forward pass.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Outputs of the last forward pass, row-major `(rows, outputs)`.
    pub(crate) fn outputs(&self) -> &[f32] {
        &self.outputs[..self.rows * (self.outputs.len() / self.capacity().max(1))]
    }

    fn capacity(&self) -> usize {
        let last = self.blocks.last().map_or(0, |b| b.deltas[0].len() / b.sums[0].len());
        self.blocks.len().saturating_sub(1) * BLOCK + last
    }
}

/// Passes `rows` through `net`; outputs and all that the way back needs stay on the tape.
///
/// Cost: 2 operations a weight and dense row.
///
/// # Errors
/// [`crate::ErrorKind::Shape`] if the rows do not fit the net, or are more than the tape was made for.
pub(crate) fn forward(net: &Net, rows: &Rows<'_>, tape: &mut Tape) -> Result<()> {
    if rows.dim() != net.inputs() {
        return Err(Error::shape("tower input", format!("{} feature columns", net.inputs()), rows.dim()));
    }
    if rows.len() > tape.capacity() {
        return Err(Error::shape("batch", format!("at most {} rows", tape.capacity()), rows.len()));
    }
    tape.rows = rows.len();
    let sparse = matches!(rows, Rows::Sparse { .. });
    let packs = tape.weights.par_iter_mut().zip(&net.parts).skip(usize::from(sparse));
    packs.for_each(|(panels, part)| panels.pack(&net.parameters[part.weights()], part.inputs, part.outputs));
    let (weights, count) = (&tape.weights, rows.len().div_ceil(BLOCK));
    let outputs = tape.outputs[..rows.len() * net.outputs()].par_chunks_mut(BLOCK * net.outputs());
    tape.blocks[..count].par_iter_mut().zip(outputs).enumerate().for_each(|(i, (block, outputs))| {
        let own = i * BLOCK..rows.len().min((i + 1) * BLOCK);
        block.forward(net, weights, rows.slice(own), outputs);
    });
    Ok(())
}

impl Block {
    fn forward(&mut self, net: &Net, weights: &[Panels], rows: Rows<'_>, outputs: &mut [f32]) {
        self.scale_rows(net.scaling, &rows);
        let last = net.parts.len() - 1;
        for (i, part) in net.parts.iter().enumerate() {
            let (before, own) = self.values.split_at_mut(i);
            let length = rows.len() * part.outputs;
            let value = if i == last { &mut *outputs } else { &mut own[0][..length] };
            let slope = if part.keeps_slopes() { Some(&mut self.slopes[i][..length]) } else { None };
            // The product goes where the activation starts from.
            let target = match &slope {
                Some(_) => &mut self.slopes[i][..length],
                None => &mut *value,
            };
            let end = if part.activation == Activation::Relu { End::Relu } else { End::Keep };
            let bias = &net.parameters[part.bias()];
            match (i, rows) {
                (0, Rows::Sparse { .. }) => {
                    gather(&rows, &self.factors, &net.parameters[part.weights()], bias, target);
                    if part.activation == Activation::Relu {
                        part.activation.apply32(target);
                    }
                }
                (0, Rows::Dense { data, .. }) => {
                    let data = if self.scaled.is_empty() { data } else { &self.scaled[..data.len()] };
                    multiply(data, &weights[0], Start::Bias(bias), end, target);
                }
                _ => {
                    let input = &before[i - 1][..rows.len() * part.inputs];
                    multiply(input, &weights[i], Start::Bias(bias), end, target);
                }
            }
            if part.keeps_slopes() {
                part.activation.value_and_slope32(&mut self.slopes[i][..length], value);
            }
        }
        if net.scale != 1.0 {
            outputs.iter_mut().for_each(|v| *v *= net.scale);
        }
    }

    /// Notes each row's factor and, of dense rows, the product with it.
    fn scale_rows(&mut self, scaling: RowScaling, rows: &Rows<'_>) {
        self.factors.clear();
        self.scaled.clear();
        if scaling == RowScaling::None {
            return;
        }
        self.factors.extend((0..rows.len()).map(|row| scaling.factor(rows.squared_norm(row))));
        if let Rows::Dense { data, dim } = *rows {
            for (row, factor) in data.chunks_exact(dim).zip(&self.factors) {
                self.scaled.extend(row.iter().map(|&v| (f64::from(v) * factor) as f32));
            }
        }
    }

    /// `deltas` of all layers, last to first, from `d_outputs`, and their sums over the rows.
    fn backward(&mut self, net: &Net, transposed: &[Panels], outputs: &[f32], d_outputs: &[f32]) {
        let rows = d_outputs.len() / net.outputs();
        let last = net.parts.len() - 1;
        let delta = &mut self.deltas[last][..d_outputs.len()];
        delta.copy_from_slice(d_outputs);
        if net.scale != 1.0 {
            delta.iter_mut().for_each(|v| *v *= net.scale);
        }
        match net.parts[last].activation {
            Activation::Identity => {}
            Activation::Relu => delta.iter_mut().zip(outputs).for_each(|(d, &v)| *d = if v > 0.0 { *d } else { 0.0 }),
            _ => delta.iter_mut().zip(&self.slopes[last]).for_each(|(d, slope)| *d *= slope),
        }
        for i in (1..=last).rev() {
            let (part, below) = (&net.parts[i], &net.parts[i - 1]);
            let length = rows * part.inputs;
            let (before, own) = self.deltas.split_at_mut(i);
            let end = match below.activation {
                Activation::Identity => End::Keep,
                Activation::Relu => End::Where(&self.values[i - 1][..length]),
                _ => End::Times(&self.slopes[i - 1][..length]),
            };
            let target = &mut before[i - 1][..length];
            multiply(&own[0][..rows * part.outputs], &transposed[i], Start::Zero, end, target);
        }
        for ((sums, delta), part) in self.sums.iter_mut().zip(&self.deltas).zip(&net.parts) {
            column_sums(&delta[..rows * part.outputs], sums);
        }
    }
}

/// `factor x W + b` of sparse rows.
fn gather(rows: &Rows<'_>, factors: &[f64], weights: &[f32], bias: &[f32], out: &mut [f32]) {
    let width = bias.len();
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        out.copy_from_slice(bias);
        let factor = factors.get(row).copied().unwrap_or(1.0);
        rows.for_each(row, |column, value| {
            add_scaled32(out, (f64::from(value) * factor) as f32, &weights[column * width..(column + 1) * width]);
        });
    }
}

/// Overwrites `gradient` with d loss / d parameters, where `d_outputs` `(rows, outputs)` is d loss / d outputs of the last
/// forward pass of `net` over the same `rows`.
///
/// Cost: 4 operations a weight and dense row, 2 for the first layer. After sparse rows only the weight rows of their columns
/// are written: see [`Gradient::touched`].
///
/// # Errors
/// [`crate::ErrorKind::Shape`] if `rows` or `d_outputs` are not of the last forward pass.
pub(crate) fn backward(
    net: &Net,
    rows: &Rows<'_>,
    tape: &mut Tape,
    d_outputs: &[f32],
    gradient: &mut Gradient,
) -> Result<()> {
    let expected = tape.rows * net.outputs();
    if rows.len() != tape.rows || rows.dim() != net.inputs() {
        let got = format!("{} rows with {} columns", rows.len(), rows.dim());
        return Err(Error::shape("backward pass", format!("the {} rows of the forward pass", tape.rows), got));
    }
    if d_outputs.len() != expected || gradient.values.len() != net.parameters.len() {
        let got = format!("{} and {}", d_outputs.len(), gradient.values.len());
        let expected = format!("slopes of {expected} outputs and of {} parameters", net.parameters.len());
        return Err(Error::shape("backward pass", expected, got));
    }
    let packs = tape.transposed.par_iter_mut().zip(&net.parts).skip(1);
    packs.for_each(|(panels, part)| {
        panels.pack_transposed(&net.parameters[part.weights()], part.outputs, part.inputs);
    });
    let count = rows.len().div_ceil(BLOCK);
    let (transposed, width) = (&tape.transposed, BLOCK * net.outputs());
    let ends = tape.outputs.par_chunks(width).zip(d_outputs.par_chunks(width));
    tape.blocks[..count].par_iter_mut().zip(ends).for_each(|(block, (outputs, d_outputs))| {
        block.backward(net, transposed, outputs, d_outputs);
    });
    gather_gradient(net, rows, &tape.blocks[..count], gradient);
    Ok(())
}

/// The gradient of every weight and bias, from the deltas of all blocks.
fn gather_gradient(net: &Net, rows: &Rows<'_>, blocks: &[Block], gradient: &mut Gradient) {
    let sparse = matches!(rows, Rows::Sparse { .. }).then(|| Columns::of(rows, blocks));
    gradient.touch(sparse.as_ref().map(|columns| columns.touched.clone()));
    let mut tasks: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
    let mut left = &mut gradient.values[..];
    for (i, part) in net.parts.iter().enumerate() {
        let (weights, rest) = left.split_at_mut(part.inputs * part.outputs);
        let (bias, rest) = rest.split_at_mut(part.outputs);
        left = rest;
        tasks.push(Box::new(move || {
            bias.fill(0.0);
            blocks.iter().for_each(|block| add_scaled32(bias, 1.0, &block.sums[i]));
        }));
        if let (0, Some(columns)) = (i, &sparse) {
            tasks.extend(columns.tasks(blocks, part.outputs, weights));
            continue;
        }
        for (chunk, target) in weights.chunks_mut(CHUNK * part.outputs).enumerate() {
            let chosen = chunk * CHUNK..part.inputs.min((chunk + 1) * CHUNK);
            tasks.push(Box::new(move || weight_gradient(part, i, chosen, rows, blocks, target)));
        }
    }
    tasks.into_par_iter().for_each(|task| task());
}

/// `target = sum over the blocks of (inputs of layer i, columns chosen)^T deltas`.
fn weight_gradient(part: &Part, i: usize, chosen: Range<usize>, rows: &Rows<'_>, blocks: &[Block], target: &mut [f32]) {
    if blocks.is_empty() {
        target.fill(0.0);
    }
    for (b, block) in blocks.iter().enumerate() {
        let count = BLOCK.min(rows.len() - b * BLOCK);
        let range = b * BLOCK * part.inputs..(b * BLOCK + count) * part.inputs;
        let input = match (i, *rows) {
            (0, Rows::Dense { data, .. }) if block.scaled.is_empty() => &data[range],
            (0, _) => &block.scaled[..],
            _ => &block.values[i - 1][..count * part.inputs],
        };
        let start = if b == 0 { Start::Zero } else { Start::Sum };
        let delta = &block.deltas[i][..count * part.outputs];
        multiply_transposed(input, part.inputs, chosen.clone(), delta, part.outputs, start, target);
    }
}

/// A batch of sparse rows by columns.
struct Columns {
    /// Columns with entries, increasing, and where the entries of each start.
    touched: Vec<u32>,
    starts: Vec<usize>,
    /// Row and factored value of each entry, rows increasing within a column.
    entries: Vec<(u32, f32)>,
}

/// Touched columns whose gradient one task gathers.
const TOUCHED: usize = 256;

impl Columns {
    fn of(rows: &Rows<'_>, blocks: &[Block]) -> Self {
        let mut counts = vec![0usize; rows.dim()];
        let mut touched = Vec::new();
        for row in 0..rows.len() {
            rows.for_each(row, |column, _| {
                if counts[column] == 0 {
                    touched.push(column as u32);
                }
                counts[column] += 1;
            });
        }
        touched.sort_unstable();
        let (mut starts, mut total) = (Vec::with_capacity(touched.len() + 1), 0);
        for &column in &touched {
            starts.push(total);
            total += std::mem::replace(&mut counts[column as usize], total);
        }
        starts.push(total);
        let mut entries = vec![(0, 0.0); total];
        for row in 0..rows.len() {
            let factor = blocks[row / BLOCK].factors.get(row % BLOCK).copied().unwrap_or(1.0);
            rows.for_each(row, |column, value| {
                entries[counts[column]] = (row as u32, (f64::from(value) * factor) as f32);
                counts[column] += 1;
            });
        }
        Columns { touched, starts, entries }
    }

    /// Tasks that write the touched rows of `weights`.
    fn tasks<'a>(
        &'a self,
        blocks: &'a [Block],
        width: usize,
        weights: &'a mut [f32],
    ) -> Vec<Box<dyn FnOnce() + Send + 'a>> {
        let (mut tasks, mut left, mut passed) = (Vec::<Box<dyn FnOnce() + Send + 'a>>::new(), weights, 0);
        for (group, columns) in self.touched.chunks(TOUCHED).enumerate() {
            let (first, end) = (columns[0] as usize, columns[columns.len() - 1] as usize + 1);
            let (own, rest) = left.split_at_mut((end - passed) * width);
            let own = &mut own[(first - passed) * width..];
            (left, passed) = (rest, end);
            tasks.push(Box::new(move || {
                for (at, &column) in columns.iter().enumerate() {
                    let out = &mut own[(column as usize - first) * width..][..width];
                    let t = group * TOUCHED + at;
                    for &(row, value) in &self.entries[self.starts[t]..self.starts[t + 1]] {
                        let (block, row) = (row as usize / BLOCK, row as usize % BLOCK);
                        add_scaled32(out, value, &blocks[block].deltas[0][row * width..(row + 1) * width]);
                    }
                }
            }));
        }
        tasks
    }
}

#[inline(always)]
fn column_sums_body<const FMA: bool>(values: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    for row in values.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}
wide!(
    /// Sums over the rows of row-major `values`.
    fn column_sums(values: &[f32], sums: &mut [f32]) = column_sums_body
);

#[inline(always)]
fn sum_of_squares_body<const FMA: bool>(values: &[f32]) -> f32 {
    const LANES: usize = 32;
    let mut sums = [0.0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().map(|v| v * v).sum();
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += chunk[i] * chunk[i];
        }
    }
    sums.iter().sum::<f32>() + tail
}
wide!(fn sum_of_squares(values: &[f32]) -> f32 = sum_of_squares_body);

#[cfg(test)]
mod tests;
