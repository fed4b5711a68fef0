//! A tower in training: forward and backward passes over a tape that is allocated once.
//!
//! The batch is cut into blocks of 128 rows, whatever the number of threads. A block goes through all layers, forward and
//! back, while it is near the core; then each layer's weights gather their gradient over the blocks in order. So no sum
//! depends on who computes it.

mod gradient;
mod half;
mod single;

pub(crate) use gradient::Gradient;

use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::fit::gradient::net::gradient::Columns;
use crate::gemm::half::{Tiles, Unit, pays};
use crate::gemm::{PANEL, Panels};
use crate::rows::Rows;
use crate::tower::{Activation, Layer, RowScaling, Tower};
use crate::wide::add_scaled32;

/// The numbers that products of a training step read; they always sum in `f32`, and weights and moments are `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 24 significant bits.
    F32,
    /// bf16: 8 significant bits, rounded to nearest, in the exponent range of `f32`.
    Bf16,
}

impl Precision {
    /// bf16 where this processor multiplies it faster than `f32`: with a matrix unit, or with inner products of pairs at full
    /// speed.
    pub fn fastest() -> Self {
        if pays() { Precision::Bf16 } else { Precision::F32 }
    }
}

/// Rows of a block: an inner dimension whose panels stay in the first level of the cache.
const BLOCK: usize = 256;

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

/// Everything that passes over one batch need, allocated once for the largest.
pub(crate) struct Tape {
    /// Rows of the last forward pass, and of the largest one.
    rows: usize,
    batch: usize,
    form: Form,
    outputs: Vec<f32>,
}

/// Each layer's weights, their transposes (none for the first, whose inputs need no gradient), and the blocks of rows.
enum Form {
    Single { weights: Vec<Panels>, transposed: Vec<Panels>, blocks: Vec<single::Block> },
    Half { unit: Unit, weights: Vec<Tiles>, transposed: Vec<Tiles>, blocks: Vec<half::Block> },
}

impl Net {
    /// Whether layer `i` leaves slopes on the tape: the identity's are 1, and ReLU's are known from what the next layer reads.
    fn keeps_slopes(&self, i: usize) -> bool {
        match self.parts[i].activation {
            Activation::Identity => false,
            Activation::Relu => i + 1 == self.parts.len(),
            _ => true,
        }
    }
}

impl Tape {
    /// A tape for batches of up to `batch` rows, in `f32`.
    #[cfg(test)]
    pub(crate) fn new(net: &Net, batch: usize) -> Self {
        Tape::with_precision(net, batch, Precision::F32)
    }

    /// A tape for batches of up to `batch` rows, whose products read numbers of this precision.
    pub(crate) fn with_precision(net: &Net, batch: usize, precision: Precision) -> Self {
        let (layers, blocks) = (net.parts.len(), batch.div_ceil(BLOCK));
        let form = match precision {
            Precision::F32 => Form::Single {
                weights: vec![Panels::default(); layers],
                transposed: vec![Panels::default(); layers],
                blocks: vec![single::Block::new(net); blocks],
            },
            Precision::Bf16 => Form::Half {
                unit: Unit::best(),
                weights: vec![Tiles::default(); layers],
                transposed: vec![Tiles::default(); layers],
                blocks: vec![half::Block::new(net); blocks],
            },
        };
        Tape { rows: 0, batch, form, outputs: vec![0.0; batch * net.outputs()] }
    }

    /// Outputs of the last forward pass, row-major `(rows, outputs)`.
    pub(crate) fn outputs(&self) -> &[f32] {
        &self.outputs[..self.outputs.len() / self.batch.max(1) * self.rows]
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
    if rows.len() > tape.batch {
        return Err(Error::shape("batch", format!("at most {} rows", tape.batch), rows.len()));
    }
    tape.rows = rows.len();
    let skip = usize::from(matches!(rows, Rows::Sparse { .. }));
    let own = |i: usize| rows.slice(i * BLOCK..rows.len().min((i + 1) * BLOCK));
    let (count, width) = (rows.len().div_ceil(BLOCK), BLOCK * net.outputs());
    let outputs = &mut tape.outputs[..rows.len() * net.outputs()];
    let parameters = |part: &Part| &net.parameters[part.weights()];
    match &mut tape.form {
        Form::Single { weights, blocks, .. } => {
            let packs = weights.par_iter_mut().zip(&net.parts).skip(skip);
            packs.for_each(|(panels, part)| panels.pack(parameters(part), part.outputs));
            let blocks = blocks[..count].par_iter_mut().zip(outputs.par_chunks_mut(width)).enumerate();
            blocks.for_each(|(i, (block, outputs))| {
                for layer in 0..net.parts.len() {
                    block.forward(net, layer, weights, &own(i), outputs);
                }
            });
        }
        Form::Half { unit, weights, blocks, .. } => {
            let packs = weights.par_iter_mut().zip(&net.parts).skip(skip);
            packs.for_each(|(tiles, part)| half::pack(tiles, parameters(part), part.outputs, false));
            let blocks = blocks[..count].par_iter_mut().zip(outputs.par_chunks_mut(width)).enumerate();
            blocks.for_each(|(i, (block, outputs))| {
                for layer in 0..net.parts.len() {
                    block.forward(net, *unit, layer, weights, &own(i), outputs);
                }
            });
        }
    }
    Ok(())
}

/// Each row's factor; none without row scaling.
fn row_factors(net: &Net, rows: &Rows<'_>) -> Vec<f64> {
    match net.scaling {
        RowScaling::None => Vec::new(),
        scaling => (0..rows.len()).map(|row| scaling.factor(rows.squared_norm(row))).collect(),
    }
}

/// `factor x W + b` of sparse rows.
fn gather(rows: &Rows<'_>, factors: &[f64], weights: &[f32], bias: &[f32], out: &mut Panels) {
    let width = bias.len();
    out.reshape(rows.len(), width);
    for first in (0..width).step_by(PANEL) {
        let (stride, own) = (out.stride(first), PANEL.min(width - first));
        for (row, out) in out.panel_mut(first).chunks_exact_mut(stride).enumerate() {
            out[..own].copy_from_slice(&bias[first..first + own]);
            let factor = factors.get(row).copied().unwrap_or(1.0);
            rows.for_each(row, |column, value| {
                let weights = &weights[column * width + first..][..own];
                add_scaled32(&mut out[..own], (f64::from(value) * factor) as f32, weights);
            });
        }
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
    let (count, width) = (rows.len().div_ceil(BLOCK), BLOCK * net.outputs());
    let sparse = matches!(rows, Rows::Sparse { .. });
    let parameters = |part: &Part| &net.parameters[part.weights()];
    match &mut tape.form {
        Form::Single { transposed, blocks, .. } => {
            let packs = transposed.par_iter_mut().zip(&net.parts).skip(1);
            packs.for_each(|(panels, part)| panels.pack_transposed(parameters(part), part.inputs));
            let blocks = &mut blocks[..count];
            let ends = blocks.par_iter_mut().zip(d_outputs.par_chunks(width));
            ends.for_each(|(block, d_outputs)| {
                block.enter(net, d_outputs);
                for i in (1..net.parts.len()).rev() {
                    block.backward(net, i, &transposed[i]);
                }
            });
        }
        Form::Half { unit, transposed, blocks, .. } => {
            let packs = transposed.par_iter_mut().zip(&net.parts).skip(1);
            packs.for_each(|(tiles, part)| half::pack(tiles, parameters(part), part.outputs, true));
            let blocks = &mut blocks[..count];
            let ends = blocks.par_iter_mut().zip(d_outputs.par_chunks(width));
            ends.for_each(|(block, d_outputs)| {
                block.enter(net, d_outputs, sparse);
                for i in (1..net.parts.len()).rev() {
                    block.backward(net, *unit, i, &transposed[i], sparse);
                }
            });
        }
    }
    gather_gradient(net, rows, tape, gradient);
    Ok(())
}

impl Tape {
    fn factor(&self, row: usize) -> f64 {
        let factors = match &self.form {
            Form::Single { blocks, .. } => &blocks[row / BLOCK].factors,
            Form::Half { blocks, .. } => &blocks[row / BLOCK].factors,
        };
        factors.get(row % BLOCK).copied().unwrap_or(1.0)
    }

    /// A block's deltas of the first layer.
    fn first_delta(&self, block: usize) -> &Panels {
        match &self.form {
            Form::Single { blocks, .. } => &blocks[block].deltas[0],
            Form::Half { blocks, .. } => &blocks[block].first,
        }
    }

    /// The gradient of layer `i`'s bias.
    fn bias_gradient(&self, i: usize, bias: &mut [f32]) {
        bias.fill(0.0);
        for block in 0..self.rows.div_ceil(BLOCK) {
            let sums = match &self.form {
                Form::Single { blocks, .. } => &blocks[block].sums[i],
                Form::Half { blocks, .. } => &blocks[block].sums[i],
            };
            add_scaled32(bias, 1.0, sums);
        }
    }

    /// The gradient of the `chosen` rows of layer `i`'s weights.
    fn weight_gradient(&self, i: usize, chosen: Range<usize>, width: usize, target: &mut [f32]) {
        let count = self.rows.div_ceil(BLOCK);
        match &self.form {
            Form::Single { blocks, .. } => single::weight_gradient(i, chosen, &blocks[..count], target),
            Form::Half { unit, blocks, .. } => {
                half::weight_gradient(*unit, i, chosen, &blocks[..count], width, target);
            }
        }
    }
}

/// The gradient of every weight and bias, from the deltas of all blocks.
fn gather_gradient(net: &Net, rows: &Rows<'_>, tape: &Tape, gradient: &mut Gradient) {
    let sparse = matches!(rows, Rows::Sparse { .. }).then(|| Columns::of(rows, tape));
    gradient.touch(sparse.as_ref().map(|columns| columns.touched.clone()));
    let mut tasks: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
    let mut left = &mut gradient.values[..];
    for (i, part) in net.parts.iter().enumerate() {
        let (weights, rest) = left.split_at_mut(part.inputs * part.outputs);
        let (bias, rest) = rest.split_at_mut(part.outputs);
        left = rest;
        tasks.push(Box::new(move || tape.bias_gradient(i, bias)));
        if let (0, Some(columns)) = (i, &sparse) {
            tasks.extend(columns.tasks(tape, part.outputs, weights));
            continue;
        }
        for (chunk, target) in weights.chunks_mut(CHUNK * part.outputs).enumerate() {
            let chosen = chunk * CHUNK..part.inputs.min((chunk + 1) * CHUNK);
            tasks.push(Box::new(move || tape.weight_gradient(i, chosen, part.outputs, target)));
        }
    }
    tasks.into_par_iter().for_each(|task| task());
}

#[cfg(test)]
mod tests;
