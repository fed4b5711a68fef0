//! Fits of tables: observed pairs of items with features, observed pairs of ids, and complete tables.

mod common;

use common::{Columns, EPS32, cube, dot, random_orthonormal, relative, sets, stream};
use mercer::evaluate::{Ranking, Scorer};
use mercer::fit::{
    Complete, Dimension, Effort, Fit, Method, Options, Outcome, Silent, Table, complete, factorise, observed,
};
use mercer::pipeline::{PairTable, fit_table};
use mercer::{Class, Error, ErrorKind, Features, ItemSource, Link, Pairs, Rows, Split};

fn options(dim: usize) -> Options {
    Options { dimension: Dimension::Fixed(dim), units: Some(60), ..Options::default() }
}

fn pairs(list: &[(u32, u32)], value: impl Fn(usize, usize) -> f64) -> Pairs {
    let values = list.iter().map(|&(x, y)| value(x as usize, y as usize) as f32).collect();
    Pairs::new(list.iter().map(|p| p.0).collect(), list.iter().map(|p| p.1).collect(), values, None).unwrap()
}

fn full_list(n: usize, m: usize) -> Vec<(u32, u32)> {
    (0..n as u32).flat_map(|x| (0..m as u32).map(move |y| (x, y))).collect()
}

/// A share of the ordered pairs of items below `n` and `m`, in random order.
fn some_of(n: usize, m: usize, share: f64, name: &str) -> Vec<(u32, u32)> {
    let (all, count) = (full_list(n, m), (share * (n * m) as f64) as usize);
    stream(name).choose(n * m, count).into_iter().map(|i| all[i]).collect()
}

fn reason<'a>(fit: &'a Fit, what: &str) -> &'a str {
    &fit.choices.iter().find(|c| c.what == what).unwrap_or_else(|| panic!("no choice of {what}")).reason
}

/// Root mean square error on all pairs of the items from `first` on, over the standard deviation of the values there.
fn error_on_new_items(fit: &Fit, items: &Features, first: usize, value: &dyn Fn(usize, usize) -> f64) -> f64 {
    let scorer = Scorer::new(&fit.encoder, items, None).unwrap();
    let cells: Vec<(usize, usize)> =
        (first..items.len()).flat_map(|x| (first..items.len()).map(move |y| (x, y))).collect();
    let mean = cells.iter().map(|&(x, y)| value(x, y)).sum::<f64>() / cells.len() as f64;
    let sum = |f: &dyn Fn(usize, usize) -> f64| cells.iter().map(|&(x, y)| f(x, y).powi(2)).sum::<f64>();
    (sum(&|x, y| scorer.score(x as u32, y as u32) - value(x, y)) / sum(&|x, y| value(x, y) - mean)).sqrt()
}

/// A planted relation: the inner product of two low-dimensional functions of the items.
struct Planted {
    items: Features,
    left: Vec<[f64; 3]>,
    right: Vec<[f64; 3]>,
}

impl Planted {
    fn value(&self, x: usize, y: usize) -> f64 {
        dot(&self.left[x], &self.right[y])
    }

    /// Items on `[-1, 1]^2` with three smooth coordinates; `directed` gives keys other coordinates than queries.
    fn dense(n: usize, directed: bool) -> Planted {
        let items = cube(n, 2, "planted");
        let Rows::Dense { data, .. } = items.rows() else { unreachable!() };
        let at = |turn: f64| -> Vec<[f64; 3]> {
            let row = |p: &[f32]| {
                let (a, b) = (f64::from(p[0]), f64::from(p[1]));
                [(1.5 * a + turn).sin(), b * turn.cos() + a * turn.sin(), 0.5 + a * b]
            };
            data.chunks_exact(2).map(row).collect()
        };
        Planted { left: at(0.0), right: at(if directed { 1.2 } else { 0.0 }), items: items.clone() }
    }

    /// Sets of 6 out of 30 elements; the coordinates are linear in them.
    fn sparse(n: usize) -> Planted {
        let items = sets(n, 6, 30, "planted");
        let mut stream = stream("planted map");
        let map: Vec<[f64; 3]> = (0..30).map(|_| std::array::from_fn(|_| stream.normal())).collect();
        let row = |i: usize| {
            let mut out = [0.0; 3];
            items.rows().for_each(i, |c, _| (0..3).for_each(|j| out[j] += map[c][j] / 6f64.sqrt()));
            out
        };
        let left: Vec<[f64; 3]> = (0..n).map(row).collect();
        Planted { right: left.clone(), left, items }
    }

    /// A fit to a fifth of the pairs of the first `known` items.
    fn fit(&self, known: usize, options: &Options) -> Fit {
        let list = some_of(known, known, 0.22, "observed");
        let (valid, train) = list.split_at(list.len() / 11);
        let of = |list: &[(u32, u32)]| pairs(list, |x, y| self.value(x, y));
        let table = Table { queries: &self.items, keys: None, train: &of(train), valid: &of(valid) };
        observed(table, options, &Silent).unwrap()
    }
}

#[test]
fn a_planted_relation_of_dense_rows_is_recovered_on_new_items() {
    let planted = Planted::dense(240, false);
    let fit = planted.fit(180, &options(4));
    let error = error_on_new_items(&fit, &planted.items, 180, &|x, y| planted.value(x, y));
    assert!(error < 0.05, "{error}");
    assert_eq!(fit.encoder.class(), Class::Symmetric, "{}", reason(&fit, "class"));
    assert!(reason(&fit, "class").contains("seen in both orders agree"));
}

#[test]
fn a_planted_relation_of_sets_is_recovered_on_new_items() {
    let planted = Planted::sparse(300);
    let fit = planted.fit(240, &options(4));
    let error = error_on_new_items(&fit, &planted.items, 240, &|x, y| planted.value(x, y));
    assert!(error < 0.3, "{error}");
    assert_eq!(fit.encoder.class(), Class::Symmetric, "{}", reason(&fit, "class"));
}

#[test]
fn a_directed_relation_is_asymmetric() {
    let planted = Planted::dense(200, true);
    let fit = planted.fit(150, &options(4));
    assert_eq!(fit.encoder.class(), Class::Asymmetric, "{}", reason(&fit, "class"));
    assert!(reason(&fit, "class").contains("antisymmetric on"), "{}", reason(&fit, "class"));
    let error = error_on_new_items(&fit, &planted.items, 150, &|x, y| planted.value(x, y));
    assert!(error < 0.1, "{error}");
    // Where no pair is seen in both orders, the held-out errors tell.
    let list: Vec<(u32, u32)> =
        some_of(150, 150, 0.4, "half").into_iter().filter(|(x, y)| (x + y) % 2 == u32::from(x < y)).collect();
    let (valid, train) = list.split_at(list.len() / 10);
    let of = |list: &[(u32, u32)]| pairs(list, |x, y| planted.value(x, y));
    let table = Table { queries: &planted.items, keys: None, train: &of(train), valid: &of(valid) };
    let fit = observed(table, &options(12), &Silent).unwrap();
    assert_eq!(fit.encoder.class(), Class::Asymmetric, "{}", reason(&fit, "class"));
    assert!(reason(&fit, "class").contains("no pair is seen in both orders"), "{}", reason(&fit, "class"));
}

#[test]
fn negative_eigenvalues_call_for_signs() {
    // x1 y2 + x2 y1 = ((x1 + x2)(y1 + y2) - (x1 - x2)(y1 - y2)) / 2: one positive and one negative direction.
    let items = cube(150, 2, "signed");
    let rows = items.rows();
    let row: Vec<Vec<f64>> = (0..150).map(|i| common::dense_row(&rows, i)).collect();
    let value = |x: usize, y: usize| row[x][0] * row[y][1] + row[x][1] * row[y][0];
    let list = some_of(150, 150, 0.2, "signed");
    let (valid, train) = list.split_at(list.len() / 10);
    let table = Table { queries: &items, keys: None, train: &pairs(train, value), valid: &pairs(valid, value) };
    let fit = observed(table, &options(4), &Silent).unwrap();
    assert_eq!(fit.encoder.class(), Class::Signed, "{}", reason(&fit, "class"));
    let tied = observed(table, &Options { class: Some(Class::Symmetric), ..options(4) }, &Silent).unwrap();
    assert!(
        tied.held_out_relative > 0.6 && fit.held_out_relative < 0.1,
        "{} {}",
        tied.held_out_relative,
        fit.held_out_relative
    );
}

#[test]
fn without_reversed_pairs_the_errors_tell_or_the_class_is_undetermined() {
    let planted = Planted::dense(200, false);
    // One order of each pair: nothing else tells the two sides apart, and nothing says that they are alike.
    let list: Vec<(u32, u32)> = some_of(200, 200, 0.9, "one way").into_iter().filter(|(x, y)| x < y).collect();
    let (valid, train) = list.split_at(list.len() / 10);
    let fit = |noise: f64, train: &[(u32, u32)]| {
        let mut noises = stream("noise");
        let mut noisy = |list: &[(u32, u32)]| {
            let exact = pairs(list, |x, y| planted.value(x, y));
            let chunk = exact.chunk();
            let value = chunk.value.iter().map(|v| v + (noise * noises.normal()) as f32).collect();
            Pairs::new(chunk.x.to_vec(), chunk.y.to_vec(), value, None).unwrap()
        };
        let (train, valid) = (noisy(train), noisy(valid));
        let table = Table { queries: &planted.items, keys: None, train: &train, valid: &valid };
        observed(table, &Options { units: Some(16), ..options(3) }, &Silent).unwrap()
    };
    // Under noise all three classes err alike, and the narrowest is kept without a claim.
    let vague = fit(1.0, train);
    assert_eq!(vague.encoder.class(), Class::Symmetric);
    let why = reason(&vague, "class");
    assert!(why.contains("undetermined") && why.contains("no pair is seen in both orders"), "{why}");
    // From few exact pairs, tied towers learn more: they see each pair from both sides.
    let clear = fit(0.0, &train[..600]);
    assert_eq!(clear.encoder.class(), Class::Symmetric);
    let why = reason(&clear, "class");
    assert!(!why.contains("undetermined") && why.contains("no pair is seen in both orders"), "{why}");
}

fn refusal(items: &Features, train: &Pairs, valid: &Pairs) -> [Error; 2] {
    let ids = Features::one_hot(items.len());
    let table = |queries| Table { queries, keys: None, train, valid };
    [
        observed(table(items), &options(4), &Silent).unwrap_err(),
        factorise(table(&ids), &options(4), &Silent).unwrap_err(),
    ]
}

#[test]
fn tables_without_information_are_refused_with_a_remedy() {
    let items = cube(30, 2, "refused");
    let list = some_of(30, 30, 0.3, "refused");
    let varied = |n: usize| pairs(&list[..n], |x, y| (x + 2 * y) as f64);
    let constant = pairs(&list, |_, _| 0.5);
    for error in refusal(&items, &constant, &varied(10)) {
        assert!(matches!(error.kind(), ErrorKind::Data { .. }) && error.to_string().contains("constant"), "{error}");
        assert!(error.to_string().contains("0.5") && error.to_string().contains("--absent 0"), "{error}");
    }
    for (train, valid) in [(0, 10), (19, 10), (50, 4), (50, 0)] {
        for error in refusal(&items, &varied(train), &varied(valid)) {
            assert!(matches!(error.kind(), ErrorKind::Data { .. }), "{error}");
            assert!(error.to_string().contains(&format!("({valid} held out) are too few")), "{error}");
        }
    }
    let table = Table { queries: &items, keys: Some(&items), train: &varied(60), valid: &varied(10) };
    let error = observed(table, &Options { class: Some(Class::Symmetric), ..options(4) }, &Silent).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Parameter { name, .. } if name == "class"), "{error}");
    let error = observed(table, &options(0), &Silent).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Parameter { name, .. } if name == "dimension"), "{error}");
    // Two sets of items need no diagnosis.
    assert_eq!(observed(table, &options(4), &Silent).unwrap().encoder.class(), Class::Asymmetric);
}

fn all_scores(fit: &Fit, items: &Features) -> Vec<f64> {
    let scorer = Scorer::new(&fit.encoder, items, None).unwrap();
    let n = items.len() as u32;
    (0..n * n).map(|i| scorer.score(i / n, i % n)).collect()
}

/// The same measurements once with weights and once repeated, self pairs among them.
fn weighted_and_repeated(n: usize, value: impl Fn(usize, usize) -> f64) -> [Pairs; 2] {
    let mut list = some_of(n, n, 0.3, "weights");
    list.extend((0..n as u32 / 2).map(|i| (i, i)));
    let plain = pairs(&list, value);
    // A second, contradicting measurement of the first pairs, so that weights matter there, too.
    let again = Pairs::new(
        list.iter().map(|p| p.0).take(40).collect(),
        list.iter().map(|p| p.1).take(40).collect(),
        vec![0.25; 40],
        None,
    );
    let both = plain.concat(&again.unwrap());
    let weight = |p: usize| 1 + p % 3;
    let chunk = both.chunk();
    let weights = (0..both.len()).map(|p| weight(p) as f32).collect();
    let weighted = Pairs::new(chunk.x.to_vec(), chunk.y.to_vec(), chunk.value.to_vec(), Some(weights)).unwrap();
    let repeats: Vec<usize> = (0..both.len()).flat_map(|p| vec![p; weight(p)]).collect();
    [weighted, both.select(&repeats)]
}

#[test]
fn a_weight_of_three_is_three_repeats() {
    let planted = Planted::dense(60, true);
    let [weighted, repeated] = weighted_and_repeated(60, |x, y| planted.value(x, y));
    let valid = pairs(&some_of(60, 60, 0.05, "valid"), |x, y| planted.value(x, y));
    // Few iterations: conjugate gradients magnify rounding from step to step until they converge, which takes a hundred here.
    let options = Options { class: Some(Class::Asymmetric), effort: Effort::Steps(15), ..options(6) };
    let fit = |train: &Pairs| {
        let table = Table { queries: &planted.items, keys: None, train, valid: &valid };
        all_scores(&observed(table, &options, &Silent).unwrap(), &planted.items)
    };
    // Sums in another order, carried through the iterations, then rounded to f32.
    let difference = relative(&fit(&weighted), &fit(&repeated));
    assert!(difference < 100.0 * EPS32, "{difference:e}");
    let plain =
        Pairs::new(weighted.chunk().x.to_vec(), weighted.chunk().y.to_vec(), weighted.chunk().value.to_vec(), None)
            .unwrap();
    assert!(relative(&fit(&weighted), &fit(&plain)) > 1e-4, "the weights do nothing");
}

#[test]
fn a_weight_of_three_is_three_repeats_for_ids() {
    let ids = Features::one_hot(40);
    let value = |x: usize, y: usize| 3.0 + (x as f64 * 0.7).sin() + (y as f64 * 0.3).cos();
    let [weighted, repeated] = weighted_and_repeated(40, value);
    let valid = pairs(&some_of(40, 40, 0.05, "valid"), value);
    let fit = |train: &Pairs| {
        let table = Table { queries: &ids, keys: None, train, valid: &valid };
        all_scores(&factorise(table, &options(4), &Silent).unwrap(), &ids)
    };
    let difference = relative(&fit(&weighted), &fit(&repeated));
    assert!(difference < 100.0 * EPS32, "{difference:e}");
}

#[test]
fn pairs_beyond_the_items_are_refused() {
    let (items, ids) = (cube(20, 2, "beyond"), Features::one_hot(20));
    let good = pairs(&some_of(20, 20, 0.5, "beyond"), |x, y| (x + y) as f64);
    let bad = good.concat(&pairs(&[(3, 20)], |_, _| 1.0));
    for error in refusal(&items, &bad, &good).into_iter().chain(refusal(&items, &good, &bad)) {
        assert!(
            matches!(error.kind(), ErrorKind::Data { .. } | ErrorKind::Shape { .. })
                && error.to_string().contains("20"),
            "{error}"
        );
    }
    let table = Complete { queries: &ids, keys: None, pairs: &bad, absent: 0.0, fitted: [&[], &[]] };
    assert!(complete(table, &closed(2), &Silent).unwrap_err().to_string().contains("20"));
}

#[test]
fn alternating_least_squares_recovers_mean_offsets_and_rank_two() {
    let (n, m) = (90, 70);
    let mut stream = stream("als");
    let mut draw = |n: usize, scale: f64| (0..n).map(|_| scale * stream.normal()).collect::<Vec<f64>>();
    let (b, c, u, v) = (draw(n, 0.5), draw(m, 0.5), draw(2 * n, 1.0), draw(2 * m, 1.0));
    let value = |x: usize, y: usize| 3.5 + b[x] + c[y] + u[2 * x] * v[2 * y] + u[2 * x + 1] * v[2 * y + 1];
    let (queries, keys) = (Features::one_hot(n), Features::one_hot(m));
    let list = some_of(n, m, 0.5, "als");
    let (valid, train) = list.split_at(list.len() / 10);
    let table =
        Table { queries: &queries, keys: Some(&keys), train: &pairs(train, value), valid: &pairs(valid, value) };
    let fit = factorise(table, &Options::default(), &Silent).unwrap();
    let scorer = Scorer::new(&fit.encoder, &queries, Some(&keys)).unwrap();
    let seen: std::collections::BTreeSet<(u32, u32)> = list.iter().copied().collect();
    let (mut error, mut energy, mut count) = (0.0, 0.0, 0);
    for (x, y) in (0..n as u32).flat_map(|x| (0..m as u32).map(move |y| (x, y))).filter(|cell| !seen.contains(cell)) {
        let truth = value(x as usize, y as usize);
        error += (scorer.score(x, y) - truth).powi(2);
        energy += (truth - 3.5).powi(2);
        count += 1;
    }
    let share = (error / energy).sqrt();
    assert!(count > 2000 && share < 0.15, "{share} on {count} pairs");
    assert_eq!(fit.encoder.class(), Class::Asymmetric);
    // Two coordinates, offsets or free ones, leave most of the energy.
    let offsets = factorise(table, &options(2), &Silent).unwrap();
    assert_eq!(offsets.encoder.dim(), 2);
    assert!(offsets.held_out_rmse > 0.7 && fit.held_out_rmse < 0.3, "{} {}", offsets.held_out_rmse, fit.held_out_rmse);
}

/// `sum over k of s_k u_k v_k^T` at one cell, for the leading `rank` terms.
fn cell(u: &Columns, s: &[f64], v: &Columns, rank: usize, x: usize, y: usize) -> f64 {
    (0..rank).map(|k| s[k] * u[k][x] * v[k][y]).sum()
}

fn closed(dim: usize) -> Options {
    Options { method: Method::ClosedForm, ..options(dim) }
}

#[test]
fn a_complete_table_of_ids_is_its_truncated_decomposition() {
    let (n, m, rank) = (50, 40, 10);
    let (u, v) = (random_orthonormal(n, rank, "left"), random_orthonormal(m, rank, "right"));
    let s: Vec<f64> = (0..rank).map(|k| 8.0 * 0.6f64.powi(k as i32)).collect();
    let (queries, keys) = (Features::one_hot(n), Features::one_hot(m));
    let listed = pairs(&full_list(n, m), |x, y| cell(&u, &s, &v, rank, x, y));
    let table = Complete { queries: &queries, keys: Some(&keys), pairs: &listed, absent: 0.0, fitted: [&[], &[]] };
    for dim in [1, 4, rank] {
        let fit = complete(table, &closed(dim), &Silent).unwrap();
        assert_eq!(
            (fit.encoder.class(), fit.encoder.dim(), fit.encoder.link()),
            (Class::Asymmetric, dim, Link::Identity)
        );
        let got = fit.encoder.block(0, &queries.rows(), &keys.rows()).unwrap();
        let expected: Vec<f64> = (0..n * m).map(|i| cell(&u, &s, &v, dim, i / m, i % m)).collect();
        // Values and embeddings are rounded to f32, and the gap of 0.6 between singular values amplifies that little.
        let difference = relative(&got, &expected);
        assert!(difference < 8.0 * EPS32, "dimension {dim}: {difference:e}");
        // The error told is that of the tail, by Eckart and Young.
        let tail = (s[dim..].iter().map(|s| s * s).sum::<f64>() / (n * m) as f64).sqrt();
        assert!((fit.held_out_rmse - tail).abs() < 1e-3 * s[0] * EPS32.sqrt(), "{} against {tail}", fit.held_out_rmse);
    }
}

#[test]
fn the_value_of_absent_pairs_counts() {
    // Half everywhere but for a few listed pairs, one of them listed twice: its mean counts.
    let ids = Features::one_hot(20);
    let mut listed = pairs(&[(1, 2), (3, 4), (5, 5)], |x, _| x as f64);
    listed = listed.concat(&Pairs::new(vec![7, 7], vec![8, 8], vec![1.0, 3.0], None).unwrap());
    let table = Complete { queries: &ids, keys: None, pairs: &listed, absent: 0.5, fitted: [&[], &[]] };
    let fit = complete(table, &closed(6), &Silent).unwrap();
    let got = all_scores(&fit, &ids);
    for (i, value) in got.iter().enumerate() {
        let expected = match (i / 20, i % 20) {
            (1, 2) => 1.0,
            (3, 4) => 3.0,
            (5, 5) => 5.0,
            (7, 8) => 2.0,
            _ => 0.5,
        };
        // The table's norm is about 12, its f32 rounding a few ulp of that.
        assert!((value - expected).abs() < 12.0 * 8.0 * EPS32, "{i}: {value} against {expected}");
    }
}

#[test]
fn the_class_of_a_complete_table_follows_its_spectrum() {
    let n = 40;
    let (ids, u) = (Features::one_hot(n), random_orthonormal(n, 6, "spectrum"));
    let fit = |s: &[f64], keys: Option<&Features>| {
        let listed = pairs(&full_list(n, n), |x, y| cell(&u, s, &u, 6, x, y));
        let table = Complete {
            queries: &ids,
            keys: keys.map(|k| k as &dyn ItemSource),
            pairs: &listed,
            absent: 0.0,
            fitted: [&[], &[]],
        };
        let fit = complete(table, &closed(6), &Silent).unwrap();
        let expected: Vec<f64> = (0..n * n).map(|i| cell(&u, s, &u, 6, i / n, i % n)).collect();
        let got = fit.encoder.block(0, &ids.rows(), &ids.rows()).unwrap();
        assert!(relative(&got, &expected) < 8.0 * EPS32, "{s:?}: {:e}", relative(&got, &expected));
        fit
    };
    let positive = fit(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], None);
    assert_eq!(positive.encoder.class(), Class::Symmetric, "{}", reason(&positive, "class"));
    let mixed = fit(&[6.0, -5.0, 4.0, 3.0, -2.0, 1.0], None);
    assert_eq!(mixed.encoder.class(), Class::Signed, "{}", reason(&mixed, "class"));
    // Two sets of items, if only by name: asymmetric, whatever the values.
    let two = fit(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], Some(&ids));
    assert_eq!(two.encoder.class(), Class::Asymmetric);
    assert!(reason(&two, "class").contains("different sets"));
}

#[test]
fn the_logistic_fit_separates_a_tree() {
    // Is-a on a binary tree of 255 nodes: node i is below i / 2, i / 4, ... down to the root 1.
    let n = 255;
    let ids = Features::one_hot(n);
    let mut list = Vec::new();
    for node in 2..=n as u32 {
        list.extend(
            std::iter::successors(Some(node / 2), |a| Some(a / 2)).take_while(|a| *a > 0).map(|a| (node - 1, a - 1)),
        );
    }
    let listed = pairs(&list, |_, _| 1.0);
    let table = Complete { queries: &ids, keys: None, pairs: &listed, absent: 0.0, fitted: [&[], &[]] };
    let fit = complete(table, &options(10), &Silent).unwrap();
    assert_eq!((fit.encoder.class(), fit.encoder.link()), (Class::Asymmetric, Link::LOGISTIC), "{:?}", fit.choices);
    let ranking = |fit: &Fit| Ranking::new(&fit.encoder, &ids, None, &listed).unwrap().unwrap();
    let own = ranking(&fit);
    let linear = ranking(&complete(table, &closed(10), &Silent).unwrap());
    assert_eq!((own.mean_rank, own.map, own.positives), (1.0, 1.0, list.len()));
    assert!(linear.map < 0.99, "the decomposition alone separates them, too: no test of the logistic fit");
    // Probabilities: on the right side of a half, and the error told is theirs.
    let scorer = Scorer::new(&fit.encoder, &ids, None).unwrap();
    assert!(list.iter().all(|&(x, y)| scorer.score(x, y) > 0.5));
    assert!(matches!(fit.outcome, Outcome::Converged | Outcome::StepLimit) && fit.steps > 0);
    let cut = complete(table, &Options { effort: Effort::Steps(3), ..options(10) }, &Silent).unwrap();
    assert_eq!((cut.outcome, cut.steps), (Outcome::StepLimit, 3));
}

#[test]
fn complete_tables_without_information_are_refused() {
    let ids = Features::one_hot(10);
    let error = |pairs: &Pairs, options: &Options| {
        complete(Complete { queries: &ids, keys: None, pairs, absent: 0.0, fitted: [&[], &[]] }, options, &Silent)
            .unwrap_err()
    };
    for empty in [Pairs::default(), pairs(&[(1, 2), (3, 4)], |_, _| 0.0)] {
        let error = error(&empty, &closed(2));
        assert!(
            matches!(error.kind(), ErrorKind::Data { .. }) && error.to_string().contains("every value is 0"),
            "{error}"
        );
    }
    let counts = pairs(&[(1, 2), (3, 4)], |x, _| x as f64);
    let method = error(&counts, &Options { method: Method::Logistic, ..options(2) });
    assert!(matches!(method.kind(), ErrorKind::Parameter { name, .. } if name == "method"), "{method}");
    let dimension = error(&counts, &closed(0));
    assert!(matches!(dimension.kind(), ErrorKind::Parameter { name, .. } if name == "dimension"), "{dimension}");
}

#[test]
fn a_complete_table_never_learns_its_test_pairs() {
    // Close pairs are 1, far ones absent; every fifth close pair is a test pair whose value a fit must not see.
    let items = Features::dense((0..80).map(|i| i as f32 / 40.0 - 1.0).collect(), 1).unwrap();
    let close: Vec<(u32, u32)> =
        (0..80u32).flat_map(|i| (0..80).map(move |j| (i, j))).filter(|(i, j)| i.abs_diff(*j) <= 20).collect();
    let split: Vec<Split> = (0..close.len()).map(|p| if p % 5 == 4 { Split::Test } else { Split::Train }).collect();
    let (x, y): (Vec<u32>, Vec<u32>) = close.iter().copied().unzip();
    let value = split.iter().map(|s| if *s == Split::Test { 100.0 } else { 1.0 }).collect();
    let pairs = Pairs::new(x, y, value, None).unwrap();
    let table = PairTable { queries: &items, keys: None, pairs: &pairs, split: Some(&split), absent: Some(0.0) };
    let options = Options { units: Some(32), effort: Effort::Steps(0), ..Options::default() };
    let done = fit_table(&table, &options, &Silent).unwrap();
    assert!(done.fit.choices[0].reason.contains("count as absent"), "{:?}", done.fit.choices[0]);
    // Values of 100 would show; listed pairs are no random part of all pairs, so they certify nothing.
    assert!(done.residuals.predicted.iter().all(|p| p.abs() < 3.0));
    assert!(!done.test.is_empty() && done.certificates.is_empty());
}
