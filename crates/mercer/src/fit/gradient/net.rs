//! A tower in training: forward and backward passes over a tape that is allocated once.
//!
//! The batch is cut into blocks of 128 rows, whatever the number of threads. A block goes through all layers, forward and
//! back, while it is near the core; then each layer's weights gather their gradient over the blocks in order. So no sum
//! depends on who computes it.

mod half;

use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::gemm::half::{Tiles, Unit, pays};
use crate::gemm::{End, Out, PANEL, Panels, Start, multiply, multiply_transposed};
use crate::rows::Rows;
use crate::tower::{Activation, Layer, RowScaling, Tower};
use crate::wide::{add_scaled32, wide};

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
    /// Rows of the last forward pass, and of the largest one.
    rows: usize,
    batch: usize,
    form: Form,
    outputs: Vec<f32>,
}

/// Each layer's weights, their transposes (none for the first, whose inputs need no gradient), and the blocks of rows.
enum Form {
    Single { weights: Vec<Panels>, transposed: Vec<Panels>, blocks: Vec<Block> },
    Half { unit: Unit, weights: Vec<Tiles>, transposed: Vec<Tiles>, blocks: Vec<half::Block> },
}

/// What a block of rows leaves on the tape.
#[derive(Clone, Default)]
struct Block {
    /// Factor of each row; empty without row scaling.
    factors: Vec<f64>,
    /// The rows as the net takes them, unless they are sparse.
    input: Panels,
    /// Outputs of each layer but the last, whose are the tape's unless they need slopes.
    values: Vec<Panels>,
    /// Slopes of those activations that need them; else empty.
    slopes: Vec<Panels>,
    /// d loss / d (x W + b) of each layer, and its sums over the rows.
    deltas: Vec<Panels>,
    sums: Vec<Vec<f32>>,
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
                blocks: vec![Block::new(net); blocks],
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

    /// Rows of the last forward pass.
    pub(crate) fn rows(&self) -> usize {
        self.rows
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
    // Layer by layer: a layer's weights stay near the core while the blocks pass by.
    match &mut tape.form {
        Form::Single { weights, blocks, .. } => {
            let packs = weights.par_iter_mut().zip(&net.parts).skip(skip);
            packs.for_each(|(panels, part)| panels.pack(parameters(part), part.outputs));
            for layer in 0..net.parts.len() {
                let blocks = blocks[..count].par_iter_mut().zip(outputs.par_chunks_mut(width)).enumerate();
                blocks.for_each(|(i, (block, outputs))| block.forward(net, layer, weights, &own(i), outputs));
            }
        }
        Form::Half { unit, weights, blocks, .. } => {
            let packs = weights.par_iter_mut().zip(&net.parts).skip(skip);
            packs.for_each(|(tiles, part)| half::pack(tiles, parameters(part), part.outputs, false));
            // Half the bytes: all weights stay near the core, and so does a block.
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

impl Block {
    fn new(net: &Net) -> Self {
        let forms = vec![Panels::default(); net.parts.len()];
        let sums = net.parts.iter().map(|part| vec![0.0; part.outputs.next_multiple_of(PANEL)]).collect();
        Block { values: forms.clone(), slopes: forms.clone(), deltas: forms, sums, ..Block::default() }
    }

    /// Layer `i` of the block's `rows`.
    fn forward(&mut self, net: &Net, i: usize, weights: &[Panels], rows: &Rows<'_>, outputs: &mut [f32]) {
        if i == 0 {
            self.take(net, rows);
        }
        let part = &net.parts[i];
        let (before, own) = self.values.split_at_mut(i);
        let (value, slope) = (&mut own[0], &mut self.slopes[i]);
        let (keeps, last, bias) = (net.keeps_slopes(i), i + 1 == net.parts.len(), &net.parameters[part.bias()]);
        let relu = part.activation == Activation::Relu && !keeps;
        // The product goes where the activation starts from.
        let target = if keeps { &mut *slope } else { &mut *value };
        if let (0, Rows::Sparse { .. }) = (i, rows) {
            gather(rows, &self.factors, &net.parameters[part.weights()], bias, target);
            if relu {
                part.activation.apply32(target.data_mut());
            }
            if last && !keeps {
                target.unpack_with(outputs, |v| v);
            }
        } else {
            let input = if i == 0 { &self.input } else { &before[i - 1] };
            let end = if relu { End::Relu } else { End::Keep };
            let out = if last && !keeps { Out::Rows(&mut *outputs) } else { Out::Panels(target) };
            multiply(input, &weights[i], Start::Bias(bias), end, out);
        }
        if keeps {
            value.reshape(rows.len(), part.outputs);
            part.activation.value_and_slope32(slope.data_mut(), value.data_mut());
            if last {
                value.unpack_with(outputs, |v| v);
            }
        }
        if last && net.scale != 1.0 {
            outputs.iter_mut().for_each(|v| *v *= net.scale);
        }
    }

    /// Notes each row's factor and takes dense rows with it.
    fn take(&mut self, net: &Net, rows: &Rows<'_>) {
        self.factors = row_factors(net, rows);
        match *rows {
            Rows::Sparse { .. } => {}
            Rows::Dense { data, dim } if self.factors.is_empty() => self.input.pack(data, dim),
            Rows::Dense { data, dim } => {
                self.input.pack_with(data, dim, |row, v| (f64::from(v) * self.factors[row]) as f32);
            }
        }
    }

    /// `deltas` of the last layer from the slopes of the outputs.
    fn enter(&mut self, net: &Net, d_outputs: &[f32]) {
        let last = net.parts.len() - 1;
        let delta = &mut self.deltas[last];
        if net.scale == 1.0 {
            delta.pack(d_outputs, net.outputs());
        } else {
            delta.pack_with(d_outputs, net.outputs(), |_, v| net.scale * v);
        }
        if net.keeps_slopes(last) {
            delta.data_mut().iter_mut().zip(self.slopes[last].data()).for_each(|(d, slope)| *d *= slope);
        }
        self.sum(last);
    }

    /// `deltas` of the layer before layer `i` from those of layer `i`.
    fn backward(&mut self, net: &Net, i: usize, transposed: &Panels) {
        let (before, own) = self.deltas.split_at_mut(i);
        let end = match net.parts[i - 1].activation {
            Activation::Identity => End::Keep,
            Activation::Relu => End::Where(&self.values[i - 1]),
            _ => End::Times(&self.slopes[i - 1]),
        };
        multiply(&own[0], transposed, Start::Zero, end, Out::Panels(&mut before[i - 1]));
        self.sum(i - 1);
    }

    /// The sums of layer `i`'s deltas over the rows.
    fn sum(&mut self, i: usize) {
        let (sums, delta) = (&mut self.sums[i], &self.deltas[i]);
        for first in (0..delta.columns()).step_by(PANEL) {
            column_sums(delta.panel(first), &mut sums[first..first + delta.stride(first)]);
        }
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
            ends.for_each(|(block, d_outputs)| block.enter(net, d_outputs));
            for i in (1..net.parts.len()).rev() {
                blocks.par_iter_mut().for_each(|block| block.backward(net, i, &transposed[i]));
            }
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
            Form::Single { blocks, .. } => weight_gradient(i, chosen, &blocks[..count], target),
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

/// `target = sum over the blocks of (inputs of layer i, columns chosen)^T deltas`.
fn weight_gradient(i: usize, chosen: Range<usize>, blocks: &[Block], target: &mut [f32]) {
    if blocks.is_empty() {
        target.fill(0.0);
    }
    for (b, block) in blocks.iter().enumerate() {
        let input = if i == 0 { &block.input } else { &block.values[i - 1] };
        let start = if b == 0 { Start::Zero } else { Start::Sum };
        multiply_transposed(input, chosen.clone(), &block.deltas[i], start, target);
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
    fn of(rows: &Rows<'_>, tape: &Tape) -> Self {
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
            let factor = tape.factor(row);
            rows.for_each(row, |column, value| {
                entries[counts[column]] = (row as u32, (f64::from(value) * factor) as f32);
                counts[column] += 1;
            });
        }
        Columns { touched, starts, entries }
    }

    /// Tasks that write the touched rows of `weights`.
    fn tasks<'a>(&'a self, tape: &'a Tape, width: usize, weights: &'a mut [f32]) -> Vec<Box<dyn FnOnce() + Send + 'a>> {
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
                        let (delta, row) = (tape.first_delta(row as usize / BLOCK), row as usize % BLOCK);
                        for first in (0..width).step_by(PANEL) {
                            let (stride, own) = (delta.stride(first), PANEL.min(width - first));
                            let slopes = &delta.panel(first)[row * stride..][..own];
                            add_scaled32(&mut out[first..first + own], value, slopes);
                        }
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
