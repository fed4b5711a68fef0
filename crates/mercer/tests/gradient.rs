//! Training by gradients: relations with known answers, how runs end, and resumption to the last bit.

mod common;

use std::cell::RefCell;
use std::path::Path;
use std::sync::Mutex;

use common::{cube, stream};
use mercer::fit::gradient::{
    EpochRecord, Examples, Hard, Loss, MetricName, Monitor, NegativeLaw, Options, Problem, Sampling, Schedule, Session,
    Shape, Start, Trained, train,
};
use mercer::fit::{Effort, Outcome, Progress};
use mercer::{Activation, Class, Comparisons, DualEncoder, Features, Link, Pairs, Seed};

/// Pairs of random points with values; all weights 1.
fn sampled(n: usize, queries: usize, keys: usize, name: &str, value: impl Fn(usize, usize) -> f32) -> Pairs {
    let mut stream = stream(name);
    let pairs: Vec<(usize, usize)> = (0..n).map(|_| (stream.below(queries), stream.below(keys))).collect();
    Pairs::new(
        pairs.iter().map(|p| p.0 as u32).collect(),
        pairs.iter().map(|p| p.1 as u32).collect(),
        pairs.iter().map(|p| value(p.0, p.1)).collect(),
        None,
    )
    .unwrap()
}

fn dense(features: &Features, i: usize) -> Vec<f64> {
    common::dense_row(&features.rows(), i)
}

fn run(problem: &Problem<'_>, shape: Shape, options: &Options) -> Trained {
    train(problem, &Start::Random(shape), options, &Session::default()).unwrap()
}

#[test]
fn values_of_a_smooth_relation_are_learned_from_random_towers() {
    let (x, y) = (cube(3000, 1, "x"), cube(3000, 1, "y"));
    let value = |i: usize, j: usize| (3.0 * dense(&x, i)[0] * dense(&y, j)[0]).sin() as f32;
    let (pairs, held_out) = (sampled(20_000, 2500, 2500, "train", value), sampled(4000, 2500, 2500, "valid", value));
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
    let shape = Shape { dim: 8, hidden: vec![64, 64], ..Shape::default() };
    let trained = run(&problem, shape, &Options { effort: Effort::Steps(1500), ..Options::default() });
    // Pairs of items that no training pair names.
    let (fresh_x, fresh_y) = (x.slice(2500..3000), y.slice(2500..3000));
    let block = trained.encoder.block(0, &fresh_x, &fresh_y).unwrap();
    let truth: Vec<f64> = (0..250_000).map(|p| f64::from(value(2500 + p / 500, 2500 + p % 500))).collect();
    let error = common::relative(&block, &truth);
    println!("sin(3xy): relative error {error:.4}, held out {:?}, scale {:?}", trained.held_out, trained.choices);
    assert!(error < 0.03, "{error}");
    assert_eq!((trained.outcome, trained.steps), (Outcome::StepLimit, 1500));
    assert_eq!(trained.held_out.name, MetricName::Rmse);
}
