//! Where held-out pairs come from: a table, a relation that can be asked, or all pairs there are.

use rayon::prelude::*;

use crate::certify::{Certificate, HeldOut, Request, census, certify};
use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::evaluate::{Population, Scorer};
use crate::relation::{Law, Pairs, Relation, ask_block};
use crate::rows::Features;
use crate::seed::Seed;

/// Certificates of a model on a table of held-out pairs, one for each population that occurs, in their order.
///
/// `population` says of each pair which of its items were fitted; `keys: None` means that both sides are one set of items.
///
/// # Errors
/// As [`certify`] and [`crate::Tower::forward`].
pub fn certify_pairs(
    model: &DualEncoder,
    queries: &Features,
    keys: Option<&Features>,
    pairs: &Pairs,
    population: impl Fn(usize) -> Population,
    request: Request,
) -> Result<Vec<Certificate>> {
    let scores = Scorer::new(model, queries, keys)?.scores(pairs);
    let chunk = pairs.chunk();
    let all = [Population::KnownItems, Population::OneNewItem, Population::TwoNewItems];
    let of = |wanted: Population| {
        let joins_itself = |p: usize| keys.is_none() && chunk.x[p] == chunk.y[p];
        let own: Vec<usize> = (0..pairs.len()).filter(|&p| population(p) == wanted).collect();
        // Self pairs of new items have another law and are left out; alone they say nothing.
        if own.iter().all(|&p| wanted != Population::KnownItems && joins_itself(p)) {
            return None;
        }
        let part = pairs.select(&own);
        let part = part.chunk();
        let predicted: Vec<f64> = own.iter().map(|&p| scores[p]).collect();
        let value: Vec<f64> = part.value.iter().map(|&v| v.into()).collect();
        let held_out = HeldOut { x: part.x, y: part.y, predicted: &predicted, value: &value, shared: keys.is_none() };
        Some(certify(held_out, wanted, request))
    };
    all.into_iter().filter_map(of).collect()
}

/// Cells up to which [`certify_complete`] measures all of them.
const CENSUS: usize = 20_000_000;
/// Random cells of a larger table.
const SAMPLED: usize = 1_000_000;

/// The certificate of a model of a table whose every pair is known: listed values, and `absent` for all other pairs.
///
/// Up to 20 million pairs all are measured: nothing is left to chance, and bounds are the values themselves. Of a larger table
/// a million pairs are drawn at random. Either way it speaks of pairs of these items alone; that the fit saw them does no harm,
/// because all of them count, or the drawn ones were drawn blindly.
///
/// Cost: one value of the model for each pair.
///
/// # Errors
/// As [`certify`] and [`crate::Tower::forward`].
pub fn certify_complete(
    model: &DualEncoder,
    queries: &Features,
    keys: Option<&Features>,
    pairs: &Pairs,
    absent: f32,
    request: Request,
) -> Result<Certificate> {
    let (n, m) = (queries.len(), keys.unwrap_or(queries).len());
    let scorer = Scorer::new(model, queries, keys)?;
    let listed = pairs.cells();
    let value = |x: u32, y: u32| listed.get(&(x, y)).copied().unwrap_or(absent.into());
    if n.saturating_mul(m) > CENSUS {
        let mut stream = Seed(request.seed).stream("cells");
        let drawn: Vec<(u32, u32)> = (0..SAMPLED).map(|_| (stream.below(n) as u32, stream.below(m) as u32)).collect();
        let (x, y): (Vec<u32>, Vec<u32>) = drawn.iter().copied().unzip();
        let predicted: Vec<f64> = drawn.iter().map(|&(x, y)| scorer.score(x, y)).collect();
        let value: Vec<f64> = drawn.iter().map(|&(x, y)| value(x, y)).collect();
        let held_out = HeldOut { x: &x, y: &y, predicted: &predicted, value: &value, shared: keys.is_none() };
        return certify(held_out, Population::KnownItems, request);
    }
    let rows: Vec<Vec<(f64, f64)>> = (0..n as u32)
        .into_par_iter()
        .map(|x| (0..m as u32).map(|y| (scorer.score(x, y), value(x, y))).collect())
        .collect();
    let (predicted, value): (Vec<f64>, Vec<f64>) = rows.into_iter().flatten().unzip();
    census(&predicted, &value, if keys.is_some() { n + m } else { n }, request)
}

/// Values with a model's predictions of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// The values observed.
    pub value: Vec<f64>,
    /// The model's values.
    pub predicted: Vec<f64>,
}

/// Pairs whose values one block holds: a relation is asked for blocks, of which only the diagonal is drawn.
const BATCH: usize = 32;

/// The certificate of a model of a relation that can be asked, on `count` fresh pairs of independent items; and the values of these
/// pairs, then the predictions.
///
/// On a cube the pairs are of new items, and no two share one: the sharpest exact statements hold. Pairs of given items are drawn
/// uniformly from all of their pairs, with replacement; they speak of those pairs alone.
///
/// `proven`: a bound of all errors that is known otherwise (`certify::sup`); without a declared range the exact interval of the mean
/// square uses it, unless rounding took a fresh error beyond it.
///
/// Cost: `32 count` values asked.
///
/// # Errors
/// What the relation and the towers report; [`crate::ErrorKind::Parameter`] for more than one component.
pub fn certify_relation(
    model: &DualEncoder,
    relation: &dyn Relation,
    queries: Law<'_>,
    keys: Option<Law<'_>>,
    count: usize,
    proven: Option<f64>,
    request: Request,
) -> Result<(Certificate, Values)> {
    if model.components() != 1 {
        return Err(Error::parameter("components of a certified model", "one", model.components()));
    }
    let mut stream = Seed(request.seed).stream("certificate");
    let (mut predicted, mut value) = (Vec::new(), Vec::new());
    while value.len() < count {
        let n = BATCH.min(count - value.len());
        let x = queries.draw(n, &mut stream)?;
        let y = keys.unwrap_or(queries).draw(n, &mut stream)?;
        let (own, exact) = (model.block(0, &x.rows(), &y.rows())?, ask_block(relation, 0, &x, &y)?);
        predicted.extend((0..n).map(|i| own[i * n + i]));
        value.extend((0..n).map(|i| exact[(i, i)]));
    }
    let largest = value.iter().zip(&predicted).map(|(v, p)| (v - p).abs()).fold(0.0, f64::max);
    let request = Request { range: request.range.or(proven.filter(|bound| largest <= *bound)), ..request };
    let items: Vec<u32> = (0..count as u32).collect();
    let population = match queries {
        Law::Cube { .. } => Population::TwoNewItems,
        Law::Items(_) => Population::KnownItems,
    };
    let held_out = HeldOut { x: &items, y: &items, predicted: &predicted, value: &value, shared: false };
    Ok((certify(held_out, population, request)?, Values { value, predicted }))
}
