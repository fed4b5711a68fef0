//! The retrieval theorem in numbers, and attention over many keys against sums over all of them.

use mercer::attention::{AttentionMap, Map};
use mercer::fit::{Dimension, Options, Silent, spectral};
use mercer::retrieval::{
    Certified, KeysHeld, Request, Temperature, attend, guaranteed_weight, inverse_temperature, keys_held,
};
use mercer::{ErrorKind, Features, Kernel, Law, Seed, with_threads};

fn normals(name: &str, count: usize) -> Vec<f32> {
    let mut stream = Seed(3).stream(name);
    (0..count).map(|_| stream.normal() as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn scores(query: &[f32], keys: &[f32]) -> Vec<f64> {
    keys.chunks_exact(query.len()).map(|key| dot(query, key)).collect()
}

/// Softmax weights over all keys.
fn softmax(scores: &[f64], beta: f64) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (beta * (s - most)).exp()).collect();
    let mass: f64 = weights.iter().sum();
    weights.iter().map(|w| w / mass).collect()
}

fn maps() -> [Map; 4] {
    [Map::Softmax, Map::Sparsemax, Map::entmax(1.5).unwrap(), Map::Hard]
}

#[test]
fn random_relations_have_the_weight_that_the_certificate_says() {
    let (dim, queries) = (16, normals("queries", 12 * 16));
    for n in [2, 10, 100, 1000, 10_000, 100_000] {
        let keys = normals("keys", n * dim);
        let index = Certified::new(&keys, dim, None).unwrap();
        for map in maps() {
            for share in [1.0, 0.5] {
                let request = Request { map, temperature: Temperature::Auto { share }, ..Request::default() };
                let found = index.attend(&queries, &request).unwrap();
                let certificate = &found.certificate;
                assert!(certificate.tied.is_empty() && certificate.served * 2 >= found.queries.len());
                for (query, own) in queries.chunks_exact(dim).zip(&found.queries) {
                    let scores = scores(query, &keys);
                    let mut weights = softmax(&scores, certificate.beta);
                    if map != Map::Softmax {
                        map.weights_f64(&scores, n, certificate.beta, &mut weights);
                    }
                    let (weight, guaranteed) = (weights[own.selected as usize], own.guaranteed.unwrap());
                    assert!(scores.iter().all(|s| *s <= scores[own.selected as usize] + 1e-12));
                    assert!(weight >= guaranteed - 1e-12, "{map}, {n} keys: {weight} below {guaranteed}");
                    assert!((own.selected_weight() - weight).abs() <= own.outside + 1e-9, "{map}, {n} keys");
                    assert!(
                        own.selected_weight() >= guaranteed - 1e-12 && guaranteed >= certificate.guaranteed.unwrap()
                    );
                }
                if share == 1.0 {
                    assert_eq!(certificate.served, found.queries.len());
                    let least = if map == Map::Softmax { 0.999 * (1.0 - 1e-9) } else { 1.0 };
                    assert!(certificate.guaranteed.unwrap() >= least);
                    assert!(certificate.keys_held.unwrap().holds(n));
                }
            }
        }
    }
}

#[test]
fn a_learned_relation_selects_as_the_relation_does() {
    let kernel = Kernel::matern52(1.0).unwrap();
    let options = Options { dimension: Dimension::Fixed(16), units: Some(64), ..Options::default() };
    let model = spectral(&kernel, Law::Cube { dim: 1 }, None, &options, &Silent).unwrap().encoder;
    // Each query is a key; all other keys stay away from it.
    let own = [0.4f32, 0.7, 1.0];
    let mut stream = Seed(8).stream("keys");
    let mut all: Vec<f32> = own.to_vec();
    all.extend((3..100_000).map(|_| (-1.0 + 1.1 * stream.uniform()) as f32));
    let queries = model.embed_queries(&Features::dense(own.to_vec(), 1).unwrap().rows()).unwrap();
    let embedded = model.embed_keys(&Features::dense(all.clone(), 1).unwrap().rows()).unwrap();
    // Matérn 5/2 at length 1.
    let relation = |x: f32, y: f32| {
        let r = 5f64.sqrt() * (f64::from(x) - f64::from(y)).abs();
        (1.0 + r + r * r / 3.0) * (-r).exp()
    };
    for n in [10, 1000, 100_000] {
        let keys = &embedded[..n * 16];
        let (mut margin, mut eta) = (f64::INFINITY, 0.0f64);
        for (q, query) in queries.chunks_exact(16).enumerate() {
            let truth: Vec<f64> = all[..n].iter().map(|y| relation(own[q], *y)).collect();
            let others = (0..n).filter(|&j| j != q).map(|j| truth[j]).fold(f64::NEG_INFINITY, f64::max);
            margin = margin.min(truth[q] - others);
            eta = scores(query, keys).iter().zip(&truth).map(|(s, t)| (s - t).abs()).fold(eta, f64::max);
        }
        assert!(margin > 4.0 * eta, "the model is too poor for this test: margin {margin}, error {eta}");
        for map in maps() {
            let beta = inverse_temperature(map, n, margin - 2.0 * eta, 1e-3).unwrap();
            let given = Request { map, eta, temperature: Temperature::Given { beta }, ..Request::default() };
            let found = attend(&queries, keys, 16, None, &given).unwrap();
            for (q, own) in found.queries.iter().enumerate() {
                assert_eq!(own.selected as usize, q);
                assert!(own.selected_weight() >= 0.999 * (1.0 - 1e-9), "{map}, {n} keys: {}", own.selected_weight());
            }
            // What the model alone knows needs a sharper temperature, and then promises the same.
            let found = attend(&queries, keys, 16, None, &Request { map, eta, ..Request::default() }).unwrap();
            assert!(found.certificate.beta >= beta * (1.0 - 1e-9) && found.certificate.tied.is_empty());
            assert_eq!(found.certificate.law.exceeding, 3);
        }
    }
}

#[test]
fn with_all_rivals_at_the_margin_the_guarantee_ends_where_it_says() {
    let eps = 1e-3;
    for n in [10usize, 1000, 10_000] {
        let keys = |count: usize| -> Vec<f32> { (0..count).map(|j| if j == 7 { 1.0 } else { 0.5 }).collect() };
        let beta = inverse_temperature(Map::Softmax, n, 0.5, eps).unwrap();
        let request = Request { temperature: Temperature::Given { beta }, ..Request::default() };
        let weight = |count: usize| {
            let found = attend(&[1.0], &keys(count), 1, None, &request).unwrap();
            assert_eq!(found.queries[0].selected, 7);
            found.queries[0].selected_weight()
        };
        assert!((weight(n) - (1.0 - eps)).abs() < 1e-9, "the bound is attained");
        assert!(weight(100 * n) < 1.0 - 50.0 * eps, "{}", weight(100 * n));
        let held = keys_held(Map::Softmax, beta, 0.5, eps).unwrap();
        assert!(held.holds(n - 1) && !held.holds(n + 1) && !held.holds(100 * n));
        // Entmax past its threshold does not look at the number of keys.
        let map = Map::entmax(1.5).unwrap();
        let beta = inverse_temperature(map, n, 0.5, eps).unwrap();
        let request = Request { map, temperature: Temperature::Given { beta }, ..Request::default() };
        let found = attend(&[1.0], &keys(100 * n), 1, None, &request).unwrap();
        assert_eq!(found.queries[0].selected_weight(), 1.0);
        assert_eq!(keys_held(map, beta, 0.5, eps).unwrap(), KeysHeld::All);
    }
}

#[test]
fn ties_are_named_and_served_by_no_temperature() {
    let keys = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
    let queries = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
    let found = attend(&queries, &keys, 2, Some((&[1.0, 2.0, 3.0], 1)), &Request::default()).unwrap();
    let certificate = &found.certificate;
    assert_eq!((certificate.tied.as_slice(), certificate.served, certificate.queries), (&[0, 2][..], 1, 3));
    assert_eq!((found.queries[0].selected, found.queries[0].guaranteed), (0, None));
    // The third key is not quite out of sight.
    assert!((found.queries[0].selected_weight() - 0.5).abs() < 1e-3 && (found.queries[0].output[0] - 1.5).abs() < 1e-3);
    assert!((found.queries[2].output[0] - 2.0).abs() < 1e-12);
    let ties = attend(&queries[..2], &keys, 2, None, &Request::default()).unwrap_err();
    assert!(matches!(ties.kind(), ErrorKind::Data { .. }));
    // An error of the scores that swallows the margin is a tie, too.
    let request = Request { eta: 0.5, temperature: Temperature::Given { beta: 1.0 }, ..Request::default() };
    assert_eq!(attend(&queries, &keys, 2, None, &request).unwrap().certificate.tied, [0, 1, 2]);
}

#[test]
fn a_single_key_takes_it_all() {
    for map in maps() {
        let found =
            attend(&[0.5, -2.0], &[3.0], 1, Some((&[7.0, 8.0], 2)), &Request { map, ..Request::default() }).unwrap();
        assert_eq!((found.certificate.beta, found.certificate.guaranteed), (0.0, Some(1.0)));
        assert!(found.certificate.keys_held.unwrap().holds(1) && found.certificate.tied.is_empty());
        assert!(found.queries.iter().all(|q| q.selected_weight() == 1.0 && q.output == [7.0, 8.0]));
    }
}

/// Outputs by sums over all keys, and the diameter of the values (here at most twice the largest norm).
fn naive(queries: &[f32], keys: &[f32], dim: usize, values: &[f32], width: usize, beta: f64) -> Vec<f64> {
    let mut all = Vec::new();
    for query in queries.chunks_exact(dim) {
        let mut out = vec![0.0; width];
        for (weight, value) in softmax(&scores(query, keys), beta).iter().zip(values.chunks_exact(width)) {
            out.iter_mut().zip(value).for_each(|(to, v)| *to += weight * f64::from(*v));
        }
        all.extend(out);
    }
    all
}

fn diameter(values: &[f32], width: usize) -> f64 {
    let mut most = 0.0f64;
    for a in values.chunks_exact(width) {
        for b in values.chunks_exact(width).take(300) {
            most = most.max(a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt());
        }
    }
    most.max(f64::MIN_POSITIVE)
}

/// Clusters with a decaying spectrum and norms of all sizes.
fn clustered(name: &str, n: usize, dim: usize) -> Vec<f32> {
    let centres = normals("centres", 40 * dim);
    let mut stream = Seed(5).stream(name);
    let mut all = Vec::new();
    for _ in 0..n {
        let (cluster, size) = (stream.below(40), (0.3 * stream.normal()).exp());
        all.extend((0..dim).map(|k| {
            let noise = 0.2 * stream.normal();
            ((f64::from(centres[cluster * dim + k]) + noise) * size / (1.0 + k as f64).sqrt()) as f32
        }));
    }
    all
}

#[test]
fn outputs_are_within_what_they_say_of_sums_over_all_keys() {
    let scaled = |rows: &[f32], by: f32| rows.iter().map(|v| v * by).collect::<Vec<f32>>();
    let cases: Vec<(&str, usize, Vec<f32>, Vec<f32>)> = vec![
        ("random", 9, normals("a", 3000 * 9), normals("b", 20 * 9)),
        ("clustered", 24, clustered("c", 12_000, 24), clustered("d", 20, 24)),
        ("one key", 3, normals("e", 3), normals("f", 9)),
        ("one coordinate", 1, normals("g", 2000), normals("h", 7)),
        ("equal keys", 4, [0.3, -1.0, 2.0, 0.1].repeat(1500), normals("i", 20)),
        ("zero keys", 4, vec![0.0; 4 * 1500], normals("j", 20)),
        ("zero queries", 4, normals("k", 4 * 1500), vec![0.0; 8]),
        ("few of many zero", 4, [vec![0.0; 4 * 3000], normals("l", 4 * 50)].concat(), normals("m", 20)),
        ("huge", 6, scaled(&normals("n", 6 * 1500), 1e37), scaled(&normals("o", 30), 1e37)),
        ("tiny", 6, scaled(&normals("p", 6 * 1500), 1e-38), scaled(&normals("q", 30), 1e-38)),
    ];
    for (name, dim, keys, queries) in cases {
        let n = keys.len() / dim;
        let values = normals("values", n * 5);
        let diameter = diameter(&values, 5);
        let index = Certified::new(&keys, dim, Some((&values, 5))).unwrap();
        let best = index.best_two(&queries).unwrap();
        for (query, best) in queries.chunks_exact(dim).zip(&best) {
            let mut all = scores(query, &keys);
            let rounding = 2.0 * index.rounding(query);
            let first = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!((best.score - first).abs() <= rounding && all[best.key as usize] >= first - rounding, "{name}");
            all[best.key as usize] = f64::NEG_INFINITY;
            let second = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!(best.second_score == second || (best.second_score - second).abs() <= rounding, "{name}");
        }
        // From all keys alike to a single one, in units of the largest score.
        let largest = best.iter().map(|best| best.score.abs()).fold(0.0, f64::max);
        let unit = if largest > 0.0 { 1.0 / largest } else { 1.0 };
        for sharp in [0.0, 1.0, 30.0, 1e3, 1e6] {
            let beta = sharp * unit;
            let expected = naive(&queries, &keys, dim, &values, 5, beta);
            let found = index.outputs(&queries, beta, 1e-6).unwrap();
            let exact = index.exact(&queries, beta, 1e-6).unwrap();
            for (q, expected) in expected.chunks_exact(5).enumerate() {
                for (found, kind) in [(&found, "pruned"), (&exact, "exact")] {
                    let (own, effort) = (&found.outputs[q * 5..][..5], found.efforts[q]);
                    let error = own.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt() / diameter;
                    let bound = effort.outside + effort.rounding;
                    assert!(error <= bound, "{name}, {kind}, beta {beta:e}: {error:e} above {bound:e}");
                    if effort.pruned {
                        assert!(effort.outside <= 1e-6);
                        // The reference has rounding of its own.
                        assert!(error <= 1e-6 + 1e-15 * sharp, "{name}, beta {beta:e}: {error:e}");
                    }
                }
            }
            assert!(sharp < 1e6 || n < 2 || dim < 6 || found.efforts.iter().all(|e| e.pruned), "{name}");
        }
    }
}

#[test]
fn most_clustered_keys_are_never_touched() {
    let (keys, queries) = (clustered("many", 30_000, 24), clustered("queries", 50, 24));
    let index = Certified::new(&keys, 24, Some((&keys, 24))).unwrap();
    let margin = index.best_two(&queries).unwrap().iter().map(|b| b.margin()).fold(f64::INFINITY, f64::min);
    let beta = inverse_temperature(Map::Softmax, 30_000, margin, 1e-3).unwrap();
    let found = index.outputs(&queries, beta, 1e-6).unwrap();
    let touched: u64 = found.efforts.iter().map(|e| e.touched).sum();
    assert!(touched < 50 * 30_000 / 5, "{touched}");
    assert!(found.efforts.iter().all(|e| e.pruned && e.kept < 1000));
    // Where all keys matter none is passed over.
    let blunt = index.outputs(&queries, 1e-3, 1e-6).unwrap();
    assert!(blunt.efforts.iter().all(|e| !e.pruned && e.kept == 30_000));
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let (keys, queries) = (clustered("keys", 9000, 10), normals("queries", 600 * 10));
    let run = |threads| {
        with_threads(Some(threads), || {
            let index = Certified::new(&keys, 10, Some((&keys, 10))).unwrap();
            let requests = [Map::Softmax, Map::Sparsemax].map(|map| Request { map, ..Request::default() });
            let attended = requests.map(|request| index.attend(&queries[..200], &request).unwrap());
            (attended, [0.1, 50.0].map(|beta| index.outputs(&queries, beta, 1e-6).unwrap()))
        })
        .unwrap()
    };
    assert!(run(1) == run(2));
}

#[test]
fn bad_input_is_refused() {
    let keys = [1.0, 2.0, 3.0, 4.0];
    let kind = |result: mercer::Result<()>| format!("{:?}", result.unwrap_err().kind());
    let new = |keys: &[f32], dim, values: Option<(&[f32], usize)>| Certified::new(keys, dim, values).map(|_| ());
    assert!(kind(new(&keys, 0, None)).starts_with("Shape"));
    assert!(kind(new(&keys, 3, None)).starts_with("Shape"));
    assert!(kind(new(&[], 2, None)).starts_with("Parameter"));
    assert!(kind(new(&[1.0, f32::NAN], 1, None)).contains("row: 1"));
    assert!(kind(new(&keys, 2, Some((&keys, 1)))).starts_with("Shape"));
    assert!(kind(new(&keys, 2, Some((&keys, 0)))).starts_with("Shape"));
    let index = Certified::new(&keys, 2, Some((&keys, 2))).unwrap();
    let outputs = |queries: &[f32], beta, tolerance| index.outputs(queries, beta, tolerance).map(|_| ());
    assert!(kind(outputs(&[1.0], 1.0, 1e-6)).starts_with("Shape"));
    assert!(kind(outputs(&[1.0, f32::INFINITY], 1.0, 1e-6)).contains("column: 1"));
    assert!(kind(outputs(&[1.0, 1.0], -1.0, 1e-6)).starts_with("Parameter"));
    assert!(kind(outputs(&[1.0, 1.0], f64::NAN, 1e-6)).starts_with("Parameter"));
    assert!(kind(outputs(&[1.0, 1.0], 1.0, 0.0)).starts_with("Parameter"));
    let bare = Certified::new(&keys, 2, None).unwrap();
    assert!(kind(bare.outputs(&[1.0, 1.0], 1.0, 1e-6).map(|_| ())).starts_with("Data"));
    assert!(index.outputs(&[], 1.0, 1e-6).unwrap().outputs.is_empty());
    let attend = |request: Request| kind(index.attend(&[1.0, 1.0], &request).map(|_| ()));
    assert!(attend(Request { eps: 1.0, ..Request::default() }).starts_with("Parameter"));
    assert!(attend(Request { eta: -1.0, ..Request::default() }).starts_with("Parameter"));
    assert!(attend(Request { covered: 0.0, ..Request::default() }).starts_with("Parameter"));
    let blunt = Temperature::Given { beta: f64::INFINITY };
    assert!(attend(Request { temperature: blunt, ..Request::default() }).starts_with("Parameter"));
    assert!(
        attend(Request { temperature: Temperature::Auto { share: 0.0 }, ..Request::default() }).starts_with("Param")
    );
    assert!(kind(index.attend(&[], &Request::default()).map(|_| ())).starts_with("Data"));
    assert!(guaranteed_weight(Map::Softmax, 1, 1.0, f64::INFINITY).unwrap() == 1.0);
}
