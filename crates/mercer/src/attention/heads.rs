//! Attention of several heads over embedded items, with values or with relations as messages.
//!
//! A head is a component of a model: its inner products are the scores. Its output for a query `x` is
//! `sum_y weight(x, y) message(x, y)`, where messages are the keys' embeddings, given vectors, or the relational ones of
//! Altabaa and Lafferty ("relational cross-attention"): `r(x, y) W_r + s_y W_s`, what is related to what in terms of the
//! relations alone, and a symbol that says which key it was.

use crate::attention::AttentionMap;
use crate::encoder::{DualEncoder, Link};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::multiply_rows;
use crate::parallel::row_blocks;
use crate::rows::Rows;

/// Queries of one block of scores.
const QUERIES: usize = 64;
/// Scores of one block, if it has more than a row.
const SCORES: usize = 1 << 21;

/// Embeddings of queries `(n, heads * dim)` and keys `(m, heads * dim)`: the scores of head `h` are the inner products of their
/// parts `h`.
///
/// ```
/// use mercer::attention::{Map, heads::{Heads, Messages}};
/// // Two heads of dimension 1: the first looks for large keys, the second for small ones.
/// let heads = Heads::new(vec![1.0, -1.0], vec![0.0, 0.0, 5.0, 5.0, 2.0, 2.0], 2, 1)?;
/// let names = [10.0, 20.0, 30.0];
/// let out = heads.attend(&Map::Sparsemax, &[1.0], &Messages::Values { data: &names, width: 1 })?;
/// assert_eq!(out, [20.0, 10.0]);
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Heads {
    queries: Vec<f32>,
    keys: Vec<f32>,
    heads: usize,
    dim: usize,
}

/// What a head sums, weighted.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Messages<'a> {
    /// Each head's own part of the keys.
    Keys,
    /// A vector a key, the same for all heads: row-major `(m, width)`.
    Values {
        /// The vectors.
        data: &'a [f32],
        /// Numbers in each.
        width: usize,
    },
    /// `r(x, y) W_r + s_y W_s`.
    Relational(Relational<'a>),
}

/// Relational messages.
#[derive(Clone, Copy, Debug)]
pub struct Relational<'a> {
    /// `r`: its components are the relations, `L` of them.
    pub relations: Relations<'a>,
    /// `W_r`, `(heads, L, width)`.
    pub relation_weights: &'a [f32],
    /// `s_y`, `(m, symbol_dim)`: a vector a key that does not depend on its features, such as one for its place; may be empty.
    pub symbols: &'a [f32],
    /// Numbers in a symbol; 0 for none.
    pub symbol_dim: usize,
    /// `W_s`, `(heads, symbol_dim, width)`.
    pub symbol_weights: &'a [f32],
    /// Numbers in an output of a head.
    pub width: usize,
}

/// Relations between the queries and the keys of a [`Heads`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Relations<'a> {
    /// Inner products of embeddings, through a link: component `l` of a model is relation `l`.
    Embedded {
        /// Embeddings of the same queries and keys.
        heads: &'a Heads,
        /// From inner product to value.
        link: Link,
    },
    /// A number for each pair and relation, row-major `(n, L, m)`.
    Given {
        /// The numbers.
        data: &'a [f32],
        /// `L`.
        components: usize,
    },
}

impl Heads {
    /// From row-major embeddings.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] unless both are rows of `heads * dim > 0` numbers and there is a key; [`ErrorKind::NonFinite`].
    pub fn new(queries: Vec<f32>, keys: Vec<f32>, heads: usize, dim: usize) -> Result<Heads> {
        let width = heads * dim;
        for (what, data) in [("queries of attention", &queries), ("keys of attention", &keys)] {
            if width == 0 || !data.len().is_multiple_of(width) || (what.starts_with("keys") && data.is_empty()) {
                let expected = format!("rows of {heads} heads x {dim} numbers, and a key");
                return Err(Error::shape(what, expected, data.len()));
            }
            finite(what, data, width)?;
        }
        Ok(Heads { queries, keys, heads, dim })
    }

    /// Embeds items by a model: its components are the heads.
    ///
    /// # Errors
    /// As [`DualEncoder::embed_queries`], and as [`Heads::new`].
    pub fn embed(encoder: &DualEncoder, x: &Rows<'_>, y: &Rows<'_>) -> Result<Heads> {
        Heads::new(encoder.embed_queries(x)?, encoder.embed_keys(y)?, encoder.components(), encoder.dim())
    }

    /// Number of queries `n`.
    pub fn queries(&self) -> usize {
        self.queries.len() / (self.heads * self.dim)
    }

    /// Number of keys `m`.
    pub fn keys(&self) -> usize {
        self.keys.len() / (self.heads * self.dim)
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Outputs of all heads one after another: row-major `(n, heads * width)`, where `width` is that of a message.
    ///
    /// `beta` are inverse temperatures, one for all heads or one each.
    ///
    /// Cost: `2 n m heads (dim + width)` operations, or `2 n m (heads (dim + L + symbol_dim) + L dim_r)` for relational messages;
    /// memory: scores of 64 queries a thread, of fewer where there are more than 32768 keys. The same bits for any number of threads.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if parts do not fit together, [`ErrorKind::Parameter`] for a `beta` that is negative or not finite,
    /// [`ErrorKind::NonFinite`] for values that are not finite.
    ///
    /// Source of relational messages: Altabaa and Lafferty, *Disentangling and integrating relational and sensory information in
    /// transformer architectures* (2024).
    pub fn attend(&self, map: &dyn AttentionMap, beta: &[f64], messages: &Messages<'_>) -> Result<Vec<f32>> {
        if beta.len() != 1 && beta.len() != self.heads {
            return Err(Error::shape("inverse temperatures", format!("1 or {}, one a head", self.heads), beta.len()));
        }
        beta.iter().try_for_each(|beta| crate::attention::check_beta(*beta))?;
        let plan = Plan::new(self, messages)?;
        let (m, width) = (self.keys(), plan.width);
        let transposed = self.transposed();
        let mut out = vec![0.0; self.queries() * self.heads * width];
        let block = (SCORES / m).clamp(1, QUERIES);
        row_blocks(&mut out, self.heads * width, block, |first, out| {
            let n = out.len() / (self.heads * width);
            let relations = plan.relations(first, n);
            let (mut scores, mut weights) = (vec![0.0; n * m], vec![0.0; n * m]);
            for h in 0..self.heads {
                self.scores(&transposed, h, first, &mut scores);
                map.weights(&scores, m, beta[h.min(beta.len() - 1)], &mut weights);
                let result = plan.messages(h, &weights, &relations);
                for (row, result) in out.chunks_exact_mut(self.heads * width).zip(result.chunks_exact(width)) {
                    row[h * width..(h + 1) * width].copy_from_slice(result);
                }
            }
        });
        Ok(out)
    }

    /// Keys as the right side of products: each head's part, `(heads, dim, m)`.
    fn transposed(&self) -> Vec<f32> {
        let (m, width) = (self.keys(), self.heads * self.dim);
        let mut out = vec![0.0; self.keys.len()];
        row_blocks(&mut out, m, 1, |column, out| {
            out.iter_mut().enumerate().for_each(|(key, o)| *o = self.keys[key * width + column]);
        });
        out
    }

    /// Inner products of the queries from `first` on with all keys under head `h`: `(n, m)`, as many rows as `out` has.
    fn scores(&self, transposed: &[f32], h: usize, first: usize, out: &mut [f32]) {
        let (m, width) = (self.keys(), self.heads * self.dim);
        let rows = self.queries[first * width..].chunks_exact(width).take(out.len() / m);
        let own: Vec<f32> = rows.flat_map(|row| &row[h * self.dim..(h + 1) * self.dim]).copied().collect();
        out.fill(0.0);
        multiply_rows(&own, &transposed[h * self.dim * m..(h + 1) * self.dim * m], self.dim, out);
    }
}

fn finite(what: &str, data: &[f32], width: usize) -> Result<()> {
    let Some(at) = data.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    Err(ErrorKind::NonFinite { what: what.into(), row: at / width.max(1), column: at % width.max(1) }.into())
}

fn fits(what: &str, data: &[f32], rows: usize, width: usize) -> Result<()> {
    if data.len() != rows * width {
        return Err(Error::shape(what, format!("{rows} x {width} numbers"), data.len()));
    }
    finite(what, data, width)
}

/// Messages whose shapes fit.
struct Plan<'a> {
    own: &'a Heads,
    messages: Messages<'a>,
    width: usize,
    /// Transposed keys of embedded relations.
    transposed: Vec<f32>,
}

impl<'a> Plan<'a> {
    fn new(own: &'a Heads, messages: &Messages<'a>) -> Result<Plan<'a>> {
        let mut plan = Plan { own, messages: *messages, width: own.dim, transposed: Vec::new() };
        match messages {
            Messages::Keys => {}
            Messages::Values { data, width } => {
                plan.width = *width;
                fits("values of attention", data, own.keys(), *width)?;
            }
            Messages::Relational(parts) => {
                plan.width = parts.width;
                fits("symbols", parts.symbols, own.keys(), parts.symbol_dim)?;
                let components = match parts.relations {
                    Relations::Embedded { heads, .. } => {
                        let (expected, got) = ((own.queries(), own.keys()), (heads.queries(), heads.keys()));
                        if expected != got {
                            return Err(Error::shape(
                                "relations",
                                format!("{expected:?} queries and keys"),
                                format!("{got:?}"),
                            ));
                        }
                        plan.transposed = heads.transposed();
                        heads.heads
                    }
                    Relations::Given { data, components } => {
                        fits("relations", data, own.queries(), components * own.keys())?;
                        components
                    }
                };
                fits("weights of relations", parts.relation_weights, own.heads * components, parts.width)?;
                fits("weights of symbols", parts.symbol_weights, own.heads * parts.symbol_dim, parts.width)?;
            }
        }
        if plan.width == 0 {
            return Err(Error::parameter("width of messages", "at least 1", 0));
        }
        Ok(plan)
    }

    /// Relations of `n` queries from `first` on, one component after another: `(L, n, m)`; empty where messages have none.
    fn relations(&self, first: usize, n: usize) -> Vec<f32> {
        let Messages::Relational(parts) = &self.messages else { return Vec::new() };
        let m = self.own.keys();
        match parts.relations {
            Relations::Embedded { heads, link } => {
                let mut out = vec![0.0; heads.heads * n * m];
                for (l, out) in out.chunks_exact_mut(n * m).enumerate() {
                    heads.scores(&self.transposed, l, first, out);
                    if link != Link::Identity {
                        out.iter_mut().for_each(|v| *v = link.apply(f64::from(*v)) as f32);
                    }
                }
                out
            }
            Relations::Given { data, components } => {
                let part = |l: usize| (first..first + n).flat_map(move |x| &data[(x * components + l) * m..][..m]);
                (0..components).flat_map(part).copied().collect()
            }
        }
    }

    /// Messages of head `h` summed under `weights` `(n, m)`: `(n, width)`.
    fn messages(&self, h: usize, weights: &[f32], relations: &[f32]) -> Vec<f32> {
        let m = self.own.keys();
        let n = weights.len() / m;
        let mut out = vec![0.0; n * self.width];
        match &self.messages {
            Messages::Keys => {
                let (dim, all) = (self.own.dim, self.own.heads * self.own.dim);
                let part: Vec<f32> =
                    self.own.keys.chunks_exact(all).flat_map(|key| &key[h * dim..(h + 1) * dim]).copied().collect();
                multiply_rows(weights, &part, m, &mut out);
            }
            Messages::Values { data, .. } => multiply_rows(weights, data, m, &mut out),
            Messages::Relational(parts) => {
                // Sums of relations and of symbols come first: they are narrow, and the projections are linear.
                let components = relations.len() / (n * m);
                let mut related = vec![0.0; n * components];
                for (l, values) in relations.chunks_exact(n * m).enumerate() {
                    for x in 0..n {
                        let range = x * m..(x + 1) * m;
                        related[x * components + l] = weighted(&weights[range.clone()], &values[range]);
                    }
                }
                let of_head = |all: &'a [f32], rows: usize| &all[h * rows * self.width..][..rows * self.width];
                if components > 0 {
                    multiply_rows(&related, of_head(parts.relation_weights, components), components, &mut out);
                }
                if parts.symbol_dim > 0 {
                    let mut symbols = vec![0.0; n * parts.symbol_dim];
                    multiply_rows(weights, parts.symbols, m, &mut symbols);
                    multiply_rows(
                        &symbols,
                        of_head(parts.symbol_weights, parts.symbol_dim),
                        parts.symbol_dim,
                        &mut out,
                    );
                }
            }
        }
        out
    }
}

/// `sum_i a_i b_i` in sixteen sums.
fn weighted(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}
