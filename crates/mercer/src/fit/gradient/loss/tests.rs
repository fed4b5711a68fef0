//! Every loss against its formula in `f64`, written independently, and its slopes against central differences of that.

use crate::fit::gradient::loss::candidates::{Candidates, Lists};
use crate::fit::gradient::loss::edges::Edges;
use crate::fit::gradient::loss::listwise::{draws, plackett_luce};
use crate::fit::gradient::loss::pairwise::{Pointwise, bradley_terry};
use crate::fit::gradient::loss::{Embeddings, Loss, NegativeLaw, Sampling, Slopes};
use crate::seed::Seed;

const DIM: usize = 5;
const SCALE: f64 = 1.3;

fn normals(n: usize, name: &str) -> Vec<f32> {
    let mut stream = Seed(17).stream(name);
    (0..n).map(|_| stream.normal() as f32).collect()
}

fn score(q: &[f64], k: &[f64], i: u32, j: u32, scale: f64) -> f64 {
    scale * (0..DIM).map(|c| q[i as usize * DIM + c] * k[j as usize * DIM + c]).sum::<f64>()
}

/// Compares value and slopes with `formula(queries, keys, scale)`.
fn check(
    queries: usize,
    keys: usize,
    formula: impl Fn(&[f64], &[f64], f64) -> f64,
    loss: impl Fn(Embeddings<'_>, &mut Slopes) -> f64,
) {
    let (q, k) = (normals(queries * DIM, "q"), normals(keys * DIM, "k"));
    let at = Embeddings { queries: &q, keys: &k, dim: DIM, scale: SCALE };
    let mut slopes = Slopes::default();
    slopes.fit(at);
    let value = loss(at, &mut slopes);
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (q, k) = (wide(&q), wide(&k));
    let expected = formula(&q, &k, SCALE);
    assert!((value - expected).abs() < 2e-5 * expected.abs().max(1.0), "{value} against {expected}");
    let h = 1e-5;
    let compare = |slope: f64, ends: [f64; 2], what: &str| {
        let difference = (ends[1] - ends[0]) / (2.0 * h);
        assert!((slope - difference).abs() < 1e-5 + 1e-3 * difference.abs(), "{what}: {slope} against {difference}");
    };
    let moved = |v: &[f64], i: usize, by: f64| {
        v.iter().enumerate().map(|(j, v)| if i == j { v + by } else { *v }).collect::<Vec<_>>()
    };
    for i in 0..q.len() {
        compare(slopes.queries[i].into(), [-h, h].map(|d| formula(&moved(&q, i, d), &k, SCALE)), &format!("query {i}"));
    }
    for i in 0..k.len() {
        compare(slopes.keys[i].into(), [-h, h].map(|d| formula(&q, &moved(&k, i, d), SCALE)), &format!("key {i}"));
    }
    compare(slopes.log_scale(at), [-h, h].map(|d| formula(&q, &k, SCALE * d.exp())), "scale");
}

/// 300 edges between 7 queries and 9 keys, some of them several times, one query and one key never.
fn edges() -> (Vec<u32>, Vec<u32>) {
    let mut stream = Seed(5).stream("edges");
    (0..300).map(|_| (stream.below(6) as u32, 1 + stream.below(8) as u32)).unzip()
}

#[test]
fn losses_of_pairs() {
    let (x, y) = edges();
    let values: Vec<f32> = normals(300, "values").iter().map(|v| 2.0 * v).collect();
    let labels: Vec<f32> = values
        .iter()
        .map(|v| {
            if *v > 1.0 {
                1.0
            } else if *v > 0.5 {
                0.3
            } else {
                0.0
            }
        })
        .collect();
    let weights: Vec<f32> = normals(300, "weights").iter().map(|v| v.abs() + 0.1).collect();
    for weights in [None, Some(weights.as_slice())] {
        for (kind, values) in
            [(Pointwise::Squared, &values), (Pointwise::Huber(0.7), &values), (Pointwise::Logistic, &labels)]
        {
            let formula = |q: &[f64], k: &[f64], scale: f64| {
                let each = (0..300).map(|p| {
                    let (s, v) = (score(q, k, x[p], y[p], scale), f64::from(values[p]));
                    let loss = match kind {
                        Pointwise::Squared => (s - v).powi(2),
                        Pointwise::Huber(d) if (s - v).abs() > d => 2.0 * d * (s - v).abs() - d * d,
                        Pointwise::Huber(_) => (s - v).powi(2),
                        Pointwise::Logistic => {
                            let p = 1.0 / (1.0 + (-s).exp());
                            -(v * p.ln() + (1.0 - v) * (1.0 - p).ln())
                        }
                    };
                    weights.map_or(1.0, |w| f64::from(w[p])) * loss
                });
                each.sum::<f64>() / 300.0
            };
            let edges = Edges { x: &x, y: &y };
            check(7, 9, formula, |at, slopes| kind.loss(at, edges, values, weights, slopes));
        }
    }
}

#[test]
fn bradley_and_terry() {
    let (mut x, mut y) = edges();
    let others: Vec<u32> = y.iter().map(|j| (j + 3) % 9).collect();
    x.extend_from_within(..);
    y.extend(others);
    let weights: Vec<f32> = normals(300, "weights").iter().map(|v| v.abs() + 0.1).collect();
    let formula = |q: &[f64], k: &[f64], scale: f64| {
        let each = (0..300).map(|p| {
            let margin = score(q, k, x[p], y[p], scale) - score(q, k, x[p], y[300 + p], scale);
            f64::from(weights[p]) * -(1.0 / (1.0 + (-margin).exp())).ln()
        });
        each.sum::<f64>() / 300.0
    };
    check(7, 9, formula, |at, slopes| bradley_terry(at, Edges { x: &x, y: &y }, Some(&weights), slopes));
}

#[test]
fn plackett_and_luce_with_ties() {
    // Lists of 6, 1, 4 and 5 keys; the second and the last have no two values.
    let x: Vec<u32> = [vec![0; 6], vec![1; 1], vec![2; 4], vec![3; 5]].concat();
    let y = [4, 1, 0, 7, 2, 3, 5, 0, 1, 2, 3, 8, 7, 6, 5, 4];
    let values = [3.0, 2.0, 2.0, 1.0, 0.5, 0.5, 1.0, 9.0, 8.0, 7.0, 6.0, 1.0, 1.0, 1.0, 1.0, 1.0_f32];
    let weights: Vec<f32> = normals(16, "weights").iter().map(|v| v.abs() + 0.1).collect();
    let lists = [0, 6, 7, 11, 16];
    assert_eq!(draws(&lists, &values), 4 + 3);
    let formula = |q: &[f64], k: &[f64], scale: f64| {
        let mut loss = 0.0;
        for list in lists.windows(2).map(|w| w[0]..w[1]) {
            for i in list.clone() {
                let smaller: Vec<usize> = list.clone().filter(|&j| values[j] < values[i]).collect();
                if smaller.is_empty() {
                    continue;
                }
                let own = score(q, k, x[i], y[i], scale).exp();
                let rest: f64 = smaller.iter().map(|&j| score(q, k, x[j], y[j], scale).exp()).sum();
                loss -= f64::from(weights[i]) * (own / (own + rest)).ln();
            }
        }
        loss / 7.0
    };
    let edges = Edges { x: &x, y: &y };
    check(4, 9, formula, |at, slopes| plackett_luce(at, edges, &lists, &values, Some(&weights), slopes));
}

/// 70 positives of 7 queries among 50 columns, which share three tiles of positives.
fn candidates(loss: impl Fn(&Candidates<'_>, Embeddings<'_>, &mut Slopes) -> f64, plain: bool) {
    let mut stream = Seed(6).stream("candidates");
    let mut draw = |n: usize| stream.below(n) as u32;
    let (query, positive): (Vec<u32>, Vec<u32>) = (0..70).map(|_| (draw(7), draw(50))).unzip();
    let mut offset: Vec<f32> = normals(50, "offset");
    (0..50).step_by(7).for_each(|j| offset[j] = f32::NEG_INFINITY);
    if plain {
        offset.fill(0.0);
    }
    let (mut certain, mut masked) = (Lists::new(), Lists::new());
    for &p in &positive {
        let free = |c: &u32| *c != p;
        certain.push([3, 14, 21].into_iter().filter(|c| !plain && free(c)));
        masked.push([5, 14, 30, 31].into_iter().filter(free));
    }
    let weights: Vec<f32> = normals(70, "weights").iter().map(|v| v.abs() + 0.1).collect();
    let own = Candidates {
        query: &query,
        positive: &positive,
        offset: &offset,
        certain: &certain,
        masked: &masked,
        weights: Some(&weights),
    };
    let formula = |q: &[f64], k: &[f64], scale: f64| {
        let each = (0..70).map(|i| {
            let s = |j: u32| score(q, k, query[i], j, scale);
            let terms = (0..50).map(|j| {
                if j == positive[i] || (certain.row(i).contains(&j) && !masked.row(i).contains(&j)) {
                    s(j).exp()
                } else if masked.row(i).contains(&j) {
                    0.0
                } else {
                    (s(j) + f64::from(offset[j as usize])).exp()
                }
            });
            f64::from(weights[i]) * (terms.sum::<f64>().ln() - s(positive[i]))
        });
        each.sum::<f64>() / 70.0
    };
    check(7, 50, formula, |at, slopes| loss(&own, at, slopes));
}

#[test]
fn softmax_over_candidates() {
    candidates(|own, at, slopes| own.loss(at, slopes), false);
    // Measured without slopes it is the same.
    let both = |own: &Candidates<'_>, at: Embeddings<'_>, slopes: &mut Slopes| {
        let loss = own.loss(at, slopes);
        assert!((own.measure(at).0 - loss).abs() < 1e-6 * loss.abs());
        loss
    };
    candidates(both, false);
}

#[test]
fn softmax_over_all_keys() {
    candidates(|own, at, slopes| own.loss(at, slopes), true);
    candidates(|own, at, slopes| own.full_loss(at, slopes), true);
}

#[test]
fn sure_positives_have_exact_slopes() {
    // A probability of nearly 1: the positive's slope is the sum of the others', however small.
    let (q, k) = ([1.0_f32], [30.0_f32, 0.0, 0.0]);
    let at = Embeddings { queries: &q, keys: &k, dim: 1, scale: 1.0 };
    let (mut slopes, mut none) = (Slopes::default(), Lists::new());
    slopes.fit(at);
    none.push([]);
    let own =
        Candidates { query: &[0], positive: &[0], offset: &[0.0; 3], certain: &none, masked: &none, weights: None };
    let loss = own.loss(at, &mut slopes);
    let p = 2.0 * (-30.0_f64).exp();
    assert!((f64::from(slopes.keys[0]) + p).abs() < 1e-5 * p, "{} against {}", slopes.keys[0], -p);
    assert!((0.0..1e-6).contains(&loss));
}

#[test]
fn reciprocal_ranks_share_ties() {
    // Scores 3, 2, 2, 1; positives at the top, in the tie, at the end; then with the top one masked.
    let (q, k) = ([1.0_f32], [3.0_f32, 2.0, 2.0, 1.0]);
    let at = Embeddings { queries: &q, keys: &k, dim: 1, scale: 1.0 };
    let (mut none, mut top) = (Lists::new(), Lists::new());
    (0..3).for_each(|_| none.push([]));
    (0..3).for_each(|_| top.push([0]));
    let with = |masked: &Lists, positive: &[u32; 3]| {
        let own = Candidates { query: &[0; 3], positive, offset: &[0.0; 4], certain: &none, masked, weights: None };
        own.measure(at).1
    };
    assert!((with(&none, &[0, 1, 3]) - (1.0 + 1.0 / 2.5 + 0.25) / 3.0).abs() < 1e-12);
    assert!((with(&top, &[1, 1, 3]) - (2.0 / 1.5 + 1.0 / 3.0) / 3.0).abs() < 1e-12);
}

#[test]
fn parameters_out_of_range_are_refused() {
    let sampled = |change: fn(&mut Sampling)| {
        let mut sampling = Sampling::default();
        change(&mut sampling);
        Loss::SampledSoftmax(sampling).check()
    };
    assert!(sampled(|_| ()).is_ok());
    assert!(sampled(|s| s.law = NegativeLaw::Popularity { power: -0.5 }).is_err());
    assert!(sampled(|s| s.law = NegativeLaw::Popularity { power: f64::NAN }).is_err());
    assert!(sampled(|s| s.extra = usize::MAX).is_err());
    for hard in [
        crate::fit::gradient::Hard { count: 0, ..Default::default() },
        crate::fit::gradient::Hard { every: 0, ..Default::default() },
        crate::fit::gradient::Hard { margin: Some(f64::NAN), ..Default::default() },
        crate::fit::gradient::Hard { margin: Some(2.0), ..Default::default() },
    ] {
        let sampling = Sampling { hard: Some(hard), ..Sampling::default() };
        assert!(Loss::SampledSoftmax(sampling).check().is_err(), "{hard:?}");
    }
    for delta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Loss::Huber { delta }.check().is_err());
    }
}
