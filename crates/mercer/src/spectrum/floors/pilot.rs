//! What is learned from items that no bound uses.

use rayon::prelude::*;

use crate::encoder::Class;
use crate::error::Result;
use crate::linalg::{Matrix, eigen};
use crate::relation::{Law, Relation, ask_block};
use crate::rows::Features;
use crate::seed::Seed;
use crate::spectrum::floors::parts::{Parts, mean_square, not_finite, rounding};
use crate::spectrum::{Energy, diagnosis};

/// Minus the negative part of a symmetric relation, extended from a pilot sample (Nystrom): `P(x, y) = <a(x), a(y)>`
/// with `a_i(x) = sum_j S(x, z_j) U_ji / sqrt(|L_i|)` for the negative eigenpairs `(L_i, U_i)` of `S(z, z)`.
pub(crate) struct NegativePart {
    items: Features,
    /// Columns `U_i / sqrt(|L_i|)`; none: the relation has no negative part.
    weights: Matrix,
    antisymmetric: bool,
}

impl NegativePart {
    /// `a` at `x`: a row an item.
    fn features(&self, relation: &dyn Relation, l: usize, x: &Features) -> Result<Matrix> {
        // A row of the block is an item z, a column an item x.
        let mut block = ask_block(relation, l, x, &self.items)?;
        if self.antisymmetric {
            let back = ask_block(relation, l, &self.items, x)?;
            block = Matrix::from_fn(block.rows(), block.columns(), |z, i| 0.5 * (block[(z, i)] + back[(i, z)]));
        }
        Ok(block.transpose_times(&self.weights))
    }

    /// `P`: a row a key, a column a query, as blocks are.
    pub(crate) fn at(&self, relation: &dyn Relation, l: usize, x: &Features, y: &Features) -> Result<Matrix> {
        Ok(self.features(relation, l, y)?.times_transpose(&self.features(relation, l, x)?))
    }

    fn leading(self, rank: usize) -> Self {
        NegativePart { weights: self.weights.leading_columns(rank), ..self }
    }
}

/// What is learned from items that no bound uses: which parts the relation has, and its negative part.
pub(crate) struct Pilot {
    pub(crate) energy: Option<Energy>,
    /// `(class, reason)` of the widest component.
    pub(crate) class: (Class, String),
    pub(crate) antisymmetric: bool,
    two_sets: bool,
    /// One for each component; `None`: no component has a negative part.
    pub(crate) negative: Option<Vec<NegativePart>>,
}

impl Pilot {
    pub(crate) fn two_sets() -> Self {
        Pilot { energy: None, class: diagnosis::two_sets(), antisymmetric: false, two_sets: true, negative: None }
    }

    pub(crate) fn new(relation: &dyn Relation, law: &Law<'_>, n: usize, dims: &[usize], seed: Seed) -> Result<Self> {
        let mut stream = seed.stream("floor pilot");
        let (items, x, y) = (law.draw(n, &mut stream)?, law.draw(n, &mut stream)?, law.draw(n, &mut stream)?);
        let blocks =
            (0..relation.components()).map(|l| ask_block(relation, l, &items, &items)).collect::<Result<Vec<_>>>()?;
        let (energy, class) = diagnosis::shares(&blocks, dims.iter().copied().max().unwrap_or(1));
        let antisymmetric = blocks.iter().any(is_antisymmetric);
        let mut pilot = Pilot { energy, class, antisymmetric, two_sets: false, negative: None };
        let negative = blocks
            .iter()
            .enumerate()
            .map(|(l, block)| {
                let found = NegativePart { weights: negative_weights(block)?, items: items.clone(), antisymmetric };
                pilot.choose_rank(relation, l, found, &x, &y, dims)
            })
            .collect::<Result<Vec<_>>>()?;
        pilot.negative = negative.iter().any(|part| part.weights.columns() > 0).then_some(negative);
        Ok(pilot)
    }

    /// How many negative coordinates give the largest tails on a second pilot block: those that are mostly sampling
    /// error would lower it.
    fn choose_rank(
        &self,
        relation: &dyn Relation,
        l: usize,
        part: NegativePart,
        x: &Features,
        y: &Features,
        dims: &[usize],
    ) -> Result<NegativePart> {
        let most = part.weights.columns();
        if most == 0 {
            return Ok(part);
        }
        let back = if self.antisymmetric { Some(ask_block(relation, l, y, x)?) } else { None };
        let parts = Parts::new(ask_block(relation, l, x, y)?, back);
        let (a, b) = (part.features(relation, l, y)?, part.features(relation, l, x)?);
        let ranks: Vec<usize> = (0..)
            .map(|k| 1 << k)
            .take_while(|&rank| rank < most.min(x.len() / 4))
            .chain([most.min(x.len() / 4).max(1)])
            .collect();
        let gains = ranks
            .par_iter()
            .map(|&rank| {
                let positive = a.leading_columns(rank).times_transpose(&b.leading_columns(rank));
                Ok(parts.symmetric_tail(&positive, dims)?.iter().sum())
            })
            .collect::<Result<Vec<f64>>>()?;
        let best = (0..ranks.len()).fold(0, |best, k| if gains[k] > gains[best] { k } else { best });
        let helps = gains[best] > parts.signed_tail(dims)?.iter().sum();
        Ok(part.leading(if helps { ranks[best] } else { 0 }))
    }

    /// The classes with a statistic of their own; a class without one has the bound of the next wider class, which
    /// costs no confidence.
    pub(crate) fn stated(&self) -> Vec<Class> {
        let mut classes = vec![Class::Asymmetric];
        if self.antisymmetric && !self.two_sets {
            classes.push(Class::Signed);
        }
        if self.negative.is_some() {
            classes.push(Class::Symmetric);
        }
        classes
    }
}

/// Whether the antisymmetric part of a square block over one set of items is more than rounding.
fn is_antisymmetric(block: &Matrix) -> bool {
    let n = block.rows();
    let part = Matrix::from_fn(n, n, |i, j| 0.5 * (block[(i, j)] - block[(j, i)]));
    mean_square(&part).sqrt() > rounding(block) * mean_square(block).sqrt()
}

/// Columns `U_i / sqrt(|L_i|)` of the eigenpairs of the block's symmetric part that are negative beyond rounding, the
/// most negative first.
fn negative_weights(block: &Matrix) -> Result<Matrix> {
    let n = block.rows();
    let symmetric = Matrix::from_fn(n, n, |i, j| 0.5 * (block[(i, j)] + block[(j, i)]));
    let (values, vectors) = eigen(&symmetric).ok_or_else(not_finite)?;
    let noise = rounding(block) * (mean_square(block) * (n * n) as f64).sqrt();
    let kept: Vec<usize> = (0..n).rev().take_while(|&i| values[i] < -noise).collect();
    let mut weights = vectors.select_columns(&kept);
    for (column, &i) in kept.iter().enumerate() {
        weights.column_mut(column).iter_mut().for_each(|w| *w /= values[i].abs().sqrt());
    }
    Ok(weights)
}
