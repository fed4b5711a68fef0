//! Towers: multi-layer perceptrons that map feature rows to embeddings.

mod activation;

pub use activation::Activation;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::affine::affine_rows;
use crate::error::{Error, ErrorKind, Result};
use crate::rows::Rows;
use crate::wide::add_scaled32;

/// What is done to each input row before the first layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowScaling {
    /// Nothing.
    #[default]
    None,
    /// `x / |x|_2`; a zero row stays zero.
    UnitNorm,
}

impl RowScaling {
    /// The factor of a row with squared norm `squared_norm`.
    pub(crate) fn factor(self, squared_norm: f64) -> f64 {
        match self {
            RowScaling::None => 1.0,
            RowScaling::UnitNorm if squared_norm > 0.0 => squared_norm.sqrt().recip(),
            RowScaling::UnitNorm => 0.0,
        }
    }
}

/// One layer: `activation(x W + b)`.
///
/// Shapes: `W` is `(inputs, outputs)`, row-major; `b` is `(outputs,)`; both `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) activation: Activation,
}

impl Layer {
    /// A layer from its row-major weights `(inputs, outputs)`, its bias `(outputs,)` and its activation.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if the weights are not whole rows of `bias.len()`, [`ErrorKind::NonFinite`] at a NaN or
    /// infinite weight (row = input, column = output) or bias (row = number of inputs).
    pub fn new(weights: Vec<f32>, bias: Vec<f32>, activation: Activation) -> Result<Self> {
        let outputs = bias.len();
        if outputs == 0 || weights.is_empty() || !weights.len().is_multiple_of(outputs) {
            let got = format!("{} weights and {outputs} biases", weights.len());
            return Err(Error::shape("layer", "weights of shape (inputs, outputs) and one bias an output", got));
        }
        if let Some(at) = weights.iter().chain(&bias).position(|v| !v.is_finite()) {
            let (row, column) = (at / outputs, at % outputs);
            return Err(ErrorKind::NonFinite { what: "layer weights".into(), row, column }.into());
        }
        Ok(Layer { weights, bias, activation })
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.weights.len() / self.bias.len()
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Weights, row-major `(inputs, outputs)`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Bias, `(outputs,)`.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The activation.
    pub fn activation(&self) -> Activation {
        self.activation
    }
}

/// A multi-layer perceptron of any depth, in `f32`.
///
/// `tower(x) = scale * layer_n(... layer_1(scaling(x)))`; dense and sparse rows use the same first layer.
///
/// ```
/// use mercer::{Activation, Features, Layer, Tower};
/// let layer = Layer::new(vec![1.0, -1.0], vec![0.0, 0.5], Activation::Relu)?;
/// let tower = Tower::new(vec![layer])?;
/// let out = tower.forward(&Features::dense(vec![2.0, -3.0], 1)?.rows())?;
/// assert_eq!(out, [2.0, 0.0, 0.0, 3.5]);
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tower {
    scaling: RowScaling,
    layers: Vec<Layer>,
    scale: f32,
}

/// Rows that one task sends through all layers, a multiple of the product's tiles of 6 and 12; their activations
/// stay close to the core.
const BLOCK: usize = 60;

impl Tower {
    /// A tower from its layers.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if there is no layer or two neighbours do not fit.
    pub fn new(layers: Vec<Layer>) -> Result<Self> {
        if layers.is_empty() {
            return Err(Error::shape("tower", "at least one layer", "none"));
        }
        for (i, pair) in layers.windows(2).enumerate() {
            if pair[0].outputs() != pair[1].inputs() {
                let expected = format!("layer {} with {} inputs", i + 1, pair[0].outputs());
                return Err(Error::shape("tower", expected, pair[1].inputs()));
            }
        }
        Ok(Tower { scaling: RowScaling::None, layers, scale: 1.0 })
    }

    /// The same tower with another scaling of its input rows.
    pub fn with_scaling(mut self, scaling: RowScaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// What is done to each row before the first layer.
    pub fn scaling(&self) -> RowScaling {
        self.scaling
    }

    /// The same tower with its outputs multiplied by `scale`.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] unless `scale` is positive and finite.
    pub fn with_scale(mut self, scale: f32) -> Result<Self> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::parameter("scale of a tower's outputs", "a positive finite number", scale));
        }
        self.scale = scale;
        Ok(self)
    }

    /// What the outputs are multiplied by, 1 unless set.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The tower with only the outputs named by `kept`, in that order.
    pub(crate) fn with_outputs(mut self, kept: &[usize]) -> Self {
        if let Some(last) = self.layers.last_mut() {
            let rows = last.weights.chunks_exact(last.bias.len());
            last.weights = rows.flat_map(|row| kept.iter().map(|&j| row[j])).collect();
            last.bias = kept.iter().map(|&j| last.bias[j]).collect();
        }
        self
    }

    /// Number of feature columns that the tower reads.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs()
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs()
    }

    /// Number of weights and biases.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|l| l.weights.len() + l.bias.len()).sum()
    }

    /// Embeddings of `rows`: row-major `(rows.len(), outputs)`, `f32`.
    ///
    /// Cost: about `2 * parameters` operations a dense row; blocks of rows run in parallel and give the same bits for
    /// any number of threads.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if the rows have another number of columns than [`Tower::inputs`].
    pub fn forward(&self, rows: &Rows<'_>) -> Result<Vec<f32>> {
        let mut out = vec![0.0; rows.len() * self.outputs()];
        self.forward_into(rows, &mut out)?;
        Ok(out)
    }

    /// As [`Tower::forward`], into a slice of `rows.len() * outputs` numbers.
    ///
    /// # Errors
    /// As [`Tower::forward`], and if `out` has another length.
    pub fn forward_into(&self, rows: &Rows<'_>, out: &mut [f32]) -> Result<()> {
        if rows.dim() != self.inputs() {
            return Err(Error::shape("tower input", format!("{} feature columns", self.inputs()), rows.dim()));
        }
        if out.len() != rows.len() * self.outputs() {
            return Err(Error::shape("tower output", format!("{} numbers", rows.len() * self.outputs()), out.len()));
        }
        let width = self.layers.iter().map(Layer::outputs).max().unwrap_or(0);
        let block = |first: usize, out: &mut [f32], buffers: &mut [Vec<f32>; 2]| {
            let count = out.len() / self.outputs();
            self.forward_block(rows.slice(first..first + count), out, buffers);
        };
        let buffers = || [vec![0.0; BLOCK * width], vec![0.0; BLOCK * width]];
        if rows.len() <= BLOCK {
            block(0, out, &mut buffers());
        } else {
            out.par_chunks_mut(BLOCK * self.outputs())
                .enumerate()
                .for_each_init(buffers, |buffers, (i, out)| block(i * BLOCK, out, buffers));
        }
        Ok(())
    }

    fn forward_block(&self, rows: Rows<'_>, out: &mut [f32], buffers: &mut [Vec<f32>; 2]) {
        let count = rows.len();
        let [current, next] = buffers;
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            let target = if last { &mut *out } else { &mut next[..count * layer.outputs()] };
            let input = match (i, rows, self.scaling) {
                (0, Rows::Dense { data, .. }, RowScaling::None) => data,
                (0, ..) => {
                    self.first_layer(rows, layer, target);
                    layer.activation.apply32(target);
                    std::mem::swap(current, next);
                    continue;
                }
                _ => &current[..count * layer.inputs()],
            };
            // ReLU costs nothing where the product is stored.
            let floor = if layer.activation == Activation::Relu { 0.0 } else { f32::NEG_INFINITY };
            affine_rows(input, &layer.weights, &layer.bias, floor, target);
            if layer.activation != Activation::Relu {
                layer.activation.apply32(target);
            }
            std::mem::swap(current, next);
        }
        if self.scale != 1.0 {
            out.iter_mut().for_each(|v| *v *= self.scale);
        }
    }

    /// `scaling(x) W + b` into `target`.
    fn first_layer(&self, rows: Rows<'_>, layer: &Layer, target: &mut [f32]) {
        let outputs = layer.outputs();
        for (row, out) in target.chunks_exact_mut(outputs).enumerate() {
            out.copy_from_slice(&layer.bias);
            let factor = match self.scaling {
                RowScaling::None => 1.0,
                scaling => scaling.factor(rows.squared_norm(row)),
            };
            rows.for_each(row, |column, value| {
                let weights = &layer.weights[column * outputs..(column + 1) * outputs];
                add_scaled32(out, (f64::from(value) * factor) as f32, weights);
            });
        }
    }
}
