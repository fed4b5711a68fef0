//! The workloads of `make bench-train`: one training step of two towers on data made beforehand.

use crate::error::Result;
use crate::fit::gradient::adam::{Adam, Settings};
use crate::fit::gradient::loss::edges::Edges;
use crate::fit::gradient::loss::pairwise::Pointwise;
use crate::fit::gradient::loss::{Embeddings, Slopes};
use crate::fit::gradient::net::{Gradient, Net, Precision, Tape, backward, forward};
use crate::fit::gradient::softmax::{Softmax, SoftmaxBatch};
use crate::parallel::both;
use crate::rows::Features;
use crate::seed::Seed;
use crate::tower::{Activation, Layer, Tower};

/// Which loss a step has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Mean of `(<phi(x), psi(y)> - r)^2`.
    Squared,
    /// Softmax of each query over the keys of its batch.
    InBatchSoftmax,
}

/// One side: its net and all that a step needs.
struct Side {
    net: Net,
    rows: Features,
    tape: Tape,
    gradient: Gradient,
    adam: Adam,
}

impl Side {
    fn new(name: &str, batch: usize, widths: &[usize], precision: Precision) -> Result<Self> {
        let mut stream = Seed(1).stream(name);
        let mut layers = Vec::new();
        for (i, pair) in widths.windows(2).enumerate() {
            let size = (2.0 / pair[0] as f64).sqrt();
            let weights = (0..pair[0] * pair[1]).map(|_| (size * stream.normal()) as f32).collect();
            let activation = if i + 2 == widths.len() { Activation::Identity } else { Activation::Relu };
            layers.push(Layer::new(weights, vec![0.0; pair[1]], activation)?);
        }
        let net = Net::of(&Tower::new(layers)?);
        let rows = Features::dense((0..batch * widths[0]).map(|_| stream.normal() as f32).collect(), widths[0])?;
        let (tape, gradient) = (Tape::with_precision(&net, batch, precision), Gradient::new(&net));
        let adam = Adam::new(&net, Settings::default())?;
        Ok(Side { net, rows, tape, gradient, adam })
    }

    fn forward(&mut self) -> Result<()> {
        forward(&self.net, &self.rows.rows(), &mut self.tape)
    }

    fn learn(&mut self, slopes: &[f32]) -> Result<()> {
        backward(&self.net, &self.rows.rows(), &mut self.tape, slopes, &mut self.gradient)?;
        self.adam.step(&mut self.net, &self.gradient, 1e-3, 1.0);
        Ok(())
    }
}

/// Two towers, a batch and a loss.
pub struct Workload {
    sides: [Side; 2],
    targets: Vec<f32>,
    positive: Vec<u32>,
    slopes: Slopes,
    softmax: Softmax,
    loss: Loss,
}

impl Workload {
    /// Towers of layers of these `widths`, ReLU between them, on a batch of normal rows.
    ///
    /// # Errors
    /// If the widths make no tower.
    pub fn new(batch: usize, widths: &[usize], loss: Loss, precision: Precision) -> Result<Self> {
        let sides = [Side::new("x", batch, widths, precision)?, Side::new("y", batch, widths, precision)?];
        let mut stream = Seed(1).stream("targets");
        let targets = (0..batch).map(|_| stream.normal() as f32).collect();
        let (positive, slopes, softmax) = ((0..batch as u32).collect(), Slopes::default(), Softmax::default());
        Ok(Workload { sides, targets, positive, slopes, softmax, loss })
    }

    /// One step: forward, loss, backward, Adam. Returns the loss.
    ///
    /// # Errors
    /// None for a workload that was made.
    pub fn step(&mut self) -> Result<f64> {
        let [query, key] = &mut self.sides;
        let (a, b) = both(|| query.forward(), || key.forward());
        a.and(b)?;
        let (queries, keys, dim) = (query.tape.outputs(), key.tape.outputs(), query.net.outputs());
        let (positive, slopes) = (&self.positive, &mut self.slopes);
        let at = Embeddings { queries, keys, dim, scale: 1.0 };
        slopes.fit(at);
        let loss = match self.loss {
            Loss::Squared => {
                Pointwise::Squared.loss(at, Edges { x: positive, y: positive }, &self.targets, None, slopes)
            }
            Loss::InBatchSoftmax => {
                let batch =
                    SoftmaxBatch { queries, keys, dim, positive, offset: None, masked: None, weight: None, scale: 1.0 };
                self.softmax.run(&batch, &mut slopes.queries, &mut slopes.keys)?.loss
            }
        };
        let (a, b) = both(|| query.learn(&slopes.queries), || key.learn(&slopes.keys));
        a.and(b)?;
        Ok(loss)
    }
}

/// What the calling thread reaches in registers, in units of 1e9 operations a second, in the unit that serves `precision`.
pub fn peak(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => crate::gemm::peak::single(),
        Precision::Bf16 => crate::gemm::peak::half(),
    }
}
