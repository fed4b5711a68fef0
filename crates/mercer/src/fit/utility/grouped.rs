//! Comparisons sorted by query, and their features.

use crate::fit::features::FeatureMap;
use crate::fit::utility::likelihood::Compared;
use crate::linalg::Matrix;
use crate::relation::Comparisons;
use crate::rows::Features;

/// Comparisons sorted by query, with the items that they name.
pub(crate) struct Grouped<'a> {
    /// Queries that are compared for, increasing.
    pub(crate) queries: Vec<usize>,
    /// Where the comparisons of each of them start, and where the last ones end.
    pub(crate) starts: Vec<usize>,
    preferred: Vec<usize>,
    other: Vec<usize>,
    /// Weight of each comparison; the mean is 1.
    pub(crate) weight: Vec<f64>,
    items: [&'a Features; 2],
}

impl<'a> Grouped<'a> {
    pub(crate) fn new(comparisons: &Comparisons, queries: &'a Features, keys: &'a Features) -> Self {
        let mut order: Vec<usize> = (0..comparisons.len()).collect();
        order.sort_by_key(|&c| comparisons.query()[c]);
        let (mut named, mut starts): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for (at, &c) in order.iter().enumerate() {
            let query = comparisons.query()[c] as usize;
            if named.last() != Some(&query) {
                named.push(query);
                starts.push(at);
            }
        }
        starts.push(order.len());
        let weight = |c: usize| comparisons.weight().map_or(1.0, |w| f64::from(w[c]));
        let mean = order.iter().map(|&c| weight(c)).sum::<f64>() / order.len().max(1) as f64;
        Grouped {
            queries: named,
            starts,
            preferred: order.iter().map(|&c| comparisons.preferred()[c] as usize).collect(),
            other: order.iter().map(|&c| comparisons.other()[c] as usize).collect(),
            weight: order.iter().map(|&c| weight(c) / mean).collect(),
            items: [queries, keys],
        }
    }

    /// Features of the queries, a column each.
    pub(crate) fn query_features(&self, map: &FeatureMap) -> Matrix {
        map.evaluate(&self.items[0].select(&self.queries)).transpose()
    }

    /// Features of the preferred key less those of the other, a column a comparison.
    pub(crate) fn differences(&self, map: &FeatureMap) -> Matrix {
        let of = |names: &[usize]| map.evaluate(&self.items[1].select(names));
        let mut h = of(&self.preferred);
        h.data_mut().iter_mut().zip(of(&self.other).data()).for_each(|(a, b)| *a -= b);
        h.transpose()
    }

    pub(crate) fn mapped(&self, [query, key]: &[FeatureMap; 2]) -> Mapped<'_> {
        Mapped { f: self.query_features(query), h: self.differences(key), starts: &self.starts, weight: &self.weight }
    }
}

/// Comparisons in features.
pub(crate) struct Mapped<'a> {
    /// `(rq, queries)`.
    pub(crate) f: Matrix,
    /// `(rk, comparisons)`.
    pub(crate) h: Matrix,
    starts: &'a [usize],
    weight: &'a [f64],
}

impl Mapped<'_> {
    /// The same in other coordinates: `query^T f` and `key^T h`.
    pub(crate) fn rotated(&self, query: &Matrix, key: &Matrix) -> Mapped<'_> {
        let (f, h) = (query.transpose_times(&self.f), key.transpose_times(&self.h));
        Mapped { f, h, starts: self.starts, weight: self.weight }
    }

    pub(crate) fn compared(&self) -> Compared<'_> {
        Compared { f: &self.f, starts: self.starts, h: &self.h, weight: self.weight }
    }
}
