//! Ranking metrics from places: expectations over the orders of ties, means over queries with intervals.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::evaluate::estimate::{Part, Sums};
use crate::evaluate::expect::{Group, hit, reciprocal_rank};
use crate::evaluate::{Estimate, Judged, Placements};

/// Metrics of the first `k` places.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MetricsAt {
    /// How many places.
    pub k: usize,
    /// Mean over queries of `DCG@k / ideal DCG@k`, `DCG@k = sum value / log2(1 + position)` over the related keys found.
    pub ndcg: Estimate,
    /// Mean over queries of the share of related keys found.
    pub recall: Estimate,
    /// Mean over queries of the share of related keys among the `k` places.
    pub precision: Estimate,
    /// Mean over pairs of "its rank among the negatives is at most `k`".
    pub hits: Estimate,
}

/// How the related keys of queries stand among all keys.
///
/// Two views of one ranking. *Pairs*: each related key alone among the negatives of its query, as in link prediction ("filtered":
/// other related keys are no rivals); means over pairs. *Lists*: the negatives and the related keys in one list, best first, as in
/// search; means over queries. Known pairs that are not ranked themselves are in no list.
///
/// Equal scores: every metric is its expectation over all orders of tied candidates, exactly; so a model of constant scores is as
/// good as chance, and a mean rank is the "realistic" one. Intervals: see [`Estimate`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankingMetrics {
    /// Queries with at least one related key.
    pub queries: usize,
    /// Related keys that were ranked.
    pub pairs: usize,
    /// Mean number of negatives of a query.
    pub negatives: f64,
    /// Mean over pairs of the rank among the negatives, 1 is best.
    pub mean_rank: Estimate,
    /// The same among all candidates, other related keys included ("raw").
    pub mean_rank_raw: Estimate,
    /// Mean over pairs of 1 / rank among the negatives.
    pub mrr: Estimate,
    /// Mean over queries of the probability that a related key scores above a negative, ties count half; `None` without negatives.
    pub auc: Option<Estimate>,
    /// Mean over queries of the average precision of the list.
    pub map: Estimate,
    /// Mean over queries of 1 / position of the list's first related key (the MRR of search).
    pub mrr_first: Estimate,
    /// Metrics of the first places.
    pub at: Vec<MetricsAt>,
}

/// Columns before those of each `k`: mean rank, raw mean rank, reciprocal rank, AUC, average precision, first, negatives.
const FIXED: usize = 7;
/// Columns of each `k`: NDCG, recall, precision, hits.
const EACH: usize = 4;
/// Queries whose sums one thread makes.
const BLOCK: usize = 256;
/// The most places that can be asked for.
const MOST: usize = 1 << 24;

/// Numbers of places, increasing, each once.
fn places(at: &[usize]) -> Result<Vec<usize>> {
    if let Some(bad) = at.iter().find(|k| !(1..=MOST).contains(*k)) {
        return Err(Error::parameter("number of first places", format!("from 1 to {MOST}"), bad));
    }
    let mut at = at.to_vec();
    at.sort_unstable();
    at.dedup();
    Ok(at)
}

impl Placements<'_> {
    /// The metrics of all pairs; `at` are the numbers of first places that are looked at. `None` without a pair.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] unless every number of places is from 1 to 2^24.
    pub fn metrics(&self, at: &[usize]) -> Result<Option<RankingMetrics>> {
        self.metrics_of(at, |_, _| true)
    }

    /// The metrics of the pairs for which `keep(query, key)` holds: other related keys are in no list then.
    ///
    /// # Errors
    /// As [`Placements::metrics`].
    pub fn metrics_of(&self, at: &[usize], keep: impl Fn(u32, u32) -> bool + Sync) -> Result<Option<RankingMetrics>> {
        let at = places(at)?;
        let most = at.last().copied().unwrap_or(0).min(self.judged.keys);
        let table = Table { judged: self.judged, discounts: discounts(most), at };
        let width = FIXED + EACH * table.at.len();
        let pass = |visit: &(dyn Fn(&mut [Sums], &[Part]) + Sync)| {
            let sum_block = |block: usize| {
                let (mut sums, mut parts) = (vec![Sums::default(); width], vec![Part::default(); width]);
                let mut row = Row::default();
                for q in block * BLOCK..((block + 1) * BLOCK).min(self.judged.queries()) {
                    if row.read(self, q, &keep) {
                        table.parts(q, &mut row, &mut parts);
                        visit(&mut sums, &parts);
                    }
                }
                sums
            };
            let blocks: Vec<Vec<Sums>> =
                (0..self.judged.queries().div_ceil(BLOCK)).into_par_iter().map(sum_block).collect();
            let plus = |all: Vec<Sums>, own: Vec<Sums>| all.into_iter().zip(own).map(|(a, b)| a.plus(b)).collect();
            blocks.into_iter().fold(vec![Sums::default(); width], plus)
        };
        let first = pass(&|sums, parts| sums.iter_mut().zip(parts).for_each(|(sum, part)| sum.add(*part)));
        let means: Vec<f64> = first.iter().map(|sum| sum.mean().unwrap_or(0.0)).collect();
        let second = pass(&|sums, parts| {
            sums.iter_mut().zip(parts).zip(&means).for_each(|((sum, part), mean)| sum.deviate(*part, *mean));
        });
        let columns: Vec<Sums> = first.into_iter().zip(second).map(|(a, b)| a.plus(b)).collect();
        Ok(table.metrics(&columns))
    }
}

/// `sum over i <= n of 1 / log2(1 + i)` for `n` from 0 to `most`.
fn discounts(most: usize) -> Vec<f64> {
    let mut sums = vec![0.0];
    (1..=most).for_each(|i| sums.push(sums[i - 1] + 1.0 / (1.0 + i as f64).log2()));
    sums
}

/// A kept pair: where it stands, and its value.
#[derive(Clone, Copy)]
struct Standing {
    /// Negatives above and tied.
    above: u64,
    tied: u64,
    /// Candidates above and tied.
    raw_above: u64,
    raw_tied: u64,
    value: f64,
}

/// The kept pairs of one query, best first.
#[derive(Default)]
struct Row {
    pairs: Vec<Standing>,
    /// Values, largest first.
    ideal: Vec<f64>,
    /// Results of long sums, which queries of a model with many ties share.
    firsts: HashMap<Group, f64>,
}

impl Row {
    /// Whether query `q` has a kept pair.
    fn read(&mut self, placements: &Placements<'_>, q: usize, keep: &impl Fn(u32, u32) -> bool) -> bool {
        let judged = placements.judged;
        self.pairs.clear();
        for p in judged.range(q).filter(|&p| keep(judged.query[q], judged.key[p])) {
            let place = placements.places[p];
            let [above, tied] = [place.above, place.tied].map(u64::from);
            let [raw_above, raw_tied] = [place.raw_above, place.raw_tied].map(u64::from);
            let value = judged.gain[p].into();
            self.pairs.push(Standing { above, tied, raw_above, raw_tied, value });
        }
        // Related keys of equal score have the same negatives above and tied, and the same candidates above.
        self.pairs.sort_by_key(|p| p.raw_above);
        self.ideal.clear();
        self.ideal.extend(self.pairs.iter().map(|p| p.value));
        self.ideal.sort_unstable_by(|a, b| b.total_cmp(a));
        !self.pairs.is_empty()
    }

    /// The kept pairs in groups of equal scores with the sum of their values, best first.
    fn groups(&self) -> impl Iterator<Item = (Group, f64)> {
        let mut related_before = 0;
        self.pairs.chunk_by(|a, b| a.raw_above == b.raw_above).map(move |own| {
            let (above, tied, related) = (own[0].above, own[0].tied, own.len() as u64);
            let group = Group { before: above + related_before, related_before, n: tied + related, related };
            related_before += related;
            (group, own.iter().map(|p| p.value).sum())
        })
    }

    fn first(&mut self, group: Group) -> f64 {
        match group.n {
            0..256 => group.first_reciprocal(),
            _ => *self.firsts.entry(group).or_insert_with(|| group.first_reciprocal()),
        }
    }
}

struct Table<'a> {
    judged: &'a Judged,
    discounts: Vec<f64>,
    at: Vec<usize>,
}

impl Table<'_> {
    /// Query `q`'s part in every column.
    fn parts(&self, q: usize, row: &mut Row, parts: &mut [Part]) {
        let count = row.pairs.len() as f64;
        let negatives = self.judged.negatives(q) as f64;
        let pairs = |f: &dyn Fn(&Standing) -> f64| Part { sum: row.pairs.iter().map(f).sum(), count };
        let one = |sum: f64| Part { sum, count: 1.0 };
        parts[0] = pairs(&|p| 1.0 + p.above as f64 + 0.5 * p.tied as f64);
        parts[1] = pairs(&|p| 1.0 + p.raw_above as f64 + 0.5 * p.raw_tied as f64);
        parts[2] = pairs(&|p| reciprocal_rank(p.above, p.tied));
        let wins = pairs(&|p| negatives - p.above as f64 - 0.5 * p.tied as f64).sum;
        parts[3] = if negatives > 0.0 { one(wins / (negatives * count)) } else { Part::default() };
        parts[4] = one(row.groups().map(|(group, _)| group.precision_sum()).sum::<f64>() / count);
        parts[6] = one(negatives);
        for (i, &k) in self.at.iter().enumerate() {
            let own = &mut parts[FIXED + EACH * i..][..EACH];
            let k = k as u64;
            let found: f64 = row.groups().map(|(group, _)| group.found(k)).sum();
            own[0] = one(self.ndcg(row, k));
            own[1] = one(found / count);
            own[2] = one(found / k as f64);
            own[3] = pairs(&|p| hit(p.above, p.tied, k));
        }
        let best = row.groups().next().map(|(group, _)| group);
        parts[5] = one(best.map_or(0.0, |group| row.first(group)));
    }

    fn ndcg(&self, row: &Row, k: u64) -> f64 {
        // Each position of a group holds the group's mean value.
        let gained = |(group, sum): (Group, f64)| match group.slots(k) {
            0 => 0.0,
            slots => {
                let between = self.discounts[(group.before + slots) as usize] - self.discounts[group.before as usize];
                sum / group.n as f64 * between
            }
        };
        let discount = |i: usize| self.discounts[i + 1] - self.discounts[i];
        let ideal: f64 = row.ideal.iter().take(k as usize).enumerate().map(|(i, value)| value * discount(i)).sum();
        row.groups().map(gained).sum::<f64>() / ideal
    }

    fn metrics(&self, columns: &[Sums]) -> Option<RankingMetrics> {
        const SHARE: [f64; 2] = [0.0, 1.0];
        const RANK: [f64; 2] = [1.0, f64::INFINITY];
        let each = |(i, &k): (usize, &usize)| {
            let own = &columns[FIXED + EACH * i..][..EACH];
            let [ndcg, recall, precision, hits] = [0, 1, 2, 3].map(|c| own[c].estimate(SHARE));
            Some(MetricsAt { k, ndcg: ndcg?, recall: recall?, precision: precision?, hits: hits? })
        };
        Some(RankingMetrics {
            queries: columns[0].queries(),
            pairs: columns[0].count(),
            negatives: columns[6].mean()?,
            mean_rank: columns[0].estimate(RANK)?,
            mean_rank_raw: columns[1].estimate(RANK)?,
            mrr: columns[2].estimate(SHARE)?,
            auc: columns[3].estimate(SHARE),
            map: columns[4].estimate(SHARE)?,
            mrr_first: columns[5].estimate(SHARE)?,
            at: self.at.iter().enumerate().map(each).collect::<Option<_>>()?,
        })
    }
}
