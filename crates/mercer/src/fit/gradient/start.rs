//! Where training starts: a given model, or random towers that suit the data.

use serde::{Deserialize, Serialize};

use crate::encoder::{Class, DualEncoder, Form};
use crate::error::{Error, Result};
use crate::fit::gradient::data::Loaded;
use crate::fit::gradient::loss::Loss;
use crate::linalg::Matrix;
use crate::rows::Features;
use crate::seed::Seed;
use crate::tower::{Activation, Layer, Tower};

/// Random towers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Shape {
    /// Model class; a shared tower serves the first two.
    pub class: Class,
    /// Embedding dimension.
    pub dim: usize,
    /// Outputs of each hidden layer, first to last; empty for a linear tower, such as an id table.
    pub hidden: Vec<usize>,
    /// Activation of the hidden layers.
    pub activation: Activation,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { class: Class::Asymmetric, dim: 32, hidden: vec![128, 128], activation: Activation::Relu }
    }
}

/// Where training starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// From this model, such as a closed-form fit: no collapse, and both towers in one gauge.
    Model(DualEncoder),
    /// From random towers.
    Random(Shape),
}

/// The model at the start and the first scale of its scores.
pub(crate) struct Started {
    pub(crate) encoder: DualEncoder,
    pub(crate) scale: f64,
}

impl Start {
    /// The model to start from, checked against the items.
    pub(crate) fn begin(&self, data: &Loaded<'_>, loss: &Loss, seed: Seed) -> Result<Started> {
        match self {
            Start::Model(encoder) => {
                given(encoder, data)?;
                Ok(Started { encoder: encoder.clone(), scale: 1.0 })
            }
            Start::Random(shape) => shape.random(data, loss, seed),
        }
    }
}

fn given(encoder: &DualEncoder, data: &Loaded<'_>) -> Result<()> {
    if encoder.components() != 1 {
        return Err(Error::parameter("components of the model to start from", "1", encoder.components()));
    }
    for (name, tower, items) in [("query", encoder.query(), &*data.queries), ("key", encoder.key(), data.key_items())] {
        if tower.inputs() != items.dim() {
            let got = format!("{} feature columns", items.dim());
            return Err(Error::shape(
                format!("{name} items"),
                format!("{} columns, which the model reads", tower.inputs()),
                got,
            ));
        }
    }
    Ok(())
}

impl Shape {
    fn check(&self, data: &Loaded<'_>) -> Result<()> {
        const MOST: usize = 1 << 16;
        let widths = self.hidden.iter().map(|w| ("hidden units", *w)).chain([("dimension", self.dim)]);
        for (name, width) in widths {
            if !(1..=MOST).contains(&width) {
                return Err(Error::parameter(name, format!("from 1 to {MOST}"), width));
            }
        }
        if self.hidden.len() > 16 {
            return Err(Error::parameter("hidden layers", "at most 16", self.hidden.len()));
        }
        if self.class != Class::Asymmetric && data.queries.dim() != data.key_items().dim() {
            let got = format!("{} and {} feature columns", data.queries.dim(), data.key_items().dim());
            return Err(Error::shape("items of a shared tower", "one number of feature columns", got));
        }
        Ok(())
    }

    /// Random towers whose scores have about unit variance around the values' mean, and the scale that gives them the values'.
    fn random(&self, data: &Loaded<'_>, loss: &Loss, seed: Seed) -> Result<Started> {
        self.check(data)?;
        let signs: Vec<f32> = (0..self.dim).map(|j| if j % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let (mean, scale) = level(data, loss);
        let size = (mean.abs() / scale).sqrt() as f32;
        let shared = self.class != Class::Asymmetric;
        // The coordinate that holds the mean; a shared tower without signs has none for a negative one.
        let column = match (self.class, mean < 0.0) {
            (Class::Symmetric, true) => None,
            (Class::Signed, true) if self.dim > 1 => Some((1, size)),
            (Class::Signed, true) => None,
            _ => Some((0, size)),
        };
        let query = self.tower(&data.queries, column, "query tower", seed)?;
        let key = column.map(|(j, size)| (j, if mean < 0.0 { -size } else { size }));
        let key = if shared { None } else { Some(self.tower(data.key_items(), key, "key tower", seed)?) };
        let form = if self.class == Class::Signed { Form::Signs(signs) } else { Form::Identity };
        Ok(Started { encoder: DualEncoder::new(query, key, form, 1)?, scale })
    }

    /// Hidden layers by He et al. (2015) for units that are half off, by the inputs' size for the others; embeddings have
    /// coordinates of variance `dim^-1/2`, so that a product of two has variance 1.
    fn tower(&self, items: &Features, level: Option<(usize, f32)>, name: &str, seed: Seed) -> Result<Tower> {
        let mut stream = seed.stream(name);
        let mut square = mean_square(items);
        let mut inputs = items.dim();
        let mut layers = Vec::with_capacity(self.hidden.len() + 1);
        let gain = match self.activation {
            Activation::Relu | Activation::Gelu => 2.0,
            _ => 1.0,
        };
        for (i, &outputs) in self.hidden.iter().enumerate() {
            let size = (gain / square).sqrt();
            let weights = (0..inputs * outputs).map(|_| (size * stream.normal()) as f32).collect();
            // Offsets as large as the inputs' part put the units' kinks and phases all over the data.
            let spread = if i == 0 { gain.sqrt() } else { 0.1 };
            let bias = (0..outputs).map(|_| (spread * (2.0 * stream.uniform() - 1.0)) as f32).collect();
            layers.push(Layer::new(weights, bias, self.activation)?);
            (inputs, square) = (outputs, outputs as f64);
        }
        let size = (1.0 / square).sqrt() / (self.dim as f64).powf(0.25);
        let mut weights: Vec<f32> = (0..inputs * self.dim).map(|_| (size * stream.normal()) as f32).collect();
        let mut bias = vec![0.0; self.dim];
        if let Some((column, level)) = level.filter(|l| l.1 != 0.0) {
            bias[column] = level;
            weights.iter_mut().skip(column).step_by(self.dim).for_each(|w| *w *= 0.1);
        }
        layers.push(Layer::new(weights, bias, Activation::Identity)?);
        Tower::new(layers)
    }
}

/// Mean square of the rows, which the first layer's size is chosen by; 1 for rows of zeros.
fn mean_square(items: &Features) -> f64 {
    let rows = items.rows();
    let sampled = (0..rows.len()).step_by((rows.len() / 4096).max(1));
    let (sum, count) = sampled.fold((0.0, 0.0), |(sum, count), i| (sum + rows.squared_norm(i), count + 1.0));
    if sum > 0.0 { sum / count } else { 1.0 }
}

/// Mean of the scores that the training values ask for, and their spread.
fn level(data: &Loaded<'_>, loss: &Loss) -> (f64, f64) {
    let set = &data.train;
    let weight = |p: usize| set.weight.as_ref().map_or(1.0, |w| f64::from(w[p]));
    let total: f64 = (0..set.value.len()).map(weight).sum();
    let mean = |f: &dyn Fn(f64) -> f64| {
        set.value.iter().enumerate().map(|(p, v)| weight(p) * f(f64::from(*v))).sum::<f64>() / total
    };
    match loss {
        Loss::Squared | Loss::Huber { .. } => {
            let centre = mean(&|v| v);
            let spread = mean(&|v| (v - centre) * (v - centre)).sqrt();
            (centre, if spread > 0.0 { spread } else { centre.abs().max(1.0) })
        }
        Loss::Logistic => {
            let share = mean(&|v| v).clamp(1e-4, 1.0 - 1e-4);
            ((share / (1.0 - share)).ln(), 1.0)
        }
        _ => (0.0, 1.0),
    }
}

/// The tower with outputs `outputs A`, for a square `A`; the last layer must be linear.
pub(crate) fn with_outputs_times(tower: &Tower, a: &Matrix) -> Result<Tower> {
    let (before, last) = tower.layers().split_at(tower.layers().len() - 1);
    let dim = last[0].outputs();
    let times = |row: &[f32]| -> Vec<f32> {
        (0..dim).map(|j| (0..dim).map(|i| f64::from(row[i]) * a[(i, j)]).sum::<f64>() as f32).collect()
    };
    let weights = last[0].weights().chunks_exact(dim).flat_map(times).collect();
    let layer = Layer::new(weights, times(last[0].bias()), last[0].activation())?;
    Tower::new([before, &[layer]].concat())?.with_scaling(tower.scaling()).with_scale(tower.scale())
}
