//! Attention: what is retrieved at which temperature, over how many keys, and how little of the keys it takes.

use crate::attention::{AttentionMap, Map};
use crate::error::Result;
use crate::fit::{Dimension, Options, Progress, Silent, spectral};
use crate::relation::{Law, PointRelation};
use crate::retrieval::{Certified, KeysHeld, Request, Temperature, guaranteed_weight, inverse_temperature, keys_held};
use crate::rows::Features;
use crate::seed::{Seed, Stream};
use crate::verify::{Verification, WeightCurve, WeightFigure, WeightsOver};

/// The best key's weight shall be `1 - EPS`.
const EPS: f64 = 1e-3;
/// Numbers of keys over which weights are looked at.
const KEYS: [usize; 5] = [10, 100, 1000, 10_000, 100_000];
/// Queries of each relation.
const QUERIES: usize = 20;

pub(crate) fn verify(found: &mut Verification, seed: Seed, progress: &dyn Progress) -> Result<()> {
    progress.stage("attention");
    selection(found, seed)?;
    dispersion(found)?;
    thresholds(found)?;
    many_keys(found, seed)
}

/// Queries and keys `(n, dim)` of one relation.
struct Items {
    relation: &'static str,
    queries: Vec<f32>,
    keys: Vec<f32>,
    dim: usize,
}

fn normal(n: usize, stream: &mut Stream) -> Vec<f32> {
    (0..n).map(|_| stream.normal() as f32).collect()
}

/// A random relation, and one that was learned: a utility of points on a square.
fn relations(seed: Seed) -> Result<[Items; 2]> {
    let most = KEYS[KEYS.len() - 1];
    let mut stream = seed.stream("attention");
    let random = Items {
        relation: "a random relation of dimension 8",
        queries: normal(8 * QUERIES, &mut stream),
        keys: normal(8 * most, &mut stream),
        dim: 8,
    };
    let utility = PointRelation(|x: &[f32], y: &[f32]| {
        let distance = x.iter().zip(y).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        -distance.sqrt()
    });
    let law = Law::Cube { dim: 2 };
    let options = Options { dimension: Dimension::Fixed(16), units: Some(128), seed, ..Options::default() };
    let model = spectral(&utility, law, None, &options, &Silent)?.encoder;
    let mut embed = |n: usize, query: bool| -> Result<Vec<f32>> {
        let points: Features = law.draw(n, &mut stream)?;
        if query { model.embed_queries(&points.rows()) } else { model.embed_keys(&points.rows()) }
    };
    let learned = Items {
        relation: "a learned utility on a square",
        queries: embed(QUERIES, true)?,
        keys: embed(most, false)?,
        dim: model.dim(),
    };
    Ok([random, learned])
}

/// The least weight of the best key over the queries beside what was guaranteed, at the computed temperature.
fn selection(found: &mut Verification, seed: Seed) -> Result<()> {
    for items in relations(seed)? {
        let (mut cases, mut broken, mut aimed) = (0, 0, 0);
        let (mut measured, mut bounds) = (Vec::new(), Vec::new());
        for n in KEYS {
            let index = Certified::new(&items.keys[..n * items.dim], items.dim, None)?;
            // Each query at its own temperature: the one that its own gap needs.
            let (mut least, mut bound) = (f64::INFINITY, f64::INFINITY);
            for query in items.queries.chunks_exact(items.dim) {
                let request = Request { temperature: Temperature::Auto { share: 1.0 }, eps: EPS, ..Request::default() };
                let Ok(attended) = index.attend(query, &request) else { continue };
                let own = &attended.queries[0];
                let Some(guaranteed) = own.guaranteed else { continue };
                let weight = own.selected_weight();
                cases += 1;
                // Weights are sums of rounded numbers.
                broken += usize::from(weight < guaranteed * (1.0 - 1e-9));
                aimed += usize::from(guaranteed >= (1.0 - EPS) * (1.0 - 1e-9));
                (least, bound) = (least.min(weight), bound.min(guaranteed));
            }
            measured.push((n as f64, least));
            bounds.push((n as f64, bound));
        }
        found.claim(
            "attention selects",
            format!("softmax at the computed temperature gives the best key its weight: {}", items.relation),
            format!("at least {} for {QUERIES} queries and 10 to {} keys", 1.0 - EPS, KEYS[KEYS.len() - 1]),
            format!("{broken} of {cases} weights below what is guaranteed; {aimed} guaranteed {}", 1.0 - EPS),
            broken == 0 && aimed == cases && cases > QUERIES,
        );
        found.weights.push(WeightFigure {
            relation: format!("{}, the least of {QUERIES} queries", items.relation),
            over: WeightsOver::Keys,
            curves: vec![WeightCurve { map: Map::Softmax.to_string(), measured, guaranteed: bounds }],
        });
        found.weights.push(over_temperatures(&items)?);
    }
    Ok(())
}

/// The weight of one query's best key against the inverse temperature.
fn over_temperatures(items: &Items) -> Result<WeightFigure> {
    let n = 1000;
    let index = Certified::new(&items.keys[..n * items.dim], items.dim, None)?;
    let query = &items.queries[..items.dim];
    let first =
        index.attend(query, &Request { temperature: Temperature::Given { beta: 1.0 }, ..Request::default() })?;
    let gap = first.queries[0].gap;
    let mut curves = Vec::new();
    for map in [Map::Softmax, Map::entmax(1.5)?, Map::Sparsemax] {
        let mut curve = Vec::new();
        let mut bound = Vec::new();
        for step in 0..=48 {
            let beta = 10f64.powf(f64::from(step) / 12.0 - 2.0) / gap;
            let request = Request { map, temperature: Temperature::Given { beta }, ..Request::default() };
            let attended = index.attend(query, &request)?;
            curve.push((beta, attended.queries[0].selected_weight()));
            bound.push((beta, guaranteed_weight(map, n, beta, gap)?));
        }
        curves.push(WeightCurve { map: map.to_string(), measured: curve, guaranteed: bound });
    }
    let relation = format!("{}, one query and {n} keys", items.relation);
    Ok(WeightFigure { relation, over: WeightsOver::InverseTemperature, curves })
}

/// With all rivals exactly at the margin the guarantee is the weight, and a temperature for `n` keys fails at `100 n`.
fn dispersion(found: &mut Verification) -> Result<()> {
    let (n, gap) = (1000, 0.5);
    let beta = inverse_temperature(Map::Softmax, n, gap, EPS)?;
    let weight = |keys: usize| {
        let mut scores = vec![-gap; keys];
        scores[keys / 2] = 0.0;
        let mut weights = vec![0.0; keys];
        Map::Softmax.weights_f64(&scores, keys, beta, &mut weights);
        weights[keys / 2]
    };
    let held = match keys_held(Map::Softmax, beta, gap, EPS)? {
        KeysHeld::UpTo(most) => most,
        KeysHeld::All => f64::INFINITY,
    };
    let (own, many) = (weight(n), weight(100 * n));
    found.claim(
        "attention selects",
        format!("with all rivals at the margin the temperature for {n} keys holds for them and fails for {}", 100 * n),
        format!(
            "{:.4} and {:.4}; holds up to {n} keys",
            1.0 - EPS,
            guaranteed_weight(Map::Softmax, 100 * n, beta, gap)?
        ),
        format!("{own:.4} and {many:.4}; said to hold up to {held} keys"),
        (own - (1.0 - EPS)).abs() < 1e-9 && many < 1.0 - EPS && held == n as f64,
    );
    Ok(())
}

/// Alpha-entmax gives the best key exactly 1 from the gap `1 / (alpha - 1)` on.
fn thresholds(found: &mut Verification) -> Result<()> {
    let (mut exact, mut below, mut cases) = (0, 0, 0);
    for alpha in [1.25, 1.5, 2.0, 3.0] {
        let map = Map::entmax(alpha)?;
        for rivals in [1, 9, 999] {
            let weight = |gap: f64| {
                let mut scores = vec![0.0; rivals + 1];
                scores[rivals] = gap;
                let mut weights = vec![0.0; rivals + 1];
                map.weights_f64(&scores, rivals + 1, 1.0, &mut weights);
                weights[rivals]
            };
            let threshold = 1.0 / (alpha - 1.0);
            cases += 1;
            exact += usize::from(weight(threshold) == 1.0);
            below += usize::from(weight(0.9 * threshold) < 1.0);
        }
    }
    found.claim(
        "attention selects",
        "alpha-entmax gives the best key exactly all weight from the gap 1 / (alpha - 1) on (alpha 1.25, 1.5, 2, 3)"
            .into(),
        "weight 1 at that gap, less at 0.9 of it".into(),
        format!("1 in {exact} of {cases} cases, less in {below}"),
        exact == cases && below == cases,
    );
    Ok(())
}

/// Clustered keys: outputs from the few keys that matter are those of all keys.
fn many_keys(found: &mut Verification, seed: Seed) -> Result<()> {
    let (n, dim, clusters, tolerance) = (50_000, 32, 500, 1e-6);
    let mut stream = seed.stream("clustered keys");
    let centres = normal(clusters * dim, &mut stream);
    let around = |cluster: usize, spread: f64, stream: &mut Stream| -> Vec<f32> {
        let centre = &centres[cluster * dim..(cluster + 1) * dim];
        centre.iter().map(|c| c + (spread * stream.normal()) as f32).collect()
    };
    let mut keys = Vec::with_capacity(n * dim);
    for _ in 0..n {
        let cluster = stream.below(clusters);
        keys.extend(around(cluster, 0.3, &mut stream));
    }
    let mut queries = Vec::new();
    for _ in 0..QUERIES {
        let cluster = stream.below(clusters);
        queries.extend(around(cluster, 0.3, &mut stream));
    }
    let values = normal(n, &mut stream);
    let index = Certified::new(&keys, dim, Some((&values, 1)))?;
    let request = Request { temperature: Temperature::Auto { share: 0.5 }, eps: EPS, ..Request::default() };
    let beta = index.attend(&queries, &request)?.certificate.beta;
    let outputs = index.outputs(&queries, beta, tolerance)?;
    let spread =
        values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - values.iter().copied().fold(f32::INFINITY, f32::min);
    let mut worst: f64 = 0.0;
    for (query, output) in queries.chunks_exact(dim).zip(&outputs.outputs) {
        let exact = exact_output(query, &keys, &values, beta);
        worst = worst.max((exact - output).abs() / f64::from(spread));
    }
    let kept = outputs.efforts.iter().map(|e| e.kept).sum::<u64>() as f64 / (QUERIES * n) as f64;
    found.claim(
        "attention over many keys",
        format!("outputs over {n} clustered keys, from those that the certificate keeps, are those of all keys"),
        format!("error at most {tolerance:e} of the diameter of the values"),
        format!("{worst:.1e} at inverse temperature {beta:.3}, from {:.4} % of the keys", 100.0 * kept),
        worst <= tolerance,
    );
    Ok(())
}

/// Softmax attention over all keys in `f64`.
fn exact_output(query: &[f32], keys: &[f32], values: &[f32], beta: f64) -> f64 {
    let product = |key: &[f32]| -> f64 { query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let scores: Vec<f64> = keys.chunks_exact(query.len()).map(product).collect();
    let mut weights = vec![0.0; scores.len()];
    Map::Softmax.weights_f64(&scores, scores.len(), beta, &mut weights);
    weights.iter().zip(values).map(|(w, v)| w * f64::from(*v)).sum()
}
