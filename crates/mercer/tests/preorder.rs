//! Preorders against brute force, estimates against independent references, and models of what no utility represents.

use mercer::fit::{AntisymmetricOptions, HeldOutUnit, Recommended, antisymmetric};
use mercer::preorder::{
    AxiomOptions, LikelihoodOptions, Rankings, Reading, axioms, bradley_terry, bradley_terry_by_query, plackett_luce,
    utilities,
};
use mercer::{Class, Comparisons, Features, Seed, Stream, with_threads};
use proptest::prelude::*;
use proptest::test_runner::Config;

fn config(cases: u32) -> Config {
    Config { failure_persistence: None, cases, ..Config::default() }
}

/// Comparisons for query 0 from `(preferred, other, weight)`.
fn table(rows: &[(u32, u32, f32)]) -> Comparisons {
    Comparisons::new(
        vec![0; rows.len()],
        rows.iter().map(|r| r.0).collect(),
        rows.iter().map(|r| r.1).collect(),
        Some(rows.iter().map(|r| r.2).collect()),
    )
    .unwrap()
}

/// Comparisons of a relation: `order(a, b)` is 1, 0 (a tie), or -1; pairs for which it is `None` are left out.
fn relation(keys: u32, order: impl Fn(u32, u32) -> Option<i32>) -> Vec<(u32, u32, f32)> {
    let mut rows = Vec::new();
    for a in 0..keys {
        for b in a + 1..keys {
            match order(a, b) {
                Some(0) => rows.extend([(a, b, 0.5), (b, a, 0.5)]),
                Some(o) if o > 0 => rows.push((a, b, 1.0)),
                Some(_) => rows.push((b, a, 1.0)),
                None => {}
            }
        }
    }
    rows
}

fn log_odds(options: f64) -> LikelihoodOptions {
    LikelihoodOptions { penalty: options, ..LikelihoodOptions::default() }
}

/// `comparisons` random comparisons by Bradley and Terry's model.
fn noisy(utilities: &[f64], comparisons: usize, stream: &mut Stream) -> Vec<(u32, u32, f32)> {
    let n = utilities.len();
    let mut one = || {
        let a = stream.below(n);
        let b = (a + 1 + stream.below(n - 1)) % n;
        let wins = stream.uniform() < 1.0 / (1.0 + (utilities[b] - utilities[a]).exp());
        if wins { (a as u32, b as u32, 1.0) } else { (b as u32, a as u32, 1.0) }
    };
    (0..comparisons).map(|_| one()).collect()
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_utility_orders_every_pair_as_the_preorder_does(seed in any::<u64>(), keys in 2..40u32, classes in 1..12usize) {
        let mut stream = Seed(seed).stream("preorder");
        let height: Vec<usize> = (0..keys).map(|_| stream.below(classes)).collect();
        let order = |a: u32, b: u32| height[a as usize].cmp(&height[b as usize]) as i32;
        let rows = relation(keys, |a, b| Some(order(a, b)));
        for reading in [Reading::Majority, Reading::Every] {
            let utility = utilities(&table(&rows), reading).remove(0).unwrap();
            prop_assert!(utility.complete);
            for a in 0..keys {
                for b in 0..keys {
                    let own = utility.levels[a as usize].cmp(&utility.levels[b as usize]) as i32;
                    prop_assert_eq!(own, order(a, b));
                }
            }
            // The rank in the quotient order: levels are 0, 1, .. without a gap.
            let mut levels = utility.levels.clone();
            levels.sort_unstable();
            levels.dedup();
            prop_assert_eq!(levels, (0..=*utility.levels.iter().max().unwrap()).collect::<Vec<u32>>());
        }
        let report = axioms(&table(&rows), &AxiomOptions::default()).unwrap();
        prop_assert!(report.is_consistent() && report.cycles.is_empty());
        prop_assert_eq!((report.pooled.completeness, report.pooled.triples.intransitive), (1.0, 0));
    }

    #[test]
    fn an_incomplete_relation_has_levels_exactly_if_no_chain_contradicts_a_strict_pair(seed in any::<u64>(), keys in 2..14u32) {
        let mut stream = Seed(seed).stream("relation");
        let n = keys as usize;
        let mut cells = vec![None; n * n];
        for a in 0..n {
            for b in a + 1..n {
                let order = [None, None, None, Some(1), Some(1), Some(-1), Some(0)][stream.below(7)];
                (cells[a * n + b], cells[b * n + a]) = (order, order.map(|o: i32| -o));
            }
        }
        let rows = relation(keys, |a, b| cells[a as usize * n + b as usize]);
        if rows.is_empty() {
            return Ok(());
        }
        // Reachability along >= by Warshall's algorithm; a strict pair a > b that b reaches back is a contradiction.
        let mut reach: Vec<bool> = cells.iter().map(|c| c.is_some_and(|o| o >= 0)).collect();
        for k in 0..n {
            for a in 0..n {
                for b in 0..n {
                    reach[a * n + b] |= reach[a * n + k] && reach[k * n + b];
                }
            }
        }
        let strict = |a: usize, b: usize| cells[a * n + b] == Some(1);
        let cyclic = (0..n * n).filter(|i| strict(i / n, i % n) && reach[(i % n) * n + i / n]).count() as u64;
        let report = axioms(&table(&rows), &AxiomOptions::default()).unwrap();
        prop_assert_eq!(report.pooled.cyclic, cyclic);
        match utilities(&table(&rows), Reading::Majority).remove(0) {
            Ok(utility) => {
                prop_assert_eq!(cyclic, 0);
                let level = |key: usize| utility.keys.binary_search(&(key as u32)).map(|at| utility.levels[at]);
                for (i, cell) in cells.iter().enumerate() {
                    if let Some(order) = cell {
                        let own = level(i / n).unwrap().cmp(&level(i % n).unwrap()) as i32;
                        prop_assert_eq!(own, *order);
                    }
                }
            }
            Err(cycle) => {
                prop_assert!(cyclic > 0);
                prop_assert_eq!(&cycle, &report.cycles[0]);
                let m = cycle.keys.len();
                for i in 0..m {
                    let (a, b) = (cycle.keys[i] as usize, cycle.keys[(i + 1) % m] as usize);
                    prop_assert_eq!(cells[a * n + b], Some(i32::from(!cycle.ties[i])));
                }
                prop_assert!(!cycle.ties[0]);
                let error = mercer::Error::from(cycle).to_string();
                prop_assert!(error.contains("no preorder") && error.contains('>'), "{}", error);
            }
        }
    }
}

#[test]
fn repeated_comparisons_are_read_by_majority_or_every_one() {
    // 1 beats 0 in two of three; 1 and 2 tie at two each.
    let rows = [(1, 0, 1.0), (1, 0, 1.0), (0, 1, 1.0), (1, 2, 2.0), (2, 1, 1.0), (2, 1, 1.0)];
    let levels = |reading| utilities(&table(&rows), reading).remove(0).unwrap().levels;
    assert_eq!(levels(Reading::Majority), [0, 1, 1]);
    assert_eq!(levels(Reading::Every), [0, 0, 0]);
}

#[test]
fn the_report_of_many_queries_names_the_worst() {
    let (mut query, mut preferred, mut other) = (Vec::new(), Vec::new(), Vec::new());
    let mut add = |q: u32, a: u32, b: u32| {
        query.push(q);
        preferred.push(a);
        other.push(b);
    };
    // Query 2: two chains that nothing joins. Query 5: a cycle of three. Query 9: of its four pairs on a ring, one tied.
    [(0, 1), (1, 2), (7, 8)].into_iter().for_each(|(a, b)| add(2, a, b));
    [(10, 11), (11, 12), (12, 10)].into_iter().for_each(|(a, b)| add(5, a, b));
    [(20, 21), (21, 22), (22, 23), (23, 20), (20, 23), (20, 30)].into_iter().for_each(|(a, b)| add(9, a, b));
    let comparisons = Comparisons::new(query, preferred, other, None).unwrap();
    let report = axioms(&comparisons, &AxiomOptions { worst: 2, ..AxiomOptions::default() }).unwrap();
    assert_eq!((report.queries, report.complete, report.connected, report.consistent, report.bounded), (3, 1, 2, 1, 1));
    assert_eq!(report.worst.iter().map(|q| q.query).collect::<Vec<_>>(), [5, 9]);
    let cycles: Vec<String> = report.cycles.iter().map(|c| format!("{}: {c}", c.query)).collect();
    assert_eq!(cycles, ["5: 10 > 11 > 12 > 10", "9: 20 > 21 > 22 > 23 ~ 20"]);
    assert_eq!((report.pooled.pairs, report.pooled.compared, report.pooled.ties), (10 + 3 + 10, 3 + 3 + 5, 1));
    assert_eq!((report.pooled.strict, report.pooled.cyclic, report.pooled.parts), (10, 6, 4));
    assert_eq!((report.pooled.triples.compared, report.pooled.triples.intransitive), (1, 1));
    assert!(report.pooled.triples.exact && report.cycles_searched);
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["worst"][0]["cycles"][0]["keys"], serde_json::json!([10, 11, 12]));
    assert!(axioms(&Comparisons::default(), &AxiomOptions::default()).is_err());
}

#[test]
fn triples_beyond_counting_are_sampled_with_an_interval_that_knows_the_truth() {
    // Of 9001 items on a circle each beats the half after it; only pairs whose sum is a multiple of 15 are compared, so the
    // completely compared triples are those of multiples of 15, whose cyclic share Kendall's formula gives.
    let (n, step) = (9001u32, 15);
    let beats = (0..n).flat_map(|i| (1..=(n - 1) / 2).map(move |d| (i, (i + d) % n, 1.0)));
    let rows: Vec<(u32, u32, f32)> = beats.filter(|r| (r.0 + r.1) % step == 0).collect();
    let report = axioms(&table(&rows), &AxiomOptions { cycles: 1, ..AxiomOptions::default() }).unwrap();
    let mut wins = vec![0.0; n as usize];
    rows.iter().filter(|r| r.0 % step == 0).for_each(|r| wins[r.0 as usize] += 1.0);
    let m = f64::from(n.div_ceil(step));
    let all = m * (m - 1.0) * (m - 2.0) / 6.0;
    let share = 1.0 - wins.iter().map(|d| d * (d - 1.0) / 2.0).sum::<f64>() / all;
    let triples = report.pooled.triples;
    let [low, high] = triples.interval.unwrap();
    assert!(!triples.exact && triples.compared > 5000, "{triples:?}");
    assert!(low <= share && share <= high && high - low < 0.03, "{share}: {triples:?}");
}

/// `-ll + alpha |u|^2` of comparisons, as choix writes it.
fn pair_objective(rows: &[(u32, u32, f32)], alpha: f64, u: &[f64]) -> f64 {
    let terms = rows.iter().map(|&(a, b, w)| f64::from(w) * (1.0 + (u[b as usize] - u[a as usize]).exp()).ln());
    terms.sum::<f64>() + alpha * u.iter().map(|v| v * v).sum::<f64>()
}

/// `-ll + alpha |u|^2` of rankings by the definition: each key from itself and the groups below.
fn ranking_objective(rankings: &[Vec<Vec<u32>>], weight: &[f64], alpha: f64, u: &[f64]) -> f64 {
    let mut sum = alpha * u.iter().map(|v| v * v).sum::<f64>();
    for (groups, w) in rankings.iter().zip(weight) {
        for (g, group) in groups.iter().enumerate().take(groups.len() - 1) {
            for &i in group {
                let below: f64 = groups[g + 1..].iter().flatten().map(|&j| u[j as usize].exp()).sum();
                sum += w * ((u[i as usize].exp() + below).ln() - u[i as usize]);
            }
        }
    }
    sum
}

/// The inverse on vectors of sum zero of the Hessian by finite differences, from the bordered matrix `[[H, 1], [1^T, 0]]`.
fn restricted_inverse(n: usize, at: &[f64], objective: impl Fn(&[f64]) -> f64) -> Vec<Vec<f64>> {
    let h = 1e-3;
    let moved = |steps: &[(usize, f64)]| {
        let mut point = at.to_vec();
        steps.iter().for_each(|&(i, d)| point[i] += d * h);
        objective(&point)
    };
    let second = |i: usize, j: usize| {
        let mixed = |h: f64| {
            moved(&[(i, h), (j, h)]) - moved(&[(i, h), (j, -h)]) - moved(&[(i, -h), (j, h)])
                + moved(&[(i, -h), (j, -h)])
        };
        // Richardson: differences of two widths cancel the error of second order.
        (4.0 * mixed(1.0) - mixed(2.0) / 4.0) / (12.0 * h * h)
    };
    let size = n + 1;
    let mut a = vec![vec![0.0; 2 * size]; size];
    for i in 0..n {
        for j in 0..n {
            a[i][j] = second(i, j);
        }
        (a[i][n], a[n][i]) = (1.0, 1.0);
    }
    (0..size).for_each(|i| a[i][size + i] = 1.0);
    for k in 0..size {
        let pivot = (k..size).max_by(|&x, &y| a[x][k].abs().total_cmp(&a[y][k].abs())).unwrap();
        a.swap(k, pivot);
        let row: Vec<f64> = a[k].iter().map(|v| v / a[k][k]).collect();
        for (i, other) in a.iter_mut().enumerate() {
            if i != k {
                let factor = other[k];
                other.iter_mut().zip(&row).for_each(|(v, r)| *v -= factor * r);
            }
        }
        a[k] = row;
    }
    (0..n).map(|i| a[i][size..size + n].to_vec()).collect()
}

#[test]
fn estimates_agree_with_choix() {
    // choix 0.4.1: opt_pairwise(5, data, alpha, tol=1e-10) and opt_rankings(5, lists, alpha, tol=1e-10).
    let data = [(0, 1), (0, 1), (1, 2), (2, 0), (3, 1), (1, 3), (3, 0), (4, 2), (0, 4), (2, 4)];
    let rows: Vec<(u32, u32, f32)> = data.iter().map(|&(a, b)| (a, b, 1.0)).collect();
    let expected = [
        (0.01, [0.3446550958, -0.0329402554, -0.3050035189, 0.7680079670, -0.7747192884]),
        (0.1, [0.2901813251, -0.0926664345, -0.1957736404, 0.5663997447, -0.5681409949]),
        (1.0, [0.1354681216, -0.1086696124, -0.0268576595, 0.1747178898, -0.1746587396]),
    ];
    let close = |own: &[f64], expected: &[f64]| own.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7);
    for (alpha, theta) in expected {
        let own = bradley_terry(&table(&rows), 5, &log_odds(alpha)).unwrap();
        assert!(own.converged && own.gradient < 1e-10 && close(&own.utilities, &theta), "{own:?}");
        assert!((own.log_likelihood + pair_objective(&rows, 0.0, &own.utilities)).abs() < 1e-12);
    }
    let lists = Rankings::strict(&[vec![0, 1, 2, 3], vec![3, 1, 4], vec![4, 2, 0], vec![1, 0]], None).unwrap();
    let expected = [
        (0.01, [-0.4613434969, 0.7323103546, -0.0368541337, -0.2775492402, 0.0434365161]),
        (1.0, [-0.1708539714, 0.3113248970, 0.0068440528, -0.1171336666, -0.0301813118]),
    ];
    for (alpha, theta) in expected {
        let own = plackett_luce(&lists, 5, &log_odds(alpha)).unwrap();
        assert!(own.converged && own.gradient < 1e-10 && close(&own.utilities, &theta), "{own:?}");
    }
}

#[test]
fn standard_errors_are_those_of_the_inverse_hessian_on_utilities_of_sum_zero() {
    let mut stream = Seed(11).stream("errors");
    let truth: Vec<f64> = (0..7).map(|_| 0.7 * stream.normal()).collect();
    let rows = noisy(&truth, 150, &mut stream);
    let rankings: Vec<Vec<Vec<u32>>> = (0..40)
        .map(|_| {
            let keys: Vec<u32> = stream.choose(7, 5).into_iter().map(|k| k as u32).collect();
            let cut = 1 + stream.below(3);
            vec![keys[..cut].to_vec(), keys[cut..4].to_vec(), keys[4..].to_vec()]
        })
        .map(|groups| groups.into_iter().filter(|g| !g.is_empty()).collect())
        .collect();
    let weight: Vec<f64> = (0..40).map(|i| 1.0 + f64::from(i % 3)).collect();
    let lists = Rankings::new(&rankings, Some(weight.clone())).unwrap();
    for alpha in [0.0, 0.3] {
        let pairs = bradley_terry(&table(&rows), 7, &log_odds(alpha)).unwrap();
        let ranked = plackett_luce(&lists, 7, &log_odds(alpha)).unwrap();
        let references = [
            restricted_inverse(7, &pairs.utilities, |u| pair_objective(&rows, alpha, u)),
            restricted_inverse(7, &ranked.utilities, |u| ranking_objective(&rankings, &weight, alpha, u)),
        ];
        for (own, reference) in [pairs, ranked].iter().zip(&references) {
            assert!(own.converged && own.utilities.iter().sum::<f64>().abs() < 1e-12);
            let errors = own.standard_errors.as_ref().unwrap();
            for a in 0..7 {
                assert!((errors[a] - reference[a][a].sqrt()).abs() < 1e-6, "{} {}", errors[a], reference[a][a].sqrt());
                for b in 0..7 {
                    assert!((own.covariance(a, b).unwrap() - reference[a][b]).abs() < 1e-6);
                    let variance = reference[a][a] + reference[b][b] - 2.0 * reference[a][b];
                    assert!((own.difference_error(a, b).unwrap() - variance.max(0.0).sqrt()).abs() < 1e-6);
                }
            }
            assert_eq!(own.difference_error(0, 7), None);
        }
    }
}

#[test]
fn estimates_are_maxima_of_likelihoods_written_as_defined() {
    let mut stream = Seed(12).stream("maxima");
    for round in 0..8 {
        let rankings: Vec<Vec<Vec<u32>>> = (0..60)
            .map(|_| {
                let keys: Vec<u32> =
                    stream.choose(9, 2 + stream.clone().below(7)).into_iter().map(|k| k as u32).collect();
                let mut groups: Vec<Vec<u32>> = Vec::new();
                for key in keys {
                    match groups.last_mut() {
                        Some(group) if stream.uniform() < 0.3 => group.push(key),
                        _ => groups.push(vec![key]),
                    }
                }
                groups
            })
            .collect();
        let weight: Vec<f64> = (0..60).map(|_| 0.5 + stream.uniform()).collect();
        let alpha = [0.0, 0.05][round % 2];
        let own = plackett_luce(&Rankings::new(&rankings, Some(weight.clone())).unwrap(), 9, &log_odds(alpha)).unwrap();
        assert!(own.converged);
        let objective = |u: &[f64]| ranking_objective(&rankings, &weight, alpha, u);
        assert!((own.log_likelihood + ranking_objective(&rankings, &weight, 0.0, &own.utilities)).abs() < 1e-9);
        for i in 0..9 {
            let moved = |d: f64| {
                let mut point = own.utilities.clone();
                point[i] += d;
                objective(&point)
            };
            assert!(((moved(1e-5) - moved(-1e-5)) / 2e-5).abs() < 1e-6);
        }
    }
}

#[test]
fn rankings_of_two_are_comparisons() {
    let mut stream = Seed(13).stream("two");
    let rows = noisy(&[0.3, -0.4, 0.1, 0.9, -0.9], 80, &mut stream);
    let lists: Vec<Vec<u32>> = rows.iter().map(|r| vec![r.0, r.1]).collect();
    let rankings = Rankings::strict(&lists, None).unwrap();
    let (ranked, pairs) = (
        plackett_luce(&rankings, 5, &log_odds(0.0)).unwrap(),
        bradley_terry(&rankings.comparisons(0).unwrap(), 5, &log_odds(0.0)).unwrap(),
    );
    let gap = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(gap(&ranked.utilities, &pairs.utilities) < 1e-10);
    assert!(gap(&ranked.standard_errors.unwrap(), &pairs.standard_errors.unwrap()) < 1e-10);
    assert!((ranked.log_likelihood - pairs.log_likelihood).abs() < 1e-10);
}

#[test]
fn conjugate_gradients_agree_with_the_dense_factorisation() {
    let mut stream = Seed(14).stream("sparse");
    let truth: Vec<f64> = (0..60).map(|_| stream.normal()).collect();
    let rows = noisy(&truth, 1500, &mut stream);
    let lists: Vec<Vec<u32>> = (0..300).map(|_| stream.choose(60, 6).into_iter().map(|k| k as u32).collect()).collect();
    let rankings = Rankings::strict(&lists, None).unwrap();
    for alpha in [0.0, 0.1] {
        let sparse = LikelihoodOptions { dense: 0, ..log_odds(alpha) };
        let both = [
            [log_odds(alpha), sparse].map(|o| bradley_terry(&table(&rows), 60, &o).unwrap()),
            [log_odds(alpha), sparse].map(|o| plackett_luce(&rankings, 60, &o).unwrap()),
        ];
        for [dense, sparse] in both {
            assert!(sparse.converged && sparse.standard_errors.is_none() && sparse.covariance(0, 1).is_none());
            assert!(sparse.without_errors.as_ref().unwrap().contains("limit 0"));
            for k in 0..60 {
                assert!((dense.utilities[k] - sparse.utilities[k]).abs() < 1e-9);
                let errors = [&dense, &sparse].map(|e| e.difference_error(k, (k + 7) % 60).unwrap());
                assert!((errors[0] - errors[1]).abs() < 1e-8);
            }
        }
    }
}

#[test]
fn a_likelihood_without_a_maximum_is_refused_by_name() {
    let apart = table(&[(0, 1, 1.0), (1, 0, 1.0), (5, 6, 1.0), (6, 5, 1.0), (7, 6, 1.0), (6, 7, 1.0)]);
    let error = bradley_terry(&apart, 8, &log_odds(0.0)).unwrap_err().to_string();
    for part in ["falls into 5 parts", "3 keys: 5, 6, 7", "2 keys: 0, 1", "1 key: 2", "and 1 smaller ones", "penalty"] {
        assert!(error.contains(part), "{error}");
    }
    let one_way = table(&[(0, 1, 1.0), (1, 0, 1.0), (2, 3, 1.0), (3, 2, 1.0), (0, 2, 1.0), (1, 3, 1.0)]);
    let error = bradley_terry(&one_way, 4, &log_odds(0.0)).unwrap_err().to_string();
    for part in ["no finite maximum", "2 groups", "2 keys: 0, 1; 2 keys: 2, 3", "Ford"] {
        assert!(error.contains(part), "{error}");
    }
    let estimated = bradley_terry(&apart, 8, &log_odds(0.1)).unwrap();
    assert!(estimated.converged && estimated.utilities[2].abs() < 1e-12);
    // Nothing is known of a key but the penalty: a standard error of 1 / sqrt(2 alpha), less the mean of all.
    let alone = estimated.standard_errors.unwrap()[2];
    assert!((alone - ((1.0 - 1.0 / 8.0) / 0.2f64).sqrt()).abs() < 1e-9);
    let rankings = Rankings::new(&[vec![vec![0, 1], vec![2]], vec![vec![2], vec![1]]], None).unwrap();
    let error = plackett_luce(&rankings, 3, &log_odds(0.0)).unwrap_err().to_string();
    assert!(error.contains("2 groups") && error.contains("2 keys: 1, 2; 1 key: 0"), "{error}");
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(bradley_terry(&apart, 8, &log_odds(bad)).is_err());
    }
    assert!(bradley_terry(&apart, 7, &log_odds(0.1)).is_err() && plackett_luce(&rankings, 2, &log_odds(0.1)).is_err());
    assert!(
        Rankings::strict(&[vec![1, 2, 1]], None).is_err() && Rankings::strict(&[vec![1]], Some(vec![0.0])).is_err()
    );
}

#[test]
fn queries_are_estimated_apart() {
    let comparisons = Comparisons::new(vec![3, 3, 1, 1, 1], vec![4, 8, 2, 4, 2], vec![8, 4, 4, 2, 4], None).unwrap();
    let all = bradley_terry_by_query(&comparisons, &log_odds(0.0));
    let [first, second] = [0, 1].map(|q| all[q].as_ref().unwrap());
    assert_eq!((first.query, &first.keys[..], second.query, &second.keys[..]), (1, &[2, 4][..], 3, &[4, 8][..]));
    assert!((first.estimated.utilities[0] - 0.5 * 2.0f64.ln()).abs() < 1e-10);
    assert!(second.estimated.utilities[0].abs() < 1e-10);
}

/// Each of `n` items beats the `(n - 1) / 2` after it on a circle.
fn cyclic_tournament(n: u32) -> Vec<(u32, u32, f32)> {
    (0..n).flat_map(|i| (1..=(n - 1) / 2).map(move |d| (i, (i + d) % n, 1.0))).collect()
}

/// Share of comparisons whose order scores have right, ties half.
fn sign_accuracy(rows: &[(u32, u32, f32)], score: impl Fn(usize, usize) -> f64) -> f64 {
    let right = rows.iter().map(|&(a, b, _)| match score(a as usize, b as usize) {
        s if s > 0.0 => 1.0,
        s if s < 0.0 => 0.0,
        _ => 0.5,
    });
    right.sum::<f64>() / rows.len() as f64
}

#[test]
fn a_cyclic_tournament_asks_for_the_antisymmetric_model() {
    let rows = cyclic_tournament(61);
    let fit = antisymmetric(&table(&rows), 61, &AntisymmetricOptions { rank: Some(2), ..Default::default() }).unwrap();
    assert_eq!((fit.rank, fit.encoder.dim(), fit.encoder.class()), (2, 2, Class::Asymmetric));
    let items = Features::one_hot(61);
    let block = fit.encoder.block(0, &items.rows(), &items.rows()).unwrap();
    for a in 0..61 {
        for b in 0..61 {
            assert!((block[a * 61 + b] + block[b * 61 + a]).abs() < 1e-12);
        }
    }
    let u = &fit.bradley_terry.utilities;
    let (own, rival) = (sign_accuracy(&rows, |a, b| block[a * 61 + b]), sign_accuracy(&rows, |a, b| u[a] - u[b]));
    println!("all pairs: antisymmetric {own:.4}, Bradley-Terry {rival:.4}");
    println!("{:#?}", fit.recommendation);
    assert!(own > 0.99 && (rival - 0.5).abs() < 0.05, "{own} {rival}");
    let told = fit.recommendation.unwrap();
    assert_eq!((told.model, told.unit), (Recommended::Antisymmetric, HeldOutUnit::Pairs));
    assert!(told.antisymmetric.ordered.mean > 0.97 && told.bradley_terry.ordered.mean < 0.6);
    assert!(told.gain.low.unwrap() > 0.0 && told.reason.contains("no utility"));
    // Left to itself the rank is small, and the recommendation the same.
    let free = antisymmetric(&table(&rows), 61, &AntisymmetricOptions::default()).unwrap();
    assert_eq!(free.recommendation.unwrap().model, Recommended::Antisymmetric);
    assert!(free.rank <= 6, "{:?}", free.choices);
}

#[test]
fn data_of_a_utility_ask_for_the_utility() {
    for seed in 0..4 {
        let mut stream = Seed(seed).stream("utility");
        let truth: Vec<f64> = (0..40).map(|_| stream.normal()).collect();
        let rows = noisy(&truth, 3000, &mut stream);
        let fit =
            antisymmetric(&table(&rows), 40, &AntisymmetricOptions { seed: Seed(seed), ..Default::default() }).unwrap();
        let told = fit.recommendation.unwrap();
        assert_eq!(told.model, Recommended::Utility, "{told:#?}");
        assert!(told.bradley_terry.ordered.mean > 0.6);
    }
}

#[test]
fn rock_paper_scissors_with_repeats_is_seen_as_cyclic() {
    let rows: Vec<(u32, u32, f32)> = (0..60)
        .map(|i| match i % 3 {
            _ if i % 10 == 9 => (i % 3, (i + 1) % 3, 1.0),
            k => ((k + 1) % 3, k, 1.0),
        })
        .collect();
    let fit = antisymmetric(&table(&rows), 3, &AntisymmetricOptions::default()).unwrap();
    let told = fit.recommendation.unwrap();
    assert_eq!((told.unit, told.units), (HeldOutUnit::Comparisons, 60));
    let items = Features::one_hot(3);
    let right = |encoder: &mercer::DualEncoder| {
        let block = encoder.block(0, &items.rows(), &items.rows()).unwrap();
        (0..3).all(|k| block[(k + 1) % 3 * 3 + k] > 0.0)
    };
    assert!(right(&fit.encoder) && fit.rank == 2);
    assert_eq!(told.model, Recommended::Antisymmetric, "{told:#?}");
    // One answer a pair is a cycle that chance could have made: the model is there, a recommendation is not.
    let once = antisymmetric(&table(&[(1, 0, 1.0), (2, 1, 1.0), (0, 2, 1.0)]), 3, &Default::default()).unwrap();
    assert!(right(&once.encoder) && once.recommendation.is_none());
}

#[test]
fn malformed_requests_are_refused() {
    let rows = cyclic_tournament(11);
    let with = |options: AntisymmetricOptions| antisymmetric(&table(&rows), 11, &options).unwrap_err().to_string();
    let plain = AntisymmetricOptions::default;
    assert!(with(AntisymmetricOptions { rank: Some(3), ..plain() }).contains("even"));
    assert!(with(AntisymmetricOptions { ridge: Some(0.0), ..plain() }).contains("ridge"));
    assert!(with(AntisymmetricOptions { held_out: 0.5, ..plain() }).contains("held-out"));
    assert!(with(AntisymmetricOptions { steps: 0, ..plain() }).contains("steps"));
    assert!(antisymmetric(&table(&rows), 10, &plain()).is_err());
    assert!(antisymmetric(&Comparisons::default(), 11, &plain()).unwrap_err().to_string().contains("no comparison"));
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let mut rows = cyclic_tournament(61);
    let mut stream = Seed(3).stream("threads");
    rows.extend(noisy(&vec![0.0; 61], 500, &mut stream));
    let comparisons = table(&rows);
    let run = |threads| {
        with_threads(Some(threads), || {
            let options = AntisymmetricOptions { rank: Some(4), ridge: Some(0.3), ..Default::default() };
            let fit = antisymmetric(&comparisons, 61, &options).unwrap();
            let report = axioms(&comparisons, &AxiomOptions::default()).unwrap();
            let errors = fit.bradley_terry.standard_errors.clone();
            (fit.encoder, fit.bradley_terry.utilities, errors, fit.recommendation, report)
        })
        .unwrap()
    };
    assert_eq!(run(1), run(3));
}
