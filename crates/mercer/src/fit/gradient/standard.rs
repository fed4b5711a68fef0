//! Features of unit scale for random towers, which Adam's steps of one size suit; folded into the first layer afterwards.

use std::borrow::Cow;

use crate::encoder::DualEncoder;
use crate::error::Result;
use crate::fit::gradient::data::Loaded;
use crate::rows::{Features, Rows};
use crate::tower::{Layer, Tower};

/// A dense table is rescaled where a column's mean or deviation is larger than this, or all deviations are below its inverse.
const FAR: f64 = 3.0;

/// Mean of each column and one over its deviation (0 for a constant one).
struct Standard {
    mean: Vec<f64>,
    factor: Vec<f64>,
}

/// The standards of both sides; one for both where they share a tower.
#[derive(Default)]
pub(crate) struct Standards {
    query: Option<Standard>,
    key: Option<Standard>,
}

impl Standards {
    /// Rescales the items of `data` where they need it.
    pub(crate) fn apply(data: &mut Loaded<'_>, shared: bool) -> Result<Standards> {
        let query = match (&data.keys, shared) {
            (Some(keys), true) => Standard::of(&[&data.queries, keys]),
            _ => Standard::of(&[&data.queries]),
        };
        let key = match &data.keys {
            Some(keys) if !shared => Standard::of(&[keys]),
            _ => None,
        };
        // One set of items has one standard; a shared tower's is the query's.
        let of_keys = if shared { &query } else { &key };
        if let (Some(standard), Some(keys)) = (of_keys, &mut data.keys) {
            *keys = Cow::Owned(standard.rescaled(keys)?);
        }
        if let Some(standard) = &query {
            data.queries = Cow::Owned(standard.rescaled(&data.queries)?);
        }
        Ok(Standards { query, key })
    }

    /// Whether anything was rescaled.
    pub(crate) fn any(&self) -> bool {
        self.query.is_some() || self.key.is_some()
    }

    /// The model of the items as they were, from that of the rescaled ones.
    pub(crate) fn undone(&self, model: &DualEncoder, one_set: bool) -> Result<DualEncoder> {
        let undo = |standard: &Option<Standard>, tower: &Tower| match standard {
            Some(standard) => standard.folded(tower),
            None => Ok(tower.clone()),
        };
        let of_keys = if one_set { &self.query } else { &self.key };
        let key = if model.is_shared() { None } else { Some(undo(of_keys, model.key())?) };
        Ok(DualEncoder::new(undo(&self.query, model.query())?, key, model.form().clone(), 1)?.with_link(model.link()))
    }
}

impl Standard {
    /// The standard of the rows of all `tables`; `None` if they are sparse or near unit scale already.
    fn of(tables: &[&Features]) -> Option<Standard> {
        let rows: Vec<&[f32]> = tables.iter().map(|table| dense(table)).collect::<Option<_>>()?;
        let dim = tables[0].dim();
        let n: f64 = tables.iter().map(|t| t.len() as f64).sum();
        let all = || rows.iter().flat_map(|data| data.chunks_exact(dim));
        let mut mean = vec![0.0; dim];
        all().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n));
        let mut square = vec![0.0; dim];
        for row in all() {
            for ((s, m), v) in square.iter_mut().zip(&mean).zip(row) {
                *s += (f64::from(*v) - m).powi(2) / n;
            }
        }
        let deviation: Vec<f64> = square.iter().map(|s| s.sqrt()).collect();
        let large = mean.iter().chain(&deviation).any(|v| v.abs() > FAR);
        let tiny = deviation.iter().all(|d| *d < 1.0 / FAR);
        let varies = deviation.iter().any(|d| *d > 0.0);
        // Below the rounding of the column's numbers a deviation is none.
        let factor = |(d, m): (&f64, &f64)| if *d > 1e-6 * m.abs() && *d > 0.0 { 1.0 / d } else { 0.0 };
        let factor = deviation.iter().zip(&mean).map(factor).collect();
        ((large || tiny) && varies).then_some(Standard { mean, factor })
    }

    fn rescaled(&self, items: &Features) -> Result<Features> {
        let data = dense(items).unwrap_or_default();
        let own = |(i, v): (usize, &f32)| {
            let column = i % self.mean.len();
            ((f64::from(*v) - self.mean[column]) * self.factor[column]) as f32
        };
        Features::dense(data.iter().enumerate().map(own).collect(), items.dim())
    }

    /// The tower that reads items as they were.
    fn folded(&self, tower: &Tower) -> Result<Tower> {
        let (first, after) = (&tower.layers()[0], &tower.layers()[1..]);
        let outputs = first.outputs();
        let mut bias: Vec<f64> = first.bias().iter().map(|b| f64::from(*b)).collect();
        let mut weights = Vec::with_capacity(first.weights().len());
        for (row, (mean, factor)) in first.weights().chunks_exact(outputs).zip(self.mean.iter().zip(&self.factor)) {
            let scaled: Vec<f32> = row.iter().map(|w| (f64::from(*w) * factor) as f32).collect();
            // With the weights as they are stored, so that their rounding moves no mean.
            bias.iter_mut().zip(&scaled).for_each(|(b, w)| *b -= mean * f64::from(*w));
            weights.extend(scaled);
        }
        let bias = bias.into_iter().map(|b| b as f32).collect();
        let layer = Layer::new(weights, bias, first.activation())?;
        Tower::new([&[layer], after].concat())?.with_scaling(tower.scaling()).with_scale(tower.scale())
    }
}

fn dense(items: &Features) -> Option<&[f32]> {
    match items.rows() {
        Rows::Dense { data, .. } => Some(data),
        Rows::Sparse { .. } => None,
    }
}
