//! Hard negatives: for each training positive the keys without a known relation to its query that score highest.
//!
//! Keys are embedded and searched in blocks under a memory cap; the search is exact.

use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::fit::gradient::data::Loaded;
use crate::fit::gradient::loss::Hard;
use crate::fit::gradient::sampler::HardKeys;
use crate::index::{Exact, Hit};

/// Mined negatives and how close they are.
pub(crate) struct Mined {
    pub(crate) hard: HardKeys,
    /// Mean over the positives with a hard negative of their score minus that of the hardest one.
    pub(crate) gap: Option<f64>,
}

/// Queries that are searched at a time.
const QUERIES: usize = 1024;

/// Hard negatives of every training positive under `model`, whose scores are the plain inner products.
///
/// Cost: `2 * queries * keys * dim` operations.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] if the memory is too little for 64 keys.
pub(crate) fn mine(model: &DualEncoder, data: &Loaded<'_>, hard: &Hard) -> Result<Mined> {
    let (dim, keys, set) = (model.dim(), data.key_items(), &data.train);
    // A block of keys is held twice, embedded and transposed, beside features of about as many numbers.
    let block = hard.memory / (4 * (2 * dim + keys.dim().min(4 * dim)));
    if block < 64 {
        let least = 64 * 4 * (2 * dim + keys.dim().min(4 * dim));
        return Err(Error::parameter("memory for mining", format!("at least {least} bytes"), hard.memory));
    }
    let mut queries: Vec<u32> = set.query.clone();
    queries.sort_unstable();
    queries.dedup();
    let means = mean_embedding(model, data, block)?;
    let mut found = Vec::with_capacity(queries.len());
    for chunk in queries.chunks(QUERIES) {
        found.extend(search(model, data, hard, chunk, block)?);
    }
    let (mut lists, mut gaps, mut counted) = (HardKeys::new(), 0.0, 0_usize);
    let positives = positive_scores(model, data)?;
    for (p, &positive) in positives.iter().enumerate() {
        let at = queries.partition_point(|&q| q < set.query[p]);
        let own = &found[at];
        let mean: f32 = own.query.iter().zip(&means).map(|(a, b)| a * b).sum();
        let limit = match hard.margin {
            Some(margin) if positive > mean => mean + (1.0 - margin as f32) * (positive - mean),
            _ => f32::INFINITY,
        };
        let kept: Vec<&Hit> = own.hits.iter().filter(|h| h.score <= limit).take(hard.count).collect();
        if let Some(hardest) = kept.first() {
            gaps += f64::from(positive) - f64::from(hardest.score);
            counted += 1;
        }
        let given = data.negatives.as_ref().map_or(&[][..], |own| &own[p]);
        let mut keys: Vec<u32> = kept.iter().map(|h| h.key).chain(given.iter().copied()).collect();
        keys.sort_unstable();
        keys.dedup();
        lists.push(keys);
    }
    Ok(Mined { hard: lists, gap: (counted > 0).then(|| gaps / counted as f64) })
}

/// The best keys of one query, known positives left out.
struct Found {
    query: Vec<f32>,
    hits: Vec<Hit>,
}

fn search(model: &DualEncoder, data: &Loaded<'_>, hard: &Hard, queries: &[u32], block: usize) -> Result<Vec<Found>> {
    let (dim, keys) = (model.dim(), data.key_items());
    let items: Vec<usize> = queries.iter().map(|&q| q as usize).collect();
    let embedded = model.embed_queries(&data.queries.select(&items).rows())?;
    // What the margin may leave out is asked for, too.
    let wanted = if hard.margin.is_some() { 8 * hard.count } else { hard.count };
    let most = queries.iter().map(|&q| data.known.of(q).len()).max().unwrap_or(0);
    let mut found: Vec<Found> =
        embedded.chunks_exact(dim).map(|q| Found { query: q.to_vec(), hits: Vec::new() }).collect();
    for first in (0..keys.len()).step_by(block) {
        let end = (first + block).min(keys.len());
        let index = Exact::new(&model.embed_keys(&keys.slice(first..end))?, dim)?;
        let hits = index.search(&embedded, wanted + most + 1, None)?;
        for ((own, hits), &query) in found.iter_mut().zip(hits).zip(queries) {
            let itself = |key: u32| data.keys.is_none() && key == query;
            let new = hits.into_iter().map(|h| Hit { key: h.key + first as u32, score: h.score });
            own.hits.extend(new.filter(|h| !itself(h.key) && !data.known.contains(query, h.key)));
            own.hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.key.cmp(&b.key)));
            own.hits.truncate(wanted);
        }
    }
    Ok(found)
}

/// Mean of the key embeddings: a query's product with it is its mean score.
fn mean_embedding(model: &DualEncoder, data: &Loaded<'_>, block: usize) -> Result<Vec<f32>> {
    let keys = data.key_items();
    let mut sums = vec![0.0_f64; model.dim()];
    for first in (0..keys.len()).step_by(block) {
        let rows = model.embed_keys(&keys.slice(first..(first + block).min(keys.len())))?;
        for row in rows.chunks_exact(model.dim()) {
            sums.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
        }
    }
    Ok(sums.iter().map(|s| (s / keys.len() as f64) as f32).collect())
}

/// Score of every training positive.
fn positive_scores(model: &DualEncoder, data: &Loaded<'_>) -> Result<Vec<f32>> {
    let set = &data.train;
    let mut scores = Vec::with_capacity(set.len());
    for first in (0..set.len()).step_by(1 << 14) {
        let range = first..(first + (1 << 14)).min(set.len());
        let part = |side: &[u32]| side[range.clone()].iter().map(|&i| i as usize).collect::<Vec<_>>();
        let queries = model.embed_queries(&data.queries.select(&part(&set.query)).rows())?;
        let keys = model.embed_keys(&data.key_items().select(&part(&set.key)).rows())?;
        let pairs = queries.chunks_exact(model.dim()).zip(keys.chunks_exact(model.dim()));
        scores.extend(pairs.map(|(q, k)| q.iter().zip(k).map(|(a, b)| a * b).sum::<f32>()));
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Form;
    use crate::fit::gradient::data::{Examples, Problem};
    use crate::fit::gradient::loss::{Loss, Sampling};
    use crate::relation::Pairs;
    use crate::rows::Features;
    use crate::seed::Seed;
    use crate::tower::{Activation, Layer, Tower};

    /// What mining should find for one positive, by sorting all scores.
    fn naive(scores: &[f64], known: &[u32], positive: f64, hard: &Hard) -> Vec<u32> {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let limit = match hard.margin {
            Some(margin) if positive > mean => mean + (1.0 - margin) * (positive - mean),
            _ => f64::INFINITY,
        };
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        order.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
        let kept = order.into_iter().filter(|k| !known.contains(k) && scores[*k as usize] <= limit);
        let mut kept: Vec<u32> = kept.take(hard.count).collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn mined_keys_are_the_best_unknown_ones_whatever_the_memory() {
        let mut stream = Seed(8).stream("mine");
        let mut table = |n: usize| {
            let weights = (0..n * 3).map(|_| stream.normal() as f32).collect();
            Tower::new(vec![Layer::new(weights, vec![0.0; 3], Activation::Identity).unwrap()]).unwrap()
        };
        let model = DualEncoder::new(table(20), Some(table(300)), Form::Identity, 1).unwrap();
        let (x, y) = (Features::one_hot(20), Features::one_hot(300));
        let mut draw = |n: usize| (0..90).map(|_| stream.below(n) as u32).collect::<Vec<_>>();
        let pairs = Pairs::new(draw(18), draw(300), vec![1.0; 90], None).unwrap();
        let known = Pairs::new(draw(20), draw(300), vec![1.0; 90], None).unwrap();
        let mut problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&pairs));
        problem.known = Some(&known);
        let data = problem.load(&Loss::SampledSoftmax(Sampling::default())).unwrap();
        let values = model.block(0, &x.rows(), &y.rows()).unwrap();
        // A margin looks at eight times as many keys as it keeps; with 40 that is all of them.
        for (count, margin, memory) in
            [(4, None, 1 << 20), (4, None, 64 * 4 * 18), (40, Some(0.1), 1 << 20), (40, Some(-0.2), 64 * 4 * 18)]
        {
            let hard = Hard { count, margin, memory, every: 1 };
            let mined = mine(&model, &data, &hard).unwrap();
            let mut gaps = (0.0, 0.0);
            for p in 0..90 {
                let (query, key) = (data.train.query[p], data.train.key[p]);
                let scores = &values[query as usize * 300..(query as usize + 1) * 300];
                let positive = scores[key as usize];
                let expected = naive(scores, data.known.of(query), positive, &hard);
                assert_eq!(mined.hard.row(p), expected, "pair {p}, {hard:?}");
                let best = expected.iter().map(|k| scores[*k as usize]).fold(f64::NEG_INFINITY, f64::max);
                if best.is_finite() {
                    gaps = (gaps.0 + positive - best, gaps.1 + 1.0);
                }
            }
            assert!((mined.gap.unwrap() - gaps.0 / gaps.1).abs() < 1e-4);
        }
        let little = Hard { memory: 1000, ..Hard::default() };
        assert!(mine(&model, &data, &little).is_err());
    }
}
