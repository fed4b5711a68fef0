//! The whole job on comparisons that no utility may represent: an antisymmetric inner product of ids.

use crate::encoder::{Class, DualEncoder, Link};
use crate::error::{Error, Result};
use crate::evaluate::OrderSummary;
use crate::fit::{AntisymmetricOptions, Choice, Dimension, HeldOutOrder, Options, Recommendation, antisymmetric};
use crate::pipeline::comparisons::ComparisonTable;
use crate::pipeline::relations::{Evidence, Figure, RelationFit, no_target, positions};
use crate::relation::{Comparisons, Split};
use crate::rows::Features;

/// Learns `P(a preferred to b) = 1 / (1 + exp(-<phi(a), J phi(b)>))` of items without features, with Bradley and Terry's model beside it.
///
/// Both sides of the model are the keys of the table: query `a` against key `b`. Comparisons of the split column's test part fit and
/// choose nothing and are reported; without them the figures are those of the hold-out by which
/// [`antisymmetric`](fn@antisymmetric) recommends.
///
/// # Errors
/// If items have features or comparisons have queries, if there are too few comparisons, or an option is out of range.
pub fn fit_antisymmetric(table: &ComparisonTable<'_>, options: &Options) -> Result<RelationFit> {
    let keys = table.keys.unwrap_or(table.queries);
    table.comparisons.check_items(table.queries.len(), keys.len())?;
    check(table, keys, options)?;
    let rank = match options.dimension {
        Dimension::Fixed(dim) => Some(dim),
        Dimension::Knee => None,
        Dimension::Target(_) => return Err(no_target()),
    };
    let test = match table.split {
        Some(split) if split.len() != table.comparisons.len() => {
            let expected = format!("one entry for each of {} comparisons", table.comparisons.len());
            return Err(Error::shape("split", expected, split.len()));
        }
        Some(split) => positions(split, Split::Test),
        None => Vec::new(),
    };
    let fitted: Vec<usize> = (0..table.comparisons.len()).filter(|c| test.binary_search(c).is_err()).collect();
    let train = table.comparisons.select(&fitted);
    let own = AntisymmetricOptions { rank, seed: options.seed, ..AntisymmetricOptions::default() };
    let done = antisymmetric(&train, keys.len(), &own)?;
    let said = done.recommendation.as_ref();
    let mut choices = done.choices;
    if let Some(said) = said {
        choices.push(Choice::new("recommended", format!("{:?}", said.model).to_lowercase(), said.reason.clone()));
    }
    let encoder = done.encoder.with_link(Link::LOGISTIC);
    let rows = match (test.is_empty(), said) {
        (true, None) => Vec::new(),
        (true, Some(said)) => {
            let of = |HeldOutOrder { ordered, log_loss }| OrderSummary {
                comparisons: said.comparisons,
                queries: 1,
                ordered,
                log_loss: Some(log_loss),
            };
            vec![("model".to_string(), of(said.antisymmetric)), (RIVAL.to_string(), of(said.bradley_terry))]
        }
        (false, _) => tested(&table.comparisons.select(&test), &encoder, keys, &done.bradley_terry.utilities)?,
    };
    let held_out = |said: &Recommendation| Figure {
        name: "share in the right order".into(),
        value: said.antisymmetric.ordered.mean,
        on: format!("{} comparisons", said.comparisons),
    };
    Ok(RelationFit {
        encoder,
        outcome: done.outcome,
        steps: done.steps,
        held_out: said.map(held_out),
        choices,
        history: Vec::new(),
        masked: 0,
        evidence: if rows.is_empty() { None } else { Some(Evidence::Order(rows)) },
        known: known(&train, keys.len()),
    })
}

/// How comparisons that nothing saw are ordered.
fn tested(
    test: &Comparisons,
    encoder: &DualEncoder,
    keys: &Features,
    utilities: &[f64],
) -> Result<Vec<(String, OrderSummary)>> {
    let scores = Scores::new(encoder, keys)?;
    let named = [
        ("model", order(test, |a, b| scores.log_odds(a, b))),
        (RIVAL, order(test, |a, b| utilities[a as usize] - utilities[b as usize])),
    ];
    Ok(named.into_iter().filter_map(|(name, own)| Some((name.to_string(), own?))).collect())
}

/// What the model is compared with.
const RIVAL: &str = "utility (Bradley and Terry)";

fn check(table: &ComparisonTable<'_>, keys: &Features, options: &Options) -> Result<()> {
    if table.keys.is_none() || table.queries.len() != 1 {
        return Err(Error::data(
            "an antisymmetric model compares items whatever the query, and these comparisons have queries",
            "leave the query column out, or fit a joint utility (--method gradient)",
        ));
    }
    if !keys.is_one_hot() {
        return Err(Error::data(
            "an antisymmetric model is fitted to ids, and these items have features",
            "give the comparisons without an item table, or fit a utility (--method gradient)",
        ));
    }
    if options.class.is_some_and(|class| class != Class::Asymmetric) {
        return Err(Error::parameter("class", "asymmetric: both towers differ by the form J", "a symmetric one"));
    }
    Ok(())
}

fn order(test: &Comparisons, difference: impl Fn(u32, u32) -> f64) -> Option<OrderSummary> {
    let all: Vec<f64> = test.preferred().iter().zip(test.other()).map(|(&a, &b)| difference(a, b)).collect();
    OrderSummary::new(test, &all, true)
}

/// Embeddings of all items on either side.
struct Scores {
    queries: Vec<f32>,
    keys: Vec<f32>,
    dim: usize,
}

impl Scores {
    fn new(encoder: &DualEncoder, items: &Features) -> Result<Scores> {
        let rows = items.rows();
        Ok(Scores { queries: encoder.embed_queries(&rows)?, keys: encoder.embed_keys(&rows)?, dim: encoder.dim() })
    }

    fn log_odds(&self, a: u32, b: u32) -> f64 {
        let (x, y) = (&self.queries[a as usize * self.dim..], &self.keys[b as usize * self.dim..]);
        x[..self.dim].iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    }
}

fn known(train: &Comparisons, items: usize) -> [Vec<usize>; 2] {
    let mut seen = vec![false; items];
    train.preferred().iter().chain(train.other()).for_each(|&i| seen[i as usize] = true);
    let own: Vec<usize> = (0..items).filter(|&i| seen[i]).collect();
    [own.clone(), own]
}
