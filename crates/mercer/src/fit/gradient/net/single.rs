//! The passes of [`net`](crate::fit::gradient::net) in `f32`.

use std::ops::Range;

use crate::fit::gradient::net::{Net, gather, row_factors};
use crate::gemm::{End, Out, PANEL, Panels, Start, multiply, multiply_transposed};
use crate::rows::Rows;
use crate::tower::Activation;
use crate::wide::wide;

/// What a block of rows leaves on the tape.
#[derive(Clone, Default)]
pub(super) struct Block {
    /// Factor of each row; empty without row scaling.
    pub(super) factors: Vec<f64>,
    /// The rows as the net takes them, unless they are sparse.
    input: Panels,
    /// Outputs of each layer but the last, whose are the tape's unless they need slopes.
    values: Vec<Panels>,
    /// Slopes of those activations that need them; else empty.
    slopes: Vec<Panels>,
    /// d loss / d (x W + b) of each layer, and its sums over the rows.
    pub(super) deltas: Vec<Panels>,
    pub(super) sums: Vec<Vec<f32>>,
}

impl Block {
    pub(super) fn new(net: &Net) -> Self {
        let forms = vec![Panels::default(); net.parts.len()];
        let sums = net.parts.iter().map(|part| vec![0.0; part.outputs.next_multiple_of(PANEL)]).collect();
        Block { values: forms.clone(), slopes: forms.clone(), deltas: forms, sums, ..Block::default() }
    }

    /// Layer `i` of the block's `rows`.
    pub(super) fn forward(&mut self, net: &Net, i: usize, weights: &[Panels], rows: &Rows<'_>, outputs: &mut [f32]) {
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
    pub(super) fn enter(&mut self, net: &Net, d_outputs: &[f32]) {
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
    pub(super) fn backward(&mut self, net: &Net, i: usize, transposed: &Panels) {
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

/// `target = sum over the blocks of (inputs of layer i, columns chosen)^T deltas`.
pub(super) fn weight_gradient(i: usize, chosen: Range<usize>, blocks: &[Block], target: &mut [f32]) {
    if blocks.is_empty() {
        target.fill(0.0);
    }
    for (b, block) in blocks.iter().enumerate() {
        let input = if i == 0 { &block.input } else { &block.values[i - 1] };
        let start = if b == 0 { Start::Zero } else { Start::Sum };
        multiply_transposed(input, chosen.clone(), &block.deltas[i], start, target);
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
