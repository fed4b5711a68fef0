//! Ids without features: implicit feedback and folding in, on relations with known answers.

mod common;

use common::stream;
use mercer::fit::{
    Dimension, FoldIn, Implicit, ImplicitFit, Options, Outcome, Ranking, Silent, Solver, Table, factorise, fold_in,
    implicit,
};
use mercer::{ErrorKind, Features, Pairs, Seed, with_threads};

fn positives(list: &[(u32, u32)]) -> Pairs {
    let column = |f: fn(&(u32, u32)) -> u32| list.iter().map(f).collect::<Vec<u32>>();
    Pairs::new(column(|p| p.0), column(|p| p.1), vec![1.0; list.len()], None).unwrap()
}

fn fit(items: [usize; 2], train: &Pairs, valid: &Pairs, options: &Implicit) -> mercer::Result<ImplicitFit> {
    let (queries, keys) = (Features::one_hot(items[0]), Features::one_hot(items[1]));
    implicit(Table { queries: &queries, keys: Some(&keys), train, valid }, options, &Silent)
}

fn embeddings(fit: &ImplicitFit, items: [usize; 2]) -> [Vec<f32>; 2] {
    let encoder = &fit.encoder;
    [
        encoder.embed_queries(&Features::one_hot(items[0]).rows()).unwrap(),
        encoder.embed_keys(&Features::one_hot(items[1]).rows()).unwrap(),
    ]
}

/// Clicks of users on items: without replacement (Plackett and Luce) by `exp(3 <p, q> / sqrt(rank) + popularity)`.
struct Clicks {
    items: [usize; 2],
    train: Pairs,
    valid: Pairs,
    test: Vec<Vec<u32>>,
    known: Vec<Vec<u32>>,
}

fn clicks(name: &str) -> Clicks {
    let (users, items, rank) = (400, 250, 4);
    let mut stream = stream(name);
    let p: Vec<f64> = (0..users * rank).map(|_| stream.normal()).collect();
    let q: Vec<f64> = (0..items * rank).map(|_| stream.normal()).collect();
    let popularity: Vec<f64> = (0..items).map(|_| 0.7 * stream.normal()).collect();
    let (mut train, mut valid, mut test, mut known) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for x in 0..users {
        let logit = |y: usize| (0..rank).map(|k| p[x * rank + k] * q[y * rank + k]).sum::<f64>() * 1.5 + popularity[y];
        // The largest of logits with Gumbel noise are draws without replacement.
        let mut keyed: Vec<(f64, u32)> =
            (0..items).map(|y| (logit(y) - (-(1.0 - stream.uniform()).ln()).ln(), y as u32)).collect();
        keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut chosen: Vec<u32> = keyed[..24].iter().map(|c| c.1).collect();
        for i in (1..chosen.len()).rev() {
            chosen.swap(i, stream.below(i + 1));
        }
        train.extend(chosen[..16].iter().map(|&y| (x as u32, y)));
        valid.extend(chosen[16..20].iter().map(|&y| (x as u32, y)));
        test.push(chosen[20..].to_vec());
        known.push(chosen[..20].to_vec());
    }
    Clicks { items: [users, items], train: positives(&train), valid: positives(&valid), test, known }
}

/// NDCG at 10 of the test clicks among items not seen in training, by sorting.
fn ndcg_10(clicks: &Clicks, score: impl Fn(usize, u32) -> f64) -> f64 {
    let of = |x: usize| {
        let mut order: Vec<u32> = (0..clicks.items[1] as u32).filter(|y| !clicks.known[x].contains(y)).collect();
        order.sort_by(|&a, &b| score(x, b).total_cmp(&score(x, a)));
        let gain = |place: usize| 1.0 / (place as f64 + 2.0).log2();
        let found: f64 = (0..10).filter(|&i| clicks.test[x].contains(&order[i])).map(gain).sum();
        found / (0..clicks.test[x].len().min(10)).map(gain).sum::<f64>()
    };
    (0..clicks.items[0]).map(of).sum::<f64>() / clicks.items[0] as f64
}

#[test]
fn planted_clicks_are_recovered_with_settings_chosen_by_hold_out() {
    let clicks = clicks("clicks");
    let fit = fit(clicks.items, &clicks.train, &clicks.valid, &Implicit::default()).unwrap();
    let [u, v] = embeddings(&fit, clicks.items);
    let k = fit.encoder.dim();
    let own = ndcg_10(&clicks, |x, y| (0..k).map(|c| f64::from(u[x * k + c] * v[y as usize * k + c])).sum());
    let mut count = vec![0.0; clicks.items[1]];
    clicks.train.chunk().y.iter().for_each(|&y| count[y as usize] += 1.0);
    let popular = ndcg_10(&clicks, |_, y| count[y as usize]);
    eprintln!("ours {own}, popularity {popular}, {:?}", fit.choices);
    assert!(own > 1.5 * popular && own > 0.15, "{own} {popular}");
    // The best of all trials is the one taken, and each of its neighbours was tried.
    let best = fit.sizes.iter().max_by(|a, b| a.standing.map.total_cmp(&b.standing.map)).unwrap();
    assert!(fit.standing.map >= best.standing.map && best.dim == k, "{best:?}");
    for (alpha, ridge) in [(10.0, 1.0), (0.1, 1.0), (1.0, 10.0), (1.0, 0.1)] {
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        let neighbour = |s: &&mercer::fit::ImplicitSize| {
            s.dim == k && near(s.alpha, best.alpha * alpha) && near(s.ridge, best.ridge * ridge)
        };
        assert!(fit.sizes.iter().any(|s| neighbour(&s)), "{best:?} {alpha} {ridge}");
    }
    assert!([8, 16, 32, 64, 128].iter().all(|dim| fit.sizes.iter().any(|s| s.dim == *dim)));
    // A large model with little ridge does worse on what was held out.
    let options = Implicit { dim: Some(128), ridge: Some(0.1), alpha: Some(best.alpha), ..Implicit::default() };
    let loose = self::fit(clicks.items, &clicks.train, &clicks.valid, &options).unwrap();
    assert!(loose.sizes[0].standing.map < 0.9 * best.standing.map, "{loose:?} {best:?}");
}

#[test]
fn the_objective_never_rises_and_one_or_two_threads_give_the_same_bits() {
    let clicks = clicks("bits");
    for (solver, ranking) in [(Solver::Exact, Ranking::Never), (Solver::Gradients(3), Ranking::Sweeps(6))] {
        let options =
            Implicit { dim: Some(9), ridge: Some(0.5), alpha: Some(20.0), solver, ranking, ..Implicit::default() };
        let run = |threads: usize| {
            let fitted = with_threads(Some(threads), || fit(clicks.items, &clicks.train, &Pairs::default(), &options));
            fitted.unwrap().unwrap()
        };
        let (one, two) = (run(1), run(2));
        assert_eq!(one.encoder, two.encoder);
        assert_eq!((one.objective.len(), &one.objective), (15, &two.objective));
        assert!(one.objective.windows(2).all(|w| w[1] <= w[0] * (1.0 + 1e-6)), "{:?}", one.objective);
        assert_eq!(one.ranking_sweeps > 0, ranking != Ranking::Never);
        let other = Implicit { seed: Seed(1), ..options };
        assert_ne!(one.encoder, fit(clicks.items, &clicks.train, &Pairs::default(), &other).unwrap().encoder);
    }
}

/// Ancestors of each node of a random tree: `(node, ancestor)`.
fn closure(nodes: u32, name: &str) -> Vec<(u32, u32)> {
    let mut stream = stream(name);
    let mut ancestors: Vec<Vec<u32>> = vec![Vec::new()];
    for node in 1..nodes {
        // A third of the nodes have children: many leaves share their parent and with it their list.
        let parent = stream.below((node as usize).div_ceil(3));
        ancestors.push([ancestors[parent].as_slice(), &[parent as u32]].concat());
        debug_assert!(parent < node as usize);
    }
    (0..nodes).flat_map(|x| ancestors[x as usize].iter().map(move |&y| (x, y)).collect::<Vec<_>>()).collect()
}

#[test]
fn ranking_sweeps_reconstruct_a_hierarchy_in_few_dimensions_where_squares_do_not() {
    let nodes = 1500;
    let pairs = positives(&closure(nodes, "tree"));
    let ids = Features::one_hot(nodes as usize);
    let table = Table { queries: &ids, keys: None, train: &pairs, valid: &Pairs::default() };
    let run = |ranking: Ranking| {
        implicit(table, &Implicit { dim: Some(8), ranking, ..Implicit::default() }, &Silent).unwrap()
    };
    let (squares, ranked) = (run(Ranking::Never), run(Ranking::Auto));
    eprintln!("squares {:?}, ranked {:?} after {}", squares.standing, ranked.standing, ranked.ranking_sweeps);
    assert!(squares.standing.map < 0.95 && ranked.standing.map > 0.99, "{:?} {:?}", squares.standing, ranked.standing);
    assert!(ranked.ranking_sweeps > 0 && squares.ranking_sweeps == 0);
    // The model says what the fit says: the library's own ranking, in f64 and over all queries, agrees.
    let whole = mercer::evaluate::Ranking::new(&ranked.encoder, &ids, None, &pairs).unwrap().unwrap();
    assert!((whole.map - ranked.standing.map).abs() < 2e-3, "{whole:?} {:?}", ranked.standing);
    assert!((whole.mean_rank - ranked.standing.mean_rank).abs() < 0.02, "{whole:?} {:?}", ranked.standing);
}

#[test]
fn ranking_is_dropped_where_held_out_pairs_do_not_gain() {
    let list = closure(900, "held out");
    let held = |at: usize| at % 11 == 3;
    let part = |of: bool| -> Vec<(u32, u32)> {
        list.iter().enumerate().filter(|(at, _)| held(*at) == of).map(|(_, p)| *p).collect()
    };
    let (train, valid) = (positives(&part(false)), positives(&part(true)));
    let ids = Features::one_hot(900);
    let table = Table { queries: &ids, keys: None, train: &train, valid: &valid };
    let options = |ranking: Ranking| Implicit { dim: Some(16), ranking, ..Implicit::default() };
    let never = implicit(table, &options(Ranking::Never), &Silent).unwrap();
    let auto = implicit(table, &options(Ranking::Auto), &Silent).unwrap();
    eprintln!("{:?} {:?} {}", never.standing, auto.standing, auto.ranking_sweeps);
    assert!(auto.standing.map >= never.standing.map);
    assert_eq!(auto.ranking_sweeps == 0, auto.encoder == never.encoder);
    assert!(auto.choices.iter().any(|c| c.what == "method" && c.reason.contains("held-out precision")));
}

#[test]
fn equal_lists_have_equal_rows_and_items_without_pairs_are_zero() {
    let mut list = vec![(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (3, 0), (3, 4), (4, 2), (4, 4), (5, 0)];
    let fitted = |list: &[(u32, u32)]| {
        let options = Implicit { dim: Some(3), ridge: Some(0.1), alpha: Some(5.0), ..Implicit::default() };
        embeddings(&fit([7, 6], &positives(list), &Pairs::default(), &options).unwrap(), [7, 6])
    };
    let [u, v] = fitted(&list);
    assert_eq!(u[..3], u[3..6]);
    assert_ne!(u[..3], u[6..9]);
    assert!(u[18..].iter().all(|a| *a == 0.0) && v[9..12].iter().chain(&v[15..]).all(|a| *a == 0.0));
    // The order of the pairs does not matter.
    list.reverse();
    assert_eq!(fitted(&list), [u, v]);
}

#[test]
fn a_repeated_pair_is_a_stronger_one() {
    let list = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 0), (2, 2), (3, 1)];
    let options = Implicit { dim: Some(2), ridge: Some(0.5), alpha: Some(3.0), ..Implicit::default() };
    let rows = |pairs: &Pairs| embeddings(&fit([4, 3], pairs, &Pairs::default(), &options).unwrap(), [4, 3]);
    let repeated = positives(&[list.as_slice(), &[(0, 0), (0, 0)]].concat());
    let mut weight = vec![1.0; list.len()];
    weight[0] = 3.0;
    let column = |f: fn(&(u32, u32)) -> u32| list.iter().map(f).collect::<Vec<u32>>();
    let weighted = Pairs::new(column(|p| p.0), column(|p| p.1), vec![1.0; list.len()], Some(weight.clone())).unwrap();
    let counted = Pairs::new(column(|p| p.0), column(|p| p.1), weight, None).unwrap();
    assert_eq!(rows(&repeated), rows(&weighted));
    assert_eq!(rows(&repeated), rows(&counted));
    assert_ne!(rows(&repeated), rows(&positives(&list)));
}

fn close(a: &[f32], b: &[f32]) -> f32 {
    let scale = a.iter().map(|v| v.abs()).fold(0.0, f32::max);
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max)
}

#[test]
fn folding_a_known_item_in_gives_its_row_of_implicit_least_squares() {
    let clicks = clicks("fold");
    let (ridge, alpha, unobserved) = (5.0, 8.0, 0.5);
    // At the minimum both sides have the same Gram matrix, so that balancing only turns the coordinates, and a ridge
    // does not mind.
    let options = Implicit {
        dim: Some(4),
        ridge: Some(ridge),
        alpha: Some(alpha),
        unobserved,
        sweeps: 300,
        solver: Solver::Exact,
        ranking: Ranking::Never,
        ..Implicit::default()
    };
    let fit = fit(clicks.items, &clicks.train, &Pairs::default(), &options).unwrap();
    let [u, v] = embeddings(&fit, clicks.items);
    let how = FoldIn::Implicit { ridge, alpha, unobserved };
    let users = fold_in(&v, 4, &clicks.train, clicks.items[0], how).unwrap();
    assert!(close(&users, &u) < 2e-3, "{}", close(&users, &u));
    let chunk = clicks.train.chunk();
    let turned = Pairs::new(chunk.y.to_vec(), chunk.x.to_vec(), chunk.value.to_vec(), None).unwrap();
    let items = fold_in(&u, 4, &turned, clicks.items[1], how).unwrap();
    assert!(close(&items, &v) < 2e-3, "{}", close(&items, &v));
}

#[test]
fn folding_in_explicit_values_gives_the_scores_of_the_fit() {
    let (n, m) = (60, 50);
    let mut stream = stream("explicit");
    let u: Vec<f64> = (0..2 * n).map(|_| stream.normal()).collect();
    let v: Vec<f64> = (0..2 * m).map(|_| stream.normal()).collect();
    let value = |x: usize, y: usize| u[2 * x] * v[2 * y] + u[2 * x + 1] * v[2 * y + 1];
    let cells: Vec<(usize, usize)> =
        (0..n).flat_map(|x| (0..m).map(move |y| (x, y))).filter(|_| stream.uniform() < 0.5).collect();
    let pairs = |list: &[(usize, usize)]| {
        let value = list.iter().map(|&(x, y)| value(x, y) as f32).collect();
        Pairs::new(list.iter().map(|c| c.0 as u32).collect(), list.iter().map(|c| c.1 as u32).collect(), value, None)
            .unwrap()
    };
    let (valid, train) = cells.split_at(cells.len() / 10);
    let (queries, keys) = (Features::one_hot(n), Features::one_hot(m));
    let (train, valid) = (pairs(train), pairs(valid));
    let table = Table { queries: &queries, keys: Some(&keys), train: &train, valid: &valid };
    let options = Options { dimension: Dimension::Fixed(2), ..Options::default() };
    let fit = factorise(table, &options, &Silent).unwrap();
    let frozen = fit.encoder.embed_keys(&keys.rows()).unwrap();
    let own = fit.encoder.embed_queries(&queries.rows()).unwrap();
    for weighted in [false, true] {
        let rows = fold_in(&frozen, 2, &train, n, FoldIn::Explicit { ridge: 1e-4, weighted }).unwrap();
        // Nearly no ridge on exact values: the truth, which the fit's ridge shrinks by a little.
        let chunk = train.chunk();
        let score = |rows: &[f32], p: usize| {
            let (x, y) = (chunk.x[p] as usize, chunk.y[p] as usize);
            (0..2).map(|c| f64::from(rows[2 * x + c] * frozen[2 * y + c])).sum::<f64>()
        };
        let error = |rows: &[f32]| {
            let squares = (0..train.len()).map(|p| (score(rows, p) - f64::from(chunk.value[p])).powi(2)).sum::<f64>();
            (squares / train.len() as f64).sqrt()
        };
        assert!(error(&rows) <= error(&own) && error(&rows) < 0.05, "{} {}", error(&rows), error(&own));
    }
}

#[test]
fn bad_settings_and_data_are_refused() {
    let pairs = positives(&[(0, 0), (1, 1), (2, 0)]);
    let none = Pairs::default();
    let good = Implicit { dim: Some(2), ..Implicit::default() };
    for bad in [
        Implicit { dim: Some(0), ..good.clone() },
        Implicit { ridge: Some(0.0), ..good.clone() },
        Implicit { ridge: Some(f64::NAN), ..good.clone() },
        Implicit { alpha: Some(-1.0), ..good.clone() },
        Implicit { unobserved: f64::INFINITY, ..good.clone() },
        Implicit { sweeps: 0, ..good.clone() },
        Implicit { solver: Solver::Gradients(0), ..good.clone() },
        Implicit { ranking: Ranking::Sweeps(0), ..good.clone() },
    ] {
        let error = fit([3, 2], &pairs, &none, &bad).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Parameter { .. }), "{error}");
    }
    // Nothing held out and no dimension; no positive pair; an unknown item; held-out pairs that are all known.
    assert!(fit([3, 2], &pairs, &none, &Implicit::default()).unwrap_err().to_string().contains("dimension"));
    let zeros = Pairs::new(vec![0], vec![0], vec![0.0], None).unwrap();
    assert!(fit([3, 2], &zeros, &none, &good).unwrap_err().to_string().contains("positive"));
    assert!(matches!(fit([3, 1], &pairs, &none, &good).unwrap_err().kind(), ErrorKind::Shape { .. }));
    assert!(fit([3, 2], &pairs, &pairs, &good).unwrap_err().to_string().contains("held-out"));
    // One positive pair is a model.
    let single = fit([1, 1], &positives(&[(0, 0)]), &none, &good).unwrap();
    assert!(matches!(single.outcome, Outcome::Converged | Outcome::StepLimit));
    let how = FoldIn::Explicit { ridge: 1.0, weighted: false };
    assert!(matches!(fold_in(&[1.0, 2.0, 3.0], 2, &pairs, 3, how).unwrap_err().kind(), ErrorKind::Shape { .. }));
    assert!(matches!(fold_in(&[1.0, f32::NAN], 2, &none, 3, how).unwrap_err().kind(), ErrorKind::NonFinite { .. }));
    assert!(matches!(fold_in(&[1.0, 2.0], 2, &pairs, 3, how).unwrap_err().kind(), ErrorKind::Shape { .. }));
    let how = FoldIn::Implicit { ridge: 0.0, alpha: 1.0, unobserved: 1.0 };
    assert!(matches!(fold_in(&[1.0, 2.0], 2, &none, 3, how).unwrap_err().kind(), ErrorKind::Parameter { .. }));
}
