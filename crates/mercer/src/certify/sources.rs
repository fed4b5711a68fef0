//! Where held-out pairs come from: a table, a relation that can be asked, or all pairs there are.

use crate::certify::{Certificate, HeldOut, Request, certify};
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

/// Pairs whose values one block holds: a relation is asked for blocks, of which only the diagonal is drawn.
const BATCH: usize = 32;

/// The certificate of a model of a relation that can be asked, on `count` fresh pairs of independent items; and the values of these
/// pairs, then the predictions.
///
/// On a cube the pairs are of new items, and no two share one: the sharpest exact statements hold. Pairs of given items are drawn
/// uniformly from all of their pairs, with replacement; they speak of those pairs alone.
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
    request: Request,
) -> Result<(Certificate, (Vec<f64>, Vec<f64>))> {
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
    let items: Vec<u32> = (0..count as u32).collect();
    let population = match queries {
        Law::Cube { .. } => Population::TwoNewItems,
        Law::Items(_) => Population::KnownItems,
    };
    let held_out = HeldOut { x: &items, y: &items, predicted: &predicted, value: &value, shared: false };
    Ok((certify(held_out, population, request)?, (value, predicted)))
}
