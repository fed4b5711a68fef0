//! Joint utilities from comparisons: relations with known answers, ids, one query, and bits over threads.

use mercer::fit::{Dimension, Effort, Options, Outcome};
use mercer::pipeline::{ComparisonTable, Path, RelationFit, Training, fit_comparisons};
use mercer::{Comparisons, Features, Seed, Stream, with_threads};

/// Uniform on `[-1, 1]^d`.
fn cube(n: usize, d: usize, stream: &mut Stream) -> Vec<f64> {
    (0..n * d).map(|_| f64::from((2.0 * stream.uniform() - 1.0) as f32)).collect()
}

fn features(rows: &[f64], d: usize) -> Features {
    Features::dense(rows.iter().map(|&v| v as f32).collect(), d).unwrap()
}

/// Comparisons by a utility, each with a query and two keys of its own, and how a fit of them chooses.
struct World {
    d: usize,
    queries: Features,
    keys: Features,
    comparisons: Comparisons,
    fresh: [Vec<f64>; 2],
    utility: fn(&[f64], &[f64]) -> f64,
}

impl World {
    /// `odds`: log-odds of a preference for a unit of utility; infinite for answers that are all right.
    fn new(d: usize, n: usize, odds: f64, utility: fn(&[f64], &[f64]) -> f64) -> World {
        let mut stream = Seed(11).stream("world");
        let (q, y) = (cube(n, d, &mut stream), cube(2 * n, d, &mut stream));
        let (mut preferred, mut other) = (Vec::new(), Vec::new());
        for c in 0..n {
            let of = |i: usize| utility(&q[c * d..(c + 1) * d], &y[i * d..(i + 1) * d]);
            let gain = of(2 * c) - of(2 * c + 1);
            let first =
                if odds.is_finite() { stream.uniform() < 1.0 / (1.0 + (-odds * gain).exp()) } else { gain > 0.0 };
            let [a, b] = if first { [2 * c, 2 * c + 1] } else { [2 * c + 1, 2 * c] };
            preferred.push(a as u32);
            other.push(b as u32);
        }
        let comparisons = Comparisons::new((0..n as u32).collect(), preferred, other, None).unwrap();
        let fresh = [cube(100, d, &mut stream), cube(200, d, &mut stream)];
        World { d, queries: features(&q, d), keys: features(&y, d), comparisons, fresh, utility }
    }

    fn fit(&self, path: Path, options: &Options) -> RelationFit {
        let table = ComparisonTable {
            queries: &self.queries,
            keys: Some(&self.keys),
            comparisons: &self.comparisons,
            split: None,
        };
        fit_comparisons(&table, options, &Training { path, ..Training::default() }).unwrap()
    }

    /// Shares of fresh queries whose chosen key is the best one, and of fresh pairs of keys in the right order.
    fn judge(&self, fit: &RelationFit) -> (f64, f64) {
        let d = self.d;
        let [x, y] = [0, 1].map(|side| features(&self.fresh[side], d));
        let scores = fit.encoder.block(0, &x.rows(), &y.rows()).unwrap();
        let (mut best, mut right) = (0.0, 0.0);
        for (q, own) in self.fresh[0].chunks_exact(d).zip(scores.chunks_exact(y.len())) {
            let truth: Vec<f64> = self.fresh[1].chunks_exact(d).map(|y| (self.utility)(q, y)).collect();
            let top = |of: &dyn Fn(usize) -> f64| (0..y.len()).fold(0, |b, j| if of(j) > of(b) { j } else { b });
            best += f64::from(u8::from(top(&|j| own[j]) == top(&|j| truth[j])));
            right += (1..y.len()).filter(|&j| (own[j] > own[j - 1]) == (truth[j] > truth[j - 1])).count() as f64;
        }
        (best / x.len() as f64, right / (x.len() * (y.len() - 1)) as f64)
    }
}

fn choice<'a>(fit: &'a RelationFit, what: &str) -> &'a str {
    &fit.choices.iter().find(|c| c.what == what).unwrap_or_else(|| panic!("no choice of {what}")).value
}

fn distance(q: &[f64], y: &[f64]) -> f64 {
    -(q[0] - y[0] - 0.5 * y[1]).powi(2) - (q[1] - 0.8 * y[1]).powi(2) - (q[2] + 0.7 * y[2]).powi(2)
}

#[test]
fn consistent_answers_to_a_squared_distance_find_the_best_key() {
    let world = World::new(3, 5000, f64::INFINITY, distance);
    let fit = world.fit(Path::ClosedForm, &Options::default());
    let (best, right) = world.judge(&fit);
    // Three products, and what a key is worth by itself.
    assert_eq!((fit.outcome, fit.encoder.dim()), (Outcome::Converged, 4));
    assert_eq!(choice(&fit, "units"), "queries: linear; keys: polynomials of degree 2");
    assert!(best >= 0.9 && right > 0.995, "{best} {right}");
}

#[test]
fn noisy_answers_order_as_the_truth_does() {
    let world = World::new(3, 5000, 3.0, distance);
    let (best, right) = world.judge(&world.fit(Path::ClosedForm, &Options::default()));
    assert!(best >= 0.5 && right > 0.97, "{best} {right}");
}

/// No polynomial of low degree: random units win, and a model without the query's part is no better than chance.
#[test]
fn waves_need_other_features_than_polynomials() {
    let world = World::new(2, 8000, f64::INFINITY, |q, y| (5.0 * (q[0] - y[0])).cos() + (4.0 * (q[1] + y[1])).sin());
    let fit = world.fit(Path::ClosedForm, &Options::default());
    assert!(choice(&fit, "units").contains("sine"), "{}", choice(&fit, "units"));
    let (best, right) = world.judge(&fit);
    assert!(best >= 0.5 && right > 0.95, "{best} {right}");
}

#[test]
fn the_better_one_on_hold_outs_of_both_ways_is_taken_with_the_same_bits_on_any_number_of_threads() {
    let world = World::new(3, 1500, f64::INFINITY, distance);
    let options = Options { effort: Effort::Steps(20), ..Options::default() };
    let [one, three] = [1, 3].map(|t| with_threads(Some(t), || world.fit(Path::Auto, &options)).unwrap());
    assert_eq!(one.encoder, three.encoder);
    // Twenty steps of gradients are no rival.
    assert_eq!(choice(&one, "model"), "closed form");
    assert_eq!(one.steps, 20);
    assert!(!one.history.is_empty());
    let trained = world.fit(Path::Gradient, &options);
    assert!(trained.choices.iter().all(|c| c.what != "model"));
    assert!(world.judge(&one).1 > world.judge(&trained).1);
    // A dimension that somebody names is kept: cut, or filled up.
    for dim in [2, 9] {
        let fit = world.fit(Path::ClosedForm, &Options { dimension: Dimension::Fixed(dim), ..options.clone() });
        assert_eq!(fit.encoder.dim(), dim);
    }
}

#[test]
fn ids_and_one_query_are_fitted_too() {
    let mut stream = Seed(5).stream("ids");
    let (n, items) = (4000, 30);
    let pairs: Vec<(u32, u32)> = (0..n)
        .map(|_| (stream.below(items), stream.below(items)))
        .filter(|(a, b)| a != b)
        .map(|(a, b)| (a.max(b) as u32, a.min(b) as u32))
        .collect();
    let (preferred, other): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
    let comparisons = Comparisons::new(vec![0; pairs.len()], preferred, other, None).unwrap();
    let query = Features::one_hot(1);
    let ids = Features::one_hot(items);
    // The worth of an item is its number; as a feature it is one column.
    let column = Features::dense((0..items).map(|i| i as f32 / 10.0).collect(), 1).unwrap();
    for (keys, name) in [(&ids, "ids"), (&column, "a feature")] {
        let table = ComparisonTable { queries: &query, keys: Some(keys), comparisons: &comparisons, split: None };
        let training = Training { path: Path::ClosedForm, ..Training::default() };
        let options = Options { effort: Effort::Steps(300), ..Options::default() };
        let fit = fit_comparisons(&table, &options, &training).unwrap();
        let scores = fit.encoder.block(0, &query.rows(), &keys.rows()).unwrap();
        // Ids hold a share of their neighbours' luck; one feature says it all.
        let right = scores.windows(2).filter(|s| s[0] < s[1]).count();
        assert!(right >= if name == "ids" { 22 } else { 29 }, "{name}: {scores:?}");
        assert_eq!(fit.encoder.dim(), 1);
    }
}
