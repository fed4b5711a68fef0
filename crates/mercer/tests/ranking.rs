//! Rankings against all orders written out, blocks and threads, chance, baselines, intervals, splits.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::stream;
use mercer::evaluate::{Frequency, Judged, Placements, RankingMetrics, Scores, popularity};
use mercer::{
    Activation, DualEncoder, ErrorKind, Features, Form, Layer, Leakage, Pairs, Seed, Split, SplitRule, Tower,
    with_threads,
};
use proptest::prelude::*;

fn listed(cells: &[(u32, u32, f32)]) -> Pairs {
    let column = |f: fn(&(u32, u32, f32)) -> u32| cells.iter().map(f).collect();
    Pairs::new(column(|c| c.0), column(|c| c.1), cells.iter().map(|c| c.2).collect(), None).unwrap()
}

/// All orders of `items`.
fn orders(items: &[usize]) -> Vec<Vec<usize>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (i, &first) in items.iter().enumerate() {
        let rest: Vec<usize> = items[..i].iter().chain(&items[i + 1..]).copied().collect();
        all.extend(orders(&rest).into_iter().map(|tail| [vec![first], tail].concat()));
    }
    all
}

/// The mean of `f` over all orders of the candidates in which no score is above one before it.
fn over_orders(candidates: &[usize], score: &[f64], f: impl Fn(&[usize]) -> f64) -> f64 {
    let sorted = |order: &Vec<usize>| order.windows(2).all(|w| score[w[0]] >= score[w[1]]);
    let values: Vec<f64> = orders(candidates).iter().filter(|o| sorted(o)).map(|o| f(o)).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// One query of a ranking, by the book.
struct Query {
    score: Vec<f64>,
    /// Keys that are no candidates at all.
    outside: Vec<usize>,
    known: Vec<usize>,
    positive: BTreeMap<usize, f64>,
}

impl Query {
    fn negatives(&self) -> Vec<usize> {
        let free = |y: &usize| !self.outside.contains(y) && !self.known.contains(y) && !self.positive.contains_key(y);
        (0..self.score.len()).filter(free).collect()
    }

    /// The mean over orders of `f(rank)` of one positive among `rivals`.
    fn alone(&self, y: usize, mut rivals: Vec<usize>, f: impl Fn(f64) -> f64) -> f64 {
        rivals.push(y);
        over_orders(&rivals, &self.score, |order| f(1.0 + order.iter().position(|&o| o == y).unwrap() as f64))
    }

    /// The mean over orders of the list of negatives and positives.
    fn list(&self, f: impl Fn(&[usize]) -> f64) -> f64 {
        let candidates: Vec<usize> = self.negatives().into_iter().chain(self.positive.keys().copied()).collect();
        over_orders(&candidates, &self.score, f)
    }

    fn gain(&self, y: usize) -> f64 {
        self.positive.get(&y).copied().unwrap_or(0.0)
    }
}

fn by_the_book(queries: &[Query], k: usize) -> BTreeMap<&'static str, f64> {
    let used: Vec<&Query> = queries.iter().filter(|q| !q.positive.is_empty()).collect();
    let pairs: usize = used.iter().map(|q| q.positive.len()).sum();
    let over_pairs = |f: &dyn Fn(&Query, usize) -> f64| {
        used.iter().map(|q| q.positive.keys().map(|&y| f(q, y)).sum::<f64>()).sum::<f64>() / pairs as f64
    };
    let over_queries = |f: &dyn Fn(&Query) -> f64| used.iter().map(|q| f(q)).sum::<f64>() / used.len() as f64;
    let rivals_raw = |q: &Query, y: usize| -> Vec<usize> {
        (0..q.score.len()).filter(|o| *o != y && !q.outside.contains(o)).collect()
    };
    let dcg = |q: &Query, order: &[usize]| {
        order.iter().take(k).enumerate().map(|(i, &y)| q.gain(y) / (2.0 + i as f64).log2()).sum::<f64>()
    };
    let ideal = |q: &Query| {
        let mut best: Vec<usize> = q.positive.keys().copied().collect();
        best.sort_by(|a, b| q.gain(*b).total_cmp(&q.gain(*a)));
        dcg(q, &best)
    };
    let found = |q: &Query, order: &[usize]| order.iter().take(k).filter(|y| q.positive.contains_key(y)).count() as f64;
    let precision = |q: &Query, order: &[usize]| {
        let hits: Vec<f64> =
            (0..order.len()).filter(|&i| q.positive.contains_key(&order[i])).map(|i| i as f64 + 1.0).collect();
        hits.iter().enumerate().map(|(i, at)| (i as f64 + 1.0) / at).sum::<f64>() / hits.len() as f64
    };
    let first = |q: &Query, order: &[usize]| {
        1.0 / (1.0 + order.iter().position(|y| q.positive.contains_key(y)).unwrap() as f64)
    };
    let with_negatives: Vec<&&Query> = used.iter().filter(|q| !q.negatives().is_empty()).collect();
    let auc = |q: &Query| {
        let wins = |y: usize| -> f64 {
            let won = |n: &usize| match q.score[y].total_cmp(&q.score[*n]) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
            q.negatives().iter().map(won).sum()
        };
        q.positive.keys().map(|&y| wins(y)).sum::<f64>() / (q.positive.len() * q.negatives().len()) as f64
    };
    let mut all = BTreeMap::from([
        ("mean_rank", over_pairs(&|q, y| q.alone(y, q.negatives(), |r| r))),
        ("mean_rank_raw", over_pairs(&|q, y| q.alone(y, rivals_raw(q, y), |r| r))),
        ("mrr", over_pairs(&|q, y| q.alone(y, q.negatives(), |r| 1.0 / r))),
        ("hits", over_pairs(&|q, y| q.alone(y, q.negatives(), |r| f64::from(r <= k as f64)))),
        ("map", over_queries(&|q| q.list(|order| precision(q, order)))),
        ("mrr_first", over_queries(&|q| q.list(|order| first(q, order)))),
        ("ndcg", over_queries(&|q| q.list(|order| dcg(q, order) / ideal(q)))),
        ("recall", over_queries(&|q| q.list(|order| found(q, order)) / q.positive.len() as f64)),
        ("precision", over_queries(&|q| q.list(|order| found(q, order)) / k as f64)),
    ]);
    if !with_negatives.is_empty() {
        all.insert("auc", with_negatives.iter().map(|q| auc(q)).sum::<f64>() / with_negatives.len() as f64);
    }
    all
}

fn named(metrics: &RankingMetrics) -> BTreeMap<&'static str, f64> {
    let at = &metrics.at[0];
    let mut all = BTreeMap::from([
        ("mean_rank", metrics.mean_rank.mean),
        ("mean_rank_raw", metrics.mean_rank_raw.mean),
        ("mrr", metrics.mrr.mean),
        ("hits", at.hits.mean),
        ("map", metrics.map.mean),
        ("mrr_first", metrics.mrr_first.mean),
        ("ndcg", at.ndcg.mean),
        ("recall", at.recall.mean),
        ("precision", at.precision.mean),
    ]);
    all.extend(metrics.auc.map(|auc| ("auc", auc.mean)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Scores of few levels, so that most tie; every cell of every query is negative, positive, known or both.
    #[test]
    fn every_metric_is_its_mean_over_all_orders_of_ties(
        n in 1..4usize,
        m in 2..7usize,
        levels in prop::collection::vec(-1..=1i8, 64),
        roles in prop::collection::vec(0..6u8, 64),
        gains in prop::collection::vec(1..4u8, 64),
        one_set in any::<bool>(),
        k in 1..8usize,
    ) {
        let n = if one_set { m } else { n };
        let at = |x: usize, y: usize| (x * m + y) % 64;
        // Unit queries: the score is the key's coordinate.
        let queries: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(i / n == i % n))).collect();
        let keys: Vec<f32> = (0..m * n).map(|i| f32::from(levels[at(i % n, i / n)])).collect();
        let cells: Vec<(usize, usize)> = (0..n * m).map(|i| (i / m, i % m)).collect();
        let part = |wanted: &[u8]| -> Vec<(u32, u32, f32)> {
            let own = cells.iter().filter(|(x, y)| wanted.contains(&roles[at(*x, *y)]));
            own.map(|&(x, y)| (x as u32, y as u32, f32::from(gains[at(x, y)]))).collect()
        };
        // Role 0: positive. 1: known. 2: both, which is positive. 3: listed with value 0, which is a negative.
        let mut ranked = part(&[0, 2]);
        ranked.extend(part(&[3]).into_iter().map(|c| (c.0, c.1, 0.0)));
        let judged = Judged::new(n, (!one_set).then_some(m), &listed(&ranked), Some(&listed(&part(&[1, 2])))).unwrap();
        let book: Vec<Query> = (0..n).map(|x| {
            let of = |wanted: &[u8]| (0..m).filter(|y| wanted.contains(&roles[at(x, *y)]) && !(one_set && *y == x)).collect::<Vec<_>>();
            Query {
                score: (0..m).map(|y| f64::from(levels[at(x, y)])).collect(),
                outside: if one_set { vec![x] } else { Vec::new() },
                known: of(&[1]),
                positive: of(&[0, 2]).into_iter().map(|y| (y, f64::from(gains[at(x, y)]))).collect(),
            }
        }).collect();
        let scores = Scores::Embeddings { queries: &queries, keys: &keys, dim: n };
        let found = Placements::new(scores, &judged, None).unwrap().metrics(&[k]).unwrap();
        let positives: usize = book.iter().map(|q| q.positive.len()).sum();
        prop_assert_eq!(judged.pairs(), positives);
        let Some(found) = found else {
            prop_assert_eq!(positives, 0);
            return Ok(());
        };
        let (own, book) = (named(&found), by_the_book(&book, k));
        prop_assert_eq!(own.keys().collect::<Vec<_>>(), book.keys().collect::<Vec<_>>());
        for (name, value) in &own {
            prop_assert!((value - book[name]).abs() < 1e-12, "{name}: {value} instead of {}", book[name]);
        }
    }

    #[test]
    fn splits_hold_what_they_promise(
        cells in prop::collection::vec((0..12u32, 0..12u32, 0..6u8), 2..80),
        seed in any::<u64>(),
        one_set in any::<bool>(),
        valid in 0.0..0.4f64,
        test in 0.0..0.5f64,
        hold_valid in any::<bool>(),
    ) {
        let pairs = listed(&cells.iter().map(|c| (c.0, c.1, 1.0)).collect::<Vec<_>>());
        let times: Vec<f64> = cells.iter().map(|c| f64::from(c.2)).collect();
        let parts_of = |rule: SplitRule| rule.split(&pairs, Some(&times), one_set, Seed(seed));
        let of = |parts: &[Split], part: Split| (0..parts.len()).filter(|&p| parts[p] == part).collect::<Vec<_>>();

        // Random: repeated pairs stay together, so nothing leaks.
        if let Ok(parts) = parts_of(SplitRule::Random { valid, test }) {
            prop_assert_eq!(parts.len(), pairs.len());
            let leak = Leakage::within(&pairs, &parts, one_set);
            prop_assert_eq!((leak.same, leak.reversed), (0, 0));
            let unit = |p: usize| if one_set { (cells[p].0.min(cells[p].1), cells[p].0.max(cells[p].1)) } else { (cells[p].0, cells[p].1) };
            let units = |of: &[usize]| of.iter().map(|&p| unit(p)).collect::<BTreeSet<_>>().len();
            let all: Vec<usize> = (0..pairs.len()).collect();
            prop_assert_eq!(units(&of(&parts, Split::Test)), (units(&all) as f64 * test).round() as usize);
            prop_assert_eq!(parts_of(SplitRule::Random { valid, test }).unwrap(), parts);
        }

        // Leave one out: one distinct key a query, the latest, and never the only one.
        let parts = parts_of(SplitRule::LeaveOneOut { valid: hold_valid }).unwrap();
        for x in 0..12 {
            let own: Vec<usize> = (0..pairs.len()).filter(|&p| cells[p].0 == x).collect();
            let keys = |part: Option<Split>| -> BTreeSet<u32> {
                own.iter().filter(|&&p| part.is_none_or(|part| parts[p] == part)).map(|&p| cells[p].1).collect()
            };
            let distinct = keys(None).len();
            prop_assert_eq!(keys(Some(Split::Test)).len(), usize::from(distinct >= 2));
            prop_assert_eq!(keys(Some(Split::Valid)).len(), usize::from(distinct >= 3 && hold_valid));
            prop_assert!(distinct == 0 || !keys(Some(Split::Train)).is_empty());
            let latest = |key: &u32| own.iter().filter(|&&p| cells[p].1 == *key).map(|&p| cells[p].2).max().unwrap();
            let tested = keys(Some(Split::Test)).iter().map(latest).max();
            if let Some(tested) = tested {
                prop_assert!(keys(None).iter().all(|key| latest(key) <= tested));
            }
        }

        // Temporal: no pair of a part before one of an earlier part.
        if let Ok(parts) = parts_of(SplitRule::Temporal { valid, test }) {
            let ends = |part: Split| {
                let own: Vec<u8> = of(&parts, part).iter().map(|&p| cells[p].2).collect();
                (own.iter().copied().min(), own.iter().copied().max())
            };
            let (train, valid, test) = (ends(Split::Train), ends(Split::Valid), ends(Split::Test));
            for (early, late) in [(train, valid), (valid, test), (train, test)] {
                if let (Some(last), Some(first)) = (early.1, late.0) {
                    prop_assert!(last < first);
                }
            }
        }

        // New items: training and what reports have no held-out item in common.
        let sides: &[(SplitRule, bool, bool)] = if one_set {
            &[(SplitRule::NewItems { valid, test }, true, true)]
        } else {
            &[
                (SplitRule::NewItems { valid, test }, true, true),
                (SplitRule::NewQueries { valid, test }, true, false),
                (SplitRule::NewKeys { valid, test }, false, true),
            ]
        };
        for (rule, query_side, key_side) in sides {
            let Ok(parts) = parts_of(*rule) else { continue };
            let items = |part: Split| -> (BTreeSet<u32>, BTreeSet<u32>) {
                let own = of(&parts, part);
                let (mut x, mut y): (BTreeSet<u32>, BTreeSet<u32>) =
                    (own.iter().map(|&p| cells[p].0).collect(), own.iter().map(|&p| cells[p].1).collect());
                if one_set {
                    x.extend(y.iter().copied());
                    y = x.clone();
                }
                (x, y)
            };
            let train = items(Split::Train);
            // Each held-out pair has at least one item of a side that the rule speaks of which training lacks.
            for p in 0..pairs.len() {
                if parts[p] != Split::Train {
                    let new = (*query_side && !train.0.contains(&cells[p].0)) || (*key_side && !train.1.contains(&cells[p].1));
                    prop_assert!(new, "{rule}: pair {p}");
                }
            }
        }
    }
}

#[test]
fn a_worked_example() {
    // Query 0: keys by score 3 1 4 0 2 (values .9 .7 .5 .3 .1). Related: 1 (value 3) and 2 (value 1); key 4 is known from training.
    let scores = [0.3, 0.7, 0.1, 0.9, 0.5];
    let judged = Judged::new(1, Some(5), &listed(&[(0, 1, 3.0), (0, 2, 1.0)]), Some(&listed(&[(0, 4, 1.0)]))).unwrap();
    assert_eq!((judged.queries(), judged.pairs(), judged.left_out()), (1, 2, 1));
    let found = Placements::new(Scores::Keys(&scores), &judged, None).unwrap().metrics(&[1, 2, 4]).unwrap().unwrap();
    // Negatives 3 and 0: ranks 2 and 3 among them, 2 and 5 among all. The list is 3 1 0 2.
    assert_eq!((found.mean_rank.mean, found.mean_rank_raw.mean, found.negatives), (2.5, 3.5, 2.0));
    assert_eq!(found.auc.unwrap().mean, 0.25);
    let close = |own: f64, expected: f64| assert!((own - expected).abs() < 1e-15, "{own}, {expected}");
    close(found.mrr.mean, (0.5 + 1.0 / 3.0) / 2.0);
    close(found.map.mean, 0.5);
    close(found.mrr_first.mean, 0.5);
    let third = 1.0 / 3.0_f64.log2();
    close(found.at[0].ndcg.mean, 0.0);
    close(found.at[1].ndcg.mean, 3.0 * third / (3.0 + third));
    close(found.at[2].ndcg.mean, (3.0 * third + 1.0 / 5.0_f64.log2()) / (3.0 + third));
    assert_eq!(found.at.iter().map(|a| a.recall.mean).collect::<Vec<_>>(), [0.0, 0.5, 1.0]);
    assert_eq!(found.at.iter().map(|a| a.precision.mean).collect::<Vec<_>>(), [0.0, 0.5, 0.5]);
    assert_eq!(found.at.iter().map(|a| a.hits.mean).collect::<Vec<_>>(), [0.0, 0.5, 1.0]);
    // One query says nothing of its spread.
    assert_eq!((found.map.standard_error, found.map.low), (None, None));
    assert!(serde_json::to_value(&found).unwrap()["at"][0]["ndcg"]["mean"].is_number());
}

/// Random ratings of `n` queries and `m` keys with small integer embeddings: many ties, exact in `f32`.
struct Random {
    queries: Vec<f32>,
    keys: Vec<f32>,
    test: Pairs,
    train: Pairs,
}

const DIM: usize = 3;

fn random(n: usize, m: usize, name: &str) -> Random {
    let mut stream = stream(name);
    let mut integers = |count: usize| (0..count).map(|_| stream.below(9) as f32 - 4.0).collect::<Vec<f32>>();
    let (queries, keys) = (integers(n * DIM), integers(m * DIM));
    let mut cells = || {
        let draw = |_| (stream.below(n) as u32, stream.below(m) as u32, 1.0 + stream.below(3) as f32);
        listed(&(0..6 * n).map(draw).collect::<Vec<_>>())
    };
    Random { test: cells(), train: cells(), queries, keys }
}

impl Random {
    fn scores(&self) -> Scores<'_> {
        Scores::Embeddings { queries: &self.queries, keys: &self.keys, dim: DIM }
    }

    fn judged(&self) -> Judged {
        Judged::new(self.queries.len() / DIM, Some(self.keys.len() / DIM), &self.test, Some(&self.train)).unwrap()
    }
}

#[test]
fn many_keys_agree_with_sorting_them_all() {
    let data = random(150, 1033, "sorting");
    let judged = data.judged();
    let found = Placements::new(data.scores(), &judged, None).unwrap().metrics(&[20]).unwrap().unwrap();
    let cells = |pairs: &Pairs| -> BTreeSet<(u32, u32)> {
        pairs.chunk().x.iter().copied().zip(pairs.chunk().y.iter().copied()).collect()
    };
    let (test, train) = (cells(&data.test), cells(&data.train));
    let (mut ranks, mut raw, mut auc) = (Vec::new(), Vec::new(), BTreeMap::<u32, Vec<f64>>::new());
    for &(x, y) in &test {
        let score = |y: u32| {
            (0..DIM).map(|k| data.queries[x as usize * DIM + k] * data.keys[y as usize * DIM + k]).sum::<f32>()
        };
        let rank = |rivals: &dyn Fn(u32) -> bool| {
            let rivals: Vec<f32> = (0..1033).filter(|&o| o != y && rivals(o)).map(score).collect();
            let count = |holds: &dyn Fn(f32) -> bool| rivals.iter().filter(|v| holds(**v)).count() as f64;
            (1.0 + count(&|v| v > score(y)) + 0.5 * count(&|v| v == score(y)), rivals.len() as f64)
        };
        let (own, negatives) = rank(&|o| !test.contains(&(x, o)) && !train.contains(&(x, o)));
        ranks.push(own);
        raw.push(rank(&|_| true).0);
        auc.entry(x).or_default().push(1.0 - (own - 1.0) / negatives);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert_eq!((found.pairs, found.queries), (test.len(), auc.len()));
    assert!((found.mean_rank.mean - mean(&ranks)).abs() < 1e-9);
    assert!((found.mean_rank_raw.mean - mean(&raw)).abs() < 1e-9);
    let by_query: Vec<f64> = auc.values().map(|own| mean(own)).collect();
    assert!((found.auc.unwrap().mean - mean(&by_query)).abs() < 1e-12);
    // The interval is Student's over queries.
    let spread = by_query.iter().map(|v| (v - mean(&by_query)).powi(2)).sum::<f64>();
    let error = (spread / (by_query.len() as f64 * (by_query.len() as f64 - 1.0))).sqrt();
    assert!((found.auc.unwrap().standard_error.unwrap() - error).abs() < 1e-12);
}

#[test]
fn blocks_and_threads_never_change_a_bit() {
    let data = random(700, 2100, "blocks");
    let judged = data.judged();
    let whole = Placements::new(data.scores(), &judged, None).unwrap();
    let metrics = whole.metrics(&[5, 50]).unwrap();
    let needed = |limit: Option<u64>| Placements::blocks(data.scores(), &judged, limit).map(Option::unwrap);
    let all = needed(None).unwrap();
    assert_eq!((all.queries, all.keys), (768, 2112));
    let mut seen = BTreeSet::new();
    let mut limit = all.bytes;
    while let Ok(blocks) = needed(Some(limit)) {
        assert!(blocks.bytes <= limit);
        if seen.insert((blocks.queries, blocks.keys)) {
            assert!(Placements::new(data.scores(), &judged, Some(limit)).unwrap() == whole, "{blocks:?}");
        }
        limit = blocks.bytes - 1;
    }
    assert!(seen.len() > 5 && seen.contains(&(96, 64)), "{seen:?}");
    let error = Placements::new(data.scores(), &judged, Some(limit)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Parameter { .. }) && error.to_string().contains("KiB"), "{error}");
    for threads in [1, 2, 3] {
        let (places, own) = with_threads(Some(threads), || {
            let places = Placements::new(data.scores(), &judged, None).unwrap();
            let metrics = places.metrics(&[5, 50]).unwrap();
            (places, metrics)
        })
        .unwrap();
        assert!(places == whole && own == metrics);
    }
}

#[test]
fn the_stated_need_is_the_size_of_the_buffers() {
    let data = random(700, 2100, "blocks");
    let judged = data.judged();
    with_threads(Some(2), || {
        let blocks = Placements::blocks(data.scores(), &judged, Some(150_000)).unwrap().unwrap();
        let held = blocks.queries.min(judged.queries());
        let embedding = 4 * DIM;
        let places = 16 * judged.pairs();
        // Per related key its score and, where it is ranked, a threshold and four counts; no block has more than all of them.
        let listed = 24 * judged.pairs() + 4 * judged.left_out();
        let threads = 2 * (96 * 64 * 4 + 64 * embedding);
        let blocks_of_rows = 2 * (held + blocks.keys) * embedding;
        let bytes = blocks.bytes as usize;
        assert!(bytes <= places + listed + threads + blocks_of_rows, "{blocks:?}");
        assert!(bytes >= places + threads + blocks_of_rows, "{blocks:?}");
    })
    .unwrap();
}

#[test]
fn a_model_ranks_as_its_embeddings_do() {
    let mut stream = stream("model");
    let mut normal = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
    let tower =
        |weights: Vec<f32>| Tower::new(vec![Layer::new(weights, vec![0.1; 6], Activation::Sine).unwrap()]).unwrap();
    let model = DualEncoder::new(
        tower(normal(24)),
        Some(tower(normal(24))),
        Form::Signs(vec![1.0, -1.0, 1.0, 1.0, -1.0, -1.0]),
        1,
    )
    .unwrap();
    let (queries, keys) = (Features::dense(normal(200 * 4), 4).unwrap(), Features::dense(normal(5000 * 4), 4).unwrap());
    let cells: Vec<(u32, u32, f32)> = (0..600).map(|p| (p * 7 % 200, p * 31 % 5000, 1.0)).collect();
    let judged = Judged::new(200, Some(5000), &listed(&cells), None).unwrap();
    let (q, k) = (model.embed_queries(&queries.rows()).unwrap(), model.embed_keys(&keys.rows()).unwrap());
    let given = Placements::new(Scores::Embeddings { queries: &q, keys: &k, dim: 6 }, &judged, None).unwrap();
    let scores = Scores::Model { model: &model, queries: &queries, keys: Some(&keys) };
    let least = Placements::blocks(scores, &judged, None).unwrap().unwrap().bytes / 2;
    for limit in [None, Some(least)] {
        assert!(Placements::new(scores, &judged, limit).unwrap() == given);
    }
}

#[test]
fn equal_embeddings_tie_exactly_and_constant_models_are_as_good_as_chance() {
    let (n, m, k) = (40, 777, 10);
    let mut stream = stream("chance");
    let row: Vec<f32> = (0..37).map(|_| stream.normal() as f32).collect();
    let keys = row.repeat(m);
    let queries: Vec<f32> = (0..n * 37).map(|_| stream.normal() as f32).collect();
    let cells: Vec<(u32, u32, f32)> = (0..4 * n as u32).map(|p| (p % n as u32, p * 131 % m as u32, 1.0)).collect();
    let judged = Judged::new(n, Some(m), &listed(&cells), None).unwrap();
    let constant =
        Placements::new(Scores::Embeddings { queries: &queries, keys: &keys, dim: 37 }, &judged, None).unwrap();
    let equal = Placements::new(Scores::Equal, &judged, None).unwrap();
    assert!(constant == equal);
    let found = constant.metrics(&[k]).unwrap().unwrap();
    // Four related keys among 777, so 773 negatives.
    let (negatives, all) = (773.0, 777.0);
    let close = |own: f64, expected: f64| assert!((own - expected).abs() < 1e-12 * expected, "{own}, {expected}");
    close(found.mean_rank.mean, 1.0 + negatives / 2.0);
    close(found.mean_rank_raw.mean, 1.0 + (all - 1.0) / 2.0);
    close(found.auc.unwrap().mean, 0.5);
    close(found.at[0].hits.mean, k as f64 / (negatives + 1.0));
    close(found.at[0].recall.mean, k as f64 / all);
    close(found.at[0].precision.mean, 4.0 / all);
    close(found.mrr.mean, (1..=774).map(|i| 1.0 / f64::from(i)).sum::<f64>() / 774.0);
    // Random scores without ties: their mean over draws.
    let metrics = |_| {
        let scores: Vec<f32> = (0..m).map(|_| stream.normal() as f32).collect();
        let own = Placements::new(Scores::Keys(&scores), &judged, None).unwrap().metrics(&[k]).unwrap().unwrap();
        [own.map.mean, own.mrr_first.mean, own.at[0].ndcg.mean, own.mrr.mean]
    };
    let draws: Vec<[f64; 4]> = (0..400).map(metrics).collect();
    let chance = [found.map.mean, found.mrr_first.mean, found.at[0].ndcg.mean, found.mrr.mean];
    for (c, expected) in chance.into_iter().enumerate() {
        let mean = draws.iter().map(|d| d[c]).sum::<f64>() / 400.0;
        let error = (draws.iter().map(|d| (d[c] - mean).powi(2)).sum::<f64>()).sqrt() / 400.0;
        assert!((mean - expected).abs() < 4.5 * error, "metric {c}: {mean} +- {error}, {expected}");
    }
}

#[test]
fn popularity_beats_chance_where_keys_are_skewed_and_heads_are_easier() {
    let (n, m) = (300, 200);
    let mut stream = stream("popular");
    // Key y is drawn with probability proportional to 1 / (1 + y), independently of the query.
    let weights: Vec<f64> = (0..m).map(|y| 1.0 / (1.0 + y as f64)).collect();
    let total: f64 = weights.iter().sum();
    let mut draw = || {
        let mut left = stream.uniform() * total;
        weights
            .iter()
            .position(|w| {
                left -= w;
                left < 0.0
            })
            .unwrap_or(m - 1) as u32
    };
    let mut cells = |each: u32| listed(&(0..n as u32 * each).map(|p| (p % n as u32, draw(), 1.0)).collect::<Vec<_>>());
    let (train, test) = (cells(8), cells(2));
    let judged = Judged::new(n, Some(m), &test, Some(&train)).unwrap();
    let counts = popularity(&train, m);
    assert_eq!(counts.iter().sum::<f32>(), (8 * n) as f32);
    let places = Placements::new(Scores::Keys(&counts), &judged, None).unwrap();
    let popular = places.metrics(&[10]).unwrap().unwrap();
    let chance = Placements::new(Scores::Equal, &judged, None).unwrap().metrics(&[10]).unwrap().unwrap();
    assert!(popular.at[0].ndcg.low > chance.at[0].ndcg.high && popular.auc.unwrap().low > Some(0.6));
    let thirds = Frequency::of(&counts);
    let part = |wanted: Frequency| places.metrics_of(&[10], |_, y| thirds[y as usize] == wanted).unwrap().unwrap();
    let (head, tail) = (part(Frequency::Head), part(Frequency::Tail));
    assert!(head.at[0].recall.low > tail.at[0].recall.high);
    assert_eq!(head.pairs + part(Frequency::Middle).pairs + tail.pairs, popular.pairs);
    // Each third holds about a third of the training.
    let share =
        |wanted: Frequency| (0..m).filter(|&y| thirds[y] == wanted).map(|y| counts[y]).sum::<f32>() / (8 * n) as f32;
    assert!((share(Frequency::Head) - 1.0 / 3.0).abs() < 0.1 && (share(Frequency::Tail) - 1.0 / 3.0).abs() < 0.1);
}

#[test]
fn intervals_cover_the_mean_of_all_queries_though_pairs_of_one_query_agree() {
    // A query has 1 to 8 related keys, all of them at one place that the query shares: pairs are far from independent.
    let mut stream = stream("coverage");
    let m = 64;
    let mut ask = |queries: usize| {
        let (mut cells, mut embeddings) = (Vec::new(), Vec::new());
        for x in 0..queries as u32 {
            let (count, place) = (1 + stream.below(8) as u32, stream.below(m) as f32);
            cells.extend((0..count).map(|y| (x, y, 1.0)));
            embeddings.extend([1.0, place]);
        }
        // Related keys score 0, the others their number minus the query's place.
        let keys: Vec<f32> = (0..m).flat_map(|y| if y < 8 { [0.0, 0.0] } else { [y as f32, -1.0] }).collect();
        let judged = Judged::new(queries, Some(m), &listed(&cells), None).unwrap();
        let scores = Scores::Embeddings { queries: &embeddings, keys: &keys, dim: 2 };
        Placements::new(scores, &judged, None).unwrap().metrics(&[5]).unwrap().unwrap()
    };
    let truth = ask(60_000);
    let mut covered = [0; 3];
    for _ in 0..300 {
        let sample = ask(250);
        let pairs = [(sample.mean_rank, truth.mean_rank), (sample.map, truth.map), (sample.mrr, truth.mrr)];
        for (count, (own, all)) in covered.iter_mut().zip(pairs) {
            *count += u32::from(own.low.unwrap() <= all.mean && all.mean <= own.high.unwrap());
        }
    }
    // 285 expected, standard deviation 3.8. Reciprocal ranks, here mostly near 0, need the most queries: 50 cover .81 only.
    assert!(covered.iter().all(|&c| (270..=296).contains(&c)), "{covered:?}");
}

#[test]
fn what_cannot_be_ranked_is_refused() {
    let pairs = listed(&[(0, 1, 1.0)]);
    assert!(Judged::new(1, Some(1), &pairs, None).unwrap_err().to_string().contains("key item below 1"));
    assert!(Judged::new(1, Some(2), &pairs, Some(&listed(&[(1, 0, 1.0)]))).is_err());
    let judged = Judged::new(1, Some(2), &pairs, None).unwrap();
    let new = |scores: Scores<'_>| Placements::new(scores, &judged, None);
    let embeddings = |queries: &'static [f32], keys: &'static [f32], dim| Scores::Embeddings { queries, keys, dim };
    assert!(new(embeddings(&[1.0], &[1.0, 2.0], 0)).is_err());
    assert!(new(embeddings(&[1.0], &[1.0, 2.0, 3.0], 1)).unwrap_err().to_string().contains("2 keys"));
    assert!(matches!(new(embeddings(&[f32::NAN], &[1.0, 2.0], 1)).unwrap_err().kind(), ErrorKind::NonFinite { .. }));
    assert!(matches!(
        new(embeddings(&[1.0], &[1.0, f32::INFINITY], 1)).unwrap_err().kind(),
        ErrorKind::NonFinite { row: 1, .. }
    ));
    assert!(new(embeddings(&[1e30], &[1e30, 1.0], 1)).unwrap_err().to_string().contains("exceed"));
    assert!(new(Scores::Keys(&[1.0, f32::NAN])).is_err() && new(Scores::Keys(&[1.0])).is_err());
    let places = new(Scores::Equal).unwrap();
    assert!(places.metrics(&[0]).is_err() && places.metrics(&[1 << 30]).is_err());
    assert_eq!(places.metrics_of(&[1], |_, _| false).unwrap(), None);
    // In one set an item is never related to itself; nothing is left to rank.
    let own = Judged::new(2, None, &listed(&[(1, 1, 1.0)]), None).unwrap();
    assert_eq!((own.queries(), Placements::new(Scores::Equal, &own, None).unwrap().metrics(&[]).unwrap()), (0, None));
}

#[test]
fn split_rules_are_checked_and_written_as_they_are_read() {
    let pairs = listed(&[(0, 1, 1.0), (1, 0, 1.0), (1, 2, 1.0)]);
    for text in [
        "random:0.1,0.2",
        "leave-one-out",
        "leave-one-out:valid",
        "temporal:0,0.3",
        "new-items:0.1,0.1",
        "new-queries:0,0.5",
        "new-keys:0.5,0",
    ] {
        assert_eq!(text.parse::<SplitRule>().unwrap().to_string(), text);
    }
    for text in ["", "half", "random:", "random:.1", "random:a,b", "leave-one-out:3", "k-fold:.1,.1"] {
        assert!(text.parse::<SplitRule>().is_err(), "{text}");
    }
    let split = |text: &str, times: Option<&[f64]>, one_set| {
        text.parse::<SplitRule>().unwrap().split(&pairs, times, one_set, Seed(1))
    };
    for (text, times, one_set, word) in [
        ("random:.5,.5", None, false, "below 1 together"),
        ("random:-.1,.5", None, false, "validation"),
        ("random:0,NaN", None, false, "test"),
        ("temporal", None, false, "needs the time"),
        ("temporal", Some(&[1.0, 1.0, 1.0][..]), false, "one time"),
        ("temporal", Some(&[1.0, 1.0][..]), false, "3 pairs"),
        ("temporal", Some(&[1.0, 2.0, f64::NAN][..]), false, "NaN"),
        ("new-keys", None, true, "new-items"),
        ("new-items:0,.9", None, true, "no pair to train"),
    ] {
        let error = split(text, times, one_set).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    // A pair and its reverse of one set are kept together at random, and reported where a rule parts them.
    let parts = [Split::Train, Split::Test, Split::Test];
    assert_eq!(Leakage::within(&pairs, &parts, true), Leakage { pairs: 2, same: 0, reversed: 1 });
    assert_eq!(Leakage::within(&pairs, &parts, false).reversed, 0);
    // Equal times stay together, at the end of their run that is nearer to the share.
    let times = [1.0, 2.0, 2.0];
    assert_eq!(split("temporal:0,.34", Some(&times), false).unwrap(), [Split::Train, Split::Test, Split::Test]);
}
