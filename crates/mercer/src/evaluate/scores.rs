//! What gives each pair of a query and a key its score.

use std::ops::Range;

use crate::encoder::DualEncoder;
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::Judged;
use crate::evaluate::memory::{ItemCost, STEP};
use crate::index::Tiles;
use crate::rows::{Features, Rows};
use crate::tower::Tower;

/// What gives each pair of a query and a key its score; only the order of a query's keys counts.
#[derive(Clone, Copy)]
pub enum Scores<'a> {
    /// A model: inner products in `f32`, embeddings made block by block. Links keep the order, so none is applied.
    Model {
        /// The model.
        model: &'a DualEncoder,
        /// Features of the query items.
        queries: &'a Features,
        /// Features of the keys; `None`: both sides are one set of items.
        keys: Option<&'a Features>,
    },
    /// Inner products of given embeddings.
    Embeddings {
        /// Row-major `(query items, dim)`.
        queries: &'a [f32],
        /// Row-major `(keys, dim)`.
        keys: &'a [f32],
        /// Number of coordinates.
        dim: usize,
    },
    /// One score a key, the same for every query: [`popularity`](crate::evaluate::popularity).
    Keys(&'a [f32]),
    /// Every key equally good: as all orders of equal scores count alike, this is the expectation of random scores.
    Equal,
}

/// Embeddings by index, in blocks.
pub(crate) struct Source<'a> {
    scores: Scores<'a>,
    pub(crate) dim: usize,
}

impl<'a> Scores<'a> {
    /// Refuses scores of other items than those that are judged.
    pub(crate) fn check(&self, judged: &Judged) -> Result<()> {
        let sizes = match *self {
            Scores::Model { queries, keys, .. } => [queries.len(), keys.unwrap_or(queries).len()],
            Scores::Embeddings { queries, keys, dim } => {
                if dim == 0 || !queries.len().is_multiple_of(dim) || !keys.len().is_multiple_of(dim) {
                    let got = format!("{} and {} numbers", queries.len(), keys.len());
                    return Err(Error::shape("embeddings", format!("rows of {dim} > 0 numbers"), got));
                }
                [queries.len() / dim, keys.len() / dim]
            }
            Scores::Keys(values) => {
                if let Some(row) = values.iter().position(|v| v.is_nan()) {
                    return Err(ErrorKind::NonFinite { what: "scores of keys".into(), row, column: 0 }.into());
                }
                [judged.query_items, values.len()]
            }
            Scores::Equal => return Ok(()),
        };
        if sizes == [judged.query_items, judged.keys] {
            return Ok(());
        }
        let words = |[queries, keys]: [usize; 2]| format!("{queries} query items and {keys} keys");
        Err(Error::shape("scores", words([judged.query_items, judged.keys]), words(sizes)))
    }

    /// The embeddings, where scores are inner products.
    pub(crate) fn source(self) -> Option<Source<'a>> {
        let dim = match self {
            Scores::Model { model, .. } => model.query().outputs(),
            Scores::Embeddings { dim, .. } => dim,
            Scores::Keys(_) | Scores::Equal => return None,
        };
        Some(Source { scores: self, dim })
    }
}

/// Bytes that a tower holds for a row beside its output: two layers.
fn hidden_bytes(tower: &Tower) -> u64 {
    8 * tower.layers().iter().map(|l| l.outputs() as u64).max().unwrap_or(0)
}

/// Mean bytes of a feature row.
fn row_bytes(features: &Features) -> u64 {
    match features.rows() {
        Rows::Dense { dim, .. } => 4 * dim as u64,
        Rows::Sparse { starts, columns, .. } => 8 + (8 * columns.len()).div_ceil(starts.len().max(2) - 1) as u64,
    }
}

impl Source<'_> {
    pub(crate) fn cost(&self) -> ItemCost {
        let embedding = 4 * self.dim as u64;
        match self.scores {
            Scores::Model { model, queries, .. } => ItemCost {
                embedding,
                making_query: hidden_bytes(model.query()) + row_bytes(queries),
                making_key: hidden_bytes(model.key()),
            },
            _ => ItemCost { embedding, making_query: 0, making_key: 0 },
        }
    }

    /// Embeddings of the queries named by `items`, row-major.
    pub(crate) fn queries(&self, items: &[u32]) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity(items.len() * self.dim);
        for items in items.chunks(STEP) {
            match self.scores {
                Scores::Model { model, queries, .. } => {
                    let indices: Vec<usize> = items.iter().map(|&i| i as usize).collect();
                    rows.extend(model.embed_queries(&queries.select(&indices).rows())?);
                }
                Scores::Embeddings { queries, dim, .. } => {
                    items.iter().for_each(|&i| rows.extend_from_slice(&queries[i as usize * dim..][..dim]));
                }
                Scores::Keys(_) | Scores::Equal => {}
            }
        }
        finite(&rows, self.dim, "query embeddings")?;
        Ok(rows)
    }

    /// Embeddings of a range of keys, in tiles, and the largest size of a number in them.
    pub(crate) fn keys(&self, range: Range<usize>) -> Result<(Tiles, f32)> {
        let mut tiles = Tiles::with_capacity(self.dim, range.len());
        let mut largest = 0.0_f32;
        for start in range.clone().step_by(STEP) {
            let part = start..(start + STEP).min(range.end);
            let made;
            let rows = match self.scores {
                Scores::Model { model, queries, keys } => {
                    made = model.embed_keys(&keys.unwrap_or(queries).slice(part))?;
                    made.as_slice()
                }
                Scores::Embeddings { keys, dim, .. } => &keys[part.start * dim..part.end * dim],
                Scores::Keys(_) | Scores::Equal => &[],
            };
            largest = largest.max(finite(rows, self.dim, "key embeddings")?);
            tiles.extend(rows);
        }
        Ok((tiles, largest))
    }
}

/// The largest size of a number; refuses NaN and infinities.
fn finite(rows: &[f32], dim: usize, what: &str) -> Result<f32> {
    match rows.iter().position(|v| !v.is_finite()) {
        None => Ok(largest(rows)),
        Some(at) => Err(ErrorKind::NonFinite { what: what.into(), row: at / dim, column: at % dim }.into()),
    }
}

/// The largest size of a number.
pub(crate) fn largest(rows: &[f32]) -> f32 {
    rows.iter().fold(0.0, |most, v| most.max(v.abs()))
}
