//! Attention maps against their definitions: margins, independent references, Jacobians, odd scores.

use mercer::attention::{AttentionMap, Map};
use mercer::{ErrorKind, Seed, with_threads};
use proptest::prelude::*;
use proptest::test_runner::Config;

fn config(cases: u32) -> Config {
    Config { failure_persistence: None, cases, ..Config::default() }
}

fn entmax(alpha: f64) -> Map {
    Map::entmax(alpha).unwrap()
}

fn maps() -> Vec<Map> {
    let mut all = vec![Map::Softmax, Map::Sparsemax, Map::Hard];
    all.extend([1.01, 1.25, 1.5, 1.75, 2.5, 3.0, 8.0].map(entmax));
    all
}

fn weights(map: Map, scores: &[f64], beta: f64) -> Vec<f64> {
    let mut out = vec![f64::NAN; scores.len()];
    map.try_weights_f64(scores, scores.len(), beta, &mut out).unwrap();
    out
}

fn weights32(map: Map, scores: &[f32], beta: f64) -> Vec<f32> {
    let mut out = vec![f32::NAN; scores.len()];
    map.try_weights(scores, scores.len(), beta, &mut out).unwrap();
    out
}

fn narrow(scores: &[f64]) -> Vec<f32> {
    scores.iter().map(|s| *s as f32).collect()
}

fn normal(n: usize, deviation: f64, name: &str) -> Vec<f64> {
    let mut stream = Seed(5).stream(name);
    (0..n).map(|_| f64::from((deviation * stream.normal()) as f32)).collect()
}

fn far(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

fn far32(a: &[f32], b: &[f64]) -> f64 {
    far(&a.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>(), b)
}

/// Weights from the definition of alpha-entmax: `tau` by bisection until no number lies between, then made to sum to 1.
fn bisected(alpha: f64, z: &[f64]) -> Vec<f64> {
    let x: Vec<f64> = z.iter().map(|z| (alpha - 1.0) * z).collect();
    let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let at = |tau: f64| -> Vec<f64> {
        x.iter().map(|x| if x - top > tau { (x - top - tau).powf(1.0 / (alpha - 1.0)) } else { 0.0 }).collect()
    };
    let (mut low, mut high) = (-1.0, 0.0);
    while low < 0.5 * (low + high) && 0.5 * (low + high) < high {
        let middle = 0.5 * (low + high);
        if at(middle).iter().sum::<f64>() >= 1.0 { low = middle } else { high = middle }
    }
    let all = at(low);
    let sum: f64 = all.iter().sum();
    all.iter().map(|p| p / sum).collect()
}

/// The projection onto the simplex by sorting (Held, Wolfe and Crowder 1974).
fn projected(z: &[f64]) -> Vec<f64> {
    let mut sorted = z.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut tau) = (0.0, 0.0);
    for (i, z) in sorted.iter().enumerate() {
        sum += z;
        if 1.0 + (i + 1) as f64 * z > sum {
            tau = (sum - 1.0) / (i + 1) as f64;
        }
    }
    z.iter().map(|z| (z - tau).max(0.0)).collect()
}

fn exponentials(z: &[f64]) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = z.iter().map(|z| (z - top).exp()).sum();
    z.iter().map(|z| (z - top).exp() / sum).collect()
}

#[test]
fn at_the_margin_the_best_key_has_weight_1_and_below_it_has_not() {
    for alpha in [1.25, 1.5, 2.0, 3.0, 1.1, 1.37, 2.2, 7.0] {
        let map = entmax(alpha);
        let margin = map.threshold().unwrap();
        assert_eq!(margin, 1.0 / (alpha - 1.0));
        for rivals in [1, 3, 100, 5000] {
            for beta in [1.0, 0.3, 17.0] {
                let row = |share: f64| {
                    let mut row = vec![-share * margin / beta; rivals + 1];
                    row[rivals / 2] = 0.0;
                    row
                };
                let mut only = vec![0.0; rivals + 1];
                only[rivals / 2] = 1.0;
                let case = format!("alpha {alpha}, {rivals} rivals, beta {beta}");
                assert_eq!(weights(map, &row(1.0), beta), only, "{case}");
                assert_eq!(weights(map, &row(1.5), beta), only, "{case}");
                let exact: Vec<f64> = weights32(map, &narrow(&row(1.0)), beta).into_iter().map(f64::from).collect();
                assert_eq!(exact, only, "{case}, f32");
                let below = weights(map, &row(0.9), beta)[rivals / 2];
                assert!(below < 1.0 && below > 1.0 / (rivals + 1) as f64, "{case}: {below}");
                // Close below the margin the weight is less than 1, too, where f64 can tell: one rival has `r` with
                // `(1 - r)^(alpha - 1) - r^(alpha - 1) = 0.999`.
                if alpha >= 2.0 {
                    assert!(weights(map, &row(0.999), beta)[rivals / 2] < 1.0 - 1e-5, "{case}");
                }
            }
        }
    }
}

#[test]
fn two_keys_as_solved_by_hand() {
    // Sparsemax of a gap g: (1 +- g) / 2. 1.5-entmax: roots a, b of weights with a^2 + b^2 = 1, a - b = g / 2.
    let g = 0.7_f64;
    assert!(far(&weights(Map::Sparsemax, &[g, 0.0], 1.0), &[0.5 * (1.0 + g), 0.5 * (1.0 - g)]) < 1e-15);
    let half = 0.25 * g;
    let middle = (0.5 - half * half).sqrt();
    let expected = [(middle + half).powi(2), (middle - half).powi(2)];
    assert!(far(&weights(entmax(1.5), &[g, 0.0], 1.0), &expected) < 1e-15);
    // alpha 3: p^2 - r^2 = 2 g with p + r = 1.
    let p = 0.5 * (1.0 + 2.0 * 0.3);
    assert!(far(&weights(entmax(3.0), &[0.3, 0.0], 1.0), &[p, 1.0 - p]) < 1e-15);
}

#[test]
fn sparsemax_is_the_projection_and_others_agree_with_bisection() {
    for n in [1, 2, 5, 16, 17, 100, 1024, 3000] {
        for deviation in [1e-3, 0.1, 1.0, 3.0, 30.0] {
            let scores = normal(n, deviation, &format!("reference {n}"));
            let case = |alpha: f64| format!("alpha {alpha}, {n} keys, deviation {deviation}");
            let expected = projected(&scores);
            assert!(far(&weights(Map::Sparsemax, &scores, 1.0), &expected) < 1e-13, "{}", case(2.0));
            assert_eq!(weights(Map::Sparsemax, &scores, 1.0), weights(entmax(2.0), &scores, 1.0));
            assert!(far32(&weights32(Map::Sparsemax, &narrow(&scores), 1.0), &expected) < 4e-7, "{}", case(2.0));
            for alpha in [1.05, 1.25, 1.5, 1.9, 2.5, 4.0] {
                let expected = bisected(alpha, &scores);
                // Bisection on tau loses digits of the smallest weights where weights have infinite slopes.
                let bound = if alpha > 2.0 { 1e-7 } else { 1e-12 };
                let error = far(&weights(entmax(alpha), &scores, 1.0), &expected);
                assert!(error < bound, "{}: {error:e}", case(alpha));
                let error = far32(&weights32(entmax(alpha), &narrow(&scores), 1.0), &expected);
                assert!(error < bound + 4e-7, "{}: {error:e} in f32", case(alpha));
            }
            let expected = exponentials(&scores);
            assert!(far(&weights(Map::Softmax, &scores, 1.0), &expected) < 1e-14, "softmax, {n} keys");
            assert!(far32(&weights32(Map::Softmax, &narrow(&scores), 1.0), &expected) < 1e-6, "softmax, {n} keys");
        }
    }
}

#[test]
fn above_2_the_weights_solve_their_equations() {
    // p_i^(alpha - 1) - p_j^(alpha - 1) = (alpha - 1) (z_i - z_j) on the support, which is where p > 0.
    for alpha in [2.01, 2.5, 3.0, 6.0, 40.0] {
        let scores = normal(200, 0.4 / (alpha - 1.0), "flat");
        let p = weights(entmax(alpha), &scores, 1.0);
        let root = |i: usize| p[i].powf(alpha - 1.0);
        let best = (0..200).max_by(|&i, &j| scores[i].total_cmp(&scores[j])).unwrap();
        let mut support = 0;
        for i in 0..200 {
            let gap = (alpha - 1.0) * (scores[best] - scores[i]);
            let error = root(best) - root(i) - gap;
            // Without weight: the gap is at least the best key's root.
            assert!(if p[i] > 0.0 { error.abs() < 1e-14 } else { error < 1e-14 }, "alpha {alpha}, key {i}: {error:e}");
            support += usize::from(p[i] > 0.0);
        }
        assert!(support > 1 && support < 200, "alpha {alpha}: support {support}");
    }
}

#[test]
fn as_alpha_falls_to_1_entmax_becomes_softmax() {
    let scores = normal(50, 2.0, "limit");
    let limit = exponentials(&scores);
    let mut last = f64::INFINITY;
    for excess in [1e-1, 1e-2, 1e-4, 1e-6, 1e-9, 1e-12] {
        let error = far(&weights(entmax(1.0 + excess), &scores, 1.0), &limit);
        assert!(error < 2.0 * excess + 4e-15, "alpha 1 + {excess:e}: {error:e}");
        assert!(error < last);
        last = error.max(1e-15);
    }
}

#[test]
fn the_margin_and_support_grow_as_alpha_falls() {
    let scores = normal(500, 1.0, "support");
    let support = |map: Map| weights(map, &scores, 1.0).iter().filter(|p| **p > 0.0).count();
    let sizes: Vec<usize> = [1.1, 1.25, 1.5, 1.75, 2.0, 3.0].map(|a| support(entmax(a))).into();
    assert!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");
    assert_eq!((support(Map::Softmax), support(Map::Hard)), (500, 1));
}

/// `(map(z + h v) - map(z - h v)) / 2 h` beside the Jacobian at `map(z)`, along `v`.
#[test]
fn jacobians_agree_with_central_differences_and_are_symmetric() {
    let (scores, v, w) = (normal(40, 0.8, "scores"), normal(40, 1.0, "direction"), normal(40, 1.0, "other"));
    for map in maps() {
        let p = weights(map, &scores, 1.3);
        let jvp = |v: &[f64]| {
            let mut out = vec![f64::NAN; 40];
            map.try_jvp_f64(&p, 40, v, &mut out).unwrap();
            out
        };
        let h = 1e-6;
        let moved = |h: f64| {
            let z: Vec<f64> = scores.iter().zip(&v).map(|(s, v)| 1.3 * s + h * v).collect();
            weights(map, &z, 1.0)
        };
        let numeric: Vec<f64> = moved(h).iter().zip(moved(-h)).map(|(a, b)| (a - b) / (2.0 * h)).collect();
        let (product, other) = (jvp(&v), jvp(&w));
        let size = product.iter().chain(&other).fold(1.0, |m: f64, v| m.max(v.abs()));
        assert!(far(&product, &numeric) < 1e-7 * size, "{map}: {:e}", far(&product, &numeric));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert!((dot(&product, &w) - dot(&other, &v)).abs() < 1e-12 * size, "{map} is not symmetric");
        assert!(product.iter().sum::<f64>().abs() < 1e-12 * size, "{map}: weights no longer sum to 1");
        assert_eq!(map == Map::Hard, product.iter().all(|v| *v == 0.0));
        // f32 from the rounded weights.
        let mut out = vec![f32::NAN; 40];
        map.try_jvp(&narrow(&p), 40, &narrow(&v), &mut out).unwrap();
        assert!(far32(&out, &product) < 3e-6 * size, "{map}: {:e} in f32", far32(&out, &product));
    }
}

#[test]
fn keys_without_weight_stay_in_any_direction() {
    let p = [0.75, 0.25, 0.0];
    for map in maps() {
        let mut out = [f64::NAN; 3];
        map.jvp_f64(&p, 3, &[1.0, 0.0, f64::INFINITY], &mut out);
        assert!(out[2] == 0.0 && out[0].is_finite(), "{map}: {out:?}");
        map.jvp_f64(&[0.0; 3], 3, &[1.0, 2.0, 3.0], &mut out);
        assert_eq!(out, [0.0; 3], "{map}: nothing has weight");
    }
}

#[test]
fn odd_scores() {
    let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
    for map in maps() {
        let close = |scores: &[f64], beta: f64, expected: &[f64]| {
            let error = far(&weights(map, scores, beta), expected);
            assert!(error < 1e-15, "{map} of {scores:?}: {:?}", weights(map, scores, beta));
            let error = far32(&weights32(map, &narrow(scores), beta), expected);
            assert!(error < 1e-7, "{map} of {scores:?} in f32: {:?}", weights32(map, &narrow(scores), beta));
        };
        close(&[3.0], 2.0, &[1.0]);
        close(&[low], 2.0, &[0.0]);
        close(&[low, 1.0, low], 2.0, &[0.0, 1.0, 0.0]);
        close(&[low, low], 2.0, &[0.0, 0.0]);
        close(&[2.0, high, high, low], 2.0, &[0.0, 0.5, 0.5, 0.0]);
        // Ties share; so do all that differ by less than a rounding, and by denormal numbers.
        close(&[5.0, 5.0, -100.0, 5.0, 5.0], 1.0, &[0.25, 0.25, 0.0, 0.25, 0.25]);
        if map != Map::Hard {
            close(&[0.0, 1e-40], 1.0, &[0.5, 0.5]);
            close(&[3.0, 7.0, low, 1e30], 0.0, &[1.0 / 3.0, 1.0 / 3.0, 0.0, 1.0 / 3.0]);
        }
        // Huge scores, differences and inverse temperatures.
        close(&[3e38, 3e38, -3e38], 1.0, &[0.5, 0.5, 0.0]);
        close(&[-3e38, -3e38 + 1e33], 1.0, &[0.0, 1.0]);
        close(&[1.0, 1.5, 1.5], 1e300, &[0.0, 0.5, 0.5]);
        // A mask is as if the key were not there.
        let scores = normal(30, 0.5, "mask");
        let masked: Vec<f64> = scores.iter().flat_map(|s| [*s, low]).collect();
        let unmasked: Vec<f64> = weights(map, &masked, 1.0).into_iter().step_by(2).collect();
        assert!(far(&unmasked, &weights(map, &scores, 1.0)) < 1e-15);
        // NaN is refused, or told in all of its row and no other.
        let rows = [0.0, f64::NAN, 1.0, 0.0, 1.0, 2.0, f64::NAN, low, low, high, f64::NAN, 0.0];
        let mut out = [0.0; 12];
        let error = map.try_weights_f64(&rows, 3, 1.0, &mut out).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NonFinite { row: 0, column: 1, .. }), "{error}");
        map.weights_f64(&rows, 3, 1.0, &mut out);
        let mut out32 = [0.0; 12];
        map.weights(&narrow(&rows), 3, 1.0, &mut out32);
        for i in 0..12 {
            assert_eq!(out[i].is_nan(), i / 3 != 1, "{map}: {out:?}");
            assert_eq!(out32[i].is_nan(), i / 3 != 1, "{map}: {out32:?}");
        }
    }
}

#[test]
fn malformed_input_is_refused() {
    for map in maps() {
        let shape = |scores: usize, keys: usize, out: usize| {
            let error = map.try_weights(&vec![0.0; scores], keys, 1.0, &mut vec![0.0; out]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Shape { .. }), "{error}");
            let error = map.try_weights_f64(&vec![0.0; scores], keys, 1.0, &mut vec![0.0; out]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Shape { .. }), "{error}");
            let error = map.try_jvp(&vec![0.0; scores], keys, &vec![0.0; scores], &mut vec![0.0; out]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Shape { .. }), "{error}");
            let error = map.try_jvp_f64(&vec![0.0; scores], keys, &vec![0.0; out], &mut vec![0.0; scores]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Shape { .. }), "{error}");
        };
        shape(6, 0, 6);
        shape(6, 4, 6);
        shape(6, 3, 3);
        for beta in [-1.0, f64::NAN, f64::INFINITY] {
            let error = map.try_weights(&[0.0; 2], 2, beta, &mut [0.0; 2]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Parameter { .. }), "{error}");
        }
        map.try_weights(&[], 3, 1.0, &mut []).unwrap();
        map.try_jvp(&[], 3, &[], &mut []).unwrap();
    }
    for text in ["", "entmax", "entmax:", "entmax:1", "entmax:0.5", "entmax:nan", "entmax:inf", "softmax:2", "soft"] {
        let error = text.parse::<Map>().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Parameter { .. }), "{text}: {error}");
    }
}

#[test]
#[should_panic(expected = "inverse temperature")]
fn the_unchecked_function_panics_as_documented() {
    Map::Softmax.weights(&[0.0; 2], 2, -1.0, &mut [0.0; 2]);
}

#[test]
fn text_and_json_forms_come_back() {
    for map in maps() {
        assert_eq!(map.to_string().parse::<Map>().unwrap(), map);
        let json = serde_json::to_string(&map).unwrap();
        assert_eq!(json, format!("\"{map}\""));
        assert_eq!(serde_json::from_str::<Map>(&json).unwrap(), map);
    }
    assert!(serde_json::from_str::<Map>("\"entmax:1\"").is_err());
    assert_eq!("entmax: 1.5".parse::<Map>().unwrap(), entmax(1.5));
}

#[test]
fn a_million_keys() {
    let n = 1_000_000;
    for deviation in [0.0, 1e-6, 0.05, 1.0] {
        let scores = normal(n, deviation, "million");
        let best = (0..n).max_by(|&i, &j| scores[i].total_cmp(&scores[j])).unwrap();
        let powers: &[Map] = if deviation == 1.0 { &[entmax(1.25), entmax(3.0)] } else { &[] };
        for &map in [Map::Softmax, Map::Sparsemax, entmax(1.5)].iter().chain(powers) {
            let p = weights(map, &scores, 1.0);
            let case = format!("{map}, deviation {deviation}");
            // In parts: a running sum of equal small numbers drifts.
            let sum: f64 = p.chunks(1000).map(|part| part.iter().sum::<f64>()).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{case}: sum {sum}");
            let p32 = weights32(map, &narrow(&scores), 1.0);
            let sum: f64 = p32.iter().map(|p| f64::from(*p)).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{case}: sum {sum} in f32");
            // p_best^(alpha - 1) - p_i^(alpha - 1) = (alpha - 1) (z_best - z_i) on the support.
            let Some(excess) = map.alpha().map(|a| a - 1.0).filter(|e| *e > 0.0) else { continue };
            for i in (0..n).step_by(997) {
                let error = p[best].powf(excess) - p[i].powf(excess) - excess * (scores[best] - scores[i]);
                assert!(if p[i] > 0.0 { error.abs() < 1e-12 } else { error < 1e-12 }, "{case}, key {i}: {error:e}");
            }
        }
    }
}

#[test]
fn sorted_scores_narrow_the_search_as_any_others_do() {
    // The best key comes last, or first: candidates are narrowed without it, and with it.
    let mut scores = normal(60_000, 0.2, "sorted");
    let shuffled = scores.clone();
    scores.sort_by(f64::total_cmp);
    for map in [Map::Sparsemax, entmax(1.5), entmax(1.2), entmax(2.5)] {
        let mut expected = weights(map, &shuffled, 1.0);
        expected.sort_by(f64::total_cmp);
        let rising = weights(map, &scores, 1.0);
        let falling: Vec<f64> = scores.iter().rev().copied().collect();
        let falling: Vec<f64> = weights(map, &falling, 1.0).into_iter().rev().collect();
        assert!(far(&rising, &expected) < 1e-15 && far(&falling, &expected) < 1e-15, "{map}");
        assert!(expected[0] == 0.0 && expected[59_998] > 0.0, "{map}");
    }
}

#[test]
fn many_threads_give_the_bits_of_one() {
    let scores = narrow(&normal(300 * 1024, 1.0, "threads"));
    for map in maps() {
        let with = |threads: usize| {
            with_threads(Some(threads), || {
                let (mut p, mut v) = (vec![0.0; scores.len()], vec![0.0; scores.len()]);
                map.weights(&scores, 1024, 1.0, &mut p);
                map.jvp(&p, 1024, &scores, &mut v);
                (p, v)
            })
            .unwrap()
        };
        let one = with(1);
        assert!(one == with(4), "{map}");
        // Nor does a row depend on its neighbours.
        assert_eq!(weights32(map, &scores[7 * 1024..8 * 1024], 1.0), one.0[7 * 1024..8 * 1024], "{map}");
    }
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn weights_are_a_distribution_that_follows_scores(
        scores in prop::collection::vec(-4.0..4.0f64, 1..80),
        beta in 0.0..4.0f64,
        shift in -100.0..100.0f64,
        which in 0..10usize,
        turn in 0..80usize,
    ) {
        let map = maps()[which];
        let p = weights(map, &scores, beta);
        let sum: f64 = p.iter().sum();
        prop_assert!((sum - 1.0).abs() < 1e-13 && p.iter().all(|p| *p >= 0.0), "{map}: sum {sum}");
        let p32 = weights32(map, &narrow(&scores), beta);
        let sum: f64 = p32.iter().map(|p| f64::from(*p)).sum();
        prop_assert!((sum - 1.0).abs() < 2e-6 && p32.iter().all(|p| *p >= 0.0), "{map}: sum {sum} in f32");
        // Larger scores have no smaller weights.
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&i, &j| scores[i].total_cmp(&scores[j]));
        prop_assert!(order.windows(2).all(|pair| p[pair[0]] <= p[pair[1]] + 1e-15), "{map}");
        // Only differences count: what the shift rounds away is at most 1e-14, which steep powers enlarge.
        if map != Map::Hard && map.alpha() <= Some(2.0) {
            let shifted: Vec<f64> = scores.iter().map(|s| s + shift).collect();
            prop_assert!(far(&weights(map, &shifted, beta), &p) < 1e-12, "{map} shifted");
        }
        // Keys have no order; sums do.
        let at = turn % scores.len();
        let turned = [&scores[at..], &scores[..at]].concat();
        let expected = [&p[at..], &p[..at]].concat();
        let bound = if map.alpha() > Some(2.0) { 1e-10 } else { 1e-14 };
        prop_assert!(far(&weights(map, &turned, beta), &expected) < bound, "{map} turned");
    }
}
