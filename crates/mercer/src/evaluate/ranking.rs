//! The two ranking metrics by which reconstructions are compared.

use serde::Serialize;

use crate::encoder::DualEncoder;
use crate::error::Result;
use crate::evaluate::{Judged, Placements, Scores};
use crate::relation::Pairs;
use crate::rows::Features;

/// Filtered ranking of the positive keys of each query against all keys that are not positive for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// Queries with at least one positive key.
    pub queries: usize,
    /// Positive pairs.
    pub positives: usize,
    /// Mean rank of a positive among the negatives (1 is best; equal scores share the mean of their ranks).
    pub mean_rank: f64,
    /// Mean over queries of the average precision, over all orders of equal scores.
    pub map: f64,
}

impl Ranking {
    /// Ranks the pairs with positive value. Where both sides are one set of items (`keys: None`), the query itself is no candidate.
    ///
    /// [`Placements`] gives more metrics and honours a limit of memory. Cost: `2 * queries * keys * dim` operations. `None` if no
    /// pair is positive.
    ///
    /// # Errors
    /// As [`Placements::new`].
    pub fn new(
        model: &DualEncoder,
        queries: &Features,
        keys: Option<&Features>,
        pairs: &Pairs,
    ) -> Result<Option<Ranking>> {
        let judged = Judged::new(queries.len(), keys.map(Features::len), pairs, None)?;
        let metrics = Placements::new(Scores::Model { model, queries, keys }, &judged, None)?.metrics(&[])?;
        Ok(metrics.map(|m| Ranking {
            queries: m.queries,
            positives: m.pairs,
            mean_rank: m.mean_rank.mean,
            map: m.map.mean,
        }))
    }
}
