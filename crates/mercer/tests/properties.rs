//! Properties that hold for any input: constructors, products, search, metrics, random choices.

mod common;

use std::collections::BTreeSet;

use common::{EPS, EPS32, densified, sparsified};
use mercer::evaluate::{Ranking, Scorer, Summary};
use mercer::index::Exact;
use mercer::{Activation, DualEncoder, ErrorKind, Features, Form, Layer, Link, Pairs, Seed, Stream, Tower};
use proptest::prelude::*;
use proptest::test_runner::Config;

fn config(cases: u32) -> Config {
    Config { failure_persistence: None, cases, ..Config::default() }
}

/// What CSR means, said without looking at how the library checks it.
fn is_csr(starts: &[usize], columns: &[u32], values: &[f32], dim: usize) -> bool {
    let spans = !starts.is_empty()
        && starts[0] == 0
        && starts.is_sorted()
        && starts[starts.len() - 1] == columns.len()
        && columns.len() == values.len();
    spans
        && starts.windows(2).all(|s| columns[s[0]..s[1]].is_sorted_by(|a, b| a < b))
        && columns.iter().all(|c| (*c as usize) < dim)
}

/// Linear towers of random numbers: `components` embeddings of `dim` coordinates from `inputs` columns.
fn model(inputs: usize, dim: usize, components: usize, kind: usize, stream: &mut Stream) -> DualEncoder {
    let mut tower = || {
        let outputs = dim * components;
        let weights = (0..inputs * outputs).map(|_| stream.normal() as f32).collect();
        let bias = (0..outputs).map(|_| stream.normal() as f32).collect();
        Tower::new(vec![Layer::new(weights, bias, Activation::Sine).unwrap()]).unwrap()
    };
    let (query, key) = (tower(), (kind == 2).then(&mut tower));
    let signs = (0..dim * components).map(|j| if j % 3 == 0 { -1.0 } else { 1.0 }).collect();
    let form = if kind == 1 { Form::Signs(signs) } else { Form::Identity };
    DualEncoder::new(query, key, form, components).unwrap()
}

fn rows(n: usize, dim: usize, stream: &mut Stream) -> Features {
    Features::dense((0..n * dim).map(|_| stream.normal() as f32).collect(), dim).unwrap()
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn dense_rows_are_whole_and_finite(data in prop::collection::vec(any::<f32>(), 0..40), dim in 0..9usize) {
        let well_formed = dim > 0 && data.len() % dim == 0 && data.iter().all(|v| v.is_finite());
        match Features::dense(data.clone(), dim) {
            Ok(rows) => {
                prop_assert!(well_formed);
                prop_assert_eq!((rows.len(), rows.dim()), (data.len() / dim, dim));
            }
            Err(error) => {
                prop_assert!(!well_formed);
                if let ErrorKind::NonFinite { row, column, .. } = error.kind() {
                    prop_assert!(!data[row * dim + column].is_finite());
                }
            }
        }
    }

    /// Arrays near well-formed ones: small indices, so that each rule is met and broken often.
    #[test]
    fn sparse_rows_are_exactly_csr(
        starts in prop::collection::vec(0..6usize, 0..5),
        columns in prop::collection::vec(0..7u32, 0..6),
        values in prop::collection::vec(prop_oneof![9 => Just(1.5f32), 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)], 0..6),
        dim in 0..8usize,
        mend in any::<bool>(),
    ) {
        let (mut starts, mut columns, mut values) = (starts, columns, values);
        if mend {
            // Without help almost nothing random is well-formed.
            starts.sort_unstable();
            starts.insert(0, 0);
            values.resize(columns.len(), 1.0);
            starts.iter_mut().for_each(|s| *s = (*s).min(columns.len()));
            starts.push(columns.len());
            starts.windows(2).for_each(|s| columns[s[0]..s[1]].sort_unstable());
        }
        let well_formed = is_csr(&starts, &columns, &values, dim) && values.iter().all(|v| v.is_finite());
        match Features::sparse(starts.clone(), columns.clone(), values.clone(), dim) {
            Ok(rows) => {
                prop_assert!(well_formed);
                prop_assert_eq!((rows.len(), rows.dim()), (starts.len() - 1, dim));
                let mut stored = 0;
                (0..rows.len()).for_each(|i| rows.rows().for_each(i, |_, _| stored += 1));
                prop_assert_eq!(stored, columns.len());
            }
            Err(_) => prop_assert!(!well_formed),
        }
    }

    #[test]
    fn wild_sparse_arrays_never_panic(
        starts in prop::collection::vec(any::<usize>(), 0..5),
        columns in prop::collection::vec(any::<u32>(), 0..6),
        values in prop::collection::vec(any::<f32>(), 0..6),
        dim in any::<usize>(),
    ) {
        let well_formed = is_csr(&starts, &columns, &values, dim) && values.iter().all(|v| v.is_finite());
        prop_assert_eq!(Features::sparse(starts, columns, values, dim).is_ok(), well_formed);
    }

    #[test]
    fn sets_are_accepted_exactly_if_they_increase(sets in prop::collection::vec(prop::collection::vec(0..12u32, 0..4), 0..6), dim in 0..14usize) {
        let well_formed = sets.iter().all(|s| s.is_sorted_by(|a, b| a < b) && s.iter().all(|c| (*c as usize) < dim));
        match Features::sets(&sets, dim) {
            Ok(rows) => {
                prop_assert!(well_formed);
                let sizes: Vec<f64> = (0..rows.len()).map(|i| rows.rows().squared_norm(i)).collect();
                prop_assert_eq!(sizes, sets.iter().map(|s| s.len() as f64).collect::<Vec<_>>());
            }
            Err(_) => prop_assert!(!well_formed),
        }
    }

    #[test]
    fn pairs_are_parallel_finite_and_positively_weighted(
        x in prop::collection::vec(any::<u32>(), 0..4),
        y in prop::collection::vec(any::<u32>(), 0..4),
        value in prop::collection::vec(prop_oneof![9 => -1e3..1e3f32, 1 => any::<f32>()], 0..4),
        weight in prop::option::of(prop::collection::vec(prop_oneof![9 => 0.1..2.0f32, 1 => any::<f32>()], 0..4)),
    ) {
        let parallel = y.len() == x.len() && value.len() == x.len() && weight.as_ref().is_none_or(|w| w.len() == x.len());
        let good = value.iter().all(|v| v.is_finite()) && weight.iter().flatten().all(|w| w.is_finite() && *w > 0.0);
        prop_assert_eq!(Pairs::new(x, y, value, weight).is_ok(), parallel && good);
    }

    #[test]
    fn products_do_not_depend_on_the_storage(
        data in prop::collection::vec(prop_oneof![Just(0.0f32), -10.0..10.0f32], 2..60),
        dim in 1..7usize,
    ) {
        let dense = Features::dense(data[..data.len() / dim * dim].to_vec(), dim).unwrap();
        let sparse = sparsified(&dense);
        prop_assert_eq!(&densified(&sparse), &dense);
        let (d, s) = (dense.rows(), sparse.rows());
        for i in 0..dense.len() {
            for j in 0..dense.len() {
                // Zeros add nothing and the order is that of the columns: the same bits each way.
                let expected = d.dot(i, &d, j);
                prop_assert_eq!(s.dot(i, &s, j), expected);
                prop_assert_eq!(s.dot(i, &d, j), expected);
                prop_assert_eq!(d.dot(i, &s, j), expected);
                prop_assert_eq!(s.dot(j, &s, i), expected);
            }
            prop_assert_eq!(s.squared_norm(i), d.dot(i, &d, i));
        }
    }

    #[test]
    fn views_and_selections_are_the_rows_they_name(n in 1..9usize, dim in 1..5usize, seed in any::<u64>(), sparse in any::<bool>()) {
        let mut stream = Seed(seed).stream("views");
        let dense = rows(n, dim, &mut stream);
        let items = if sparse { sparsified(&dense) } else { dense };
        let indices: Vec<usize> = (0..2 * n).map(|_| stream.below(n)).collect();
        let picked = items.select(&indices);
        for (i, &own) in indices.iter().enumerate() {
            prop_assert_eq!(picked.slice(i..i + 1).to_features(), items.slice(own..own + 1).to_features());
        }
        let (from, to) = (n / 3, n - n / 4);
        let range: Vec<usize> = (from..to).collect();
        prop_assert_eq!(items.rows().slice(from..to).to_features(), items.select(&range));
    }

    #[test]
    fn chosen_numbers_are_distinct(n in 0..200usize, k in 0..250usize, seed in any::<u64>()) {
        let chosen = Seed(seed).stream("choose").choose(n, k);
        prop_assert_eq!(chosen.len(), k.min(n));
        prop_assert!(chosen.iter().all(|&i| i < n));
        prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
        // The same stream, and a longer choice begins with the shorter one.
        let longer = Seed(seed).stream("choose").choose(n, k + 1);
        prop_assert_eq!(&longer[..chosen.len()], &chosen[..]);
    }

    /// Whole scores are exact in `f32`, so the hits must be exactly the sorted ones; small numbers make ties.
    #[test]
    fn search_finds_the_best_keys_in_order(
        keys in prop::collection::vec(-2..=2i8, 0..120),
        queries in prop::collection::vec(-2..=2i8, 0..24),
        dim in 1..4usize,
        k in 0..50usize,
    ) {
        let whole = |data: &[i8]| -> Vec<f32> { data[..data.len() / dim * dim].iter().map(|&v| v.into()).collect() };
        let (keys, queries) = (whole(&keys), whole(&queries));
        let (m, n) = (keys.len() / dim, queries.len() / dim);
        let skip: Vec<Option<u32>> = (0..n).map(|i| (i % 2 == 1 && m > 0).then(|| (i % m) as u32)).collect();
        let index = Exact::new(&keys, dim).unwrap();
        let hits = index.search(&queries, k, Some(&skip)).unwrap();
        let longer = index.search(&queries, k + 1, Some(&skip)).unwrap();
        prop_assert_eq!(hits.len(), n);
        for i in 0..n {
            // Adding 0 makes -0 the 0 that it equals.
            let score = |j: usize| 0.0 + (0..dim).map(|c| queries[i * dim + c] * keys[j * dim + c]).sum::<f32>();
            let mut all: Vec<(f32, u32)> = (0..m as u32).filter(|j| Some(*j) != skip[i]).map(|j| (score(j as usize), j)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(k);
            prop_assert_eq!(hits[i].iter().map(|h| (h.score, h.key)).collect::<Vec<_>>(), all);
            let prefix = hits[i].len().min(longer[i].len());
            prop_assert_eq!(&hits[i][..], &longer[i][..prefix]);
        }
    }

    #[test]
    fn summaries_hold_together(values in prop::collection::vec((-100.0..100.0f64, -100.0..100.0f64), 0..40)) {
        let (predicted, observed): (Vec<f64>, Vec<f64>) = values.into_iter().unzip();
        let Some(s) = Summary::new(&predicted, &observed) else {
            prop_assert!(observed.is_empty());
            return Ok(());
        };
        let slack = 1.0 + 100.0 * EPS;
        prop_assert_eq!(s.pairs, observed.len());
        prop_assert!(s.mae <= s.rmse * slack && s.rmse <= s.max * slack);
        prop_assert!(s.spearman.is_none_or(|r| (-1.0..=1.0).contains(&r)));
        // Errors have no direction; ranks see only the order, and turn with it.
        let back = Summary::new(&observed, &predicted).unwrap();
        prop_assert_eq!((back.mae, back.max), (s.mae, s.max));
        let cubes: Vec<f64> = predicted.iter().map(|v| v.powi(3)).collect();
        prop_assert_eq!(Summary::new(&cubes, &observed).unwrap().spearman, s.spearman);
        let turned: Vec<f64> = predicted.iter().map(|v| -v).collect();
        let opposite = Summary::new(&turned, &observed).unwrap().spearman;
        prop_assert!(opposite.zip(s.spearman).is_none_or(|(a, b)| (a + b).abs() < 1e-12), "{:?} {:?}", opposite, s.spearman);
        let perfect = Summary::new(&observed, &observed).unwrap();
        prop_assert_eq!((perfect.rmse, perfect.mae, perfect.max), (0.0, 0.0, 0.0));
        prop_assert!(perfect.spearman.is_none_or(|r| r > 1.0 - 1e-12));
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn embeddings_multiply_to_the_block(
        dim in 1..6usize,
        components in 1..4usize,
        kind in 0..3usize,
        logistic in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut stream = Seed(seed).stream("model");
        let link = if logistic { Link::LOGISTIC } else { Link::Identity };
        let model = model(3, dim, components, kind, &mut stream).with_link(link);
        let (x, y) = (rows(7, 3, &mut stream), rows(5, 3, &mut stream));
        let (q, k) = (model.embed_queries(&x.rows()).unwrap(), model.embed_keys(&y.rows()).unwrap());
        let width = dim * components;
        for l in 0..components {
            let block = model.block(l, &x.rows(), &y.rows()).unwrap();
            for i in 0..7 {
                for j in 0..5 {
                    let own = |c: usize| f64::from(q[i * width + l * dim + c]) * f64::from(k[j * width + l * dim + c]);
                    let sum: f64 = (0..dim).map(own).sum();
                    // Coordinates are at most 1 in size, and both sums are in f64.
                    prop_assert!((block[i * 5 + j] - link.apply(sum)).abs() <= 4.0 * dim as f64 * EPS);
                }
            }
            if kind < 2 {
                let back = model.block(l, &y.rows(), &x.rows()).unwrap();
                for (at, value) in block.iter().enumerate() {
                    let mirrored = back[at % 5 * 7 + at / 5];
                    // One row block is multiplied in another order than another: f32 rounding of three products.
                    prop_assert!((value - mirrored).abs() <= 8.0 * dim as f64 * EPS32);
                }
            }
        }
        // A search over the embeddings finds the largest value.
        if components == 1 {
            let hits = Exact::new(&k, dim).unwrap().search(&q, 1, None).unwrap();
            let block = model.block(0, &x.rows(), &y.rows()).unwrap();
            for (i, hit) in hits.iter().enumerate() {
                let own = &block[i * 5..(i + 1) * 5];
                let best = own.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
                prop_assert!(own[hit[0].key as usize] >= best - 4.0 * dim as f64 * EPS32);
            }
        }
    }

    #[test]
    fn truncation_keeps_leading_coordinates(dim in 1..6usize, components in 1..4usize, kind in 0..3usize, seed in any::<u64>()) {
        let mut stream = Seed(seed).stream("model");
        let model = model(3, dim, components, kind, &mut stream).with_link(Link::LOGISTIC);
        let x = rows(4, 3, &mut stream);
        prop_assert!(model.truncate(0).is_err() && model.truncate(dim + 1).is_err());
        for k in 1..=dim {
            let cut = model.truncate(k).unwrap();
            prop_assert_eq!((cut.dim(), cut.components(), cut.class(), cut.link()), (k, components, model.class(), Link::LOGISTIC));
            for (long, short) in [
                (model.embed_queries(&x.rows()).unwrap(), cut.embed_queries(&x.rows()).unwrap()),
                (model.embed_keys(&x.rows()).unwrap(), cut.embed_keys(&x.rows()).unwrap()),
            ] {
                for (at, value) in short.iter().enumerate() {
                    let (row, column) = (at / (components * k), at % (components * k));
                    let whole = long[row * components * dim + column / k * dim + column % k];
                    // Three products in another order.
                    prop_assert!((value - whole).abs() <= 64.0 * f32::EPSILON);
                }
            }
        }
        prop_assert_eq!(&model.truncate(dim).unwrap(), &model);
    }

    /// An id model with free scores, so that any ranking occurs; halves make ties.
    #[test]
    fn rankings_hold_together(
        n in 1..7usize,
        m in 2..9usize,
        scores in prop::collection::vec(-3..=3i8, 64),
        related in prop::collection::vec(any::<bool>(), 64),
        one_set in any::<bool>(),
    ) {
        let n = if one_set { m } else { n };
        let at = |x: usize, y: usize| (x * m + y) % 64;
        // Query x is the unit vector x, key y the column of scores: <x, y> = score(x, y).
        let linear = |weights: Vec<f32>| Tower::new(vec![Layer::new(weights, vec![0.0; n], Activation::Identity).unwrap()]).unwrap();
        let build = |sign: f32| {
            let query = linear((0..n * n).map(|i| f32::from(u8::from(i / n == i % n))).collect());
            let key = linear((0..m * n).map(|i| sign * f32::from(scores[at(i % n, i / n)]) / 2.0).collect());
            DualEncoder::new(query, Some(key), Form::Identity, 1).unwrap()
        };
        let (queries, keys) = (Features::one_hot(n), Features::one_hot(m));
        let cells: Vec<(u32, u32)> =
            (0..n * m).filter(|i| related[at(i / m, i % m)]).map(|i| ((i / m) as u32, (i % m) as u32)).collect();
        let pairs = Pairs::new(cells.iter().map(|c| c.0).collect(), cells.iter().map(|c| c.1).collect(), vec![1.0; cells.len()], None).unwrap();
        let rank = |model: &DualEncoder| Ranking::new(model, &queries, (!one_set).then_some(&keys), &pairs).unwrap();
        let counted = cells.iter().filter(|(x, y)| !one_set || x != y).count();
        let (Some(own), Some(opposite)) = (rank(&build(1.0)), rank(&build(-1.0))) else {
            prop_assert_eq!(counted, 0);
            return Ok(());
        };
        prop_assert_eq!(own.positives, counted);
        prop_assert!(own.mean_rank >= 1.0 && own.mean_rank <= m as f64);
        prop_assert!(own.map > 0.0 && own.map <= 1.0);
        prop_assert_eq!(own.mean_rank == 1.0, own.map == 1.0);
        // Turned round, a positive with a above and b below has rank 1 + b instead of 1 + a: together 2 + its negatives.
        let negatives = |x: u32| m - cells.iter().filter(|c| c.0 == x && !(one_set && c.1 == x)).count() - usize::from(one_set);
        let total: usize = cells.iter().filter(|(x, y)| !one_set || x != y).map(|c| 2 + negatives(c.0)).sum();
        prop_assert!((own.mean_rank + opposite.mean_rank - total as f64 / counted as f64).abs() < 1e-9);
        // Scores only matter by their order.
        prop_assert_eq!(rank(&build(4.0)), Some(own));
        let scorer = Scorer::new(&build(1.0), &queries, Some(&keys)).unwrap();
        prop_assert_eq!(scorer.score(0, 1), f64::from(scores[at(0, 1)]) / 2.0);
    }
}
